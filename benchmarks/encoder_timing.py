"""Texts of an exact length, and interleaved timing: shared by the encoder_*.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

import collegium


def vocabulary(encoder: collegium.Encoder) -> list[str]:
    """Words of a WordPiece vocabulary that are one token each."""
    lines = Path(encoder.folder, "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [w for w in lines if w.isascii() and w.isalpha() and w.islower() and len(w) > 2]


def random_texts(encoder: collegium.Encoder, texts: int, tokens: int, seed: int) -> list[str]:
    """Random words, so that every text has exactly `tokens`."""
    words = np.random.default_rng(seed).choice(vocabulary(encoder), (texts, tokens - 2))
    made = [" ".join(row) for row in words]
    assert (encoder.embed(made, progress=False).num_tokens == tokens).all()
    return made


def interleaved(
    calls: Mapping[str, Callable[[], object]], seconds: float, rounds: int, seed: int
) -> dict[str, list[float]]:
    """Milliseconds of every call by round; at least `rounds`, in a new order each time."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    random, names = np.random.default_rng(seed), list(calls)
    end, done = time.perf_counter() + seconds, 0
    while done < rounds or time.perf_counter() < end:
        for place in random.permutation(len(names)):
            begin = time.perf_counter()
            calls[names[place]]()
            times[names[place]].append((time.perf_counter() - begin) * 1e3)
            time.sleep(0.002)  # a peer's threads may still spin; the next one shall not suffer
        done += 1
    return times


def cell(times: list[float]) -> str:
    """Median and middle half."""
    low, middle, high = np.percentile(times, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"
