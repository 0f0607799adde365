"""Whether a candidate computes with the weights of the file, or with fewer digits of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmasos_conformance import fingerprints
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.beside import ROW, answered, draw_row
from llmasos_conformance.checks.rows import told
from llmasos_conformance.fingerprints import LIKENESS, NEGLIGIBLE
from llmasos_conformance.verdict import Finding, failed, passed

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
