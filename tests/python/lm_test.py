from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import collegium
from collegium import lm
from conftest import ROOT, RunPython

HELLO = [{"role": "user", "content": "Say hello."}]
TEXT = "the thing and the other"


@pytest.fixture(scope="module")
def model(smollm2: Path) -> lm.LanguageModel:
    return lm.load(smollm2)


@pytest.fixture(scope="module")
def tiny() -> lm.LanguageModel:
    """Random weights and a context of 96 tokens; no language of ours."""
    return lm.load(ROOT / "tests/data/tiny_llama.gguf")


def logits_of(model: lm.LanguageModel, ids: list[int]) -> npt.NDArray[np.float64]:
    rows = model.logits(ids).astype(np.float64)
    normalised: npt.NDArray[np.float64] = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return normalised


def test_greedy_generation_repeats_itself_and_streams_its_text(model: lm.LanguageModel) -> None:
    pieces: list[str] = []
    first = model.chat(HELLO, max_new_tokens=12, on_token=pieces.append)
    assert first.text
    assert "".join(pieces) == first.text
    assert str(first) == first.text
    assert model.chat(HELLO, max_new_tokens=12).ids == first.ids
    assert len(first.ids) <= 12
    assert first.flops > 0


def test_logits_have_a_row_a_position_and_agree_with_greedy(model: lm.LanguageModel) -> None:
    prompt = model.apply_chat_template(HELLO)
    ids = model.tokenizer.encode(prompt).ids
    logits = model.logits(ids)
    assert logits.shape == (len(ids), model.tokenizer.vocab_size)
    assert logits.dtype == np.float32
    assert int(logits[-1].argmax()) == model.generate(prompt, max_new_tokens=1).ids[0]


def test_on_token_stops_with_false_and_its_exceptions_come_through(tiny: lm.LanguageModel) -> None:
    stopped = tiny.generate(TEXT, max_new_tokens=30, on_token=lambda _: False)
    assert stopped.finish_reason == "cancelled"
    assert not stopped.stopped

    def fail(piece: str) -> None:
        raise KeyError(piece)

    with pytest.raises(KeyError):
        tiny.generate(TEXT, max_new_tokens=30, on_token=fail)


def test_options_are_keywords_or_one_object_or_both(tiny: lm.LanguageModel) -> None:
    options = lm.GenerateOptions(max_new_tokens=9, temperature=1.3, seed=4, stop=["zz"])
    assert options.stop == ["zz"]
    as_keywords = tiny.generate(TEXT, max_new_tokens=9, temperature=1.3, seed=4, stop=["zz"])
    assert tiny.generate(TEXT, options=options).ids == as_keywords.ids
    both = tiny.generate(TEXT, options=options, max_new_tokens=3)
    assert both.ids == as_keywords.ids[:3]
    assert both.finish_reason == "length"
    with pytest.raises(TypeError, match=r"unknown options \['top_q'\]; there are max_new_tokens"):
        tiny.generate(TEXT, top_q=1)  # type: ignore[call-arg]


def test_every_option_has_its_keyword() -> None:
    fields = {name for name in vars(lm.GenerateOptions) if not name.startswith("_")}
    assert fields == set(lm.Options.__annotations__)


def test_bad_options_and_messages_are_refused(tiny: lm.LanguageModel) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="top_p"):
        tiny.generate("x", top_p=0.0)
    with pytest.raises(collegium.InvalidArgumentError, match="min_p"):
        tiny.generate("x", min_p=2.0)
    with pytest.raises(collegium.InvalidArgumentError, match="stop is one str"):
        tiny.generate("x", stop="abc")
    with pytest.raises(collegium.InvalidArgumentError, match="expected role and content"):
        tiny.chat([{"role": "user"}])
    with pytest.raises(collegium.InvalidArgumentError, match=r"messages\[1\]\['content'\].*UTF-8"):
        tiny.chat([*HELLO, {"role": "user", "content": "\ud800"}])
    with pytest.raises(collegium.InvalidArgumentError, match=r"messages\[0\]\['role'\] is int"):
        tiny.apply_chat_template([{"role": 3, "content": "x"}])  # type: ignore[dict-item]
    for name in ("max_new_tokens", "top_k", "seed", "alternatives", "max_memory_bytes"):
        with pytest.raises(collegium.InvalidArgumentError, match=f"{name} is -1"):
            tiny.generate("x", **{name: -1})  # type: ignore[arg-type]


def test_why_it_ended_is_always_said(tiny: lm.LanguageModel) -> None:
    whole = tiny.generate(TEXT, max_new_tokens=20, temperature=1.5, seed=2)
    assert whole.finish_reason == "length"
    part = whole.text[4:7]
    stopped = tiny.generate(TEXT, max_new_tokens=20, temperature=1.5, seed=2, stop=[part])
    assert (stopped.finish_reason, stopped.stop) == ("stop", part)
    assert stopped.text == whole.text[: whole.text.index(part)]
    full = tiny.generate("x" * 90, max_new_tokens=50, temperature=1.5, seed=3)
    assert full.finish_reason in ("context", "end")
    with pytest.raises(collegium.ResourceExhaustedError, match="max_memory_bytes: 1000"):
        tiny.generate(TEXT, max_memory_bytes=1000)
    assert tiny.generation_bytes(50) > 50 * 2 * 2 * 32 * 4


def test_log_probabilities_are_those_of_the_logits(tiny: lm.LanguageModel) -> None:
    made = tiny.generate(TEXT, max_new_tokens=5, log_probabilities=True, alternatives=3)
    prompt = tiny.tokenizer.encode(TEXT).ids
    rows = logits_of(tiny, [*prompt, *made.ids])[len(prompt) - 1 :]
    assert made.log_probabilities.dtype == np.float32
    for i, id in enumerate(made.ids):
        assert made.log_probabilities[i] == pytest.approx(rows[i, id], abs=1e-5)
        best = np.argsort(-rows[i], kind="stable")[:3]
        assert [token for token, _ in made.alternatives[i]] == best.tolist()
        assert made.alternatives[i][0][1] == pytest.approx(rows[i].max(), abs=1e-5)
    assert made._repr_html_().count("<div") == 2
    assert "mean log P" in made._repr_html_()


def test_html_escapes_what_a_model_wrote(tiny: lm.LanguageModel) -> None:
    made = next(
        made
        for seed in range(200)
        for made in [tiny.generate(TEXT, max_new_tokens=40, temperature=3.0, seed=seed)]
        if "<" in made.text
    )
    assert made._repr_html_().count("<") == 4


# --- Several at once ---


def test_a_batch_gives_each_what_it_gets_alone(tiny: lm.LanguageModel) -> None:
    pieces: list[str] = []
    own = lm.GenerateOptions(max_new_tokens=7, temperature=2.0, seed=9)
    requests: list[str | lm.Request] = ["the", lm.Request("and", own, pieces.append), "ring " * 20]
    results = tiny.generate_batch(requests, max_new_tokens=12, temperature=1.2)
    shared = lm.GenerateOptions(max_new_tokens=12, temperature=1.2)
    for request, result in zip(requests, results, strict=True):
        if isinstance(request, str):
            alone = tiny.generate(request, options=shared)
        else:
            alone = tiny.generate(request.prompt, options=own)
        assert result.ids == alone.ids
        assert result.text == alone.text
    assert "".join(pieces) == results[1].text
    assert tiny.generate_batch([]) == []


def test_one_of_a_batch_fails_alone(tiny: lm.LanguageModel) -> None:
    def fail(piece: str) -> None:
        raise KeyError("mine")

    requests: list[str | lm.Request] = ["the", "", lm.Request("and", on_token=fail), "ring"]
    results = tiny.generate_batch(requests, max_new_tokens=5, on_error="return")
    assert isinstance(results[1], collegium.InvalidArgumentError)
    assert isinstance(results[2], KeyError)
    for i in (0, 3):
        result = results[i]
        assert isinstance(result, lm.Generation)
        assert result.ids == tiny.generate(str(requests[i]), max_new_tokens=5).ids
    with pytest.raises(collegium.InvalidArgumentError, match=r"requests\[1\]: prompt"):
        tiny.generate_batch(requests, max_new_tokens=5)
    with pytest.raises(collegium.ResourceExhaustedError, match="batch of 2"):
        tiny.generate_batch(["the", "and"], max_batch_bytes=1000)
    with pytest.raises(collegium.InvalidArgumentError, match="requests is one str"):
        tiny.generate_batch("the")


def test_requests_choose_a_lora_one_by_one(tiny: lm.LanguageModel) -> None:
    lora = tiny.load_lora(ROOT / "tests/data/decoders/loras/gguf-attention")
    assert lora.base_digest == tiny.digest
    assert lora.rank >= 1
    assert "layers.0.self_attn.q_proj" in lora.modules
    adapted = lm.GenerateOptions(lora=lora, max_new_tokens=6, log_probabilities=True)
    plain, under = tiny.generate_batch(
        ["the thing", lm.Request("the thing", adapted)], max_new_tokens=6, log_probabilities=True
    )
    assert plain.log_probabilities.tolist() != under.log_probabilities.tolist()
    alone = tiny.generate("the thing", options=adapted)
    assert alone.log_probabilities.tolist() == under.log_probabilities.tolist()
    scores = tiny.score(TEXT, lora=lora), tiny.score(TEXT)
    assert scores[0].log_probability != scores[1].log_probability
    other = lm.load(ROOT / "tests/data/tiny_llama_mixed.gguf")
    with pytest.raises(collegium.InvalidArgumentError, match="lora: was loaded for the model"):
        other.generate("the", lora=lora)


# --- Routing ---


def test_routing_belongs_to_one_request_of_a_batch_and_to_scores() -> None:
    moe = lm.load(ROOT / "tests/data/gguf_models/olmoe.gguf")
    prompt = "The quick brown fox"
    without = lm.RoutingOptions(masks=[lm.ExpertMask([0, 3])])

    class Failing(lm.TokenRouter):
        def route(self, hidden: Any, logits: Any, layer: int, position: int) -> tuple[Any, Any]:
            if position > 0:
                raise ValueError("no more")
            return np.zeros((len(logits), 1), int), np.ones((len(logits), 1))

    options = lm.GenerateOptions(max_new_tokens=5, trace=True)
    changed = lm.GenerateOptions(max_new_tokens=5, trace=True, routing=without)
    failing = lm.GenerateOptions(
        max_new_tokens=5, routing=lm.RoutingOptions(router=Failing()), trace=True
    )
    requests: list[str | lm.Request] = [
        prompt,
        lm.Request(prompt, options),
        lm.Request(prompt, changed),
        lm.Request(prompt, failing),
    ]
    results = moe.generate_batch(requests, max_new_tokens=5, on_error="return")
    alone = moe.generate(prompt, options=options), moe.generate(prompt, options=changed)
    plain, traced, masked, failed = results
    assert isinstance(failed, collegium.InvalidArgumentError)
    assert "no more" in str(failed)
    assert isinstance(plain, lm.Generation)
    assert isinstance(traced, lm.Generation)
    assert isinstance(masked, lm.Generation)
    assert plain.ids == traced.ids == alone[0].ids
    assert plain.trace is None
    assert masked.ids == alone[1].ids
    for result, expected in ((traced, alone[0]), (masked, alone[1])):
        assert result.trace is not None
        assert expected.trace is not None
        # The last token is not read, unless what it makes is the end.
        read = len(result.ids) - (result.finish_reason == "length")
        assert len(result.trace) == result.prompt_tokens + read
        for a, b in zip(result.trace.layers, expected.trace.layers, strict=True):
            np.testing.assert_array_equal(a.ids, b.ids)
            np.testing.assert_array_equal(a.weights, b.weights)
    assert masked.routing == without.describe()
    assert masked.routing in masked._repr_html_()
    assert masked.trace is not None
    assert not {0, 3} & set(masked.trace.layers[0].ids.tolist())
    scores = moe.score(prompt), moe.score(prompt, routing=without)
    assert scores[0].log_probability != scores[1].log_probability
    with pytest.raises(TypeError, match="routing is int"):
        moe.generate(prompt, routing=3)  # type: ignore[arg-type]
    with pytest.raises(collegium.NotSupportedError, match="max_new_tokens must be 1"):
        moe.generate(
            prompt,
            routing=lm.RoutingOptions(router=lm.expert_choice_router(2)),
            max_new_tokens=2,
        )


# --- Streams ---


def test_a_stream_gives_the_pieces_and_then_the_result(tiny: lm.LanguageModel) -> None:
    whole = tiny.generate(TEXT, max_new_tokens=20, temperature=1.0)
    stream = tiny.stream(TEXT, max_new_tokens=20, temperature=1.0)
    assert "".join(stream) == whole.text
    assert stream.result.ids == whole.ids
    assert list(stream) == []


def test_closing_a_stream_cancels_it(model: lm.LanguageModel) -> None:
    before = threading.active_count()
    with model.stream("Count: 1, 2, 3,", max_new_tokens=2000) as stream:
        assert next(stream)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert threading.active_count() == before
    assert stream.result.finish_reason == "cancelled"
    assert list(stream) == []


def test_a_dropped_stream_ends_by_itself(model: lm.LanguageModel) -> None:
    before = threading.active_count()
    stream: Iterator[str] = model.stream("Count: 1, 2, 3,", max_new_tokens=2000)
    next(stream)
    del stream
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() == before


def test_an_error_comes_out_of_the_stream(tiny: lm.LanguageModel) -> None:
    stream = tiny.stream("x" * 200)
    with pytest.raises(collegium.InvalidArgumentError, match="do not fit the context"):
        next(stream)
    with pytest.raises(collegium.FailedPreconditionError):
        _ = stream.result


LEFT = """
import sys, collegium
model = collegium.lm.load(sys.argv[1])
stream = model.stream("Count: 1, 2, 3,", max_new_tokens=8000)
print(next(stream) != "")
"""


def test_a_program_may_end_while_a_stream_runs(smollm2: Path, run_python: RunPython) -> None:
    began = time.monotonic()
    done = run_python(["-c", LEFT, str(smollm2)])
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
    assert done.stderr == ""
    assert time.monotonic() - began < 60


def test_async_generation_and_streaming(tiny: lm.LanguageModel) -> None:
    async def both() -> tuple[lm.Generation, str]:
        made, *_ = await asyncio.gather(tiny.agenerate(TEXT, max_new_tokens=9), asyncio.sleep(0))
        pieces = [piece async for piece in tiny.astream(TEXT, max_new_tokens=9)]
        return made, "".join(pieces)

    made, joined = asyncio.run(both())
    alone = tiny.generate(TEXT, max_new_tokens=9)
    assert made.ids == alone.ids
    assert joined == alone.text


def test_cancelling_a_task_ends_its_generation(model: lm.LanguageModel) -> None:
    async def cancelled() -> float:
        task = asyncio.create_task(model.agenerate("Count: 1, 2, 3,", max_new_tokens=4000))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        pieces = model.astream("Count: 1, 2, 3,", max_new_tokens=4000)
        async for _ in pieces:
            break
        await pieces.aclose()  # type: ignore[attr-defined]
        return time.monotonic()

    # run() waits for the executor's threads, and so for what they still generate.
    ended = asyncio.run(cancelled())
    assert time.monotonic() - ended < 5


CTRL_C = """
import signal, sys, threading, collegium
model = collegium.lm.load(sys.argv[1])
threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGINT)).start()
try:
    call = sys.argv[2]
    if call == "batch":
        model.generate_batch(["Count: 1, 2,", "Sing: la"], max_new_tokens=4000)
    elif call == "stream":
        list(model.stream("Count: 1, 2,", max_new_tokens=4000))
    else:
        model.score("the river of evidence " * 20000)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("call", ["batch", "stream", "score"])
def test_ctrl_c_ends_it(smollm2: Path, call: str, run_python: RunPython) -> None:
    began = time.monotonic()
    done = run_python(["-c", CTRL_C, str(smollm2), call])
    assert done.stdout == "interrupted\n", done.stderr
    assert time.monotonic() - began < 60


def test_another_thread_runs_while_we_generate(model: lm.LanguageModel) -> None:
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    model.generate("Count: 1, 2, 3,", max_new_tokens=10)
    done.set()
    thread.join()
    assert counted > 20


# --- Scores ---


def test_a_score_is_the_sum_of_its_tokens(tiny: lm.LanguageModel) -> None:
    score = tiny.score(TEXT, token_log_probabilities=True)
    rows = logits_of(tiny, score.ids)
    expected = [rows[i, id] for i, id in enumerate(score.ids[1:])]
    np.testing.assert_allclose(score.log_probabilities, expected, atol=1e-5)
    assert score.tokens == len(score.ids) - 1
    assert score.log_probability == pytest.approx(sum(expected), abs=1e-4)
    assert score.perplexity == pytest.approx(math.exp(-np.mean(expected)), rel=1e-5)
    assert [s.log_probability for s in tiny.score([TEXT, "the"])] == [
        score.log_probability,
        tiny.score("the").log_probability,
    ]
    assert tiny.score([]) == []
    assert math.isnan(tiny.score("").perplexity)


def test_perplexity_by_domain(tiny: lm.LanguageModel) -> None:
    domains = {"a": ["the thing", "and"], "none": [], "b": [TEXT * 10]}
    found = tiny.perplexity(domains, window=40, stride=10)
    assert list(found) == ["a", "none", "b"]
    assert math.isnan(found["none"].perplexity)
    scores = tiny.score(domains["a"])
    assert found["a"].tokens == sum(s.tokens for s in scores)
    mean = sum(s.log_probability for s in scores) / found["a"].tokens
    assert found["a"].perplexity == pytest.approx(math.exp(-mean))
    assert found["b"].windows > 5
    with pytest.raises(collegium.InvalidArgumentError, match=r"domains\['a'\] is one str"):
        tiny.perplexity({"a": "the"})
    with pytest.raises(collegium.InvalidArgumentError, match="stride"):
        tiny.score(TEXT, window=10, stride=10)
    with pytest.raises(collegium.InvalidArgumentError, match=r"texts\[1\]"):
        tiny.score(["a", "\ud800"])


def test_score_reports_its_progress_and_may_be_cancelled(tiny: lm.LanguageModel) -> None:
    seen: list[tuple[str, int, int]] = []

    def note(stage: str, done: int, total: int) -> None:
        seen.append((stage, done, total))

    tiny.score("x" * 3000, progress=note)
    assert seen[0][:2] == ("score", 0)
    with pytest.raises(collegium.CancelledError):
        tiny.score("x" * 3000, progress=lambda *_: False)


def test_a_file_that_is_no_gguf_is_corruption(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not a model" * 100)
    with pytest.raises(collegium.CorruptionError):
        lm.load(tmp_path / "x.gguf")


def test_fast_is_near_exact_and_says_so(smollm2: Path) -> None:
    exact, fast = lm.load(smollm2), lm.load(smollm2, compute="fast")
    assert (exact.compute, exact.packed_bytes) == ("exact", 0)
    assert fast.compute == "fast"
    assert fast.packed_bytes > 90_000_000
    assert fast.digest == exact.digest
    text = "The treaty was signed in Paris in 1783, and it ended the war between the two countries."
    wanted = exact.score([text])[0].perplexity
    assert fast.score([text])[0].perplexity == pytest.approx(wanted, rel=0.03)


def test_fast_batches_equal_their_solo_runs(smollm2: Path) -> None:
    model = lm.load(smollm2, compute="fast")
    prompts = ["The river", "In 1969, the first", "def main():", "A short list of colours:"]
    alone = [model.generate(prompt, max_new_tokens=10).ids for prompt in prompts]
    assert [one.ids for one in model.generate_batch(prompts, max_new_tokens=10)] == alone


def test_compute_is_one_of_two(tiny: lm.LanguageModel) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match='"int8", expected "exact" or "fast"'):
        lm.load(ROOT / "tests/data/tiny_llama.gguf", compute="int8")  # type: ignore[arg-type]
    assert tiny.compute == "exact"


def test_prompt_lookup_guesses_what_stood_before(model: lm.LanguageModel) -> None:
    line = "one two three four five six seven eight nine ten. "
    prompt = line * 3 + "one two"
    plain = model.generate(prompt, max_new_tokens=24)
    quick = model.generate(prompt, max_new_tokens=24, prompt_lookup=8)
    assert quick.ids == plain.ids
    assert quick.text == plain.text
    assert plain.guessed_tokens == 0
    assert quick.guessed_tokens >= quick.accepted_tokens > 6


def test_requests_share_the_beginning_of_their_prompts(tiny: lm.LanguageModel) -> None:
    prompts = ["p" * 60 + end for end in ("a", "bc", "d")]
    made = tiny.generate_batch(prompts, max_new_tokens=5)
    assert made[0].shared_tokens == 0
    assert all(one.shared_tokens > 30 for one in made[1:])
    assert [one.ids for one in made] == [
        tiny.generate(prompt, max_new_tokens=5).ids for prompt in prompts
    ]


def test_a_draft_guesses_and_changes_nothing(smollm2: Path, model: lm.LanguageModel) -> None:
    draft = lm.load(smollm2, compute="fast")
    plain = model.generate(TEXT, max_new_tokens=24)
    quick = model.generate(TEXT, max_new_tokens=24, draft=draft, draft_tokens=6)
    assert quick.ids == plain.ids
    assert quick.accepted_tokens > quick.guessed_tokens // 2
    sampled: dict[str, Any] = {
        "temperature": 0.9,
        "top_k": 40,
        "seed": 3,
        "max_new_tokens": 24,
    }
    options = lm.GenerateOptions(draft=draft, **sampled)
    assert options.draft_tokens == 4
    twin = model.generate(TEXT, options=options)
    assert twin.ids == model.generate(TEXT, options=lm.GenerateOptions(**sampled)).ids
    assert twin.accepted_tokens > 0
    assert model.generate(TEXT, options=options, max_new_tokens=4).ids == twin.ids[:4]
    with pytest.raises(TypeError, match="draft is str"):
        model.generate(TEXT, draft="fast")  # type: ignore[arg-type]


def test_another_vocabulary_is_no_draft(tiny: lm.LanguageModel, model: lm.LanguageModel) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=r"draft: .* another vocabulary"):
        model.generate(TEXT, draft=tiny)


def test_weights_of_a_folder_are_made_bytes_and_half_bytes(tmp_path: Path) -> None:
    path = ROOT / "tests/data/lm_folder"
    sizes = []
    for weights in ("stored", "int8", "int4"):
        model = lm.load(path, compute="fast", weights=weights)
        sizes.append(model.packed_bytes)
        model.save_packed(tmp_path / weights)
        mapped = lm.load(path, compute="fast", packed=tmp_path / weights)
        assert (
            mapped.generate(TEXT, max_new_tokens=9).ids
            == model.generate(TEXT, max_new_tokens=9).ids
        )
    assert sizes[0] > 1.8 * sizes[1] > sizes[1] > sizes[2]
    with pytest.raises(collegium.InvalidArgumentError, match='weights is "fp8"'):
        lm.load(path, compute="fast", weights="fp8")  # type: ignore[arg-type]
    with pytest.raises(collegium.InvalidArgumentError, match="exact"):
        lm.load(path, weights="int8")
    with pytest.raises(collegium.InvalidArgumentError, match="packed"):
        lm.load(path, compute="fast", weights="int8", packed=tmp_path / "int8")


def test_packed_weights_are_mapped(tiny: lm.LanguageModel, tmp_path: Path) -> None:
    path = ROOT / "tests/data/tiny_llama.gguf"
    fast = lm.load(path, compute="fast")
    fast.save_packed(tmp_path / "tiny.packed")
    mapped = lm.load(path, compute="fast", packed=tmp_path / "tiny.packed")
    assert (
        mapped.generate(TEXT, max_new_tokens=20).ids == fast.generate(TEXT, max_new_tokens=20).ids
    )
    with pytest.raises(collegium.FailedPreconditionError, match="exact"):
        tiny.save_packed(tmp_path / "none")
    with pytest.raises(collegium.InvalidArgumentError, match="packed"):
        lm.load(path, packed=tmp_path / "tiny.packed")
