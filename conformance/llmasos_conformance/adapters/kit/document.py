"""model.json: strict JSON, what the document of each architecture may hold, defaults, and rules between members."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmasos_conformance.protocol import ARCHITECTURES, Refusal

_NUMBER = r"(?:0|[1-9][0-9]*)"
_WORD = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.{_NUMBER}(?:\.{_NUMBER}(?:-{_WORD}(?:\.{_WORD})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?"
)
_DEEPEST = 64


def must(condition: object, what: str) -> None:
    """Refuse a bundle with invalid_format unless the condition holds."""
    if not condition:
        raise Refusal("invalid_format", what)


def parse(raw: bytes) -> Any:
    """JSON without duplicate keys, non-finite numbers, lone surrogates and depth.

    Raises:
        Refusal: invalid_format.
    """

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        must(len({key for key, _ in pairs}) == len(pairs), "a key appears twice")
        return dict(pairs)

    def number(literal: str) -> float:
        must(math.isfinite(float(literal)), f"{literal:.40} is not finite")
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
        must(depth <= _DEEPEST, f"nested deeper than {_DEEPEST}")
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return value


def natural(value: Any, low: int, high: int) -> bool:
    """Whether a value is an integer of low … high; true and 1.0 are none."""
    return type(value) is int and low <= value <= high


def closed(value: Any, what: str, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    """An object with all of the required members and none beside the optional ones.

    Raises:
        Refusal: invalid_format.
    """
    must(isinstance(value, dict), f"{what} is no object")
    for name in value:
        must(name in required or name in optional, f"{what} has an unknown key {name!r:.60}")
    for name in required:
        must(name in value, f"{what} lacks {name!r}")
    return dict(value)


def read_document(document: Any) -> dict[str, Any]:
    """Architecture and parameters of a parsed model.json, defaults filled in.

    The version is judged before what it may change, and the architecture before its parameters.

    Raises:
        Refusal: invalid_format, unsupported_version or unsupported_architecture.
    """
    must(isinstance(document, dict), "model.json is no object")
    version = document.get("version")
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None:
        raise Refusal("invalid_format", f"version is {version!r:.60}")
    if match[1] != "1":
        raise Refusal("unsupported_version", f"version {version:.60}")
    top = closed(
        document,
        "model.json",
        ("name", "version", "architecture"),
        ("parameters", "metadata", "initialisation", "weights"),
    )
    for name in ("name", "architecture"):
        must(isinstance(top[name], str) and top[name], f"{name} is no text")
    if top["architecture"] not in ARCHITECTURES:
        raise Refusal("unsupported_architecture", f"{top['architecture']!r:.60} is unknown")
    must(isinstance(top.get("metadata", {}), dict), "metadata is no object")
    if "initialisation" in top:
        seed = closed(top["initialisation"], "initialisation", ("seed",))["seed"]
        must(natural(seed, 0, 2**53 - 1), "seed is no integer that JSON can carry")
    if "weights" in top:
        digest = closed(top["weights"], "weights", ("sha256",))["sha256"]
        must(isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest), "sha256 is no digest")
    must("parameters" in top, "parameters are missing")  # last, because an unknown architecture may have others
    return _parameters(top["architecture"], top["parameters"])


# ── parameters ──────────────────────────────────────────────────────────────────────────────────────────────────────

Allows = Callable[[Any, int], bool]
"""Whether a parameter may have a value, in a model of so many ids."""


@dataclass(frozen=True, slots=True)
class _Parameter:
    """What a parameter may be, in words and as a rule, and what it is when the document leaves it out.

    Attributes:
        default: the value, or what makes it of the parameters before this one.
    """

    what: str
    allows: Allows
    default: Any = None

    def absent(self, config: Mapping[str, Any]) -> Any:
        return self.default(config) if callable(self.default) else self.default


def _size(bits: int, default: Any = None, null: bool = False) -> _Parameter:
    """An integer from 1 to a power of two."""

    def allows(value: Any, V: int) -> bool:
        return natural(value, 1, 2**bits) or (null and value is None)

    return _Parameter(f"an integer of 1 … {2**bits}" + " or null" * null, allows, default)


def _above_zero(most: float, default: float) -> _Parameter:
    def allows(value: Any, V: int) -> bool:
        return type(value) in (int, float) and 0 < value <= most

    return _Parameter(f"a number of (0, {most:g}]", allows, default)


def _flag(default: bool) -> _Parameter:
    return _Parameter("true or false", lambda value, V: isinstance(value, bool), default)


def _word(*words: str) -> _Parameter:
    """One of some words, the first by default."""
    return _Parameter(" or ".join(words), lambda value, V: isinstance(value, str) and value in words, words[0])


def _ids(value: Any, V: int) -> bool:
    return (
        isinstance(value, list) and all(natural(token, 0, V - 1) for token in value) and len(set(value)) == len(value)
    )


_ID = _Parameter("an id of the vocabulary or null", lambda value, V: value is None or natural(value, 0, V - 1))
_SIZES = {"vocab_size": _size(24), "embedding_dim": _size(16), "num_layers": _size(12)}


def _common(context: int, *activations: str) -> dict[str, _Parameter]:
    """The parameters that all architectures have and no document must."""
    return {
        "num_heads": _size(
            16, lambda config: config["embedding_dim"] // 64 if config["embedding_dim"] % 64 == 0 else 1
        ),
        "feed_forward_dim": _size(20, lambda config: 4 * config["embedding_dim"]),
        "context_length": _size(22, context),
        "activation": _word(*activations),
        "tie_embeddings": _flag(True),
        "bos_token_id": _ID,
        "eos_token_ids": _Parameter("a list of ids, none twice", _ids, lambda config: []),
    }


_OPTIONAL: Mapping[str, Mapping[str, _Parameter]] = {
    "GPT-3": {
        **_common(1024, "gelu_tanh"),
        "layer_norm_epsilon": _above_zero(1, 1e-5),
        "local_attention_window": _size(22, null=True),
    },
    "Llama": {
        **_common(1024, "silu"),
        "rms_norm_epsilon": _above_zero(1, 1e-5),
        "num_key_value_heads": _size(16, lambda config: config["num_heads"]),
        "rope_theta": _above_zero(1e12, 1e4),
        "sliding_window": _size(22, null=True),
    },
    "BERT": {
        **_common(512, "gelu", "gelu_tanh", "relu"),
        "layer_norm_epsilon": _above_zero(1, 1e-12),
        "type_vocab_size": _size(16, 2),
        "mask_token_id": _ID,
    },
    "Transformer": {
        **_common(1024, "relu", "gelu", "gelu_tanh", "silu"),
        "layer_norm_epsilon": _above_zero(1, 1e-5),
        "num_decoder_layers": _size(12, lambda config: config["num_layers"]),
        "positions": _word("sinusoidal", "learned"),
        "scale_embeddings": _flag(True),
        "embedding_norm": _flag(False),
        "decoder_start_token_id": _ID,
    },
}


def _parameters(architecture: str, given: Any) -> dict[str, Any]:
    """The parameters of a document, member by member and then across members."""
    optional = _OPTIONAL[architecture]
    given = closed(given, "parameters", tuple(_SIZES), tuple(optional))
    config: dict[str, Any] = {"architecture": architecture}
    for name, parameter in {**_SIZES, **optional}.items():
        # What a default makes of other members is held to the same range: four times a large width is too large.
        value = given[name] if name in given else parameter.absent(config)
        must(parameter.allows(value, config.get("vocab_size", 0)), f"{name} is not {parameter.what}: {value!r:.60}")
        # A document may write 1 where another writes 1.0; runtimes want one type.
        config[name] = float(value) if name in ("layer_norm_epsilon", "rms_norm_epsilon", "rope_theta") else value
    heads, width = config["num_heads"], config["embedding_dim"]
    must(width % heads == 0, f"{heads} heads do not divide embedding_dim {width}")
    if architecture == "Llama":
        must(width // heads % 2 == 0, f"heads of width {width // heads} have no pairs to rotate")
        groups = config["num_key_value_heads"]
        must(heads % groups == 0, f"{groups} key-value heads do not divide {heads} heads")
    if architecture == "Transformer" and config["decoder_start_token_id"] is None:
        config["decoder_start_token_id"] = config["bos_token_id"] or 0
    return config
