"""What a tokenizer.json says of a text and of ids, computed here and nowhere else. No checks live here.

    Witness(document).encode(text)   ids that are due
    Witness(document).decode(ids)    text that is due

The witness knows neither the `tokenizers` library nor the reference. It follows the definition of each algorithm and
not a way to be fast: BPE looks for the first merge of the list that fits anywhere, WordPiece tries the longest piece
first, and Unigram compares all segmentations, from the left, by the sum of their scores. It reads what the suite's own
files hold and refuses anything else, so that no part of a file is passed over in silence.

    normalizers     BertNormalizer, Lowercase, NFC, NFD, StripAccents, Prepend, Replace (of a text), Sequence
    pre-tokenizers  ByteLevel, BertPreTokenizer, Metaspace, none
    models          BPE, WordPiece, Unigram
    decoders        ByteLevel, WordPiece (without clean-up), Metaspace; Replace, ByteFallback, Fuse, Strip in a Sequence
    added tokens    special, lstrip, rstrip; not single_word, not normalized

Post-processor, truncation and padding are not followed (TOK-31, TOK-32).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from llmasos_conformance.checks.vocabularies import (
    UNKNOWN_PENALTY,
    Document,
    ids_by_name,
    letters,
    special_ids,
    spelled,
)
from llmasos_conformance.checks.wordsplit import WHITE_SPACE, bert_words, byte_words, is_chinese, marked_words

Part = Mapping[str, Any]
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Unreadable(ValueError):
    """The witness does not know a part of the file: a case asks what it cannot judge."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of a text: plain, or an added token of this id. `first` says that it begins the text."""

    text: str
    token: int | None = None
    first: bool = False


class Witness:
    """One tokenizer.json.

    Raises:
        Unreadable: it has a part that the witness does not know.
    """

    def __init__(self, document: Document) -> None:
        self._file, self._model = document, document["model"]
        self.ids = ids_by_name(document)
        self.names = {token: name for name, token in self.ids.items()}
        self.special = special_ids(document)
        if any(entry["single_word"] or entry["normalized"] for entry in document["added_tokens"]):
            raise Unreadable("added tokens of whole words or of normalized text")
        self._segment = {"BPE": self._bpe, "WordPiece": self._word_piece, "Unigram": self._unigram}[self._model["type"]]
        self._bytes = {letter: byte for byte, letter in letters().items()}
        # The names of special tokens are no pieces of text (TOK-4), though they stand in the vocabulary.
        names = {name for name, token in self.ids.items() if token in self.special}
        pieces = self._model["vocab"]
        self._pieces: Mapping[str, Any] = {
            name: value for name, value in (pieces if isinstance(pieces, list) else pieces.items()) if name not in names
        }

    @property
    def byte_ids(self) -> dict[int, int]:
        """Byte -> id of the token that stands for it alone; empty if there are none."""
        spellings = letters() if self._model["type"] == "BPE" else {byte: f"<0x{byte:02X}>" for byte in range(256)}
        return {byte: self.ids[name] for byte, name in spellings.items() if name in self.ids}

    @property
    def marks_begin(self) -> bool:
        """Whether the mark before the first word may be the text's own space: both look the same in ids."""
        part = self._file["pre_tokenizer"]
        return part is not None and part["type"] == "Metaspace" and part["prepend_scheme"] != "never"

    # Text to ids.

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Ids of a text.

        Args:
            allow_special: literals of special tokens are the tokens.
        """
        ids: list[int] = []
        for stretch in self._stretches(text, allow_special):
            if stretch.token is not None:
                ids.append(stretch.token)
                continue
            for word in self._words(normalized(self._file["normalizer"], stretch.text), stretch.first):
                ids += self._segment(word)
        return ids

    def _stretches(self, text: str, allow_special: bool) -> Iterator[_Stretch]:
        """Cut added tokens out: the one that begins first, of those the longest."""
        entries = [entry for entry in self._file["added_tokens"] if allow_special or not entry["special"]]
        done = at = 0
        while at < len(text):
            found = [entry for entry in entries if text.startswith(entry["content"], at)]
            if not found:
                at += 1
                continue
            entry = max(found, key=lambda entry: len(entry["content"]))
            start, end = at, at + len(entry["content"])
            while entry["lstrip"] and start > done and text[start - 1] in WHITE_SPACE:
                start -= 1
            while entry["rstrip"] and end < len(text) and text[end] in WHITE_SPACE:
                end += 1
            if start > done:
                yield _Stretch(text[done:start], first=done == 0)
            yield _Stretch(text[start:end], token=entry["id"])
            done = at = end
        if done < len(text):
            yield _Stretch(text[done:], first=done == 0)

    def _words(self, text: str, first: bool) -> list[str]:
        """Normalized text in words, as the model takes them."""
        part = self._file["pre_tokenizer"]
        if not text:
            return []
        if part is None:
            return [text]
        if part["type"] == "ByteLevel" and not part["add_prefix_space"]:
            return [spelled(word) for word in (byte_words(text) if part["use_regex"] else [text])]
        if part["type"] == "BertPreTokenizer":
            return bert_words(text)
        if part["type"] == "Metaspace" and part["split"]:
            mark, scheme = part["replacement"], part["prepend_scheme"]
            text = text.replace(" ", mark)
            wanted = scheme == "always" or (scheme == "first" and first)
            return marked_words(text if text.startswith(mark) or not wanted else mark + text, mark)
        raise Unreadable(f"pre-tokenizer {part}")

    def _bpe(self, word: str) -> list[int]:
        """Join, again and again, the pair that stands first in the list of merges; of the same pair the leftmost."""
        rank = {tuple(merge.split(" ")): i for i, merge in enumerate(self._model["merges"])}
        symbols = list(word)
        while True:
            ranked = [(rank[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in rank]
            if not ranked:
                return [self.ids[symbol] for symbol in symbols]
            _, i = min(ranked)
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]

    def _word_piece(self, word: str) -> list[int]:
        """The longest piece that begins the word, then the longest that continues it; all of it or [UNK]."""
        vocabulary, prefix = self._pieces, self._model["continuing_subword_prefix"]
        unknown = [self.ids[self._model["unk_token"]]]
        if len(word) > self._model["max_input_chars_per_word"]:
            return unknown
        ids: list[int] = []
        rest = word
        while rest:
            pieces = ((prefix if ids else "") + rest[:n] for n in range(len(rest), 0, -1))
            piece = next((piece for piece in pieces if piece in vocabulary), None)
            if piece is None:
                return unknown
            ids.append(vocabulary[piece])
            rest = rest[len(piece) - (len(prefix) if len(ids) > 1 else 0) :]
        return ids

    def _unigram(self, word: str) -> list[int]:
        """The segmentation with the largest sum of scores; of equals the one whose last piece is longest, and so on.

        A character of no piece scores UNKNOWN_PENALTY below the lowest piece; neighbours of that kind are one piece.
        """
        scores = self._pieces
        unknown = min(scores.values()) - UNKNOWN_PENALTY
        best: list[tuple[float, list[str]]] = [(0.0, [])]  # of each beginning of the word
        for end in range(1, len(word) + 1):
            ways: list[tuple[float, list[str]]] = []
            for start in range(end):  # the longest last piece first, so that it wins among equals
                piece = word[start:end]
                single = end - start == 1 and piece not in scores
                if piece in scores or single:
                    ways.append((best[start][0] + (unknown if single else scores[piece]), [*best[start][1], piece]))
            best.append(max(ways, key=lambda way: way[0]))
        return self._named(best[-1][1])

    def _named(self, pieces: Sequence[str]) -> list[int]:
        """Pieces as ids; a run of unknown characters as one unknown token, or as its bytes."""
        ids: list[int] = []
        run = ""
        for piece in [*pieces, ""]:
            if piece and piece not in self._pieces:
                run += piece
                continue
            if run:
                ids += self._unknown(run)
                run = ""
            ids += [self.ids[piece]] if piece else []
        return ids

    def _unknown(self, run: str) -> list[int]:
        if self._model["byte_fallback"]:
            return [self.ids[f"<0x{byte:02X}>"] for byte in run.encode()]
        return [self._model["unk_id"]]

    # Ids to text.

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens and ids without a name add nothing."""
        shown = [token for token in ids if token in self.names and token not in self.special]
        part = self._file["decoder"]
        names = [self.names[token] for token in shown]
        if part["type"] == "ByteLevel":
            return b"".join(map(self._raw, shown)).decode(errors="replace")
        if part["type"] == "WordPiece" and not part["cleanup"]:
            prefix = part["prefix"]
            return "".join(
                name if i == 0 else name.removeprefix(prefix) if name.startswith(prefix) else f" {name}"
                for i, name in enumerate(names)
            )
        if part["type"] == "Metaspace":
            begin = part["prepend_scheme"] != "never"
            mark = part["replacement"]
            return "".join(name.replace(mark, "" if i == 0 and begin else " ") for i, name in enumerate(names))
        if part["type"] == "Sequence":
            return _sequence(part["decoders"], names)
        raise Unreadable(f"decoder {part}")

    def _raw(self, token: int) -> bytes:
        """The bytes of a byte-level token; an added one means its characters."""
        name = self.names[token]
        if name in self._model["vocab"]:
            return bytes(self._bytes[letter] for letter in name)
        return name.encode()


def _sequence(parts: Sequence[Part], names: Sequence[str]) -> str:
    """Replace, ByteFallback, Fuse and Strip, in this order."""
    if [part["type"] for part in parts] != ["Replace", "ByteFallback", "Fuse", "Strip"]:
        raise Unreadable(f"decoders {parts}")
    replace, _, _, strip = parts
    raw = b""
    for name in names:
        match = _BYTE.fullmatch(name)
        text = name.replace(replace["pattern"]["String"], replace["content"])
        raw += bytes([int(match[1], 16)]) if match else text.encode()
    text = raw.decode(errors="replace")
    if strip["stop"]:
        raise Unreadable(f"decoder {strip}")
    for _ in range(strip["start"]):
        text = text.removeprefix(strip["content"])
    return text


# ── normalizers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def normalized(part: Part | None, text: str) -> str:
    """A text after a normalizer of tokenizer.json; None leaves it as it is."""
    if part is None:
        return text
    if part["type"] == "Sequence":
        for one in part["normalizers"]:
            text = normalized(one, text)
        return text
    if part["type"] == "Prepend":
        return part["prepend"] + text if text else text
    if part["type"] == "Replace" and "String" in part["pattern"]:
        return text.replace(part["pattern"]["String"], part["content"])
    if part["type"] == "BertNormalizer":
        return _bert(part, text)
    if part["type"] in _SIMPLE:
        return _SIMPLE[part["type"]](text)
    raise Unreadable(f"normalizer {part}")


def _lower(text: str) -> str:
    """Each character on its own: a final sigma is not told from others."""
    return "".join(character.lower() for character in text)


def _without_accents(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c) != "Mn")


_SIMPLE: Mapping[str, Callable[[str], str]] = {
    "Lowercase": _lower,
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "StripAccents": _without_accents,
}


def _bert(part: Part, text: str) -> str:
    """Clean up, set Chinese characters apart, drop accents, lower-case."""
    if part["clean_text"]:
        text = "".join(" " if c in WHITE_SPACE else c for c in text if not _is_control(c))
    if part["handle_chinese_chars"]:
        text = "".join(f" {c} " if is_chinese(c) else c for c in text)
    if part["lowercase"] if part["strip_accents"] is None else part["strip_accents"]:
        text = _without_accents(unicodedata.normalize("NFD", text))
    return _lower(text) if part["lowercase"] else text


def _is_control(character: str) -> bool:
    if character in "\t\n\r":
        return False
    # Implementations differ for what Unicode has not assigned; no case holds any.
    return character in "\0\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co")
