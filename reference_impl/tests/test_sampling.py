"""Laws by hand, and draws by counting."""

from __future__ import annotations

import math

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


@given(logits=LOGITS, seed=st.integers(0, sampling.MAX_SEED), step=st.integers(0, 4096), top_k=st.integers(0, 5))
def test_a_draw_has_positive_probability(logits: np.ndarray, seed: int, step: int, top_k: int) -> None:
    p = law(logits, Sampler(top_k=top_k))
    assert p[draw(p, sampling.noise(seed, step, len(p)))] > 0


def test_the_id_of_the_largest_score_is_drawn_the_lowest_of_equals() -> None:
    p = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    lead = np.log(3.0)
    assert [draw(p, np.array([99.0, g, 99.0, 0.0, 99.0])) for g in (lead - 0.01, lead + 0.01, 40.0)] == [3, 1, 1]
    assert draw(np.array([0.5, 0.5]), np.zeros(2)) == 0


def test_draws_follow_the_law() -> None:
    p, n = np.array([0.1, 0.2, 0.3, 0.4]), 20_000
    for steps in ([(3, i) for i in range(n)], [(seed, 0) for seed in range(n)]):
        counts = np.bincount([draw(p, sampling.noise(seed, step, 4)) for seed, step in steps], minlength=4)
        chi_square = ((counts - n * p) ** 2 / (n * p)).sum()
        assert chi_square < 16.3  # the 0.999 quantile for three degrees of freedom; the stream is fixed


def plain_noise(seed: int, step: int, token: int) -> float:
    """The definition in plain integers."""

    def word(key: int, n: int) -> int:
        z = (key + (n + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    w = word(word(word(seed, 0), step), token)
    return -math.log(-math.log((2 * (w >> 12) + 1) / 2**53))


@given(seed=st.integers(0, sampling.MAX_SEED), step=st.integers(0, 2**40))
def test_noise_is_what_is_documented(seed: int, step: int) -> None:
    due = [plain_noise(seed, step, token) for token in range(9)]
    np.testing.assert_allclose(sampling.noise(seed, step, 9), due, rtol=1e-15, atol=1e-15)


def test_noise_does_not_depend_on_how_many_ids_there_are() -> None:
    assert sampling.noise(5, 3, 4).tolist() == sampling.noise(5, 3, 300)[:4].tolist()


@pytest.mark.parametrize(("bits", "due"), [(0, -3.60378), (2**52 - 1, 36.73680)])
def test_noise_is_finite_at_both_ends(bits: int, due: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "words", lambda *_: np.array([bits << 12], dtype=np.uint64))
    assert sampling.noise(0, 0, 1)[0] == pytest.approx(due, abs=1e-5)


def test_raw_log_probabilities() -> None:
    np.testing.assert_allclose(sampling.log_law(TENTHS.astype(np.float32)), TENTHS, rtol=1e-6)
    assert sampling.log_law(TENTHS.astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_law_without_finite_logits(value: float) -> None:
    with pytest.raises(Unsupported, match="not finite"):
        law(np.array([0.0, value]), Sampler())
