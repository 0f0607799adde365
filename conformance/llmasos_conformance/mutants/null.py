"""Null candidates: they know nothing, and a case that all of them pass asks nothing.

A null candidate answers in the right shapes and types, so that what fails it is what the case asks, not how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmasos_conformance.mutants.loader import Config, Loader, Opened, refuse
from llmasos_conformance.mutants.runtime import Cache, Request, Runtime
from llmasos_conformance.mutants.scoring import Options, Parts, Scores, Tokens
from llmasos_conformance.protocol import ROUGE, Array


class Even(Scores):
    """Every text is half right."""

    def bleu(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> float:
        return 0.5

    def parts(self, m: int, h: int, r: int) -> Parts:
        return {"precision": 0.5, "recall": 0.5, "f1": 0.5}

    def reference(self, tokens: Tokens) -> Tokens:
        return tokens


class Dice(Even):
    """Numbers that have nothing to do with the texts."""

    noise = np.random.default_rng(2)

    def bleu(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> float:
        return float(self.noise.random())

    def parts(self, m: int, h: int, r: int) -> Parts:
        return {part: float(self.noise.random()) for part in ("precision", "recall", "f1")}


class Never(Scores):
    """No texts are ever compared."""

    def check(self, hypotheses: Sequence[Any], references: Sequence[Any]) -> None:
        raise refuse("no", "invalid_argument")

    def options(self, given: Mapping[str, Any]) -> Options:
        raise refuse("no", "invalid_argument")


class Always(Even):
    """Whatever is given is compared."""

    def rouge(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]], **options: Any) -> dict[str, Any]:
        scores = dict.fromkeys(ROUGE, self.parts(1, 2, 2))
        return {"mean": scores, "segments": [scores] * len(hypotheses)}


class Constant(Runtime):
    """The same logits for every position of every input."""

    scores = Even

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        cache.filled += ids.shape[1]
        return np.zeros((*ids.shape, self.config.V), np.float32)


class Random(Runtime):
    """Logits of about the right size that have nothing to do with the input."""

    scores = Dice

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.noise = np.random.default_rng(0)

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        cache.filled += ids.shape[1]
        return self.noise.normal(0, 2.5, (*ids.shape, self.config.V)).astype(np.float32)


class AnotherModel(Runtime):
    """The right architecture with weights of its own, whatever the bundle holds."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        noise = np.random.default_rng(1)
        self.weights = {
            name: noise.normal(0, 0.3, array.shape).astype(np.float32) for name, array in opened.weights.items()
        }


class ShuffledPositions(Runtime):
    """The right logits at the wrong positions: the sequence is turned around on its way out."""

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        return super().advance(cache, ids, real)[:, ::-1]


class RefuseAll(Runtime):
    """Every request is refused, with the code that refusals mostly have."""

    scores = Never

    def perplexity(self, ids: Any, **options: Any) -> dict[str, Any]:
        raise refuse("no", "invalid_argument")

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        raise refuse("no", "invalid_argument")

    def row(self, ids: Any) -> list[int]:
        raise refuse("no", "invalid_argument")

    def tokenize(self, text: str, allow_special: bool = False) -> list[int]:
        raise refuse("no", "invalid_argument")

    def detokenize(self, ids: Sequence[int]) -> str:
        raise refuse("no", "invalid_argument")


class Anything(Loader):
    """Opens whatever it is given; what it cannot read it makes up."""

    def open(self, path: str) -> Opened:
        try:
            return super().open(path)
        except Exception:  # whatever is wrong with the bundle, this candidate does not mind
            config = Config(
                V=256, D=8, N=1, H=1, F=32, C=1024, epsilon=1e-5, tied=True, bos=None, eos=(), seed=0, sha256=None
            )
            empty = {name: np.zeros(shape, np.float32) for name, shape in self.shapes(config).items()}
            return Opened(config=config, weights=empty, tokenizer=None)


class AcceptAll(Runtime):
    """No bundle and no request is ever refused."""

    loader = Anything
    scores = Always

    def perplexity(self, ids: Any, **options: Any) -> dict[str, Any]:
        return super().perplexity([0, *self.row(ids)])

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        return Request(max_length=4, temperature=0.0)

    def row(self, ids: Any) -> list[int]:
        return [int(i) % self.config.V for i in ids if isinstance(i, int)][-self.config.C :] or [0]

    def tokenize(self, text: str, allow_special: bool = False) -> list[int]:
        return self.encode(str(text).encode(errors="replace").decode())

    def detokenize(self, ids: Sequence[int]) -> str:
        return self.decode(self.row(ids))


class LoadNothing(Loader):
    """Refuses every bundle."""

    def open(self, path: str) -> Opened:
        raise refuse("no")


class RefuseBundles(Runtime):
    """No bundle is ever opened."""

    loader = LoadNothing


NULL: Mapping[str, type[Runtime]] = {
    "constant": Constant,
    "random": Random,
    "another-model": AnotherModel,
    "shuffled-positions": ShuffledPositions,
    "refuse-all": RefuseAll,
    "accept-all": AcceptAll,
    "refuse-bundles": RefuseBundles,
}
"""Null candidates by the name in their address, `null:NAME`."""
