"""Evidence: routing on eight sets, each searched alone and all merged (docs/evidence/routing.md).

    python benchmarks/routing.py --data ../shared/data

The library is kept in build/evidence/ under a digest of its data, so a second run embeds nothing
again. SPLIT=test reports test and logs it; the default is dev.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import evidence
import routing_data

NEGATIVES = evidence.ROOT / "examples" / "demo" / "negatives.txt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("COLLEGIUM_DATA"))
    parser.add_argument(
        "--seeds", default="1,2,3", help="the first is reported, all give the spread"
    )
    arguments = parser.parse_args()
    if not arguments.data or not Path(arguments.data).is_dir():
        raise SystemExit("--data: a folder of BEIR folders is needed (or COLLEGIUM_DATA)")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    split = evidence.split()

    sets = {name: routing_data.load(Path(arguments.data), name) for name in routing_data.SETS}
    negatives = NEGATIVES.read_text(encoding="utf-8").splitlines()
    with evidence.library_of("routing", sets, negatives) as library:
        fits, evaluations = [], []
        for seed in seeds:
            fits.append(library.fit(seed=seed, refit=True))
            evaluations.append(library.evaluate(split=split, seed=seed))
            print(fits[-1], evaluations[-1], sep="\n", flush=True)

    first = evaluations[0]
    spread = ["| method | per collection | merged |", "|---|---|---|"]
    for row in first.rows:
        cells = []
        for kind in ("per_collection_mean", "merged_mean"):
            values = [
                100 * getattr(other, kind).ndcg_at_10
                for evaluation in evaluations
                for other in evaluation.rows
                if other.method == row.method
            ]
            cells.append(f"{sum(values) / len(values):.1f} ({min(values):.1f}–{max(values):.1f})")
        spread.append(f"| {row.method} | {cells[0]} | {cells[1]} |")
    text = "\n".join(
        [
            evidence.header("Routing on eight sets", "make evidence ONLY=routing", arguments.seeds),
            f"Split: **{split}**. At most {routing_data.MAX_DOCUMENTS} documents a set, judged ones"
            " first; encoder all-MiniLM-L6-v2, vectors frozen. nDCG@10 and recall@100, x 100.",
            "",
            first.to_markdown(),
            "",
            f"## Spread over seeds {arguments.seeds} (nDCG@10 x 100, mean over sets: mean, range)",
            "",
            *spread,
            "",
            "## What fit chose (first seed)",
            "",
            "```",
            str(fits[0]),
            "```",
        ]
    )
    evidence.write("routing", text, opened_test=split == "test")


if __name__ == "__main__":
    main()
