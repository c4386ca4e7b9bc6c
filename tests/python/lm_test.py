from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import collegium


@pytest.fixture(scope="module")
def model(smollm2: Path) -> collegium.LanguageModel:
    return collegium.LanguageModel.load(smollm2)


HELLO = [{"role": "user", "content": "Say hello."}]


def test_greedy_generation_repeats_itself_and_streams_its_text(
    model: collegium.LanguageModel,
) -> None:
    pieces: list[str] = []
    first = model.chat(HELLO, max_new_tokens=12, on_token=pieces.append)
    assert first.text
    assert "".join(pieces) == first.text
    assert model.chat(HELLO, max_new_tokens=12).ids == first.ids
    assert len(first.ids) <= 12
    assert first.flops > 0


def test_on_token_stops_with_false_and_its_exceptions_come_through(
    model: collegium.LanguageModel,
) -> None:
    stopped = model.chat(HELLO, max_new_tokens=30, on_token=lambda _: False)
    assert len(stopped.ids) <= 3
    assert not stopped.stopped

    def fail(piece: str) -> None:
        raise KeyError(piece)

    with pytest.raises(KeyError):
        model.chat(HELLO, max_new_tokens=30, on_token=fail)


def test_logits_have_a_row_a_position_and_agree_with_greedy(
    model: collegium.LanguageModel,
) -> None:
    prompt = model.apply_chat_template(HELLO)
    ids = model.tokenizer.encode(prompt).ids
    logits = model.logits(ids)
    assert logits.shape == (len(ids), model.tokenizer.vocab_size)
    assert logits.dtype == np.float32
    assert int(logits[-1].argmax()) == model.generate(prompt, max_new_tokens=1).ids[0]


def test_bad_options_and_messages_are_refused(model: collegium.LanguageModel) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="top_p"):
        model.generate("x", top_p=0.0)
    with pytest.raises(collegium.InvalidArgumentError, match="expected role and content"):
        model.chat([{"role": "user"}])
    with pytest.raises(collegium.InvalidArgumentError, match=r"messages\[1\]\['content'\].*UTF-8"):
        model.chat([*HELLO, {"role": "user", "content": "\ud800"}])
    with pytest.raises(collegium.InvalidArgumentError, match=r"messages\[0\]\['role'\] is int"):
        model.apply_chat_template([{"role": 3, "content": "x"}])  # type: ignore[dict-item]
    for name in ("max_new_tokens", "top_k", "seed"):
        with pytest.raises(collegium.InvalidArgumentError, match=f"{name} is -1"):
            model.generate("x", **{name: -1})  # type: ignore[arg-type]


def test_a_file_that_is_no_gguf_is_corruption(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not a model" * 100)
    with pytest.raises(collegium.CorruptionError):
        collegium.LanguageModel.load(tmp_path / "x.gguf")
