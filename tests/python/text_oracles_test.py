"""The committed tables and goldens of the tokenizers are still what their sources say."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def goldens(name: str) -> Any:
    return json.loads((ROOT / "tests/data" / name).read_text(encoding="utf-8"))


def require_tokenizers() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    if tokenizers.__version__ != "0.23.3":
        pytest.skip(f"the tables are of tokenizers 0.23.3, here is {tokenizers.__version__}")


def test_wordpiece_goldens_are_what_tokenizers_says() -> None:
    require_tokenizers()
    oracle = load_script("tests/oracles/make_wordpiece.py")
    expected = goldens("wordpiece.json")
    model = oracle.tokenizer(oracle.vocabulary())
    for case in expected["cases"]:
        assert model.encode(case["text"]).ids == case["ids"], case["text"]
    assert oracle.checksum(model, oracle.random_texts(1000)) == expected["random"][0]
    first = oracle.checksum(model, oracle.code_point_texts(0))
    assert first == expected["code_points"]["uncased"][0]


@pytest.mark.slow
def test_unicode_tables_are_what_tokenizers_says() -> None:
    require_tokenizers()
    subprocess.run([sys.executable, ROOT / "tools/make_unicode_tables.py", "--check"], check=True)


def test_sentencepiece_goldens_are_what_the_package_says() -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    for name, expected in goldens("sentencepiece.json").items():
        path = ROOT / f"tests/data/{name}.model"
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        assert model.vocab_size() == expected["pieces"]
        for case in expected["cases"]:
            assert list(model.encode(case["text"])) == case["ids"], case["text"]
