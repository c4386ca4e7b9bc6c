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
import base64
import json
import pathlib
import re
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import tokenizers
from tokenizers import (
    AddedToken,
    Encoding,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "data/tokenizers"
PINNED = "0.23.3"
BLOCK = 8192  # code points a checksum
GROUP = 16  # code points a text
RANDOM_TEXTS = 3000
CHUNK = 500  # random texts a checksum

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

# What the vocabularies know besides English.
TEXTS = """
Der schnelle braune Fuchs springt über den faulen Hund; Straßenbahnen fahren täglich.
Le cœur a ses raisons que la raison ne connaît point. Où êtes-vous né, à Paris ou à Nîmes ?
El niño pequeño comió piñas mañana y tarde. ¿Dónde está la biblioteca? ¡Qué bueno!
Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy. Pijamalı hasta yağız şoföre.
Быстрая коричневая лиса прыгает через ленивую собаку. Съешь ещё этих мягких французских булок.
Η γρήγορη καφέ αλεπού πηδάει πάνω από το τεμπέλικο σκυλί. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
敏捷的棕色狐狸跳过懒狗。我能吞下玻璃而不伤身体。中文文本和标点，句号。
素早い茶色の狐がのろまな犬を飛び越える。いろはにほへと ちりぬるを カタカナ テスト。
빠른 갈색 여우가 게으른 개를 뛰어넘는다. 한국어 문장입니다. 다람쥐 헌 쳇바퀴에 타고파.
الثعلب البني السريع يقفز فوق الكلب الكسول. نص حكيم له سر قاطع وذو شأن عظيم.
השועל החום המהיר קופץ מעל הכלב העצלן. דג סקרן שט בים מאוכזב.
तेज़ भूरी लोमड़ी आलसी कुत्ते पर कूदती है। हिन्दी देवनागरी लिपि में लिखी जाती है।
สุนัขจิ้งจอกสีน้ำตาลกระโดดข้ามสุนัขขี้เกียจ ภาษาไทย
12 345 6789 3.14159 2024-11-25 1,000,000 50% $99.99 x² + y² = z² ½ ¼ № 5
👩‍👩‍👧‍👦 👍🏽 ❤️ 🇩🇪 😀 ☺ ™ © ®
"""

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


def corpus() -> list[str]:
    from pydoc_data.topics import topics

    english = "\n".join(topics[name] for name in ("string-methods", "class", "exceptions", "for"))
    return english.split("\n") + TEXTS.split("\n") * 4


def added(content: str, **flags: bool) -> AddedToken:
    return AddedToken(content, **({"normalized": False} | flags))


def special(tokenizer: Tokenizer, names: list[str]) -> list[tuple[str, int]]:
    ids = [(name, tokenizer.token_to_id(name)) for name in names]
    assert all(number is not None for _, number in ids), ids
    return ids


def train_wordpiece(tokenizer: Tokenizer, tokens: list[str], size: int = 700) -> Tokenizer:
    prefix = tokenizer.model.continuing_subword_prefix
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=tokens,
        continuing_subword_prefix=prefix,
        show_progress=False,
        limit_alphabet=250,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def bert(lowercase: bool, **flags: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, **flags)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    train_wordpiece(tokenizer, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=special(tokenizer, ["[CLS]", "[SEP]"]),
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def mpnet() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    train_wordpiece(tokenizer, ["<s>", "<pad>", "</s>", "[UNK]"])
    tokenizer.add_special_tokens([added("<mask>", lstrip=True)])
    (cls, sep) = special(tokenizer, ["<s>", "</s>"])
    tokenizer.post_processor = processors.RobertaProcessing(
        sep, cls, trim_offsets=True, add_prefix_space=False
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def wordpiece_parts() -> Tokenizer:
    """WordPiece with everything other than BERT has it."""
    tokenizer = Tokenizer(
        models.WordPiece(
            unk_token="<unk>",
            max_input_chars_per_word=20,
            continuing_subword_prefix="@@",
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Strip(),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    train_wordpiece(tokenizer, ["<unk>"])
    tokenizer.add_tokens(
        [
            added("alone", single_word=True),
            added("Left", lstrip=True, normalized=True),
            added("right", rstrip=True),
        ]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="@@", cleanup=False)
    return tokenizer


def train_bpe(tokenizer: Tokenizer, tokens: list[str], whole: bool = True, **options: Any) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=options.pop("size", 800),
        special_tokens=tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if whole else [],
        show_progress=False,
        **options,
    )
    tokenizer.train_from_iterator(corpus(), trainer)


def roberta() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    train_bpe(tokenizer, ["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([added("<mask>", lstrip=True)])
    (cls, sep) = special(tokenizer, ["<s>", "</s>"])
    tokenizer.post_processor = processors.RobertaProcessing(
        sep, cls, trim_offsets=True, add_prefix_space=False
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gpt2() -> Tokenizer:
    """With a space put before texts, and without tokens for some bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    train_bpe(tokenizer, ["<|endoftext|>"], whole=False)
    tokenizer.add_tokens(
        [added("alone", single_word=True, rstrip=True), added("  left", lstrip=True)]
    )
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def modernbert() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    train_bpe(tokenizer, ["<|padding|>", "<|endoftext|>"])
    tokenizer.add_tokens([added(" " * n, normalized=True) for n in range(24, 1, -1)])
    tokenizer.add_special_tokens(
        [added(name) for name in ("[UNK]", "[CLS]", "[SEP]", "[PAD]")]
        + [added("[MASK]", lstrip=True)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=special(tokenizer, ["[CLS]", "[SEP]"]),
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def split_bpe(regex: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def llama3() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = split_bpe(LLAMA3)
    train_bpe(tokenizer, ["<|begin_of_text|>", "<|end_of_text|>"])
    begin = special(tokenizer, ["<|begin_of_text|>"])
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A",
                pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                special_tokens=begin,
            ),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def qwen2() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split_bpe(QWEN2)
    train_bpe(tokenizer, [])
    tokenizer.add_special_tokens([added("<|im_start|>"), added("<|im_end|>")])
    tokenizer.add_tokens([added("alone"), added("alone left")])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def smollm() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    train_bpe(tokenizer, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gpt2_regex() -> Tokenizer:
    """GPT-2's pattern as a Split, after normalisation forms that move much."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.NFD()]
    )
    tokenizer.pre_tokenizer = split_bpe(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    )
    train_bpe(tokenizer, [])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gemma() -> Tokenizer:
    """BPE over characters that falls back to bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    some = [f"<0x{byte:02X}>" for byte in range(256) if byte not in (0xE3, 0xF0)]
    train_bpe(
        tokenizer,
        ["<pad>", "<s>", "</s>", "<unk>", *some],
        whole=False,
        size=900,
        limit_alphabet=150,
        max_token_length=12,
    )
    fields = json.loads(tokenizer.to_str())
    # Bytes are no special tokens, they were only put into the vocabulary as such.
    fields["added_tokens"] = [t for t in fields["added_tokens"] if "0x" not in t["content"]]
    tokenizer = Tokenizer.from_str(json.dumps(fields))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A </s> $B", special_tokens=special(tokenizer, ["<s>", "</s>"])
    )
    return tokenizer


def unknown_bpe() -> Tokenizer:
    """BPE whose unknown characters stay apart; pieces cut by every kind of behaviour."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.Prepend("_")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(",", "merged_with_next"),
            pre_tokenizers.Split(".", "contiguous"),
            pre_tokenizers.Split(" ", "merged_with_previous"),
            pre_tokenizers.Split("x", "removed"),
            pre_tokenizers.Punctuation("merged_with_previous"),
        ]
    )
    train_bpe(tokenizer, ["[UNK]"], whole=False, size=400, limit_alphabet=60)
    tokenizer.add_tokens(
        [
            AddedToken("alone", single_word=True, normalized=True),
            added("left", lstrip=True, rstrip=True),
        ]
    )
    return tokenizer


# Replacements for the Precompiled normaliser: of one character and more, by none and more.
RULES = {
    "ﬁ": "fi",
    "ﬂ": "fl",
    "½": "1\u20442",
    "①": "1",
    "②": "2",
    "㎏": "kg",
    "\u2126": "\u03a9",
    "\u212a": "K",
    "\u212b": "\u00c5",
    "ﷺ": "صلى الله عليه وسلم",
    "\u200d": " ",
    "\u200b": " ",
    "\ufeff": " ",
    "\u3000": " ",
    "\u00a0": " ",
    "\u2009": " ",
    "\u0085": " ",
    "\t": " ",
    "\n": " ",
    "\r": " ",
    "\u0000": "",
    "\u0007": "",
    "\u00ad": "",
    "\x7f": "",
    "e\u0301": "é",
    "E\u0301": "É",
    "a\u0323\u0302": "ậ",
    "a\u0323": "ạ",
    "\u0344": "\u0308\u0301",
    "\u1112\u1161\u11ab": "한",
    "\u1112\u1161": "하",
    "ﾊﾟ": "パ",
    "ﾊ": "ハ",
    "ｶﾞ": "ガ",
    "\u0958": "\u0915\u093c",
    "©": "(c)",
    "…": "...",
}


def charsmap(rules: dict[str, str]) -> bytes:
    """The rules as SentencePiece compiles them."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as proto

    rules = rules | {chr(0xFF00 + i): chr(0x20 + i) for i in range(1, 95)}
    with tempfile.TemporaryDirectory() as folder:
        where = pathlib.Path(folder)
        lines = (
            " ".join(f"{ord(c):X}" for c in old) + "\t" + " ".join(f"{ord(c):X}" for c in new)
            for old, new in rules.items()
            if old != "\u0000"
        )
        (where / "rules.tsv").write_text("\n".join(lines) + "\n")
        (where / "text").write_text("\n".join(["a b c d e f g h i j k l m n o p"] * 100))
        sentencepiece.SentencePieceTrainer.train(
            input=str(where / "text"),
            model_prefix=str(where / "made"),
            vocab_size=21,
            normalization_rule_tsv=str(where / "rules.tsv"),
            minloglevel=2,
        )
        model = proto.ModelProto()
        model.ParseFromString((where / "made.model").read_bytes())
        return model.normalizer_spec.precompiled_charsmap


def precompiled(data: bytes) -> normalizers.Normalizer:
    fields = json.loads(Tokenizer(models.BPE()).to_str())
    fields["normalizer"] = {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(data).decode(),
    }
    return Tokenizer.from_str(json.dumps(fields)).normalizer


def train_unigram(tokenizer: Tokenizer, tokens: list[str], unk: str = "<unk>") -> Tokenizer:
    trainer = trainers.UnigramTrainer(
        vocab_size=900, special_tokens=tokens, unk_token=unk, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def xlmr_processor(tokenizer: Tokenizer) -> processors.PostProcessor:
    return processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=special(tokenizer, ["<s>", "</s>"]),
    )


def xlmr() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [precompiled(charsmap(RULES)), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    train_unigram(tokenizer, ["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([added("<mask>", lstrip=True)])
    tokenizer.post_processor = xlmr_processor(tokenizer)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return tokenizer


def xlmr_old() -> Tokenizer:
    """As files of older converters have it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = precompiled(charsmap(RULES))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    train_unigram(tokenizer, ["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([added("<mask>")])
    tokenizer.post_processor = xlmr_processor(tokenizer)
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def t5() -> Tokenizer:
    """Unigram that falls back to bytes, with a mark before the first word alone."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(" {2,}"), "▁"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    train_unigram(tokenizer, ["<pad>", "</s>", "<unk>", *(f"<0x{b:02X}>" for b in range(256))])
    fields = json.loads(tokenizer.to_str())
    fields["added_tokens"] = [t for t in fields["added_tokens"] if "0x" not in t["content"]]
    fields["model"]["byte_fallback"] = True
    tokenizer = Tokenizer.from_str(json.dumps(fields))
    tokenizer.add_tokens([AddedToken("alone", normalized=True, single_word=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>:2", pair="$A </s> $B </s>", special_tokens=special(tokenizer, ["</s>"])
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "bert": lambda: bert(True),
    "bert_cased": lambda: bert(False, strip_accents=False, handle_chinese_chars=False),
    "bert_raw": lambda: bert(True, clean_text=False),
    "mpnet": mpnet,
    "wordpiece_parts": wordpiece_parts,
    "roberta": roberta,
    "gpt2": gpt2,
    "gpt2_regex": gpt2_regex,
    "modernbert": modernbert,
    "llama3": llama3,
    "qwen2": qwen2,
    "smollm": smollm,
    "gemma": gemma,
    "unknown_bpe": unknown_bpe,
    "xlmr": xlmr,
    "xlmr_old": xlmr_old,
    "t5": t5,
}


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
