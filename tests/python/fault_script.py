"""What a process that is killed, or whose disk fills up, does to a library, step by step.

What must be there after any number of steps is computed here without a library, so that the test
(library_faults_test.py) is an oracle outside the process that was stopped.

    python fault_script.py FOLDER ENCODER FIRST LAST [heal]

does the steps FIRST to LAST and prints the number of each when it is done. With "heal" the file
system beneath (tests/index/fault_shim.cc) fails at some call and from then on: what fails must be
a typed error, reads must go on, and after the disk is healed and the library reopened it goes on.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import collegium

# A document's version is the step that put it last.
State = dict[str, dict[str, int]]

MANY = 1100  # documents of one call: several commits
NEGATIVES = ["hello there", "good morning", "tell me a joke", "count to ten"]


def operation(step: int) -> tuple[str, Any]:
    """What step `step`, from 1, does."""
    if step == 1:
        return "negatives", NEGATIVES
    if step % 9 == 5:
        return "fit", None
    if step % 13 == 7:
        return "compact", None
    if step % 17 == 9:
        return "purge", None
    if step % 11 == 10:
        return "put", ("many", [f"m{i}" for i in range(MANY)])
    name = ("tea", "bicycles")[step % 2]
    if step % 5 == 4:
        return "remove", (name, f"d{(step * 7) % 12}")
    return "put", (name, [f"d{(step * slot) % 12}" for slot in (1, 5, 7)])


def after(steps: int) -> State:
    state: State = {}
    for step in range(1, steps + 1):
        advance(state, step)
    return state


def advance(state: State, step: int) -> None:
    kind, what = operation(step)
    if kind == "put":
        name, ids = what
        state.setdefault(name, {}).update(dict.fromkeys(ids, step))
    elif kind == "remove":
        name, id = what
        state.get(name, {}).pop(id, None)


def document(name: str, id: str, step: int) -> dict[str, Any]:
    return {
        "id": id,
        "title": f"{id} of {name}",
        "text": f"Document {id} of {name} as step {step} wrote it.",
        "step": step,
    }


def names(library: collegium.Library) -> list[str]:
    return [collection.name for collection in library.info().collections]


def do(library: collegium.Library, step: int) -> None:
    kind, what = operation(step)
    if kind == "negatives":
        library.add_negatives(what)
    elif kind == "fit":
        library.fit(seed=step)
    elif kind == "compact":
        library.compact()
    elif kind == "purge":
        library.purge()
    elif kind == "remove":
        name, id = what
        if name in names(library) and id in library.document_ids(name):
            library.remove(name, [id])
    else:
        name, ids = what
        ids = list(dict.fromkeys(ids))
        pairs = [{"query": f"what is {id} of {name}?", "id": id} for id in ids[:3]]
        library.add(name, [document(name, id, step) for id in ids], pairs=pairs)


def version(library: collegium.Library, name: str, id: str) -> int:
    """Of a document that is whole."""
    found = library.document(name, id)
    step = int(found.text.split()[-3])
    expected = document(name, id, step)
    assert (found.title, found.text) == (expected["title"], expected["text"]), found
    assert found.metadata == f'{{"step": {step}}}', found.metadata
    return step


def versions(library: collegium.Library) -> State:
    return {
        name: {id: version(library, name, id) for id in library.document_ids(name)}
        for name in names(library)
    }


def between(state: State, step: int) -> bool:
    """Whether `state` is what step `step`, cut off, may leave: none of it, all, or, of a call that
    commits several times, the first part."""
    before, done = after(step - 1), after(step)
    if state in (before, done):
        return True
    kind, what = operation(step)
    if kind != "put":
        return False
    name, ids = what
    ids = list(dict.fromkeys(ids))
    found = state.get(name, {})
    put = sum(found.get(id) == step for id in ids)
    expected = before.get(name, {}) | dict.fromkeys(ids[:put], step)
    others = {key: value for key, value in before.items() if key != name}
    return state == others | ({name: expected} if name in state else {})


def check_searches(library: collegium.Library, state: State) -> None:
    """A search finds only what is there, and as much of it as was asked for."""
    total = sum(len(documents) for documents in state.values())
    for name in state:
        passages = library.search(f"what is d1 of {name}?", k=20).passages
        assert all(state[p.collection].get(p.document_id) for p in passages)
        assert len(passages) == min(20, total), (len(passages), total)


def main(folder: str, encoder: str, first: int, last: int, heals: bool) -> None:
    shim = ctypes.CDLL(None)
    refused = (collegium.ResourceExhaustedError, collegium.IoError)

    def open_or_create() -> collegium.Library:
        if Path(folder).exists():
            return collegium.Library.open(folder)
        return collegium.Library.create(folder, encoder=encoder)

    try:
        library = open_or_create()
    except refused:
        if not heals:
            raise
        shim.collegium_shim_heal()
        library = open_or_create()
    step = first
    while step <= last:
        try:
            do(library, step)
        except refused:
            if not heals:
                raise
            state = versions(library)
            assert between(state, step), (step, state)
            check_searches(library, state)
            shim.collegium_shim_heal()
            library.reopen()
            assert between(versions(library), step), step
            continue  # the same step again
        print(step, flush=True)
        step += 1
    try:
        library.close()
    except refused:
        if not heals:
            raise


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), len(sys.argv) > 5)
