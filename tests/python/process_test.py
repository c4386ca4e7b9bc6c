"""What the package does to the process it lives in: GIL, signals, threads, network, imports."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import collegium
from conftest import RunPython


def test_another_thread_runs_while_we_encode(minilm: Path) -> None:
    encoder = collegium.Encoder.load(minilm)
    texts = ["a text of some length, so that this takes a while " * 4] * 60
    count = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal count
        while not done.is_set():
            count += 1
            time.sleep(0.005)

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.monotonic()
    encoder.encode(texts)
    seconds = time.monotonic() - began
    done.set()
    thread.join()
    # Were the GIL held, the other thread would have had next to no turn.
    assert count > 0.2 * seconds / 0.005, (count, seconds)


LONG_CALL = """
import sys, collegium
library = collegium.Library.create(sys.argv[1], encoder=sys.argv[2], link=True)
documents = [{"id": str(i), "text": f"document {i} " + "word " * 150} for i in range(100000)]
def progress(stage, done, total):
    if done:
        print("working", flush=True)
try:
    library.add("c", documents, progress=progress)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    library.close()
    with collegium.Library.open(sys.argv[1]) as library:
        print("reopened", library.info().dim, flush=True)
    sys.exit(130)
"""


def test_ctrl_c_ends_a_long_call_and_the_library_is_whole(tmp_path: Path, minilm: Path) -> None:
    package = str(Path(collegium.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_CALL, str(tmp_path / "library"), str(minilm)],
        env={**os.environ, "PYTHONPATH": package},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "interrupted" in out
    assert "reopened 384" in out
    assert time.monotonic() - began < 60


THREADS = """
import os, sys
import torch, faiss
import numpy as np
import collegium
collegium.set_num_threads(1)
def threads():
    return len(os.listdir("/proc/self/task"))
with collegium.Library.open(sys.argv[1]) as library:
    before = threads()
    for question in ("my wheel wobbles", "what spices are in chai?", "hello there"):
        library.ask(question)
    library.fit(seed=9, refit=True)
    library.evaluate()
    after = threads()
    assert after == before, (before, after)
    collegium.set_num_threads(3)
    library.ask("my wheel wobbles")
    with_pool = threads()
    assert with_pool <= before + 2, (before, with_pool)
# The neighbour is unharmed.
index = faiss.IndexFlatIP(4)
index.add(np.eye(4, dtype=np.float32))
assert index.search(np.eye(4, dtype=np.float32)[:1], 1)[1][0][0] == 0
assert torch.ones(3).sum().item() == 3
print("ok")
"""


@pytest.mark.slow
def test_no_new_threads_beside_torch_and_faiss(
    fitted_folder: Path, tmp_path: Path, run_python: RunPython
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("faiss")
    copy = tmp_path / "library"
    shutil.copytree(fitted_folder, copy)
    done = run_python(["-c", THREADS, str(copy)], OMP_NUM_THREADS="4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok"


OFFLINE = """
import socket, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto"):
        raise RuntimeError(f"network: {event} {arguments}")
sys.addaudithook(refuse)
import collegium
with collegium.Library.create(sys.argv[1], encoder=sys.argv[2]) as library:
    library.add("tea", [{"id": "a", "text": "Green tea."}], pairs=[{"query": "tea?", "id": "a"}])
    library.fit()
    assert library.ask("tea?").passages
print("ok")
"""


def can_unshare() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode
        == 0
    )


def test_nothing_needs_a_network(tmp_path: Path, tiny_encoder: Path, run_python: RunPython) -> None:
    prefix = ["unshare", "-n"] if can_unshare() else []
    done = run_python(["-c", OFFLINE, str(tmp_path / "library"), str(tiny_encoder)], prefix=prefix)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok"


def test_no_source_names_a_host() -> None:
    package = Path(collegium.__file__).parent
    for path in package.glob("*.py"):
        assert "://" not in path.read_text(encoding="utf-8"), path


def test_importing_brings_numpy_and_nothing_beyond_the_standard_library(
    run_python: RunPython,
) -> None:
    program = (
        "import sys; before = set(sys.modules); import collegium; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "print(sorted(new))"
    )
    done = run_python(["-c", program])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['collegium', 'numpy']"


def test_the_module_hides_what_it_is_made_of() -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    module = Path(collegium._core.__file__ or "")
    listed = subprocess.run(
        [nm, "-D", "--defined-only", str(module)], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in listed.splitlines()]
    assert "PyInit__core" in names
    assert not [name for name in names if "faiss" in name or "rocksdb" in name]
