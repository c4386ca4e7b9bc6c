"""llama.cpp, through llama-cpp-python's functions of its C library: the peer of lm_speed.py.

    CXXFLAGS="-include $PWD/tools/gcc12_amx.h" pip install --no-binary :all: llama-cpp-python

compiles it for this machine (GGML_NATIVE is its default), with the header only where GCC compiles
it for AMX. Nothing but llama_decode and the choice of the largest logit is timed.

It runs in a thread of its own: llama.cpp configures AMX's tiles once a thread and takes it that
nobody else does, and ours are released after every product.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import llama_cpp as llama
import numpy as np


@llama.llama_log_callback
def _silent(*_: object) -> None:
    pass


llama.llama_log_set(_silent, ctypes.c_void_p(0))
llama.llama_backend_init()
_thread = ThreadPoolExecutor(1)


class Model:
    """Weights, which contexts of several thread counts share."""

    def __init__(self, path: str) -> None:
        self.model = llama.llama_model_load_from_file(
            path.encode(), llama.llama_model_default_params()
        )
        if not self.model:
            raise SystemExit(f"llama.cpp does not load {path}")
        self.vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))

    def close(self) -> None:
        llama.llama_model_free(self.model)


class Context:
    """Keys and values of up to `sequences`, together `tokens` of them."""

    def __init__(self, model: Model, threads: int, sequences: int, tokens: int) -> None:
        self.model = model
        settings = llama.llama_context_default_params()
        settings.n_ctx = tokens
        settings.n_batch = 2048
        settings.n_ubatch = 512
        settings.n_threads = settings.n_threads_batch = threads
        settings.n_seq_max = sequences
        settings.kv_unified = True
        self.context = llama.llama_init_from_model(model.model, settings)
        if not self.context:
            raise SystemExit("llama.cpp makes no context")

    def close(self) -> None:
        llama.llama_free(self.context)

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
        places = range(len(ids)), [sequence] * len(ids)
        _thread.submit(self.read, ids, *places, last=True).result()

    def largest(self, row: int) -> int:
        logits = llama.llama_get_logits_ith(self.context, row)
        return int(np.ctypeslib.as_array(logits, shape=(self.model.vocab,)).argmax())

    def decode(self, first: Sequence[int], begin: int, steps: int) -> None:
        """Greedy tokens of as many sequences as `first` has, `steps` of each."""
        _thread.submit(self._decode, first, begin, steps).result()

    def _decode(self, first: Sequence[int], begin: int, steps: int) -> None:
        ids = list(first)
        rows = range(len(ids))
        for step in range(steps):
            self.read(ids, [begin + step] * len(ids), rows, last=False)
            ids = [self.largest(row) for row in rows]
