"""Many failures, few causes: a candidate that fails as a documented bug does is told of it, and of nothing else."""

from dataclasses import replace

import pytest

from llmasos_conformance import causes, killmatrix, knownbugs, patterns
from llmasos_conformance.causes import Reading
from llmasos_conformance.killmatrix import Column, KillMatrix, Row
from llmasos_conformance.knownbugs import Seen
from llmasos_conformance.patterns import Behind, Onset, Told
from llmasos_conformance.verdict import WrongPositions

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
    cause = knownbugs.cause(seen({"stop", "stop.two"}), KNOWN)
    assert (cause.requirement, cause.begin, cause.likeness) == ("STR-1", ["stop"], 1.0)
    assert [row.name for row in cause.bugs] == ["stop-late"]
    assert cause.explains == ["stop", "stop.two"]


def test_what_makes_a_fault_loud_tells_bugs_apart_that_fail_the_same_cases():
    loud = dict(zip(NUMERIC, (13.0, 5.5, 0.2, 0.1, 0.1), strict=True))  # a smaller epsilon than that of the known bug
    cause = knownbugs.cause(seen(NUMERIC, **loud), KNOWN)
    assert cause.bugs[0].name == "epsilon"
    even = dict.fromkeys(NUMERIC, 3.0)
    cause = knownbugs.cause(seen(NUMERIC, **even), KNOWN)
    assert cause.bugs[0].name == "rounding"


def test_of_two_faults_the_one_that_explains_more_is_the_cause():
    loud = dict(zip(NUMERIC, (17.0, 9.0, 4.0, 4.0, 4.0), strict=True))
    made = knownbugs.cause(seen({*NUMERIC, "stop", "stop.two"}, **loud), KNOWN)
    assert (made.requirement, made.explains) == ("NRM-1", [*NUMERIC])


def test_a_bug_that_would_fail_what_passes_is_not_the_cause():
    assert knownbugs.cause(seen({"batch"}), KNOWN) is None


def test_a_bug_whose_own_requirement_was_not_asked_is_the_cause_where_many_fail_as_it_does():
    cases = [f"c{i}" for i in range(knownbugs.BROAD)]
    columns = {case: Column(requirement="GEN-1", level="MUST", interface="text") for case in cases}
    columns["cache"] = Column(requirement="CACHE-1", level="MUST", interface="logits")
    row = replace(bug("late", "CACHE-1", ("stop",)), asked=(*columns,),
                  failed={case: column.requirement for case, column in columns.items()})  # fmt: skip
    matrix = KillMatrix(terms={}, columns=columns, rows=[row])
    outcomes = {case: Seen(passed=False) for case in cases}
    assert knownbugs.cause(outcomes, matrix).requirement == "CACHE-1"
    assert knownbugs.cause(dict([*outcomes.items()][1:]), matrix) is None
    assert knownbugs.cause({**outcomes, "cache": Seen(passed=True)}, matrix) is None


def test_cases_that_were_not_judged_count_neither_way():
    outcomes = {"stop": Seen(passed=False), "plain": Seen(passed=True)}
    cause = knownbugs.cause(outcomes, KNOWN)
    assert cause.bugs[0].name == "stop-late"


def test_nothing_failed_has_no_cause():
    assert knownbugs.cause(seen(()), KNOWN) is None


def test_a_cause_is_told_in_both_languages_as_a_likeness_and_where_to_begin():
    made = Reading(likely=knownbugs.cause(seen({"stop", "stop.two", "batch"}), KNOWN), rest=["batch"])
    english, chinese = (causes.told(made, SENTENCES, lang) for lang in ("en", "zh"))
    assert english == [
        "likely cause: STR-1",
        "  it would explain 2 failures",
        "  resembles stop-late (a/b#9): 67% of the failing cases are the same; that bug: It is stop-late.",
        "  begin with stop",
        "explained by no known bug: batch",
    ]
    assert chinese == [
        "可能的原因：STR-1",
        "  若是如此，可解释 2 个未通过的用例",
        "  类似 stop-late (a/b#9)：67% 的未通过用例相同；该缺陷为：It is stop-late.",
        "  先看 stop",
        "没有已知缺陷能解释：batch",
    ]


def test_known_bugs_that_are_as_close_are_told_as_candidates_each_with_its_likeness():
    loud = dict(zip(NUMERIC, (8.0, 8.2, 8.1, 8.0, 7.9), strict=True))
    twin = bug("truncation", "NUM-1", NUMERIC, **loud)
    matrix = KillMatrix(terms={}, columns=KNOWN.columns, rows=[*KNOWN.rows, twin])
    made = Reading(likely=knownbugs.cause(seen(NUMERIC, **loud), matrix))
    english, chinese = (causes.told(made, SENTENCES, lang) for lang in ("en", "zh"))
    assert english[1] == "  it would explain 5 failures; there are candidates:"
    assert [line.partition(" (")[0] for line in english[2:4]] == ["  resembles rounding", "  resembles truncation"]
    assert chinese[1] == "  若是如此，可解释 5 个未通过的用例；候选有几个："
    assert [each["same"] for each in made.likely.as_json()["bugs"]] == [1.0, 1.0]


def test_a_sentence_stands_beside_its_requirement():
    loud = dict(zip(NUMERIC, (17.0, 9.0, 4.0, 4.1, 3.9), strict=True))
    made = Reading(likely=knownbugs.cause(seen(NUMERIC, **loud), KNOWN))
    assert causes.told(made, SENTENCES)[0] == "likely cause: NRM-1 The epsilon is that of the model"


def cause(likeness, explains):
    made = knownbugs.cause(seen({"stop", "stop.two"}), KNOWN)
    return replace(made, likeness=likeness, explains=[f"c{i}" for i in range(explains)])


def test_a_cause_of_low_likeness_is_not_told():
    assert not knownbugs.worth_telling(cause(knownbugs.TELLING - 0.01, 100), 100)
    assert knownbugs.worth_telling(cause(knownbugs.TELLING, 9), 9)


def test_few_failures_are_told_as_those_of_a_bug_only_if_they_are_all_of_both():
    shown = knownbugs.cause(seen({"stop", "stop.two"}), KNOWN)
    assert knownbugs.worth_telling(shown, 2)
    assert not knownbugs.worth_telling(shown, 3)
    larger = replace(shown, bugs=[replace(shown.bugs[0], failed=dict.fromkeys(CASES, "STR-1"))])
    assert not knownbugs.worth_telling(larger, 2)


def test_what_explains_a_small_part_of_the_failures_is_not_told():
    assert knownbugs.worth_telling(cause(1.0, 4), 16)
    assert not knownbugs.worth_telling(cause(1.0, 4), 17)


def test_a_cause_is_named_as_possible_where_many_same_cases_fail_by_other_amounts():
    low = knownbugs.TELLING - 0.01
    assert knownbugs.worth_naming(cause(low, knownbugs.BROAD), 40)
    assert not knownbugs.worth_naming(cause(low, knownbugs.BROAD - 1), knownbugs.BROAD)
    assert not knownbugs.worth_naming(cause(low, knownbugs.BROAD), 41)
    assert not knownbugs.worth_naming(cause(knownbugs.TELLING, knownbugs.BROAD), 40)
    made = cause(low, knownbugs.BROAD)
    assert not knownbugs.worth_naming(replace(made, same=[knownbugs.SAME - 0.01]), 40)
    twin = replace(made.bugs[0], name="twin")
    assert knownbugs.worth_naming(replace(made, bugs=[*made.bugs, twin]), 40)
    sister, stranger = (replace(made, bugs=[*made.bugs, replace(twin, expected=other)]) for other in ("STR-2", "NUM-1"))
    assert knownbugs.worth_naming(sister, 40)
    assert not knownbugs.worth_naming(replace(sister, same=[knownbugs.NEARLY - 0.01, 1.0]), 40)
    assert not knownbugs.worth_naming(stranger, 40)


def test_a_cause_of_few_failures_is_named_as_possible_if_nothing_else_failed():
    made = cause(knownbugs.TELLING - 0.01, knownbugs.FEW)
    assert knownbugs.worth_naming(made, knownbugs.FEW)
    assert not knownbugs.worth_naming(made, knownbugs.FEW + 1)
    assert not knownbugs.worth_naming(replace(made, explains=made.explains[1:]), knownbugs.FEW - 1)
    sister = replace(made, bugs=[*made.bugs, replace(made.bugs[0], expected="STR-2")])
    assert not knownbugs.worth_naming(sister, knownbugs.FEW)


def test_a_single_wrong_answer_beside_many_missing_ones_is_told_as_no_bug():
    shown = knownbugs.cause(seen({"stop", "stop.two"}), KNOWN)
    assert knownbugs.worth_telling(shown, 2)
    assert not knownbugs.worth_telling(shown, 2, silent=8)


def test_a_possible_cause_is_told_in_both_languages_and_begun_with():
    made = Reading(perhaps=cause(0.5, 12))
    english, chinese = (causes.told(made, {}, lang) for lang in ("en", "zh"))
    assert english == [
        "perhaps: STR-1",
        "  the bugs below fail the same cases or nearly so (12 failures here); others may, too",
        "  resembles stop-late (a/b#9): 100% of the failing cases are the same; that bug: It is stop-late.",
        "  begin with stop",
    ]
    assert chinese[:2] == [
        "或许：STR-1",
        "  下列缺陷使相同或几乎相同的用例失败（此处 12 个）；其他缺陷也可能如此",
    ]
    assert made.first == "stop"


def test_tensors_are_to_be_looked_at_where_a_plain_model_is_wrong_in_its_first_digits_from_the_first_position_on():
    wrong = Told(case="bert.plain", state="fail", message="logits[0, 1]: 2", figures={"ratio": 2e6})
    made = causes.read([wrong])
    assert made.plain.as_json() == {"case": "bert.plain", "ratio": 2e6}
    assert made.first == "bert.plain"
    english, chinese = (causes.told(made, {}, lang)[0] for lang in ("en", "zh"))
    assert english.startswith("bert.plain is off by 2e+06 honest errors, and its model has nothing special: look first")
    assert chinese.startswith("bert.plain 偏差为诚实误差的 2e+06 倍")
    assert causes.read([replace(wrong, figures={"ratio": 1e6})]).plain is None
    assert causes.read([replace(wrong, case="numerics.wide")]).plain is None
    assert causes.read([replace(wrong, state="pass")]).plain is None
    assert causes.read([replace(wrong, figures={"ratio": float("nan")})]).plain.ratio == float("inf")
    later = patterns.Onset(position=1, rows=4, of=4, throughout=True)
    assert patterns.plain([wrong], later) is None
    assert patterns.plain([wrong], replace(later, position=0)).case == "bert.plain"


def test_ids_that_are_right_of_a_candidate_started_anew_show_that_earlier_requests_change_answers():
    stale = [replace(each, anew=True) for each in answers(0, 2)]
    made = causes.read([*answers(12, 3), *stale])
    assert (made.wavering, made.anew, made.first) == (["g0", "g1"], 2, "g0")
    english, chinese = (causes.told(made, {}, lang) for lang in ("en", "zh"))
    assert english[0] == (
        "2 wrong answers are right of a candidate started anew: earlier requests change them; begin with g0"
    )
    assert chinese[0] == "2 个错误回答在重新启动的候选上是正确的：先前的请求会改变回答；先看 g0"
    assert "begin" not in english[1]
    state = Told(case="s", requirement="STATE-5", state="fail", message="ids[0] is 1, 2 was due")
    assert causes.read([*answers(12, 3), *stale, state]).first == "s"


def test_where_earlier_requests_change_answers_no_cause_is_told_but_of_what_is_kept(monkeypatch):
    monkeypatch.setattr(knownbugs, "likely", lambda verdicts: cause(1.0, 9))
    outcomes = answers(12, 9)
    assert causes.read(outcomes).likely is not None
    wavering = [*outcomes, replace(outcomes[-1], anew=True)]
    assert causes.read(wavering).likely is None
    monkeypatch.setattr(knownbugs, "likely", lambda verdicts: replace(cause(1.0, 9), requirement="STATE-5"))
    assert causes.read(wavering).likely is not None


def test_who_repeats_one_failure_is_told_no_cause_by_it_alone():
    shown = knownbugs.cause(seen({"stop", "stop.two"}), KNOWN)
    assert knownbugs.worth_telling(shown, 2, asked=knownbugs.ASKED)
    assert not knownbugs.worth_telling(shown, 2, asked=knownbugs.ASKED - 1)
    assert knownbugs.worth_telling(cause(1.0, knownbugs.FEW), knownbugs.FEW, asked=knownbugs.FEW)


# What was not answered


def raised(case, message="raised: KeyError: 'a'", place="", state="fail"):
    return Told(case=case, state=state, message=message, place=place)


def test_many_cases_without_an_answer_for_one_reason_are_told_once_and_first():
    where = "mine.py:7, in forward"
    outcomes = [
        raised("a", "raised: IndexError: index 7 is out of range", where),
        raised("b", "raised: IndexError: index 12 is out of range", where),
        raised("c", "raised: IndexError: index 1 is out of range", where),
        raised("d", "raised: KeyError: 'x'", where),
        raised("e", "raised: IndexError: index 1 is out of range", "mine.py:9, in other"),
        raised("f", state="pass", message=""),
        Told(case="g", state="fail", message="ids differ"),
    ]
    (made,) = patterns.alike(outcomes)
    assert (made.cases, made.place) == (["a", "b", "c"], where)
    reading = Reading(alike=[made], rest=["g"])
    english, chinese = (causes.told(reading, SENTENCES, lang) for lang in ("en", "zh"))
    assert english == [
        f"3 cases failed by one exception: IndexError: index 7 is out of range ({where}); mend this first"
    ]
    assert chinese == [f"3 个用例因同一异常未通过：IndexError: index 7 is out of range（{where}）；请先修复它"]
    assert made.as_json() == {"message": outcomes[0].message, "place": where, "cases": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("message", "english", "chinese"),
    [
        ("raised: KeyError: 'a'", "exception: KeyError: 'a'", "异常"),
        ("malformed: logits 3", "malformed answer: logits 3", "不合格式的回答"),
        ("died: exit status 1", "crash: exit status 1", "崩溃"),
        ("a valid request was refused: unsupported: no", "refusal: unsupported: no", "拒绝"),
    ],
)
def test_every_kind_of_missing_answer_has_its_word(message, english, chinese):
    found = patterns.alike([raised(case, message) for case in "abc"])
    assert causes.told(Reading(alike=found), {})[0] == f"3 cases failed by one {english}; mend this first"
    assert chinese in causes.told(Reading(alike=found), {}, "zh")[0]


def test_without_a_place_the_text_without_its_numbers_is_the_reason_and_two_cases_are_not_many():
    found = patterns.alike([raised(case, f"raised: IndexError: {i}") for i, case in enumerate("abc")])
    assert [each.cases for each in found] == [["a", "b", "c"]]
    assert patterns.alike([raised("a"), raised("b"), raised("b")]) == []


def test_what_is_behind_more_failures_is_where_to_begin_and_nothing_else_says_begin():
    likely = knownbugs.cause(seen({"stop", "stop.two"}), KNOWN)
    few = patterns.Alike(message="raised: KeyError", place="", cases=["x"])
    many = patterns.Alike(message="raised: KeyError", place="", cases=["x", "y", "z"])
    by_cause, by_reason = (Reading(likely=likely, alike=[each]) for each in (few, many))
    assert (by_cause.first, by_cause.mend) == ("stop", False)
    assert "mend this first" not in "".join(causes.told(by_cause, {}))
    assert "  begin with stop" in causes.told(by_cause, {})
    assert (by_reason.first, by_reason.mend) == ("x", True)
    assert not any("begin with" in line for line in causes.told(by_reason, {}))
    assert Reading().first == ""
    assert not Reading(rest=["a", "b", "c", "d"], alike=[many]).mend


# Other answers to the same question


def test_answers_that_change_come_before_all_but_nan_and_lead_to_the_case_that_asks_for_it():
    wavers = Told(
        case="plain", state="fail", message="logits", figures={"ratio": 2e6}, wavered=True, requirement="NUM-1"
    )
    asks = Told(case="history", state="fail", message="ids", requirement="STATE-1")
    (english, *_), (chinese, *_) = (causes.told(causes.read([wavers, asks]), {}, lang) for lang in ("en", "zh"))
    assert english.endswith("got two answers: earlier requests, or chance, change them; begin with history")
    assert chinese.endswith("会改变回答；先看 history")
    assert causes.read([wavers, asks]).first == "history"
    assert causes.read([wavers]).first == "plain"
    assert causes.read([wavers, replace(asks, requirement="TRF-24")]).first == "history"
    assert causes.read([replace(asks, message="ids[0] is 1, 2 came the other way")]).first == "history"
    assert causes.read([wavers, *(hole(case) for case in "abc")]).first == "a"


def test_a_sample_that_comes_out_otherwise_and_what_passed_do_not_waver():
    sample = Told(case="law", state="fail", message="ids", wavered=True, requirement="SAM-1")
    passed = Told(case="plain", state="pass", figures={"ratio": 1.0}, wavered=True)
    asks = Told(case="history", state="fail", message="ids", requirement="STATE-1")
    assert patterns.wavering([sample, passed, asks]) == []


def test_own_answers_that_do_not_agree_tell_most_where_much_is_wrong_and_they_are_few():
    wrong = [Told(case=f"c{i}", state="fail", message="logits", requirement="NUM-2") for i in range(patterns.MANY)]
    apart = Told(case="permuted", state="fail", message="logits[0] is 1, 2 came the other way", requirement="ACT-3")
    made = causes.read([*wrong, apart])
    assert (made.against, made.first) == (["permuted"], "permuted")
    english, chinese = (causes.told(made, {}, lang) for lang in ("en", "zh"))
    assert english[-1].endswith("differ in permuted: begin with permuted")
    assert chinese[-1].endswith("却在此处不同：permuted；先看 permuted")
    assert causes.read([*wrong[:-1], apart]).against == []
    many = [replace(apart, case=f"p{i}") for i in range(patterns.APART + 1)]
    assert causes.read([*wrong, *many]).against == []
    assert not causes.read(
        [*wrong, replace(apart, requirement="STATE-1")]
    ).against  # told as two answers to one question


# Where logits begin to be wrong


def off(case, wrong, of, first):
    said = WrongPositions(wrong=wrong, of=of, first=first)
    return Told(case=case, state="fail", message=f"logits[9, 1] is 1, 2 was due; {said} (plain, {of} ids)")


def test_rows_that_agree_on_where_they_begin_to_be_wrong_tell_the_position():
    rows = [off("a", 115, 140, 25), off("b", 7, 32, 25), off("c", 1, 26, 25)]
    made = patterns.onset(rows)
    assert made == Onset(position=25, rows=3, of=3, throughout=True)
    assert causes.told(Reading(onset=made), {}) == [
        "logits are right up to position 24, wrong from position 25 on in all 3 cases where they are off "
        "(positions count from 0)"
    ]
    assert causes.told(Reading(onset=made), {}, "zh") == [
        "位置 24 及之前的 logits 正确，从位置 25 起全部错误：3 个未通过的用例中有 3 个如此（位置从 0 计）"
    ]
    assert made.as_json() == {"position": 25, "rows": 3, "of": 3, "throughout": True}


def test_a_row_that_is_right_again_behind_the_first_wrong_position_is_not_called_wrong_from_there_on():
    made = patterns.onset([off("a", 3, 140, 25), off("b", 7, 32, 25), off("c", 1, 26, 25), off("d", 4, 5, 1)])
    assert made == Onset(position=25, rows=3, of=4, throughout=False)
    assert "first wrong at position 25 in 3 of 4 cases" in causes.told(Reading(onset=made), {})[0]
    assert "首个错误在位置 25" in causes.told(Reading(onset=made), {}, "zh")[0]


def test_what_is_wrong_from_the_start_has_no_right_beginning():
    made = patterns.onset([off(case, 8, 8, 0) for case in "abc"])
    assert causes.told(Reading(onset=made), {})[0].startswith("logits are wrong from position 0 on in all 3 cases")
    assert causes.told(Reading(onset=made), {}, "zh")[0].startswith("logits 从位置 0 起全部错误")


def test_rows_that_disagree_or_are_few_have_no_such_position():
    assert patterns.onset([off("a", 1, 9, 3), off("b", 1, 9, 3)]) is None
    assert patterns.onset([off("a", 1, 9, 3), off("b", 1, 9, 3), off("c", 1, 9, 5)]) is None
    assert patterns.onset([off("a", 1, 9, 3)] * 3) is None
    passed = [replace(off(case, 1, 9, 3), state="pass") for case in "abc"]
    assert patterns.onset(passed) is None


# No numbers


def hole(case, value="nan"):
    return Told(case=case, requirement="NUM-1", state="fail", message=f"logits[1, 3] is {value}, -2.6 was due (plain)")


def test_logits_that_are_no_numbers_come_before_all_that_reads_them():
    raised = [Told(case=f"r{i}", state="fail", message="raised: ValueError: NaN", place="a.py:3") for i in range(9)]
    document = replace(hole("c"), message="logits of document 'plain'[3, 5] is -inf, 1.5 was due")
    made = causes.read([*raised, hole("a"), hole("b", "inf"), document, off("d", 3, 9, 2)])
    assert made.holes == ["a", "b", "c"]
    assert made.first == "a"
    assert not made.mend
    english, chinese = (causes.told(made, {}, lang)[:2] for lang in ("en", "zh"))
    assert english == [
        "logits are NaN or infinite in 3 cases, as in a; mend this first",
        "9 cases failed by one exception: ValueError: NaN (a.py:3)",
    ]
    assert chinese[0] == "3 个用例的 logits 中有 NaN 或无穷大，例如 a；请先修复它"


def test_a_few_logits_that_are_no_numbers_are_told_by_their_cases_alone():
    made = causes.read([hole("a"), hole("b")])
    assert made.holes == ["a", "b"]
    assert not any("NaN" in line for line in causes.told(made, {}))


# Behind the logits


def answers(measured, generated, *, off=0):
    """Cases that measured logits, the last `off` of them wrong, and cases of generation with wrong ids."""
    numbers = [
        Told(case=f"n{i}", requirement="NUM-1", state="fail" if i >= measured - off else "pass", figures={"ratio": 1.0})
        for i in range(measured)
    ]
    texts = [Told(case=f"g{i}", requirement="GEN-1", state="fail", message="id 3 of 4 is 7") for i in range(generated)]
    return [*numbers, *texts]


def test_wrong_generation_where_logits_are_right_is_looked_for_behind_them():
    made = patterns.behind(answers(12, 3))
    assert made == Behind(measured=12, wrong=3, begin="g0")
    where = {"kept": "", "rows": 0, "at_first": 0, "at_second": 0}
    assert made.as_json() == {"measured": 12, "wrong": 3, "begin": "g0"} | where
    whole = causes.read(answers(12, 3))
    assert (whole.behind, whole.first) == (made, "g0")
    english, chinese = (causes.told(Reading(behind=made), {}, lang) for lang in ("en", "zh"))
    assert english == [
        "logits are right in all 12 cases that measure them, and 3 cases of generation fail: "
        "look at how an id is chosen, how each is fed back, through a cache if there is one, and where a text ends; "
        "begin with g0"
    ]
    assert chinese == [
        "测量 logits 的 12 个用例全部正确，而 3 个关于生成的用例未通过："
        "请看编号如何选出、每个编号如何送回模型（如有缓存则经由缓存），以及文本在何处结束；先看 g0"
    ]


WRONG_IDS = (
    "ids[{}] is 7, 8 was due: its logit is larger by 3", "bytes of texts[0][{}] is 7, 8 was due: its logit",
    "call 0, 40 ids: ids[{}] is 7, 8 was due", "ids[2][{}] is 7, 8 was due",
)  # fmt: skip
"""How cases say which new id is the first wrong one."""


@pytest.mark.parametrize(
    ("steps", "counted", "english", "chinese"),
    [
        pytest.param(
            (1, 1, 3, 1), (4, 0, 3),
            "4 of them say which new id is wrong: never the first, in 3 the second; look at how each is fed back: its "
            "position, and a cache if there is one",
            "其中 4 个指明了出错的新编号：从不是首个，3 个为第二个；"
            "请看每个编号如何送回模型：它的位置，以及缓存（如有）",
            id="never the first",
        ),
        pytest.param(
            (0, 0, 1, 0), (4, 3, 1),
            "4 of them say which new id is wrong: in 3 the first; look at how an id is chosen",
            "其中 4 个指明了出错的新编号：3 个为首个；请看编号如何选出",
            id="mostly the first",
        ),
        pytest.param(
            (0, 1, 1, 2), (4, 1, 2),
            "look at how an id is chosen, how each is fed back, through a cache if there is one, and where a text ends",
            "请看编号如何选出、每个编号如何送回模型（如有缓存则经由缓存），以及文本在何处结束",
            id="now here, now there",
        ),
    ],
)  # fmt: skip
def test_which_new_id_is_the_first_wrong_one_says_where_to_look(steps, counted, english, chinese):
    outcomes = [
        replace(each, message=WRONG_IDS[i].format(steps[i]))
        if each.requirement == "GEN-1" else each
        for i, each in enumerate([*answers(0, 4), *answers(12, 0)])
    ]  # fmt: skip
    made = patterns.behind(outcomes)
    assert (made.rows, made.at_first, made.at_second) == counted
    told = [causes.told(Reading(behind=made), {}, lang)[0] for lang in ("en", "zh")]
    assert told[0].partition(" fail: ")[2] == f"{english}; begin with g0"
    assert told[1].partition("未通过：")[2] == f"{chinese}；先看 g0"


def test_where_most_ids_are_right_and_earlier_requests_change_answers_what_is_kept_of_them_is_looked_at():
    stale = Told(case="shared", requirement="STATE-5", state="fail", message="ids[3] is 7, 8 was due")
    right = [Told(case=f"r{i}", requirement="GEN-1", state="pass") for i in range(4)]
    made = patterns.behind([*answers(12, 3), *right, stale])
    assert (made.kept, made.begin) == ("shared", "shared")
    english, chinese = (causes.told(Reading(behind=made), {}, lang)[0] for lang in ("en", "zh"))
    assert english.endswith(
        "3 cases of generation fail: most ids are right, and shared is not, which asks whether earlier requests change "
        "answers; look at what is kept of them; begin with shared"
    )
    assert chinese.endswith("而询问先前请求是否改变回答的用例 shared 未通过；请看先前的请求留下了什么；先看 shared")
    mostly_wrong = patterns.behind([*answers(12, 3), *right[:3], stale])
    assert (mostly_wrong.kept, mostly_wrong.begin) == ("", "g0")
    assert patterns.behind([*answers(12, 3), *right]).kept == ""


def test_where_logits_are_off_in_many_cases_choices_of_ids_count_as_one():
    names = [f"n{i}" for i in range(knownbugs.BROAD)]
    columns = {
        **{name: Column(requirement="NUM-1", level="MUST", interface="logits") for name in names},
        **{f"g{i}": Column(requirement="GEN-1", level="MUST", interface="text") for i in range(8)},
        "s": Column(requirement="STATE-6", level="MUST", interface="ids"),
        "limit": Column(requirement="API-1", level="MUST", interface="text"),
    }
    known = replace(
        bug("variance", "NUM-1", (), **dict.fromkeys(names, 3.0)), asked=tuple(columns),
        failed=dict.fromkeys(names, "NUM-1") | {"g0": "GEN-1", "g1": "GEN-1"},
    )  # fmt: skip
    matrix = KillMatrix(terms={}, columns=columns, rows=[known])

    def read(off, wrong):
        return knownbugs.cause(
            {
                name: Seen(passed=name not in {*off, *wrong}, loud=3.0 if name in off else None) for name in columns
            },
            matrix,
        )  # fmt: skip

    lucky = read(names, {"g3", "g4", "s"})
    assert (lucky.same, lucky.explains) == ([1.0], [*names, "g3", "g4", "s"])
    assert read(names, {"g3", "limit"}).same == [11 / 12]
    assert read(names, ()).same == [10 / 11]
    few = read(names[:-1], {"g3"})
    assert few.same == [9 / 13]


def test_known_bugs_of_a_case_lead_to_the_bug_where_failures_begin_and_where_no_cause_explains_them():
    made = causes.read(answers(12, 3))
    assert made.leads_to("g1", "GEN-1", "GEN-1")
    assert not made.leads_to("limit", "API-1", "GEN-1")
    assert Reading().leads_to("limit", "API-1", "")
    likely = Reading(likely=cause(1.0, 9), rest=["other"])
    assert likely.leads_to("other", "API-1", "STR-1")
    assert not likely.leads_to("c0", "API-1", "STR-1")


@pytest.mark.parametrize(
    "outcomes",
    [
        pytest.param(answers(12, 3, off=1), id="one case of logits is wrong"),
        pytest.param(answers(5, 3), id="few cases measured logits"),
        pytest.param([*answers(12, 3), hole("x")], id="a case of logits has NaN, of which nothing is measured"),
        pytest.param([*answers(12, 3), off("x", 9, 9, 0)], id="a case of logits is wrong without figures"),
        pytest.param(answers(12, 2), id="few cases of generation are wrong"),
        pytest.param(
            [*answers(12, 0), *(Told(case=f"f{i}", requirement="FMT-1", state="fail") for i in range(9))],
            id="what is wrong is no generation",
        ),
        pytest.param(
            [*answers(12, 0), *(replace(each, message="raised: KeyError: 7") for each in answers(0, 9))],
            id="nothing was generated",
        ),
    ],
)
def test_nothing_is_looked_for_behind_logits(outcomes):
    assert patterns.behind(outcomes) is None


# The published matrix


@pytest.fixture
def installed(monkeypatch):
    def put(text):
        monkeypatch.setattr(killmatrix, "find", lambda: text)
        knownbugs.known.cache_clear()

    yield put
    knownbugs.known.cache_clear()


def test_without_a_published_matrix_nothing_is_said(installed):
    installed(None)
    assert knownbugs.likely(seen({"stop"})) is None
    assert knownbugs.bugs_of("stop", "STR-1") == []


def test_a_matrix_that_cannot_be_read_stops_no_run(installed, tmp_path):
    (tmp_path / "m.json").write_text("{")
    installed(tmp_path / "m.json")
    assert knownbugs.likely(seen({"stop"})) is None


def test_the_bugs_that_a_case_was_made_for_are_named(installed, tmp_path):
    terms = dict.fromkeys(("suite", "harness", "seed", "claim"), "")
    text = KillMatrix(terms=terms, columns=KNOWN.columns, rows=KNOWN.rows).as_text()
    (tmp_path / "m.json").write_text(text)
    installed(tmp_path / "m.json")
    assert knownbugs.bugs_of("stop", "STR-1") == ["It is stop-late. (a/b#9)"]
    cause = knownbugs.likely(seen({"stop", "stop.two"}))
    assert cause.as_json()["bugs"] == [{"name": "stop-late", "source": "a/b#9", "bug": "It is stop-late.", "same": 1.0}]


def test_bugs_beside_a_failure_failed_it_in_the_same_way(installed, tmp_path):
    terms = dict.fromkeys(("suite", "harness", "seed", "claim"), "")
    rows = [bug("loud", "NUM-1", ["plain"], plain=9.0), bug("shape", "NUM-1", ["plain"])]
    (tmp_path / "m.json").write_text(KillMatrix(terms=terms, columns=KNOWN.columns, rows=rows).as_text())
    installed(tmp_path / "m.json")
    assert len(knownbugs.bugs_of("plain", "NUM-1")) == 2
    assert knownbugs.fitting_bugs("plain", "NUM-1", "logits are off", {"ratio": 8.0}) == ["It is loud. (a/b#4)"]
    assert knownbugs.fitting_bugs("plain", "NUM-1", "logits are off", {"ratio": 2.0**16}) == []
    assert knownbugs.fitting_bugs("plain", "NUM-1", "logits has shape [1]", {}) == ["It is shape. (a/b#5)"]
    assert knownbugs.fitting_bugs("plain", "NUM-1", "raised: KeyError", {}) == []


def test_what_is_not_worth_telling_is_explained_by_nobody(installed, tmp_path):
    terms = dict.fromkeys(("suite", "harness", "seed", "claim"), "")
    (tmp_path / "m.json").write_text(KillMatrix(terms=terms, columns=KNOWN.columns, rows=KNOWN.rows).as_text())
    installed(tmp_path / "m.json")
    outcomes = seen({"stop", "stop.two", "batch"})
    assert knownbugs.likely(outcomes).likeness < knownbugs.TELLING
    reading = causes.read(Told(case=case, state="pass" if each.passed else "fail") for case, each in outcomes.items())
    assert (reading.first, reading.likely, reading.perhaps) == ("", None, None)
    assert reading.rest == ["stop", "stop.two", "batch"]
    assert causes.told(reading, {}) == []


def test_an_error_is_as_loud_as_its_binary_logarithm():
    assert killmatrix.loudness({"ratio": 8.0}) == 3.0
    assert killmatrix.loudness({"ratio": float("inf")}) == killmatrix.LOUDEST
    assert killmatrix.loudness({"ratio": float("nan")}) == killmatrix.LOUDEST
    assert killmatrix.loudness({"peak": 3.0}) is None
    assert killmatrix.loudness({"ratio": 0.0}) is None


def test_what_passed_and_failed_has_failed_and_what_was_not_answered_or_judged_is_left_out():
    made = causes.seen(
        [
            Told(case="twice", state="fail", message="logits are off", figures={"ratio": 8.0}),
            Told(case="twice", state="pass"),
            Told(case="crashed", state="fail", message="raised: KeyError"),
            Told(case="open", state="inconclusive", message="cannot tell"),
            Told(case="right", state="pass", figures={"ratio": 2.0}),
        ]
    )
    assert made == {"twice": Seen(passed=False, loud=3.0), "right": Seen(passed=True, loud=1.0)}
