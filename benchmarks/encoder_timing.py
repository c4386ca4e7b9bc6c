"""Texts of an exact length, and interleaved timing: shared by the encoder_*.py, and by routing_costs.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

import collegium

# A turn's calls: the first brings the engine's own weights back into the caches, then as many as
# take so many milliseconds, at most so many.
TURN_MS = 20.0
TURN_CALLS = 10
LONG_MS = 200.0


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


class Interleaved(NamedTuple):
    """Milliseconds of a call by what was called, one figure a round."""

    times: dict[str, list[float]]  # the median of a turn's calls behind the first
    first: dict[str, list[float]]  # the first call of a turn: the others had the caches before


def turn(call: Callable[[], object]) -> tuple[float, float]:
    """The first call's milliseconds, and the median of those behind it."""
    taken: list[float] = []
    while len(taken) < 2 or (sum(taken[1:]) < TURN_MS and len(taken) <= TURN_CALLS):
        begin = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begin) * 1e3)
        if taken[0] > LONG_MS:  # next to which filling the caches is nothing
            return taken[0], taken[0]
    return taken[0], float(np.median(taken[1:]))


def interleaved(
    calls: Mapping[str, Callable[[], object]], seconds: float, rounds: int, seed: int
) -> Interleaved:
    """Every call in its turn, at least `rounds` times, in a new order each time."""
    measured = Interleaved({name: [] for name in calls}, {name: [] for name in calls})
    for call in calls.values():
        call()
    random, names = np.random.default_rng(seed), list(calls)
    end, done = time.perf_counter() + seconds, 0
    while done < rounds or time.perf_counter() < end:
        for place in random.permutation(len(names)):
            first, rest = turn(calls[names[place]])
            measured.first[names[place]].append(first)
            measured.times[names[place]].append(rest)
            time.sleep(0.002)  # a peer's threads may still spin; the next one shall not suffer
        done += 1
    return measured


def cell(times: list[float]) -> str:
    """Median and middle half."""
    low, middle, high = np.percentile(times, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"
