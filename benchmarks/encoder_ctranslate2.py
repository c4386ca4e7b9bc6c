"""CTranslate2 for encoder_speed.py; as a script, a process with the backend that is not its default.

CTranslate2 chooses between MKL and oneDNN once in a process, so the other one needs a process of
its own. It does nothing but answer its parent, round by round; the way through the pipe and back
(below 0.1 ms) counts as its time.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Call = Callable[[], Vectors]


def mean_vectors(hidden: Vectors) -> Vectors:
    """Pooling of a batch without padding, for engines that stop at the last layer."""
    pooled: Vectors = hidden.mean(axis=1)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    return pooled


def load(model: str, compute: str, threads: int) -> Any:
    import ctranslate2

    return ctranslate2.Encoder(
        model,
        device="cpu",
        compute_type={"fp32": "float32", "int8": "int8"}[compute],
        intra_threads=threads,
        inter_threads=1,
    )


def bind(encoder: Any, ids: npt.NDArray[np.int64]) -> Call:
    from ctranslate2 import StorageView

    rows, lengths = ids.astype(np.int32), np.full(len(ids), ids.shape[1], np.int32)

    def call() -> Vectors:
        output = encoder.forward_batch(
            StorageView.from_array(rows), lengths=StorageView.from_array(lengths)
        )
        return mean_vectors(np.asarray(output.last_hidden_state))

    return call


def other_backend() -> tuple[str, str]:
    """The backend that is not the default here, and the CT2_USE_MKL that chooses it."""
    intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return ("oneDNN", "0") if intel else ("MKL", "1")


class Worker:
    """The parent's side."""

    def __init__(self, model: str, compute: str, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, model, compute, str(threads)],
            env={**os.environ, "CT2_USE_MKL": other_backend()[1]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.batches = 0
        self.ask("ready")

    def ask(self, question: object) -> Any:
        """A batch to keep, the number of one to encode, or "ready"."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the process has no pipes")
        pickle.dump(question, self.process.stdin, protocol=5)
        self.process.stdin.flush()
        try:
            return pickle.load(self.process.stdout)
        except EOFError:
            raise RuntimeError("the process with the other backend ended") from None

    def bind(self, ids: npt.NDArray[np.int64]) -> Call:
        number = self.batches
        self.batches += 1
        self.ask(ids)
        return lambda: self.ask(number)

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


def serve(model: str, compute: str, threads: str) -> None:
    # Whatever a library prints shall not go between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    encoder = load(model, compute, int(threads))
    calls: list[Call] = []
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: object = None
        if isinstance(question, int):
            answer = calls[question]()
        elif isinstance(question, np.ndarray):
            calls.append(bind(encoder, question))
        pickle.dump(answer, answers, protocol=5)
        answers.flush()


if __name__ == "__main__":
    serve(*sys.argv[1:])
