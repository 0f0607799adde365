"""A model directory as a value, and back.

    model.json          required; see `config`
    model.safetensors   optional; without it the weights come from the seed
    tokenizer.json      optional; without it text is bytes
    model.onnx          optional; for others to run, see `tools.export`. Only whether it is there is looked at: where no
                        weights and no seed stand beside it, the bundle does not run here

These are read and nothing else: links are refused, other files (pickled weights among them) are never opened, and
nothing in a bundle is executed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from llmasos import strictjson, weights
from llmasos.config import ModelConfig
from llmasos.errors import InvalidArgument, InvalidFormat, NotFound, Unsupported
from llmasos.ops import Array
from llmasos.tokenizer import Tokenizer, open_tokenizer

MODEL, WEIGHTS, TOKENIZER, ONNX = "model.json", "model.safetensors", "tokenizer.json", "model.onnx"
MAX_DOCUMENT = 2**20
"""Bytes of model.json."""
MAX_TOKENIZER = 2**27
"""Bytes of tokenizer.json; the largest in use have about a quarter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A valid bundle.

    Attributes:
        document: model.json as written.
        config: model.json with its defaults.
        weights: name -> array in the stored dtype; None if the bundle holds no weights.
        tokenizer: of the file or of bytes; None if ids have no text.
    """

    document: Mapping[str, Any]
    config: ModelConfig
    weights: Mapping[str, Array] | None
    tokenizer: Tokenizer | None


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read and judge a bundle.

    Args:
        path: the bundle's directory, or its model.json.

    Raises:
        NotFound: nothing at the path, or a directory without model.json.
        InvalidFormat: the format forbids what is there.
        UnsupportedVersion: another major version of the format.
        UnsupportedArchitecture: an architecture that the format does not know.
        Unsupported: the weights are in model.onnx alone.
    """
    directory = directory_of(path)
    raw = read_file(directory / MODEL, MAX_DOCUMENT)
    if raw is None:
        raise NotFound(f"{directory} holds no {MODEL}", "path", "give the bundle's directory or its model.json")
    document = strictjson.parse(raw, MODEL)
    config = ModelConfig.from_document(document, MODEL)
    tensors = _read_weights(directory / WEIGHTS, config)
    if tensors is None and "initialisation" not in document and (directory / ONNX).exists():
        what = f"the weights are in {ONNX} alone, which does not run here"
        raise Unsupported(what, WEIGHTS, f"add {WEIGHTS}, or initialisation to {MODEL} if a seed gives them")
    return Bundle(
        document=document,
        config=config,
        weights=None if tensors is None else MappingProxyType(tensors),
        tokenizer=open_tokenizer(config, read_file(directory / TOKENIZER, MAX_TOKENIZER)),
    )


def directory_of(path: str | os.PathLike[str]) -> Path:
    """The bundle's directory.

    Raises:
        InvalidArgument: no path.
        NotFound: nothing there.
        InvalidFormat: a file that is not called model.json.
    """
    if not isinstance(path, str | os.PathLike) or "\0" in os.fspath(path):
        raise InvalidArgument(f"expected a path, found {path!r:.80}", "path")
    place = Path(path)
    try:
        if place.is_dir():
            return place
        place.lstat()
    except OSError:
        raise NotFound(f"nothing at {place}", "path", "give the bundle's directory or its model.json") from None
    if place.name != MODEL:
        raise InvalidFormat(f"{place.name} is no bundle", "path", "give the bundle's directory or its model.json")
    return place.parent


def read_file(path: Path, limit: int) -> bytes | None:
    """All bytes of a small file; None if it is absent."""
    try:
        with weights.open_regular(path) as file:
            raw = file.read(limit + 1)
    except FileNotFoundError:
        return None
    if len(raw) > limit:
        raise InvalidFormat(f"larger than {limit} bytes", path.name)
    return raw


def _read_weights(path: Path, config: ModelConfig) -> dict[str, Array] | None:
    """The bundle's weights; None if it holds none."""
    expected = weights.expected_tensors(config)
    try:
        if config.weights_sha256 is not None and weights.sha256_of(path) != config.weights_sha256:
            raise InvalidFormat(f"{WEIGHTS} has another digest", f"{MODEL} weights.sha256", "fetch the file again")
        return weights.read_safetensors(path, expected)
    except FileNotFoundError:
        if config.weights_sha256 is not None:
            raise InvalidFormat(f"{WEIGHTS} is missing", f"{MODEL} weights", f"add {WEIGHTS}") from None
        return None


def write_bundle(
    directory: str | os.PathLike[str],
    document: Mapping[str, Any],
    tensors: Mapping[str, Array] | None = None,
    tokenizer_json: str | bytes | None = None,
) -> Path:
    """Write a bundle, after the same checks that reading makes.

    The bundle is made beside its place and put there by renaming, so that no reader sees half a file. A directory that
    already exists keeps its other files; weights or tokenizer of an older bundle in it are replaced or removed. Its
    model.json goes first and the new one comes last: in between, and after a write that was interrupted there, the
    directory holds no bundle (NotFound) and never the files of two.

    Args:
        directory: where; made if absent, its parent must exist.
        document: model.json.
        tensors: name -> array of float64, float32, float16 or bfloat16; None for a bundle whose weights come from
            the seed.
        tokenizer_json: content of tokenizer.json; None for bytes.

    Returns:
        The directory.

    Raises:
        InvalidFormat, UnsupportedVersion, UnsupportedArchitecture: reading the bundle back would raise it.
        InvalidArgument: a tensor of another dtype.
        NotFound: the parent directory is absent.
    """
    target = Path(directory)
    if not target.parent.is_dir():
        raise NotFound(f"{target.parent} is no directory", "directory", "make it first")
    if target.exists() and not target.is_dir():
        raise InvalidArgument(f"{target} is no directory", "directory", "give a directory")
    raw = tokenizer_json.encode() if isinstance(tokenizer_json, str) else tokenizer_json
    files = {MODEL: _document_bytes(document), WEIGHTS: None, TOKENIZER: raw}
    if tensors is not None:
        files[WEIGHTS] = weights.safetensors_bytes({name: np.asarray(array) for name, array in tensors.items()})
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, content in files.items():
            if content is not None:
                (scratch / name).write_bytes(content)
        read_bundle(scratch)
        target.mkdir(exist_ok=True)
        # The document is what makes a directory a bundle: gone before the first file changes, back after the last.
        (target / MODEL).unlink(missing_ok=True)
        for name in (WEIGHTS, TOKENIZER, MODEL):
            if files[name] is None:
                (target / name).unlink(missing_ok=True)
            else:
                (scratch / name).replace(target / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _document_bytes(document: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise InvalidFormat(f"cannot be written as JSON: {error!s:.200}", MODEL) from None


def new_bundle(
    directory: str | os.PathLike[str],
    architecture: str,
    parameters: Mapping[str, Any],
    *,
    seed: int = 0,
    name: str = "new",
    with_weights: bool = True,
    tokenizer_json: str | bytes | None = None,
) -> Path:
    """Make a bundle from a few numbers and a seed.

    Args:
        directory: where; nothing may be there yet but an empty directory.
        architecture, parameters: as in model.json; what `parameters` leaves out has the standard's default.
        seed: of the weights, see `weights.initialise`. name: of the model.
        with_weights: write model.safetensors; without it whoever loads the bundle makes the same weights.

    Returns:
        The directory.

    Raises:
        InvalidFormat, UnsupportedArchitecture, NotFound, Unsupported: as `write_bundle` and `weights.initialise`.
        InvalidArgument: something is there already.
    """
    target = Path(directory)
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise InvalidArgument(f"{target} is not empty", "directory", "choose a new place; nothing is overwritten")
    document = {
        "name": name,
        "version": "1.0",
        "architecture": architecture,
        "parameters": dict(parameters),
        "initialisation": {"seed": seed},
    }
    config = ModelConfig.from_document(document, MODEL)
    tensors = weights.initialise(config) if with_weights else None
    return write_bundle(target, document, tensors, tokenizer_json)
