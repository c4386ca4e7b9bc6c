"""Evidence: language models beside llama.cpp (docs/evidence/lm-speed-<isa>.md).

    python benchmarks/lm_speed.py [--rounds 5]

Both engines read the same GGUF file, each in a process of its own, in turn, with the same threads;
see lm_peer.py for how the peer is compiled. Prompts are random words. What a token costs is the time of an answer
less that of its first token, by tokens.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import collegium
import evidence
import lm_moe_model
import lm_peer
from collegium import lm
from lm_perplexity import present_models

NEW_TOKENS = 48
PROMPT = 16  # tokens, about
PREFILL = 512
BATCHES = (8, 32)
PASSAGE, QUESTIONS = 1000, 16
# Decode and prefill of mixtures, by level.
MOE_BARS = {"avx2": (1.5, 2.0), "vnni": (2.3, 2.0), "amx": (2.3, 4.5)}
BARS = {"decode": 1.0, "batch": 1.3, "prefill": {"avx2": 1.2}, "shared": 3.0, "lookup": 1.5}


def prompts(model: lm.LanguageModel, count: int, tokens: int, seed: int) -> list[str]:
    """Random words of this language, of exactly `tokens` tokens where that can be had."""
    words = (evidence.ROOT / "README.md").read_text(encoding="utf-8").split()
    words = sorted({word for word in words if word.isalpha() and word.islower()})
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        text = str(random.choice(words))
        while len(model.tokenizer.encode(text).ids) < tokens:
            text += " " + str(random.choice(words))
        made.append(text)
    return made


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


class Ours:
    def __init__(self, model: lm.LanguageModel) -> None:
        self.model = model

    def token_seconds(self, texts: list[str]) -> float:
        """Of one token of all of them together."""
        first, _ = seconds(lambda: self.model.generate_batch(texts, max_new_tokens=1))
        whole, made = seconds(lambda: self.model.generate_batch(texts, max_new_tokens=NEW_TOKENS))
        return (whole - first) / max(1, sum(len(one.ids) - 1 for one in made))

    def prefill_seconds(self, text: str) -> float:
        return seconds(lambda: self.model.generate(text, max_new_tokens=1))[0]


class Peer:
    def __init__(self, path: str, model: lm.LanguageModel, threads: int) -> None:
        self.peer = lm_peer.Peer(path, threads, max(BATCHES), 4096)
        self.tokenizer = model.tokenizer

    def close(self) -> None:
        self.peer.close()

    def token_seconds(self, texts: list[str]) -> float:
        ids = [self.tokenizer.encode(text).ids for text in texts]
        steps = NEW_TOKENS - 1
        return self.peer.decode_seconds(ids, steps) / (len(texts) * steps)

    def prefill_seconds(self, text: str) -> float:
        return self.peer.prefill_seconds(self.tokenizer.encode(text).ids)


def compared(
    measure: Callable[[Any, int], float], ours: Ours, peer: Peer, rounds: int
) -> tuple[str, float]:
    """The ratio, and our median seconds."""
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    measure(ours, 0), measure(peer, 0)
    for i in range(rounds):
        order = [("ours", ours), ("peer", peer)]
        for label, engine in order if i % 2 == 0 else reversed(order):
            times[label].append(measure(engine, 1 + i))
            time.sleep(0.02)  # the peer's threads may still spin
    return evidence.ratio(times["ours"], times["peer"]), statistics.median(times["ours"])


def bandwidth(threads: int) -> float:
    """GB/s that so many threads read, numpy's largest of 256 MB each."""
    from concurrent.futures import ThreadPoolExecutor

    arrays = [np.ones(32 << 20, np.int64) for _ in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            taken, _ = seconds(lambda: list(pool.map(np.max, arrays)))
            best = max(best, threads * arrays[0].nbytes / taken / 1e9)
    return best


# What is measured, of an engine with a seed, and its bar.
Works = dict[str, tuple[Callable[[Any, int], float], float]]


def rows_beside_peer(
    model: str,
    threads: int,
    works: Works,
    ours: Ours,
    peer: Peer,
    rounds: int,
    token_bytes: float,
) -> list[str]:
    """A row for each work. `token_bytes`: of weights that a token reads."""
    rows = []
    for work, (measure, bar) in works.items():
        shown, median = compared(measure, ours, peer, rounds)
        note = ""
        if "1 request" in work:
            read = token_bytes / median / 1e9
            share = read / bandwidth(threads)
            note = f" weights read at {read:.1f} GB/s, {share:.0%} of the bandwidth"
        rows.append(f"| {model} | {threads} | {work} | {shown} | {bar} |{note} |")
        print(rows[-1], flush=True)
    return rows


def quoting(model: lm.LanguageModel) -> str:
    """A prompt whose greedy answer repeats a text of this project."""
    text = (evidence.ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")[1]
    return " ".join(text.split())[:400]


def rows_of(name: str, path: str, threads: int, rounds: int) -> list[str]:
    collegium.set_num_threads(threads)
    model = lm.load(path, compute="fast")
    ours = Ours(model)
    peer = Peer(path, model, threads)
    works: Works = {
        "decode, 1 request": (
            lambda e, seed: e.token_seconds(prompts(model, 1, PROMPT, seed)),
            BARS["decode"],
        ),
        **{
            f"decode, {n} requests": (
                lambda e, seed, n=n: e.token_seconds(prompts(model, n, PROMPT, seed)),
                BARS["batch"],
            )
            for n in BATCHES
        },
        f"prefill, {PREFILL} tokens": (
            lambda e, seed: e.prefill_seconds(prompts(model, 1, PREFILL, seed)[0]),
            BARS["prefill"].get(collegium.isa(), 2.0),
        ),
    }
    rows = rows_beside_peer(name, threads, works, ours, peer, rounds, model.packed_bytes)

    # Against ourselves: what is shared, and what is guessed.
    passage = prompts(model, 1, PASSAGE, 7)[0]
    asked = [f"{passage}\nQuestion {i}:" for i in range(QUESTIONS)]
    shared, alone = [], []
    for _ in range(max(1, rounds // 3)):
        taken, made = seconds(lambda: model.generate_batch(asked, max_new_tokens=16))
        shared.append(taken)
        alone.append(
            sum(seconds(lambda t=t: model.generate(t, max_new_tokens=16))[0] for t in asked)
        )
    rows.append(
        f"| {name} | {threads} | {QUESTIONS} questions over one passage of {PASSAGE} tokens, beside "
        f"{QUESTIONS} runs of ours | {evidence.ratio(shared, alone)} | {BARS['shared']} | "
        f"{made[-1].shared_tokens} of {made[-1].prompt_tokens} tokens shared |"
    )
    print(rows[-1], flush=True)
    text = quoting(model)
    # A base model goes on with a text that it has begun to repeat.
    prompt = f"{text}\n\n{text}\n\n{text[:60]}"
    plain, quick = [], []
    for _ in range(rounds):
        taken, slow = seconds(lambda: model.generate(prompt, max_new_tokens=NEW_TOKENS))
        plain.append(taken)
        taken, fast = seconds(
            lambda: model.generate(prompt, max_new_tokens=NEW_TOKENS, prompt_lookup=16)
        )
        quick.append(taken)
        assert slow.ids == fast.ids
    rows.append(
        f"| {name} | {threads} | a quotation of {NEW_TOKENS} tokens with prompt_lookup=16, its prompt's "
        f"reading too, beside plain | {evidence.ratio(quick, plain)} | {BARS['lookup']} | "
        f"{fast.accepted_tokens} of {fast.guessed_tokens} guesses right |"
    )
    print(rows[-1], flush=True)
    exact = lm.load(path)
    plain, quick = [], []
    guessed = accepted = 0
    for i in range(rounds):
        prompt = prompts(model, 1, PROMPT, 100 + i)[0]
        taken, slow = seconds(lambda p=prompt: exact.generate(p, max_new_tokens=NEW_TOKENS))
        plain.append(taken)
        taken, fast = seconds(
            lambda p=prompt: exact.generate(p, max_new_tokens=NEW_TOKENS, draft=model)
        )
        quick.append(taken)
        assert slow.ids == fast.ids
        guessed, accepted = guessed + fast.guessed_tokens, accepted + fast.accepted_tokens
    rows.append(
        f'| {name} | {threads} | compute="exact" with its fast twin as draft, {NEW_TOKENS} tokens, beside '
        f"plain exact | {evidence.ratio(quick, plain)} | | {accepted} of {guessed} guesses right |"
    )
    print(rows[-1], flush=True)
    peer.close()
    return rows


def moe_rows_of(name: str, threads: int, rounds: int) -> list[str]:
    collegium.set_num_threads(threads)
    path = str(lm_moe_model.cached(name))
    model = lm.load(path, compute="fast")
    ours = Ours(model)
    peer = Peer(path, model, threads)
    decode_bar, prefill_bar = MOE_BARS.get(collegium.isa(), (2.3, 2.3))
    works: Works = {
        "decode, 1 request": (
            lambda e, seed: e.token_seconds(prompts(model, 1, PROMPT, seed)),
            decode_bar,
        ),
        **{
            f"prefill, {n} tokens": (
                lambda e, seed, n=n: e.prefill_seconds(prompts(model, 1, n, seed)[0]),
                prefill_bar,
            )
            for n in (64, 256)
        },
    }
    read = lm_moe_model.MODELS[name].read_bytes(model.packed_bytes)
    rows = rows_beside_peer(name, threads, works, ours, peer, rounds, read)
    peer.close()
    return rows


def loads(name: str, path: str, rounds: int) -> list[str]:
    """Of a load with weights laid out anew and of one that maps them, to the first token."""
    packed = evidence.ROOT / "build" / "evidence" / f"{Path(path).name}.packed"
    model = lm.load(path, compute="fast")
    model.save_packed(packed)
    rows = []
    for how, file in (("laid out at load", None), ("mapped", packed)):
        loading, whole = [], []
        for _ in range(rounds):
            taken, model = seconds(lambda file=file: lm.load(path, compute="fast", packed=file))
            first, _ = seconds(lambda m=model: m.generate("The", max_new_tokens=1))
            loading.append(taken * 1e3)
            whole.append((taken + first) * 1e3)
        low, middle, high = np.percentile(whole, [25, 50, 75])
        rows.append(
            f"| {name} | {how} | {statistics.median(loading):.0f} | {middle:.0f} ({low:.0f}–{high:.0f}) "
            f"| {Path(path).stat().st_size / 1e6:.0f} | {model.packed_bytes / 1e6:.0f} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    present = {name: str(path) for name, path in present_models().items()}
    collegium.set_num_threads(2)
    loaded = [row for name, path in present.items() for row in loads(name, path, rounds)]
    rows = [
        row
        for name, path in present.items()
        for threads in (1, 2)
        for row in rows_of(name, path, threads, rounds)
    ]
    for name in lm_moe_model.MODELS:
        for threads in (1, 2):
            rows += moe_rows_of(name, threads, rounds)
    page = [
        evidence.header(
            "Speed of language models", "make evidence ONLY=lm-speed", "1 to the round's number"
        ),
        f'`compute="fast"` beside llama.cpp (llama-cpp-python {lm_peer.llama.__version__}, compiled '
        "for this machine, see benchmarks/lm_peer.py) on the same GGUF file, each in a process "
        f"of its own, in turn, {rounds} rounds. A ratio above 1: ours takes less time; in brackets the middle half "
        "of the rounds. Prompts are random words; decoding is greedy, "
        f"{NEW_TOKENS} tokens behind a prompt of about {PROMPT}. The peer's figures are of its C "
        "functions and numpy's argmax alone, ours of the whole call: tokenizer, sampler, text. Mixtures "
        "have random Q4_K weights and the widths of real models (benchmarks/lm_moe_model.py).",
        "",
        "| model | threads | work | ratio | bar | |",
        "|---|--:|---|--:|--:|---|",
        *rows,
        "",
        "Loading, the files in the page cache, 2 threads (`LanguageModel.save_packed`, `lm.load(packed=)`; "
        "bar: first token within 500 ms):",
        "",
        "| model | weights | load, ms | with the first token, ms | file, MB | packed, MB |",
        "|---|---|--:|--:|--:|--:|",
        *loaded,
        "",
    ]
    evidence.write(f"lm-speed-{collegium.isa()}", "\n".join(page))


if __name__ == "__main__":
    main()
