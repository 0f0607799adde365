"""The runtime of the mutants for Llama: rotary positions, RMS norms, a gated feed-forward, shared heads, windows.

Batches, caches, sessions and everything around generation are those of `runtime`; what an architecture changes is here,
again one method per step. Keys go into the cache as they are after their rotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.loader import LARGEST, PARAMETERS, Config, Loader, refuse
from llmasos_conformance.mutants.runtime import Cache, Runtime
from llmasos_conformance.protocol import Array

MAX_THETA = 1e12


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a Llama bundle."""
    V, D, F, shared = config.V, config.D, config.F, config.D // config.H * config.G
    due: dict[str, tuple[int, ...]] = {"token_embedding": (V, D), "final_norm.weight": (D,)}
    for layer in (f"layers.{n}" for n in range(config.N)):
        due |= {f"{layer}.attention_norm.weight": (D,), f"{layer}.feed_forward_norm.weight": (D,)}
        widths = {"query": D, "key": shared, "value": shared, "output": D}
        due |= {f"{layer}.attention.{part}.weight": (D, width) for part, width in widths.items()}
        due |= {f"{layer}.feed_forward.{part}.weight": (D, F) for part in ("gate", "up")}
        due[f"{layer}.feed_forward.down.weight"] = (F, D)
    if not config.tied:
        due["head.weight"] = (V, D)
    return due


class LlamaLoader(Loader):
    """The strict loader for Llama's documents."""

    architectures: ClassVar[tuple[str, ...]] = ("Llama",)
    parameter_keys: ClassVar[frozenset[str]] = PARAMETERS - {"layer_norm_epsilon", "local_attention_window"} | {
        "rms_norm_epsilon",
        "num_key_value_heads",
        "rope_theta",
        "sliding_window",
    }
    activation: ClassVar[str] = "silu"
    epsilon_key: ClassVar[str] = "rms_norm_epsilon"

    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        return shapes(config)

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        config = super().parameters(given, seed, sha256)
        return replace(
            config,
            groups=self.groups(given, config),
            theta=self.theta(given.get("rope_theta", 10000.0)),
            window=self.keys(given, "sliding_window"),
        )

    def groups(self, given: Mapping[str, Any], config: Config) -> int:
        """G, a divisor of H; heads must have an even width."""
        if config.D // config.H % 2:
            raise refuse(f"heads of width {config.D // config.H} cannot be turned in pairs")
        groups = self.integer(given.get("num_key_value_heads", config.H), 1, LARGEST["num_key_value_heads"])
        if config.H % groups:
            raise refuse(f"{groups} key-value heads do not divide {config.H} heads")
        return groups

    def theta(self, value: Any) -> float:
        if type(value) not in (int, float) or not 0 < value <= MAX_THETA:
            raise refuse("rope_theta must be a number above 0 and up to 1e12")
        return float(value)


class LlamaRuntime(Runtime):
    """A loaded Llama bundle, and everything that is served from it."""

    loader: ClassVar[type[Loader]] = LlamaLoader
    offers: ClassVar[frozenset[str]] = frozenset({"window"})
    withholds: ClassVar[frozenset[str]] = frozenset({"hidden_states", "attention", "gradients", "train_step"})
    architecture: ClassVar[str] = "Llama"

    # Arithmetic.

    def linear(self, x: Array, name: str) -> Array:
        """x · W of the named map; [B, T, D_in] -> [B, T, D_out]."""
        return self.matmul(x, self.weights[f"{name}.weight"])

    def layer_norm(self, x: Array, name: str) -> Array:
        """x / sqrt(mean x² + ε) · weight over the last axis; [B, T, D] -> [B, T, D]."""
        return self.normalise(x) * self.weights[f"{name}.weight"]

    def normalise(self, x: Array) -> Array:
        """x / sqrt(mean x² + ε) over the last axis."""
        return np.asarray(x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(self.epsilon())))

    def silu(self, x: Array) -> Array:
        """x / (1 + exp(-x))."""
        with np.errstate(over="ignore"):  # of exp far below zero, where the quotient is zero as it must be
            return np.asarray(x / (1 + np.exp(-x)))

    # Rotary positions.

    def frequencies(self) -> Array:
        """θ^(-2i/K) of each pair, float64; [K/2]."""
        K = self.config.D // self.config.H
        return np.asarray(self.base() ** (-np.arange(0, K, 2) / K))

    def base(self) -> float:
        return self.config.theta

    def turn(self, positions: Array) -> tuple[Array, Array]:
        """Cosine and sine of each position and pair; [B, T] -> two [B, 1, T, K/2], float32."""
        angle = positions[:, None, :, None] * self.frequencies()
        return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    def rotate(self, x: Array, cos: Array, sin: Array) -> Array:
        """Channel i and channel i + K/2 of a head, turned by an angle; [B, H, T, K] -> [B, H, T, K]."""
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def turned(self, query: Array, key: Array, positions: Array) -> tuple[Array, Array]:
        """Queries [B, H, T, K] and keys [B, G, T, K], each turned by its own position."""
        angles = self.turn(positions)
        return self.rotate(query, *angles), self.rotate(key, *angles)

    # The model.

    def embed(self, ids: Array, positions: Array) -> Array:
        """Token embeddings; [B, T], [B, T] -> [B, T, D]."""
        return np.asarray(self.weights["token_embedding"][ids])

    def reach(self, layer: int) -> int | None:
        return self.config.window

    def cut(self, x: Array, count: int) -> Array:
        """Heads of consecutive channels; [B, T, count · K] -> [B, count, T, K]."""
        return x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2)

    def shared(self, x: Array) -> Array:
        """Keys or values for every query head, neighbours sharing one; [B, G, S, K] -> [B, H, S, K]."""
        return np.repeat(x, self.config.H // self.config.G, axis=1)

    def projected(self, x: Array, name: str) -> list[Array]:
        """Queries [B, T, D], keys and values [B, T, G · K], not yet cut."""
        return [self.linear(x, f"{name}.{part}") for part in ("query", "key", "value")]

    def keys_of(self, cache: Cache, layer: int) -> Array:
        """What the cache holds of a layer's keys; [B, G, S, K]."""
        return cache.keys[layer, :, :, : cache.filled]

    def values_of(self, cache: Cache, layer: int) -> Array:
        return cache.values[layer, :, :, : cache.filled]

    def self_attention(self, x: Array, layer: int, cache: Cache, visible: Array) -> Array:
        name, H, G = f"layers.{layer}.attention", self.config.H, self.config.G
        query, key, value = self.projected(x, name)
        positions = self.positions(cache, x.shape[1])
        queries, keys = self.turned(self.cut(query, H), self.cut(key, G), positions)
        self.store(cache, layer, keys, self.cut(value, G))
        every_key, every_value = self.shared(self.keys_of(cache, layer)), self.shared(self.values_of(cache, layer))
        mixed = self.attend(queries, every_key, every_value, visible)
        return self.linear(mixed.swapaxes(1, 2).reshape(x.shape), f"{name}.output")

    def feed_forward(self, x: Array, layer: int) -> Array:
        """(silu(x · gate) ⊙ (x · up)) · down; [B, T, D] -> [B, T, D]."""
        name = f"layers.{layer}.feed_forward"
        hidden = self.silu(self.linear(x, f"{name}.gate")) * self.linear(x, f"{name}.up")
        return self.linear(hidden, f"{name}.down")


def as_llama(kind: type[Runtime]) -> type[Runtime]:
    """A runtime whose order or fault has nothing to do with the architecture, as one for Llama.

    Its methods stand before those of `LlamaRuntime`, and what they hand on to `super()` reaches them.
    """
    loader = (
        LlamaLoader if kind.loader is Loader else type(f"Llama{kind.loader.__name__}", (kind.loader, LlamaLoader), {})
    )
    return type(f"Llama{kind.__name__}", (kind, LlamaRuntime), {"loader": loader, "__doc__": kind.__doc__})
