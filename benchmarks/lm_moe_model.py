"""Mixtures of experts with random Q4_K weights and the widths of real ones, for lm_speed.py.

They say nothing of sense; their layers cost what those of the real models cost. The vocabulary is
that of a test model, so that embeddings and output are next to nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import gguf
import numpy as np

import evidence

BLOCK_NUMBERS, BLOCK_BYTES = 256, 144  # of Q4_K
TOKENIZER = evidence.ROOT / "tests" / "data" / "gguf_models" / "olmoe.gguf"


class Widths(NamedTuple):
    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    experts: int
    used: int
    hidden: int

    def read_bytes(self, packed: int) -> float:
        """Of `packed` bytes of weights those that a token reads."""
        experts = self.layers * self.experts * 3 * self.width * self.hidden
        idle = 1 - self.used / self.experts
        return packed - idle * experts * BLOCK_BYTES / BLOCK_NUMBERS


MODELS = {
    "64 experts, top 8 (widths of OLMoE), 8 layers": Widths("olmoe", 8, 2048, 16, 16, 64, 8, 1024),
    "8 experts, top 2 (widths of Mixtral), 2 layers": Widths("llama", 2, 4096, 32, 8, 8, 2, 14336),
}


def q4_k(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Random blocks with weights of about 1 / sqrt(inputs)."""
    blocks = int(np.prod(shape)) // BLOCK_NUMBERS
    made = random.integers(0, 256, (blocks, BLOCK_BYTES), dtype=np.uint8)
    # A weight is d * s * q - m * t, s and t below 64, q below 16: with m = 7.5 d it is about even.
    scale = np.float16(1.0 / np.sqrt(shape[-1]) / 32 / 4)
    made[:, 0:4] = np.array([scale, 7.5 * scale], np.float16).view(np.uint8)
    return made.reshape(*shape[:-1], shape[-1] // BLOCK_NUMBERS * BLOCK_BYTES)


def make(path: Path, widths: Widths, seed: int = 1) -> None:
    random = np.random.default_rng(seed)
    reader = gguf.GGUFReader(TOKENIZER)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    writer = gguf.GGUFWriter(path, widths.architecture)
    writer.add_context_length(4096)
    writer.add_embedding_length(widths.width)
    writer.add_block_count(widths.layers)
    writer.add_feed_forward_length(widths.hidden)
    writer.add_head_count(widths.heads)
    writer.add_head_count_kv(widths.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_expert_count(widths.experts)
    writer.add_expert_used_count(widths.used)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(reader.fields["tokenizer.ggml.token_type"].contents())
    writer.add_token_merges(reader.fields["tokenizer.ggml.merges"].contents())
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)

    kv_width = widths.width // widths.heads * widths.kv_heads

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(name, q4_k(random, *shape), raw_dtype=gguf.GGMLQuantizationType.Q4_K)

    def ones(name: str, size: int) -> None:
        writer.add_tensor(name, np.ones(size, np.float32))

    matrix("token_embd.weight", len(tokens), widths.width)
    matrix("output.weight", len(tokens), widths.width)
    ones("output_norm.weight", widths.width)
    for layer in range(widths.layers):
        at = f"blk.{layer}."
        ones(at + "attn_norm.weight", widths.width)
        ones(at + "ffn_norm.weight", widths.width)
        if widths.architecture == "olmoe":
            ones(at + "attn_q_norm.weight", widths.width)
            ones(at + "attn_k_norm.weight", kv_width)
        matrix(at + "attn_q.weight", widths.width, widths.width)
        matrix(at + "attn_k.weight", kv_width, widths.width)
        matrix(at + "attn_v.weight", kv_width, widths.width)
        matrix(at + "attn_output.weight", widths.width, widths.width)
        gate = random.standard_normal((widths.experts, widths.width), dtype=np.float32)
        writer.add_tensor(at + "ffn_gate_inp.weight", gate / np.float32(np.sqrt(widths.width)))
        matrix(at + "ffn_gate_exps.weight", widths.experts, widths.hidden, widths.width)
        matrix(at + "ffn_up_exps.weight", widths.experts, widths.hidden, widths.width)
        matrix(at + "ffn_down_exps.weight", widths.experts, widths.width, widths.hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def cached(name: str) -> Path:
    """The model of this name, made where it is not there."""
    number = list(MODELS).index(name)
    path = evidence.ROOT / "build" / "evidence" / f"moe-{number}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        make(new, MODELS[name])
        new.rename(path)
    return path
