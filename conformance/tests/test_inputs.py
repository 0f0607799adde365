"""Certified inputs are the same everywhere; exploration draws from the same interface."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos_conformance.inputs import HypothesisDraw, KeyedDraw, pick, sequence, shuffled


def test_a_draw_equals_the_formula_worked_by_hand():
    key = hashlib.sha256(b"llmasos-draw/v1\x00suite\x00seed\x00case\x000").digest()
    first = hashlib.sha256(key + bytes(8)).digest()
    second = hashlib.sha256(key + (1).to_bytes(8, "big")).digest()
    words = [int.from_bytes(block[8 * i : 8 * i + 8], "big") for block in (first, second) for i in range(4)]
    due = [10 + (word * 91 >> 64) for word in words]
    assert KeyedDraw("suite", "seed", "case", 0).integers(8, 10, 100) == due


@pytest.mark.parametrize(
    "other",
    [("x", "seed", "case", 0), ("suite", "x", "case", 0), ("suite", "seed", "x", 0), ("suite", "seed", "case", 1)],
)
def test_suite_seed_case_and_example_each_change_the_inputs(other):
    assert KeyedDraw("suite", "seed", "case", 0).integers(8, 0, 2**32) != KeyedDraw(*other).integers(8, 0, 2**32)


def test_neighbouring_keys_are_not_confused_by_their_seams():
    assert KeyedDraw("a", "bc", "d", 0).integers(4, 0, 2**32) != KeyedDraw("ab", "c", "d", 0).integers(4, 0, 2**32)


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6), st.text(max_size=4))
def test_an_integer_stays_in_its_range(low, width, seed):
    assert low <= KeyedDraw("s", seed, "c", 0).integer(low, low + width) <= low + width


def test_small_ranges_are_filled_evenly():
    drawn = KeyedDraw("s", "0", "c", 0).integers(60_000, 0, 5)
    # 60,000 throws of a fair die: a count leaves 10,000 ± 6 sigma (548) with probability below 1e-8 for six faces.
    assert all(abs(drawn.count(face) - 10_000) < 548 for face in range(6))


@given(st.data())
def test_both_sources_serve_the_same_helpers(data):
    for draw in (HypothesisDraw(data), KeyedDraw("s", "0", "c", 0)):
        ids = sequence(draw, (2, 5), 7)
        assert 2 <= len(ids) <= 5
        assert all(0 <= token < 7 for token in ids)
        assert pick(draw, "abc") in "abc"
        assert sorted(shuffled(draw, range(6))) == list(range(6))
