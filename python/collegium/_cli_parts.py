"""What the commands share: what they print, and how they read numbers and names."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._arguments import whole_number
from .errors import InvalidArgumentError

# Makes a command: name, what runs it, help, example, and whether it takes --library.
Command = Callable[..., argparse.ArgumentParser]


def print_text(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")


def print_json(value: Any) -> None:
    print_text(json.dumps(value, ensure_ascii=False, indent=2))


def print_report(arguments: argparse.Namespace, report: Any) -> None:
    print_text(report.to_json() if arguments.json else str(report))


def progress_of(arguments: argparse.Namespace) -> bool | None:
    return False if arguments.quiet else None


def count(text: str) -> int:
    return _whole_number(text, at_least=0)


def positive(text: str) -> int:
    return _whole_number(text, at_least=1)


def _whole_number(text: str, at_least: int) -> int:
    try:
        return whole_number(int(text), "the value", at_least=at_least)
    except ValueError:  # InvalidArgumentError too
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not a whole number from {at_least} up"
        ) from None


def names(text: str) -> list[str]:
    listed = [name for name in text.split(",") if name]
    if not listed:
        raise argparse.ArgumentTypeError("expected names, with commas between them")
    return listed


def read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{path}: not UTF-8: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
