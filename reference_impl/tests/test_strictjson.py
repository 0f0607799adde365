"""JSON that two readers cannot understand differently."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos import strictjson
from llmasos.errors import InvalidFormat

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(value=VALUES, ascii_only=st.booleans(), mark=st.booleans())
def test_reads_what_json_writes(value: Any, ascii_only: bool, mark: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    try:
        raw = text.encode("utf-8-sig" if mark else "utf-8")
    except UnicodeEncodeError:
        return
    assert strictjson.parse(raw, "x.json") == value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nul",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "c": 2, "b": 3}}',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e999",
        b"[1] 2",
        b"[1,]",
        b"'a'",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        rb'"\ud800"',
        rb'{"\udc00": 1}',
        b'"\x00"',
        b"[" * 65 + b"]" * 65,
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
        "{}".encode("utf-16"),
    ],
)
def test_refuses(raw: bytes) -> None:
    with pytest.raises(InvalidFormat, match=r"^x\.json: "):
        strictjson.parse(raw, "x.json")


def test_depth_counts_brackets_outside_strings() -> None:
    assert strictjson.parse(b"[" * 64 + b"]" * 64, "x.json")
    assert strictjson.parse(json.dumps(["[" * 100 + '\\"{']).encode(), "x.json")


def test_a_pair_of_surrogate_escapes_is_a_character() -> None:
    assert strictjson.parse(rb'"\ud83d\ude00"', "x.json") == "😀"


def test_time_is_linear_in_hostile_quotes_and_keys() -> None:
    start = time.monotonic()
    keys = ",".join(f'"{i}":0' for i in range(60_000))
    for raw in (b'"' + rb"\"" * 500_000, f'{{{keys},"59999":1}}'.encode()):
        with pytest.raises(InvalidFormat):
            strictjson.parse(raw, "x.json")
    assert time.monotonic() - start < 5
