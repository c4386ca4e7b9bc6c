"""Writes tests/data/statistics_goldens.json: what numpy and statsmodels (0.15.0 wrote the file)
make of small data. The bootstrap's distribution is exact: every resample of a few queries is
enumerated.

    python tests/oracles/make_statistics_goldens.py
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from statsmodels.stats.multitest import multipletests

OUT = Path(__file__).parent.parent / "data" / "statistics_goldens.json"


def every_mean(values: list[float]) -> np.ndarray:
    """(n^n,) the mean of each way to draw n of n values."""
    rows = np.array(list(itertools.product(values, repeat=len(values))))
    return rows.mean(axis=1)


def bootstrap(sets: list[list[float]]) -> dict[str, Any]:
    means = every_mean(sets[0])
    for values in sets[1:]:
        means = np.add.outer(means, every_mean(values)).ravel()
    means /= len(sets)
    mean = float(np.mean([np.mean(values) for values in sets]))
    differing = sum(value != 0 for values in sets for value in values)
    # Rounding must not decide whether a resample is as far from the mean as 0 is.
    far = np.abs(means - mean) >= abs(mean) - 1e-12
    return {
        "differences": sets,
        "mean": mean,
        "low": [float(np.quantile(means, q)) for q in (0.02, 0.03)],
        "high": [float(np.quantile(means, q)) for q in (0.97, 0.98)],
        "p": float(far.mean()),
        "least": float(2.0 ** (1 - differing)),
    }


def calibration(rng: np.random.Generator, n: int, bins: int) -> dict[str, Any]:
    confidence = rng.choice([0.0, 0.1, 0.3, 0.5, 1.0, *rng.random(20)], n)
    right = rng.random(n) < confidence * 0.8
    # (low, high]: the first bin holds 0 too.
    edges = np.arange(bins + 1) / bins
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    rows, ece = [], 0.0
    for number in range(bins):
        held = index == number
        count = int(held.sum())
        mean = float(confidence[held].mean()) if count else 0.0
        accuracy = float(right[held].mean()) if count else 0.0
        ece += count / n * abs(mean - accuracy)
        rows.append({"count": count, "confidence": mean, "accuracy": accuracy})
    return {
        "confidence": confidence.tolist(),
        "right": right.astype(int).tolist(),
        "ece": ece,
        "bins": rows,
    }


def coverage(rng: np.random.Generator, n: int, steps: int) -> dict[str, Any]:
    confidence = rng.integers(0, 12, n) / 12  # with ties
    routed, otherwise = rng.random(n), rng.random(n)
    right = rng.random(n) < 0.7
    sets = rng.choice([0, 1, 3], n)  # set 2 has no query
    order = np.argsort(-confidence, kind="stable")
    curve = []
    for step in range(steps + 1):
        kept = order[: step * n // steps]
        values = otherwise.copy()
        values[kept] = routed[kept]
        curve.append(
            {
                "coverage": len(kept) / n,
                "quality": float(np.mean([values[sets == s].mean() for s in np.unique(sets)])),
                "accuracy": float(right[kept].mean()) if len(kept) else 0.0,
            }
        )
    return {
        "confidence": confidence.tolist(),
        "routed": routed.tolist(),
        "otherwise": otherwise.tolist(),
        "right": right.astype(int).tolist(),
        "set": sets.tolist(),
        "curve": curve,
    }


def main() -> None:
    rng = np.random.default_rng(11)
    round_to = lambda n, scale: np.round(rng.normal(0.1, scale, n), 3).tolist()  # noqa: E731
    cases = [[round_to(6, 0.2)], [round_to(7, 0.05)], [round_to(4, 0.3), round_to(4, 0.1)]]
    cases.append([[0.0, 0.0, 0.4, -0.1, 0.2, 0.0]])
    p_values = [rng.random(n).tolist() for n in (1, 2, 10, 18)]
    p_values += [[0.01, 0.01, 0.04, 0.03, 1.0], [0.0004, 0.2, 0.0004, 0.9]]
    goldens = {
        "bootstrap": [bootstrap(sets) for sets in cases],
        "holm": [
            {"p": p, "corrected": multipletests(p, method="holm")[1].tolist()} for p in p_values
        ],
        "calibration": [calibration(rng, n, bins) for n, bins in ((200, 10), (40, 15), (7, 1))],
        "coverage": [coverage(rng, n, steps) for n, steps in ((90, 20), (13, 5))],
    }
    OUT.write_text(json.dumps(goldens) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
