"""Evidence: what an expert's loss and negatives are worth (docs/evidence/training-choices.md).

    python benchmarks/training_choices.py [--sets nl2bash,scifact] [--documents 4000]

Of each set a part is embedded once (build/evidence/), and `fit` trains its expert on it with one
choice after another. Half of the dev questions choose, as they do for users; the other half, which
nothing has seen, says what came of it. Test is not looked at.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import collegium
import evidence
import routing_data
from collegium.evaluation import paired_bootstrap
from routing_tables import Figures, with_interval

RESAMPLES = 10000
CHOICES: dict[str, dict[str, Any]] = {
    "default: infonce; dev chooses whole or paired": {},
    "infonce, whole": {"pools": ("whole",)},
    "infonce, paired": {"pools": ("paired",)},
    "infonce, mixture": {"pools": ("mixture",)},
    "infonce, mined": {"pools": ("mined",)},
    "infonce, mined, 0.05 above is left in": {"pools": ("mined",), "false_negative_margin": -0.05},
    "infonce; dev chooses of all four": {"pools": ("whole", "paired", "mixture", "mined")},
    "listwise; dev chooses whole or paired": {"loss": "listwise"},
    "margin-mse, the hybrid teaches": {"loss": "margin-mse"},
}


@dataclass
class Result:
    """Of one set and choice: held-out nDCG@10 by query, plain and own expert, and how it came."""

    plain: list[float]
    own: list[float]
    chosen: str

    def __str__(self) -> str:
        gain = 100 * (sum(self.own) - sum(self.plain)) / len(self.own)
        return f"{gain:+.1f} ({self.chosen})"


def measure(
    data: Path, name: str, documents: int, seed: int
) -> tuple[dict[str, Result], tuple[int, int, int]]:
    subset = routing_data.load_set(data, name, documents)
    dev = subset.queries["dev"]
    chooses, judges = dev[0::2], dev[1::2]
    seen = routing_data.RoutingSet(name, subset.documents, {**subset.queries, "dev": chooses})
    held = routing_data.RoutingSet(name, subset.documents, {**subset.queries, "dev": judges})
    pairs = routing_data.pairs_of(seen, ("train", "dev"))
    judged = {name: routing_data.judged_of(held, "dev")}
    results = {}
    with evidence.library_of(
        f"training-{name}", {name: (routing_data.documents_of(subset), pairs)}, [], english=True
    ) as library:
        for title, options in CHOICES.items():
            report = library.fit(
                adapter=collegium.HeadAdapterOptions(seed=seed, **options),
                multi_task=False,
                router="linear",
                refit=True,
            )
            expert = report.experts[0]
            figures = Figures(library.evaluate(judged=judged, seed=seed, resamples=100, worst=0))
            plain, own = (
                list(figures.values(method, "alone")[name].values())
                # Without an adapter the expert is plain, and has no row.
                for method in ("plain", "plain" if expert.strength == 0 else f"expert {name}")
            )
            chosen = "none" if expert.strength == 0 else f"{expert.pool} {expert.strength:.1f}"
            results[title] = Result(plain, own, chosen)
            print(f"{name}: {title}: {results[title]}", flush=True)
    return results, (len(subset.documents), len(subset.queries["train"]), len(judges))


def difference(results: dict[str, dict[str, Result]], one: str, other: str | None) -> str:
    """Choice `one` less `other` (None: less plain), mean over sets, paired by question."""
    rows = [
        [
            a - b
            for a, b in zip(
                by[one].own, by[one].plain if other is None else by[other].own, strict=True
            )
        ]
        for by in results.values()
    ]
    return with_interval(paired_bootstrap(rows, resamples=RESAMPLES, seed=1))


def page(
    results: dict[str, dict[str, Result]],
    sizes: dict[str, tuple[int, int, int]],
    most: int,
    seed: int,
) -> str:
    first = next(iter(CHOICES))
    lines = [
        evidence.header(
            "What an expert learns by", "make evidence ONLY=training-choices", str(seed)
        ),
        "Head adapters on all-MiniLM-L6-v2, each set searched alone; nDCG@10 x 100 on the half of "
        f"dev that chose nothing. At most {most:,} documents a set, judged ones first, which makes "
        "`paired` look like `whole` more than it does on a whole corpus. `mined`: 50 passages of "
        "the plain encoder and 50 documents of BM25 for each training question; margin-mse: the "
        "same, taught by the collection's hybrid.",
        "",
        "| set | documents | training questions | held-out dev questions | plain |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, (documents, train, judges) in sizes.items():
        plain = results[name][first].plain
        lines.append(
            f"| {name} | {documents:,} | {train:,} | {judges} | "
            f"{100 * sum(plain) / len(plain):.1f} |"
        )
    lines += [
        "",
        "Own expert less plain; in brackets what dev chose (pool and strength).",
        "",
        "| choice | " + " | ".join(results) + " | mean - plain (95 %) | mean - default (95 %) |",
        "|---|" + "--:|" * len(results) + "---|---|",
    ]
    for title in CHOICES:
        cells = [str(by[title]) for by in results.values()]
        against = "" if title == first else difference(results, title, first)
        lines.append(
            f"| {title} | " + " | ".join(cells) + f" | {difference(results, title, None)} "
            f"| {against} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("COLLEGIUM_DATA"))
    parser.add_argument("--sets", default=",".join(routing_data.SEEN))
    parser.add_argument("--documents", type=int, default=routing_data.MAX_DOCUMENTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-write", action="store_true", help="print the page only")
    arguments = parser.parse_args()
    if arguments.data is None or not Path(arguments.data).is_dir():
        raise SystemExit("training-choices: no data; set COLLEGIUM_DATA")
    results: dict[str, dict[str, Result]] = {}
    sizes = {}
    for name in arguments.sets.split(","):
        results[name], sizes[name] = measure(
            Path(arguments.data), name, arguments.documents, arguments.seed
        )
    text = page(results, sizes, arguments.documents, arguments.seed)
    if arguments.no_write:
        print(text)
    else:
        evidence.write("training-choices", text)


if __name__ == "__main__":
    main()
