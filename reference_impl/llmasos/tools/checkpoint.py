"""A local Hugging Face checkpoint, read as data: settings, tensors, tokenizer.

    config.json                    required
    generation_config.json         optional; speaks before config.json of the ids that start and end a sequence
    model.safetensors              the tensors, or
    model.safetensors.index.json   which of several files holds which
    tokenizer.json                 optional

Nothing is executed, pickled weights are never opened, and no name leads out of the directory, but links are followed,
because caches of downloads consist of them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmasos import strictjson, weights
from llmasos.errors import InvalidArgument, InvalidFormat, NotFound, Unsupported, shown
from llmasos.ops import Array
from llmasos.weights import Entry

CONFIG, GENERATION, WEIGHTS, INDEX = (
    "config.json", "generation_config.json", "model.safetensors", "model.safetensors.index.json",
)  # fmt: skip
MAX_DOCUMENT = 2**24
"""Bytes of a settings file; an index of the largest models has about two million."""
MAX_TOKENIZER = 2**27

_WIDTHS: Mapping[str, int] = {
    **weights.DTYPES,
    **dict.fromkeys(("I64", "U64", "C64"), 8),
    **dict.fromkeys(("I32", "U32"), 4),
    **dict.fromkeys(("I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
"""Dtypes that a checkpoint may hold beside those of weights: buffers, and weights that are quantised."""

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\.safetensors")


@dataclass(frozen=True, slots=True)
class Settings:
    """A JSON object of theirs, whose members are judged when they are asked for; absent ones have their defaults.

    Attributes:
        given: the object. where: file name for errors.
    """

    given: Mapping[str, Any]
    where: str

    def _wrong(self, key: str, expected: str) -> InvalidFormat:
        return InvalidFormat(f"expected {expected}, found {shown(self.given[key])}", f"{self.where} {key}")

    def size(self, key: str, default: int) -> int:
        """A positive integer; null is the default."""
        value = self.given.get(key)
        if value is None:
            return default
        if type(value) is not int or value < 1:
            raise self._wrong(key, "a positive integer")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.given.get(key)
        if value is None:
            return default
        if type(value) not in (int, float):
            raise self._wrong(key, "a number")
        return float(value) if abs(value) < 1e300 else 1e300

    def flag(self, key: str, default: bool) -> bool:
        value = self.given.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def text(self, key: str, default: str) -> str:
        value = self.given.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def ids(self, key: str) -> list[int] | None:
        """Token ids: one or a list; None if the key is absent or null."""
        value = self.given.get(key)
        if value is None:
            return None
        listed = value if isinstance(value, list) else [value]
        if not all(type(item) is int for item in listed):
            raise self._wrong(key, "a token id or a list of them")
        return listed

    def demand(self, key: str, allowed: Sequence[Any], why: str) -> None:
        """Refuse a setting under which the model computes something that the format does not have.

        Args:
            allowed: values under which it does not; absent is allowed.
            why: what the format has instead.

        Raises:
            Unsupported: another value.
        """
        if key in self.given and not any(
            type(self.given[key]) is type(value) and self.given[key] == value for value in allowed
        ):
            raise Unsupported(f"{shown(self.given[key])} is not supported: {why}", f"{self.where} {key}")


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor of a checkpoint: the file that holds it, where its bytes begin there, and its entry."""

    file: Path
    start: int
    entry: Entry

    def read(self, name: str) -> Array:
        """Its array.

        Raises:
            Unsupported: it does not hold floating-point numbers.
            InvalidFormat: it holds NaN or infinity.
        """
        where = f"{self.file.name} {name}"
        if self.entry.dtype not in weights.DTYPES:
            hint = f"save the model in one of {', '.join(weights.DTYPES)}"
            raise Unsupported(f"stored as {self.entry.dtype}: quantised weights are not read", where, hint)
        with weights.open_regular(self.file.resolve()) as file:
            return weights.read_tensor(file, self.start, self.entry, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose headers were read and judged, and whose tensors were not.

    Attributes:
        directory: where. config, generation: settings; generation is empty if there is no such file.
        tensors: name -> where it lies.
    """

    directory: Path
    config: Settings
    generation: Settings
    tensors: Mapping[str, Held]

    def file(self, name: str, limit: int = MAX_TOKENIZER) -> bytes | None:
        """The content of a file beside; None if it is absent."""
        return _read(self.directory / name, limit)

    def settings(self, name: str) -> Settings:
        """A JSON object beside; empty if the file is absent."""
        return _settings(self.directory, name, required=False)


def read_checkpoint(source: str | os.PathLike[str]) -> Checkpoint:
    """Read what a directory says of itself.

    Raises:
        NotFound: no such directory, no config.json, or no weights.
        Unsupported: the weights are there in another form only.
        InvalidFormat: a file breaks its format, or the files contradict each other.
    """
    if not isinstance(source, str | os.PathLike) or "\0" in os.fspath(source):
        raise InvalidArgument(f"expected a path, found {shown(source)}", "source")
    directory = Path(source)
    if not directory.is_dir():
        hint = "give a local directory; nothing is fetched"
        raise NotFound(f"{directory} is no directory", "source", hint)
    return Checkpoint(
        directory=directory,
        config=_settings(directory, CONFIG, required=True),
        generation=_settings(directory, GENERATION, required=False),
        tensors=_tensors(directory),
    )


def _read(path: Path, limit: int) -> bytes | None:
    """All bytes of a file; None if it is absent."""
    try:
        with weights.open_regular(path.resolve()) as file:
            raw = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:  # a link that leads to itself
        raise InvalidFormat(f"cannot be read: {error!s:.100}", path.name) from None
    if len(raw) > limit:
        raise InvalidFormat(f"larger than {limit} bytes", path.name)
    return raw


def _settings(directory: Path, name: str, *, required: bool) -> Settings:
    raw = _read(directory / name, MAX_DOCUMENT)
    if raw is None:
        if required:
            raise NotFound(f"{directory} holds no {name}", "source", "give the directory of a checkpoint")
        return Settings({}, name)
    value = strictjson.parse(raw, name)
    if not isinstance(value, dict):
        raise InvalidFormat(f"expected an object, found {shown(value)}", name)
    return Settings(value, name)


def _tensors(directory: Path) -> dict[str, Held]:
    """Every tensor of the checkpoint."""
    if (directory / WEIGHTS).exists():
        return _headers(directory / WEIGHTS)
    raw = _read(directory / INDEX, MAX_DOCUMENT)
    if raw is not None:
        return _sharded(directory, strictjson.parse(raw, INDEX))
    pickled = sorted(path.name for pattern in _PICKLED for path in directory.glob(pattern))
    if pickled:
        hint = "load it once with transformers and save_pretrained it, which writes safetensors"
        raise Unsupported(f"weights are in {pickled[0]} only: loading it would run code", str(directory), hint)
    raise NotFound(f"{directory} holds neither {WEIGHTS} nor {INDEX}", "source", "give the directory of a checkpoint")


def _headers(path: Path) -> dict[str, Held]:
    """The tensors of one file."""
    try:
        with weights.open_regular(path.resolve()) as file:
            size = os.fstat(file.fileno()).st_size
            entries, start = weights.read_header(file, size, path.name, _WIDTHS)
    except FileNotFoundError:
        raise InvalidFormat(f"{path.name} is missing", INDEX, "fetch the whole checkpoint") from None
    return {name: Held(path, start, entry) for name, entry in entries.items()}


def _sharded(directory: Path, index: object) -> dict[str, Held]:
    """The tensors of all files that an index names, which must be those that it says they hold."""
    given = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(given, dict) or not given or not all(isinstance(name, str) for name in given.values()):
        raise InvalidFormat("expected weight_map, from tensors to files", INDEX)
    files = sorted(set(given.values()))
    for name in files:
        if not _PLAIN_NAME.fullmatch(name):
            raise InvalidFormat(f"{name!r:.80} is no plain name of a file beside it", f"{INDEX} weight_map")
    held: dict[str, Held] = {}
    for name in files:
        for tensor, where in _headers(directory / name).items():
            if given.get(tensor) != name:
                raise InvalidFormat(f"{name} holds {tensor!r:.80}, which the index does not say", INDEX)
            held[tensor] = where
    missing = sorted(set(given) - set(held))
    if missing:
        raise InvalidFormat(f"{given[missing[0]]} does not hold {missing[0]!r:.80}", f"{INDEX} weight_map")
    return held


# ── tokenizers ──────────────────────────────────────────────────────────────────────────────────────────────────────

OTHER_TOKENIZERS = (
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "source.spm",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def tokenizer_json(checkpoint: Checkpoint, model_type: str) -> tuple[bytes | None, str]:
    """The content of a tokenizer.json and how it came about; None if the checkpoint has no tokenizer.

    GPT-2's vocab.json and merges.txt say the same as a tokenizer.json, and are turned into one.

    Raises:
        Unsupported: the checkpoint has a tokenizer in another form only.
    """
    raw = checkpoint.file("tokenizer.json")
    if raw is not None:
        return raw, "tokenizer.json as it stood"
    vocabulary, merges = (checkpoint.file(name) for name in ("vocab.json", "merges.txt"))
    if model_type == "gpt2" and vocabulary is not None and merges is not None:
        return _byte_pairs(vocabulary, merges), "tokenizer.json made from vocab.json and merges.txt"
    others = [name for name in OTHER_TOKENIZERS if (checkpoint.directory / name).exists()]
    if others:
        hint = "load it once with transformers' AutoTokenizer and save_pretrained it, or import without a tokenizer"
        raise Unsupported(
            f"the tokenizer is in {others[0]} only, not in tokenizer.json", str(checkpoint.directory), hint
        )
    return None, "none in the checkpoint"


def _byte_pairs(vocabulary: bytes, merges: bytes) -> bytes:
    """GPT-2's two files as one tokenizer.json."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    ids = strictjson.parse(vocabulary, "vocab.json")
    if not isinstance(ids, dict) or not all(type(value) is int and value >= 0 for value in ids.values()):
        raise InvalidFormat("expected an object from tokens to ids", "vocab.json")
    try:
        lines = merges.decode().split("\n")
    except UnicodeDecodeError as error:
        raise InvalidFormat(f"byte {error.start} is not valid UTF-8", "merges.txt") from None
    split = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    if not all(len(pair) == 2 for pair in split):
        raise InvalidFormat("expected two tokens on each line", "merges.txt")
    pairs = [(first, second) for first, second in split]
    try:
        made = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=pairs))
    except Exception as error:  # the library's own, of no published type
        raise InvalidFormat(f"no byte-pair encoding: {error!s:.200}", "merges.txt") from None
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([token for token in ("<|endoftext|>",) if token in ids])
    return str(made.to_str()).encode()


def mask_token(checkpoint: Checkpoint, raw: bytes | None) -> int | None:
    """The id of the mask: as a settings file says, or the id of the token that one names; None if none does."""
    for settings in (checkpoint.generation, checkpoint.config):
        ids = settings.ids("mask_token_id")
        if ids:
            return ids[0]
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        token = checkpoint.settings(name).given.get("mask_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            return _id_of(token, raw, checkpoint)
    return None


def _id_of(token: str, raw: bytes | None, checkpoint: Checkpoint) -> int | None:
    """The id of a token, by tokenizer.json or by the lines of vocab.txt."""
    if raw is not None:
        return _id_in(raw, token)
    lines = (checkpoint.file("vocab.txt") or b"").decode(errors="replace").split("\n")
    return lines.index(token) if token in lines else None


def _id_in(raw: bytes, token: str) -> int | None:
    """The id of a token in a tokenizer.json that is yet to be judged."""
    try:
        document = json.loads(raw)
        found = [added["id"] for added in document["added_tokens"] if added["content"] == token]
        found += [document["model"]["vocab"][token]] if not found else []
    except (ValueError, LookupError, TypeError, RecursionError):  # not there, or no tokenizer at all
        return None
    return found[0] if type(found[0]) is int else None


def same(arrays: Sequence[Array]) -> bool:
    """Whether all arrays are equal, element by element."""
    return all(np.array_equal(arrays[0], other) for other in arrays[1:])
