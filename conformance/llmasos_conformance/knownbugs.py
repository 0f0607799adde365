"""Known bugs that fail as a candidate does, by the kill matrix.

One broken primitive fails a hundred cases. The kill matrix knows which cases every documented bug fails; a candidate
whose failures are those of one of them has, likely, that bug or one beside it: a bug must fail little that the
candidate passes, and the one that explains most is told. What resembles too little to be right more often than not is
not told, or named as no more than possible.

Source: a fault dictionary, as circuits are diagnosed with. How often a cause is the right one, by its likeness, is what
`bench/likely_causes.py` prints; TELLING and SAME follow from it, the other thresholds are judgement.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean, median
from typing import Any

from llmasos_conformance import killmatrix
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.killmatrix import KillMatrix, Row
from llmasos_conformance.verdict import unanswered

FAITHFUL = 0.75
"""So large a part of what a known bug fails must fail here too, else the bug is not there."""

BESIDE = 0.9
"""Known bugs that explain at least this part of what the likeliest does are named beside it."""

LEAST = 0.3
"""A known bug less alike than this does not compete."""

TELLING = 0.8
"""A cause less alike than this is not told. By `bench/likely_causes.py`, each mutant against the matrix of all others,
it names the requirement that is broken in more than half of the readings in every band of likeness from here on (217
of 285 together), and in less than half of those below (146 of 372). Of the causes that are told 212 of 248 are right,
and of candidates with two bugs they name one of the two in 37 of 57 readings."""

SAME = 0.9
"""Where no cause is told, a known bug that fails this part of the same cases at least is named as a possible one,"""

BROAD = 10
"""if so many cases fail by it, or if nothing else fails: rotations, masks and norms that are wrong in different ways
fail the same models, each as loudly as it likes."""

NEARLY = 0.95
"""Bugs that are named as possible break one requirement; those that fail this part of the same cases may break several
of one chapter. By the same bench it is that requirement in 35 of 60 readings, and its chapter in 57."""

CHOSEN = frozenset({"GEN", "ACT", "NUM", "STATE"})
"""Prefixes of requirements that are also asked by what was chosen, where no logits are shown."""

ASKED = 10
"""With fewer verdicts than this, and fewer failures than FEW, no cause is told: whoever repeats one failure compares it
with nothing."""

FEW = 3
"""A cause that explains fewer failures is told only if nothing else failed, and if the known bug fails no more cases:
one failure that many bugs share tells them not apart. A judgement, as is the next."""

PART = 0.25
"""A cause explains at least this part of the failures: what explains one of fourteen leads away from others."""

NAMED = 3
"""Known bugs that a cause names at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of one case that has a verdict.

    Attributes:
        passed: or failed. loud: see `killmatrix.loudness`.
    """

    passed: bool
    loud: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One likely cause of failures.

    Attributes:
        requirement: that the bug breaks. begin: the failing cases of this requirement, or the first that failed.
        bugs: known bugs that fail like this, the likeliest first.
        same: of each of them, cases failed by both, of those failed by either, 0 to 1; among cases that both were
            asked, and as `_fits` counts them.
        explains: failing cases that follow from it, itself among them.
        likeness: the same of the likeliest, less where its errors are not loud and quiet in the same cases; see
            `_as_loud`.
    """

    requirement: str
    begin: Sequence[str]
    bugs: Sequence[Row]
    same: Sequence[float]
    explains: Sequence[str]
    likeness: float

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "requirement": self.requirement,
            "begin": list(self.begin),
            "bugs": [
                {"name": row.name, "source": row.source, "bug": row.bug, "same": round(same, 2)}
                for row, same in zip(self.bugs, self.same, strict=True)
            ],
            "explains": list(self.explains),
            "likeness": round(self.likeness, 2),
        }


@dataclass(frozen=True, slots=True)
class _Fit:
    row: Row
    explains: frozenset[str]
    same: float
    likeness: float


def cause(outcomes: Mapping[str, Seen], matrix: KillMatrix) -> Cause | None:
    """What most failures of a run would follow from, by the known bug that fails most like it.

    There is one at most: what is left of the failures, when a bug has explained most of them, are its own echoes more
    often than a second bug (of causes behind the first, 19 of 24 were wrong). That one shows when the first is mended.

    Args:
        outcomes: cases with a verdict. matrix: known bugs.
    """
    failed = [case for case, seen in outcomes.items() if not seen.passed]
    fits = _fits(matrix, outcomes, frozenset(failed))
    if not fits:
        return None
    best = max(fits, key=lambda fit: (len(fit.explains) * fit.likeness, fit.likeness))
    near = [fit for fit in fits if _close(fit, best)]
    near.sort(key=lambda fit: -fit.likeness)
    explains = [case for case in failed if case in best.explains]
    own = [case for case in explains if matrix.columns[case].requirement == best.row.expected]
    named = [best, *(fit for fit in near if fit is not best)][:NAMED]
    return Cause(
        requirement=best.row.expected, begin=own or explains[:1], bugs=[fit.row for fit in named],
        same=[fit.same for fit in named], explains=explains, likeness=best.likeness,
    )  # fmt: skip


def _fits(matrix: KillMatrix, outcomes: Mapping[str, Seen], failed: frozenset[str]) -> list[_Fit]:
    """Known bugs that may be behind the failures, and what each explains.

    Where logits are off in many cases, ids and texts follow from them, and which of them are wrong is luck: it depends
    on how close two logits are in what was drawn. All of these count as one then.
    """
    wide = sum(outcomes[case].loud is not None for case in failed) >= BROAD

    def unit(case: str, *, measured: bool) -> str:
        follows = wide and not measured and matrix.columns[case].requirement.partition("-")[0] in CHOSEN
        return "" if follows else case

    here = {case: unit(case, measured=outcomes[case].loud is not None) for case in failed}
    fits = []
    for row in matrix.mutants:
        both = outcomes.keys() & row.failed.keys()
        there = {unit(case, measured=case in row.loud) for case in both}
        explains = frozenset(case for case in failed if here[case] in there)
        shown = {here[case] for case in explains}
        if not explains & row.failed.keys() or len(shown) < FAITHFUL * len(there):
            continue
        own = {case for case in both if row.failed[case] == row.expected}
        if not own & explains and (own or len(explains) < BROAD):
            continue  # what the bug breaks first of all is not broken here; where it was not asked, many must agree
        same = len(shown) / len({here[case] for case in failed & {*row.asked}} | there)
        likeness = same * _as_loud(row, outcomes, explains & row.failed.keys())
        if likeness >= LEAST:
            fits.append(_Fit(row, explains, same, likeness))
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


def worth_telling(cause: Cause, failures: int, silent: int = 0, asked: int = ASKED) -> bool:
    """Whether a cause is right more often than not; see TELLING, FEW, ASKED and PART.

    Args:
        failures: how many cases failed by a wrong answer. silent: by none. asked: how many have a verdict.
    """
    explains = len(cause.explains)
    if asked < ASKED and explains < FEW:
        return False
    alone = explains == failures + silent and len(cause.bugs[0].failed) < FEW
    return cause.likeness >= TELLING and (explains >= FEW or alone) and explains >= PART * failures


def worth_naming(cause: Cause, failures: int) -> bool:
    """Whether a cause that is not worth telling fails the same cases all the same; see SAME, BROAD and NEARLY.

    Where the bugs that are named with it have nothing in common, everything fails, and they tell nothing.
    """
    explains, same = len(cause.explains), cause.same[0]
    broken = {bug.expected for bug in cause.bugs}
    chapters = {requirement.partition("-")[0] for requirement in broken}
    many = explains >= max(BROAD, PART * failures)
    if len(broken) == 1:
        alike = same >= SAME and (many or FEW <= explains == failures)
    else:
        alike = same >= NEARLY and many and len(chapters) == 1
    return alike and not worth_telling(cause, failures)


def likely(outcomes: Mapping[str, Seen]) -> Cause | None:
    """`cause` by the published matrix; None without one."""
    matrix = known()
    return cause(outcomes, matrix) if matrix else None


ORDER = 6.0
"""Bits between two errors of one bug on one case: other inputs make it some tens of times louder or quieter. Keys of 16
bits are a thousand times too quiet to be weights that were not transposed."""


def bugs_of(
    case: str, requirement: str, *, measured: bool | None = None, loud: float | None = None
) -> list[str]:  # fmt: skip
    """Known bugs that break a requirement and fail a case of it, those that fail least else first; in words.

    Args:
        measured: only bugs that fail it as is said here: with an error that was measured, or otherwise. None for all.
        loud: binary logarithm of that error in honest errors; then only bugs whose error was of its order.
    """
    matrix = known()
    rows = [
        row
        for row in (matrix.mutants if matrix else ())
        if row.expected == requirement and case in row.failed and measured in (None, case in row.loud)
        and (loud is None or case not in row.loud or abs(row.loud[case] - loud) <= ORDER)
    ]  # fmt: skip
    return [f"{row.bug} ({row.source})" for row in sorted(rows, key=lambda row: len(row.failed))[:NAMED]]


def fitting_bugs(case: str, requirement: str, message: str, figures: Mapping[str, float]) -> list[str]:
    """`bugs_of` a case that failed as is said here: none where nothing was answered, for how they fail is unknown."""
    loud = killmatrix.loudness(figures)
    return [] if unanswered(message) else bugs_of(case, requirement, measured=loud is not None, loud=loud)
