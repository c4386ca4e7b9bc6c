"""Evidence: a collection of a million generated passages (docs/evidence/million.md).

    python benchmarks/million.py [--passages N] [--dim N] [--graph] [--load-seconds N]

million_bench.cc builds a corpus of clustered vectors and short texts, opens it, and searches it
from two threads, a tenth of whose operations are writes, in quiet and during a compaction of all
of it. Without --graph rows are scanned exactly, by their bytes first.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import evidence

MOST_OPEN_SECONDS = 2.0
MOST_RATIO = 3.0  # p99 to p50 of searches during compaction


def gigabytes(kilobytes: int) -> str:
    return f"{kilobytes / 1024**2:.2f} GB"


def ratio_of(measured: dict[str, Any]) -> float:
    return measured["p99"] / max(measured["p50"], 1e-9)


def row(name: str, measured: dict[str, Any]) -> str:
    return (
        f"| {name} | {measured['count']:,} | {measured['count'] / measured['seconds']:.0f} |"
        f" {measured['p50']:.1f} | {measured['p95']:.1f} | {measured['p99']:.1f} |"
        f" {measured['max']:.0f} | {ratio_of(measured):.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--graph", action="store_true")
    parser.add_argument("--load-seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, help="of the corpus; by default a temporary one")
    parser.add_argument(
        "--program",
        type=Path,
        default=evidence.ROOT / "build" / "release" / "benchmarks" / "million_bench",
    )
    arguments = parser.parse_args()
    threshold = arguments.passages // 2 if arguments.graph else 1 << 40
    folder = Path(tempfile.mkdtemp(dir=arguments.folder or evidence.ROOT / "build"))
    numbers = (arguments.passages, arguments.dim, threshold, arguments.load_seconds)
    try:
        done = subprocess.run(
            [arguments.program, folder / "corpus", *map(str, numbers)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        shutil.rmtree(folder)
    found: dict[str, dict[str, Any]] = {}
    for line in done.stdout.splitlines():
        measured = json.loads(line)
        found[" ".join(filter(None, [measured["phase"], measured.get("what")]))] = measured
    build, index, opened = found["build"], found["index"], found["open"]
    ratio = ratio_of(found["compaction search"])
    text = "\n".join(
        [
            evidence.header("A million passages", "make evidence ONLY=million", "1"),
            f"{arguments.passages:,} generated passages of 24 words, {arguments.dim} dimensions,"
            f" searched as {index['kind']}; {os.cpu_count()} threads.",
            "",
            "| step | seconds | peak memory |",
            "|---|--:|--:|",
            f"| commits of 2,000 documents, synced | {build['commits']:.0f}"
            f" | {gigabytes(build['peak_kb'])} |",
            f"| index, and its file | {index['seconds']:.0f} | {gigabytes(index['peak_kb'])} |",
            f"| opening, warm (median of 3; bar: {MOST_OPEN_SECONDS:.0f}) |"
            f" {opened['seconds']:.2f} | {gigabytes(opened['resident_kb'])} resident |",
            "",
            f"On disk: {opened['disk_bytes'] / 1024**3:.2f} GB.",
            "",
            "Two clients, one operation in ten a synced write that replaces a document"
            " (milliseconds):",
            "",
            "| operation | count | a second | p50 | p95 | p99 | max | p99 / p50 |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
            row("search", found["load search"]),
            row("write", found["load write"]),
            row("search during compaction", found["compaction search"]),
            row("write during compaction", found["compaction write"]),
            "",
            f"Bar: p99 of searches during compaction below {MOST_RATIO:.0f} x p50;"
            f" {'met' if ratio < MOST_RATIO else 'missed'} with {ratio:.1f}. Opening:"
            f" {'met' if opened['seconds'] < MOST_OPEN_SECONDS else 'missed'}.",
        ]
    )
    evidence.write("million" + ("-graph" if arguments.graph else ""), text)


if __name__ == "__main__":
    main()
