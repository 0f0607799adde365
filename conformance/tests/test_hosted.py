"""Checks of hosted models: right servers pass, mutants fail, and what came is judged as it came.

Judges need no server: from the kept answers they say the same again. No answer, however broken, is an error of ours.
"""

import contextlib
import dataclasses
import json
import random

import pytest

from llmasos_conformance import adapters, checks, engine, suite
from llmasos_conformance.adapters.hosted import FURTHER, OWN
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.checks import drawn, hosted, replies, requests, stated
from llmasos_conformance.checks.replies import Broken, Token
from llmasos_conformance.mutants import table
from llmasos_conformance.mutants.babbler import Babbler, Babbling, Serving
from llmasos_conformance.mutants.catalogue import mutants
from llmasos_conformance.mutants.variants import HOSTED, HOSTED_NULL
from llmasos_conformance.probes import Library
from llmasos_conformance.verdict import State

LAWS = ("stated-drawn", "stated-warm", "stated-unlike")
"""Checks of many answers, which take seconds each."""
OURS = [name for name, made in mutants().items() if made.group.startswith("hosted")]


@pytest.fixture(scope="module")
def installed():
    return suite.load(checks=checks.registry())


@pytest.fixture(scope="module")
def cases(installed):
    return [case for case in installed.cases.values() if case.id.startswith("hosted.")]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return table.Workshop(tmp_path_factory.mktemp("mutants"), ["hosted.*"])


class Asked:
    """A connection, whose answers a function changes on their way."""

    def __init__(self, address, change=lambda reply: reply):
        self._inner, self._change = adapters.connect(address), change

    @property
    def description(self):
        return self._inner.description

    def call(self, method, params):
        answer = self._inner.call(method, params)
        if method == "together":
            return {"answers": [self._change(each) for each in answer["answers"]]}
        return self._change(answer)

    def close(self):
        self._inner.close()


@pytest.fixture(scope="module")
def bench(installed, tmp_path_factory):
    probes = Library(tmp_path_factory.mktemp("probes"), "0")

    def make(connection, seed="0"):
        candidate = Candidate(Live(connection), connection.description, probes)
        return engine.Bench(installed, checks.registry(), candidate, None, seed)

    return make


def answered(body, status=200, kind=replies.JSON):
    return {"status": status, "type": kind, "body": body if isinstance(body, str) else json.dumps(body)}


def streamed(*events):
    body = "".join(f"data: {each if isinstance(each, str) else json.dumps(each)}\n\n" for each in events)
    return answered(body, kind=replies.EVENTS)


def choice(**changed):
    return {"index": 0, "text": "a", "finish_reason": "length", "logprobs": None, **changed}


def whole(*choices, **changed):
    return {"choices": list(choices) or [choice()], **changed}


# ── what the suite asks ─────────────────────────────────────────────────────────────────────────────────────────────


def test_every_requirement_of_hosted_models_is_asked_by_a_case_of_each_api_that_can_break_it(installed, cases):
    asked = {case.requirement for case in cases}
    assert asked == {name for name in installed.requirements if name.startswith("HOST-")}
    for case in cases:
        assert len(case.needs & {"completions", "chat"}) >= 1, case.id


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_what_is_found_by_asking_is_what_the_first_case_asks_again(installed, api):
    given = installed.cases[f"hosted.{api}.accepted"].given
    assert given["own"] == OWN[api]
    assert given["further"] == {name: {"right": right, "wrong": wrong} for name, (right, wrong) in FURTHER.items()}


def test_an_error_rate_is_a_share_of_one_in_ten_thousand_million_for_each_api(cases):
    for api in ("completions", "chat"):
        rates = [case.given["alpha"] for case in cases if "alpha" in case.given and api in case.needs]
        assert len(rates) == 8
        assert sum(rates) <= 1e-10


def test_where_no_logprobs_come_the_form_alone_is_wrong_and_what_rests_on_them_is_open(bench, cases):
    connection = Asked("mutant:hosted-logprobs-dropped")
    with contextlib.closing(connection):
        asking = [case for case in cases if "logprobs" in case.needs and case.needs <= connection.description.offers]
        found = {case.id: engine.run_case(bench(connection), case).outcome for case in asking}
    failed = {name for name, outcome in found.items() if outcome.state is State.FAIL}
    assert failed == {"hosted.completions.logprobs.form"}
    alike = found.pop("hosted.completions.stream.stated")  # a stream states as little as no stream
    assert alike.state is State.PASS
    assert {outcome.state for name, outcome in found.items() if name not in failed} == {State.INCONCLUSIVE}
    assert all("none came" in outcome.message for outcome in found.values())


@pytest.mark.parametrize(
    ("got", "due", "told"),
    [
        ("abc", "abd", "'c' at character 2, 'd' was due"),
        ("abc", "a", "it goes on with 'bc' at character 1, where it was to end"),
        ("a", "abc", "it ends at character 1, where 'bc' was due"),
    ],
)
def test_of_two_texts_it_is_told_where_they_part(got, due, told):
    assert requests.alike("they part", got, due).message == f"they part: {told}"
    assert requests.alike("they part", due, due).state is State.PASS


def test_an_answer_that_ends_at_once_states_no_token(bench, installed):
    case = installed.cases["hosted.completions.logprobs.form"]
    ended = answered(whole(choice(text="", finish_reason="stop", logprobs=None)))
    dropped = answered(whole(choice(text="a", logprobs=None)))
    for answers, state in (([ended, ended], State.PASS), ([ended, dropped], State.FAIL)):
        assert stated.judge_form(case.given, {"answers": answers}, None).state is state


# ── right servers and wrong ones ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", HOSTED)
def test_a_right_server_passes_what_needs_few_answers(workshop, name):
    row = workshop.row("honest", name, [case for case in workshop.cases if case.check not in LAWS])
    assert len(row.asked) > 20
    assert row.trouble == ""


@pytest.mark.parametrize("name", ["hosted-plain", "hosted-chat", "hosted-batched", "hosted-half-written"])
def test_a_right_server_passes_the_laws(workshop, name):
    row = workshop.row("honest", name, [case for case in workshop.cases if case.check in LAWS])
    assert row.asked
    assert row.trouble == ""


@pytest.mark.parametrize("name", OURS)
def test_a_wrong_server_fails_the_requirement_that_it_breaks(workshop, name):
    requirement = mutants()[name].requirement
    row = workshop.row("mutant", name, [case for case in workshop.cases if case.requirement == requirement])
    assert row.trouble == ""


@pytest.mark.parametrize("name", HOSTED_NULL)
def test_a_server_that_computes_nothing_fails(workshop, name):
    few = [case for case in workshop.cases if case.check not in LAWS]
    assert len(workshop.row("null", name, few).failed) > 10


def test_there_is_a_mutant_for_every_requirement(installed):
    broken = {mutants()[name].requirement for name in OURS}
    assert {name for name in installed.requirements if name.startswith("HOST-")} == broken


class Counting(Asked):
    """A connection that has read the last prompt's words, and cuts or refuses more than so many."""

    def __init__(self, most, *, refuses=False):
        super().__init__("honest:hosted-plain")
        self.asked, self._most, self._refuses = [], most, refuses

    def call(self, method, params):
        words = len(params["request"]["prompt"].split())
        self.asked.append(words)
        if self._refuses and words > self._most:
            return answered({"error": {"message": "too long"}}, 400)
        count = min(words, self._most)
        return answered(whole(usage={"prompt_tokens": count, "completion_tokens": 1, "total_tokens": count + 1}))


@pytest.mark.parametrize(
    ("most", "refuses", "lengths", "state"),
    [
        (100, True, [1024], State.PASS),
        (2000, True, [1024, 4096], State.PASS),
        (2100, False, [1024, 4096, 16384], State.FAIL),
        (1500, False, [1024, 4096], State.FAIL),
        (10**6, False, [1024, 4096, 16384], State.PASS),
    ],
)
def test_prompts_become_longer_until_one_is_refused_or_cut(bench, cases, most, refuses, lengths, state):
    connection = Counting(most, refuses=refuses)
    (case,) = [each for each in cases if each.id == "hosted.completions.too-long"]
    assert engine.run_case(bench(connection), case).outcome.state is state
    assert connection.asked == lengths


@pytest.mark.parametrize(
    ("takes", "found"),
    [
        (lambda name, value: True, {"top_p": 1, "top_k": 0, "min_p": 0, "repetition_penalty": 1, "repeat_penalty": 1}),
        (lambda name, value: (name, value) in (("top_p", 1), ("top_k", -1)), {"top_p": 1, "top_k": -1}),
        (lambda name, value: False, {}),
    ],
)
def test_defaults_of_a_server_are_switched_off_as_far_as_it_takes_it(bench, takes, found):
    made = bench(Asked("honest:hosted-plain"))

    class Hosted:
        def ask(self, api, request):
            (extra,) = request.keys() - {"prompt", "max_tokens"}
            return answered(whole(), 200 if takes(extra, request[extra]) else 400)

    class Choosy:
        hosted = Hosted()
        description = made.candidate.description

    assert requests.neutral(Choosy(), "completions") == found


# ── evidence ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["honest:hosted-plain", "honest:hosted-chat", "mutant:hosted-temperature-dropped"])
def test_from_kept_answers_every_case_is_judged_as_it_was(bench, cases, address):
    made = bench(Asked(address))
    for case in cases:
        if case.needs - made.candidate.description.offers:
            continue
        trial = engine.run_case(made, dataclasses.replace(case, examples=1))
        again = engine.rejudge(made, dataclasses.replace(case, examples=1), trial.examples)
        assert again == trial.outcome, case.id


NEW = (None, [], {}, "", "x", -1, 0, 3.5, 1e400, True, [None], {"a": 1}, [[]], [{}])


def spoilt(chance, rate):
    """Answers with a piece that is missing, or of another kind."""

    def change(reply):
        if chance.random() > rate:
            return reply
        kind = chance.randrange(6)
        if kind == 0:
            return {**reply, "body": reply["body"][: chance.randrange(len(reply["body"]) + 1)]}
        if kind == 1:
            return {**reply, "status": chance.choice([200, 201, 400, 404, 500])}
        if kind == 2:
            return {**reply, "type": chance.choice(["text/plain", replies.JSON, replies.EVENTS])}
        if reply["type"] != replies.EVENTS:
            return {**reply, "body": node(chance, reply["body"])}
        events = reply["body"].split("\n\n")
        at = chance.randrange(len(events))
        events[at] = f"data: {node(chance, events[at][6:])}" if events[at].startswith("data: {") else ""
        return {**reply, "body": "\n\n".join(events)}

    return change


def node(chance, body):
    """A body in which one value is another, or gone."""
    value = json.loads(body)
    places = []

    def walk(at):
        for key in at if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ():
            places.append((at, key))
            walk(at[key])

    walk(value)
    at, key = chance.choice(places)
    if chance.random() < 0.3:
        del at[key]
    else:
        at[key] = chance.choice(NEW)
    return json.dumps(value)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("address", ["honest:hosted-plain", "honest:hosted-chat"])
def test_no_answer_however_broken_is_an_error_of_ours(bench, cases, address, seed):
    chance = random.Random(seed)
    made = bench(Asked(address, spoilt(chance, (1.0, 0.5, 0.1, 0.05)[seed])), str(seed))
    for case in cases:
        if case.needs - made.candidate.description.offers or case.check in LAWS:
            continue
        outcome = engine.run_case(made, dataclasses.replace(case, examples=1)).outcome
        assert outcome.state is not State.ERROR, (case.id, outcome.message)


# ── what does not apply, and what stays open ────────────────────────────────────────────────────────────────────────


def test_who_claims_nothing_of_repeats_is_not_asked_to_repeat(bench, installed):
    made = bench(Asked("honest:hosted-batched"))
    assert made.candidate.description.claims.determinism == "D0"
    excused = [
        "repeated", "stop.text", "stream.same", "before", "beside", "seeds.same", "temperature.heard", "narrow.top-p",
    ]  # fmt: skip
    for name in excused:
        outcome = engine.run_case(made, installed.cases[f"hosted.completions.{name}"]).outcome
        assert outcome.state is State.NOT_APPLICABLE, name
    law = engine.run_case(made, installed.cases["hosted.completions.logprobs.law"]).outcome
    assert law.state is State.PASS


def judged(installed, case, asked):
    case = installed.cases[case]
    return checks.registry()[case.check].judge(case.given, asked, None)


def made_of(tokens, text="", top=(), number=-0.01):
    """A completion whose tokens have these texts, each with this logprob."""
    stating = {
        "tokens": tokens, "token_logprobs": [number] * len(tokens),
        "top_logprobs": [dict(top) or None for _ in tokens], "text_offset": [0] * len(tokens),
    }  # fmt: skip
    usage = {
        "prompt_tokens": max(1, len(tokens) - 1),
        "completion_tokens": len(tokens),
        "total_tokens": 2 * len(tokens),
    }
    return answered(whole(choice(text=text or "".join(tokens), logprobs=stating), usage=usage))


@pytest.mark.parametrize(
    ("case", "asked", "message"),
    [
        ("logprobs.law", {"answers": [made_of([]), made_of([])], "dtype": "float32"}, "no token was stated"),
        ("stop.text", {"whole": made_of(["a"]), "stops": []}, "no prompt led to a text"),
        ("seeds.different", {"calls": [[made_of(["a"]), made_of(["a"])]]}, "is e^-0.0"),
        ("choices.different", {"calls": [[made_of(["a"])]]}, "there is nothing to compare"),
        ("temperature.heard", {"calls": [[made_of(["a"]), made_of(["a"])]]}, "were all the likeliest one"),
        ("drawn.one", {"calls": [], "dtype": "float32"}, "0 tokens leave open"),
        ("penalty.presence", {"calls": [("p", made_of(["a"]))], "dtype": "float32"}, "no token came again"),
        (
            "logprobs.cold",
            {"calls": [[made_of(["a"])] * 3], "repeats": True},
            "nowhere is the model's own law far enough",
        ),
    ],
)
def test_what_says_too_little_stays_open(installed, case, asked, message):
    finding = judged(installed, f"hosted.completions.{case}", asked)
    assert finding.state is State.INCONCLUSIVE
    assert message in finding.message


def test_scores_of_a_text_that_is_never_cut_alike_stay_open(installed):
    made, scored = made_of(["a", "b", "c"]), made_of(["x", "ab", "c", "d"])
    finding = judged(installed, "hosted.echo.scores", {"pairs": [(made, scored)], "dtype": "float32"})
    assert (finding.state, finding.message) == (State.INCONCLUSIVE, "no text is cut alike where it is a prompt")


def test_where_rounding_decides_two_texts_may_part_if_that_is_claimed():
    near = [("a", -0.7), ("b", -0.7)]
    tokens = [Token(text=text, logprob=-0.7, top=tuple(near)) for text in ("a", "b")]
    one, other = (replies.Choice(text=each.text, finish="length", tokens=(each,)) for each in tokens)
    assert hosted._tied(one, other, 1e-3)
    far = replies.Choice(text="a", finish="length", tokens=(Token(text="a", logprob=-0.1, top=(("a", -0.1),)),))
    assert not hosted._tied(far, other, 1e-3)
    assert not hosted._tied(one, one, 1e-3)


def test_concurrent_answers_are_not_compared_where_nothing_says_what_ties(bench, installed):
    class Silent(Serving):
        determinism = "D1"
        hides = frozenset({"logprobs"})

    candidate = Candidate(Live(Described(Babbling(Silent, "silent"))), Babbling(Silent, "silent").describe(), None)
    asked = hosted.ask_together(installed.cases["hosted.completions.beside"].given, None, candidate)
    assert asked == {"excused": "D1 is claimed, and no logprobs say where rounding may decide"}


class Described:
    """A connection that is not asked anything."""

    def __init__(self, adapter):
        self.description = adapter.describe()


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

READ = [
    (answered({"error": {"message": "no"}}, 400), "a valid request was refused: 400: no"),
    (answered("busy", 500), "a valid request was refused: 500: busy"),
    (answered("{"), "the body is no JSON"),
    (answered('{"choices": NaN}'), "NaN stands in a body"),
    (answered("[" * 5000), "the body is no JSON"),
    (answered([]), "the body is no object"),
    (answered({}), "choices is None, a list was due"),
    (answered({"choices": []}), "choices have the indices []"),
    (answered({"choices": [1]}), "a choice is no object"),
    (answered(whole(choice(index=-1))), "index is -1"),
    (answered(whole(choice(index=True))), "index is True"),
    (answered(whole(choice(index=1))), r"choices have the indices [1]"),
    (answered(whole(choice(), choice())), "choice 0 goes on behind its finish_reason"),
    (answered(whole(choice(finish_reason=None))), "choice 0 has no finish_reason"),
    (answered(whole(choice(text=None))), "text is None, a text was due"),
    (answered(whole(usage=3)), "usage is no object"),
    (answered(whole(usage={"prompt_tokens": 1, "completion_tokens": 1})), "usage.total_tokens is None"),
    (answered(whole(usage={"prompt_tokens": 1.0})), "usage.prompt_tokens is 1.0"),
    (answered(whole(choice(logprobs=[1]))), "logprobs is no object"),
    (answered(whole(choice(logprobs={"content": 1}))), "logprobs.content is 1"),
    (answered(whole(choice(logprobs={"content": [1]}))), "an entry of logprobs is no object"),
    (answered(whole(choice(logprobs={"content": [{"token": 1}]}))), "a token is 1, a text was due"),
    (answered(whole(choice(logprobs={"content": [{"token": "a", "logprob": "0"}]}))), "a logprob is '0'"),
    (answered('{"choices": [{"logprobs": {"content": [{"token": "", "logprob": 1e999}]}, "text": ""}]}'), "is inf"),
    (answered(whole(choice(logprobs={"content": [{"token": "a", "bytes": [256]}]}))), "bytes is [256]"),
    (answered(whole(choice(logprobs={"content": [{"token": "a", "top_logprobs": 3}]}))), "an entry of top_logprobs"),
    (answered(whole(choice(logprobs={"tokens": ["a"]}))), "no lists of one length"),
    (answered(whole(choice(logprobs={"tokens": ["a"], "token_logprobs": []}))), "no lists of one length"),
    (
        answered(whole(choice(logprobs={"tokens": ["a"], "token_logprobs": [0], "top_logprobs": []}))),
        "top_logprobs is no list of 1 entries",
    ),
    (
        answered(whole(choice(logprobs={"tokens": ["a"], "token_logprobs": [0], "top_logprobs": [3]}))),
        "an entry of top_logprobs is no object",
    ),
]


@pytest.mark.parametrize(("answer", "message"), READ, ids=[message for _, message in READ])
def test_an_answer_that_is_none_of_the_api_is_named(answer, message):
    with pytest.raises(Broken) as caught:
        replies.read("completions", answer)
    assert message in caught.value.message


STREAMS = [
    (answered(whole()), "a stream was asked for, and 'application/json' came"),
    (streamed(whole(), "[DONE]", whole()), "the stream goes on behind [DONE]"),
    (streamed("{"), "an event is no JSON"),
    (streamed([1]), "an event is no object"),
    (streamed({"error": {"message": "lost"}}), "the stream ends in an error"),
    (streamed("[DONE]"), "choices have the indices []"),
]


@pytest.mark.parametrize(("answer", "message"), STREAMS, ids=[message for _, message in STREAMS])
def test_a_stream_that_is_none_of_the_api_is_named(answer, message):
    with pytest.raises(Broken) as caught:
        replies.read("completions", answer, stream=True)
    assert message in caught.value.message


def test_a_chat_without_a_message_is_named():
    with pytest.raises(Broken, match="message is no object"):
        replies.read("chat", answered(whole(choice())))
    with pytest.raises(Broken, match=r"message\.content is None"):
        replies.read("chat", answered(whole({"finish_reason": "stop", "message": {"role": "assistant"}})))


def test_a_message_may_have_null_where_it_says_nothing():
    reply = replies.read("chat", answered(whole({"finish_reason": "stop", "message": {"content": None}})))
    assert reply.choices[0].text == ""


def test_events_are_read_with_comments_two_line_data_and_either_line_end():
    lines = (
        ": alive",
        "",
        'data: {"choices": [{"text": "a",',
        'data: "finish_reason": "stop"}]}',
        "",
        "data: [DONE]",
        "",
    )
    body = "".join(f"{line}\r\n" for line in lines)
    reply = replies.read("completions", answered(body, kind=replies.EVENTS), stream=True)
    assert (reply.choices[0].text, reply.choices[0].finish) == ("a", "stop")


@pytest.mark.parametrize(
    ("api", "logprobs", "message"),
    [
        ("chat", {"content": [{"logprob": -1.0, "bytes": None}]}, "an entry of logprobs has no token"),
        ("chat", {"content": [{"token": "a", "logprob": -1.0}]}, "an entry of logprobs has no bytes"),
        (
            "chat",
            {"content": [{"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": [{"logprob": -1.0}]}]},
            "an entry of logprobs has no token",
        ),
        (
            "chat",
            {"content": [{"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": {"a": -1.0}}]},
            "top_logprobs of an entry of logprobs is no list",
        ),
        (
            "completions",
            {"tokens": [None], "token_logprobs": [-1.0], "top_logprobs": [{}], "text_offset": [0]},
            "a token of logprobs has no text",
        ),
    ],
)
def test_a_token_without_a_text_is_counted_and_fails_the_form_alone(installed, api, logprobs, message):
    body = whole(choice(logprobs=logprobs, message={"role": "assistant", "content": "a"}))
    assert len(replies.read(api, answered(body)).choices[0].tokens) == 1
    given = installed.cases[f"hosted.{api}.logprobs.form"].given
    assert message in stated.judge_form(given, {"answers": [answered(body)] * 2}, None).message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"error": "no"}, "no"),
        ({"message": "no", "code": 3}, "no"),
        ({"detail": "no"}, "no"),
        ({"detail": [{"loc": [], "msg": "no"}]}, "no"),
        ({"detail": ["no"]}, "no"),
        ({"detail": [{"loc": []}]}, ""),
        ({"error": 7}, ""),
        ("no", ""),
        ({}, ""),
    ],
)
def test_a_reason_is_found_in_any_form_that_servers_have(body, message):
    assert replies.complaint(answered(body, 400)) == message


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


REST = (("x", -9.0), ("y", -9.5), ("z", -10.0))
"""So that as many are listed as were asked for. Where fewer are, tokens of one text may have become one."""


def lawful(top, text="a", number=-0.5, *, greedy=False):
    return stated._lawful(0, Token(text=text, logprob=number, top=top), "float32", greedy=greedy).message


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ({"top": (), "number": None}, "token 0 has no logprob"),
        ({"top": (), "number": 0.1}, "above 0"),
        ({"top": (("a", -0.9), ("b", -1.5), *REST)}, "has the logprobs -0.5 and -0.9"),
        ({"top": (("b", -0.7), ("c", -2.0), *REST), "number": -1.5}, "likelier than one of the likeliest"),
        ({"top": (("a", -0.5), ("b", -0.5))}, "add up to 1.2"),
        ({"top": (("a", -2.0), ("b", -2.0), ("b", -2.0)), "number": -2.0}, "stands twice"),
        ({"top": (("a", -2.0), ("b", -1.0)), "number": -2.0, "greedy": True}, "which is not the likeliest"),
        ({"top": (("a", -0.5), ("b", -1.0), *REST)}, ""),
        ({"top": (("a", -0.9), ("b", -1.0))}, ""),
        ({"top": (("a", -0.5), ("\ufffd", -2.0), ("\ufffd", -2.0))}, ""),
    ],
)
def test_what_is_no_law_is_named(token, message):
    assert message in lawful(**token)
    assert bool(lawful(**token)) == bool(message)


def test_a_token_says_how_much_likelier_another_law_made_it(installed):
    given = installed.cases["hosted.completions.drawn.one"].given
    top = (("a", -0.5), ("b", -1.5), ("c", -2.5), ("d", -4.5), ("e", -5.0))
    logs, blur = drawn.ratios(given, Token(text="a", logprob=-0.5, top=top), "float32")
    assert logs[given["others"].index({"temperature": 0.7})] > 0 > logs[given["others"].index({"temperature": 1.5})]
    assert 0 < blur < 4 * stated.slack("float32", -4.5)
    never = drawn.ratios(given, Token(text="e", logprob=-5.0, top=top), "float32")[0]
    assert never == [-float("inf") if other == "always the likeliest" else 0.0 for other in given["others"]]
    assert drawn.ratios(given, Token(text="a", logprob=-0.5, top=top[:1]), "float32") is None


def test_the_toy_model_says_every_text_back():
    model = Babbler()
    for text in ("the apple, and", "naïve", "人工", "🙂"):
        assert model.decode(model.encode(text)) == text
