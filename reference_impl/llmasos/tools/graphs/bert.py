"""BERT as a graph with both heads: `architectures.bert`, node by node."""

from __future__ import annotations

from llmasos.config import ModelConfig
from llmasos.tools.graphs.blocks import (
    ACTIVATIONS,
    affine,
    attention,
    beside,
    heads,
    layer_norm,
    rows,
    seen_by_all,
)
from llmasos.tools.graphs.nodes import Graph, Value


def whole(graph: Graph, config: ModelConfig) -> None:
    """Ids, mask and token types to logits, hidden states and pooled vectors."""
    ids, mask = graph.integers("input_ids", "batch", "length"), graph.integers("attention_mask", "batch", "length")
    types, V, D = graph.integers("token_type_ids", "batch", "length"), config.vocab_size, config.embedding_dim
    x = graph.weight("token_embedding").rows(ids) + graph.weight("position_embedding").rows(rows(ids, mask).positions)
    x = layer_norm(x + graph.weight("type_embedding").rows(types), "embedding_norm", config.layer_norm_epsilon)
    visible = seen_by_all(mask)
    for i in range(config.num_layers):
        x = _block(x, f"layers.{i}", config, visible)
    hidden = ACTIVATIONS[config.activation](affine(x, "head.transform"))
    hidden = layer_norm(hidden, "head.norm", config.layer_norm_epsilon)
    table = graph.weight("token_embedding" if config.tie_embeddings else "head.weight")
    graph.output("logits", hidden @ table.transposed(1, 0) + graph.weight("head.bias"), "batch", "length", V)
    graph.output("last_hidden_state", x, "batch", "length", D)
    graph.output("pooler_output", affine(_first(x, mask), "pooler").apply("Tanh"), "batch", D)


def _block(x: Value, layer: str, config: ModelConfig, visible: Value) -> Value:
    """One layer; [B, T, D] -> [B, T, D]."""
    H, K, name = config.num_heads, config.head_dim, f"{layer}.attention"
    q, k, v = (heads(affine(x, f"{name}.{part}"), H, K) for part in ("query", "key", "value"))
    attended = affine(beside(attention(q, k, v, visible, K), H, K), f"{name}.output")
    x = layer_norm(x + attended, f"{name}_norm", config.layer_norm_epsilon)
    hidden = ACTIVATIONS[config.activation](affine(x, f"{layer}.feed_forward.up"))
    fed = affine(hidden, f"{layer}.feed_forward.down")
    return layer_norm(x + fed, f"{layer}.feed_forward_norm", config.layer_norm_epsilon)


def _first(x: Value, mask: Value) -> Value:
    """The first real column of each row, which is not the first column where padding stands in front; -> [B, D]."""
    place = mask.apply("ArgMax", axis=1, keepdims=1)  # of several largest the first; [B, 1]
    return x.graph.make("GatherND", x, place, batch_dims=1)
