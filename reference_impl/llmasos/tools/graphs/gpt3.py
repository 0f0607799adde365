"""GPT-3 as a graph: `architectures.gpt3`, node by node."""

from __future__ import annotations

from llmasos.config import ModelConfig
from llmasos.tools.graphs.blocks import (
    Rows,
    affine,
    attention,
    beside,
    gelu_tanh,
    head,
    heads,
    held,
    ids_and_mask,
    kept,
    layer_norm,
)
from llmasos.tools.graphs.nodes import Graph, Value


def whole(graph: Graph, config: ModelConfig) -> None:
    """Ids and mask to logits."""
    _forward(graph, config, ids_and_mask(graph, past=False), cached=False)


def cached(graph: Graph, config: ModelConfig) -> None:
    """Ids, mask, past keys and values to logits, and to the keys and values of all columns."""
    _forward(graph, config, ids_and_mask(graph, past=True), cached=True)


def _forward(graph: Graph, config: ModelConfig, rows: Rows, cached: bool) -> None:
    positions = graph.weight("position_embedding").rows(rows.own_positions)
    x = graph.weight("token_embedding").rows(rows.ids) + positions  # [B, T, D]
    dense = rows.causal()
    banded = dense if config.local_attention_window is None else rows.causal(config.local_attention_window)
    for i in range(config.num_layers):
        x = x + _attention(x, i, config, banded if i % 2 else dense, cached)
        x = x + _feed_forward(x, i, config)
    x = layer_norm(x, "final_norm", config.layer_norm_epsilon)
    graph.output("logits", head(x, config.tie_embeddings), "batch", "length", config.vocab_size)


def _attention(x: Value, i: int, config: ModelConfig, visible: Value, cached: bool) -> Value:
    """The attention block of layer i, norm included; [B, T, D] -> [B, T, D]."""
    H, K, name = config.num_heads, config.head_dim, f"layers.{i}.attention"
    x = layer_norm(x, f"{name}_norm", config.layer_norm_epsilon)
    q, k, v = (heads(affine(x, f"{name}.{part}"), H, K) for part in ("query", "key", "value"))  # [B, H, T, K]
    if cached:
        k, v = (x.graph.joined(2, *pair) for pair in zip(held(x.graph, str(i), H, K), (k, v), strict=True))
        kept(str(i), k, v, H, K)
    return affine(beside(attention(q, k, v, visible, K), H, K), f"{name}.output")


def _feed_forward(x: Value, i: int, config: ModelConfig) -> Value:
    """The feed-forward block of layer i, norm included; [B, T, D] -> [B, T, D]."""
    x = layer_norm(x, f"layers.{i}.feed_forward_norm", config.layer_norm_epsilon)
    return affine(gelu_tanh(affine(x, f"layers.{i}.feed_forward.up")), f"layers.{i}.feed_forward.down")
