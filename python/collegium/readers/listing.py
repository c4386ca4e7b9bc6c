"""Which files are meant: files, folders and patterns, in an order that is always the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import Error, InvalidArgumentError, IoError, NotFoundError
from .base import SourceFile

PathLike = str | os.PathLike[str]


@dataclass
class Listing:
    files: list[SourceFile] = field(default_factory=list)
    ignored: int = 0  # in folders and by patterns: files that no reader knows


def list_files(
    paths: PathLike | Iterable[PathLike],
    root: Path,
    is_known: Callable[[Path], bool],
    on_error: Callable[[Path, Error], None],
) -> Listing:
    """The files of ``paths``, each once, as they are given and by name within a folder.

    Patterns know ``*``, ``?``, ``[...]`` and ``**`` (any folders); a file whose name has such
    characters is meant by its name. Hidden files and folders are left out unless they are named,
    links to folders are not followed.

    Args:
        root: absolute; names are relative to it.
        on_error: is told of a folder that cannot be read; what it does not raise is skipped.

    Raises:
        NotFoundError: a path is not there, or a pattern has no match.
        InvalidArgumentError: a file is not below ``root``, or is of no known kind and named.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    listing = Listing()
    names: set[str] = set()
    count = 0

    def take(path: Path, named: bool) -> None:
        name = _name_of(path, root)
        if name in names:
            return
        if not named and not is_known(path):
            listing.ignored += 1
            return
        names.add(name)
        listing.files.append(SourceFile(path, name, path.stat().st_size))

    for given in paths:
        count += 1
        path = Path(given)
        kind = _kind(path)
        if kind == "file":
            if not is_known(path):
                raise InvalidArgumentError(
                    f"{path}: unknown kind of file {path.suffix!r}; give format="
                )
            take(path, named=True)
        elif kind == "folder":
            for file in _walk(path, on_error):
                take(file, named=False)
        elif kind == "other":
            raise InvalidArgumentError(f"{path}: neither a file nor a folder")
        elif not any(mark in str(path) for mark in "*?["):
            raise NotFoundError(f"{path}: no such file or folder")
        else:
            found = False
            for file in _matches(path, on_error):
                found = True
                take(file, named=False)
            if not found:
                raise NotFoundError(f"{path}: no file matches")
    if not count:
        raise InvalidArgumentError("paths is empty")
    return listing


def _name_of(path: Path, root: Path) -> str:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would follow links)
    try:
        return absolute.relative_to(root).as_posix()
    except ValueError:
        raise InvalidArgumentError(
            f"{path} is not below the root {root}; ids are paths relative to it: "
            f"give root={str(absolute.parent)!r} or a folder above"
        ) from None


def _kind(path: Path) -> str:
    """ "file", "folder", "other" (a device, a pipe, a link that leads nowhere) or "" for none."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return "other" if path.is_symlink() else ""
    if stat.S_ISREG(mode):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "other"


def _entries(
    folder: Path, on_error: Callable[[Path, Error], None]
) -> tuple[list[Path], list[Path]]:
    """(files, folders) in a folder, by name; without links to folders."""
    files: list[Path] = []
    folders: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(folder / entry.name)
                elif _kind(folder / entry.name) == "file":
                    files.append(folder / entry.name)
    except OSError as error:
        on_error(folder, IoError(f"{folder}: {error.strerror or error}"))
    return sorted(files), sorted(folders)


def _walk(
    folder: Path, on_error: Callable[[Path, Error], None], hidden: bool = False
) -> Iterator[Path]:
    waiting = [folder]
    while waiting:
        files, folders = _entries(waiting.pop(), on_error)
        yield from (file for file in files if hidden or not file.name.startswith("."))
        waiting += reversed([f for f in folders if hidden or not f.name.startswith(".")])


def _folders(folder: Path, on_error: Callable[[Path, Error], None]) -> Iterator[Path]:
    """The folder and all below it."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        yield here
        _, folders = _entries(here, on_error)
        waiting += reversed([f for f in folders if not f.name.startswith(".")])


def _matches(pattern: Path, on_error: Callable[[Path, Error], None]) -> Iterator[Path]:
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if any(mark in part for mark in "*?["))
    start = Path(*parts[:first])
    if start.is_dir():
        yield from _below(start, parts[first:], on_error)


def _below(
    folder: Path, parts: tuple[str, ...], on_error: Callable[[Path, Error], None]
) -> Iterator[Path]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        if not rest:
            yield from _walk(folder, on_error)
            return
        while rest and rest[0] == "**":
            rest = rest[1:]
        for below in _folders(folder, on_error):
            yield from _below(below, rest or ("*",), on_error)
        return
    files, folders = _entries(folder, on_error)
    for path in folders if rest else files:
        if path.name.startswith(".") and not part.startswith("."):
            continue
        if fnmatchcase(path.name, part):
            if rest:
                yield from _below(path, rest, on_error)
            else:
                yield path
