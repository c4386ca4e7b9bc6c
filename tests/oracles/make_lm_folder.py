"""Writes tests/data/lm_folder, a whole tiny random model in Hugging Face's layout (Mixtral, with a
tokenizer that puts a token before a text and a chat template that does not), and in
lm_folder_goldens.json what transformers answers: to a prompt, and in a chat.

    python tests/oracles/make_lm_folder.py

Needs torch, transformers; tests/data/lm_tokenizers.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig

DATA = Path(__file__).resolve().parent.parent / "data"
FOLDER = DATA / "lm_folder"
NEW_TOKENS = 40
PROMPTS = ["the router and the gate", "naïve ✓ 日本", ""]
CHATS = [
    [{"role": "user", "content": "Which expert?"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "weights"},
        {"role": "assistant", "content": "of a layer"},
        {"role": "user", "content": "and   the\n\ngate"},
    ],
]


def main() -> None:
    torch.set_num_threads(1)  # one fixed order of sums
    FOLDER.mkdir(exist_ok=True)
    for path in (DATA / "lm_tokenizers/llama3").iterdir():
        shutil.copy(path, FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(str(FOLDER))
    config = MixtralConfig(
        vocab_size=len(tokenizer) + 1,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        attn_implementation="eager",
    )
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                scale = 0.6 if "embed" in name else 2.0 / parameter.shape[-1] ** 0.5
                parameter.normal_(0.0, scale)
    model.save_pretrained(FOLDER)
    (FOLDER / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [tokenizer.eos_token_id]}) + "\n"
    )
    model = AutoModelForCausalLM.from_pretrained(
        str(FOLDER), dtype=torch.float32, attn_implementation="eager"
    ).eval()

    def answer(ids: list[int]) -> dict[str, Any]:
        new: list[int] = []
        gaps: list[float] = []
        with torch.no_grad():
            while len(new) < NEW_TOKENS:
                last = model(torch.tensor([ids + new])).logits[0, -1]
                best = torch.topk(last, 2)
                gaps.append(float(best.values[0] - best.values[1]))
                if int(best.indices[0]) == tokenizer.eos_token_id:
                    break
                new.append(int(best.indices[0]))
        print(len(ids), len(new), min(gaps))
        text = tokenizer.decode(new, skip_special_tokens=True)
        return {"prompt_tokens": len(ids), "new": new, "text": text, "smallest_gap": min(gaps)}

    prompts = [{"prompt": p} | answer(tokenizer(p)["input_ids"]) for p in PROMPTS]
    chats = []
    for chat in CHATS:
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        chats.append({"messages": chat, "prompt": text} | answer(ids))
    goldens = {
        "made_by": "tests/oracles/make_lm_folder.py",
        "transformers": version("transformers"),
        "torch": version("torch"),
        "prompts": prompts,
        "chats": chats,
    }
    (DATA / "lm_folder_goldens.json").write_text(json.dumps(goldens, indent=1) + "\n")


if __name__ == "__main__":
    main()
