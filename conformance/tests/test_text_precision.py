"""Text of a compass tells of precision: honest float32 passes, whatever its order, and coarser arithmetic fails."""

import re
from dataclasses import replace

import pytest

from llmasos_conformance import adapters, checks, engine, reference, suite
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.checks import precision
from llmasos_conformance.mutants import honest
from llmasos_conformance.mutants.catalogue import mutants
from llmasos_conformance.mutants.narrow import Unseen
from llmasos_conformance.mutants.runtime import Serving
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import Claims, Generation
from llmasos_conformance.verdict import State


@pytest.fixture(scope="module")
def installed():
    return suite.load(checks=checks.registry())


@pytest.fixture(scope="module")
def bench(tmp_path_factory, installed):
    """An adapter, or an address -> bench."""
    root = tmp_path_factory.mktemp("probes")
    probes, library = Library(root / "candidate", "5"), Library(root / "reference", "5")
    references = {}

    def make(adapter, dtype="float32"):
        if dtype not in references:
            references[dtype] = reference.connect(Claims(dtype=dtype), library, adapters.connect)
        connection = adapters.connect(adapter) if isinstance(adapter, str) else adapters.inprocess.InProcess(adapter)
        described = replace(connection.description, claims=Claims(dtype=dtype))
        candidate = Candidate(Live(connection), described, probes)
        return engine.Bench(installed, checks.registry(), candidate, references[dtype], "5")

    return make


class Text(honest.Split, Unseen):
    """An honest order of which nobody sees more than text."""


class Spoilt:
    """That one, whose texts are changed on their way."""

    def __init__(self, change):
        self.inner, self.change = Serving(Text, "spoilt"), change

    def describe(self):
        return self.inner.describe()

    def load_model(self, path):
        model = self.inner.load_model(path)
        whole = model.generate_text

        def changed(prompt, **options):
            made = whole(prompt, **options)
            return Generation(finish_reason=made.finish_reason, text=self.change(made.text))

        model.generate_text = changed
        return model


def outcome(bench, case):
    return engine.run_case(bench, bench.suite.cases[case]).outcome


def test_text_alone_is_enough_to_pass(bench):
    made = bench(Serving(Text, "text"))
    assert made.candidate.description.capabilities == {"load_model"}
    found = outcome(made, "text.precision")
    assert found.state is State.PASS, found.message
    assert found.figures["decided"] > 1.25 * precision.LEAST
    assert found.figures["lag"] < 0.1


@pytest.mark.parametrize("case", ["greedy.precision", "llama.greedy.precision", "transformer.text.precision"])
@pytest.mark.parametrize("address", ["reference", "reference:float32/reversed"])
def test_honest_orders_pass(bench, case, address):
    assert outcome(bench(address), case).state is State.PASS


@pytest.mark.parametrize("name", ["text-tf32", "text-tf32-llama", "text-tf32-transformer", "text-cache-float16"])
def test_fewer_digits_fail_by_their_text_alone(bench, name):
    made = bench(mutants()[name].adapter())
    case = {"llama": "llama.text.precision", "transformer": "transformer.text.precision"}
    found = outcome(made, case.get(name.rpartition("-")[2], "text.precision"))
    assert found.state is State.FAIL
    assert "its logit is larger by" in found.message
    assert "honest float32 error reaches" in found.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-1] + chr(ord(text[-1]) ^ 32), r"was due"),
        (lambda text: text[:-1], r"39 ids, 40 were due"),
        (lambda text: text + "0" * 30, r"70 ids, 40 were due"),
        (lambda text: "\u00e9" + text[1:-1], r"bytes of texts\[0\]\[0\] is 195, \d+ was due"),
        (lambda text: "", r"0 ids, 40 were due"),
        (lambda text: None, "generation.text is missing"),
    ],
)
def test_a_text_that_is_another_fails(bench, change, message):
    found = outcome(bench(Spoilt(change)), "text.precision")
    assert found.state is State.FAIL
    assert re.search(message, found.message), found.message


def test_too_few_choices_that_count_decide_nothing(bench, monkeypatch):
    monkeypatch.setattr(precision, "LEAST", 1000)
    found = outcome(bench(Serving(Text, "text")), "text.precision")
    assert found.state is State.INCONCLUSIVE
    assert "beyond the margin of float32, 1000 must be" in found.message


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_compass_is_not_asked_where_half_precision_is_claimed(bench, dtype):
    found = outcome(bench(Serving(Text, "text"), dtype), "text.precision")
    assert found.state is State.NOT_APPLICABLE
    assert "asks for 24 significant bits" in found.message
