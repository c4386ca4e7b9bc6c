from __future__ import annotations

import json
from typing import Any

import pytest

import collegium
from collegium import _arguments


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
