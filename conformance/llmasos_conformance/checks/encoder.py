"""BERT: what an encoder makes of its rows, and what it puts behind a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance import numerics
from llmasos_conformance.candidate import LoadedModel, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.beside import OR_NOT, ROW, Row, draw_row, encoded, true_encoding
from llmasos_conformance.checks.numerics import FACTOR, altered
from llmasos_conformance.checks.rows import draw_other, told
from llmasos_conformance.inputs import shuffled
from llmasos_conformance.numerics import worst
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Library, Probe
    from llmasos_conformance.reference import Reference

# ── encodings ───────────────────────────────────────────────────────────────────────────────────────────────────────

PART = {
    "enum": ["hidden", "pooled"],
    "description": "what is judged: hidden states of all positions, or the pooled row",
}


def _bundle(library: Library, given: Given) -> Probe:
    """The case's probe, with the case's factors on its tensors."""
    return altered(library, given["probe"], given["factor"]) if given["factor"] else library.get(given["probe"])


def ask_encodes(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Hidden states and pooled output of every row of a batch are those of the reference.

    Varies: length and content of the rows, and their token types.
    Compares: what leaves the last block at every position, or the pooled vector, with the float64 reference of the row.
    Bound: honest error of the claimed dtype, over all positions, over one, and of one number.
    """
    rows = [draw_row(given, draw, candidate) for _ in range(given["rows"])]
    if given["odd"] is not None:
        rows[draw.integer(0, len(rows) - 1)] = draw_row(given, draw, candidate, given["odd"])
    return {"rows": rows, "encodings": encoded(candidate.model(_bundle(candidate.probes, given)), rows)}


def judge_encodes(given: Given, asked: Asked, reference: Reference) -> Finding:
    bundle, findings = _bundle(reference.probes, given), []
    for i, (row, got) in enumerate(zip(asked["rows"], asked["encodings"], strict=True)):
        when = f"{given['probe']}, row {i} of {len(asked['rows'])}, {row.shown}"
        findings.append(true_encoding(reference, bundle, row, got, part=given["part"], when=when, place=i))
    return worst(findings)


check(
    "encodes",
    ask_encodes,
    judge_encodes,
    needs=("load_model", "encode"),
    given={
        **ROW,
        "rows": {"type": "integer", "minimum": 1, "default": 1, "description": "rows of the batch"},
        "odd": {**OR_NOT, "description": "number of ids of one row, at a drawn place; null if it is like the others"},
        "part": PART,
        "factor": {**FACTOR, "minProperties": 0, "default": {}},
    },
)


def _ragged(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    encoded(model, [draw_row(given, draw, candidate, length) for length in ((9, 12), (2, 2), (3, 5))])


def _longest(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    context = int(candidate.probes.get(given["probe"]).config["context_length"])
    encoded(model, [draw_row(given, draw, candidate, (context, context))])


def _refused(given: Given, draw: Draw, candidate: Candidate, model: LoadedModel) -> None:
    context = int(candidate.probes.get(given["probe"]).config["context_length"])
    row = draw_row(given, draw, candidate)
    refusal_of(encoded, model, [draw_row(given, draw, candidate, (context + 1, context + 1))])
    refusal_of(encoded, model, [row, replace(row, ids=[*row.ids[:-1], 2**30])])


BETWEEN: Mapping[str, Any] = {"batch": _ragged, "longest": _longest, "refused": _refused}
"""What may be asked between two equal encodings. Its own answers are not judged here."""


def ask_encodes_again(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """The same row has the same encoding, whatever was encoded between. (STATE-1)

    Varies: content and length of the row, and content of what comes between.
    Compares: the row's hidden states before and after with the float64 reference.
    Bound: honest error of the claimed dtype.
    """
    row, model = draw_row(given, draw, candidate), candidate.model(given["probe"])
    before = encoded(model, [row])[0]
    BETWEEN[given["between"]](given, draw, candidate, model)
    return {"row": row, "encodings": [before, encoded(model, [row])[0]]}


def judge_encodes_again(given: Given, asked: Asked, reference: Reference) -> Finding:
    whens = (f"before {given['between']}", f"after {given['between']}")
    return worst(
        [
            true_encoding(reference, given["probe"], asked["row"], got, when=when)
            for when, got in zip(whens, asked["encodings"], strict=True)
        ]
    )


check(
    "encodes-again",
    ask_encodes_again,
    judge_encodes_again,
    needs=("load_model", "encode"),
    given={**ROW, "between": {"enum": list(BETWEEN), "description": "what is encoded between the two equal rows"}},
)

# ── fills ───────────────────────────────────────────────────────────────────────────────────────────────────────────

Law = Mapping[int, float | None]

MASKS = {"type": "integer", "minimum": 1, "description": "masks in the row, at drawn places"}
COUNT = {
    "type": ["integer", "null"],
    "minimum": 1,
    "default": None,
    "description": "how many of the likeliest ids are asked for; null leaves it to the standard",
}
DEFAULT_COUNT = 5
"""Ids per mask where a request does not say."""


def masked(row: Row, places: Sequence[int], mask: int, draw: Draw, V: int) -> Row:
    """A row with masks at these places and nowhere else."""
    free = [draw_other(draw, mask, V) if token == mask else token for token in row.ids]
    return Row([mask if i in places else token for i, token in enumerate(free)], row.beside)


def ask_fills(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Each mask gets the likeliest ids of its own position, with their log-probabilities, the others staying masked.

    Varies: length and content of the row, its types, and the places of the masks.
    Compares: the number of masks; which ids are named, ties going to the lowest; each log-probability with the float64
        reference's of the whole row.
    Bound: honest error of the claimed dtype; for the choice of ids its margin, none between equal logits.
    """
    sizes = candidate.probes.get(given["probe"]).config
    row = draw_row(given, draw, candidate)
    places = sorted(shuffled(draw, range(len(row.ids)))[: given["masks"]])
    row = masked(row, places, sizes["mask_token_id"], draw, sizes["vocab_size"])
    options: dict[str, Any] = {} if given["count"] is None else {"count": given["count"]}
    fills = candidate.model(given["probe"]).fill_mask(row.ids, **options, **row.beside)
    return {"row": row, "places": places, "fills": fills}


def judge_fills(given: Given, asked: Asked, reference: Reference) -> Finding:
    row, places, fills = asked["row"], asked["places"], asked["fills"]
    if len(fills) != len(places):
        return failed(f"{len(fills)} fills came for {len(places)} masks", expected=len(places), got=len(fills))
    truth = reference.logits(given["probe"], row.ids, row.beside)
    honest = reference.honest_logits(given["probe"], row.ids, row.beside)
    count = min(given["count"] or DEFAULT_COUNT, truth.shape[-1])
    margin = numerics.margin(truth, honest, reference.claims.dtype)
    when = f"{given['probe']}, masks at {places}"
    for i, (place, law) in enumerate(zip(places, fills, strict=True)):
        found = likeliest(law, truth[place], count, margin, f"fills[{i}]")
        if not found.ok:
            return told(found, f"{when}{_of_another(law, truth, places, place)}")
    due, baseline = truth[places], [computation[places] for computation in honest]
    return told(numerics.judge_logprobs("fills", fills, due, baseline, reference.claims.dtype), when)


def likeliest(law: Law, logits: Any, count: int, margin: float, label: str) -> Finding:
    """Whether a law names the `count` likeliest ids, the lowest of equal ones.

    Args:
        logits: [V] true ones. margin: a gap that decides nothing, see `numerics.margin`.
    """
    V = len(logits)
    due = [int(token) for token in np.argsort(-logits, kind="stable")[:count]]
    outside = [token for token in law if not 0 <= token < V]
    if outside:
        return failed(f"{label} names id {outside[0]}, ids end at {V - 1}", expected=f"0 … {V - 1}", got=outside[0])
    if len(law) != count:
        return failed(f"{label} names {len(law)} ids, {count} were due", expected=sorted(due), got=sorted(law))
    least = float(logits[due[-1]])
    for token in sorted(law):
        if logits[token] < least - margin:
            message = f"{label} names {token}, which is less likely than each of {sorted(due)}"
            return failed(message, expected=sorted(due), got=sorted(law))
        lower = [other for other in np.flatnonzero(logits == logits[token]) if other < token and other not in law]
        if lower:
            message = f"{label} names {token} and not {int(lower[0])}: their logits are equal and the lowest id wins"
            return failed(message, expected=sorted(due), got=sorted(law))
    return passed()


def _of_another(law: Law, truth: Any, places: Sequence[int], place: int) -> str:
    """What a failure adds if the ids are those that another mask was due."""
    for other in places:
        due = {int(token) for token in np.argsort(-truth[other], kind="stable")[: len(law)]}
        if other != place and set(law) == due:
            return f"; the mask at {place} got what the one at {other} was due"
    return ""


check(
    "fills",
    ask_fills,
    judge_fills,
    needs=("load_model", "fill_mask"),
    given={**ROW, "masks": MASKS, "count": COUNT},
)


def ask_fills_script(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Fills come in the order of their masks, one for each. (BERT-11)

    Varies: content and length of the row, and the places of the masks. The model knows what stands at each position.
    Compares: the likeliest id of each mask with the one that the model was made for.
    Bound: none, they are equal or they are not.
    """
    probe = candidate.probes.get(given["probe"])
    mask, V = probe.config["mask_token_id"], probe.config["vocab_size"]
    row = draw_row(given, draw, candidate)
    places = sorted(shuffled(draw, range(len(row.ids)))[: given["masks"]])
    fills = candidate.model(probe).fill_mask(masked(row, places, mask, draw, V).ids, count=1)
    return {"places": places, "fills": fills, "due": [probe.facts["emits"][place] for place in places]}


def judge_fills_script(given: Given, asked: Asked, reference: Reference) -> Finding:
    came = [sorted(law) for law in asked["fills"]]
    due = [[token] for token in asked["due"]]
    if came == due:
        return passed()
    message = f"masks at {asked['places']} are filled with {came!s:.120}, {due!s:.120} was due"
    return failed(message, expected=due, got=came)


check(
    "fills-script",
    ask_fills_script,
    judge_fills_script,
    needs=("load_model", "fill_mask"),
    given={**ROW, "masks": MASKS},
)
