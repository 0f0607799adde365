"""model.json: defaults, ranges, and agreement with the published schema."""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos import LLMasOSError, ModelConfig
from llmasos.config import ARCHITECTURES, LIMITS, applied_defaults, parameters_of
from llmasos.errors import InvalidFormat, UnsupportedArchitecture, UnsupportedVersion

SEED_DOCUMENT = {
    "name": "MyLLM",
    "version": "1.0",
    "architecture": "Transformer",
    "parameters": {"vocab_size": 10000, "embedding_dim": 512, "num_layers": 12},
}

SIZES = parameters_of("GPT-3")[:6]
"""Sizes of every architecture: integers from 1, none of them null."""

SCHEMA = json.loads(resources.files("llmasos").joinpath("schemas/model.schema.json").read_text(encoding="utf-8"))


def strictly_integer(_: Any, value: object) -> bool:
    """Integers as the format wants them: JSON Schema alone would accept 12.0."""
    return type(value) is int


VALIDATOR = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", strictly_integer),
)(SCHEMA)


def test_the_document_of_the_source_gets_the_defaults() -> None:
    config = ModelConfig.from_document(SEED_DOCUMENT)
    assert (config.vocab_size, config.embedding_dim, config.num_layers) == (10000, 512, 12)
    assert (config.num_heads, config.head_dim, config.feed_forward_dim, config.context_length) == (8, 64, 2048, 1024)
    assert (config.layer_norm_epsilon, config.activation, config.tie_embeddings) == (1e-5, "relu", True)
    assert (config.bos_token_id, config.eos_token_ids, config.seed) == (None, (), 0)
    assert (config.num_decoder_layers, config.positions, config.scale_embeddings) == (12, "sinusoidal", True)
    assert (config.embedding_norm, config.decoder_start_token_id) == (False, 0)
    assert len(applied_defaults(SEED_DOCUMENT)) == 13


def test_a_width_that_64_does_not_divide_gets_one_head(document: Any) -> None:
    given_document = document(embedding_dim=20)
    del given_document["parameters"]["num_heads"]
    assert ModelConfig.from_document(given_document).num_heads == 1


def test_all_that_may_be_written_is_read(document: Any) -> None:
    full = document(
        num_heads=2,
        feed_forward_dim=7,
        layer_norm_epsilon=1,
        activation="gelu_tanh",
        tie_embeddings=False,
        bos_token_id=299,
        eos_token_ids=[298, 0],
    ) | {"metadata": {"x": [1, {"y": None}]}, "initialisation": {"seed": 5}, "weights": {"sha256": "0" * 64}}
    config = ModelConfig.from_document(full)
    assert (config.bos_token_id, config.eos_token_ids, config.seed) == (299, (298, 0), 5)
    assert (config.layer_norm_epsilon, config.weights_sha256) == (1.0, "0" * 64)
    assert VALIDATOR.is_valid(full)


@pytest.mark.parametrize("version", ["1.0", "1.7", "1.0.0", "1.2.3-rc.1+build.5"])
def test_every_version_of_the_same_major_loads(document: Any, version: str) -> None:
    assert ModelConfig.from_document(document() | {"version": version}).version == version


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0.0", "9" * 5000 + ".0"])
def test_another_major_version_is_refused_even_with_unknown_keys(version: str) -> None:
    with pytest.raises(UnsupportedVersion):
        ModelConfig.from_document({"version": version, "new": 1})


@pytest.mark.parametrize(
    "version", ["1", "", "1.0.", "01.0", "1.00", "v1.0", "1.0-rc", "1.0 ", "1.0\n", "１.0", 1.0, None]
)
def test_text_that_is_no_version_is_refused(document: Any, version: object) -> None:
    with pytest.raises(InvalidFormat, match="version"):
        ModelConfig.from_document(document() | {"version": version})


@pytest.mark.parametrize("architecture", ["gpt-3", "GPT-4", "transformer", "Mamba"])
def test_an_unknown_architecture_is_refused(document: Any, architecture: str) -> None:
    with pytest.raises(UnsupportedArchitecture, match="GPT-3"):
        ModelConfig.from_document(document() | {"architecture": architecture})


OWN: dict[str, dict[str, Any]] = {
    "GPT-3": {"activation": "gelu_tanh", "layer_norm_epsilon": 1e-5, "local_attention_window": None},
    "Llama": {
        "activation": "silu",
        "rms_norm_epsilon": 1e-5,
        "num_key_value_heads": 4,
        "rope_theta": 10000.0,
        "sliding_window": None,
    },
    "BERT": {
        "activation": "gelu",
        "layer_norm_epsilon": 1e-12,
        "type_vocab_size": 2,
        "mask_token_id": None,
        "context_length": 512,
    },
    "Transformer": {
        "activation": "relu",
        "layer_norm_epsilon": 1e-5,
        "num_decoder_layers": 2,
        "positions": "sinusoidal",
        "scale_embeddings": True,
        "embedding_norm": False,
        "decoder_start_token_id": 0,
    },
}


def bare(document: Any, architecture: str, **parameters: Any) -> dict[str, Any]:
    """A document of the architecture without a context length."""
    made: dict[str, Any] = document(**parameters) | {"architecture": architecture}
    del made["parameters"]["context_length"]
    return made


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture_has_its_own_defaults(document: Any, architecture: str) -> None:
    config = ModelConfig.from_document(bare(document, architecture))
    assert {key: getattr(config, key) for key in OWN[architecture]} == OWN[architecture]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_parameter_of_another_architecture_is_refused(document: Any, architecture: str) -> None:
    foreign = {key for own in OWN.values() for key in own if key != "context_length"} - OWN[architecture].keys()
    for key in foreign:
        with pytest.raises(InvalidFormat, match=f"unknown key '{key}'"):
            ModelConfig.from_document(document(**{key: 1}) | {"architecture": architecture})


@pytest.mark.parametrize(
    ("architecture", "parameters", "key"),
    [
        ("GPT-3", {"local_attention_window": 0}, "local_attention_window"),
        ("GPT-3", {"local_attention_window": 2.0}, "local_attention_window"),
        ("Llama", {"num_key_value_heads": 3}, "num_key_value_heads"),
        ("Llama", {"num_key_value_heads": 0}, "num_key_value_heads"),
        ("Llama", {"num_key_value_heads": 8}, "num_key_value_heads"),
        ("Llama", {"embedding_dim": 20}, "num_heads"),
        ("Llama", {"embedding_dim": 21, "num_heads": 1}, "num_heads"),
        ("Llama", {"rope_theta": 0}, "rope_theta"),
        ("Llama", {"rope_theta": "10000"}, "rope_theta"),
        ("Llama", {"rope_theta": 1e13}, "rope_theta"),
        ("Llama", {"sliding_window": True}, "sliding_window"),
        ("Llama", {"rms_norm_epsilon": 0}, "rms_norm_epsilon"),
        ("Llama", {"activation": "gelu_tanh"}, "activation"),
        ("BERT", {"type_vocab_size": 0}, "type_vocab_size"),
        ("BERT", {"mask_token_id": 300}, "mask_token_id"),
        ("BERT", {"activation": "silu"}, "activation"),
        ("Transformer", {"num_decoder_layers": 0}, "num_decoder_layers"),
        ("Transformer", {"positions": "rotary"}, "positions"),
        ("Transformer", {"scale_embeddings": 1}, "scale_embeddings"),
        ("Transformer", {"embedding_norm": None}, "embedding_norm"),
        ("Transformer", {"decoder_start_token_id": 300}, "decoder_start_token_id"),
    ],
)
def test_an_architectures_own_parameter_is_refused_with_its_place(
    document: Any, architecture: str, parameters: dict[str, Any], key: str
) -> None:
    with pytest.raises(InvalidFormat) as caught:
        ModelConfig.from_document(document(**parameters) | {"architecture": architecture})
    assert caught.value.where == f"model.json parameters.{key}"


def test_the_decoder_starts_from_bos_unless_told_otherwise(document: Any) -> None:
    def start(**parameters: Any) -> int:
        return ModelConfig.from_document(
            document(**parameters) | {"architecture": "Transformer"}
        ).decoder_start_token_id

    assert start(bos_token_id=7) == 7
    assert start(bos_token_id=7, decoder_start_token_id=9) == 9
    assert start(decoder_start_token_id=None) == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_known_architecture_is_read(document: Any, architecture: str) -> None:
    assert ModelConfig.from_document(document() | {"architecture": architecture}).architecture == architecture


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", ""),
        ("name", 1),
        ("architecture", None),
        ("parameters", []),
        ("metadata", 1),
        ("initialisation", {}),
        ("initialisation", {"seed": -1}),
        ("initialisation", {"seed": 2**53}),
        ("initialisation", {"seed": 1, "x": 1}),
        ("weights", {"sha256": "0" * 63}),
        ("weights", {"sha256": "A" * 64}),
        ("weights", {}),
        ("extra", 1),
        *((f"parameters.{key}", limit + 1) for key, limit in LIMITS.items()),
        *(
            (f"parameters.{key}", value)
            for key in parameters_of("GPT-3")[:6]
            for value in (0, -1, True, 12.0, "12", None, 10**4000)
        ),
        ("parameters.num_heads", 3),
        ("parameters.layer_norm_epsilon", 0),
        ("parameters.layer_norm_epsilon", -1e-5),
        ("parameters.layer_norm_epsilon", True),
        ("parameters.layer_norm_epsilon", float("nan")),
        ("parameters.layer_norm_epsilon", 10**400),
        ("parameters.activation", "relu"),
        ("parameters.activation", None),
        ("parameters.tie_embeddings", 1),
        ("parameters.bos_token_id", 300),
        ("parameters.bos_token_id", -1),
        ("parameters.bos_token_id", False),
        ("parameters.eos_token_ids", 5),
        ("parameters.eos_token_ids", None),
        ("parameters.eos_token_ids", [300]),
        ("parameters.eos_token_ids", [1, 1]),
        ("parameters.eos_token_ids", [True]),
        ("parameters.dropout", 0.1),
    ],
)
def test_refused_with_its_place(document: Any, path: str, value: object) -> None:
    broken = document()
    *outer, key = path.split(".")
    (broken["parameters"] if outer else broken)[key] = value
    with pytest.raises(InvalidFormat) as caught:
        ModelConfig.from_document(broken)
    assert caught.value.where.startswith("model.json")
    assert key in str(caught.value)


@pytest.mark.parametrize("path", ["name", "version", "architecture", "parameters"])
def test_a_missing_member_is_named(document: Any, path: str) -> None:
    broken = document()
    del broken[path]
    with pytest.raises(InvalidFormat, match=f"'{path}' is missing"):
        ModelConfig.from_document(broken)


def test_a_document_is_an_object() -> None:
    with pytest.raises(InvalidFormat, match="expected an object, found a list"):
        ModelConfig.from_document([])


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 8),
    st.integers(),
    st.sampled_from([2**12, 2**16, 2**20, 2**22, 2**24, 2**53 - 1]).flatmap(lambda n: st.integers(n - 1, n + 1)),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "1.0", "1.0.0-a.01", "1.0.0-01", "2.0", "1.1+a", *ARCHITECTURES, "gelu_tanh", "relu", "0" * 64, "x"]
    ),
    st.lists(st.integers(0, 4) | st.booleans(), max_size=3),
    st.dictionaries(st.sampled_from(["seed", "sha256", "x"]), st.integers(0, 3) | st.just("0" * 64), max_size=2),
)
PARAMETERS = (*sorted({key for name in ARCHITECTURES for key in SCHEMA["$defs"][name]["properties"]}), "extra")
TOP = (*SCHEMA["properties"], "extra")


@settings(max_examples=400)
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    top=st.dictionaries(st.sampled_from(TOP), SCALARS, max_size=2),
    inner=st.dictionaries(st.sampled_from(PARAMETERS), SCALARS, max_size=3),
    dropped=st.sets(st.sampled_from(("name", "version", "vocab_size", "num_layers", "num_heads")), max_size=1),
)
def test_code_and_schema_agree_on_mutated_documents(
    document: Any, architecture: str, top: dict[str, Any], inner: dict[str, Any], dropped: set[str]
) -> None:
    mutated = copy.deepcopy(document()) | {"architecture": architecture}
    mutated["parameters"].update(inner)
    mutated.update(top)
    for key in dropped:
        mutated.pop(key, None)
        if isinstance(mutated["parameters"], dict):
            mutated["parameters"].pop(key, None)
    valid = VALIDATOR.is_valid(mutated)
    refusal = refused(mutated)
    if refusal is None:
        assert valid
    elif valid:  # then it is one of the rules that lie between members
        between = "do not divide" in refusal.what or "odd width" in refusal.what
        assert between or ("token_id" in refusal.where and "from 0 to" in refusal.what), refusal


def refused(document: object) -> LLMasOSError | None:
    try:
        ModelConfig.from_document(document)
    except LLMasOSError as error:
        return error
    return None


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_schema_states_limits_and_defaults(document: Any, architecture: str) -> None:
    shared = SCHEMA["$defs"]
    properties = shared[architecture]["properties"]
    rules = {
        key: {**shared.get(rule.get("$ref", "").rpartition("/")[2], {}), **rule} for key, rule in properties.items()
    }
    assert set(rules) == set(parameters_of(architecture))
    assert {key: rules[key]["maximum"] for key in LIMITS if key in rules} == {
        key: limit for key, limit in LIMITS.items() if key in rules
    }
    config = ModelConfig.from_document(bare(document, architecture))
    for key, rule in rules.items():
        if "default" in rule and key != "decoder_start_token_id" and key not in document()["parameters"]:
            value = getattr(config, key)
            assert (list(value) if isinstance(value, tuple) else value) == rule["default"], key
