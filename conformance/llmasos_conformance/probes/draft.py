"""Random models in the making: tensors by name, each of the spread that keeps activations where they are wanted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos_conformance.probes.making import Maker, significant, sylvester
from llmasos_conformance.protocol import Array


class Draft:
    """Tensors of one random model. No bias is zero and no norm is neutral, so that leaving one out is seen.

    Args:
        make: of the probe. D: model width.
        level: scale at which the model computes: norms give out about this much, and maps are drawn to match.
    """

    def __init__(self, make: Maker, D: int, level: float = 1.0) -> None:
        self._make, self._D, self._level = make, D, level
        self.raw: dict[str, npt.NDArray[np.float64]] = {}

    def table(self, name: str, rows: int, spread: float) -> None:
        """An embedding, or a head; [rows, D]."""
        self.raw[name] = self._make.unit(name, rows, self._D) * spread

    def vector(self, name: str, size: int, spread: float) -> None:
        """A bias that belongs to no map; [size]."""
        self.raw[name] = self._make.unit(name, size) * spread

    def scale(self, name: str, level: float | None = None, spread: float = 0.2) -> None:
        """Weight of a norm around the level, by `spread` of it."""
        scale = self._level if level is None else level
        self.raw[f"{name}.weight"] = scale * (1.0 + spread * self._make.unit(f"{name}.weight", self._D))

    def norm(self, name: str, level: float | None = None, spread: float = 0.2) -> None:
        """Weight as `scale`, and a bias of `spread` of the level."""
        self.scale(name, level, spread)
        scale = self._level if level is None else level
        self.raw[f"{name}.bias"] = scale * spread * self._make.unit(f"{name}.bias", self._D)

    def linear(self, name: str, rows: int, columns: int, spread: float) -> None:
        """A map of inputs of size 1 to outputs of size `spread`."""
        self.raw[f"{name}.weight"] = self._make.unit(f"{name}.weight", rows, columns) * (spread / math.sqrt(rows))

    def affine(self, name: str, rows: int, columns: int, spread: float, bias: float) -> None:
        """The same and a bias."""
        self.linear(name, rows, columns, spread)
        self.raw[f"{name}.bias"] = self._make.unit(f"{name}.bias", columns) * bias

    def attention(
        self, name: str, scores: float, block: float = 1.0, sees: float | None = None, asks: float | None = None
    ) -> None:
        """The four maps of an attention.

        Args:
            scores: size of queries and of keys. block: of what attention adds, relative to the level.
            sees: size of what keys and values are made of; the level if not given. asks: the same of queries; as
                `sees` if not given.
        """
        D, seen = self._D, self._level if sees is None else sees
        asked = seen if asks is None else asks
        self.affine(f"{name}.query", D, D, scores / asked, 0.3 * scores)
        self.affine(f"{name}.key", D, D, scores / seen, 0.3 * scores)
        self.affine(f"{name}.value", D, D, self._level / seen, 0.3 * self._level)
        self.affine(f"{name}.output", D, D, block, 0.1 * block * self._level)

    def feed_forward(self, name: str, F: int, block: float = 1.0) -> None:
        """The two maps of a feed-forward. At a small level the activation is asked near zero alone."""
        self.affine(f"{name}.up", self._D, F, 1.2, 0.5 * self._level)
        self.affine(f"{name}.down", F, self._D, block, 0.1 * block * self._level)

    def evenly(self, name: str, low: float, high: float) -> None:
        """Spread a bias evenly over a range, in random order."""
        size = len(self.raw[f"{name}.bias"])
        self.raw[f"{name}.bias"] = np.linspace(low, high, size)[self._make.permutation(f"{name}.spread", size)]

    def weights(self) -> dict[str, Array]:
        """All tensors, float32 with 8 significant bits."""
        return {name: significant(values) for name, values in self.raw.items()}


LOUD = 2.0**14
"""Magnitude of weights that meet nothing but zeros: beside them a scale of 8 bits has no step left for the others, and
half precision holds them."""
HEARD = 2.0**4
"""Of weights whose results meet nothing but zeros: these are numbers of a computation, which must stay small enough for
half precision."""
EVERY = 16
"""One in so many inputs or outputs; blocks of quantised formats are as long or longer."""


def unheard(weights: dict[str, Array], layers: int, heads: int) -> None:
    """Make some weights of a decoder loud where exact zeros take them away again; changes the arrays.

    Numbers in floating point lose nothing beside a loud neighbour: 0 times anything is 0. Whatever keeps weights as
    integers and a common scale loses the small ones, in tensors, rows, columns and blocks, whichever way it rounds.

    In one of EVERY channels norms give 0, and so do value and up: the rows behind them are LOUD. Other columns are at
    HEARD: of queries where keys are 0, of values and of up, or of gate, where what follows them is 0.

    Args:
        weights: of GPT-3, or of a Llama with as many key-value heads as heads; [D_in, D_out] each.
    """
    D = weights["final_norm.weight"].size
    K = D // heads
    silent = np.arange(0, D, EVERY)
    pairs = np.concatenate([np.arange(K // 2 - 1, D, K), np.arange(K - 1, D, K)])  # a rotation keeps them together

    def zero(name: str, index: npt.NDArray[np.int64]) -> None:
        for part in (f"{name}.weight", f"{name}.bias"):
            if part in weights:
                weights[part][..., index] = 0

    def loud(name: str, index: npt.NDArray[np.int64], size: float, *, columns: bool = False) -> None:
        place: tuple[Any, ...] = (..., index) if columns else (index,)
        weights[name][place] = np.where(weights[name][place] < 0, -size, size)

    for layer in (f"layers.{i}" for i in range(layers)):
        attention, block = f"{layer}.attention", f"{layer}.feed_forward"
        first = f"{block}.gate" if f"{block}.gate.weight" in weights else f"{block}.up"
        F = weights[f"{block}.down.weight"].shape[0]
        hidden, others, values = np.arange(0, F, EVERY), np.arange(EVERY // 2, F, EVERY), silent + EVERY // 2
        loud(f"{attention}.query.weight", pairs, HEARD, columns=True)
        zero(f"{attention}.key", pairs)
        loud(f"{attention}.value.weight", values, HEARD, columns=True)
        weights[f"{attention}.output.weight"][values] = 0
        loud(f"{first}.weight", others, HEARD, columns=True)
        weights[f"{block}.down.weight"][others] = 0
        for norm in (f"{layer}.attention_norm", f"{layer}.feed_forward_norm"):
            zero(norm, silent)
        for name in ("query", "key", "value"):
            loud(f"{attention}.{name}.weight", silent, LOUD)
        for name in {first, f"{block}.up"}:
            loud(f"{name}.weight", silent, LOUD)
        zero(f"{attention}.value", silent)
        zero(f"{block}.up", hidden)
        loud(f"{attention}.output.weight", silent, LOUD)
        loud(f"{block}.down.weight", hidden, LOUD)
    zero("final_norm", silent)
    loud("head.weight", silent, LOUD, columns=True)


def codes(make: Maker, count: int, D: int) -> npt.NDArray[np.float64]:
    """[count, D] orthogonal rows of ±1 and mean 0; D a power of two above count."""
    matrix = sylvester(D)
    rows = 1 + make.permutation("codes", D - 1)[:count]
    if matrix.shape[1] != D or len(rows) != count:
        raise ValueError(f"{count} orthogonal codes of mean 0 do not fit a width of {D}")
    return matrix[rows][:, make.permutation("channels", D)]


def projection(onto: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[D, D] the map that keeps what a row has of these codes; its entries are integers over D, exact in few bits.

    Args:
        onto: [n, D] orthogonal codes of ±1.
    """
    kept: npt.NDArray[np.float64] = onto.T @ onto / onto.shape[1]
    return kept
