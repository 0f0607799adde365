"""What a self-test tells people: a case that is not right, the table, the verdict, the next step. Knows no pytest."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llmasos_conformance import verdict
from llmasos_conformance.suite import Case, Requirement, Suite
from llmasos_conformance.verdict import Outcome, State

Record = Mapping[str, Any]
"""What is kept of an outcome; see `record`."""

WORST = ("fail", "error", "inconclusive", "not_run", "not_declared", "not_applicable", "waived", "pass")
COLUMNS = ("pass", "fail", "error", "inconclusive", "not_declared", "not_applicable", "not_run")


def record(outcome: Outcome, missing: Sequence[str]) -> str:
    """An outcome as JSON text: what crosses from an xdist worker must be made of builtin types alone.

    Args:
        missing: capabilities that the case needs and the candidate does not declare.
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
        }
    )


@functools.lru_cache(maxsize=16)
def parse(text: str) -> Record:
    """What `record` wrote."""
    made: Record = json.loads(text)
    return made


def failure(outcome: Outcome, case: Case, requirement: Requirement, again: str) -> str:
    """What a person needs to act on, most important first.

    Args:
        again: command that asks the case again.
    """
    sentence = requirement.sentence.get("en", "")
    head = {"fail": "fail", "error": "could not be judged"}.get(outcome.state, "inconclusive, could not be judged")
    message, *more = (outcome.message or "no reason was given").splitlines()
    figures = ", ".join(f"{name} {value:.4g}" for name, value in outcome.figures.items())
    rows = [
        ("", "\n".join(more)),
        (f"{requirement.id} {requirement.level}", sentence),
        ("effect", case.effect.get("en", "")),
        ("expected", outcome.expected),
        ("got", outcome.got),
        ("figures", figures),
        ("example", "" if outcome.example is None else f"{outcome.example} of {case.examples}"),
        ("minimal", outcome.minimal),
        ("reproduce", again),
    ]
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{head}: {message} ({requirement.id})"]
    for name, text in rows:
        for number, line in enumerate(text.splitlines()):
            lines.append(f"  {name if number == 0 else '':<{width}}{line}".rstrip())
    return "\n".join(lines)


def summarise(
    suite: Suite, planned: Sequence[str], optional: frozenset[str], records: Sequence[Record]
) -> tuple[str, list[str]]:
    """The verdict, and the table by chapter with what failed below it.

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
    table: dict[str, Counter[str]] = {}
    for name in (*planned, *extra):
        state = worst[name].state.value if name in worst else "not_run"
        chapter = suite.requirements[suite.cases[name].requirement].chapter
        table.setdefault(chapter, Counter())[state] += 1
    lines = _table(table)
    failing = [name for name in (*planned, *extra) if name in worst and worst[name].state is State.FAIL]
    for requirement in sorted({worst[name].requirement for name in failing}):
        cases = ", ".join(name for name in failing if worst[name].requirement == requirement)
        lines.append(f"failing: {requirement} ({suite.requirements[requirement].level}) in {cases}")
    if len(outcomes) > len(worst):
        lines.append("some cases ran more than once; a verdict needs one answer to each")
    if names := sorted({name for record in records for name in record["missing"]}):
        lines.append(f"not declared, so nothing was asked: {', '.join(names)}")
    asked = [record for record in records if record["state"] != "not_declared"]
    if emulated := sorted({name for record in asked for name in record["emulated"]}):
        lines.append(f"emulated by the adapter, not the runtime: {', '.join(emulated)}")
    return decided.value, lines


def next_step(
    verdict: str, planned: Sequence[str], records: Sequence[Record], *, again: str, everything: str, certify: str
) -> str:
    """One thing to do now.

    Args:
        again, everything, certify: commands that repeat the failures, ask all that was planned, and certify.
    """
    states = {record["case"]: record["state"] for record in records}
    if failing := [case for case, state in states.items() if state == "fail"]:
        return f"llmasos explain {failing[0]}, or repeat the failures: {again}"
    if {"error", "inconclusive"} & set(states.values()):
        return "mend what could not be judged; until then nobody can say"
    if not {*planned} <= set(states):
        return f"judge the rest: {everything}"
    if verdict == "conformant":
        return certify
    return "declare what the profile requires, or choose one that requires less (--llmasos-profile)"


def _table(rows: Mapping[str, Counter[str]]) -> list[str]:
    """Chapters down, states across; a state that nobody is in has no column."""
    columns = [name for name in COLUMNS if name == "pass" or any(row[name] for row in rows.values())]
    width = max([len("chapter"), *map(len, rows)]) + 2
    lines = [f"{'chapter':<{width}}" + "".join(f"{name.replace('_', ' '):>{len(name) + 2}}" for name in columns)]
    for chapter, row in rows.items():
        counts = "".join(f"{row[name]:>{len(name) + 2}}" for name in columns)
        lines.append(f"{chapter:<{width}}{counts}")
    return lines
