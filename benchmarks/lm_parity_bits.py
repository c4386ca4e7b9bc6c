"""Of lm_parity.py: the same request has the same bits alone and in any batch.

Random batches of the tests' tiny mixtures of experts, some of them a flood: one token again and
again in all but a few requests, so that every row goes to the same experts.
"""

from __future__ import annotations

import string
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import collegium
import lm_tiny_models
from collegium import lm

MOST_TOKENS = 60  # of a prompt; the smallest context is 96
MOST_NEW = 8
BATCHES = (1, 2, 3, 8, 20, 40)
COMPUTES: tuple[lm.Compute, ...] = ("exact", "fast")
THREADS = (1, 2)

Bits = tuple[list[int], bytes]


class Prompts:
    """Random ones for one model."""

    def __init__(self, model: lm.LanguageModel, random: np.random.Generator) -> None:
        self.random = random
        # Letters of which many are as many tokens: no merge of two of them.
        self.floods = [
            letter
            for letter in string.ascii_letters
            if set(ids := model.tokenizer.encode(9 * letter, add_special_tokens=False).ids)
            == set(ids[:1])
            and len(ids) == 9
        ]

    def length(self) -> int:
        return int(self.random.integers(1, MOST_TOKENS + 1))

    def mixed(self) -> str:
        letters = list(string.ascii_lowercase + "   ,.")
        return "".join(self.random.choice(letters, self.length()))

    def batch(self, size: int) -> tuple[list[str], int]:
        """Prompts, and how many of them are one token again and again."""
        token = str(self.random.choice(self.floods))
        share = 0.9 if self.random.random() < 1 / 3 else 0.1
        flooded = self.random.random(size) < share
        made = [token * self.length() if flood else self.mixed() for flood in flooded]
        return made, int(flooded.sum())


def bits(result: lm.Generation | lm.Score) -> Bits:
    values: npt.NDArray[np.float32] = result.log_probabilities
    return list(result.ids), values.tobytes()


def requests_of(texts: list[str], random: np.random.Generator) -> list[lm.Request]:
    """Half of them greedy, half sampled."""
    return [
        lm.Request(
            text,
            lm.GenerateOptions(
                max_new_tokens=int(random.integers(1, MOST_NEW + 1)),
                temperature=float(random.choice([0.0, 1.0])),
                seed=int(random.integers(1 << 30)),
                log_probabilities=True,
            ),
        )
        for text in texts
    ]


def one_batch(model: lm.LanguageModel, prompts: Prompts, threads: int, most: int) -> dict[str, int]:
    """Counts: rows, floods, tokens, equal_generated, equal_scored."""
    random = prompts.random
    texts, floods = prompts.batch(min(most, int(random.choice(BATCHES))))
    requests = requests_of(texts, random)
    collegium.set_num_threads(1)
    alone = [bits(model.generate(one.prompt, options=one.options)) for one in requests]
    scored_alone = [bits(model.score(text, token_log_probabilities=True)) for text in texts]
    collegium.set_num_threads(threads)
    together = [bits(one) for one in model.generate_batch(requests)]
    scored = [bits(one) for one in model.score(texts, token_log_probabilities=True)]
    return {
        "batches": 1,
        "rows": len(texts),
        "floods": floods,
        "tokens": sum(len(ids) for ids, _ in [*together, *scored]),
        "equal_generated": sum(a == b for a, b in zip(alone, together, strict=True)),
        "equal_scored": sum(a == b for a, b in zip(scored_alone, scored, strict=True)),
    }


def setting(
    compute: lm.Compute, threads: int, paths: dict[str, Path], rows: int, seed: list[int]
) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    models = {name: lm.load(path, compute=compute) for name, path in paths.items()}
    makers = {name: Prompts(model, random) for name, model in models.items()}
    sums: dict[str, Any] = {"compute": compute, "threads": threads, "rows": 0, "unequal": []}
    names = list(models)
    while sums["rows"] < rows:
        name = names[sums.get("batches", 0) % len(names)]
        made = one_batch(models[name], makers[name], threads, rows - sums["rows"])
        if min(made["equal_generated"], made["equal_scored"]) < made["rows"]:
            sums["unequal"].append(f"{name}, batch {sums.get('batches', 0)}: {made}")
        for key, value in made.items():
            sums[key] = sums.get(key, 0) + value
    return sums


def supported(paths: dict[str, Path]) -> dict[str, Path]:
    found = {}
    for name, path in paths.items():
        try:
            lm.load(path)
        except collegium.NotSupportedError as error:  # a file that is ahead of the build
            print(f"{name} is left out: {error}", flush=True)
            continue
        found[name] = path
    return found


def run(cases: int, seed: int) -> dict[str, Any]:
    before = collegium.num_threads()
    rows = []
    settings = [(compute, threads) for compute in COMPUTES for threads in THREADS]
    with tempfile.TemporaryDirectory() as scratch:
        paths = supported(lm_tiny_models.mixtures(Path(scratch)))
        for number, (compute, threads) in enumerate(settings):
            share = cases * (number + 1) // len(settings) - cases * number // len(settings)
            rows.append(setting(compute, threads, paths, share, [seed, number]))
            print(rows[-1], flush=True)
    collegium.set_num_threads(before)
    return {"models": list(paths), "seed": seed, "rows": rows}


def lines(values: dict[str, Any]) -> list[str]:
    made = [
        f"Random batches of 1 to {max(BATCHES)} requests of {len(values['models'])} tiny mixtures of "
        f"experts with random weights, a batch a model in turn ({', '.join(values['models'])}): prompts "
        f"of 1 to {MOST_TOKENS} tokens, up to {MOST_NEW} new ones, half of the requests greedy and half "
        "sampled; in a third of the batches nine requests in ten are one token again and again, which "
        "floods the same experts. Equal: ids and all bits of the log-probabilities are those of the "
        "request alone on one thread, of `generate_batch` and of `score` of the prompts. Seed "
        f"{values['seed']}.",
        "",
        "| compute | threads | batches | requests | of one token | tokens | equal generations | "
        "equal scores |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    total = [0] * 6
    for row in values["rows"]:
        keys = ("batches", "rows", "floods", "tokens", "equal_generated", "equal_scored")
        counts = [row.get(key, 0) for key in keys]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        cells = " | ".join(f"{count:,}" for count in counts)
        made.append(f"| {row['compute']} | {row['threads']} | {cells} |")
    made.append(f"| all | | {' | '.join(f'{count:,}' for count in total)} |")
    made += ["", f"Unequal requests: **{2 * total[1] - total[4] - total[5]:,}**. Bar: none."]
    return made + [f"- {line}" for row in values["rows"] for line in row["unequal"]]
