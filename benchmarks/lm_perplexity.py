"""Evidence: what compute="fast" and keys and values in fewer bits cost in perplexity
(docs/evidence/lm-perplexity.md).

    python benchmarks/lm_perplexity.py [--bytes 60000]

Perplexity of the beginning of each text of lm_corpora, by domain, in windows of 512 tokens. Numbers
alone are written, no text.
"""

from __future__ import annotations

import argparse
import gzip
import math
import os
from pathlib import Path

import evidence
from collegium import lm

MODELS = {"SmolLM2-135M Q4_1": "COLLEGIUM_SMOLLM2", "Gemma-3-270M Q4_K_M": "COLLEGIUM_GEMMA3"}
BAR = 0.5  # per cent
EXACT = ("exact", "fp32")
OTHERS = [("fast", "fp32"), ("exact", "bf16"), ("exact", "int8"), ("fast", "int8")]


def present_models() -> dict[str, Path]:
    """Those that tools/models.sh found, by name."""
    found = {name: Path(os.environ[key]) for name, key in MODELS.items() if key in os.environ}
    if not found:
        raise SystemExit("no model: source tools/models.sh")
    return found


def corpora() -> dict[str, Path]:
    """Files of lm_corpora by domain."""
    folder = Path(os.environ.get("COLLEGIUM_DATA", "")) / "lm_corpora"
    found = {path.name.removesuffix(".txt.gz"): path for path in sorted(folder.glob("*.txt.gz"))}
    if not found:
        raise SystemExit("COLLEGIUM_DATA names no folder with lm_corpora")
    return found


def beginnings(most: int) -> dict[str, str]:
    """The first bytes of each domain."""
    texts = {}
    for domain, path in corpora().items():
        with gzip.open(path) as file:
            texts[domain] = file.read(most).decode(errors="ignore")
    return texts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bytes", type=int, default=60_000)
    most = parser.parse_args().bytes
    texts = beginnings(most)
    rows = []
    for name, path in present_models().items():
        scores = {}
        for compute, kv_cache in (EXACT, *OTHERS):
            model = lm.load(path, compute=compute, kv_cache=kv_cache)
            made = model.perplexity({d: [text] for d, text in texts.items()}, window=512)
            tokens = sum(score.tokens for score in made.values())
            whole = math.exp(-sum(score.log_probability for score in made.values()) / tokens)
            scores[compute, kv_cache] = {d: score.perplexity for d, score in made.items()} | {
                "all": whole
            }
            counts = {d: score.tokens for d, score in made.items()} | {"all": tokens}
        for domain, exact in scores[EXACT].items():
            changes = [f"{100 * (scores[other][domain] / exact - 1):+.2f}" for other in OTHERS]
            rows.append(
                f"| {name} | {domain} | {counts[domain]:,} | {exact:.4f} | {' | '.join(changes)} |"
            )
            print(rows[-1], flush=True)
    page = [
        evidence.header(
            'Perplexity of compute="fast" and of kv_cache',
            "make evidence ONLY=lm-perplexity",
            "none",
        ),
        f"The first {most:,} bytes of each domain of lm_corpora, windows of 512 tokens: perplexity of "
        '`compute="exact"` with keys and values in fp32, and how much more, in per cent, the others '
        f"have. The bar: fast within {BAR} % of exact.",
        "",
        "| model | domain | tokens | exact | "
        + " | ".join(f"{compute}, {kv_cache} keys and values, %" for compute, kv_cache in OTHERS)
        + " |",
        "|---|---|--:|--:|" + "--:|" * len(OTHERS),
        *rows,
        "",
    ]
    evidence.write("lm-perplexity", "\n".join(page))


if __name__ == "__main__":
    main()
