"""Two methods, reports or runs side by side: the paired test."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .._core import Comparison, Evaluation, holm, paired_bootstrap
from ..errors import InvalidArgumentError, NotFoundError
from .trec import Judgments, Ranking, measure_run

__all__ = ["ComparisonReport", "compare", "compare_runs"]

View = Literal["per_collection", "merged"]
ReportLike = Evaluation | Mapping[str, Any] | str | os.PathLike[str]


@dataclass(frozen=True)
class ComparisonReport:
    """B less A, on the queries that both have.

    ``sets`` has a :class:`Comparison` by collection, and ``p_holm`` their p-values corrected for
    their number; ``mean`` is over sets. ``left_out`` counts the queries that only one of them has.
    """

    a: str
    b: str
    measure: str
    mean_a: float
    mean_b: float
    mean: Comparison
    sets: dict[str, Comparison] = field(default_factory=dict)
    p_holm: dict[str, float] = field(default_factory=dict)
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`to_json` writes."""
        return {
            "a": self.a,
            "b": self.b,
            "measure": self.measure,
            "mean_a": self.mean_a,
            "mean_b": self.mean_b,
            "mean": _dict_of(self.mean, self.mean.p),
            "sets": {name: _dict_of(one, self.p_holm[name]) for name, one in self.sets.items()},
            "left_out": self.left_out,
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def _rows(self) -> list[tuple[str, str, str, str, str, str]]:
        rows = []
        for name, one in [*self.sets.items(), ("mean", self.mean)]:
            interval = f"[{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
            corrected = "" if name == "mean" else _p(self.p_holm[name])
            rows.append(
                (
                    name,
                    str(one.queries),
                    f"{100 * one.difference:+.1f}",
                    interval,
                    _p(one.p),
                    corrected,
                )
            )
        return rows

    HEAD = ("set", "queries", "B - A", "95 % interval", "p", "p (Holm)")

    def _title(self) -> str:
        left_out = f"; {self.left_out} queries that only one has left out" if self.left_out else ""
        return (
            f"{self.measure} x 100, mean over sets: A {100 * self.mean_a:.1f}, "
            f"B {100 * self.mean_b:.1f}{left_out}"
        )

    def to_text(self) -> str:
        rows = [self.HEAD, *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.HEAD))]
        lines = [f"A: {self.a}", f"B: {self.b}", self._title(), ""]
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        return (
            f"<div><p>A: {html.escape(self.a)}<br>B: {html.escape(self.b)}<br>"
            f"{html.escape(self._title())}</p><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _dict_of(one: Comparison, p_holm: float) -> dict[str, float]:
    return {
        "difference": one.difference,
        "low": one.low,
        "high": one.high,
        "p": one.p,
        "p_holm": p_holm,
        "queries": one.queries,
    }


# By set and query: what one side has.
_Values = dict[tuple[str, str], float]


def _paired(
    a: _Values, b: _Values, names: tuple[str, str], measure: str, resamples: int, seed: int
) -> ComparisonReport:
    common = [key for key in a if key in b]  # in the order of A, as evaluate() has it
    if not common:
        raise InvalidArgumentError(f"{names[0]} and {names[1]} have no query in common")
    sets: dict[str, list[tuple[str, str]]] = {}
    for key in common:
        sets.setdefault(key[0], []).append(key)
    differences = [[b[key] - a[key] for key in keys] for keys in sets.values()]

    def mean(values: _Values) -> float:
        return sum(sum(values[key] for key in keys) / len(keys) for keys in sets.values()) / len(
            sets
        )

    by_set = {
        name: paired_bootstrap([row], resamples=resamples, seed=seed)
        for name, row in zip(sets, differences, strict=True)
    }
    corrected = holm([one.p for one in by_set.values()])
    return ComparisonReport(
        a=names[0],
        b=names[1],
        measure=measure,
        mean_a=mean(a),
        mean_b=mean(b),
        mean=paired_bootstrap(differences, resamples=resamples, seed=seed),
        sets=by_set,
        p_holm=dict(zip(by_set, corrected, strict=True)),
        left_out=len(set(a) ^ set(b)),
    )


def _report(source: ReportLike, side: str) -> tuple[dict[str, Any], str]:
    if isinstance(source, Evaluation):
        return json.loads(source.to_json()), f"report {side}"
    if isinstance(source, Mapping):
        return dict(source), f"report {side}"
    path = Path(source)
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{path}: not a report in JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"{path}: not a report: {type(value).__name__}")
    return value, str(path)


def _values(report: dict[str, Any], method: str, view: str, name: str) -> _Values:
    try:
        rows = {row["method"]: row for row in report["rows"]}
        keys = [(str(query["collection"]), str(query["id"])) for query in report["queries"]]
        if method not in rows:
            raise NotFoundError(f"{name} has no method {method!r}; there are: {', '.join(rows)}")
        values = [float(value) for value in rows[method][f"{view}_queries"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(f"{name}: not a report of evaluate(): {error!r}") from None
    if len(values) != len(keys):
        raise InvalidArgumentError(f"{name}: {len(values)} figures for {len(keys)} queries")
    return dict(zip(keys, values, strict=True))


def compare(
    a: ReportLike,
    b: ReportLike,
    *,
    method: str | None = None,
    method_b: str | None = None,
    view: View = "merged",
    resamples: int = 2000,
    seed: int = 1,
) -> ComparisonReport:
    """The nDCG@10 of two reports' methods, paired by collection and query id.

    Args:
        a, b: what :meth:`Library.evaluate` gave, its JSON, or a file of that. The same twice, with
            ``method_b``, compares two methods of one report.
        method: the row of both; by default the one that each library answers with.
        method_b: the row of ``b``, if another.
        view: "per_collection" or "merged".
        resamples, seed: of the paired bootstrap.

    Raises:
        NotFoundError: no such file or method.
        InvalidArgumentError: not a report, or they have no query in common.
    """
    if view not in ("per_collection", "merged"):
        raise InvalidArgumentError(f"view is {view!r}, expected 'per_collection' or 'merged'")
    values, names = [], []
    for side, source, row in (("A", a, method), ("B", b, method_b or method)):
        report, name = _report(source, side)
        chosen = row if row is not None else str(report.get("served", ""))
        values.append(_values(report, chosen, view, name))
        names.append(f"{chosen}, {view.replace('_', ' ')}, split {report.get('split')} ({name})")
    return _paired(values[0], values[1], (names[0], names[1]), "nDCG@10", resamples, seed)


def compare_runs(
    a: Mapping[str, Ranking],
    b: Mapping[str, Ranking],
    judgments: Judgments,
    *,
    measure: str = "ndcg@10",
    names: Sequence[str] = ("run A", "run B"),
    resamples: int = 2000,
    seed: int = 1,
) -> ComparisonReport:
    """Two runs (:func:`read_run`) on the judged queries. One without a ranking counts 0.

    Raises:
        InvalidArgumentError: no such measure, or no judged queries.
    """
    figures = [
        {("all", query): value for query, value in measured[measure].items()}
        for measured in (measure_run(run, judgments, [measure]) for run in (a, b))
    ]
    return _paired(figures[0], figures[1], (names[0], names[1]), measure, resamples, seed)
