"""Profiles: frozen lists of cases, which say what a certificate means.

    profiles/<level>/<architecture>/<interface>.json     core/gpt/logits
    profiles/<name>.json                                 quick

A profile keeps an entry of each case: id, requirement, level, needs, and the digest of what the case asks. A case that
asks something else today no longer agrees with its entry. Profiles are strict JSON; reading one needs neither YAML nor
the cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos_conformance.canonical import Unacceptable, parse, schema, validate
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
    document: Mapping[str, Any], name: str, entries: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Place and reason of all that does not fit the cases of today.

    Args:
        name: what its file is called. entries: case id -> entry, of every case.
    """
    from llmasos_conformance.protocol import (
        ARCHITECTURES,
        CAPABILITIES,
    )  # imports NumPy, which `llmasos verify` starts without

    if document["profile"] != name:
        yield "profile", f"{document['profile']!r} lies in the file of {name!r}"
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
        elif kept != today:
            text = f"{kept['id']} has changed since the freeze; give what it now asks a new id, and freeze again"
            yield f"cases[{i}]", text


def write(directory: Path, document: Mapping[str, Any], *, replace: bool) -> Path:
    """Write a profile where its name says.

    Args:
        directory: of the suites. replace: overwrite a profile of that name.

    Raises:
        HarnessError: the document breaks its schema, or there is one and it may not be replaced.
    """
    validate(document, schema("profile"))
    path = directory / "profiles" / f"{document['profile']}.json"
    if path.exists() and not replace:
        raise SuiteError("the profile exists, and frozen is frozen", where=path, hint="choose a new name or version")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
