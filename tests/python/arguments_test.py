from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import collegium
from collegium import _arguments


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_other_fields_become_metadata() -> None:
    document = _arguments.document_of(
        {"_id": "a", "title": "T", "text": "x", "year": 1999, "tags": ["é"]}, "documents[0]"
    )
    assert (document.id, document.title, document.text) == ("a", "T", "x")
    assert json.loads(document.metadata) == {"tags": ["é"], "year": 1999}


def test_a_document_without_other_fields_has_no_metadata() -> None:
    assert _arguments.document_of({"id": "a", "text": "x"}, "d").metadata == ""


def test_a_beir_document_with_a_field_called_id_keeps_it() -> None:
    document = _arguments.document_of({"_id": "a", "id": 7, "text": "x"}, "d")
    assert document.id == "a"
    assert json.loads(document.metadata) == {"id": 7}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, r"documents\[3\] has no '_id' or 'id'"),
        ({"id": "a"}, r"documents\[3\] has no 'text'"),
        ({"id": 5, "text": "x"}, r"documents\[3\]\['id'\] is int, expected str"),
        ({"id": "a", "text": b"x"}, r"documents\[3\]\['text'\] is bytes"),
        ({"id": "a", "text": "x", "when": object()}, r"documents\[3\]: its other fields"),
        ({"id": "a", "text": "x\ud800"}, r"documents\[3\]: .*UTF-8"),
        ({"id": "a", "text": "x", "deep": nested(100_000)}, r"documents\[3\]: .*nested"),
        ("a", r"documents\[3\] is str"),
    ],
)
def test_a_malformed_document_is_named_by_its_position(row: Any, message: str) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        _arguments.document_of(row, "documents[3]")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q"}, "has no 'id'"),
        ({"id": "a"}, "has no 'query'"),
        ({"query": "q", "id": "a", "split": "valid"}, "split is 'valid'"),
        ({"query": "q", "id": "a", "gain": "high"}, "is str, expected a number"),
        ({"query": "q", "id": "a", "gain": 10**400}, "too large"),
        ({"query": "q", "id": "a", "gian": 2}, r"unknown fields \['gian'\]"),
    ],
)
def test_a_malformed_pair_is_named_by_its_position(row: Any, message: str) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=message) as caught:
        _arguments.pair_of(row, "pairs[7]")
    assert str(caught.value).startswith("pairs[7]")


def test_a_pair_keeps_split_and_gain() -> None:
    pair = _arguments.pair_of({"query": "q", "id": "a", "split": "dev", "gain": 2}, "p")
    assert (pair.query, pair.document_id, pair.split, pair.gain) == ("q", "a", "dev", 2.0)
    assert _arguments.pair_of({"query": "q", "id": "a"}, "p").split is None


def test_one_dict_or_one_string_is_not_a_list_of_them() -> None:
    with pytest.raises(collegium.InvalidArgumentError):
        _arguments.documents_of({"id": "a", "text": "x"})  # type: ignore[dict-item]
    with pytest.raises(collegium.InvalidArgumentError):
        _arguments.names_of("law")
    with pytest.raises(collegium.InvalidArgumentError, match="empty"):
        _arguments.names_of([])


@pytest.mark.parametrize(
    ("value", "seen"),
    [(-1, "-1"), (2**64, str(2**64)), pytest.param(10**6000, "bits long", id="long")],
)
def test_whole_numbers_have_a_range(value: int, seen: str) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=f"k is .*{seen}.*allowed are 0 to"):
        _arguments.whole_number(value, "k")


def test_whole_numbers_are_ints_of_any_kind_and_nothing_else() -> None:
    assert _arguments.whole_number(np.int16(7), "k") == 7
    assert _arguments.whole_number(2**64 - 1, "k") == 2**64 - 1
    for other in (1.0, "1", None):
        with pytest.raises(TypeError, match="k is"):
            _arguments.whole_number(other, "k")


@pytest.mark.parametrize("kind", ["u1", "i4", "i8", "u8", ">i8"])
def test_document_numbers_are_integers_of_any_type(kind: str) -> None:
    numbers = _arguments.document_numbers(np.array([0, 3, 1], dtype=kind), "rows")
    assert numbers.dtype == np.uint32
    assert numbers.tolist() == [0, 3, 1]


@pytest.mark.parametrize("values", [[0, -1], [2**32], [0.5], ["a"], [[1]], [2**70]])
def test_document_numbers_that_do_not_fit_are_refused(values: Any) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="rows has"):
        _arguments.document_numbers(values, "rows")


def test_names_must_have_utf8() -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=r"collections\[1\] cannot .*UTF-8"):
        _arguments.names_of(["a", "\ud800"])
