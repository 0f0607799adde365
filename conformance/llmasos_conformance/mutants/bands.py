"""Mutants in the banded layers of GPT-3."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np

from llmasos_conformance.mutants.catalogue import mutant
from llmasos_conformance.mutants.loader import Loader, Opened, refuse
from llmasos_conformance.mutants.runtime import Cache, Runtime
from llmasos_conformance.protocol import Array


class Banded(Runtime):
    """The runtime, which declares windows."""

    offers: ClassVar[frozenset[str]] = frozenset({"window"})


@mutant("bands-on-even-layers", "huggingface/transformers#10848", "BAND-1")
class BandsOnEvenLayers(Banded):
    """The first layer is banded, the second dense."""

    def reach(self, layer: int) -> int | None:
        return None if layer % 2 else self.config.band


@mutant("bands-on-all-layers", "deepspeedai/DeepSpeed#1114", "BAND-1")
class BandsOnAllLayers(Banded):
    """Every layer is banded."""

    def reach(self, layer: int) -> int | None:
        return self.config.band


@mutant("bands-ignored", "NVIDIA/TensorRT-Model-Connect#660", "BAND-1")
class BandsIgnored(Banded):
    """Every layer is dense."""

    def reach(self, layer: int) -> int | None:
        return None


@mutant("bands-undeclared", "huggingface/text-generation-inference#2033", "BAND-6")
class BandsUndeclared(Runtime):
    """Windows are not offered, and a document with bands runs as if all its layers were dense."""

    @classmethod
    def served(cls, opened: Opened, capabilities: Collection[str]) -> None:
        return

    def reach(self, layer: int) -> int | None:
        return None


@mutant("bands-refused-as-malformed", "Stability-AI/stable-codec#19", "BAND-6")
class BandsRefusedAsMalformed(Runtime):
    """Windows are not offered, and a document with bands fails as malformed, on a parameter not expected."""

    @classmethod
    def served(cls, opened: Opened, capabilities: Collection[str]) -> None:
        if opened.config.band is not None:
            raise refuse("unexpected parameter", "invalid_format")


@mutant("bands-in-the-upper-half", "EleutherAI/gpt-neox#16", "BAND-1")
class BandsInTheUpperHalf(Banded):
    """The second half of the layers is banded instead of every second one."""

    def reach(self, layer: int) -> int | None:
        return self.config.band if layer >= self.config.N / 2 else None


@mutant("band-one-more", "huggingface/transformers#26792", "BAND-2")
class BandOneMore(Banded):
    """A band sees one key more than it holds."""

    def reach(self, layer: int) -> int | None:
        width = super().reach(layer)
        return None if width is None else width + 1


@mutant("band-one-less", "ml-explore/mlx-lm#390", "BAND-2")
class BandOneLess(Banded):
    """A band does not count the query's own key."""

    def reach(self, layer: int) -> int | None:
        width = super().reach(layer)
        return None if width is None else max(width - 1, 1)


@mutant("band-in-chunks", "huggingface/transformers#13491", "BAND-2")
class BandInChunks(Banded):
    """Positions are cut into chunks as wide as the band, and a query sees its own chunk and the one before."""

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        width, S = self.reach(layer), cache.filled
        if width is None:
            return visible
        chunk = np.arange(S) // width
        return visible & (chunk >= chunk[S - T :, None] - 1)


@mutant("band-to-both-sides", "huggingface/transformers#10985", "ATT-3")
class BandToBothSides(Banded):
    """A band reaches as far ahead as it reaches back."""

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        width, S = self.reach(layer), cache.filled
        if width is None:
            return visible
        distance = np.abs(np.arange(S) - np.arange(S - T, S)[:, None])
        return np.asarray((distance < width) & cache.real[:, None, :S])


@mutant("band-counts-real-columns", "Blaizzy/mlx-vlm#1138", "BAND-3")
class BandCountsRealColumns(Banded):
    """The bound of a band is a position, and is compared with the column of a key, pads included."""

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        width = self.reach(layer)
        if width is None:
            return visible
        return visible & (np.arange(cache.filled) > self.positions(cache, T)[:, :, None] - width)


@mutant("bands-lost-at-decode", "EricLBuehler/mistral.rs#2094", "BAND-3")
class BandsLostAtDecode(Banded):
    """Single new tokens see the whole cache in every layer."""

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        return visible if T == 1 and cache.filled > 1 else super().near(visible, cache, T, layer)


@mutant("bands-cut-the-cache", "EricLBuehler/mistral.rs#246", "BAND-3")
class BandsCutTheCache(Banded):
    """The cache of all layers is cut to the band, so that behind it dense layers see no more than banded ones."""

    def near(self, visible: Array, cache: Cache, T: int, layer: int) -> Array:
        seen, width, S = super().near(visible, cache, T, layer), self.config.band, cache.filled
        if width is None or T == S:
            return seen
        return seen & (np.arange(S) >= S - T - width)


@mutant("bands-by-default", "guillaume-be/rust-bert#208", "BAND-4")
class BandsByDefault(Banded):
    """Where the document names no band, it is one key wide."""

    def reach(self, layer: int) -> int | None:
        return (self.config.band or 1) if layer % 2 else None


class LooseBand(Loader):
    """A band is whatever can be read as a number."""

    def keys(self, given: Any, key: str) -> int | None:
        try:
            return int(given[key])
        except (KeyError, TypeError, ValueError):
            return None


@mutant("band-of-any-type", "NVIDIA/TensorRT-LLM#1173", "BAND-5")
class BandOfAnyType(Banded):
    """A band in quotes, with a fraction or of no keys passes."""

    loader: ClassVar[type[Loader]] = LooseBand
