"""The commands that keep a library well: copies, damage, repair, room, indexes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ._cli_parts import Command, positive, print_json, print_report, print_text, read_lines
from .library import Library, repair, verify_folder


def _backup(arguments: argparse.Namespace) -> None:
    with Library.open(arguments.library) as library:
        print_report(arguments, library.backup(arguments.folder))


def _verify(arguments: argparse.Namespace) -> int:
    report = verify_folder(
        arguments.library, encoder=arguments.encoder, language_model=arguments.language_model
    )
    print_report(arguments, report)
    return 0 if report.ok else 1


def _repair(arguments: argparse.Namespace) -> None:
    print_report(arguments, repair(arguments.library, arguments.folder))


def _tune(arguments: argparse.Namespace) -> None:
    questions = [] if arguments.questions is None else read_lines(arguments.questions)
    with Library.open(arguments.library) as library:
        report = library.tune(
            arguments.collection,
            kind=arguments.kind,
            target_recall=arguments.target_recall,
            k=arguments.k,
            questions=questions,
            num_samples=arguments.num_samples,
        )
    print_report(arguments, report)


def _compact(arguments: argparse.Namespace) -> None:
    with Library.open(arguments.library) as library:
        library.compact()
    _print_done(arguments, "compacted")


def _purge(arguments: argparse.Namespace) -> None:
    with Library.open(arguments.library) as library:
        library.purge()
    _print_done(arguments, "purged")


def _print_done(arguments: argparse.Namespace, done: str) -> None:
    if arguments.json:
        print_json({"library": str(arguments.library), "done": done})
    else:
        print_text(f"{arguments.library}: {done}")


def _export(arguments: argparse.Namespace) -> None:
    with Library.open(arguments.library, read_only=True) as library:
        documents = library.export(arguments.collection, arguments.file)
    if arguments.json:
        print_json({"collection": arguments.collection, "documents": documents})
    else:
        print_text(f"{arguments.collection}: {documents} documents in {arguments.file}")


def add_operations(command: Command) -> None:
    backup = command(
        "backup",
        _backup,
        "copy the library into a new folder, which opens as it does",
        "  collegium backup --library mylib mylib-monday",
    )
    backup.add_argument("folder", type=Path, help="the new folder")

    verify = command(
        "verify",
        _verify,
        "read everything and say what is damaged (exit code 1 if something is)",
        "  collegium verify --library mylib",
    )
    verify.add_argument("--encoder", help="where a linked encoder is now, if it moved")
    verify.add_argument("--language-model", help="where a linked language model is now")

    repair_ = command(
        "repair",
        _repair,
        "save what can still be read of a damaged library into a new folder",
        "  collegium repair --library mylib mylib-saved",
    )
    repair_.add_argument("folder", type=Path, help="the new folder")

    tune = command(
        "tune",
        _tune,
        "choose a collection's index and its effort by measured recall",
        "  collegium tune --library mylib --collection law --target-recall 0.95",
    )
    tune.add_argument("--collection", required=True)
    tune.add_argument("--kind", choices=("auto", "exact", "hnsw", "ivf"), default="auto")
    tune.add_argument(
        "--target-recall", type=float, default=0.99, help="of what exact search finds (0.99)"
    )
    tune.add_argument("-k", "--k", type=positive, default=10, help="passages that count (10)")
    tune.add_argument(
        "--questions", type=Path, help="a file with one a line; without it passages, perturbed"
    )
    tune.add_argument("--num-samples", type=positive, default=200, help="of these (200)")

    command(
        "compact",
        _compact,
        "give back the room of what was replaced or removed",
        "  collegium compact --library mylib",
    )
    command(
        "purge",
        _purge,
        "rewrite the files so that what was removed is in none of them",
        "  collegium purge --library mylib",
    )

    export = command(
        "export",
        _export,
        "write the documents of a collection as JSON lines",
        "  collegium export --library mylib --collection law law.jsonl",
    )
    export.add_argument("--collection", required=True)
    export.add_argument("file", type=Path, help="the file; replaced if it is there")
