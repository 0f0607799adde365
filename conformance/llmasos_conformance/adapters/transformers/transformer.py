"""Transformer as MarianMTModel, or with a norm behind the embeddings as BartForConditionalGeneration.

Both are encoder-decoders with norms behind the blocks, and differ from each other in that norm and in where positions
come from: Marian makes a table of sines and cosines that stand in two halves, Bart learns one. The standard's, learned
or with sines and cosines in turn, is written into either table. Neither offers the epsilon of its norms, which is
written into them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.transformers.inside import Looking, Named
from llmasos_conformance.adapters.transformers.runtime import (
    ACTIVATIONS,
    PAD,
    Generating,
    Session,
    both,
    log_probabilities,
    numbers,
    padded,
    turned,
    with_weights,
)
from llmasos_conformance.protocol import Array

BART_OFFSET = 2
"""Rows of Bart's table that stand before position 0."""


def load(bundle: kit.KitBundle, dtype: Any, attention: str, device: str) -> Translator:
    """The bundle in the runtime.

    Raises:
        Refusal: invalid_format, when a weight is too large for the dtype.
    """
    config, V = bundle.config, bundle.config["vocab_size"]
    settings = {
        "vocab_size": V,
        "d_model": config["embedding_dim"],
        "encoder_layers": config["num_layers"],
        "decoder_layers": config["num_decoder_layers"],
        "encoder_attention_heads": config["num_heads"],
        "decoder_attention_heads": config["num_heads"],
        "encoder_ffn_dim": config["feed_forward_dim"],
        "decoder_ffn_dim": config["feed_forward_dim"],
        "activation_function": ACTIVATIONS[config["activation"]],
        "max_position_embeddings": config["context_length"],
        "scale_embedding": config["scale_embeddings"],
        "tie_word_embeddings": config["tie_embeddings"],
        "pad_token_id": PAD,
        "bos_token_id": None,
        "eos_token_id": None,
        "forced_eos_token_id": None,
        "decoder_start_token_id": config["decoder_start_token_id"],
        "attn_implementation": attention,
    }
    if config["embedding_norm"]:
        module = transformers.BartForConditionalGeneration(transformers.BartConfig(**settings))
    else:
        # In early versions sharing the embeddings ties the head as well.
        shared = {"share_encoder_decoder_embeddings": config["tie_embeddings"], "decoder_vocab_size": V}
        module = transformers.MarianMTModel(transformers.MarianConfig(**settings, **shared))
    for part in module.modules():
        if isinstance(part, torch.nn.LayerNorm):
            part.eps = config["layer_norm_epsilon"]
    return Translator(bundle, with_weights(module, _named(bundle), dtype, device), _named)


class Translator(Looking, Generating, kit.KitEncoderDecoder):
    """A bundle in the runtime."""

    def __init__(self, bundle: kit.KitBundle, module: Any, named: Named) -> None:
        Looking.__init__(self, bundle, module, named)
        kit.KitEncoderDecoder.__init__(self, bundle)

    def forward(
        self, batch: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None, types: Any = None
    ) -> list[Array]:
        """One padded call for all rows. Pads of a target need no mask, because they stand behind it."""
        kit.refuse_beside(types=types)
        each = kit.beside(batch, sources, "sources")
        rows = [kit.check_ids(self.config, row) for row in batch]
        read = [self._source(source) for source in each]
        if not rows:
            return []
        ids, mask = padded(read, self._module.device)
        with torch.inference_mode():
            targets = padded(rows, self._module.device)[0]
            made = self._module(input_ids=ids, attention_mask=mask, decoder_input_ids=targets, use_cache=False)
        return [numbers(row[: len(given)]) for row, given in zip(made.logits, rows, strict=True)]

    def open(self, ids: Sequence[int], source: Sequence[int] | None = None) -> Session:
        """The source is read once; the cache keeps what the decoder needs of it."""
        read, mask = padded([self._source(source)], self._module.device)
        with torch.inference_mode():
            encoded = self._module.get_encoder()(input_ids=read, attention_mask=mask)
        cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
        fixed = {"encoder_outputs": encoded, "attention_mask": mask}
        return Session(self._module, self.config, ids, cache, "decoder_input_ids", **fixed)

    def score(self, ids: Sequence[int], source: Sequence[int] | None = None) -> list[float | None]:
        row = kit.check_ids(self.config, ids)
        return log_probabilities(self.forward([row], sources=[self._source(source)])[0], row)

    def generated(self, prompts: Sequence[Sequence[int]], request: kit.Request) -> list[list[int]]:
        """One batch of sources; targets are of one length as long as none has ended."""
        limit = self.limit([], request)
        if not prompts or limit <= 0:
            return [[] for _ in prompts]
        ids, mask = padded(prompts, self._module.device)
        settings = self.settings(request, limit, decoder_start_token_id=self.config["decoder_start_token_id"])
        with torch.inference_mode():
            whole = self._module.generate(ids, attention_mask=mask, generation_config=settings)
        return [self.until_eos(row[1:].tolist()) for row in whole]

    def _source(self, source: Sequence[int] | None) -> list[int]:
        kit.require_beside(source=source)
        return kit.check_ids(self.config, source or [])


def _named(bundle: kit.KitBundle) -> dict[str, Array]:
    """The weights under the runtime's names, turned."""
    weights, config = bundle.weights, bundle.config
    shared = weights["token_embedding"]
    named = {
        "final_logits_bias": np.zeros((1, config["vocab_size"])),
        "model.encoder.embed_tokens.weight": shared,
        "model.decoder.embed_tokens.weight": shared,
        "lm_head.weight": shared if config["tie_embeddings"] else weights["head.weight"],
    }
    if config["embedding_norm"] or config["tie_embeddings"]:
        named["model.shared.weight"] = shared  # Marian has none where the head is not tied
    for side, layers in {"encoder": config["num_layers"], "decoder": config["num_decoder_layers"]}.items():
        learned = weights.get(f"{side}.position_embedding")
        table = sinusoids(config["context_length"], config["embedding_dim"]) if learned is None else learned
        before = BART_OFFSET if config["embedding_norm"] else 0
        named[f"model.{side}.embed_positions.weight"] = np.pad(table, [(before, 0), (0, 0)])
        if config["embedding_norm"]:
            named |= both(f"model.{side}.layernorm_embedding", f"{side}.embedding_norm", weights)
        for i in range(layers):
            ours, theirs = f"{side}.layers.{i}", f"model.{side}.layers.{i}"
            named |= _attention(f"{theirs}.self_attn", f"{ours}.attention", bundle)
            if side == "decoder":
                named |= _attention(f"{theirs}.encoder_attn", f"{ours}.cross_attention", bundle)
            named |= turned(f"{theirs}.fc1", f"{ours}.feed_forward.up", weights)
            named |= turned(f"{theirs}.fc2", f"{ours}.feed_forward.down", weights)
            named |= both(f"{theirs}.final_layer_norm", f"{ours}.feed_forward_norm", weights)
    return named


def _attention(theirs: str, ours: str, bundle: kit.KitBundle) -> dict[str, Array]:
    """An attention and the norm behind it."""
    named = both(f"{theirs}_layer_norm", f"{ours}_norm", bundle.weights)
    for short, part in {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}.items():
        named |= turned(f"{theirs}.{short}", f"{ours}.{part}", bundle.weights)
    return named


def sinusoids(T: int, D: int) -> Array:
    """Position embeddings [T, D]: channels 2i and 2i + 1 are sine and cosine of p / 10000^(2i/D).

    Source:
        LLMasOS specification, Transformer; Vaswani et al., Attention Is All You Need, 2017, section 3.5.
    """
    angle = np.arange(T)[:, None] / 10000.0 ** (np.arange(0, D, 2) / D)
    table = np.empty((T, D))
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle[:, : D // 2])
    return table
