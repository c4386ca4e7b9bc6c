"""A page's title and its blocks.

Headings become "## heading", list items "- item", preformatted parts blocks of code, rows of tables
"cell | cell". Scripts, styles, navigation, controls and what is hidden are left out. A table that
lays out a page (cells with headings, several paragraphs or tables in them) is read as its cells'
contents.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from . import markup

SKIPPED_TAGS = frozenset(
    "script style xmp iframe noembed noframes template nav svg button select textarea datalist "
    "object audio video canvas".split()
)
# What DocBook, Doxygen, MediaWiki, Sphinx and their like give to navigation alone.
SKIPPED_CLASSES = frozenset(
    "navheader navfooter nav_table navbar navigation toctree-wrapper sphinxsidebar headerlink "
    "mw-editsection mw-jump-link printfooter catlinks noprint".split()
)
_VOID = frozenset(
    "area base br col embed hr img input link meta param source track wbr frame".split()
)
_BLOCKS = frozenset(
    "p nav div li ul ol dl dt dd pre blockquote section article aside main header footer body figure "
    "figcaption details summary address center hr form fieldset caption table tr td th thead "
    "tbody tfoot h1 h2 h3 h4 h5 h6 option".split()
)
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
# A cell or a row ends where the next one begins, whatever is still open in it.
_ROW_PARENTS = frozenset({"table", "tbody", "thead", "tfoot"})
_CLOSED_BY = {
    "tr": _ROW_PARENTS,
    "td": _ROW_PARENTS | {"tr"},
    "th": _ROW_PARENTS | {"tr"},
    "tbody": frozenset({"table"}),
    "thead": frozenset({"table"}),
    "tfoot": frozenset({"table"}),
}
_TABLE_TAGS = frozenset({"table", "caption", *_CLOSED_BY})
_SCOPES = frozenset({"table", "td", "th", "caption"})
# What ends where one of its kind begins, and a paragraph where any block does.
_ENDED_BY_KIND = frozenset({"li", "dt", "dd", "option"})
_MAX_OPEN = 1000  # tags within tags; in deeper ones, a tag ends where the next begins
_MAX_TABLES = 16  # tables within tables; deeper ones are read as paragraphs
_MAX_HEADING = 500  # characters; a longer one was not closed
_BREAK = "\0"  # a <br> among texts, which hold no NUL
# At the head of a line these would begin a heading or a block of code.
_MARKS = re.compile(r"^(?=#{1,6}(?:[ \t]|$)|`{3}|~{3})", re.MULTILINE)


@dataclass(slots=True)
class Block:
    kind: Literal["heading", "paragraph", "item", "code", "table"]
    text: str
    level: int = 0  # of a heading


@dataclass
class Page:
    title: str
    blocks: list[Block]

    def to_markdown(self) -> str:
        lines: list[str] = []
        before = ""
        for block in self.blocks:
            if lines and not (block.kind == before == "item"):
                lines.append("")
            lines.append(_markdown(block))
            before = block.kind
        return "\n".join(lines)


def _markdown(block: Block) -> str:
    if block.kind == "heading":
        return f"{'#' * block.level} {block.text}"
    if block.kind == "item":
        return "- " + _MARKS.sub(r"\\", block.text).replace("\n", "\n  ")
    if block.kind == "code":
        longest = max((len(run) for run in re.findall("`{3,}", block.text)), default=2)
        fence = "`" * (longest + 1)
        return f"{fence}\n{block.text}\n{fence}"
    return _MARKS.sub(r"\\", block.text)


def parse(
    page: str,
    *,
    skipped_tags: Collection[str] = SKIPPED_TAGS,
    skipped_classes: Collection[str] = SKIPPED_CLASSES,
) -> Page:
    """The title and the blocks of a page. Linear in its length, however it is nested."""
    builder = _Builder(skipped_tags, skipped_classes)
    for token in markup.scan(page):
        builder.take(token)
    return builder.finish()


class _Table:
    """What an open table has so far."""

    def __init__(self) -> None:
        self.cells: list[list[Block]] = []  # of the open row
        self._done: list[Block] = []

    def target(self) -> list[Block]:
        """Where a block goes: the open cell, or beside the rows (a caption)."""
        return self.cells[-1] if self.cells else self._done

    def end_row(self) -> None:
        cells, self.cells = self.cells, []
        if not any(cells):
            return
        if all(len(cell) <= 1 and all(b.kind == "paragraph" for b in cell) for cell in cells):
            row = " | ".join("".join(b.text for b in cell).replace("\n", " ") for cell in cells)
            self._done.append(Block("table", row))
        else:
            for cell in cells:
                self._done.extend(cell)

    def blocks(self) -> list[Block]:
        """Neighbouring rows are one block."""
        out: list[Block] = []
        for is_row, group in itertools.groupby(self._done, lambda block: block.kind == "table"):
            blocks = list(group)
            out += [Block("table", "\n".join(b.text for b in blocks))] if is_row else blocks
        return out


class _Builder:
    """Takes tokens, makes blocks. Of the open tags it knows what the HTML standard's scopes need:
    an end tag within a cell ends nothing outside the cell."""

    def __init__(self, skipped_tags: Collection[str], skipped_classes: Collection[str]) -> None:
        self._skipped_tags = frozenset(skipped_tags)
        self._skipped_classes = frozenset(skipped_classes)
        self._title: list[str] = []
        self._blocks: list[Block] = []
        self._text: list[str] = []
        self._open: list[tuple[str, bool, bool]] = []  # name, begins a skipped part, is in _tables
        self._count: Counter[str] = Counter()  # of the open ones
        self._scopes: list[Counter[str]] = [Counter()]  # the same, of each open cell and table
        self._skip = 0
        self._navigation = False  # between latex2html's comments around its navigation
        self._heading = 0  # level of the open one
        self._item = False  # the next paragraph begins a list's item
        self._tables: list[_Table] = []

    def take(self, token: markup.Token) -> None:
        if isinstance(token, markup.Text):
            if self._count["title"]:
                if not self._count["svg"]:
                    self._title.append(token.text)
            elif not self._skip and not self._navigation:
                self._text.append(token.text)
        elif isinstance(token, markup.StartTag):
            self._start(token)
        elif isinstance(token, markup.EndTag):
            self._end(token.name)
        elif token.text.strip() == "Navigation Panel":
            self._flush()
            self._navigation = True
        elif token.text.strip() == "End of Navigation Panel":
            self._navigation = False

    def finish(self) -> Page:
        self._flush()
        while self._open:
            self._pop()
        title = _collapsed("".join(self._title))
        if not title:
            title = next((b.text for b in self._blocks if b.kind == "heading"), "")
        return Page(title, self._blocks)

    def _start(self, tag: markup.StartTag) -> None:
        name = tag.name
        if name in _VOID:
            if name == "br":
                self._text.append("\n" if self._count["pre"] else _BREAK)
            elif name == "hr":
                self._flush()
            return
        if self._heading and name in _BLOCKS and name not in _HEADINGS:
            self._text.append(" ")
        elif name in _BLOCKS:
            self._flush()
        if self._count["table"] and name in _CLOSED_BY:
            while self._open[-1][0] not in _CLOSED_BY[name]:
                self._pop()
        top = self._open[-1][0] if self._open else ""
        ended = (top == "p" and name in _BLOCKS) or (top == name and name in _ENDED_BY_KIND)
        if ended or len(self._open) >= _MAX_OPEN:
            self._pop()
        table = name == "table" and len(self._tables) < _MAX_TABLES
        self._push(name, self._is_skipped(tag), table)
        if table:
            self._tables.append(_Table())
        elif self._tables and name in ("td", "th"):
            self._tables[-1].cells.append([])
        elif self._tables and name == "tr":
            self._tables[-1].end_row()
        elif name in _HEADINGS and not self._skip:
            self._heading = _HEADINGS[name]
        elif name == "li":
            self._item = True

    def _is_skipped(self, tag: markup.StartTag) -> bool:
        attributes = tag.attributes
        if tag.name in self._skipped_tags or "hidden" in attributes:
            return True
        if attributes.get("aria-hidden") == "true":
            return True
        if attributes.get("role") in ("navigation", "search"):
            return True
        classes = attributes.get("class")
        return classes is not None and not self._skipped_classes.isdisjoint(classes.split())

    def _end(self, name: str) -> None:
        scope = self._count if name in _TABLE_TAGS else self._scopes[-1]
        if not scope[name]:
            return
        if name in _HEADINGS or (name in _BLOCKS and not self._heading):
            self._flush()
        while self._pop() != name:
            pass

    def _push(self, name: str, skipped: bool, table: bool) -> None:
        self._open.append((name, skipped, table))
        self._skip += skipped
        self._count[name] += 1
        self._scopes[-1][name] += 1
        if name in _SCOPES:
            self._scopes.append(Counter())

    def _pop(self) -> str:
        name, skipped, table = self._open.pop()
        if name in _BLOCKS and self._text and not self._heading:
            self._flush()
        if name in _SCOPES:
            self._scopes.pop()
        self._scopes[-1][name] -= 1
        self._count[name] -= 1
        self._skip -= skipped
        if name in _HEADINGS:
            self._flush()
        elif name == "li":
            self._item = False
        if table:
            done = self._tables.pop()
            done.end_row()
            self._target().extend(done.blocks())
        return name

    def _target(self) -> list[Block]:
        return self._tables[-1].target() if self._tables else self._blocks

    def _flush(self) -> None:
        raw = "".join(self._text)
        self._text.clear()
        level, self._heading = self._heading, 0
        if self._count["pre"]:
            code = raw.removeprefix("\n").rstrip()
            if code.strip():
                self._target().append(Block("code", code))
            return
        parts = [_collapsed(part) for part in raw.split(_BREAK)]
        text = "\n".join(parts).strip("\n")
        if not text:
            return
        if level and len(text) <= _MAX_HEADING:
            self._target().append(Block("heading", text.replace("\n", " "), level))
        elif self._item:
            self._target().append(Block("item", text))
        else:
            self._target().append(Block("paragraph", text))
        self._item = False


def _collapsed(text: str) -> str:
    return " ".join(text.split())
