"""Statements: canonical, free of floats, equal for equal runs; and what people and CI are shown of them."""

import json
import re
from copy import deepcopy
from dataclasses import replace
from xml.etree import ElementTree

import jsonschema
import pytest

from llmasos_conformance import report
from llmasos_conformance.canonical import Unacceptable, encode, merkle_root, parse, schema, validate
from llmasos_conformance.protocol import Claims, Description
from llmasos_conformance.suite import Case, Requirement, Suite
from llmasos_conformance.verdict import Outcome, State

DIGEST = "ab" * 32
DESCRIPTION = Description(
    name="acme", version="1.2", capabilities=frozenset({"forward", "tokenize"}), claims=Claims(),
    emulated={"tokenize": "bytes, by the adapter"}, runtime={"numpy": "2"},
)  # fmt: skip
PROFILE = {
    "requires": ["forward"],
    "cases": [
        {"id": "a.one", "requirement": "ATT-3", "level": "MUST", "needs": ["forward"], "digest": DIGEST},
        {"id": "a.two", "requirement": "ATT-4", "level": "SHOULD", "needs": ["forward", "tokenize"], "digest": DIGEST},
        {"id": "a.three", "requirement": "ATT-5", "level": "MUST", "needs": ["stream"], "digest": DIGEST},
    ],
}
OUTCOMES = [
    Outcome(
        case="a.one", requirement="ATT-3", level="MUST", state=State.PASS, figures={"ratio": 1.23456}, evidence=DIGEST
    ),
    Outcome(
        case="a.two", requirement="ATT-4", level="SHOULD", state=State.FAIL, message="logits[0] <b>\x1b[31m | moved",
        expected="0", got="1", example=2, emulated=("tokenize",), figures={"ratio": float("inf"), "n": float("nan")},
        evidence=DIGEST,
    ),
    Outcome(case="a.three", requirement="ATT-5", level="MUST", state=State.NOT_DECLARED, message="not declared"),
]  # fmt: skip


def facts(**changes):
    run = {
        "id": "0" * 32, "startedAt": "2026-11-23T09:00:00Z", "finishedAt": "2026-11-23T09:00:07Z", "seed": "7",
        "mode": "certified", "isolation": ["a sentence"],
    }  # fmt: skip
    return report.Facts(
        candidate=report.candidate_record(DESCRIPTION),
        adapter=DIGEST,
        suite={"name": "llmasos", "version": "1", "digest": DIGEST, "profile": "core/x", "profileDigest": DIGEST},
        reference={"name": "llmasos", "version": "1", "digest": DIGEST},
        harness={"name": "h", "version": "1", "digest": DIGEST, "dependencies": {"numpy": "2"}},
        run=run | changes,
        environment={"os": "linux", "arch": "x", "python": "3", "threads": "1"},
    )


def statement(outcomes=OUTCOMES, **changes):
    return report.statement(facts(**changes), PROFILE, outcomes, DIGEST)


CONTENT = parse(statement(), floats=False)


def test_a_statement_is_canonical_and_fits_its_published_schema():
    assert encode(CONTENT) == statement()
    validate(CONTENT, schema("report"))
    jsonschema.Draft202012Validator(schema("report")).validate(CONTENT)


@pytest.mark.parametrize("name", ["report", "trust"])
def test_the_published_schemas_are_schemas(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("seed", range(12))
def test_our_validator_and_jsonschema_agree_on_broken_statements(seed):
    import random

    rng, validator = random.Random(seed), jsonschema.Draft202012Validator(schema("report"))
    for _ in range(25):
        broken = parse(statement())
        where = broken
        while True:
            keys = list(where) if isinstance(where, dict) else list(range(len(where)))
            key = rng.choice(keys)
            if isinstance(where[key], dict | list) and where[key] and rng.random() < 0.8:
                where = where[key]
            else:
                break
        where[key] = rng.choice(["x", "", "A" * 600, -1, 10**6, True, None, [], {}, ["x", "x"], "a\u202eb", "a\n"])
        try:
            validate(broken, schema("report"))
            ours = True
        except Unacceptable:
            ours = False
        assert ours == validator.is_valid(broken), (key, where[key])


def test_the_same_run_gives_the_same_bytes_but_for_its_id_and_times():
    assert statement() == statement()
    other = parse(statement(id="1" * 32, startedAt="2026-11-24T09:00:00Z", finishedAt="2026-11-24T09:00:00Z"))
    for key in ("id", "startedAt", "finishedAt"):
        other["predicate"]["run"][key] = CONTENT["predicate"]["run"][key]
    assert other == CONTENT


@pytest.mark.parametrize(
    ("ratio", "claimed", "found"),
    [("0.9", "bfloat16", "bfloat16"), ("0.1", "bfloat16", "float16"), ("0.00001", "bfloat16", "float32"),
     ("1.2", "float32", "float32"), ("5", "float32", "float32"), ("1700", "float32", "float16"),
     ("60000", "float32", "bfloat16"), ("900000", "float32", "")],
)  # fmt: skip
def test_the_precision_that_was_found_stands_beside_the_one_that_is_claimed(ratio, claimed, found):
    content = parse(statement(), floats=False)
    content["predicate"]["candidate"]["claims"]["dtype"] = claimed
    assert report.precision(content) is None
    made = {**content["predicate"]["checks"][0], "requirement": "NUM-1", "figures": {"ratio": "0.000001"}}
    content["predicate"]["checks"] += [made, {**made, "figures": {"ratio": ratio}}, {**made, "requirement": "CAC-1"}]
    measured = report.precision(content)
    assert (measured.claimed, measured.found, measured.ratio) == (claimed, found, float(ratio))
    said = f"Precision: {claimed} claimed, arithmetic of {found or 'coarser than any dtype'} found"
    assert said in report.markdown(content, DIGEST)
    content["predicate"]["checks"].append({**made, "outcome": "fail", "figures": {}})
    assert report.precision(content).found == ""


def test_an_outcome_comes_back_from_its_entry():
    for outcome in (OUTCOMES[0], OUTCOMES[2]):
        again = report.outcome_of(report.entry(outcome))
        assert replace(again, figures={}) == replace(outcome, figures={})
    assert report.outcome_of(report.entry(OUTCOMES[0])).figures == {"ratio": 1.23}


def test_counts_roots_and_verdict_follow_from_the_outcomes():
    predicate = CONTENT["predicate"]
    assert predicate["summary"] == {
        "pass": 1, "fail": 1, "error": 0, "not_declared": 1, "not_applicable": 0, "waived": 0, "not_run": 0,
        "inconclusive": 0,
    }  # fmt: skip
    assert predicate["emulated"] == 1
    assert predicate["verdict"] == "conformant"  # only a SHOULD failed, and what is undeclared is not required
    assert predicate["checksRoot"] == merkle_root([encode(made) for made in predicate["checks"]])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.00e+00"),
        (1.23456e-7, "1.23e-07"),
        (float("nan"), "nan"),
        (-float("nan"), "nan"),
        (-float("inf"), "-inf"),
    ],
)
def test_figures_have_three_significant_digits(number, text):
    assert report.figure(number) == text


def test_foreign_text_is_cleaned_before_it_is_signed():
    dirty = replace(DESCRIPTION, name="a\x1b[2Jb", runtime={"x\n<y>": "1\u202e2"}, emulated={})
    assert report.candidate_record(dirty)["name"] == "a\ufffd[2Jb"
    assert report.candidate_record(dirty)["runtime"] == {"x--y-": "1\ufffd2"}
    assert "\x1b" not in statement().decode()


def test_the_page_shows_verdict_failure_emulation_and_isolation_without_foreign_markup():
    page = report.markdown(CONTENT, "f" * 64)
    assert "# acme 1.2: conformant" in page
    assert r"**fail** `a.two` (ATT-4, SHOULD): logits\[0\] \<b\>" in page
    assert r"\| moved" in page
    assert "bytes, by the adapter" in page
    assert "a sentence" in page
    assert "ratio 1.23e+00" in page


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("a&lt;b", r"a\&lt;b"), ("@somebody", r"\@somebody"), ("see https://x.example", r"see https\://x.example"),
        ("HTTP://x", r"HTTP\://x"), ("www.x.example", r"www\.x.example"), ("<b>", r"\<b\>"), ("ids: 3", "ids: 3"),
    ],
)  # fmt: skip
def test_foreign_text_is_neither_markup_nor_a_link_nor_a_call_for_somebody(text, due):
    assert report.cell(text) == due


def test_the_headline_counts_what_the_adapter_adds_and_is_clean():
    content = deepcopy(CONTENT)
    content["predicate"]["checks"][0]["emulated"] = ["forward"]
    content["predicate"]["candidate"]["name"] = "a\x1b[2J"
    line = report.headline(content)
    assert "1 pass, 1 of them with behaviour that the adapter adds" in line
    assert "\x1b" not in line
    assert "adapter" not in report.headline(CONTENT)  # its only emulated case failed


def test_a_description_without_texts_still_fits_the_schema():
    scoped = report.candidate_record(replace(DESCRIPTION, runtime={"@acme/engine": "1", " @": "2"}))["runtime"]
    assert scoped == {"acme/engine": "1", "0": "2"}
    members = schema("report")["$defs"]["texts"]
    assert all(re.search(members["propertyNames"]["pattern"], name) for name in scoped)
    empty = report.candidate_record(replace(DESCRIPTION, name="", version="", runtime={"numpy": ""}))
    assert (empty["name"], empty["version"], empty["runtime"]) == ("-", "-", {"numpy": "-"})


def test_junit_counts_what_is_not_a_pass_and_never_hides_it():
    outcomes = [replace(OUTCOMES[0], state=state, evidence="") for state in State]
    content = {"predicate": {**CONTENT["predicate"], "checks": [report.entry(outcome) for outcome in outcomes]}}
    suite = ElementTree.fromstring(report.junit(content))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == (
        "8",
        "1",
        "4",
        "2",
    )
    assert [len(case) for case in suite] == [0] + [1] * 7


def test_junit_is_xml_whatever_the_message_holds():
    assert len(ElementTree.fromstring(report.junit(CONTENT))) == 3


REQUIREMENT = Requirement(
    id="ATT-4",
    level="SHOULD",
    chapter="attention",
    sentence={"en": "Later tokens do nothing.", "zh": "后文无影响。"},
    source={"en": "s"},
)
CASE = Case(
    id="a.two", requirement="ATT-4", check="causal", given={}, examples=3, needs=frozenset(),
    effect={"en": "Answers leak.", "zh": "答案泄漏。"}, where="attention.yaml:14",
)  # fmt: skip
SUITE = Suite(digest="", version="1", requirements={"ATT-4": REQUIREMENT}, cases={"a.two": CASE}, profiles={})


def test_an_explanation_says_what_is_due_what_came_where_why_it_matters_and_how_to_see_it_again():
    text = report.explain_outcome(OUTCOMES[1], SUITE, adapter="./a.py:Mine", seed="7")
    for part in (
        "fail a.two [2]", "ATT-4 (SHOULD) Later tokens do nothing.", "expected: 0", "got: 1", "attention.yaml:14",
        "Answers leak.", "pytest --adapter=./a.py:Mine llmasos:attention::a.two --llmasos-seed=7",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_was_not_answered_has_no_effect_of_a_wrong_answer_and_no_bug_beside_it(lang, monkeypatch):
    monkeypatch.setattr(report.knownbugs, "bugs_of", lambda *of, **how: ["It is a bug."])
    wrong = report.explain_outcome(OUTCOMES[1], SUITE, lang)
    assert CASE.effect[lang] in wrong
    assert "It is a bug." in wrong
    for message in ("raised: KeyError: 'a'", "a valid request was refused: unsupported: no", "died: exit status 1"):
        silent = report.explain_outcome(replace(OUTCOMES[1], message=message), SUITE, lang)
        assert CASE.effect[lang] not in silent
        assert "It is a bug." not in silent
    unjudged = report.explain_outcome(replace(OUTCOMES[1], state=State.ERROR), SUITE, lang)
    assert CASE.effect[lang] not in unjudged


def test_the_page_tells_many_failures_as_one_in_both_languages():
    content = deepcopy(CONTENT)
    made = content["predicate"]["checks"][1]
    content["predicate"]["checks"] = [
        *({**made, "id": f"a.{i}", "message": "raised: KeyError: 'x'"} for i in range(3)),
        *({**made, "id": f"b.{i}", "message": "off; wrong at 2 of 9 positions, first at 7"} for i in range(3)),
    ]
    page = report.markdown(content, "f" * 64)
    assert "## What the failures have in common" in page
    assert "- 3 cases failed by one exception: KeyError: 'x'; mend this first\n" in page
    assert "- 3 个用例因同一异常未通过：KeyError: 'x'；请先修复它\n" in page
    assert "- logits are right up to position 6, wrong from position 7 on in all 3 cases" in page
    assert "- 位置 6 及之前的 logits 正确，从位置 7 起全部错误" in page
    assert "in common" not in report.markdown(CONTENT, "f" * 64)


def test_an_explanation_is_there_in_chinese():
    text = report.explain_outcome(OUTCOMES[1], SUITE, "zh", adapter="cmd:./a --b")
    assert "未通过 a.two" in text
    assert "后文无影响。" in text
    assert "答案泄漏。" in text
    assert "'cmd:./a --b'" in text


def test_every_reason_code_that_is_raised_is_explained_in_both_languages():
    import re
    from pathlib import Path

    from llmasos_conformance.reasons import REASONS

    root = Path(report.__file__).parent
    names = ("canonical", "signing", "evidence", "policy", "verify")
    raised = {
        code for name in names for code in re.findall(r'"(E_[A-Z0-9_]+)"', (root / f"{name}.py").read_text("utf-8"))
    }
    assert raised == set(REASONS)
    assert all(english and chinese for _, english, chinese in REASONS.values())


def test_a_statement_holds_no_float():
    with pytest.raises(TypeError):
        encode({**CONTENT, "x": 0.5})
    assert json.loads(statement(), parse_float=lambda text: pytest.fail(text))
