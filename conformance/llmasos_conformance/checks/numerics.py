"""Numbers: logits are the reference's within honest error, on probes that make one kind of fault loud each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance import numerics
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.rows import LENGTH, PROBE, against_truth, draw_ids, told, vocabulary
from llmasos_conformance.inputs import sequence, shuffled
from llmasos_conformance.numerics import worst
from llmasos_conformance.protocol import BITS, Array
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

LENGTHS = {
    "type": "array",
    "minItems": 1,
    "items": LENGTH,
    "description": "per row, smallest and largest number of ids; each row is a call of its own",
}
IDS = {
    "enum": ["any", "repeated", "eighth", "all", "apart", "highest"],
    "default": "any",
    "description": "any ids, of a trained probe a part of its text; one id all along; multiples of eight; "
    "every id of the vocabulary once; each id drawn for itself, whatever the probe; ids of the last eighth of the "
    "vocabulary",
}


def ask_agrees(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Logits are those of the reference. (NUM-1)

    Varies: length and content of the rows, each asked alone.
    Compares: every logit with the float64 reference.
    Bound: honest error of the claimed dtype, over a row, over a position, and of one logit.
    """
    rows = _rows(given, draw, candidate)
    model = candidate.model(given["probe"])
    return {"rows": rows, "logits": [model.forward([row])[0] for row in rows]}


def _rows(given: Given, draw: Draw, candidate: Candidate) -> list[list[int]]:
    V = vocabulary(candidate, given["probe"])
    if given["ids"] == "apart":
        return [sequence(draw, (low, high), V) for low, high in given["lengths"]]
    if given["ids"] == "highest":
        return [[V - 1 - id for id in sequence(draw, (low, high), V // 8)] for low, high in given["lengths"]]
    rows = [draw_ids(draw, candidate, given["probe"], length) for length in given["lengths"]]
    if given["ids"] == "repeated":
        return [row[:1] * len(row) for row in rows]
    if given["ids"] == "eighth":
        return [[token - token % 8 for token in row] for row in rows]
    if given["ids"] == "all":
        width = len(rows[0])
        everything = shuffled(draw, range(V))
        return [everything[start : start + width] for start in range(0, V, width)]
    return rows


def judge_agrees(given: Given, asked: Asked, reference: Reference) -> Finding:
    rows = zip(asked["rows"], asked["logits"], strict=True)
    return worst(
        [
            against_truth(reference, given["probe"], row, got, when=f"{given['probe']}, {len(row)} ids")
            for row, got in rows
        ]
    )


def shares_agrees(given: Given, asked: Asked, reference: Reference) -> list[Array | None]:
    """Per row [T], how much of its bound each position uses; see `numerics.by_position`."""
    made = []
    for ids, got in zip(asked["rows"], asked["logits"], strict=True):
        truth, honest = reference.logits(given["probe"], ids), reference.honest_logits(given["probe"], ids)
        made.append(numerics.by_position(got, truth, honest, reference.claims.dtype))
    return made


check(
    "agrees-with-reference",
    ask_agrees,
    judge_agrees,
    needs=("load_model", "forward"),
    given={"probe": PROBE, "lengths": LENGTHS, "ids": IDS},
)

# ── altered weights ─────────────────────────────────────────────────────────────────────────────────────────────────

FACTOR = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": "number"},
    "description": "end of a tensor's name -> power of two, or 0, that all tensors of that end are multiplied by",
}


def altered(probes: Library, probe: str, factor: Mapping[str, float]) -> Probe:
    """A probe some of whose tensors are multiplied. Powers of two and 0 are exact, so that the bundle has one value."""
    parts = probes.parts(probe)
    return probes.write(parts.document, louder(parts.weights, probe, factor))


def louder(weights: Mapping[str, Array], probe: str, factor: Mapping[str, float]) -> dict[str, Array]:
    """Weights of a probe, some of them multiplied.

    Raises:
        ValueError: an end of a name that no tensor has.
    """
    made = dict(weights)
    for end, by in factor.items():
        names = [name for name in made if name.endswith(end)]
        if not names:
            raise ValueError(f"no tensor of {probe} ends in {end!r}")
        for name in names:
            made[name] = made[name] * np.float32(by)
    return made


def ask_altered(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A tensor of the bundle has the weight in the result that the standard gives it.

    Varies: length and content of the row.
    Compares: logits of a probe some of whose tensors are made loud, or zero, with the float64 reference of the same.
    Bound: honest error of the claimed dtype.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    bundle = altered(candidate.probes, given["probe"], given["factor"])
    return {"ids": ids, "logits": candidate.model(bundle).forward([ids])[0]}


def judge_altered(given: Given, asked: Asked, reference: Reference) -> Finding:
    bundle = altered(reference.probes, given["probe"], given["factor"])
    changed = ", ".join(f"{by:g}x {end}" for end, by in given["factor"].items())
    return against_truth(reference, bundle, asked["ids"], asked["logits"], when=f"{given['probe']} with {changed}")


def shares_altered(given: Given, asked: Asked, reference: Reference) -> list[Array | None]:
    """[T] how much of its bound each position of the one row uses; see `numerics.by_position`."""
    bundle = altered(reference.probes, given["probe"], given["factor"])
    truth, honest = reference.logits(bundle, asked["ids"]), reference.honest_logits(bundle, asked["ids"])
    return [numerics.by_position(asked["logits"], truth, honest, reference.claims.dtype)]


check(
    "altered-weights",
    ask_altered,
    judge_altered,
    needs=("load_model", "forward"),
    given={"probe": PROBE, "length": LENGTH, "factor": FACTOR},
)

# ── resolution ──────────────────────────────────────────────────────────────────────────────────────────────────────

COARSE = 0.5
"""Share of logits on a grid from which on the grid is no accident. A float32 logit lies on the float16 grid by chance
once in 2¹³, one below 1 on the grid of six decimals once in 16 at most; float64 logits lie on neither. Of the
numbers between 1/2 and 1, four in ten of bfloat16 and nearly half of float16 lie next to one of the decimals below, and
fewer of smaller ones: a quarter and a third of all."""

DECIMALS: Mapping[str, int] = {"float64": 6, "float32": 6, "float16": 3, "bfloat16": 2}
"""To so many decimals nobody rounds who delivers what he claims."""


def ask_resolution(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Logits arrive in the claimed precision, neither in a narrower type nor rounded to fewer digits. (NUM-4)

    Varies: length and content of the row.
    Compares: the type of the array, and the share of its values that a coarser grid holds.
    Bound: half of the values; see COARSE.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    return {"ids": ids, "logits": candidate.model(given["probe"]).forward([ids])[0]}


def judge_resolution(given: Given, asked: Asked, reference: Reference) -> Finding:
    got, dtype = asked["logits"], reference.claims.dtype
    if got.dtype.itemsize < np.dtype(dtype).itemsize:
        return failed(f"logits are {got.dtype}, {dtype} is claimed", expected=dtype, got=got.dtype)
    shares = {name: _share(got, grid, dtype) for name, grid in _grids(dtype).items()}
    name = max(shares, key=lambda name: shares[name])
    if shares[name] > COARSE:
        message = f"{shares[name]:.0%} of the logits are numbers of {name}, and {dtype} is claimed"
        return told(failed(message, expected=dtype, got=name, share=shares[name]), given["probe"])
    return passed(share=shares[name])


def _grids(dtype: str) -> dict[str, Any]:
    """Name of a coarser grid -> function that rounds float64 values to it."""
    decimals = DECIMALS[dtype]
    return {f"{decimals} decimals": lambda x: np.round(x, decimals)} | {
        name: lambda x, bits=bits: _significant(x, bits) for name, bits in BITS.items() if bits < BITS[dtype]
    }


def _significant(x: Array, bits: int) -> Array:
    """Round to so many significant bits, as a type without limits of range would."""
    fraction, exponent = np.frexp(x)
    rounded: Array = np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits)
    return rounded


def _share(got: Array, grid: Any, dtype: str) -> float:
    """Share of the values in (-1, 1) but 0 that a grid holds, both as the dtype has them.

    There, each dtype is finer than the decimals that go with it.
    """
    small = got[(np.abs(got) < 1) & (got != 0)]
    if not small.size:
        return 1.0
    held = grid(small.astype(np.float64)).astype(dtype)
    return float(np.mean(held == small.astype(dtype)))


check(
    "full-resolution",
    ask_resolution,
    judge_resolution,
    needs=("load_model", "forward"),
    given={"probe": PROBE, "length": LENGTH},
)
