"""BEIR folders: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/*.tsv``, plain or gzipped.

Example::

    documents, pairs = collegium.beir.read_folder("data/medquad", max_documents=4000)
    library.add("medquad", documents, pairs=pairs)
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from ._arguments import whole_number
from .errors import InvalidArgumentError, NotFoundError

__all__ = ["read_documents", "read_folder", "read_jsonl", "read_pairs", "read_queries"]

SPLITS = ("train", "dev", "test")


def _open(path: Path) -> TextIO:
    # utf-8-sig: a byte order mark, which some editors write, is no part of the first line.
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig"))
    return path.open(encoding="utf-8-sig")


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a text file; what cannot be decoded is InvalidArgumentError."""
    number = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, 1):
                yield number, line
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidArgumentError(f"{path}: after line {number}: {error}") from error


def _either(path: Path) -> Path:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise NotFoundError(f"{path}: no such file, nor {path.name}.gz")


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file (``.gz`` too), one a line; empty lines are skipped.

    Raises:
        NotFoundError: no such file.
        InvalidArgumentError: a line is not a JSON object, or what the file holds is not UTF-8 or
            a damaged gzip; the message gives the line's number.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file")
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except RecursionError:
            raise InvalidArgumentError(f"{path}:{number}: nested too deeply") from None
        except ValueError as error:  # not JSON, or a number of thousands of digits
            raise InvalidArgumentError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InvalidArgumentError(
                f"{path}:{number}: {type(row).__name__}, expected a JSON object"
            )
        yield row


def read_documents(folder: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The corpus, as :meth:`Library.add` takes it."""
    yield from read_jsonl(_either(Path(folder) / "corpus.jsonl"))


def read_queries(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Texts by id.

    Raises:
        NotFoundError: there is no ``queries.jsonl``.
        InvalidArgumentError: a line is malformed.
    """
    path = _either(Path(folder) / "queries.jsonl")
    queries: dict[str, str] = {}
    for row in read_jsonl(path):
        for field in ("_id", "text"):
            if field not in row:
                raise InvalidArgumentError(f"{path}: a query has no {field!r}: {row}")
            if not isinstance(row[field], str):
                raise InvalidArgumentError(
                    f"{path}: a query's {field!r} is {type(row[field]).__name__}, expected str: "
                    f"{row}"
                )
        queries[row["_id"]] = row["text"]
    return queries


def read_pairs(
    folder: str | os.PathLike[str], splits: Sequence[str] = SPLITS
) -> Iterator[dict[str, Any]]:
    """The judgments with a gain above zero: dicts of query, id, split and gain.

    Raises:
        NotFoundError: there are no queries, or none of the splits.
        InvalidArgumentError: a line of qrels is malformed or names an unknown query, or the file is
            not UTF-8.
    """
    folder = Path(folder)
    for split in splits:
        if split not in SPLITS:
            raise InvalidArgumentError(f"splits has {split!r}, expected some of {list(SPLITS)}")
    files = [(s, folder / "qrels" / f"{s}.tsv") for s in splits]
    present = [(split, path) for split, path in files if path.is_file()]
    if not present:
        raise NotFoundError(f"{folder / 'qrels'}: none of {[path.name for _, path in files]}")
    queries = read_queries(folder)
    for split, path in present:
        for number, line in text_lines(path):
            columns = line.rstrip("\r\n").split("\t")
            if number == 1 and columns[0] == "query-id":
                continue
            try:
                query, document, gain = columns[0], columns[1], float(columns[2])
                text = queries[query]
            except (IndexError, ValueError):
                raise InvalidArgumentError(
                    f"{path}:{number}: {line.strip()!r} is not 'query-id corpus-id score'"
                ) from None
            except KeyError:
                raise InvalidArgumentError(
                    f"{path}:{number}: query {query!r} is not in queries.jsonl"
                ) from None
            if gain > 0:
                yield {"query": text, "id": document, "split": split, "gain": gain}


def read_folder(
    folder: str | os.PathLike[str], *, max_documents: int | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(documents, pairs) of a BEIR folder; without ``qrels`` there are no pairs.

    Args:
        max_documents: at least 1: keep at most so many, those with judgments first, each part in
            the order of the file; pairs of documents that are left out are left out too.

    Raises:
        NotFoundError: there is no such folder, or no corpus in it.
        InvalidArgumentError: max_documents is below 1, or a file is malformed.
    """
    if max_documents is not None:
        max_documents = whole_number(max_documents, "max_documents", at_least=1)
    folder = Path(folder)
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: no such folder")
    documents = list(read_documents(folder))
    pairs = list(read_pairs(folder)) if (folder / "qrels").is_dir() else []
    if max_documents is not None and len(documents) > max_documents:
        judged = {pair["id"] for pair in pairs}
        ids = [document.get("_id") for document in documents]
        # An id that is no str is for Library.add to refuse, with its position.
        chosen = sorted(
            range(len(documents)), key=lambda i: not (isinstance(ids[i], str) and ids[i] in judged)
        )[:max_documents]
        documents = [documents[i] for i in chosen]
        kept = {ids[i] for i in chosen if isinstance(ids[i], str)}
        pairs = [pair for pair in pairs if pair["id"] in kept]
    return documents, pairs
