"""Text to ids and back: bytes, or a tokenizer.json run by the `tokenizers` library."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmasos_conformance.adapters.kit.document import must
from llmasos_conformance.protocol import Refusal


class KitTokenizer:
    """Bytes, or a tokenizer.json run by the `tokenizers` library.

    Attributes:
        text_ids: ids with text; neither special, nor bos, nor eos.
        appends: more ids only append to the text, but for one U+FFFD at its end.
    """

    def __init__(self, config: Mapping[str, Any], raw: bytes | None) -> None:
        self._file: Any = None
        self.appends, ids = True, set(range(256))
        if raw is not None:
            self._file = _tokenizer(raw)
            ids = set(self._file.get_vocab(with_added_tokens=True).values())
            must(max(ids, default=0) < config["vocab_size"], "tokenizer.json has an id that the model lacks")
            ids -= {token for token, added in self._file.get_added_tokens_decoder().items() if added.special}
            self.appends = (json.loads(self._file.to_str()).get("decoder") or {}).get("type") == "ByteLevel"
        self.text_ids = frozenset(ids - {config["bos_token_id"], *config["eos_token_ids"]})

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        raw = utf8(text)
        if self._file is None:
            return list(raw)
        self._file.encode_special_tokens = not allow_special
        return list(self._file.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        if self._file is None:
            return bytes(token for token in ids if token < 256).decode(errors="replace")
        return str(self._file.decode(list(ids), skip_special_tokens=True))


def _tokenizer(raw: bytes) -> Any:
    import tokenizers

    try:
        loaded = tokenizers.Tokenizer.from_str(raw.decode())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library's panics are no Exceptions
        raise Refusal("invalid_format", f"tokenizer.json: {error!s:.200}") from None
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


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
