"""Writes tests/data/score_goldens.json: log P of texts under the tiny llamas, by transformers.

Long texts are read as Hugging Face's "Perplexity of fixed-length models" does it: windows of so many
tokens, each `stride` behind the one before, and of each only the tokens no window had before count.

    python tests/oracles/make_score_goldens.py

Needs gguf, torch, transformers, accelerate.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

DATA = Path(__file__).resolve().parent.parent / "data"
MODELS = {"tiny_llama": (96, False), "tiny_llama_mixed": (64, True)}  # context, <bos>
TEXTS = [
    "the thing and another",
    "a",
    "caf\u00e9 and the ring\n\nthere",
    "the king and an inner ring there; " * 9,
    "in other rings, the other thing is on and on: " * 5 + "\u6771\u4eac",
]
WINDOWS = [(0, 0), (40, 10), (33, 32), (2, 1)]


def score(model: Any, ids: list[int], window: int, stride: int) -> list[float]:
    """log P of each token but the first."""
    found: list[float] = []
    counted = 1
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        with torch.no_grad():
            logits = model(torch.tensor([ids[begin:end]])).logits[0].double()
        likely = torch.log_softmax(logits, dim=-1)
        for i in range(counted, end):
            found.append(float(likely[i - 1 - begin, ids[i]]))
        counted = max(counted, end)
        if end == len(ids):
            break
    return found


def main() -> None:
    torch.set_num_threads(1)
    golden: dict[str, Any] = {
        "made_by": "tests/oracles/make_score_goldens.py",
        "transformers": version("transformers"),
        "torch": version("torch"),
    }
    for name, (context, bos) in MODELS.items():
        file = f"{name}.gguf"
        model = AutoModelForCausalLM.from_pretrained(
            str(DATA), gguf_file=file, dtype=torch.float32, attn_implementation="eager"
        ).eval()  # type: ignore[no-untyped-call]
        backend = AutoTokenizer.from_pretrained(str(DATA), gguf_file=file).backend_tokenizer
        cases = []
        for text in TEXTS:
            ids = ([1] if bos else []) + backend.encode(text, add_special_tokens=False).ids
            for window, stride in WINDOWS:
                size = window or context
                found = score(model, ids, size, stride or size // 2)
                cases.append(
                    {
                        "text": text,
                        "window": window,
                        "stride": stride,
                        "ids": ids,
                        "log_probabilities": [round(x, 7) for x in found],
                        "log_probability": sum(found),
                    }
                )
            print(name, len(ids), "tokens")
        golden[name] = cases
    (DATA / "score_goldens.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
