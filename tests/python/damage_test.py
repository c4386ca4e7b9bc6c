"""What is left after damage, a kill or a fork, seen through the public API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import collegium
import small_data
from conftest import RunPython


def flip(path: Path, begin: int, end: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[begin:end] = bytes(byte ^ 0x55 for byte in whole[begin:end])
    path.write_bytes(whole)


@pytest.fixture
def closed_folder(tmp_path: Path, tiny_encoder: Path) -> Path:
    """A library of two collections, closed."""
    folder = tmp_path / "library"
    with collegium.Library.create(folder, encoder=tiny_encoder) as library:
        for name, (documents, pairs) in small_data.collections().items():
            library.add(name, documents, pairs=pairs)
    return folder


def found(library: collegium.Library) -> list[tuple[str, str, float]]:
    passages = library.search("how long should green tea brew?", k=24).passages
    return [(p.collection, p.document_id, p.score) for p in passages]


def test_a_damaged_index_file_is_rebuilt_and_info_says_so(closed_folder: Path) -> None:
    with collegium.Library.open(closed_folder) as library:
        assert not any(c.index_rebuilt for c in library.info().collections)
        before = found(library)
    # One flipped, one gone.
    flipped, removed = sorted((closed_folder / "index").glob("*.index"))
    flip(flipped, flipped.stat().st_size // 2, flipped.stat().st_size // 2 + 1)
    removed.unlink()
    with collegium.Library.open(closed_folder) as library:
        info = library.info()
        assert [c.index_rebuilt for c in info.collections] == [True, True]
        assert all(".index" in c.index_note for c in info.collections)
        assert "index rebuilt" in str(info)
        assert found(library) == before
    with collegium.Library.open(closed_folder) as library:  # written anew by close()
        assert not any(c.index_rebuilt for c in library.info().collections)
        assert found(library) == before


def test_a_damaged_store_is_a_corruption_error(closed_folder: Path) -> None:
    files = [
        path
        for path in (closed_folder / "store").iterdir()
        if (path.suffix in (".log", ".sst") or path.name.startswith("MANIFEST"))
        and path.stat().st_size >= 64
    ]
    assert files
    for path in files:
        flip(path, path.stat().st_size // 4, path.stat().st_size // 2)
    with pytest.raises(collegium.CorruptionError):
        collegium.Library.open(closed_folder)
    with pytest.raises(collegium.AlreadyExistsError):  # nor is it overwritten
        collegium.Library.create(closed_folder, encoder=closed_folder / "encoder")


CREATE = """
import sys, collegium
print("ready", flush=True)
collegium.Library.create(sys.argv[1], encoder=sys.argv[2]).close()
print("created", flush=True)
"""


def test_a_killed_create_leaves_no_half_library_under_the_name(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    package = str(Path(collegium.__file__).parents[1])
    interrupted = 0
    for round_, delay_ms in enumerate((0, 0, 2, 5, 10, 20)):
        folder = tmp_path / f"round-{round_}"
        folder.mkdir()
        path = folder / "library"
        process = subprocess.Popen(
            [sys.executable, "-c", CREATE, str(path), str(tiny_encoder)],
            env={**os.environ, "PYTHONPATH": package},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        end = time.monotonic() + 60
        while not os.listdir(folder) and process.poll() is None:  # noqa: PTH208
            assert time.monotonic() < end
        time.sleep(delay_ms / 1000)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
        if path.exists():
            collegium.Library.open(path).close()  # whole
            continue
        assert out == ""
        interrupted += 1
        with pytest.raises(collegium.NotFoundError):
            collegium.Library.open(path)
        with collegium.Library.create(path, encoder=tiny_encoder) as library:
            library.add("tea", [{"id": "a", "text": "Green tea."}])
    assert interrupted > 0


FORK = """
import os, sys, collegium
library = collegium.Library.create(sys.argv[1], encoder=sys.argv[2])
library.add("tea", [{"id": "a", "text": "Green tea."}])
child = os.fork()
if child == 0:
    code = 1
    try:
        library.add("tea", [{"id": "b", "text": "Black tea."}])
    except collegium.FailedPreconditionError as error:
        code = 0 if str(os.getppid()) in str(error) else 2
    library.close()
    os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
sleeper = os.fork()
if sleeper == 0:
    while True:
        os.read(0, 1) or os._exit(0)
library.add("tea", [{"id": "c", "text": "White tea."}])
library.close()
with collegium.Library.open(sys.argv[1]) as library:
    assert library.info().collections[0].documents == 2
os.kill(sleeper, 9)
os.waitpid(sleeper, 0)
print("ok")
"""


def test_a_forked_child_neither_writes_nor_locks_the_library(
    tmp_path: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    done = run_python(["-c", FORK, str(tmp_path / "library"), str(tiny_encoder)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok"


def test_what_the_encoder_truncates_is_shown(
    tmp_path: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    long_title = {"id": "a", "title": "the river " * 40, "text": ""}
    text_too = {"id": "b", "title": "the river " * 40, "text": "The law of the market."}
    with collegium.Library.create(tmp_path / "library", encoder=tiny_encoder) as library:
        report = library.add("c", [text_too])
        assert report.truncated == 0
        assert "truncated" not in repr(report)
        report = library.add("c", [long_title])
        assert report.truncated == 1
        assert "1 passages embedded, 1 truncated, 0 pairs" in repr(report)
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"id": "c", "title": "' + "the market " * 40 + '", "text": ""}\n')
    done = run_python(
        [
            *("-m", "collegium", "add", "--library", str(tmp_path / "library")),
            *("--collection", "c", "--documents", str(lines)),
        ]
    )
    assert done.returncode == 0, done.stderr
    assert "1 passages embedded, 1 truncated, pairs" in done.stdout
