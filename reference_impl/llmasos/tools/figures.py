"""How far apart two computations are, and how far apart they may be.

Numbers are compared relative to the spread of the block, which is its standard deviation, and held to

    float64   64 · 2⁻⁵³ · √L, where L is the longest sum that the pass makes: the largest of width, hidden width,
              positions, and positions of the source
    float32   12 times the largest error that the reference in float32 makes, in four orders of computation

Gradients are compared tensor by tensor, relative to the tensor's largest entry, or to the root mean square of all
gradients where that is larger: some tensors (biases of keys) have gradients that are 0 but for rounding, and behind
saturated attention others nearly so. L is then the largest of width, hidden width, vocabulary and positions of the
batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from llmasos.bundle import Bundle
from llmasos.config import ModelConfig
from llmasos.model import Model
from llmasos.ops import Array
from llmasos.tools.drawn import Input

FACTOR = 64
KAPPA = 12
ORDERS = ("plain", "sequential", "split-k", "online")
UNIT: Mapping[str, float] = {"float64": 2.0**-53, "float32": 2.0**-24}
"""Largest relative error of one rounding."""


def distance(found: Array, due: Array) -> float:
    """The largest difference relative to the spread of what was due; of a constant block relative to its magnitude."""
    spread = float(np.std(due)) or float(np.max(np.abs(due))) or 1.0
    return float(np.max(np.abs(found - due))) / spread


def longest_sum(config: ModelConfig, given: Input) -> int:
    """L: the most terms that one sum of a forward pass has."""
    return max(config.embedding_dim, config.feed_forward_dim, len(given.ids), len(given.source or ()))


def exact_bound(config: ModelConfig, given: Input) -> float:
    """What two float64 computations may differ by, relative to the spread."""
    return FACTOR * UNIT["float64"] * math.sqrt(longest_sum(config, given))


def gradient_distance(found: Mapping[str, Array], due: Mapping[str, Array]) -> float:
    """The largest difference of two gradients, as described above."""
    squares = sum(float(np.sum(array * array)) for array in due.values())
    spread = math.sqrt(squares / sum(array.size for array in due.values()))
    return max(
        float(np.max(np.abs(found[name] - array))) / max(spread, float(np.max(np.abs(array))))
        for name, array in due.items()
    )


def gradient_bound(config: ModelConfig, rows: Sequence[Input]) -> float:
    """What two gradients in float64 may differ by."""
    positions = sum(max(len(row.ids), len(row.source or ())) for row in rows)
    longest = max(config.embedding_dim, config.feed_forward_dim, config.vocab_size, positions)
    return FACTOR * UNIT["float64"] * math.sqrt(longest)


def float32_bound(bundle: Bundle, given: Input, due: Array) -> float:
    """What a float32 computation may err by, relative to the spread: KAPPA times the largest error of honest ones."""
    honest = [logits_of(Model(bundle, dtype="float32", order=order), given) for order in ORDERS]
    return KAPPA * max(UNIT["float32"], *(distance(found.astype(np.float64), due) for found in honest))


def logits_of(model: Model, given: Input) -> Array:
    """The reference's logits of one row, [T, V]."""
    sources = None if given.source is None else [given.source]
    return model.forward([given.ids], sources=sources, types=None if given.types is None else [given.types])[0]
