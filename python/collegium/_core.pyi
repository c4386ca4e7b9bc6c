"""Types of the compiled module. A test compares this file with the binary, name by name."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__version__: str

_Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Progress = Callable[[str, int, int], bool | None] | None
_OnToken = Callable[[str], bool | None] | None

# core: threads, instruction sets, text

def isa() -> str:
    """The instruction set level in use: "scalar", "avx2", "avx512", ..."""

def available_isas() -> list[str]:
    """Every level this machine can run, lowest first."""

def num_threads() -> int:
    """Threads that long calls use, the caller's included."""

def set_num_threads(num_threads: int) -> None:
    """Changes that number; 0 is one a core, more than 1024 become 1024. Waits for work under way."""

class Encoding:
    @property
    def ids(self) -> list[int]: ...
    @property
    def offsets(self) -> list[tuple[int, int]]: ...
    @property
    def type_ids(self) -> list[int]:
        """The segment of each id; empty where all are 0."""
    @property
    def truncated(self) -> bool: ...
    def __len__(self) -> int: ...

class Tokenizer:
    def encode(
        self, text: str, *, add_special_tokens: bool = True, max_tokens: int = 0
    ) -> Encoding: ...
    def encode_pair(
        self, first: str, second: str, *, add_special_tokens: bool = True, max_tokens: int = 0
    ) -> Encoding: ...
    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    def token_id(self, token: str) -> int | None: ...
    def token(self, id: int) -> str: ...
    @property
    def digest(self) -> str: ...

def load_tokenizer(folder: _Path) -> Tokenizer:
    """That of a Hugging Face folder: ``tokenizer.json``, else ``vocab.txt``."""

def load_tokenizer_json(path: _Path) -> Tokenizer:
    """A ``tokenizer.json``: WordPiece, byte-level BPE or Unigram, equal to ``tokenizers``."""

def load_wordpiece(folder: _Path) -> Tokenizer:
    """BERT WordPiece from the ``vocab.txt`` of a Hugging Face folder."""

def load_sentencepiece(path: _Path) -> Tokenizer:
    """A SentencePiece ``.model`` (unigram or BPE)."""

def load_byte_level_bpe(gguf_path: _Path) -> Tokenizer:
    """Byte-level BPE from the metadata of a GGUF file; its weights are not read."""

class PassageSpan:
    @property
    def bytes(self) -> tuple[int, int]: ...
    @property
    def section(self) -> str: ...

def split_passages(
    title: str, text: str, tokenizer: Tokenizer, *, max_tokens: int = 256
) -> list[PassageSpan]: ...
def split_sentences(text: str) -> list[tuple[int, int]]: ...

# core: experts

class Encoder:
    @staticmethod
    def load(
        folder: _Path,
        *,
        truncate_dim: int = 0,
        compute: str = "auto",
        fp32_layers: Sequence[int] = (),
    ) -> Encoder: ...
    @property
    def compute(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def token_dim(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def digest(self) -> str: ...
    @property
    def folder(self) -> str: ...
    @property
    def files(self) -> list[str]: ...
    def convert(self, folder: _Path) -> None: ...
    def flops(self, tokens: int) -> float: ...
    def encode(
        self, texts: Sequence[str], *, kind: str = "document", progress: _Progress = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.bool_]]: ...
    def token_vectors(self, text: str, *, kind: str = "document") -> npt.NDArray[np.float32]: ...

class HeadAdapterOptions:
    def __init__(
        self,
        *,
        temperature: float = 0.05,
        max_negatives: int = 50000,
        batch_size: int = 128,
        max_epochs: int = 8,
        learning_rate: float = 0.002,
        identity_decay: float = 0.0,
        seed: int = 1,
        loss: str = "infonce",
        ranks: Sequence[int] = (0,),
        pools: Sequence[str] = ("whole", "paired"),
        mined_negatives: int = 50,
        false_negative_margin: float = 0.0,
        enough_dev: int = 150,
        patience: int = 3,
    ) -> None: ...
    @property
    def temperature(self) -> float: ...
    @property
    def max_negatives(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def max_epochs(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def identity_decay(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def loss(self) -> str: ...
    @property
    def ranks(self) -> tuple[int, ...]: ...
    @property
    def pools(self) -> tuple[str, ...]: ...
    @property
    def mined_negatives(self) -> int: ...
    @property
    def false_negative_margin(self) -> float: ...
    @property
    def enough_dev(self) -> int: ...
    @property
    def patience(self) -> int: ...

class HeadAdapter:
    @staticmethod
    def identity(dim: int) -> HeadAdapter: ...
    @staticmethod
    def create(weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> HeadAdapter: ...
    @staticmethod
    def create_low_rank(
        down: npt.NDArray[np.float32], up: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
    ) -> HeadAdapter:
        """W = I + up @ down, kept as its factors: down (rank, dim), up (dim, rank)."""
    @staticmethod
    def merge(adapters: Sequence[HeadAdapter], weights: Sequence[float]) -> HeadAdapter:
        """One map of several by weight; what the weights lack to one is the identity's."""
    @staticmethod
    def load(path: _Path) -> HeadAdapter: ...
    def save(self, path: _Path) -> None: ...
    @property
    def dim(self) -> int: ...
    @property
    def rank(self) -> int:
        """Of the factors; 0: the weight is kept whole."""
    @property
    def weight(self) -> npt.NDArray[np.float32]: ...
    @property
    def bias(self) -> npt.NDArray[np.float32]: ...
    def apply(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]: ...
    def interpolated(self, strength: float) -> HeadAdapter: ...
    @property
    def digest(self) -> str: ...

class LoraAdapter:
    @staticmethod
    def load(folder: _Path, encoder: Encoder) -> LoraAdapter: ...
    @property
    def rank(self) -> int: ...
    @property
    def modules(self) -> list[str]: ...
    @property
    def first_layer(self) -> int: ...
    @property
    def encoder_digest(self) -> str: ...
    @property
    def digest(self) -> str: ...

class ExpertSet:
    def __init__(self, encoder: Encoder) -> None: ...
    def names(self) -> list[str]: ...
    def set_lora(self, name: str, lora: LoraAdapter) -> None: ...
    def set_head(self, name: str, head: HeadAdapter) -> None: ...
    def set_encoder(self, name: str, encoder: Encoder) -> None: ...
    def remove(self, name: str) -> None: ...
    def encode(
        self,
        texts: Sequence[str],
        experts: Sequence[str],
        *,
        kind: str = "document",
        progress: _Progress = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.bool_]]: ...
    def encode_under(
        self,
        texts: Sequence[str],
        experts: Sequence[str],
        *,
        kind: str = "document",
        progress: _Progress = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.bool_]]: ...

class NdcgGain:
    @property
    def queries(self) -> int: ...
    @property
    def plain(self) -> float: ...
    @property
    def adapted(self) -> float: ...

class TrainedHeadAdapter:
    @property
    def adapter(self) -> HeadAdapter: ...
    @property
    def strength(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def dev_ndcg_plain(self) -> float: ...
    @property
    def dev_ndcg(self) -> float: ...
    @property
    def loss(self) -> list[float]: ...
    @property
    def rank(self) -> int: ...
    @property
    def pool(self) -> str: ...
    @property
    def curve(self) -> list[float]: ...
    @property
    def chosen_on(self) -> NdcgGain: ...
    @property
    def standard_error(self) -> float: ...
    @property
    def dev_paired(self) -> NdcgGain: ...
    @property
    def dev_unpaired(self) -> NdcgGain: ...

def train_head_adapter(
    passages: npt.NDArray[np.float32],
    row_document: npt.NDArray[np.uint32],
    train_queries: npt.NDArray[np.float32],
    train_positives: Sequence[Sequence[int]],
    dev_queries: npt.NDArray[np.float32],
    dev_positives: Sequence[Sequence[int]],
    *,
    hard: Sequence[Sequence[int]] = (),
    teacher: Sequence[Sequence[float]] = (),
    options: HeadAdapterOptions,
    progress: _Progress = None,
) -> TrainedHeadAdapter: ...

# core: language models

class LmLora:
    @property
    def rank(self) -> int: ...
    @property
    def modules(self) -> list[str]:
        """What it adapts: "layers.0.self_attn.q_proj", ..."""
    @property
    def base_digest(self) -> str:
        """Of the model it was loaded for."""

class GenerateOptions:
    def __init__(
        self,
        *,
        max_new_tokens: int = 128,
        add_special_tokens: bool = True,
        enable_thinking: bool = True,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        typical_p: float = 1.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        seed: int = 1,
        stop: Sequence[str] = (),
        stop_ids: Sequence[int] = (),
        log_probabilities: bool = False,
        alternatives: int = 0,
        prompt_lookup: int = 0,
        draft: Any = None,
        draft_tokens: int = 4,
        lora: LmLora | None = None,
        routing: Any = None,
        trace: bool = False,
        max_memory_bytes: int = 0,
    ) -> None: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def add_special_tokens(self) -> bool: ...
    @property
    def enable_thinking(self) -> bool: ...
    @property
    def temperature(self) -> float: ...
    @property
    def top_k(self) -> int: ...
    @property
    def top_p(self) -> float: ...
    @property
    def min_p(self) -> float: ...
    @property
    def typical_p(self) -> float: ...
    @property
    def repetition_penalty(self) -> float: ...
    @property
    def presence_penalty(self) -> float: ...
    @property
    def frequency_penalty(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def stop(self) -> list[str]: ...
    @property
    def stop_ids(self) -> list[int]: ...
    @property
    def log_probabilities(self) -> bool: ...
    @property
    def alternatives(self) -> int: ...
    @property
    def prompt_lookup(self) -> int: ...
    @property
    def draft(self) -> LanguageModel | None: ...
    @property
    def draft_tokens(self) -> int: ...
    @property
    def lora(self) -> LmLora | None: ...
    @property
    def routing(self) -> RoutingOptions: ...
    @property
    def trace(self) -> bool: ...
    @property
    def max_memory_bytes(self) -> int: ...

class Generation:
    @property
    def text(self) -> str: ...
    @property
    def ids(self) -> list[int]:
        """New tokens, without the one that ended it, with those of a stop string."""
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def shared_tokens(self) -> int:
        """Of the prompt, those that another request with the same beginning had read."""
    @property
    def guessed_tokens(self) -> int:
        """Tokens that ``prompt_lookup`` and ``draft`` guessed."""
    @property
    def accepted_tokens(self) -> int:
        """Of the guessed tokens, those that were right."""
    @property
    def finish_reason(self) -> str:
        """Why it ended: "end", "stop", "length", "context", "cancelled"."""
    @property
    def stopped(self) -> bool:
        """It ended by itself: "end" or "stop"."""
    @property
    def stop(self) -> str:
        """The stop string that came; "" if none did."""
    @property
    def log_probabilities(self) -> npt.NDArray[np.float32]:
        """(len(ids),), natural logarithms; (0,) unless asked for."""
    @property
    def alternatives(self) -> list[list[tuple[int, float]]]:
        """Of each id's place the most likely tokens with their log-probabilities, best first."""
    @property
    def trace(self) -> TokenTrace | None: ...
    @property
    def routing(self) -> str:
        """What the request changed of the model's routing; "" if nothing."""
    @property
    def flops(self) -> float: ...
    def _repr_html_(self) -> str: ...

class Score:
    @property
    def log_probability(self) -> float:
        """Natural logarithm, of all counted tokens together."""
    @property
    def tokens(self) -> int:
        """Counted: all but a text's first."""
    @property
    def windows(self) -> int: ...
    @property
    def mean_log_probability(self) -> float: ...
    @property
    def perplexity(self) -> float: ...
    @property
    def ids(self) -> list[int]: ...
    @property
    def log_probabilities(self) -> npt.NDArray[np.float32]:
        """Of the last ``tokens`` of ``ids``, where asked for."""

def sum_scores(scores: Sequence[Score]) -> Score:
    """As of one body of text."""

# lm: token routing

class TokenRouter:
    """A built-in token router, or a Python one as the compiled code sees it."""

    @property
    def name(self) -> str: ...
    @property
    def needs_whole_prompt(self) -> bool: ...
    @property
    def needs_activations(self) -> bool: ...
    @property
    def takes_top_k(self) -> bool: ...
    def route(
        self,
        hidden: npt.NDArray[np.float32],
        logits: npt.NDArray[np.float32] | None,
        *,
        layer: int = 0,
        position: int = 0,
        activation_norms: npt.NDArray[np.float32] | None = None,
        experts: int = 0,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """What it makes of one layer of one sequence, checked as in a model.

        Args:
            hidden: (n, d) float32, C-contiguous. Not copied.
            logits: (n, experts), of the gate; None where there is none.
            position: of the first token.
            activation_norms: (n, experts), for ``needs_activations``.
            experts: in the layer; 0: the columns of logits.
        Returns:
            ids and weights (n, most experts of a token); -1 and 0 where a token has fewer.
        """

def top_k_router(
    top_k: int, *, softmax_after: bool = False, renormalize: bool = False, scale: float = 1.0
) -> TokenRouter:
    """The k largest logits, weighted by the softmax over all experts, or over the chosen ones."""

def sigmoid_router(
    top_k: int,
    *,
    selection_bias: Sequence[float] = (),
    renormalize: bool = True,
    scale: float = 1.0,
) -> TokenRouter:
    """The k largest sigmoid(logit) + bias, weighted without the bias (arXiv 2408.15664)."""

def group_limited_router(
    top_k: int,
    *,
    groups: int,
    top_groups: int,
    score: str = "softmax",
    group_score: str = "maximum",
    selection_bias: Sequence[float] = (),
    renormalize: bool = False,
    scale: float = 1.0,
) -> TokenRouter:
    """The k best within the best groups of experts (arXiv 2405.04434, 2412.19437).

    Args:
        score: "softmax" or "sigmoid".
        group_score: what a group is worth: "maximum" or "sum_of_top_two".
    """

def sparse_mixer_router(*, jitter_eps: float = 0.01) -> TokenRouter:
    """Phi-3.5-MoE's two choices, one after the other (arXiv 2409.12136)."""

def top_p_router(top_p: float, *, max_experts: int = 0, renormalize: bool = False) -> TokenRouter:
    """The fewest experts whose probabilities reach top_p (arXiv 2403.07652)."""

def null_expert_router(
    top_k: int, *, null_experts: int = 1, null_logit: float = 0.0, renormalize: bool = True
) -> TokenRouter:
    """Top-k with experts that compute nothing among the candidates (arXiv 2406.13233)."""

def width_router(
    widths: Sequence[int],
    *,
    top_k: int = 2,
    top_p: float = 0.0,
    width_penalty: float = 0.0,
    renormalize: bool = False,
) -> TokenRouter:
    """Experts of different widths (arXiv 2408.10681), by top_k or top_p; wide ones may be dearer."""

def autonomy_router(top_k: int, *, softmax_after: bool = True) -> TokenRouter:
    """The k experts whose own activations have the largest norms (arXiv 2501.13074)."""

def expert_choice_router(experts_per_token: float) -> TokenRouter:
    """Experts choose tokens of a whole prompt (arXiv 2202.09368)."""

def dense_router() -> TokenRouter:
    """Every expert, weighted by softmax."""

def random_router(top_k: int, *, seed: int = 1) -> TokenRouter:
    """k experts drawn evenly, by seed, layer and position."""

def python_router(router: Any) -> TokenRouter:
    """A collegium.lm.TokenRouter as the compiled code sees it."""

class RoutingOptions:
    def __init__(
        self,
        *,
        masks: Sequence[tuple[int | None, Sequence[int], bool]] = (),
        biases: Sequence[tuple[int | None, Sequence[float]]] = (),
        top_k: int = 0,
        router: TokenRouter | None = None,
        router_layers: Sequence[int] = (),
    ) -> None: ...
    def describe(self) -> str: ...

class TraceLayer:
    """The columns of one layer of a :class:`TokenTrace`; row r is token r. Read-only arrays."""

    @property
    def layer(self) -> int:
        """Number of the decoder layer, from 0."""
    @property
    def experts(self) -> int: ...
    @property
    def offsets(self) -> npt.NDArray[np.uint64]:
        """(rows + 1,): the experts of row r are ids[offsets[r]:offsets[r + 1]]."""
    @property
    def ids(self) -> npt.NDArray[np.int32]:
        """(pairs,), best first in each row."""
    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """(pairs,)"""
    @property
    def output_norms(self) -> npt.NDArray[np.float32] | None:
        """(pairs,): L2 norm of the expert's output before its weight; None if not recorded."""
    @property
    def logits(self) -> npt.NDArray[np.float32] | None:
        """(rows, experts), as the router saw them: biased, -inf where an expert was off; None if
        not recorded."""
    def __len__(self) -> int: ...

class TokenTrace:
    """What a token router saw and chose, by layer and token, for one sequence.

    Pass a new one to a call; it is filled as the model runs.
    """

    def __init__(self, *, logits: bool = True, output_norms: bool = True) -> None: ...
    @property
    def token_ids(self) -> npt.NDArray[np.int32]:
        """(rows,): the tokens that went through the model, in order."""
    @property
    def first_position(self) -> int: ...
    @property
    def model(self) -> str:
        """The model's digest."""
    @property
    def routing(self) -> str:
        """What the request changed, in a line; "" if nothing."""
    @property
    def layers(self) -> list[TraceLayer]:
        """A copy, by layer number."""
    def save(self, path: _Path) -> None:
        """Writes a trace file (docs/formats.md)."""
    @staticmethod
    def load(path: _Path) -> TokenTrace: ...
    def __len__(self) -> int:
        """Tokens."""

class LanguageModel:
    @staticmethod
    def load(
        path: _Path,
        compute: str = "exact",
        weights: str = "stored",
        kv_cache: str = "fp32",
        packed: _Path | None = None,
    ) -> LanguageModel: ...
    def save_packed(self, path: _Path) -> None: ...
    @property
    def compute(self) -> str: ...
    @property
    def kv_cache(self) -> str: ...
    @property
    def packed_bytes(self) -> int: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def context_length(self) -> int: ...
    @property
    def digest(self) -> str: ...
    def generation_bytes(self, tokens: int) -> int: ...
    def load_lora(self, folder: _Path) -> LmLora: ...
    def apply_chat_template(
        self, messages: Sequence[tuple[str, str]], *, enable_thinking: bool = True
    ) -> str: ...
    def generate(
        self,
        prompt: str,
        *,
        options: GenerateOptions,
        on_token: _OnToken = None,
        progress: _Progress = None,
    ) -> Generation: ...
    def generate_batch(
        self,
        requests: Sequence[tuple[str, GenerateOptions, _OnToken]],
        *,
        max_memory_bytes: int = 0,
        progress: _Progress = None,
    ) -> list[Any]: ...
    def score(
        self,
        texts: Sequence[str],
        *,
        window: int = 0,
        stride: int = 0,
        token_log_probabilities: bool = False,
        lora: LmLora | None = None,
        routing: Any = None,
        progress: _Progress = None,
    ) -> list[Score]: ...
    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]: ...

class SchedulerStats:
    """What a scheduler has to do, and has done so far."""

    @property
    def waiting(self) -> int: ...
    @property
    def running(self) -> int: ...
    @property
    def finished(self) -> int:
        """Requests that have a result."""
    @property
    def cancelled(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def reserved_bytes(self) -> int:
        """The most that the requests that run can take."""
    @property
    def kept_bytes(self) -> int:
        """Of requests that are done."""
    @property
    def most_bytes(self) -> int:
        """That the two came to together."""
    @property
    def passes(self) -> int:
        """Through the layers."""
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def shared_tokens(self) -> int:
        """Of them, those taken over from other requests."""
    @property
    def generated_tokens(self) -> int: ...

class Submission:
    """A request that was submitted to a :class:`Scheduler`. Any thread may use it."""

    def cancel(self) -> None:
        """Ends it soon, unless it has ended; does not wait."""
    def done(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is done, at most so many seconds; whether it is."""
    def result(self, timeout: float | None = None) -> Generation:
        """Waits for the result.

        Raises:
            CancelledError: it was cancelled.
            TimeoutError: the seconds are over.
        """

class GenerationScheduler:
    def __init__(
        self,
        model: LanguageModel,
        *,
        max_memory_bytes: int = 0,
        max_running: int = 64,
        max_waiting: int = 1024,
        max_kept_bytes: int = 268435456,
    ) -> None: ...
    def submit(
        self,
        prompt: str,
        *,
        options: GenerateOptions,
        on_token: _OnToken = None,
        on_done: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> Submission: ...
    def close(self) -> None: ...
    @property
    def stats(self) -> SchedulerStats: ...

# router: parts of an answer

class RouteEntry:
    @property
    def collection(self) -> str: ...
    @property
    def expert(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def searched_again(self) -> bool: ...
    @property
    def scale(self) -> float: ...
    @property
    def shift(self) -> float: ...
    @property
    def lexical_weight(self) -> float: ...

class Route:
    @property
    def entries(self) -> list[RouteEntry]: ...
    @property
    def margin(self) -> float: ...
    @property
    def familiarity(self) -> float: ...
    @property
    def abstained(self) -> bool: ...
    @property
    def router(self) -> str: ...
    @property
    def policy(self) -> str: ...
    @property
    def reason(self) -> str: ...
    def _repr_html_(self) -> str: ...

class RouterReason:
    @property
    def collection(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def probability(self) -> float: ...
    @property
    def why(self) -> str: ...

class Router:
    """P(collection | query) over the plain query vector. Immutable; threads may share it."""

    @property
    def kind(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def collections(self) -> list[str]: ...
    def probabilities(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n, dim) -> (n, collections); rows sum to one."""

    def familiarity(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n, dim) -> (n,): quantiles of the training queries' own nearness."""

    def route(self, query: npt.NDArray[np.float32]) -> Route:
        """(dim,): collections by probability, and whether the router abstains."""

    def explain(self, query: npt.NDArray[np.float32]) -> list[RouterReason]: ...
    def add_expert(self, name: str, queries: npt.NDArray[np.float32]) -> Router:
        """A router with one collection more; scores of the others keep their bits.

        Raises:
            NotSupportedError: of a kind that learns all collections together.
        """

    def remove_expert(self, name: str) -> Router: ...
    def save(self, path: str | os.PathLike[str], *, encoder_digest: str) -> None: ...
    @staticmethod
    def load(path: str | os.PathLike[str], *, encoder_digest: str) -> Router:
        """FailedPreconditionError when it was saved for another encoder."""

def router_kinds() -> list[str]: ...
def fit_router(
    kind: str,
    collections: Sequence[str],
    vectors: npt.NDArray[np.float32],
    labels: npt.NDArray[np.uint32],
    centroids: npt.NDArray[np.float32],
    *,
    dev_vectors: npt.NDArray[np.float32] | None = None,
    dev_labels: npt.NDArray[np.uint32] | None = None,
    quality: npt.NDArray[np.float32] | None = None,
    dev_quality: npt.NDArray[np.float32] | None = None,
    l2: float = 0.001,
    label_smoothing: float = 0.0,
    hidden: int = 64,
    epochs: int = 30,
    aggregate: str = "mean",
    top_k: int = 5,
    pilot_centroids: int = 0,
    cosine: bool = False,
    max_pilots: int = 1000,
    categories: int = 0,
    costs: Sequence[float] = [],
    budget: float = 0.0,
    seed: int = 1,
) -> Router:
    """A router of one of router_kinds(), as collegium/router/router.h says of each.

    vectors (n, dim), labels (n,) positions in `collections`, centroids (collections, dim): mean
    document vectors, for collections without queries. Calibrated on the dev queries, if any.
    """

class RankerContribution:
    @property
    def feature(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def weight(self) -> float: ...
    @property
    def given(self) -> float: ...

class GateFeature:
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...

class GateOutcome:
    @property
    def decision(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def threshold(self) -> float: ...
    @property
    def stage(self) -> str: ...
    @property
    def features(self) -> list[GateFeature]: ...
    @property
    def reason(self) -> str: ...

class GateOptions:
    def __init__(self, *, target_recall: float = 0.98, early_confidence: float = 0.98) -> None: ...
    @property
    def target_recall(self) -> float: ...
    @property
    def early_confidence(self) -> float: ...

class RouterLabels:
    """What routers learn a training query as: the collection it is of, or the expert that finds
    most for it (of at most 300 queries a collection). "pilots-source" and "pilots-winner" learn what
    their names say."""

    def __init__(
        self,
        *,
        by: str = "source",
        cutoff: int = 10,
        margin_weights: bool = False,
        drop_ties: bool = False,
        source_weight: float = 0.0,
    ) -> None:
        """Of winners:

        Args:
            by: "source" or "winner".
            cutoff: experts are compared by the nDCG of so many documents. [1, 100]
            margin_weights: a query counts by how much its winner gains over the next best; ties
                say nothing then. For linear, mlp, and pilots by their mean.
            drop_ties: a query that several experts win is left out; else, where its source is among
                them, it is the source's.
            source_weight: every query once more by its source, counting so much. [0, 1000]; 0: not.

        Raises:
            InvalidArgumentError: out of range.
        """

    @property
    def by(self) -> str: ...
    @property
    def cutoff(self) -> int: ...
    @property
    def margin_weights(self) -> bool: ...
    @property
    def drop_ties(self) -> bool: ...
    @property
    def source_weight(self) -> float: ...

class PolicyParameters:
    @property
    def policy(self) -> str: ...
    @property
    def research(self) -> int: ...
    @property
    def prior_weight(self) -> float: ...
    @property
    def comparability(self) -> str: ...
    @property
    def shift_depth(self) -> int: ...
    @property
    def score_maps(self) -> dict[str, tuple[float, float]]: ...
    @property
    def min_margin(self) -> float: ...
    @property
    def min_familiarity(self) -> float: ...
    @property
    def abstain_to_mixture(self) -> bool: ...

# router: evaluation

def check_support(sentence: str, passage: str) -> str: ...
def ndcg_at(k: int, ranking: Sequence[tuple[str, float]], judgments: Mapping[str, float]) -> float:
    """nDCG with log2 discount and linear gains, as trec_eval's ndcg_cut."""

def recall_at(
    k: int, ranking: Sequence[tuple[str, float]], judgments: Mapping[str, float]
) -> float: ...
def split_of_document(document_id: str) -> str:
    """The split of a pair that has none: 80/10/10 by a hash of its document's id."""

def measure_ranking(
    measure: str, ranking: Sequence[tuple[str, float]], judgments: Mapping[str, float]
) -> float: ...
def paired_bootstrap(
    differences: Sequence[Sequence[float]],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 1,
) -> Comparison:
    """The mean over sets of the mean difference over their queries: ``differences`` by set.

    The interval is the percentile one of resamples of the queries within each set; p is two-sided,
    of no difference, and never less than a sign test of the differing queries could give.

    Raises:
        InvalidArgumentError: no set, an empty one, a difference that is not finite."""

def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, 1979), parallel to ``p``."""

def measure_calibration(
    confidence: Sequence[float], right: Sequence[bool], *, bins: int = 10
) -> Calibration:
    """Expected calibration error over equal-width bins (Guo et al., arXiv 1706.04599)."""

def coverage_curve(
    confidence: Sequence[float],
    routed: Sequence[float],
    otherwise: Sequence[float],
    right: Sequence[bool],
    sets: Sequence[int],
    *,
    steps: int = 20,
) -> list[CoveragePoint]:
    """What routing only the surest queries gives, at coverages 0, 1/steps, ..., 1."""

def gain_share(method: float, base: float, oracle: float) -> float:
    """Share of what the oracle gains over base that method wins; 0 where it gains nothing."""

class Comparison:
    @property
    def difference(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def p(self) -> float: ...
    @property
    def p_holm(self) -> float: ...
    @property
    def queries(self) -> int: ...

class ReliabilityBin:
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def count(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def accuracy(self) -> float: ...

class Calibration:
    @property
    def ece(self) -> float: ...
    @property
    def bins(self) -> list[ReliabilityBin]: ...

class CoveragePoint:
    @property
    def coverage(self) -> float: ...
    @property
    def threshold(self) -> float: ...
    @property
    def quality(self) -> float: ...
    @property
    def accuracy(self) -> float: ...

class Metrics:
    @property
    def ndcg_at_10(self) -> float: ...
    @property
    def recall_at_100(self) -> float: ...
    @property
    def map_at_100(self) -> float: ...
    @property
    def mrr_at_10(self) -> float: ...
    @property
    def precision_at_10(self) -> float: ...
    @property
    def success_at_5(self) -> float: ...

class EvaluationGroup:
    @property
    def mean(self) -> Metrics: ...
    @property
    def against_plain(self) -> Comparison: ...

class EvaluationView:
    @property
    def by_collection(self) -> dict[str, Metrics]: ...
    @property
    def mean(self) -> Metrics: ...
    @property
    def against_plain(self) -> dict[str, Comparison]: ...
    @property
    def mean_against_plain(self) -> Comparison: ...
    @property
    def groups(self) -> dict[str, EvaluationGroup]: ...
    @property
    def queries(self) -> list[Metrics]:
        """Parallel to :attr:`Evaluation.queries`."""
    @property
    def regret(self) -> float: ...
    @property
    def gain_share(self) -> float: ...
    @property
    def gain_share_over_noise(self) -> float: ...

class EvaluationCost:
    @property
    def flops(self) -> float: ...
    @property
    def ms(self) -> float: ...

class EvaluationRow:
    @property
    def method(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def alone_view(self) -> EvaluationView: ...
    @property
    def merged_view(self) -> EvaluationView: ...
    @property
    def cost(self) -> EvaluationCost: ...
    @property
    def per_collection(self) -> dict[str, Metrics]: ...
    @property
    def merged(self) -> dict[str, Metrics]: ...
    @property
    def per_collection_mean(self) -> Metrics: ...
    @property
    def merged_mean(self) -> Metrics: ...

class EvaluationQuery:
    @property
    def collection(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def text(self) -> str: ...

class JudgedQuery:
    def __init__(self, *, id: str, text: str, judgments: Mapping[str, float]) -> None: ...
    @property
    def id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def judgments(self) -> dict[str, float]: ...

class RouterReport:
    @property
    def kind(self) -> str: ...
    @property
    def accuracy(self) -> float: ...
    @property
    def confusion(self) -> dict[str, dict[str, int]]: ...
    @property
    def calibration(self) -> Calibration: ...
    @property
    def coverage_alone(self) -> dict[str, list[CoveragePoint]]: ...
    @property
    def coverage_merged(self) -> dict[str, list[CoveragePoint]]: ...

class WorstQuery:
    @property
    def query(self) -> int:
        """Position in :attr:`Evaluation.queries`."""
    @property
    def ndcg_at_10(self) -> float: ...
    @property
    def plain(self) -> float: ...
    @property
    def best(self) -> float: ...
    @property
    def best_method(self) -> str: ...
    @property
    def relevant(self) -> list[str]: ...
    @property
    def rank(self) -> int:
        """Of the first relevant document, from 1; 0: not among the first 100."""
    @property
    def plain_rank(self) -> int: ...
    @property
    def first_collection(self) -> str: ...
    @property
    def first_document(self) -> str: ...
    @property
    def routed_to(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def why(self) -> str: ...

class Evaluation:
    @property
    def split(self) -> str: ...
    @property
    def num_queries(self) -> dict[str, int]: ...
    @property
    def groups(self) -> dict[str, str]: ...
    @property
    def queries(self) -> list[EvaluationQuery]: ...
    @property
    def rows(self) -> list[EvaluationRow]: ...
    @property
    def served(self) -> str:
        """The method of the row that a library answers with."""
    @property
    def routers(self) -> list[RouterReport]: ...
    @property
    def worst(self) -> list[WorstQuery]: ...
    @property
    def encode_flops(self) -> float: ...
    @property
    def encode_ms(self) -> float: ...
    @property
    def shares_training_documents(self) -> dict[str, float]: ...
    @property
    def router_accuracy(self) -> dict[str, float]: ...
    @property
    def gate_accuracy(self) -> float: ...
    @property
    def gate_recall(self) -> float: ...
    @property
    def gate_specificity(self) -> float: ...
    @property
    def gate_examples(self) -> int: ...
    @property
    def note(self) -> str: ...
    def row(self, method: str) -> EvaluationRow | None: ...
    def to_text(self) -> str: ...
    def to_json(self) -> str: ...
    def to_html(self) -> str:
        """What a notebook shows: tables and plots, without script."""
    def to_html_page(self) -> str:
        """A whole page with filters and the worst queries; needs no network."""
    def to_markdown(self) -> str: ...
    def _repr_html_(self) -> str: ...

# router: the library

class Document:
    def __init__(self, *, id: str, title: str = "", text: str, metadata: str = "") -> None: ...
    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def metadata(self) -> str: ...

class Pair:
    def __init__(
        self,
        *,
        query: str,
        document_id: str,
        split: str | None = None,
        gain: float = 1.0,
        kind: str = "",
    ) -> None: ...
    @property
    def query(self) -> str: ...
    @property
    def document_id(self) -> str: ...
    @property
    def split(self) -> str | None: ...
    @property
    def gain(self) -> float: ...
    @property
    def kind(self) -> str: ...

class LexicalSettings:
    def __init__(
        self,
        *,
        k1: float = 1.2,
        b: float = 0.75,
        stemmer: str = "",
        stop_words: Sequence[str] = (),
        fold_accents: bool = True,
        split_names: bool = True,
    ) -> None: ...
    @property
    def k1(self) -> float: ...
    @property
    def b(self) -> float: ...
    @property
    def stemmer(self) -> str: ...
    @property
    def stop_words(self) -> list[str]: ...
    @property
    def fold_accents(self) -> bool: ...
    @property
    def split_names(self) -> bool: ...
    @staticmethod
    def stemmers() -> list[str]: ...
    @staticmethod
    def english_stop_words() -> list[str]: ...

class AddReport:
    @property
    def documents(self) -> int: ...
    @property
    def unchanged(self) -> int: ...
    @property
    def replaced(self) -> int: ...
    @property
    def passages(self) -> int: ...
    @property
    def truncated(self) -> int: ...
    @property
    def pairs(self) -> dict[str, int]: ...
    @property
    def seconds(self) -> float: ...

class FitReportExpert:
    @property
    def collection(self) -> str: ...
    @property
    def train(self) -> int: ...
    @property
    def dev(self) -> int: ...
    @property
    def test(self) -> int: ...
    @property
    def strength(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def dev_ndcg_plain(self) -> float: ...
    @property
    def dev_ndcg(self) -> float: ...
    @property
    def rank(self) -> int: ...
    @property
    def pool(self) -> str: ...
    @property
    def chosen_on(self) -> NdcgGain: ...
    @property
    def standard_error(self) -> float: ...
    @property
    def dev_paired(self) -> NdcgGain: ...
    @property
    def dev_unpaired(self) -> NdcgGain: ...
    @property
    def loss(self) -> list[float]: ...
    @property
    def curve(self) -> list[float]: ...
    @property
    def lexical_weight(self) -> float: ...
    @property
    def dev_ndcg_hybrid(self) -> float: ...
    @property
    def kept(self) -> bool: ...
    @property
    def note(self) -> str: ...
    @property
    def pair_kinds(self) -> dict[str, dict[str, int]]:
        """Pairs in use, by kind ("judged" for those without one) and split."""

class FitReport:
    @property
    def generation(self) -> str: ...
    @property
    def experts(self) -> list[FitReportExpert]: ...
    @property
    def router(self) -> str: ...
    @property
    def router_dev_accuracy(self) -> dict[str, float]:
        """By kind: dev queries sent to their own collection, of those the router did not see."""

    @property
    def router_dev_ndcg(self) -> dict[str, float]:
        """By kind, what dev chose the router by: nDCG@10 of the merged library, mean of bound and
        routed, each question counting half as one of a collection that the router does not know."""

    @property
    def policy(self) -> PolicyParameters: ...
    @property
    def ranked(self) -> bool: ...
    @property
    def ranker_dev_ndcg(self) -> float:
        """nDCG@10 of a ranker that did not see the query, each question counting half as one of a
        collection that nobody labelled; 0: too few to learn from."""

    @property
    def fusion_dev_ndcg(self) -> float:
        """The same without a ranker."""

    @property
    def gate_note(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    def to_text(self) -> str: ...
    def to_json(self) -> str: ...
    def to_html(self) -> str: ...
    def _repr_html_(self) -> str: ...

class VectorOrigin:
    @property
    def compute(self) -> str: ...
    @property
    def isa(self) -> str: ...

class TrainingQueries:
    @property
    def texts(self) -> list[str]: ...
    @property
    def relevant(self) -> list[list[int]]: ...
    @property
    def gains(self) -> list[list[float]]: ...

class TrainingData:
    """What fit() learns a collection's expert from."""

    @property
    def document_ids(self) -> list[str]: ...
    @property
    def vectors(self) -> npt.NDArray[np.float32]:
        """(passages, dim), a copy."""
    @property
    def passage_document(self) -> npt.NDArray[np.uint32]:
        """(passages,) positions in ``document_ids``."""
    def queries(self, split: str) -> TrainingQueries: ...
    def query_vectors(self, split: str) -> npt.NDArray[np.float32]:
        """(n, dim), the plain encoder's."""
    @property
    def pair_kinds(self) -> dict[str, dict[str, int]]: ...

class LibraryInfoCollection:
    @property
    def name(self) -> str: ...
    @property
    def documents(self) -> int: ...
    @property
    def passages(self) -> int: ...
    @property
    def index_kind(self) -> str: ...
    @property
    def index_parameters(self) -> str: ...
    @property
    def index_reason(self) -> str: ...
    @property
    def index_rebuilt(self) -> bool: ...
    @property
    def index_note(self) -> str: ...
    @property
    def pairs(self) -> dict[str, int]: ...
    @property
    def expert(self) -> str: ...
    @property
    def index_generation(self) -> int: ...
    @property
    def vectors_made(self) -> list[VectorOrigin]: ...

class LibraryInfo:
    @property
    def path(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def isa(self) -> str: ...
    @property
    def format_version(self) -> int: ...
    @property
    def commit_seq(self) -> int: ...
    @property
    def encoder_folder(self) -> str: ...
    @property
    def encoder_digest(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def compute(self) -> str: ...
    @property
    def truncate_dim(self) -> int: ...
    @property
    def language_model(self) -> str: ...
    @property
    def generation(self) -> str: ...
    @property
    def router(self) -> str: ...
    @property
    def gate_note(self) -> str: ...
    @property
    def policy(self) -> PolicyParameters: ...
    @property
    def collections(self) -> list[LibraryInfoCollection]: ...
    @property
    def negatives(self) -> int: ...
    def to_text(self) -> str: ...
    def to_json(self) -> str: ...
    def _repr_html_(self) -> str: ...

class CitedPassage:
    @property
    def number(self) -> int: ...
    @property
    def collection(self) -> str: ...
    @property
    def document_id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def section(self) -> str: ...
    @property
    def bytes(self) -> tuple[int, int]: ...
    @property
    def text(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def ranking(self) -> list[RankerContribution]: ...
    @property
    def dense_score(self) -> float | None: ...
    @property
    def lexical_score(self) -> float | None: ...
    @property
    def similarity(self) -> float: ...
    @property
    def index_generation(self) -> int: ...
    @property
    def source(self) -> str | int | float | bool | None: ...

class StageCost:
    @property
    def stage(self) -> str: ...
    @property
    def ms(self) -> float: ...
    @property
    def flops(self) -> float: ...

class Answer:
    @property
    def question(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def reader(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def route(self) -> Route: ...
    @property
    def gate(self) -> GateOutcome: ...
    @property
    def passages(self) -> list[CitedPassage]: ...
    @property
    def cost(self) -> list[StageCost]: ...
    @property
    def generation(self) -> str: ...
    @property
    def commit_seq(self) -> int: ...
    @property
    def index_generations(self) -> dict[str, int]: ...
    def to_text(self) -> str: ...
    def to_json(self) -> str: ...
    def to_html(self) -> str: ...
    def _repr_html_(self) -> str: ...

class Finding:
    @property
    def where(self) -> str: ...
    @property
    def problem(self) -> str: ...

class BackupReport:
    @property
    def commit_seq(self) -> int: ...
    @property
    def files(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    def to_text(self) -> str: ...
    def to_json(self) -> str: ...

class VerifyReport:
    @property
    def ok(self) -> bool: ...
    @property
    def commit_seq(self) -> int: ...
    @property
    def collections(self) -> int: ...
    @property
    def documents(self) -> int: ...
    @property
    def passages(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def learned_files(self) -> int: ...
    @property
    def findings(self) -> list[Finding]: ...
    def to_text(self) -> str: ...
    def to_json(self) -> str: ...

class TuneTrial:
    @property
    def effort(self) -> int: ...
    @property
    def recall(self) -> float: ...
    @property
    def query_us(self) -> float: ...

class TuneReport:
    @property
    def collection(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def effort(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def passages(self) -> int: ...
    @property
    def queries(self) -> int: ...
    @property
    def reached(self) -> bool: ...
    @property
    def recall(self) -> float: ...
    @property
    def exact_query_us(self) -> float: ...
    @property
    def trials(self) -> list[TuneTrial]: ...
    def to_text(self) -> str: ...
    def to_json(self) -> str: ...

class RepairReport:
    @property
    def documents(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def dropped(self) -> list[Finding]: ...
    def to_text(self) -> str: ...
    def to_json(self) -> str: ...

class Library:
    @staticmethod
    def create(
        path: _Path,
        *,
        encoder: _Path,
        language_model: _Path = "",
        link: bool = False,
        hnsw_threshold: int = 100000,
        compute: str = "auto",
        truncate_dim: int = 0,
    ) -> Library: ...
    @staticmethod
    def open(
        path: _Path,
        *,
        encoder: _Path = "",
        language_model: _Path = "",
        ignore_learned: bool = False,
        read_only: bool = False,
        lm_compute: str = "exact",
    ) -> Library: ...
    @staticmethod
    def verify_folder(
        path: _Path, *, encoder: _Path = "", language_model: _Path = ""
    ) -> VerifyReport: ...
    @staticmethod
    def repair(path: _Path, to: _Path) -> RepairReport: ...
    def backup(self, folder: _Path) -> BackupReport: ...
    def verify(self) -> VerifyReport: ...
    def tune(
        self,
        collection: str,
        *,
        kind: str = "auto",
        target_recall: float = 0.99,
        k: int = 10,
        questions: Sequence[str] = (),
        num_samples: int = 200,
    ) -> TuneReport: ...
    def training_data(self, collection: str) -> TrainingData: ...
    def compact(self) -> None: ...
    def purge(self) -> None: ...
    def export(self, collection: str, path: _Path) -> int: ...
    def reopen(self) -> None: ...
    def add(
        self,
        collection: str,
        documents: Sequence[Document],
        pairs: Sequence[Pair],
        *,
        progress: _Progress = None,
    ) -> AddReport: ...
    def remove(self, collection: str, ids: Sequence[str]) -> None: ...
    def set_lexical(self, collection: str, settings: LexicalSettings) -> None: ...
    def lexical_settings(self, collection: str) -> LexicalSettings: ...
    def add_negatives(self, queries: Sequence[str], *, progress: _Progress = None) -> None: ...
    def fit(
        self,
        *,
        adapter: HeadAdapterOptions,
        multi_task: bool = True,
        router: str = "auto",
        gate: GateOptions,
        labels: RouterLabels,
        refit: bool = False,
        progress: _Progress = None,
    ) -> FitReport: ...
    def ask(
        self,
        question: str,
        *,
        collections: Sequence[str],
        policy: str | None = None,
        k: int = 5,
        read: str = "extractive",
        gate: str | None = None,
        generate: GenerateOptions,
        lexical_weight: float | None = None,
        filter: str | None = None,
        source_field: str = "",
        max_per_source: int = 0,
        duplicate_similarity: float | None = None,
        exact: bool = False,
        scan: str = "auto",
        breadth: int = 0,
        probes: int = 0,
        on_token: _OnToken = None,
    ) -> Answer: ...
    def search(
        self,
        query: str,
        *,
        collections: Sequence[str],
        policy: str | None = None,
        k: int = 5,
        lexical_weight: float | None = None,
        filter: str | None = None,
        source_field: str = "",
        max_per_source: int = 0,
        duplicate_similarity: float | None = None,
        exact: bool = False,
        scan: str = "auto",
        breadth: int = 0,
        probes: int = 0,
    ) -> Answer: ...
    def evaluate(
        self,
        *,
        split: str = "dev",
        seed: int = 1,
        resamples: int = 2000,
        timed_queries: int = 8,
        worst: int = 100,
        judged: Mapping[str, Sequence[JudgedQuery]],
        progress: _Progress = None,
    ) -> Evaluation: ...
    def document(self, collection: str, id: str) -> Document: ...
    def document_ids(self, collection: str) -> list[str]: ...
    def info(self) -> LibraryInfo: ...
    @property
    def encoder(self) -> Encoder: ...
    def close(self) -> None: ...
