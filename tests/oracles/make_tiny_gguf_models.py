"""Writes tests/data/gguf_models/*.gguf, a tiny random model of every architecture that is read from
GGUF, and goldens.json with what transformers makes of them.

The files have llama.cpp's names and layouts: queries and keys of the "llama" architecture permuted
for rotation in pairs, Gemma's norms with the 1 added, experts stacked in one tensor. The reference
is the transformers model of the same configuration on the dequantised weights, put in by name; that
the permutation and the added 1 are undone right is thereby compared, too.

    python tests/oracles/make_tiny_gguf_models.py

Needs gguf, numpy, torch, transformers.
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
from make_tiny_llama import MERGES, byte_alphabet
from transformers import AutoConfig, AutoModelForCausalLM

DATA = Path(__file__).resolve().parent.parent / "data/gguf_models"
VOCAB = 284
WIDTH = 64
TOKENS = 40  # of the prompt whose logits are compared
GREEDY = 24

Array = npt.NDArray[np.float32]

COMMON = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 96,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "head_dim": 16,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


def rope(base: float, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": base} | more}


DEEPSEEK = {
    "num_key_value_heads": 4, "head_dim": 16, "kv_lora_rank": 32, "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16, "v_head_dim": 32, "n_routed_experts": 8, "num_experts_per_tok": 3,
    "n_shared_experts": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
    "num_hidden_layers": 3,
}  # fmt: skip
DEEPSEEK_METADATA = {
    "attention.kv_lora_rank": 32, "rope.dimension_count": 16, "expert_count": 8,
    "expert_used_count": 3, "expert_shared_count": 2, "expert_feed_forward_length": 32,
    "leading_dense_block_count": 1,
}  # fmt: skip
# Keys of the narrow vector and its rotated part, values of the narrow vector.
ABSORBED = {
    "attention.key_length": 48, "attention.value_length": 32,
    "attention.key_length_mla": 48, "attention.value_length_mla": 32,
}  # fmt: skip

# GGUF's name of the architecture, transformers' model_type, its configuration, GGUF metadata beside
# what all have, and types of some tensors (Q8_0 the others).
MODELS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Type]]] = {
    "llama": ("llama", "llama", rope(5e5), {}, {"ffn_down": Type.Q5_1, "attn_v": Type.Q5_0}),
    "llama_linear": (
        "llama", "llama", rope(1e4, rope_type="linear", factor=4.0),
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, {},
    ),
    "llama_31": (
        "llama", "llama",
        rope(5e5, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=64),
        {}, {"attn_q": Type.F16},
    ),
    "mixtral": (
        "llama", "mixtral", rope(1e6) | {"num_local_experts": 4, "num_experts_per_tok": 2},
        {"expert_count": 4, "expert_used_count": 2}, {"ffn_gate_exps": Type.Q4_0},
    ),
    "qwen2": ("qwen2", "qwen2", rope(1e6) | {"tie_word_embeddings": True}, {}, {}),
    "qwen2_yarn": (
        "qwen2", "qwen2",
        rope(1e6, rope_type="yarn", factor=4.0, original_max_position_embeddings=24),
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
         "rope.scaling.original_context_length": 24}, {},
    ),
    "qwen3": ("qwen3", "qwen3", rope(1e6) | {"head_dim": 32}, {}, {}),
    "gemma2": (
        "gemma2", "gemma2",
        rope(1e4) | {
            "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8,
            "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0,
            "hidden_activation": "gelu_pytorch_tanh", "num_hidden_layers": 3,
            "tie_word_embeddings": True,
        },
        {"attention.sliding_window": 8, "attn_logit_softcapping": 5.0,
         "final_logit_softcapping": 3.0}, {},
    ),
    "gemma3": (
        "gemma3", "gemma3_text",
        {
            "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8,
            "num_key_value_heads": 1, "hidden_activation": "gelu_pytorch_tanh",
            "num_hidden_layers": 7, "tie_word_embeddings": True,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
        {"attention.sliding_window": 8, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
        {},
    ),
    "olmo2": ("olmo2", "olmo2", rope(5e5), {}, {}),
    "olmoe": (
        "olmoe", "olmoe",
        rope(1e4) | {"num_experts": 8, "num_experts_per_tok": 3, "norm_topk_prob": False,
                     "clip_qkv": 0.9},
        {"expert_count": 8, "expert_used_count": 3, "attention.clamp_kqv": 0.9}, {},
    ),
    "qwen2moe": (
        "qwen2moe", "qwen2_moe",
        rope(1e6) | {"num_experts": 6, "num_experts_per_tok": 2, "norm_topk_prob": False,
                     "moe_intermediate_size": 32, "shared_expert_intermediate_size": 128,
                     "decoder_sparse_step": 1},
        {"expert_count": 6, "expert_used_count": 2, "expert_feed_forward_length": 32,
         "expert_shared_feed_forward_length": 128}, {},
    ),
    "qwen3moe": (
        "qwen3moe", "qwen3_moe",
        rope(1e6) | {"num_experts": 8, "num_experts_per_tok": 3, "norm_topk_prob": True,
                     "moe_intermediate_size": 32, "decoder_sparse_step": 1, "head_dim": 32},
        {"expert_count": 8, "expert_used_count": 3, "expert_feed_forward_length": 32}, {},
    ),
    "granite": (
        "granite", "granite",
        rope(1e4) | {"embedding_multiplier": 6.0, "residual_multiplier": 0.3,
                     "attention_multiplier": 0.2, "logits_scaling": 4.0},
        {"embedding_scale": 6.0, "residual_scale": 0.3, "attention.scale": 0.2,
         "logit_scale": 4.0}, {},
    ),
    "granitemoe": (
        "granitemoe", "granitemoe",
        rope(1e4) | {"num_local_experts": 5, "num_experts_per_tok": 2,
                     "embedding_multiplier": 6.0, "residual_multiplier": 0.3,
                     "attention_multiplier": 0.2, "logits_scaling": 4.0},
        {"expert_count": 5, "expert_used_count": 2, "embedding_scale": 6.0,
         "residual_scale": 0.3, "attention.scale": 0.2, "logit_scale": 4.0}, {},
    ),
    # V2-Lite, as files had it at first.
    "deepseek2_lite": (
        "deepseek2", "deepseek_v2",
        DEEPSEEK | rope(1e4) | {"q_lora_rank": None, "routed_scaling_factor": 1.5,
                                "topk_method": "greedy"},
        DEEPSEEK_METADATA | {"attention.key_length": 48, "attention.value_length": 32,
                             "expert_weights_scale": 1.5},
        {},
    ),
    # V2: groups, YaRN that changes the scale of attention; keys and values apart, as files have
    # them now.
    "deepseek2": (
        "deepseek2", "deepseek_v2",
        DEEPSEEK | rope(1e4, rope_type="yarn", factor=4.0, original_max_position_embeddings=24,
                        beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707)
        | {"q_lora_rank": 32, "routed_scaling_factor": 2.0, "topk_method": "group_limited_greedy",
           "n_group": 4, "topk_group": 2},
        DEEPSEEK_METADATA | ABSORBED | {
            "attention.q_lora_rank": 32, "expert_weights_scale": 2.0, "expert_group_count": 4,
            "expert_group_used_count": 2, "expert_gating_func": 1, "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 24,
            "rope.scaling.yarn_log_multiplier": 0.0707},
        {"attn_v_b": Type.Q4_0},
    ),
    "deepseek2_v3": (
        "deepseek2", "deepseek_v3",
        DEEPSEEK | rope(1e4) | {"q_lora_rank": 32, "routed_scaling_factor": 2.5, "n_group": 4,
                                "topk_group": 2, "norm_topk_prob": True},
        DEEPSEEK_METADATA | ABSORBED | {
            "attention.q_lora_rank": 32, "expert_weights_scale": 2.5, "expert_group_count": 4,
            "expert_group_used_count": 2, "expert_gating_func": 2, "expert_weights_norm": True},
        {},
    ),
}  # fmt: skip

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp",
    "block_sparse_moe.router": "ffn_gate_inp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm", "self_attn.kv_b_proj": "attn_kv_b",
}  # fmt: skip
BEHIND = {  # where norms stand behind a part
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def permuted(rows: Array, heads: int) -> Array:
    """Halves of a head, as Hugging Face has them, to pairs."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def gguf_tensors(name: str, config: Any, arch: str) -> list[tuple[str, int | None]]:
    """GGUF's names for a parameter, and of which half of its rows each is."""
    stem, kind = name.rsplit(".", 1)
    prefix = ""
    if stem.startswith("model.layers."):
        _, _, layer, stem = stem.split(".", 3)
        prefix = f"blk.{layer}."
    if name.endswith("experts.gate_up_proj"):
        return [(prefix + "ffn_gate_exps.weight", 0), (prefix + "ffn_up_exps.weight", 1)]
    if name.endswith("experts.down_proj"):
        return [(prefix + "ffn_down_exps.weight", None)]
    behind = arch.startswith("gemma") or arch == "olmo2"
    gguf_name = (BEHIND.get(stem) if behind else None) or NAMES[stem]
    return [(f"{prefix}{gguf_name}.{kind}", None)]


def write_model(path: Path, name: str, seed: int) -> torch.nn.Module:
    arch, model_type, options, metadata, types = MODELS[name]
    config = AutoConfig.for_model(model_type, **(COMMON | options))
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    rng = np.random.default_rng(seed)

    writer = gguf.GGUFWriter(str(path), arch)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *byte_alphabet()]
    tokens += [m.replace(" ", "") for m in MERGES]
    tokens += [f"<unused{i}>" for i in range(VOCAB - len(tokens))]
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    absorbed = ABSORBED.keys() <= metadata.keys()
    writer.add_head_count_kv(1 if absorbed else config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if getattr(config, "head_dim", None) and "attention.key_length" not in metadata:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    parameters = config.rope_parameters
    writer.add_rope_freq_base(parameters.get("full_attention", parameters)["rope_theta"])
    for key, value in metadata.items():
        full = f"{arch}.{key}"
        if isinstance(value, str):
            writer.add_string(full, value)
        elif isinstance(value, bool):
            writer.add_bool(full, value)
        elif isinstance(value, int):
            writer.add_uint32(full, value)
        else:
            writer.add_float32(full, value)
    if parameters.get("rope_type") == "llama3":
        # As whoever writes the file works them out: by how much each frequency is divided.
        scaled = model.model.rotary_emb.inv_freq.double().numpy()
        plain = 1.0 / parameters["rope_theta"] ** (np.arange(0, 16, 2) / 16)
        writer.add_tensor("rope_freqs.weight", (plain / scaled).astype(np.float32))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (VOCAB - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)

    def stored_as(name: str, values: Array, kind: Type) -> Array:
        """Writes a tensor; returns what the file holds."""
        kind = types.get(name.split(".")[-2], kind)
        data = gguf.quants.quantize(np.ascontiguousarray(values), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        return gguf.quants.dequantize(data, kind).reshape(values.shape)

    with torch.no_grad():
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("e_score_correction_bias"):
                bias = 0.2 * rng.standard_normal(tuple(buffer.shape), dtype=np.float32)
                layer = buffer_name.split(".")[2]
                stored_as(f"blk.{layer}.exp_probs_b.bias", bias, Type.F32)
                buffer.copy_(torch.from_numpy(bias))
        for parameter_name, parameter in model.named_parameters():
            shape = tuple(parameter.shape)
            norm = "norm" in parameter_name
            values: Array = rng.standard_normal(shape, dtype=np.float32)
            if norm:
                values = 0.2 * values + (0.0 if arch.startswith("gemma") else 1.0)
            elif parameter_name.endswith("bias"):
                values *= 0.3
            elif "embed" in parameter_name:
                values *= 0.6
            else:
                scale = 2.0 if "q_proj" in parameter_name or "k_proj" in parameter_name else 1.0
                values *= scale / shape[-1] ** 0.5
            if parameter_name.endswith(("mlp.gate.weight", "router.weight")):
                values *= 3.0  # so that few choices are near a tie
            if absorbed and parameter_name.endswith("kv_b_proj.weight"):
                # Keys and values apart, the keys' rows as columns.
                layer = parameter_name.split(".")[2]
                nope = config.qk_nope_head_dim
                by_head = values.reshape(config.num_attention_heads, -1, shape[-1])
                keys, rest = by_head[:, :nope], by_head[:, nope:]
                keys = stored_as(f"blk.{layer}.attn_k_b.weight", keys.swapaxes(1, 2), Type.Q8_0)
                rest = stored_as(f"blk.{layer}.attn_v_b.weight", rest, Type.Q8_0)
                whole = np.concatenate([keys.swapaxes(1, 2), rest], axis=1).reshape(shape)
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(whole)))
                continue
            parts = []
            for gguf_name, half in gguf_tensors(parameter_name, config, arch):
                part = values
                if half is not None:
                    rows = shape[-2] // 2
                    part = values[..., half * rows : (half + 1) * rows, :]
                plain = norm or part.ndim == 1 or "ffn_gate_inp" in gguf_name
                stored = part + 1 if norm and arch.startswith("gemma") else part
                heads = {
                    "attn_q": config.num_attention_heads,
                    "attn_k": config.num_key_value_heads,
                }.get(gguf_name.split(".")[-2])
                turned = heads is not None and arch in ("llama", "granite", "granitemoe")
                if turned:
                    stored = permuted(stored, heads)
                if gguf_name.endswith("ffn_gate_inp_shexp.weight"):
                    stored = stored.reshape(WIDTH)
                # What the file holds, in the reference's layout.
                back = stored_as(gguf_name, stored, Type.F32 if plain else Type.Q8_0)
                if turned:
                    back = (
                        back.reshape(heads, -1, 2, *back.shape[1:])
                        .swapaxes(1, 2)
                        .reshape(back.shape)
                    )
                if norm and arch.startswith("gemma"):
                    back = back - 1
                parts.append(back.reshape(part.shape))
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-2)
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(whole)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def main() -> None:
    torch.set_num_threads(1)  # one fixed order of sums
    DATA.mkdir(exist_ok=True)
    goldens: dict[str, Any] = {
        "made_by": "tests/oracles/make_tiny_gguf_models.py",
        "transformers": version("transformers"),
        "torch": version("torch"),
        "gguf": version("gguf"),
        "models": list(MODELS),
    }
    for seed, name in enumerate(MODELS, start=1):
        path = DATA / f"{name}.gguf"
        model = write_model(path, name, seed)
        rng = np.random.default_rng(100 + seed)
        ids = [int(i) for i in rng.integers(0, VOCAB, TOKENS)]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double().numpy()
            sequence, greedy, gaps = ids[:10], [], []
            for _ in range(GREEDY):
                best = torch.topk(model(torch.tensor([sequence])).logits[0, -1], 2)
                gaps.append(float(best.values[0] - best.values[1]))
                greedy.append(int(best.indices[0]))
                sequence.append(greedy[-1])
        goldens[name] = {
            "ids": ids,
            # Every 7th logit of every position.
            "logits": [[round(float(x), 6) for x in row[::7]] for row in logits],
            "logit_scale": float(np.abs(logits).max()),
            "greedy_prompt": ids[:10],
            "greedy": greedy,
            "smallest_gap": min(gaps),
        }
        print(name, path.stat().st_size, f"scale {np.abs(logits).max():.3f} gap {min(gaps):.5f}")
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in goldens.items()]
    (DATA / "goldens.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
