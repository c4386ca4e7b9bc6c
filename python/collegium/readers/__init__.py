"""Files as documents: a reader for each format, each lazy and bounded in memory.

``collegium.ingest`` uses them; a new format is a module with ``read(file, options)`` (see
``base``) and its endings here.
"""

from __future__ import annotations

from pathlib import PurePath

from . import delimited, html, jsonl, markdown, pdf, plain
from .base import Piece, Problem, Reader, ReadOptions, SourceFile

__all__ = ["FORMATS", "Piece", "Problem", "ReadOptions", "Reader", "SourceFile", "format_of"]

FORMATS: dict[str, Reader] = {
    "text": plain.read,
    "markdown": markdown.read,
    "html": html.read,
    "jsonl": jsonl.read,
    "csv": delimited.read,
    "pdf": pdf.read,
}
_ENDINGS = {
    "text": (".txt", ".text", ".rst"),
    "markdown": (".md", ".markdown", ".mdown"),
    "html": (".html", ".htm", ".xhtml"),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv", ".tab"),
    "pdf": (".pdf",),
}
_FORMAT_OF = {ending: name for name, endings in _ENDINGS.items() for ending in endings}


def format_of(path: PurePath) -> str | None:
    """The format that the file's name says (without ``.gz``), or None."""
    name = path.name.lower().removesuffix(".gz")
    return _FORMAT_OF.get(PurePath(name).suffix)
