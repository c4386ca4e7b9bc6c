"""What users pass (dicts, names, callables) in the form the compiled module takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from . import _core
from .errors import InvalidArgumentError

DocumentLike = Mapping[str, Any] | _core.Document
PairLike = Mapping[str, Any] | _core.Pair

_T = TypeVar("_T")
_REQUIRED = object()


def _field(
    row: Mapping[str, Any], names: tuple[str, ...], kind: type[_T], where: str, default: Any
) -> _T:
    for name in names:
        value = row.get(name)
        if value is None:
            continue
        if not isinstance(value, kind):
            raise InvalidArgumentError(
                f"{where}[{name!r}] is {type(value).__name__}, expected {kind.__name__}"
            )
        return value
    if default is _REQUIRED:
        expected = " or ".join(repr(name) for name in names)
        raise InvalidArgumentError(f"{where} has no {expected}; its fields are {sorted(row)}")
    return default  # type: ignore[no-any-return]


def document_of(row: DocumentLike, where: str) -> _core.Document:
    if isinstance(row, _core.Document):
        return row
    if not isinstance(row, Mapping):
        raise InvalidArgumentError(f"{where} is {type(row).__name__}, expected a dict or Document")
    others = {k: v for k, v in row.items() if k not in ("id", "_id", "title", "text")}
    if "id" in row and "_id" in row:  # a BEIR line with a field of its own called id
        others["id"] = row["id"]
    try:
        metadata = json.dumps(others, ensure_ascii=False, sort_keys=True) if others else ""
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{where}: its other fields are not JSON: {error}") from error
    try:
        return _core.Document(
            id=_field(row, ("_id", "id"), str, where, _REQUIRED),
            title=_field(row, ("title",), str, where, ""),
            text=_field(row, ("text",), str, where, _REQUIRED),
            metadata=metadata,
        )
    except InvalidArgumentError as error:
        raise (
            error if str(error).startswith(where) else InvalidArgumentError(f"{where}: {error}")
        ) from None


def pair_of(row: PairLike, where: str) -> _core.Pair:
    if isinstance(row, _core.Pair):
        return row
    if not isinstance(row, Mapping):
        raise InvalidArgumentError(f"{where} is {type(row).__name__}, expected a dict or Pair")
    unknown = sorted(set(row) - {"query", "id", "document_id", "split", "gain"})
    if unknown:
        raise InvalidArgumentError(
            f"{where} has unknown fields {unknown}; allowed are query, id, split, gain"
        )
    gain = row.get("gain")
    if gain is None:
        gain = 1.0
    if isinstance(gain, bool) or not isinstance(gain, (int, float)):
        raise InvalidArgumentError(f"{where}['gain'] is {type(gain).__name__}, expected a number")
    try:
        return _core.Pair(
            query=_field(row, ("query",), str, where, _REQUIRED),
            document_id=_field(row, ("id", "document_id"), str, where, _REQUIRED),
            split=_field(row, ("split",), str, where, None),
            gain=float(gain),
        )
    except InvalidArgumentError as error:
        raise (
            error if str(error).startswith(where) else InvalidArgumentError(f"{where}: {error}")
        ) from None


def documents_of(rows: Iterable[DocumentLike]) -> list[_core.Document]:
    if isinstance(rows, (str, bytes, Mapping)):
        raise InvalidArgumentError(
            f"documents is {type(rows).__name__}, expected an iterable of dicts"
        )
    return [document_of(row, f"documents[{i}]") for i, row in enumerate(rows)]


def pairs_of(rows: Iterable[PairLike]) -> list[_core.Pair]:
    if isinstance(rows, (str, bytes, Mapping)):
        raise InvalidArgumentError(f"pairs is {type(rows).__name__}, expected an iterable of dicts")
    return [pair_of(row, f"pairs[{i}]") for i, row in enumerate(rows)]


def names_of(collections: Iterable[str] | None) -> list[str]:
    if collections is None:
        return []
    if isinstance(collections, str):
        raise InvalidArgumentError(f"collections is one str, expected a list: [{collections!r}]")
    names = list(collections)
    if not names:
        raise InvalidArgumentError("collections is empty; leave it out to search all")
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise InvalidArgumentError(f"collections[{i}] is {type(name).__name__}, expected str")
    return names
