"""Routers against what a few lines of numpy make of the same examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

import collegium
from collegium import _core, routers

Array = npt.NDArray[np.float32]
NAMES = ["law", "medicine", "music"]
DIM = 8
# What the vectors' cosine is multiplied with before a router is calibrated.
COSINE_SCALE = 20.0


def unit(rows: npt.NDArray[np.float64]) -> Array:
    scaled: Array = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def examples(n: int, seed: int, noise: float = 0.35, collections: int = 3) -> routers.Examples:
    """n queries of each collection around its own axis."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(collections), n)
    means = np.eye(DIM)[np.arange(collections) % DIM]
    vectors = unit(means[labels] + noise * random.normal(size=(len(labels), DIM)))
    return routers.Examples(vectors, labels)


TRAIN = examples(40, 1)
DEV = examples(12, 2)
QUERIES = np.asarray(examples(5, 3).vectors)


def softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = e / e.sum(axis=1, keepdims=True)
    return shares


def rows_of(label: int) -> Array:
    own: Array = np.asarray(TRAIN.vectors)[np.asarray(TRAIN.labels) == label]
    return own


def test_the_kinds_are_those_of_the_compiled_module() -> None:
    assert list(get_args(routers.Kind)) == _core.router_kinds()


@pytest.mark.parametrize("kind", get_args(routers.Kind))
def test_every_kind_tells_collections_apart_and_comes_back_from_its_file(
    kind: routers.Kind, tmp_path: Path
) -> None:
    # Two-step sends a category to one expert: as many categories as experts.
    router = routers.fit(kind, NAMES, TRAIN, DEV, categories=3)
    assert (router.kind, router.dim, router.collections) == (kind, DIM, NAMES)
    probabilities = router.probabilities(np.asarray(DEV.vectors))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.argmax(axis=1) == DEV.labels).mean() > 0.9
    familiarity = router.familiarity(QUERIES)
    assert ((familiarity >= 0) & (familiarity <= 1)).all()
    route = router.route(QUERIES[0])
    reasons = router.explain(QUERIES[0])
    assert [e.collection for e in route.entries] == [r.collection for r in reasons]
    assert [e.probability for e in route.entries] == sorted(
        router.probabilities(QUERIES[:1])[0].tolist(), reverse=True
    )
    assert all(reason.why for reason in reasons)
    path = tmp_path / "a router"
    router.save(path, "digest-of-an-encoder")
    again = routers.load(path, "digest-of-an-encoder")
    assert again.kind == kind
    assert again.probabilities(QUERIES).tobytes() == router.probabilities(QUERIES).tobytes()
    with pytest.raises(collegium.FailedPreconditionError, match="digest-of-an-encoder"):
        routers.load(path, "another")
    assert kind in repr(again)


def test_linear_is_balanced_ridge_logistic_regression() -> None:
    # Unequal counts; the smallest loss is found by Newton's method in float64.
    keep = np.r_[0:40, 40:50, 80:100]
    vectors = np.asarray(TRAIN.vectors)[keep].astype(np.float64)
    labels = np.asarray(TRAIN.labels)[keep]
    l2 = 0.01
    weight = 1.0 / np.bincount(labels)[labels]
    weight /= weight.sum()
    x = np.c_[vectors, np.ones(len(vectors))]
    target = np.eye(3)[labels]
    ridge = np.diag(np.tile(np.r_[np.full(DIM, l2), 0.0], 3))
    parameters = np.zeros((3, DIM + 1))
    for _ in range(50):
        p = softmax(x @ parameters.T)
        gradient = ((p - target) * weight[:, None]).T @ x
        gradient[:, :DIM] += l2 * parameters[:, :DIM]
        hessian = ridge.copy()
        for a in range(3):
            for b in range(3):
                s = weight * p[:, a] * ((a == b) - p[:, b])
                hessian[
                    a * (DIM + 1) : (a + 1) * (DIM + 1), b * (DIM + 1) : (b + 1) * (DIM + 1)
                ] += (x * s[:, None]).T @ x
        # Biases are fixed up to a constant: the smallest step among those that solve it.
        step = np.linalg.lstsq(hessian, gradient.ravel(), rcond=None)[0]
        parameters -= step.reshape(3, DIM + 1)
    expected = softmax(np.c_[QUERIES, np.ones(len(QUERIES))] @ parameters.T)
    router = routers.fit(
        "linear", NAMES, routers.Examples(np.asarray(TRAIN.vectors)[keep], labels), l2=l2
    )
    np.testing.assert_allclose(router.probabilities(QUERIES), expected, atol=2e-3)


@pytest.mark.parametrize(("aggregate", "number"), [("mean", None), ("max", None), ("top-mean", 4)])
def test_pilots_are_compared_by_what_their_aggregate_says(
    aggregate: routers.Aggregate, number: int | None
) -> None:
    expected = np.zeros((len(QUERIES), 3))
    for c in range(3):
        similar = np.sort(QUERIES.astype(np.float64) @ rows_of(c).T.astype(np.float64), axis=1)
        similar = similar[:, ::-1]
        if aggregate == "max":
            similar = similar[:, :1]
        elif number is not None:
            similar = similar[:, :number]
        expected[:, c] = similar.mean(axis=1)
    router = routers.fit("pilots-source", NAMES, TRAIN, aggregate=aggregate, top_k=number or 5)
    np.testing.assert_allclose(
        router.probabilities(QUERIES), softmax(COSINE_SCALE * expected), atol=1e-4
    )


def test_nearest_is_the_nearest_stored_query() -> None:
    expected = np.stack([(QUERIES @ rows_of(c).T).max(axis=1) for c in range(3)], axis=1)
    router = routers.fit("nearest", NAMES, TRAIN)
    np.testing.assert_allclose(
        router.probabilities(QUERIES), softmax(COSINE_SCALE * expected.astype(float)), atol=1e-4
    )


def test_utterances_abstain_below_a_threshold_that_dev_chose() -> None:
    router = routers.fit("utterances", NAMES, TRAIN, DEV, aggregate="max")
    vectors = np.asarray(DEV.vectors)
    similar = np.stack([(vectors @ rows_of(c).T).max(axis=1) for c in range(3)], axis=1)
    chosen = similar.argmax(axis=1)
    for c in range(3):
        own = np.flatnonzero(chosen == c)
        values = similar[own, c]
        right = np.where(np.asarray(DEV.labels)[own] == c, 1, -1)
        # Right answers kept less wrong ones, from each possible threshold on.
        worth = np.array([right[values >= v].sum() for v in values])
        kept = np.array([not router.route(vectors[i]).abstained for i in own])
        assert right[kept].sum() == worth.max()
    opposite = -np.ones(DIM, dtype=np.float32) / np.float32(np.sqrt(DIM))
    assert router.route(opposite).abstained


def test_gaussians_are_the_likelihood_under_each_collections_spread() -> None:
    vectors = np.asarray(TRAIN.vectors).astype(np.float64)
    labels = np.asarray(TRAIN.labels)
    means = np.stack([vectors[labels == c].mean(axis=0) for c in range(3)])
    centred = vectors - means[labels]
    n = len(vectors)
    covariance = centred.T @ centred / n
    mu = np.trace(covariance) / DIM
    # Ledoit and Wolf's intensity.
    spread = ((covariance - mu * np.eye(DIM)) ** 2).sum() / DIM
    beta = sum(((np.outer(x, x) - covariance) ** 2).sum() for x in centred) / n**2 / DIM
    shrinkage = min(1.0, beta / spread)
    covariance = (1 - shrinkage) * covariance + shrinkage * mu * np.eye(DIM)
    covariance += max(1e-6, 1e-6 * mu) * np.eye(DIM)
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    scores = np.zeros((len(QUERIES), 3))
    for c in range(3):
        z = vectors[labels == c] @ whiten.T
        mean = z.mean(axis=0)
        variance = (((z - mean) ** 2).sum(axis=0) + 50) / (len(z) - 1 + 50)
        away = (QUERIES.astype(np.float64) @ whiten.T - mean) ** 2 / variance
        scores[:, c] = -0.5 * (away.sum(axis=1) + np.log(variance).sum())
    router = routers.fit("gaussians", NAMES, TRAIN)
    np.testing.assert_allclose(router.probabilities(QUERIES), softmax(scores), atol=1e-3)


def test_an_mlp_separates_what_no_line_does() -> None:
    random = np.random.default_rng(4)
    points = random.normal(size=(400, 2))
    labels = (points[:, 0] * points[:, 1] > 0).astype(np.int64)
    data = routers.Examples(unit(points), labels)
    test = random.normal(size=(200, 2))
    truth = (test[:, 0] * test[:, 1] > 0).astype(np.int64)

    def right(kind: routers.Kind, **options: Any) -> float:
        router = routers.fit(kind, ["same", "other"], data, **options)
        return float((router.probabilities(unit(test)).argmax(axis=1) == truth).mean())

    assert right("mlp", epochs=200) > 0.9
    assert right("linear") < 0.75


def test_two_steps_spend_a_budget_on_the_experts_that_are_worth_most() -> None:
    n = len(np.asarray(TRAIN.labels))
    # The expert of music is as good as the others' own for all that is asked, law's nearly so.
    quality = np.zeros((n, 3), dtype=np.float32)
    quality[np.arange(n), TRAIN.labels] = 0.9
    quality[:, 2] = 0.8
    data = routers.Examples(TRAIN.vectors, TRAIN.labels, quality)
    rich = routers.fit("two-step", NAMES, data, categories=3)
    assert (rich.probabilities(np.asarray(DEV.vectors)).argmax(axis=1) == DEV.labels).mean() > 0.9
    poor = routers.fit("two-step", NAMES, data, categories=3, budget=1.0)
    assert {poor.route(q).entries[0].collection for q in QUERIES} == {"music"}
    with pytest.raises(collegium.InvalidArgumentError, match="cheapest"):
        routers.fit("two-step", NAMES, data, costs=[3, 2, 4], budget=1.0)


@pytest.mark.parametrize("kind", get_args(routers.Kind))
def test_an_expert_comes_and_goes(kind: routers.Kind) -> None:
    router = routers.fit(kind, NAMES, TRAIN, DEV)
    new = -unit(np.ones((3, DIM)) + 0.1 * np.random.default_rng(8).normal(size=(3, DIM)))
    if kind in ("linear", "mlp", "two-step"):
        with pytest.raises(collegium.NotSupportedError, match="fit it anew"):
            router.add_expert("sports", new)
    else:
        four = router.add_expert("sports", new)
        assert four.collections == [*NAMES, "sports"]
        assert four.route(new[0]).entries[0].collection == "sports"
        back = four.remove_expert("sports")
        assert back.probabilities(QUERIES).tobytes() == router.probabilities(QUERIES).tobytes()
        with pytest.raises(collegium.AlreadyExistsError):
            four.add_expert("sports", new)
    if kind != "two-step":
        two = router.remove_expert("medicine")
        assert two.collections == ["law", "music"]
        with pytest.raises(collegium.InvalidArgumentError, match="only collection"):
            two.remove_expert("law").remove_expert("music")
        with pytest.raises(collegium.NotFoundError):
            two.remove_expert("medicine")


@pytest.mark.parametrize("kind", get_args(routers.Kind))
def test_one_expert_is_certain(kind: routers.Kind) -> None:
    one = routers.Examples(rows_of(0), np.zeros(40, dtype=np.int64))
    router = routers.fit(kind, ["law"], one)
    np.testing.assert_allclose(router.probabilities(QUERIES), 1.0, atol=1e-6)
    assert router.route(QUERIES[0]).entries[0].collection == "law"


@pytest.mark.parametrize("kind", ["linear", "pilots-source", "nearest", "gaussians"])
def test_a_thousand_experts(kind: routers.Kind) -> None:
    random = np.random.default_rng(6)
    means = random.normal(size=(1000, 32))
    labels = np.repeat(np.arange(1000), 2)
    data = routers.Examples(unit(means[labels] + 0.05 * random.normal(size=(2000, 32))), labels)
    names = [f"expert {i}" for i in range(1000)]
    options: dict[str, Any] = {"l2": 1e-5} if kind == "linear" else {}
    router = routers.fit(kind, names, data, **options)
    asked = unit(means[::10])
    assert (router.probabilities(asked).argmax(axis=1) == np.arange(0, 1000, 10)).mean() > 0.95
    assert len(router.route(asked[3]).entries) == 1000


@pytest.mark.parametrize("kind", ["linear", "mlp", "pilots-source", "nearest", "gaussians"])
def test_a_query_under_two_labels_shares_its_probability(kind: routers.Kind) -> None:
    rows = np.asarray(TRAIN.vectors)[:40]
    both = routers.Examples(np.r_[rows, rows], np.repeat([0, 1], 40))
    router = routers.fit(kind, ["law", "tax"], both)
    # An mlp ends where its epochs do, a step or two of its batches away from the optimum.
    np.testing.assert_allclose(
        router.probabilities(rows[:5]), 0.5, atol=0.1 if kind == "mlp" else 0.02
    )


def test_a_collection_without_queries_is_learned_from_its_centroid() -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="no query of collection 'sports'"):
        routers.fit("linear", [*NAMES, "sports"], TRAIN)
    means = np.eye(DIM, dtype=np.float32)[:4]
    router = routers.fit("linear", [*NAMES, "sports"], TRAIN, centroids=means)
    assert router.route(means[3]).entries[0].collection == "sports"


def test_labels_are_integers_in_range() -> None:
    vectors = np.asarray(TRAIN.vectors)[:2]
    for labels, message in [
        (np.array([0.0, 1.0]), "of float64"),
        ([True, False], "of bool"),
        (["0", "1"], "of <U1"),
        ([0, -1], r"labels\[1\] is -1; allowed are 0 to 2"),
        ([3, 0], r"labels\[0\] is 3"),
        ([2**40, 0], r"labels\[0\] is 1099511627776"),
        ([0, 1, 2], "3 labels for 2 vectors"),
        ([[0, 1]], r"shape \(1, 2\)"),
    ]:
        with pytest.raises(collegium.InvalidArgumentError, match=message):
            routers.fit("linear", NAMES, routers.Examples(vectors, labels))  # type: ignore[arg-type]
    for kind in (np.int8, np.uint64):
        labels_of_type: npt.NDArray[np.integer[Any]] = np.array([0, 1, 2]).astype(kind)
        data = routers.Examples(np.asarray(TRAIN.vectors)[[0, 40, 80]], labels_of_type)
        assert routers.fit("nearest", NAMES, data).collections == NAMES


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    bad = np.asarray(TRAIN.vectors).copy()
    bad[7, 2] = value
    labelled = routers.Examples(bad, TRAIN.labels)
    invalid = collegium.InvalidArgumentError
    with pytest.raises(invalid, match=r"train.vectors\[7\] has a number that is not finite"):
        routers.fit("linear", NAMES, labelled)
    with pytest.raises(invalid, match=r"dev.vectors\[7\]"):
        routers.fit("linear", NAMES, TRAIN, labelled)
    quality = np.full((120, 3), value, dtype=np.float32)
    with pytest.raises(invalid, match=r"train.quality\[0\]"):
        routers.fit("two-step", NAMES, routers.Examples(TRAIN.vectors, TRAIN.labels, quality))
    with pytest.raises(invalid, match=r"centroids\[0\]"):
        routers.fit("linear", NAMES, TRAIN, centroids=np.full((3, DIM), value, np.float32))
    router = routers.fit("linear", NAMES, TRAIN)
    for call in (router.probabilities, router.familiarity):
        with pytest.raises(invalid, match=r"queries\[7\]"):
            call(bad)
    for ask in (router.route, router.explain):
        with pytest.raises(invalid, match="not finite"):
            ask(bad[7])
    with pytest.raises(invalid, match="not finite"):
        routers.fit("nearest", NAMES, TRAIN).add_expert("sports", bad[7:8])


def test_a_dev_that_overlaps_train_is_refused() -> None:
    shared = np.r_[np.asarray(DEV.vectors), np.asarray(TRAIN.vectors)[17:18]]
    labels = np.r_[np.asarray(DEV.labels), 1]
    with pytest.raises(collegium.InvalidArgumentError, match="dev query 36 is training query 17"):
        routers.fit("linear", NAMES, TRAIN, routers.Examples(shared, labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "oracle"}, "kind is 'oracle'"),
        ({"collections": ["law", "law", "music"]}, "'law' twice"),
        ({"collections": []}, "collections is empty"),
        ({"collections": "law"}, "one str"),
        ({"centroids": np.zeros((2, DIM), np.float32)}, "2 rows for 3 collections"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"l2": 0.0}, "l2"),
        ({"hidden": 0}, "hidden"),
        ({"aggregate": "median"}, "aggregate"),
        ({"train": (TRAIN.vectors, TRAIN.labels)}, "expected Examples"),
        ({"dev": routers.Examples(np.zeros((1, 4), np.float32), [0])}, "dev has dim 4"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"kind": "linear", "collections": NAMES, "train": TRAIN}
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        routers.fit(**{**arguments, **change})


def test_shapes_and_types_are_checked() -> None:
    router = routers.fit("pilots-source", NAMES, TRAIN)
    with pytest.raises(collegium.InvalidArgumentError, match="float64"):
        router.probabilities(QUERIES.astype(np.float64))
    with pytest.raises(collegium.InvalidArgumentError, match=r"expected \(n, 8\)"):
        router.probabilities(QUERIES[:, :4])
    with pytest.raises(collegium.InvalidArgumentError, match=r"expected \(8,\)"):
        router.route(QUERIES)


def test_a_router_is_of_one_encoder(tiny_encoder: Path, tmp_path: Path) -> None:
    encoder = collegium.Encoder.load(tiny_encoder)
    texts = ["one two", "three four", "five", "six seven"]
    data = routers.Examples(encoder.encode(texts, kind="query"), [0, 0, 1, 1])
    router = routers.fit("nearest", ["a", "b"], data)
    router.save(tmp_path / "router", encoder)
    assert routers.load(tmp_path / "router", encoder).collections == ["a", "b"]
    other = collegium.Encoder.load(tiny_encoder, truncate_dim=16)
    with pytest.raises(collegium.FailedPreconditionError, match="encoder"):
        routers.load(tmp_path / "router", other)
    with pytest.raises(collegium.NotFoundError):
        routers.load(tmp_path / "nothing", encoder)
    raw = (tmp_path / "router").read_bytes()
    (tmp_path / "router").write_bytes(raw[:-9] + b"x" + raw[-8:])
    with pytest.raises(collegium.CorruptionError):
        routers.load(tmp_path / "router", encoder)
