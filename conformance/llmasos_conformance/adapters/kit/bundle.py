"""A bundle directory as a value: model.json, model.safetensors and tokenizer.json, judged before anything is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos_conformance.adapters.kit.document import must, parse, read_document
from llmasos_conformance.adapters.kit.tensors import initialise, read_tensors, tensor_shapes
from llmasos_conformance.adapters.kit.text import KitTokenizer
from llmasos_conformance.protocol import Array, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class KitBundle:
    """A valid bundle.

    Attributes:
        config: `architecture`, and `parameters` of model.json with defaults filled in, `decoder_start_token_id` too.
        weights: name -> array; bfloat16 is widened to float32, other dtypes are as stored.
        tokenizer: None if ids have no text.
    """

    config: Mapping[str, Any]
    weights: Mapping[str, Array]
    tokenizer: KitTokenizer | None


def read_bundle(
    path: str, architectures: Sequence[str] = ("GPT-3",), graphs: bool = False, windows: bool = False
) -> KitBundle:
    """Read and judge a bundle.

    Args:
        path: of the directory or of its model.json.
        architectures: those that the adapter runs.
        graphs: the adapter runs model.onnx; where that has the only weights, the bundle has none.
        windows: the adapter runs documents with local_attention_window or sliding_window, and declares `window`.

    Raises:
        Refusal: not_found, invalid_format, unsupported_version, unsupported_architecture, or unsupported for more
            weights than are made from a seed, for weights that are in model.onnx alone, and for windows.
    """
    directory = _directory(path)
    raw = _file(directory / "model.json", 2**20)
    if raw is None:
        raise Refusal("not_found", "no model.json")
    document = parse(raw)
    config = read_document(document)
    expected = tensor_shapes(config)
    stored = _file(directory / "model.safetensors")
    digest = document.get("weights", {}).get("sha256")
    must(stored is not None or digest is None, "weights are stated and absent")
    weights = None if stored is None else read_tensors(stored, digest, expected)
    encoded = _file(directory / "tokenizer.json", 2**27)
    tokenizer = KitTokenizer(config, encoded) if encoded is not None or config["vocab_size"] >= 256 else None
    if config["architecture"] not in architectures:
        what = f"{config['architecture']} is known but does not run here"
        raise Refusal("unsupported_architecture", f"{what}; {_told((*architectures, config['architecture']))}")
    if not windows and any(config.get(name) is not None for name in ("local_attention_window", "sliding_window")):
        raise Refusal("unsupported", f"attention with windows does not run here; {_told('windows=True')}")
    if weights is None and "initialisation" not in document and (directory / "model.onnx").exists():
        if not graphs:
            what = "the weights are in model.onnx alone, which does not run here"
            raise Refusal("unsupported", f"{what}; {_told('graphs=True')}")
        weights = {}
    if weights is None:
        weights = initialise(expected, document.get("initialisation", {}).get("seed", 0))
    return KitBundle(config=config, weights=weights, tokenizer=tokenizer)


def _told(argument: object) -> str:
    """How an adapter says that its engine does run it: who only knows the refusal looks for the fault elsewhere."""
    return f"an adapter whose engine runs it says so: kit.read_bundle(path, {argument})"


def _directory(path: str) -> Path:
    if not isinstance(path, str) or "\0" in path:
        raise Refusal("invalid_argument", "no path")
    place = Path(path)
    if place.is_dir():
        return place
    if not place.exists() and not place.is_symlink():
        raise Refusal("not_found", "nothing at the path")
    must(place.name == "model.json", "neither a directory nor a model.json")
    return place.parent


def _file(path: Path, limit: int | None = None) -> bytes | None:
    """The bytes of a plain file; None if there is nothing of that name. Links lead elsewhere and are refused."""
    if not path.exists() and not path.is_symlink():
        return None
    must(path.is_file() and not path.is_symlink(), f"{path.name} is no plain file")
    must(limit is None or path.stat().st_size <= limit, f"{path.name} is too large")
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refusal("invalid_format", f"{path.name}: {error.strerror}") from None
