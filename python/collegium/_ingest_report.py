"""What :meth:`Library.add_files` reports."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .display import text_html

KEPT_FAILURES = 1000
SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Failure:
    """A file, or a part of one, that was skipped."""

    where: str  # path, or path:line
    reason: str


@dataclass
class IngestReport:
    """What became of the files; it draws itself.

    ``failed`` counts files and parts of files; ``failures`` holds the first 1000 of them.
    """

    collection: str
    files: int = 0  # read without a failure
    ignored: int = 0  # in folders and by patterns: of no known kind
    added: int = 0  # documents
    replaced: int = 0
    unchanged: int = 0  # kept with their vectors
    removed: int = 0  # by prune
    passages: int = 0  # embedded now
    truncated: int = 0  # of them, as in AddReport
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def documents(self) -> int:
        """That were read and are in the collection now."""
        return self.added + self.replaced + self.unchanged

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "failures": [vars(failure) for failure in self.failures]}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def __str__(self) -> str:
        counts = [
            *[(self.added, "added"), (self.replaced, "replaced"), (self.unchanged, "unchanged")],
            *[(self.removed, "removed"), (self.failed, "failed")],
            *[(self.ignored, "files of no known kind"), (self.truncated, "passages truncated")],
        ]
        line = f"{self.collection}: {self.files} files, {self.documents} documents"
        if said := ", ".join(f"{count} {what}" for count, what in counts if count):
            line += f" ({said})"
        line += f", {self.passages} passages embedded, {self.seconds:.1f} s"
        shown = [f"  {f.where}: {f.reason}" for f in self.failures[:SHOWN_FAILURES]]
        more = self.failed - len(shown)
        return "\n".join([line, *shown, *([f"  and {more} more"] if more > 0 else [])])

    def _repr_html_(self) -> str:
        return text_html(self)

    def note(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self.failed += 1
            if len(self.failures) < KEPT_FAILURES:
                self.failures.append(failure)
