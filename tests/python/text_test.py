from __future__ import annotations

import random
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import collegium
from collegium import text

DATA = Path(__file__).resolve().parents[1] / "data"
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


# One of each class of character that a tokenizer tells apart, and mixtures of them.
def noise(seed: int, count: int) -> list[str]:
    generator = random.Random(seed)
    classes = [
        "abcdXYZ",
        "0123456789",
        " \t\n",
        "'.,!?-",
        "éßØ",
        "Ждλ",
        "東京の",
        "😀👍",
        "\u0301\u00a0",
    ]
    return [
        "".join(generator.choice(generator.choice(classes)) for _ in range(40))
        for _ in range(count)
    ]


@pytest.mark.parametrize("name", ["unigram", "bpe"])
def test_sentencepiece_equals_its_own_package(name: str) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    path = DATA / f"{name}.model"
    reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours = text.load_sentencepiece(path)
    assert ours.vocab_size == reference.vocab_size()
    for sample in SAMPLES + noise(11, 300):
        encoding = ours.encode(sample, add_special_tokens=False)
        assert encoding.ids == list(reference.encode(sample)), sample
        assert ours.decode(encoding.ids) == reference.decode(encoding.ids), sample


def test_what_is_no_sentencepiece_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(collegium.NotFoundError):
        text.load_sentencepiece(tmp_path / "none.model")
    (tmp_path / "bad.model").write_bytes(b"no model" * 100)
    with pytest.raises(collegium.CorruptionError):
        text.load_sentencepiece(tmp_path / "bad.model")


def gguf_metadata(path: Path) -> dict[str, Any]:
    """The key-value section of a GGUF file, read by its specification (version 3)."""
    formats = {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }
    with path.open("rb") as file:

        def number(kind: str) -> Any:
            return struct.unpack("<" + kind, file.read(struct.calcsize(kind)))[0]

        def value(kind: int) -> Any:
            if kind == 8:
                return file.read(number("Q")).decode()
            if kind == 9:
                item, count = number("I"), number("Q")
                return [value(item) for _ in range(count)]
            return number(formats[kind])

        assert file.read(4) == b"GGUF"
        number("I")
        number("Q")
        return {value(8): value(number("I")) for _ in range(number("Q"))}


def test_byte_level_bpe_equals_tokenizers(smollm2: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    metadata = gguf_metadata(smollm2)
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    reference = tokenizers.Tokenizer(
        tokenizers.models.BPE({token: i for i, token in enumerate(tokens)}, merges)
    )
    # How the model was trained: every digit alone, then GPT-2's pattern.
    assert metadata["tokenizer.ggml.pre"] == "smollm"
    reference.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    reference.decoder = tokenizers.decoders.ByteLevel()
    control = [
        t
        for t, kind in zip(tokens, metadata["tokenizer.ggml.token_type"], strict=True)
        if kind == 3
    ]
    reference.add_special_tokens(control)
    ours = text.load_byte_level_bpe(smollm2)
    assert ours.vocab_size == len(tokens)
    for sample in [*SAMPLES, "<|im_start|>user\nhi 123<|im_end|>", *noise(13, 300)]:
        ids = ours.encode(sample, add_special_tokens=False).ids
        assert ids == reference.encode(sample, add_special_tokens=False).ids, sample
        assert ours.decode(ids, skip_special_tokens=False) == reference.decode(
            ids, skip_special_tokens=False
        ), sample


def test_a_byte_level_bpe_needs_a_gguf_file_with_one(tmp_path: Path) -> None:
    with pytest.raises(collegium.NotFoundError):
        text.load_byte_level_bpe(tmp_path / "none.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"no model" * 100)
    with pytest.raises(collegium.CorruptionError):
        text.load_byte_level_bpe(tmp_path / "bad.gguf")


def test_another_thread_runs_while_sentences_are_split() -> None:
    body = "One sentence of a few words. " * 400_000
    count = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal count
        while not done.is_set():
            count += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    while count == 0:
        time.sleep(0.001)
    # The list of spans is made with the GIL: what counts is a turn before the first of it.
    before = count
    spans = text.split_sentences(body)
    seen = count - before
    done.set()
    thread.join()
    assert len(spans) == 400_000
    assert seen > 5, seen
