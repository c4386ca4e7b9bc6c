"""Progress bars and what notebooks draw. Writes to stderr, and only while a long call runs."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import _core

# Called as progress(stage, done, total); total is 0 when it is not known. Returning False cancels.
ProgressCallable = Callable[[str, int, int], "bool | None"]
# None: a bar if someone watches. True, False: always, never. Or a callable of your own.
ProgressOption = ProgressCallable | bool | None


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel. Imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def someone_watches(stream: TextIO | None = None) -> bool:
    """Whether a bar on ``stream`` (stderr) would be seen: a terminal or a notebook."""
    stream = sys.stderr if stream is None else stream
    return stream is not None and (stream.isatty() or in_notebook())


class ProgressBar:
    """One line that rewrites itself, from the first half second of a long call to its end."""

    WIDTH = 24
    DELAY_SECONDS = 0.5
    INTERVAL_SECONDS = 0.1

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self._title = title
        self._stream = sys.stderr if stream is None else stream
        self._began = time.monotonic()
        self._stage_began = self._began
        self._drawn = 0.0
        self._length = 0
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._stage_began = stage, now
        too_early = now - self._began < self.DELAY_SECONDS
        too_soon = now - self._drawn < self.INTERVAL_SECONDS and done != total
        if not too_early and not too_soon:
            self._drawn = now
            self._write(self._line(done, total, now))

    def _line(self, done: int, total: int, now: float) -> str:
        head = f"{self._title} · {self._stage}"
        if total <= 0:
            return f"{head} {done:,}"
        full = min(self.WIDTH, self.WIDTH * done // total)
        bar = "█" * full + "░" * (self.WIDTH - full)
        seconds = now - self._stage_began
        left = f" · {seconds * (total - done) / done:.0f} s left" if 0 < done < total else ""
        return f"{head} {bar} {done:,}/{total:,}{left}"

    def _write(self, line: str) -> None:
        self._stream.write("\r" + line.ljust(self._length))
        self._stream.flush()
        self._length = len(line)

    def close(self) -> None:
        """Takes the line away again."""
        if self._length:
            self._stream.write("\r" + " " * self._length + "\r")
            self._stream.flush()
            self._length = 0


@contextmanager
def progress_for(option: ProgressOption, title: str) -> Iterator[ProgressCallable | None]:
    """The callable that a long call named ``title`` should report to."""
    if callable(option):
        yield option
        return
    if option is False or (option is None and not someone_watches()):
        yield None
        return
    bar = ProgressBar(title)
    try:
        yield bar
    finally:
        bar.close()


def _percent_bar(share: float) -> str:
    width = round(100 * max(0.0, min(1.0, share)))
    return (
        '<div style="background:#8884;width:8em;height:.7em">'
        f'<div style="background:#4a7;width:{width}%;height:.7em"></div></div>'
    )


def route_html(route: _core.Route) -> str:
    """A route as a table: collections, experts, probabilities; and why."""
    rows = "".join(
        f"<tr><td>{html.escape(entry.collection)}</td><td>{html.escape(entry.expert)}</td>"
        f"<td>{entry.probability:.2f}</td><td>{_percent_bar(entry.probability)}</td>"
        f"<td>{'again' if entry.searched_again else ''}</td><td>{entry.shift:+.3f}</td></tr>"
        for entry in route.entries
    )
    abstained = " · abstained" if route.abstained else ""
    return (
        "<table><thead><tr><th>collection</th><th>expert</th><th>P</th><th></th>"
        f"<th>searched</th><th>shift</th></tr></thead><tbody>{rows}</tbody></table>"
        f"<div>{html.escape(route.policy)} · router {html.escape(route.router)} · margin "
        f"{route.margin:.2f} · familiarity {route.familiarity:.2f}{abstained}</div>"
        f"<div>{html.escape(route.reason)}</div>"
    )


def generation_html(generation: _core.Generation) -> str:
    """What was written, and why it ended; how sure the model was, where that was kept."""
    reason = generation.finish_reason
    if generation.stop:
        reason += f" at {generation.stop!r}"
    parts = [f"ended: {reason}", f"{generation.prompt_tokens:,} + {len(generation.ids):,} tokens"]
    sure = generation.log_probabilities
    if sure.size:
        parts.append(f"mean log P {float(sure.mean()):.2f}")
    if generation.routing:
        parts.append(generation.routing)
    parts.append(f"{generation.flops / 1e9:.1f} GFLOP")
    return (
        f'<div style="white-space:pre-wrap">{html.escape(generation.text)}</div>'
        f'<div style="color:#888">{html.escape(" · ".join(parts))}</div>'
    )


def text_html(value: object) -> str:
    """``str(value)`` in fixed width, for reports that are text."""
    return f"<pre>{html.escape(str(value))}</pre>"
