from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import collegium
from collegium import _core, lm
from collegium._lm_routing import core_router

HIDDEN = np.zeros((6, 3), np.float32)
LOGITS = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)


def route(router: Any, **options: Any) -> tuple[Any, Any]:
    return core_router(router).route(HIDDEN, LOGITS, **options)


class Best(lm.TokenRouter):
    """The best expert, in a line of numpy."""

    def route(self, hidden: Any, logits: Any, layer: int, position: int) -> tuple[Any, Any]:
        ids = logits.argmax(1, keepdims=True)
        return ids, np.ones(ids.shape)


class Answer(lm.TokenRouter):
    def __init__(self, ids: Any, weights: Any) -> None:
        self.answer = ids, weights

    def route(self, *arguments: Any) -> tuple[Any, Any]:
        return self.answer


def test_a_python_router_gives_what_a_built_in_one_gives() -> None:
    ids, weights = route(Best())
    assert ids.dtype == np.int32
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(ids, route(lm.top_k_router(1))[0])
    np.testing.assert_array_equal(weights, np.ones((6, 1)))
    assert isinstance(lm.dense_router(), lm.TokenRouter)


def test_a_python_router_sees_its_own_copies() -> None:
    seen: list[tuple[Any, ...]] = []

    class Look(Best):
        def route(self, hidden: Any, logits: Any, layer: int, position: int) -> tuple[Any, Any]:
            seen.append((hidden.copy(), logits.copy(), layer, position))
            hidden += 1
            logits[:] = 0
            return np.zeros((len(hidden), 0), int), np.zeros((len(hidden), 0))

    before = LOGITS.copy()
    ids, _ = route(Look(), layer=3, position=17)
    assert ids.shape == (6, 0)  # a token may have no expert
    np.testing.assert_array_equal(seen[0][0], HIDDEN)
    np.testing.assert_array_equal(seen[0][1], before)
    assert seen[0][2:] == (3, 17)
    np.testing.assert_array_equal(LOGITS, before)
    assert (HIDDEN == 0).all()


@pytest.mark.parametrize(
    ("ids", "weights", "message"),
    [
        (np.full((6, 1), 4), np.ones((6, 1)), r"position 10: expert id 4, allowed are 0 to 3"),
        (np.full((6, 1), -2), np.ones((6, 1)), "expert id -2"),
        (np.full((6, 1), 2**40), np.ones((6, 1)), f"expert id {2**40}"),
        (np.full((6, 2), 1), np.ones((6, 2)), "expert id 1 twice in one token"),
        (np.full((6, 1), 1), np.full((6, 1), np.nan), "weight nan of expert id 1"),
        (np.full((6, 1), 1), np.full((6, 1), 1e300), "weight inf of expert id 1"),
        (np.full((5, 1), 1), np.ones((5, 1)), r"ids are \(5, 1\).*expected both \(6, k\)"),
        (np.full((6, 1), 1), np.ones((6, 2)), r"weights \(6, 2\), expected both"),
        (np.full(6, 1), np.ones(6), r"ids are \(6,\)"),
        (np.full((6, 1), 1.0), np.ones((6, 1)), "ids are float64, expected whole numbers"),
        (np.full((6, 1), 1), np.full((6, 1), "x"), "expected real numbers"),
        ([[1]] * 6, None, r"weights \(\)"),
    ],
)
def test_nonsense_is_a_typed_error_that_says_where(ids: Any, weights: Any, message: str) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="token router Answer, layer 2"):
        route(Answer(ids, weights), layer=2, position=10)
    with pytest.raises(collegium.InvalidArgumentError, match=message):
        route(Answer(ids, weights), layer=2, position=10)
    route(Best())


def test_what_a_router_raises_is_told_with_its_place() -> None:
    class Broken(Best):
        def route(self, *arguments: Any) -> tuple[Any, Any]:
            raise KeyError("table")

    with pytest.raises(
        collegium.InvalidArgumentError,
        match=r"token router Broken, layer 0, position 0: raised KeyError: 'table' "
        r"\(.*lm_routing_test.py:\d+\)",
    ):
        route(Broken())

    class NoTuple(Best):
        def route(self, *arguments: Any) -> Any:
            return 5

    with pytest.raises(collegium.InvalidArgumentError, match="expected a tuple"):
        route(NoTuple())

    class Interrupted(Best):
        def route(self, *arguments: Any) -> tuple[Any, Any]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        route(Interrupted())


def test_a_state_belongs_to_a_sequence() -> None:
    class Counting(lm.TokenRouter):
        def make_state(self, layer: int) -> Any:
            return {"layer": layer, "calls": 0}

        def route(self, hidden: Any, logits: Any, layer: int, position: int, *state: Any) -> Any:
            state[0]["calls"] += 1
            assert state[0] == {"layer": 7, "calls": 1}
            return np.zeros((len(hidden), 1), int), np.ones((len(hidden), 1))

    for _ in range(2):
        route(Counting(), layer=7)

    class NoState(Counting):
        def make_state(self, layer: int) -> Any:
            raise OSError("no room")

    with pytest.raises(collegium.InvalidArgumentError, match="make_state raised OSError: no room"):
        route(NoState())


def test_nothing_keeps_a_router_when_its_options_are_gone() -> None:
    router = Best()
    gone = weakref.ref(router)
    options = lm.RoutingOptions(router=router)
    del router
    gc.collect()
    assert gone() is not None  # the options hold it
    del options
    gc.collect()
    assert gone() is None


def test_options_are_checked_and_described() -> None:
    options = lm.RoutingOptions(
        masks=[lm.ExpertMask([1, 5], layer=3), lm.ExpertMask([0], keep=True)],
        biases=[lm.ExpertBias(np.zeros(4, np.float32))],
        top_k=3,
        router=Best(),
        router_layers=[0, 2],
    )
    assert options.describe() == (
        "router Best in layers 0, 2; top_k 3; off in layer 3: 1, 5; only in all layers: 0; "
        "bias in all layers"
    )
    assert lm.RoutingOptions().describe() == ""
    with pytest.raises(collegium.InvalidArgumentError, match=r"experts\[1\] is -1"):
        lm.RoutingOptions(masks=[lm.ExpertMask([0, -1])])
    with pytest.raises(collegium.InvalidArgumentError, match="top_k is -1"):
        lm.RoutingOptions(top_k=-1)
    with pytest.raises(TypeError, match="router is str"):
        lm.RoutingOptions(router="best")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "router",
    [
        lm.top_k_router(2, softmax_after=True, scale=2.0),
        lm.sigmoid_router(2, selection_bias=[0, 0, 0.5, 0]),
        lm.group_limited_router(2, groups=2, top_groups=1, score="sigmoid"),
        lm.sparse_mixer_router(),
        lm.top_p_router(0.5),
        lm.null_expert_router(3, null_experts=2),
        lm.width_router([1, 2, 3, 4], width_penalty=0.5),
        lm.autonomy_router(2),
        lm.expert_choice_router(2.0),
        lm.dense_router(),
        lm.random_router(2, seed=3),
    ],
    ids=lambda router: router.name,
)
def test_built_in_routers_give_experts_and_weights(router: _core.TokenRouter) -> None:
    norms = np.abs(LOGITS) if router.needs_activations else None
    ids, weights = router.route(HIDDEN, LOGITS, activation_norms=norms)
    assert ids.shape == weights.shape
    assert ((ids >= -1) & (ids < 4)).all()
    assert (ids >= 0).any()
    assert (weights[ids < 0] == 0).all()
    again, _ = router.route(HIDDEN, LOGITS, activation_norms=norms)
    np.testing.assert_array_equal(ids, again)


def test_refusals_of_built_in_routers_name_the_option() -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="top_k: 0"):
        lm.top_k_router(0)
    with pytest.raises(collegium.InvalidArgumentError, match="score: 'x', allowed are softmax"):
        lm.group_limited_router(2, groups=2, top_groups=1, score="x")
    with pytest.raises(collegium.InvalidArgumentError, match="top_k: 9, but the layer has 4"):
        route(lm.top_k_router(9))
    with pytest.raises(collegium.InvalidArgumentError, match="needs logits"):
        lm.top_k_router(1).route(HIDDEN, None, experts=4)
    with pytest.raises(collegium.InvalidArgumentError, match="no activation norms"):
        route(lm.autonomy_router(1))
    with pytest.raises(collegium.NotSupportedError, match="whole prompt"):
        route(lm.expert_choice_router(2.0), position=1)
    with pytest.raises(collegium.CorruptionError, match="router logit nan of expert id 0"):
        lm.top_k_router(1).route(HIDDEN, np.full((6, 4), np.nan, np.float32))
    with pytest.raises(collegium.InvalidArgumentError, match="logits has 5 rows, hidden 6"):
        lm.top_k_router(1).route(HIDDEN, LOGITS[:5])
    ids, weights = lm.dense_router().route(HIDDEN, None, experts=4)
    assert ids.shape == (6, 4)
    assert (weights == 0.25).all()


def test_an_empty_trace_is_saved_and_damage_is_told(tmp_path: Path) -> None:
    trace = lm.TokenTrace(logits=False)
    trace.save(tmp_path / "a.trace")
    loaded = lm.TokenTrace.load(tmp_path / "a.trace")
    assert len(loaded) == 0
    assert loaded.layers == []
    assert loaded.token_ids.shape == (0,)
    assert lm.expert_loads(loaded).shape == (0, 0)
    data = (tmp_path / "a.trace").read_bytes()
    (tmp_path / "b.trace").write_bytes(data[:-1])
    with pytest.raises(collegium.CorruptionError):
        lm.TokenTrace.load(tmp_path / "b.trace")
    with pytest.raises(collegium.NotFoundError):
        lm.TokenTrace.load(tmp_path / "c.trace")
