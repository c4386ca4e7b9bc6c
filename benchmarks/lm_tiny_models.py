"""The tests' tiny random language models as lm.load takes them, for evidence that needs many."""

from __future__ import annotations

import json
import shutil
import string
from pathlib import Path
from typing import Any

import evidence

DATA = evidence.ROOT / "tests" / "data"
GGUF = DATA / "gguf_models"
FOLDERS = DATA / "decoders"
WHOLE_FOLDER = DATA / "lm_folder"  # has a tokenizer of its own
SPECIAL = ("<pad>", "<s>", "</s>")
SPACE, LINE_END = "\u0120", "\u010a"  # as byte-level BPE writes them


def tokenizer_json() -> dict[str, Any]:
    """A token for each letter: the models of FOLDERS have 64 tokens and no tokenizer."""
    made: dict[str, Any] = json.loads((WHOLE_FOLDER / "tokenizer.json").read_text("utf-8"))
    tokens = [*SPECIAL, *string.ascii_letters, ",", ".", SPACE, LINE_END]
    made["post_processor"] = None
    made["added_tokens"] = [
        made["added_tokens"][0] | {"id": id, "content": token} for id, token in enumerate(SPECIAL)
    ]
    made["model"]["vocab"] = {token: id for id, token in enumerate(tokens)}
    made["model"]["merges"] = []
    return made


def folder_names() -> list[str]:
    return sorted(path.parent.name for path in FOLDERS.glob("*/config.json"))


def make_folder(name: str, to: Path) -> Path:
    """One of FOLDERS with a tokenizer, in a new folder `to`."""
    shutil.copytree(FOLDERS / name, to)
    (to / "tokenizer.json").write_text(json.dumps(tokenizer_json()), encoding="utf-8")
    return to


def is_mixture(file: Path) -> bool:
    """By config.json or GGUF metadata."""
    if file.suffix == ".gguf":
        return b".expert_count" in file.read_bytes()
    return any("expert" in key for key in json.loads(file.read_text(encoding="utf-8")))


def mixtures(scratch: Path) -> dict[str, Path]:
    """Every mixture of experts among them by name; `scratch` takes what must be made."""
    found = {path.name: path for path in sorted(GGUF.glob("*.gguf")) if is_mixture(path)}
    for name in folder_names():
        if is_mixture(FOLDERS / name / "config.json"):
            found[name] = make_folder(name, scratch / name)
    return found | {"lm_folder": WHOLE_FOLDER}
