"""TREC files: topics, runs and judgments (qrels). Files ending in .gz are read as they are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from .. import beir
from .._core import measure_ranking
from ..errors import InvalidArgumentError, NotFoundError

__all__ = [
    "Judgments",
    "Ranking",
    "measure_run",
    "read_judgments",
    "read_run",
    "read_topics",
    "write_judgments",
    "write_run",
]

# (document id, score), best first.
Ranking = Sequence[tuple[str, float]]
# By query: document id -> gain.
Judgments = Mapping[str, Mapping[str, float]]


def _check_id(identifier: str, what: str) -> str:
    if not identifier or any(c.isspace() for c in identifier):
        raise InvalidArgumentError(
            f"{what} {identifier!r}: a TREC file cannot hold an id that is empty or has spaces"
        )
    return identifier


def _check_documents(query: str, ranking: Ranking) -> None:
    seen: set[str] = set()
    for document, _ in ranking:
        if document in seen:
            raise InvalidArgumentError(
                f"document {document!r} stands twice in the ranking of {query!r}"
            )
        seen.add(document)


def write_run(
    path: str | os.PathLike[str], rankings: Mapping[str, Ranking], *, tag: str = "collegium"
) -> None:
    """Writes ``qid Q0 document rank score tag`` lines, with strictly decreasing scores.

    Evaluators break ties each in their own way (trec_eval by descending id, in single
    precision), so equal scores are lowered by the smallest single-precision step: every
    evaluator then sees our order, which is (score descending, id bytewise ascending).

    Raises:
        InvalidArgumentError: an id is empty or has spaces, a document stands twice in a ranking,
            or a score, lowered where it must be, is not finite in single precision. Nothing was
            written.
    """
    _check_id(tag, "tag")
    lines = []
    for query, ranking in rankings.items():
        _check_id(query, "query")
        _check_documents(query, ranking)
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


def _lines(path: str | os.PathLike[str]) -> Iterable[tuple[int, str]]:
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file")
    return ((number, line) for number, line in beir.text_lines(path) if line.strip())


def read_run(path: str | os.PathLike[str]) -> dict[str, list[tuple[str, float]]]:
    """Rankings by query, each by (score descending, id bytewise ascending).

    Raises:
        NotFoundError: no such file.
        InvalidArgumentError: a line does not have the six columns of a run, its score is not
            finite, or a document stands twice in a query's ranking.
    """
    rankings: dict[str, dict[str, float]] = {}
    for number, line in _lines(path):
        columns = line.split()
        try:
            query, _, document, _, text, _ = columns
            score = float(text)
        except ValueError:
            raise InvalidArgumentError(
                f"{path}:{number}: {line.strip()!r} is not 'qid Q0 document rank score tag'"
            ) from None
        if not np.isfinite(score):
            raise InvalidArgumentError(f"{path}:{number}: score {text} is not finite")
        ranking = rankings.setdefault(query, {})
        if document in ranking:
            raise InvalidArgumentError(
                f"{path}:{number}: document {document!r} stands twice in the ranking of {query!r}"
            )
        ranking[document] = score
    return {
        query: sorted(ranking.items(), key=lambda item: (-item[1], item[0].encode()))
        for query, ranking in rankings.items()
    }


def write_judgments(
    path: str | os.PathLike[str], judgments: Mapping[str, Mapping[str, float]]
) -> None:
    """Writes ``qid 0 document gain`` lines (trec_eval's qrels; gains are whole numbers there).

    Raises:
        InvalidArgumentError: a gain is no whole number, or an id is empty or has spaces. Nothing
            was written.
    """
    lines = []
    for query, gains in judgments.items():
        for document, gain in gains.items():
            if not np.isfinite(gain) or gain != int(gain):
                raise InvalidArgumentError(
                    f"gain {gain} of {document!r} for {query!r} is not a whole number"
                )
            lines.append(
                f"{_check_id(query, 'query')} 0 {_check_id(document, 'document')} {int(gain)}\n"
            )
    Path(path).write_text("".join(lines), encoding="utf-8")


def read_judgments(
    path: str | os.PathLike[str], *, keep_irrelevant: bool = False
) -> dict[str, dict[str, float]]:
    """Gains by query and document, of TREC's qrels (four columns) or BEIR's (three, tabs).

    Args:
        keep_irrelevant: keep documents whose gain is zero or less: judged, and not relevant, which
            bpref alone asks for. Without it, a query with none above zero is left out.

    Raises:
        NotFoundError: no such file.
        InvalidArgumentError: a line has other columns, a gain is not finite, or a document is
            judged twice for a query and not alike.
    """
    judgments: dict[str, dict[str, float]] = {}
    for number, line in _lines(path):
        line = line.rstrip("\r\n")
        columns = line.split("\t") if line.count("\t") == 2 else line.split()
        if number == 1 and columns[0] == "query-id":
            continue
        try:
            if len(columns) == 3:
                query, document, text = columns
            else:
                query, _, document, text = columns
            gain = float(text)
        except ValueError:
            raise InvalidArgumentError(
                f"{path}:{number}: {line.strip()!r} is not 'qid 0 document gain'"
            ) from None
        if not np.isfinite(gain):
            raise InvalidArgumentError(f"{path}:{number}: gain {text} is not finite")
        if gain <= 0 and not keep_irrelevant:
            continue
        gains = judgments.setdefault(query, {})
        if gains.setdefault(document, gain) != gain:
            raise InvalidArgumentError(
                f"{path}:{number}: document {document!r} of query {query!r} has gain {text} here "
                f"and {gains[document]} before"
            )
    return judgments


_TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
_FIELD = re.compile(r"<(\w+)>(.*?)(?=</?\w+>|\Z)", re.DOTALL)
_LABEL = re.compile(r"^\s*(Number|Topic|Description|Narrative)\s*:", re.IGNORECASE)


def read_topics(path: str | os.PathLike[str], *, field: str = "title") -> dict[str, str]:
    """Queries by id: TREC's ``<top>`` blocks, XML ``<topic number="...">``, or id, tab, text.

    Args:
        field: which part of a topic is the query: "title" (in XML "query" where there is no title),
            "desc", "narr", ...

    Raises:
        NotFoundError: no such file.
        InvalidArgumentError: it is none of these, a topic has no number or no such field, or an id
            occurs twice.
    """
    lines = list(_lines(path))
    text = "".join(line for _, line in lines)
    if "<topic " in text or "<topics" in text:
        pairs = _xml_topics(path, text, field)
    elif _TOPIC.search(text):
        pairs = _sgml_topics(path, text, field)
    else:
        pairs = []
        for number, line in lines:
            identifier, tab, query = line.partition("\t")
            if not tab:
                raise InvalidArgumentError(
                    f"{path}:{number}: neither TREC topics nor 'id, tab, text': {line.strip()!r}"
                )
            pairs.append((identifier.strip(), query.strip()))
    topics: dict[str, str] = {}
    for identifier, query in pairs:
        if not identifier or not query:
            raise InvalidArgumentError(f"{path}: topic {identifier!r} has no number or no {field}")
        if identifier in topics:
            raise InvalidArgumentError(f"{path}: topic {identifier!r} occurs twice")
        topics[identifier] = query
    return topics


def _sgml_topics(path: str | os.PathLike[str], text: str, field: str) -> list[tuple[str, str]]:
    pairs = []
    for block in _TOPIC.findall(text):
        parts = {
            name.lower(): " ".join(_LABEL.sub("", value).split())
            for name, value in _FIELD.findall(block)
        }
        pairs.append((parts.get("num", ""), parts.get(field, "")))
    return pairs


def _xml_topics(path: str | os.PathLike[str], text: str, field: str) -> list[tuple[str, str]]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # an entity may expand to gigabytes
        raise InvalidArgumentError(f"{path}: XML with a document type is not read")
    from xml.etree import ElementTree  # not on every import of the package

    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InvalidArgumentError(f"{path}: not XML: {error}") from None
    pairs = []
    for topic in root.iter("topic"):
        found = topic.find(field)
        if found is None and field == "title":
            found = topic.find("query")
        query = "" if found is None else " ".join("".join(found.itertext()).split())
        pairs.append((topic.get("number", "").strip(), query))
    return pairs


def measure_run(
    run: Mapping[str, Ranking], judgments: Judgments, measures: Sequence[str] = ("ndcg@10",)
) -> dict[str, dict[str, float]]:
    """By measure, then query: trec_eval's figures. A judged query without a ranking counts 0.

    Args:
        measures: "ndcg@10", "map@100", "mrr@10", "recall@100", "precision@10", "success@5",
            "bpref"; without "@" over the whole ranking.

    Raises:
        InvalidArgumentError: no such measure, or a document stands twice in a judged query's
            ranking.
    """
    for query in judgments:
        _check_documents(query, run.get(query, ()))
    return {
        measure: {
            query: measure_ranking(measure, run.get(query, ()), gains)
            for query, gains in judgments.items()
        }
        for measure in measures
    }
