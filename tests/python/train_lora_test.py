"""LoRAs trained with torch on a tiny random encoder, and loaded by ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import collegium
from collegium import _core, train_lora
from collegium.train_lora import training
from collegium.train_lora.trunk import Trunk, import_torch, read_safetensors
from conftest import RunPython

# Words that the tiny encoder's vocabulary has.
TOPICS = ("river", "winter", "market", "law", "cell", "music", "engine", "water", "runs")
FILLERS = (
    "what is",
    "how",
    "is not",
    "the",
    "a",
    "of the",
    "and",
    "to",
    "in",
    "not",
    "is a",
    "to a",
)


def planted() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Four documents of each topic; a query names its topic by the word of another one, which a
    LoRA has to learn and the plain encoder cannot know."""
    documents = [
        {"id": f"{topic}-{number}", "text": f"{topic} {topic} {number}"}
        for topic in TOPICS
        for number in ("1", "2", "3", "b")
    ]
    pairs = [
        {
            "query": f"{filler} {TOPICS[(t + 4) % len(TOPICS)]}",
            "id": f"{topic}-{number}",
            "split": ("train", "train", "dev")[f % 3],
        }
        for t, topic in enumerate(TOPICS)
        for f, filler in enumerate(FILLERS)
        for number in ("1", "2", "3", "b")
    ]
    return documents, pairs


@pytest.fixture
def library(tmp_path: Path, tiny_encoder: Path) -> Iterator[collegium.Library]:
    with collegium.Library.create(tmp_path / "library", encoder=tiny_encoder) as made:
        documents, pairs = planted()
        made.add("planted", documents, pairs=pairs)
        yield made


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="train-lora needs torch (the extra [train])")


OPTIONS = train_lora.LoraOptions(
    rank=4,
    learning_rate=1e-2,
    batch_size=16,
    max_epochs=15,
    patience=15,
    modules=("query", "value", "intermediate.dense", "output.dense"),
)


def test_training_data_is_what_fit_sees(library: collegium.Library) -> None:
    data = library._core.training_data("planted")
    documents, pairs = planted()
    assert data.document_ids == sorted(document["id"] for document in documents)
    assert data.vectors.shape == (36, library.encoder.dim)
    assert sorted(data.passage_document) == list(range(36))  # one passage each, in any order
    text = {document["id"]: document["text"] for document in documents}
    np.testing.assert_array_equal(
        data.vectors,
        library.encoder.encode([text[data.document_ids[d]] for d in data.passage_document]),
    )
    for split in ("train", "dev"):
        queries = data.queries(split)
        assert set(queries.texts) == {p["query"] for p in pairs if p["split"] == split}
        np.testing.assert_array_equal(
            data.query_vectors(split), library.encoder.encode(queries.texts, kind="query")
        )
        for asked, relevant, gains in zip(
            queries.texts, queries.relevant, queries.gains, strict=True
        ):
            expected = {pair["id"] for pair in pairs if pair["query"] == asked}
            assert {data.document_ids[number] for number in relevant} == expected
            assert gains == [1.0] * 4
    assert data.pair_kinds == {"judged": {"train": 288, "dev": 144, "test": 0}}
    assert data.queries("test").texts == []
    with pytest.raises(collegium.NotFoundError, match="coffee"):
        library._core.training_data("coffee")


def test_the_loss_falls_and_the_folder_loads_as_it_is(
    library: collegium.Library, tmp_path: Path, torch: Any
) -> None:
    folder = tmp_path / "lora"
    report = train_lora.train(library, "planted", folder, options=OPTIONS, progress=False)
    assert report.loss[-1] < 0.8 * report.loss[0]
    assert report.strength > 0, str(report)
    assert report.folder == str(folder)
    assert report.dev_ndcg - report.dev_ndcg_plain > report.standard_error > 0
    assert f"{report.dev_ndcg_plain:.3f} -> {report.dev_ndcg:.3f}" in str(report)
    assert json.loads(report.to_json())["collection"] == "planted"

    encoder = library.encoder
    lora = collegium.LoraAdapter.load(folder, encoder)
    assert lora.rank == OPTIONS.rank
    assert "encoder.layer.0.attention.self.query" in lora.modules
    assert len(lora.modules) == 2 * 5  # output.dense names two of a layer
    experts = collegium.ExpertSet(encoder)
    experts.set_lora("planted", lora)
    texts = ["a b c", "z 3 q", "one two three four five six"]
    ours = experts.encode(texts, ["planted"] * 3, kind="query")

    # torch with what is in the folder, and nothing of what was in memory.
    trunk = Trunk(torch, Path(encoder.folder), encoder.dim)
    config = json.loads((folder / "adapter_config.json").read_text())
    trunk.add_lora(config["target_modules"], config["r"], config["lora_alpha"], seed=9)
    trunk.restore(read_safetensors(folder / "adapter_model.safetensors"))
    ids = [encoder.tokenizer.encode(text, max_tokens=encoder.max_tokens).ids for text in texts]
    with torch.no_grad():
        theirs = trunk.vectors(ids).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.abs(ours - encoder.encode(texts, kind="query")).max() > 1e-3

    with pytest.raises(collegium.AlreadyExistsError):
        train_lora.train(library, "planted", folder, progress=False)
    again = tmp_path / "again"
    train_lora.train(library, "planted", again, options=OPTIONS, progress=False)
    name = "adapter_model.safetensors"
    assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_the_trunk_is_that_of_transformers(tiny_encoder: Path, torch: Any) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModel.from_pretrained(tiny_encoder).eval()
    ids = [[2, 5, 9, 3], [2, 7, 3], [2, 11, 12, 13, 14, 20, 3]]
    trunk = Trunk(torch, tiny_encoder, model.config.hidden_size)
    with torch.no_grad():
        found = trunk.vectors(ids).numpy()
        for row, text in zip(found, ids, strict=True):
            hidden = model(torch.tensor([text])).last_hidden_state[0]
            pooled = hidden.mean(dim=0)
            np.testing.assert_allclose(row, (pooled / pooled.norm()).numpy(), atol=1e-5)


def test_the_loss_is_infonce_over_other_documents(library: collegium.Library, torch: Any) -> None:
    data = library._core.training_data("planted")
    trunk = Trunk(torch, Path(library.encoder.folder), library.encoder.dim)
    options = train_lora.LoraOptions(temperature=0.1)
    run = training._Run(torch, library, data, trunk, options, None)
    batch = np.array([0, 3, 5])
    expected = []
    queries = data.query_vectors("train")
    for q in batch:
        similar = np.exp(data.vectors.astype(np.float64) @ queries[q] / 0.1)
        relevant = data.queries("train").relevant[q]
        judged = np.isin(data.passage_document, relevant)
        others = similar[~judged].sum()
        expected.append(np.mean([-np.log(own / (own + others)) for own in similar[judged]]))
    assert float(run._loss(batch).detach()) == pytest.approx(np.mean(expected), abs=1e-4)


def test_ndcg_is_that_of_the_library(library: collegium.Library, torch: Any) -> None:
    data = library._core.training_data("planted")
    dev = data.queries("dev")
    found = training._Judge(data).ndcg(data.query_vectors("dev"))
    for i in range(0, len(found), 7):
        scores = data.vectors @ data.query_vectors("dev")[i]
        order = data.passage_document[np.lexsort((data.passage_document, -scores))]
        ranking = [(data.document_ids[d], float(-rank)) for rank, d in enumerate(order)]
        gains = zip(dev.relevant[i], dev.gains[i], strict=True)
        judgments = {data.document_ids[number]: gain for number, gain in gains}
        assert found[i] == pytest.approx(_core.ndcg_at(10, ranking, judgments), abs=1e-9)


def test_where_nothing_is_learned_nothing_is_written(
    library: collegium.Library, tmp_path: Path, torch: Any
) -> None:
    folder = tmp_path / "none"
    options = train_lora.LoraOptions(learning_rate=1e-12, max_epochs=1)
    report = train_lora.train(library, "planted", folder, options=options, progress=False)
    assert (report.strength, report.folder) == (0.0, "")
    assert report.note == "no adapter: none gains beyond noise"
    assert report.dev_ndcg == report.dev_ndcg_plain
    assert not folder.exists()
    assert list(tmp_path.glob("none*")) == []


def test_too_few_or_no_pairs(tmp_path: Path, tiny_encoder: Path, torch: Any) -> None:
    documents, pairs = planted()
    with collegium.Library.create(tmp_path / "library", encoder=tiny_encoder) as library:
        library.add("none", documents)
        with pytest.raises(collegium.FailedPreconditionError, match="no training pairs"):
            train_lora.train(library, "none", tmp_path / "a")
        one = [{**pairs[0], "split": "train"}]
        library.add("few", documents, pairs=one)
        report = train_lora.train(library, "few", tmp_path / "a")
        assert report.note == "no adapter: 0 queries to choose on, of the 10 it takes"
        with pytest.raises(collegium.NotFoundError):
            train_lora.train(library, "coffee", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_it_can_be_cancelled(library: collegium.Library, tmp_path: Path, torch: Any) -> None:
    with pytest.raises(collegium.CancelledError):
        train_lora.train(
            library, "planted", tmp_path / "a", progress=lambda stage, done, total: False
        )
    assert list(tmp_path.glob("a*")) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank"),
        ({"alpha": -1.0}, "alpha"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"temperature": True}, "temperature"),
        ({"modules": ()}, "modules"),
        ({"modules": ("queries",)}, "'queries'"),
        ({"modules": "query"}, "several names"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        train_lora.LoraOptions(**options)


def test_an_encoder_it_does_not_train_is_named(tmp_path: Path, torch: Any) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mpnet"}')
    with pytest.raises(collegium.NotSupportedError, match="'mpnet'"):
        Trunk(torch, tmp_path, 8)


def test_without_torch_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: collegium.Library
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(collegium.NotSupportedError, match=r"pip install 'collegium\[train\]'"):
        import_torch()
    with pytest.raises(collegium.NotSupportedError, match="extra"):
        train_lora.train(library, "planted", tmp_path / "a")


def test_the_package_does_not_import_torch(run_python: RunPython) -> None:
    done: subprocess.CompletedProcess[str] = run_python(
        ["-c", "import sys, collegium.cli; print('torch' in sys.modules)"]
    )
    assert done.stdout.strip() == "False", done.stderr


def test_the_command_trains(
    library: collegium.Library, tmp_path: Path, run_python: RunPython, torch: Any
) -> None:
    library.close()
    done = run_python(
        [
            *("-m", "collegium", "train-lora", "--library", str(tmp_path / "library"), "--json"),
            *("--collection", "planted", "--folder", str(tmp_path / "lora"), "--rank", "4"),
            *("--learning-rate", "0.01", "--max-epochs", "2", "--modules", "query,value"),
        ]
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["loss"]) == 2
    assert (tmp_path / "lora").exists() == (report["strength"] > 0)
