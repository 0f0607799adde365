"""Rows that have something beside their ids: token types of BERT, the source of a Transformer. What both are asked.

    Row, draw_row    ids of a probe and what stands beside them
    behind           a prompt as the row that generation goes on from
    answered         logits of rows in one call
    true_row         a row's logits and the float64 reference
    same_row         two answers of one candidate to the same row
    encoded          encodings of rows in one call
    true_encoding    a row's encoding and the float64 reference

A target begins with the model's decoder_start_token_id. Where a case of a Transformer says nothing of the source, it is
as long as the target may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance.candidate import LoadedModel, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.attention import RELABELLINGS, rewritten
from llmasos_conformance.checks.numerics import FACTOR, altered
from llmasos_conformance.checks.rows import (
    LENGTH,
    PROBE,
    against_itself,
    against_truth,
    draw_ids,
    draw_other,
    text_of,
    told,
)
from llmasos_conformance.inputs import sequence, shuffled
from llmasos_conformance.numerics import by_position, judge_logits, worst
from llmasos_conformance.protocol import Array, Encoding
from llmasos_conformance.reference import PLURAL
from llmasos_conformance.verdict import Finding

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

OR_NOT = {"anyOf": [{"type": "null"}, LENGTH], "default": None}
SOURCE = {**OR_NOT, "description": "smallest and largest number of source ids; null is as `length`"}
TYPES = {
    "enum": ["left-out", "zero", "any"],
    "default": "left-out",
    "description": "token types: not sent, all 0, or drawn",
}
ROW: Mapping[str, Any] = {"probe": PROBE, "length": LENGTH, "source": SOURCE, "types": TYPES}
"""Data of a case that draws rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it is asked.

    Attributes:
        ids: of the row; of a Transformer the target, which begins with decoder_start_token_id.
        beside: "types" or "source" -> as many, or ids.
    """

    ids: list[int]
    beside: dict[str, list[int]] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """Sizes of the row, for messages."""
        parts = [f"{len(self.ids)} ids"]
        if "source" in self.beside:
            parts.append(f"source of {len(self.beside['source'])}")
        if any(self.beside.get("types", ())):
            parts.append("types")
        return ", ".join(parts)


def is_encoder(sizes: Mapping[str, Any]) -> bool:
    """Whether parameters of a model are BERT's."""
    return "type_vocab_size" in sizes


def is_encoder_decoder(sizes: Mapping[str, Any]) -> bool:
    """Whether parameters of a model are a Transformer's."""
    return "decoder_start_token_id" in sizes


def drawn_row(
    draw: Draw, sizes: Mapping[str, Any], length: Sequence[int], source: Sequence[int] | None, types: str = "left-out"
) -> Row:
    """A row for a model of these parameters; a decoder has nothing beside its ids."""
    V = sizes["vocab_size"]
    low, high = length
    if is_encoder_decoder(sizes):
        ids = [sizes["decoder_start_token_id"], *sequence(draw, (low - 1, high - 1), V)]
        low, high = source or length
        return Row(ids, {"source": sequence(draw, (low, high), V)})
    ids = sequence(draw, (low, high), V)
    if types == "left-out" or not is_encoder(sizes):
        return Row(ids)
    last = sizes["type_vocab_size"] - 1 if types == "any" else 0
    return Row(ids, {"types": draw.integers(len(ids), 0, last)})


def behind(reference: Reference, probe: str, prompt: Sequence[int]) -> Row:
    """What stands in front of the first new id: the prompt, or a Transformer's start with the prompt as its source."""
    sizes = reference.probes.get(probe).config
    if is_encoder_decoder(sizes):
        return Row([int(sizes["decoder_start_token_id"])], {"source": list(prompt)})
    return Row(list(prompt))


def draw_row(
    given: Given,
    draw: Draw,
    candidate: Candidate,
    length: Sequence[int] | None = None,
    source: Sequence[int] | None = None,
) -> Row:
    """A row for the case's probe; lengths of the case unless others are given. Of a trained probe, part of its text."""
    if text_of(candidate, given["probe"]):
        return Row(draw_ids(draw, candidate, given["probe"], length or given["length"]))
    sizes = candidate.probes.get(given["probe"]).config
    return drawn_row(draw, sizes, length or given["length"], source or given["source"], given["types"])


def lists(rows: Sequence[Row]) -> dict[str, list[list[int]]]:
    """What stands beside the rows, as a batch takes it."""
    names = rows[0].beside if rows else ()
    return {PLURAL[name]: [row.beside[name] for row in rows] for name in names}


def answered(model: LoadedModel, rows: Sequence[Row]) -> list[Array]:
    """Logits [T, V] of each row, all in one call."""
    return model.forward([row.ids for row in rows], **lists(rows))


def true_row(
    reference: Reference, probe: str | Probe, row: Row, got: Array, *, when: str = "", place: int | None = None
) -> Finding:
    """Whether a row's logits are the reference's."""
    return against_truth(reference, probe, row.ids, got, when=when or row.shown, row=place, beside=row.beside)


def same_row(
    reference: Reference, probe: str | Probe, row: Row, a: Array, b: Array, *, when: str, place: int | None = None
) -> Finding:
    """Whether two answers of a candidate to a row are the same."""
    return against_itself(reference, probe, row.ids, a, b, when=when, row=place, bitwise=True, beside=row.beside)


def encoded(model: LoadedModel, rows: Sequence[Row]) -> list[Encoding]:
    """Encodings of rows, all in one call."""
    return model.encode([row.ids for row in rows], **lists(rows))


def true_encoding(
    reference: Reference,
    probe: str | Probe,
    row: Row,
    got: Encoding,
    *,
    part: str = "hidden",
    when: str = "",
    place: int | None = None,
) -> Finding:
    """Whether a row's hidden states, or its pooled vector, are the reference's."""
    (due,), honest = reference.look(probe, "encode", [row.ids], **lists([row]))
    found = judge_logits(
        part,
        np.atleast_2d(getattr(got, part)),
        np.atleast_2d(getattr(due, part)),
        [np.atleast_2d(getattr(each, part)) for (each,) in honest],
        reference.claims.dtype,
        row=place,
    )
    return told(found, when or row.shown)


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

ROWS = {"type": "integer", "minimum": 1, "default": 1, "description": "rows, each a call of its own"}
IDS = {
    "enum": ["any", "repeated", "all"],
    "default": "any",
    "description": "any ids; one id all along; every id of the vocabulary once",
}


def ask_row_agrees(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Logits are those of the reference, with what stands beside the ids. (NUM-1)

    Varies: length and content of the rows and of what stands beside them, each row asked alone.
    Compares: every logit with the float64 reference.
    Bound: honest error of the claimed dtype, over a row, over a position, and of one logit.
    """
    model = candidate.model(given["probe"])
    if given["ids"] == "all":
        rows = _every_id(given, draw, candidate)
    else:
        rows = [draw_row(given, draw, candidate) for _ in range(given["rows"])]
    if given["ids"] == "repeated":
        rows = [_repeated(row) for row in rows]
    return {"rows": rows, "logits": [answered(model, [row])[0] for row in rows]}


def _repeated(row: Row) -> Row:
    """One id all along; of a target behind its first, which is the model's."""
    if "source" not in row.beside:
        return replace(row, ids=row.ids[:1] * len(row.ids))
    source = row.beside["source"]
    return Row([*row.ids[:1], *row.ids[1:2] * (len(row.ids) - 1)], {"source": source[:1] * len(source)})


def _every_id(given: Given, draw: Draw, candidate: Candidate) -> list[Row]:
    """Rows that together hold every id of the vocabulary, and of a Transformer every id in a source as well."""
    sizes = candidate.probes.get(given["probe"]).config
    V, width = sizes["vocab_size"], given["length"][1]
    if not is_encoder_decoder(sizes):
        whole = shuffled(draw, range(V))
        return [Row(whole[start : start + width]) for start in range(0, V, width)]
    whole, read = shuffled(draw, range(V)), shuffled(draw, range(V))
    start = sizes["decoder_start_token_id"]
    return [
        Row([start, *whole[at : at + width - 1]], {"source": read[at : at + width - 1]})
        for at in range(0, V, width - 1)
    ]


def judge_row_agrees(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe = given["probe"]
    rows = zip(asked["rows"], asked["logits"], strict=True)
    return worst([true_row(reference, probe, row, got, when=f"{probe}, {row.shown}") for row, got in rows])


def shares_row_agrees(given: Given, asked: Asked, reference: Reference) -> list[Array | None]:
    """Per row [T], how much of its bound each position uses; see `numerics.by_position`."""
    made = []
    for row, got in zip(asked["rows"], asked["logits"], strict=True):
        truth = reference.logits(given["probe"], row.ids, row.beside)
        honest = reference.honest_logits(given["probe"], row.ids, row.beside)
        made.append(by_position(got, truth, honest, reference.claims.dtype))
    return made


check(
    "row-agrees",
    ask_row_agrees,
    judge_row_agrees,
    needs=("load_model", "forward"),
    given={**ROW, "rows": ROWS, "ids": IDS},
)


def ask_row_altered(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A tensor of the bundle has the weight in the result that the standard gives it.

    Varies: length and content of the row and of what stands beside it.
    Compares: logits of a probe some of whose tensors are made loud, or zero, with the float64 reference of the same.
    Bound: honest error of the claimed dtype.
    """
    row = draw_row(given, draw, candidate)
    bundle = altered(candidate.probes, given["probe"], given["factor"])
    return {"row": row, "logits": answered(candidate.model(bundle), [row])[0]}


def judge_row_altered(given: Given, asked: Asked, reference: Reference) -> Finding:
    bundle = altered(reference.probes, given["probe"], given["factor"])
    changed = ", ".join(f"{by:g}x {end}" for end, by in given["factor"].items())
    return true_row(reference, bundle, asked["row"], asked["logits"], when=f"{given['probe']} with {changed}")


check(
    "row-altered",
    ask_row_altered,
    judge_row_altered,
    needs=("load_model", "forward"),
    given={**ROW, "factor": FACTOR},
)

# ── what depends on what ────────────────────────────────────────────────────────────────────────────────────────────

OF = {"enum": ["ids", "source", "types"], "default": "ids", "description": "where the change is made"}
CHANGE = {"enum": ["first", "last", "any", "swap"], "description": "the place that changes, or two that change places"}


def ask_row_changed(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A token, a type or a place that changes has the influence that the standard gives it, on every position.

    Varies: length and content of the row, what it is changed to, and where unless the case says so.
    Compares: the row before and after the change with the float64 reference, at every position.
    Bound: honest error of the claimed dtype.
    """
    row = draw_row(given, draw, candidate)
    sizes = candidate.probes.get(given["probe"]).config
    values = row.ids if given["of"] == "ids" else row.beside[given["of"]]
    first = 1 if given["of"] == "ids" and "source" in row.beside else 0
    count = sizes["type_vocab_size"] if given["of"] == "types" else sizes["vocab_size"]
    changed, places = _changed(draw, values, first, count, given["change"])
    if given["of"] == "ids":
        rows = [row, replace(row, ids=changed)]
    else:
        rows = [row, replace(row, beside={**row.beside, given["of"]: changed})]
    model = candidate.model(given["probe"])
    return {"rows": rows, "places": places, "logits": [answered(model, [each])[0] for each in rows]}


def _changed(draw: Draw, values: Sequence[int], first: int, count: int, change: str) -> tuple[list[int], list[int]]:
    """A list with one entry changed, or two that changed places; and which."""
    made, last = list(values), len(values) - 1
    if change == "swap":
        one, other = sorted(shuffled(draw, range(first, len(values)))[:2])
        if made[one] == made[other]:
            made[other] = draw_other(draw, made[other], count)
        made[one], made[other] = made[other], made[one]
        return made, [one, other]
    place = {"first": first, "last": last}.get(change)
    place = draw.integer(first, last) if place is None else place
    made[place] = draw_other(draw, made[place], count)
    return made, [place]


def judge_row_changed(given: Given, asked: Asked, reference: Reference) -> Finding:
    noun = {"ids": "token", "source": "source token", "types": "type"}[given["of"]]
    places = " and ".join(map(str, asked["places"]))
    after = f"{noun} {places} changed" if len(asked["places"]) == 1 else f"{noun}s {places} changed places"
    whens = (f"before {after}", after)
    rows = zip(asked["rows"], asked["logits"], whens, strict=True)
    return worst([true_row(reference, given["probe"], row, got, when=when) for row, got, when in rows])


check(
    "row-changed",
    ask_row_changed,
    judge_row_changed,
    needs=("load_model", "forward"),
    given={**ROW, "of": OF, "change": CHANGE},
)


def _relabelled(library: Library, probe: str, change: str, draw: Draw) -> tuple[Probe, list[int], list[int]]:
    """A bundle that computes the same from other tensors, where each id went, and where each type went."""
    if change != "types":
        bundle, place = rewritten(library, probe, change, draw)
        return bundle, place, list(range(bundle.config.get("type_vocab_size", 0)))
    parts = library.parts(probe)
    parameters = parts.document["parameters"]
    order = shuffled(draw, range(parameters["type_vocab_size"]))
    if order == sorted(order):
        order = [*order[1:], order[0]]
    parts.weights["type_embedding"] = parts.weights["type_embedding"][order]
    bundle = library.write(parts.document, parts.weights)
    return bundle, list(range(parameters["vocab_size"])), [order.index(kind) for kind in range(len(order))]


def ask_row_symmetry(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A bundle that computes the same function from other tensors gives the same logits.

    Varies: length and content of the row, and the order of heads, channels, units, ids or types.
    Compares: the candidate with itself on the probe and on the rewritten bundle, ids brought back to their places.
    Bound: honest error of the claimed dtype, √2 times; a permuted sum may run in another order.
    """
    row = draw_row(given, draw, candidate)
    bundle, place, kinds = _relabelled(candidate.probes, given["probe"], given["change"], draw)
    beside = {
        name: [(kinds if name == "types" else place)[value] for value in values] for name, values in row.beside.items()
    }
    moved = Row([place[token] for token in row.ids], beside)
    plain = answered(candidate.model(given["probe"]), [row])[0]
    return {"row": row, "plain": plain, "other": answered(candidate.model(bundle), [moved])[0], "place": place}


def judge_row_symmetry(given: Given, asked: Asked, reference: Reference) -> Finding:
    other, row = asked["other"], asked["row"]
    back = other[:, asked["place"]] if other.shape[-1] == len(asked["place"]) else other
    when = f"{given['probe']} with {given['change'].replace('-', ' ')} rewritten"
    # A permuted sum may run in another order, so that nobody is held to equal bits here.
    return against_itself(reference, given["probe"], row.ids, back, asked["plain"], when=when, beside=row.beside)


KIND = {
    "enum": [*(name for name in RELABELLINGS if name != "norm-gain"), "vocabulary", "types"],
    "description": "what is rewritten",
}

check(
    "row-symmetry",
    ask_row_symmetry,
    judge_row_symmetry,
    needs=("load_model", "forward"),
    given={**ROW, "change": KIND},
)

# ── company ─────────────────────────────────────────────────────────────────────────────────────────────────────────

BATCH: Mapping[str, Any] = {
    **ROW,
    "rows": {"type": "integer", "minimum": 2, "description": "rows of the batch"},
    "odd": {**OR_NOT, "description": "number of ids of one row, at a drawn place; null if it is like the others"},
    "odd_source": {**OR_NOT, "description": "number of source ids of that row; null if it is like the others"},
}


def draw_batch(given: Given, draw: Draw, candidate: Candidate) -> list[Row]:
    """Rows of a batch: all of one range of lengths, except one if the case has `odd` or `odd_source`."""
    rows = [draw_row(given, draw, candidate) for _ in range(given["rows"])]
    if given["odd"] is not None or given["odd_source"] is not None:
        place = draw.integer(0, len(rows) - 1)
        rows[place] = draw_row(given, draw, candidate, given["odd"], given["odd_source"])
    return rows


def ask_row_batch_alone(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A row's logits do not depend on its company. (BAT-1, BAT-2)

    Varies: content and lengths of the rows and of what stands beside them.
    Compares: the candidate with itself, each row in the batch and alone.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    rows = draw_batch(given, draw, candidate)
    model = candidate.model(given["probe"])
    return {"rows": rows, "together": answered(model, rows), "alone": [answered(model, [row])[0] for row in rows]}


def judge_row_batch_alone(given: Given, asked: Asked, reference: Reference) -> Finding:
    rows, findings = asked["rows"], []
    for i, (row, got, due) in enumerate(zip(rows, asked["together"], asked["alone"], strict=True)):
        when = f"in a batch of {len(rows)}, the row of {row.shown}, and alone"
        findings.append(_owned(reference, given["probe"], rows, i, got, due, when))
    return worst(findings)


def _owned(reference: Reference, probe: str, rows: Sequence[Row], i: int, got: Array, due: Array, when: str) -> Finding:
    """`same_row`; a failure also says so if the answer is the one that another row was due."""
    found = same_row(reference, probe, rows[i], got, due, when=when, place=i)
    if found.ok:
        return found
    others = (j for j, row in enumerate(rows) if j != i and len(row.ids) == len(got))
    j = next((j for j in others if true_row(reference, probe, rows[j], got).ok), None)
    return found if j is None else replace(found, message=f"{found.message}; row {i} came as row {j}")


check("row-batch-alone", ask_row_batch_alone, judge_row_batch_alone, needs=("load_model", "forward"), given=BATCH)


def ask_row_batch_order(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Rows come back in the order in which they went, and their order changes nothing. (BAT-3)

    Varies: content, lengths and order of the rows.
    Compares: the candidate with itself on the batch and on the same rows in another order.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    rows = draw_batch(given, draw, candidate)
    order = shuffled(draw, range(len(rows)))
    model = candidate.model(given["probe"])
    first = answered(model, rows)
    return {"rows": rows, "order": order, "first": first, "second": answered(model, [rows[i] for i in order])}


def judge_row_batch_order(given: Given, asked: Asked, reference: Reference) -> Finding:
    order = asked["order"]
    when = f"rows in the order {order}, and in the order 0 … {len(order) - 1}"
    rows = [asked["rows"][i] for i in order]
    return worst(
        [
            _owned(reference, given["probe"], rows, place, got, asked["first"][i], when)
            for place, (i, got) in enumerate(zip(order, asked["second"], strict=True))
        ]
    )


check("row-batch-order", ask_row_batch_order, judge_row_batch_order, needs=("load_model", "forward"), given=BATCH)

# ── history ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Event = Callable[[Given, "Draw", "Candidate", LoadedModel], None]


def _context(given: Given, candidate: Candidate) -> int:
    return int(candidate.probes.get(given["probe"]).config["context_length"])


def _longest(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    whole = (_context(given, candidate),) * 2
    answered(model, [draw_row(given, draw, candidate, whole, whole)])


def _refused(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    beyond = (_context(given, candidate) + 1,) * 2
    row = draw_row(given, draw, candidate)
    refusal_of(answered, model, [draw_row(given, draw, candidate, beyond)])
    refusal_of(answered, model, [replace(row, ids=[*row.ids[:-1], 2**30])])
    refusal_of(answered, model, [row, replace(row, beside={name: [2**30] for name in row.beside}, ids=[2**30])])


def _batched(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    lengths = (((9, 12), (2, 4)), ((2, 2), (20, 24)), ((3, 5), (1, 1)))
    answered(model, [draw_row(given, draw, candidate, length, source) for length, source in lengths])


def _other_model(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    other = candidate.model(_quieter(candidate.probes, given["probe"]))
    answered(other, [draw_row(given, draw, candidate, (9, 12))])


def _encoded(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    rows = [draw_row(given, draw, candidate, length) for length in ((9, 12), (1, 4))]
    model.encode([row.ids for row in rows], **lists(rows))


def _filled(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    mask = int(candidate.probes.get(given["probe"]).config["mask_token_id"])
    row = draw_row(given, draw, candidate, (6, 12))
    model.fill_mask([mask, *row.ids[1:-1], mask], count=3)


def _generated(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    source = draw_row(given, draw, candidate, (2, 2), (9, 12)).beside["source"]
    model.generate_ids(source, max_length=12, temperature=0)


def _session(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    row = draw_row(given, draw, candidate, (4, 8), (9, 12))
    model.open(row.ids, source=row.beside["source"]).extend(row.ids[1:3])


EVENTS: Mapping[str, Event] = {
    "longest": _longest,
    "refused": _refused,
    "batch": _batched,
    "other-model": _other_model,
    "encoded": _encoded,
    "filled": _filled,
    "generated": _generated,
    "session": _session,
}
"""What may come between two equal requests. Their own answers are not judged here."""


def ask_row_again(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The same request has the same logits, whatever came between. (STATE-1)

    Varies: content and length of the row, and content of what comes between.
    Compares: the candidate with itself before and after.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    row, model = draw_row(given, draw, candidate), candidate.model(given["probe"])
    before = answered(model, [row])[0]
    EVENTS[given["between"]](given, draw, candidate, model)
    return {"row": row, "before": before, "after": answered(model, [row])[0]}


def judge_row_again(given: Given, asked: Asked, reference: Reference) -> Finding:
    when = f"after and before: {given['between'].replace('-', ' ')}"
    return same_row(reference, given["probe"], asked["row"], asked["after"], asked["before"], when=when)


check(
    "row-again",
    ask_row_again,
    judge_row_again,
    needs=("load_model", "forward"),
    given={**ROW, "between": {"enum": list(EVENTS), "description": "what comes between the two equal requests"}},
)


def ask_row_after_alike(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A row is answered for what stands beside it and not for its ids alone. (STATE-1)

    Varies: length and content of the row, and another source, or other types, of the same length.
    Compares: the row, the same ids with the other, and the row again, each with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    row = draw_row(given, draw, candidate)
    sizes = candidate.probes.get(given["probe"]).config
    counts = {"source": sizes["vocab_size"], "types": sizes.get("type_vocab_size", 0)}
    other = {name: [draw_other(draw, value, counts[name]) for value in values] for name, values in row.beside.items()}
    model, rows = candidate.model(given["probe"]), [row, replace(row, beside=other), row]
    return {"rows": rows, "logits": [answered(model, [each])[0] for each in rows]}


def judge_row_after_alike(given: Given, asked: Asked, reference: Reference) -> Finding:
    return worst(
        [
            true_row(reference, given["probe"], row, got, when=f"call {i} of three with the same ids")
            for i, (row, got) in enumerate(zip(asked["rows"], asked["logits"], strict=True))
        ]
    )


check("row-after-alike", ask_row_after_alike, judge_row_after_alike, needs=("load_model", "forward"), given=ROW)


def _quieter(library: Library, probe: str) -> Probe:
    """A bundle like a probe in name and shapes, whose feed-forwards add half as much."""
    return altered(library, probe, {"feed_forward.down.weight": 0.5})


def ask_row_models(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Two models of one name and shape that are loaded at the same time do not mix. (STATE-3)

    Varies: content and length of the rows. The models differ in their feed-forwards alone.
    Compares: both models, asked the same in turn, with the float64 reference of each.
    Bound: honest error of the claimed dtype.
    """
    probe = given["probe"]
    models = {"one": candidate.model(probe), "other": candidate.model(_quieter(candidate.probes, probe))}
    turns = []
    for _ in range(2):
        row = draw_row(given, draw, candidate)
        turns += [(name, row, answered(model, [row])[0]) for name, model in models.items()]
    return {"turns": turns}


def judge_row_models(given: Given, asked: Asked, reference: Reference) -> Finding:
    bundles = {"one": given["probe"], "other": _quieter(reference.probes, given["probe"])}
    return worst(
        [
            true_row(reference, bundles[name], row, got, when=f"call {i}, to the {name} of two models")
            for i, (name, row, got) in enumerate(asked["turns"])
        ]
    )


check("row-models-apart", ask_row_models, judge_row_models, needs=("load_model", "forward"), given=ROW)
