"""Writes tests/data/tiny_llama*.gguf and tests/data/tiny_llama_goldens.json.

Two small random models of the Llama architecture, so that the decoder is tested where no real one
is. The reference for their logits and greedy tokens is transformers reading the same files in
fp32.

    python tests/oracles/make_tiny_llama.py

Needs numpy, gguf, torch, transformers, accelerate.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch
from gguf import GGMLQuantizationType as Type
from transformers import AutoModelForCausalLM

DATA = Path(__file__).resolve().parent.parent / "data"
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MERGES = ["t h", "th e", "i n", "Ġ a", "e r", "Ġ the", "o n", "r e", "in g", "a n", "an d", "Ġ and"]

# Widths are multiples of 32, the block of the quantised types. "plain" has what SmolLM2 has:
# grouped heads, 4-bit weights, tied embeddings. "mixed" has every type, heads that share nothing,
# its own output matrix and a vocabulary that is no multiple of 16.
MODELS: dict[str, dict[str, Any]] = {
    "tiny_llama": {
        "width": 64, "layers": 2, "heads": 4, "kv_heads": 2, "hidden": 96, "context": 96,
        "rope_base": 10000.0, "rms_eps": 1e-5, "tied": True, "extra": 33, "pre": "smollm",
        "template": TEMPLATE, "bos": False,
        "types": {"token_embd": Type.Q8_0}, "default": Type.Q4_1,
    },
    "tiny_llama_mixed": {
        "width": 96, "layers": 2, "heads": 3, "kv_heads": 3, "hidden": 160, "context": 64,
        "rope_base": 500000.0, "rms_eps": 1e-6, "tied": False, "extra": 30, "pre": "gpt-2",
        "template": None, "bos": True,
        "types": {
            "token_embd": Type.F16, "output": Type.Q8_0, "attn_q": Type.F32, "attn_k": Type.Q4_0,
            "attn_v": Type.BF16, "attn_output": Type.Q4_0, "ffn_gate": Type.Q8_0,
            "ffn_up": Type.F16,
        },
        "default": Type.Q4_1,
    },
}  # fmt: skip


def byte_alphabet() -> list[str]:
    """GPT-2's printable spelling of the 256 bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spelling, extra = [], 0
    for byte in range(256):
        if byte in printable:
            spelling.append(chr(byte))
        else:
            spelling.append(chr(256 + extra))
            extra += 1
    return spelling


def vocabulary(extra: int) -> tuple[list[str], list[int]]:
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = control + byte_alphabet() + [m.replace(" ", "") for m in MERGES]
    # Tokens no merge reaches, so that the vocabulary has the size wanted.
    tokens += [f"<unused{i}>" for i in range(extra)]
    types = [3] * 3 + [1] * (len(tokens) - 3)
    return tokens, types


def write_model(path: Path, m: dict[str, Any], seed: int) -> int:
    random = np.random.default_rng(seed)
    tokens, types = vocabulary(m["extra"])
    width, kv_width = m["width"], m["width"] // m["heads"] * m["kv_heads"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(m["context"])
    writer.add_embedding_length(width)
    writer.add_block_count(m["layers"])
    writer.add_feed_forward_length(m["hidden"])
    writer.add_head_count(m["heads"])
    writer.add_head_count_kv(m["kv_heads"])
    writer.add_rope_dimension_count(width // m["heads"])
    writer.add_rope_freq_base(m["rope_base"])
    writer.add_layer_norm_rms_eps(m["rms_eps"])
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(m["pre"])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(m["bos"])
    if m["template"] is not None:
        writer.add_chat_template(m["template"])

    def add(name: str, shape: tuple[int, ...], scale: float) -> None:
        values: npt.NDArray[np.float32] = random.standard_normal(shape, dtype=np.float32) * scale
        kind = m["types"].get(name.split(".")[-2], m["default"])
        data = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, data, raw_dtype=kind)

    def add_norm(name: str) -> None:
        writer.add_tensor(name, 1 + 0.2 * random.standard_normal(width, dtype=np.float32))

    add("token_embd.weight", (len(tokens), width), 0.6)
    for layer in range(m["layers"]):
        prefix = f"blk.{layer}."
        add_norm(prefix + "attn_norm.weight")
        add(prefix + "attn_q.weight", (width, width), 2.0 / width**0.5)
        add(prefix + "attn_k.weight", (kv_width, width), 2.0 / width**0.5)
        add(prefix + "attn_v.weight", (kv_width, width), 1.0 / width**0.5)
        add(prefix + "attn_output.weight", (width, width), 1.0 / width**0.5)
        add_norm(prefix + "ffn_norm.weight")
        add(prefix + "ffn_gate.weight", (m["hidden"], width), 1.0 / width**0.5)
        add(prefix + "ffn_up.weight", (m["hidden"], width), 1.0 / width**0.5)
        add(prefix + "ffn_down.weight", (width, m["hidden"]), 1.0 / m["hidden"] ** 0.5)
    add_norm("output_norm.weight")
    if not m["tied"]:
        add("output.weight", (len(tokens), width), 0.6)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return len(tokens)


def main() -> None:
    goldens: dict[str, Any] = {
        "made_by": "tests/oracles/make_tiny_llama.py",
        "transformers": version("transformers"),
        "torch": version("torch"),
        "gguf": version("gguf"),
    }
    for seed, (name, m) in enumerate(MODELS.items(), start=1):
        path = DATA / f"{name}.gguf"
        vocab = write_model(path, m, seed)
        model = AutoModelForCausalLM.from_pretrained(
            str(DATA), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()  # type: ignore[no-untyped-call]
        random = np.random.default_rng(100 + seed)
        ids = [int(i) for i in random.integers(0, vocab, 40)]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double().numpy()
            # Greedy, as far as the context goes, whatever the tokens.
            sequence, greedy, gaps = ids[:10], [], []
            for _ in range(32):
                last = model(torch.tensor([sequence])).logits[0, -1]
                best = torch.topk(last, 2)
                gaps.append(float(best.values[0] - best.values[1]))
                greedy.append(int(best.indices[0]))
                sequence.append(greedy[-1])
        goldens[name] = {
            "vocab": vocab,
            "ids": ids,
            # Every 7th logit of every position.
            "logits": [[round(float(x), 7) for x in row[::7]] for row in logits],
            "logit_scale": float(np.abs(logits).max()),
            "greedy_prompt": ids[:10],
            "greedy": greedy,
            "smallest_gap": min(gaps),
        }
        print(path, path.stat().st_size, "bytes, vocab", vocab, "smallest gap", min(gaps))
    (DATA / "tiny_llama_goldens.json").write_text(json.dumps(goldens) + "\n")


if __name__ == "__main__":
    main()
