"""What a training can be told, and what it reports."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from .._arguments import whole_number
from ..errors import InvalidArgumentError

MODULES = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")


@dataclass(frozen=True)
class LoraOptions:
    """How a LoRA (arXiv 2106.09685) is trained.

    Attributes:
        rank: of its two factors, 1 to 256.
        alpha: their product counts ``alpha / rank``.
        modules: which linear modules it adapts, as PEFT's ``target_modules``: those whose names
            end so. Of "query", "key", "value", "attention.output.dense", "intermediate.dense",
            "output.dense" (which both of the outputs end in).
        learning_rate: of AdamW without decay.
        batch_size: queries a step.
        max_epochs, patience: training ends where dev has not gained for ``patience`` epochs.
        temperature: similarities are divided by it in InfoNCE (arXiv 1807.03748).
        negatives: passages that a query is told from in a step: the whole collection if it has no
            more, else so many drawn anew for each step; those that answer the batch's other
            queries always among them.
        seed: of the factors' start, the order of queries, and what is drawn.
    """

    rank: int = 8
    alpha: float = 16.0
    modules: tuple[str, ...] = ("query", "value")
    learning_rate: float = 1e-3
    batch_size: int = 32
    max_epochs: int = 5
    patience: int = 2
    temperature: float = 0.05
    negatives: int = 20_000
    seed: int = 1

    def __post_init__(self) -> None:
        whole_number(self.rank, "rank", at_least=1, at_most=256)
        whole_number(self.batch_size, "batch_size", at_least=1, at_most=4096)
        whole_number(self.max_epochs, "max_epochs", at_least=1, at_most=1000)
        whole_number(self.patience, "patience", at_least=1)
        whole_number(self.negatives, "negatives", at_least=1)
        whole_number(self.seed, "seed", at_most=2**63 - 1)
        for name in ("alpha", "learning_rate", "temperature"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidArgumentError(f"{name} is {type(value).__name__}, expected a number")
            if not (value > 0 and math.isfinite(value)):
                raise InvalidArgumentError(f"{name} is {value}, must be above 0")
        modules: object = self.modules
        if isinstance(modules, str) or not self.modules:
            raise InvalidArgumentError(f"modules is {self.modules!r}, expected several names")
        for name in self.modules:
            if name not in MODULES:
                raise InvalidArgumentError(
                    f"modules has {name!r}; allowed are {', '.join(map(repr, MODULES))}"
                )


@dataclass(frozen=True)
class LoraReport:
    """What was trained and chosen; names as in the report of :meth:`Library.fit`.

    Attributes:
        train, dev: queries.
        strength: of the LoRA, chosen on dev; 0: none was kept, and no folder written.
        epochs: that were kept.
        dev_ndcg_plain, dev_ndcg: nDCG@10 of the plain encoder and of what was kept, both as the
            library's own encoder gives them.
        standard_error: of their paired difference by query.
        loss: by epoch, mean over training queries.
        curve: nDCG@10 on dev by epoch, at strength 1.
        pair_kinds: pairs by kind and split, as in the report of fit.
        folder: what was written, or "".
        note: why there is none.
    """

    collection: str
    train: int
    dev: int
    strength: float = 0.0
    epochs: int = 0
    rank: int = 0
    dev_ndcg_plain: float = 0.0
    dev_ndcg: float = 0.0
    standard_error: float = 0.0
    loss: list[float] = dataclasses.field(default_factory=list)
    curve: list[float] = dataclasses.field(default_factory=list)
    pair_kinds: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    folder: str = ""
    note: str = ""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def __str__(self) -> str:
        kinds = ", ".join(f"{counts['train']} {kind}" for kind, counts in self.pair_kinds.items())
        text = (
            f"{self.collection}: {self.train} training and {self.dev} dev queries"
            f"{f' (training pairs: {kinds})' if kinds else ''}\n"
        )
        if self.curve:
            curve = " ".join(f"{value:.3f}" for value in self.curve)
            loss = " ".join(f"{value:.3f}" for value in self.loss)
            text += f"loss by epoch {loss}; dev nDCG@10 by epoch {curve}\n"
        if self.strength > 0:
            gain = self.dev_ndcg - self.dev_ndcg_plain
            text += (
                f"LoRA of rank {self.rank} at strength {self.strength:g} after {self.epochs} "
                f"epochs: dev nDCG@10 {self.dev_ndcg_plain:.3f} -> {self.dev_ndcg:.3f} "
                f"({gain:+.3f} +- {self.standard_error:.3f}), in {self.folder}\n"
            )
        return f"{text}{f'{self.note}; ' if self.note else ''}{self.seconds:.1f} s"
