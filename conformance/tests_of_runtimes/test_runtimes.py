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
    "llamacpp": ("GPT-3", "Llama"),
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
HELD = {("llamacpp", "GPT-3"): "float16"}
"""Dtype that a runtime is held to with an architecture, where that is not float32: it reads GELU from a table."""
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
    loaded, dtype = Loaded(address, path), HELD.get((address, architecture), "float32")
    for finding in findings(path, loaded.ask("forward", ids=ROWS, **beside)["logits"], dtype, **beside):
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
    np.testing.assert_allclose(got[1:], due[1:], rtol=0, atol=1e-2 if (address, architecture) in HELD else 1e-4)


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
    ("address", "claim", "architecture"),
    [
        ("openvino:bfloat16", "bfloat16", "Llama"), ("mlx:bfloat16", "bfloat16", "Llama"),
        ("mlx:float16", "float16", "Llama"), ("llamacpp:float16", "float16", "Llama"),
        ("llamacpp:float16", "float16", "GPT-3"), ("llamacpp:bfloat16", "bfloat16", "Llama"),
        ("llamacpp:bfloat16", "bfloat16", "GPT-3"),
    ],
)  # fmt: skip
def test_half_precision_is_as_near_as_honest_half_precision(tmp_path, address, claim, architecture):
    path = bundle(tmp_path / "b", architecture)
    loaded = Loaded(address, path)
    assert loaded.connection.description.claims.dtype == claim
    for finding in findings(path, loaded.ask("forward", ids=ROWS)["logits"], claim):
        assert finding.ok, finding.message


@pytest.mark.parametrize(
    ("address", "claim", "architecture"),
    [
        ("mlx:float64", "float64", "Llama"), ("openvino:bfloat16", "float32", "Llama"),
        ("ctranslate2:int8", "float32", "Llama"), ("llamacpp", "float32", "GPT-3"),
        ("llamacpp:defaults", "float32", "Llama"), ("llamacpp:q8_0", "float32", "Llama"),
    ],
)  # fmt: skip
def test_what_computes_in_less_is_found_out(tmp_path, address, claim, architecture):
    path = bundle(tmp_path / "b", architecture)
    assert not all(f.ok for f in findings(path, Loaded(address, path).ask("forward", ids=ROWS)["logits"], claim))


@pytest.mark.parametrize(
    "address", ["openvino:float64", "openvino:float32/middle", "ctranslate2:int3", "mlx:int8", "llamacpp:q4"]
)
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
        ("llamacpp", "llama.cpp", {"session", "batch", "seed", "top_p", "repetition_penalty", "logit_bias"}),
    ],
)
def test_it_says_who_it_is_and_what_is_not_its_own(address, name, native):
    described = connected(address).description
    assert described.name == name
    assert described.version in described.runtime.values()
    assert described.architectures == RUNS[address]
    assert not native & described.emulated.keys()
    assert {"format", "generate_text", "tokenize", "stream"} <= described.emulated.keys()


# ── llama.cpp ───────────────────────────────────────────────────────────────────────────────────────────────────────


def chosen(request, logits, given=(), allowed=None, count=1):
    """Ids that the samplers of llama.cpp choose, one after the other, by the same logits."""
    from llmasos_conformance.adapters import kit
    from llmasos_conformance.adapters.llamacpp import running

    chain = running.Chain(kit.Request(max_length=9, **request), len(logits), 64, given, allowed)
    ids = []
    for _ in range(count):
        ids.append(chain(np.array(logits, np.float32), ids))
    return ids


def test_llamacpp_shapes_and_filters_as_the_standard_says():
    greedy = {"temperature": 0}
    assert chosen(greedy, [1, 3, 3, 2]) == [1]
    assert chosen(greedy, [1, 3, 3, 2], allowed=np.array([True, False, False, True])) == [3]
    assert chosen({**greedy, "logit_bias": {0: 2.5}}, [1, 3, 3, 2]) == [0]
    assert chosen({**greedy, "repetition_penalty": 2}, [1, 3, 2, -2], given=[1]) == [2]
    assert chosen({**greedy, "repetition_penalty": 2}, [-2.5, -1.5, -9, -9], given=[1]) == [0]
    # The prompt counts for repetition alone.
    assert chosen({**greedy, "frequency_penalty": 1.5, "presence_penalty": 0.25}, [0, 3, 2], given=[1], count=4) == [
        1, 2, 1, 2
    ]  # fmt: skip
    law = np.log([0.4, 0.3, 0.2, 0.1])
    for filters, kept in (({"top_k": 2}, 2), ({"top_p": 0.8}, 3), ({"min_p": 0.45}, 3), ({"top_k": 9}, 4)):
        assert set(chosen({"temperature": 1.0, "seed": 3, **filters}, law, count=400)) == set(range(kept))


def test_llamacpp_draws_the_same_for_a_seed_and_otherwise_for_another():
    law, ask = np.zeros(50), {"temperature": 1.0}
    seeds = (0, 7, 2**32 - 2, 2**32 - 1, 2**32, 2**53 - 1, None, None)
    drawn = [tuple(chosen({**ask, "seed": seed}, law, count=20)) for seed in seeds]
    assert len(set(drawn)) == len(drawn)
    assert drawn[:6] == [tuple(chosen({**ask, "seed": seed}, law, count=20)) for seed in seeds[:6]]


def test_llamacpp_does_not_choose_by_what_is_no_number():
    with pytest.raises(Refusal, match="not finite"):
        chosen({"temperature": 0}, [0, np.nan])


def test_llamacpp_says_what_it_did_not_do(tmp_path):
    from llmasos_conformance.adapters.llamacpp import converting, running

    path = tmp_path / "m.gguf"
    path.write_bytes(b"nothing")
    with pytest.raises(Refusal, match="does not load"):
        running.Runtime(path, running.Settings())
    converting.convert(bundle(tmp_path / "b", "Llama", vocab_size=263), path)
    runtime = running.Runtime(path, running.Settings())
    with pytest.raises(Refusal, match="no context for 257 times 8"):
        running.Context(runtime, running.SEQUENCES + 1, 8)
    context = running.Context(runtime, 1, 8)
    with pytest.raises(RuntimeError, match="llama_decode returned -1 for 1 ids"):
        context.decode([(0, 0, [263])])


def test_llamacpp_refuses_heads_that_would_end_the_process_and_runs_them_where_they_do_not(tmp_path):
    path = bundle(tmp_path / "b", "GPT-3", num_heads=24)
    with pytest.raises(Refusal, match="heads of width 1") as caught:
        Loaded("llamacpp", path)
    assert caught.value.code == "unsupported"
    for finding in findings(path, Loaded("llamacpp:float16", path).ask("forward", ids=ROWS)["logits"], "float16"):
        assert finding.ok, finding.message


def test_llamacpp_runs_more_rows_than_a_context_holds(tmp_path):
    loaded = Loaded("llamacpp", bundle(tmp_path / "b", "Llama"))
    rows = [[i % 31, 5] for i in range(300)]
    assert len(loaded.ask("forward", ids=rows)["logits"]) == 300
    made = [row["ids"] for row in loaded.ask("generate_batch", ids=rows, max_length=3)["generations"]]
    assert made == [made[i % 31] for i in range(300)]


def test_llamacpp_samples_and_shapes_rows_of_a_batch_each_on_its_own(tmp_path):
    loaded = Loaded("llamacpp", bundle(tmp_path / "b", "Llama"))
    options = {"max_length": 6, "temperature": 0, "repetition_penalty": 1.5, "frequency_penalty": 0.5}
    made = loaded.ask("generate_batch", ids=ROWS, **options)["generations"]
    alone = [loaded.ask("generate_ids", ids=row, **options) for row in ROWS]
    assert [row["ids"] for row in made] == [row["ids"] for row in alone]
