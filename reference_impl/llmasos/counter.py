"""Random bits as a function of a key and a counter, the same in every language.

A key is a number below 2⁶⁴, or the first eight bytes, big-endian, of the SHA-256 of a text. Word n of the stream is
SplitMix64's output for the state key + (n+1)·γ modulo 2⁶⁴. No generator of a library stands between key and value, so
words never change with a version, and any word can be had without those before it.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

GAMMA = 0x9E3779B97F4A7C15
"""2⁶⁴ divided by the golden ratio, made odd: successive states spread evenly."""


def stream_key(text: str) -> int:
    """First eight bytes of SHA-256(text), big-endian."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def words(key: int, start: int, count: int) -> npt.NDArray[np.uint64]:
    """Words start … start+count-1 of a stream.

    Computes, modulo 2⁶⁴: z = key + (n+1)·γ; z = (z ⊕ z≫30)·0xBF58476D1CE4E5B9; z = (z ⊕ z≫27)·0x94D049BB133111EB;
    z ⊕ z≫31.

    Returns:
        [count] unsigned 64-bit words.
    """
    n = np.arange(start + 1, start + 1 + count, dtype=np.uint64)
    z = n * np.uint64(GAMMA) + np.uint64(key)  # unsigned arithmetic of arrays wraps, which is what is wanted
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def word(key: int, n: int) -> int:
    """Word n of a stream, which may be the key of another."""
    return int(words(key, n, 1)[0])
