"""The tensors that a document needs: names and shapes, a strict reader of safetensors, and weights from a seed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from llmasos_conformance.adapters.kit.document import closed, must, natural, parse
from llmasos_conformance.protocol import LARGEST, Array, Refusal

Shapes = dict[str, tuple[int, ...]]
_DTYPES: Mapping[str, str] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def tensor_shapes(config: Mapping[str, Any]) -> Shapes:
    """Name and shape of every tensor of a bundle. Weights stand right of activations: [in, out].

    Those that ids choose rows of stand [ids, width]: embeddings, and the head where it is a tensor of its own.
    """
    shapes = dict(_SHAPES[config["architecture"]](config))
    if not config["tie_embeddings"]:
        shapes["head.weight"] = (config["vocab_size"], config["embedding_dim"])
    return shapes


Named = Iterator[tuple[str, tuple[int, ...]]]


def _with_bias(name: str, *shape: int) -> Named:
    """A map or a norm, and its bias, one for each channel that leaves."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[-1:]


def _block(config: Mapping[str, Any], layer: str, *attentions: str) -> Named:
    """A layer with biases everywhere: attentions and a feed-forward, each with its norm."""
    D, F = config["embedding_dim"], config["feed_forward_dim"]
    for attention in attentions:
        for part in ("query", "key", "value", "output"):
            yield from _with_bias(f"{layer}.{attention}.{part}", D, D)
        yield from _with_bias(f"{layer}.{attention}_norm", D)
    yield from _with_bias(f"{layer}.feed_forward.up", D, F)
    yield from _with_bias(f"{layer}.feed_forward.down", F, D)
    yield from _with_bias(f"{layer}.feed_forward_norm", D)


def _gpt3(config: Mapping[str, Any]) -> Named:
    V, D = config["vocab_size"], config["embedding_dim"]
    yield "token_embedding", (V, D)
    yield "position_embedding", (config["context_length"], D)
    for layer in range(config["num_layers"]):
        yield from _block(config, f"layers.{layer}", "attention")
    yield from _with_bias("final_norm", D)


def _llama(config: Mapping[str, Any]) -> Named:
    V, D, F = config["vocab_size"], config["embedding_dim"], config["feed_forward_dim"]
    shared = config["num_key_value_heads"] * (D // config["num_heads"])
    yield "token_embedding", (V, D)
    for layer in (f"layers.{i}" for i in range(config["num_layers"])):
        yield f"{layer}.attention.query.weight", (D, D)
        yield f"{layer}.attention.key.weight", (D, shared)
        yield f"{layer}.attention.value.weight", (D, shared)
        yield f"{layer}.attention.output.weight", (D, D)
        yield f"{layer}.attention_norm.weight", (D,)
        yield f"{layer}.feed_forward.gate.weight", (D, F)
        yield f"{layer}.feed_forward.up.weight", (D, F)
        yield f"{layer}.feed_forward.down.weight", (F, D)
        yield f"{layer}.feed_forward_norm.weight", (D,)
    yield "final_norm.weight", (D,)


def _bert(config: Mapping[str, Any]) -> Named:
    V, D = config["vocab_size"], config["embedding_dim"]
    yield "token_embedding", (V, D)
    yield "position_embedding", (config["context_length"], D)
    yield "type_embedding", (config["type_vocab_size"], D)
    yield from _with_bias("embedding_norm", D)
    for layer in range(config["num_layers"]):
        yield from _block(config, f"layers.{layer}", "attention")
    yield from _with_bias("pooler", D, D)
    yield from _with_bias("head.transform", D, D)
    yield from _with_bias("head.norm", D)
    yield "head.bias", (V,)


def _transformer(config: Mapping[str, Any]) -> Named:
    V, D = config["vocab_size"], config["embedding_dim"]
    yield "token_embedding", (V, D)
    sides = {
        "encoder": (config["num_layers"], ("attention",)),
        "decoder": (config["num_decoder_layers"], ("attention", "cross_attention")),
    }
    for side, (layers, attentions) in sides.items():
        if config["positions"] == "learned":
            yield f"{side}.position_embedding", (config["context_length"], D)
        if config["embedding_norm"]:
            yield from _with_bias(f"{side}.embedding_norm", D)
        for layer in range(layers):
            yield from _block(config, f"{side}.layers.{layer}", *attentions)


_SHAPES: Mapping[str, Callable[[Mapping[str, Any]], Named]] = {
    "GPT-3": _gpt3,
    "Llama": _llama,
    "BERT": _bert,
    "Transformer": _transformer,
}


def read_tensors(raw: bytes, digest: str | None, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """The tensors of a safetensors file.

    Args:
        digest: SHA-256 that the file must have, if one is stated.
        expected: name -> shape of all that the file must hold, no more and no fewer.

    Raises:
        Refusal: invalid_format.
    """
    must(digest in (None, hashlib.sha256(raw).hexdigest()), "weights have another digest")
    must(len(raw) >= 8, "too short for safetensors")
    size = int.from_bytes(raw[:8], "little")
    start = 8 + size
    must(size <= 10**8 and start <= len(raw) and raw[8:9] == b"{", "no header of safetensors")
    header = parse(raw[8:start])
    notes = header.pop("__metadata__", {})
    must(isinstance(notes, dict) and all(isinstance(note, str) for note in notes.values()), "__metadata__ is not texts")
    tensors: dict[str, Array] = {}
    spans: list[tuple[int, int]] = []
    for name, value in header.items():
        entry = closed(value, f"{name:.80}", ("dtype", "shape", "data_offsets"))
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        must(isinstance(dtype, str) and dtype in _DTYPES, f"dtype of {name:.80} is {dtype!r:.40}")
        lists = isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2
        must(lists and all(natural(n, 0, 2**63) for n in (*shape, *offsets)), f"{name:.80} is no tensor")
        must(expected.get(name) == tuple(shape), f"{name:.80} is unknown or of another shape")
        begin, end = offsets
        needed = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        must(end - begin == needed and end <= len(raw) - start, f"{name:.80} does not span its bytes")
        spans.append((begin, end))
        flat = np.frombuffer(raw[start + begin : start + end], dtype=_DTYPES[dtype])
        tensors[name] = _widened(flat, dtype).reshape(shape)
        must(np.all(np.isfinite(tensors[name])), f"{name:.80} holds NaN or infinity")
    ends = [0, *(end for _, end in sorted(spans))]
    must([begin for begin, _ in sorted(spans)] == ends[:-1] and ends[-1] == len(raw) - start, "tensors do not tile")
    must(tensors.keys() == expected.keys(), "a tensor is missing")
    return tensors


def _widened(flat: Array, dtype: str) -> Array:
    """bfloat16 is the upper half of a float32."""
    return (flat.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else flat


def initialise(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Array]:
    """Weights of a bundle that holds none (LLMasOS specification, seeded initialisation)."""
    if sum(math.prod(shape) for shape in shapes.values()) > 2**30:
        raise Refusal("unsupported", "more weights than are made from a seed")
    return {name: _initial(name, shape, seed) for name, shape in shapes.items()}


def _initial(name: str, shape: tuple[int, ...], seed: int) -> Array:
    if name.endswith(("norm.weight", ".bias")):
        return np.full(shape, name.endswith("norm.weight"), dtype=np.float32)
    text = f"llmasos-init/v1\0{seed}\0{name}"
    key = np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
    z = key + np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    quarters = z.view(np.uint16).astype(np.int32).reshape(-1, 4)
    total = quarters[:, 0] + quarters[:, 1] + quarters[:, 2] + quarters[:, 3] - 131070
    # Eight significant bits: the spacing at |total| in [2^(e-1), 2^e) is 2^(e-8); half to even.
    spacing = np.exp2(np.frexp(total.astype(np.float64))[1] - 8.0)
    values: Array = (np.rint(total / spacing) * spacing * 2.0**-21).astype(np.float32)
    return values.reshape(shape)


def refuse_large(weights: Mapping[str, Array], dtype: str) -> None:
    """Refuse weights that a dtype does not hold.

    Raises:
        Refusal: invalid_format, for the first that is larger than the largest number of the dtype.
    """
    for name, array in weights.items():
        if not (np.abs(array.astype(np.float64, copy=False)) <= LARGEST[dtype]).all():
            raise Refusal("invalid_format", f"{name} holds a number too large for {dtype}")
