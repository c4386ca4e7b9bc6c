"""Backup, verify, repair, compact, purge, export, reopen and reading alone, from Python and shell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import collegium
import small_data
from conftest import RunPython

QUESTION = "how long does green tea steep?"


def passages(library: collegium.Library) -> list[tuple[str, float]]:
    return [(p.document_id, p.score) for p in library.search(QUESTION, k=12).passages]


def flip_middle_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path, tiny_library: collegium.Library) -> Path:
    """A fitted library that is closed."""
    tiny_library.fit()
    tiny_library.close()
    return tmp_path / "library"


def test_a_backup_opens_and_answers_alike(tmp_path: Path, tiny_library: collegium.Library) -> None:
    tiny_library.fit()
    report = tiny_library.backup(tmp_path / "copy")
    assert report.commit_seq == tiny_library.info().commit_seq
    assert json.loads(report.to_json())["files"] == report.files > 0
    with collegium.Library.open(tmp_path / "copy") as copy:
        assert passages(copy) == passages(tiny_library)
        assert copy.info().generation == tiny_library.info().generation
        assert copy.verify().ok


def test_a_backup_over_something_is_refused_and_leaves_it(
    tmp_path: Path, tiny_library: collegium.Library
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(collegium.AlreadyExistsError):
        tiny_library.backup(tmp_path / "there")
    assert names(tmp_path) == ["library", "there"]
    assert names(tmp_path / "there") == ["file"]


def test_verify_names_what_is_damaged_and_repair_what_it_dropped(
    tmp_path: Path, tiny_encoder: Path, folder: Path
) -> None:
    assert collegium.verify_folder(folder).ok
    [gate] = (folder / "learned").glob("*.gate")
    flip_middle_byte(gate)
    flip_middle_byte(folder / "encoder" / "model.safetensors")
    report = collegium.verify_folder(folder)
    assert not report.ok
    assert len(report.findings) == 2
    assert gate.name in "".join(finding.problem for finding in report.findings)
    with pytest.raises(collegium.CorruptionError):
        collegium.Library.open(folder)

    saved = collegium.repair(folder, tmp_path / "saved")
    assert saved.documents == sum(len(d) for d, _ in small_data.collections().values())
    assert len(saved.dropped) == 2
    assert gate.name in str(saved)
    with collegium.Library.open(tmp_path / "saved", encoder=tiny_encoder) as library:
        assert library.info().generation == ""
        library.fit()
        assert library.verify().ok


def test_repair_of_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(collegium.NotFoundError):
        collegium.Library.repair(tmp_path / "none", tmp_path / "to")
    assert names(tmp_path) == []


def test_compact_purge_and_reopen_keep_the_answers(tiny_library: collegium.Library) -> None:
    tiny_library.remove("tea", ["mate"])
    expected = passages(tiny_library)
    tiny_library.compact()
    tiny_library.purge()
    tiny_library.reopen()
    assert passages(tiny_library) == expected
    assert tiny_library.verify().ok


def test_an_export_can_be_added_again(tmp_path: Path, tiny_library: collegium.Library) -> None:
    count = tiny_library.export("tea", tmp_path / "tea.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "tea.jsonl").read_text().splitlines()]
    assert [row["_id"] for row in rows] == tiny_library.document_ids("tea")
    assert count == len(rows)
    documents, _ = small_data.collections()["tea"]
    texts = {document["id"]: document["text"] for document in documents}
    assert {row["_id"]: row["text"] for row in rows} == texts
    with pytest.raises(collegium.NotFoundError):
        tiny_library.export("none", tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


def test_what_was_exported_comes_back_as_it_was(
    tmp_path: Path, tiny_library: collegium.Library
) -> None:
    (tmp_path / "a.md").write_text("---\nauthor: Ada\n---\n# Tea\n\nSteep it.\n")
    tiny_library.add_files("mixed", tmp_path / "a.md", root=tmp_path)
    rows: list[dict[str, Any]] = [
        {"id": "plain", "text": "No metadata at all."},
        {
            "id": "rich",
            "title": "é",
            "text": "Line\nend\u2028",
            "n": 1.5,
            "deep": {"a": [None, "東"]},
        },
    ]
    tiny_library.add("mixed", rows)
    tiny_library.export("mixed", tmp_path / "mixed.jsonl")

    def all_of(name: str) -> list[tuple[str, str, str, str]]:
        documents = [tiny_library.document(name, id) for id in tiny_library.document_ids(name)]
        return [(d.id, d.title, d.text, d.metadata) for d in documents]

    lines = (tmp_path / "mixed.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    report = tiny_library.add("mixed", map(json.loads, lines))
    assert (report.documents, report.unchanged) == (3, 3)
    tiny_library.add("copy", map(json.loads, lines))
    assert all_of("copy") == all_of("mixed")
    # As a file, it is where they come from.
    tiny_library.add_files("file", tmp_path / "mixed.jsonl", root=tmp_path)
    for before, after in zip(all_of("mixed"), all_of("file"), strict=True):
        assert before[:3] == after[:3]
        assert json.loads(before[3] or "{}") | {"source_path": "mixed.jsonl"} == json.loads(
            after[3]
        )


def test_a_reader_sees_new_commits_when_it_reopens_and_never_writes(
    tmp_path: Path, tiny_library: collegium.Library
) -> None:
    new = {"id": "new", "text": "Steep it."}
    with collegium.Library.open(tmp_path / "library", read_only=True) as reader:
        with pytest.raises(collegium.FailedPreconditionError, match="reading only"):
            reader.add("tea", [new])
        tiny_library.add("tea", [new])
        assert "new" not in reader.document_ids("tea")
        reader.reopen()
        assert "new" in reader.document_ids("tea")
        assert passages(reader) == passages(tiny_library)


def test_every_exact_scan_finds_the_same_and_a_wrong_one_is_named(
    tiny_library: collegium.Library,
) -> None:
    def found(scan: collegium.library.Scan) -> list[tuple[str, float]]:
        answer = tiny_library.search(QUESTION, k=12, exact=True, scan=scan, breadth=50)
        return [(p.document_id, p.score) for p in answer.passages]

    expected = passages(tiny_library)
    assert found("auto") == found("fp32") == found("int8") == found("bf16") == expected
    assert tiny_library.ask(QUESTION, gate="retrieve", exact=True, scan="int8").passages
    with pytest.raises(collegium.InvalidArgumentError, match="scan is 'fp8', expected"):
        tiny_library.search(QUESTION, scan="fp8")  # type: ignore[arg-type]
    with pytest.raises(collegium.InvalidArgumentError, match="breadth"):
        tiny_library.search(QUESTION, breadth=-1)


def test_on_the_command_line(tmp_path: Path, folder: Path, run_python: RunPython) -> None:
    def run(verb: str, *arguments: str, code: int = 0) -> str:
        done = run_python(["-m", "collegium", verb, "--library", str(folder), *arguments])
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout

    assert json.loads(run("backup", str(tmp_path / "copy"), "--json"))["files"] > 0
    assert run("verify").startswith("sound at commit ")
    run("compact")
    run("purge")
    exported = run("export", "--collection", "tea", str(tmp_path / "tea.jsonl"), "--json")
    assert json.loads(exported) == {"collection": "tea", "documents": 12}
    with collegium.Library.open(folder):  # verify and export need no leave of the holder
        assert json.loads(run("verify", "--json"))["ok"] is True
        run("repair", str(tmp_path / "saved"), code=1)
    [router, *_] = (folder / "learned").glob("*.router")
    flip_middle_byte(router)
    assert router.name in run("verify", code=1)
    assert json.loads(run("verify", "--json", code=1))["ok"] is False
    run("backup", str(tmp_path / "damaged"), code=1)
    assert not (tmp_path / "damaged").exists()
    assert router.name in run("repair", str(tmp_path / "saved"))
    with collegium.Library.open(tmp_path / "saved") as library:
        assert library.info().generation == ""


def test_tune_records_the_kind_the_effort_and_why(tiny_library: collegium.Library) -> None:
    name = tiny_library.info().collections[0].name
    report = tiny_library.tune(name, kind="hnsw", target_recall=0.95, questions=[QUESTION])
    assert (report.collection, report.kind, report.queries) == (name, "hnsw", 1)
    assert report.reached and report.recall >= 0.95
    assert report.effort == report.trials[-1].effort
    info = next(c for c in tiny_library.info().collections if c.name == name)
    assert (info.index_kind, info.index_reason) == ("hnsw", report.reason)
    assert str(report.effort) in info.index_parameters
    assert json.loads(report.to_json())["effort"] == report.effort
    assert tiny_library.tune(name, kind="exact").trials == []
    with pytest.raises(collegium.InvalidArgumentError, match="tree"):
        tiny_library.tune(name, kind="tree")  # type: ignore[arg-type]
    with pytest.raises(collegium.InvalidArgumentError, match="target_recall"):
        tiny_library.tune(name, target_recall=0.0)
    with pytest.raises(collegium.NotFoundError):
        tiny_library.tune("none")
