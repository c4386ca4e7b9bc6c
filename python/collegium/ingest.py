"""Files and folders into a collection: what :meth:`Library.add_files` does.

Memory. While a batch of documents is embedded, the next is read in a thread (and the library commits
512 passages in another while it embeds the next ones), so what is held is at
most four batches of ``batch_bytes`` (one is added, which copies it, one waits, one grows), and one
file of at most ``max_file_bytes`` (of JSON lines and CSV, one line), which a reader may need thirty
times if it is hostile, a few times if not: as bytes, as text, as what it is parsed to (of PDF: what
pypdf needs). Beside that, some hundred bytes for each file and
each document of the call, to find ids that occur twice.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from . import _core
from ._arguments import whole_number
from ._ingest_report import Failure, IngestReport
from ._read_ahead import ReadAhead
from ._reading import Batch, Item, Reading, id_digest
from .display import ProgressCallable
from .errors import CancelledError, Error, InvalidArgumentError, NotFoundError
from .readers import FORMATS, ReadOptions, format_of
from .readers.base import SOURCE_FIELD
from .readers.listing import Listing, PathLike, list_files

__all__ = ["Failure", "IngestReport", "ReadOptions", "add_files", "read_files"]

Format = Literal["text", "markdown", "html", "jsonl", "csv", "pdf"]
OnError = Literal["raise", "skip"]

REMOVED_AT_ONCE = 512
_DOCUMENT_0 = re.compile(r"document 0(?: \('.*?'\))?:? ?")


def read_options(
    *,
    id_field: str | None = None,
    title_field: str | None = None,
    text_field: str | Iterable[str] | None = None,
    encoding_errors: str = "strict",
    max_file_bytes: int = 64 << 20,
) -> ReadOptions:
    """The arguments of :meth:`Library.add_files`, checked."""
    _check_one_of("encoding_errors", encoding_errors, ("strict", "replace"))
    return ReadOptions(
        id_field=id_field,
        title_field=title_field,
        text_fields=(text_field,) if isinstance(text_field, str) else tuple(text_field or ()),
        encoding_errors="replace" if encoding_errors == "replace" else "strict",
        max_file_bytes=whole_number(max_file_bytes, "max_file_bytes", at_least=1, at_most=1 << 30),
    )


def read_files(
    paths: PathLike | Iterable[PathLike],
    *,
    root: PathLike | None = None,
    format: Format | None = None,
    id_field: str | None = None,
    title_field: str | None = None,
    text_field: str | Iterable[str] | None = None,
    encoding_errors: Literal["strict", "replace"] = "strict",
    max_file_bytes: int = 64 << 20,
) -> Iterator[_core.Document]:
    """The documents that :meth:`Library.add_files` would add, lazily: to look at them, or to change
    or choose among them on their way into :meth:`Library.add`.

    The arguments are those of ``add_files``. The first failure is raised.
    """
    options = read_options(
        id_field=id_field,
        title_field=title_field,
        text_field=text_field,
        encoding_errors=encoding_errors,
        max_file_bytes=max_file_bytes,
    )
    listing = _listing(paths, root, format, None)
    for item in Reading(listing.files, options, format, skip_failures=False).items():
        if item.document is not None:
            yield item.document


def add_files(
    core: _core.Library,
    collection: str,
    paths: PathLike | Iterable[PathLike],
    *,
    root: PathLike | None,
    format: Format | None,
    options: ReadOptions,
    on_error: OnError,
    prune: bool,
    batch_bytes: int,
    progress: ProgressCallable | None,
) -> IngestReport:
    """See :meth:`Library.add_files`."""
    began = time.monotonic()
    batch_bytes = whole_number(batch_bytes, "batch_bytes", at_least=1, at_most=1 << 30)
    _check_one_of("on_error", on_error, ("raise", "skip"))
    report = IngestReport(collection)
    listing = _listing(paths, root, format, report if on_error == "skip" else None)
    report.ignored = listing.ignored
    reading = Reading(listing.files, options, format, skip_failures=on_error == "skip")
    total = sum(file.size for file in listing.files)
    adder = _Adder(core, report, progress, total)
    batches = ReadAhead(reading.batches(batch_bytes))
    reading.stopped = batches.stopped
    with_refused: set[str] = set()  # files
    with batches as ready:
        for batch in ready:
            refused = adder.add(batch)
            if refused and on_error == "raise":
                raise InvalidArgumentError(f"{refused[0][0].where}: {refused[0][1]}")
            for item, reason in refused:
                with_refused.add(item.source)
                report.note([Failure(item.where, reason)])
    reading.whole -= with_refused
    report.files = len(reading.whole)
    if prune:
        report.removed = _prune(core, collection, reading, listing, _absolute(root))
    report.seconds = time.monotonic() - began
    return report


class _Adder:
    """Adds batches and says how far it is, in kilobytes of the files."""

    def __init__(
        self,
        core: _core.Library,
        report: IngestReport,
        progress: ProgressCallable | None,
        total: int,
    ) -> None:
        self._core = core
        self._report = report
        self._progress = progress
        self._total = total
        self._position = 0
        self._is_made = False  # the collection, by this call if need be
        self._raised: InvalidArgumentError | None = None  # by the progress callable

    def add(self, batch: Batch) -> list[tuple[Item, str]]:
        """The documents that the library refuses, and why; the others are added."""
        self._report.note(batch.failures)
        refused: list[tuple[Item, str]] = []
        if batch.items or not self._is_made:
            try:
                self._add(batch.documents(), batch.position)
            except InvalidArgumentError as error:
                if error is self._raised:
                    raise
                # Nothing of the batch was added: find out which it was.
                self._core.add(self._report.collection, [], [])
                refused = self._add_one_by_one(batch.items)
        self._position = batch.position
        if not self._say(self._position):
            raise CancelledError(f"asked to stop; {self._report.documents} documents are done")
        return refused

    def _add_one_by_one(self, items: list[Item]) -> list[tuple[Item, str]]:
        refused: list[tuple[Item, str]] = []
        for item in items:
            try:
                if item.document is not None:
                    self._add([item.document], item.position)
            except InvalidArgumentError as error:
                if error is self._raised:
                    raise
                refused.append((item, _DOCUMENT_0.sub("", str(error), count=1)))
        return refused

    def _add(self, documents: list[_core.Document], end: int) -> None:
        begin = self._position

        def inner(stage: str, done: int, total: int) -> bool:
            try:
                return self._say(begin + (end - begin) * done // max(1, total))
            except InvalidArgumentError as error:  # of the callable, not of a document
                self._raised = error
                return False

        try:
            added = self._core.add(
                self._report.collection,
                documents,
                [],
                progress=None if self._progress is None else inner,
            )
        except CancelledError:
            if self._raised is not None:
                raise self._raised from None
            raise
        self._is_made = True
        report = self._report
        report.unchanged += added.unchanged
        report.replaced += added.replaced
        report.added += added.documents - added.unchanged - added.replaced
        report.passages += added.passages
        report.truncated += added.truncated

    def _say(self, position: int) -> bool:
        if self._progress is None:
            return True
        # Rounded up, so that the last call is at 100 %.
        done, total = -(-position // 1024), -(-self._total // 1024)
        return self._progress("kB", done, total) is not False


def _prune(
    core: _core.Library, collection: str, reading: Reading, listing: Listing, root: Path
) -> int:
    """Removes what came from files and is not there any more; how many documents.

    A document whose file was read without a failure and did not give it, or whose file is gone.
    """
    failed = {file.name for file in listing.files} - reading.whole
    gone: list[str] = []
    for id in core.document_ids(collection):
        if id_digest(id) in reading.digests:
            continue
        source = _source_of(core, collection, id)
        if source is None or source in failed:
            continue
        if source in reading.whole or not os.path.lexists(root / source):
            gone.append(id)
    for i in range(0, len(gone), REMOVED_AT_ONCE):
        core.remove(collection, gone[i : i + REMOVED_AT_ONCE])
    return len(gone)


def _source_of(core: _core.Library, collection: str, id: str) -> str | None:
    """The file a document came from; None if it did not come from one."""
    try:
        metadata = core.document(collection, id).metadata
    except NotFoundError:  # another thread removed it
        return None
    source = json.loads(metadata).get(SOURCE_FIELD) if metadata else None
    return source if isinstance(source, str) else None


def _listing(
    paths: PathLike | Iterable[PathLike],
    root: PathLike | None,
    format: str | None,
    report: IngestReport | None,
) -> Listing:
    """Without a report, a folder that cannot be read is an error."""
    if format is not None:
        _check_one_of("format", format, tuple(FORMATS))

    def unreadable(path: Path, error: Error) -> None:
        if report is None:
            raise error
        report.note([Failure(str(path), str(error).removeprefix(f"{path}: "))])

    def is_known(path: Path) -> bool:
        return format is not None or format_of(path) is not None

    return list_files(paths, _absolute(root), is_known, unreadable)


def _absolute(root: PathLike | None) -> Path:
    return Path(os.path.abspath("." if root is None else os.fspath(root)))  # noqa: PTH100


def _check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidArgumentError(f"{name} is {value!r}, expected one of {list(allowed)}")
