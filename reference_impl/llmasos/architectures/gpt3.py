"""GPT-3: a dense decoder. Tokens to logits on one page.

Learned positions, norm before each block, tanh-GELU, biases on all linear maps, no bias on the head (the layout of
GPT-2, all layers dense). Weights stand right of the activations: x · W + b.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llmasos import ops
from llmasos.config import ModelConfig
from llmasos.errors import ContextOverflow
from llmasos.ops import Array
from llmasos.orders import PLAIN, Arithmetic


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values of the positions seen so far. A value: extending makes a new one, so keeping the old one forks.

    Attributes:
        layers: per layer (keys, values), each [B, H, S, K].
    """

    layers: tuple[tuple[Array, Array], ...] = ()

    @property
    def length(self) -> int:
        """S, the number of positions held."""
        return int(self.layers[0][0].shape[-2]) if self.layers else 0


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of the architecture, in the order in which they are used."""
    V, D, F = config.vocab_size, config.embedding_dim, config.feed_forward_dim
    shapes: dict[str, tuple[int, ...]] = {"token_embedding": (V, D), "position_embedding": (config.context_length, D)}

    def affine(name: str, weight: tuple[int, ...]) -> None:
        shapes[f"{name}.weight"] = weight
        shapes[f"{name}.bias"] = weight[-1:]

    for i in range(config.num_layers):
        affine(f"layers.{i}.attention_norm", (D,))
        for part in ("query", "key", "value", "output"):
            affine(f"layers.{i}.attention.{part}", (D, D))
        affine(f"layers.{i}.feed_forward_norm", (D,))
        affine(f"layers.{i}.feed_forward.up", (D, F))
        affine(f"layers.{i}.feed_forward.down", (F, D))
    affine("final_norm", (D,))
    if not config.tie_embeddings:
        shapes["head.weight"] = (V, D)
    return shapes


def forward(
    weights: Mapping[str, Array],
    config: ModelConfig,
    ids: Array,
    cache: Cache | None = None,
    arithmetic: Arithmetic = PLAIN,
) -> tuple[Array, Cache]:
    """Logits of the next token after each position.

    Args:
        weights: name -> array as in `tensor_shapes`, all of one dtype, which is the dtype of the computation.
        ids: [B, T] token ids below V.
        cache: of the positions before ids; None at the start of a sequence.
        arithmetic: order of computation.

    Returns:
        logits [B, T, V], and the cache with the new positions appended.

    Raises:
        ContextOverflow: more positions than the context holds.

    Source:
        LLMasOS document 4.1.
    """
    past = cache or Cache()
    T = ids.shape[-1]
    end = past.length + T
    if end > config.context_length:
        raise ContextOverflow(f"{end} tokens, the context holds {config.context_length}", "ids", "send fewer tokens")
    x = weights["token_embedding"][ids] + weights["position_embedding"][past.length : end]  # [B, T, D]
    layers = []
    for i in range(config.num_layers):
        held = past.layers[i] if past.layers else None
        attended, held = attention(x, weights, f"layers.{i}.", config, held, arithmetic)
        x = x + attended
        x = x + feed_forward(x, weights, f"layers.{i}.", config, arithmetic)
        layers.append(held)
    x = norm(x, weights, "final_norm", config, arithmetic)
    head = weights["token_embedding"] if config.tie_embeddings else weights["head.weight"]  # [V, D]
    return arithmetic.linear(x, head.T, None), Cache(tuple(layers))  # [B, T, V]


def attention(
    x: Array,
    weights: Mapping[str, Array],
    layer: str,
    config: ModelConfig,
    held: tuple[Array, Array] | None,
    arithmetic: Arithmetic,
) -> tuple[Array, tuple[Array, Array]]:
    """The attention block of one layer, norm included; [B, T, D] -> [B, T, D] and the layer's new keys and values."""
    x = norm(x, weights, f"{layer}attention_norm", config, arithmetic)
    q, k, v = (
        heads(affine(x, weights, f"{layer}attention.{part}", arithmetic), config.num_heads)
        for part in ("query", "key", "value")
    )  # [B, H, T, K]
    if held is not None:
        k = np.concatenate([held[0], k], axis=-2)  # [B, H, S, K]
        v = np.concatenate([held[1], v], axis=-2)
    mixed = arithmetic.attention(q, k, v).swapaxes(1, 2).reshape(x.shape)  # [B, T, D]
    return affine(mixed, weights, f"{layer}attention.output", arithmetic), (k, v)


def feed_forward(
    x: Array, weights: Mapping[str, Array], layer: str, config: ModelConfig, arithmetic: Arithmetic
) -> Array:
    """The feed-forward block of one layer, norm included; [B, T, D] -> [B, T, D]."""
    x = norm(x, weights, f"{layer}feed_forward_norm", config, arithmetic)
    hidden = ops.gelu_tanh(affine(x, weights, f"{layer}feed_forward.up", arithmetic))  # [B, T, F]
    return affine(hidden, weights, f"{layer}feed_forward.down", arithmetic)


def heads(x: Array, H: int) -> Array:
    """Cut the width into H heads, the first K channels being head 0; [B, T, D] -> [B, H, T, K]."""
    B, T, D = x.shape
    return x.reshape(B, T, H, D // H).swapaxes(1, 2)


def affine(x: Array, weights: Mapping[str, Array], name: str, arithmetic: Arithmetic) -> Array:
    """The linear map `name`; [B, T, D_in] -> [B, T, D_out]."""
    return arithmetic.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def norm(x: Array, weights: Mapping[str, Array], name: str, config: ModelConfig, arithmetic: Arithmetic) -> Array:
    """The layer norm `name`; [B, T, D] -> [B, T, D]."""
    return arithmetic.layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], config.layer_norm_epsilon)
