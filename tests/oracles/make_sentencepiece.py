#!/usr/bin/env python3
"""Writes tests/data/unigram.model, bpe.model and sentencepiece.json for sentencepiece_test.cc.

    pip install sentencepiece==0.2.3
    python tests/oracles/make_sentencepiece.py

The two models are trained on sentences made here from word lists; the JSON holds what the
`sentencepiece` package makes of some texts with them. Training is seeded, but another version of
the package may train other models: run this only to change them.
"""

from __future__ import annotations

import json
import pathlib
import random
import tempfile
from typing import Any

import sentencepiece

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"

WORDS = """
the a of and to in is was for on that with as by at from river stone mountain encoder passage query
index router gate library collection expert retrieval evidence answer question cold warm light dark
small large quick slow reading writing walking turning turned walked reads written number seven
eleven twenty hundred naïve café straße señor über Ünïcode été garçon мир слово дом день ночь река
漢字 日本 東京 山川
"""

# Compatibility forms to plain ones, capitals to small letters, a character that vanishes.
RULES = {chr(0xFF21 + i): chr(0x61 + i) for i in range(26)}
RULES |= {chr(0x41 + i): chr(0x61 + i) for i in range(26)}
RULES |= {
    "ﬁ": "fi",
    "ﬂ": "fl",
    "\u3000": " ",
    "\u00a0": " ",
    "\u00ad": "",
    "…": "...",
    "½": "1/2",
}
RULES |= {"e\u0301": "é", "u\u0308": "ü", "e\u0301\u0323": "ẹ́"}

TEXTS = [
    "",
    " ",
    "the river of evidence",
    "  two  spaces   and more ",
    "Retrieval-augmented ＡＢＣ ﬁnds naïve café\u3000passages…",
    "soft\u00adhyphen ½ e\u0301te\u0301 u\u0308ber e\u0301\u0323",
    "мир слово река дом",
    "漢字日本東京山川",
    "unseen: ✓ ☃ 👩\u200d👧 Ж ñ \u0000 \t\n x",
    "<user> says </s> and <s> and <unk> and <0x41>",
    "user<sep>defined<sep><sep>x",
    "a" * 60,
    "number number number seven eleven twenty hundred walked walking",
]


def sentences() -> list[str]:
    rng = random.Random(5)
    words = WORDS.split()
    return [" ".join(rng.choice(words) for _ in range(rng.randint(3, 12))) for _ in range(4000)]


def train(folder: pathlib.Path, name: str, **options: Any) -> pathlib.Path:
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(sentences()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / name),
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return folder / f"{name}.model"


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        rules = folder / "rules.tsv"
        rules.write_text(
            "".join(
                " ".join(f"{ord(c):X}" for c in a)
                + "\t"
                + " ".join(f"{ord(c):X}" for c in b)
                + "\n"
                for a, b in RULES.items()
            )
        )
        unigram = train(
            folder,
            "unigram",
            model_type="unigram",
            vocab_size=300,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_tsv=str(rules),
        )
        bpe = train(
            folder,
            "bpe",
            model_type="bpe",
            vocab_size=600,
            hard_vocab_limit=False,
            byte_fallback=True,
            user_defined_symbols=["<sep>", "<user>"],
            normalization_rule_name="identity",
            pad_id=3,
        )
        (DATA / "unigram.model").write_bytes(unigram.read_bytes())
        (DATA / "bpe.model").write_bytes(bpe.read_bytes())

    goldens = {}
    for name in ("unigram", "bpe"):
        model = sentencepiece.SentencePieceProcessor(model_file=str(DATA / f"{name}.model"))
        cases = []
        for text in TEXTS:
            pieces = model.encode(text, return_type="proto").pieces
            ids = [piece.id for piece in pieces]
            offsets = [at for piece in pieces for at in (piece.begin, piece.end)]
            cases.append(
                {
                    "text": text,
                    "ids": ids,
                    "offsets": offsets,
                    "decoded": model.decode(ids),
                }
            )
        goldens[name] = {"pieces": model.vocab_size(), "cases": cases}
    text = json.dumps(goldens, ensure_ascii=True, separators=(",", ":")).replace("},{", "},\n{")
    (DATA / "sentencepiece.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
