#!/usr/bin/env python3
"""Writes tests/data/tokenizers: small tokenizer.json files and what `tokenizers` makes of texts.

    python tests/oracles/make_tokenizers.py            # goldens of the committed files
    python tests/oracles/make_tokenizers.py --train    # the files anew, then their goldens
    python tests/oracles/make_tokenizers.py --check    # exits 1 if a golden would change

The files are trained on texts written here and on the topics of Python's own help; training again
may give other vocabularies. Of the goldens, hand-written texts are kept with ids and offsets (in
bytes), random ones and every code point as checksums. Needs tokenizers==0.23.3, sentencepiece for
--train, and some minutes.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import tokenizers
from tokenizer_kinds import KINDS
from tokenizers import Encoding, Tokenizer

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "data/tokenizers"
PINNED = "0.23.3"
BLOCK = 8192  # code points a checksum
GROUP = 16  # code points a text
RANDOM_TEXTS = 3000
CHUNK = 500  # random texts a checksum

CASES = [
    "",
    " ",
    "   ",
    "\n",
    " \t\r\n",
    "Hello, world!",
    " Hello  world ",
    "a   b\t\tc \n\n d",
    "trailing spaces   ",
    "   leading spaces",
    "\n\n1. First\n\n2. Second\r\n\r\n  3. Third\n",
    "12345 67,890.12 3.14159e-10 a12b3",
    "it's we're I'm they'll you've he'd can't 'tis IT'S WE'RE I'LL He'D 'ſ",
    "'s't're've'm'll'd '' 'S",
    "don't e.g. U.S.A. 50% C++ foo_bar a-b a–b a—b “quoted” ‘q’ …",
    "def f(x):\n    return x  # comment\n\n\nclass A:\n\tpass\n",
    "Café naïve Ærøskøbing ŁÓDŹ straße ẞ",
    "Cafe\u0301 nai\u0308ve o\u0302\u0301 a\u0323\u0302 \u1ead e\u0301\u0323",
    "İstanbul Iğdır ΑΣΑΣ Ὀδυσσεύς",
    "漢字仮名交じり文 と カタカナ、ひらがな。ﾊﾟｰﾄ ｶﾞ",
    "한국어 문장입니다 \u1112\u1161\u11ab \ud55c \u1112\u1161 \uac00\u11a8",
    "a\u0000b\u0007c\u200bd\u200de\u200ef\u00adg\ufeffh\ufffdi\x7f\x8f\x9f",
    "tab\there\u00a0nbsp\u3000wide\u2028line\u2029para\u0085nel\u000bvt\u000cff\u1680og\u2009thin",
    "👩\u200d👩\u200d👧\u200d👦 family ❤\ufe0f 👍🏽 🇩🇪🇫🇷 ©\u200d® ☺\u200d☹",
    "שָׁלוֹם עולם مَرْحَبًا بالعالم",
    "हिन्दी देवनागरी क्ष क्\u0300ष ਪੰਜਾਬੀ தமிழ் ไทย",
    "\u0301\u0301leading marks",
    "a\u0301\u302f b\u302f\u0301 c\u302e\U0001d165\u0323",
    "\U0001d15e\U0001d16e\U0001d165x \u0f73\u0344y \u0958\u0300",
    "①②③ ½ ﬁ ﬂ Ⅷ ㎏ Ω K Å ﷺ ㌖ ｆｕｌｌ",
    "\U0002f800\uf900 豈 \U00020000 \ue000\U000f0000\U0010ffff",
    "\u0600a \u110bda \u0d4eക",
    "mixed ABCдефGHI日本語123",
    "x" * 99 + " " + "x" * 100 + " " + "x" * 101,
    "ab" * 200,
    " " * 300,
    "!?" * 100,
    "0" * 50,
    "é" * 100 + " " + "e\u0301" * 101,
    "[CLS] a[SEP]b [MASK] x[MASK] y[mask] [[SEP]] [SEP",
    "<s> a</s>b <mask> x<mask>y   <mask>  z <unk> <pad> < s > <s",
    "<|begin_of_text|>a <|end_of_text|> <|im_start|>user\nhi<|im_end|> <|im_start|<|im_end|>",
    "▁a ▁▁ b▁c ▁",
    "alone left right xalone alonex alone. (alone) éalone alone_ alone\u0301 ALONE Alone aloneleft",
    "left  left  right  right  left right",
    "a  b   c    d     e\n\n\nf",
    # Where two ways to cut it have one score but for the last bit.
    "thes" + "." * 41,
]


def byte_offsets(text: str, offsets: list[tuple[int, int]]) -> list[tuple[int, int]]:
    starts = [0]
    for character in text:
        starts.append(starts[-1] + len(character.encode()))
    return [(starts[begin], starts[end]) for begin, end in offsets]


def checksum(model: Tokenizer, texts: list[str]) -> int:
    """CRC-32 over, for each text, u32 count, then u32 id, begin, end of each token."""
    crc = 0
    for text, encoding in zip(texts, model.encode_batch(texts), strict=True):
        numbers = [len(encoding.ids)]
        for token, (begin, end) in zip(
            encoding.ids, byte_offsets(text, encoding.offsets), strict=True
        ):
            numbers += [token, begin, end]
        crc = zlib.crc32(struct.pack(f"<{len(numbers)}I", *numbers), crc)
    return crc


def code_point_texts(first: int) -> list[str]:
    """Each code point alone, in a word, between marks and after a letter that takes one."""
    texts = []
    for group in range(first, first + BLOCK, GROUP):
        characters = [chr(c) for c in range(group, group + GROUP) if not 0xD800 <= c < 0xE000]
        texts.append(" ".join(f"{c} a{c}b \u0301{c}\u0323e{c}\u0301" for c in characters))
    return texts


def random_texts(count: int) -> list[str]:
    """What tokenizer_json_test.cc's random_texts() makes: a linear congruential generator chooses
    characters that interact."""
    ranges = [
        (0x20, 0x7F),
        (0x61, 0x7B),
        (0x61, 0x7B),
        (0x20, 0x21),
        (0x20, 0x30),
        (0x30, 0x3A),
        (0x09, 0x0E),
        (0xA0, 0x250),
        (0x300, 0x346),
        (0x370, 0x600),
        (0x8D0, 0xE80),
        (0x1100, 0x1200),
        (0x1E00, 0x2070),
        (0x2460, 0x2470),
        (0x3000, 0x3100),
        (0x4E00, 0x4E10),
        (0xAC00, 0xAC40),
        (0xFB00, 0xFB50),
        (0xFE00, 0xFE30),
        (0xFF00, 0xFFA0),
        (0x1D15E, 0x1D173),
        (0x1F600, 0x1F610),
        (0x2F800, 0x2F810),
        (0x0, 0x20),
    ]
    words = [
        "<mask>", "[MASK]", "alone", "left", "right", "<s>", "</s>", "  ", "'s", "'LL", "\r\n",
        "▁", "\u200d", "e\u0301", "the ", " class", "\n\n", "...", "<unk>", "Ġ",
    ]  # fmt: skip
    state = 1

    def below(limit: int) -> int:
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % limit

    texts = []
    for _ in range(count):
        text = ""
        for _ in range(1 + below(40)):
            kind = below(len(ranges) + 4)
            if kind < len(ranges):
                first, last = ranges[kind]
                text += chr(first + below(last - first))
            else:
                text += words[below(len(words))]
        texts.append(text)
    return texts


def chunks(texts: list[str], size: int) -> Iterator[list[str]]:
    for begin in range(0, len(texts), size):
        yield texts[begin : begin + size]


def flat(text: str, encoding: Encoding) -> list[int]:
    return [n for span in byte_offsets(text, encoding.offsets) for n in span]


def pair_case(model: Tokenizer, first: str, second: str, limit: int, add: bool) -> dict[str, Any]:
    if limit:
        model.enable_truncation(limit)
    encoding = model.encode(first, second, add_special_tokens=add)
    model.no_truncation()
    offsets = []
    for sequence, (begin, end) in zip(encoding.sequence_ids, encoding.offsets, strict=True):
        text = second if sequence == 1 else first
        offsets += byte_offsets(text, [(begin, end)])[0] if sequence is not None else (0, 0)
    return {
        "first": first,
        "second": second,
        "max": limit,
        "special": add,
        "ids": encoding.ids,
        "offsets": offsets,
        "types": encoding.type_ids,
        "truncated": len(encoding.overflowing) > 0,
    }


def goldens(model: Tokenizer) -> dict[str, Any]:
    model.no_truncation()
    model.no_padding()
    cases = []
    for text in CASES:
        encoding = model.encode(text)
        ids = model.encode(text, add_special_tokens=False).ids
        cases.append(
            {
                "text": text,
                "ids": encoding.ids,
                "offsets": flat(text, encoding),
                "types": encoding.type_ids,
                "plain": ids,
                "decoded": model.decode(encoding.ids, skip_special_tokens=True),
                "decoded_part": model.decode(ids[1::2], skip_special_tokens=False),
            }
        )
    cut = []
    added_tokens = model.num_special_tokens_to_add(False)
    for limit in (1, 2, 3, 5, 8, 50):
        for text in ("the class of strings", "a", "", " <mask> x [MASK]"):
            if limit < max(added_tokens, 1):
                continue
            model.enable_truncation(limit)
            encoding = model.encode(text)
            model.no_truncation()
            cut.append(
                {
                    "text": text,
                    "max": limit,
                    "ids": encoding.ids,
                    "offsets": flat(text, encoding),
                    "truncated": len(encoding.overflowing) > 0,
                }
            )
    pairs = []
    two = [
        ("the class", "of strings and methods"),
        ("", "x"),
        ("a long text of words", "b"),
        ("", ""),
    ]
    around = model.num_special_tokens_to_add(True)
    for first, second in [*two, ("é <mask> x", "Straße [SEP] y")]:
        for limit in (0, around + 1, around + 2, around + 5, around + 6, around + 9):
            for add in (True, False):
                if limit or add:
                    pairs.append(pair_case(model, first, second, limit, add))
    return {
        "made_by": f"tests/oracles/make_tokenizers.py with tokenizers {PINNED}",
        "vocab_size": model.get_vocab_size(),
        "cases": cases,
        "cut": cut,
        "pairs": pairs,
        "random": [checksum(model, chunk) for chunk in chunks(random_texts(RANDOM_TEXTS), CHUNK)],
        "code_points": [
            checksum(model, code_point_texts(first)) for first in range(0, 0x110000, BLOCK)
        ],
    }


def as_text(golden: dict[str, Any]) -> str:
    """One case a line."""
    text = json.dumps(golden, ensure_ascii=True, indent=1)
    return re.sub(r"\n   +|\n  (?=[\]}])", " ", text) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("kinds", nargs="*", help="these alone")
    arguments = parser.parse_args()
    if tokenizers.__version__ != PINNED:
        sys.exit(f"tokenizers is {tokenizers.__version__}, this needs {PINNED}")
    same = True
    for kind in arguments.kinds or KINDS:
        folder = OUTPUT / kind
        file = folder / "tokenizer.json"
        if arguments.train:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(KINDS[kind]().to_str(pretty=False) + "\n", encoding="utf-8")
        text = as_text(goldens(Tokenizer.from_file(str(file))))
        output = folder / "goldens.json"
        if arguments.check:
            equal = output.read_text(encoding="utf-8") == text
            print(f"{kind}: {'as made' if equal else 'DIFFERS'}")
            same = same and equal
        else:
            output.write_text(text, encoding="utf-8")
            print(kind, file.stat().st_size, len(text))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
