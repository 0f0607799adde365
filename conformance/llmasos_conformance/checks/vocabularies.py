"""The tokenizers that the suite makes itself, byte for byte the same on every machine, as tokenizer.json.

    KINDS              the four of them, each a function that makes the document
    document(choice)   a kind with edits, as a case's data names it
    raw(choice)        the file
    ids_by_name        name of a token -> id

    merges     byte-level BPE; its merges are learnt here, over TEXT. Ids below 256 are bytes
    wordpiece  lower-cased words, "##" before what continues one, [UNK] for what cannot be spelled
    unigram    pieces with scores, U+2581 before words, <unk> for characters of no piece
    fallback   the same pieces without <unk> in use: characters of no piece become tokens of their bytes

They are small enough to be worked out by hand and have what tells right from wrong: merges that are not found from left
to right, a word that the longest piece leads astray, segmentations of equal score, letters that no piece has. Scores
are multiples of 1/4, so that no sum of them is rounded.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

from llmasos_conformance.checks.wordsplit import byte_words

Document = dict[str, Any]

TEXT = (
    "the tokens of a text are the text of the tokens, and the text is what they're made of. "
    "a tokenizer learns the pairs that stand together: first t and h, then th and e, and then the next. "
    "it's counting, nothing else; the other letters are there for the others. an echo makes ooo of o and ooooo of ooo. "
    "12 tokens, 123 bytes and 1234 letters are no more than numbers. "
    "这些记号是文本的记号，文本是记号的文本。 é and 中 are bytes, the café and the naïve are too. "
)
"""What the merges of `merges` are learnt over."""
MERGES = 48
"""How many."""

MARK = "\u2581"
"""Stands for a space in `unigram` and `fallback`."""
UNKNOWN_PENALTY = 10.0
"""By how much an unknown character scores below the lowest piece."""

_PRINTABLE = frozenset((*range(33, 127), *range(161, 173), *range(174, 256)))


def letters() -> dict[int, str]:
    """GPT-2's alphabet: a byte that prints stands for itself, the others for the characters from U+0100 on."""
    rest = [byte for byte in range(256) if byte not in _PRINTABLE]
    return {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def spelled(text: str) -> str:
    """A text's bytes in GPT-2's alphabet."""
    alphabet = letters()
    return "".join(alphabet[byte] for byte in text.encode())


def learn(text: str, count: int) -> list[tuple[str, str]]:
    """Byte-pair merges: the pair that occurs most often, of equals the first in the order of code points, and again.

    Args:
        text: cut into words as the byte-level pre-tokenizer does.
    """
    words = Counter(tuple(spelled(word)) for word in byte_words(text))
    merges: list[tuple[str, str]] = []
    for _ in range(count):
        pairs = Counter[tuple[str, str]]()
        for word, times in words.items():
            for pair in pairwise(word):
                pairs[pair] += times
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = Counter({_joined(word, best): times for word, times in words.items()})
    return merges


def _joined(word: Sequence[str], pair: tuple[str, str]) -> tuple[str, ...]:
    """A word with each occurrence of a pair made one, from the left."""
    made: list[str] = []
    for symbol in word:
        if made and (made[-1], symbol) == pair:
            made[-1] += symbol
            # A joined symbol is no left-hand side of the same pair again, because it is longer than both.
        else:
            made.append(symbol)
    return tuple(made)


# ── the four ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _file(model: Mapping[str, Any], added: Sequence[Mapping[str, Any]], **parts: Any) -> Document:
    """A tokenizer.json with all of its members in the order of the format."""
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": list(added),
        "normalizer": parts.get("normalizer"), "pre_tokenizer": parts.get("pre_tokenizer"),
        "post_processor": parts.get("post_processor"), "decoder": parts.get("decoder"), "model": dict(model),
    }  # fmt: skip


def added_token(token: int, content: str, *, special: bool = True) -> dict[str, Any]:
    """An entry of `added_tokens` that is found as it stands and takes nothing beside it."""
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": content, **plain, "special": special}


def byte_level(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], added: Sequence[Mapping[str, Any]], *, words: bool
) -> Document:
    """A byte-level BPE.

    Args:
        vocabulary: names beside the 256 bytes, whose ids are the bytes.
        words: whether text is cut into words first.
    """
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": words}
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {**{letter: byte for byte, letter in sorted(letters().items())}, **vocabulary},
        "merges": [f"{left} {right}" for left, right in merges],
    }  # fmt: skip
    return _file(model, added, pre_tokenizer=level, decoder=level)


def merges() -> Document:
    """Byte-level BPE over words; three special tokens, and two added ones that are text."""
    learnt = learn(TEXT, MERGES)
    names = {left + right: 256 + i for i, (left, right) in enumerate(learnt)}
    first = 256 + MERGES
    added = [added_token(first + i, name) for i, name in enumerate(("<|begin|>", "<|end|>", "<|mask|>"))]
    # "Öl" is spelled with a letter of the alphabet for bytes, and yet no bytes are meant.
    added += [added_token(first + 3 + i, name, special=False) for i, name in enumerate(("<br>", "Öl"))]
    return byte_level(names, learnt, added, words=True)


ALPHABET = "abcdefghijklmnoprstuvwxy"
"""Letters that have a piece of their own: q and z are unknown."""
_WORDS = (
    "the", "token", "tokens", "text", "word", "un", "unwant", "want", "play", "qu", "qui", "to", "do", "don",
    "##ken", "##izer", "##ing", "##ed", "##s", "##n", "##want", "##wanted", "##er", "##iz", "##ion", "##t",
    "中", "文", "й", ".", ",", "!", "?", "'", "-", "(", ")", "[", "]", "<", ">", "/", "#",
)  # fmt: skip
_DIGITS = "0123456789"


def wordpiece() -> Document:
    """WordPiece as BERT has it: lower case, no accents; spaces, punctuation and Chinese characters end a word."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    pieces = [*ALPHABET, *(f"##{letter}" for letter in ALPHABET), *_DIGITS, *(f"##{digit}" for digit in _DIGITS)]
    names = list(dict.fromkeys([*special, *pieces, *_WORDS]))
    model = {
        "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 20,
        "vocab": {name: i for i, name in enumerate(names)},
    }  # fmt: skip
    normalizer = {
        "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
        "lowercase": True,
    }  # fmt: skip
    return _file(
        model,
        [added_token(i, name) for i, name in enumerate(special)],
        normalizer=normalizer,
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": False},
    )


_SCORED: Sequence[tuple[str, float]] = (
    (MARK, -3.0), (f"{MARK}the", -3.5), (f"{MARK}token", -4.0), (f"{MARK}tok", -4.5), (f"{MARK}un", -4.25),
    (f"{MARK}unw", -4.5), (f"{MARK}text", -4.0), (f"{MARK}a", -4.0), (f"{MARK}中", -6.0),
    ("the", -5.25), ("token", -5.5), ("ken", -5.0), ("ens", -4.75), ("wanted", -5.0), ("anted", -24.0), ("want", -5.0),
    ("ed", -4.5), ("ing", -4.0), ("er", -4.25), ("in", -5.0), ("ng", -5.0), ("text", -5.75), ("ex", -6.0),
    ("ab", -4.0), ("bc", -4.0), ("中文", -7.0), ("文", -7.5), ("é", -6.25), (".", -4.0), (",", -4.0), ("!", -5.5),
    ("'", -5.0), ("-", -5.0), ("<", -6.0), (">", -6.0), ("/", -6.0), ("[", -6.0), ("]", -6.0), ("F", -6.5), ("A", -6.5),
    *((letter, -5.5) for letter in ALPHABET), *((digit, -5.75) for digit in _DIGITS),
)  # fmt: skip
_CONTROLS = ("<unk>", "<s>", "</s>")


def _unigram(pieces: Sequence[tuple[str, float]], *, byte_fallback: bool, **parts: Any) -> Document:
    listed = [*((name, 0.0) for name in _CONTROLS), *pieces]
    model = {
        "type": "Unigram", "unk_id": 0, "vocab": [[name, score] for name, score in listed],
        "byte_fallback": byte_fallback,
    }  # fmt: skip
    return _file(model, [added_token(i, name) for i, name in enumerate(_CONTROLS)], **parts)


def unigram() -> Document:
    """Unigram as T5 has it: the mark of a space belongs to the word behind it, and stands before the first as well."""
    marks = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
    return _unigram(_SCORED, byte_fallback=False, pre_tokenizer=marks, decoder=marks)


def fallback() -> Document:
    """Unigram whose marks are made by the normalizer, as Llama 2 has it, and which spells the unknown in bytes."""
    # Bytes score so low that the name of one in a text is spelled in letters, and never becomes the byte.
    in_bytes = [(f"<0x{byte:02X}>", -100.0) for byte in range(256)]
    marked = [
        {"type": "Prepend", "prepend": MARK},
        {"type": "Replace", "pattern": {"String": " "}, "content": MARK},
    ]
    back = [
        {"type": "Replace", "pattern": {"String": MARK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    return _unigram(
        [*_SCORED, *in_bytes],
        byte_fallback=True,
        normalizer={"type": "Sequence", "normalizers": marked},
        decoder={"type": "Sequence", "decoders": back},
    )


KINDS: Mapping[str, Callable[[], Document]] = {
    "merges": merges,
    "wordpiece": wordpiece,
    "unigram": unigram,
    "fallback": fallback,
}

# ── one of them with edits ──────────────────────────────────────────────────────────────────────────────────────────

Choice = Mapping[str, Any]

TOKENIZER = {
    "type": "object",
    "description": "a tokenizer.json of the suite (see suites/README.md)",
    "properties": {
        "kind": {"enum": list(KINDS), "description": "which of them"},
        "put": {
            "type": "object",
            "description": "path of a member -> its value; in a list its number, or + behind all",
        },
        "drop": {"type": "array", "items": {"type": "string"}, "description": "paths of members left out"},
    },
    "required": ["kind"],
    "additionalProperties": False,
}
"""JSON Schema of a choice in a case's data."""


@functools.cache
def _made(kind: str) -> Document:
    return KINDS[kind]()


def document(choice: Choice) -> Document:
    """A tokenizer.json as a value.

    Args:
        choice: `kind`, and the edits `put` and `drop`.
    """
    made = deepcopy(_made(choice["kind"]))
    for path, value in choice.get("put", {}).items():
        holder, key = _place(made, path)
        if isinstance(holder, list) and key == len(holder):
            holder.append(None)
        holder[key] = deepcopy(value)
    for path in choice.get("drop", ()):
        holder, key = _place(made, path)
        del holder[key]
    return made


def _place(made: Document, path: str) -> tuple[Any, Any]:
    """What holds the member at a path, and its key there."""
    holder: Any = made
    *above, last = path.split(".")
    for key in above:
        holder = holder[int(key)] if isinstance(holder, list) else holder[key]
    if isinstance(holder, list):
        return holder, len(holder) if last == "+" else int(last)
    return holder, last


def raw(choice: Choice) -> bytes:
    """The file."""
    return json.dumps(document(choice), ensure_ascii=False).encode()


def ids_by_name(made: Document) -> dict[str, int]:
    """Name of a token -> id, added tokens included."""
    vocabulary = made["model"]["vocab"]
    if isinstance(vocabulary, list):
        vocabulary = {name: i for i, (name, _) in enumerate(vocabulary)}
    return {**vocabulary, **{entry["content"]: entry["id"] for entry in made["added_tokens"]}}


def special_ids(made: Document) -> set[int]:
    """Ids of special tokens, which have no text."""
    return {entry["id"] for entry in made["added_tokens"] if entry["special"]}
