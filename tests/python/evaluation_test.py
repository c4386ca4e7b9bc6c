"""Metrics against trec_eval (through ir-measures), on random rankings with ties."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import collegium
from collegium import evaluation

Run = dict[str, list[tuple[str, float]]]
Judgments = dict[str, dict[str, float]]


def random_task(seed: int) -> tuple[Run, Judgments]:
    generator = random.Random(seed)
    ids = [f"d{i}" for i in range(300)] + ["é", "Z", "a b".replace(" ", "_")]
    run: Run = {}
    judgments: Judgments = {}
    for number in range(40):
        chosen = generator.sample(ids, 150)
        # Few distinct scores: most are ties.
        run[f"q{number}"] = [(i, generator.randrange(20) / 7) for i in chosen]
        judged = generator.sample(ids, generator.randrange(1, 12))
        judgments[f"q{number}"] = {i: float(generator.randrange(1, 4)) for i in judged}
    return run, judgments


def ours(run: Run, judgments: Judgments) -> dict[str, tuple[float, float]]:
    return {
        query: (
            evaluation.ndcg_at(10, ordered(ranking), judgments[query]),
            evaluation.recall_at(100, ordered(ranking), judgments[query]),
        )
        for query, ranking in run.items()
    }


def ordered(ranking: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return sorted(ranking, key=lambda item: (-item[1], item[0].encode()))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_metrics_equal_trec_eval_on_the_files_we_write(tmp_path: Path, seed: int) -> None:
    ir_measures = pytest.importorskip("ir_measures")
    run, judgments = random_task(seed)
    evaluation.write_run(tmp_path / "run", run)
    evaluation.write_judgments(tmp_path / "qrels", judgments)
    measures = [ir_measures.nDCG @ 10, ir_measures.R @ 100]
    expected: dict[tuple[str, str], float] = {}
    for metric in ir_measures.iter_calc(
        measures,
        ir_measures.read_trec_qrels(str(tmp_path / "qrels")),
        ir_measures.read_trec_run(str(tmp_path / "run")),
    ):
        expected[metric.query_id, str(metric.measure)] = metric.value
    for query, (ndcg, recall) in ours(run, judgments).items():
        assert ndcg == pytest.approx(expected[query, "nDCG@10"], abs=1e-6)
        assert recall == pytest.approx(expected[query, "R@100"], abs=1e-6)


def test_a_written_run_has_strictly_decreasing_scores_and_our_order(tmp_path: Path) -> None:
    run = {"q": [("b", 1.0), ("a", 1.0), ("é", 1.0), ("c", 2.0)]}
    evaluation.write_run(tmp_path / "run", run)
    lines = [line.split() for line in (tmp_path / "run").read_text().splitlines()]
    assert [line[2] for line in lines] == ["c", "a", "b", "é"]
    assert [line[3] for line in lines] == ["1", "2", "3", "4"]
    scores = [float(line[4]) for line in lines]
    assert scores == sorted(set(scores), reverse=True)
    assert [name for name, _ in evaluation.read_run(tmp_path / "run")["q"]] == [
        "c",
        "a",
        "b",
        "é",
    ]


def test_judgments_are_read_as_written(tmp_path: Path) -> None:
    judgments = {"q1": {"a": 1.0, "b": 3.0}, "q2": {"c": 2.0}}
    evaluation.write_judgments(tmp_path / "qrels", judgments)
    assert evaluation.read_judgments(tmp_path / "qrels") == judgments


def test_ids_that_a_run_cannot_hold_are_refused(tmp_path: Path) -> None:
    for bad in ("", "a b", "a\n"):
        with pytest.raises(collegium.InvalidArgumentError):
            evaluation.write_run(tmp_path / "run", {"q": [(bad, 1.0)]})
    with pytest.raises(collegium.InvalidArgumentError):
        evaluation.write_run(tmp_path / "run", {"q": [("a", float("nan"))]})


@pytest.mark.parametrize("scores", [[float("inf")], [1e39], [-3.5e38], [-3.4028234e38] * 3])
def test_scores_beyond_single_precision_are_refused(tmp_path: Path, scores: list[float]) -> None:
    ranking = [(f"d{i}", score) for i, score in enumerate(scores)]
    with pytest.raises(collegium.InvalidArgumentError, match="not finite in single precision"):
        evaluation.write_run(tmp_path / "run", {"q": ranking})
    assert not (tmp_path / "run").exists()
    evaluation.write_run(tmp_path / "run", {"q": [("a", 3.4e38), ("b", -3.4e38), ("c", -3.4e38)]})


def test_malformed_lines_are_named_by_number(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("q Q0 d 1 0.5 tag\nq Q0 d 1\n")
    with pytest.raises(collegium.InvalidArgumentError, match=":2"):
        evaluation.read_run(tmp_path / "x")
    with pytest.raises(collegium.InvalidArgumentError, match=":1"):
        evaluation.read_judgments(tmp_path / "x")


def test_documents_divide_about_80_10_10() -> None:
    counts = {"train": 0, "dev": 0, "test": 0}
    for number in range(5000):
        counts[evaluation.split_of_document(f"document {number}")] += 1
    assert 3800 < counts["train"] < 4200
    assert 400 < counts["dev"] < 600
    assert 400 < counts["test"] < 600


def test_check_support_says_what_a_passage_does_not_bear_out() -> None:
    passage = "The server listens on port 5432. It does not cache."
    assert evaluation.check_support("The server listens on port 5432.", passage) == ""
    assert "5433" in evaluation.check_support("The server listens on port 5433.", passage)
    assert "not" in evaluation.check_support("The server does not listen.", passage)
