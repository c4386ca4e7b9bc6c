"""Evidence: what faults do to a corpus, in large numbers (docs/evidence/corpus-faults.md).

    python benchmarks/corpus_faults.py --minutes 60

Runs the slow tests of corpus_damage_test and corpus_fault_test, and library_faults_test.py, again
and again with other seeds and larger counts until the time is over or every target is reached, one
after the other. What was reached is kept in build/evidence/corpus-faults.json under the digest of
the test program and the module: a later run goes on with the next seeds, and another build begins
anew. A failure is recorded
with its seed, never retried, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import collegium
import evidence

STATE = evidence.ROOT / "build" / "evidence" / "corpus-faults.json"

# name: (what it does, the test, rounds of one turn, target)
FAULTS = {
    "kill": (
        "kill -9 at a random moment of add, delete, snapshot, compaction, purge",
        "CorpusDamage.SlowAcknowledgedCommitsSurviveManyKilledWriters",
        100,
        5_000,
    ),
    "power": (
        "power cut: what was not synced is dropped or reordered, sector by sector",
        "CorpusFaults.SlowAPowerCutLosesNothingThatWasSynced",
        200,
        2_000,
    ),
    "crash": (
        "crash at every write, sync and rename of a run; commits in the run",
        "CorpusFaults.SlowACrashAtEveryWriteSyncAndRenameLosesNothing",
        60,
        600,
    ),
    "damage": (
        "a bit flips in a file of any kind, or its end is missing",
        "CorpusDamage.SlowDamageToAnyFileIsCorruptionOrHarmless",
        2_000,
        100_000,
    ),
    "disk": (
        "ENOSPC or EIO at a random call and all after it",
        "CorpusFaults.SlowAFullOrFailingDiskAtAnyCallRefusesAndRecovers",
        50,
        500,
    ),
    "model": (
        "random operations against a map and brute force, restarts at p = 0.001",
        "CorpusFaults.SlowRandomOperationsAnswerLikeAModelAcrossRestarts",
        50_000,
        2_000_000,
    ),
    "threads": (
        "eight threads read, write, snapshot, compact, purge, reopen, back up; seconds",
        "CorpusFaults.SlowEightThreadsReadWriteAndSnapshotTogether",
        60,
        3_600,
    ),
    "library-kill": (
        "kill -9 at a random moment of a library's add, remove, fit, compact, purge",
        "library_faults_test.py::test_what_was_acknowledged_survives_killed_processes",
        25,
        1_000,
    ),
    "library-disk": (
        "ENOSPC or EIO at a random call of a library's and all after it",
        "library_faults_test.py::test_a_full_or_failing_disk_refuses_and_the_library_recovers",
        15,
        300,
    ),
}


def digest(program: Path) -> str:
    found = hashlib.sha256(program.read_bytes())
    found.update(Path(collegium._core.__file__).read_bytes())
    return found.hexdigest()[:16]


def load(program: str) -> dict:
    if STATE.exists():
        state = json.loads(STATE.read_text(encoding="utf-8"))
        if state["program"] == program:
            return state
    return {"program": program, "reached": {}, "failures": []}


def save(state: dict) -> None:
    STATE.parent.mkdir(parents=True, exist_ok=True)
    temporary = STATE.with_suffix(".tmp")
    temporary.write_text(json.dumps(state, indent=1), encoding="utf-8")
    temporary.replace(STATE)


def run_share(program: Path, state: dict, name: str, share: float) -> None:
    _, test, rounds, target = FAULTS[name]
    reached = state["reached"].setdefault(name, {"rounds": 0, "seeds": 0, "seconds": 0.0})
    rounds = max(1, min(int(rounds * share), target - reached["rounds"]))
    seed = 1000 + reached["seeds"]
    environment = os.environ | {
        "COLLEGIUM_FAULT_ROUNDS": str(rounds),
        "COLLEGIUM_FAULT_SEED": str(seed),
    }
    command = [str(program), f"--gtest_filter={test}"]
    if ".py::" in test:
        command = [sys.executable, "-m", "pytest", "-q", f"{evidence.ROOT}/tests/python/{test}"]
        environment["PYTHONPATH"] = str(Path(collegium.__file__).parents[1])
    begun = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    # A filter that matches nothing passes, and would count, as would a test that is skipped.
    passed = done.returncode == 0 and ("[       OK ]" in done.stdout or "1 passed" in done.stdout)
    if not passed:
        lines = [line for line in done.stdout.splitlines() if "Failure" in line or line[:2] == "E "]
        state["failures"].append({"fault": name, "seed": seed, "rounds": rounds, "said": lines[:3]})
    reached["rounds"] += rounds
    reached["seeds"] += 1
    reached["seconds"] += time.monotonic() - begun
    save(state)
    print(f"{name}: {reached['rounds']} of {target}, seed {seed}: {'ok' if passed else 'FAILED'}")


def page(state: dict) -> str:
    lines = [
        evidence.header(
            "Faults of a corpus", "make evidence ONLY=corpus-faults", "1000 and up, by fault"
        ),
        "Each trial ends with opening the corpus and comparing all of it (documents, vectors,"
        " counts, a search, `verify`) with an oracle outside the process. Nothing acknowledged may"
        " be missing, nothing else may be there, and damage must be corruption or do no harm.",
        "",
        "| fault or load | reached | target | seeds | minutes | failures |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, (what, _, _, target) in FAULTS.items():
        reached = state["reached"].get(name, {"rounds": 0, "seeds": 0, "seconds": 0.0})
        failures = sum(failure["fault"] == name for failure in state["failures"])
        lines.append(
            f"| {what} | {reached['rounds']:,} | {target:,} | {reached['seeds']} |"
            f" {reached['seconds'] / 60:.1f} | {failures} |"
        )
    for failure in state["failures"]:
        lines.append(f"\nFailed: {failure['fault']}, seed {failure['seed']}: {failure['said']}")
    lines += ["", "A run can be continued: counts add up for the same test program.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", choices=sorted(FAULTS), action="append")
    parser.add_argument("--share", type=float, default=1.0, help="of the rounds in one turn")
    parser.add_argument(
        "--program",
        type=Path,
        default=evidence.ROOT / "build" / "dev" / "tests" / "index" / "collegium_index_tests",
    )
    arguments = parser.parse_args()
    if not arguments.program.exists():
        raise SystemExit(f"{arguments.program} is missing: build the tests first")
    state = load(digest(arguments.program))
    end = time.monotonic() + 60 * arguments.minutes
    names = arguments.only or list(FAULTS)
    while time.monotonic() < end:
        due = [
            name
            for name in names
            if state["reached"].get(name, {}).get("rounds", 0) < FAULTS[name][3]
        ]
        if not due:
            break
        for name in due:
            if time.monotonic() < end:
                run_share(arguments.program, state, name, arguments.share)
    (evidence.FOLDER / "corpus-faults.md").write_text(page(state), encoding="utf-8")
    if state["failures"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
