"""The bundle that somebody gives: a model of his own, in the place of a probe.

Cases name it `given`, `llama-given`, `bert-given` or `trf-given`. In a run without a bundle of one's own these are
probes like all others, drawn from the seed, so that such cases can be tried and be shown to fail mutants; a certified
run of their profiles takes the bundle that it was given, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmasos_conformance.canonical import Unacceptable, clean, digest_of, parse, sha256
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.graphs import contract
from llmasos_conformance.layout import MODEL, TOKENIZER, WEIGHTS, with_defaults
from llmasos_conformance.probes.making import PROBES, Maker, Parts, probe

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
"""Positions that the cases about a given bundle need: 24 ids, 24 more that are generated, and 64 that are scored."""

LARGEST_VOCABULARY = 131_072
"""Ids of a given bundle. Its cases keep the logits of at most 330 positions of one candidate, 4 bytes each: 173 MB of
evidence before compression, where 256 MB are the most that a verifier reads."""

GRAPHS = tuple(f"{graph}{data}" for graph in (contract.FILE, contract.ENCODER_FILE) for data in ("", contract.DATA))
FILES = (MODEL, WEIGHTS, TOKENIZER, *GRAPHS)
"""What is taken of a directory. Expected is what the weights say; a candidate that runs graphs is given them too."""


@dataclass(frozen=True, slots=True)
class Given:
    """A bundle on disk that stays where it is; a library copies it.

    Attributes:
        path: its directory. digest: as of any probe. document: model.json.
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
    def contents(self) -> Mapping[str, bytes]:
        """Its files, name -> bytes; read when looked at, one at a time."""
        return _Contents(self.path, tuple(self.files))

    def record(self) -> dict[str, Any]:
        """What a report says of it."""
        name = clean(str(self.document.get("name", "")), 120) or "-"
        return {"name": name, "architecture": self.architecture, "digest": self.digest, "files": dict(self.files)}


def read(path: Path) -> Given:
    """A bundle as its directory has it. Whether it is sound, the reference says when it loads it.

    Raises:
        SuiteError: there is no bundle, or one that the cases cannot be asked of.
    """
    names = tuple(name for name in FILES if (path / name).is_file() and not (path / name).is_symlink())
    if MODEL not in names:
        raise SuiteError(f"there is no bundle: no {MODEL}", where=path, hint="llmasos new and llmasos import make one")
    contents = _Contents(path, names)
    try:
        document = parse(contents[MODEL], where=path / MODEL)
    except Unacceptable as error:
        raise SuiteError(error.what, where=error.where, hint="llmasos inspect says what is wrong with it") from error
    architecture = str(document.get("architecture")) if isinstance(document, dict) else ""
    if architecture not in GIVEN:
        raise SuiteError(f"the architecture is none of {', '.join(GIVEN)}", where=path / MODEL)
    if WEIGHTS not in names and "initialisation" not in document:
        raise SuiteError(f"the bundle has no weights: no {WEIGHTS}, and no seed to make them from", where=path)
    _fits(with_defaults(document.get("parameters"), architecture), path / MODEL)
    files = {name: sha256(contents[name]) for name in names}
    return Given(path, digest_of(contents), document, files)


def _fits(config: Mapping[str, Any], where: Path) -> None:
    context, V = config.get("context_length"), config.get("vocab_size")
    if not isinstance(context, int) or not isinstance(V, int):
        raise SuiteError("its parameters are not complete", where=where, hint="llmasos inspect says what is missing")
    if context < SHORTEST_CONTEXT:
        raise SuiteError(f"a context of {context}; the cases need {SHORTEST_CONTEXT} positions", where=where)
    if V > LARGEST_VOCABULARY:
        raise SuiteError(f"{V} ids; evidence holds the logits of at most {LARGEST_VOCABULARY}", where=where)


@dataclass(frozen=True, slots=True)
class _Contents(Mapping[str, bytes]):
    """Files of a directory as a mapping that keeps none of them."""

    path: Path
    names: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> bytes:
        if name not in self.names:
            raise KeyError(name)
        return (self.path / name).read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


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
