"""What experts, pairs and scores that are no good come to: a typed error, or what is documented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import collegium
import small_data
from collegium import evaluation
from collegium.experts import train_head_adapter

DOCUMENTS = [{"id": f"d{i}", "text": f"text number {i} of a few"} for i in range(30)]


@pytest.fixture
def library(tmp_path: Path, tiny_encoder: Path) -> collegium.Library:
    return collegium.Library.create(tmp_path / "library", encoder=tiny_encoder)


def expert_of(library: collegium.Library, name: str) -> Any:
    return next(e for e in library.fit(multi_task=False).experts if e.collection == name)


def test_an_expert_without_pairs_is_the_plain_encoder(library: collegium.Library) -> None:
    library.add("few", DOCUMENTS)
    expert = expert_of(library, "few")
    assert (expert.train, expert.dev, expert.strength) == (0, 0, 0.0)
    assert expert.note == "no training queries: searched with the plain encoder"
    assert expert.pair_kinds == {}
    assert library.search("text number 3", k=1).passages[0].document_id in {
        d["id"] for d in DOCUMENTS
    }


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_one_pair_gives_no_adapter(library: collegium.Library, split: str) -> None:
    library.add("few", DOCUMENTS, pairs=[{"query": "which one?", "id": "d3", "split": split}])
    expert = expert_of(library, "few")
    assert expert.strength == 0.0
    assert expert.train + expert.dev + expert.test == 1
    assert "no adapter" in expert.note or "no training queries" in expert.note


def test_one_collection_alone_is_routed_to_and_searched(library: collegium.Library) -> None:
    documents, pairs = small_data.collections()["tea"]
    library.add("tea", documents, pairs=pairs)
    library.fit()
    answer = library.search("green tea")
    assert [entry.collection for entry in answer.route.entries] == ["tea"]
    assert answer.route.entries[0].probability == pytest.approx(1.0)


def test_a_pair_of_no_document_is_refused_and_nothing_is_added(library: collegium.Library) -> None:
    pairs = [{"query": "a", "id": "d1"}, {"query": "b", "id": "elsewhere"}]
    with pytest.raises(collegium.InvalidArgumentError, match="pair 1: no document 'elsewhere'"):
        library.add("few", DOCUMENTS, pairs=pairs)
    assert library.info().collections == []


def test_judgments_that_contradict_each_other_are_refused(library: collegium.Library) -> None:
    def add(*pairs: dict[str, Any]) -> dict[str, int]:
        return library.add("few", DOCUMENTS, pairs=pairs).pairs

    yes = {"query": "which?", "id": "d1", "split": "train"}
    invalid = collegium.InvalidArgumentError
    with pytest.raises(invalid, match=r"gain 0.0+ is not a positive number"):
        add(yes, {**yes, "gain": 0})  # judged not relevant
    with pytest.raises(invalid, match=r"pair 1: 'which\?' and document 'd1' have another gain"):
        add(yes, {**yes, "gain": 2})
    with pytest.raises(invalid, match="another gain or split than in pair 0"):
        add(yes, {**yes, "split": "dev"})
    assert library.info().collections == []
    # Alike, they are one; other documents may have other gains; a later call corrects.
    assert add(yes, yes, {**yes, "id": "d2", "gain": 3})["train"] == 3
    assert library.info().collections[0].pairs["train"] == 2
    add({**yes, "gain": 2})
    data = library._core.training_data("few")
    (relevant,), (gains,) = data.queries("train").relevant, data.queries("train").gains
    names = [data.document_ids[number] for number in relevant]
    assert dict(zip(names, gains, strict=True)) == {"d1": 2.0, "d2": 3.0}


def test_what_is_made_does_not_overwrite_what_was_judged(library: collegium.Library) -> None:
    judged = {"query": "which?", "id": "d1", "split": "test"}
    library.add("few", DOCUMENTS, pairs=[{**judged, "split": "train", "kind": "cloze"}])
    assert library.info().collections[0].pairs == {"train": 1, "dev": 0, "test": 0}
    library.add("few", [], pairs=[judged])
    library.add("few", [], pairs=[{**judged, "split": "train", "kind": "cloze"}])
    assert library.info().collections[0].pairs == {"train": 0, "dev": 0, "test": 1}
    assert library._core.training_data("few").pair_kinds == {
        "judged": {"train": 0, "dev": 0, "test": 1}
    }


@pytest.mark.parametrize("kind", ["Cloze", "judged", "a b", "x" * 33, 5])
def test_a_kind_is_a_short_name(library: collegium.Library, kind: Any) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="kind"):
        library.add("few", DOCUMENTS, pairs=[{"query": "a", "id": "d1", "kind": kind}])


def test_a_query_of_several_splits_is_used_in_the_last_alone(library: collegium.Library) -> None:
    pairs = [
        {"query": "the river", "id": "d1", "split": "train"},
        {"query": "the river", "id": "d2", "split": "dev"},
        {"query": "the market", "id": "d3", "split": "train"},
    ]
    library.add("few", DOCUMENTS, pairs=pairs)
    data = library._core.training_data("few")
    assert data.queries("train").texts == ["the market"]
    assert data.queries("dev").texts == ["the river"]
    assert len(data.queries("dev").relevant[0]) == 2


def test_a_question_that_needs_the_corpus_and_does_not_counts_as_both(
    library: collegium.Library,
) -> None:
    documents, pairs = small_data.collections()["tea"]
    library.add("tea", documents, pairs=pairs)
    library.add_negatives([*small_data.NEGATIVES, pairs[0]["query"]])
    assert library.info().negatives == len(small_data.NEGATIVES) + 1
    assert library.fit(multi_task=False).gate_note
    assert library.search(pairs[0]["query"]).passages


def judged_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "judged.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_a_file_of_judgments_may_not_contradict_itself(tmp_path: Path) -> None:
    line = '{"query": "q", "id": "a", "gain": %s}'
    path = judged_file(tmp_path, line % 1, line % 1, line % 0)
    with pytest.raises(collegium.InvalidArgumentError, match="object 3: 'a' has gain 0 for 'q'"):
        evaluation.judged_from_jsonl(path)
    (one,) = evaluation.judged_from_jsonl(judged_file(tmp_path, line % 2, line % 2))
    assert one.judgments == {"a": 2.0}


def vectors(n: int, seed: int) -> Any:
    rows = np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("which", ["passages", "train", "dev"])
def test_nan_is_refused_by_the_training_of_a_head(which: str) -> None:
    arrays = {"passages": vectors(20, 1), "train": vectors(12, 2), "dev": vectors(12, 3)}
    arrays[which][4, 5] = np.nan
    positives = [[i] for i in range(12)]
    with pytest.raises(collegium.InvalidArgumentError, match=r"finite|NaN|nan"):
        train_head_adapter(
            arrays["passages"],
            np.arange(20),
            arrays["train"],
            positives,
            arrays["dev"],
            positives,
        )


def test_a_document_that_is_judged_twice_is_refused_by_the_training_of_a_head() -> None:
    positives = [[i] for i in range(12)]
    twice = [*positives[:7], [3, 9, 3], *positives[8:]]
    rows = (vectors(20, 1), np.arange(20))
    with pytest.raises(collegium.InvalidArgumentError, match="query 7 names document 3 twice"):
        train_head_adapter(*rows, vectors(12, 2), twice, vectors(12, 3), positives)


def test_nan_is_refused_as_a_score_gain_or_weight(library: collegium.Library) -> None:
    library.add("few", DOCUMENTS)
    nan = float("nan")
    invalid = collegium.InvalidArgumentError
    with pytest.raises(invalid, match="gain"):
        library.add("few", [], pairs=[{"query": "q", "id": "d1", "gain": nan}])
    with pytest.raises(invalid, match="lexical_weight"):
        library.search("text", lexical_weight=nan)
    with pytest.raises(invalid, match="learning_rate"):
        collegium.HeadAdapterOptions(learning_rate=nan)
    with pytest.raises(invalid, match="target_recall"):
        collegium.GateOptions(target_recall=nan)
    with pytest.raises(invalid, match="finite"):
        collegium.HeadAdapter.create(np.full((16, 16), nan, np.float32), np.zeros(16, np.float32))


def test_an_expert_set_holds_a_librarys_own_encoder(library: collegium.Library) -> None:
    encoder = library.encoder
    experts = collegium.ExpertSet(encoder)
    experts.set_head("same", collegium.HeadAdapter.identity(encoder.dim))
    plain = encoder.encode(["a text"], kind="query")
    library.close()
    del library
    np.testing.assert_allclose(experts.encode(["a text"], ["same"], kind="query"), plain, atol=1e-6)


def test_a_thousand_experts_of_one_set(tiny_encoder: Path) -> None:
    encoder = collegium.Encoder.load(tiny_encoder)
    experts = collegium.ExpertSet(encoder)
    random = np.random.default_rng(5)
    maps = (
        np.eye(encoder.dim) + 0.1 * random.normal(size=(1000, encoder.dim, encoder.dim))
    ).astype(np.float32)
    bias = np.zeros(encoder.dim, np.float32)
    for i, one in enumerate(maps):
        experts.set_head(f"e{i}", collegium.HeadAdapter.create(one, bias))
    assert len(experts.names) == 1000
    found = experts.encode(["one text"] * 1000, [f"e{i}" for i in range(1000)], kind="query")
    plain = encoder.encode(["one text"], kind="query")[0].astype(np.float64)
    expected = maps.astype(np.float64) @ plain
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_library_of_another_encoder_is_refused(
    tmp_path: Path, tiny_encoder: Path, library: collegium.Library
) -> None:
    """What fit learned, its routers among it, is of the encoder whose digest the library has."""
    documents, pairs = small_data.collections()["tea"]
    with collegium.Library.create(tmp_path / "linked", encoder=tiny_encoder, link=True) as linked:
        linked.add("tea", documents, pairs=pairs)
        linked.fit(multi_task=False)
    other = tiny_encoder.parent / "odd"
    with pytest.raises(collegium.Error, match=r"digest|another encoder|is not the"):
        collegium.Library.open(tmp_path / "linked", encoder=other)
