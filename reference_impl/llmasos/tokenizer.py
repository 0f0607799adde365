"""Text to ids and back.

Without tokenizer.json a model of at least 256 ids speaks bytes: id n below 256 is the byte n, and the ids above have
no text. With tokenizer.json, that file decides. Literals of special tokens that stand in a text are text unless the
caller says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from llmasos.config import ModelConfig
from llmasos.errors import InvalidArgument, InvalidFormat

BYTES = 256


class Tokenizer(Protocol):
    """What the rest of the package needs of a tokenizer.

    Attributes:
        text_ids: ids that stand for text; special tokens do not.
        appends: the text of some ids is a prefix of the text of more, but for one U+FFFD at its end. Only then can
            text be streamed before the last id is known.
    """

    text_ids: frozenset[int]
    appends: bool

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Ids of a text of Unicode scalar values."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; ids without text add nothing; ill-formed bytes become U+FFFD, one per maximal subpart."""


class ByteTokenizer:
    """One id per byte of UTF-8."""

    text_ids = frozenset(range(BYTES))
    appends = True

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i < BYTES).decode(errors="replace")


class FileTokenizer:
    """A tokenizer.json, run by the `tokenizers` library.

    Truncation and padding that the file may ask for are switched off: both change ids silently.

    Args:
        raw: bytes of the file.
        vocab_size: of the model; every id of the file must be below.
        where: file name for errors.

    Raises:
        InvalidFormat: the library cannot read it, or it has an id that the model lacks.
    """

    def __init__(self, raw: bytes, vocab_size: int, where: str = "tokenizer.json") -> None:
        self._tokenizer = _load(raw, where)
        vocabulary = set(self._tokenizer.get_vocab(with_added_tokens=True).values())
        added = self._tokenizer.get_added_tokens_decoder()
        largest = max(vocabulary, default=0)
        if largest >= vocab_size:
            raise InvalidFormat(f"id {largest} does not fit vocab_size {vocab_size}", where)
        self.text_ids = frozenset(vocabulary - {i for i, token in added.items() if token.special})
        decoder = json.loads(self._tokenizer.to_str())["decoder"] or {}
        self.appends = decoder.get("type") == "ByteLevel"

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        tokenizer = self._tokenizer
        if allow_special:
            # A copy, because the switch belongs to the object and other threads may be encoding.
            tokenizer = type(tokenizer).from_str(tokenizer.to_str())
            tokenizer.encode_special_tokens = False
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text


def _load(raw: bytes, where: str) -> Any:
    import tokenizers  # only bundles with a tokenizer.json pay for it

    try:
        tokenizer = tokenizers.Tokenizer.from_str(raw.decode())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library's panics are no Exceptions
        raise InvalidFormat(f"not a tokenizer: {error!s:.200}", where) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def open_tokenizer(config: ModelConfig, raw: bytes | None) -> Tokenizer | None:
    """The tokenizer of a bundle: of the file if there is one, of bytes if the vocabulary holds them, else none."""
    if raw is not None:
        return FileTokenizer(raw, config.vocab_size)
    return ByteTokenizer() if config.vocab_size >= BYTES else None


def text_ids(config: ModelConfig, tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that may continue a text: those with text, less the ids that start or end one."""
    return tokenizer.text_ids - {config.bos_token_id, *config.eos_token_ids}


def check_text(value: object, where: str) -> str:
    """A text of Unicode scalar values.

    Raises:
        InvalidArgument: no text, or one that holds half a surrogate pair, which has no UTF-8.
    """
    if not isinstance(value, str):
        raise InvalidArgument(f"expected a text, found {type(value).__name__}", where)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"character {error.start} is a lone surrogate", where, "send valid Unicode") from None
    return value
