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


def with_defaults(parameters: Any, architecture: str = "GPT-3") -> dict[str, Any]:
    """`parameters` of model.json with the standard's defaults; empty if they are no complete parameters."""
    if not isinstance(parameters, Mapping) or not isinstance(parameters.get("embedding_dim"), int):
        return {}
    D = parameters["embedding_dim"]
    heads = D // 64 if D % 64 == 0 else 1
    defaults: dict[str, Any] = {
        "num_heads": heads,
        "feed_forward_dim": 4 * D,
        "context_length": 1024,
        "tie_embeddings": True,
        "bos_token_id": None,
        "eos_token_ids": [],
    }
    own: dict[str, dict[str, Any]] = {
        "GPT-3": {"layer_norm_epsilon": 1e-5, "activation": "gelu_tanh", "local_attention_window": None},
        "Llama": {
            "rms_norm_epsilon": 1e-5,
            "activation": "silu",
            "num_key_value_heads": parameters.get("num_heads", heads),
            "rope_theta": 10000.0,
            "sliding_window": None,
        },
        "BERT": {
            "layer_norm_epsilon": 1e-12,
            "activation": "gelu",
            "context_length": 512,
            "type_vocab_size": 2,
            "mask_token_id": None,
        },
        "Transformer": {
            "layer_norm_epsilon": 1e-5,
            "activation": "relu",
            "num_decoder_layers": parameters.get("num_layers", 1),
            "positions": "sinusoidal",
            "scale_embeddings": True,
            "embedding_norm": False,
            "decoder_start_token_id": None,
        },
    }
    made = {**defaults, **own.get(architecture, {}), **parameters}
    if architecture == "Transformer" and made["decoder_start_token_id"] is None:
        made["decoder_start_token_id"] = 0 if made["bos_token_id"] is None else made["bos_token_id"]
    return made


# ── tensors ─────────────────────────────────────────────────────────────────────────────────────────────────────────


Shapes = dict[str, tuple[int, ...]]


def shapes(config: Mapping[str, Any], architecture: str = "GPT-3") -> Shapes:
    """Name and shape of every tensor of a bundle.

    Letters: D model width, F hidden width, V vocabulary.

    Args:
        config: `parameters` with defaults.
    """
    made = {"token_embedding": (config["vocab_size"], config["embedding_dim"]), **_SHAPES[architecture](config)}
    if not config["tie_embeddings"]:
        made["head.weight"] = made["token_embedding"]
    return made


def _norm(name: str, D: int) -> Shapes:
    return {f"{name}.weight": (D,), f"{name}.bias": (D,)}


def _affine(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (columns,)}


def _attention(name: str, D: int) -> Shapes:
    """Four maps and the norm that belongs to them."""
    made = _norm(f"{name}_norm", D)
    for part in ("query", "key", "value", "output"):
        made |= _affine(f"{name}.{part}", D, D)
    return made


def _feed_forward(layer: str, D: int, F: int) -> Shapes:
    """Two maps and the norm that belongs to them."""
    name = f"{layer}.feed_forward"
    return _norm(f"{name}_norm", D) | _affine(f"{name}.up", D, F) | _affine(f"{name}.down", F, D)


def _gpt3(config: Mapping[str, Any]) -> Shapes:
    D, F = config["embedding_dim"], config["feed_forward_dim"]
    made: Shapes = {"position_embedding": (config["context_length"], D)}
    for layer in (f"layers.{i}" for i in range(config["num_layers"])):
        made |= _attention(f"{layer}.attention", D) | _feed_forward(layer, D, F)
    return made | _norm("final_norm", D)


def _llama(config: Mapping[str, Any]) -> Shapes:
    D, F = config["embedding_dim"], config["feed_forward_dim"]
    shared = D // config["num_heads"] * config["num_key_value_heads"]
    made: Shapes = {}
    for layer in (f"layers.{i}" for i in range(config["num_layers"])):
        maps = {"query": (D, D), "key": (D, shared), "value": (D, shared), "output": (D, D)}
        made |= {f"{layer}.attention.{part}.weight": shape for part, shape in maps.items()}
        maps = {"gate": (D, F), "up": (D, F), "down": (F, D)}
        made |= {f"{layer}.feed_forward.{part}.weight": shape for part, shape in maps.items()}
        made |= {f"{layer}.{norm}.weight": (D,) for norm in ("attention_norm", "feed_forward_norm")}
    return made | {"final_norm.weight": (D,)}


def _bert(config: Mapping[str, Any]) -> Shapes:
    V, D, F = config["vocab_size"], config["embedding_dim"], config["feed_forward_dim"]
    made: Shapes = {
        "position_embedding": (config["context_length"], D),
        "type_embedding": (config["type_vocab_size"], D),
        **_norm("embedding_norm", D),
    }
    for layer in (f"layers.{i}" for i in range(config["num_layers"])):
        made |= _attention(f"{layer}.attention", D) | _feed_forward(layer, D, F)
    return (
        made | _affine("pooler", D, D) | _affine("head.transform", D, D) | _norm("head.norm", D) | {"head.bias": (V,)}
    )


def _transformer(config: Mapping[str, Any]) -> Shapes:
    D, F = config["embedding_dim"], config["feed_forward_dim"]
    made: Shapes = {}
    for side, layers in (("encoder", config["num_layers"]), ("decoder", config["num_decoder_layers"])):
        if config["positions"] == "learned":
            made[f"{side}.position_embedding"] = (config["context_length"], D)
        if config["embedding_norm"]:
            made |= _norm(f"{side}.embedding_norm", D)
        for layer in (f"{side}.layers.{i}" for i in range(layers)):
            made |= _attention(f"{layer}.attention", D) | _feed_forward(layer, D, F)
            if side == "decoder":
                made |= _attention(f"{layer}.cross_attention", D)
    return made


_SHAPES = {"GPT-3": _gpt3, "Llama": _llama, "BERT": _bert, "Transformer": _transformer}


def silent(config: Mapping[str, Any], architecture: str = "GPT-3") -> dict[str, Array]:
    """Weights of a model that adds nothing to its embeddings, float32: norms are neutral, all else is zero."""
    return {
        name: np.full(shape, float(name.endswith("norm.weight")), np.float32)
        for name, shape in shapes(config, architecture).items()
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
