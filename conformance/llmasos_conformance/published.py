"""What has been published, so that no id is lost, given away or changed in silence.

    suites/published.json                     every id ever published, with the digest of what it stood for
    suites/superseded/<version>/<name>.json   profiles that a later version has replaced, as they were frozen

    python -m llmasos_conformance.suite publish   writes the register; the last step before a version goes out
    python -m llmasos_conformance.suite changes   what has changed since, in the words that the changelog needs

Before anything is published there is no register, and ids are free. Afterwards the loader holds the suites of today
against it, so that the rules of docs/suite-life.md are kept by a program:

    an id stays                      what is dropped is marked `withdrawn`, and does not come back
    a case keeps what it asks        what asks something else gets an id of its own
    a requirement keeps its level    and its wording, unless an erratum quotes the wording that was published
    a profile keeps its content      what lists other cases is frozen anew, under the version in work

Strict JSON, read without YAML, because `verify` looks here for profiles of earlier versions and for withdrawn cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmasos_conformance.canonical import Unacceptable, compact, parse, schema, sha256, validate
from llmasos_conformance.errors import SuiteError

FILE_NAME = "published.json"
SUPERSEDED = "superseded"

Register = Mapping[str, Any]
"""As published.schema.json has it: versions, and requirements, cases and profiles by id."""
Entries = Mapping[str, Mapping[str, Any]]
"""What stands in the suites of today: id -> what the register would keep of it, and `withdrawn`, and `was`."""


def read(directory: Path) -> Register:
    """The register of a suites directory; an empty one where nothing has been published.

    Raises:
        Unacceptable: the file is not strict JSON or breaks its schema.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        return {"versions": [], "requirements": {}, "cases": {}, "profiles": {}}
    register: dict[str, Any] = parse(path.read_bytes(), where=path, floats=False)
    try:
        validate(register, schema("published"))
    except Unacceptable as error:
        raise Unacceptable(error.code, error.what, where=path) from None
    return register


def number(version: str) -> tuple[int, ...]:
    """A version as numbers that can be compared: 0.10.0 comes after 0.9.0.

    Raises:
        SuiteError: it is no version.
    """
    parts = version.split(".")
    if not all(part.isdecimal() for part in parts):
        raise SuiteError(f"{version!r:.40} is no version of the standard; 0.2.0 is one")
    return tuple(map(int, parts))


def follows(version: str, register: Register) -> bool:
    """Whether a version comes after every one that has been published."""
    return not register["versions"] or number(version) > number(register["versions"][-1])


def wording(sentence: Mapping[str, str]) -> str:
    """sha256 hex of a sentence in both languages."""
    return sha256(compact({"en": sentence["en"], "zh": sentence["zh"]}))


def withdrawn(register: Register) -> dict[str, str]:
    """Case id -> version that withdrew it, of those that were withdrawn when a version was published."""
    return {name: kept["withdrawn"] for name, kept in register["cases"].items() if "withdrawn" in kept}


def file_of(directory: Path, name: str, version: str) -> Path:
    """Where a profile lies once a later version has replaced it."""
    return directory / SUPERSEDED / version / f"{name}.json"


# ── what the register forbids ────────────────────────────────────────────────────────────────────────────────────────


def broken(register: Register, requirements: Entries, cases: Entries) -> Iterator[tuple[str, str]]:
    """Id and reason of every rule that the suites of today break.

    Args:
        requirements: id -> {"level", "sentence", "withdrawn", "was"}; `was` holds digests of the wordings that errata
            of the version in work quote. cases: id -> {"digest", "withdrawn"}.
    """
    for kind, entries in (("requirements", requirements), ("cases", cases)):
        for name, kept in register[kind].items():
            for reason in _broken(register, kept, entries.get(name)):
                yield name, reason


def _broken(register: Register, kept: Mapping[str, Any], today: Mapping[str, Any] | None) -> Iterator[str]:
    if today is None:
        yield f"published in {kept['since']}, and gone; keep it, and say `withdrawn: {{since, why}}`"
        return
    if "withdrawn" in kept and not today["withdrawn"]:
        yield f"withdrawn in {kept['withdrawn']}, and here again; an id does not come back, take a new one"
    if "withdrawn" not in kept and today["withdrawn"] and not follows(today["withdrawn"], register):
        yield f"withdrawn since {today['withdrawn']}, and in force in {register['versions'][-1]}, published"
    if today.get("level") != kept.get("level"):
        yield f"published as {kept['level']}, now {today['level']}; withdraw it, and demand that under a new id"
    if today.get("sentence") != kept.get("sentence") and kept["sentence"] not in today["was"]:
        reason = "an erratum of this version quotes the published wording in `was`, or the new demand gets a new id"
        yield f"worded otherwise than published: {reason}"
    if not today["withdrawn"] and today.get("digest") != kept.get("digest"):
        yield f"asks something else than published in {kept['since']}; withdraw it, and ask under a new id"


def lost(register: Register, profiles: Mapping[tuple[str, str], str]) -> Iterator[tuple[str, str]]:
    """Name and reason of every published profile that is not there as it was.

    Args:
        profiles: name and version of those that lie here, in force or superseded -> digest.
    """
    for name, versions in register["profiles"].items():
        for version, digest in versions.items():
            found = profiles.get((name, version))
            if found is None:
                yield name, f"published in {version}, and gone; it belongs into {SUPERSEDED}/{version}/{name}.json"
            elif found != digest:
                yield name, f"published in {version} with other content; what lists other cases needs another version"


# ── what a version adds to it ────────────────────────────────────────────────────────────────────────────────────────


def updated(
    register: Register, version: str, requirements: Entries, cases: Entries, profiles: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """The register with everything that stands in the suites of today.

    Args:
        version: that is published. requirements, cases: see `broken`. profiles: see `lost`.

    Raises:
        SuiteError: the version has been published, or is none that could follow.
    """
    known = register["versions"]
    if not follows(version, register):
        raise SuiteError(
            f"{version} cannot follow {known[-1]}, which has been published",
            where=FILE_NAME,
            hint="give the package its next version first",
        )

    def kept(kind: str, entries: Entries, *keys: str) -> dict[str, Any]:
        made = {}
        for name in sorted({*register[kind], *entries}):
            before, today = register[kind].get(name, {}), entries[name]
            made[name] = {"since": before.get("since", version)} | {key: today[key] for key in keys}
            if today["withdrawn"]:  # what a case asked when it was published stays on record
                made[name] |= {key: before[key] for key in keys if key in before} | {"withdrawn": today["withdrawn"]}
        return made

    listed: dict[str, dict[str, str]] = {name: dict(versions) for name, versions in register["profiles"].items()}
    for (name, frozen), digest in sorted(profiles.items()):
        listed.setdefault(name, {})[frozen] = digest
    return {
        "versions": [*known, version],
        "requirements": kept("requirements", requirements, "level", "sentence"),
        "cases": kept("cases", cases, "digest"),
        "profiles": listed,
    }


def write(directory: Path, register: Register) -> Path:
    """Write the register.

    Raises:
        Unacceptable: it breaks its schema.
    """
    validate(register, schema("published"))
    path = directory / FILE_NAME
    path.write_text(json.dumps(register, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
