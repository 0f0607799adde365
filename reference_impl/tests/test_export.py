"""Bundles as ONNX: what onnxruntime computes with the file is what the reference computes with the bundle."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

import llmasos
from llmasos import weights
from llmasos.errors import InvalidArgument, InvalidFormat, NotFound, Unsupported
from llmasos.model import Model
from llmasos.tools import export as exporting
from llmasos.tools import graphs
from llmasos.tools.export import export
from llmasos.tools.graphs import blocks, checking, files

ORDERS = ("plain", "sequential", "split-k", "online")
KAPPA = 6.0
CONFIGURATIONS = {
    "gpt3": ("GPT-3", {}),
    "gpt3-banded": ("GPT-3", {"local_attention_window": 3, "num_layers": 4, "tie_embeddings": False}),
    "llama": ("Llama", {}),
    "llama-grouped": ("Llama", {"num_key_value_heads": 2, "rope_theta": 500.0}),
    "llama-window": ("Llama", {"num_key_value_heads": 1, "sliding_window": 4, "tie_embeddings": False}),
    "bert": ("BERT", {"type_vocab_size": 3}),
    "bert-relu": ("BERT", {"activation": "relu", "tie_embeddings": False}),
    "bert-tanh": ("BERT", {"activation": "gelu_tanh"}),
    "transformer": ("Transformer", {}),
    "transformer-learned": (
        "Transformer",
        {"positions": "learned", "embedding_norm": True, "activation": "gelu", "scale_embeddings": False,
         "tie_embeddings": False, "num_decoder_layers": 1},
    ),
    "transformer-silu": ("Transformer", {"activation": "silu", "embedding_dim": 36, "num_heads": 3}),
}  # fmt: skip
LENGTHS = (1, 7, 19, 3)
SOURCES = (11, 2, 19, 5)


def document(architecture, **parameters):
    sizes = {
        "vocab_size": 31, "embedding_dim": 24, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 37,
        "context_length": 19,
    }  # fmt: skip
    return {"name": "m", "version": "1.0", "architecture": architecture, "parameters": {**sizes, **parameters}}


def tensors(made, dtype=np.float32):
    """Weights in which no bias is zero and no norm is neutral."""
    random = np.random.default_rng(0)
    shapes = weights.expected_tensors(llmasos.ModelConfig.from_document(made))
    return {
        name: (random.normal(size=shape) * (0.5 if len(shape) == 1 or "embedding" in name else shape[0] ** -0.5)
               + name.endswith("norm.weight")).astype(dtype)
        for name, shape in shapes.items()
    }  # fmt: skip


@pytest.fixture
def bundle(tmp_path):
    """Makes a bundle of an architecture."""

    def make(architecture, **parameters):
        made = document(architecture, **parameters)
        return llmasos.write_bundle(tmp_path / "bundle", made, tensors(made))

    return make


def run(path, feed):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def padded(rows, side, fill=0):
    T = max(map(len, rows))
    ids, mask = np.full((len(rows), T), fill, np.int64), np.zeros((len(rows), T), np.int64)
    for i, row in enumerate(rows):
        place = slice(T - len(row), T) if side == "left" else slice(len(row))
        ids[i, place], mask[i, place] = row, 1
    return ids, mask


def questions(config):
    """Rows, and what stands beside them, by the names of the reference."""
    random = np.random.default_rng(1)
    rows = [random.integers(0, config.vocab_size, n).tolist() for n in LENGTHS]
    if config.architecture == "BERT":
        return rows, {"types": [random.integers(0, config.type_vocab_size, n).tolist() for n in LENGTHS]}
    if config.architecture == "Transformer":
        return rows, {"sources": [random.integers(0, config.vocab_size, n).tolist() for n in SOURCES]}
    return rows, {}


def whole_feed(config, rows, beside, side, fill=0):
    ids, mask = padded(rows, side, fill)
    if config.architecture == "Transformer":
        source, source_mask = padded(beside["sources"], side, fill)
        return {"input_ids": source, "attention_mask": source_mask, "decoder_input_ids": ids,
                "decoder_attention_mask": mask}, mask  # fmt: skip
    feed = {"input_ids": ids, "attention_mask": mask}
    if config.architecture == "BERT":
        feed["token_type_ids"] = padded(beside["types"], side)[0]
    return feed, mask


def assert_honest(got, loaded, dtype, rows, beside):
    """Within the bound of NUM-1, with the baseline of the standard."""
    truth = Model(loaded).forward(rows, **beside)
    honest = [Model(loaded, dtype=dtype, order=order).forward(rows, **beside) for order in ORDERS]
    for i, due in enumerate(truth):
        assert got[i].dtype == dtype
        assert got[i].shape == due.shape
        scale = np.std(due)
        unit = max(np.sqrt(np.mean((h[i] - due) ** 2)) / scale for h in honest)
        floor = 0.25 * np.finfo(dtype).eps / 2
        assert np.sqrt(np.mean((got[i] - due) ** 2)) / scale <= KAPPA * max(unit, floor)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_whole_graph_agrees_for_any_length_batch_and_side_of_padding(bundle, name, dtype):
    architecture, parameters = CONFIGURATIONS[name]
    path = bundle(architecture, **parameters)
    made = export(path, cached=False, dtype=dtype)
    assert made.error <= KAPPA
    loaded = llmasos.read_bundle(path)
    rows, beside = questions(loaded.config)
    for side in ("left", "right"):
        feed, mask = whole_feed(loaded.config, rows, beside, side, fill=30)
        logits = run(path / "model.onnx", feed)["logits"]
        assert_honest([row[m == 1] for row, m in zip(logits, mask, strict=True)], loaded, dtype, rows, beside)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("name", ["gpt3-banded", "llama-grouped", "bert", "transformer"])
def test_every_operator_set_of_the_range_gives_the_same(bundle, name, opset):
    architecture, parameters = CONFIGURATIONS[name]
    path = bundle(architecture, **parameters)
    made = export(path, cached=False, opset=opset)
    assert made.opset == opset
    model = onnx.load(path / "model.onnx")
    assert [(each.domain, each.version) for each in model.opset_import] == [("", opset)]
    loaded = llmasos.read_bundle(path)
    rows, beside = questions(loaded.config)
    feed, mask = whole_feed(loaded.config, rows, beside, "left")
    logits = run(path / "model.onnx", feed)["logits"]
    assert_honest([row[m == 1] for row, m in zip(logits, mask, strict=True)], loaded, "float32", rows, beside)


@pytest.mark.parametrize("name", ["gpt3", "gpt3-banded", "llama-grouped", "llama-window"])
@pytest.mark.parametrize("pieces", [(19,), (1,) * 19, (8, 3, 1, 7)])
def test_a_graph_with_cache_agrees_however_the_columns_are_cut(bundle, name, pieces):
    architecture, parameters = CONFIGURATIONS[name]
    path = bundle(architecture, **parameters)
    assert export(path).cached
    loaded = llmasos.read_bundle(path)
    config = loaded.config
    rows, _ = questions(config)
    ids, mask = padded(rows, "left")
    G = config.num_key_value_heads if architecture == "Llama" else config.num_heads
    empty = np.zeros((len(rows), G, 0, config.head_dim), np.float32)
    past = {f"past_key_values.{i}.{part}": empty for i in range(config.num_layers) for part in ("key", "value")}
    logits, start = [], 0
    for size in pieces:
        end = start + size
        out = run(path / "model.onnx", {"input_ids": ids[:, start:end], "attention_mask": mask[:, :end], **past})
        logits.append(out.pop("logits"))
        past = {name.replace("present", "past_key_values"): value for name, value in out.items()}
        assert all(value.shape == (len(rows), G, end, config.head_dim) for value in past.values())
        start = end
    whole = np.concatenate(logits, axis=1)
    assert_honest([row[m == 1] for row, m in zip(whole, mask, strict=True)], loaded, "float32", rows, {})


@pytest.mark.parametrize("name", ["transformer", "transformer-learned"])
def test_encoder_and_decoder_with_cache_agree(bundle, name):
    architecture, parameters = CONFIGURATIONS[name]
    path = bundle(architecture, **parameters)
    assert [file.name for file in export(path).files] == ["model.encoder.onnx", "model.onnx"]
    loaded = llmasos.read_bundle(path)
    config = loaded.config
    rows, beside = questions(config)
    source, source_mask = padded(beside["sources"], "right")
    read = run(path / "model.encoder.onnx", {"input_ids": source, "attention_mask": source_mask})
    cross = {name.replace("present", "past_key_values"): value for name, value in read.items()}
    empty = np.zeros((len(rows), config.num_heads, 0, config.head_dim), np.float32)
    past = {
        f"past_key_values.{i}.decoder.{part}": empty
        for i in range(config.num_decoder_layers)
        for part in ("key", "value")
    }
    ids, mask = padded(rows, "left")
    logits, start = [], 0
    for end in (6, 7, 19):
        feed = {"decoder_input_ids": ids[:, start:end], "decoder_attention_mask": mask[:, :end]}
        out = run(path / "model.onnx", {**feed, "attention_mask": source_mask, **cross, **past})
        logits.append(out.pop("logits"))
        past = {name.replace("present", "past_key_values"): value for name, value in out.items()}
        start = end
    whole = np.concatenate(logits, axis=1)
    assert_honest([row[m == 1] for row, m in zip(whole, mask, strict=True)], loaded, "float32", rows, beside)


@pytest.mark.parametrize("side", ["left", "right"])
def test_both_heads_of_bert_come_out_of_the_first_real_column_on(bundle, side):
    path = bundle("BERT")
    export(path)
    model = llmasos.load_model(path)
    rows, beside = questions(model.config)
    feed, mask = whole_feed(model.config, rows, beside, side)
    out = run(path / "model.onnx", feed)
    for i, due in enumerate(model.encode(rows, **beside)):
        np.testing.assert_allclose(out["last_hidden_state"][i][mask[i] == 1], due.hidden, rtol=0, atol=1e-5)
        np.testing.assert_allclose(out["pooler_output"][i], due.pooled, rtol=0, atol=1e-5)


def test_what_stands_in_padding_changes_no_bit_and_nothing_is_nan(bundle):
    path = bundle("Llama")
    export(path, cached=False)
    rows, _ = questions(llmasos.read_bundle(path).config)
    ids, mask = padded(rows, "left", fill=0)
    other, _ = padded(rows, "left", fill=29)
    one, two = (run(path / "model.onnx", {"input_ids": x, "attention_mask": mask})["logits"] for x in (ids, other))
    assert np.all(np.isfinite(one))
    np.testing.assert_array_equal(one[mask == 1], two[mask == 1])


def test_more_columns_than_the_context_holds_are_refused_by_the_graph(bundle):
    path = bundle("GPT-3")
    export(path, cached=False)
    ids = np.zeros((1, 20), np.int64)
    with pytest.raises(Exception, match="out of data bounds"):
        run(path / "model.onnx", {"input_ids": ids, "attention_mask": ids + 1})


def test_double_erf_is_exact_enough_to_stand_for_the_operator():
    graph = graphs.Graph({}, dtype="float64", opset=17)
    graph.output("y", blocks.erf(graph.floats("x", "n")), "n")
    x = np.concatenate([np.linspace(-8, 8, 20001), [0.0, -0.0, 1e-300, 40.0, -1e6]])
    from scipy import special

    session = onnxruntime.InferenceSession(files.write(graph, {}).model, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    assert np.max(np.abs(y - special.erf(x))) < 1e-15
    assert np.all(np.abs(y) <= 1)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["gpt3", "llama", "bert", "transformer"])
def test_the_same_bundle_gives_the_same_bytes(bundle, tmp_path, name):
    path = bundle(CONFIGURATIONS[name][0])
    one = export(path, tmp_path / "one.onnx", external=True)
    digests = list(one.files.values())
    assert list(export(path, tmp_path / "one.onnx", external=True).files.values()) == digests


def test_the_metadata_says_what_the_file_was_made_of(bundle):
    path = bundle("Llama", num_key_value_heads=2, bos_token_id=3)
    export(path, dtype="float64")
    notes = {each.key: each.value for each in onnx.load(path / "model.onnx").metadata_props}
    assert json.loads(notes.pop("llmasos.parameters")) == {
        "vocab_size": 31, "embedding_dim": 24, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 37,
        "context_length": 19, "activation": "silu", "tie_embeddings": True, "rms_norm_epsilon": 1e-5,
        "num_key_value_heads": 2, "rope_theta": 10000.0, "sliding_window": None,
    }  # fmt: skip
    assert notes == {
        "llmasos.format": "1.0",
        "llmasos.architecture": "Llama",
        "llmasos.dtype": "float64",
        "llmasos.weights_sha256": weights.sha256_of(path / "model.safetensors"),
    }


def test_a_tied_head_is_in_the_file_once(bundle):
    path = bundle("GPT-3")
    export(path)
    tensors = [each.name for each in onnx.load(path / "model.onnx").graph.initializer]
    expected = weights.expected_tensors(llmasos.read_bundle(path).config)
    assert set(expected) <= set(tensors)
    assert len(tensors) == len(set(tensors))
    assert "head.weight" not in tensors


def test_large_tensors_lie_beside_the_file_under_a_relative_name(bundle, tmp_path):
    path = bundle("GPT-3", embedding_dim=64)
    made = export(path, tmp_path / "gpt.onnx", external=True)
    assert [file.name for file in made.files] == ["gpt.onnx.data", "gpt.onnx"]
    model = onnx.load(tmp_path / "gpt.onnx", load_external_data=False)
    outside = [each for each in model.graph.initializer if each.data_location == onnx.TensorProto.EXTERNAL]
    assert {entry.value for each in outside for entry in each.external_data if entry.key == "location"} == {
        "gpt.onnx.data"
    }
    assert all(
        each.name not in model.graph.initializer or len(each.raw_data) < 1024 for each in model.graph.initializer
    )
    assert "token_embedding" in [each.name for each in outside]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("gpt.onnx", "gpt.onnx.data"):
        (tmp_path / name).rename(moved / name)
    out = run(moved / "gpt.onnx", {"input_ids": np.array([[1, 2]]), "attention_mask": np.array([[1, 1]]), **past_of(4)})
    np.testing.assert_allclose(out["logits"][0], llmasos.load_model(path).forward([[1, 2]])[0], rtol=0, atol=1e-4)


def past_of(H):
    return {
        f"past_key_values.{i}.{part}": np.zeros((1, H, 0, 16), np.float32) for i in (0, 1) for part in ("key", "value")
    }


def test_an_export_leaves_no_file_of_another_export_beside_it(bundle):
    path = bundle("Transformer")
    export(path, external=True)
    export(path, cached=False)
    assert sorted(file.name for file in path.iterdir()) == ["model.json", "model.onnx", "model.safetensors"]


def test_seeded_weights_are_exported_when_they_are_asked_for(tmp_path):
    path = llmasos.write_bundle(tmp_path / "b", {**document("GPT-3"), "initialisation": {"seed": 4}})
    with pytest.raises(Unsupported, match="holds no weights"):
        export(path)
    assert list(path.iterdir()) == [path / "model.json"]
    made = export(path, seeded=True)
    assert made.error <= KAPPA
    notes = {each.key: each.value for each in onnx.load(path / "model.onnx").metadata_props}
    config = llmasos.read_bundle(path).config
    (tmp_path / "would").write_bytes(weights.safetensors_bytes(weights.initialise(config)))
    assert notes["llmasos.weights_sha256"] == weights.sha256_of(tmp_path / "would")


def test_a_graph_never_becomes_the_only_weights_of_a_bundle_that_states_no_seed(tmp_path):
    path = llmasos.write_bundle(tmp_path / "b", document("GPT-3"))
    with pytest.raises(Unsupported, match="states no seed"):
        export(path, seeded=True)
    assert export(path, tmp_path / "model.onnx", seeded=True).error <= KAPPA
    (tmp_path / "model.onnx").rename(path / "model.onnx")
    with pytest.raises(Unsupported, match=r"in model\.onnx alone"):
        llmasos.load_model(path)
    assert [(each.code, each.where) for each in llmasos.inspect(path).faults] == [("unsupported", "model.safetensors")]


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"opset": 12}, InvalidArgument, "opset 12 is not offered"),
        ({"opset": 22}, InvalidArgument, "13 to 21"),
        ({"opset": "17"}, InvalidArgument, "opset"),
        ({"opset": True}, InvalidArgument, "opset"),
        ({"external": 1}, InvalidArgument, "external: expected True or False"),
        ({"cached": "no"}, InvalidArgument, "cached: expected True or False"),
        ({"dtype": "float16"}, InvalidArgument, "float16"),
        ({"out": "model.pb"}, InvalidArgument, r"does not end in \.onnx"),
        ({"out": "absent/model.onnx"}, NotFound, "no directory"),
        ({"out": "folder.onnx"}, InvalidArgument, "no file"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_before_anything_is_written(bundle, tmp_path, options, error, match):
    path = bundle("GPT-3")
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.rglob("*"))
    if "out" in options:
        options = {"out": tmp_path / options["out"]}
    with pytest.raises(error, match=match):
        export(path, **options)
    assert sorted(tmp_path.rglob("*")) == before


def test_bert_has_no_cache_to_export(bundle):
    with pytest.raises(InvalidArgument, match="BERT keeps no cache"):
        export(bundle("BERT"), cached=True)


def test_a_graph_too_large_for_one_file_is_refused_and_fits_beside_it(bundle, monkeypatch):
    path = bundle("GPT-3")
    monkeypatch.setattr(exporting, "MAX_INSIDE", 10_000)
    with pytest.raises(Unsupported, match="one file holds 10000"):
        export(path)
    assert export(path, external=True).error <= KAPPA


def test_a_bundle_too_large_for_one_file_is_refused_before_weights_are_made(tmp_path):
    made = document("GPT-3", vocab_size=2**20, embedding_dim=1024, num_heads=1)
    path = tmp_path / "b"
    path.mkdir()
    (path / "model.json").write_text(json.dumps({**made, "initialisation": {"seed": 0}}))
    with pytest.raises(Unsupported, match="one file holds"):
        export(path, seeded=True)


def test_a_weight_too_large_for_the_dtype_is_refused_and_fits_float64(tmp_path):
    made = document("GPT-3")
    held = tensors(made, np.float64)
    held["layers.0.feed_forward.down.bias"][0] = 1e39
    path = llmasos.write_bundle(tmp_path / "b", made, held)
    with pytest.raises(InvalidFormat, match=r"down\.bias as float32"):
        export(path)
    assert export(path, dtype="float64").error <= KAPPA


def test_a_model_that_overflows_in_the_dtype_is_refused(tmp_path):
    made = document("GPT-3")
    held = tensors(made)
    held["layers.0.attention.query.weight"] *= np.float32(1e30)
    held["layers.0.attention.key.weight"] *= np.float32(1e30)
    path = llmasos.write_bundle(tmp_path / "b", made, held)
    with pytest.raises(Unsupported, match="overflows in float32"):
        export(path)


FAULTS = {
    "epsilon": lambda graph: swap(graph, 1e-5, 1e-3),
    "transposed": lambda graph: graph.initialisers.update(
        {"layers.1.attention.query.weight": graph.initialisers["layers.1.attention.query.weight"].T}
    ),
    "narrow": lambda graph: graph.initialisers.update(
        token_embedding=graph.initialisers["token_embedding"].astype(np.float16).astype(np.float32)
    ),
}


def swap(graph, old, new):
    for name, array in graph.initialisers.items():
        if array.shape == () and array.dtype == np.float32 and array == np.float32(old):
            graph.initialisers[name] = np.float32(new)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_computes_something_else_never_takes_its_place(bundle, monkeypatch, fault):
    path = bundle("GPT-3")
    export(path)
    held = (path / "model.onnx").read_bytes()
    right = graphs.graph

    def wrong(*args, **options):
        graph = right(*args, **options)
        FAULTS[fault](graph)
        return graph

    monkeypatch.setattr(graphs, "graph", wrong)
    with pytest.raises(Unsupported, match="honest errors, 6 is the bound"):
        export(path)
    assert (path / "model.onnx").read_bytes() == held
    assert sorted(file.name for file in path.iterdir()) == ["model.json", "model.onnx", "model.safetensors"]


def test_a_file_that_onnxruntime_does_not_take_is_said_so(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    with pytest.raises(Unsupported, match="does not take the file"):
        checking._session(tmp_path / "m.onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_who_lacks_a_library_is_told_how_to_get_it(bundle, monkeypatch, missing):
    path = bundle("GPT-3")
    for name in [name for name in sys.modules if name.startswith("llmasos.tools.graphs")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("llmasos.tools.graphs")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(Unsupported, match=rf"{missing} is not installed \(pip install"):
        export(path)
    assert not (path / "model.onnx").exists()
