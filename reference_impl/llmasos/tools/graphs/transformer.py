"""Transformer as one graph, or as two with the cache between them: `architectures.transformer`, node by node."""

from __future__ import annotations

import math

from llmasos import ops
from llmasos.config import ModelConfig
from llmasos.tools.graphs.blocks import (
    ACTIVATIONS,
    Rows,
    affine,
    attention,
    beside,
    head,
    heads,
    held,
    kept,
    layer_norm,
    rows,
    seen_by_all,
)
from llmasos.tools.graphs.nodes import Graph, Value

Held = tuple[Value, Value]
"""Keys and values of one attention, [B, H, S, K] each."""


def whole(graph: Graph, config: ModelConfig) -> None:
    """Source, target and their masks to logits."""
    ids, mask = graph.integers("input_ids", "batch", "source"), graph.integers("attention_mask", "batch", "source")
    target = graph.integers("decoder_input_ids", "batch", "target")
    target_mask = graph.integers("decoder_attention_mask", "batch", "target")
    crosses = _read(graph, config, ids, mask)
    _write(graph, config, rows(target, target_mask), seen_by_all(mask), crosses, cached=False)


def encoder(graph: Graph, config: ModelConfig) -> None:
    """Source and mask to what each layer of the decoder needs of them."""
    ids, mask = graph.integers("input_ids", "batch", "source"), graph.integers("attention_mask", "batch", "source")
    for i, (k, v) in enumerate(_read(graph, config, ids, mask)):
        kept(f"{i}.encoder", k, v, config.num_heads, config.head_dim, "source")


def decoder(graph: Graph, config: ModelConfig) -> None:
    """Target ids behind a past and a source to logits, and to the keys and values of all target columns."""
    ids, mask = (
        graph.integers("decoder_input_ids", "batch", "target"),
        graph.integers("decoder_attention_mask", "batch", "total"),
    )
    source = graph.integers("attention_mask", "batch", "source")
    crosses = [
        held(graph, f"{i}.encoder", config.num_heads, config.head_dim, "source")
        for i in range(config.num_decoder_layers)
    ]
    _write(graph, config, rows(ids, mask), seen_by_all(source), crosses, cached=True)


def _read(graph: Graph, config: ModelConfig, ids: Value, mask: Value) -> list[Held]:
    """Encode a source; keys and values for the cross-attention of each layer of the decoder."""
    x, visible = _embed(graph, config, ids, rows(ids, mask).positions, "encoder"), seen_by_all(mask)
    for layer in (f"encoder.layers.{i}" for i in range(config.num_layers)):
        x = _attend(x, _keys_and_values(x, f"{layer}.attention", config), visible, f"{layer}.attention", config)
        x = _feed_forward(x, layer, config)
    crosses = (f"decoder.layers.{i}.cross_attention" for i in range(config.num_decoder_layers))
    return [_keys_and_values(x, name, config) for name in crosses]


def _write(graph: Graph, config: ModelConfig, target: Rows, seen: Value, crosses: list[Held], cached: bool) -> None:
    """Decode a target. `seen`: which columns of the source are real."""
    x = _embed(graph, config, target.ids, target.own_positions, "decoder")
    visible = target.causal()
    for i, layer in enumerate(f"decoder.layers.{i}" for i in range(config.num_decoder_layers)):
        k, v = _keys_and_values(x, f"{layer}.attention", config)
        if cached:
            past = held(graph, f"{i}.decoder", config.num_heads, config.head_dim)
            k, v = (graph.joined(2, *pair) for pair in zip(past, (k, v), strict=True))
            kept(f"{i}.decoder", k, v, config.num_heads, config.head_dim)
        x = _attend(x, (k, v), visible, f"{layer}.attention", config)
        x = _attend(x, crosses[i], seen, f"{layer}.cross_attention", config)
        x = _feed_forward(x, layer, config)
    graph.output("logits", head(x, config.tie_embeddings), "batch", "target", config.vocab_size)


def _embed(graph: Graph, config: ModelConfig, ids: Value, positions: Value, side: str) -> Value:
    """Tokens and positions, with the norm behind them if there is one; [B, T] -> [B, T, D]."""
    x = graph.weight("token_embedding").rows(ids)
    if config.scale_embeddings:
        x = x * math.sqrt(config.embedding_dim)
    if config.positions == "learned":
        x = x + graph.weight(f"{side}.position_embedding").rows(positions)
    else:
        table = ops.sinusoidal_positions(0, config.context_length, config.embedding_dim, graph.dtype)
        x = x + graph.table("sinusoids", table).rows(positions)
    return layer_norm(x, f"{side}.embedding_norm", config.layer_norm_epsilon) if config.embedding_norm else x


def _keys_and_values(x: Value, name: str, config: ModelConfig) -> Held:
    """[B, S, D] -> [B, H, S, K] each."""
    k, v = (heads(affine(x, f"{name}.{part}"), config.num_heads, config.head_dim) for part in ("key", "value"))
    return k, v


def _attend(x: Value, looked_at: Held, visible: Value, name: str, config: ModelConfig) -> Value:
    """The attention block `name` with the norm behind it; [B, T, D] -> [B, T, D]."""
    H, K = config.num_heads, config.head_dim
    mixed = attention(heads(affine(x, f"{name}.query"), H, K), *looked_at, visible, K)
    return layer_norm(x + affine(beside(mixed, H, K), f"{name}.output"), f"{name}_norm", config.layer_norm_epsilon)


def _feed_forward(x: Value, layer: str, config: ModelConfig) -> Value:
    """The feed-forward block of one layer with the norm behind it; [B, T, D] -> [B, T, D]."""
    hidden = ACTIVATIONS[config.activation](affine(x, f"{layer}.feed_forward.up"))
    fed = affine(hidden, f"{layer}.feed_forward.down")
    return layer_norm(x + fed, f"{layer}.feed_forward_norm", config.layer_norm_epsilon)
