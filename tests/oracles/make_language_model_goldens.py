"""Writes tests/data/language_model_goldens.json: SmolLM2's greedy tokens and some logits.

The reference is transformers' Llama in fp32 on the dequantised weights of the same GGUF file. The
prompts are fixed here, before any comparison: 20 that the reference answers with all of 64 tokens,
and two that it ends before. The smallest gap between the best and the second logit says how near a
greedy choice came to a tie; one that fp32 does not decide is no reference, so another prompt is put
in its place.

    COLLEGIUM_SMOLLM2=... python tests/oracles/make_language_model_goldens.py

Needs gguf, torch, transformers, accelerate.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

OUTPUT = Path(__file__).resolve().parent.parent / "data/language_model_goldens.json"
NEW_TOKENS = 64
LONG_PROMPTS = 20  # those that run to NEW_TOKENS
SMALLEST_GAP = 1e-3
LOGIT_STRIDE = 61

Message = dict[str, str]


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


CHATS: list[list[Message]] = [
    user("What is the capital of France?"),
    user("Explain in two sentences why the sky is blue."),
    user("Write a haiku about autumn leaves."),
    user("List three uses of a spreadsheet."),
    user("What does the word 'hypothesis' mean?"),
    user("Give me a short recipe for pancakes."),
    user("Translate 'good morning' into Spanish."),
    user("Write a short story about a lighthouse keeper."),
    user("How does a bicycle stay upright?"),
    user("How does a refrigerator keep food cold?"),
    user("Write a Python class for a bank account, with comments."),
    user("Name two differences between a virus and a bacterium."),
    user("What should I check before signing a lease?"),
    user("Explain the difference between weather and climate."),
    user("What are the main causes of the French Revolution?"),
    user("Compare coffee and tea."),
    [
        {"role": "system", "content": "You answer in detail, with examples."},
        {"role": "user", "content": "What is photosynthesis?"},
    ],
    [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello Ada, how can I help you?"},
        {"role": "user", "content": "Tell me a long story about a girl with my name."},
    ],
]
RAW = [
    "The three primary colours are",
    "def fibonacci(n):\n",
    "Once upon a time, in a village by the sea,",
    "1. Boil the water.\n2.",
]


def main() -> None:
    torch.set_num_threads(1)  # one fixed order of sums
    path = Path(os.environ["COLLEGIUM_SMOLLM2"])
    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()  # type: ignore[no-untyped-call]
    prompts: list[dict[str, Any]] = [
        {
            "messages": chat,
            "prompt": tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True
            ),
        }
        for chat in CHATS
    ]
    prompts += [{"prompt": text} for text in RAW]
    # Digits alone, as tokenizer.ggml.pre says (see make_byte_level_bpe_goldens.py).
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    for number, entry in enumerate(prompts):
        ids = backend.encode(entry["prompt"], add_special_tokens=False).ids
        past = None
        inputs = torch.tensor([ids])
        new: list[int] = []
        gaps: list[float] = []
        stopped = False
        with torch.no_grad():
            for step in range(NEW_TOKENS):
                result = model(inputs, past_key_values=past, use_cache=True)
                past = result.past_key_values
                last = result.logits[0, -1]
                if step == 0:
                    entry["logits"] = [round(float(x), 6) for x in last[::LOGIT_STRIDE]]
                    entry["logit_scale"] = float(last.abs().max())
                best = torch.topk(last, 2)
                gaps.append(float(best.values[0] - best.values[1]))
                token = int(best.indices[0])
                if token == tokenizer.eos_token_id:
                    stopped = True
                    break
                new.append(token)
                inputs = torch.tensor([[token]])
        entry |= {
            "ids": ids,
            "new": new,
            "text": backend.decode(new, skip_special_tokens=True),
            "stopped": stopped,
            "smallest_gap": min(gaps),
        }
        print(number, len(ids), len(new), stopped, f"gap {min(gaps):.5f}", repr(entry["text"][:70]))
    assert sum(len(entry["new"]) == NEW_TOKENS for entry in prompts) == LONG_PROMPTS
    assert min(entry["smallest_gap"] for entry in prompts) >= SMALLEST_GAP
    golden = {
        "made_by": "tests/oracles/make_language_model_goldens.py",
        "transformers": version("transformers"),
        "torch": version("torch"),
        "new_tokens": NEW_TOKENS,
        "logit_stride": LOGIT_STRIDE,
        "prompts": prompts,
    }
    text = json.dumps(golden | {"prompts": []}, indent=1)
    lines = ",\n".join(json.dumps(entry) for entry in prompts)
    OUTPUT.write_text(text.replace('"prompts": []', '"prompts": [\n' + lines + "\n]") + "\n")


if __name__ == "__main__":
    main()
