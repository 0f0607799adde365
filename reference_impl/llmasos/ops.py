"""One pure function per operation. Each computes in the dtype that it is given and returns that dtype.

Letters: B batch, T query positions, S key positions, D model width, H heads, G key/value groups, K head width,
F hidden width, V vocabulary.

The functions that architectures call take complex numbers too, whose imaginary part then carries a derivative along,
and the nodes of `derivatives`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Map each position by an affine function.

    Computes x · weight + bias.

    Args:
        x: [..., D_in]. weight: [D_in, D_out]. bias: [D_out], or None for no bias.

    Returns:
        [..., D_out].

    Source:
        LLMasOS document 4.1; weights stand right of the activations.
    """
    y = x @ weight
    return y if bias is None else y + bias


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """Bring each position to mean 0 and variance 1, then scale and shift channel by channel.

    Computes (x - μ) / sqrt(σ² + epsilon) · weight + bias over the last axis, where σ² = mean((x - μ)²).

    Args:
        x: [..., D]. weight, bias: [D]. epsilon: inside the root, keeps a constant position finite.

    Returns:
        [..., D].

    Source:
        LLMasOS standard, GPT-3: pre-norm with biased variance.
    """
    D = x.shape[-1]
    centred = x - x.sum(axis=-1, keepdims=True) / D  # [..., D]
    variance: Array = (centred * centred).sum(axis=-1, keepdims=True) / D  # [..., 1]
    normed: Array = centred / np.sqrt(variance + epsilon)
    return normed * weight + bias


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    """Scale each position to unit root mean square, then channel by channel.

    Computes x / sqrt(mean(x²) + epsilon) · weight over the last axis. No mean is taken off, nothing is added.

    Args:
        x: [..., D]. weight: [D]. epsilon: inside the root, keeps an all-zero position finite.

    Returns:
        [..., D].

    Source:
        LLMasOS standard, Llama; Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """
    mean_square: Array = (x * x).sum(axis=-1, keepdims=True) / x.shape[-1]  # [..., 1]
    scaled: Array = x / np.sqrt(mean_square + epsilon)
    return scaled * weight


def gelu(x: Array) -> Array:
    """Smooth rectifier, exact.

    Computes x/2 · (1 + erf(x / sqrt(2))).

    Args:
        x: any shape.

    Returns:
        Same shape.

    Source:
        LLMasOS standard, activation "gelu"; Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.
    """
    from scipy import special  # only models with this activation pay for it

    y: Array = 0.5 * x * (1.0 + special.erf(x * math.sqrt(0.5)))
    return y


def gelu_tanh(x: Array) -> Array:
    """Smooth rectifier.

    Computes x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³))).

    Args:
        x: any shape.

    Returns:
        Same shape.

    Source:
        LLMasOS standard, activation "gelu_tanh"; this is the tanh form, not the one with erf.
    """
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x))))


def silu(x: Array) -> Array:
    """Rectifier by a logistic gate.

    Computes x / (1 + exp(-x)).

    Args:
        x: any shape.

    Returns:
        Same shape.

    Source:
        LLMasOS standard, activation "silu"; the gate of SwiGLU: Shazeer, GLU Variants Improve Transformer, 2020.
    """
    if np.iscomplexobj(x):  # the logistic function as a hyperbolic tangent, which overflows nowhere
        return x * (0.5 + 0.5 * np.tanh(0.5 * x))
    with np.errstate(over="ignore"):  # far below zero the exponential is infinite, and the result zero, as it should
        y: Array = x / (1.0 + np.exp(-x))
    return y


def relu(x: Array) -> Array:
    """Rectifier.

    Computes max(x, 0); its derivative at 0 is taken as 0.

    Args:
        x: any shape.

    Returns:
        Same shape.

    Source:
        LLMasOS standard, activation "relu"; Vaswani et al., Attention Is All You Need, 2017, section 3.3.
    """
    return np.where(x.real > 0, x, 0) if np.iscomplexobj(x) else np.maximum(x, 0)


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
}
"""Activations by their name in model.json."""


def softmax(x: Array) -> Array:
    """Turn the last axis into a probability law.

    Computes exp(x - max x) / Σ exp(x - max x). The maximum is subtracted so that no exponential overflows.

    Args:
        x: [..., S]; -inf marks what is excluded. At least one entry of each row is finite.

    Returns:
        [..., S], rows sum to 1.

    Source:
        LLMasOS document 4.1.
    """
    e: Array = np.exp(x - np.max(x, axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def log_softmax(x: Array) -> Array:
    """Natural logarithm of `softmax`, computed without taking the logarithm of a rounded probability.

    Computes x - max x - log Σ exp(x - max x).

    Args:
        x: [..., V].

    Returns:
        [..., V].

    Source:
        LLMasOS document 4.2.
    """
    top: Array = np.max(x, axis=-1, keepdims=True)
    total: Array = np.exp(x - top).sum(axis=-1, keepdims=True)
    log_total: Array = np.log(total)
    return x - top - log_total


def causal_mask(T: int, S: int, window: int | None = None) -> npt.NDArray[np.bool_] | None:
    """Which keys each query may see, when the T queries are the last of S positions.

    Query t stands at position p = S - T + t and sees the keys at positions p - window + 1 … p.

    Args:
        window: how many keys a query sees at most, its own included; None for all up to its own.

    Returns:
        [T, S] True where visible; None where a single query sees all, as in most steps of a generation.
    """
    if T == 1 and (window is None or window >= S):
        return None
    key, query = np.arange(S), np.arange(S - T, S)[:, None]
    visible = key <= query
    return visible if window is None else visible & (key > query - window)


def attention_weights(q: Array, k: Array, visible: npt.NDArray[np.bool_] | None = None) -> Array:
    """How much each query takes from each key.

    Computes softmax(q kᵀ / sqrt(K) + mask), where the mask is 0 where visible and -inf elsewhere.

    Args:
        q: [B, H, T, K]. k: [B, H, S, K]. visible: [T, S] with a True in every row; None for all.

    Returns:
        [B, H, T, S], rows sum to 1.

    Source:
        LLMasOS document 4.1.
    """
    # Scaled before the product, because there are fewer queries than scores.
    scores: Array = q / math.sqrt(q.shape[-1]) @ k.swapaxes(-1, -2)  # [B, H, T, S]
    return softmax(scores if visible is None else np.where(visible, scores, -np.inf))


def attention(q: Array, k: Array, v: Array, visible: npt.NDArray[np.bool_] | None = None) -> Array:
    """Mix values by the likeness of their keys to the query.

    Computes softmax(q kᵀ / sqrt(K) + mask) v; see `attention_weights`.

    Args:
        q: [B, H, T, K]. k, v: [B, H, S, K]. visible: [T, S], None for all.

    Returns:
        [B, H, T, K].

    Source:
        LLMasOS document 4.1.
    """
    return attention_weights(q, k, visible) @ v


def rotary_angles(start: int, end: int, K: int, theta: float, dtype: npt.DTypeLike) -> tuple[Array, Array]:
    """Cosine and sine of the angles by which rotary positions turn pairs of channels.

    Position p turns pair i by p · theta^(-2i/K). Computed in float64 and rounded once to the dtype.

    Args:
        start, end: positions from start up to but not including end. K: head width, even. theta: base.

    Returns:
        cos, sin: [T, K/2] each, T = end - start.

    Source:
        LLMasOS standard, Llama; Su et al., RoFormer, 2021.
    """
    frequency = theta ** (-np.arange(0, K, 2) / K)  # [K/2]
    angle = np.arange(start, end)[:, None] * frequency  # [T, K/2]
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turn each pair of channels by its position's angle.

    Channel i of a head forms a pair with channel i + K/2: (a, b) becomes (a cos - b sin, b cos + a sin). Some
    libraries pair 2i with 2i + 1 instead; weights then stand in another order, and the format's order is this one.

    Args:
        x: [B, H, T, K]. cos, sin: [T, K/2].

    Returns:
        [B, H, T, K].

    Source:
        LLMasOS standard, Llama.
    """
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def sinusoidal_positions(start: int, end: int, D: int, dtype: npt.DTypeLike) -> Array:
    """Position embeddings that need no weights.

    Channel 2i of position p is sin(p / 10000^(2i/D)), channel 2i + 1 the cosine of the same angle. Computed in float64
    and rounded once to the dtype.

    Returns:
        [T, D], T = end - start.

    Source:
        LLMasOS standard, Transformer; Vaswani et al., Attention Is All You Need, 2017, section 3.5.
    """
    channel = np.arange(D)
    angle = np.arange(start, end)[:, None] / 10000.0 ** ((channel - channel % 2) / D)  # [T, D]
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle)).astype(dtype)
