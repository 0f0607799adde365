"""Llama as LlamaForCausalLM; with a sliding window as MistralForCausalLM, which is the same and has one."""

from __future__ import annotations

from typing import Any

import transformers

from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.transformers.decoder import Decoder
from llmasos_conformance.adapters.transformers.runtime import turned, with_weights
from llmasos_conformance.protocol import Array


def load(bundle: kit.KitBundle, dtype: Any, attention: str, device: str) -> Decoder:
    """The bundle in the runtime.

    Raises:
        Refusal: invalid_format, when a weight is too large for the dtype.
    """
    config = bundle.config
    settings = {
        "vocab_size": config["vocab_size"],
        "hidden_size": config["embedding_dim"],
        "intermediate_size": config["feed_forward_dim"],
        "num_hidden_layers": config["num_layers"],
        "num_attention_heads": config["num_heads"],
        "num_key_value_heads": config["num_key_value_heads"],
        "head_dim": config["embedding_dim"] // config["num_heads"],
        "hidden_act": "silu",
        "max_position_embeddings": config["context_length"],
        "rms_norm_eps": config["rms_norm_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": config["rope_theta"]},
        "tie_word_embeddings": config["tie_embeddings"],
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "attn_implementation": attention,
    }
    if config["sliding_window"] is None:
        made = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))
    else:
        windowed = transformers.MistralConfig(**settings, sliding_window=config["sliding_window"])
        made = transformers.MistralForCausalLM(windowed)
    return Decoder(bundle, with_weights(made, _named(bundle), dtype, device), _named)


def _named(bundle: kit.KitBundle) -> dict[str, Array]:
    """The weights under the runtime's names, turned."""
    weights = bundle.weights
    named = {
        "model.embed_tokens.weight": weights["token_embedding"],
        "model.norm.weight": weights["final_norm.weight"],
        "lm_head.weight": weights["token_embedding" if bundle.config["tie_embeddings"] else "head.weight"],
    }
    for i in range(bundle.config["num_layers"]):
        ours, theirs = f"layers.{i}", f"model.layers.{i}"
        named[f"{theirs}.input_layernorm.weight"] = weights[f"{ours}.attention_norm.weight"]
        named[f"{theirs}.post_attention_layernorm.weight"] = weights[f"{ours}.feed_forward_norm.weight"]
        for short, part in {"q": "query", "k": "key", "v": "value", "o": "output"}.items():
            named |= turned(f"{theirs}.self_attn.{short}_proj", f"{ours}.attention.{part}", weights)
        for part in ("gate", "up", "down"):
            named |= turned(f"{theirs}.mlp.{part}_proj", f"{ours}.feed_forward.{part}", weights)
    return named
