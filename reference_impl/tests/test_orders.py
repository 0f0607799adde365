"""Other orders of computation: the same formula, another honest rounding."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos import ModelConfig, ops, orders
from llmasos.architectures import gpt3
from llmasos.orders import ORDERS

OTHERS = [name for name in ORDERS if name != "plain"]


@pytest.fixture(scope="module")
def logits(document: Any, loud_weights: Any) -> Any:
    """Logits of one model, computed in a dtype and an order."""

    def compute(dtype: type, order: str, *, seed: int) -> np.ndarray:
        given_document = document(vocab_size=97, embedding_dim=64, feed_forward_dim=256, context_length=64)
        config = ModelConfig.from_document(given_document)
        weights = {name: array.astype(np.float32) for name, array in loud_weights(given_document, seed).items()}
        weights = {name: array.astype(dtype) for name, array in weights.items()}
        ids = np.random.default_rng(seed).integers(0, 97, (1, 48))
        return gpt3.forward(weights, config, ids, None, ORDERS[order])[0]

    return compute


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_float32_orders_differ_bitwise_and_are_equally_honest(logits: Any, seed: int) -> None:
    truth = logits(np.float64, "plain", seed=seed)
    results = {name: logits(np.float32, name, seed=seed) for name in ORDERS}
    assert {result.dtype for result in results.values()} == {np.dtype(np.float32)}
    assert len({result.tobytes() for result in results.values()}) == len(ORDERS)
    error = {name: np.sqrt(np.mean((y - truth) ** 2)) / truth.std() for name, y in results.items()}
    assert 5e-8 < error["plain"] < 2e-6
    assert all(0.5 < error[name] / error["plain"] < 2 for name in OTHERS), error


@pytest.mark.parametrize("order", OTHERS)
def test_float64_orders_agree(logits: Any, order: str) -> None:
    truth, other = logits(np.float64, "plain", seed=1), logits(np.float64, order, seed=1)
    assert other.dtype == np.float64
    assert 0 < np.abs(other - truth).max() / truth.std() < 1e-13


@settings(max_examples=60)
@given(
    T=st.integers(1, 9),
    held=st.integers(0, 9),
    K=st.integers(1, 20),
    order=st.sampled_from(OTHERS),
    seed=st.integers(0, 999),
)
def test_attention_of_any_shape_agrees(T: int, held: int, K: int, order: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, k, v = rng.normal(size=(2, 3, T, K)), *rng.normal(size=(2, 2, 3, held + T, K))
    np.testing.assert_allclose(
        ORDERS[order].attention(q, k, v, ops.causal_mask(T, held + T)),
        ops.attention(q, k, v, ops.causal_mask(q.shape[-2], k.shape[-2])),
        rtol=1e-11,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    "matmul",
    [
        orders.matmul_split, orders.matmul_sequential, orders.matmul_reversed,
        *(partial(orders.matmul_lanes, lanes=lanes) for lanes in (2, 3, 5, 7)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("K", [1, 2, 15, 16, 17, 100])
def test_contractions_are_exact_on_small_integers(matmul: orders.MatMul, K: int) -> None:
    rng = np.random.default_rng(K)
    a, b = rng.integers(-9, 9, (2, 3, K)).astype(np.float32), rng.integers(-9, 9, (2, K, 4)).astype(np.float32)
    np.testing.assert_array_equal(matmul(a, b), a @ b)
    np.testing.assert_array_equal(matmul(a, b[0]), a @ b[0])


def test_lanes_add_every_so_many_th_term_on_its_own() -> None:
    # 2^24 + 1 rounds back to 2^24 in float32, and 2^24 + 3 to 2^24 + 4.
    a = np.array([[2.0**24, 1, 0, 1, 0, 1]], dtype=np.float32)
    ones = np.ones((6, 1), dtype=np.float32)
    assert orders.matmul_lanes(a, ones, 2)[0, 0] == 2.0**24 + 4  # the ones are in the other lane
    assert orders.sum_lanes(a, 2)[0, 0] == 2.0**24 + 4
    assert orders.sum_lanes(a, 3)[0, 0] == 2.0**24  # its own lane's one is lost, and each of the others'
    assert orders.sum_lanes(a[:, :1], 5)[0, 0] == 2.0**24


def test_sequential_means_one_after_the_other() -> None:
    # 2^24 + 1 rounds back to 2^24 in float32; the small terms are lost only if each is added to the large one
    a = np.array([[2.0**24, 1, 1, 1, 1]], dtype=np.float32)
    ones = np.ones((5, 1), dtype=np.float32)
    assert orders.matmul_sequential(a, ones)[0, 0] == 2.0**24
    assert orders.sum_sequential(a)[0, 0] == 2.0**24
    assert orders.sum_sequential(a[:, ::-1])[0, 0] == 2.0**24 + 4


def test_sequential_maps_begin_with_their_bias() -> None:
    x, bias = np.ones((1, 4), dtype=np.float32), np.array([2.0**24, 1], dtype=np.float32)
    weight = np.ones((4, 2), dtype=np.float32)
    assert orders.SEQUENTIAL.linear(x, weight, bias).tolist() == [[2.0**24, 5]]
    assert orders.PLAIN.linear(x, weight, bias).tolist() == [[2.0**24 + 4, 5]]
    assert orders.SEQUENTIAL.linear(x, weight, None).tolist() == [[4, 4]]


def test_one_pass_variance_never_falls_below_zero() -> None:
    x = np.full((1, 7), 1e3 + 1e-3, dtype=np.float32)
    ones = np.ones(7, dtype=np.float32)
    assert np.all(np.isfinite(orders.layer_norm_one_pass(x, ones, ones, 1e-12)))
