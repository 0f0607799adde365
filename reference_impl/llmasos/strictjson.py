"""JSON without the parts that two readers may understand differently.

Refused: duplicate keys, NaN and Infinity in any spelling (1e999 too), text after the value, invalid UTF-8, lone
surrogates, and nesting deeper than MAX_DEPTH. A byte-order mark at the start is accepted, because editors add it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from llmasos.errors import InvalidFormat

MAX_DEPTH = 64
"""Deeper than any honest document, and far from the depth at which a recursive parser dies."""

# A whole string (its closing quote may be missing) or one bracket. Possessive, so that no input makes it backtrack.
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def parse(raw: bytes, where: str) -> Any:
    """Parse one strict JSON value.

    Args:
        raw: UTF-8 bytes, with or without a byte-order mark.
        where: file name for the error.

    Raises:
        InvalidFormat: anything named in this module's description, or no JSON at all.
    """

    def refuse(what: str, hint: str = "") -> NoReturn:
        raise InvalidFormat(what, where, hint)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
            refuse(f"key {repeated!r:.60} appears twice in one object", "keep one of them")
        return members

    def finite(literal: str) -> float:
        value = float(literal)
        if not math.isfinite(value):
            refuse(f"number {literal:.40} has no finite value")
        return value

    def constant(literal: str) -> NoReturn:
        refuse(f"{literal} is not JSON")

    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse(f"byte {error.start} is not valid UTF-8", "save the file as UTF-8")
    if _depth(text) > MAX_DEPTH:
        refuse(f"nested deeper than {MAX_DEPTH} levels")
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_float=finite, parse_constant=constant)
    except ValueError as error:  # also an integer of thousands of digits, which the interpreter declines to convert
        refuse(f"not valid JSON: {error}")
    if "\\u" in text:
        _refuse_surrogates(value, where)
    return value


def _depth(text: str) -> int:
    """Largest nesting of brackets outside strings, found without recursion."""
    depth = deepest = 0
    for match in _STRUCTURE.finditer(text):
        token = match[0]
        if token in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in "]}":
            depth -= 1
    return deepest


def _refuse_surrogates(value: Any, where: str) -> None:
    """An escape such as \\ud800 alone is no character, and the text could not be written back."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidFormat("a lone surrogate escape is no character", where, "write the character itself") from None
