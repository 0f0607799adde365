"""The interchange suite: who passes, who fails, and what a failure says."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from llmasos_conformance import installed, policy, suite
from llmasos_conformance.checks import interchange, registry
from llmasos_conformance.graphs import making, running
from llmasos_conformance.graphs.contract import FILE
from llmasos_conformance.mutants import table
from llmasos_conformance.mutants.catalogue import mutants
from llmasos_conformance.mutants.interchanged import Served, Steps
from llmasos_conformance.verdict import State

SLICE = (
    "onnx-mask-behind-past", "onnx-cache-half", "onnx-epsilon-default", "onnx-inputs-by-position", "onnx-int8-made",
    "onnx-data-links", "onnx-future-opset", "onnx-own-operators", "onnx-refusal-unloads", "onnx-types-left-out",
    "graph-overlooked",
    "export-mask-infinite", "export-past-frozen", "export-epsilon-lost", "export-int8", "export-data-absolute",
    "export-names-of-the-day", "export-groups-in-turn", "export-pooled-column-zero",
)  # fmt: skip
"""One mutant of each kind of fault."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return table.Workshop(tmp_path_factory.mktemp("onnx"), ["interchange.*", "onnx.*", "export.*"])


def of(workshop, requirement):
    return [case for case in workshop.cases if case.requirement == requirement]


@pytest.mark.parametrize("name", SLICE)
def test_a_mutant_fails_the_requirement_that_it_breaks(workshop, name):
    row = workshop.row("mutant", name, of(workshop, mutants()[name].requirement))
    assert row.trouble == ""


def test_every_requirement_of_the_chapter_is_broken_by_a_mutant_of_the_group(workshop):
    chapter = {name for name, each in workshop.suite.requirements.items() if each.chapter == "interchange"}
    assert chapter - {"ONNX-24"} == {made.requirement for made in mutants().values() if made.group.startswith("onnx")}
    assert mutants()["graph-overlooked"].requirement == "ONNX-24"  # of a candidate that runs no graphs


def test_without_a_fault_the_candidate_that_mutants_are_made_of_passes_everything(workshop, monkeypatch):
    monkeypatch.setitem(
        mutants(), "sound", table.Mutant(
            name="sound", group="onnx", source="", requirement="", bug="", adapter=lambda: Served("sound", Steps())
        ),
    )  # fmt: skip
    row = workshop.row("mutant", "sound")
    assert row.failed == row.undecided == {}
    assert 0 < row.share < 0.5


@pytest.mark.parametrize("address", ["onnxruntime:float64/right", "reference:float32/split-k"])
def test_other_honest_candidates_pass(workshop, address):
    candidate = workshop.candidate(address)
    claims = candidate.description.claims
    reference = table.references.connect(claims, workshop.reference.probes, table.adapters.connect)
    bench = table.engine.Bench(workshop.suite, workshop.checks, candidate, reference, table.SEED)
    cases = [case for case in workshop.cases if case.needs <= candidate.description.offers]
    assert len(cases) > 30
    wrong = [outcome for case in cases if not (outcome := table.engine.run_case(bench, case).outcome).ok]
    assert wrong == []


# ── what a judge says ───────────────────────────────────────────────────────────────────────────────────────────────

FORM = {"probe": "ids-only", "opset": 17, "cached": False, "external": False, "factor": {}}


@pytest.fixture(scope="module")
def files(workshop):
    architecture, sizes, weights = interchange.subject(workshop.probes, FORM)
    return lambda **options: making.files(architecture, sizes, weights, **options)


def judged(workshop, check, given, **asked):
    return registry()[check].judge(given, asked, workshop.reference)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({"opset": 13}, {}, "needs operator set 17, 13 was asked for"),
        ({"cached": True}, {}, "exported whole, cached was asked for"),
        ({"external": True}, {}, "has 0 tensors outside, and external is True"),
        ({}, {"external": True}, "tensors outside, and external is False"),
        ({}, {"dtype": "float64"}, "exported as float64, float32 was due"),
    ],
)
def test_a_form_that_was_not_asked_for_is_named(workshop, files, given, options, message):
    finding = judged(workshop, "export-form", {**FORM, **given}, files=files(**options))
    assert finding.state is State.FAIL
    assert message in finding.message


def test_what_is_missing_or_too_much_is_named(workshop, files):
    assert (
        "no model.onnx among ['other.onnx']" in judged(workshop, "export-form", FORM, files={"other.onnx": b""}).message
    )
    spare = judged(workshop, "export-form", FORM, files={**files(), "notes.txt": b"x"})
    assert "notes.txt belongs to nothing" in spare.message
    assert judged(workshop, "export-form", FORM, files=files()).ok
    broken = judged(workshop, "export-form", FORM, files={FILE: b"\0"})
    assert (broken.state, broken.got) == (State.FAIL, "invalid_format")


def test_a_graph_with_an_operator_that_the_suite_does_not_compute_is_not_judged(workshop, files, monkeypatch):
    monkeypatch.setattr(running, "OPERATORS", {k: v for k, v in running.OPERATORS.items() if k != "MatMul"})
    rows = [interchange.Row(ids=[1, 2, 3])]
    given = {**FORM, "side": "right", "pieces": []}
    finding = judged(workshop, "export-agrees", given, files=files(), rows=rows)
    assert finding.state is State.INCONCLUSIVE
    assert "does not compute the operator MatMul" in finding.message


def test_two_exports_that_differ_say_where(workshop):
    finding = judged(workshop, "export-repeats", FORM, files=[{FILE: b"abcd"}, {FILE: b"abXd"}])
    assert "at byte 2" in finding.message
    assert not judged(workshop, "export-repeats", FORM, files=[{FILE: b""}, {"other": b""}]).ok
    assert judged(workshop, "export-repeats", FORM, files=[{FILE: b"a"}, {FILE: b"a"}]).ok


@pytest.mark.parametrize("side", ["right", "left", "scattered"])
def test_columns_keep_the_order_of_a_row(side):
    draw = table.KeyedDraw("", "s", "c", 0)
    for count in range(1, 9):
        columns = interchange._columns(draw, side, count, 8)
        assert len(columns) == count
        assert columns == sorted(set(columns))
        assert max(columns) < 8 + 3 * (side == "scattered")


def test_a_bundle_of_the_suite_holds_its_numbers_in_the_graph_alone(workshop):
    """And the graph is the same on every machine: its digest is that of this version."""
    candidate = workshop.candidate("onnxruntime")
    given = {**FORM, "cached": True}
    interchange.interchanged(candidate, given)
    bundle = (
        candidate.probes._made if False else sorted(candidate.probes.root.iterdir(), key=lambda p: p.stat().st_mtime)
    )
    newest = bundle[-1]
    assert sorted(path.name for path in newest.iterdir()) == ["model.json", "model.onnx"]


# ── from one end to the other ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Suites with a small profile of both directions, a key and its trust file."""
    root = tmp_path_factory.mktemp("certify")
    shutil.copytree(installed.suites(), root / "suites")
    cases = [
        "interchange.padding",
        "interchange.cache.*",
        "onnx.precision",
        "onnx.data.*",
        "export.plain",
        "export.form*",
    ]
    suite.freeze("tiny", directory=root / "suites", requires=["load_model"], match=cases)
    policy.keygen(root / "keys", owner="acme", now=datetime(2026, 1, 1, tzinfo=UTC))
    return root


def llmasos(*words):
    """A command as a user runs it; its exit code, and what it printed as JSON."""
    made = subprocess.run(
        [sys.executable, "-m", "llmasos_conformance.cli", *map(str, words), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.stdout, made.stderr
    return made.returncode, json.loads(made.stdout)


@pytest.mark.parametrize("adapter", ["onnxruntime", "reference"])
def test_a_run_is_certified_verified_and_judged_again(place, tmp_path, adapter):
    """Exported files are evidence: who judges again computes them on his own machine."""
    keys, suites, report = place / "keys", place / "suites", tmp_path / "report"
    code, told = llmasos(
        "certify", "--adapter", adapter, "--profile", "tiny", "--suites", suites, "--key", keys / "key.pem", "--out",
        report, "--seed", "7",
    )  # fmt: skip
    assert (code, told["verdict"]) == (0, "conformant")
    code, told = llmasos("verify", report, "--trust", keys / "trust.json", "--suites", suites, "--rejudge")
    assert (code, told["level"]) == (0, "re-judged")


def test_onnxruntime_is_certified_in_the_core_profile(place, tmp_path):
    keys, report = place / "keys", tmp_path / "report"
    code, told = llmasos(
        "certify",
        "--adapter",
        "onnxruntime",
        "--profile",
        "core/gpt/logits",
        "--key",
        keys / "key.pem",
        "--out",
        report,
    )
    assert (code, told["verdict"]) == (0, "conformant")
    code, told = llmasos("verify", report, "--trust", keys / "trust.json", "--rejudge")
    assert (code, told["level"]) == (0, "re-judged")


def test_numbers_of_a_suite_file_are_finite():
    architecture, sizes, weights = (
        "GPT-3",
        interchange.config(interchange.PLAIN),
        interchange.tensors(interchange.config(interchange.PLAIN)),
    )
    for model in making.models(architecture, sizes, weights).values():
        assert all(np.all(np.isfinite(each.array())) for each in model.tensors)
