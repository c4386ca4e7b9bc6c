"""Writes tests/data/decoders/: tiny random decoders, and what transformers computes with them.

One folder a model, as `save_pretrained` or the hub has it, in float32, float16 or bfloat16;
options of each architecture are crossed over the models. The reference is transformers reading the
same folder, in fp32, eager attention, without a cache. goldens.json has for each model logits of
some positions, the experts of every token and their weights, and 64 greedy tokens.

    python tests/oracles/make_decoder_goldens.py [model ...]

Without names, of all models. Needs numpy, torch, transformers, safetensors.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

OUT = Path(__file__).resolve().parent.parent / "data" / "decoders"
BASE: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 96,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None,
}  # fmt: skip
DEEPSEEK: dict[str, Any] = {
    "num_attention_heads": 3, "num_key_value_heads": 3, "n_routed_experts": 8,
    "num_experts_per_tok": 3, "moe_intermediate_size": 16, "kv_lora_rank": 12, "q_lora_rank": 20,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 6, "v_head_dim": 10, "hidden_size": 30,
}  # fmt: skip
# "type" is the model_type; "save": how the tensors are stored; "old": config.json as releases
# before 5 wrote it.
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"type": "llama", "rms_norm_eps": 1e-5},
    "llama3": {
        "type": "llama", "head_dim": 16, "attention_bias": True, "mlp_bias": True,
        "tie_word_embeddings": True, "old": True,
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 24,
        },
    },
    "llama_linear": {
        "type": "llama", "num_key_value_heads": 4, "save": "bfloat16",
        "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    },
    "llama_yarn": {
        "type": "llama", "num_key_value_heads": 1, "save": "float16",
        "rope_parameters": {
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
            "original_max_position_embeddings": 24, "beta_fast": 8.0, "beta_slow": 1.0,
        },
    },
    "mistral": {"type": "mistral", "head_dim": 10, "sliding_window": 8, "save": "float16"},
    "qwen2": {
        "type": "qwen2", "num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 7,
        "max_window_layers": 1, "tie_word_embeddings": True, "save": "bfloat16",
    },
    "qwen3": {
        "type": "qwen3", "head_dim": 12, "attention_bias": True, "save": "bfloat16",
        "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 0,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "gemma2": {
        "type": "gemma2", "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 24,
        "attn_logit_softcapping": 3.0, "final_logit_softcapping": 8.0,
    },
    "gemma3": {
        "type": "gemma3_text", "head_dim": 16, "num_hidden_layers": 3, "sliding_window": 8,
        "query_pre_attn_scalar": 20, "save": "bfloat16",
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
        },
    },
    "olmo2": {"type": "olmo2", "rms_norm_eps": 1e-4},
    "granite": {
        "type": "granite", "embedding_multiplier": 3.0, "logits_scaling": 2.5, "save": "bfloat16",
        "residual_multiplier": 0.4, "attention_multiplier": 0.2, "attention_bias": True,
    },
    "mixtral": {"type": "mixtral", "num_local_experts": 5, "sliding_window": 8},
    "qwen2_moe": {
        "type": "qwen2_moe", "num_hidden_layers": 3, "num_experts": 6, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24, "norm_topk_prob": True,
        "mlp_only_layers": [0], "use_sliding_window": True, "sliding_window": 9,
        "max_window_layers": 2, "save": "bfloat16",
    },
    "qwen3_moe": {
        "type": "qwen3_moe", "num_hidden_layers": 4, "num_experts": 8, "num_experts_per_tok": 3,
        "moe_intermediate_size": 16, "head_dim": 10, "norm_topk_prob": True,
        "decoder_sparse_step": 2, "use_sliding_window": True, "sliding_window": 8,
        "save": "float16",
    },
    "qwen3_moe_fused": {
        "type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16, "head_dim": 8, "norm_topk_prob": False, "save": "fused",
    },
    "olmoe": {
        "type": "olmoe", "num_experts": 8, "num_experts_per_tok": 3, "intermediate_size": 16,
        "clip_qkv": 0.8, "norm_topk_prob": False,
    },
    "deepseek_v2": {
        **DEEPSEEK, "type": "deepseek_v2", "q_lora_rank": None, "n_shared_experts": 2,
        "first_k_dense_replace": 1, "topk_method": "greedy", "save": "bfloat16",
    },
    "deepseek_v2_groups": {
        **DEEPSEEK, "type": "deepseek_v2", "n_shared_experts": 1, "first_k_dense_replace": 0,
        "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2,
        "routed_scaling_factor": 4.0, "save": "bfloat16",
        "rope_parameters": {
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "mscale": 0.7,
            "mscale_all_dim": 0.9, "original_max_position_embeddings": 24,
        },
    },
    "deepseek_v3": {
        **DEEPSEEK, "type": "deepseek_v3", "n_shared_experts": 1, "first_k_dense_replace": 1,
        "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5, "save": "sharded",
    },
    "deepseek_v3_plain": {
        **DEEPSEEK, "type": "deepseek_v3", "n_shared_experts": 1, "first_k_dense_replace": 1,
        "n_group": 1, "topk_group": 1, "rope_interleave": False, "norm_topk_prob": False,
        "attention_bias": True, "save": "float16",
    },
    "phimoe": {
        "type": "phimoe", "num_local_experts": 6, "attention_bias": True, "lm_head_bias": True,
        "router_jitter_noise": 0.2, "sliding_window": 20, "intermediate_size": 16,
    },
    "phimoe_long": {
        "type": "phimoe", "num_local_experts": 4, "intermediate_size": 16, "save": "bfloat16",
        "max_position_embeddings": 512,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10000.0,
            "short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [2.0, 3.0, 4.0, 5.0],
            "short_mscale": 1.2, "long_mscale": 1.3, "original_max_position_embeddings": 96,
        },
    },
    "granitemoe": {
        "type": "granitemoe", "num_local_experts": 6, "num_experts_per_tok": 3,
        "intermediate_size": 16, "embedding_multiplier": 2.0, "logits_scaling": 1.5,
        "residual_multiplier": 0.6, "attention_multiplier": 0.3,
    },
}  # fmt: skip
POSITIONS = [0, 1, 7, 9, 23, 47]
# Of logits and of the routers' scores: what two orders of summing cannot turn.
SMALLEST_GAP = 2e-4


def randomize(model: torch.nn.Module, gemma: bool, seed: int) -> None:
    """Numbers of the size trained ones have, so that every part shows in the logits."""
    random = torch.Generator().manual_seed(seed)
    named = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in named:
        if name.endswith("inv_freq"):
            continue
        noise = torch.randn(tensor.shape, generator=random)
        with torch.no_grad():
            if name.endswith("bias"):
                tensor.copy_(0.1 * noise)
            elif "norm" in name:
                tensor.copy_(0.2 * noise + (0.0 if gemma else 1.0))
            elif "embed_tokens" in name:
                # Gemma's are multiplied again; a token must not be its own likeliest successor.
                tensor.copy_((0.04 if gemma else 0.3) * noise)
            else:
                tensor.copy_(1.3 * noise / tensor.shape[-1] ** 0.5)


def to_old_style(path: Path) -> None:
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def write_model(folder: Path, options: dict[str, Any], seed: int) -> None:
    options = dict(options)
    kind, save = options.pop("type"), options.pop("save", "float32")
    old = options.pop("old", False)
    config = AutoConfig.for_model(kind, **{**BASE, **options})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomize(model, kind.startswith("gemma"), seed)
    model.tie_weights()
    shutil.rmtree(folder, ignore_errors=True)
    if save in ("float16", "bfloat16"):
        model = model.to(getattr(torch, save))
    model.save_pretrained(folder, max_shard_size="40KB" if save == "sharded" else "1GB")
    if save == "fused":
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    if old:
        to_old_style(folder / "config.json")
    (folder / "generation_config.json").unlink(missing_ok=True)


class Routes:
    """What every router gives while the model runs, by decoder layer."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.by_layer: dict[int, list[torch.Tensor]] = {}
        for name, module in model.named_modules():
            if "Router" in type(module).__name__:
                layer = int(name.split("layers.")[1].split(".")[0])
                module.register_forward_hook(self.hook(layer))

    def hook(self, layer: int) -> Any:
        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            ids = next(part for part in output if not part.is_floating_point())
            weights = next(
                part for part in output if part.is_floating_point() and part.shape == ids.shape
            )
            self.by_layer[layer] = [ids.reshape(-1, ids.shape[-1]), weights]

        return keep


def reference(folder: Path, seed: int) -> tuple[dict[str, Any], float]:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    ).eval()
    routes = Routes(model)
    random = np.random.default_rng(seed)
    ids = [int(i) for i in random.integers(3, BASE["vocab_size"], 48)]
    gaps = []
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
        experts = [
            {
                "layer": layer,
                "ids": [sorted(row) for row in chosen.tolist()],
                "weights": [
                    [round(w, 6) for _, w in sorted(zip(row, weight, strict=True))]
                    for row, weight in zip(chosen.tolist(), weights.tolist(), strict=True)
                ],
            }
            for layer, (chosen, weights) in sorted(routes.by_layer.items())
        ]
        # Choices that numbers a little different would turn are no test: another seed is taken.
        nudged = model.double()(torch.tensor([ids]), use_cache=False)
        model.float()
        del nudged
        for layer, (chosen, _) in routes.by_layer.items():
            same = [sorted(row) for row in chosen.tolist()]
            if same != next(e["ids"] for e in experts if e["layer"] == layer):
                return {}, 0.0
        sequence, greedy = ids[:8], []
        for _ in range(64):
            last = model(torch.tensor([sequence]), use_cache=False).logits[0, -1]
            best = torch.topk(last, 2)
            gaps.append(float(best.values[0] - best.values[1]))
            greedy.append(int(best.indices[0]))
            sequence.append(greedy[-1])
    golden = {
        "ids": ids,
        "positions": POSITIONS,
        "logits": [[round(float(x), 6) for x in logits[p]] for p in POSITIONS],
        "greedy_prompt": ids[:8],
        "greedy": greedy,
        "smallest_gap": min(gaps),
        "experts": experts,
    }
    return golden, min(gaps)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    goldens: dict[str, Any] = {
        "made_by": "tests/oracles/make_decoder_goldens.py",
        "transformers": version("transformers"),
        "torch": version("torch"),
        "models": {},
    }
    path = OUT / "goldens.json"
    wanted = sys.argv[1:]
    if wanted:
        goldens["models"] = json.loads(path.read_text())["models"]
    for number, (name, options) in enumerate(MODELS.items()):
        if wanted and name not in wanted:
            continue
        for seed in range(1000 * number + 1, 1000 * number + 50):
            write_model(OUT / name, options, seed)
            golden, gap = reference(OUT / name, seed)
            if gap > SMALLEST_GAP:
                break
        else:
            raise SystemExit(f"{name}: no seed without near ties")
        size = sum(f.stat().st_size for f in (OUT / name).iterdir())
        different = len(set(golden["greedy"]))
        print(f"{name}: {size} bytes, seed {seed}, gap {gap:.5f}, {different} different tokens")
        goldens["models"][name] = golden
    path.write_text(json.dumps(goldens) + "\n")


if __name__ == "__main__":
    main()
