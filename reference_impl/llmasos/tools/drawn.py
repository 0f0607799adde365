"""Configurations, weights and inputs drawn from `counter`, the same on every machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from llmasos import counter
from llmasos.bundle import Bundle
from llmasos.config import ACTIVATIONS, ModelConfig
from llmasos.ops import Array
from llmasos.tokenizer import open_tokenizer
from llmasos.weights import expected_tensors

T = TypeVar("T")
PRIMES = (257, 263, 269, 271, 277, 281, 283, 293, 307, 311)
"""Vocabularies: large enough for bytes, and divided by nothing."""

NARROWEST = 12
"""Width of a model at least. A norm over a few channels may divide by nearly nothing, and then magnifies rounding,
honest or not."""


class Draw:
    """A stream of numbers.

    Args:
        key: what it is keyed by; the same key gives the same numbers.
    """

    def __init__(self, key: str) -> None:
        self._key, self._at = counter.stream_key(f"llmasos-drawn/v1\0{key}"), 0

    def _words(self, count: int) -> Array:
        found = counter.words(self._key, self._at, count)
        self._at += count
        return found

    def between(self, low: int, high: int) -> int:
        """An integer of low … high."""
        return low + int(self._words(1)[0]) % (high - low + 1)

    def of(self, choices: Sequence[T]) -> T:
        return choices[self.between(0, len(choices) - 1)]

    def ids(self, count: int, V: int) -> list[int]:
        return [int(word) % V for word in self._words(count)]

    def normal(self, shape: tuple[int, ...]) -> Array:
        """Nearly normal numbers of mean 0 and deviation 1: the sum of a word's four 16-bit parts."""
        words = self._words(math.prod(shape))
        parts = [((words >> np.uint64(16 * i)) & np.uint64(0xFFFF)).astype(np.float64) for i in range(4)]
        values: Array = (np.sum(parts, axis=0) - 131070) / 37837
        return values.reshape(shape)


def document(architecture: str, key: str, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """A small model.json: odd head counts and widths, grouped heads, prime vocabularies, windows, tied and untied.

    Args:
        fixed: parameters that are not drawn.
    """
    draw = Draw(f"document {architecture} {key}")
    H = draw.between(1, 7)
    narrow = -(-NARROWEST // H)
    K = 2 * draw.between(-(-narrow // 2), 8) if architecture == "Llama" else draw.between(narrow, 15)
    V, context = draw.of(PRIMES), draw.between(40, 60)
    drawn: dict[str, Any] = {
        "vocab_size": V,
        "embedding_dim": H * K,
        "num_layers": draw.between(1, 3),
        "num_heads": H,
        "feed_forward_dim": draw.between(3, 96),
        "context_length": context,
        "activation": draw.of(ACTIVATIONS[architecture]),
        "tie_embeddings": draw.of((True, False)),
    }
    if architecture == "Llama":
        drawn["num_key_value_heads"] = draw.of([G for G in range(1, H + 1) if H % G == 0])
        drawn["rope_theta"] = draw.of((100.0, 10000.0, 500000.0))
        drawn["rms_norm_epsilon"] = draw.of((1e-6, 1e-5, 1e-2))
        drawn["sliding_window"] = draw.of((None, 1, 3, draw.between(2, context), context + 5))
    else:
        drawn["layer_norm_epsilon"] = draw.of((1e-12, 1e-5, 1e-2))
    if architecture == "GPT-3":
        drawn["local_attention_window"] = draw.of((None, 1, 3, draw.between(2, context), context + 5))
    if architecture == "BERT":
        drawn["type_vocab_size"], drawn["mask_token_id"] = draw.between(1, 3), draw.between(0, V - 1)
    if architecture == "Transformer":
        drawn["num_decoder_layers"] = draw.between(1, 3)
        drawn["positions"] = draw.of(("sinusoidal", "learned"))
        drawn["scale_embeddings"] = draw.of((True, False))
        drawn["embedding_norm"] = draw.of((True, False))
        drawn["decoder_start_token_id"] = draw.between(0, V - 1)
    return {"name": key, "version": "1.0", "architecture": architecture, "parameters": {**drawn, **fixed}}


def weights(config: ModelConfig, key: str) -> dict[str, Array]:
    """Weights under which every tensor moves the logits, and attention is neither flat nor a single key."""
    draw = Draw(f"weights {key}")
    drawn = {}
    for name, shape in expected_tensors(config).items():
        values = draw.normal(shape)
        if name.endswith("norm.weight"):
            values = 1 + 0.3 * values
        elif name.endswith(".bias"):
            values = 0.3 * values
        elif name.endswith("embedding"):
            values = 0.7 * values
        else:
            into = shape[1] if name == "head.weight" else shape[0]
            values = 1.3 / math.sqrt(into) * values
        drawn[name] = values
    return drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What a model is given: ids, and a source or token types where it takes them."""

    ids: list[int]
    source: list[int] | None = None
    types: list[int] | None = None


def bundle(
    architecture: str, key: str, fixed: Mapping[str, Any] = MappingProxyType({}), tokenizer_json: bytes | None = None
) -> Bundle:
    """A drawn bundle in memory."""
    drawn = document(architecture, key, fixed)
    config = ModelConfig.from_document(drawn)
    return Bundle(
        document=drawn,
        config=config,
        weights=MappingProxyType(weights(config, key)),
        tokenizer=open_tokenizer(config, tokenizer_json),
    )


def inputs(config: ModelConfig, key: str, longest: int | None = None) -> Input:
    """Ids for a bundle, up to its context long."""
    draw = Draw(f"inputs {key}")
    most = longest or config.context_length
    V, count = config.vocab_size, draw.between(min(8, most), most)
    return Input(
        ids=draw.ids(count, V),
        source=draw.ids(draw.between(1, most), V) if config.architecture == "Transformer" else None,
        types=draw.ids(count, config.type_vocab_size) if config.architecture == "BERT" else None,
    )
