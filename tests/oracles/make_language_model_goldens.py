"""Writes tests/data/language_model_goldens.json: SmolLM2's greedy tokens and some logits; the same
of Gemma 3 270M, a base model, for completion prompts in gemma3_goldens.json; and of both the log
probabilities of a piece of text of every domain of lm_corpora in lm_perplexity_goldens.json.

The reference is transformers' Llama in fp32 on the dequantised weights of the same GGUF file. The
prompts are fixed here, before any comparison: 20 that the reference answers with all of 64 tokens,
and two that it ends before. The smallest gap between the best and the second logit says how near a
greedy choice came to a tie; one that fp32 does not decide is no reference, so another prompt is put
in its place.

    COLLEGIUM_SMOLLM2=... COLLEGIUM_GEMMA3=... COLLEGIUM_DATA=... \\
        python tests/oracles/make_language_model_goldens.py

A model that is not named is left as it is. Gemma's ids are those of make_scored_bpe.py's oracle.

Needs gguf, protobuf, sentencepiece, torch, transformers, accelerate.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

DATA = Path(__file__).resolve().parent.parent / "data"
DOMAINS = ("code", "encyclopedic", "finance", "legal", "medical", "science_engineering")
PIECE_BYTES = 3000  # of each domain's text, from its beginning, to the end of a line
NEW_TOKENS = 64
LONG_PROMPTS = 20  # those that run to NEW_TOKENS
SMALLEST_GAP = 1e-3
LOGIT_STRIDE = 61
GEMMA3_STRIDE = 1037  # its vocabulary is larger

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


# For a base model; the reference answers all of them with 64 tokens.
COMPLETIONS = [
    "The capital of France is",
    "Once upon a time, in a village by the sea,",
    "def fibonacci(n):\n    ",
    "Q: What is the boiling point of water?\nA:",
    "The three primary colours are",
    "In the beginning of the twentieth century, physics",
    "1, 2, 3, 4, 5, 6, 7,",
    "Der schnelle braune Fuchs",
    "import numpy as np\n\n# Compute the mean of each row\n",
    "Ingredients for pancakes:\n\n",
]

Encode = Callable[[str], list[int]]


def complete(model: Any, ids: list[int], end: set[int], stride: int) -> dict[str, Any]:
    """The greedy answer to `ids`, and some of the first logits."""
    past = None
    inputs = torch.tensor([ids])
    entry: dict[str, Any] = {"ids": ids}
    new: list[int] = []
    gaps: list[float] = []
    stopped = False
    with torch.no_grad():
        for step in range(NEW_TOKENS):
            result = model(inputs, past_key_values=past, use_cache=True)
            past = result.past_key_values
            last = result.logits[0, -1]
            if step == 0:
                entry["logits"] = [round(float(x), 6) for x in last[::stride]]
                entry["logit_scale"] = float(last.abs().max())
            best = torch.topk(last, 2)
            gaps.append(float(best.values[0] - best.values[1]))
            token = int(best.indices[0])
            if token in end:
                stopped = True
                break
            new.append(token)
            inputs = torch.tensor([[token]])
    return entry | {"new": new, "stopped": stopped, "smallest_gap": min(gaps)}


def piece_of(domain: str) -> str:
    folder = Path(os.environ["COLLEGIUM_DATA"]) / "lm_corpora"
    with gzip.open(folder / f"{domain}.txt.gz") as file:
        text = file.read(PIECE_BYTES)
    return text[: text.rindex(b"\n") + 1].decode("utf-8")


def score(model: Any, encode: Encode) -> dict[str, Any]:
    """Sum of the log probabilities of all tokens but the first, by domain."""
    scores: dict[str, Any] = {}
    for domain in DOMAINS:
        ids = torch.tensor([encode(piece_of(domain))])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1].double()
        chosen = torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])
        scores[domain] = {"tokens": chosen.numel(), "log_probability": float(chosen.sum())}
        print(domain, scores[domain])
    return scores


def write(name: str, prompts: list[dict[str, Any]], stride: int) -> None:
    golden = {
        "made_by": "tests/oracles/make_language_model_goldens.py",
        "transformers": version("transformers"),
        "torch": version("torch"),
        "new_tokens": NEW_TOKENS,
        "logit_stride": stride,
        "prompts": [],
    }
    lines = ",\n".join(json.dumps(entry) for entry in prompts)
    text = json.dumps(golden, indent=1).replace('"prompts": []', '"prompts": [\n' + lines + "\n]")
    (DATA / name).write_text(text + "\n")


def load(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()  # type: ignore[no-untyped-call]


def smollm2(path: Path) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    model = load(path)
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

    def encode(text: str) -> list[int]:
        return list(backend.encode(text, add_special_tokens=False).ids)

    for number, entry in enumerate(prompts):
        entry |= complete(model, encode(entry["prompt"]), {tokenizer.eos_token_id}, LOGIT_STRIDE)
        entry["text"] = backend.decode(entry["new"], skip_special_tokens=True)
        print(number, len(entry["new"]), entry["smallest_gap"], repr(entry["text"][:70]))
    assert sum(len(entry["new"]) == NEW_TOKENS for entry in prompts) == LONG_PROMPTS
    assert min(entry["smallest_gap"] for entry in prompts) >= SMALLEST_GAP
    write("language_model_goldens.json", prompts, LOGIT_STRIDE)
    return score(model, encode)


def gemma3(path: Path) -> dict[str, Any]:
    from make_scored_bpe import gemma3_oracle

    oracle = gemma3_oracle(path)
    model = load(path)

    def encode(text: str) -> list[int]:
        return [2, *oracle.encode(text)]  # <bos>

    prompts: list[dict[str, Any]] = [{"prompt": text} for text in COMPLETIONS]
    for number, entry in enumerate(prompts):
        entry |= complete(model, encode(entry["prompt"]), {1}, GEMMA3_STRIDE)
        entry["text"] = oracle.processor.decode(entry["new"])
        print(number, len(entry["new"]), entry["smallest_gap"], repr(entry["text"][:70]))
    assert min(entry["smallest_gap"] for entry in prompts) >= SMALLEST_GAP
    write("gemma3_goldens.json", prompts, GEMMA3_STRIDE)
    return score(model, encode)


def main() -> None:
    torch.set_num_threads(1)  # one fixed order of sums
    path = DATA / "lm_perplexity_goldens.json"
    scores = json.loads(path.read_text()) if path.exists() else {}
    scores |= {
        "made_by": "tests/oracles/make_language_model_goldens.py",
        "transformers": version("transformers"),
        "torch": version("torch"),
        "piece_bytes": PIECE_BYTES,
    }
    for name, make in (("COLLEGIUM_SMOLLM2", smollm2), ("COLLEGIUM_GEMMA3", gemma3)):
        if name in os.environ:
            scores[name] = make(Path(os.environ[name]))
    path.write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
