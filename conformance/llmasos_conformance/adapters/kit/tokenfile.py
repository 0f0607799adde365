"""tokenizer.json for the adapter kit: what it must be, ids of a text by the `tokenizers` library, and texts of ids.

Written apart from the reference and held to it by property tests. Text is made in another way than there: each token
becomes bytes, whatever its decoder, and the bytes of all of them become characters at once. What the library does
otherwise than the standard demands is put right here:

    TOK-4   a special token whose name stands in the model's vocabulary is found in plain text
    TOK-5   one wrong byte token spoils the characters spelled by its neighbours
    TOK-34  the name of an added token is read as a spelling of bytes
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from llmasos_conformance.adapters.kit.document import must
from llmasos_conformance.protocol import Refusal

_HALF = re.compile(
    rb"(?:[\xC2-\xDF]|\xE0[\xA0-\xBF]?|[\xE1-\xEC\xEE\xEF][\x80-\xBF]?|\xED[\x80-\x9F]?|\xF0(?:[\x90-\xBF][\x80-\xBF]?)?"
    rb"|[\xF1-\xF3][\x80-\xBF]{0,2}|\xF4(?:[\x80-\x8F][\x80-\xBF]?)?)\Z"
)
"""The beginning of a character of UTF-8, at the end of bytes (Unicode 15, table 3-7)."""
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_ALPHABET: Mapping[str, int] = {
    **{chr(b): b for b in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))},
    **{chr(0x100 + i): b for i, b in enumerate((*range(0x21), *range(0x7F, 0xA1), 0xAD))},
}
"""Letter of byte-level vocabularies -> byte."""
_CLEANED = {
    " .": ".", " ?": "?", " !": "!", " ,": ",", " ' ": "'", " n't": "n't", " 'm": "'m", " do not": " don't",
    " 's": "'s", " 've": "'ve", " 're": "'re",
}  # fmt: skip

Spelling = Callable[[str, bool], str | bytes]
"""What a decoder makes of a token's name; the flag says that it is the first of its text."""


def whole_characters(raw: bytes, *, unfinished: bool) -> str:
    """Bytes as text, ill-formed ones as U+FFFD; `unfinished` leaves out half a character at the end."""
    return (_HALF.sub(b"", raw) if unfinished else raw).decode(errors="replace")


class TokenFile:
    """An opened tokenizer.json.

    Args:
        document: parsed, strict JSON. size: vocab_size of the model.

    Attributes:
        special: ids without text. ids: all ids.

    Raises:
        Refusal: invalid_format.
    """

    def __init__(self, document: Any, size: int) -> None:
        check_parts(document)
        library = _open(document)
        _judge(document, library, size)
        entries = document.get("added_tokens") or []
        self.special = {entry["id"] for entry in entries if entry["special"]}
        known: Mapping[str, int] = library.get_vocab(with_added_tokens=False)
        self._names = {token: name for name, token in known.items()}
        self._names |= {entry["id"]: entry["content"] for entry in entries}
        self.ids = set(self._names)
        self._literal = self.ids - set(known.values())
        self._document, self._library = document, library
        if any(library.token_to_id(self._names[token]) != token for token in self._literal):
            self._document = _numbered(document)
            self._library = _open(self._document)
        held = self._library.get_vocab(with_added_tokens=False)
        self._risky = {self._names[token] for token in self.special} & set(held)
        self._openers: dict[str, Any] = {}
        decoder = _state(self._library.decoder)
        self._spellings, self._stripped = _spellings(decoder), _front(decoder)
        self._byte_level = decoder is not None and decoder["type"] == "ByteLevel"

    def encode(self, text: str, allow_special: bool) -> list[int]:
        """Ids of a text.

        Raises:
            Refusal: unsupported, when the library fails.
        """
        # One object for each way of reading: its switch is not for threads that read in different ways.
        if allow_special:
            way = self._opener("special", lambda: self._document, special=True)
        elif self._risky:
            veil = "\ufdd0" * (1 + max(map(len, re.findall("\ufdd0+", text)), default=0))  # a noncharacter
            way = self._opener(veil, lambda: self._hiding(veil))
        else:
            way = self._library
        try:
            return list(way.encode(text, add_special_tokens=False).ids)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library's panics are no Exceptions
            raise Refusal("unsupported", f"tokenizer.json: {error!s:.200}") from None

    def _opener(self, name: str, document: Callable[[], Any], *, special: bool = False) -> Any:
        if name not in self._openers:
            made = _open(document())
            made.encode_special_tokens = not special
            if len(name) > 1 and not special:
                return made  # for this text alone
            self._openers[name] = made
        return self._openers[name]

    def _hiding(self, veil: str) -> Any:
        """The document with the model's special tokens under names that no text has."""
        copy = json.loads(json.dumps(self._document))
        model = copy["model"]
        if isinstance(model["vocab"], dict):
            model["vocab"] = {self._veiled(veil, name): token for name, token in model["vocab"].items()}
        else:
            for piece in model["vocab"]:
                piece[0] = self._veiled(veil, piece[0])
        for entry in copy["added_tokens"]:
            entry["content"] = self._veiled(veil, entry["content"])
        if isinstance(model.get("unk_token"), str):
            model["unk_token"] = self._veiled(veil, model["unk_token"])
        halves = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", [])]
        if halves:
            model["merges"] = [[a, b] for a, b in halves if self._risky.isdisjoint((a, b, a + b))]
        copy["post_processor"] = None
        return copy

    def _veiled(self, veil: str, name: str) -> str:
        return veil + name if name in self._risky else name

    def decode(self, ids: Sequence[int], *, unfinished: bool = False) -> str:
        """Text of ids.

        Args:
            unfinished: more ids will follow; half a character at the end is left out.

        Raises:
            Refusal: unsupported, when the library fails.
        """
        shown = [token for token in ids if token in self.ids and token not in self.special]
        if self._spellings is None:
            return "" if unfinished else self._by_library(shown)
        raw = b"".join(self._bytes(token, i == 0) for i, token in enumerate(shown))
        text = whole_characters(raw, unfinished=unfinished)
        character, count = self._stripped
        front = len(text) - len(text.lstrip(character)) if count else 0
        return text[min(front, count) :]

    def _bytes(self, token: int, first: bool) -> bytes:
        if self._byte_level and token in self._literal:
            return self._names[token].encode()
        made: str | bytes = self._names[token]
        for spell in self._spellings or ():
            if isinstance(made, str):
                made = spell(made, first)
        return made.encode() if isinstance(made, str) else made

    def _by_library(self, ids: Sequence[int]) -> str:
        try:
            return str(self._library.decode(list(ids)))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library's panics are no Exceptions
            raise Refusal("unsupported", f"tokenizer.json: {error!s:.200}") from None


def _open(document: Any) -> Any:
    import tokenizers

    try:
        loaded = tokenizers.Tokenizer.from_str(json.dumps(document))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library's panics are no Exceptions
        raise Refusal("invalid_format", f"tokenizer.json: {error!s:.200}") from None
    loaded.no_truncation()
    loaded.no_padding()
    loaded.encode_special_tokens = True
    return loaded


def _state(component: Any) -> Any:
    return None if component is None else json.loads(component.__getstate__())


# ── what a file must be ─────────────────────────────────────────────────────────────────────────────────────────────


def check_parts(document: Any) -> None:
    """Whether the parts of a file fit each other where the library would panic, or end the process, if they do not.

    Raises:
        Refusal: invalid_format.
    """
    _check_merges(document)
    parts = [document.get("normalizer")] if isinstance(document, dict) else []
    for part in parts:  # and those that it holds, which are appended
        if isinstance(part, dict) and isinstance(inner := part.get("normalizers"), list):
            parts += inner
        if isinstance(part, dict) and part.get("type") == "Precompiled":
            must(_is_table(part.get("precompiled_charsmap")), "tokenizer.json: precompiled_charsmap is no table")


def _is_table(text: Any) -> bool:
    """Whether a text is base64, as it is written or without its end, of a length, as many bytes, and UTF-8.

    The length has four bytes, little-endian; the library drops what is no multiple of four of it.
    """
    try:
        raw = binascii.a2b_base64(str(text) + "===", strict_mode=False)
        length = int.from_bytes(raw[:4], "little")
        raw[4 + length - length % 4 :].decode()
    except ValueError:
        return False
    written = binascii.b2a_base64(raw, newline=False).decode()
    return isinstance(text, str) and written.startswith(text) and 4 + length - length % 4 <= len(raw)


def _check_merges(document: Any) -> None:
    """Merges join tokens of the vocabulary into one of it; the library panics otherwise, or ends the process.

    It takes the bytes of the prefix off the right half without a look at them. What has another form is its own to
    refuse.
    """
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict):
        return
    listed, merges = model.get("vocab"), model.get("merges")
    if not isinstance(listed, dict) or not isinstance(merges, list):
        return
    vocabulary = {name.encode() for name in listed}
    prefix = model.get("continuing_subword_prefix")
    skipped = len(prefix.encode()) if isinstance(prefix, str) else 0
    for merge in merges:
        pair = merge.split(" ", 1) if isinstance(merge, str) else merge
        if not isinstance(pair, list) or [type(half) for half in pair] != [str, str]:
            return
        left, right = (half.encode() for half in pair)
        whole = left + right[skipped:]
        must(
            len(right) >= skipped and {left, right, whole} <= vocabulary,
            "tokenizer.json: a merge of what the vocabulary lacks",
        )


def _judge(document: Any, library: Any, size: int) -> None:
    """Every id is the model's and one token's; every text has ids, and the same each time."""
    model, entries = document["model"], document.get("added_tokens") or []
    vocabulary = library.get_vocab(with_added_tokens=False)
    added = [(entry["content"], entry["id"]) for entry in entries]
    distinct = {*vocabulary.items(), *added}
    must(len(vocabulary) == len(model["vocab"]), "tokenizer.json: a token is listed twice")
    must(len({name for name, _ in added}) == len(added), "tokenizer.json: an added token is listed twice")
    must(len({token for _, token in distinct}) == len(distinct), "tokenizer.json: an id has two tokens")
    must(len({name for name, _ in distinct}) == len(distinct), "tokenizer.json: a token has two ids")
    must(max((token for _, token in distinct), default=0) < size, "tokenizer.json: an id that the model lacks")
    must(not model.get("dropout"), "tokenizer.json: dropout makes ids of a text a matter of chance")
    whole = _complete(model, type(library.model).__name__, library, vocabulary)
    must(whole, "tokenizer.json: some texts have no ids")


def _numbered(document: Any) -> Any:
    """The document with its added tokens in the model's vocabulary: the library closes gaps before others."""
    copy = json.loads(json.dumps(document))
    vocabulary = copy["model"]["vocab"]
    for token, name in sorted((entry["id"], entry["content"]) for entry in copy["added_tokens"]):
        if isinstance(vocabulary, dict):
            vocabulary[name] = token
        elif token >= len(vocabulary):
            vocabulary += [[f"\ufdd1{i}\ufdd1", 0.0] for i in range(len(vocabulary), token)]
            vocabulary.append([name, 0.0])
    return copy


def _complete(model: Any, kind: str, library: Any, vocabulary: Mapping[str, int]) -> bool:
    """Whether an unknown token, or a token for each byte, stands for what the vocabulary lacks."""
    if kind == "Unigram":
        return model.get("unk_id") is not None
    if kind != "BPE" or model.get("unk_token") is not None:
        return library.model.unk_token in vocabulary
    if model.get("byte_fallback"):
        return all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
    kinds = {part["type"] for side in (library.pre_tokenizer, library.normalizer) for part in _flat(_state(side))}
    decorated = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    return "ByteLevel" in kinds and not decorated and _ALPHABET.keys() <= vocabulary.keys()


def _flat(part: Any) -> Iterator[Any]:
    """A component, or those that a sequence holds."""
    if part is None:
        return
    if part["type"] != "Sequence":
        yield part
        return
    for inner in part.get("decoders") or part.get("normalizers") or part.get("pretokenizers") or ():
        yield from _flat(inner)


# ── what decoders make of a name ────────────────────────────────────────────────────────────────────────────────────


def _spellings(decoder: Any) -> list[Spelling] | None:
    """One function per decoder; None if one of them needs all tokens at once."""
    if decoder is None:
        return [lambda name, first: name if first else f" {name}"]
    parts = list(_flat(decoder))
    fused = [part["type"] for part in parts].index("Fuse") if any(part["type"] == "Fuse" for part in parts) else None
    if fused is not None:
        behind = parts[fused + 1 :]
        if behind and _front(decoder) == ("", 0):
            return None
        parts = parts[:fused]
    made: list[Spelling] = []
    for part in parts:
        spelling = _spelling(part)
        if spelling is None:
            return None
        made.append(spelling)
    return made


def _front(decoder: Any) -> tuple[str, int]:
    """Character and number of those that are taken from the front of the whole text."""
    parts = [] if decoder is None else list(_flat(decoder))
    kinds = [part["type"] for part in parts]
    if kinds[-2:] == ["Fuse", "Strip"] and kinds.count("Fuse") == 1 and parts[-1]["stop"] == 0:
        return parts[-1]["content"], parts[-1]["start"]
    return "", 0


def _spelling(part: Any) -> Spelling | None:
    kind = part["type"]
    if kind == "ByteLevel":
        return _letters
    if kind == "ByteFallback":
        return _byte
    if kind == "WordPiece":
        return lambda name, first: _word_piece(name, first, part["prefix"], part["cleanup"])
    if kind == "Metaspace":
        begins = part["prepend_scheme"] != "never"
        return lambda name, first: name.replace(part["replacement"], "" if first and begins else " ")
    if kind == "Replace" and part["pattern"].get("String"):
        return lambda name, first: name.replace(part["pattern"]["String"], part["content"])
    return None


def _letters(name: str, first: bool) -> str | bytes:
    return bytes(map(_ALPHABET.__getitem__, name)) if _ALPHABET.keys() >= set(name) else name


def _byte(name: str, first: bool) -> str | bytes:
    match = _BYTE.fullmatch(name)
    return bytes([int(match[1], 16)]) if match else name


def _word_piece(name: str, first: bool, prefix: str, cleanup: bool) -> str:
    if not first:
        name = name[len(prefix) :] if name.startswith(prefix) else f" {name}"
    if cleanup:
        for before, after in _CLEANED.items():
            name = name.replace(before, after)
    return name
