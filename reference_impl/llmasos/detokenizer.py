"""Pieces of a vocabulary to text, one piece after the other.

A decoder of tokenizer.json is run here as a chain of steps, each of which gives out at once whatever no later piece can
change. So the text of some ids is a prefix of the text of more, but for what the chain still holds: half a character,
or what a decoder unknown to this module says only at the end. `feed` and `end` together are the only way to text; a
whole sequence is decoded by the same steps that stream it.

    decoder           text of a piece                                       what later pieces can change
    (none)            the piece, after a space unless it is the first       nothing
    ByteLevel         the bytes that its letters stand for                  a character of which bytes are missing
    WordPiece         without "##" it begins a word, after a space          nothing
    Metaspace         each U+2581 is a space, and none in the first piece   nothing
    ByteFallback      of "<0xE4>" the byte, of others themselves            a character of which bytes are missing
    Replace, Strip    the piece, changed on its own                         nothing
    Fuse              makes one piece of all                                everything, unless only Strip comes behind
    others            not run here                                          everything

Bytes that are no UTF-8 become U+FFFD, one per maximal subpart (TOK-5). The `tokenizers` library differs for tokens such
as <0xE4>: there one wrong byte turns the whole run of bytes, valid characters included, into as many U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = tuple(byte for byte in range(256) if byte not in _PRINTABLE)
LETTERS: Mapping[int, str] = {byte: chr(byte) for byte in _PRINTABLE} | {b: chr(256 + i) for i, b in enumerate(_OTHERS)}
"""GPT-2's alphabet: a byte that prints stands for itself, the others for the characters from U+0100 on."""
_BYTES: Mapping[str, int] = {letter: byte for byte, letter in LETTERS.items()}
BYTE_TOKENS: Sequence[str] = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""Names of the tokens that stand for one byte each, byte by byte."""
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class Step(Protocol):
    """One decoder of a chain."""

    def feed(self, piece: str) -> Iterable[str]:
        """Pieces that are certain now."""

    def end(self) -> Iterable[str]:
        """Pieces that were held back; nothing follows."""


class Detokenizer:
    """The text of a sequence of pieces, as far as it is certain.

    Args:
        steps: in the order in which a piece runs through them.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def feed(self, piece: str) -> str:
        """Text that this piece makes certain; may be empty."""
        return "".join(self._run([piece], 0))

    def end(self) -> str:
        """The rest. Nothing may be fed afterwards."""
        return "".join(piece for i, step in enumerate(self._steps) for piece in self._run(step.end(), i + 1))

    def _run(self, pieces: Iterable[str], first: int) -> list[str]:
        for step in self._steps[first:]:
            pieces = [made for piece in pieces for made in step.feed(piece)]
        return list(pieces)


class Characters:
    """Bytes to characters; half a character waits for its other half, and nothing else waits."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, raw: bytes) -> str:
        raw = self._held + raw
        certain = len(raw) - _half(raw)
        self._held = raw[certain:]
        return raw[:certain].decode(errors="replace")

    def end(self) -> str:
        rest, self._held = self._held, b""
        return rest.decode(errors="replace")


def _half(raw: bytes) -> int:
    """Number of bytes at the end that begin a character and do not complete it.

    (Python's incremental decoder would also hold 0xED 0xA0, which begins nothing.)
    """
    for count in (1, 2, 3):
        half = raw[-count:]
        whole = 2 if half[:1] < b"\xe0" else 3 if half[:1] < b"\xf0" else 4
        if len(half) == count < whole and b"\xc2" <= half[:1] <= b"\xf4" and half.decode(errors="replace") == "\ufffd":
            return count
    return 0


class ByteLevel:
    """Letters of GPT-2's alphabet. A piece with another character in it is no spelling of bytes, but text."""

    def __init__(self) -> None:
        self._characters = Characters()

    def feed(self, piece: str) -> Iterable[str]:
        known = all(letter in _BYTES for letter in piece)
        yield self._characters.feed(bytes(_BYTES[letter] for letter in piece) if known else piece.encode())

    def end(self) -> Iterable[str]:
        yield self._characters.end()


class ByteFallback:
    """Tokens such as <0xE4> are bytes; any other token is text, and ends the bytes before it."""

    def __init__(self) -> None:
        self._characters = Characters()

    def feed(self, piece: str) -> Iterable[str]:
        match = _BYTE_TOKEN.fullmatch(piece)
        if match is None:
            yield from self.end()
            yield piece
        else:
            yield self._characters.feed(bytes.fromhex(match[1]))

    def end(self) -> Iterable[str]:
        yield self._characters.end()
        self._characters = Characters()


class Whole:
    """A piece on its own, by a function of it and of whether it is the first."""

    def __init__(self, change: Callable[[str, bool], str]) -> None:
        self._change, self._first = change, True

    def feed(self, piece: str) -> Iterable[str]:
        yield self._change(piece, self._first)
        self._first = False

    def end(self) -> Iterable[str]:
        return ()


class Fuse:
    """All pieces as one."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def feed(self, piece: str) -> Iterable[str]:
        self._pieces.append(piece)
        return ()

    def end(self) -> Iterable[str]:
        return ["".join(self._pieces)]


class StripStart:
    """Takes up to `count` characters from the front of the whole text; what is behind them need not wait."""

    def __init__(self, character: str, count: int) -> None:
        self._character, self._left = character, count

    def feed(self, piece: str) -> Iterable[str]:
        while self._left and piece:
            if piece[0] != self._character:
                self._left = 0
                break
            piece, self._left = piece[1:], self._left - 1
        yield piece

    def end(self) -> Iterable[str]:
        return ()


def _joined(piece: str, first: bool) -> str:
    return piece if first else f" {piece}"


# What WordPiece decoders of the `tokenizers` library take together when `cleanup` is on, in this order.
_CLEANED = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
    (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


def _word_piece(piece: str, first: bool, *, prefix: str, cleanup: bool) -> str:
    if not first:
        piece = piece.removeprefix(prefix) if piece.startswith(prefix) else f" {piece}"
    for before, after in _CLEANED if cleanup else ():
        piece = piece.replace(before, after)
    return piece


def _metaspace(piece: str, first: bool, *, mark: str, prepended: bool) -> str:
    return piece.replace(mark, "" if first and prepended else " ")


def _replaced(piece: str, first: bool, *, before: str, after: str) -> str:
    return piece.replace(before, after)


def _stripped(piece: str, first: bool, *, character: str, start: int, stop: int) -> str:
    front = min(start, len(piece) - len(piece.lstrip(character)))
    piece = piece[front:]
    return piece[: len(piece) - min(stop, len(piece) - len(piece.rstrip(character)))]


Maker = Callable[[], Step]


def chain(decoder: Mapping[str, Any] | None) -> list[Maker] | None:
    """What makes the steps of a decoder of tokenizer.json, afresh for each sequence.

    Args:
        decoder: as it stands in a file that the `tokenizers` library has read; None joins pieces with spaces.

    Returns:
        Makers of steps; None for a decoder that is not run here.
    """
    if decoder is None:
        return [partial(Whole, _joined)]
    flat = list(_flat(decoder))
    makers: list[Maker] = []
    for i, part in enumerate(flat):
        rest = flat[i + 1 :]
        if part["type"] == "Fuse" and not rest:
            break  # the pieces are joined anyway
        if part["type"] == "Fuse" and len(rest) == 1 and rest[0]["type"] == "Strip" and rest[0]["stop"] == 0:
            return [*makers, partial(StripStart, rest[0]["content"], rest[0]["start"])]
        maker = _maker(part)
        if maker is None:
            return None
        makers.append(maker)
    return makers


def _flat(decoder: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    if decoder["type"] != "Sequence":
        yield decoder
        return
    for part in decoder["decoders"]:
        yield from _flat(part)


def _maker(part: Mapping[str, Any]) -> Maker | None:
    match part:
        case {"type": "ByteLevel"}:
            return ByteLevel
        case {"type": "ByteFallback"}:
            return ByteFallback
        case {"type": "Fuse"}:
            return Fuse
        case {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}:
            return partial(Whole, partial(_word_piece, prefix=prefix, cleanup=cleanup))
        case {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme}:
            return partial(Whole, partial(_metaspace, mark=mark, prepended=scheme != "never"))
        case {"type": "Replace", "pattern": {"String": before}, "content": after} if before:
            return partial(Whole, partial(_replaced, before=before, after=after))
        case {"type": "Strip", "content": character, "start": start, "stop": stop}:
            return partial(Whole, partial(_stripped, character=character, start=start, stop=stop))
    return None
