"""Killed processes and full disks: what a library acknowledged is there afterwards, and no more.

The counts are those of CI; benchmarks/corpus_faults.py runs this with others
(COLLEGIUM_FAULT_ROUNDS, COLLEGIUM_FAULT_SEED).
"""

from __future__ import annotations

import errno
import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import collegium
import fault_script as script

SHIM = Path(collegium.__file__).parents[2] / "tests/index/libcollegium_index_fault_shim.so"


def rounds(in_ci: int) -> int:
    return int(os.environ.get("COLLEGIUM_FAULT_ROUNDS", in_ci))


def draws(name: str) -> random.Random:
    return random.Random(f"{name} {os.environ.get('COLLEGIUM_FAULT_SEED', 1)}")


def start(
    folder: Path, encoder: Path, first: int, last: int, *more: str, **variables: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, script.__file__, str(folder), str(encoder), str(first), str(last), *more],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(collegium.__file__).parents[1]),
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check(library: collegium.Library, done: int) -> int:
    """That `done` steps are there, perhaps with what the next one did; how many are there whole."""
    state = script.versions(library)
    assert script.between(state, done + 1), (done, script.operation(done + 1), state)
    script.check_searches(library, state)
    found = library.verify()
    assert found.ok, str(found)
    # The files that fit learned are read by verify(); the last fit that was acknowledged counts.
    fitted = any(script.operation(step)[0] == "fit" for step in range(1, done + 1))
    assert not fitted or library.info().generation
    assert done == 0 or library.info().negatives == len(script.NEGATIVES)
    return done + 1 if state == script.after(done + 1) != script.after(done) else done


def test_what_was_acknowledged_survives_killed_processes(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    drawn = draws("kill")
    folder = tmp_path / "library"
    done = 0
    collegium.Library.create(folder, encoder=tiny_encoder).close()
    for _ in range(rounds(12)):
        process = start(folder, tiny_encoder, done + 1, done + 1000)
        assert process.stdout is not None
        assert process.stderr is not None
        # After so many acknowledgements and then a moment, so that the kill falls anywhere.
        for _ in range(drawn.randrange(12)):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            done = int(line)
        time.sleep(drawn.random() ** 2 * 0.4)
        process.kill()
        out, error = process.communicate()
        assert process.returncode == -9, error
        done = int(out.split()[-1]) if out.endswith("\n") and out.split() else done
        with collegium.Library.open(folder) as library:
            done = check(library, done)
    assert done > rounds(12)


def calls_in(trace: Path) -> int:
    """How many calls the shim can fail (tests/index/fault_shim.cc has the layout)."""
    data = trace.read_bytes()
    count = at = 0
    while at < len(data):
        kind = data[at : at + 1]
        (length,) = struct.unpack_from("<I", data, at + 17)
        at += 21 + length
        count += kind in b"cwtsdrm"
    return count


@pytest.mark.skipif(not SHIM.exists(), reason="the C++ tests are not built")
def test_a_full_or_failing_disk_refuses_and_the_library_recovers(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    drawn = draws("disk")
    steps = 12

    def run(folder: Path, **variables: str) -> None:
        process = start(
            folder,
            tiny_encoder,
            1,
            steps,
            "heal",
            LD_PRELOAD=str(SHIM),
            COLLEGIUM_SHIM_FOLDER=str(folder),
            **variables,
        )
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, (variables, error)

    run(tmp_path / "whole", COLLEGIUM_SHIM_TRACE=str(tmp_path / "trace"))
    calls = calls_in(tmp_path / "trace")
    assert calls > 100
    for i in range(rounds(8)):
        folder = tmp_path / f"library{i}"
        fail = f"{(errno.ENOSPC, errno.EIO)[i % 2]}:{drawn.randrange(calls)}"
        run(folder, COLLEGIUM_SHIM_FAIL=fail)
        with collegium.Library.open(folder) as library:
            assert script.versions(library) == script.after(steps), fail
            assert check(library, steps) == steps
