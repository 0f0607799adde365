"""A bundle as a model directory of CTranslate2, written with the runtime's own specifications.

    GPT-3        a decoder with norms in front of its blocks, as the runtime's converter makes it of GPT-2
    Llama        the same with rotary angles, root mean square norms and a gate, as of LlamaForCausalLM
    BERT         an encoder with a pooler, as of BertModel; the runtime has no head that fills masks
    Transformer  encoder and decoder with norms behind their blocks, as of Bart; positions are always a table

An id is spelled t0, t1, … in the runtime's vocabulary, in their order: it asks for texts, and numbers them by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ctranslate2.specs import common_spec, transformer_spec

from llmasos_conformance.adapters import kit
from llmasos_conformance.protocol import Array

_ACTIVATIONS = {
    "gelu": common_spec.Activation.GELU,
    "gelu_tanh": common_spec.Activation.GELUTanh,
    "relu": common_spec.Activation.RELU,
    "silu": common_spec.Activation.SWISH,
}


def spelled(token: int) -> str:
    """An id in the runtime's vocabulary."""
    return f"t{token}"


def write(bundle: kit.KitBundle, directory: str) -> None:
    """Write a bundle as a model directory.

    Raises:
        Refusal: invalid_format, when a weight is too large for float32.
    """
    kit.refuse_large(bundle.weights, "float32")
    architecture, config = bundle.config["architecture"], bundle.config
    spec = _MAKERS[architecture](config, Weights(bundle.weights))
    ids = [spelled(token) for token in range(config["vocab_size"])]
    if architecture == "Transformer":
        spec.register_source_vocabulary(ids)
        spec.register_target_vocabulary(ids)
        spec.config.decoder_start_token = None  # every call begins with it
    else:
        spec.register_vocabulary(ids)
    spec.config.unk_token = spec.config.bos_token = spec.config.eos_token = ids[0]  # calls name what ends them
    spec.config.layer_norm_epsilon = config["rms_norm_epsilon" if architecture == "Llama" else "layer_norm_epsilon"]
    spec.validate()
    spec.optimize()
    spec.save(directory)


class Weights:
    """A bundle's weights on their way into the parts of a specification, where maps stand left of activations."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self._weights = weights

    def array(self, name: str) -> Array:
        return np.ascontiguousarray(self._weights[name], dtype=np.float32)

    def linear(self, spec: Any, *names: str) -> None:
        """Maps side by side, with their biases if they have them."""
        spec.weight = np.ascontiguousarray(np.concatenate([self.array(f"{name}.weight").T for name in names]))
        if f"{names[0]}.bias" in self._weights:
            spec.bias = np.concatenate([self.array(f"{name}.bias") for name in names])

    def norm(self, spec: Any, name: str) -> None:
        spec.gamma = self.array(f"{name}.weight")
        if f"{name}.bias" in self._weights:
            spec.beta = self.array(f"{name}.bias")

    def attention(self, spec: Any, name: str, norm: str) -> None:
        """An attention to its own row, with its norm."""
        self.linear(spec.linear[0], *(f"{name}.{part}" for part in ("query", "key", "value")))
        self.linear(spec.linear[-1], f"{name}.output")
        self.norm(spec.layer_norm, norm)

    def cross(self, spec: Any, name: str, norm: str) -> None:
        """An attention to the source, with its norm."""
        self.linear(spec.linear[0], f"{name}.query")
        self.linear(spec.linear[1], f"{name}.key", f"{name}.value")
        self.linear(spec.linear[-1], f"{name}.output")
        self.norm(spec.layer_norm, norm)

    def fed(self, spec: Any, layer: str) -> None:
        """A feed-forward with its norm."""
        self.linear(spec.linear_0, f"{layer}.feed_forward.{'gate' if hasattr(spec, 'linear_0_noact') else 'up'}")
        if hasattr(spec, "linear_0_noact"):
            self.linear(spec.linear_0_noact, f"{layer}.feed_forward.up")
        self.linear(spec.linear_1, f"{layer}.feed_forward.down")
        self.norm(spec.layer_norm, f"{layer}.feed_forward_norm")

    def block(self, spec: Any, layer: str) -> None:
        self.attention(spec.self_attention, f"{layer}.attention", f"{layer}.attention_norm")
        if hasattr(spec, "attention"):
            self.cross(spec.attention, f"{layer}.cross_attention", f"{layer}.cross_attention_norm")
        self.fed(spec.ffn, layer)

    def head(self, spec: Any, config: Mapping[str, Any]) -> None:
        spec.weight = self.array("token_embedding" if config["tie_embeddings"] else "head.weight")


def _decoder(config: Mapping[str, Any], weights: Weights, **own: Any) -> Any:
    """What GPT-3 and Llama share."""
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        config["num_layers"], config["num_heads"], pre_norm=True, activation=_ACTIVATIONS[config["activation"]], **own
    )
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights.array("token_embedding")
    for i, layer in enumerate(decoder.layer):
        weights.block(layer, f"layers.{i}")
    weights.norm(decoder.layer_norm, "final_norm")
    weights.head(decoder.projection, config)
    return spec


def _gpt3(config: Mapping[str, Any], weights: Weights) -> Any:
    spec = _decoder(config, weights)
    spec.decoder.position_encodings.encodings = weights.array("position_embedding")
    return spec


def _llama(config: Mapping[str, Any], weights: Weights) -> Any:
    groups = config["num_key_value_heads"]
    return _decoder(
        config,
        weights,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,  # all channels of a head
        rotary_interleave=False,
        rotary_base=config["rope_theta"],
        num_heads_kv=None if groups == config["num_heads"] else groups,
    )


def _bert(config: Mapping[str, Any], weights: Weights) -> Any:
    encoder = transformer_spec.TransformerEncoderSpec(
        config["num_layers"],
        config["num_heads"],
        pre_norm=False,
        activation=_ACTIVATIONS[config["activation"]],
        layernorm_embedding=True,
        num_source_embeddings=2,
        embeddings_merge=common_spec.EmbeddingsMerge.ADD,
    )
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = weights.array("token_embedding")
    encoder.embeddings[1].weight = weights.array("type_embedding")
    encoder.position_encodings.encodings = weights.array("position_embedding")
    weights.norm(encoder.layernorm_embedding, "embedding_norm")
    for i, layer in enumerate(encoder.layer):
        weights.block(layer, f"layers.{i}")
    spec = transformer_spec.TransformerEncoderModelSpec(encoder, pooling_layer=True)
    weights.linear(spec.pooler_dense, "pooler")
    return spec


def _transformer(config: Mapping[str, Any], weights: Weights) -> Any:
    spec = transformer_spec.TransformerSpec.from_config(
        (config["num_layers"], config["num_decoder_layers"]),
        config["num_heads"],
        pre_norm=False,
        activation=_ACTIVATIONS[config["activation"]],
        layernorm_embedding=config["embedding_norm"],
    )
    for side, part in {"encoder": spec.encoder, "decoder": spec.decoder}.items():
        part.scale_embeddings = config["scale_embeddings"]
        embeddings = part.embeddings[0] if side == "encoder" else part.embeddings
        embeddings.weight = weights.array("token_embedding")
        learned = config["positions"] == "learned"
        part.position_encodings.encodings = (
            weights.array(f"{side}.position_embedding") if learned else _sinusoids(config)
        )
        if config["embedding_norm"]:
            weights.norm(part.layernorm_embedding, f"{side}.embedding_norm")
        for i, layer in enumerate(part.layer):
            weights.block(layer, f"{side}.layers.{i}")
    weights.head(spec.decoder.projection, config)
    return spec


def _sinusoids(config: Mapping[str, Any]) -> Array:
    """sin(p / 10000^(2i/D)) at channel 2i, the cosine of the same at 2i + 1; [context, D].

    The runtime's own table has sines and cosines in two halves.
    """
    D, even = config["embedding_dim"], np.arange(0, config["embedding_dim"], 2)
    angle = np.arange(config["context_length"])[:, None] / 10000.0 ** (even / D)
    table: Array = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(len(angle), -1)[:, :D].astype(np.float32)
    return np.ascontiguousarray(table)


_MAKERS: Mapping[str, Callable[[Mapping[str, Any], Weights], Any]] = {
    "GPT-3": _gpt3, "Llama": _llama, "BERT": _bert, "Transformer": _transformer,
}  # fmt: skip
