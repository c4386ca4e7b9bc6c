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
    if sys.argv[3] == "add":
        library.add("c", documents, progress=progress)
    else:
        library.add_negatives([document["text"] for document in documents], progress=progress)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    library.close()
    with collegium.Library.open(sys.argv[1]) as library:
        print("reopened", library.info().dim, flush=True)
    sys.exit(130)
"""


@pytest.mark.parametrize("call", ["add", "add_negatives"])
def test_ctrl_c_ends_a_long_call_and_the_library_is_whole(
    tmp_path: Path, minilm: Path, call: str
) -> None:
    package = str(Path(collegium.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_CALL, str(tmp_path / "library"), str(minilm), call],
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


LONG_PROMPT = """
import sys, threading, collegium
model = collegium.LanguageModel.load(sys.argv[1])
prompt = "the river of evidence " * 1500
ids = model.tokenizer.encode(prompt).ids
assert 5000 < len(ids) < model.context_length, len(ids)
# Printed while the main thread is within the call, without the GIL.
threading.Timer(1.0, lambda: print("working", flush=True)).start()
try:
    if sys.argv[2] == "generate":
        model.generate(prompt, max_new_tokens=1)
    else:
        model.logits(ids[:3000])
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("call", ["generate", "logits"])
def test_ctrl_c_ends_the_reading_of_a_long_prompt(smollm2: Path, call: str) -> None:
    package = str(Path(collegium.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_PROMPT, str(smollm2), call],
        env={**os.environ, "PYTHONPATH": package},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    seconds = time.monotonic() - began
    assert process.returncode == 130, error
    assert seconds < 10, seconds  # the whole prompt takes a minute


# A write or close() here would wait for the call that waits for the callback.
CALLBACK = """
import sys, collegium
refused = []
def call_back(stage, done, total):
    for write in (
        lambda: library.add("other", [{"id": "a", "text": "some text"}]),
        lambda: library.remove("c", ["0"]),
        lambda: library.add_negatives(["hello"]),
        lambda: library.fit(),
        lambda: library.close(),
    ):
        try:
            write()
        except collegium.FailedPreconditionError as error:
            assert "callback" in str(error), error
            refused.append(stage)
    assert library.info().dim
    library.search("some text?")
with collegium.Library.create(sys.argv[1], encoder=sys.argv[2]) as library:
    documents = [{"id": str(i), "text": f"text {i}"} for i in range(20)]
    pairs = [{"query": f"what is {i}?", "id": str(i), "split": "train"} for i in range(20)]
    for call in (
        lambda: library.add("c", documents, pairs=pairs, progress=call_back),
        lambda: library.add_negatives(["hello there"], progress=call_back),
        lambda: library.fit(progress=call_back),
        lambda: library.evaluate(split="train", progress=call_back),
    ):
        refused.clear()
        call()
        assert refused and len(refused) % 5 == 0, refused
    # Another library is nobody's call.
    with collegium.Library.create(sys.argv[1] + "2", encoder=sys.argv[2]) as second:
        second.add("c", [{"id": "a", "text": "b"}],
                   progress=lambda *_: bool(library.add("d", [{"id": "a", "text": "b"}])))
    assert library.document("d", "a").text == "b"
print("ok")
"""


def test_a_callback_may_read_and_is_told_that_it_cannot_write(
    tmp_path: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    done = run_python(["-c", CALLBACK, str(tmp_path / "library"), str(tiny_encoder)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok"


THREADS = """
import os, shutil, sys
import torch, faiss
import numpy as np
import collegium
collegium.set_num_threads(1)
def threads():
    return len(os.listdir("/proc/self/task"))
def pairs(begin):
    rows = many[begin : begin + 40]
    return [{"query": row["text"][:20] + "?", "id": row["id"]} for row in rows]
def use(library):
    for question in ("my wheel wobbles", "what spices are in chai?", "hello there"):
        library.ask(question)
        library.search(question)
    library.fit(seed=9, refit=True)
    library.evaluate()
# The store has threads of its own: they are counted while it is open, and gone when it is closed.
with collegium.Library.open(sys.argv[1]) as library:
    before = threads()
    use(library)
    assert threads() == before, (before, threads())
    collegium.set_num_threads(3)
    library.ask("my wheel wobbles")
    assert threads() <= before + 2, (before, threads())
    collegium.set_num_threads(1)
    assert threads() == before, (before, threads())
    documents = [library.document("tea", id) for id in ("green", "black", "mate", "chai")]
# Beyond the threshold an index is a graph of FAISS's, which uses OpenMP where it may: built while
# documents are added and at close(), read back at open(), built again where its file is missing.
made = sys.argv[1] + "-graph"
with collegium.Library.create(made, encoder=sys.argv[2], link=True, hnsw_threshold=8) as library:
    assert threads() == before, (before, threads())
    many = [{"id": f"{d.id}{i}", "text": f"{i}: {d.text}"} for d in documents for i in range(30)]
    for begin in range(0, len(many), 40):
        library.add("tea", many[begin : begin + 40], pairs=pairs(begin))
    library.search("what spices are in chai?")
    assert threads() == before, (before, threads())
after_close = threads()
assert after_close <= before, (before, after_close)
for rebuild in (False, True):
    if rebuild:
        shutil.rmtree(made + "/index")
    with collegium.Library.open(made) as library:
        # What is rebuilt is searched exactly until its graph is built: fit() and close() do that.
        assert library.info().collections[0].index_kind == ("exact" if rebuild else "hnsw")
        use(library)
        assert library.info().collections[0].index_kind == "hnsw", str(library.info())
        assert threads() == before, (rebuild, before, threads())
    assert threads() == after_close, (rebuild, after_close, threads())
# The neighbour is unharmed.
index = faiss.IndexFlatIP(4)
index.add(np.eye(4, dtype=np.float32))
assert index.search(np.eye(4, dtype=np.float32)[:1], 1)[1][0][0] == 0
assert torch.ones(3).sum().item() == 3
print("ok")
"""


@pytest.mark.slow
def test_no_new_threads_beside_torch_and_faiss(
    fitted_folder: Path, tmp_path: Path, minilm: Path, run_python: RunPython
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("faiss")
    copy = tmp_path / "library"
    shutil.copytree(fitted_folder, copy)
    done = run_python(["-c", THREADS, str(copy), str(minilm)], OMP_NUM_THREADS="4")
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
