"""Honest variants and null candidates of the runtimes for BERT and the Transformer.

    name         contraction                 softmax            layer norm        sinusoids         batches
    plain        as the library does it      whole rows         two passes        float64, rounded  right-padded
    split        eight blocks, added up      whole rows         two passes        float32, power    right-padded
    sequential   two running sums            one after other    one after other   float64           right-padded
    reversed     from the last term          whole rows         two passes        float32, exp      right-padded
    online       as the library does it      running maximum    one pass          float32, divided  right-padded
    wide         float64, rounded            float64, rounded   float64, rounded  float64           right-padded
    halved       halves of the outputs       whole rows         two passes        float64           two halves of rows
    reciprocal   as the library does it      times 1/Σ          times 1/sqrt      a table, float32  right-padded
    biased       onto the bias, term by term whole rows         two passes        float64           right-padded
    left         blocks of another size      whole rows         two passes        float64           left-padded

A variant of BERT is called bert-NAME, one of the Transformer trf-NAME.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from llmasos_conformance.mutants import honest, null
from llmasos_conformance.mutants.bert_runtime import BertLoader, BertRuntime
from llmasos_conformance.mutants.encoders import EncoderRuntime
from llmasos_conformance.mutants.loader import Loader, Opened, refuse
from llmasos_conformance.mutants.runtime import PAD, Cache, Request, Runtime
from llmasos_conformance.mutants.transformer_runtime import TransformerLoader, TransformerRuntime
from llmasos_conformance.protocol import Array

# ── honest ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Sinusoids(EncoderRuntime):
    """Sinusoids whose angles are float32; what has no sinusoids does not ask."""

    def angles(self, positions: Array) -> Array:
        """[B, T] -> [B, T, (D + 1) / 2]."""
        raise NotImplementedError

    def exponents(self) -> Array:
        """2i/D of each pair."""
        D = np.float32(self.config.D)
        return np.asarray(np.arange(0, self.config.D, 2).astype(np.float32) / D)

    def sinusoid(self, positions: Array) -> Array:
        angle = self.angles(positions[..., None].astype(np.float32))
        pairs = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
        return np.asarray(pairs.reshape(*positions.shape, -1)[..., : self.config.D])


class Split(Sinusoids, honest.Split):
    """Contractions in eight blocks; frequencies by a power in float32."""

    def angles(self, positions: Array) -> Array:
        return np.asarray(positions * (1 / np.power(np.float32(10000), self.exponents())))


class Sequential(honest.Sequential):
    """Every sum one term after the other, products in two running sums, as two lanes of a processor make them."""

    def matmul(self, a: Array, b: Array) -> Array:
        lanes = [super(Sequential, self).matmul(a[..., lane::2], b[..., lane::2, :]) for lane in (0, 1)]
        return np.asarray(lanes[0] + lanes[1])


class Reversed(Sinusoids, honest.Reversed):
    """Contractions from the last term to the first; frequencies by an exponential in float32."""

    def angles(self, positions: Array) -> Array:
        return np.asarray(positions * np.exp(self.exponents() * np.float32(-np.log(10000))))


class Online(Sinusoids, honest.Online):
    """Softmax with a running maximum, the variance in one pass; positions divided by a power in float32."""

    def angles(self, positions: Array) -> Array:
        return np.asarray(positions / np.power(np.float32(10000), self.exponents()))


class Wide(honest.Wide, EncoderRuntime):
    """float64 inside each operation, rounded to float32 at its end."""

    def exact_gelu(self, x: Array) -> Array:
        return super().exact_gelu(x.astype(np.float64)).astype(np.float32)

    def silu(self, x: Array) -> Array:
        return super().silu(x.astype(np.float64)).astype(np.float32)


class Halved(EncoderRuntime):
    """Outputs of every product in two halves."""

    def matmul(self, a: Array, b: Array) -> Array:
        half = b.shape[-1] // 2
        return np.concatenate([a @ b[..., :half], a @ b[..., half:]], axis=-1)


class Reciprocal(Sinusoids, honest.Reciprocal):
    """Divisions as products with a rounded reciprocal; each angle is the one before it times a constant."""

    def angles(self, positions: Array) -> Array:
        steps = [positions]
        for _ in range((self.config.D + 1) // 2 - 1):
            steps.append(steps[-1] * np.float32(10000.0 ** (-2 / self.config.D)))
        return np.concatenate(steps, axis=-1)


class Left(EncoderRuntime):
    """Pads stand on the left, positions are counted from the first real column; contractions in blocks of twelve."""

    def matmul(self, a: Array, b: Array) -> Array:
        edges = [*range(0, b.shape[-2], 12), b.shape[-2]]
        return np.asarray(sum(a[..., low:high] @ b[..., low:high, :] for low, high in pairwise(edges)))

    def pad_right(self, rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        T = max(len(row) for row in rows)
        ids = np.array([[PAD] * (T - len(row)) + list(row) for row in rows])
        return ids, np.array([[False] * (T - len(row)) + [True] * len(row) for row in rows])


class BertLeft(Left, BertRuntime):
    """Left-padded; the first position of a row is its first real one."""

    def first(self, x: Array, real: Array) -> Array:
        return np.asarray(x[np.arange(len(x)), np.argmax(real, axis=1)][:, None])


class TransformerLeft(Left, TransformerRuntime):
    """Left-padded sources and targets."""

    def run_pairs(self, rows: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[Array]:
        if not rows:
            return []
        T, cache = max(map(len, rows)), self.read_in(sources)
        logits = self.advance(cache, *self.pad_right(rows))
        self.give(cache)
        return [logits[b, T - len(row) :].copy() for b, row in enumerate(rows)]


class BertHalved(Halved, BertRuntime):
    """A batch in two halves."""

    def run_typed(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> list[Array]:
        half = len(rows) // 2
        parts = ((rows[:half], types[:half]), (rows[half:], types[half:]))
        return [logits for part in parts for logits in super(BertHalved, self).run_typed(*part)]


class TransformerHalved(Halved, TransformerRuntime):
    """A batch in two halves."""

    def run_pairs(self, rows: Sequence[Sequence[int]], sources: Sequence[Sequence[int]]) -> list[Array]:
        half = len(rows) // 2
        parts = ((rows[:half], sources[:half]), (rows[half:], sources[half:]))
        return [logits for part in parts for logits in super(TransformerHalved, self).run_pairs(*part)]


def joined(kind: type[Any], base: type[Runtime]) -> type[Runtime]:
    """An order of computation on another runtime."""
    return type(f"{base.__name__}{kind.__name__}", (kind, base), {"__doc__": kind.__doc__, "__module__": __name__})


_ORDERS = (Split, Sequential, Reversed, Online, Wide, Reciprocal, honest.Biased)

HONEST: Mapping[str, type[Runtime]] = {
    "bert-plain": BertRuntime,
    **{f"bert-{kind.__name__.lower()}": joined(kind, BertRuntime) for kind in _ORDERS},
    "bert-halved": BertHalved,
    "bert-left": BertLeft,
    "trf-plain": TransformerRuntime,
    **{f"trf-{kind.__name__.lower()}": joined(kind, TransformerRuntime) for kind in _ORDERS},
    "trf-halved": TransformerHalved,
    "trf-left": TransformerLeft,
}
"""Honest variants by the name in their address, `honest:NAME`."""

# ── nulls ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class BertConstant(BertRuntime):
    """The same logits and the same encoding for every position of every input."""

    def read(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        real = self.pad_right(rows)[1]
        return np.zeros((*real.shape, self.config.D), np.float32), real

    def head(self, x: Array) -> Array:
        return np.zeros((*x.shape[:-1], self.config.V), np.float32)


class BertRandom(BertRuntime):
    """Encodings of about the right size that have nothing to do with the input."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.noise = np.random.default_rng(0)

    def read(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        real = self.pad_right(rows)[1]
        return self.noise.normal(0, 1, (*real.shape, self.config.D)).astype(np.float32), real


class BertShuffled(BertRuntime):
    """The right encodings at the wrong positions: the sequence is turned around on its way out."""

    def read(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        x, real = super().read(rows, types)
        return x[:, ::-1], real[:, ::-1]


class TransformerConstant(TransformerRuntime):
    """The same logits for every position of every input."""

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        cache.filled += ids.shape[1]
        return np.zeros((*ids.shape, self.config.V), np.float32)


class TransformerRandom(TransformerRuntime):
    """Logits of about the right size that have nothing to do with the input."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.noise = np.random.default_rng(0)

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        cache.filled += ids.shape[1]
        return self.noise.normal(0, 2.5, (*ids.shape, self.config.V)).astype(np.float32)


class TransformerShuffled(TransformerRuntime):
    """The right logits at the wrong positions: the target is turned around on its way out."""

    def advance(self, cache: Cache, ids: Array, real: Array) -> Array:
        return super().advance(cache, ids, real)[:, ::-1]


class SmallBert(BertLoader):
    """Opens whatever it is given; what it cannot read is a small BERT of zeros."""

    def open(self, path: str) -> Opened:
        return anything(super().open, self, path)


class SmallTransformer(TransformerLoader):
    """Opens whatever it is given; what it cannot read is a small Transformer of zeros."""

    def open(self, path: str) -> Opened:
        return anything(super().open, self, path)


def anything(opening: Any, loader: Loader, path: str) -> Opened:
    """What a loader opens, or a small model of zeros."""
    try:
        opened: Opened = opening(path)
    except Exception:  # whatever is wrong with the bundle, this candidate does not mind
        config = loader.parameters({"vocab_size": 256, "embedding_dim": 8, "num_layers": 1}, 0, None)
        weights = {name: np.zeros(shape, np.float32) for name, shape in loader.shapes(config).items()}
        return Opened(config=config, weights=weights, tokenizer=None)
    return opened


class BertAcceptAll(BertRuntime):
    """No bundle and no request is ever refused."""

    loader = SmallBert

    def row(self, ids: Any) -> list[int]:
        return [int(i) % self.config.V for i in ids][-self.config.C :] or [0]

    def typed(self, row: Sequence[int], kinds: Any) -> list[int]:
        return [int(kind) % self.config.types for kind in [*kinds, *[0] * len(row)]][: len(row)]

    def asked(self, batch: Any, types: Any) -> tuple[list[list[int]], list[list[int]]]:
        rows = [self.row(ids) for ids in batch]
        kinds = list(types or ()) + [[]] * len(rows)
        return rows, [self.typed(row, given) for row, given in zip(rows, kinds, strict=False)]

    def sourceless(self, sources: Any) -> None:
        return

    def mask_id(self) -> int:
        return self.config.mask or 0

    def nothing_to_fill(self) -> list[dict[int, float]]:
        return []

    def integer(self, value: Any, low: int, high: float = np.inf) -> int:
        return min(max(int(value), low), int(min(high, 2**31)))

    def no_text(self) -> Any:
        return None


class TransformerAcceptAll(TransformerRuntime):
    """No bundle and no request is ever refused."""

    loader = SmallTransformer

    def request(self, max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
        return Request(max_length=4, temperature=0.0)

    def row(self, ids: Any) -> list[int]:
        return [int(i) % self.config.V for i in ids if isinstance(i, int)][-self.config.C :] or [0]

    def sources(self, given: Any, rows: int) -> list[list[int]]:
        return [self.row(source) for source in [*(given or ()), *[[0]] * rows]][:rows]

    def typeless(self, types: Any) -> None:
        return


class BertRefuseAll(BertRuntime):
    """Every request is refused, with the code that refusals mostly have."""

    def row(self, ids: Any) -> list[int]:
        raise refuse("no", "invalid_argument")


NULL: Mapping[str, type[Runtime]] = {
    "bert-constant": BertConstant,
    "bert-random": BertRandom,
    "bert-another-model": joined(null.AnotherModel, BertRuntime),
    "bert-shuffled-positions": BertShuffled,
    "bert-refuse-all": BertRefuseAll,
    "bert-accept-all": BertAcceptAll,
    "bert-refuse-bundles": joined(null.RefuseBundles, BertRuntime),
    "trf-constant": TransformerConstant,
    "trf-random": TransformerRandom,
    "trf-another-model": joined(null.AnotherModel, TransformerRuntime),
    "trf-shuffled-positions": TransformerShuffled,
    "trf-refuse-all": joined(null.RefuseAll, TransformerRuntime),
    "trf-accept-all": TransformerAcceptAll,
    "trf-refuse-bundles": joined(null.RefuseBundles, TransformerRuntime),
}
"""Null candidates by the name in their address, `null:NAME`."""
