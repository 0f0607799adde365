"""Named tensors: a strict safetensors reader and writer, the tensors that a configuration needs, and seeded weights.

The file is an 8-byte little-endian length, a JSON header of that length, and the tensors' bytes, row-major and
little-endian. Nothing is executed, and no array is made before the header has been held against the file's size and
against the shapes that the configuration demands.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from llmasos import counter, strictjson
from llmasos.architectures import MODULES
from llmasos.config import ModelConfig
from llmasos.errors import InvalidArgument, InvalidFormat, Unsupported
from llmasos.ops import Array

MAX_HEADER = 100_000_000
"""Bytes of header that any reader of the format accepts."""

MAX_RANK = 32
"""Dimensions of a tensor at most, as in NumPy before version 2."""

MAX_INITIALISED = 2**30
"""Weights that are made from a seed at most: 8 GiB as float64."""

DTYPES: Mapping[str, int] = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Dtypes of weights, and the bytes of an element of each."""

_NAMES: Mapping[str, str] = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a header: dtype name, shape, and where its bytes lie after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def expected_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that model.safetensors must hold, no more and no fewer."""
    shapes: dict[str, tuple[int, ...]] = MODULES[config.architecture].tensor_shapes(config)
    return shapes


def parameter_count(config: ModelConfig) -> int:
    """Number of weights of a configuration."""
    return sum(math.prod(shape) for shape in expected_tensors(config).values())


def open_regular(path: Path) -> IO[bytes]:
    """Open a file that is itself the data: no link that leads elsewhere, no pipe, no device.

    Raises:
        FileNotFoundError: nothing there.
        InvalidFormat: something else than a regular file, or one that cannot be read.
    """
    # A link put there after the first look is not followed by the second, and a pipe does not block it.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if stat.S_ISREG(path.lstat().st_mode):
            return os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidFormat(f"cannot be read: {error.strerror}", path.name) from None
    raise InvalidFormat("not a regular file", path.name, "bundles hold plain files, no links")


def read_safetensors(path: Path, expected: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Array]:
    """Read all tensors of a file in the dtype in which they are stored.

    Args:
        path: the file.
        expected: name -> shape; the file must hold exactly these. None accepts any.

    Returns:
        name -> array of dtype float64, float32, float16 or bfloat16.

    Raises:
        FileNotFoundError: nothing there.
        InvalidFormat: the file breaks the format, contradicts `expected`, or holds NaN or infinity.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        entries, data_start = read_header(file, size, path.name)
        if expected is not None:
            check_shapes({name: entry.shape for name, entry in entries.items()}, expected, path.name)
        return {name: read_tensor(file, data_start, entry, f"{path.name} {name}") for name, entry in entries.items()}


def read_tensor(file: IO[bytes], data_start: int, entry: Entry, where: str) -> Array:
    """One tensor of a file whose header was judged; its dtype is one of DTYPES.

    Raises:
        InvalidFormat: the file became shorter, or the tensor holds NaN or infinity.
    """
    file.seek(data_start + entry.begin)
    raw = file.read(entry.end - entry.begin)
    if len(raw) != entry.end - entry.begin:
        raise InvalidFormat("file became shorter while it was read", where)
    array = as_array(raw, entry)
    check_finite(array, where)
    return array


def as_array(raw: bytes, entry: Entry) -> Array:
    """The bytes of a tensor as an array of its stored dtype."""
    array: Array = np.frombuffer(raw, dtype=_numpy_dtype(entry.dtype)).reshape(entry.shape)
    return array


def read_header(
    file: IO[bytes], size: int, where: str, widths: Mapping[str, int] = DTYPES
) -> tuple[dict[str, Entry], int]:
    """Read and judge the header of a safetensors file.

    Args:
        file: at its start. size: of the file, bytes. where: for errors.
        widths: bytes of an element of each dtype that may occur.

    Returns:
        entries in the order of their bytes, and the position at which the bytes begin.

    Raises:
        InvalidFormat: the header is too long, no strict JSON, or its tensors do not tile the rest of the file.
    """
    prefix = file.read(8)
    if len(prefix) < 8:
        raise InvalidFormat(f"{size} bytes are too few for a header", where)
    (length,) = struct.unpack("<Q", prefix)
    if length > MAX_HEADER or 8 + length > size:
        raise InvalidFormat(f"header of {length} bytes in a file of {size}", where)
    raw = file.read(length)
    if not raw.startswith(b"{"):
        raise InvalidFormat("header does not begin with '{'", where)
    header = strictjson.parse(raw, where)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InvalidFormat("__metadata__ must map text to text", where)
    entries = {name: _entry(value, f"{where} {name:.80}", widths) for name, value in header.items()}
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    _check_tiling(ordered, size - 8 - length, where)
    return ordered, 8 + length


def _entry(value: object, where: str, widths: Mapping[str, int]) -> Entry:
    """One member of the header, with its own numbers in agreement."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise InvalidFormat("expected an object with dtype, shape and data_offsets", where)
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in widths:
        raise InvalidFormat(f"dtype {dtype!r:.40} is not offered", where, f"one of {', '.join(widths)}")
    if not _naturals(shape) or len(shape) > MAX_RANK:
        raise InvalidFormat(f"shape must be a list of up to {MAX_RANK} integers from 0", where)
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InvalidFormat("data_offsets must be two integers, begin and end", where)
    # Python's integers do not overflow, so a product of huge dimensions cannot come out small.
    needed = math.prod(shape) * widths[dtype]
    if offsets[1] - offsets[0] != needed:
        raise InvalidFormat("data_offsets do not span the bytes that shape and dtype need", where)
    return Entry(dtype, tuple(shape), offsets[0], offsets[1])


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _check_tiling(entries: Mapping[str, Entry], size: int, where: str) -> None:
    """Tensors follow each other without hole or overlap and fill the file."""
    position = 0
    for name, entry in entries.items():
        if entry.begin != position:
            raise InvalidFormat(f"bytes begin at {entry.begin}, expected {position}", f"{where} {name:.80}")
        position = entry.end
    if position != size:
        raise InvalidFormat(f"tensors need {position} bytes, the file holds {size}", where)


def check_shapes(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Hold tensors against what the configuration needs.

    Raises:
        InvalidFormat: a tensor is missing, unknown, or of another shape.
    """
    missing = [name for name in expected if name not in found]
    if missing:
        raise InvalidFormat(f"tensor {missing[0]!r} is missing ({len(missing)} in all)", where)
    unknown = [name for name in found if name not in expected]
    if unknown:
        raise InvalidFormat(f"tensor {unknown[0]!r:.80} is not part of the architecture", where)
    for name, shape in expected.items():
        if tuple(found[name]) != shape:
            raise InvalidFormat(f"shape {list(found[name])}, model.json needs {list(shape)}", f"{where} {name}")


def check_finite(array: Array, where: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        InvalidFormat: some element is not finite.
    """
    if not np.all(np.isfinite(array)):
        raise InvalidFormat("holds NaN or infinity", where)


def in_dtype(array: Array, dtype: str, where: str) -> Array:
    """A tensor in the dtype of a computation.

    Raises:
        InvalidFormat: an element is too large for it.
    """
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(array, dtype=dtype)
    check_finite(cast, f"{where} as {dtype}")
    return cast


def in_one_block(stored: Mapping[str, Array], dtype: str) -> dict[str, Array]:
    """Tensors in the dtype of a computation, all in one piece of memory, the longer axis of a matrix without gaps.

    A step of generation reads every weight once: of large pages faster than of many small ones, and of few long rows
    faster than of many short ones.

    Raises:
        InvalidFormat: an element is too large for the dtype.
    """
    line = 64 // np.dtype(dtype).itemsize  # of a cache
    ends = list(itertools.accumulate(-(-array.size // line) * line for array in stored.values()))
    block, made = np.empty(ends[-1] if ends else 0, dtype), {}
    for (name, array), begin in zip(stored.items(), [0, *ends], strict=False):
        place, tall = block[begin : begin + array.size], array.ndim == 2 and array.shape[0] > array.shape[1]
        made[name] = place.reshape(array.shape, order="F" if tall else "C")
        with np.errstate(over="ignore"):
            made[name][...] = array
        check_finite(made[name], f"{name} as {dtype}")
    return made


def _numpy_dtype(name: str) -> Any:
    if name == "BF16":
        import ml_dtypes  # only bundles that hold bfloat16 pay for it

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[name])


def safetensors_bytes(tensors: Mapping[str, Array]) -> bytes:
    """The file that holds the tensors: widest dtype first, then by name, so that equal tensors give equal bytes.

    Args:
        tensors: name -> array of dtype float64, float32, float16 or bfloat16.

    Raises:
        InvalidArgument: another dtype.
    """
    for name, array in tensors.items():
        if array.dtype.name not in _NAMES:
            raise InvalidArgument(f"dtype {array.dtype} cannot be stored", name, f"one of {', '.join(_NAMES)}")
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {}
    position = 0
    for name in order:
        array = tensors[name]
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the data then begin at a multiple of 8
    little = (tensors[name].astype(tensors[name].dtype.newbyteorder("<")).tobytes() for name in order)
    return b"".join((struct.pack("<Q", len(text)), text, *little))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, lower-case hex."""
    with open_regular(path) as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
        return digest.hexdigest()


def initialise(config: ModelConfig) -> dict[str, Array]:
    """Weights of a bundle that holds none, from its seed alone.

    Norm weights are 1, biases 0. Any other tensor takes element i, row-major, from word i of the stream keyed
    "llmasos-init/v1" NUL seed NUL tensor name (see `counter`): the word's four 16-bit parts are added, 131070 is taken
    off, which leaves nearly a normal law of deviation 37837; the integer is rounded to 8 significant bits, half to
    even, and multiplied by 2⁻²¹, which leaves deviation 0.018. All of it is exact, and so is each value in bfloat16,
    float32 and float64.

    Returns:
        name -> float32 array, for every name of `expected_tensors`.

    Raises:
        Unsupported: more than MAX_INITIALISED weights.
    """
    shapes = expected_tensors(config)
    count = parameter_count(config)
    if count > MAX_INITIALISED:
        raise Unsupported(
            f"{count} weights are more than are made from a seed", "model.json parameters", "add model.safetensors"
        )
    return {name: _initial(name, shape, config.seed) for name, shape in shapes.items()}


def _initial(name: str, shape: tuple[int, ...], seed: int) -> Array:
    if name.endswith(".bias"):
        return np.zeros(shape, dtype=np.float32)
    if name.endswith("norm.weight"):
        return np.ones(shape, dtype=np.float32)
    key = counter.stream_key(f"llmasos-init/v1\0{seed}\0{name}")
    values = np.empty(math.prod(shape), dtype=np.float32)
    chunk = 2**20  # bounds the memory that the 64-bit words need
    for start in range(0, len(values), chunk):
        count = min(chunk, len(values) - start)
        values[start : start + count] = _near_normal(counter.words(key, start, count))
    return values.reshape(shape)


def _near_normal(words: Array) -> Array:
    """64-bit words to values of deviation 0.018 with 8 significant bits, as `initialise` describes."""
    parts = sum((words >> np.uint64(16 * i)) & np.uint64(0xFFFF) for i in range(4))
    centred = np.asarray(parts).astype(np.int64) - 131070
    mantissa, exponent = np.frexp(centred.astype(np.float64))  # centred = mantissa · 2^exponent, 1/2 <= |mantissa| < 1
    values: Array = np.ldexp(np.rint(mantissa * 256), exponent - 8 - 21)
    return values
