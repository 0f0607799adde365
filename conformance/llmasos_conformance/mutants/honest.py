"""Honest variants: the runtime in other orders of computation, each right within float32.

They are what a check must pass. No two of them agree bit by bit on every probe, and none agrees with an order of the
reference, so that passing them all is more than passing one of them many times (`distinct` in `table` holds that).

    name        contraction                 softmax            layer norm       batches
    plain       as the library does it      whole rows         two passes       one left-padded tensor
    split       eight blocks, added up      whole rows         two passes       one tensor
    sequential  one term after the other    one after other    one after other  one tensor
    reversed    from the last term          whole rows         two passes       one tensor
    online      as the library does it      running maximum    one pass         one tensor
    wide        float64, rounded at the     float64, rounded   float64,         one tensor
                end                                            rounded
    chunked     as the library does it      whole rows         two passes       prompts in pieces of five
    halved      as the library does it      whole rows         two passes       two halves of the rows
    reciprocal  as the library does it      times 1/Σ          times 1/sqrt     one tensor
    biased      onto the bias, one term     whole rows         two passes       one tensor
                after the other

Metrics are another matter: `reversed`, `online`, `chunked` and `reciprocal` have the formulas of OtherScores, and the
perplexity of `sequential` and `online` is computed in float32 to its end, by the exponential of nats. So is chance:
`halved` has numbers of its own (drawing.Ranked), the others the standard's noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from llmasos_conformance.mutants.runtime import Cache, Runtime
from llmasos_conformance.mutants.scoring import OtherScores
from llmasos_conformance.protocol import Array

BLOCKS = 8
CHUNK = 5
KEYS = 3
"""Keys per step of the online softmax, so that short sequences have several."""


class Plain(Runtime):
    """The runtime as it stands."""


class Split(Runtime):
    """Contractions in eight blocks whose results are added."""

    def matmul(self, a: Array, b: Array) -> Array:
        edges = np.linspace(0, b.shape[-2], min(BLOCKS, b.shape[-2]) + 1).astype(int)
        total = np.zeros(1, np.float32)
        for low, high in pairwise(edges):
            total = total + a[..., low:high] @ b[..., low:high, :]
        return total


def add_up(terms: Array, axis: int) -> Array:
    """Sum along an axis, one rounded addition after the other; the axis stays, of length one."""
    return np.cumsum(terms, axis=axis, dtype=np.float32).take([-1], axis)


class Single(Runtime):
    """Perplexity in float32 to its end: log-probabilities, a running sum, the exponential of its mean."""

    def surprise(self, windows: Sequence[Sequence[float]]) -> tuple[float, int]:
        total, count = np.float32(0), 0
        for window in windows:
            for logprob in window:
                total, count = total - np.float32(logprob), count + 1
        return float(total / np.float32(count)), count

    def from_nats(self, mean: float) -> float:
        return float(np.exp(np.float32(mean))) if mean < 88 else float(np.exp(mean)) if mean < 709 else math.exp(mean)


class Sequential(Single):
    """Every sum one term after the other."""

    def matmul(self, a: Array, b: Array) -> Array:
        total = np.zeros(1, np.float32)
        for k in range(b.shape[-2]):
            total = total + a[..., k, None] * b[..., None, k, :]
        return total

    def normalise(self, x: Array) -> Array:
        D = np.float32(x.shape[-1])
        centred = x - add_up(x, -1) / D
        return centred / np.sqrt(add_up(centred * centred, -1) / D + np.float32(self.config.epsilon))

    def softmax(self, scores: Array) -> Array:
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(e / add_up(e, -1))


class Reversed(Runtime):
    """Contractions from the last term to the first, one product after the other."""

    scores = OtherScores

    def matmul(self, a: Array, b: Array) -> Array:
        total = np.zeros(1, np.float32)
        for k in reversed(range(b.shape[-2])):
            total = total + a[..., k, None] * b[..., None, k, :]
        return total


class Online(Single):
    """Softmax with a running maximum over blocks of keys, and the variance in one pass."""

    scores = OtherScores

    def normalise(self, x: Array) -> Array:
        mean = x.mean(-1, keepdims=True)
        variance = np.maximum((x * x).mean(-1, keepdims=True) - mean * mean, np.float32(0))
        return np.asarray((x - mean) / np.sqrt(variance + np.float32(self.config.epsilon)))

    def attend(self, query: Array, keys: Array, values: Array, visible: Array) -> Array:
        scores = self.mask(query @ keys.swapaxes(-1, -2) / np.float32(self.scale()), visible)
        # A finite start, because the first blocks of a padded row hold no key that it may see.
        top = np.full((*query.shape[:-1], 1), np.finfo(np.float32).min, np.float32)
        mass, mixed = np.zeros_like(top), np.zeros_like(query)
        for low in range(0, scores.shape[-1], KEYS):
            block = scores[..., low : low + KEYS]
            higher = np.maximum(top, block.max(-1, keepdims=True))
            e, shrink = np.exp(block - higher), np.exp(top - higher)
            mass = mass * shrink + e.sum(-1, keepdims=True)
            mixed = mixed * shrink + e @ values[..., low : low + KEYS, :]
            top = higher
        return mixed / mass


class Wide(Runtime):
    """float64 inside each operation, rounded to float32 at its end."""

    def matmul(self, a: Array, b: Array) -> Array:
        return np.asarray((a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32))

    def normalise(self, x: Array) -> Array:
        return super().normalise(x.astype(np.float64)).astype(np.float32)

    def softmax(self, scores: Array) -> Array:
        return super().softmax(scores.astype(np.float64)).astype(np.float32)

    def gelu(self, x: Array) -> Array:
        return super().gelu(x.astype(np.float64)).astype(np.float32)


class Chunked(Runtime):
    """Prompts and sequences in pieces, each behind the cache of those before."""

    scores = OtherScores

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        pieces = range(0, ids.shape[1], CHUNK)
        return np.concatenate(
            [super(Chunked, self).advance(cache, ids[:, i : i + CHUNK], real[:, i : i + CHUNK]) for i in pieces], axis=1
        )


class Halved(Runtime):
    """A batch in two halves."""

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        half = len(rows) // 2
        return [logits for part in (rows[:half], rows[half:]) if part for logits in super(Halved, self).run(part)]

    def matmul(self, a: Array, b: Array) -> Array:
        half = b.shape[-1] // 2  # the outputs too, as a model in two shards would
        return np.concatenate([a @ b[..., :half], a @ b[..., half:]], axis=-1)


class Reciprocal(Runtime):
    """Divisions as products with a rounded reciprocal, and queries scaled before their product with the keys."""

    scores = OtherScores

    def normalise(self, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True) + np.float32(self.config.epsilon)
        return np.asarray(centred * (np.float32(1) / np.sqrt(variance)))

    def softmax(self, scores: Array) -> Array:
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(e * (np.float32(1) / e.sum(-1, keepdims=True)))

    def attend(self, query: Array, keys: Array, values: Array, visible: Array) -> Array:
        scores = self.matmul(query * np.float32(1 / self.scale()), keys.swapaxes(-1, -2))
        return self.matmul(self.softmax(self.mask(scores, visible)), values)


class Biased(Runtime):
    """Maps that begin with their bias and add one product after the other, as a loop in C does and as BLAS adds to C.

    Each addition is rounded at the size of the bias, where others round once.
    """

    def linear(self, x: Array, name: str) -> Array:
        total = self.weights[f"{name}.bias"]
        for k, row in enumerate(self.weights[f"{name}.weight"]):
            total = total + x[..., k, None] * row
        return total


HONEST: Mapping[str, type[Runtime]] = {
    kind.__name__.lower(): kind
    for kind in (Plain, Split, Sequential, Reversed, Online, Wide, Chunked, Halved, Reciprocal, Biased)
}
"""Honest variants by the name in their address, `honest:NAME`."""
