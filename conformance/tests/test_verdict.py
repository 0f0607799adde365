"""What a set of outcomes amounts to."""

from itertools import product

import pytest

from llmasos_conformance.verdict import Outcome, State, Verdict, WrongPositions, decide, emulated_in, wrong_positions

PASS, FAIL = State.PASS, State.FAIL


def outcome(case, state, level="MUST"):
    return Outcome(case=case, requirement="REQ-1", level=level, state=state)


def test_all_passed_is_conformant():
    assert decide(["a", "b"], [outcome("a", PASS), outcome("b", PASS)]) is Verdict.CONFORMANT


@pytest.mark.parametrize("other", list(State))
def test_one_failed_must_is_non_conformant_whatever_else_happened(other):
    assert decide(["a", "b"], [outcome("a", FAIL), outcome("b", other)]) is Verdict.NON_CONFORMANT


@pytest.mark.parametrize("state", [State.ERROR, State.INCONCLUSIVE, State.NOT_RUN, State.NOT_DECLARED])
def test_a_must_that_could_not_be_judged_is_incomplete(state):
    assert decide(["a", "b"], [outcome("a", PASS), outcome("b", state)]) is Verdict.INCOMPLETE


def test_an_undeclared_option_does_not_hinder():
    outcomes = [outcome("a", PASS), outcome("b", State.NOT_DECLARED)]
    assert decide(["a", "b"], outcomes, optional=frozenset({"b"})) is Verdict.CONFORMANT


def test_a_should_that_was_not_run_is_incomplete_because_it_may_hide_a_failure():
    outcomes = [outcome("a", PASS), outcome("b", State.NOT_RUN, "SHOULD")]
    assert decide(["a", "b"], outcomes) is Verdict.INCOMPLETE


@pytest.mark.parametrize("state", [State.ERROR, State.INCONCLUSIVE])
def test_a_should_that_could_not_be_judged_changes_nothing(state):
    assert decide(["a", "b"], [outcome("a", PASS), outcome("b", state, "SHOULD")]) is Verdict.CONFORMANT


def test_a_failed_should_changes_nothing():
    assert decide(["a", "b"], [outcome("a", PASS), outcome("b", FAIL, "SHOULD")]) is Verdict.CONFORMANT


@pytest.mark.parametrize("recorded", [["a"], ["a", "b", "b"], ["a", "b", "c"], []])
def test_missing_double_and_foreign_cases_are_incomplete(recorded):
    assert decide(["a", "b"], [outcome(case, PASS) for case in recorded]) is Verdict.INCOMPLETE


def test_a_run_in_which_nothing_passed_is_incomplete():
    outcomes = [outcome("a", State.NOT_APPLICABLE), outcome("b", State.NOT_DECLARED)]
    assert decide(["a", "b"], outcomes, optional=frozenset({"b"})) is Verdict.INCOMPLETE


@pytest.mark.parametrize("states", list(product(State, repeat=2)))
def test_turning_a_must_from_pass_into_anything_else_never_improves_a_verdict(states):
    rank = {Verdict.CONFORMANT: 2, Verdict.INCOMPLETE: 1, Verdict.NON_CONFORMANT: 0}
    first, second = states
    before = decide(["a", "b"], [outcome("a", PASS), outcome("b", second)])
    after = decide(["a", "b"], [outcome("a", first), outcome("b", second)])
    assert rank[after] <= rank[before]


EMULATED = ["format", "arguments", "generate_text", "stop"]


@pytest.mark.parametrize(
    ("case", "needs", "due"),
    [
        ("format.unknown-keys", ["load_model"], ("format",)),
        ("loading.file.cut", ["load_model", "forward"], ("format",)),
        ("contracts.ids.forward", ["load_model", "forward"], ("arguments",)),
        ("api.max-length.zero", ["load_model"], ("generate_text",)),
        ("text.stop.four", ["load_model", "stop"], ("generate_text", "stop")),
        ("text.round-trip", ["load_model", "tokenize"], ()),
        ("numerics.plain", ["load_model", "forward"], ()),
    ],
)
def test_what_the_adapter_adds_is_marked_on_every_case_that_exercises_it(case, needs, due):
    assert emulated_in(case, needs, EMULATED) == due
    assert emulated_in(case, needs, []) == ()


def test_what_a_message_says_of_wrong_positions_is_read_from_it_and_nothing_else_is():
    said = WrongPositions(wrong=115, of=140, first=25)
    assert wrong_positions(f"logits[109, 221] is 3.3, -0.1 was due; {said} (140 ids)") == said
    assert wrong_positions("logits[109, 221] is 3.3, -0.1 was due") is None
    assert wrong_positions("") is None
