"""An iterator that works in a thread of its own, one item ahead of whoever takes the items."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Runs ``items`` in a thread; at most one finished item waits while the next is made.

    To be used in a ``with`` statement: leaving it stops the thread at its next item and waits until
    it has closed the generator, so that no file stays open behind a Ctrl-C; but not longer than
    five seconds, for an item may take minutes: the thread then ends on its own. What ``items``
    raises is raised to the taker.
    """

    WAIT_SECONDS = 5.0

    def __init__(self, items: Generator[T, None, None]) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=1)
        self._stop = threading.Event()
        # A daemon does not hold up the interpreter's exit.
        self._thread = threading.Thread(target=self._run, name="collegium-read", daemon=True)

    def stopped(self) -> bool:
        """Whether nobody takes items any more: a generator may look, to end sooner."""
        return self._stop.is_set()

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._taken()

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(self.WAIT_SECONDS)

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
        except BaseException as error:  # it is the taker's to handle
            end = error
        finally:
            self._items.close()
        self._put((None, end))

    def _put(self, item: tuple[T | None, BaseException | None]) -> bool:
        """False if nobody wants it any more."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def _taken(self) -> Iterator[T]:
        while True:
            item, error = self._queue.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
