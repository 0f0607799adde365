"""A file of ONNX in a bundle: what it says of itself, read without computing anything with it.

It is opened by the package onnx, which the reference does not need otherwise: `tools.export` writes such files, and
docs/interchange.md says what they hold.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmasos.bundle import read_file
from llmasos.config import ModelConfig, parameters_of
from llmasos.errors import InvalidFormat, Unsupported, UnsupportedVersion

ENCODER = "model.encoder.onnx"
"""Beside model.onnx, where that is the decoder of a Transformer with cache."""

MIN_OPSET, MAX_OPSET = 13, 21
"""Operator sets of the default domain that the standard allows."""

NOTES = ("format", "architecture", "dtype", "parameters", "weights_sha256")
"""Metadata that every file has, each behind "llmasos."."""

MAX_FILE = 2**31
"""Bytes of a file; protobuf ends there."""

_SPECIAL = ("bos_token_id", "eos_token_ids", "mask_token_id", "decoder_start_token_id")
"""Parameters that no graph depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An input or an output. A size is a number, or a name where the call decides; "?" is one without a name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFile:
    """A file of ONNX.

    Attributes:
        unread: why it could not be opened, and nothing but its name is known; "" for one that was.
        opset: version of ONNX's own operators; None if it names none.
        metadata: key -> text, the standard's and others.
        weights: what it was made of. "these" are model.safetensors or, where the bundle holds no weights, those of the
            seed that its document states; "others" are not; "only" is a file that holds the bundle's only weights;
            "unknown" where that cannot be told.
    """

    name: str
    unread: str = ""
    opset: int | None = None
    inputs: tuple[Value, ...] = ()
    outputs: tuple[Value, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    weights: str = "unknown"

    def lines(self) -> list[str]:
        """The same for a person; values that differ in the number of a layer alone are one line."""
        if self.unread:
            return [f"  graph: {self.name}, not looked into: {self.unread}"]
        made = {"these": "made of these weights", "others": "made of other weights",
                "only": "the only weights of the bundle", "unknown": "made of unknown weights"}  # fmt: skip
        lines = [f"  graph: {self.name}, operator set {self.opset}, {made[self.weights]}"]
        for what, values in (("in", self.inputs), ("out", self.outputs)):
            alike = Counter((re.sub(r"\.\d+\.", ".{i}.", each.name), each.dtype, each.shape) for each in values)
            for (name, dtype, shape), count in alike.items():
                times = f", {count} of them" if count > 1 else ""
                lines.append(f"    {what}: {name} {dtype} [{', '.join(map(str, shape))}]{times}")
        return lines


def parameters(config: ModelConfig) -> dict[str, Any]:
    """The parameters of a document that a graph depends on, with defaults filled in."""
    names = (name for name in parameters_of(config.architecture) if name not in _SPECIAL)
    return {name: getattr(config, name) for name in names}


def read(path: Path) -> GraphFile | None:
    """What a file says of itself; None if there is no file.

    Raises:
        Unsupported: onnx is not installed.
        InvalidFormat: it is no whole file of ONNX, or tensors beside it are not there.
    """
    raw = read_file(path, MAX_FILE)
    if raw is None:
        return None
    try:
        import onnx  # who has no graphs needs no onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:
        raise Unsupported("onnx is not installed", path.name, "pip install 'llmasos[onnx]'") from None
    try:
        model = onnx.load_model_from_string(raw)
    except DecodeError:
        raise InvalidFormat("no whole ONNX file", path.name, "export it again") from None
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), None)
    if opset is not None and MIN_OPSET <= opset <= MAX_OPSET and model.ir_version <= onnx.IR_VERSION:
        try:
            onnx.checker.check_model(str(path))  # by path, because tensors may lie beside it
        except (onnx.checker.ValidationError, ValueError) as error:
            what = f"no sound ONNX file: {str(error).strip().partition(chr(10))[0]:.200}"
            raise InvalidFormat(what, path.name, "export it again") from None
    held = {tensor.name for tensor in model.graph.initializer}  # may be listed as inputs, too
    return GraphFile(
        name=path.name,
        opset=opset,
        inputs=tuple(_value(each) for each in model.graph.input if each.name not in held),
        outputs=tuple(_value(each) for each in model.graph.output),
        metadata={each.key: each.value for each in model.metadata_props},
    )


def _value(given: Any) -> Value:
    import onnx

    tensor = given.type.tensor_type
    try:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, ValueError):
        dtype = f"element type {tensor.elem_type}"
    shape = tuple(
        size.dim_value if size.WhichOneof("value") == "dim_value" else size.dim_param or "?"
        for size in tensor.shape.dim
    )
    return Value(name=given.name, dtype=dtype, shape=shape)


def check(graph: GraphFile, config: ModelConfig | None) -> None:
    """Hold what a file says of itself against the standard, and against a document if there is one.

    Raises:
        UnsupportedVersion: an operator set that is not allowed.
        InvalidFormat: it lacks metadata, or was made of another document.
    """
    if graph.opset is None:
        raise InvalidFormat("names no operator set of ONNX", graph.name, "export it again")
    if not MIN_OPSET <= graph.opset <= MAX_OPSET:
        what = f"needs operator set {graph.opset}, {MIN_OPSET} to {MAX_OPSET} are allowed"
        raise UnsupportedVersion(what, graph.name, "export it again")
    missing = [f"llmasos.{key}" for key in NOTES if f"llmasos.{key}" not in graph.metadata]
    if missing:
        raise InvalidFormat(f"has no metadata {', '.join(missing)}", graph.name, "export it again")
    if config is None:
        return
    architecture, text = (graph.metadata[f"llmasos.{key}"] for key in ("architecture", "parameters"))
    if architecture != config.architecture:
        what = f"is of architecture {architecture!r:.40}, model.json says {config.architecture}"
        raise InvalidFormat(what, graph.name, "export it again")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise InvalidFormat("llmasos.parameters is no JSON object", graph.name, "export it again")
    due = parameters(config)
    for key in sorted(due.keys() | given.keys()):
        if key not in due or key not in given or due[key] != given[key]:
            what = f"was made with {key:.40} {given.get(key)!r:.40}, model.json says {due.get(key)!r:.40}"
            raise InvalidFormat(what, graph.name, "export it again")
