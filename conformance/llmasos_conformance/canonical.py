"""Bytes that mean one thing: strict JSON in, canonical JSON out, closed schemas, roots over lines.

Two parsers that read the same signed bytes differently are an attack, so whatever leaves room for that is refused: a
duplicate key, NaN, an integer above 2⁵³, a byte-order mark, anything after the value. Canonical text has sorted keys,
no blanks, UTF-8, and no floats; under these rules it equals RFC 8785 byte for byte.

Standard library only: this room is on the way of `llmasos verify`, which has to start quickly and to be easy to audit.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from llmasos_conformance.errors import HarnessError

MAX_BYTES = 64 * 1024 * 1024
MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 64
"""Deeper than anything we write; shallow enough that no walk over a parsed value can exhaust the stack."""


class Unacceptable(HarnessError):
    """Bytes that are not what they must be.

    Attributes:
        code: reason code, stable across versions; `llmasos explain CODE` says more.
        case: the case it is about, empty when it is about the whole.
    """

    def __init__(self, code: str, what: str, *, where: str | Path = "", hint: str = "", case: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.code, self.case = code, case


def parse(data: bytes, *, where: str | Path = "", floats: bool = True, limit: int = MAX_BYTES) -> Any:
    """Strict JSON.

    Args:
        data: UTF-8 bytes. floats: whether numbers with a fraction or exponent are allowed. limit: in bytes.

    Raises:
        Unacceptable: E_SIZE, E_UTF8, E_BOM, E_JSON, E_DUPLICATE, E_NUMBER or E_DEPTH.
    """

    def refuse(code: str, what: str) -> NoReturn:
        raise Unacceptable(code, what, where=where)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            refuse("E_DUPLICATE", f"the key {clean(twice)!r} stands twice in one object")
        return made

    def integer(text: str) -> int:
        if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
            refuse("E_NUMBER", f"the integer {text[:24]} is beyond 2^53-1, which not every reader can hold")
        return int(text)

    def real(text: str) -> float:
        if not floats:
            refuse("E_NUMBER", f"the number {text[:24]} has a fraction or exponent; signed content holds integers only")
        return float(text)

    if len(data) > limit:
        refuse("E_SIZE", f"{len(data)} bytes; {limit} are the most that are read")
    if data[:3] == b"\xef\xbb\xbf":
        refuse("E_BOM", "the file starts with a byte-order mark; save it as plain UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        refuse("E_UTF8", f"byte {error.start} is not UTF-8")
    try:
        value = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_int=integer,
            parse_float=real,
            parse_constant=lambda name: refuse("E_NUMBER", f"{name} is not JSON"),
        )
    except json.JSONDecodeError as error:
        refuse("E_JSON", f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}")
    except RecursionError:
        refuse("E_DEPTH", f"nested deeper than {MAX_DEPTH} levels")
    if _depth(value) > MAX_DEPTH:
        refuse("E_DEPTH", f"nested deeper than {MAX_DEPTH} levels")
    return value


def _depth(value: Any) -> int:
    """Levels of nesting, counted without recursion."""
    depth, layer = 0, [value]
    while layer and depth <= MAX_DEPTH:
        depth += 1
        layer = [
            inner
            for item in layer
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
    return depth


def encode(value: Any) -> bytes:
    """Canonical bytes of a value without floats.

    Raises:
        TypeError: a float or an integer beyond 2⁵³ is in it, or a key that is not text.
        UnicodeEncodeError: a lone surrogate is in it.
    """
    _no_floats(value)
    return compact(value)


def compact(value: Any) -> bytes:
    """JSON with sorted keys and no blanks; canonical as far as one version of Python writes it, floats included."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def _no_floats(value: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is not text")
            _no_floats(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _no_floats(inner)
    elif isinstance(value, float) or (isinstance(value, int) and abs(value) > MAX_INTEGER):
        raise TypeError(f"{value!r} cannot be signed: floats are written as text, integers stay below 2^53")


def sha256(data: bytes) -> str:
    """Lower-case hex digest."""
    return hashlib.sha256(data).hexdigest()


def digest_of(contents: Mapping[str, bytes]) -> str:
    """SHA-256 over named contents: name and bytes, sorted by name, each behind its length in 8 bytes."""
    sha = hashlib.sha256()
    for name in sorted(contents):
        for part in (name.encode(), contents[name]):
            sha.update(len(part).to_bytes(8, "big"))
            sha.update(part)
    return sha.hexdigest()


def digest_files(files: Iterable[tuple[str, Path]]) -> str:
    """One digest over named files: SHA-256 over "<sha256 of content>  <name>\\n", sorted by name.

    Args:
        files: name with forward slashes, and where the content is.
    """
    lines = sorted(f"{name}\0{sha256(path.read_bytes())}\n" for name, path in files)
    return sha256("".join(lines).encode())


BESIDE = ("suites", "reports", "examples", "docs")
"""What a wheel carries inside the package, and a checkout beside it."""


def package_files(root: Path, skip: tuple[str, ...] = ("__pycache__", *BESIDE)) -> list[tuple[str, Path]]:
    """Source and data files of a package, in a stable order.

    Compiled files are left out because they differ by interpreter, and what a checkout has elsewhere (BESIDE), so that
    a wheel has the digest of the checkout it was built from. Suites have a digest of their own.
    """
    return [
        (path.relative_to(root).as_posix(), path)
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and path.suffix in (".py", ".json", ".typed")
        and not set(path.relative_to(root).parts[:-1]) & set(skip)
    ]


def merkle_root(leaves: Sequence[bytes]) -> str:
    """Root of RFC 6962: leaf = SHA-256(0x00 ‖ data), node = SHA-256(0x01 ‖ left ‖ right), empty = SHA-256()."""
    hashes = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
    if not hashes:
        return sha256(b"")
    while len(hashes) > 1:  # pairing from the left and carrying an odd rest up gives the RFC's tree
        paired = [hashlib.sha256(b"\x01" + a + b).digest() for a, b in zip(hashes[::2], hashes[1::2], strict=False)]
        hashes = paired + hashes[len(paired) * 2 :]
    return hashes[0].hex()


_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


_INVISIBLE = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")
"""Letters and marks by category, nothing to the eye."""
_MOST_MARKS = 8


def legible(text: str) -> str:
    """The text with U+FFFD for whatever is no visible character, and for every mark after eight on one letter."""
    made, marks = [], 0
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        made.append("\ufffd" if category in _UNSAFE or char in _INVISIBLE or marks > _MOST_MARKS else char)
    return "".join(made)


def clean(text: str, limit: int = 500) -> str:
    """Text that cannot steer a terminal, reorder a line or flood a report.

    Controls, formatting characters (bidirectional overrides among them) and surrogates become U+FFFD; a longer text
    is cut and says so.
    """
    safe = legible(text.replace("\n", " / "))
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def telling(trace: str, most: int) -> list[str]:
    """The lines of a trace that say what went wrong and where, each clean.

    Python puts the cause last. JavaScript and Java put it first, and behind it frames that begin with `at`: the nearest
    count, and those of Node itself say nothing of anybody's code.
    """
    lines = [line for line in trace.splitlines() if line.strip() and "node:internal" not in line]
    lines = [line for line in lines if not line.startswith("Node.js v")]
    first = next((i for i, line in enumerate(lines) if line.lstrip().startswith("at ")), None)
    if first is not None:
        lines = lines[: first + max(1, most - 2)]
    return [clean(line) for line in lines[-most:]]


@cache
def schema(name: str) -> Mapping[str, Any]:
    """One of the JSON Schemas that are shipped with the harness, by the first part of its file name."""
    made: Mapping[str, Any] = json.loads((Path(__file__).parent / "schemas" / f"{name}.schema.json").read_bytes())
    return made


def validate(value: Any, schema: Mapping[str, Any], *, where: str = "", code: str = "E_SCHEMA") -> None:
    """Check a value against the part of JSON Schema that our closed schemas use.

    Known: $ref to #/$defs, type, const, enum, pattern, minLength, maxLength, minimum, maximum, properties, required,
    additionalProperties, propertyNames, items, minItems, maxItems, uniqueItems. A schema with anything else is a
    mistake of ours and raises KeyError, so that no rule is skipped in silence.

    Raises:
        Unacceptable: with the path of the first offending value.
    """
    _validate(value, schema, schema.get("$defs", {}), where or "$", code)


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None),
}  # fmt: skip
_ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "type", "examples"}


def _validate(value: Any, schema: Mapping[str, Any], defs: Mapping[str, Any], path: str, code: str) -> None:
    def refuse(what: str) -> NoReturn:
        raise Unacceptable(code, f"{path}: {what}")

    if "$ref" in schema:
        return _validate(value, defs[schema["$ref"].removeprefix("#/$defs/")], defs, path, code)
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        refuse(f"expected {kind}, found {type(value).__name__}")
    for rule in schema.keys() - _ANNOTATIONS:
        wanted = schema[rule]
        if not _RULES[rule](value, wanted):
            refuse(f"{clean(repr(value), 80)} breaks the rule {rule}: {clean(str(wanted), 120)}")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        missing = [key for key in schema.get("required", ()) if key not in value]
        if missing:
            refuse(f"{missing[0]!r} is missing")
        for key, inner in value.items():
            rest = schema.get("additionalProperties", True)
            if "propertyNames" in schema:
                _validate(key, schema["propertyNames"], defs, f"{path}, a key", code)
            if key in known:
                _validate(inner, known[key], defs, f"{path}.{key}", code)
            elif rest is False:
                refuse(f"{clean(key, 60)!r} is not a known key")
            elif isinstance(rest, Mapping):
                _validate(inner, rest, defs, f"{path}.{clean(key, 60)}", code)
    if isinstance(value, list) and "items" in schema:
        for number, inner in enumerate(value):
            _validate(inner, schema["items"], defs, f"{path}[{number}]", code)
    return None


def _always(value: Any, wanted: Any) -> bool:
    return True  # applied to the parts, in _validate


_RULES = {
    "const": lambda value, wanted: value == wanted,
    "enum": lambda value, wanted: value in wanted,
    "pattern": lambda value, wanted: re.fullmatch(wanted.removeprefix("^").removesuffix("$"), value) is not None,
    "minLength": lambda value, wanted: len(value) >= wanted,
    "maxLength": lambda value, wanted: len(value) <= wanted,
    "minimum": lambda value, wanted: value >= wanted,
    "maximum": lambda value, wanted: value <= wanted,
    "minItems": lambda value, wanted: len(value) >= wanted,
    "maxItems": lambda value, wanted: len(value) <= wanted,
    "uniqueItems": lambda value, wanted: len({encode(item) for item in value}) == len(value),
    "properties": _always, "required": _always, "additionalProperties": _always,
    "propertyNames": _always, "items": _always,
}  # fmt: skip
