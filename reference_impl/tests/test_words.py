"""Tokens of texts in many scripts, by hand; and against sacrebleu and rouge-score, where those are right."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer
from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from llmasos import words

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

SCRIPTS = [
    ("Latin", "Déjà vu: naïve Ångström!", ["déjà", "vu", "naïve", "ångström"]),
    ("Cyrillic", "Привет, мир!", ["привет", "мир"]),
    ("Greek", "ΟΔΟΣ και οδός", ["οδοσ", "και", "οδόσ"]),
    ("Arabic", "السلام، عليكم", ["السلام", "عليكم"]),
    ("Hebrew", "שָׁלוֹם, עולם", ["שָׁלוֹם", "עולם"]),
    ("Devanagari", "नमस्ते दुनिया।", ["नमस्ते", "दुनिया"]),
    ("Thai", "สวัสดี", ["ส", "วั", "ส", "ดี"]),
    ("Korean", "한국어 텍스트.", ["한국어", "텍스트"]),
    ("Chinese", "我用Python写代码。", ["我", "用", "python", "写", "代", "码"]),
    ("Japanese", "日本語の、テスト", ["日", "本", "語", "の", "テ", "ス", "ト"]),
    ("Tamil", "தமிழ் மொழி", ["தமிழ்", "மொழி"]),
    ("Armenian", "Բարեւ աշխարհ", ["բարեւ", "աշխարհ"]),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in SCRIPTS], ids=[row[0] for row in SCRIPTS])
def test_words_in_any_script_keep_their_letters_and_marks(text: str, expected: list[str]) -> None:
    assert words.content(text) == [unicodedata.normalize("NFC", word) for word in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop.", ["Don", "'", "t", "stop", "."]),
        ("3.5%", ["3", ".", "5", "%"]),
        ("déjà-vu", ["déjà", "-", "vu"]),
        ("«a»", ["«", "a", "»"]),
        ("a_b", ["a", "_", "b"]),
        ("é_b", ["é", "_", "b"]),
        ("๑๒๓ 123", ["๑๒๓", "123"]),  # digits run on in scripts without spaces, too
        ("\u4e00\u3007\u3005ー", ["\u4e00", "\u3007", "\u3005", "ー"]),
        ("😀😀", ["😀", "😀"]),
        ("\U0001f468\u200d\U0001f469", ["\U0001f468", "\U0001f469"]),  # the joiner shows nothing
        ("\u2764\ufe0f \u2764", ["\u2764", "\u2764"]),  # nor does the variation selector
        ("a\u00adb", ["ab"]),  # a soft hyphen
        ("é\u200bb", ["é", "b"]),  # a space of width zero is a space
        ("\u202bא\u202c", ["א"]),
        ("\x1ca\x1dé", ["\x1c", "a", "\x1d", "é"]),  # not white space to Unicode
        ("\u0301a", ["\u0301a"]),
        ("", []),
        (" \n\u3000", []),
    ],
)
def test_words_and_what_stands_between_them(text: str, expected: list[str]) -> None:
    assert words.words(text) == expected


def test_texts_that_are_canonically_the_same_have_the_same_words() -> None:
    for _, text, _ in SCRIPTS:
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, text)
            assert words.words(other) == words.words(text)
            assert words.content(other) == words.content(text)


@given(TEXTS)
def test_words_do_not_depend_on_the_form_of_normalisation(text: str) -> None:
    assert words.words(unicodedata.normalize("NFD", text)) == words.words(text)
    assert words.content(unicodedata.normalize("NFD", text)) == words.content(text)


@given(TEXTS)
def test_the_short_way_for_ascii_finds_what_the_long_way_finds(text: str) -> None:
    ascii_text = text.encode("ascii", "ignore").decode()
    longer = ascii_text + " é"
    assert words.words(longer) == [*words.words(ascii_text), "é"]
    assert words.content(longer) == [*words.content(ascii_text), "é"]


@given(TEXTS)
def test_no_character_is_lost_but_those_that_show_nothing(text: str) -> None:
    white = words._WHOLE.sub("", text)
    kept = "".join(words.characters(text))
    assert sorted(kept + white) == sorted(text)
    assert "".join(words.split(text)) == kept
    assert "".join(words.chinese(text)) == kept


@given(TEXTS)
def test_tokens_are_never_empty_and_hold_no_white_space(text: str) -> None:
    for cut in (*words.TOKENISERS.values(), words.content):
        for token in cut(text):
            assert words._WHOLE.fullmatch(token)


def test_white_space_is_the_property_of_unicode_and_nothing_else() -> None:
    white = [0x9, 0xA, 0xB, 0xC, 0xD, 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F]
    white.append(0x3000)
    assert [point for point in range(0x110000) if words._WHOLE.fullmatch(chr(point)) is None] == white
    for point in white:
        assert words.split(f"a{chr(point)}b") == ["a", "b"]


# ── against other libraries ──


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_agrees_with_rouge_score_on_ascii(text: str) -> None:
    assert words.content(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)


def test_rouge_score_loses_every_other_script_and_this_does_not() -> None:
    for _, text, expected in SCRIPTS[1:8]:
        assert DefaultTokenizer(use_stemmer=False).tokenize(text) == []
        assert len(words.content(text)) == len(expected)


@given(TEXTS)
def test_agrees_with_sacrebleu_on_characters(text: str) -> None:
    # `str.split`, which sacrebleu uses, also takes U+001C … U+001F for white space.
    assert words.characters(words._SEPARATORS.sub(" ", text)) == TokenizerChar()(text).split()


ORDINARY = "甲乙丙。、，“”《》（）……——ab AB '!?%$-"
"""Chinese text as it is written; no digit, because sacrebleu's rules for digits depend on the ends of a line."""


@given(st.text(ORDINARY, max_size=30))
def test_agrees_with_sacrebleu_on_chinese(text: str) -> None:
    assert words.chinese(text) == TokenizerZh()(text).split()


@pytest.mark.parametrize(
    "text",
    [
        "我用Python3.5写代码。",
        "价格是1,234.5元，涨了3%！",
        "他说：“well-known的don't”……",
        "2019-20年第3季度",
        "a.b c,d (e) [f] x/y 中.文",
    ],
)
def test_agrees_with_sacrebleu_on_chinese_with_numbers(text: str) -> None:
    assert words.chinese(text) == TokenizerZh()(text).split()


@pytest.mark.parametrize(
    ("text", "ours", "theirs"),
    [
        ("共5.", ["共", "5", "."], ["共", "5."]),  # theirs needs a character behind the full stop
        (".5共", [".", "5", "共"], [".5", "共"]),  # and one before it
        ("𠀀𠀁", ["𠀀", "𠀁"], ["𠀀𠀁"]),  # ranges of two UTF-16 halves do not hold in Python
    ],
)
def test_differs_from_sacrebleu_on_chinese_where_that_has_a_fault(
    text: str, ours: list[str], theirs: list[str]
) -> None:
    assert words.chinese(text) == ours
    assert TokenizerZh()(text).split() == theirs
