"""What the pages of the architectures share: named weights, heads, caches, and a place to look inside.

Letters as in `ops`. Weights stand right of the activations: x · W + b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmasos.errors import ContextOverflow
from llmasos.ops import Array
from llmasos.orders import Arithmetic

Shapes = dict[str, tuple[int, ...]]
Weights = Mapping[str, Array]
Held = tuple[Array, Array]
"""Keys and values of one attention, [B, G, S, K] each."""


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values of the positions seen so far. A value: extending makes a new one, so keeping the old one forks.

    Attributes:
        layers: per layer (keys, values), each [B, G, S, K].
    """

    layers: tuple[Held, ...] = ()

    @property
    def length(self) -> int:
        """S, the number of positions held."""
        return int(self.layers[0][0].shape[-2]) if self.layers else 0


@dataclass(slots=True)
class Watch:
    """What a forward pass shows of its inside, filled while it runs.

    Attributes:
        hidden: what enters the first block, then what leaves each block, the last one with the final norm applied if
            there is one, so that it maps to the logits through the head; [B, T, D] each.
        attention: weights of the self-attention, per layer [B, H, T, S]. cross: of the cross-attention.
        source_hidden, source_attention: the same of an encoder in front of the decoder.
        pooled: [B, D], where the architecture has a pooled output.
    """

    hidden: list[Array] = field(default_factory=list)
    attention: list[Array] = field(default_factory=list)
    cross: list[Array] = field(default_factory=list)
    source_hidden: list[Array] = field(default_factory=list)
    source_attention: list[Array] = field(default_factory=list)
    pooled: Array | None = None

    def map(self, change: Callable[[Any], Array]) -> Watch:
        """The same with every array changed."""
        lists = {
            name: [change(array) for array in getattr(self, name)]
            for name in ("hidden", "attention", "cross", "source_hidden", "source_attention")
        }
        return Watch(**lists, pooled=None if self.pooled is None else change(self.pooled))


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def affine_shapes(name: str, *weight: int) -> Shapes:
    """Weight and bias of a linear map or a norm; the bias is as long as the last axis."""
    return {f"{name}.weight": weight, f"{name}.bias": weight[-1:]}


def attention_shapes(name: str, D: int) -> Shapes:
    """The four maps of an attention with biases."""
    parts = [affine_shapes(f"{name}.{part}", D, D) for part in ("query", "key", "value", "output")]
    return {key: shape for part in parts for key, shape in part.items()}


def feed_forward_shapes(name: str, D: int, F: int) -> Shapes:
    """The two maps of a feed-forward with biases."""
    return affine_shapes(f"{name}.up", D, F) | affine_shapes(f"{name}.down", F, D)


# ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def affine(x: Array, weights: Weights, name: str, arithmetic: Arithmetic) -> Array:
    """The linear map `name`; [B, T, D_in] -> [B, T, D_out]."""
    return arithmetic.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def layer_norm(x: Array, weights: Weights, name: str, epsilon: float, arithmetic: Arithmetic) -> Array:
    """The layer norm `name`; [B, T, D] -> [B, T, D]."""
    return arithmetic.layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)


def heads(x: Array, H: int) -> Array:
    """Cut the width into H heads, the first K channels being head 0; [B, T, H·K] -> [B, H, T, K]."""
    B, T, D = x.shape
    return x.reshape(B, T, H, D // H).swapaxes(1, 2)


def joined(x: Array) -> Array:
    """Put the heads side by side again; [B, H, T, K] -> [B, T, H·K]."""
    B, H, T, K = x.shape
    return x.swapaxes(1, 2).reshape(B, T, H * K)


def projected(
    x: Array, weights: Weights, name: str, parts: tuple[str, ...], H: int, arithmetic: Arithmetic
) -> Iterator[Array]:
    """The named maps of an attention with biases, cut into heads; [B, T, D] -> [B, H, T, K] each."""
    return (heads(affine(x, weights, f"{name}.{part}", arithmetic), H) for part in parts)


def appended(held: Held | None, k: Array, v: Array) -> Held:
    """Keys and values behind those held already; [B, G, T, K] each -> [B, G, S, K] each."""
    if held is None:
        return k, v
    return np.concatenate([held[0], k], axis=-2), np.concatenate([held[1], v], axis=-2)


def end_of(past: int, T: int, context_length: int, what: str = "ids") -> int:
    """Position after the last of T new ones.

    Raises:
        ContextOverflow: more positions than the context holds.
    """
    if past + T > context_length:
        raise ContextOverflow(f"{past + T} tokens, the context holds {context_length}", what, "send fewer tokens")
    return past + T
