"""Evidence: the demo's library of six manuals, evaluated (docs/evidence/demo.md).

python benchmarks/demo_evaluation.py --manuals build/demo/packages
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import evidence

sys.path.insert(0, str(evidence.ROOT / "examples" / "demo"))
import manuals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manuals", type=Path, default=evidence.ROOT / "build/demo/packages")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    split = evidence.split()
    collections = {
        manual.name: manuals.read_manual(arguments.manuals, manual, 400)
        for manual in manuals.MANUALS
    }
    negatives = (evidence.ROOT / "examples" / "demo" / "negatives.txt").read_text(encoding="utf-8")
    with evidence.library_of("demo", collections, negatives.splitlines()) as library:
        fit = library.fit(seed=arguments.seed, refit=True)
        evaluation = library.evaluate(split=split, seed=arguments.seed)
    text = "\n".join(
        [
            evidence.header(
                "The demo's six manuals", "make evidence ONLY=demo", str(arguments.seed)
            ),
            f"Split: **{split}**. At most 400 passages a manual; pairs from headings and first"
            " sentences (examples/demo/manuals.py). The splits are small: read differences of a"
            " point or two as noise. nDCG@10 and recall@100, x 100.",
            "",
            evaluation.to_markdown(),
            "",
            "## What fit chose",
            "",
            "```",
            str(fit),
            "```",
        ]
    )
    evidence.write("demo", text, opened_test=split == "test")


if __name__ == "__main__":
    main()
