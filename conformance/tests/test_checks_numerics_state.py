"""Every check of numerics, attention, state and greedy passes right candidates and fails a wrong one.

Right are the reference in float64, and in an order of float32 that is not one of the baseline's. Wrong is the reference
with one answer spoilt on its way back.
"""

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from llmasos_conformance import adapters, checks, engine, reference, suite
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.checks import attention, numerics, rows
from llmasos_conformance.probes import Library, Parts
from llmasos_conformance.protocol import Claims, Refusal
from llmasos_conformance.verdict import State

FAMILIES = ("numerics", "attention", "batch", "cache", "state", "greedy")
HALF_OF_BOUND = {"ratio": 3.0, "position": 4.0, "peak": 6.0}


@pytest.fixture(scope="module")
def installed():
    return suite.load(checks=checks.registry())


@pytest.fixture(scope="module")
def mine(installed):
    """The cases of these families."""
    ours = {f"{checks.__name__}.{family}" for family in FAMILIES}
    registry = checks.registry()
    return [case for case in installed.cases.values() if registry[case.check].judge.__module__ in ours]


@pytest.fixture(scope="module")
def world(tmp_path_factory, installed):
    """address, spoil, claims -> bench; `spoil(method, params, call)` stands between harness and reference."""
    root = tmp_path_factory.mktemp("probes")
    probes, held = Library(root / "candidate", "0"), {}

    def make(address="reference", spoil=None, **claims):
        made = Spoilt(adapters.connect(address), spoil or pass_on, claims)
        dtype = made.description.claims.dtype
        if dtype not in held:
            library = Library(root / f"reference-{dtype}", "0")
            held[dtype] = reference.connect(Claims(dtype=dtype), library, adapters.connect)
        known = held[dtype]
        known.claims = made.description.claims
        candidate = Candidate(Live(made), made.description, probes)
        return engine.Bench(installed, checks.registry(), candidate, known, "0")

    return make


@dataclass
class Spoilt:
    inner: object
    spoil: object
    claims: dict

    @property
    def description(self):
        described = self.inner.description
        return replace(described, claims=replace(described.claims, **self.claims))

    def call(self, method, params):
        return self.spoil(method, params, lambda **changed: self.inner.call(method, {**params, **changed}))

    def close(self):
        self.inner.close()


def pass_on(method, params, call):
    return call()


# ── ways to spoil ───────────────────────────────────────────────────────────────────────────────────────────────────


def logits(change):
    """Change the logits of each row of `forward`: (row, ids, place in the batch) -> row."""

    def spoil(method, params, call):
        answer = call()
        if method != "forward":
            return answer
        changed = [change(row.copy(), params["ids"][i], i) for i, row in enumerate(answer["logits"])]
        return {"logits": changed}

    return lambda: spoil


def ids(change, method="generate_ids"):
    """Change the ids of generations: (ids, params) -> ids."""

    def spoil(asked, params, call):
        answer = call()
        if asked != method:
            return answer
        if method == "generate_batch":
            made = [{**row, "ids": change(list(row["ids"]), i)} for i, row in enumerate(answer["generations"])]
            return {"generations": made}
        return {**answer, "ids": change(list(answer["ids"]), params)}

    return lambda: spoil


def member(method, name, change):
    """Change one member of an answer."""

    def spoil(asked, params, call):
        answer = call()
        return {**answer, name: change(answer[name])} if asked == method else answer

    return lambda: spoil


def asked_as(method, **changed):
    """Another question is answered than the one that was asked."""
    return lambda: lambda asked, params, call: call(**changed) if asked == method else call()


def counting(method, number, change):
    """Spoil the answers of a method from its number-th call on."""

    def made():
        seen = []

        def spoil(asked, params, call):
            answer = call()
            if asked != method:
                return answer
            seen.append(asked)
            return change(answer) if len(seen) > number else answer

        return spoil

    return made


def second_model_off():
    """Every model but the first loaded is a little off."""
    seen = []

    def spoil(method, params, call):
        answer = call()
        if method == "load_model":
            seen.append(answer["model"])
        if method == "forward" and params["model"] != seen[0]:
            return {"logits": [row + 1e-3 for row in answer["logits"]]}
        return answer

    return spoil


def first_model_only():
    """Whatever model is asked, the first one answers."""
    seen = []

    def spoil(method, params, call):
        if method == "forward":
            return call(model=seen[0])
        answer = call()
        if method == "load_model":
            seen.append(answer["model"])
        return answer

    return spoil


def fork_shares():
    """A fork is the session itself."""

    def spoil(method, params, call):
        if method == "fork":
            return {"session": params["session"]}
        return {} if method == "close" else call()

    return spoil


def overflow_as(code):
    def made():
        def spoil(method, params, call):
            try:
                return call()
            except Refusal:
                raise Refusal(code) from None

        return spoil

    return made


def refused_piece_stays():
    """After a refusal a session's next logits are a little off."""
    refused = []

    def spoil(method, params, call):
        try:
            answer = call()
        except Refusal:
            refused.append(method)
            raise
        return {"logits": answer["logits"] + 1e-3} if method == "extend" and refused else answer

    return spoil


def fourth_session_off():
    seen = []

    def spoil(method, params, call):
        answer = call()
        if method == "open":
            seen.append(answer["session"])
        if method == "extend" and len(seen) == 4 and params["session"] == seen[3]:
            return {"logits": answer["logits"] + 1e-3}
        return answer

    return spoil


def off_once_scored():
    """Behind a score, the last id of generations is another one."""
    scored = []

    def spoil(method, params, call):
        answer = call()
        if method == "score":
            scored.append(method)
        return {**answer, "ids": last_wrong(list(answer["ids"]), params)} if "ids" in answer and scored else answer

    return spoil


def places(count):
    """So many sessions may be opened, and none gives its place back."""

    def made():
        seen = []

        def spoil(method, params, call):
            if method == "open":
                if len(seen) == count:
                    raise Refusal("unsupported")
                answer = call()
                seen.append(method)
                return answer
            return call()

        return spoil

    return made


def seeded_is_sampled():
    return lambda method, params, call: call(temperature=1.0) if "seed" in params else call()


def order_ignored(method, params, call):
    """Tokens in the wrong order count as in the right one."""
    return call(ids=[sorted(row) for row in params["ids"]]) if method == "forward" else call()


def blind_at_distance(method, params, call):
    if method == "forward" and len(params["ids"][0]) > 100:
        return call(ids=[[0, *row[1:]] for row in params["ids"]])
    return call()


def three_ids_off(method, params, call):
    answer = call()
    return {"logits": answer["logits"] + 1e-3} if method == "extend" and len(params["ids"]) == 3 else answer


def a_little_off(method, params, call):
    answer = call()
    return {"logits": [row * 1.001 for row in answer["logits"]]} if method == "forward" else answer


def nudge(row, ids, place):
    row[-1, 3] += 1e-3
    return row


def last_wrong(ids, _):
    return [*ids[:-1], (ids[-1] + 1) % 60]


def ends_wrong(answer):
    return {**answer, "ids": last_wrong(answer["ids"], None)}


def row_off(answer):
    return {"logits": [answer["logits"][0] + 1e-3]}


def piece_off(answer):
    return {"logits": answer["logits"] + 1e-3}


def unless(condition, change):
    return lambda ids, params: ids if condition(params) else change(ids, params)


def plus(amount):
    return lambda row, ids, place: row + amount(ids, place)


def no_more_than(count):
    return lambda laws: [dict(list(law.items())[:count]) for law in laws]


def off(by):
    return lambda laws: [{token: value - by for token, value in law.items()} for law in laws]


WRONG = [
    # case, what is spoilt, what the message says
    (
        "numerics.plain",
        logits(nudge),
        r"logits\[\d+, 3\] is .* was due: .*x the honest float64 error .*\(plain, \d+ ids\)",
    ),
    ("numerics.vocabulary", logits(plus(lambda ids, _: 1e-3 * (262 in ids))), "x the honest float64 error"),
    ("numerics.overflow", logits(lambda row, ids, _: np.clip(row, -50, 50)), "x the honest float64 error"),
    ("numerics.overflow", logits(lambda row, ids, _: row * np.where(row > 40, np.nan, 1)), "is nan"),
    (
        "numerics.resolution",
        logits(lambda row, ids, _: row.astype(np.float32)),
        "logits are float32, float64 is claimed",
    ),
    ("numerics.resolution", logits(lambda row, *_: row.astype(np.float32).astype(float)), "100% .* numbers of float32"),
    ("numerics.resolution", logits(lambda row, *_: np.round(row, 6)), "100% of the logits are numbers of 6 decimals"),
    ("numerics.value-bias", lambda: a_little_off, r"\(plain with 8x attention.value.bias\)"),
    ("attention.causal.future-token", logits(plus(lambda ids, _: 1e-6 * ids[-1])), r"\(token \d+ and what follows it"),
    ("attention.causal.last-token", logits(plus(lambda ids, _: 1e-6 * ids[-1])), r"\(token \d+ changed\)"),
    (
        "attention.prefix",
        logits(plus(lambda ids, _: 1e-6 * len(ids))),
        r"\(\d+ ids alone, and as the beginning of \d+\)",
    ),
    ("attention.far-token", lambda: blind_at_distance, r"tokens behind the first\)|before the last\)"),
    ("attention.order", lambda: order_ignored, "x the honest float64 error"),
    ("attention.repeated-token", logits(lambda row, ids, _: row[:1].repeat(len(row), 0)), "x the honest float64 error"),
    ("attention.heads-permuted", second_model_off, r"\(asymmetric with heads rewritten\)"),
    ("attention.head-channels-permuted", second_model_off, "head channels rewritten"),
    ("attention.query-and-key-scaled", second_model_off, "query and key rewritten"),
    ("attention.hidden-units-permuted", second_model_off, "hidden units rewritten"),
    ("attention.norm-gain-moved", second_model_off, "norm gain rewritten"),
    ("attention.vocabulary-relabelled", logits(nudge), "vocabulary rewritten"),
    (
        "batch.ragged",
        logits(plus(lambda ids, place: 1e-6 * place)),
        r"logits\[[12], \d+, \d+\] .* \(in a batch of lengths",
    ),
    ("batch.permuted", logits(plus(lambda ids, place: 1e-6 * place)), r"\(rows in the order \["),
    (
        "batch.generate.ragged",
        ids(unless(lambda i: i != 2, last_wrong), "generate_batch"),
        r"generations\[2\]\.ids\[5\] is",
    ),
    ("batch.generate.ends-apart", ids(lambda ids, _: ids[:1], "generate_batch"), r"generations\[0\]\.ids has 1 ids"),
    ("batch.generate.equal-rows", ids(unless(lambda i: i < 3, last_wrong), "generate_batch"), r"generations\[3\]"),
    ("cache.single-steps", counting("extend", 4, piece_off), r"\(in pieces of \[1"),
    ("cache.every-split", lambda: three_ids_off, r"\(cut after 15 ids\)"),
    ("cache.fork", fork_shares, "branch of a fork"),
    ("cache.fork.closed", counting("extend", 2, piece_off), r"behind \d+ ids, a fork of the session closed"),
    ("cache.sessions", fourth_session_off, r"session 3 of 4"),
    ("cache.sessions.in-turn", places(16), r"a valid request was refused|unsupported came at session 16 of 48"),
    ("cache.sessions.many", overflow_as("unsupported"), "unsupported came at session 0 of 12, refusal with inval"),
    (
        "cache.sessions.many",
        counting("open", 8, lambda answer: {**answer, "logits": answer["logits"] + 1e-3}),
        r"sessions in turn, [34] of 4 looked at",
    ),
    ("cache.overflow", overflow_as("invalid_argument"), "invalid_argument came for 2 ids behind 31 in a context of 32"),
    ("cache.overflow", refused_piece_stays, "after 2 ids too many were refused"),
    ("state.logits-after.refused", counting("forward", 1, row_off), "before: refused"),
    ("state.ids-after.sampled", counting("generate_ids", 2, ends_wrong), "was due|other way"),
    ("state.ids-after.scored", off_once_scored, r"ids\[7\] is \d+, \d+ was due"),
    (
        "state.score-behind-a-prompt",
        counting("score", 3, lambda answer: {"logprobs": [None, *answer["logprobs"][3:]]}),
        r"logprobs has \d+ entries, \d+ were due \(its first \d+ ids scored before\)",
    ),
    (
        "state.score-behind-a-prompt",
        counting("score", 1, lambda answer: {"logprobs": [None, -9.0, *answer["logprobs"][2:]]}),
        r"\(score of \d+ ids on plain\) \(scored before\)",
    ),
    ("state.equal-lengths", counting("forward", 2, row_off), r"\(call 2 of three with \d+ ids\)"),
    ("state.repeat.logits", counting("forward", 3, row_off), r"\(call 3, and call 0\)"),
    ("state.repeat.ids", counting("generate_ids", 3, ends_wrong), "and D2 is claimed"),
    ("state.shared-beginning", counting("generate_ids", 4, ends_wrong), r"call 4, \d+ ids"),
    ("state.shared-end", counting("generate_ids", 3, ends_wrong), r"call 3, \d+ ids"),
    ("state.two-models", first_model_only, "to the other of two models"),
    ("state.second-load", second_model_off, r"\(of the second load, and of the first\)"),
    ("greedy.largest-logit", ids(last_wrong), r"ids\[11\] is \d+, \d+ was due: its logit is larger by"),
    ("greedy.largest-logit", ids(lambda ids, _: ids[:-1]), "ids has 11 ids, 12 were due"),
    ("greedy.ties.all-equal", ids(lambda ids, _: [1] * len(ids)), "1, 0 was due: their logits are equal"),
    (
        "greedy.ties.twins",
        ids(lambda ids, _: [token | 1 for token in ids]),
        "their logits are equal and the lowest id wins",
    ),
    (
        "greedy.prefix-monotone",
        ids(unless(lambda params: params["max_length"] != 5, last_wrong)),
        r"\(max_length 5, and 8\)",
    ),
    ("greedy.prefix-monotone", ids(lambda ids, _: [*ids, 0]), "ids for max_length 0 has 1 ids, 0 were due"),
    ("greedy.continuation", counting("generate_ids", 1, ends_wrong), "continued after"),
    (
        "greedy.text.trained",
        member("generate_text", "text", lambda text: ("x" if text[0] != "x" else "y") + text[1:]),
        r"bytes\[0\] is|was due",
    ),
    ("greedy.text.trained", member("generate_text", "text", lambda text: text[:-1]), r"bytes has \d+ ids, 40 were due"),
    ("greedy.text.trained", member("generate_text", "text", lambda text: "\ufffd" + text), "was due"),
    ("greedy.text.plain", member("generate_text", "text", lambda text: text + "x"), "is continued with .* was due"),
    (
        "greedy.text.trained",
        member("generate_text", "text", lambda text: text[: len(text) // 2] + "\ufffd"),
        "was due",
    ),
    ("greedy.top-k-one", asked_as("generate_ids", top_k=0, seed=1), r"\(temperature 1.0, top_k 1\)"),
    ("greedy.small-temperature", asked_as("generate_ids", temperature=1.0, seed=1), "temperature 1e-06"),
    ("greedy.seed-ignored", seeded_is_sampled, r"\(with seed 0, and without one\)"),
    ("greedy.closed-vocabulary", ids(lambda ids, _: [*ids[:-1], 263]), r"ids\[39\] is 263, ids end at 262"),
    (
        "scores.plain",
        member("score", "logprobs", lambda lp: [None, *lp[2:], lp[-1]]),
        r"logprobs\[1:\]\[\d+, \d+\] is .* was due",
    ),
    ("scores.plain", member("score", "logprobs", lambda lp: [0.0, *lp[1:]]), r"logprobs\[0\] is 0, null was due"),
    ("scores.plain", member("score", "logprobs", lambda lp: [*lp[:-1], None]), "is None"),
    ("scores.plain", member("score", "logprobs", lambda lp: [*lp[:-1], 1e-9]), "no more than 0 was due"),
    (
        "scores.uniform",
        member("score", "logprobs", lambda lp: [None, *(v / np.log(2) for v in lp[1:])]),
        "was due: off by",
    ),
    (
        "logprobs.greedy",
        member("generate_ids", "logprobs", lambda laws: [dict.fromkeys(law, 0.0) for law in laws]),
        "was due",
    ),
    ("logprobs.hot", member("generate_ids", "logprobs", off(1e-4)), r"\(logprobs 3, temperature 2.0\)"),
    ("logprobs.hot", member("generate_ids", "logprobs", no_more_than(1)), "lacks the chosen id|the 3 likeliest"),
    ("logprobs.hot", member("generate_ids", "logprobs", lambda laws: None), "logprobs are missing"),
    ("logprobs.none-beside-the-chosen", asked_as("generate_ids", logprobs=2), "only the chosen id was due"),
    ("logprobs.scored", member("generate_ids", "logprobs", off(1e-4)), r"\(generation that is scored\)"),
    (
        "logprobs.scored",
        member("score", "logprobs", lambda lp: [None, *(v - 1e-4 for v in lp[1:])]),
        r"\(score of generated",
    ),
]


# ── tests ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["reference", "reference:float32/reversed"])
def test_a_right_candidate_passes_every_case_with_no_figure_above_half_of_its_bound(world, mine, address):
    bench = world(address)
    assert len(mine) >= 100
    for case in mine:
        trial = engine.run_case(bench, case)
        assert trial.outcome.state is State.PASS, (case.id, trial.outcome.message, trial.detail)
        for name, half in HALF_OF_BOUND.items():
            assert trial.outcome.figures.get(name, 0.0) <= half, (case.id, name)
        if address == "reference":
            assert engine.rejudge(bench, case, trial.examples) == trial.outcome, case.id


@pytest.mark.parametrize(("case", "made", "message"), WRONG, ids=[f"{case}-{i}" for i, (case, *_) in enumerate(WRONG)])
def test_a_wrong_candidate_fails_with_a_message_that_names_the_place(world, installed, case, made, message):
    bench = world(spoil=made())
    trial = engine.run_case(bench, installed.cases[case])
    assert trial.outcome.state is State.FAIL, (trial.outcome, trial.detail)
    assert re.search(message, trial.outcome.message), trial.outcome.message


def swaps_first_and_last(asked, params, call):
    """The first and the last row of a batch come in each other's place."""
    answer, name = call(), {"forward": "logits", "generate_batch": "generations"}.get(asked)
    if name is None or len(params["ids"][0]) != len(params["ids"][-1]):
        return answer
    first, *middle, last = answer[name] if len(answer[name]) > 1 else (*answer[name], None)
    return {name: [last, *middle, first] if last is not None else [first]}


@pytest.mark.parametrize("case", ["batch.pair", "batch.three", "batch.generate.equal-lengths"])
def test_rows_that_come_in_each_others_place_are_named(case, world, installed):
    outcome = engine.run_case(world(spoil=swaps_first_and_last), installed.cases[case]).outcome
    assert outcome.state is State.FAIL
    last = installed.cases[case].given["rows"] - 1
    assert re.search(rf"; row 0 came as row {last}$|; row {last} came as row 0$", outcome.message), outcome.message


def test_every_check_of_these_families_has_a_wrong_candidate(mine, installed):
    assert {case.check for case in mine} == {installed.cases[case].check for case, *_ in WRONG}


@pytest.mark.parametrize("case", ["state.repeat.logits", "batch.ragged", "state.second-load"])
def test_who_claims_d3_is_held_to_equal_bits(world, installed, case):
    def made():
        seen = []

        def spoil(method, params, call):
            answer = call()
            if method != "forward":
                return answer
            seen.append(method)
            return {"logits": [np.nextafter(row, np.inf) if len(seen) > 1 else row for row in answer["logits"]]}

        return spoil

    assert engine.run_case(world(spoil=made()), installed.cases[case]).outcome.state is State.PASS
    outcome = engine.run_case(world(spoil=made(), determinism="D3"), installed.cases[case]).outcome
    assert outcome.state is State.FAIL
    assert "D3 is claimed" in outcome.message


class TwoWays:
    """A reference whose logits at the last position hold two ids at a given distance."""

    def __init__(self, gap, determinism="D1"):
        self.claims = Claims(determinism=determinism)
        self.truth = np.zeros((4, 5))
        self.truth[:, 0], self.truth[:, 1] = 3.0, 3.0 - gap

    def logits(self, probe, ids, beside=reference.NOTHING):
        return self.truth[: len(ids)]

    def honest_logits(self, probe, ids, beside=reference.NOTHING):
        return [self.truth[: len(ids)] + 1e-7]


def test_a_failure_against_the_truth_says_at_how_many_positions_and_where_it_begins():
    truth = TwoWays(1.0)
    got = truth.truth.copy()
    got[2:, 0] += 1.0
    finding = rows.against_truth(truth, "p", [2, 2, 2, 2], got, when="four ids")
    assert finding.message.endswith("; wrong at 2 of 4 positions, first at 2 (four ids)")
    assert "position" in finding.figures
    assert "first" not in finding.figures  # figures have to come out when judged again, on any machine
    assert "positions" not in rows.against_truth(truth, "p", [2], got[3:]).message  # one position says it already
    assert "positions" not in rows.against_truth(truth, "p", [2, 2], got).message  # another shape has none
    assert rows.against_truth(truth, "p", [2, 2], got[:2]).message == ""


def test_a_choice_within_the_margin_is_right_either_way_and_ends_a_comparison():
    close, apart = TwoWays(1e-9), TwoWays(1.0)
    assert rows.unlike_greedy(close, "p", [2], [0, 1]).ok
    assert rows.same_choice(close, "p", [2], [0, 4], [1, 3]).ok
    assert not rows.unlike_greedy(apart, "p", [2], [0, 1]).ok
    assert not rows.same_choice(apart, "p", [2], [0, 4], [1, 3]).ok


def test_a_doubtful_choice_is_no_excuse_for_who_claims_that_there_is_none():
    finding = rows.same_choice(TwoWays(1e-9), "p", [2], [0], [1], exact=True)
    assert finding.message == "ids[0] is 0, 1 came the other way, and D1 is claimed"


def test_a_third_id_in_place_of_two_doubtful_ones_is_wrong():
    assert not rows.same_choice(TwoWays(1e-9), "p", [2], [0], [4]).ok
    assert not rows.same_choice(TwoWays(1e-9), "p", [2], [0], [7]).ok


def test_an_end_of_sequence_id_ends_the_count_and_nothing_else_does():
    assert rows.counted([4, 4, 9], 5, ends=[9]).ok
    assert rows.counted([4, 4, 4], 3, ends=[9]).ok
    assert not rows.counted([4, 4, 4], 5, ends=[9]).ok
    assert not rows.counted([4, 9, 4], 3, ends=[9]).ok


def test_a_longer_list_is_not_the_same_choice():
    assert rows.same_choice(TwoWays(1.0), "p", [2], [0, 0], [0]).message == "ids has 2 ids, 1 came the other way"


@pytest.mark.parametrize(
    "change", ["heads", "head-channels", "hidden-units", "query-and-key", "norm-gain", "vocabulary"]
)
def test_a_rewritten_bundle_holds_other_tensors_and_computes_the_same(tmp_path, change):
    class Fixed:
        def integer(self, low, high):
            return low

        def integers(self, count, low, high):
            return [low] * count

    library = Library(tmp_path, "0")
    bundle, place = attention.rewritten(library, "plain", change, Fixed())
    assert bundle.digest != library.get("plain").digest
    ids = [3, 200, 17, 3, 99]
    truth = reference_logits(library.get("plain").path, ids)
    rewritten = reference_logits(bundle.path, [place[token] for token in ids])[:, place]
    np.testing.assert_allclose(rewritten, truth, rtol=0, atol=1e-12)


def reference_logits(path, ids):
    connection = adapters.connect("reference")
    model = connection.call("load_model", {"path": str(path)})["model"]
    return connection.call("forward", {"model": model, "ids": [ids]})["logits"][0]


def test_an_altered_tensor_that_is_not_there_is_our_own_mistake(tmp_path):
    with pytest.raises(ValueError, match=r"no tensor of plain ends in 'query\.biass'"):
        numerics.altered(Library(tmp_path, "0"), "plain", {"query.biass": 2})


def test_questions_leave_the_library_as_it_was(tmp_path):
    library = Library(tmp_path, "0")
    before: Parts = library.parts("plain")
    attention.norm_gain(library.parts("plain"), None)
    for name, array in library.parts("plain").weights.items():
        np.testing.assert_array_equal(array, before.weights[name])
