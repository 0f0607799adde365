"""The probes of one run on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmasos_conformance.canonical import digest_of, sha256
from llmasos_conformance.errors import HarnessError, SuiteError
from llmasos_conformance.layout import files_of, with_defaults
from llmasos_conformance.probes.given import Given, copied, taken
from llmasos_conformance.probes.making import PROBES, Maker, Parts
from llmasos_conformance.protocol import Array

_NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0)


class Disturbed(HarnessError):
    """Something lies where the library was about to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A bundle on disk and what is known of it.

    Attributes:
        name: of the probe; "bundle-" and part of the digest for one that a question made itself.
        path: directory. Its name says nothing but the digest.
        digest: sha256 hex over file names and bytes, see `canonical.digest_of`.
        config: `parameters` of model.json with the standard's defaults; empty if model.json has none.
        facts: what the construction guarantees, as plain data; see the probe's docstring.
        largest: magnitude of the largest weight of a probe; 0 of a bundle that a question made itself.
    """

    name: str
    path: Path
    digest: str
    config: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    largest: float = 0.0


class Library:
    """The probes of one run, written to disk when first asked for.

    Args:
        root: directory for the bundles, and for nobody else; made if absent. Two libraries (the candidate's and the
            reference's) with the same seed hold the same bundles in different places.
        seed: of the run. given: the bundle that somebody gave for the run, in the place of the probe that it is.
    """

    def __init__(self, root: Path, seed: str, given: Given | None = None) -> None:
        self.root, self.seed, self.given = Path(root), seed, given
        self._made: dict[str, Probe] = {}
        self._written: dict[Path, dict[str, str]] = {}  # bundle -> file -> SHA-256

    def get(self, name: str) -> Probe:
        """A probe by name.

        Raises:
            SuiteError: there is none of that name.
        """
        if name not in self._made and self.given is not None and name == self.given.probe:
            self._made[name] = self._take(name, self.given)
        if name not in self._made:
            parts = self.parts(name)
            files = files_of(parts.document, parts.weights)
            largest = max((float(np.max(np.abs(array))) for array in parts.weights.values()), default=0.0)
            self._made[name] = replace(self._store(name, files, parts.document, parts.facts), largest=largest)
        return self._made[name]

    def parts(self, name: str) -> Parts:
        """A fresh copy of what a probe is made of.

        Raises:
            SuiteError: there is none of that name.
        """
        if self.given is not None and name == self.given.probe:
            raise SuiteError(f"{name} is a bundle that was given; it is not taken apart")
        if name not in PROBES:
            raise SuiteError(f"no probe is called {name!r}", hint=f"one of {', '.join(PROBES)}")
        return PROBES[name](Maker(self.seed, name))

    def write(
        self,
        document: Mapping[str, Any] | bytes,
        weights: Mapping[str, Array] | bytes | None,
        *,
        tokenizer: str | bytes | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Probe:
        """Write a bundle that a question made itself, sound or not; arguments as in `layout.files_of`."""
        contents = files_of(document, weights, tokenizer, files)
        return self._store("", contents, document if isinstance(document, Mapping) else {}, {})

    def _take(self, name: str, bundle: Given) -> Probe:
        """The bundle that was given: where it lies if that is this library's root, else a copy."""
        place = bundle.path
        if place.parent != self.root:
            place = self.root / bundle.digest[:16]
            self.root.mkdir(parents=True, exist_ok=True)
            place.mkdir(mode=0o700)
            copied(bundle, place)
        self._written[place] = dict(bundle.files)
        return Probe(name=name, path=place, digest=bundle.digest, config=bundle.config)

    def _store(
        self, name: str, files: Mapping[str, bytes], document: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> Probe:
        digest = digest_of(files)
        place = self.root / digest[:16]
        if place not in self._written:
            self._lay(place, files)
            self._written[place] = {file: sha256(content) for file, content in files.items()}
        return Probe(
            name=name or f"bundle-{digest[:8]}",
            path=place,
            digest=digest,
            config=with_defaults(document.get("parameters"), str(document.get("architecture"))),
            facts=facts,
        )

    def _lay(self, place: Path, files: Mapping[str, bytes]) -> None:
        """Write a bundle where nothing is yet. What others placed there is neither followed, opened nor replaced."""
        self.root.mkdir(parents=True, exist_ok=True)
        made: set[Path] = set()
        try:
            for target, content in ((place / file, content) for file, content in files.items()):
                for folder in [place, *reversed(target.relative_to(place).parents[:-1])]:
                    where = place / folder
                    if where not in made:
                        where.mkdir(mode=0o700)
                        made.add(where)
                number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOT_FOLLOWED, 0o600)
                with os.fdopen(number, "wb") as stream:
                    stream.write(content)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise Disturbed("somebody else wrote here while the run went on", where=place) from error

    def changed(self) -> list[Path]:
        """Files that this library wrote and that are no longer what it wrote. Opens nothing but regular files."""
        return [
            place / file
            for place, digests in self._written.items()
            for file, digest in digests.items()
            if _digest_at(place / file) != digest
        ]


def _digest_at(path: Path) -> str:
    """SHA-256 of a regular file; "" for anything else."""
    try:
        return taken(path)
    except SuiteError:
        return ""
