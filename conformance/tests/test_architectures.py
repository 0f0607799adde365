"""What is told of an architecture is what a bundle of it holds, in letters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmasos.architectures import KIND, MODULES
from llmasos.config import ModelConfig, parameters_of
from llmasos_conformance import architectures


@pytest.mark.parametrize("architecture", KIND)
def test_with_the_sizes_of_any_model_the_letters_are_the_tensors_that_the_reference_reads(architecture):
    D, N = 48, 3
    chosen = {"vocab_size": 300, "embedding_dim": D, "num_layers": N, "num_heads": 4, "feed_forward_dim": 80}
    own = {
        "GPT-3": {}, "BERT": {"type_vocab_size": 5}, "Llama": {"num_key_value_heads": 2},
        "Transformer": {"num_decoder_layers": N, "positions": "learned", "embedding_norm": True},
    }  # fmt: skip
    parameters = {**chosen, "context_length": 90, "tie_embeddings": False, **own[architecture]}
    document = {"name": "a", "version": "1.0", "architecture": architecture, "parameters": parameters}
    due = MODULES[architecture].tensor_shapes(ModelConfig.from_document(document))
    sizes = {"V": 300, "D": D, "F": 80, "C": 90, "Y": 5, "G·K": 2 * D // 4}
    told = {
        each.name.replace("layers.i.", f"layers.{i}."): tuple(sizes[letter] for letter in each.shape)
        for each in architectures.tensors(architecture)
        for i in range(N)
    }
    assert told == due


@pytest.mark.parametrize("architecture", KIND)
def test_every_option_that_a_tensor_needs_is_a_parameter_of_the_architecture(architecture):
    needed = {each.where.split()[0] for each in architectures.tensors(architecture) if each.where}
    assert "tie_embeddings" in needed
    assert needed <= {*parameters_of(architecture)}
    assert {*architectures.letters(architecture).values()} - {"D / num_heads"} <= {*parameters_of(architecture)}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *(("GPT-3", "GPT-3"), ("gpt3", "GPT-3"), ("GPT", "GPT-3"), ("gpt_3", "GPT-3"), ("LLAMA", "Llama")),
        *(("bert", "BERT"), ("transformer", "Transformer"), ("gpt4", None), ("", None), ("-", None)),
    ],
)
def test_an_architecture_is_known_by_the_names_that_people_give_it(said, meant):
    assert architectures.named(said) == meant


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("architecture", KIND)
def test_explain_tells_its_tensors_its_defaults_its_sentences_and_who_asks_it(architecture, lang, llmasos):
    code, out, err = llmasos("explain", architecture, "--lang", lang)
    assert (code, err) == (0, "")
    for each in architectures.tensors(architecture):
        assert f"{each.name} " in out
    about = architectures.KNOWN[architecture]
    for told in (*about.defaults, about.presented[lang][:20]):
        assert told in out
    assert architectures.code(architecture) in out
    assert Path(architectures.code(architecture)) == Path(str(MODULES[architecture].__file__))
    profiles = json.loads(llmasos("explain", architecture, "--json")[1])["profiles"]
    assert profiles
    assert all(name in out for name in profiles)
    code, out, _ = llmasos("explain", profiles[0], "--lang", lang)
    assert code == 0
    assert f"--llmasos-profile={profiles[0]}" in out
