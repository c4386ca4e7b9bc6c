from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import collegium

DATA = Path(__file__).resolve().parents[1] / "data" / "encoder"
TEXTS = ["the river runs", "law", "", "what is the market?"]


@pytest.fixture(scope="module")
def encoder() -> collegium.Encoder:
    return collegium.Encoder.load(DATA / "families" / "mpnet")


@pytest.fixture(scope="module")
def lora(encoder: collegium.Encoder) -> collegium.LoraAdapter:
    return collegium.LoraAdapter.load(DATA / "loras" / "mpnet" / "feed-forward", encoder)


@pytest.fixture
def experts(encoder: collegium.Encoder, lora: collegium.LoraAdapter) -> collegium.ExpertSet:
    experts = collegium.ExpertSet(encoder)
    experts.set_lora("law", lora)
    weight = np.roll(np.eye(encoder.dim, dtype=np.float32), 1, axis=0)
    experts.set_head(
        "finance", collegium.HeadAdapter.create(weight, np.zeros(encoder.dim, np.float32))
    )
    experts.set_encoder(
        "medicine", collegium.Encoder.load(DATA / "families" / "roberta", truncate_dim=32)
    )
    return experts


def test_a_lora_says_what_it_adapts(lora: collegium.LoraAdapter) -> None:
    assert lora.rank == 2
    assert lora.first_layer == 0
    assert "encoder.layer.0.attention.attn.q" in lora.modules
    assert repr(lora) == f"<LoraAdapter rank 2 on {len(lora.modules)} modules>"


def test_rows_of_a_mixed_batch_are_those_alone(experts: collegium.ExpertSet) -> None:
    assert experts.names == ["finance", "law", "medicine"]
    names = ["law", "", "medicine", "finance"]
    mixed = experts.encode(TEXTS, names, kind="query")
    assert mixed.shape == (4, 32)
    assert mixed.dtype == np.float32
    for row, (text, name) in enumerate(zip(TEXTS, names, strict=True)):
        np.testing.assert_array_equal(experts.encode([text], [name], kind="query")[0], mixed[row])
    plain = experts.encoder.encode(TEXTS, kind="query")
    np.testing.assert_array_equal(mixed[1], plain[1])
    assert not np.array_equal(mixed[0], plain[0])
    np.testing.assert_allclose(mixed[3], np.roll(plain[3], 1), atol=1e-6)


def test_every_text_under_every_expert(experts: collegium.ExpertSet) -> None:
    names = ["finance", "", "law"]
    under = experts.encode_under(TEXTS, names)
    assert under.shape == (4, 3, 32)
    for column, name in enumerate(names):
        np.testing.assert_array_equal(under[:, column], experts.encode(TEXTS, [name] * 4))


def test_unknown_experts_and_wrong_counts_are_errors(experts: collegium.ExpertSet) -> None:
    with pytest.raises(collegium.NotFoundError, match="no expert 'tax'; there are 'finance'"):
        experts.encode(TEXTS, ["law", "law", "law", "tax"])
    with pytest.raises(collegium.InvalidArgumentError, match="3 for 4 texts"):
        experts.encode(TEXTS, ["law"] * 3)
    with pytest.raises(collegium.InvalidArgumentError, match="experts is empty"):
        experts.encode_under(TEXTS, [])
    with pytest.raises(collegium.InvalidArgumentError, match="experts"):
        experts.encode(TEXTS, "law!")
    with pytest.raises(collegium.NotFoundError, match="'tax'"):
        experts.remove("tax")
    experts.remove("law")
    with pytest.raises(collegium.NotFoundError, match="'law'"):
        experts.encode(["a"], ["law"])


def test_what_does_not_fit_the_encoder_is_refused(
    experts: collegium.ExpertSet, encoder: collegium.Encoder
) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="dim 3"):
        experts.set_head("x", collegium.HeadAdapter.identity(3))
    other = collegium.Encoder.load(DATA / "families" / "bert-silu")
    with pytest.raises(collegium.InvalidArgumentError, match="dim 20"):
        experts.set_encoder("x", other)
    with pytest.raises(collegium.CorruptionError, match="no linear module"):
        collegium.LoraAdapter.load(DATA / "loras" / "mpnet" / "feed-forward", other)
    with pytest.raises(collegium.NotFoundError, match="adapter_config"):
        collegium.LoraAdapter.load(DATA / "nowhere", encoder)


def test_a_truncated_encoder_has_fewer_dimensions(encoder: collegium.Encoder) -> None:
    shortened = collegium.Encoder.load(encoder.folder, truncate_dim=8)
    assert (shortened.dim, shortened.token_dim) == (8, 32)
    assert shortened.token_vectors("law").shape[1] == 32
    whole = encoder.encode(["law"])[0, :8]
    np.testing.assert_allclose(
        shortened.encode(["law"])[0], whole / np.linalg.norm(whole), atol=1e-6
    )
    for wrong in (0, 33):
        with pytest.raises(collegium.InvalidArgumentError, match=f"truncate_dim is {wrong}"):
            collegium.Encoder.load(encoder.folder, truncate_dim=wrong)


@pytest.mark.parametrize(("compute", "cosine"), [("int8", 0.9), ("bf16", 0.999)])
def test_int8_and_bf16_are_near_fp32(
    encoder: collegium.Encoder, tmp_path: Path, compute: Literal["int8", "bf16"], cosine: float
) -> None:
    reduced = collegium.Encoder.load(encoder.folder, compute=compute)
    assert (encoder.compute, reduced.compute) == ("fp32", compute)
    cosines = (reduced.encode(TEXTS) * encoder.encode(TEXTS)).sum(axis=1)
    assert (cosines > cosine).all()
    assert (cosines < 1 - 1e-6).any()
    reduced.convert(tmp_path / "packed")
    mapped = collegium.Encoder.load(tmp_path / "packed")
    assert mapped.compute == compute
    np.testing.assert_array_equal(mapped.encode(TEXTS), reduced.encode(TEXTS))
    partly = collegium.Encoder.load(encoder.folder, compute=compute, fp32_layers=[0, 1])
    np.testing.assert_array_equal(partly.encode(TEXTS), encoder.encode(TEXTS))
    with pytest.raises(collegium.InvalidArgumentError, match="'fp32', 'int8' or 'bf16'"):
        collegium.Encoder.load(encoder.folder, compute="int4")  # type: ignore[arg-type]
