"""`llmasos list` and `llmasos explain`: all that is installed, and what it means, for people and for programs."""

import json
import re
from pathlib import Path

import pytest

from llmasos_conformance import installed, suite
from llmasos_conformance.protocol import CAPABILITIES
from llmasos_conformance.reasons import REASONS
from llmasos_conformance.standard.words import CAPABILITIES_ZH


@pytest.mark.parametrize("what", ["adapters", "cases", "requirements", "profiles"])
def test_everything_that_is_installed_can_be_listed_for_people_and_for_programs(what, llmasos):
    code, out, err = llmasos("list", f"--{what}", "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert rows
    code, out, _ = llmasos("list", f"--{what}")
    assert code == 0
    assert all(next(iter(row.values())) in out for row in rows)
    assert "next:" in out


def test_the_listed_profiles_are_those_that_a_run_can_name(llmasos):
    names = [row["name"] for row in json.loads(llmasos("list", "--profiles", "--json")[1])]
    assert {"quick", "core/gpt/logits"} <= set(names) == set(installed.profile_names(installed.suites()))


def test_every_case_and_requirement_can_be_explained_in_both_languages(llmasos):
    case = json.loads(llmasos("list", "--cases", "--json")[1])[0]
    for lang, word in (("en", "run it"), ("zh", "运行")):
        code, out, _ = llmasos("explain", case["id"], "--lang", lang)
        assert code == 0
        assert case["requirement"] in out
        assert word in out
        code, out, _ = llmasos("explain", case["requirement"], "--lang", lang)
        assert code == 0
        assert case["id"] in out


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_code_can_be_explained(reason, lang, llmasos):
    code, out, _ = llmasos("explain", reason.lower(), "--lang", lang)
    assert code == 0
    assert REASONS[reason][1 + (lang == "zh")] in out


def test_a_case_is_explained_under_the_name_that_pytest_prints(llmasos):
    case = json.loads(llmasos("list", "--cases", "--json")[1])[0]["id"]
    assert llmasos("explain", f"llmasos::{case.partition('.')[0]}::{case}") == llmasos("explain", case)


def test_what_is_not_translated_says_so(llmasos):
    case = json.loads(llmasos("list", "--cases", "--json")[1])[0]["id"]
    assert "检查自身的说明(英文): " in llmasos("explain", case, "--lang", "zh")[1]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_capability_can_be_explained(lang, llmasos, monkeypatch):
    loaded, said = suite.load(), CAPABILITIES if lang == "en" else CAPABILITIES_ZH
    monkeypatch.setattr(suite, "load", lambda: loaded)
    for name in CAPABILITIES:
        code, out, _ = llmasos("explain", name, "--lang", lang)
        assert code == 0
        assert f"{name}: {said[name]}\n" in out


def test_what_it_takes_to_declare_a_capability_is_explained(llmasos):
    def told(name):
        return llmasos("explain", name)[1]

    assert "  methods asked then: open, extend, fork, close; " in told("session")
    assert "  chapters of the rules that they ask: tokenizers, " in told("tokenize")
    assert "a valid call that is then refused as unsupported fails, unless the model" in told("tokenize")
    assert "  an option, in calls that are asked anyway: " in told("seed")
    assert "an adapter on the kit says so: kit.read_bundle(path, windows=True)\n" in told("window")
    assert re.search(r"^next: llmasos try reference \S*window\S*$", told("window"), re.MULTILINE)
    assert told("chat").endswith("next: llmasos docs hosted\n")


def test_a_chapter_with_the_name_of_a_capability_is_explained_with_it(llmasos):
    out = llmasos("explain", "beams")[1]
    assert "beams: beam search\n  a capability; declare it in describe(); a valid call that is then refused" in out
    assert json.loads(llmasos("explain", "beams", "--json")[1])["capability"]["id"] == "beams"


def test_a_case_is_explained_with_the_command_for_the_adapter_of_this_directory(llmasos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "--adapter=ADDRESS " in llmasos("explain", "api.seed.zero")[1]
    (tmp_path / "llmasos.toml").write_text('[profiles.default]\nadapter = "honest:plain"\n')
    assert "--adapter=@default " in llmasos("explain", "api.seed.zero")[1]
    (tmp_path / "llmasos.toml").write_text("[profiles")
    assert "--adapter=ADDRESS " in llmasos("explain", "api.seed.zero")[1]


def test_an_unknown_name_gets_near_ones(llmasos):
    code, _, err = llmasos("explain", "E_SIGNATURES")
    assert code == 2
    assert "E_SIGNATURE" in err


@pytest.mark.parametrize("where", [installed.suites().parent, Path("/")])
def test_the_line_of_a_case_opens_from_where_one_stands(where, llmasos, monkeypatch):
    monkeypatch.chdir(where)
    case = json.loads(llmasos("explain", "attention.causal.future-token", "--json")[1])
    path, _, line = case["where"].rpartition(":")
    assert Path(path).read_text("utf-8").splitlines()[int(line) - 1] == "- id: attention.causal.future-token"


EXPLAINED = {
    "case": {
        *("requirement", "level", "sentence", "check", "asks", "needs", "given", "examples", "effect", "bugs", "where"),
        *("withdrawn", "document", "run"),
    },
    "requirement": {
        *("level", "chapter", "sentence", "source", "untestable", "withdrawn", "errata", "cases", "document")
    },
    "architecture": {*("presented", "defaults", "letters", "tensors", "code", "requirements", "profiles", "document")},
    "profile": {"requires", "cases", "levels", "chapters", "run"},
    "chapter": {"title", "requirements", "document"},
    "capability": {"sentence", "methods", "option", "reading", "cases", "chapters", "profiles", "shown"},
    "reason": {"text", "exitCode"},
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("architecture", "GPT-3"), ("profile", "core/gpt/text"), ("chapter", "api")),
        ("capability", "window"),
        *(("requirement", "API-1"), ("case", "api.seed.zero"), ("reason", "E_SIZE")),
    ],
)
def test_an_explanation_is_data_too_under_the_keys_that_help_names(kind, name, llmasos):
    code, out, err = llmasos("explain", name.lower() if kind != "case" else f"llmasos::api::{name}", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["schemaVersion"], told["kind"], told["id"], told["lang"]) == ("1.0", kind, name, "en")
    assert told.keys() == EXPLAINED[kind] | {"schemaVersion", "kind", "id", "lang"}
    listed = " ".join(llmasos("explain", "--help")[1].split()).partition(f" {kind} ")[2]
    assert all(key in listed for key in EXPLAINED[kind])
    assert json.loads(llmasos("explain", name, "--json", "--lang", "zh")[1])["lang"] == "zh"


def test_an_unknown_name_is_told_on_standard_error_alone_with_json_too(llmasos):
    assert llmasos("explain", "E_SIGNATURES", "--json")[:2] == (2, "")
    assert llmasos("explain", "E_SIGNATURES", "--json") == llmasos("explain", "E_SIGNATURES")
