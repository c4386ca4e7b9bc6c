"""Six manuals from Debian packages, as collections: documents and training pairs.

A section becomes documents of 60 to 200 words. Its heading goes beside them as the field
``section``, which is shown in citations and not embedded, so that a heading can serve as a query
for the section below it. Pairs come from the manuals' own words:

* a heading of two or more words that occurs once in the manual -> the section's first document;
* a section's first sentence -> the section's second document (which does not contain it).
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

MIN_WORDS = 60
MAX_WORDS = 200

_SKIPPED_TAGS = {"script", "style", "head", "nav", "form", "button", "select", "title"}
_VOID_TAGS = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param"),
    *("source", "track", "wbr"),
}
_BLOCK_TAGS = {
    *("p", "div", "li", "ul", "ol", "dl", "dt", "dd", "pre", "table", "tr", "blockquote"),
    *("section", "article", "caption", "center", "hr", "body"),
}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_SKIPPED_CLASSES = {
    *("navheader", "navfooter", "nav_table", "toc", "menu", "header", "footer", "contents"),
    *(
        "printfooter",
        "noprint",
        "catlinks",
        "Contents_element",
        "shortcontents",
        "footnotes-segment",
    ),
    *("list-of-figures", "list-of-tables", "toc-title", "mw-editsection", "translations"),
}
_NUMBERING = re.compile(
    r"^(?:(?:chapter|appendix|part)\s+)?(?:[A-Z]|\d+|[IVX]+)(?:\.\d+)*\.?\s+(?=\S)", re.I
)
_BOILERPLATE = re.compile(
    r"copyright|all rights reserved|license terms|see also:?$|^keyword type:|^this page is for"
    r"|^we welcome your aid|^other languages:|save syntax highlighting",
    re.I,
)
_ASIDES = {"note", "tip", "caution", "warning", "important"}  # headings of boxes, not of sections
_NO_CONTENT = {"contents", "table of contents", "index", "bibliography", "references"}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


@dataclasses.dataclass(frozen=True)
class Manual:
    """One manual: where its pages are and in which order they matter."""

    name: str
    package: str
    folder: str
    pages: tuple[str, ...]  # globs, most important first


MANUALS = (
    Manual(
        "postgresql",
        "postgresql-doc-15",
        "usr/share/doc/postgresql-doc-15/html",
        ("ddl-*.html", "dml-*.html", "queries-*.html", "indexes*.html", "mvcc*.html",
         "transaction-*.html", "backup*.html", "routine-*.html", "datatype*.html", "*.html"),
    ),
    Manual(
        "lilypond",
        "lilypond-doc-html",
        "usr/share/doc/lilypond/html/Documentation",
        ("learning/*.html", "notation/*.html", "essay/*.html", "music-glossary/*.html"),
    ),
    Manual(
        "calculix",
        "calculix-ccx-doc",
        "usr/share/doc/calculix-ccx-doc/ccx",
        ("node*.html",),
    ),
    Manual("phylip", "phylip-doc", "usr/share/doc/phylip/html/doc", ("*.html",)),
    Manual("hugin", "hugin-data", "usr/share/hugin/xrc/data/help_en_EN", ("[!l]*.html",)),
    Manual(
        "statistics",
        "r-doc-html",
        "usr/share/R/doc/manual",
        ("R-intro.html", "R-data.html", "R-FAQ.html", "R-lang.html", "R-exts.html"),
    ),
)  # fmt: skip


@dataclasses.dataclass
class Section:
    title: str  # the heading above this one, or the page's
    heading: str
    paragraphs: list[str]


class _PageParser(HTMLParser):
    """Cuts a page into sections of paragraphs; navigation and boilerplate are left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.sections: list[Section] = []
        self._path: list[tuple[int, str]] = []  # open headings: (level, text)
        self._open: list[tuple[str, bool]] = []  # open tags: (name, starts a skipped part)
        self._skip = 0
        self._navigation = False  # between latex2html's navigation comments
        self._text: list[str] = []
        self._heading_level = 0

    def handle_comment(self, data: str) -> None:
        if data.strip() == "Navigation Panel":
            self._navigation = True
        elif data.strip() in ("End of Navigation Panel", "End of Navigation Panel "):
            self._navigation = False
            self._text.clear()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID_TAGS:
            if tag in ("br", "hr"):
                self._text.append(" ")
            return
        classes = set((dict(attrs).get("class") or "").split())
        skipped = tag in _SKIPPED_TAGS or bool(classes & _SKIPPED_CLASSES)
        self._open.append((tag, skipped))
        self._skip += skipped
        if tag in _HEADINGS and not self._skip:
            self._flush()
            self._heading_level = int(tag[1])
        elif tag in _BLOCK_TAGS and not self._heading_level:
            self._flush()

    def handle_endtag(self, tag: str) -> None:
        if not any(name == tag for name, _ in self._open):
            return
        while self._open:
            name, skipped = self._open.pop()
            self._skip -= skipped
            if name == tag:
                break
        if tag in _HEADINGS and self._heading_level:
            heading = _clean("".join(self._text))
            self._text.clear()
            level, self._heading_level = self._heading_level, 0
            if heading and heading.lower() not in _ASIDES:
                while self._path and self._path[-1][0] >= level:
                    self._path.pop()
                title = self._path[-1][1] if self._path else heading
                self._path.append((level, heading))
                self.sections.append(Section(title, heading, []))
        elif tag in _BLOCK_TAGS and not self._heading_level:
            self._flush()

    def handle_data(self, data: str) -> None:
        if not self._skip and not self._navigation:
            self._text.append(data)

    def close(self) -> None:
        super().close()
        self._flush()

    def _flush(self) -> None:
        text = _clean("".join(self._text))
        self._text.clear()
        if not text or not self.sections:
            return
        if len(text) < 200 and _BOILERPLATE.search(text):
            return
        self.sections[-1].paragraphs.append(text)


def _clean(text: str) -> str:
    return " ".join(text.replace("\u00b6", " ").split())


def _cut(paragraphs: list[str]) -> list[str]:
    """Joins and cuts paragraphs to texts of MIN_WORDS to MAX_WORDS where that is possible."""
    pieces: list[str] = []
    for paragraph in paragraphs:
        words = paragraph.split()
        if len(words) <= MAX_WORDS:
            pieces.append(paragraph)
            continue
        current: list[str] = []
        for sentence in _SENTENCE_END.split(paragraph):
            sentence_words = sentence.split()
            for start in range(0, len(sentence_words), MAX_WORDS):
                part = sentence_words[start : start + MAX_WORDS]
                if len(current) + len(part) > MAX_WORDS:
                    pieces.append(" ".join(current))
                    current = []
                current.extend(part)
        if current:
            pieces.append(" ".join(current))
    texts: list[str] = []
    for piece in pieces:
        joined = f"{texts[-1]}\n\n{piece}" if texts else piece
        if texts and len(texts[-1].split()) < MIN_WORDS and len(joined.split()) <= MAX_WORDS:
            texts[-1] = joined
        else:
            texts.append(piece)
    return [text for text in texts if len(text.split()) >= MIN_WORDS]


def _page_sections(page: Path) -> list[Section]:
    raw = page.read_bytes()
    try:
        html = raw.decode("utf-8")
    except UnicodeDecodeError:
        html = raw.decode("latin-1")
    parser = _PageParser()
    parser.feed(html)
    parser.close()
    return parser.sections


def _pages(root: Path, manual: Manual) -> Iterator[Path]:
    seen: set[Path] = set()
    for pattern in manual.pages:
        pages = sorted(
            (root / manual.folder).glob(pattern),
            key=lambda p: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", p.name)],
        )
        for page in pages:
            if page not in seen:
                seen.add(page)
                yield page


def read_manual(
    root: Path, manual: Manual, limit: int | None
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Documents and pairs of ``manual``, unpacked below ``root``; at most ``limit`` documents."""
    documents: list[dict[str, Any]] = []
    groups: list[tuple[Section, list[str]]] = []  # a section and its documents' ids
    for page in _pages(root, manual):
        name = page.relative_to(root / manual.folder).with_suffix("").as_posix()
        for number, section in enumerate(_page_sections(page)):
            if _NUMBERING.sub("", section.heading).lower() in _NO_CONTENT:
                continue
            ids: list[str] = []
            for piece, text in enumerate(_cut(section.paragraphs)):
                if limit is not None and len(documents) >= limit:
                    break
                ids.append(f"{name}#{number}.{piece}")
                documents.append(
                    {
                        "id": ids[-1],
                        "title": _NUMBERING.sub("", section.title),
                        "section": section.heading,
                        "text": text,
                    }
                )
            if ids:
                groups.append((section, ids))
    if not documents:
        raise FileNotFoundError(f"no text of {manual.package} below {root / manual.folder}")
    texts = {document["id"]: document["text"] for document in documents}
    names = Counter(_NUMBERING.sub("", section.heading).lower() for section, _ in groups)
    pairs: list[dict[str, str]] = []
    for section, ids in groups:
        heading = _NUMBERING.sub("", section.heading)
        title = _NUMBERING.sub("", section.title)
        query = heading
        if names[heading.lower()] > 1 and title.lower() != heading.lower():
            query = f"{title}: {heading}"
        unique = names[heading.lower()] == 1 or query != heading
        if unique and len(query.split()) >= 2 and heading.lower() != title.lower():
            pairs.append({"query": query, "id": ids[0]})
        if len(ids) > 1:
            sentence = _SENTENCE_END.split(texts[ids[0]].split("\n\n")[0])[0]
            if 6 <= len(sentence.split()) <= 40:
                pairs.append({"query": sentence, "id": ids[1]})
    return documents, pairs
