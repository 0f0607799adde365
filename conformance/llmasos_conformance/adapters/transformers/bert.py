"""BERT as BertForMaskedLM, which is given the pooler that it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers

from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.transformers.inside import Looking, Named
from llmasos_conformance.adapters.transformers.runtime import ACTIVATIONS, PAD, both, numbers, turned, with_weights
from llmasos_conformance.protocol import Array, Encoding


def load(bundle: kit.KitBundle, dtype: Any, attention: str, device: str) -> Bert:
    """The bundle in the runtime.

    Raises:
        Refusal: invalid_format, when a weight is too large for the dtype.
    """
    config = bundle.config
    settings = transformers.BertConfig(
        vocab_size=config["vocab_size"],
        hidden_size=config["embedding_dim"],
        num_hidden_layers=config["num_layers"],
        num_attention_heads=config["num_heads"],
        intermediate_size=config["feed_forward_dim"],
        hidden_act=ACTIVATIONS[config["activation"]],
        max_position_embeddings=config["context_length"],
        type_vocab_size=config["type_vocab_size"],
        layer_norm_eps=config["layer_norm_epsilon"],
        tie_word_embeddings=config["tie_embeddings"],
        pad_token_id=PAD,
        attn_implementation=attention,
    )
    module = transformers.BertForMaskedLM(settings)
    module.bert = transformers.BertModel(settings)
    return Bert(bundle, with_weights(module, _named(bundle), dtype, device), _named)


class Bert(Looking, kit.KitEncoder):
    """A bundle in the runtime."""

    def __init__(self, bundle: kit.KitBundle, module: Any, named: Named) -> None:
        Looking.__init__(self, bundle, module, named)
        kit.KitEncoder.__init__(self, bundle)

    def forward(
        self, batch: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None, sources: Any = None
    ) -> list[Array]:
        """One padded call for all rows; the padding's logits are cut off."""
        kit.refuse_beside(sources=sources)
        if not batch:
            return []
        given, rows = self._given(batch, {"types": types})
        with torch.inference_mode():
            logits = self._module(**given).logits
        return [numbers(row[: len(ids)]) for row, ids in zip(logits, rows, strict=True)]

    def encode(self, batch: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None) -> list[Encoding]:
        """One padded call for all rows."""
        if not batch:
            return []
        given, rows = self._given(batch, {"types": types})
        with torch.inference_mode():
            made = self._module.bert(**given)
        return [
            Encoding(hidden=numbers(hidden[: len(ids)]), pooled=numbers(pooled))
            for hidden, pooled, ids in zip(made.last_hidden_state, made.pooler_output, rows, strict=True)
        ]


def _named(bundle: kit.KitBundle) -> dict[str, Array]:
    """The weights under the runtime's names, turned."""
    weights = bundle.weights
    head, bias = weights["token_embedding" if bundle.config["tie_embeddings"] else "head.weight"], weights["head.bias"]
    named = {
        "bert.embeddings.word_embeddings.weight": weights["token_embedding"],
        "bert.embeddings.position_embeddings.weight": weights["position_embedding"],
        "bert.embeddings.token_type_embeddings.weight": weights["type_embedding"],
        **both("bert.embeddings.LayerNorm", "embedding_norm", weights),
        **turned("bert.pooler.dense", "pooler", weights),
        **turned("cls.predictions.transform.dense", "head.transform", weights),
        **both("cls.predictions.transform.LayerNorm", "head.norm", weights),
        "cls.predictions.decoder.weight": head,
        "cls.predictions.decoder.bias": bias,
        "cls.predictions.bias": bias,
    }
    for i in range(bundle.config["num_layers"]):
        ours, theirs = f"layers.{i}", f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            named |= turned(f"{theirs}.attention.self.{part}", f"{ours}.attention.{part}", weights)
        named |= turned(f"{theirs}.attention.output.dense", f"{ours}.attention.output", weights)
        named |= both(f"{theirs}.attention.output.LayerNorm", f"{ours}.attention_norm", weights)
        named |= turned(f"{theirs}.intermediate.dense", f"{ours}.feed_forward.up", weights)
        named |= turned(f"{theirs}.output.dense", f"{ours}.feed_forward.down", weights)
        named |= both(f"{theirs}.output.LayerNorm", f"{ours}.feed_forward_norm", weights)
    return named
