"""Transformer: an encoder reads a source, a decoder writes the target, attending to both. On one page.

A norm behind each block, biases on all maps but the head. By default as first published: sinusoidal positions,
embeddings scaled by sqrt(D), ReLU, one embedding for source, target and head. `positions`, `scale_embeddings`,
`embedding_norm` and `activation` cover its close relatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmasos import ops
from llmasos.architectures.blocks import (
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
from llmasos.orders import PLAIN, Arithmetic, Mask


@dataclass(frozen=True, slots=True)
class Cache:
    """A source that was read, and the target as far as it was written. A value, like the cache of a decoder.

    Attributes:
        source: per layer of the decoder, keys and values of the source.
        layers: per layer, keys and values of the target so far; empty at its start.
    """

    source: tuple[Held, ...]
    layers: tuple[Held, ...] = ()

    @property
    def length(self) -> int:
        """Target positions held."""
        return int(self.layers[0][0].shape[-2]) if self.layers else 0


def tensor_shapes(config: ModelConfig) -> Shapes:
    """Name and shape of every weight of the architecture, in the order in which they are used."""
    V, D = config.vocab_size, config.embedding_dim
    shapes: Shapes = {"token_embedding": (V, D)}
    for side, count in (("encoder", config.num_layers), ("decoder", config.num_decoder_layers)):
        if config.positions == "learned":
            shapes[f"{side}.position_embedding"] = (config.context_length, D)
        if config.embedding_norm:
            shapes |= affine_shapes(f"{side}.embedding_norm", D)
        for layer in (f"{side}.layers.{i}" for i in range(count)):
            for part in ("attention", "cross_attention") if side == "decoder" else ("attention",):
                shapes |= attention_shapes(f"{layer}.{part}", D) | affine_shapes(f"{layer}.{part}_norm", D)
            shapes |= feed_forward_shapes(f"{layer}.feed_forward", D, config.feed_forward_dim)
            shapes |= affine_shapes(f"{layer}.feed_forward_norm", D)
    if not config.tie_embeddings:
        shapes["head.weight"] = (V, D)
    return shapes


def read(
    weights: Weights,
    config: ModelConfig,
    source: Array,
    arithmetic: Arithmetic = PLAIN,
    watch: Watch | None = None,
) -> Cache:
    """Encode a source and keep what each layer of the decoder needs of it.

    Args:
        weights: name -> array as in `tensor_shapes`, all of one dtype, which is the dtype of the computation.
        source: [B, S] token ids below V.
        arithmetic: order of computation. watch: its source members are filled, if given.

    Raises:
        ContextOverflow: more positions than the context holds.

    Source:
        LLMasOS document 4.1; Vaswani et al., Attention Is All You Need, 2017, section 3.
    """
    x = embed(source, 0, "encoder", weights, config, arithmetic)  # [B, S, D]
    for layer in (f"encoder.layers.{i}" for i in range(config.num_layers)):
        if watch:
            watch.source_hidden.append(x)
        seen = watch.source_attention if watch else None
        own = keys_and_values(x, weights, f"{layer}.attention", config, arithmetic)
        x = attend(x, own, None, weights, f"{layer}.attention", config, arithmetic, seen)
        x = feed_forward(x, weights, layer, config, arithmetic)
    if watch:
        watch.source_hidden.append(x)
    crosses = (f"decoder.layers.{i}.cross_attention" for i in range(config.num_decoder_layers))
    return Cache(tuple(keys_and_values(x, weights, name, config, arithmetic) for name in crosses))


def forward(
    weights: Weights,
    config: ModelConfig,
    ids: Array,
    cache: Cache,
    arithmetic: Arithmetic = PLAIN,
    watch: Watch | None = None,
) -> tuple[Array, Cache]:
    """Logits of the next target token after each target position.

    Args:
        ids: [B, T] token ids of the target below V, the first of all being decoder_start_token_id.
        cache: of the source, and of the target positions before ids.

    Returns:
        logits [B, T, V], and the cache with the new positions appended.

    Raises:
        ContextOverflow: more positions than the context holds.
    """
    x = embed(ids, cache.length, "decoder", weights, config, arithmetic)  # [B, T, D]
    S = cache.length + ids.shape[-1]
    visible = ops.causal_mask(ids.shape[-1], S)
    layers = []
    for i, layer in enumerate(f"decoder.layers.{i}" for i in range(config.num_decoder_layers)):
        if watch:
            watch.hidden.append(x)
        held = cache.layers[i] if cache.layers else None
        own = appended(held, *keys_and_values(x, weights, f"{layer}.attention", config, arithmetic))
        seen, crossed = (watch.attention, watch.cross) if watch else (None, None)
        x = attend(x, own, visible, weights, f"{layer}.attention", config, arithmetic, seen)
        x = attend(x, cache.source[i], None, weights, f"{layer}.cross_attention", config, arithmetic, crossed)
        x = feed_forward(x, weights, layer, config, arithmetic)
        layers.append(own)
    if watch:
        watch.hidden.append(x)
    head = weights["token_embedding"] if config.tie_embeddings else weights["head.weight"]  # [V, D]
    return arithmetic.linear(x, head.T, None), Cache(cache.source, tuple(layers))  # [B, T, V]


def embed(ids: Array, start: int, side: str, weights: Weights, config: ModelConfig, arithmetic: Arithmetic) -> Array:
    """Tokens and positions from `start` on, with the norm behind them if there is one; [B, T] -> [B, T, D]."""
    end = end_of(start, ids.shape[-1], config.context_length)
    x = weights["token_embedding"][ids]  # [B, T, D]
    if config.scale_embeddings:
        x = x * math.sqrt(config.embedding_dim)
    if config.positions == "learned":
        x = x + weights[f"{side}.position_embedding"][start:end]
    else:
        x = x + arithmetic.sinusoids(start, end, config.embedding_dim, x.real.dtype)
    if not config.embedding_norm:
        return x
    return layer_norm(x, weights, f"{side}.embedding_norm", config.layer_norm_epsilon, arithmetic)


def keys_and_values(x: Array, weights: Weights, name: str, config: ModelConfig, arithmetic: Arithmetic) -> Held:
    """What an attention keeps of the positions it looks at; [B, S, D] -> [B, H, S, K] each."""
    k, v = projected(x, weights, name, ("key", "value"), config.num_heads, arithmetic)
    return k, v


def attend(
    x: Array,
    looked_at: Held,
    visible: Mask,
    weights: Weights,
    name: str,
    config: ModelConfig,
    arithmetic: Arithmetic,
    seen: list[Array] | None,
) -> Array:
    """The attention block `name` with the norm behind it; [B, T, D] -> [B, T, D].

    Args:
        looked_at: keys and values [B, H, S, K]. visible: [T, S], None for all.
        seen: gets the attention weights, if given.
    """
    (q,) = projected(x, weights, name, ("query",), config.num_heads, arithmetic)  # [B, H, T, K]
    k, v = looked_at
    if seen is not None:
        seen.append(ops.attention_weights(q, k, visible))
    mixed = affine(joined(arithmetic.attention(q, k, v, visible)), weights, f"{name}.output", arithmetic)
    return layer_norm(x + mixed, weights, f"{name}_norm", config.layer_norm_epsilon, arithmetic)


def feed_forward(x: Array, weights: Weights, layer: str, config: ModelConfig, arithmetic: Arithmetic) -> Array:
    """The feed-forward block of one layer with the norm behind it; [B, T, D] -> [B, T, D]."""
    hidden = ops.ACTIVATIONS[config.activation](affine(x, weights, f"{layer}.feed_forward.up", arithmetic))
    fed = affine(hidden, weights, f"{layer}.feed_forward.down", arithmetic)
    return layer_norm(x + fed, weights, f"{layer}.feed_forward_norm", config.layer_norm_epsilon, arithmetic)
