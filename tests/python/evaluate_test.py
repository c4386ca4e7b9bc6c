"""Reports, judged queries, comparisons and statistics; oracles are ir-measures, scipy and numpy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import collegium
import small_data
from collegium import evaluation
from conftest import RunPython

MEASURES = {
    "ndcg@10": "nDCG@10",
    "ndcg": "nDCG",
    "map@100": "AP@100",
    "map": "AP",
    "mrr@10": "RR@10",
    "mrr": "RR",
    "recall@20": "R@20",
    "precision@5": "P@5",
    "success@5": "Success@5",
    "bpref": "Bpref",
}


def random_run(seed: int) -> tuple[dict[str, list[tuple[str, float]]], dict[str, dict[str, float]]]:
    rng = np.random.default_rng(seed)
    run, judgments = {}, {}
    for number in range(30):
        ids = [f"d{i}" for i in rng.permutation(120)[: rng.integers(1, 120)]]
        run[f"q{number}"] = [(i, float(rng.integers(0, 30)) / 7) for i in ids]
        judged = [f"d{i}" for i in rng.permutation(140)[:25]]
        judgments[f"q{number}"] = {i: float(rng.choice([0, 0, 1, 2])) for i in judged}
        judgments[f"q{number}"]["d0"] = 1.0
    return run, judgments


def by_ir_measures(run: Path, qrels: Path, name: str) -> dict[str, float]:
    ir_measures = pytest.importorskip("ir_measures")
    return {
        metric.query_id: metric.value
        for metric in ir_measures.iter_calc(
            [ir_measures.parse_measure(name)],
            ir_measures.read_trec_qrels(str(qrels)),
            ir_measures.read_trec_run(str(run)),
        )
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_every_measure_equals_ir_measures_on_the_files_we_write(tmp_path: Path, seed: int) -> None:
    run, judgments = random_run(seed)
    evaluation.write_run(tmp_path / "run", run)
    evaluation.write_judgments(tmp_path / "qrels", judgments)
    measured = evaluation.measure_run(
        evaluation.read_run(tmp_path / "run"),
        evaluation.read_judgments(tmp_path / "qrels", keep_irrelevant=True),
        list(MEASURES),
    )
    for ours, theirs in MEASURES.items():
        expected = by_ir_measures(tmp_path / "run", tmp_path / "qrels", theirs)
        assert measured[ours] == pytest.approx(expected, abs=1e-6), ours


def test_a_report_equals_ir_measures_on_what_search_gives(
    tmp_path: Path, fitted: collegium.Library
) -> None:
    report = fitted.evaluate(split="test", timed_queries=0)
    row = report.row(report.served)
    assert row is not None
    pairs = {name: rows for name, (_, rows) in small_data.collections().items()}
    run, judgments = {}, {}
    for query in report.queries:
        key = f"{query.collection}:{query.id}"
        judgments[key] = {
            f"{query.collection}/{pair['id']}": 1.0
            for pair in pairs[query.collection]
            if pair["query"] == query.text
        }
        passages = fitted.search(query.text, k=100).passages
        run[key] = [(f"{p.collection}/{p.document_id}", -float(i)) for i, p in enumerate(passages)]
    evaluation.write_run(tmp_path / "run", run)
    evaluation.write_judgments(tmp_path / "qrels", judgments)
    for field, name in (
        ("ndcg_at_10", "nDCG@10"),
        ("recall_at_100", "R@100"),
        ("map_at_100", "AP@100"),
        ("mrr_at_10", "RR@10"),
        ("precision_at_10", "P@10"),
        ("success_at_5", "Success@5"),
    ):
        expected = by_ir_measures(tmp_path / "run", tmp_path / "qrels", name)
        for query, metrics in zip(report.queries, row.merged_view.queries, strict=True):
            key = f"{query.collection}:{query.id}"
            assert getattr(metrics, field) == pytest.approx(expected[key], abs=1e-6), (name, key)
        by_set = [
            np.mean(
                [expected[f"{q.collection}:{q.id}"] for q in report.queries if q.collection == c]
            )
            for c in report.num_queries
        ]
        assert getattr(row.merged_mean, field) == pytest.approx(np.mean(by_set), abs=1e-6)


TREC = """<top>
<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations.
</top>
<top>
<num>302</num><title>Polio</title>
<desc> Is it cured?
</top>
"""
XML = """<topics><topic number="1"><query>coronavirus origin</query>
<question>what is the origin?</question></topic>
<topic number="2"><title>masks</title></topic></topics>"""


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        (TREC, "title", {"301": "International Organized Crime", "302": "Polio"}),
        (TREC, "desc", {"301": "Identify organizations.", "302": "Is it cured?"}),
        (XML, "title", {"1": "coronavirus origin", "2": "masks"}),
        ("7\tone query\n8\tanother\n", "title", {"7": "one query", "8": "another"}),
    ],
)
def test_topics_are_read_in_three_forms(
    tmp_path: Path, text: str, field: str, expected: dict[str, str]
) -> None:
    (tmp_path / "topics").write_text(text, encoding="utf-8")
    assert evaluation.read_topics(tmp_path / "topics", field=field) == expected


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (evaluation.read_topics, "7 one query\n", ":1"),
        (evaluation.read_topics, "7\ta\n7\tb\n", "twice"),
        (evaluation.read_topics, "<top><title> no number </top>", "no number"),
        (evaluation.read_topics, "<topics><topic number='1'></topics>", "not XML"),
        (evaluation.read_topics, "<!DOCTYPE a><topics></topics>", "document type"),
        (evaluation.read_run, "q Q0 d 1 nan t\n", "not finite"),
        (evaluation.read_run, "q Q0 d 1 2 t\nq Q0 d 2 1 t\n", ":2: document 'd' stands twice"),
        (evaluation.read_judgments, "q 0 d 1\nq 0 d 2\n", ":2"),
        (evaluation.read_judgments, "q 0 d inf\n", "not finite"),
        (evaluation.judged_from_jsonl, '{"query": "a"}\n', "no 'id'"),
        (evaluation.judged_from_jsonl, '{"query": "a", "id": "b", "gain": true}\n', "gain"),
    ],
)
def test_malformed_files_are_refused(
    tmp_path: Path, read: Callable[[Path], object], text: str, message: str
) -> None:
    (tmp_path / "file").write_text(text, encoding="utf-8")
    with pytest.raises(collegium.InvalidArgumentError, match=re.escape(message)):
        read(tmp_path / "file")
    with pytest.raises(collegium.NotFoundError):
        read(tmp_path / "no such file")


def test_judged_queries_are_the_same_from_beir_trec_and_jsonl(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text('{"_id": "q 1", "text": "how long?"}\n')
    (folder / "qrels/test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq 1\tgreen\t2\nq 1\tmate\t0\n"
    )
    (tmp_path / "topics").write_text("q1\thow long?\n")
    (tmp_path / "qrels").write_text("q1 0 green 2\nq1 0 mate 0\n")
    (tmp_path / "pairs").write_text('{"query": "how long?", "id": "green", "gain": 2}\n')
    for judged in (
        evaluation.judged_from_beir(folder),
        evaluation.judged_from_trec(tmp_path / "topics", tmp_path / "qrels"),
        evaluation.judged_from_jsonl(tmp_path / "pairs"),
    ):
        assert [(one.text, one.judgments) for one in judged] == [("how long?", {"green": 2.0})]
    (tmp_path / "qrels").write_text("q2 0 green 2\n")
    with pytest.raises(collegium.InvalidArgumentError, match="'q2' is not among"):
        evaluation.judged_from_trec(tmp_path / "topics", tmp_path / "qrels")


def test_a_collection_without_pairs_is_judged_by_queries_given_now(
    tiny_library: collegium.Library,
) -> None:
    tiny_library.add("stars", [{"id": f"s{i}", "text": f"a star of kind {i}"} for i in range(5)])
    tiny_library.fit()
    before = tiny_library.info().commit_seq
    judged = {
        "stars": [
            {
                "id": f"q{i}",
                "text": f"which star is of kind {i}?",
                "judgments": {f"s{i}": 1, "s0": 0},
            }
            for i in range(1, 5)
        ]
    }
    report = tiny_library.evaluate(judged=judged)
    assert report.num_queries == {"stars": 4}
    assert report.groups == {"stars": "unseen"}
    assert str(report).startswith("judged queries given at call time: took no part in fitting")
    assert [query.id for query in report.queries] == ["q1", "q2", "q3", "q4"]
    assert tiny_library.info().commit_seq == before
    methods = [row.method for row in report.rows]
    assert {"plain", "BM25", "hybrid", "router linear"} <= set(methods)
    bm25 = report.row("BM25")
    assert bm25 is not None and bm25.per_collection["stars"].recall_at_100 == 1.0


def test_judged_queries_that_were_fitted_on_are_owned_up_to(
    tiny_library: collegium.Library,
) -> None:
    pairs = small_data.collections()["tea"][1]
    tiny_library.fit()
    trained = next(pair for pair in pairs if pair.get("split") == "train")
    queries = [
        {"id": "old", "text": trained["query"], "judgments": {trained["id"]: 1}},
        {"id": "new", "text": "a question of today", "judgments": {trained["id"]: 1}},
    ]
    report = tiny_library.evaluate(judged={"tea": queries})
    first = str(report).splitlines()[0]
    assert "1 of 2 are queries of the library's train or dev pairs" in first
    assert "flatter" in first
    assert report.shares_training_documents == {"tea": 1.0}


@pytest.mark.parametrize(
    ("judged", "error", "message"),
    [
        ({}, collegium.InvalidArgumentError, "no queries"),
        ({"wine": [("q", {"a": 1})]}, collegium.NotFoundError, "wine"),
        ({"tea": [("q", {"nowhere": 1})]}, collegium.InvalidArgumentError, "'nowhere' is not in"),
        ({"tea": [("q", {"green": 0})]}, collegium.InvalidArgumentError, "no document has a gain"),
        ({"tea": [("q", {})]}, collegium.InvalidArgumentError, "no document has a gain"),
        ({"tea": [("q", {"green": float("nan")})]}, collegium.InvalidArgumentError, "not finite"),
        ({"tea": [("q", {"green": 1})] * 2}, collegium.InvalidArgumentError, "twice"),
    ],
)
def test_judged_queries_that_cannot_be_used_are_refused(
    tiny_library: collegium.Library,
    judged: dict[str, list[tuple[str, dict[str, float]]]],
    error: type[Exception],
    message: str,
) -> None:
    tiny_library.fit()
    rows = {
        name: [{"id": id_, "text": "words", "judgments": gains} for id_, gains in queries]
        for name, queries in judged.items()
    }
    with pytest.raises(error, match=message):
        tiny_library.evaluate(judged=rows)


def test_judged_queries_of_the_wrong_shape_are_refused(tiny_library: collegium.Library) -> None:
    bad: Any
    for bad in (
        [],
        {"tea": "queries"},
        {"tea": ["query"]},
        {"tea": [{"id": "a", "text": "b"}]},
        {"tea": [{"id": "a", "text": "b", "judgments": ["green"]}]},
        {"tea": [{"id": "a", "text": "b", "judgments": {"green": "1"}}]},
        {"tea": [{"id": 1, "text": "b", "judgments": {"green": 1}}]},
    ):
        with pytest.raises(collegium.InvalidArgumentError):
            tiny_library.evaluate(judged=bad)


def test_the_page_needs_no_network_and_has_every_query_that_is_listed(
    fitted: collegium.Library,
) -> None:
    report = fitted.evaluate(split="test")
    page = report.to_html_page()
    assert page.startswith("<!doctype html>")
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]|https?://[^"' ]+""", page)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}
    assert "<svg" in page and "data-filter" in page
    for worst in report.worst:
        query = report.queries[worst.query]
        assert worst.why and query.collection in page
    assert page.count('class="worst"') == len(report.worst) <= 100
    notebook = report._repr_html_()
    assert "<svg" in notebook and "<script" not in notebook


def test_json_has_every_querys_figures_and_compares_two_methods(
    tmp_path: Path, fitted: collegium.Library
) -> None:
    report = fitted.evaluate(split="test", timed_queries=0)
    path = tmp_path / "report.json"
    path.write_text(report.to_json(), encoding="utf-8")
    read = json.loads(report.to_json())
    assert len(read["queries"]) == len(report.queries) == 12
    compared = evaluation.compare(path, report, method="plain", method_b="noise control")
    row = report.row("noise control")
    assert row is not None
    view = row.merged_view
    assert compared.mean.difference == pytest.approx(view.mean_against_plain.difference, abs=1e-12)
    assert compared.mean.p == view.mean_against_plain.p
    assert compared.mean.low == view.mean_against_plain.low
    for name, one in compared.sets.items():
        assert one.difference == pytest.approx(view.against_plain[name].difference, abs=1e-12)
    assert json.loads(compared.to_json())["mean"]["queries"] == 12
    assert "<table" in compared._repr_html_()
    same = evaluation.compare(read, read)
    assert same.mean.difference == 0 and same.mean.p == 1
    with pytest.raises(collegium.NotFoundError, match="no method 'best'"):
        evaluation.compare(read, read, method="best")
    for bad in ({}, {"rows": [], "queries": 3}):
        with pytest.raises((collegium.InvalidArgumentError, collegium.NotFoundError)):
            evaluation.compare(read, bad)
    path.write_text("[1]")
    with pytest.raises(collegium.InvalidArgumentError, match="not a report"):
        evaluation.compare(path, read)


def test_runs_compare_by_any_measure() -> None:
    run, judgments = random_run(3)
    shuffled = {query: [(i, -s) for i, s in ranking] for query, ranking in run.items()}
    for measure in ("ndcg@10", "map", "bpref"):
        compared = evaluation.compare_runs(run, shuffled, judgments, measure=measure)
        a = evaluation.measure_run(run, judgments, [measure])[measure]
        b = evaluation.measure_run(shuffled, judgments, [measure])[measure]
        expected = np.mean([b[query] - a[query] for query in judgments])
        assert compared.mean.difference == pytest.approx(expected, abs=1e-12)
        assert compared.mean.queries == 30
    with pytest.raises(collegium.InvalidArgumentError, match="no query in common"):
        evaluation.compare_runs(run, shuffled, {})


def test_a_document_that_stands_twice_is_refused(tmp_path: Path) -> None:
    run = {"q": [("a", 1.0), ("b", 0.5), ("a", 0.2)]}
    with pytest.raises(collegium.InvalidArgumentError, match="'a' stands twice"):
        evaluation.measure_run(run, {"q": {"a": 1.0}}, ["recall@10"])
    with pytest.raises(collegium.InvalidArgumentError, match="'a' stands twice"):
        evaluation.write_run(tmp_path / "run", run)
    assert not (tmp_path / "run").exists()


def test_the_bootstrap_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(4)
    differences = np.clip(rng.normal(0.03, 0.2, 150), -1, 1)
    ours = evaluation.paired_bootstrap([differences.tolist()], resamples=20000)
    theirs = stats.bootstrap(
        (differences,), np.mean, n_resamples=20000, method="percentile", rng=rng
    )
    # Both are drawn: a quantile of 20000 draws has a standard error of about 0.02 deviations.
    slack = 0.1 * differences.std() / np.sqrt(len(differences))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=slack)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=slack)
    p = stats.ttest_1samp(differences, 0).pvalue  # the normal limit of the same question
    assert ours.p == pytest.approx(p, abs=0.02)


def test_holm_and_shares_and_calibration_are_bound() -> None:
    assert evaluation.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert evaluation.gain_share(0.75, 0.5, 1.0) == 0.5
    assert evaluation.measure_calibration([0.9, 0.9], [True, False]).ece == pytest.approx(0.4)
    curve = evaluation.coverage_curve(
        [0.2, 0.9], [1.0, 1.0], [0.0, 0.5], [True, True], [0, 0], steps=2
    )
    assert [point.quality for point in curve] == [0.25, 0.5, 1.0]
    relabelled = evaluation.coverage_curve(  # labels are names: a large one costs no memory
        [0.2, 0.9], [1.0, 1.0], [0.0, 0.5], [True, True], [2**32 - 1, 2**32 - 1], steps=2
    )
    assert [point.quality for point in relabelled] == [0.25, 0.5, 1.0]
    with pytest.raises(collegium.InvalidArgumentError):
        evaluation.paired_bootstrap([[]])


def test_evaluate_and_compare_on_the_command_line(
    tmp_path: Path, fitted_folder: Path, run_python: RunPython
) -> None:
    def run(*arguments: str) -> str:
        done = run_python(["-m", "collegium", *arguments])
        assert done.returncode == 0, done.stderr
        return done.stdout

    library = str(fitted_folder)
    page = tmp_path / "report.html"
    (tmp_path / "report.json").write_text(
        run("evaluate", "--library", library, "--split", "test", "--json", "--html", str(page))
    )
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    report = str(tmp_path / "report.json")
    text = run("compare", report, report, "--method", "plain", "--method-b", "BM25")
    assert "95 % interval" in text and "tea" in text
    (tmp_path / "asked.jsonl").write_text('{"query": "is there tea?", "id": "green"}\n')
    text = run("evaluate", "--library", library, "--judged", f"tea={tmp_path / 'asked.jsonl'}")
    assert text.startswith("judged queries given at call time")
    run_, judgments = random_run(5)
    evaluation.write_run(tmp_path / "run", run_)
    evaluation.write_judgments(tmp_path / "qrels", judgments)
    runs = [str(tmp_path / "run")] * 2
    compared = run("compare", *runs, "--qrels", str(tmp_path / "qrels"), "--json")
    assert json.loads(compared)["mean"]["difference"] == 0
    assert run_python(["-m", "collegium", "compare", "a", "b"]).returncode == 1
    assert (
        run_python(["-m", "collegium", "evaluate", "--library", "x", "--judged", "tea"]).returncode
        == 2
    )
