"""The adapter contract as JSON-RPC 2.0 messages, and the validators that every answer passes, in process as well.

One object per line, UTF-8, `\\n` at the end. A request has `jsonrpc`, `id`, `method` and `params`; its answer has the
same `id` and either `result` or `error`.

    tensor      {"dtype": "F64", "shape": [3, 260], "data": "…"}; dtype is F64, F32, F16 or BF16, data is base64 of the
                little-endian bytes, row-major
    logprobs    of one generated token: [{"id": 17, "logprob": -0.25}, …]; null stands for what no number can say
    perplexity  {"perplexity": 17.5, "tokens": 8}; null for an infinite one
    reply       of an API: {"status": 200, "type": "application/json", "body": "…"}, the body as it came
    segment     of a metric: a text, or a list of tokens; references are a list of segments for each hypothesis
    refusal     error -32000 with data {"refusal": a code of protocol.REFUSAL_CODES}
    exception   error -32000 with data {"raised": "ValueError"}
    non-answer  error -32000 with data {"malformed": true}: the host itself saw that the adapter's answer is none
    death       error -32000 with data {"died": true}: the adapter has ended its own process, and this is its last word

Frames carry tensors as they lie in memory. Who describes himself with `"frames": true` finds `"frames": true` in every
request, and may put `"frame": n` in the place of a tensor's `data`, and `"frames": [bytes of frame 0, of frame 1, …]`
beside `result`. Behind the line come exactly these bytes, without anything between. Each frame is named once. Who does
not offer frames never meets them.

`schemas/wire.schema.json` is the published form of the same rules; the tests hold the two together. What JSON Schema
cannot say is said here only: an integer is not written as 12.0, `data` has exactly the bytes that dtype and shape need,
an answer has as many rows, positions and texts as its question, and a line is at most MAX_LINE bytes.

Params are judged by structure alone (a text is a text, ids are integers). Their values may be wrong on purpose:
refusing them is what the candidate is asked for.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from typing import Any, NoReturn, TypeGuard

import numpy as np

from llmasos_conformance.errors import AddressError, Malformed, ProtocolBroken
from llmasos_conformance.protocol import (
    CAPABILITIES,
    DETERMINISM,
    DTYPES,
    PROTOCOL_VERSION,
    REFUSAL_CODES,
    ROUGE,
    ROUGE_PARTS,
    Array,
    Claims,
    Description,
    Generation,
    logits_like,
)

MAX_LINE = 64 * 2**20
"""Bytes of a line, its end included."""
MAX_TENSORS = 44 * 2**20
"""Bytes of all tensors of an answer. Base64 makes 59 MiB of them, so that every answer that is allowed fits a line."""
MAX_TEXT = 16 * 2**20
"""Characters of a text."""
MAX_ITEMS = 2**20
"""Entries of a list: ids, rows, pieces of a stream."""
MAX_ID = 2**31 - 1
MAX_HANDLE = 256

MAX_FRAMES = 2**16
"""Frames of an answer."""

LINE_TYPE, FRAMES_TYPE = "application/json", "application/vnd.llmasos.frames"
"""Content types of a message over HTTP: a line alone, and a line with the frames that it announces."""

REFUSED, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS = -32000, -32600, -32601, -32602

_ITEM_BYTES: Mapping[str, int] = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_CODES: Mapping[str, str] = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

# ── lines ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r:.60} appears twice in one object")
    return members


def _constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


# One decoder and one encoder for all lines: `json.loads` with hooks would make one per call.
_DECODE = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant).decode
_ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def parse_line(raw: bytes) -> dict[str, Any]:
    """One line as an object.

    Raises:
        ProtocolBroken: no strict JSON object; the message quotes the beginning of the line.
    """
    if len(raw) > MAX_LINE:
        raise ProtocolBroken(f"a line of {len(raw)} bytes; {MAX_LINE} are allowed")
    try:
        value = _DECODE(raw.decode())
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ProtocolBroken(f"not a line of the protocol ({error}): {quoted(raw)}") from None
    if type(value) is not dict:
        raise ProtocolBroken(f"not an object of JSON-RPC: {quoted(raw)}")
    return value


def quoted(raw: bytes) -> str:
    """The beginning of a line, as an error shows it."""
    shown = raw[:120].decode(errors="replace").rstrip("\n")
    return repr(shown + ("…" if len(raw) > 120 else ""))


def request_line(number: int, method: str, params: Mapping[str, Any], *, frames: bool = False) -> bytes:
    """A request; `frames` says that the answer may bring some.

    Raises:
        ValueError: params that JSON cannot carry, or too long a line.
    """
    accepted = ',"frames":true' if frames else ""
    sent = _ENCODE(encode(params))
    line = f'{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{sent}{accepted}}}\n'.encode()
    if len(line) > MAX_LINE:
        raise ValueError(f"params of {method} make a line of {len(line)} bytes; {MAX_LINE} are allowed")
    return line


def result_line(number: Any, result: Mapping[str, Any]) -> bytes:
    """An answer. `result` is native and already checked."""
    return f'{{"jsonrpc":"2.0","id":{_id(number)},"result":{_ENCODE(encode(result))}}}\n'.encode()


def _id(number: Any) -> str:
    """The id of a question as it came. Ours are integers, and an encoder takes its time for one of them."""
    return str(number) if type(number) is int else _ENCODE(number)


def result_message(number: Any, result: Mapping[str, Any]) -> list[Bytes]:
    """An answer whose tensors are frames: the line, and what comes behind it."""
    frames: list[Bytes] = []
    sent = _ENCODE(encode(result, frames))
    announced = f',"frames":[{",".join([str(len(frame)) for frame in frames])}]' if frames else ""
    return [f'{{"jsonrpc":"2.0","id":{_id(number)},"result":{sent}{announced}}}\n'.encode(), *frames]


def error_line(number: Any, code: int, message: str, data: Mapping[str, Any]) -> bytes:
    """An error as answer."""
    error = {"code": code, "message": message, "data": data}
    return (_ENCODE({"jsonrpc": "2.0", "id": number, "error": error}) + "\n").encode()


# ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Bytes = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Message:
    """What came as an answer: the line as it came, the object in it, and the frames behind it."""

    raw: bytes
    answer: dict[str, Any]
    frames: Sequence[memoryview] = ()


def offers_frames(described: Any) -> bool:
    """Whether an answer to `describe` says that frames may be asked for."""
    return isinstance(described, dict) and described.get("frames") is True


def frame_lengths(answer: Mapping[str, Any]) -> list[int]:
    """Bytes of each frame that a line announces.

    Raises:
        ProtocolBroken: nobody could read on behind such a line.
    """
    lengths = answer.get("frames", [])
    if type(lengths) is not list or any(type(n) is not int or n < 0 for n in lengths):
        raise ProtocolBroken(f"frames are {_shown(lengths)}, a list of lengths in bytes was due")
    if len(lengths) > MAX_FRAMES or sum(lengths) > MAX_TENSORS:
        what = f"{len(lengths)} frames of {sum(lengths)} bytes"
        raise ProtocolBroken(f"{what}; {MAX_FRAMES} frames of {MAX_TENSORS} bytes are allowed")
    return lengths


def put_frames(result: Any, frames: Sequence[memoryview]) -> None:
    """Put frames in the places that name them, as the `data` of tensors.

    Raises:
        Malformed: one is named twice, or not at all. A name that stands for none is left, and is no tensor.
    """
    unused = dict(enumerate(frames))
    waiting = [result]
    while waiting:
        value = waiting.pop()
        if type(value) is list:
            waiting.extend(item for item in value if type(item) is dict or type(item) is list)
        elif type(value) is dict:
            number = value.get("frame")
            if type(number) is int and 0 <= number < len(frames) and "dtype" in value:
                if number not in unused:
                    raise Malformed(f"frame {number} is named twice")
                del value["frame"]
                value["data"] = unused.pop(number)
            else:
                waiting.extend(value.values())
    if unused:
        raise Malformed(f"frame {min(unused)} is named by no tensor")


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode(value: Any, frames: list[Bytes] | None = None) -> Any:
    """A native value as JSON can carry it: arrays become tensors, generations objects, mappings of ids lists.

    Args:
        frames: takes the bytes of arrays, whose tensors then name them; None leaves them in the tensors as base64.
    """
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool or value is None:
        return value
    if kind is list or kind is tuple:
        # Lists of ids are the bulk of what travels; they need no second copy.
        return value if all(type(item) is int for item in value) else [encode(item, frames) for item in value]
    # What a `type` tells comes first: asking whether something is a Mapping takes longer than all the rest.
    if isinstance(value, np.ndarray):
        return _encode_tensor(value, frames)
    if isinstance(value, Generation):
        members = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: _encode_member(name, item, frames) for name, item in members if item is not None}
    if kind is dict or isinstance(value, Mapping):
        return {key: _encode_member(key, item, frames) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"{type(value).__name__} cannot travel as JSON")


def _encode_member(name: str, value: Any, frames: list[Bytes] | None) -> Any:
    if name in ("logprobs", "fills") and isinstance(value, list | tuple):
        return [_encode_law(entry) if isinstance(entry, Mapping) else encode(entry) for entry in value]
    return encode(value, frames)


def _encode_law(law: Mapping[int, Any]) -> list[dict[str, Any]]:
    return [{"id": int(token), "logprob": encode(logprob)} for token, logprob in law.items()]


@cache
def _code(dtype: np.dtype[Any]) -> str | None:
    """The wire's name of a dtype; NumPy takes its time to spell its own."""
    return _CODES.get(dtype.name)


@cache
def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


@cache
def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("=")


def _encode_tensor(array: Array, frames: list[Bytes] | None) -> dict[str, Any]:
    code = _code(array.dtype)
    if code is None:
        raise ValueError(f"an array of dtype {array.dtype} cannot travel; {', '.join(_CODES)} can")
    # As bytes, because bfloat16 has no buffer of its own; nothing is copied.
    raw = np.ascontiguousarray(array, dtype=_little(array.dtype)).reshape(-1).view(np.uint8).data
    tensor = {"dtype": code, "shape": list(array.shape)}
    if frames is None:
        return {**tensor, "data": binascii.b2a_base64(raw, newline=False).decode("ascii")}
    frames.append(raw)
    return {**tensor, "frame": len(frames) - 1}


def decode_tensor(value: Any, where: str = "tensor") -> Array:
    """A tensor of the wire as a read-only array. NaN and infinity pass; judging them is not the wire's office.

    Raises:
        Malformed: not a tensor, or data of another length than dtype and shape need.
    """
    members = _members(value, where, ("dtype", "shape", "data"))
    code, shape, data = members["dtype"], members["shape"], members["data"]
    if type(code) is not str or code not in _ITEM_BYTES:
        _wrong(f"{where}.dtype", code, f"one of {', '.join(_ITEM_BYTES)}")
    if type(shape) is not list or len(shape) > 8 or any(type(n) is not int or not 0 <= n <= MAX_ID for n in shape):
        _wrong(f"{where}.shape", shape, "a list of at most 8 integers from 0")
    if type(data) is not str and type(data) is not memoryview:  # the latter came as a frame
        _wrong(f"{where}.data", data, "base64 text")
    # Python's integers do not overflow, so a product of huge dimensions cannot come out small.
    needed = math.prod(shape) * _ITEM_BYTES[code]
    if needed > MAX_TENSORS:
        raise Malformed(f"{where} needs {needed} bytes, {MAX_TENSORS} are allowed")
    try:
        raw = data if type(data) is memoryview else binascii.a2b_base64(data, strict_mode=True)
    except ValueError as error:
        raise Malformed(f"{where}.data is not base64: {error}") from None
    if len(raw) != needed:
        raise Malformed(f"{where}.data has {len(raw)} bytes, shape {shape} of {code} needs {needed} bytes")
    return np.frombuffer(raw, dtype=_numpy_dtype(code)).reshape(shape)


@cache
def _numpy_dtype(code: str) -> Any:
    if code == "BF16":
        import ml_dtypes  # only who sends bfloat16 pays for it

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[code])


def _native_tensor(value: Any, where: str) -> Array:
    """A candidate's array, read-only and in the machine's order of bytes; see `InProcess` for whose memory it is."""
    if isinstance(value, list | tuple):  # on the wire a tensor is an object, so lists must not slip through here
        _wrong(where, value, "an array")
    try:
        array = logits_like(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Malformed(f"{where}: {error}; a float array was due") from None
    if _code(array.dtype) is None:
        raise Malformed(f"{where} has dtype {array.dtype}, one of {', '.join(_CODES)} was due")
    if array.nbytes > MAX_TENSORS:
        raise Malformed(f"{where} needs {array.nbytes} bytes, {MAX_TENSORS} are allowed")
    view = np.ascontiguousarray(array, dtype=_native(array.dtype)).reshape(array.shape).view()
    view.flags.writeable = False
    return view


def _is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return type(value) is dict or (type(value) is not np.ndarray and isinstance(value, Mapping))


def _array(value: Any, where: str, ranks: Sequence[int]) -> Array:
    """An array with one of several numbers of axes, none of length 0."""
    array = decode_tensor(value, where) if _is_object(value) else _native_tensor(value, where)
    if array.ndim not in ranks or 0 in array.shape:
        due = " or ".join(map(str, ranks))
        raise Malformed(f"{where} has shape {list(array.shape)}, {due} axes of length 1 or more were due")
    return array


def _arrays(value: Any, where: str, ranks: Sequence[int]) -> list[Array]:
    """Arrays of one answer, small enough together."""
    arrays: list[Array] = []
    total = 0
    for i, item in enumerate(_items(value, where)):
        arrays.append(_array(item, f"{where}[{i}]", ranks))
        total += arrays[-1].nbytes
        if total > MAX_TENSORS:
            raise Malformed(f"{where}[0] … {where}[{i}] need {total} bytes, {MAX_TENSORS} are allowed in one answer")
    return arrays


def _tensor(value: Any, where: str, shape: tuple[int, int | None] | None) -> Array:
    """Logits of shape [t, V]. `shape` is what is due, V None if free; None only demands two axes."""
    array = decode_tensor(value, where) if _is_object(value) else _native_tensor(value, where)
    found = list(array.shape)
    if len(found) != 2 or found[1] == 0:
        raise Malformed(f"{where} has shape {found}, [{shape[0] if shape else 'T'}, V] was due")
    if shape is not None and (found[0] != shape[0] or shape[1] not in (None, found[1])):
        raise Malformed(f"{where} has shape {found}, [{shape[0]}, {shape[1] or found[1]}] was due")
    return array


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)}"
    return f"{type(value).__name__} {value!r:.60}"


def _wrong(where: str, value: Any, due: str) -> NoReturn:
    raise Malformed(f"{where} is {_shown(value)}, {due} was due")


def _members(value: Any, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> Mapping[str, Any]:
    """A closed object: every required member, no unknown one."""
    if not _is_object(value):
        _wrong(where, value, "an object")
    for name in required:
        if name not in value:
            raise Malformed(f"{where} lacks {name!r}; it has {sorted(map(str, value))!s:.120}")
    if len(value) > len(required):
        for name in value:
            if name not in required and name not in optional:
                known = ", ".join((*required, *optional))
                raise Malformed(f"{where} has an unknown member {name!r:.60}; known: {known}")
    return value


def _text(value: Any, where: str, most: int = MAX_TEXT, least: int = 0) -> str:
    if not isinstance(value, str):
        _wrong(where, value, "a text")
    if not least <= len(value) <= most:
        raise Malformed(f"{where} has {len(value)} characters, {least} to {most} are allowed")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Malformed(f"{where} has a lone surrogate at {error.start}, valid Unicode was due") from None
    return str(value)


def _integer(value: Any, where: str, low: int = 0, high: int = MAX_ID) -> int:
    # `type is int` first: True is an int to Python, and 12.0 another thing to other readers.
    if type(value) is not int and not isinstance(value, np.integer):
        _wrong(where, value, "an integer")
    number = int(value)
    if not low <= number <= high:
        shown = number if number.bit_length() <= 64 else f"an integer of {number.bit_length()} bits"
        raise Malformed(f"{where} is {shown}, an integer of {low} … {high} was due")
    return number


def _items(value: Any, where: str) -> Sequence[Any]:
    if type(value) is not list:
        if isinstance(value, np.ndarray) and value.ndim:
            value = list(value)
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            _wrong(where, value, "a list")
    if len(value) > MAX_ITEMS:
        raise Malformed(f"{where} has {len(value)} entries, {MAX_ITEMS} are allowed")
    return value  # type: ignore[no-any-return]


def _ids(value: Any, where: str, low: int = 0) -> list[int]:
    items = _items(value, where)
    if all(type(item) is int and low <= item <= MAX_ID for item in items):
        return list(items)
    return [_integer(item, f"{where}[{i}]", low) for i, item in enumerate(items)]


def _logprob(value: Any, where: str) -> float | None:
    return None if value is None else _number(value, where, "a finite number or null")


def _number(value: Any, where: str, due: str = "a finite number") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        _wrong(where, value, due)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Malformed(f"{where} is {number}, {due} was due")
    return number


# ── descriptions ────────────────────────────────────────────────────────────────────────────────────────────────────


def parse_description(value: Any, where: str = "describe()") -> Description:
    """What an adapter says of itself, with every name in the protocol's vocabulary.

    Raises:
        AddressError: a missing, unknown or ill-typed member; near names are given.
    """
    if isinstance(value, Description):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
        value["claims"] = {field.name: getattr(value["claims"], field.name) for field in fields(value["claims"])}
    try:
        return _description(value, where)
    except Malformed as fault:
        raise AddressError(fault.message, where=where, hint="see Description in llmasos_conformance.protocol") from None


def _description(value: Any, where: str) -> Description:
    optional = ("capabilities", "claims", "emulated", "runtime", "architectures", "protocol")
    members = _members(value, "description", ("name", "version"), optional)
    if members.get("protocol", PROTOCOL_VERSION) != PROTOCOL_VERSION:
        hint = "update the adapter, or use a harness of that version"
        what = f"speaks protocol {members['protocol']!r:.40}, this harness speaks {PROTOCOL_VERSION!r}"
        raise AddressError(what, where=where, hint=hint)
    claims = _members(members.get("claims", {}), "claims", (), ("dtype", "determinism"))
    names = members.get("architectures", ("GPT-3",))
    return Description(
        name=_text(members["name"], "name", MAX_HANDLE, 1),
        version=_text(members["version"], "version", MAX_HANDLE, 1),
        capabilities=frozenset(
            _known(name, "capability", CAPABILITIES, where) for name in _names(members.get("capabilities", ()))
        ),
        claims=Claims(
            dtype=_known(claims.get("dtype", "float32"), "dtype", DTYPES, where),
            determinism=_known(claims.get("determinism", "D1"), "determinism level", DETERMINISM, where),
        ),
        emulated=_texts(members.get("emulated", {}), "emulated"),
        runtime=_texts(members.get("runtime", {}), "runtime"),
        architectures=tuple(_text(name, "architectures", MAX_HANDLE, 1) for name in _items(names, "architectures")),
    )


def _names(value: Any) -> Iterable[Any]:
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    names = _items(value, "capabilities")
    if len(set(map(str, names))) != len(names):
        raise Malformed(f"capabilities names something twice: {list(names)!s:.120}")
    return names


def _known(name: Any, kind: str, vocabulary: Iterable[str], where: str) -> str:
    known = list(vocabulary)
    if name in known:
        return str(name)
    near = get_close_matches(str(name), known, 3, 0.5)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise AddressError(f"unknown {kind} {name!r:.60}", where=where, hint=f"{hint}known: {', '.join(known)}")


def _texts(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        _wrong(where, value, "an object of texts")
    return {_text(key, where, MAX_HANDLE): _text(item, f"{where}[{key!r:.60}]") for key, item in value.items()}


def describe(description: Description) -> dict[str, Any]:
    """A description as the wire carries it."""
    return {
        "protocol": PROTOCOL_VERSION,
        "name": description.name,
        "version": description.version,
        "capabilities": sorted(description.capabilities),
        "claims": {"dtype": description.claims.dtype, "determinism": description.claims.determinism},
        "emulated": dict(description.emulated),
        "runtime": dict(description.runtime),
        "architectures": list(description.architectures),
    }


# ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────

Params = Mapping[str, Any]

_PARAMS: Mapping[str, tuple[str, ...]] = {
    "describe": (),
    "load_model": ("path",),
    "unload_model": ("model",),
    "tokenize": ("model", "text"),
    "detokenize": ("model", "ids"),
    "forward": ("model", "batch"),
    "score": ("model", "ids"),
    "generate_text": ("model", "prompt"),
    "generate_ids": ("model", "ids"),
    "generate_batch": ("model", "batch"),
    "stream_text": ("model", "prompt"),
    "open": ("model", "ids"),
    "extend": ("session", "ids"),
    "fork": ("session",),
    "close": ("session",),
    "encode": ("model", "batch"),
    "fill_mask": ("model", "ids"),
    "hidden_states": ("model", "ids"),
    "attention": ("model", "ids"),
    "cross_attention": ("model", "ids", "source"),
    "gradients": ("model", "batch"),
    "train_step": ("model", "batch", "learning_rate"),
    "export": ("model",),
    "perplexity": ("model", "ids"),
    "bleu": ("hypotheses", "references"),
    "rouge": ("hypotheses", "references"),
    "completions": ("request",),
    "chat": ("request",),
    "template": ("request",),
    "together": ("requests",),
}
"""Required members of each method's params; `batch` is a list of id lists, sent under the name `ids`."""

METHODS = tuple(_PARAMS)

_BESIDE: Mapping[str, Mapping[str, str]] = {
    "forward": {"sources": "batch", "types": "batch"},
    "score": {"source": "ids"},
    "open": {"source": "ids"},
    "encode": {"types": "batch"},
    "hidden_states": {"source": "ids", "types": "ids"},
    "attention": {"source": "ids", "types": "ids"},
    "gradients": {"labels": "batch", "sources": "batch", "types": "batch"},
    "train_step": {"labels": "batch", "sources": "batch", "types": "batch"},
}
"""Members that may be there, and what each is: source ids of an encoder-decoder, token types of an encoder."""

OPTIONAL = frozenset(
    {
        "tokenize", "generate_text", "generate_ids", "generate_batch", "stream_text", "fill_mask", "export",
        "perplexity", "bleu", "rouge",
    }
)  # fmt: skip
"""Methods that take options beside: any name, any JSON value, because refusing wrong ones is the candidate's task."""

LOWEST_ID = -(2**31)
"""Ids of a question may be negative: a candidate must refuse them, not count from the end."""


def check_params(method: str, params: Any) -> Params:
    """A question, if it has the structure of the method.

    Raises:
        ValueError: it has not; names method and member.
    """
    if method not in _PARAMS:
        raise ValueError(f"unknown method {method!r:.60}; known: {', '.join(METHODS)}")
    required = _PARAMS[method]
    try:
        if not _is_object(params):
            _wrong("params", params, "an object")
        for role in required:
            name = "ids" if role == "batch" else role
            if name not in params:
                raise Malformed(f"params lacks {name!r}")
            _check_param(role, params[name], name)
        if len(params) > len(required):
            names = {"ids" if role == "batch" else role for role in required}
            for name, value in params.items():
                if name in names:
                    continue
                if name in _BESIDE.get(method, ()):
                    _check_param(_BESIDE[method][name], value, name)
                else:
                    if method not in OPTIONAL:
                        raise Malformed(f"params has an unknown member {name!r:.60}")
                    _json(_text(name, "the name of an option", MAX_HANDLE, 1), value)
    except Malformed as fault:
        raise ValueError(f"{method}: {fault.message}") from None
    return params


def _check_param(role: str, value: Any, name: str) -> None:
    if role in ("ids", "source"):
        _ids(value, name, LOWEST_ID)
    elif role == "batch":
        for i, row in enumerate(_items(value, name)):
            _ids(row, f"{name}[{i}]", LOWEST_ID)
    elif role == "learning_rate":
        _json(name, value)
    elif role == "request":
        _request(value, name)
    elif role == "requests":
        for i, entry in enumerate(_items(value, name)):
            members = _members(entry, f"{name}[{i}]", ("over", "request"))
            if members["over"] not in ("completions", "chat"):
                _wrong(f"{name}[{i}].over", members["over"], "'completions' or 'chat'")
            _request(members["request"], f"{name}[{i}].request")
    elif role in ("text", "prompt"):
        _text(value, role)
    elif role == "hypotheses":
        _segments(value, role)
    elif role == "references":
        for i, several in enumerate(_items(value, role)):
            _segments(several, f"{role}[{i}]")
    else:
        _text(value, role, 4096 if role == "path" else MAX_HANDLE, 1)


def _segments(value: Any, where: str) -> None:
    """Texts, or lists of tokens."""
    for i, segment in enumerate(_items(value, where)):
        if isinstance(segment, str):
            _text(segment, f"{where}[{i}]")
        else:
            for k, token in enumerate(_items(segment, f"{where}[{i}]")):
                _text(token, f"{where}[{i}][{k}]")


def _request(value: Any, where: str) -> None:
    """A body: any name, any JSON value."""
    if not isinstance(value, Mapping):
        _wrong(where, value, "an object")
    for name, item in value.items():
        _json(f"{where}.{_text(name, where, MAX_HANDLE, 1)}", item)


def _json(where: str, value: Any, depth: int = 8) -> None:
    """A value that JSON can carry without loss."""
    if isinstance(value, str):
        _text(value, where)
    elif isinstance(value, bool | int) or value is None:
        return
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed(f"{where} is {value}, which JSON cannot carry")
    elif depth and isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _json(f"{where}[{i}]", item, depth - 1)
    elif depth and isinstance(value, Mapping):
        for key, item in value.items():
            _json(f"{where}.{_text(key, where)}", item, depth - 1)
    else:
        _wrong(where, value, f"a JSON value nested at most {depth} levels")


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Answer = dict[str, Any]


def check_answer(method: str, params: Params | None, answer: Any) -> Answer:
    """An answer in native form: arrays for tensors, dicts id -> log-probability for lists of them.

    Args:
        method: that was called.
        params: it was called with; None judges the answer without its question.
        answer: `result` of a line, or the same with arrays and NumPy numbers in it.

    Raises:
        Malformed: names the path, what came and what was due.
    """
    return _ANSWERS[method](params, answer)


def _nothing(_: Params | None, answer: Any) -> Answer:
    _members(answer, "answer", ())
    return {}


def _handle(name: str) -> Callable[[Params | None, Any], Answer]:
    def check(_: Params | None, answer: Any) -> Answer:
        return {name: _text(_members(answer, "answer", (name,))[name], name, MAX_HANDLE, 1)}

    return check


def _described(_: Params | None, answer: Any) -> Answer:
    try:
        _members(answer, "answer", ("protocol",), tuple(answer) if isinstance(answer, Mapping) else ())
        if type(answer.get("frames", False)) is not bool:
            _wrong("frames", answer["frames"], "true or false")
        described = {name: value for name, value in answer.items() if name != "frames"}  # of the transport
        return describe(_description(described, "describe"))
    except AddressError as error:
        raise Malformed(error.what) from None


def _tokenized(_: Params | None, answer: Any) -> Answer:
    return {"ids": _ids(_members(answer, "answer", ("ids",))["ids"], "ids")}


def _detokenized(_: Params | None, answer: Any) -> Answer:
    return {"text": _text(_members(answer, "answer", ("text",))["text"], "text")}


def _forwarded(params: Params | None, answer: Any) -> Answer:
    rows = _items(_members(answer, "answer", ("logits",))["logits"], "logits")
    asked = None if params is None else params["ids"]
    _count("logits", "rows", len(rows), asked)
    arrays: list[Array] = []
    total = 0
    for i, row in enumerate(rows):
        width = arrays[0].shape[1] if arrays else None
        if asked is not None:
            arrays.append(_tensor(row, f"logits[{i}]", (len(asked[i]), width)))
        else:
            arrays.append(_tensor(row, f"logits[{i}]", None))
        total += arrays[-1].nbytes
        if total > MAX_TENSORS:
            raise Malformed(f"logits[0] … logits[{i}] need {total} bytes, {MAX_TENSORS} are allowed in one answer")
    return {"logits": arrays}


def _count(where: str, what: str, found: int, asked: Sequence[Any] | None) -> None:
    if asked is not None and found != len(asked):
        raise Malformed(f"{where} has {found} {what}, {len(asked)} were due")


def _scored(params: Params | None, answer: Any) -> Answer:
    values = _items(_members(answer, "answer", ("logprobs",))["logprobs"], "logprobs")
    _count("logprobs", "entries", len(values), None if params is None else params["ids"])
    return {"logprobs": [_logprob(value, f"logprobs[{i}]") for i, value in enumerate(values)]}


def _law(entry: Any, where: str) -> dict[int, float | None]:
    """Log-probabilities of one token, itself among them: a mapping of ids, or the wire's list of pairs."""
    law: dict[int, float | None] = {}
    if isinstance(entry, Mapping):
        law = {_integer(token, f"{where} id"): _logprob(value, f"{where}[{token}]") for token, value in entry.items()}
    else:
        for i, pair in enumerate(_items(entry, where)):
            members = _members(pair, f"{where}[{i}]", ("id", "logprob"))
            token = _integer(members["id"], f"{where}[{i}].id")
            if token in law:
                raise Malformed(f"{where}[{i}].id is {token} for the second time, distinct ids were due")
            law[token] = _logprob(members["logprob"], f"{where}[{i}].logprob")
    if not law:
        raise Malformed(f"{where} is empty, at least the chosen token was due")
    return law


_GENERATION = tuple(field.name for field in fields(Generation) if field.name != "finish_reason")


def _generation(value: Any, where: str, due: str) -> Answer:
    """A generation; `due` is the member that must not be missing."""
    if isinstance(value, Generation):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, str):
        remedy = "return Generation(text=…, finish_reason='stop' or 'length')"
        raise Malformed(f"{where} is a plain text, a Generation was due: {remedy}")
    members = _members(value, where, ("finish_reason",), _GENERATION)
    if members["finish_reason"] not in ("stop", "length"):
        _wrong(f"{where}.finish_reason", members["finish_reason"], "'stop' or 'length'")
    checked: Answer = {"finish_reason": str(members["finish_reason"])}
    if members.get(due) is None:
        raise Malformed(f"{where}.{due} is missing")
    if members.get("text") is not None:
        checked["text"] = _text(members["text"], f"{where}.text")
    if members.get("ids") is not None:
        checked["ids"] = _ids(members["ids"], f"{where}.ids")
    for name in ("prompt_tokens", "completion_tokens"):
        if members.get(name) is not None:
            checked[name] = _integer(members[name], f"{where}.{name}")
    if members.get("logprobs") is not None:
        entries = _items(members["logprobs"], f"{where}.logprobs")
        _count(f"{where}.logprobs", "entries", len(entries), checked.get("ids"))
        checked["logprobs"] = [_law(entry, f"{where}.logprobs[{i}]") for i, entry in enumerate(entries)]
    return checked


def _generated(due: str) -> Callable[[Params | None, Any], Answer]:
    return lambda _, answer: _generation(answer, "generation", due)


def _batched(params: Params | None, answer: Any) -> Answer:
    rows = _items(_members(answer, "answer", ("generations",))["generations"], "generations")
    _count("generations", "rows", len(rows), None if params is None else params["ids"])
    return {"generations": [_generation(row, f"generations[{i}]", "ids") for i, row in enumerate(rows)]}


def _streamed(_: Params | None, answer: Any) -> Answer:
    members = _members(answer, "answer", ("deltas", "generation"))
    deltas = [_text(delta, f"deltas[{i}]") for i, delta in enumerate(_items(members["deltas"], "deltas"))]
    return {"deltas": deltas, "generation": _generation(members["generation"], "generation", "text")}


def _opened(params: Params | None, answer: Any) -> Answer:
    members = _members(answer, "answer", ("session", "logits"))
    session = _text(members["session"], "session", MAX_HANDLE, 1)
    return {"session": session, "logits": _logits(params, members["logits"])}


def _extended(params: Params | None, answer: Any) -> Answer:
    return {"logits": _logits(params, _members(answer, "answer", ("logits",))["logits"])}


def _logits(params: Params | None, value: Any) -> Array:
    return _tensor(value, "logits", None if params is None else (len(params["ids"]), None))


def _encoded(params: Params | None, answer: Any) -> Answer:
    members = _members(answer, "answer", ("hidden", "pooled"))
    rows = _items(members["hidden"], "hidden")
    asked = None if params is None else params["ids"]
    _count("hidden", "rows", len(rows), asked)
    hidden: list[Array] = []
    total = 0
    for i, row in enumerate(rows):
        width = hidden[0].shape[1] if hidden else None
        hidden.append(_tensor(row, f"hidden[{i}]", None if asked is None else (len(asked[i]), width)))
        total += hidden[-1].nbytes
        if total > MAX_TENSORS:
            raise Malformed(f"hidden[0] … hidden[{i}] need {total} bytes, {MAX_TENSORS} are allowed in one answer")
    pooled = _tensor(members["pooled"], "pooled", None if asked is None else (len(asked), None))
    return {"hidden": hidden, "pooled": pooled}


def _filled(_: Params | None, answer: Any) -> Answer:
    fills = _items(_members(answer, "answer", ("fills",))["fills"], "fills")
    return {"fills": [_law(entry, f"fills[{i}]") for i, entry in enumerate(fills)]}


def _listed(name: str, rank: int) -> Callable[[Params | None, Any], Answer]:
    def check(params: Params | None, answer: Any) -> Answer:
        arrays = _arrays(_members(answer, "answer", (name,))[name], name, (rank,))
        for i, array in enumerate(arrays):
            due = array.shape[-2] if params is None else len(params["ids"])
            if array.shape[-2] != due:
                raise Malformed(f"{name}[{i}] has shape {list(array.shape)}, {due} positions were due")
        return {name: arrays}

    return check


def _differentiated(_: Params | None, answer: Any) -> Answer:
    members = _members(answer, "answer", ("loss", "gradients"))
    if not isinstance(members["gradients"], Mapping):
        _wrong("gradients", members["gradients"], "an object of tensors")
    names = [_text(name, "gradients", MAX_HANDLE, 1) for name in members["gradients"]]
    arrays = _arrays(list(members["gradients"].values()), "gradients", (1, 2))
    return {"loss": _loss(members["loss"]), "gradients": dict(zip(names, arrays, strict=True))}


def _trained(_: Params | None, answer: Any) -> Answer:
    members = _members(answer, "answer", ("loss", "model"))
    return {"loss": _loss(members["loss"]), "model": _text(members["model"], "model", MAX_HANDLE, 1)}


MAX_FILES = 16
_FILE_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*")


def _exported(_: Params | None, answer: Any) -> Answer:
    """Files by name, each as base64; bytes become that."""
    files = _members(answer, "answer", ("files",))["files"]
    if not isinstance(files, Mapping) or not 1 <= len(files) <= MAX_FILES:
        _wrong("files", files, f"an object of 1 to {MAX_FILES} files")
    made: dict[str, str] = {}
    total = 0
    for name, content in files.items():
        if not _FILE_NAME.fullmatch(_text(name, "the name of a file", MAX_HANDLE, 1)):
            _wrong("the name of a file", name, "a name without folders")
        data = binascii.b2a_base64(content, newline=False).decode() if isinstance(content, bytes) else content
        if type(data) is not str:
            _wrong(f"files.{name}", content, "bytes")
        try:
            total += len(binascii.a2b_base64(data, strict_mode=True))
        except ValueError as error:
            raise Malformed(f"files.{name} is not base64: {error}") from None
        if total > MAX_TENSORS:
            raise Malformed(f"files need {total} bytes, {MAX_TENSORS} are allowed in one answer")
        made[name] = data
    return {"files": made}


def _loss(value: Any) -> float:
    number = _logprob(value, "loss")
    if number is None:
        _wrong("loss", value, "a finite number")
    return number


def _surprised(_: Params | None, answer: Any) -> Answer:
    members = _members(answer, "answer", ("perplexity", "tokens"))
    value = _logprob(members["perplexity"], "perplexity")  # as with log-probabilities, null is what no number can say
    return {"perplexity": value, "tokens": _integer(members["tokens"], "tokens")}


def _bleu(_: Params | None, answer: Any) -> Answer:
    return {"score": _number(_members(answer, "answer", ("score",))["score"], "score")}


def _came(_: Params | None, answer: Any) -> Answer:
    return _reply(answer, "answer")


def _reply(value: Any, where: str) -> Answer:
    """What an API said, as it came; whether it says what it should is the judge's to see."""
    members = _members(value, where, ("status", "type", "body"))
    return {
        "status": _integer(members["status"], f"{where}.status", 100, 599),
        "type": _text(members["type"], f"{where}.type", MAX_HANDLE),
        "body": _text(members["body"], f"{where}.body"),
    }


def _came_together(params: Params | None, answer: Any) -> Answer:
    replies = _items(_members(answer, "answer", ("answers",))["answers"], "answers")
    _count("answers", "entries", len(replies), None if params is None else params["requests"])
    return {"answers": [_reply(reply, f"answers[{i}]") for i, reply in enumerate(replies)]}


def _rouge(params: Params | None, answer: Any) -> Answer:
    members = _members(answer, "answer", ("mean", "segments"))
    segments = _items(members["segments"], "segments")
    _count("segments", "entries", len(segments), None if params is None else params["hypotheses"])
    return {
        "mean": _rouge_scores(members["mean"], "mean"),
        "segments": [_rouge_scores(scores, f"segments[{i}]") for i, scores in enumerate(segments)],
    }


def _rouge_scores(value: Any, where: str) -> dict[str, dict[str, float]]:
    scores = _members(value, where, ROUGE)
    return {
        name: {
            part: _number(parts[part], f"{where}.{name}.{part}")
            for parts in [_members(scores[name], f"{where}.{name}", ROUGE_PARTS)]
            for part in ROUGE_PARTS
        }
        for name in ROUGE
    }


_ANSWERS: Mapping[str, Callable[[Params | None, Any], Answer]] = {
    "describe": _described,
    "load_model": _handle("model"),
    "unload_model": _nothing,
    "tokenize": _tokenized,
    "detokenize": _detokenized,
    "forward": _forwarded,
    "score": _scored,
    "generate_text": _generated("text"),
    "generate_ids": _generated("ids"),
    "generate_batch": _batched,
    "stream_text": _streamed,
    "open": _opened,
    "extend": _extended,
    "fork": _handle("session"),
    "close": _nothing,
    "encode": _encoded,
    "fill_mask": _filled,
    "hidden_states": _listed("hidden", 2),
    "attention": _listed("attention", 3),
    "cross_attention": _listed("attention", 3),
    "gradients": _differentiated,
    "train_step": _trained,
    "export": _exported,
    "perplexity": _surprised,
    "bleu": _bleu,
    "rouge": _rouge,
    "completions": _came,
    "chat": _came,
    "template": _came,
    "together": _came_together,
}


class Widths:
    """V of every model seen so far, because a model does not change its vocabulary between two calls."""

    def __init__(self) -> None:
        self._width: dict[str, int] = {}
        self._model: dict[str, str] = {}

    def see(self, method: str, params: Params, answer: Answer) -> Answer:
        """Note an answer's width.

        Raises:
            Malformed: it is not the width that the model had before.
        """
        if "logits" not in answer:
            if method == "fork" and params["session"] in self._model:
                self._model[answer["session"]] = self._model[params["session"]]
            return answer
        model = params["model"] if "model" in params else self._model.get(params["session"], "")
        if method == "open":
            self._model[answer["session"]] = model
        arrays = answer["logits"] if method == "forward" else [answer["logits"]]
        for array in arrays:
            due = self._width.setdefault(model, array.shape[1])
            if array.shape[1] != due:
                raise Malformed(f"logits have shape {list(array.shape)}, [{array.shape[0]}, {due}] was due as before")
        return answer


def check_refusal(code: Any) -> str:
    """A refusal's code.

    Raises:
        Malformed: none of the protocol's.
    """
    if code not in REFUSAL_CODES:
        raise Malformed(f"refused with code {code!r:.60}, one of {', '.join(REFUSAL_CODES)} was due")
    return str(code)
