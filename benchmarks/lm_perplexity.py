"""Evidence: what compute="fast" costs in perplexity (docs/evidence/lm-perplexity.md).

    python benchmarks/lm_perplexity.py [--bytes 60000]

Perplexity of the beginning of each text of lm_corpora, by domain, exact and fast, in windows of 512
tokens. Numbers alone are written, no text.
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bytes", type=int, default=60_000)
    most = parser.parse_args().bytes
    folder = Path(os.environ.get("COLLEGIUM_DATA", "")) / "lm_corpora"
    if not folder.is_dir():
        raise SystemExit("COLLEGIUM_DATA names no folder with lm_corpora")
    texts = {}
    for path in sorted(folder.glob("*.txt.gz")):
        with gzip.open(path) as file:
            texts[path.name.removesuffix(".txt.gz")] = file.read(most).decode(errors="ignore")
    rows = []
    for name, key in MODELS.items():
        if key not in os.environ:
            continue
        scores = {}
        for compute in ("exact", "fast"):
            model = lm.load(os.environ[key], compute=compute)
            made = model.perplexity({d: [text] for d, text in texts.items()}, window=512)
            tokens = sum(score.tokens for score in made.values())
            whole = math.exp(-sum(score.log_probability for score in made.values()) / tokens)
            scores[compute] = {d: score.perplexity for d, score in made.items()} | {"all": whole}
            counts = {d: score.tokens for d, score in made.items()} | {"all": tokens}
        for domain, exact in scores["exact"].items():
            fast = scores["fast"][domain]
            rows.append(
                f"| {name} | {domain} | {counts[domain]:,} | {exact:.4f} | {fast:.4f} "
                f"| {100 * (fast / exact - 1):+.2f} |"
            )
            print(rows[-1], flush=True)
    page = [
        evidence.header('Perplexity of compute="fast"', "make evidence ONLY=lm-perplexity", "none"),
        f"The first {most:,} bytes of each domain of lm_corpora, windows of 512 tokens. The bar: "
        f"fast within {BAR} % of exact.",
        "",
        "| model | domain | tokens | exact | fast | difference, % |",
        "|---|---|--:|--:|--:|--:|",
        *rows,
        "",
    ]
    evidence.write("lm-perplexity", "\n".join(page))


if __name__ == "__main__":
    main()
