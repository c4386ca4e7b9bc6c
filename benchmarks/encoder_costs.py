"""What an encoder costs beside its arithmetic: the binding and the memory (for encoder_speed.py)."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import collegium
from encoder_peers import load_ours

MEMORY_BAR = 1.3
PROGRAM = """
import sys
from pathlib import Path
import collegium
def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024
before = resident()
options = {} if sys.argv[2] == "fp32" else {"compute": sys.argv[2]}
encoder = collegium.Encoder.load(sys.argv[1], **options)
print(resident() - before)
"""


def empty_call_us(encoder: collegium.Encoder) -> float:
    """Microseconds of encode([]): everything of a call but the encoding."""
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        for _ in range(100):
            encoder.encode([], progress=False)
        times.append((time.perf_counter() - begin) * 1e4)
    return statistics.median(times)


def resident_bytes(folder: Path, compute: str) -> int:
    """What a fresh process gains by loading an encoder; the median of three."""
    run = [sys.executable, "-c", PROGRAM, str(folder), compute]
    return int(
        statistics.median(
            int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
            for _ in range(3)
        )
    )


def table(folder: Path) -> list[str]:
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    rows = [
        "| what | measured | bar | |",
        "|---|--:|--:|---|",
        "| import beyond numpy | see [python-import.md](python-import.md) | | |",
        f"| encode([]), a call | {empty_call_us(load_ours(folder, 'fp32')):.1f} µs | none | – |",
    ]
    for compute in ("fp32", "bf16", "int8"):
        label = f"| resident after loading {compute} / {weights / 1e6:.0f} MB of weights"
        try:
            load_ours(folder, compute)
        except collegium.NotSupportedError as error:
            rows.append(f"{label} | {error} | | |")
            continue
        ratio = resident_bytes(folder, compute) / weights
        met = "met" if ratio < MEMORY_BAR else "**missed**"
        rows.append(f"{label} | {ratio:.2f} | < {MEMORY_BAR} | {met} |")
    return rows
