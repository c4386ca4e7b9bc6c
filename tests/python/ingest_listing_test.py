"""Which files a call means: files, folders, patterns, links, and ids by path."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import collegium
from collegium.readers import format_of
from collegium.readers.listing import Listing, list_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in [
        *("b.md", "a.txt", "docs/z.md", "docs/a/b/c.md", "docs/a/x.html", "docs/notes.MD"),
        *("docs/picture.png", "docs/.hidden.md", ".git/config.txt", "docs/a[1].txt", "other/q.csv"),
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def listed(root: Path, *paths: str) -> Listing:
    def fail(path: Path, error: collegium.Error) -> None:
        raise error

    return list_files(
        [root / path for path in paths], root, lambda p: format_of(p) is not None, fail
    )


def names(root: Path, *paths: str) -> list[str]:
    return [file.name for file in listed(root, *paths).files]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["b.md", "a.txt"], ["b.md", "a.txt"]),
        (["b.md", "b.md", "*.md"], ["b.md"]),
        (["*.md"], ["b.md"]),
        (["?.*"], ["a.txt", "b.md"]),
        (["docs"], ["docs/a[1].txt", "docs/notes.MD", "docs/z.md", "docs/a/x.html",
                    "docs/a/b/c.md"]),
        (["docs/*"], ["docs/a[1].txt", "docs/notes.MD", "docs/z.md"]),
        (["**/*.md"], ["b.md", "docs/z.md", "docs/a/b/c.md"]),
        (["docs/**"], ["docs/a[1].txt", "docs/notes.MD", "docs/z.md", "docs/a/x.html",
                       "docs/a/b/c.md"]),
        (["docs/**/b/*.md"], ["docs/a/b/c.md"]),
        (["**/**/c.md"], ["docs/a/b/c.md"]),
        (["*/*.csv"], ["other/q.csv"]),
        (["[a-c].*"], ["a.txt", "b.md"]),
        (["docs/a[1].txt"], ["docs/a[1].txt"]),
        (["docs/.hidden.md"], ["docs/.hidden.md"]),
        (["docs/.h*"], ["docs/.hidden.md"]),
        (["other/../b.md"], ["b.md"]),
    ],
)  # fmt: skip
def test_files_folders_and_patterns(tree: Path, paths: list[str], expected: list[str]) -> None:
    assert names(tree, *paths) == expected


def test_files_of_no_known_kind_are_counted_in_folders_and_refused_by_name(tree: Path) -> None:
    assert listed(tree, "docs").ignored == 1
    assert listed(tree, "docs/*.png").files == []
    with pytest.raises(collegium.InvalidArgumentError, match=r"unknown kind of file '\.png'"):
        listed(tree, "docs/picture.png")


@pytest.mark.parametrize("path", ["none.md", "*.pdf", "none/*.md", "docs/**/*.csv", "**/none/**"])
def test_what_matches_nothing_is_an_error(tree: Path, path: str) -> None:
    with pytest.raises(collegium.NotFoundError, match=r"no such file|no file matches"):
        listed(tree, path)


def test_no_paths_at_all_are_an_error(tree: Path) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="paths is empty"):
        listed(tree)


def test_a_file_outside_the_root_is_an_error_that_names_one(tree: Path) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=r"not below the root .* give root="):
        listed(tree / "docs", "../b.md")


def test_a_relative_path_is_below_the_current_folder(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree / "docs")
    documents = list(collegium.ingest.read_files(["*.md", "a/b"]))
    assert [document.id for document in documents] == ["z.md", "a/b/c.md"]
    documents = list(collegium.ingest.read_files("z.md", root=".."))
    assert [document.id for document in documents] == ["docs/z.md"]


def test_links_to_files_are_read_and_links_to_folders_are_not_followed(tree: Path) -> None:
    (tree / "docs/loop").symlink_to(tree / "docs")
    (tree / "docs/linked.md").symlink_to(tree / "b.md")
    (tree / "docs/nowhere.md").symlink_to(tree / "gone.md")
    (tree / "docs/circle.md").symlink_to("circle.md")
    found = names(tree, "docs")
    assert [name for name in found if "loop" in name] == []
    assert "docs/linked.md" in found
    assert "docs/nowhere.md" not in found
    assert names(tree, "docs/**/z.md") == ["docs/z.md"]
    assert names(tree, "docs/loop/z.md") == ["docs/loop/z.md"]
    for broken in ("docs/nowhere.md", "docs/circle.md"):
        with pytest.raises(collegium.InvalidArgumentError, match="neither a file nor a folder"):
            listed(tree, broken)


def test_a_pipe_is_refused_and_in_a_folder_left_out(tree: Path) -> None:
    os.mkfifo(tree / "docs/pipe.md")
    assert "docs/pipe.md" not in names(tree, "docs")
    with pytest.raises(collegium.InvalidArgumentError, match="neither a file nor a folder"):
        listed(tree, "docs/pipe.md")


def test_a_tree_deeper_than_python_recurses_is_walked(tmp_path: Path) -> None:
    folders = [tmp_path / "r"]
    for _ in range(sys.getrecursionlimit() + 100):
        folders.append(folders[-1] / "d")
    for folder in folders:
        folder.mkdir()
    (folders[-1] / "x.md").write_text("x")
    try:
        assert len(names(tmp_path, "r/**/x.md")) == 1
    finally:  # what tidies up behind the tests does recurse
        (folders[-1] / "x.md").unlink()
        for folder in reversed(folders):
            folder.rmdir()


def test_a_folder_that_cannot_be_read_is_an_io_error(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the operating system would say it; root, who may read all, runs this test too."""
    scandir = os.scandir

    def refuse(folder: Path) -> Any:
        if folder.name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(collegium.IoError, match="docs/a: Permission denied"):
        listed(tree, "docs")
    failures: list[str] = []
    listing = list_files(
        tree / "docs", tree, lambda p: True, lambda path, error: failures.append(path.name)
    )
    assert failures == ["a"]
    assert "docs/z.md" in [file.name for file in listing.files]
