"""Llama: a decoder with rotary positions, RMS norms, gated feed-forward and shared key-value heads, on one page.

Norm before each block, no bias anywhere. H query heads share G key-value heads, H/G neighbours each. With a sliding
window, a query of any layer sees only the nearest keys.
"""

from __future__ import annotations

import numpy as np

from llmasos import ops
from llmasos.architectures.blocks import Cache, Held, Shapes, Watch, Weights, appended, end_of, heads, joined
from llmasos.config import ModelConfig
from llmasos.ops import Array
from llmasos.orders import PLAIN, Arithmetic


def tensor_shapes(config: ModelConfig) -> Shapes:
    """Name and shape of every weight of the architecture, in the order in which they are used."""
    V, D, F = config.vocab_size, config.embedding_dim, config.feed_forward_dim
    narrow = config.num_key_value_heads * config.head_dim  # G·K
    shapes: Shapes = {"token_embedding": (V, D)}
    for layer in (f"layers.{i}" for i in range(config.num_layers)):
        shapes[f"{layer}.attention_norm.weight"] = (D,)
        shapes[f"{layer}.attention.query.weight"] = (D, D)
        shapes[f"{layer}.attention.key.weight"] = (D, narrow)
        shapes[f"{layer}.attention.value.weight"] = (D, narrow)
        shapes[f"{layer}.attention.output.weight"] = (D, D)
        shapes[f"{layer}.feed_forward_norm.weight"] = (D,)
        shapes[f"{layer}.feed_forward.gate.weight"] = (D, F)
        shapes[f"{layer}.feed_forward.up.weight"] = (D, F)
        shapes[f"{layer}.feed_forward.down.weight"] = (F, D)
    shapes["final_norm.weight"] = (D,)
    if not config.tie_embeddings:
        shapes["head.weight"] = (V, D)
    return shapes


def forward(
    weights: Weights,
    config: ModelConfig,
    ids: Array,
    cache: Cache | None = None,
    arithmetic: Arithmetic = PLAIN,
    watch: Watch | None = None,
) -> tuple[Array, Cache]:
    """Logits of the next token after each position; arguments as in `gpt3.forward`.

    Returns:
        logits [B, T, V], and the cache with the new positions appended.

    Raises:
        ContextOverflow: more positions than the context holds.

    Source:
        LLMasOS standard, Llama; Touvron et al., LLaMA, 2023; Ainslie et al., GQA, 2023; Jiang et al., Mistral 7B, 2023.
    """
    past = cache or Cache()
    end = end_of(past.length, ids.shape[-1], config.context_length)
    x = weights["token_embedding"][ids]  # [B, T, D]
    turn = arithmetic.angles(past.length, end, config.head_dim, config.rope_theta, x.real.dtype)
    layers = []
    for i in range(config.num_layers):
        if watch:
            watch.hidden.append(x)
        held = past.layers[i] if past.layers else None
        attended, held = attention(x, weights, f"layers.{i}", config, held, turn, arithmetic, watch)
        x = x + attended
        x = x + feed_forward(x, weights, f"layers.{i}", config, arithmetic)
        layers.append(held)
    x = norm(x, weights, "final_norm", config, arithmetic)
    if watch:
        watch.hidden.append(x)
    head = weights["token_embedding"] if config.tie_embeddings else weights["head.weight"]  # [V, D]
    return arithmetic.linear(x, head.T, None), Cache(tuple(layers))  # [B, T, V]


def attention(
    x: Array,
    weights: Weights,
    layer: str,
    config: ModelConfig,
    held: Held | None,
    turn: tuple[Array, Array],
    arithmetic: Arithmetic,
    watch: Watch | None,
) -> tuple[Array, Held]:
    """The attention block of one layer, norm included; [B, T, D] -> [B, T, D] and the layer's new keys and values.

    Keys are kept as they are after their rotation, which depends on their own position alone.

    Args:
        turn: cosines and sines of the new positions.
    """
    x = norm(x, weights, f"{layer}.attention_norm", config, arithmetic)
    H, G = config.num_heads, config.num_key_value_heads
    q = ops.rotate(heads(linear(x, weights, f"{layer}.attention.query", arithmetic), H), *turn)  # [B, H, T, K]
    k = ops.rotate(heads(linear(x, weights, f"{layer}.attention.key", arithmetic), G), *turn)  # [B, G, T, K]
    v = heads(linear(x, weights, f"{layer}.attention.value", arithmetic), G)
    k, v = appended(held, k, v)  # [B, G, S, K]
    each_k, each_v = (np.repeat(shared, H // G, axis=1) for shared in (k, v))  # [B, H, S, K]
    visible = ops.causal_mask(q.shape[-2], k.shape[-2], config.sliding_window)
    if watch:
        watch.attention.append(ops.attention_weights(q, each_k, visible))
    mixed = joined(arithmetic.attention(q, each_k, each_v, visible))  # [B, T, D]
    return linear(mixed, weights, f"{layer}.attention.output", arithmetic), (k, v)


def feed_forward(x: Array, weights: Weights, layer: str, config: ModelConfig, arithmetic: Arithmetic) -> Array:
    """The feed-forward block of one layer, norm included; [B, T, D] -> [B, T, D].

    Computes (silu(x · gate) ⊙ (x · up)) · down.
    """
    x = norm(x, weights, f"{layer}.feed_forward_norm", config, arithmetic)
    gate = ops.silu(linear(x, weights, f"{layer}.feed_forward.gate", arithmetic))  # [B, T, F]
    hidden = gate * linear(x, weights, f"{layer}.feed_forward.up", arithmetic)
    return linear(hidden, weights, f"{layer}.feed_forward.down", arithmetic)


def linear(x: Array, weights: Weights, name: str, arithmetic: Arithmetic) -> Array:
    """The linear map `name`, which has no bias; [B, T, D_in] -> [B, T, D_out]."""
    return arithmetic.linear(x, weights[f"{name}.weight"], None)


def norm(x: Array, weights: Weights, name: str, config: ModelConfig, arithmetic: Arithmetic) -> Array:
    """The RMS norm `name`; [B, T, D] -> [B, T, D]."""
    return arithmetic.rms_norm(x, weights[f"{name}.weight"], config.rms_norm_epsilon)
