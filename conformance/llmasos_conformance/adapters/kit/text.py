"""Text to ids and back: bytes, or a tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmasos_conformance.adapters.kit.document import parse
from llmasos_conformance.adapters.kit.tokenfile import TokenFile, whole_characters
from llmasos_conformance.protocol import Refusal


class KitTokenizer:
    """Bytes, or a tokenizer.json.

    Attributes:
        text_ids: ids with text; neither special, nor bos, nor eos.
    """

    def __init__(self, config: Mapping[str, Any], raw: bytes | None) -> None:
        self._file = None if raw is None else TokenFile(parse(raw), config["vocab_size"])
        ids = set(range(256)) if self._file is None else self._file.ids - self._file.special
        self.text_ids = frozenset(ids - {config["bos_token_id"], *config["eos_token_ids"]})

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of a text.

        Raises:
            Refusal: invalid_argument for no text, or a lone surrogate, which no text of Unicode holds.
        """
        raw = utf8(text)
        return list(raw) if self._file is None else self._file.encode(text, allow_special)

    def decode(self, ids: Sequence[int], *, unfinished: bool = False) -> str:
        """Text of ids; if more ids will follow, as much of it as they cannot change."""
        if self._file is not None:
            return self._file.decode(ids, unfinished=unfinished)
        return whole_characters(bytes(token for token in ids if token < 256), unfinished=unfinished)


def utf8(text: Any) -> bytes:
    """The bytes of a text.

    Raises:
        Refusal: invalid_argument, when it is no text or holds half a surrogate pair.
    """
    if not isinstance(text, str):
        raise Refusal("invalid_argument", f"no text: {text!r:.60}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Refusal("invalid_argument", f"character {error.start} is a lone surrogate") from None
