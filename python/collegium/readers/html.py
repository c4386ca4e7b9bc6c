"""HTML: one document, as Markdown-like text, so that passages get the names of their sections.

What is kept and how, and what is left out, is said in ``html_blocks``.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from ..errors import InvalidArgumentError
from .base import (
    Piece,
    Problem,
    ReadOptions,
    SourceFile,
    decode,
    encoding_of,
    read_bytes,
    title_of,
)
from .html_blocks import parse

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})")
# What browsers know; Python knows codecs that are no charsets.
_KNOWN_CODECS = re.compile(
    r"utf-8|ascii|cp125\d|cp874|cp932|iso8859-\d+|koi8-[ru]|shift_jis|euc_(jp|kr)|iso2022_jp|gbk|"
    r"gb18030|gb2312|big5|big5hkscs|mac-roman"
)


def read(file: SourceFile, options: ReadOptions) -> Iterator[Piece | Problem]:
    page = parse(decode_page(read_bytes(file, options), str(file.path), options))
    text = page.to_markdown()
    if not text.strip():
        raise InvalidArgumentError(f"{file.path}: a page without text")
    yield Piece(text, title=page.title or title_of(file), offset=file.size)


def decode_page(data: bytes, where: str, options: ReadOptions | None = None) -> str:
    """Text by byte order mark, else by what the page declares, else UTF-8 or windows-1252."""
    options = options or ReadOptions()
    if encoding_of(data)[1] == 0:
        found = _XML_ENCODING.search(data[:1024]) or _CHARSET.search(data[:4096])
        codec = _codec(found[1].decode("ascii")) if found else None
        if codec is None:
            try:
                data.decode("utf-8")
                codec = "utf-8"
            except UnicodeDecodeError:
                codec = "cp1252"
        if codec != "utf-8":
            try:
                data = data.decode(codec, options.encoding_errors).encode("utf-8")
            except UnicodeDecodeError as error:
                if codec != "cp1252":
                    raise InvalidArgumentError(
                        f"{where}: not {found[1].decode() if found else codec} at byte "
                        f"{error.start}: {error.reason}"
                    ) from None
                data = data.decode("latin-1").encode("utf-8")
    return decode(data, where, options)


def _codec(label: str) -> str | None:
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return None
    if name in ("ascii", "iso8859-1"):  # as every browser takes these words
        return "cp1252"
    return name if _KNOWN_CODECS.fullmatch(name) else None
