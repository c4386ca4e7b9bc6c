"""Graphs and lists side by side with hnswlib, usearch and faiss-cpu on one machine.

    cmake --preset release
    cmake --build build/release --target graph_search_bench vector_search_bench
    python benchmarks/graph_search.py build ENGINE    (each of ENGINES, on two threads)
    python benchmarks/graph_search.py search          (one thread, interleaved)
    python benchmarks/graph_search.py page

Steps keep what they measured in build/evidence/graph-search/, so that each is short and can have
the machine to itself. Every engine is built with its own defaults and is asked with the least
effort of its own that finds 0.99 of the ten best rows; each round then asks every engine all
queries once, in a new order, in one call. SET names the vectors: "synthetic" or "real", both as in
vector_search.py. ROWS, ROUNDS and GRAPH_BENCH (the executable) come from the environment too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np
import numpy.typing as npt
from usearch.index import Index as UsearchIndex

import vector_search
from vector_search import DIM, ROWS, SEED, K, Vectors, recall

SET = os.environ.get("SET", "synthetic")
ROUNDS = int(os.environ.get("ROUNDS", "9"))
ROOT = Path(__file__).resolve().parent.parent
BENCH = Path(os.environ.get("GRAPH_BENCH", ROOT / "build/release/benchmarks/graph_search_bench"))
FOLDER = ROOT / "build" / "evidence" / "graph-search"
TARGET = 0.99
ENGINES = ("ours", "ours-16-200", "hnswlib", "usearch", "faiss", "ours-ivf", "faiss-ivf")
IVF = ("ours-ivf", "faiss-ivf")
LISTS = 1264  # 4 times the root of 100,000 rows
TITLES = {
    "ours": "ours, links 32, breadth 64",
    "ours-16-200": "ours, links 16, breadth 200",
    "hnswlib": "hnswlib, M 16, ef_construction 200",
    "usearch": "usearch, connectivity 16, expansion_add 128, f32",
    "faiss": "faiss-cpu HNSW32, efConstruction 40",
    "ours-ivf": f"ours, {LISTS} lists",
    "faiss-ivf": f"faiss-cpu IVF{LISTS},Flat",
}

Positions = npt.NDArray[np.int64]


def data() -> tuple[Vectors, Vectors]:
    if SET == "synthetic":
        return vector_search.synthetic()
    found = vector_search.real(FOLDER)
    if found is None:
        raise SystemExit("SET=real: benchmarks/routing.py has made no library yet")
    return np.ascontiguousarray(found[0][:ROWS]), np.ascontiguousarray(found[1])


Seconds = tuple[float, float]  # on the wall's clock; of the processors, all threads together


def seconds_of(answer: str) -> Seconds:
    wall, processors = answer.split()
    return float(wall), float(processors)


class Stopwatch:
    def __init__(self) -> None:
        self.wall, self.processors = time.perf_counter(), time.process_time()

    def seconds(self) -> Seconds:
        return time.perf_counter() - self.wall, time.process_time() - self.processors


class Ours:
    """The bench executable: it times itself, so that the pipe costs nothing."""

    def __init__(self, rows: Vectors, queries: Vectors, build: str) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.found = FOLDER / f"found-{os.getpid()}"
        rows.tofile(FOLDER / f"rows-{SET}")
        queries.tofile(FOLDER / f"queries-{SET}")
        self.process = subprocess.Popen(
            [BENCH, FOLDER / f"rows-{SET}", FOLDER / f"queries-{SET}", str(DIM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask("threads 2")
        self.build_s = seconds_of(self.ask(build))
        self.ask("threads 1")

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise SystemExit(f"graph_search_bench: {command!r} gave {answer!r}")
        return answer

    def find(self, effort: int) -> Positions:
        self.ask(f"find {effort} {K} {self.found}")
        found = np.fromfile(self.found, np.int64).reshape(-1, K)
        self.found.unlink()
        return found

    def seconds(self, effort: int) -> Seconds:
        return seconds_of(self.ask(f"time {effort} {K}"))


class Peer:
    """`search(effort)` answers all queries on one thread."""

    def __init__(self, search: Callable[[int], Any]) -> None:
        self.search = search

    def find(self, effort: int) -> Positions:
        return np.asarray(self.search(effort)).astype(np.int64)

    def seconds(self, effort: int) -> Seconds:
        watch = Stopwatch()
        self.search(effort)
        return watch.seconds()


OURS = {"ours": "hnsw 32 64", "ours-16-200": "hnsw 16 200", "ours-ivf": f"ivf {LISTS}"}


def build(engine: str, rows: Vectors, queries: Vectors) -> Seconds:
    """Seconds on two threads; a peer's index is kept."""
    path = str(FOLDER / f"{engine}-{SET}")
    if engine in OURS:
        ours = Ours(rows, queries, OURS[engine])
        ours.process.kill()
        return ours.build_s
    faiss.omp_set_num_threads(2)
    watch = Stopwatch()
    if engine == "hnswlib":
        index = hnswlib.Index("ip", DIM)
        index.init_index(len(rows), M=16, ef_construction=200, random_seed=SEED)
        index.add_items(rows, num_threads=2)
        seconds = watch.seconds()
        index.save_index(path)
    elif engine == "usearch":
        index = UsearchIndex(ndim=DIM, metric="ip", dtype="f32")
        index.add(np.arange(len(rows)), rows, threads=2)
        seconds = watch.seconds()
        index.save(path)
    else:
        if engine == "faiss":
            index = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
        else:
            index = faiss.index_factory(DIM, f"IVF{LISTS},Flat", faiss.METRIC_INNER_PRODUCT)
            index.train(rows)
        index.add(rows)
        seconds = watch.seconds()
        faiss.write_index(index, path)
    return seconds


def load(engine: str, rows: Vectors, queries: Vectors) -> Ours | Peer:
    if engine in OURS:
        return Ours(rows, queries, OURS[engine])
    path = str(FOLDER / f"{engine}-{SET}")
    if engine == "hnswlib":
        graph = hnswlib.Index("ip", DIM)
        graph.load_index(path)

        def ask_hnswlib(effort: int) -> Any:
            graph.set_ef(effort)
            return graph.knn_query(queries, k=K, num_threads=1)[0]

        return Peer(ask_hnswlib)
    if engine == "usearch":
        usearch = UsearchIndex.restore(path)

        def ask_usearch(effort: int) -> Any:
            usearch.expansion_search = effort
            return usearch.search(queries, K, threads=1).keys

        return Peer(ask_usearch)
    index = faiss.read_index(path)

    def ask_faiss(effort: int) -> Any:
        faiss.omp_set_num_threads(1)
        if engine == "faiss":
            index.hnsw.efSearch = effort
        else:
            index.nprobe = effort
        return index.search(queries, K)[1]

    return Peer(ask_faiss)


def least_effort(engine: Ours | Peer, truth: Positions, first: int) -> tuple[int, float]:
    effort = first
    while True:
        reached = recall(engine.find(effort), truth)
        if reached >= TARGET or effort > 4096:
            return effort, reached
        effort += max(1, effort // 8)


def search(rows: Vectors, queries: Vectors) -> dict[str, Any]:
    truth = np.argsort(-(queries.astype(np.float64) @ rows.T), axis=1, kind="stable")[:, :K]
    names = [e for e in ENGINES if e in OURS or (FOLDER / f"{e}-{SET}").exists()]
    engines = {name: load(name, rows, queries) for name in names}
    out: dict[str, Any] = {"rows": len(rows), "queries": len(queries), "engines": {}}
    for name, engine in engines.items():
        effort, reached = least_effort(engine, truth, 1 if name in IVF else K)
        out["engines"][name] = {"effort": effort, "recall": reached, "us": [], "wall_us": []}
    random = np.random.default_rng(SEED)
    for _ in range(ROUNDS):
        for place in random.permutation(len(names)):
            one = out["engines"][names[place]]
            wall, processors = engines[names[place]].seconds(one["effort"])
            one["wall_us"].append(wall / len(queries) * 1e6)
            one["us"].append(processors / len(queries) * 1e6)
    for engine in engines.values():
        if isinstance(engine, Ours):
            engine.process.kill()
    return out


def section(name: str) -> list[str]:
    path = FOLDER / f"search-{name}.json"
    if not path.exists():
        return []
    measured = json.loads(path.read_text(encoding="utf-8"))
    engines = measured["engines"]
    lines = [f"## {name.capitalize()} vectors: {measured['rows']:,} x {DIM}, k = {K}", ""]
    for title, kinds, effort in (
        ("Graphs", [e for e in ENGINES if e not in IVF], "breadth"),
        ("Lists", list(IVF), "probes"),
    ):
        present = [engine for engine in kinds if engine in engines]
        peers = [engine for engine in present if engine not in OURS]
        if not peers:
            continue
        best = min(float(np.median(engines[engine]["us"])) for engine in peers)
        builds = {
            engine: json.loads((FOLDER / f"build-{engine}-{name}.json").read_text(encoding="utf-8"))
            for engine in present
            if (FOLDER / f"build-{engine}-{name}.json").exists()
        }
        # Graphs against hnswlib, which the issue names; lists against the one peer.
        against = builds.get("hnswlib" if title == "Graphs" else "faiss-ivf")
        lines += [
            f"### {title}",
            "",
            f"| index | build, 2 threads: wall s, processor s, ratio | {effort} | recall@{K} | "
            "us a query, 1 thread: median (middle half), on the wall | ratio to the best peer |",
            "|---|---|---|---|---|---|",
        ]
        for engine in present:
            one = engines[engine]
            low, middle, high = np.percentile(one["us"], [25, 50, 75])
            built = ""
            if engine in builds:
                wall, processors = builds[engine]
                built = f"{wall:.1f}, {processors:.1f}"
                if against is not None:
                    built += f", {against[1] / processors:.2f}x"
            lines.append(
                f"| {TITLES[engine]} | {built} | {one['effort']} | {one['recall']:.4f} | "
                f"{middle:.1f} ({low:.1f}–{high:.1f}), {float(np.median(one['wall_us'])):.1f} | "
                f"{best / middle:.2f}x |"
            )
        lines.append("")
    return lines


def page() -> None:
    import collegium
    import evidence

    text = [
        evidence.header("Graphs and lists", "python benchmarks/graph_search.py page", str(SEED)),
        f"faiss-cpu {faiss.__version__}, hnswlib {hnswlib.__version__}, usearch "
        f"{__import__('usearch').__version__}. Each engine is asked with the least effort that "
        f"finds {TARGET} of the {K} best rows by products in double precision. Ratios above 1 mean "
        "faster than the peer; those of builds are to hnswlib's, and of lists to FAISS's. Ratios and "
        "times are of the processors' time, which other work on the machine disturbs little; the "
        "wall's beside it.",
        "",
        *section("synthetic"),
        *section("real"),
    ]
    evidence.write(f"graph-search-{collegium.isa()}", "\n".join(text))


def main() -> None:
    step = sys.argv[1] if len(sys.argv) > 1 else ""
    if step == "page":
        page()
        return
    if step not in ("build", "search"):
        raise SystemExit(__doc__)
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows, queries = data()
    if step == "build":
        for engine in sys.argv[2:]:
            seconds = build(engine, rows, queries)
            path = FOLDER / f"build-{engine}-{SET}.json"
            path.write_text(json.dumps(seconds), encoding="utf-8")
            print(engine, [round(one, 2) for one in seconds], flush=True)
        return
    result = search(rows, queries)
    (FOLDER / f"search-{SET}.json").write_text(json.dumps(result), encoding="utf-8")
    for name, one in result["engines"].items():
        print(name, one["effort"], round(one["recall"], 4), round(float(np.median(one["us"])), 1))


if __name__ == "__main__":
    main()
