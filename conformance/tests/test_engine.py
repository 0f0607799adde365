"""One case against one candidate: what becomes of every way it can go, and of the evidence it leaves."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from llmasos_conformance import adapters, engine, reference
from llmasos_conformance.candidate import (
    Candidate,
    Direct,
    EvidenceMismatch,
    Exchange,
    Live,
    Refused,
    Replay,
    refusal_of,
)
from llmasos_conformance.checks import Check
from llmasos_conformance.errors import Died, Malformed, ProtocolBroken, Raised, TimedOut
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import Claims, Description, Refusal
from llmasos_conformance.reference import Reference
from llmasos_conformance.suite import Case, Requirement, Suite
from llmasos_conformance.verdict import State, failed, passed

DESCRIPTION = Description(name="fake", version="1", capabilities=frozenset({"load_model", "tokenize"}))


class FakeConnection:
    """Answers tokenize with the text's bytes, unless told to misbehave from the n-th call on."""

    description = DESCRIPTION

    def __init__(self, misbehave=None, after=0):
        self.misbehave, self.after, self.calls = misbehave, after, []

    def call(self, method, params):
        self.calls.append((method, dict(params)))
        if method == "load_model":
            return {"model": "secret-handle"}
        if self.misbehave is not None and len([m for m, _ in self.calls if m == "tokenize"]) > self.after:
            raise self.misbehave
        return {"ids": list(params["text"].encode())}

    def close(self):
        pass


@dataclass(frozen=True)
class FakeProbe:
    digest: str = "d1gest"
    path: Path = Path("somewhere/secret")
    name: str = "loud"
    largest: float = 7e4
    facts: dict = field(default_factory=lambda: {"bits": 11})


class FakeLibrary:
    def get(self, name):
        return FakeProbe()


def ask_bytes(given, draw, candidate):
    text = "".join(chr(97 + k) for k in draw.integers(3, 0, 25))
    return {"text": text, "ids": candidate.model("plain").tokenize(text)}


def judge_bytes(given, asked, reference):
    due = list(asked["text"].encode())
    return passed(size=3.0) if asked["ids"] == due else failed("ids[0] differs", expected=due, got=asked["ids"])


def check(question=ask_bytes, judge=judge_bytes):
    return Check(name="bytes", needs=frozenset({"tokenize"}), given={}, question=question, judge=judge)


CASE = Case(
    id="text.bytes", requirement="TOK-1", check="bytes", given={}, examples=3,
    needs=frozenset({"tokenize"}), effect={}, where="text.yaml:1",
)  # fmt: skip


@dataclass
class World:
    bench: engine.Bench
    connection: FakeConnection
    restarts: list = field(default_factory=list)

    def run(self, case=CASE):
        return engine.run_case(self.bench, case)


def world(misbehave=None, after=0, made=None, seed="0", description=DESCRIPTION):
    connection, library = FakeConnection(misbehave, after), FakeLibrary()
    requirement = Requirement(
        id="TOK-1", level="MUST", chapter="text", sentence={"en": "", "zh": ""}, source={"en": ""}
    )
    suite = Suite(digest="s", version="1", requirements={"TOK-1": requirement}, cases={CASE.id: CASE}, profiles={})
    candidate = Candidate(Live(connection), description, library)
    reference = Reference(Claims(), candidate, {}, library)
    made_world = World(engine.Bench(suite, {"bytes": made or check()}, candidate, reference, seed), connection)
    made_world.bench.restart = lambda: made_world.restarts.append(True)
    return made_world


def test_a_right_candidate_passes_with_the_worst_figures_and_one_record_per_example():
    trial = world().run()
    assert trial.outcome.state is State.PASS
    assert trial.outcome.figures == {"size": 3.0}
    assert [len(example) for example in trial.examples] == [2, 2, 2]


def test_evidence_names_neither_handles_nor_paths():
    assert "secret" not in repr(world().run().examples)


def test_the_same_seed_asks_the_same_and_another_seed_asks_something_else():
    assert world().run().examples == world().run().examples
    assert world().run().examples != world(seed="1").run().examples


def test_an_undeclared_capability_is_not_declared_and_nothing_is_asked():
    made = world(description=replace(DESCRIPTION, capabilities=frozenset()))
    trial = made.run()
    assert trial.outcome.state is State.NOT_DECLARED
    assert made.connection.calls == []


@pytest.mark.parametrize(
    ("dtype", "why"),
    [("float16", "ends at 65504"), ("bfloat16", "asks for 11 significant bits, bfloat16 has 8"), ("float32", "")],
)
def test_a_probe_that_the_claimed_dtype_does_not_hold_is_not_asked_about(dtype, why):
    made, case = (
        world(description=replace(DESCRIPTION, claims=Claims(dtype=dtype))),
        replace(CASE, given={"probe": "p"}),
    )
    trial = made.run(case)
    assert trial.outcome.state is (State.NOT_APPLICABLE if why else State.PASS)
    assert why in trial.outcome.message
    assert bool(made.connection.calls) == (not why)
    assert engine.rejudge(made.bench, case, trial.examples).state is trial.outcome.state


def test_gradients_behind_a_claim_of_half_precision_leave_a_run_incomplete():
    offers = replace(DESCRIPTION, capabilities=frozenset({"load_model", "tokenize", "gradients"}))
    case = replace(CASE, needs=frozenset({"gradients"}))
    for dtype, state in (("bfloat16", State.INCONCLUSIVE), ("float32", State.PASS)):
        made = world(description=replace(offers, claims=Claims(dtype=dtype)))
        trial = made.run(case)
        assert trial.outcome.state is state
        assert bool(made.connection.calls) == (state is State.PASS)
        assert engine.rejudge(made.bench, case, trial.examples).state is state


@pytest.mark.parametrize(
    ("misbehaviour", "state", "fault", "restarted"),
    [
        (Raised("ValueError: x"), State.FAIL, "", False),
        (Malformed("ids[0] is text"), State.FAIL, "", False),
        (Refusal("unsupported"), State.FAIL, "", False),
        (Died("exit status 1"), State.FAIL, "", True),
        (TimedOut("no answer in 30 s"), State.ERROR, "timeout", True),
        (ProtocolBroken("a line that is not JSON"), State.ERROR, "protocol", True),
    ],
)
def test_every_misbehaviour_has_its_state(misbehaviour, state, fault, restarted):
    made = world(misbehaviour, after=1)
    trial = made.run()
    assert (trial.outcome.state, trial.outcome.fault, bool(made.restarts)) == (state, fault, restarted)
    assert trial.outcome.example == 1
    assert len(trial.examples) == 2


def test_an_exception_of_a_judge_is_an_error_of_ours_and_never_a_fail():
    def judge(given, asked, reference):
        raise ZeroDivisionError("oops")

    outcome = world(made=check(judge=judge)).run().outcome
    assert (outcome.state, outcome.fault) == (State.ERROR, "harness")
    assert "ZeroDivisionError" in outcome.message


def test_an_exception_of_a_question_is_an_error_of_ours():
    def question(given, draw, candidate):
        raise KeyError("oops")

    assert world(made=check(question=question)).run().outcome.fault == "harness"


def test_a_model_is_loaded_once_but_every_example_says_that_it_uses_it():
    made = world()
    trial = made.run()
    assert [method for method, _ in made.connection.calls].count("load_model") == 1
    assert all(example[0] == Exchange("load_model", {"bundle": "d1gest"}, result={}) for example in trial.examples)


def test_what_was_recorded_is_judged_the_same_again():
    for misbehaviour in (None, Malformed("x"), Refusal("unsupported"), Died("x"), TimedOut("x")):
        trial = world(misbehaviour, after=1).run()
        again = engine.rejudge(world().bench, CASE, trial.examples)
        assert (again.state, again.example, again.figures) == (
            trial.outcome.state, trial.outcome.example, trial.outcome.figures,
        )  # fmt: skip


def edited(examples, position, exchange):
    copy = [list(example) for example in examples]
    copy[0][position] = exchange
    return copy


def test_a_changed_answer_changes_the_outcome():
    examples = world().run().examples
    lie = Exchange("tokenize", examples[0][1].params, result={"ids": [1]})
    with pytest.raises(EvidenceMismatch):  # later examples stand in the evidence although the first one now decides
        engine.rejudge(world().bench, CASE, edited(examples, 1, lie))
    assert engine.rejudge(world().bench, CASE, edited(examples, 1, lie)[:1]).state is State.FAIL


@pytest.mark.parametrize(
    "edit",
    [
        lambda e: edited(e, 1, Exchange("tokenize", {"model": "d1gest", "text": "zzz"}, result={"ids": [1]})),
        lambda e: [e[0][:1], *e[1:]],
        lambda e: [[*e[0], e[0][1]], *e[1:]],
        lambda e: e[:2],
        lambda e: [*e, e[0]],
        lambda e: [e[1], e[0], e[2]],
        lambda e: [],
    ],
    ids=["another input", "call missing", "call added", "example missing", "example added", "swapped", "nothing"],
)
def test_evidence_that_is_not_the_conversation_of_the_case_is_refused(edit):
    examples = world().run().examples
    with pytest.raises((EvidenceMismatch, IndexError)):
        engine.rejudge(world().bench, CASE, edit(examples))


def test_a_refusal_can_be_looked_at_as_a_value_while_faults_pass_through():
    def refuse():
        raise Refusal("not_found")

    def crash():
        raise Raised("x")

    assert refusal_of(refuse) == Refused("not_found")
    with pytest.raises(Raised):
        refusal_of(crash)


class Chance:
    """Gives each of its texts once, in order."""

    description = DESCRIPTION

    def __init__(self, *texts):
        self.texts = list(texts)

    def call(self, method, params):
        return {"model": "m"} if method == "load_model" else {"text": self.texts.pop(0), "finish_reason": "length"}


@pytest.mark.parametrize("texts", [("x", "y", "x"), ("p", "q", "p")])
def test_random_answers_are_kept_as_their_pattern_of_equality_alone(texts):
    link = Live(Chance(*texts))
    model = Candidate(link, DESCRIPTION, FakeLibrary()).model("plain")
    assert [model.sample_text("a") for _ in texts] == [0, 1, 0]
    assert [exchange.result for exchange in link.log[1:]] == [{"sample": 0}, {"sample": 1}, {"sample": 0}]


def test_a_seed_is_drawn_where_it_is_declared_and_takes_its_word_where_not():
    declared = replace(DESCRIPTION, capabilities=DESCRIPTION.capabilities | {"seed"})
    draws = [KeyedDraw("s", "0", "c", 0) for _ in range(2)]
    seeds = [
        Candidate(Live(FakeConnection()), description, FakeLibrary()).drawn_seed(draw)
        for description, draw in zip((declared, DESCRIPTION), draws, strict=True)
    ]
    assert set(seeds[0]) == {"seed"}
    assert seeds[1] == {}
    assert draws[0].integer(0, 2**32) == draws[1].integer(0, 2**32)


@pytest.mark.parametrize("lie", [False, -0.0, 0.0, "0", None])
def test_a_recorded_question_is_compared_by_its_spelling(lie):
    replay = Replay([Exchange("generate_text", {"model": "m", "temperature": lie}, result={})])
    with pytest.raises(EvidenceMismatch):
        replay.ask("generate_text", {"model": "m", "temperature": 0})


# ── what is kept, and for how long ──


class Counting:
    """A connection that keeps count of loaded models, as a process would keep them in memory."""

    def __init__(self):
        self.loaded, self.said = {}, []

    def call(self, method, params):
        self.said.append(method)
        if method == "load_model":
            self.loaded[f"m{len(self.said)}"] = params["path"]
            return {"model": f"m{len(self.said)}"}
        if method == "unload_model":
            del self.loaded[params["model"]]
            return {}
        return {"text": self.loaded[params["model"]]}


def test_the_model_asked_longest_ago_is_let_go_of_and_loaded_again_when_it_is_asked():
    connection = Counting()
    link = Direct(connection, most=2)
    for name in "abc":
        link.ask("load_model", {"bundle": name}, path=f"/{name}")
    assert sorted(connection.loaded.values()) == ["/b", "/c"]
    assert link.ask("detokenize", {"model": "b", "ids": []}) == {"text": "/b"}
    assert link.ask("detokenize", {"model": "a", "ids": []}) == {"text": "/a"}
    assert sorted(connection.loaded.values()) == ["/a", "/b"]


def test_a_candidate_keeps_every_model_that_it_was_given():
    connection = Counting()
    link = Live(connection)
    for number in range(300):
        link.ask("load_model", {"bundle": str(number)}, path=f"/{number}")
    assert len(connection.loaded) == 300
    assert "unload_model" not in connection.said


def test_what_the_reference_remembers_has_an_end_and_is_computed_again_the_same(tmp_path, monkeypatch):
    truth = reference.connect(Claims(), Library(tmp_path, "7"), adapters.connect)
    first = truth.logits("plain", [1, 2, 3])
    assert truth.logits("plain", [1, 2, 3]) is first
    monkeypatch.setattr(reference, "MEMORY", 3 * first.nbytes)
    for n in range(4, 9):
        truth.logits("plain", [1, 2, n])
        truth.logits("plain", [1, 2, 8])
    again = truth.logits("plain", [1, 2, 3])
    assert again is not first
    assert (again == first).all()
    assert len(truth._memory) == 3
    monkeypatch.setattr(reference, "LOOKS", 2)
    for n in range(5):
        truth.look("plain", "hidden_states", [1, n])
    assert len(truth._looks) == 2
