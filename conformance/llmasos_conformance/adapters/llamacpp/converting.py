"""A bundle as a GGUF file of llama.cpp.

    convert(bundle_dir, out_file)            a file that any program of llama.cpp loads, its server included
    convert(bundle_dir, out_file, "q8_0")    the same behind llama.cpp's own quantiser

    GPT-3   architecture gpt2. Queries, keys and values are one map.
    Llama   architecture llama. The runtime turns neighbouring channels of queries and keys, the standard channels i and
            i + K/2, so that their rows change places

Maps stand left of activations. What is no map (norms, biases, positions) stays float32 in every dtype.

The package `gguf` writes such files too. It is not used: what is needed of it is one function, and it brings a client
of HTTP along.
"""

from __future__ import annotations

import ctypes
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.llamacpp import gguf
from llmasos_conformance.protocol import LARGEST, Array, Refusal

ARCHITECTURES = ("GPT-3", "Llama")
FILE_TYPES: Mapping[str, int] = {
    "float32": llama_cpp.LLAMA_FTYPE_ALL_F32,
    "float16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16,
    "bfloat16": llama_cpp.LLAMA_FTYPE_MOSTLY_BF16,
    "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
}
"""What the maps of a file are kept in."""

NO_WORDS: Mapping[str, gguf.Value] = {"tokenizer.ggml.model": "none"}
"""What a file says of texts that the runtime is not to know."""

Parts = tuple[dict[str, gguf.Value], dict[str, Array]]
"""Values and tensors."""


def convert(bundle_dir: str | Path, out_file: str | Path, dtype: str = "float32") -> None:
    """Write a bundle as GGUF, with its vocabulary if it has one.

    Args:
        dtype: one of FILE_TYPES.

    Raises:
        Refusal: as `kit.read_bundle` and `write`; unsupported, for a tokenizer that the runtime does not have.
    """
    bundle = kit.read_bundle(str(bundle_dir), ARCHITECTURES)
    place = Path(bundle_dir) if Path(bundle_dir).is_dir() else Path(bundle_dir).parent
    stored = place / "tokenizer.json"
    words = NO_WORDS
    if bundle.tokenizer is not None:
        words = vocabulary(bundle.config, json.loads(stored.read_bytes()) if stored.exists() else None)
    write(bundle, Path(out_file), words, dtype)


def write(bundle: kit.KitBundle, out: Path, words: Mapping[str, gguf.Value] = NO_WORDS, dtype: str = "float32") -> None:
    """Write a bundle as GGUF.

    Args:
        words: what the file says of texts. dtype: one of FILE_TYPES.

    Raises:
        Refusal: invalid_format, when a weight is too large for the dtype; unsupported, when the runtime's quantiser
            does not make it.
    """
    kit.refuse_large(bundle.weights, dtype if dtype in LARGEST else "float32")
    values, tensors = _MAKERS[bundle.config["architecture"]](bundle.config, bundle.weights)
    if dtype == "float32":
        gguf.write(out, {**values, **words}, tensors)
        return
    with tempfile.TemporaryDirectory() as directory:
        exact = Path(directory) / "float32.gguf"
        gguf.write(exact, {**values, **words}, tensors)
        _quantise(exact, out, dtype)


def _quantise(made: Path, out: Path, dtype: str) -> None:
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.nthread = FILE_TYPES[dtype], 1
    if llama_cpp.llama_model_quantize(str(made).encode(), str(out).encode(), ctypes.byref(settings)) != 0:
        raise Refusal("unsupported", f"llama.cpp does not make {dtype} of this model")


# ── architectures ───────────────────────────────────────────────────────────────────────────────────────────────────


def _sizes(name: str, config: Mapping[str, Any]) -> dict[str, gguf.Value]:
    """What both architectures say of themselves."""
    return {
        "general.architecture": name,
        f"{name}.vocab_size": config["vocab_size"],
        f"{name}.context_length": config["context_length"],
        f"{name}.embedding_length": config["embedding_dim"],
        f"{name}.block_count": config["num_layers"],
        f"{name}.feed_forward_length": config["feed_forward_dim"],
        f"{name}.attention.head_count": config["num_heads"],
    }


def _gpt3(config: Mapping[str, Any], weights: Mapping[str, Array]) -> Parts:
    values = {**_sizes("gpt2", config), "gpt2.attention.layer_norm_epsilon": config["layer_norm_epsilon"]}
    tensors = {**_outside(config, weights), "position_embd.weight": weights["position_embedding"]}
    for i in range(config["num_layers"]):
        ours, theirs = f"layers.{i}", f"blk.{i}"
        for kind in ("weight", "bias"):
            parts = [weights[f"{ours}.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            tensors[f"{theirs}.attn_qkv.{kind}"] = np.concatenate(parts, axis=-1).T
        for name, part in _PARTS.items():
            tensors[f"{theirs}.{name}.weight"] = weights[f"{ours}.{part}.weight"].T
            tensors[f"{theirs}.{name}.bias"] = weights[f"{ours}.{part}.bias"]
    return values, tensors


def _llama(config: Mapping[str, Any], weights: Mapping[str, Array]) -> Parts:
    heads, groups = config["num_heads"], config["num_key_value_heads"]
    values = {
        **_sizes("llama", config),
        "llama.attention.head_count_kv": groups,
        "llama.attention.layer_norm_rms_epsilon": config["rms_norm_epsilon"],
        "llama.rope.dimension_count": config["embedding_dim"] // heads,
        "llama.rope.freq_base": config["rope_theta"],
    }
    tensors = _outside(config, weights)
    for i in range(config["num_layers"]):
        ours, theirs = f"layers.{i}", f"blk.{i}"
        for name, part in {**_PARTS, "ffn_gate": "feed_forward.gate", "attn_v": "attention.value"}.items():
            tensors[f"{theirs}.{name}.weight"] = weights[f"{ours}.{part}.weight"].T
        tensors[f"{theirs}.attn_q.weight"] = _paired(weights[f"{ours}.attention.query.weight"].T, heads)
        tensors[f"{theirs}.attn_k.weight"] = _paired(weights[f"{ours}.attention.key.weight"].T, groups)
    return values, tensors


_PARTS = {
    "attn_norm": "attention_norm",
    "attn_output": "attention.output",
    "ffn_norm": "feed_forward_norm",
    "ffn_up": "feed_forward.up",
    "ffn_down": "feed_forward.down",
}
"""The runtime's name of a part of a layer -> ours, where both architectures have it."""


def _outside(config: Mapping[str, Any], weights: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors of no layer. Without a head the runtime takes the embedding's."""
    tensors = {"token_embd.weight": weights["token_embedding"]}
    tensors |= {
        f"output_norm.{kind}": weights[f"final_norm.{kind}"]
        for kind in ("weight", "bias")
        if f"final_norm.{kind}" in weights
    }
    return tensors if config["tie_embeddings"] else {**tensors, "output.weight": weights["head.weight"]}


def _paired(rows: Array, heads: int) -> Array:
    """Rows [heads · K, D] where i and i + K/2 of a head have become neighbours."""
    halves = rows.reshape(heads, 2, -1, rows.shape[-1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


_MAKERS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Array]], Parts]] = {"GPT-3": _gpt3, "Llama": _llama}


# ── vocabularies ────────────────────────────────────────────────────────────────────────────────────────────────────

_NORMAL, _CONTROL, _ADDED = 1, 3, 4
"""Kinds of a token: text; none; text that is found before all else."""
_ENDS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
"""Names under which the runtime keeps ids that end a text; it has no list of them."""


def vocabulary(config: Mapping[str, Any], tokenizer: Any) -> dict[str, gguf.Value]:
    """Texts of ids, and which of them begin and end a text.

    Bytes go as a vocabulary of the kind `rwkv`, which takes any bytes and presumes no special ids. Byte-level pairs go
    as one of the kind `gpt2`, which calls id 11 an end unless another is named.

    Args:
        tokenizer: tokenizer.json, parsed; None for bytes.

    Raises:
        Refusal: unsupported, for what the runtime does not have.
    """
    ends, bos, size = list(config["eos_token_ids"]), config["bos_token_id"], config["vocab_size"]
    if tokenizer is None:
        kind, names, merges = "rwkv", {token: (_NORMAL, f"\\x{token:02x}") for token in range(256)}, list[str]()
    else:
        kind, (names, merges) = "gpt2", _pairs(tokenizer)
        # An id without text is never chosen where text is generated, so that as an end it changes nothing.
        ends = ends or [token for token in range(size) if names.get(token, (_CONTROL,))[0] == _CONTROL][:1]
        _need(bool(ends), "a vocabulary of byte-level pairs without an end")
    _need(len(ends) <= len(_ENDS), f"{len(ends)} ends; {len(_ENDS)} have names")
    held = [names.get(token, (_CONTROL, f"\\xff<{token}>")) for token in range(size)]  # no text of UTF-8 has that byte
    made: dict[str, gguf.Value] = {
        "tokenizer.ggml.model": kind,
        "tokenizer.ggml.tokens": [name for _, name in held],
        "tokenizer.ggml.token_type": [which for which, _ in held],
        "tokenizer.ggml.add_bos_token": False,
        **{f"tokenizer.ggml.{name}_token_id": token for name, token in zip(_ENDS, ends, strict=False)},
    }
    if bos is not None:
        made["tokenizer.ggml.bos_token_id"] = bos
    return made if kind == "rwkv" else {**made, "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.merges": merges}


def _pairs(tokenizer: Mapping[str, Any]) -> tuple[dict[int, tuple[int, str]], list[str]]:
    """Kind and name of every id of a byte-level tokenizer.json, and its merges.

    Raises:
        Refusal: unsupported, for another one.
    """
    model, before = tokenizer["model"], tokenizer.get("pre_tokenizer") or {}
    level = model["type"] == "BPE" and before.get("type") == "ByteLevel" and not before.get("add_prefix_space", True)
    _need(level and not tokenizer.get("normalizer") and not tokenizer.get("post_processor"), "this tokenizer.json")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    _need(before.get("use_regex", True) or not merges, "merges across words")
    names = {token: (_NORMAL, name) for name, token in model["vocab"].items()}
    for entry in tokenizer.get("added_tokens") or []:
        names[entry["id"]] = (_CONTROL if entry["special"] else _ADDED, entry["content"])
    return names, merges


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise Refusal("unsupported", f"llama.cpp has no vocabulary for {what}")
