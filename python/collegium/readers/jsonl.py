"""JSON lines: a document each. BEIR's fields, or named ones; the other fields are metadata.

Those of an object called metadata are among them, but for the path of the file a document came
from before it was exported: it comes from this one now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .._arguments import joined_metadata
from .base import (
    SOURCE_FIELD,
    Piece,
    Problem,
    ReadOptions,
    SourceFile,
    names_shown,
    read_lines,
)

_IDS = ("_id", "id")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def read(file: SourceFile, options: ReadOptions) -> Iterator[Piece | Problem]:
    for line in read_lines(file, options):
        if isinstance(line, Problem):
            yield line
            continue
        if not line.text.strip():
            continue
        where = f":{line.number}"
        try:
            row = json.loads(line.text.rstrip("\n"), parse_constant=_no_constant)
            if not isinstance(row, dict):
                raise ValueError(f"{type(row).__name__}, expected a JSON object")
            piece = _piece(row, options, str(line.number))
        except RecursionError:
            yield Problem("nested too deeply", where, line.offset)
        except json.JSONDecodeError as error:
            yield Problem(f"not JSON: {error.msg} at column {error.colno}", where, line.offset)
        except ValueError as error:
            yield Problem(str(error), where, line.offset)
        else:
            piece.where, piece.offset = where, line.offset
            yield piece


def _piece(row: dict[str, Any], options: ReadOptions, part: str) -> Piece:
    id_field = options.id_field
    if id_field is None:
        id_field = next((name for name in _IDS if row.get(name) is not None), None)
    title_field = options.title_field or "title"
    text_fields = options.text_fields or ("text",)
    used = {id_field, title_field, *text_fields}
    others = {name: value for name, value in row.items() if name not in used}
    if isinstance(inner := others.get("metadata"), dict):
        inner.pop(SOURCE_FIELD, None)
    texts = [_string(row, name) for name in text_fields]
    return Piece(
        text="\n\n".join(text for text in texts if text.strip()),
        title=_string(row, title_field, required=options.title_field is not None),
        id=None if id_field is None else _id(row, id_field),
        part=part,
        metadata=joined_metadata(others),
    )


def _string(row: dict[str, Any], name: str, required: bool = True) -> str:
    value = row.get(name)
    if value is None:
        if required and name not in row:
            raise ValueError(f"no field {name!r}; its fields are {names_shown(sorted(row))}")
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is {type(value).__name__}, expected str")
    return value


def _id(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        seen = f"no field {name!r}" if name not in row else f"{name!r} is {repr(value)[:60]}"
        raise ValueError(f"{seen}, expected a str or int that names the document")
    return value
