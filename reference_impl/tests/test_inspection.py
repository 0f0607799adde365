"""Looking into bundles: all faults are found, and a bundle without any is one that loads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import llmasos
from llmasos.config import ARCHITECTURES
from llmasos.errors import InvalidArgument, InvalidFormat, LLMasOSError, NotFound
from llmasos.weights import initialise, safetensors_bytes

SIZES = {"vocab_size": 40, "embedding_dim": 8, "num_layers": 1, "num_heads": 2, "context_length": 8}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_new_bundle_is_sound_and_its_weights_are_those_of_its_seed(tmp_path: Path, architecture: str) -> None:
    place = llmasos.new_bundle(tmp_path / "new", architecture, SIZES, seed=7, name="mine")
    found = llmasos.inspect(place)
    assert found.sound
    assert {tensor.state for tensor in found.tensors} == {"ok"}
    bundle = llmasos.read_bundle(place)
    assert bundle.weights is not None
    for name, array in initialise(bundle.config).items():
        np.testing.assert_array_equal(bundle.weights[name], array)
    bare = llmasos.new_bundle(tmp_path / "bare", architecture, SIZES, seed=7, with_weights=False)
    assert [file.name for file in llmasos.inspect(bare).files] == ["model.json"]
    for name, array in llmasos.load_model(bare)._weights.items():
        np.testing.assert_array_equal(array, llmasos.load_model(place)._weights[name])


def test_a_new_bundle_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "note").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("there", "link"):
        with pytest.raises(InvalidArgument, match="nothing is overwritten"):
            llmasos.new_bundle(tmp_path / name, "GPT-3", SIZES)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["note"]
    (tmp_path / "empty").mkdir()
    assert llmasos.inspect(llmasos.new_bundle(tmp_path / "empty", "GPT-3", SIZES)).sound


def test_a_new_bundle_that_the_format_forbids_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidFormat, match="num_heads"):
        llmasos.new_bundle(tmp_path / "new", "GPT-3", {**SIZES, "num_heads": 3})
    assert list(tmp_path.iterdir()) == []


def test_every_wrong_parameter_is_named(make: Callable[..., Path]) -> None:
    place = make()
    document = json.loads((place / "model.json").read_text())
    document["parameters"] |= {"n_head": 4, "layer_norm_epsilon": 0, "eos_token_ids": [1, 1], "activation": "relu"}
    (place / "model.json").write_text(json.dumps({**document, "torch_dtype": "float32"}))
    found = llmasos.inspect(place)
    told = [f"{fault.where} {fault.what}" for fault in found.faults]
    for part in ("torch_dtype", "n_head", "layer_norm_epsilon", "eos_token_ids", "activation"):
        assert any(part in line for line in told), part
    assert len(told) == 5


def test_a_rule_between_two_members_is_one_fault(make: Callable[..., Path]) -> None:
    place = make()
    document = json.loads((place / "model.json").read_text()) | {"architecture": "Llama"}
    document["parameters"] |= {"num_heads": 3, "num_key_value_heads": 2}
    (place / "model.json").write_text(json.dumps(document))
    assert [fault.what for fault in llmasos.inspect(place).faults] == ["3 heads do not divide embedding_dim 16"]


def test_every_wrong_tensor_is_named_with_what_was_due(make: Callable[..., Path]) -> None:
    place = make()
    tensors = dict(llmasos.read_bundle(place).weights or {})
    del tensors["final_norm.bias"]
    tensors["layers.0.attention.query.bias"] = np.zeros(3)
    tensors["layers.0.attention.key.bias"] = np.full(16, np.nan)
    tensors["stray"] = np.zeros((2, 2), np.float32)
    (place / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    found = llmasos.inspect(place)
    states = {tensor.name: tensor.state for tensor in found.tensors if tensor.state != "ok"}
    assert states == {
        "final_norm.bias": "missing",
        "layers.0.attention.query.bias": "shape",
        "layers.0.attention.key.bias": "not finite",
        "stray": "unknown",
    }
    assert len(found.faults) == 4
    assert any("shape [3], [16] is due" in fault.what for fault in found.faults)


def test_figures_are_those_of_the_tensor(tmp_path: Path) -> None:
    document = {"name": "x", "version": "1.0", "architecture": "GPT-3", "parameters": SIZES}
    weights = {name: array.copy() for name, array in initialise(llmasos.ModelConfig.from_document(document)).items()}
    weights["final_norm.bias"] = np.array([1, 2, 3, 4, 5, 6, 7, 8], np.float32)
    place = llmasos.write_bundle(tmp_path / "x", document, weights)
    tensor = next(each for each in llmasos.inspect(place).tensors if each.name == "final_norm.bias")
    assert (tensor.minimum, tensor.maximum, tensor.mean) == (1, 8, 4.5)
    assert tensor.deviation == pytest.approx(2.2912878474779)


def test_a_digest_that_does_not_fit_a_missing_file_and_a_broken_one_are_named(make: Callable[..., Path]) -> None:
    place = make()
    document = json.loads((place / "model.json").read_text()) | {"weights": {"sha256": "0" * 64}}
    (place / "model.json").write_text(json.dumps(document))
    assert [fault.what for fault in llmasos.inspect(place).faults] == ["another digest than model.json states"]
    (place / "model.safetensors").write_bytes(b"short")
    assert "too few for a header" in llmasos.inspect(place).faults[-1].what
    (place / "model.safetensors").unlink()
    assert "is missing" in llmasos.inspect(place).faults[0].what


def test_what_is_not_part_of_the_format_is_listed_and_never_opened(make: Callable[..., Path]) -> None:
    place = make()
    (place / "pytorch_model.bin").write_bytes(b"\x80\x04")
    (place / "loop").symlink_to(place)
    listed = {file.name: file.sha256 for file in llmasos.inspect(place).files}
    assert listed.keys() == {"model.json", "model.safetensors", "pytorch_model.bin"}
    assert listed["pytorch_model.bin"] == ""
    assert len(listed["model.json"]) == 64


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"version": "2.0"}', b'{"a": 1, "a": 2}'])
def test_a_document_that_cannot_be_read_is_one_fault(make: Callable[..., Path], raw: bytes) -> None:
    place = make()
    (place / "model.json").write_bytes(raw)
    found = llmasos.inspect(place)
    assert len(found.faults) == 1
    assert found.config is None
    assert {tensor.state for tensor in found.tensors} == {"ok"}  # nothing says what they should be


def test_nothing_to_look_at_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        llmasos.inspect(tmp_path / "nowhere")
    assert llmasos.inspect(tmp_path).faults[0].code == "not_found"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    key=st.sampled_from(
        ["num_heads", "num_key_value_heads", "rope_theta", "context_length", "type_vocab_size", "tie_embeddings", "x"]
    ),
    value=st.sampled_from([0, 1, 2, 3, True, None, "1", 1.5]),
    dropped=st.sampled_from(["", "token_embedding", "head.weight", "final_norm.bias"]),
    tokenizer=st.sampled_from([None, b"{}", b"no"]),
)
def test_a_bundle_is_sound_exactly_if_it_can_be_read(
    tmp_path: Path, architecture: str, key: str, value: Any, dropped: str, tokenizer: bytes | None
) -> None:
    place = tmp_path / "mutated"
    place.mkdir(exist_ok=True)
    document = {"name": "x", "version": "1.0", "architecture": architecture, "parameters": SIZES}
    weights = dict(initialise(llmasos.ModelConfig.from_document(document)))
    weights.pop(dropped, None)
    (place / "model.json").write_text(json.dumps({**document, "parameters": {**SIZES, key: value}}))
    (place / "model.safetensors").write_bytes(safetensors_bytes(weights))
    (place / "tokenizer.json").unlink(missing_ok=True)
    if tokenizer is not None:
        (place / "tokenizer.json").write_bytes(tokenizer)
    found, refused = llmasos.inspect(place), None
    try:
        llmasos.read_bundle(place)
    except LLMasOSError as error:
        refused = error.code
    assert (refused is None) == found.sound
    assert refused is None or refused in {fault.code for fault in found.faults}


# ── graphs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., Path]:
    """Makes a bundle with its graph."""

    def make(architecture: str = "GPT-3", *, seeded: bool = False, **options: Any) -> Path:
        pytest.importorskip("onnxruntime")
        from llmasos.tools.export import export

        place = llmasos.new_bundle(tmp_path / "made", architecture, SIZES, with_weights=not seeded)
        export(place, seeded=seeded, **options)
        return place

    return make


def rewritten(place: Path, change: Callable[[Any], None]) -> Any:
    """What is found once model.onnx was changed."""
    import onnx

    model = onnx.load(place / "model.onnx")
    change(model)
    (place / "model.onnx").write_bytes(model.SerializeToString())
    return llmasos.inspect(place)


def test_a_graph_is_told_with_what_it_was_made_of(exported: Callable[..., Path]) -> None:
    found = llmasos.inspect(exported(cached=False, opset=18))
    (graph,) = found.graphs
    assert found.sound
    assert (graph.name, graph.unread, graph.opset, graph.weights) == ("model.onnx", "", 18, "these")
    assert [(each.name, each.dtype, len(each.shape)) for each in graph.inputs] == [
        ("input_ids", "int64", 2), ("attention_mask", "int64", 2),
    ]  # fmt: skip
    assert [(each.name, each.dtype, each.shape[-1]) for each in graph.outputs] == [("logits", "float32", 40)]
    text = "\n".join(found.lines())
    assert (
        "  graph: model.onnx, operator set 18, made of these weights\n    in: input_ids int64 [batch, length]" in text
    )
    told = json.loads(json.dumps(found.as_json()))["graphs"]
    assert (told[0]["weights"], told[0]["metadata"]["llmasos.architecture"]) == ("these", "GPT-3")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_graph_that_export_writes_is_sound(exported: Callable[..., Path], architecture: str) -> None:
    found = llmasos.inspect(exported(architecture, external=True))
    assert found.faults == []
    names = ["model.onnx", "model.encoder.onnx"] if architecture == "Transformer" else ["model.onnx"]
    assert [(graph.name, graph.weights) for graph in found.graphs] == [(name, "these") for name in names]
    assert all(file.sha256 for file in found.files)


def test_values_of_all_layers_are_one_line(exported: Callable[..., Path]) -> None:
    lines = llmasos.inspect(exported("Llama")).graphs[0].lines()
    assert sum("past_key_values.{i}.key" in line for line in lines) == 1


def test_a_graph_of_other_weights_is_a_fault(exported: Callable[..., Path]) -> None:
    place = exported()
    bundle = llmasos.read_bundle(place)
    others = {name: array * 2 for name, array in (bundle.weights or {}).items()}
    (place / "model.safetensors").write_bytes(safetensors_bytes(others))
    found = llmasos.inspect(place)
    assert [graph.weights for graph in found.graphs] == ["others"]
    assert [(fault.code, fault.where, fault.what) for fault in found.faults] == [
        ("invalid_format", "model.onnx", "was made of other weights than those of model.safetensors")
    ]
    assert "made of other weights" in "\n".join(found.lines())


def test_a_graph_of_seeded_weights_is_held_to_the_seed(exported: Callable[..., Path]) -> None:
    place = exported(seeded=True)
    found = llmasos.inspect(place)
    assert (found.sound, found.graphs[0].weights) == (True, "these")
    document = json.loads((place / "model.json").read_text())
    (place / "model.json").write_text(json.dumps({**document, "initialisation": {"seed": 99}}))
    found = llmasos.inspect(place)
    assert [fault.what for fault in found.faults] == ["was made of other weights than those of the seed"]
    document["parameters"] |= {"vocab_size": 2**20}  # more weights than any file here holds: they are not drawn
    (place / "model.json").write_text(json.dumps(document))
    assert [graph.weights for graph in llmasos.inspect(place).graphs] == ["others"]
    del document["initialisation"]
    document["parameters"] |= {"vocab_size": 40}
    (place / "model.json").write_text(json.dumps(document))
    found = llmasos.inspect(place)
    assert [graph.weights for graph in found.graphs] == ["only"]
    assert [fault.where for fault in found.faults] == ["model.safetensors"]


@pytest.mark.parametrize("cut", [lambda raw: raw[:-7], lambda raw: b"no graph", lambda raw: raw[: len(raw) // 2]])
def test_a_broken_graph_is_a_fault(exported: Callable[..., Path], cut: Callable[[bytes], bytes]) -> None:
    place = exported()
    (place / "model.onnx").write_bytes(cut((place / "model.onnx").read_bytes()))
    found = llmasos.inspect(place)
    assert [(fault.code, fault.where, fault.what) for fault in found.faults] == [
        ("invalid_format", "model.onnx", "no whole ONNX file")
    ]
    assert "  graph: model.onnx, not looked into: no whole ONNX file" in found.lines()
    assert (found.graphs[0].opset, found.graphs[0].weights) == (None, "unknown")


def test_tensors_that_are_not_beside_a_graph_are_a_fault(exported: Callable[..., Path]) -> None:
    place = exported(external=True)
    (place / "model.onnx.data").unlink()
    (fault,) = llmasos.inspect(place).faults
    assert (fault.code, fault.where) == ("invalid_format", "model.onnx")
    assert fault.what.startswith("no sound ONNX file: ")


@pytest.mark.parametrize(
    ("change", "code", "what"),
    [
        (lambda model: model.opset_import[0].MergeFrom(type(model.opset_import[0])(version=12)),
         "unsupported_version", "needs operator set 12, 13 to 21 are allowed"),
        (lambda model: model.ClearField("opset_import"), "invalid_format", "names no operator set of ONNX"),
        (lambda model: model.metadata_props.pop(), "invalid_format", "has no metadata llmasos.weights_sha256"),
        (lambda model: setattr(model.metadata_props[1], "value", "Llama"), "invalid_format",
         "is of architecture 'Llama', model.json says GPT-3"),
        (lambda model: setattr(model.metadata_props[3], "value", '{"num_heads": 2}'), "invalid_format",
         "was made with activation None, model.json says 'gelu_tanh'"),
        (lambda model: setattr(model.metadata_props[3], "value", "["), "invalid_format",
         "llmasos.parameters is no JSON object"),
    ],
)  # fmt: skip
def test_what_a_reader_of_graphs_refuses_is_a_fault(
    exported: Callable[..., Path], change: Callable[[Any], None], code: str, what: str
) -> None:
    found = rewritten(exported(), change)
    assert [(fault.code, fault.where, fault.what) for fault in found.faults] == [(code, "model.onnx", what)]
    assert not found.graphs[0].unread


def test_without_onnx_a_graph_is_named_and_nothing_is_wrong(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = exported()
    (place / "model.onnx").write_bytes(b"no graph")
    monkeypatch.setitem(sys.modules, "onnx", None)
    found = llmasos.inspect(place)
    why = "onnx is not installed (pip install 'llmasos[onnx]')"
    assert found.sound
    assert [(graph.unread, graph.weights) for graph in found.graphs] == [(why, "unknown")]
    assert f"  graph: model.onnx, not looked into: {why}" in found.lines()
    assert found.as_json()["graphs"][0]["unread"] == why
