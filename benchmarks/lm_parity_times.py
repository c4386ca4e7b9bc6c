"""Of lm_parity.py what is timed: what a trace costs, and how soon a fresh process has a token."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import collegium
import evidence
import lm_moe_model
from collegium import lm
from lm_moe_model import Widths

TRACE_BAR = 5.0  # per cent
COLD_BAR = 2.0  # seconds
NEW_TOKENS = 64
RUNS = 5
SMALL = "64 experts, top 8, width 256, 8 layers"
SMALL_WIDTHS = Widths("olmoe", 8, 256, 4, 4, 64, 8, 256)
REAL = next(iter(lm_moe_model.MODELS))  # widths of OLMoE

# --- A trace ---


def small_model() -> Path:
    path = evidence.ROOT / "build" / "evidence" / "moe-small.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        lm_moe_model.make(new, SMALL_WIDTHS)
        new.rename(path)
    return path


def prompt_of(model: lm.LanguageModel, seed: int) -> str:
    """Random words whose answer does not end of itself."""
    words = (evidence.ROOT / "README.md").read_text(encoding="utf-8").split()
    words = sorted({word for word in words if word.isalpha()})
    random = np.random.default_rng(seed)
    while True:
        text = " ".join(random.choice(words, 2))
        if len(model.generate(text, max_new_tokens=NEW_TOKENS).ids) == NEW_TOKENS:
            return text


def seconds(
    model: lm.LanguageModel, prompt: str, trace: bool
) -> tuple[float, float, lm.Generation]:
    """Of the clock, of the CPU."""
    used, begin = time.process_time(), time.perf_counter()
    made = model.generate(prompt, max_new_tokens=NEW_TOKENS, trace=trace)
    return time.perf_counter() - begin, time.process_time() - used, made


def quartiles(ratios: list[float]) -> list[float]:
    return [float(x) for x in np.percentile(ratios, [25, 50, 75])]


def trace_pairs(path: Path, name: str, threads: int, pairs: int) -> dict[str, Any]:
    collegium.set_num_threads(threads)
    model = lm.load(path, compute="fast")
    wall: list[float] = []
    cpu: list[float] = []
    plain_seconds: list[float] = []
    equal = 0
    for i in range(pairs):
        prompt = prompt_of(model, i)
        order = [False, True] if i % 2 == 0 else [True, False]
        made = {trace: seconds(model, prompt, trace) for trace in order}
        (a, a_cpu, plain), (b, b_cpu, traced) = made[False], made[True]
        assert traced.trace is not None and len(traced.trace) >= NEW_TOKENS
        wall.append(b / a)
        cpu.append(b_cpu / a_cpu)
        plain_seconds.append(a)
        equal += traced.ids == plain.ids
    return {
        "model": name,
        "threads": threads,
        "pairs": pairs,
        "token_ms": float(np.median(plain_seconds)) / NEW_TOKENS * 1e3,
        "wall": quartiles(wall),
        "cpu": quartiles(cpu),
        "equal": equal,
    }


def run_trace(pairs: int) -> dict[str, Any]:
    before = collegium.num_threads()
    rows = []
    for name, path in ((REAL, lm_moe_model.cached(REAL)), (SMALL, small_model())):
        for threads in (1, 2):
            rows.append(trace_pairs(path, name, threads, pairs))
            print(rows[-1], flush=True)
    collegium.set_num_threads(before)
    return {"rows": rows}


def per_cent(values: list[float]) -> str:
    low, middle, high = (100 * (value - 1) for value in values)
    return f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"


def trace_lines(values: dict[str, Any]) -> list[str]:
    made = [
        f'Time of {NEW_TOKENS} greedy tokens behind a prompt of two words, `compute="fast"`, with '
        "`trace=True` against without, in pairs, first the one and then the other: by how many per cent "
        "more, the median of the pairs and in brackets their middle half. Mixtures of random Q4_K "
        "weights whose vocabulary is next to nothing (benchmarks/lm_moe_model.py), so that all of the "
        f"time is in layers that are recorded. Bar: below {TRACE_BAR:.0f} %.",
        "",
        "| model | threads | pairs | a token, ms | with a trace, time, % | CPU time, % | same tokens "
        "| bar |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in values["rows"]:
        held = "reached" if 100 * (row["wall"][1] - 1) < TRACE_BAR else "missed"
        made.append(
            f"| {row['model']} | {row['threads']} | {row['pairs']} | {row['token_ms']:.2f} | "
            f"{per_cent(row['wall'])} | {per_cent(row['cpu'])} | {row['equal']} of {row['pairs']} | "
            f"{held} |"
        )
    return made


# --- Cold start ---

# Says when, on the clock that all processes share, it had imported, loaded, and made a token.
CHILD = """
import sys, time
from collegium import lm
moments = [time.monotonic()]
path, compute, packed = sys.argv[1:]
model = lm.load(path, compute=compute, packed=packed or None)
moments.append(time.monotonic())
made = model.generate("The three primary colours are", max_new_tokens=1)
moments.append(time.monotonic())
assert len(made.ids) == 1
print(*moments)
"""


def resident(path: Path) -> float:
    """Share of a file's pages that are in the page cache."""
    mapped = np.memmap(path, np.uint8, "r")
    libc = ctypes.CDLL(None, use_errno=True)
    flags = np.zeros(-(-mapped.size // os.sysconf("SC_PAGE_SIZE")), np.uint8)
    address, size = ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(mapped.size)
    if libc.mincore(address, size, ctypes.c_void_p(flags.ctypes.data)) != 0:
        raise OSError(ctypes.get_errno(), "mincore")
    return float((flags & 1).mean())


def drop(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    left = resident(path)
    if left > 0.01:
        raise SystemExit(f"{path}: {left:.0%} stay in the page cache; who else maps the file?")


def start(path: Path, compute: str, packed: Path | None) -> list[float]:
    """Seconds from the process's start until it has imported, loaded, made a token."""
    command = [sys.executable, "-c", CHILD, str(path), compute, str(packed or "")]
    begin = time.monotonic()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [float(moment) - begin for moment in done.stdout.split()]


def run_cold() -> dict[str, Any]:
    if "COLLEGIUM_SMOLLM2" not in os.environ:
        raise SystemExit("no model: source tools/models.sh")
    folder = evidence.ROOT / "build" / "evidence" / "cold"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A copy, since pages that another process maps are not dropped.
    path, packed = folder / "smollm2.gguf", folder / "smollm2.packed"
    shutil.copyfile(os.environ["COLLEGIUM_SMOLLM2"], path)
    lm.load(path, compute="fast").save_packed(packed)
    rows = []
    for compute, mapped in (("exact", None), ("fast", None), ("fast", packed)):
        files = [path] if mapped is None else [path, mapped]
        start(path, compute, mapped)  # libraries into the page cache
        for cold in (True, False):
            runs = []
            for _ in range(RUNS):
                for file in files if cold else ():
                    drop(file)
                runs.append(start(path, compute, mapped))
            rows.append({"compute": compute, "mapped": mapped is not None, "cold": cold})
            rows[-1] |= {"runs": runs, "bytes": sum(file.stat().st_size for file in files)}
            print(rows[-1], flush=True)
    shutil.rmtree(folder)
    return {"rows": rows}


def cold_lines(values: dict[str, Any]) -> list[str]:
    made = [
        "SmolLM2-135M Q4_1: a fresh Python process imports `collegium.lm`, loads and makes one token "
        "behind a prompt of a few words. Seconds from the start of the process, the median of the runs, in "
        "brackets least and most. Cold: the model's pages were dropped from the page cache before each "
        "run (`POSIX_FADV_DONTNEED`, `mincore` says that they are gone; the disk beneath may have a cache "
        f"of its own); Python and the libraries are warm. Bar: {COLD_BAR:.0f} s.",
        "",
        "| compute | weights | files, MB | page cache | runs | imported | loaded | first token | bar |",
        "|---|---|--:|---|--:|--:|--:|--:|---|",
    ]
    for row in values["rows"]:
        runs = np.array(row["runs"])
        imported, loaded, whole = np.median(runs, axis=0)
        weights = "mapped (`packed=`)" if row["mapped"] else "of the file"
        if row["compute"] == "fast" and not row["mapped"]:
            weights = "laid out at load"
        made.append(
            f"| {row['compute']} | {weights} | {row['bytes'] / 1e6:.0f} | "
            f"{'cold' if row['cold'] else 'warm'} | {len(runs)} | {imported:.2f} | {loaded:.2f} | "
            f"{whole:.2f} ({runs[:, 2].min():.2f} to {runs[:, 2].max():.2f}) | "
            f"{'reached' if whole < COLD_BAR else 'missed'} |"
        )
    return made
