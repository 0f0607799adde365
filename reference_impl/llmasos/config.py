"""model.json as a value: every hyper-parameter, its default, its range, and the rules between them.

`schemas/model.schema.json` is the published form of the same rules; the tests hold the two together. What JSON Schema
cannot say is said here only: integers written as 12.0 are refused, `num_heads` divides `embedding_dim`, and token ids
are below `vocab_size`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmasos.errors import InvalidFormat, UnsupportedArchitecture, UnsupportedVersion

FORMAT_MAJOR = "1"
ARCHITECTURES = ("Transformer", "GPT-3", "BERT", "Llama")
"""Names that the format knows. Which of them run is said by `llmasos.architectures`."""

LIMITS: Mapping[str, int] = {
    "vocab_size": 2**24,
    "embedding_dim": 2**16,
    "num_layers": 2**12,
    "num_heads": 2**16,
    "feed_forward_dim": 2**20,
    "context_length": 2**22,
}
"""Largest value of each size: some way above any model, and small enough that products of them stay exact integers."""

MAX_SEED = 2**53 - 1
"""The largest integer that every JSON reader reads exactly."""

_REQUIRED = ("vocab_size", "embedding_dim", "num_layers")
_OPTIONAL = (
    "num_heads",
    "feed_forward_dim",
    "context_length",
    "layer_norm_epsilon",
    "activation",
    "tie_embeddings",
    "bos_token_id",
    "eos_token_ids",
)
_DOCUMENT_KEYS = ("name", "version", "architecture", "parameters", "metadata", "initialisation", "weights")
# MAJOR.MINOR, or semantic versioning 2.0.0.
_VERSION = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)"
    r"(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?)?"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A valid model.json with its defaults filled in.

    Attributes:
        name, version, architecture: as written.
        vocab_size: V. embedding_dim: D. num_layers: N. num_heads: H, a divisor of D. feed_forward_dim: F.
        context_length: most tokens that a sequence may have, prompt and continuation together.
        layer_norm_epsilon: added to the variance.
        activation: of the feed-forward layer; "gelu_tanh".
        tie_embeddings: the head uses the token embedding.
        bos_token_id: starts an empty prompt; None if the model has none.
        eos_token_ids: any of them ends a generation.
        seed: of the weights, when the bundle holds none.
        weights_sha256: digest that model.safetensors must have, lower-case hex; None if not stated.
    """

    name: str
    version: str
    architecture: str
    vocab_size: int
    embedding_dim: int
    num_layers: int
    num_heads: int
    feed_forward_dim: int
    context_length: int = 1024
    layer_norm_epsilon: float = 1e-5
    activation: str = "gelu_tanh"
    tie_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    seed: int = 0
    weights_sha256: str | None = None

    @property
    def head_dim(self) -> int:
        """K, the width of one head."""
        return self.embedding_dim // self.num_heads

    @classmethod
    def from_document(cls, document: object, where: str = "model.json") -> ModelConfig:
        """Check a parsed model.json and fill in the defaults.

        The version is judged before the keys, because another major version may have other keys.

        Args:
            document: what the JSON parser returned.
            where: file name for errors.

        Raises:
            InvalidFormat: a missing, unknown, ill-typed or contradictory value.
            UnsupportedVersion: the major version is not 1.
            UnsupportedArchitecture: the architecture is none of ARCHITECTURES.
        """
        top = _object(document, where)
        version = _version(top, where)
        _closed(top, _DOCUMENT_KEYS, where, 'extras belong under "metadata"')
        name = _text(_member(top, "name", where), f"{where} name")
        architecture = _architecture(top, where)
        if "metadata" in top:
            _object(top["metadata"], f"{where} metadata")
        return cls(
            name=name,
            version=version,
            architecture=architecture,
            seed=_seed(top, where),
            weights_sha256=_digest(top, where),
            **_parameters(_object(_member(top, "parameters", where), f"{where} parameters"), f"{where} parameters"),
        )


def _parameters(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The `parameters` object with its defaults, checked member by member and then across members."""
    _closed(given, (*_REQUIRED, *_OPTIONAL), where, 'extras belong under the top-level "metadata"')
    sizes = {key: _integer(_member(given, key, where), f"{where}.{key}", 1, LIMITS[key]) for key in _REQUIRED}
    D, V = sizes["embedding_dim"], sizes["vocab_size"]
    # Two shapes that most published decoders have: heads of width 64, and a hidden layer four times as wide.
    defaults = {"num_heads": D // 64 if D % 64 == 0 else 1, "feed_forward_dim": 4 * D, "context_length": 1024}
    for key, default in defaults.items():
        sizes[key] = _integer(given.get(key, default), f"{where}.{key}", 1, LIMITS[key])
    if D % sizes["num_heads"]:
        raise InvalidFormat(
            f"{sizes['num_heads']} heads do not divide embedding_dim {D}", f"{where}.num_heads", f"a divisor of {D}"
        )
    bos = given.get("bos_token_id")
    return {
        **sizes,
        "layer_norm_epsilon": _epsilon(given.get("layer_norm_epsilon", 1e-5), f"{where}.layer_norm_epsilon"),
        "activation": _activation(given.get("activation", "gelu_tanh"), f"{where}.activation"),
        "tie_embeddings": _boolean(given.get("tie_embeddings", True), f"{where}.tie_embeddings"),
        "bos_token_id": None if bos is None else _integer(bos, f"{where}.bos_token_id", 0, V - 1),
        "eos_token_ids": _token_ids(given.get("eos_token_ids", []), f"{where}.eos_token_ids", V),
    }


def _found(value: object) -> str:
    """A value as an error shows it: its kind, and itself when short."""
    kinds = {bool: "the boolean", int: "the integer", float: "the number", str: "the text"}
    if value is None:
        return "null"
    if type(value) is int and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    if type(value) in kinds:
        return f"{kinds[type(value)]} {value!r:.60}"
    return "an object" if isinstance(value, Mapping) else "a list"


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidFormat(f"expected an object, found {_found(value)}", where)
    return value


def _member(members: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in members:
        raise InvalidFormat(f"{key!r} is missing", where, f"add {key!r}")
    return members[key]


def _closed(members: Mapping[str, Any], known: tuple[str, ...], where: str, hint: str) -> None:
    unknown = [key for key in members if key not in known]
    if unknown:
        raise InvalidFormat(f"unknown key {unknown[0]!r:.60}", where, hint)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidFormat(f"expected a text that is not empty, found {_found(value)}", where)
    return value


def _integer(value: object, where: str, low: int, high: int) -> int:
    # `type is int`, not isinstance: True is an int to Python, and 12.0 a number that other readers keep as a float.
    if type(value) is not int:
        raise InvalidFormat(f"expected an integer, found {_found(value)}", where, "write it without quotes or fraction")
    if not low <= value <= high:
        raise InvalidFormat(f"expected an integer from {low} to {high}, found {_found(value)}", where)
    return value


def _boolean(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidFormat(f"expected true or false, found {_found(value)}", where)
    return value


def _epsilon(value: object, where: str) -> float:
    if type(value) not in (int, float) or not 0 < value <= 1:  # type: ignore[operator]
        raise InvalidFormat(f"expected a number above 0 and up to 1, found {_found(value)}", where, "1e-5 is usual")
    return float(value)  # type: ignore[arg-type]


def _activation(value: object, where: str) -> str:
    if value != "gelu_tanh":
        raise InvalidFormat(f"expected 'gelu_tanh', found {_found(value)}", where)
    return "gelu_tanh"


def _token_ids(value: object, where: str, vocab_size: int) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise InvalidFormat(f"expected a list of token ids, found {_found(value)}", where)
    ids = tuple(_integer(item, f"{where}[{i}]", 0, vocab_size - 1) for i, item in enumerate(value))
    if len(set(ids)) != len(ids):
        raise InvalidFormat("a token id appears twice", where)
    return ids


def _version(top: Mapping[str, Any], where: str) -> str:
    version = _text(_member(top, "version", where), f"{where} version")
    match = _VERSION.fullmatch(version)
    if match is None:
        raise InvalidFormat(f"{version!r:.60} is no version", f"{where} version", 'write "1.0" or "1.0.0"')
    if match[1] != FORMAT_MAJOR:
        raise UnsupportedVersion(
            f"major version {match[1]:.20} of the format, this package reads {FORMAT_MAJOR}",
            f"{where} version",
            "use a package of that version",
        )
    return version


def _architecture(top: Mapping[str, Any], where: str) -> str:
    architecture = _text(_member(top, "architecture", where), f"{where} architecture")
    if architecture not in ARCHITECTURES:
        raise UnsupportedArchitecture(
            f"unknown architecture {architecture!r:.60}", f"{where} architecture", f"one of {', '.join(ARCHITECTURES)}"
        )
    return architecture


def _seed(top: Mapping[str, Any], where: str) -> int:
    if "initialisation" not in top:
        return 0
    place = f"{where} initialisation"
    members = _object(top["initialisation"], place)
    _closed(members, ("seed",), place, "only seed is known")
    return _integer(_member(members, "seed", place), f"{place}.seed", 0, MAX_SEED)


def _digest(top: Mapping[str, Any], where: str) -> str | None:
    if "weights" not in top:
        return None
    place = f"{where} weights"
    members = _object(top["weights"], place)
    _closed(members, ("sha256",), place, "only sha256 is known")
    digest = _text(_member(members, "sha256", place), f"{place}.sha256")
    if not _SHA256.fullmatch(digest):
        raise InvalidFormat("expected 64 lower-case hexadecimal digits", f"{place}.sha256")
    return digest


def applied_defaults(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the parameters that a valid document leaves to the standard."""
    return tuple(key for key in _OPTIONAL if key not in document["parameters"])
