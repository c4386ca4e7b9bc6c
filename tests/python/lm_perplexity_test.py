"""Perplexities of real models against tests/oracles/make_language_model_goldens.py."""

from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path

import pytest

import collegium.lm

DATA = Path(__file__).resolve().parent.parent / "data"
DOMAINS = ("code", "encyclopedic", "finance", "legal", "medical", "science_engineering")


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["COLLEGIUM_SMOLLM2", "COLLEGIUM_GEMMA3"])
def test_perplexity_by_domain_is_that_of_transformers_within_a_thousandth(variable: str) -> None:
    if variable not in os.environ or "COLLEGIUM_DATA" not in os.environ:
        pytest.skip(f"{variable} or COLLEGIUM_DATA is not set")
    golden = json.loads((DATA / "lm_perplexity_goldens.json").read_text())
    texts = []
    for domain in DOMAINS:
        path = Path(os.environ["COLLEGIUM_DATA"]) / "lm_corpora" / f"{domain}.txt.gz"
        with gzip.open(path) as file:
            text = file.read(golden["piece_bytes"])
        texts.append(text[: text.rindex(b"\n") + 1].decode())
    scores = collegium.lm.load(os.environ[variable]).score(texts)
    for domain, score in zip(DOMAINS, scores, strict=True):
        expected = golden[variable][domain]
        assert score.tokens == expected["tokens"], domain
        perplexity = math.exp(-expected["log_probability"] / expected["tokens"])
        assert score.perplexity == pytest.approx(perplexity, rel=1e-3), domain
        # Far nearer in fact: two orders of summing in fp32.
        assert score.log_probability == pytest.approx(expected["log_probability"], rel=1e-5)
