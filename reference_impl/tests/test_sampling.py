"""Laws by hand, and draws by counting."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos import counter, sampling
from llmasos.errors import Unsupported
from llmasos.sampling import Sampler, draw, law

TENTHS = np.log([0.1, 0.4, 0.2, 0.3])
LOGITS = st.lists(st.floats(-30, 30), min_size=1, max_size=12).map(np.array)


def assert_law(found: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=0)


def test_the_default_changes_nothing() -> None:
    assert_law(law(TENTHS, Sampler()), [0.1, 0.4, 0.2, 0.3])


def test_temperature_divides_the_logits() -> None:
    squares = np.array([1.0, 16, 4, 9])
    assert_law(law(TENTHS, Sampler(temperature=0.5)), list(squares / 30))


def test_temperature_zero_is_the_first_of_the_largest() -> None:
    assert law(np.array([1.0, 3.0, 3.0, 2.0]), Sampler(temperature=0)).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e300])
def test_extreme_temperatures_stay_laws(temperature: float) -> None:
    p = law(np.array([0.0, 700.0, -700.0]), Sampler(temperature=temperature))
    assert abs(p.sum() - 1) < 1e-15
    assert (p[1] == 1) == (temperature < 1)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (Sampler(top_k=2), [0, 4 / 7, 0, 3 / 7]),
        (Sampler(top_k=4), [0.1, 0.4, 0.2, 0.3]),
        (Sampler(top_k=99), [0.1, 0.4, 0.2, 0.3]),
        (Sampler(top_p=0.39), [0, 1, 0, 0]),
        (Sampler(top_p=0.41), [0, 4 / 7, 0, 3 / 7]),
        (Sampler(top_p=0.75), [0, 4 / 9, 2 / 9, 3 / 9]),
        (Sampler(top_p=1e-9), [0, 1, 0, 0]),
        (Sampler(min_p=0.6), [0, 4 / 7, 0, 3 / 7]),
        (Sampler(min_p=1), [0, 1, 0, 0]),
        (Sampler(top_k=3, top_p=0.5), [0, 4 / 7, 0, 3 / 7]),  # after top-k the first has 4/9, below one half
        (Sampler(temperature=0.5, top_p=0.6), [0, 16 / 25, 0, 9 / 25]),  # 16/30 alone is below 0.6
        (Sampler(logit_bias={0: np.log(4.0)}, top_k=1), [1, 0, 0, 0]),  # 0.4 twice: the lower id
    ],
)
def test_filters(sampler: Sampler, expected: list[float]) -> None:
    assert_law(law(TENTHS, sampler), expected)


def test_the_crossing_token_is_kept_when_the_mass_is_met_exactly() -> None:
    quarters = np.zeros(4)
    assert law(quarters, Sampler(top_p=0.5)).tolist() == [0.5, 0.5, 0, 0]
    assert law(quarters, Sampler(top_k=3)).tolist() == [1 / 3, 1 / 3, 1 / 3, 0]


LEVELS = np.array([2.0, -1.0, 0.0, 3.0])


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (Sampler(repetition_penalty=2), [1, -2, 0, 3]),
        (Sampler(repetition_penalty=0.5), [4, -0.5, 0, 3]),
        (Sampler(frequency_penalty=0.25), [2, -1.5, -0.25, 3]),
        (Sampler(presence_penalty=0.25), [2, -1.25, -0.25, 3]),
        (Sampler(repetition_penalty=2, frequency_penalty=0.5, presence_penalty=1), [1, -4, -1.5, 3]),
        (Sampler(repetition_penalty=2, logit_bias={1: 3.0, 0: -3.0}), [-2, 1, 0, 3]),  # the bias comes first
        (Sampler(repetition_penalty=2, presence_penalty=1, temperature=0.5), [2, -6, -2, 6]),  # and temperature last
    ],
)
def test_penalties_shape_the_logits_of_what_came(sampler: Sampler, expected: list[float]) -> None:
    past = sampling.Past(given=[0, 0], chosen=[1, 2, 1])
    weights = np.exp(np.array(expected))
    assert_law(law(LEVELS, sampler, None, past), list(weights / weights.sum()))


def test_without_a_past_penalties_change_nothing() -> None:
    sampler = Sampler(repetition_penalty=2, frequency_penalty=1, presence_penalty=1)
    assert np.array_equal(law(LEVELS, sampler), law(LEVELS, Sampler()))


def test_masked_ids_are_gone_before_anything_else() -> None:
    allowed = np.array([True, False, True, False])
    assert_law(law(TENTHS, Sampler(top_k=2), allowed), [1 / 3, 0, 2 / 3, 0])
    assert law(TENTHS, Sampler(temperature=0), allowed).tolist() == [0, 0, 1, 0]


@given(
    logits=LOGITS,
    temperature=st.floats(0.05, 5) | st.just(0.0),
    top_k=st.integers(0, 13),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
)
def test_every_law_is_a_law_and_keeps_the_likeliest(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    p = law(logits, sampler)
    assert abs(p.sum() - 1) < 1e-14
    assert p[np.argmax(logits)] == p.max() > 0
    if top_k:
        assert np.count_nonzero(p) <= top_k


@given(logits=LOGITS, u=st.floats(0, 1, exclude_max=True), top_k=st.integers(0, 5))
def test_a_draw_has_positive_probability(logits: np.ndarray, u: float, top_k: int) -> None:
    p = law(logits, Sampler(top_k=top_k))
    assert p[draw(p, u)] > 0
    assert p[draw(p, 1 - 2**-53)] > 0


def test_draws_by_inverse_distribution() -> None:
    p = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    assert [draw(p, u) for u in (0.0, 0.2499, 0.25, 0.9999)] == [1, 1, 3, 3]


def test_draws_follow_the_law() -> None:
    p, key, n = np.array([0.1, 0.2, 0.3, 0.4]), sampling.stream_key(3), 20_000
    counts = np.bincount([draw(p, counter.uniform(key, i)) for i in range(n)], minlength=4)
    chi_square = ((counts - n * p) ** 2 / (n * p)).sum()
    assert chi_square < 16.3  # the 0.999 quantile for three degrees of freedom; the stream is fixed


def test_the_stream_is_keyed_by_the_seed_as_documented() -> None:
    assert sampling.stream_key(7) == int.from_bytes(hashlib.sha256(b"llmasos-sample/v1\x007").digest()[:8], "big")


def test_raw_log_probabilities() -> None:
    np.testing.assert_allclose(sampling.log_law(TENTHS.astype(np.float32)), TENTHS, rtol=1e-6)
    assert sampling.log_law(TENTHS.astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_law_without_finite_logits(value: float) -> None:
    with pytest.raises(Unsupported, match="not finite"):
        law(np.array([0.0, value]), Sampler())
