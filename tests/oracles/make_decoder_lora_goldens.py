"""Makes random LoRAs in PEFT's format for some of the models of make_decoder_goldens.py, under
tests/data/decoders/loras/, and the logits peft computes with them: loras/goldens.json.

    python tests/oracles/make_decoder_lora_goldens.py

Needs numpy, torch, transformers, peft 0.21.2.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import numpy as np
import peft
import torch
from make_decoder_goldens import OUT
from transformers import AutoModelForCausalLM

# LoRA, model, fields of its configuration.
CASES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "llama-all",
        "llama",
        {
            "r": 3,
            "lora_alpha": 6,
            "target_modules": [
                "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
            ],
        },
    ),
    ("llama-late", "llama", {"r": 5, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"],
                             "layers_to_transform": [1], "use_rslora": True}),
    ("qwen3-attention", "qwen3", {"r": 4, "lora_alpha": 8,
                                  "target_modules": ["q_proj", "k_proj", "o_proj"]}),
    ("deepseek-latent", "deepseek_v3_plain", {
        "r": 2, "lora_alpha": 3,
        "target_modules": ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"],
    }),
    # A GGUF file's heads are in pairs, a checkpoint's in halves.
    ("gguf-attention", "tiny_llama.gguf", {"r": 4, "lora_alpha": 8,
                                           "target_modules": ["q_proj", "k_proj", "v_proj"]}),
]  # fmt: skip
POSITIONS = [0, 3, 11, 23]


def main() -> None:
    loras = OUT / "loras"
    goldens: dict[str, Any] = {
        "made_by": "tests/oracles/make_decoder_lora_goldens.py",
        "transformers": version("transformers"),
        "peft": version("peft"),
        "loras": {},
    }
    for seed, (name, model_name, fields) in enumerate(CASES, start=1):
        is_gguf = model_name.endswith(".gguf")
        base = AutoModelForCausalLM.from_pretrained(
            OUT.parent if is_gguf else OUT / model_name,
            gguf_file=model_name if is_gguf else None,
            dtype=torch.float32,
            attn_implementation="eager",
            experts_implementation="eager",
        ).eval()
        model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **fields))
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor_name, tensor in model.named_parameters():
                if "lora_" in tensor_name:
                    tensor.copy_(0.3 * torch.randn(tensor.shape, generator=random))
        model.save_pretrained(loras / name)
        (loras / name / "README.md").unlink(missing_ok=True)
        config = json.loads((loras / name / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = model_name
        (loras / name / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
        ids = [int(i) for i in np.random.default_rng(seed).integers(3, 64, 24)]
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0]
            with model.disable_adapter():
                plain = model(torch.tensor([ids]), use_cache=False).logits[0]
        goldens["loras"][name] = {
            "model": model_name,
            "modules": sum("lora_A" in n for n, _ in model.named_parameters()),
            "ids": ids,
            "positions": POSITIONS,
            "logits": [[round(float(x), 6) for x in logits[p]] for p in POSITIONS],
        }
        print(name, "moves logits by up to", float((logits - plain).abs().max()))
    (loras / "goldens.json").write_text(json.dumps(goldens) + "\n")


if __name__ == "__main__":
    main()
