"""What users pass (dicts, names, callables) in the form the compiled module takes."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from . import _core
from .errors import InvalidArgumentError

DocumentLike = Mapping[str, Any] | _core.Document
PairLike = Mapping[str, Any] | _core.Pair
FilterLike = Mapping[str, Any] | str

_T = TypeVar("_T")
_REQUIRED = object()


def whole_number(value: Any, name: str, *, at_least: int = 0, at_most: int = 2**64 - 1) -> int:
    """``value`` as an int that the compiled module can hold.

    Raises:
        InvalidArgumentError: it is out of range.
        TypeError: it is no int.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {type(value).__name__}, expected int") from None
    if not at_least <= number <= at_most:
        # repr() of an int of thousands of digits is an error of its own.
        seen = str(number) if number.bit_length() <= 128 else f"{number.bit_length()} bits long"
        raise InvalidArgumentError(f"{name} is {seen}; allowed are {at_least} to {at_most}")
    return number


def filter_of(filter: FilterLike | None) -> str | None:
    """A filter as the JSON text that the compiled module reads.

    Raises:
        InvalidArgumentError: it is nothing that JSON has: NaN, a set, a key that is no string.
    """
    if filter is None or isinstance(filter, str):
        return filter
    if not isinstance(filter, Mapping):
        raise TypeError(f"filter is {type(filter).__name__}, expected a mapping or JSON text")
    try:
        return json.dumps(_plain(filter), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"filter is no JSON: {error}") from error


def _plain(value: Any) -> Any:
    """Dicts and lists alone, so that any mapping is an object and no key is made a string."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is {type(key).__name__}, expected str")
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return value


def document_numbers(values: Any, name: str) -> npt.NDArray[np.uint32]:
    """(n,) uint32 of integers of any type; copied only if they are of another."""
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.uint32)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"{name} has shape {array.shape} of {array.dtype}, expected (n,) of integers"
        )
    limit = np.iinfo(np.uint32).max
    if array.size and (int(array.min()) < 0 or int(array.max()) > limit):
        raise InvalidArgumentError(
            f"{name} has numbers from {array.min()} to {array.max()}; allowed are 0 to {limit}"
        )
    return np.ascontiguousarray(array, dtype=np.uint32)


def positives_of(rows: Sequence[Sequence[int]], name: str) -> list[list[int]]:
    return [document_numbers(row, f"{name}[{i}]").tolist() for i, row in enumerate(rows)]


def scores_of(rows: Sequence[Sequence[float]], name: str) -> list[list[float]]:
    found = []
    for i, row in enumerate(rows):
        array = np.asarray(row)
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            raise InvalidArgumentError(
                f"{name}[{i}] has shape {array.shape} of {array.dtype}, expected numbers of (n,)"
            )
        found.append(array.astype(np.float32).tolist())
    return found


def text_of(value: Any, name: str) -> str:
    """``value``, a str that has UTF-8: one with a lone surrogate has none."""
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name} is {type(value).__name__}, expected str")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{name} cannot be written as UTF-8: {error}") from None
    return value


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


def joined_metadata(fields: dict[str, Any]) -> dict[str, Any]:
    """A row's other fields, with those of an object called metadata among them: so BEIR has it,
    and :meth:`Library.export`, whose rows thereby become what they were.

    Raises:
        InvalidArgumentError: a name stands in both.
    """
    inner = fields.get("metadata")
    if not isinstance(inner, Mapping):
        return fields
    others = {name: value for name, value in fields.items() if name != "metadata"}
    for name in inner:
        if name in others:
            raise InvalidArgumentError(f"{name!r} is a field of the row and of its metadata")
    return {**inner, **others}


def document_of(row: DocumentLike, where: str) -> _core.Document:
    if isinstance(row, _core.Document):
        return row
    if not isinstance(row, Mapping):
        raise InvalidArgumentError(f"{where} is {type(row).__name__}, expected a dict or Document")
    others = {k: v for k, v in row.items() if k not in ("id", "_id", "title", "text")}
    if "id" in row and "_id" in row:  # a BEIR line with a field of its own called id
        others["id"] = row["id"]
    try:
        others = joined_metadata(others)
        metadata = json.dumps(others, ensure_ascii=False, sort_keys=True) if others else ""
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error}") from None
    except RecursionError:
        raise InvalidArgumentError(f"{where}: its other fields are nested too deeply") from None
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


def gain_of(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentError(f"{where} is {type(value).__name__}, expected a number")
    try:
        return float(value)
    except OverflowError as error:
        raise InvalidArgumentError(f"{where}: {error}") from None


def pair_of(row: PairLike, where: str) -> _core.Pair:
    if isinstance(row, _core.Pair):
        return row
    if not isinstance(row, Mapping):
        raise InvalidArgumentError(f"{where} is {type(row).__name__}, expected a dict or Pair")
    unknown = sorted(set(row) - {"query", "id", "document_id", "split", "gain", "kind"})
    if unknown:
        raise InvalidArgumentError(
            f"{where} has unknown fields {unknown}; allowed are query, id, split, gain, kind"
        )
    gain = row.get("gain")
    try:
        return _core.Pair(
            query=_field(row, ("query",), str, where, _REQUIRED),
            document_id=_field(row, ("id", "document_id"), str, where, _REQUIRED),
            split=_field(row, ("split",), str, where, None),
            gain=1.0 if gain is None else gain_of(gain, f"{where}['gain']"),
            kind=_field(row, ("kind",), str, where, ""),
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
    return [text_of(name, f"collections[{i}]") for i, name in enumerate(names)]
