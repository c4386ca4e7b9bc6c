"""CSV and its kin: a document a row, the first row names the columns.

The delimiter is the one of ``, ; tab |`` that cuts the first rows into the most columns of equal
number; quotes are '"', doubled within. Columns called text, body, content, document, passage or
answer hold the text unless others are named; without any of them a row's text is all of its columns,
each as "name: value". Columns that are neither id, title nor text become metadata, as str.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterator

from ..errors import InvalidArgumentError
from .base import Line, Piece, Problem, ReadOptions, SourceFile, names_shown, read_lines

DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_LINES = 50
_SAMPLE_CHARACTERS = 1 << 18
_IDS = ("_id", "id")
_TITLES = ("title", "name", "heading", "question")
_TEXTS = ("text", "body", "content", "document", "passage", "answer")


class _Lines:
    """Lines as csv.reader wants them. Those that cannot be decoded are kept as problems."""

    def __init__(self, lines: Iterator[Line | Problem]) -> None:
        self._lines = lines
        self._problems: list[Problem] = []
        self.number = 0  # of the last one handed out
        self.offset = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._lines, 1):
            self.number, self.offset = number, line.offset
            if isinstance(line, Problem):
                self._problems.append(line)
            else:
                yield line.text

    def take_problems(self) -> list[Problem]:
        problems, self._problems = self._problems, []
        return problems


def sniff_delimiter(lines: list[str]) -> str:
    """The delimiter of these first lines; "," if none of DELIMITERS is in all of them."""
    best, most = ",", 1
    for delimiter in DELIMITERS:
        try:
            rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if not rows:
            continue
        columns = len(rows[0])
        # The last row may be cut, its end being behind the sample.
        whole = rows[1:-1] or rows[1:]
        equal = sum(len(row) == columns for row in whole)
        if columns > most and 2 * equal >= len(whole):
            best, most = delimiter, columns
    return best


def _sample(lines: Iterator[Line | Problem]) -> list[Line | Problem]:
    sample: list[Line | Problem] = []
    size = 0
    for line in lines:
        sample.append(line)
        size += len(line.text) if isinstance(line, Line) else 0
        if len(sample) >= _SAMPLE_LINES or size >= _SAMPLE_CHARACTERS:
            break
    return sample


def read(file: SourceFile, options: ReadOptions) -> Iterator[Piece | Problem]:
    source = read_lines(file, options)
    sample = _sample(source)
    is_tsv = file.path.name.removesuffix(".gz").lower().endswith((".tsv", ".tab"))
    delimiter = "\t" if is_tsv else sniff_delimiter([x.text for x in sample if isinstance(x, Line)])
    lines = _Lines(itertools.chain(sample, source))
    rows = csv.reader(lines, delimiter=delimiter)
    columns: _Columns | None = None
    while True:
        first = lines.number + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            reason = f"{error} (a quote that is not closed? csv.field_size_limit() allows more)"
            yield Problem(reason, f":{first}", lines.offset)
            continue
        yield from lines.take_problems()
        if row is None:
            break
        if not any(cell.strip() for cell in row):
            continue
        if columns is None:
            columns = _Columns([cell.strip() for cell in row], options, f"{file.path}:{first}")
        else:
            yield columns.document(row, first, lines.offset)
    if columns is None:
        raise InvalidArgumentError(f"{file.path}: empty file: no row that names the columns")


class _Columns:
    """Which column is what."""

    def __init__(self, header: list[str], options: ReadOptions, where: str) -> None:
        twice = sorted(name for name, count in Counter(header).items() if count > 1)
        if twice:
            raise InvalidArgumentError(
                f"{where}: the header names columns twice: {names_shown(twice)}"
            )
        self._header = header
        lower = {name.lower(): i for i, name in reversed(list(enumerate(header)))}

        def named(name: str, option: str) -> int:
            if name not in header:
                raise InvalidArgumentError(
                    f"{where}: no column {name!r} ({option}); the header names {names_shown(header)}"
                )
            return header.index(name)

        def usual(names: tuple[str, ...]) -> int | None:
            return next((lower[name] for name in names if name in lower), None)

        self._id = usual(_IDS) if options.id_field is None else named(options.id_field, "id_field")
        self._title = (
            usual(_TITLES)
            if options.title_field is None
            else named(options.title_field, "title_field")
        )
        self._texts = [named(name, "text_field") for name in options.text_fields]
        if not self._texts and (text := usual(_TEXTS)) is not None:
            self._texts = [text]
        used = {self._id, self._title, *self._texts}
        self._others = [i for i in range(len(header)) if i not in used]

    def document(self, row: list[str], line: int, offset: int) -> Piece | Problem:
        where = f":{line}"
        if len(row) != len(self._header):
            reason = f"{len(row)} cells where the header has {len(self._header)}"
            return Problem(reason, where, offset)
        if self._id is not None and not row[self._id].strip():
            return Problem(f"its {self._header[self._id]!r} is empty", where, offset)
        if self._texts:
            text = "\n\n".join(row[i] for i in self._texts if row[i].strip())
        else:  # a row is what its columns say
            text = "\n".join(f"{self._header[i]}: {row[i]}" for i in self._others if row[i].strip())
        return Piece(
            text=text,
            title="" if self._title is None else row[self._title],
            id=None if self._id is None else row[self._id].strip(),
            part=str(line),
            metadata={self._header[i]: row[i] for i in self._others if row[i] != ""},
            where=where,
            offset=offset,
        )
