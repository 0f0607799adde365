"""Each operation against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos import ops


def test_linear_has_the_weight_on_the_right() -> None:
    x = np.array([[1.0, 2.0]])
    weight = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 4.0]])
    np.testing.assert_array_equal(ops.linear(x, weight), [[1.0, 2.0, 11.0]])
    np.testing.assert_array_equal(ops.linear(x, weight, np.array([1.0, 1.0, -1.0])), [[2.0, 3.0, 10.0]])


def test_layer_norm_divides_by_the_biased_deviation() -> None:
    # mean 2, squared distances 1, 1, 1, 1: variance 1 with epsilon 3 under the root gives 2
    y = ops.layer_norm(np.array([1.0, 3.0, 1.0, 3.0]), np.array([1.0, 1.0, 2.0, 1.0]), np.array([0.0, 0, 0, 5]), 3.0)
    np.testing.assert_array_equal(y, [-0.5, 0.5, -1.0, 5.5])


def test_layer_norm_of_a_constant_is_the_bias() -> None:
    np.testing.assert_array_equal(ops.layer_norm(np.full(3, 7.0), np.ones(3), np.arange(3.0), 1e-5), [0, 1, 2])


def test_gelu_tanh_at_known_points() -> None:
    x = np.array([-100.0, -1.0, 0.0, 1.0, 100.0])
    at_one = 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715))
    np.testing.assert_allclose(ops.gelu_tanh(x), [0, at_one - 1, 0, at_one, 100], rtol=1e-15, atol=1e-16)
    assert abs(at_one - 0.8411919906082768) < 1e-15  # the erf form would give 0.8413447


def test_softmax_of_logarithms_is_proportions() -> None:
    np.testing.assert_allclose(ops.softmax(np.log([1.0, 2.0, 5.0])), [0.125, 0.25, 0.625], rtol=1e-15)
    np.testing.assert_array_equal(ops.softmax(np.array([1e4, -1e4, -np.inf])), [1.0, 0.0, 0.0])


def test_log_softmax_keeps_what_softmax_loses() -> None:
    np.testing.assert_array_equal(ops.log_softmax(np.array([0.0, -2000.0])), [0.0, -2000.0])


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8), st.floats(-1e3, 1e3))
def test_softmax_is_a_law_and_ignores_a_constant(row: list[float], constant: float) -> None:
    p = ops.softmax(np.array(row))
    assert abs(p.sum() - 1) < 1e-14
    np.testing.assert_allclose(ops.softmax(np.array(row) + constant), p, rtol=1e-10, atol=1e-300)
    np.testing.assert_allclose(np.exp(ops.log_softmax(np.array(row))), p, rtol=1e-12)


def test_queries_are_the_last_positions() -> None:
    np.testing.assert_array_equal(ops.causal_mask(2, 4), [[1, 1, 1, 0], [1, 1, 1, 1]])
    np.testing.assert_array_equal(ops.causal_mask(2, 2), [[1, 0], [1, 1]])


def test_attention_by_hand() -> None:
    # K = 4, so scores are halved; query 1 likes key 1 three times as much as key 0, query 0 sees key 0 alone
    q = np.zeros((1, 1, 2, 4))
    q[..., 0] = 2 * math.log(3)
    k = np.zeros((1, 1, 2, 4))
    k[0, 0, 1, 0] = 1
    v = np.array([[[[0.0, 4, 0, 0], [8.0, 0, 0, 4]]]])
    np.testing.assert_allclose(
        ops.attention(q, k, v, ops.causal_mask(q.shape[-2], k.shape[-2])), [[[[0, 4, 0, 0], [6, 1, 0, 3]]]], rtol=1e-15
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_operation_stays_in_its_dtype(dtype: type) -> None:
    x = np.ones((1, 2, 3, 4), dtype=dtype)
    row = np.ones(4, dtype=dtype)
    results = (
        ops.linear(x, np.ones((4, 5), dtype=dtype), np.ones(5, dtype=dtype)),
        ops.layer_norm(x, row, row, 1e-5),
        ops.gelu_tanh(x),
        ops.softmax(x),
        ops.log_softmax(x),
        ops.attention(x, x, x, ops.causal_mask(x.shape[-2], x.shape[-2])),
    )
    assert {result.dtype for result in results} == {np.dtype(dtype)}
