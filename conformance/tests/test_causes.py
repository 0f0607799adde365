"""Many failures, few causes: a candidate that fails as a documented bug does is told of it, and of nothing else."""

import pytest

from llmasos_conformance import causes, killmatrix
from llmasos_conformance.causes import Seen
from llmasos_conformance.killmatrix import Column, KillMatrix, Row

CASES = {
    "norm": "NRM-1", "norm.kind": "NRM-2", "plain": "NUM-1", "wide": "NUM-2", "long": "NUM-2", "stop": "STR-1",
    "stop.two": "STR-2", "batch": "BAT-1",
}  # fmt: skip


def bug(name, expected, failed, **loud):
    return Row(
        kind="mutant", name=name, group="small", source=f"a/b#{len(name)}", bug=f"It is {name}.", expected=expected,
        asked=tuple(CASES), failed={case: CASES[case] for case in failed}, loud=loud,
    )  # fmt: skip


NUMERIC = ("norm", "norm.kind", "plain", "wide", "long")
KNOWN = KillMatrix(
    terms={},
    columns={case: Column(requirement=name, level="MUST", interface="text") for case, name in CASES.items()},
    rows=[
        bug("epsilon", "NRM-1", NUMERIC, **dict(zip(NUMERIC, (17.0, 9.0, 4.0, 4.1, 3.9), strict=True))),
        bug("rounding", "NUM-1", NUMERIC, **dict(zip(NUMERIC, (8.0, 8.2, 8.1, 8.0, 7.9), strict=True))),
        bug("stop-late", "STR-1", ("stop", "stop.two")),
        bug("everything", "NUM-2", CASES),
    ],
)
SENTENCES = {"NRM-1": {"en": "The epsilon is that of the model.", "zh": "epsilon 取自模型。"}}


def seen(failed, **loud):
    return {case: Seen(passed=case not in failed, loud=loud.get(case)) for case in CASES}


def test_a_candidate_that_fails_as_a_known_bug_does_has_one_cause():
    found, rest = causes.causes(seen({"stop", "stop.two"}), KNOWN)
    (cause,) = found
    assert (cause.requirement, cause.begin, cause.likeness) == ("STR-1", ["stop"], 1.0)
    assert [row.name for row in cause.bugs] == ["stop-late"]
    assert cause.explains == ["stop", "stop.two"]
    assert rest == []


def test_what_makes_a_fault_loud_tells_bugs_apart_that_fail_the_same_cases():
    loud = dict(zip(NUMERIC, (13.0, 5.5, 0.2, 0.1, 0.1), strict=True))  # a smaller epsilon than that of the known bug
    (cause,), _ = causes.causes(seen(NUMERIC, **loud), KNOWN)
    assert cause.bugs[0].name == "epsilon"
    even = dict.fromkeys(NUMERIC, 3.0)
    (cause,), _ = causes.causes(seen(NUMERIC, **even), KNOWN)
    assert cause.bugs[0].name == "rounding"


def test_two_faults_are_two_causes():
    loud = dict(zip(NUMERIC, (17.0, 9.0, 4.0, 4.0, 4.0), strict=True))
    found, rest = causes.causes(seen({*NUMERIC, "stop", "stop.two"}, **loud), KNOWN)
    assert [cause.requirement for cause in found] == ["NRM-1", "STR-1"]
    assert rest == []


def test_a_bug_that_would_fail_what_passes_is_not_the_cause():
    found, rest = causes.causes(seen({"batch"}), KNOWN)
    assert found == []
    assert rest == ["batch"]


def test_cases_that_were_not_judged_count_neither_way():
    outcomes = {"stop": Seen(passed=False), "plain": Seen(passed=True)}
    (cause,), _ = causes.causes(outcomes, KNOWN)
    assert cause.bugs[0].name == "stop-late"


def test_nothing_failed_has_no_cause():
    assert causes.causes(seen(()), KNOWN) == ([], [])


def test_a_cause_is_told_in_both_languages_with_requirement_bug_and_where_to_begin():
    found, rest = causes.causes(seen({"stop", "stop.two", "batch"}), KNOWN)
    english, chinese = (causes.told(found, rest, SENTENCES, lang) for lang in ("en", "zh"))
    assert english == [
        "likely cause 1: STR-1",
        "  explains 2 failures; they are those of known bugs (likeness 0.67): stop-late (a/b#9)",
        "  It is stop-late.",
        "  begin with stop",
        "explained by no known bug: batch",
    ]
    assert chinese[0] == "可能的原因 1：STR-1"
    assert chinese[-1] == "没有已知缺陷能解释：batch"
    assert "先看 stop" in chinese[3]


def test_a_sentence_stands_beside_its_requirement():
    loud = dict(zip(NUMERIC, (17.0, 9.0, 4.0, 4.1, 3.9), strict=True))
    found, rest = causes.causes(seen(NUMERIC, **loud), KNOWN)
    assert causes.told(found, rest, SENTENCES)[0] == "likely cause 1: NRM-1 The epsilon is that of the model"


@pytest.fixture
def installed(monkeypatch):
    def put(text):
        monkeypatch.setattr(killmatrix, "find", lambda: text)
        causes.known.cache_clear()

    yield put
    causes.known.cache_clear()


def test_without_a_published_matrix_nothing_is_said(installed):
    installed(None)
    assert causes.likely(seen({"batch"})) == ([], ["batch"])
    assert causes.bugs_of("stop", "STR-1") == []


def test_a_matrix_that_cannot_be_read_stops_no_run(installed, tmp_path):
    (tmp_path / "m.json").write_text("{")
    installed(tmp_path / "m.json")
    assert causes.likely(seen({"batch"})) == ([], ["batch"])


def test_the_bugs_that_a_case_was_made_for_are_named(installed, tmp_path):
    terms = dict.fromkeys(("suite", "harness", "seed", "claim"), "")
    text = KillMatrix(terms=terms, columns=KNOWN.columns, rows=KNOWN.rows).as_text()
    (tmp_path / "m.json").write_text(text)
    installed(tmp_path / "m.json")
    assert causes.bugs_of("stop", "STR-1") == ["It is stop-late. (a/b#9)"]
    (cause,), _ = causes.likely(seen({"stop", "stop.two"}))
    assert cause.as_json()["bugs"] == [{"name": "stop-late", "source": "a/b#9", "bug": "It is stop-late."}]


def test_an_error_is_as_loud_as_its_binary_logarithm():
    assert killmatrix.loudness({"ratio": 8.0}) == 3.0
    assert killmatrix.loudness({"ratio": float("inf")}) == killmatrix.LOUDEST
    assert killmatrix.loudness({"ratio": float("nan")}) == killmatrix.LOUDEST
    assert killmatrix.loudness({"peak": 3.0}) is None
    assert killmatrix.loudness({"ratio": 0.0}) is None


def test_what_passed_and_failed_has_failed_and_what_was_not_answered_or_judged_is_left_out():
    made = causes.seen(
        [
            ("twice", "fail", "logits are off", {"ratio": 8.0}),
            ("twice", "pass", "", {}),
            ("crashed", "fail", "raised: KeyError", {}),
            ("open", "inconclusive", "cannot tell", {}),
            ("right", "pass", "", {"ratio": 2.0}),
        ]
    )
    assert made == {"twice": Seen(passed=False, loud=3.0), "right": Seen(passed=True, loud=1.0)}
