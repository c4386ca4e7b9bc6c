"""Evidence: mixtures of experts whose weights are on the disk alone (docs/evidence/lm-cold.md).

    python benchmarks/lm_cold.py [--rounds 5]

Times of lm_cold_bench, with experts read ahead of their products and without, in turn.
"""

from __future__ import annotations

import argparse
import json
import subprocess

import evidence
import lm_moe_model

WORKS = ((False, "16 tokens, one by one"), (True, "a prompt of 64 tokens"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    bench = evidence.ROOT / "build/release/benchmarks/lm_cold_bench"
    if not bench.is_file():
        raise SystemExit(f"{bench} is not there: make evidence ONLY=lm-cold builds it")
    rows = []
    for name in lm_moe_model.MODELS:
        command = [str(bench), str(lm_moe_model.cached(name)), str(rounds)]
        made = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        for prompt, work in WORKS:
            own = [one for one in made if one["prompt"] is prompt]
            shown = evidence.ratio([one["with"] for one in own], [one["without"] for one in own])
            rows.append(f"| {name} | {work} | {shown} |")
            print(rows[-1], flush=True)
    page = [
        evidence.header(
            "Mixtures that are on the disk", "make evidence ONLY=lm-cold", "1 to the round's number"
        ),
        f'compute="exact", 2 threads, the file\'s pages dropped before each of {rounds} rounds: the time '
        "without experts read ahead of their products by the time with them "
        "(cpp/src/lm/expert_pages.h); in brackets the middle half of the rounds. Weights are random "
        "(benchmarks/lm_moe_model.py), so that what the next layer chooses cannot be guessed: here "
        "only the experts that a layer has chosen are read together.",
        "",
        "| model | work | ratio |",
        "|---|---|--:|",
        *rows,
        "",
    ]
    evidence.write("lm-cold", "\n".join(page))


if __name__ == "__main__":
    main()
