"""What is known of a name, as data: keys are stable, for `--json` prints them, and texts are in one language."""

from __future__ import annotations

import inspect
from collections import Counter
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos_conformance.errors import HarnessError

if TYPE_CHECKING:
    from llmasos_conformance.suite import Case, Suite, Withdrawal


def loaded() -> Suite:
    from llmasos_conformance import suite

    return suite.load()


def profiles() -> list[dict[str, Any]]:
    from llmasos_conformance import installed

    directory = installed.suites()
    found = [(name, installed.frozen_profile(directory, name)) for name in installed.profile_names(directory)]
    return [
        {"name": name, "cases": len(profile["cases"]), "requires": ",".join(profile["requires"])}
        for name, profile in found
    ]


def this_adapter() -> str:
    """The adapter that commands here are about: that of llmasos.toml, where there is one, else a word for any."""
    from llmasos_conformance import adapters

    try:
        return adapters.default_address() if adapters.profiles_in() else "ADDRESS"
    except HarnessError:  # what stands there is no settings, or names several
        return "ADDRESS"


def of(name: str, lang: str) -> tuple[str, dict[str, Any]]:
    """The kind of what has this name, and all that is told of it; keys are stable.

    Raises:
        HarnessError: nothing has the name.
    """
    from llmasos_conformance import architectures, installed
    from llmasos_conformance.protocol import CAPABILITIES
    from llmasos_conformance.reasons import REASONS

    if name.upper() in REASONS:
        code, *texts = REASONS[name.upper()]
        return "reason", {"id": name.upper(), "text": texts[lang == "zh"], "exitCode": code}
    suite, name = loaded(), name.rpartition("::")[2]  # pytest prints llmasos::chapter::case
    if name in suite.cases or name in suite.withdrawn:
        return "case", _case(suite, {**suite.cases, **suite.withdrawn}[name], lang)
    if name.upper() in suite.requirements:
        return "requirement", _requirement(suite, name.upper(), lang)
    if (architecture := architectures.named(name)) is not None:
        return "architecture", _architecture(suite, architecture, lang)
    if (profile := name.strip("/").lower()) in installed.profile_names(installed.suites()):
        return "profile", _profile(suite, profile, lang)
    if name.lower() in suite.chapters:
        return "chapter", _chapter(suite, name.lower(), lang)
    if name.lower() in CAPABILITIES:
        return "capability", _capability(suite, name.lower(), lang)
    frozen = installed.profile_names(installed.suites())
    known = [*suite.cases, *suite.requirements, *suite.chapters, *architectures.KNOWN, *frozen, *REASONS,
             *CAPABILITIES]  # fmt: skip
    near = get_close_matches(name, known, 3, 0.5) or [each for each in known if name.lower() in each.lower()][:3]
    raise HarnessError(
        f"nothing is called {name!r:.100}",
        hint=f"{', '.join(near)}" if near else "llmasos list --cases, or llmasos list --requirements",
    )


def _case(loaded: Suite, case: Case, lang: str) -> dict[str, Any]:
    """A case; run is "" for one that is withdrawn, and effect where the suite says none."""
    from llmasos_conformance import knownbugs
    from llmasos_conformance.checks import registry
    from llmasos_conformance.report import reproduce_command

    requirement = loaded.requirements[case.requirement]
    check = registry().get(case.check)  # that of a withdrawn case may be gone
    return {
        "id": case.id, "requirement": requirement.id, "level": requirement.level,
        "sentence": requirement.sentence[lang], "check": case.check,
        "asks": inspect.cleandoc(check.doc) if check else case.check, "needs": sorted(case.needs),
        "given": dict(case.given), "examples": case.examples, "effect": case.effect.get(lang, ""),
        "bugs": knownbugs.bugs_of(case.id, case.requirement),
        "where": _written_at(case.where), "withdrawn": _withdrawn(case.withdrawn, lang),
        "document": _in_document(loaded, case.id, lang),
        "run": "" if case.withdrawn else reproduce_command(case, this_adapter()),
    }  # fmt: skip


def _written_at(where: str) -> str:
    """A place in the suites, as it opens from here: they may be installed."""
    from llmasos_conformance import installed, places

    name, _, line = where.rpartition(":")
    return places.written_at(installed.suites().parent / name, line, Path.cwd())


def _requirement(loaded: Suite, name: str, lang: str) -> dict[str, Any]:
    """A requirement; untestable is None for one that cases test."""
    requirement = loaded.requirements[name]
    return {
        "id": requirement.id, "level": requirement.level, "chapter": requirement.chapter,
        "sentence": requirement.sentence[lang], "source": requirement.source.get(lang, requirement.source["en"]),
        "untestable": requirement.untestable.get(lang, requirement.untestable.get("en")),
        "withdrawn": _withdrawn(requirement.withdrawn, lang),
        "errata": [{"since": each.since, "was": each.was[lang], "why": each.why[lang]} for each in requirement.errata],
        "cases": [case.id for case in loaded.cases.values() if case.requirement == name],
        "document": _in_document(loaded, name, lang),
    }  # fmt: skip


def _chapter(loaded: Suite, name: str, lang: str) -> dict[str, Any]:
    from llmasos_conformance.protocol import CAPABILITIES

    beside = {"capability": _capability(loaded, name, lang)} if name in CAPABILITIES else {}
    return {
        **beside,
        "id": name,
        "title": loaded.chapters[name][lang],
        "requirements": [
            {"id": each.id, "level": each.level, "sentence": each.sentence[lang], "withdrawn": bool(each.withdrawn)}
            for each in loaded.requirements.values()
            if each.chapter == name
        ],
        "document": _in_document(loaded, name, lang),
    }


def _rank_of(name: str, case: str) -> int:
    """How far from the front of a case's id a capability is named: the nearer, the more the case is about it alone."""
    parts = case.split(".")
    return parts.index(name) if name in parts else len(parts)


def _capability(loaded: Suite, name: str, lang: str) -> dict[str, Any]:
    """A capability; `cases` says how many need it, `chapters` whose rules they ask, `profiles` which have such cases,
    `shown` where one can see it asked and rightly answered.
    """
    from llmasos_conformance import capabilities
    from llmasos_conformance.protocol import ARCHITECTURES, CAPABILITIES, OF_SERVERS
    from llmasos_conformance.standard.words import CAPABILITIES_ZH

    taken = capabilities.taken(name)
    cases = [case for case in loaded.cases.values() if name in case.needs]
    simplest = min(
        cases,
        key=lambda case: (_rank_of(name, case.id), len(case.needs - {*ARCHITECTURES}), case.examples),
        default=None,
    )
    shown = f"llmasos try reference {simplest.id}" if simplest else "llmasos docs protocol"
    return {
        "id": name,
        "sentence": CAPABILITIES_ZH[name] if lang == "zh" else CAPABILITIES[name],
        "methods": list(taken.methods),
        "option": taken.option,
        "reading": taken.reading,
        "cases": len(cases),
        "chapters": [
            chapter
            for chapter, _ in Counter(loaded.requirements[case.requirement].chapter for case in cases).most_common()
        ],
        "profiles": [
            profile
            for profile, made in loaded.profiles.items()
            if any(name in loaded.cases[each].needs for each in made.cases)
        ],
        "shown": "llmasos docs hosted" if name in OF_SERVERS else shown,
    }


def _architecture(loaded: Suite, name: str, lang: str) -> dict[str, Any]:
    """An architecture; `requirements` are those of its own chapters, `profiles` those that ask it."""
    from llmasos_conformance import architectures

    about = architectures.KNOWN[name]
    return {
        "id": name,
        "presented": about.presented[lang],
        "defaults": [{"id": each, "sentence": loaded.requirements[each].sentence[lang]} for each in about.defaults],
        "letters": architectures.letters(name),
        "tensors": [
            {"name": each.name, "shape": list(each.shape), "where": each.where} for each in architectures.tensors(name)
        ],
        "code": architectures.code(name),
        "requirements": [
            {"id": each.id, "level": each.level, "sentence": each.sentence[lang], "withdrawn": bool(each.withdrawn)}
            for each in loaded.requirements.values()
            if each.chapter in about.chapters
        ],
        "profiles": [row["name"] for row in profiles() if name in row["requires"].split(",")],
        "document": _in_document(loaded, about.chapters[0], lang),
    }


def _profile(loaded: Suite, name: str, lang: str) -> dict[str, Any]:
    """A profile; `chapters` says how many of its cases each chapter of the standard has."""
    from llmasos_conformance import installed

    profile = installed.frozen_profile(installed.suites(), name)
    cases = [loaded.cases[each["id"]] for each in profile["cases"]]
    counts = Counter(loaded.requirements[case.requirement].chapter for case in cases)
    return {
        "id": name,
        "requires": list(profile["requires"]),
        "cases": [case.id for case in cases],
        "levels": dict(Counter(loaded.level(case) for case in cases)),
        "chapters": [
            {"id": chapter, "title": loaded.chapters[chapter][lang], "cases": count}
            for chapter, count in counts.items()
        ],
        "run": f"{installed.pytest_command()} --adapter={this_adapter()} --llmasos-profile={name}",
    }


def _withdrawn(said: Withdrawal | None, lang: str) -> dict[str, Any] | None:
    return None if said is None else {"since": said.since, "why": said.why[lang], "instead": list(said.instead)}


def _in_document(loaded: Suite, name: str, lang: str) -> str:
    from llmasos_conformance import standard

    return standard.address(loaded, name, lang)
