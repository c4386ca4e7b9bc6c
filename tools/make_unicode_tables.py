#!/usr/bin/env python3
"""Writes the tables of cpp/src/text by asking the `tokenizers` package about every code point.

unicode_tables.inc is what BERT needs, unicode_form_tables.inc what other tokenizer.json files do.

BERT's WordPiece depends on what its implementation takes for a control character, a mark, a
punctuation character, and so on. The Unicode tables inside `tokenizers` are of several ages and
agree with no single Unicode version, so the package itself is the source.

    pip install tokenizers==0.23.3
    python tools/make_unicode_tables.py            # rewrites the file
    python tools/make_unicode_tables.py --check    # exits 1 if the file would change

Needs about a minute.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import pathlib
import struct
import sys
import unicodedata
from collections.abc import Callable, Iterable

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "cpp/src/text"
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


# Classes of grapheme clusters, as unicode_forms.h has them.
ATTACH, PREPEND, CONTROL, LEAD, VOWEL, TAIL, PICTOGRAPH = 1, 2, 3, 4, 5, 6, 9
CONSONANT, LINKER, BETWEEN = 16, 32, 64


def short_clusters() -> Callable[[str], int]:
    """Counts grapheme clusters, but those of 6 bytes and more by their characters.

    The package shows its clusters nowhere but in the Precompiled normaliser, which replaces one of
    fewer than 6 bytes as a whole, by what its trie has for the shortest prefix, and others
    character by character. With a trie of all single bytes the length of the result tells."""
    offset = 256  # of the root's children, in units
    array = [0] * (3 * 256)
    array[0] = offset << 10
    leaf = 2 * 256  # of the children of each
    for byte in range(1, 256):
        # has_leaf, and children at `leaf`: the value lies at the child with label 0
        array[offset ^ byte] = ((leaf ^ offset ^ byte) << 10) | 1 << 8 | byte
    array[leaf] = 0x80000000  # the value 0
    charsmap = struct.pack(f"<I{len(array)}I", 4 * len(array), *array) + b"X\0"
    text = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    made = json.loads(Tokenizer(models.BPE()).to_str()) | {"normalizer": text}
    precompiled = Tokenizer.from_str(json.dumps(made)).normalizer
    assert precompiled is not None

    def count(text: str) -> int:
        out = precompiled.normalize_str(text)
        assert set(out) <= {"X"}, (text, out)
        return len(out)

    return count


def probe_clusters() -> dict[int, int]:
    count = short_clusters()
    grave, acute, zwj = "\u0300", "\u0301", "\u200d"
    # Long enough to be taken apart, so that being joined to it shows.
    vowel, tail, lead = "\u1161", "\u11a8", "\u1100"
    classes = {}
    for c in CODE_POINTS:
        if c == 0 or c in HANGUL:
            continue
        char = chr(c)
        size = len(char.encode())
        if size < 5 and count("a" + char) == 1:
            classes[c] = ATTACH
            continue
        if count(char + "a") == 1 and c != 0x0D:
            classes[c] = PREPEND
            continue
        if count(char + grave + (acute if size > 1 else "")) == 2:
            classes[c] = CONTROL
            continue
        before_vowel = count(char + vowel + grave) == 3
        before_tail = count(char + tail + grave) == 3
        if before_vowel and not before_tail:
            classes[c] = LEAD
        elif before_vowel:
            classes[c] = VOWEL
        elif before_tail:
            classes[c] = TAIL
        elif count("\u00a9" + zwj + char) == 3:
            classes[c] = PICTOGRAPH
        else:
            classes[c] = 0
        if size == 3:
            assert (count(lead + char + grave) == 3) == (classes[c] in (LEAD, VOWEL)), hex(c)
            assert (count(vowel + char + grave) == 3) == (classes[c] in (VOWEL, TAIL)), hex(c)
            assert (count(tail + char + grave) == 3) == (classes[c] == TAIL), hex(c)
    ka, virama = "\u0915", "\u094d"
    for c, klass in classes.items():
        char = chr(c)
        # Consonants of India and the sign that joins them.
        if klass == 0 and len(char.encode()) == 3 and count(ka + virama + char + grave) == 4:
            classes[c] |= CONSONANT
        if klass == 0 and len(char.encode()) == 4 and count(char + virama + ka + grave) == 4:
            classes[c] |= CONSONANT
        if klass == ATTACH and count(ka + char + ka + grave) == 4:
            classes[c] |= LINKER
        elif klass == ATTACH and count(ka + char + virama + ka + grave) == 5:
            classes[c] |= BETWEEN
    for c in HANGUL:  # syllables without a tail take a vowel or a tail, the others a tail
        syllable = chr(c)
        bare = (c - HANGUL.start) % 28 == 0
        assert (count(syllable + vowel + grave) == 3) == bare, hex(c)
        assert count(syllable + tail + grave) == 3, hex(c)
        assert count(lead + syllable + grave) == 3, hex(c)
        assert count(vowel + syllable + grave) == count(tail + syllable + grave) == 2, hex(c)
    return classes


def probe_compositions(nfd: dict[int, str]) -> dict[tuple[int, int], int]:
    """Pairs of code points that NFC makes one, but Hangul's."""
    compose = normalizers.NFC().normalize_str
    pairs = {}
    for c, parts in nfd.items():
        char = chr(c)
        if len(parts) == 1 or c in HANGUL or compose(char) != char:
            continue
        first = compose(parts[:-1])
        if len(first) == 1 and compose(first + parts[-1]) == char:
            pairs[ord(first), ord(parts[-1])] = c
        else:  # its last mark is not the last that was added
            options = [
                (a, parts[i])
                for i in range(1, len(parts))
                if len(a := compose(parts[:i] + parts[i + 1 :])) == 1
                and compose(a + parts[i]) == char
            ]
            assert len(options) == 1, (hex(c), options)
            pairs[ord(options[0][0]), ord(options[0][1])] = c
    firsts = sorted({a for a, _ in pairs})
    seconds = sorted({b for _, b in pairs})
    for a, b in itertools.product(firsts, seconds):
        expected = chr(pairs[a, b]) if (a, b) in pairs else None
        seen = compose(chr(a) + chr(b))
        if expected is not None:
            assert seen == expected, (hex(a), hex(b))
        elif nfd[a] == chr(a):  # else what is composed may be a part of it
            assert len(seen) > 1, (hex(a), hex(b))
    return pairs


def probe_words() -> dict[int, int]:
    """What counts as a letter beside an added token that must stand alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens([AddedToken("~~", single_word=True, normalized=False)])
    words = {}
    for first in range(0, len(CODE_POINTS), 4096):
        some = [c for c in CODE_POINTS[first : first + 4096] if c != ord("~")]
        encodings = tokenizer.encode_batch([chr(c) + "~~" for c in some])
        for c, encoding in zip(some, encodings, strict=True):
            words[c] = 0 if encoding.ids else 1
    return words


def make_forms() -> str:
    nfd, nfkd = (
        {c: normalizer.normalize_str(chr(c)) for c in CODE_POINTS}
        for normalizer in (normalizers.NFD(), normalizers.NFKD())
    )
    compatible = {c: to for c, to in nfkd.items() if to != nfd[c]}
    pairs = probe_compositions(nfd)
    strip = normalizers.StripAccents().normalize_str
    marks = {c: int(strip(chr(c)) == "") for c in CODE_POINTS}

    def flat(numbers: Iterable[int]) -> str:
        return ",".join(hex(n) if n > 9 else str(n) for n in numbers)

    def range_rows(values: dict[int, int]) -> str:
        return rows("{" + flat(r) + "}" for r in ranges(values))

    return f"""// Generated by tools/make_unicode_tables.py: every code point was put to the Python package
// tokenizers {tokenizers.__version__}. Do not edit.
// clang-format off

// Full compatibility decompositions where they are not the canonical ones: code point, how many,
// code points.
constexpr char32_t kCompatibilityDecompositions[] = {{
{rows(flat([c, len(to), *map(ord, to)]) for c, to in sorted(compatible.items()))}
}};

// {{first, second, what both make}}, but Hangul's.
constexpr Composition kCompositions[] = {{
{rows("{" + flat([a, b, c]) + "}" for (a, b), c in sorted(pairs.items()))}
}};

// {{first, last, 1}}: marks of every kind.
constexpr FormRange kMarkRanges[] = {{
{range_rows(marks)}
}};

// {{first, last, 1}}: \\w of Rust's regular expressions.
constexpr FormRange kWordRanges[] = {{
{range_rows(probe_words())}
}};

// {{first, last, class of grapheme clusters}}, but Hangul syllables.
constexpr FormRange kClusterRanges[] = {{
{range_rows(probe_clusters())}
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
    same = True
    for name, text in (
        ("unicode_tables.inc", make()),
        ("unicode_form_tables.inc", make_forms()),
    ):
        output = FOLDER / name
        if arguments.check:
            equal = output.read_text(encoding="utf-8") == text
            print(f"{name}: {'as generated' if equal else 'DIFFERS from what tokenizers says'}")
            same = same and equal
        else:
            output.write_text(text, encoding="utf-8")
            print(f"{output}: {len(text)} bytes")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
