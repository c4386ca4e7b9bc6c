"""Lexical search against bm25s: the same words in, the same scores out.

The words are ours (tests/index/lexical_words_test.cc says what they are); every score is compared
with bm25s's for "lucene", on five sets of the research data in BEIR's layout, whose folder
COLLEGIUM_DATA names.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SETS = ["cardano_se", "cosqa", "cranfield", "nl2bash", "scifact"]
QUERIES = 200
K = 100


def find_driver() -> Path:
    """The newest build of tests/index/lexical_driver.cc, or the one that COLLEGIUM_LEXICAL_DRIVER
    names."""
    named = os.environ.get("COLLEGIUM_LEXICAL_DRIVER")
    if named:
        return Path(named)
    built = list(ROOT.glob("build/*/tests/index/collegium_lexical_driver"))
    if not built:
        pytest.skip("collegium_lexical_driver is not built")
    return max(built, key=lambda path: path.stat().st_mtime)


class Driver:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [find_driver()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, op: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert not isinstance(answer, dict) or "error" not in answer, answer
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(timeout=60) == 0


@pytest.fixture
def driver() -> Iterator[Driver]:
    started = Driver()
    yield started
    started.close()


def read_lines(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def expect_scores(driver: Driver, documents: list[list[str]], queries: list[str]) -> None:
    """Searches ``documents`` (id, title, text), which the driver holds, as bm25s does."""
    bm25s = pytest.importorskip("bm25s")
    passages = driver("terms", texts=[f"{title}\n{text}" for _, title, text in documents])
    reference = bm25s.BM25(method="lucene", k1=1.2, b=0.75, dtype="float64")
    reference.index(passages, show_progress=False)
    words = driver("terms", texts=queries)
    found = driver("search", queries=queries, k=K)["hits"]
    numbers = {document[0]: i for i, document in enumerate(documents)}
    for query, hits in zip(words, found, strict=True):
        known = [word for word in query if word in reference.vocab_dict]
        scores = reference.get_scores(known) if known else np.zeros(len(documents))
        best = np.sort(scores[scores > 0])[::-1][:K]
        assert len(hits) == len(best)
        ours = np.array([score for _, score in hits])
        theirs = np.array([scores[numbers[document]] for document, _ in hits])
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours, best, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("settings", [{}, {"stemmer": "english", "english_stop_words": True}])
def test_scores_are_those_of_bm25s(
    name: str, settings: dict[str, Any], driver: Driver, tmp_path: Path
) -> None:
    data = os.environ.get("COLLEGIUM_DATA")
    if not data:
        pytest.skip("COLLEGIUM_DATA names no folder")
    corpus = read_lines(Path(data) / name / "corpus.jsonl.gz")
    documents = [[line["_id"], line["title"], line["text"]] for line in corpus]
    queries = [line["text"] for line in read_lines(Path(data) / name / "queries.jsonl.gz")]
    driver("open", path=str(tmp_path / "corpus"), settings=settings)
    for begin in range(0, len(documents), 1000):
        driver("add", documents=documents[begin : begin + 1000])
    expect_scores(driver, documents, queries[:QUERIES])


def test_scores_after_removals_are_those_of_what_is_left(driver: Driver, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    words = [f"w{i}" for i in range(200)]

    def text() -> str:
        return " ".join(random.choice(words, size=random.integers(1, 40)))

    driver("open", path=str(tmp_path / "corpus"))
    documents = {f"d{i}": [f"d{i}", "", text()] for i in range(1500)}
    driver("add", documents=list(documents.values()))
    gone = [f"d{i}" for i in random.permutation(1500)[:700]]
    driver("remove", ids=gone[:500])
    for document in gone[:500]:
        del documents[document]
    for document in gone[500:]:
        documents[document] = [document, "title w1", text()]
    driver("add", documents=[documents[document] for document in gone[500:]])
    queries = [" ".join(random.choice(words, size=4)) for _ in range(50)]
    expect_scores(driver, list(documents.values()), queries)
