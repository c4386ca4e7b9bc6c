"""What a newcomer copies: README's Python and the notebooks run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import collegium
from conftest import ROOT, RunPython

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_readme_python_runs(
    tmp_path: Path, minilm: Path, smollm2: Path, run_python: RunPython
) -> None:
    blocks = python_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    assert blocks
    program = "\n".join(blocks)
    script = tmp_path / "readme.py"
    script.write_text(f"import os\nos.chdir({str(tmp_path)!r})\n{program}", encoding="utf-8")
    done = run_python([str(script)])
    assert done.returncode == 0, done.stderr
    assert "force majeure" in done.stdout.lower()


def test_there_is_a_notebook() -> None:
    assert [path.name for path in NOTEBOOKS][:1] == ["01-first-route.ipynb"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_notebook_runs_and_stores_no_output(
    path: Path, minilm: Path, smollm2: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert not any(cell.get("execution_count") for cell in notebook.cells)
    assert notebook.cells[0].cell_type == "markdown"
    assert "at the end" in notebook.cells[0].source
    assert "assert" in notebook.cells[-1].source
    package = str(Path(collegium.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", package)
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    drawn = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    assert len(drawn) >= 4, "what a notebook is about draws itself"
