"""Suites load whole or not at all, and whoever has to mend them reads file, line, place and remedy."""

# ruff: noqa: E501  (the tables of problems are read line by line)

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from llmasos_conformance import strictyaml, suite
from llmasos_conformance.checks import Check
from llmasos_conformance.errors import HarnessError, SuiteError
from llmasos_conformance.suite import Suite
from llmasos_conformance.verdict import passed

LEDGER = """\
chapter: attention
title: {en: Attention, zh: 注意力}
requirements:
- id: ATT-1
  level: MUST
  en: Logits ignore later tokens.
  zh: 每个位置的 logits 不受后续记号影响。
  source: document 4.1
- {id: ATT-2, level: MAY, en: Fast., zh: 快。, source: document 4.1, untestable: no clock is trusted}
"""
CASES = """\
suite: attention
title: {en: Attention, zh: 注意力}
cases:
- id: attention.causal
  requirement: ATT-1
  check: causal
  given: {probe: plain, length: [2, 16]}
  examples: 4
  needs: [batch]
  effect: {en: Text changes., zh: 文本改变。}
- id: attention.causal.long
  requirement: ATT-1
  check: causal
  given: {probe: long, length: [200, 260], rate: 1.0e-5, rows: [{name: a}]}
"""

CAUSAL = Check(
    name="causal",
    needs=frozenset({"forward"}),
    given={
        "type": "object",
        "properties": {
            "probe": {"type": "string"},
            "length": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
            "rate": {"type": "number", "default": 0.5, "exclusiveMinimum": 0},
            "rows": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "times": {"type": "integer", "default": 3}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
                "default": [],
            },
            "kind": {"enum": ["first", "last"], "default": "first"},
            "one": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}], "default": 1},
        },
        "required": ["length", "probe"],
        "additionalProperties": False,
    },
    question=lambda given, draw, candidate: {},
    judge=lambda given, asked, reference: passed(),
)
CHECKS = {"causal": CAUSAL}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a suites directory from the parts that a test gives; a pair (old, new) edits the sound text."""

    def edited(text: str, change: str | tuple[str, str]) -> str:
        if isinstance(change, str):
            return change
        assert text.count(change[0]) >= 1
        return text.replace(change[0], change[1], 1)

    def made(cases: str | tuple[str, str] = CASES, ledger: str | tuple[str, str] = LEDGER, **more: str | bytes) -> Path:
        root = tmp_path / "suites"
        (root / "requirements").mkdir(parents=True, exist_ok=True)
        (root / "attention.yaml").write_text(edited(CASES, cases), encoding="utf-8")
        (root / "requirements" / "attention.yaml").write_text(edited(LEDGER, ledger), encoding="utf-8")
        for name, content in more.items():
            (root / f"{name}.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return made


def load(root: Path) -> Suite:
    return suite.load(root, CHECKS)


def refusal(root: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        load(root)
    return caught.value.render()


def test_a_sound_suite_becomes_records(write: Write) -> None:
    loaded = load(write())
    case = loaded.cases["attention.causal"]
    assert (case.requirement, case.check, case.examples) == ("ATT-1", "causal", 4)
    assert case.needs == {"batch", "forward"}
    assert case.effect == {"en": "Text changes.", "zh": "文本改变。"}
    assert case.where == "suites/attention.yaml:4"
    requirement = loaded.requirements["ATT-1"]
    assert (requirement.level, requirement.chapter, requirement.source) == (
        "MUST",
        "attention",
        {"en": "document 4.1"},
    )
    assert requirement.sentence["zh"] == "每个位置的 logits 不受后续记号影响。"
    assert requirement.where == "suites/requirements/attention.yaml:4"
    assert loaded.requirements["ATT-2"].untestable == {"en": "no clock is trusted"}
    assert loaded.level(case) == "MUST"
    assert list(loaded.cases) == ["attention.causal", "attention.causal.long"]


def test_defaults_of_the_check_are_filled_in_at_every_depth(write: Write) -> None:
    cases = load(write()).cases
    assert cases["attention.causal"].given == {
        "probe": "plain",
        "length": [2, 16],
        "rate": 0.5,
        "rows": [],
        "kind": "first",
        "one": 1,
    }
    assert cases["attention.causal.long"].given["rows"] == [{"name": "a", "times": 3}]
    assert cases["attention.causal.long"].examples == 1
    assert cases["attention.causal.long"].effect == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("examples: 4", "examples: '4'", "suites/attention.yaml:8 cases[0].examples: expected an integer, found the text '4'"),
        ("examples: 4", "examples: 4.0", "suites/attention.yaml:8 cases[0].examples: expected an integer, found 4.0"),
        ("examples: 4", "examples: true", "suites/attention.yaml:8 cases[0].examples: expected an integer, found true"),
        ("examples: 4", "examples: 0", "cases[0].examples: expected at least 1, found 0"),
        ("examples: 4", "exampels: 4", "cases[0].exampels: there is no such key; did you mean examples?"),
        ("  check: causal\n  given: {probe: p", "  given: {probe: p", "suites/attention.yaml:4 cases[0]: 'check' is missing"),
        ("check: causal", "check: casual", "suites/attention.yaml:6 cases[0].check: there is no check 'casual'; did you mean causal?"),
        ("ATT-1", "ATT-9", "cases[0].requirement: the ledger has no ATT-9; did you mean ATT-2 or ATT-1?"),
        ("ATT-1", "att-1", "cases[0].requirement: the text 'att-1' does not match"),
        ("ATT-1", "ATT-2", "cases[0].requirement: the ledger calls ATT-2 untestable, and yet here is a case"),
        ("[batch]", "[bach]", "cases[0].needs[0]: there is no capability 'bach'; did you mean batch?"),
        ("[batch]", "[batch, batch]", "cases[0].needs: an entry stands twice"),
        ("probe: plain", "probe: plane", "suites/attention.yaml:7 cases[0].given.probe: there is no probe 'plane'; did you mean plain"),
        ("[2, 16]", "[2]", "suites/attention.yaml:7 cases[0].given.length: expected at least 2 entries, found 1"),
        ("[2, 16]", "[2, long]", "cases[0].given.length[1]: expected an integer, found the text 'long'"),
        ("[2, 16]", "[2, 16], kind: lst", "cases[0].given.kind: expected one of first, last, found the text 'lst'; did you mean last"),
        ("[2, 16]", "[2, 16], rate: 0", "cases[0].given.rate: expected more than 0, found 0"),
        ("[2, 16]", "[2, 16], rate: '1e-5'", "cases[0].given.rate: expected a number, found the text '1e-5' (write 1.0e-5)"),
        ("[2, 16]", "[2, 16], one: [1, x]", "cases[0].given.one[1]: expected an integer, found the text 'x'"),
        ("rows: [{name: a}]", "rows: [{name: a}, {times: 2}]", "suites/attention.yaml:14 cases[1].given.rows[1]: 'name' is missing"),
        ("id: attention.causal.long", "id: attention.causal", "suites/attention.yaml:11 cases[1].id: attention.causal is taken, at suites/attention.yaml:4"),
        ("id: attention.causal\n", "id: Attention\n", "cases[0].id: the text 'Attention' does not match"),
        ("id: attention.causal\n", f"id: {'a' * 121}\n", "cases[0].id: expected at most 120 characters, found 121"),
        ("suite: attention", "suite: other", "suites/attention.yaml:1 suite: the file is called attention.yaml"),
        ("zh: 注意力", "de: x", "suites/attention.yaml:2 title"),
    ],
)  # fmt: skip
def test_a_wrong_case_is_refused_with_file_line_place_and_reason(
    old: str, new: str, message: str, write: Write
) -> None:
    assert message in refusal(write((old, new)))


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("1e-5", "1e-5 is a number to some readers and text to others; write 1.0e-5, or quote it"),
        ("-2.5E7", "write -2.5e+7, or quote it"),
        ("1.0e5", "write 1.0e+5, or quote it"),
        ("no", "no is a boolean to some readers and text to others; write true or false, or quote it"),
        ("On", "On is a boolean"),
        ("True", "True is a boolean"),
        ("~", "~ is null to some readers"),
        ("Null", "Null is null to some readers"),
        ("", "there is no value; write one, or null"),
        ("12:30", "12:30 is a number"),
        ("190:20:30.15", "190:20:30.15 is a number"),
        ("017", "017 is a number"),
        ("0o17", "0o17 is a number"),
        ("1_000", "1_000 is a number"),
        ("+5", "+5 is a number"),
        (".5", ".5 is a number"),
        ("5.", "5. is a number"),
        (".inf", ".inf is a number"),
        (".NaN", ".NaN is a number"),
        ("1.0e+999", "1.0e+999 is a number"),
        ("2024-01-31", "2024-01-31 is a date"),
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z is a date"),
        ("=", "= has a meaning of its own"),
        ("&a 4", "anchors are not read; remove &a"),
        ("*a", "aliases are not read; write out what *a stands for"),
        ("!!int 4", "tags are not read; remove tag:yaml.org,2002:int"),
        ("!python/object:os.system 4", "tags are not read"),
    ],
)
def test_what_two_readers_take_differently_is_refused(value: str, remedy: str, write: Write) -> None:
    anchored = "&a x" if value == "*a" else "x"
    root = write(("effect: {en: Text changes., zh: 文本改变。}", f"effect:\n    en: {anchored}\n    zh: {value}"))
    assert "suites/attention.yaml:12 cases[0].effect.zh: " in refusal(root)
    assert remedy in refusal(root)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'1e-5'", "1e-5"), ('"no"', "no"), ("null", None), ("true", True), ("false", False), ("0", 0), ("-12", -12),
        ("0x1F", 31), ("2.5", 2.5), ("-1.0e-5", -1e-5), ("18446744073709551615", 2**64 - 1), ("plain words", "plain words"),
        ("1.2.3", "1.2.3"), ("中文", "中文"), ("n", "n"), ("3d", "3d"), ("|\n   a\n   b\n", "a\nb\n"), ("[1, [2]]", [1, [2]]),
        ("{a: {}}", {"a": {}}), ("'\\n'", "\\n"), ('"\\n"', "\n"), ("not-a-number", "not-a-number"), ("\n- null", [None]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pure", [False, True])
def test_what_all_readers_take_alike_is_read(
    text: str, value: object, pure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pure:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    document = strictyaml.read(f"key: {text}".encode(), "file", strictyaml.Schema({}))
    assert document.value == {"key": value}
    assert document.problems == ()


@pytest.mark.parametrize("pure", [False, True])
def test_lines_are_the_same_with_and_without_the_c_parser(
    pure: bool, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pure:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert load(write()).cases["attention.causal.long"].where == "suites/attention.yaml:11"
    assert "suites/attention.yaml:8 cases[0].examples" in refusal(write(("examples: 4", "examples: x")))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("examples: 4", "examples: 4\n  examples: 5", "suites/attention.yaml:9 cases[0].examples: the key is given twice, first in line 8"),
        ("examples: 4", "<<: {examples: 4}", "suites/attention.yaml:8 cases[0]: merge keys are not read"),
        ("examples: 4", "1: 4", "suites/attention.yaml:8 cases[0].1: a key must be a text; quote it: '1'"),
        ("examples: 4", "? [a]\n  : 4", "cases[0]: a key must be a text, without anchor, alias or tag"),
        ("examples: 4", "yes: 4", "cases[0].yes: yes is a boolean"),
        ("examples: 4", "examples: [4", "suites/attention.yaml:"),
        ("examples: 4", "\texamples: 4", "not YAML: "),
        (CASES, "", "suites/attention.yaml:1: the file is empty"),
        (CASES, CASES + "---\nx: 1\n", "suites/attention.yaml:15: a second document starts here; a file holds one"),
        (CASES, "- a\n", "suites/attention.yaml:1: expected a mapping, found a list"),
        ("given: {probe: plain,", "given: {deep: " + "[" * 40 + "]" * 40 + ", probe: plain,", "nested deeper than 32 levels"),
        ("examples: 4", "examples: " + "9" * 5000, "a number of 5000 characters; 400 are the most that are read"),
        (CASES, CASES + "# \x00\n", "suites/attention.yaml:15: not YAML: the character '\\x00', which no text may hold"),
        ("en: ", "en: \u202e", "the text holds U+202E, which turns the direction of a line"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_strict_yaml_is_refused(old: str, new: str, message: str, write: Write) -> None:
    assert message in refusal(write((old, new)))


def test_bytes_that_are_not_utf8_are_located(write: Write) -> None:
    root = write(other=b"suite: other\ntitle: \xff\n")
    assert refusal(root) == "suites/other.yaml:2: not UTF-8"


def test_all_problems_of_all_files_are_reported_together(write: Write) -> None:
    text = CASES.replace("examples: 4", "examples: no").replace("id: attention.causal.long", "id: attention.causal")
    told = refusal(write(text.replace("probe: long", "probe: lnog"), ledger=("level: MUST", "level: MUSS")))
    assert told.splitlines()[0] == "4 problems in the suites"
    for part in (
        "suites/requirements/attention.yaml:5 requirements[0].level: expected one of MUST, SHOULD, MAY, found the text 'MUSS'",
        "suites/attention.yaml:8 cases[0].examples: no is a boolean",
        "cases[1].given.probe: there is no probe 'lnog'",
    ):
        assert part in told


def test_a_broken_ledger_does_not_make_every_case_look_wrong(write: Write) -> None:
    told = refusal(write(ledger=("- id: ATT-1", "- id: ATT1")))
    assert "requirements[0].id: the text 'ATT1' does not match" in told
    assert "cases" not in told


def test_a_requirement_is_tested_or_says_why_not(write: Write) -> None:
    told = refusal(write(ledger=(", untestable: no clock is trusted", "")))
    assert told.startswith("suites/requirements/attention.yaml:9 ATT-2: no case tests it")


def test_a_requirement_id_is_given_once(write: Write) -> None:
    told = refusal(write(ledger=("id: ATT-2", "id: ATT-1")))
    assert "requirements[1].id: ATT-1 is taken, at suites/requirements/attention.yaml:4" in told


def test_a_case_id_is_given_once_in_all_files(write: Write) -> None:
    told = refusal(write(other=CASES.replace("suite: attention", "suite: other")))
    assert "suites/other.yaml:4 cases[0].id: attention.causal is taken, at suites/attention.yaml:4" in told


def test_a_directory_without_suites_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no suites here"):
        load(tmp_path)
    with pytest.raises(SuiteError, match="no such directory"):
        load(tmp_path / "nowhere")


def test_the_digest_covers_every_file_but_readmes_and_caches(write: Write) -> None:
    root = write()
    before = suite.digest(root)
    for name in ("README.md", "README.zh.md", "attention.yaml~", ".hidden", "__pycache__/x.pyc"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    assert suite.digest(root) == before == load(root).digest
    (root / "profiles").mkdir()
    (root / "profiles" / "a.json").write_text("{}")
    assert suite.digest(root) != before
    (root / "profiles" / "a.json").rename(root / "profiles" / "b.json")
    assert suite.digest(root) != before


def freeze(root: Path, name: str = "core/gpt3/logits", **options: object) -> Path:
    return suite.freeze(name, directory=root, checks=CHECKS, **options)  # type: ignore[arg-type]


def test_a_frozen_profile_is_loaded_with_the_suite(write: Write) -> None:
    root = write()
    path = freeze(root, requires=["load_model", "forward"], match=["*.long"], version="0.1")
    assert path == root / "profiles/core/gpt3/logits.json"
    profile = load(root).profiles["core/gpt3/logits"]
    assert profile == suite.frozen_profile(path)
    assert profile.requires == {"load_model", "forward"}
    assert profile.cases == ("attention.causal.long",)
    assert profile.version == "0.1"
    written = json.loads(path.read_text())
    assert written["cases"][0] | {"digest": ""} == {
        "id": "attention.causal.long",
        "requirement": "ATT-1",
        "level": "MUST",
        "needs": ["forward"],
        "digest": "",
    }


def test_freezing_twice_gives_the_same_bytes(write: Write) -> None:
    root = write()
    first = freeze(root, match=["*"]).read_bytes()
    assert freeze(root, match=["*"], replace=True).read_bytes() == first
    with pytest.raises(SuiteError, match="frozen is frozen"):
        freeze(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cases": ("[2, 16]", "[2, 17]")}, "profiles/quick.json cases[0]: attention.causal has changed since the freeze"),
        ({"cases": ("examples: 4", "examples: 5")}, "cases[0]: attention.causal has changed"),
        ({"cases": ("needs: [batch]", "needs: [seed]")}, "cases[0]: attention.causal has changed"),
        ({"ledger": ("level: MUST", "level: SHOULD")}, "has changed since the freeze"),
        ({"cases": ("id: attention.causal\n", "id: attention.casual\n")}, "cases[0]: attention.causal is gone; a frozen case stays"),
    ],
)  # fmt: skip
def test_a_profile_refuses_a_case_that_is_gone_or_changed(
    change: dict[str, tuple[str, str]], message: str, write: Write
) -> None:
    freeze(write(), "quick")
    assert message in refusal(write(**change))


def test_a_changed_default_of_a_check_is_a_changed_case(write: Write) -> None:
    root = write()
    freeze(root, "quick")
    properties = {**CAUSAL.given["properties"], "kind": {"enum": ["first", "last"], "default": "last"}}
    other = Check(
        name="causal",
        needs=CAUSAL.needs,
        given={**CAUSAL.given, "properties": properties},
        question=CAUSAL.question,
        judge=CAUSAL.judge,
    )
    with pytest.raises(SuiteError, match="has changed since the freeze"):
        suite.load(root, {"causal": other})


def test_a_better_wording_of_an_effect_leaves_a_profile_alone(write: Write) -> None:
    freeze(write(), "quick")
    assert load(write(("Text changes.", "The text changes."))).profiles["quick"].cases


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[:-3], "not JSON"),
        (lambda text: text.replace('"version"', '"profile"'), "the key 'profile' stands twice"),
        (lambda text: text.replace('"requires"', '"require"'), "'requires' is missing"),
        (lambda text: text.replace('"quick"', '"slow"'), "'slow' lies in the file of 'quick'"),
        (lambda text: text.replace('"forward"\n ],\n "cases"', '"forwards"\n ],\n "cases"'), "there is no capability 'forwards'"),
        (lambda text: text.replace("attention.causal.long", "attention.causal"), "a case stands twice"),
    ],
)  # fmt: skip
def test_a_malformed_profile_is_refused(edit: Callable[[str], str], message: str, write: Write) -> None:
    root = write()
    path = freeze(root, "quick", requires=["forward"])
    assert edit(path.read_text()) != path.read_text()
    path.write_text(edit(path.read_text()))
    assert message in refusal(root)


def test_a_profile_cannot_be_frozen_from_nothing(write: Write) -> None:
    root = write()
    with pytest.raises(SuiteError, match=r"no case matches 'x\.\*'"):
        freeze(root, match=["x.*"])
    with pytest.raises(SuiteError, match="no capability 'forwards'; did you mean forward"):
        freeze(root, requires=["forwards"])
    with pytest.raises(HarnessError):
        freeze(root, "../escape")
    assert not (root / "profiles").exists()


def test_a_stale_profile_does_not_stand_in_the_way_of_a_new_one(write: Write) -> None:
    freeze(write(), "quick")
    root = write(("examples: 4", "examples: 5"))
    freeze(root, "quick", replace=True)
    assert load(root).profiles["quick"].cases


def test_the_command_freezes_and_names_what_is_wrong(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write()
    monkeypatch.setattr("llmasos_conformance.checks.registry", lambda: CHECKS)
    command = ["freeze", "quick", "--requires", "forward,batch", "--match", "attention.*", "--directory", str(root)]
    assert suite.main(command) == 0
    assert capsys.readouterr().out.endswith("quick.json: 2 cases\n")
    assert suite.main(command) == 2
    assert "frozen is frozen" in capsys.readouterr().err
    assert suite.main([*command, "--replace"]) == 0


def test_reading_a_frozen_profile_imports_no_yaml(write: Write) -> None:
    path = freeze(write(), "quick")
    program = (
        "import sys, pathlib; from llmasos_conformance.suite import frozen_profile, find, digest; "
        f"frozen_profile(pathlib.Path({str(path)!r})); "
        "print([name for name in ('yaml', 'jsonschema', 'llmasos') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_suites_are_read_once_until_a_byte_of_them_changes(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos_conformance.checks.registry", lambda: CHECKS)
    root = write()
    first = suite.load(root)
    assert suite.load(root) is first
    path = next(root.glob("*.yaml"))
    path.write_text(path.read_text() + "\n")
    second = suite.load(root)
    assert second is not first
    (root / "README.md").write_text("is no part of them")
    assert suite.load(root) is second
    monkeypatch.setattr("llmasos_conformance.checks.registry", lambda: {**CHECKS, "one more": None})
    assert suite.load(root) is not second


def test_suites_that_are_sound_are_loaded_without_jsonschema() -> None:
    program = "import sys; from llmasos_conformance import suite; suite.load(); print('jsonschema' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_a_hundred_cases_more_read_no_file_twice_and_no_schema_anew(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = CASES[CASES.index("- id: attention.causal\n") : CASES.index("- id: attention.causal.long")]
    many = "".join(entry.replace("id: attention.causal", f"id: attention.causal.{i}") for i in range(100))
    root = write(CASES + many)
    load(root)
    calls: list[str] = []

    def counted(name: str) -> None:
        real = getattr(strictyaml, name)
        monkeypatch.setattr(strictyaml, name, lambda *given: calls.append(name) or real(*given))

    counted("read")
    counted("Schema")
    assert len(load(root).cases) == 102
    assert calls == ["read"] * len(list(root.rglob("*.yaml")))
