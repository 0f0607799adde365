"""Messages of the wire: a line of JSON-RPC there, a line back, and the frames that it announces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from llmasos_conformance.errors import Malformed, ProtocolBroken
from llmasos_conformance.wire.values import MAX_TENSORS, Bytes, encode, shown_of

MAX_LINE = 64 * 2**20
"""Bytes of a line, its end included."""
MAX_FRAMES = 2**16
"""Frames of an answer."""

LINE_TYPE, FRAMES_TYPE = "application/json", "application/vnd.llmasos.frames"
"""Content types of a message over HTTP: a line alone, and a line with the frames that it announces."""

REFUSED, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS = -32000, -32600, -32601, -32602


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
        raise ProtocolBroken(f"frames are {shown_of(lengths)}, a list of lengths in bytes was due")
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
