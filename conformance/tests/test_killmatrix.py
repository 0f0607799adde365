"""The kill matrix: what a case looks at, who is killed where, and a file that holds all of it."""

import json
import math
from pathlib import Path

import pytest

from llmasos_conformance import killmatrix, suite
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.killmatrix import INTERFACES, Column, KillMatrix, Row, interface
from llmasos_conformance.mutants import table
from llmasos_conformance.mutants.catalogue import mutants
from llmasos_conformance.protocol import CAPABILITIES

COLUMNS = {
    "said": Column(requirement="API-1", level="MUST", interface="text", tokens=20, seconds=0.1),
    "ids": Column(requirement="GEN-1", level="MUST", interface="ids", tokens=5, seconds=0.2),
    "numbers": Column(requirement="NUM-1", level="MUST", interface="logits", tokens=100),
    "norm": Column(requirement="NRM-1", level="MUST", interface="logits", tokens=50),
    "may": Column(requirement="GEN-9", level="MAY", interface="inside"),
}


def row(name, failed, **given):
    return Row(
        kind="mutant", name=name, group="small", source="a/b#1", bug="It is wrong.", expected="NUM-1", size=3.14159,
        asked=tuple(COLUMNS), failed={case: COLUMNS[case].requirement for case in failed}, seconds=1.23, **given,
    )  # fmt: skip


MATRIX = KillMatrix(
    terms={"suite": "s", "harness": "h", "seed": "mutants", "claim": ""},
    columns=COLUMNS,
    rows=[
        row("loud", ["said", "ids", "numbers", "norm"]),
        row("quiet", ["numbers"]),
        row("inner", ["may"]),
        row("alive", []),
        Row(kind="honest", name="plain", asked=("numbers",), size=math.inf, share=0.25, at="numbers"),
    ],
)


@pytest.mark.parametrize(
    ("needs", "seen"),
    [
        (["load_model", "GPT-3"], "text"),
        (["load_model", "stop", "stream"], "text"),
        (["generate_ids", "top_k"], "ids"),
        (["generate_ids", "logprobs"], "logprobs"),
        (["generate_ids", "forward"], "logits"),
        (["forward", "gradients"], "inside"),
    ],
)
def test_the_most_telling_capability_decides_what_a_case_looks_at(needs, seen):
    assert interface(needs) == seen


def test_interfaces_name_capabilities_of_the_protocol_once_each():
    named = [capability for shown in INTERFACES.values() for capability in shown]
    assert set(named) <= CAPABILITIES.keys()
    assert len(named) == len(set(named))


def test_every_interface_has_cases():
    assert {interface(case.needs) for case in suite.load().cases.values()} == set(INTERFACES)


def test_a_mutant_is_killed_where_the_least_telling_failing_case_looks():
    assert [MATRIX.lowest(row) for row in MATRIX.mutants] == ["text", "logits", "inside", None]
    assert [MATRIX.killed(MATRIX.mutants, at) for at in killmatrix.ORDER] == [1, 1, 1, 2, 3]


def test_the_cheapest_kill_up_to_an_interface_is_counted_in_tokens():
    loud, quiet, *_ = MATRIX.mutants
    assert [MATRIX.first_kill(loud, at) for at in ("text", "ids", "logits")] == [20, 5, 5]
    assert MATRIX.first_kill(quiet, "text") is None


def test_each_must_names_the_mutant_that_leaves_most_of_the_others_alone():
    assert MATRIX.specific() == {
        "API-1": ("loud", pytest.approx(0.25)),
        "GEN-1": ("loud", pytest.approx(0.25)),
        "NUM-1": ("quiet", 1.0),
        "NRM-1": ("loud", pytest.approx(0.25)),
    }


def test_a_requirement_that_no_mutant_fails_names_none():
    made = KillMatrix(terms={}, columns=COLUMNS, rows=MATRIX.rows[1:2])
    assert made.specific()["API-1"] is None


def test_the_file_holds_all_of_it():
    text = MATRIX.as_text()
    json.loads(text)
    again = killmatrix.from_text(text)
    assert again.terms == MATRIX.terms
    assert again.columns == MATRIX.columns
    assert [made.name for made in again.rows] == [made.name for made in MATRIX.rows]
    assert [made.failed for made in again.rows] == [made.failed for made in MATRIX.rows]
    assert [made.asked for made in again.rows] == [made.asked for made in MATRIX.rows]
    assert again.rows[0].size == 3.14
    assert again.rows[4].size == math.inf
    assert again.rows[4].share == 0.25
    assert again.as_text() == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no kill matrix"),
        ("[]", "no kill matrix"),
        ('{"format": "another/1"}', "its format is 'another/1'"),
        (MATRIX.as_text().replace('"asked": 0', '"asked": 9'), "no kill matrix"),
    ],
)
def test_what_is_no_kill_matrix_is_refused(text, why, tmp_path):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(SuiteError, match=why):
        killmatrix.read(tmp_path / "m.json")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SuiteError, match="cannot be read") as caught:
        killmatrix.read(tmp_path / "none.json")
    assert "none.json" in caught.value.render()


REPORTS = Path(__file__).parents[2] / "reports"


@pytest.mark.parametrize(("page", "lang"), [("kill-matrix.md", "en"), ("kill-matrix.zh.md", "zh")])
def test_the_published_pages_hold_what_the_published_matrix_says(page, lang):
    made = killmatrix.read(REPORTS / "kill-matrix.json")
    text = (REPORTS / page).read_text(encoding="utf-8")
    held = text.partition("<!-- tables -->\n")[2].partition("<!-- end -->")[0]
    assert held == made.page(lang)


def test_the_published_matrix_names_known_mutants_and_cases():
    made, loaded = killmatrix.read(REPORTS / "kill-matrix.json"), suite.load()
    known = {*loaded.cases, *loaded.withdrawn}
    assert set(made.columns) <= known
    assert {row.name for row in made.mutants} <= set(mutants())
    assert len(made.mutants) > 1000


def test_every_must_has_a_mutant_in_the_published_matrix_that_breaks_little_else():
    found = killmatrix.read(REPORTS / "kill-matrix.json").specific()
    assert {name for name, each in found.items() if each is None or each[1] < killmatrix.SPECIFIC} == set()


def test_the_published_matrix_is_the_one_that_is_read_beside_failures():
    assert killmatrix.find() == REPORTS / "kill-matrix.json"


def test_a_published_matrix_is_shown_as_its_tables(capsys):
    assert table.main(["--show", str(REPORTS / "kill-matrix.json"), "--lang", "zh"]) == 0
    assert capsys.readouterr().out == killmatrix.read(REPORTS / "kill-matrix.json").page("zh")


def test_showing_what_is_no_matrix_is_refused(tmp_path, capsys):
    (tmp_path / "m.json").write_text("{}")
    assert table.main(["--show", str(tmp_path / "m.json")]) == 2
    assert "no kill matrix" in capsys.readouterr().err
