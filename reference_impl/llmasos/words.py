"""Texts as the tokens that BLEU and ROUGE count.

    none    what stands between white space
    word    words of any script, each other character but white space on its own
    char    each character but white space on its own
    zh      Chinese characters and marks one by one, the rest as for Western languages

What a word is follows from general categories of Unicode alone, so that it needs no dictionary and is the same in every
implementation:

    1. Characters that show nothing by themselves are dropped: category Cf, variation selectors. U+200B becomes a space.
    2. The text is brought to NFC, so that texts which look alike by definition are alike.
    3. A letter of a script without spaces between words (SPACELESS), with the marks behind it, is a word.
    4. Any other run of letters, marks and numbers (L, M, N) is a word.
    5. A character of category So (emoji among them), with the marks behind it, is a token.
    6. Any other character that is not white space is a token for BLEU, and none for ROUGE.

White space is what Unicode gives the property White_Space.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache

WHITE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"
"""White_Space as the inside of a character class. `str.split` also cuts at U+001C … U+001F, which do not have it."""

SPACELESS: tuple[tuple[int, int], ...] = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration mark, closing mark, zero
    (0x3040, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31BF),  # Bopomofo
    (0x31F0, 0x31FF),  # Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),  # Han
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAA7F),  # Myanmar
    (0xF900, 0xFAFF),  # Han
    (0xFF66, 0xFF9F),  # Katakana
    (0x1AFF0, 0x1B16F),  # Hiragana, Katakana
    (0x20000, 0x3FFFD),  # Han
)
"""Scripts that put no spaces between words. Each of their letters counts by itself; their decimal digits do not."""

CHINESE: tuple[tuple[int, int], ...] = (
    (0x2010, 0x2BFF),  # general punctuation (quotes, dashes, ellipsis among them), arrows, operators, symbols
    (0x2E80, 0x303F),  # radicals, description characters, punctuation
    (0x3100, 0x312F),  # Bopomofo
    (0x31A0, 0x31EF),  # Bopomofo, strokes
    (0x3200, 0x9FFF),  # enclosed and squared characters, Han, hexagrams
    (0xF900, 0xFAFF),  # Han
    (0xFE10, 0xFE1F),  # vertical forms
    (0xFE30, 0xFE4F),  # compatibility forms
    (0xFF00, 0xFFEF),  # full-width and half-width forms
    (0x20000, 0x3FFFD),  # Han
)
"""What tokenisation `zh` takes one by one; Hiragana and Katakana are not among it."""

_ASCII_WORDS = re.compile(r"[A-Za-z0-9]+")
_ASCII_TOKENS = re.compile(r"[A-Za-z0-9]+|[^A-Za-z0-9\t-\r ]")
_SEPARATORS = re.compile(r"[\x1c-\x1f]")
_WHOLE = re.compile(f"[^{WHITE}]+")
_CHARACTER = re.compile(f"[^{WHITE}]")


def _class(ranges: tuple[tuple[int, int], ...]) -> str:
    """Ranges as the inside of a character class."""
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)


@cache
def _categories() -> Mapping[str, str]:
    """The characters of M, So and Cf, each as the inside of a character class.

    Letters and numbers are not listed: Python's `[^\\W_]` is exactly L and N. Planes 2 to 13 hold none of the three.
    """
    found: dict[str, list[tuple[int, int]]] = {"M": [], "So": [], "Cf": []}
    for start, stop in ((0, 0x20000), (0xE0000, 0xE1000)):
        for point in range(start, stop):
            category = unicodedata.category(chr(point))
            ranges = found.get("M" if category[0] == "M" else category)
            if ranges is None:
                continue
            if ranges and ranges[-1][1] == point - 1:
                ranges[-1] = ranges[-1][0], point
            else:
                ranges.append((point, point))
    return {name: _class(tuple(ranges)) for name, ranges in found.items()}


@cache
def _invisible() -> re.Pattern[str]:
    """Category Cf without U+200B, and the variation selectors."""
    formats = f"(?!\\u200b)[{_categories()['Cf']}]"
    return re.compile(f"{formats}|[\\ufe00-\\ufe0f\\U000e0100-\\U000e01ef]")


@cache
def _words(pattern: str) -> re.Pattern[str]:
    """Rules 3 to 5, with what rule 6 adds."""
    marks, spaceless = _categories()["M"], _class(SPACELESS)
    alone = f"(?=[^\\W\\d_])[{spaceless}][{marks}]*"
    run = f"(?:[^\\W_{spaceless}]|[\\d{marks}])+"
    symbol = f"[{_categories()['So']}][{marks}]*"
    return re.compile("|".join((alone, run, symbol, pattern) if pattern else (alone, run, symbol)))


@cache
def _zh() -> re.Pattern[str]:
    """One alternative for each kind of token; see `chinese`."""
    chinese, symbols = _class(CHINESE), "!-&(-+/:-@\\[-`{-~"
    within = "(?<=[0-9])[.,](?=[0-9])|(?<![0-9])-"
    return re.compile(f"(?![{WHITE}])[{chinese}]|[{symbols}]|(?:[^{WHITE}{chinese}{symbols}.,\\-]|{within})+|[.,\\-]")


def _plain(text: str, *, fold: bool) -> str:
    """Rules 1 and 2, and full case folding where case does not count."""
    text = unicodedata.normalize("NFC", _invisible().sub("", text).replace("\u200b", " "))
    return unicodedata.normalize("NFC", text.casefold()) if fold else text


def split(text: str) -> list[str]:
    """What stands between white space.

    Source:
        LLMasOS standard, BLEU-13.
    """
    return _WHOLE.findall(text) if _SEPARATORS.search(text) else text.split()


def words(text: str) -> list[str]:
    """Words, and every other character but white space on its own: rules 1 to 6 for BLEU.

    Source:
        LLMasOS standard, BLEU-14.
    """
    if text.isascii():
        return _ASCII_TOKENS.findall(text)
    return _words(f"[^{WHITE}]").findall(_plain(text, fold=False))


def content(text: str) -> list[str]:
    """Words and symbols without regard to case; punctuation is left out: rules 1 to 6 for ROUGE.

    Source:
        LLMasOS standard, ROUGE-4.
    """
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    return _words("").findall(_plain(text, fold=True))


def characters(text: str) -> list[str]:
    """Each character but white space.

    Source:
        LLMasOS standard, BLEU-15.
    """
    return _CHARACTER.findall(text)


def chinese(text: str) -> list[str]:
    """Characters of CHINESE one by one; between them the rules of mteval for Western languages.

    An ASCII symbol is a token, but for the apostrophe, which belongs to its word. A full stop or comma between two
    digits belongs to their number, any other is a token. A hyphen behind a digit is a token, any other belongs to its
    word.

    Source:
        LLMasOS standard, BLEU-16; NIST mteval-v13a, and tokenisation "zh" of sacrebleu.
    """
    return _zh().findall(text)


TOKENISERS: Mapping[str, Callable[[str], list[str]]] = {
    "none": split,
    "word": words,
    "char": characters,
    "zh": chinese,
}
"""Tokenisation of BLEU by the name in its option `tokenize`."""
