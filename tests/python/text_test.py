from __future__ import annotations

import random
from pathlib import Path

import pytest

import collegium
from collegium import text

SAMPLES = [
    "",
    "Hello, world!",
    "naïve café résumé Ångström",
    "北京 and 東京 mixed with latin",
    "tabs\tand\nnewlines\r\nand\u00a0spaces",
    "control \x00\x07 characters \u200b",
    "emoji 👍🏽 and 👩‍👩‍👧",
    "unaffable " + "x" * 300,
    "[CLS] literal [MASK] tokens [unused1]",
    "e\u0301 combining, ﬁ ligature, ½",
]


def test_wordpiece_equals_tokenizers(minilm: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    reference = tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    ours = text.load_wordpiece(minilm)
    generator = random.Random(5)
    noise = [
        "".join(
            chr(generator.choice([*range(32, 1000), *range(0x3000, 0x3100), 0x1F600]))
            for _ in range(60)
        )
        for _ in range(300)
    ]
    for sample in SAMPLES + noise:
        assert list(ours.encode(sample).ids) == reference.encode(sample).ids, sample


def test_offsets_are_bytes_of_the_utf8(minilm: Path) -> None:
    sample = "héllo wörld"
    encoding = text.load_wordpiece(minilm).encode(sample, add_special_tokens=False)
    pieces = [sample.encode()[begin:end].decode() for begin, end in encoding.offsets]
    assert "".join(pieces) == "héllowörld"
    assert len(encoding) == len(encoding.ids) == len(encoding.offsets)


def test_truncation_is_flagged(minilm: Path) -> None:
    tokenizer = text.load_wordpiece(minilm)
    short = tokenizer.encode("one two three", max_tokens=4)
    assert len(short) == 4
    assert short.truncated
    assert not tokenizer.encode("one").truncated


def test_decode_gives_the_words_back(minilm: Path) -> None:
    tokenizer = text.load_wordpiece(minilm)
    assert tokenizer.decode(tokenizer.encode("green tea leaves").ids) == "green tea leaves"
    with pytest.raises(collegium.InvalidArgumentError):
        tokenizer.decode([10**9])
    assert tokenizer.token_id("no such token at all") is None
    assert tokenizer.token(tokenizer.token_id("tea") or 0) == "tea"


def test_passages_cover_the_text(minilm: Path) -> None:
    tokenizer = text.load_wordpiece(minilm)
    body = "\n\n".join(
        f"# Part {i}\n" + " ".join(f"Sentence number {j} of part {i}." for j in range(30))
        for i in range(5)
    )
    spans = text.split_passages("Title", body, tokenizer, max_tokens=64)
    assert len(spans) > 5
    data = body.encode()
    covered = bytearray(len(data))
    for span in spans:
        begin, end = span.bytes
        passage = data[begin:end].decode()
        assert len(tokenizer.encode(f"Title {passage}")) <= 64
        for at in range(begin, end):
            covered[at] += 1
    assert all(count == 1 or chr(byte).isspace() for count, byte in zip(covered, data, strict=True))
    assert {span.section for span in spans} == {f"Part {i}" for i in range(5)}


def test_a_lone_surrogate_is_an_invalid_argument(minilm: Path) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="UTF-8"):
        text.load_wordpiece(minilm).encode("broken \udc80 text")
    with pytest.raises(collegium.InvalidArgumentError):
        text.split_sentences("\ud800")


def test_a_missing_vocabulary_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(collegium.NotFoundError, match=r"vocab\.txt"):
        text.load_wordpiece(tmp_path)
