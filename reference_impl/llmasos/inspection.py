"""What is in a bundle, and everything that is wrong with it.

Reading a bundle stops at the first fault, because nothing may run behind it. Somebody who has to mend a bundle wants
all of them, and wants to see what is there. The rules are those of `config`, `weights` and `graphfile`; none is written
again here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmasos import graphfile, strictjson, weights
from llmasos.bundle import MAX_DOCUMENT, MAX_TOKENIZER, MODEL, ONNX, TOKENIZER, WEIGHTS, directory_of, read_file
from llmasos.config import ModelConfig, applied_defaults
from llmasos.errors import InvalidFormat, LLMasOSError, Unsupported
from llmasos.graphfile import GraphFile
from llmasos.tokenizer import FileTokenizer, open_tokenizer

GRAPHS = (ONNX, graphfile.ENCODER)
READ = (MODEL, WEIGHTS, TOKENIZER, *GRAPHS, *(f"{name}.data" for name in GRAPHS))
"""Files that mean something; all others are never opened."""

MAX_FAULTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong, in the words of the error that reading the bundle would raise.

    The reference reads no graphs; what is wrong with one is what a reader of graphs refuses.
    """

    code: str
    what: str
    where: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of the directory. sha256 is of those that are read, "" for others."""

    name: str
    size: int
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor that is there, that should be, or both.

    Attributes:
        state: "ok", "missing", "unknown", "shape" (another than due) or "not finite".
        dtype, shape: as stored; as due if it is missing.
        due: shape that the document demands; None if it demands no such tensor.
        minimum, maximum, mean, deviation: of its finite elements; NaN without any.
    """

    name: str
    state: str
    dtype: str
    shape: tuple[int, ...]
    due: tuple[int, ...] | None
    minimum: float = math.nan
    maximum: float = math.nan
    mean: float = math.nan
    deviation: float = math.nan


@dataclass(slots=True, kw_only=True)
class Inspection:
    """All that was found.

    Attributes:
        directory: of the bundle. files: in it, by name.
        document: model.json as written; None if it is no JSON. config: None if it is no valid document.
        defaults: parameters that the document leaves to the standard.
        parameters: number of weights that the document demands; 0 if it is not valid.
        tensors: in the order of the architecture, unknown ones behind.
        tokenizer: "tokenizer.json", "bytes" or "none".
        graphs: files of ONNX.
        faults: all of them; a bundle without any loads.
    """

    directory: Path
    files: list[File] = field(default_factory=list)
    document: Any = None
    config: ModelConfig | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    parameters: int = 0
    tensors: list[Tensor] = field(default_factory=list)
    tokenizer: str = "none"
    graphs: list[GraphFile] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """Everything but the values of tensors, as plain data; NaN as null."""
        return {
            "directory": str(self.directory),
            "files": [asdict(file) for file in self.files],
            "document": self.document,
            "config": None if self.config is None else asdict(self.config),
            "defaults": dict(self.defaults),
            "parameters": self.parameters,
            "tokenizer": self.tokenizer,
            "graphs": [asdict(graph) for graph in self.graphs],
            "tensors": [
                {
                    key: None if isinstance(value, float) and math.isnan(value) else value
                    for key, value in asdict(t).items()
                }
                for t in self.tensors
            ],
            "faults": [asdict(fault) for fault in self.faults],
        }

    def lines(self, *, tensors: bool = False) -> list[str]:
        """The same for a person, faults left out."""
        made = []
        if self.config is not None:
            config = self.config
            made += [
                f"{config.name}: {config.architecture}, format {config.version}",
                f"  sizes: vocabulary {config.vocab_size}, width {config.embedding_dim}, {config.num_layers} layers, "
                f"{config.num_heads} heads, hidden {config.feed_forward_dim}, context {config.context_length}",
                f"  parameters: {self.parameters:,}",
            ]
            given = ", ".join(f"{name}={json.dumps(value)}" for name, value in self.defaults.items())
            made.append(f"  defaults applied: {given or 'none'}")
        if not self.tensors:
            made.append("  weights: no file" + ("" if self.config is None else f"; from seed {self.config.seed}"))
        else:
            kinds = Counter(t.dtype for t in self.tensors if t.dtype)
            made.append(f"  weights: {', '.join(f'{count} tensors of {kind}' for kind, count in kinds.items())}")
        made.append(f"  tokenizer: {self.tokenizer}")
        for graph in self.graphs:
            made += graph.lines()
        for file in self.files:
            note = f"sha256 {file.sha256[:16]}…" if file.sha256 else "not part of the format, never opened"
            made.append(f"  file: {file.name}, {file.size:,} bytes, {note}")
        if tensors and self.tensors:
            width = max(len(t.name) for t in self.tensors)
            figures = " ".join(f"{name:>10}" for name in ("mean", "deviation", "min", "max"))
            made.append(f"  {'tensor':{width}}  dtype  {'shape':>14}  {figures}  state")
            made += [
                f"  {t.name:{width}}  {t.dtype or '-':5}  {'×'.join(map(str, t.shape)):>14}  {t.mean:10.3g} "
                f"{t.deviation:10.3g} {t.minimum:10.3g} {t.maximum:10.3g}  {t.state}"
                for t in self.tensors
            ]
        return made

    def blame(self, error: LLMasOSError) -> None:
        self.faults.append(Fault(code=error.code, what=error.what, where=error.where, hint=error.hint))


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Look at a bundle, whether or not it is sound.

    Args:
        path: the bundle's directory, or its model.json.

    Raises:
        NotFound, InvalidArgument: there is nothing to look at.
        InvalidFormat: a file that is no bundle.
    """
    found = Inspection(directory=directory_of(path))
    for place in sorted(found.directory.iterdir()):
        if place.is_file() and not place.is_symlink():
            digest = weights.sha256_of(place) if place.name in READ else ""
            found.files.append(File(name=place.name, size=place.stat().st_size, sha256=digest))
    _document(found)
    _weights(found)
    _tokenizer(found)
    for name in GRAPHS:
        _graph(found, name)
    return found


def _document(found: Inspection) -> None:
    """Read model.json; a parameter that is wrong is noted, left out, and the rest read again."""
    try:
        raw = read_file(found.directory / MODEL, MAX_DOCUMENT)
        if raw is None:
            found.faults.append(Fault(code="not_found", what=f"{MODEL} is missing", where=MODEL, hint="add it"))
            return
        found.document = strictjson.parse(raw, MODEL)
    except LLMasOSError as error:
        found.blame(error)
        return
    candidate = found.document
    while len(found.faults) < MAX_FAULTS:
        try:
            config = ModelConfig.from_document(candidate, MODEL)
        except LLMasOSError as error:
            found.blame(error)
            # A rule between two members says nothing of the rest once one of them is left out.
            between = "do not divide" in error.what or "odd width" in error.what
            candidate = None if between else _without(candidate, error)
            if candidate is None:
                return
            continue
        if not found.faults:
            found.config = config
            found.defaults = {name: getattr(config, name) for name in applied_defaults(found.document)}
            found.parameters = weights.parameter_count(config)
        return


def _without(document: Any, error: LLMasOSError) -> Any:
    """A document without the member that an error names; None if there is none that can be left out."""
    if not isinstance(document, Mapping):
        return None
    parameters = document.get("parameters")
    key = error.where.partition("parameters.")[2].partition("[")[0]
    if not key and error.what.startswith("unknown key"):
        key = error.what.split("'")[1]
    if isinstance(parameters, Mapping) and key in parameters:
        return {**document, "parameters": {name: value for name, value in parameters.items() if name != key}}
    if key in document and error.what.startswith("unknown key"):
        return {name: value for name, value in document.items() if name != key}
    return None


def _weights(found: Inspection) -> None:
    """Hold every tensor against what the document demands."""
    path = found.directory / WEIGHTS
    due = {} if found.config is None else weights.expected_tensors(found.config)
    stated = None if found.config is None else found.config.weights_sha256
    if not path.exists() and not path.is_symlink():
        if stated is not None:
            what = f"{WEIGHTS} is missing, and {MODEL} states its digest"
            found.faults.append(Fault(code="invalid_format", what=what, where=WEIGHTS, hint="add the file"))
        elif found.config is not None and "initialisation" not in found.document and (found.directory / ONNX).exists():
            what, hint = f"the weights are in {ONNX} alone", f"add {WEIGHTS}, or initialisation if a seed gives them"
            found.faults.append(Fault(code="unsupported", what=what, where=WEIGHTS, hint=hint))
        return
    try:
        if stated is not None and weights.sha256_of(path) != stated:
            raise InvalidFormat("another digest than model.json states", WEIGHTS, "fetch the file again")
    except LLMasOSError as error:
        found.blame(error)
    try:
        with weights.open_regular(path) as file:
            entries, start = weights.read_header(file, os.fstat(file.fileno()).st_size, WEIGHTS)
            stored = {name: _tensor(name, entry, due, found, file, start) for name, entry in entries.items()}
    except LLMasOSError as error:
        found.blame(error)
        return
    for name, shape in due.items():
        if name not in stored:
            found.tensors.append(Tensor(name=name, state="missing", dtype="", shape=shape, due=shape))
            _fault(found, name, "is missing", f"shape {list(shape)} is due")
        else:
            found.tensors.append(stored[name])
    found.tensors += [tensor for name, tensor in stored.items() if name not in due]


def _tensor(
    name: str, entry: weights.Entry, due: Mapping[str, Any], found: Inspection, file: Any, start: int
) -> Tensor:
    """One stored tensor with its state and figures."""
    file.seek(start + entry.begin)
    array = weights.as_array(file.read(entry.end - entry.begin), entry).astype(np.float64)
    finite = array[np.isfinite(array)]
    figures = (
        {"minimum": finite.min(), "maximum": finite.max(), "mean": finite.mean(), "deviation": finite.std()}
        if finite.size
        else {}
    )
    state = "ok"
    if found.config is not None and name not in due:
        state = "unknown"
        _fault(found, name, "is not part of the architecture", "leave it out")
    elif found.config is not None and entry.shape != due[name]:
        state = "shape"
        _fault(found, name, f"has shape {list(entry.shape)}, {list(due[name])} is due", "")
    elif finite.size < array.size:
        state = "not finite"
        _fault(found, name, f"holds {array.size - finite.size} numbers that are NaN or infinite", "")
    return Tensor(
        name=name, state=state, dtype=entry.dtype, shape=entry.shape, due=due.get(name),
        **{key: float(value) for key, value in figures.items()},
    )  # fmt: skip


def _fault(found: Inspection, name: str, what: str, hint: str) -> None:
    found.faults.append(Fault(code="invalid_format", what=f"{name} {what}", where=WEIGHTS, hint=hint))


def _tokenizer(found: Inspection) -> None:
    try:
        raw = read_file(found.directory / TOKENIZER, MAX_TOKENIZER)
        if found.config is None:
            found.tokenizer = "none" if raw is None else TOKENIZER
            return
        opened = open_tokenizer(found.config, raw)
        found.tokenizer = "none" if opened is None else TOKENIZER if isinstance(opened, FileTokenizer) else "bytes"
    except LLMasOSError as error:
        found.tokenizer = TOKENIZER
        found.blame(error)


def _graph(found: Inspection, name: str) -> None:
    """Look into a file of ONNX, and hold it against the document and the weights."""
    try:
        graph = graphfile.read(found.directory / name)
        if graph is None:
            return
    except LLMasOSError as error:
        hint = f" ({error.hint})" if isinstance(error, Unsupported) else ""
        found.graphs.append(GraphFile(name=name, unread=f"{error.what}{hint}"))
        if not isinstance(error, Unsupported):  # without onnx nothing is known, and nothing is wrong
            found.blame(error)
        return
    try:
        graphfile.check(graph, found.config)
    except LLMasOSError as error:
        found.blame(error)
    stated = graph.metadata.get("llmasos.weights_sha256")
    due, whose = _digest(found)
    if due is None:
        state = "unknown" if found.config is None else "only"
    else:
        state = "unknown" if stated is None else "these" if stated == due else "others"
    found.graphs.append(replace(graph, weights=state))
    if state == "others":
        what = f"was made of other weights than {whose}"
        found.blame(InvalidFormat(what, name, "export it again"))


def _digest(found: Inspection) -> tuple[str | None, str]:
    """Digest of the weights that the bundle has without its graphs, and whose they are; None without any."""
    path = found.directory / WEIGHTS
    if path.is_file() and not path.is_symlink():
        return weights.sha256_of(path), f"those of {WEIGHTS}"
    if found.config is None or "initialisation" not in found.document:
        return None, ""
    if 4 * found.parameters > sum(file.size for file in found.files):  # no graph here holds as many, so none is drawn
        return "", "those of the seed"
    made = weights.initialise(found.config)
    return hashlib.sha256(weights.safetensors_bytes(made)).hexdigest(), "those of the seed"
