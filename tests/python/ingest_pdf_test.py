"""PDF as documents: a page each, through pypdf. The PDFs are written by hand."""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path

import pypdf
import pytest

import collegium
from collegium.readers import Piece, Problem
from ingest_data import pdf_of, read

PAGES = ["Green tea takes two minutes.", "", "Caf\u00e9 (black)"]


def encrypted(data: bytes, password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_a_page_is_a_document_with_its_number(tmp_path: Path) -> None:
    pieces = read(tmp_path, "a.pdf", pdf_of(PAGES, title="Hot drinks"), "pdf")
    assert [
        (p.title, p.text.strip(), p.part, p.metadata) for p in pieces if isinstance(p, Piece)
    ] == [
        ("Hot drinks", "Green tea takes two minutes.", "1", {"page": 1}),
        ("Hot drinks", "Café (black)", "3", {"page": 3}),
    ]


def test_a_pdf_without_title_is_named_by_its_file(tmp_path: Path) -> None:
    (piece,) = read(tmp_path, "hot_drinks.pdf", pdf_of(["x"]), "pdf")
    assert isinstance(piece, Piece)
    assert piece.title == "hot drinks"


def test_an_encrypted_pdf_is_refused_unless_its_password_is_empty(tmp_path: Path) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=r"a\.pdf: encrypted"):
        read(tmp_path, "a.pdf", encrypted(pdf_of(PAGES), "secret"), "pdf")
    assert len(read(tmp_path, "a.pdf", encrypted(pdf_of(PAGES), ""), "pdf")) == 2


@pytest.mark.parametrize("data", [b"%PDF-1.4\n", b"plain text", b"", b"%PDF-1.7\n%%EOF\n" * 9])
def test_what_is_no_pdf_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=r"a\.pdf: "):
        read(tmp_path, "a.pdf", data, "pdf")


def test_pages_without_text_are_said(tmp_path: Path) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="2 pages without text"):
        read(tmp_path, "a.pdf", pdf_of(["", ""]), "pdf")


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_pdf_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    whole = pdf_of(PAGES)
    draw = random.Random(11)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        del data[draw.randrange(len(data) // 2, len(data) + 1) :]
        try:
            pieces = read(tmp_path, "a.pdf", bytes(data), "pdf")
        except collegium.InvalidArgumentError as error:
            assert "a.pdf" in str(error)
        else:
            assert all(isinstance(piece, (Piece, Problem)) for piece in pieces)


def test_without_pypdf_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(collegium.NotSupportedError, match=r"pip install 'collegium\[pdf\]'"):
        read(tmp_path, "a.pdf", pdf_of(PAGES), "pdf")
