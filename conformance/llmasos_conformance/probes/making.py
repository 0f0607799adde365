"""What probes are made with: exact random tensors, codes, and the table in which every probe has its name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos_conformance.protocol import Array

MARGIN = 64.0
"""Logit of an automaton's answer; all others have 0. At temperature 2 another is drawn once in 10¹¹ tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a probe is made of; a question may take it apart and write it back altered.

    Attributes:
        document: model.json. weights: name -> float32 array. facts: as in Probe.
    """

    document: dict[str, Any]
    weights: dict[str, Array]
    facts: dict[str, Any] = field(default_factory=dict)

    def asking(self, bits: int) -> Parts:
        """The same, for dtypes of so many significant bits alone: in fewer, rounding decides what attention sees."""
        return replace(self, facts={**self.facts, "bits": bits})


def significant(x: npt.NDArray[np.float64]) -> Array:
    """Round to 8 significant bits, halves away from zero; any shape -> same shape, float32.

    Computed on the bit pattern: add half of the last bit that stays, then clear the 45 below it. A carry runs into
    the exponent, as it must.
    """
    bits = np.ascontiguousarray(x, dtype=np.float64).view(np.uint64)
    kept = (bits + np.uint64(1 << 44)) & np.uint64(0xFFFF_E000_0000_0000)
    return kept.view(np.float64).astype(np.float32)


def every_digit(make: Maker, parts: Parts) -> Parts:
    """The same model with all 24 bits of float32 in every weight, each moved by at most 2⁻⁸ of itself.

    Other probes have weights of 8 significant bits, which every dtype holds: they do not tell whether a runtime keeps
    weights in a narrower one than it computes in.
    """
    weights = {}
    for name, tensor in parts.weights.items():
        moved = tensor.astype(np.float64) * (1.0 + 2.0**-10 * make.unit(f"{name} digits", *tensor.shape))
        weights[name] = moved.astype(np.float32)
    return replace(parts, weights=weights).asking(24)


class Maker:
    """Random tensors of one probe.

    Word n of a tensor's stream is SplitMix64's output for the state key + (n+1)·γ, where key is the first 8 bytes,
    big-endian, of SHA-256("llmasos-probe/v1" ‖ 0 ‖ seed ‖ 0 ‖ probe ‖ 0 ‖ tensor).
    """

    def __init__(self, seed: str, probe: str) -> None:
        self._prefix = f"llmasos-probe/v1\0{seed}\0{probe}\0"

    def words(self, tensor: str, count: int) -> npt.NDArray[np.uint64]:
        """[count] random words."""
        key = int.from_bytes(hashlib.sha256((self._prefix + tensor).encode()).digest()[:8], "big")
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    def unit(self, tensor: str, *shape: int) -> npt.NDArray[np.float64]:
        """Bell-shaped numbers of mean 0 and variance 1, none beyond 3.47.

        The sum of a word's four 16-bit parts: an integer of variance 4·(2³²-1)/12. No library's logarithm or cosine
        takes part, so the values are the same everywhere.
        """
        words = self.words(tensor, math.prod(shape))
        low = np.uint64(0xFFFF)
        parts = [((words >> np.uint64(shift)) & low).astype(np.int64) for shift in (0, 16, 32, 48)]
        total = parts[0] + parts[1] + parts[2] + parts[3] - 2 * 0xFFFF
        numbers = total.astype(np.float64)
        numbers *= math.sqrt(3.0) / 65536
        return numbers.reshape(shape)

    def permutation(self, name: str, count: int) -> npt.NDArray[np.int64]:
        """A permutation of 0 … count-1: the order of as many random words."""
        return np.argsort(self.words(name, count), kind="stable").astype(np.int64)


def sylvester(count: int) -> npt.NDArray[np.float64]:
    """[D, D] Sylvester's Hadamard matrix of ±1, D the first power of two that is at least `count`."""
    matrix = np.ones((1, 1))
    while len(matrix) < count:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def opposites(count: int) -> npt.NDArray[np.float64]:
    """[count, D] codes of mean 0 and variance 1 that each have two channels for themselves, r and -r, and 0 elsewhere.

    D is the first of 8, 32, 128, … that has room, so that r = √(D/2) is a power of two. In a sum of such codes times
    logits each number holds one logit, which half precision rounds once; in a sum of rows of ±1 it holds all of them,
    and the digits of the small ones are lost beside the large.
    """
    D = 8
    while 2 * count > D:
        D *= 4
    codes = np.zeros((count, D))
    for k, code in enumerate(codes):
        code[2 * k], code[2 * k + 1] = np.sqrt(D / 2), -np.sqrt(D / 2)
    return codes


PROBES: dict[str, Callable[[Maker], Parts]] = {}


def probe(name: str) -> Callable[[Callable[[Maker], Parts]], Callable[[Maker], Parts]]:
    def register(function: Callable[[Maker], Parts]) -> Callable[[Maker], Parts]:
        PROBES[name] = function
        return function

    return register
