"""An ONNX file as values, and values as the bytes of a file, the same on every machine.

A file is a protobuf message: fields, each a number and a kind (a varint, 8 bytes, a length and so many bytes, 4 bytes)
in front of its content. Only the messages are told here that a model needs; fields that are not among them are passed
over, as protobuf wants it.

Nothing is believed that a file says of its own sizes: a length is compared with what is left before anything is made,
and a tensor's dimensions with its bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from llmasos_conformance.protocol import Array

FLOAT, UINT8, INT8, INT32, INT64, BOOL, FLOAT16, DOUBLE, BFLOAT16 = 1, 2, 3, 6, 7, 9, 10, 11, 16
DTYPES: Mapping[int, Any] = {
    FLOAT: np.dtype("<f4"), UINT8: np.dtype("u1"), INT8: np.dtype("i1"), 4: np.dtype("<u2"), 5: np.dtype("<i2"),
    INT32: np.dtype("<i4"), INT64: np.dtype("<i8"), BOOL: np.dtype("?"), FLOAT16: np.dtype("<f2"),
    DOUBLE: np.dtype("<f8"), 12: np.dtype("<u4"), 13: np.dtype("<u8"), BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}  # fmt: skip
"""Element types that are numbers of whole bytes. ONNX has more: texts, four-bit integers, eight-bit floats."""


class Broken(ValueError):
    """Bytes that are no ONNX file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Where the bytes of a tensor lie when they do not lie in the file: name of another file, and a part of it."""

    location: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An initialiser, or the value of an attribute.

    Attributes:
        dtype: ONNX's number of the element type. dims: as stated. raw: little-endian bytes, row-major; None where
            `outside` says where they are.
    """

    name: str
    dtype: int
    dims: tuple[int, ...]
    raw: bytes | None
    outside: Outside | None = None

    @property
    def size(self) -> int:
        """Bytes that dims and dtype need."""
        return math.prod(self.dims) * int(DTYPES[self.dtype].itemsize)

    def array(self, raw: bytes | None = None) -> Array:
        """The values; `raw` stands for bytes that lie outside.

        Raises:
            Broken: an element type without numbers, or bytes of another size.
        """
        data = self.raw if raw is None else raw
        if self.dtype not in DTYPES:
            raise Broken(f"tensor {self.name:.80} has element type {self.dtype}")
        if data is None or len(data) != self.size:
            raise Broken(f"tensor {self.name:.80} has {len(data or b'')} bytes, {self.size} are due")
        return np.frombuffer(data, DTYPES[self.dtype]).reshape(self.dims)


def tensor(name: str, array: Any) -> Tensor:
    """An array as a tensor."""
    values = np.asarray(array)
    kind = number_of(values.dtype)
    return Tensor(name=name, dtype=kind, dims=values.shape, raw=values.astype(DTYPES[kind], copy=False).tobytes())


def number_of(dtype: Any) -> int:
    """ONNX's number of NumPy's dtype."""
    return next(number for number, known in DTYPES.items() if known == dtype)


Attribute: TypeAlias = "int | float | bytes | Tensor | tuple[Any, ...]"
"""An integer, a float, a text, a tensor, or several integers, floats or texts. A subgraph is kept as `Subgraph`."""


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A graph inside a node. No model of the standard needs one, so what it holds is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operation. An empty name among the inputs leaves one out."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An input or output.

    Attributes:
        sizes: each a number, a name, or "" where nothing is said of it; None where nothing is said of any.
    """

    name: str
    dtype: int
    sizes: tuple[int | str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A file.

    Attributes:
        ir: version of the file format. opsets: domain -> version of its operators. notes: metadata.
        functions: how many of its operators the file defines itself.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    tensors: tuple[Tensor, ...]
    opsets: Mapping[str, int]
    notes: Mapping[str, str] = field(default_factory=dict)
    ir: int = 8
    functions: int = 0

    def with_notes(self, **changed: str | None) -> Model:
        """The same with other metadata: names without `llmasos.`; None takes one away."""
        notes = {**self.notes, **{f"llmasos.{name}": value for name, value in changed.items()}}
        return replace(self, notes={name: value for name, value in notes.items() if value is not None})


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; negative numbers as 64-bit two's complement."""
    value &= (1 << 64) - 1
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def number(key: int, value: int) -> bytes:
    """A field that holds an integer."""
    return _varint(key << 3) + _varint(value)


def content(key: int, value: bytes | str) -> bytes:
    """A field that holds bytes, a text or a message."""
    raw = value.encode() if isinstance(value, str) else value
    return _varint(key << 3 | 2) + _varint(len(raw)) + raw


def single(key: int, value: float) -> bytes:
    """A field that holds a float32."""
    return _varint(key << 3 | 5) + struct.pack("<f", value)


def encode(model: Model, *, typed: bool = False) -> bytes:
    """The bytes of a file. Equal models give equal bytes.

    Args:
        typed: values of tensors stand in the field of their type, where they have one, and not as bytes.
    """
    graph = b"".join(
        [
            *(content(1, _node(node)) for node in model.nodes),
            content(2, "llmasos"),
            *(content(5, encode_tensor(each, typed=typed)) for each in model.tensors),
            *(content(11, _value(value)) for value in model.inputs),
            *(content(12, _value(value)) for value in model.outputs),
        ]
    )
    opsets = (content(8, (content(1, domain) if domain else b"") + number(2, v)) for domain, v in model.opsets.items())
    notes = (content(14, content(1, key) + content(2, value)) for key, value in model.notes.items())
    return b"".join([number(1, model.ir), content(2, "llmasos-conformance"), content(7, graph), *opsets, *notes])


def _node(node: Node) -> bytes:
    parts = [content(1, name) for name in node.inputs] + [content(2, name) for name in node.outputs]
    parts.append(content(3, node.outputs[0]) + content(4, node.operator))
    parts += [content(5, _attribute(name, value)) for name, value in node.attributes.items()]
    return b"".join(parts) + (content(7, node.domain) if node.domain else b"")


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, Subgraph):
        kind, held = 5, content(6, b"")
    elif isinstance(value, Tensor):
        kind, held = 4, content(5, encode_tensor(value))
    elif isinstance(value, bytes):
        kind, held = 3, content(4, value)
    elif isinstance(value, float):
        kind, held = 1, single(2, value)
    elif isinstance(value, int):
        kind, held = 2, number(3, value)
    else:
        kind, held = 7, b"".join(number(8, item) for item in value)
    return content(1, name) + held + number(20, kind)


def encode_tensor(each: Tensor, *, typed: bool = False) -> bytes:
    """A tensor's message; `typed` as in `encode`."""
    parts = [number(1, size) for size in each.dims] + [number(2, each.dtype), content(8, each.name)]
    if each.raw is not None and typed and each.dtype in _PACKED:
        parts.append(content(_PACKED[each.dtype][0], each.raw))
    elif each.raw is not None and typed and each.dtype == INT64:
        parts.append(content(7, b"".join(_varint(int(value)) for value in each.array().reshape(-1))))
    elif each.raw is not None:
        parts.append(content(9, each.raw))
    if each.outside is not None:
        entries = {"location": each.outside.location, "offset": str(each.outside.offset)}
        if each.outside.length is not None:
            entries["length"] = str(each.outside.length)
        parts += [content(13, content(1, key) + content(2, value)) for key, value in entries.items()]
        parts.append(number(14, 1))
    return b"".join(parts)


def _value(value: Value) -> bytes:
    sizes = (
        content(1, number(1, size) if isinstance(size, int) else content(2, size) if size else b"")
        for size in value.sizes or ()
    )
    shape = b"" if value.sizes is None else content(2, b"".join(sizes))
    return content(1, value.name) + content(2, content(1, number(1, value.dtype) + shape))


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message in the order of the file: number, and an integer or bytes."""
    at = 0
    while at < len(raw):
        key, at = _read_varint(raw, at)
        kind = key & 7
        if key >> 3 == 0:
            raise Broken("a field with number 0")
        if kind == 0:
            value: Any
            value, at = _read_varint(raw, at)
            yield key >> 3, value
            continue
        length = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            length, at = _read_varint(raw, at)
        if length is None:
            raise Broken(f"a field of kind {kind}")
        if length > len(raw) - at:
            raise Broken(f"{length} bytes are announced, {len(raw) - at} are left")
        yield key >> 3, raw[at : at + length]
        at += length


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw) or shift > 63:
            raise Broken("a number without an end")
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value & (1 << 64) - 1, at


def _message(raw: bytes) -> dict[int, list[Any]]:
    """Field number -> all its values, each an integer or bytes."""
    found: dict[int, list[Any]] = {}
    for key, value in _fields(raw):
        found.setdefault(key, []).append(value)
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _integers(values: Iterable[Any]) -> tuple[int, ...]:
    """A repeated integer, each on its own or many packed together."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(_signed(value))
            continue
        at = 0
        while at < len(value):
            packed, at = _read_varint(value, at)
            found.append(_signed(packed))
    return tuple(found)


def _one(found: Mapping[int, list[Any]], key: int, kind: type, default: Any) -> Any:
    """The last value of a field, as protobuf wants it."""
    values = found.get(key)
    if not values:
        return default
    if not isinstance(values[-1], kind):
        raise Broken(f"field {key} is no {kind.__name__}")
    return values[-1]


def _text(found: Mapping[int, list[Any]], key: int) -> str:
    try:
        return str(_one(found, key, bytes, b"").decode())
    except UnicodeDecodeError:
        raise Broken(f"field {key} is no text") from None


def _each(found: Mapping[int, list[Any]], key: int) -> list[bytes]:
    values = found.get(key, [])
    if not all(isinstance(value, bytes) for value in values):
        raise Broken(f"field {key} is no message")
    return values


def decode(raw: bytes) -> Model:
    """A file's bytes as a model.

    Raises:
        Broken: they are no ONNX file, or one that ends too early.
    """
    top = _message(raw)
    ir, graphs = _one(top, 1, int, 0), _each(top, 7)
    if not ir or len(graphs) != 1 or not _each(top, 8):
        raise Broken("no version, no graph or no operator set")
    graph = _message(graphs[0])
    opsets: dict[str, int] = {}
    for each in _each(top, 8):
        found = _message(each)
        domain = _text(found, 1)
        opsets["" if domain == "ai.onnx" else domain] = _signed(_one(found, 2, int, 0))
    notes: dict[str, str] = {}
    for each in _each(top, 14):
        found = _message(each)
        if _text(found, 1) in notes:
            raise Broken(f"metadata has {_text(found, 1)!r:.80} twice")
        notes[_text(found, 1)] = _text(found, 2)
    if graph.get(15):
        raise Broken("sparse tensors")
    return Model(
        nodes=tuple(_read_node(each) for each in _each(graph, 1)),
        inputs=tuple(_read_value(each) for each in _each(graph, 11)),
        outputs=tuple(_read_value(each) for each in _each(graph, 12)),
        tensors=tuple(decode_tensor(each) for each in _each(graph, 5)),
        opsets=opsets,
        notes=notes,
        ir=ir,
        functions=len(_each(top, 25)),
    )


def _read_value(raw: bytes) -> Value:
    found = _message(raw)
    kind = _message(_one(found, 2, bytes, b""))
    if 1 not in kind:
        raise Broken(f"{_text(found, 1)!r:.80} is no tensor")
    held = _message(_one(kind, 1, bytes, b""))
    sizes: tuple[int | str, ...] | None = None
    if 2 in held:
        shape = _message(_one(held, 2, bytes, b""))
        dims = (_message(each) for each in _each(shape, 1))
        sizes = tuple(_signed(_one(dim, 1, int, 0)) if 1 in dim else _text(dim, 2) for dim in dims)
    return Value(name=_text(found, 1), dtype=_one(held, 1, int, 0), sizes=sizes)


def _read_node(raw: bytes) -> Node:
    found = _message(raw)
    attributes = [_message(each) for each in _each(found, 5)]
    domain = _text(found, 7)
    try:
        inputs, outputs = (tuple(name.decode() for name in _each(found, key)) for key in (1, 2))
    except UnicodeDecodeError:
        raise Broken("a name that is no text") from None
    return Node(
        operator=_text(found, 4),
        inputs=inputs,
        outputs=outputs,
        attributes={_text(each, 1): _read_attribute(each) for each in attributes},
        domain="" if domain == "ai.onnx" else domain,
    )


def _read_attribute(found: Mapping[int, list[Any]]) -> Any:
    kind = _one(found, 20, int, 0)
    if kind == 1:
        return struct.unpack("<f", _bytes_of(_one(found, 2, bytes, b"\0" * 4), 4))[0]
    if kind == 2:
        return _signed(_one(found, 3, int, 0))
    if kind == 3:
        return _one(found, 4, bytes, b"")
    if kind == 4:
        return decode_tensor(_one(found, 5, bytes, b""))
    if kind == 6:
        raw = b"".join(_each(found, 7))
        return struct.unpack(f"<{len(raw) // 4}f", raw) if len(raw) % 4 == 0 else ()
    if kind == 7:
        return _integers(found.get(8, ()))
    if kind == 8:
        return tuple(_each(found, 9))
    return Subgraph()


def _bytes_of(raw: bytes, count: int) -> bytes:
    if len(raw) != count:
        raise Broken(f"{len(raw)} bytes where {count} are due")
    return raw


_PACKED: Mapping[int, tuple[int, Any]] = {
    FLOAT: (4, np.dtype("<f4")),
    DOUBLE: (10, np.dtype("<f8")),
}
"""Element types whose values may stand in a field of their own: its number, and how they are stored there."""
_AS_VARINT: Mapping[int, int] = {INT64: 7, 13: 11, 12: 11}


def decode_tensor(raw: bytes) -> Tensor:
    """A tensor's message. Its values are its bytes, in whichever field it holds them.

    Raises:
        Broken: dimensions below 0, values of another number than dims say, or none.
    """
    found = _message(raw)
    dims, dtype = _integers(found.get(1, ())), _one(found, 2, int, 0)
    name = _text(found, 8)
    if any(size < 0 for size in dims):
        raise Broken(f"tensor {name:.80} has a negative size")
    if _one(found, 14, int, 0) == 1:
        return Tensor(name=name, dtype=dtype, dims=dims, raw=None, outside=_outside(found, name))
    if dtype not in DTYPES:  # texts and types of less than a byte; nobody asks for their values
        return Tensor(name=name, dtype=dtype, dims=dims, raw=b"")
    made = Tensor(name=name, dtype=dtype, dims=dims, raw=_values(found, dtype))
    if len(made.raw or b"") != made.size:
        raise Broken(f"tensor {name:.80} has {len(made.raw or b'')} bytes, {made.size} are due")
    return made


def _values(found: Mapping[int, list[Any]], dtype: int) -> bytes:
    if 9 in found:
        return bytes(_one(found, 9, bytes, b""))
    if dtype in _PACKED:
        return b"".join(_each(found, _PACKED[dtype][0]))
    values = _integers(found.get(_AS_VARINT.get(dtype, 5), ()))
    kind = DTYPES[dtype]
    if dtype in (FLOAT16, BFLOAT16):
        kind = np.dtype("<u2")
    try:
        return np.array(values, dtype=np.int64).astype(kind).tobytes()
    except OverflowError:
        raise Broken("a number that its type cannot hold") from None


def _outside(found: Mapping[int, list[Any]], name: str) -> Outside:
    entries: dict[str, str] = {}
    for each in _each(found, 13):
        pair = _message(each)
        if _text(pair, 1) in entries:
            raise Broken(f"tensor {name:.80} names {_text(pair, 1)!r:.40} twice")
        entries[_text(pair, 1)] = _text(pair, 2)
    numbers: dict[str, int | None] = {"offset": 0, "length": None}
    for key in numbers:
        if key in entries:
            if not entries[key].isascii() or not entries[key].isdigit() or len(entries[key]) > 18:
                raise Broken(f"tensor {name:.80} has {key} {entries[key]!r:.40}")
            numbers[key] = int(entries[key])
    if not entries.get("location"):
        raise Broken(f"tensor {name:.80} does not say where it lies")
    return Outside(location=entries["location"], offset=numbers["offset"] or 0, length=numbers["length"])
