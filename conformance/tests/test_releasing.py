"""Reports that are read, and shown in other forms.

A synthetic world: reports of the frozen profile `quick` whose outcomes are made up and whose evidence is small. They
verify up to the rung `evidence`; judging again is tried in test_certify.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmasos_conformance import (
    cli,
    evidence,
    installed,
    isolation,
    policy,
    projections,
    reading,
    report,
    signing,
    verify,
)  # fmt: skip
from llmasos_conformance.candidate import Exchange
from llmasos_conformance.errors import HarnessError
from llmasos_conformance.protocol import ARCHITECTURES, CAPABILITIES, Claims, Description
from llmasos_conformance.reading import Refused
from llmasos_conformance.verdict import Outcome, State

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


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def llmasos(capsys):
    def call(*words):
        code = cli.run([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


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


# ── other forms ──


def shown(world, where, form, **options):
    read = world.read(where)
    return projections.FORMS[form](read.content, report_id=read.report_id, warning=read.warning, now=NOW, **options)


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
    code, out, err = llmasos("show", path, "--format", form)
    assert code == 0
    assert out == shown(world, path, form, path=str(path))
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
    code, _, err = llmasos("show", path, "--out", world.root / "none" / "made")
    assert code == 2
    assert "cannot write" in err
    assert llmasos("show", world.root / "nothing")[0] == 2
