"""From listed files to batches of documents with ids, each refused part with its reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from . import _core
from ._ingest_report import Failure
from .errors import Error, InvalidArgumentError
from .readers import FORMATS, Piece, Problem, ReadOptions, SourceFile, format_of
from .readers.base import SOURCE_FIELD

_DOCUMENT_BYTES = 256  # what a document weighs beside its text
_FAILURES_AT_ONCE = 1000


@dataclass
class Item:
    """A document, a failure, or (neither) the end of a file."""

    document: _core.Document | None = None
    failure: Failure | None = None
    where: str = ""
    source: str = ""  # the file's name below the root
    size: int = 0  # bytes
    position: int = 0  # bytes of all files that are read when this item is


@dataclass
class Batch:
    items: list[Item] = field(default_factory=list)  # with documents
    failures: list[Failure] = field(default_factory=list)
    files: int = 0  # that ended in it
    position: int = 0

    def documents(self) -> list[_core.Document]:
        return [item.document for item in self.items if item.document is not None]


class Reading:
    """The documents of ``files``. A thread may run batches(); then the rest is for afterwards."""

    def __init__(
        self,
        files: list[SourceFile],
        options: ReadOptions,
        format: str | None,
        skip_failures: bool,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._files = files
        self._options = options
        self._format = format
        self._skip_failures = skip_failures
        self.stopped = stopped
        self.digests: set[int] = set()  # of the ids so far: 8 bytes each
        self.whole: set[str] = set()  # names of the files that were read without a failure

    def batches(self, batch_bytes: int) -> Generator[Batch, None, None]:
        """Batches of about ``batch_bytes`` of documents; some may have failures alone.

        What was read before an error that is raised comes first.
        """
        batch = Batch()
        size = 0
        error: Error | None = None
        items = self.items()
        while True:
            try:
                item = next(items, None)
            except Error as raised:
                item, error = None, raised
            if item is None or self.stopped():
                break
            batch.position = item.position
            if item.document is not None:
                batch.items.append(item)
                size += item.size
            elif item.failure is not None:
                batch.failures.append(item.failure)
            else:
                batch.files += 1
            if size >= batch_bytes or len(batch.failures) >= _FAILURES_AT_ONCE:
                yield batch
                batch, size = Batch(position=batch.position), 0
        items.close()
        if error is None or batch.items:
            yield batch
        if error is not None:
            raise error

    def items(self) -> Generator[Item, None, None]:
        before = 0
        for file in self._files:
            read = FORMATS[self._format or format_of(file.path) or "text"]
            failed = False
            try:
                for piece in read(file, self._options):
                    item = self._item(file, piece)
                    item.position = before + min(piece.offset, file.size)
                    failed |= item.failure is not None
                    yield item
            except Error as error:
                if not self._skip_failures:
                    raise
                failed = True
                yield Item(failure=failure_of(str(file.path), error), position=before)
            before += file.size
            if not failed:
                self.whole.add(file.name)
                yield Item(position=before)

    def _item(self, file: SourceFile, piece: Piece | Problem) -> Item:
        where = f"{file.path}{piece.where}"
        try:
            if isinstance(piece, Problem):
                raise InvalidArgumentError(piece.reason)
            return self._document(file, piece, where)
        except InvalidArgumentError as error:
            if not self._skip_failures:
                raise InvalidArgumentError(f"{where}: {error}") from None
            return Item(failure=Failure(where, str(error)))

    def _document(self, file: SourceFile, piece: Piece, where: str) -> Item:
        if not piece.text.strip() and not (piece.part and piece.title.strip()):
            raise InvalidArgumentError("no text")
        if SOURCE_FIELD in piece.metadata:
            raise InvalidArgumentError(f"has a field {SOURCE_FIELD!r}, which holds the file's path")
        id = piece.id
        if id is None:
            id = f"{file.name}#{piece.part}" if piece.part else file.name
        digest = id_digest(id)
        if digest in self.digests:
            raise InvalidArgumentError(f"the id {id!r} occurred before")
        try:
            metadata = json.dumps(
                {SOURCE_FIELD: file.name, **piece.metadata},
                ensure_ascii=False,
                sort_keys=True,
                allow_nan=False,
            )
        except RecursionError:
            raise InvalidArgumentError("its other fields are nested too deeply") from None
        except ValueError as error:
            raise InvalidArgumentError(f"its other fields: {error}") from None
        document = _core.Document(id=id, title=piece.title, text=piece.text, metadata=metadata)
        self.digests.add(digest)
        size = len(piece.text.encode()) + len(metadata) + _DOCUMENT_BYTES
        return Item(document, where=where, source=file.name, size=size)


def failure_of(where: str, error: Error) -> Failure:
    """The failure that ``error`` tells of; its message need not name the place again."""
    return Failure(where, str(error).removeprefix(f"{where}: "))


def id_digest(id: str) -> int:
    data = id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
