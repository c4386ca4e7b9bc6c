"""What the tests of ingestion share: files made here, and how to read one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from collegium.readers import FORMATS, Piece, Problem, ReadOptions, SourceFile


def read(
    tmp_path: Path, name: str, content: bytes | str, format: str, **options: Any
) -> list[Piece | Problem]:
    """What the reader of ``format`` makes of a file with this content."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    file = SourceFile(path, name, path.stat().st_size)
    return list(FORMATS[format](file, ReadOptions(**options)))


def read_one(tmp_path: Path, name: str, content: bytes | str, format: str, **options: Any) -> Piece:
    (piece,) = read(tmp_path, name, content, format, **options)
    assert isinstance(piece, Piece), piece
    return piece


def pdf_of(pages: list[str], title: str = "") -> bytes:
    """A PDF 1.4 written by hand: one line of text a page (its Latin-1)."""
    count = len(pages)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>"
        % (count, b" ".join(b"%d 0 R" % (5 + 2 * i) for i in range(count))),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Title (%s) >>" % title.encode("latin-1"),
    ]
    for i, text in enumerate(pages):
        shown = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        stream = b"BT /F1 12 Tf 72 720 Td (%s) Tj ET" % shown.encode("latin-1") if text else b""
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (6 + 2 * i)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        start,
    )
    return bytes(out)
