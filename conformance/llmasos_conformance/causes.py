"""Many failures, few causes: how the failures of a run are read together.

    alike    many cases that got no answer for one and the same reason: an exception, a refusal, a malformed answer
    holes    cases whose logits are NaN or infinite where numbers are due
    wavering cases in which one question got two answers
    onset    the position from which on logits are wrong, where the rows of many cases agree on it
    behind   wrong generation, where logits are right wherever they were measured
    against  answers of the candidate that have to agree and do not, where they are few
    plain    a plain model that is wrong in its first digits
    cause    the known bug that fails most as this candidate does

One broken primitive fails a hundred cases. The kill matrix knows which cases every documented bug fails; a candidate
whose failures are those of one of them has, likely, that bug or one beside it: a bug must fail little that the
candidate passes, and the one that explains most is told. What resembles too little to be right more often than not is
not told, or named as no more than possible. This is a reading aid: no verdict rests on it.

Source: a fault dictionary, as circuits are diagnosed with. How often a cause is the right one, by its likeness, is what
`bench/likely_causes.py` prints; TELLING and SAME follow from it, the other thresholds are judgement.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import mean, median
from typing import Any

from llmasos_conformance import killmatrix
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.killmatrix import KillMatrix, Row
from llmasos_conformance.verdict import NO_ANSWER, State, two_ways, unanswered, wrong_positions

FAITHFUL = 0.75
"""So large a part of what a known bug fails must fail here too, else the bug is not there."""

BESIDE = 0.9
"""Known bugs that explain at least this part of what the likeliest does are named beside it."""

LEAST = 0.3
"""A known bug less alike than this does not compete."""

TELLING = 0.75
"""A cause less alike than this is not told. By `bench/likely_causes.py`, each mutant against the matrix of all others,
the first cause names the requirement that is broken in more than half of the readings in every band of likeness from
here on (189 of 260 together), and in less than half in every band below (122 of 304). Of candidates with two bugs it
names one of the two in 44 of 98 readings."""

SAME = 0.9
"""Where no cause is told, a known bug that fails this part of the same cases at least is named as a possible one,"""

BROAD = 10
"""if so many cases fail by it: rotations, masks and norms that are wrong in different ways fail the same models, each
as loudly as it likes. By the same bench it breaks that requirement in 18 of 32 readings, and one of its chapter in
30."""

PLAIN = frozenset({"numerics.plain", "llama.numbers.plain", "bert.plain", "transformer.plain"})
"""Cases of the models that are built for no fault at all."""

FIRST_DIGITS = 1.5e6
"""Honest errors beyond which a plain model is wrong in its first digits. Of the known bugs those that read tensors
wrongly (heads, keys for values, gates, a lost tie) lie above it; below lie most wrong norms, biases, activations and
rotations, which leave a digit right."""

FEW = 3
"""A cause that explains fewer failures is told only if nothing else failed, and if the known bug fails no more cases:
one failure that many bugs share tells them not apart. A judgement, as is the next."""

PART = 0.25
"""The first cause explains at least this part of the failures: what explains one of fourteen leads away from others."""

NAMED = 3
"""Known bugs that a cause names at most."""

ALIKE = 3
"""So many cases without an answer, all for one reason, are told as one."""

AGREE = 0.75
"""So large a part of the rows with wrong logits must begin to be wrong at one position, else there is no such."""

ROWS = 3
"""And so many of them at least."""

MEASURED = 6
"""In so many cases logits must be right, and in none wrong, before a fault is looked for behind them. A judgement."""

MANY = 10
"""With more failures than this, one fault is behind most of them."""

APART = 3
"""So many cases at most in which two answers do not agree tell what is wrong; more are wrong for a reason of their own.
A judgement."""

KEPT = frozenset({"TRF-24", "CACHE-6"})
"""Requirements beside those of STATE that ask whether an answer depends on earlier requests."""

BEHIND = frozenset({"GEN", "API", "STR", "GUM", "BEAM"})
"""Prefixes of the requirements on what is made of logits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of one case that has a verdict.

    Attributes:
        passed: or failed. loud: see `killmatrix.loudness`.
    """

    passed: bool
    loud: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of one outcome.

    Attributes:
        case, requirement, state, message, figures: of the outcome. place: where the candidate's code raised, if that is
            known. wavered: whether the same question was answered rightly when it was asked again.
    """

    case: str
    requirement: str = ""
    state: str
    message: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    place: str = ""
    wavered: bool = False


def seen(outcomes: Iterable[Told]) -> dict[str, Seen]:
    """Cases that passed or failed; one that did both has failed. What was not answered resembles no wrong answer."""
    made: dict[str, Seen] = {}
    for each in outcomes:
        if each.state not in (State.PASS, State.FAIL) or unanswered(each.message):
            continue
        if each.case not in made or each.state == State.FAIL:
            made[each.case] = Seen(passed=each.state == State.PASS, loud=killmatrix.loudness(each.figures))
    return made


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


def wavering(outcomes: Sequence[Told]) -> list[str]:
    """Cases in which one question got two answers, behind the case to begin with.

    Their wrong logits were right when they were asked for again, or they ask whether answers depend on earlier requests
    and held the candidate's against each other. One that asks so comes first. Samples are left out: nobody expects them
    twice.
    """
    failed = [each for each in outcomes if each.state == State.FAIL]
    found = [each.case for each in failed if each.wavered and killmatrix.loudness(each.figures) is not None]
    asks = [each for each in failed if each.requirement.partition("-")[0] == "STATE" or each.requirement in KEPT]
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
            first of those that hold each id to the logits before it; empty where these are right.
    """

    measured: int
    wrong: int
    begin: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {"measured": self.measured, "wrong": self.wrong, "begin": self.begin}


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
    return Behind(measured=len(measured), wrong=len(wrong), begin=begin)


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


# ── known bugs ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One likely cause of failures.

    Attributes:
        requirement: that the bug breaks. begin: the failing cases of this requirement, or the first that failed.
        bugs: known bugs that fail like this, the likeliest first.
        same: of each of them, cases failed by both, of those failed by either, 0 to 1; among cases that both were asked
            and that no earlier cause explains.
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
    fits = _fits(matrix.mutants, outcomes, frozenset(failed))
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


def _fits(rows: Sequence[Row], outcomes: Mapping[str, Seen], failed: frozenset[str]) -> list[_Fit]:
    """Known bugs that may be behind the failures, and what each explains."""
    fits = []
    for row in rows:
        both = outcomes.keys() & row.failed.keys()
        explains = frozenset(both & failed)
        if not explains or len(explains) < FAITHFUL * len(both):
            continue
        own = {case for case in both if row.failed[case] == row.expected}
        if not own & explains and (own or len(explains) < BROAD):
            continue  # what the bug breaks first of all is not broken here; where it was not asked, many must agree
        same = len(explains) / len((failed & {*row.asked}) | both)
        likeness = same * _as_loud(row, outcomes, explains)
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


def worth_telling(cause: Cause, failures: int) -> bool:
    """Whether a cause is right more often than not; see TELLING, FEW and PART.

    Args:
        failures: how many cases failed.
    """
    explains = len(cause.explains)
    alone = explains == failures and len(cause.bugs[0].failed) < FEW
    return cause.likeness >= TELLING and (explains >= FEW or alone) and explains >= PART * failures


def worth_naming(cause: Cause, failures: int) -> bool:
    """Whether a cause that is not worth telling fails the same cases all the same; see SAME and BROAD.

    All bugs that are named with it break one requirement. Where they do not, everything fails, and they tell nothing.
    """
    explains = len(cause.explains)
    agree = len({bug.expected for bug in cause.bugs}) == 1
    alike = cause.same[0] >= SAME and explains >= max(BROAD, PART * failures)
    return agree and alike and not worth_telling(cause, failures)


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


# ── all together ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The failures of a run, read together.

    Attributes:
        alike, holes, wavering, onset, behind, plain: see there. likely: the likely cause. rest: wrong answers that it
            does not explain. perhaps: a possible cause, where none is likely and tensors were read right. against: see
            there; empty where anything above says where to begin.
    """

    alike: Sequence[Alike] = ()
    holes: Sequence[str] = ()
    wavering: Sequence[str] = ()
    onset: Onset | None = None
    behind: Behind | None = None
    likely: Cause | None = None
    rest: Sequence[str] = ()
    plain: Plain | None = None
    perhaps: Cause | None = None
    against: Sequence[str] = ()

    @property
    def first(self) -> str:
        """The case to begin with; empty where nothing is behind many failures.

        That of whatever is behind more of them: a reason for no answer, or a likely cause of wrong ones. Before either
        come logits that are no numbers, answers that change, and choices that do not follow the logits, for whatever
        reads those fails too.
        """
        if self.void:
            return self.holes[0]
        if self.wavering:
            return self.wavering[0]
        if self.behind is not None and self.behind.begin and not self.mend:
            return self.behind.begin
        if self.mend:
            return self.alike[0].cases[0]
        if self.likely is not None:
            return self.likely.begin[0]
        if self.plain is not None:
            return self.plain.case
        if self.perhaps is not None:
            return self.perhaps.begin[0]
        return self.against[0] if self.against else ""

    @property
    def void(self) -> bool:
        """Whether logits that are no numbers come before all else."""
        return len(self.holes) >= ALIKE

    @property
    def mend(self) -> bool:
        """Whether the reason for no answer comes before all wrong answers."""
        wrong = len(self.rest if self.likely is None else self.likely.explains)
        return bool(self.alike) and not self.void and len(self.alike[0].cases) >= wrong


def read(outcomes: Iterable[Told]) -> Reading:
    """Outcomes of a run, read by the published matrix."""
    given = list(outcomes)
    verdicts = seen(given)
    failed = [case for case, each in verdicts.items() if not each.passed]
    found = likely(verdicts)
    told = found if found is not None and worth_telling(found, len(failed)) else None
    explained = {*told.explains} if told else {*()}
    made = Reading(
        alike=alike(given), holes=holes(given), wavering=wavering(given), onset=onset(given), behind=behind(given),
        likely=told, rest=[case for case in failed if case not in explained],
    )  # fmt: skip
    if made.first:
        return made
    off = plain(given, made.onset)
    named = found is not None and worth_naming(found, len(failed)) and off is None
    made = replace(made, plain=off, perhaps=found if named else None)
    return made if made.first else replace(made, against=against(given))


_KINDS = {
    "en": dict(zip(NO_ANSWER, ("exception", "malformed answer", "crash", "refusal"), strict=True)),
    "zh": dict(zip(NO_ANSWER, ("异常", "不合格式的回答", "崩溃", "拒绝"), strict=True)),
}


def told(reading: Reading, sentences: Mapping[str, Mapping[str, str]], lang: str = "en") -> list[str]:
    """A reading in words, a few lines each; empty if there is nothing to say of many failures.

    Args:
        sentences: requirement -> its sentence, "en" and "zh". lang: of what is said.
    """
    lines = [_holes_told(reading.holes, lang)] if reading.void else []
    if reading.wavering:
        lines.append(_wavering_told(reading.wavering, lang))
    lines += [_alike_told(each, first=reading.mend and each is reading.alike[0], lang=lang) for each in reading.alike]
    if reading.onset is not None:
        lines.append(_onset_told(reading.onset, lang))
    if reading.behind is not None:
        lines.append(_behind_told(reading.behind, lang))
    if reading.likely is not None:
        lines += _cause_told(
            reading.likely, sentences, _LIKELY[lang], begin=_begins(reading, reading.likely), lang=lang
        )
    if reading.plain is not None:
        lines.append(_plain_told(reading.plain, lang))
    if reading.perhaps is not None:
        lines += _cause_told(reading.perhaps, sentences, _PERHAPS[lang], begin=True, lang=lang)
    if reading.against:
        lines.append(_against_told(reading.against, lang))
    if reading.rest and reading.likely is not None:
        rest = list(reading.rest)
        shown = ", ".join(rest[:3]) + (f" … ({len(rest)})" if len(rest) > 3 else "")
        lines.append(f"没有已知缺陷能解释：{shown}" if lang == "zh" else f"explained by no known bug: {shown}")
    return lines


def _alike_told(each: Alike, *, first: bool, lang: str) -> str:
    start = next(start for start in NO_ANSWER if each.message.startswith(start))
    kind, said = _KINDS[lang][start], each.message.removeprefix(start)
    if lang == "zh":
        place = f"（{each.place}）" if each.place else ""
        return f"{len(each.cases)} 个用例因同一{kind}未通过：{said}{place}{'；请先修复它' if first else ''}"
    place = f" ({each.place})" if each.place else ""
    return f"{len(each.cases)} cases failed by one {kind}: {said}{place}{'; mend this first' if first else ''}"


def _holes_told(cases: Sequence[str], lang: str) -> str:
    if lang == "zh":
        return f"{len(cases)} 个用例的 logits 中有 NaN 或无穷大，例如 {cases[0]}；请先修复它"
    return f"logits are NaN or infinite in {len(cases)} cases, as in {cases[0]}; mend this first"


def _wavering_told(cases: Sequence[str], lang: str) -> str:
    if lang == "zh":
        return f"同一问题得到两种答案：之前的请求（或偶然）会改变回答；先看 {cases[0]}"
    return f"the same question got two answers: earlier requests, or chance, change them; begin with {cases[0]}"


def _onset_told(onset: Onset, lang: str) -> str:
    p = onset.position
    if lang == "zh":
        right = f"位置 {p - 1} 及之前的 logits 正确，" if p else ""
        wrong = f"从位置 {p} 起全部错误" if onset.throughout else f"首个错误在位置 {p}"
        return (
            f"{right}{'' if p else 'logits '}{wrong}：{onset.of} 个未通过的用例中有 {onset.rows} 个如此（位置从 0 计）"
        )
    right = f"right up to position {p - 1}, " if p else ""
    wrong = f"wrong from position {p} on" if onset.throughout else f"first wrong at position {p}"
    rows = f"all {onset.of} cases" if onset.rows == onset.of else f"{onset.rows} of {onset.of} cases"
    return f"logits are {right}{wrong} in {rows} where they are off (positions count from 0)"


def _behind_told(each: Behind, lang: str) -> str:
    if lang == "zh":
        begin = f"；先看 {each.begin}" if each.begin else ""
        return (
            f"测量 logits 的 {each.measured} 个用例全部正确，而 {each.wrong} 个关于生成的用例未通过："
            f"请看编号如何选出、每个编号如何送回模型（如有缓存则经由缓存），以及文本在何处结束{begin}"
        )
    begin = f"; begin with {each.begin}" if each.begin else ""
    return (
        f"logits are right in all {each.measured} cases that measure them, and {each.wrong} cases of generation fail: "
        "look at how an id is chosen, how each is fed back, through a cache if there is one, and where a text ends"
        f"{begin}"
    )


def _against_told(cases: Sequence[str], lang: str) -> str:
    if lang == "zh":
        return f"候选自己的回答本应一致，却在此处不同：{'、'.join(cases)}；先看 {cases[0]}"
    return (
        f"the candidate's own answers, which have to agree whatever the weights are, differ in {', '.join(cases)}: "
        f"begin with {cases[0]}"
    )


def _plain_told(each: Plain, lang: str) -> str:
    if lang == "zh":
        return (
            f"{each.case} 偏差为诚实误差的 {each.ratio:.0e} 倍，而它的模型没有任何特殊之处："
            "请先看张量如何读取（权重为 [in, out]；哪个是查询、键、值；各个头取哪些列）"
        )
    return (
        f"{each.case} is off by {each.ratio:.0e} honest errors, and its model has nothing special: look "
        "first at how tensors are read (weights stand [in, out]; what is query, key, value; which columns a head)"
    )


_LIKELY = {
    "en": ("likely cause:", "it would explain {failures}{several}", "; there are candidates:"),
    "zh": ("可能的原因：", "若是如此，可解释 {count} 个未通过的用例{several}", "；候选有几个："),
}
_PERHAPS = {
    "en": ("perhaps:", "the bugs below make the same {failures}, by other amounts{several}", ""),
    "zh": ("或许：", "下列缺陷造成同样的 {count} 个失败，只是偏差大小不同{several}", ""),
}
"""How a cause is told: its head, what it explains, and what that ends with where there are several candidates."""


def _begins(reading: Reading, cause: Cause) -> bool:
    return reading.first == cause.begin[0]


def _cause_told(
    cause: Cause, sentences: Mapping[str, Mapping[str, str]], words: tuple[str, str, str], *, begin: bool, lang: str
) -> list[str]:
    count = len(cause.explains)
    sentence = sentences.get(cause.requirement, {}).get(lang, "").strip().rstrip(".。")
    bugs = [
        (f"{row.name} ({row.source})", f"{same:.0%}", row.bug) for row, same in zip(cause.bugs, cause.same, strict=True)
    ]
    head, explains, several = words
    of = explains.format(
        count=count,
        failures="1 failure" if count == 1 else f"{count} failures",
        several=several if len(bugs) > 1 else "",
    )
    if lang == "zh":
        return [
            f"{head}{cause.requirement} {sentence}".rstrip(),
            f"  {of}",
            *(f"  类似 {name}：{same} 的未通过用例相同；该缺陷为：{bug}" for name, same, bug in bugs),
            *([f"  先看 {cause.begin[0]}"] if begin else []),
        ]
    return [
        f"{head} {cause.requirement} {sentence}".rstrip(),
        f"  {of}",
        *(f"  resembles {name}: {same} of the failing cases are the same; that bug: {bug}" for name, same, bug in bugs),
        *([f"  begin with {cause.begin[0]}"] if begin else []),
    ]
