"""The adapter kit is a second witness of format and generation: held to the reference, which it never imports."""

import ast
import copy
import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llmasos
from llmasos import sampling, weights
from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.protocol import CAPABILITIES, Generation, Refusal

DOCUMENT = {
    "name": "small",
    "version": "1.0",
    "architecture": "GPT-3",
    "parameters": {
        "vocab_size": 7,
        "embedding_dim": 4,
        "num_layers": 1,
        "num_heads": 2,
        "feed_forward_dim": 6,
        "context_length": 8,
        "layer_norm_epsilon": 1e-5,
        "activation": "gelu_tanh",
        "tie_embeddings": False,
        "bos_token_id": 1,
        "eos_token_ids": [2, 3],
    },
    "metadata": {"note": {"deep": [1]}},
    "initialisation": {"seed": 5},
}
TOKENIZER = json.dumps(
    {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": 2, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True}
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "<end>": 2, "c": 4}, "unk_token": "c"},
    }
)  # fmt: skip


def code_of(call, *args, **options):
    """The code of what a call refuses with, or its value."""
    try:
        return call(*args, **options)
    except (Refusal, llmasos.LLMasOSError) as refusal:
        return refusal.code


def agreed(directory):
    """The code with which both readers refuse a bundle, "" when both take it with equal values."""
    ours, theirs = code_of(kit.read_bundle, str(directory)), code_of(llmasos.load_model, str(directory))
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
        return ours
    config = theirs.config
    assert dict(ours.config) == {
        name: list(value) if isinstance(value := getattr(config, name), tuple) else value for name in ours.config
    }
    stored = theirs.bundle.weights or weights.initialise(config)
    assert ours.weights.keys() == stored.keys()
    for name, array in stored.items():
        np.testing.assert_array_equal(ours.weights[name], array.astype(ours.weights[name].dtype), strict=True)
    assert (ours.tokenizer is None) == (theirs.tokenizer is None)
    if ours.tokenizer is not None:
        ids = list(range(config.vocab_size))
        assert ours.tokenizer.decode(ids) == theirs.tokenizer.decode(ids)
        assert np.flatnonzero(kit.KitModel(ours).allowed()).tolist() == np.flatnonzero(theirs._allowed()).tolist()
        for text in ("a b", "é\ud7ff", "a <end>"):
            assert ours.tokenizer.encode(text) == theirs.tokenize(text)
            assert ours.tokenizer.encode(text, True) == theirs.tokenize(text, allow_special=True)
    return ""


@pytest.fixture
def bundle(tmp_path):
    """Writes files as they are, without any check."""

    def write(document=DOCUMENT, tensors=None, **files):
        place = tmp_path / "bundle"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        (place / "model.json").write_bytes(raw)
        if tensors is not None:
            raw = tensors if isinstance(tensors, bytes) else weights.safetensors_bytes(tensors)
            (place / "model.safetensors").write_bytes(raw)
        for name, content in files.items():
            (place / f"{name}.json").write_text(content, encoding="utf-8")
        return place

    return write


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One directory for many bundles, written over and over."""
    return tmp_path_factory.mktemp("mutated")


def tensors_of(document=DOCUMENT, dtype=np.float32, seed=0):
    random = np.random.default_rng(seed)
    shapes = weights.expected_tensors(llmasos.ModelConfig.from_document(document))
    return {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


# ── the format ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_kit_does_not_lean_on_the_reference():
    imported = {
        alias.name
        for node in ast.walk(ast.parse(Path(kit.__file__).read_bytes()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
    }
    assert not {name for name in imported if name.split(".")[0] == "llmasos"}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_valid_bundle_has_the_same_values_for_both(bundle, dtype):
    assert agreed(bundle(tensors=tensors_of(dtype=dtype))) == ""


def test_weights_from_a_seed_are_the_same_bits(bundle):
    wide = {**DOCUMENT, "parameters": {"vocab_size": 300, "embedding_dim": 128, "num_layers": 2}}
    assert agreed(bundle(wide)) == ""
    assert agreed(bundle({**wide, "initialisation": {"seed": 2**53 - 1}})) == ""


def test_a_tokenizer_file_is_the_same_for_both(bundle):
    assert agreed(bundle(tokenizer=TOKENIZER)) == ""
    small = {**DOCUMENT, "parameters": {**DOCUMENT["parameters"], "vocab_size": 4}}
    assert agreed(bundle(small, tokenizer=TOKENIZER)) == "invalid_format"
    assert agreed(bundle(tokenizer='{"version":"1.0"}')) == "invalid_format"


JUNK = [
    None, True, False, 0, 1, 2, -1, 3.0, 0.5, 1e400, "", "x", "2.0", "1.0.0-rc.1+b", "01.0", "1.0.0-01", "GPT-4",
    "BERT", [], [1], [2, 2], [7], [True], {}, {"seed": 1}, {"seed": 2**53}, {"sha256": "0" * 64}, {"sha256": "x"},
    2**17, 2**24 + 1,
]  # fmt: skip


def test_both_judge_every_member_with_every_wrong_value_alike(bundle):
    codes = set()
    for place in (None, "parameters"):
        for name in [*(DOCUMENT if place is None else DOCUMENT[place]), "extra", "weights"]:
            for value in (*JUNK, ...):
                document = copy.deepcopy(DOCUMENT)
                members = document if place is None else document[place]
                members[name] = value
                if value is ...:
                    del members[name]
                codes.add(agreed(bundle(document)))
    assert codes == {"", "invalid_format", "unsupported_version", "unsupported_architecture"}


@st.composite
def documents(draw):
    """The valid document with one to three members removed, replaced or added."""
    document = copy.deepcopy(DOCUMENT)
    for _ in range(draw(st.integers(1, 3))):
        inside = document.get("parameters")
        place = inside if isinstance(inside, dict) and draw(st.booleans()) else document
        names = [*place, "extra", "weights"]
        name = draw(st.sampled_from(names))
        if draw(st.integers(0, 2)) == 0:
            place.pop(name, None)
        else:
            place[name] = copy.deepcopy(draw(st.sampled_from(JUNK)))
    return document


@settings(max_examples=400, deadline=None)
@given(document=documents())
def test_both_judge_a_mutated_document_alike(document, place):
    (place / "model.safetensors").unlink(missing_ok=True)
    (place / "model.json").write_text(json.dumps(document), encoding="utf-8")
    agreed(place)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"null", b"{", b"\xff", json.dumps(DOCUMENT).encode() + b"x",
        b"\xef\xbb\xbf" + json.dumps(DOCUMENT).encode(),
        json.dumps(DOCUMENT).replace('"small"', '"a","name":"b"').encode(),
        json.dumps(DOCUMENT).replace('"small"', '"\\ud800"').encode(),
        json.dumps(DOCUMENT).replace('[1]', 'NaN').encode(), json.dumps(DOCUMENT).replace('[1]', '1e999').encode(),
        json.dumps(DOCUMENT).replace('[1]', '9' * 5000).encode(),
        json.dumps(DOCUMENT).replace('[1]', '[' * 61 + ']' * 61).encode(),
        json.dumps(DOCUMENT).replace('[1]', '[' * 62 + ']' * 62).encode(),
        json.dumps(DOCUMENT).replace('[1]', '[' * 99999 + ']' * 99999).encode(),
        json.dumps(DOCUMENT).encode() + b" " * 2**20,
    ],
)  # fmt: skip
def test_both_read_the_same_json(bundle, raw):
    agreed(bundle(raw))


@st.composite
def tensor_files(draw):
    """A valid safetensors file with its header edited, its bytes cut, grown or flipped."""
    raw = weights.safetensors_bytes(tensors_of())
    size = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    action = draw(
        st.sampled_from(["entry", "entry", "entry", "remove", "rename", "meta", "data", "length", "flip", "swap"])
    )
    name = draw(st.sampled_from(list(header)))
    if action == "entry":
        key = draw(st.sampled_from(["dtype", "shape", "data_offsets", "extra"]))
        header[name][key] = draw(
            st.sampled_from(
                ["F64", "F32", "BF16", "I8", [4], [7, 4], [4, 7], [-1], [2**40, 2**40], [0, 16], [16, 0], None, 1.0]
            )
        )
    elif action == "remove":
        del header[name]
    elif action == "rename":
        header["other"] = header.pop(name)
    elif action == "meta":
        header["__metadata__"] = draw(st.sampled_from([{"a": "b"}, {"a": 1}, [], None]))
    elif action == "data":
        data = draw(
            st.sampled_from(
                [data[:-4], data + b"\0" * 4, b"", data[:-4] + b"\0\0\xc0\x7f", data[:-4] + b"\0\0\x80\xff"]
            )
        )
    elif action == "swap":
        other = draw(st.sampled_from(list(header)))
        header[name]["data_offsets"], header[other]["data_offsets"] = (
            header[other]["data_offsets"],
            header[name]["data_offsets"],
        )
    text = json.dumps(header).encode()
    length = len(text) + (draw(st.sampled_from([-1, 1, 2**40])) if action == "length" else 0)
    raw = length.to_bytes(8, "little") + text + data
    if action == "flip":
        at = draw(st.integers(0, 40))
        raw = raw[:at] + bytes([raw[at] ^ 1 << draw(st.integers(0, 7))]) + raw[at + 1 :]
    return raw


@settings(max_examples=300, deadline=None)
@given(raw=tensor_files())
def test_both_judge_a_mutated_tensor_file_alike(raw, place):
    (place / "model.json").write_text(json.dumps(DOCUMENT), encoding="utf-8")
    (place / "model.safetensors").write_bytes(raw)
    agreed(place)


def test_both_refuse_the_same_paths_and_files(bundle, tmp_path):
    place = bundle(tensors=tensors_of())
    assert agreed(place / "model.json") == ""
    assert agreed(place / "model.safetensors") == "invalid_format"
    assert agreed(tmp_path / "absent") == "not_found"
    (tmp_path / "empty").mkdir()
    assert agreed(tmp_path / "empty") == "not_found"
    (place / "model.safetensors").rename(place / "elsewhere")
    (place / "model.safetensors").symlink_to("elsewhere")
    assert agreed(place) == "invalid_format"
    (place / "model.safetensors").unlink()
    (place / "model.safetensors").mkdir()
    assert agreed(place) == "invalid_format"


def test_both_hold_weights_to_the_stated_digest(bundle):
    import hashlib

    raw = weights.safetensors_bytes(tensors_of())
    stated = {**DOCUMENT, "weights": {"sha256": hashlib.sha256(raw).hexdigest()}}
    assert agreed(bundle(stated, raw)) == ""
    assert agreed(bundle(stated, raw[:-1] + b"\1")) == "invalid_format"
    assert agreed(bundle(stated)) == "invalid_format"


def test_too_many_weights_to_make_are_refused_before_any_is_made(bundle):
    huge = {**DOCUMENT, "parameters": {"vocab_size": 2**24, "embedding_dim": 2**16, "num_layers": 1}}
    assert agreed(bundle(huge)) == "unsupported"


# ── generation ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Borrowed(kit.KitModel):
    """The kit over the reference's logits, so that nothing but the kit can differ."""

    def __init__(self, path):
        super().__init__(kit.read_bundle(path))
        self.reference = llmasos.load_model(path)

    def forward(self, batch):
        return [self.reference.forward([kit.check_ids(self.config, row)])[0] for row in batch]


@pytest.fixture(scope="module")
def text_path(tmp_path_factory):
    document = {
        **DOCUMENT,
        "parameters": {**DOCUMENT["parameters"], "vocab_size": 260, "context_length": 24, "eos_token_ids": [258, 10]},
    }
    scaled = {name: array * 2 for name, array in tensors_of(document, np.float64, 3).items()}
    return str(llmasos.write_bundle(tmp_path_factory.mktemp("text") / "bundle", document, scaled))


@pytest.fixture(scope="module")
def borrowed(text_path):
    return Borrowed(text_path)


def plain(generation):
    """A generation's members that both sides have."""
    if isinstance(generation, str):
        return generation
    return (
        generation.text, list(generation.ids), generation.finish_reason, generation.prompt_tokens,
        generation.completion_tokens, generation.logprobs and [dict(law) for law in generation.logprobs],
    )  # fmt: skip


def test_greedy_text_agrees_with_the_reference_for_every_limit_and_stop(borrowed):
    for prompt in ("", "a", "hé", "x" * 23, "x" * 24, "x" * 25):
        whole = code_of(borrowed.reference.generate, prompt, 30, 0.0)
        stops = (
            [[]]
            if isinstance(whole, str)
            else [[], [whole.text[3:5]] if whole.text[3:5] else [], ["\0", whole.text[-1:] or "q"]]
        )
        for stop in stops:
            for limit in (0, 1, 5, 30):
                options = {"stop": stop} if stop else {}
                ours = plain(code_of(borrowed.generate_text, prompt, limit, 0.0, **options))
                assert ours == plain(code_of(borrowed.reference.generate, prompt, limit, 0.0, **options)), (
                    prompt,
                    stop,
                    limit,
                )


def test_greedy_ids_and_their_log_probabilities_agree_with_the_reference(borrowed):
    for ids in ([], [1], [5, 6, 7], [0] * 24, [0] * 25, [260], [-1]):
        ours = code_of(borrowed.generate_ids, ids, 6, 0, logprobs=3)
        theirs = code_of(borrowed.reference.generate_ids, ids, 6, 0, logprobs=3)
        if isinstance(ours, str):
            assert ours == theirs
            continue
        assert plain(ours)[:-1] == plain(theirs)[:-1]
        for mine, due in zip(ours.logprobs, theirs.logprobs, strict=True):
            assert mine == pytest.approx(dict(due), abs=1e-12)


def test_streamed_pieces_agree_with_the_reference(borrowed):
    for prompt in ("a", "bc", "é"):
        for stop in ((), ("\x10\x11",)):
            ours = list(borrowed.stream_text(prompt, 12, 0, stop=stop))
            theirs = list(borrowed.reference.stream_text(prompt, 12, 0, stop=stop))
            assert ours[:-1] == theirs[:-1]
            assert "".join(ours[:-1]) == ours[-1].text


@settings(max_examples=150, deadline=None)
@given(
    logits=st.lists(st.integers(-6, 6), min_size=5, max_size=5),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 2, 4, 9]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 1.0]),
    masked=st.booleans(),
)
def test_the_law_of_choice_is_the_reference_s(logits, temperature, top_k, top_p, min_p, masked):
    class Sweep:
        """Random numbers that sweep [0, 1) evenly."""

        count = 0

        def random(self):
            self.count += 1
            return (self.count - 0.5) / 400

    z, allowed = np.array(logits, dtype=np.float64) / 2, np.array([True, True, False, True, True]) if masked else None
    request = kit.Request(max_length=1, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    sweep = Sweep()
    drawn = np.bincount([kit.choose(z, request, allowed, sweep) for _ in range(400)], minlength=5) / 400
    due = sampling.law(z, sampling.Sampler(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p), allowed)
    np.testing.assert_allclose(drawn, due, atol=2 / 400)
    assert not drawn[due == 0].any()


@pytest.mark.parametrize(
    "options",
    [
        {"max_length": -1}, {"max_length": 1.0}, {"max_length": True}, {"max_length": "1"}, {"max_length": None},
        {"temperature": -0.1}, {"temperature": "hot"}, {"temperature": None}, {"temperature": 10**400},
        {"temperature": True},
        {"temperature": 1.7e308}, {"seed": -1}, {"seed": 2**64}, {"seed": 2**64 - 1}, {"seed": 1.5}, {"seed": None},
        {"top_k": -1}, {"top_k": 10**30}, {"top_k": 1.0}, {"top_p": 0}, {"top_p": 0.0}, {"top_p": 1}, {"top_p": 1.01},
        {"top_p": "x"}, {"top_p": None}, {"min_p": -0.1}, {"min_p": 1}, {"min_p": 1.5}, {"stop": ""}, {"stop": [""]},
        {"stop": "x"}, {"stop": ["x", "y"]}, {"stop": []}, {"stop": None}, {"stop": [1]}, {"stop": 5}, {"logprobs": -1},
        {"logprobs": 0}, {"logprobs": 260}, {"logprobs": 261}, {"logprobs": True}, {"allow_special": 1},
        {"allow_special": True}, {"nonsense": 1}, {"nonsense": 1, "top_p": 7}, {"max_tokens": 5},
    ],
)  # fmt: skip
def test_both_judge_arguments_alike(borrowed, options):
    given_options = {"max_length": 2, "temperature": 0.5, **options}
    ours = code_of(borrowed.generate_text, "a", **given_options)
    theirs = code_of(borrowed.reference.generate, "a", **given_options)
    assert (ours if isinstance(ours, str) else "") == (theirs if isinstance(theirs, str) else "")


def test_a_seed_repeats_itself_and_no_seed_does_not(borrowed):
    def draw(seed):
        return borrowed.generate_ids([1], 12, 1.0, **({} if seed is None else {"seed": seed})).ids

    assert draw(7) == draw(7)
    assert len({tuple(draw(None)) for _ in range(4)}) > 1


def test_a_session_made_of_prefixes_agrees_with_the_reference(borrowed):
    session, due = borrowed.open([1, 2]), borrowed.reference.open_session([1, 2])
    fork = session.fork()
    np.testing.assert_allclose(session.extend([3, 4]), due.extend([3, 4]), atol=1e-12)
    np.testing.assert_allclose(fork.extend([5]), borrowed.forward([[1, 2, 5]])[0][-1:], atol=1e-12)
    assert code_of(fork.extend, [0] * 30) == "context_overflow"
    fork.close()
    assert code_of(fork.extend, [1]) == "invalid_argument"


def test_score_agrees_with_the_reference(borrowed):
    assert borrowed.score([3, 4, 5])[1:] == pytest.approx(borrowed.reference.score([3, 4, 5])[1:], abs=1e-12)


def test_logits_that_are_not_finite_are_refused(borrowed):
    request = kit.Request(max_length=1, temperature=0)
    assert code_of(kit.choose, np.array([0.0, np.nan]), request, None, np.random.default_rng(0)) == "unsupported"


def test_an_adapter_on_the_kit_is_short_and_whole(text_path):
    class Adapter:
        def describe(self):
            return {
                "name": "short",
                "version": "1",
                "capabilities": list(CAPABILITIES),
                "claims": {"dtype": "float64"},
                "emulated": kit.emulated(),
            }

        def load_model(self, path):
            return Borrowed(path)

    connection = InProcess(Adapter())
    held = connection.call("load_model", {"path": text_path})["model"]
    assert connection.call("open", {"model": held, "ids": [1]})["logits"].shape == (1, 260)
    rows = connection.call("generate_batch", {"model": held, "ids": [[1], [2]], "max_length": 2})["generations"]
    assert [len(row["ids"]) for row in rows] == [2, 2]
    assert (
        connection.call("stream_text", {"model": held, "prompt": "a", "max_length": 3})["generation"]["text"]
        is not None
    )


def test_what_is_native_is_not_declared_as_emulated():
    assert "score" not in kit.emulated("score")
    assert set(kit.emulated()) - set(CAPABILITIES) == {"format", "arguments", "generate_text"}


def test_a_model_without_tokenizer_generates_ids_and_refuses_text(bundle):
    model = Borrowed(str(bundle(tensors=tensors_of())))
    made = model.generate_ids([1], 3, 0)
    assert isinstance(made, Generation)
    assert made.text is None
    assert code_of(model.generate_text, "a") == "unsupported"
    assert code_of(model.generate_ids, [1], 3, 0, stop=["x"]) == "unsupported"
