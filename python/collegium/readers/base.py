"""What every reader takes and gives, and how bytes become text.

A reader is a function ``read(file, options)`` that yields a :class:`Piece` for each document of a
file, lazily, and a :class:`Problem` for each part it cannot use; what concerns the whole file it
raises. It never holds more than one file of at most ``options.max_file_bytes``, or one line of such
a length where a line is a document.
"""

from __future__ import annotations

import codecs
import errno
import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from ..errors import InvalidArgumentError, IoError, NotFoundError

Errors = Literal["strict", "replace"]

SOURCE_FIELD = "source_path"  # of the metadata: the file's path below the root


@dataclass(frozen=True)
class SourceFile:
    path: Path  # as messages show it
    name: str  # relative to the root, with "/": the document's id, or how its id begins
    size: int  # bytes


@dataclass
class Piece:
    """One document of a file."""

    text: str
    title: str = ""
    id: str | None = None  # the file's own; None: its name, "#" and `part`
    part: str = ""  # "": the file is one document
    metadata: dict[str, Any] = field(default_factory=dict)
    where: str = ""  # for messages, behind the path: ":17"
    offset: int = 0  # bytes of the file that are read when this piece is


@dataclass
class Problem:
    """A part of a file that is no document: reading goes on behind it."""

    reason: str
    where: str = ""
    offset: int = 0


@dataclass(frozen=True)
class ReadOptions:
    # Of JSON lines and of CSV: which fields hold what. None and (): the reader's defaults.
    id_field: str | None = None
    title_field: str | None = None
    text_fields: tuple[str, ...] = ()
    # What becomes of bytes that are no text: "strict" refuses them, "replace" puts U+FFFD.
    encoding_errors: Errors = "strict"
    # A whole file, or one line of a file that is read by lines. More is refused.
    max_file_bytes: int = 64 << 20


Reader = Callable[[SourceFile, ReadOptions], Iterator["Piece | Problem"]]


@contextmanager
def open_bytes(file: SourceFile) -> Iterator[BinaryIO]:
    """The file's bytes, gunzipped if its name says ``.gz``; errors of the system are typed."""
    try:
        with file.path.open("rb") as raw:
            if file.path.suffix == ".gz":
                with gzip.open(raw, "rb") as unzipped:
                    yield cast(BinaryIO, unzipped)
            else:
                yield raw
    except FileNotFoundError:
        raise NotFoundError(f"{file.path}: no such file") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidArgumentError(f"{file.path}: damaged gzip: {error}") from error
    except OSError as error:
        what = "links in a circle" if error.errno == errno.ELOOP else error.strerror or str(error)
        raise IoError(f"{file.path}: {what}") from error


def read_bytes(file: SourceFile, options: ReadOptions) -> bytes:
    """All bytes of the file.

    Raises:
        InvalidArgumentError: it is empty, or longer than ``max_file_bytes``.
    """
    limit = options.max_file_bytes
    parts: list[bytes] = []
    length = 0
    with open_bytes(file) as stream:
        # Not read(limit + 1): that would take so much memory for every small file.
        while part := stream.read(min(limit + 1 - length, max(file.size + 1, 1 << 16))):
            parts.append(part)
            length += len(part)
    data = b"".join(parts)
    if length > limit:
        raise InvalidArgumentError(
            f"{file.path}: more than {options.max_file_bytes} bytes; max_file_bytes allows more"
        )
    if not data:
        raise InvalidArgumentError(f"{file.path}: empty file")
    return data


def encoding_of(start: bytes) -> tuple[str, int]:
    """(encoding, bytes of the mark) by the byte order mark alone; UTF-8 without one."""
    if start.startswith(codecs.BOM_UTF8):
        return "utf-8", 3
    if start.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le", 2
    if start.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be", 2
    return "utf-8", 0


def decode(data: bytes, where: str, options: ReadOptions) -> str:
    """Text that is UTF-8, or UTF-16 by its byte order mark. Line ends become "\\n".

    Raises:
        InvalidArgumentError: it is neither (and ``encoding_errors`` is "strict"), or it holds a
            NUL, as binary files do; the message gives the offset in bytes.
    """
    encoding, mark = encoding_of(data)
    try:
        text = data[mark:].decode(encoding, options.encoding_errors)
    except UnicodeDecodeError as error:
        seen = data[mark + error.start : mark + error.start + 1].hex()
        raise InvalidArgumentError(
            f"{where}: not {encoding.upper()} at byte {mark + error.start} (0x{seen}: "
            f'{error.reason}); encoding_errors="replace" reads it nevertheless'
        ) from None
    nul = text.find("\0")
    if nul >= 0:
        at = mark + len(text[:nul].encode(encoding, "replace"))
        raise InvalidArgumentError(f"{where}: a NUL at byte {at}: a binary file, not text")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def read_text(file: SourceFile, options: ReadOptions) -> str:
    return decode(read_bytes(file, options), str(file.path), options)


@dataclass
class Line:
    number: int  # from 1
    text: str  # with its "\n"
    offset: int  # bytes of the file read so far, of the gzip if it is one


def read_lines(file: SourceFile, options: ReadOptions) -> Iterator[Line | Problem]:
    """The lines of a file, one at a time; those that cannot be decoded are problems.

    Raises:
        InvalidArgumentError: a line is longer than ``max_file_bytes``: what follows it is unknown.
    """
    with open_bytes(file) as stream:
        raw = getattr(stream, "fileobj", stream)  # of a gzip, the file below it
        start = stream.peek(4)[:4] if hasattr(stream, "peek") else b""
        encoding, mark = encoding_of(start)
        stream.read(mark)
        lines = (
            _utf16_lines(stream, encoding, file.path, options)
            if encoding.startswith("utf-16")
            else iter(lambda: stream.readline(options.max_file_bytes + 1), b"")
        )
        begin = mark
        for number, data in enumerate(lines, 1):
            if len(data) > options.max_file_bytes:
                raise InvalidArgumentError(
                    f"{file.path}:{number}: a line of more than {options.max_file_bytes} bytes; "
                    "max_file_bytes allows more"
                )
            offset = raw.tell()
            try:
                yield Line(number, decode(data, f"{file.path}:{number}", options), offset)
            except InvalidArgumentError as error:
                reason = str(error).removeprefix(f"{file.path}:{number}: ")
                if encoding == "utf-8":
                    reason += f" of the line, which begins at byte {begin}"
                yield Problem(reason, f":{number}", offset)
            begin += len(data)


def _utf16_lines(
    stream: BinaryIO, encoding: str, path: Path, options: ReadOptions
) -> Iterator[bytes]:
    """Lines of UTF-16 as UTF-8, so that one decoder serves both."""
    decoder = codecs.getincrementaldecoder(encoding)(options.encoding_errors)
    parts: list[str] = []  # of the line that has not ended
    length = 0
    at = 2
    while length <= options.max_file_bytes:
        data = stream.read(1 << 16)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise InvalidArgumentError(
                f"{path}: not {encoding.upper()} near byte {at + error.start}: {error.reason}"
            ) from None
        at += len(data)
        *whole, rest = text.split("\n")
        for line in whole:
            yield ("".join(parts) + line + "\n").encode("utf-8", "replace")
            parts.clear()
            length = 0
        parts.append(rest)
        length += len(rest)
        if not data:
            break
    if length:
        yield "".join(parts).encode("utf-8", "replace")


def title_of(file: SourceFile) -> str:
    """What a document without a title is called: its file's name, spelled as words."""
    stem = file.path.name.removesuffix(".gz")
    stem = stem.rsplit(".", 1)[0] or stem
    return " ".join(stem.replace("_", " ").replace("-", " ").split()) or stem


def names_shown(names: list[str]) -> str:
    """For messages: a file may name a million columns."""
    shown = [name if len(name) <= 60 else name[:60] + "..." for name in names[:20]]
    return f"{shown}" + (f" and {len(names) - 20} more" if len(names) > 20 else "")
