"""What calls that generate take: options by keyword, and messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from ._arguments import text_of
from ._core import GenerateOptions, LmLora
from ._lm_routing import RoutingOptions
from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from .lm import LanguageModel

Message = Mapping[str, str]


class Options(TypedDict, total=False):
    """What :class:`GenerateOptions` takes, for the keywords of every call that generates.

    Formulas and order are those of transformers' logits processors: the penalties, which a greedy
    choice feels too, then temperature, top_k, top_p, min_p, typical_p.
    """

    max_new_tokens: int  # 128; at least 1
    add_special_tokens: bool  # <s> and the like, where the model has them; a chat's template does
    enable_thinking: bool  # of a chat: False answers behind empty thoughts, if the template has any
    temperature: float  # 0: greedy
    top_k: int  # keep the k most likely; 0 keeps all
    top_p: float  # the fewest whose probabilities reach this; in (0, 1]
    min_p: float  # those at least so many times as likely as the best (arXiv 2407.01082)
    typical_p: float  # those nearest to the entropy (arXiv 2202.00666); in (0, 1]
    repetition_penalty: float  # of tokens in prompt and answer (arXiv 1909.05858); 1: none
    presence_penalty: float  # taken from the logit of a token of the answer
    frequency_penalty: float  # the same, once for each time it came
    seed: int  # of the sampling; the same seed gives the same tokens
    stop: Sequence[str]  # the text ends before the first of these
    stop_ids: Sequence[int]  # tokens that end it beside the model's own
    log_probabilities: bool  # keep log P of each token, of the model itself
    alternatives: int  # and of so many most likely ones in its place, at most 1000
    prompt_lookup: int  # guess up to so many tokens that stood before; same result, sooner; 0: none
    draft: LanguageModel | None  # a quicker one of the same vocabulary guesses; same result, sooner
    draft_tokens: int  # at most so many guesses of it at once (4)
    lora: LmLora | None  # of load_lora() of the same model
    routing: RoutingOptions | None  # of a mixture of experts: masks, biases, top_k, a router
    trace: bool  # keep the routing of every token
    max_memory_bytes: int  # refuse what could take more; 0: no limit


_NAMES = tuple(Options.__annotations__)


def options_of(options: GenerateOptions | None, changes: Mapping[str, Any]) -> GenerateOptions:
    """``options`` (the defaults) with ``changes``."""
    unknown = sorted(set(changes) - set(_NAMES))
    if unknown:
        raise TypeError(f"unknown options {unknown}; there are {', '.join(_NAMES)}")
    if isinstance(changes.get("stop"), str):
        raise InvalidArgumentError(f"stop is one str, expected a list: [{changes['stop']!r}]")
    if options is None:
        return GenerateOptions(**changes)
    if not changes:
        return options
    return GenerateOptions(**{name: getattr(options, name) for name in _NAMES} | dict(changes))


def chat_of(
    model: LanguageModel,
    messages: Sequence[Message],
    options: GenerateOptions | None,
    changes: Mapping[str, Any],
) -> tuple[str, GenerateOptions]:
    """The prompt that the model's template makes, and the options to continue it with."""
    # The template has put in its own special tokens.
    made = options_of(options, {**changes, "add_special_tokens": False})
    return model.apply_chat_template(messages, enable_thinking=made.enable_thinking), made


def messages_of(messages: Sequence[Message]) -> list[tuple[str, str]]:
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
