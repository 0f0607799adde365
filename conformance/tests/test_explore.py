"""Beyond the certified inputs: what Hypothesis finds is small, is the same every time, and loses nothing."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from llmasos_conformance import engine, explore
from llmasos_conformance.candidate import Candidate, Exchange, Live
from llmasos_conformance.checks import Check
from llmasos_conformance.errors import Died, TimedOut
from llmasos_conformance.protocol import Claims, Description, Refusal
from llmasos_conformance.reference import Reference
from llmasos_conformance.suite import Case, Requirement, Suite
from llmasos_conformance.verdict import State, failed, passed

DESCRIPTION = Description(name="fake", version="1", capabilities=frozenset({"load_model", "tokenize"}))


@dataclass(frozen=True)
class FakeProbe:
    digest: str = "d1gest"
    path: Path = Path("somewhere")
    name = "plain"
    largest = 0.0


class FakeLibrary:
    def get(self, name):
        return FakeProbe()


class FakeConnection:
    """Tokenises text to its bytes; `wrong` says for which texts it answers nothing, or raises."""

    description = DESCRIPTION

    def __init__(self, wrong):
        self.wrong, self.texts = wrong, []

    def call(self, method, params):
        if method == "load_model":
            return {"model": "m"}
        self.texts.append(params["text"])
        return {"ids": [] if self.wrong(params["text"]) else list(params["text"].encode())}

    def close(self):
        pass


def ask_bytes(given, draw, candidate):
    length = draw.integer(1, 12)
    text = "".join(chr(97 + k) for k in draw.integers(length, 0, 25))
    return {"text": text, "ids": candidate.model("plain").tokenize(text)}


def ask_fixed(given, draw, candidate):
    return {"text": "abc", "ids": candidate.model("plain").tokenize("abc")}


def judge_bytes(given, asked, reference):
    return passed() if asked["ids"] == list(asked["text"].encode()) else failed("ids differ", got=asked["ids"])


@dataclass
class World:
    bench: engine.Bench
    case: Case
    connection: FakeConnection

    def trial(self):
        return engine.run_case(self.bench, self.case)


@pytest.fixture
def world():
    def make(wrong, question=ask_bytes, examples=3):
        case = Case(
            id="text.bytes", requirement="TOK-1", check="bytes", given={}, examples=examples,
            needs=frozenset({"tokenize"}), effect={}, where="text.yaml:1",
        )  # fmt: skip
        requirement = Requirement(
            id="TOK-1", level="MUST", chapter="text", sentence={"en": "", "zh": ""}, source={"en": ""}
        )
        suite = Suite(digest="s", version="1", requirements={"TOK-1": requirement}, cases={case.id: case}, profiles={})
        check = Check(name="bytes", needs=frozenset({"tokenize"}), given={}, question=question, judge=judge_bytes)
        connection, library = FakeConnection(wrong), FakeLibrary()
        candidate = Candidate(Live(connection), DESCRIPTION, library)
        right = Candidate(Live(FakeConnection(lambda text: False)), DESCRIPTION, library)
        reference = Reference(Claims(), right, {}, library)
        return World(engine.Bench(suite, {"bytes": check}, candidate, reference, "0"), case, connection)

    return make


def test_a_failure_shrinks_to_the_smallest_input_and_says_what_was_asked_and_drawn(world):
    made = world(lambda text: "b" in text[2:] or "x" in text, examples=20)
    trial = made.trial()
    assert trial.outcome.state is State.FAIL
    minimal = explore.shrink(made.bench, made.case, trial).minimal.splitlines()
    assert minimal[0] in ("tokenize text='aab'", "tokenize text='x'")
    assert len(minimal) == 1
    minimal = explore.shrink(made.bench, made.case, trial, draws=True).minimal.splitlines()
    assert minimal[1] in ("drawn: 3 of 1..12; [0, 0, 1] of 0..25", "drawn: 1 of 1..12; [23] of 0..25")
    assert len(minimal) == 2


def test_a_failure_that_is_right_of_a_candidate_started_anew_says_so(world):
    answered = []

    def wrong(text):
        answered.append(text)
        return len(answered) > 1

    made = world(wrong)
    trial = made.trial()
    assert trial.outcome.example == 1
    assert explore.anew(made.bench, made.case, trial) is None  # nobody can start it anew
    made.bench.restart = answered.clear
    found = explore.anew(made.bench, made.case, trial)
    assert (found.state, found.message, found.unfinished) == (State.FAIL, trial.outcome.message, True)
    asked, note = found.minimal.splitlines()
    assert asked == f"tokenize text={trial.examples[1][-1].params['text']!r}"
    assert note == "(right when asked of a candidate started anew: what was asked before changes the answer)"


def test_what_is_wrong_of_a_candidate_started_anew_too_or_left_to_chance_says_nothing_of_it(world):
    made = world(lambda text: True)
    made.bench.restart = lambda: None
    trial = made.trial()
    assert explore.anew(made.bench, made.case, trial) is None
    started = []
    made = world(lambda text: False)
    made.bench.restart = lambda: started.append(1)
    for asked, due in (({"temperature": 0.5}, []), ({}, []), ({"temperature": 0}, [1])):
        drawn = replace(trial, examples=[[Exchange("generate_ids", asked, result={})]])
        explore.anew(made.bench, made.case, drawn)
        assert started == due


def test_all_that_is_said_of_a_failure_is_said_of_the_minimal_input(world, monkeypatch):
    made = world(lambda text: len(text) > 4)

    def judge(given, asked, reference):
        text = asked["text"]
        if asked["ids"] == list(text.encode()):
            return passed(length=99.0)
        return failed(f"ids of {len(text)} differ", expected=len(text), got=text, length=len(text))

    made.bench.checks["bytes"] = replace(made.bench.checks["bytes"], judge=judge)
    trial = made.trial()
    assert trial.outcome.message != "ids of 5 differ"
    small = explore.shrink(made.bench, made.case, trial)
    assert (small.message, small.expected, small.got) == ("ids of 5 differ", "5", "aaaaa")
    assert (small.figures, small.minimal) == ({"length": 5}, "tokenize text='aaaaa'")
    kept = ("case", "requirement", "level", "state", "example", "emulated", "evidence", "fault")
    assert all(getattr(small, name) == getattr(trial.outcome, name) for name in kept)


def test_a_smaller_failure_of_another_kind_is_not_shown_as_the_minimal_one(world):
    def wrong(text):
        if len(text) < 3:
            raise Died("exit status 1")
        return len(text) > 4

    made = world(wrong, examples=20)
    made.connection.wrong = lambda text: len(text) > 4
    trial = made.trial()
    made.connection.wrong = wrong
    minimal = explore.shrink(made.bench, made.case, trial).minimal
    assert minimal == "tokenize text='aaaaa'"


def test_the_same_candidate_is_asked_the_same_every_time(world):
    seen = []
    for _ in range(2):
        made = world(lambda text: len(text) > 4)
        explore.shrink(made.bench, made.case, made.trial())
        seen.append(made.connection.texts)
    assert seen[0] == seen[1]


def test_a_failure_that_hypothesis_cannot_find_is_shown_as_it_was_certified(world):
    scout = world(lambda text: False)
    scout.trial()
    certified = scout.connection.texts[1]
    made = world(lambda text: text == certified)
    trial = made.trial()
    assert trial.outcome.example == 1
    outcome = explore.shrink(made.bench, made.case, trial)
    assert f"tokenize text={certified!r}" in outcome.minimal
    assert outcome.unfinished


def test_a_failure_that_does_not_come_again_is_kept_and_called_not_repeatable(world):
    answered = []
    made = world(lambda text: answered.append(text) or len(answered) == 2)
    trial = made.trial()
    outcome = explore.shrink(made.bench, made.case, trial)
    assert outcome.state is State.FAIL
    assert "not repeatable" in outcome.minimal
    assert replace(outcome, minimal="") == replace(trial.outcome, unfinished=True, wavered=True)


def test_a_candidate_that_fails_now_and_then_neither_hangs_nor_hides(world):
    answered = []
    made = world(lambda text: answered.append(text) or len(answered) % 2 == 0)
    outcome = explore.shrink(made.bench, made.case, made.trial())
    assert outcome.state is State.FAIL
    assert outcome.minimal
    assert len(answered) < explore.SEARCH_EXAMPLES + explore.SHRINK_CALLS + 10


def test_shrinking_ends_when_its_budget_is_spent(world, monkeypatch):
    monkeypatch.setattr(explore, "SHRINK_CALLS", 5)
    made = world(lambda text: len(text) > 4 and "m" < text[3] < "z")
    trial = made.trial()
    before = len(made.connection.texts)
    outcome = explore.shrink(made.bench, made.case, trial)
    assert outcome.minimal
    assert outcome.unfinished
    assert len(made.connection.texts) - before <= explore.SEARCH_EXAMPLES + 6


def test_a_case_that_draws_nothing_is_asked_once_more_and_no_further(world):
    made = world(lambda text: True, question=ask_fixed, examples=1)
    outcome = explore.shrink(made.bench, made.case, made.trial())
    assert outcome.minimal.splitlines()[0] == "tokenize text='abc'"
    assert not outcome.unfinished
    assert len(made.connection.texts) == 2


def test_exploring_finds_what_the_certified_inputs_missed_and_says_so(world):
    made = world(lambda text: text == "a", examples=1)
    trial = made.trial()
    assert trial.outcome.state is State.PASS
    outcome = explore.beyond(made.bench, made.case, trial, 30)
    assert outcome.state is State.FAIL
    assert "the certified inputs passed" in outcome.message
    assert outcome.minimal.startswith("tokenize text='a'")


def test_exploring_a_right_candidate_draws_as_many_as_it_was_told_and_passes(world):
    made = world(lambda text: False, examples=1)
    trial = made.trial()
    assert explore.beyond(made.bench, made.case, trial, 20) == trial.outcome
    assert len(made.connection.texts) == 1 + 1 + 20


def test_exploring_a_case_that_draws_nothing_stops_at_once(world):
    made = world(lambda text: False, question=ask_fixed, examples=1)
    assert explore.beyond(made.bench, made.case, made.trial(), 20).state is State.PASS
    assert len(made.connection.texts) == 2


@pytest.mark.parametrize(
    ("fault", "state"), [(Died("exit status 1"), State.FAIL), (TimedOut("no answer in 30 s"), State.ERROR)]
)
def test_a_candidate_that_ends_while_explored_is_brought_back(world, fault, state):
    restarts = []

    def wrong(text):
        if len(text) > 6:
            raise fault
        return False

    made = world(wrong, examples=1)
    made.bench.restart = lambda: restarts.append(True)
    trial = engine.Trial(replace(world(lambda text: False).trial().outcome), ())
    outcome = explore.beyond(made.bench, made.case, trial, 30)
    assert outcome.state is state
    assert restarts


def test_long_values_are_cut_in_the_middle_and_counted():
    assert explore.short([1, 2]) == "[1, 2]"
    assert explore.short(list(range(100))) == "[0, 1, 2, 3, 4, 5, 6, 7, …, 96, 97, 98, 99] (100 in all)"
    assert explore.short("a" * 100).endswith("… (100 in all)")


# Which of the answers was wrong


LETTERS = "abcdefghij"


def ask_letters(given, draw, candidate):
    return {letter: candidate.model("plain").tokenize(letter) for letter in LETTERS}


def judge_letters(given, asked, reference):
    wrong = [letter for letter, ids in asked.items() if ids != [ord(letter)]]
    return failed(f"ids of {wrong[0]} differ") if wrong else passed()


@pytest.fixture
def letters(world):
    """What is shown of ten calls where the answers to some letters are wrong, or raise."""

    def make(wrong, question=ask_letters, judge=judge_letters, honest=None):
        made = world(wrong, question=question, examples=1)
        made.bench.checks["bytes"] = replace(made.bench.checks["bytes"], judge=judge)
        if honest is not None:
            library = made.bench.reference.probes
            made.bench.reference.honest = {"other": Candidate(Live(FakeConnection(honest)), DESCRIPTION, library)}
        return explore.shrink(made.bench, made.case, made.trial()).minimal.splitlines()

    return make


def lines(text, mark=""):
    return [f"tokenize text='{letter}'{mark}" for letter in text]


def test_a_smaller_input_that_moves_the_first_wrong_position_is_another_failure():
    said = (
        "logits[{}, 7] is 2, 3 was due: 9x the honest float32 error; wrong at {} of 16 positions, first at {} (plain)"
    )
    early, later = (failed(said.format(first, 16 - first, first)) for first in (1, 15))
    assert explore.kind(early) != explore.kind(later)
    assert explore.kind(early) == explore.kind(failed(said.format(9, 4, 1)))


def test_the_call_whose_answer_was_wrong_is_marked_and_never_cut_away(letters):
    due = [*lines("abcde"), "… 2 calls …", *lines("h", "  <- wrong"), "… and 2 calls more"]
    assert letters(lambda text: text == "h") == due
    many = [*lines("abcd"), *lines("ef", "  <- wrong"), "… and 4 calls more, 3 of them wrong"]
    assert letters(lambda text: text in "efgij") == many
    assert letters(lambda text: text == "b")[:3] == [*lines("a"), *lines("b", "  <- wrong"), *lines("c")]


def test_where_every_answer_is_wrong_every_call_is_marked(letters):
    assert letters(lambda text: True) == [*lines("abcde", "  <- wrong"), "… and 5 calls more, 5 of them wrong"]


def test_of_a_model_of_ones_own_nothing_is_marked_where_every_answer_is_another(letters, monkeypatch):
    monkeypatch.setattr(Case, "black_box", property(lambda case: True))
    assert letters(lambda text: True) == [*lines("abcde"), "… 4 calls …", *lines("j")]
    assert letters(lambda text: text == "h")[-2] == lines("h", "  <- wrong")[0]


def test_of_calls_without_an_answer_the_last_is_the_one_to_blame(letters):
    def wrong(text):
        if text == "h":
            raise Refusal("unsupported")

    due = [*lines("abcde"), "… 2 calls …", "tokenize text='h' -> refused: unsupported  <- wrong"]
    assert letters(wrong) == due


def test_the_call_that_raised_is_to_blame_whatever_it_was_and_stands_there(world):
    made = world(lambda text: False)
    calls = [*(Exchange("extend", {"ids": [i]}, result={}) for i in range(8)), Exchange("close", {}, result=None)]
    example = explore.Example(failed("raised: KeyError: 'a'"), (), tuple(calls), 0)
    blamed = explore.to_blame(made.bench, made.case, example)
    assert blamed == {8}
    assert explore.asked(calls, blamed)[-1].endswith("  <- wrong")


@pytest.mark.parametrize("options", [{}, {"seed": 1}])
def test_samples_of_a_generator_of_ones_own_are_not_held_against_those_of_the_reference(letters, options):
    def question(given, draw, candidate):
        candidate.model("plain").tokenize("a", **options)
        return ask_letters(given, draw, candidate)

    marked = any("wrong" in line for line in letters(lambda text: text == "h", question=question))
    assert marked == (not options)


def test_what_an_honest_candidate_would_be_blamed_for_too_is_not_marked(letters):
    assert not any("wrong" in line for line in letters(lambda text: text == "h", honest=lambda text: text == "h"))
    assert any("wrong" in line for line in letters(lambda text: text == "h", honest=lambda text: False))


def test_where_another_answer_leads_to_other_calls_nothing_is_marked(letters):
    def question(given, draw, candidate):
        ids = candidate.model("plain").tokenize("a")
        return {"a": ids, "b": candidate.model("plain").tokenize("b" * len(ids))}

    assert letters(lambda text: text == "a", question=question) == ["tokenize text='a'", "tokenize text=''"]


def test_where_other_inputs_are_drawn_after_other_answers_nothing_is_marked(letters):
    def question(given, draw, candidate):
        first = candidate.model("plain").tokenize("a")
        return {"a": first, chr(97 + draw.integer(0, 1 + len(first))): candidate.model("plain").tokenize("b")}

    assert not any("wrong" in line for line in letters(lambda text: text == "a", question=question))


def test_sessions_are_told_apart_where_there_are_several():
    calls = [
        Exchange("open", {"ids": [0]}, result={"session": "s1"}),
        Exchange("open", {"ids": [1]}, result={"session": "s2"}),
        Exchange("extend", {"session": "s2", "ids": [3]}, result={}),
        Exchange("extend", {"session": "s1", "ids": [4]}),
    ]
    due = ["open ids=[0] -> s1", "open ids=[1] -> s2", "extend ids=[3] in s2", "extend ids=[4] in s1"]
    assert explore.asked(calls) == due
    assert explore.asked(calls[:1]) == ["open ids=[0]"]
