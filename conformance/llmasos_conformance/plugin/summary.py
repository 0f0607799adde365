"""What a self-test tells people: a case that is not right, the table, the verdict, the next step. Knows no pytest."""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from llmasos_conformance import causes, knownbugs, knownfailures, patterns, verdict
from llmasos_conformance.canonical import legible
from llmasos_conformance.knownfailures import KnownFailure, Standing
from llmasos_conformance.protocol import ARCHITECTURES
from llmasos_conformance.suite import Case, Requirement, Suite
from llmasos_conformance.verdict import Outcome, State, Verdict, unanswered

Record = Mapping[str, Any]
"""What is kept of an outcome; see `record`."""

WORST = ("fail", "error", "inconclusive", "not_run", "not_declared", "not_applicable", "waived", "pass")
SHOWN = 8
"""Failing requirements, and cases of each, that are listed; the most telling come first."""

WHOLE = 10
"""Failing cases that are shown whole, and as many that could not be judged; those behind them are shown in brief."""

BRIEF = 120
"""Characters of a minimal input that is shown in brief, too."""

DOCUMENTS = frozenset({"FMT", "LOAD"})
"""Prefixes of requirements whose cases ask how a bundle is read, on models that are made up for that."""

ROWS = "rows are chapters of requirements; llmasos:NAME is a file of cases, which may ask for several chapters"
"""Why the names in the table are not those in the progress and in the ids of cases."""

COLUMNS = ("pass", "fail", "error", "inconclusive", "not_declared", "not_applicable", "not_run")


FRAME = re.compile(r'^\s*File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<name>.+)$', re.MULTILINE)
"""A step of a Python traceback."""

NOT_THEIRS = ("site-packages", "dist-packages", "llmasos_conformance/adapters")
"""Parts of paths of libraries, whose steps in a traceback tell less than those of the code that called them."""


def place(detail: str) -> str:
    """Where a candidate's own code was when it raised: the last step of a traceback outside of libraries.

    Args:
        detail: what a fault shows to a developer; "" is the answer where it holds no traceback.
    """
    frames = [*FRAME.finditer(detail)]
    own = [frame for frame in frames if not any(part in frame["file"].replace("\\", "/") for part in NOT_THEIRS)]
    return "{file}:{line}, in {name}".format(**(own or frames)[-1].groupdict()) if frames else ""


def record(
    outcome: Outcome, missing: Sequence[str], raised_at: str = "", *, wavered: bool = False, anew: bool = False
) -> str:
    """An outcome as JSON text: what crosses from an xdist worker must be made of builtin types alone.

    Args:
        missing: capabilities that the case needs and the candidate does not declare. raised_at: see `place`.
        wavered: asked again, it did not fail. anew: asked where nothing was asked before, it did not.
    """
    return json.dumps(
        {
            "case": outcome.case,
            "requirement": outcome.requirement,
            "level": outcome.level,
            "state": outcome.state.value,
            "message": outcome.message,
            "figures": {name: float(value) for name, value in outcome.figures.items()},
            "emulated": list(outcome.emulated),
            "missing": list(missing),
            "place": raised_at,
            "wavered": wavered,
            "anew": anew,
        }
    )


@functools.lru_cache(maxsize=16)
def parse(text: str) -> Record:
    """What `record` wrote."""
    made: Record = json.loads(text)
    return made


def failure(
    outcome: Outcome, case: Case, requirement: Requirement, again: str, *, raised_at: str = "", told: str = "",
    known: bool = True,
) -> str:  # fmt: skip
    """What a person needs to act on, most important first.

    Args:
        again: command that asks the case again. raised_at: see `place`.
        told: an earlier case that got no answer for the same reason; then this one is short.
        known: with what its failure does to people, and known bugs that fail it; not where it fails because others do.
    """
    sentence = requirement.sentence.get("en", "")
    more = (outcome.message or "").splitlines()[1:]
    # What a wrong answer does to people, and which bugs answer so, says nothing of a call that was not answered.
    fits = outcome.state is State.FAIL and not unanswered(outcome.message)
    bugs = knownbugs.fitting_bugs(case.id, requirement.id, outcome.message, outcome.figures) if fits and known else []
    figures = ", ".join(f"{name} {value:.4g}" for name, value in outcome.figures.items())
    if len(outcome.figures) > 1:
        figures += "; of each the largest of all rows"
    example = "" if outcome.example is None else f"number {outcome.example + 1} of {case.examples}"
    if outcome.minimal and example and not outcome.ended:
        which = "one" if outcome.unfinished else "minimal one"
        example += f" failed; all that is said here is of the {which} below"
    rows = [
        ("", "\n".join(more)),
        (f"{requirement.id} {requirement.level}", sentence),
        ("at stake", case.effect.get("en", "") if fits and known else ""),
        ("failed by", "\n".join(bugs)),
        ("raised at", raised_at),
        ("example", example),
        ("expected", outcome.expected),
        ("got", outcome.got),
        ("figures", figures),
        (_label(outcome), outcome.minimal),
        ("reproduce", again),
    ]
    if told:
        why = "where the trace is" if raised_at else "for the same reason"
        rows = [("as", f"{told}, {why}"), ("raised at", raised_at), ("reproduce", again)]
    return _laid_out(outcome, rows)


def brief(outcome: Outcome, again: str, *, raised_at: str = "") -> str:
    """The same for whoever has read many: what failed, where it was raised or on what small input, and the command."""
    asked = outcome.minimal if outcome.minimal.count("\n") == 0 and len(outcome.minimal) <= BRIEF else ""
    rows = [("raised at", raised_at)] if raised_at else [(_label(outcome), asked)]
    return _laid_out(outcome, [*rows, ("reproduce", again)])


def _label(outcome: Outcome) -> str:
    return "asked" if outcome.ended or outcome.unfinished else "minimal"


def _laid_out(outcome: Outcome, rows: Sequence[tuple[str, str]]) -> str:
    """A head line with the message, and the rows that say anything."""
    head = {"fail": "fail", "error": "could not be judged"}.get(outcome.state, "inconclusive, could not be judged")
    message = visible(outcome.message.split("\n")[0] or "no reason was given")
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{head}: {message} ({outcome.requirement})"]
    for name, text in rows:
        for number, line in enumerate(text.split("\n") if text else ()):
            lines.append(f"  {name if number == 0 else '':<{width}}{visible(line)}".rstrip())
    return "\n".join(lines)


def visible(text: str) -> str:
    """The text with an escape for whatever cannot be seen or steers a terminal, so that other texts look otherwise."""
    pairs = zip(text, legible(text), strict=True)
    return "".join(safe if safe == char else char.encode("unicode_escape").decode() for char, safe in pairs)


def searching(seconds: Sequence[float], most: float) -> str:
    """How long a run has looked for smaller inputs, and how to have it not; "" where it was not long.

    Args:
        seconds: of each process that did. most: that one may take before it begins with another case.
    """
    if sum(seconds) < 1:
        return ""
    where = f" in {len(seconds)} processes" if len(seconds) > 1 else ""
    return (
        f"{sum(seconds):.0f} s{where} went into smaller inputs that fail alike; after {most:g} s no further case was "
        "begun with; --llmasos-smaller=0 does not look for them"
    )


def read(records: Sequence[Record]) -> causes.Reading:
    """The failures of a run, read together."""
    return causes.read(
        patterns.Told(
            case=record["case"],
            requirement=record["requirement"],
            state=record["state"],
            message=record["message"],
            figures=record["figures"],
            place=record.get("place", ""),
            wavered=record.get("wavered", False),
            anew=record.get("anew", False),
        )
        for record in records
    )


class Summary(NamedTuple):
    """What a run found, as lines."""

    verdict: str
    found: list[str]
    """The table by chapter, the requirements that fail, and what was not asked or is not the runtime's own."""
    behind: list[str]
    """What is behind the failures and where to begin; told last, because the end is read first."""


def summarise(suite: Suite, planned: Sequence[str], optional: frozenset[str], records: Sequence[Record]) -> Summary:
    """A whole run in few lines.

    Args:
        planned: ids that the profile lists. optional: those that a candidate may leave undeclared.
        records: of all cases that ran, a case that ran twice twice.
    """
    outcomes = [
        Outcome(
            case=record["case"],
            requirement=record["requirement"],
            level=record["level"],
            state=State(record["state"]),
        )
        for record in records
    ]
    worst: dict[str, Outcome] = {}
    for outcome in sorted(outcomes, key=lambda outcome: WORST.index(outcome.state), reverse=True):
        worst[outcome.case] = outcome  # a case that a rerun plugin repeats shows its worst; the verdict sees them all
    extra = sorted(worst.keys() - {*planned})
    decided = verdict.decide([*planned, *extra], outcomes, optional | frozenset(extra))
    if any(suite.cases[name].black_box for name, each in worst.items() if each.state is not State.NOT_DECLARED):
        decided = verdict.BLACK_BOX[decided]
    table: dict[str, Counter[str]] = {}
    for name in (*planned, *extra):
        state = worst[name].state.value if name in worst else "not_run"
        chapter = suite.requirements[suite.cases[name].requirement].chapter
        table.setdefault(chapter, Counter())[state] += 1
    foreign = _foreign(suite, table, records)
    lines = _table(
        {chapter: row for chapter, row in table.items() if set(row) != {"not_run"} and chapter not in foreign}
    )
    lines.append(ROWS)
    if foreign:
        told = ", ".join(f"{chapter} ({table[chapter]['not_declared']})" for chapter in foreign)
        lines.append(f"not asked, because their architecture is not declared: {told}")
    reading = read(records)
    common = causes.told(reading, {name: each.sentence for name, each in suite.requirements.items()})
    # An exception's text is the candidate's, and may hold what steers a terminal or begins another line.
    behind = [legible(line.replace("\n", " / ")) for line in common] + _loudest(suite, records, reading)
    lines += _failing(suite, records, reading)
    if len(outcomes) > len(worst):
        lines.append("some cases ran more than once; a verdict needs one answer to each")
    if names := sorted({name for record in records for name in record["missing"]}):
        lines.append(
            f"not declared, so nothing was asked: {', '.join(names)}; what it takes: llmasos explain {names[0]}"
        )
    asked = [record for record in records if record["state"] != "not_declared"]
    if emulated := sorted({name for record in asked for name in record["emulated"]}):
        lines.append(f"emulated by the adapter, not the runtime: {', '.join(emulated)}")
    return Summary(decided.value, lines, behind)


def _foreign(suite: Suite, table: Mapping[str, Counter[str]], records: Sequence[Record]) -> list[str]:
    """Chapters in which nothing was asked, because every case needs an architecture that is not declared."""
    lacking: dict[str, list[bool]] = {}
    for record in records:
        chapter = suite.requirements[suite.cases[record["case"]].requirement].chapter
        lacking.setdefault(chapter, []).append(bool({*record["missing"]} & {*ARCHITECTURES}))
    return [
        chapter
        for chapter, row in table.items()
        if set(row) - {"not_run"} == {"not_declared"} and all(lacking.get(chapter, [False]))
    ]


def worst(records: Sequence[Record]) -> dict[str, Record]:
    """Case -> what was kept of it; of one that ran more than once, the worst."""
    return {
        record["case"]: record for record in sorted(records, key=lambda each: WORST.index(each["state"]), reverse=True)
    }


def known(entries: Mapping[str, KnownFailure], found: Mapping[str, Standing]) -> tuple[list[str], str]:
    """What became of the known failures, and what to do first about those that stand against the run, if any does."""
    counts = Counter(found.values())
    total = ", ".join(f"{counts[standing]} {standing.value}" for standing in Standing if counts[standing])
    lines = [f"known failures: {total or 'none'}; they change the exit code, not the verdict"]
    against = [case for case, standing in found.items() if standing in knownfailures.AGAINST]
    for case in against[:SHOWN]:
        lines.append(f"{found[case].value}: {case} ({entries[case].where}) "
                     f"{knownfailures.sentence(entries[case], found[case])}")  # fmt: skip
    if len(against) > SHOWN:
        lines.append(f"and {len(against) - SHOWN} more known failures that are not as they were said to be")
    return lines, f"put {entries[against[0]].where} right, which is {found[against[0]].value}" if against else ""


def conclusion(verdict: str, profile: str, planned: Sequence[str], records: Sequence[Record]) -> str:
    """The line of the verdict. A part of a profile has one only if a MUST of the profile fails in it."""
    asked = {record["case"] for record in records}
    beside = sorted(asked - {*planned})
    outside = f"; not in this profile: {', '.join(beside[:3])}" if beside else ""
    outside += f" and {len(beside) - 3} more" if len(beside) > 3 else ""
    ran = len(asked & {*planned})
    if ran == len(planned):
        silent = {record["case"] for record in records if record["state"] == "not_declared"} & {*planned}
        free = ", as the profile allows" if Verdict(verdict).holds else ""
        share = f"; {len(silent)} of {len(planned)} cases not declared{free}" if silent else ""
        return f"verdict: {verdict} ({profile}{share}{outside})"
    share = f"{ran} of {len(planned)} cases"
    failing = any(
        record["state"] == "fail" and record["level"] == "MUST" and record["case"] in planned for record in records
    )
    if failing:
        return f"verdict: {verdict} ({profile}, {share} ran{outside})"
    return f"no verdict: {share} of {profile} ran{outside}"


def first(records: Sequence[Record]) -> str:
    """The failing case to begin with: that of what is behind many, else the most telling; "" if none failed."""
    return _begin(read(records), ranked(records))


def _begin(reading: causes.Reading, failing: Sequence[Record]) -> str:
    """The same of what has been read and ranked."""
    return reading.first or failing[0]["case"] if failing else ""


def next_step(
    verdict: str, planned: Sequence[str], records: Sequence[Record], *, again: str, everything: str, certify: str,
    one: Callable[[str], str], fitting: str = "",
) -> str:  # fmt: skip
    """One thing to do now.

    Args:
        again, everything, certify: commands that repeat the failures, ask all that was planned, and certify.
        one: the command that repeats one case. fitting: the one that asks a profile that the candidate declares.
    """
    states = {record["case"]: record["state"] for record in records}
    if begin := first(records):
        same = next((each for each in read(records).alike if begin in each.cases), None)
        if same is not None:
            return f"mend what stopped {len(same.cases)} cases; repeat one: {one(begin)}, or all that failed: {again}"
        return f"llmasos explain {begin}, or repeat the failures: {again}"
    if {"error", "inconclusive"} & set(states.values()):
        return "mend what could not be judged; until then nobody can say"
    if not {*planned} <= set(states):
        return f"judge the rest: {everything}"
    if Verdict(verdict).holds:
        return f"{certify}   # --key signs it: llmasos keygen"
    if fitting:
        return fitting
    return "declare what the profile requires, or choose one that requires less (--llmasos-profile)"


def loudness(record: Record) -> float | None:
    """By how many honest errors logits are off; None where nothing was measured. NaN is the loudest."""
    ratio = record["figures"].get("ratio")
    if ratio is None or unanswered(record["message"]):
        return None
    return float("inf") if math.isnan(ratio) else float(ratio)


def ranked(records: Sequence[Record]) -> list[Record]:
    """Failing cases once each, the most telling first.

    What was not answered comes first, then wrong logits, the loudest first, then wrong behaviour, which may follow from
    either. The probe built for a fault is louder by orders of magnitude than those that it merely touches. Where many
    logits are off, they come before a few missing answers, and those of models come before those of documents: small
    models with odd sizes are loud whatever is wrong.
    """
    failing = list({record["case"]: record for record in records if record["state"] == "fail"}.values())
    silent = [record for record in failing if unanswered(record["message"])]
    numeric = [record for record in failing if loudness(record) is not None]
    numeric.sort(key=lambda record: -(loudness(record) or 0.0))
    rest = [record for record in failing if not unanswered(record["message"]) and loudness(record) is None]
    if len(numeric) > patterns.MANY:
        numeric.sort(key=lambda record: record["requirement"].partition("-")[0] in DOCUMENTS)
    first = [*numeric, *silent] if len(numeric) > max(patterns.MANY, len(silent)) else [*silent, *numeric]
    return [*first, *rest]


def whole(records: Sequence[Record]) -> list[str]:
    """Failing cases that are shown whole: where to begin, then the most telling of each requirement, then others."""
    begin, telling = first(records), ranked(records)
    loudest = {record["requirement"]: record["case"] for record in reversed(telling)}
    cases = [record["case"] for record in telling]
    ones = [case for case in cases if case in loudest.values()]
    return list(dict.fromkeys([*([begin] if begin else []), *ones, *cases]))[:WHOLE]


def led_away(records: Sequence[Record]) -> frozenset[str]:
    """Failing cases whose own known bugs are not what is wrong, for they fail because others do."""
    reading = read(records)
    begins = _begin(reading, ranked(records))
    requirement = {record["case"]: record["requirement"] for record in records}
    return frozenset(
        case for case, own in requirement.items() if begins and not reading.leads_to(case, own, requirement[begins])
    )


def _loudest(suite: Suite, records: Sequence[Record], reading: causes.Reading) -> list[str]:
    """Where many logits are off and nothing tells more than the loudest case: that one."""
    failing = ranked(records)
    numeric = [record for record in failing if loudness(record) is not None]
    somewhere = reading.onset is not None and reading.onset.position > 0  # a position tells more than the loudest case
    if (
        len(numeric) > patterns.MANY
        and reading.plain is None
        and reading.perhaps is None
        and not reading.wavering
        and not reading.against
        and not somewhere
        and (reading.likely is None or len(reading.likely.explains) <= len(reading.rest))
    ):
        loudest = numeric[0]
        sentence = suite.requirements[loudest["requirement"]].sentence.get("en", "").rstrip(".")
        advice = ": read this one first" if loudest["case"] == _begin(reading, failing) else ""
        return [f"logits are off in {len(numeric)} cases; the loudest is {loudest['case']}: {sentence}{advice}"]
    return []


def _failing(suite: Suite, records: Sequence[Record], reading: causes.Reading) -> list[str]:
    """The failing requirements with their cases, as many as a person reads, without those that are told as alike."""
    failing = ranked(records)
    begin, lines = _begin(reading, failing), list[str]()
    alike = {case for each in reading.alike for case in each.cases}
    cases: dict[str, list[str]] = {}
    for record in sorted(failing, key=lambda record: record["case"] != begin):
        if record["case"] not in alike:
            cases.setdefault(record["requirement"], []).append(record["case"])
    for name, names in [*cases.items()][:SHOWN]:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"failing: {name} ({suite.requirements[name].level}) in {', '.join(names[:SHOWN])}{more}")
    if len(cases) > SHOWN:
        lines.append(f"failing: and {len(cases) - SHOWN} more requirements")
    return lines


def _table(rows: Mapping[str, Counter[str]]) -> list[str]:
    """Chapters down, states across; a state that nobody is in has no column."""
    columns = [name for name in COLUMNS if name == "pass" or any(row[name] for row in rows.values())]
    width = max([len("chapter"), *map(len, rows)]) + 2
    lines = [f"{'chapter':<{width}}" + "".join(f"{name.replace('_', ' '):>{len(name) + 2}}" for name in columns)]
    for chapter, row in rows.items():
        counts = "".join(f"{row[name]:>{len(name) + 2}}" for name in columns)
        lines.append(f"{chapter:<{width}}{counts}")
    return lines
