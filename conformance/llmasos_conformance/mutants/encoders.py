"""What the runtimes with an encoder share: tensors by name, activations, and batches that are padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from llmasos_conformance.mutants.runtime import PAD, Runtime
from llmasos_conformance.protocol import Array


def affine(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a map and its bias."""
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (columns,)}


def normed(name: str, D: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a norm."""
    return {f"{name}.weight": (D,), f"{name}.bias": (D,)}


def attention(name: str, D: int) -> dict[str, tuple[int, ...]]:
    """Shapes of an attention and the norm behind it."""
    maps = [affine(f"{name}.{part}", D, D) for part in ("query", "key", "value", "output")]
    return {key: shape for each in (*maps, normed(f"{name}_norm", D)) for key, shape in each.items()}


def feed_forward(name: str, D: int, F: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a feed-forward and the norm behind it."""
    return affine(f"{name}.up", D, F) | affine(f"{name}.down", F, D) | normed(f"{name}_norm", D)


class EncoderRuntime(Runtime):
    """Arithmetic and batches of an encoder."""

    config: Any
    """A configuration with `activation`."""

    def activate(self, x: Array) -> Array:
        """The activation of the model."""
        kinds = {"relu": self.relu, "gelu": self.exact_gelu, "gelu_tanh": self.gelu, "silu": self.silu}
        return kinds[self.config.activation](x)

    def relu(self, x: Array) -> Array:
        return np.maximum(x, np.float32(0))

    def exact_gelu(self, x: Array) -> Array:
        """x/2 · (1 + erf(x / √2))."""
        return np.asarray(np.float32(0.5) * x * (1 + self.erf(x * np.float32(np.sqrt(0.5)))))

    def erf(self, x: Array) -> Array:
        return np.asarray(special.erf(x))

    def silu(self, x: Array) -> Array:
        with np.errstate(over="ignore"):  # of exp far below zero, where the quotient is zero as it must be
            return np.asarray(x / (1 + np.exp(-x)))

    def pad_right(self, rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        """Rows of ids as one right-padded tensor; ids and real, both [B, T]."""
        T = max(len(row) for row in rows)
        ids = np.array([list(row) + [PAD] * (T - len(row)) for row in rows])
        return ids, np.array([[True] * len(row) + [False] * (T - len(row)) for row in rows])

    def counted(self, real: Array) -> Array:
        """Position of each column, counted from the first real one of its row; [B, T]."""
        # Pads get some valid position; nobody sees them.
        return np.asarray(np.clip(np.cumsum(real, axis=1) - 1, 0, self.config.C - 1))

    def seen(self, real: Array) -> Array:
        """Which columns each column sees: all real ones; [B, T, T]."""
        return np.repeat(real[:, None], real.shape[1], axis=1)
