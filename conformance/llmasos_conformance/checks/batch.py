"""Batches: a row's answer does not depend on its company, and rows come back in their order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.rows import (
    LENGTH,
    PROBE,
    STEPS,
    against_itself,
    claims_at_least,
    counted,
    draw_ids,
    new_ids,
    same_choice,
    swapped,
    unlike_greedy,
)
from llmasos_conformance.inputs import shuffled
from llmasos_conformance.numerics import worst
from llmasos_conformance.verdict import Finding

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

ROWS = {"type": "integer", "minimum": 1, "description": "rows of the batch"}
ODD = {
    "anyOf": [{"type": "null"}, LENGTH],
    "default": None,
    "description": "smallest and largest number of ids of one row, at a drawn place; null if it is like the others",
}


def draw_batch(given: Given, draw: Draw, candidate: Candidate) -> list[list[int]]:
    """Rows of a batch: all of one range of lengths, except one if the case has `odd`."""
    rows = [draw_ids(draw, candidate, given["probe"], given["length"]) for _ in range(given["rows"])]
    if given["odd"] is not None:
        rows[draw.integer(0, len(rows) - 1)] = draw_ids(draw, candidate, given["probe"], given["odd"])
    return rows


def ask_batch_alone(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A row's logits do not depend on its company. (BAT-1, BAT-2)

    Varies: content and lengths of the rows. Looked at are the first row, one in the middle and the last.
    Compares: the candidate with itself, the row in the batch and alone.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    rows = draw_batch(given, draw, candidate)
    model = candidate.model(given["probe"])
    together = model.forward(rows)
    places = sorted({0, len(rows) // 2, len(rows) - 1})
    alone = [model.forward([rows[place]])[0] for place in places]
    return {"rows": rows, "places": places, "together": [together[place] for place in places], "alone": alone}


def judge_batch_alone(given: Given, asked: Asked, reference: Reference) -> Finding:
    rows, lengths = asked["rows"], [len(row) for row in asked["rows"]]
    when = f"in a batch of lengths {lengths}, and alone"
    seen = zip(asked["places"], asked["together"], asked["alone"], strict=True)
    findings = []
    for i, got, due in seen:
        found = against_itself(reference, given["probe"], rows[i], got, due, row=i, when=when, bitwise=True)
        findings.append(swapped(reference, given["probe"], rows, i, got, found))
    return worst(findings)


BATCH = {"probe": PROBE, "rows": ROWS, "length": LENGTH, "odd": ODD}

check("batch-alone", ask_batch_alone, judge_batch_alone, needs=("load_model", "forward"), given=BATCH)


def ask_batch_order(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Rows come back in the order in which they went, and their order changes nothing. (BAT-3)

    Varies: content, lengths and order of the rows.
    Compares: the candidate with itself on the batch and on the same rows in another order.
    Bound: honest error of the claimed dtype, √2 times; equal bits if D3 is claimed.
    """
    rows = draw_batch(given, draw, candidate)
    order = shuffled(draw, range(len(rows)))
    model = candidate.model(given["probe"])
    return {
        "rows": rows,
        "order": order,
        "first": model.forward(rows),
        "second": model.forward([rows[i] for i in order]),
    }


def judge_batch_order(given: Given, asked: Asked, reference: Reference) -> Finding:
    order = asked["order"]
    when = f"rows in the order {order}, and in the order 0 … {len(order) - 1}"
    rows = [asked["rows"][i] for i in order]
    findings = []
    for place, (i, got) in enumerate(zip(order, asked["second"], strict=True)):
        found = against_itself(
            reference, given["probe"], rows[place], got, asked["first"][i], row=place, when=when, bitwise=True
        )
        findings.append(swapped(reference, given["probe"], rows, place, got, found))
    return worst(findings)


check("batch-order", ask_batch_order, judge_batch_order, needs=("load_model", "forward"), given=BATCH)


def ask_batch_generates(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A row of a batch is continued as it is alone. (BAT-4)

    Varies: content and lengths of the rows.
    Compares: greedy ids of each row in the batch with those of the row alone, and with the reference.
    Bound: the margin of honest error; none if D2 is claimed.
    """
    rows = draw_batch(given, draw, candidate)
    if given["repeated"]:
        rows = [*rows, rows[0]]
    model, steps = candidate.model(given["probe"]), given["steps"]
    together = model.generate_batch(rows, max_length=steps, temperature=0)
    alone = [model.generate_ids(row, max_length=steps, temperature=0) for row in rows]
    return {"rows": rows, "together": [new_ids(g) for g in together], "alone": [new_ids(g) for g in alone]}


def judge_batch_generates(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, steps = given["probe"], given["steps"]
    lengths = [len(row) for row in asked["rows"]]
    exact = claims_at_least(reference, "D2")
    ends = reference.probes.get(probe).config["eos_token_ids"]
    findings = []
    for i, (row, got, due) in enumerate(zip(asked["rows"], asked["together"], asked["alone"], strict=True)):
        label = f"generations[{i}].ids"
        findings.append(counted(got, steps, label, ends))
        findings.append(unlike_greedy(reference, probe, row, got, label=label))
        when = f"in a batch of lengths {lengths}, and alone"
        findings.append(same_choice(reference, probe, row, got, due, label=label, when=when, exact=exact))
        if not all(finding.ok for finding in findings[-3:]) and got != due and got in asked["alone"]:
            came_as = f"; row {i} came as row {asked['alone'].index(got)}"
            findings[-3:] = [replace(f, message=f"{f.message}{came_as}") if f.message else f for f in findings[-3:]]
    return worst(findings)


REPEATED = {"type": "boolean", "default": False, "description": "the first row stands in the batch a second time"}

check(
    "batch-generates-alone",
    ask_batch_generates,
    judge_batch_generates,
    needs=("load_model", "generate_ids", "batch"),
    given={**BATCH, "steps": STEPS, "repeated": REPEATED},
)
