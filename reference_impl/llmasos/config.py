"""model.json as a value: every hyper-parameter, its default, its range, and the rules between them.

`schemas/model.schema.json` is the published form of the same rules; the tests hold the two together. What JSON Schema
cannot say is said here only: integers written as 12.0 are refused, `num_heads` divides `embedding_dim`,
`num_key_value_heads` divides `num_heads`, Llama's heads have an even width, and token ids are below `vocab_size`.
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
    "num_decoder_layers": 2**12,
    "num_key_value_heads": 2**16,
    "type_vocab_size": 2**16,
    "local_attention_window": 2**22,
    "sliding_window": 2**22,
}
"""Largest value of each size: some way above any model, and small enough that products of them stay exact integers."""

MAX_ROPE_THETA = 1e12
"""Largest rotary base; the largest in use is below 1e8."""

MAX_SEED = 2**53 - 1
"""The largest integer that every JSON reader reads exactly."""

_REQUIRED = ("vocab_size", "embedding_dim", "num_layers")
_COMMON = (
    "num_heads",
    "feed_forward_dim",
    "context_length",
    "activation",
    "tie_embeddings",
    "bos_token_id",
    "eos_token_ids",
)
_OWN: Mapping[str, tuple[str, ...]] = {
    "GPT-3": ("layer_norm_epsilon", "local_attention_window"),
    "Llama": ("rms_norm_epsilon", "num_key_value_heads", "rope_theta", "sliding_window"),
    "BERT": ("layer_norm_epsilon", "type_vocab_size", "mask_token_id"),
    "Transformer": (
        "layer_norm_epsilon",
        "num_decoder_layers",
        "positions",
        "scale_embeddings",
        "embedding_norm",
        "decoder_start_token_id",
    ),
}
"""Optional parameters of one architecture beside those of all."""

ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "GPT-3": ("gelu_tanh",),
    "Llama": ("silu",),
    "BERT": ("gelu", "gelu_tanh", "relu"),
    "Transformer": ("relu", "gelu", "gelu_tanh", "silu"),
}
"""Activations of the feed-forward by architecture; the first is the default."""

POSITIONS = ("sinusoidal", "learned")

_LAYER_NORM_EPSILON: Mapping[str, float] = {"BERT": 1e-12}
_CONTEXT: Mapping[str, int] = {"BERT": 512}
"""Defaults of published models where they are not those of the others, 1e-5 and 1024."""

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
        context_length: most tokens that a sequence may have, prompt and continuation together; of a Transformer, most
            tokens of the source and most of the target.
        layer_norm_epsilon, rms_norm_epsilon: added to the variance, or to the mean square.
        activation: of the feed-forward layer, one of ACTIVATIONS.
        tie_embeddings: the head uses the token embedding.
        bos_token_id: starts an empty prompt; None if the model has none.
        eos_token_ids: any of them ends a generation.
        local_attention_window: of GPT-3, keys that a query of every second layer sees, its own included; None: all.
        num_key_value_heads: G, a divisor of H; each is shared by H/G query heads.
        rope_theta: base of the rotary frequencies.
        sliding_window: of Llama, keys that a query of any layer sees, its own included; None: all.
        type_vocab_size: number of token types. mask_token_id: the id that BERT fills; None if the model has none.
        num_decoder_layers: layers of the decoder, when there are two stacks.
        positions: "sinusoidal" or "learned". scale_embeddings: token embeddings are multiplied by sqrt(D).
        embedding_norm: a norm follows the embeddings. decoder_start_token_id: the decoder's first token.
        seed: of the weights, when the bundle holds none.
        weights_sha256: digest that model.safetensors must have, lower-case hex; None if not stated.

    A parameter that the architecture does not have keeps the value below and means nothing.
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
    local_attention_window: int | None = None
    rms_norm_epsilon: float = 1e-5
    num_key_value_heads: int = 1
    rope_theta: float = 10000.0
    sliding_window: int | None = None
    type_vocab_size: int = 2
    mask_token_id: int | None = None
    num_decoder_layers: int = 1
    positions: str = "sinusoidal"
    scale_embeddings: bool = True
    embedding_norm: bool = False
    decoder_start_token_id: int = 0
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
            **_parameters(
                architecture, _object(_member(top, "parameters", where), f"{where} parameters"), f"{where} parameters"
            ),
        )


def _parameters(architecture: str, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The `parameters` object with its defaults, checked member by member and then across members."""
    _closed(given, parameters_of(architecture), where, 'extras belong under the top-level "metadata"')
    sizes = {key: _integer(_member(given, key, where), f"{where}.{key}", 1, LIMITS[key]) for key in _REQUIRED}
    D, V = sizes["embedding_dim"], sizes["vocab_size"]
    # Two shapes that most published models have: heads of width 64, and a hidden layer four times as wide.
    defaults = {
        "num_heads": D // 64 if D % 64 == 0 else 1,
        "feed_forward_dim": 4 * D,
        "context_length": _CONTEXT.get(architecture, 1024),
    }
    for key, default in defaults.items():
        sizes[key] = _integer(given.get(key, default), f"{where}.{key}", 1, LIMITS[key])
    H = sizes["num_heads"]
    if D % H:
        raise InvalidFormat(f"{H} heads do not divide embedding_dim {D}", f"{where}.num_heads", f"a divisor of {D}")
    read = _Reader(given, where, V)
    return {
        **sizes,
        "activation": read.one_of("activation", ACTIVATIONS[architecture]),
        "tie_embeddings": read.boolean("tie_embeddings", True),
        "bos_token_id": read.token("bos_token_id"),
        "eos_token_ids": _token_ids(given.get("eos_token_ids", []), f"{where}.eos_token_ids", V),
        **_OWN_READERS[architecture](read, sizes),
    }


def parameters_of(architecture: str) -> tuple[str, ...]:
    """Names of all parameters that a document of the architecture may hold, required ones first."""
    return (*_REQUIRED, *_COMMON, *_OWN[architecture])


@dataclass(frozen=True, slots=True)
class _Reader:
    """Members of `parameters` by kind, each with its default. V: vocab_size."""

    given: Mapping[str, Any]
    where: str
    V: int

    def size(self, key: str, default: int) -> int:
        return _integer(self.given.get(key, default), f"{self.where}.{key}", 1, LIMITS[key])

    def size_or_null(self, key: str) -> int | None:
        return None if self.given.get(key) is None else self.size(key, 1)

    def token(self, key: str) -> int | None:
        value = self.given.get(key)
        return None if value is None else _integer(value, f"{self.where}.{key}", 0, self.V - 1)

    def boolean(self, key: str, default: bool) -> bool:
        return _boolean(self.given.get(key, default), f"{self.where}.{key}")

    def number(self, key: str, default: float, high: float) -> float:
        return _positive(self.given.get(key, default), f"{self.where}.{key}", high)

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value = self.given.get(key, known[0])
        if value not in known:
            expected = " or ".join(map(repr, known))
            raise InvalidFormat(f"expected {expected}, found {_found(value)}", f"{self.where}.{key}")
        return str(value)


def _gpt3(read: _Reader, sizes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "layer_norm_epsilon": read.number("layer_norm_epsilon", 1e-5, 1),
        "local_attention_window": read.size_or_null("local_attention_window"),
    }


def _llama(read: _Reader, sizes: Mapping[str, int]) -> dict[str, Any]:
    D, H = sizes["embedding_dim"], sizes["num_heads"]
    if D // H % 2:
        hint = f"a divisor of {D} that leaves heads of even width"
        raise InvalidFormat(
            f"heads of width {D // H} cannot be rotated in pairs: an odd width", f"{read.where}.num_heads", hint
        )
    G = read.size("num_key_value_heads", H)
    if H % G:
        where = f"{read.where}.num_key_value_heads"
        raise InvalidFormat(f"{G} key-value heads do not divide num_heads {H}", where, f"a divisor of {H}")
    return {
        "rms_norm_epsilon": read.number("rms_norm_epsilon", 1e-5, 1),
        "num_key_value_heads": G,
        "rope_theta": read.number("rope_theta", 10000.0, MAX_ROPE_THETA),
        "sliding_window": read.size_or_null("sliding_window"),
    }


def _bert(read: _Reader, sizes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "layer_norm_epsilon": read.number("layer_norm_epsilon", _LAYER_NORM_EPSILON["BERT"], 1),
        "type_vocab_size": read.size("type_vocab_size", 2),
        "mask_token_id": read.token("mask_token_id"),
    }


def _transformer(read: _Reader, sizes: Mapping[str, int]) -> dict[str, Any]:
    start = read.token("decoder_start_token_id")
    bos = read.token("bos_token_id")
    return {
        "layer_norm_epsilon": read.number("layer_norm_epsilon", 1e-5, 1),
        "num_decoder_layers": read.size("num_decoder_layers", sizes["num_layers"]),
        "positions": read.one_of("positions", POSITIONS),
        "scale_embeddings": read.boolean("scale_embeddings", True),
        "embedding_norm": read.boolean("embedding_norm", False),
        # A document of three keys must run, and a decoder needs a token to start from.
        "decoder_start_token_id": start if start is not None else bos if bos is not None else 0,
    }


_OWN_READERS = {"GPT-3": _gpt3, "Llama": _llama, "BERT": _bert, "Transformer": _transformer}


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


def _positive(value: object, where: str, high: float) -> float:
    if type(value) not in (int, float) or not 0 < value <= high:  # type: ignore[operator]
        raise InvalidFormat(f"expected a number above 0 and up to {high:g}, found {_found(value)}", where)
    return float(value)  # type: ignore[arg-type]


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
    optional = parameters_of(document["architecture"])[len(_REQUIRED) :]
    return tuple(key for key in optional if key not in document["parameters"])
