"""The conversations of a run, stored so that a stranger can judge them again.

`evidence.ndjson.gz`, or packed tighter `evidence.ndjson.xz`, holds one line for each case that was tried, in the order
of the run:

    {"case": "…", "examples": [[{"method": "…", "params": {…}, "result": {…}}, …], …]}

An exchange has exactly one of `result`, `refusal` (a code) and `fault` (a kind). Tensors stand as on the wire; a number
that JSON cannot hold stands as {"number": "nan"}. Lines are canonical: sorted keys, no blanks, ASCII. The report binds
the SHA-256 of every line (without its line end) and the RFC 6962 root over all of them; how they are compressed is not
bound.

Reading for digests needs the standard library alone; only `exchanges`, which gives arrays back, imports NumPy.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

from llmasos_conformance.canonical import MAX_INTEGER, Unacceptable, clean, merkle_root, parse, sha256
from llmasos_conformance.errors import ReportError

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Exchange

FILE_NAME = "evidence.ndjson.gz"
PACKED_NAME = "evidence.ndjson.xz"
"""The same lines in less room: of numbers two thirds to four fifths, of text a twentieth. It takes three times as long
to write, which a run does not spend and `llmasos publish` does."""
DICTIONARY = 32 * 1024 * 1024
"""Bytes that the packer looks back: further than the longest line, as cases repeat what others said."""
MAX_MEMORY = 2 * DICTIONARY
"""Bytes that unpacking may take; a file that asks for more is refused."""
MAX_TOTAL = 256 * 1024 * 1024
"""Bytes after decompression; a core run has under 20 MB, so more is a bomb or a mistake."""
MAX_LINE = 64 * 1024 * 1024
"""Bytes of one line; a core run's longest, every character of the first plane, has 3.2 MB."""
MAX_LINES = 100_000
MAX_VALUES = 4_000_000
"""Commas and brackets in a file, which bound what parsing it can take; a core run has 1.6 million."""
LEVEL = 6


class Store:
    """Writes evidence as the run goes, so that an interrupted run keeps what ran.

    The file grows under a temporary name and gets its own with `close`; leaving the context without that abandons it.

    Args:
        path: of the finished file, in an existing directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._raw = self._part.open("wb")
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=self._raw, mtime=0)
        self._lines: list[bytes] = []  # leaves of the root, as digests would not do

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._gzip.close()  # closing twice is no error
        self._raw.close()

    def add(self, case: str, examples: Sequence[Sequence[Exchange]]) -> str:
        """Append a case's conversation and return its digest; "" for a case that was not tried."""
        if not examples:
            return ""
        line = encode_line(case, examples)
        if len(line) > MAX_LINE:
            raise ReportError(
                f"the evidence of {case} has {len(line)} bytes, a verifier reads {MAX_LINE}; nothing was signed",
                hint="certify a model with a smaller vocabulary, or claim float32",
            )
        self._gzip.write(line + b"\n")
        self._gzip.flush()
        self._lines.append(line)
        return sha256(line)

    def close(self) -> str:
        """Finish the file and return the root over its lines."""
        self._gzip.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        self._part.replace(self.path)
        return merkle_root(self._lines)


def place(directory: Path) -> Path:
    """Where the evidence of a report lies; where it would, if it is not there."""
    packed = directory / PACKED_NAME
    return packed if packed.is_file() and not (directory / FILE_NAME).is_file() else directory / FILE_NAME


def pack(source: Path, target: Path) -> None:
    """Write the lines of one file into another, packed tighter. What is there stays whole until the new one is.

    Raises:
        Unacceptable: the source is not whole, or too large to be read.
    """
    lzma = _lzma()
    # Numbers are base64 of 4 or 8 bytes each: what a letter can be depends on where it stands among sixteen.
    how = {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": DICTIONARY, "lc": 0, "lp": 4, "pb": 4}
    part = target.with_name(target.name + ".part")
    with part.open("wb") as raw:
        with lzma.open(raw, "wb", format=lzma.FORMAT_XZ, filters=[how]) as file:
            for line in _lines(source, MAX_TOTAL):
                file.write(line + b"\n")
        raw.flush()
        os.fsync(raw.fileno())
    part.replace(target)


class _Unpacked(io.RawIOBase):
    """The bytes of an xz file, in as little memory as `MAX_MEMORY` says."""

    def __init__(self, file: IO[bytes]) -> None:
        lzma = _lzma()
        self._file, self._packed = file, lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._packed.eof:
            data = self._file.read(io.DEFAULT_BUFFER_SIZE) if self._packed.needs_input else b""
            if self._packed.needs_input and not data:
                raise EOFError("it ends before its end")
            if made := self._packed.decompress(data, len(buffer)):
                buffer[: len(made)] = made
                return len(made)
        if self._packed.unused_data or self._file.read(1):
            raise OSError("there is something behind its end")
        return 0


def _lzma() -> ModuleType:
    try:
        import lzma
    except ImportError as error:
        hint = f"xz -dc {PACKED_NAME} | gzip > {FILE_NAME}"
        raise Unacceptable("E_EVIDENCE_FORMAT", "this Python was built without lzma", hint=hint) from error
    return lzma


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """A file of evidence, unpacked as it is read; what is wrong with it is told as Unacceptable."""
    packed = path.suffix == ".xz"
    broken: type[Exception] = _lzma().LZMAError if packed else zlib.error
    try:
        with path.open("rb") as raw, io.BufferedReader(_Unpacked(raw)) if packed else gzip.open(raw) as file:
            yield file
    except FileNotFoundError as error:
        raise Unacceptable(
            "E_EVIDENCE_MISSING",
            "the evidence file is not there",
            where=path,
            hint="ask for the whole report directory",
        ) from error
    except (OSError, EOFError, broken) as error:
        kind = "xz" if packed else "gzip"
        raise Unacceptable("E_EVIDENCE_FORMAT", f"not a whole {kind} file: {error}", where=path) from error


def encode_line(case: str, examples: Sequence[Sequence[Exchange]]) -> bytes:
    """The canonical line of a case, without line end."""
    rows = [[_entry(exchange) for exchange in example] for example in examples]
    return _dumps({"case": case, "examples": rows})


def _entry(exchange: Exchange) -> dict[str, Any]:
    from llmasos_conformance import wire

    entry: dict[str, Any] = {"method": exchange.method, "params": _plain(exchange.params)}
    if exchange.refusal:
        return entry | {"refusal": exchange.refusal}
    if exchange.fault:
        return entry | {"fault": exchange.fault}
    return entry | {"result": wire.encode(exchange.result)}


def _plain(value: Any) -> Any:
    """Params, which may be wrong on purpose, as strict JSON; `_native` is the inverse."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bool):
        return value
    if (isinstance(value, int) and abs(value) > MAX_INTEGER) or (isinstance(value, float) and not math.isfinite(value)):
        return {"number": str(value)}
    return value


def _native(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"number"}:
            text = str(value["number"])
            return int(text) if text.lstrip("-").isdigit() else float(text)
        return {key: _native(inner) for key, inner in value.items()}
    return [_native(inner) for inner in value] if isinstance(value, list) else value


def _dumps(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class Record:
    """One line of evidence: the case, its digest, and the exchanges still in JSON form."""

    case: str
    digest: str
    rows: Sequence[Sequence[Mapping[str, Any]]]


def read(path: Path, *, signed: Sequence[str] | None = None, limit: int = MAX_TOTAL) -> tuple[list[Record], str]:
    """Read evidence strictly, line by line.

    Args:
        signed: digests of the lines that are due, in their order. A line is parsed only when its digest is the next of
            them, so that what nobody signed costs a hash. None takes every line.
        limit: bytes after decompression.

    Returns:
        The records in the order of the file, and the root over the lines.

    Raises:
        Unacceptable: E_EVIDENCE_MISSING, E_EVIDENCE_SIZE, E_EVIDENCE_FORMAT, E_EVIDENCE_DIGEST or E_EVIDENCE_CASE.
    """
    records: list[Record] = []
    lines: list[bytes] = []
    values = 0
    for number, line in enumerate(_lines(path, limit)):
        if number >= (MAX_LINES if signed is None else len(signed)):
            where = f"{path}:{number + 1}"
            raise Unacceptable("E_EVIDENCE_CASE", "a line twice, or one that nobody signed", where=where)
        if signed is not None:
            _due(sha256(line), number, signed, path)
        values += sum(map(line.count, (b",", b"[", b"{")))
        if values > MAX_VALUES:
            raise Unacceptable("E_EVIDENCE_SIZE", f"more than {MAX_VALUES} values", where=f"{path}:{number + 1}")
        records.append(_record(line, f"{path}:{number + 1}"))
        lines.append(line)
    if signed is not None and len(lines) < len(signed):
        raise Unacceptable("E_EVIDENCE_MISSING", f"{len(signed)} lines are due, here are {len(lines)}", where=path)
    return records, merkle_root(lines)


def _due(digest: str, number: int, signed: Sequence[str], path: Path) -> None:
    """Complain unless a digest is the next that is due."""
    if digest == signed[number]:
        return
    where = f"{path}:{number + 1}"
    if digest in signed[:number]:
        raise Unacceptable("E_EVIDENCE_CASE", "the line stands here again", where=where)
    if digest in signed[number:]:
        raise Unacceptable("E_EVIDENCE_MISSING", "the line that is due here is missing, or moved", where=where)
    raise Unacceptable("E_EVIDENCE_DIGEST", "the line is not the one signed", where=where)


def _lines(path: Path, limit: int) -> Iterator[bytes]:
    """Lines without their ends, unpacked one at a time."""
    total = 0
    with _opened(path) as file:
        while line := file.readline(min(MAX_LINE, limit - total) + 1):
            total += len(line)
            if total > limit or len(line) > MAX_LINE:
                raise Unacceptable(
                    "E_EVIDENCE_SIZE", f"more than {limit} bytes when unpacked, or {MAX_LINE} in a line", where=path
                )
            if not line.endswith(b"\n"):
                raise Unacceptable("E_EVIDENCE_FORMAT", "the last line has no end; it was cut off", where=path)
            yield line[:-1]


def _record(line: bytes, where: str) -> Record:
    def refuse(what: str) -> Unacceptable:
        return Unacceptable("E_EVIDENCE_FORMAT", what, where=where)

    try:
        value = parse(line, where=where, limit=MAX_TOTAL)
        canonical = _dumps(value) == line
    except (Unacceptable, ValueError) as error:
        raise refuse(f"not a line of evidence: {error}") from error
    if not canonical:
        raise refuse("the line is not in canonical form")
    if not isinstance(value, dict) or value.keys() != {"case", "examples"} or not isinstance(value["case"], str):
        raise refuse("a line has exactly the keys 'case' and 'examples'")
    rows = value["examples"]
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise refuse("'examples' is a list of lists, and not empty")
    for row in rows:
        for entry in row:
            if not isinstance(entry, dict) or not isinstance(entry.get("params"), dict):
                raise refuse("an exchange is an object with params")
            kinds = entry.keys() - {"method", "params"}
            form = {"result": dict, "refusal": str, "fault": str}
            if len(kinds) != 1 or not kinds <= form.keys() or not isinstance(entry.get("method"), str):
                raise refuse("an exchange has a method, params, and one of result, refusal and fault")
            kind = next(iter(kinds))
            if not isinstance(entry[kind], form[kind]) or not (entry[kind] or kind == "result"):
                raise refuse(f"the exchange's {kind} is not a {form[kind].__name__}")
    return Record(value["case"], sha256(line), rows)


def exchanges(record: Record) -> list[list[Exchange]]:
    """A record in native form, with arrays, ready to be replayed. Answers pass the same validators as in the run.

    Raises:
        Unacceptable: E_EVIDENCE_FORMAT; not an answer of the contract, an unknown refusal code or kind of fault.
    """
    from llmasos_conformance.errors import CandidateFault

    made = []
    for number, row in enumerate(record.rows):
        try:
            made.append([_exchange(entry) for entry in row])
        except (CandidateFault, ValueError, TypeError, LookupError, AttributeError) as error:
            raise Unacceptable(
                "E_EVIDENCE_FORMAT", f"example {number}: {error}", where=record.case, case=record.case
            ) from error
    return made


def _exchange(entry: Mapping[str, Any]) -> Exchange:
    from llmasos_conformance import wire
    from llmasos_conformance.candidate import FAULTS, Exchange

    method, params = entry["method"], _native(entry["params"])
    if "refusal" in entry:
        return Exchange(method, params, refusal=wire.check_refusal(entry["refusal"]))
    if "fault" in entry:
        if entry["fault"] not in FAULTS:
            raise ValueError(f"{clean(entry['fault'], 40)!r} is not a kind of fault")
        return Exchange(method, params, fault=entry["fault"])
    if entry["result"].keys() == {"sample"}:  # a random answer, kept as the number of the first equal one
        number = entry["result"]["sample"]
        if type(number) is not int or number < 0:
            raise ValueError(f"sample is {clean(repr(number), 40)}, a count was due")
        return Exchange(method, params, result={"sample": number})
    # A candidate's handle stays out of evidence, so that loading has the same empty answer as closing.
    shape = "close" if method == "load_model" else method
    return Exchange(method, params, result=wire.check_answer(shape, params, entry["result"]))
