"""The wire: what travels, what is refused, and that the hand-written validator and the published schema agree."""

import copy
import json
import math
import random
from importlib.resources import files

import jsonschema
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos_conformance import wire
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.errors import AddressError, Malformed, ProtocolBroken
from llmasos_conformance.protocol import CAPABILITIES, PROTOCOL_VERSION, ROUGE, Claims, Description, Generation

SCHEMA = json.loads((files("llmasos_conformance") / "schemas" / "wire.schema.json").read_text(encoding="utf-8"))

# The one thing about types that JSON Schema cannot say: 12.0 is no integer here.
STRICT = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int),
)


def schema_of(name):
    return STRICT({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})


TENSOR = wire.encode(np.arange(6, dtype=np.float32).reshape(2, 3))
GENERATION = {
    "finish_reason": "stop",
    "text": "né",
    "ids": [110, 259],
    "prompt_tokens": 2,
    "completion_tokens": 2,
    "logprobs": [[{"id": 110, "logprob": -0.5}], [{"id": 259, "logprob": None}, {"id": 3, "logprob": -7}]],
}
CUBE = wire.encode(np.arange(8, dtype=np.float64).reshape(2, 2, 2))
VECTOR = wire.encode(np.arange(3, dtype=np.float32))
MODEL, SESSION = {"model": "m1"}, {"session": "s1"}
ROUGE_SCORES = {name: {"precision": 1, "recall": 0.5, "f1": 2 / 3} for name in ROUGE}
REPLY = {"status": 200, "type": "application/json", "body": '{"é": 1}'}
CONVERSATIONS = {
    "describe": (
        {},
        {
            "protocol": PROTOCOL_VERSION,
            "name": "mine",
            "version": "1",
            "capabilities": ["forward", "stop"],
            "claims": {"dtype": "float64", "determinism": "D1"},
            "emulated": {"logprobs": "by the adapter"},
            "runtime": {"numpy": "2"},
            "architectures": ["GPT-3"],
        },
    ),
    "load_model": ({"path": "there"}, MODEL),
    "unload_model": (MODEL, {}),
    "tokenize": ({**MODEL, "text": "é", "allow_special": True}, {"ids": [195, 169]}),
    "detokenize": ({**MODEL, "ids": [195, 169]}, {"text": "é"}),
    "forward": ({**MODEL, "ids": [[1, 2], [3, -1]]}, {"logits": [TENSOR, TENSOR]}),
    "score": ({**MODEL, "ids": [1, 2]}, {"logprobs": [None, -0.25]}),
    "generate_text": ({**MODEL, "prompt": "a", "temperature": 0, "stop": ["b"]}, GENERATION),
    "generate_ids": ({**MODEL, "ids": [1], "logprobs": 2}, {**GENERATION, "text": None}),
    "generate_batch": ({**MODEL, "ids": [[1], [2]]}, {"generations": [GENERATION, GENERATION]}),
    "stream_text": ({**MODEL, "prompt": "a", "seed": 1}, {"deltas": ["n", "é"], "generation": GENERATION}),
    "open": ({**MODEL, "ids": [1, 2]}, {**SESSION, "logits": TENSOR}),
    "extend": ({**SESSION, "ids": [1, 2]}, {"logits": TENSOR}),
    "fork": (SESSION, {"session": "s2"}),
    "close": (SESSION, {}),
    "encode": (
        {**MODEL, "ids": [[1, 2], [3, 4]], "types": [[0, 0], [1, 0]]},
        {"hidden": [TENSOR, TENSOR], "pooled": TENSOR},
    ),
    "fill_mask": ({**MODEL, "ids": [1, 2], "count": 2}, {"fills": [[{"id": 3, "logprob": -0.5}]]}),
    "hidden_states": ({**MODEL, "ids": [1, 2], "types": [0, 0]}, {"hidden": [TENSOR, TENSOR]}),
    "attention": ({**MODEL, "ids": [1, 2], "source": [3]}, {"attention": [CUBE]}),
    "cross_attention": ({**MODEL, "ids": [1, 2], "source": [3, 4]}, {"attention": [CUBE]}),
    "gradients": (
        {**MODEL, "ids": [[1, 2]], "labels": [[2, -1]]},
        {"loss": 1.5, "gradients": {"w": TENSOR, "b": VECTOR}},
    ),
    "train_step": ({**MODEL, "ids": [[1, 2]], "learning_rate": 0.5}, {"loss": 1.5, "model": "m2"}),
    "export": ({**MODEL, "opset": 17, "external": True}, {"files": {"model.onnx": "AAA=", "model.onnx.data": "AAAA"}}),
    "perplexity": ({**MODEL, "ids": [1, -2], "stride": 3}, {"perplexity": 12.5, "tokens": 1}),
    "bleu": (
        {"hypotheses": ["é b", ["a", "b"]], "references": [["a"], [["a"], []]], "smoothing": "exp"},
        {"score": 0.25},
    ),
    "rouge": (
        {"hypotheses": ["a"], "references": [["a", "b"]]},
        {"mean": ROUGE_SCORES, "segments": [ROUGE_SCORES]},
    ),
    "completions": ({"request": {"prompt": "é", "stop": ["a"], "seed": None}}, REPLY),
    "chat": ({"request": {"messages": [{"role": "user", "content": "é"}], "stream": True}}, REPLY),
    "template": ({"request": {"messages": []}}, {**REPLY, "status": 404, "type": "text/plain"}),
    "together": (
        {"requests": [{"over": "completions", "request": {"prompt": "a"}}, {"over": "chat", "request": {}}]},
        {"answers": [REPLY, REPLY]},
    ),
}
JUNK = [
    None, True, 0, 1, -1, 2**31, 2**31 - 1, 1.0, -0.5, math.inf, "", "x", "\ud800", "a\nb", "x" * 257, "F16", "stop",
    "AAA=", "A===", "AAAA", "====", [], {}, [None], [0], [1, 2], [0, 0], ["forward", "forward"], ["forwards"],
    [[0.5]], [0.5], {"x": 1}, [[{"id": 1, "logprob": -1}]], [[{"id": 1, "logprob": math.inf}]], {"dtype": "float16"},
]  # fmt: skip


def places(document, path=()):
    """Every path in a document, the root included."""
    yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        yield from places(value, (*path, key))


@st.composite
def mutated(draw, document):
    """A document with one or two places removed, replaced, renamed or added to."""
    root = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, 2))):
        path = (0, *draw(st.sampled_from(list(places(root[0])))))
        holder = root
        for key in path[:-1]:
            holder = holder[key]
        key, action = path[-1], draw(st.sampled_from(["remove", "replace", "replace", "rename", "add"]))
        junk = copy.deepcopy(draw(st.sampled_from(JUNK)))
        if action == "remove" and len(path) > 1:
            del holder[key]
        elif action == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(["ids", "text", "extra", "data", "x" * 257, "\ud800"]))] = holder.pop(key)
        elif action == "add" and isinstance(holder[key], dict):
            holder[key][draw(st.sampled_from(["ids", "text", "model", "extra", "", "logprobs"]))] = junk
        elif action == "add" and isinstance(holder[key], list):
            holder[key].append(junk)
        else:
            holder[key] = junk
    return root[0]


def refusal_of_answer(method, answer):
    try:
        wire.check_answer(method, None, answer)
    except Malformed as fault:
        return fault.message
    return ""


def refusal_of_params(method, params):
    try:
        wire.check_params(method, params)
    except ValueError as error:
        return str(error)
    return ""


def test_every_method_has_params_and_answer_in_the_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(CONVERSATIONS) == set(wire.METHODS)
    for method in wire.METHODS:
        assert f"{method}.params" in SCHEMA["$defs"]
        assert f"{method}.answer" in SCHEMA["$defs"]


@pytest.mark.parametrize("method", wire.METHODS)
def test_a_valid_conversation_passes_validator_and_schema(method):
    params, answer = CONVERSATIONS[method]
    schema_of(f"{method}.params").validate(params)
    schema_of(f"{method}.answer").validate(answer)
    schema_of("request").validate(json.loads(wire.request_line(1, method, params)))
    wire.check_params(method, params)
    wire.check_answer(method, params, answer)


# Relations between values, which JSON Schema cannot say: data against shape, laws against ids, an id twice.
RELATIONS = (" bytes", "entries", "second time")


@pytest.mark.parametrize("method", wire.METHODS)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_validator_and_schema_agree_on_mutated_answers(method, data):
    answer = data.draw(mutated(CONVERSATIONS[method][1]))
    refused = refusal_of_answer(method, answer)
    if not any(relation in refused for relation in RELATIONS):
        assert schema_of(f"{method}.answer").is_valid(answer) == (not refused), refused


@pytest.mark.parametrize("method", wire.METHODS)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_validator_and_schema_agree_on_mutated_params(method, data):
    params = data.draw(mutated(CONVERSATIONS[method][0]))
    refused = refusal_of_params(method, params)
    # What JSON itself cannot carry in an option (infinity, half a surrogate pair) never reaches a schema.
    if not any(reason in refused for reason in ("JSON cannot carry", "surrogate", "a JSON value")):
        assert schema_of(f"{method}.params").is_valid(params) == (not refused), refused


@pytest.mark.parametrize("method", wire.METHODS)
def test_an_answer_survives_the_wire(method):
    params, answer = CONVERSATIONS[method]
    native = wire.check_answer(method, params, answer)
    again = wire.check_answer(method, params, wire.parse_line(wire.result_line(7, native))["result"])
    np.testing.assert_equal(again, native)


@settings(deadline=None)
@given(
    st.sampled_from([np.float64, np.float32, np.float16, ml_dtypes.bfloat16]),
    st.tuples(st.integers(0, 5), st.integers(1, 5)),
    st.randoms(use_true_random=False),
)
def test_a_tensor_keeps_every_bit(dtype, shape, random):
    size = math.prod(shape) * np.dtype(dtype).itemsize
    array = np.frombuffer(random.randbytes(size), dtype=dtype).reshape(shape)
    again = wire.decode_tensor(json.loads(json.dumps(wire.encode(array))))
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()
    assert not again.flags.writeable


def test_a_big_endian_array_travels_as_its_values():
    array = np.array([[1.0, 2.0]], dtype=">f4")
    np.testing.assert_array_equal(wire.decode_tensor(wire.encode(array)), array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [3, 3]}, "logits[0].data has 24 bytes, shape [3, 3] of F32 needs 36 bytes"),
        ({"dtype": "F64"}, "logits[0].data has 24 bytes, shape [2, 3] of F64 needs 48 bytes"),
        ({"shape": [3, 2]}, "logits[0] has shape [3, 2], [2, V] was due"),
        ({"shape": [6]}, "logits[0] has shape [6], [2, V] was due"),
        ({"dtype": "I64"}, "logits[0].dtype is str 'I64', one of F64, F32, F16, BF16 was due"),
        ({"shape": [2**31 - 1, 2**31 - 1]}, "logits[0] needs 18446744056529682436 bytes, 46137344 are allowed"),
        ({"data": "A"}, "logits[0].data is not base64: Invalid base64-encoded string: "
                        "number of data characters (1) cannot be 1 more than a multiple of 4"),
    ],
)  # fmt: skip
def test_a_wrong_tensor_is_named_with_what_came_and_what_was_due(change, message):
    with pytest.raises(Malformed) as caught:
        wire.check_answer("forward", {"ids": [[1, 2]]}, {"logits": [{**TENSOR, **change}]})
    assert caught.value.message == message


def test_rows_share_their_width_and_are_as_many_as_asked():
    narrow, wide = np.zeros((1, 3)), np.zeros((1, 4))
    with pytest.raises(Malformed, match=r"logits\[1\] has shape \[1, 4\], \[1, 3\] was due"):
        wire.check_answer("forward", {"ids": [[1], [2]]}, {"logits": [narrow, wide]})
    with pytest.raises(Malformed, match="logits has 1 rows, 2 were due"):
        wire.check_answer("forward", {"ids": [[1], [2]]}, {"logits": [narrow]})


def test_a_model_keeps_its_width_from_call_to_call_and_into_its_sessions():
    widths = wire.Widths()
    widths.see("forward", {"model": "m1"}, {"logits": [np.zeros((1, 3))]})
    widths.see("forward", {"model": "m2"}, {"logits": [np.zeros((1, 4))]})
    widths.see("open", {"model": "m1"}, {"session": "s1", "logits": np.zeros((1, 3))})
    widths.see("fork", {"session": "s1"}, {"session": "s2"})
    with pytest.raises(Malformed, match=r"\[1, 3\] was due as before"):
        widths.see("extend", {"session": "s2"}, {"logits": np.zeros((1, 4))})


def test_nan_and_infinity_in_logits_pass_because_a_judge_fails_them():
    rows = [np.array([[np.nan, np.inf, 0.0]])]
    np.testing.assert_equal(wire.check_answer("forward", {"ids": [[1]]}, {"logits": rows})["logits"], rows)


def test_a_buffer_that_the_candidate_uses_again_does_not_change_an_answer():
    buffer = np.zeros((1, 3))

    class Model:
        def forward(self, batch):
            return [buffer]

        def gradients(self, batch):
            return 1.0, {"w": buffer}

    class Adapter:
        def describe(self):
            return {"name": "x", "version": "1", "capabilities": ["load_model", "forward", "gradients"]}

        def load_model(self, path):
            return Model()

    connection = InProcess(Adapter())
    model = connection.call("load_model", {"path": "x"})["model"]
    kept = [
        connection.call("forward", {"model": model, "ids": [[1]]})["logits"][0],
        connection.call("gradients", {"model": model, "ids": [[1]]})["gradients"]["w"],
    ]
    buffer[:] = 9
    assert not any(each.any() for each in kept)
    assert not any(each.flags.writeable for each in kept)


# ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def carried(message):
    """A message as its reader has it: the object, frames put in their places."""
    line, *frames = message
    answer = wire.parse_line(bytes(line))
    assert wire.frame_lengths(answer) == [len(frame) for frame in frames]
    wire.put_frames(answer["result"], [memoryview(bytes(frame)).toreadonly() for frame in frames])
    return answer["result"]


@pytest.mark.parametrize("method", wire.METHODS)
def test_an_answer_in_frames_is_the_answer_in_lines(method):
    params, answer = CONVERSATIONS[method]
    native = wire.check_answer(method, params, answer)
    framed = wire.check_answer(method, params, carried(wire.result_message(3, native)))
    lined = wire.check_answer(method, params, wire.parse_line(wire.result_line(3, native))["result"])
    np.testing.assert_equal(framed, lined)


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<f2", ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(1, 3), (0, 3), (2, 300)])
def test_every_bit_of_a_tensor_survives_a_frame(dtype, shape):
    array = np.frombuffer(random.Random(5).randbytes(8 * 600), np.uint8)[: math.prod(shape) * np.dtype(dtype).itemsize]
    array = array.view(dtype).reshape(shape)
    (line, frame) = wire.result_message(1, {"logits": [array[:, ::-1].copy()[:, ::-1]]})
    assert wire.parse_line(line)["frames"] == [array.nbytes]
    again = wire.decode_tensor(carried([line, frame])["logits"][0])
    little = array.astype(array.dtype.newbyteorder("<")) if dtype == ">f8" else array
    assert (again.tobytes(), again.shape, again.flags.writeable) == (little.tobytes(), shape, False)


def test_an_answer_without_tensors_has_no_frames():
    assert wire.result_message(1, {"ids": [1]}) == [wire.result_line(1, {"ids": [1]})]


@pytest.mark.parametrize("tensor", [{"frame": 0}, {"dtype": "F32", "frame": True}, {"dtype": "F32", "frame": -1}])
def test_what_names_no_frame_is_left_alone(tensor):
    result = {"logits": [dict(tensor)]}
    wire.put_frames(result, [])
    assert result == {"logits": [tensor]}


def test_who_is_asked_for_frames_is_told_in_the_question():
    question = wire.parse_line(wire.request_line(1, "tokenize", {"model": "m", "text": "a"}, frames=True))
    assert question["frames"] is True
    schema_of("request").validate(question)


@pytest.mark.parametrize("value", [np.zeros((1, 3), dtype=int), np.array([["a"]]), [[1.0, 2.0]], None])
def test_logits_that_are_no_float_array_are_malformed(value):
    with pytest.raises(Malformed, match=r"logits\[0\]"):
        wire.check_answer("forward", {"ids": [[1]]}, {"logits": [value]})


@pytest.mark.parametrize("value", [math.nan, -math.inf, True, "0"])
def test_a_log_probability_is_a_finite_number_or_null(value):
    with pytest.raises(Malformed, match=r"logprobs\[1\]"):
        wire.check_answer("score", {"ids": [1, 2]}, {"logprobs": [None, value]})


def test_numbers_of_numpy_are_numbers():
    answer = wire.check_answer("tokenize", {}, {"ids": np.array([1, 2])})
    assert answer == {"ids": [1, 2]}
    assert all(type(token) is int for token in answer["ids"])
    assert wire.check_answer("score", {"ids": [1]}, {"logprobs": [np.float32(-1)]}) == {"logprobs": [-1.0]}


def test_log_probabilities_are_dicts_for_us_and_lists_on_the_wire():
    made = Generation(finish_reason="length", text="a", ids=[97], logprobs=[{97: -0.5, 98: None}])
    native = wire.check_answer("generate_ids", None, made)
    assert native["logprobs"] == [{97: -0.5, 98: None}]
    assert wire.encode(native)["logprobs"] == [[{"id": 97, "logprob": -0.5}, {"id": 98, "logprob": None}]]


def test_a_plain_text_as_generation_is_refused_with_a_remedy():
    with pytest.raises(Malformed, match=r"return Generation\(text=…, finish_reason"):
        wire.check_answer("generate_text", None, "text")


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n", b"[]\n", b"\xff\n", b'{"a":1,"a":2}\n', b'{"a":NaN}\n', b'{"a":-Infinity}\n', b'{"a":1}{"b":2}\n',
        b'{"id":' + b"9" * 5000 + b"}\n", b"[" * 100_000 + b"\n", b"\n",
    ],
)  # fmt: skip
def test_a_line_that_is_no_strict_json_object_breaks_the_protocol(line):
    with pytest.raises(ProtocolBroken):
        wire.parse_line(line)


def test_a_line_beyond_the_limit_breaks_the_protocol(monkeypatch):
    monkeypatch.setattr(wire.lines, "MAX_LINE", 16)
    with pytest.raises(ProtocolBroken, match="a line of 20 bytes; 16 are allowed"):
        wire.parse_line(b'{"a":"0123456789ab"}')
    with pytest.raises(ValueError, match="16 are allowed"):
        wire.request_line(1, "describe", {})


def test_an_answer_at_the_limit_of_tensors_fits_a_line():
    assert wire.MAX_TENSORS * 4 / 3 + wire.MAX_ITEMS < wire.MAX_LINE


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("nonsense", {}),
        ("forward", {"model": "m1", "ids": [1]}),
        ("forward", {"model": "m1", "ids": [[True]]}),
        ("generate_text", {"model": "m1", "prompt": "\ud800"}),
        ("generate_text", {"model": "m1", "prompt": "a", "temperature": math.nan}),
        ("fork", {"session": "s1", "extra": 1}),
    ],
)
def test_a_malformed_question_is_our_own_fault(method, params):
    with pytest.raises(ValueError):
        wire.check_params(method, params)


def test_wrong_values_of_options_and_negative_ids_may_be_asked():
    wire.check_params(
        "generate_text", {"model": "m1", "prompt": "a", "temperature": "hot", "max_length": -1, "x": [None]}
    )
    wire.check_params("forward", {"model": "m1", "ids": [[-1], []]})


def test_a_description_may_be_an_object_or_a_mapping():
    made = Description(name="mine", version="1", capabilities=frozenset(CAPABILITIES), claims=Claims(dtype="float64"))
    assert wire.parse_description(made) == made
    assert wire.parse_description(wire.describe(made)) == made


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"capabilities": ["forwards"]}, ["unknown capability 'forwards'", "did you mean forward"]),
        ({"claims": {"dtype": "float8"}}, ["unknown dtype 'float8'", "float64, float32"]),
        ({"claims": {"determinism": "D9"}}, ["unknown determinism level"]),
        ({"protocol": "9"}, ["speaks protocol '9'", "update the adapter"]),
        ({"nme": "x"}, ["unknown member 'nme'"]),
        ({"name": ""}, ["name has 0 characters"]),
        ({"emulated": ["stop"]}, ["emulated is list"]),
    ],
)
def test_a_wrong_description_leads_nowhere_and_says_why(change, words):
    with pytest.raises(AddressError) as caught:
        wire.parse_description({"name": "mine", "version": "1", **change}, "./a.py:b")
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith("./a.py:b: ")
    for word in words:
        assert word in str(caught.value)


def test_a_refusal_has_one_of_the_codes():
    assert wire.check_refusal("not_found") == "not_found"
    with pytest.raises(Malformed, match="refused with code 'nope'"):
        wire.check_refusal("nope")
