"""Routers: learned P(collection | query) over the plain query vector, eight kinds of them.

:meth:`Library.fit` fits and chooses routers by itself; this module is for routers of your own:
over other vectors, with other labels, or to look at one. See docs/routers.md for each kind's paper.

Example::

    train = collegium.routers.Examples(vectors, labels)
    dev = collegium.routers.Examples(dev_vectors, dev_labels)
    router = collegium.routers.fit("gaussians", ["law", "medicine"], train, dev)
    route = router.route(encoder.encode(["Who may sue?"], kind="query")[0])
    print(route.entries[0].collection, router.explain(query)[0].why)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from . import _core
from ._arguments import text_of, whole_number
from ._core import Route, RouterReason
from .errors import InvalidArgumentError
from .experts import Encoder, Float32Array

__all__ = ["Aggregate", "Examples", "Kind", "Route", "Router", "RouterReason", "fit", "load"]

Kind = Literal[
    "linear",
    "mlp",
    "pilots-source",
    "pilots-winner",
    "nearest",
    "utterances",
    "two-step",
    "gaussians",
]
Aggregate = Literal["mean", "max", "top-mean"]


@dataclass(frozen=True)
class Examples:
    """Labelled queries.

    Attributes:
        vectors: (n, dim) float32, the plain encoder's query vectors.
        labels: (n,) integers: positions in the list of collections. Floats and bools are refused.
        quality: (n, collections) float32, how good each collection's expert is for each query,
            which "two-step" reads; None: 1 for the label's, 0 for the others.

    The same query under two labels is no error: both count, and its probability is shared.
    """

    vectors: Float32Array
    labels: Sequence[int] | npt.NDArray[np.integer[Any]]
    quality: Float32Array | None = None


class Router:
    """P(collection | query). Immutable; any number of threads may use it at once."""

    def __init__(self, core: _core.Router) -> None:
        """Use :func:`fit` or :func:`load`."""
        self._core = core

    @property
    def kind(self) -> str:
        return self._core.kind

    @property
    def dim(self) -> int:
        return self._core.dim

    @property
    def collections(self) -> list[str]:
        return self._core.collections

    def probabilities(self, queries: Float32Array) -> Float32Array:
        """(n, dim) -> (n, collections): rows sum to one.

        Raises:
            InvalidArgumentError: another shape or type, or a number that is not finite.
        """
        return self._core.probabilities(_rows(queries, "queries", self.dim))

    def familiarity(self, queries: Float32Array) -> Float32Array:
        """(n, dim) -> (n,): how near a query is to the training queries, as a quantile in [0, 1]
        of their own nearness: 0 is farther than all of them.

        Raises:
            InvalidArgumentError: as :meth:`probabilities`.
        """
        return self._core.familiarity(_rows(queries, "queries", self.dim))

    def route(self, query: Float32Array) -> Route:
        """(dim,): collections by probability, and whether the router abstains, which is an answer.

        Raises:
            InvalidArgumentError: another shape or type, or a number that is not finite.
        """
        return self._core.route(_row(query, self.dim))

    def explain(self, query: Float32Array) -> list[RouterReason]:
        """(dim,): the same order, each with its score and why.

        Raises:
            InvalidArgumentError: as :meth:`route`.
        """
        return self._core.explain(_row(query, self.dim))

    def add_expert(self, name: str, queries: Float32Array) -> Router:
        """A router with one collection more, learned from its queries, (n, dim), n >= 1.

        The others' scores keep their bits.

        Raises:
            NotSupportedError: "linear", "mlp" and "two-step" learn all together: fit anew.
            AlreadyExistsError: it has ``name``.
            InvalidArgumentError: as :meth:`probabilities`, or no query.
        """
        rows = _rows(queries, "queries", self.dim)
        return Router(self._core.add_expert(text_of(name, "name"), rows))

    def remove_expert(self, name: str) -> Router:
        """A router with one collection fewer.

        Raises:
            NotSupportedError: "two-step" learns all together: fit anew.
            NotFoundError: there is no such collection.
            InvalidArgumentError: it is the last one.
        """
        return Router(self._core.remove_expert(text_of(name, "name")))

    def save(self, path: str | os.PathLike[str], encoder: Encoder | str) -> None:
        """Writes it to a file, for vectors of ``encoder`` (or of that digest) alone.

        Raises:
            IoError, ResourceExhaustedError: it cannot be written.
        """
        self._core.save(path, encoder_digest=_digest(encoder))

    def __repr__(self) -> str:
        return f"<Router {self.kind} over {len(self.collections)} collections, dim {self.dim}>"


def load(path: str | os.PathLike[str], encoder: Encoder | str) -> Router:
    """What :meth:`Router.save` wrote.

    Raises:
        NotFoundError: no such file.
        FailedPreconditionError: it was saved for another encoder.
        CorruptionError: the file is damaged.
        NotSupportedError: it is newer, or of a kind that this build does not know.
    """
    return Router(_core.Router.load(path, encoder_digest=_digest(encoder)))


def fit(
    kind: Kind,
    collections: Sequence[str],
    train: Examples,
    dev: Examples | None = None,
    *,
    centroids: Float32Array | None = None,
    l2: float = 1e-3,
    label_smoothing: float = 0.0,
    hidden: int = 64,
    epochs: int = 30,
    aggregate: Aggregate = "mean",
    top_k: int = 5,
    pilot_centroids: int = 0,
    cosine: bool = False,
    max_pilots: int = 1000,
    categories: int = 0,
    costs: Sequence[float] = (),
    budget: float = 0.0,
    seed: int = 1,
) -> Router:
    """A router of ``kind`` over ``collections``, fitted on ``train`` and calibrated on ``dev``.

    Args:
        kind: see docs/routers.md.
        collections: their names, each once; labels are positions in it. One collection is
            allowed, and certain.
        dev: None: not calibrated; "utterances" then has thresholds of 0.
        centroids: (collections, dim) float32, mean document vectors: what a collection without
            queries is learned from. Needed if there is one.
        l2: of "linear", "mlp" and "two-step": the ridge penalty, (0, 1e6].
        label_smoothing: the share of every target that is spread evenly, [0, 1).
        hidden, epochs: of "mlp".
        aggregate, top_k: of pilots and "utterances": what a collection's pilots say together:
            their mean, the best, or the mean of the best ``top_k``.
        pilot_centroids: pilots are so many k-means centroids instead of queries; 0: the queries,
            at most ``max_pilots`` of each collection, evenly spread.
        cosine: compare pilots by cosine instead of the inner product.
        categories, costs, budget: of "two-step": groups of collections (0: about the square root
            of their number), what each expert costs (1), and what may be spent (0: anything).
        seed: where a kind draws something.

    Raises:
        InvalidArgumentError: an option out of range, sizes that do not fit, a label that is no
            integer or no position, a number that is not finite, a collection twice, or a query of
            ``dev`` that is a query of ``train`` (the same vector): what was learned from must not
            calibrate.
    """
    if kind not in get_args(Kind):
        raise InvalidArgumentError(f"kind is {kind!r}, expected one of {list(get_args(Kind))}")
    names = _names(collections)
    vectors, labels, quality = _examples(train, names, "train")
    dim = vectors.shape[1]
    has = np.zeros(len(names), dtype=bool)
    has[labels] = True
    if centroids is not None:
        means = _rows(centroids, "centroids", dim)
        if len(means) != len(names):
            raise InvalidArgumentError(
                f"centroids has {len(means)} rows for {len(names)} collections"
            )
    else:
        if not has.all():
            missing = names[int(np.argmin(has))]
            raise InvalidArgumentError(
                f"train has no query of collection {missing!r}; give centroids to learn it from"
            )
        means = np.zeros((len(names), dim), dtype=np.float32)  # not read: all have queries
    dev_vectors: Float32Array | None = None
    dev_labels: npt.NDArray[np.uint32] | None = None
    dev_quality: Float32Array | None = None
    if dev is not None:
        dev_vectors, dev_labels, dev_quality = _examples(dev, names, "dev")
        if dev_vectors.shape[1] != dim:
            raise InvalidArgumentError(f"dev has dim {dev_vectors.shape[1]}, train has {dim}")
    return Router(
        _core.fit_router(
            kind,
            names,
            vectors,
            labels,
            means,
            dev_vectors=dev_vectors,
            dev_labels=dev_labels,
            quality=quality,
            dev_quality=dev_quality,
            l2=l2,
            label_smoothing=label_smoothing,
            hidden=whole_number(hidden, "hidden", at_least=1),
            epochs=whole_number(epochs, "epochs", at_least=1),
            aggregate=aggregate,
            top_k=whole_number(top_k, "top_k", at_least=1),
            pilot_centroids=whole_number(pilot_centroids, "pilot_centroids"),
            cosine=cosine,
            max_pilots=whole_number(max_pilots, "max_pilots", at_least=1),
            categories=whole_number(categories, "categories"),
            costs=list(costs),
            budget=budget,
            seed=whole_number(seed, "seed"),
        )
    )


def _names(collections: Sequence[str]) -> list[str]:
    if isinstance(collections, str):
        raise InvalidArgumentError(f"collections is one str, expected a list: [{collections!r}]")
    names = [text_of(name, f"collections[{i}]") for i, name in enumerate(collections)]
    if not names:
        raise InvalidArgumentError("collections is empty")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidArgumentError(f"collections has {name!r} twice")
        seen.add(name)
    return names


def _examples(
    examples: Examples, names: Sequence[str], what: str
) -> tuple[Float32Array, npt.NDArray[np.uint32], Float32Array | None]:
    if not isinstance(examples, Examples):
        raise InvalidArgumentError(f"{what} is {type(examples).__name__}, expected Examples")
    vectors = _rows(examples.vectors, f"{what}.vectors", None)
    labels = np.asarray(examples.labels)
    if labels.size == 0:
        labels = labels.astype(np.uint32)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"{what}.labels has shape {labels.shape} of {labels.dtype}, expected (n,) of integers"
        )
    if len(labels) != len(vectors):
        raise InvalidArgumentError(f"{what} has {len(labels)} labels for {len(vectors)} vectors")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if wrong.size:
        raise InvalidArgumentError(
            f"{what}.labels[{wrong[0]}] is {labels[wrong[0]]}; allowed are 0 to {len(names) - 1}"
        )
    quality = None
    if examples.quality is not None:
        quality = _rows(examples.quality, f"{what}.quality", len(names))
        if len(quality) != len(vectors):
            raise InvalidArgumentError(
                f"{what}.quality has {len(quality)} rows for {len(vectors)} queries"
            )
    return vectors, np.ascontiguousarray(labels, dtype=np.uint32), quality


def _rows(values: Any, what: str, dim: int | None) -> Float32Array:
    """``values``, (n, dim) of finite float32; copied only if they are not contiguous."""
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype != np.float32 or dim not in (None, array.shape[1]):
        expected = "dim" if dim is None else dim
        raise InvalidArgumentError(
            f"{what} has shape {array.shape} of {array.dtype}, expected (n, {expected}) of float32"
        )
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise InvalidArgumentError(
            f"{what}[{int(np.argmin(finite))}] has a number that is not finite"
        )
    return np.ascontiguousarray(array)


def _row(query: Any, dim: int) -> Float32Array:
    array = np.asarray(query)
    if array.shape != (dim,):
        raise InvalidArgumentError(f"query has shape {array.shape}, expected ({dim},)")
    checked: Float32Array = _rows(array[np.newaxis], "query", dim)[0]
    return checked


def _digest(encoder: Encoder | str) -> str:
    return encoder.digest if isinstance(encoder, Encoder) else text_of(encoder, "encoder")
