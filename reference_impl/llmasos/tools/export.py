"""A bundle's weights as ONNX, for runtimes that know nothing of bundles.

    model.onnx            the graph; of a Transformer with cache, its decoder
    model.encoder.onnx    of a Transformer with cache, its encoder
    <file>.data           tensors of a file, where they lie beside it (`external`)

They lie in the bundle's directory, or wherever `out` says. Names of inputs and outputs stand in `graphs`; what the
metadata of each file says:

    llmasos.format          version of the format, as in model.json
    llmasos.architecture    as in model.json
    llmasos.dtype           of weights, arithmetic, logits and cache
    llmasos.parameters      JSON: every parameter that the graph depends on, with defaults filled in
    llmasos.weights_sha256  of model.safetensors, or of the file that would hold the seeded weights

A file is put in its place only after onnx's checker took it, and after onnxruntime computed with it what the reference
computes with the bundle, within honest error. The same bundle and options give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmasos import weights
from llmasos.architectures import ENCODER, ENCODER_DECODER, KIND
from llmasos.bundle import MODEL, WEIGHTS, Bundle, read_bundle
from llmasos.config import ModelConfig
from llmasos.errors import InvalidArgument, NotFound, Unsupported
from llmasos.graphfile import parameters

DTYPES = ("float32", "float64")
DEFAULT_OPSET = 17
MAX_INSIDE = 2**31 - 2**24
"""Bytes of tensors that one file can hold: protobuf ends at 2 GiB, and nodes need some room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        files: path -> SHA-256, in the order of their writing.
        architecture, dtype, opset: of all of them. cached: whether keys and values go in and out.
        error: the largest error of a row that was checked, in honest errors of the dtype.
    """

    files: Mapping[Path, str]
    architecture: str
    dtype: str
    opset: int
    cached: bool
    error: float


def export(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    dtype: str = "float32",
    cached: bool | None = None,
    opset: int = DEFAULT_OPSET,
    external: bool = False,
    seeded: bool = False,
) -> Exported:
    """Write a bundle as ONNX.

    Args:
        path: the bundle's directory or its model.json.
        out: file to write, ending in .onnx; None for model.onnx in the bundle. Its directory must exist.
        dtype: "float32" or "float64".
        cached: keys and values go in and out; None where the architecture has any.
        opset: of the default domain.
        external: large tensors go to files beside.
        seeded: export the weights that the seed gives, where the bundle holds none.

    Raises:
        InvalidArgument: a dtype, opset or place that is not offered, or a cache for BERT.
        NotFound: no bundle, or no directory for the file.
        Unsupported: the bundle holds no weights, a file would be too large, onnx or onnxruntime is not installed, or
            onnxruntime does not compute what the reference does.
        InvalidFormat, UnsupportedVersion, UnsupportedArchitecture: as `read_bundle`, or a weight is too large for the
            dtype.
    """
    from llmasos.tools import graphs  # onnx is needed from here on

    _check_options(dtype, opset, graphs.MIN_OPSET, graphs.MAX_OPSET)
    for name, value in (("cached", cached), ("external", external), ("seeded", seeded)):
        if not isinstance(value, bool) and not (name == "cached" and value is None):
            raise InvalidArgument(f"expected True or False, found {value!r:.40}", name)
    bundle = read_bundle(path)
    config = bundle.config
    has_cache = KIND[config.architecture] != ENCODER
    if cached and not has_cache:
        raise InvalidArgument(f"{config.architecture} keeps no cache", "cached", "leave it out")
    with_cache = has_cache if cached is None else cached
    directory = Path(path) if Path(path).is_dir() else Path(path).parent
    target = _target(Path(out) if out is not None else directory / "model.onnx")
    if bundle.weights is None and not seeded:  # who exports a bundle whose weights were forgotten wants to know
        hint = f"add {WEIGHTS}, or ask for the weights that the seed gives"
        raise Unsupported("the bundle holds no weights", WEIGHTS, hint)
    if bundle.weights is None and "initialisation" not in bundle.document and target.parent.samefile(directory):
        what = f"{MODEL} states no seed, so that the graph would hold the only weights of the bundle"
        raise Unsupported(what, f"{MODEL} initialisation", 'add {"seed": 0}, or write the file elsewhere')
    _check_size(config, dtype, external)
    bundle, digest = _with_weights(bundle, directory)
    notes = _notes(config, dtype, digest)
    forms = _forms(config.architecture, with_cache, target)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        assert bundle.weights is not None
        for name, form in forms.items():
            graph = graphs.graph(config, bundle.weights, form, dtype=dtype, opset=opset)
            _write(scratch / name, graph, notes, external)
        error = _checked(bundle, [scratch / name for name in forms], dtype)
        files = _placed(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Exported(
        files=files, architecture=config.architecture, dtype=dtype, opset=opset, cached=with_cache, error=error
    )


def _check_options(dtype: str, opset: int, low: int, high: int) -> None:
    if dtype not in DTYPES:
        hint = "one of " + ", ".join(DTYPES)
        raise InvalidArgument(f"dtype {dtype!r:.40} is not offered", "dtype", hint)
    if type(opset) is not int or not low <= opset <= high:
        raise InvalidArgument(f"opset {opset!r:.40} is not offered", "opset", f"{low} to {high}")


def _target(target: Path) -> Path:
    """The file to write, if it can be written there."""
    if target.suffix != ".onnx":
        raise InvalidArgument(f"{target.name} does not end in .onnx", "out", "give a file such as model.onnx")
    if not target.parent.is_dir():
        raise NotFound(f"{target.parent} is no directory", "out", "make it first")
    if target.exists() and not target.is_file():
        raise InvalidArgument(f"{target} is no file", "out", "give a file such as model.onnx")
    return target


def _with_weights(bundle: Bundle, directory: Path) -> tuple[Bundle, str]:
    """The bundle with the weights that it holds or that its seed gives, and their digest."""
    if bundle.weights is not None:
        return bundle, weights.sha256_of(directory / WEIGHTS)
    made = weights.initialise(bundle.config)
    return replace(bundle, weights=made), hashlib.sha256(weights.safetensors_bytes(made)).hexdigest()


def _check_size(config: ModelConfig, dtype: str, external: bool) -> None:
    """Refuse what one file cannot hold, before anything is made.

    Raises:
        Unsupported: it is too large.
    """
    table = config.context_length * config.embedding_dim  # of positions, as large as any that a graph adds
    size = (weights.parameter_count(config) + table) * (8 if dtype == "float64" else 4)
    if size > MAX_INSIDE and not external:
        what = f"about {size} bytes of tensors, one file holds {MAX_INSIDE}"
        raise Unsupported(what, "export", "put the tensors into a file beside it")


def _forms(architecture: str, cached: bool, target: Path) -> dict[str, str]:
    """Name of each file -> form of its graph; the file that others look for comes last."""
    if not cached:
        return {target.name: "whole"}
    if KIND[architecture] != ENCODER_DECODER:
        return {target.name: "cached"}
    return {f"{target.stem}.encoder.onnx": "encoder", target.name: "decoder"}


def _notes(config: ModelConfig, dtype: str, digest: str) -> dict[str, str]:
    """Metadata of a file."""
    return {
        "llmasos.format": config.version,
        "llmasos.architecture": config.architecture,
        "llmasos.dtype": dtype,
        "llmasos.parameters": json.dumps(parameters(config), separators=(",", ":"), sort_keys=True),
        "llmasos.weights_sha256": digest,
    }


def _write(path: Path, graph: Any, notes: Mapping[str, str], external: bool) -> None:
    from llmasos.tools.graphs import files

    data = path.with_name(path.name + ".data")
    written = files.write(graph, notes, data.name if external else None)
    path.write_bytes(written.model)
    if written.data is not None:
        data.write_bytes(written.data)


def _checked(bundle: Bundle, files: Sequence[Path], dtype: str) -> float:
    """Hold files against ONNX and against the reference; the largest error in honest errors.

    Raises:
        Unsupported: see `graphs.checking.check`.
    """
    import onnx

    from llmasos.tools.graphs import checking

    for path in files:
        onnx.checker.check_model(str(path), full_check=True)  # by path, because tensors may lie beside it
    return checking.check(bundle, files, dtype, weights.parameter_count(bundle.config))


def _placed(scratch: Path, target: Path) -> dict[Path, str]:
    """Put all files in their place; path -> SHA-256.

    The file that others look for goes first and comes last: in between, and after an interruption there, it is absent,
    and never does it stand beside tensors or an encoder of another export.
    """
    target.unlink(missing_ok=True)
    encoder = target.with_name(f"{target.stem}.encoder.onnx")
    for name in (f"{target.name}.data", encoder.name, f"{encoder.name}.data"):
        target.with_name(name).unlink(missing_ok=True)
    names = sorted(path.name for path in scratch.iterdir())
    placed = {}
    for name in sorted(names, key=lambda name: name == target.name):
        place = target.with_name(name)
        (scratch / name).replace(place)
        placed[place] = weights.sha256_of(place)
    return placed
