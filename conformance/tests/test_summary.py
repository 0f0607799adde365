"""How a run is summed up: which failure is read first, what the many have in common, and the next step."""

import re
from dataclasses import replace

import pytest

from llmasos_conformance import knownbugs, suite
from llmasos_conformance.plugin import summary
from llmasos_conformance.verdict import Outcome, State


@pytest.fixture
def failing():
    def make(*cases):
        """Failing records; each case is (name, message, figures), or has its requirement behind that."""
        keys, usual = ("case", "message", "figures", "requirement"), {"state": "fail", "requirement": "NUM-1"}
        return summary.ranked([usual | dict(zip(keys, case, strict=False)) for case in cases])

    return lambda *cases: [record["case"] for record in make(*cases)]


def test_the_most_telling_failure_is_no_answer_then_the_loudest_logits_then_behaviour(failing):
    behaviour, silent = ("b", "ids differ", {}), ("s", "malformed: logits", {"ratio": 1e9})
    quiet, loud, worst = (
        ("q", "off", {"ratio": 9.0}),
        ("l", "off", {"ratio": 1e5}),
        ("n", "off", {"ratio": float("nan")}),
    )
    assert failing(behaviour, quiet, loud, silent, worst) == ["s", "n", "l", "q", "b"]


def test_many_wrong_logits_come_before_a_missing_answer(failing):
    numeric = [(f"n{i}", "off", {"ratio": float(i)}) for i in range(11)]
    assert failing(("s", "raised: oops", {}), *numeric)[0] == "n10"
    assert failing(("s", "raised: oops", {}), *numeric[1:])[0] == "s"


def test_many_wrong_logits_of_models_come_before_louder_ones_of_documents(failing):
    numeric = [(f"n{i}", "off", {"ratio": float(i)}) for i in range(11)]
    document = ("d", "off", {"ratio": 99.0}, "FMT-16")
    assert failing(document, *numeric)[0] == "n10"
    assert failing(document, *numeric)[-1] == "d"
    assert failing(document, *numeric[:5])[0] == "d"


def test_failures_of_one_known_bug_are_told_as_one_cause_behind_the_list():

    loaded, matrix = suite.load(), knownbugs.known()
    row = next(row for row in matrix.mutants if row.name == "epsilon-doubled")
    asked = [case for case in row.asked if case in loaded.cases]
    records = [
        {"case": case, "requirement": loaded.cases[case].requirement, "level": "MUST", "missing": [], "emulated": [],
         "state": "fail" if case in row.failed else "pass", "message": "off",
         "figures": {"ratio": 2.0 ** row.loud[case]} if case in row.loud else {}}
        for case in asked
    ]  # fmt: skip
    _, found, behind = summary.summarise(loaded, asked, frozenset(), records)
    assert [line.split(":")[0] for line in behind if not line.startswith("  ")] == ["likely cause"]
    assert behind[0].startswith("likely cause: NRM-1 ")
    begin = next(line for line in behind if "begin with" in line).split()[-1]
    assert advice(records).startswith(f"llmasos explain {begin}, or")
    assert begin in next(line for line in found if line.startswith("failing: NRM-1 "))


def advice(records):

    return summary.next_step(
        "non_conformant",
        [],
        records,
        again="again",
        everything="all",
        certify="certify",
        one=lambda case: f"one {case}",
    )


def silent(*cases, message="raised: KeyError: 'a'", requirement="NUM-1"):
    return [
        {"case": case, "requirement": requirement, "level": "MUST", "state": "fail", "message": message, "figures": {},
         "missing": [], "emulated": [], "place": "mine.py:3, in forward"}
        for case in cases
    ]  # fmt: skip


def undeclared(case, *missing):
    return {**silent(case.id, message="", requirement=case.requirement)[0], "state": "not_declared", "missing": missing}


def test_chapters_of_an_architecture_that_is_not_declared_are_one_line_and_others_keep_their_row():
    loaded = suite.load()
    chapters = {}
    for case in loaded.cases.values():
        chapters.setdefault(loaded.requirements[case.requirement].chapter, []).append(case)
    records = [undeclared(case, "Transformer") for case in chapters["transformer"]]
    records += [undeclared(case, "BERT", "encode") for case in chapters["bert"]]
    records += [undeclared(case, "tokenize") for case in chapters["tokenizers"]]
    planned = [record["case"] for record in records]
    _, lines, _ = summary.summarise(loaded, planned, frozenset(planned), records)
    counts = ", ".join(f"{name} ({len(chapters[name])})" for name in ("transformer", "bert"))
    assert f"not asked, because their architecture is not declared: {counts}" in lines
    rows = lines[: lines.index(summary.ROWS)]
    assert [row.split()[0] for row in rows] == ["chapter", "tokenizers"]
    records[0] = {**records[0], "missing": ["session"]}
    _, lines, _ = summary.summarise(loaded, planned, frozenset(planned), records)
    assert any(line.startswith("transformer ") for line in lines)


def test_without_a_likely_cause_the_next_step_is_the_most_telling_failure():
    records = [
        {**record, "message": "off", "figures": {"ratio": ratio}}
        for record, ratio in zip(silent("a", "b"), (9.0, 1e5), strict=True)
    ]
    assert advice(records) == "llmasos explain b, or repeat the failures: again"
    assert advice([*records, *silent("x")]).startswith("llmasos explain x, or")
    assert advice([]).startswith("declare what the profile requires")


def test_a_reason_behind_many_cases_is_the_next_step_and_leaves_the_list():

    loaded = suite.load()
    first, second, third, other, *_ = [case.id for case in loaded.cases.values() if case.requirement == "NUM-2"]
    records = [*silent(first, second, third), *silent(other, message="ids differ", requirement="NUM-2")]
    _, found, behind = summary.summarise(loaded, [record["case"] for record in records], frozenset(), records)
    assert behind == ["3 cases failed by one exception: KeyError: 'a' (mine.py:3, in forward); mend this first"]
    assert [line for line in found if line.startswith("failing")] == [f"failing: NUM-2 (MUST) in {other}"]
    assert advice(records) == f"mend what stopped 3 cases; repeat one: one {first}, or all that failed: again"


TRACE = """Traceback (most recent call last):
  File "/x/llmasos_conformance/adapters/inprocess.py", line 223, in _vendor
    return call(*args, **options)
  File "/home/me/engine.py", line 19, in attend
    return np.matmul(a, b)
  File "/usr/lib/python3/dist-packages/numpy/core.py", line 5, in matmul
ValueError: matmul
"""


def test_the_place_of_an_exception_is_the_last_step_in_the_candidates_own_code():

    assert summary.place(TRACE) == "/home/me/engine.py:19, in attend"
    library = "\n".join(line for line in TRACE.splitlines() if "engine" not in line)
    assert summary.place(library) == "/usr/lib/python3/dist-packages/numpy/core.py:5, in matmul"
    assert summary.place("panicked at src/main.rs:7") == ""
    assert summary.place("") == ""


def test_where_many_rows_begin_to_be_wrong_tells_more_than_the_loudest():

    loaded = suite.load()
    names = [case.id for case in loaded.cases.values() if case.requirement.startswith(("NUM-", "CACHE-"))][:14]
    said = "off; wrong at 115 of 140 positions, first at 25"
    records = [{**record, "message": said, "figures": {"ratio": 9.0}} for record in silent(*names)]
    _, _, behind = summary.summarise(loaded, names, frozenset(), records)
    assert [line for line in behind if line.startswith("logits")] == [
        "logits are right up to position 24, wrong from position 25 on in all 14 cases where they are off "
        "(positions count from 0)"
    ]


def test_many_failures_are_summed_up_and_the_loudest_is_to_be_read_first():

    loaded = suite.load()
    cases = {case.requirement: case for case in loaded.cases.values()}
    names = sorted(cases)[:12]
    records = [
        {"case": cases[name].id, "requirement": name, "level": "MUST", "state": "fail", "message": "off",
         "figures": {"ratio": 10.0**i}, "missing": [], "emulated": []}
        for i, name in enumerate(names)
    ]  # fmt: skip
    _, found, behind = summary.summarise(loaded, [record["case"] for record in records], frozenset(), records)
    loudest = cases[names[-1]].id
    assert behind[-1].startswith(f"logits are off in 12 cases; the loudest is {loudest}: ")
    assert behind[-1].endswith(": read this one first")
    told = [line for line in found if line.startswith("failing")]
    assert told[0].startswith(f"failing: {names[-1]} (")
    assert told[-1] == "failing: and 4 more requirements"
    assert len(told) == 9


def test_nothing_that_a_candidate_answers_steers_the_terminal_of_who_reads_a_failure():
    loaded = suite.load()
    case = loaded.cases["api.max-length.counts-new-tokens"]
    bad = "\x1b[2J\x00\u202e"
    outcome = Outcome(
        case=case.id, requirement=case.requirement, level="MUST", state=State.FAIL, message=f"m {bad}\nmore {bad}",
        expected=f"e {bad}", got=f"g {bad}", minimal=f"a {bad}\nb {bad}",
    )  # fmt: skip
    shown = summary.failure(outcome, case, loaded.requirements[case.requirement], "again")
    assert not {*bad} - {"[", "2", "J"} & {*shown}
    assert "g \\x1b[2J\\x00\\u202e" in shown


def test_what_may_have_a_smaller_one_is_not_called_minimal():
    loaded = suite.load()
    case = loaded.cases["api.max-length.counts-new-tokens"]
    outcome = Outcome(
        case=case.id, requirement=case.requirement, level="MUST", state=State.FAIL, message="m", example=1,
        minimal="forward ids=[5]",
    )  # fmt: skip
    for unfinished, label, of in ((False, "minimal", "of the minimal one below"), (True, "asked", "of the one below")):
        made = replace(outcome, unfinished=unfinished)
        shown = summary.failure(made, case, loaded.requirements[case.requirement], "again")
        assert re.search(rf"^  {label} +forward ids=\[5\]$", shown, re.MULTILINE)
        assert re.search(rf"^  example +number 2 of \d+ failed; all that is said here is {of}$", shown, re.MULTILINE)
        assert f"\n  {label} " in summary.brief(made, "again")


def test_the_text_of_one_exception_behind_many_cases_steers_no_terminal_and_begins_no_line():
    loaded = suite.load()
    cases = [*loaded.cases.values()][:3]
    about = {"level": "MUST", "state": "fail", "figures": {}, "missing": [], "emulated": [], "place": ""}
    message = "raised: E: \x1b[31mred\nreproduce  rm -rf /\x07"
    records = [{"case": case.id, "requirement": case.requirement, "message": message, **about} for case in cases]
    _, found, behind = summary.summarise(loaded, [case.id for case in cases], frozenset(), records)
    (told,) = [line for line in behind if "3 cases failed by one exception" in line]
    assert "red / reproduce" in told
    assert not any(char in line for line in [*found, *behind] for char in "\x1b\x07\n")


def test_a_plain_model_that_is_wrong_in_its_first_digits_comes_first_unless_its_cause_is_known(monkeypatch):
    def failed(case, ratio):
        about = {"requirement": "NUM-1", "level": "MUST", "missing": [], "place": "", "emulated": []}
        return {"case": case, "state": "fail", "message": "logits are off", "figures": {"ratio": ratio}, **about}

    monkeypatch.setattr(knownbugs, "likely", lambda verdicts: None)
    loud, plain = failed("numerics.activations", 1e9), failed("numerics.plain", 2e6)
    assert summary.first([loud, plain]) == "numerics.plain"
    assert summary.first([loud, failed("numerics.plain", 1e3)]) == "numerics.activations"
    row = knownbugs.known().mutants[0]
    cause = knownbugs.Cause(requirement="NUM-1", begin=["numerics.untied"], bugs=[row], same=[1.0], explains=["a"] * 9,
                         likeness=1.0)  # fmt: skip
    monkeypatch.setattr(knownbugs, "likely", lambda verdicts: cause)
    assert summary.first([loud, plain]) == "numerics.untied"


def test_whole_are_where_to_begin_then_the_loudest_of_each_requirement_then_the_rest(monkeypatch):
    def failed(case, requirement, ratio):
        about = {"level": "MUST", "missing": [], "place": "", "emulated": [], "wavered": False}
        figures = {} if ratio is None else {"ratio": ratio}
        return {
            "case": case,
            "requirement": requirement,
            "state": "fail",
            "message": "logits",
            "figures": figures,
            **about,
        }

    records = [
        failed("text", "API-1", None), failed("low", "NUM-1", 7.0), failed("high", "NUM-1", 9.0),
        failed("epsilon", "NRM-1", 8.0),
    ]  # fmt: skip
    monkeypatch.setattr(knownbugs, "likely", lambda verdicts: None)
    assert summary.whole(records) == ["high", "epsilon", "text", "low"]
    monkeypatch.setattr(summary, "WHOLE", 2)
    assert summary.whole(records) == ["high", "epsilon"]
    monkeypatch.setattr(summary, "first", lambda records: "text")
    assert summary.whole(records) == ["text", "high"]


def test_cases_are_led_away_from_where_failures_have_a_beginning_elsewhere():
    def record(case, requirement, state="fail", message="ids[1] is 7, 8 was due: ", **figures):
        return {"case": case, "requirement": requirement, "state": state, "message": message, "figures": figures}

    right = [record(f"n{i}", "NUM-1", "pass", "", ratio=1.0) for i in range(12)]
    wrong = [record("limit", "API-1"), *(record(f"g{i}", "GEN-1") for i in range(3))]
    assert summary.led_away([*right, *wrong]) == {"limit", *(each["case"] for each in right)}
    assert summary.led_away(right) == summary.led_away([]) == frozenset()
