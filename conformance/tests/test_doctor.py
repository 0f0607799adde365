"""What `llmasos doctor` finds of this directory and of an adapter, and the remedy that it names for each."""

import json
import os
import shlex
import sys
from datetime import date
from pathlib import Path

import pytest

from llmasos_conformance import doctor, installed, isolation, scaffold, suite
from llmasos_conformance.doctor import Row, plugin_rows, thread_row
from llmasos_conformance.engine import Trial
from llmasos_conformance.verdict import Outcome, State


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty directory in which pytest has our plugin."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(isolation.roots()))
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:llmasos -p llmasos_conformance.plugin")
    return tmp_path


def rows_of(look):
    return [(row.name, row.state) for row in look()]


def states(rows):
    return {row.name: row.state for row in rows}


# ── the machine ──


@pytest.mark.parametrize(("version", "state"), [((3, 10), "warn"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "warn")])
def test_a_python_that_the_tests_do_not_run_with_is_told(monkeypatch, version, state):
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    (row,) = (row for row in doctor._versions() if row.name == "python")
    assert row.state == state
    assert bool(row.hint) == (state == "warn")
    assert "3.11 to 3.13" in row.hint or state == "ok"


@pytest.mark.parametrize(
    ("environment", "state", "said"),
    [
        ({}, "ok", "not limited"),
        ({"OMP_NUM_THREADS": "1"}, "ok", "OMP_NUM_THREADS=1"),
        ({"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}, "ok", "MKL_NUM_THREADS=4"),
        ({"OMP_NUM_THREADS": "4,2"}, "warn", "OMP_NUM_THREADS=1"),
        ({"OMP_NUM_THREADS": "0"}, "warn", "OMP_NUM_THREADS=1"),
        ({"OMP_NUM_THREADS": ""}, "warn", "OMP_NUM_THREADS=1"),
        ({"OMP_NUM_THREADS": "²"}, "warn", "OMP_NUM_THREADS=1"),
        ({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "2"}, "warn", "set all of them to 1"),
        ({"OMP_NUM_THREADS": "9"}, "warn", "there are 4 processors"),
    ],
)
def test_threads_that_libraries_would_read_in_different_ways_are_told(environment, state, said):
    row = thread_row(environment, 4)
    assert row.state == state
    assert said in row.text + row.hint


# ── pytest ──


def test_the_pytest_that_is_named_is_the_one_of_this_interpreter():
    here = Path(sys.executable)
    beside = {"pytest": str(here.with_name("pytest")), "python": str(here.with_name("python"))}
    assert installed.pytest_command(beside.get) == "pytest"
    assert installed.pytest_command({**beside, "pytest": "/elsewhere/pytest"}.get) == "python -m pytest"
    assert installed.pytest_command({"python": beside["python"]}.get) == "python -m pytest"
    assert installed.pytest_command({"pytest": "/elsewhere/pytest"}.get) == f"{shlex.quote(str(here))} -m pytest"


def test_a_pytest_of_another_environment_is_told(here, monkeypatch):
    monkeypatch.setattr(installed, "pytest_command", lambda: "python -m pytest")
    row, *_ = doctor._pytest()
    assert (row.name, row.state, row.hint) == ("pytest on PATH", "warn", "python -m pytest …")


def test_a_case_of_the_reference_passes_in_an_empty_directory(here, monkeypatch):
    monkeypatch.setattr(installed, "pytest_command", lambda: "pytest")
    assert rows_of(doctor._pytest) == [("pytest", "ok"), ("pytest plugins", "ok"), ("pytest run", "ok")]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pytest.ini", "[pytest]\naddopts = -k nothing-like-it\n"),
        ("conftest.py", "def pytest_collection_modifyitems(items): items.clear()\n"),
        ("conftest.py", "raise RuntimeError('no GPU')\n"),
    ],
)
def test_what_keeps_a_case_from_passing_is_shown_with_where_to_look(here, file, text):
    (here / file).write_text(text)
    (row,) = (row for row in doctor._pytest() if row.name == "pytest run")
    assert row.state == "warn"
    assert "addopts" in row.hint
    assert "conftest.py" in row.hint


def test_a_plugin_that_is_switched_off_is_told_how_to_come_back(here, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    *_, row = doctor._pytest()
    assert (row.name, row.state) == ("pytest", "warn")
    assert "PYTEST_DISABLE_PLUGIN_AUTOLOAD" in row.hint
    assert "-p llmasos_conformance.plugin" in row.hint


def test_plugins_that_change_what_is_asked_are_named_with_how_to_be_without_them():
    rows = [*plugin_rows("rootdir: /x\nplugins: llmasos-0.1.0, randomly-3.16.0, random-order-1.1.1, cov-5.0.0\n")]
    assert [row.state for row in rows] == ["ok", "warn", "warn"]
    assert rows[0].text == "llmasos, randomly, random-order, cov"
    assert rows[1].hint == "pytest -p no:randomly"
    assert all(remedy.startswith("pytest ") for _, remedy in doctor.DISTURBING.values())
    assert [*plugin_rows("no header")] == [Row("pytest plugins", "ok", "none is named")]


# ── files of this directory ──


def test_a_directory_without_anything_of_ours_is_right(here):
    assert rows_of(doctor._profiles) == [("llmasos.toml", "ok")]
    assert rows_of(doctor._known_failures) == [("known failures", "ok")]


def test_every_profile_is_followed_to_where_it_leads(here):
    text = '[profiles.default]\nadapter = "reference"\n[profiles.gone]\nadapter = "./gone.py:Mine"\n'
    (here / "llmasos.toml").write_text(f"{text}[profiles.odd]\nx = 1\n")
    found = [*doctor._profiles()]
    assert [row.state for row in found] == ["ok", "bad", "bad"]
    assert found[0].text == "@default is reference"
    assert "no file" in found[1].text
    assert 'adapter = "' in found[2].hint


def test_files_of_init_that_certify_another_profile_than_llmasos_toml_are_told(here):
    text = '[profiles.default]\nadapter = "reference"\nprofile = "core/llama/logits"\n'
    (here / "llmasos.toml").write_text(text)
    for name in (scaffold.WORKFLOW, *(f"ci/{policy}" for policy in scaffold.POLICIES)):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("profiles:\n- {profile: core/gpt/logits, level: MUST}\n")
    assert [(row.state, row.text) for row in doctor._profiles()][1:] == [
        ("warn", f"{name} names core/gpt/logits, not core/llama/logits")
        for name in (scaffold.WORKFLOW, "ci/gate.yaml", "ci/gate-unsigned.yaml")
    ]
    for name in (scaffold.WORKFLOW, *(f"ci/{policy}" for policy in scaffold.POLICIES)):
        (here / name).write_text("PROFILE: core/llama/logits\n")
    assert rows_of(doctor._profiles) == [("llmasos.toml", "ok")]


def test_a_profile_of_the_suites_that_a_table_asks_is_told_and_one_that_there_is_not_is_bad(here):
    (here / "llmasos.toml").write_text('[profiles.default]\nadapter = "reference"\nprofile = "core/llama/logits"\n')
    assert [row.text for row in doctor._profiles()] == ["@default is reference, asked core/llama/logits"]
    (here / "llmasos.toml").write_text('[profiles.default]\nadapter = "reference"\nprofile = "core/lama/logits"\n')
    (row,) = doctor._profiles()
    assert row.state == "bad"
    assert "llmasos.toml: `profile` of [profiles.default]" in row.text
    assert "core/llama/logits" in row.hint


LLAMA = """
from dataclasses import replace
from llmasos_conformance.adapters.reference import ReferenceAdapter
class Mine(ReferenceAdapter):
    def describe(self):
        return replace(super().describe(), architectures=("Llama",))
"""


def test_what_comes_next_asks_the_profile_of_the_table_or_else_of_the_architecture(here, llmasos):
    (here / "mine.py").write_text(LLAMA)
    asks = "--llmasos-profile="
    assert f"--adapter=./mine.py:Mine {asks}core/llama/logits\n" in llmasos("doctor", "--adapter", "./mine.py:Mine")[1]
    (here / "llmasos.toml").write_text('[profiles.a]\nadapter = "./mine.py:Mine"\nprofile = "quick/llama"\n')
    assert f"--adapter=@a {asks}quick/llama\n" in llmasos("doctor", "--adapter", "@a")[1]


@pytest.mark.parametrize(
    ("text", "state"), [("[profile.default]\nadapter = 'reference'", "warn"), ("[profiles", "bad")]
)
def test_a_config_that_names_no_profile_or_is_none_is_told(here, llmasos, text, state):
    (here / "llmasos.toml").write_text(text)
    code, out, _ = llmasos("doctor", "--json")
    (row,) = (row for row in json.loads(out)["rows"] if row["name"] == "llmasos.toml")
    assert row["state"] == state
    assert row["try"]
    assert code == (2 if state == "bad" else 0)


ENTRY = """
- case: {case}
  reason: acme/engine#7
  symptom: the honest float32 error
  expires: '{day}'
"""


def known(*entries):
    return "format: 1\nfailures:" + "".join(entries or [" []"]) + "\n"


def test_files_of_known_failures_are_read_wherever_they_are_named(here):
    (here / "ci").mkdir()
    (here / "ci" / "known-failures.yaml").write_text(known())
    (here / "mine.yaml").write_text(known(ENTRY.format(case="numerics.plain", day="2001-01-01")))
    (here / "pytest.ini").write_text("[pytest]\nllmasos_known_failures = mine.yaml\n")
    (here / "pyproject.toml").write_text("[tool.pytest.ini_options]\nllmasos_known_failures = 'absent.yaml'\n")
    found = [*doctor._known_failures()]
    assert [row.state for row in found] == ["bad", "warn", "ok"]
    assert "cannot read" in found[0].text
    assert found[1].text == "mine.yaml: 1 entries, 1 are over: numerics.plain"
    assert found[2].text.endswith("0 entries")


def test_a_file_of_known_failures_that_is_malformed_is_told_with_its_line(here):
    (here / "known-failures.yaml").write_text(known(ENTRY.format(case="numerics.plane", day="2999-01-01")))
    (row,) = doctor._known_failures()
    assert row.state == "bad"
    assert "known-failures.yaml:3" in row.text
    assert "numerics.plain" in row.text


def test_an_entry_is_over_on_the_day_behind_its_last():
    days = {"a": date(2027, 3, 1)}
    assert doctor._expiring(Path("f"), days, date(2027, 3, 1)).state == "ok"
    assert doctor._expiring(Path("f"), days, date(2027, 3, 2)).state == "warn"


@pytest.mark.parametrize("name", ["pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml"])
def test_settings_that_cannot_be_read_are_somebody_elses_to_tell(here, name):
    (here / name).write_text("[[[")
    assert [*doctor._in_settings(here, "llmasos_known_failures")] == []


# ── an adapter ──


def adapter_rows(*words):
    return [*doctor._adapter(*words)]


def test_a_handshake_is_timed_and_numbers_are_measured():
    rows = {row.name: row for row in adapter_rows("honest:plain")}
    assert {row.state for row in rows.values()} <= {"ok", "warn"}
    assert "described itself after " in rows["adapter"].text
    assert rows["standard output"].text.startswith("nothing but the protocol in ")
    assert rows["dtype"].text.startswith("float32 claimed, arithmetic of float32 found: ")
    assert "core/gpt/logits" in rows["profiles"].text


@pytest.mark.parametrize("variant", ["reference:bfloat16/plain", "reference:float16/plain", "reference:float64/online"])
def test_a_claim_that_holds_is_no_finding(variant):
    rows = states(adapter_rows(variant))
    assert rows["dtype"] == "ok"


COARSE = """
from dataclasses import replace
import numpy as np
from llmasos_conformance.adapters.reference import ReferenceAdapter


class Mine(ReferenceAdapter):
    def __init__(self):
        super().__init__("float16/plain")

    def describe(self):
        said = super().describe()
        return replace(said, claims=replace(said.claims, dtype="float32"))
"""


def test_a_claim_of_more_than_is_computed_is_found_and_named(tmp_path, llmasos, here):
    (here / "mine.py").write_text(COARSE)
    code, out, _ = llmasos("doctor", "--adapter", "./mine.py:Mine", "--json")
    (row,) = (row for row in json.loads(out)["rows"] if row["name"] == "dtype")
    assert (code, row["state"]) == (1, "bad")
    assert "float32 claimed, arithmetic of float16 found" in row["text"]
    assert row["try"].startswith("claim float16 if that is meant")


BROKEN = """
from llmasos_conformance.adapters.reference import ReferenceAdapter


class Mine(ReferenceAdapter):
    def load_model(self, path):
        made = super().load_model(path)
        made.forward = lambda *batch, **options: 1 / 0
        return made
"""


def test_a_call_that_gets_no_answer_is_told_as_that_and_not_of_its_dtype(here, llmasos):
    (here / "mine.py").write_text(BROKEN)
    code, out, _ = llmasos("doctor", "--adapter", "./mine.py:Mine", "--json")
    (row,) = (row for row in json.loads(out)["rows"] if row["state"] == "bad")
    assert (code, row["name"]) == (4, "answers")
    assert "ZeroDivisionError" in row["text"]


def trial(state=State.PASS, message="", **figures):
    made = Outcome(case="c", requirement="NUM-1", level="MUST", state=state, message=message, figures=figures)
    return Trial(made, ())


@pytest.mark.parametrize(
    ("tried", "state", "said"),
    [
        (trial(ratio=1.0), "ok", "arithmetic of float32 found"),
        (trial(), "ok", "without logits it is not measured here"),
        (trial(State.FAIL, "logits are not finite"), "bad", "nothing measured: logits are not finite"),
        (trial(State.FAIL, "peak", ratio=1.0), "bad", "peak"),
        (trial(State.FAIL, "off", ratio=1e9), "bad", "arithmetic of none that there is"),
        (trial(State.FAIL, "off", ratio=float("nan")), "bad", "arithmetic of none that there is"),
    ],
)
def test_what_a_case_measured_becomes_one_row(tried, state, said):
    row = doctor.dtype_row("float32", tried, "llmasos try x c")
    assert (row.name, row.state) == ("dtype", state)
    assert said in row.text
    assert bool(row.hint) == (state == "bad")


RUDE = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    said = {"protocol": "0.1-draft", "name": "rude", "version": "1", "capabilities": ["load_model"],
            "architectures": ["GPT-3"], "claims": {}, "emulated": {}, "runtime": {}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": said}), flush=True)
    print("loaded", flush=True)
"""


def test_a_stray_line_is_found_behind_the_handshake_too(here, llmasos):
    (here / "rude.py").write_text(RUDE)
    code, out, _ = llmasos("doctor", "--adapter", f"cmd:{sys.executable} rude.py", "--json")
    (row,) = (row for row in json.loads(out)["rows"] if row["state"] == "bad")
    assert (code, row["name"]) == (4, "standard output")
    assert row["try"] == "print nothing but answers to standard output; log to standard error"


def test_a_slow_handshake_is_told(monkeypatch):
    monkeypatch.setattr(doctor, "SLOW_S", 0.0)
    assert states(adapter_rows("honest:plain"))["adapter"] == "warn"


def test_without_logits_the_claim_is_not_measured(here):
    (here / "mine.py").write_text(
        "from llmasos_conformance.mutants import HonestAdapter\n"
        "from dataclasses import replace\n"
        "class Mine(HonestAdapter):\n"
        "    def __init__(self): super().__init__('plain')\n"
        "    def describe(self): return replace(super().describe(), capabilities=frozenset(['load_model']))\n"
    )
    rows = {row.name: row for row in adapter_rows("./mine.py:Mine")}
    assert rows["dtype"].state == "ok"
    assert "not measured here" in rows["dtype"].text


def test_what_comes_next_is_the_adapter_of_this_directory(here, llmasos):
    assert "next: llmasos demo" in llmasos("doctor")[1]
    (here / "llmasos.toml").write_text('[profiles.mine]\nadapter = "reference"\n')
    assert "next: llmasos doctor --adapter @mine" in llmasos("doctor")[1]


def test_the_case_that_is_run_under_pytest_exists():
    loaded = suite.load()
    assert loaded.cases[doctor.CASE.rpartition("::")[2]].node_id == doctor.CASE


# ── the command ──


def test_doctor_looks_at_the_installation_and_at_an_adapter(llmasos, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, _ = llmasos("doctor", "--adapter", "reference", "--json")
    said = json.loads(out)
    rows = {row["name"]: row for row in said["rows"]}
    assert (code, said["ok"]) == (0, True), [row for row in said["rows"] if row["state"] == "bad"]
    assert rows["adapter"]["text"].startswith("llmasos ")
    assert {"llmasos", "python", "libraries", "suites", "threads", "pytest", "this directory"} <= rows.keys()


def test_doctor_says_what_is_wrong_with_an_adapter(llmasos, monkeypatch, tmp_path):
    (tmp_path / "noisy.py").write_text('print("hello", flush=True)\nimport sys\nsys.stdin.read()\n')
    monkeypatch.chdir(tmp_path)
    code, out, _ = llmasos("doctor", "--adapter", f"cmd:{sys.executable} noisy.py")
    assert code == 4
    assert "bad" in out
    assert "standard output belongs to the protocol" in out


def pytest_row(llmasos):
    return next(row for row in json.loads(llmasos("doctor", "--json")[1])["rows"] if row["name"] == "pytest")


def test_doctor_finds_the_short_option_free_where_nobody_has_it(llmasos, here):
    assert (pytest_row(llmasos)["state"], pytest_row(llmasos)["text"]) == (
        "ok",
        "--adapter is free, the plugin is active",
    )


def test_doctor_finds_that_a_conftest_has_the_short_option(llmasos, here):
    (here / "conftest.py").write_text('def pytest_addoption(parser): parser.addoption("--adapter")\n')
    row = pytest_row(llmasos)
    assert (row["state"], row["try"]) == ("warn", "pytest --llmasos-adapter=…")


def test_doctor_does_not_take_our_own_short_option_for_somebody_elses(llmasos, here):
    (here / "pytest.ini").write_text("[pytest]\naddopts = --adapter=reference\n")
    assert pytest_row(llmasos)["state"] == "ok"


def test_doctor_finds_that_the_plugin_is_not_active(llmasos, here, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:llmasos")
    assert "not active" in pytest_row(llmasos)["text"]


EMULATOR = """
class Mine:
    def describe(self):
        return {"protocol": "0.1-draft", "name": "mine", "version": "1", "capabilities": ["load_model", "batch"],
                "emulated": {"beams": "v", "format": "x", "arguments": "y", "batch": "z", "graph": "w"}}
    def load_model(self, path): ...
"""


def test_doctor_says_in_one_line_what_an_adapter_emulates_of_what_it_declares(llmasos, tmp_path):
    (tmp_path / "mine.py").write_text(EMULATOR)
    rows = json.loads(llmasos("doctor", "--adapter", f"{tmp_path / 'mine.py'}:Mine", "--json")[1])["rows"]
    assert [(row["state"], row["text"]) for row in rows if row["name"] == "emulated"] == [
        ("ok", "arguments, batch, format: by the adapter; graph: told, and marks no case")
    ]
