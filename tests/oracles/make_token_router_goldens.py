"""Writes tests/data/token_router_goldens.json: what token routers make of logits.

"numpy" cases follow the papers in a few lines of float64 each, ties by id; their experts are in the
order chosen. "transformers" cases come from that library's own router modules, whose gate is given
the identity as its weight, so that their logits are their input; sorted by id.

    python tests/oracles/make_token_router_goldens.py

Needs numpy, torch, transformers==5.23.0.
"""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.models.deepseek_v2 import modeling_deepseek_v2 as deepseek_v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek_v3
from transformers.models.granitemoe import modeling_granitemoe as granite
from transformers.models.mixtral import modeling_mixtral as mixtral
from transformers.models.olmoe import modeling_olmoe as olmoe
from transformers.models.phimoe import modeling_phimoe as phimoe
from transformers.models.qwen2_moe import modeling_qwen2_moe as qwen2
from transformers.models.qwen3_moe import modeling_qwen3_moe as qwen3

OUTPUT = Path(__file__).resolve().parent.parent / "data/token_router_goldens.json"
Pairs = list[tuple[int, float]]  # of one token: expert id, weight


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def order(scores: np.ndarray) -> np.ndarray:
    """Best first, ties by id."""
    return np.argsort(-scores, kind="stable")


def f32(x: float) -> float:
    """An option as the C++ holds it."""
    return float(np.float32(x))


def weigh(ids: np.ndarray, scores: np.ndarray, o: dict[str, Any]) -> Pairs:
    w = scores[ids]
    if o.get("renormalize"):
        w = w / w.sum()
    return [(int(i), float(x)) for i, x in zip(ids, w * f32(o.get("scale", 1)), strict=True)]


def top_k(x: np.ndarray, o: dict[str, Any]) -> list[Pairs]:
    out = []
    for row in x:
        ids = order(row)[: o["top_k"]]
        if o.get("softmax_after"):
            w = softmax(row[ids]) * f32(o.get("scale", 1))
            out.append([(int(i), float(p)) for i, p in zip(ids, w, strict=True)])
        else:
            out.append(weigh(ids, softmax(row), o))
    return out


def with_bias(scores: np.ndarray, o: dict[str, Any]) -> np.ndarray:
    return scores + np.float32(o["selection_bias"]) if "selection_bias" in o else scores


def sigmoid_router(x: np.ndarray, o: dict[str, Any]) -> list[Pairs]:
    return [weigh(order(with_bias(sigmoid(row), o))[: o["top_k"]], sigmoid(row), o) for row in x]


def group_limited(x: np.ndarray, o: dict[str, Any]) -> list[Pairs]:
    out = []
    for row in x:
        scores = softmax(row) if o["score"] == "softmax" else sigmoid(row)
        choice = with_bias(scores, o)
        groups = np.sort(choice.reshape(o["groups"], -1), axis=1)[:, ::-1]
        worth = groups[:, 0] if o["group_score"] == "maximum" else groups[:, :2].sum(1)
        best = order(worth)[: o["top_groups"]]
        size = len(row) // o["groups"]
        inside = np.isin(np.arange(len(row)) // size, best)
        out.append(weigh(order(np.where(inside, choice, -np.inf))[: o["top_k"]], scores, o))
    return out


def sparse_mixer(x: np.ndarray, o: dict[str, Any]) -> list[Pairs]:
    out = []
    for row in x:
        pairs: Pairs = []
        left = row.copy()
        for _ in range(2):
            best = left.max()
            with np.errstate(all="ignore"):
                far = (best - row) / np.maximum(abs(row), best) > 2 * f32(o["jitter_eps"])
            i = int(left.argmax())
            pairs.append((i, float(softmax(np.where(far, -np.inf, left))[i])))
            left[i] = -np.inf
        out.append(pairs)
    return out


def reach(probabilities: np.ndarray, p: float) -> int:
    """How many it takes, in this order, to reach p."""
    return int(np.argmax(np.append(np.cumsum(probabilities) >= p, True))) + 1


def top_p(x: np.ndarray, o: dict[str, Any]) -> list[Pairs]:
    out = []
    for row in x:
        probabilities = softmax(row)
        ids = order(row)[: o.get("max_experts", len(row))]
        out.append(weigh(ids[: reach(probabilities[ids], f32(o["top_p"]))], probabilities, o))
    return out


def null_experts(x: np.ndarray, o: dict[str, Any]) -> list[Pairs]:
    out = []
    for row in x:
        experts = o.get("experts", len(row))
        if len(row) == experts:
            row = np.append(row, [f32(o["null_logit"])] * o["null_experts"])
        ids = order(row)[: o["top_k"]]
        out.append(weigh(ids[ids < experts], softmax(row), o))
    return out


def width(x: np.ndarray, o: dict[str, Any]) -> list[Pairs]:
    out = []
    widths = np.array(o["widths"], float)
    for row in x:
        probabilities = softmax(row)
        ids = order(row - f32(o["width_penalty"]) * (widths / widths.mean()))
        n = reach(probabilities[ids], f32(o["top_p"])) if o.get("top_p") else o["top_k"]
        out.append(weigh(ids[:n], probabilities, o))
    return out


def autonomy(norms: np.ndarray, o: dict[str, Any]) -> list[Pairs]:
    return top_k(norms, o)


def expert_choice(x: np.ndarray, o: dict[str, Any]) -> list[Pairs]:
    scores = softmax(x)
    tokens, experts = x.shape
    capacity = min(tokens, math.ceil(tokens * f32(o["experts_per_token"]) / experts))
    taken = np.zeros(x.shape, bool)
    for e in range(experts):
        taken[order(scores[:, e])[:capacity], e] = True
    return [
        weigh(order(np.where(t, s, -1))[: t.sum()], s, {})
        for t, s in zip(taken, scores, strict=True)
    ]


def dense(x: np.ndarray, o: dict[str, Any]) -> list[Pairs]:
    return [weigh(order(row), softmax(row), o) for row in x]


RULES = {
    "top_k": top_k,
    "sigmoid": sigmoid_router,
    "group_limited": group_limited,
    "sparse_mixer": sparse_mixer,
    "top_p": top_p,
    "null_experts": null_experts,
    "width": width,
    "autonomy": autonomy,
    "expert_choice": expert_choice,
    "dense": dense,
}


def make_logits() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    normal = rng.normal(size=(9, 16))
    flood = rng.normal(size=(9, 16))
    flood[:, 5] += 60
    sets = {
        "normal": normal * 2,
        "flat": normal * 1e-3,
        "spread": normal * 40,
        "ties": np.round(normal),
        "equal": np.full((5, 16), 1.25),
        "zero": np.zeros((3, 16)),
        "flood": flood,
        "negative": -abs(normal) * 5,
        "one-token": rng.normal(size=(1, 16)),
    }
    return {name: x.astype(np.float32) for name, x in sets.items()}


def numpy_cases() -> list[tuple[str, dict[str, Any]]]:
    rng = np.random.default_rng(11)
    bias = [round(float(x), 3) for x in rng.normal(size=16) * 0.3]
    groups = {"groups": 4, "top_groups": 2, "top_k": 5}
    widths = [64 * (1 + i % 5) for i in range(16)]
    return [
        ("top_k", {"top_k": 1}),
        ("top_k", {"top_k": 3, "scale": 2.5}),
        ("top_k", {"top_k": 4, "renormalize": True}),
        ("top_k", {"top_k": 3, "softmax_after": True, "scale": 0.75}),
        ("top_k", {"top_k": 16, "renormalize": True}),
        ("sigmoid", {"top_k": 3, "renormalize": False}),
        ("sigmoid", {"top_k": 4, "renormalize": True, "scale": 2.5, "selection_bias": bias}),
        ("group_limited", {**groups, "score": "softmax", "group_score": "maximum", "scale": 16.0}),
        (
            "group_limited",
            {**groups, "score": "softmax", "group_score": "maximum", "renormalize": True},
        ),
        (
            "group_limited",
            {
                **groups,
                "score": "sigmoid",
                "group_score": "sum_of_top_two",
                "renormalize": True,
                "scale": 2.5,
                "selection_bias": bias,
            },
        ),
        ("group_limited", {**groups, "score": "sigmoid", "group_score": "sum_of_top_two"}),
        ("sparse_mixer", {"jitter_eps": 0.01}),
        ("sparse_mixer", {"jitter_eps": 0.3}),
        ("top_p", {"top_p": 0.4}),
        ("top_p", {"top_p": 0.9, "renormalize": True}),
        ("top_p", {"top_p": 0.75, "max_experts": 3}),
        ("null_experts", {"top_k": 4, "null_experts": 8, "null_logit": 0.0, "renormalize": True}),
        ("null_experts", {"top_k": 4, "null_experts": 3, "null_logit": 0.5, "renormalize": False}),
        # The gate scores the null experts itself: 12 true, 4 null.
        ("null_experts", {"top_k": 5, "experts": 12, "renormalize": True}),
        ("width", {"widths": widths, "top_k": 3, "width_penalty": 0.0}),
        ("width", {"widths": widths, "top_k": 3, "width_penalty": 1.5, "renormalize": True}),
        ("width", {"widths": widths, "top_p": 0.6, "width_penalty": 0.5}),
        ("autonomy", {"top_k": 3, "softmax_after": True}),
        ("autonomy", {"top_k": 2, "softmax_after": False}),
        ("expert_choice", {"experts_per_token": 2.0}),
        ("expert_choice", {"experts_per_token": 0.5}),
        ("expert_choice", {"experts_per_token": 16.0}),
        ("dense", {}),
    ]


def route_with_transformers(router: Any, x: np.ndarray) -> list[Pairs]:
    with torch.no_grad():
        router.eval()
        router.weight.copy_(torch.eye(x.shape[1]))
        logits, weights, ids = router(torch.from_numpy(x))
    assert torch.equal(logits, torch.from_numpy(x))
    rows = zip(ids.tolist(), weights.tolist(), strict=True)
    return [sorted(zip(i, w, strict=True)) for i, w in rows]


class Config:
    def __init__(self, **fields: Any) -> None:
        self.hidden_size = self.num_experts = self.num_local_experts = 16
        self.__dict__.update(fields)


def transformers_cases() -> list[tuple[str, Any, str, dict[str, Any]]]:
    """Name, router module, our router and its options."""
    cases: list[tuple[str, Any, str, dict[str, Any]]] = []

    def add(name: str, module: Any, router: str, **options: Any) -> None:
        cases.append((name, module, router, options))

    config = Config(num_experts_per_tok=2)
    add("Mixtral", mixtral.MixtralTopKRouter(config), "top_k", top_k=2, renormalize=True)
    for name, module in (
        ("Qwen2-MoE", qwen2.Qwen2MoeTopKRouter),
        ("Qwen3-MoE", qwen3.Qwen3MoeTopKRouter),
        ("OLMoE", olmoe.OlmoeTopKRouter),
    ):
        for norm in (False, True):
            config = Config(num_experts_per_tok=4, norm_topk_prob=norm)
            add(name, module(config), "top_k", top_k=4, renormalize=norm)
    config = Config(num_experts_per_tok=3)
    add("Granite-MoE", granite.GraniteMoeTopKRouter(config), "top_k", top_k=3, softmax_after=True)
    config = Config(num_experts_per_tok=2, router_jitter_noise=0.01, input_jitter_noise=0.0)
    add("Phi-MoE", phimoe.PhimoeTopKRouter(config), "sparse_mixer", jitter_eps=0.01)

    groups: dict[str, Any] = {"groups": 4, "top_groups": 2, "top_k": 5}
    fields: dict[str, Any] = {"n_group": 4, "topk_group": 2, "num_experts_per_tok": 5}
    config = Config(**fields, topk_method="greedy", routed_scaling_factor=1.0)
    add("DeepSeek-V2-Lite", deepseek_v2.DeepseekV2TopkRouter(config), "top_k", top_k=5)
    config = Config(**fields, topk_method="group_limited_greedy", routed_scaling_factor=16.0)
    add(
        "DeepSeek-V2",
        deepseek_v2.DeepseekV2TopkRouter(config),
        "group_limited",
        **groups,
        score="softmax",
        group_score="maximum",
        scale=16.0,
    )
    bias = [round(float(b), 3) for b in np.random.default_rng(5).normal(size=16) * 0.3]
    for norm in (True, False):
        config = Config(**fields, routed_scaling_factor=2.5, norm_topk_prob=norm)
        v3 = deepseek_v3.DeepseekV3TopkRouter(config)
        v3.e_score_correction_bias.copy_(torch.tensor(bias))
        add(
            "DeepSeek-V3",
            v3,
            "group_limited",
            **groups,
            score="sigmoid",
            group_score="sum_of_top_two",
            renormalize=norm,
            scale=2.5,
            selection_bias=bias,
        )
    # One group of all: the bias alone decides.
    config = Config(
        n_group=1,
        topk_group=1,
        num_experts_per_tok=4,
        routed_scaling_factor=1.0,
        norm_topk_prob=True,
    )
    v3 = deepseek_v3.DeepseekV3TopkRouter(config)
    v3.e_score_correction_bias.copy_(torch.tensor(bias))
    add("DeepSeek-V3, one group", v3, "sigmoid", top_k=4, renormalize=True, selection_bias=bias)
    return cases


def main() -> None:
    if version("transformers") != "5.23.0":
        raise SystemExit("transformers==5.23.0 is pinned")
    logits = make_logits()
    cases = []
    for router, options in numpy_cases():
        for name, x in logits.items():
            values = abs(x) if router == "autonomy" else x
            experts = RULES[router](values.astype(np.float64), options)
            row = {"reference": "numpy", "router": router, "options": options, "logits": name}
            cases.append(row | {"experts": experts})
    # Without ties, which torch breaks in no stated order.
    wide = (np.random.default_rng(3).normal(size=(40, 16)) * 2).astype(np.float32)
    logits["wide"] = wide
    for reference, module, router, options in transformers_cases():
        row = {"reference": reference, "router": router, "options": options, "logits": "wide"}
        cases.append(row | {"experts": route_with_transformers(module, wide)})
    head = {
        "made_by": "tests/oracles/make_token_router_goldens.py",
        "transformers": version("transformers"),
        "torch": torch.__version__,
        "logits": {name: x.tolist() for name, x in logits.items()},
    }
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    text = json.dumps(head | {"cases": []}, separators=(",", ":"))
    OUTPUT.write_text(text.replace('"cases":[]', '"cases":[\n' + lines + "\n]") + "\n")
    print(OUTPUT.name, len(cases), "cases,", OUTPUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
