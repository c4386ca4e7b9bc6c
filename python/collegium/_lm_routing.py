"""Token routing of a language model's mixture-of-experts layers, as collegium.lm shows it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from . import _core
from ._arguments import whole_number
from ._core import (
    TokenTrace,
    TraceLayer,
    autonomy_router,
    dense_router,
    expert_choice_router,
    group_limited_router,
    null_expert_router,
    random_router,
    sigmoid_router,
    sparse_mixer_router,
    top_k_router,
    top_p_router,
    width_router,
)

__all__ = [
    "ExpertBias",
    "ExpertMask",
    "RoutingOptions",
    "TokenRouter",
    "TokenTrace",
    "TraceLayer",
    "autonomy_router",
    "dense_router",
    "expert_choice_router",
    "expert_loads",
    "group_limited_router",
    "null_expert_router",
    "random_router",
    "sigmoid_router",
    "sparse_mixer_router",
    "top_k_router",
    "top_p_router",
    "width_router",
]

Float32Array = npt.NDArray[np.float32]


class TokenRouter(ABC):
    """A rule that sends tokens to experts. Derive from it and write :meth:`route`.

    Routers of the library (:func:`top_k_router` and others) are instances of it too.

    Example::

        class SecondBest(collegium.lm.TokenRouter):
            def route(self, hidden, logits, layer, position):
                ids = np.argsort(-logits, axis=1, kind="stable")[:, 1:2]
                return ids, np.ones(ids.shape, np.float32)

        options = collegium.lm.RoutingOptions(router=SecondBest())

    It is called from one thread at a time for one sequence, from several for several, with the GIL.
    What it raises, or an answer that makes no sense, ends the request with an InvalidArgumentError
    that says where; the model goes on working.
    """

    # The prompt must come in one piece, and no token may follow it.
    needs_whole_prompt: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """What errors and results call it."""
        return type(self).__name__

    @abstractmethod
    def route(self, hidden: Any, logits: Any, layer: int, position: int) -> tuple[Any, Any]:
        """The experts of each token of one sequence in one layer.

        A token's experts must depend on its own row, position and state alone, unless
        ``needs_whole_prompt``: how many tokens come at once is not said.

        Args:
            hidden: (n, d) float32, what the experts will read. The router's own copy.
            logits: (n, experts) float32 of the gate, biases of the request added and -inf where an
                expert is switched off; None where the layer has no gate.
            layer: number of the decoder layer, from 0.
            position: of the first token in its sequence.
        Returns:
            ids (n, k), whole numbers, -1 for none; and their weights (n, k).

        Where :meth:`make_state` gives a state, it is a fifth argument.
        """

    def make_state(self, layer: int) -> Any:
        """What to remember of one sequence in one layer, passed to each of its calls; None: nothing.

        Copied with ``copy.deepcopy`` where a sequence is continued twice.
        """
        return None


TokenRouter.register(_core.TokenRouter)
AnyTokenRouter = TokenRouter | _core.TokenRouter


def core_router(router: AnyTokenRouter) -> _core.TokenRouter:
    """``router`` as the compiled code takes it.

    Raises:
        TypeError: it is no token router.
    """
    if isinstance(router, _core.TokenRouter):
        return router
    if not isinstance(router, TokenRouter):
        raise TypeError(f"router is {type(router).__name__}, expected collegium.lm.TokenRouter")
    return _core.python_router(router)


def _ints(values: Sequence[int], name: str) -> list[int]:
    # Ids are 32 bits there; what is out of a layer's range is told with its number.
    return [whole_number(v, f"{name}[{i}]", at_most=2**31 - 1) for i, v in enumerate(values)]


def _layer(layer: int | None, name: str) -> int | None:
    return None if layer is None else whole_number(layer, name)


@dataclass(frozen=True)
class ExpertMask:
    """Experts that are switched off.

    Attributes:
        experts: their ids.
        layer: number of the decoder layer; None: every layer that has experts.
        keep: True: these stay on, and all others of the layer are switched off.
    """

    experts: Sequence[int]
    layer: int | None = None
    keep: bool = False


@dataclass(frozen=True)
class ExpertBias:
    """Numbers added to the router's logits.

    Attributes:
        values: (experts,), finite.
        layer: number of the decoder layer; None: every layer that has experts.
    """

    values: Sequence[float] | npt.NDArray[np.float32]
    layer: int | None = None


@dataclass(frozen=True, kw_only=True)
class RoutingOptions:
    """What a request changes of a model's token routing.

    Attributes:
        masks: experts switched off. One is on if no mask switches it off.
        biases: added to the logits, one after the other.
        top_k: experts per token; 0: the router's own. Fewer where fewer are on.
        router: takes the place of the model's own.
        router_layers: where it does; empty: in every layer that has experts.
    """

    masks: Sequence[ExpertMask] = ()
    biases: Sequence[ExpertBias] = ()
    top_k: int = 0
    router: AnyTokenRouter | None = None
    router_layers: Sequence[int] = ()
    core: _core.RoutingOptions = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        core = _core.RoutingOptions(
            masks=[
                (_layer(m.layer, "layer"), _ints(m.experts, "experts"), bool(m.keep))
                for m in self.masks
            ],
            biases=[(_layer(b.layer, "layer"), [float(v) for v in b.values]) for b in self.biases],
            top_k=whole_number(self.top_k, "top_k"),
            router=None if self.router is None else core_router(self.router),
            router_layers=_ints(self.router_layers, "router_layers"),
        )
        object.__setattr__(self, "core", core)

    def describe(self) -> str:
        """In a line, as it stands in a trace; "" if nothing is changed."""
        return self.core.describe()


def expert_loads(trace: TokenTrace) -> npt.NDArray[np.int64]:
    """How many tokens each expert got: (layers with experts, most experts of a layer)."""
    layers = trace.layers
    loads = np.zeros((len(layers), max((one.experts for one in layers), default=0)), np.int64)
    for row, one in zip(loads, layers, strict=True):
        row[: one.experts] = np.bincount(one.ids, minlength=one.experts)
    return loads
