"""Requests on one language model as they come."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from . import _core
from ._core import GenerateOptions, Generation, SchedulerStats, Submission
from ._lm_options import Message, Options, chat_of, options_of
from ._text_stream import TextStream, TokenCallable
from .errors import BusyError

if TYPE_CHECKING:
    from typing import Unpack

    from .lm import LanguageModel


class Scheduler:
    """Runs requests on one language model as they come: those that run share every reading of the
    weights (continuous batching), join between two passes and leave when they are done. Each result
    is that of :meth:`LanguageModel.generate` alone, to the last bit.

    Requests start in the order they came, and none overtakes one that waits for memory; of those
    that run each gets a token in every pass. What they begin with is read once: from one another,
    and from those that are done, as long as that is kept. Any number of threads may submit.

    Example::

        with lm.Scheduler(model, max_memory_bytes=2 << 30) as scheduler:
            submissions = [scheduler.submit(prompt, max_new_tokens=50) for prompt in prompts]
            for submission in submissions:
                print(submission.result().text)

    Args:
        max_memory_bytes: bound of the keys and values of the requests that run and of what is kept,
            as :meth:`LanguageModel.generation_bytes` counts. What could grow beyond what is free
            waits; 0: no limit.
        max_running: requests that run together, at most 256.
        max_waiting: requests that wait; whoever submits more waits for one to go.
        max_kept_bytes: keys and values kept of requests that are done, for those that begin in the
            same way: one passage, one system prompt, the next turn of a chat. Given back as soon as
            requests need the memory.

    Raises:
        InvalidArgumentError: a bound is out of range.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        max_memory_bytes: int = 0,
        max_running: int = 64,
        max_waiting: int = 1024,
        max_kept_bytes: int = 256 << 20,
    ) -> None:
        self.model = model
        self._core = _core.GenerationScheduler(
            model._core,
            max_memory_bytes=max_memory_bytes,
            max_running=max_running,
            max_waiting=max_waiting,
            max_kept_bytes=max_kept_bytes,
        )
        # Also when the program ends, before the interpreter its thread may call goes.
        self._close = weakref.finalize(self, self._core.close)

    def submit(
        self,
        prompt: str,
        *,
        options: GenerateOptions | None = None,
        on_token: TokenCallable | None = None,
        timeout: float | None = None,
        **changes: Unpack[Options],
    ) -> Submission:
        """A request, which runs when its turn comes: ``submission.result()`` waits for it,
        ``submission.cancel()`` ends it.

        Args:
            options: the defaults, if it is left out; ``changes`` are keywords of :class:`Options`.
            on_token: called with each piece of text, by the scheduler's thread, so it should be
                quick; returning False stops.
            timeout: seconds to wait where ``max_waiting`` requests wait already; None: as long as
                it takes.

        Raises:
            InvalidArgumentError: an option is out of range, or the prompt does not fit.
            ResourceExhaustedError: it could never fit ``max_memory_bytes``.
            BusyError: the timeout is over.
            FailedPreconditionError: the scheduler is closed.
        """
        return self._core.submit(
            prompt, options=options_of(options, changes), on_token=on_token, timeout=timeout
        )

    def submit_chat(
        self,
        messages: Sequence[Message],
        *,
        options: GenerateOptions | None = None,
        on_token: TokenCallable | None = None,
        timeout: float | None = None,
        **changes: Unpack[Options],
    ) -> Submission:
        """:meth:`submit` of what :meth:`LanguageModel.chat` would answer."""
        prompt, made = chat_of(self.model, messages, options, changes)
        return self.submit(prompt, options=made, on_token=on_token, timeout=timeout)

    def stream(
        self, prompt: str, *, options: GenerateOptions | None = None, **changes: Unpack[Options]
    ) -> TextStream:
        """The pieces of a request as they are made; closing the iterator cancels it."""
        return TextStream(partial(_run, self._core, prompt, options_of(options, changes)))

    async def agenerate(
        self, prompt: str, *, options: GenerateOptions | None = None, **changes: Unpack[Options]
    ) -> Generation:
        """A request's result without a thread of its own; cancelling the task ends the request.
        Where ``max_waiting`` requests wait it waits for one to go."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        wanted = options_of(options, changes)
        while True:
            try:
                submission = self._core.submit(
                    prompt,
                    options=wanted,
                    on_done=partial(loop.call_soon_threadsafe, done.set),
                    timeout=0,
                )
                break
            except BusyError:
                await asyncio.sleep(0.01)
        try:
            await done.wait()
        finally:
            submission.cancel()
        return submission.result()

    @property
    def stats(self) -> SchedulerStats:
        """Requests, tokens and bytes, now and so far."""
        return self._core.stats

    def close(self) -> None:
        """Cancels what waits and runs, and waits for the scheduler's thread."""
        self._close()

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        stats = self.stats
        return f"<Scheduler of {self.model!r}, {stats.running} running, {stats.waiting} waiting>"


def _run(
    core: _core.GenerationScheduler,
    prompt: str,
    options: GenerateOptions,
    *,
    on_token: TokenCallable,
    progress: Callable[[str, int, int], bool],
) -> Generation:
    submission = core.submit(prompt, options=options, on_token=on_token)
    while not submission.wait(0.05):
        if not progress("prompt", 0, 0):
            submission.cancel()
    return submission.result()
