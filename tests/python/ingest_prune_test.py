"""Library.add_files(prune=True): what came from files and is not there any more is removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import collegium


@pytest.fixture
def library(tmp_path: Path, tiny_encoder: Path) -> Iterator[collegium.Library]:
    with collegium.Library.create(tmp_path / "library", encoder=tiny_encoder) as library:
        yield library


@pytest.fixture
def folder(tmp_path: Path, library: collegium.Library) -> Path:
    """Files that are in the collection "c", beside a document that came from none."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    (folder / "b.txt").write_text("two")
    (folder / "c.csv").write_text("id,text\nc1,three\nc2,four\n")
    (folder / "d.jsonl").write_text('{"text": "five"}\n{"text": "six"}\n')
    library.add("c", [{"id": "by hand", "text": "seven"}])
    library.add_files("c", folder, root=folder)
    return folder


ALL = {"a.txt", "b.txt", "c1", "c2", "d.jsonl#1", "d.jsonl#2", "by hand"}


def ids(library: collegium.Library) -> set[str]:
    return set(library.document_ids("c"))


def test_nothing_is_removed_without_prune(library: collegium.Library, folder: Path) -> None:
    (folder / "a.txt").unlink()
    assert library.add_files("c", folder, root=folder).removed == 0
    assert ids(library) == ALL


def test_documents_of_files_and_rows_that_are_gone_are_removed(
    library: collegium.Library, folder: Path
) -> None:
    (folder / "a.txt").unlink()
    (folder / "c.csv").write_text("id,text\nc2,four\n")
    (folder / "d.jsonl").write_text('{"text": "five"}\n')
    report = library.add_files("c", folder, root=folder, prune=True)
    assert (report.removed, report.unchanged) == (3, 3)
    assert ids(library) == ALL - {"a.txt", "c1", "d.jsonl#2"}


def test_files_that_are_there_and_were_not_named_stay(
    library: collegium.Library, folder: Path
) -> None:
    assert library.add_files("c", folder / "a.txt", root=folder, prune=True).removed == 0
    (folder / "b.txt").unlink()
    assert library.add_files("c", folder / "a.txt", root=folder, prune=True).removed == 1
    assert ids(library) == ALL - {"b.txt"}


def test_documents_of_a_file_that_could_not_be_read_whole_stay(
    library: collegium.Library, folder: Path
) -> None:
    (folder / "a.txt").write_bytes(b"\xff")
    (folder / "c.csv").write_text("id,text\nc2,four,more\n")
    report = library.add_files("c", folder, root=folder, on_error="skip", prune=True)
    assert (report.removed, report.failed) == (0, 2)
    assert ids(library) == ALL


def test_an_error_removes_nothing(library: collegium.Library, folder: Path) -> None:
    (folder / "b.txt").unlink()
    (folder / "c.csv").write_text("id,text\nc2\n")
    with pytest.raises(collegium.InvalidArgumentError):
        library.add_files("c", folder, root=folder, prune=True)
    assert ids(library) == ALL


def test_a_folder_that_became_empty_prunes_all_that_came_from_it(
    library: collegium.Library, folder: Path
) -> None:
    for file in folder.iterdir():
        file.unlink()
    assert library.add_files("c", folder, root=folder, prune=True).removed == 6
    assert ids(library) == {"by hand"}
