"""Writes tests/data/scored_bpe.gguf, a small SentencePiece BPE as a GGUF file stores it, and
scored_bpe_goldens.json with the ids that the sentencepiece package gives, with and without a space
before the text. With COLLEGIUM_GEMMA3 set to the model file, also gemma3_tokenizer_goldens.json.

The package's model is put together from the file's own tokens, scores and types. Control and
user-defined tokens are cut out of a text first (control ones, then the others, each leftmost and
longest), as every reader of these files does; the package encodes what is between them.

    python tests/oracles/make_scored_bpe.py

Needs gguf, protobuf, sentencepiece.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto

DATA = Path(__file__).resolve().parent.parent / "data"
CONTROL, USER_DEFINED = 3, 4
MARK = "\u2581"

TEXTS = [
    "",
    " ",
    "   ",
    "Hello world",
    " Hello  world ",
    "The quick brown fox jumps over the lazy dog. 1234567890 3.14 1,000",
    "naïve café, Zürich; Ελληνικά, русский, 日本語と中文, العربية, हिन्दी",
    "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 and \u0000 nul, tab\t, line\nbreaks\n\nand\r\nmore\n\n\n",
    "x" * 300,
    "aaaa bbbb " * 40,
    "\u2581already\u2581marked\u2581",
    "a\u0301 e\u0301 combining, ﬁ ligature, ½ ² ™",
    "def f(x):\n    return x ** 2  # square\n",
    '<html><body class="a">text</body></html>',
    "don't can't I'll we've — “quotes” … end",
    "https://example.org/a?b=c&d=%20e",
    "\ufeffbom \u200b zero width \u00a0 no-break",
    "\U0010ffff \ue000 private",
    "<0x41> is no byte, nor <unk>",
]
WORDS = "of the and in to router expert language model weight token gate layer naïve 数 ✓".split()


def texts(special: list[str]) -> list[str]:
    rng = random.Random(5)
    found = list(TEXTS)
    for token in special:
        found += [token, f"a{token}b", f" {token} {token}{token}\n", f"{token[:-1]} {token}x"]
    for _ in range(60):
        parts = []
        for _ in range(rng.randrange(1, 30)):
            kind = rng.random()
            if kind < 0.5:
                parts.append(rng.choice(WORDS))
            elif kind < 0.7:
                parts.append(rng.choice([" ", "  ", "\n", "\n\n", "\t", "    "]))
            elif kind < 0.9:
                parts.append("".join(chr(rng.randrange(32, 127)) for _ in range(5)))
            elif kind < 0.95 and special:
                parts.append(rng.choice(special))
            else:
                parts.append(chr(rng.choice([rng.randrange(0xA0, 0xD800), 0x1F600])))
        found.append(rng.choice(["", " "]).join(parts))
    return found


class Oracle:
    def __init__(
        self, tokens: list[str], scores: list[float], types: list[int], prefix: bool
    ) -> None:
        model = proto.ModelProto()
        for token, score, kind in zip(tokens, scores, types, strict=True):
            if kind == USER_DEFINED:
                token = token.replace(" ", MARK)
            model.pieces.add(piece=token, score=score, type=kind)
        unknown = next(i for i, kind in enumerate(types) if kind == 2)
        spec = model.trainer_spec
        spec.model_type = proto.TrainerSpec.BPE
        spec.vocab_size = len(tokens)
        spec.byte_fallback = True
        spec.unk_id, spec.unk_piece = unknown, tokens[unknown]
        spec.bos_id = spec.eos_id = spec.pad_id = -1
        normalizer = model.normalizer_spec
        normalizer.name = "identity"
        normalizer.add_dummy_prefix = prefix
        normalizer.remove_extra_whitespaces = False
        normalizer.escape_whitespaces = True
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
        self.levels = []
        for level in (CONTROL, USER_DEFINED):
            ids = {t: i for i, t in enumerate(tokens) if types[i] == level}
            longest_first = sorted(ids, key=len, reverse=True)
            pattern = "|".join(map(re.escape, longest_first)) or r"(?!)"
            self.levels.append((re.compile(f"({pattern})"), ids))

    def encode(self, text: str, level: int = 0) -> list[int]:
        if level == len(self.levels):
            return list(self.processor.encode(text)) if text else []
        pattern, ids = self.levels[level]
        out: list[int] = []
        for part in pattern.split(text):
            out += [ids[part]] if part in ids else self.encode(part, level + 1)
        return out


def train() -> tuple[list[str], list[float], list[int]]:
    corpus = "\n".join(
        " ".join(random.Random(i).choices([*WORDS, "running", "runner", "rout", "ing"], k=12))
        for i in range(400)
    )
    corpus += "\n" + "\n".join(t.replace("\n", " ") for t in TEXTS if "\u0000" not in t)
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus.split("\n")),
        model_writer=out,
        vocab_size=560,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=["<table>", "<tab", "\n\n", "\n"],
        control_symbols=["<turn>", "<turn"],
        pad_id=3,
        num_threads=1,
        minloglevel=2,
    )
    model = proto.ModelProto()
    model.ParseFromString(out.getvalue())
    return (
        [p.piece for p in model.pieces],
        [float(p.score) for p in model.pieces],
        [int(p.type) for p in model.pieces],
    )


def gemma3_oracle(path: Path) -> Oracle:
    reader = gguf.GGUFReader(path)
    tokens, scores, types = (
        reader.fields[f"tokenizer.ggml.{name}"].contents()
        for name in ("tokens", "scores", "token_type")
    )
    unknown = tokens.index("<unk>")
    types[unknown] = 2  # the package wants one; the file calls it a control token
    oracle = Oracle(tokens, scores, types, False)
    ids = oracle.levels[0][1] | {"<unk>": unknown}
    pattern = "|".join(map(re.escape, sorted(ids, key=len, reverse=True)))
    oracle.levels[0] = (re.compile(f"({pattern})"), ids)
    return oracle


def write(name: str, head: dict[str, Any], cases: list[dict[str, Any]]) -> None:
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
    lines.append('"cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]")
    (DATA / name).write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    head = {
        "made_by": "tests/oracles/make_scored_bpe.py",
        "sentencepiece": version("sentencepiece"),
    }
    tokens, scores, types = train()
    writer = gguf.GGUFWriter(DATA / "scored_bpe.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    special = [t for t, kind in zip(tokens, types, strict=True) if kind in (CONTROL, USER_DEFINED)]
    with_prefix = Oracle(tokens, scores, types, True)
    without = Oracle(tokens, scores, types, False)
    cases = [
        {"text": t, "prefix": with_prefix.encode(t), "plain": without.encode(t)}
        for t in texts(special)
    ]
    write("scored_bpe_goldens.json", head, cases)
    print(len(tokens), "tokens,", len(cases), "texts")

    if "COLLEGIUM_GEMMA3" in os.environ:
        oracle = gemma3_oracle(Path(os.environ["COLLEGIUM_GEMMA3"]))
        some = ["<bos>", "<start_of_turn>", "<end_of_turn>", "\n\n", "  ", "\t", "<table>"]
        cases = [{"text": t, "plain": oracle.encode(t)} for t in texts(some)]
        write("gemma3_tokenizer_goldens.json", head, cases)
        print(len(cases), "texts")


if __name__ == "__main__":
    main()
