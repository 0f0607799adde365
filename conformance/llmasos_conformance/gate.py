"""Whether a candidate may be released: reports against a policy, rule by rule.

    format: 1
    profiles:
    - {profile: core/gpt/logits, verdict: conformant, level: SHOULD}
    - {profile: quick}
    checked: re-judged
    signer: {trust: trust.json, owners: [acme], roles: [vendor]}
    suite: {minimum: 0.1.0}
    age: {days: 30}
    known-failures: known-failures.yaml
    regressions: {forbid: [broken, undeclared, precision]}
    drift: {most: 0.8, growth: 4}

A rule holds, is broken, or cannot be decided. One broken rule: NO-GO. None broken and one undecided: INCONCLUSIVE. All
hold: GO. What was not seen never holds: a profile without a report, a report that says nothing, a comparison without a
previous report are undecided. A gate has no word about the report or its verdict; it says what its owner makes of them.

Exit codes: 0 GO, 1 NO-GO, 2 usage or a malformed policy, 3 INCONCLUSIVE.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llmasos_conformance import differences, installed, knownfailures, policy, published, report, strictyaml
from llmasos_conformance.canonical import clean, schema
from llmasos_conformance.differences import Move
from llmasos_conformance.errors import HarnessError, SuiteError
from llmasos_conformance.knownfailures import KnownFailure, Standing
from llmasos_conformance.policy import Trust
from llmasos_conformance.reading import Read
from llmasos_conformance.reasons import MALFORMED, REASONS
from llmasos_conformance.strictyaml import Document, Problem
from llmasos_conformance.verdict import BLACK_BOX, EXIT_CODES, State, Verdict, decide

if TYPE_CHECKING:
    from llmasos_conformance.suite import Suite

LEVELS = ("MUST", "SHOULD", "MAY")
UNSEEN = frozenset({"E_REJUDGE_SUITE", "E_BUNDLE_ABSENT"})
"""Objections that say that something could not be looked at; the others say that something is not as it must be."""


class PolicyError(HarnessError):
    """A policy that is malformed, or does not fit the reports."""


class Answer(StrEnum):
    """What the gate says."""

    GO = "GO"
    NO_GO = "NO-GO"
    INCONCLUSIVE = "INCONCLUSIVE"


EXITS: Mapping[Answer, int] = {
    Answer.GO: EXIT_CODES[Verdict.CONFORMANT], Answer.NO_GO: EXIT_CODES[Verdict.NON_CONFORMANT],
    Answer.INCONCLUSIVE: EXIT_CODES[Verdict.INCOMPLETE],
}  # fmt: skip


class Held(StrEnum):
    """What became of a rule."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNDECIDED = "undecided"


# ── the policy ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A profile that must be among the reports.

    Attributes:
        verdict: "conformant", "black-box conformant" or "any"; the first is never met by the second.
        level: the weakest sentences whose failure counts.
    """

    profile: str
    verdict: str = "conformant"
    level: str = "MUST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What reports must show; gate.schema.json says what each part means. None and empty: no such rule."""

    path: Path
    profiles: tuple[Wanted, ...]
    checked: str = "evidence"
    unsigned: bool = False
    trust: Trust | None = None
    owners: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    minimum: str = ""
    days: int | None = None
    known: Mapping[str, KnownFailure] | None = None
    forbid: tuple[str, ...] = ()
    compare_always: bool = True
    most: float | None = None
    growth: float | None = None
    above: float = differences.QUIET
    drift_always: bool = True


def read_policy(path: Path, suites: Callable[[], Suite] | None = None) -> Policy:
    """Read a policy, and what it names: trust file and known failures lie where it says, relative to it.

    Args:
        suites: loads the installed ones, which is asked only where the cases of known failures are to be held against
            them; None where a misspelt one is to be found out by excusing nothing.

    Raises:
        HarnessError: it cannot be read or is malformed, with every file and line; or a file that it names is.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyError(f"cannot read the policy: {error.strerror}", where=path, hint="see docs/gates.md") from error
    document = strictyaml.read(raw, str(path), strictyaml.Schema(schema("gate")))
    problems = [*document.problems, *([] if document.broken else _wrong(document))]
    if problems:
        raise PolicyError(*knownfailures.told(problems, "the policy"))
    said: Mapping[str, Any] = document.value
    signer, drift, regressions = (said.get(key, {}) for key in ("signer", "drift", "regressions"))
    known = None
    if "known-failures" in said:
        cases, withdrawn = (None, ()) if suites is None else _ids(suites())
        known = knownfailures.read(path.parent / said["known-failures"], cases, withdrawn)
    return Policy(
        path=path,
        profiles=tuple(Wanted(**each) for each in said["profiles"]),
        checked=said.get("checked", "evidence"),
        unsigned=said.get("unsigned", False),
        trust=policy.read_trust(path.parent / signer["trust"]) if signer else None,
        owners=frozenset(signer.get("owners", ())),
        roles=frozenset(signer.get("roles", ())),
        minimum=said.get("suite", {}).get("minimum", ""),
        days=said.get("age", {}).get("days"),
        known=known,
        forbid=tuple(regressions.get("forbid", ())),
        compare_always=regressions.get("previous", "required") == "required",
        most=drift.get("most"),
        growth=drift.get("growth"),
        above=drift.get("above", differences.QUIET),
        drift_always=drift.get("previous", "required") == "required",
    )


def _ids(suite: Suite) -> tuple[Collection[str] | None, Collection[str]]:
    return suite.cases, suite.withdrawn


def _wrong(document: Document) -> Iterator[Problem]:
    """What a schema cannot say."""
    said, seen = document.value, dict[str, str]()
    for i, each in enumerate(said["profiles"]):
        place = ("profiles", i, "profile")
        if each["profile"] in seen:
            yield document.problem(place, f"{each['profile']} stands twice, first at {seen[each['profile']]}")
        seen.setdefault(each["profile"], document.line(place))
    if said.get("unsigned") and "signer" in said:
        yield document.problem(("unsigned",), "a report that nobody signed has no signer; drop one of the two")
    if "drift" in said and not {"most", "growth"} & said["drift"].keys():
        yield document.problem(("drift",), "it limits nothing; give most, growth or both")
    if "drift" in said and "growth" not in said["drift"]:
        for key in ("above", "previous"):
            if key in said["drift"]:
                yield document.problem(("drift", key), "it says something of growth, and growth is not limited")


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────

Text = Mapping[str, str]
"""A sentence in "en" and "zh"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, looked at.

    Attributes:
        name: stable, for programs. profile: that it is about; "" for all. wants, saw: what was due, and what there is.
        cases: that it is about, those that count most first.
    """

    name: str
    held: Held
    wants: Text
    saw: Text
    profile: str = ""
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A report, and what it is held against.

    Attributes:
        report: read, whatever stands against it. previous: the earlier report of the same profile, if there is one.
        profile: the frozen profile; None where there is none of this content here.
    """

    report: Read
    previous: Read | None = None
    profile: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the gate says, and why."""

    rules: tuple[Rule, ...]

    @property
    def answer(self) -> Answer:
        held = {rule.held for rule in self.rules}
        if Held.BROKEN in held:
            return Answer.NO_GO
        return Answer.INCONCLUSIVE if Held.UNDECIDED in held or not held else Answer.GO

    @property
    def exit_code(self) -> int:
        return EXITS[self.answer]

    def against(self) -> list[Rule]:
        """The rules that keep it from GO, broken ones first."""
        found = [rule for rule in self.rules if rule.held is not Held.HOLDS]
        return sorted(found, key=lambda rule: rule.held is not Held.BROKEN)

    def as_json(self, lang: str = "en") -> dict[str, Any]:
        """What `llmasos gate --json` prints beside the reports; keys are stable."""
        return {
            "answer": str(self.answer),
            "exitCode": self.exit_code,
            "rules": [
                {"rule": rule.name, "held": str(rule.held), "profile": rule.profile or None, "wants": rule.wants[lang],
                 "saw": rule.saw[lang], "cases": list(rule.cases)}
                for rule in self.rules
            ],
        }  # fmt: skip


def pair(wanted: Policy, reports: Sequence[Read], previous: Sequence[Read], suites: Path) -> list[Given]:
    """Each report with the previous one of its profile, and the frozen profile.

    Args:
        suites: directory of the installed suites.

    Raises:
        PolicyError: a report is of a profile that the policy does not name, or two previous ones are of one profile.
    """
    names, earlier = {each.profile for each in wanted.profiles}, dict[str, Read]()
    for each in previous:
        if each.content is None:
            raise PolicyError(f"the previous report is none: {each.warning}", where=each.path)
        if earlier.setdefault(each.profile, each) is not each:
            told = f"a second previous report of the profile {each.profile}"
            raise PolicyError(told, where=each.path, hint="give one for each profile")
    made = []
    for each in reports:
        if each.content is None:
            made.append(Given(report=each))
            continue
        if each.profile not in names:
            raise PolicyError(
                f"a report of {each.profile}, which the policy does not name", where=each.path,
                hint=f"name the profile in {wanted.path}, in the place of one that you do not certify or beside it",
            )  # fmt: skip
        digest, profile = each.predicate["suite"]["profileDigest"], None
        with contextlib.suppress(SuiteError):
            profile = installed.frozen_profile(suites, each.profile, digest)
        fits = profile is not None and installed.profile_digest(profile) == digest
        made.append(Given(report=each, previous=earlier.get(each.profile), profile=profile if fits else None))
    return made


def decision(wanted: Policy, given: Sequence[Given], now: datetime) -> Decision:
    """Every rule of a policy, looked at.

    Args:
        given: see `pair`. now: in UTC.
    """
    rules: list[Rule] = []
    for each in given:
        if each.report.content is None:
            rules.append(_verified(wanted, each.report))
    for profile in wanted.profiles:
        fitting = [each for each in given if each.report.content is not None and each.report.profile == profile.profile]
        rules.append(_present(profile, fitting))
        for each in fitting:
            rules += _of_one(wanted, profile, each, now)
    rules += _one_candidate([each.report for each in given if each.report.content is not None])
    return Decision(rules=tuple(rules))


def _of_one(wanted: Policy, profile: Wanted, given: Given, now: datetime) -> Iterator[Rule]:
    """The rules about one report. What cannot be believed is not looked into: nothing in it would say anything."""
    read = given.report
    verified = _verified(wanted, read)
    yield verified
    if verified.held is not Held.HOLDS:
        return
    if wanted.trust is not None:
        yield _signer(wanted, read)
    standings = _standings(wanted, read, now)
    excused = frozenset(case for case, found in standings.items() if found is Standing.EXPECTED)
    yield _verdict(profile, given, excused)
    if wanted.known is not None:
        yield _known(wanted.known, standings, read)
    if wanted.minimum:
        yield _suite(wanted.minimum, read)
    if wanted.days is not None:
        yield _age(wanted.days, read, now)
    if wanted.forbid:
        yield _regressions(wanted, given, excused)
    if wanted.most is not None:
        yield _most(wanted.most, read, excused)
    if wanted.growth is not None:
        yield _growth(wanted, given, excused)


def _named(names: Sequence[str], lang: str) -> str:
    """A few names, and how many more there are."""
    more = {"en": f" and {len(names) - 5} more", "zh": f" 等 {len(names)} 个"}[lang] if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _both(en: str, zh: str, names: Sequence[str] = ()) -> Text:
    return MappingProxyType(
        {"en": en + _named(names, "en"), "zh": zh + _named(names, "zh")} if names else {"en": en, "zh": zh}
    )


def _present(profile: Wanted, fitting: Sequence[Given]) -> Rule:
    name = profile.profile
    return Rule(
        name="profile", profile=name, held=Held.HOLDS if fitting else Held.UNDECIDED,
        wants=_both(f"a report of {name}", f"{name} 的报告"),
        saw=_both(", ".join(str(each.report.path) for each in fitting) or "there is none",
                  ", ".join(str(each.report.path) for each in fitting) or "没有"),
    )  # fmt: skip


def _verified(wanted: Policy, read: Read) -> Rule:
    objections = [each for each in read.objections if not (wanted.unsigned and each.code == "E_UNSIGNED")]
    held = Held.HOLDS
    if objections:
        unseen = all(each.code in UNSEEN for each in objections)
        # Bytes that are no report say nothing of a candidate; that a report is unsigned is known for certain.
        torn = read.content is None and REASONS[objections[0].code][0] == MALFORMED
        held = Held.UNDECIDED if unseen or torn else Held.BROKEN
    elif wanted.checked not in read.checked:
        held = Held.UNDECIDED
    told = "; ".join(f"{each.code}: {each.message}" for each in objections)
    reached = ", ".join(read.checked) or "-"
    unknown, zh = ("", "") if wanted.trust is not None else ("; nobody asked who signed", "；未查问签名者")
    if any(each.code == "E_UNSIGNED" for each in read.objections):
        unknown, zh = "; nobody has signed it", "；无人签名"
    return Rule(
        name="verified", profile="" if read.content is None else read.profile, held=held,
        wants=_both(f"{read.path} verifies up to {wanted.checked}", f"{read.path} 通过验证，至 {wanted.checked}"),
        saw=_both(told or f"checked: {reached}{unknown}", told or f"已检查：{reached}{zh}"),
    )  # fmt: skip


def _signer(wanted: Policy, read: Read) -> Rule:
    owner, role = read.signer
    fits = (not wanted.owners or owner in wanted.owners) and (not wanted.roles or role in wanted.roles)
    who = ", ".join(sorted(wanted.owners)) or "-"
    kinds = ", ".join(sorted(wanted.roles)) or "-"
    return Rule(
        name="signer", profile=read.profile, held=Held.HOLDS if owner and fits else Held.BROKEN,
        wants=_both(f"signed by one of the trust file; owners: {who}; roles: {kinds}",
                    f"由信任文件中的密钥签名；所有者：{who}；角色：{kinds}"),
        saw=_both(f"{owner} ({role})" if owner else "nobody who is known", f"{owner} ({role})" if owner else "未知"),
    )  # fmt: skip


def _standings(wanted: Policy, read: Read, now: datetime) -> dict[str, Standing]:
    """What each known failure is worth in a report."""
    checks = read.checks
    return {
        case: knownfailures.standing(
            entry, made.get("outcome", ""), made.get("message", ""), made.get("figures", {}), now.date()
        )
        for case, entry in (wanted.known or {}).items()
        for made in (checks.get(case, {}),)
    }


def _verdict(profile: Wanted, given: Given, excused: frozenset[str]) -> Rule:
    """The verdict as the policy wants it: weaker sentences may count too, and known failures do not."""
    read = given.report
    verdict, summary = read.predicate["verdict"], read.predicate["summary"]
    wants = _both(
        f"{profile.verdict} in {profile.profile}, counting {_counted(profile.level)}",
        f"{profile.profile} 的结论为 {profile.verdict}，计入 {_counted(profile.level)}",
    )
    counts = ", ".join(f"{count} {state}" for state, count in summary.items() if count)
    if profile.verdict == "any":
        return Rule(name="verdict", profile=read.profile, held=Held.HOLDS, wants=wants,
                    saw=_both(f"{verdict} ({counts})", f"{verdict}（{counts}）"))  # fmt: skip
    if given.profile is None:
        return Rule(name="verdict", profile=read.profile, held=Held.UNDECIDED, wants=wants,
                    saw=_both("the profile is not installed here in this form", "此处未安装该内容的档案"))  # fmt: skip
    found, wrong = counting(given.profile, read, profile.level, excused)
    held = _held(profile.verdict, found)
    said, zh = f"{verdict} ({counts})", f"{verdict}（{counts}）"
    if used := sorted(excused & read.checks.keys()):
        said += f"; known failures left out: {_named(used, 'en')}"
        zh += f"；已排除已知失败：{_named(used, 'zh')}"
    if wrong:
        said, zh = f"{said}; against it: ", f"{zh}；不符："
    return Rule(name="verdict", profile=read.profile, held=held, wants=wants, saw=_both(said, zh, wrong),
                cases=tuple(wrong))  # fmt: skip


def _held(wanted: str, found: Verdict) -> Held:
    """Whether a verdict is the one that is wanted. Answers of a server never stand for what was looked at."""
    due = Verdict(wanted.replace("-", "_").replace(" ", "_"))
    if found.holds and found is not due:
        return Held.BROKEN
    return Held.HOLDS if found.holds else Held.BROKEN if found.fails else Held.UNDECIDED


def _counted(level: str) -> str:
    return ", ".join(LEVELS[: LEVELS.index(level) + 1])


def counting(profile: Mapping[str, Any], read: Read, level: str, excused: frozenset[str]) -> tuple[Verdict, list[str]]:
    """What a report amounts to where weaker sentences count too and some failures do not: the algebra of `verdict`.

    Args:
        profile: frozen. level: the weakest that counts. excused: cases whose failure does not count.

    Returns:
        The verdict, and the cases that stand against it, failures first.
    """
    counted = LEVELS[: LEVELS.index(level) + 1]
    outcomes = []
    for made in read.predicate["checks"]:
        outcome = report.outcome_of(made)
        state = State.WAIVED if outcome.case in excused and outcome.state is State.FAIL else outcome.state
        weight = "MUST" if outcome.level in counted else outcome.level
        outcomes.append(replace(outcome, level=weight, state=state))
    optional = report.optional_cases(profile)
    found = decide([case["id"] for case in profile["cases"]], outcomes, optional)
    found = BLACK_BOX[found] if profile.get("hosted") else found
    bad = (State.FAIL, State.ERROR, State.INCONCLUSIVE, State.NOT_RUN, State.NOT_DECLARED)
    wrong = [
        each for each in outcomes
        if (each.level == "MUST" or each.state is State.NOT_RUN) and each.state in bad
        and not (each.state is State.NOT_DECLARED and each.case in optional)
    ]  # fmt: skip
    return found, [each.case for each in sorted(wrong, key=lambda each: bad.index(each.state))]


def _known(known: Mapping[str, KnownFailure], standings: Mapping[str, Standing], read: Read) -> Rule:
    against = [case for case, found in standings.items() if found in knownfailures.AGAINST]
    undecided = all(standings[case] is Standing.UNJUDGED for case in against)
    used = sum(found is Standing.EXPECTED for found in standings.values())
    told = {
        lang: "; ".join(f"{case} ({known[case].where}) {knownfailures.sentence(known[case], standings[case], lang)}"
                        for case in against)
        for lang in ("en", "zh")
    }  # fmt: skip
    return Rule(
        name="known-failures", profile=read.profile,
        held=Held.HOLDS if not against else Held.UNDECIDED if undecided else Held.BROKEN,
        wants=_both("every known failure is as it was said to be", "每一条已知失败均与所述相符"),
        saw=_both(told["en"] or f"{used} of {len(known)} fail as expected, none otherwise",
                  told["zh"] or f"{len(known)} 条中 {used} 条如预期未通过，无其他情况"),
        cases=tuple(against),
    )  # fmt: skip


def _suite(minimum: str, read: Read) -> Rule:
    version = read.predicate["suite"]["version"]
    try:
        held = Held.HOLDS if published.number(version) >= published.number(minimum) else Held.BROKEN
    except SuiteError:
        held = Held.UNDECIDED
    return Rule(name="suite", profile=read.profile, held=held, saw=_both(clean(version), clean(version)),
                wants=_both(f"suites of {minimum} or later", f"测试套件版本不低于 {minimum}"))  # fmt: skip


def _age(days: int, read: Read, now: datetime) -> Rule:
    finished = policy.moment(read.predicate["run"]["finishedAt"])
    return Rule(
        name="age", profile=read.profile, held=Held.HOLDS if now - finished <= timedelta(days=days) else Held.BROKEN,
        wants=_both(f"a run of the last {days} days", f"最近 {days} 天内的运行"),
        saw=_both(f"finished {read.predicate['run']['finishedAt']}", f"完成于 {read.predicate['run']['finishedAt']}"),
    )  # fmt: skip


def _missing(given: Given) -> tuple[Text | None, bool]:
    """Why there is no comparison, None where there is one; and whether the previous report is there at all."""
    before = given.previous
    if before is None:
        return _both("there is no previous report of the profile", "没有该档案的先前报告"), False
    if before.objections:
        told = f"{before.objections[0].code}: {before.objections[0].message}"
        return _both(f"the previous report does not verify: {told}", f"先前的报告未通过验证：{told}"), True
    names = [each.predicate["candidate"]["name"] for each in (before, given.report)]
    if names[0] != names[1]:
        told = " / ".join(clean(name, 60) for name in names)
        return _both(
            f"the previous report is of another candidate: {told}", f"先前的报告属于另一候选实现：{told}"
        ), True
    return None, True


def _regressions(wanted: Policy, given: Given, excused: frozenset[str]) -> Rule:
    wants = _both("nothing against the previous report is ", "与先前报告相比，不得有：", wanted.forbid)
    why, there = _missing(given)
    if why is not None:
        held = Held.UNDECIDED if there or wanted.compare_always else Held.HOLDS
        return Rule(name="regressions", profile=given.report.profile, held=held, wants=wants, saw=why)
    assert given.previous is not None
    found = differences.between(given.previous.content or {}, given.report.content or {})
    against = [each for each in found.cases if str(each.move) in wanted.forbid
               and not (each.move is Move.BROKEN and each.case in excused)]  # fmt: skip
    told = [f"{each.case} {each.move}" for each in against]
    if "precision" in wanted.forbid and found.coarser:
        told.insert(0, f"precision {found.precision[0]} -> {found.precision[1] or 'coarser than any dtype'}")
    held = Held.BROKEN if told else Held.HOLDS
    saw = _both("", "", told) if told else _both("none of it", "均无")
    return Rule(name="regressions", profile=given.report.profile, held=held, wants=wants, saw=saw,
                cases=tuple(each.case for each in against))  # fmt: skip


def _most(most: float, read: Read, excused: frozenset[str]) -> Rule:
    found = {key: share for key, share in differences.shares(read.content or {}).items() if key[0] not in excused}
    over = sorted((key for key, share in found.items() if not share <= most), key=lambda key: -found[key])
    told = [f"{case} {name} {found[case, name]:.3g}" for case, name in over]
    largest = max(found.values(), default=None)
    none = "no error was measured" if largest is None else f"the largest of {len(found)} is {largest:.3g}"
    zh = "没有测得误差" if largest is None else f"{len(found)} 个中最大为 {largest:.3g}"
    return Rule(
        name="drift-most", profile=read.profile, held=Held.BROKEN if over else Held.HOLDS,
        wants=_both(f"no error is more than {most:g} of its bound", f"误差不超过其界限的 {most:g}"),
        saw=_both("", "", told) if told else _both(none, zh), cases=tuple(dict.fromkeys(case for case, _ in over)),
    )  # fmt: skip


def _growth(wanted: Policy, given: Given, excused: frozenset[str]) -> Rule:
    assert wanted.growth is not None
    wants = _both(
        f"no error has grown more than {wanted.growth:g} times, once above {wanted.above:g} of its bound",
        f"误差一旦超过其界限的 {wanted.above:g}，增长不得超过 {wanted.growth:g} 倍",
    )
    why, there = _missing(given)
    if why is not None:
        held = Held.UNDECIDED if there or wanted.drift_always else Held.HOLDS
        return Rule(name="drift-growth", profile=given.report.profile, held=held, wants=wants, saw=why)
    assert given.previous is not None
    figures = differences.drifts(given.previous.content or {}, given.report.content or {})
    over = [each for each in figures
            if each.case not in excused and not each.now <= wanted.above and each.growth > wanted.growth]  # fmt: skip
    told = [f"{each.case} {each.name} {each.then:.3g} -> {each.now:.3g}" for each in over]
    return Rule(
        name="drift-growth", profile=given.report.profile, held=Held.BROKEN if over else Held.HOLDS, wants=wants,
        saw=_both("", "", told) if told else _both("none of it", "均无"),
        cases=tuple(dict.fromkeys(each.case for each in over)),
    )  # fmt: skip


def _one_candidate(reports: Sequence[Read]) -> Iterator[Rule]:
    """Reports of different candidates, or different adapters, say nothing together."""
    if len(reports) < 2:
        return
    who = {
        (each.candidate, next(named["digest"]["sha256"] for named in (each.content or {})["subject"]
                              if named["name"] == "adapter")): each.candidate
        for each in reports
    }  # fmt: skip
    names = [f"{name} (adapter {digest[:12]})" for name, digest in who]
    yield Rule(
        name="candidate", held=Held.HOLDS if len(who) == 1 else Held.BROKEN,
        wants=_both("all reports are of one candidate with one adapter", "所有报告均属于同一候选实现与同一适配器"),
        saw=_both("", "", names),
    )  # fmt: skip


# ── for people ───────────────────────────────────────────────────────────────────────────────────────────────────────


def conclusion(decided: Decision, lang: str = "en") -> str:
    """The line of the answer: which it is, and the rules that are in the way."""
    named = [f"{rule.name} {rule.profile}".rstrip() for rule in decided.against()]
    if not named:
        return f"{decided.answer}: " + {"en": "every rule holds", "zh": "每条规则均成立"}[lang]
    broken = sum(rule.held is Held.BROKEN for rule in decided.rules)
    counts = {
        "en": f"{broken} broken, {len(named) - broken} undecided",
        "zh": f"{broken} 条不成立，{len(named) - broken} 条无法判定",
    }[lang]
    return f"{decided.answer}: {counts} ({', '.join(named)})"


_HEADS = {"en": ("rule", "", "due", "seen"), "zh": ("规则", "", "应为", "所见")}
_MARKS = {Held.HOLDS: "✅", Held.BROKEN: "❌", Held.UNDECIDED: "❔"}
_WORDS = {
    "en": {Held.HOLDS: "holds", Held.BROKEN: "broken", Held.UNDECIDED: "undecided"},
    "zh": {Held.HOLDS: "成立", Held.BROKEN: "不成立", Held.UNDECIDED: "无法判定"},
}


def markdown(decided: Decision, lang: str = "en") -> str:
    """The answer as a page for a job summary, the answer first."""
    lines = [f"## {conclusion(decided, lang)}", "", "| " + " | ".join(_HEADS[lang]) + " |", "|---|---|---|---|"]
    for rule in decided.rules:
        name = f"{rule.name} `{rule.profile}`" if rule.profile else rule.name
        mark = f"{_MARKS[rule.held]} {_WORDS[lang][rule.held]}"
        cells = (report.cell(clean(text[lang], 1000)) for text in (rule.wants, rule.saw))
        lines.append(f"| {name} | {mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
