"""The commands ``pairs`` and ``train-lora``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from . import pairs, train_lora
from ._cli_parts import (
    Command,
    count,
    names,
    positive,
    print_json,
    print_report,
    print_text,
    progress_of,
)
from ._core import Pair
from .library import Library

# Options of some kinds of pairs alone: what is not given is left to its function.
_OF_KINDS = ("per_document", "min_words", "max_words", "words", "first_sentences")
_OF_LOG = ("on_unknown", "min_clicks", "graded")


def _write_pairs(path: Path, made: Iterable[Pair]) -> None:
    with path.open("w", encoding="utf-8") as out:
        for pair in made:
            row = {
                "query": pair.query,
                "id": pair.document_id,
                "split": pair.split,
                "gain": pair.gain,
                "kind": pair.kind,
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _pairs(arguments: argparse.Namespace) -> None:
    given: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in (*_OF_KINDS, *_OF_LOG)
        if getattr(arguments, name) is not None
    }
    with Library.open(arguments.library, read_only=arguments.out is not None) as library:
        made = pairs.make(
            library,
            arguments.collection,
            kind=arguments.kind,
            log=arguments.log,
            dev_share=arguments.dev_share,
            seed=arguments.seed,
            **given,
        )
        if arguments.out is not None:
            _write_pairs(arguments.out, made.pairs)
        elif made.pairs:
            library.add(arguments.collection, [], pairs=made.pairs, progress=progress_of(arguments))
    if arguments.json:
        print_json({"collection": arguments.collection, **made.to_dict()})
    else:
        print_text(f"{arguments.collection}: {made}")


def add_pairs(command: Command) -> None:
    parser = command(
        "pairs",
        _pairs,
        "make pairs to learn from where nobody has judged any",
        "  collegium pairs --library mylib --collection manuals --kind headings\n"
        "  collegium pairs --library mylib --collection manuals --kind cloze --per-document 1\n"
        "  collegium pairs --library mylib --collection faq --kind log --log clicks.jsonl "
        "--on-unknown skip\n"
        "  collegium pairs --library mylib --collection faq --kind keywords --out pairs.jsonl",
    )
    parser.add_argument("--collection", required=True, help="whose documents they ask for")
    parser.add_argument(
        "--kind",
        choices=get_args(pairs.Kind),
        required=True,
        help="titles, headings and first sentences; sentences (inverse cloze); tf-idf; clicks",
    )
    parser.add_argument(
        "--dev-share", type=float, default=0.1, help="of documents whose pairs are for dev (0.1)"
    )
    parser.add_argument("--seed", type=count, default=1)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write JSON lines instead of adding them"
    )
    parser.add_argument("--per-document", type=positive, help="at most so many of one document")
    parser.add_argument("--min-words", type=positive, help="of headings and cloze sentences")
    parser.add_argument("--max-words", type=positive, help="of cloze sentences (64)")
    parser.add_argument("--words", type=positive, help="of a query of keywords (5)")
    parser.add_argument(
        "--first-sentences",
        action=argparse.BooleanOptionalAction,
        help="with headings: first sentences too (they are)",
    )
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="JSON lines of {query, id, count}: what was clicked; .gz too",
    )
    parser.add_argument(
        "--on-unknown",
        choices=("raise", "skip"),
        help="what a click on a document that is not there does (raise)",
    )
    parser.add_argument("--min-clicks", type=positive, help="leave out what has fewer (1)")
    parser.add_argument(
        "--graded", action=argparse.BooleanOptionalAction, help="gains grow with clicks (they do)"
    )


def _train_lora(arguments: argparse.Namespace) -> None:
    options = train_lora.LoraOptions(
        rank=arguments.rank,
        alpha=arguments.alpha,
        modules=tuple(arguments.modules),
        learning_rate=arguments.learning_rate,
        batch_size=arguments.batch_size,
        max_epochs=arguments.max_epochs,
        negatives=arguments.negatives,
        seed=arguments.seed,
    )
    with Library.open(arguments.library, read_only=True) as library:
        report = train_lora.train(
            library,
            arguments.collection,
            arguments.folder,
            options=options,
            progress=progress_of(arguments),
        )
    print_report(arguments, report)


def add_train_lora(command: Command) -> None:
    defaults = train_lora.LoraOptions()
    parser = command(
        "train-lora",
        _train_lora,
        "train a LoRA for a collection's questions, with torch (the extra [train])",
        "  collegium train-lora --library mylib --collection law --folder law-lora\n"
        "  collegium train-lora --library mylib --collection law --folder law-lora --rank 16 "
        "--modules query,key,value",
    )
    parser.add_argument("--collection", required=True, help="whose pairs it learns from")
    parser.add_argument(
        "--folder", type=Path, required=True, help="the new PEFT folder; none if dev does not gain"
    )
    parser.add_argument("--rank", type=positive, default=defaults.rank)
    parser.add_argument("--alpha", type=float, default=defaults.alpha)
    parser.add_argument(
        "--modules",
        type=names,
        default=list(defaults.modules),
        help="that it adapts: a,b (query,value)",
    )
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument(
        "--batch-size", type=positive, default=defaults.batch_size, help="queries a step"
    )
    parser.add_argument("--max-epochs", type=positive, default=defaults.max_epochs)
    parser.add_argument(
        "--negatives",
        type=positive,
        default=defaults.negatives,
        help="passages that a query is told from in a step",
    )
    parser.add_argument("--seed", type=count, default=defaults.seed)
