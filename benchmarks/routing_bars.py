"""The bars of docs/evidence/routing.md: what was asked for, what was reached."""

from __future__ import annotations

from collegium.evaluation import Comparison, gain_share, holm
from routing_tables import Figures, Run, View, with_interval

PILOTS = "router pilots-winner"  # RouterRetriever's policy with its own pilots
EVERY = "bound, all again"


def _at_least(name: str, one: Comparison | None, bar: float) -> str:
    if one is None:
        return f"| {name} | >= {bar:+.1f} | | not measured |"
    met = 100 * one.difference >= bar
    return f"| {name} | >= {bar:+.1f} | {with_interval(one)} | {'met' if met else 'missed'} |"


def _at_most(name: str, value: float, bar: float, unit: str = "") -> str:
    met = "met" if value <= bar else "missed"
    return f"| {name} | <= {bar:.1f}{unit} | {value:.2f}{unit} | {met} |"


def _routers(run: Run) -> list[tuple[str, str]]:
    """What the bars call the router, and how it was chosen: fit's own, and the table's best."""
    routers = [method for method in run.main.rows if method.startswith("router ")]
    if not routers or "routed" not in run.main.rows:
        return []
    best = max(routers, key=lambda method: run.main.mean(method, "alone", run.seen))
    return [("routed", "fit's router, abstaining"), (best, "the best router on these queries")]


def _harmed(run: Run, method: str, view: View) -> str:
    found = {name: run.less(method, "plain", view, [name]) for name in run.seen}
    present = {name: one for name, one in found.items() if one is not None}
    corrected = holm([one.p for one in present.values()])
    worse = [
        name
        for (name, one), p in zip(present.items(), corrected, strict=True)
        if one.difference < 0 and p < 0.05
    ]
    return ", ".join(worse)


def _none_harmed(run: Run, method: str, view: View) -> str:
    worse = _harmed(run, method, view)
    return (
        f"| seen sets significantly worse than plain (Holm), {method}, {view} | none | "
        f"{worse or 'none'} | {'missed' if worse else 'met'} |"
    )


def _full(run: Run, figures: Figures | None, sets: list[str]) -> Comparison | None:
    if figures is None:
        return None
    return run.less(figures.evaluation.served, "plain", "merged", sets, figures)


def _labelled(run: Run) -> list[str]:
    """The policy's bars on unseen sets where routers know some of their questions."""
    if run.labelled is None:
        return []
    policy, unseen, figures = run.policy, run.unseen, run.labelled
    name = f"the library with the unseen sets' dev labels, merged: {policy}"
    rows = [
        _at_least(
            f"{name} - plain, seen", run.less(policy, "plain", "merged", run.seen, figures), 6.0
        ),
        _at_least("the same, unseen", run.less(policy, "plain", "merged", unseen, figures), 0.3),
    ]
    if "multi-task" in run.main.rows:
        less = run.less(policy, "multi-task", "merged", unseen, figures, run.main)
        rows.append(_at_least("the same - multi-task, unseen", less, 1.0))
    if PILOTS in figures.rows:
        less = run.less(policy, PILOTS, "merged", unseen, figures)
        rows.append(_at_least("the same - RouterRetriever, unseen", less, 0.5))
    return rows


def _added(run: Run) -> list[str]:
    if run.added is None:
        return []
    policy = run.policy
    lines = []
    for view in ("alone", "merged"):
        own = run.less(policy, policy, view, [run.tenth], run.added, run.main)
        rest = [name for name in [*run.seen, *run.unseen] if name != run.tenth]
        others = run.less(policy, policy, view, rest, run.added, run.main)
        if own is None or others is None:
            continue
        lines.append(
            _at_most(
                f"fit on nine, {run.tenth} added, against a fit on ten: its distance, {view}",
                abs(100 * own.difference),
                0.2,
            )
        )
        lines.append(
            _at_most(
                f"the same: the others' mean distance, {view}", abs(100 * others.difference), 0.1
            )
        )
    return lines


def _research_share(run: Run) -> str:
    """What the per-query oracle has over its noise control, and how much of it the best wins."""
    sets = [*run.seen, *run.unseen]
    figures = run.main
    if "oracle per query" not in figures.rows:
        return "| share of the per-query oracle's gain over noise | report | no expert | |"
    shares: dict[str, float] = {}
    for method in figures.rows:
        if method.startswith(("router ", "routed", "mixed", "bound", "nearest", "soft")):
            shares[method] = gain_share(
                figures.mean(method, "alone", sets) / 100,
                figures.mean("noise control", "alone", sets) / 100,
                figures.mean("oracle per query", "alone", sets) / 100,
            )
    best = max(shares, key=lambda name: shares[name])
    return (
        "| share of the per-query oracle's gain over its noise control, best router, alone | "
        f"report; goal 25 % | {100 * shares[best]:.0f} % ({best}) | reported |"
    )


def lines(run: Run, seconds: float | None) -> list[str]:
    main, policy, routers = run.main, run.policy, _routers(run)
    seen, unseen = run.seen, run.unseen
    without = [name for name in seen if name != "scifact"]
    plain_cost = main.rows["plain"].cost.flops
    rows = [
        _at_least(
            "own expert (bound) - plain, ten seen sets, alone",
            run.less("bound", "plain", "alone", seen),
            5.0,
        ),
        _at_least("the same without scifact", run.less("bound", "plain", "alone", without), 4.0),
    ]
    for router, chosen in routers:
        rows += [
            _at_least(
                f"{router} ({chosen}) - plain, ten seen sets, alone",
                run.less(router, "plain", "alone", seen),
                5.0,
            ),
            _at_least("the same without scifact", run.less(router, "plain", "alone", without), 4.0),
        ]
    if "multi-task" in main.rows:
        rows.append(
            _at_least(
                "own expert (bound) - multi-task, seen, alone",
                run.less("bound", "multi-task", "alone", seen),
                2.2,
            )
        )
    for router, _ in routers:
        if "oracle per set" not in main.rows:
            break
        oracle = run.less("oracle per set", router, "alone", seen)
        if oracle is not None:
            rows.append(
                _at_most(f"oracle per set - {router}, seen, alone", 100 * oracle.difference, 0.3)
            )
    rows += [_none_harmed(run, policy, "alone"), _none_harmed(run, policy, "merged")]
    rows += [
        _at_least(
            f"merged: {policy} - plain, seen", run.less(policy, "plain", "merged", seen), 6.0
        ),
        _at_least("the same, unseen", run.less(policy, "plain", "merged", unseen), 0.3),
    ]
    if "multi-task" in main.rows:
        rows += [
            _at_least(
                f"merged: {policy} - multi-task, seen",
                run.less(policy, "multi-task", "merged", seen),
                2.8,
            ),
            _at_least("the same, unseen", run.less(policy, "multi-task", "merged", unseen), 1.0),
        ]
    if PILOTS in main.rows:
        rows += [
            _at_least(
                f"merged: {policy} - RouterRetriever ({PILOTS}), seen",
                run.less(policy, PILOTS, "merged", seen),
                1.0,
            ),
            _at_least("the same, unseen", run.less(policy, PILOTS, "merged", unseen), 0.5),
        ]
    rows += _labelled(run)
    rows.append(
        _at_most(
            f"search cost of {policy}, of plain's FLOPs",
            main.rows[policy].cost.flops / plain_cost,
            1.3,
            "x",
        )
    )
    if EVERY in main.rows:
        lost = run.less(EVERY, policy, "merged", [*seen, *unseen])
        if lost is not None:
            rows.append(
                _at_most(
                    "what is lost against searching every collection again, merged",
                    100 * lost.difference,
                    0.1,
                )
            )
    rows += [
        _at_least(
            "full system (policy, words, prior, ranker) - plain, merged, seen",
            _full(run, main, seen),
            7.0,
        ),
        _at_least(
            "the same, the library with the unseen sets' dev labels, seen",
            _full(run, run.labelled, seen),
            7.0,
        ),
        _at_least("the same, unseen, with their dev labels", _full(run, run.labelled, unseen), 6.5),
        _at_least(
            "full system, unseen, without any labels of theirs", _full(run, main, unseen), 4.5
        ),
        _research_share(run),
        *_added(run),
    ]
    what = "fits and evaluations from kept vectors, minutes"
    if seconds is None:
        rows.append(f"| {what} | <= 30.0 | | not measured: experts of an earlier run were kept |")
    else:
        rows.append(_at_most(what, seconds / 60, 30.0))
    return ["## Bars", "", "| what | bar | reached (95 %) | |", "|---|---|---|---|", *rows]
