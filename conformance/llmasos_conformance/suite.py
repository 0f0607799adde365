"""YAML to Suite, Case, Requirement and Profile; whatever is malformed is refused with file, line and reason.

    suites/requirements/<chapter>.yaml   the standard as a ledger          -> Requirement
    suites/<family>.yaml                 cases                             -> Case
    suites/profiles/…/<name>.json        frozen lists, written by `freeze` -> Profile

YAML is known here and nowhere else, and only the part of it that every reader understands alike: no anchors, aliases,
merge keys or tags, no duplicate keys, no unquoted word that one version of YAML takes for a boolean, number or date
and another for text. All problems of all files are reported together. `frozen_profile` reads JSON and needs no YAML.

    python -m llmasos_conformance.suite freeze core/gpt3/logits --requires load_model,forward --match 'logits.*'
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos_conformance import __version__
from llmasos_conformance.canonical import parse, validate
from llmasos_conformance.errors import HarnessError, SuiteError

if TYPE_CHECKING:
    from llmasos_conformance.checks import Check

SCHEMAS = Path(__file__).parent / "schemas"

MAX_DEPTH = 32
"""Levels of nesting in a YAML file; a case needs about six."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One normative sentence.

    Attributes:
        level: MUST, SHOULD or MAY. chapter: its place in the standard.
        sentence: "en"/"zh" -> text. source: where it comes from, or what it settles.
        where: file:line.
        untestable: why no case tests it; empty for one that cases test.
    """

    id: str
    level: str
    chapter: str
    sentence: Mapping[str, str]
    source: str
    where: str = ""
    untestable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One entry of a suite file.

    Attributes:
        id: never reused. requirement: id of the ledger. check: name of the check that judges it.
        given: data for the check, defaults filled in.
        examples: how many certified inputs are drawn; 1 for a case that draws nothing.
        needs: capabilities, the check's and the case's own.
        effect: "en"/"zh": what a failure means for users.
        where: file:line.
    """

    id: str
    requirement: str
    check: str
    given: Mapping[str, Any]
    examples: int
    needs: frozenset[str]
    effect: Mapping[str, str]
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A frozen list of case ids: level × architecture × interface, for one version of the standard.

    Attributes:
        requires: capabilities that a candidate must declare to be certified in this profile.
    """

    name: str
    version: str
    requires: frozenset[str]
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Everything under `suites/`, loaded and cross-checked. `digest` is over all its files."""

    digest: str
    version: str
    requirements: Mapping[str, Requirement]
    cases: Mapping[str, Case]
    profiles: Mapping[str, Profile]

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
    """sha256 hex over all files of a suites directory: per file, sorted by name, name and bytes behind their lengths.

    A README is not part of what is asked; hidden files, caches and editors' backups are not either.
    """
    sha = hashlib.sha256()
    for name, path in sorted(_files(directory)):
        for part in (name.encode(), path.read_bytes()):
            sha.update(len(part).to_bytes(8, "big"))
            sha.update(part)
    return sha.hexdigest()


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
    return _load(directory or find(), checks, profiles=True)


def _load(directory: Path, checks: Mapping[str, Check] | None, *, profiles: bool) -> Suite:
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
    taken: dict[str, str] = {}  # ids of requirements and of cases have different forms and share one table
    for path in ledgers:
        document = _read(path, directory, "requirement", problems)
        _add_requirements(document, path.stem, requirements, taken, problems)
    ledger = requirements if not problems else None  # a broken ledger would make every case look wrong
    cases: dict[str, Case] = {}
    for path in families:
        document = _read(path, directory, "suite", problems)
        _add_cases(document, path.stem, ledger, checks, cases, taken, problems)
    if not problems:
        problems += _uncovered(requirements, cases)
    frozen: dict[str, Profile] = {}
    if profiles and not problems:
        for path in sorted((directory / "profiles").rglob("*.json")):
            name = path.relative_to(directory / "profiles").with_suffix("").as_posix()
            frozen[name] = _thawed(path, name, directory, requirements, cases, problems)
    if problems:
        raise _refusal(problems)
    return Suite(digest=digest(directory), version=__version__, requirements=requirements, cases=cases, profiles=frozen)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `where` is file:line, `path` the place inside the file."""

    where: str
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.where} {self.path}: {self.text}" if self.path else f"{self.where}: {self.text}"


def _refusal(problems: Sequence[Problem]) -> SuiteError:
    if len(problems) == 1:
        return SuiteError(problems[0].text, where=f"{problems[0].where} {problems[0].path}".rstrip())
    return SuiteError(f"{len(problems)} problems in the suites\n  " + "\n  ".join(map(str, problems)))


def _near(name: str, known: Iterable[str]) -> str:
    """ "; did you mean x?" where a known name is near, else nothing."""
    near = get_close_matches(name, list(known), 2, 0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


# ── requirements and cases ───────────────────────────────────────────────────────────────────────────────────────────


def _add_requirements(
    document: Document,
    stem: str,
    requirements: dict[str, Requirement],
    taken: dict[str, str],
    problems: list[Problem],
) -> None:
    if not document.sound(("chapter",)):
        return
    if document.value["chapter"] != stem:
        problems.append(document.problem(("chapter",), f"the file is called {stem}.yaml; name and file must agree"))
    problems += document.repeated("requirements", taken)
    for i, entry in document.entries("requirements"):
        place = document.line(("requirements", i))
        requirements[entry["id"]] = Requirement(
            id=entry["id"],
            level=entry["level"],
            chapter=document.value["chapter"],
            sentence={"en": entry["en"], "zh": entry["zh"]},
            source=entry["source"],
            where=place,
            untestable=entry.get("untestable", ""),
        )


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
        wrong = _wrong_names(entry, ledger, checks)
        check = checks.get(entry["check"])
        given = entry.get("given", {})
        if check is not None:
            problems += document.invalid(given, _validator_of(check), ("cases", i, "given"))
            given = _filled(given, check.given)
        problems += [document.problem(("cases", i, *path), text) for path, text in wrong]
        cases[entry["id"]] = Case(
            id=entry["id"],
            requirement=entry["requirement"],
            check=entry["check"],
            given=given,
            examples=entry.get("examples", 1),
            needs=frozenset(entry.get("needs", ())) | (check.needs if check else frozenset()),
            effect=entry.get("effect", {}),
            where=place,
        )


def _wrong_names(
    entry: Mapping[str, Any], ledger: Mapping[str, Requirement] | None, checks: Mapping[str, Check]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Path and reason of each name in a case that leads nowhere."""
    from llmasos_conformance.probes import NAMES
    from llmasos_conformance.protocol import CAPABILITIES

    if entry["check"] not in checks:
        yield ("check",), f"there is no check {entry['check']!r}{_near(entry['check'], checks)}"
    if ledger is not None and entry["requirement"] not in ledger:
        text = f"the ledger has no {entry['requirement']}{_near(entry['requirement'], ledger)}"
        yield ("requirement",), text
    elif ledger is not None and ledger[entry["requirement"]].untestable:
        yield ("requirement",), f"the ledger calls {entry['requirement']} untestable, and yet here is a case"
    for i, name in enumerate(entry.get("needs", ())):
        if name not in CAPABILITIES:
            yield ("needs", i), f"there is no capability {name!r}{_near(name, CAPABILITIES)}"
    given = entry.get("given", {})
    single, several = given.get("probe"), given.get("probes")
    if isinstance(single, str) and single not in NAMES:
        yield ("given", "probe"), f"there is no probe {single!r}{_near(single, NAMES)}"
    for i, name in enumerate(several if isinstance(several, list) else ()):
        if isinstance(name, str) and name not in NAMES:
            yield ("given", "probes", i), f"there is no probe {name!r}{_near(name, NAMES)}"


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
    tested = {case.requirement for case in cases.values()}
    for requirement in requirements.values():
        if requirement.id not in tested and not requirement.untestable:
            yield Problem(requirement.where, requirement.id, "no case tests it; write one, or say why: `untestable: …`")


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
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def frozen_profile(path: Path) -> Profile:
    """A profile as it was frozen, held against its schema and not against any case; needs no YAML.

    Raises:
        HarnessError: the file is not strict JSON or breaks its schema.
    """
    return _profile(_frozen(path))


def _frozen(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = parse(path.read_bytes(), where=path, floats=False)
    validate(document, _schema("profile"))
    return document


def _profile(document: Mapping[str, Any]) -> Profile:
    return Profile(
        name=document["profile"],
        version=document["version"],
        requires=frozenset(document["requires"]),
        cases=tuple(case["id"] for case in document["cases"]),
    )


def _thawed(
    path: Path,
    name: str,
    directory: Path,
    requirements: Mapping[str, Requirement],
    cases: Mapping[str, Case],
    problems: list[Problem],
) -> Profile:
    """A frozen profile held against the cases of today."""
    from llmasos_conformance.protocol import CAPABILITIES

    where = _shown(path, directory)
    try:
        document = _frozen(path)
    except HarnessError as error:
        problems.append(Problem(where, "", error.what))
        return Profile(name=name, version="", requires=frozenset(), cases=())
    made = _profile(document)
    if made.name != name:
        problems.append(Problem(where, "profile", f"{made.name!r} lies in the file of {name!r}"))
    for wanted in sorted(made.requires - CAPABILITIES.keys()):
        text = f"there is no capability {wanted!r}{_near(wanted, CAPABILITIES)}"
        problems.append(Problem(where, "requires", text))
    if len(set(made.cases)) != len(made.cases):
        problems.append(Problem(where, "cases", "a case stands twice"))
    for i, entry in enumerate(document["cases"]):
        case = cases.get(entry["id"])
        if case is None:
            text = f"{entry['id']} is gone; a frozen case stays{_near(entry['id'], cases)}"
        elif entry != _entry(case, requirements):
            text = f"{entry['id']} has changed since the freeze; give what it now asks a new id, and freeze again"
        else:
            continue
        problems.append(Problem(where, f"cases[{i}]", text))
    return made


def _entry(case: Case, requirements: Mapping[str, Requirement]) -> dict[str, Any]:
    return {
        "id": case.id,
        "requirement": case.requirement,
        "level": requirements[case.requirement].level,
        "needs": sorted(case.needs),
        "digest": case_digest(case),
    }


def freeze(
    name: str,
    *,
    requires: Iterable[str] = (),
    match: Sequence[str] = ("*",),
    within: Iterable[str] = (),
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
        version: of the standard.
        replace: overwrite a profile of that name; for one that is not published yet.

    Raises:
        SuiteError: the suites are malformed, a pattern matches nothing, a name is unknown, or the profile exists.
    """
    from llmasos_conformance.protocol import CAPABILITIES

    place = directory or find()
    suite = _load(place, checks, profiles=False)  # an older profile that has become stale must not stand in the way
    needed, offered = sorted(set(requires)), frozenset(within) or frozenset(CAPABILITIES)
    for capability in (*needed, *sorted(offered)):
        if capability not in CAPABILITIES:
            raise SuiteError(f"there is no capability {capability!r}{_near(capability, CAPABILITIES)}")
    for pattern in match:
        if not any(fnmatchcase(case, pattern) for case in suite.cases):
            raise SuiteError(f"no case matches {pattern!r}{_near(pattern, suite.cases)}")
    chosen = [
        case
        for case in suite.cases.values()
        if case.needs <= offered and any(fnmatchcase(case.id, pattern) for pattern in match)
    ]
    document = {
        "profile": name,
        "version": version,
        "requires": needed,
        "cases": [_entry(case, suite.requirements) for case in chosen],
    }
    validate(document, _schema("profile"))
    path = place / "profiles" / f"{name}.json"
    if path.exists() and not replace:
        raise SuiteError("the profile exists, and frozen is frozen", where=path, hint="choose a new name or version")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


# ── strict YAML ──────────────────────────────────────────────────────────────────────────────────────────────────────

Place = tuple[str | int, ...]

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_REAL = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+][0-9]+)?")
_WORDS = {"null": None, "true": True, "false": False}
_BOOLEAN_ELSEWHERE = re.compile(r"yes|no|on|off|true|false", re.IGNORECASE)
_NULL_ELSEWHERE = re.compile(r"~|null", re.IGNORECASE)
_NUMBER_ELSEWHERE = re.compile(
    r"""[-+]?(
        0[xX][0-9a-fA-F_]+ | 0[bB][01_]+ | 0[oO][0-7_]+      # other bases
      | [0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?              # 12:30 is 750 in YAML 1.1
      | ([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?
      | \.(inf|Inf|INF)
    ) | \.(nan|NaN|NAN)""",
    re.VERBOSE,
)
_DATE_ELSEWHERE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?")
_EXPONENT = re.compile(r"([-+]?)([0-9]+)(?:\.([0-9]*))?[eE]([-+]?)([0-9]+)")


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as plain data that remembers its lines.

    Attributes:
        shown: file name as problems show it.
        value: what the file says; None if it cannot be read.
        lines: path -> line, of the key for a member of a mapping.
        broken: paths at which the schema is violated.
    """

    shown: str
    value: Any
    lines: Mapping[Place, int]
    broken: frozenset[Place] = frozenset()

    def line(self, path: Place) -> str:
        """file:line of the nearest thing that encloses a path."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.shown}:{self.lines.get(path, 1)}"

    def problem(self, path: Place, text: str) -> Problem:
        return Problem(self.line(path), _dotted(path), text)

    def sound(self, prefix: Place) -> bool:
        """Whether the schema is kept at the root, and at and below a path."""
        return () not in self.broken and not any(path[: len(prefix)] == prefix for path in self.broken)

    def entries(self, key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Index and value of the sound entries of a list; the others have been complained of."""
        if (key,) not in self.broken:
            for i, entry in enumerate(self.value[key]):
                if self.sound((key, i)):
                    yield i, entry

    def repeated(self, key: str, taken: dict[str, str]) -> Iterator[Problem]:
        """Entries of a list whose id is taken; the others, sound or not, are added to `taken`, id -> file:line."""
        entries = self.value.get(key)
        for i, entry in enumerate(entries if isinstance(entries, list) else ()):
            name = entry.get("id") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in taken:
                yield self.problem((key, i, "id"), f"{name} is taken, at {taken[name]}")
            elif isinstance(name, str):
                taken[name] = self.line((key, i))

    def invalid(self, value: Any, validator: Any, prefix: Place = ()) -> Iterator[Problem]:
        """Violations of a schema by a part of the document."""
        for error in validator.iter_errors(value):
            for path, text in _told(error):
                yield self.problem((*prefix, *path), text)


def _shown(path: Path, directory: Path) -> str:
    return f"{directory.name}/{path.relative_to(directory).as_posix()}"


def _dotted(path: Place) -> str:
    """cases[2].given.probe"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _read(path: Path, directory: Path, schema: str, problems: list[Problem]) -> Document:
    """Read a file and hold it against a schema; problems are added to the list."""
    reader = _Reader(_shown(path, directory))
    value = reader.read(path.read_bytes())
    problems += reader.problems
    if value is _UNREADABLE:
        return Document(reader.shown, None, {}, frozenset({()}))
    document = Document(reader.shown, value, reader.lines)
    broken: set[Place] = set(reader.refused)
    for error in _validator(schema).iter_errors(value):
        broken.add(tuple(error.absolute_path))
        for place, text in _told(error):
            # A value that the reader refused has been complained of already.
            if place not in reader.refused:
                problems.append(document.problem(place, text))
    return Document(reader.shown, value, reader.lines, frozenset(broken))


_UNREADABLE = object()


class _Reader:
    """Builds plain data from the events of PyYAML's parser, which knows anchors, tags, styles and lines.

    Attributes:
        problems: what is refused. refused: paths of refused values. lines: path -> line.
    """

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.problems: list[Problem] = []
        self.refused: set[Place] = set()
        self.lines: dict[Place, int] = {}

    def read(self, raw: bytes) -> Any:
        """The only document of a file, or _UNREADABLE."""
        import yaml

        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self.problems.append(Problem(f"{self.shown}:{raw[: error.start].count(10) + 1}", "", "not UTF-8"))
            return _UNREADABLE
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            events = iter(list(yaml.parse(text, Loader=loader)))
        except yaml.MarkedYAMLError as error:
            mark: Any = error.problem_mark or error.context_mark
            place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            reason = ", ".join(part for part in (error.problem, error.context) if part)
            self.problems.append(Problem(f"{self.shown}{place}", "", f"not YAML: {reason}"))
            return _UNREADABLE
        except yaml.YAMLError as error:
            self.problems.append(Problem(self.shown, "", f"not YAML: {error}"))
            return _UNREADABLE
        next(events)  # the stream starts
        if isinstance(next(events), yaml.StreamEndEvent):
            self.problems.append(Problem(f"{self.shown}:1", "", "the file is empty"))
            return _UNREADABLE
        value = self._value(next(events), events, ())
        next(events)  # the document ends
        after: Any = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            place = f"{self.shown}:{after.start_mark.line + 1}"
            self.problems.append(Problem(place, "", "a second document starts here; a file holds one"))
        return value

    def _refuse(self, event: Any, path: Place, text: str) -> None:
        self.refused.add(path)
        self.problems.append(Problem(f"{self.shown}:{event.start_mark.line + 1}", _dotted(path), text))

    def _value(self, event: Any, events: Iterator[Any], path: Place) -> Any:
        """The value that starts with an event; events are consumed up to its end."""
        import yaml

        self.lines.setdefault(path, event.start_mark.line + 1)
        if len(path) > MAX_DEPTH:
            self._refuse(event, path[:MAX_DEPTH], f"nested deeper than {MAX_DEPTH} levels")
            return self._skip(event, events)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, path, f"aliases are not read; write out what *{event.anchor} stands for")
            return None
        if event.anchor is not None:
            self._refuse(event, path, f"anchors are not read; remove &{event.anchor}")
        if event.tag is not None:
            self._refuse(event, path, f"tags are not read; remove {event.tag}")
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style in _QUOTED else self._plain(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(inner := next(events), yaml.SequenceEndEvent):
                items.append(self._value(inner, events, (*path, len(items))))
            return items
        return self._mapping(events, path)

    def _mapping(self, events: Iterator[Any], path: Place) -> dict[str, Any]:
        import yaml

        members: dict[str, Any] = {}
        while not isinstance(key_event := next(events), yaml.MappingEndEvent):
            key = self._key(key_event, events, path)
            inner = (*path, key)
            if key in members:
                self._refuse(key_event, inner, f"the key is given twice, first in line {self.lines[inner]}")
                self._value(next(events), events, inner)
                continue
            self.lines[inner] = key_event.start_mark.line + 1
            members[key] = self._value(next(events), events, inner)
        return members

    def _key(self, event: Any, events: Iterator[Any], path: Place) -> str:
        import yaml

        if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
            self._refuse(event, path, "a key must be a text, without anchor, alias or tag")
            self._skip(event, events)
            return ""
        name: str = event.value
        if event.style in _QUOTED:
            return name
        if name == "<<":
            self._refuse(event, path, "merge keys are not read; write the members out")
        elif not isinstance(self._plain(event, (*path, name)), str):
            self._refuse(event, (*path, name), f"a key must be a text; quote it: '{name}'")
        return name

    def _plain(self, event: Any, path: Place) -> Any:
        """The value of an unquoted scalar."""
        text: str = event.value
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text, 16 if "x" in text else 10)
        if _REAL.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        reason = _ambiguous(text)
        if reason:
            self._refuse(event, path, reason)
        return text

    def _skip(self, event: Any, events: Iterator[Any]) -> None:
        """Consume the rest of a value."""
        import yaml

        depth = int(isinstance(event, yaml.CollectionStartEvent))
        while depth:
            inner = next(events)
            depth += isinstance(inner, yaml.CollectionStartEvent) - isinstance(inner, yaml.CollectionEndEvent)


_QUOTED = ("'", '"', "|", ">")


def _ambiguous(text: str) -> str:
    """Why an unquoted text is refused; empty if it is plainly text."""
    if not text:
        return "there is no value; write one, or null"
    if _BOOLEAN_ELSEWHERE.fullmatch(text):
        return f"{text} is a boolean to some readers and text to others; write true or false, or quote it"
    if _NULL_ELSEWHERE.fullmatch(text):
        return f"{text} is null to some readers and text to others; write null, or quote it"
    if _DATE_ELSEWHERE.fullmatch(text):
        return f"{text} is a date to some readers and text to others; quote it"
    if _NUMBER_ELSEWHERE.fullmatch(text):
        return f"{text} is a number to some readers and text to others; {_as_number(text, 'write {}, or ')}quote it"
    if text == "=":
        return "= has a meaning of its own to some readers; quote it"
    return ""


def _as_number(text: str, remedy: str) -> str:
    """A remedy with 1.0e-5 in its braces, for 1e-5; nothing where it is not sure which number is meant."""
    parts = _EXPONENT.fullmatch(text)
    if not parts or not math.isfinite(float(text)):
        return ""
    sign, whole, fraction, exponent_sign, exponent = parts.groups()
    return remedy.format(f"{sign.strip('+')}{int(whole)}.{fraction or 0}e{exponent_sign or '+'}{int(exponent)}")


# ── schemas ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_KINDS: Mapping[str, str] = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


@functools.cache
def _schema(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_bytes())
    return document


@functools.cache
def _validator_class() -> Any:
    """Draft 2020-12, but for 4.0, which is no integer here: written so, it was meant as something else."""
    from jsonschema import Draft202012Validator, validators

    def integer(checker: Any, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    strict = Draft202012Validator.TYPE_CHECKER.redefine("integer", integer)
    extend: Any = validators.extend  # the library's stubs leave it untyped
    return extend(Draft202012Validator, type_checker=strict)


@functools.cache
def _validator(name: str) -> Any:
    return _validator_class()(_schema(name))


_CHECK_VALIDATORS: dict[int, tuple[Mapping[str, Any], Any]] = {}


def _validator_of(check: Check) -> Any:
    """The validator of a check's data, kept by the identity of its schema, which has no hash."""
    key = id(check.given)
    if key not in _CHECK_VALIDATORS:
        _CHECK_VALIDATORS[key] = (check.given, _validator_class()(check.given))
    return _CHECK_VALIDATORS[key][1]


def _told(error: Any) -> Iterator[tuple[Place, str]]:
    """Path and plain words of a violation."""
    path, value, wanted, rule = tuple(error.absolute_path), error.instance, error.validator_value, error.validator
    if rule == "required":
        for key in wanted:
            if key not in value:
                yield path, f"{key!r} is missing"
        return
    if rule == "additionalProperties" and wanted is False:
        known = error.schema.get("properties", {})
        for key in value:
            if key not in known:
                yield (*path, key), f"there is no such key{_near(key, known) or '; known are ' + ', '.join(known)}"
        return
    if rule in ("anyOf", "oneOf") and error.context:
        # The alternative that got furthest is the one that was meant.
        best = max(error.context, key=lambda inner: len(inner.absolute_path))
        if len(best.absolute_path) > len(path):
            yield from _told(best)
            return
    yield path, _broken_rule(rule, value, wanted, error)


def _broken_rule(rule: str, value: Any, wanted: Any, error: Any) -> str:
    found = _found(value)
    if rule == "type":
        kinds = [wanted] if isinstance(wanted, str) else list(wanted)
        text = f"expected {' or '.join(_KINDS[kind] for kind in kinds)}, found {found}"
        if isinstance(value, str) and {"number", "integer"} & set(kinds) and _NUMBER_ELSEWHERE.fullmatch(value):
            return f"{text} ({_as_number(value, 'write {}') or 'write it without quotes'})"
        return text
    if rule == "enum":
        names = [str(item) for item in wanted]
        return f"expected one of {', '.join(names)}, found {found}{_near(str(value), names)}"
    if rule == "const":
        return f"expected {wanted!r}, found {found}"
    if rule == "pattern":
        return f"{found} does not match {wanted}"
    bounds = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than", "exclusiveMaximum": "below"}
    if rule in bounds:
        return f"expected {bounds[rule]} {wanted}, found {found}"
    sizes = {"minItems": "at least", "minLength": "at least", "maxItems": "at most", "maxLength": "at most"}
    if rule in sizes:
        unit = "entries" if rule.endswith("Items") else "characters"
        return f"expected {sizes[rule]} {wanted} {unit}, found {len(value)}"
    if rule == "uniqueItems":
        return "an entry stands twice"
    return str(error.message)[:300]


def _found(value: Any) -> str:
    """A value as problems show it: "the text '4'"."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return f"the text {value!r:.80}"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"{value}"


# ── command line ─────────────────────────────────────────────────────────────────────────────────────────────────────


def main(arguments: Sequence[str] | None = None) -> int:
    """Freeze a profile; see the module. Exit code 0, or 2 on a problem."""
    parser = argparse.ArgumentParser(prog="python -m llmasos_conformance.suite")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("freeze", help="write a profile: cases by id, with the digest of each")
    command.add_argument("name", help="for example core/gpt3/logits")
    command.add_argument("--requires", default="", help="capabilities, separated by commas")
    command.add_argument("--within", default="", help="take only cases that need no other capabilities than these")
    command.add_argument("--match", nargs="+", default=["*"], help="shell patterns on case ids")
    command.add_argument("--version", default=__version__, help="of the standard")
    command.add_argument("--directory", type=Path, help="suites; default the installed ones")
    command.add_argument("--replace", action="store_true", help="overwrite a profile that is not published yet")
    given = parser.parse_args(arguments)
    try:
        path = freeze(
            given.name,
            requires=[name for name in given.requires.split(",") if name],
            match=given.match,
            within=[name for name in given.within.split(",") if name],
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
