"""llama.cpp, through llama-cpp-python's functions of its C library: the peer of lm_speed.py.

    CXXFLAGS="-include $PWD/tools/gcc12_amx.h" pip install --no-binary :all: llama-cpp-python

compiles it for this machine (GGML_NATIVE is its default), with the header only where GCC compiles
it for AMX. Nothing but llama_decode and the choice of the largest logit is timed.

`Peer` has it in a process of its own, which imports nothing of ours: beside our thread pool in one
process two of its threads were as slow as one, and it takes it that nobody else configures AMX's
tiles in its threads.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import llama_cpp as llama
import numpy as np


@llama.llama_log_callback
def _silent(*_: object) -> None:
    pass


llama.llama_log_set(_silent, ctypes.c_void_p(0))
llama.llama_backend_init()


class Context:
    """A model with keys and values of up to `sequences`, together `tokens` of them."""

    def __init__(self, path: str, threads: int, sequences: int, tokens: int) -> None:
        model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
        if not model:
            raise SystemExit(f"llama.cpp does not load {path}")
        self.vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        settings = llama.llama_context_default_params()
        settings.n_ctx = tokens
        settings.n_batch = 2048
        settings.n_ubatch = 512
        settings.n_threads = settings.n_threads_batch = threads
        settings.n_seq_max = sequences
        settings.kv_unified = True
        self.context = llama.llama_init_from_model(model, settings)
        if not self.context:
            raise SystemExit("llama.cpp makes no context")

    def clear(self) -> None:
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def read(
        self, ids: Sequence[int], positions: Sequence[int], sequences: Sequence[int], last: bool
    ) -> None:
        """One pass; logits of every token, or of the `last` one alone."""
        batch = llama.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, (token, position, sequence) in enumerate(
            zip(ids, positions, sequences, strict=True)
        ):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = not last or i == len(ids) - 1
        code = llama.llama_decode(self.context, batch)
        llama.llama_batch_free(batch)
        if code != 0:
            raise SystemExit(f"llama_decode: {code}")

    def prefill(self, ids: Sequence[int], sequence: int = 0) -> None:
        self.read(ids, range(len(ids)), [sequence] * len(ids), last=True)

    def largest(self, row: int) -> int:
        logits = llama.llama_get_logits_ith(self.context, row)
        return int(np.ctypeslib.as_array(logits, shape=(self.vocab,)).argmax())

    def decode(self, first: Sequence[int], begin: int, steps: int) -> None:
        """Greedy tokens of as many sequences as `first` has, `steps` of each."""
        ids = list(first)
        rows = range(len(ids))
        for step in range(steps):
            self.read(ids, [begin + step] * len(ids), rows, last=False)
            ids = [self.largest(row) for row in rows]


_context: Context | None = None  # of the peer's process


def _start(path: str, threads: int, sequences: int, tokens: int) -> None:
    global _context
    _context = Context(path, threads, sequences, tokens)


def _prefill_seconds(ids: list[int]) -> float:
    assert _context is not None
    _context.clear()
    begin = time.perf_counter()
    _context.prefill(ids)
    return time.perf_counter() - begin


def _decode_seconds(prompts: list[list[int]], steps: int) -> float:
    assert _context is not None
    _context.clear()
    length = min(len(ids) for ids in prompts)
    for i, ids in enumerate(prompts):
        _context.prefill(ids[:length], i)
    begin = time.perf_counter()
    _context.decode([ids[0] for ids in prompts], length, steps)
    return time.perf_counter() - begin


class Peer:
    """Times, taken in the peer's own process."""

    def __init__(self, path: str, threads: int, sequences: int, tokens: int) -> None:
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self._process.submit(_start, path, threads, sequences, tokens).result()

    def prefill_seconds(self, ids: list[int]) -> float:
        return self._process.submit(_prefill_seconds, ids).result()

    def decode_seconds(self, prompts: list[list[int]], steps: int) -> float:
        """`steps` greedy tokens behind each prompt, cut to the shortest one's length."""
        return self._process.submit(_decode_seconds, prompts, steps).result()

    def close(self) -> None:
        self._process.shutdown()
