"""Evidence: language models against their reference, and against themselves
(docs/evidence/lm-parity.md).

    python benchmarks/lm_parity.py [--only perplexity,greedy,bits,trace,cold] [--bytes 30000]
        [--prompts 20] [--cases 10000] [--pairs 31]

What a section found is kept in build/evidence/lm-parity.json with commit, machine and instruction
set; a later run of some sections replaces these alone, and the page is made of all that is there.
Numbers alone are written, no text.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import collegium
import evidence
import lm_parity_bits
import lm_parity_times

STATE = evidence.ROOT / "build" / "evidence" / "lm-parity.json"

Values = dict[str, Any]


class Section(NamedTuple):
    title: str
    run: Callable[[argparse.Namespace], Values]
    lines: Callable[[Values], list[str]]


# torch is there for these two alone.
def run_perplexity(arguments: argparse.Namespace) -> Values:
    import lm_parity_transformers

    return lm_parity_transformers.run_perplexity(arguments.bytes)


def run_greedy(arguments: argparse.Namespace) -> Values:
    import lm_parity_transformers

    return lm_parity_transformers.run_greedy(arguments.prompts, arguments.seed)


def perplexity_lines(values: Values) -> list[str]:
    import lm_parity_transformers

    return lm_parity_transformers.perplexity_lines(values)


def greedy_lines(values: Values) -> list[str]:
    import lm_parity_transformers

    return lm_parity_transformers.greedy_lines(values)


SECTIONS = {
    "perplexity": Section("Perplexity against transformers", run_perplexity, perplexity_lines),
    "greedy": Section("Greedy tokens against transformers", run_greedy, greedy_lines),
    "bits": Section(
        "The same bits alone and in batches",
        lambda arguments: lm_parity_bits.run(arguments.cases, arguments.seed),
        lm_parity_bits.lines,
    ),
    "trace": Section(
        "What a trace costs",
        lambda arguments: lm_parity_times.run_trace(arguments.pairs),
        lm_parity_times.trace_lines,
    ),
    "cold": Section("Cold start", lambda _: lm_parity_times.run_cold(), lm_parity_times.cold_lines),
}


def keep(state: dict[str, Values], name: str, values: Values) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    state[name] = values | {
        "commit": evidence.commit(),
        "machine": evidence.machine(),
        "isa": collegium.isa(),
        "date": f"{now:%Y-%m-%d}",
    }
    STATE.parent.mkdir(parents=True, exist_ok=True)
    partial = STATE.with_suffix(".partial")
    partial.write_text(json.dumps(state, indent=1), encoding="utf-8")
    partial.replace(STATE)


def page(state: dict[str, Values], seed: int) -> str:
    made = [
        evidence.header(
            "Language models against their reference", "make evidence ONLY=lm-parity", str(seed)
        ),
        "Of the machine and commit that wrote the page; each section says of which it is.",
        "",
    ]
    for name, section in SECTIONS.items():
        made += [f"## {section.title}", ""]
        if name not in state:
            made += [f"Not measured yet (`--only {name}`).", ""]
            continue
        values = state[name]
        made += [
            f"{values['machine']}, ISA {values['isa']}, commit {values['commit']}, {values['date']}.",
            "",
            *section.lines(values),
            "",
        ]
    return "\n".join(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by comma")
    parser.add_argument("--bytes", type=int, default=30_000, help="of each domain, for perplexity")
    parser.add_argument("--prompts", type=int, default=20, help="of each model, for greedy tokens")
    parser.add_argument("--cases", type=int, default=10_000, help="requests in batches")
    parser.add_argument("--pairs", type=int, default=31, help="with and without a trace")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    for name in names:
        if name not in SECTIONS:
            raise SystemExit(f"--only: {name!r} is none of {', '.join(SECTIONS)}")
    state = json.loads(STATE.read_text(encoding="utf-8")) if STATE.exists() else {}
    for name in names:
        print(f"-- {name}", flush=True)
        keep(state, name, SECTIONS[name].run(arguments))
    evidence.write("lm-parity", page(state, arguments.seed))


if __name__ == "__main__":
    main()
