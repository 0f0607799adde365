"""Three readers of tokenizer.json, written apart, agree: reference, adapter kit, and the runtime of the mutants."""

import functools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.errors import LLMasOSError
from llmasos.tokenizer import FileTokenizer
from llmasos_conformance import checks, suite
from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.kit import document
from llmasos_conformance.adapters.kit.tokenfile import TokenFile, whole_characters
from llmasos_conformance.checks import tokenizers as family
from llmasos_conformance.checks import vocabularies
from llmasos_conformance.inputs import HypothesisDraw
from llmasos_conformance.mutants.loader import Loader
from llmasos_conformance.mutants.vocabulary import Vocabulary
from llmasos_conformance.protocol import Refusal

SIZE = 400
GAP = {"added_tokens.+": {**vocabularies.added_token(390, "<gap>"), "special": False}}
CHOICES = {
    **{kind: {"kind": kind} for kind in vocabularies.KINDS},
    "cleaned": {"kind": "wordpiece", "put": {"decoder.cleanup": True}},
    "first": {"kind": "unigram", "put": {"pre_tokenizer.prepend_scheme": "first"}},
    "no-decoder": {"kind": "wordpiece", "put": {"decoder": None}},
    "fused": {"kind": "fallback", "put": {"decoder.decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}},
    "library-only": {"kind": "wordpiece", "put": {"decoder": {"type": "BPEDecoder", "suffix": "##"}}},
    **{f"{kind}-gap": {"kind": kind, "put": GAP} for kind in vocabularies.KINDS},
}
RUNTIME_STREAMS = ("merges", "wordpiece", "unigram", "fallback", "cleaned", "first", *(f"{k}-gap" for k in CHOICES))


@functools.cache
def readers(name):
    raw = vocabularies.raw(CHOICES[name])
    return FileTokenizer(raw, SIZE), TokenFile(document.parse(raw), SIZE), Vocabulary(Loader().parse(raw), SIZE)


@pytest.mark.parametrize("name", CHOICES)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), allow=st.booleans())
def test_ids_of_a_text_agree(name, data, allow):
    given_ = {"model": {"tokenizer": {"kind": CHOICES[name]["kind"]}}}
    text = family._text(HypothesisDraw(data), given_, literals=True) + data.draw(
        st.sampled_from(["", "<gap>", "\ufdd0"])
    )
    ours, theirs, runtime = readers(name)
    assert ours.encode(text, allow_special=allow) == theirs.encode(text, allow)
    assert ours.encode(text, allow_special=allow) == runtime.encode(text, allow)


@pytest.mark.parametrize("name", CHOICES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_text_of_ids_agrees_after_each_id(name, data):
    witness = family._witness({"model": {"tokenizer": {"kind": CHOICES[name]["kind"]}}})
    ids = family._some_ids(HypothesisDraw(data), witness, text_only=False) + data.draw(
        st.lists(st.integers(0, SIZE - 1))
    )
    ours, theirs, runtime = readers(name)
    assert ours.decode(ids) == theirs.decode(ids)
    if name in RUNTIME_STREAMS:
        assert ours.decode(ids) == runtime.decode(ids)
    decoding, certain = ours.decoding(), ""
    for count, token in enumerate(ids, 1):
        certain += decoding.feed(token)
        assert theirs.decode(ids[:count], unfinished=True) == certain
        assert theirs.decode(ids).startswith(certain)


@given(raw=st.binary(max_size=12), cut=st.integers(0, 12))
def test_half_a_character_is_all_that_is_left_out(raw, cut):
    certain = whole_characters(raw[:cut], unfinished=True)
    assert raw.decode(errors="replace").startswith(certain)
    assert raw[:cut].decode(errors="replace").removeprefix(certain) in ("", "\ufffd")


def test_a_lone_surrogate_is_refused():
    config = {"vocab_size": 300, "bos_token_id": None, "eos_token_ids": []}
    for raw in (None, vocabularies.raw({"kind": "wordpiece"})):
        with pytest.raises(Refusal, match="surrogate") as refusal:
            kit.KitTokenizer(config, raw).encode("a\ud800")
        assert refusal.value.code == "invalid_argument"


def test_threads_may_allow_special_tokens_or_not():
    fresh = TokenFile(document.parse(vocabularies.raw({"kind": "unigram"})), SIZE)
    text = "the</s>token" * 40
    due = {allow: readers("unigram")[1].encode(text, allow) for allow in (False, True)}
    with ThreadPoolExecutor(8) as pool:
        jobs = [(i % 2 == 0, pool.submit(fresh.encode, text, i % 2 == 0)) for i in range(400)]
        assert all(job.result() == due[allow] for allow, job in jobs)


def codes(raw, size=SIZE):
    """What each reader says of a file: "" if it takes it, else the code of its refusal."""

    def code(read):
        try:
            read()
        except (Refusal, LLMasOSError) as refusal:
            return refusal.code
        return ""

    return [
        code(lambda: FileTokenizer(raw, size)),
        code(lambda: TokenFile(document.parse(raw), size)),
        code(lambda: Vocabulary(Loader().parse(raw), size)),
    ]


FAULTS = [
    (case.id, fault)
    for case in suite.load(checks=checks.registry()).cases.values()
    if case.check == "refuses-tokenizer"
    for fault in case.given["faults"]
]


@pytest.mark.parametrize(
    ("case", "fault"), FAULTS, ids=lambda value: value if isinstance(value, str) else value["name"]
)
def test_every_fault_of_the_suite_is_refused_by_all(case, fault):
    assert codes(family.faulty(fault), fault.get("size", SIZE)) == ["invalid_format"] * 3


@pytest.mark.parametrize("name", CHOICES)
def test_every_file_without_a_fault_is_taken_by_all(name):
    assert codes(vocabularies.raw(CHOICES[name])) == [""] * 3


@pytest.mark.parametrize(
    ("prefix", "merge", "taken"),
    [("#", "h #e", True), ("##", "h e", False), ("é", "h e", False), ("#", "h é", False), ("", "h #e", False)],
)
def test_a_merge_that_the_prefix_spoils_is_refused_before_the_library_ends_the_process(prefix, merge, taken):
    names = [*vocabularies.letters().values(), "he", "#e", "[U]"]
    model = {"type": "BPE", "vocab": {name: i for i, name in enumerate(names)}, "merges": [merge], "unk_token": "[U]"}
    raw = json.dumps({"model": {**model, "continuing_subword_prefix": prefix}}).encode()
    for read in (lambda: FileTokenizer(raw, SIZE), lambda: TokenFile(document.parse(raw), SIZE)):
        if taken:
            read()
            continue
        with pytest.raises((Refusal, LLMasOSError)) as refused:
            read()
        assert refused.value.code == "invalid_format"


ODD = (None, True, 0, -1, 3, 399, 400, 2**32, 0.5, "", "a", "the", [], {}, [["a", 1.0]], {"a": 0}, {"type": "NFC"})


@settings(max_examples=200, deadline=None)
@given(data=st.data(), kind=st.sampled_from(list(vocabularies.KINDS)))
def test_a_file_with_any_member_changed_is_judged_alike_and_breaks_nobody(data, kind):
    made = vocabularies.document({"kind": kind})
    holder, key = made, data.draw(st.sampled_from(sorted(made)))
    while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.integers(0, 3)):
        holder = holder[key]
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    if isinstance(holder, dict) and data.draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = data.draw(st.sampled_from(ODD))
    raw = json.dumps(made).encode()
    found = codes(raw)
    assert found in ([""] * 3, ["invalid_format"] * 3), (found, key)
    if found[0] == "":
        ours, theirs = FileTokenizer(raw, SIZE), TokenFile(document.parse(raw), SIZE)
        for text in ("the tokens", "é😀 qz</s>", ""):
            assert outcome(ours.encode, text) == outcome(theirs.encode, text, False)
        assert outcome(ours.decode, [3, 200, 40, 41]) == outcome(theirs.decode, [3, 200, 40, 41])


def outcome(call, *arguments):
    """A value, or the code of a refusal."""
    try:
        return call(*arguments)
    except (Refusal, LLMasOSError) as refusal:
        return refusal.code


TABLES = (
    "AAAAAA==", "AAAAAA", "AAAAAGE=", "BwAAAAAAAABh",  # sound
    None, 7, "", "AAAA", "/////w==", "AAAAAA===", "AAAAAB==", "AAAAA", "!!", "AAAAAP8=", "EAAAAAAAAAAAAAAA",
)  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("nested", [False, True])
def test_a_table_of_normalisation_is_judged_by_all_alike_and_no_library_panics(table, nested, capfd):
    part = {"type": "Precompiled", "precompiled_charsmap": table}
    held = {
        "version": "1.0", "added_tokens": [], "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "normalizer": {"type": "Sequence", "normalizers": [part]} if nested else part,
        "model": {"type": "WordPiece", "unk_token": "[U]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 9, "vocab": {"[U]": 0, "a": 1}},
    }  # fmt: skip
    due = "" if table in TABLES[:4] else "invalid_format"
    assert codes(json.dumps(held).encode()) == [due] * 3
    assert "panicked" not in capfd.readouterr().err
