"""A loaded model: the door of the package, batches, sessions, scores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llmasos
from llmasos.errors import ContextOverflow, InvalidArgument, InvalidFormat
from llmasos.orders import ORDERS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, document: Any, loud_weights: Any) -> llmasos.Model:
    place = tmp_path_factory.mktemp("model") / "bundle"
    return llmasos.load_model(llmasos.write_bundle(place, document(), loud_weights(document())))


def test_the_functions_of_the_source_return_text(make: Callable[..., Path]) -> None:
    model = llmasos.load_model(str(make() / "model.json"))
    text = model.generate_text(prompt="你好", max_length=5, temperature=0.0)
    assert isinstance(text, str)
    assert llmasos.generate_text(model, "你好", 5, 0.0) == text
    assert llmasos.generate_text(model, "你好", max_length=5, temperature=0.0, seed=3) == text
    assert "".join(str(piece) for piece in list(model.stream_text("你好", 5, 0.0))[:-1]) == text
    assert model.generate("你好", 5, 0.0).text == text


def test_the_defaults_are_those_of_the_source(make: Callable[..., Path]) -> None:
    model = llmasos.load_model(make(context_length=200))
    result = model.generate("x", seed=1)
    assert result.completion_tokens == 100
    assert result == model.generate("x", 100, 1.0, seed=1)


def test_importing_is_light() -> None:
    code = "import sys, llmasos; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    for heavy in (
        "torch",
        "transformers",
        "pytest",
        "tokenizers",
        "jsonschema",
        "yaml",
        "scipy",
        "llmasos_conformance",
    ):
        assert heavy not in out


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_dtype_and_order_are_chosen_at_load(dtype: str, order: str, make: Callable[..., Path]) -> None:
    directory = make()
    model = llmasos.load_model(directory, dtype=dtype, order=order)
    (found,), (truth,) = (m.forward([list(range(20))]) for m in (model, llmasos.load_model(directory)))
    assert found.dtype == np.dtype(dtype)
    assert np.abs(found - truth).max() / truth.std() < {"float64": 1e-13, "float32": 1e-5}[dtype]
    assert np.array_equal(found, truth) == ((dtype, order) == ("float64", "plain"))
    session = model.open_session([1, 2])
    assert session.extend([3]).dtype == np.dtype(dtype)


@pytest.mark.parametrize("options", [{"dtype": "float8"}, {"dtype": np.float32}, {"order": "fast"}, {"order": None}])
def test_another_dtype_or_order_is_refused(options: dict[str, Any], make: Callable[..., Path]) -> None:
    with pytest.raises(InvalidArgument, match="is not offered"):
        llmasos.load_model(make(), **options)


def test_a_weight_that_float32_cannot_hold_is_refused_there(tmp_path: Path, document: Any, loud_weights: Any) -> None:
    weights = loud_weights(document())
    weights["final_norm.bias"][0] = 1e300
    directory = llmasos.write_bundle(tmp_path / "b", document(), weights)
    llmasos.load_model(directory)
    with pytest.raises(InvalidFormat, match=r"final_norm\.bias as float32"):
        llmasos.load_model(directory, dtype="float32")


@settings(max_examples=25)
@given(batch=st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=24), max_size=4))
def test_rows_of_a_batch_do_not_know_each_other(model: llmasos.Model, batch: list[list[int]]) -> None:
    for row, logits in zip(batch, model.forward(batch), strict=True):
        assert logits.shape == (len(row), 300)
        np.testing.assert_array_equal(logits, model.forward([row])[0])


@pytest.mark.parametrize("ids", [[], [300], [-1], [1.0], [True], ["a"], "abc", b"abc", 5, None, [None], [2**70]])
def test_ids_that_are_none_are_refused_everywhere(model: llmasos.Model, ids: Any) -> None:
    for ask in (lambda: model.forward([ids]), lambda: model.score(ids), lambda: model.open_session(ids)):
        with pytest.raises(InvalidArgument, match="ids"):
            ask()
    if ids != []:
        for ask in (lambda: model.generate_ids(ids), lambda: model.detokenize(ids)):
            with pytest.raises(InvalidArgument, match="ids"):
                ask()


def test_a_score_is_the_log_probability_of_each_id(model: llmasos.Model) -> None:
    ids = [5, 250, 17, 17]
    logits = model.forward([ids])[0]
    expected = [z[i] - np.log(np.sum(np.exp(z))) for z, i in zip(logits[:-1], ids[1:], strict=True)]
    scores = model.score(ids)
    assert scores[0] is None
    np.testing.assert_allclose(np.array(scores[1:], dtype=float), expected, rtol=1e-12)
    assert model.score([5]) == [None]


@settings(max_examples=25)
@given(data=st.data())
def test_a_session_equals_the_whole(model: llmasos.Model, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, 299), min_size=2, max_size=24))
    cut = data.draw(st.integers(1, len(ids) - 1))
    whole = model.forward([ids])[0]
    session = model.open_session(ids[:cut])
    fork = session.fork()
    other = session.fork()
    other.extend([7])
    for part in (ids[cut:], None):
        branch = session if part else fork
        if part:
            np.testing.assert_allclose(branch.extend(part), whole[cut:], rtol=1e-9, atol=1e-11)
            assert branch.length == len(ids)
        else:
            assert branch.length == cut
            np.testing.assert_allclose(branch.logits, whole[:cut], rtol=1e-9, atol=1e-11)


def test_a_refused_extension_leaves_the_session_as_it_was(model: llmasos.Model) -> None:
    session = model.open_session(list(range(20)))
    before = session.logits
    with pytest.raises(ContextOverflow, match="25 tokens, the context holds 24"):
        session.extend([1] * 5)
    with pytest.raises(InvalidArgument):
        session.extend([])
    assert session.length == 20
    assert session.logits is before
    session.extend([1] * 4)


def test_a_closed_session_is_closed_and_its_fork_is_not(model: llmasos.Model) -> None:
    session = model.open_session([1])
    fork = session.fork()
    session.close()
    session.close()
    for ask in (lambda: session.extend([1]), session.fork):
        with pytest.raises(InvalidArgument, match="closed"):
            ask()
    assert fork.extend([2]).shape == (1, 300)


def test_the_context_is_a_limit_everywhere(model: llmasos.Model) -> None:
    ids = [1] * 25
    for ask in (lambda: model.forward([ids]), lambda: model.score(ids), lambda: model.open_session(ids)):
        with pytest.raises(ContextOverflow):
            ask()
    assert model.forward([ids[:24]])[0].shape == (24, 300)


def test_text_and_ids(model: llmasos.Model) -> None:
    assert model.tokenize("é\0") == [0xC3, 0xA9, 0]
    assert model.tokenize("") == []
    assert model.detokenize([0xC3, 0xA9, 0, 299]) == "é\0"
    with pytest.raises(InvalidArgument, match="surrogate"):
        model.generate_text("\ud83d")


def test_threads_may_share_a_model(model: llmasos.Model) -> None:
    def ask(seed: int) -> llmasos.Generation:
        return model.generate("hello", 12, 1.0, seed=seed)

    alone = [ask(seed) for seed in range(12)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(12))) == alone
