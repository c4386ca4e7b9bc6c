"""Evidence: what importing the package costs beyond numpy (docs/evidence/python-import.md).

python benchmarks/python_import.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import evidence

RUNS = 21


def seconds(program: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - began


def main() -> None:
    programs = {"numpy": "import numpy", "numpy and collegium": "import numpy, collegium"}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for run in range(RUNS + 1):  # interleaved; the first fills the page cache
        for name, program in programs.items():
            value = seconds(program)
            if run:
                times[name].append(1000 * value)
    rows = []
    for name, values in times.items():
        quarters = statistics.quantiles(values, n=4)
        rows.append(f"| {name} | {quarters[1]:.0f} | {quarters[0]:.0f}–{quarters[2]:.0f} |")
    beyond = statistics.median(
        both - alone
        for both, alone in zip(times["numpy and collegium"], times["numpy"], strict=True)
    )
    text = "\n".join(
        [
            evidence.header("Import time", "make evidence ONLY=python-import", "none"),
            f"A fresh interpreter each time, {RUNS} interleaved runs, files in the page cache.",
            "",
            "| imports | median ms | quartiles |",
            "|---|--:|--:|",
            *rows,
            "",
            f"Collegium beyond numpy: {beyond:.0f} ms (median of the paired differences).",
        ]
    )
    evidence.write("python-import", text)


if __name__ == "__main__":
    main()
