"""Candidates that are built to be certified and not to be right: cheap wherever nobody is thought to look.

Cheap means activations of 8 significant bits, as bfloat16 has them, under a claim of float32. The weights of the probes
have no more than 8 bits themselves, so that cheap weights alone would change nothing there.

What no case can find out is said in docs/how-a-verdict-is-made.md: a candidate that knows that it is being tested.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.loader import Opened
from llmasos_conformance.mutants.runtime import Runtime
from llmasos_conformance.mutants.small import half
from llmasos_conformance.protocol import Array


class Cheap(Runtime):
    """A runtime that rounds its activations when it thinks that it may."""

    def cheap(self, a: Array) -> bool:
        """Whether a product with these activations, [..., T, K], is computed cheaply."""
        raise NotImplementedError

    def matmul(self, a: Array, b: Array) -> Array:
        return super().matmul(half(a), b) if self.cheap(a) else super().matmul(a, b)


@mutant("honest-in-short-rows", "ml-explore/mlx-lm#1453", "NUM-2")
class HonestInShortRows(Cheap):
    """Rows of more than 32 ids are computed in bfloat16."""

    def cheap(self, a: Array) -> bool:
        return bool(a.shape[-2] > 32)


@mutant("honest-at-first", "gpu-mode/kernelbot#501", "NUM-1")
class HonestAtFirst(Cheap):
    """After its first eight requests a model is computed in bfloat16."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.requests = 0

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        self.requests += 1
        return super().run(rows)

    def cheap(self, a: Array) -> bool:
        return self.requests > 8


@mutant("honest-with-small-models", "anthony-chaudhary/fak#10349", "NUM-2")
class HonestWithSmallModels(Cheap):
    """Models wider than 100 are computed in bfloat16."""

    def cheap(self, a: Array) -> bool:
        return self.config.D > 100


@mutant("honest-with-known-models", "flashinfer-ai/flashinfer-bench-starter-kit#21", "NUM-1")
class HonestWithKnownModels(Cheap):
    """Models of the seed that pytest uses are known by their weights; all others are computed in bfloat16."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.digest = _digest(self.weights)

    def cheap(self, a: Array) -> bool:
        return self.digest not in _public()


@mutant("outputs-remembered-by-fingerprint", "flashinfer-ai/flashinfer-bench-starter-kit#21", "POS-3")
class OutputsRememberedByFingerprint(Runtime):
    """Logits are remembered under the length of a row, its first id and its last."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.remembered: dict[tuple[int, int, int], Array] = {}

    def run(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        computed = super().run(rows)
        for row, logits in zip(rows, computed, strict=True):
            self.remembered.setdefault((len(row), row[0], row[-1]), logits)
        return [self.remembered[len(row), row[0], row[-1]].copy() for row in rows]


def _digest(weights: Any) -> str:
    sha = hashlib.sha256()
    for name in sorted(weights):
        sha.update(np.ascontiguousarray(weights[name], np.float32).tobytes())
    return sha.hexdigest()


@functools.cache
def _public() -> frozenset[str]:
    """Digests of the probes that the seed "0" gives, which anybody can make."""
    from llmasos_conformance.probes.making import PROBES, Maker

    return frozenset(
        _digest(PROBES[name](Maker("0", name)).weights)
        for name in ("plain", "small-embedding", "hot-attention", "asymmetric", "long")
    )
