"""What a bundle is made of on disk: files, tensors with their names and shapes, defaults, the bytes of safetensors.

    files_of        model.json, model.safetensors, tokenizer.json and more, name -> bytes
    with_defaults   `parameters` of model.json, complete
    shapes          name and shape of every tensor; `silent` weights add nothing to the embeddings
    TensorFile      model.safetensors in its parts, to be put together right or wrong

Written apart from the reference, so that a mistake there is not repeated here. Files that are broken on purpose cannot
be made by a writer that refuses to break them, so safetensors is written here too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from llmasos_conformance.protocol import Array

MODEL, WEIGHTS, TOKENIZER = "model.json", "model.safetensors", "tokenizer.json"


def files_of(
    document: Mapping[str, Any] | bytes,
    weights: Mapping[str, Array] | bytes | None,
    tokenizer: str | bytes | None = None,
    files: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """The files of a bundle, name -> bytes.

    Args:
        document: model.json, as a value or as raw bytes.
        weights: tensors, raw bytes of model.safetensors, or None for no such file.
        tokenizer: content of tokenizer.json; None for no such file.
        files: further files, name -> bytes; a name may hold "/" but may not leave the bundle.

    Raises:
        ValueError: a file name leaves the bundle, or stands for two files.
    """
    contents = {MODEL: document if isinstance(document, bytes) else document_bytes(document)}
    if weights is not None:
        contents[WEIGHTS] = weights if isinstance(weights, bytes) else safetensors_bytes(weights)
    if tokenizer is not None:
        contents[TOKENIZER] = tokenizer.encode() if isinstance(tokenizer, str) else tokenizer
    for name, content in (files or {}).items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or name in contents:
            raise ValueError(f"{name!r} cannot name a further file of a bundle")
        contents[name] = content
    return contents


def document_bytes(document: Mapping[str, Any]) -> bytes:
    """model.json as the library writes it."""
    return (json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n").encode()


def with_defaults(parameters: Any) -> dict[str, Any]:
    """`parameters` of model.json with the standard's defaults; empty if they are no complete parameters."""
    if not isinstance(parameters, Mapping) or not isinstance(parameters.get("embedding_dim"), int):
        return {}
    D = parameters["embedding_dim"]
    defaults = {
        "num_heads": D // 64 if D % 64 == 0 else 1,
        "feed_forward_dim": 4 * D,
        "context_length": 1024,
        "layer_norm_epsilon": 1e-5,
        "activation": "gelu_tanh",
        "tie_embeddings": True,
        "bos_token_id": None,
        "eos_token_ids": [],
    }
    return {**defaults, **parameters}


# ── tensors ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a GPT-3 bundle. D model width, F hidden width, V vocabulary."""
    V, D, F = config["vocab_size"], config["embedding_dim"], config["feed_forward_dim"]
    made: dict[str, tuple[int, ...]] = {"token_embedding": (V, D), "position_embedding": (config["context_length"], D)}
    for layer in (f"layers.{i}" for i in range(config["num_layers"])):
        for norm in ("attention_norm", "feed_forward_norm"):
            made |= {f"{layer}.{norm}.weight": (D,), f"{layer}.{norm}.bias": (D,)}
        for part in ("query", "key", "value", "output"):
            made |= {f"{layer}.attention.{part}.weight": (D, D), f"{layer}.attention.{part}.bias": (D,)}
        made |= {f"{layer}.feed_forward.up.weight": (D, F), f"{layer}.feed_forward.up.bias": (F,)}
        made |= {f"{layer}.feed_forward.down.weight": (F, D), f"{layer}.feed_forward.down.bias": (D,)}
    made |= {"final_norm.weight": (D,), "final_norm.bias": (D,)}
    return made if config["tie_embeddings"] else made | {"head.weight": (V, D)}


def silent(config: Mapping[str, Any]) -> dict[str, Array]:
    """Weights of a model that adds nothing to its embeddings, float32: norms are neutral, all else is zero."""
    return {
        name: np.full(shape, float(name.endswith("norm.weight")), np.float32) for name, shape in shapes(config).items()
    }


# ── safetensors ─────────────────────────────────────────────────────────────────────────────────────────────────────

DTYPES: Mapping[str, str] = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "uint8": "U8",
    "bool": "BOOL",
}
"""NumPy's names of dtypes -> safetensors'."""


class TensorFile:
    """A safetensors file in its parts: 8-byte little-endian header length, JSON header, tensor bytes.

    Attributes:
        header: tensor name -> {"dtype", "shape", "data_offsets"}. data: bytes after the header.
    """

    def __init__(self) -> None:
        self.header: dict[str, dict[str, Any]] = {}
        self.data = b""

    def add(self, name: str, shape: list[int], raw: bytes, dtype: str) -> None:
        """Append a tensor behind those that are there."""
        offsets = [len(self.data), len(self.data) + len(raw)]
        self.header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        self.data += raw

    def text(self) -> str:
        """The header, padded with blanks to a multiple of 8 bytes."""
        text = json.dumps(self.header, separators=(",", ":"))
        return text + " " * (-len(text) % 8)

    def bytes(self, *, text: str | None = None, length: int | None = None) -> bytes:
        """The file; `text` and `length` replace the header and what is said of its length."""
        header = (self.text() if text is None else text).encode()
        return struct.pack("<Q", len(header) if length is None else length) + header + self.data


def safetensors_bytes(weights: Mapping[str, Array]) -> bytes:
    """A safetensors file whose tensors stand in the order of their names, so that equal weights give equal bytes.

    Args:
        weights: name -> array of a dtype in DTYPES.
    """
    file = TensorFile()
    for name in sorted(weights):
        array = np.asarray(weights[name])
        raw = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        file.add(name, list(array.shape), raw, DTYPES[array.dtype.name])
    return file.bytes()
