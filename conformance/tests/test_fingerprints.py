"""Quantised weights are seen by the direction of their errors, and honest half precision is not mistaken for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmasos_conformance import adapters, fingerprints
from llmasos_conformance.checks.beside import Row
from llmasos_conformance.checks.precision import judge_weights_as_given
from llmasos_conformance.fingerprints import SCHEMES, SCOPES, likeness, quantised
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import Claims
from llmasos_conformance.reference import connect

GIVEN = {"probe": "plain"}
LEVELS = {"int8": 256, "uint8": 256, "float8": 256, "int4": 16, "uint4": 16, "nf4": 16, "float4": 16}


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(
    ("name", "column", "due"),
    [
        ("int8 of a channel, /127", [1.27, 0.604, -0.006, 0.004], [1.27, 0.60, -0.01, 0.0]),
        ("int8 of a channel, /128", [1.28, -1.28, 0.014, 0.0], [1.27, -1.28, 0.01, 0.0]),
        ("uint8 of a channel", [2.55, 0.0, 1.004, 0.006], [2.55, 0.0, 1.0, 0.01]),
        ("int4 of 32 (q4_0)", [8.0, -7.0, 0.4, 3.6], [8.0, -7.0, 0.0, 4.0]),
        ("uint4 of 32", [1.5, 0.0, 0.74, 0.06], [1.5, 0.0, 0.7, 0.1]),
        ("nf4 of 64", [2.0, 0.1, 0.9, -2.0], [2.0, 2 * 0.07958029955625534, 2 * 0.44070982933044434, -2.0]),
        ("float4 of 32 (mxfp4)", [6.0, 2.4, -0.3, 0.2], [6.0, 2.0, -0.5, 0.0]),
        ("float8 e4m3", [1.0, 1.0624, 300.0, 0.0], [1.0, 1.0, 288.0, 0.0]),
        ("float8 e5m2", [1.0, 1.2, 300.0, 0.0], [1.0, 1.25, 320.0, 0.0]),
    ],
)
def test_a_scheme_does_what_its_format_says(name: str, column: list[float], due: list[float]) -> None:
    np.testing.assert_allclose(SCHEMES[name](np.array(column)[:, None])[:, 0], due, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_has_no_more_numbers_than_its_format_and_leaves_zeros_alone(name: str) -> None:
    w = drawn(96, 3)
    made = SCHEMES[name](w)
    size = int(found[1]) if (found := re.search(r"of (\d+)", name)) else 96
    levels = next(count for kind, count in LEVELS.items() if name.startswith(kind))
    assert all(len(np.unique(made[low : low + size, 0])) <= levels for low in range(0, 96, size))
    assert 0 < np.abs(made - w).max() < 0.6
    assert not SCHEMES[name](np.zeros((64, 2))).any()


def test_blocks_that_do_not_fill_a_column_have_a_scale_of_their_own() -> None:
    w = np.concatenate([np.full((32, 1), 100.0), drawn(7, 1)])
    assert np.abs(SCHEMES["int8 of 32 (q8_0), /127"](w)[32:] - w[32:]).max() < 0.02


def test_vectors_stay_and_an_embedding_has_a_row_for_a_channel() -> None:
    weights = {"token_embedding": np.array([[100.0, 1.0], [0.01, 0.02]]), "layers.0.up.weight": drawn(8, 4)}
    weights["layers.0.up.bias"] = drawn(4)
    whole = quantised(weights, SCHEMES["int8 of a channel, /127"], "blocks, embedding and head")
    assert whole["token_embedding"][1, 1] == 0.02
    assert whole["layers.0.up.bias"] is weights["layers.0.up.bias"]
    blocks = quantised(weights, SCHEMES["int8 of a channel, /127"], "blocks")
    assert blocks["token_embedding"] is weights["token_embedding"]
    assert not np.array_equal(blocks["layers.0.up.weight"], weights["layers.0.up.weight"])


def test_likeness_is_a_cosine_of_what_is_centred() -> None:
    a, b = drawn(5000), drawn(5000, seed=1)
    assert likeness(a, 3 * a + 7) == pytest.approx(1)
    assert likeness(a, -a) == pytest.approx(-1)
    assert abs(likeness(a, b)) < 0.06
    assert likeness(a, np.ones(5000)) == 0


class Judged:
    """Logits of a model that went through something, and what the judge says of them."""

    def __init__(self, place: Path, dtype: str) -> None:
        self.reference = connect(Claims(dtype=dtype), Library(place, "fingerprints"), adapters.connect)
        draw = np.random.default_rng(5)
        self.rows = [Row([int(token) for token in draw.integers(0, 263, 16)]) for _ in range(8)]

    def __call__(self, weights: Any = None) -> Any:
        parts = self.reference.probes.parts("plain")
        bundle = self.reference.probes.write(parts.document, weights(parts.weights) if weights else parts.weights)
        honest = self.reference.honest["online"].model(bundle)
        logits = [np.asarray(each, np.float32) for each in honest.forward([row.ids for row in self.rows])]
        return judge_weights_as_given(GIVEN, {"rows": self.rows, "logits": logits}, self.reference)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_honest_arithmetic_is_right_and_quantised_weights_behind_it_are_named(dtype: str, tmp_path: Path) -> None:
    judged = Judged(tmp_path, dtype)
    assert judged().ok
    for name in ("int8 of a channel, /127", "float8 e4m3, scaled by tensor", "nf4 of 64"):
        for scope in SCOPES:
            found = judged(lambda weights, name=name, scope=scope: quantised(weights, SCHEMES[name], scope))
            assert not found.ok
            assert found.got == f"{name} ({scope})"
            assert f"{dtype} is claimed" in found.message


def test_logits_of_another_shape_and_logits_that_are_no_numbers_are_wrong(tmp_path: Path) -> None:
    judged = Judged(tmp_path, "bfloat16")

    def said(change: Any) -> str:
        logits = [change(judged.reference.logits("plain", row.ids)) for row in judged.rows]
        return judge_weights_as_given(GIVEN, {"rows": judged.rows, "logits": logits}, judged.reference).message

    assert "have shapes" in said(lambda logits: logits[1:])
    assert "not finite" in said(lambda logits: np.full_like(logits, np.nan))


@pytest.mark.parametrize("probe", ["plain", "llama-plain"])
def test_no_scheme_moves_logits_by_less_than_twice_what_is_taken_for_nothing(probe: str, tmp_path: Path) -> None:
    library = Library(tmp_path, "smallest")
    reference = connect(Claims(), library, adapters.connect)
    parts = library.parts(probe)
    ids = [int(token) for token in np.random.default_rng(1).integers(0, 263, 16)]
    truth = reference.logits(probe, ids)
    for name, scheme in SCHEMES.items():
        other = library.write(parts.document, quantised(parts.weights, scheme, "blocks"))
        assert np.std(reference.logits(other, ids) - truth) > 2 * fingerprints.NEGLIGIBLE * np.std(truth), name
