"""Measuring: metrics as trec_eval computes them, TREC runs and judgments, and reports."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ._core import (
    Evaluation,
    EvaluationRow,
    Metrics,
    check_support,
    ndcg_at,
    recall_at,
    split_of_document,
)
from .errors import InvalidArgumentError

__all__ = [
    "Evaluation",
    "EvaluationRow",
    "Metrics",
    "check_support",
    "ndcg_at",
    "read_judgments",
    "read_run",
    "recall_at",
    "split_of_document",
    "write_judgments",
    "write_run",
]

# (document id, score), best first.
Ranking = Sequence[tuple[str, float]]


def _check_id(identifier: str, what: str) -> str:
    if not identifier or any(c.isspace() for c in identifier):
        raise InvalidArgumentError(
            f"{what} {identifier!r}: a TREC file cannot hold an id that is empty or has spaces"
        )
    return identifier


def write_run(
    path: str | os.PathLike[str], rankings: Mapping[str, Ranking], *, tag: str = "collegium"
) -> None:
    """Writes ``qid Q0 document rank score tag`` lines, with strictly decreasing scores.

    Evaluators break ties each in their own way (trec_eval by descending id, in single
    precision), so equal scores are lowered by the smallest single-precision step: every
    evaluator then sees our order, which is (score descending, id bytewise ascending).

    Raises:
        InvalidArgumentError: an id is empty or has spaces, or a score, lowered where it must be,
            is not finite in single precision. Nothing was written.
    """
    _check_id(tag, "tag")
    lines = []
    for query, ranking in rankings.items():
        _check_id(query, "query")
        ordered = sorted(ranking, key=lambda item: (-item[1], item[0].encode()))
        previous = np.float32(np.inf)
        for rank, (document, score) in enumerate(ordered, 1):
            with np.errstate(over="ignore"):  # beyond single precision: an infinity, refused below
                single = np.float32(score)
                lowered = min(single, np.nextafter(previous, np.float32(-np.inf)))
            if not np.isfinite(single) or not np.isfinite(lowered):
                raise InvalidArgumentError(
                    f"score of {document!r} for {query!r} is {score}, not finite in single precision"
                )
            previous = np.float32(lowered)
            _check_id(document, "document")
            lines.append(f"{query} Q0 {document} {rank} {previous:.9g} {tag}\n")
    Path(path).write_text("".join(lines), encoding="utf-8")


def read_run(path: str | os.PathLike[str]) -> dict[str, list[tuple[str, float]]]:
    """Rankings by query, each by (score descending, id bytewise ascending).

    Raises:
        InvalidArgumentError: a line does not have the six columns of a run.
    """
    rankings: dict[str, list[tuple[str, float]]] = {}
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            columns = line.split()
            try:
                query, _, document, _, score, _ = columns
                rankings.setdefault(query, []).append((document, float(score)))
            except ValueError:
                raise InvalidArgumentError(
                    f"{path}:{number}: {line.strip()!r} is not 'qid Q0 document rank score tag'"
                ) from None
    for ranking in rankings.values():
        ranking.sort(key=lambda item: (-item[1], item[0].encode()))
    return rankings


def write_judgments(
    path: str | os.PathLike[str], judgments: Mapping[str, Mapping[str, float]]
) -> None:
    """Writes ``qid 0 document gain`` lines (trec_eval's qrels; gains are whole numbers there)."""
    lines = []
    for query, gains in judgments.items():
        for document, gain in gains.items():
            if gain != int(gain):
                raise InvalidArgumentError(
                    f"gain {gain} of {document!r} for {query!r} is not a whole number"
                )
            lines.append(
                f"{_check_id(query, 'query')} 0 {_check_id(document, 'document')} {int(gain)}\n"
            )
    Path(path).write_text("".join(lines), encoding="utf-8")


def read_judgments(path: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    """Gains by query and document; those of zero are left out.

    Raises:
        InvalidArgumentError: a line does not have the four columns of qrels.
    """
    judgments: dict[str, dict[str, float]] = {}
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            columns = line.split()
            try:
                query, _, document, gain = columns
                if float(gain) > 0:
                    judgments.setdefault(query, {})[document] = float(gain)
            except ValueError:
                raise InvalidArgumentError(
                    f"{path}:{number}: {line.strip()!r} is not 'qid 0 document gain'"
                ) from None
    return judgments
