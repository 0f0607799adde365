"""Known failures: what a vendor expects to fail, why, how it shows, and until when.

    format: 1
    failures:
    - case: numerics.epsilon
      reason: LayerNorm epsilon is a constant in the kernel, acme/engine#7
      symptom: the honest float32 error over the row
      most: 300
      expires: '2027-03-01'

An entry changes an exit code and nothing else: the outcome of the case, the verdict and the report stay what they are.
It is strict, because a list that only ever grows hides what it was made to show:

    expected    the case fails, and its message holds the symptom; the entry excuses it
    stale       the case passes; the entry is to be taken out
    expired     it fails, and the day is over
    changed     it fails in another way than the one that is known, or an error is larger than `most`
    unjudged    it could not be judged, which the entry does not speak of
    not asked   not declared, not applicable, not run, or not in this run; nothing is known of the failure

All but the first and the last stand against a run.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmasos_conformance import strictyaml
from llmasos_conformance.canonical import clean, schema
from llmasos_conformance.errors import HarnessError, did_you_mean
from llmasos_conformance.strictyaml import Document, Problem
from llmasos_conformance.verdict import HONEST_UNITS


class KnownFailuresError(HarnessError):
    """A file of known failures that is malformed, or speaks of cases that there are none of."""


class Standing(StrEnum):
    """What an entry is worth today; see the module."""

    EXPECTED = "expected"
    STALE = "stale"
    EXPIRED = "expired"
    CHANGED = "changed"
    UNJUDGED = "unjudged"
    NOT_ASKED = "not asked"


AGAINST = frozenset({Standing.STALE, Standing.EXPIRED, Standing.CHANGED, Standing.UNJUDGED})
"""What stands against a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFailure:
    """One case that is expected to fail.

    Attributes:
        case: id. reason: why, for people. symptom: a part of the message of the failure that is known.
        most: largest error that is known, in units of honest error (figures `ratio`, `position`, `peak`); infinite
            where none was given, and figures do not matter then.
        expires: the last day on which it is excused. where: file:line.
    """

    case: str
    reason: str
    symptom: str
    most: float
    expires: date
    where: str


def read(
    path: Path, known: Collection[str] | None = None, withdrawn: Container[str] = ()
) -> Mapping[str, KnownFailure]:
    """Read a file of known failures: case id -> entry, in the order of the file.

    Args:
        known: ids of the cases that there are; None where nothing is known of them, and a misspelt one excuses nothing.
        withdrawn: ids of those that are asked no more.

    Raises:
        KnownFailuresError: it cannot be read, is malformed, or names a case that there is not; with file and line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise KnownFailuresError(
            f"cannot read the known failures: {error.strerror}",
            where=path,
            hint="`llmasos show REPORT --format known-failures --out FILE` writes one to begin with",
        ) from error
    document = strictyaml.read(raw, str(path), strictyaml.Schema(schema("known-failures")))
    problems = list(document.problems)
    entries: dict[str, KnownFailure] = {}
    if not document.broken:
        for i, entry in enumerate(document.value["failures"]):
            problems += _wrong(document, i, entry, entries, known, withdrawn)
            expires = day(entry["expires"])
            if expires is None:
                problems.append(document.problem(("failures", i, "expires"), f"{entry['expires']} is in no calendar"))
                continue
            entries.setdefault(
                entry["case"],
                KnownFailure(
                    case=entry["case"], reason=entry["reason"], symptom=entry["symptom"], expires=expires,
                    most=float(entry.get("most", math.inf)),
                    where=document.line(("failures", i)),
                ),
            )  # fmt: skip
    if problems:
        raise KnownFailuresError(*told(problems, "the known failures"))
    return MappingProxyType(entries)


def told(problems: Sequence[Problem], what: str) -> tuple[str]:
    """All problems of a file in one text, each with its line."""
    if len(problems) == 1:
        return (str(problems[0]),)
    return ("\n  ".join([f"{len(problems)} problems in {what}", *map(str, problems)]),)


def _wrong(
    document: Document, i: int, entry: Mapping[str, Any], earlier: Mapping[str, KnownFailure],
    known: Collection[str] | None, withdrawn: Container[str],
) -> Iterator[Problem]:  # fmt: skip
    case, place = entry["case"], ("failures", i, "case")
    if case in earlier:
        yield document.problem(place, f"{case} stands twice, first at {earlier[case].where}")
    if case in withdrawn:
        yield document.problem(place, f"{case} was withdrawn and is asked no more; take the entry out")
    elif known is not None and case not in known:
        yield document.problem(place, f"there is no case {case}{did_you_mean(case, known)}")


def day(text: str) -> date | None:
    """A day as files write it, 2027-03-01; None for one that is in no calendar."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def standing(
    entry: KnownFailure, state: str, message: str, figures: Mapping[str, float | str], today: date
) -> Standing:
    """What an entry is worth, by the outcome of its case.

    Args:
        state: of the outcome; "" where the case was not in the run. message, figures: of the outcome.
    """
    if state in ("", "not_declared", "not_applicable", "not_run"):
        return Standing.NOT_ASKED
    if state in ("pass", "waived"):
        return Standing.STALE
    if state != "fail":
        return Standing.UNJUDGED
    if today > entry.expires:
        return Standing.EXPIRED
    larger = any(not float(figures[name]) <= entry.most for name in HONEST_UNITS if name in figures)
    same = clean(entry.symptom) in clean(message) and (entry.most == math.inf or not larger)
    return Standing.EXPECTED if same else Standing.CHANGED


REMEDIES: Mapping[Standing, tuple[str, str]] = {
    Standing.EXPECTED: ("fails as expected until {expires}: {reason}", "如预期未通过，有效期至 {expires}：{reason}"),
    Standing.STALE: ("known to fail, and does not: take the entry out", "已知会失败，但并未失败：请删除该条目"),
    Standing.EXPIRED: (
        "known to fail until {expires}, which is over: mend it, or give it another day with a reason",
        "已知失败的期限 {expires} 已过：请修复，或说明理由并另定日期",
    ),
    Standing.CHANGED: (
        "fails otherwise than known, {symptom} was expected: it is another fault, or the entry needs another symptom",
        "失败方式与已知不同，预期为 {symptom}：这是另一缺陷，或应更新该条目的症状",
    ),
    Standing.UNJUDGED: (
        "known to fail, and could not be judged: mend what stands in the way",
        "已知会失败，但无法评判：请先排除障碍",
    ),
    Standing.NOT_ASKED: ("known to fail, and was not asked", "已知会失败，但此次未问及"),
}  # fmt: skip


def sentence(entry: KnownFailure, found: Standing, lang: str = "en") -> str:
    """What to tell a person of an entry."""
    text = REMEDIES[found][lang == "zh"]
    known = repr(clean(entry.symptom, 120))
    if entry.most < math.inf:
        known += {"en": f" and no error above {entry.most:g}", "zh": f" 且误差不超过 {entry.most:g}"}[lang]
    return text.format(expires=entry.expires, reason=clean(entry.reason), symptom=known)
