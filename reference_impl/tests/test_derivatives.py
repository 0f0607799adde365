"""Gradients: the pages differentiated by nodes, by imaginary steps and by central differences agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import llmasos
from llmasos import ModelConfig, ops, training
from llmasos.derivatives import Node, as_nodes, gradients_of, pull_back
from llmasos.errors import ContextOverflow, InvalidArgument
from llmasos.orders import ORDERS
from llmasos.weights import expected_tensors

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt-3": ("GPT-3", {}),
    "banded, untied": ("GPT-3", {"local_attention_window": 2, "tie_embeddings": False}),
    "llama": ("Llama", {"num_key_value_heads": 2, "sliding_window": 3}),
    "llama, one group, untied": ("Llama", {"num_key_value_heads": 1, "tie_embeddings": False}),
    "bert": ("BERT", {}),
    "bert, relu, untied": ("BERT", {"activation": "relu", "tie_embeddings": False}),
    "transformer": ("Transformer", {"num_decoder_layers": 1}),
    "learned, gelu": ("Transformer", {"positions": "learned", "embedding_norm": True, "activation": "gelu"}),
    "silu, unscaled": ("Transformer", {"activation": "silu", "scale_embeddings": False, "tie_embeddings": False}),
}
STEP = 2.0**-60
"""An imaginary step: its square is lost below the last bit, so no difference of large numbers is taken."""


def made(variant: str, dtype: Any = np.float64) -> tuple[ModelConfig, dict[str, np.ndarray], list[training.Example]]:
    """Configuration, loud weights and two rows of a variant."""
    architecture, own = VARIANTS[variant]
    sizes = {"vocab_size": 31, "embedding_dim": 24, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 20}
    document = {"name": "x", "version": "1.0", "architecture": architecture, "parameters": {**sizes, **own}}
    config = ModelConfig.from_document(document)
    rng = np.random.default_rng(len(variant))
    weights = {
        name: rng.normal(1.0 if name.endswith("norm.weight") else 0.0, 0.3, shape).astype(dtype)
        for name, shape in expected_tensors(config).items()
    }
    rows = [[5, 9, 5, 0, 30, 7, 7], [2, 1, 4]]
    beside: dict[str, Any] = {}
    if architecture == "BERT":
        beside = {"labels": [[-1, 8, -1, 3, -1, -1, 7], [-1, 1, 4]], "types": [[0, 0, 0, 1, 1, 1, 1], [0, 1, 0]]}
    if architecture == "Transformer":
        beside = {"sources": [[3, 3, 8], [1, 2, 3, 4, 5, 6]]}
    return config, weights, training.examples(config, rows, **beside)


def along(config: ModelConfig, weights: Any, rows: Any, direction: Any, order: str) -> float:
    """The slope of the loss along a direction, by an imaginary step."""
    moved = {name: array + 1j * STEP * direction[name] for name, array in weights.items()}
    return float(training.loss(moved, config, rows, ORDERS[order]).imag) / STEP


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_nodes_and_imaginary_steps_agree(variant: str, order: str) -> None:
    config, weights, rows = made(variant)
    _, gradient = training.gradients(weights, config, rows, ORDERS[order])
    assert gradient.keys() == weights.keys()
    rng = np.random.default_rng(0)
    spread = np.sqrt(np.mean(np.concatenate([g.ravel() for g in gradient.values()]) ** 2))
    for name, array in weights.items():  # tensor by tensor, so that a small one is not lost among large ones
        direction = {other: np.zeros_like(value) for other, value in weights.items()}
        direction[name] = rng.choice([-1.0, 1.0], array.shape)
        # some 10⁴ roundings of 2⁻⁵³ each; a key's bias has gradient 0, and its roundings are those of the others
        size = np.sqrt(array.size) * (spread + np.sqrt(np.sum(gradient[name] ** 2)))
        found = float(np.sum(gradient[name] * direction[name]))
        assert abs(found - along(config, weights, rows, direction, order)) < 1e-12 * size, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_nodes_and_central_differences_agree(variant: str) -> None:
    config, weights, rows = made(variant)
    _, gradient = training.gradients(weights, config, rows)
    direction = {name: np.random.default_rng(1).normal(size=array.shape) for name, array in weights.items()}
    h = 1e-6  # truncation h² and rounding 2⁻⁵³/h are both near 1e-11
    up, down = (
        training.loss({name: array + sign * h * direction[name] for name, array in weights.items()}, config, rows)
        for sign in (1, -1)
    )
    due = sum(np.sum(gradient[name] * direction[name]) for name in weights)
    assert abs((up - down) / (2 * h) - due) < 1e-7 * (1 + abs(due))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_is_the_mean_of_all_scored_positions(variant: str) -> None:
    config, weights, rows = made(variant)
    each = [
        -float(ops.log_softmax(training.logits(weights, config, row, ORDERS["plain"]))[0, t, label])
        for row in rows
        for t, label in enumerate(row.labels)
        if label >= 0
    ]
    assert abs(float(training.loss(weights, config, rows)) - np.mean(each)) < 1e-14 * len(each)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_is_its_rows_weighted_by_what_they_score(variant: str) -> None:
    config, weights, rows = made(variant)
    counts = [sum(label >= 0 for label in row.labels) for row in rows]
    loss, whole = training.gradients(weights, config, rows)
    parts = [training.gradients(weights, config, [row]) for row in rows]
    assert (
        abs(loss - sum(n * part[0] for n, part in zip(counts, parts, strict=True)) / sum(counts)) < 32 * 2.0**-53 * loss
    )
    for name in weights:
        mixed = sum(n * part[1][name] for n, part in zip(counts, parts, strict=True)) / sum(counts)
        # some ten more roundings than the other way, each of the largest entry at most
        np.testing.assert_allclose(whole[name], mixed, rtol=0, atol=32 * 2.0**-53 * max(1.0, np.abs(mixed).max()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_have_the_dtype_of_the_weights_and_its_error(variant: str) -> None:
    config, weights, rows = made(variant, np.float32)
    _, narrow = training.gradients(weights, config, rows)
    _, wide = training.gradients({name: array.astype(np.float64) for name, array in weights.items()}, config, rows)
    assert {gradient.dtype for gradient in narrow.values()} == {np.dtype(np.float32)}
    whole = np.sqrt(np.mean(np.concatenate([(narrow[name] - wide[name]).ravel() for name in wide]) ** 2))
    spread = np.std(np.concatenate([gradient.ravel() for gradient in wide.values()]))
    assert 1e-8 < whole / spread < 1e-5


def test_a_tied_embedding_gets_the_gradients_of_both_ends() -> None:
    config, weights, rows = made("gpt-3")
    untied = ModelConfig.from_document(
        {
            "name": "x",
            "version": "1.0",
            "architecture": "GPT-3",
            "parameters": {
                "vocab_size": 31, "embedding_dim": 24, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 20,
                "tie_embeddings": False,
            },
        }
    )  # fmt: skip
    _, tied = training.gradients(weights, config, rows)
    _, apart = training.gradients({**weights, "head.weight": weights["token_embedding"]}, untied, rows)
    np.testing.assert_allclose(
        tied["token_embedding"], apart["token_embedding"] + apart["head.weight"], rtol=0, atol=1e-14
    )


def test_what_the_loss_does_not_touch_has_gradient_zero() -> None:
    config, weights, rows = made("bert")
    _, gradient = training.gradients(weights, config, rows)
    assert not gradient["pooler.weight"].any()
    assert not gradient["pooler.bias"].any()
    assert gradient["head.bias"].any()


def test_a_step_goes_down_the_gradient_and_leaves_the_model_as_it_was(make: Any) -> None:
    model = llmasos.load_model(make())
    rows = [[1, 2, 3, 4], [5, 6]]
    before = model.forward([rows[0]])[0]
    loss, gradient = model.gradients(rows)
    same, after = model.trained(rows, 2.0**-6)
    assert same == loss
    np.testing.assert_array_equal(model.forward([rows[0]])[0], before)
    square = sum(float(np.sum(g * g)) for g in gradient.values())
    assert after.gradients(rows)[0] == pytest.approx(loss - 2.0**-6 * square, abs=0.2 * 2.0**-6 * square)
    assert np.array_equal(model.trained(rows, 0)[1].forward([rows[0]])[0], before)


@pytest.mark.parametrize(
    ("architecture", "batch", "beside", "where"),
    [
        ("GPT-3", [], {}, "ids"),
        ("GPT-3", [[1, 2], []], {}, "ids[1]"),
        ("GPT-3", [[1]], {}, "ids"),
        ("GPT-3", [[1, 300]], {}, "ids[0][1]"),
        ("GPT-3", [[1, 2]], {"labels": [[1]]}, "labels[0]"),
        ("GPT-3", [[1, 2]], {"labels": [[1, 2], [3]]}, "labels"),
        ("GPT-3", [[1, 2]], {"labels": [[-1, -1]]}, "ids"),
        ("GPT-3", [[1, 2]], {"labels": [[-2, 1]]}, "labels[0][0]"),
        ("GPT-3", [[1, 2]], {"sources": [[1]]}, "sources"),
        ("GPT-3", [[1, 2]], {"types": [[0, 0]]}, "types"),
        ("BERT", [[1, 2]], {}, "labels"),
        ("BERT", [[1, 2]], {"labels": [[1, 2]], "types": [[0]]}, "types"),
        ("BERT", [[1, 2]], {"labels": [[1, 2]], "types": [[0, 2]]}, "types[1]"),
        ("Transformer", [[1, 2]], {}, "sources"),
        ("Transformer", [[1, 2]], {"sources": [[]]}, "sources[0]"),
    ],
)
def test_rows_that_cannot_be_learnt_from_are_refused(
    document: Any, architecture: str, batch: Any, beside: Any, where: str
) -> None:
    config = ModelConfig.from_document(document() | {"architecture": architecture})
    with pytest.raises(InvalidArgument) as caught:
        training.examples(config, batch, **beside)
    assert caught.value.where == where


def test_a_row_longer_than_the_context_is_refused(document: Any) -> None:
    with pytest.raises(ContextOverflow, match="25 tokens"):
        training.examples(ModelConfig.from_document(document()), [[1] * 25])


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf"), "1", None, True])
def test_a_learning_rate_is_a_finite_number_from_zero(make: Any, rate: object) -> None:
    with pytest.raises(InvalidArgument, match="learning_rate"):
        llmasos.load_model(make()).trained([[1, 2]], rate)  # type: ignore[arg-type]


def test_operands_that_were_repeated_get_the_sum_of_their_gradients() -> None:
    a, b = Node(np.ones((2, 1, 3))), Node(np.arange(3.0))
    gradient = gradients_of((a * b + b).sum(axis=-1).sum(axis=-1).sum(axis=-1), {"a": a, "b": b})
    np.testing.assert_array_equal(gradient["a"], np.broadcast_to(np.arange(3.0), (2, 1, 3)))
    np.testing.assert_array_equal(gradient["b"], [4, 4, 4])


def test_an_id_that_comes_twice_gets_both_gradients() -> None:
    table = Node(np.zeros((3, 2)))
    pull_back(table[np.array([2, 0, 2])].sum(axis=-1).sum(axis=-1))
    np.testing.assert_array_equal(table.gradient, [[1, 1], [0, 0], [2, 2]])


@pytest.mark.parametrize("function", [np.sin, np.median, np.power])
def test_what_has_no_rule_is_refused_and_not_guessed(function: Any) -> None:
    node = as_nodes({"x": np.ones(3)})["x"]
    with pytest.raises(TypeError):
        function(node, *([2.0] if function is np.power else []))
