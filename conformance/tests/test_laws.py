"""Laws of samplers: the rules, the sequential test and its two error rates, and what a check makes of them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.sampling import Sampler, law
from llmasos_conformance import checks, laws, suite
from llmasos_conformance.checks import sampling
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.laws import Decision
from llmasos_conformance.verdict import State

P = np.array([0.05, 0.4, 0.1, 0.25, 0.2])


# ── laws, worked by hand ──


@pytest.mark.parametrize(
    ("options", "due"),
    [
        ({}, [0.05, 0.4, 0.1, 0.25, 0.2]),
        ({"temperature": 0.5}, [0.0025 / 0.275, 0.16 / 0.275, 0.01 / 0.275, 0.0625 / 0.275, 0.04 / 0.275]),
        ({"top_k": 2}, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        ({"top_k": 0}, [0.05, 0.4, 0.1, 0.25, 0.2]),
        ({"top_k": 99}, [0.05, 0.4, 0.1, 0.25, 0.2]),
        ({"top_p": 0.6}, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        ({"top_p": 0.7}, [0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85]),
        ({"top_p": 0.1}, [0, 1, 0, 0, 0]),
        ({"min_p": 0.45}, [0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85]),
        ({"top_k": 3, "top_p": 0.75}, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),  # of what top-k kept: 0.47, 0.76
        ({"temperature": 0.5, "top_p": 0.6}, [0, 0.16 / 0.2225, 0, 0.0625 / 0.2225, 0]),
        ({"logit_bias": {0: math.log(8)}}, [0.4 / 1.35, 0.4 / 1.35, 0.1 / 1.35, 0.25 / 1.35, 0.2 / 1.35]),
        ({"logit_bias": {1: -100, 0: math.log(10)}, "top_k": 2}, [2 / 3, 0, 0, 1 / 3, 0]),
        ({"logit_bias": {0: math.log(4)}, "temperature": 0.5, "top_k": 2}, [0, 0.16 / 0.2225, 0, 0.0625 / 0.2225, 0]),
    ],
)
def test_a_law_is_the_one_worked_out_by_hand(options, due):
    assert laws.law_of(P, options) == pytest.approx(np.array(due), abs=1e-12)


@pytest.mark.parametrize(
    ("rule", "options", "due"),
    [
        ("temperature squared", {"temperature": 0.5}, np.array([0.05, 0.4, 0.1, 0.25, 0.2]) ** 4),
        ("temperature inverted", {"temperature": 0.5}, np.array([0.05, 0.4, 0.1, 0.25, 0.2]) ** 0.5),
        ("filters before temperature", {"temperature": 0.5, "top_p": 0.7}, np.array([0, 0.16, 0, 0.0625, 0.04])),
        (
            "bias behind temperature", {"temperature": 0.5, "logit_bias": {0: math.log(4)}},
            np.array([0.01, 0.16, 0.01, 0.0625, 0.04]),
        ),
        (
            "bias behind the filters", {"top_k": 2, "logit_bias": {0: math.log(20), 3: math.log(2)}},
            np.array([0, 0.4, 0, 0.5, 0]),
        ),
        ("half of the time the likeliest", {}, np.array([0.025, 0.7, 0.05, 0.125, 0.1])),
        ("one more of the top k", {"top_k": 2}, np.array([0, 0.4, 0, 0.25, 0.2])),
        ("one less of the top k", {"top_k": 2}, np.array([0, 1.0, 0, 0, 0])),
        ("top-p without the one that crosses", {"top_p": 0.6}, np.array([0, 1.0, 0, 0, 0])),
        ("top-p with one beyond it", {"top_p": 0.6}, np.array([0, 0.4, 0, 0.25, 0.2])),
        ("top-p before top-k", {"top_k": 4, "top_p": 0.86}, np.array([0, 0.4, 0.1, 0.25, 0.2])),
        ("top-p of the whole mass behind top-k", {"top_k": 3, "top_p": 0.75}, np.array([0, 0.4, 0, 0.25, 0.2])),
        ("min-p of the whole mass", {"min_p": 0.15}, np.array([0, 0.4, 0, 0.25, 0.2])),
        ("not renormalised into the likeliest", {"top_k": 2}, np.array([0, 0.75, 0, 0.25, 0])),
        ("model's own", {"top_k": 2}, P),
    ],
)  # fmt: skip
def test_another_rule_gives_the_law_that_it_is_named_after(rule, options, due):
    assert laws.RULES[rule](P, options) == pytest.approx(due / due.sum(), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    weights=st.lists(st.integers(1, 997), min_size=2, max_size=9, unique=True),
    temperature=st.sampled_from([0.5, 0.8, 1.0, 1.7]),
    top_k=st.integers(0, 10),
    top_p=st.sampled_from([0.13, 0.51, 0.87, 1.0]),
    min_p=st.sampled_from([0.0, 0.21, 0.77]),
)
def test_a_law_is_the_reference_s_wherever_no_border_is_near(weights, temperature, top_k, top_p, min_p):
    p = np.array(weights) / sum(weights)
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    due = law(np.log(p), Sampler(**options))
    got = laws.law_of(p, options)
    if np.array_equal(got > 0, due > 0):
        assert got == pytest.approx(due, rel=1e-9)
    else:  # only a mass within rounding of a border may fall on its other side
        sums = np.concatenate([np.cumsum(np.sort(laws.law_of(p, options | cut))[::-1]) for cut in ({"top_p": 1.0},)])
        assert np.abs(sums - top_p).min() < 1e-9


def test_alternatives_of_a_memory_are_laws():
    table = np.array([[0.7, 0.3], [0.2, 0.8]])
    assert laws.alternative(table, {}, {"repeats": 0.1})[0] == pytest.approx([0.73, 0.27])
    assert laws.alternative(table, {}, {"repeats": -0.5})[0] == pytest.approx([0.35 / 0.65, 0.3 / 0.65])
    assert laws.alternative(table, {}, {"mixed": 1.0})[1] == pytest.approx([0.45, 0.55])
    with pytest.raises(ValueError, match="no alternative"):
        laws.alternative(table, {}, {"shaken": 1})


def test_a_penalty_lowers_what_came_among_the_last_64():
    rows = np.full((4, 4), 0.25)
    found = laws.penalised(rows, {}, 1.1, [0], [1, 1, 2])
    low, even = 0.25**1.1, 0.25
    assert np.exp(found[0]) == pytest.approx(even / (low + 3 * even))  # 0 was seen
    assert np.exp(found[1]) == pytest.approx(low / (2 * low + 2 * even))  # 0 and 1
    long = laws.penalised(rows, {}, 1.1, [0], [1] * 65)
    assert np.exp(long[-1]) == pytest.approx(low / (low + 3 * even))  # 0 is forgotten


# Three tokens of one half, a quarter and a quarter, behind a prompt of the first and before the tokens 0, 1, 1, 2.
HALVES = np.array([[0.5, 0.25, 0.25]] * 3)


@pytest.mark.parametrize(
    ("options", "reading", "weights"),
    [
        ({"repetition_penalty": 2}, "", ([1 / 4, 1 / 4, 1 / 4], [1 / 4, 1 / 4, 1 / 4], [1 / 4, 1 / 16, 1 / 4])),
        ({"repetition_penalty": 2}, "prompt left out", ([2, 1, 1], [1, 1, 1], [4, 1, 4])),
        ({"repetition_penalty": 2}, "each time that it came", ([1, 1, 1], [1 / 16, 1 / 4, 1 / 4], [1, 1, 4])),
        ({"repetition_penalty": 2}, "divided", ([2**0.5, 0.5, 0.5], [2**0.5, 0.5, 0.5], [2**0.5, 1, 0.5])),
        ({"repetition_penalty": 2}, "twice", ([1, 4, 4], [1, 4, 4], [16, 1, 64])),
        ({"frequency_penalty": math.log(2)}, "", ([2, 1, 1], [1, 1, 1], [2, 1, 2])),
        ({"frequency_penalty": math.log(2)}, "prompt counted", ([1, 1, 1], [1, 2, 2], [1, 1, 2])),
        ({"frequency_penalty": math.log(2)}, "twice", ([2, 1, 1], [1, 2, 2], [2, 1, 4])),
        ({"frequency_penalty": math.log(2), "temperature": 0.5}, "", ([4, 1, 1], [1, 1, 1], [4, 1, 4])),
        (
            {"frequency_penalty": math.log(2), "temperature": 0.5}, "behind temperature",
            ([4, 1, 1], [2, 1, 1], [4, 1, 2]),
        ),
        ({"presence_penalty": math.log(2)}, "", ([2, 1, 1], [1, 1, 1], [2, 1, 2])),
    ],
)  # fmt: skip
def test_a_law_with_penalties_is_the_one_worked_out_by_hand(options, reading, weights):
    for count, due in enumerate(weights):
        tokens = [0, 1, 1, 2][: count + 1]
        found = laws.behind_text(HALVES, options, [0], tokens, reading)
        assert found[count] == pytest.approx(math.log(due[tokens[count]] / sum(due)), abs=1e-12)


def test_presence_counts_once_and_as_frequency_each_time():
    options = {"presence_penalty": math.log(2)}
    once, each = (
        laws.behind_text(HALVES, options, [2], [1, 1, 1], reading) for reading in ("", "each time that it came")
    )
    assert np.exp(once) == pytest.approx([1 / 4, 1 / 7, 1 / 7])
    assert np.exp(each) == pytest.approx([1 / 4, 1 / 7, 1 / 13])
    assert laws.behind_text(HALVES, {"frequency_penalty": math.log(2)}, [2], [1, 1, 1], "once however often") == (
        pytest.approx(once)
    )


def test_penalties_beside_filters_are_not_worked_out():
    with pytest.raises(ValueError, match="not worked out beside"):
        laws.behind_text(HALVES, {"presence_penalty": 1, "top_k": 2}, [0], [1])


@pytest.mark.parametrize("name", ["sampling.repetition", "sampling.frequency", "sampling.presence"])
def test_texts_that_look_back_pass_and_texts_of_another_reading_do_not(name):
    case = CASES[name]
    letters, rows = sampling.letters_of(case.given)
    options, others = sampling.settings(case.given)

    def drawn(kind):
        generator, made = np.random.default_rng(5), []
        merged, reading = {**options, **kind.get("options", {})}, kind.get("reading", "")
        for _ in range(-(-case.given["most"] // sampling.CALL)):
            before, tokens = int(generator.integers(len(rows))), []
            given_, chosen = np.eye(len(rows))[before], np.zeros((1, len(rows)))
            for _ in range(sampling.CALL):
                p = laws.behind_all(rows, merged, [[before, *tokens][-1]], given_, chosen, reading)[0]
                tokens.append(int(generator.choice(len(rows), p=p)))
                chosen[0, tokens[-1]] += 1
            made.append((letters[before], "".join(letters[token] for token in tokens)))
        return JUDGE(case.given, {"calls": made}, None).state

    assert drawn({}) is State.PASS
    assert [drawn(other) for other in others] == [State.FAIL] * len(others)


# ── the test ──


def exact(p, others, alpha, beta, most, under):
    """Chance of each decision within `most` tokens drawn from `under`, by going through all texts."""
    chance = dict.fromkeys(Decision, 0.0)
    for tokens in itertools.product(range(len(p)), repeat=most):
        ratios = laws.ratios_of(np.array([p] * len(p)), [np.array([q] * len(q)) for q in others], [0] * most, tokens)
        chance[laws.decide(ratios, alpha, beta, 0.0).decision] += float(np.prod([under[t] for t in tokens]))
    return chance


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.1), (0.01, 0.05), (0.3, 0.02)])
def test_neither_error_is_likelier_than_declared_summed_up_over_all_texts(alpha, beta):
    p, others = [0.5, 0.3, 0.2], [[0.8, 0.1, 0.1], [0.2, 0.3, 0.5]]
    assert exact(p, others, alpha, beta, 9, p)[Decision.REFUSED] <= alpha
    for other in others:
        found = exact(p, others, alpha, beta, 9, other)
        assert found[Decision.ACCEPTED] <= beta
        assert found[Decision.REFUSED] > 0  # though nine tokens are few


def test_a_token_that_the_law_never_gives_refuses_it_at_once():
    table = np.array([[0.5, 0.5, 0.0]] * 3)
    other = np.array([[0.4, 0.4, 0.2]] * 3)
    found = laws.decide(laws.ratios_of(table, [other], [0, 0, 0], [0, 2, 1]), 1e-11, 1e-6)
    assert (found.decision, found.at, found.evidence) == (Decision.REFUSED, 2, math.inf)
    nobody = laws.decide(laws.ratios_of(table, [table], [0], [2]), 1e-11, 1e-6)
    assert nobody.decision is Decision.REFUSED  # no other gives it either


def test_what_one_of_the_others_never_gives_speaks_against_that_one_alone():
    table, never, near = (np.array([row] * 2) for row in ([0.5, 0.5], [1.0, 0.0], [0.51, 0.49]))
    found = laws.decide(laws.ratios_of(table, [never, near], [0] * 50, [1] * 50), 1e-11, 1e-6)
    assert found.decision is Decision.UNDECIDED
    assert laws.decide(laws.ratios_of(table, [never], [0], [1]), 1e-11, 1e-6).decision is Decision.ACCEPTED


def test_what_a_token_may_be_off_by_is_paid_for_by_that_token():
    walk = np.full((1, 60), 0.5)
    assert laws.decide(walk, 1e-11, 1e-6, 0.25) == laws.decide(walk, 1e-11, 1e-6, np.full(60, 0.25))
    early, late = np.zeros(60), np.zeros(60)
    early[0], late[-1] = 1.0, 1.0
    ats = [laws.decide(walk, 1e-11, 1e-6, blur).at for blur in (0.0, late, early)]
    assert ats == [51, 51, 53]  # 0.5 n reaches ln 1e11 = 25.3, or one more
    walk[0, 50] = math.inf
    assert laws.decide(walk, 1e-11, 1e-6, early).at == 51


def test_no_tokens_decide_nothing():
    assert laws.decide(np.empty((2, 0)), 0.1, 0.1) == laws.Verdict(Decision.UNDECIDED, 0, 0.0, 0)


def test_rounding_is_paid_for_on_both_sides():
    ratios = np.full((1, 100), 0.3)
    assert laws.decide(ratios, 1e-11, 1e-6, 0.0).at < laws.decide(ratios, 1e-11, 1e-6, 0.1).at
    assert laws.decide(-ratios, 1e-11, 1e-6, 0.0).at < laws.decide(-ratios, 1e-11, 1e-6, 0.1).at


# ── the check ──


CASES = {case.id: case for case in suite.load().cases.values() if case.check == "drawn-from"}
JUDGE = checks.registry()["drawn-from"].judge


def texts_of(case, table, calls, seed=0):
    """Texts as a sampler would give them that draws from a table."""
    generator, (letters, _) = np.random.default_rng(seed), sampling.letters_of(case.given)
    made = []
    for _ in range(calls):
        state = int(generator.integers(len(letters)))
        prompt, text = letters[state], ""
        for _ in range(sampling.CALL):
            state = int(generator.choice(len(letters), p=table[state]))
            text += letters[state]
        made.append((prompt, text))
    return made


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not laws.looks_back(case.given["options"])])
def test_texts_of_the_law_pass_and_texts_of_another_do_not(name):
    case = CASES[name]
    _, rows = sampling.letters_of(case.given)
    calls = -(-case.given["most"] // sampling.CALL)
    options, others = sampling.settings(case.given)
    right = texts_of(case, laws.table_of(rows, options), calls)
    assert JUDGE(case.given, {"calls": right}, None).state is State.PASS
    for other in others:
        if "penalty" in other:
            continue
        wrong = texts_of(case, laws.alternative(rows, options, other), calls, seed=1)
        assert JUDGE(case.given, {"calls": wrong}, None).state is State.FAIL


def test_a_text_that_came_twice_is_evidence_once():
    case = CASES["sampling.independent"]
    _, rows = sampling.letters_of(case.given)
    once = texts_of(case, rows, 1)
    found = JUDGE(case.given, {"calls": once * 40}, None)
    assert (found.state, found.figures["tokens"]) == (State.INCONCLUSIVE, sampling.CALL)


def test_a_letter_that_the_model_never_says_fails_a_law():
    found = JUDGE(CASES["sampling.top-k"].given, {"calls": [("a", "x" * sampling.CALL)]}, None)
    assert "'x' came" in found.message


def test_a_text_that_is_too_short_fails():
    found = JUDGE(CASES["sampling.top-k"].given, {"calls": [("a", "abc")]}, None)
    assert "3 characters came, 240 were due" in found.message


@pytest.mark.parametrize("name", CASES)
def test_no_mass_of_a_frozen_design_lies_near_a_border(name):
    """Equal and nearly equal masses are ordered by each implementation as it likes; no verdict may rest on one."""
    given_ = CASES[name].given
    options, _ = sampling.settings(given_)
    for row in sampling.letters_of(given_)[1]:
        heated = laws.law_of(row, {name: options[name] for name in ("logit_bias", "temperature") if name in options})
        kept = laws.law_of(heated, {"top_k": options.get("top_k", 0)})
        steps = np.sort(heated[heated > 0])[::-1]
        if 0 < options.get("top_k", 0) < len(steps):
            assert steps[options["top_k"] - 1] - steps[options["top_k"]] > 1e-3
        if options.get("top_p", 1.0) < 1:
            assert np.abs(np.cumsum(np.sort(kept)[::-1]) - options["top_p"]).min() > 1e-3
        if options.get("min_p"):
            assert np.abs(kept / kept.max() - options["min_p"]).min() > 1e-3


def test_a_profile_whose_chances_add_up_to_too_much_is_refused(tmp_path):
    import shutil

    from llmasos_conformance import installed

    shutil.copytree(installed.suites(), tmp_path / "suites")
    path = tmp_path / "suites" / "sampling.yaml"
    path.write_text(path.read_text().replace("alpha: 1.0e-11", "alpha: 1.0e-10"))
    with pytest.raises(SuiteError, match=r"add up to \d\.?\d*e-09, 1e-09 is allowed"):
        suite.freeze("sampling", match=["sampling.*"], directory=tmp_path / "suites")


def test_every_frozen_profile_stays_below_the_budget():
    loaded = suite.load()
    for profile in loaded.profiles.values():
        assert suite.chance(loaded.cases[case] for case in profile.cases) <= laws.BUDGET
