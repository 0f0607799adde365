"""The suites of Llama, of bands and of beams: the reference and honest runtimes pass, and mutants fail their own.

Beside them: rewritten models compute the same function, and speakers say what is written of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmasos_conformance import engine
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.checks import attention, beams, bundles, windows
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.mutants import table
from llmasos_conformance.mutants.catalogue import Mutant, mutants
from llmasos_conformance.mutants.llama_runtime import LlamaLoader, LlamaRuntime
from llmasos_conformance.mutants.loader import refuse
from llmasos_conformance.mutants.runtime import Serving
from llmasos_conformance.mutants.variants import HONEST, NULL
from llmasos_conformance.probes import Library
from llmasos_conformance.verdict import State

llmasos = pytest.importorskip("llmasos")

OURS = ("llama.*", "banded.*", "beams.*")
NEW = {name: made for name, made in mutants().items() if made.group in ("llama", "bands", "beams")}
LLAMA = [name for name, kind in HONEST.items() if kind.architecture == "Llama"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> table.Workshop:
    return table.Workshop(tmp_path_factory.mktemp("suites"), OURS)


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> table.Workshop:
    """One example of each case: all examples over many seeds are what `bench/false_failures.py` asks."""
    return table.Workshop(tmp_path_factory.mktemp("lean"), OURS, lean=True)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "probes", "0")


# The suites.


def test_the_reference_passes_every_case_in_float32(workshop: table.Workshop) -> None:
    candidate = workshop.candidate("reference:float32/reversed")
    bench = engine.Bench(workshop.suite, workshop.checks, candidate, workshop.reference, table.SEED)
    outcomes = [engine.run_case(bench, case).outcome for case in workshop.cases]
    assert len(outcomes) > 150
    assert [(outcome.case, outcome.message) for outcome in outcomes if not outcome.ok] == []


@pytest.mark.parametrize("name", [*LLAMA, "plain", "online"])
def test_an_honest_runtime_fails_nothing_and_stays_within_half_of_every_bound(name: str, lean: table.Workshop) -> None:
    assert lean.row("honest", name).trouble == ""


@pytest.mark.parametrize("name", NEW)
def test_a_mutant_fails_the_requirement_that_it_breaks(name: str, workshop: table.Workshop) -> None:
    expected = NEW[name].requirement
    cases = [case for case in workshop.cases if case.requirement == expected]
    assert cases
    assert workshop.row("mutant", name, cases).trouble == ""


@pytest.mark.parametrize("name", ["window-one-more", "rotary-theta-ignored", "key-value-heads-tiled", "silu-cut-tails"])
def test_a_fault_that_an_ordinary_model_does_not_show_has_a_probe_that_shows_it(
    name: str, workshop: table.Workshop
) -> None:
    row = workshop.row("mutant", name)
    assert row.size is not None
    assert row.size < 6
    assert row.failed


def test_a_gross_fault_leaves_what_has_nothing_to_do_with_it_alone(workshop: table.Workshop) -> None:
    failed = set(workshop.row("mutant", "rotary-interleaved").failed)
    assert "llama.rotary.pairs" in failed
    assert not {
        case for case in failed if workshop.suite.cases[case].check.startswith(("rejects", "refuses", "answers"))
    }
    assert "llama.rotary.values" not in failed  # in a row of one token, angles change nothing


def test_a_mutant_that_was_planted_twice_is_asked_about_its_requirement_alone(workshop: table.Workshop) -> None:
    made = NEW["llama-causal-leak"]
    assert made.asked == {"ATT-3"}
    failed = workshop.row("mutant", "llama-causal-leak").failed
    assert set(failed.values()) == {"ATT-3"}


def test_null_candidates_for_llama_fail_most_of_what_has_a_number(workshop: table.Workshop) -> None:
    numbers = [case for case in workshop.cases if case.check == "agrees-with-reference" and "Llama" in case.needs]
    for name in (name for name in NULL if name.startswith("llama-") and name != "llama-accept-all"):
        assert len(workshop.row("null", name, numbers).failed) > 0.8 * len(numbers), name


def test_a_candidate_of_another_architecture_is_not_asked(workshop: table.Workshop) -> None:
    asked = [case for case in workshop.cases if "Llama" not in case.needs]
    assert workshop.row("honest", "plain").undecided == {}
    assert {case.id.split(".")[0] for case in asked} == {"banded", "beams"}


def test_a_third_of_the_mutants_of_llama_and_bands_are_small(workshop: table.Workshop) -> None:
    own = [name for name, made in NEW.items() if made.group != "beams" and not made.asked]
    sizes = [workshop.size(workshop.candidate(f"mutant:{name}")) for name in own]
    assert len(own) >= 22
    assert sum(size is not None and size < 100 for size in sizes) * 3 >= len(own)


def test_names_requirements_and_sources_are_sound() -> None:
    assert all(isinstance(made, Mutant) and made.bug.endswith(".") and "#" in made.source for made in NEW.values())


# Windows that are not offered.


class NoWindows(LlamaLoader):
    """Refuses a window by the code of the standard."""

    def keys(self, given: Any, key: str) -> int | None:
        width = super().keys(given, key)
        if width is not None:
            raise refuse("windows are not offered", "unsupported")
        return None


class Windowless(LlamaRuntime):
    """An honest runtime without windows."""

    loader = NoWindows
    withholds = frozenset({"window"})


def test_a_candidate_without_windows_refuses_them_and_passes(workshop: table.Workshop) -> None:
    connection = InProcess(Serving(Windowless, "windowless"))
    candidate = Candidate(Live(connection), connection.description, workshop.probes)
    bench = engine.Bench(workshop.suite, workshop.checks, candidate, workshop.reference, table.SEED)
    states = {
        case.id: engine.run_case(bench, case).outcome.state
        for case in workshop.cases
        if case.id in ("llama.window.not-offered", "llama.window.bounds", "llama.parameters.window")
    }
    assert states == {
        "llama.window.not-offered": State.PASS,
        "llama.window.bounds": State.NOT_DECLARED,
        "llama.parameters.window": State.NOT_DECLARED,
    }


# Rewritten models.


@pytest.mark.parametrize(
    ("probe", "change"),
    [
        ("llama-gqa", "groups"),
        ("llama-one-group", "groups"),
        ("llama-plain", "groups"),
        ("llama-gqa", "pairs"),
        ("llama-asymmetric", "pairs"),
        ("llama-hot-ffn", "up-and-down"),
        ("llama-asymmetric", "hidden-units"),
        ("llama-plain", "norm-gain"),
        ("llama-gqa", "query-and-key"),
        ("llama-tied", "vocabulary"),
    ],
)
def test_a_rewritten_model_computes_the_same_function_from_other_tensors(
    probe: str, change: str, library: Library
) -> None:
    draw = KeyedDraw("", "0", change, 0)
    bundle, place = attention.rewritten(library, probe, change, draw)
    assert bundle.digest != library.get(probe).digest
    ids = [5, 17, 40, 3, 3, 60]
    plain = llmasos.load_model(library.get(probe).path).forward([ids])[0]
    other = llmasos.load_model(bundle.path).forward([[place[token] for token in ids]])[0][:, place]
    assert other == pytest.approx(plain, abs=1e-9)


def test_a_quarter_turn_of_pairs_is_no_symmetry_of_neighbouring_pairs(library: Library) -> None:
    draw = KeyedDraw("", "0", "pairs", 0)
    parts = library.parts("llama-plain")
    before = parts.weights["layers.0.attention.query.weight"].copy()
    attention.pairs(parts, draw)
    after = parts.weights["layers.0.attention.query.weight"]
    K = 16
    assert np.array_equal(after[:, 0], -before[:, K // 2])
    assert np.array_equal(after[:, K // 2], before[:, 0])


# What is out of reach.


def test_reach_is_one_less_than_the_window_per_layer(library: Library) -> None:
    assert windows.reach(library.get("llama-window")) == 2 * 4
    assert windows.reach(library.get("llama-window-one")) == 0
    model = llmasos.load_model(library.get("llama-window").path)
    ids = [(31 * i + 7) % 263 for i in range(20)]
    last = model.forward([ids])[0][-1]
    at_reach, beyond = list(ids), list(ids)
    at_reach[-1 - 8] += 1
    beyond[-1 - 9] += 1
    assert np.array_equal(model.forward([beyond])[0][-1], last)
    assert not np.array_equal(model.forward([at_reach])[0][-1], last)


# Speakers.


@pytest.mark.parametrize("architecture", ["GPT-3", "Llama"])
def test_a_chain_has_the_laws_that_are_written_in_it(architecture: str, library: Library) -> None:
    chain = [["s", "a", 0.6], ["s", 256, 0.4], ["a", "s", 1]]
    made = bundles.speaker(library, {"architecture": architecture, "chain": chain, "eos": [256]})
    logits = llmasos.load_model(made.path).forward([list(b"sas")])[0]
    law = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert law[[0, 2]][:, [97, 256]] == pytest.approx(np.array([[0.6, 0.4]] * 2), abs=1e-4)
    assert law[1, ord("s")] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("architecture", ["GPT-3", "Llama"])
def test_what_follows_is_known_beforehand(architecture: str, library: Library) -> None:
    model = {"architecture": architecture, "follows": [["a", "b"], ["b", "c"], ["c", "a"]], "context": 12}
    made = llmasos.load_model(bundles.speaker(library, model).path)
    assert [int(row.argmax()) for row in made.forward([list(b"abca")])[0]] == bundles.spoken(model, list(b"abca"))
    assert list(made.generate_ids(list(b"ab"), 5, 0).ids) == bundles.continued(model, list(b"ab"), 5) == list(b"cabca")
    assert len(bundles.continued(model, [97] * 10, 5)) == 2


@pytest.mark.parametrize("architecture", ["GPT-3", "Llama"])
def test_logits_are_those_written_down_at_every_position(architecture: str, library: Library) -> None:
    model = {"architecture": architecture, "logits": [["a", 6], ["b", -2.5], [257, 1]]}
    rows = llmasos.load_model(bundles.speaker(library, model).path).forward([[1, 97, 259]])[0]
    due = np.full(260, -100.0)
    due[[97, 98, 257]] = 6, -2.5, 1
    assert rows == pytest.approx(np.stack([due] * 3), rel=1e-5)


def test_a_transformer_has_no_logits_of_its_own(library: Library) -> None:
    with pytest.raises(ValueError, match="use `chain`"):
        bundles.speaker(library, {"architecture": "Transformer", "logits": [["a", 1]]})


def test_a_llama_cannot_say_something_at_a_position(library: Library) -> None:
    with pytest.raises(ValueError, match="use `follows`"):
        bundles.speaker(library, {"architecture": "Llama", "says": ["no"]})


def test_what_is_said_is_known_beforehand_and_then_full_stops_come() -> None:
    model = {"says": ["hey"], "after": 2, "context": 8}
    assert bytes(bundles.spoken(model, [0] * 6)) == b".hey.."
    assert bytes(bundles.continued(model, [0, 0], 9)) == b"hey..."


# Beams.


def test_all_continuations_of_a_few_steps_are_tried() -> None:
    every = list(beams._continuations(3, 2, [2]))
    assert sorted(every) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2,)]


@pytest.mark.parametrize(
    ("ids", "reason", "wrong"),
    [
        ([0, 1], "length", ""),
        ([0, 0], "length", "was due"),
        ([2], "stop", "was due"),
        ([0, 1], "stop", "length was due"),
        ([0], "length", "no continuation"),
    ],
)
def test_a_result_of_beams_is_the_best_or_named_beside_it(ids: list[int], reason: str, wrong: str) -> None:
    totals = {(0, 0): -2.0, (0, 1): -1.0, (0, 2): -3.0, (2,): -0.9}
    found = beams._best(totals, ids, reason, [2], 1.0, 1e-6)
    assert found.ok is (not wrong)
    assert wrong in found.message


def test_a_score_within_honest_error_of_the_best_is_right() -> None:
    totals = {(0, 0): -1.0000001, (0, 1): -1.0, (2,): -5.0}
    assert beams._best(totals, [0, 0], "length", [2], 1.0, 1e-6).ok
    assert not beams._best(totals, [0, 0], "length", [2], 1.0, 1e-8).ok


def test_too_few_beams_for_an_exhaustive_search_are_our_own_mistake(workshop: table.Workshop) -> None:
    given = {"probe": "tiny", "steps": 3, "beams": 24, "penalties": [1]}
    with pytest.raises(ValueError, match="too few"):
        beams.judge_best(given, {"prompt": [1], "ids": [[4]], "reasons": ["stop"]}, workshop.reference)


def test_a_search_over_the_references_logits_is_the_references_search(workshop: table.Workshop) -> None:
    prompt = [5, 6, 7]
    due, gap, slack = beams._search(workshop.reference, "llama-gqa", prompt, 5, 3)
    model = llmasos.load_model(workshop.probes.get("llama-gqa").path)
    assert list(model.generate_ids(prompt, 5, 0, beams=3).ids) == due
    assert slack < gap
    given = {"probe": "llama-gqa", "steps": 5, "beams": 3}
    assert beams.judge_followed(given, {"prompt": prompt, "ids": due}, workshop.reference).ok
    found = beams.judge_followed(given, {"prompt": prompt, "ids": [*due[:-1], due[-1] ^ 1]}, workshop.reference)
    assert "was due" in found.message
