"""Writes tests/data/sampler_goldens.json: what transformers' logits processors leave of logits.

Random logits, some with ties and minus infinity, go through the processors in the order in which
`generate()` puts them together; the golden is the probability of every token that is left.
Presence and frequency penalties, which transformers lacks, are one line of numpy, as their
documentation elsewhere has them: logit - frequency * count - presence * (count > 0).

    python tests/oracles/make_sampler_goldens.py

Needs numpy, torch, transformers.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

OUTPUT = Path(__file__).resolve().parent.parent / "data/sampler_goldens.json"
VOCAB = 60

OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.6},
    {"temperature": 1.7},
    {"top_k": 7},
    {"top_p": 0.8},
    {"top_p": 0.05},
    {"min_p": 0.1},
    {"min_p": 1.0},
    {"typical_p": 0.5},
    {"typical_p": 0.95},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"presence_penalty": 0.8},
    {"frequency_penalty": 0.4},
    {"presence_penalty": -0.5, "frequency_penalty": 0.3, "repetition_penalty": 1.2},
    {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.9},
    {"temperature": 1.4, "top_k": 12, "typical_p": 0.3, "repetition_penalty": 1.1},
    {"temperature": 2.0, "top_p": 0.7, "min_p": 0.2, "repetition_penalty": 1.5},
]


def left_of(
    logits: np.ndarray[Any, np.dtype[np.float32]],
    prompt: list[int],
    answer: list[int],
    options: dict[str, Any],
) -> dict[str, list[Any]]:
    scores = torch.tensor(logits)[None]
    ids = torch.tensor([prompt + answer])
    if "repetition_penalty" in options:
        scores = RepetitionPenaltyLogitsProcessor(options["repetition_penalty"])(ids, scores)
    counts = np.bincount(answer, minlength=VOCAB).astype(np.float32)
    scores = scores - torch.tensor(
        np.float32(options.get("frequency_penalty", 0.0)) * counts
        + np.float32(options.get("presence_penalty", 0.0)) * (counts > 0)
    )
    warpers = LogitsProcessorList()
    if "temperature" in options:
        warpers.append(TemperatureLogitsWarper(options["temperature"]))
    if "top_k" in options:
        warpers.append(TopKLogitsWarper(options["top_k"]))
    if "top_p" in options:
        warpers.append(TopPLogitsWarper(options["top_p"]))
    if "min_p" in options:
        warpers.append(MinPLogitsWarper(options["min_p"]))
    if "typical_p" in options:
        warpers.append(TypicalLogitsWarper(options["typical_p"]))
    probabilities = torch.softmax(warpers(ids, scores).double(), dim=-1)[0].numpy()
    left = np.flatnonzero(probabilities)
    return {
        "left": [int(i) for i in left],
        "probabilities": [float(p) for p in probabilities[left]],
        "best": int(scores[0].argmax()),
    }


def main() -> None:
    random = np.random.default_rng(11)
    cases = []
    for spread in (0.5, 2.0, 6.0):
        logits = (spread * random.standard_normal(VOCAB)).astype(np.float32)
        ties = (np.round(2 * logits) / 2).astype(np.float32)
        holes = logits.copy()
        holes[random.integers(0, VOCAB, 8)] = -np.inf
        for kind, row in (("plain", logits), ("ties", ties), ("holes", holes)):
            prompt = [int(i) for i in random.integers(0, VOCAB, 9)]
            answer = [int(i) for i in random.integers(0, VOCAB // 3, 12)]
            for options in OPTIONS:
                # Which of several equal tokens a cut by mass leaves is nobody's promise.
                if kind == "ties" and "top_p" in options:
                    continue
                cases.append(
                    {
                        "logits": [0.0 if np.isinf(x) else float(x) for x in row],
                        "minus_infinity": [int(i) for i in np.flatnonzero(np.isinf(row))],
                        "prompt": prompt,
                        "answer": answer,
                        "options": options,
                        **left_of(row, prompt, answer, options),
                    }
                )
    golden = {
        "made_by": "tests/oracles/make_sampler_goldens.py",
        "transformers": version("transformers"),
        "torch": version("torch"),
    }
    lines = ",\n".join(json.dumps(case) for case in cases)
    text = json.dumps(golden | {"cases": []})
    OUTPUT.write_text(text.replace('"cases": []', '"cases": [\n' + lines + "\n]") + "\n")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
