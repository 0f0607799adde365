"""Beams: with as many as there are continuations the result is the best of all; with fewer it is what they lead to.

What single rules do is asked by vectors too, on models whose laws are written in the case (`answers`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmasos_conformance import numerics
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.beside import behind
from llmasos_conformance.checks.rows import LENGTH, PROBE, STEPS, draw_ids, new_ids
from llmasos_conformance.numerics import worst
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

PENALTIES = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "number", "minimum": 0},
    "description": "length_penalty of each request",
}
BEAMS = {"type": "integer", "minimum": 2, "description": "beams; as many as there are prefixes leave nothing out"}


def ask_best(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """With so many beams that none is left out, the result is the best continuation there is. (BEAM-1)

    Varies: content and length of the prompt, which a Transformer reads as its source.
    Compares: the score of the result by the float64 reference with the best of all continuations.
    Bound: the margin of honest error of each id's log-probability, over the length.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model, options = candidate.model(given["probe"]), {"temperature": 0, "beams": given["beams"]}
    made = [
        model.generate_ids(prompt, max_length=given["steps"], length_penalty=penalty, **options)
        for penalty in given["penalties"]
    ]
    return {"prompt": prompt, "ids": [new_ids(each) for each in made], "reasons": [each.finish_reason for each in made]}


def judge_best(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, prompt, steps = given["probe"], asked["prompt"], given["steps"]
    ends = reference.probes.get(probe).config["eos_token_ids"]
    V = int(reference.probes.get(probe).config["vocab_size"])
    if V ** (steps - 1) > given["beams"]:
        raise ValueError(f"{given['beams']} beams are too few for {V} ids and {steps} steps")
    totals, slack, row = dict[tuple[int, ...], float](), 0.0, behind(reference, probe, prompt)
    for ids in _continuations(V, steps, ends):
        whole = [*row.ids, *ids[:-1]]
        truth, honest = reference.logits(probe, whole, row.beside), reference.honest_logits(probe, whole, row.beside)
        law = numerics.log_softmax(truth[len(row.ids) - 1 :])
        totals[ids] = float(sum(law[i, token] for i, token in enumerate(ids)))
        # A sum of L logarithms is off by L times what one of them is.
        slack = max(slack, steps * numerics.margin(truth, honest, reference.claims.dtype))
    return worst(
        [
            _best(totals, ids, reason, ends, penalty, slack)
            for ids, reason, penalty in zip(asked["ids"], asked["reasons"], given["penalties"], strict=True)
        ]
    )


def _continuations(V: int, steps: int, ends: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All that may be generated: rows of `steps` ids, and shorter ones that end."""
    going = [token for token in range(V) if token not in ends]
    for length in range(1, steps + 1):
        for ids in itertools.product(going, repeat=length - 1):
            yield from ((*ids, token) for token in (range(V) if length == steps else ends))


def _best(
    totals: Mapping[tuple[int, ...], float],
    ids: Sequence[int],
    reason: str,
    ends: Sequence[int],
    penalty: float,
    slack: float,
) -> Finding:
    def score(row: tuple[int, ...]) -> float:
        return float(totals[row] / len(row) ** penalty)

    when = f"length_penalty {penalty:g}"
    if tuple(ids) not in totals:
        return failed(f"{list(ids)} is no continuation of the length asked for ({when})", got=list(ids))
    best = max(totals, key=score)
    if score(best) - score(tuple(ids)) > slack:
        message = (
            f"{list(ids)} scores {score(tuple(ids)):.6g}, and {list(best)} {score(best):.6g}, which was due ({when})"
        )
        return failed(message, expected=list(best), got=list(ids))
    due = "stop" if ids[-1] in ends else "length"
    if reason != due:
        return failed(f"{list(ids)} came with finish_reason {reason}, {due} was due", expected=due, got=reason)
    return passed()


given: Mapping[str, Any] = {"probe": PROBE, "length": LENGTH, "steps": STEPS, "beams": BEAMS, "penalties": PENALTIES}

check("beams-best", ask_best, judge_best, needs=("load_model", "generate_ids", "beams"), given=given)

# ── fewer beams than continuations ──────────────────────────────────────────────────────────────────────────────────


def ask_followed(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A few beams lead where the standard's search leads with the logits of the reference. (BEAM-3)

    Varies: content and length of the prompt, which a Transformer reads as its source.
    Compares: the ids with those of a search over the float64 reference's logits.
    Bound: none, unless two sums that decide something lie so close that honest error may exchange them; then the result
        decides nothing.
    """
    prompt = draw_ids(draw, candidate, given["probe"], given["length"])
    model, options = candidate.model(given["probe"]), {"temperature": 0, "beams": given["beams"]}
    return {"prompt": prompt, "ids": new_ids(model.generate_ids(prompt, max_length=given["steps"], **options))}


def judge_followed(given: Given, asked: Asked, reference: Reference) -> Finding:
    due, gap, slack = _search(reference, given["probe"], asked["prompt"], given["steps"], given["beams"])
    if list(asked["ids"]) == due or gap <= slack:
        return passed()
    message = (
        f"{given['beams']} beams gave {asked['ids']}, {due} was due; no sums that decide are closer than {gap:.3g}"
    )
    return failed(message, expected=due, got=asked["ids"])


def _search(
    reference: Reference, probe: str, prompt: Sequence[int], steps: int, n: int
) -> tuple[list[int], float, float]:
    """The search over the reference's logits, of a probe without ids that end a sequence.

    Returns:
        The ids, the smallest difference of two sums that decided what is followed or which is the best, and how much
        of one honest error explains.
    """
    assert not reference.probes.get(probe).config["eos_token_ids"]
    followed, gap, slack, start = [(0.0, list[int]())], float("inf"), 0.0, behind(reference, probe, prompt)
    for _ in range(steps):
        extended = list[tuple[float, int, int]]()
        for place, (total, ids) in enumerate(followed):
            row, beside = [*start.ids, *ids], start.beside
            truth, honest = reference.logits(probe, row, beside), reference.honest_logits(probe, row, beside)
            law = numerics.log_softmax(truth[-1])
            extended += [(-(total + float(value)), place, token) for token, value in enumerate(law)]
            slack = max(slack, steps * numerics.margin(truth, honest, reference.claims.dtype))
        extended.sort()
        gap = min(gap, extended[n][0] - extended[n - 1][0])
        followed = [(-minus, [*followed[place][1], token]) for minus, place, token in extended[:n]]
    return followed[0][1], min(gap, followed[0][0] - followed[1][0]), slack


check(
    "beams-followed",
    ask_followed,
    judge_followed,
    needs=("load_model", "generate_ids", "beams"),
    given={
        "probe": PROBE,
        "length": LENGTH,
        "steps": STEPS,
        "beams": {"type": "integer", "minimum": 2, "description": "beams, fewer than there are continuations"},
    },
)
