from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import collegium
import small_data


def test_a_library_tells_what_it_holds(tiny_library: collegium.Library) -> None:
    info = tiny_library.info()
    assert [c.name for c in info.collections] == ["bicycles", "tea"]
    assert [c.documents for c in info.collections] == [12, 12]
    assert info.collections[0].pairs == {"train": 12, "dev": 6, "test": 6}
    assert info.negatives == len(small_data.NEGATIVES)
    assert info.version == collegium.__version__
    assert info.isa == collegium.isa()
    assert json.loads(info.to_json())["negatives"] == len(small_data.NEGATIVES)
    assert "tea" in str(info)


def test_a_library_tells_how_its_vectors_were_made(tiny_library: collegium.Library) -> None:
    info = tiny_library.info()
    for collection in info.collections:
        assert [(made.compute, made.isa) for made in collection.vectors_made] == [
            ("fp32", collegium.isa())
        ]
    assert repr(info.collections[0].vectors_made[0]) == f"<VectorOrigin fp32 on {collegium.isa()}>"
    assert json.loads(info.to_json())["collections"][1]["vectors_made"] == [
        {"compute": "fp32", "isa": collegium.isa()}
    ]
    assert f"vectors made in fp32 on {collegium.isa()}" in str(info)
    assert (info.compute, info.truncate_dim) == ("fp32", 0)


def test_a_library_runs_its_encoder_as_it_was_made_and_opens_so(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    for link in (False, True):
        folder = tmp_path / f"link-{link}"
        with collegium.Library.create(
            folder, encoder=tiny_encoder, link=link, compute="int8", truncate_dim=16
        ) as library:
            library.add("a", [{"id": "x", "text": "Some text."}])
            digest = library.encoder.digest
            before = json.loads(library.search("some text").to_json())
        expected = collegium.Encoder.load(tiny_encoder, compute="int8", truncate_dim=16)
        with collegium.Library.open(folder) as library:
            assert library.encoder.compute == "int8"
            assert library.encoder.digest == digest == expected.digest
            info = library.info()
            assert (info.compute, info.dim, info.truncate_dim) == ("int8", 16, 16)
            assert info.collections[0].vectors_made[0].compute == "int8"
            after = json.loads(library.search("some text").to_json())
        assert after["passages"] == before["passages"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute": "fp8"}, "compute is 'fp8'"),
        ({"truncate_dim": 0}, "truncate_dim is 0"),
        ({"truncate_dim": 33}, "truncate_dim is 33"),
        ({"truncate_dim": -1}, "truncate_dim"),
    ],
)
def test_an_encoder_that_cannot_be_run_so_leaves_no_library(
    tmp_path: Path, tiny_encoder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        collegium.Library.create(tmp_path / "new", encoder=tiny_encoder, **options)
    assert not list(tmp_path.iterdir())


def test_an_answer_names_the_indexes_it_is_a_function_of(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    texts = [f"{word} number {i}" for i in range(10) for word in ("river", "law", "music")]
    documents = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    folder = tmp_path / "l"
    with collegium.Library.create(folder, encoder=tiny_encoder, hnsw_threshold=20) as library:
        library.add("large", documents)
        library.add("small", documents[:5])
    with collegium.Library.open(folder) as library:
        info = library.info()
        generations = {c.name: c.index_generation for c in info.collections}
        assert generations["large"] != 0
        assert generations["small"] == 0
        listed = {
            c["name"]: c["index_generation"] for c in json.loads(info.to_json())["collections"]
        }
        assert listed == generations
        for answer in (library.search("the river", k=30), library.ask("the river", k=30)):
            assert answer.index_generations == generations
            assert {p.collection: p.index_generation for p in answer.passages} == generations
            shown = json.loads(answer.to_json())
            assert shown["index_generations"] == generations
            assert all(
                p["index_generation"] == generations[p["collection"]] for p in shown["passages"]
            )
        assert library.search("law", collections=["small"]).index_generations == {"small": 0}


def test_it_answers_before_it_is_fitted(tiny_library: collegium.Library) -> None:
    answer = tiny_library.ask("how long should green tea brew?", k=3)
    assert len(answer.passages) == 3
    assert answer.gate.stage == "always"
    assert answer.generation == ""


def test_documents_come_back_with_their_metadata(tmp_path: Path, tiny_encoder: Path) -> None:
    with collegium.Library.create(tmp_path / "l", encoder=tiny_encoder) as library:
        library.add("a", [{"id": "x", "title": "T", "text": "Some text.", "year": 1999}])
        document = library.document("a", "x")
        assert (document.title, document.text) == ("T", "Some text.")
        assert json.loads(document.metadata) == {"year": 1999}
        with pytest.raises(collegium.NotFoundError, match="y"):
            library.document("a", "y")


def test_adding_again_embeds_nothing_and_a_change_replaces(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    documents = [{"id": str(i), "text": f"Text number {i}."} for i in range(5)]
    with collegium.Library.create(tmp_path / "l", encoder=tiny_encoder) as library:
        first = library.add("a", documents)
        assert (first.documents, first.unchanged, first.passages) == (5, 0, 5)
        again = library.add("a", documents)
        assert (again.unchanged, again.passages) == (5, 0)
        documents[2]["text"] = "Something else."
        changed = library.add("a", documents)
        assert (changed.unchanged, changed.replaced, changed.passages) == (4, 1, 1)
        assert library.document("a", "2").text == "Something else."


def test_remove_removes_all_or_nothing(tiny_library: collegium.Library) -> None:
    with pytest.raises(collegium.NotFoundError, match="absent"):
        tiny_library.remove("tea", ["green", "absent"])
    assert tiny_library.document("tea", "green").id == "green"
    tiny_library.remove("tea", ["green"])
    with pytest.raises(collegium.NotFoundError):
        tiny_library.document("tea", "green")


@pytest.mark.parametrize(
    ("documents", "pairs"),
    [
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], []),
        ([{"id": "a", "text": ""}], []),
        ([{"id": "", "text": "x"}], []),
        ([{"id": "a", "text": "x"}], [{"query": "q", "id": "b"}]),
        ([{"id": "a", "text": "x"}], [{"query": "q", "id": "a", "gain": 0}]),
    ],
)
def test_bad_input_adds_nothing(
    tmp_path: Path, tiny_encoder: Path, documents: list[Any], pairs: list[Any]
) -> None:
    with collegium.Library.create(tmp_path / "l", encoder=tiny_encoder) as library:
        with pytest.raises(collegium.InvalidArgumentError):
            library.add("c", [{"id": "fine", "text": "good"}, *documents], pairs=pairs)
        with pytest.raises(collegium.NotFoundError):
            library.document("c", "fine")


def test_what_was_added_is_there_after_reopening(tmp_path: Path, tiny_encoder: Path) -> None:
    with collegium.Library.create(tmp_path / "l", encoder=tiny_encoder) as library:
        library.add("a", [{"id": "x", "text": "Some text."}])
        before = library.search("some text")
    with collegium.Library.open(tmp_path / "l") as library:
        after = library.search("some text")
    assert [(p.document_id, p.score) for p in after.passages] == [
        (p.document_id, p.score) for p in before.passages
    ]


def test_creating_twice_opening_twice_and_opening_nothing_fail(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    with collegium.Library.create(tmp_path / "l", encoder=tiny_encoder):
        with pytest.raises(collegium.AlreadyExistsError):
            collegium.Library.create(tmp_path / "l", encoder=tiny_encoder)
        with pytest.raises(collegium.BusyError):
            collegium.Library.open(tmp_path / "l")
    with pytest.raises(collegium.NotFoundError, match="nowhere"):
        collegium.Library.open(tmp_path / "nowhere")


def test_a_closed_library_says_so(tmp_path: Path, tiny_encoder: Path) -> None:
    library = collegium.Library.create(tmp_path / "l", encoder=tiny_encoder)
    library.close()
    with pytest.raises(collegium.FailedPreconditionError):
        library.ask("anything?")
    library.close()


def test_a_progress_callback_sees_work_and_can_cancel_it(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    documents = [{"id": str(i), "text": f"Text number {i}."} for i in range(300)]
    calls: list[tuple[str, int, int]] = []

    def watch(stage: str, done: int, total: int) -> None:
        calls.append((stage, done, total))

    def stop(stage: str, done: int, total: int) -> bool:
        return False

    def fail(stage: str, done: int, total: int) -> None:
        raise ZeroDivisionError(stage)

    with collegium.Library.create(tmp_path / "l", encoder=tiny_encoder) as library:
        with pytest.raises(collegium.CancelledError):
            library.add("stopped", documents, progress=stop)
        with pytest.raises(ZeroDivisionError):
            library.add("failed", documents, progress=fail)
        library.add("watched", documents, progress=watch)
    assert calls
    assert all(0 <= done <= total or total == 0 for _, done, total in calls)


def test_nothing_is_printed(tiny_library: collegium.Library, capfd: Any) -> None:
    capfd.readouterr()
    tiny_library.fit()
    tiny_library.ask("how long should green tea brew?")
    tiny_library.evaluate()
    assert capfd.readouterr() == ("", "")


def test_asking_for_what_is_not_there(tiny_library: collegium.Library) -> None:
    with pytest.raises(collegium.NotFoundError, match="wine"):
        tiny_library.ask("q?", collections=["wine"])
    for bad in ({"policy": "best"}, {"read": "aloud"}, {"gate": "open"}, {"k": 0}, {"k": 1001}):
        with pytest.raises(collegium.InvalidArgumentError):
            tiny_library.ask("q?", **bad)
    with pytest.raises(TypeError):
        tiny_library.ask("q?", ["tea"])  # type: ignore[call-arg]
    with pytest.raises(collegium.InvalidArgumentError):
        tiny_library.ask("\ud800")


@pytest.mark.parametrize("value", [-1, 2**64, pytest.param(10**5000, id="long")])
def test_whole_numbers_out_of_range_are_invalid_arguments(
    tmp_path: Path, tiny_encoder: Path, tiny_library: collegium.Library, value: int
) -> None:
    calls: dict[str, Callable[[], object]] = {
        "k": lambda: tiny_library.ask("q?", k=value),
        "max_new_tokens": lambda: tiny_library.ask("q?", max_new_tokens=value),
        "top_k": lambda: tiny_library.ask("q?", top_k=value),
        "seed": lambda: tiny_library.ask("q?", seed=value),
        "k ": lambda: tiny_library.search("q?", k=value),
        "seed ": lambda: tiny_library.fit(seed=value),
        "seed is": lambda: tiny_library.evaluate(seed=value),
        "hnsw_threshold": lambda: collegium.Library.create(
            tmp_path / "new", encoder=tiny_encoder, hnsw_threshold=value
        ),
        "max_negatives": lambda: collegium.HeadAdapterOptions(max_negatives=value),
        "num_threads": lambda: collegium.set_num_threads(value),
        "max_tokens": lambda: tiny_library.encoder.tokenizer.encode("a", max_tokens=value),
        "tokens": lambda: tiny_library.encoder.flops(value),
    }
    for name, call in calls.items():
        with pytest.raises(collegium.InvalidArgumentError, match=f"{name}.*allowed are 0 to"):
            call()
    assert not (tmp_path / "new").exists()
    assert len(tiny_library.ask("how long?", k=np.int8(2)).passages) == 2  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        tiny_library.ask("how long?", k=2.0)  # type: ignore[arg-type]


def test_a_collection_name_without_utf8_is_an_invalid_argument(
    tiny_library: collegium.Library,
) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="UTF-8"):
        tiny_library.add("\ud800", [])
    with pytest.raises(collegium.InvalidArgumentError, match="UTF-8"):
        tiny_library.remove("\ud800", ["a"])
    with pytest.raises(collegium.InvalidArgumentError, match="UTF-8"):
        tiny_library.search("q?", collections=["\ud800"])


def test_negatives_are_all_added_or_none_and_progress_is_seen(
    tiny_library: collegium.Library,
) -> None:
    calls: list[tuple[str, int, int]] = []
    questions = [f"is it {number} o'clock?" for number in range(200)]
    before = tiny_library.info().negatives
    with pytest.raises(collegium.CancelledError):
        tiny_library.add_negatives(questions, progress=lambda *_: False)
    assert tiny_library.info().negatives == before
    tiny_library.add_negatives(
        questions, progress=lambda stage, done, total: calls.append((stage, done, total))
    )
    assert tiny_library.info().negatives == before + 200
    assert calls[-1][1:] == (200, 200)
    with pytest.raises(collegium.InvalidArgumentError, match="list of str"):
        tiny_library.add_negatives("one question")


def test_a_path_that_is_not_utf8_comes_back_as_os_fsdecode_has_it(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    with collegium.Library.create(odd / "library", encoder=tiny_encoder) as library:
        library.add("c", [{"id": "a", "text": "some text"}])
        info = library.info()
        assert info.path == str(odd / "library")
        assert info.encoder_folder == str(odd / "library" / "encoder")
        assert r"caf\xe9" in str(info)
        assert r"caf\xe9" in info._repr_html_()
        assert json.loads(info.to_json())["dim"] == info.dim
        assert library.encoder.folder == info.encoder_folder
        assert "Encoder" in repr(library.encoder)
        with pytest.raises(collegium.BusyError, match=r"caf\\xe9"):
            collegium.Library.open(odd / "library")
    with collegium.Library.open(odd / "library") as library:
        assert library.ask("text?").passages


def test_a_linked_model_needs_a_path_of_utf8(tmp_path: Path, tiny_encoder: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(tiny_encoder, odd)
    with pytest.raises(collegium.InvalidArgumentError, match=r"caf\\xe9.*UTF-8"):
        collegium.Library.create(tmp_path / "library", encoder=odd, link=True)
    assert not (tmp_path / "library").exists()
    with collegium.Library.create(tmp_path / "library", encoder=odd) as library:
        assert library.info().encoder_folder == str(tmp_path / "library" / "encoder")


def test_reading_without_a_language_model_is_extractive_and_says_so(
    tiny_library: collegium.Library,
) -> None:
    plain = tiny_library.ask("how long should green tea brew?", gate="retrieve")
    answer = tiny_library.ask("how long should green tea brew?", gate="retrieve", read="generative")
    assert answer.reader == "extractive"
    assert answer.text == plain.text
    assert "language model" in answer.note
    assert "language model" not in plain.note


# With a real encoder.


def test_a_question_finds_its_collection_and_document(fitted: collegium.Library) -> None:
    answer = fitted.ask("What spices are in chai?")
    assert answer.question == "What spices are in chai?"
    assert answer.passages[0].document_id == "chai"
    assert answer.route.entries[0].collection == "tea"
    assert sum(entry.probability for entry in answer.route.entries) == pytest.approx(1, abs=1e-5)
    assert answer.gate.decision == "retrieve"
    assert "[1]" in answer.text
    assert answer.reader == "extractive"
    first = answer.passages[0]
    begin, end = first.bytes
    stored = fitted.document(first.collection, first.document_id).text
    assert stored.encode()[begin:end].decode() == first.text
    assert {cost.stage for cost in answer.cost} >= {"encode", "search"}
    assert all(cost.ms >= 0 for cost in answer.cost)


def test_collections_and_k_restrict(fitted: collegium.Library) -> None:
    answer = fitted.search("wheel", collections=["tea"], k=4)
    assert len(answer.passages) == 4
    assert {p.collection for p in answer.passages} == {"tea"}
    assert answer.text == ""


def test_both_policies_answer(fitted: collegium.Library) -> None:
    for policy in ("bound", "routed"):
        answer = fitted.ask("My wheel wobbles, why?", policy=policy)
        assert answer.route.policy == policy
        assert answer.passages[0].document_id == "spoke"


def test_the_gate_lets_small_talk_pass_by(fitted: collegium.Library) -> None:
    assert fitted.ask("hello there").gate.decision != "retrieve"
    forced = fitted.ask("hello there", gate="retrieve")
    assert forced.passages


def test_an_answer_draws_itself(fitted: collegium.Library) -> None:
    answer = fitted.ask("What spices are in chai? <b>")
    for page in (answer._repr_html_(), answer.route._repr_html_()):
        assert "tea" in page
        assert "<b>" not in page.replace("<b>tea", "")
    assert json.loads(answer.to_json())["passages"][0]["document_id"] == "chai"
    assert "chai" in str(answer).lower()


def test_the_same_question_has_the_same_bits_on_any_number_of_threads(
    fitted: collegium.Library,
) -> None:
    def scores() -> list[tuple[str, float]]:
        return [(p.document_id, p.score) for p in fitted.search("steep leaves", k=12).passages]

    expected = scores()
    before = collegium.num_threads()
    try:
        for count in (1, 3):
            collegium.set_num_threads(count)
            assert collegium.num_threads() == count
            assert scores() == expected
    finally:
        collegium.set_num_threads(before)
    results: list[list[tuple[str, float]]] = []
    threads = [threading.Thread(target=lambda: results.append(scores())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_an_evaluation_has_the_baselines_and_draws_itself(fitted: collegium.Library) -> None:
    evaluation = fitted.evaluate(split="test")
    assert evaluation.split == "test"
    assert evaluation.num_queries == {"bicycles": 6, "tea": 6}
    methods = [row.method for row in evaluation.rows]
    assert "plain" in methods
    for row in evaluation.rows:
        assert 0 <= row.merged_mean.ndcg_at_10 <= 1
    assert "<table" in evaluation._repr_html_()
    assert json.loads(evaluation.to_json())
    assert "|" in evaluation.to_markdown()
    assert "plain" in str(evaluation)


def test_a_fit_report_draws_itself_and_names_its_generation(
    tmp_path: Path, tiny_library: collegium.Library
) -> None:
    report = tiny_library.fit(seed=5)
    assert report.generation
    assert {expert.collection for expert in report.experts} == {"bicycles", "tea"}
    assert report.router in {"linear", "pilots-source", "pilots-winner"}
    assert json.loads(report.to_json())
    assert "<table" in report._repr_html_()
    assert tiny_library.info().generation == report.generation
    again = tiny_library.fit(seed=5)
    assert all(expert.kept for expert in again.experts)


def test_the_librarys_encoder_is_the_one_it_was_made_with(
    fitted: collegium.Library, minilm: Path
) -> None:
    own = collegium.Encoder.load(minilm)
    assert fitted.encoder.digest == own.digest
    np.testing.assert_array_equal(fitted.encoder.encode(["tea"]), own.encode(["tea"]))


@pytest.mark.slow
def test_reading_with_the_language_model_streams(
    tmp_path: Path, minilm: Path, smollm2: Path
) -> None:
    pieces: list[str] = []
    with collegium.Library.create(
        tmp_path / "l", encoder=minilm, language_model=smollm2, link=True
    ) as library:
        documents, pairs = small_data.collections()["tea"]
        library.add("tea", documents, pairs=pairs)
        answer = library.ask(
            "How long should green tea steep?",
            read="generative",
            max_new_tokens=40,
            on_token=pieces.append,
        )
        assert pieces
        assert answer.reader in {"generative", "extractive"}
        assert answer.reader == "generative" or answer.note
        internal = library.ask("Say hello.", gate="internal", max_new_tokens=10)
        assert internal.reader == "internal"
        assert internal.text
    fast = collegium.lm.load(smollm2, compute="fast")
    said = fast.chat([{"role": "user", "content": "Say hello."}], max_new_tokens=10)
    with collegium.Library.open(tmp_path / "l", lm_compute="fast") as library:
        assert library.ask("Say hello.", gate="internal", max_new_tokens=10).text == said.text
    with pytest.raises(collegium.InvalidArgumentError, match='compute is "int8"'):
        collegium.Library.open(tmp_path / "l", lm_compute="int8")  # type: ignore[arg-type]


def test_fit_has_one_seed(tiny_library: collegium.Library) -> None:
    first = tiny_library.fit(seed=5)
    as_option = tiny_library.fit(adapter=collegium.HeadAdapterOptions(seed=5))
    assert all(expert.kept for expert in as_option.experts)
    assert as_option.generation == first.generation
    other = tiny_library.fit(adapter=collegium.HeadAdapterOptions(seed=6))
    assert not any(expert.kept for expert in other.experts)
    with pytest.raises(collegium.InvalidArgumentError, match="seed is 5 beside an adapter"):
        tiny_library.fit(adapter=collegium.HeadAdapterOptions(), seed=5)


def test_routers_learn_winners_where_they_shall(tiny_library: collegium.Library) -> None:
    labels = collegium.RouterLabels(by="winner", cutoff=5, margin_weights=True, source_weight=0.5)
    assert (labels.by, labels.cutoff, labels.drop_ties) == ("winner", 5, False)
    assert tiny_library.fit(labels=labels).generation
    with pytest.raises(collegium.InvalidArgumentError, match="'source' or 'winner'"):
        collegium.RouterLabels(by="luck")
