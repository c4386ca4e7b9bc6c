"""The training itself: InfoNCE on the query side, against the library's frozen vectors."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .. import _core
from ..display import ProgressCallable, ProgressOption, progress_for
from ..errors import (
    AlreadyExistsError,
    CancelledError,
    CorruptionError,
    FailedPreconditionError,
    NotSupportedError,
)
from ..experts import ExpertSet, Float32Array, LoraAdapter
from .options import LoraOptions, LoraReport
from .trunk import Tensor, Torch, Trunk, import_torch, write_safetensors

if TYPE_CHECKING:
    from ..library import Library

# As core::kLeastChoiceQueries: with fewer on dev nothing is chosen.
_LEAST_DEV = 10
_STRENGTHS = (0.25, 0.5, 0.75, 1.0)
# How far torch's plain vectors may be from the library's, by component; of an encoder that is run
# in int8 or bf16, how near their cosine must be to 1.
_CLOSE = 1e-4
_COARSE_COSINE = 0.98
_AT_ONCE = 64  # queries that are encoded together without gradients


def train(
    library: Library,
    collection: str,
    folder: str | os.PathLike[str],
    *,
    options: LoraOptions | None = None,
    progress: ProgressOption = None,
) -> LoraReport:
    """A LoRA for the queries of ``collection``, in PEFT's format in the new ``folder``.

    Its loss is InfoNCE (arXiv 1807.03748) over passages of the collection, of which the judged ones
    of a query are left out as negatives; a document counts by its best passage. Dev chooses
    epochs, strength and whether there is one: it is kept if it gains more than one standard error
    of the paired difference by query. Else nothing is written, and ``strength`` is 0.

    The same library, options and torch on the same machine give the same folder.

    Raises:
        NotSupportedError: torch is not installed, or the encoder is one that this does not train.
        AlreadyExistsError: there is something at ``folder``.
        NotFoundError: no such collection.
        FailedPreconditionError: it has no training pairs.
        CancelledError: ``progress`` returned False. Nothing was written.
    """
    began = time.monotonic()
    options = LoraOptions() if options is None else options
    torch = import_torch()
    folder = Path(folder)
    if folder.exists():
        raise AlreadyExistsError(f"{folder}: there is something there already")
    data = library._core.training_data(collection)
    training, dev = data.queries("train"), data.queries("dev")
    if not training.texts:
        raise FailedPreconditionError(
            f"collection {collection!r} has no training pairs; `collegium pairs` can make some"
        )
    report = LoraReport(collection, len(training.texts), len(dev.texts), pair_kinds=data.pair_kinds)
    trunk = _checked_trunk(torch, library, data)
    judge = _Judge(data)
    plain = judge.ndcg(data.query_vectors("dev"))
    if len(dev.texts) < _LEAST_DEV:
        note = f"no adapter: {len(dev.texts)} queries to choose on, of the {_LEAST_DEV} it takes"
        return replace(report, note=note, seconds=time.monotonic() - began)
    with progress_for(progress, f"training {collection}") as watch:
        run = _Run(torch, library, data, trunk, options, watch)
        losses, curve, states = run.epochs(judge)
        best = int(np.argmax(curve))
        trunk.restore(states[best])
        strength, gains = 0.0, np.zeros(len(plain))
        for tried in _STRENGTHS:
            found = judge.ndcg(run.dev_vectors(tried)) - plain
            if found.mean() > gains.mean():
                strength, gains = tried, found
    base = float(plain.mean())
    report = replace(report, loss=losses, curve=curve, dev_ndcg_plain=base, dev_ndcg=base)
    if strength > 0:
        with _Written(folder, trunk, options, strength, library.encoder.folder) as made:
            served = judge.ndcg(_encoded(library, made, dev.texts))
            gains = served - plain
            error = float(gains.std(ddof=1) / np.sqrt(len(gains)))
            if gains.mean() > error:
                made.keep()
                report = replace(
                    report,
                    strength=strength,
                    epochs=best + 1,
                    rank=options.rank,
                    dev_ndcg=float(served.mean()),
                    standard_error=error,
                    folder=str(folder),
                )
    if report.strength == 0:
        report = replace(report, note="no adapter: none gains beyond noise")
    return replace(report, seconds=time.monotonic() - began)


def _token_ids(library: Library, trunk: Trunk, texts: Sequence[str]) -> list[list[int]]:
    encoder = library.encoder
    return [
        encoder.tokenizer.encode(trunk.prompt + text, max_tokens=encoder.max_tokens).ids
        for text in texts
    ]


def _checked_trunk(torch: Torch, library: Library, data: _core.TrainingData) -> Trunk:
    """The encoder in torch, after a look at whether it gives what the library's gave."""
    encoder = library.encoder
    trunk = Trunk(torch, Path(encoder.folder), encoder.dim)
    texts = data.queries("train").texts[:8]
    try:
        with torch.no_grad():
            found = trunk.vectors(_token_ids(library, trunk, texts)).numpy()
    except (KeyError, IndexError, RuntimeError) as error:
        raise CorruptionError(
            f"{encoder.folder}: its weights do not fit its config: {error}"
        ) from error
    expected = data.query_vectors("train")[: len(texts)]
    if encoder.compute == "fp32":
        same = found.shape == expected.shape and np.abs(found - expected).max() <= _CLOSE
    else:
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        same = bool(((found * expected).sum(axis=1) >= _COARSE_COSINE * norms).all())
    if not same:
        raise NotSupportedError(
            f"{encoder.folder}: torch computes other vectors than the library's encoder "
            f"(largest difference {np.abs(found - expected).max():.2g}): a part of this model is "
            "not in train-lora; train with PEFT, whose folders load as they are"
        )
    return trunk


class _Judge:
    """nDCG@10 of dev queries by document, as `fit` measures it: a document counts by its best
    passage, ties go to the smaller number."""

    def __init__(self, data: _core.TrainingData) -> None:
        self._passages = data.vectors
        documents = data.passage_document
        self._order = np.argsort(documents, kind="stable")
        ordered = documents[self._order]
        self._first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self._numbers = ordered[self._first].astype(np.int64)
        dev = data.queries("dev")
        self._relevant, self._gains = dev.relevant, dev.gains

    def ndcg(self, queries: Float32Array) -> npt.NDArray[np.float64]:
        """(n,) of (n, dim) vectors of the dev queries."""
        values = np.zeros(len(queries))
        for i, query in enumerate(queries):
            scores = (self._passages @ query)[self._order]
            best = np.maximum.reduceat(scores, self._first)
            gains = np.array(self._gains[i])
            dcg = 0.0
            for number, gain in zip(self._relevant[i], gains, strict=True):
                own = best[np.searchsorted(self._numbers, number)]
                ahead = (best > own) | ((best == own) & (self._numbers < number))
                rank = int(ahead.sum())
                if rank < 10:
                    dcg += float(gain) / np.log2(rank + 2)
            ideal = np.sort(gains)[::-1][:10]
            values[i] = dcg / (ideal / np.log2(np.arange(len(ideal)) + 2)).sum()
        return values


class _Run:
    def __init__(
        self,
        torch: Torch,
        library: Library,
        data: _core.TrainingData,
        trunk: Trunk,
        options: LoraOptions,
        watch: ProgressCallable | None,
    ) -> None:
        self._torch = torch
        self._trunk = trunk
        self._options = options
        self._watch = watch
        self._passages = torch.from_numpy(data.vectors)
        self._documents = data.passage_document
        self._training = _token_ids(library, trunk, data.queries("train").texts)
        self._relevant = [np.array(row) for row in data.queries("train").relevant]
        self._dev = _token_ids(library, trunk, data.queries("dev").texts)
        self._random = np.random.default_rng(options.seed)
        trunk.add_lora(options.modules, options.rank, options.alpha, options.seed)

    def epochs(
        self, judge: _Judge
    ) -> tuple[list[float], list[float], list[dict[str, npt.NDArray[np.float32]]]]:
        """Loss, nDCG@10 on dev, and the factors, by epoch."""
        options = self._options
        optimizer = self._torch.optim.AdamW(
            self._trunk.parameters(), lr=options.learning_rate, weight_decay=0.0
        )
        losses: list[float] = []
        curve: list[float] = []
        states = []
        n = len(self._training)
        for epoch in range(options.max_epochs):
            order = self._random.permutation(n)
            total = 0.0
            for start in range(0, n, options.batch_size):
                batch = order[start : start + options.batch_size]
                loss = self._loss(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(batch)
                self._report("epochs", epoch * n + start + len(batch), options.max_epochs * n)
            losses.append(total / n)
            curve.append(float(judge.ndcg(self.dev_vectors()).mean()))
            states.append(self._trunk.state())
            if epoch - int(np.argmax(curve)) >= options.patience:
                break
        return losses, curve, states

    def dev_vectors(self, strength: float = 1.0) -> Float32Array:
        parts = []
        with self._torch.no_grad():
            for start in range(0, len(self._dev), _AT_ONCE):
                texts = self._dev[start : start + _AT_ONCE]
                parts.append(self._trunk.vectors(texts, strength).numpy())
        return np.concatenate(parts)

    def _candidates(self, batch: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows of passages that the batch is compared with, ascending."""
        rows = len(self._documents)
        if rows <= self._options.negatives:
            return np.arange(rows)
        drawn = self._random.choice(rows, self._options.negatives, replace=False)
        answers = np.unique(np.concatenate([self._relevant[q] for q in batch]))
        return np.union1d(drawn, np.flatnonzero(np.isin(self._documents, answers)))

    def _loss(self, batch: npt.NDArray[np.int64]) -> Tensor:
        """The mean over the batch's queries of the mean over their relevant documents of
        -log(exp(s) / (exp(s) + sum over the passages of other documents))."""
        torch = self._torch
        queries = self._trunk.vectors([self._training[q] for q in batch])
        rows = self._candidates(batch)
        documents = self._documents[rows]
        scores = queries @ self._passages[torch.from_numpy(rows)].T / self._options.temperature
        losses = []
        for i, q in enumerate(batch):
            judged = np.isin(documents, self._relevant[q])
            if judged.all():
                continue  # nothing to tell them from
            others = torch.logsumexp(scores[i][torch.from_numpy(~judged)], dim=0)
            own = [
                torch.nn.functional.softplus(
                    others - scores[i][torch.from_numpy(documents == document)].max()
                )
                for document in self._relevant[q]
            ]
            losses.append(torch.stack(own).mean())
        if not losses:
            return queries.sum() * 0.0
        return torch.stack(losses).mean()

    def _report(self, stage: str, done: int, total: int) -> None:
        if self._watch is not None and self._watch(stage, done, total) is False:
            raise CancelledError(f"asked to stop after {done} of {total} queries")


class _Written:
    """A PEFT folder under a name of its own until it is kept."""

    def __init__(
        self, folder: Path, trunk: Trunk, options: LoraOptions, strength: float, base: str
    ) -> None:
        self._folder = folder
        self.path = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        config = {
            "base_model_name_or_path": Path(base).name,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "lora_alpha": options.alpha * strength,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": options.rank,
            "target_modules": list(options.modules),
            "task_type": "FEATURE_EXTRACTION",
        }
        self.path.mkdir(parents=True)
        text = json.dumps(config, indent=2) + "\n"
        (self.path / "adapter_config.json").write_text(text, encoding="utf-8")
        write_safetensors(self.path / "adapter_model.safetensors", trunk.state())

    def keep(self) -> None:
        self.path.rename(self._folder)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _encoded(library: Library, made: _Written, texts: Sequence[str]) -> Float32Array:
    """By the library's own encoder under what was written."""
    experts = ExpertSet(library.encoder)
    experts.set_lora("lora", LoraAdapter.load(made.path, library.encoder))
    return experts.encode(list(texts), ["lora"] * len(texts), kind="query", progress=False)
