"""The lexical settings of a collection, from Python and the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

import collegium
from collegium import Library, cli


@pytest.fixture
def library(tmp_path: Path, tiny_encoder: Path) -> Iterator[Library]:
    with Library.create(tmp_path / "library", encoder=tiny_encoder) as made:
        yield made


def lexical_scores(library: Library, query: str) -> dict[str, float]:
    passages = library.search(query, collections=["c"], lexical_weight=1.0).passages
    return {p.document_id: p.lexical_score for p in passages if p.lexical_score is not None}


def test_a_stemmer_and_stop_words_are_set_before_the_documents(library: Library) -> None:
    now = library.set_lexical("c", stemmer="english", stop_words="english")
    assert now.stemmer == "english"
    assert now.stop_words == collegium.LexicalSettings.english_stop_words()
    library.add("c", [{"id": "a", "text": "the runners"}, {"id": "b", "text": "a river"}])
    assert set(lexical_scores(library, "runner")) == {"a"}
    assert lexical_scores(library, "the") == {}
    with pytest.raises(collegium.FailedPreconditionError):
        library.set_lexical("c", stemmer="german")
    assert library.lexical_settings("c").stemmer == "english"


def test_k1_and_b_can_change_and_the_rest_stays(library: Library) -> None:
    library.set_lexical("c", stop_words=["of"], fold_accents=False)
    library.add("c", [{"id": "a", "text": "tea tea of"}, {"id": "b", "text": "river"}])
    now = library.set_lexical("c", k1=0.0)  # then every score is the idf
    assert (now.k1, now.b, now.stop_words, now.fold_accents) == (0.0, 0.75, ["of"], False)
    # N = 2 passages, one of them with the word.
    assert lexical_scores(library, "tea")["a"] == pytest.approx(math.log(1 + 1.5 / 1.5), abs=1e-6)


def test_bad_settings_are_named_and_change_nothing(library: Library) -> None:
    for bad in ({"stemmer": "klingon"}, {"k1": -1.0}, {"b": math.nan}, {"stop_words": "the"}):
        with pytest.raises(collegium.InvalidArgumentError):
            library.set_lexical("c", **bad)
    with pytest.raises(collegium.NotFoundError):
        library.lexical_settings("c")
    assert "english" in collegium.LexicalSettings.stemmers()


def test_the_command_sets_and_shows(
    tmp_path: Path, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    library.close()
    words = tmp_path / "words.txt"
    words.write_text("le\nla\n", encoding="utf-8")
    base = ["words", "--library", str(tmp_path / "library"), "--collection", "c", "--json"]
    assert cli.main([*base, "--stemmer", "french", "--stop-words", str(words), "--b", "0.5"]) == 0
    assert cli.main([*base, "--no-split-names"]) == 0
    capsys.readouterr()
    assert cli.main(base) == 0
    assert json.loads(capsys.readouterr().out) == {
        "collection": "c",
        "k1": 1.2,
        "b": 0.5,
        "stemmer": "french",
        "stop_words": ["le", "la"],
        "fold_accents": True,
        "split_names": False,
    }
    assert cli.main([*base, "--stemmer", "klingon"]) == 1
