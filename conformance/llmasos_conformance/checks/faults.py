"""The small document's weights, broken one way at a time. No checks live here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from llmasos_conformance.checks.bundles import PLAIN, config, packed, stored, tensors
from llmasos_conformance.layout import TensorFile
from llmasos_conformance.protocol import Array


def _file(change: Callable[[dict[str, Array]], Any] | None = None) -> TensorFile:
    """The small document's weights, changed before they are put into a file."""
    weights = tensors(config(PLAIN))
    if change is not None:
        change(weights)
    return packed(weights)


def _with(name: str, make: Callable[[Array], Array]) -> bytes:
    return _file(lambda weights: weights.update({name: make(weights[name])})).bytes()


def _without(name: str) -> bytes:
    return _file(lambda weights: weights.pop(name)).bytes()


def _stored_as(name: str, dtype: str, raw: Callable[[Array], bytes]) -> bytes:
    """One tensor under another dtype, its bytes as that dtype needs them."""
    weights, file = tensors(config(PLAIN)), TensorFile()
    for key, array in weights.items():
        if key == name:
            file.add(key, list(array.shape), raw(array), dtype)
        else:
            file.add(key, list(array.shape), stored(array, "F32"), "F32")
    return file.bytes()


def _entry(name: str, **members: Any) -> bytes:
    """The header's entry of one tensor, with members replaced."""
    file = _file()
    file.header[name].update(members)
    return file.bytes()


def _shifted(at: int, by: int, *, longer: bool = False) -> bytes:
    """Bytes put in (by > 0) or taken out before tensor number `at`, all later ranges moved along.

    Args:
        longer: the tensor before them claims the bytes that were put in.
    """
    file = _file()
    entries = list(file.header.values())
    place = entries[at]["data_offsets"][0]
    for entry in entries[at:]:
        entry["data_offsets"] = [offset + by for offset in entry["data_offsets"]]
    if longer:
        entries[at - 1]["data_offsets"][1] += by
    file.data = file.data[: place + min(by, 0)] + bytes(max(by, 0)) + file.data[place:]
    return file.bytes()


def _cut(count: int) -> bytes:
    return _file().bytes()[:count]


def _text(change: Callable[[str], str]) -> bytes:
    file = _file()
    return file.bytes(text=change(file.text()))


def _poked(name: str, value: float) -> bytes:
    def poke(array: Array) -> Array:
        changed = array.copy()
        changed[(-1,) * changed.ndim] = value
        return changed

    return _with(name, poke)


_NORM, _QUERY, _UP = "final_norm.weight", "layers.0.attention.query.weight", "layers.0.feed_forward.up.weight"

FAULTS: Mapping[str, Callable[[], bytes]] = {
    "missing norm": lambda: _without(_NORM),
    "missing bias": lambda: _without("layers.0.feed_forward.down.bias"),
    "missing position embedding": lambda: _without("position_embedding"),
    "no tensors": lambda: TensorFile().bytes(),
    "additional tensor": lambda: _file(lambda w: w.update({"layers.1.norm": w[_NORM]})).bytes(),
    "head beside tied embeddings": lambda: _file(lambda w: w.update({"head.weight": w["token_embedding"]})).bytes(),
    "transposed": lambda: _with(_UP, np.transpose),
    "one row fewer": lambda: _with("token_embedding", lambda array: array[:-1]),
    "one position more": lambda: _with("position_embedding", lambda array: np.concatenate([array, array[:1]])),
    "additional axis": lambda: _with(_NORM, lambda array: array[None]),
    "scalar": lambda: _with(_NORM, lambda array: array[0]),
    "wider query": lambda: _with(_QUERY, lambda array: np.repeat(array, 2, axis=1)),
    "I32": lambda: _stored_as(_NORM, "I32", lambda array: stored(array, "F32")),
    "I8": lambda: _stored_as(_QUERY, "I8", lambda array: bytes(array.size)),
    "F8_E4M3": lambda: _stored_as(_QUERY, "F8_E4M3", lambda array: bytes(array.size)),
    "BOOL": lambda: _stored_as(_NORM, "BOOL", lambda array: b"\1" * array.size),
    "unknown dtype": lambda: _entry(_NORM, dtype="f32"),
    "empty file": lambda: b"",
    "seven bytes": lambda: _cut(7),
    "header cut": lambda: _cut(100),
    "no data": lambda: _file().bytes()[: -len(_file().data)],
    "last byte missing": lambda: _file().bytes()[:-1],
    "one byte more": lambda: _file().bytes() + b"\0",
    "header as long as the file": lambda: _file().bytes(length=len(_file().bytes())),
    "header of 2^60 bytes": lambda: _file().bytes(length=2**60),
    "header of 2^63 bytes": lambda: _file().bytes(length=2**63),
    "header of 2^64-1 bytes": lambda: _file().bytes(length=2**64 - 1),
    "header of 0 bytes": lambda: _file().bytes(length=0),
    "header is a list": lambda: _text(lambda text: "[]"),
    "header is no JSON": lambda: _text(lambda text: text.replace("{", "(", 1)),
    "trailing comma": lambda: _text(lambda text: text.rstrip()[:-1] + ",}"),
    "tensor named twice": lambda: _text(lambda text: text.replace("{", '{"final_norm.bias":{"dtype":"F32",'
                                                                '"shape":[0],"data_offsets":[0,0]},', 1)),
    "overlap": lambda: _shifted(3, -4),
    "hole": lambda: _shifted(3, 4),
    "hole at the beginning": lambda: _shifted(0, 4),
    "range too long": lambda: _shifted(3, 4, longer=True),
    "reversed range": lambda: _entry(_NORM, data_offsets=[32, 0]),
    "range beyond the file": lambda: _entry(_NORM, data_offsets=[2**40, 2**40 + 32]),
    "negative range": lambda: _entry(_NORM, data_offsets=[-32, 0]),
    "same range twice": lambda: _entry(_NORM, data_offsets=_file().header["final_norm.bias"]["data_offsets"]),
    "shape of 2^62 by 8": lambda: _entry(_NORM, shape=[2**62, 8]),
    "shape of 2^32 by 2^32": lambda: _entry(_NORM, shape=[2**32, 2**32, 8]),
    "negative shape": lambda: _entry(_NORM, shape=[-8]),
    "NaN": lambda: _poked(_UP, math.nan),
    "infinity": lambda: _poked("token_embedding", math.inf),
    "minus infinity in a norm": lambda: _poked(_NORM, -math.inf),
    "NaN stored as F16": lambda: _stored_as("position_embedding", "F16", lambda array: b"\x00\x7e" * array.size),
}  # fmt: skip
"""Ways in which the small document's weights can be wrong."""
