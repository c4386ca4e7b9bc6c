"""`tokenizer.json` read natively gives what the `tokenizers` package gives.

The texts are lines of the shared retrieval data (COLLEGIUM_DATA); tests/cpp/text has the same on
texts made there, which need neither the data nor the package.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import pathlib
from collections.abc import Iterator

import pytest

import collegium.text

tokenizers = pytest.importorskip("tokenizers")

KINDS = pathlib.Path(__file__).resolve().parent.parent / "data/tokenizers"
LINES = 12_000  # of each of 17 kinds: 204,000 in all


def files() -> list[pathlib.Path]:
    found = sorted(KINDS.glob("*/tokenizer.json"))
    if "COLLEGIUM_MINILM" in os.environ:
        found.append(pathlib.Path(os.environ["COLLEGIUM_MINILM"]) / "tokenizer.json")
    return found


def lines_of(data: pathlib.Path) -> Iterator[str]:
    """Queries and documents of all sets, in turn."""
    paths = [*data.glob("*/queries.jsonl.gz"), *data.glob("*/corpus.jsonl.gz")]
    with_each = [read(path) for path in sorted(paths)]
    for texts in itertools.zip_longest(*with_each):
        yield from (text for text in texts if text is not None)


def read(path: pathlib.Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    if "COLLEGIUM_DATA" not in os.environ:
        pytest.skip("COLLEGIUM_DATA names no folder of retrieval data")
    found = list(itertools.islice(lines_of(pathlib.Path(os.environ["COLLEGIUM_DATA"])), LINES))
    assert len(found) == LINES
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", files(), ids=lambda path: path.parent.name)
def test_equals_tokenizers_on_real_lines(path: pathlib.Path, lines: list[str]) -> None:
    reference = tokenizers.Tokenizer.from_file(str(path))
    reference.no_truncation()
    reference.no_padding()
    ours = collegium.text.load_tokenizer_json(str(path))
    assert ours.vocab_size == reference.get_vocab_size()
    for begin in range(0, len(lines), 1000):
        some = lines[begin : begin + 1000]
        for text, expected in zip(some, reference.encode_batch(some), strict=True):
            seen = ours.encode(text)
            assert list(seen.ids) == expected.ids, text
            # The package counts characters.
            starts = [0, *itertools.accumulate(len(character.encode()) for character in text)]
            offsets = [(starts[first], starts[last]) for first, last in expected.offsets]
            assert [tuple(span) for span in seen.offsets] == offsets, text
