"""Checks, suites and mutants of BERT and the Transformer: right candidates pass, and an answer spoilt on its way fails.

The message of a failure names what is wrong, and judging the same answers again gives the same outcome.
"""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from llmasos_conformance import adapters, checks, engine, reference, suite
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.mutants import encoder_variants, table
from llmasos_conformance.mutants.catalogue import mutants
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import Refusal
from llmasos_conformance.verdict import State

PREFIXES = ("bert.", "transformer.")
GROUPS = ("bert", "transformer", "encoder_small")


@pytest.fixture(scope="module")
def installed():
    return suite.load(checks=checks.registry())


@pytest.fixture(scope="module")
def world(tmp_path_factory, installed):
    """address, spoil -> bench; `spoil(method, params, call)` stands between harness and candidate."""
    root = tmp_path_factory.mktemp("probes")
    probes = Library(root / "candidate", "0")
    claims = adapters.connect("reference:float32").description.claims
    known = reference.connect(claims, Library(root / "reference", "0"), adapters.connect)

    def make(address="reference:float32", spoil=None):
        made = Spoilt(adapters.connect(address), spoil or (lambda method, params, call: call()))
        return engine.Bench(installed, checks.registry(), Candidate(Live(made), made.description, probes), known, "0")

    return make


@dataclass
class Spoilt:
    inner: object
    spoil: object

    @property
    def description(self):
        return self.inner.description

    def call(self, method, params):
        return self.spoil(method, params, lambda **changed: self.inner.call(method, {**params, **changed}))

    def close(self):
        self.inner.close()


def answers(method, change, member=None):
    """An answer of a method is changed: the whole of it, or a member."""

    def spoil(asked, params, call):
        answer = call()
        if asked != method:
            return answer
        return change(answer, params) if member is None else {**answer, member: change(answer[member], params)}

    return lambda: spoil


def nudged(rows, params):
    return [row + np.float32(1e-3) * np.arange(row.size, dtype=np.float32).reshape(row.shape) % 3 for row in rows]


def every(n, change, method="forward", member="logits"):
    """Every nth answer of a method is changed."""

    def fresh():
        calls = Counter()

        def spoil(asked, params, call):
            answer = call()
            if asked != method:
                return answer
            calls[method] += 1
            return answer if calls[method] % n else {**answer, member: change(answer[member], params)}

        return spoil

    return fresh


def accepts(method, answer):
    """A call that must be refused is answered."""

    def spoil(asked, params, call):
        try:
            return call()
        except Refusal:
            if asked == method:
                return answer
            raise

    return lambda: spoil


def refuses(method, code="unsupported"):
    def spoil(asked, params, call):
        if asked == method:
            raise Refusal(code, "no")
        return call()

    return lambda: spoil


def last_id_changed(ids, params):
    return [*ids[:-1], (ids[-1] + 1) % 200] if ids else ids


def first_fill(change):
    def apply(fills, params):
        return [change(dict(fills[0])), *fills[1:]]

    return apply


NUDGE, AGAIN = answers("forward", nudged, "logits"), every(2, nudged)
IDS = answers("generate_ids", last_id_changed, "ids")


def backwards(made, params):
    return made[::-1]


def pooled_off(pooled, params):
    return pooled + np.float32(1e-2)


def hidden_off(hidden, params):
    return [rows + np.float32(1e-2) for rows in hidden]


def scores_off(scores, params):
    return [scores[0], *(score - 1 for score in scores[1:])]


def short_ones_changed(ids, params):
    return ids if params["max_length"] > 3 else last_id_changed(ids, params)


WRONG = [
    ("bert.plain", NUDGE, "logits"),
    ("bert.head.bias", NUDGE, r"with 8x head\.bias"),
    ("bert.bidirectional.last-token", AGAIN, r"token \d+ changed"),
    ("bert.batch.permuted", answers("forward", backwards, "logits"), r"row \d came as row \d|has shape"),
    ("bert.batch.five", answers("forward", backwards, "logits"), "in a batch of 5"),
    ("bert.heads-permuted", AGAIN, "heads"),
    ("bert.state.after-batch", every(3, nudged), "batch"),
    ("bert.state.other-types", AGAIN, "call 1 of three with the same ids"),
    ("bert.state.two-models", NUDGE, "to the other of two models"),
    ("bert.fill.several", answers("fill_mask", backwards, "fills"), r"got what the one at \d+ was due"),
    ("bert.fill.in-order", answers("fill_mask", backwards, "fills"), "masks at"),
    ("bert.encode.pooled", answers("encode", pooled_off, "pooled"), "pooled"),
    ("bert.encode.state.after-batch", every(3, hidden_off, "encode", "hidden"), r"hidden\[.* \(after batch\)"),
    ("bert.encode.refuses.ids", answers("encode", hidden_off, "hidden"), "a right row after the refusals"),
    ("bert.encode.refuses.fill-count", accepts("fill_mask", {"fills": []}), "answered, refusal with invalid_argument"),
    ("bert.encode.format.defaults", answers("encode", hidden_off, "hidden"), "document 'left out'"),
    ("bert.encode.format.three-keys", refuses("load_model", "invalid_format"), "it is valid"),
    ("bert.format.foreign-keys", accepts("load_model", {"model": "m"}), "decoder layers"),
    ("bert.format.three-keys", refuses("load_model", "invalid_format"), "refused with invalid_format"),
    ("bert.format.defaults", AGAIN, "spelt out"),
    ("bert.format.epsilon", NUDGE, "epsilon"),
    ("bert.format.weights", accepts("load_model", {"model": "m"}), r"pooler\.weight missing: it loaded"),
    ("bert.refuses.source", accepts("forward", {"logits": []}), "answered, refusal with invalid_argument"),
    ("transformer.plain", NUDGE, "logits"),
    ("transformer.causal", AGAIN, r"target token \d+ and what follows it changed"),
    (
        "transformer.cache.single-steps",
        answers("extend", lambda row, params: row + np.float32(1e-3), "logits"),
        "in pieces of",
    ),
    ("transformer.score", answers("score", scores_off, "logprobs"), "score of"),
    ("transformer.generate.plain", IDS, "its logit is larger"),
    ("transformer.generate.echo", IDS, "it stands there in a source of"),
    ("transformer.generate.longer-limit", answers("generate_ids", short_ones_changed, "ids"), "max_length"),
    ("beams.few.transformer", IDS, "4 beams gave"),
    ("beams.exhaustive.transformer", IDS, "scores|no continuation"),
    ("transformer.text.source-document", refuses("generate_text"), "a valid request was refused"),
]


def known(installed):
    return [case for case in installed.cases.values() if case.id.startswith(PREFIXES)]


def test_every_case_says_which_architecture_it_needs(installed):
    need = {"bert.": "BERT", "transformer.": "Transformer"}
    cases = known(installed)
    assert len(cases) > 200
    assert all(need[prefix] in case.needs for case in cases for prefix in PREFIXES if case.id.startswith(prefix))


def test_every_requirement_of_the_two_is_asked_by_a_case(installed):
    asked = {case.requirement for case in installed.cases.values()}
    assert {name for name in installed.requirements if name.startswith(("BERT-", "TRF-"))} <= asked


@pytest.mark.parametrize("address", ["reference:float32", "honest:bert-left", "honest:trf-left"])
def test_right_candidates_pass_and_a_replay_says_the_same(world, installed, address):
    bench = world(address)
    for identity in dict.fromkeys(identity for identity, *_ in WRONG):
        case = installed.cases[identity]
        if case.needs - bench.candidate.description.offers:
            continue
        trace = engine.run_case(bench, case)
        assert trace.outcome.state is State.PASS, (identity, trace.outcome.message)
        assert engine.rejudge(bench, case, trace.examples) == trace.outcome


@pytest.mark.parametrize(("identity", "spoil", "message"), WRONG, ids=[identity for identity, *_ in WRONG])
def test_a_spoilt_answer_fails_and_is_named(world, installed, identity, spoil, message):
    trace = engine.run_case(world(spoil=spoil()), installed.cases[identity])
    assert trace.outcome.state is State.FAIL, (trace.outcome, trace.detail)
    assert re.search(message, trace.outcome.message), trace.outcome.message


# ── mutants ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SLICE = (
    "bert-epsilon-1e-5",
    "bert-types-after-norm",
    "bert-positions-from-two",
    "bert-masks-in-turn",
    "bert-pads-attended",
    "bert-default-epsilon",
    "bert-batch-lingers",
    "trf-sinusoid-halves",
    "trf-scale-on-positions",
    "trf-source-pads-crossed",
    "trf-cross-kept",
    "trf-depth-of-encoder",
    "trf-starts-with-bos",
    "trf-limit-cuts-source",
)
"""One mutant of each kind of fault."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return table.Workshop(tmp_path_factory.mktemp("mutants"), [f"{prefix}*" for prefix in PREFIXES])


@pytest.mark.parametrize("name", SLICE)
def test_a_mutant_fails_the_requirement_that_it_breaks(workshop, name):
    made = mutants()[name]
    row = workshop.row("mutant", name, [case for case in workshop.cases if case.requirement == made.requirement])
    assert row.trouble == ""


def test_a_mutant_is_run_against_cases_of_its_own_architecture_alone(workshop):
    transformer = [case for case in workshop.cases if case.id == "transformer.plain"]
    assert workshop.row("mutant", "bert-causal", transformer).failed == {}


def test_a_small_fault_is_within_a_hundred_honest_errors(workshop):
    for name in ("bert-epsilon-wired", "bert-erf-three-terms", "trf-logits-four-decimals", "trf-table-of-256"):
        assert mutants()[name].group == "encoder_small"
        assert workshop.row("mutant", name, []).size < 100


def test_there_are_many_and_a_third_of_the_least_is_small():
    counts = Counter(made.group for made in mutants().values())
    assert counts["encoder_small"] >= 24
    assert min(counts["bert"], counts["transformer"]) >= 24


@pytest.mark.parametrize("name", encoder_variants.NULL)
def test_a_candidate_that_computes_nothing_fails(workshop, name):
    first = ("bert.plain", "transformer.plain", "bert.format.three-keys", "bert.format.foreign-keys")
    some = [case for case in workshop.cases if case.id in (*first, "transformer.format.foreign-keys")]
    assert workshop.row("null", name, some).failed
