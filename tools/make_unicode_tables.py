#!/usr/bin/env python3
"""Writes cpp/src/text/unicode_tables.inc by asking the `tokenizers` package about every code point.

BERT's WordPiece depends on what its implementation takes for a control character, a mark, a
punctuation character, and so on. The Unicode tables inside `tokenizers` are of several ages and
agree with no single Unicode version, so the package itself is the source.

    pip install tokenizers==0.23.3
    python tools/make_unicode_tables.py            # rewrites the file
    python tools/make_unicode_tables.py --check    # exits 1 if the file would change

Needs about half a minute.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import unicodedata
from collections.abc import Callable, Iterable

import tokenizers
from tokenizers import normalizers, pre_tokenizers

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "cpp/src/text/unicode_tables.inc"
PINNED = "0.23.3"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)

REMOVED, SPACE, CJK, MARK, PUNCTUATION = 1, 2, 4, 8, 16


def bert(**on: bool) -> Callable[[str], str]:
    """One step of BertNormalizer, the others switched off."""
    steps = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    return normalizers.BertNormalizer(**{step: on.get(step, False) for step in steps}).normalize_str


def probe_flags(nfd: dict[int, str]) -> dict[int, int]:
    clean, cjk = bert(clean_text=True), bert(handle_chinese_chars=True)
    strip = bert(strip_accents=True)
    pieces = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    flags = {}
    for c in CODE_POINTS:
        char = chr(c)
        cleaned = clean(char)
        assert cleaned in ("", " ", char), hex(c)
        flag = {"": REMOVED, " ": SPACE}.get(cleaned, 0)
        if cjk(char) != char:
            assert cjk(char) == f" {char} ", hex(c)
            flag |= CJK
        if nfd[c] == char and strip(char) == "":
            flag |= MARK
        parts = [piece for piece, _ in pieces(f"a{char}a")]
        if parts == ["a", char, "a"]:
            flag |= PUNCTUATION
        elif parts == [
            "a",
            "a",
        ]:  # white space that cleaning keeps would need a flag of its own
            assert flag & (SPACE | REMOVED), hex(c)
        else:
            assert parts == [f"a{char}a"] and not flag & SPACE, hex(c)
        flags[c] = flag
    for c in CODE_POINTS:  # accents are stripped by decomposing and dropping the marks
        assert strip(chr(c)) == "".join(x for x in nfd[c] if not flags[ord(x)] & MARK), hex(c)
        if nfd[c] != chr(c) and not flags[c] & SPACE:  # cleaning comes first
            assert not any(flags[ord(x)] & SPACE for x in nfd[c]), hex(c)
    return flags


def probe_combining_classes(nfd: dict[int, str]) -> dict[int, int]:
    """The canonical combining class of each code point that has one: found by watching which
    pairs normalisation swaps, against one mark of each class."""
    decompose = normalizers.NFD().normalize_str
    marks: dict[int, str] = {}
    for c in CODE_POINTS:
        klass = unicodedata.combining(chr(c))
        # Marks of Unicode 3.0 are in every table.
        if klass == 0 or klass in marks or nfd[c] != chr(c):
            continue
        if klass == 240 or decompose("\u0345" + chr(c)) == chr(c) + "\u0345":
            marks[klass] = chr(c)
    classes = {}
    for c in CODE_POINTS:
        char = chr(c)
        if nfd[c] != char or (c != 0x345 and decompose("\u0345" + char) != char + "\u0345"):
            continue
        equal = [
            klass
            for klass, mark in marks.items()
            if decompose(mark + char) == mark + char and decompose(char + mark) == char + mark
        ]
        assert len(equal) == 1, (hex(c), equal)
        classes[c] = equal[0]
    return classes


def check_hangul(nfd: dict[int, str]) -> None:
    """Hangul syllables decompose by arithmetic, and need no table."""
    for c in HANGUL:
        lead, rest = divmod(c - 0xAC00, 21 * 28)
        vowel, tail = divmod(rest, 28)
        expected = chr(0x1100 + lead) + chr(0x1161 + vowel) + (chr(0x11A7 + tail) if tail else "")
        assert nfd[c] == expected, hex(c)


def ranges(values: dict[int, int]) -> list[tuple[int, int, int]]:
    """(first, last, value) for runs of neighbours with one value other than 0. The gap of the
    surrogates, which UTF-8 cannot hold, is bridged."""
    out: list[tuple[int, int, int]] = []
    for c, value in sorted(values.items()):
        if value == 0:
            continue
        bridged = 0xD7FF if c == 0xE000 else c - 1
        if out and out[-1][1:] == (bridged, value):
            out[-1] = (out[-1][0], c, value)
        else:
            out.append((c, c, value))
    return out


def lower_ranges(lower: dict[int, int]) -> list[tuple[int, int, int, int]]:
    """(first, last, step, delta): first, first + step, ... last each map to themselves + delta."""
    out: list[tuple[int, int, int, int]] = []
    for c, to in sorted(lower.items()):
        delta = to - c
        if out:
            first, last, step, d = out[-1]
            if d == delta and c - last in (1, 2) and (first == last or c - last == step):
                out[-1] = (first, c, c - last, d)
                continue
        out.append((c, c, 1, delta))
    return out


def rows(items: Iterable[str], width: int = 98) -> str:
    lines, line = [], ""
    for item in items:
        if line and len(line) + len(item) + 2 > width:
            lines.append(line)
            line = ""
        line += (" " if line else "  ") + item + ","
    return "\n".join([*lines, line])


def make() -> str:
    decompose, lowercase = normalizers.NFD().normalize_str, bert(lowercase=True)
    nfd = {c: decompose(chr(c)) for c in CODE_POINTS}
    check_hangul(nfd)
    flags = probe_flags(nfd)
    classes = probe_combining_classes(nfd)
    lower = {c: lowercase(chr(c)) for c in CODE_POINTS}
    special = {c: to for c, to in lower.items() if len(to) != 1}
    assert special == {0x130: "i\u0307"}, special  # written out in unicode.cc
    simple = {c: ord(to) for c, to in lower.items() if c not in special and ord(to) != c}
    decompositions = {c: to for c, to in nfd.items() if to != chr(c) and c not in HANGUL}
    assert max(map(len, decompositions.values())) <= 4

    def braces(numbers: Iterable[int]) -> str:
        return "{" + ",".join(hex(n) if n > 9 else str(n) for n in numbers) + "}"

    lowers = [
        "{" + f"{hex(first)},{hex(last)},{step},{delta}" + "}"
        for first, last, step, delta in lower_ranges(simple)
    ]
    return f"""// Generated by tools/make_unicode_tables.py: every code point was put to the Python package
// tokenizers {tokenizers.__version__}. Do not edit.
// clang-format off

inline constexpr char kUnicodeTablesSource[] = "tokenizers {tokenizers.__version__}";

// {{first, last, flags}}: 1 removed by cleaning, 2 white space, 4 CJK ideograph (stands alone),
// 8 non-spacing mark (an accent), 16 punctuation (stands alone).
constexpr FlagRange kFlagRanges[] = {{
{rows(braces(r) for r in ranges(flags))}
}};

// {{first, last, canonical combining class}}; 0 elsewhere.
constexpr FlagRange kCombiningRanges[] = {{
{rows(braces(r) for r in ranges(classes))}
}};

// {{first, last, step, delta}}: first, first + step, ... last are lowered by adding delta.
constexpr LowerRange kLowerRanges[] = {{
{rows(lowers)}
}};

// Full canonical decompositions but Hangul's: {{code point, up to four code points}}.
constexpr Decomposition kDecompositions[] = {{
{rows(braces([c, *map(ord, to)]) for c, to in sorted(decompositions.items()))}
}};
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare only")
    arguments = parser.parse_args()
    if tokenizers.__version__ != PINNED:
        sys.exit(f"tokenizers is {tokenizers.__version__}, this needs {PINNED}")
    text = make()
    if arguments.check:
        same = OUTPUT.read_text(encoding="utf-8") == text
        print(f"{OUTPUT.name}: {'as generated' if same else 'DIFFERS from what tokenizers says'}")
        return 0 if same else 1
    OUTPUT.write_text(text, encoding="utf-8")
    print(f"{OUTPUT}: {len(text)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
