"""Windows: what is out of reach has no influence, and where nothing else is in reach, only distances count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmasos_conformance import numerics
from llmasos_conformance.candidate import Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.bundles import DOCUMENT, config, document, few_ids
from llmasos_conformance.checks.rows import LENGTH, PROBE, against_truth, draw_ids, draw_other, told, vocabulary
from llmasos_conformance.numerics import worst
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.probes import Probe
    from llmasos_conformance.protocol import Array
    from llmasos_conformance.reference import Reference


def reach(probe: Probe) -> int:
    """How far back a token can still move a position's logits: in each layer by one less than the window."""
    return int(probe.config["num_layers"]) * (int(probe.config["sliding_window"]) - 1)


def ask_out_of_reach(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """What is further back than all windows together does not move a position, and may be left away. (LLAMA-17)

    Varies: length and content of the row, and the tokens out of reach.
    Compares: the candidate with itself: the end of a row, of the row with everything out of its reach changed, and of
        what is left when that is cut off, where all positions are smaller.
    Bound: honest error of the claimed dtype, √2 times.
    """
    ids = draw_ids(draw, candidate, given["probe"], given["length"])
    first = reach(candidate.probes.get(given["probe"])) + given["more"]  # the first position that is compared
    out = first - reach(candidate.probes.get(given["probe"]))
    V, model = vocabulary(candidate, given["probe"]), candidate.model(given["probe"])
    changed = [*(draw_other(draw, token, V) for token in ids[:out]), *ids[out:]]
    rows = (ids, changed, ids[out:])
    return {"ids": ids, "out": out, "first": first, "logits": [model.forward([row])[0] for row in rows]}


def judge_out_of_reach(given: Given, asked: Asked, reference: Reference) -> Finding:
    probe, ids, out, first = given["probe"], asked["ids"], asked["out"], asked["first"]
    whole, changed, rest = asked["logits"]
    truth = reference.logits(probe, ids)[first:]
    honest = [computation[first:] for computation in reference.honest_logits(probe, ids)]

    def same(got: Array, when: str) -> Finding:
        label = f"logits of the last {len(ids) - first} positions,"
        return told(numerics.judge_same(label, got, whole[first:], truth, honest, reference.claims.dtype), when)

    return worst(
        [
            same(changed[first:], f"the first {out} of {len(ids)} tokens, which are out of reach, changed"),
            same(rest[first - out :], f"the first {out} of {len(ids)} tokens, which are out of reach, left away"),
            against_truth(reference, probe, ids, whole, when=f"{probe}, {len(ids)} ids"),
        ]
    )


MORE = {"type": "integer", "minimum": 1, "default": 1, "description": "tokens that are out of reach of all compared"}

check(
    "out-of-reach",
    ask_out_of_reach,
    judge_out_of_reach,
    needs=("load_model", "forward", "window"),
    given={"probe": PROBE, "length": LENGTH, "more": MORE},
)


def ask_window_or_no(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A document with a window is followed by a candidate that declares windows, and refused by every other.

    Varies: the ids.
    Compares: the logits with the float64 reference, or the code of the refusal with unsupported.
    Bound: honest error of the claimed dtype.
    """
    edits = given["document"]
    bundle = candidate.probes.write(document(edits), None)
    ids = few_ids(draw, config(edits))
    declared = "window" in candidate.description.capabilities
    got = refusal_of(candidate.model, bundle)
    if isinstance(got, Refused) or not declared:
        return {"ids": ids, "declared": declared, "code": got.code if isinstance(got, Refused) else "loaded"}
    return {"ids": ids, "declared": declared, "code": "loaded", "logits": got.forward([ids])[0]}


def judge_window_or_no(given: Given, asked: Asked, reference: Reference) -> Finding:
    due = "loaded" if asked["declared"] else "unsupported"
    if asked["code"] != due:
        said = "declares windows" if asked["declared"] else "declares no windows"
        message = f"a document with a window: {asked['code']}, {due} was due of a candidate that {said}"
        return failed(message, expected=due, got=asked["code"])
    if not asked["declared"]:
        return passed()
    bundle = reference.probes.write(document(given["document"]), None)
    return against_truth(reference, bundle, asked["ids"], asked["logits"], when="a document with a window")


check(
    "window-or-refused",
    ask_window_or_no,
    judge_window_or_no,
    needs=("load_model", "forward"),
    given={"document": DOCUMENT},
)
