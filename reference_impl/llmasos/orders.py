"""The same formulas in other honest orders of computation.

Sums in floating point depend on their order, so one dtype has several honest results. Their distance from float64 is
what an ordinary computation costs; a harness uses them as baselines. Every operation stays in the dtype it is given.

    name         contraction                        attention          layer norm
    plain        as NumPy does it                   whole rows         two passes
    split-k      16 blocks, partial results added   whole rows         two passes
    sequential   one term after the other           whole rows         one term after the other
    reversed     from the last term to the first    whole rows         two passes
    online       as NumPy does it                   running maximum    one pass: mean(x²) - mean(x)²
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from llmasos import ops
from llmasos.ops import Array

SPLITS = 16
KEY_BLOCK = 4
"""Keys per step of the online softmax; small, so that short sequences have several steps."""

MatMul = Callable[[Array, Array], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """Operations whose order of summation is a choice; shapes and formulas as in `ops`.

    Attributes:
        name: as in ORDERS.
        linear: (x, weight, bias or None) -> y.
        layer_norm: (x, weight, bias, epsilon) -> y.
        attention: causal attention, (q, k, v) -> y.
    """

    name: str
    linear: Callable[[Array, Array, Array | None], Array]
    layer_norm: Callable[[Array, Array, Array, float], Array]
    attention: Callable[[Array, Array, Array], Array]


def matmul_split(a: Array, b: Array) -> Array:
    """a · b with the contraction cut into up to SPLITS blocks, whose products are added in order.

    Args:
        a: [..., M, K]. b: [..., K, N].

    Returns:
        [..., M, N].
    """
    edges = np.linspace(0, b.shape[-2], min(SPLITS, b.shape[-2]) + 1).astype(int)
    total = a[..., : edges[1]] @ b[..., : edges[1], :]
    for low, high in pairwise(edges[1:]):
        total = total + a[..., low:high] @ b[..., low:high, :]
    return total


def matmul_sequential(a: Array, b: Array) -> Array:
    """a · b with one rounded product added after the other, first to last.

    Args:
        a: [..., M, K]. b: [..., K, N].

    Returns:
        [..., M, N].
    """
    total = a[..., 0, None] * b[..., None, 0, :]
    for i in range(1, b.shape[-2]):
        total += a[..., i, None] * b[..., None, i, :]
    return total


def matmul_reversed(a: Array, b: Array) -> Array:
    """a · b with the terms of the contraction turned around.

    The blocks that a library adds in order are then other blocks, added in another order.

    Args:
        a: [..., M, K]. b: [..., K, N].

    Returns:
        [..., M, N].
    """
    product: Array = np.ascontiguousarray(a[..., ::-1]) @ np.ascontiguousarray(b[..., ::-1, :])
    return product


def sum_sequential(x: Array) -> Array:
    """Sum of the last axis, one term after the other; [..., D] -> [..., 1]."""
    partial: Array = np.cumsum(x, axis=-1, dtype=x.dtype)
    return partial[..., -1:]


def layer_norm_sequential(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """`ops.layer_norm` with both means summed one term after the other."""
    D = x.shape[-1]
    centred = x - sum_sequential(x) / D
    variance = sum_sequential(centred * centred) / D
    normed: Array = centred / np.sqrt(variance + epsilon)
    return normed * weight + bias


def layer_norm_one_pass(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """`ops.layer_norm` from one pass over x: σ² = mean(x²) - mean(x)².

    The difference may come out below zero when x is nearly constant, and is then zero.
    """
    mean = np.mean(x, axis=-1, keepdims=True)
    variance: Array = np.maximum(np.mean(x * x, axis=-1, keepdims=True) - mean * mean, 0)
    normed: Array = (x - mean) / np.sqrt(variance + epsilon)
    return normed * weight + bias


def attention_online(q: Array, k: Array, v: Array) -> Array:
    """`ops.causal_attention` over blocks of keys, with a running maximum and a running sum.

    When a block raises the maximum from m to m', what was gathered so far is scaled by exp(m - m').
    """
    T, S = q.shape[-2], k.shape[-2]
    visible = ops.causal_mask(T, S)
    # The first block comes first: every query sees key 0, so that no running maximum is -inf after it.
    top = np.full((*q.shape[:-1], 1), -np.inf, dtype=q.dtype)  # [B, H, T, 1]
    mass = np.zeros_like(top)
    mixed = np.zeros_like(q)
    for low in range(0, S, KEY_BLOCK):
        block = slice(low, low + KEY_BLOCK)
        scores = q @ k[..., block, :].swapaxes(-1, -2) / math.sqrt(q.shape[-1])
        scores = np.where(visible[:, block], scores, -np.inf)
        new_top = np.maximum(top, np.max(scores, axis=-1, keepdims=True))
        scale = np.exp(top - new_top)
        e = np.exp(scores - new_top)
        mass = mass * scale + np.sum(e, axis=-1, keepdims=True)
        mixed = mixed * scale + e @ v[..., block, :]
        top = new_top
    return mixed / mass


def _with_matmul(
    name: str, matmul: MatMul, layer_norm: Callable[[Array, Array, Array, float], Array] = ops.layer_norm
) -> Arithmetic:
    """An Arithmetic whose contractions, in linear maps and in attention, all go through one function."""

    def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = matmul(x, weight)
        return y if bias is None else y + bias

    def attention(q: Array, k: Array, v: Array) -> Array:
        scores = matmul(q, k.swapaxes(-1, -2)) / math.sqrt(q.shape[-1])
        scores = np.where(ops.causal_mask(q.shape[-2], k.shape[-2]), scores, -np.inf)
        return matmul(ops.softmax(scores), v)

    return Arithmetic(name=name, linear=linear, layer_norm=layer_norm, attention=attention)


PLAIN = Arithmetic(name="plain", linear=ops.linear, layer_norm=ops.layer_norm, attention=ops.causal_attention)
SPLIT_K = _with_matmul("split-k", matmul_split)
SEQUENTIAL = _with_matmul("sequential", matmul_sequential, layer_norm_sequential)
REVERSED = _with_matmul("reversed", matmul_reversed)
ONLINE = Arithmetic(name="online", linear=ops.linear, layer_norm=layer_norm_one_pass, attention=attention_online)

ORDERS: Mapping[str, Arithmetic] = {order.name: order for order in (PLAIN, SPLIT_K, SEQUENTIAL, REVERSED, ONLINE)}
