from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import collegium
from collegium import experts


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Path) -> collegium.Encoder:
    return collegium.Encoder.load(tiny_encoder)


TEXTS = ["one", "two words here", "a somewhat longer text, with commas", "", "one"]


def test_vectors_are_float32_rows_of_unit_length(encoder: collegium.Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dim)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_a_vector_is_bit_equal_alone_and_in_company(encoder: collegium.Encoder) -> None:
    together = encoder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        np.testing.assert_array_equal(encoder.encode([text])[0], together[row])
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], together)


@pytest.mark.parametrize("dim", [0, 16385, 2**32, 2**40])
def test_the_identity_of_a_dim_no_adapter_has_is_refused(dim: int) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match=rf"dim {dim} is not in \[1, 16384\]"):
        experts.HeadAdapter.identity(dim)
    assert experts.HeadAdapter.identity(3).weight.tolist() == np.eye(3).tolist()


def test_no_texts_give_no_rows(encoder: collegium.Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_embed_says_what_was_cut(encoder: collegium.Encoder) -> None:
    out = encoder.embed(["short", "long " * (2 * encoder.max_tokens)])
    assert out.truncated.tolist() == [False, True]
    assert out.num_tokens[1] == encoder.max_tokens
    assert out.num_tokens.dtype == np.int64


@pytest.mark.parametrize("texts", ["one text", [b"bytes"], ["a", None], ["\ud800"]])
def test_what_is_not_a_list_of_text_is_refused(encoder: collegium.Encoder, texts: object) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="texts"):
        encoder.encode(texts)  # type: ignore[arg-type]


def test_an_unknown_kind_is_refused(encoder: collegium.Encoder) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="'passage'"):
        encoder.encode(["a"], kind="passage")  # type: ignore[arg-type]


def test_token_vectors_have_a_row_a_token(encoder: collegium.Encoder) -> None:
    rows = encoder.token_vectors("two words")
    assert rows.shape == (len(encoder.tokenizer.encode("two words")), encoder.dim)


def test_a_folder_without_a_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(collegium.NotFoundError, match=r"config\.json"):
        collegium.Encoder.load(tmp_path)


def test_minilm_knows_what_is_alike(minilm: Path) -> None:
    vectors = collegium.Encoder.load(minilm).encode(
        ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose again."]
    )
    assert vectors.shape == (3, 384)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.4 > similarity[0, 2]


def random_adapter(dim: int, seed: int = 1) -> collegium.HeadAdapter:
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((dim, dim)).astype(np.float32)
    bias = generator.standard_normal(dim).astype(np.float32)
    return collegium.HeadAdapter.create(weight, bias)


def test_an_adapter_is_the_normalised_linear_map() -> None:
    adapter = random_adapter(16)
    queries = np.random.default_rng(2).standard_normal((5, 16)).astype(np.float32)
    expected = queries.astype(np.float64) @ adapter.weight.T.astype(np.float64) + adapter.bias
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(adapter.apply(queries), expected, atol=1e-5)


def test_weights_are_read_only_and_outlive_the_adapter() -> None:
    adapter = random_adapter(8)
    weight = adapter.weight
    before = weight.copy()
    assert not weight.flags.writeable
    assert not weight.flags.owndata
    del adapter
    np.testing.assert_array_equal(weight, before)


def test_an_adapter_survives_its_file(tmp_path: Path) -> None:
    adapter = random_adapter(8)
    adapter.save(tmp_path / "adapter.bin")
    again = collegium.HeadAdapter.load(tmp_path / "adapter.bin")
    np.testing.assert_array_equal(again.weight, adapter.weight)
    assert again.digest == adapter.digest
    damaged = bytearray((tmp_path / "adapter.bin").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "adapter.bin").write_bytes(damaged)
    with pytest.raises(collegium.CorruptionError):
        collegium.HeadAdapter.load(tmp_path / "adapter.bin")


@pytest.mark.parametrize(
    "queries",
    [
        np.zeros((2, 8)),
        np.zeros((2, 7), dtype=np.float32),
        np.zeros(8, dtype=np.float32),
        np.zeros((8, 2), dtype=np.float32).T,
        np.zeros((2, 16), dtype=np.float32)[:, ::2],
    ],
)
def test_a_matrix_that_would_need_a_copy_is_refused(queries: np.ndarray) -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="C-contiguous float32"):
        random_adapter(8).apply(queries)


def test_training_learns_a_rotation() -> None:
    generator = np.random.default_rng(4)
    passages = generator.standard_normal((200, 16)).astype(np.float32)
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    rotation = np.linalg.qr(generator.standard_normal((16, 16)))[0].astype(np.float32)
    queries = np.ascontiguousarray(passages @ rotation)
    positives = [[i] for i in range(200)]
    seen: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        seen.append(stage)

    trained = experts.train_head_adapter(
        passages,
        np.arange(200, dtype=np.uint32),
        queries[:160],
        positives[:160],
        queries[160:],
        positives[160:],
        options=experts.HeadAdapterOptions(max_epochs=40, learning_rate=0.02),
        progress=progress,
    )
    assert trained.strength > 0
    assert trained.dev_ndcg > trained.dev_ndcg_plain + 0.3
    assert trained.loss[-1] < trained.loss[0]
    assert seen


def test_rows_may_be_integers_of_any_type_and_what_does_not_fit_is_refused() -> None:
    generator = np.random.default_rng(2)
    passages = generator.standard_normal((8, 4)).astype(np.float32)
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    dev_queries = np.ascontiguousarray(passages[::-1])
    positives = [[number] for number in range(8)]

    def train(
        rows: Any, train_positives: Any = positives, dev_positives: Any = positives, **more: Any
    ) -> Any:
        return experts.train_head_adapter(
            passages, rows, passages, train_positives, dev_queries, dev_positives, **more
        )

    expected = train(np.arange(8, dtype=np.uint32)).adapter.digest
    assert train(np.arange(8)).adapter.digest == expected
    assert train(list(range(8))).adapter.digest == expected
    with pytest.raises(collegium.InvalidArgumentError, match="row_document has numbers from -1"):
        train(np.arange(8) - 1)
    with pytest.raises(collegium.InvalidArgumentError, match=r"row_document has shape .* of float"):
        train(np.arange(8.0))
    with pytest.raises(collegium.InvalidArgumentError, match=r"train_positives\[3\] has numbers"):
        train(np.arange(8), [*positives[:3], [-1], *positives[4:]])
    with pytest.raises(collegium.InvalidArgumentError, match=r"dev_positives\[0\] has numbers"):
        train(np.arange(8), dev_positives=[[2**40], *positives[1:]])
    with pytest.raises(collegium.InvalidArgumentError, match=r"hard\[1\] has numbers"):
        train(np.arange(8), hard=[[], [-1], *[[]] * 6])
    with pytest.raises(collegium.InvalidArgumentError, match=r"teacher\[2\] .* expected numbers"):
        train(np.arange(8), hard=[[]] * 8, teacher=[[1.0], [1.0], ["much"], *[[1.0]] * 5])
    with pytest.raises(collegium.InvalidArgumentError, match="teacher's scores of 1 queries"):
        train(
            np.arange(8),
            hard=[[]] * 8,
            teacher=[[1.0]],
            options=experts.HeadAdapterOptions(loss="margin-mse"),
        )


def test_dev_queries_that_were_trained_on_are_refused() -> None:
    rows = np.eye(8, dtype=np.float32)
    positives = [[number] for number in range(8)]
    with pytest.raises(collegium.InvalidArgumentError, match="must not overlap train"):
        experts.train_head_adapter(rows, np.arange(8), rows, positives, rows, positives)


def training_loss(
    weight: Any,
    bias: Any,
    queries: Any,
    passages: Any,
    positives: list[list[int]],
    loss: str,
    others_of: list[list[int]],
    teacher: Any,
) -> Any:
    """What training descends, in torch; `others_of` each query without what it is not pushed from.

    `teacher`: scores of all passages by query.
    """
    torch = pytest.importorskip("torch")
    mapped = torch.nn.functional.normalize(queries @ weight.T + bias, dim=1)
    scores = mapped @ passages.T
    total, count = 0.0, 0
    if loss == "margin-mse":
        scale = torch.sqrt(
            sum(((plain := queries @ passages.T)[q, p] - plain[q, others_of[q]]).square().sum()
                for q, relevant in enumerate(positives) for p in relevant)
            / sum((teacher[q, p] - teacher[q, others_of[q]]).square().sum()
                  for q, relevant in enumerate(positives) for p in relevant)
        )  # fmt: skip
        for q, relevant in enumerate(positives):
            for p in relevant:
                margins = scores[q, p] - scores[q, others_of[q]]
                taught = scale * (teacher[q, p] - teacher[q, others_of[q]])
                total = total + (margins - taught).square().mean()
                count += 1
        return total / count
    scores = scores / 0.05
    for query, relevant in enumerate(positives):
        others = others_of[query]
        groups = [relevant] if loss == "listwise" else [[one] for one in relevant]
        for group in groups:
            kept = torch.cat([scores[query, group], scores[query, others]])
            total = total + (torch.logsumexp(kept, 0) - scores[query, group].mean())
            count += 1
    return total / count


@pytest.mark.parametrize(
    ("loss", "pool"),
    [("infonce", "whole"), ("infonce", "mined"), ("listwise", "whole"), ("margin-mse", "mined")],
)
def test_full_batch_training_is_adams_on_autograds_gradient(loss: str, pool: str) -> None:
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(6)

    def unit(n: int) -> Any:
        rows = generator.standard_normal((n, 12)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    passages, queries, dev = unit(40), unit(30), unit(20)
    positives = [[i, (i * 7 + 3) % 40] if i % 3 == 0 else [i] for i in range(30)]
    hard = [sorted({(i * 5 + j) % 40 for j in range(6)} - set(positives[i])) for i in range(30)]
    teacher = torch.from_numpy(generator.standard_normal((30, 40)).astype(np.float32))
    others = [[row for row in range(40) if row not in relevant] for relevant in positives]
    if pool == "mined" and loss == "infonce":
        plain = queries @ passages.T
        best = [max(plain[i, relevant]) for i, relevant in enumerate(positives)]
        found = [set(np.argsort(-plain[i])[:4]) | set(hard[i]) for i in range(30)]
        left_out = [{row for row in found[i] if plain[i, row] > best[i] + 0.1} for i in range(30)]
        assert any(left_out)
        pushing = {row for i in range(30) for row in found[i] - left_out[i] - set(positives[i])}
        pushing |= {row for relevant in positives for row in relevant}
        others = [
            [r for r in others[i] if r in pushing and r not in left_out[i]] for i in range(30)
        ]
    elif loss == "margin-mse":
        others = hard
    weight = torch.eye(12, requires_grad=True)
    bias = torch.zeros(12, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.03)
    losses, states = [], []
    for epoch in range(6):
        for group in optimizer.param_groups:
            group["lr"] = 0.03 * (0.1 + 0.45 * (1 + np.cos(np.pi * epoch / 6)))
        optimizer.zero_grad()
        value = training_loss(
            weight,
            bias,
            torch.from_numpy(queries),
            torch.from_numpy(passages),
            positives,
            loss,
            others,
            teacher,
        )
        value.backward()
        optimizer.step()
        losses.append(value.item())
        states.append((weight.detach().numpy().copy(), bias.detach().numpy().copy()))
    # What dev wants is where training leads, so that much of the way is chosen.
    wanted = (dev @ states[-1][0].T + states[-1][1]) @ passages.T
    trained = experts.train_head_adapter(
        passages,
        np.arange(40),
        queries,
        positives,
        dev,
        [[int(one)] for one in wanted.argmax(1)],
        hard=hard if pool == "mined" else None,
        teacher=[[float(teacher[i, row]) for row in [*positives[i], *hard[i]]] for i in range(30)]
        if loss == "margin-mse"
        else None,
        options=experts.HeadAdapterOptions(
            batch_size=64,
            max_epochs=6,
            learning_rate=0.03,
            loss=loss,
            pools=(pool,),
            mined_negatives=4,
            false_negative_margin=-0.1,
            enough_dev=0,
            patience=0,
        ),
    )
    assert trained.loss == pytest.approx(losses, rel=1e-4)
    assert trained.strength > 0
    weight_then, bias_then = states[trained.epochs - 1]
    expected = np.eye(12) + trained.strength * (weight_then - np.eye(12))
    np.testing.assert_allclose(trained.adapter.weight, expected, atol=2e-5)
    np.testing.assert_allclose(trained.adapter.bias, trained.strength * bias_then, atol=2e-5)


def test_merging_is_mixing_before_normalisation() -> None:
    generator = np.random.default_rng(8)
    first, second = random_adapter(8, seed=1), random_adapter(8, seed=2)
    queries = generator.standard_normal((5, 8)).astype(np.float32)
    merged = collegium.HeadAdapter.merge([first, second], [0.5, 0.2])
    mixed = 0.3 * queries
    for adapter, share in ((first, 0.5), (second, 0.2)):
        mixed = mixed + share * (queries @ adapter.weight.T + adapter.bias)
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(merged.apply(queries), mixed, atol=1e-6)
    with pytest.raises(collegium.InvalidArgumentError, match=r"sum to 1\.5"):
        collegium.HeadAdapter.merge([first, second], [0.75, 0.75])


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(collegium.InvalidArgumentError, match="temperature"):
        collegium.HeadAdapterOptions(temperature=-1.0)


def test_a_head_adapter_of_low_rank_is_the_map_of_its_factors(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    down = rng.standard_normal((2, 6), dtype=np.float32)
    up = rng.standard_normal((6, 2), dtype=np.float32)
    bias = rng.standard_normal(6, dtype=np.float32)
    adapter = experts.HeadAdapter.create_low_rank(down, up, bias)
    assert (adapter.dim, adapter.rank) == (6, 2)
    np.testing.assert_allclose(adapter.weight, np.eye(6) + up @ down, atol=1e-6)
    queries = rng.standard_normal((3, 6), dtype=np.float32)
    mapped = queries @ (np.eye(6) + up @ down).T + bias
    mapped /= np.linalg.norm(mapped, axis=1, keepdims=True)
    np.testing.assert_allclose(adapter.apply(queries), mapped, atol=1e-5)
    adapter.save(tmp_path / "adapter.bin")
    assert experts.HeadAdapter.load(tmp_path / "adapter.bin").rank == 2
    with pytest.raises(collegium.InvalidArgumentError, match="rank 7 is not in"):
        experts.HeadAdapter.create_low_rank(
            np.zeros((7, 6), np.float32), np.zeros((6, 7), np.float32), bias
        )
