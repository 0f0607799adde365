"""GPT-3: a decoder, dense or with every second layer banded. Tokens to logits on one page.

Learned positions, norm before each block, tanh-GELU, biases on all linear maps, no bias on the head (the layout of
GPT-2). With a local attention window, layers 1, 3, 5, … see only the nearest keys and layers 0, 2, 4, … all of them.
"""

from __future__ import annotations

from llmasos import ops
from llmasos.architectures.blocks import (
    Cache,
    Held,
    Shapes,
    Watch,
    Weights,
    affine,
    affine_shapes,
    appended,
    attention_shapes,
    end_of,
    feed_forward_shapes,
    joined,
    layer_norm,
    projected,
)
from llmasos.config import ModelConfig
from llmasos.ops import Array
from llmasos.orders import PLAIN, Arithmetic


def tensor_shapes(config: ModelConfig) -> Shapes:
    """Name and shape of every weight of the architecture, in the order in which they are used."""
    V, D, F = config.vocab_size, config.embedding_dim, config.feed_forward_dim
    shapes: Shapes = {"token_embedding": (V, D), "position_embedding": (config.context_length, D)}
    for i in range(config.num_layers):
        shapes |= affine_shapes(f"layers.{i}.attention_norm", D)
        shapes |= attention_shapes(f"layers.{i}.attention", D)
        shapes |= affine_shapes(f"layers.{i}.feed_forward_norm", D)
        shapes |= feed_forward_shapes(f"layers.{i}.feed_forward", D, F)
    shapes |= affine_shapes("final_norm", D)
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
    """Logits of the next token after each position.

    Args:
        weights: name -> array as in `tensor_shapes`, all of one dtype, which is the dtype of the computation.
        ids: [B, T] token ids below V.
        cache: of the positions before ids; None at the start of a sequence.
        arithmetic: order of computation.
        watch: filled with what happens inside, if given.

    Returns:
        logits [B, T, V], and the cache with the new positions appended.

    Raises:
        ContextOverflow: more positions than the context holds.

    Source:
        LLMasOS document 4.1; Brown et al., Language Models are Few-Shot Learners, 2020, section 2.1.
    """
    past = cache or Cache()
    end = end_of(past.length, ids.shape[-1], config.context_length)
    x = weights["token_embedding"][ids] + weights["position_embedding"][past.length : end]  # [B, T, D]
    layers = []
    for i in range(config.num_layers):
        if watch:
            watch.hidden.append(x)
        held = past.layers[i] if past.layers else None
        attended, held = attention(x, weights, i, config, held, arithmetic, watch)
        x = x + attended
        x = x + feed_forward(x, weights, i, config, arithmetic)
        layers.append(held)
    x = layer_norm(x, weights, "final_norm", config.layer_norm_epsilon, arithmetic)
    if watch:
        watch.hidden.append(x)
    head = weights["token_embedding"] if config.tie_embeddings else weights["head.weight"]  # [V, D]
    return arithmetic.linear(x, head.T, None), Cache(tuple(layers))  # [B, T, V]


def attention(
    x: Array,
    weights: Weights,
    i: int,
    config: ModelConfig,
    held: Held | None,
    arithmetic: Arithmetic,
    watch: Watch | None,
) -> tuple[Array, Held]:
    """The attention block of layer i, norm included; [B, T, D] -> [B, T, D] and the layer's new keys and values."""
    x = layer_norm(x, weights, f"layers.{i}.attention_norm", config.layer_norm_epsilon, arithmetic)
    name, parts = f"layers.{i}.attention", ("query", "key", "value")
    q, k, v = projected(x, weights, name, parts, config.num_heads, arithmetic)  # [B, H, T, K]
    k, v = appended(held, k, v)  # [B, H, S, K]
    window = config.local_attention_window if i % 2 else None
    visible = ops.causal_mask(q.shape[-2], k.shape[-2], window)
    if watch:
        watch.attention.append(ops.attention_weights(q, k, visible))
    return affine(joined(arithmetic.attention(q, k, v, visible)), weights, f"{name}.output", arithmetic), (k, v)


def feed_forward(x: Array, weights: Weights, i: int, config: ModelConfig, arithmetic: Arithmetic) -> Array:
    """The feed-forward block of layer i, norm included; [B, T, D] -> [B, T, D]."""
    x = layer_norm(x, weights, f"layers.{i}.feed_forward_norm", config.layer_norm_epsilon, arithmetic)
    hidden = ops.gelu_tanh(affine(x, weights, f"layers.{i}.feed_forward.up", arithmetic))  # [B, T, F]
    return affine(hidden, weights, f"layers.{i}.feed_forward.down", arithmetic)
