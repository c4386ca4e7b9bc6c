"""The kinds of tokenizers that make_tokenizers.py writes: each trained on texts written here and on
the topics of Python's own help."""

from __future__ import annotations

import base64
import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

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


# DeepSeek's first models, and V2, cut by these in turn; their letters are the cased ones of an
# older Unicode.
CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-"
    "\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-"
    "\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5"
    "\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-"
    "\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-"
    "\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-"
    "\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-"
    "\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149"
    "\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d"
    "\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-"
    "\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-"
    "\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-"
    "\U0001e943"
)
DEEPSEEK_LLM = [
    "[\r\n]",
    rf"\s?[{CASED}]+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"\s+$",
    "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
]
DEEPSEEK_CODER = [
    "[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
]  # fmt: skip
DEEPSEEK_V3 = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]


def deepseek(regexes: list[str], digits: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    parts: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Split(Regex(regex), "isolated") for regex in regexes
    ]
    if digits:
        parts.append(pre_tokenizers.Digits(individual_digits=True))
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    train_bpe(tokenizer, ["<|begin|>", "<|end|>"])
    tokenizer.decoder = decoders.ByteLevel()
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
    "deepseek_llm": lambda: deepseek(DEEPSEEK_LLM, True),
    "deepseek_coder": lambda: deepseek(DEEPSEEK_CODER, True),
    "deepseek_v3": lambda: deepseek(DEEPSEEK_V3, False),
    "gemma": gemma,
    "unknown_bpe": unknown_bpe,
    "xlmr": xlmr,
    "xlmr_old": xlmr_old,
    "t5": t5,
}
