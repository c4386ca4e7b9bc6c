"""A generation that another thread makes, as an iterator of its pieces."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from .errors import CancelledError, FailedPreconditionError

if TYPE_CHECKING:
    from ._core import Generation

# Called with each piece of text as it is made; returning False stops the generation.
TokenCallable = Callable[[str], "bool | None"]


class Flag:
    """Ends a long call on another thread: once set, and when the program ends."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def go_on(self, *_: object) -> bool:
        # The interpreter waits for the other thread when the main one has ended.
        return not self._set and threading.main_thread().is_alive()


def _work(
    run: Callable[..., Generation], flag: Flag, pieces: queue.SimpleQueue[str | None], end: _End
) -> None:
    def on_token(piece: str) -> bool:
        pieces.put(piece)
        return flag.go_on()

    def progress(stage: str, done: int, total: int) -> bool:
        # Once there is text, on_token ends it with a result that says "cancelled".
        return stage != "prompt" or flag.go_on()

    try:
        end.result = run(on_token=on_token, progress=progress)
    except BaseException as error:  # shown by the thread that iterates
        end.error = error
    finally:
        pieces.put(None)


class _End:
    result: Generation | None = None
    error: BaseException | None = None


class TextStream(Iterator[str]):
    """The pieces of one generation as they are made. Closing it, leaving its ``with``, or dropping
    it cancels the generation. One thread iterates; any may close.
    """

    def __init__(self, run: Callable[..., Generation]) -> None:
        """Use :meth:`LanguageModel.stream`."""
        self._flag = Flag()
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._end = _End()
        self._exhausted = False
        # The thread holds nothing of this object, so that dropping it is seen.
        self._thread = threading.Thread(
            target=_work, args=(run, self._flag, self._pieces, self._end), name="collegium-stream"
        )
        self._thread.start()

    def __next__(self) -> str:
        if self._exhausted:
            raise StopIteration
        try:
            piece = self._pieces.get()
        except BaseException:  # Ctrl-C
            self.cancel()
            raise
        if piece is not None:
            return piece
        self._exhausted = True
        error = self._end.error
        if error is not None and not (isinstance(error, CancelledError) and self._flag._set):
            raise error
        raise StopIteration

    @property
    def result(self) -> Generation:
        """The whole generation, once the last piece was taken.

        Raises:
            FailedPreconditionError: it is not done yet, or was closed before its first token.
        """
        if self._end.result is None:
            raise FailedPreconditionError("the generation has no result yet; take all its pieces")
        return self._end.result

    def cancel(self) -> None:
        """Ends the generation soon; does not wait for it."""
        self._flag.set()

    def close(self) -> None:
        """Ends the generation: at the next token, or within a prompt after a few. Waits for it."""
        self.cancel()
        self._exhausted = True
        self._thread.join()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_flag"):
            self.cancel()
