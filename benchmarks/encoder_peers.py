"""The engines of encoder_speed.py: Collegium, and every peer in its default and its best setting.

An engine is built for a number of threads, then bound to a batch; only the bound call is timed.
Each ends in pooled, normalised vectors.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import collegium
import encoder_ctranslate2
from encoder_ctranslate2 import mean_vectors
from encoder_models import ModelFiles, Trunk, inputs_of, quiet

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Call = Callable[[], Vectors]

COMPILED = "torch.compile"
PER_CHANNEL = "dynamic, per channel"


class Engine(abc.ABC):
    """`compute` is fp32, bf16 or int8; `setting` is what the page says behind the name."""

    name = ""

    def __init__(self, files: ModelFiles, compute: str, setting: str) -> None:
        self.files, self.compute, self.setting = files, compute, setting

    @property
    def title(self) -> str:
        return " ".join(filter(None, [self.name, self.compute, self.setting]))

    @abc.abstractmethod
    def build(self, threads: int) -> None:
        """Loads the model. Whatever this raises means that the engine is not available."""

    def close(self) -> None:  # noqa: B027  (most have nothing to end)
        """Ends what would outlive the page."""

    @abc.abstractmethod
    def bind(self, texts: list[str], ids: Ids) -> Call:
        """The call for a batch. `ids` are what our tokenizer makes of `texts`."""


class Collegium(Engine):
    """Ours; the only one whose time includes tokenisation."""

    name = "collegium"

    def build(self, threads: int) -> None:
        collegium.set_num_threads(threads)
        self.encoder = load_ours(self.files.folder, self.compute)

    def bind(self, texts: list[str], ids: Ids) -> Call:
        return lambda: self.encoder.encode(texts, progress=False)


def load_ours(folder: Path, compute: str) -> collegium.Encoder:
    """fp32 from any build; another `compute` only where Encoder.load has the keyword."""
    if compute == "fp32":
        return collegium.Encoder.load(folder)
    if "compute" not in inspect.signature(collegium.Encoder.load).parameters:
        raise collegium.NotSupportedError("not in this build")
    options: dict[str, Any] = {"compute": compute}
    return collegium.Encoder.load(folder, **options)


class OnnxRuntime(Engine):
    name = "onnxruntime"

    def __init__(
        self, files: ModelFiles, compute: str, setting: str, path: Callable[[], Path]
    ) -> None:
        super().__init__(files, compute, setting)
        self.path = path

    def build(self, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(
            str(self.path()), options, providers=["CPUExecutionProvider"]
        )

    def bind(self, texts: list[str], ids: Ids) -> Call:
        session, inputs = self.session, inputs_of(ids)
        if session.get_inputs()[0].name == "input_ids":  # the ready-made file
            mask, types = inputs["mask"], inputs["types"]
            inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
            return lambda: mean_vectors(session.run(None, inputs)[0])
        return lambda: session.run(None, inputs)[0]


class OpenVino(Engine):
    """`best` adds the LATENCY hint and compiles for the shape of the batch."""

    name = "openvino"

    def __init__(
        self,
        files: ModelFiles,
        compute: str,
        setting: str,
        path: Callable[[], Path],
        best: bool = False,
    ) -> None:
        super().__init__(files, compute, setting)
        self.path, self.best = path, best

    def build(self, threads: int) -> None:
        import openvino

        self.core = openvino.Core()
        self.model = self.core.read_model(self.path())
        # f32: where there is AMX the plugin would compute in bf16 unasked.
        self.options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        if self.best:
            self.options |= {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        self.compiled = self.core.compile_model(self.model, "CPU", self.options)

    def bind(self, texts: list[str], ids: Ids) -> Call:
        inputs, compiled = inputs_of(ids), self.compiled
        if self.best:
            fixed = self.model.clone()
            fixed.reshape({name: list(ids.shape) for name in inputs})
            compiled = self.core.compile_model(fixed, "CPU", self.options)
        request = compiled.create_infer_request()
        return lambda: request.infer(inputs, share_inputs=True)[0]


class CTranslate2(Engine):
    name = "ctranslate2"

    def build(self, threads: int) -> None:
        self.encoder = encoder_ctranslate2.load(
            str(self.files.ctranslate2()), self.compute, threads
        )

    def bind(self, texts: list[str], ids: Ids) -> Call:
        return encoder_ctranslate2.bind(self.encoder, ids)


class CTranslate2Elsewhere(Engine):
    """With the backend that is not its default, in a process beside."""

    name = "ctranslate2"
    worker: encoder_ctranslate2.Worker | None = None

    def build(self, threads: int) -> None:
        self.close()
        self.worker = encoder_ctranslate2.Worker(
            str(self.files.ctranslate2()), self.compute, threads
        )

    def bind(self, texts: list[str], ids: Ids) -> Call:
        assert self.worker is not None
        return self.worker.bind(ids)

    def close(self) -> None:
        if self.worker is not None:
            self.worker.close()
            self.worker = None


class PyTorch(Engine):
    name = "pytorch"

    def build(self, threads: int) -> None:
        torch.set_num_threads(threads)
        trunk = Trunk(self.files.folder)
        self.trunk: Callable[..., torch.Tensor] = trunk
        if self.compute == "int8":
            quantization: Any = torch.ao.quantization
            by_column = {torch.nn.Linear: quantization.per_channel_dynamic_qconfig}
            with quiet():
                self.trunk = quantization.quantize_dynamic(
                    trunk, by_column if self.setting == PER_CHANNEL else {torch.nn.Linear}
                )
        elif self.setting == COMPILED:
            # Compiles for one text and for several, with each number of threads.
            self.trunk = torch.compile(trunk, dynamic=True)

    def bind(self, texts: list[str], ids: Ids) -> Call:
        tensors = [torch.from_numpy(value) for value in inputs_of(ids).values()]

        def call() -> Vectors:
            with torch.inference_mode():
                vectors: Vectors = self.trunk(*tensors).numpy()
            return vectors

        return call


def all_engines(files: ModelFiles, level: str) -> list[Engine]:
    """Every engine that the page lists, ours first. `level` is collegium.isa()."""
    saturates = level not in ("vnni", "amx")
    backend = encoder_ctranslate2.other_backend()[0]
    return [
        Collegium(files, "fp32", ""),
        Collegium(files, "bf16", ""),
        Collegium(files, "int8", ""),
        OnnxRuntime(files, "fp32", "default", files.onnx),
        OnnxRuntime(files, "fp32", "optimizer", files.onnx_optimized),
        OpenVino(files, "fp32", "default", files.onnx),
        OpenVino(files, "fp32", "LATENCY, fixed shape", files.onnx, best=True),
        CTranslate2(files, "fp32", "default"),
        CTranslate2Elsewhere(files, "fp32", backend),
        PyTorch(files, "fp32", "default"),
        PyTorch(files, "fp32", COMPILED),
        OnnxRuntime(files, "int8", "dynamic", files.onnx_int8),
        OnnxRuntime(
            files,
            "int8",
            "dynamic, optimizer, per channel" + (", 7 bits" if saturates else ""),
            lambda: files.onnx_int8_optimized(saturates),
        ),
        OnnxRuntime(files, "int8", "ready-made", files.onnx_int8_ready_made),
        OpenVino(files, "int8", "nncf.compress_weights", files.openvino_compressed),
        OpenVino(
            files,
            "int8",
            "nncf.quantize, LATENCY, fixed shape",
            files.openvino_quantized,
            best=True,
        ),
        CTranslate2(files, "int8", "default"),
        # MKL's int8 is made for Intel: elsewhere it takes four times as long as the default.
        *([CTranslate2Elsewhere(files, "int8", backend)] if backend == "oneDNN" else []),
        PyTorch(files, "int8", "dynamic"),
        PyTorch(files, "int8", PER_CHANNEL),
    ]
