"""What model.onnx must be, so that it may be run in place of a bundle's weights.

    interface    names, element types and sizes of inputs and outputs
    parameters   the parameters of model.json that a graph depends on
    Contract     the rules, each a method; `opened` holds the ONNX files of a bundle against all of them

A file that is not what it must be is refused: with unsupported_version if its operator set is outside OPSETS, else with
invalid_format. An adapter may lean on all of this, and then declares it as emulated.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol

from llmasos_conformance.graphs.proto import (
    BOOL,
    DOUBLE,
    DTYPES,
    FLOAT,
    INT32,
    INT64,
    Broken,
    Model,
    Subgraph,
    Tensor,
    Value,
    decode,
)
from llmasos_conformance.protocol import Refusal

FILE, ENCODER_FILE, DATA = "model.onnx", "model.encoder.onnx", ".data"
OPSETS = (13, 21)
"""The least and the greatest operator set that a file may need."""
MAX_FILE = 2**31 - 1
"""Bytes of a file; protobuf ends there."""
FLOATS: Mapping[str, int] = {"float32": FLOAT, "float64": DOUBLE}
WRITTEN: Mapping[str, str] = {
    "float64": "float64", "float32": "float32", "float16": "float32", "bfloat16": "float32",
}  # fmt: skip
"""Claimed dtype -> dtype of the files. Half precision has no form of its own: a file states the model exactly, and who
claims less may compute it in less."""
KINDS: Mapping[int, str] = {FLOAT: "float32", DOUBLE: "float64", INT64: "int64"}

_COMMON = (
    "vocab_size", "embedding_dim", "num_layers", "num_heads", "feed_forward_dim", "context_length", "activation",
    "tie_embeddings",
)  # fmt: skip
_OWN: Mapping[str, tuple[str, ...]] = {
    "GPT-3": ("layer_norm_epsilon", "local_attention_window"),
    "Llama": ("rms_norm_epsilon", "num_key_value_heads", "rope_theta", "sliding_window"),
    "BERT": ("layer_norm_epsilon", "type_vocab_size"),
    "Transformer": ("layer_norm_epsilon", "num_decoder_layers", "positions", "scale_embeddings", "embedding_norm"),
}


def parameters(architecture: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a graph depends on; ids that begin, end or mask a text are not among them."""
    return {name: config.get(name) for name in (*_COMMON, *_OWN[architecture])}


# ── inputs and outputs ──────────────────────────────────────────────────────────────────────────────────────────────


def interface(
    architecture: str, config: Mapping[str, Any], form: str, dtype: str
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Inputs and outputs of a file, in the order in which the standard tells them.

    Args:
        form: whole, cached, encoder or decoder. dtype: float32 or float64.
    """
    V, D, H = config["vocab_size"], config["embedding_dim"], config["num_heads"]
    K, G = D // H, config.get("num_key_value_heads") or H

    def ids(name: str, size: str) -> Value:
        return Value(name=name, dtype=INT64, sizes=("batch", size))

    def pairs(front: str, layers: int, part: str, heads: int, size: str) -> list[Value]:
        names = (f"{front}.{i}{part}.{kind}" for i in range(layers) for kind in ("key", "value"))
        return [Value(name=name, dtype=FLOATS[dtype], sizes=("batch", heads, size, K)) for name in names]

    def floats(name: str, *sizes: int | str) -> Value:
        return Value(name=name, dtype=FLOATS[dtype], sizes=("batch", *sizes))

    if architecture == "BERT":
        names = ("input_ids", "attention_mask", "token_type_ids")
        made = (floats("logits", "length", V), floats("last_hidden_state", "length", D), floats("pooler_output", D))
        return tuple(ids(name, "length") for name in names), made
    if architecture != "Transformer":
        past, N = form == "cached", config["num_layers"]
        before = pairs("past_key_values", N, "", G, "past") if past else []
        after = pairs("present", N, "", G, "total") if past else []
        rows = (ids("input_ids", "length"), ids("attention_mask", "total" if past else "length"))
        return (*rows, *before), (floats("logits", "length", V), *after)
    N = config["num_decoder_layers"]
    source = (ids("input_ids", "source"), ids("attention_mask", "source"))
    if form == "encoder":
        return source, tuple(pairs("present", N, ".encoder", H, "source"))
    logits = floats("logits", "target", V)
    if form == "whole":
        return (*source, ids("decoder_input_ids", "target"), ids("decoder_attention_mask", "target")), (logits,)
    target = (ids("decoder_input_ids", "target"), ids("decoder_attention_mask", "total"), source[1])
    before = pairs("past_key_values", N, ".encoder", H, "source") + pairs("past_key_values", N, ".decoder", H, "past")
    return (*target, *before), (logits, *pairs("present", N, ".decoder", H, "total"))


def form_of(model: Model, name: str, architecture: str) -> str:
    """The form that a file seems to have, by its name and inputs."""
    if name == ENCODER_FILE:
        return "encoder"
    cached = any(value.name.startswith("past_key_values.") for value in model.inputs)
    return ("decoder" if architecture == "Transformer" else "cached") if cached else "whole"


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _must(condition: object, what: str) -> None:
    if not condition:
        raise Refusal("invalid_format", what)


class Files(Protocol):
    """Where the files of a bundle are."""

    def size(self, name: str) -> int | None:
        """Bytes of a plain file; None if there is none."""

    def read(self, name: str, offset: int, length: int) -> bytes:
        """A part of it."""


@dataclass(frozen=True, slots=True)
class Held:
    """Files in memory, name -> bytes."""

    contents: Mapping[str, bytes]

    def size(self, name: str) -> int | None:
        return len(self.contents[name]) if name in self.contents else None

    def read(self, name: str, offset: int, length: int) -> bytes:
        return self.contents[name][offset : offset + length]


@dataclass(frozen=True, slots=True)
class Folder:
    """Files of a directory. A link, even a folder that is one, leads elsewhere and is refused."""

    path: Path

    def size(self, name: str) -> int | None:
        place = self.path
        for part in PurePosixPath(name).parts:
            place = place / part
            try:
                mode = os.lstat(place).st_mode
            except (OSError, ValueError):
                return None
            _must(not stat.S_ISLNK(mode), f"{name} is a link")
        _must(stat.S_ISREG(mode), f"{name} is no plain file")
        return os.lstat(place).st_size

    def read(self, name: str, offset: int, length: int) -> bytes:
        with (self.path / name).open("rb") as file:
            file.seek(offset)
            return file.read(length)


# ── rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────

QUANTISED = (
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearMatMul",
    "QLinearConv",
)  # fmt: skip
"""Operators that compute with fewer bits."""


def tensors(model: Model) -> Iterator[Tensor]:
    """Initialisers, and tensors among the attributes."""
    yield from model.tensors
    for node in model.nodes:
        yield from (value for value in node.attributes.values() if isinstance(value, Tensor))


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The ONNX files of a bundle.

    Attributes:
        models: name -> what the file says. dtype: of all of them. form: of model.onnx. files: where they are.
        contract: by whose rules.
    """

    models: Mapping[str, Model]
    dtype: str
    form: str
    files: Files
    contract: Contract

    def array(self, each: Tensor, name: str) -> Any:
        """The values of a tensor of the file `name`, wherever they lie."""
        return each.array(self.files.read(*self.contract.placed(each, name, self.files)) if each.outside else None)


class Contract:
    """What the ONNX files of a bundle must be. A reader that lets something through overrides one of the rules.

    All raise Refusal: unsupported_version or invalid_format.
    """

    def opened(
        self, files: Files, architecture: str, config: Mapping[str, Any], digest: str | None = None
    ) -> Opened | None:
        """Read and judge the ONNX files of a bundle; None if it has none.

        Args:
            config: `parameters` with defaults. digest: sha256 of its model.safetensors; None if it has none.
        """
        main = self.read(files, FILE)
        if main is None:
            return None
        models = {FILE: main}
        dtype, form = self.judge(main, FILE, architecture, config), form_of(main, FILE, architecture)
        if form == "decoder":
            encoder = self.read(files, ENCODER_FILE)
            if encoder is None:
                raise Refusal("invalid_format", f"{FILE} is a decoder, and there is no {ENCODER_FILE}")
            _must(self.judge(encoder, ENCODER_FILE, architecture, config) == dtype, f"{ENCODER_FILE} has another dtype")
            models[ENCODER_FILE] = encoder
        for name, model in models.items():
            self.weights(model, name, digest)
            for each in tensors(model):
                if each.outside is not None:
                    self.placed(each, name, files)
        return Opened(models=models, dtype=dtype, form=form, files=files, contract=self)

    def read(self, files: Files, name: str) -> Model | None:
        """One file; None if there is none."""
        size = files.size(name)
        if size is None:
            return None
        _must(size <= MAX_FILE, f"{name} has {size} bytes")
        try:
            return decode(files.read(name, 0, size))
        except Broken as error:
            raise Refusal("invalid_format", f"{name}: {error!s:.200}") from None

    def judge(self, model: Model, name: str, architecture: str, config: Mapping[str, Any]) -> str:
        """Hold a file against its document; the dtype that it has."""
        self.operators(model, name)
        dtype = self.notes(model, name, architecture, config)
        self.interface(model, name, interface(architecture, config, form_of(model, name, architecture), dtype))
        self.precision(model, name, dtype)
        return dtype

    def operators(self, model: Model, name: str) -> None:
        """Operators of ONNX's own domain in a version that is allowed, and nothing that hides others."""
        version, (low, high) = model.opsets.get(""), OPSETS
        _must(version is not None, f"{name} names no operator set of ONNX")
        if not low <= (version or 0) <= high:
            text = f"{name} needs operator set {version}, {low} to {high} are allowed"
            raise Refusal("unsupported_version", text)
        _must(not model.functions, f"{name} defines operators of its own")
        for node in model.nodes:
            _must(node.domain == "", f"{name} uses {node.operator:.40} of {node.domain!r:.80}")
            hidden = any(isinstance(value, Subgraph) for value in node.attributes.values())
            _must(not hidden, f"{name} has a graph inside {node.operator:.40}")

    def notes(self, model: Model, name: str, architecture: str, config: Mapping[str, Any]) -> str:
        """Metadata that says the same as the document; the dtype."""
        notes = {key: model.notes.get(f"llmasos.{key}") for key in ("format", "architecture", "dtype", "parameters")}
        for key, value in notes.items():
            _must(value is not None, f"{name} has no metadata llmasos.{key}")
        _must(str(notes["format"]).partition(".")[0] == "1", f"{name} is of format {notes['format']!r:.40}")
        found = notes["architecture"]
        _must(found == architecture, f"{name} is of architecture {found!r:.40}, model.json says {architecture}")
        _must(notes["dtype"] in FLOATS, f"{name} is of dtype {notes['dtype']!r:.40}")
        try:
            given = json.loads(str(notes["parameters"]))
        except (ValueError, RecursionError):
            given = None
        _must(isinstance(given, dict), f"{name}: llmasos.parameters is no JSON object")
        due = parameters(architecture, config)
        for key in sorted(due.keys() | given.keys()):
            text = f"{name} was made with {key} {given.get(key)!r:.40}, model.json says {due.get(key)!r:.40}"
            _must(key in due and key in given and _same(due[key], given[key]), text)
        return str(notes["dtype"])

    def interface(self, model: Model, name: str, due: tuple[tuple[Value, ...], tuple[Value, ...]]) -> None:
        """Inputs and outputs by name, in any order."""
        held = {each.name for each in model.tensors}
        given = [value for value in model.inputs if value.name not in held]  # an initialiser may be listed there, too
        for what, found, wanted in (("input", given, due[0]), ("output", model.outputs, due[1])):
            by_name = {value.name: value for value in found}
            _must(len(by_name) == len(found), f"{name} names an {what} twice")
            for value in wanted:
                _must(value.name in by_name, f"{name} has no {what} {value.name}")
                self.value(by_name[value.name], value, f"{name}: {what} {value.name}")
            unknown = sorted(by_name.keys() - {value.name for value in wanted})
            _must(not unknown, f"{name} has an unknown {what} {unknown[:1]!s:.80}")

    def value(self, found: Value, due: Value, what: str) -> None:
        """Element type, and sizes as far as they are stated: those of the document, and no others that are fixed."""
        kind = KINDS.get(found.dtype, f"element type {found.dtype}")
        _must(found.dtype == due.dtype, f"{what} is {kind}, {KINDS[due.dtype]} is due")
        if found.sizes is None or due.sizes is None:
            return
        _must(len(found.sizes) == len(due.sizes), f"{what} has {len(found.sizes)} sizes, {len(due.sizes)} are due")
        for axis, (size, wanted) in enumerate(zip(found.sizes, due.sizes, strict=True)):
            text = f"{what} has size {size} at axis {axis}, {wanted if isinstance(wanted, int) else 'any'} is due"
            _must(not isinstance(size, int) or size == wanted, text)

    def precision(self, model: Model, name: str, dtype: str) -> None:
        """No number and no step of less precision than the file claims."""
        allowed = {FLOATS[dtype], DOUBLE, INT64, INT32, BOOL}
        for each in tensors(model):
            kind = DTYPES[each.dtype].name if each.dtype in DTYPES else f"element type {each.dtype}"
            _must(each.dtype in allowed, f"{name} claims {dtype}, and {each.name or 'a constant'} is {kind}")
        for node in model.nodes:
            _must(node.operator not in QUANTISED, f"{name} claims {dtype}, and has {node.operator}")
            if node.operator == "Cast":
                to = node.attributes.get("to")
                _must(to in allowed, f"{name} claims {dtype}, and rounds to element type {to!s:.20}")
            if node.operator == "LayerNormalization" and dtype == "float64":
                stash = node.attributes.get("stash_type", FLOAT)
                _must(stash == DOUBLE, f"{name} claims float64, and LayerNormalization computes in float32")

    def weights(self, model: Model, name: str, digest: str | None) -> None:
        """The file was made of the weights that lie beside it."""
        stated = model.notes.get("llmasos.weights_sha256")
        _must(stated is not None, f"{name} has no metadata llmasos.weights_sha256")
        _must(digest in (None, stated), f"{name} was made of other weights than those of model.safetensors")

    def placed(self, each: Tensor, name: str, files: Files) -> tuple[str, int, int]:
        """File, offset and length of a tensor's bytes outside, if they may be read.

        Args:
            name: of the model's file, in whose directory the others lie.
        """
        outside = each.outside
        assert outside is not None
        what = f"{name}: tensor {each.name:.80} in {outside.location!r:.80}"
        self.location(outside.location, what)
        size = files.size(outside.location)
        if size is None:
            raise Refusal("invalid_format", f"{what} is not there")
        _must(each.dtype in DTYPES, f"{what} has element type {each.dtype}")
        length = each.size if outside.length is None else outside.length
        _must(length == each.size, f"{what} has {length} bytes, {each.size} are due")
        _must(outside.offset + length <= size, f"{what} ends beyond the file's {size} bytes")
        return outside.location, outside.offset, length

    def location(self, location: str, what: str) -> None:
        """A name inside the bundle."""
        path = PurePosixPath(location)
        inside = not path.is_absolute() and ".." not in path.parts and "\0" not in location
        inside = inside and "\\" not in location and not PureWindowsPath(location).drive
        _must(inside, f"{what} lies outside of the bundle")


def _same(due: Any, given: Any) -> bool:
    """Whether two parameters are equal; true is not 1, but a number may be written without its fraction."""
    numbers = all(type(value) in (int, float) for value in (due, given))
    return bool(due == given) and (numbers or type(due) is type(given))


STRICT = Contract()
