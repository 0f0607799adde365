"""What many failures of a run have in common, by what they say alone.

alike    many cases that got no answer for one and the same reason: an exception, a refusal, a malformed answer
holes    cases whose logits are NaN or infinite where numbers are due
wavering cases in which one question got two answers
against  answers of the candidate that have to agree and do not, where they are few
onset    the position from which on logits are wrong, where the rows of many cases agree on it
behind   wrong generation, where logits are right wherever they were measured
plain    a plain model that is wrong in its first digits
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmasos_conformance import killmatrix
from llmasos_conformance.verdict import State, two_ways, unanswered, wrong_positions

ALIKE = 3
"""So many cases without an answer, all for one reason, are told as one."""

AGREE = 0.75
"""So large a part of the rows with wrong logits must begin to be wrong at one position, else there is no such."""

ROWS = 3
"""And so many of them at least."""

MEASURED = 6
"""In so many cases logits must be right, and in none wrong, before a fault is looked for behind them. A judgement."""

BEHIND = frozenset({"GEN", "API", "STR", "GUM", "BEAM"})
"""Prefixes of the requirements on what is made of logits."""

KEPT = frozenset({"TRF-24", "CACHE-6"})
"""Requirements beside those of STATE that ask whether an answer depends on earlier requests."""

MANY = 10
"""With more failures than this, one fault is behind most of them."""

APART = 3
"""So many cases at most in which two answers do not agree tell what is wrong; more are wrong for a reason of their own.
A judgement."""

PLAIN = frozenset({"numerics.plain", "llama.numbers.plain", "bert.plain", "transformer.plain"})
"""Cases of the models that are built for no fault at all."""

FIRST_DIGITS = 1.5e6
"""Honest errors beyond which a plain model is wrong in its first digits. Of the known bugs those that read tensors
wrongly (heads, keys for values, gates, a lost tie) lie above it; below lie most wrong norms, biases, activations and
rotations, which leave a digit right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of one outcome.

    Attributes:
        case, requirement, state, message, figures: of the outcome. place: where the candidate's code raised, if that is
            known. wavered: whether the same question was answered rightly when it was asked again. anew: whether it
            was where nothing had been asked before.
    """

    case: str
    requirement: str = ""
    state: str
    message: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    place: str = ""
    wavered: bool = False
    anew: bool = False


# ── one reason, many cases ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Cases that got no answer for one and the same reason.

    Attributes:
        message, place: of the first; place is "" where it is not known. cases: in the order of the run.
    """

    message: str
    place: str
    cases: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {"message": self.message, "place": self.place, "cases": list(self.cases)}


def reason(message: str, place: str) -> str:
    """What is the same of two failures without an answer that have one reason.

    At one place of the code it is the kind of exception: its text may name an index. Where no place is known, it is the
    text without its numbers.
    """
    if place:
        return " ".join([*message.split(": ")[:2], place])
    return re.sub(r"\d+", "#", message)


def alike(outcomes: Iterable[Told]) -> list[Alike]:
    """Reasons for which many cases got no answer, the one of most cases first."""
    groups: dict[str, dict[str, Told]] = {}
    for each in outcomes:
        if each.state == State.FAIL and unanswered(each.message):
            groups.setdefault(reason(each.message, each.place), {}).setdefault(each.case, each)
    made = []
    for group in groups.values():
        first, *_ = group.values()
        if len(group) >= ALIKE:
            made.append(Alike(message=first.message, place=first.place, cases=list(group)))
    return sorted(made, key=lambda each: -len(each.cases))


# ── no numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────

_HOLE = re.compile(r"logits\b.*?\[[\d, ]+\] is (?:nan|-?inf),")


def holes(outcomes: Iterable[Told]) -> list[str]:
    """Failing cases in whose logits NaN or an infinity stands where a number is due, in the order of the run."""
    return list(dict.fromkeys(each.case for each in outcomes if each.state == State.FAIL and _HOLE.match(each.message)))


# ── other answers to the same question ──────────────────────────────────────────────────────────────────────────────


def asks_of_state(requirement: str) -> bool:
    """Whether a requirement is about answers that do not depend on earlier requests."""
    return requirement.partition("-")[0] == "STATE" or requirement in KEPT


def wavering(outcomes: Sequence[Told]) -> list[str]:
    """Cases in which one question got two answers, behind the case to begin with.

    Their wrong logits were right when they were asked for again, their ids were right where nothing had been asked
    before, or they ask whether answers depend on earlier requests and held the candidate's against each other. One that
    asks so comes first. Samples are left out: nobody expects them twice.
    """
    failed = [each for each in outcomes if each.state == State.FAIL]
    found = [
        each.case for each in failed if each.anew or (each.wavered and killmatrix.loudness(each.figures) is not None)
    ]
    asks = [each for each in failed if asks_of_state(each.requirement)]
    found += [each.case for each in asks if two_ways(each.message)]
    return list(dict.fromkeys([*(each.case for each in asks[:1]), *found])) if found else []


# ── answers that have to agree ──────────────────────────────────────────────────────────────────────────────────────


def against(outcomes: Sequence[Told]) -> list[str]:
    """Failing cases that hold two answers of the candidate against each other, where these are few of many failures.

    Where a hundred cases are wrong these tell most: whatever the weights and the arithmetic are, the two must agree.
    """
    failed = {each.case: each for each in outcomes if each.state == State.FAIL}
    found = [case for case, each in failed.items() if two_ways(each.message)]
    return found if len(found) <= APART and len(failed) > MANY else []


# ── from where on ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset:
    """The position, counted from 0, at which wrong logits begin.

    Attributes:
        rows: that begin there. of: rows with wrong logits, one of each failing case that says where.
        throughout: whether everything from there on is wrong in all of them.
    """

    position: int
    rows: int
    of: int
    throughout: bool

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {"position": self.position, "rows": self.rows, "of": self.of, "throughout": self.throughout}


def onset(outcomes: Iterable[Told]) -> Onset | None:
    """Where wrong logits begin; None if failing cases do not agree on it, or are few."""
    rows = {
        each.case: said
        for each in outcomes
        if each.state == State.FAIL and (said := wrong_positions(each.message)) is not None
    }
    if len(rows) < ROWS:
        return None
    ((position, count),) = Counter(said.first for said in rows.values()).most_common(1)
    if count < AGREE * len(rows):
        return None
    throughout = all(said.wrong == said.of - said.first for said in rows.values() if said.first == position)
    return Onset(position=position, rows=count, of=len(rows), throughout=throughout)


# ── behind the logits ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """Generation is wrong, and logits are right.

    Attributes:
        measured: cases that measured logits and passed. wrong: cases of generation with a wrong answer. begin: the
            first of those that hold each id to the logits before it; empty where these are right. kept: the first that
            asks whether earlier requests change answers, where that is wrong and most ids are right; then it is begun
            with.
        rows: those of them that say which new id is the first wrong one. at_first, at_second: those in which it
            is the first, which comes of the prompt alone, or the second, which comes of the first that was fed back.
    """

    measured: int
    wrong: int
    begin: str = ""
    kept: str = ""
    rows: int = 0
    at_first: int = 0
    at_second: int = 0

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "measured": self.measured, "wrong": self.wrong, "begin": self.begin, "kept": self.kept,
            "rows": self.rows, "at_first": self.at_first, "at_second": self.at_second,
        }  # fmt: skip


_WRONG_ID = re.compile(r"(?:ids|bytes)\b[^:]*?\[(?P<step>\d+)\] is \d+, \d+ was due")
"""What a case says that holds ids to the logits before them: the last index is that of the new id."""


def behind(outcomes: Iterable[Told]) -> Behind | None:
    """Whether a fault is in what is made of logits; None where logits are wrong, or too few of either were asked."""
    given = [each for each in outcomes if each.state in (State.PASS, State.FAIL) and not unanswered(each.message)]
    failed = [each for each in given if each.state == State.FAIL]
    measured = {each.case for each in given if killmatrix.loudness(each.figures) is not None}
    # Of logits that are no numbers, or of another shape, nothing is measured, and they are wrong all the same.
    off = any(each.case in measured or each.message.startswith("logits") for each in failed)
    wrong = {each.case: each for each in failed if each.requirement.partition("-")[0] in BEHIND}
    if off or len(measured) < MEASURED or len(wrong) < ALIKE:
        return None
    begin = next((case for case, each in wrong.items() if each.requirement == "GEN-1"), "")
    asked = {each.case for each in given if each.requirement == "GEN-1"}
    kept = next((each.case for each in failed if each.requirement.partition("-")[0] == "STATE"), "")
    if kept and 2 * len(asked & wrong.keys()) < len(asked):
        begin = kept
    else:
        kept = ""
    steps = Counter(int(found["step"]) for each in wrong.values() if (found := _WRONG_ID.search(each.message)))
    return Behind(
        measured=len(measured), wrong=len(wrong), begin=begin, kept=kept, rows=steps.total(), at_first=steps[0],
        at_second=steps[1],
    )  # fmt: skip


# ── in the first digits ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A model with nothing special is wrong in its first digits.

    Attributes:
        case: that asks it. ratio: its error in honest errors.
    """

    case: str
    ratio: float

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {"case": self.case, "ratio": self.ratio}


def plain(outcomes: Iterable[Told], begins: Onset | None) -> Plain | None:
    """The plain model that is wrong in its first digits, the loudest one.

    Args:
        begins: where wrong logits begin. Where the first position is right, so are the tensors that it is made of.
    """
    if begins is not None and begins.position > 0:
        return None
    off = {each.case: ratio for each in outcomes if each.case in PLAIN and (ratio := _ratio(each)) >= FIRST_DIGITS}
    loudest = max(off, key=lambda case: off[case], default="")
    return Plain(case=loudest, ratio=off[loudest]) if loudest else None


def _ratio(told: Told) -> float:
    """By how many honest errors failing logits are off; NaN is the loudest, and 0 is nothing measured."""
    ratio = told.figures.get("ratio", 0.0)
    if told.state != State.FAIL or unanswered(told.message):
        return 0.0
    return math.inf if math.isnan(ratio) else ratio
