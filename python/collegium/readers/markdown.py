"""Markdown: one document; the front matter becomes metadata, the rest stays as it is.

Front matter is what lies between two lines "---" at the head of a file. Of YAML it may use what
such blocks use: ``key: value``, quoted strings, numbers, true, false, null, and lists in brackets
or with dashes. A value that is more than that is kept as its own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .base import Piece, Problem, ReadOptions, SourceFile, read_text, title_of

_KEY = re.compile(r"([^\s:#'\"\[{-][^:\n]*?)[ \t]*:(?:[ \t]+(.*))?")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,30}\.[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,2})?")
_ITEM = re.compile(r"\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'|[^,]+)")
_MAX_LIST = 10_000  # characters; a longer one is kept as text
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#[ \t]+(.*?)[ \t]*(?:[ \t]#+[ \t]*)?")
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*")


def read(file: SourceFile, options: ReadOptions) -> Iterator[Piece | Problem]:
    metadata, text = split_front_matter(read_text(file, options))
    title = metadata.pop("title", None)
    if not isinstance(title, str) or not title.strip():
        title = first_heading(text) or title_of(file)
    yield Piece(text, title=title, metadata=metadata, offset=file.size)


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """(fields, text behind them); without a closed block of fields, ({}, text)."""
    if not text.startswith("---"):
        return {}, text
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return {}, text
    for i, line in enumerate(lines[1:], 1):
        if line.rstrip() in ("---", "..."):
            fields = _fields(lines[1:i])
            return (fields, "\n".join(lines[i + 1 :])) if fields is not None else ({}, text)
    return {}, text


def _fields(lines: list[str]) -> dict[str, Any] | None:
    """None if the lines are no fields: two rules around a paragraph, say."""
    fields: dict[str, Any] = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _KEY.fullmatch(line)
        if match is None:
            return None
        below: list[str] = []
        while at < len(lines) and (not lines[at].strip() or lines[at][0] in " \t-"):
            below.append(lines[at])
            at += 1
        fields[match[1]] = _value((match[2] or "").strip(), below)
    return fields


def _value(inline: str, below: list[str]) -> Any:
    below = [line for line in below if line.strip()]
    if not below:
        return _list(inline) if inline.startswith("[") else _scalar(inline)
    items = [line.strip() for line in below]
    if not inline and all(item.startswith("- ") for item in items):
        values = [item[2:].strip() for item in items]
        if not any(_KEY.fullmatch(value) for value in values):
            return [_scalar(value) for value in values]
    folded = inline[:1] == ">"
    if inline[:1] in ("|", ">") and len(inline) <= 2:
        return (" " if folded else "\n").join(items)
    return "\n".join([inline, *items]).strip()


def _list(inline: str) -> Any:
    if not inline.endswith("]") or len(inline) > _MAX_LIST:
        return inline
    body = inline[1:-1].strip()
    if any(mark in body for mark in "[]{}"):
        return inline
    parts = _ITEM.findall(body)
    return [_scalar(part.strip()) for part in parts if part.strip()]


def _scalar(text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), text[1:-1])
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    text = re.sub(r"(?:^|\s)#.*", "", text).strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def first_heading(text: str) -> str:
    """The first heading of level 1 outside blocks of code, or ""."""
    fence = ""
    before = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip(" " + fence[0]):
                fence = ""
            continue
        if mark:
            fence = mark[1]
        elif heading := _HEADING.fullmatch(line):
            if heading[1]:
                return heading[1]
        elif before.strip() and _UNDERLINE.fullmatch(line):
            return before.strip()
        before = line
    return ""
