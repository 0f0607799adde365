"""Many failures, few causes: which known bugs fail as this candidate does.

One broken primitive fails a hundred cases. The kill matrix knows which cases every documented bug fails; a candidate
whose failures are those of one of them has, very likely, that bug or one beside it. Bugs are taken one after the other:
each must fail little that the candidate passes, and the one that explains most of what is left comes first. What no
known bug explains is said too. This is a reading aid: no verdict rests on it.

Source: a fault dictionary, as circuits are diagnosed with; the cover is the greedy one. The thresholds are judgement;
how often the first cause is the right one with them is what `bench/likely_causes.py` prints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean, median
from typing import Any

from llmasos_conformance import killmatrix
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.killmatrix import KillMatrix, Row
from llmasos_conformance.verdict import State, unanswered

FAITHFUL = 0.75
"""So large a part of what a known bug fails must fail here too, else the bug is not there."""

BESIDE = 0.9
"""Known bugs that explain at least this part of what the likeliest does are named beside it."""

LEAST = 0.3
"""A known bug less alike than this says nothing."""

NAMED = 3
"""Known bugs that a cause names at most."""

CAUSES = 4
"""Causes that are told apart at most: after that, what is left is one heap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of one case that has a verdict.

    Attributes:
        passed: or failed. loud: see `killmatrix.loudness`.
    """

    passed: bool
    loud: float | None = None


def seen(verdicts: Iterable[tuple[str, str, str, Mapping[str, float]]]) -> dict[str, Seen]:
    """Cases that passed or failed; one that did both has failed. What was not answered resembles no wrong answer.

    Args:
        verdicts: case, state, message and figures of each outcome.
    """
    made: dict[str, Seen] = {}
    for case, state, message, figures in verdicts:
        if state not in (State.PASS, State.FAIL) or unanswered(message):
            continue
        if case not in made or state == State.FAIL:
            made[case] = Seen(passed=state == State.PASS, loud=killmatrix.loudness(figures))
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One likely cause of failures.

    Attributes:
        requirement: that the bug breaks. begin: the failing cases of this requirement, or the first that failed.
        bugs: known bugs that fail like this, the likeliest first.
        explains: failing cases that follow from it, itself among them.
        likeness: cases failed by both, of those failed by either, 0 to 1, of the likeliest bug; among cases that both
            were asked and that no earlier cause explains.
    """

    requirement: str
    begin: Sequence[str]
    bugs: Sequence[Row]
    explains: Sequence[str]
    likeness: float

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "requirement": self.requirement,
            "begin": list(self.begin),
            "bugs": [{"name": row.name, "source": row.source, "bug": row.bug} for row in self.bugs],
            "explains": list(self.explains),
            "likeness": round(self.likeness, 2),
        }


@dataclass(frozen=True, slots=True)
class _Fit:
    row: Row
    explains: frozenset[str]
    likeness: float


def causes(outcomes: Mapping[str, Seen], matrix: KillMatrix) -> tuple[list[Cause], list[str]]:
    """Likely causes of the failures of a run.

    Args:
        outcomes: cases with a verdict. matrix: known bugs.

    Returns:
        Causes, the one that explains most first, and the failing cases that none explains.
    """
    failed = [case for case, seen in outcomes.items() if not seen.passed]
    left, found = list(failed), list[Cause]()
    while left and len(found) < CAUSES:
        fits = _fits(matrix.mutants, outcomes, frozenset(left))
        if not fits:
            break
        best = max(fits, key=lambda fit: (len(fit.explains) * fit.likeness, fit.likeness))
        near = [fit for fit in fits if _close(fit, best)]
        near.sort(key=lambda fit: -fit.likeness)
        explains = [case for case in left if case in best.explains]
        own = [case for case in explains if matrix.columns[case].requirement == best.row.expected]
        found.append(
            Cause(
                requirement=best.row.expected, begin=own or explains[:1],
                bugs=[best.row, *(fit.row for fit in near if fit is not best)][:NAMED],
                explains=explains, likeness=best.likeness,
            )
        )  # fmt: skip
        left = [case for case in left if case not in best.explains]
    return found, left


def _fits(rows: Sequence[Row], outcomes: Mapping[str, Seen], left: frozenset[str]) -> list[_Fit]:
    """Known bugs that may be behind what is left, and what each explains."""
    fits = []
    for row in rows:
        both = outcomes.keys() & row.failed.keys()
        shown = {case for case in both if not outcomes[case].passed}
        explains = frozenset(shown & left)
        if not explains or len(shown) < FAITHFUL * len(both):
            continue
        if row.expected not in {row.failed[case] for case in explains}:
            continue  # what the bug breaks first of all is not broken here
        asked = left & {*row.asked}
        likeness = len(explains) / len(asked | (both - shown) | explains) * _as_loud(row, outcomes, explains)
        if likeness >= LEAST:
            fits.append(_Fit(row, explains, likeness))
    return fits


def _as_loud(row: Row, outcomes: Mapping[str, Seen], cases: Collection[str]) -> float:
    """How well the errors of a known bug go up and down with those of the candidate, 0 to 1.

    The size of a fault is its own; which models make it loud is of its kind. So what counts is how far the ratios
    between both scatter about their median, in powers of two, and in how many cases both or neither measured an error.
    """
    ratios, alike = list[float](), 0
    for case in cases:
        here, there = outcomes[case].loud, row.loud.get(case)
        if here is not None and there is not None:
            ratios.append(there - here)
        alike += (here is None) == (there is None)
    scatter = 0.0
    if len(ratios) > 1:
        middle = median(ratios)
        scatter = mean(abs(ratio - middle) for ratio in ratios)
    return alike / len(cases) / (1 + scatter)


def _close(fit: _Fit, best: _Fit) -> bool:
    return len(fit.explains & best.explains) >= BESIDE * len(best.explains) and fit.likeness >= BESIDE * best.likeness


@cache
def known() -> KillMatrix | None:
    """The published kill matrix that is installed; None if there is none, or none that can be read."""
    path = killmatrix.find()
    try:
        return None if path is None else killmatrix.read(path)
    except SuiteError:  # an aid for reading stops no run and loses no report
        return None


def likely(outcomes: Mapping[str, Seen]) -> tuple[list[Cause], list[str]]:
    """`causes` by the published matrix; none without one."""
    matrix = known()
    return causes(outcomes, matrix) if matrix else ([], [case for case, seen in outcomes.items() if not seen.passed])


def bugs_of(case: str, requirement: str) -> list[str]:
    """Known bugs that break a requirement and fail a case of it, those that fail least else first; in words."""
    matrix = known()
    rows = [row for row in matrix.mutants if row.expected == requirement and case in row.failed] if matrix else []
    return [f"{row.bug} ({row.source})" for row in sorted(rows, key=lambda row: len(row.failed))[:NAMED]]


def told(
    found: Sequence[Cause], rest: Collection[str], sentences: Mapping[str, Mapping[str, str]], lang: str = "en"
) -> list[str]:
    """Causes in words, a few lines each.

    Args:
        sentences: requirement -> its sentence, "en" and "zh". lang: of what is said.
    """
    lines = []
    for number, cause in enumerate(found, 1):
        of, bug = len(cause.explains), cause.bugs[0]
        sentence = sentences.get(cause.requirement, {}).get(lang, "").strip().rstrip(".。")
        names = ", ".join(f"{row.name} ({row.source})" for row in cause.bugs)
        if lang == "zh":
            lines += [
                f"可能的原因 {number}：{cause.requirement} {sentence}".rstrip(),
                f"  可解释 {of} 个未通过的用例；其失败方式与已知缺陷相似（相似度 {cause.likeness:.2f}）：{names}",
                f"  {bug.bug}",
                f"  先看 {cause.begin[0]}",
            ]
        else:
            failures = "1 failure" if of == 1 else f"{of} failures"
            lines += [
                f"likely cause {number}: {cause.requirement} {sentence}".rstrip(),
                f"  explains {failures}; they are those of known bugs (likeness {cause.likeness:.2f}): {names}",
                f"  {bug.bug}",
                f"  begin with {cause.begin[0]}",
            ]
    if rest and found:
        shown = ", ".join(list(rest)[:3]) + (f" … ({len(rest)})" if len(rest) > 3 else "")
        lines.append(f"没有已知缺陷能解释：{shown}" if lang == "zh" else f"explained by no known bug: {shown}")
    return lines
