"""Sampling with the noise of the standard for the runtime of the mutants, in float32 as servers compute it.

u lies so near 1 where it matters that float32 does not hold it; what is computed there is 1 - u, which keeps all of its
digits.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from llmasos_conformance.mutants.runtime import Request, Row
from llmasos_conformance.mutants.shaping import Shaping
from llmasos_conformance.protocol import Array

Bits = npt.NDArray[np.uint64]


class Drawing(Shaping):
    """A runtime that takes the id of the largest score; mixed into those of all architectures that generate."""

    offers: ClassVar[frozenset[str]] = frozenset({"gumbel"})

    def begin(self, prompt: list[int], request: Request) -> Row:
        """A row with a seed, a fresh one where none was given."""
        fresh = secrets.randbits(53) if request.seed is None else self.seed(request.seed)
        return super().begin(prompt, replace(request, seed=fresh))

    def seed(self, seed: int) -> int:
        """What is made of a seed that was sent."""
        return seed

    def choose(self, logits: Array, row: Row) -> int:
        if row.request.temperature == 0:
            return super().choose(logits, row)
        return self.taken(self.perturbed(self.shaped(logits, row), row))

    def taken(self, scores: Array) -> int:
        """The largest score; of equals, the lowest id."""
        return int(np.argmax(scores))

    def perturbed(self, logits: Array, row: Row) -> Array:
        """z/T + g of what the filters keep, -inf elsewhere; [V] float32."""
        return np.where(self.stays(logits, row.request), self.heated(logits, row.request) + self.noise(row), -np.inf)

    def stays(self, logits: Array, request: Request) -> Array:
        """[V] True for what the filters keep."""
        return self.law(logits, request) > 0

    def heated(self, logits: Array, request: Request) -> Array:
        """Logits over the temperature, the largest 0; [V] float32."""
        with np.errstate(over="ignore", invalid="ignore"):  # logits that are not finite end in an error of the law
            return np.asarray((logits - logits.max()) / np.float32(request.temperature))

    # Noise.

    def noise(self, row: Row) -> Array:
        """g of every id in one step; [V] float32."""
        return self.gumbel(self.bits(self.key(row), np.arange(self.config.V, dtype=np.uint64)))

    def key(self, row: Row) -> Bits:
        """The state from which the ids of one step count."""
        assert row.request.seed is not None
        seed, first, step = (np.array([n], dtype=np.uint64) for n in (row.request.seed, 0, self.step(row)))
        return self.bits(self.bits(seed, first), step)

    def step(self, row: Row) -> int:
        return len(row.ids)

    def bits(self, state: Bits, n: Bits) -> Bits:
        """Output n of SplitMix64 from a state."""
        z = state + (n + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        return np.asarray(z ^ (z >> np.uint64(31)))

    def gumbel(self, words: Bits) -> Array:
        """-ln(-ln u) of the upper 52 bits; [V] float32."""
        n = (words >> np.uint64(12)).astype(np.int64)
        low, high = self.small(n), self.small(2**52 - 1 - n)  # u, and 1 - u
        with np.errstate(divide="ignore"):  # of 1 - u that rounds to 1, where u is what counts
            return -np.log(np.where(low < high, -np.log(low), -np.log1p(-high)))

    def small(self, n: Any) -> Array:
        """(n + ½) / 2⁵², rounded once to float32."""
        return np.asarray((n + 0.5) * 2.0**-52).astype(np.float32)


class Ranked(Shaping):
    """A runtime that draws with numbers of its own; behind top_k it goes through the ids from the likeliest on.

    Then the law is the same and another id comes for a seed, also where top_k leaves every id, as in llama.cpp.
    """

    def choose(self, logits: Array, row: Row) -> int:
        if row.request.temperature == 0 or not row.request.top_k:
            return super().choose(logits, row)
        law = self.law(self.shaped(logits, row), row.request)
        ranked = np.argsort(law, kind="stable")[::-1]  # of equals the last comes first
        return int(row.random.choice(ranked, p=law[ranked]))
