"""Pairs to learn from where nobody has judged any: made from documents, or from a log of clicks.

Everything is decided by a hash of seed and document, so that the same documents give the same
pairs in whatever order they come, and a document more changes none of the others' splits.

What is made stands in for judgments and is not as good: its dev questions are made too, so what
:meth:`Library.fit` reports on them says little about real ones. Add judged dev or test pairs where
there are any: they are never overwritten by pairs that were made.

Example::

    made = collegium.pairs.make(library, "manuals", kind="headings")
    print(made)
    library.add("manuals", [], pairs=made.pairs)
    print(library.fit())  # says which kind of pairs trained what
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, get_args

from . import beir
from ._arguments import DocumentLike, documents_of, text_of, whole_number
from ._core import Document, LexicalSettings, Pair, Tokenizer, split_passages, split_sentences
from .errors import InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from .library import Library

__all__ = [
    "Kind",
    "MadePairs",
    "from_cloze",
    "from_headings",
    "from_keywords",
    "from_log",
    "library_documents",
    "make",
]

Kind = Literal["headings", "cloze", "keywords", "log"]

_WORD = re.compile(r"\w+")
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
# From so many words on, queries that differ in one of them are near-duplicates.
_NEAR_FROM = 8


@dataclass(frozen=True)
class MadePairs:
    """Pairs of one kind, and what was left out.

    Attributes:
        kind: recorded with each pair; the report of :meth:`Library.fit` counts by it.
        pairs: for :meth:`Library.add`, by document in the order given. Their split is "train" or
            "dev", by document.
        left_out: how many queries, by reason.
        documents: how many have a pair.
    """

    kind: str
    pairs: list[Pair]
    left_out: dict[str, int]
    documents: int

    @property
    def counts(self) -> dict[str, int]:
        """Pairs by split."""
        splits = Counter(pair.split for pair in self.pairs)
        return {"train": splits["train"], "dev": splits["dev"]}

    def to_dict(self) -> dict[str, Any]:
        """For JSON: kind, pairs by split, documents, left_out."""
        return {
            "kind": self.kind,
            "pairs": self.counts,
            "documents": self.documents,
            "left_out": self.left_out,
        }

    def __str__(self) -> str:
        counts = self.counts
        text = (
            f"{self.kind}: {counts['train']} pairs for training and {counts['dev']} for dev, "
            f"of {self.documents} documents"
        )
        if self.left_out:
            reasons = ", ".join(f"{number} {reason}" for reason, number in self.left_out.items())
            text += f"; left out: {reasons}"
        return text


@dataclass(frozen=True, slots=True)
class _Candidate:
    query: str
    document: int  # its position
    drawn: bool = True


def from_headings(
    documents: Iterable[DocumentLike],
    *,
    first_sentences: bool = True,
    min_words: int = 1,
    per_document: int = 8,
    dev_share: float = 0.1,
    seed: int = 1,
    tokenizer: Tokenizer | None = None,
    max_tokens: int = 256,
) -> MadePairs:
    """A document's title and its Markdown headings are queries that it answers.

    Args:
        documents: as :meth:`Library.add` takes them.
        first_sentences: the first sentence of the text and of each section are queries too, where
            they have 5 to 64 words.
        min_words: a shorter title or heading is left out.
        per_document: at most so many queries of one document, chosen by the seed.
        dev_share: of the documents whose pairs are for dev, [0, 1).
        tokenizer, max_tokens: an encoder's, to leave out queries that are a whole passage as it
            would be cut; without, paragraphs and whole texts count as passages.

    Raises:
        InvalidArgumentError: a document or an option is malformed.
    """
    given = documents_of(documents)
    options = _Options(min_words, 64, per_document, dev_share, seed)
    left_out: Counter[str] = Counter()
    found = []
    for position, document in enumerate(given):
        queries = []
        for heading, body in [(document.title, ""), *_sections(document.text)]:
            name = _squeezed(heading)
            if name and len(_words(name)) < min_words:
                left_out["too short"] += 1
            elif name:
                queries.append(name)
            first = next(_sentences(body), "") if first_sentences else ""
            if 5 <= len(_words(first)) <= options.max_words:
                queries.append(first)
        found += options.drawn("headings", document.id, position, queries)
    passages = _whole_passages(given, tokenizer, max_tokens)
    return _made("headings", given, found, passages, options, left_out)


def from_cloze(
    documents: Iterable[DocumentLike],
    *,
    min_words: int = 5,
    max_words: int = 64,
    per_document: int = 2,
    dev_share: float = 0.1,
    seed: int = 1,
    tokenizer: Tokenizer | None = None,
    max_tokens: int = 256,
) -> MadePairs:
    """Inverse cloze (arXiv 1906.00300): a sentence is a query that its own document answers.

    There the sentence is taken out of the text in nine of ten cases. Here the documents' vectors
    are frozen and keep it; what is learned is to look past the sentence to what surrounds it, and
    a document of one sentence gives no pair.

    Args:
        min_words, max_words: sentences of other lengths are left out.
        per_document, dev_share, seed, tokenizer, max_tokens: as in :func:`from_headings`.

    Raises:
        InvalidArgumentError: a document or an option is malformed.
    """
    given = documents_of(documents)
    options = _Options(min_words, max_words, per_document, dev_share, seed)
    left_out: Counter[str] = Counter()
    found = []
    for position, document in enumerate(given):
        queries = []
        for _, body in _sections(document.text):
            for sentence in _sentences(body):
                words = len(_words(sentence))
                if words < min_words:
                    left_out["too short"] += 1
                elif words > max_words:
                    left_out["too long"] += 1
                else:
                    queries.append(sentence)
        found += options.drawn("cloze", document.id, position, queries)
    passages = _whole_passages(given, tokenizer, max_tokens)
    return _made("cloze", given, found, passages, options, left_out)


def from_keywords(
    documents: Iterable[DocumentLike],
    *,
    words: int = 5,
    stop_words: Iterable[str] | None = None,
    per_document: int = 1,
    dev_share: float = 0.1,
    seed: int = 1,
    tokenizer: Tokenizer | None = None,
    max_tokens: int = 256,
) -> MadePairs:
    """A document's keywords are a query: those of highest tf-idf among ``documents``.

    A word's weight is (times in title and text) x ln(documents / documents that have it); words
    are compared without case, have two characters and a letter at least; equal weights go by
    alphabet. Words of weight 0, which all documents have, are none.

    Args:
        words: of a query, 2 to 32; a document with fewer than two keywords gives no pair.
        stop_words: never keywords; None: English ones (``LexicalSettings.english_stop_words``).
        per_document: the first query has the first ``words`` keywords, the next the following.
        dev_share, seed, tokenizer, max_tokens: as in :func:`from_headings`.

    Raises:
        InvalidArgumentError: a document or an option is malformed.
    """
    given = documents_of(documents)
    whole_number(words, "words", at_least=2, at_most=32)
    options = _Options(2, words, per_document, dev_share, seed)
    if isinstance(stop_words, str):
        raise InvalidArgumentError(f"stop_words is one str, expected several: {stop_words[:40]!r}")
    listed = LexicalSettings.english_stop_words() if stop_words is None else stop_words
    stops = {text_of(word, "stop_words: a word").casefold() for word in listed}

    def terms(document: Document) -> Counter[str]:
        found = _words(f"{document.title}\n{document.text}")
        return Counter(
            word
            for word in found
            if len(word) > 1 and word not in stops and any(c.isalpha() for c in word)
        )

    documents_with: Counter[str] = Counter()
    for document in given:
        documents_with.update(terms(document).keys())
    left_out: Counter[str] = Counter()
    candidates = []
    for position, document in enumerate(given):
        weights = {
            term: count * math.log(len(given) / documents_with[term])
            for term, count in terms(document).items()
            if documents_with[term] < len(given)
        }
        best = sorted(weights, key=lambda term: (-weights[term], term))[: words * per_document]
        if len(best) < 2:
            left_out["too short"] += 1
        for first in range(0, len(best), words):
            if len(best) - first >= 2:
                candidates.append(_Candidate(" ".join(best[first : first + words]), position))
    passages = _whole_passages(given, tokenizer, max_tokens)
    return _made("keywords", given, candidates, passages, options, left_out)


def from_log(
    log: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    documents: Iterable[str],
    *,
    on_unknown: Literal["raise", "skip"] = "raise",
    min_clicks: int = 1,
    graded: bool = True,
    dev_share: float = 0.1,
    seed: int = 1,
) -> MadePairs:
    """What was clicked after a query answers it.

    Clicks on one document after one query, whose case and white space do not count, are added up.
    Clicks are biased towards what stood first: use a log of good results, and ``min_clicks``.

    Args:
        log: JSON lines (``.gz`` too), or mappings, of ``query``, ``id`` (or ``clicked_id``,
            ``document_id``: what was clicked) and perhaps ``count`` (1); other fields are ignored.
        documents: the ids in the collection.
        on_unknown: what a click on a document that is not there does: "raise", or "skip", which
            counts them as ``left_out["of unknown documents"]``.
        min_clicks: a query and document with fewer are left out.
        graded: the gain is 1 + log2(clicks); else 1.
        dev_share, seed: as in :func:`from_headings`. A query whose documents fall into both splits
            is left out: else a document would be in both, or a right answer counted as wrong.

    Raises:
        NotFoundError: there is no such file, or a document is not there (with "raise").
        InvalidArgumentError: a line or an option is malformed; the message says which.
    """
    if on_unknown not in ("raise", "skip"):
        raise InvalidArgumentError(f"on_unknown is {on_unknown!r}, expected 'raise' or 'skip'")
    if isinstance(documents, (str, bytes)):
        raise InvalidArgumentError(f"documents is one {type(documents).__name__}, expected ids")
    whole_number(min_clicks, "min_clicks", at_least=1)
    options = _Options(1, 64, 1, dev_share, seed)
    known = set(documents)
    left_out: Counter[str] = Counter()
    rows: Iterable[Mapping[str, Any]]
    if isinstance(log, (str, os.PathLike)):
        rows, name = beir.read_jsonl(log), str(log)
    else:
        rows, name = log, "log"
    shown: dict[str, str] = {}
    clicks: dict[str, Counter[str]] = {}
    for number, row in enumerate(rows, 1):
        query, document, count = _click(row, f"{name}: object {number}")
        if document not in known:
            if on_unknown == "raise":
                raise NotFoundError(
                    f"{name}: object {number}: no document {document[:60]!r} in the collection; "
                    "on_unknown='skip' leaves such clicks out"
                )
            left_out["of unknown documents"] += 1
            continue
        key = query.casefold()
        shown.setdefault(key, query)
        clicks.setdefault(key, Counter())[document] += count
    pairs = []
    for key, counts in clicks.items():
        kept = {document: n for document, n in counts.items() if n >= min_clicks}
        left_out["of few clicks"] += len(counts) - len(kept)
        splits = {options.split(document) for document in kept}
        if len(splits) > 1:
            left_out["of documents in both splits"] += len(kept)
            continue
        pairs += [
            Pair(
                query=shown[key],
                document_id=document,
                split=options.split(document),
                gain=1.0 + math.log2(n) if graded else 1.0,
                kind="log",
            )
            for document, n in kept.items()
        ]
    answered = len({pair.document_id for pair in pairs})
    return MadePairs("log", pairs, _reasons(left_out), answered)


def library_documents(library: Library, collection: str) -> Iterator[Document]:
    """The documents of ``collection``, by id.

    Raises:
        NotFoundError: no such collection.
    """
    for identifier in library.document_ids(collection):
        yield library.document(collection, identifier)


def make(
    library: Library,
    collection: str,
    *,
    kind: Kind,
    log: str | os.PathLike[str] | Iterable[Mapping[str, Any]] | None = None,
    **options: Any,
) -> MadePairs:
    """Pairs for ``collection`` from its own documents, or from ``log``; adds nothing.

    Args:
        kind: "headings", "cloze", "keywords" or "log".
        log: with "log" alone, as :func:`from_log` takes it.
        options: of the function of that kind. Passages are cut by the library's own encoder.

    Raises:
        NotFoundError: no such collection.
        InvalidArgumentError: an option is malformed, or of another kind.
    """
    if kind not in get_args(Kind):
        raise InvalidArgumentError(f"kind is {kind!r}, expected one of {list(get_args(Kind))}")
    if (log is not None) != (kind == "log"):
        raise InvalidArgumentError(
            f"kind is {kind!r} {'with' if log is not None else 'without'} a log; 'log' needs one, "
            "the others take none"
        )
    function: Any = {
        "headings": from_headings,
        "cloze": from_cloze,
        "keywords": from_keywords,
        "log": from_log,
    }[kind]
    allowed = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise InvalidArgumentError(f"pairs of kind {kind!r} take no {unknown}, but {allowed}")
    made: MadePairs
    if log is not None:
        made = function(log, library.document_ids(collection), **options)
    else:
        encoder = library.encoder
        options = {"tokenizer": encoder.tokenizer, "max_tokens": encoder.max_tokens, **options}
        made = function(library_documents(library, collection), **options)
    return made


@dataclass(frozen=True)
class _Options:
    min_words: int
    max_words: int
    per_document: int
    dev_share: float
    seed: int

    def __post_init__(self) -> None:
        whole_number(self.min_words, "min_words", at_least=1)
        whole_number(self.max_words, "max_words", at_least=1)
        if self.min_words > self.max_words:
            raise InvalidArgumentError(
                f"min_words is {self.min_words}, more than max_words, {self.max_words}"
            )
        whole_number(self.per_document, "per_document", at_least=1, at_most=1000)
        whole_number(self.seed, "seed")
        share = self.dev_share
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
            raise InvalidArgumentError(f"dev_share is {share!r}, must be in [0, 1)")

    def split(self, document_id: str) -> str:
        """The same for every kind of pairs."""
        in_dev = _hash("split", self.seed, document_id) < self.dev_share * 2.0**64
        return "dev" if in_dev else "train"

    def drawn(
        self, kind: str, document_id: str, position: int, queries: Sequence[str]
    ) -> list[_Candidate]:
        """All of them, in their order, with at most ``per_document`` drawn."""
        order = sorted(
            range(len(queries)), key=lambda i: (_hash(kind, self.seed, document_id, i), i)
        )
        chosen = set(order[: self.per_document])
        return [_Candidate(query, position, i in chosen) for i, query in enumerate(queries)]


def _hash(*parts: object) -> int:
    """64 bits of them, the same on every machine."""
    digest = blake2b("\0".join(str(part) for part in parts).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


@lru_cache(maxsize=1 << 20)
def _word_hash(word: str) -> int:
    return _hash("word", word)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Heading ("" before the first) and the text under it, without blocks of code."""
    heading, lines, fence = "", list[str](), ""
    for line in text.split("\n"):
        if fence:
            closed = line.strip()
            if closed.startswith(fence) and not closed.strip(fence[0]):
                fence = ""
            continue
        if opened := _FENCE.match(line):
            fence = opened[1]
            lines.append("")  # ends the paragraph
        elif found := _HEADING.match(line):
            yield heading, "\n".join(lines)
            heading, lines = found[1], []
        else:
            lines.append(line)
    yield heading, "\n".join(lines)


def _sentences(text: str) -> Iterator[str]:
    raw = text.encode()
    for begin, end in split_sentences(text):
        sentence = _squeezed(raw[begin:end].decode())
        if sentence:
            yield sentence


def _whole_passages(
    documents: Sequence[Document], tokenizer: Tokenizer | None, max_tokens: int
) -> set[str]:
    """The words of every whole passage and every whole text: no query may be one."""
    found: set[str] = set()
    for document in documents:
        texts = [document.text if document.text.strip() else document.title]
        if tokenizer is None:
            for _, body in _sections(document.text):
                texts += _PARAGRAPHS.split(body)
        else:
            raw = document.text.encode()
            for span in split_passages(
                document.title, document.text, tokenizer, max_tokens=max(16, max_tokens)
            ):
                begin, end = span.bytes
                texts.append(raw[begin:end].decode())
        found.update(" ".join(_words(text)) for text in texts)
    return found


def _near_keys(words: Iterable[str]) -> list[int]:
    """Two queries are near-duplicates if they share one of these: the set of words, and for many
    words the set without each one of them."""
    hashes = [_word_hash(word) for word in sorted(set(words))]
    whole = 0
    for value in hashes:
        whole ^= value
    return [whole] if len(hashes) < _NEAR_FROM else [whole, *(whole ^ value for value in hashes)]


def _made(
    kind: str,
    documents: Sequence[Document],
    candidates: Sequence[_Candidate],
    passages: set[str],
    options: _Options,
    left_out: Counter[str],
) -> MadePairs:
    """The pairs of those candidates that ask for one document, each once."""
    several = -1
    owner: dict[int, int] = {}
    for candidate in candidates:
        near = _near_keys(_words(candidate.query))
        for key in near if candidate.drawn else near[:1]:
            if owner.setdefault(key, candidate.document) != candidate.document:
                owner[key] = several
    pairs: list[Pair] = []
    seen: set[int] = set()
    answered = set()
    for candidate in candidates:
        if not candidate.drawn:
            left_out["beyond per_document"] += 1
            continue
        words = _words(candidate.query)
        near = _near_keys(words)
        if not words:
            left_out["without words"] += 1
        elif " ".join(words) in passages:
            left_out["equal to a whole passage"] += 1
        elif any(owner[key] == several for key in near):
            left_out["near those of other documents"] += 1
        elif not seen.isdisjoint(near):
            left_out["near-duplicates"] += 1
        else:
            seen.update(near)
            identifier = documents[candidate.document].id
            answered.add(candidate.document)
            pairs.append(
                Pair(
                    query=candidate.query,
                    document_id=identifier,
                    split=options.split(identifier),
                    kind=kind,
                )
            )
    return MadePairs(kind, pairs, _reasons(left_out), len(answered))


def _reasons(left_out: Counter[str]) -> dict[str, int]:
    return {reason: number for reason, number in sorted(left_out.items()) if number}


def _click(row: Mapping[str, Any], where: str) -> tuple[str, str, int]:
    if not isinstance(row, Mapping):
        raise InvalidArgumentError(f"{where} is {type(row).__name__}, expected a mapping")
    if "query" not in row:
        raise InvalidArgumentError(f"{where} has no 'query': {sorted(map(str, row))}")
    names = [name for name in ("id", "clicked_id", "document_id") if name in row]
    if len(names) != 1:
        raise InvalidArgumentError(
            f"{where} has {names or 'none'} of 'id', 'clicked_id' and 'document_id', expected one"
        )
    query = _squeezed(text_of(row["query"], f"{where}: 'query'"))
    if not query:
        raise InvalidArgumentError(f"{where}: 'query' is empty")
    try:
        count = whole_number(row.get("count", 1), f"{where}: 'count'", at_least=1, at_most=2**53)
    except TypeError as error:
        raise InvalidArgumentError(str(error)) from None
    if isinstance(row.get("count"), bool):
        raise InvalidArgumentError(f"{where}: 'count' is bool, expected int")
    return query, text_of(row[names[0]], f"{where}: {names[0]!r}"), count
