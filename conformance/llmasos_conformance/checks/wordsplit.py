"""Text into words, as pre-tokenizers of published files do it; written apart from every library. No checks live here.

Unicode categories are those of the interpreter. Characters whose category has changed between versions of Unicode are
not in the texts of cases that compare ids.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator

WHITE_SPACE = frozenset(
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's property White_Space. (`str.isspace` takes four control characters more.)"""
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def byte_words(text: str) -> list[str]:
    """GPT-2's words: a contraction; letters, numbers or other signs, each with one space before it; white space.

    Of white space before a word, the last character is left for the word if it is a space, and else stands alone.
    """
    return list(_byte_words(text))


def _byte_words(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        end = next((at + len(word) for word in CONTRACTIONS if text.startswith(word, at)), 0)
        if not end:
            led = text[at] == " " and at + 1 < len(text) and text[at + 1] not in WHITE_SPACE
            start = at + led
            kind = _kind(text[start])
            end = _run(text, start, lambda c, kind=kind: _kind(c) == kind)  # type: ignore[misc]
            if kind == "space" and end < len(text) and end - at > 1:
                end -= 1
        yield text[at:end]
        at = end


def _kind(character: str) -> str:
    if character in WHITE_SPACE:
        return "space"
    return {"L": "letter", "N": "number"}.get(unicodedata.category(character)[0], "other")


def _run(text: str, start: int, belongs: Callable[[str], bool]) -> int:
    """Where a run of characters that belong together ends."""
    return next((i for i in range(start, len(text)) if not belongs(text[i])), len(text))


def bert_words(text: str) -> list[str]:
    """BERT's words: what stands between white space, each sign of punctuation on its own."""
    words: list[str] = []
    inside = False
    for character in text:
        if character in WHITE_SPACE:
            inside = False
        elif is_punctuation(character):
            words.append(character)
            inside = False
        elif inside:
            words[-1] += character
        else:
            words.append(character)
            inside = True
    return words


def is_punctuation(character: str) -> bool:
    """Of Unicode's categories P, or a sign of ASCII."""
    return character in _ASCII_PUNCTUATION or unicodedata.category(character).startswith("P")


def is_chinese(character: str) -> bool:
    """In a block of CJK ideographs, as BERT draws their borders."""
    return any(low <= ord(character) <= high for low, high in _CHINESE)


def marked_words(text: str, mark: str) -> list[str]:
    """Words that begin with a mark each; what stands before the first mark is one too."""
    words: list[str] = []
    for character in text:
        if character == mark or not words:
            words.append(character)
        else:
            words[-1] += character
    return words
