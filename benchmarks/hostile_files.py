"""Evidence: what damaged files do (docs/evidence/hostile-files.md, hostile-lm-files.md).

    python benchmarks/hostile_files.py [--page hostile-lm-files] [--mutations 100000]
        [--minutes 60] [--only kind,kind]
    python benchmarks/hostile_files.py [--page hostile-lm-files] --first 123 --mutations 1

Mutation n is made of the seed and n alone. A child process loads it and, if it loads, uses it; the
parent counts what it says, and a child that dies or hangs. What is reached is kept by kind of file in
build/evidence/ and the next run goes on from there; the page says how far it is. With --first it
looks into some mutations and counts nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import collegium
import evidence
import hostile_mutations as mutations
from hostile_targets import PAGES, Target

SEED = 1
MAX_SECONDS = 5.0
MORE_BYTES = 64 << 20  # beyond twice the file
BATCH = 500  # mutations of a kind between two saves
# IoError: a module's folder has a name that the operating system refuses.
TYPED = (
    collegium.CorruptionError,
    collegium.NotSupportedError,
    collegium.NotFoundError,
    collegium.IoError,
)
TYPED_NAMES = [error.__name__ for error in TYPED]


class Mutant:
    """Makes mutation n in a folder of its own."""

    def __init__(self, page: str, scratch: Path, seed: int) -> None:
        self.seed = seed
        self.scratch = scratch
        self.by_kind: dict[str, list[Target]] = {}
        made = scratch / "made"
        made.mkdir()
        for target in PAGES[page].targets(made):
            self.by_kind.setdefault(target.kind, []).append(target)
        self.kinds = list(self.by_kind)

    def numbers(self, kind: str, total: int) -> range:
        """Of the first `total` mutations those of a kind."""
        return range(self.kinds.index(kind), total, len(self.kinds))

    def target(self, n: int) -> tuple[Target, random.Random]:
        rng = random.Random(f"{self.seed}/{n}")
        of_kind = self.by_kind[self.kinds[n % len(self.kinds)]]
        return of_kind[n // len(self.kinds) % len(of_kind)], rng

    def make(self, n: int) -> tuple[Target, Path, int]:
        """The target, what its `use` is given, and the bytes of the damaged file."""
        target, rng = self.target(n)
        folder = self.scratch / f"{n}"
        shutil.copytree(target.folder, folder)
        path = folder / target.file
        good = path.read_bytes()
        mutate = mutations.blind if rng.random() < 0.3 else target.mutate
        bad = mutate(rng, good)
        path.unlink()
        path.write_bytes(bad)
        return target, folder if target.whole else path, len(bad)


def memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"no {field} in /proc/self/status")


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def child(page: str, scratch: Path, seed: int, numbers: range) -> None:
    """Says what each mutation did, one line of JSON each."""
    libc = ctypes.CDLL(None)
    collegium.set_num_threads(1)
    mutant = Mutant(page, scratch, seed)
    # Memory without end is an error to see, not this machine's.
    limit = memory("VmSize") + (2 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for n in numbers:
        target, given, size = mutant.make(n)
        libc.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        before, began = memory("VmRSS"), cpu_seconds()
        print(json.dumps({"n": n, "kind": target.kind, "began": True}), flush=True)
        try:
            target.use(given)
            outcome = "loaded"
        except collegium.Error as error:
            outcome = type(error).__name__
            if not str(error):
                outcome += " without a message"
        except BaseException as error:  # whatever it is, it is no typed error
            outcome = f"{type(error).__module__}.{type(error).__name__}: {error}"[:300]
        line = {
            "n": n,
            "kind": target.kind,
            "outcome": outcome,
            "typed": outcome in ["loaded", *TYPED_NAMES, *(e.__name__ for e in target.also)],
            "seconds": cpu_seconds() - began,
            "bytes": memory("VmHWM") - before,
            "allowed": 2 * size + MORE_BYTES,
        }
        print(json.dumps(line), flush=True)
        shutil.rmtree(scratch / f"{n}")


class State:
    """What is reached, on disk after each batch."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        if path.exists():
            self.values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        else:
            self.values = {"seed": seed, "commits": {}, "kinds": {}, "failures": []}
        if self.values["seed"] != seed:
            raise SystemExit(f"{path}: is of seed {self.values['seed']}, asked for {seed}")

    def kind(self, name: str) -> dict[str, Any]:
        new = {"done": 0, "outcomes": {}, "seconds": 0.0, "bytes": 0}
        kind: dict[str, Any] = self.values["kinds"].setdefault(name, new)
        return kind

    def count(self, line: dict[str, Any]) -> None:
        kind, outcome = self.kind(line["kind"]), line["outcome"]
        if not line["typed"]:
            self.values["failures"].append(line)
            outcome = "failure"
        elif line["seconds"] > MAX_SECONDS or line["bytes"] > line["allowed"]:
            self.values["failures"].append(line)
        kind["outcomes"][outcome] = kind["outcomes"].get(outcome, 0) + 1
        kind["seconds"] = max(kind["seconds"], line["seconds"])
        kind["bytes"] = max(kind["bytes"], line["bytes"])

    def save(self, kind: str, done: int, commit: str) -> None:
        self.kind(kind)["done"] += done
        self.values["commits"][commit] = self.values["commits"].get(commit, 0) + done
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.values, indent=1), encoding="utf-8")
        partial.replace(self.path)


def used_by(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_children(page: str, seed: int, numbers: range) -> Iterator[dict[str, Any]]:
    """What became of each mutation; a child that dies is followed by another."""
    while numbers:
        with tempfile.TemporaryDirectory() as scratch:
            limits = [str(limit) for limit in (numbers.start, numbers.stop, numbers.step)]
            options = ["--page", page, "--seed", str(seed), "--child", scratch, *limits]
            process = subprocess.Popen(
                [sys.executable, __file__, *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None and process.stderr is not None
            open_line: dict[str, Any] | None = None
            hung = False
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                while True:
                    began, wall = used_by(process.pid), time.monotonic()
                    while not selector.select(timeout=0.5):
                        # Of CPU time; a child that waits for nothing is given a minute.
                        slow = used_by(process.pid) - began > 2 * MAX_SECONDS
                        hung = open_line is not None and (slow or time.monotonic() - wall > 60)
                        if hung:
                            break
                    text = "" if hung else process.stdout.readline()
                    if not text:
                        break
                    line = json.loads(text)
                    if line.get("began"):
                        open_line = line
                        continue
                    open_line = None
                    numbers = numbers[1:]
                    yield line
            if hung:
                process.kill()
            _, message = process.communicate()
            if open_line is None and process.returncode == 0:
                return
            if open_line is None:
                raise SystemExit(f"a child failed before it loaded anything:\n{message}")
            outcome = "hung" if hung else f"died: {process.returncode}: {message[-300:]}"
            numbers = numbers[1:]
            nothing = {"typed": False, "seconds": 0.0, "bytes": 0, "allowed": 0}
            yield {**open_line, "outcome": outcome, **nothing}


def page_text(name: str, state: State, total: int) -> str:
    values, page = state.values, PAGES[name]
    seen_names = {outcome for kind in values["kinds"].values() for outcome in kind["outcomes"]}
    names = TYPED_NAMES + sorted(seen_names - {"loaded", "failure", *TYPED_NAMES})
    rows = []
    sums: Counter[str] = Counter()
    for kind, seen in values["kinds"].items():
        outcomes = Counter(seen["outcomes"])
        count = sum(outcomes.values())
        sums.update(outcomes)
        cells = [f"{outcomes[outcome]:,}" for outcome in ("loaded", *names)]
        rows.append(
            f"| {kind} | {count:,} | {' | '.join(cells)} | {outcomes['failure']} | "
            f"{seen['seconds']:.2f} | {seen['bytes'] / 2**20:.0f} |"
        )
    count = sum(sums.values())
    cells = [f"{sums[outcome]:,}" for outcome in ("loaded", *names)]
    rows.append(f"| all | {count:,} | {' | '.join(cells)} | {sums['failure']} | | |")
    failures = [
        f"- mutation {line['n']} ({line['kind']}): {line['outcome']}, {line['seconds']:.2f} s, "
        f"{line['bytes'] / 2**20:.0f} MB"
        for line in values["failures"][:50]
    ]
    commits = [f"{commit}: {done:,}" for commit, done in values["commits"].items()]
    return "\n".join(
        [
            evidence.header(page.title, f"make evidence ONLY={name}", str(SEED)),
            f"Reached: **{count:,} of {total:,}** mutations. By commit: {'; '.join(commits)}.",
            "",
            "Files of `tests/data`, damaged blindly (cut, flipped, moved bytes; 3 in 10) or with "
            f"knowledge of the format (`benchmarks/hostile_*.py`: {page.damage}). Each is "
            "loaded in a child process and, if it loads, used. Seconds are of CPU time; memory is the "
            f"peak beyond what the process had, allowed is twice the file and "
            f"{MORE_BYTES >> 20} MB.",
            "",
            f"| file | mutations | loaded | {' | '.join(names)} | failures | most seconds | "
            "most MB |",
            f"|---|{'--:|' * (len(names) + 5)}",
            *rows,
            "",
            "A failure is a crash, a hang, an error of another type, more than "
            f"{MAX_SECONDS:.0f} s or more memory than allowed: {len(values['failures'])}.",
            "",
            *failures,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", choices=sorted(PAGES), default="hostile-files")
    parser.add_argument("--mutations", type=int, help="of all kinds of the page together")
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES", "60")))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", default="", help="kinds, by comma")
    parser.add_argument("--first", type=int, help="look at mutations from here on, count nothing")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    name, seed = arguments.page, arguments.seed
    if arguments.child:
        scratch, *limits = arguments.child
        child(name, Path(scratch), seed, range(*(int(limit) for limit in limits)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        mutant = Mutant(name, Path(scratch), seed)
    only = [kind for kind in arguments.only.split(",") if kind] or mutant.kinds
    for kind in only:
        if kind not in mutant.kinds:
            raise SystemExit(f"--only: {kind!r} is none of {', '.join(mutant.kinds)}")
    total = arguments.mutations or PAGES[name].mutations
    if arguments.first is not None:
        for kind in only:
            numbers = mutant.numbers(kind, arguments.first + total)
            done = len(mutant.numbers(kind, arguments.first))
            for line in run_children(name, seed, numbers[done:]):
                print(json.dumps(line))
        return
    until = time.monotonic() + 60 * arguments.minutes
    state = State(evidence.ROOT / "build" / "evidence" / f"{name}.json", seed)
    commit = evidence.commit()
    while time.monotonic() < until:
        left = {kind: mutant.numbers(kind, total)[state.kind(kind)["done"] :] for kind in only}
        kind = max(left, key=lambda kind: len(left[kind]))
        numbers = left[kind][:BATCH]
        if not numbers:
            break
        failures = len(state.values["failures"])
        for line in run_children(name, seed, numbers):
            state.count(line)
        state.save(kind, len(numbers), commit)
        done = state.kind(kind)["done"]
        print(f"{kind}: {done:,}, {len(state.values['failures'])} failures", flush=True)
        for line in state.values["failures"][failures:]:
            print(f"  {json.dumps(line)}", flush=True)
    evidence.write(name, page_text(name, state, total))


if __name__ == "__main__":
    main()
