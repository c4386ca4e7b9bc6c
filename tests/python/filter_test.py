"""Filters on metadata and caps on results, through the library and the command line."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import collegium
from conftest import RunPython

LANGUAGES = ("en", "de", "fr")


def _documents(prefix: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{prefix}{i:02}",
            "text": f"Entry {i} of {prefix}: a word on tea and bicycles.",
            "year": 2000 + i,
            "lang": LANGUAGES[i % 3],
            "tags": ["even" if i % 2 == 0 else "odd", f"t{i % 5}"],
            "file": {"path": f"{prefix}/{i // 10}/{i}.md"},
        }
        for i in range(30)
    ]


@pytest.fixture
def library(tmp_path: Path, tiny_encoder: Path) -> Iterator[collegium.Library]:
    with collegium.Library.create(tmp_path / "library", encoder=tiny_encoder) as made:
        made.add("a", _documents("a"))
        made.add("b", _documents("b"))
        made.add("bare", [{"id": f"bare{i}", "text": f"Plain text {i}."} for i in range(5)])
        yield made


Accepts = Callable[[dict[str, Any]], bool]
CASES: list[tuple[dict[str, Any], Accepts, bool]] = [
    # filter, what it accepts of _documents(), whether it accepts a document without metadata
    ({"lang": "en"}, lambda d: d["lang"] == "en", False),
    ({"year": {"$gte": 2005, "$lt": 2008}}, lambda d: 2005 <= d["year"] < 2008, False),
    ({"year": {"$gte": 2028.5}}, lambda d: d["year"] == 2029, False),
    ({"tags": "t3"}, lambda d: "t3" in d["tags"], False),
    ({"tags": {"$in": ["t1", "none"]}, "lang": "de"},
     lambda d: "t1" in d["tags"] and d["lang"] == "de", False),
    ({"file.path": {"$prefix": "a/1"}}, lambda d: d["file"]["path"].startswith("a/1"), False),
    ({"$or": [{"year": 2003}, {"$not": {"lang": {"$in": ["en", "de"]}}}]},
     lambda d: d["year"] == 2003 or d["lang"] == "fr", True),
    ({"lang": {"$ne": "en"}}, lambda d: d["lang"] != "en", True),
    ({"absent": 1}, lambda d: False, False),
    ({"year": "2003"}, lambda d: False, False),
    ({"lang": {"$in": []}}, lambda d: False, False),
    ({"absent": {"$exists": False}}, lambda d: True, True),
    ({}, lambda d: True, True),
]  # fmt: skip


@pytest.mark.parametrize("policy", ["bound", "routed"])
def test_a_filter_gives_every_match_and_nothing_else(
    library: collegium.Library, policy: Any
) -> None:
    for filter, accepts, bare in CASES:
        expected = {d["id"] for d in _documents("a") + _documents("b") if accepts(d)}
        if bare:
            expected |= {f"bare{i}" for i in range(5)}
        found = library.search("tea", k=1000, policy=policy, filter=filter).passages
        assert {p.document_id for p in found} == expected, filter
        assert len(found) == len(expected)
        few = library.search("tea", k=3, policy=policy, filter=filter).passages
        assert [p.document_id for p in few] == [p.document_id for p in found][:3]
        as_text = library.search("tea", k=1000, policy=policy, filter=json.dumps(filter)).passages
        assert [p.document_id for p in as_text] == [p.document_id for p in found]


def test_a_filter_holds_in_ask_and_after_a_change(library: collegium.Library) -> None:
    filter = types.MappingProxyType({"year": 2007})
    answer = library.ask("tea", k=10, gate="retrieve", filter=filter)
    assert {p.document_id for p in answer.passages} == {"a07", "b07"}
    changed = {**_documents("a")[7], "year": 1999}
    library.add("a", [changed])
    answer = library.ask("tea", k=10, gate="retrieve", filter=filter)
    assert {p.document_id for p in answer.passages} == {"b07"}
    library.remove("b", ["b07"])
    assert library.search("tea", filter=filter).passages == []
    answer = library.ask("tea", gate="retrieve", filter=filter)
    assert answer.passages == []


def test_caps_hold_across_collections_and_still_give_k(library: collegium.Library) -> None:
    everything = library.search("tea", k=1000, source_field="lang").passages
    assert {p.source for p in everything} == {"en", "de", "fr", None}
    expected: list[str] = []
    counts: dict[Any, int] = {}
    for passage in everything:
        if passage.source is not None:
            counts[passage.source] = counts.get(passage.source, 0) + 1
            if counts[passage.source] > 2:
                continue
        expected.append(passage.document_id)
    capped = library.search("tea", k=1000, source_field="lang", max_per_source=2).passages
    assert [p.document_id for p in capped] == expected
    assert len(expected) == 3 * 2 + 5
    few = library.search("tea", k=7, source_field="lang", max_per_source=2).passages
    assert [p.document_id for p in few] == expected[:7]
    assert [p.number for p in few] == list(range(1, 8))
    years = library.search("tea", k=4, source_field="year", collections=["a"]).passages
    assert all(p.source == 2000 + int(p.document_id[1:]) for p in years)
    found = json.loads(library.search("tea", k=2, source_field="tags").to_json())["passages"]
    assert all(p["source"] in ("even", "odd") for p in found)
    assert "source" not in json.loads(library.search("tea").to_json())["passages"][0]


def test_near_duplicates_are_left_out(library: collegium.Library) -> None:
    text = "The very same words in three documents."
    library.add("c", [{"id": f"copy{i}", "text": text} for i in range(3)])
    library.add("d", [{"id": "elsewhere", "text": text}])
    alone = library.search(text, k=1000).passages
    copies = [p.document_id for p in alone if p.text == text]
    assert sorted(copies) == ["copy0", "copy1", "copy2", "elsewhere"]
    kept = library.search(text, k=1000, duplicate_similarity=0.9999).passages
    assert [p.document_id for p in kept if p.text == text] == copies[:1]
    # With every passage a duplicate of the best, one is left.
    assert len(library.search(text, k=10, duplicate_similarity=-1.0).passages) == 1


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ({"a": {"$near": 1}}, "filter at a.$near: is no operator"),
        ({"a": float("nan")}, "filter is no JSON"),
        ({"a": {"$lt": float("inf")}}, "filter is no JSON"),
        ({"a": {1, 2}}, "filter is no JSON"),
        ({1: "a"}, "filter is no JSON: key 1 is int"),
        ({"a": {"$in": 3}}, "filter at a.$in: is 3, must be an array"),
        ("{", "filter: is not JSON"),
        ('{"a": NaN}', "filter: is not JSON"),
        ('{"a": 1, "a": 2}', "key 'a' comes twice"),
        ({"a": "\ud800"}, "filter: is not JSON"),
    ],
)
def test_a_malformed_filter_is_refused_by_name(
    library: collegium.Library, filter: Any, message: str
) -> None:
    for call in (library.search, library.ask):
        with pytest.raises(collegium.InvalidArgumentError) as caught:
            call("tea", filter=filter)
        assert message in str(caught.value)


def test_hostile_nesting_is_an_error_and_no_crash(library: collegium.Library) -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(100_000):
        deep = {"$not": deep}
    with pytest.raises(collegium.InvalidArgumentError):
        library.search("tea", filter=deep)
    with pytest.raises(collegium.InvalidArgumentError, match="nested"):
        library.search("tea", filter='{"$not":' * 100_000)
    circular: dict[str, Any] = {}
    circular["$not"] = circular
    with pytest.raises(collegium.InvalidArgumentError):
        library.search("tea", filter=circular)
    while deep:  # or its destructor recurses
        deep = deep.pop("$not", {})


def test_bad_caps_are_refused(library: collegium.Library) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="without a source_field"):
        library.search("tea", max_per_source=1)
    with pytest.raises(collegium.InvalidArgumentError, match="duplicate_similarity"):
        library.search("tea", duplicate_similarity=float("nan"))
    with pytest.raises(collegium.InvalidArgumentError, match="max_per_source"):
        library.search("tea", source_field="lang", max_per_source=-1)
    with pytest.raises(TypeError):
        library.search("tea", filter=3)  # type: ignore[arg-type]


def test_metadata_of_ten_thousand_fields_is_filtered(library: collegium.Library) -> None:
    wide = {f"f{i}": i for i in range(10_000)}
    library.add("wide", [{"id": "wide", "text": "Wide.", **wide}])
    found = library.search("wide", filter={"f9999": 9999, "f0": {"$lt": 1}}).passages
    assert [p.document_id for p in found] == ["wide"]
    assert library.search("wide", filter={"f10000": {"$exists": True}}).passages == []


def test_the_command_takes_a_filter_and_caps(
    library: collegium.Library, tmp_path: Path, run_python: RunPython
) -> None:
    library.close()
    command = ["-m", "collegium", "ask", "--library", str(tmp_path / "library"), "--json"]
    options = ["--gate", "retrieve", "--k", "50"]
    done = run_python([*command, *options, "--filter", '{"year": {"$lt": 2002}}', "tea"])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["passages"]
    assert {p["document_id"] for p in found} == {"a00", "a01", "b00", "b01"}
    done = run_python(
        [*command, *options, "--source-field", "lang", "--max-per-source", "1", "tea"]
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["passages"]
    assert len(found) == 3 + 5
    done = run_python([*command, "--filter", '{"year": {"$gtx": 1}}', "tea"])
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "filter at year.$gtx: is no operator" in done.stderr
