"""Writes tests/data/bpe_pre_goldens.json: what llama.cpp makes of texts under every name of
`tokenizer.ggml.pre` that is run here, with SmolLM2's vocabulary: all ids of the first name, of the
others those of the texts that they cut otherwise, by the text's number.

Texts are in the form NFC: llama.cpp composes none, where Qwen2's and GPT-NeoX's tokenizers do.

    COLLEGIUM_SMOLLM2=... python tests/oracles/make_bpe_pre_goldens.py

Needs gguf, llama-cpp-python, numpy.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import unicodedata
from importlib.metadata import version
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
from make_byte_level_bpe_goldens import CASES

DATA = Path(__file__).resolve().parent.parent / "data"
NAMES = [
    "gpt-2", "olmo", "smollm", "refact", "starcoder", "llama-bpe", "llama3", "llama-v3",
    "falcon3", "dbrx", "smaug-bpe", "qwen2", "deepseek-r1-qwen",
    "deepseek-llm", "deepseek-coder", "deepseek-v3",
]  # fmt: skip
LETTERS = "abcXYZst 0123456789 012345 \n\t'’é日本한.,!?-_/\\()[]{}@#$%^&*+=~`|;:\"½²٣ñöß🙂 "


def texts() -> list[str]:
    rng = random.Random(5)
    made = ["".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 40))) for _ in range(240)]
    # Control tokens are matched elsewhere.
    cases = [text for text in CASES if "<" not in text]
    return [unicodedata.normalize("NFC", text) for text in [*cases, *made]]


def write(path: Path, pre: str, tokens: list[str], types: list[int], merges: list[str]) -> None:
    """A model of one layer that nobody runs, with a vocabulary."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_add_bos_token(False)
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    fields = gguf.GGUFReader(os.environ["COLLEGIUM_SMOLLM2"]).fields
    tokens, types, merges = (
        fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type", "merges")
    )
    first: list[list[int]] = []
    golden: dict[str, object] = {
        "made_by": "tests/oracles/make_bpe_pre_goldens.py",
        "llama_cpp_python": version("llama-cpp-python"),
        "texts": texts(),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            path = Path(folder) / "vocabulary.gguf"
            write(path, name, tokens, types, merges)
            model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
            found = [
                model.tokenize(text.encode(), add_bos=False, special=False) for text in texts()
            ]
            first = found if name == NAMES[0] else first
            others = {str(i): ids for i, ids in enumerate(found) if ids != first[i]}
            golden[name] = found if name == NAMES[0] else others
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()]
    (DATA / "bpe_pre_goldens.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
