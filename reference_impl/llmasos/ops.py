"""One pure function per operation. Each computes in the dtype that it is given and returns that dtype.

Letters: B batch, T query positions, S key positions, D model width, H heads, K head width, F hidden width,
V vocabulary.
"""

from __future__ import annotations

import math
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
    centred = x - np.mean(x, axis=-1, keepdims=True)  # [..., D]
    variance: Array = np.mean(centred * centred, axis=-1, keepdims=True)  # [..., 1]
    normed: Array = centred / np.sqrt(variance + epsilon)
    return normed * weight + bias


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
    total: Array = np.sum(e, axis=-1, keepdims=True)
    return e / total


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
    total: Array = np.sum(np.exp(x - top), axis=-1, keepdims=True)
    log_total: Array = np.log(total)
    return x - top - log_total


def causal_mask(T: int, S: int) -> npt.NDArray[np.bool_]:
    """Which keys each query may see, when the T queries are the last of S positions.

    Query t stands at position S - T + t and sees the keys at positions up to its own.

    Returns:
        [T, S] True where visible.
    """
    return np.arange(S) <= np.arange(S - T, S)[:, None]


def causal_attention(q: Array, k: Array, v: Array) -> Array:
    """Mix the values of earlier positions by the likeness of their keys to the query.

    Computes softmax(q kᵀ / sqrt(K) + mask) v, where the mask is 0 up to the query's own position and -inf after it.

    Args:
        q: [B, H, T, K], the last T positions. k, v: [B, H, S, K], all positions, S >= T.

    Returns:
        [B, H, T, K].

    Source:
        LLMasOS document 4.1.
    """
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])  # [B, H, T, S]
    scores = np.where(causal_mask(q.shape[-2], k.shape[-2]), scores, -np.inf)
    return softmax(scores) @ v
