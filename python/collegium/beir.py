"""BEIR folders: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/*.tsv``, plain or gzipped.

Example::

    documents, pairs = collegium.beir.read_folder("data/medquad", max_documents=4000)
    library.add("medquad", documents, pairs=pairs)
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from .errors import InvalidArgumentError, NotFoundError

__all__ = ["read_documents", "read_folder", "read_jsonl", "read_pairs"]

SPLITS = ("train", "dev", "test")


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8"))
    return path.open(encoding="utf-8")


def _either(path: Path) -> Path:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise NotFoundError(f"{path}: no such file, nor {path.name}.gz")


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file (``.gz`` too), one a line; empty lines are skipped.

    Raises:
        NotFoundError: no such file.
        InvalidArgumentError: a line is not a JSON object; the message gives its number.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file")
    number = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise InvalidArgumentError(
                        f"{path}:{number}: {type(row).__name__}, expected a JSON object"
                    )
                yield row
    except json.JSONDecodeError as error:
        raise InvalidArgumentError(f"{path}:{number}: not JSON: {error}") from error
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise InvalidArgumentError(f"{path}: after line {number}: {error}") from error


def read_documents(folder: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The corpus, as :meth:`Library.add` takes it."""
    yield from read_jsonl(_either(Path(folder) / "corpus.jsonl"))


def _queries(folder: Path) -> dict[str, str]:
    path = _either(folder / "queries.jsonl")
    queries = {}
    for row in read_jsonl(path):
        try:
            queries[row["_id"]] = row["text"]
        except KeyError as error:
            raise InvalidArgumentError(f"{path}: a query has no {error}: {row}") from None
    return queries


def read_pairs(
    folder: str | os.PathLike[str], splits: Sequence[str] = SPLITS
) -> Iterator[dict[str, Any]]:
    """The judgments with a gain above zero: dicts of query, id, split and gain.

    Raises:
        NotFoundError: there are no queries, or none of the splits.
        InvalidArgumentError: a line of qrels is malformed or names an unknown query.
    """
    folder = Path(folder)
    for split in splits:
        if split not in SPLITS:
            raise InvalidArgumentError(f"splits has {split!r}, expected some of {list(SPLITS)}")
    files = [(s, folder / "qrels" / f"{s}.tsv") for s in splits]
    present = [(split, path) for split, path in files if path.is_file()]
    if not present:
        raise NotFoundError(f"{folder / 'qrels'}: none of {[path.name for _, path in files]}")
    queries = _queries(folder)
    for split, path in present:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
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
        max_documents: keep at most so many, those with judgments first, each part in the order of
            the file; pairs of documents that are left out are left out too.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: no such folder")
    documents = list(read_documents(folder))
    pairs = list(read_pairs(folder)) if (folder / "qrels").is_dir() else []
    if max_documents is not None and len(documents) > max_documents:
        judged = {pair["id"] for pair in pairs}
        documents.sort(key=lambda document: document.get("_id") not in judged)
        documents = documents[:max_documents]
        kept = {document.get("_id") for document in documents}
        pairs = [pair for pair in pairs if pair["id"] in kept]
    return documents, pairs
