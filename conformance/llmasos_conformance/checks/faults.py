"""The weights of a small document, broken one way at a time. No checks live here.

A fault takes the document whose weights it breaks, by its edits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from llmasos_conformance.checks.bundles import Edits, architecture, held, packed, stored
from llmasos_conformance.layout import TensorFile
from llmasos_conformance.protocol import Array


def _file(of: Edits, change: Callable[[dict[str, Array]], Any] | None = None) -> TensorFile:
    """A document's weights, changed before they are put into a file."""
    weights = held(of)
    if change is not None:
        change(weights)
    return packed(weights)


def _with(of: Edits, name: str, make: Callable[[Array], Array]) -> bytes:
    return _file(of, lambda weights: weights.update({name: make(weights[name])})).bytes()


def _without(of: Edits, name: str) -> bytes:
    return _file(of, lambda weights: weights.pop(name)).bytes()


def _and(of: Edits, name: str, make: Callable[[dict[str, Array]], Array]) -> bytes:
    """One tensor more."""
    return _file(of, lambda weights: weights.update({name: make(weights)})).bytes()


def _stored_as(of: Edits, name: str, dtype: str, raw: Callable[[Array], bytes]) -> bytes:
    """One tensor under another dtype, its bytes as that dtype needs them."""
    weights, file = held(of), TensorFile()
    weights[name]  # a fault in a tensor that is not there would be none
    for key, array in weights.items():
        if key == name:
            file.add(key, list(array.shape), raw(array), dtype)
        else:
            file.add(key, list(array.shape), stored(array, "F32"), "F32")
    return file.bytes()


def _entry(of: Edits, name: str, **members: Any) -> bytes:
    """The header's entry of one tensor, with members replaced."""
    file = _file(of)
    file.header[name].update(members)
    return file.bytes()


def _shifted(of: Edits, at: int, by: int, *, longer: bool = False) -> bytes:
    """Bytes put in (by > 0) or taken out before tensor number `at`, all later ranges moved along.

    Args:
        longer: the tensor before them claims the bytes that were put in.
    """
    file = _file(of)
    entries = list(file.header.values())
    place = entries[at]["data_offsets"][0]
    for entry in entries[at:]:
        entry["data_offsets"] = [offset + by for offset in entry["data_offsets"]]
    if longer:
        entries[at - 1]["data_offsets"][1] += by
    file.data = file.data[: place + min(by, 0)] + bytes(max(by, 0)) + file.data[place:]
    return file.bytes()


def _text(of: Edits, change: Callable[[str], str]) -> bytes:
    file = _file(of)
    return file.bytes(text=change(file.text()))


def _poked(of: Edits, name: str, value: float) -> bytes:
    def poke(array: Array) -> Array:
        changed = array.copy()
        changed[(-1,) * changed.ndim] = value
        return changed

    return _with(of, name, poke)


def _twin(of: Edits) -> str:
    """A tensor of the shape of the final norm's weight, and another one."""
    return "final_norm.bias" if architecture(of) == "GPT-3" else "layers.0.attention_norm.weight"


def _nan(array: Array) -> bytes:
    """As many NaN of float16."""
    return b"\x00\x7e" * array.size


_NOTHING = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
_KEY = "layers.0.attention.key.weight"
_NORM, _QUERY, _UP = "final_norm.weight", "layers.0.attention.query.weight", "layers.0.feed_forward.up.weight"

FAULTS: Mapping[str, Callable[[Edits], bytes]] = {
    "missing norm": lambda of: _without(of, _NORM),
    "missing bias": lambda of: _without(of, "layers.0.feed_forward.down.bias"),
    "missing position embedding": lambda of: _without(of, "position_embedding"),
    "no tensors": lambda of: TensorFile().bytes(),
    "missing gate": lambda of: _without(of, "layers.0.feed_forward.gate.weight"),
    "additional tensor": lambda of: _and(of, "layers.1.norm", lambda w: w[_NORM]),
    "head beside tied embeddings": lambda of: _and(of, "head.weight", lambda w: w["token_embedding"]),
    "bias of a query": lambda of: _and(of, "layers.0.attention.query.bias", lambda w: w[_QUERY][0]),
    "bias of a norm": lambda of: _and(of, "final_norm.bias", lambda w: w[_NORM]),
    "table of frequencies": lambda of: _and(of, "layers.0.attention.inv_freq", lambda w: w[_NORM][:2]),
    "positions": lambda of: _and(of, "position_embedding", lambda w: w["token_embedding"][:16]),
    "transposed": lambda of: _with(of, _UP, np.transpose),
    "one row fewer": lambda of: _with(of, "token_embedding", lambda array: array[:-1]),
    "one position more": lambda of: _with(of, "position_embedding", lambda array: np.concatenate([array, array[:1]])),
    "additional axis": lambda of: _with(of, _NORM, lambda array: array[None]),
    "scalar": lambda of: _with(of, _NORM, lambda array: array[0]),
    "keys of every head": lambda of: _with(of, _KEY, lambda array: np.repeat(array, 2, axis=1)),
    "wider query": lambda of: _with(of, _QUERY, lambda array: np.repeat(array, 2, axis=1)),
    "I32": lambda of: _stored_as(of, _NORM, "I32", lambda array: stored(array, "F32")),
    "I8": lambda of: _stored_as(of, _QUERY, "I8", lambda array: bytes(array.size)),
    "F8_E4M3": lambda of: _stored_as(of, _QUERY, "F8_E4M3", lambda array: bytes(array.size)),
    "BOOL": lambda of: _stored_as(of, _NORM, "BOOL", lambda array: b"\1" * array.size),
    "unknown dtype": lambda of: _entry(of, _NORM, dtype="f32"),
    "empty file": lambda of: b"",
    "seven bytes": lambda of: _file(of).bytes()[:7],
    "header cut": lambda of: _file(of).bytes()[:100],
    "no data": lambda of: _file(of).bytes()[: -len(_file(of).data)],
    "last byte missing": lambda of: _file(of).bytes()[:-1],
    "one byte more": lambda of: _file(of).bytes() + b"\0",
    "header as long as the file": lambda of: _file(of).bytes(length=len(_file(of).bytes())),
    "header of 2^60 bytes": lambda of: _file(of).bytes(length=2**60),
    "header of 2^63 bytes": lambda of: _file(of).bytes(length=2**63),
    "header of 2^64-1 bytes": lambda of: _file(of).bytes(length=2**64 - 1),
    "header of 0 bytes": lambda of: _file(of).bytes(length=0),
    "header is a list": lambda of: _text(of, lambda text: "[]"),
    "header is no JSON": lambda of: _text(of, lambda text: text.replace("{", "(", 1)),
    "trailing comma": lambda of: _text(of, lambda text: text.rstrip()[:-1] + ",}"),
    "tensor named twice": lambda of: _text(of, lambda text: text.replace("{", f'{{"{_twin(of)}":{_NOTHING},', 1)),
    "overlap": lambda of: _shifted(of, 3, -4),
    "hole": lambda of: _shifted(of, 3, 4),
    "hole at the beginning": lambda of: _shifted(of, 0, 4),
    "range too long": lambda of: _shifted(of, 3, 4, longer=True),
    "reversed range": lambda of: _entry(of, _NORM, data_offsets=[32, 0]),
    "range beyond the file": lambda of: _entry(of, _NORM, data_offsets=[2**40, 2**40 + 32]),
    "negative range": lambda of: _entry(of, _NORM, data_offsets=[-32, 0]),
    "same range twice": lambda of: _entry(of, _NORM, data_offsets=_file(of).header[_twin(of)]["data_offsets"]),
    "shape of 2^62 by 8": lambda of: _entry(of, _NORM, shape=[2**62, 8]),
    "shape of 2^32 by 2^32": lambda of: _entry(of, _NORM, shape=[2**32, 2**32, 8]),
    "negative shape": lambda of: _entry(of, _NORM, shape=[-8]),
    "NaN": lambda of: _poked(of, _UP, math.nan),
    "infinity": lambda of: _poked(of, "token_embedding", math.inf),
    "minus infinity in a norm": lambda of: _poked(of, _NORM, -math.inf),
    "NaN stored as F16": lambda of: _stored_as(of, "position_embedding", "F16", _nan),
    "NaN stored as F16 in the embedding": lambda of: _stored_as(of, "token_embedding", "F16", _nan),
}  # fmt: skip
"""Ways in which a document's weights can be wrong; some need tensors that not every architecture has."""
