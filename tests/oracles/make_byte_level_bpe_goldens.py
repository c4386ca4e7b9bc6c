"""Writes tests/data/byte_level_bpe_goldens.json: what outside tokenizers make of texts.

Two references, both from the same GGUF file (SmolLM2-135M-Instruct, Q4_1):
  gpt-2   exactly what transformers builds from the file. It ignores `tokenizer.ggml.pre` where
          that is "smollm" and cuts text by GPT-2's pattern alone.
  smollm  the same vocabulary and merges, cut as `tokenizer.ggml.pre` says: every digit alone,
          then GPT-2's pattern, as the model was trained and as llama.cpp does.

Texts made here are stored with their ids; of real texts (COLLEGIUM_DATA) only hashes of the ids.

    COLLEGIUM_SMOLLM2=... COLLEGIUM_DATA=... python tests/oracles/make_byte_level_bpe_goldens.py
    ... --llama-cpp   also compares "smollm" with llama.cpp (package xllamacpp) on every text made
                      here and one real text in ten, and notes how many differ

Needs tokenizers==0.23.3, transformers, gguf.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import urllib.request
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer

OUTPUT = Path(__file__).resolve().parent.parent / "data/byte_level_bpe_goldens.json"
DOCUMENTS_PER_SET = 250
TEXTS_PER_HASH = 200

CASES = [
    "",
    " ",
    "  ",
    "\n",
    "Hello world",
    " Hello  world ",
    "a   b\t\tc \n\n d",
    "trailing spaces   ",
    "\n\n1. First\n\n2. Second",
    "a  12 b   3",
    "12345 67,890.12 3.14159e-10",
    "abc123def456",
    "it's we're I'm they'll you've he'd can't 'tis",
    "IT'S WE'RE",
    "'s't're've'm'll'd",
    "don''t ''s",
    "quote:'single' and \"double\"",
    "x²³ ½ Ⅳ ٣٤ 五 ①②",
    "naïve café Ångström e\u0301",
    "日本語のテキスト、中文文本。한국어",
    "Русский текст Ελληνικά עברית العربية हिन्दी ไทย",
    "👍🏽 👨‍👩‍👧‍👦 🇫🇷 😀😃",
    "tab\tcr\rcrlf\r\nvt\x0bff\x0c",
    "nbsp\u00a0em\u2003ideographic\u3000nel\u0085line\u2028para\u2029zwsp\u200bend",
    "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x0e\x13\x14\x16\x1d\x7f",
    "a\x04b\x06c",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "<|endoftext|><|im_end|><repo_name>x<empty_output>",
    "<|im_start|",
    "<|im_start|<|im_start|>",
    " <|im_end|> x",
    "<jupyter_start><jupyter_text",
    "def f(x):\n    return x  # comment\n\n\nclass A:\n\tpass\n",
    '{"key": [1, 2.5, null]}',
    "https://example.org/path?q=1&r=%20#frag",
    "a" * 300,
    " " * 300,
    "ab" * 200,
    "!?" * 100,
    "0" * 50,
    "\U00010348 \U0001d7d8 \U000f0000 \U0010fffd \ufffd",
    "\ufeffbom",
    "ﬁ ﬂ ſ ẞ İ ı",
    "Ⓐ㍿℃",
    "\u0300\u0301 combining first",
]


def random_texts(count: int) -> Iterator[str]:
    """Strings of characters that sit at the borders of the classes."""
    generator = random.Random(20240911)
    pools: list[Callable[[], str]] = [
        lambda: generator.choice(" \n\t\r\u00a0\u2003"),
        lambda: generator.choice("'stremvld"),
        lambda: generator.choice("0123456789²½٣Ⅳ"),
        lambda: generator.choice("abcdefghijklmnopqrstuvwxyzABCé中の"),
        lambda: generator.choice(".,:;!?-_()[]{}<>|/\\\"'"),
        lambda: chr(generator.choice([*range(0x20, 0xD800), *range(0xE000, 0x11000)])),
        lambda: chr(generator.randrange(0x10000, 0x20000)),
        lambda: generator.choice(["<|im_start|>", "<|im_end|>", "<|endoftext|>"]),
    ]
    for _ in range(count):
        weights = [generator.random() ** 3 for _ in pools]
        picks = generator.choices(pools, weights, k=generator.randrange(1, 40))
        yield "".join(pick() for pick in picks)


def read_lines(path: Path, limit: int | None) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for i, line in enumerate(lines):
            if limit is not None and i >= limit:
                return
            yield json.loads(line)


def real_texts(data: Path) -> Iterator[tuple[str, list[str]]]:
    for path in sorted(data.glob("*/queries.jsonl.gz")):
        yield str(path.relative_to(data)), [r["text"] for r in read_lines(path, None)]
    for path in sorted(data.glob("*/corpus.jsonl.gz")):
        rows = read_lines(path, DOCUMENTS_PER_SET)
        yield str(path.relative_to(data)), [r["text"] for r in rows]


def hash_ids(texts: list[list[int]]) -> str:
    """FNV-1a over 64-bit words: each text's length, then its ids."""
    value = 0xCBF29CE484222325
    for ids in texts:
        for word in (len(ids), *ids):
            value = ((value ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def llama_cpp_encoder(path: Path) -> tuple[str, Callable[[str], list[int]]]:
    import xllamacpp  # type: ignore[import-not-found]

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = 512
    parameters.n_parallel = 1
    parameters.warmup = False
    server = xllamacpp.Server(parameters)

    def encode(text: str) -> list[int]:
        body = {"content": text, "add_special": False, "parse_special": True}
        request = urllib.request.Request(
            server.listening_address + "/tokenize",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            tokens: list[int] = json.load(response)["tokens"]
        return tokens

    return f"xllamacpp {version('xllamacpp')}", encode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", action="store_true")
    arguments = parser.parse_args()
    if version("tokenizers") != "0.23.3":
        raise SystemExit("tokenizers==0.23.3 is pinned")
    model = Path(os.environ["COLLEGIUM_SMOLLM2"])
    data = Path(os.environ["COLLEGIUM_DATA"])

    wrapped = AutoTokenizer.from_pretrained(str(model.parent), gguf_file=model.name)
    plain: Tokenizer = wrapped.backend_tokenizer
    split = Tokenizer.from_str(plain.to_str())
    split.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    references = {"gpt-2": plain, "smollm": split}

    def encode(reference: Tokenizer, texts: list[str]) -> list[list[int]]:
        return [e.ids for e in reference.encode_batch(texts, add_special_tokens=False)]

    made = [*CASES, *random_texts(300)]
    cases = []
    for text in made:
        case: dict[str, Any] = {"text": text}
        for name, reference in references.items():
            case[name] = encode(reference, [text])[0]
        # Decoding of all ids, and of a cut in the middle of them.
        ids = case["smollm"]
        case["decoded"] = split.decode(ids, skip_special_tokens=True)
        case["decoded_part"] = split.decode(ids[1::2], skip_special_tokens=False)
        cases.append(case)

    corpora = []
    compared: dict[str, Any] = {}
    for name, texts in real_texts(data):
        row: dict[str, Any] = {"file": name, "texts": len(texts)}
        for reference_name, reference in references.items():
            ids = encode(reference, texts)
            row["tokens_" + reference_name] = sum(map(len, ids))
            row[reference_name] = [
                hash_ids(ids[i : i + TEXTS_PER_HASH]) for i in range(0, len(ids), TEXTS_PER_HASH)
            ]
        row["texts_that_differ"] = sum(
            a != b for a, b in zip(encode(plain, texts), encode(split, texts), strict=True)
        )
        corpora.append(row)
        print(
            name,
            len(texts),
            "texts, the two references differ on",
            row["texts_that_differ"],
        )

    if arguments.llama_cpp:
        name, llama_cpp = llama_cpp_encoder(model)
        samples = made + [t for _, texts in real_texts(data) for t in texts[::10]]
        differing = [t for t in samples if llama_cpp(t) != encode(split, [t])[0]]
        for text in differing[:20]:
            print("llama.cpp differs:", ascii(text[:200]))
        compared = {"with": name, "texts": len(samples), "differ": len(differing)}
        print(compared)

    golden = {
        "made_by": "tests/oracles/make_byte_level_bpe_goldens.py",
        "tokenizers": version("tokenizers"),
        "transformers": version("transformers"),
        "smollm_beside_llama_cpp": compared,
        "texts_per_hash": TEXTS_PER_HASH,
        "documents_per_set": DOCUMENTS_PER_SET,
        "corpora": corpora,
        "cases": cases,
    }
    # One case a line.
    text = json.dumps(golden | {"cases": []}, indent=1)
    lines = ",\n".join(json.dumps(case) for case in cases)
    OUTPUT.write_text(text.replace('"cases": []', '"cases": [\n' + lines + "\n]") + "\n")
    print(OUTPUT, OUTPUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
