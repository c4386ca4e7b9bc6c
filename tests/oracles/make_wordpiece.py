#!/usr/bin/env python3
"""Writes tests/data/wordpiece.json: what the `tokenizers` package says, for wordpiece_test.cc.

    python tests/oracles/make_wordpiece.py --minilm FOLDER --data FOLDER [--check]

FOLDER of MiniLM: vocab.txt and tokenizer.json of all-MiniLM-L6-v2. FOLDER of data: BEIR-like sets.
Of the sets only checksums of ids and offsets are kept, never their text. --check compares with the
committed file instead. Needs about two minutes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import pathlib
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator

from tokenizers import BertWordPieceTokenizer, Encoding, Tokenizer

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "data/wordpiece.json"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SPACES = [*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)]
SPACES += [0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
# A vocabulary of single characters, so that each character's fate is seen in the ids. Ideographs,
# Hangul syllables, private use and the planes above 1 are left out: they behave alike.
IN_VOCABULARY = [range(0x3400), range(0xA000, 0xAC00), range(0xD7B0, 0xD800)]
IN_VOCABULARY += [range(0xF900, 0x20000)]
BLOCK = 8192  # code points a checksum
CHUNK = 100  # texts a checksum
DOCUMENTS = 3000  # a set, at most

MODES = {
    "uncased": {},
    "cased": {"lowercase": False},
    "uncased, accents kept": {"strip_accents": False},
    "cased, accents stripped": {"lowercase": False, "strip_accents": True},
    "ideographs not split": {"handle_chinese_chars": False},
}

CASES = [
    "",
    " \t\r\n",
    "Hello, world!",
    "Café naïve Ærøskøbing ŁÓDŹ straße ẞ",
    "Cafe\u0301 nai\u0308ve o\u0302\u0301 a\u0323\u0302 \u1ead",
    "İstanbul Iğdır ΑΣΑΣ Ὀδυσσεύς",
    "漢字仮名交じり文 と カタカナ、ひらがな。",
    "한국어 문장입니다",
    "\u1112\u1161\u11ab \ud55c",
    "a\u0000b\u0007c\u200bd\u200de\u200ef\u00adg\ufeffh\ufffdi",
    "tab\there\u00a0nbsp\u3000wide\u2028line\u2029para\u0085nel\u000bvt",
    "👩\u200d👩\u200d👧\u200d👦 family ❤\ufe0f 👍🏽 🇩🇪",
    "שָׁלוֹם עולם",
    "مَرْحَبًا بالعالم",
    "हिन्दी देवनागरी ਪੰਜਾਬੀ தமிழ் ไทย",
    "\u0301\u0301leading marks",
    "a\u0301\u302f b\u302f\u0301 c\u302e\U0001d165\u0323",
    "\U0001d15e\U0001d16e\U0001d165x \u0f73\u0344y",
    "x" * 99 + " " + "x" * 100 + " " + "x" * 101,
    "é" * 100 + " " + "e\u0301" * 101,
    "한" * 33 + " " + "한" * 34,
    "don't e.g. U.S.A. 3.14 $5,000 50% C++ foo_bar a-b a–b a—b “quoted” ‘q’ …",
    "a[SEP]b [CLS] x [MASK] y[mask] [[SEP]] [SEP",
    "[PAD][UNK][sep] [ SEP ] [\u200bSEP]",
    "e\u0301[CLS]\u0302a",
    "http://example.com/a?b=c&d=%20#e user@example.com",
    "①②③ ½ ﬁ ﬂ Ⅷ ㎏ Ω K Å",
    "\U0002f800\uf900 豈 \U00020000",
    "\ue000\U000f0000\U0010ffff private",
    "\u0378\u0379 unassigned \U000e0001 tags",
    "ZWNJ می\u200cخواهم",
    "mixed ABCдефGHI日本語123",
]


def vocabulary() -> list[str]:
    characters = [chr(c) for r in IN_VOCABULARY for c in r if c not in SPACES]
    return [*SPECIAL, *characters, *("##" + c for c in characters)]


def tokenizer(tokens: list[str], **mode: bool) -> Tokenizer:
    wordpiece = BertWordPieceTokenizer(vocab={token: i for i, token in enumerate(tokens)}, **mode)
    return Tokenizer.from_str(wordpiece.to_str())


def byte_offsets(text: str, encoding: Encoding) -> list[tuple[int, int]]:
    starts = [0]
    for character in text:
        starts.append(starts[-1] + len(character.encode()))
    return [(starts[begin], starts[end]) for begin, end in encoding.offsets]


def checksum(model: Tokenizer, texts: list[str]) -> int:
    """CRC-32 over, for each text, u32 count, then u32 id, begin, end of each token."""
    crc = 0
    for text, encoding in zip(texts, model.encode_batch(texts), strict=True):
        numbers = [len(encoding.ids)]
        for token, (begin, end) in zip(encoding.ids, byte_offsets(text, encoding), strict=True):
            numbers += [token, begin, end]
        crc = zlib.crc32(struct.pack(f"<{len(numbers)}I", *numbers), crc)
    return crc


def code_point_texts(first: int) -> list[str]:
    """Each code point alone, within a word, and among marks that may have to change places."""
    texts = []
    for c in range(first, first + BLOCK):
        if not 0xD800 <= c < 0xE000:
            texts.append(f"{chr(c)} a{chr(c)}b \u302f{chr(c)}\U0001d165\u0323")
    return texts


def code_points(model: Tokenizer) -> list[int]:
    return [checksum(model, code_point_texts(first)) for first in range(0, 0x110000, BLOCK)]


def random_texts(count: int) -> list[str]:
    """What wordpiece_test.cc's random_text() makes: a linear congruential generator chooses
    characters that interact."""
    ranges = [
        (0x20, 0x7F),
        (0x61, 0x7B),
        (0x61, 0x7B),
        (0x20, 0x21),
        (0xA0, 0x250),
        (0x300, 0x370),
    ]
    ranges += [
        (0x300, 0x346),
        (0x370, 0x600),
        (0x8D0, 0x900),
        (0x900, 0xE00),
        (0xF70, 0xF86),
    ]
    ranges += [(0x1100, 0x1200), (0x1E00, 0x2070), (0x3000, 0x3100), (0x302A, 0x3030)]
    ranges += [(0x4E00, 0x4E10), (0xAC00, 0xAC40), (0xFB00, 0xFB50), (0xFE00, 0xFE30)]
    ranges += [(0x1D15E, 0x1D173), (0x1F600, 0x1F610), (0x2F800, 0x2F810), (0x0, 0x20)]
    state = 1

    def below(limit: int) -> int:
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % limit

    texts = []
    for _ in range(count):
        text = ""
        for _ in range(1 + below(40)):
            first, last = ranges[below(len(ranges))]
            text += chr(first + below(last - first))
        texts.append(text)
    return texts


def chunks(texts: list[str], size: int) -> Iterator[list[str]]:
    for begin in range(0, len(texts), size):
        yield texts[begin : begin + size]


def lines(path: pathlib.Path) -> Iterable[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def real_data(model: Tokenizer, data: pathlib.Path) -> dict[str, dict[str, object]]:
    sets = {}
    for queries in sorted(data.glob("*/queries.jsonl.gz")):
        if not (queries.parent / "corpus.jsonl.gz").is_file():
            continue
        asked = [line["text"] for line in lines(queries)]
        read = []
        for line in lines(queries.parent / "corpus.jsonl.gz"):
            read.append(f"{line['title']} {line['text']}")
            if len(read) == DOCUMENTS:
                break
        sets[queries.parent.name] = {
            "queries": [checksum(model, chunk) for chunk in chunks(asked, CHUNK)],
            "documents": [checksum(model, chunk) for chunk in chunks(read, CHUNK)],
            "texts": len(asked) + len(read),
        }
        print(queries.parent.name, len(asked), len(read), file=sys.stderr)
    return sets


def make(minilm: pathlib.Path, data: pathlib.Path) -> str:
    tokens = vocabulary()
    uncased = tokenizer(tokens)
    cases = []
    for text in CASES:
        encoding = uncased.encode(text)
        flat = [n for span in byte_offsets(text, encoding) for n in span]
        cases.append({"text": text, "ids": encoding.ids, "offsets": flat})
    truncated = []
    for limit in (2, 3, 5, 8, 9, 1000):
        uncased.enable_truncation(limit)
        for text in ("a bc def", "ab", "", "[SEP] x"):
            encoding = uncased.encode(text)
            cut = len(encoding.overflowing) > 0
            truncated.append({"text": text, "max": limit, "ids": encoding.ids, "truncated": cut})
    uncased.no_truncation()

    real = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    real.no_truncation()
    real.no_padding()
    decoded = []
    for text in ("Don't say: hello , world ! it's we've [MASK] unaffable .", "a b"):
        ids = real.encode(text).ids
        for skip in (True, False):
            decoded.append(
                {
                    "ids": ids,
                    "skip": skip,
                    "text": real.decode(ids, skip_special_tokens=skip),
                }
            )
    out = {
        "made_by": "tests/oracles/make_wordpiece.py with tokenizers 0.23.3",
        "cases": cases,
        "truncated": truncated,
        "decoded_by_minilm": decoded,
        "code_points": {
            name: code_points(tokenizer(tokens, **mode)) for name, mode in MODES.items()
        },
        "random": [checksum(uncased, chunk) for chunk in chunks(random_texts(20000), 1000)],
        "minilm": real_data(real, data),
    }
    return json.dumps(out, ensure_ascii=True, indent=0).replace(",\n", ", ") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minilm", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = make(arguments.minilm, arguments.data)
    if arguments.check:
        same = OUTPUT.read_text(encoding="utf-8") == text
        print(f"{OUTPUT.name}: {'as made' if same else 'DIFFERS'}")
        return 0 if same else 1
    OUTPUT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
