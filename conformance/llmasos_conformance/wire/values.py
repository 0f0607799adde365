"""Values of the wire: what a text, an integer, a list of ids or a tensor is, going out and coming in.

Every reader here takes a value and where it stands, and returns it in native form or raises Malformed with the path,
what came and what was due. `members_of` reads a closed object, `items_of` a list, `array_of` and `logits_of` tensors.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, NoReturn, TypeGuard

import numpy as np

from llmasos_conformance.errors import Malformed
from llmasos_conformance.protocol import Array, Generation, logits_like

MAX_TENSORS = 44 * 2**20
"""Bytes of all tensors of an answer. Base64 makes 59 MiB of them, so that every answer that is allowed fits a line."""
MAX_TEXT = 16 * 2**20
"""Characters of a text."""
MAX_ITEMS = 2**20
"""Entries of a list: ids, rows, pieces of a stream."""
MAX_ID = 2**31 - 1
MAX_HANDLE = 256

Bytes = bytes | memoryview

_ITEM_BYTES: Mapping[str, int] = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_CODES: Mapping[str, str] = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


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
    members = members_of(value, where, ("dtype", "shape", "data"))
    code, shape, data = members["dtype"], members["shape"], members["data"]
    if type(code) is not str or code not in _ITEM_BYTES:
        wrong(f"{where}.dtype", code, f"one of {', '.join(_ITEM_BYTES)}")
    if type(shape) is not list or len(shape) > 8 or any(type(n) is not int or not 0 <= n <= MAX_ID for n in shape):
        wrong(f"{where}.shape", shape, "a list of at most 8 integers from 0")
    if type(data) is not str and type(data) is not memoryview:  # the latter came as a frame
        wrong(f"{where}.data", data, "base64 text")
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
        wrong(where, value, "an array")
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


def is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return type(value) is dict or (type(value) is not np.ndarray and isinstance(value, Mapping))


def array_of(value: Any, where: str, ranks: Sequence[int]) -> Array:
    """An array with one of several numbers of axes, none of length 0."""
    array = decode_tensor(value, where) if is_object(value) else _native_tensor(value, where)
    if array.ndim not in ranks or 0 in array.shape:
        due = " or ".join(map(str, ranks))
        raise Malformed(f"{where} has shape {list(array.shape)}, {due} axes of length 1 or more were due")
    return array


def arrays_of(value: Any, where: str, ranks: Sequence[int]) -> list[Array]:
    """Arrays of one answer, small enough together."""
    arrays: list[Array] = []
    total = 0
    for i, item in enumerate(items_of(value, where)):
        arrays.append(array_of(item, f"{where}[{i}]", ranks))
        total += arrays[-1].nbytes
        if total > MAX_TENSORS:
            raise Malformed(f"{where}[0] … {where}[{i}] need {total} bytes, {MAX_TENSORS} are allowed in one answer")
    return arrays


def logits_of(value: Any, where: str, shape: tuple[int, int | None] | None) -> Array:
    """Logits of shape [t, V]. `shape` is what is due, V None if free; None only demands two axes."""
    array = decode_tensor(value, where) if is_object(value) else _native_tensor(value, where)
    found = list(array.shape)
    if len(found) != 2 or found[1] == 0:
        raise Malformed(f"{where} has shape {found}, [{shape[0] if shape else 'T'}, V] was due")
    if shape is not None and (found[0] != shape[0] or shape[1] not in (None, found[1])):
        raise Malformed(f"{where} has shape {found}, [{shape[0]}, {shape[1] or 'V'}] was due")
    return array


def shown_of(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)}"
    return f"{type(value).__name__} {value!r:.60}"


def wrong(where: str, value: Any, due: str) -> NoReturn:
    raise Malformed(f"{where} is {shown_of(value)}, {due} was due")


def members_of(value: Any, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> Mapping[str, Any]:
    """A closed object: every required member, no unknown one."""
    if not is_object(value):
        wrong(where, value, "an object")
    for name in required:
        if name not in value:
            raise Malformed(f"{where} lacks {name!r}; it has {sorted(map(str, value))!s:.120}")
    if len(value) > len(required):
        for name in value:
            if name not in required and name not in optional:
                known = ", ".join((*required, *optional))
                raise Malformed(f"{where} has an unknown member {name!r:.60}; known: {known}")
    return value


def text_of(value: Any, where: str, most: int = MAX_TEXT, least: int = 0) -> str:
    if not isinstance(value, str):
        wrong(where, value, "a text")
    if not least <= len(value) <= most:
        raise Malformed(f"{where} has {len(value)} characters, {least} to {most} are allowed")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Malformed(f"{where} has a lone surrogate at {error.start}, valid Unicode was due") from None
    return str(value)


def integer_of(value: Any, where: str, low: int = 0, high: int = MAX_ID) -> int:
    # `type is int` first: True is an int to Python, and 12.0 another thing to other readers.
    if type(value) is not int and not isinstance(value, np.integer):
        wrong(where, value, "an integer")
    number = int(value)
    if not low <= number <= high:
        shown = number if number.bit_length() <= 64 else f"an integer of {number.bit_length()} bits"
        raise Malformed(f"{where} is {shown}, an integer of {low} … {high} was due")
    return number


def items_of(value: Any, where: str) -> Sequence[Any]:
    if type(value) is not list:
        if isinstance(value, np.ndarray) and value.ndim:
            value = list(value)
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            wrong(where, value, "a list")
    if len(value) > MAX_ITEMS:
        raise Malformed(f"{where} has {len(value)} entries, {MAX_ITEMS} are allowed")
    return value  # type: ignore[no-any-return]


def ids_of(value: Any, where: str, low: int = 0) -> list[int]:
    items = items_of(value, where)
    if all(type(item) is int and low <= item <= MAX_ID for item in items):
        return list(items)
    return [integer_of(item, f"{where}[{i}]", low) for i, item in enumerate(items)]


def logprob_of(value: Any, where: str) -> float | None:
    return None if value is None else number_of(value, where, "a finite number or null")


def number_of(value: Any, where: str, due: str = "a finite number") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        wrong(where, value, due)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Malformed(f"{where} is {number}, {due} was due")
    return number
