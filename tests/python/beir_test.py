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
    ],
)
def test_a_damaged_line_is_named_by_its_number(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(content)
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        list(beir.read_documents(tmp_path))


def test_a_truncated_gzip_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"_id": "a", "text": "x"}\n' * 5000)
    (tmp_path / "corpus.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(collegium.InvalidArgumentError):
        list(beir.read_documents(tmp_path))


@pytest.mark.parametrize("line", ["q9\td1\t1", "q1\td1", "q1\td1\thigh"])
def test_a_malformed_judgment_is_named_by_its_line(folder: Path, line: str) -> None:
    (folder / "qrels/dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{line}\n")
    with pytest.raises(collegium.InvalidArgumentError, match=r"dev\.tsv:2"):
        list(beir.read_pairs(folder))
