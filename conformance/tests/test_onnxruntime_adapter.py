"""onnxruntime as a candidate: logits, caches and batches are the runtime's, be the graph the bundle's or ours."""

import json

import numpy as np
import onnxruntime
import pytest

import llmasos
from llmasos import weights
from llmasos.tools.export import export
from llmasos_conformance import numerics
from llmasos_conformance.adapters import connect
from llmasos_conformance.adapters import onnxruntime as adapter
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import Refusal

ADDRESSES = ("onnxruntime", "onnxruntime:float32/right", "onnxruntime:float64")
ARCHITECTURES = {
    "GPT-3": {"local_attention_window": 3},
    "Llama": {"num_key_value_heads": 2, "sliding_window": 4},
    "BERT": {"type_vocab_size": 3, "mask_token_id": 7},
    "Transformer": {"num_decoder_layers": 1},
}
ROWS = [[5, 9, 2, 7, 30, 1], [8], [1, 2, 3]]
BESIDE = {
    "Transformer": {"sources": [[3, 4], [9, 9, 9, 1, 2], [7]]},
    "BERT": {"types": [[0, 1, 2, 0, 1, 2], [1], [2, 2, 0]]},
}
ORDERS = ("plain", "sequential", "split-k", "online")


def bundle(place, architecture, **own):
    sizes = {
        "vocab_size": 31, "embedding_dim": 24, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 37,
        "context_length": 19, "eos_token_ids": [3],
    }  # fmt: skip
    document = {
        "name": "m", "version": "1.0", "architecture": architecture,
        "parameters": {**sizes, **ARCHITECTURES[architecture], **own},
    }  # fmt: skip
    random = np.random.default_rng(1)
    shapes = weights.expected_tensors(llmasos.ModelConfig.from_document(document))
    tensors = {
        name: random.normal(size=shape) * (0.5 if len(shape) == 1 or "embedding" in name else shape[0] ** -0.5)
        + name.endswith("norm.weight")
        for name, shape in shapes.items()
    }
    return llmasos.write_bundle(place, document, {name: array.astype(np.float32) for name, array in tensors.items()})


class Loaded:
    """A connection with one bundle."""

    def __init__(self, address, path):
        self.connection = connect(address)
        self.model = self.connection.call("load_model", {"path": str(path)})["model"]

    def ask(self, method, **params):
        return self.connection.call(method, {"model": self.model, **params})


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(params=ADDRESSES)
def address(request):
    return request.param


@pytest.fixture
def path(tmp_path, architecture):
    return bundle(tmp_path / "b", architecture)


def assert_honest(path, got, dtype, **beside):
    truth = llmasos.load_model(path).forward(ROWS, **beside)
    honest = [llmasos.load_model(path, dtype=dtype, order=order).forward(ROWS, **beside) for order in ORDERS]
    for i, row in enumerate(got):
        finding = numerics.judge_logits("logits", row, truth[i], [each[i] for each in honest], dtype)
        assert finding.ok, finding.message


def dtype_of(loaded):
    return loaded.connection.description.claims.dtype


def test_a_ragged_batch_has_the_logits_of_the_reference(path, architecture, address):
    loaded, beside = Loaded(address, path), BESIDE.get(architecture, {})
    got = loaded.ask("forward", ids=ROWS, **beside)["logits"]
    assert {row.dtype.name for row in got} == {dtype_of(loaded)}
    assert_honest(path, got, dtype_of(loaded), **beside)
    assert loaded.ask("forward", ids=[], **{name: [] for name in beside})["logits"] == []


@pytest.mark.parametrize("options", [{}, {"cached": False}, {"external": True}, {"opset": 21}], ids=str)
def test_a_graph_that_lies_in_the_bundle_is_run(path, architecture, options):
    """With other weights in it than those beside it, so that it is seen which of them ran."""
    other = bundle(path.with_name("other"), architecture, eos_token_ids=[])
    held = {name: array * np.float32(0.75) for name, array in llmasos.read_bundle(other).weights.items()}
    llmasos.write_bundle(other, llmasos.read_bundle(other).document, held)
    export(other, path / "model.onnx", **options)
    (path / "model.safetensors").unlink()
    loaded, beside = Loaded("onnxruntime", path), BESIDE.get(architecture, {})
    assert_honest(other, loaded.ask("forward", ids=ROWS, **beside)["logits"], "float32", **beside)


def test_a_graph_of_float64_serves_a_claim_of_float32_and_not_the_other_way(tmp_path):
    path = bundle(tmp_path / "b", "GPT-3")
    export(path, dtype="float64")
    assert Loaded("onnxruntime", path).ask("forward", ids=ROWS)["logits"][0].dtype == np.float64
    export(path)
    with pytest.raises(Refusal, match="float64 is claimed") as caught:
        Loaded("onnxruntime:float64", path)
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("generating", ["GPT-3", "Llama", "Transformer"])
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "whole"])
def test_a_session_agrees_with_the_whole_and_its_fork_goes_its_own_way(tmp_path, generating, cached, address):
    path = bundle(tmp_path / "b", generating)
    export(path, cached=cached, dtype="float64" if "64" in address else "float32")
    loaded = Loaded(address, path)
    call = loaded.connection.call
    source = {"source": [3, 4]} if generating == "Transformer" else {}
    opened = loaded.ask("open", ids=ROWS[0][:2], **source)
    steps, session = [opened["logits"]], opened["session"]
    for part in ([2], [7, 30, 1]):
        fork = call("fork", {"session": session})["session"]
        call("extend", {"session": fork, "ids": [8, 8]})
        steps.append(call("extend", {"session": session, "ids": part})["logits"])
    sources = {"sources": [[3, 4]]} if source else {}
    due = loaded.ask("forward", ids=ROWS[:1], **sources)["logits"][0]
    np.testing.assert_allclose(np.concatenate(steps), due, rtol=0, atol=1e-5)
    with pytest.raises(Refusal) as caught:
        call("extend", {"session": session, "ids": [1] * 14})
    assert caught.value.code == "context_overflow"
    call("close", {"session": session})
    with pytest.raises(Refusal):
        call("extend", {"session": session, "ids": [1]})


@pytest.mark.parametrize("generating", ["GPT-3", "Llama", "Transformer"])
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "whole"])
def test_a_greedy_batch_is_what_each_prompt_gives_alone(tmp_path, generating, cached, address):
    """Some rows end early, some at the end of the context, whose length they reach at different times."""
    path = bundle(tmp_path / "b", generating)
    export(path, cached=cached, dtype="float64" if "64" in address else "float32")
    prompts = [[t, t + 1] for t in range(4, 24, 5)] + [[9] * 16, [5] * 19]
    loaded, truth = Loaded(address, path), llmasos.load_model(path)
    for length in (0, 1, 30):
        made = loaded.ask("generate_batch", ids=prompts, max_length=length)["generations"]
        due = [truth.generate_ids(prompt, length, 0) for prompt in prompts]
        assert [row["ids"] for row in made] == [list(row.ids) for row in due]
        assert [row["finish_reason"] for row in made] == [row.finish_reason for row in due]
    assert loaded.ask("generate_batch", ids=[], max_length=3)["generations"] == []


def test_both_heads_of_bert_come_out_of_a_batch(tmp_path, address):
    path = bundle(tmp_path / "b", "BERT")
    made = Loaded(address, path).ask("encode", ids=ROWS, **BESIDE["BERT"])
    for i, due in enumerate(llmasos.load_model(path).encode(ROWS, **BESIDE["BERT"])):
        np.testing.assert_allclose(made["hidden"][i], due.hidden, rtol=0, atol=1e-5)
        np.testing.assert_allclose(made["pooled"][i], due.pooled, rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"sources": [[1]]}, {"types": [[0]]}])
def test_what_an_architecture_does_not_take_is_refused(path, architecture, wrong):
    own = set(BESIDE.get(architecture, {}))
    if own & wrong.keys():
        wrong = {name: [[99]] for name in wrong}
    given = {**({"sources": [[1]]} if own == {"sources"} else {}), **wrong}
    with pytest.raises(Refusal) as caught:
        Loaded("onnxruntime", path).ask("forward", ids=[[1]], **given)
    assert caught.value.code == "invalid_argument"


def test_a_stale_graph_is_refused(tmp_path):
    path = bundle(tmp_path / "b", "GPT-3")
    export(path)
    bundle(path, "GPT-3", tie_embeddings=True)
    Loaded("onnxruntime", path)
    held = {name: array * np.float32(2) for name, array in llmasos.read_bundle(path).weights.items()}
    llmasos.write_bundle(path, llmasos.read_bundle(path).document, held)
    with pytest.raises(Refusal, match="other weights") as caught:
        Loaded("onnxruntime", path)
    assert caught.value.code == "invalid_format"


def test_a_graph_for_another_document_is_refused(tmp_path):
    path = bundle(tmp_path / "b", "GPT-3")
    export(path)
    document = json.loads((path / "model.json").read_text())
    document["parameters"]["layer_norm_epsilon"] = 1e-6
    (path / "model.json").write_text(json.dumps(document))
    with pytest.raises(Refusal, match="layer_norm_epsilon"):
        Loaded("onnxruntime", path)


def test_what_the_runtime_does_not_take_is_refused():
    with pytest.raises(Refusal, match="does not take the graph"):
        adapter.Running(b"nothing")


def test_a_weight_too_large_for_float32_is_refused(tmp_path):
    path = bundle(tmp_path / "b", "GPT-3")
    held = {name: array.astype(np.float64) for name, array in llmasos.read_bundle(path).weights.items()}
    held["final_norm.bias"][0] = 1e39
    llmasos.write_bundle(path, llmasos.read_bundle(path).document, held)
    with pytest.raises(Refusal, match="too large for float32"):
        Loaded("onnxruntime", path)
    assert Loaded("onnxruntime:float64", path).ask("forward", ids=ROWS)


@pytest.mark.parametrize("argument", ["float16", "float32/middle", "float32/left/more"])
def test_a_variant_that_does_not_exist_is_answered_with_those_that_do(argument):
    with pytest.raises(AddressError, match="onnxruntime:DTYPE/SIDE"):
        connect(f"onnxruntime:{argument}")


def test_it_says_who_it_is_and_what_is_not_its_own():
    described = connect("onnxruntime:float64").description
    assert (described.name, described.version) == ("onnxruntime", onnxruntime.__version__)
    assert described.claims.dtype == "float64"
    assert "session" not in described.emulated
    assert {"format", "graph", "generate_text", "generate_ids", "batch"} <= described.emulated.keys()
    assert "export" not in described.capabilities
