"""The commands ``evaluate`` and ``compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import evaluation
from ._cli_parts import Command, count, positive, print_report, print_text, progress_of
from .library import Library


def _judged(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    if not name or not equals or not source:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLLECTION=SOURCE")
    return name, source


def _read_judged(source: str) -> list[evaluation.JudgedQuery]:
    if Path(source).is_dir():
        return evaluation.judged_from_beir(source)
    topics, comma, qrels = source.partition(",")
    if comma:
        return evaluation.judged_from_trec(topics, qrels)
    return evaluation.judged_from_jsonl(source)


def _evaluate(arguments: argparse.Namespace) -> None:
    judged: dict[str, list[evaluation.JudgedQuery]] = {}
    for name, source in arguments.judged:
        judged.setdefault(name, []).extend(_read_judged(source))
    with Library.open(arguments.library) as library:
        report = library.evaluate(
            split=arguments.split,
            seed=arguments.seed,
            resamples=arguments.resamples,
            worst=arguments.worst,
            judged=judged or None,
            progress=progress_of(arguments),
        )
    if arguments.html is not None:
        arguments.html.write_text(report.to_html_page(), encoding="utf-8")
    if arguments.markdown:
        print_text(report.to_markdown())
    else:
        print_report(arguments, report)


def add_evaluate(command: Command) -> None:
    parser = command(
        "evaluate",
        _evaluate,
        "measure every method on held-out queries",
        "  collegium evaluate --library mylib --split test --html report.html\n"
        "  collegium evaluate --library mylib --split test --json > report.json\n"
        "  collegium evaluate --library mylib --judged law=data/law-beir --judged faq=asked.jsonl",
    )
    parser.add_argument("--split", choices=("train", "dev", "test"), default="dev")
    parser.add_argument(
        "--judged",
        type=_judged,
        action="append",
        default=[],
        metavar="COLLECTION=SOURCE",
        help="judge by these instead of the library's pairs: a BEIR folder (its test split), "
        "TOPICS,QRELS of TREC, or JSON lines of {query, id, gain}; may be repeated",
    )
    parser.add_argument("--seed", type=count, default=1)
    parser.add_argument(
        "--resamples", type=positive, default=2000, help="of the paired bootstrap (2000)"
    )
    parser.add_argument("--worst", type=count, default=100, help="queries that are listed (100)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that needs no net")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")


def _compare(arguments: argparse.Namespace) -> None:
    if arguments.qrels is None:
        report = evaluation.compare(
            arguments.a,
            arguments.b,
            method=arguments.method,
            method_b=arguments.method_b,
            view="per_collection" if arguments.per_collection else "merged",
            resamples=arguments.resamples,
            seed=arguments.seed,
        )
    else:
        report = evaluation.compare_runs(
            evaluation.read_run(arguments.a),
            evaluation.read_run(arguments.b),
            evaluation.read_judgments(
                arguments.qrels, keep_irrelevant=arguments.measure == "bpref"
            ),
            measure=arguments.measure,
            names=(str(arguments.a), str(arguments.b)),
            resamples=arguments.resamples,
            seed=arguments.seed,
        )
    print_report(arguments, report)


def add_compare(command: Command) -> None:
    parser = command(
        "compare",
        _compare,
        "test whether one report or run is better than another, query by query",
        "  collegium compare before.json after.json\n"
        "  collegium compare report.json report.json --method plain --method-b 'bound + prior'\n"
        "  collegium compare a.run b.run --qrels qrels.txt --measure recall@100",
        library=False,
    )
    parser.add_argument("a", type=Path, metavar="A", help="what evaluate --json printed, or a run")
    parser.add_argument("b", type=Path, metavar="B")
    parser.add_argument("--method", help="the row of both (what each library answers with)")
    parser.add_argument("--method-b", metavar="METHOD", help="the row of B, if another")
    parser.add_argument(
        "--per-collection", action="store_true", help="each collection alone, not all merged"
    )
    parser.add_argument("--qrels", type=Path, help="A and B are TREC runs, judged by these")
    parser.add_argument(
        "--measure",
        default="ndcg@10",
        help="of runs: ndcg, map, mrr, recall, precision or success with a cut-off, or bpref",
    )
    parser.add_argument("--seed", type=count, default=1)
    parser.add_argument("--resamples", type=positive, default=2000)
