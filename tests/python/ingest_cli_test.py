"""``collegium add`` with files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import collegium
from conftest import RunPython


@pytest.fixture
def files(tmp_path: Path, tiny_encoder: Path) -> Path:
    with collegium.Library.create(tmp_path / "library", encoder=tiny_encoder):
        pass
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("# Tea\n\nTwo minutes.\n")
    (tmp_path / "docs/b.txt").write_bytes(b"\xff")
    (tmp_path / "faq.csv").write_text("q;a\nHow long?;Two minutes.\n")
    return tmp_path


def test_files_and_patterns_are_added_and_failures_listed(
    files: Path, run_python: RunPython
) -> None:
    add = ["-m", "collegium", "add", "--library", str(files / "library"), "--collection", "c"]
    root = ["--root", str(files)]
    done = run_python([*add, *root, str(files / "docs/**/*.md"), "--json"])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["files"]["added"] == 1
    done = run_python([*add, *root, str(files / "docs"), "--on-error", "skip"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("c: 1 files, 1 documents (1 unchanged, 1 failed)")
    assert "docs/b.txt: not UTF-8 at byte 0" in done.stdout
    fields = ["--text-field", "a", "--title-field", "q"]
    done = run_python([*add, *root, str(files / "faq.csv"), *fields])
    assert done.returncode == 0, done.stderr
    with collegium.Library.open(files / "library") as library:
        assert library.document("c", "faq.csv#2").title == "How long?"


def test_pairs_may_come_with_the_files_they_name(files: Path, run_python: RunPython) -> None:
    (files / "pairs.jsonl").write_text('{"query": "how long?", "id": "docs/a.md"}\n')
    done = run_python(
        [
            *("-m", "collegium", "add", "--library", str(files / "library"), "--collection", "c"),
            *("--root", str(files), str(files / "docs/a.md")),
            *("--pairs", str(files / "pairs.jsonl"), "--json"),
        ]
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert (out["files"]["added"], sum(out["pairs"].values())) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["docs/b.txt"], "InvalidArgumentError: docs/b.txt: not UTF-8 at byte 0"),
        (["docs/*.pdf"], "NotFoundError: docs/*.pdf: no file matches"),
        (["no-such-file.md"], "NotFoundError: no-such-file.md: no such file"),
        (["../x.md"], "NotFoundError: ../x.md: no such file"),
    ],
)
def test_an_error_is_one_line_and_1(
    files: Path,
    run_python: RunPython,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    error: str,
) -> None:
    monkeypatch.chdir(files)
    done = run_python(
        ["-m", "collegium", "add", "--library", "library", "--collection", "c", *arguments]
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"collegium: {error}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["docs"], ["docs", "--beir", "b", "--collection", "c"], ["--format", "word"]]
)
def test_wrong_usage_is_2(arguments: list[str], run_python: RunPython) -> None:
    done = run_python(["-m", "collegium", "add", "--library", "x", *arguments])
    assert done.returncode == 2
    assert "usage:" in done.stderr
