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
from pathlib import Path
from typing import Any

from collegium.readers import html, html_blocks

MIN_WORDS = 60
MAX_WORDS = 200

# Beside what every page's navigation is: what these manuals give to it.
_SKIPPED_TAGS = html_blocks.SKIPPED_TAGS | {"form"}
_SKIPPED_CLASSES = html_blocks.SKIPPED_CLASSES | {
    *("toc", "menu", "header", "footer", "contents", "Contents_element", "shortcontents"),
    *("footnotes-segment", "list-of-figures", "list-of-tables", "toc-title", "translations"),
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
    """A page as sections of paragraphs; boilerplate is left out."""
    parsed = html_blocks.parse(
        html.decode_page(page.read_bytes(), str(page)),
        skipped_tags=_SKIPPED_TAGS,
        skipped_classes=_SKIPPED_CLASSES,
    )
    sections: list[Section] = []
    above: list[tuple[int, str]] = []  # open headings: (level, text)
    for block in parsed.blocks:
        if block.kind == "heading":
            heading = _clean(block.text)
            if heading and heading.lower() not in _ASIDES:
                while above and above[-1][0] >= block.level:
                    above.pop()
                sections.append(Section(above[-1][1] if above else heading, heading, []))
                above.append((block.level, heading))
            continue
        for part in block.text.split("\n") if block.kind == "table" else [block.text]:
            text = _clean(part)
            if text and sections and not (len(text) < 200 and _BOILERPLATE.search(text)):
                sections[-1].paragraphs.append(text)
    return sections


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
