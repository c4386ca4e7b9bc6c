"""Judged queries that are given to :meth:`Library.evaluate` and kept by no library."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import beir
from .._arguments import gain_of, text_of
from .._core import JudgedQuery
from ..errors import InvalidArgumentError
from .trec import read_judgments, read_topics

__all__ = ["JudgedLike", "judged_from_beir", "judged_from_jsonl", "judged_from_trec", "judged_of"]

# A dict of ``id``, ``text``, ``judgments`` (document id -> gain), or one of the compiled module's.
JudgedLike = Mapping[str, Any] | JudgedQuery


def _judged(row: JudgedLike, where: str) -> JudgedQuery:
    if isinstance(row, JudgedQuery):
        return row
    if not isinstance(row, Mapping):
        raise InvalidArgumentError(f"{where} is {type(row).__name__}, expected a dict")
    if set(row) != {"id", "text", "judgments"}:
        raise InvalidArgumentError(
            f"{where} has the fields {sorted(map(str, row))}; expected are id, text, judgments"
        )
    gains = row["judgments"]
    if not isinstance(gains, Mapping):
        raise InvalidArgumentError(
            f"{where}['judgments'] is {type(gains).__name__}, expected a dict of id and gain"
        )
    return JudgedQuery(
        id=text_of(row["id"], f"{where}['id']"),
        text=text_of(row["text"], f"{where}['text']"),
        judgments={
            text_of(document, f"{where}['judgments']: an id"): gain_of(
                gain, f"{where}: the gain of {document!r}"
            )
            for document, gain in gains.items()
        },
    )


def judged_of(
    judged: Mapping[str, Iterable[JudgedLike]] | None,
) -> dict[str, list[JudgedQuery]]:
    """By collection, as the compiled module takes them.

    Raises:
        InvalidArgumentError: a query is malformed, or there is none at all; the message says where.
    """
    if judged is None:
        return {}
    if not isinstance(judged, Mapping):
        raise InvalidArgumentError(
            f"judged is {type(judged).__name__}, expected a dict of collection and queries"
        )
    result = {}
    for name, rows in judged.items():
        if isinstance(rows, str | bytes | Mapping):
            raise InvalidArgumentError(
                f"judged[{name!r}] is {type(rows).__name__}, expected a list of dicts"
            )
        result[text_of(name, "judged: a collection")] = [
            _judged(row, f"judged[{name!r}][{i}]") for i, row in enumerate(rows)
        ]
    if not any(result.values()):
        raise InvalidArgumentError("judged has no queries; leave it out for the library's own")
    return result


def judged_from_beir(folder: str | os.PathLike[str], split: str = "test") -> list[JudgedQuery]:
    """The queries of a BEIR folder's ``split`` that have a relevant document.

    Raises:
        NotFoundError: there are no queries, or not this split.
        InvalidArgumentError: a file is malformed.
    """
    if split not in beir.SPLITS:
        raise InvalidArgumentError(f"split is {split!r}, expected one of {list(beir.SPLITS)}")
    return _joined(beir.read_queries(folder), folder, Path(folder) / "qrels" / f"{split}.tsv")


def judged_from_jsonl(path: str | os.PathLike[str]) -> list[JudgedQuery]:
    """JSON lines of ``query``, ``id`` (a document that answers it) and perhaps ``gain``, as
    ``collegium add --pairs`` takes them: lines with one query are one query, whose id is its text.

    Raises:
        NotFoundError: no such file.
        InvalidArgumentError: a line is malformed, or a document is judged twice for a query and
            not alike.
    """
    gains: dict[str, dict[str, float]] = {}
    for number, row in enumerate(beir.read_jsonl(path), 1):
        where = f"{path}: object {number}"
        if "query" not in row or "id" not in row:
            raise InvalidArgumentError(f"{where} has no 'query' or no 'id': {sorted(row)}")
        gain = row.get("gain")
        query = text_of(row["query"], f"{where}: 'query'")
        document = text_of(row["id"], f"{where}: 'id'")
        value = 1.0 if gain is None else gain_of(gain, f"{where}: gain")
        before = gains.setdefault(query, {}).setdefault(document, value)
        if before != value:
            raise InvalidArgumentError(
                f"{where}: {document!r} has gain {value:g} for {query[:60]!r}, and {before:g} above"
            )
    return [JudgedQuery(id=query, text=query, judgments=gains[query]) for query in gains]


def judged_from_trec(
    topics: str | os.PathLike[str], qrels: str | os.PathLike[str], *, field: str = "title"
) -> list[JudgedQuery]:
    """Topics with the judgments of those that have a relevant document, see :func:`read_topics`.

    Raises:
        NotFoundError: no such file.
        InvalidArgumentError: a file is malformed, or judges a topic that is not there.
    """
    return _joined(read_topics(topics, field=field), topics, qrels)


def _joined(
    texts: Mapping[str, str], origin: str | os.PathLike[str], qrels: str | os.PathLike[str]
) -> list[JudgedQuery]:
    judged = []
    for query, gains in read_judgments(qrels).items():
        if query not in texts:
            raise InvalidArgumentError(
                f"{Path(qrels)}: query {query!r} is not among those of {Path(origin)}"
            )
        judged.append(JudgedQuery(id=query, text=texts[query], judgments=gains))
    return judged
