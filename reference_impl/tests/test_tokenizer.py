"""Text to ids and back, by bytes and by file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from llmasos import ModelConfig
from llmasos.errors import InvalidArgument, InvalidFormat, Unsupported
from llmasos.tokenizer import ByteTokenizer, FileTokenizer, Tokenizer, check_text, open_tokenizer, text_ids

BYTES = ByteTokenizer()


def byte_level(**changes: Any) -> tokenizers.Tokenizer:
    """A byte-level BPE with one merge and one special token, as published decoders have them."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(alphabet)} | {"he": 256}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[("h", "e")]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|end|>"])
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def published_byte_ids() -> dict[int, int]:
    """Byte -> id in `byte_level`. GPT-2 writes printable Latin-1 as itself and the other bytes from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return {byte: sorted(characters.values()).index(character) for byte, character in characters.items()}


BYTE_IDS = published_byte_ids()


@pytest.fixture(scope="module")
def file_tokenizer() -> FileTokenizer:
    return FileTokenizer(byte_level().to_str().encode(), 300)


@given(st.text())
def test_bytes_there_and_back(text: str) -> None:
    assert BYTES.encode(text) == list(text.encode())
    assert BYTES.decode(BYTES.encode(text)) == text


def test_bytes_by_hand() -> None:
    assert BYTES.encode("a\0你") == [97, 0, 0xE4, 0xBD, 0xA0]
    assert BYTES.decode([97, 299, 256, 98]) == "ab"
    assert BYTES.text_ids == set(range(256))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xe4\xbd", "\ufffd"),
        (b"\xe4\xbdA", "\ufffdA"),
        (b"\xf0\x9f\x98\xf0\x9f", "\ufffd\ufffd"),
        (b"\xff\xff", "\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xc0\x80", "\ufffd\ufffd"),
    ],
)
def test_one_replacement_per_maximal_subpart(raw: bytes, text: str, file_tokenizer: FileTokenizer) -> None:
    assert BYTES.decode(list(raw)) == text
    assert file_tokenizer.decode([BYTE_IDS[byte] for byte in raw]) == text


def pieces_of(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """What a stream may give out after each id, and at the end."""
    decoding = tokenizer.decoding()
    return [*map(decoding.feed, ids), decoding.end()]


@given(ids=st.lists(st.integers(0, 299), max_size=12))
def test_what_is_streamed_is_never_taken_back(ids: list[int]) -> None:
    whole, pieces = bytes(i for i in ids if i < 256).decode(errors="replace"), pieces_of(BYTES, ids)
    assert "".join(pieces) == whole == BYTES.decode(ids)
    assert len(pieces[-1]) <= 1  # no more waits than half a character
    for cut in range(len(ids)):
        assert BYTES.decode(ids[:cut]).startswith("".join(pieces[:cut]))


@given(text=st.text())
def test_a_byte_level_file_there_and_back(file_tokenizer: FileTokenizer, text: str) -> None:
    assert file_tokenizer.decode(file_tokenizer.encode(text)) == text


def test_literals_of_special_tokens_are_text_unless_asked(file_tokenizer: FileTokenizer) -> None:
    text = "he<|end|>"
    assert 257 not in file_tokenizer.encode(text)
    assert file_tokenizer.decode(file_tokenizer.encode(text)) == text
    assert file_tokenizer.encode(text, allow_special=True) == [256, 257]
    assert 257 not in file_tokenizer.encode(text)
    assert file_tokenizer.decode([256, 257]) == "he"
    assert 257 not in file_tokenizer.text_ids
    assert 256 in file_tokenizer.text_ids


def test_a_file_may_not_cut_pad_or_frame() -> None:
    made = byte_level(post_processor=tokenizers.processors.TemplateProcessing("$A <|end|>", None, [("<|end|>", 257)]))
    made.enable_truncation(2)
    made.enable_padding(length=8)
    assert len(FileTokenizer(made.to_str().encode(), 300).encode("abcd")) == 4


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b'{"version": "1.0"}', b'{"model": {"type": "X"}}'])
def test_a_file_that_is_no_tokenizer_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidFormat, match=r"^tokenizer\.json: "):
        FileTokenizer(raw, 300)


def test_ids_must_fit_the_model() -> None:
    raw = byte_level().to_str().encode()
    FileTokenizer(raw, 258)
    with pytest.raises(InvalidFormat, match="id 257 does not fit vocab_size 257"):
        FileTokenizer(raw, 257)


def test_which_tokenizer_a_bundle_has(document: Any) -> None:
    small, large = (ModelConfig.from_document(document(vocab_size=V)) for V in (255, 256))
    assert open_tokenizer(small, None) is None
    assert isinstance(open_tokenizer(large, None), ByteTokenizer)


def test_start_and_end_have_no_text(document: Any) -> None:
    config = ModelConfig.from_document(document(bos_token_id=299, eos_token_ids=[0, 298]))
    assert text_ids(config, BYTES) == set(range(1, 256))


@pytest.mark.parametrize("value", ["\ud800", "a\udfff", b"a", None, 5])
def test_only_scalar_values_are_text(value: object) -> None:
    with pytest.raises(InvalidArgument, match="prompt"):
        check_text(value, "prompt")


# ── files of other kinds ────────────────────────────────────────────────────────────────────────────────────────────

SPECIAL = ("[PAD]", "[UNK]", "[CLS]")


def entry(token: int, content: str, *, special: bool = True, **changes: Any) -> dict[str, Any]:
    """An added token as a file has it."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": content, **flags, "special": special, **changes}


def a_file(model: dict[str, Any], added: list[dict[str, Any]], **parts: Any) -> dict[str, Any]:
    rest = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    return {"version": "1.0", "added_tokens": added, **rest, **parts, "model": model}


def charsmap(table: Any) -> dict[str, Any]:
    return {"type": "Precompiled", "precompiled_charsmap": table}


def word_piece() -> dict[str, Any]:
    names = [*SPECIAL, "the", "to", "##ken", "##s", "token", "a", "##b", ".", "b"]
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    model |= {"max_input_chars_per_word": 12, "vocab": {name: i for i, name in enumerate(names)}}
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    return a_file(
        model,
        [entry(i, name) for i, name in enumerate(SPECIAL)],
        normalizer={**normalizer, "strip_accents": None, "lowercase": True},
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": False},
    )


def unigram(*, in_bytes: bool = False) -> dict[str, Any]:
    vocabulary = [["<unk>", 0.0], ["</s>", 0.0], ["▁", -2.0], ["▁ab", -4.0], ["a", -3.0], ["b", -3.0], ["abc", -5.0]]
    vocabulary += [[letter, -6.0] for letter in "c</s>"] + [[f"<0x{n:02X}>", -50.0] for n in range(256) if in_bytes]
    mark = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    back = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    return a_file(
        {"type": "Unigram", "unk_id": 0, "vocab": vocabulary, "byte_fallback": in_bytes},
        [entry(0, "<unk>"), entry(1, "</s>")],
        pre_tokenizer=mark,
        decoder={"type": "Sequence", "decoders": back} if in_bytes else mark,
    )


def opened(document: dict[str, Any], vocab_size: int = 400) -> FileTokenizer:
    return FileTokenizer(json.dumps(document).encode(), vocab_size)


@pytest.mark.parametrize(
    ("text", "names", "back"),
    [
        ("The tokens.", ["the", "token", "##s", "."], "the token" + "s ."),
        ("TÓKEN", ["token"], "token"),
        ("tob tokenx", ["to", "##b", "[UNK]"], "tob"),
        ("tokentokento", ["[UNK]"], ""),
        ("to" + "b" * 11, ["[UNK]"], ""),
        ("the[CLS]", ["the", "[UNK]", "[UNK]", "[UNK]"], "the"),
    ],
)
def test_word_piece_by_hand(text: str, names: list[str], back: str) -> None:
    made = opened(word_piece())
    ids = made.encode(text)
    assert ids == [word_piece()["model"]["vocab"][name] for name in names]
    assert made.decode(ids) == back


def test_unigram_by_hand() -> None:
    made = opened(unigram())
    names = [name for name, _ in unigram()["model"]["vocab"]]
    for text, pieces in {
        "abc": ["▁", "abc"],  # -2 -5 is more than -4 -6
        "ab": ["▁ab"],
        "a xyz b": ["▁", "a", "▁", "<unk>", "▁", "b"],
        "</s>": ["▁", "<", "/", "s", ">"],
        "": [],
    }.items():
        assert [names[i] for i in made.encode(text)] == pieces
    assert made.decode(made.encode("ab  abc a")) == "ab  abc a"
    assert made.decode(made.encode("a?b")) == "ab"  # the unknown token is special and has no text


@given(text=st.text().filter(lambda text: "▁" not in text and not text.startswith(" ")))
def test_what_no_piece_has_is_spelled_in_bytes(text: str) -> None:
    made = opened(unigram(in_bytes=True))
    assert made.decode(made.encode(text)) == (f" {text}" if text else "")


@pytest.mark.parametrize("document", [word_piece(), unigram(), unigram(in_bytes=True)])
@given(ids=st.lists(st.integers(0, 300), max_size=9))
def test_every_kind_of_file_streams(document: dict[str, Any], ids: list[int]) -> None:
    made = opened(document)
    pieces = pieces_of(made, ids)
    assert "".join(pieces) == made.decode(ids)
    assert pieces[-1] in ("", "\ufffd")


def test_a_decoder_that_only_the_library_runs_gives_its_text_at_the_end() -> None:
    made = opened({**word_piece(), "decoder": {"type": "BPEDecoder", "suffix": "##"}})
    assert pieces_of(made, [3, 5, 4]) == ["", "", "", "the kento"]


# ── special tokens ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["</s>", "a</s>b", "<unk>", "\U0010ffff</s>", "\U0010ffff\U0010ffff</s>"])
def test_names_of_special_tokens_in_the_vocabulary_are_no_pieces_of_text(text: str) -> None:
    made = opened(unigram(in_bytes=True))
    assert not {0, 1} & set(made.encode(text))
    assert made.decode(made.encode(text)) == f" {text}"
    assert 1 not in opened(unigram()).encode(text)
    assert opened(unigram()).encode("a</s>", allow_special=True) == [2, 4, 1]


def test_a_special_token_that_is_a_word_or_that_merges_make_is_text_too() -> None:
    words = a_file(
        {"type": "WordLevel", "vocab": {"<end>": 0, "a": 1, "?": 2}, "unk_token": "?"},
        [entry(0, "<end>")],
        pre_tokenizer={"type": "WhitespaceSplit"},
    )
    assert opened(words).encode("a <end>") == [1, 2]
    assert opened(words).encode("a <end>", allow_special=True) == [1, 0]
    vocabulary = {name: i for i, name in enumerate(["?", "<", "s", ">", "<s", "<s>", "<s>s"])}
    merges = [["<", "s"], ["<s", ">"], ["<s>", "s"]]
    pairs = a_file({"type": "BPE", "vocab": vocabulary, "merges": merges, "unk_token": "?"}, [entry(5, "<s>")])
    assert opened(pairs).encode("<s>s") == [4, 3, 2]
    assert opened(pairs).encode("<s>s", allow_special=True) == [5, 2]


def test_an_added_token_that_is_not_special_is_its_literal() -> None:
    made = byte_level()
    made.add_tokens([tokenizers.AddedToken(name, normalized=False) for name in ("Öl", "Ġx", "<br>")])
    tokenizer = FileTokenizer(made.to_str().encode(), 300)
    for name in ("Öl", "Ġx", "<br>"):
        token = made.token_to_id(name)
        assert tokenizer.encode(f"a{name}b")[1] == token
        assert tokenizer.decode([token]) == name
        assert tokenizer.decode(tokenizer.encode(f"é{name}é")) == f"é{name}é"


@pytest.mark.parametrize(
    "document", [word_piece(), unigram(), unigram(in_bytes=True), json.loads(byte_level().to_str())]
)
def test_an_added_token_behind_a_gap_has_the_id_of_the_file(document: dict[str, Any]) -> None:
    added = [*document["added_tokens"], entry(350, "<x>"), entry(399, "<y>", special=False)]
    made = opened({**document, "added_tokens": added})
    without = opened(document)
    assert made.encode("ab<y>ab") == [*without.encode("ab"), 399, *without.encode("ab")]
    assert 350 in made.encode("ab<x>", allow_special=True)
    assert 350 not in made.encode("ab<x>")
    assert made.encode("ab<x>") == without.encode("ab<x>")
    assert "<y>" in made.decode([350, 399])
    assert made.decode([370]) == ""
    assert made.text_ids == without.text_ids | {399}


def test_threads_share_a_tokenizer_whatever_they_allow() -> None:
    made = opened(unigram())
    due = {allow: made.encode("ab</s>c" * 50, allow_special=allow) for allow in (False, True)}
    fresh = opened(unigram())

    def work(number: int) -> bool:
        allow = bool(number % 2)
        return all(fresh.encode("ab</s>c" * 50, allow_special=allow) == due[allow] for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(32)))


# ── files that are refused ──────────────────────────────────────────────────────────────────────────────────────────


def changed(document: dict[str, Any], **model: Any) -> dict[str, Any]:
    return {**document, "model": {**document["model"], **model}}


TWO_OF_AN_ID = {name: 3 if name == "to" else i for name, i in word_piece()["model"]["vocab"].items()}
BYTE_LEVEL = json.loads(byte_level().to_str())
WITHOUT_A_BYTE = {"xx" if name == "Ā" else name: i for name, i in BYTE_LEVEL["model"]["vocab"].items()}


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (changed(word_piece(), vocab=TWO_OF_AN_ID), "id 3 belongs to 'the' and to 'to'"),
        ({**word_piece(), "added_tokens": [entry(2, "[UNK]")]}, "id 2 belongs to '[CLS]' and to '[UNK]'"),
        ({**word_piece(), "added_tokens": [entry(50, "[PAD]")]}, "'[PAD]' has id 50, and 0 in the model's vocabulary"),
        ({**word_piece(), "added_tokens": [entry(4, "the")]}, "id 4 belongs to 'the' and to 'to'"),
        ({**word_piece(), "added_tokens": [entry(2, "[CLS]"), entry(2, "[CLS]")]}, "stands twice"),
        (
            changed(unigram(), vocab=[*unigram()["model"]["vocab"], ["a", -1.0]]),
            "13 tokens are listed, 12 are different",
        ),
        (changed(word_piece(), unk_token="[NO]"), "some texts have no ids"),
        (changed(unigram(), unk_id=None), "some texts have no ids"),
        (changed(BYTE_LEVEL, vocab=WITHOUT_A_BYTE), "some texts have no ids"),
        (changed(BYTE_LEVEL, unk_token="[NO]"), "some texts have no ids"),
        ({**BYTE_LEVEL, "pre_tokenizer": None}, "some texts have no ids"),
        (changed(BYTE_LEVEL, byte_fallback=True), "some texts have no ids"),
        (changed(BYTE_LEVEL, dropout=0.1), "by lot"),
        (changed(unigram(), unk_id=99), "not a tokenizer"),
        # The library would panic here: the product of the merge is longer than any token.
        (changed(BYTE_LEVEL, merges=[["h", "e"], ["he", "he"]]), "merge 'he' 'he': the vocabulary lacks"),
        (changed(BYTE_LEVEL, merges=["h e", "h x"]), "merge 'h' 'x': the vocabulary lacks"),
        (changed(BYTE_LEVEL, merges=["h e", 7]), "not a tokenizer"),
        # Of a right half the library cuts as many bytes as the prefix has, and would end the process at half a letter.
        (changed(BYTE_LEVEL, continuing_subword_prefix="##"), "merge 'h' 'e': the vocabulary lacks"),
        (changed(BYTE_LEVEL, continuing_subword_prefix="é"), "merge 'h' 'e': the vocabulary lacks"),
        (changed(BYTE_LEVEL, continuing_subword_prefix="#", merges=["h é"]), "merge 'h' 'é': the vocabulary lacks"),
        *(
            ({**word_piece(), "normalizer": normalizer(table)}, "precompiled_charsmap is no table")
            for table in (None, 7, "", "AAAA", "/////w==", "AAAAAA===", "AAAAAB==", "AAAAA", "!!", "AAAAAP8=")
            for normalizer in (charsmap, lambda table: {"type": "Sequence", "normalizers": [charsmap(table)]})
        ),
        ({**word_piece(), "normalizer": {"type": "Nobody"}}, "not a tokenizer"),
    ],
)
def test_a_file_that_does_not_decide_is_refused(document: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidFormat, match=re.escape(what)):
        opened(document)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (json.dumps(word_piece()).replace('"the": 3', '"the": 3, "the": 3').encode(), "appears twice"),
        (b"[" * 100_000, "nested deeper"),
        (json.dumps(word_piece()).replace('"a"', '"\\ud800"').encode(), "lone surrogate"),
        (json.dumps(unigram()).replace("-4.0", "NaN").encode(), "NaN is not JSON"),
        (json.dumps(unigram()).replace("-4.0", "-1e999").encode(), "no finite value"),
        (json.dumps(word_piece()).encode()[:-1], "not valid JSON"),
        (json.dumps(word_piece()).encode("utf-16"), "not valid UTF-8"),
    ],
)
def test_a_file_that_two_readers_may_understand_differently_is_refused(raw: bytes, what: str) -> None:
    with pytest.raises(InvalidFormat, match=what):
        FileTokenizer(raw, 400)


def test_a_byte_order_mark_is_let_pass_as_in_model_json() -> None:
    assert FileTokenizer(b"\xef\xbb\xbf" + json.dumps(word_piece()).encode(), 400).encode("the") == [3]


@pytest.mark.parametrize("table", ["AAAAAA==", "AAAAAA", "AAAAAGE=", "BwAAAAAAAABh"])
def test_a_table_of_normalisation_that_has_its_form_is_read(table: str) -> None:
    opened({**word_piece(), "normalizer": charsmap(table)})


def test_a_special_token_that_merges_make_behind_a_prefix_is_text_unless_asked() -> None:
    vocabulary = {**BYTE_LEVEL["model"]["vocab"], "#e": 300}
    document = changed(BYTE_LEVEL, vocab=vocabulary, merges=["h #e"], continuing_subword_prefix="#", unk_token="!")
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    made = opened({**document, "added_tokens": [{"id": 256, "content": "he", "special": True, **flags}]})
    assert made.encode("he") == [vocabulary["h"], 300]
    assert made.encode("he", allow_special=True) == [256]


@pytest.mark.parametrize("prefix", ["##", "é", "#"])
def test_no_refusal_comes_from_a_panic(prefix: str, capfd: pytest.CaptureFixture[str]) -> None:
    broken = [
        changed(BYTE_LEVEL, continuing_subword_prefix=prefix, merges=["h é"]),
        changed(BYTE_LEVEL, merges=["he he"]),
        {**word_piece(), "normalizer": charsmap(prefix)},
    ]
    for document in broken:
        with pytest.raises(InvalidFormat):
            opened(document)
    assert capfd.readouterr().err == ""


def test_files_of_old_releases_that_do_not_name_their_model_are_read() -> None:
    document = changed(BYTE_LEVEL)
    del document["model"]["type"]
    assert opened(document).encode("he") == [256]


def test_a_tokenizer_that_fails_on_a_text_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened(word_piece())

    class Panics:
        def encode(self, *_: Any, **__: Any) -> None:
            raise BaseException("panicked")

    monkeypatch.setattr(made._file, "_refusing", lambda text: Panics())
    with pytest.raises(Unsupported, match="the tokenizer fails: panicked"):
        made.encode("a")


# ── all of Unicode ──────────────────────────────────────────────────────────────────────────────────────────────────


def scalar_values(step: int) -> Iterator[str]:
    """Texts that hold all of the first plane and every so many of the other characters."""
    for first in range(0, 0x10000, 0x2000):
        yield "".join(chr(c) for c in range(first, first + 0x2000) if not 0xD800 <= c < 0xE000)
    for first in range(0x10000, 0x110000, 0x10000):
        yield "".join(map(chr, range(first, first + 0x10000, step)))


def test_every_scalar_value_comes_back(file_tokenizer: FileTokenizer) -> None:
    for text in scalar_values(1):
        assert BYTES.decode(BYTES.encode(text)) == text
    in_bytes = opened(unigram(in_bytes=True))
    for text in scalar_values(61):
        assert file_tokenizer.decode(file_tokenizer.encode(text)) == text
        # The mark of a space is a space, and the first one is made by the tokenizer, whose decoder leaves it.
        assert in_bytes.decode(in_bytes.encode(text)) == (f" {text}" if text else "").replace("▁", " ")
