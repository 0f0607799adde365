"""YAML to Suite, Case, Requirement and Profile; whatever is malformed is refused with file, line and reason.

    suites/requirements/<chapter>.yaml   the standard as a ledger          -> Requirement
    suites/<family>.yaml                 cases                             -> Case
    suites/profiles/…/<name>.json        frozen lists, written by `freeze` -> Profile
    suites/published.json                what earlier versions promised    -> held against all of it, see `published`

All problems of all files are reported together. `frozen_profile` reads JSON and needs no YAML. What is marked as
`withdrawn` is read, keeps its id, and is neither demanded nor asked.

    python -m llmasos_conformance.suite freeze core/gpt3/logits --requires load_model,forward --match 'logits.*'
    python -m llmasos_conformance.suite changes     what a candidate that passed could newly fail
    python -m llmasos_conformance.suite publish     the register of ids, when a version goes out
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos_conformance import __version__, profiles, published, strictyaml
from llmasos_conformance.canonical import compact, digest_of, schema, sha256
from llmasos_conformance.errors import HarnessError, SuiteError, did_you_mean
from llmasos_conformance.profiles import Profile, frozen_profile
from llmasos_conformance.strictyaml import Document, Problem

if TYPE_CHECKING:
    from llmasos_conformance.checks import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Why something counts no more. Its id stays taken.

    Attributes:
        since: version of the standard. why: "en"/"zh" -> text. instead: ids that took its place.
    """

    since: str
    why: Mapping[str, str]
    instead: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Erratum:
    """A better wording of the same demand.

    Attributes:
        since: version of the standard. was: the sentence as it had been published. why: "en"/"zh" -> text, as `was`.
    """

    since: str
    was: Mapping[str, str]
    why: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One normative sentence.

    Attributes:
        level: MUST, SHOULD or MAY. chapter: its place in the standard.
        sentence: "en"/"zh" -> text. source: where it comes from, or what it settles, "en" and perhaps "zh" -> text.
        where: file:line.
        untestable: why no case tests it, as `source`; empty for one that cases test.
        withdrawn: None for one in force. errata: oldest first.
    """

    id: str
    level: str
    chapter: str
    sentence: Mapping[str, str]
    source: Mapping[str, str]
    where: str = ""
    untestable: Mapping[str, str] = field(default_factory=dict)
    withdrawn: Withdrawal | None = None
    errata: tuple[Erratum, ...] = ()


BLACK_BOX = frozenset({"completions", "chat"})
"""Capabilities of who serves a model of his own choice: nobody loads it, and all that is known of it are answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One entry of a suite file.

    Attributes:
        id: never reused. requirement: id of the ledger. check: name of the check that judges it.
        given: data for the check, defaults filled in.
        examples: how many certified inputs are drawn; 1 for a case that draws nothing.
        needs: capabilities, the check's and the case's own, and the architecture of the bundles that it loads.
        effect: "en"/"zh": what a failure means for users.
        where: file:line.
        withdrawn: None for one in force. One that is withdrawn is not held against its check, which may be gone.
    """

    id: str
    requirement: str
    check: str
    given: Mapping[str, Any]
    examples: int
    needs: frozenset[str]
    effect: Mapping[str, str]
    where: str
    withdrawn: Withdrawal | None = None

    @property
    def black_box(self) -> bool:
        """Whether it asks a server about a model that nobody loads."""
        return bool(self.needs & BLACK_BOX)

    @property
    def node_id(self) -> str:
        """What pytest calls it, in whichever profile it is."""
        return f"llmasos:{Path(self.where.rpartition(':')[0]).stem}::{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Everything under `suites/`, loaded and cross-checked. `digest` is over all its files.

    Attributes:
        requirements: by id, withdrawn ones too, in the order of the files. cases: those in force.
        profiles: those in force. withdrawn: cases that are asked no more.
        chapters: name -> title, "en"/"zh" -> text.
    """

    digest: str
    version: str
    requirements: Mapping[str, Requirement]
    cases: Mapping[str, Case]
    profiles: Mapping[str, Profile]
    withdrawn: Mapping[str, Case] = field(default_factory=dict)
    chapters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def level(self, case: Case) -> str:
        return self.requirements[case.requirement].level


# ── the suites as a whole ────────────────────────────────────────────────────────────────────────────────────────────


def find() -> Path:
    """Where the installed suites lie: in the package of a wheel, beside the package's root in a checkout.

    Raises:
        SuiteError: in neither place.
    """
    places = (Path(__file__).parent / "suites", Path(__file__).parents[2] / "suites")
    for place in places:
        if (place / "requirements").is_dir():
            return place
    raise SuiteError("no suites are installed", where=places[0], hint="reinstall llmasos, or name their directory")


def digest(directory: Path) -> str:
    """sha256 hex over all files of a suites directory; see `canonical.digest_of`.

    A README is not part of what is asked; hidden files, caches and editors' backups are not either.
    """
    return digest_of({name: path.read_bytes() for name, path in _files(directory)})


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    for path in directory.rglob("*"):
        name = path.relative_to(directory)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden and not path.name.startswith("README") and not path.name.endswith("~"):
            yield name.as_posix(), path


def load(directory: Path | None = None, checks: Mapping[str, Check] | None = None) -> Suite:
    """Load and cross-check a suites directory.

    Args:
        directory: None takes the installed suites.
        checks: by name; None takes all of this package.

    Raises:
        SuiteError: naming every problem that was found.
    """
    place = directory or find()
    if checks is not None or not place.is_dir():
        return _load(place, checks, thaw=True)
    from llmasos_conformance.checks import registry

    return _loaded(place, digest(place), frozenset(registry()))


@functools.lru_cache(maxsize=4)
def _loaded(directory: Path, state: str, checks: frozenset[str]) -> Suite:
    """A command looks at the suites in several places; what has the same bytes is the same suite."""
    return _load(directory, None, thaw=True)


def _load(directory: Path, checks: Mapping[str, Check] | None, *, thaw: bool) -> Suite:
    if checks is None:
        from llmasos_conformance.checks import registry

        checks = registry()
    if not directory.is_dir():
        raise SuiteError("there is no such directory", where=directory, hint="give the directory that holds the suites")
    problems: list[Problem] = []
    ledgers = sorted((directory / "requirements").glob("*.yaml"))
    families = sorted(directory.glob("*.yaml"))
    if not ledgers or not families:
        raise SuiteError("no suites here: requirements/*.yaml and *.yaml are due", where=directory)
    requirements: dict[str, Requirement] = {}
    chapters: dict[str, Mapping[str, str]] = {}
    taken: dict[str, str] = {}  # ids of requirements and of cases have different forms and share one table
    for path in ledgers:
        document = _read(path, directory, "requirement", problems)
        _add_requirements(document, path.stem, requirements, chapters, taken, problems)
    ledger = requirements if not problems else None  # a broken ledger would make every case look wrong
    cases: dict[str, Case] = {}
    for path in families:
        document = _read(path, directory, "suite", problems)
        _add_cases(document, path.stem, ledger, checks, cases, taken, problems)
    if not problems:
        problems += _uncovered(requirements, cases)
        problems += _astray(requirements, cases)
    if not problems:
        problems += _unkept(directory, requirements, cases)
    in_force = {case.id: case for case in cases.values() if case.withdrawn is None}
    withdrawn = {case.id: case for case in cases.values() if case.withdrawn is not None}
    frozen: dict[str, Profile] = {}
    if thaw and not problems:
        entries = {case.id: _entry(case, requirements) for case in cases.values()}
        frozen = _thawed(directory, entries, withdrawn, problems)
        for name, profile in frozen.items():
            if text := _overspent(in_force[each] for each in profile.cases if each in in_force):
                problems.append(Problem(_shown(directory / "profiles" / f"{name}.json", directory), "", text))
    if problems:
        raise _refusal(problems)
    return Suite(
        digest=digest(directory), version=__version__, requirements=requirements, cases=in_force, profiles=frozen,
        withdrawn=withdrawn, chapters=chapters,
    )  # fmt: skip


def _overspent(cases: Iterable[Case]) -> str:
    """What is wrong if a right sampler would fail one of the cases more often than `laws.BUDGET` allows, else ""."""
    from llmasos_conformance.laws import BUDGET

    spent = chance(cases)
    return "" if spent <= BUDGET else (
        f"the chances of refusing a right sampler add up to {spent:.1e}, {BUDGET:.0e} is allowed"
    )  # fmt: skip


def chance(cases: Iterable[Case]) -> float:
    """The chance that a right implementation fails one of the cases, at most: the sum of their α."""
    return sum(float(case.given.get("alpha", 0.0)) * case.examples for case in cases)


def _refusal(problems: Sequence[Problem]) -> SuiteError:
    if len(problems) == 1:
        return SuiteError(problems[0].text, where=f"{problems[0].where} {problems[0].path}".rstrip())
    return SuiteError(f"{len(problems)} problems in the suites\n  " + "\n  ".join(map(str, problems)))


def _shown(path: Path, directory: Path) -> str:
    return f"{directory.name}/{path.relative_to(directory).as_posix()}"


def _read(path: Path, directory: Path, kind: str, problems: list[Problem]) -> Document:
    """Read a file and hold it against the schema of its kind; problems are added to the list."""
    document = strictyaml.read(path.read_bytes(), _shown(path, directory), _schema_of(kind))
    problems += document.problems
    return document


@functools.cache
def _schema_of(kind: str) -> strictyaml.Schema:
    return strictyaml.Schema(schema(kind))


# ── requirements and cases ───────────────────────────────────────────────────────────────────────────────────────────


def _add_requirements(
    document: Document,
    stem: str,
    requirements: dict[str, Requirement],
    chapters: dict[str, Mapping[str, str]],
    taken: dict[str, str],
    problems: list[Problem],
) -> None:
    if not document.sound(("chapter",)):
        return
    if document.value["chapter"] != stem:
        problems.append(document.problem(("chapter",), f"the file is called {stem}.yaml; name and file must agree"))
    if document.sound(("title",)):
        chapters[stem] = document.value["title"]
    problems += document.repeated("requirements", taken)
    for i, entry in document.entries("requirements"):
        place = document.line(("requirements", i))
        requirements[entry["id"]] = Requirement(
            id=entry["id"],
            level=entry["level"],
            chapter=document.value["chapter"],
            sentence={"en": entry["en"], "zh": entry["zh"]},
            source=_remark(entry["source"]),
            where=place,
            untestable=_remark(entry.get("untestable", {})),
            withdrawn=_withdrawal(entry),
            errata=tuple(Erratum(**erratum) for erratum in entry.get("errata", ())),
        )


def _remark(said: str | Mapping[str, str]) -> Mapping[str, str]:
    """A text in English alone, or in both languages."""
    return {"en": said} if isinstance(said, str) else said


def _withdrawal(entry: Mapping[str, Any]) -> Withdrawal | None:
    said = entry.get("withdrawn")
    if said is None:
        return None
    return Withdrawal(since=said["since"], why=said["why"], instead=tuple(said.get("instead", ())))


def _add_cases(
    document: Document,
    stem: str,
    ledger: Mapping[str, Requirement] | None,
    checks: Mapping[str, Check],
    cases: dict[str, Case],
    taken: dict[str, str],
    problems: list[Problem],
) -> None:
    if not document.sound(("suite",)):
        return
    if document.value["suite"] != stem:
        problems.append(document.problem(("suite",), f"the file is called {stem}.yaml; name and file must agree"))
    problems += document.repeated("cases", taken)
    for i, entry in document.entries("cases"):
        place = document.line(("cases", i))
        withdrawn = _withdrawal(entry)
        wrong = _wrong_names(entry, ledger, checks) if withdrawn is None else _wrong_requirement(entry, ledger)
        check = checks.get(entry["check"])
        given = entry.get("given", {})
        if check is not None and withdrawn is None:
            problems += document.invalid(given, _data_of(check), ("cases", i, "given"))
            given = _filled(given, check.given)
        problems += [document.problem(("cases", i, *path), text) for path, text in wrong]
        cases[entry["id"]] = Case(
            id=entry["id"],
            requirement=entry["requirement"],
            check=entry["check"],
            given=given,
            examples=entry.get("examples", 1),
            needs=_needs(document.value, entry, check),
            effect=entry.get("effect", {}),
            where=place,
            withdrawn=withdrawn,
        )


def _needs(document: Mapping[str, Any], entry: Mapping[str, Any], check: Check | None) -> frozenset[str]:
    """What a case needs. One that loads a bundle needs the bundle's architecture, GPT-3 unless case or suite say."""
    needs = frozenset(entry.get("needs", ())) | (check.needs if check else frozenset())
    if "load_model" not in needs:
        return needs
    return needs | {entry.get("architecture", document.get("architecture", "GPT-3"))}


def _wrong_names(
    entry: Mapping[str, Any], ledger: Mapping[str, Requirement] | None, checks: Mapping[str, Check]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Path and reason of each name in a case that leads nowhere."""
    from llmasos_conformance.probes import NAMES
    from llmasos_conformance.protocol import CAPABILITIES

    if entry["check"] not in checks:
        yield ("check",), f"there is no check {entry['check']!r}{did_you_mean(entry['check'], checks)}"
    yield from _wrong_requirement(entry, ledger)
    requirement = None if ledger is None else ledger.get(entry["requirement"])
    if requirement is not None and requirement.untestable:
        yield ("requirement",), f"the ledger calls {requirement.id} untestable, and yet here is a case"
    if requirement is not None and requirement.withdrawn:
        text = f"{requirement.id} was withdrawn in {requirement.withdrawn.since}; withdraw the case with it"
        yield ("requirement",), text
    for i, name in enumerate(entry.get("needs", ())):
        if name not in CAPABILITIES:
            yield ("needs", i), f"there is no capability {name!r}{did_you_mean(name, CAPABILITIES)}"
    given = entry.get("given", {})
    single, several = given.get("probe"), given.get("probes")
    if isinstance(single, str) and single not in NAMES:
        yield ("given", "probe"), f"there is no probe {single!r}{did_you_mean(single, NAMES)}"
    for i, name in enumerate(several if isinstance(several, list) else ()):
        if isinstance(name, str) and name not in NAMES:
            yield ("given", "probes", i), f"there is no probe {name!r}{did_you_mean(name, NAMES)}"


def _wrong_requirement(
    entry: Mapping[str, Any], ledger: Mapping[str, Requirement] | None
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if ledger is not None and entry["requirement"] not in ledger:
        text = f"the ledger has no {entry['requirement']}{did_you_mean(entry['requirement'], ledger)}"
        yield ("requirement",), text


_DATA: dict[int, tuple[Mapping[str, Any], strictyaml.Schema]] = {}


def _data_of(check: Check) -> strictyaml.Schema:
    """What a check's data are held against, kept by the identity of the check's schema, which has no hash."""
    key = id(check.given)
    if key not in _DATA:
        _DATA[key] = (check.given, strictyaml.Schema(check.given))
    return _DATA[key][1]


def _filled(value: Any, schema: Mapping[str, Any]) -> Any:
    """A value with the defaults of its schema, at every depth."""
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        defaults = {key: rule["default"] for key, rule in known.items() if "default" in rule and key not in value}
        return {key: _filled(inner, known.get(key, {})) for key, inner in {**value, **defaults}.items()}
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [_filled(inner, schema["items"]) for inner in value]
    return value


def _uncovered(requirements: Mapping[str, Requirement], cases: Mapping[str, Case]) -> Iterator[Problem]:
    """A requirement is tested, or says why not: nothing falls between."""
    tested = {case.requirement for case in cases.values() if case.withdrawn is None}
    for requirement in requirements.values():
        if requirement.id not in tested and not requirement.untestable and requirement.withdrawn is None:
            yield Problem(requirement.where, requirement.id, "no case tests it; write one, or say why: `untestable: …`")


# ── withdrawn, reworded, published ───────────────────────────────────────────────────────────────────────────────────


def _astray(requirements: Mapping[str, Requirement], cases: Mapping[str, Case]) -> Iterator[Problem]:
    """Withdrawals and errata that name a version to come, or an id that takes nothing's place."""
    groups: tuple[Mapping[str, Requirement | Case], ...] = (requirements, cases)
    for known in groups:
        for entry in known.values():
            errata = entry.errata if isinstance(entry, Requirement) else ()
            since = [erratum.since for erratum in errata] + ([entry.withdrawn.since] if entry.withdrawn else [])
            for version in since:
                if published.number(version) > published.number(__version__):
                    yield Problem(
                        entry.where, entry.id, f"since {version}, which is yet to come; this is {__version__}"
                    )
            for name in entry.withdrawn.instead if entry.withdrawn else ():
                other = known.get(name)
                if other is None or other.withdrawn is not None:
                    text = f"instead of it stands {name}, which is {'withdrawn too' if other else 'not there'}"
                    yield Problem(entry.where, entry.id, text + ("" if other else did_you_mean(name, known)))


def _unkept(directory: Path, requirements: Mapping[str, Requirement], cases: Mapping[str, Case]) -> Iterator[Problem]:
    """What breaks a promise of a published version."""
    where = _shown(directory / published.FILE_NAME, directory)
    try:
        register = published.read(directory)
    except HarnessError as error:
        yield Problem(where, "", error.what)
        return
    places = {each.id: each.where for each in requirements.values()} | {case.id: case.where for case in cases.values()}
    for name, text in published.broken(register, *_promised(register, requirements, cases)):
        yield Problem(places.get(name, where), name, text)


def _fresh(requirement: Requirement, register: published.Register) -> list[Erratum]:
    """Errata of the version in work."""
    return [erratum for erratum in requirement.errata if published.follows(erratum.since, register)]


def _promised(
    register: published.Register, requirements: Mapping[str, Requirement], cases: Mapping[str, Case]
) -> tuple[published.Entries, published.Entries]:
    """What a register would keep of requirements and cases; see `published.broken`."""
    return (
        {
            each.id: {
                "level": each.level,
                "sentence": published.wording(each.sentence),
                "withdrawn": each.withdrawn.since if each.withdrawn else "",
                "was": {published.wording(erratum.was) for erratum in _fresh(each, register)},
            }
            for each in requirements.values()
        },
        {
            case.id: {"digest": case_digest(case), "withdrawn": case.withdrawn.since if case.withdrawn else ""}
            for case in cases.values()
        },
    )


def publish(*, version: str | None = None, directory: Path | None = None) -> Path:
    """Add everything that stands in the suites to the register of what has been published.

    Args:
        version: of the standard; None for this package's.

    Raises:
        SuiteError: the suites are malformed, or the version has been published.
    """
    place = directory or find()
    loaded, register = load(place), published.read(place)
    promised = _promised(register, loaded.requirements, {**loaded.cases, **loaded.withdrawn})
    frozen = profiles.digests(map(profiles.read, profiles.everything(place).values()))
    return published.write(place, published.updated(register, version or __version__, *promised, frozen))


def changes(directory: Path | None = None) -> list[str]:
    """Lines on what the suites of today have that no published version had; for the changelog.

    The first ones are those by which a candidate that passed can newly fail.
    """
    place = directory or find()
    loaded, register = load(place), published.read(place)
    lines = []
    for name, profile in loaded.profiles.items():
        if profile.version in register["profiles"].get(name, {}):
            continue
        earlier = profiles.superseded(place, name)
        lines += _since(frozen_profile(earlier[-1]) if earlier else None, profile)
    tested: dict[str, list[str]] = {}
    for case in loaded.cases.values():
        if case.id not in register["cases"]:
            tested.setdefault(case.requirement, []).append(case.id)
    for each in loaded.requirements.values():
        if each.id not in register["requirements"]:
            how = "untestable" if each.untestable else _cases(len(tested.get(each.id, ())))
            lines.append(f"new requirement {each.id} ({each.level}), {how}: {each.sentence['en']}")
        elif each.id in tested:
            lines.append(f"new cases of {each.id} ({each.level}): {', '.join(tested[each.id])}")
    entries: list[Requirement | Case] = [*loaded.requirements.values(), *loaded.withdrawn.values()]
    for entry in entries:
        kept = register["cases" if isinstance(entry, Case) else "requirements"].get(entry.id, {})
        if entry.withdrawn is not None and "withdrawn" not in kept:
            lines.append(f"withdrawn {entry.id}: {entry.withdrawn.why['en']}")
    for each in loaded.requirements.values():
        lines += [f"erratum to {each.id}: {erratum.why['en']}" for erratum in _fresh(each, register)]
    return lines


def _since(before: Profile | None, now: Profile) -> list[str]:
    """What a profile asks and requires that its last published version did not, and what it asks no more."""
    title = f"profile {now.name} {now.version}"
    if before is None:
        return [f"new {title}, {_cases(len(now.cases))}"]
    return [
        f"{title}: {what}: {', '.join(names)}"
        for what, names in (
            ("asks also", [case for case in now.cases if case not in before.cases]),
            ("requires also", sorted(now.requires - before.requires)),
            ("asks no more", [case for case in before.cases if case not in now.cases]),
            ("requires no more", sorted(before.requires - now.requires)),
        )
        if names
    ]


def _cases(number: int) -> str:
    return "1 case" if number == 1 else f"{number} cases"


# ── profiles ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def case_digest(case: Case) -> str:
    """sha256 hex of what a case asks: everything but its place and the explanation of its effect.

    Defaults of the check are filled in, so a check that changes one changes the digest.
    """
    asked = {
        "id": case.id,
        "requirement": case.requirement,
        "check": case.check,
        "given": case.given,
        "examples": case.examples,
        "needs": sorted(case.needs),
    }
    return sha256(compact(asked))


def _entry(case: Case, requirements: Mapping[str, Requirement]) -> dict[str, Any]:
    """What a profile keeps of a case."""
    return {
        "id": case.id,
        "requirement": case.requirement,
        "level": requirements[case.requirement].level,
        "needs": sorted(case.needs),
        "digest": case_digest(case),
    }


def _thawed(
    directory: Path,
    entries: Mapping[str, Mapping[str, Any]],
    withdrawn: Mapping[str, Case],
    problems: list[Problem],
) -> dict[str, Profile]:
    """The frozen profiles in force. They and superseded ones are held against the cases of today and the register."""
    frozen, documents, sound = {}, [], True
    for (name, version), path in profiles.everything(directory).items():
        where = _shown(path, directory)
        try:
            document = profiles.read(path)
        except HarnessError as error:
            problems.append(Problem(where, "", error.what))
            sound = False
            continue
        documents.append(document)
        if not version:
            frozen[name] = profiles.from_document(document)
        gone = {each.id: each.withdrawn.since for each in withdrawn.values() if each.withdrawn}
        found = profiles.disagreements(document, name, entries, withdrawn=gone, superseded=version)
        problems += [Problem(where, *each) for each in found]
    if sound:
        where = _shown(directory / published.FILE_NAME, directory)
        lost = published.lost(published.read(directory), profiles.digests(documents))
        problems += [Problem(where, *each) for each in lost]
    return frozen


def freeze(
    name: str,
    *,
    requires: Iterable[str] = (),
    match: Sequence[str] = ("*",),
    within: Iterable[str] = (),
    bundle: bool = False,
    hosted: bool = False,
    version: str = __version__,
    directory: Path | None = None,
    checks: Mapping[str, Check] | None = None,
    replace: bool = False,
) -> Path:
    """Write the profile of that name: the cases that match, with the digest of each.

    Args:
        name: for example "core/gpt3/logits"; the file is profiles/<name>.json.
        requires: capabilities that a candidate must declare. match: shell patterns on case ids, any of which suffices.
        within: capabilities; only cases that need no others are taken. Empty takes all.
        bundle: take the cases that are asked on a bundle given for the run, and no others; else take none of them.
        hosted: the same for the cases that ask a server about a model that nobody loads.
        version: of the standard.
        replace: overwrite a profile of that name; for one that is not published yet.

    Raises:
        SuiteError: the suites are malformed, a pattern matches nothing, a name is unknown, or the profile exists.
    """
    from llmasos_conformance.probes import GIVEN
    from llmasos_conformance.protocol import ARCHITECTURES, CAPABILITIES

    place = directory or find()
    suite = _load(place, checks, thaw=False)  # an older profile that has become stale must not stand in the way
    needed, offered = sorted(set(requires)), frozenset(within) or frozenset(CAPABILITIES) | frozenset(ARCHITECTURES)
    known = (*CAPABILITIES, *ARCHITECTURES)
    for capability in (*needed, *sorted(offered)):
        if capability not in known:
            raise SuiteError(f"there is no capability {capability!r}{did_you_mean(capability, known)}")
    for pattern in match:
        if not any(fnmatchcase(case, pattern) for case in suite.cases):
            raise SuiteError(f"no case matches {pattern!r}{did_you_mean(pattern, suite.cases)}")
    chosen = [
        case
        for case in suite.cases.values()
        if (case.given.get("probe") in GIVEN.values()) == bundle
        and case.black_box == hosted
        and case.needs <= offered
        and any(fnmatchcase(case.id, pattern) for pattern in match)
    ]
    if text := _overspent(chosen):
        raise SuiteError(text, where=name, hint="lower the alpha of the cases, or take fewer of them")
    document = {
        "profile": name,
        "version": version,
        "requires": needed,
        **({"bundle": True} if bundle else {}),
        **({"hosted": True} if hosted else {}),
        "cases": [_entry(case, suite.requirements) for case in chosen],
    }
    return profiles.write(place, document, replace=replace)


# ── command line ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _changed(directory: Path | None) -> str:
    return "\n".join(changes(directory)) or "nothing has changed since it was published"


def main(arguments: Sequence[str] | None = None) -> int:
    """Freeze a profile, publish, or tell what has changed; see the module. Exit code 0, or 2 on a problem."""
    parser = argparse.ArgumentParser(prog="python -m llmasos_conformance.suite")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("freeze", help="write a profile: cases by id, with the digest of each")
    command.add_argument("name", help="for example core/gpt3/logits")
    command.add_argument("--requires", default="", help="capabilities, separated by commas")
    command.add_argument("--within", default="", help="take only cases that need no other capabilities than these")
    command.add_argument("--match", nargs="+", default=["*"], help="shell patterns on case ids")
    command.add_argument("--bundle", action="store_true", help="the cases about a bundle that is given for the run")
    command.add_argument("--hosted", action="store_true", help="the cases about a server whose model nobody can load")
    command.add_argument("--version", default=__version__, help="of the standard")
    command.add_argument("--directory", type=Path, help="suites; default the installed ones")
    command.add_argument("--replace", action="store_true", help="overwrite a profile that is not published yet")
    for name, purpose in (
        ("publish", "add what the suites hold to the register of what has been published"),
        ("changes", "say what they hold that has not been published"),
    ):
        other = commands.add_parser(name, help=purpose)
        other.add_argument("--directory", type=Path, help="suites; default the installed ones")
        other.set_defaults(does=name)
    given = parser.parse_args(arguments)
    try:
        if "does" in given:
            print(publish(directory=given.directory) if given.does == "publish" else _changed(given.directory))
            return 0
        path = freeze(
            given.name,
            requires=[name for name in given.requires.split(",") if name],
            match=given.match,
            within=[name for name in given.within.split(",") if name],
            bundle=given.bundle,
            hosted=given.hosted,
            version=given.version,
            directory=given.directory,
            replace=given.replace,
        )
    except HarnessError as error:
        print(error.render(), file=sys.stderr)
        return error.exit_code
    print(f"{path}: {len(frozen_profile(path).cases)} cases")
    return 0


if __name__ == "__main__":
    from llmasos_conformance.suite import main as imported  # this file again, under the name that others import

    sys.exit(imported())
