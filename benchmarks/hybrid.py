"""Evidence: words (BM25) beside vectors on eight sets (docs/evidence/hybrid.md).

    python benchmarks/hybrid.py --data ../shared/data

The library is the one of routing.py, kept in build/evidence/. Weights are chosen on dev by fit;
SPLIT=test reports test and logs it; the default is dev, where the chosen weight flatters.
"""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path
from typing import Any

import collegium
import evidence
import routing
import routing_data
from collegium.evaluation import ndcg_at

DEPTH = 100
RESAMPLES = 2000
METHODS = {
    "expert": "vectors under the collection's own expert",
    "BM25": "words alone",
    "one weight": "z-scores, words 0.3 everywhere, to compare",
    "reciprocal ranks": "of expert and BM25, half each",
    "hybrid": "z-scores, the weight that fit chose",
}


def ranking_of(answer: Any) -> list[tuple[str, float]]:
    return [(p.document_id, -float(rank)) for rank, p in enumerate(answer.passages)]


def reciprocal_ranks(*rankings: list[tuple[str, float]]) -> list[tuple[str, float]]:
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, (document, _) in enumerate(ranking, 1):
            scores[document] = scores.get(document, 0.0) + 1.0 / (60 + rank)
    return list(scores.items())


def interval(differences: list[float], seed: int) -> tuple[float, float]:
    """95 % of the paired bootstrap's means."""
    draw = random.Random(seed)
    means = sorted(
        sum(draw.choices(differences, k=len(differences))) / len(differences)
        for _ in range(RESAMPLES)
    )
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def measure(
    library: collegium.Library, name: str, queries: list[routing_data.Query]
) -> dict[str, list[float]]:
    """nDCG@10 by method, a number a query."""
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    for query in queries:

        def search(weight: float | None, text: str = query.text) -> list[tuple[str, float]]:
            return ranking_of(
                library.search(text, collections=[name], k=DEPTH, lexical_weight=weight)
            )

        expert, words = search(0.0), search(1.0)
        rankings = {
            "expert": expert,
            "BM25": words,
            "one weight": search(0.3),
            "reciprocal ranks": reciprocal_ranks(expert, words),
            "hybrid": search(None),
        }
        for method, ranking in rankings.items():
            found[method].append(ndcg_at(10, ranking, query.gains))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("COLLEGIUM_DATA"))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.data or not Path(arguments.data).is_dir():
        raise SystemExit("--data: a folder of BEIR folders is needed (or COLLEGIUM_DATA)")
    split = evidence.split()
    data = Path(arguments.data)
    negatives = routing.NEGATIVES.read_text(encoding="utf-8").splitlines()
    sets = {name: routing_data.load(data, name) for name in routing_data.SETS}
    lines = [
        "| set (queries) | weight | " + " | ".join(METHODS) + " | hybrid - expert (95 %) |",
        "|---|--:|" + "--:|" * len(METHODS) + "---|",
    ]
    sums = dict.fromkeys(METHODS, 0.0)
    with evidence.library_of("routing", sets, negatives) as library:
        fit = library.fit(seed=arguments.seed)
        weights = {expert.collection: expert.lexical_weight for expert in fit.experts}
        for name in routing_data.SETS:
            queries = routing_data.load_set(data, name).queries[split]
            found = measure(library, name, queries)
            means = {method: 100 * sum(v) / len(v) for method, v in found.items()}
            for method, mean in means.items():
                sums[method] += mean / len(routing_data.SETS)
            differences = [
                100 * (h - e) for h, e in zip(found["hybrid"], found["expert"], strict=True)
            ]
            low, high = interval(differences, arguments.seed)
            lines.append(
                f"| {name} ({len(queries)}) | {weights[name]:.2f} | "
                + " | ".join(f"{means[method]:.1f}" for method in METHODS)
                + f" | {means['hybrid'] - means['expert']:+.1f} ({low:+.1f} to {high:+.1f}) |"
            )
            print(lines[-1], flush=True)
    lines.append("| mean | | " + " | ".join(f"{sums[m]:.1f}" for m in METHODS) + " | |")
    text = "\n".join(
        [
            evidence.header("Words beside vectors", "make evidence ONLY=hybrid", arguments.seed),
            f"Split: **{split}**. Each set searched alone; at most {routing_data.MAX_DOCUMENTS} "
            "documents a set, judged ones first; nDCG@10 x 100; paired bootstrap, "
            f"{RESAMPLES} resamples. Weights were chosen on at most 300 dev questions a set, so "
            "dev flatters the last method.",
            "",
            *lines,
            "",
            *(f"- {method}: {note}" for method, note in METHODS.items()),
        ]
    )
    evidence.write("hybrid", text, opened_test=split == "test")


if __name__ == "__main__":
    main()
