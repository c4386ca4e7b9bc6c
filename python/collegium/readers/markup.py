"""HTML in pieces: tags, text and comments, as the HTML standard cuts them.

The standard library's HTMLParser takes time with the square of a page's length where tags, comments
or quotes are not closed; this scanner looks at every character a bounded number of times.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_SPACE = re.compile(r"[ \t\n\f/]*")
_NAME = re.compile(r"[A-Za-z][^ \t\n\f/>]*")
_ATTRIBUTE = re.compile(r"=?[^ \t\n\f/>=]*")
_EQUALS = re.compile(r"[ \t\n\f]*=[ \t\n\f]*")
_BARE_VALUE = re.compile(r"[^ \t\n\f>]*")
# What is between such tags is no markup; of the last two, entities count.
RAW = frozenset({"script", "style", "xmp", "iframe", "noembed", "noframes", "textarea", "title"})
_WITH_ENTITIES = frozenset({"textarea", "title"})
_RAW_ENDS = {tag: re.compile(rf"</{tag}(?=[ \t\n\f/>])", re.IGNORECASE) for tag in RAW}


@dataclass(slots=True)
class Text:
    text: str


@dataclass(slots=True)
class Comment:
    text: str


@dataclass(slots=True)
class StartTag:
    name: str
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class EndTag:
    name: str


Token = Text | Comment | StartTag | EndTag


def scan(page: str) -> Iterator[Token]:
    """The tokens of ``page``, whose line ends are "\\n". A tag that never ends is left out."""
    at, end = 0, len(page)
    while at < end:
        less = page.find("<", at)
        if less < 0:
            yield Text(html.unescape(page[at:]))
            return
        mark = page[less + 1 : less + 2]
        is_end = mark == "/"
        name = _NAME.match(page, less + 1 + is_end)
        if name is None and mark not in ("!", "?", "/"):
            # A "<" that is text, with the text before it.
            yield Text(html.unescape(page[at : less + 1]))
            at = less + 1
            continue
        if less > at:
            yield Text(html.unescape(page[at:less]))
        if name is None:
            at, comment = _comment(page, less)
            if comment is not None:
                yield comment
            continue
        tag, at = _tag(page, name)
        if tag is None:
            return
        if is_end:
            yield EndTag(tag.name)
            continue
        yield tag
        if tag.name in RAW:
            close = _RAW_ENDS[tag.name].search(page, at)
            stop = close.start() if close else end
            raw = page[at:stop]
            if raw:
                yield Text(html.unescape(raw) if tag.name in _WITH_ENTITIES else raw)
            at = stop


def _comment(page: str, less: int) -> tuple[int, Comment | None]:
    """(where it ends, the comment) of what begins at "<!", "<?" or "</" and is no tag."""
    if page.startswith("<!--", less):
        if page.startswith((">", "->"), less + 4):
            return page.index(">", less) + 1, None
        stop = page.find("-->", less + 4)
        if stop < 0:
            return len(page), None
        return stop + 3, Comment(page[less + 4 : stop])
    stop = page.find(">", less)
    return (len(page) if stop < 0 else stop + 1), None


def _tag(page: str, name: re.Match[str]) -> tuple[StartTag | None, int]:
    """(the tag, where it ends); None if the page ends within it."""
    tag = StartTag(name[0].lower())
    at, end = name.end(), len(page)
    while True:
        at = _match_end(_SPACE, page, at)
        if at >= end:
            return None, end
        if page[at] == ">":
            return tag, at + 1
        stop = _match_end(_ATTRIBUTE, page, at)
        attribute, at = page[at:stop].lower(), stop
        value = ""
        if equals := _EQUALS.match(page, at):
            at = equals.end()
            quote = page[at : at + 1]
            if quote and quote in "\"'":
                stop = page.find(quote, at + 1)
                if stop < 0:
                    return None, end
                value, at = page[at + 1 : stop], stop + 1
            else:
                stop = _match_end(_BARE_VALUE, page, at)
                value, at = page[at:stop], stop
        tag.attributes.setdefault(attribute, html.unescape(value))


def _match_end(pattern: re.Pattern[str], page: str, at: int) -> int:
    match = pattern.match(page, at)
    assert match is not None  # such a pattern matches nothing at least
    return match.end()
