"""JSON lines and CSV as documents: a row each, the other fields as metadata, bad rows by line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

import collegium
from collegium.readers import Piece, Problem
from collegium.readers.delimited import DELIMITERS, sniff_delimiter
from ingest_data import read, read_one


def problems(pieces: list[Piece | Problem]) -> list[tuple[str, str]]:
    return [(piece.where, piece.reason) for piece in pieces if isinstance(piece, Problem)]


def test_jsonl_takes_beirs_fields_and_keeps_the_others(tmp_path: Path) -> None:
    row = {"_id": "d1", "title": "T", "text": "é 東", "year": 2020, "nested": {"a": [1]}}
    piece = read_one(tmp_path, "a.jsonl", json.dumps(row) + "\n", "jsonl")
    assert (piece.id, piece.title, piece.text) == ("d1", "T", "é 東")
    assert piece.metadata == {"year": 2020, "nested": {"a": [1]}}


def test_jsonl_takes_an_object_metadata_as_its_fields(tmp_path: Path) -> None:
    row = {"_id": "d", "text": "t", "metadata": {"year": 1, "source_path": "old.md"}, "by": "A"}
    piece = read_one(tmp_path, "a.jsonl", json.dumps(row), "jsonl")
    assert piece.metadata == {"year": 1, "by": "A"}
    row = {"_id": "d", "text": "t", "metadata": "a word", "by": "A"}
    piece = read_one(tmp_path, "a.jsonl", json.dumps(row), "jsonl")
    assert piece.metadata == {"metadata": "a word", "by": "A"}
    row = {"_id": "d", "text": "t", "metadata": {"by": "B"}, "by": "A"}
    said = problems(read(tmp_path, "a.jsonl", json.dumps(row), "jsonl"))
    assert said == [(":1", "'by' is a field of the row and of its metadata")]


def test_jsonl_takes_named_fields(tmp_path: Path) -> None:
    row = {"url": "u", "head": "H", "q": "Q?", "a": "A.", "text": "kept", "id": 7}
    piece = read_one(
        tmp_path,
        *("a.jsonl", json.dumps(row), "jsonl"),
        id_field="url",
        title_field="head",
        text_fields=("q", "a"),
    )
    assert (piece.id, piece.title, piece.text) == ("u", "H", "Q?\n\nA.")
    assert piece.metadata == {"text": "kept", "id": 7}


def test_a_jsonl_row_without_id_is_named_by_its_line(tmp_path: Path) -> None:
    pieces = read(tmp_path, "a.jsonl", '\n{"text": "a"}\n\n{"text": "b", "id": 12}\n', "jsonl")
    assert [(p.id, p.part) for p in pieces if isinstance(p, Piece)] == [(None, "2"), ("12", "4")]


def test_a_bad_jsonl_line_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    lines: list[bytes] = [
        b'{"text": "fine"}',
        b'{"text": "cut',
        b"[1]",
        b'{"body": "x"}',
        b'{"text": 7}',
        b'{"text": "x", "n": NaN}',
        b'{"text": "\xff"}',
        b"[" * 100_000,
        b'{"text": "x", "id": ""}',
        b'{"text": "x", "id": true}',
        b'{"text": "also fine"}',
    ]
    pieces = read(tmp_path, "a.jsonl", b"\n".join(lines), "jsonl")
    assert [p.text for p in pieces if isinstance(p, Piece)] == ["fine", "also fine"]
    found = problems(pieces)
    assert [where for where, _ in found] == [f":{n}" for n in range(2, 11)]
    for (_, reason), expected in zip(
        found,
        [
            *("not JSON: Unterminated string", "list, expected a JSON object"),
            *("no field 'text'; its fields are ['body']", "'text' is int"),
            *("NaN is no JSON number", "not UTF-8 at byte 10 (0xff"),
            *("nested too deeply", "'id' is ''", "'id' is True"),
        ],
        strict=True,
    ):
        assert expected in reason
    begin = sum(len(line) + 1 for line in lines[:6])
    assert f"of the line, which begins at byte {begin}" in found[5][1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("zipped", [False, True])
def test_rows_of_other_encodings_and_gzips(tmp_path: Path, encoding: str, zipped: bool) -> None:
    data = "".join(json.dumps({"text": f"é 東 {i}"}, ensure_ascii=False) + "\r\n" for i in range(9))
    content = data.encode(encoding)
    name = "a.jsonl.gz" if zipped else "a.jsonl"
    pieces = read(tmp_path, name, gzip.compress(content) if zipped else content, "jsonl")
    assert [p.text for p in pieces if isinstance(p, Piece)] == [f"é 東 {i}" for i in range(9)]


def test_a_line_beyond_the_bound_is_an_error(tmp_path: Path) -> None:
    content = '{"text": "a"}\n{"text": "' + "x" * 1000 + '"}\n'
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(collegium.InvalidArgumentError, match=r"a\.jsonl:2: a line of more"):
            read(tmp_path, "a.jsonl", content.encode(encoding), "jsonl", max_file_bytes=500)


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_csv_reads_what_csv_wrote(tmp_path: Path, delimiter: str) -> None:
    draw = random.Random(DELIMITERS.index(delimiter))
    alphabet = ['"', "\n", ",", ";", "\t", "|", " ", "a", "é", "東", "'", "\\"]
    rows = [
        [f"r{i}", *("".join(draw.choices(alphabet, k=draw.randrange(1, 9))) for _ in range(3))]
        for i in range(200)
    ]
    rows = [[row[0], row[1] + "x", row[2], row[3]] for row in rows]  # a text is never blank
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(["id", "text", "one", "two"])
    writer.writerows(rows)
    pieces = read(tmp_path, "a.csv", out.getvalue(), "csv")
    assert problems(pieces) == []
    assert [
        [p.id, p.text, p.metadata.get("one", ""), p.metadata.get("two", "")]
        for p in pieces
        if isinstance(p, Piece)
    ] == rows


@pytest.mark.parametrize(
    ("lines", "delimiter"),
    [
        (["a,b;c\n", "1,2;3\n"], ","),
        (["a;b;c\n", "1,5;2,5;3,5\n"], ";"),
        (["a\tb, c\n", "1\t2, 3, 4\n"], "\t"),
        (['"x, y"|b\n', "1|2\n"], "|"),
        (["text\n", "one, two\n", "three\n"], ","),
        ([], ","),
    ],
)
def test_the_delimiter_is_the_one_that_cuts_all_rows_alike(
    lines: list[str], delimiter: str
) -> None:
    assert sniff_delimiter(lines) == delimiter


def test_tsv_is_cut_at_tabs_whatever_is_in_it(tmp_path: Path) -> None:
    piece = read_one(tmp_path, "a.tsv", "id,x\ttext,y\n1,2\tz\n", "csv", text_fields=("text,y",))
    assert piece.text == "z"


@pytest.mark.parametrize(
    ("header", "options", "expected"),
    [
        ("_id,title,text", {}, ("a", "b", "c", {})),
        ("ID,Question,Answer", {}, ("a", "b", "c", {})),
        ("x,y,body", {}, (None, "", "c", {"x": "a", "y": "b"})),
        ("x,y,z", {}, (None, "", "x: a\ny: b\nz: c", {"x": "a", "y": "b", "z": "c"})),
        ("id,x,y", {}, ("a", "", "x: b\ny: c", {"x": "b", "y": "c"})),
        ("x,y,z", {"id_field": "z", "text_fields": ("y", "x")}, ("c", "", "b\n\na", {})),
        ("id,text,z", {"title_field": "z"}, ("a", "c", "b", {})),
    ],
)
def test_which_column_is_what(
    tmp_path: Path, header: str, options: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    piece = read_one(tmp_path, "t.csv", f"{header}\na,b,c\n", "csv", **options)
    assert (piece.id, piece.title, piece.text, piece.metadata) == expected
    assert piece.part == "2"


def test_a_ragged_row_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    content = 'id,text\n1,a\n2\n\n3,b,c\n"4","two\nlines"\n,x\n5,e\n'
    pieces = read(tmp_path, "a.csv", content, "csv")
    assert [p.id for p in pieces if isinstance(p, Piece)] == ["1", "4", "5"]
    assert problems(pieces) == [
        (":3", "1 cells where the header has 2"),
        (":5", "3 cells where the header has 2"),
        (":8", "its 'id' is empty"),
    ]


def test_a_quote_that_is_not_closed_is_named(tmp_path: Path) -> None:
    content = 'id,text\n1,a\n2,"never closed\n' + "3,x\n" * 100_000
    pieces = read(tmp_path, "a.csv", content, "csv")
    where, reason = problems(pieces)[0]
    assert where == ":3"
    assert "a quote that is not closed?" in reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty file"),
        ("\n\n", "empty file"),
        ("a,b,a\n1,2,3\n", r"a\.csv:1: the header names columns twice: \['a'\]"),
    ],
)
def test_a_csv_without_usable_header_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        read(tmp_path, "a.csv", content, "csv")


@pytest.mark.parametrize("option", ["id_field", "title_field", "text_fields"])
def test_a_named_column_that_is_not_there_is_refused(tmp_path: Path, option: str) -> None:
    value = ("nope",) if option == "text_fields" else "nope"
    with pytest.raises(collegium.InvalidArgumentError, match=r"no column 'nope' .* \['id', 'x'\]"):
        read(tmp_path, "a.csv", "id,x\n1,2\n", "csv", **{option: value})


def test_a_header_of_a_million_columns_gives_a_short_message_in_linear_time(
    tmp_path: Path,
) -> None:
    header = ",".join(f"c{i}" for i in range(300_000))
    with pytest.raises(collegium.InvalidArgumentError, match="and 299980 more") as caught:
        read(tmp_path, "a.csv", header + "\n", "csv", id_field="nope")
    assert len(str(caught.value)) < 1000
    with pytest.raises(collegium.InvalidArgumentError, match="twice"):
        read(tmp_path, "a.csv", "a," * 300_000 + "\n", "csv")
