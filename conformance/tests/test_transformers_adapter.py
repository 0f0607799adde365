"""Hugging Face transformers as a candidate agrees with the reference on the same weights: numbers, choices, text."""

import numpy as np
import pytest

import llmasos
from llmasos import weights
from llmasos_conformance.adapters import connect
from llmasos_conformance.protocol import CAPABILITIES, Refusal

ROWS = [[1, 2, 3, 4, 5, 250, 7], [9], [3, 3, 3]]
STARTS = [[token, token + 1] for token in range(0, 64, 4)]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def path(request, tmp_path_factory):
    """A bundle whose end-of-sequence id some continuations reach and others do not."""
    parameters = {
        "vocab_size": 260, "embedding_dim": 32, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 48,
        "context_length": 24, "tie_embeddings": request.param, "layer_norm_epsilon": 1e-3,
    }  # fmt: skip
    document = {"name": "small", "version": "1.0", "architecture": "GPT-3", "parameters": parameters}
    random = np.random.default_rng(0)
    shapes = weights.expected_tensors(llmasos.ModelConfig.from_document(document))
    tensors = {name: random.normal(size=shape) * 0.3 for name, shape in shapes.items()}
    place = tmp_path_factory.mktemp("hf") / "bundle"
    model = llmasos.load_model(llmasos.write_bundle(place, document, tensors))
    made = [model.generate_ids(row, 8, 0).ids for row in STARTS]
    some = next(i for row in made for i in row[3:] if not all(i in ids for ids in made))
    parameters["eos_token_ids"] = [259, some]
    return str(llmasos.write_bundle(place, document, tensors))


class Loaded:
    """A connection with one bundle."""

    def __init__(self, address, path):
        self.connection = connect(address)
        self.model = self.connection.call("load_model", {"path": path})["model"]

    def ask(self, method, **params):
        return self.connection.call(method, {"model": self.model, **params})


@pytest.fixture(scope="module")
def truth(path):
    return Loaded("reference", path)


@pytest.fixture(scope="module", params=["float64", "float64/eager", "float32", "float32/eager"])
def candidate(request, path):
    return Loaded(f"transformers:{request.param}", path)


def honest(candidate, path, rows, truth):
    """Largest error of the reference in the same dtype, times the eight of an honest bound; float64: 1e-13."""
    if candidate.connection.description.claims.dtype == "float64":
        return 1e-13
    plain = Loaded("reference:float32", path).ask("forward", ids=rows)["logits"]
    return 8 * max(np.abs(a - b).max() for a, b in zip(plain, truth, strict=True))


def test_logits_of_a_ragged_batch_agree(candidate, path, truth):
    due = truth.ask("forward", ids=ROWS)["logits"]
    found = candidate.ask("forward", ids=ROWS)["logits"]
    bound = honest(candidate, path, ROWS, due)
    for ours, theirs in zip(found, due, strict=True):
        assert ours.dtype.name == candidate.connection.description.claims.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


def test_a_session_agrees_with_the_whole_and_its_fork_goes_its_own_way(candidate, path, truth):
    due = truth.ask("forward", ids=ROWS)["logits"][0]
    bound = honest(candidate, path, ROWS, truth.ask("forward", ids=ROWS)["logits"])
    opened = candidate.ask("open", ids=ROWS[0][:3])
    fork = candidate.connection.call("fork", {"session": opened["session"]})["session"]
    candidate.connection.call("extend", {"session": fork, "ids": [8, 8]})
    rest = candidate.connection.call("extend", {"session": opened["session"], "ids": ROWS[0][3:]})["logits"]
    np.testing.assert_allclose(np.concatenate([opened["logits"], rest]), due, rtol=0, atol=bound)
    with pytest.raises(Refusal) as caught:
        candidate.connection.call("extend", {"session": fork, "ids": [1] * 20})
    assert caught.value.code == "context_overflow"
    candidate.connection.call("close", {"session": fork})


def test_log_probabilities_of_a_sequence_agree(candidate, path, truth):
    due, found = (side.ask("score", ids=ROWS[0])["logprobs"] for side in (truth, candidate))
    assert found[0] is None
    bound = 2 * honest(candidate, path, ROWS, truth.ask("forward", ids=ROWS)["logits"])
    np.testing.assert_allclose(found[1:], due[1:], rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("method", "question"),
    [
        ("generate_ids", {"ids": [1, 2], "max_length": 30}),
        ("generate_ids", {"ids": [1, 2], "max_length": 0}),
        ("generate_ids", {"ids": [4] * 24, "max_length": 5}),
        ("generate_batch", {"ids": [[1, 2, 3, 4], [7], [8] * 20, [9] * 24], "max_length": 30}),
        ("generate_batch", {"ids": [[5], [6, 6]], "max_length": 3}),
        ("generate_batch", {"ids": [], "max_length": 3}),
        ("generate_text", {"prompt": "abc", "max_length": 12}),
        ("generate_text", {"prompt": "né", "max_length": 12, "stop": ["\0", "b"]}),
        ("stream_text", {"prompt": "abc", "max_length": 12}),
    ],
)
def test_greedy_generation_agrees(candidate, truth, method, question):
    options = {"temperature": 0} if method != "generate_batch" else {}
    assert candidate.ask(method, **question, **options) == truth.ask(method, **question, **options)


def test_an_end_of_sequence_ends_a_row_of_a_batch_and_no_other(candidate, truth):
    due = truth.ask("generate_batch", ids=STARTS, max_length=8)
    assert {row["finish_reason"] for row in due["generations"]} == {"stop", "length"}
    assert candidate.ask("generate_batch", ids=STARTS, max_length=8) == due


@pytest.mark.parametrize(
    ("method", "question", "code"),
    [
        ("forward", {"ids": [[]]}, "invalid_argument"),
        ("forward", {"ids": [[260]]}, "invalid_argument"),
        ("forward", {"ids": [[-1]]}, "invalid_argument"),
        ("forward", {"ids": [[1] * 25]}, "context_overflow"),
        ("open", {"ids": []}, "invalid_argument"),
        ("score", {"ids": [1] * 25}, "context_overflow"),
        ("generate_ids", {"ids": []}, "invalid_argument"),
        ("generate_ids", {"ids": [1], "temperature": -1}, "invalid_argument"),
        ("generate_ids", {"ids": [1], "colour": 1}, "unknown_parameter"),
        ("generate_batch", {"ids": [[1], [1] * 25]}, "context_overflow"),
        ("generate_text", {"prompt": "x" * 25}, "context_overflow"),
    ],
)
def test_refusals_agree(candidate, truth, method, question, code):
    for side in (truth, candidate):
        with pytest.raises(Refusal) as caught:
            side.ask(method, **question)
        assert caught.value.code == code


def test_a_weight_too_large_for_the_claimed_dtype_is_refused_like_the_reference(path, tmp_path):
    bundle = llmasos.read_bundle(path)
    tensors = {**bundle.weights, "final_norm.bias": np.full(32, 1e300)}
    place = str(llmasos.write_bundle(tmp_path / "bundle", bundle.document, tensors))
    for address in ("reference:float32", "transformers:float32"):
        with pytest.raises(Refusal) as caught:
            Loaded(address, place)
        assert caught.value.code == "invalid_format"
    Loaded("transformers:float64", place)


def test_an_epsilon_written_as_an_integer_is_a_number(path, tmp_path):
    bundle = llmasos.read_bundle(path)
    document = {**bundle.document, "parameters": {**bundle.document["parameters"], "layer_norm_epsilon": 1}}
    place = str(llmasos.write_bundle(tmp_path / "bundle", document, bundle.weights))
    due, found = (
        Loaded(address, place).ask("forward", ids=ROWS[:1]) for address in ("reference", "transformers:float64")
    )
    np.testing.assert_allclose(found["logits"][0], due["logits"][0], rtol=0, atol=1e-13)


def test_what_the_runtime_does_not_do_itself_is_declared():
    description = connect("transformers").description
    assert description.capabilities == frozenset(CAPABILITIES) - {"bleu", "rouge"}
    assert {"tokenize", "stream", "stop", "seed", "top_k", "top_p", "min_p", "logprobs", "format"} <= set(
        description.emulated
    )
    assert not {"forward", "session", "batch", "generate_ids", "score"} & set(description.emulated)
    assert set(description.runtime) == {"numpy", "torch", "transformers"}


def test_it_runs_in_a_process_of_its_own(path):
    connection = connect("transformers:float32", out_of_process=True)
    held = connection.call("load_model", {"path": path})["model"]
    apart = connection.call("forward", {"model": held, "ids": ROWS})["logits"]
    connection.close()
    here = Loaded("transformers:float32", path).ask("forward", ids=ROWS)["logits"]
    assert [row.tobytes() for row in apart] == [row.tobytes() for row in here]
