"""Adapters of runtimes in Node, over packages that stand in for them: what goes over, what comes back, what goes wrong.

`tox run -e runtimes` asks the packages themselves, where they are installed.
"""

import gc
import json
import shutil

import numpy as np
import pytest

from llmasos_conformance.adapters import connect
from llmasos_conformance.adapters.node import Running, process
from llmasos_conformance.errors import AddressError, Raised
from llmasos_conformance.protocol import Refusal

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")

ONNXRUNTIME = """
console.log("printed while it is loaded");
process.stdout.write("and written\\n");
let released = 0;
class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
class InferenceSession {
  static async create(graph, options) {
    if (options.intraOpNumThreads !== 1) throw new Error("more than one thread");
    if (graph instanceof Uint8Array && graph[0] === 0) throw new RangeError("no graph \\ud800");
    return new InferenceSession();
  }
  inputMetadata = [{ name: "x", type: "float32", shape: ["B", 3] }, { name: "ids", type: "int64", shape: [] }];
  async run(feed) {
    if (feed.end) process.exit(3);
    if (feed.refuse) throw "a text";
    const released_ = new Tensor("int64", BigInt64Array.of(BigInt(released)), [1]);
    return { ...feed, released: released_ };
  }
  async release() { released++; }
}
module.exports = { Tensor, InferenceSession, env: { wasm: {} } };
"""
TRANSFORMERS = """
// A model whose largest logit is the id behind the last one; its cache is the row so far.
const { appendFileSync, readFileSync } = require("node:fs");
class Tensor {
  constructor(type, data, dims) { Object.assign(this, { type, data, dims }); }
  tolist() {
    const [rows, width] = this.dims;
    return Array.from({ length: rows }, (_, b) => [...this.data.slice(b * width, (b + 1) * width)]);
  }
}
const random = { seed(n) { this.seeded = n ?? "chance"; } };
class GPT2LMHeadModel {
  static async from_pretrained(name, options) {
    const place = `${env.localModelPath}/${name}`;
    const config = JSON.parse(readFileSync(`${place}/config.json`));
    if (readFileSync(`${place}/onnx/model.onnx`).length < 100 || options.dtype !== "fp32") throw new Error("no model");
    const V = config.vocab_size;
    const model = async ({ input_ids, past_key_values }) => {
      const [rows, width] = input_ids.dims;
      const past = past_key_values?.["past_key_values.0.key"]?.data.length ?? 0;
      const data = new Float32Array(rows * width * V);
      input_ids.data.forEach((id, i) => { data[i * V + (Number(id) + 1) % V] = 1; });
      const row = new Tensor("float32", new Float32Array(past + width), [1, past + width]);
      return { logits: new Tensor("float32", data, [rows, width, V]), "present.0.key": row };
    };
    model.generate = async ({ input_ids, attention_mask, ...options }) => {
      appendFileSync(`${__dirname}/asked`, `${JSON.stringify({ ...options, seed: random.seeded })}\\n`);
      const rows = input_ids.tolist().map((row) => row.map(Number));
      for (const row of rows) for (let i = 0; i < options.max_new_tokens; i++) row.push((row.at(-1) + 1) % V);
      return new Tensor("int64", BigInt64Array.from(rows.flat().map(BigInt)), [rows.length, rows[0].length]);
    };
    return model;
  }
}
const env = {};
module.exports = { env, random, Tensor, GPT2LMHeadModel };
"""
V = 31


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A directory node_modules with stand-ins, which the adapters find."""
    place = tmp_path / "node_modules"
    for name, text in (("onnxruntime-node", ONNXRUNTIME), ("@huggingface/transformers", TRANSFORMERS)):
        (place / name).mkdir(parents=True)
        (place / name / "package.json").write_text(json.dumps({"name": name, "version": "7.8.9", "main": "index.js"}))
        (place / name / "index.js").write_text(text, encoding="utf-8")
    monkeypatch.setenv(process.VARIABLE, str(place))
    return place


@pytest.fixture
def node(modules):
    made = process.Node("onnxruntime-node", "here")
    yield made
    made._stop()


def weightless(place, **own):
    """A bundle whose weights follow from its document."""
    place.mkdir()
    sizes = {"vocab_size": V, "embedding_dim": 8, "num_layers": 1, "num_heads": 2, "context_length": 12}
    document = {"name": "m", "version": "1.0", "architecture": "GPT-3"}
    document["parameters"] = {**sizes, "eos_token_ids": [9, 20], **own}
    (place / "model.json").write_text(json.dumps(document))
    return place


# ── the process ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_arrays_come_back_as_they_went(node):
    session = node.ask("load", graph=b"\x01")
    assert session["inputs"][0] == {"name": "x", "dtype": "float32", "sizes": [None, 3]}
    feed = {
        "x": np.array([[1.5, -0.0, np.inf]], np.float32),
        "wide": np.array([1e300, np.nan]),
        "ids": np.array([2**62 + 1, -1]),
        "none": np.zeros((1, 2, 0, 4), np.float32),
        "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    }
    made = node.ask("run", kept=session["kept"], feed=feed)
    for name, array in feed.items():
        assert made[name].dtype == array.dtype
        np.testing.assert_array_equal(made[name], array)


def test_a_large_array_goes_over_whole(node):
    large = np.arange(3_000_000, dtype=np.float64)
    kept = node.ask("load", graph=bytes(range(1, 256)) * 50_000)["kept"]
    np.testing.assert_array_equal(node.ask("run", kept=kept, feed={"x": large})["x"], large)


def test_what_a_package_throws_is_told_and_the_next_question_is_answered(node):
    kept = node.ask("load", graph=b"\x01")["kept"]
    with pytest.raises(process.NodeError, match="string: a text"):
        node.ask("run", kept=kept, feed={"refuse": np.zeros(1)})
    with pytest.raises(process.NodeError, match="methods\\[method\\] is not a function"):
        node.ask("nothing")
    assert "x" in node.ask("run", kept=kept, feed={"x": np.zeros(1)})


def test_a_graph_that_is_not_taken_is_refused(node):
    with pytest.raises(Refusal, match="RangeError: no graph") as caught:
        Running(node, graph=b"\x00")
    assert caught.value.code == "invalid_format"


def test_what_nobody_holds_is_released_with_the_next_question(node):
    kept = [node.ask("load", graph=b"\x01")["kept"] for _ in range(3)]

    def released():
        return node.ask("run", kept=kept[0], feed={})["released"].tolist()

    assert released() == [0]
    del kept[1:]
    gc.collect()
    assert released() == [2]


def test_a_process_that_ends_is_told_and_not_waited_for(node):
    kept = node.ask("load", graph=b"\x01")["kept"]
    with pytest.raises(process.NodeError, match="node has ended"):
        node.ask("run", kept=kept, feed={"end": np.zeros(1)})
    with pytest.raises(process.NodeError, match="ended"):
        node.ask("run", kept=kept, feed={"x": np.zeros(3_000_000)})


def test_the_process_ends_with_whoever_asks_it(modules):
    node = process.Node("onnxruntime-node", "here")
    child = node._process
    del node
    gc.collect()
    assert child.poll() == 0


def test_without_node_or_without_the_package_there_is_no_adapter(modules, monkeypatch):
    with pytest.raises(AddressError, match="no package onnxruntime-web in") as caught:
        connect("onnxruntime-web")
    assert "npm install onnxruntime-web" in caught.value.render()
    monkeypatch.setenv("PATH", str(modules))
    with pytest.raises(AddressError, match="node is not installed"):
        connect("onnxruntime-node")


def test_a_variant_that_does_not_exist_is_answered_with_those_that_do(modules):
    with pytest.raises(AddressError, match="float32, float64"):
        connect("onnxruntime-node:int8")


def test_it_says_which_versions_ran(modules):
    described = connect("onnxruntime-node:float64").description
    assert (described.name, described.version, described.claims.dtype) == ("onnxruntime-node", "7.8.9", "float64")
    assert {"onnxruntime-node", "node", "numpy"} == described.runtime.keys()
    assert {"graph", "format", "batch"} <= described.emulated.keys()


# ── Transformers.js ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def ask(modules, tmp_path):
    connection = connect("transformers.js")
    model = connection.call("load_model", {"path": str(weightless(tmp_path / "b"))})["model"]

    def question(method, **params):
        return connection.call(method, {"model": model, **params})

    question.call = connection.call
    log = modules / "@huggingface/transformers" / "asked"
    question.asked = lambda: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return question


def test_its_own_generation_is_asked_with_the_options_that_it_has(ask):
    ask("generate_ids", ids=[1], max_length=3, temperature=0.5, seed=7, top_k=4, repetition_penalty=1.5)
    ask("generate_ids", ids=[1], max_length=3, temperature=0)
    first, second = ask.asked()
    assert first["seed"] == 7
    assert (first["do_sample"], first["temperature"], first["top_k"], first["repetition_penalty"]) == (
        True,
        0.5,
        4,
        1.5,
    )
    assert first["eos_token_id"] == [9, 20]
    assert first["suppress_tokens"] is None
    assert (second["do_sample"], second["seed"]) == (False, "chance")


@pytest.mark.parametrize(
    "option",
    [{"top_p": 0.5}, {"min_p": 0.1}, {"logit_bias": {"3": 1}}, {"presence_penalty": 1}, {"frequency_penalty": 1},
     {"beams": 2, "temperature": 0}, {"logprobs": 2}],
    ids=str,
)  # fmt: skip
def test_what_it_does_not_have_the_kit_does_over_its_logits(ask, option):
    made = ask("generate_ids", ids=[1], max_length=3, **{"temperature": 0.001, **option})
    assert ask.asked() == []
    assert made["completion_tokens"] == 3


def test_rows_are_cut_behind_their_own_ends_and_limits(ask):
    made = ask("generate_batch", ids=[[6], [1, 2, 3], [9] * 11, [29]], max_length=5)["generations"]
    assert [row["ids"] for row in made] == [[7, 8, 9], [4, 5, 6, 7, 8], [10], [30, 0, 1, 2, 3]]
    assert [row["finish_reason"] for row in made] == ["stop", "length", "length", "length"]
    assert sorted(each["max_new_tokens"] for each in ask.asked()) == [1, 5]
    assert ask("generate_batch", ids=[], max_length=5)["generations"] == []
    assert ask("generate_ids", ids=[1], max_length=0)["ids"] == []
    assert len(ask.asked()) == 2


def test_a_session_goes_on_behind_its_cache_and_a_fork_behind_the_same(ask):
    opened = ask("open", ids=[1, 2])
    fork = ask.call("fork", {"session": opened["session"]})["session"]
    for session, ids in ((opened["session"], [3]), (fork, [5, 6, 7])):
        logits = ask.call("extend", {"session": session, "ids": ids})["logits"]
        assert np.argmax(logits, -1).tolist() == [token + 1 for token in ids]
    ask.call("close", {"session": fork})
    with pytest.raises(Refusal):
        ask.call("extend", {"session": fork, "ids": [1]})


def test_an_exception_of_the_package_is_no_refusal(modules, tmp_path):
    (modules / "@huggingface/transformers" / "index.js").write_text(
        TRANSFORMERS.replace('options.dtype !== "fp32"', "true"), encoding="utf-8"
    )
    with pytest.raises(Raised, match="no model"):
        connect("transformers.js").call("load_model", {"path": str(weightless(tmp_path / "b"))})
