"""Library.add_files: ids, what is kept, what is skipped, interruption, memory, progress."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import collegium
from collegium import readers
from collegium.readers import Piece, Problem, ReadOptions, SourceFile
from conftest import RunPython
from ingest_data import pdf_of

COUNT = 3000  # documents of `many`: several commits


@pytest.fixture
def library(tmp_path: Path, tiny_encoder: Path) -> Iterator[collegium.Library]:
    with collegium.Library.create(tmp_path / "library", encoder=tiny_encoder) as library:
        yield library


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of each kind."""
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("Plain text about tea.")
    (folder / "b.md").write_text("---\ntitle: Mate\nyear: 2020\n---\n# Mate\n\nA gourd.\n")
    (folder / "sub/c.html").write_text("<title>Chai</title><h1>Milk</h1><p>Simmer it.")
    (folder / "d.jsonl").write_text('{"_id": "j1", "text": "one", "k": 1}\n{"text": "two"}\n')
    (folder / "e.csv").write_text("id,text,n\nc1,three,3\nc2,four,4\n")
    (folder / "f.pdf").write_bytes(pdf_of(["First page.", "Second page."], title="Leaflet"))
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def many(tmp_path: Path) -> Path:
    path = tmp_path / "many.jsonl"
    path.write_text("".join(f'{{"id": "d{i}", "text": "text {i}"}}\n' for i in range(COUNT)))
    return path


def counts(report: collegium.IngestReport) -> tuple[int, int, int, int, int]:
    return report.added, report.replaced, report.unchanged, report.passages, report.failed


def documents_in(library: collegium.Library, collection: str) -> int:
    return {c.name: c.documents for c in library.info().collections}.get(collection, 0)


def test_every_kind_of_file_becomes_documents_with_stable_ids(
    library: collegium.Library, folder: Path
) -> None:
    report = library.add_files("c", folder, root=folder)
    assert (report.files, report.documents, report.ignored, report.failed) == (6, 9, 1, 0)
    expected: dict[str, tuple[str, str, dict[str, Any]]] = {
        "a.txt": ("a", "Plain text about tea.", {}),
        "b.md": ("Mate", "# Mate\n\nA gourd.\n", {"year": 2020}),
        "sub/c.html": ("Chai", "# Milk\n\nSimmer it.", {}),
        "j1": ("", "one", {"k": 1}),
        "d.jsonl#2": ("", "two", {}),
        "c1": ("", "three", {"n": "3"}),
        "c2": ("", "four", {"n": "4"}),
        "f.pdf#1": ("Leaflet", "First page.", {"page": 1}),
        "f.pdf#2": ("Leaflet", "Second page.", {"page": 2}),
    }
    sources = {"j1": "d.jsonl", "c1": "e.csv", "c2": "e.csv"}
    for id, (title, text, metadata) in expected.items():
        document = library.document("c", id)
        source = sources.get(id, id.split("#")[0])
        assert (document.title, document.text.strip()) == (title, text.strip())
        assert json.loads(document.metadata) == {**metadata, "source_path": source}
    assert documents_in(library, "c") == len(expected)


def test_passages_carry_the_section_they_stand_in(library: collegium.Library, folder: Path) -> None:
    library.add_files("c", folder / "sub", root=folder)
    (passage,) = library.search("milk", k=1).passages
    assert (passage.document_id, passage.title, passage.section) == ("sub/c.html", "Chai", "Milk")


def test_documents_that_did_not_change_are_not_embedded_again(
    library: collegium.Library, folder: Path
) -> None:
    first = library.add_files("c", folder, root=folder)
    assert counts(first) == (9, 0, 0, first.passages, 0)
    for file in folder.rglob("*.*"):
        os.utime(file, (0, 0))
    assert counts(library.add_files("c", folder, root=folder)) == (0, 0, 9, 0, 0)
    (folder / "a.txt").write_text("Other text.")
    (folder / "e.csv").write_text("id,text,n\nc1,three,33\nc2,four,4\n")  # metadata alone
    assert counts(library.add_files("c", folder, root=folder)) == (0, 2, 7, 1, 0)
    assert json.loads(library.document("c", "c1").metadata)["n"] == "33"


def test_add_files_and_add_agree_on_what_did_not_change(
    library: collegium.Library, folder: Path
) -> None:
    library.add("c", collegium.ingest.read_files(folder, root=folder))
    assert counts(library.add_files("c", folder, root=folder)) == (0, 0, 9, 0, 0)


def test_the_first_bad_part_is_raised_with_file_and_line_and_what_was_before_it_stays(
    library: collegium.Library, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b"}\nnonsense\n{"text": "d"}\n')
    with pytest.raises(collegium.InvalidArgumentError, match=r"a\.jsonl:3: not JSON"):
        library.add_files("c", tmp_path / "a.jsonl", root=tmp_path)
    assert documents_in(library, "c") == 2


def test_an_error_before_any_document_makes_no_collection(
    library: collegium.Library, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(collegium.InvalidArgumentError, match="not UTF-8 at byte 0"):
        library.add_files("c", tmp_path / "a.txt", root=tmp_path)
    with pytest.raises(collegium.NotFoundError):
        library.add_files("c", tmp_path / "*.none", root=tmp_path)
    assert library.info().collections == []


def test_skip_goes_on_and_reports_every_failure(library: collegium.Library, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "a"}\nnonsense\n{"text": ""}\n{"text": "d"}\n')
    (folder / "b.txt").write_bytes(b"\x00\x01")
    (folder / "c.txt").write_text("")
    (folder / "d.txt").write_text(" \n")
    (folder / "e.csv").write_text("id,text\n1,x\n2,y,z\n")
    (folder / "f.txt").write_text("fine")
    (folder / "g.jsonl").write_text(
        json.dumps({"id": "x" * 2000, "text": "too long an id"})
        + "\n"
        + '{"id": "\\ud800", "text": "a lone surrogate"}\n{"id": "s", "source_path": "", "text": "x"}\n'
    )
    report = library.add_files("c", folder, root=folder, on_error="skip")
    assert (report.added, report.files, report.failed) == (4, 1, len(report.failures))
    reasons = {f.where.removeprefix(f"{folder}/"): f.reason for f in report.failures}
    expected = {
        "a.jsonl:2": "not JSON",
        "a.jsonl:3": "no text",
        "b.txt": "a NUL at byte 0",
        "c.txt": "empty file",
        "d.txt": "no text",
        "e.csv:3": "3 cells where the header has 2",
        "g.jsonl:1": "its id has 2000 bytes",
        "g.jsonl:2": "surrogate",
        "g.jsonl:3": "has a field 'source_path'",
    }
    assert reasons.keys() == expected.keys()
    for where, reason in expected.items():
        assert reason in reasons[where], (where, reasons[where])
    assert "b.txt: a NUL at byte 0" in str(report)
    assert json.loads(report.to_json())["failures"][0]["where"].endswith("a.jsonl:2")


def test_what_the_library_refuses_is_raised_with_its_place_too(
    library: collegium.Library, tmp_path: Path
) -> None:
    rows = [{"id": "a", "text": "fine"}, {"id": "x" * 2000, "text": "x"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(collegium.InvalidArgumentError, match=r"a\.jsonl:2: its id has 2000 bytes"):
        library.add_files("c", tmp_path / "a.jsonl", root=tmp_path)
    assert documents_in(library, "c") == 1


def test_a_file_of_nothing_but_failures_takes_no_memory_for_them(
    library: collegium.Library, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text("nonsense\n" * 5000)
    report = library.add_files("c", tmp_path / "a.jsonl", root=tmp_path, on_error="skip")
    assert (report.failed, len(report.failures), report.files) == (5000, 1000, 0)
    assert "and 4980 more" in str(report)


def test_a_name_that_is_no_utf8_is_refused_with_its_place(
    library: collegium.Library, tmp_path: Path
) -> None:
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("x")
    with pytest.raises(collegium.InvalidArgumentError, match="UTF-8"):
        library.add_files("c", tmp_path / "*.txt", root=tmp_path)
    report = library.add_files("c", tmp_path / "*.txt", root=tmp_path, on_error="skip")
    assert report.failed == 1


def test_an_id_that_occurs_twice_is_an_error(library: collegium.Library, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "same", "text": "a"}\n')
    (tmp_path / "b.csv").write_text("id,text\nsame,b\n")
    with pytest.raises(collegium.InvalidArgumentError, match=r"b\.csv:2: the id 'same' occurred"):
        library.add_files("c", [tmp_path / "a.jsonl", tmp_path / "b.csv"], root=tmp_path)


def test_a_bad_collection_name_is_refused_as_add_refuses_it(
    library: collegium.Library, folder: Path
) -> None:
    for name in ("", "a\0b"):
        with pytest.raises(collegium.InvalidArgumentError) as expected:
            library.add(name, [{"id": "a", "text": "x"}])
        with pytest.raises(collegium.InvalidArgumentError) as seen:
            library.add_files(name, folder, root=folder)
        assert str(seen.value) == str(expected.value)


@pytest.mark.parametrize(
    "options",
    [
        {"format": "word"},
        {"on_error": "ignore"},
        {"encoding_errors": "ignore"},
        {"batch_bytes": 0},
        {"max_file_bytes": 0},
    ],
)
def test_an_option_out_of_range_is_refused(
    library: collegium.Library, folder: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=next(iter(options))):
        library.add_files("c", folder, root=folder, **options)


def test_format_overrules_the_name(library: collegium.Library, tmp_path: Path) -> None:
    (tmp_path / "notes.log").write_text("# Title\ntext")
    library.add_files("c", tmp_path / "notes.log", root=tmp_path, format="markdown")
    assert library.document("c", "notes.log").title == "Title"


def test_a_document_of_ten_megabytes_is_one_document(
    library: collegium.Library, tmp_path: Path
) -> None:
    # Few tokens: what is tested is the text's way, not the encoder's.
    text = "tea\n" + " " * 10_000_000 + "\nmate"
    (tmp_path / "big.txt").write_text(text)
    report = library.add_files("c", tmp_path / "big.txt", root=tmp_path, batch_bytes=1 << 16)
    assert report.added == 1
    assert library.document("c", "big.txt").text == text


def test_an_interrupted_ingestion_goes_on_where_it_stopped(
    library: collegium.Library, many: Path
) -> None:
    def stop_halfway(stage: str, done: int, total: int) -> bool:
        return done * 2 < total

    with pytest.raises(collegium.CancelledError):
        library.add_files("c", many, root=many.parent, batch_bytes=1 << 17, progress=stop_halfway)
    there = documents_in(library, "c")
    assert 0 < there < COUNT
    report = library.add_files("c", many, root=many.parent)
    assert counts(report) == (COUNT - there, 0, there, COUNT - there, 0)


def test_a_killed_ingestion_goes_on_where_it_stopped(
    tmp_path: Path, many: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    program = """
import os, signal, sys, collegium
library = collegium.Library.open(sys.argv[1])
def kill_halfway(stage, done, total):
    if done * 2 >= total:
        os.kill(os.getpid(), signal.SIGKILL)
library.add_files("c", sys.argv[2], root=sys.argv[3], batch_bytes=1 << 17, progress=kill_halfway)
"""
    collegium.Library.create(tmp_path / "killed", encoder=tiny_encoder).close()
    arguments = [str(tmp_path / "killed"), str(many), str(many.parent)]
    done = run_python(["-c", program, *arguments])
    assert done.returncode == -signal.SIGKILL, done.stderr
    with collegium.Library.open(tmp_path / "killed") as library:
        there = documents_in(library, "c")
        assert 0 < there < COUNT
        report = library.add_files("c", many, root=many.parent)
        assert counts(report) == (COUNT - there, 0, there, COUNT - there, 0)


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "collegium-read"]


def test_ctrl_c_while_embedding_leaves_a_library_that_works(
    library: collegium.Library, many: Path
) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        library.add_files("c", many, root=many.parent, batch_bytes=1 << 16, progress=interrupt)
    assert reading_threads() == []
    report = library.add_files("c", many, root=many.parent)
    assert report.documents == documents_in(library, "c") == COUNT


def test_ctrl_c_while_waiting_for_a_slow_file_ends_the_call(
    library: collegium.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(file: SourceFile, options: ReadOptions) -> Iterator[Piece | Problem]:
        for i in range(1000):
            time.sleep(0.02)
            yield Piece(f"text {i}", part=str(i))

    monkeypatch.setitem(readers.FORMATS, "text", slow)
    (tmp_path / "a.txt").write_text("x")
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        library.add_files("c", tmp_path / "a.txt", root=tmp_path)
    assert time.monotonic() - began < 10
    assert reading_threads() == []


def test_a_bug_in_a_reader_reaches_the_caller(
    library: collegium.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: SourceFile, options: ReadOptions) -> Iterator[Piece | Problem]:
        yield Piece("text")
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(readers.FORMATS, "text", broken)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        library.add_files("c", tmp_path / "a.txt", root=tmp_path)
    assert reading_threads() == []


def test_the_next_files_are_read_while_a_batch_is_added(tmp_path: Path) -> None:
    """The claim is about time: both sides sleep, and in turns they would need twice as long."""
    from collegium._read_ahead import ReadAhead

    def items() -> Any:
        for i in range(10):
            time.sleep(0.05)
            yield i

    began = time.monotonic()
    with ReadAhead(items()) as taken:
        for _ in taken:
            time.sleep(0.05)
    assert time.monotonic() - began < 0.9


def test_progress_rises_to_its_end_in_kilobytes_of_the_files(
    library: collegium.Library, many: Path
) -> None:
    seen: list[tuple[str, int, int]] = []
    library.add_files(
        *("c", many),
        root=many.parent,
        batch_bytes=1 << 17,
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )
    total = -(-many.stat().st_size // 1024)
    assert {(stage, of) for stage, _, of in seen} == {("kB", total)}
    done = [done for _, done, _ in seen]
    assert done == sorted(done)
    assert done[-1] == total
    assert len(set(done)) > 3


def test_what_a_progress_callable_raises_is_raised_and_blamed_on_no_document(
    library: collegium.Library, folder: Path
) -> None:
    def fail(stage: str, done: int, total: int) -> None:
        raise collegium.InvalidArgumentError("of the callable")

    with pytest.raises(collegium.InvalidArgumentError, match=r"^of the callable$"):
        library.add_files("c", folder, root=folder, on_error="skip", progress=fail)


MEMORY = """
import resource, sys, collegium
from collegium.ingest import add_files, read_options
class Added:
    unchanged = replaced = passages = truncated = 0
    documents = 1
class Core:  # what is left when nothing is embedded: a copy, as the real one makes
    def add(self, collection, documents, pairs, progress=None):
        self.copy = [(d.text, d.metadata) for d in documents]
        return Added()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def run(folder):
    add_files(Core(), "c", folder, root=folder, format=None, options=read_options(),
              on_error="raise", prune=False, batch_bytes=1 << 20, progress=None)
run(sys.argv[1])
before = peak()
run(sys.argv[2])
print(peak() - before)
"""


def test_memory_is_bounded_by_batch_and_file_not_by_the_folder(
    tmp_path: Path, run_python: RunPython
) -> None:
    """The whole process, its peak: 60 MB of files against a first 3 MB of the same kind."""
    for name, copies in (("small", 1), ("large", 20)):
        folder = tmp_path / name
        folder.mkdir()
        line = "x" * 990
        for i in range(copies * 4):
            (folder / f"{i}.txt").write_text((line + "\n") * 250)
            (folder / f"{i}.html").write_text(f"<p>{line}</p>\n" * 250)
        with (folder / "rows.csv").open("w") as out:
            out.write("id,text\n" + "".join(f"{i},{line}\n" for i in range(copies * 500)))
        with (folder / "rows.jsonl").open("w") as out:
            for i in range(copies * 500):
                out.write(json.dumps({"id": f"j{i}", "text": line}) + "\n")
    done = run_python(["-c", MEMORY, str(tmp_path / "small"), str(tmp_path / "large")])
    assert done.returncode == 0, done.stderr
    batches, file = 4 * (1 << 20), 20 * 250_000
    assert int(done.stdout) < batches + file, f"{int(done.stdout):,} bytes"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *[("a.html", "<p>"), ("a.html", "<p>xy"), ("a.html", "<td><table>"), ("a.html", "<a b=c>")],
        *[("a.html", "<"), ("a.html", "<br>"), ("a.html", "<h1>x"), ("a.html", "<table><td>x")],
        *[("a.md", "ab\n"), ("a.md", "# a\n"), ("a.txt", "é"), ("a.jsonl", "[],")],
        ("a.csv", ","),
    ],
)
def test_a_hostile_file_takes_at_most_thirty_times_its_size(
    tmp_path: Path, name: str, part: str
) -> None:
    content = part * (60_000 // len(part.encode()))
    if name == "a.jsonl":
        content = f'{{"text": "x", "l": [{content}[]]}}'
    elif name == "a.csv":
        content = f"id{',' if part == ',' else ''}text\n" + content
    (tmp_path / name).write_text(content)

    def read() -> None:
        with contextlib.suppress(collegium.InvalidArgumentError):
            for _ in collegium.ingest.read_files(tmp_path / name, root=tmp_path):
                pass

    read()  # what is imported and compiled at the first use is no part of it
    tracemalloc.start()
    try:
        read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 30 * len(content.encode()) + 200_000, f"{peak / len(content):.1f} times"


def test_the_report_draws_itself(library: collegium.Library, folder: Path) -> None:
    report = library.add_files("c", folder, root=folder)
    line = str(report)
    assert line.startswith("c: 6 files, 9 documents (9 added, 1 files of no known kind), ")
    assert line.count("\n") == 0
    assert report._repr_html_().startswith("<pre>c: 6 files")
    assert json.loads(report.to_json())["added"] == 9
