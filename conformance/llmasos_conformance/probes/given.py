"""The bundle that somebody gives: a model of his own, in the place of a probe.

Cases name it `given`, `llama-given`, `bert-given` or `trf-given`. In a run without a bundle of one's own these are
probes like all others, drawn from the seed, so that such cases can be tried and be shown to fail mutants; a certified
run of their profiles takes the bundle that it was given, and no other.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmasos_conformance.canonical import Unacceptable, clean, digest_of, parse
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.graphs import contract
from llmasos_conformance.layout import MODEL, TOKENIZER, WEIGHTS, with_defaults
from llmasos_conformance.probes.making import PROBES, Maker, Parts, probe

T = TypeVar("T")

GIVEN: Mapping[str, str] = {
    "GPT-3": "given",
    "Llama": "llama-given",
    "BERT": "bert-given",
    "Transformer": "trf-given",
}
"""Architecture -> name under which cases ask for a bundle of that architecture that somebody gives."""

PROFILES: Mapping[str, str] = {
    "GPT-3": "bundle/gpt",
    "Llama": "bundle/llama",
    "BERT": "bundle/bert",
    "Transformer": "bundle/transformer",
}
"""Architecture -> profile that is about a given bundle of that architecture."""

SHORTEST_CONTEXT = 64
"""Positions that the cases about a given bundle need: 24 ids and 24 more that are generated; 40 that are scored."""

LARGEST_VOCABULARY: Mapping[str, int] = {
    "float16": 131_072, "bfloat16": 131_072, "float32": 131_072, "float64": 65_536,
}  # fmt: skip
"""Ids of a given bundle, by claimed dtype. A case keeps the logits of 64 positions at most, in base64: 45 MB of a line
of evidence, of which 64 MiB are read. The truth has 40 positions in one answer, 8 bytes a logit: 42 MB of 44 MiB."""

GRAPHS = tuple(f"{graph}{data}" for graph in (contract.FILE, contract.ENCODER_FILE) for data in ("", contract.DATA))
FILES = (MODEL, WEIGHTS, TOKENIZER, *GRAPHS)
"""What is taken of a directory. Expected is what the weights say; a candidate that runs graphs is given them too."""

MAX_DOCUMENT = 1024 * 1024
"""Bytes of model.json, as the format has it."""
PIECE = 1024 * 1024
_ONLY_OPENED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True, slots=True)
class Given:
    """A bundle as it was when it was read.

    Attributes:
        path: its directory: the copy that was made when it was read, or the original where none was.
        digest: over names and digests of its files. document: model.json.
        files: name -> SHA-256 of its bytes, for whoever wants to compare with `sha256sum`.
    """

    path: Path
    digest: str
    document: Mapping[str, Any]
    files: Mapping[str, str]

    @property
    def architecture(self) -> str:
        return str(self.document["architecture"])

    @property
    def probe(self) -> str:
        """Name under which cases ask for it."""
        return GIVEN[self.architecture]

    @property
    def config(self) -> dict[str, Any]:
        """`parameters` of model.json with the standard's defaults."""
        return with_defaults(self.document.get("parameters"), self.architecture)

    def record(self) -> dict[str, Any]:
        """What a report says of it."""
        name = clean(str(self.document.get("name", "")), 120) or "-"
        return {"name": name, "architecture": self.architecture, "digest": self.digest, "files": dict(self.files)}

    def fits(self, dtype: str) -> None:
        """Whether the cases can be asked of it, and their evidence be kept.

        Raises:
            SuiteError: its context is too short, or its vocabulary too large for what is claimed.
        """
        context, V = self.config["context_length"], self.config["vocab_size"]
        if context < SHORTEST_CONTEXT:
            raise SuiteError(
                f"the bundle has a context of {context}; the cases need {SHORTEST_CONTEXT} positions",
                hint="certify a model with a longer context",
            )
        if LARGEST_VOCABULARY[dtype] < V:
            raise SuiteError(
                f"the bundle has {V} ids; evidence holds the logits of {LARGEST_VOCABULARY[dtype]} for {dtype}",
                hint="there is no way around this limit in this version",
            )


def read(path: Path, room: Path | None = None) -> Given:
    """A bundle as its directory has it now, each file read once. Whether it is sound the reference says.

    Args:
        room: an existing directory that nobody else writes to; the bundle is copied there, and `Given.path` is the
            copy. Without it the bundle is looked at where it lies.

    Raises:
        SuiteError: there is no bundle, a file of it is no plain file, cannot be read, or finds no room.
    """
    names = _names(path)
    place = path if room is None else room / "given"
    if room is not None:
        _within(place.mkdir, place)
    files = {name: taken(path / name, None if room is None else place / name) for name in names}
    document = _document(place / MODEL, path / MODEL)
    if WEIGHTS not in names and "initialisation" not in document:
        raise SuiteError(f"the bundle has no weights: no {WEIGHTS}, and no seed to make them from", where=path)
    digest = digest_of({name: bytes.fromhex(content) for name, content in files.items()})
    return Given(place, digest, document, files)


def profile_of(path: Path) -> str:
    """The profile that is about a bundle, by its model.json alone.

    Raises:
        SuiteError: there is no bundle, or one of no architecture of the standard.
    """
    _names(path)
    taken(path / MODEL)
    return PROFILES[_document(path / MODEL, path / MODEL)["architecture"]]


def _names(path: Path) -> list[str]:
    """Names of the files that a bundle has."""
    if not path.is_dir():
        raise SuiteError("there is no such directory", where=path, hint="llmasos new and llmasos import make a bundle")
    names = [name for name in FILES if os.path.lexists(path / name)]
    if MODEL not in names:
        raise SuiteError(f"there is no bundle: no {MODEL}", where=path, hint="llmasos new and llmasos import make one")
    return names


def _document(place: Path, where: Path) -> Mapping[str, Any]:
    if place.stat().st_size > MAX_DOCUMENT:
        raise SuiteError(f"more than {MAX_DOCUMENT} bytes, the most that a {MODEL} may have", where=where)
    try:
        document = parse(place.read_bytes(), where=where)
    except Unacceptable as error:
        raise SuiteError(error.what, where=where, hint="llmasos inspect says what is wrong with it") from error
    architecture = document.get("architecture") if isinstance(document, dict) else None
    if not isinstance(architecture, str) or architecture not in GIVEN:
        raise SuiteError(f"the architecture is none of {', '.join(GIVEN)}", where=where)
    return dict(document)


def taken(source: Path, target: Path | None = None) -> str:
    """SHA-256 of a plain file, copied if there is a target. What is none is neither followed nor waited for.

    Raises:
        SuiteError: it is no plain file, cannot be read, or finds no room.
    """

    def take() -> str:
        sha = hashlib.sha256()
        with os.fdopen(os.open(source, os.O_RDONLY | _ONLY_OPENED), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise SuiteError("not a plain file; a bundle holds plain files and no links", where=source)
            with target.open("xb") if target is not None else contextlib.nullcontext() as copy:
                while piece := stream.read(PIECE):
                    sha.update(piece)
                    if copy is not None:
                        copy.write(piece)
        return sha.hexdigest()

    if source.is_symlink() or not source.is_file():
        raise SuiteError("not a plain file; a bundle holds plain files and no links", where=source)
    return _within(take, source)


def _within(do: Callable[[], T], where: Path) -> T:
    """What a call gives; trouble of the operating system in words."""
    try:
        return do()
    except OSError as error:
        hint = "make room, or let TMPDIR name a directory with more" if error.errno == errno.ENOSPC else ""
        raise SuiteError(f"cannot take the bundle: {error.strerror or error}", where=where, hint=hint) from error


def copied(given: Given, place: Path) -> None:
    """Copy a bundle that was read, and make sure that it is still the same.

    Raises:
        SuiteError: it is not, or there is no room.
    """
    for name, digest in given.files.items():
        if taken(given.path / name, place / name) != digest:
            raise SuiteError("the bundle is not what it was when the run began", where=given.path / name)


def _stand_in(name: str, like: str) -> None:
    @probe(name)
    def _made(make: Maker) -> Parts:
        return PROBES[like](make)


for _name, _like in (
    ("given", "long"),
    ("llama-given", "llama-long"),
    ("bert-given", "bert-long"),
    ("trf-given", "trf-long"),
):
    _stand_in(_name, _like)
