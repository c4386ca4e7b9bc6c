"""Evidence: lexical search beside bm25s, in one run (docs/evidence/lexical-search.md).

    python benchmarks/lexical_search.py --data ../shared/data

Passages and questions are those of the research data, all sets together. Collegium finds the words
of a question itself, so its times include that. bm25s is given the very same words; a row of its
own adds the time its own tokenizer takes for the questions. Rounds alternate, and a figure is the
median of its rounds.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bm25s
import numpy as np

import evidence

K = 10
COMMIT = 2000  # documents
SINGLE = 100  # commits of one document


class Driver:
    """tests/index/lexical_driver.cc."""

    def __init__(self, path: Path | str) -> None:
        self.process = subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, op: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if isinstance(answer, dict) and "error" in answer:
            raise SystemExit(f"driver: {answer['error']}")
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def find_driver() -> Path | None:
    """The newest build."""
    built = evidence.ROOT.glob("build/*/tests/index/collegium_lexical_driver")
    return max(built, key=lambda path: path.stat().st_mtime, default=None)


def read_lines(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def load(data: Path, passages: int, queries: int) -> tuple[list[list[str]], list[str]]:
    """Documents (id, title, text) and questions, taken from the sets in turn."""
    sets = sorted(path.parent for path in data.glob("*/corpus.jsonl.gz"))
    documents: list[list[str]] = []
    questions: list[str] = []
    for folder in sets:
        for line in read_lines(folder / "corpus.jsonl.gz"):
            documents.append([f"{folder.name}/{line['_id']}", line["title"], line["text"]])
        lines = read_lines(folder / "queries.jsonl.gz")
        step = max(1, len(lines) // (queries // len(sets) + 1))
        questions += [line["text"] for line in lines[::step]][: queries // len(sets) + 1]
    order = np.random.default_rng(0).permutation(len(documents))[:passages]
    return [documents[i] for i in order], questions[:queries]


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def seconds_of(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Peer:
    """bm25s over the same words."""

    def __init__(self, words: list[list[str]]) -> None:
        self.bm25 = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        self.index_seconds = seconds_of(lambda: self.bm25.index(words, show_progress=False))
        self.backends = ["numpy"] + (["numba"] if importlib.util.find_spec("numba") else [])

    def search(self, words: list[list[str]], backend: str) -> tuple[float, Any]:
        """Seconds, and the scores (queries, K)."""
        self.bm25.backend = backend
        began = time.perf_counter()
        _, scores = self.bm25.retrieve(
            words, k=K, show_progress=False, backend_selection=backend, n_threads=0
        )
        return time.perf_counter() - began, scores


def measure_searches(
    driver: Driver, peer: Peer, queries: list[str], rounds: int, english: bool
) -> tuple[list[str], float]:
    """Rows of the table, and the greatest difference of a score."""
    words = driver("terms", texts=queries)
    times: dict[str, list[float]] = {}
    differences = []
    for round_number in range(rounds + 1):  # the first fills caches and compiles
        seconds = {}
        for name, explain in (("hits", False), ("hits and why they matched", True)):
            answer = driver("search", queries=queries, k=K, explain=explain)
            seconds[f"collegium, {name}"] = answer["seconds"]
        cutting = seconds_of(
            lambda: bm25s.tokenize(
                queries,
                stopwords="en" if english else None,
                return_ids=False,
                show_progress=False,
            )
        )
        for backend in peer.backends:
            name = f"bm25s {bm25s.__version__}, {backend}"
            taken, scores = peer.search(words, backend)
            seconds[f"{name}, words given"] = taken
            seconds[f"{name}, with its tokenizer"] = taken + cutting
        if round_number == 0:
            for hits, best in zip(answer["hits"], scores, strict=True):
                found = np.array([score for _, score in hits] + [0.0] * (K - len(hits)))
                differences.append(float(np.max(np.abs(found - best))))
            continue
        for name, taken in seconds.items():
            times.setdefault(name, []).append(1000 * taken / len(queries))
    ours = times["collegium, hits"]
    rows = []
    for name, values in times.items():
        ratios = [value / own for value, own in zip(values, ours, strict=True)]
        ratio = "" if name.startswith("collegium") else spread(ratios)
        rows.append(f"| {name} | {spread(values)} | {ratio} |")
    return rows, max(differences)


def measure_writes(driver: Driver, documents: list[list[str]], queries: list[str]) -> list[str]:
    """Rows of the table: what is removed is added again."""
    many = documents[:COMMIT]
    single = documents[COMMIT : COMMIT + SINGLE]
    removed = seconds_of(lambda: driver("remove", ids=[document[0] for document in many]))
    added = seconds_of(lambda: driver("add", documents=many))
    one_removed, one_added, searched = [], [], []
    for i, document in enumerate(single):
        one_removed.append(seconds_of(lambda d=document: driver("remove", ids=[d[0]])))
        one_added.append(seconds_of(lambda d=document: driver("add", documents=[d])))
        query = queries[i % len(queries)]
        searched.append(1000 * driver("search", queries=[query], k=K)["seconds"])
    return [
        f"| add, {COMMIT} documents a commit | {len(many) / added:,.0f} documents a second |",
        f"| remove, {COMMIT} documents a commit | {len(many) / removed:,.0f} documents a second |",
        f"| add, a document a commit | {1000 * statistics.median(one_added):.1f} ms each |",
        f"| remove, a document a commit | {1000 * statistics.median(one_removed):.1f} ms each |",
        f"| a query right after a commit | {statistics.median(searched):.3f} ms |",
    ]


def measure(driver: Driver, folder: str, data: Path, arguments: argparse.Namespace) -> str:
    documents, queries = load(data, arguments.passages, arguments.queries)
    print(f"{len(documents)} passages, {len(queries)} queries")
    english = arguments.english
    settings = {"stemmer": "english", "english_stop_words": True} if english else {}
    driver("open", path=folder + "/corpus", settings=settings)
    index_seconds = 0.0
    for begin in range(0, len(documents), COMMIT):
        batch = documents[begin : begin + COMMIT]
        index_seconds += seconds_of(lambda b=batch: driver("add", documents=b))
    print(f"collegium: indexed in {index_seconds:.1f} s")
    peer = Peer(driver("terms", texts=[f"{title}\n{text}" for _, title, text in documents]))
    print(f"bm25s: indexed in {peer.index_seconds:.1f} s")
    rows, difference = measure_searches(driver, peer, queries, arguments.rounds, english)
    writes = measure_writes(driver, documents, queries)
    kind = "English stemming and stop words" if english else "words as they are"
    return "\n".join(
        [
            f"## {len(documents):,} passages, {len(queries)} queries, {kind}",
            "",
            f"One thread, the best {K}. Milliseconds a query: median of {arguments.rounds} rounds"
            " (least to most). Ratio: bm25s's time over Collegium's without explanation in the same"
            " round, above 1 where Collegium is faster. bm25s is given all queries in one call,"
            " Collegium one by one and as text.",
            "",
            "| | ms a query | ratio |",
            "|---|---|---|",
            *rows,
            "",
            f"Greatest difference of the {K} best scores over all queries: {difference:.1e}"
            " (bm25s's are float32 sums).",
            "",
            "| writing | |",
            "|---|---|",
            f"| build: Collegium, {COMMIT} documents a commit | {index_seconds:.1f} s"
            " (finding words, storing documents and postings durably) |",
            f"| build: bm25s | {peer.index_seconds:.1f} s (in memory, words given) |",
            *writes,
            "",
            "Every commit is durable, and bm25s, which can neither add nor remove, builds anew.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("COLLEGIUM_DATA"))
    parser.add_argument("--driver", default=find_driver())
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.driver is None:
        raise SystemExit("--driver: collegium_lexical_driver is not built")
    if not arguments.data or not Path(arguments.data).is_dir():
        raise SystemExit("--data: a folder of BEIR folders is needed (or COLLEGIUM_DATA)")
    parts = []
    for english in (False, True):
        arguments.english = english
        driver = Driver(arguments.driver)
        with tempfile.TemporaryDirectory() as folder:
            parts.append(measure(driver, folder, Path(arguments.data), arguments))
            driver.close()
    text = evidence.header(
        "Lexical search",
        "python benchmarks/lexical_search.py --data DATA",
        "0",
    )
    evidence.write("lexical-search", text + "\n" + "\n".join(parts))


if __name__ == "__main__":
    main()
