"""The suite's tokenizer files, their witness, and the checks that ask for them.

The witness is held to two libraries that it does not know: Hugging Face tokenizers in every kind of file, SentencePiece
in Unigram. Where a library is known to differ from the standard, the difference is named and tested.
"""

import functools
import hashlib
import json

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos_conformance import adapters, checks, engine, reference, suite
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.checks import tokenizers as family
from llmasos_conformance.checks import vocabularies, wordsplit
from llmasos_conformance.checks.witnesses import Unreadable, Witness, normalized
from llmasos_conformance.inputs import HypothesisDraw, KeyedDraw
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import Refusal
from llmasos_conformance.verdict import State

KINDS = tuple(vocabularies.KINDS)
DIGESTS = {
    "merges": "be02879d91ece5a9d22ba86ce7fa5e5c0f71a63b40e05b450d1ae25bdfdbe543",
    "wordpiece": "e31f95401769525db21a48fbc51aaebfa078628d4adc2e2b32fd66a1d53809d0",
    "unigram": "d2e1c7b5f2c44e9b6cc660c29ed59902344e14af46925e8994f36dade743ed50",
    "fallback": "4b1a91255193f92d9ad047b76456be6686e39e596a7d572c19f874f2d6c2b230",
}
"""SHA-256 of the files: they are the same bytes on every machine."""

NAMES_IN_TEXT = {"unigram", "fallback"}
"""Files in which Hugging Face tokenizers find special tokens in plain text (TOK-4)."""


@functools.cache
def library(kind, *, allow_special=False):
    made = tokenizers.Tokenizer.from_str(vocabularies.raw({"kind": kind}).decode())
    made.encode_special_tokens = not allow_special
    return made


@functools.cache
def witness_of(kind):
    return Witness(vocabularies.document({"kind": kind}))


def drawn(data, kind, *, literals=False):
    return family._text(HypothesisDraw(data), {"model": {"tokenizer": {"kind": kind}}}, literals=literals)


# ── the files ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_the_same_bytes_everywhere(kind):
    assert hashlib.sha256(vocabularies.raw({"kind": kind})).hexdigest() == DIGESTS[kind]


def test_merges_are_learnt_as_the_definition_says():
    # One word: aa and ab occur once each, and aa comes first in the order of code points.
    assert vocabularies.learn("aab", 2) == [("a", "a"), ("aa", "b")]
    # The words ab, Ġab and Ġb: ab occurs twice, then Ġ+ab and Ġ+b once each.
    assert vocabularies.learn("ab ab b", 3) == [("a", "b"), ("Ġ", "ab"), ("Ġ", "b")]
    learnt = vocabularies.learn(vocabularies.TEXT, vocabularies.MERGES)
    assert len(set(learnt)) == vocabularies.MERGES
    assert learnt == vocabularies.learn(vocabularies.TEXT, vocabularies.MERGES + 3)[: vocabularies.MERGES]


def test_scores_add_up_without_rounding():
    for kind in ("unigram", "fallback"):
        scores = [score for _, score in vocabularies.document({"kind": kind})["model"]["vocab"]]
        assert all((4 * score).is_integer() and abs(score) <= 100 for score in scores)


def test_edits_reach_members_and_places_and_leave_the_file_of_the_kind_alone():
    made = vocabularies.document(
        {"kind": "unigram", "put": {"model.vocab.1": ["<b>", 0.0], "model.vocab.+": ["zz", -1.0]}, "drop": ["decoder"]}
    )
    assert made["model"]["vocab"][1] == ["<b>", 0.0]
    assert made["model"]["vocab"][-1] == ["zz", -1.0]
    assert "decoder" not in made
    assert vocabularies.document({"kind": "unigram"})["model"]["vocab"][1] == ["<s>", 0.0]


def test_a_splice_that_finds_nothing_is_no_fault():
    with pytest.raises(ValueError, match="does not hold"):
        family.faulty({"kind": "merges", "splice": {"at": "no such text", "with": ""}})


# ── the witness ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_witness_encodes_as_hugging_face_tokenizers_do(kind, data):
    text = drawn(data, kind)
    witness = witness_of(kind)
    assert witness.encode(text) == library(kind).encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_witness_takes_special_tokens_as_hugging_face_tokenizers_do(kind, data):
    text = drawn(data, kind, literals=True)
    witness = witness_of(kind)
    due = library(kind, allow_special=True).encode(text, add_special_tokens=False).ids
    assert witness.encode(text, allow_special=True) == due
    plain = witness.encode(text)
    assert not witness.special & set(plain) or kind in ("wordpiece", "unigram")  # the unknown token is special there
    if kind not in NAMES_IN_TEXT:
        assert plain == library(kind).encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", sorted(NAMES_IN_TEXT))
def test_what_hugging_face_tokenizers_find_in_plain_text_the_witness_does_not(kind):
    witness, text = witness_of(kind), "the</s>"
    assert witness.ids["</s>"] in library(kind).encode(text, add_special_tokens=False).ids
    assert witness.ids["</s>"] not in witness.encode(text)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_witness_decodes_as_hugging_face_tokenizers_do_but_for_what_is_named(kind, data):
    witness = witness_of(kind)
    ids = [i for i in family._some_ids(HypothesisDraw(data), witness, text_only=False) if witness.names[i] != "Öl"]
    due = library(kind).decode(ids)
    if kind != "fallback" or "\ufffd" not in due:  # TOK-5: there a wrong byte spoils its neighbours
        assert witness.decode(ids) == due


def test_where_the_witness_decodes_otherwise_than_hugging_face_tokenizers():
    merges, fallback = (witness_of(kind) for kind in ("merges", "fallback"))
    oil = merges.ids["Öl"]
    assert (merges.decode([oil]), library("merges").decode([oil])) == ("Öl", "\ufffdl")  # TOK-34
    ids = [fallback.byte_ids[byte] for byte in "中".encode() + b"\xff"]
    assert fallback.decode(ids) == "中\ufffd"  # TOK-5
    assert library("fallback").decode(ids) == "\ufffd" * 4


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_witness_encodes_as_sentencepiece_does(sentencepiece, data):
    """Ties, unknown runs and names of control tokens included; it sets a second mark before a space, so none leads."""
    text = drawn(data, "unigram", literals=True).lstrip(" ▁")
    witness = witness_of("unigram")
    assert witness.encode(text) == sentencepiece.encode(text)


@pytest.fixture(scope="module")
def sentencepiece():
    library = pytest.importorskip("sentencepiece")
    proto = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    model = proto.ModelProto()
    for i, (name, score) in enumerate(vocabularies.document({"kind": "unigram"})["model"]["vocab"]):
        model.pieces.add(piece=name, score=score, type=2 if i == 0 else 3 if i < 3 else 1)
    model.trainer_spec.model_type, model.trainer_spec.pad_id = 1, -1
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.remove_extra_whitespaces = False
    return library.SentencePieceProcessor(model_proto=model.SerializeToString())


@pytest.mark.parametrize(
    ("kind", "text", "names"),
    [
        ("merges", "text tokens", ["t", "ext", "Ġtokens"]),
        ("merges", "ooo", ["oo", "o"]),
        ("wordpiece", "Tokenizing quiz!", ["token", "##iz", "##ing", "[UNK]", "!"]),
        ("unigram", "1abc q", ["▁", "1", "a", "bc", "▁", "<unk>"]),
        ("fallback", "中a中", ["▁中", "a", "<0xE4>", "<0xB8>", "<0xAD>"]),
    ],
)
def test_the_witness_by_hand(kind, text, names):
    witness = witness_of(kind)
    assert [witness.names[i] for i in witness.encode(text)] == names


@pytest.mark.parametrize(
    "put",
    [
        {"normalizer": {"type": "Nmt"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"decoder": {"type": "CTC"}},
        {"added_tokens.0.normalized": True},
    ],
)
def test_the_witness_passes_over_nothing_that_it_does_not_know(put):
    def used():
        witness = Witness(vocabularies.document({"kind": "merges", "put": put}))
        return witness.encode("a"), witness.decode([97])

    with pytest.raises(Unreadable):
        used()


@pytest.mark.parametrize(
    "normalizer",
    [
        tokenizers.normalizers.Lowercase(),
        tokenizers.normalizers.NFC(),
        tokenizers.normalizers.NFD(),
        tokenizers.normalizers.StripAccents(),
        tokenizers.normalizers.Prepend("▁"),
        tokenizers.normalizers.Replace("oo", "o"),
        tokenizers.normalizers.Sequence([tokenizers.normalizers.NFD(), tokenizers.normalizers.Lowercase()]),
        tokenizers.normalizers.BertNormalizer(),
        tokenizers.normalizers.BertNormalizer(lowercase=False),
        tokenizers.normalizers.BertNormalizer(strip_accents=False, clean_text=False),
        tokenizers.normalizers.BertNormalizer(lowercase=False, strip_accents=True, handle_chinese_chars=False),
    ],
)
@given(parts=st.lists(st.sampled_from(family.BESIDE), max_size=6))
def test_normalizers_as_in_the_library(normalizer, parts):
    text = "".join(parts)
    assert normalized(json.loads(normalizer.__getstate__()), text) == normalizer.normalize_str(text)


WORDS = st.lists(st.sampled_from((*family.BESIDE, "a", "b", "12", "\r", "\x0b", "\u2028")), max_size=8).map("".join)


@given(text=WORDS)
def test_words_as_in_the_library(text):
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert [vocabularies.spelled(word) for word in wordsplit.byte_words(text)] == [
        word for word, _ in level.pre_tokenize_str(text)
    ]
    bert = tokenizers.pre_tokenizers.BertPreTokenizer()
    assert wordsplit.bert_words(text) == [word for word, _ in bert.pre_tokenize_str(text)]
    marks = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="never")
    words = wordsplit.marked_words(text.replace(" ", "▁"), "▁")
    assert words == [word for word, _ in marks.pre_tokenize_str(text)]


def test_white_space_is_unicodes():
    split = tokenizers.pre_tokenizers.WhitespaceSplit()
    found = {c for c in map(chr, range(0x3100)) if split.pre_tokenize_str(f"a{c}b") != [(f"a{c}b", (0, 3))]}
    assert found == wordsplit.WHITE_SPACE


# ── drawing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_texts_differ_and_hold_words_in_which_two_pieces_compete(kind):
    given_ = {"model": {"tokenizer": {"kind": kind}}}
    texts = {family._text(KeyedDraw("", "", kind, i), given_) for i in range(40)}
    assert len(texts) > 30
    assert family._overlapping(KeyedDraw("", "", "x", 0), ["ab", "bc"]) in ("abc", "bc")


def test_every_character_is_asked_over_the_runs():
    asked = {family._sparse(0x10000, offset)[0] for offset in range(family.STRIDE)}
    assert asked == {chr(c) for c in range(0x10000, 0x10000 + family.STRIDE)}
    assert family._sparse(0x10F000, family.STRIDE - 1)[-1] == "\U0010ffff"


# ── every check passes a right candidate and fails a wrong one ──────────────────────────────────────────────────────


class Spoilt:
    """The reference with answers spoilt on their way back."""

    def __init__(self, inner, spoil):
        self.inner, self.spoil, self.description = inner, spoil, inner.description

    def call(self, method, params):
        return self.spoil(method, params, lambda: self.inner.call(method, params))

    def close(self):
        self.inner.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root, installed = tmp_path_factory.mktemp("tokenizers"), suite.load(checks=checks.registry())
    honest = adapters.connect("reference")
    held = reference.connect(honest.description.claims, Library(root / "reference", "0"), adapters.connect)
    probes = Library(root / "candidate", "0")

    def run(case, spoil=lambda method, params, call: call()):
        made = Spoilt(adapters.connect("reference"), spoil)
        candidate = Candidate(Live(made), made.description, probes)
        return engine.run_case(engine.Bench(installed, checks.registry(), candidate, held, "0"), installed.cases[case])

    run.suite = installed
    return run


def on(method, change):
    return lambda name, params, call: change(params, call()) if name == method else call()


def loads_all(method, params, call):
    try:
        return call()
    except Refusal:
        return {"model": "whatever"}


def closes(change):
    return on("stream_text", lambda params, answer: {**answer, "generation": change(answer["generation"])})


LONGER = on("tokenize", lambda params, answer: {"ids": [*answer["ids"], 0]})
WRONG = {
    "tokenizers.merges.by-hand": LONGER,
    "tokenizers.merges.drawn": LONGER,
    "tokenizers.every-character.bytes": on("detokenize", lambda p, a: {"text": a["text"].replace("\u2581", " ")}),
    "tokenizers.again.unigram": on("detokenize", lambda p, a: {"text": a["text"].replace(" ", "")}),
    "tokenizers.decoder.word-piece": on("detokenize", lambda p, a: {"text": a["text"].replace(" !", "!")}),
    "tokenizers.decoder.drawn-bytes": on("detokenize", lambda p, a: {"text": a["text"].replace("\ufffd", "")}),
    "tokenizers.stream.drawn-bytes": on("stream_text", lambda p, a: {**a, "deltas": a["deltas"][:-1]}),
    "tokenizers.counts.drawn": on("generate_text", lambda p, a: {**a, "prompt_tokens": a["prompt_tokens"] + 1}),
    "tokenizers.files.dropout": loads_all,
}
"""A wrong candidate for each check of the family."""


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_candidate_fails_and_a_right_one_passes(world, case):
    right, wrong = world(case), world(case, WRONG[case])
    assert right.outcome.state is State.PASS, right.outcome.message + right.detail
    assert wrong.outcome.state is State.FAIL, wrong.outcome.message + wrong.detail
    assert wrong.outcome.message


def test_every_check_of_the_family_has_a_wrong_candidate(world):
    ours = {name for name, made in checks.registry().items() if made.question.__module__ == family.__name__}
    assert ours == {world.suite.cases[case].check for case in WRONG}


def test_a_stream_that_closes_with_another_text_fails(world):
    spoil = closes(lambda generation: {**generation, "text": generation["text"] + "."})
    assert "the stream closes with" in world("tokenizers.stream.drawn-unigram", spoil).outcome.message


def test_a_candidate_that_opens_nothing_after_a_refusal_fails(world):
    refused = []

    def spoil(method, params, call):
        if refused and method == "load_model":
            raise Refusal("invalid_format")
        try:
            return call()
        except Refusal:
            refused.append(method)
            raise

    message = world("tokenizers.files.dropout", spoil).outcome.message
    assert message == "a sound file (merges) was refused with invalid_format"


def test_a_text_without_unknown_tokens_is_among_those_that_are_asked_again(world):
    """So the condition of TOK-37 never leaves nothing to judge."""
    for case in (case for case in world.suite.cases.values() if case.check == "same-again"):
        witness = family._witness(case.given)
        assert any(not witness.special & set(witness.encode(text)) for text in case.given["texts"])


def test_expectations_in_the_suite_are_what_the_witness_says(world):
    """Vectors by hand and the witness agree; where a case names ids, they are the file's."""
    rows = 0
    for case in world.suite.cases.values():
        if case.check == "tokens":
            witness = family._witness(case.given)
            for row in case.given["rows"]:
                due = [witness.ids[name] if isinstance(name, str) else name for name in row["tokens"]]
                assert witness.encode(row["text"], allow_special=row["special"]) == due, (case.id, row)
                rows += 1
        if case.check == "spelled":
            witness = family._witness(case.given)
            for row in case.given["rows"]:
                ids = [witness.ids[name] if isinstance(name, str) else name for name in row["tokens"]]
                assert witness.decode(ids) == row["text"], (case.id, row)
                rows += 1
    assert rows > 150
