"""Profiles: frozen lists of cases, which say what a certificate means.

    profiles/<level>/<architecture>/<interface>.json     core/gpt/logits
    profiles/<name>.json                                 quick
    superseded/<version>/<…>.json                        as a published version had it, where a later one differs

A profile keeps an entry of each case: id, requirement, level, needs, and the digest of what the case asks. A case that
asks something else today no longer agrees with its entry. Profiles are strict JSON; reading one needs neither YAML nor
the cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmasos_conformance import published
from llmasos_conformance.canonical import Unacceptable, encode, parse, schema, sha256, validate
from llmasos_conformance.errors import SuiteError, did_you_mean


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


def paths(directory: Path) -> dict[str, Path]:
    """Name and file of every profile of a suites directory, sorted by name."""
    root = directory / "profiles"
    found = {path.relative_to(root).with_suffix("").as_posix(): path for path in root.rglob("*.json")}
    return dict(sorted(found.items()))


def everything(directory: Path) -> dict[tuple[str, str], Path]:
    """(name, version) and file of every profile; the version is empty for one in force."""
    found = {(name, ""): path for name, path in paths(directory).items()}
    root = directory / published.SUPERSEDED
    for path in sorted(root.rglob("*.json")):
        version, _, name = path.relative_to(root).with_suffix("").as_posix().partition("/")
        found[name, version] = path
    return found


def superseded(directory: Path, name: str) -> list[Path]:
    """Files of the earlier versions of a profile, oldest first."""
    found = [
        (published.number(kept), path) for (each, kept), path in everything(directory).items() if each == name and kept
    ]
    return [path for _, path in sorted(found)]


def digest(document: Mapping[str, Any]) -> str:
    """sha256 hex over canonical bytes, so that indentation does not matter."""
    return sha256(encode(document))


def digests(documents: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Name and version -> digest, of profiles' documents."""
    return {(document["profile"], document["version"]): digest(document) for document in documents}


def read(path: Path) -> dict[str, Any]:
    """A profile's document, held against its schema and not against any case.

    Raises:
        HarnessError: the file is not strict JSON or breaks its schema.
    """
    document: dict[str, Any] = parse(path.read_bytes(), where=path, floats=False)
    try:
        validate(document, schema("profile"))
    except Unacceptable as error:
        raise Unacceptable(error.code, error.what, where=path) from None
    return document


def from_document(document: Mapping[str, Any]) -> Profile:
    return Profile(
        name=document["profile"],
        version=document["version"],
        requires=frozenset(document["requires"]),
        cases=tuple(case["id"] for case in document["cases"]),
    )


def frozen_profile(path: Path) -> Profile:
    """A profile as it was frozen.

    Raises:
        HarnessError: the file is not strict JSON or breaks its schema.
    """
    return from_document(read(path))


def disagreements(
    document: Mapping[str, Any],
    name: str,
    entries: Mapping[str, Mapping[str, Any]],
    *,
    withdrawn: Mapping[str, str] = MappingProxyType({}),
    superseded: str = "",
) -> Iterator[tuple[str, str]]:
    """Place and reason of all that does not fit the cases of today.

    Args:
        name: what its file is called. entries: case id -> entry, of every case, withdrawn ones too.
        withdrawn: case id -> version. superseded: version under which the file lies; empty for a profile in force.
    """
    from llmasos_conformance.protocol import (
        ARCHITECTURES,
        CAPABILITIES,
    )  # imports NumPy, which `llmasos verify` starts without

    if document["profile"] != name:
        yield "profile", f"{document['profile']!r} lies in the file of {name!r}"
    if superseded and document["version"] != superseded:
        yield "version", f"{document['version']} lies among those of {superseded}"
    known = (*CAPABILITIES, *ARCHITECTURES)
    for wanted in sorted(set(document["requires"]) - set(known)):
        yield "requires", f"there is no capability {wanted!r}{did_you_mean(wanted, known)}"
    ids = [kept["id"] for kept in document["cases"]]
    if len(set(ids)) != len(ids):
        yield "cases", "a case stands twice"
    for i, kept in enumerate(document["cases"]):
        today = entries.get(kept["id"])
        if today is None:
            near = did_you_mean(kept["id"], entries)
            yield f"cases[{i}]", f"{kept['id']} is gone; a frozen case stays{near}"
        elif kept["id"] in withdrawn:
            if not superseded:
                text = f"{kept['id']} was withdrawn in {withdrawn[kept['id']]}; freeze the profile for this version"
                yield f"cases[{i}]", text
        elif kept != today:
            text = f"{kept['id']} has changed since the freeze; give what it now asks a new id, and freeze again"
            yield f"cases[{i}]", text


def write(directory: Path, document: Mapping[str, Any], *, replace: bool) -> Path:
    """Write a profile where its name says. One that has been published is kept among the superseded ones.

    Args:
        directory: of the suites. replace: overwrite a profile of that name.

    Raises:
        HarnessError: the document breaks its schema, or there is one and it may not be replaced.
    """
    validate(document, schema("profile"))
    path = directory / "profiles" / f"{document['profile']}.json"
    if path.exists() and not replace:
        raise SuiteError("the profile exists, and frozen is frozen", where=path, hint="choose a new name or version")
    versions = published.read(directory)["profiles"].get(document["profile"], {})
    if path.exists() and versions:
        kept = read(path)
        if {**kept, "version": ""} == {**document, "version": ""}:
            return path  # it still is what was published, under the version that was published
        if document["version"] in versions:
            raise SuiteError(
                f"the profile has been published in {document['version']} with other cases",
                where=path,
                hint="give the package its next version first",
            )
        if kept["version"] in versions:
            place = published.file_of(directory, document["profile"], kept["version"])
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
