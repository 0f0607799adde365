"""Honest computations are equal, dishonest ones are not, and a failure says where and by how much."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos_conformance import numerics, protocol
from llmasos_conformance.checks.numerics import DECIMALS, judge_resolution
from llmasos_conformance.graphs.contract import WRITTEN
from llmasos_conformance.mutants.table import Workshop
from llmasos_conformance.numerics import (
    KAPPA_MAX,
    KAPPA_POSITION,
    KAPPA_RMS,
    compare,
    first_doubtful,
    honest_error,
    judge_logits,
    judge_logprobs,
    judge_rows,
    judge_same,
    log_softmax,
    margin,
    wrong_positions,
)
from llmasos_conformance.probes import Library
from llmasos_conformance.probes.given import LARGEST_VOCABULARY
from llmasos_conformance.protocol import BITS, DTYPES, Claims
from llmasos_conformance.reference import HONEST_ORDERS, Reference
from llmasos_conformance.verdict import State

T, V = 5, 40
Array = np.ndarray


def noise(seed: int, size: float = 1.0) -> Array:
    return np.random.default_rng(seed).standard_normal((T, V)) * size


TRUTH = noise(0, 2.5)
HONEST = [TRUTH + noise(seed, 1e-6) for seed in range(1, 5)]


def test_an_honest_computation_is_equal_and_its_ratio_is_near_one() -> None:
    finding = judge_logits("logits", TRUTH + noise(9, 1e-6), TRUTH, HONEST, "float32")
    assert finding.state is State.PASS
    assert finding.message == ""
    assert all(0.8 < finding.figures[name] < 1.2 for name in ("ratio", "position", "peak"))


def test_the_truth_itself_is_equal() -> None:
    assert judge_logits("logits", TRUTH, TRUTH, HONEST, "float32").figures == {"ratio": 0, "position": 0, "peak": 0}


def test_a_ratio_is_the_error_in_units_of_the_worst_honest_one() -> None:
    errors = [np.sqrt(np.mean((h - TRUTH) ** 2)) for h in HONEST]
    got = TRUTH + 3.0 * (HONEST[2] - TRUTH)
    assert compare(got, TRUTH, HONEST, "float32").ratio_rms == pytest.approx(3 * errors[2] / max(errors))


@pytest.mark.parametrize(
    ("bend", "figure"),
    [
        (lambda x: x + noise(9, 7e-6), "ratio"),
        (lambda x: x + np.eye(T, 1, -3) * noise(9, 1.2e-5), "position"),
        (lambda x: x + np.outer(np.eye(T)[3], np.eye(V)[17]) * 6e-5, "peak"),
    ],
    ids=["everywhere", "at one position", "at one logit"],
)
def test_each_rule_sees_what_the_others_dilute(bend: Callable[[Array], Array], figure: str) -> None:
    finding = judge_logits("logits", bend(TRUTH), TRUTH, HONEST, "float32")
    bounds = {"ratio": KAPPA_RMS, "position": KAPPA_POSITION, "peak": KAPPA_MAX}
    broken = {name for name, bound in bounds.items() if finding.figures[name] > bound["float32"]}
    assert figure in broken
    assert figure == "ratio" or "ratio" not in broken
    assert not finding.ok


def test_a_failure_names_position_values_error_and_bound() -> None:
    got = TRUTH.copy()
    got[3, 17] += 1e-3
    finding = judge_logits("logits", got, TRUTH, HONEST, "float32", row=2)
    assert finding.message.startswith(f"logits[2, 3, 17] is {got[3, 17]:.9g}, {TRUTH[3, 17]:.9g} was due: ")
    assert finding.message.endswith("x the honest float32 error at its largest, bound 12x")
    assert finding.got == f"{got[3, 17]:.9g}"
    assert finding.expected == f"{TRUTH[3, 17]:.9g}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_fails_and_is_located(value: float) -> None:
    got = TRUTH.copy()
    got[2, 7] = value
    finding = judge_logits("logits", got, TRUTH, HONEST, "float32")
    assert finding.message == f"logits[2, 7] is {value:.9g}, {TRUTH[2, 7]:.9g} was due"
    assert all(math.isfinite(figure) for figure in finding.figures.values())


def test_wrong_positions_are_those_beyond_a_bound_and_no_honest_one_is() -> None:
    got = TRUTH + noise(9, 1e-6)
    assert not wrong_positions(got, TRUTH, HONEST, "float32").any()
    got[2] += 2 * KAPPA_POSITION["float32"] * 1e-6  # all of a position
    got[3, 7] += 20 * KAPPA_MAX["float32"] * 1e-6  # one logit of it
    got[4, 0] = math.nan
    assert wrong_positions(got, TRUTH, HONEST, "float32").tolist() == [False, False, True, True, True]


def test_no_position_is_wrong_where_the_truth_is_infinite_in_the_same_way() -> None:
    truth = TRUTH.copy()
    truth[1, 1] = -math.inf
    honest = [truth + noise(seed, 1e-6) for seed in range(1, 5)]
    assert not wrong_positions(truth, truth, honest, "float32").any()
    assert wrong_positions(TRUTH, truth, honest, "float32").tolist() == [False, True, False, False, False]


def test_what_is_not_finite_passes_where_the_truth_is_not_finite_either() -> None:
    truth, got = TRUTH.copy(), HONEST[0].copy()
    truth[2, 7] = got[2, 7] = -math.inf
    truth[3, 1] = got[3, 1] = math.nan
    assert judge_logits("logits", got, truth, HONEST, "float32").ok
    got[2, 7] = math.inf
    assert "logits[2, 7] is inf, -inf was due" in judge_logits("logits", got, truth, HONEST, "float32").message
    got[2, 7] = 0.0
    assert not judge_logits("logits", got, truth, HONEST, "float32").ok


@pytest.mark.parametrize("shape", [(T, V - 1), (T + 1, V), (V,), (1, T, V)])
def test_another_shape_fails(shape: tuple[int, ...]) -> None:
    finding = judge_logits("logits", np.zeros(shape), TRUTH, HONEST, "float32", row=1)
    assert finding.message == f"logits[1] has shape {list(shape)}, [5, 40] was due"


def test_the_worst_row_of_a_batch_speaks_and_figures_are_the_largest() -> None:
    worse, bad = TRUTH + noise(5, 1e-3), TRUTH + noise(6, 1e-4)
    finding = judge_rows("logits", [HONEST[0], bad, worse], [TRUTH] * 3, [HONEST] * 3, "float32")
    assert finding.message.startswith("logits[2, ")
    assert finding.figures["ratio"] == compare(worse, TRUTH, HONEST).ratio_rms


def test_a_missing_row_fails() -> None:
    assert judge_rows("logits", [TRUTH], [TRUTH] * 2, [HONEST] * 2, "float32").message == (
        "logits: 1 rows came, 2 were due"
    )


def test_a_row_that_is_not_finite_speaks_before_one_that_is_only_wrong() -> None:
    finding = judge_rows("logits", [TRUTH + 1, TRUTH * math.nan], [TRUTH] * 2, [HONEST] * 2, "float32")
    assert finding.message == f"logits[1, 0, 0] is nan, {TRUTH[0, 0]:.9g} was due; 200 of 200 values are like it"


def test_two_answers_may_differ_by_root_two_of_what_each_may_err() -> None:
    one = TRUTH + 5.9 * (HONEST[0] - TRUTH)
    other = TRUTH - 2.0 * (HONEST[0] - TRUTH)
    same = judge_same("logits", one, other, TRUTH, HONEST, "float32")
    assert same.ok
    assert same.figures["ratio"] == pytest.approx(7.9 / 5.9 / math.sqrt(2) * compare(one, TRUTH, HONEST).ratio_rms)
    apart = judge_same("logits", TRUTH + 0.1, TRUTH, TRUTH, HONEST, "float32")
    assert "came the other way" in apart.message


@pytest.mark.parametrize("coarse", [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)])
def test_a_failure_says_when_the_values_came_in_a_coarser_dtype_than_is_claimed(coarse: np.dtype) -> None:
    said = f"; the logits came as {coarse.name}, float32 is claimed"
    got = TRUTH.astype(coarse)
    assert judge_logits("logits", got, TRUTH, HONEST, "float32").message.endswith(said)
    assert judge_same("logits", got, TRUTH, TRUTH, HONEST, "float32").message.endswith(said)
    got[2, 7] = math.inf  # what a coarse dtype makes of a large value
    assert judge_logits("logits", got, TRUTH, HONEST, "float32").message.endswith(said)


def test_a_failure_says_nothing_of_a_dtype_that_is_fine_enough() -> None:
    for dtype in (np.float32, np.float64):
        assert "claimed" not in judge_logits("logits", (TRUTH + 1).astype(dtype), TRUTH, HONEST, "float32").message
    exact = [TRUTH.astype(np.float16).astype(float)] * 2
    assert judge_logits("logits", TRUTH.astype(np.float16), exact[0], exact[1:], "float32").message == ""


def test_the_floor_keeps_exact_baselines_from_asking_for_exactness() -> None:
    scale = float(np.std(TRUTH))
    got = TRUTH + noise(1, 4 * numerics.UNIT_ROUNDOFF["float32"] * scale) / np.std(noise(1))
    assert judge_logits("logits", got, TRUTH, [TRUTH], "float32").ok
    assert not judge_logits("logits", TRUTH + 2 * (got - TRUTH), TRUTH, [TRUTH], "float32").ok


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_a_row_without_spread_is_measured_by_its_magnitude(value: float) -> None:
    truth = np.full((2, 4), value)
    scale = value or 1.0
    assert honest_error(truth, [truth], "float32").scale == scale
    assert judge_logits("logits", truth, truth, [truth], "float32").ok
    assert not judge_logits("logits", truth + 1e-6 * scale, truth, [truth], "float32").ok


def test_the_scale_of_the_logits_does_not_matter() -> None:
    got = TRUTH + noise(9, 3e-6)
    small = compare(got / 1024, TRUTH / 1024, [h / 1024 for h in HONEST])
    assert small.ratio_rms == pytest.approx(compare(got, TRUTH, HONEST).ratio_rms)


def test_float64_is_judged_by_its_own_error() -> None:
    honest = [TRUTH + noise(seed, 2e-15) for seed in range(4)]
    assert judge_logits("logits", TRUTH + noise(9, 2e-15), TRUTH, honest, "float64").ok
    assert not judge_logits("logits", TRUTH.astype(np.float32), TRUTH, honest, "float64").ok


def test_a_probe_that_overflows_the_claimed_dtype_judges_nobody() -> None:
    with pytest.raises(ValueError, match="not finite where the truth is"):
        judge_logits("logits", TRUTH, TRUTH, [TRUTH * math.inf], "float32")
    with pytest.raises(ValueError, match="no honest computation"):
        judge_logits("logits", TRUTH, TRUTH, [], "float32")
    with pytest.raises(ValueError, match="has shape"):
        judge_logits("logits", TRUTH, TRUTH, [TRUTH[:2]], "float32")


@given(st.integers(0, 2**32), st.floats(0, 100))
def test_larger_errors_never_look_smaller(seed: int, factor: float) -> None:
    error = noise(seed, 1e-6)
    near, far = (compare(TRUTH + f * error, TRUTH, HONEST) for f in (factor, 2 * factor + 1))
    assert far.ratio_rms > near.ratio_rms
    assert far.ratio_max > near.ratio_max


def test_log_softmax_is_a_law_and_survives_large_logits() -> None:
    law = log_softmax(TRUTH * 1000)
    assert np.exp(law).sum(axis=-1) == pytest.approx(np.ones(T))
    assert log_softmax(TRUTH) == pytest.approx(TRUTH - np.log(np.exp(TRUTH).sum(axis=-1, keepdims=True)))


def test_log_probabilities_pass_if_honest_and_fail_if_shifted() -> None:
    law = log_softmax(HONEST[1])
    named = [{int(token): float(law[t, token]) for token in (3, 17)} for t in range(T)]
    assert judge_logprobs("score", [{}, *named[1:]], TRUTH, HONEST, "float32").ok
    named[2][17] += 1e-3
    finding = judge_logprobs("score", named, TRUTH, HONEST, "float32")
    assert finding.message.startswith(f"score[2, 17] is {named[2][17]:.9g}, ")
    assert "off by 0.001" in finding.message
    assert finding.figures["peak"] > 12


def test_a_logit_is_no_log_probability() -> None:
    assert not judge_logprobs("score", [{1: TRUTH[0, 1]}] + [{}] * (T - 1), TRUTH, HONEST, "float32").ok


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({1: None}, "score[0, 1] is None"),
        ({1: math.nan}, "score[0, 1] is nan"),
        ({1: -math.inf}, "score[0, 1] is -inf"),
        ({V: -1.0}, "score[0] names id 40, outside the vocabulary"),
        ({-1: -1.0}, "score[0] names id -1"),
    ],
)
def test_an_odd_log_probability_fails(named: dict[int, float | None], message: str) -> None:
    assert judge_logprobs("score", [named] + [{}] * (T - 1), TRUTH, HONEST, "float32").message.startswith(message)


def test_missing_positions_of_log_probabilities_fail() -> None:
    assert judge_logprobs("score", [{}], TRUTH, HONEST, "float32").message == "score: 1 positions came, 5 were due"


def test_no_equal_candidate_can_turn_around_a_gap_above_the_margin() -> None:
    gap = margin(TRUTH, HONEST, "float32")
    worst_error = max(float(np.abs(h - TRUTH).max()) for h in HONEST)
    assert gap == pytest.approx(2 * KAPPA_MAX["float32"] * worst_error)


def test_a_near_tie_is_doubtful_and_a_clear_choice_is_not() -> None:
    truth = np.tile(np.linspace(0, 5, V), (T, 1))
    honest = [truth + noise(1, 1e-6)]
    assert first_doubtful(truth, honest, "float32") is None
    truth[3, V - 2] = truth[3, V - 1] - 1e-6
    honest = [truth + noise(1, 1e-6)]
    assert first_doubtful(truth, honest, "float32") == 3
    allowed = np.arange(V) != V - 2
    assert first_doubtful(truth, honest, "float32", allowed=allowed) is None
    assert first_doubtful(truth, honest, "float32", allowed=np.arange(V) == 0) is None


def test_every_dtype_that_can_be_claimed_has_its_constants() -> None:
    tables = (KAPPA_RMS, KAPPA_POSITION, KAPPA_MAX, numerics.UNIT_ROUNDOFF, protocol.LARGEST, HONEST_ORDERS, WRITTEN)
    for table in (*tables, BITS, DECIMALS, LARGEST_VOCABULARY):
        assert set(table) == set(DTYPES)


@pytest.mark.parametrize("dtype", protocol.HALF)
def test_honest_half_precision_stays_below_half_of_each_bound_and_what_is_coarser_does_not(
    dtype: str, tmp_path: Path
) -> None:
    llmasos = pytest.importorskip("llmasos")
    library = Library(tmp_path, "numerics")
    for name in ("plain", "hot-attention", "near-constant", "overflow", "bert-plain", "llama-plain"):
        path = library.get(name).path
        ids = [[(19 * i + 5) % 250 for i in range(16)]]
        truth = llmasos.load_model(path).forward(ids)[0]
        run = {
            order: llmasos.load_model(path, dtype=dtype, order=order).forward(ids)[0]
            for order in (*HONEST_ORDERS[dtype], "reversed")
        }
        held_out = run.pop("reversed")
        honest = list(run.values())
        found = compare(held_out, truth, honest, dtype)
        assert all(ratio <= bound / 2 for ratio, bound, _ in found.rules), (name, found)
        step = 2.0**-2 if dtype == "bfloat16" else 2.0**-5  # of the spread
        coarse = truth + step * truth.std() * np.random.default_rng(1).standard_normal(truth.shape)
        if name != "overflow":
            assert not judge_logits("logits", coarse, truth, honest, dtype).ok, name


@pytest.mark.parametrize("V", [257, 50_000])
def test_log_probabilities_of_bfloat16_are_held_to_the_rounding_of_their_logits(V: int) -> None:
    truth = np.random.default_rng(2).standard_normal((1, V)) * 2.5
    honest = [truth.astype("bfloat16").astype(np.float64)]
    law = log_softmax(truth)[0]

    def judged(change: Any) -> bool:
        return judge_logprobs("l", [{0: float(change(law)[0]), 1: float(change(law)[1])}], truth, honest, "bfloat16").ok

    assert judged(lambda law: law.astype("bfloat16"))
    assert not judged(lambda law: law - 2.0)


@pytest.mark.parametrize(("dtype", "coarser"), [("float16", "bfloat16"), ("float32", "float16"), ("bfloat16", "")])
def test_logits_of_a_coarser_dtype_are_seen_and_those_of_the_claimed_one_are_not(dtype: str, coarser: str) -> None:
    values = np.random.default_rng(3).standard_normal((8, 200))
    reference = Reference(Claims(dtype=dtype), None, {}, None)  # type: ignore[arg-type]

    def judged(kind: str) -> Any:
        logits = values.astype(kind).astype(np.float32)
        return judge_resolution({"probe": "p"}, {"logits": logits}, reference)

    assert judged(dtype).ok
    assert not coarser or not judged(coarser).ok
    rounded = {"logits": np.round(values, DECIMALS[dtype]).astype(dtype).astype(np.float32)}
    assert not judge_resolution({"probe": "p"}, rounded, reference).ok


def test_honest_orders_stay_below_half_of_each_bound_on_real_models(tmp_path: object) -> None:
    llmasos = pytest.importorskip("llmasos")
    library = Library(Path(str(tmp_path)), "numerics")
    for name in ("plain", "hot-attention", "near-constant", "overflow"):
        path = library.get(name).path
        ids = [[(19 * i + 5) % 250 for i in range(16)]]
        truth = llmasos.load_model(path).forward(ids)[0]
        run = {
            order: llmasos.load_model(path, dtype="float32", order=order).forward(ids)[0]
            for order in ("plain", "sequential", "split-k", "online", "reversed")
        }
        held_out = run.pop("reversed")
        found = compare(held_out, truth, list(run.values()))
        assert all(ratio <= bound / 2 for ratio, bound, _ in found.rules), name
        if name == "overflow":  # its scores of 1e4 cost float32 as much as half precision costs the logits
            continue
        rounded = truth.astype(np.float16).astype(np.float32)
        assert not judge_logits("logits", rounded, truth, list(run.values()), "float32").ok


def test_eight_orders_are_rarely_lucky_all_at_once() -> None:
    # Where one direction makes the error of a row, errors are |g| of a Gaussian g, and a right candidate's exceeds six
    # times the largest of n others with this probability: the figures that `llmasos.orders` gives.
    def exceeds(n: int) -> float:
        g = np.linspace(0, 40, 400_001)
        below = np.array([math.erf(x / (6 * math.sqrt(2))) for x in g]) ** n
        density = math.sqrt(2 / math.pi) * np.exp(-g * g / 2)
        return float(np.trapezoid(density * below, g))

    assert exceeds(4) == pytest.approx(1 / 1200, rel=0.1)
    assert exceeds(8) == pytest.approx(1 / 130_000, rel=0.1)


def test_a_row_whose_error_has_one_direction_fails_nobody(tmp_path: Path) -> None:
    # By four orders it held contractions from the last term to 0.51 of their bound; see docs/numerics.md.
    shop = Workshop(tmp_path, ("transformer.format.positions",), seed="3", lean=True)
    assert 0.2 < shop.row("honest", "trf-reversed").share < 0.4


def test_the_last_digit_of_an_outlier_is_not_asked_where_every_baseline_is_exact() -> None:
    truth = np.zeros((4, 263))
    truth[:, 47] = 64.0
    exact = truth.astype(np.float32)
    beside = exact.copy()
    beside[:, 47] = np.nextafter(np.float32(64), np.float32(65))
    assert judge_logits("logits", beside, truth, [exact], "float32").state is State.PASS
    said = numerics.judge_logprobs("logprobs", [{3: -64.0 + 2.0**-17}] * 4, truth, [exact], "float32")
    assert said.state is State.PASS, said.message
    beside[1, 47] = 64 + 2**-14
    assert judge_logits("logits", beside, truth, [exact], "float32").state is State.FAIL
