"""Random models in the making: tensors by name, each of the spread that keeps activations where they are wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def bare(weights: dict[str, Array]) -> None:
    """Let the head show what it reads: each logit is one channel of it, its sign turned in every other round.

    A product with 1 and sums with 0 are exact in every order, so that logits have the digits of what stands in front of
    the head, whatever the head is computed in.

    Args:
        weights: of an untied model; changes its head.
    """
    head = weights["head.weight"]
    V, D = head.shape
    rounds, channel = np.divmod(np.arange(V), D)
    head[:] = 0
    head[np.arange(V), channel] = np.where(rounds % 2, -1, 1)
    if "head.bias" in weights:
        weights["head.bias"][:] = 0


FAR_IDS = 2**16
"""First of the ids that 16 bits do not hold. Half precision holds none from 2048 on one by one."""


def far_ids_first(head: Array) -> None:
    """Let generation choose ids that 16 bits do not hold: all others have a quarter of their logits; changes the array.

    Args:
        head: [V, D] of a model with more than FAR_IDS ids.
    """
    head[:FAR_IDS] /= 4


APART = 600.0
"""By how much, about, the score of a key that calls is above all others."""
CALLING = 8
"""One in so many ids calls, and so do those that fill rows up in practice: the first ones, and the last."""


def calling(weights: dict[str, Array], attention: str, tables: Sequence[str], heads: int) -> None:
    """Let some ids have keys that draw all attention to them, whoever asks; changes the arrays.

    What fills the shorter rows of a batch, and what lies ahead, then has scores above all that may be seen, which only
    an exclusion keeps out. Two channels of everything that is embedded are equal, but for ids that call; keys of the
    first attention read their difference in one channel of each head, the slowest of a rotation, and nothing else
    there. All other scores are as they were, so that rows of quiet ids have ordinary numbers.

    Args:
        weights: changes the embeddings, the norm in front of the attention, and its queries and keys.
        attention: name of the first attention. tables: what is embedded and added up, that of tokens first.
    """
    D = weights[tables[0]].shape[1]
    K = D // heads
    for name in tables:
        weights[name][:, 1] = weights[name][:, 0]
    for name in weights:
        if name.rpartition(".")[0].endswith(("embedding_norm", f"{attention}_norm")):
            weights[name][1] = weights[name][0]
    tokens = weights[tables[0]]
    calls = np.arange(len(tokens)) % CALLING == 0
    calls[:4] = calls[-1] = True
    constant, call = significant(np.array([2.0, 8.0]) * float(np.std(tokens)))
    tokens[calls, 0] += call
    tokens[calls, 1] -= call
    tokens[:] = significant(tokens)
    # Behind a norm the two differ by about 16 / sqrt(1 + 128 / D) spreads.
    difference = 16 / math.sqrt(1 + 128 / D)
    key, query = weights[f"{attention}.key.weight"], weights[f"{attention}.query.weight"]
    ears, voices = (np.arange(K // 2 - 1, columns.shape[1], K) for columns in (query, key))
    (strength,) = significant(np.array([math.sqrt(APART * math.sqrt(K) / difference)]))
    key[:, voices], query[:, ears] = 0, 0
    key[0, voices], key[1, voices] = strength, -strength
    if f"{attention}.key.bias" in weights:
        weights[f"{attention}.key.bias"][voices] = 0
        weights[f"{attention}.query.bias"][ears] = strength
    else:  # without biases a constant of the embedding asks
        tokens[:, 2] = constant
        query[2, ears] = strength


def unheard(weights: dict[str, Array], heads: int) -> None:
    """Make some weights of a model loud where exact zeros take them away again; changes the arrays.

    Numbers in floating point lose nothing beside a loud neighbour: 0 times anything is 0. Whatever keeps weights as
    integers and a common scale loses the small ones, in tensors, rows, columns and blocks, whichever way it rounds.

    In one of EVERY channels norms give 0, and so do value and up: the rows behind them are LOUD. Other columns are at
    HEARD: of queries where keys are 0, of values and of up, or of gate, where what follows them is 0.

    Args:
        weights: [D_in, D_out] each; of an untied model that reads nothing but what a norm gives, and of a Llama with
            as many key-value heads as heads.
    """
    head = weights["head.weight"]
    D = head.shape[1]
    K = D // heads
    silent = np.arange(0, D, EVERY)
    pairs = np.concatenate([np.arange(K // 2 - 1, D, K), np.arange(K - 1, D, K)])  # a rotation keeps them together
    for norm in _before(weights, "norm.weight"):
        _silence(weights, f"{norm}norm", silent)
    for attention in _before(weights, ".query.weight"):
        values = silent + EVERY // 2
        _loud(weights[f"{attention}.query.weight"], np.s_[:, pairs], HEARD)
        _silence(weights, f"{attention}.key", pairs)
        _loud(weights[f"{attention}.value.weight"], np.s_[:, values], HEARD)
        weights[f"{attention}.output.weight"][values] = 0
        for name in ("query", "key", "value"):
            _loud(weights[f"{attention}.{name}.weight"], silent, LOUD)
        _silence(weights, f"{attention}.value", silent)
        _loud(weights[f"{attention}.output.weight"], silent, LOUD)
    for block in _before(weights, ".down.weight"):
        first, down = _first(weights, block), weights[f"{block}.down.weight"]
        hidden, others = np.arange(0, len(down), EVERY), np.arange(EVERY // 2, len(down), EVERY)
        _loud(weights[first], np.s_[:, others], HEARD)
        down[others] = 0
        for name in {first, f"{block}.up.weight"}:
            _loud(weights[name], silent, LOUD)
        _silence(weights, f"{block}.up", hidden)
        _loud(down, hidden, LOUD)
    for name in ("pooler.weight", "head.transform.weight"):
        if name in weights:
            _loud(weights[name], silent, LOUD)
    _loud(head, np.s_[:, silent], LOUD)


def _before(weights: dict[str, Array], end: str) -> list[str]:
    """What stands before an end in the names that have it."""
    return [name.removesuffix(end) for name in weights if name.endswith(end)]


def _first(weights: dict[str, Array], block: str) -> str:
    """The map of a feed-forward whose results the activation reads."""
    gate = f"{block}.gate.weight"
    return gate if gate in weights else f"{block}.up.weight"


def _silence(weights: dict[str, Array], name: str, index: npt.NDArray[np.int64]) -> None:
    """Outputs of a map or a norm that are 0."""
    for part in (f"{name}.weight", f"{name}.bias"):
        if part in weights:
            weights[part][..., index] = 0


def _loud(array: Array, place: Any, size: float) -> None:
    """Numbers of a magnitude, each with the sign that it had."""
    array[place] = np.where(array[place] < 0, -size, size)


REACH = 8
"""Powers of two, up and down, by which channels differ: 2^16 between the loudest and the quietest are more than eight
bits hold under one scale, and weights and numbers that are as much smaller or larger than 1 are whole in float16."""
FAR = 24
"""The same for numbers of eight bits that have exponents of their own: 2^48 is more than float8 spans, e5m2 included.
float16 does not hold such weights, so that it is not asked; there the digits of float8 are few enough to show."""
CONSTANT = 64.0
"""Of channels that are the same at every position. Beside it eight bits have a step of a half."""


def uneven_inputs(make: Maker, weights: dict[str, Array], reach: int = REACH) -> None:
    """Let norms in front of maps give channels of very different sizes; changes the arrays.

    A channel that is 2^e times as large meets weights that are as many times smaller. Floating point computes the same
    bit for bit; numbers that are kept as integers with a common scale are gone where e is small.

    Args:
        weights: of a decoder whose norms are read by maps alone, its head untied. reach: powers of two, up and down.
    """
    for norm in _before(weights, "norm.weight"):
        factor = _evenly(make, f"{norm}inputs", weights[f"{norm}norm.weight"].size, reach)
        _scale(weights, f"{norm}norm", factor)
        if norm == "final_":
            weights["head.weight"] /= factor
            continue
        maps = ("query", "key", "value") if norm.endswith("attention_") else ("gate", "up")
        for name in (f"{norm.removesuffix('_')}.{each}.weight" for each in maps):
            if name in weights:
                weights[name] /= factor[:, None]


def uneven_results(make: Maker, weights: dict[str, Array], heads: int, reach: int = REACH) -> None:
    """The same for keys, which meet queries, and for values and what a feed-forward holds, which meet maps.

    What a map gives to an activation cannot be scaled: there one in EVERY is loud and meets zeros.

    Args:
        weights: of any architecture. heads: of queries; there may be fewer of keys. reach: as above.
    """
    for attention in _before(weights, ".query.weight"):
        width = weights[f"{attention}.key.weight"].shape[1]
        K = weights[f"{attention}.query.weight"].shape[1] // heads
        groups = width // K
        half = _evenly(make, f"{attention}.keys", width // 2, reach).reshape(groups, K // 2)
        keys = np.concatenate([half, half], axis=1)  # a rotation mixes channels of a pair
        values = _evenly(make, f"{attention}.values", width, reach)
        _scale(weights, f"{attention}.key", keys.reshape(-1))
        _scale(weights, f"{attention}.query", 1 / keys.repeat(heads // groups, axis=0).reshape(-1))
        _scale(weights, f"{attention}.value", values)
        read = values.reshape(groups, K).repeat(heads // groups, axis=0).reshape(-1)
        weights[f"{attention}.output.weight"] /= read[:, None]
    for block in _before(weights, ".down.weight"):
        down = weights[f"{block}.down.weight"]
        if f"{block}.gate.weight" in weights:
            factor = _evenly(make, f"{block}.hidden", len(down), reach)
            _scale(weights, f"{block}.up", factor)
            down /= factor[:, None]
        else:
            others = np.arange(EVERY // 2, len(down), EVERY)
            _loud(weights[f"{block}.up.weight"], np.s_[:, others], HEARD)
            down[others] = 0


def constant_inputs(weights: dict[str, Array], but: str = "") -> None:
    """Let norms behind blocks give a few channels that are large, the same everywhere, and met by zeros.

    Such norms are read by the next sum too, so that channels cannot be scaled one by one. Constants stand side by side
    in pairs of opposite sign, so that means stay small in every order; the gain undoes what they do to the variance.

    Args:
        weights: of BERT or of a Transformer with a norm behind its embeddings, untied.
        but: a norm whose results are judged themselves, and which gives zeros there: one rounding of a constant is
            worth more than all errors beside it.
    """
    head = weights["head.weight"]
    D = head.shape[1]
    plus = np.arange(0, D, 2 * EVERY)
    both = np.concatenate([plus, plus + 1])
    spread = CONSTANT * math.sqrt(both.size / D)
    for norm in (f"{each}norm" for each in _before(weights, "norm.weight")):
        if not norm.endswith(("embedding_norm", "head.norm")):  # their inputs hold no constants
            # Beside the constants stand what came in and what the block adds, each as large as the other.
            gain = weights[f"{norm}.weight"].astype(np.float64) * (spread / math.sqrt(2.0))
            weights[f"{norm}.weight"] = significant(gain)
        _silence(weights, norm, both)
        if norm != but:
            weights[f"{norm}.bias"][plus], weights[f"{norm}.bias"][plus + 1] = CONSTANT, -CONSTANT
    for name in _before(weights, ".weight"):
        part = name.rpartition(".")[2]
        if part in ("query", "key", "value", "up", "pooler", "transform"):
            weights[f"{name}.weight"][both] = 0
        elif part in ("output", "down"):
            _silence(weights, name, both)
    head[:, both] = 0


def _evenly(make: Maker, name: str, count: int, reach: int) -> Array:
    """[count] powers of two from 2^-reach to 2^reach, evenly, in random order; float32."""
    powers = np.rint(np.linspace(-reach, reach, count))[make.permutation(name, count)]
    factors: Array = np.exp2(powers).astype(np.float32)
    return factors


def _scale(weights: dict[str, Array], name: str, factor: Array) -> None:
    """Multiply the outputs of a map or a norm."""
    for part in (f"{name}.weight", f"{name}.bias"):
        if part in weights:
            weights[part] *= factor


SIGNS = 6
"""Sums of a compass whose signs make a character."""
ALPHABET = list(range(ord("0"), ord("0") + 2**SIGNS))
"""Ids of these characters, which are ASCII: one byte, one id and one character each."""
FAINT = 2.0**-10
"""What a compass leaves of its sums. Chosen by measurement (docs/numerics.md): at 2⁻⁸ products in TF32 change a third
as many choices, at 2⁻¹² honest float32 leaves nearly half of all choices open."""
LEVEL = 64.0
"""What the logits of all characters have in common: a step of bfloat16 is 1/2 there, of float16 1/16."""

_TWINS = (".query", ".key", ".value", ".gate", ".up")
"""Maps whose results come in twins, by the end of their names."""
_JOINS = (".output.weight", ".down.weight")
"""Maps that take such results back into the residual stream."""
_WRITES = ("_embedding", ".output.bias", ".down.bias", *_JOINS)
"""What writes to the residual stream."""


def compass(draft: Draft, make: Maker, sizes: Any, final: str) -> dict[str, Array]:
    """Weights of a decoder whose greedy text shows the precision of what it computes; float32, with all its digits.

    SIGNS directions of the residual stream, rows of ±1, are kept faint: what is written to them adds up to FAINT of
    what its terms are, so that their rounding errors, which do not cancel, are 1/FAINT times as large beside it.
    Embeddings and biases are FAINT there themselves. Heads and units come in twins, the second half of them with the
    weights of the first but for FAINT of others, and what one writes to those directions the other takes away: the
    difference is as faint, and the errors are those of all that twins compute.

    The head reads nothing but these directions. The id of a character adds up all of them, each with a sign of its own,
    and every pattern of signs has an id: the largest logit is that of the signs that the sums have, and leads by twice
    the smallest sum. Where the last norm has a bias, it raises all of these logits by about LEVEL, so that many of them
    are one and the same in half precision. Those of other ids are 0, which is less.

    Args:
        draft: of a decoder with norms in front of its blocks, or with neutral ones behind them. An encoder beside it
            stays as it is, and what goes wrong there is heard by both twins alike.
        sizes: V and D. final: name of the norm in front of the head.
    """
    D, raw = sizes.D, draft.raw
    *rows, raised = sylvester(D)[1 + make.permutation("signs", D - 1)[: SIGNS + 1]]  # each [D], of mean 0
    signs = np.array(rows)

    def faint(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # Of numbers of 8 bits these sums are exact in float64, whichever library adds them up.
        few = significant(values).astype(np.float64)
        return np.asarray(few - (1 - FAINT) / D * ((few @ signs.T) @ signs))

    for name in [name for name in raw if not name.startswith("encoder.")]:
        if name.rpartition(".")[0].endswith(_TWINS):
            first, other = np.split(raw[name], 2, axis=-1)
            raw[name] = np.concatenate([first, first + FAINT * other], axis=-1)
        if name.endswith(_WRITES):
            raw[name] = faint(raw[name])
        if name.endswith(_JOINS):
            half = len(raw[name]) // 2
            sums = significant(make.unit(f"{name}.signs", half, SIGNS) / math.sqrt(2 * half * D)).astype(np.float64)
            raw[name] = raw[name] + np.concatenate([sums @ signs, -sums @ signs])
    gain, level = raw[f"{final}.weight"].astype(np.float32).astype(np.float64), 0.0
    if f"{final}.bias" in raw:
        raw[f"{final}.bias"] = gain * (faint(raw[f"{final}.bias"]) + raised)
        level = LEVEL
    head = np.zeros((sizes.V, D))
    for pattern, token in enumerate(ALPHABET):
        head[token] = level * FAINT * raised
        for i, row in enumerate(rows):
            head[token] += row if pattern >> i & 1 else -row
    raw["head.weight"] = head / gain / (FAINT * D)
    return {name: values.astype(np.float32) for name, values in raw.items()}


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
