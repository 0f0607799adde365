"""The architectures as ONNX graphs with a bundle's weights, a page of graph each, mirroring `llmasos.architectures`.

    graph(config, weights, form)    nodes, inputs, outputs and initialisers of one file

A graph is built node by node from the formulas, not traced from a program. So nothing that is known while it is built
can stand in it for what is known only when it runs: batch, length and past are read from the inputs, and the same
bundle gives the same nodes in the same order.

Rows of a batch may have different lengths. Where the attention mask is 0 a column is padding: no other column sees it,
it counts as no position, and what comes out there means nothing. Padding may stand on either side.

    architecture    form             inputs                                        outputs
    GPT-3, Llama    whole            input_ids, attention_mask                     logits
                    cached           and past_key_values.{i}.key|value             and present.{i}.key|value
    BERT            whole            input_ids, attention_mask, token_type_ids     logits, last_hidden_state,
                                                                                   pooler_output
    Transformer     whole            input_ids, attention_mask,                    logits
                                     decoder_input_ids, decoder_attention_mask
                    cached, encoder  input_ids, attention_mask                     present.{i}.encoder.key|value
                    cached, decoder  decoder_input_ids, decoder_attention_mask,    logits,
                                     attention_mask,                               present.{i}.decoder.key|value
                                     past_key_values.{i}.encoder.key|value,
                                     past_key_values.{i}.decoder.key|value

Ids, types and masks are int64 [batch, length]; a mask beside a past covers past and new columns. Keys and values are
[batch, G, columns, K]; logits are [batch, length, V].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llmasos.config import ModelConfig
from llmasos.graphfile import MAX_OPSET, MIN_OPSET
from llmasos.ops import Array
from llmasos.tools.graphs import bert, gpt3, llama, transformer
from llmasos.tools.graphs.nodes import Graph

WHOLE, CACHED, ENCODER, DECODER = "whole", "cached", "encoder", "decoder"
"""Forms of a graph."""

PAGES: Mapping[tuple[str, str], Callable[[Graph, ModelConfig], None]] = {
    ("GPT-3", WHOLE): gpt3.whole,
    ("GPT-3", CACHED): gpt3.cached,
    ("Llama", WHOLE): llama.whole,
    ("Llama", CACHED): llama.cached,
    ("BERT", WHOLE): bert.whole,
    ("Transformer", WHOLE): transformer.whole,
    ("Transformer", ENCODER): transformer.encoder,
    ("Transformer", DECODER): transformer.decoder,
}
"""Who builds which graph."""


def graph(config: ModelConfig, weights: Mapping[str, Array], form: str, *, dtype: str, opset: int) -> Graph:
    """A graph of an architecture.

    Args:
        weights: name -> array as in `weights.expected_tensors`. form: one that PAGES has for the architecture.
        dtype: "float64" or "float32"; of weights and arithmetic. opset: MIN_OPSET … MAX_OPSET.

    Raises:
        InvalidFormat: a weight is too large for the dtype.
    """
    made = Graph(weights, dtype=dtype, opset=opset)
    PAGES[config.architecture, form](made, config)
    return made


__all__ = ["CACHED", "DECODER", "ENCODER", "MAX_OPSET", "MIN_OPSET", "PAGES", "WHOLE", "Graph", "graph"]
