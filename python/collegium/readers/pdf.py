"""PDF, through pypdf (the extra ``pdf``): a document a page, with its number in the metadata."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgumentError, NotSupportedError
from .base import Piece, Problem, ReadOptions, SourceFile, read_bytes, title_of

if TYPE_CHECKING:
    from pypdf import PdfReader


def read(file: SourceFile, options: ReadOptions) -> Iterator[Piece | Problem]:
    try:
        import pypdf
    except ImportError:
        raise NotSupportedError(
            f"{file.path}: reading PDF needs pypdf, which the extra brings: "
            "pip install 'collegium[pdf]'"
        ) from None
    data = read_bytes(file, options)
    reader = _opened(pypdf.PdfReader, data, file)
    title = _title(reader) or title_of(file)
    count = _guarded(lambda: len(reader.pages), file, "")
    texts = 0
    for number in range(1, count + 1):
        offset = file.size * number // count
        try:
            text = _guarded(lambda n=number: reader.pages[n - 1].extract_text(), file, f":{number}")
        except InvalidArgumentError as error:
            reason = str(error).removeprefix(f"{file.path}:{number}: ")
            yield Problem(f"page {number}: {reason}", "", offset)
            continue
        # Fonts without a table of their characters give lone surrogates.
        text = text.encode("utf-8", "replace").decode("utf-8")
        if not text.strip():
            continue
        texts += 1
        yield Piece(
            text,
            title=title,
            part=str(number),
            metadata={"page": number},
            where=f": page {number}",
            offset=offset,
        )
    if not texts:
        raise InvalidArgumentError(f"{file.path}: {count} pages without text: pictures of a scan?")


def _opened(make: Any, data: bytes, file: SourceFile) -> PdfReader:
    reader: PdfReader = _guarded(lambda: make(io.BytesIO(data)), file, "")
    if reader.is_encrypted and not _guarded(lambda: reader.decrypt(""), file, ""):
        raise InvalidArgumentError(f"{file.path}: encrypted, and not with the empty password")
    return reader


def _title(reader: PdfReader) -> str:
    try:
        title = reader.metadata.title if reader.metadata is not None else None
    except Exception:  # a title is not worth the file
        return ""
    return " ".join(title.split()) if isinstance(title, str) else ""


def _guarded(work: Any, file: SourceFile, where: str) -> Any:
    """What pypdf gives. A damaged file makes it raise whatever its parts raise."""
    try:
        return work()
    except RecursionError:
        raise InvalidArgumentError(f"{file.path}{where}: nested too deeply") from None
    except Exception as error:
        raise InvalidArgumentError(
            f"{file.path}{where}: pypdf: {type(error).__name__}: {error}"
        ) from error
