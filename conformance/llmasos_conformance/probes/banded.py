"""Probes of the architecture GPT-3 with bands: layers 1, 3, 5, … see only the nearest keys.

A Hugging Face GPT-2 computes them with another mask in every second block. They are made like those of `gpt`, but are
probes of their own, because a candidate that runs GPT-3 need not run bands.
"""

from __future__ import annotations

from llmasos_conformance.probes.gpt import Gains, Sizes, model
from llmasos_conformance.probes.making import Maker, Parts, probe


@probe("banded")
def _banded(make: Maker) -> Parts:
    """Which layers are banded, and how wide: four layers, of which the second and the fourth see five keys."""
    return model(make, Sizes(L=4, band=5))


@probe("banded-one")
def _banded_one(make: Maker) -> Parts:
    """The smallest band: every second layer sees nothing but its own key."""
    return model(make, Sizes(band=1))


@probe("banded-hot")
def _banded_hot(make: Maker) -> Parts:
    """The bounds of a band of four keys under large scores, so that one key more or less shows."""
    return model(make, Sizes(H=8, band=4), Gains(scores=2.4))


@probe("banded-asymmetric")
def _banded_asymmetric(make: Maker) -> Parts:
    """An odd number of layers and sizes that are not round: one banded layer between two dense ones."""
    return model(make, Sizes(V=269, D=60, L=3, H=3, F=101, context=48, epsilon=1e-4, band=7))


@probe("banded-long")
def _banded_long(make: Maker) -> Parts:
    """A band of 96 on rows past 256: wider than a block, narrower than the row."""
    return model(make, Sizes(D=32, L=2, H=2, F=128, context=272, band=96))


@probe("banded-narrow")
def _banded_narrow(make: Maker) -> Parts:
    """A model without text, small enough for large batches and for every split: 61 ids, a band of three."""
    return model(make, Sizes(V=61, D=32, L=2, H=2, F=64, context=32, band=3))
