"""Of lm_parity.py what is compared with transformers: perplexities, and greedy tokens.

The reference is transformers in fp32 on the weights that the `gguf` package widens from the same
file, as in tests/oracles/make_language_model_goldens.py, window by window.
"""

from __future__ import annotations

import functools
import gzip
import math
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

import evidence
from collegium import lm
from lm_perplexity import beginnings, corpora, present_models

sys.path.append(str(evidence.ROOT / "tests" / "oracles"))
from make_scored_bpe import gemma3_oracle  # type: ignore[import-not-found]

logging.disable_progress_bar()  # type: ignore[no-untyped-call]

WINDOW = 512
STRIDE = WINDOW // 2
BAR = 0.1  # per cent
PROMPT_TOKENS, NEW_TOKENS = 60, 64
PASSAGE = 400  # characters at least, of those whose beginnings are prompts
SURE_GAP = 1e-3  # between two logits; what is nearer fp32 does not decide

# The tokens that end an answer.
ENDS = {"SmolLM2-135M Q4_1": {2}, "Gemma-3-270M Q4_K_M": {1}}

Encode = Callable[[str], list[int]]


@functools.cache  # of minutes, for both sections
def load_reference(path: Path) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def reference_encode(name: str, path: Path) -> Encode:
    """Ids by somebody else: `tokenizers`, or the sentencepiece package."""
    if name.startswith("Gemma"):
        oracle = gemma3_oracle(path)
        return lambda text: [2, *oracle.encode(text)]  # <bos>
    backend = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name).backend_tokenizer
    # As the file's tokenizer.ggml.pre says; transformers does not look at it.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return lambda text: list(backend.encode(text, add_special_tokens=False).ids)


# --- Perplexity ---


def reference_scores(model: Any, ids: list[int]) -> np.ndarray:
    """log P of each token but the first, cut in windows as LanguageModel.score does it: each
    STRIDE behind the one before, and of each only the tokens that no window had before count."""
    found: list[torch.Tensor] = []
    begin, first, end = 0, 1, min(WINDOW, len(ids))
    while True:
        with torch.inference_mode():
            # The logits behind tokens first - 1 to end - 1, of which the last has nothing to say.
            keep = end - first + 1
            window = torch.tensor([ids[begin:end]])
            logits = model(window, logits_to_keep=keep, use_cache=False).logits[0, :-1]
            targets = torch.tensor(ids[first:end])
            for some, wanted in zip(torch.split(logits, 64), torch.split(targets, 64), strict=True):
                likely = torch.log_softmax(some.double(), -1)
                found.append(likely.gather(1, wanted[:, None])[:, 0])
        if end == len(ids):
            return torch.cat(found).numpy()
        begin, first, end = begin + STRIDE, end, min(begin + STRIDE + WINDOW, len(ids))


def perplexity_of(name: str, path: Path, texts: dict[str, str]) -> list[dict[str, Any]]:
    ours = lm.load(path)
    scores = ours.score(list(texts.values()), window=WINDOW, token_log_probabilities=True)
    del ours
    encode = reference_encode(name, path)
    reference = load_reference(path)
    rows = []
    for (domain, text), score in zip(texts.items(), scores, strict=True):
        expected = reference_scores(reference, score.ids)
        rows.append(
            {
                "model": name,
                "domain": domain,
                "tokens": score.tokens,
                "ours": score.log_probability,
                "reference": float(expected.sum()),
                "largest": float(np.abs(score.log_probabilities - expected).max()),
                "same_ids": encode(text) == score.ids,
            }
        )
        print(rows[-1], flush=True)
    return rows


def run_perplexity(most: int) -> dict[str, Any]:
    texts = beginnings(most)
    rows = [
        row for name, path in present_models().items() for row in perplexity_of(name, path, texts)
    ]
    return {"bytes": most, "rows": rows, **versions()}


def versions() -> dict[str, str]:
    return {"transformers": version("transformers"), "torch": torch.__version__}


def perplexity_lines(values: dict[str, Any]) -> list[str]:
    made = [
        f"The first {values['bytes']:,} bytes of each domain of lm_corpora, windows of {WINDOW} tokens, "
        f'each {STRIDE} behind the one before it, a token counted once: ours with `compute="exact"`, and '
        f"transformers {values['transformers']} on PyTorch {values['torch']} in fp32 on the dequantised "
        "weights of the same file, over the same ids in the same windows. Same ids: ours are those of "
        "`tokenizers` (SmolLM2) or of the sentencepiece package (Gemma) for the whole text. Bar: within "
        f"{BAR} %.",
        "",
        "| model | domain | tokens | same ids | ours | transformers | difference, % | a token's log P, "
        "largest difference | bar |",
        "|---|---|--:|---|--:|--:|--:|--:|---|",
    ]
    for name in dict.fromkeys(row["model"] for row in values["rows"]):
        rows = [row for row in values["rows"] if row["model"] == name]
        whole = {
            "model": name,
            "domain": "all",
            "largest": max(row["largest"] for row in rows),
            "same_ids": all(row["same_ids"] for row in rows),
        }
        whole |= {key: sum(row[key] for row in rows) for key in ("tokens", "ours", "reference")}
        for row in [*rows, whole]:
            ours, reference = (math.exp(-row[key] / row["tokens"]) for key in ("ours", "reference"))
            difference = 100 * (ours / reference - 1)
            made.append(
                f"| {name} | {row['domain']} | {row['tokens']:,} | "
                f"{'yes' if row['same_ids'] else '**no**'} | {ours:.4f} | {reference:.4f} | "
                f"{difference:+.5f} | {row['largest']:.1e} | "
                f"{'reached' if abs(difference) <= BAR else 'missed'} |"
            )
    return made


# --- Greedy tokens ---


def prompts_of(model: lm.LanguageModel, count: int, seed: int) -> list[tuple[str, str]]:
    """(domain, beginning of a passage), the domains in turn."""
    random = np.random.default_rng(seed)
    passages = {}
    for domain, path in corpora().items():
        with gzip.open(path, "rt", encoding="utf-8", errors="ignore") as file:
            found = [one.strip() for one in file.read().split("\n\n")]
        found = [one for one in found if len(one) >= PASSAGE]
        passages[domain] = [found[i] for i in random.permutation(len(found))]
    made = []
    for i in range(count):
        domain = list(passages)[i % len(passages)]
        passage = passages[domain][i // len(passages)]
        ids = model.tokenizer.encode(passage, add_special_tokens=False).ids[:PROMPT_TOKENS]
        # A character may have been cut.
        made.append((domain, model.tokenizer.decode(ids).rstrip("\ufffd")))
    return made


def reference_answer(model: Any, ids: list[int], ends: set[int]) -> list[tuple[int, int, float]]:
    """Of each step the best token, the second, and the gap between their logits."""
    past = None
    inputs = torch.tensor([ids])
    made: list[tuple[int, int, float]] = []
    with torch.inference_mode():
        while len(made) < NEW_TOKENS and not (made and made[-1][0] in ends):
            result = model(inputs, past_key_values=past, use_cache=True, logits_to_keep=1)
            past = result.past_key_values
            best = torch.topk(result.logits[0, -1], 2)
            first, second = (int(id) for id in best.indices)
            made.append((first, second, float(best.values[0] - best.values[1])))
            inputs = torch.tensor([[first]])
    return made


def compare(ours: list[int], steps: list[tuple[int, int, float]], ends: set[int]) -> dict[str, Any]:
    expected = [first for first, _, _ in steps if first not in ends]
    row: dict[str, Any] = {
        "equal": ours == expected,
        "new_tokens": len(ours),
        "smallest_gap": min(gap for _, _, gap in steps),
    }
    if ours != expected:
        pairs = zip(ours, expected, strict=False)
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(expected)))
        _, second, gap = steps[min(at, len(steps) - 1)]
        row |= {"step": at, "gap": gap, "second": at < len(ours) and ours[at] == second}
    return row


def run_greedy(count: int, seed: int) -> dict[str, Any]:
    rows = []
    for name, path in present_models().items():
        ours = lm.load(path)
        ends, reference = ENDS[name], load_reference(path)
        for domain, prompt in prompts_of(ours, count, seed):
            answer = ours.generate(prompt, max_new_tokens=NEW_TOKENS)
            ids = ours.tokenizer.encode(prompt).ids
            steps = reference_answer(reference, ids, ends)
            row = {"model": name, "domain": domain, "prompt_tokens": len(ids)}
            rows.append(row | compare(answer.ids, steps, ends))
            print(rows[-1], flush=True)
    return {"rows": rows, "seed": seed, **versions()}


def greedy_lines(values: dict[str, Any]) -> list[str]:
    made = [
        f"Beginnings of passages of lm_corpora, about {PROMPT_TOKENS} tokens each, drawn with seed "
        f"{values['seed']}, the domains in turn, and {NEW_TOKENS} greedy tokens behind each (fewer where "
        f'the model ends): `compute="exact"` against transformers {values["transformers"]} as above, '
        "token by token with its cache. A gap is that between the logits of the reference's best and "
        f"second token; where it is below {SURE_GAP:g}, fp32 does not decide.",
        "",
        "| model | prompts | new tokens | equal sequences | smallest gap of the equal ones |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in dict.fromkeys(row["model"] for row in values["rows"]):
        rows = [row for row in values["rows"] if row["model"] == name]
        equal = [row for row in rows if row["equal"]]
        gap = f"{min(row['smallest_gap'] for row in equal):.1e}" if equal else ""
        made.append(
            f"| {name} | {len(rows)} | {sum(row['new_tokens'] for row in rows):,} | {len(equal)} | "
            f"{gap} |"
        )
    unequal = [row for row in values["rows"] if not row["equal"]]
    if unequal:
        made += ["", "Where they part:", ""]
    for row in unequal:
        ours = "the reference's second" if row["second"] else "another"
        made.append(
            f"- {row['model']}, {row['domain']}: at new token {row['step']}, where the reference's gap is "
            f"{row['gap']:.1e}; ours is {ours}."
        )
    return made
