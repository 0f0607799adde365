"""What questions and judges of numbers, attention, state and greedy choice have in common. No checks live here.

    draw_ids        ids for a probe
    text_of         what a probe was trained on
    new_ids         ids of an answer
    against_truth   a row of logits and the float64 reference
    against_itself  two answers of one candidate to the same question
    swapped         a failure, and whether the answer was due to another row
    unlike_greedy   ids and the greedy choice of the reference
    weighed         how many greedy choices leave nothing open, and how far others were from the first
    same_choice     two lists of ids that should be the same greedy choice

Greedy ids are judged with a margin: where two logits of the reference lie so close that an equal computation may order
them the other way, either id is right. What follows is then judged on the id that was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance import numerics
from llmasos_conformance.inputs import sequence
from llmasos_conformance.probes import GIVEN
from llmasos_conformance.protocol import DETERMINISM, Array, Generation
from llmasos_conformance.reference import NOTHING, Beside
from llmasos_conformance.verdict import TWO_WAYS, Finding, WrongPositions, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

PROBE = {"type": "string", "description": "name of the probe model"}
LENGTH = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1},
    "minItems": 2,
    "maxItems": 2,
    "description": "smallest and largest number of ids",
}
STEPS = {"type": "integer", "minimum": 1, "description": "tokens to generate"}
PROMPTS = {"type": "integer", "minimum": 1, "description": "prompts, each a request of its own"}

# ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def vocabulary(candidate: Candidate, probe: str) -> int:
    """V of a probe."""
    return int(candidate.probes.get(probe).config["vocab_size"])


def draw_ids(draw: Draw, candidate: Candidate, probe: str, length: Sequence[int]) -> list[int]:
    """Ids for a probe, part of its text if it has one; `length` holds the smallest and the largest number."""
    low, high = length
    text = text_of(candidate, probe).encode()
    if not text:
        return sequence(draw, (low, high), vocabulary(candidate, probe))
    count = draw.integer(low, high)
    start = draw.integer(0, len(text) - count)
    return list(text[start : start + count])


def text_of(candidate: Candidate, probe: str) -> str:
    """What a probe was trained on; "" of one that was not."""
    return str(candidate.probes.get(probe).facts.get("text", ""))


def draw_other(draw: Draw, token: int, V: int) -> int:
    """An id that is not `token`."""
    return (token + draw.integer(1, V - 1)) % V


def new_ids(generation: Generation) -> list[int]:
    """The ids that came."""
    return list(generation.ids or ())


# ── judges ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def told(finding: Finding, when: str) -> Finding:
    """A finding whose message says in which situation it was made."""
    return replace(finding, message=f"{finding.message} ({when})") if finding.message and when else finding


def claims_at_least(reference: Reference, level: str) -> bool:
    """Whether the candidate claims this level of determinism or a higher one."""
    return DETERMINISM.index(reference.claims.determinism) >= DETERMINISM.index(level)


def against_truth(
    reference: Reference,
    probe: Any,
    ids: Sequence[int],
    got: Array,
    *,
    label: str = "logits",
    when: str = "",
    row: int | None = None,
    beside: Beside = NOTHING,
) -> Finding:
    """Whether logits are the reference's; a failure says at how many positions they are not.

    Args:
        probe: name, or a bundle in the reference's library. ids: T ids. got: [T, V].
        when: situation, for the message. row: index in a batch, for the message.
        beside: source or token types of the row.
    """
    truth, honest = reference.logits(probe, ids, beside), reference.honest_logits(probe, ids, beside)
    dtype = reference.claims.dtype
    finding = numerics.judge_logits(label, got, truth, honest, dtype, row=row)
    if not finding.ok and got.shape == truth.shape and len(truth) > 1:
        at = np.flatnonzero(numerics.wrong_positions(got, truth, honest, dtype))
        if at.size:
            places = WrongPositions(wrong=at.size, of=len(truth), first=int(at[0]))
            finding = replace(finding, message=f"{finding.message}; {places}")
    return told(finding, when)


def against_itself(
    reference: Reference,
    probe: Any,
    ids: Sequence[int],
    a: Array,
    b: Array,
    *,
    label: str = "logits",
    when: str = "",
    row: int | None = None,
    bitwise: bool = False,
    beside: Beside = NOTHING,
) -> Finding:
    """Whether two answers of a candidate to the first T of `ids` are the same.

    Args:
        ids: at least T ids. a, b: [T, V]; b is what a should be.
        bitwise: the candidate that claims D3 is held to equal bits here.
    """
    T = len(b)
    truth = reference.logits(probe, ids, beside)[:T]
    honest = [computation[:T] for computation in reference.honest_logits(probe, ids, beside)]
    finding = numerics.judge_same(label, a, b, truth, honest, reference.claims.dtype, row=row)
    if finding.ok and bitwise and claims_at_least(reference, "D3") and not np.array_equal(a, b):
        at = [int(i) for i in np.argwhere(np.asarray(a) != np.asarray(b))[0]]
        place = at if row is None else [row, *at]
        message = f"{label}{place} differs in its bits, and D3 is claimed"
        return told(failed(message, expected="equal bits", got="other bits", **finding.figures), when)
    return told(finding, when)


def swapped(
    reference: Reference, probe: Any, rows: Sequence[Sequence[int]], i: int, got: Array, finding: Finding
) -> Finding:
    """A failure about row i of a batch that also says so if the answer is the one that another row was due.

    Args:
        rows: ids of the batch as it was asked. got: [T, V], the answer at place i.
    """
    if finding.ok:
        return finding
    others = (j for j, row in enumerate(rows) if j != i and len(row) == len(got))
    j = next((j for j in others if against_truth(reference, probe, rows[j], got).ok), None)
    return finding if j is None else replace(finding, message=f"{finding.message}; row {i} came as row {j}")


def unlike_greedy(
    reference: Reference,
    probe: str,
    prompt: Sequence[int],
    ids: Sequence[int],
    *,
    label: str = "ids",
    slack: float = 0.0,
    beside: Beside = NOTHING,
) -> Finding:
    """Whether each id has the largest logit behind what came before it, and is the lowest of those that equal it.

    Judged on the candidate's own ids, so that one doubtful choice does not end the comparison.

    Args:
        prompt: ids that were given. ids: ids that came.
        slack: a gap below which the other id may have been drawn, added to the margin of numerics.
    """
    if not ids:
        return passed()
    whole, first = [*prompt, *ids[:-1]], len(prompt) - 1
    truth, honest = reference.logits(probe, whole, beside), reference.honest_logits(probe, whole, beside)
    V = truth.shape[-1]
    margin = numerics.margin(truth, honest, reference.claims.dtype) + slack
    for i, token in enumerate(ids):
        if not 0 <= token < V:
            message = f"{label}[{i}] is {token}, ids end at {V - 1}"
            return failed(message, expected=f"0 … {V - 1}", got=token)
        logits = truth[first + i]
        best = int(np.argmax(logits))
        gap = float(logits[best] - logits[token])
        if gap > margin:
            message = (
                f"{label}[{i}] is {token}, {best} was due: its logit is larger by {gap:.3g}, "
                f"and honest {reference.claims.dtype} error reaches {margin:.3g}"
            )
            return failed(message, expected=best, got=token)
        lowest = int(np.flatnonzero(logits == logits[token])[0])
        # Only a probe has logits that are equal in every order of computation; of a model of somebody's own that two
        # rows are the same does not make their products so.
        if lowest != token and probe not in GIVEN.values():
            message = f"{label}[{i}] is {token}, {lowest} was due: their logits are equal and the lowest id wins"
            return failed(message, expected=lowest, got=token)
    return passed()


def weighed(
    reference: Reference, probe: str, prompt: Sequence[int], ids: Sequence[int], *, beside: Beside = NOTHING
) -> tuple[int, float]:
    """How many of these choices no honest computation makes otherwise, and how far from it the others were.

    Args:
        prompt: ids that were given. ids: ids that came, all of the vocabulary.

    Returns:
        Choices at which the largest logit leads by more than the margin; and the most that the logit of a chosen id
        lies below the largest, in margins.
    """
    if not ids:
        return 0, 0.0
    whole, first = [*prompt, *ids[:-1]], len(prompt) - 1
    truth, honest = reference.logits(probe, whole, beside), reference.honest_logits(probe, whole, beside)
    margin, logits = numerics.margin(truth, honest, reference.claims.dtype), truth[first:]
    second, largest = np.partition(logits, -2, axis=-1)[:, -2:].T
    lag = np.max(largest - logits[np.arange(len(ids)), ids])
    return int(np.sum(largest - second > margin)), float(lag) / margin


def same_choice(
    reference: Reference,
    probe: str,
    prompt: Sequence[int],
    got: Sequence[int],
    due: Sequence[int],
    *,
    label: str = "ids",
    when: str = "",
    exact: bool = False,
    beside: Beside = NOTHING,
) -> Finding:
    """Whether two greedy continuations of a prompt are the same up to the first choice that decides nothing.

    Args:
        got, due: ids that came in two ways.
        exact: no choice is doubtful, because the claimed determinism leaves none.
    """
    for i, (token, other) in enumerate(zip(got, due, strict=False)):
        if token == other:
            continue
        message = f"{label}[{i}] is {token}, {other} {TWO_WAYS}"
        if exact:
            level = reference.claims.determinism
            return told(failed(f"{message}, and {level} is claimed", expected=other, got=token), when)
        before = [*prompt, *due[:i]]
        truth, honest = reference.logits(probe, before, beside), reference.honest_logits(probe, before, beside)
        margin = numerics.margin(truth, honest, reference.claims.dtype)
        logits = truth[-1]
        known = [t for t in (token, other) if 0 <= t < len(logits)]
        gap = max((float(logits.max() - logits[t]) for t in known), default=np.inf)
        if len(known) == 2 and gap <= margin:
            return passed()
        text = f"{message}, and their logits are not so close that both are right"
        return told(failed(text, expected=other, got=token), when)
    if len(got) != len(due):
        message = f"{label} has {len(got)} ids, {len(due)} {TWO_WAYS}"
        return told(failed(message, expected=len(due), got=len(got)), when)
    return passed()


def counted(ids: Sequence[int], due: int, label: str = "ids", ends: Sequence[int] = ()) -> Finding:
    """Whether as many ids came as were asked for, or fewer of which the last ends the sequence.

    Args:
        ends: end-of-sequence ids of the probe.
    """
    early = [i for i, token in enumerate(ids[:due]) if token in ends]
    if early:
        due = early[0] + 1
    if len(ids) == due:
        return passed()
    message = f"{label} has {len(ids)} ids, {due} were due"
    return failed(message, expected=due, got=len(ids))
