"""An encoder's trunk in torch, read from its Hugging Face folder, with a LoRA on some modules."""

from __future__ import annotations

import importlib
import json
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CorruptionError, NotFoundError, NotSupportedError

# torch is an extra, imported where it is used; its tensors have no type here.
Torch = Any
Tensor = Any

_LINEAR = re.compile(r"^encoder\.layer\.(\d+)\.(.+)\.weight$")
_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def import_torch() -> Torch:
    """
    Raises:
        NotSupportedError: torch is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise NotSupportedError(
            "train-lora needs torch, which the extra brings: pip install 'collegium[train]'"
        ) from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file") from None
    except ValueError as error:
        raise CorruptionError(f"{path}: not JSON: {error}") from error


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """All tensors of a file, as float32.

    Raises:
        NotFoundError, CorruptionError, NotSupportedError: of a type other than F32, F16, BF16.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file; train-lora reads model.safetensors alone")
    raw = path.read_bytes()
    try:
        (size,) = struct.unpack_from("<Q", raw)
        header = json.loads(raw[8 : 8 + size])
        tensors = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if entry["dtype"] not in _DTYPES:
                raise NotSupportedError(f"{path}: tensor {name!r} is {entry['dtype']}")
            begin, end = entry["data_offsets"]
            values: Any = np.frombuffer(
                raw[8 + size + begin : 8 + size + end], _DTYPES[entry["dtype"]]
            )
            if entry["dtype"] == "BF16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = values.astype(np.float32).reshape(entry["shape"])
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise CorruptionError(f"{path}: {error}") from error
    return tensors


def write_safetensors(path: Path, tensors: dict[str, npt.NDArray[np.float32]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name in sorted(tensors):
        size = tensors[name].nbytes
        header[name] = {
            "dtype": "F32",
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            out.write(np.ascontiguousarray(tensors[name], dtype="<f4").tobytes())


class Trunk:
    """BERT, RoBERTa and XLM-R with mean or cls pooling; texts come as token ids.

    Only the LoRA's factors are trained. Whether this computes what the library's encoder does is
    checked by whoever uses it: a difference is never trained over.
    """

    def __init__(self, torch: Torch, folder: Path, dim: int) -> None:
        """
        Args:
            dim: of the vectors to give: the first so many numbers of the pooled ones.

        Raises:
            NotFoundError, CorruptionError: a file of the folder.
            NotSupportedError: another architecture or pooling, named.
        """
        self._torch = torch
        self._functional = torch.nn.functional
        self.dim = dim
        config = _json(folder / "config.json")
        self.architecture = config.get("model_type", "")
        if self.architecture not in ("bert", "roberta", "xlm-roberta"):
            raise NotSupportedError(
                f"{folder}: train-lora trains bert, roberta and xlm-roberta encoders, this is "
                f"{self.architecture!r}; train with PEFT, whose folders load as they are"
            )
        self._activation = self._find_activation(folder, config.get("hidden_act", "gelu"))
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._first_position = 0
        if self.architecture != "bert":
            self._first_position = int(config.get("pad_token_id", 1)) + 1
        self._pooling, self._normalise = self._read_modules(folder)
        self.prompt = self._read_prompt(folder)
        stored = read_safetensors(folder / "model.safetensors")
        prefix = "bert." if self.architecture == "bert" else "roberta."
        self._weights = {
            name.removeprefix(prefix)
            .replace("LayerNorm.gamma", "LayerNorm.weight")  # as older checkpoints have it
            .replace("LayerNorm.beta", "LayerNorm.bias"): torch.from_numpy(values.copy())
            for name, values in stored.items()
        }
        self.lora: dict[str, tuple[Tensor, Tensor]] = {}
        self.scale = 1.0

    def _find_activation(self, folder: Path, name: str) -> Any:
        functional = self._functional
        known = {
            "gelu": functional.gelu,
            "relu": functional.relu,
            "silu": functional.silu,
            "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
            "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        }
        if name not in known:
            raise NotSupportedError(f"{folder}: hidden_act is {name!r}, which train-lora has not")
        return known[name]

    @staticmethod
    def _read_modules(folder: Path) -> tuple[str, bool]:
        """Pooling, and whether vectors are normalised."""
        if not (folder / "modules.json").is_file():
            return "mean", True
        pooling, normalise = "", False
        for module in _json(folder / "modules.json"):
            kind = str(module.get("type", "")).rsplit(".", 1)[-1]
            if kind == "Normalize":
                normalise = True
            elif kind == "Pooling":
                settings = _json(folder / module["path"] / "config.json")
                if isinstance(settings.get("pooling_mode"), str):
                    modes = [settings["pooling_mode"]]
                else:
                    modes = [k for k, v in settings.items() if k.startswith("pooling_") and v]
                names = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
                pooling = names.get(modes[0], modes[0]) if len(modes) == 1 else str(modes)
            elif kind != "Transformer":
                raise NotSupportedError(f"{folder}: train-lora has no module {kind}")
        if pooling not in ("mean", "cls"):
            raise NotSupportedError(f"{folder}: train-lora pools by mean or cls, not {pooling!r}")
        return pooling, normalise

    @staticmethod
    def _read_prompt(folder: Path) -> str:
        path = folder / "config_sentence_transformers.json"
        if not path.is_file():
            return ""
        settings = _json(path)
        prompts = settings.get("prompts") or {}
        default = settings.get("default_prompt_name") or ""
        return str(prompts.get("query") or prompts.get(default) or "")

    def add_lora(self, modules: Sequence[str], rank: int, alpha: float, seed: int) -> None:
        """Factors for every linear module whose name ends with one of ``modules``: A uniform as in
        PEFT, B zero, so that nothing changes at first."""
        torch = self._torch
        generator = torch.Generator().manual_seed(seed)
        self.scale = alpha / rank
        for name in sorted(self._weights):
            found = _LINEAR.match(name)
            if not found or self._weights[name].dim() != 2:
                continue
            module = name.removesuffix(".weight")
            if not any(module.endswith(f".{suffix}") for suffix in modules):
                continue
            outputs, inputs = self._weights[name].shape
            bound = 1.0 / math.sqrt(inputs)  # Kaiming's, with a = sqrt(5)
            down = (torch.rand(rank, inputs, generator=generator) * 2 - 1) * bound
            up = torch.zeros(outputs, rank)
            self.lora[module] = (down.requires_grad_(), up.requires_grad_())

    def parameters(self) -> list[Tensor]:
        return [factor for pair in self.lora.values() for factor in pair]

    def state(self) -> dict[str, npt.NDArray[np.float32]]:
        """The factors as PEFT names them."""
        tensors = {}
        for module, (down, up) in self.lora.items():
            for name, factor in (("lora_A", down), ("lora_B", up)):
                tensors[f"base_model.model.{module}.{name}.weight"] = factor.detach().numpy().copy()
        return tensors

    def restore(self, state: dict[str, npt.NDArray[np.float32]]) -> None:
        with self._torch.no_grad():
            for module, pair in self.lora.items():
                for name, factor in zip(("lora_A", "lora_B"), pair, strict=True):
                    values = state[f"base_model.model.{module}.{name}.weight"]
                    factor.copy_(self._torch.from_numpy(values.copy()))

    def _linear(self, module: str, x: Tensor, strength: float) -> Tensor:
        linear = self._functional.linear
        y = linear(x, self._weights[f"{module}.weight"], self._weights.get(f"{module}.bias"))
        if module in self.lora and strength != 0:
            down, up = self.lora[module]
            y = y + strength * self.scale * linear(linear(x, down), up)
        return y

    def _norm(self, module: str, x: Tensor) -> Tensor:
        weight, bias = self._weights[f"{module}.weight"], self._weights[f"{module}.bias"]
        return self._functional.layer_norm(x, (x.shape[-1],), weight, bias, self._epsilon)

    def vectors(self, texts: Sequence[Sequence[int]], strength: float = 1.0) -> Tensor:
        """(n, dim) of token ids; gradients flow into the LoRA unless they are off."""
        torch = self._torch
        longest = max(len(ids) for ids in texts)
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        mask = torch.zeros(len(texts), longest, dtype=torch.bool)
        for i, text in enumerate(texts):
            ids[i, : len(text)] = torch.tensor(list(text), dtype=torch.long)
            mask[i, : len(text)] = True
        positions = torch.arange(longest) + self._first_position
        x = (
            self._weights["embeddings.word_embeddings.weight"][ids]
            + self._weights["embeddings.position_embeddings.weight"][positions]
            + self._weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm("embeddings.LayerNorm", x)
        for i in range(self._layers):
            x = self._layer(f"encoder.layer.{i}", x, mask, strength)
        if self._pooling == "cls":
            pooled = x[:, 0]
        else:
            counted = mask.unsqueeze(-1).to(x.dtype)
            pooled = (x * counted).sum(dim=1) / counted.sum(dim=1)
        if self.dim < pooled.shape[1]:
            pooled = pooled[:, : self.dim]
        return self._functional.normalize(pooled, dim=1) if self._normalise else pooled

    def _layer(self, name: str, x: Tensor, mask: Tensor, strength: float) -> Tensor:
        n, length, width = x.shape

        def heads(module: str) -> Tensor:
            y = self._linear(f"{name}.attention.self.{module}", x, strength)
            return y.view(n, length, self._heads, width // self._heads).transpose(1, 2)

        attended = self._functional.scaled_dot_product_attention(
            heads("query"), heads("key"), heads("value"), attn_mask=mask[:, None, None, :]
        )
        attended = attended.transpose(1, 2).reshape(n, length, width)
        attended = self._linear(f"{name}.attention.output.dense", attended, strength)
        x = self._norm(f"{name}.attention.output.LayerNorm", x + attended)
        inner = self._activation(self._linear(f"{name}.intermediate.dense", x, strength))
        inner = self._linear(f"{name}.output.dense", inner, strength)
        return self._norm(f"{name}.output.LayerNorm", x + inner)
