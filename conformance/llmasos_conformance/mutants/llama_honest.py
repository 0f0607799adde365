"""Honest variants of the runtime for Llama: other orders of computation, each right within float32.

name         contraction                 norm             softmax          angles of positions
plain        as the library does it      whole rows       whole rows       float64, rounded
split        eight blocks, added up      whole rows       whole rows       float32
sequential   one term after the other    one after other  one after other  float64, rounded
reversed     from the last term          whole rows       whole rows       float32, by an exponential
online       as the library does it      whole rows       running maximum  float32
wide         float64, rounded at the     float64,         float64,         float64, rounded
             end                         rounded          rounded
chunked      as the library does it      whole rows       whole rows       float64, prompts in pieces of five
halved       as the library does it      whole rows       whole rows       float64, two halves of the rows
reciprocal   as the library does it      times 1/sqrt     times 1/Σ        float32, one product after the other
complex      as the library does it      whole rows       whole rows       complex factors of length one
fused        query, key and value in     whole rows       whole rows       a table in float32
             one product, gate and up
             in another
unrotated    as the library does it      whole rows       whole rows       float64; keys cached as they come,
                                                                           and turned when they are used
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmasos_conformance.mutants import honest
from llmasos_conformance.mutants.honest import add_up
from llmasos_conformance.mutants.llama_runtime import LlamaRuntime
from llmasos_conformance.mutants.loader import Opened
from llmasos_conformance.mutants.runtime import Cache
from llmasos_conformance.protocol import Array


class Plain(LlamaRuntime):
    """The runtime as it stands."""


class Angles32(LlamaRuntime):
    """Frequencies by a power, angles, cosines and sines, all in float32."""

    def frequencies(self) -> Array:
        K = np.float32(self.config.D // self.config.H)
        return np.asarray(1 / np.power(np.float32(self.base()), np.arange(0, K, 2, dtype=np.float32) / K))

    def turn(self, positions: Array) -> tuple[Array, Array]:
        angle = positions[:, None, :, None].astype(np.float32) * self.frequencies()
        return np.cos(angle), np.sin(angle)


class Split(honest.Split, Angles32):
    """Contractions in eight blocks whose results are added; angles in float32."""


class Sequential(honest.Sequential, LlamaRuntime):
    """Every sum one term after the other."""

    def normalise(self, x: Array) -> Array:
        mean_square = add_up(x * x, -1) / np.float32(x.shape[-1])
        return np.asarray(x / np.sqrt(mean_square + np.float32(self.config.epsilon)))


class Reversed(honest.Reversed, Angles32):
    """Contractions from the last term to the first; frequencies by an exponential in float32."""

    def frequencies(self) -> Array:
        K = self.config.D // self.config.H
        step = np.float32(-np.log(self.base()) / K)
        return np.asarray(np.exp(np.arange(0, K, 2, dtype=np.float32) * step))


class Online(honest.Online, Angles32):
    """Softmax with a running maximum over blocks of keys; angles in float32."""

    def normalise(self, x: Array) -> Array:
        return LlamaRuntime.normalise(self, x)


class Wide(honest.Wide, LlamaRuntime):
    """float64 inside each operation, rounded to float32 at its end."""

    def silu(self, x: Array) -> Array:
        return super().silu(x.astype(np.float64)).astype(np.float32)

    def rotate(self, x: Array, cos: Array, sin: Array) -> Array:
        return super().rotate(*(part.astype(np.float64) for part in (x, cos, sin))).astype(np.float32)


class Chunked(honest.Chunked, LlamaRuntime):
    """Prompts and sequences in pieces, each behind the cache of those before."""


class Halved(honest.Halved, LlamaRuntime):
    """A batch in two halves, and so the outputs of every product."""


class Reciprocal(honest.Reciprocal, Angles32):
    """Divisions as products with a rounded reciprocal; each angle is the one before it times a constant."""

    def normalise(self, x: Array) -> Array:
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        return np.asarray(x * (np.float32(1) / np.sqrt(mean_square + np.float32(self.config.epsilon))))

    def silu(self, x: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray(x * (np.float32(1) / (1 + np.exp(-x))))

    def turn(self, positions: Array) -> tuple[Array, Array]:
        K = self.config.D // self.config.H
        angles = [positions[:, None].astype(np.float32)]
        for _ in range(K // 2 - 1):
            angles.append(angles[-1] * np.float32(self.base() ** (-2 / K)))
        angle = np.stack(angles, axis=-1)
        return np.cos(angle), np.sin(angle)


class Complex(LlamaRuntime):
    """A pair of channels is one complex number, and its turn a product; silu by a hyperbolic tangent."""

    def rotate(self, x: Array, cos: Array, sin: Array) -> Array:
        a, b = np.split(x, 2, axis=-1)
        turned = (a + np.complex64(1j) * b) * (cos + np.complex64(1j) * sin)
        return np.concatenate([turned.real, turned.imag], axis=-1)

    def silu(self, x: Array) -> Array:
        half = np.float32(0.5)
        return np.asarray(x * (half + half * np.tanh(half * x)))


class Fused(Angles32):
    """Maps with one input are one product; cosines and sines come from a table of all positions."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        everywhere = np.arange(self.config.C)[None]
        self.table = super().turn(everywhere)

    def turn(self, positions: Array) -> tuple[Array, Array]:
        cos, sin = (part[0, 0][positions][:, None] for part in self.table)
        return cos, sin

    def together(self, x: Array, *names: str) -> list[Array]:
        """x · W of several maps in one product; [B, T, D] -> [B, T, D_out] each."""
        weights = [self.weights[f"{name}.weight"] for name in names]
        edges = np.cumsum([weight.shape[1] for weight in weights])[:-1]
        return np.split(self.matmul(x, np.concatenate(weights, axis=1)), edges, axis=-1)

    def projected(self, x: Array, name: str) -> list[Array]:
        return self.together(x, *(f"{name}.{part}" for part in ("query", "key", "value")))

    def feed_forward(self, x: Array, layer: int) -> Array:
        gate, up = self.together(x, *(f"layers.{layer}.feed_forward.{part}" for part in ("gate", "up")))
        return self.linear(self.silu(gate) * up, f"layers.{layer}.feed_forward.down")


class Unrotated(LlamaRuntime):
    """Keys are cached as they come and turned at every use; scores are summed over the two halves of a head apart."""

    def turned(self, query: Array, key: Array, positions: Array) -> tuple[Array, Array]:
        return self.rotate(query, *self.turn(positions)), key

    def keys_of(self, cache: Cache, layer: int) -> Array:
        keys = super().keys_of(cache, layer)
        return self.rotate(keys, *self.turn(self.positions(cache, cache.filled)))

    def attend(self, query: Array, keys: Array, values: Array, visible: Array) -> Array:
        halves = zip(np.split(query, 2, axis=-1), np.split(keys, 2, axis=-1), strict=True)
        scores: Any = sum(self.matmul(q, k.swapaxes(-1, -2)) for q, k in halves)
        return self.matmul(self.softmax(self.mask(scores / np.float32(self.scale()), visible)), values)


HONEST: Mapping[str, type[LlamaRuntime]] = {
    f"llama-{kind.__name__.lower()}": kind
    for kind in (
        *(Plain, Split, Sequential, Reversed, Online, Wide, Chunked, Halved, Reciprocal),
        *(Complex, Fused, Unrotated),
    )
}
"""Honest variants for Llama by the name in their address, `honest:NAME`."""
