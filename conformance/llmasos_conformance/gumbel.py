"""Sampling that can be compared: the noise of a seed, and which ids a right sampler may take with it.

A sampler that takes the id of the largest score draws from the law that is due, if a score is a logit over the
temperature and noise of Gumbel's law (Gumbel 1954; Maddison et al., arXiv 1411.0030, 2014). Where the standard fixes
the noise, what is sampled is a function of logits, options and seed, and one id can be wrong:

    W(k, n)  word n of SplitMix64 from state k          w = W(W(W(seed, 0), step), id)
    u = (⌊w / 2¹²⌋ + ½) / 2⁵²      g = -ln(-ln u)       score = z/T + g

step counts the new ids of the sequence from 0. `docs/gumbel.md` works an example.

Two scores may be so close that honest computations order them in two ways, and an id may lie so near a filter's border
that they keep it or not. So an id is right where

    no honest computation removes it        and
    its score, and that of every id that all honest computations keep, differ by no more than their errors, or it leads.

An honest computation errs, in units of a score, by

    t = (e·f + 8·u·m) / T       e: half of `numerics.margin`, f: max(r, 1/r) of a repetition_penalty r, m: the largest
                                number on the way, u: half a digit of float32
    8·u·(1 + |g|)               in the noise

because penalties, temperature and noise are float32 at least, whatever the dtype of the model. e is taken over the ids
that can come: one that lies FAR below the largest never does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos_conformance import numerics
from llmasos_conformance.numerics import ROUNDINGS, UNIT_ROUNDOFF
from llmasos_conformance.protocol import Array

Bits = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

SINGLE = UNIT_ROUNDOFF["float32"]
"""Of what is computed behind the logits."""

FAR = 42.0
"""In scores: noise goes from -3.61 to 36.74, so what lies further below the largest logit over T is never taken."""


def words(key: Bits, n: Bits) -> Bits:
    """W(k, n) of SplitMix64: z = k + (n+1)·γ, mixed; all modulo 2⁶⁴. Shapes are broadcast.

    Source:
        Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    z = key + (n + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    made: Bits = z ^ (z >> np.uint64(31))
    return made


def noise(seed: int, step: int, V: int) -> Array:
    """[V] g of every id, float64. u is exact: it has 53 bits, and is never 0 or 1."""
    key = np.array([seed], dtype=np.uint64)
    key = words(words(key, np.zeros(1, np.uint64)), np.array([step], dtype=np.uint64))
    u = ((words(key, np.arange(V, dtype=np.uint64)) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    made: Array = -np.log(-np.log(u))
    return made


def shaped(z: Array, options: Mapping[str, Any], given: Sequence[int], chosen: Sequence[int]) -> Array:
    """Logits [V] with bias and penalties, float64; a copy.

    Args:
        options: as sent. given: ids that the decoder was fed. chosen: new ids so far.

    Source:
        Requirements API-29, API-32 to API-35.
    """
    made = np.array(z, dtype=np.float64)
    for token, number in options.get("logit_bias", {}).items():
        made[int(token)] += number
    r = float(options.get("repetition_penalty", 1.0))
    for token in {*given, *chosen}:
        made[token] = made[token] / r if made[token] > 0 else made[token] * r
    each, once = (float(options.get(name, 0.0)) for name in ("frequency_penalty", "presence_penalty"))
    for token, times in Counter(chosen).items():
        made[token] -= each * times + once
    return made


def kept(a: Array, t: float, options: Mapping[str, Any]) -> tuple[Mask, Mask]:
    """What top_k, top_p and min_p leave: ids that every honest computation keeps, and ids that one may keep.

    Args:
        a: [V] logits over the temperature. t: what each may be off by.

    Each filter works on what the one before left, so top_p weighs what top_k surely kept at least, and what it may have
    kept at most. An id's weight is e^a, off by a factor of e^t; a sum of V of them and its quotient are off by
    2·(V + 8)·u of the whole.

    Source:
        Requirements API-8 to API-11.
    """
    V, order = len(a), np.argsort(a, kind="stable")
    ascending = a[order]
    surely, possibly = np.ones(V, bool), np.ones(V, bool)
    below, above = (np.searchsorted(ascending, a - 2 * t, "left"), np.searchsorted(ascending, a + 2 * t, "right"))
    k = options.get("top_k", 0)
    if k:
        surely &= V - below <= k  # itself, and all that may be likelier
        possibly &= V - above < k
    p = options.get("top_p", 1.0)
    if p < 1:
        w, grown = np.exp(a - a.max()), math.exp(min(2 * t, 700.0))
        blur = 2 * (V + ROUNDINGS) * SINGLE

        def masses(kind: Mask) -> Array:
            """[V + 1] running sums of the weights of a kind, from the smallest on."""
            return np.concatenate([[0.0], np.cumsum(np.where(kind, w, 0.0)[order])])

        sure, maybe = masses(surely), masses(possibly)
        least, rest = sure[-1] - sure[above], maybe[above]
        most, others = maybe[-1] - maybe[below] - np.where(possibly, w, 0.0), sure[below] + w
        surely &= (p > blur) & (most * (1 - p + blur) * grown < (p - blur) * others)
        possibly &= (p + blur >= 1) | (least * (1 - p - blur) < (p + blur) * rest * grown)
    m = options.get("min_p", 0.0)
    if m > 0:
        lead = a - a.max() - math.log(m)
        off = 2 * t + ROUNDINGS * SINGLE * (1 - math.log(m))
        surely &= lead > off
        possibly &= lead >= -off
    return surely, possibly


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What may be taken in one step.

    Attributes:
        scores: [V] true z/T + g. errors: [V] what each may be off by.
        surely, possibly: [V] see `kept`.
    """

    scores: Array
    errors: Array
    surely: Mask
    possibly: Mask

    @property
    def due(self) -> int:
        """The id that is due; the likeliest to be, where no id is surely kept."""
        among = self.surely if self.surely.any() else self.possibly
        return int(np.argmax(np.where(among, self.scores, -np.inf)))

    def lag(self, token: int) -> float:
        """By how much of what errors explain a score lies below that of an id that is surely kept, at most."""
        behind = np.where(self.surely, self.scores - self.scores[token], -np.inf) / (self.errors + self.errors[token])
        behind[token] = -np.inf
        return max(float(behind.max()), 0.0)

    @property
    def right(self) -> Mask:
        """[V] ids that a right sampler may take."""
        top = np.max(np.where(self.surely, self.scores - self.errors, -np.inf))
        made: Mask = self.possibly & (self.scores + self.errors >= top)
        return made


def steps(
    truth: Array,
    honest: Sequence[Array],
    dtype: str,
    options: Mapping[str, Any],
    seed: int,
    given: Sequence[int],
    ids: Sequence[int],
) -> list[Step]:
    """What may be taken in each step of a generation, behind the ids that came.

    Args:
        truth: [T, V] float64, the last n of it behind what each of the n ids followed. honest: several [T, V].
        dtype: that the candidate claims. options: as sent; a temperature above 0.
        given: ids that the decoder was fed. ids: [n] that came, all of the vocabulary.
    """
    n, (T, V) = len(ids), truth.shape
    temperature, r = float(options.get("temperature", 1.0)), float(options.get("repetition_penalty", 1.0))
    bias = options.get("logit_bias", {})
    levels = np.stack([shaped(truth[T - n + i], options, given, ids[:i]) for i in range(n)])  # [n, V]
    near = np.any(levels >= levels.max(axis=1, keepdims=True) - FAR * temperature, axis=0)
    e = numerics.margin(truth[:, near], [np.asarray(h)[:, near] for h in honest], dtype) / 2
    size = max(float(np.max(np.abs(values[:, near]))) for values in (levels, truth[T - n :]))
    size += max((abs(float(number)) for token, number in bias.items() if near[int(token)]), default=0.0)
    t = (e * max(r, 1 / r) + ROUNDINGS * SINGLE * size) / temperature
    made = []
    for i, level in enumerate(levels):
        g, a = noise(seed, i, V), level / temperature
        surely, possibly = kept(a, t, options)
        errors = t + ROUNDINGS * SINGLE * (1 + np.abs(g))
        made.append(Step(scores=a + g, errors=errors, surely=surely, possibly=possibly))
    return made
