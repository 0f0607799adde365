"""BERT: an encoder that sees both ways and says what stands behind a mask. Tokens to logits on one page.

Learned positions and token types, a norm behind the embeddings and behind each block, biases everywhere. Two heads:
one over the vocabulary at every position, and a pooled vector from the first position.
"""

from __future__ import annotations

import numpy as np

from llmasos import ops
from llmasos.architectures.blocks import (
    Shapes,
    Watch,
    Weights,
    affine,
    affine_shapes,
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
    shapes: Shapes = {
        "token_embedding": (V, D),
        "position_embedding": (config.context_length, D),
        "type_embedding": (config.type_vocab_size, D),
    }
    shapes |= affine_shapes("embedding_norm", D)
    for i in range(config.num_layers):
        shapes |= attention_shapes(f"layers.{i}.attention", D)
        shapes |= affine_shapes(f"layers.{i}.attention_norm", D)
        shapes |= feed_forward_shapes(f"layers.{i}.feed_forward", D, F)
        shapes |= affine_shapes(f"layers.{i}.feed_forward_norm", D)
    shapes |= affine_shapes("pooler", D, D)
    shapes |= affine_shapes("head.transform", D, D)
    shapes |= affine_shapes("head.norm", D)
    if not config.tie_embeddings:
        shapes["head.weight"] = (V, D)
    return shapes | {"head.bias": (V,)}


def forward(
    weights: Weights,
    config: ModelConfig,
    ids: Array,
    types: Array | None = None,
    arithmetic: Arithmetic = PLAIN,
    watch: Watch | None = None,
) -> Array:
    """Logits of the token that stands at each position, given all others around it.

    Args:
        weights: name -> array as in `tensor_shapes`, all of one dtype, which is the dtype of the computation.
        ids: [B, T] token ids below V. types: [B, T] token types; None for all 0.
        arithmetic: order of computation. watch: filled with what happens inside, if given.

    Returns:
        [B, T, V].

    Raises:
        ContextOverflow: more positions than the context holds.

    Source:
        LLMasOS standard, BERT; Devlin et al., BERT, 2018, section 3 and appendix A.
    """
    x = encode(weights, config, ids, types, arithmetic, watch)
    x = ops.ACTIVATIONS[config.activation](affine(x, weights, "head.transform", arithmetic))  # [B, T, D]
    x = layer_norm(x, weights, "head.norm", config.layer_norm_epsilon, arithmetic)
    head = weights["token_embedding"] if config.tie_embeddings else weights["head.weight"]  # [V, D]
    return arithmetic.linear(x, head.T, weights["head.bias"])  # [B, T, V]


def encode(
    weights: Weights,
    config: ModelConfig,
    ids: Array,
    types: Array | None = None,
    arithmetic: Arithmetic = PLAIN,
    watch: Watch | None = None,
) -> Array:
    """What leaves the last block, arguments as in `forward`; -> [B, T, D]."""
    T = end_of(0, ids.shape[-1], config.context_length)
    kinds = np.zeros_like(ids) if types is None else types
    x = weights["token_embedding"][ids] + weights["position_embedding"][:T] + weights["type_embedding"][kinds]
    x = layer_norm(x, weights, "embedding_norm", config.layer_norm_epsilon, arithmetic)  # [B, T, D]
    for i in range(config.num_layers):
        if watch:
            watch.hidden.append(x)
        x = block(x, weights, f"layers.{i}", config, arithmetic, watch)
    if watch:
        watch.hidden.append(x)
        watch.pooled = pool(x, weights, arithmetic)
    return x


def block(
    x: Array, weights: Weights, layer: str, config: ModelConfig, arithmetic: Arithmetic, watch: Watch | None
) -> Array:
    """One layer: attention, norm, feed-forward, norm; [B, T, D] -> [B, T, D]."""
    q, k, v = projected(
        x, weights, f"{layer}.attention", ("query", "key", "value"), config.num_heads, arithmetic
    )  # [B, H, T, K]
    if watch:
        watch.attention.append(ops.attention_weights(q, k))
    attended = affine(joined(arithmetic.attention(q, k, v, None)), weights, f"{layer}.attention.output", arithmetic)
    x = layer_norm(x + attended, weights, f"{layer}.attention_norm", config.layer_norm_epsilon, arithmetic)
    hidden = ops.ACTIVATIONS[config.activation](affine(x, weights, f"{layer}.feed_forward.up", arithmetic))
    fed = affine(hidden, weights, f"{layer}.feed_forward.down", arithmetic)
    return layer_norm(x + fed, weights, f"{layer}.feed_forward_norm", config.layer_norm_epsilon, arithmetic)


def pool(x: Array, weights: Weights, arithmetic: Arithmetic) -> Array:
    """One vector for the sequence: tanh of a linear map of its first position; [B, T, D] -> [B, D]."""
    pooled: Array = np.tanh(affine(x[:, :1], weights, "pooler", arithmetic))
    return pooled[:, 0]
