"""tools/check-rules.py: what it refuses, and that docs/design.md says the same."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from text_oracles_test import ROOT, load_script


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_script("tools/check-rules.py")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def problems(rules: ModuleType, name: str, line: str) -> list[str]:
    path: Path = rules.ROOT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line + "\n", encoding="utf-8")
    found: list[str] = rules.broken_rules([name])
    return found


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("cpp/src/a.cc", "<vector>"),
        ("cpp/src/a.cc", "<sys/mman.h>"),
        ("cpp/src/a.cc", "<immintrin.h>"),
        ("cpp/src/a.cc", "<simdjson.h>"),
        ("index/src/a.cc", "<rocksdb/db.h>"),
        ("router/src/a.h", "<Eigen/Dense>"),
        ("router/src/a.cc", '"engine/records.h"'),
        ("router/src/a.cc", '"collegium/core/status.h"'),
        ("python/src/a.cc", "<pybind11/stl/filesystem.h>"),
        ("index/include/collegium/index/a.h", '"collegium/core/status.h"'),
    ],
)
def test_what_a_folder_may_include(rules: ModuleType, name: str, header: str) -> None:
    assert problems(rules, name, f"#include {header}") == []


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        ("cpp/src/a.cc", "<faiss/Index.h>", "not a third party of cpp/"),
        ("cpp/src/a.cc", '"rocksdb/db.h"', "not a third party of cpp/"),
        ("router/src/engine/a.h", "<rocksdb/db.h>", "not a third party of router/"),
        ("router/src/a.cc", "<boost/asio.hpp>", "not a third party of router/"),
        ("python/src/a.cc", "<nlohmann/json.hpp>", "not a third party of python/"),
        ("cpp/include/collegium/core/a.h", "<simdjson.h>", "third-party header in public"),
        ("cpp/include/collegium/core/a.h", '"collegium/index/corpus.h"', "includes to the right"),
    ],
)
def test_what_it_may_not(rules: ModuleType, name: str, header: str, message: str) -> None:
    assert [message in problem for problem in problems(rules, name, f"#include {header}")] == [True]


def test_the_design_page_has_the_same_third_parties(rules: ModuleType) -> None:
    names = {
        "Eigen/": "Eigen",
        "faiss/": "FAISS",
        "libstemmer.h": "libstemmer",
        "nlohmann/": "nlohmann/json",
        "omp.h": "libgomp",
        "pybind11/": "pybind11",
        "rocksdb/": "RocksDB",
        "sentencepiece_processor.h": "SentencePiece",
        "simdjson.h": "simdjson",
        "utf8proc.h": "utf8proc",
        "xxhash.h": "xxHash",
    }
    lines = (ROOT / "docs/design.md").read_text(encoding="utf-8").splitlines()
    for folder, headers in rules.THIRD_PARTIES.items():
        (row,) = [line for line in lines if line.startswith(f"| `{folder}/` |")]
        listed = {name for name in names.values() if name in row.split("|")[3]}
        assert listed == {names[header] for header in headers}, folder
