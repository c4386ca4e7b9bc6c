"""Token routing of a whole model: a tiny random OLMoE, 8 experts in each of two layers, 3 a token."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import collegium
from collegium import lm

MODEL = Path(__file__).resolve().parent.parent / "data/gguf_models/olmoe.gguf"
PROMPT = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def model() -> lm.LanguageModel:
    return lm.load(MODEL)


class Best3(lm.TokenRouter):
    """The model's own rule in numpy: softmax over all, the best three."""

    def route(self, hidden: Any, logits: Any, layer: int, position: int) -> tuple[Any, Any]:
        weights = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        ids = np.argsort(-logits, axis=1, kind="stable")[:, :3]
        return ids, np.take_along_axis(weights, ids, axis=1)


def test_a_python_router_with_the_models_rule_changes_nothing(model: lm.LanguageModel) -> None:
    plain = model.generate(PROMPT, max_new_tokens=8, trace=True)
    routed = model.generate(
        PROMPT, max_new_tokens=8, trace=True, routing=lm.RoutingOptions(router=Best3())
    )
    assert routed.ids == plain.ids
    assert plain.routing == ""
    assert routed.routing == "router Best3"
    assert plain.trace is not None
    assert routed.trace is not None
    assert routed.trace.routing == "router Best3"
    assert routed.trace.model == model.digest
    for a, b in zip(plain.trace.layers, routed.trace.layers, strict=True):
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_allclose(a.weights, b.weights, rtol=1e-6)


def test_a_trace_is_numpy_and_agrees_with_itself(model: lm.LanguageModel, tmp_path: Path) -> None:
    plain = model.generate(PROMPT, max_new_tokens=8)
    traced = model.generate(PROMPT, max_new_tokens=8, trace=True)
    assert traced.ids == plain.ids
    assert plain.trace is None
    trace = traced.trace
    assert trace is not None
    assert trace.token_ids[: traced.prompt_tokens].tolist() == model.tokenizer.encode(PROMPT).ids
    assert [layer.layer for layer in trace.layers] == [0, 1]
    for layer in trace.layers:
        assert layer.logits is not None
        assert layer.logits.shape == (len(trace), 8)
        # What numpy makes of the logits is what was chosen.
        ids, weights = Best3().route(None, layer.logits, 0, 0)
        np.testing.assert_array_equal(layer.ids.reshape(-1, 3), ids)
        np.testing.assert_allclose(layer.weights.reshape(-1, 3), weights, rtol=1e-5)
        assert layer.output_norms is not None
        assert (layer.output_norms > 0).all()
        with pytest.raises(ValueError, match="read-only"):
            layer.ids[0] = 1
    assert (lm.expert_loads(trace).sum(1) == 3 * len(trace)).all()
    trace.save(tmp_path / "a.trace")
    loaded = lm.TokenTrace.load(tmp_path / "a.trace")
    np.testing.assert_array_equal(loaded.token_ids, trace.token_ids)
    for a, b in zip(trace.layers, loaded.layers, strict=True):
        for column in ("offsets", "ids", "weights", "output_norms", "logits"):
            np.testing.assert_array_equal(getattr(a, column), getattr(b, column))


def test_masks_biases_and_top_k_belong_to_a_request(model: lm.LanguageModel) -> None:
    plain = model.generate(PROMPT, max_new_tokens=4, trace=True)
    options = lm.RoutingOptions(
        masks=[lm.ExpertMask([0, 1], layer=1)],
        biases=[lm.ExpertBias([0, 0, 0, 0, 0, 100.0, 0, 0], layer=0)],
        top_k=2,
    )
    changed = model.generate(PROMPT, max_new_tokens=4, trace=True, routing=options)
    assert changed.routing == options.describe()
    assert changed.trace is not None
    first, second = changed.trace.layers
    assert len(first.ids) == 2 * len(changed.trace)
    assert (first.ids.reshape(-1, 2)[:, 0] == 5).all()
    assert not np.isin(second.ids, [0, 1]).any()
    assert second.logits is not None
    assert np.isneginf(second.logits[:, :2]).all()
    assert model.generate(PROMPT, max_new_tokens=4).ids == plain.ids


@pytest.mark.parametrize("bad_layer", [0, 1])
def test_a_router_that_fails_ends_the_call_and_the_model_goes_on(
    model: lm.LanguageModel, bad_layer: int
) -> None:
    plain = model.generate(PROMPT, max_new_tokens=6)

    class Fails(Best3):
        def route(self, hidden: Any, logits: Any, layer: int, position: int) -> tuple[Any, Any]:
            if layer == bad_layer and position + len(hidden) > 8:
                raise ValueError("no more")
            return super().route(hidden, logits, layer, position)

    class Nonsense(Best3):
        def route(self, hidden: Any, logits: Any, layer: int, position: int) -> tuple[Any, Any]:
            ids, weights = super().route(hidden, logits, layer, position)
            return ids + (9 if layer == bad_layer else 0), weights

    made: list[tuple[type[Best3], str]] = [
        (Fails, f"token router Fails, layer {bad_layer}.*raised ValueError: no more"),
        (Nonsense, f"token router Nonsense, layer {bad_layer}.*expert id .*, allowed are 0 to 7"),
    ]
    for kind, message in made:
        router = kind()
        gone = weakref.ref(router)
        options = lm.RoutingOptions(router=router)
        for _ in range(3):
            with pytest.raises(collegium.InvalidArgumentError, match=message):
                model.generate(PROMPT, max_new_tokens=6, routing=options)
            assert model.generate(PROMPT, max_new_tokens=6).ids == plain.ids
        with pytest.raises(collegium.InvalidArgumentError, match=message):
            model.score([PROMPT, PROMPT * 3], routing=options)
        del router, options
        gc.collect()
        assert gone() is None  # neither calls nor errors keep it


def test_a_python_router_with_a_state_follows_its_sequence(model: lm.LanguageModel) -> None:
    seen: dict[int, list[int]] = {0: [], 1: []}

    class Remembers(Best3):
        def make_state(self, layer: int) -> Any:
            return {"next": 0}

        def route(self, hidden: Any, logits: Any, layer: int, position: int, *state: Any) -> Any:
            assert state[0]["next"] == position
            state[0]["next"] = position + len(hidden)
            seen[layer].append(len(hidden))
            return super().route(hidden, logits, layer, position)

    options = lm.RoutingOptions(router=Remembers())
    plain = model.generate(PROMPT, max_new_tokens=6)
    for _ in range(2):  # a new state for each call
        assert model.generate(PROMPT, max_new_tokens=6, routing=options).ids == plain.ids
    assert seen[0] == seen[1]


def test_every_built_in_router_generates(model: lm.LanguageModel) -> None:
    for router in (
        lm.top_k_router(1),
        lm.sigmoid_router(2, selection_bias=[0.1] * 8),
        lm.group_limited_router(2, groups=4, top_groups=2),
        lm.sparse_mixer_router(),
        lm.top_p_router(0.5),
        lm.null_expert_router(4, null_experts=4),
        lm.width_router([32] * 8),
        lm.autonomy_router(2),
        lm.dense_router(),
        lm.random_router(2),
    ):
        options = lm.RoutingOptions(router=router)
        first = model.generate(PROMPT, max_new_tokens=5, routing=options)
        assert model.generate(PROMPT, max_new_tokens=5, routing=options).ids == first.ids
        assert first.routing == f"router {router.name}"


def test_expert_choice_refuses_what_it_cannot_do(model: lm.LanguageModel) -> None:
    options = lm.RoutingOptions(router=lm.expert_choice_router(3.0))
    with pytest.raises(collegium.NotSupportedError, match="looks at a whole prompt"):
        model.generate(PROMPT, max_new_tokens=5, routing=options)
    one = model.generate(PROMPT, max_new_tokens=1, routing=options, trace=True)
    assert one.trace is not None
    for load in lm.expert_loads(one.trace):
        assert (load == -(-len(one.trace) * 3 // 8)).all()  # every expert the same


def test_the_examples_of_the_docs_run(
    model: lm.LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).resolve().parents[2] / "docs/language-models.md"
    section = page.read_text(encoding="utf-8").split("\n## Token routing\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"model": model, "prompt": PROMPT}
    for block in blocks:
        exec(block, names)
        if "SecondBest" in block:
            answer = model.generate(PROMPT, max_new_tokens=3, routing=names["options"], trace=True)
            assert answer.trace is not None
            for layer in answer.trace.layers:
                assert layer.logits is not None
                assert not (layer.ids.reshape(-1, 2) == layer.logits.argmax(1)[:, None]).any()
    assert names["answer"].routing.startswith("top_k 1; off in layer 0: 3, 5")
    assert names["first"].shape == (3,)
