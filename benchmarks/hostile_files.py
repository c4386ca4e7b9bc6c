"""Evidence: what damaged files do (docs/evidence/hostile-files.md).

    python benchmarks/hostile_files.py [--mutations 100000] [--minutes 60] [--only kind,kind]

Mutation n is made of the seed and n alone. A child process loads it and, if it loads, uses it; the
parent counts what it says, and a child that dies or hangs. What is reached is kept in
build/evidence/ and the next run goes on from there; the page says how far it is.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import collegium
import evidence
import hostile_mutations as mutations

SEED = 1
MAX_SECONDS = 5.0
MORE_BYTES = 64 << 20  # beyond twice the file
DATA = evidence.ROOT / "tests" / "data"
TEXTS = ["The river bends, 12 \tpm.", "\u00e9e\u0301\ufdfa\u1100\u1161 \U0001f469\u200d\U0001f4bb"]
# IoError: a module's folder has a name that the operating system refuses.
TYPED = (
    collegium.CorruptionError,
    collegium.NotSupportedError,
    collegium.NotFoundError,
    collegium.IoError,
)
TYPED_NAMES = [error.__name__ for error in TYPED]


@dataclasses.dataclass(frozen=True)
class Target:
    """A file to damage: in a copy of `folder`, loaded and used by `use`."""

    kind: str
    folder: Path
    file: str
    mutate: mutations.Mutate
    use: Callable[[Path], object]


def use_tokenizer(tokenizer: collegium.text.Tokenizer) -> None:
    for text in TEXTS:
        ids = tokenizer.encode(text, max_tokens=16).ids
        tokenizer.decode(ids)
    tokenizer.encode_pair(*TEXTS)


def use_sentencepiece(path: Path) -> None:
    tokenizer = collegium.text.load_sentencepiece(path)
    for text in TEXTS:
        tokenizer.decode(tokenizer.encode(text, max_tokens=16).ids)


def use_encoder(folder: Path) -> None:
    number = sum(folder.name.encode())
    compute = ("auto", "fp32", "int8")[number % 3]
    collegium.Encoder.load(folder, compute=compute).encode(TEXTS, kind="query")


def use_packed(folder: Path) -> None:
    collegium.Encoder.load(folder).encode(TEXTS)


def use_head(path: Path) -> None:
    head = collegium.HeadAdapter.load(path)
    if head.dim <= 1024:
        vectors = collegium.HeadAdapter.identity(head.dim).weight[:1]
        head.apply(vectors)


def use_lora(encoder: collegium.Encoder, folder: Path) -> None:
    experts = collegium.ExpertSet(encoder)
    experts.set_lora("a", collegium.LoraAdapter.load(folder, encoder))
    experts.encode(TEXTS, experts=["a"] * len(TEXTS))


def targets(scratch: Path) -> Iterator[Target]:
    """All of them, in an order that stays; `scratch` takes what must be made first."""
    for folder in sorted(path.parent for path in DATA.glob("tokenizers/*/tokenizer.json")):
        yield Target(
            "tokenizer.json",
            folder,
            "tokenizer.json",
            mutations.json_file,
            lambda path: use_tokenizer(collegium.text.load_tokenizer_json(path)),
        )
    encoders = [DATA / "encoder/plain", *sorted((DATA / "encoder/families").glob("*/"))]
    for folder in encoders:
        for path in sorted(folder.rglob("*")):
            file = str(path.relative_to(folder))
            if path.suffix == ".safetensors":
                yield Target("safetensors", folder, file, mutations.safetensors, use_encoder)
            elif path.suffix == ".json":
                yield Target("config.json", folder, file, mutations.json_file, use_encoder)
    for folder in sorted(path.parent for path in DATA.glob("encoder/loras/*/*/*.safetensors")):
        base = folder.parent.name
        family = collegium.Encoder.load(DATA / "encoder/families" / base)

        def use(path: Path, family: collegium.Encoder = family) -> None:
            use_lora(family, path)

        yield Target("LoRA", folder, "adapter_model.safetensors", mutations.safetensors, use)
        yield Target("LoRA", folder, "adapter_config.json", mutations.json_file, use)
    for low_rank in (False, True):
        folder = scratch / f"head-{low_rank}"
        folder.mkdir()
        full = collegium.HeadAdapter.identity(24)
        if low_rank:
            rows = full.weight[:3]
            head = collegium.HeadAdapter.create_low_rank(rows, rows.T.copy(), full.bias)
        else:
            head = full
        head.save(folder / "head.adapter")
        yield Target("head adapter", folder, "head.adapter", mutations.enveloped, use_head)
    for family in ("plain", "families/modernbert", "families/nomic-published"):
        for compute in ("fp32", "int8"):
            folder = scratch / f"packed-{Path(family).name}-{compute}"
            collegium.Encoder.load(DATA / "encoder" / family, compute=compute).convert(folder)
            yield Target("packed encoder", folder, "model.packed", mutations.enveloped, use_packed)
    for name in ("unigram", "bpe"):
        folder = scratch / name
        folder.mkdir()
        shutil.copy(DATA / f"{name}.model", folder / "spiece.model")
        yield Target(
            "SentencePiece",
            folder,
            "spiece.model",
            mutations.sentencepiece,
            use_sentencepiece,
        )


class Mutant:
    """Makes mutation n in a folder of its own."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.seed = seed
        self.scratch = scratch
        self.by_kind: dict[str, list[Target]] = {}
        made = scratch / "made"
        made.mkdir()
        for target in targets(made):
            self.by_kind.setdefault(target.kind, []).append(target)
        self.kinds = list(self.by_kind)

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
        is_folder = target.use in (use_encoder, use_packed) or target.kind == "LoRA"
        return target, folder if is_folder else path, len(bad)


def memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"no {field} in /proc/self/status")


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def child(scratch: Path, seed: int, begin: int, end: int, kinds: set[str]) -> None:
    """Says what each mutation did, one line of JSON each."""
    libc = ctypes.CDLL(None)
    collegium.set_num_threads(1)
    mutant = Mutant(scratch, seed)
    # Memory without end is an error to see, not this machine's.
    limit = memory("VmSize") + (2 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for n in range(begin, end):
        if mutant.kinds[n % len(mutant.kinds)] not in kinds:
            continue
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
            self.values = {"seed": seed, "next": 0, "commits": {}, "kinds": {}, "failures": []}
        if self.values["seed"] != seed:
            raise SystemExit(f"{path}: is of seed {self.values['seed']}, asked for {seed}")

    def count(self, line: dict[str, Any]) -> None:
        kind = self.values["kinds"].setdefault(
            line["kind"], {"outcomes": {}, "seconds": 0.0, "bytes": 0}
        )
        outcome = line["outcome"]
        if outcome not in [*TYPED_NAMES, "loaded"]:
            self.values["failures"].append(line)
            outcome = "failure"
        elif line["seconds"] > MAX_SECONDS or line["bytes"] > line["allowed"]:
            self.values["failures"].append(line)
        kind["outcomes"][outcome] = kind["outcomes"].get(outcome, 0) + 1
        kind["seconds"] = max(kind["seconds"], line["seconds"])
        kind["bytes"] = max(kind["bytes"], line["bytes"])

    def save(self, end: int, commit: str, done: int) -> None:
        self.values["next"] = end
        self.values["commits"][commit] = self.values["commits"].get(commit, 0) + done
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.values, indent=1), encoding="utf-8")
        partial.replace(self.path)


def used_by(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_children(seed: int, begin: int, end: int, only: list[str]) -> Iterator[dict[str, Any]]:
    """What became of each mutation in [begin, end); a child that dies is followed by another."""
    while begin < end:
        with tempfile.TemporaryDirectory() as scratch:
            options = ["--child", scratch, str(begin), str(end), "--seed", str(seed)]
            process = subprocess.Popen(
                [sys.executable, __file__, *options, "--only", ",".join(only)],
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
                    begin = line["n"] + 1
                    yield line
            if hung:
                process.kill()
            _, message = process.communicate()
            if open_line is None and process.returncode == 0:
                return
            if open_line is None:
                raise SystemExit(f"a child failed before it loaded anything:\n{message}")
            outcome = "hung" if hung else f"died: {process.returncode}: {message[-300:]}"
            begin = open_line["n"] + 1
            yield {**open_line, "outcome": outcome, "seconds": 0.0, "bytes": 0, "allowed": 0}


def page(state: State, total: int) -> str:
    values = state.values
    rows = []
    sums: Counter[str] = Counter()
    for kind, seen in values["kinds"].items():
        outcomes = Counter(seen["outcomes"])
        count = sum(outcomes.values())
        sums.update(outcomes)
        cells = [f"{outcomes[name]:,}" for name in ("loaded", *TYPED_NAMES)]
        rows.append(
            f"| {kind} | {count:,} | {' | '.join(cells)} | {outcomes['failure']} | "
            f"{seen['seconds']:.2f} | {seen['bytes'] / 2**20:.0f} |"
        )
    count = sum(sums.values())
    cells = [f"{sums[name]:,}" for name in ("loaded", *TYPED_NAMES)]
    rows.append(f"| all | {count:,} | {' | '.join(cells)} | {sums['failure']} | | |")
    failures = [
        f"- mutation {line['n']} ({line['kind']}): {line['outcome']}, {line['seconds']:.2f} s, "
        f"{line['bytes'] / 2**20:.0f} MB"
        for line in values["failures"][:50]
    ]
    commits = [f"{commit}: {done:,}" for commit, done in values["commits"].items()]
    return "\n".join(
        [
            evidence.header("Hostile files", "make evidence ONLY=hostile-files", str(SEED)),
            f"Reached: **{count:,} of {total:,}** mutations. By commit: {'; '.join(commits)}.",
            "",
            "Files of `tests/data`, damaged blindly (cut, flipped, moved bytes; 3 in 10) or with "
            "knowledge of the format (`benchmarks/hostile_mutations.py`: other values, keys, "
            "shapes, types, offsets, units of a charsmap; checksums made to fit). Each is loaded "
            "in a child process and, if it loads, used. Seconds are of CPU time; memory is the "
            f"peak beyond what the process had, allowed is twice the file and "
            f"{MORE_BYTES >> 20} MB.",
            "",
            f"| file | mutations | loaded | {' | '.join(TYPED_NAMES)} | failures | most seconds | "
            "most MB |",
            f"|---|{'--:|' * (len(TYPED_NAMES) + 5)}",
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
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES", "60")))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", default="", help="kinds, by comma; counts nothing")
    parser.add_argument("--first", type=int, help="with --only or alone: from here, counts nothing")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    only = [kind for kind in arguments.only.split(",") if kind]
    if arguments.child:
        scratch, begin, end = arguments.child
        child(Path(scratch), arguments.seed, int(begin), int(end), set(only))
        return
    with tempfile.TemporaryDirectory() as scratch:
        kinds = Mutant(Path(scratch), arguments.seed).kinds
    if only or arguments.first is not None:  # to look into something
        begin = arguments.first or 0
        for line in run_children(arguments.seed, begin, begin + arguments.mutations, only or kinds):
            print(json.dumps(line))
        return
    until = time.monotonic() + 60 * arguments.minutes
    state = State(evidence.ROOT / "build" / "evidence" / "hostile-files.json", arguments.seed)
    commit = evidence.commit()
    while state.values["next"] < arguments.mutations and time.monotonic() < until:
        begin = state.values["next"]
        end = min(begin + 1000, arguments.mutations)
        failures = len(state.values["failures"])
        for line in run_children(arguments.seed, begin, end, kinds):
            state.count(line)
        state.save(end, commit, end - begin)
        print(f"{end:,}: {len(state.values['failures'])} failures", flush=True)
        for line in state.values["failures"][failures:]:
            print(f"  {json.dumps(line)}", flush=True)
    evidence.write("hostile-files", page(state, arguments.mutations))


if __name__ == "__main__":
    main()
