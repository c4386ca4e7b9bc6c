"""Tokenizers and passages. Offsets are bytes into the UTF-8 of the text, not characters."""

from __future__ import annotations

from ._core import (
    Encoding,
    PassageSpan,
    Tokenizer,
    load_byte_level_bpe,
    load_sentencepiece,
    load_tokenizer,
    load_tokenizer_json,
    load_wordpiece,
    split_passages,
    split_sentences,
)

__all__ = [
    "Encoding",
    "PassageSpan",
    "Tokenizer",
    "load_byte_level_bpe",
    "load_sentencepiece",
    "load_tokenizer",
    "load_tokenizer_json",
    "load_wordpiece",
    "split_passages",
    "split_sentences",
]
