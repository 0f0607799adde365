"""What is asked of a bundle that somebody gives and that no case can know beforehand: its text.

Expected is what the reference answers of the same bundle; where it refuses, the same refusal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmasos_conformance.candidate import Refused, refusal_of
from llmasos_conformance.checks import Asked, Given, check
from llmasos_conformance.checks.rows import LENGTH, PROBE, draw_ids
from llmasos_conformance.checks.text import any_text, points
from llmasos_conformance.verdict import Finding, failed, passed

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Candidate
    from llmasos_conformance.inputs import Draw
    from llmasos_conformance.reference import Reference

TEXTS = {"type": "array", "items": {"type": "string"}, "default": [], "description": "texts beside the drawn ones"}
DRAWN = 4
"""Texts that are drawn beside those of the case."""


def _shown(answer: Any) -> str:
    if isinstance(answer, Refused):
        return answer.code
    return points(answer) if isinstance(answer, str) else f"{answer!s:.80}"


def _unlike(what: str, got: Any, due: Any) -> Finding | None:
    """A failure if the candidate's answer is not the reference's."""
    if got == due:
        return None
    return failed(f"{what} gave {_shown(got)}, {_shown(due)} was due", expected=_shown(due), got=_shown(got))


def ask_same_ids(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """A text has the ids that the bundle's own tokenizer gives it.

    Varies: the texts beside those of the case.
    Compares: ids, or the refusal, with those of the reference of the same bundle.
    Bound: none, they are equal or they are not.
    """
    texts = [*given["texts"], *(any_text(draw) for _ in range(DRAWN))]
    model = candidate.model(given["probe"])
    return {"texts": texts, "ids": [refusal_of(model.tokenize, text) for text in texts]}


def judge_same_ids(given: Given, asked: Asked, reference: Reference) -> Finding:
    model = reference.model(given["probe"])
    for text, got in zip(asked["texts"], asked["ids"], strict=True):
        if wrong := _unlike(f"text {points(text)}", got, refusal_of(model.tokenize, text)):
            return wrong
    return passed()


check(
    "same-ids",
    ask_same_ids,
    judge_same_ids,
    needs=("load_model", "tokenize"),
    given={"probe": PROBE, "texts": TEXTS},
)


def ask_same_text(given: Given, draw: Draw, candidate: Candidate) -> Asked:
    """Ids have the text that the bundle's own tokenizer gives them.

    Varies: number and content of the ids.
    Compares: the text, or the refusal, with that of the reference of the same bundle.
    Bound: none, they are equal or they are not.
    """
    rows = [draw_ids(draw, candidate, given["probe"], given["length"]) for _ in range(DRAWN)]
    model = candidate.model(given["probe"])
    return {"rows": rows, "texts": [refusal_of(model.detokenize, row) for row in rows]}


def judge_same_text(given: Given, asked: Asked, reference: Reference) -> Finding:
    model = reference.model(given["probe"])
    for row, got in zip(asked["rows"], asked["texts"], strict=True):
        if wrong := _unlike(f"ids {row!s:.80}", got, refusal_of(model.detokenize, row)):
            return wrong
    return passed()


check(
    "same-text",
    ask_same_text,
    judge_same_text,
    needs=("load_model", "tokenize"),
    given={"probe": PROBE, "length": LENGTH},
)
