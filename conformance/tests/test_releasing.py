"""Reports that are read, compared, shown in other forms, and held against a policy.

A synthetic world: reports of the frozen profile `quick` whose outcomes are made up and whose evidence is small. They
verify up to the rung `evidence`; judging again is tried in test_certify.
"""

import gzip
import json
import lzma
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import jsonschema
import pytest

from llmasos_conformance import (
    differences,
    evidence,
    gate,
    installed,
    isolation,
    policy,
    projections,
    publishing,
    reading,
    report,
    signing,
    verify,
)  # fmt: skip
from llmasos_conformance.candidate import Exchange
from llmasos_conformance.canonical import Unacceptable, parse, schema
from llmasos_conformance.differences import Move
from llmasos_conformance.errors import HarnessError, ReportError
from llmasos_conformance.gate import Answer
from llmasos_conformance.protocol import ARCHITECTURES, CAPABILITIES, Claims, Description
from llmasos_conformance.reading import Refused, Standing
from llmasos_conformance.verdict import HONEST_UNITS, Outcome, State

SUITES = installed.suites()
QUICK = installed.frozen_profile(SUITES, "quick")
CASES = [case["id"] for case in QUICK["cases"]]
ISOLATION = isolation.sentences(out_of_process=True, open_because="", adopted=True, pass_env=[], isolated=True)
NOW = datetime.now(UTC).replace(microsecond=0)
FAIL = {"state": State.FAIL, "message": "logits[3, 1] is 1, 2 was due | <b>", "figures": {"ratio": 60.0}}


class World:
    """A key, a trust file, and reports made as they are asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = policy.keygen(root / "keys", owner="acme", now=NOW - timedelta(days=30))
        self.trust, self.key = paths["trust"], signing.read_key(paths["key"])
        self.own = verify.Installed.here()

    def report(
        self, name, *, signed=True, drop=(), ago=1, version="1", who="acme", dtype="float32", mode="certified",
        adapter="d" * 64, capabilities=CAPABILITIES, **changes,
    ) -> Path:  # fmt: skip
        """A report in which every case passes at a tenth of its bound, but for the changes: case -> members."""
        directory = self.root / name
        directory.mkdir()
        store, outcomes = evidence.Store(directory / evidence.FILE_NAME), []
        for case in QUICK["cases"]:
            given = {"state": State.PASS, "figures": {"ratio": 0.6}} | changes.get(case["id"], {})
            asked = given["state"] not in (State.NOT_DECLARED, State.NOT_RUN)
            said = [[Exchange("tokenize", {"model": "m", "text": case["id"]}, result={"ids": [1]})]]
            outcomes.append(
                Outcome(case=case["id"], requirement=case["requirement"], level=case["level"],
                        evidence=store.add(case["id"], said) if asked else "", **given)
            )  # fmt: skip
        described = Description(name=who, version=version, architectures=tuple(ARCHITECTURES),
                                claims=Claims(dtype=dtype), capabilities=frozenset(capabilities))  # fmt: skip
        started = NOW - timedelta(days=ago, minutes=1)
        times = [moment.strftime(policy.TIME_FORMAT) for moment in (started, started + timedelta(seconds=7))]
        facts = report.Facts(
            candidate=report.candidate_record(described),
            adapter=adapter,
            suite={"name": "llmasos", "version": QUICK["version"], "digest": self.own.suite_digest, "profile": "quick",
                   "profileDigest": installed.profile_digest(QUICK)},
            reference={"name": "llmasos", "version": "1", "digest": self.own.reference_digest},
            harness={"name": "h", "version": "1", "digest": self.own.harness_digest, "dependencies": {}},
            run={"id": "0" * 32, "startedAt": times[0], "finishedAt": times[1], "seed": name.replace("/", "-"),
                 "mode": mode, "isolation": ISOLATION},
            environment={"os": "linux", "arch": "x", "python": "3", "threads": "1"},
        )  # fmt: skip
        payload = report.statement(facts, QUICK, outcomes, store.close())
        if signed:
            (directory / report.ENVELOPE_NAME).write_bytes(signing.sign(payload, self.key))
            (directory / report.SIGNER_NAME).write_bytes(signing.public_pem(signing.public_bytes(self.key)))
        else:
            (directory / report.STATEMENT_NAME).write_bytes(payload)
        return directory

    def read(self, path, *, trusted=False, **options):
        trust = policy.read_trust(self.trust) if trusted else None
        return reading.read(path, now=NOW, own=self.own, trust=trust, **options)

    def policy(self, text="", profiles="- {profile: quick}") -> Path:
        path = self.root / "gate.yaml"
        path.write_text(f"format: 1\nprofiles:\n{profiles}\n{text}", encoding="utf-8")
        return path

    def known(self, *cases, symptom="was due", expires="2999-01-01", more="") -> None:
        entries = "".join(
            f"- case: {case}\n  reason: the kernel rounds, acme/engine#7\n  symptom: {symptom}\n"
            f"  expires: '{expires}'\n{more}"
            for case in cases
        )
        (self.root / "known.yaml").write_text(f"format: 1\nfailures:{' []' if not cases else ''}\n{entries}")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def tear(directory):
    """A report of which a byte of the evidence was changed."""
    (directory / evidence.FILE_NAME).write_bytes(b"no evidence")
    return directory


# ── reading ──


def test_a_good_report_is_read_as_far_as_what_lies_there_allows(world):
    path = world.report("a")
    read = world.read(path)
    assert (read.objections, read.checked) == ((), ("integrity", "suite", "evidence"))
    assert world.read(path, trusted=True).signer == ("acme", "vendor")
    (path / evidence.FILE_NAME).unlink()
    assert world.read(path).checked == ("integrity", "suite")
    assert reading.believed(read) is read


def test_a_report_that_is_not_conformant_tells_the_truth_and_is_read(world):
    assert world.read(world.report("a", **{CASES[0]: FAIL})).objections == ()


def test_with_a_trust_file_an_unknown_signer_is_an_objection_and_without_one_it_is_said(world):
    path = world.report("a")
    policy.keygen(world.root / "others", owner="others", now=NOW)
    trust = policy.read_trust(world.root / "others" / "trust.json")
    read = reading.read(path, now=NOW, own=world.own, trust=trust)
    assert [each.code for each in read.objections] == ["E_SIGNER_UNKNOWN"]
    with pytest.raises(Refused, match="--trust"):
        reading.believed(read)
    assert "signer" not in world.read(path).checked


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda world: tear(world.report("a")), "E_EVIDENCE_FORMAT"),
        (lambda world: world.report("a", signed=False), "E_UNSIGNED"),
        (lambda world: world.report("a", mode="self-test"), "E_MODE"),
        (lambda world: world.report("a", **{CASES[0]: {"state": State.WAIVED}}), "E_WAIVED"),
    ],
)
def test_a_report_that_does_not_verify_is_refused_with_the_reason_unless_that_is_wished(world, spoil, code):
    read = world.read(spoil(world))
    assert code in [each.code for each in read.objections]
    with pytest.raises(Refused, match=code) as refused:
        reading.believed(read)
    assert refused.value.exit_code == 2
    assert reading.believed(read, unverified=True).warning.startswith("not verified: ")
    assert code in {each["code"] for each in read.as_json()["objections"]}


def test_what_has_not_even_the_form_of_a_report_is_refused_always(world):
    path = world.report("a")
    (path / report.ENVELOPE_NAME).write_text("{")
    read = world.read(path)
    assert read.content is None
    with pytest.raises(Refused, match="E_JSON"):
        reading.believed(read, unverified=True)


# ── differences ──


def compare(world, then, now):
    return differences.between(*(world.read(path).content for path in (then, now)))


def test_two_runs_of_the_same_thing_differ_in_their_seed_alone(world):
    found = compare(world, world.report("a"), world.report("b"))
    assert [fact.name for fact in found.facts] == ["run.seed"]
    assert (found.cases, found.figures, found.exit_code) == ((), (), 0)


def test_every_kind_of_change_is_told_and_those_that_count_come_first(world):
    then = world.report("a", **{CASES[1]: FAIL, CASES[4]: {"state": State.NOT_DECLARED, "figures": {}}})
    now = world.report("b", version="2", dtype="bfloat16", **{
        CASES[0]: FAIL, CASES[2]: {"state": State.ERROR, "fault": "timeout", "figures": {}},
        CASES[3]: {"state": State.NOT_DECLARED, "figures": {}},
    })  # fmt: skip
    contents = [json.loads(read_payload(path)) for path in (then, now)]
    del contents[0]["predicate"]["checks"][5]
    del contents[1]["predicate"]["checks"][6]
    found = differences.between(*contents)
    assert {each.case: each.move for each in found.cases} == {
        CASES[0]: Move.BROKEN, CASES[1]: Move.MENDED, CASES[2]: Move.UNDECIDED, CASES[3]: Move.UNDECLARED,
        CASES[4]: Move.OTHER, CASES[5]: Move.NEW, CASES[6]: Move.GONE,
    }  # fmt: skip
    assert [each.move for each in found.cases] == sorted([each.move for each in found.cases], key=[*Move].index)
    told = {fact.name: (fact.then, fact.now) for fact in found.facts}
    assert told["candidate.version"] == ("1", "2")
    assert told["candidate.claims.dtype"] == ("float32", "bfloat16")
    assert found.exit_code == differences.EXIT_WORSE == 1


def read_payload(path):
    """The statement's bytes, which no verification has seen."""
    file = path / report.STATEMENT_NAME
    if file.is_file():
        return file.read_bytes()
    return signing.open_envelope((path / report.ENVELOPE_NAME).read_bytes(), where="").payload


@pytest.mark.parametrize(
    ("then", "now", "due"),
    [
        ("pass", "fail", Move.BROKEN), ("waived", "fail", Move.BROKEN), ("error", "fail", Move.OTHER),
        ("fail", "pass", Move.MENDED), ("error", "pass", Move.OTHER), ("pass", "error", Move.UNDECIDED),
        ("fail", "not_run", Move.UNDECIDED), ("not_declared", "error", Move.OTHER),
        ("fail", "not_declared", Move.UNDECLARED),
        ("", "fail", Move.NEW), ("pass", "", Move.GONE), ("pass", "not_applicable", Move.OTHER),
    ],
)  # fmt: skip
def test_a_change_of_outcome_has_one_name(then, now, due):
    assert differences.move(then, now) is due


def test_undecided_and_gone_cases_are_less_and_not_worse(world):
    silent = {"state": State.INCONCLUSIVE, "message": "who knows", "figures": {}}
    then, now = world.report("a"), world.report("b", **{CASES[0]: silent})
    assert compare(world, then, now).exit_code == differences.EXIT_LESS == 3
    contents = [json.loads(read_payload(path)) for path in (then, then)]
    del contents[1]["predicate"]["checks"][0]
    assert differences.between(*contents).exit_code == 3


def test_reports_of_different_profiles_are_not_comparable(world):
    contents = [json.loads(read_payload(world.report(name))) for name in ("a", "b")]
    contents[1]["predicate"]["suite"]["profile"] = "core/other"
    found = differences.between(*contents)
    assert (found.comparable, found.exit_code) == (False, 3)


def test_a_mended_case_is_not_worse(world):
    assert compare(world, world.report("a", **{CASES[0]: FAIL}), world.report("b")).exit_code == 0


def test_errors_are_told_as_shares_of_their_bounds_with_how_much_they_grew(world):
    now = {CASES[0]: {"figures": {"ratio": 5.4, "tokens": 100.0}}, CASES[1]: {"figures": {"ratio": 1.2}}}
    found = compare(world, world.report("a"), world.report("b", **now))
    assert [(each.case, each.name, each.then, each.now) for each in found.figures] == [
        (CASES[0], "ratio", pytest.approx(0.1), pytest.approx(0.9)),
        (CASES[1], "ratio", pytest.approx(0.1), pytest.approx(0.2)),
    ]
    assert [each.loud for each in found.figures] == [True, False]
    assert found.figures[0].growth == pytest.approx(9)
    assert differences.worst(found.figures) == found.figures[0]
    assert found.exit_code == 0  # growth alone is for a gate to judge


@pytest.mark.parametrize(
    ("then", "now", "growth"),
    [(0.0, 0.0, 1.0), (0.0, 0.1, float("inf")), (0.1, float("nan"), float("inf")), (float("nan"), float("nan"), 1.0),
     (float("nan"), 0.1, float("inf")), (0.2, 0.1, 0.5)],
)  # fmt: skip
def test_growth_is_a_number_whatever_the_figures_are(then, now, growth):
    drift = differences.Drift(case="c", name="ratio", then=then, now=now)
    assert drift.growth == growth
    assert drift.loud == (not now <= 0.5)


def test_figures_with_a_bound_are_those_in_honest_units():
    assert set(differences.BOUNDS) == HONEST_UNITS


def test_coarser_arithmetic_is_worse_although_every_case_passes(world, llmasos):
    numbers = [case["id"] for case in QUICK["cases"] if case["requirement"].startswith("NUM-")]
    then, now = world.report("a"), world.report("b", **{numbers[0]: {"figures": {"ratio": 5000.0}}})
    found = compare(world, then, now)
    assert found.precision == ("float32", "float16")
    assert found.coarser
    assert found.exit_code == 1
    code, out, _ = llmasos("diff", then, now)
    assert code == 1
    assert "arithmetic found: float32 -> float16" in out
    assert f"next: llmasos show {now}" in out


def test_the_command_tells_the_same_in_both_languages_and_as_json(world, llmasos):
    then = world.report("a")
    now = world.report("b", capabilities=set(CAPABILITIES) - {"beams"},
                       **{CASES[0]: FAIL, CASES[1]: {"figures": {"ratio": 5.4}}})  # fmt: skip
    code, out, _ = llmasos("diff", then, now)
    assert code == 1
    assert f"{CASES[0]} (" in out
    for said in (
        "differs: candidate.capabilities: -beams", "passed, fails now: 1", f"{CASES[1]} ratio 0.1 -> 0.9 (9x)",
        "verdict: conformant -> non_conformant; something is worse", f"next: llmasos explain {CASES[0]}",
    ):  # fmt: skip
        assert said in out
    code, out, _ = llmasos("diff", then, now, "--lang", "zh")
    assert code == 1
    assert "原先通过，现未通过: 1" in out
    code, out, err = llmasos("diff", then, now, "--json")
    made = json.loads(out)
    assert (code, err, made["exitCode"], made["worse"]) == (1, "", 1, True)
    assert made["cases"][0] == {
        "id": CASES[0], "requirement": QUICK["cases"][0]["requirement"], "level": "MUST", "move": "broken",
        "then": "pass", "now": "fail", "message": FAIL["message"],
    }  # fmt: skip
    assert {"then", "now", "verdict", "precision", "facts", "figures", "comparable"} <= made.keys()


def test_the_command_says_when_nothing_is_different_and_what_to_do_next(world, llmasos):
    code, out, _ = llmasos("diff", world.report("a"), world.report("b"))
    assert code == 0
    for said in ("no outcome is different", "no error is different", "nothing is worse", "next: llmasos gate"):
        assert said in out


def test_figures_that_json_has_no_number_for_are_text(world, llmasos):
    bad = {**FAIL, "figures": {"ratio": float("inf"), "peak": float("nan")}}
    code, out, _ = llmasos("diff", world.report("a"), world.report("b", **{CASES[0]: bad}), "--json")
    assert code == 1
    assert json.loads(out, parse_constant=lambda text: pytest.fail(text))["figures"][0]["now"] == "inf"


def test_a_long_list_is_cut_and_says_so(world, llmasos):
    out = llmasos("diff", world.report("a"), world.report("b", **dict.fromkeys(CASES[:20], FAIL)))[1]
    assert "passed, fails now: 20" in out
    assert "… and 8 more" in out


def test_the_command_refuses_what_does_not_verify_and_shows_it_if_that_is_wished(world, llmasos):
    then, now = world.report("a"), tear(world.report("b"))
    code, out, err = llmasos("diff", then, now)
    assert (code, out) == (2, "")
    assert "E_EVIDENCE_FORMAT" in err
    assert "--unverified" in err
    code, out, _ = llmasos("diff", then, now, "--unverified")
    assert code == 0
    assert "not verified: E_EVIDENCE_FORMAT" in out
    assert llmasos("diff", then, world.root)[0] == 2
    code, out, _ = llmasos("diff", then, then, "--trust", world.trust, "--json")
    assert json.loads(out)["then"]["signer"] == {"owner": "acme", "role": "vendor"}


# ── other forms ──


def shown(world, where, form, *, now=None, **options):
    read = world.read(where)
    return projections.FORMS[form](
        read.content, report_id=read.report_id, warning=read.warning, now=now or NOW, **options
    )


STATES = {
    CASES[0]: FAIL, CASES[1]: {"state": State.ERROR, "fault": "timeout", "message": "late", "figures": {}},
    CASES[2]: {"state": State.NOT_DECLARED, "figures": {}}, CASES[3]: {"state": State.INCONCLUSIVE, "figures": {}},
    CASES[4]: {"state": State.NOT_APPLICABLE, "figures": {}}, CASES[5]: {"state": State.NOT_RUN, "figures": {}},
}  # fmt: skip


HOLDING = {case: given for case, given in STATES.items() if case not in (CASES[2], CASES[5])}
"""Without the two that do not fit a candidate who declares everything and never ended the run."""


def test_ctrf_keeps_every_state_and_counts_no_other_one_as_passed(world):
    made = json.loads(shown(world, world.report("a", **STATES), "ctrf"))
    tests = {test["name"]: (test["status"], test["rawStatus"]) for test in made["results"]["tests"]}
    assert [tests[case] for case in CASES[:6]] == [
        ("failed", "fail"), ("other", "error"), ("skipped", "not_declared"), ("other", "inconclusive"),
        ("skipped", "not_applicable"), ("other", "not_run"),
    ]  # fmt: skip
    summary = made["results"]["summary"]
    assert summary["passed"] == len(CASES) - 6
    assert sum(summary[name] for name in ("passed", "failed", "skipped", "pending", "other")) == summary["tests"]
    assert summary["duration"] == summary["stop"] - summary["start"] == 7000
    assert (made["reportFormat"], made["extra"]["verdict"]) == ("CTRF", "non_conformant")


def test_junit_is_the_one_of_the_report_and_says_what_was_not_verified(world):
    path = world.report("a", **HOLDING)
    assert shown(world, path, "junit") == report.junit(world.read(path).content)
    suite = ElementTree.fromstring(shown(world, tear(path), "junit"))
    assert suite.find("properties/property").get("name") == "llmasos.warning"
    assert len(suite.findall("testcase")) == int(suite.get("tests")) == len(CASES)


@pytest.mark.parametrize(("lang", "verdict"), [("en", "non-conformant"), ("zh", "不合规")])
def test_the_page_begins_with_the_verdict_and_is_short(world, lang, verdict):
    page = shown(world, world.report("a", who="<b>acme</b>", **dict.fromkeys(CASES[:20], FAIL)), "markdown", lang=lang)
    assert page.startswith(f"## ❌ {verdict}: \\<b\\>acme")
    assert page.count("- **fail**") == projections.SHOWN
    assert len(page) < 5000
    assert r"\| \<b\>" in page
    assert "<b>" not in page
    assert "| MUST |" in page


@pytest.mark.parametrize(("lang", "said"), [("en", "unverified, says conformant"), ("zh", "未验证，自称合规")])
def test_the_page_of_a_report_that_was_not_verified_does_not_begin_with_a_verdict(world, lang, said):
    page = shown(world, tear(world.report("a")), "markdown", lang=lang)
    assert page.startswith(f"## ⚠️ {said}: acme 1\n\nnot verified: E")
    assert "✅" not in page


def test_the_page_of_a_good_report_has_no_failures(world):
    page = shown(world, world.report("a"), "markdown")
    assert page.startswith("## ✅ conformant: acme 1")
    assert "Not right" not in page
    assert "Precision: float32 claimed" in page


@pytest.mark.parametrize(
    ("changes", "message", "error"),
    [({}, "conformant", False), ({CASES[0]: FAIL}, "non-conformant", True),
     (HOLDING | {CASES[0]: {}}, "incomplete", True)],
)  # fmt: skip
def test_a_badge_names_verdict_profile_and_version_and_never_a_share(world, changes, message, error):
    path = world.report("a", **changes)
    badge = json.loads(shown(world, path, "badge"))
    assert badge["message"] == f"{message} · quick {QUICK['version']}"
    assert (badge["schemaVersion"], badge["label"], badge["isError"]) == (1, "LLMasOS", error)
    picture = ElementTree.fromstring(shown(world, path, "svg"))
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == picture[0].text == f"LLMasOS: {badge['message']}"
    assert f"#{badge['color']}" in [part.get("fill") for part in picture]
    widths = [float(text.get("textLength")) for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert sum(widths) + 24 == float(picture.get("width"))


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(
        weight * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
        for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True)
    )


def test_the_letters_of_a_badge_can_be_read_on_every_colour():
    for colour in (*projections.COLOURS.values(), projections.UNVERIFIED, "#333333"):
        assert 1.05 / (luminance(colour) + 0.05) >= 4.5, colour


def test_a_badge_of_a_report_that_was_not_verified_says_that_and_no_verdict(world):
    badge = json.loads(shown(world, tear(world.report("a")), "badge", lang="zh"))
    assert badge["message"].startswith("未验证 · quick")
    assert badge["isError"]


def test_annotations_are_few_and_what_a_candidate_says_is_no_command(world):
    bad = {**FAIL, "message": "100% :: off\r\n::error::x"}
    lines = shown(world, world.report("a", **dict.fromkeys(CASES[:20], bad)), "github").splitlines()
    assert len(lines) == projections.SHOWN
    assert all(line.startswith("::error title=") for line in lines)
    torn = shown(world, tear(world.report("c")), "github").splitlines()
    assert [line.partition(" ")[0] for line in torn] == ["::warning", "::warning"]
    assert torn[-1].startswith("::warning title=LLMasOS%3A unverified%2C says conformant::")
    assert lines[0].startswith(f"::error title={CASES[0]}::fail: 100%25 :: off")
    assert "; 11 more are in the report" in lines[-1]
    assert shown(world, world.report("b"), "github").startswith(
        "::notice title=LLMasOS%3A conformant::conformant: acme"
    )


def test_a_command_escapes_what_could_end_it():
    assert projections.command("error", "a:b,c", "50%\r\n::x") == "::error title=a%3Ab%2Cc::50%25\ufffd / ::x"


def test_a_first_file_of_known_failures_is_refused_until_its_reasons_are_written(world):
    from llmasos_conformance import knownfailures

    made = shown(world, world.report("a", **{CASES[0]: FAIL, CASES[1]: {"state": State.FAIL, "message": "raised: x"}}),
                 "known-failures")  # fmt: skip
    file = world.root / "known.yaml"
    file.write_text(made)
    with pytest.raises(HarnessError, match="at least 10 characters"):
        knownfailures.read(file)
    file.write_text(made.replace("''   #", "'it rounds, acme/engine#7'   #"))
    found = knownfailures.read(file)
    assert [(each.case, each.symptom, each.most) for each in found.values()] == [
        (CASES[0], "logits", 120.0), (CASES[1], "raised: x", 1.2),
    ]  # fmt: skip
    assert (found[CASES[0]].expires - NOW.date()).days == projections.FIRST_DAYS
    for case, entry in found.items():
        made = world.read(world.root / "a").checks[case]
        standing = knownfailures.standing(entry, made["outcome"], made["message"], made["figures"], NOW.date())
        assert standing == "expected"


def test_without_failures_the_first_file_is_an_empty_one(world):
    assert shown(world, world.report("a"), "known-failures") == "format: 1\nfailures: []\n"


@pytest.mark.parametrize("form", projections.FORMS)
def test_every_form_is_shown_by_the_command_for_any_verdict(world, llmasos, form):
    from llmasos_conformance.cli.showing import FORMATS

    assert form in FORMATS
    path = world.report("a", **HOLDING)
    before = datetime.now(UTC)
    code, out, err = llmasos("show", path, "--format", form)
    assert code == 0
    # A file of known failures has a last day, which is another where midnight comes between.
    assert out in {shown(world, path, form, path=str(path), now=now) for now in (before, datetime.now(UTC))}
    assert "next: " in err
    code, said, _ = llmasos("show", path, "--format", form, "--out", world.root / "made")
    assert (code, said) == (0, "")
    assert (world.root / "made").read_text(encoding="utf-8") == out


@pytest.mark.parametrize("form", [form for form in projections.FORMS if form != "known-failures"])
def test_every_form_of_an_unverified_report_says_so(world, llmasos, form):
    path = world.report("a", signed=False)
    code, out, err = llmasos("show", path, "--format", form)
    assert (code, out) == (2, "")
    assert "E_UNSIGNED" in err
    code, out, err = llmasos("show", path, "--format", form, "--unverified")
    assert code == 0
    assert "not verified: E_UNSIGNED" in err
    assert "E_UNSIGNED" in out or "unverified" in out


def test_a_form_that_does_not_exist_or_a_place_that_cannot_be_written_is_a_usage_error(world, llmasos):
    path = world.report("a")
    assert llmasos("show", path, "--format", "excel")[0] == 2
    code, _, err = llmasos("show", path, "--format", "ctrf", "--out", world.root / "none" / "made")
    assert code == 2
    assert "cannot write" in err
    assert llmasos("show", world.root / "nothing")[0] == 2


# ── the gate ──


def answer(world, *paths, text="", profiles="- {profile: quick}", previous=(), now=NOW, **options):
    wanted = gate.read_policy(world.policy(text, profiles))
    reports = [reading.read(path, now=now, own=world.own, trust=wanted.trust, level=wanted.checked, **options)
               for path in paths]  # fmt: skip
    earlier = [reading.read(path, now=now, own=world.own, trust=wanted.trust) for path in previous]
    decided = gate.decision(wanted, gate.pair(wanted, reports, earlier, SUITES), now)
    for lang in ("en", "zh"):
        assert all(rule.wants[lang] and rule.saw[lang] for rule in decided.rules)
        assert gate.markdown(decided, lang).startswith(f"## {decided.answer}: ")
    return decided


def held(decided, name):
    return [str(rule.held) for rule in decided.rules if rule.name == name]


def test_a_good_report_goes(world):
    decided = answer(world, world.report("a"))
    assert (decided.answer, decided.exit_code, decided.against()) == (Answer.GO, 0, [])
    assert "nobody asked who signed" in decided.rules[1].saw["en"]
    trusted = answer(world, world.root / "a", text="signer: {trust: keys/trust.json}")
    assert "nobody" not in trusted.rules[1].saw["en"]


def test_without_the_report_of_a_required_profile_nothing_goes(world):
    decided = answer(world, world.report("a"), profiles="- {profile: quick}\n- {profile: core/gpt/logits}")
    assert (decided.answer, decided.exit_code) == (Answer.INCONCLUSIVE, 3)
    assert held(decided, "profile") == ["holds", "undecided"]


@pytest.mark.parametrize(
    ("state", "due"),
    [(State.FAIL, "NO-GO"), (State.ERROR, "INCONCLUSIVE"), (State.INCONCLUSIVE, "INCONCLUSIVE"),
     (State.NOT_RUN, "INCONCLUSIVE"), (State.NOT_APPLICABLE, "GO")],
)  # fmt: skip
def test_what_fails_is_a_no_and_what_cannot_be_judged_is_no_answer(world, state, due):
    given = {"state": state, "figures": {}, **({"fault": "harness"} if state is State.ERROR else {})}
    # A case that was not run is the last, behind one that ended the run.
    changes = {CASES[-1]: given} if state is not State.NOT_RUN else {
        CASES[-2]: {"state": State.ERROR, "fault": "protocol", "figures": {}}, CASES[-1]: given}  # fmt: skip
    path = world.report("a", **changes)
    read = world.read(path, level="suite")
    wanted = gate.read_policy(world.policy("checked: suite"))
    decided = gate.decision(wanted, gate.pair(wanted, [read], [], SUITES), NOW)
    assert str(decided.answer) == due
    if due != "GO":
        assert CASES[-1] in next(rule for rule in decided.rules if rule.held != "holds").cases


def test_weaker_sentences_count_where_the_policy_says_so():
    profile = {"requires": [], "cases": [{"id": f"c.{level}", "needs": []} for level in gate.LEVELS]}
    outcomes = {"MUST": "pass", "SHOULD": "fail", "MAY": "error"}
    checks = [{"id": f"c.{level}", "requirement": "A-1", "level": level, "outcome": outcomes[level], "figures": {},
               "emulated": []} for level in gate.LEVELS]  # fmt: skip
    read = reading.Read(path=Path("r"), content={"predicate": {"checks": checks}}, standing=Standing.VERIFIED)
    assert gate.counting(profile, read, "MUST", frozenset()) == ("conformant", [])
    assert gate.counting(profile, read, "SHOULD", frozenset()) == ("non_conformant", ["c.SHOULD"])
    assert gate.counting(profile, read, "MAY", frozenset()) == ("non_conformant", ["c.SHOULD", "c.MAY"])
    assert gate.counting(profile, read, "SHOULD", frozenset({"c.SHOULD"})) == ("conformant", [])
    assert gate.counting(profile, read, "MAY", frozenset({"c.SHOULD"})) == ("incomplete", ["c.MAY"])


def test_any_verdict_will_do_where_the_policy_says_so(world):
    assert (
        answer(world, world.report("a", **{CASES[0]: FAIL}), profiles="- {profile: quick, verdict: any}").answer == "GO"
    )


@pytest.mark.parametrize(
    ("spoil", "due"),
    [
        (tear, "NO-GO"),
        (lambda path: (path / report.ENVELOPE_NAME).write_text("{"), "INCONCLUSIVE"),
        (lambda path: (path / evidence.FILE_NAME).unlink(), "NO-GO"),
    ],
)
def test_a_report_that_does_not_verify_never_goes(world, spoil, due):
    path = world.report("a")
    spoil(path)
    decided = answer(world, path)
    assert str(decided.answer) == due
    assert held(decided, "verdict") == []  # nothing in it is looked into


def test_an_unsigned_report_goes_only_where_the_policy_says_so(world):
    path = world.report("a", signed=False)
    assert answer(world, path).answer == "NO-GO"
    decided = answer(world, path, text="unsigned: true")
    assert decided.answer == "GO"
    assert "nobody has signed it" in decided.rules[1].saw["en"]
    assert answer(world, tear(path), text="unsigned: true").answer == "NO-GO"


def test_a_report_that_cannot_be_judged_again_here_has_no_answer(world):
    reason = verify.Reason("E_BUNDLE_ABSENT", "needs the bundle")
    read = reading.Read(path=Path("r"), content={"predicate": {"suite": {"profile": "quick"}}},
                        standing=Standing.POLICY, reasons=(reason,))  # fmt: skip
    wanted = gate.read_policy(world.policy("checked: re-judged"))
    assert gate._verified(wanted, read).held == "undecided"
    assert gate._verified(wanted, world.read(world.report("a"))).held == "undecided"  # climbed as far as evidence only


SIGNER = "signer: {{trust: keys/trust.json, owners: [{}], roles: [{}]}}"


@pytest.mark.parametrize(
    ("owner", "role", "due"), [("acme", "vendor", "GO"), ("lab", "vendor", "NO-GO"), ("acme", "laboratory", "NO-GO")]
)
def test_the_signer_is_the_one_that_the_policy_asks_for(world, owner, role, due):
    assert answer(world, world.report("a"), text=SIGNER.format(owner, role)).answer == due


def test_a_stranger_is_no_signer(world):
    policy.keygen(world.root / "others", owner="others", now=NOW)
    assert answer(world, world.report("a"), text="signer: {trust: others/trust.json}").answer == "NO-GO"


@pytest.mark.parametrize(("minimum", "due"), [("0.0.1", "GO"), ("99.0.0", "NO-GO")])
def test_suites_are_as_new_as_the_policy_asks(world, minimum, due):
    assert answer(world, world.report("a"), text=f"suite: {{minimum: {minimum}}}").answer == due


@pytest.mark.parametrize(("days", "due"), [(6, "GO"), (4, "NO-GO")])
def test_a_run_is_as_recent_as_the_policy_asks(world, days, due):
    assert answer(world, world.report("a", ago=5), text=f"age: {{days: {days}}}").answer == due


KNOWN = "known-failures: known.yaml"


def test_known_failures_may_be_and_the_verdict_stays_what_it_is(world):
    path = world.report("a", **{CASES[0]: FAIL})
    world.known(CASES[0])
    decided = answer(world, path, text=KNOWN)
    assert decided.answer == "GO"
    saw = next(rule.saw["en"] for rule in decided.rules if rule.name == "verdict")
    assert saw.startswith("non_conformant (")
    assert f"known failures left out: {CASES[0]}" in saw
    assert answer(world, world.report("b", **{CASES[0]: FAIL, CASES[1]: FAIL}), text=KNOWN).answer == "NO-GO"


@pytest.mark.parametrize(
    ("given", "options", "due"),
    [
        (FAIL, {"expires": "2026-01-01"}, "NO-GO"),
        (FAIL, {"symptom": "another one"}, "NO-GO"),
        (FAIL, {"more": "  most: 50\n"}, "NO-GO"),
        (FAIL, {"more": "  most: 70\n"}, "GO"),
        ({}, {}, "NO-GO"),
        ({"state": State.ERROR, "fault": "harness", "figures": {}}, {}, "INCONCLUSIVE"),
    ],
)
def test_an_entry_that_is_stale_expired_or_changed_breaks_its_rule(world, given, options, due):
    world.known(CASES[0], **options)
    decided = answer(world, world.report("a", **{CASES[0]: given}), text=KNOWN)
    assert decided.answer == due
    assert (held(decided, "known-failures") == ["holds"]) == (due == "GO")


REGRESSIONS = "regressions: {forbid: [broken, undecided, undeclared, gone, precision]}"


def test_regressions_need_a_previous_report_unless_the_policy_says_otherwise(world):
    path = world.report("a")
    assert answer(world, path, text=REGRESSIONS).answer == "INCONCLUSIVE"
    assert answer(world, path, text=REGRESSIONS.replace("}", ", previous: optional}")).answer == "GO"
    assert answer(world, path, text=REGRESSIONS, previous=[world.report("b")]).answer == "GO"


@pytest.mark.parametrize("kind", ["broken", "undecided", "undeclared", "precision"])
def test_what_got_worse_breaks_the_rule_that_names_it(world, kind):
    numbers = next(case["id"] for case in QUICK["cases"] if case["requirement"].startswith("NUM-"))
    changes = {
        "broken": {CASES[0]: FAIL}, "undecided": {CASES[0]: {"state": State.INCONCLUSIVE, "figures": {}}},
        "undeclared": {CASES[0]: {"state": State.NOT_DECLARED, "figures": {}}},
        "precision": {numbers: {"figures": {"ratio": 5000.0}}},
    }[kind]  # fmt: skip
    before, after = world.read(world.report("a")), world.read(world.report("b", **changes))
    for forbidden in ("broken", "undecided", "undeclared", "precision"):
        wanted = gate.read_policy(world.policy(f"regressions: {{forbid: [{forbidden}]}}"))
        rule = gate._regressions(wanted, gate.Given(report=after, previous=before), frozenset())
        assert (rule.held == "broken") == (forbidden == kind)


def test_a_known_failure_is_no_regression(world):
    world.known(CASES[0])
    path = world.report("b", **{CASES[0]: FAIL})
    text = f"{KNOWN}\nregressions: {{forbid: [broken]}}"
    assert answer(world, path, text=text, previous=[world.report("a")]).answer == "GO"


@pytest.mark.parametrize("text", [REGRESSIONS, "drift: {growth: 2}"])
def test_a_previous_report_that_says_nothing_is_no_comparison(world, text):
    path = world.report("a")
    others = [tear(world.report("b")), world.report("c", who="another")]
    for other in others:
        decided = answer(world, path, text=text, previous=[other])
        assert decided.answer == "INCONCLUSIVE"
        assert "previous report" in decided.against()[0].saw["en"]


@pytest.mark.parametrize(
    ("ratio", "text", "due"),
    [
        (5.4, "drift: {most: 0.8}", "NO-GO"),
        (4.2, "drift: {most: 0.8}", "GO"),
        (float("nan"), "drift: {most: 1}", "NO-GO"),
        (5.4, "drift: {growth: 8}", "NO-GO"),
        (5.4, "drift: {growth: 10}", "GO"),
        (2.4, "drift: {growth: 2}", "GO"),  # grown, and still where honest computations are
        (2.4, "drift: {growth: 2, above: 0.3}", "NO-GO"),
    ],
)
def test_errors_stay_where_the_policy_has_them(world, ratio, text, due):
    path = world.report("b", **{CASES[0]: {"figures": {"ratio": ratio}}})
    assert answer(world, path, text=text, previous=[world.report("a")]).answer == due


def test_growth_needs_a_previous_report_unless_the_policy_says_otherwise(world):
    path = world.report("a")
    assert answer(world, path, text="drift: {growth: 2}").answer == "INCONCLUSIVE"
    assert answer(world, path, text="drift: {growth: 2, previous: optional}").answer == "GO"


def test_reports_of_two_candidates_say_nothing_together(world):
    assert answer(world, world.report("a"), world.report("b")).answer == "GO"
    assert answer(world, world.root / "a", world.report("c", version="2")).answer == "NO-GO"
    assert answer(world, world.root / "a", world.report("d", adapter="e" * 64)).answer == "NO-GO"


def test_a_report_that_the_policy_does_not_name_and_a_second_previous_one_are_refused(world):
    path = world.report("a")
    with pytest.raises(HarnessError, match="a report of quick, which the policy does not name"):
        answer(world, path, profiles="- {profile: core/gpt/logits}")
    with pytest.raises(HarnessError, match="a second previous report"):
        answer(world, path, previous=[world.report("b"), world.report("c")])
    (world.root / "b" / report.ENVELOPE_NAME).write_text("{")
    with pytest.raises(HarnessError, match="the previous report is none"):
        answer(world, path, previous=[world.root / "b"])


def test_a_profile_that_is_not_installed_in_this_form_has_no_answer(world):
    read = world.read(world.report("a"))
    content = parse(json.dumps(read.content).encode())
    content["predicate"]["suite"]["profileDigest"] = "f" * 64
    wanted = gate.read_policy(world.policy())
    other = replace(read, content=content)
    decided = gate.decision(wanted, gate.pair(wanted, [other], [], SUITES), NOW)
    assert held(decided, "verdict") == ["undecided"]


def test_the_published_schema_of_policies_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema("gate"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("formats: 1", "gate.yaml:4 formats: there is no such key; did you mean format?"),
        ("drift: {above: 0.5}", "gate.yaml:4 drift: it limits nothing"),
        ("drift: {most: 0.5, above: 0.5}", "drift.above: it says something of growth"),
        ("drift: {most: 2}", "gate.yaml:4 drift.most: expected at most 1, found 2"),
        ("suite: {minimum: 0.1}", "suite.minimum: expected a text"),
        ("unsigned: yes", "is a boolean to some readers"),
        ("unsigned: true\nsigner: {trust: keys/trust.json}", "gate.yaml:4 unsigned: a report that nobody signed"),
        ("signer: {owners: [acme]}", "gate.yaml:4 signer: 'trust' is missing"),
        ("signer: {trust: none.json}", "cannot read the trust file"),
        ("known-failures: none.yaml", "cannot read the known failures"),
        ("regressions: {forbid: [broke]}", "expected one of broken, undecided, undeclared, gone, precision"),
        ("age: {days: 0}", "age.days: expected at least 1"),
        ("checked: everything", "expected one of suite, evidence, re-judged"),
        ("age: {days: 1}\nage: {days: 2}", "the key is given twice"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said_with_its_line(world, text, said):
    with pytest.raises(HarnessError) as refused:
        gate.read_policy(world.policy(text))
    assert said in refused.value.render().replace(f"{world.root}/", "")
    assert refused.value.exit_code == 2


def test_a_policy_names_every_profile_once(world):
    with pytest.raises(HarnessError, match="quick stands twice, first at "):
        gate.read_policy(world.policy("", "- {profile: quick}\n- {profile: quick, level: MAY}"))


def test_a_policy_that_is_not_there_is_refused(world, llmasos):
    code, _, err = llmasos("gate", "--policy", world.root / "none.yaml", world.report("a"))
    assert code == 2
    assert "cannot read the policy" in err
    assert "docs/gates.md" in err


def test_the_command_shows_every_rule_and_exits_by_the_answer(world, llmasos):
    good, bad = world.report("a"), world.report("b", **{CASES[0]: FAIL})
    file = world.policy(SIGNER.format("acme", "vendor"))
    code, out, _ = llmasos("gate", "--policy", file, good)
    assert code == 0
    for said in (
        "ok  verdict quick: conformant in quick, counting MUST",
        "acme (vendor)",
        "GO: every rule holds",
        "next: ",
    ):
        assert said in out
    code, out, _ = llmasos("gate", "--policy", file, bad, "--lang", "zh")
    assert code == 1
    assert f"不符：{CASES[0]}" in out
    assert f"next: llmasos explain {CASES[0]}" in out
    code, out, err = llmasos("gate", "--policy", file, bad, "--json")
    made = json.loads(out)
    assert (code, err, made["answer"], made["exitCode"]) == (1, "", "NO-GO", 1)
    assert [rule["rule"] for rule in made["rules"]] == ["profile", "verified", "signer", "verdict"]
    assert made["reports"][0]["signer"]["owner"] == "acme"
    code, out, err = llmasos("gate", "--policy", file, bad, "--markdown")
    assert out.startswith("## NO-GO: 1 broken, 0 undecided (verdict quick)")
    assert "next: " in err
    file = world.policy(REGRESSIONS)
    code, out, _ = llmasos("gate", "--policy", file, good)
    assert code == 3
    assert "next: give the report of the release before with --previous" in out
    assert llmasos("gate", "--policy", file, good, "--previous", bad)[0] == 0


def test_the_commands_next_step_fits_the_rule_that_is_in_the_way(world, llmasos):
    path = world.report("a")
    for text, profiles, said in (
        (
            "",
            "- {profile: core/gpt/logits}\n- {profile: quick}",
            "next: llmasos certify --adapter … --profile core/gpt",
        ),
        (SIGNER.format("lab", "vendor"), "- {profile: quick}", "next: llmasos verify "),
        ("suite: {minimum: 99.0.0}", "- {profile: quick}", "next: llmasos certify again"),
    ):
        assert said in llmasos("gate", "--policy", world.policy(text, profiles), path)[1]


def test_known_failures_of_a_policy_are_held_against_the_installed_suites(world, llmasos):
    world.known("no.such-case")
    code, _, err = llmasos("gate", "--policy", world.policy(KNOWN), world.report("a"))
    assert code == 2
    assert "there is no case no.such-case" in err


def test_two_forms_of_one_answer_and_no_report_at_all_are_usage_errors(world, llmasos):
    path = world.report("a")
    assert llmasos("gate", "--policy", world.policy(), path, "--json", "--markdown")[0] == 2
    assert llmasos("gate", "--policy", world.policy())[0] == 2
    assert llmasos("gate", "--policy", world.policy(), world.root)[0] == 2


# ── packed evidence ──


def packed(path):
    """The report with its evidence packed, and nothing else changed."""
    evidence.pack(path / evidence.FILE_NAME, path / evidence.PACKED_NAME)
    (path / evidence.FILE_NAME).unlink()
    return path


def test_packed_evidence_holds_the_same_lines_and_verifies_the_same(world):
    path = world.report("a")
    before = evidence.read(path / evidence.FILE_NAME)
    packed(path)
    assert evidence.read(evidence.place(path)) == before
    assert world.read(path).checked == ("integrity", "suite", "evidence")


def test_the_evidence_that_the_run_wrote_is_read_where_both_lie_there(world):
    path = world.report("a")
    evidence.pack(path / evidence.FILE_NAME, path / evidence.PACKED_NAME)
    assert evidence.place(path).name == evidence.FILE_NAME


SPOILED = {
    "cut off": lambda data: data[:-20],
    "nothing": lambda _: b"",
    "something else": lambda _: b"no evidence",
    "something behind it": lambda data: data + b"x",
    "a second stream": lambda data: data + data,
    "a bit turned": lambda data: data[:60] + bytes([data[60] ^ 4]) + data[61:],
    "gzip": lambda data: gzip.compress(lzma.decompress(data)),
    "more memory than is given": lambda data: lzma.compress(
        lzma.decompress(data), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4 * evidence.MAX_MEMORY}]
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_packed_evidence_that_is_no_whole_file_is_refused(name, world):
    path = packed(world.report("a"))
    file = path / evidence.PACKED_NAME
    file.write_bytes(SPOILED[name](file.read_bytes()))
    with pytest.raises(Unacceptable, match="not a whole xz file") as refused:
        evidence.read(file)
    assert refused.value.code == "E_EVIDENCE_FORMAT"


def test_packed_evidence_that_unpacks_without_end_is_refused_before_it_does(tmp_path):
    (tmp_path / evidence.PACKED_NAME).write_bytes(lzma.compress(b"0" * 10**7))
    with pytest.raises(Unacceptable) as refused:
        evidence.read(tmp_path / evidence.PACKED_NAME, limit=1000)
    assert refused.value.code == "E_EVIDENCE_SIZE"


def test_a_python_without_lzma_is_told_how_to_unpack(world, monkeypatch):
    path = packed(world.report("a"))
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(Unacceptable, match="without lzma") as refused:
        evidence.read(path / evidence.PACKED_NAME)
    assert "xz -dc" in refused.value.hint


# ── publishing ──


def put(world, path, root, **options):
    return publishing.publish(reading.believed(world.read(path)), root, again=world.read, **options)


def test_a_published_report_is_the_signed_one_with_its_key_and_evidence_and_nothing_else(world, tmp_path):
    path = world.report("a", **{CASES[0]: FAIL})
    (path / "report.md").write_text("for people")
    made = put(world, path, tmp_path / "out")
    assert made.path == tmp_path / "out" / "acme-1-float32" / "quick"
    assert {each.name for each in made.path.iterdir()} == {
        report.ENVELOPE_NAME, report.SIGNER_NAME, evidence.PACKED_NAME
    }  # fmt: skip
    assert (made.path / report.ENVELOPE_NAME).read_bytes() == (path / report.ENVELOPE_NAME).read_bytes()
    assert (made.before, made.left, made.read.checked) == (False, 0, ("integrity", "suite", "evidence"))
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["acme-1-float32"]


def test_publishing_again_changes_nothing(world, tmp_path):
    path = world.report("a")
    put(world, path, tmp_path / "out")
    assert put(world, path, tmp_path / "out").before


def test_another_report_is_not_replaced_unasked(world, tmp_path):
    first, second = world.report("a"), world.report("b")
    there = put(world, first, tmp_path / "out")
    with pytest.raises(ReportError, match="another report lies there") as refused:
        put(world, second, tmp_path / "out")
    assert "--replace" in refused.value.hint
    assert world.read(there.path).report_id == world.read(first).report_id
    assert put(world, second, tmp_path / "out", name="acme fast").path.parent.name == "acme-fast"
    put(world, second, tmp_path / "out", replace=True)
    assert world.read(there.path).report_id == world.read(second).report_id


def test_a_published_report_that_was_damaged_is_mended_only_when_asked(world, tmp_path):
    path = world.report("a")
    there = put(world, path, tmp_path / "out").path
    (there / evidence.PACKED_NAME).write_bytes(b"no")
    with pytest.raises(ReportError, match="another report"):
        put(world, path, tmp_path / "out")
    assert put(world, path, tmp_path / "out", replace=True).read.objections == ()


def test_evidence_above_a_size_is_left_out_and_the_report_stands_without_it(world, tmp_path):
    made = put(world, world.report("a"), tmp_path / "out", most=10)
    assert (made.evidence, made.left > 10) == (None, True)
    assert made.read.checked == ("integrity", "suite")
    trusted = world.read(made.path, trusted=True)
    assert (trusted.objections, trusted.standing) == ((), Standing.NO_EVIDENCE)
    assert put(world, made.path, tmp_path / "out").before


def test_a_report_that_does_not_verify_is_not_published(world, tmp_path):
    with pytest.raises(Refused, match="E_UNSIGNED"):
        put(world, world.report("a", signed=False), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_changes_while_it_is_published_is_noticed_and_nothing_is_left(world, tmp_path):
    read = reading.believed(world.read(world.report("a")))
    (read.path / report.ENVELOPE_NAME).write_bytes((world.report("b") / report.ENVELOPE_NAME).read_bytes())
    with pytest.raises(ReportError, match="not what was read"):
        publishing.publish(read, tmp_path / "out", again=world.read)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(world, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot write") as refused:
        put(world, world.report("a"), tmp_path / "file")
    assert "--to" in refused.value.hint


@pytest.mark.parametrize(
    ("name", "plain"), [("a/b c", "a-b-c"), ("../..", "candidate"), ("", "acme-1-float32"), ("文", "candidate")]
)
def test_names_of_directories_are_what_every_system_takes(world, tmp_path, name, plain):
    read = SimpleNamespace(predicate=world.read(world.report("a")).predicate, profile="core/gpt/text")
    assert publishing.place_of(tmp_path, read, name) == tmp_path / plain / "core-gpt-text"


def test_the_command_tells_what_lies_where_and_what_to_do_next(world, tmp_path, llmasos):
    path, out = world.report("a"), tmp_path / "out"
    code, text, err = llmasos("publish", path, "--to", out, "--trust", world.trust)
    assert code == 0
    assert "put there, checked: integrity, signer, suite, evidence" in text
    assert f"llmasos board {out}" in text + err
    code, text, _ = llmasos("publish", path, "--to", out, "--json")
    told = json.loads(text)["published"]
    assert (code, told[0]["before"], told[0]["left"]) == (0, True, 0)
    code, text, _ = llmasos("publish", world.report("b"), "--to", out, "--max-evidence", "0", "--replace")
    assert (code, "without its evidence" in text) == (0, True)
    code, _, err = llmasos("publish", tmp_path / "none", "--to", out)
    assert (code, "there is no report" in err) == (2, True)


# ── what this repository publishes ──

REPORTS = Path(__file__).parents[2] / "reports"
PUBLISHED = [path for _, path in reading.find(REPORTS / "runtimes")]
OTHER_SUITE = {"E_SUITE_DIGEST", "E_PROFILE"}
"""What a report of an earlier state of the suites is told."""


def test_nine_runtimes_and_more_are_published():
    content = [parse(signing.open_envelope((path / report.ENVELOPE_NAME).read_bytes()).payload) for path in PUBLISHED]
    names = {each["predicate"]["candidate"]["name"] for each in content}
    assert len(names) >= 9, names
    assert {path.suffix for path in (REPORTS / "runtimes").rglob("*") if path.is_file()} <= {".json", ".pem", ".xz"}


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_published_report_is_the_one_that_was_signed_and_verifies_unless_the_suites_have_changed(path):
    trust = policy.read_trust(REPORTS / "trust.json")
    level = "" if path.parent.name in ("mlx", "openvino") else "suite"  # evidence of all is a matter of minutes
    found = reading.read(path, now=NOW, own=verify.Installed.here(), trust=trust, level=level)
    assert {"integrity", "signer"} <= set(found.checked)
    assert {each.code for each in found.reasons} <= OTHER_SUITE
    if not found.reasons:
        assert found.standing in (Standing.VERIFIED, Standing.NO_EVIDENCE)
