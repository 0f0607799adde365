"""What an adapter written in Python may lean on: the bundle format, and everything of a model but its logits.

    class Mine(KitModel):
        def forward(self, batch): ...        # one [T, V] array per row; the rest is made from it

    class Adapter:
        def describe(self): ...              # emulated=emulated(): what comes from here is declared
        def load_model(self, path): return Mine(read_bundle(path))

Written apart from the reference, which no adapter may import; property tests hold the two together, so this module is a
second witness of the format's rules. What an adapter takes from here is behaviour of the adapter and not of its
runtime: it is declared in `emulated`, shown in the report and not counted as the runtime's.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmasos_conformance.adapters.tokenfile import TokenFile, whole_characters
from llmasos_conformance.protocol import Array, Generation, Refusal

EMULATED: Mapping[str, str] = {
    "format": "bundles are read and judged by the adapter kit",
    "arguments": "ranges and types of arguments are checked by the adapter kit",
    "generate_text": "the text loop is the adapter kit's",
    "generate_ids": "the decoding loop is the adapter kit's",
    "tokenize": "text is encoded and decoded by the adapter kit",
    "session": "the adapter kit keeps the ids and computes the whole prefix again",
    "batch": "the adapter kit runs the rows one after another",
    "score": "the adapter kit computes log-probabilities from logits",
    "stream": "pieces are cut by the adapter kit",
    "stop": "stop strings are found by the adapter kit",
    "seed": "random numbers are drawn by the adapter kit",
    "top_k": "the filter is the adapter kit's",
    "top_p": "the filter is the adapter kit's",
    "min_p": "the filter is the adapter kit's",
    "logprobs": "the adapter kit computes log-probabilities from logits",
}
"""One sentence for each behaviour that an adapter can take from here."""


def emulated(*native: str) -> dict[str, str]:
    """The sentences to declare.

    Args:
        native: behaviours that the runtime brings itself.
    """
    return {name: sentence for name, sentence in EMULATED.items() if name not in native}


# ── bundles ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_DTYPES: Mapping[str, str] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_ARCHITECTURES = ("Transformer", "GPT-3", "BERT", "Llama")
_SIZES = {"vocab_size": 24, "embedding_dim": 16, "num_layers": 12}
_SIZES_WITH_DEFAULT = {"num_heads": 16, "feed_forward_dim": 20, "context_length": 22}
"""Largest values, as powers of two."""
_OTHERS = ("layer_norm_epsilon", "activation", "tie_embeddings", "bos_token_id", "eos_token_ids")
_NUMBER = r"(?:0|[1-9][0-9]*)"
_WORD = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.{_NUMBER}(?:\.{_NUMBER}(?:-{_WORD}(?:\.{_WORD})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?"
)
_DEEPEST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KitBundle:
    """A valid bundle of the architecture GPT-3.

    Attributes:
        config: `parameters` of model.json with defaults filled in.
        weights: name -> array; bfloat16 is widened to float32, other dtypes are as stored.
        tokenizer: None if ids have no text.
    """

    config: Mapping[str, Any]
    weights: Mapping[str, Array]
    tokenizer: KitTokenizer | None


def read_bundle(path: str) -> KitBundle:
    """Read and judge a bundle.

    Raises:
        Refusal: not_found, invalid_format, unsupported_version, unsupported_architecture, or unsupported for more
            weights than are made from a seed.
    """
    directory = _directory(path)
    raw = _file(directory / "model.json", 2**20)
    if raw is None:
        raise Refusal("not_found", "no model.json")
    document = _json(raw)
    config = _document(document)
    runs = document["architecture"] == "GPT-3"
    expected = tensor_shapes(config) if runs else None
    weights = _weights(directory / "model.safetensors", document.get("weights", {}).get("sha256"), expected)
    encoded = _file(directory / "tokenizer.json", 2**27)
    tokenizer = KitTokenizer(config, encoded) if encoded is not None or config["vocab_size"] >= 256 else None
    if expected is None:
        raise Refusal("unsupported_architecture", f"{document['architecture']} is known but does not run here")
    if weights is None:
        weights = initialise(expected, document.get("initialisation", {}).get("seed", 0))
    return KitBundle(config=config, weights=weights, tokenizer=tokenizer)


def _must(condition: object, what: str) -> None:
    if not condition:
        raise Refusal("invalid_format", what)


def _directory(path: str) -> Path:
    if not isinstance(path, str) or "\0" in path:
        raise Refusal("invalid_argument", "no path")
    place = Path(path)
    if place.is_dir():
        return place
    if not place.exists() and not place.is_symlink():
        raise Refusal("not_found", "nothing at the path")
    _must(place.name == "model.json", "neither a directory nor a model.json")
    return place.parent


def _file(path: Path, limit: int | None = None) -> bytes | None:
    """The bytes of a plain file; None if there is nothing of that name. Links lead elsewhere and are refused."""
    if not path.exists() and not path.is_symlink():
        return None
    _must(path.is_file() and not path.is_symlink(), f"{path.name} is no plain file")
    _must(limit is None or path.stat().st_size <= limit, f"{path.name} is too large")
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refusal("invalid_format", f"{path.name}: {error.strerror}") from None


def _json(raw: bytes) -> Any:
    """JSON without duplicate keys, non-finite numbers, lone surrogates and depth."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _must(len({key for key, _ in pairs}) == len(pairs), "a key appears twice")
        return dict(pairs)

    def number(literal: str) -> float:
        _must(math.isfinite(float(literal)), f"{literal:.40} is not finite")
        return float(literal)

    try:
        text = raw.decode().removeprefix("\ufeff")
        value = json.loads(text, object_pairs_hook=members, parse_float=number, parse_constant=number)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refusal("invalid_format", f"no JSON: {error!s:.200}") from None
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        _must(depth <= _DEEPEST, f"nested deeper than {_DEEPEST}")
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return value


def _closed(value: Any, what: str, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    _must(isinstance(value, dict), f"{what} is no object")
    for name in value:
        _must(name in required or name in optional, f"{what} has an unknown key {name!r:.60}")
    for name in required:
        _must(name in value, f"{what} lacks {name!r}")
    return dict(value)


def _document(document: Any) -> dict[str, Any]:
    """The parameters of a parsed model.json, defaults filled in. The version is judged before what it may change."""
    _must(isinstance(document, dict), "model.json is no object")
    version = document.get("version")
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None:
        raise Refusal("invalid_format", f"version is {version!r:.60}")
    if match[1] != "1":
        raise Refusal("unsupported_version", f"version {version:.60}")
    top = _closed(
        document,
        "model.json",
        ("name", "version", "architecture"),
        ("parameters", "metadata", "initialisation", "weights"),
    )
    for name in ("name", "architecture"):
        _must(isinstance(top[name], str) and top[name], f"{name} is no text")
    if top["architecture"] not in _ARCHITECTURES:
        raise Refusal("unsupported_architecture", f"{top['architecture']!r:.60} is unknown")
    _must(isinstance(top.get("metadata", {}), dict), "metadata is no object")
    if "initialisation" in top:
        seed = _closed(top["initialisation"], "initialisation", ("seed",))["seed"]
        _must(_natural(seed, 0, 2**53 - 1), "seed is no integer that JSON can carry")
    if "weights" in top:
        digest = _closed(top["weights"], "weights", ("sha256",))["sha256"]
        _must(isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest), "sha256 is no digest")
    _must("parameters" in top, "parameters are missing")  # last, because an unknown architecture may have others
    return _parameters(top["parameters"])


def _natural(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _parameters(given: Any) -> dict[str, Any]:
    given = _closed(given, "parameters", tuple(_SIZES), (*_SIZES_WITH_DEFAULT, *_OTHERS))
    for name, bits in {**_SIZES, **_SIZES_WITH_DEFAULT}.items():
        _must(name not in given or _natural(given[name], 1, 2**bits), f"{name} is no integer of 1 … {2**bits}")
    D, V = given["embedding_dim"], given["vocab_size"]
    config: dict[str, Any] = {
        "num_heads": 1 if D % 64 else D // 64,
        "feed_forward_dim": 4 * D,
        "context_length": 1024,
        "layer_norm_epsilon": 1e-5,
        "activation": "gelu_tanh",
        "tie_embeddings": True,
        "bos_token_id": None,
        "eos_token_ids": [],
        **given,
    }
    epsilon, eos, bos = (config[name] for name in ("layer_norm_epsilon", "eos_token_ids", "bos_token_id"))
    _must(D % config["num_heads"] == 0, "num_heads does not divide embedding_dim")
    _must(type(epsilon) in (int, float) and 0 < epsilon <= 1, "layer_norm_epsilon is no number of (0, 1]")
    _must(config["activation"] == "gelu_tanh", "activation is not gelu_tanh")
    _must(isinstance(config["tie_embeddings"], bool), "tie_embeddings is neither true nor false")
    _must(bos is None or _natural(bos, 0, V - 1), "bos_token_id is no id")
    _must(isinstance(eos, list) and all(_natural(token, 0, V - 1) for token in eos), "eos_token_ids holds no id")
    _must(len(set(eos)) == len(eos), "eos_token_ids names an id twice")
    _must(config["feed_forward_dim"] <= 2**20, "feed_forward_dim is too large")
    return {**config, "layer_norm_epsilon": float(epsilon)}  # a document may write 1; runtimes want one type


def tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a GPT-3 bundle."""
    V, D, F = config["vocab_size"], config["embedding_dim"], config["feed_forward_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding": (V, D),
        "position_embedding": (config["context_length"], D),
        "final_norm.weight": (D,),
        "final_norm.bias": (D,),
    }
    if not config["tie_embeddings"]:
        shapes["head.weight"] = (V, D)
    linear = {f"attention.{part}": (D, D) for part in ("query", "key", "value", "output")}
    linear |= {"feed_forward.up": (D, F), "feed_forward.down": (F, D)}
    for layer in range(config["num_layers"]):
        for part, shape in linear.items():
            shapes[f"layers.{layer}.{part}.weight"] = shape
            shapes[f"layers.{layer}.{part}.bias"] = shape[1:]
        for part in ("attention_norm", "feed_forward_norm"):
            shapes[f"layers.{layer}.{part}.weight"] = shapes[f"layers.{layer}.{part}.bias"] = (D,)
    return shapes


def _weights(path: Path, digest: str | None, expected: Mapping[str, tuple[int, ...]] | None) -> dict[str, Array] | None:
    """The tensors of a safetensors file; None if there is no file and none was promised."""
    raw = _file(path)
    if raw is None:
        _must(digest is None, "weights are stated and absent")
        return None
    _must(digest in (None, hashlib.sha256(raw).hexdigest()), "weights have another digest")
    _must(len(raw) >= 8, "too short for safetensors")
    size = int.from_bytes(raw[:8], "little")
    start = 8 + size
    _must(size <= 10**8 and start <= len(raw) and raw[8:9] == b"{", "no header of safetensors")
    header = _json(raw[8:start])
    notes = header.pop("__metadata__", {})
    _must(
        isinstance(notes, dict) and all(isinstance(note, str) for note in notes.values()), "__metadata__ is not texts"
    )
    tensors: dict[str, Array] = {}
    spans: list[tuple[int, int]] = []
    for name, value in header.items():
        entry = _closed(value, f"{name:.80}", ("dtype", "shape", "data_offsets"))
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        _must(isinstance(dtype, str) and dtype in _DTYPES, f"dtype of {name:.80} is {dtype!r:.40}")
        lists = isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2
        _must(lists and all(_natural(n, 0, 2**63) for n in (*shape, *offsets)), f"{name:.80} is no tensor")
        _must(expected is None or expected.get(name) == tuple(shape), f"{name:.80} is unknown or of another shape")
        begin, end = offsets
        needed = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        _must(end - begin == needed and end <= len(raw) - start, f"{name:.80} does not span its bytes")
        spans.append((begin, end))
        flat = np.frombuffer(raw[start + begin : start + end], dtype=_DTYPES[dtype])
        tensors[name] = _widened(flat, dtype).reshape(shape)
        _must(np.all(np.isfinite(tensors[name])), f"{name:.80} holds NaN or infinity")
    ends = [0, *(end for _, end in sorted(spans))]
    _must([begin for begin, _ in sorted(spans)] == ends[:-1] and ends[-1] == len(raw) - start, "tensors do not tile")
    _must(expected is None or tensors.keys() == expected.keys(), "a tensor is missing")
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
    total = z.view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64) - 131070
    # Eight significant bits: the spacing at |total| in [2^(e-1), 2^e) is 2^(e-8); half to even.
    spacing = np.exp2(np.frexp(total.astype(np.float64))[1] - 8.0)
    values: Array = (np.rint(total / spacing) * spacing * 2.0**-21).astype(np.float32)
    return values.reshape(shape)


class KitTokenizer:
    """Bytes, or a tokenizer.json.

    Attributes:
        text_ids: ids with text; neither special, nor bos, nor eos.
    """

    def __init__(self, config: Mapping[str, Any], raw: bytes | None) -> None:
        self._file = None if raw is None else TokenFile(_json(raw), config["vocab_size"])
        ids = set(range(256)) if self._file is None else self._file.ids - self._file.special
        self.text_ids = frozenset(ids - {config["bos_token_id"], *config["eos_token_ids"]})

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of a text.

        Raises:
            Refusal: invalid_argument for a lone surrogate, which no text of Unicode holds.
        """
        try:
            raw = text.encode()
        except UnicodeEncodeError:
            raise Refusal("invalid_argument", "the text holds a lone surrogate") from None
        return list(raw) if self._file is None else self._file.encode(text, allow_special)

    def decode(self, ids: Sequence[int], *, unfinished: bool = False) -> str:
        """Text of ids; if more ids will follow, as much of it as they cannot change."""
        if self._file is not None:
            return self._file.decode(ids, unfinished=unfinished)
        raw = bytes(token for token in ids if token < 256)
        return whole_characters(raw, unfinished=unfinished)


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of a generation, checked."""

    max_length: int
    temperature: float
    seed: int | None = None
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    allow_special: bool = False

    @property
    def greedy(self) -> bool:
        """Nothing but the likeliest token is asked for: no chance, no stop strings, no log-probabilities."""
        return self.temperature == 0 and not self.stop and self.logprobs is None


def check_request(config: Mapping[str, Any], max_length: Any, temperature: Any, options: Mapping[str, Any]) -> Request:
    """Judge the arguments of a generation.

    Raises:
        Refusal: invalid_argument or unknown_parameter.
    """
    known = [name for name in Request.__dataclass_fields__ if name not in ("max_length", "temperature")]
    for name in options:
        if name not in known:
            raise Refusal("unknown_parameter", f"unknown option {name!r:.60}; known: {', '.join(known)}")
    given = {name: value for name, value in options.items() if value is not None or name not in ("seed", "logprobs")}
    stop = given.get("stop", ())
    stops = (stop,) if isinstance(stop, str) else stop
    _allow(isinstance(stops, list | tuple) and all(isinstance(s, str) and s for s in stops), "stop", stop)
    _allow(isinstance(given.get("allow_special", False), bool), "allow_special", given.get("allow_special"))
    ranges = {"max_length": (0, math.inf), "seed": (0, 2**64 - 1), "top_k": (0, math.inf)}
    ranges["logprobs"] = (0, config["vocab_size"])
    values = {"max_length": max_length, "temperature": temperature, **given}
    for name, (low, high) in ranges.items():
        if name in values:
            value = values[name]
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            _allow(whole and low <= value <= high, name, value)
    for name, most in {"temperature": math.inf, "top_p": 1, "min_p": 1}.items():
        if name in values:
            value = values[name]
            real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            _allow(
                real and 0 <= value <= most and value <= sys.float_info.max and not (name == "top_p" and value == 0),
                name,
                value,
            )
    return Request(**{**values, "stop": tuple(stops)})


def _allow(condition: bool, name: str, value: Any) -> None:
    if not condition:
        raise Refusal("invalid_argument", f"{name} is {value!r:.60}")


def check_ids(config: Mapping[str, Any], ids: Sequence[int], held: int = 0) -> list[int]:
    """Ids for a model: at least one, each of the vocabulary, no more than the context.

    Args:
        held: ids that the context holds already.

    Raises:
        Refusal: invalid_argument or context_overflow.
    """
    checked = known_ids(config, ids)
    _allow(bool(checked), "ids", "empty")
    if held + len(checked) > config["context_length"]:
        raise Refusal("context_overflow", f"{held + len(checked)} tokens, the context holds {config['context_length']}")
    return checked


def known_ids(config: Mapping[str, Any], ids: Sequence[int]) -> list[int]:
    """Ids of the vocabulary.

    Raises:
        Refusal: invalid_argument.
    """
    for i, token in enumerate(ids):
        whole = isinstance(token, int | np.integer) and not isinstance(token, bool)
        _allow(whole and 0 <= token < config["vocab_size"], f"ids[{i}]", token)
    return [int(token) for token in ids]


# ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def log_law(logits: Array) -> Array:
    """Natural-log probabilities of unmodified logits, float64."""
    z = np.asarray(logits, dtype=np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))


def choose(logits: Array, request: Request, allowed: Array | None, random: np.random.Generator) -> int:
    """The next id: temperature, top-k, top-p, min-p, in this order; ties to the lowest id.

    Args:
        logits: [V]. allowed: [V] True for ids that may be chosen; None allows all.

    Raises:
        Refusal: unsupported, when logits are not finite.
    """
    z = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(z).all():
        raise Refusal("unsupported", "logits are not finite")
    z = z if allowed is None else np.where(allowed, z, -np.inf)
    if request.temperature == 0:
        return int(z.argmax())
    with np.errstate(over="ignore"):
        p = np.exp((z - z.max()) / request.temperature)
    ranked = np.argsort(-p, kind="stable")[: request.top_k or None]
    p = p[ranked] / p[ranked].sum()
    before = np.concatenate([[0.0], np.cumsum(p)[:-1]])  # mass of what is likelier
    p[(before >= request.top_p) & (request.top_p < 1)] = 0.0
    p[p < request.min_p * p[0]] = 0.0
    return int(ranked[np.searchsorted(np.cumsum(p), random.random() * p.sum(), side="right")])


def top_logprobs(logits: Array, chosen: int, count: int) -> dict[int, float]:
    """Raw log-probabilities of the likeliest ids and of the chosen one."""
    law = log_law(logits)
    return {int(token): float(law[token]) for token in (*np.argsort(-law, kind="stable")[:count], chosen)}


class KitModel:
    """A model object of the protocol, made from `forward` alone. Whatever a runtime does itself is overridden.

    Args:
        bundle: from `read_bundle`.
    """

    def __init__(self, bundle: KitBundle) -> None:
        self.config, self.tokenizer = bundle.config, bundle.tokenizer

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Array]:
        """Logits [T, V] of every row; the runtime's own."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def open(self, ids: Sequence[int]) -> Any:
        """A session with logits, extend, fork and close."""
        return PrefixSession(self, ids)

    def score(self, ids: Sequence[int]) -> list[float | None]:
        law = log_law(self.forward([check_ids(self.config, ids)])[0][:-1])
        return [None, *(float(row[token]) for row, token in zip(law, ids[1:], strict=True))]

    def tokenize(self, text: str, allow_special: bool = False) -> list[int]:
        _allow(isinstance(allow_special, bool), "allow_special", allow_special)
        return self._text().encode(text, allow_special)

    def detokenize(self, ids: Sequence[int]) -> str:
        return self._text().decode(known_ids(self.config, ids))

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Generation:
        *_, last = self.stream_text(prompt, max_length, temperature, **options)
        assert isinstance(last, Generation)
        return last

    def generate_ids(
        self, ids: Sequence[int], max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Generation:
        request = check_request(self.config, max_length, temperature, options)
        *_, last = self.stream(self.prompt(ids), request)
        assert isinstance(last, Generation)
        return last

    def generate_batch(
        self, batch: Sequence[Sequence[int]], max_length: int = 100, temperature: float = 0.0, **options: Any
    ) -> list[Generation]:
        return [self.generate_ids(row, max_length, temperature, **options) for row in batch]

    def stream_text(
        self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any
    ) -> Iterator[str | Generation]:
        request = check_request(self.config, max_length, temperature, options)
        ids = self.prompt(self._text().encode(prompt, request.allow_special))
        return self.stream(ids, request, self.allowed())

    def prompt(self, ids: Sequence[int]) -> list[int]:
        """The ids that a generation starts from: those given, or BOS for none."""
        bos = self.config["bos_token_id"]
        return check_ids(self.config, [bos] if len(ids) == 0 and bos is not None else ids)

    def limit(self, prompt: Sequence[int], request: Request) -> int:
        """Most new ids that request and context leave."""
        return min(request.max_length, int(self.config["context_length"]) - len(prompt))

    def allowed(self) -> Array:
        """[V] True for ids that may continue a text: those with text, and those that end it."""
        mask = np.zeros(self.config["vocab_size"], dtype=bool)
        mask[sorted(self._text().text_ids | set(self.config["eos_token_ids"]))] = True
        return mask

    def generation(
        self,
        prompt: Sequence[int],
        ids: Sequence[int],
        *,
        text: str | None = None,
        stopped: bool = False,
        laws: Any = None,
    ) -> Generation:
        """New ids as a Generation; `text` None decodes them, `stopped` says that a stop string ended them."""
        eos = self.config["eos_token_ids"]
        if text is None and self.tokenizer is not None:
            text = self.tokenizer.decode([token for token in ids if token not in eos])
        ended = stopped or (bool(ids) and ids[-1] in eos)
        return Generation(
            finish_reason="stop" if ended else "length",
            text=text,
            ids=list(ids),
            prompt_tokens=len(prompt),
            completion_tokens=len(ids),
            logprobs=laws,
        )

    def stream(
        self, prompt: Sequence[int], request: Request, allowed: Array | None = None
    ) -> Iterator[str | Generation]:
        """Pieces of text, then the Generation. A piece never ends in half a character or half a stop string."""
        if request.stop:
            self._text()
        seed = secrets.randbits(64) if request.seed is None else int(request.seed)
        random = np.random.Generator(np.random.Philox(key=seed))
        ids: list[int] = []
        laws: list[dict[int, float]] = []
        sent = text = ""
        session: Any = None
        done = stopped = False
        limit = self.limit(prompt, request)
        while len(ids) < limit and not done:
            session = self._advanced(session, prompt if session is None else ids[-1:])
            logits = session.logits[-1]
            ids.append(choose(logits, request, allowed, random))
            if request.logprobs is not None:
                laws.append(top_logprobs(logits, ids[-1], request.logprobs))
            done = len(ids) == limit or ids[-1] in self.config["eos_token_ids"]
            if self.tokenizer is None:
                continue
            shown = [token for token in ids if token not in self.config["eos_token_ids"]]
            text = settled = self.tokenizer.decode(shown, unfinished=not done)
            found = [at for at in map(settled.find, request.stop) if at >= 0]
            if found:
                done, stopped, text = True, True, settled[: min(found)]
            ready = text if done else settled[: len(settled) - _held_back(settled, request.stop)]
            if len(ready) > len(sent):
                yield ready[len(sent) :]
                sent = ready
        if session is not None:
            session.close()
        told = None if self.tokenizer is None else text
        laws_or_none = laws if request.logprobs is not None else None
        yield self.generation(prompt, ids, text=told, stopped=stopped, laws=laws_or_none)

    def _advanced(self, session: Any, ids: Sequence[int]) -> Any:
        if session is None:
            return self.open(ids)
        session.extend(ids)
        return session

    def _text(self) -> KitTokenizer:
        if self.tokenizer is None:
            raise Refusal("unsupported", "the model has no tokenizer")
        return self.tokenizer


def _held_back(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of a text that begins a stop string."""
    ends = [n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])]
    return max(ends, default=0)


class PrefixSession:
    """A session without a cache: the whole prefix is computed again. Right, and slow."""

    def __init__(self, model: KitModel, ids: Sequence[int]) -> None:
        self._model, self._ids, self._open = model, list[int](), True
        self.logits = self.extend(ids)

    def extend(self, ids: Sequence[int]) -> Array:
        if not self._open:
            raise Refusal("invalid_argument", "the session is closed")
        new = check_ids(self._model.config, ids, held=len(self._ids))
        self.logits = self._model.forward([[*self._ids, *new]])[0][-len(new) :]
        self._ids += new
        return self.logits

    def fork(self) -> PrefixSession:
        if not self._open:
            raise Refusal("invalid_argument", "the session is closed")
        twin = object.__new__(PrefixSession)
        twin._model, twin._ids, twin._open, twin.logits = self._model, list(self._ids), True, self.logits
        return twin

    def close(self) -> None:
        self._open = False
