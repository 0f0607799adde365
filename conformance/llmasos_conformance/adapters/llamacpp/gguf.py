"""GGUF, the file that llama.cpp loads: numbers and texts by name, then tensors by name.

    "GGUF", version 3, count of tensors, count of values
    values    name, kind, value
    tensors   name, count of sizes, sizes from the fastest to the slowest, kind, place
    padding to 32 bytes, then the numbers of every tensor, each from a place that 32 divides

All is little-endian; a text is its length and its bytes. Tensors are float32, because llama.cpp itself makes of that
whatever else it computes with. The file follows from what is given, byte for byte.

Source:
    ggml/include/gguf.h of ggml-org/llama.cpp, format version 3
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from llmasos_conformance.protocol import Array

VERSION = 3
ALIGNMENT = 32
"""Of the tensors' places, in bytes."""
FLOAT32 = 0
"""The kind of a tensor of float32."""

Value = int | float | bool | str | Sequence[int] | Sequence[str]

_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def write(path: Path, values: Mapping[str, Value], tensors: Mapping[str, Array]) -> None:
    """Write values and tensors. Tensors become float32."""
    with path.open("wb") as file:
        _write(file, values, tensors)


def _write(file: BinaryIO, values: Mapping[str, Value], tensors: Mapping[str, Array]) -> None:
    file.write(b"GGUF" + struct.pack("<IQQ", VERSION, len(tensors), len(values)))
    for name, value in values.items():
        file.write(_text(name) + _value(value))
    place = 0
    for name, array in tensors.items():
        sizes = array.shape[::-1]
        file.write(_text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, FLOAT32, place))
        place += 4 * array.size + _padding(4 * array.size)
    file.write(bytes(_padding(file.tell())))
    for array in tensors.values():
        file.write(np.ascontiguousarray(array, dtype="<f4").tobytes() + bytes(_padding(4 * array.size)))


def _padding(size: int) -> int:
    """Bytes that lack to a multiple of the alignment."""
    return -size % ALIGNMENT


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Value) -> bytes:
    """Kind and value. Integers of a list may be negative, those that stand alone may not."""
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    return _array(value)


def _array(values: Iterable[int | str]) -> bytes:
    """A list; one of nothing counts as one of texts."""
    held = list(values)
    if held and isinstance(held[0], int):
        return struct.pack(f"<IIQ{len(held)}i", _ARRAY, _INT32, len(held), *held)
    return struct.pack("<IIQ", _ARRAY, _STRING, len(held)) + b"".join(map(_text, map(str, held)))
