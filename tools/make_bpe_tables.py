"""Writes cpp/src/text/bpe_tables.cc: the Unicode classes the byte-level BPE patterns need.

The classes are those of the pinned `tokenizers` package (its regular expressions and its Digits
pre-tokenizer), asked code point by code point, so that ours cannot differ from it.

Usage: python tools/make_bpe_tables.py [output]
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

PINNED = "0.23.3"
LETTER, NUMBER, SPACE, DIGIT, MARK, PUNCTUATION, SYMBOL = 1, 2, 4, 8, 16, 32, 64
APART = "\ue000"  # of private use: in none of the classes

HEADER = """\
// Made by tools/make_bpe_tables.py from tokenizers {version}; do not edit.
#include "text/bpe_tables.h"

namespace collegium::core {{

// clang-format off
const CodePointRange kBpeRanges[] = {{
"""
FOOTER = """\
}};
// clang-format on

const std::size_t kNumBpeRanges = {count};

}}  // namespace collegium::core
"""


def members(pre_tokenizer: pre_tokenizers.PreTokenizer, code_points: list[int]) -> set[int]:
    """The code points that `pre_tokenizer` cuts out as a piece of their own."""
    found: set[int] = set()
    step = 4096
    for start in range(0, len(code_points), step):
        chunk = code_points[start : start + step]
        text = "".join(APART + chr(c) for c in chunk) + APART
        for piece, _ in pre_tokenizer.pre_tokenize_str(text):
            if piece != APART and len(piece) == 1:
                found.add(ord(piece))
    return found


def main() -> None:
    if version("tokenizers") != PINNED:
        raise SystemExit(f"tokenizers {version('tokenizers')} is installed, {PINNED} is pinned")
    root = Path(__file__).resolve().parent.parent
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "cpp/src/text/bpe_tables.cc"
    code_points = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF and c != ord(APART)]
    classes = [0] * 0x110000
    for bit, splitter in (
        (LETTER, pre_tokenizers.Split(Regex(r"\p{L}"), "isolated")),
        (NUMBER, pre_tokenizers.Split(Regex(r"\p{N}"), "isolated")),
        (SPACE, pre_tokenizers.Split(Regex(r"\s"), "isolated")),
        (DIGIT, pre_tokenizers.Digits(individual_digits=True)),
        (MARK, pre_tokenizers.Split(Regex(r"\p{M}"), "isolated")),
        (PUNCTUATION, pre_tokenizers.Split(Regex(r"\p{P}"), "isolated")),
        (SYMBOL, pre_tokenizers.Split(Regex(r"\p{S}"), "isolated")),
    ):
        for code_point in members(splitter, code_points):
            classes[code_point] |= bit
    lines: list[str] = []
    start = 0
    for code_point in range(1, 0x110001):
        mask = classes[code_point] if code_point < 0x110000 else -1
        if mask != classes[start]:
            if classes[start]:
                lines.append(f"    {{0x{start:05x}, 0x{code_point - 1:05x}, {classes[start]}}},\n")
            start = code_point
    output.write_text(
        HEADER.format(version=PINNED) + "".join(lines) + FOOTER.format(count=len(lines)),
        encoding="utf-8",
    )
    print(f"{output}: {len(lines)} ranges")


if __name__ == "__main__":
    main()
