"""Vector search side by side with FAISS's own wheel, in one run on one machine.

    cmake --preset release && cmake --build build/release --target vector_search_bench
    python benchmarks/vector_search.py

Exact search of every kind and batch on one and two threads, against `faiss-cpu` as it comes and
tuned (`distance_compute_blas_threshold` = 10 x dim: since 1.14.2 its default reads all vectors
again for each query of a batch of 20 to 333; and of the OpenBLAS kernels this machine can run the
ones that are fastest here, found by trying), and its SQ8. Calls are interleaved: in every round
each engine answers the same queries once, in a new order. COLLEGIUM_ISA=avx2 caps the library, and
then FAISS and OpenBLAS too, by their own variables; every level has a page of its own. Vectors: clustered synthetic ones, and
those of the routing library under build/evidence/ if benchmarks/routing.py made one, where
1,024 that are taken out are the queries.

ROWS, ROUNDS and BENCH (the executable) come from the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import faiss
import numpy as np
import numpy.typing as npt

import collegium
import evidence

SEED = 20261125
ROWS = int(os.environ.get("ROWS", "100000"))
ROUNDS = int(os.environ.get("ROUNDS", "15"))
BENCH = Path(
    os.environ.get("BENCH", evidence.ROOT / "build/release/benchmarks/vector_search_bench")
)
DIM = 384
QUERIES = 1024
K = 10
BATCHES = (1, 16, 64, 256)
KINDS = ("fp32", "int8", "bf16", "binary")
# What is asked of every kind and batch against the tuned wheel on one thread; 0: nothing.
BARS = {"fp32": (0.95, 2.0, 1.2, 1.2), "int8": (3.0, 4.0, 1.8, 1.8)}
AMX_BARS = {**BARS, "int8": (3.0, 13.0, 13.0, 13.0), "bf16": (0.0, 0.0, 6.0, 6.0)}
# Kernels of OpenBLAS by level; none: those it picks itself.
BLAS_KERNELS = {"avx2": ("Haswell",), "": ("", "Haswell", "SkylakeX", "SapphireRapids")}
CHOSEN = "VECTOR_SEARCH_BLAS"  # tells the second run of this script what the first one chose

Vectors = npt.NDArray[np.float32]


def synthetic() -> tuple[Vectors, Vectors]:
    """Clusters as encoders make them: 1,000 topics, nearest neighbours at 0.6 to 0.9."""
    random = np.random.default_rng(SEED)
    centres = random.standard_normal((1000, DIM), dtype=np.float32)
    size = ROWS + QUERIES
    vectors = centres[random.integers(1000, size=size)]
    vectors += 0.8 * random.standard_normal((size, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[:ROWS], vectors[ROWS:]


def real(folder: Path) -> tuple[Vectors, Vectors] | None:
    """The stored vectors of a library's passages; some are taken out as queries."""
    libraries = sorted((evidence.ROOT / "build" / "evidence").glob("routing18-library-*"))
    if not libraries:
        return None
    subprocess.run([BENCH, libraries[-1], folder / "real"], check=True)
    vectors = np.fromfile(folder / "real", np.float32).reshape(-1, DIM)
    order = np.random.default_rng(SEED).permutation(len(vectors))
    return vectors[order[QUERIES:]], vectors[order[:QUERIES]]


class Ours:
    """The bench executable: it times itself, so that the pipe costs nothing."""

    def __init__(self, folder: Path, rows: Vectors, queries: Vectors) -> None:
        rows.tofile(folder / "rows")
        queries.tofile(folder / "queries")
        self.folder = folder
        self.process = subprocess.Popen(
            [BENCH, folder / "rows", folder / "queries", str(DIM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise SystemExit(f"vector_search_bench: {command!r} gave {answer!r}")
        return answer

    def timed(self, kind: str, batch: int) -> Callable[[], float]:
        return lambda: float(self.ask(f"time {kind} {batch} {K}")) * 1e3

    def find(self, kind: str, batch: int) -> npt.NDArray[np.int64]:
        path = self.folder / "found"
        self.ask(f"find {kind} {batch} {K} {path}")
        return np.fromfile(path, np.int64).reshape(-1, K)


def peer(index: faiss.Index, queries: Vectors, batch: int, threshold: int) -> Callable[[], float]:
    at = 0

    def call() -> float:
        nonlocal at
        at = 0 if at + batch > len(queries) else at
        faiss.cvar.distance_compute_blas_threshold = threshold
        part = queries[at : at + batch]
        at += batch
        begin = time.perf_counter()
        index.search(part, K)
        return (time.perf_counter() - begin) * 1e3

    return call


def interleaved(calls: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    random, names = np.random.default_rng(SEED), list(calls)
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for place in random.permutation(len(names)):
            times[names[place]].append(calls[names[place]]())
            time.sleep(0.002)  # a peer's threads may still spin; the next one shall not suffer
    return times


def recall(found: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, truth, strict=True))
    return hits / truth.size


def best_rows(rows: Vectors, queries: Vectors) -> npt.NDArray[np.int64]:
    """In double precision."""
    found = []
    wide = rows.astype(np.float64)
    for begin in range(0, len(queries), 64):
        scores = queries[begin : begin + 64].astype(np.float64) @ wide.T
        found.append(np.argsort(-scores, axis=1, kind="stable")[:, :K])
    return np.concatenate(found)


TIMED = """
import faiss, numpy, time
rows = numpy.random.default_rng(1).standard_normal((20000, 384), dtype=numpy.float32)
faiss.omp_set_num_threads(1)
faiss.cvar.distance_compute_blas_threshold = 3840
index = faiss.IndexFlatIP(384)
index.add(rows)
times = []
for _ in range(4):
    begin = time.perf_counter()
    index.search(rows[:256], 10)
    times.append(time.perf_counter() - begin)
print(min(times))
"""


def run_under_fastest_kernels() -> NoReturn:
    """Starts this script again with those that answer soonest."""
    level = collegium.isa()
    times: dict[str, float] = {}
    environments = {}
    for kernels in BLAS_KERNELS.get(level, BLAS_KERNELS[""]):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        environment[CHOSEN] = kernels
        if kernels:
            environment["OPENBLAS_CORETYPE"] = kernels
        if level == "avx2":
            environment["FAISS_SIMD_LEVEL"] = "AVX2"
        done = subprocess.run(
            [sys.executable, "-c", TIMED], env=environment, capture_output=True, text=True
        )
        if done.returncode == 0:  # else a machine that cannot run them
            times[kernels], environments[kernels] = float(done.stdout), environment
    print("OpenBLAS kernels:", {name or "its own": f"{t:.3f} s" for name, t in times.items()})
    best = min(times, key=lambda name: times[name])
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.argv], environments[best])


def verdict(reached: float, wanted: float) -> str:
    return f" [{wanted:g}x {'met' if reached >= wanted else '**missed**'}]" if wanted else ""


def section(name: str, rows: Vectors, queries: Vectors, default: int) -> list[str]:
    lines = [f"## {name}: {len(rows):,} x {DIM}, {len(queries):,} queries, k = {K}", ""]
    bars = AMX_BARS if collegium.isa() == "amx" else BARS
    flat, sq8 = (
        faiss.IndexFlatIP(DIM),
        faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT),
    )
    flat.add(rows)
    sq8.train(rows)
    sq8.add(rows)
    with tempfile.TemporaryDirectory() as temporary:
        ours = Ours(Path(temporary), rows, queries)
        truth = best_rows(rows, queries)
        lines += ["| kind | recall@10 | alone equal to batches of 256 |", "|---|---|---|"]
        for kind in KINDS:
            alone, batched = ours.find(kind, 1), ours.find(kind, 256)
            same = "yes" if np.array_equal(alone, batched) else "NO"
            lines.append(f"| {kind} | {recall(alone, truth):.4f} | {same} |")
        lines.append(f"| faiss SQ8 | {recall(sq8.search(queries, K)[1], truth):.4f} | |")
        lines.append("")
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            ours.ask(f"threads {threads}")
            lines += [
                f"### {threads} thread{'s' if threads > 1 else ''}",
                "",
                "Milliseconds a batch: median (middle half). Ratios of medians to the tuned wheel; "
                "in brackets the bar and whether it is met.",
                "",
                "| batch | "
                + " | ".join(["faiss tuned", "faiss default", "faiss SQ8", *KINDS])
                + " |",
                "|---" * (4 + len(KINDS)) + "|",
            ]
            for place, batch in enumerate(BATCHES):
                calls = {
                    "faiss tuned": peer(flat, queries, batch, 10 * DIM),
                    "faiss default": peer(flat, queries, batch, default),
                    "faiss SQ8": peer(sq8, queries, batch, default),
                    **{kind: ours.timed(kind, batch) for kind in KINDS},
                }
                times = interleaved(calls)
                reference = float(np.median(times["faiss tuned"]))
                cells = []
                for call, measured in times.items():
                    low, middle, high = np.percentile(measured, [25, 50, 75])
                    cell = f"{middle:.2f} ({low:.2f}–{high:.2f})"
                    if call != "faiss tuned":
                        cell += f" {reference / middle:.2f}x"
                    if threads == 1 and call in bars:
                        cell += verdict(reference / middle, bars[call][place])
                    cells.append(cell)
                lines.append(f"| {batch} | " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
            lines.append("")
        assert ours.process.stdin is not None
        ours.process.stdin.close()
        ours.process.wait()
    return lines


def main() -> None:
    if CHOSEN not in os.environ:
        run_under_fastest_kernels()
    kernels = os.environ[CHOSEN] or "its own choice"
    capped = " FAISS_SIMD_LEVEL=AVX2." if collegium.isa() == "avx2" else ""
    default = faiss.cvar.distance_compute_blas_threshold
    lines = [
        evidence.header("Exact vector search", "python benchmarks/vector_search.py", str(SEED)),
        f"faiss-cpu {faiss.__version__}, its default blas threshold {default}, tuned {10 * DIM}. "
        f"OpenBLAS kernels: {kernels}.{capped} "
        f"{ROUNDS} rounds, interleaved. int8 and bf16 are followed by the fp32 rows that may be "
        "among the best, and give the bits of fp32; binary can miss some.",
        "",
        *section("Clustered synthetic vectors", *synthetic(), default),
    ]
    with tempfile.TemporaryDirectory() as temporary:
        vectors = real(Path(temporary))
    if vectors is not None:
        lines += section("Passages of the routing library", *vectors, default)
    evidence.write(f"vector-search-{collegium.isa()}", "\n".join(lines))


if __name__ == "__main__":
    main()
