"""The adapter kit is a second witness of the format: held to the reference, which it never imports."""

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
from llmasos import strictjson, weights
from llmasos.config import parameters_of
from llmasos_conformance.adapters import kit
from llmasos_conformance.adapters.kit.document import parse, read_document
from llmasos_conformance.protocol import ARCHITECTURES, Refusal

COMMON = {
    "vocab_size": 7,
    "embedding_dim": 8,
    "num_layers": 2,
    "num_heads": 2,
    "feed_forward_dim": 6,
    "context_length": 8,
    "tie_embeddings": False,
    "bos_token_id": 1,
    "eos_token_ids": [2, 3],
}
OWN = {
    "GPT-3": {"activation": "gelu_tanh", "layer_norm_epsilon": 1e-5, "local_attention_window": 3},
    "Llama": {
        "activation": "silu", "rms_norm_epsilon": 1e-5, "num_key_value_heads": 1, "rope_theta": 500.5,
        "sliding_window": 4,
    },
    "BERT": {"activation": "relu", "layer_norm_epsilon": 1e-12, "type_vocab_size": 3, "mask_token_id": 4},
    "Transformer": {
        "activation": "silu", "layer_norm_epsilon": 1e-5, "num_decoder_layers": 1, "positions": "learned",
        "scale_embeddings": False, "embedding_norm": True, "decoder_start_token_id": 5,
    },
}  # fmt: skip
DOCUMENTS = {
    architecture: {
        "name": "small",
        "version": "1.0",
        "architecture": architecture,
        "parameters": {**COMMON, **own},
        "metadata": {"note": {"deep": [1]}},
        "initialisation": {"seed": 5},
    }
    for architecture, own in OWN.items()
}
"""Every member that a document may have, but for the digest of weights."""
DOCUMENT = DOCUMENTS["GPT-3"]
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
    ours = code_of(lambda: kit.read_bundle(str(directory), ARCHITECTURES, windows=True))
    theirs = code_of(llmasos.load_model, str(directory))
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
        return ours
    config = theirs.config
    assert dict(ours.config) == {name: plain(getattr(config, name)) for name in ours.config}
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


def agreed_on_document(document):
    """The same for model.json alone, whatever the size of the model that it describes."""
    raw = json.dumps(document).encode()
    ours = code_of(lambda: read_document(parse(raw)))
    theirs = code_of(lambda: llmasos.ModelConfig.from_document(strictjson.parse(raw, "model.json")))
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
        return ours
    assert ours == {name: plain(getattr(theirs, name)) for name in ours}
    return ""


def plain(value):
    return list(value) if isinstance(value, tuple) else value


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


every = pytest.mark.parametrize("architecture", list(DOCUMENTS))


# ── the format ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_kit_does_not_lean_on_the_reference():
    rooms = list(Path(kit.__file__).parent.glob("*.py"))
    assert len(rooms) > 1
    imported = {
        alias.name
        for room in rooms
        for node in ast.walk(ast.parse(room.read_bytes()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
    }
    assert not {name for name in imported if name.split(".")[0] == "llmasos"}


@every
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_valid_bundle_has_the_same_values_for_both(bundle, architecture, dtype):
    document = DOCUMENTS[architecture]
    assert agreed(bundle(document, tensors_of(document, dtype=dtype))) == ""


@every
def test_weights_from_a_seed_are_the_same_bits_and_defaults_the_same_values(bundle, architecture):
    three_keys = {"vocab_size": 300, "embedding_dim": 128, "num_layers": 2}
    wide = {**DOCUMENTS[architecture], "parameters": three_keys}
    assert agreed(bundle(wide)) == ""
    assert agreed(bundle({**wide, "initialisation": {"seed": 2**53 - 1}})) == ""


def test_an_architecture_that_the_adapter_does_not_run_is_refused_once_the_bundle_is_known_to_be_right(bundle):
    document = DOCUMENTS["BERT"]
    place = str(bundle(document, tensors_of(document)))
    assert code_of(kit.read_bundle, place) == "unsupported_architecture"
    assert code_of(kit.read_bundle, place, ("GPT-3", "Llama")) == "unsupported_architecture"
    assert kit.read_bundle(place, ("BERT",)).config["architecture"] == "BERT"
    wrong = {**document, "parameters": {**document["parameters"], "sliding_window": 4}}
    assert code_of(kit.read_bundle, str(bundle(wrong))) == "invalid_format"
    assert code_of(kit.read_bundle, str(bundle(document, tensors_of()))) == "invalid_format"


ARGUMENTS = {
    "Llama": (("Llama", {}), "kit.read_bundle(path, ('GPT-3', 'Llama'))"),
    "window": (("GPT-3", {"local_attention_window": 3}), "kit.read_bundle(path, windows=True)"),
}


@pytest.mark.parametrize("asked", ARGUMENTS)
def test_a_refusal_of_the_kit_s_own_names_the_argument_that_lifts_it(bundle, asked):
    (architecture, further), due = ARGUMENTS[asked]
    parameters = {**DOCUMENTS[architecture]["parameters"], "local_attention_window": None, **further}
    if architecture != "GPT-3":
        parameters = {**DOCUMENTS[architecture]["parameters"], "sliding_window": None}
    document = {**DOCUMENTS[architecture], "parameters": parameters}
    with pytest.raises(Refusal) as caught:
        kit.read_bundle(str(bundle(document)))
    assert due in caught.value.message


def test_weights_in_a_graph_alone_are_refused_with_the_argument_that_lifts_it(bundle):
    parameters = {**DOCUMENT["parameters"], "local_attention_window": None}
    document = {name: value for name, value in DOCUMENT.items() if name != "initialisation"}
    place = bundle({**document, "parameters": parameters})
    (Path(place) / "model.onnx").write_bytes(b"x")
    with pytest.raises(Refusal, match=r"kit\.read_bundle\(path, graphs=True\)"):
        kit.read_bundle(str(place))


@pytest.mark.parametrize(("architecture", "name"), [("GPT-3", "local_attention_window"), ("Llama", "sliding_window")])
def test_windows_are_refused_where_the_adapter_does_not_run_them(bundle, architecture, name):
    document = DOCUMENTS[architecture]
    assert document["parameters"][name] is not None
    place = str(bundle(document))
    assert code_of(kit.read_bundle, place, (architecture,)) == "unsupported"
    assert kit.read_bundle(place, (architecture,), windows=True).config[name] == document["parameters"][name]
    dense = str(bundle({**document, "parameters": {**document["parameters"], name: None}}))
    assert kit.read_bundle(dense, (architecture,)).config[name] is None


def test_a_tokenizer_file_is_the_same_for_both(bundle):
    assert agreed(bundle(tokenizer=TOKENIZER)) == ""
    small = {**DOCUMENT, "parameters": {**DOCUMENT["parameters"], "vocab_size": 4}}
    assert agreed(bundle(small, tokenizer=TOKENIZER)) == "invalid_format"
    assert agreed(bundle(tokenizer='{"version":"1.0"}')) == "invalid_format"


JUNK = [
    None, True, False, 0, 1, 2, 3, 7, -1, 3.0, 0.5, 1e400, "", "x", "2.0", "1.0.0-rc.1+b", "01.0", "1.0.0-01", "GPT-4",
    "BERT", "Llama", "relu", "gelu", "gelu_tanh", "silu", "sinusoidal", [], [1], [2, 2], [7], [True], {}, {"seed": 1},
    {"seed": 2**53}, {"sha256": "0" * 64}, {"sha256": "x"}, 2**12, 2**12 + 1, 2**17, 2**24 + 1, 1e12, 10**13,
]  # fmt: skip


@every
def test_both_judge_every_member_with_every_value_alike(architecture):
    codes, valid = set(), DOCUMENTS[architecture]
    for place in (None, "parameters"):
        for name in [*(valid if place is None else valid[place]), "extra", "weights"]:
            for value in (*JUNK, ...):
                document = copy.deepcopy(valid)
                members = document if place is None else document[place]
                members[name] = value
                if value is ...:
                    del members[name]
                codes.add(agreed_on_document(document))
    assert codes == {"", "invalid_format", "unsupported_version", "unsupported_architecture"}


@every
def test_both_know_the_same_parameters(architecture):
    document = DOCUMENTS[architecture]
    assert set(read_document(document)) == {"architecture", *parameters_of(architecture)}
    assert set(document["parameters"]) == set(parameters_of(architecture))


@st.composite
def documents(draw):
    """A valid document with one to three members removed, replaced or added."""
    document = copy.deepcopy(draw(st.sampled_from(list(DOCUMENTS.values()))))
    for _ in range(draw(st.integers(1, 3))):
        inside = document.get("parameters")
        place = inside if isinstance(inside, dict) and draw(st.booleans()) else document
        foreign = [name for own in OWN.values() for name in own]
        name = draw(st.sampled_from([*place, "extra", "weights", *foreign]))
        if draw(st.integers(0, 2)) == 0:
            place.pop(name, None)
        else:
            place[name] = copy.deepcopy(draw(st.sampled_from(JUNK)))
    return document


@settings(max_examples=600, deadline=None)
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
                ["F64", "F32", "BF16", "I8", [8], [7, 8], [8, 7], [-1], [2**40, 2**40], [0, 16], [16, 0], None, 1.0]
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
