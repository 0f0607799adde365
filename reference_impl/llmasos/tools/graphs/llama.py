"""Llama as a graph: `architectures.llama`, node by node."""

from __future__ import annotations

from llmasos import ops
from llmasos.config import ModelConfig
from llmasos.tools.graphs.blocks import (
    Rows,
    beside,
    head,
    heads,
    held,
    ids_and_mask,
    kept,
    linear,
    rms_norm,
    silu,
    weights_of,
)
from llmasos.tools.graphs.nodes import Graph, Value


def whole(graph: Graph, config: ModelConfig) -> None:
    """Ids and mask to logits."""
    _forward(graph, config, ids_and_mask(graph, past=False), cached=False)


def cached(graph: Graph, config: ModelConfig) -> None:
    """Ids, mask, past keys and values to logits, and to the keys and values of all columns."""
    _forward(graph, config, ids_and_mask(graph, past=True), cached=True)


def _forward(graph: Graph, config: ModelConfig, rows: Rows, cached: bool) -> None:
    x = graph.weight("token_embedding").rows(rows.ids)  # [B, T, D]
    turn, visible = _turn(graph, config, rows), rows.causal(config.sliding_window)
    for i in range(config.num_layers):
        x = x + _attention(x, i, config, visible, turn, cached)
        x = x + _feed_forward(x, i, config)
    x = rms_norm(x, "final_norm", config.rms_norm_epsilon)
    graph.output("logits", head(x, config.tie_embeddings), "batch", "length", config.vocab_size)


def _turn(graph: Graph, config: ModelConfig, rows: Rows) -> tuple[Value, Value]:
    """Cosine and sine of the rotary angles of the ids' positions; [B, 1, T, K/2] each.

    Read from tables that hold them for the whole context, computed in float64 and rounded once: angles that are
    computed in float32 while the graph runs err the more, the further on a position is.
    """
    tables = ops.rotary_angles(0, config.context_length, config.head_dim, config.rope_theta, graph.dtype)
    cos, sin = (
        graph.table(f"rotary.{name}", table).rows(rows.own_positions).unsqueezed(1)
        for name, table in zip(("cos", "sin"), tables, strict=True)
    )
    return cos, sin


def _rotate(x: Value, turn: tuple[Value, Value], K: int) -> Value:
    """Turn channels i and i + K/2 of each head by their position's angle; [B, H, T, K] -> [B, H, T, K]."""
    (a, b), (cos, sin) = x.halves(K // 2), turn
    return x.graph.joined(-1, a * cos - b * sin, b * cos + a * sin)


def _attention(x: Value, i: int, config: ModelConfig, visible: Value, turn: tuple[Value, Value], cached: bool) -> Value:
    """The attention block of layer i, norm included; [B, T, D] -> [B, T, D]."""
    H, G, K, name = config.num_heads, config.num_key_value_heads, config.head_dim, f"layers.{i}.attention"
    x = rms_norm(x, f"{name}_norm", config.rms_norm_epsilon)
    q = _rotate(heads(linear(x, f"{name}.query"), H, K), turn, K)  # [B, H, T, K]
    k = _rotate(heads(linear(x, f"{name}.key"), G, K), turn, K)  # [B, G, T, K]
    v = heads(linear(x, f"{name}.value"), G, K)
    if cached:
        k, v = (x.graph.joined(2, *pair) for pair in zip(held(x.graph, str(i), G, K), (k, v), strict=True))
        kept(str(i), k, v, G, K)
    # [B, G, R, T, K], R = H/G, and a size of 1 in its place for keys and values.
    q, v = q.reshaped(0, G, H // G, -1, K), v.unsqueezed(2)
    scores = q @ k.transposed(0, 1, 3, 2).unsqueezed(2)  # [B, G, R, T, S]
    mixed = (weights_of(scores, visible.unsqueezed(1), K) @ v).reshaped(0, H, -1, K)
    return linear(beside(mixed, H, K), f"{name}.output")


def _feed_forward(x: Value, i: int, config: ModelConfig) -> Value:
    """The feed-forward block of layer i, norm included; [B, T, D] -> [B, T, D]."""
    x = rms_norm(x, f"layers.{i}.feed_forward_norm", config.rms_norm_epsilon)
    hidden = silu(linear(x, f"layers.{i}.feed_forward.gate")) * linear(x, f"layers.{i}.feed_forward.up")
    return linear(hidden, f"layers.{i}.feed_forward.down")
