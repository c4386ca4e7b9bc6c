"""Plain text and Markdown as documents: encodings, front matter, titles, what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

import collegium
from collegium.readers.markdown import first_heading, split_front_matter
from ingest_data import read, read_one

WORDS = "Grüße aus 東京 \U0001f375\n"


@pytest.mark.parametrize(
    "data",
    [
        WORDS.encode("utf-8"),
        WORDS.encode("utf-8-sig"),
        b"\xff\xfe" + WORDS.encode("utf-16-le"),
        b"\xfe\xff" + WORDS.encode("utf-16-be"),
    ],
    ids=["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"],
)
def test_the_byte_order_mark_says_the_encoding(tmp_path: Path, data: bytes) -> None:
    assert read_one(tmp_path, "a.txt", data, "text").text == WORDS


def test_line_ends_of_other_systems_are_line_ends(tmp_path: Path) -> None:
    assert read_one(tmp_path, "a.txt", b"a\r\nb\rc\n", "text").text == "a\nb\nc\n"


def test_the_file_names_a_text_without_title(tmp_path: Path) -> None:
    assert read_one(tmp_path, "how_to-brew.v2.txt", "x", "text").title == "how to brew.v2"
    assert read_one(tmp_path, "LICENSE", "x", "text").title == "LICENSE"


def test_a_gzip_is_read_through(tmp_path: Path) -> None:
    piece = read_one(tmp_path, "a.txt.gz", gzip.compress(WORDS.encode()), "text")
    assert (piece.text, piece.title) == (WORDS, "a")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc\xffdef", r"a\.txt: not UTF-8 at byte 3 \(0xff"),
        (b"\xef\xbb\xbfab\xc3", r"a\.txt: not UTF-8 at byte 5 \(0xc3"),
        (b"\xff\xfea\x00\x00\xd8b\x00", r"a\.txt: not UTF-16-LE at byte 4 "),
        (b"text\0more", r"a\.txt: a NUL at byte 4: a binary file"),
        ("é\0".encode(), r"a\.txt: a NUL at byte 2"),
        (b"\x7fELF\x02\x01\x01\x00\x00", r"a\.txt: a NUL at byte 7"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", r"a\.txt: not UTF-8 at byte 0"),
        (b"", r"a\.txt: empty file"),
    ],
)
def test_what_is_no_text_is_refused_with_file_and_byte(
    tmp_path: Path, data: bytes, message: str
) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        read(tmp_path, "a.txt", data, "text")


def test_replace_reads_what_is_no_utf8_and_still_refuses_binary_files(tmp_path: Path) -> None:
    piece = read_one(tmp_path, "a.txt", b"abc\xffdef", "text", encoding_errors="replace")
    assert piece.text == "abc\N{REPLACEMENT CHARACTER}def"
    with pytest.raises(collegium.InvalidArgumentError, match="binary"):
        read(tmp_path, "a.txt", b"\xff\0", "text", encoding_errors="replace")


def test_a_file_beyond_the_bound_is_refused_and_one_at_it_is_not(tmp_path: Path) -> None:
    assert read_one(tmp_path, "a.txt", b"x" * 100, "text", max_file_bytes=100).text == "x" * 100
    with pytest.raises(collegium.InvalidArgumentError, match="more than 100 bytes"):
        read(tmp_path, "a.txt", b"x" * 101, "text", max_file_bytes=100)
    bomb = gzip.compress(b"x" * 1_000_000)
    with pytest.raises(collegium.InvalidArgumentError, match="more than 1000 bytes"):
        read(tmp_path, "a.txt.gz", bomb, "text", max_file_bytes=1000)


@pytest.mark.parametrize("cut", [3, 12, 25])
def test_a_damaged_gzip_is_a_typed_error(tmp_path: Path, cut: int) -> None:
    data = gzip.compress(b"some text that is long enough to be cut")[:cut]
    with pytest.raises(collegium.InvalidArgumentError, match=r"a\.txt\.gz: damaged gzip"):
        read(tmp_path, "a.txt.gz", data, "text")


def test_front_matter_becomes_metadata_and_leaves_the_text(tmp_path: Path) -> None:
    piece = read_one(
        tmp_path,
        "a.md",
        "---\n"
        "title: 'Brewing: a guide'\n"
        "tags: [tea, \"hot, black\", 'it''s']\n"
        "authors:\n  - Ada\n  - Bob # the second\n"
        "year: 2024\n"
        "rating: 4.5\n"
        "draft: false\n"
        "series:\n"
        "date: 2024-05-01\n"
        'quote: "a \\"b\\" \\n c"\n'
        "# a comment\n"
        "link: https://example.org/#part\n"
        "about: |\n  two\n  lines\n"
        "nested:\n  key: value\n"
        "---\n"
        "# Text\n",
        "markdown",
    )
    assert piece.title == "Brewing: a guide"
    assert piece.text == "# Text\n"
    assert piece.metadata == {
        "tags": ["tea", "hot, black", "it's"],
        "authors": ["Ada", "Bob"],
        "year": 2024,
        "rating": 4.5,
        "draft": False,
        "series": None,
        "date": "2024-05-01",
        "quote": 'a "b" \n c',
        "link": "https://example.org/#part",
        "about": "two\nlines",
        "nested": "key: value",
    }


@pytest.mark.parametrize(
    "text",
    [
        "---\nNot a field, a paragraph between two rules.\n---\n",
        "---\ntitle: never closed\n",
        "----\ntitle: x\n----\n",
        " ---\ntitle: x\n---\n",
        "text\n---\ntitle: x\n---\n",
    ],
)
def test_what_is_no_front_matter_stays_text(text: str) -> None:
    assert split_front_matter(text) == ({}, text)


def test_hostile_front_matter_takes_linear_time() -> None:
    for text in ["---\n" + "a: [" * 200_000, "---\na: " + '"\\' * 200_000 + "\n---\n"]:
        split_front_matter(text)
    fields, _ = split_front_matter("---\n" + "k:\n- x\n" * 50_000 + "---\n")
    assert fields == {"k": ["x"]}


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# One #\ntext", "One"),
        ("text\n\n   # Two\n", "Two"),
        ("```\n# code\n```\n# Three", "Three"),
        ("~~~~\n# code\n~~~\n# still\n~~~~\n# Four", "Four"),
        ("Five\n====\n", "Five"),
        ("## only a second\n", ""),
        ("    # indented code\n", ""),
        ("#hashtag\n", ""),
    ],
)
def test_the_first_heading_of_level_one_is_the_title(text: str, title: str) -> None:
    assert first_heading(text) == title


def test_without_heading_the_file_names_it(tmp_path: Path) -> None:
    assert read_one(tmp_path, "tea_pot.md", "text", "markdown").title == "tea pot"


def test_a_title_that_is_no_text_is_not_used(tmp_path: Path) -> None:
    piece: Any = read_one(tmp_path, "a.md", "---\ntitle: 7\n---\n# H\n", "markdown")
    assert piece.title == "H"
