"""What a case draws.

Certified inputs come from a counter-based generator of our own: SHA-256 blocks keyed by suite digest, run seed, case
id and example number, mapped to integers here. No library's distribution stands between the key and the input, so the
same key gives the same input on every machine and in every version. Hypothesis explores the same `Draw` interface
beyond the certified inputs and shrinks what fails.

Everything is built on two primitives, `integer` and `integers`; the rest are plain functions of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Draw(Protocol):
    """A source of bounded integers, both ends included."""

    def integer(self, low: int, high: int) -> int: ...
    def integers(self, count: int, low: int, high: int) -> list[int]: ...


class KeyedDraw:
    """The certified generator.

    Word k of the stream is bytes 8(k mod 4) … 8(k mod 4)+7, big-endian, of SHA-256(key ‖ k div 4 as 8 bytes). A word w
    becomes an integer of [low, high] as low + (w · (high-low+1)) // 2⁶⁴, whose bias is below 2⁻³² for ranges under 2³².

    Args:
        suite: digest of the suite, hex. seed: the run's seed. case: case id. example: number of the example.
    """

    def __init__(self, suite: str, seed: str, case: str, example: int) -> None:
        text = "\x00".join(("llmasos-draw/v1", suite, seed, case, str(example)))
        self._key = hashlib.sha256(text.encode()).digest()
        self._block = 0
        self._words: list[int] = []

    def _word(self) -> int:
        if not self._words:
            digest = hashlib.sha256(self._key + self._block.to_bytes(8, "big")).digest()
            self._block += 1
            self._words = [int.from_bytes(digest[i : i + 8], "big") for i in (24, 16, 8, 0)]
        return self._words.pop()

    def integer(self, low: int, high: int) -> int:
        return low + ((self._word() * (high - low + 1)) >> 64)

    def integers(self, count: int, low: int, high: int) -> list[int]:
        return [self.integer(low, high) for _ in range(count)]


class HypothesisDraw:
    """The same interface over Hypothesis's `data()`; small values are the simple ones, so failures shrink to them."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def integer(self, low: int, high: int) -> int:
        from hypothesis import strategies as st

        return int(self._data.draw(st.integers(low, high)))

    def integers(self, count: int, low: int, high: int) -> list[int]:
        from hypothesis import strategies as st

        return list(self._data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count)))


def pick(draw: Draw, options: Sequence[T]) -> T:
    """One of the options; the first is the simplest."""
    return options[draw.integer(0, len(options) - 1)]


def sequence(draw: Draw, length: tuple[int, int], vocabulary: int) -> list[int]:
    """A list of token ids.

    Args:
        length: smallest and largest length. vocabulary: ids are drawn from 0 … vocabulary-1.
    """
    return draw.integers(draw.integer(*length), 0, vocabulary - 1)


def shuffled(draw: Draw, items: Sequence[T]) -> list[T]:
    """A permutation, by Fisher and Yates."""
    result = list(items)
    for last in range(len(result) - 1, 0, -1):
        other = draw.integer(0, last)
        result[last], result[other] = result[other], result[last]
    return result
