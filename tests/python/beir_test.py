from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import collegium
from collegium import beir


def write_jsonl(path: Path, rows: list[Any]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


@pytest.fixture(params=["", ".gz"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    documents = [{"_id": f"d{i}", "title": "", "text": f"text {i}"} for i in range(4)]
    queries = [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}]
    write_jsonl(tmp_path / f"corpus.jsonl{request.param}", documents)
    write_jsonl(tmp_path / f"queries.jsonl{request.param}", queries)
    (tmp_path / "qrels").mkdir()
    header = "query-id\tcorpus-id\tscore\n"
    (tmp_path / "qrels/train.tsv").write_text(header + "q1\td3\t2\nq1\td0\t0\n")
    (tmp_path / "qrels/test.tsv").write_text(header + "q2\td1\t1\n")
    return tmp_path


def test_a_folder_gives_documents_and_judged_pairs(folder: Path) -> None:
    documents, pairs = beir.read_folder(folder)
    assert [d["_id"] for d in documents] == ["d0", "d1", "d2", "d3"]
    assert pairs == [
        {"query": "one", "id": "d3", "split": "train", "gain": 2.0},
        {"query": "two", "id": "d1", "split": "test", "gain": 1.0},
    ]


def test_a_cut_folder_keeps_judged_documents_first(folder: Path) -> None:
    documents, pairs = beir.read_folder(folder, max_documents=1)
    assert [d["_id"] for d in documents] == ["d1"]
    assert [p["id"] for p in pairs] == ["d1"]


def test_a_folder_without_judgments_has_no_pairs(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "a", "text": "x"}])
    assert beir.read_folder(tmp_path) == ([{"_id": "a", "text": "x"}], [])


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(collegium.NotFoundError, match="no such folder"):
        beir.read_folder(tmp_path / "none")
    with pytest.raises(collegium.NotFoundError, match=r"corpus\.jsonl"):
        beir.read_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"_id": "a"}\n{"_id"\n', r"corpus\.jsonl:2: not JSON"),
        (b'{"_id": "a"}\n[1]\n', r"corpus\.jsonl:2: list"),
        (b'{"_id": "\xff"}\n', r"corpus\.jsonl: after line 0"),
        (b'{"_id": "a"}\n' + b"[" * 200_000 + b"\n", r"corpus\.jsonl:2: nested too deeply"),
        (b'{"_id": "a"}\n{"n": ' + b"9" * 5000 + b"}\n", r"corpus\.jsonl:2: not JSON"),
    ],
)
def test_a_damaged_line_is_named_by_its_number(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(content)
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        list(beir.read_documents(tmp_path))


def test_a_damaged_gzip_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"_id": "a", "text": "x"}\n' * 5000)
    no_block = whole[:10] + b"\xff" + whole[11:]  # behind the header: a block of no known type
    wrong_sum = whole[:-8] + bytes(4) + whole[-4:]
    for damaged in (whole[: len(whole) // 2], no_block, wrong_sum, b"no gzip at all"):
        (tmp_path / "corpus.jsonl.gz").write_bytes(damaged)
        with pytest.raises(collegium.InvalidArgumentError, match="after line"):
            list(beir.read_documents(tmp_path))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_is_not_part_of_the_first_line(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / ("corpus.jsonl" if pack is bytes else "corpus.jsonl.gz")
    path.write_bytes(pack(b'\xef\xbb\xbf{"_id": "a", "text": "x"}\n'))
    assert list(beir.read_documents(tmp_path)) == [{"_id": "a", "text": "x"}]


def test_a_byte_order_mark_does_not_hide_the_header_of_qrels(folder: Path) -> None:
    (folder / "qrels/test.tsv").write_bytes(b"\xef\xbb\xbfquery-id\tcorpus-id\tscore\nq2\td1\t1\n")
    assert [pair["id"] for pair in beir.read_pairs(folder)] == ["d3", "d1"]


def test_qrels_that_are_not_utf8_are_named(folder: Path) -> None:
    (folder / "qrels/dev.tsv").write_bytes(b"query-id\tcorpus-id\tscore\nq1\t\xff\t1\n")
    with pytest.raises(collegium.InvalidArgumentError, match=r"dev\.tsv: after line"):
        list(beir.read_pairs(folder))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"_id": ["q"], "text": "x"}, "a query's '_id' is list"),
        ({"_id": "q", "text": 3}, "a query's 'text' is int"),
        ({"_id": "q"}, "a query has no 'text'"),
    ],
)
def test_a_malformed_query_is_named(folder: Path, query: Any, message: str) -> None:
    for path in folder.glob("queries.jsonl*"):
        write_jsonl(path, [query])
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        list(beir.read_pairs(folder))


@pytest.mark.parametrize("max_documents", [0, -1])
def test_a_folder_cannot_be_cut_to_nothing(folder: Path, max_documents: int) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=f"max_documents is {max_documents}"):
        beir.read_folder(folder, max_documents=max_documents)


def test_ids_that_are_no_text_are_left_to_add(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": ["a"]}, {"_id": 7}, {"_id": "b"}])
    documents, _ = beir.read_folder(tmp_path, max_documents=2)
    assert [d["_id"] for d in documents] == [["a"], 7]


@pytest.mark.parametrize("line", ["q9\td1\t1", "q1\td1", "q1\td1\thigh"])
def test_a_malformed_judgment_is_named_by_its_line(folder: Path, line: str) -> None:
    (folder / "qrels/dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{line}\n")
    with pytest.raises(collegium.InvalidArgumentError, match=r"dev\.tsv:2"):
        list(beir.read_pairs(folder))
