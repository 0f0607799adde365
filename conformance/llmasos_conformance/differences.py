"""What is different between two reports, and whether any of it is worse.

    facts      suite, profile, candidate, claims, adapter, bundle, reference, harness, run, environment
    cases      an outcome that is another one, or that only one of the two has
    figures    errors as shares of their bound, then and now
    precision  the arithmetic that the numbers show, then and now

Pure functions over two statements. What moved is told; what counts against a release is for a gate to say (`gate`).
Two runs with other seeds draw other inputs, so that honest figures scatter; only growth beyond that says something.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llmasos_conformance import numerics, report
from llmasos_conformance.protocol import DTYPES
from llmasos_conformance.verdict import EXIT_CODES, Verdict

BOUNDS: Mapping[str, Mapping[str, float]] = {
    "ratio": numerics.KAPPA_RMS, "position": numerics.KAPPA_POSITION, "peak": numerics.KAPPA_MAX,
}  # fmt: skip
"""Figure -> dtype -> the most that is allowed. Other figures are counts and shares, without a bound of this kind."""

QUIET = 0.5
"""Share of the bound that no honest order of summation has reached (see `numerics`): below it, growth says nothing."""

EXIT_SAME, EXIT_WORSE, EXIT_LESS = 0, EXIT_CODES[Verdict.NON_CONFORMANT], EXIT_CODES[Verdict.INCOMPLETE]

UNDECIDED = ("error", "inconclusive", "not_run")


class Move(StrEnum):
    """How a case stands now, against then."""

    BROKEN = "broken"  # it was right and fails
    UNDECIDED = "undecided"  # it was right or wrong, and cannot be judged now
    UNDECLARED = "undeclared"  # it was asked, and what it needs is declared no more
    GONE = "gone"  # only the earlier report has it
    NEW = "new"  # only the later one has it
    MENDED = "mended"  # it failed and is right
    OTHER = "other"  # any other change of outcome


WORSE = frozenset({Move.BROKEN, Move.UNDECLARED})
LESS = frozenset({Move.UNDECIDED, Move.GONE})
"""Not worse as far as one can see, but one sees less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that the two reports say otherwise. `then` or `now` is empty where only one says it."""

    name: str
    then: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A case with another outcome. `then` or `now` is empty where only one report has the case."""

    case: str
    requirement: str
    level: str
    move: Move
    then: str
    now: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One figure of one case, as shares of its bound: 1 is the most that passes.

    Attributes:
        case: its id. name: the figure. then, now: shares; NaN and infinity as they come.
    """

    case: str
    name: str
    then: float
    now: float

    @property
    def growth(self) -> float:
        """How many times larger it is now; infinite where it was nothing, or is no number now."""
        if math.isnan(self.now):
            return 1.0 if math.isnan(self.then) else math.inf
        if self.now == self.then:
            return 1.0
        return self.now / self.then if self.then > 0 else math.inf

    @property
    def loud(self) -> bool:
        """Whether it is larger than any honest order comes to."""
        return not self.now <= QUIET


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """All that is different.

    Attributes:
        facts: in the order of the report. cases: those that count most first. figures: of cases that both reports
            have, the most grown first. precision: dtype of arithmetic found, then and now; "" where nothing explains
            the errors, None where nothing was measured. verdict: then and now.
        comparable: whether both are of one profile with the same cases.
    """

    facts: tuple[Fact, ...]
    cases: tuple[Moved, ...]
    figures: tuple[Drift, ...]
    precision: tuple[str | None, str | None]
    verdict: tuple[str, str]
    comparable: bool

    @property
    def coarser(self) -> bool:
        """Whether the arithmetic found now has fewer digits than the one found then."""
        then, now = self.precision
        return then is not None and now is not None and _rank(now) > _rank(then)

    @property
    def worse(self) -> bool:
        then, now = map(Verdict, self.verdict)
        failing = now.fails and not then.fails
        return failing or self.coarser or any(each.move in WORSE for each in self.cases)

    @property
    def exit_code(self) -> int:
        """0 nothing is worse, 1 something is, 3 nothing is but less was seen."""
        if self.worse:
            return EXIT_WORSE
        then, now = map(Verdict, self.verdict)
        less = (then.holds and now is Verdict.INCOMPLETE) or any(m.move in LESS for m in self.cases)
        return EXIT_LESS if less or not self.comparable else EXIT_SAME

    def as_json(self) -> dict[str, Any]:
        """What `llmasos diff --json` prints beside the two reports; keys are stable."""
        return {
            "comparable": self.comparable,
            "worse": self.worse,
            "exitCode": self.exit_code,
            "verdict": {"then": self.verdict[0], "now": self.verdict[1]},
            "precision": {"then": self.precision[0], "now": self.precision[1]},
            "facts": [{"name": each.name, "then": each.then, "now": each.now} for each in self.facts],
            "cases": [
                {"id": each.case, "requirement": each.requirement, "level": each.level, "move": str(each.move),
                 "then": each.then or None, "now": each.now or None, "message": each.message}
                for each in self.cases
            ],
            "figures": [
                {"case": each.case, "figure": each.name, "then": _number(each.then), "now": _number(each.now),
                 "growth": _number(each.growth)}
                for each in self.figures
            ],
        }  # fmt: skip


def _number(value: float) -> float | str:
    """Three digits; what JSON has no number for, as the text that reports write."""
    return float(f"{value:.3g}") if math.isfinite(value) else report.figure(value)


def _rank(dtype: str) -> int:
    """Finest first; what no dtype explains comes last."""
    order = sorted(DTYPES, key=lambda each: numerics.UNIT_ROUNDOFF[each])
    return order.index(dtype) if dtype in order else len(order)


def between(then: Mapping[str, Any], now: Mapping[str, Any]) -> Difference:
    """What is different between two statements."""
    before, after = then["predicate"], now["predicate"]
    old, new = ({made["id"]: made for made in each["checks"]} for each in (before, after))
    found = [None if each is None else each.found for each in (report.precision(then), report.precision(now))]
    same = before["suite"]["profile"] == after["suite"]["profile"]
    return Difference(
        facts=tuple(_facts(then, now)),
        cases=tuple(sorted(_moved(old, new), key=lambda each: [*Move].index(each.move))),
        figures=tuple(drifts(then, now)),
        precision=(found[0], found[1]),
        verdict=(before["verdict"], after["verdict"]),
        comparable=same and bool(old.keys() & new.keys()),
    )


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

ABOUT = ("suite", "candidate", "bundle", "endpoint", "reference", "harness", "environment")
RUN = ("seed", "mode", "isolation")
"""Of `run`: what a reader compares. Its id and times are other ones in every run."""


def _facts(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Fact]:
    old, new = _flat(then), _flat(now)
    for name in dict.fromkeys((*old, *new)):
        if old.get(name, "") != new.get(name, ""):
            yield Fact(name=name, then=old.get(name, ""), now=new.get(name, ""))


def _flat(content: Mapping[str, Any]) -> dict[str, str]:
    """What a statement says about everything but outcomes, by dotted name."""
    predicate = content["predicate"]
    told: dict[str, str] = {}
    for part in ABOUT:
        told |= _told(part, predicate.get(part, {}))
    digests = {each["name"]: each["digest"]["sha256"] for each in content["subject"]}
    told["adapter.digest"] = digests.get("adapter", "")
    for part in RUN:
        told |= _told(f"run.{part}", predicate["run"][part])
    return told


def _told(name: str, value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {key: text for inner, part in value.items() for key, text in _told(f"{name}.{inner}", part).items()}
    if isinstance(value, list):
        return {name: ", ".join(map(str, value))}
    return {name: str(value)}


# ── cases ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _moved(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> Iterator[Moved]:
    for case in dict.fromkeys((*new, *old)):
        made = new.get(case) or old[case]
        then, now = (each[case]["outcome"] if case in each else "" for each in (old, new))
        if then != now:
            yield Moved(
                case=case, requirement=made["requirement"], level=made["level"], move=move(then, now), then=then,
                now=now, message=made.get("message", "") if case in new else "",
            )  # fmt: skip


def move(then: str, now: str) -> Move:
    """How to call the way from one outcome to another; empty where the report does not have the case."""
    if not now:
        return Move.GONE
    if not then:
        return Move.NEW
    if now == "fail":
        return Move.BROKEN if then in ("pass", "waived") else Move.OTHER
    if now == "not_declared":
        return Move.UNDECLARED
    if now in UNDECIDED:
        return Move.UNDECIDED if then in ("pass", "fail", "waived") else Move.OTHER
    return Move.MENDED if (then, now) == ("fail", "pass") else Move.OTHER


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def shares(content: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Case and figure -> share of the bound, of a statement's figures that are errors in honest units."""
    dtype = content["predicate"]["candidate"]["claims"]["dtype"]
    return {
        (made["id"], name): float(text) / BOUNDS[name][dtype]
        for made in content["predicate"]["checks"]
        for name, text in made["figures"].items()
        if name in BOUNDS
    }


def drifts(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Drift]:
    """Figures that both statements have and that differ, the most grown first, the loudest of these first."""
    old, new = shares(then), shares(now)
    made = [Drift(case=case, name=name, then=old[case, name], now=new[case, name])
            for case, name in new if (case, name) in old]  # fmt: skip
    changed = [each for each in made if each.growth != 1.0]
    return sorted(changed, key=lambda each: (not each.loud, -each.growth, -each.now, each.case, each.name))


def worst(figures: Sequence[Drift]) -> Drift | None:
    """The figure to look at: the most grown of those larger than any honest order comes to."""
    return next((each for each in figures if each.loud and each.growth > 1), None)
