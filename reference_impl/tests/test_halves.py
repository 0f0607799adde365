"""Half precision: every operation rounds, and what comes out is of the dtype."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import llmasos
from llmasos import halves, ops
from llmasos.architectures import MODULES
from llmasos.config import ModelConfig
from llmasos.errors import InvalidArgument, InvalidFormat, Unsupported
from llmasos.halves import KINDS, Half
from llmasos.orders import ORDERS
from llmasos.weights import expected_tensors

UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
both = pytest.mark.parametrize("kind", KINDS)


def drawn(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def of_the_dtype(half: Any) -> bool:
    return np.array_equal(half.value, half.value.astype(half.dtype).astype(np.float32), equal_nan=True)


@both
def test_each_elementary_operation_is_the_exact_one_rounded_once(kind: str) -> None:
    a, b = Half(drawn(4096), kind), Half(drawn(4096, seed=1), kind)
    x, y = a.value.astype(np.float64), b.value.astype(np.float64)
    exact = [(a + b, x + y), (a - b, x - y), (a * b, x * y), (a / b, x / y), (np.sqrt(a * a), np.abs(x)), (-a, -x)]
    exact[4] = (np.sqrt(Half(np.abs(x), kind)), np.sqrt(np.abs(x)))
    for made, due in exact:
        np.testing.assert_array_equal(made.value, due.astype(KINDS[kind]).astype(np.float32))


def test_float16_is_numpys_own_step_by_step() -> None:
    x, weight, bias = (drawn(5, 64, seed=i).astype(np.float16) for i in range(3))
    half = ops.gelu_tanh(Half(x, "float16") * Half(weight, "float16") + Half(bias, "float16"))
    assert np.asarray(half).dtype == np.float16
    np.testing.assert_array_equal(np.asarray(Half(x, "float16") * weight + bias), x * weight + bias)


@both
def test_a_sum_and_a_product_of_matrices_add_up_in_float32_and_round_at_their_end(kind: str) -> None:
    ones = Half(np.ones((1, 4096)), kind)
    assert float(ones.sum(axis=-1).value[0]) == 4096  # one after the other in bfloat16 would stop at 256
    assert float((ones @ Half(np.ones((4096, 1)), kind)).value[0, 0]) == 4096


@both
def test_whatever_stands_beside_a_half_is_rounded_but_numbers_of_python(kind: str) -> None:
    one = Half(np.ones(1), kind)
    fine = 1 + UNIT[kind] / 4
    assert np.asarray(one * np.array([fine]))[0] == 1
    assert np.asarray(one * np.array([fine], np.float32))[0] == 1
    assert np.asarray((one - 1) + UNIT[kind] / 4)[0] == UNIT[kind] / 4
    assert np.asarray(np.where(np.array([True]), one, -np.inf))[0] == 1
    assert np.asarray(one * np.ones(1, ml_dtypes.bfloat16)).dtype == KINDS[kind]


@both
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("architecture", ["GPT-3", "Llama"])
def test_every_step_of_a_page_is_of_the_dtype(kind: str, order: str, architecture: str, monkeypatch: Any) -> None:
    sizes = {"vocab_size": 31, "embedding_dim": 16, "num_layers": 2, "num_heads": 2, "context_length": 16}
    config = ModelConfig.from_document(
        {"name": "small", "version": "1.0", "architecture": architecture, "parameters": sizes}
    )
    loud = {name: 0.5 * drawn(*shape, seed=i) for i, (name, shape) in enumerate(expected_tensors(config).items())}
    seen: list[Half] = []
    made = Half.__init__

    def noted(self: Half, array: Any, dtype: Any) -> None:
        made(self, array, dtype)
        seen.append(self)

    monkeypatch.setattr(Half, "__init__", noted)
    weights = halves.loaded(loud, kind)
    logits, cache = MODULES[architecture].forward(
        weights, config, np.arange(9)[None], None, halves.arithmetic(ORDERS[order])
    )
    assert isinstance(logits, Half)
    assert all(isinstance(each, Half) for held in cache.layers for each in held)
    assert len(seen) > 100
    assert all(map(of_the_dtype, seen))


@both
def test_a_model_in_half_precision_errs_by_the_dtype_and_answers_in_it(kind: str, make: Any) -> None:
    bundle = make()
    truth = llmasos.load_model(bundle).forward([[1, 2, 3, 4]])[0]
    model = llmasos.load_model(bundle, dtype=kind)
    logits = model.forward([[1, 2, 3, 4]])[0]
    assert logits.dtype == KINDS[kind]
    error = np.sqrt(np.mean((logits.astype(np.float64) - truth) ** 2)) / truth.std()
    assert UNIT[kind] / 8 < error < 16 * UNIT[kind]
    session = model.open_session([1, 2])
    session.extend([3, 4])
    assert np.abs(session.logits[-1].astype(np.float64) - truth[-1]).max() < 32 * UNIT[kind] * truth.std()
    assert len(model.generate_ids([1, 2], 5, 0).ids) == 5
    assert all(each.dtype == KINDS[kind] for each in model.hidden_states([1, 2, 3]))


@both
def test_what_half_precision_does_not_do_is_refused_in_words(kind: str, make: Any) -> None:
    bundle = make()
    model = llmasos.load_model(bundle, dtype=kind)
    with pytest.raises(Unsupported, match=f"not computed in {kind}"):
        model.gradients([[1, 2]])
    with pytest.raises(InvalidArgument, match="bfloat16"):
        llmasos.load_model(bundle, dtype="float8")


def test_a_weight_beyond_float16_is_named_and_bfloat16_holds_it() -> None:
    with pytest.raises(InvalidFormat) as caught:
        halves.loaded({"loud": np.array([70000.0])}, "float16")
    assert caught.value.where == "loud as float16"
    assert np.asarray(halves.loaded({"loud": np.array([70000.0])}, "bfloat16")["loud"])[0] == 70144


@both
def test_what_changes_in_place_makes_another_array(kind: str) -> None:
    a = Half(np.ones(2), kind)
    b = a
    b /= 2
    assert list(a.value) == [1, 1]
    assert list(b.value) == [0.5, 0.5]
