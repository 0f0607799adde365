"""GPT-3 against an independent implementation, and against itself with a cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

import llmasos
from llmasos import ModelConfig
from llmasos.architectures import gpt3
from llmasos.errors import ContextOverflow

CASES = [
    {"vocab_size": 257, "embedding_dim": 12, "num_layers": 1, "num_heads": 3},
    {"vocab_size": 263, "embedding_dim": 35, "num_layers": 2, "num_heads": 5, "feed_forward_dim": 11},
    {"vocab_size": 269, "embedding_dim": 14, "num_layers": 3, "num_heads": 7, "tie_embeddings": False},
    {"vocab_size": 300, "embedding_dim": 64, "num_layers": 2, "num_heads": 1, "layer_norm_epsilon": 1e-2},
    {"vocab_size": 256, "embedding_dim": 9, "num_layers": 4, "num_heads": 9, "tie_embeddings": False},
    {"vocab_size": 283, "embedding_dim": 66, "num_layers": 1, "num_heads": 11, "layer_norm_epsilon": 1e-12},
    {"vocab_size": 307, "embedding_dim": 128, "num_layers": 2, "num_heads": 2, "context_length": 48},
    {"vocab_size": 271, "embedding_dim": 1, "num_layers": 1, "num_heads": 1, "feed_forward_dim": 1},
    {"vocab_size": 311, "embedding_dim": 26, "num_layers": 2, "num_heads": 13, "feed_forward_dim": 301},
    {"vocab_size": 256, "embedding_dim": 32, "num_layers": 6, "num_heads": 4, "context_length": 17},
]


def witness(config: ModelConfig, weights: dict[str, np.ndarray]) -> GPT2LMHeadModel:
    """The same weights in Hugging Face's GPT-2, float64."""
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context_length,
            n_embd=config.embedding_dim,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            n_inner=config.feed_forward_dim,
            activation_function="gelu_new",
            layer_norm_epsilon=config.layer_norm_epsilon,
            tie_word_embeddings=config.tie_embeddings,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation="eager",
        )
    )
    state = {
        "transformer.wte.weight": weights["token_embedding"],
        "transformer.wpe.weight": weights["position_embedding"],
    }
    for i in range(config.num_layers):
        ours, block = f"layers.{i}.", f"transformer.h.{i}."
        parts = [f"{ours}attention.{part}" for part in ("query", "key", "value")]
        for kind in ("weight", "bias"):
            state[f"{block}attn.c_attn.{kind}"] = np.concatenate([weights[f"{p}.{kind}"] for p in parts], axis=-1)
            state[f"{block}attn.c_proj.{kind}"] = weights[f"{ours}attention.output.{kind}"]
            state[f"{block}ln_1.{kind}"] = weights[f"{ours}attention_norm.{kind}"]
            state[f"{block}ln_2.{kind}"] = weights[f"{ours}feed_forward_norm.{kind}"]
            state[f"{block}mlp.c_fc.{kind}"] = weights[f"{ours}feed_forward.up.{kind}"]
            state[f"{block}mlp.c_proj.{kind}"] = weights[f"{ours}feed_forward.down.{kind}"]
    for kind in ("weight", "bias"):
        state[f"transformer.ln_f.{kind}"] = weights[f"final_norm.{kind}"]
    state["lm_head.weight"] = weights.get("head.weight", weights["token_embedding"])
    theirs = theirs.double().eval()
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()}, strict=True)
    return theirs


@pytest.mark.parametrize(
    "parameters", CASES, ids=lambda p: f"V{p['vocab_size']}-D{p['embedding_dim']}-H{p['num_heads']}"
)
def test_agrees_with_hugging_face_at_three_depths(
    document: Any, loud_weights: Any, parameters: dict[str, Any], tmp_path: Any
) -> None:
    given_document = document(**parameters)
    weights = loud_weights(given_document, seed=parameters["vocab_size"])
    model = llmasos.load_model(llmasos.write_bundle(tmp_path / "b", given_document, weights))
    config = model.config
    theirs = witness(config, weights)
    ids = np.random.default_rng(7).integers(0, config.vocab_size, config.context_length).tolist()

    # numbers: the rounding of the longest contraction, in units of the spread of the logits
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0].numpy()
    difference = np.abs(model.forward([ids])[0] - expected).max() / expected.std()
    longest = max(config.embedding_dim, config.feed_forward_dim, config.context_length)
    assert difference <= 64 * 2.0**-53 * np.sqrt(longest)

    # choices: greedy continuation of a prompt
    prompt, new = ids[:5], config.context_length - 5
    sequence = list(prompt)
    with torch.no_grad():
        for _ in range(new):
            sequence.append(int(theirs(torch.tensor([sequence])).logits[0, -1].argmax()))
    assert list(model.generate_ids(prompt, new, 0.0).ids) == sequence[5:]

    # text: the same bytes, where ids without text may not be chosen
    with torch.no_grad():
        sequence = list(b"hello")
        for _ in range(new):
            sequence.append(int(theirs(torch.tensor([sequence])).logits[0, -1, :256].argmax()))
    assert model.generate_text("hello", new, 0.0) == bytes(sequence[5:]).decode(errors="replace")


@settings(max_examples=30)
@given(cuts=st.sets(st.integers(1, 23)), seed=st.integers(0, 99), order=st.sampled_from(["plain", "online"]))
def test_a_cache_changes_nothing_wherever_the_sequence_is_cut(
    document: Any, loud_weights: Any, cuts: set[int], seed: int, order: str
) -> None:
    from llmasos.orders import ORDERS

    given_document = document()
    config, weights = ModelConfig.from_document(given_document), loud_weights(given_document, seed)
    ids = np.random.default_rng(seed).integers(0, 300, (2, 24))
    whole, _ = gpt3.forward(weights, config, ids, None, ORDERS[order])
    cache, parts = None, []
    for part in np.split(ids, sorted(cuts), axis=1):
        logits, cache = gpt3.forward(weights, config, part, cache, ORDERS[order])
        parts.append(logits)
    assert cache is not None
    assert cache.length == 24
    assert np.abs(np.concatenate(parts, axis=1) - whole).max() / whole.std() < 1e-13


def test_a_later_token_never_reaches_back(document: Any, loud_weights: Any) -> None:
    given_document = document()
    config, weights = ModelConfig.from_document(given_document), loud_weights(given_document)
    ids = np.arange(10)[None]
    changed = ids.copy()
    changed[0, 6] = 200
    before, after = (gpt3.forward(weights, config, x)[0][0] for x in (ids, changed))
    np.testing.assert_array_equal(before[:6], after[:6])
    assert np.all(np.abs(before[6:] - after[6:]).max(axis=-1) > 1e-3)


def test_extending_leaves_the_old_cache_as_it_was(document: Any, loud_weights: Any) -> None:
    given_document = document()
    config, weights = ModelConfig.from_document(given_document), loud_weights(given_document)
    _, cache = gpt3.forward(weights, config, np.array([[1, 2, 3]]))
    left, _ = gpt3.forward(weights, config, np.array([[4]]), cache)
    gpt3.forward(weights, config, np.array([[5, 6]]), cache)
    again, _ = gpt3.forward(weights, config, np.array([[4]]), cache)
    assert cache.length == 3
    np.testing.assert_array_equal(left, again)


def test_the_context_is_a_limit(document: Any, loud_weights: Any) -> None:
    given_document = document(context_length=4)
    config, weights = ModelConfig.from_document(given_document), loud_weights(given_document)
    _, cache = gpt3.forward(weights, config, np.array([[1, 2, 3, 4]]))
    for ids, held in (([[1, 2, 3, 4, 5]], None), ([[1]], cache)):
        with pytest.raises(ContextOverflow, match="the context holds 4"):
            gpt3.forward(weights, config, np.array(ids), held)


def test_every_weight_matters(document: Any, loud_weights: Any) -> None:
    given_document = document(num_layers=1, tie_embeddings=False)
    config, weights = ModelConfig.from_document(given_document), loud_weights(given_document)
    ids = np.arange(24)[None]
    before, _ = gpt3.forward(weights, config, ids)
    for name, array in weights.items():
        rng = np.random.default_rng(0)
        after, _ = gpt3.forward({**weights, name: array + rng.normal(size=array.shape)}, config, ids)
        # a key bias adds the same to all scores of a query, which softmax ignores
        moved = np.abs(after - before).max() > 1e-6
        assert moved == (name != "layers.0.attention.key.bias"), name
