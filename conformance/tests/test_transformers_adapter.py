"""Hugging Face transformers as a candidate agrees with the reference on the same weights: numbers, choices, text."""

import math

import numpy as np
import pytest
import torch

import llmasos
from llmasos import weights
from llmasos_conformance.adapters import connect
from llmasos_conformance.adapters.transformers import TransformersAdapter
from llmasos_conformance.errors import AddressError
from llmasos_conformance.protocol import ARCHITECTURES, CAPABILITIES, Refusal

SIZES = {
    "vocab_size": 260, "embedding_dim": 32, "num_layers": 3, "num_heads": 4, "feed_forward_dim": 48,
    "context_length": 24,
}  # fmt: skip
VARIANTS = {
    "GPT-3 tied": {"layer_norm_epsilon": 1e-3},
    "GPT-3 untied": {"tie_embeddings": False, "layer_norm_epsilon": 1e-3},
    "GPT-3 banded": {"local_attention_window": 3, "tie_embeddings": False},
    "GPT-3 narrow": {"local_attention_window": 1},
    "Llama": {"num_heads": 2, "rms_norm_epsilon": 1e-3},
    "Llama grouped": {"num_key_value_heads": 2, "rope_theta": 300, "tie_embeddings": False},
    "Llama windowed": {"num_key_value_heads": 1, "sliding_window": 4, "tie_embeddings": False},
    "Llama narrow": {"sliding_window": 1},
    "BERT": {"mask_token_id": 7, "layer_norm_epsilon": 1e-3},
    "BERT untied": {"mask_token_id": 7, "type_vocab_size": 4, "activation": "gelu_tanh", "tie_embeddings": False},
    "BERT relu": {"mask_token_id": 7, "type_vocab_size": 1, "activation": "relu"},
    "Transformer": {"decoder_start_token_id": 5, "layer_norm_epsilon": 1e-3},
    "Transformer untied": {"num_decoder_layers": 1, "activation": "gelu", "tie_embeddings": False},
    "Transformer learned": {"positions": "learned", "scale_embeddings": False, "activation": "silu"},
    "Transformer normed": {"embedding_norm": True, "activation": "gelu_tanh", "layer_norm_epsilon": 1e-3},
    "Transformer as Bart": {"embedding_norm": True, "positions": "learned", "tie_embeddings": False},
}
"""Between them every parameter has another value than its default."""

ROWS = [[1, 2, 3, 4, 5, 250, 7], [9], [3, 3, 3], [0, 1, 0] * 8]
SOURCES = [[6, 0, 200], [5] * 24, [77], [0, 0]]
TYPES = [[0, 1, 1, 0, 0, 1, 0], [1], [0, 0, 1], [0, 1, 1] * 8]
STARTS = [[token, token + 1] for token in range(0, 64, 4)]


def kind_of(variant):
    return variant.split()[0]


def document_of(variant, **more):
    parameters = {**SIZES, **VARIANTS[variant], **more}
    return {"name": "small", "version": "1.0", "architecture": kind_of(variant), "parameters": parameters}


def drawn(document, seed, scale=0.3):
    random = np.random.default_rng(seed)
    shapes = weights.expected_tensors(llmasos.ModelConfig.from_document(document))
    return {name: random.normal(size=shape) * scale for name, shape in shapes.items()}


def ends_some(document, place):
    """A bundle with end-of-sequence ids that some continuations reach and others do not."""
    for seed in range(40):
        tensors = drawn(document, seed)
        model = llmasos.load_model(llmasos.write_bundle(place, document, tensors))
        made = [model.generate_ids(row, 8, 0).ids for row in STARTS]
        for some in {token for row in made for token in row[3:]}:
            if not all(some in ids for ids in made):
                ending = {**document, "parameters": {**document["parameters"], "eos_token_ids": [259, some]}}
                return str(llmasos.write_bundle(place, ending, tensors))
    raise AssertionError("no weights whose continuations differ")


@pytest.fixture(scope="module")
def path_of(tmp_path_factory):
    """variant -> path of its bundle."""
    made = {}

    def make(variant):
        if variant not in made:
            place, document = tmp_path_factory.mktemp("hf") / "bundle", document_of(variant)
            if kind_of(variant) == "BERT":
                made[variant] = str(llmasos.write_bundle(place, document, drawn(document, 0)))
            else:
                made[variant] = ends_some(document, place)
        return made[variant]

    return make


class Loaded:
    """A connection with one bundle."""

    def __init__(self, address, path):
        self.connection, self.path = connect(address), path
        self.model = self.connection.call("load_model", {"path": path})["model"]

    def ask(self, method, **params):
        return self.connection.call(method, {"model": self.model, **params})

    @property
    def dtype(self):
        return self.connection.description.claims.dtype


DTYPES = {"Llama": ("float32", "float32/eager")}
ALL = [
    (variant, address)
    for i, variant in enumerate(VARIANTS)
    for address in DTYPES.get(kind_of(variant), (("float64", "float32/eager"), ("float64/eager", "float32"))[i % 2])
]
"""Each variant in each dtype that runs it, each kind in each kernel."""
GENERATING = [pair for pair in ALL if kind_of(pair[0]) != "BERT"]


class Pair:
    """The candidate and the truth on one bundle, and what the variant's calls are given beside the ids."""

    def __init__(self, variant, address, path):
        self.kind, self.path = kind_of(variant), path
        self.truth, self.candidate = Loaded("reference", path), Loaded(f"transformers:{address}", path)

    def beside(self, many=True):
        if self.kind == "Transformer":
            return {"sources": SOURCES} if many else {"source": SOURCES[0]}
        types = llmasos.read_bundle(self.path).config.type_vocab_size
        return {"types": [[token % types for token in row] for row in TYPES]} if self.kind == "BERT" and many else {}

    def logits(self, rows=ROWS):
        beside = {name: value[: len(rows)] for name, value in self.beside().items()}
        return [side.ask("forward", ids=rows, **beside)["logits"] for side in (self.candidate, self.truth)]

    def bound(self):
        """Largest difference that an honest computation of the dtype may make on ROWS.

        Of float64: 64 · 2⁻⁵³ · √(longest contraction) of the block's spread. Of float32: eight times the error of the
        reference in float32.
        """
        due = self.truth.ask("forward", ids=ROWS, **self.beside())["logits"]
        if self.candidate.dtype == "float64":
            return 64 * 2**-53 * math.sqrt(SIZES["feed_forward_dim"]) * max(row.std() for row in due)
        found = Loaded("reference:float32", self.path).ask("forward", ids=ROWS, **self.beside())["logits"]
        return 8 * max(np.abs(ours - theirs).max() for ours, theirs in zip(found, due, strict=True))


@pytest.fixture(scope="module")
def pairs(path_of):
    made = {}

    def make(variant, address):
        if (variant, address) not in made:
            made[variant, address] = Pair(variant, address, path_of(variant))
        return made[variant, address]

    return make


@pytest.fixture(params=ALL, ids=lambda pair: "-".join(pair))
def pair(request, pairs):
    return pairs(*request.param)


@pytest.fixture(params=GENERATING, ids=lambda pair: "-".join(pair))
def generating(request, pairs):
    return pairs(*request.param)


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_logits_of_a_ragged_batch_agree(pair):
    found, due = pair.logits()
    for ours, theirs in zip(found, due, strict=True):
        assert ours.dtype.name == pair.candidate.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=pair.bound())


def test_a_row_is_the_same_alone_and_in_company(pair):
    alone, company = pair.logits(ROWS[:1])[0], pair.logits()[0]
    np.testing.assert_allclose(alone[0], company[0], rtol=0, atol=pair.bound())
    assert pair.candidate.ask("forward", ids=[])["logits"] == []


def test_a_session_agrees_with_the_whole_and_its_fork_goes_its_own_way(generating):
    call, whole = generating.candidate.connection.call, generating.logits()[1]
    opened = generating.candidate.ask("open", ids=ROWS[3][:3], **generating.beside(many=False))
    steps, session = [opened["logits"]], opened["session"]
    for part in (ROWS[3][3:4], ROWS[3][4:11], ROWS[3][11:12], ROWS[3][12:]):
        fork = call("fork", {"session": session})["session"]
        call("extend", {"session": fork, "ids": [8, 8]})
        steps.append(call("extend", {"session": session, "ids": part})["logits"])
    beside = {"sources": SOURCES[:1]} if generating.kind == "Transformer" else {}
    due = generating.truth.ask("forward", ids=[ROWS[3]], **beside)["logits"][0] if beside else whole[3]
    np.testing.assert_allclose(np.concatenate(steps), due, rtol=0, atol=generating.bound())
    with pytest.raises(Refusal) as caught:
        call("extend", {"session": fork, "ids": [1] * 20})
    assert caught.value.code == "context_overflow"
    call("close", {"session": fork})


def test_log_probabilities_of_a_sequence_agree(generating):
    beside = generating.beside(many=False)
    sides = (generating.truth, generating.candidate)
    due, found = (side.ask("score", ids=ROWS[0], **beside)["logprobs"] for side in sides)
    assert found[0] is None
    np.testing.assert_allclose(found[1:], due[1:], rtol=0, atol=2 * generating.bound())


BERT = [pair for pair in ALL if kind_of(pair[0]) == "BERT"]


@pytest.mark.parametrize(("variant", "address"), BERT)
def test_hidden_states_pooled_output_and_what_fills_masks_agree(pairs, variant, address):
    pair = pairs(variant, address)
    found, due = (side.ask("encode", ids=ROWS, **pair.beside()) for side in (pair.candidate, pair.truth))
    for ours, theirs in zip([*found["hidden"], found["pooled"]], [*due["hidden"], due["pooled"]], strict=True):
        assert ours.dtype.name == pair.candidate.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=pair.bound())
    masked = {"ids": [7, 3, 7, 9], "count": 260}
    found, due = (side.ask("fill_mask", **masked)["fills"] for side in (pair.candidate, pair.truth))
    assert len(found) == 2
    for ours, theirs in zip(found, due, strict=True):
        assert list(ours)[:5] == list(theirs)[:5]
        np.testing.assert_allclose([ours[token] for token in theirs], list(theirs.values()), atol=2 * pair.bound())


# ── choices and text ────────────────────────────────────────────────────────────────────────────────────────────────


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
        ("generate_text", {"prompt": "né", "max_length": 6, "beams": 3}),
        ("stream_text", {"prompt": "abc", "max_length": 12}),
        ("generate_ids", {"ids": [1, 2], "max_length": 12, "logit_bias": {"3": 100}}),
        ("generate_ids", {"ids": [1, 2], "max_length": 12, "logit_bias": {"3": 1.5, "0": -100}}),
        ("generate_batch", {"ids": [[1, 2, 3], [7], [9] * 24], "max_length": 30, "logit_bias": {"5": 100}}),
        ("generate_ids", {"ids": [1, 2], "max_length": 12, "repetition_penalty": 1.9}),
        ("generate_ids", {"ids": [1, 2], "max_length": 12, "repetition_penalty": 1.5, "logit_bias": {"3": 2}}),
        ("generate_batch", {"ids": [[1, 2, 3], [7], [9] * 24], "max_length": 30, "repetition_penalty": 1.7}),
        ("generate_batch", {"ids": [[1, 2, 3], [7, 7, 7]], "max_length": 9, "repetition_penalty": 1.7}),
        ("generate_ids", {"ids": [1, 2], "max_length": 12, "frequency_penalty": 1, "presence_penalty": 0.5}),
        ("generate_text", {"prompt": "abc", "max_length": 12, "repetition_penalty": 1.3}),
        ("generate_text", {"prompt": "abc", "max_length": 12, "logit_bias": {"98": 100, "99": 100, "3": -1}}),
    ],
)
def test_greedy_generation_agrees(generating, method, question):
    options = {"temperature": 0} if method != "generate_batch" else {}
    found, due = (side.ask(method, **question, **options) for side in (generating.candidate, generating.truth))
    assert found == due


def test_an_end_of_sequence_ends_a_row_of_a_batch_and_no_other(generating):
    found, due = (
        side.ask("generate_batch", ids=STARTS, max_length=8) for side in (generating.candidate, generating.truth)
    )
    assert {row["finish_reason"] for row in due["generations"]} == {"stop", "length"}
    assert found == due


BEAMED = ([1, 2], [4, 6, 6, 100, 9], [7], [250, 3, 3])
BEAMS = ({"beams": 2}, {"beams": 5, "length_penalty": 0.0}, {"beams": 3, "length_penalty": 2.5})


@pytest.mark.parametrize("variant", ["GPT-3 banded", "Llama windowed", "Llama narrow", "Transformer untied"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_beams_agree(tmp_path, variant, count):
    """With so many end-of-sequence ids, taken from what the beams say without any."""
    document = document_of(variant)
    tensors = {name: array + name.endswith("norm.weight") for name, array in drawn(document, 1, 0.15).items()}
    model = llmasos.load_model(llmasos.write_bundle(tmp_path / "endless", document, tensors))
    said = [model.generate_ids(ids, 9, 0, **options).ids for ids in BEAMED for options in BEAMS]
    eos = sorted({row[3] for row in said})[:count]
    place = str(llmasos.write_bundle(tmp_path / "bundle", document_of(variant, eos_token_ids=eos), tensors))
    addresses = ["transformers", "transformers:float64"][: 1 if kind_of(variant) == "Llama" else 2]
    truth, candidates = Loaded("reference", place), [Loaded(address, place) for address in addresses]
    reasons, greedier = set(), False
    for ids in BEAMED:
        plain = truth.ask("generate_ids", ids=ids, max_length=9, temperature=0)["ids"]
        for options in BEAMS:
            asked = {"ids": ids, "max_length": 9, "temperature": 0, **options}
            due = truth.ask("generate_ids", **asked)
            reasons.add(due["finish_reason"])
            greedier |= due["ids"] != plain
            for candidate in candidates:
                assert candidate.ask("generate_ids", **asked) == due
    assert len(eos) == count
    assert greedier, "with these weights beams lead where greedy choice does"
    assert reasons >= ({"stop"} if count else {"length"})


def test_the_runtime_generates_by_itself_what_it_can_and_nothing_else(path_of, tmp_path):
    document = document_of("GPT-3 tied", eos_token_ids=[259])
    place = str(llmasos.write_bundle(tmp_path / "bundle", document, drawn(document, 0)))
    asked = []

    def spied(model):
        own = model._module.generate

        def generate(*args, **options):
            asked.append(options["generation_config"].num_beams)
            return own(*args, **options)

        model._module.generate = generate
        return model

    model = spied(TransformersAdapter().load_model(place))
    model.generate_ids([1], 4, 0)
    model.generate_batch([[1], [2, 3]], 4)
    model.generate_ids([1], 4, 0, beams=3)
    assert asked == [1, 1, 3]
    model.generate_ids([1], 4, 0, beams=131)
    model.generate_ids([1], 4, 0, beams=2, length_penalty=1e5)
    model.generate_ids([1], 4, 0, logprobs=1)
    model.generate_ids([1], 4, 1.0, seed=1)
    two = spied(TransformersAdapter().load_model(path_of("GPT-3 tied")))  # ends with either of two ids
    two.generate_ids([1], 4, 0, beams=2)
    spied(TransformersAdapter("float64").load_model(place)).generate_ids([1], 4, 0)
    spied(TransformersAdapter().load_model(path_of("Llama narrow"))).generate_ids([1], 4, 0)
    assert len(asked) == 3


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


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
        ("generate_ids", {"ids": [1], "temperature": 0, "beams": 0}, "invalid_argument"),
        ("generate_ids", {"ids": [1], "temperature": 1, "beams": 2}, "invalid_argument"),
        ("generate_ids", {"ids": [1], "colour": 1}, "unknown_parameter"),
        ("generate_batch", {"ids": [[1], [1] * 25]}, "context_overflow"),
        ("generate_text", {"prompt": "x" * 25}, "context_overflow"),
        ("encode", {"ids": [[1]]}, "unsupported"),
        ("fill_mask", {"ids": [7]}, "unsupported"),
        ("forward", {"ids": [[1]], "types": [[0]]}, "invalid_argument"),
    ],
)
def test_refusals_agree(generating, method, question, code):
    if generating.kind == "Transformer":
        question = {**question, **({"source": [1]} if method in ("open", "score") else {})}
        question |= {"sources": [[1]]} if method == "forward" else {}
    assert refusals(generating, method, question) == {code}


def refusals(pair, method, question):
    """The codes with which candidate and truth refuse."""
    codes = set()
    for side in (pair.truth, pair.candidate):
        with pytest.raises(Refusal) as caught:
            side.ask(method, **question)
        codes.add(caught.value.code)
    return codes


@pytest.mark.parametrize(
    ("variant", "method", "question", "code"),
    [
        ("Transformer", "forward", {"ids": [[1]]}, "invalid_argument"),
        ("Transformer", "forward", {"ids": [[1]], "sources": []}, "invalid_argument"),
        ("Transformer", "forward", {"ids": [[1]], "sources": [[]]}, "invalid_argument"),
        ("Transformer", "forward", {"ids": [[1]], "sources": [[1] * 25]}, "context_overflow"),
        ("Transformer", "open", {"ids": [1]}, "invalid_argument"),
        ("Transformer", "open", {"ids": [1], "source": [260]}, "invalid_argument"),
        ("Transformer", "score", {"ids": [1]}, "invalid_argument"),
        ("GPT-3 tied", "forward", {"ids": [[1]], "sources": [[1]]}, "invalid_argument"),
        ("GPT-3 tied", "open", {"ids": [1], "source": [1]}, "invalid_argument"),
        ("GPT-3 tied", "score", {"ids": [1], "source": [1]}, "invalid_argument"),
        ("BERT", "forward", {"ids": [[1]], "sources": [[1]]}, "invalid_argument"),
        ("BERT", "forward", {"ids": [[1]], "types": [[2]]}, "invalid_argument"),
        ("BERT", "forward", {"ids": [[1]], "types": [[0, 0]]}, "invalid_argument"),
        ("BERT", "encode", {"ids": [[1], [2]], "types": [[0]]}, "invalid_argument"),
        ("BERT", "encode", {"ids": [[1] * 25]}, "context_overflow"),
        ("BERT", "fill_mask", {"ids": [1, 2]}, "invalid_argument"),
        ("BERT", "fill_mask", {"ids": [7], "count": 261}, "invalid_argument"),
        ("BERT", "generate_text", {"prompt": "a"}, "unsupported"),
        ("BERT", "generate_ids", {"ids": [1], "max_length": 2}, "unsupported"),
        ("BERT", "generate_batch", {"ids": [[1]], "max_length": 2}, "unsupported"),
        ("BERT", "stream_text", {"prompt": "a", "max_length": 2}, "unsupported"),
        ("BERT", "open", {"ids": [1]}, "unsupported"),
        ("BERT", "score", {"ids": [1]}, "unsupported"),
    ],
)
def test_what_an_architecture_does_not_do_or_lacks_is_refused_alike(pairs, variant, method, question, code):
    address = next(address for each, address in ALL if each == variant)
    assert refusals(pairs(variant, address), method, question) == {code}


@pytest.mark.parametrize("variant", ["GPT-3 tied", "Llama", "BERT", "Transformer"])
def test_a_weight_too_large_for_the_claimed_dtype_is_refused_like_the_reference(path_of, tmp_path, variant):
    bundle = llmasos.read_bundle(path_of(variant))
    name = next(name for name in bundle.weights if name.endswith("norm.weight"))
    tensors = {**bundle.weights, name: np.full(32, 1e300)}
    place = str(llmasos.write_bundle(tmp_path / "bundle", bundle.document, tensors))
    for address in ("reference:float32", "transformers:float32"):
        with pytest.raises(Refusal) as caught:
            Loaded(address, place)
        assert caught.value.code == "invalid_format"
    if variant != "Llama":
        Loaded("transformers:float64", place)


def test_what_the_runtime_computes_in_float32_alone_is_not_run_as_float64(path_of):
    assert (
        connect("transformers").description.architectures == connect("transformers:float32").description.architectures
    )
    assert set(connect("transformers").description.architectures) == set(ARCHITECTURES)
    assert set(connect("transformers:float64").description.architectures) == set(ARCHITECTURES) - {"Llama"}
    with pytest.raises(Refusal) as caught:
        Loaded("transformers:float64", path_of("Llama"))
    assert caught.value.code == "unsupported_architecture"


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("float8", "no such variant: 'float8'"),
        ("float32/flash", "no such variant"),
        ("float32/sdpa/tpu", "cpu, cuda"),
        ("float32/sdpa/cuda/0", "no such variant"),
        ("float32/sdpa/cuda", "sees no CUDA device try: leave /cuda out"),
        ("//cuda", "sees no CUDA device"),
    ],
)
def test_a_variant_that_is_not_there_says_what_is(monkeypatch, argument, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(AddressError) as caught:
        connect(f"transformers:{argument}")
    assert words in " ".join(str(caught.value).split())


def test_the_processor_is_the_device_unless_another_is_named(path_of):
    path = path_of("GPT-3 tied")
    named, unnamed = Loaded("transformers:float32/sdpa/cpu", path), Loaded("transformers", path)
    ask = [each.ask("forward", ids=ROWS)["logits"] for each in (named, unnamed)]
    assert [row.tobytes() for row in ask[0]] == [row.tobytes() for row in ask[1]]


def test_an_epsilon_written_as_an_integer_is_a_number(path_of, tmp_path):
    for variant, key in {"GPT-3 tied": "layer_norm_epsilon", "Transformer as Bart": "layer_norm_epsilon"}.items():
        bundle = llmasos.read_bundle(path_of(variant))
        document = {**bundle.document, "parameters": {**bundle.document["parameters"], key: 1}}
        place = str(llmasos.write_bundle(tmp_path / variant, document, bundle.weights))
        found, due = Pair(variant, "float64", place).logits(ROWS[:1])
        np.testing.assert_allclose(found[0], due[0], rtol=0, atol=1e-13)


# ── what is declared ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_runtime_does_not_do_itself_is_declared():
    description = connect("transformers").description
    assert frozenset(CAPABILITIES) - description.capabilities == {
        *("bleu", "rouge", "onnx", "export", "frequency_penalty", "presence_penalty"),
        *("completions", "chat", "template", "echo", "choices", "concurrent"),
    }
    assert {"tokenize", "stream", "stop", "seed", "top_k", "top_p", "min_p", "logprobs", "format", "fill_mask"} <= set(
        description.emulated
    )
    native = {"forward", "session", "batch", "generate_ids", "score", "beams", "encode", "logit_bias"}
    assert not native & set(description.emulated)
    assert set(description.runtime) == {"numpy", "torch", "transformers"}
    assert {"generate_ids", "batch", "beams"} <= set(connect("transformers:float64").description.emulated)


def test_it_runs_in_a_process_of_its_own(path_of):
    path = path_of("Transformer")
    connection = connect("transformers:float32", out_of_process=True)
    held = connection.call("load_model", {"path": path})["model"]
    apart = connection.call("forward", {"model": held, "ids": ROWS, "sources": SOURCES})["logits"]
    connection.close()
    here = Loaded("transformers:float32", path).ask("forward", ids=ROWS, sources=SOURCES)["logits"]
    assert [row.tobytes() for row in apart] == [row.tobytes() for row in here]
