"""Text to ids and back, by bytes and by file."""

from __future__ import annotations

from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from llmasos import ModelConfig
from llmasos.errors import InvalidArgument, InvalidFormat
from llmasos.generation import settled_length
from llmasos.tokenizer import ByteTokenizer, FileTokenizer, check_text, open_tokenizer, text_ids

BYTES = ByteTokenizer()


def byte_level(**changes: Any) -> tokenizers.Tokenizer:
    """A byte-level BPE with one merge and one special token, as published decoders have them."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(alphabet)} | {"he": 256}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[("h", "e")]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|end|>"])
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def published_byte_ids() -> dict[int, int]:
    """Byte -> id in `byte_level`. GPT-2 writes printable Latin-1 as itself and the other bytes from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return {byte: sorted(characters.values()).index(character) for byte, character in characters.items()}


BYTE_IDS = published_byte_ids()


@pytest.fixture(scope="module")
def file_tokenizer() -> FileTokenizer:
    return FileTokenizer(byte_level().to_str().encode(), 300)


@given(st.text())
def test_bytes_there_and_back(text: str) -> None:
    assert BYTES.encode(text) == list(text.encode())
    assert BYTES.decode(BYTES.encode(text)) == text


def test_bytes_by_hand() -> None:
    assert BYTES.encode("a\0你") == [97, 0, 0xE4, 0xBD, 0xA0]
    assert BYTES.decode([97, 299, 256, 98]) == "ab"
    assert BYTES.text_ids == set(range(256))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xe4\xbd", "\ufffd"),
        (b"\xe4\xbdA", "\ufffdA"),
        (b"\xf0\x9f\x98\xf0\x9f", "\ufffd\ufffd"),
        (b"\xff\xff", "\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xc0\x80", "\ufffd\ufffd"),
    ],
)
def test_one_replacement_per_maximal_subpart(raw: bytes, text: str, file_tokenizer: FileTokenizer) -> None:
    assert BYTES.decode(list(raw)) == text
    assert file_tokenizer.decode([BYTE_IDS[byte] for byte in raw]) == text


@given(ids=st.lists(st.integers(0, 299), max_size=12), cut=st.integers(0, 12))
def test_settled_text_is_never_taken_back(ids: list[int], cut: int) -> None:
    early = BYTES.decode(ids[:cut])
    assert BYTES.decode(ids).startswith(early[: settled_length(early, BYTES)])
    assert len(early) - settled_length(early, BYTES) <= 1


@given(ids=st.lists(st.integers(0, 257), max_size=12), cut=st.integers(0, 12))
def test_settled_text_of_a_file_is_never_taken_back(file_tokenizer: FileTokenizer, ids: list[int], cut: int) -> None:
    assert file_tokenizer.appends
    early = file_tokenizer.decode(ids[:cut])
    assert file_tokenizer.decode(ids).startswith(early[: settled_length(early, file_tokenizer)])


@given(text=st.text())
def test_a_byte_level_file_there_and_back(file_tokenizer: FileTokenizer, text: str) -> None:
    assert file_tokenizer.decode(file_tokenizer.encode(text)) == text


def test_literals_of_special_tokens_are_text_unless_asked(file_tokenizer: FileTokenizer) -> None:
    text = "he<|end|>"
    assert 257 not in file_tokenizer.encode(text)
    assert file_tokenizer.decode(file_tokenizer.encode(text)) == text
    assert file_tokenizer.encode(text, allow_special=True) == [256, 257]
    assert 257 not in file_tokenizer.encode(text)
    assert file_tokenizer.decode([256, 257]) == "he"
    assert 257 not in file_tokenizer.text_ids
    assert 256 in file_tokenizer.text_ids


def test_a_file_may_not_cut_pad_or_frame() -> None:
    made = byte_level(post_processor=tokenizers.processors.TemplateProcessing("$A <|end|>", None, [("<|end|>", 257)]))
    made.enable_truncation(2)
    made.enable_padding(length=8)
    assert len(FileTokenizer(made.to_str().encode(), 300).encode("abcd")) == 4


def test_text_that_later_ids_may_change_is_not_streamed() -> None:
    made = FileTokenizer(byte_level(decoder=tokenizers.decoders.WordPiece()).to_str().encode(), 300)
    assert not made.appends
    assert settled_length("abc", made) == 0


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b'{"version": "1.0"}', b'{"model": {"type": "X"}}'])
def test_a_file_that_is_no_tokenizer_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidFormat, match=r"^tokenizer\.json: not a tokenizer"):
        FileTokenizer(raw, 300)


def test_ids_must_fit_the_model() -> None:
    raw = byte_level().to_str().encode()
    FileTokenizer(raw, 258)
    with pytest.raises(InvalidFormat, match="id 257 does not fit vocab_size 257"):
        FileTokenizer(raw, 257)


def test_which_tokenizer_a_bundle_has(document: Any) -> None:
    small, large = (ModelConfig.from_document(document(vocab_size=V)) for V in (255, 256))
    assert open_tokenizer(small, None) is None
    assert isinstance(open_tokenizer(large, None), ByteTokenizer)


def test_start_and_end_have_no_text(document: Any) -> None:
    config = ModelConfig.from_document(document(bos_token_id=299, eos_token_ids=[0, 298]))
    assert text_ids(config, BYTES) == set(range(1, 256))


@pytest.mark.parametrize("value", ["\ud800", "a\udfff", b"a", None, 5])
def test_only_scalar_values_are_text(value: object) -> None:
    with pytest.raises(InvalidArgument, match="prompt"):
        check_text(value, "prompt")
