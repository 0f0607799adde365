"""The ledger of properties: every one is accounted for, by cases that exist or by a reason that still holds."""

from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from llmasos_conformance import checks, properties, suite
from llmasos_conformance.canonical import schema
from llmasos_conformance.checks import bundles
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.probes import Library

DOCS = Path(__file__).parents[2] / "docs"
LEDGER = DOCS / "properties.yaml"
LOADED = suite.load(checks=checks.registry())
PARTS = properties.read(LEDGER.read_bytes(), LEDGER.name)
EVERY = [one for part in PARTS for one in part.properties]

HEAD = "parts:\n- title: {en: Some, zh: 若干}\n  properties:\n"


def ledger(*entries):
    return properties.read((HEAD + "".join(entries)).encode(), "ledger.yaml")


def entry(rest, number=1):
    return f"  - {{id: PROP-{number:02}, en: A thing holds., zh: 某事成立。, {rest}}}\n"


WHY = "why: {en: It cannot be asked., zh: 无法提出。}"
WAITS = "why: {en: 'PENDING: that.', zh: 'PENDING: 那个。'}"


def test_all_72_properties_are_accounted_for_and_nothing_contradicts_a_reason():
    assert [one.id for one in EVERY] == [f"PROP-{number:02}" for number in range(1, 73)]
    assert properties.problems(PARTS, LOADED) == []


@pytest.mark.parametrize(("name", "language"), [("properties.md", "en"), ("properties.zh.md", "zh")])
def test_the_pages_are_made_from_the_ledger(name, language):
    assert (DOCS / name).read_text(encoding="utf-8") == properties.page(PARTS, language)


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema("property"))


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([entry("state: covered, cases: [batch.pair]", 2)], "PROP-02 stands where PROP-01 is due"),
        ([entry("state: covered, cases: [batch.nobody]")], "no case is called batch.nobody"),
        ([entry("state: covered, cases: [batch.pair, 'nobody.*']")], r"no case is called nobody.*"),
        ([entry("state: covered")], "PROP-01 is covered: cases and no reason is due"),
        ([entry(f"state: covered, cases: [batch.pair], {WHY}")], "PROP-01 is covered: cases and no reason is due"),
        ([entry("state: partly, cases: [batch.pair]")], "PROP-01 is partly: cases and a reason is due"),
        ([entry(f"state: partly, {WHY}")], "PROP-01 is partly: cases and a reason is due"),
        ([entry(f"state: absent, cases: [batch.pair], {WHY}")], "PROP-01 is absent: a reason and no case is due"),
        ([entry("state: pending")], "PROP-01 is pending: a reason is due"),
        ([entry(f"state: pending, {WHY}")], "PROP-01 is pending: its reason begins with 'PENDING: '"),
        ([entry("state: covered, cases: [batch.pair], unless: [cancel]")], "no reason that could be contradicted"),
        ([entry(f"state: absent, {WHY}, unless: [stream]")], "'stream' can be asked for now"),
        ([entry(f"state: absent, {WHY}, unless: [batch_alone]")], "'batch_alone' can be asked for now"),
        ([entry(f"state: absent, {WHY}, unless: [length_penalty]")], "'length_penalty' can be asked for now"),
        ([entry(f"state: absent, {WHY}, untestable: [BAT-1]")], "the standard does not call BAT-1 untestable"),
        ([entry(f"state: absent, {WHY}, untestable: [BAT-999]")], "the standard does not call BAT-999 untestable"),
    ],
)
def test_what_is_wrong_with_a_ledger_is_told_with_its_line(entries, told):
    found = properties.problems(ledger(*entries), LOADED)
    assert any(told in line and line.startswith("ledger.yaml:4: ") for line in found), found


@pytest.mark.parametrize(
    "right",
    [
        "state: covered, cases: [batch.pair, 'batch.*']",
        f"state: partly, cases: [batch.pair], {WHY}",
        f"state: absent, {WHY}, unless: [cancel], untestable: [ERR-9]",
        f"state: pending, {WAITS}",
        f"state: pending, cases: [batch.pair], {WAITS}",
    ],
)
def test_what_is_right_is_let_be(right):
    assert properties.problems(ledger(entry(right)), LOADED) == []


def test_a_case_that_asks_for_what_was_said_to_be_missing_contradicts_the_reason():
    made = ledger(entry(f"state: absent, {WHY}, unless: [best_of]"))
    case = LOADED.cases["api.temperature.zero"]
    calls = [{"prompt": "x", "options": {"best_of": 2}, "due": {"text": "x"}}]
    served = replace(case, id="api.best-of", given={**case.given, "calls": calls})
    assert properties.problems(made, LOADED) == []  # a request with it is refused by a case, and that is no sign of it
    found = properties.problems(made, replace(LOADED, cases={**LOADED.cases, "api.best-of": served}))
    assert "'best_of' can be asked for now" in found[0]


FOLLOWING = ("follows-parameters", "context-followed", "documents-followed", "documents-encoded")
"""Checks that hold a model to the values of its document, each value a model of its own."""
OF_MODELS = {
    "eos": "eos_token_ids",
    "bos": "bos_token_id",
    "start": "decoder_start_token_id",
    "context": "context_length",
}
"""Options of a speaker that are members of its document."""
ONE_VALUE = {("GPT-3", "activation"), ("Llama", "activation"), ("BERT", "bos_token_id"), ("BERT", "eos_token_ids")}
"""What PROP-67 excuses."""


def values(library):
    """(architecture, member of parameters) -> the values that cases hold models to."""
    found = {}

    def note(architecture, member, value):
        found.setdefault((architecture, member), set()).add(str(value))

    for case in LOADED.cases.values():
        given = case.given
        model = given.get("model") or {}
        for option in OF_MODELS.keys() & model.keys():
            note(model.get("architecture", "GPT-3"), OF_MODELS[option], model[option])
        if (probe := given.get("probe")) and not probe.endswith("given"):
            document = library.parts(probe).document
            for member, value in library.get(probe).config.items():
                note(document["architecture"], member, value)
        for edits in given.get("documents", ()) if case.check in FOLLOWING else ():
            for member, value in bundles.config(edits).items():
                note(bundles.architecture(edits), member, value)
    return found


def test_every_member_of_every_architecture_takes_several_values_in_the_cases(tmp_path):
    found = values(Library(tmp_path, "0"))
    assert {architecture for architecture, _ in found} == {"GPT-3", "Llama", "BERT", "Transformer"}
    assert len(found) > 50
    assert {place for place, several in found.items() if len(several) < 2} <= ONE_VALUE


def test_a_case_that_is_withdrawn_is_missed():
    made = ledger(entry("state: covered, cases: [batch.pair]"))
    rest = {name: case for name, case in LOADED.cases.items() if name != "batch.pair"}
    assert "no case is called batch.pair" in properties.problems(made, replace(LOADED, cases=rest))[0]


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("state: maybe", "maybe"),
        ("state: covered, cases: []", "cases"),
        ("state: covered, further: 1", "further"),
        ("state: absent, why: {en: In one language.}", "zh"),
    ],
)
def test_a_malformed_ledger_is_refused_with_its_line(rest, told):
    with pytest.raises(SuiteError, match=told) as raised:
        ledger(entry(rest))
    assert "ledger.yaml:4" in str(raised.value)


def test_the_command_prints_the_page_or_what_is_wrong(tmp_path, capsys):
    assert properties.main([str(LEDGER), "--language", "zh"]) == 0
    assert capsys.readouterr().out == properties.page(PARTS, "zh")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(HEAD + entry("state: covered, cases: [batch.nobody]"), encoding="utf-8")
    assert properties.main([str(wrong)]) == 1
    assert "no case is called batch.nobody" in capsys.readouterr().err
    assert properties.main([str(tmp_path / "none.yaml")]) == 1
    assert "No such file" in capsys.readouterr().err
