"""Which requirement was exercised by which case: from what runs emitted, not from what the suites list.

A run has an outcome for every case of its profile. A case that was asked has exercised its requirement; one that is
`not_declared`, `not_run`, `not_applicable` or `waived` was listed and exercised nothing. What stands in the ledger and
in none of the reports is said to be in no profile of these runs, never to be tested.

    passed          cases were judged, all of them right
    failed          at least one was not
    undecided       cases were asked, and at least one could not be judged; none failed
    not_exercised   cases are listed, and none was asked
    not_listed      no profile of these runs has a case of it
    untestable      the ledger says why no case can test it
    withdrawn       it is demanded no more

Reports are read through `verify` as far as that is cheap: form, signature, suite, profile, counts, roots, verdict and
evidence. One that does not hold together is refused, because a table made of it would say nothing. What was not
checked (who signed, unless there is a trust file; that the outcomes follow from the answers, which is `llmasos verify
--rejudge`) is said for every report.

Exit codes: 0 every requirement that can be tested was judged in these runs, 1 a report does not hold together, 2 usage
or a malformed report, 3 some requirement was not judged. Whether a candidate passed is what `verify` is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from llmasos_conformance import reading, report, verify
from llmasos_conformance.canonical import clean
from llmasos_conformance.errors import ReportError
from llmasos_conformance.policy import Trust
from llmasos_conformance.reasons import MALFORMED, POLICY, REASONS
from llmasos_conformance.suite import Requirement, Suite
from llmasos_conformance.verdict import State

EXERCISED = frozenset({State.PASS, State.FAIL, State.ERROR, State.INCONCLUSIVE})
"""Outcomes of cases that were asked."""
EXIT_WHOLE, EXIT_REFUSED, EXIT_PARTIAL = 0, 1, 3


class Refused(ReportError):
    """A report that does not hold together."""

    exit_code = EXIT_REFUSED


class Standing(StrEnum):
    """What the runs say about a requirement; see the module."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    NOT_EXERCISED = "not_exercised"
    NOT_LISTED = "not_listed"
    UNTESTABLE = "untestable"
    WITHDRAWN = "withdrawn"


JUDGED = frozenset({Standing.PASSED, Standing.FAILED})
UNJUDGED = frozenset({Standing.UNDECIDED, Standing.NOT_EXERCISED, Standing.NOT_LISTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A report that was read.

    Attributes:
        path: as it was given. content: the statement. report_id: SHA-256 of its bytes. signed: whether somebody did.
        checked, unchecked: rungs of `verify`. notes: what differs and is not held against the report.
        outcomes: case id -> what the report says of it.
    """

    path: Path
    content: Mapping[str, Any]
    report_id: str
    signed: bool
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]
    notes: tuple[str, ...]
    outcomes: Mapping[str, Mapping[str, Any]]

    @property
    def profile(self) -> str:
        return str(self.content["predicate"]["suite"]["profile"])

    @property
    def candidate(self) -> str:
        who = self.content["predicate"]["candidate"]
        return clean(f"{who['name']} {who['version']}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the runs say about one requirement.

    Attributes:
        cases: id -> outcome in each run, in the order of the runs; empty where a run does not list the case.
        elsewhere: cases of the requirement that no run lists.
    """

    requirement: Requirement
    standing: Standing
    cases: Mapping[str, tuple[str, ...]]
    elsewhere: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What the runs say about the ledger.

    Attributes:
        lines: requirement id -> line, in the order of the ledger. unknown: cases of requirements that it does not have.
    """

    runs: tuple[Run, ...]
    lines: Mapping[str, Line]
    unknown: tuple[str, ...]

    @property
    def totals(self) -> dict[str, int]:
        """Standing -> number of requirements; all are named, so that a zero is said."""
        counts = Counter(line.standing for line in self.lines.values())
        return {str(standing): counts[standing] for standing in Standing}

    @property
    def exit_code(self) -> int:
        return EXIT_PARTIAL if any(line.standing in UNJUDGED for line in self.lines.values()) else EXIT_WHOLE


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(path: Path, *, now: datetime, own: verify.Installed, trust: Trust | None = None) -> Run:
    """Read a report and check it as far as that is cheap.

    Args:
        path: the report's directory, or its envelope. now: in UTC. own: what is installed here.
        trust: None when nobody is trusted; then who signed is not checked.

    Raises:
        Refused: it does not hold together. ReportError: there is none, or it is malformed.
    """
    found = reading.read(path, now=now, own=own, trust=trust)
    reasons = [reason for reason in found.objections if reason.code != "E_UNSIGNED"]
    for reason in reasons:
        code = REASONS[reason.code][0]
        if code != POLICY or found.content is None:
            kind = ReportError if code == MALFORMED else Refused
            hint = (
                "give --trust with a file that names the signer" if code == POLICY else f"llmasos explain {reason.code}"
            )
            raise kind(f"{reason.code}: {reason.message}", where=path, hint=hint)
    assert found.content is not None
    return Run(
        path=path,
        content=found.content,
        report_id=found.report_id,
        signed=reasons == list(found.objections),
        checked=found.checked,
        unchecked=tuple(rung for rung in verify.RUNGS if rung not in found.checked),
        notes=(*(f"{reason.code}: {reason.message}" for reason in reasons), *found.notes),
        outcomes=found.checks,
    )


def read_all(
    paths: Sequence[Path], *, now: datetime, own: verify.Installed, trust: Trust | None = None
) -> tuple[Run, ...]:
    """Read reports; see `read`.

    Raises:
        ReportError: one is given twice.
    """
    runs: dict[str, Run] = {}
    for path in paths:
        run = read(path, now=now, own=own, trust=trust)
        if run.report_id in runs:
            raise ReportError(f"this is the report that {runs[run.report_id].path} is", where=path, hint="give it once")
        runs[run.report_id] = run
    return tuple(runs.values())


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(loaded: Suite, runs: Sequence[Run]) -> Table:
    """What the runs say about every requirement of a ledger."""
    emitted: dict[str, dict[str, tuple[str, ...]]] = {}
    for name in dict.fromkeys(case for run in runs for case in run.outcomes):
        made = next(run.outcomes[name] for run in runs if name in run.outcomes)
        outcomes = tuple(run.outcomes[name]["outcome"] if name in run.outcomes else "" for run in runs)
        emitted.setdefault(made["requirement"], {})[name] = outcomes
    listed: dict[str, list[str]] = {}
    for case in loaded.cases.values():
        listed.setdefault(case.requirement, []).append(case.id)
    lines = {}
    for requirement in loaded.requirements.values():
        cases = emitted.pop(requirement.id, {})
        lines[requirement.id] = Line(
            requirement=requirement,
            standing=standing(requirement, cases),
            cases=cases,
            elsewhere=tuple(name for name in listed.get(requirement.id, ()) if name not in cases),
        )
    return Table(runs=tuple(runs), lines=lines, unknown=tuple(name for cases in emitted.values() for name in cases))


def standing(requirement: Requirement, cases: Mapping[str, Sequence[str]]) -> Standing:
    """What outcomes say about a requirement.

    Args:
        cases: id -> outcomes of what runs emitted.
    """
    states = {State(outcome) for outcomes in cases.values() for outcome in outcomes if outcome}
    if requirement.withdrawn is not None:
        return Standing.WITHDRAWN
    if State.FAIL in states:
        return Standing.FAILED
    if states & {State.ERROR, State.INCONCLUSIVE}:
        return Standing.UNDECIDED
    if State.PASS in states:
        return Standing.PASSED
    if requirement.untestable:
        return Standing.UNTESTABLE
    return Standing.NOT_EXERCISED if states else Standing.NOT_LISTED


def profile_with_the_rest(loaded: Suite, made: Table) -> str:
    """Name of the profile with most cases of requirements that no run has judged; empty if none has any."""
    wanted = {name for line in made.lines.values() if line.standing in UNJUDGED for name in line.elsewhere}
    counts = {name: len(wanted & {*profile.cases}) for name, profile in loaded.profiles.items()}
    best = max(counts, key=lambda name: (counts[name], name), default="")
    return best if best and counts[best] else ""


# ── for people and for programs ──────────────────────────────────────────────────────────────────────────────────────

STANDINGS: Mapping[str, Mapping[Standing, str]] = {
    "en": {
        Standing.PASSED: "passed",
        Standing.FAILED: "failed",
        Standing.UNDECIDED: "undecided",
        Standing.NOT_EXERCISED: "not exercised",
        Standing.NOT_LISTED: "not listed",
        Standing.UNTESTABLE: "untestable",
        Standing.WITHDRAWN: "withdrawn",
    },
    "zh": {
        Standing.PASSED: "通过",
        Standing.FAILED: "未通过",
        Standing.UNDECIDED: "未能判定",
        Standing.NOT_EXERCISED: "未被检验",
        Standing.NOT_LISTED: "未列入",
        Standing.UNTESTABLE: "不可测试",
        Standing.WITHDRAWN: "已撤回",
    },
}
"""Standing -> word."""

CHECKED: Mapping[str, Mapping[str, str]] = {
    "en": {
        "integrity": "the signature fits the content",
        "signer": "the trust file names the signer",
        "suite": "suite and profile are known here, and outcomes, counts, roots and verdict belong together",
        "evidence": "the evidence is the one stated",
        "re-judged": "the outcomes follow from the answers (llmasos verify --rejudge)",
    },
    "zh": {
        "integrity": "签名与内容相符",
        "signer": "信任文件列有签名者",
        "suite": "测试套件与档案为此处所知，结果、计数、根与结论相互一致",
        "evidence": "证据就是所声明的证据",
        "re-judged": "结果由回答得出（llmasos verify --rejudge）",
    },
}
"""Rung of `verify` -> what it is about."""

_WORDS = {
    "en": {
        "run": "run", "checked": "checked", "unchecked": "not checked", "unsigned": "nobody signed it", "note": "note",
        "more": "{} more in no profile of these runs", "total": "{} requirements", "sep": ", ", "why": "why",
        "and": "; ",
        "unknown": "cases of requirements that this ledger does not have",
    },
    "zh": {
        "run": "运行", "checked": "已核查", "unchecked": "未核查", "unsigned": "无人签名", "note": "注意",
        "more": "另有 {} 个用例不在这些运行的档案中", "total": "共 {} 条要求", "sep": "、", "why": "原因",
        "and": "；",
        "unknown": "属于本台账所没有的要求的用例",
    },
}  # fmt: skip


def words(run: Run, lang: str) -> tuple[str, str]:
    """What was checked of a report and what was not, each as one line."""
    said, word = CHECKED[lang], _WORDS[lang]
    left = [said[rung] for rung in run.unchecked if run.signed or rung not in ("integrity", "signer")]
    return (
        word["and"].join(said[rung] for rung in run.checked),
        word["and"].join([*([] if run.signed else [word["unsigned"]]), *left]),
    )


def outcome_words(lang: str) -> Mapping[str, str]:
    """Outcome -> word."""
    return {str(state): report.STATES_ZH[state] if lang == "zh" else str(state).replace("_", " ") for state in State}


def lines(made: Table, lang: str = "en") -> Iterator[str]:
    """The table as a person reads it."""
    word, outcome = _WORDS[lang], outcome_words(lang)
    for number, run in enumerate(made.runs, 1):
        checked, unchecked = words(run, lang)
        yield f"{word['run']} {number}: {run.path}, {report.headline(run.content)}"
        yield f"  {word['checked']}: {checked or '-'}"
        yield f"  {word['unchecked']}: {unchecked}"
        yield from (f"  {word['note']}: {note}" for note in run.notes)
    chapter = ""
    for line in made.lines.values():
        if line.requirement.chapter != chapter:
            chapter = line.requirement.chapter
            yield ""
            yield chapter
        said = [f"{name} {'/'.join(outcome.get(each, '·') for each in cases)}" for name, cases in line.cases.items()]
        said += [word["more"].format(len(line.elsewhere))] if line.elsewhere else []
        if line.standing is Standing.UNTESTABLE:
            reason = line.requirement.untestable
            said.append(f"{word['why']}: {reason.get(lang, reason['en'])}")
        row = (line.requirement.id, line.requirement.level, STANDINGS[lang][line.standing])
        yield f"  {row[0]:<9}{row[1]:<7}{_padded(row[2], 15)}{word['sep'].join(said)}".rstrip()
    yield ""
    if made.unknown:
        yield f"{word['unknown']}: {', '.join(made.unknown)}"
    counts = [f"{STANDINGS[lang][Standing(name)]} {count}" for name, count in made.totals.items() if count]
    yield f"{word['total'].format(len(made.lines))}: {word['sep'].join(counts)}"


def _padded(text: str, width: int) -> str:
    """Text as wide as a column; a Chinese character takes two places."""
    return text + " " * max(width - sum(2 if char > "⺀" else 1 for char in text), 1)


def as_json(made: Table) -> dict[str, Any]:
    """What `llmasos coverage --json` prints; keys are stable."""
    return {
        "schemaVersion": "1.0",
        "exitCode": made.exit_code,
        "reports": [
            {
                "path": str(run.path),
                "id": run.report_id,
                "candidate": run.content["predicate"]["candidate"]["name"],
                "candidateVersion": run.content["predicate"]["candidate"]["version"],
                "profile": run.profile,
                "suite": run.content["predicate"]["suite"]["digest"],
                "verdict": run.content["predicate"]["verdict"],
                "signed": run.signed,
                "checked": list(run.checked),
                "notChecked": list(run.unchecked),
                "notes": list(run.notes),
            }
            for run in made.runs
        ],
        "totals": made.totals,
        "requirements": [
            {
                "id": line.requirement.id,
                "level": line.requirement.level,
                "chapter": line.requirement.chapter,
                "standing": str(line.standing),
                "cases": [
                    {"id": name, "outcomes": [each or None for each in outcomes]}
                    for name, outcomes in line.cases.items()
                ],
                "elsewhere": list(line.elsewhere),
                "untestable": line.requirement.untestable or None,
            }
            for line in made.lines.values()
        ],
        "unknown": list(made.unknown),
    }  # fmt: skip
