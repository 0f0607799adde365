"""ONNX files of our own: held to the onnx package, to onnxruntime, and to the reference."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import llmasos
from llmasos.tools.export import export
from llmasos_conformance import numerics
from llmasos_conformance.checks.bundles import PLAIN, config, tensors
from llmasos_conformance.graphs import contract, making, proto, running, spoiled
from llmasos_conformance.graphs.asking import Asker, Row
from llmasos_conformance.graphs.contract import ENCODER_FILE, FILE
from llmasos_conformance.layout import files_of, shapes, with_defaults
from llmasos_conformance.protocol import Refusal

ORDERS = ("plain", "sequential", "split-k", "online")
MODELS = {
    "gpt3": ("GPT-3", {"tie_embeddings": False}),
    "banded": ("GPT-3", {"local_attention_window": 3, "num_layers": 3}),
    "llama": ("Llama", {"num_key_value_heads": 2, "rope_theta": 500.0, "sliding_window": 4}),
    "bert": ("BERT", {"type_vocab_size": 3}),
    "transformer": ("Transformer", {"num_decoder_layers": 1}),
    "learned": (
        "Transformer",
        {"positions": "learned", "embedding_norm": True, "activation": "gelu", "scale_embeddings": False},
    ),
}
ROWS = [
    Row(ids=[5, 9, 2, 7, 30, 1], source=[3, 4], types=[0, 1, 2, 0, 1, 2]),
    Row(ids=[8], source=[9, 9, 9, 1, 2], types=[1]),
    Row(ids=[1, 2, 3], source=[7], types=[2, 2, 0]),
]
LEFT = [replace(row, columns=range(6 - len(row.ids), 6), source_columns=range(len(row.source))) for row in ROWS]
SCATTERED = [
    replace(ROWS[0], columns=[0, 2, 3, 5, 6, 8], source_columns=[1, 4]),
    replace(ROWS[1], columns=[4], source_columns=[0, 1, 2, 3, 5]),
    replace(ROWS[2], columns=[1, 3, 8], source_columns=[3]),
]


def made_of(name):
    """Architecture, document, parameters with defaults, and weights."""
    architecture, own = MODELS[name]
    sizes = {
        "vocab_size": 31, "embedding_dim": 24, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 37,
        "context_length": 19,
    }  # fmt: skip
    document = {"name": "m", "version": "1.0", "architecture": architecture, "parameters": {**sizes, **own}}
    filled = with_defaults(document["parameters"], architecture)
    random = np.random.default_rng(0)
    weights = {
        key: (random.normal(size=shape) * (0.5 if len(shape) == 1 or "embedding" in key else shape[0] ** -0.5)
              + key.endswith("norm.weight")).astype(np.float32)
        for key, shape in shapes(filled, architecture).items()
    }  # fmt: skip
    return architecture, document, filled, weights


def on_disk(place, name, files=None):
    _, document, _, weights = made_of(name)
    place.mkdir(exist_ok=True)
    for file, content in files_of(document, weights, files=files).items():
        (place / file).write_bytes(content)
    return place


def beside(rows, architecture):
    if architecture == "Transformer":
        return {"sources": [row.source for row in rows]}
    return {"types": [row.types for row in rows]} if architecture == "BERT" else {}


def plain_rows(rows, architecture):
    """Rows without what the architecture does not take."""
    return [
        replace(
            row,
            source=row.source if architecture == "Transformer" else [],
            types=row.types if architecture == "BERT" else [],
        )
        for row in rows
    ]


def assert_honest(place, dtype, rows, answers, architecture):
    ids, more = [row.ids for row in rows], beside(rows, architecture)
    truth = llmasos.load_model(place).forward(ids, **more)
    honest = [llmasos.load_model(place, dtype=dtype, order=order).forward(ids, **more) for order in ORDERS]
    for i, answer in enumerate(answers):
        assert answer["logits"].dtype == dtype
        finding = numerics.judge_logits("logits", answer["logits"], truth[i], [h[i] for h in honest], dtype)
        assert finding.ok, finding.message


def in_runtime(model, feed, array):
    """onnxruntime in the place of `running.run`."""
    inside = tuple(proto.tensor(each.name, array(each)) if each.outside else each for each in model.tensors)
    raw = proto.encode(replace(model, tensors=inside))
    session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


# ── exporter and evaluator ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("run", [running.run, in_runtime], ids=["numpy", "onnxruntime"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "cached"),
    [(name, cached) for name in MODELS for cached in (False, True) if (name, cached) != ("bert", True)],
)
def test_graphs_of_ours_compute_what_the_reference_does(tmp_path, name, cached, dtype, run):
    architecture, _, sizes, weights = made_of(name)
    files = making.files(architecture, sizes, weights, dtype=dtype, cached=cached, external=cached)
    found = contract.STRICT.opened(contract.Held(files), architecture, sizes)
    assert found.dtype == dtype
    place = on_disk(tmp_path / "b", name)
    for rows in (ROWS, LEFT, SCATTERED):
        asked = plain_rows(rows, architecture)
        answers = Asker(found, run=run).answers(asked, [1, 2, 5] if cached else [])
        assert_honest(place, dtype, asked, answers, architecture)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("name", ["banded", "llama", "bert", "transformer"])
def test_files_of_ours_are_onnx_in_every_operator_set(name, opset):
    architecture, _, sizes, weights = made_of(name)
    for cached in {False, architecture != "BERT"}:
        for raw in making.files(architecture, sizes, weights, opset=opset, cached=cached).values():
            onnx.checker.check_model(onnx.load_from_string(raw), full_check=True)


@pytest.mark.parametrize("name", ["banded", "llama", "bert", "learned"])
def test_what_the_reference_exports_is_what_the_contract_wants_and_the_evaluator_computes(tmp_path, name):
    architecture, _, sizes, _ = made_of(name)
    place = on_disk(tmp_path / "b", name)
    for cached in {False, architecture != "BERT"}:
        made = export(place, tmp_path / "model.onnx", cached=cached, external=cached, dtype="float64")
        files = {path.name: path.read_bytes() for path in made.files}
        digest = llmasos.weights.sha256_of(place / "model.safetensors")
        found = contract.STRICT.opened(contract.Held(files), architecture, sizes, digest)
        asked = plain_rows(SCATTERED, architecture)
        answers = Asker(found).answers(asked, [3] if cached else [])
        assert_honest(place, "float64", asked, answers, architecture)


def test_the_same_weights_give_the_same_bytes():
    architecture, _, sizes, weights = made_of("llama")
    one, two = (making.files(architecture, sizes, weights, cached=True, external=True) for _ in range(2))
    assert one == two


def test_tensors_handed_over_as_arrays_are_those_of_the_file():
    architecture, _, sizes, weights = made_of("llama")
    held = {}
    model = making.Exporter(architecture, sizes, weights).model("whole", held)
    whole = {each.name: each for each in making.Exporter(architecture, sizes, weights).model("whole").tensors}
    assert held
    for each in model.tensors:
        assert (each.dtype, each.dims) == (whole[each.name].dtype, whole[each.name].dims)
        if each.outside is not None:
            np.testing.assert_array_equal(held[each.name], whole[each.name].array())


def test_gauss_and_legendre_make_an_erf_that_float64_deserves():
    from scipy import special

    x = np.linspace(-9, 9, 4001)
    near = np.clip(x, -6, 6)
    heights = np.exp(-((near * near)[:, None] * making.POINTS**2))
    erf = 2 * near / np.sqrt(np.pi) * (heights @ making.WEIGHTS)
    assert np.max(np.abs(erf - special.erf(x))) < 1e-15


# ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def told_by_onnx(raw):
    """What the onnx package reads of a file, in our values."""
    model = onnx.load_from_string(raw)
    graph = model.graph

    def value(info):
        kind = info.type.tensor_type
        sizes = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in kind.shape.dim)
        return proto.Value(name=info.name, dtype=kind.elem_type, sizes=sizes if kind.HasField("shape") else None)

    def attribute(each):
        found = helper.get_attribute_value(each)
        if isinstance(found, onnx.TensorProto):
            return numpy_helper.to_array(found).tolist()
        return list(found) if each.type in (6, 7, 8) else found

    return {
        "nodes": [
            (n.op_type, list(n.input), list(n.output), n.domain, {a.name: attribute(a) for a in n.attribute})
            for n in graph.node
        ],
        "inputs": [value(v) for v in graph.input],
        "outputs": [value(v) for v in graph.output],
        "tensors": {
            t.name: (t.data_type, tuple(t.dims), numpy_helper.to_array(t).tobytes()) for t in graph.initializer
        },
        "opsets": {each.domain: each.version for each in model.opset_import},
        "notes": {each.key: each.value for each in model.metadata_props},
    }


def told_by_us(raw):
    model = proto.decode(raw)

    def attribute(value):
        if isinstance(value, proto.Tensor):
            return value.array().tolist()
        return list(value) if isinstance(value, tuple) else value

    return {
        "nodes": [
            (n.operator, list(n.inputs), list(n.outputs), n.domain, {k: attribute(v) for k, v in n.attributes.items()})
            for n in model.nodes
        ],
        "inputs": list(model.inputs),
        "outputs": list(model.outputs),
        "tensors": {t.name: (t.dtype, t.dims, t.array().tobytes()) for t in model.tensors},
        "opsets": dict(model.opsets),
        "notes": dict(model.notes),
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_onnx_package_reads_in_our_files_what_we_do(name):
    architecture, _, sizes, weights = made_of(name)
    for raw in making.files(architecture, sizes, weights).values():
        assert told_by_us(raw) == told_by_onnx(raw)
        assert proto.encode(proto.decode(raw)) == raw


@pytest.mark.parametrize("variant", [name for name in spoiled.VARIANTS if name != "domain written out"])
def test_a_variant_is_to_the_onnx_package_what_it_is_to_us(variant):
    sizes = config(PLAIN)
    raw = spoiled.VARIANTS[variant](making.models("GPT-3", sizes, tensors(sizes))[FILE])[FILE]
    if "tensors in" in variant:
        assert [t.name for t in onnx.load_from_string(raw).graph.initializer] == [
            t.name for t in proto.decode(raw).tensors
        ]
        return
    assert told_by_us(raw) == told_by_onnx(raw)


def test_all_that_onnx_writes_is_read():
    random = np.random.default_rng(0)
    arrays = {
        "f32": random.normal(size=(2, 3)).astype(np.float32), "f64": random.normal(size=3),
        "f16": random.normal(size=(2, 2)).astype(np.float16), "i64": np.array([-(2**40), 0, 7]),
        "i32": np.array([[-5, 6]], np.int32), "u8": np.array([0, 255], np.uint8), "i8": np.array([-128, 127], np.int8),
        "bool": np.array([True, False]), "u64": np.array([2**63 + 1], np.uint64), "u32": np.array([9], np.uint32),
        "scalar": np.float32(2.5), "nothing": np.zeros((0, 3), np.float32),
    }  # fmt: skip
    made = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    typed = [
        helper.make_tensor(f"typed.{name}", each.data_type, each.dims, arrays[name].reshape(-1).tolist())
        for name, each in zip(arrays, made, strict=True)
    ]
    node = helper.make_node(
        "Own", ["x", ""], ["y", "z"], domain="org.example", a=1, b=-2.5, c="text", d=[1, -2], e=[0.5, 1.5], f=["a", "b"]
    )
    graph = helper.make_graph(
        [node, helper.make_node("Constant", [], ["k"], value=made[0])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, "n", 3])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.INT64, None)],
        made + typed,
        doc_string="words",
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("org.example", 2)])
    model.metadata_props.add(key="k", value="ü")
    raw = model.SerializeToString()
    assert told_by_us(raw) == told_by_onnx(raw)


@settings(max_examples=200)
@given(st.data())
def test_bytes_that_are_changed_anywhere_are_read_or_refused_and_never_anything_else(data):
    sizes = config(PLAIN)
    raw = bytearray(making.files("GPT-3", sizes, tensors(sizes))[FILE])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw) - 1, len(raw) // 2]))])
    with contextlib.suppress(Refusal):
        found = contract.STRICT.opened(contract.Held({FILE: cut}), "GPT-3", sizes)
        assert found.dtype == "float32"


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(raw):
    with pytest.raises(proto.Broken):
        proto.decode(raw)


# ── the contract ────────────────────────────────────────────────────────────────────────────────────────────────────

WHY = {
    "input_ids by another name": "no input input_ids",
    "logits by another name": "no output logits",
    "no attention_mask": "no input attention_mask",
    "one more input": "unknown input",
    "input_ids as int32": "input_ids is element type 6, int64 is due",
    "attention_mask as float": "attention_mask is float32, int64 is due",
    "logits of another type": "logits is float64, float32 is due",
    "batch of 1": "size 1 at axis 0",
    "length of 8": "size 8 at axis 1",
    "another architecture": "architecture 'Llama'",
    "another vocabulary": "vocab_size 261",
    "another context": "context_length 32",
    "another number of heads": "num_heads 4",
    "another epsilon": "layer_norm_epsilon 1e-06",
    "another activation": "activation 'gelu'",
    "a window": "local_attention_window 4",
    "a parameter that is not there": "rope_theta",
    "a parameter less": "num_layers None",
    "heads as a text": "num_heads '2'",
    "parameters that are no JSON": "no JSON object",
    "format 2": "format '2.0'",
    "dtype int8": "dtype 'int8'",
    "no metadata": "no metadata llmasos.format",
    "no architecture": "no metadata llmasos.architecture",
    "no dtype": "no metadata llmasos.dtype",
    "no parameters": "no metadata llmasos.parameters",
    "no digest": "no metadata llmasos.weights_sha256",
    "opset 1": "operator set 1,",
    "opset 12": "operator set 12,",
    "opset 22": "operator set 22,",
    "opset 99": "operator set 99,",
    "operator of com.microsoft": "Gelu of 'com.microsoft'",
    "operator of nobody": "Rescale of 'org.example'",
    "graph in a node": "a graph inside If",
    "operators of its own": "defines operators of its own",
    "int8 matrices": "is int8",
    "one int8 matrix": "is int8",
    "float16 matrices": "is float16",
    "bfloat16 matrices": "is bfloat16",
    "float16 logits": "rounds to element type 10",
    "data not there": "is not there",
    "data cut": "ends beyond",
    "offset beyond the data": "ends beyond",
    "length too small": "bytes, 512 are due",
    "length too large": "bytes, 512 are due",
    "offset below 0": "has offset '-'",
    "length as a text": "has length 'x",
    "empty file": "no graph",
    "a text": "a field of kind",
    "zeros": "a field with number 0",
    "a JSON document": "a field of kind",
    "cut in the middle": "are announced",
    "last byte missing": "are announced",
    "first byte missing": "a field of kind",
    "2^62 bytes announced": "are announced",
    "2^62 by 8 announced": "are due",
    "2^40 rows announced": "are due",
    "rows below 0": "a negative size",
    "one row more": "are due",
    "one row less": "are due",
}
"""Part of what the contract says of each fault."""


@pytest.mark.parametrize("fault", spoiled.FAULTS)
def test_each_fault_is_refused_for_what_it_is(fault):
    sizes = config(PLAIN)
    files = spoiled.FAULTS[fault](making.models("GPT-3", sizes, tensors(sizes))[FILE])
    held = contract.Held(files)
    if fault == "unknown operator":  # which operators there are is known to the runtime
        assert contract.STRICT.opened(held, "GPT-3", sizes) is not None
        with pytest.raises(Exception, match="FlashRescale"):
            onnxruntime.InferenceSession(files[FILE], providers=["CPUExecutionProvider"])
        return
    with pytest.raises(Refusal) as caught:
        contract.STRICT.opened(held, "GPT-3", sizes)
    assert WHY[fault] in caught.value.message
    assert caught.value.code == ("unsupported_version" if fault.startswith("opset") else "invalid_format")


@pytest.mark.parametrize("variant", spoiled.VARIANTS)
def test_each_variant_is_a_valid_file_to_the_onnx_package(variant, tmp_path):
    """A graph without stated shapes is none, and a tensor outside without a length reaches to the end of the file."""
    sizes = config(PLAIN)
    weights = tensors(sizes)
    for name, raw in spoiled.VARIANTS[variant](making.models("GPT-3", sizes, weights)[FILE]).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(raw)
    onnx.checker.check_model(str(tmp_path / FILE))
    for each in onnx.load(str(tmp_path / FILE)).graph.initializer:
        if each.name in weights:
            np.testing.assert_array_equal(numpy_helper.to_array(each), weights[each.name])


@pytest.mark.parametrize("variant", spoiled.VARIANTS)
def test_each_variant_is_taken_and_computes_the_same(variant):
    sizes = config(PLAIN)
    sound = making.models("GPT-3", sizes, tensors(sizes))[FILE]
    found = contract.STRICT.opened(contract.Held(spoiled.VARIANTS[variant](sound)), "GPT-3", sizes)
    feed = {"input_ids": np.array([[1, 2, 3]]), "attention_mask": np.array([[1, 1, 1]])}
    array = lambda each: found.array(each, FILE)  # noqa: E731
    logits = running.run(found.models[FILE], feed, array)["logits"]
    np.testing.assert_array_equal(logits, running.run(sound, feed)["logits"])


def test_a_layer_norm_of_float64_must_say_that_it_computes_in_it():
    architecture, _, sizes, weights = made_of("gpt3")
    model = making.models(architecture, sizes, weights, dtype="float64")[FILE]
    node = proto.Node(operator="LayerNormalization", inputs=("a", "b"), outputs=("c",))
    with pytest.raises(Refusal, match="computes in float32"):
        contract.STRICT.judge(replace(model, nodes=(*model.nodes, node)), FILE, architecture, sizes)
    wide = replace(node, attributes={"stash_type": proto.DOUBLE})
    assert contract.STRICT.judge(replace(model, nodes=(*model.nodes, wide)), FILE, architecture, sizes) == "float64"


def test_a_decoder_without_its_encoder_is_refused():
    architecture, _, sizes, weights = made_of("transformer")
    files = making.files(architecture, sizes, weights, cached=True)
    assert contract.STRICT.opened(contract.Held(files), architecture, sizes).form == "decoder"
    del files[ENCODER_FILE]
    with pytest.raises(Refusal, match=ENCODER_FILE):
        contract.STRICT.opened(contract.Held(files), architecture, sizes)


def test_encoder_and_decoder_are_of_one_dtype():
    architecture, _, sizes, weights = made_of("transformer")
    files = making.files(architecture, sizes, weights, cached=True)
    files[ENCODER_FILE] = making.files(architecture, sizes, weights, cached=True, dtype="float64")[ENCODER_FILE]
    with pytest.raises(Refusal, match="another dtype"):
        contract.STRICT.opened(contract.Held(files), architecture, sizes)


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../x", "a/../../x", "..", "C:\\x", "c:x", "a\\b", "\\\\host\\x", "x\0y", "../../../x"]
)
def test_a_location_that_leads_out_is_refused(location):
    with pytest.raises(Refusal, match="outside of the bundle"):
        contract.STRICT.location(location, "tensor")


@pytest.mark.parametrize("location", ["x", "a/b/c", "model.onnx.data", "..x", "a..b/c"])
def test_a_location_inside_is_taken(location):
    contract.STRICT.location(location, "tensor")


def test_links_and_folders_are_no_files(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("real/x")
    (tmp_path / "folder").symlink_to("real", target_is_directory=True)
    folder = contract.Folder(tmp_path)
    assert folder.size("real/x") == 3
    assert folder.read("real/x", 1, 1) == b"b"
    assert folder.size("absent") is folder.size("real/x/y") is None
    for name in ("link", "folder/x"):
        with pytest.raises(Refusal, match="link"):
            folder.size(name)
    with pytest.raises(Refusal, match="no plain file"):
        folder.size("real")


def test_a_number_may_be_written_without_its_fraction_and_true_is_not_one():
    sizes = config(PLAIN)
    model = making.models("GPT-3", {**sizes, "layer_norm_epsilon": 1.0}, tensors(sizes))[FILE]
    told = json.loads(model.notes["llmasos.parameters"])
    for given_, taken in ((1, True), (1.0, True), (True, False), ("1", False)):
        changed = model.with_notes(parameters=json.dumps({**told, "layer_norm_epsilon": given_}))
        if taken:
            contract.STRICT.judge(changed, FILE, "GPT-3", {**sizes, "layer_norm_epsilon": 1.0})
            continue
        with pytest.raises(Refusal, match="layer_norm_epsilon"):
            contract.STRICT.judge(changed, FILE, "GPT-3", {**sizes, "layer_norm_epsilon": 1.0})


# ── operators ───────────────────────────────────────────────────────────────────────────────────────────────────────

X, Y = np.linspace(-2, 2, 12).reshape(3, 4), np.linspace(0.5, 2, 4)
I64 = np.array([[3, -1, 2], [0, 5, -4]])
FEW = {
    **{name: ([X], {}) for name in (
        "Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Neg", "Relu", "Sigmoid", "Sign", "Sin", "Softplus", "Tanh",
        "Identity", "Shape", "Size", "IsNaN", "IsInf", "Flatten",
    )},
    **{name: ([X, Y], {}) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")},
    **{name: ([X > 0, Y > 1], {}) for name in ("And", "Or", "Xor")},
    **{name: ([X, Y], {}) for name in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    "Div integers": ([np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])], {}),
    "Not": ([X > 0], {}), "Log": ([Y], {}), "Sqrt": ([Y], {}), "Reciprocal": ([Y], {}), "Pow": ([Y, np.array(2.0)], {}),
    "Pow integers": ([Y, np.array(3)], {}), "Mod": ([I64, np.array(3)], {}),
    "MatMul": ([X, X.T], {}), "MatMul batches": ([np.stack([X, X]), X.T], {}),
    "Gemm": ([X, X, np.ones(3)], {"transB": 1, "alpha": 2.0, "beta": 0.5}),
    "Softmax": ([X], {"axis": 0}), "LogSoftmax": ([X], {}), "Gelu": ([X], {}),
    "Gelu tanh": ([X], {"approximate": "tanh"}),
    "Clip": ([X, np.array(-1.0), np.array(1.0)], {}), "Where": ([X > 0, X, Y], {}),
    "ReduceMean": ([X, np.array([1])], {"keepdims": 0}), "ReduceSum": ([X, np.array([-1])], {}), "ReduceMax": ([X], {}),
    "ReduceMin": ([X, np.array([0])], {"keepdims": 1}), "ReduceSum nothing": ([X], {"noop_with_empty_axes": 1}),
    "LayerNormalization": ([X.astype(np.float32), Y.astype(np.float32)], {}),
    "LayerNormalization bias": ([X.astype(np.float32), Y.astype(np.float32), Y.astype(np.float32)], {"epsilon": 0.1}),
    "Cast": ([X], {"to": proto.INT64}), "Cast half": ([X], {"to": proto.FLOAT16}),
    "ConstantOfShape": ([np.array([2, 3])], {}), "Reshape": ([X, np.array([0, 2, -1])], {}),
    "Unsqueeze": ([X, np.array([0, -1])], {}), "Squeeze": ([X[None], np.array([0])], {}),
    "Slice": ([X, np.array([1, 0]), np.array([3, -1]), np.array([1, 0])], {}),
    "Slice backwards": ([X, np.array([3]), np.array([-99]), np.array([1]), np.array([-2])], {}),
    "Slice default": ([X, np.array([1]), np.array([2])], {}),
    "Split": ([X], {"axis": 1, "num_outputs": 2}), "Split sizes": ([X, np.array([1, 3])], {"axis": 1}),
    "Gather": ([X, np.array([[0, -1]])], {"axis": 1}), "GatherElements": ([X, np.array([[0, 2, -1, 1]])], {"axis": 0}),
    "GatherND": ([X, np.array([[0, 1], [2, 3]])], {}),
    "GatherND batches": ([X, np.array([[1], [0], [3]])], {"batch_dims": 1}),
    "Concat": ([X, X], {"axis": -1}), "Transpose": ([X], {"perm": [1, 0]}), "Transpose default": ([X], {}),
    "Expand": ([Y, np.array([2, 4])], {}), "Tile": ([Y, np.array([2])], {}),
    "Range": ([np.array(2), np.array(9), np.array(3)], {}), "CumSum": ([I64, np.array(1)], {}),
    "CumSum turned": ([I64, np.array(0)], {"reverse": 1, "exclusive": 1}),
    "ArgMax": ([X], {"axis": 1, "keepdims": 0}), "ArgMin": ([X], {"axis": 0}), "Trilu": ([X], {"upper": 0}),
    "Trilu diagonal": ([X, np.array(1)], {}),
    "ScatterND": ([X, np.array([[0], [2]]), np.ones((2, 4))], {}),
    "DequantizeLinear": ([np.array([[-128, 5], [7, 127]], np.int8), np.array([0.5, 2.0], np.float32)], {"axis": 1}),
    "DequantizeLinear zero": ([np.array([1, 200], np.uint8), np.float32(0.5), np.uint8(3)], {}),
    "Dropout": ([X], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", FEW)
def test_an_operator_is_computed_as_by_the_onnx_package(case):
    inputs, attributes = FEW[case]
    operator = case.split()[0]
    names = [f"x{i}" for i in range(len(inputs))]
    outputs = ["y0", "y1"] if operator == "Split" else ["y0"]
    node = helper.make_node(operator, names, outputs, **attributes)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.asarray(x).dtype), np.shape(x))
        for name, x in zip(names, inputs, strict=True)
    ]
    ends = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph([node], "g", infos, ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    feed = {name: np.asarray(x) for name, x in zip(names, inputs, strict=True)}
    due = ReferenceEvaluator(model).run(None, feed)
    ours = proto.Node(
        operator=operator,
        inputs=tuple(names),
        outputs=tuple(outputs),
        attributes={
            key: value.encode() if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
            for key, value in attributes.items()
        },
    )
    values = tuple(proto.Value(name=name, dtype=1, sizes=None) for name in outputs)
    told = proto.Model(nodes=(ours,), inputs=(), outputs=values, tensors=(), opsets={"": 20})
    for name, expected in zip(outputs, due, strict=True):
        got = np.asarray(running.run(told, feed)[name])
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 if got.dtype == np.float32 else 1e-12)


def test_a_layer_norm_computes_in_the_type_that_it_is_told():
    centred = X - X.mean(-1, keepdims=True)
    due = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(0.1)) * Y
    wide, narrow = (
        one("LayerNormalization", X, Y, epsilon=0.1, stash_type=kind) for kind in (proto.DOUBLE, proto.FLOAT)
    )
    np.testing.assert_allclose(wide, due, rtol=1e-8)
    assert narrow.dtype == np.float64
    assert 1e-9 < np.max(np.abs(narrow - due)) < 1e-6


def test_every_operator_of_the_evaluator_is_tried_here_or_in_a_graph():
    tried = {case.split()[0] for case in FEW} | {"Constant"}
    assert set(running.OPERATORS) <= tried


def one(operator, *inputs, **attributes):
    names = tuple(f"x{i}" for i in range(len(inputs)))
    node = proto.Node(operator=operator, inputs=names, outputs=("y",), attributes=attributes)
    value = proto.Value(name="y", dtype=1, sizes=None)
    model = proto.Model(nodes=(node,), inputs=(), outputs=(value,), tensors=(), opsets={"": 17})
    return running.run(model, dict(zip(names, inputs, strict=True)))["y"]


def test_what_is_not_known_and_what_cannot_be_computed_are_two_things():
    with pytest.raises(running.Unknown, match="Loop"):
        one("Loop", X)
    with pytest.raises(running.Unknown, match="select_last_index"):
        one("ArgMax", X, select_last_index=1)
    with pytest.raises(running.Fails, match="index 3 of 3"):
        one("Gather", X, np.array([3]))
    with pytest.raises(running.Fails, match="MatMul of shapes"):
        one("MatMul", X, X)
    with pytest.raises(running.Fails, match="nothing has made"):
        running.run(
            proto.Model(
                nodes=(proto.Node(operator="Abs", inputs=("a",), outputs=("b",)),), inputs=(), outputs=(), tensors=(),
                opsets={"": 17},
            ),
            {},
        )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_quantised_graph_is_seen_by_its_numbers(tmp_path, dtype):
    """The evaluator computes it, so that a file of 8 bits fails by its logits, not by its looks alone."""
    architecture, _, sizes, weights = made_of("gpt3")
    place = on_disk(tmp_path / "b", "gpt3")
    model = spoiled.quantised(making.models(architecture, sizes, weights, dtype=dtype)[FILE])
    feed = {"input_ids": np.array([ROWS[0].ids]), "attention_mask": np.ones((1, 6), np.int64)}
    mine, runtime = running.run(model, feed)["logits"][0], in_runtime(model, feed, None)["logits"][0]
    ids = ROWS[0].ids
    truth = llmasos.load_model(place).forward([ids])[0]
    honest = [llmasos.load_model(place, dtype=dtype, order=order).forward([ids])[0] for order in ORDERS]
    for got in (mine, runtime):
        finding = numerics.judge_logits("logits", got, truth, honest, dtype)
        assert not finding.ok
        assert finding.figures["ratio"] > 1000
