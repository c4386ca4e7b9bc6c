"""Made pairs against what a hand or a few lines of numpy make of the same documents."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import collegium
import small_data
from collegium import pairs
from conftest import RunPython

GUIDE = """Some words stand before any heading of this guide.

# Pumping up tyres

Pump the tyres of a road bicycle to six bar. Check them every week.

```
# not a heading, a comment
```

## Oiling the chain ##
Oil the chain after every ride in the rain.
"""


def queries(made: pairs.MadePairs) -> list[tuple[str, str]]:
    return [(pair.query, pair.document_id) for pair in made.pairs]


def documents(**texts: str) -> list[dict[str, str]]:
    return [{"id": name, "text": text} for name, text in texts.items()]


def test_titles_headings_and_first_sentences() -> None:
    rows = [{"id": "guide", "title": "Bicycle care", "text": GUIDE}]
    made = pairs.from_headings(rows)
    assert queries(made) == [
        ("Bicycle care", "guide"),
        ("Pumping up tyres", "guide"),
        ("Pump the tyres of a road bicycle to six bar.", "guide"),
        ("Oiling the chain", "guide"),
    ]
    # The first paragraph and the last are one sentence: whole passages.
    assert made.left_out == {"equal to a whole passage": 2}
    without = pairs.from_headings(rows, first_sentences=False, min_words=3)
    assert queries(without) == [("Pumping up tyres", "guide"), ("Oiling the chain", "guide")]
    assert without.left_out == {"too short": 1}
    assert {pair.kind for pair in made.pairs} == {"headings"}
    assert made.documents == 1


def test_a_query_that_is_a_whole_passage_is_left_out() -> None:
    rows = documents(one="This one sentence is all there is.")
    made = pairs.from_cloze(rows)
    assert made.pairs == []
    assert made.left_out == {"equal to a whole passage": 1}
    made = pairs.from_headings([{"id": "a", "title": "A lone title", "text": ""}])
    assert made.left_out == {"equal to a whole passage": 1}


def test_passages_are_those_of_the_tokenizer(tiny_encoder: Path) -> None:
    tokenizer = collegium.text.load_tokenizer(tiny_encoder)
    text = "The first sentence is here now. " * 3 + "\n\nA paragraph of its own stands here."
    rows = documents(a=text)
    # As paragraphs the last sentence is a passage; as the encoder cuts, it is part of one.
    (span,) = collegium.text.split_passages("", text, tokenizer, max_tokens=2000)
    assert span.bytes[0] == 0
    alone = pairs.from_cloze(rows, per_document=9)
    within = pairs.from_cloze(rows, per_document=9, tokenizer=tokenizer, max_tokens=2000)
    last = ("A paragraph of its own stands here.", "a")
    assert last not in queries(alone)
    assert last in queries(within)


def test_cloze_draws_sentences_of_the_allowed_lengths() -> None:
    sentences = [f"Sentence {word} has exactly six words." for word in ("one", "two", "three")]
    text = " ".join(["Too short.", *sentences, "word " * 20 + "end."])
    made = pairs.from_cloze(documents(a=text), max_words=10, per_document=2)
    assert len(made.pairs) == 2
    assert {query for query, _ in queries(made)} < set(sentences)
    assert made.left_out == {"beyond per_document": 1, "too long": 1, "too short": 1}
    everything = pairs.from_cloze(documents(a=text), max_words=10, per_document=9)
    assert [query for query, _ in queries(everything)] == sentences


def test_near_duplicates_and_what_asks_for_several_documents_are_left_out() -> None:
    same = "A sentence of eight words stands right here."
    near = "A sentence of eight words stands right there."
    rows = documents(
        a=f"{same} Some other words of document a follow.",
        b=f"{same} Some other words are in document b.",
        c=f"One two three four five six seven eight. {near} Something of c stands last here.",
        d="Small ducks swim on a pond. On a pond swim small ducks! This is another sentence of d.",
    )
    made = pairs.from_cloze(rows, per_document=9)
    assert queries(made) == [
        ("Some other words of document a follow.", "a"),
        ("Some other words are in document b.", "b"),
        ("One two three four five six seven eight.", "c"),
        ("Something of c stands last here.", "c"),
        ("Small ducks swim on a pond.", "d"),
        ("This is another sentence of d.", "d"),
    ]
    assert made.left_out == {"near those of other documents": 3, "near-duplicates": 1}


def test_a_sentence_that_another_document_has_is_left_out_though_it_was_not_drawn_there() -> None:
    common = "Every page ends with this very sentence."
    rows = [
        {"id": f"d{i}", "text": f"Document number {i} speaks of item {i * 7}. {common}"}
        for i in range(40)
    ]
    made = pairs.from_cloze(rows, per_document=1)
    assert common not in {query for query, _ in queries(made)}
    drawn = 40 - len(made.pairs)
    assert 5 < drawn < 35
    assert made.left_out["near those of other documents"] == drawn


def tfidf_queries(texts: dict[str, str], words: int) -> dict[str, list[str]]:
    """By numpy, over a dense matrix."""
    stops = set(collegium.LexicalSettings.english_stop_words())
    split = {
        name: [w for w in text.lower().replace(".", " ").split() if len(w) > 1 and w not in stops]
        for name, text in texts.items()
    }
    vocabulary = sorted({w for found in split.values() for w in found})
    counts = np.array([[found.count(w) for w in vocabulary] for found in split.values()])
    idf = np.log(len(texts) / (counts > 0).sum(axis=0))
    result = {}
    for name, row in zip(split, counts * idf, strict=True):
        order = np.lexsort((np.arange(len(vocabulary)), -row))[:words]
        result[name] = [vocabulary[i] for i in order if row[i] > 0]
    return result


def test_keywords_are_those_of_highest_tf_idf() -> None:
    tea, _ = small_data.collections()["tea"]
    texts = {row["id"]: row["text"].replace(",", "").replace(";", "") for row in tea}
    expected = tfidf_queries(texts, 4)
    made = pairs.from_keywords(documents(**texts), words=4)
    assert queries(made) == [(" ".join(words), name) for name, words in expected.items()]
    assert len(made.pairs) == 12


def test_more_queries_of_keywords_have_the_following_ones() -> None:
    rows = documents(
        a="alpha alpha alpha beta beta gamma delta common", b="common other", c="common third"
    )
    made = pairs.from_keywords(rows, words=2, per_document=2, stop_words=["third"])
    assert queries(made) == [("alpha beta", "a"), ("delta gamma", "a")]
    # "common" is in all: weight 0. b has one keyword, c none.
    assert made.left_out == {"too short": 2}


CLICKS: list[dict[str, Any]] = [
    {"query": "Green  tea", "id": "green"},
    {"query": "green tea", "id": "green", "count": 3},
    {"query": "green tea", "id": "matcha", "user": "ignored"},
    {"query": "cold tea", "clicked_id": "cold"},
    {"query": "cold tea", "document_id": "gone"},
]


def test_clicks_are_added_up_and_graded() -> None:
    made = pairs.from_log(CLICKS, ["green", "matcha", "cold"], on_unknown="skip", dev_share=0)
    found = [(p.query, p.document_id, p.split, p.gain, p.kind) for p in made.pairs]
    assert found == [
        ("Green tea", "green", "train", 1 + math.log2(4), "log"),
        ("Green tea", "matcha", "train", 1.0, "log"),
        ("cold tea", "cold", "train", 1.0, "log"),
    ]
    assert made.left_out == {"of unknown documents": 1}
    often = pairs.from_log(
        CLICKS[:4], ["green", "matcha", "cold"], min_clicks=2, graded=False, dev_share=0
    )
    assert [(p.document_id, p.gain) for p in often.pairs] == [("green", 1.0)]
    assert often.left_out == {"of few clicks": 2}


def test_a_click_on_an_unknown_document_says_where() -> None:
    with pytest.raises(collegium.NotFoundError, match=r"log: object 5: no document 'gone'"):
        pairs.from_log(CLICKS, ["green", "matcha", "cold"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a"}, "no 'query'"),
        ({"query": "q"}, "none of 'id'"),
        ({"query": "q", "id": "a", "clicked_id": "a"}, "expected one"),
        ({"query": " ", "id": "a"}, "'query' is empty"),
        ({"query": 3, "id": "a"}, "'query' is int"),
        ({"query": "q", "id": None}, "'id' is NoneType"),
        ({"query": "q", "id": "a", "count": 0}, "'count' is 0"),
        ({"query": "q", "id": "a", "count": 1.5}, "'count' is float"),
        ({"query": "q", "id": "a", "count": True}, "'count' is bool"),
        ("q", "is str"),
    ],
)
def test_a_malformed_click_is_refused(row: Any, message: str) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=f"object 1.*{message}"):
        pairs.from_log([row], ["a"])


def many(n: int) -> list[dict[str, str]]:
    return [
        {
            "id": f"d{i}",
            "title": f"Topic {i}",
            "text": f"Item thing{i} of the list weighs {i * 3} grams. It costs coins{i} at shop{i}.",
        }
        for i in range(n)
    ]


def by_split(made: Iterable[collegium.Pair]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"train": set(), "dev": set()}
    for pair in made:
        assert pair.split is not None
        found[pair.split].add(pair.document_id)
    return found


def test_no_document_is_in_both_splits_of_any_kind() -> None:
    rows = many(400)
    made = [
        *pairs.from_headings(rows).pairs,
        *pairs.from_cloze(rows).pairs,
        *pairs.from_keywords(rows).pairs,
        *pairs.from_log(
            [{"query": f"q{i % 150}", "id": f"d{i}"} for i in range(400)],
            [row["id"] for row in rows],
        ).pairs,
    ]
    assert set(Counter(pair.kind for pair in made)) == {"headings", "cloze", "keywords", "log"}
    found = by_split(made)
    assert not found["train"] & found["dev"]
    # 400 draws at 0.1: 40 with a deviation of 6.
    assert 20 <= len(found["dev"]) <= 60
    assert by_split(pairs.from_cloze(rows, dev_share=0).pairs)["dev"] == set()


def test_a_query_whose_clicks_fall_into_both_splits_is_left_out() -> None:
    split = {pair.document_id: pair.split for pair in pairs.from_keywords(many(60)).pairs}
    dev = next(name for name, where in split.items() if where == "dev")
    train = [name for name, where in split.items() if where == "train"][:2]
    log = [
        {"query": "both", "id": dev},
        {"query": "both", "id": train[0]},
        {"query": "one", "id": train[0]},
        {"query": "one", "id": train[1]},
    ]
    made = pairs.from_log(log, split)
    assert [(p.query, p.document_id) for p in made.pairs] == [("one", train[0]), ("one", train[1])]
    assert made.left_out == {"of documents in both splits": 2}


@pytest.mark.parametrize("make", [pairs.from_headings, pairs.from_cloze, pairs.from_keywords])
def test_pairs_depend_on_the_seed_and_not_on_the_order_of_documents(make: Any) -> None:
    rows = many(80)
    first = {(p.query, p.document_id, p.split) for p in make(rows, per_document=1).pairs}
    shuffled = rows[:]
    random.Random(5).shuffle(shuffled)
    assert {
        (p.query, p.document_id, p.split) for p in make(shuffled, per_document=1).pairs
    } == first
    other = {(p.query, p.document_id, p.split) for p in make(rows, per_document=1, seed=2).pairs}
    assert other != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dev_share": 1.0}, "dev_share"),
        ({"dev_share": math.nan}, "dev_share"),
        ({"dev_share": True}, "dev_share"),
        ({"per_document": 0}, "per_document"),
        ({"min_words": 9, "max_words": 3}, "more than max_words"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        pairs.from_cloze(many(2), **options)


def test_fit_says_which_kind_trained_what(tiny_library: collegium.Library) -> None:
    made = pairs.make(tiny_library, "tea", kind="headings", min_words=1, dev_share=0)
    assert made.counts["dev"] == 0
    assert made.counts["train"] >= 10
    report = tiny_library.add("tea", [], pairs=made.pairs)
    assert report.pairs["train"] == len(made.pairs)
    fitted = tiny_library.fit()
    expert = next(e for e in fitted.experts if e.collection == "tea")
    # Which split a query is used in depends on its vector too; how many pairs there are does not.
    counted = {kind: sum(counts.values()) for kind, counts in expert.pair_kinds.items()}
    assert counted == {"headings": len(made.pairs), "judged": 24}
    assert f"pairs in train: {expert.pair_kinds['headings']['train']} headings" in str(fitted)
    assert tiny_library.info().collections[1].pairs["train"] == 12 + len(made.pairs)


def test_make_refuses_what_does_not_belong_together(tiny_library: collegium.Library) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="kind is 'titles'"):
        pairs.make(tiny_library, "tea", kind="titles")  # type: ignore[arg-type]
    with pytest.raises(collegium.InvalidArgumentError, match="without a log"):
        pairs.make(tiny_library, "tea", kind="log")
    with pytest.raises(collegium.InvalidArgumentError, match="words"):
        pairs.make(tiny_library, "tea", kind="cloze", words=3)
    with pytest.raises(collegium.NotFoundError, match="coffee"):
        pairs.make(tiny_library, "coffee", kind="cloze")


def test_the_command_adds_or_writes_them(
    tmp_path: Path, tiny_encoder: Path, run_python: RunPython
) -> None:
    folder = tmp_path / "library"
    rows, _ = small_data.collections()["tea"]
    with collegium.Library.create(folder, encoder=tiny_encoder) as library:
        library.add("tea", rows)
    (tmp_path / "clicks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CLICKS))

    def run(*arguments: str) -> Any:
        command = ["-m", "collegium", "pairs", "--library", str(folder), "--collection", "tea"]
        return run_python([*command, *arguments])

    out = tmp_path / "pairs.jsonl"
    done = run("--kind", "keywords", "--words", "3", "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    written = [json.loads(line) for line in out.read_text().splitlines()]
    expected = pairs.from_keywords(rows, words=3)
    assert [(row["query"], row["id"]) for row in written] == sorted(
        queries(expected), key=lambda pair: pair[1]
    )
    assert json.loads(done.stdout)["kind"] == "keywords"
    with collegium.Library.open(folder) as library:
        assert sum(library.info().collections[0].pairs.values()) == 0
    log = ("--kind", "log", "--log", str(tmp_path / "clicks.jsonl"), "--dev-share", "0")
    refused = run(*log)
    assert refused.returncode == 1
    assert "NotFoundError" in refused.stderr
    added = run(*log, "--on-unknown", "skip")
    assert added.returncode == 0, added.stderr
    assert "3 pairs for training" in added.stdout
    with collegium.Library.open(folder) as library:
        assert library.info().collections[0].pairs == {"train": 3, "dev": 0, "test": 0}
