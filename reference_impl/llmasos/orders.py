"""The same formulas in other honest orders of computation.

Sums in floating point depend on their order, so one dtype has several honest results. Their distance from float64 is
what an ordinary computation costs; a harness uses them as baselines. Every operation stays in the dtype it is given.

    name         contraction                       attention         norms                      angles of positions
    plain        as NumPy does it                  whole rows        two passes                 float64, rounded
    split-k      16 blocks, partial results added  whole rows        two passes                 in the dtype
    sequential   one term after the other, onto    whole rows        one term after the other   float64, rounded
                 the bias where there is one
    reversed     from the last term to the first   whole rows        two passes                 in the dtype
    online       as NumPy does it                  running maximum   one pass for layer norm    in the dtype, by exp
    lanes-L      every L-th term, L partial sums   whole rows        by lanes as well           float64, rounded; from 5
                                                                                                lanes on by exp

Units that work on several numbers at once keep a partial sum in each lane and add these at the end. With 2, 3, 5 and 7
lanes there are four more orders at little cost, and they are there because few honest computations can be lucky all at
once: where one direction makes the error of a row, a right candidate exceeds six times the largest of four others once
in 1,200 times, of eight once in 130,000.

Loops in C begin a sum with the bias, and so does BLAS where it adds to a matrix that holds it. Where the bias is large
beside the terms, every one of their additions is then rounded at its size, and not the last one alone.

Many libraries compute the angles of rotary and sinusoidal positions in float32, which is honest in float32: an angle
of a hundred then errs by some 1e-5, and that is a part of what the dtype costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos import ops
from llmasos.ops import Array

SPLITS = 16
KEY_BLOCK = 4
"""Keys per step of the online softmax; small, so that short sequences have several steps."""

MatMul = Callable[[Array, Array], Array]
Mask = npt.NDArray[np.bool_] | None
Sum = Callable[[Array], Array]
"""[..., D] -> [..., 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """Operations whose order of summation is a choice; shapes and formulas as in `ops`.

    Attributes:
        name: as in ORDERS.
        linear: (x, weight, bias or None) -> y.
        layer_norm: (x, weight, bias, epsilon) -> y. rms_norm: (x, weight, epsilon) -> y.
        attention: (q, k, v, visible or None) -> y.
        angles: (start, end, K, theta, dtype) -> cosines and sines of rotary positions.
        sinusoids: (start, end, D, dtype) -> sinusoidal positions.
    """

    name: str
    linear: Callable[[Array, Array, Array | None], Array] = ops.linear
    layer_norm: Callable[[Array, Array, Array, float], Array] = ops.layer_norm
    rms_norm: Callable[[Array, Array, float], Array] = ops.rms_norm
    attention: Callable[[Array, Array, Array, Mask], Array] = ops.attention
    angles: Callable[[int, int, int, float, npt.DTypeLike], tuple[Array, Array]] = ops.rotary_angles
    sinusoids: Callable[[int, int, int, npt.DTypeLike], Array] = ops.sinusoidal_positions


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


def linear_onto_bias(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """`ops.linear`, beginning with the bias: one rounded product added after the other, first to last."""
    if bias is None:
        return matmul_sequential(x, weight)
    total: Array = bias + x[..., 0, None] * weight[0]
    for i in range(1, weight.shape[-2]):
        total = total + x[..., i, None] * weight[i]
    return total


def matmul_lanes(a: Array, b: Array, lanes: int) -> Array:
    """a · b as the sum of the products of every lanes-th term of the contraction.

    Args:
        a: [..., M, K]. b: [..., K, N].

    Returns:
        [..., M, N].
    """
    total: Array = a[..., ::lanes] @ b[..., ::lanes, :]
    for lane in range(1, min(lanes, b.shape[-2])):
        total = total + a[..., lane::lanes] @ b[..., lane::lanes, :]
    return total


def matmul_reversed(a: Array, b: Array) -> Array:
    """a · b with the terms of the contraction turned around.

    The blocks that a library adds in order are then other blocks, added in another order.

    Args:
        a: [..., M, K]. b: [..., K, N].

    Returns:
        [..., M, N].
    """
    product: Array = a[..., ::-1].copy() @ b[..., ::-1, :].copy()
    return product


def sum_sequential(x: Array) -> Array:
    """Sum of the last axis, one term after the other; [..., D] -> [..., 1]."""
    partial: Array = np.cumsum(x, axis=-1, dtype=x.dtype)
    return partial[..., -1:]


def sum_lanes(x: Array, lanes: int) -> Array:
    """Sum of the last axis, every lanes-th term in a sum of its own; [..., D] -> [..., 1]."""
    total: Array = x[..., ::lanes].sum(axis=-1, keepdims=True)
    for lane in range(1, min(lanes, x.shape[-1])):
        total = total + x[..., lane::lanes].sum(axis=-1, keepdims=True)
    return total


def layer_norm_by(total: Sum, x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """`ops.layer_norm` with both means from a sum."""
    D = x.shape[-1]
    centred = x - total(x) / D
    variance = total(centred * centred) / D
    normed: Array = centred / np.sqrt(variance + epsilon)
    return normed * weight + bias


def rms_norm_by(total: Sum, x: Array, weight: Array, epsilon: float) -> Array:
    """`ops.rms_norm` with the mean from a sum."""
    scaled: Array = x / np.sqrt(total(x * x) / x.shape[-1] + epsilon)
    return scaled * weight


def angles_in_dtype(start: int, end: int, K: int, theta: float, dtype: npt.DTypeLike) -> tuple[Array, Array]:
    """`ops.rotary_angles` with frequencies, angles, cosines and sines all rounded to the dtype."""
    kind: Any = np.dtype(dtype).type
    frequency = 1 / np.power(kind(theta), np.arange(0, K, 2).astype(kind) / kind(K))  # [K/2]
    angle = np.arange(start, end).astype(kind)[:, None] * frequency  # [T, K/2]
    return np.cos(angle), np.sin(angle)


def angles_by_exponential(start: int, end: int, K: int, theta: float, dtype: npt.DTypeLike) -> tuple[Array, Array]:
    """`ops.rotary_angles` with frequencies exp(-2i/K · ln theta), all of it rounded to the dtype.

    A frequency that is off by one rounding turns position p off by p of them. Computed as a power in float64 it is what
    the truth has, so a baseline of powers alone would ask of float64 that a candidate rounds as NumPy's power does.
    """
    kind: Any = np.dtype(dtype).type
    frequency = np.exp(np.arange(0, K, 2).astype(kind) * kind(-math.log(theta) / K))  # [K/2]
    angle = np.arange(start, end).astype(kind)[:, None] * frequency  # [T, K/2]
    return np.cos(angle), np.sin(angle)


def sinusoids_in_dtype(start: int, end: int, D: int, dtype: npt.DTypeLike) -> Array:
    """`ops.sinusoidal_positions` with frequencies exp(-2i/D · ln 10000), angles and results rounded to the dtype."""
    kind: Any = np.dtype(dtype).type
    frequency = np.exp(np.arange(0, D, 2).astype(kind) * kind(-math.log(10000.0) / D))  # [(D + 1) / 2]
    angle = np.arange(start, end).astype(kind)[:, None] * frequency
    pairs = np.stack([np.sin(angle), np.cos(angle)], axis=-1)  # [T, (D + 1) / 2, 2]
    return pairs.reshape(len(angle), -1)[:, :D]


def layer_norm_one_pass(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """`ops.layer_norm` from one pass over x: σ² = mean(x²) - mean(x)².

    The difference may come out below zero when x is nearly constant, and is then zero.
    """
    D = x.shape[-1]
    mean = x.sum(axis=-1, keepdims=True) / D
    variance: Array = np.maximum((x * x).sum(axis=-1, keepdims=True) / D - mean * mean, 0)
    normed: Array = (x - mean) / np.sqrt(variance + epsilon)
    return normed * weight + bias


def attention_online(q: Array, k: Array, v: Array, visible: Mask = None) -> Array:
    """`ops.attention` over blocks of keys, with a running maximum and a running sum.

    When a block raises the maximum from m to m', what was gathered so far is scaled by exp(m - m').
    """
    S = k.shape[-2]
    top = np.full((*q.shape[:-1], 1), -np.inf, dtype=q.dtype)  # [B, H, T, 1]
    mass = np.zeros_like(top)
    mixed = np.zeros_like(q)
    for low in range(0, S, KEY_BLOCK):
        block = slice(low, low + KEY_BLOCK)
        scores = q @ k[..., block, :].swapaxes(-1, -2) / math.sqrt(q.shape[-1])
        if visible is not None:
            scores = np.where(visible[:, block], scores, -np.inf)
        new_top = np.maximum(top, np.max(scores, axis=-1, keepdims=True))
        # The first blocks of a narrow band hold no key that the query may see, and so no maximum to take off.
        taken_off = np.where(new_top == -np.inf, 0, new_top)
        scale = np.exp(top - taken_off)
        e = np.exp(scores - taken_off)
        mass = mass * scale + e.sum(axis=-1, keepdims=True)
        mixed = mixed * scale + e @ v[..., block, :]
        top = new_top
    return mixed / mass


def _with_matmul(name: str, matmul: MatMul, **others: Callable[..., Any]) -> Arithmetic:
    """An Arithmetic whose contractions, in linear maps and in attention, all go through one function."""

    def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = matmul(x, weight)
        return y if bias is None else y + bias

    def attention(q: Array, k: Array, v: Array, visible: Mask = None) -> Array:
        scores = matmul(q, k.swapaxes(-1, -2)) / math.sqrt(q.shape[-1])
        if visible is not None:
            scores = np.where(visible, scores, -np.inf)
        return matmul(ops.softmax(scores), v)

    return Arithmetic(name=name, linear=linear, attention=attention, **others)


def _norms(total: Sum) -> Mapping[str, Callable[..., Any]]:
    return {"layer_norm": partial(layer_norm_by, total), "rms_norm": partial(rms_norm_by, total)}


def _with_lanes(lanes: int, **others: Callable[..., Any]) -> Arithmetic:
    return _with_matmul(
        f"lanes-{lanes}", partial(matmul_lanes, lanes=lanes), **_norms(partial(sum_lanes, lanes=lanes)), **others
    )


PLAIN = Arithmetic(name="plain")
_ROUNDED: Mapping[str, Any] = {"angles": angles_in_dtype, "sinusoids": sinusoids_in_dtype}
_BY_EXPONENTIAL: Mapping[str, Any] = {"angles": angles_by_exponential, "sinusoids": sinusoids_in_dtype}
SPLIT_K = _with_matmul("split-k", matmul_split, **_ROUNDED)
SEQUENTIAL = replace(_with_matmul("sequential", matmul_sequential, **_norms(sum_sequential)), linear=linear_onto_bias)
REVERSED = _with_matmul("reversed", matmul_reversed, **_ROUNDED)
ONLINE = Arithmetic(name="online", layer_norm=layer_norm_one_pass, attention=attention_online, **_BY_EXPONENTIAL)
LANES = (_with_lanes(2), _with_lanes(3), _with_lanes(5, **_BY_EXPONENTIAL), _with_lanes(7, **_BY_EXPONENTIAL))

ORDERS: Mapping[str, Arithmetic] = {
    order.name: order for order in (PLAIN, SPLIT_K, SEQUENTIAL, REVERSED, ONLINE, *LANES)
}
