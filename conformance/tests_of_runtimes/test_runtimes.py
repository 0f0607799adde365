"""Runtimes that the tests' environment does not hold: each computes with a bundle what the reference computes.

`tox run -e runtimes` installs them and runs this. What runs in Node is asked where LLMASOS_NODE_MODULES names its
packages, or `npm install -g` has put them, and skipped elsewhere.
"""

import numpy as np
import pytest

import llmasos
from llmasos import weights
from llmasos.config import ACTIVATIONS
from llmasos_conformance import numerics
from llmasos_conformance.adapters import connect
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import ARCHITECTURES, Refusal

RUNS = {
    "openvino": ARCHITECTURES,
    "openvino:float32/right": ARCHITECTURES,
    "ctranslate2": ARCHITECTURES,
    "onnxruntime-genai": ("GPT-3", "Llama"),
    "mlx": ("Llama",),
    "onnxruntime-node": ARCHITECTURES,
    "onnxruntime-web": ARCHITECTURES,
    "transformers.js": ("GPT-3", "Llama", "BERT"),
}
"""Architectures by address."""
NODE = ("onnxruntime-node", "onnxruntime-web", "transformers.js")
WINDOWED = ("openvino", "openvino:float32/right", "onnxruntime-genai", *NODE)
OWN = {
    "GPT-3": {},
    "Llama": {"num_key_value_heads": 2},
    "BERT": {"type_vocab_size": 3, "mask_token_id": 7},
    "Transformer": {"num_decoder_layers": 1},
}
WINDOWS = {"GPT-3": {"local_attention_window": 3}, "Llama": {"sliding_window": 4}}
ROWS = [[5, 9, 2, 7, 30, 1], [8], [1, 2, 3]]
BESIDE = {
    "Transformer": {"sources": [[3, 4], [9, 9, 9, 1, 2], [7]]},
    "BERT": {"types": [[0, 1, 2, 0, 1, 2], [1], [2, 2, 0]]},
}
ORDERS = ("plain", "sequential", "split-k", "online")
PAIRS = [(address, architecture) for address, run in RUNS.items() for architecture in run]
SPEAKING = [(address, architecture) for address, architecture in PAIRS if architecture != "BERT"]
WIDE = [*((a, "GPT-3") for a in RUNS if a != "mlx"), ("mlx", "Llama")]


def bundle(place, architecture, **own):
    sizes = {
        "vocab_size": 31, "embedding_dim": 24, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 37,
        "context_length": 19, "eos_token_ids": [3],
    }  # fmt: skip
    document = {
        "name": "m", "version": "1.0", "architecture": architecture,
        "parameters": {**sizes, **OWN[architecture], **own},
    }  # fmt: skip
    random = np.random.default_rng(1)
    shapes = weights.expected_tensors(llmasos.ModelConfig.from_document(document))
    tensors = {
        name: random.normal(size=shape) * (0.5 if len(shape) == 1 or "embedding" in name else shape[0] ** -0.5)
        + name.endswith("norm.weight")
        for name, shape in shapes.items()
    }
    return llmasos.write_bundle(place, document, {name: array.astype(np.float32) for name, array in tensors.items()})


def connected(address):
    """A connection, or a skipped test where Node or a package of it is not there."""
    try:
        return connect(address)
    except AddressError as error:
        if address.startswith(NODE):
            pytest.skip(error.render())
        raise


class Loaded:
    """A connection with one bundle."""

    def __init__(self, address, path):
        self.connection = connected(address)
        self.call = self.connection.call
        self.model = self.call("load_model", {"path": str(path)})["model"]

    def ask(self, method, **params):
        return self.call(method, {"model": self.model, **params})


def findings(path, got, dtype, **beside):
    """What the judge of the suite says of each row of logits."""
    truth = llmasos.load_model(path).forward(ROWS, **beside)
    honest = [llmasos.load_model(path, dtype=dtype, order=order).forward(ROWS, **beside) for order in ORDERS]
    return [
        numerics.judge_logits("logits", row, truth[i], [each[i] for each in honest], dtype)
        for i, row in enumerate(got)
    ]  # fmt: skip


@pytest.mark.parametrize(("address", "architecture"), PAIRS)
def test_a_ragged_batch_has_the_logits_of_the_reference(tmp_path, address, architecture):
    windows = WINDOWS.get(architecture, {}) if address in WINDOWED else {}
    path, beside = bundle(tmp_path / "b", architecture, **windows), BESIDE.get(architecture, {})
    loaded = Loaded(address, path)
    for finding in findings(path, loaded.ask("forward", ids=ROWS, **beside)["logits"], "float32", **beside):
        assert finding.ok, finding.message
    assert loaded.ask("forward", ids=[], **{name: [] for name in beside})["logits"] == []


@pytest.mark.parametrize(
    ("architecture", "activation"),
    [(name, each) for name in ("GPT-3", "BERT", "Transformer") for each in ACTIVATIONS[name]],
)
def test_ctranslate2_has_every_activation_tied_or_not(tmp_path, architecture, activation):
    beside = BESIDE.get(architecture, {})
    for tied in (True, False):
        path = bundle(tmp_path / str(tied), architecture, activation=activation, tie_embeddings=tied)
        got = Loaded("ctranslate2", path).ask("forward", ids=ROWS, **beside)["logits"]
        for finding in findings(path, got, "float32", **beside):
            assert finding.ok, finding.message


@pytest.mark.parametrize(
    "own", [{"positions": "learned"}, {"scale_embeddings": True}, {"embedding_norm": True}], ids=str
)
def test_ctranslate2_reads_each_kind_of_transformer(tmp_path, own):
    path, beside = bundle(tmp_path / "b", "Transformer", **own), BESIDE["Transformer"]
    got = Loaded("ctranslate2", path).ask("forward", ids=ROWS, **beside)["logits"]
    for finding in findings(path, got, "float32", **beside):
        assert finding.ok, finding.message


@pytest.mark.parametrize(("address", "architecture"), SPEAKING)
def test_a_session_agrees_with_the_whole_and_its_fork_goes_its_own_way(tmp_path, address, architecture):
    loaded = Loaded(address, bundle(tmp_path / "b", architecture))
    source = {"source": [3, 4]} if architecture == "Transformer" else {}
    opened = loaded.ask("open", ids=ROWS[0][:2], **source)
    steps, session = [opened["logits"]], opened["session"]
    for part in ([2], [7, 30, 1]):
        fork = loaded.call("fork", {"session": session})["session"]
        loaded.call("extend", {"session": fork, "ids": [8, 8]})
        steps.append(loaded.call("extend", {"session": session, "ids": part})["logits"])
    due = loaded.ask("forward", ids=ROWS[:1], **({"sources": [[3, 4]]} if source else {}))["logits"][0]
    np.testing.assert_allclose(np.concatenate(steps), due, rtol=0, atol=1e-5)
    with pytest.raises(Refusal) as caught:
        loaded.call("extend", {"session": session, "ids": [1] * 14})
    assert caught.value.code == "context_overflow"
    loaded.call("close", {"session": session})
    with pytest.raises(Refusal):
        loaded.call("extend", {"session": session, "ids": [1]})


@pytest.mark.parametrize(("address", "architecture"), SPEAKING)
@pytest.mark.parametrize("eos", [[], [3], [3, 8]], ids=str)
def test_a_greedy_batch_is_what_the_reference_writes(tmp_path, address, architecture, eos):
    """Some rows end early, some at the end of the context, whose length they reach at different times."""
    path = bundle(tmp_path / "b", architecture, eos_token_ids=eos)
    prompts = [[t, t + 1] for t in range(4, 24, 5)] + [[9] * 16, [5] * 19]
    loaded, truth = Loaded(address, path), llmasos.load_model(path)
    for length in (0, 1, 30):
        made = loaded.ask("generate_batch", ids=prompts, max_length=length)["generations"]
        due = [truth.generate_ids(prompt, length, 0) for prompt in prompts]
        assert [row["ids"] for row in made] == [list(row.ids) for row in due]
        assert [row["finish_reason"] for row in made] == [row.finish_reason for row in due]
    assert loaded.ask("generate_batch", ids=[], max_length=3)["generations"] == []


@pytest.mark.parametrize(("address", "architecture"), SPEAKING)
def test_scores_are_the_log_probabilities_of_the_reference(tmp_path, address, architecture):
    path = bundle(tmp_path / "b", architecture)
    source = {"source": [3, 4]} if architecture == "Transformer" else {}
    due = llmasos.load_model(path).score(ROWS[0], **source)
    got = Loaded(address, path).ask("score", ids=ROWS[0], **source)["logprobs"]
    assert got[0] is due[0] is None
    np.testing.assert_allclose(got[1:], due[1:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("address", [a for a, run in RUNS.items() if "BERT" in run])
def test_hidden_states_and_pooled_output_of_bert_come_out_of_a_batch(tmp_path, address):
    path = bundle(tmp_path / "b", "BERT")
    made = Loaded(address, path).ask("encode", ids=ROWS, **BESIDE["BERT"])
    for i, due in enumerate(llmasos.load_model(path).encode(ROWS, **BESIDE["BERT"])):
        np.testing.assert_allclose(made["hidden"][i], due.hidden, rtol=0, atol=1e-5)
        np.testing.assert_allclose(made["pooled"][i], due.pooled, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("address", "architecture"), WIDE)
def test_a_weight_too_large_for_float32_is_refused(tmp_path, address, architecture):
    path = bundle(tmp_path / "b", architecture)
    held = {name: array.astype(np.float64) for name, array in llmasos.read_bundle(path).weights.items()}
    held["final_norm.weight"][0] = 1e39
    llmasos.write_bundle(path, llmasos.read_bundle(path).document, held)
    with pytest.raises(Refusal, match="too large for float32"):
        Loaded(address, path)


@pytest.mark.parametrize("address", [a for a in RUNS if a not in WINDOWED])
def test_a_window_is_refused_where_none_is_declared(tmp_path, address):
    path = bundle(tmp_path / "b", "Llama", **WINDOWS["Llama"])
    with pytest.raises(Refusal) as caught:
        Loaded(address, path)
    assert caught.value.code == "unsupported"
    assert "window" not in connected(address).description.capabilities


@pytest.mark.parametrize(("address", "architecture"), [pair for pair in PAIRS if pair[1] != "Llama"])
def test_what_an_architecture_does_not_take_is_refused(tmp_path, address, architecture):
    wrong = {"types": [[0]]} if architecture != "BERT" else {"sources": [[1]]}
    beside = {"sources": [[1]]} if architecture == "Transformer" else {}
    loaded = Loaded(address, bundle(tmp_path / "b", architecture))
    with pytest.raises(Refusal) as caught:
        loaded.ask("forward", ids=[[1]], **beside, **wrong)
    assert caught.value.code == "invalid_argument"


@pytest.mark.parametrize("address", ["onnxruntime-node:float64", "onnxruntime-web:float64"])
def test_a_graph_of_float64_is_right_as_far_as_no_factor_is_stored_in_float32(tmp_path, address):
    """reports/findings/onnxruntime-node-float64.mjs: heads whose width is a power of four have an exact factor."""
    for heads, right in ((6, True), (4, False)):  # of widths 4 and 6
        path = bundle(tmp_path / str(heads), "GPT-3", num_heads=heads)
        found = findings(path, Loaded(address, path).ask("forward", ids=ROWS[:1])["logits"], "float64")
        assert found[0].ok is right
    with pytest.raises(Refusal, match="QuickGelu"):
        Loaded(address, bundle(tmp_path / "llama", "Llama"))


def test_transformers_js_samples_with_its_own_seed_and_ends_each_row_of_a_batch(tmp_path):
    path = bundle(tmp_path / "b", "Llama", eos_token_ids=[3, 8, 12])
    loaded = Loaded("transformers.js", path)
    drawn = [loaded.ask("generate_ids", ids=[5], max_length=12, seed=seed)["ids"] for seed in (1, 1, 2, 2**53 - 1)]
    assert drawn[0] == drawn[1]
    assert len({tuple(ids) for ids in drawn}) > 1
    free = [loaded.ask("generate_ids", ids=[5], max_length=12)["ids"] for _ in range(8)]
    assert len({tuple(ids) for ids in free}) > 1
    narrow = [loaded.ask("generate_ids", ids=[5], max_length=6, seed=seed, top_k=1)["ids"] for seed in range(3)]
    assert narrow == [loaded.ask("generate_ids", ids=[5], max_length=6, temperature=0)["ids"]] * 3


def test_openvino_does_not_take_what_is_no_graph():
    from llmasos_conformance.adapters import openvino

    with pytest.raises(Refusal, match="does not take the graph"):
        openvino.Running(b"nothing", "f32")


@pytest.mark.parametrize(
    ("address", "claim"), [("openvino:bfloat16", "bfloat16"), ("mlx:bfloat16", "bfloat16"), ("mlx:float16", "float16")]
)
def test_half_precision_is_as_near_as_honest_half_precision(tmp_path, address, claim):
    path = bundle(tmp_path / "b", "Llama")
    loaded = Loaded(address, path)
    assert loaded.connection.description.claims.dtype == claim
    for finding in findings(path, loaded.ask("forward", ids=ROWS)["logits"], claim):
        assert finding.ok, finding.message


@pytest.mark.parametrize(
    ("address", "claim"),
    [
        ("mlx:float64", "float64"),
        ("openvino:bfloat16", "float32"),
        ("ctranslate2:int8", "float32"),
    ],
)
def test_what_computes_in_less_is_found_out(tmp_path, address, claim):
    path = bundle(tmp_path / "b", "Llama")
    assert not all(f.ok for f in findings(path, Loaded(address, path).ask("forward", ids=ROWS)["logits"], claim))


@pytest.mark.parametrize("address", ["openvino:float64", "openvino:float32/middle", "ctranslate2:int3", "mlx:int8"])
def test_a_variant_that_does_not_exist_is_answered_with_those_that_do(address):
    with pytest.raises(AddressError, match=rf"{address.partition(':')[0]}:\w+.* with .*float32"):
        connect(address)


@pytest.mark.parametrize(
    ("address", "name", "native"),
    [
        ("openvino", "openvino", {"session"}),
        ("ctranslate2", "CTranslate2", {"generate_ids", "batch", "score"}),
        ("onnxruntime-genai", "onnxruntime-genai", {"session", "generate_ids"}),
        ("mlx", "mlx-lm", {"session", "generate_ids"}),
        ("onnxruntime-node", "onnxruntime-node", {"session"}),
        ("onnxruntime-web", "onnxruntime-web", {"session"}),
        ("transformers.js", "transformers.js", {"session", "generate_ids", "batch", "seed", "top_k"}),
    ],
)
def test_it_says_who_it_is_and_what_is_not_its_own(address, name, native):
    described = connected(address).description
    assert described.name == name
    assert described.version in described.runtime.values()
    assert described.architectures == RUNS[address]
    assert not native & described.emulated.keys()
    assert {"format", "generate_text", "tokenize", "stream"} <= described.emulated.keys()
