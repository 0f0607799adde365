"""Ways to write weights with fewer digits, and how to tell from logits that one of them was taken.

Rounding weights moves all logits in a direction that model and scheme decide together, whatever arithmetic comes after
it. With z the truth, z_h the truth of the model whose weights went through scheme h, and x a candidate, the errors
x - z and z_h - z point the same way if x took h; in thousands of logits two directions that have nothing to do with
each other are nearly at a right angle. So int8 weights behind an honest bfloat16 computation are seen although their
error is no larger than that of bfloat16 itself, which no bound on its size can do.

Weights stand [D_in, D_out], so that a channel, which is one output's weights, is a column; blocks lie along a column,
as in files of llama.cpp, GPTQ, AWQ and bitsandbytes.

Source:
    LLMasOS specification, NUM-8; schemes as the named formats publish them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from llmasos_conformance.protocol import Array

LIKENESS = 0.3
"""Cosine beyond which two directions are one. Honest half precision comes to 0.16 at most, a scheme behind it to 0.5 at
least: 0.3 is about twice the one and less than two thirds of the other (`bench/calibrate_fingerprints.py`)."""

NEGLIGIBLE = 2.0**-9
"""Of the spread of the logits: smaller errors are not those of quantised weights. The finest scheme moves the logits of
the probes that are asked by twice as much at least."""

SCOPES: Mapping[str, bool] = {"blocks": False, "blocks, embedding and head": True}
"""Which matrices a scheme is applied to -> whether those outside the blocks are among them."""

Scheme = Callable[[Array], Array]
"""[D_in, D_out] float64 -> the same as a file with fewer digits holds it."""

WHOLE = 0
"""In the place of a block's length: one scale for all numbers of a tensor."""
COLUMN = -1
"""One scale for a column."""


def in_blocks(length: int, scheme: Scheme) -> Scheme:
    """A scheme that makes a scale of each column of what it is given, applied to blocks of a length."""

    def blocked(w: Array) -> Array:
        if length == WHOLE:
            return scheme(w.reshape(-1, 1)).reshape(w.shape)
        if length == COLUMN:
            return scheme(w)
        edges = range(0, len(w), length)
        return np.concatenate([scheme(w[low : low + length]) for low in edges])

    return blocked


def symmetric(levels: float, least: float, most: float) -> Scheme:
    """Integers from least to most, times the column's largest magnitude / levels."""

    def scheme(w: Array) -> Array:
        scale = np.max(np.abs(w), axis=0, keepdims=True) / levels
        scale = np.where(scale == 0, 1.0, scale)
        quantised: Array = np.clip(np.rint(w / scale), least, most) * scale
        return quantised

    return scheme


def signed(w: Array) -> Array:
    """Sixteen levels of which the lowest is the number of the largest magnitude, as in Q4_0."""
    largest = np.take_along_axis(w, np.argmax(np.abs(w), axis=0, keepdims=True), axis=0)
    scale = np.where(largest == 0, 1.0, largest / -8)
    quantised: Array = np.clip(np.floor(w / scale + 8.5), 0, 15) * scale - 8 * scale
    return quantised


def asymmetric(steps: int) -> Scheme:
    """Integers from 0 to steps behind a zero point that is one of them, from the column's least to its largest."""

    def scheme(w: Array) -> Array:
        low = np.minimum(np.min(w, axis=0, keepdims=True), 0)
        scale = (np.maximum(np.max(w, axis=0, keepdims=True), 0) - low) / steps
        scale = np.where(scale == 0, 1.0, scale)
        zero = np.rint(-low / scale)
        quantised: Array = (np.clip(np.rint(w / scale) + zero, 0, steps) - zero) * scale
        return quantised

    return scheme


def table(levels: Sequence[float], *, powers_of_two: bool = False) -> Scheme:
    """The nearest of a table's numbers, times the column's largest magnitude / the table's."""
    known = np.array(sorted(levels))
    middle = (known[1:] + known[:-1]) / 2

    def scheme(w: Array) -> Array:
        scale = np.max(np.abs(w), axis=0, keepdims=True) / np.max(np.abs(known))
        scale = np.where(scale == 0, 1.0, scale)
        if powers_of_two:
            scale = np.exp2(np.ceil(np.log2(scale)))
        quantised: Array = known[np.searchsorted(middle, w / scale)] * scale
        return quantised

    return scheme


def cast(kind: Any, largest: float = 0.0) -> Scheme:
    """Numbers of a narrow float; scaled so that the column's largest magnitude is `largest`, or as they are."""

    def scheme(w: Array) -> Array:
        scale = np.max(np.abs(w), axis=0, keepdims=True) / largest if largest else np.ones((1, w.shape[1]))
        scale = np.where(scale == 0, 1.0, scale)
        quantised: Array = (w / scale).astype(kind).astype(np.float64) * scale
        return quantised

    return scheme


NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""Levels of normal float 4: Dettmers et al., QLoRA, 2023, appendix E."""
FP4 = tuple(sign * level for sign in (-1, 1) for level in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0))
"""Numbers of E2M1: OCP Microscaling formats, 2023."""

_INT8 = {"127": symmetric(127, -127, 127), "127.5": symmetric(127.5, -128, 127), "128": symmetric(128, -128, 127)}
_INT4 = {"7": symmetric(7, -7, 7), "7.5": symmetric(7.5, -8, 7)}
SCHEMES: Mapping[str, Scheme] = {
    **{f"int8 of a tensor, /{name}": in_blocks(WHOLE, each) for name, each in _INT8.items()},
    **{f"int8 of a channel, /{name}": in_blocks(COLUMN, each) for name, each in _INT8.items()},
    **{f"int8 of {n} (q8_0), /127": in_blocks(n, _INT8["127"]) for n in (32, 64, 128)},
    "uint8 of a tensor": in_blocks(WHOLE, asymmetric(255)),
    "uint8 of a channel": in_blocks(COLUMN, asymmetric(255)),
    "float8 e4m3": cast(ml_dtypes.float8_e4m3fn),
    "float8 e4m3, scaled by tensor": in_blocks(WHOLE, cast(ml_dtypes.float8_e4m3fn, 448.0)),
    "float8 e4m3, scaled by channel": in_blocks(COLUMN, cast(ml_dtypes.float8_e4m3fn, 448.0)),
    "float8 e5m2": cast(ml_dtypes.float8_e5m2),
    **{f"int4 of {n}, /{name}": in_blocks(n, each) for n in (32, 64, 128) for name, each in _INT4.items()},
    "int4 of a channel, /7": in_blocks(COLUMN, _INT4["7"]),
    "int4 of 32 (q4_0)": in_blocks(32, signed),
    **{f"uint4 of {n}": in_blocks(n, asymmetric(15)) for n in (32, 64, 128)},
    "nf4 of 64": in_blocks(64, table(NF4)),
    "float4 of 32 (mxfp4)": in_blocks(32, table(FP4, powers_of_two=True)),
}  # fmt: skip
"""Schemes that are recognised, by name."""


def quantised(weights: Mapping[str, Array], scheme: Scheme, scope: str) -> dict[str, Array]:
    """Weights of a model after a scheme; vectors stay as they are.

    An embedding stands [V, D]: the channel is a row there.

    Args:
        scope: of SCOPES.
    """
    made = {}
    for name, array in weights.items():
        inside = "layers." in name
        if array.ndim != 2 or not (inside or SCOPES[scope]):
            made[name] = array
            continue
        w = array.astype(np.float64)
        made[name] = scheme(w) if inside else scheme(w.T).T
    return made


def likeness(errors: Array, direction: Array) -> float:
    """Cosine of the angle between two fields of errors, each centred; 0 if one of them is nothing."""
    a, b = errors - errors.mean(), direction - direction.mean()
    size = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / size if size else 0.0
