"""Plain text: one document, as it is."""

from __future__ import annotations

from collections.abc import Iterator

from .base import Piece, Problem, ReadOptions, SourceFile, read_text, title_of


def read(file: SourceFile, options: ReadOptions) -> Iterator[Piece | Problem]:
    yield Piece(read_text(file, options), title=title_of(file), offset=file.size)
