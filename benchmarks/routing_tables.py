"""The tables of docs/evidence/routing.md, and the figures that its bars are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import collegium
from collegium.evaluation import Comparison, holm, paired_bootstrap

View = Literal["alone", "merged"]
Values = dict[str, dict[str, float]]  # by set and query id


class Figures:
    """nDCG@10 of one evaluation, by query."""

    def __init__(self, evaluation: collegium.Evaluation) -> None:
        self.evaluation = evaluation
        self.rows = {row.method: row for row in evaluation.rows}
        self._keys = [(query.collection, query.id) for query in evaluation.queries]
        self._values: dict[tuple[str, View], Values] = {}

    def values(self, method: str, view: View) -> Values:
        key = (method, view)
        if key not in self._values:
            row = self.rows[method]
            figures = (row.alone_view if view == "alone" else row.merged_view).queries
            by_set: Values = {}
            for (name, id_), one in zip(self._keys, figures, strict=True):
                by_set.setdefault(name, {})[id_] = one.ndcg_at_10
            self._values[key] = by_set
        return self._values[key]

    def mean(self, method: str, view: View, sets: Iterable[str]) -> float:
        values = self.values(method, view)
        means = [sum(values[s].values()) / len(values[s]) for s in sets if s in values]
        return 100 * sum(means) / len(means) if means else float("nan")


@dataclass
class Run:
    split: str
    seen: list[str]
    unseen: list[str]
    seed: int
    resamples: int
    main: Figures
    labelled: Figures | None
    added: Figures | None
    tenth: str

    @property
    def policy(self) -> str:
        """The row of what is served, but for the words."""
        for row in self.main.evaluation.rows:
            if "what is served" in row.note:
                return row.method
        return self.main.evaluation.served

    def less(
        self,
        method: str,
        baseline: str,
        view: View,
        sets: Iterable[str],
        figures: Figures | None = None,
        of: Figures | None = None,
    ) -> Comparison | None:
        """`method` in `figures` less `baseline` in `of`, paired by query, mean over sets."""
        ours = (figures or self.main).values(method, view)
        theirs = (of or figures or self.main).values(baseline, view)
        differences = [
            [value - theirs[name][id_] for id_, value in ours[name].items() if id_ in theirs[name]]
            for name in sets
            if name in ours and name in theirs
        ]
        differences = [row for row in differences if row]
        if not differences:
            return None
        return paired_bootstrap(differences, resamples=self.resamples, seed=self.seed)


def with_interval(one: Comparison | None) -> str:
    if one is None:
        return ""
    return f"{100 * one.difference:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def table(run: Run, figures: Figures, view: View, methods: Iterable[str]) -> list[str]:
    sets = [*run.seen, *run.unseen]
    groups = {"seen": run.seen, "unseen": run.unseen}
    groups = {name: members for name, members in groups.items() if members}
    lines = [
        "| method | "
        + " | ".join([*sets, *groups, *(f"{name} - plain (95 %)" for name in groups)])
        + " |",
        "|---|" + "--:|" * (len(sets) + len(groups)) + "---|" * len(groups),
    ]
    for method in methods:
        cells = [f"{figures.mean(method, view, [name]):.1f}" for name in sets]
        cells += [f"{figures.mean(method, view, group):.1f}" for group in groups.values()]
        cells += [
            "" if method == "plain" else with_interval(run.less(method, "plain", view, g, figures))
            for g in groups.values()
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def harms(run: Run, method: str, view: View) -> list[str]:
    """Of seen sets: each set's difference from plain with p corrected over them."""
    found = {name: run.less(method, "plain", view, [name]) for name in run.seen}
    present = {name: one for name, one in found.items() if one is not None}
    corrected = dict(zip(present, holm([one.p for one in present.values()]), strict=True))
    return [
        f"| {name} | {with_interval(one)} | {corrected[name]:.3f} |"
        for name, one in present.items()
    ]


def lines(run: Run) -> list[str]:
    methods = list(run.main.rows)
    counts = run.main.evaluation.num_queries
    text = [
        "## Each set searched alone (nDCG@10)",
        "",
        "Queries: " + ", ".join(f"{name} {counts[name]}" for name in counts) + ".",
        "",
        *table(run, run.main, "alone", methods),
        "",
        "## All sets merged (nDCG@10)",
        "",
        *table(run, run.main, "merged", methods),
        "",
        *(f"- {row.method}: {row.note}" for row in run.main.evaluation.rows),
        "",
        f"## Seen sets against plain, {run.policy}",
        "",
        "| set | alone, difference (95 %) | p (Holm) |",
        "|---|---|--:|",
        *harms(run, run.policy, "alone"),
        "",
        "| set | merged, difference (95 %) | p (Holm) |",
        "|---|---|--:|",
        *harms(run, run.policy, "merged"),
    ]
    if run.labelled is not None:
        few = [m for m in run.labelled.rows if not m.startswith(("expert ", "random"))]
        text += [
            "",
            "## With the unseen sets' dev labels: alone",
            "",
            "Queries: "
            + ", ".join(f"{n} {q}" for n, q in run.labelled.evaluation.num_queries.items())
            + ". Multi-task is the one above.",
            "",
            *table(run, run.labelled, "alone", few),
            "",
            "## With the unseen sets' dev labels: merged",
            "",
            *table(run, run.labelled, "merged", few),
        ]
    text += [
        "",
        "## Routers",
        "",
        "| router | own collection first, mean over sets | ECE | with dev labels |",
        "|---|--:|--:|--:|",
    ]
    others = run.labelled.evaluation.router_accuracy if run.labelled is not None else {}
    for one in run.main.evaluation.routers:
        text.append(
            f"| {one.kind} | {100 * one.accuracy:.1f} % | {one.calibration.ece:.3f} | "
            + (f"{100 * others[one.kind]:.1f} %" if one.kind in others else "")
            + " |"
        )
    text += [
        "",
        "## Cost of one merged query beside encoding it",
        "",
        f"Encoding: {run.main.evaluation.encode_flops / 1e6:.0f} MFLOP, "
        f"{run.main.evaluation.encode_ms:.2f} ms.",
        "",
        "| method | MFLOP | of plain | ms |",
        "|---|--:|--:|--:|",
    ]
    plain = run.main.rows["plain"].cost
    for row in run.main.evaluation.rows:
        if row.cost.flops > 0 or row.cost.ms > 0:
            text.append(
                f"| {row.method} | {row.cost.flops / 1e6:.1f} | "
                f"{row.cost.flops / plain.flops:.2f}x | {row.cost.ms:.2f} |"
            )
    shared = run.main.evaluation.shares_training_documents
    text += [
        "",
        "## Queries that share a relevant document with a training query",
        "",
        ", ".join(f"{name} {100 * share:.0f} %" for name, share in shared.items() if share > 0)
        + ".",
    ]
    return text
