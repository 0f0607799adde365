"""What pages show of a report, worked out and not yet written: plain records, without markup and without a language.

Sentences, effects and titles are given in both languages, as the suite has them; a report of another suite than the one
installed has ids where its sentences are not known here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from llmasos_conformance import knownbugs, report
from llmasos_conformance.pages.order import in_order
from llmasos_conformance.policy import moment
from llmasos_conformance.verdict import State

if TYPE_CHECKING:
    from llmasos_conformance.board.series import Seen
    from llmasos_conformance.causes import Reading
    from llmasos_conformance.reading import Read
    from llmasos_conformance.report import Entry, Precision
    from llmasos_conformance.suite import Suite

Both = Mapping[str, str]
"""A text by language; empty where nobody knows it."""
WRONG = (State.FAIL, State.ERROR, State.INCONCLUSIVE, State.NOT_RUN)
"""States that a reader has to know more about, the worst first."""
NO_CHAPTER = ""
"""Of requirements that this suite does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One case that was not right. `node` is what pytest calls it; "" where it is not known here."""

    case: str
    state: State
    example: int | None
    message: str
    expected: str
    got: str
    fault: str
    effect: Both
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Failures of one requirement, and what is the same for all of them."""

    requirement: str
    level: str
    sentence: Both
    bugs: Sequence[str]
    failures: Sequence[Failure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One requirement: state -> its cases, each with the share of a bound that it uses."""

    requirement: str
    level: str
    sentence: Both
    cases: Mapping[State, Sequence[tuple[str, float | None]]]
    emulated: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A chapter: its lines, how often each state occurs, and the numbers that were measured in it."""

    name: str
    title: Both
    lines: Sequence[Line]
    counts: Mapping[State, int]
    shares: Sequence[tuple[str, float]]

    @property
    def worst(self) -> tuple[str, float]:
        """The case that uses most of its bound."""
        return max(self.shares, key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A report whose content may be shown.

    Attributes:
        grade: the largest share of a bound among the cases of numbers (NUM-…); None where none measured a row.
        precision: claimed and found, or None. took: seconds from start to end of the run.
        together: the failures, read together; see `report.read_together`.
        known: whether the suite of the run is the one installed.
        seen: what is drawn of the evidence; None where it cannot be, for the reason `unseen`.
    """

    read: Read
    grade: float | None
    precision: Precision | None
    took: int
    chapters: Sequence[Chapter]
    groups: Sequence[Group]
    together: Reading
    sentences: Mapping[str, Both]
    known: bool
    seen: Seen | None = None
    unseen: str = ""
    counts: Mapping[State, int] = field(default_factory=dict)

    @property
    def who(self) -> tuple[str, str]:
        """Name and version of the candidate."""
        about = self.read.predicate["candidate"]
        return about["name"], about["version"]

    @property
    def failures(self) -> int:
        return sum(len(group.failures) for group in self.groups)


def view(read: Read, loaded: Suite, seen: Seen | None = None, unseen: str = "") -> View:
    """What there is to show of a report with content.

    Args:
        loaded: the suite installed here. seen, unseen: see `View`.
    """
    predicate, content = read.predicate, read.content
    assert content is not None
    checks = predicate["checks"]
    together = report.read_together(content)
    first = [together.likely.requirement] if together.likely else []
    dtype = predicate["candidate"]["claims"]["dtype"]
    sentences = {name: each.sentence for name, each in loaded.requirements.items()}
    return View(
        read=read, precision=report.precision(content), grade=grade(checks, dtype), took=_took(predicate["run"]),
        chapters=_chapters(checks, loaded, dtype), groups=_groups(checks, loaded, first),
        together=together, sentences=sentences, known=predicate["suite"]["digest"] == loaded.digest,
        seen=seen, unseen=unseen, counts=_counts(checks),
    )  # fmt: skip


def grade(checks: Iterable[Entry], dtype: str) -> float | None:
    """The largest share of a bound that a case of numbers uses: at most 1 is equal, honest orders stay below 1/2."""
    shares = [share for made in checks if made["requirement"].startswith("NUM-")
              if (share := report.share(made, dtype)) is not None]  # fmt: skip
    return max(shares, key=lambda share: math.inf if math.isnan(share) else share, default=None)


def _took(run: Mapping[str, Any]) -> int:
    start, end = (moment(run[name]) for name in ("startedAt", "finishedAt"))
    return int((end - start).total_seconds())


def started(read: Read) -> datetime:
    """When the run began, on the signer's word."""
    return moment(read.predicate["run"]["startedAt"])


def _counts(checks: Iterable[Entry]) -> dict[State, int]:
    counts = Counter(State(made["outcome"]) for made in checks)
    return {state: counts[state] for state in State if counts[state]}


def _chapters(checks: Sequence[Entry], loaded: Suite, dtype: str) -> list[Chapter]:
    known = loaded.requirements
    by_chapter: dict[str, list[Entry]] = {}
    for made in checks:
        name = made["requirement"]
        by_chapter.setdefault(known[name].chapter if name in known else NO_CHAPTER, []).append(made)
    chapters = []
    for name in sorted(in_order(by_chapter), key=lambda name: name == NO_CHAPTER):
        entries = by_chapter[name]
        shares = [(made["id"], share) for made in entries if (share := report.share(made, dtype)) is not None]
        chapters.append(
            Chapter(
                name=name, title=loaded.chapters.get(name, {}), lines=_lines(entries, loaded, dtype),
                counts=_counts(entries), shares=shares,
            )
        )  # fmt: skip
    return chapters


def _lines(entries: Iterable[Entry], loaded: Suite, dtype: str) -> list[Line]:
    by_requirement: dict[str, list[Entry]] = {}
    for made in entries:
        by_requirement.setdefault(made["requirement"], []).append(made)
    lines = []
    for name, mine in sorted(by_requirement.items(), key=lambda pair: _number(pair[0])):
        cases: dict[State, list[tuple[str, float | None]]] = {}
        for made in mine:
            cases.setdefault(State(made["outcome"]), []).append((made["id"], report.share(made, dtype)))
        sentence = loaded.requirements[name].sentence if name in loaded.requirements else {}
        lines.append(
            Line(
                requirement=name, level=mine[0]["level"], sentence=sentence, cases=cases,
                emulated=frozenset(made["id"] for made in mine if made["emulated"]),
            )
        )  # fmt: skip
    return lines


def _number(requirement: str) -> tuple[str, int]:
    prefix, _, number = requirement.rpartition("-")
    return prefix, int(number)


def _groups(checks: Iterable[Entry], loaded: Suite, first: Sequence[str]) -> list[Group]:
    """Failures by requirement: those that a likely cause names, MUST before the rest, and as the profile has them."""
    by_requirement: dict[str, list[Entry]] = {}
    for made in checks:
        if made["outcome"] in WRONG:
            by_requirement.setdefault(made["requirement"], []).append(made)

    def rank(name: str) -> tuple[bool, int, bool, int]:
        mine = by_requirement[name]
        state = min(WRONG.index(State(made["outcome"])) for made in mine)
        return name not in first, first.index(name) if name in first else 0, mine[0]["level"] != "MUST", state

    return [
        Group(
            requirement=name, level=by_requirement[name][0]["level"],
            sentence=loaded.requirements[name].sentence if name in loaded.requirements else {},
            bugs=_bugs(by_requirement[name]), failures=[_failure(made, loaded) for made in by_requirement[name]],
        )
        for name in sorted(by_requirement, key=rank)
    ]  # fmt: skip


def _bugs(entries: Iterable[Entry]) -> list[str]:
    """Known bugs that fail these cases of a requirement, in words."""
    told = [
        bug for made in entries if made["outcome"] == State.FAIL
        for bug in knownbugs.fitting_bugs(
            made["id"], made["requirement"], made.get("message", ""),
            {name: float(text) for name, text in made["figures"].items()},
        )
    ]  # fmt: skip
    return list(dict.fromkeys(told))[: knownbugs.NAMED]


def _failure(made: Entry, loaded: Suite) -> Failure:
    case = loaded.cases.get(made["id"])
    return Failure(
        case=made["id"], state=State(made["outcome"]), example=made.get("example"), message=made.get("message", ""),
        expected=made.get("expected", ""), got=made.get("got", ""), fault=made.get("fault", ""),
        effect=case.effect if case else {}, node=case.node_id if case else "",
    )  # fmt: skip
