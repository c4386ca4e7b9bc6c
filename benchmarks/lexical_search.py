"""Evidence: lexical search beside bm25s, in one run (docs/evidence/lexical-search.md).

    python benchmarks/lexical_search.py --data ../shared/data

Passages and questions are those of the research data, all sets together. Both get the same words:
bm25s is given them, Collegium finds them itself, so its times include that; bm25s's do not. Rounds
alternate, and a figure is the median of its rounds.
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
from pathlib import Path
from typing import Any

import bm25s
import numpy as np

import evidence

K = 10
COMMIT = 2000  # documents


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


def measure(driver: Driver, folder: str, data: Path, arguments: argparse.Namespace) -> str:
    documents, queries = load(data, arguments.passages, arguments.queries)
    print(f"{len(documents)} passages, {len(queries)} queries")
    settings = {"stemmer": "english", "english_stop_words": True} if arguments.english else {}
    driver("open", path=folder + "/corpus", settings=settings)
    index_seconds = 0.0
    for begin in range(0, len(documents), COMMIT):
        batch = documents[begin : begin + COMMIT]
        began = time.perf_counter()
        driver("add", documents=batch)
        index_seconds += time.perf_counter() - began
    print(f"collegium: indexed in {index_seconds:.1f} s")

    words = driver("terms", texts=[f"{title}\n{text}" for _, title, text in documents])
    query_words = driver("terms", texts=queries)
    peer = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    began = time.perf_counter()
    peer.index(words, show_progress=False)
    peer_index_seconds = time.perf_counter() - began
    print(f"bm25s: indexed in {peer_index_seconds:.1f} s")

    backends = ["numpy"] + (["numba"] if importlib.util.find_spec("numba") else [])
    ours: dict[str, list[float]] = {"hits": [], "hits and why they matched": []}
    theirs: dict[str, list[float]] = {backend: [] for backend in backends}
    differences = []
    for round_number in range(arguments.rounds + 1):  # the first fills caches and compiles
        for name, explain in (("hits", False), ("hits and why they matched", True)):
            answer = driver("search", queries=queries, k=K, explain=explain)
            if round_number:
                ours[name].append(1000 * answer["seconds"] / len(queries))
        for backend in backends:
            peer.backend = backend
            began = time.perf_counter()
            _, scores = peer.retrieve(
                query_words, k=K, show_progress=False, backend_selection=_selection(backend)
            )
            if round_number:
                theirs[backend].append(1000 * (time.perf_counter() - began) / len(queries))
        if round_number == 0:
            for hits, best in zip(answer["hits"], scores, strict=True):
                found = np.array([score for _, score in hits] + [0.0] * (K - len(hits)))
                differences.append(float(np.max(np.abs(found - best))))

    rows = [f"| collegium, {name} | {spread(values)} | |" for name, values in ours.items()]
    for backend, values in theirs.items():
        ratio = statistics.median(values) / statistics.median(ours["hits"])
        rows.append(f"| bm25s {bm25s.__version__}, {backend} | {spread(values)} | {ratio:.2f} |")
    kind = "English stemming and stop words" if arguments.english else "words as they are"
    return "\n".join(
        [
            f"## {len(documents):,} passages, {len(queries)} queries, {kind}",
            "",
            f"One thread, the best {K}. Milliseconds a query: median of {arguments.rounds} rounds"
            " (least to most). Ratio: bm25s's time over Collegium's without explanation. bm25s is"
            " given all queries in one call and already cut into words.",
            "",
            "| | ms a query | ratio |",
            "|---|---|---|",
            *rows,
            "",
            f"Greatest difference of the {K} best scores over all queries: {max(differences):.1e}."
            f" Indexing: Collegium {index_seconds:.1f} s (finding words, storing documents and"
            f" postings durably, {COMMIT} documents a commit), bm25s {peer_index_seconds:.1f} s (in"
            " memory, words given).",
            "",
        ]
    )


def _selection(backend: str) -> str:
    return "numba" if backend == "numba" else "numpy"


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
