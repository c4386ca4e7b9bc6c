"""The research data that routing is measured on, chosen in one place: all of it, or a subset.

The table of 18 sets takes whole corpora (`load_whole`); what is quick takes a subset of eight. A set
is a folder in BEIR's layout. Of a subset at most `max_documents` documents are kept: all those judged for
a dev or test query, then those of training queries, then the rest in the file's order. Training
queries are taken in the order of a hash of their ids, so that a prefix is a fair sample of a file
that is sorted by topic; those without a kept document are left out.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SETS = (
    "boolq",
    "checkthat",
    "cosqa",
    "cuad",
    "finance10k",
    "insuranceqa",
    "medquad",
    "nl2bash",
)
# Of the table: sets whose experts are trained, and sets that no expert knows.
SEEN = (*SETS, "openqa_wiki", "scifact")
UNSEEN = (
    "cardano_se",
    "cisi",
    "covidqa",
    "cranfield",
    "kpa_arguments",
    "npl",
    "pubmedqa",
    "quantum_se",
)
SPLITS = ("train", "dev", "test")
MAX_DOCUMENTS = 4000
MAX_TRAIN_QUERIES = 2500


@dataclass(frozen=True)
class Document:
    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Query:
    id: str
    text: str
    gains: dict[str, float]  # document id -> gain > 0, kept documents only


@dataclass(frozen=True)
class RoutingSet:
    name: str
    documents: list[Document]  # in the file's order
    queries: dict[str, list[Query]]  # by split


def load_set(
    data: Path,
    name: str,
    max_documents: int = MAX_DOCUMENTS,
    max_train_queries: int = MAX_TRAIN_QUERIES,
) -> RoutingSet:
    """Reads `data/name` and selects its subset. The same arguments give the same subset."""
    folder = data / name
    texts = {line["_id"]: line["text"] for line in _lines(folder / "queries.jsonl.gz")}
    judgments = {split: _qrels(folder / "qrels" / f"{split}.tsv") for split in SPLITS}
    train_order = sorted(judgments["train"], key=lambda id_: hashlib.sha256(id_.encode()).digest())

    order: dict[
        str, None
    ] = {}  # document ids by priority; a dict keeps the order and drops repeats
    for split in ("test", "dev"):
        for gains in judgments[split].values():
            order.update(dict.fromkeys(gains))
    for query_id in train_order:
        order.update(dict.fromkeys(judgments["train"][query_id]))
    order.update(dict.fromkeys(line["_id"] for line in _lines(folder / "corpus.jsonl.gz")))
    kept = set(list(order)[:max_documents])

    documents = [
        Document(line["_id"], line.get("title") or "", line["text"])
        for line in _lines(folder / "corpus.jsonl.gz")
        if line["_id"] in kept
    ]
    present = {document.id for document in documents}
    queries: dict[str, list[Query]] = {}
    for split in SPLITS:
        ids = train_order if split == "train" else list(judgments[split])
        rows = []
        for query_id in ids:
            gains = {
                id_: gain for id_, gain in judgments[split][query_id].items() if id_ in present
            }
            if gains:
                rows.append(Query(query_id, texts[query_id], gains))
        queries[split] = rows[:max_train_queries] if split == "train" else rows
    return RoutingSet(name, documents, queries)


def load(data: Path, name: str) -> tuple[list[dict[str, str]], list[dict[str, str | float]]]:
    """The subset as `Library.add` takes it: documents, and one pair a judgment."""
    subset = load_set(data, name)
    return documents_of(subset), pairs_of(subset, SPLITS)


def load_whole(data: Path, name: str, max_documents: int | None = None) -> RoutingSet:
    """All of `data/name`, or a small part of it to try the script on."""
    if max_documents is not None:
        return load_set(data, name, max_documents, max_documents)
    return load_set(data, name, 1 << 60, 1 << 60)


def documents_of(subset: RoutingSet) -> list[dict[str, str]]:
    return [{"id": d.id, "title": d.title, "text": d.text} for d in subset.documents]


def pairs_of(subset: RoutingSet, splits: tuple[str, ...]) -> list[dict[str, str | float]]:
    """One pair a judgment, as `Library.add` takes it."""
    return [
        {"query": query.text, "id": id_, "split": split, "gain": gain}
        for split in splits
        for query in subset.queries[split]
        for id_, gain in query.gains.items()
    ]


def judged_of(subset: RoutingSet, split: str, most: int | None = None) -> list[dict[str, object]]:
    """A split's queries as `Library.evaluate(judged=...)` takes them; at most `most`, evenly."""
    queries = subset.queries[split]
    n = len(queries) if most is None else min(most, len(queries))
    return [
        {"id": q.id, "text": q.text, "judgments": dict(q.gains)}
        for q in (queries[i * len(queries) // n] for i in range(n))
    ]


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _qrels(path: Path) -> dict[str, dict[str, float]]:
    judgments: dict[str, dict[str, float]] = {}
    with path.open(encoding="utf-8") as file:
        next(file)  # the header
        for line in file:
            query_id, document_id, gain = line.rstrip("\n").split("\t")
            if float(gain) > 0:
                judgments.setdefault(query_id, {})[document_id] = float(gain)
    return judgments
