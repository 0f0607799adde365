"""How the runtime of the mutants opens a bundle: strictly, in steps small enough to be broken one at a time.

    read      one regular file of the directory, links refused
    parse     strict JSON
    config    version, architecture, closed keys, types, ranges, defaults, rules across keys
    header    the safetensors header against the file's size
    tensors   names, shapes, finite values; float32 whatever was stored

A faulty loader overrides one of these steps. Nothing here comes from the reference or from the adapter kit: three
readers of one format that were written apart are what shows that the format is described well enough.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from llmasos_conformance.protocol import Array, Refusal

DTYPES: Mapping[str, Any] = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
TOP_KEYS = frozenset({"name", "version", "architecture", "parameters", "metadata", "initialisation", "weights"})
PARAMETERS = frozenset(
    {
        "vocab_size", "embedding_dim", "num_layers", "num_heads", "feed_forward_dim", "context_length",
        "layer_norm_epsilon", "activation", "tie_embeddings", "bos_token_id", "eos_token_ids",
        "local_attention_window",
    }
)  # fmt: skip
ARCHITECTURES = ("Transformer", "GPT-3", "BERT", "Llama")
_PART = r"(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
VERSION = re.compile(
    rf"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)(-{_PART}(\.{_PART})*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?)?"
)
LARGEST: Mapping[str, int] = {
    "vocab_size": 2**24, "embedding_dim": 2**16, "num_layers": 2**12, "num_heads": 2**16,
    "feed_forward_dim": 2**20, "context_length": 2**22, "num_key_value_heads": 2**16, "sliding_window": 2**22,
    "local_attention_window": 2**22,
}  # fmt: skip
MAX_DEPTH = 64
MAX_DOCUMENT = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the runtime needs of model.json. Letters as in the runtime: V, D, N, H, F and the context length C.

    Attributes:
        band: keys that a query of every second layer sees, its own included; None for all.
        groups, theta, window: of Llama; key-value heads, rotary base, and keys that a query of any layer sees.
    """

    V: int
    D: int
    N: int
    H: int
    F: int
    C: int
    epsilon: float
    tied: bool
    bos: int | None
    eos: tuple[int, ...]
    seed: int
    sha256: str | None
    band: int | None = None
    groups: int | None = None
    theta: float = 10000.0
    window: int | None = None

    @property
    def G(self) -> int:  # noqa: N802, a letter of the runtime
        """Key-value heads; as many as query heads unless the architecture says otherwise."""
        return self.groups or self.H


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A bundle that the loader let through: its configuration, float32 weights, and tokenizer.json if it has one."""

    config: Config
    weights: Mapping[str, Array]
    tokenizer: bytes | None


def refuse(message: str, code: str = "invalid_format") -> Refusal:
    """A typed "no" of this loader."""
    return Refusal(code, message)


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a GPT-3 bundle."""
    V, D, F = config.V, config.D, config.F
    due: dict[str, tuple[int, ...]] = {"token_embedding": (V, D), "position_embedding": (config.C, D)}
    for n in range(config.N):
        for norm in ("attention_norm", "feed_forward_norm"):
            due[f"layers.{n}.{norm}.weight"] = due[f"layers.{n}.{norm}.bias"] = (D,)
        for name in ("query", "key", "value", "output"):
            due[f"layers.{n}.attention.{name}.weight"] = (D, D)
            due[f"layers.{n}.attention.{name}.bias"] = (D,)
        due[f"layers.{n}.feed_forward.up.weight"], due[f"layers.{n}.feed_forward.up.bias"] = (D, F), (F,)
        due[f"layers.{n}.feed_forward.down.weight"], due[f"layers.{n}.feed_forward.down.bias"] = (F, D), (D,)
    due["final_norm.weight"] = due["final_norm.bias"] = (D,)
    if not config.tied:
        due["head.weight"] = (V, D)
    return due


@cache
def seeded(seed: int, name: str, shape: tuple[int, ...]) -> Array:
    """A tensor of a bundle without weights: four parts of each SplitMix64 word added, 8 significant bits kept.

    Remembered, because a hundred mutants open the same few documents.
    """
    if name.endswith(".bias"):
        return np.zeros(shape, np.float32)
    if name.endswith("norm.weight"):
        return np.ones(shape, np.float32)
    key = int.from_bytes(hashlib.sha256(f"llmasos-init/v1\0{seed}\0{name}".encode()).digest()[:8], "big")
    z = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    total = z.view("<u2").reshape(-1, 4).astype(np.int64).sum(1) - 131070
    mantissa, exponent = np.frexp(total.astype(np.float64))
    return np.asarray(np.ldexp(np.rint(mantissa * 256), exponent - 8 - 21).astype(np.float32).reshape(shape))


class Loader:
    """The strict loader. Each method is one step."""

    top_keys: ClassVar[frozenset[str]] = TOP_KEYS
    parameter_keys: ClassVar[frozenset[str]] = PARAMETERS
    architectures: ClassVar[tuple[str, ...]] = ("GPT-3",)
    activation: ClassVar[str] = "gelu_tanh"
    epsilon_key: ClassVar[str] = "layer_norm_epsilon"

    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor."""
        return shapes(config)

    def open(self, path: str) -> Opened:
        """Read a bundle from its directory or its model.json."""
        directory = Path(path)
        if directory.name == "model.json" and not directory.is_dir():
            directory = directory.parent
        if not directory.is_dir():
            if directory.exists():
                raise refuse("not a bundle")
            raise refuse(f"nothing at {path}", "not_found")
        raw = self.read(directory / "model.json")
        if raw is None:
            raise refuse("no model.json", "not_found")
        if len(raw) > MAX_DOCUMENT:
            raise refuse("model.json is too large")
        document = self.parse(raw)
        config = self.config(document)
        self.graph(directory, document)
        return Opened(
            config=config, weights=self.weights(directory, config), tokenizer=self.read(directory / "tokenizer.json")
        )

    def graph(self, directory: Path, document: Any) -> None:
        """Refuse a bundle whose weights are in a graph alone, which does not run here."""
        held = [(directory / name).exists() for name in ("model.onnx", "model.safetensors")]
        if held == [True, False] and "initialisation" not in document:
            raise refuse("the weights are in model.onnx alone", "unsupported")

    def read(self, path: Path) -> bytes | None:
        """All bytes of a regular file; None if it is absent."""
        if path.is_symlink():
            raise refuse(f"{path.name} is a link")
        if not path.exists():
            return None
        if not path.is_file():
            raise refuse(f"{path.name} is not a regular file")
        return path.read_bytes()

    def parse(self, raw: bytes) -> Any:
        """Strict JSON: one value, unique keys, finite numbers, bounded depth, Unicode scalar values."""

        def number(literal: str) -> float:
            if not math.isfinite(float(literal)):
                raise ValueError(f"{literal} is not a JSON number")
            return float(literal)

        try:
            text = raw.decode("utf-8-sig")
            depth = deepest = 0
            for bracket in re.findall(r"[\[{}\]]", re.sub(r'"(?:[^"\\]|\\.)*"?', "", text, flags=re.DOTALL)):
                depth += 1 if bracket in "[{" else -1
                deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                raise ValueError(f"nested {deepest} deep")
            document = json.loads(text, object_pairs_hook=self.members, parse_float=number, parse_constant=number)
            json.dumps(document, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise refuse(f"not strict JSON: {error}") from None
        return document

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """One object of the document; a key may stand in it once."""
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key appears twice")
        return dict(pairs)

    def config(self, document: Any) -> Config:
        """The document's parameters with their defaults."""
        if not isinstance(document, dict):
            raise refuse("model.json is no object")
        self.version(document.get("version"))
        self.closed(document, self.top_keys)
        if not isinstance(document.get("name"), str) or not document["name"]:
            raise refuse("name is missing")
        self.architecture(document.get("architecture"))
        for key in ("metadata", "initialisation", "weights"):
            if key in document and not isinstance(document[key], dict):
                raise refuse(f"{key} is no object")
        seed, sha256 = 0, None
        if "initialisation" in document:
            self.closed(document["initialisation"], frozenset({"seed"}))
            seed = self.integer(document["initialisation"].get("seed"), 0, 2**53 - 1)
        if "weights" in document:
            self.closed(document["weights"], frozenset({"sha256"}))
            sha256 = document["weights"].get("sha256")
            if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
                raise refuse("weights.sha256 is no digest")
        parameters = document.get("parameters")
        if not isinstance(parameters, dict):
            raise refuse("parameters is no object")
        self.closed(parameters, self.parameter_keys)
        return self.parameters(parameters, seed, sha256)

    def version(self, version: Any) -> None:
        match = VERSION.fullmatch(version) if isinstance(version, str) else None
        if match is None:
            raise refuse("version is missing or no version")
        if match[1] != "1":
            raise refuse(f"format {version}", "unsupported_version")

    def architecture(self, name: Any) -> None:
        if not isinstance(name, str) or not name:
            raise refuse("architecture is missing")
        if name not in self.architectures:
            raise refuse(f"architecture {name}", "unsupported_architecture")

    def closed(self, members: Mapping[str, Any], known: frozenset[str]) -> None:
        unknown = set(members) - known
        if unknown:
            raise refuse(f"unknown key {min(unknown)!r}")

    def integer(self, value: Any, low: int, high: int) -> int:
        if type(value) is not int or not low <= value <= high:
            raise refuse(f"{value!r:.40} is not an integer from {low} to {high}")
        return value

    def parameters(self, given: Mapping[str, Any], seed: int, sha256: str | None) -> Config:
        sizes = {
            key: self.integer(given.get(key), 1, LARGEST[key]) for key in ("vocab_size", "embedding_dim", "num_layers")
        }
        V, D = sizes["vocab_size"], sizes["embedding_dim"]
        H = self.integer(given.get("num_heads", self.default_heads(D)), 1, LARGEST["num_heads"])
        if D % H:
            raise refuse(f"{H} heads do not divide width {D}")
        tied, eos, bos = given.get("tie_embeddings", True), given.get("eos_token_ids", []), given.get("bos_token_id")
        if (
            not isinstance(tied, bool)
            or not isinstance(eos, list)
            or given.get("activation", self.activation) != self.activation
        ):
            raise refuse("tie_embeddings, eos_token_ids or activation is not what it must be")
        ends = tuple(self.integer(i, 0, V - 1) for i in eos)
        if len(set(ends)) != len(ends):
            raise refuse("an end id appears twice")
        return Config(
            V=V, D=D, N=sizes["num_layers"], H=H,
            F=self.integer(given.get("feed_forward_dim", 4 * D), 1, LARGEST["feed_forward_dim"]),
            C=self.integer(given.get("context_length", 1024), 1, LARGEST["context_length"]),
            epsilon=self.epsilon(given.get(self.epsilon_key, 1e-5)),
            tied=tied, bos=None if bos is None else self.integer(bos, 0, V - 1), eos=ends, seed=seed, sha256=sha256,
            band=self.keys(given, "local_attention_window"),
        )  # fmt: skip

    def keys(self, given: Mapping[str, Any], key: str) -> int | None:
        """A number of keys that a query sees; None for all."""
        value = given.get(key)
        return None if value is None else self.integer(value, 1, LARGEST[key])

    def default_heads(self, D: int) -> int:
        """H where the document leaves it out."""
        return D // 64 if D % 64 == 0 else 1

    def epsilon(self, value: Any) -> float:
        if type(value) not in (int, float) or not 0 < value <= 1:
            raise refuse(f"{self.epsilon_key} must be a number above 0 and up to 1")
        return float(value)

    def weights(self, directory: Path, config: Config) -> Mapping[str, Array]:
        """Named float32 arrays, from model.safetensors."""
        raw = self.read(directory / "model.safetensors")
        if raw is None and config.sha256 is None:
            return {name: seeded(config.seed, name, shape) for name, shape in self.shapes(config).items()}
        if raw is None:
            raise refuse("a digest without its model.safetensors")
        self.digest(raw, config)
        tensors = self.tensors(raw, self.shapes(config))
        for name, array in tensors.items():
            self.finite(name, array)
        return {name: array.astype(np.float32) for name, array in tensors.items()}

    def digest(self, raw: bytes, config: Config) -> None:
        if config.sha256 is not None and hashlib.sha256(raw).hexdigest() != config.sha256:
            raise refuse("model.safetensors has another digest")

    def tensors(self, raw: bytes, due: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """The tensors of a safetensors file, whose bytes must tile the file without gap or overlap."""
        length = struct.unpack("<Q", raw[:8])[0] if len(raw) >= 8 else len(raw)
        if len(raw) < 8 or 8 + length > len(raw) or raw[8:9] != b"{":
            raise refuse("the header does not fit the file")
        header, data = self.parse(raw[8 : 8 + length]), raw[8 + length :]
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise refuse("__metadata__ must map text to text")
        entries = {name: self.entry(name, value) for name, value in header.items()}
        self.names(set(entries), set(due))
        self.tiled(sorted(span for _, _, span in entries.values()), len(data))
        tensors: dict[str, Array] = {}
        for name, (dtype, shape, (begin, end)) in entries.items():
            if name not in due:
                continue
            if shape != due[name]:
                raise refuse(f"{name} has shape {shape}, {due[name]} was due")
            tensors[name] = np.frombuffer(data[begin:end], dtype).reshape(shape)
        return tensors

    def entry(self, name: str, value: Any) -> tuple[np.dtype[Any], tuple[int, ...], tuple[int, int]]:
        """dtype, shape and span of one tensor."""
        try:
            if set(value) != {"dtype", "shape", "data_offsets"}:
                raise ValueError
            dtype = np.dtype(DTYPES[value["dtype"]])
            shape = tuple(self.integer(size, 0, 2**40) for size in value["shape"])
            begin, end = (self.integer(offset, 0, 2**50) for offset in value["data_offsets"])
        except (KeyError, TypeError, ValueError):
            raise refuse(f"{name}: not a tensor entry of a known dtype") from None
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise refuse(f"{name}: its bytes do not hold its shape")
        return dtype, shape, (begin, end)

    def names(self, found: set[str], due: set[str]) -> None:
        if found != due:
            raise refuse(f"tensors missing or not known: {sorted(found ^ due)[:3]}")

    def tiled(self, spans: list[tuple[int, int]], size: int) -> None:
        at = 0
        for begin, end in spans:
            if begin != at:
                raise refuse("tensors overlap or leave a gap")
            at = end
        if at != size:
            raise refuse(f"tensors end at byte {at} of {size}")

    def finite(self, name: str, array: Array) -> None:
        if not np.isfinite(array.astype(np.float64)).all():
            raise refuse(f"{name} holds a value that is not finite")
