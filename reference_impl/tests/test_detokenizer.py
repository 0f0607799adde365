"""Pieces to text: what a stream may give out is never taken back, and joined it is what the library decodes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import decoders

from llmasos.detokenizer import Characters, Detokenizer, chain

LLAMA = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
DECODERS = {
    "byte-level": decoders.ByteLevel(),
    "word-piece": decoders.WordPiece(cleanup=False),
    "word-piece-cleaned": decoders.WordPiece(prefix="##", cleanup=True),
    "metaspace": decoders.Metaspace(),
    "metaspace-first": decoders.Metaspace(prepend_scheme="first"),
    "metaspace-never": decoders.Metaspace(prepend_scheme="never"),
    "llama": decoders.Sequence(LLAMA),
    "nested": decoders.Sequence([decoders.Sequence(LLAMA[:2]), decoders.Fuse()]),
    "fused-in-between": decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "c"), decoders.Strip(" ", 1, 2)]),
    "stripped-each": decoders.Sequence([decoders.Strip("a", 2, 0), decoders.Strip("b", 0, 1)]),
    "replaced": decoders.Replace("a", "bb"),
    "byte-fallback": decoders.ByteFallback(),
    "fused": decoders.Fuse(),
}
PIECES = st.sampled_from(
    [
        *("a", "b", "ab", "##a", "##", "▁", "▁a", "▁▁b", "Ġ", "Ġhe", "é", "ä½", "ł", "a b", ".", ",", "!", "n't", "'s"),
        *(" ", "  a", "don", "do not", "<0x41>", "<0x20>", "<0xZZ>", "中", "\ufffd", ""),
    ]
)


def state(decoder: Any) -> Any:
    return json.loads(decoder.__getstate__())


def pieces_of(decoder: Any, pieces: list[str]) -> list[str]:
    """What is given out after each piece, and at the end."""
    makers = chain(state(decoder))
    assert makers is not None
    text = Detokenizer([make() for make in makers])
    return [*map(text.feed, pieces), text.end()]


@pytest.mark.parametrize("name", DECODERS)
@given(pieces=st.lists(PIECES, max_size=7))
def test_a_chain_says_what_the_library_says(name: str, pieces: list[str]) -> None:
    try:
        due = DECODERS[name].decode(pieces)
    except BaseException as error:  # the library's Strip panics on some pieces that are all front and end
        assume("panic" not in type(error).__name__.lower())
        raise
    assert "".join(pieces_of(DECODERS[name], pieces)) == due


@pytest.mark.parametrize("name", DECODERS)
@given(pieces=st.lists(PIECES | st.sampled_from(["<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>"]), max_size=7))
def test_what_is_given_out_begins_the_text_of_any_continuation(name: str, pieces: list[str]) -> None:
    given_out = pieces_of(DECODERS[name], pieces)
    whole = "".join(given_out)
    for cut in range(len(pieces) + 1):
        certain = "".join(given_out[:cut])
        assert whole.startswith(certain)
        assert "".join(pieces_of(DECODERS[name], pieces[:cut])).startswith(certain)


@pytest.mark.parametrize(
    "name", ["byte-level", "word-piece", "word-piece-cleaned", "metaspace", "metaspace-never", "llama", "replaced"]
)
@given(pieces=st.lists(PIECES | st.sampled_from(["<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>"]), max_size=7))
def test_published_decoders_wait_for_no_more_than_half_a_character(name: str, pieces: list[str]) -> None:
    assert pieces_of(DECODERS[name], pieces)[-1] in ("", "\ufffd")


def test_no_decoder_joins_with_spaces() -> None:
    text = Detokenizer([make() for make in chain(None) or []])
    assert [*map(text.feed, ["a", "", "b"]), text.end()] == ["a", " ", " b", ""]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("E4 BD A0", "你"),
        ("E4 BD A0 FF", "你\ufffd"),
        ("E4 BD", "\ufffd"),
        ("E4 BD x A0", "\ufffdx\ufffd"),
        ("F0 9F 98 F0 9F 98 80", "\ufffd😀"),
        ("ED A0 80", "\ufffd\ufffd\ufffd"),
        ("C0 AF 41", "\ufffd\ufffdA"),
        ("00 41", "\0A"),
    ],
)
def test_byte_tokens_are_utf_8_with_one_replacement_per_maximal_subpart(names: str, text: str) -> None:
    pieces = [name if name == "x" else f"<0x{name}>" for name in names.split()]
    assert "".join(pieces_of(decoders.ByteFallback(), pieces)) == text
    assert "".join(pieces_of(DECODERS["llama"], pieces)) == text


@given(raw=st.binary(max_size=16), cut=st.integers(0, 16))
def test_bytes_in_parts_are_the_characters_of_the_whole(raw: bytes, cut: int) -> None:
    characters = Characters()
    made = characters.feed(raw[:cut]) + characters.feed(raw[cut:]) + characters.end()
    assert made == raw.decode(errors="replace")


def test_a_piece_that_is_all_front_and_end_is_stripped_once() -> None:
    # The library panics here.
    assert "".join(pieces_of(decoders.Sequence([decoders.Strip(" ", 1, 1)]), [" ", "  ", "   "])) == " "


@pytest.mark.parametrize(
    "decoder",
    [
        decoders.CTC(),
        decoders.BPEDecoder(),
        decoders.Replace("", "a"),
        decoders.Sequence([decoders.Fuse(), decoders.BPEDecoder()]),
    ],
)
def test_what_is_not_run_here_is_said_to_be(decoder: Any) -> None:
    assert chain(state(decoder)) is None
