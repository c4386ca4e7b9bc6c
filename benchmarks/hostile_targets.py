"""What hostile_files.py damages: by page, files of the tests with a way to load and use each."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import collegium
import hostile_gguf
import hostile_mutations as mutations
import lm_tiny_models
from collegium import lm
from collegium.experts import Compute

DATA = lm_tiny_models.DATA
TEXTS = ["The river bends, 12 \tpm.", "\u00e9e\u0301\ufdfa\u1100\u1161 \U0001f469\u200d\U0001f4bb"]
PROMPT = "the river"


@dataclasses.dataclass(frozen=True)
class Target:
    """A file to damage: in a copy of `folder`, loaded and used by `use`, which is given the folder
    if `whole` says so, otherwise the file. `also`: errors that are right for this kind alone."""

    kind: str
    folder: Path
    file: str
    mutate: mutations.Mutate
    use: Callable[[Path], object]
    whole: bool = False
    also: tuple[type[collegium.Error], ...] = ()


class Page(NamedTuple):
    title: str
    mutations: int  # of all kinds together
    targets: Callable[[Path], Iterator[Target]]  # in an order that stays; a folder for what is made
    damage: str


# --- Files of search ---


def use_tokenizer(tokenizer: collegium.text.Tokenizer) -> None:
    for text in TEXTS:
        ids = tokenizer.encode(text, max_tokens=16).ids
        tokenizer.decode(ids)
    tokenizer.encode_pair(*TEXTS)


def use_sentencepiece(path: Path) -> None:
    tokenizer = collegium.text.load_sentencepiece(path)
    for text in TEXTS:
        tokenizer.decode(tokenizer.encode(text, max_tokens=16).ids)


def use_encoder(folder: Path) -> None:
    number = sum(folder.name.encode())
    computes: tuple[Compute, ...] = ("auto", "fp32", "int8")
    collegium.Encoder.load(folder, compute=computes[number % 3]).encode(TEXTS, kind="query")


def use_packed(folder: Path) -> None:
    collegium.Encoder.load(folder).encode(TEXTS)


def use_head(path: Path) -> None:
    head = collegium.HeadAdapter.load(path)
    if head.dim <= 1024:
        vectors = collegium.HeadAdapter.identity(head.dim).weight[:1]
        head.apply(vectors)


def use_lora(encoder: collegium.Encoder, folder: Path) -> None:
    experts = collegium.ExpertSet(encoder)
    experts.set_lora("a", collegium.LoraAdapter.load(folder, encoder))
    experts.encode(TEXTS, experts=["a"] * len(TEXTS))


def search_targets(scratch: Path) -> Iterator[Target]:
    for folder in sorted(path.parent for path in DATA.glob("tokenizers/*/tokenizer.json")):
        yield Target(
            "tokenizer.json",
            folder,
            "tokenizer.json",
            mutations.json_file,
            lambda path: use_tokenizer(collegium.text.load_tokenizer_json(path)),
        )
    encoders = [DATA / "encoder/plain", *sorted((DATA / "encoder/families").glob("*/"))]
    for folder in encoders:
        for path in sorted(folder.rglob("*")):
            file = str(path.relative_to(folder))
            if path.suffix == ".safetensors":
                yield Target("safetensors", folder, file, mutations.safetensors, use_encoder, True)
            elif path.suffix == ".json":
                yield Target("config.json", folder, file, mutations.json_file, use_encoder, True)
    for folder in sorted(path.parent for path in DATA.glob("encoder/loras/*/*/*.safetensors")):
        use = partial(
            use_lora, collegium.Encoder.load(DATA / "encoder/families" / folder.parent.name)
        )
        weights, config = "adapter_model.safetensors", "adapter_config.json"
        yield Target("LoRA", folder, weights, mutations.safetensors, use, True)
        yield Target("LoRA", folder, config, mutations.json_file, use, True)
    for low_rank in (False, True):
        folder = scratch / f"head-{low_rank}"
        folder.mkdir()
        full = collegium.HeadAdapter.identity(24)
        if low_rank:
            rows = full.weight[:3]
            head = collegium.HeadAdapter.create_low_rank(rows, rows.T.copy(), full.bias)
        else:
            head = full
        head.save(folder / "head.adapter")
        yield Target("head adapter", folder, "head.adapter", mutations.enveloped, use_head)
    computes: tuple[Compute, ...] = ("fp32", "int8")
    for name in ("plain", "families/modernbert", "families/nomic-published"):
        for compute in computes:
            folder = scratch / f"packed-{Path(name).name}-{compute}"
            collegium.Encoder.load(DATA / "encoder" / name, compute=compute).convert(folder)
            packed = "model.packed"
            yield Target("packed encoder", folder, packed, mutations.enveloped, use_packed, True)
    for name in ("unigram", "bpe"):
        folder = scratch / name
        folder.mkdir()
        shutil.copy(DATA / f"{name}.model", folder / "spiece.model")
        yield Target(
            "SentencePiece",
            folder,
            "spiece.model",
            mutations.sentencepiece,
            use_sentencepiece,
        )


# --- Language models ---


def answer(model: lm.LanguageModel) -> None:
    for text in TEXTS:
        model.tokenizer.decode(model.tokenizer.encode(text, max_tokens=16).ids)
    # A prompt that is empty or too long by what the file says is the caller's fault.
    if 0 < len(model.tokenizer.encode(PROMPT).ids) < model.context_length:
        model.generate(PROMPT, max_new_tokens=4)


def use_language_model(path: Path) -> None:
    number = sum((path if path.is_dir() else path.parent).name.encode())
    kv_caches: tuple[lm.KvCacheType, ...] = ("fp32", "bf16", "int8")
    kv_cache = kv_caches[number // 2 % 3]
    if number % 2 == 0:
        answer(lm.load(path, kv_cache=kv_cache))
        return
    weights: tuple[lm.Weights, ...] = ("stored", "int8", "int4")
    fast = lm.load(path, compute="fast", weights=weights[number // 6 % 3], kv_cache=kv_cache)
    answer(fast)


def use_packed_language_model(folder: Path) -> None:
    path = folder / "model.gguf"
    packed = folder / "model.packed"
    answer(lm.load(path if path.exists() else folder, compute="fast", packed=packed))


def language_model_targets(scratch: Path) -> Iterator[Target]:
    files = [*sorted(lm_tiny_models.GGUF.glob("*.gguf")), *sorted(DATA.glob("tiny_llama*.gguf"))]
    folders = []
    for path in files:
        folder = scratch / path.name
        folder.mkdir()
        shutil.copy(path, folder / "model.gguf")
        yield Target(
            "GGUF language model", folder, "model.gguf", hostile_gguf.gguf, use_language_model
        )
    for name in lm_tiny_models.folder_names():
        folders.append(lm_tiny_models.make_folder(name, scratch / name))
    folders.append(lm_tiny_models.WHOLE_FOLDER)
    for folder in folders:
        for path in sorted(folder.iterdir()):
            # Those that were put there have no tokenizer of theirs to damage.
            own = path.name != "tokenizer.json" or folder == lm_tiny_models.WHOLE_FOLDER
            if path.suffix == ".safetensors":
                kind, mutate = "language-model safetensors", mutations.safetensors
            elif path.suffix == ".json" and own:
                kind, mutate = "language-model config.json", mutations.json_file
            else:
                continue
            yield Target(kind, folder, path.name, mutate, use_language_model, True)
    weights: tuple[lm.Weights, ...] = ("stored", "int8", "int4")
    sources = [(lm_tiny_models.WHOLE_FOLDER, how) for how in weights]
    sources += [(scratch / name, weights[0]) for name in ("olmoe.gguf", "tiny_llama_mixed.gguf")]
    for source, how in sources:
        folder = scratch / f"packed-{source.name}-{how}"
        shutil.copytree(source, folder)
        path = folder / "model.gguf" if (folder / "model.gguf").exists() else folder
        lm.load(path, compute="fast", weights=how).save_packed(folder / "model.packed")
        yield Target(
            "packed language model",
            folder,
            "model.packed",
            mutations.packed_language_model,
            use_packed_language_model,
            whole=True,
            also=(collegium.InvalidArgumentError,),  # of another model
        )


PAGES = {
    "hostile-files": Page(
        "Hostile files",
        100_000,
        search_targets,
        "other values, keys, shapes, types, offsets, units of a charsmap; checksums made to fit",
    ),
    "hostile-lm-files": Page(
        "Hostile files of language models",
        200_000,  # half of them GGUF and safetensors
        language_model_targets,
        "other values, keys, shapes, types, offsets, counts, numbers that are none; checksums made to "
        "fit",
    ),
}
