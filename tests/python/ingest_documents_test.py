"""docs/files.md: its example runs as it stands."""

from __future__ import annotations

from pathlib import Path

from collegium.readers import FORMATS, format_of
from conftest import ROOT, RunPython
from documents_test import python_blocks

PAGE = ROOT / "docs" / "files.md"


def test_the_example_runs(tmp_path: Path, minilm: Path, run_python: RunPython) -> None:
    (block,) = python_blocks(PAGE.read_text(encoding="utf-8"))
    script = tmp_path / "files.py"
    script.write_text(f"import os\nos.chdir({str(tmp_path)!r})\n{block}", encoding="utf-8")
    done = run_python([str(script)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("manuals: 3 files, 3 documents (3 added), 3 passages embedded")


def test_the_table_has_every_kind_and_ending() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.read_text(encoding="utf-8").splitlines()
            if line.startswith("| ")][1:]  # fmt: skip
    kinds = {"JSON lines": "jsonl"}
    listed = {kinds.get(row[0].strip(), row[0].strip().lower()): row[1].split() for row in rows}
    assert set(listed) == set(FORMATS)
    for kind, endings in listed.items():
        assert [format_of(Path(f"x{ending}")) for ending in endings] == [kind] * len(endings)
