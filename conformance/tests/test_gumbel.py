"""Sampling that can be compared: the noise, what a filter's border leaves open, and what checks make of it."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos import sampling
from llmasos_conformance import adapters, checks, engine, gumbel, reference, suite
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.mutants import honest
from llmasos_conformance.mutants.drawing import Drawing
from llmasos_conformance.mutants.runtime import Serving
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import Claims, Generation
from llmasos_conformance.verdict import State

PAGE = (Path(__file__).parents[2] / "docs" / "gumbel.md").read_text(encoding="utf-8")
LEVELS = np.array([2.0, 1.5, 1.0, -1.0])

# ── the noise ──


@pytest.mark.parametrize(
    ("key", "due"),
    [
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]),
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423]),
    ],
)
def test_words_are_the_published_outputs_of_splitmix64(key, due):
    assert gumbel.words(np.array([key], np.uint64), np.arange(3, dtype=np.uint64)).tolist() == due


def rows(heading):
    """The cells of the table under a heading of the page."""
    lines = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \d", line)]


def test_the_page_tells_the_noise_of_every_vector():
    table = rows("Vectors")
    assert len(table) >= 8
    for seed, step, token, *keys, word, g in table:
        state = np.array([int(seed)], np.uint64)
        for n, due in zip((0, int(step), int(token)), (*keys, word), strict=True):
            state = gumbel.words(state, np.array([int(n)], np.uint64))
            assert f"{int(state[0]):016x}" == due
        assert gumbel.noise(int(seed), int(step), int(token) + 1)[-1] == pytest.approx(float(g), abs=1e-12)


def test_the_page_s_example_is_what_the_reference_samples():
    table = rows("An example")
    assert len(table) == 6
    columns = {1: {"temperature": 1.0}, 2: {"temperature": 2.0}, 3: {"temperature": 2.0, "top_k": 2}}
    for step, *cells in table:
        noise = sampling.noise(14, int(step), 101)
        assert [float(number) for number in cells[0].split()] == pytest.approx(noise[97:], abs=5e-5)
        for place, options in columns.items():
            logits = np.full(101, -100.0)
            logits[97:] = LEVELS
            chosen = sampling.choose(logits, sampling.Sampler(**options), None, lambda g=noise: g)
            assert chr(chosen) == cells[place]


@given(words=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40))
def test_noise_in_float32_costs_less_than_half_of_what_is_allowed(words):
    bits = np.array([0, 2**64 - 1, *words], np.uint64)
    u = ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    due = -np.log(-np.log(u))
    error = np.abs(object.__new__(Drawing).gumbel(bits) - due)
    assert np.all(error <= 0.5 * gumbel.ROUNDINGS * gumbel.SINGLE * (1 + np.abs(due)))
    assert np.all((due > gumbel.FAR - 45.7) & (due < gumbel.FAR))


# ── what is shaped and kept ──


@pytest.mark.parametrize(
    ("options", "due"),
    [
        ({}, [2, -1, 0, 3]),
        ({"logit_bias": {"1": 3.0, "0": -3.0}}, [-1, 2, 0, 3]),
        ({"repetition_penalty": 2.0}, [1, -2, 0, 3]),
        ({"frequency_penalty": 0.25, "presence_penalty": 0.5}, [2, -2, -0.75, 3]),
        ({"repetition_penalty": 2.0, "logit_bias": {"1": 3.0}, "presence_penalty": 0.5}, [1, 0.5, -0.5, 3]),
    ],
)
def test_logits_are_shaped_as_worked_out_by_hand(options, due):
    found = gumbel.shaped(np.array([2.0, -1.0, 0.0, 3.0]), options, [0, 0], [1, 2, 1])
    assert found.tolist() == due


LAW = np.log([0.05, 0.4, 0.1, 0.25, 0.2])


@pytest.mark.parametrize(
    ("options", "due"),
    [
        ({}, "11111"), ({"top_k": 2}, "01010"), ({"top_k": 0}, "11111"), ({"top_k": 99}, "11111"),
        ({"top_p": 0.6}, "01010"), ({"top_p": 0.7}, "01011"), ({"top_p": 0.1}, "01000"), ({"top_p": 1.0}, "11111"),
        ({"min_p": 0.45}, "01011"), ({"top_k": 3, "top_p": 0.75}, "01010"), ({"top_k": 3, "top_p": 0.77}, "01011"),
        ({"top_k": 4, "min_p": 0.3}, "01011"),
    ],
)  # fmt: skip
def test_far_from_a_border_what_is_kept_is_certain(options, due):
    surely, possibly = gumbel.kept(LAW, 1e-3, options)
    assert "".join(map(str, surely.astype(int))) == due
    assert np.array_equal(surely, possibly)


@pytest.mark.parametrize(
    ("weights", "options", "surely", "possibly"),
    [
        ([3, 3, 2, 2], {"top_k": 1}, "0000", "1100"),  # the two likeliest may come in either order
        ([3, 3, 2, 2], {"top_k": 2}, "1100", "1100"),
        ([3, 3, 2, 2], {"top_k": 3}, "1100", "1111"),
        ([5, 3, 1, 1], {"top_p": 0.5}, "1000", "1100"),  # the first reaches it, or does not quite
        ([5, 3, 1, 1], {"top_p": 0.49}, "1000", "1000"),
        ([3, 3, 2, 2], {"top_p": 0.29}, "0000", "1100"),
        ([3, 3, 2, 2], {"top_p": 0.31}, "1100", "1100"),
        ([4, 2, 1, 1], {"min_p": 0.5}, "1000", "1100"),
        ([3, 3, 2, 2], {"min_p": 1.0}, "0000", "1100"),
        (
            [4, 2, 2, 1],
            {"top_k": 2, "top_p": 0.9},
            "1000",
            "1110",
        ),  # whichever of two is left
    ],
)
def test_at_a_border_both_ways_are_left_open(weights, options, surely, possibly):
    found = gumbel.kept(np.log(np.array(weights) / sum(weights)), 1e-4, options)
    assert tuple("".join(map(str, mask.astype(int))) for mask in found) == (surely, possibly)


@settings(max_examples=300, deadline=None)
@given(
    levels=st.lists(st.integers(-12, 12), min_size=2, max_size=8),
    jitter=st.lists(st.floats(-1, 1), min_size=8, max_size=8),
    t=st.sampled_from([1e-9, 1e-3, 0.2]),
    top_k=st.integers(0, 9),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_whoever_errs_no_more_than_allowed_keeps_what_is_sure_and_nothing_that_is_impossible(
    levels, jitter, t, top_k, top_p, min_p
):
    a = np.array(levels) / 3
    options = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    surely, possibly = gumbel.kept(a, t, options)
    kept = sampling.law(a + t * np.array(jitter[: len(a)]), sampling.Sampler(**options)) > 0
    assert not np.any(surely & ~kept)
    assert not np.any(kept & ~possibly)


def filtered_in_float32(z, temperature, top_k, top_p, min_p):
    """The three filters as Hugging Face has them: sums from the least likely up, in float32, the rest at -inf."""
    z = z.astype(np.float32) / np.float32(temperature)
    if top_k:
        z = np.where(z < np.sort(z)[::-1][min(top_k, len(z)) - 1], np.float32(-np.inf), z)

    def softmax(z):
        e = np.exp(z - z.max())
        return e / np.cumsum(e, dtype=np.float32)[-1]

    if top_p < 1:
        order = np.argsort(z, kind="stable")
        gone = np.cumsum(softmax(z)[order], dtype=np.float32) <= np.float32(1 - top_p)
        gone[-1] = False
        z[order[gone]] = -np.inf
    p = softmax(z)
    return (p >= np.float32(min_p) * p.max()) & (p > 0)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    V=st.sampled_from([5, 61, 263]),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 7, 40]),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.02, 0.3]),
)
def test_filters_in_float32_keep_what_is_sure_and_nothing_that_is_impossible(seed, V, temperature, top_k, top_p, min_p):
    z = np.random.default_rng(seed).normal(0, 2.5, V)
    t = gumbel.ROUNDINGS * gumbel.SINGLE * np.abs(z).max() / temperature
    options = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    surely, possibly = gumbel.kept(z / temperature, t, options)
    kept = filtered_in_float32(z, temperature, top_k, top_p, min_p)
    assert not np.any(surely & ~kept)
    assert not np.any(kept & ~possibly)
    assert np.sum(possibly & ~surely) <= 2  # and hardly anything is left open


def step(scores, errors=0.1, surely=None, possibly=None):
    kinds = [np.ones(len(scores), bool) if kind is None else np.array(kind) for kind in (surely, possibly)]
    errors = np.full(len(scores), errors)
    return gumbel.Step(scores=np.array(scores), errors=errors, surely=kinds[0], possibly=kinds[1])


def test_an_id_is_right_within_the_errors_of_both_and_no_further():
    found = step([3.0, 2.81, 2.79, 0.0])
    assert found.right.tolist() == [True, True, False, False]
    assert found.due == 0
    assert found.lag(1) == pytest.approx(0.95)
    assert found.lag(0) == 0


def test_an_id_that_may_have_been_removed_need_not_be_beaten_and_one_that_must_be_is_never_right():
    found = step([3.0, 1.0, 5.0], surely=[False, True, False], possibly=[True, True, False])
    assert found.right.tolist() == [True, True, False]
    assert found.due == 1
    nothing = step([3.0, 1.0], surely=[False, False])
    assert nothing.right.all()
    assert nothing.due == 0
    assert nothing.lag(1) == 0


def test_errors_grow_with_the_penalty_and_shrink_with_the_temperature():
    truth = np.array([[0.0, 1.0, 2.0]])
    honest = [truth + 1e-3]
    errors = {
        name: gumbel.steps(truth, honest, "float32", options, 1, [0], [2])[0].errors[0]
        for name, options in {"": {}, "r": {"repetition_penalty": 2.0}, "T": {"temperature": 2.0}}.items()
    }
    assert errors[""] == pytest.approx(12e-3, rel=1e-3)
    assert errors["r"] == pytest.approx(2 * errors[""], rel=1e-3)
    assert errors["T"] == pytest.approx(errors[""] / 2, rel=1e-3)


def test_an_id_that_cannot_come_does_not_widen_the_bound():
    truth, off = np.array([[0.0, 1.0, -100.0]]), np.array([[1e-6, 1e-6, 5.0]])
    (found,) = gumbel.steps(truth, [truth + off], "float32", {"temperature": 1.0}, 1, [0], [1])
    assert found.errors.max() < 1e-3


# ── checks ──


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    root = tmp_path_factory.mktemp("probes")
    installed = suite.load(checks=checks.registry())
    probes, library = Library(root / "candidate", "5"), Library(root / "reference", "5")
    connected = reference.connect(Claims(), library, adapters.connect)

    def make(adapter):
        link = Live(adapters.inprocess.InProcess(adapter))
        return engine.Bench(
            installed, checks.registry(), Candidate(link, adapter.describe(), probes), connected, "5"
        )  # fmt: skip

    return make


class Noisy(Drawing, honest.Split):
    """An honest order with the standard's noise."""


class Spoilt:
    """That one, whose answers are changed on their way."""

    def __init__(self, method, change):
        self.inner, self.method, self.change = Serving(Noisy, "spoilt"), method, change

    def describe(self):
        return self.inner.describe()

    def load_model(self, path):
        model = self.inner.load_model(path)
        whole = getattr(model, self.method)
        setattr(model, self.method, lambda *args, **options: self.change(whole(*args, **options)))
        return model


def outcome(bench, case):
    return engine.run_case(bench, bench.suite.cases[case]).outcome


@pytest.mark.parametrize(
    "case", ["gumbel.seeds.ids", "gumbel.penalties", "gumbel.batch.ends", "gumbel.stream.stop", "gumbel.far.comes"]
)
def test_an_honest_order_passes_with_next_to_nothing_of_its_bound(bench, case):
    found = outcome(bench(Serving(Noisy, "noisy")), case)
    assert found.state is State.PASS, found.message
    assert found.figures["lag"] < 0.3


def with_ids(change):
    def changed(made):
        return Generation(finish_reason="length", ids=change(list(made.ids)))

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: [ids[0], (ids[1] + 1) % 263, *ids[2:]], r"ids\[1\] is \d+, \d+ was due: its score"),
        (lambda ids: ids[:-1], "ids has 15 ids, 16 were due"),
        (lambda ids: [], "ids has 0 ids, 16 were due"),
        (lambda ids: [263, *ids[1:]], r"ids\[0\] is 263, ids end at 262"),
    ],
)
def test_one_wrong_id_or_a_missing_one_fails(bench, change, message):
    found = outcome(bench(Spoilt("generate_ids", with_ids(change))), "gumbel.seeds.ids")
    assert found.state is State.FAIL
    assert re.search(message, found.message)
    assert "seed" in found.message


def test_an_id_that_a_filter_removes_fails_and_the_message_says_so(bench):
    found = outcome(bench(Spoilt("generate_ids", with_ids(lambda ids: [7, *ids[1:]]))), "gumbel.top-k")
    assert found.state is State.FAIL
    assert re.search(
        r"ids\[0\] is 7, which the options rule out; \d+ was due \(temperature 2.0, top_k 6", found.message
    )


def test_a_batch_with_too_few_rows_or_two_that_are_swapped_fails(bench):
    short = outcome(bench(Spoilt("generate_batch", lambda made: made[:-1])), "gumbel.batch")
    assert short.state is State.FAIL
    swapped = outcome(bench(Spoilt("generate_batch", lambda made: [made[1], made[0], *made[2:]])), "gumbel.batch")
    assert swapped.state is State.FAIL
    assert "row 0: ids[" in swapped.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[1:] + text[:1], r"bytes\[\d+\] is \d+, \d+ was due"),
        (lambda text: text[:-1], "bytes has 31 ids, 32 were due"),
        (lambda text: "é" + text[2:], r"bytes\[0\] is 195, which|bytes\[0\] is 195, \d+ was due"),
    ],
)
def test_a_wrong_letter_of_a_text_fails(bench, change, message):
    def changed(made):
        return Generation(finish_reason=made.finish_reason, text=change(made.text))

    found = outcome(bench(Spoilt("generate_text", changed)), "gumbel.seeds.any")
    assert found.state is State.FAIL
    assert re.search(message, found.message)


def test_a_stop_string_counts_as_sampled(bench):
    def ended(made):
        return Generation(finish_reason="stop", text=made.text[:3])

    found = outcome(bench(Spoilt("generate_text", ended)), "gumbel.stop")
    assert found.state is State.FAIL
    assert "bytes[" in found.message
