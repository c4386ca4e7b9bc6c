from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

import collegium
from collegium import lm
from conftest import ROOT, RunPython

TEXT = "the thing and the other"


@pytest.fixture(scope="module")
def tiny() -> lm.LanguageModel:
    """Random weights and a context of 96 tokens; no language of ours."""
    return lm.load(ROOT / "tests/data/tiny_llama.gguf")


def test_results_are_those_of_each_request_alone(tiny: lm.LanguageModel) -> None:
    prompts = [f"{TEXT} {i}" for i in range(20)]
    with lm.Scheduler(tiny, max_running=6) as scheduler:
        submissions = [
            scheduler.submit(prompt, max_new_tokens=10, temperature=1.2, seed=i)
            for i, prompt in enumerate(prompts)
        ]
        results = [submission.result() for submission in submissions]
        stats = scheduler.stats
    for i, (prompt, result) in enumerate(zip(prompts, results, strict=True)):
        assert result.ids == tiny.generate(prompt, max_new_tokens=10, temperature=1.2, seed=i).ids
    assert all(submission.done() for submission in submissions)
    assert stats.finished == 20
    assert stats.generated_tokens == sum(len(result.ids) for result in results)
    assert stats.prompt_tokens == sum(result.prompt_tokens for result in results)


def test_options_come_as_object_and_keywords(tiny: lm.LanguageModel) -> None:
    with lm.Scheduler(tiny) as scheduler:
        options = lm.GenerateOptions(max_new_tokens=9)
        assert len(scheduler.submit(TEXT, options=options).result().ids) == 9
        assert len(scheduler.submit(TEXT, options=options, max_new_tokens=2).result().ids) == 2
        with pytest.raises(collegium.InvalidArgumentError, match="top_p"):
            scheduler.submit(TEXT, top_p=2.0)
        with pytest.raises(TypeError, match="top_q"):
            scheduler.submit(TEXT, top_q=1)  # type: ignore[call-arg]


def test_a_chat_is_that_of_the_model(smollm2: Path) -> None:
    model = lm.load(smollm2)
    messages = [{"role": "user", "content": "Say hello."}]
    with lm.Scheduler(model) as scheduler:
        first = scheduler.submit_chat(messages, max_new_tokens=6).result()
        assert first.ids == model.chat(messages, max_new_tokens=6).ids
        # The next turn begins as the first ended.
        messages += [
            {"role": "assistant", "content": first.text},
            {"role": "user", "content": "Again."},
        ]
        second = scheduler.submit_chat(messages, max_new_tokens=6).result()
        assert second.ids == model.chat(messages, max_new_tokens=6).ids
        assert second.shared_tokens >= first.prompt_tokens


def test_what_is_kept_is_read_once(tiny: lm.LanguageModel) -> None:
    passage = "x" * 50
    with lm.Scheduler(tiny) as scheduler:
        assert scheduler.submit(passage + "?", max_new_tokens=3).result().shared_tokens == 0
        assert scheduler.submit(passage + "!", max_new_tokens=3).result().shared_tokens >= 50
        assert scheduler.stats.kept_bytes > 0
    with lm.Scheduler(tiny, max_kept_bytes=0) as scheduler:
        scheduler.submit(passage + "?", max_new_tokens=3).result()
        assert scheduler.submit(passage + "!", max_new_tokens=3).result().shared_tokens == 0


def test_cancelling_and_waiting(tiny: lm.LanguageModel) -> None:
    held = threading.Event()
    with lm.Scheduler(tiny, max_running=1, max_waiting=1) as scheduler:
        runs = scheduler.submit(TEXT, max_new_tokens=50, on_token=lambda _: held.wait(30))
        while scheduler.stats.running == 0:
            time.sleep(0.001)
        waits = scheduler.submit(TEXT)
        assert not waits.wait(0.01)
        with pytest.raises(TimeoutError):
            waits.result(timeout=0.01)
        with pytest.raises(collegium.BusyError, match="max_waiting: 1"):
            scheduler.submit(TEXT, timeout=0.02)
        waits.cancel()
        with pytest.raises(collegium.CancelledError):
            waits.result()
        runs.cancel()
        held.set()
        with pytest.raises(collegium.CancelledError):
            runs.result()
        assert scheduler.stats.cancelled == 2
        with pytest.raises(collegium.InvalidArgumentError, match="nan"):
            scheduler.submit(TEXT, timeout=float("nan"))


def test_what_on_token_raises_comes_out_of_the_result(tiny: lm.LanguageModel) -> None:
    def fail(piece: str) -> None:
        raise KeyError(piece)

    pieces: list[str] = []
    with lm.Scheduler(tiny) as scheduler:
        failing = scheduler.submit(TEXT, on_token=fail)
        stopped = scheduler.submit(TEXT, on_token=lambda _: False)
        other = scheduler.submit(TEXT, max_new_tokens=12, on_token=pieces.append)
        with pytest.raises(KeyError):
            failing.result()
        assert stopped.result().finish_reason == "cancelled"
        text = other.result().text
        assert text
        assert "".join(pieces) == text


def test_the_memory_bound_refuses_what_can_never_fit(tiny: lm.LanguageModel) -> None:
    bound = tiny.generation_bytes(64)
    with lm.Scheduler(tiny, max_memory_bytes=bound) as scheduler:
        with pytest.raises(collegium.ResourceExhaustedError, match=str(bound)):
            scheduler.submit("x" * 80)
        submissions = [scheduler.submit(f"{i}", max_new_tokens=30) for i in range(10)]
        assert all(len(submission.result().ids) == 30 for submission in submissions)
        assert 0 < scheduler.stats.most_bytes <= bound


@pytest.mark.parametrize(
    "bounds",
    [{"max_running": 0}, {"max_running": 257}, {"max_waiting": 0}, {"max_memory_bytes": -1}],
)
def test_bounds_have_their_ranges(tiny: lm.LanguageModel, bounds: dict[str, int]) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=next(iter(bounds))):
        lm.Scheduler(tiny, **bounds)


def test_a_closed_scheduler_takes_nothing_and_has_cancelled_what_was_left(
    tiny: lm.LanguageModel,
) -> None:
    scheduler = lm.Scheduler(tiny, max_running=1)
    submissions = [scheduler.submit(TEXT, max_new_tokens=60) for _ in range(30)]
    scheduler.close()
    scheduler.close()
    assert all(submission.done() for submission in submissions)
    with pytest.raises(collegium.CancelledError):
        submissions[-1].result()
    with pytest.raises(collegium.FailedPreconditionError, match="closed"):
        scheduler.submit(TEXT)
    assert "0 running" in repr(scheduler)


def test_a_stream_of_a_scheduler(tiny: lm.LanguageModel) -> None:
    with lm.Scheduler(tiny) as scheduler:
        with scheduler.stream(TEXT, max_new_tokens=15) as pieces:
            assert "".join(pieces) == tiny.generate(TEXT, max_new_tokens=15).text
            assert pieces.result.finish_reason == "length"
        stream = scheduler.stream(TEXT, max_new_tokens=80)
        stream.close()
        assert scheduler.submit(TEXT, max_new_tokens=2).result().ids


def test_tasks_of_an_event_loop_wait_without_threads(tiny: lm.LanguageModel) -> None:
    async def main() -> None:
        with lm.Scheduler(tiny, max_running=4, max_waiting=4) as scheduler:
            before = threading.active_count()
            tasks = [
                asyncio.create_task(scheduler.agenerate(f"{TEXT} {i}", max_new_tokens=20))
                for i in range(40)
            ]
            await asyncio.sleep(0)
            assert threading.active_count() == before
            tasks[7].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(results[7], asyncio.CancelledError)
            for i, result in enumerate(results):
                if i != 7:
                    assert isinstance(result, lm.Generation)
                    assert result.ids == tiny.generate(f"{TEXT} {i}", max_new_tokens=20).ids

    asyncio.run(main())


def ignore(piece: str) -> None:
    del piece


def test_threads_submit_and_cancel_at_once(tiny: lm.LanguageModel) -> None:
    outcomes: list[str] = []

    def work(number: int) -> None:
        for i in range(25):
            submission = scheduler.submit(f"{number} {i}", max_new_tokens=8, on_token=ignore)
            if i % 2:
                submission.cancel()
            try:
                result = submission.result()
                assert result.ids == tiny.generate(f"{number} {i}", max_new_tokens=8).ids
                outcomes.append("finished")
            except collegium.CancelledError:
                assert i % 2
                outcomes.append("cancelled")

    with lm.Scheduler(tiny, max_running=3, max_waiting=2) as scheduler:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(outcomes) == 100
    assert outcomes.count("finished") >= 52


PROGRAM = """
import collegium.lm as lm
scheduler = lm.Scheduler(lm.load({path!r}))
submissions = [scheduler.submit("abc", max_new_tokens=90, on_token=len) for _ in range(50)]
submissions[0].wait()
print("leaves")
"""


def test_a_program_may_end_while_requests_run(run_python: RunPython) -> None:
    done = run_python(["-c", PROGRAM.format(path=str(ROOT / "tests/data/tiny_llama.gguf"))])
    assert (done.returncode, done.stdout, done.stderr) == (0, "leaves\n", "")


def test_keys_and_values_are_kept_in_fewer_bits() -> None:
    path = ROOT / "tests/data/tiny_llama.gguf"
    sizes = {}
    for kind in ("fp32", "bf16", "int8"):
        model = lm.load(path, kv_cache=kind)
        assert model.kv_cache == kind
        sizes[kind] = model.generation_bytes(96) - model.generation_bytes(0)
        assert model.generate(TEXT, max_new_tokens=8).ids
    assert sizes["bf16"] * 2 == sizes["fp32"]
    assert sizes["int8"] < sizes["bf16"]
    with pytest.raises(collegium.InvalidArgumentError, match='kv_cache is "int4"'):
        lm.load(path, kv_cache="int4")  # type: ignore[arg-type]
