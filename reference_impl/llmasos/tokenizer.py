"""Text to ids and back.

Without tokenizer.json a model of at least 256 ids speaks bytes: id n below 256 is the byte n, and the ids above have
no text. With tokenizer.json, that file decides. Literals of special tokens that stand in a text are text unless the
caller says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from llmasos.config import ModelConfig
from llmasos.detokenizer import LETTERS, Characters, Detokenizer, Maker, chain
from llmasos.errors import InvalidArgument
from llmasos.tokenizerfile import TokenizerFile

BYTES = 256


class Decoding(Protocol):
    """The text of ids that come one after the other."""

    def feed(self, token: int) -> str:
        """Text that this id makes certain; no later id changes it. May be empty."""

    def end(self) -> str:
        """The rest of the text: what was held back, half a character as U+FFFD. Nothing may be fed afterwards."""


class Tokenizer(Protocol):
    """What the rest of the package needs of a tokenizer. Nothing in it changes, so threads may share it.

    Attributes:
        text_ids: ids that stand for text; special tokens do not.
    """

    text_ids: frozenset[int]

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Ids of a text of Unicode scalar values."""

    def decoding(self) -> Decoding:
        """A fresh start."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; ids without text add nothing; ill-formed bytes become U+FFFD, one per maximal subpart."""


def decoded(decoding: Decoding, ids: Sequence[int]) -> str:
    """The whole text of ids."""
    return "".join([*map(decoding.feed, ids), decoding.end()])


class ByteTokenizer:
    """One id per byte of UTF-8."""

    text_ids = frozenset(range(BYTES))

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        return list(text.encode())

    def decoding(self) -> Decoding:
        return _ByteDecoding()

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(token for token in ids if token < BYTES).decode(errors="replace")


class _ByteDecoding:
    def __init__(self) -> None:
        self._characters = Characters()

    def feed(self, token: int) -> str:
        return self._characters.feed(bytes([token])) if token < BYTES else ""

    def end(self) -> str:
        return self._characters.end()


class FileTokenizer:
    """A tokenizer.json. The `tokenizers` library makes ids of text; `detokenizer` makes text of ids.

    Args:
        raw: bytes of the file.
        vocab_size: of the model; every id of the file must be below.
        where: file name for errors.

    Raises:
        InvalidFormat: as `tokenizerfile` says.
    """

    def __init__(self, raw: bytes, vocab_size: int, where: str = "tokenizer.json") -> None:
        self._file = file = TokenizerFile(raw, vocab_size, where)
        self.text_ids = frozenset(file.names.keys() - file.special)
        self._steps = chain(file.decoder)
        self._pieces = {token: file.names[token] for token in self.text_ids}
        if file.decoder is not None and file.decoder["type"] == "ByteLevel":
            # An added token is cut out of a text before the text is spelled in letters: its name is no spelling.
            for token in self.text_ids & file.added_only:
                self._pieces[token] = "".join(LETTERS[byte] for byte in file.names[token].encode())

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        return self._file.encode(text, allow_special=allow_special)

    def decoding(self) -> Decoding:
        if self._steps is None:
            return _LateDecoding(self._file)
        return _FileDecoding(self._pieces, self._steps)

    def decode(self, ids: Sequence[int]) -> str:
        return decoded(self.decoding(), ids)


class _FileDecoding:
    def __init__(self, pieces: Mapping[int, str], steps: Sequence[Maker]) -> None:
        self._pieces, self._text = pieces, Detokenizer([make() for make in steps])

    def feed(self, token: int) -> str:
        return self._text.feed(self._pieces[token]) if token in self._pieces else ""

    def end(self) -> str:
        return self._text.end()


class _LateDecoding:
    """Of a decoder that only the library runs: it may change any text when ids follow, so all comes at the end."""

    def __init__(self, file: TokenizerFile) -> None:
        self._file, self._ids = file, list[int]()

    def feed(self, token: int) -> str:
        self._ids.append(token)
        return ""

    def end(self) -> str:
        return self._file.decode(self._ids)


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
