"""Whether a candidate computes with the weights of the file, or with fewer digits of them; and whether its text does.

Text tells of precision where the probe is a compass: see `probes.draft.compass`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llmasos_conformance import fingerprints
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.beside import ROW, answered, behind, draw_row
from llmasos_conformance.checks.rows import (
    LENGTH,
    PROBE,
    PROMPTS,
    STEPS,
    counted,
    new_ids,
    told,
    unlike_greedy,
    weighed,
)
from llmasos_conformance.fingerprints import LIKENESS, NEGLIGIBLE
from llmasos_conformance.numerics import worst
from llmasos_conformance.verdict import Finding, State, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

ROWS = {"type": "integer", "minimum": 1, "description": "rows of one batch"}


def ask_weights_as_given(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Weights are used with the digits that the file gives them. (NUM-8)

    Varies: content of the rows and of what stands beside them.
    Compares: the direction of the errors of all logits with the direction in which each known scheme of quantisation
        moves them.
    Bound: their likeness; see fingerprints.LIKENESS. Errors too small to be those of any scheme are right at once.
    """
    rows = [draw_row(given, draw, candidate) for _ in range(given["rows"])]
    return {"rows": rows, "logits": answered(candidate.model(given["probe"]), rows)}


def judge_weights_as_given(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, rows, logits = given["probe"], asked["rows"], asked["logits"]
    truth = [reference.logits(probe, row.ids, row.beside) for row in rows]
    shapes = [list(each.shape) for each in logits], [list(each.shape) for each in truth]
    if shapes[0] != shapes[1]:
        return failed(f"logits have shapes {shapes[0]}, {shapes[1]} were due", expected=shapes[1], got=shapes[0])
    due, got = np.concatenate(truth), np.concatenate(logits).astype(np.float64)
    if not np.all(np.isfinite(got)):
        return told(failed("some logits are not finite"), probe)
    errors = got - due
    if float(np.sqrt(np.mean(errors * errors))) < NEGLIGIBLE * float(np.std(due)):
        return passed(likeness=0.0)
    parts = reference.probes.parts(probe)
    likeness = {}
    for name, scheme in fingerprints.SCHEMES.items():
        for scope in fingerprints.SCOPES:
            other = reference.probes.write(parts.document, fingerprints.quantised(parts.weights, scheme, scope))
            moved = np.concatenate([reference.logits(other, row.ids, row.beside) for row in rows])
            likeness[f"{name} ({scope})"] = fingerprints.likeness(errors, moved - due)
    found = max(likeness, key=lambda name: likeness[name])
    if likeness[found] <= LIKENESS:
        return passed(likeness=likeness[found])
    message = (
        f"the errors of {errors.size} logits point where weights as {found} move them: likeness {likeness[found]:.2f}, "
        f"bound {LIKENESS:g}; {reference.claims.dtype} is claimed"
    )
    finding = failed(message, expected=f"weights of {reference.claims.dtype}", got=found, likeness=likeness[found])
    return told(finding, probe)


check(
    "weights-as-given",
    ask_weights_as_given,
    judge_weights_as_given,
    needs=("load_model", "forward"),
    given={**ROW, "rows": ROWS},
)

# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────

LEAST = 160
"""Choices of one example that must count, half of those that the cases ask for. Arithmetic that is promised to show
changes at least 19 in 100 of those that count (`bench/calibrate_canary.py`): that 160 of them agree by chance happens
once in 10¹⁴ cases. No model of 300 had fewer than 238."""


def draw_prompts(given: Given, draw: Draw, candidate: Candidate) -> list[list[int]]:
    """Prompts of the characters that the probe writes."""
    alphabet = candidate.probes.get(given["probe"]).facts["alphabet"]
    low, high = given["length"]
    lengths = [draw.integer(low, high) for _ in range(given["prompts"])]
    return [[alphabet[i] for i in draw.integers(length, 0, len(alphabet) - 1)] for length in lengths]


def ask_text_precision(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Greedy text is that of the claimed precision, whether or not anything else is shown. (NUM-10)

    Varies: length and content of the prompts.
    Compares: each character with the largest of the float64 reference's logits, on a model whose characters tell the
        signs of sums that any coarser arithmetic gets wrong.
    Bound: the margin of honest error. A choice that it leaves open does not count; what follows is judged on the one
        that was made. Figures: `decided`, how many counted; `lag`, how far a choice was from the first, in margins.
    """
    prompts = draw_prompts(given, draw, candidate)
    model = candidate.model(given["probe"])
    options = {"max_length": given["steps"], "temperature": 0}
    return {"prompts": prompts, "texts": [model.generate_text(bytes(ids).decode(), **options).text for ids in prompts]}


def judge_text_precision(given: Given, asked: Asked, reference: Reference) -> Finding:
    ids = [list(text.encode()) for text in asked["texts"]]
    return _judge(given, asked["prompts"], ids, "bytes of texts", reference)


def ask_ids_precision(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Greedy ids are those of the claimed precision, whether or not logits are shown. (NUM-10)

    Varies: length and content of the prompts.
    Compares: each id with the largest of the float64 reference's logits, on a model whose ids tell the signs of sums
        that any coarser arithmetic gets wrong.
    Bound: as of `text-precision`.
    """
    prompts = draw_prompts(given, draw, candidate)
    model = candidate.model(given["probe"])
    options = {"max_length": given["steps"], "temperature": 0}
    return {"prompts": prompts, "ids": [new_ids(model.generate_ids(ids, **options)) for ids in prompts]}


def judge_ids_precision(given: Given, asked: Asked, reference: Reference) -> Finding:
    return _judge(given, asked["prompts"], asked["ids"], "ids", reference)


def _judge(
    given: Given, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], label: str, reference: Reference
) -> Finding:
    """Whether greedy continuations are those of the claimed dtype, and enough of their choices count.

    Args:
        prompts: R lists of ids. answers: the new ids of each.
    """
    probe, findings, count, lag = given["probe"], [], 0, 0.0
    for i, (prompt, whole) in enumerate(zip(prompts, answers, strict=True)):
        row, ids = behind(reference, probe, prompt), whole[: given["steps"]]
        found = unlike_greedy(reference, probe, row.ids, ids, label=f"{label}[{i}]", beside=row.beside)
        findings += [told(found, f"{probe}, prompt {bytes(prompt).decode()!r}"), counted(whole, given["steps"])]
        if found.ok:
            more, behind_by = weighed(reference, probe, row.ids, ids, beside=row.beside)
            count, lag = count + more, max(lag, behind_by)
    found = worst([*findings, passed(decided=count, lag=lag)])
    if found.ok and count < LEAST:
        message = f"only {count} choices on {probe} are beyond the margin of {reference.claims.dtype}, {LEAST} must be"
        return Finding(state=State.INCONCLUSIVE, message=message, figures=found.figures)
    return found


check(
    "text-precision",
    ask_text_precision,
    judge_text_precision,
    needs=("load_model",),
    given={"probe": PROBE, "length": LENGTH, "steps": STEPS, "prompts": PROMPTS},
)

check(
    "ids-precision",
    ask_ids_precision,
    judge_ids_precision,
    needs=("load_model", "generate_ids"),
    given={"probe": PROBE, "length": LENGTH, "steps": STEPS, "prompts": PROMPTS},
)
