"""What has been published stays: ids, demands, cases and profiles; and what changes says so.

A small suite of two requirements is published as 0.1.0, changed, and published again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from llmasos_conformance import installed, plugin, profiles, published, strictyaml, suite
from llmasos_conformance.canonical import Unacceptable, schema, validate
from llmasos_conformance.checks import Check
from llmasos_conformance.errors import HarnessError, SuiteError
from llmasos_conformance.verdict import passed

LEDGER = """\
chapter: words
title: {en: Words, zh: 词}
requirements:
- {id: WRD-1, level: MUST, en: A word is a word., zh: 词就是词。, source: here}
- {id: WRD-2, level: SHOULD, en: A word is short., zh: 词应当短。, source: here}
- {id: WRD-3, level: MAY, en: Nobody knows., zh: 无人知晓。, source: here, untestable: nobody can ask}
"""
CASES = """\
suite: words
title: {en: Words, zh: 词}
cases:
- {id: words.plain, requirement: WRD-1, check: say, given: {text: one}}
- {id: words.long, requirement: WRD-1, check: say, given: {text: longer}}
- {id: words.short, requirement: WRD-2, check: say, given: {text: a}}
"""
SAY = Check(
    name="say",
    needs=frozenset({"tokenize"}),
    given={"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    question=lambda given, draw, candidate: {},
    judge=lambda given, asked, reference: passed(),
)
GONE = "withdrawn: {since: 0.2.0, why: {en: It asked for too much., zh: 要求过多。}}"


class Standard:
    """A suites directory that is edited, frozen and published."""

    def __init__(self, root: Path) -> None:
        self.root = root / "suites"
        (self.root / "requirements").mkdir(parents=True)
        self.cases, self.ledger = self.root / "words.yaml", self.root / "requirements" / "words.yaml"
        self.cases.write_text(CASES, encoding="utf-8")
        self.ledger.write_text(LEDGER, encoding="utf-8")

    def edit(self, path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), encoding="utf-8")

    def freeze(self, *match: str, version: str = "0.1.0") -> Path:
        return suite.freeze("quick", match=match or ["*"], version=version, directory=self.root, replace=True)

    def publish(self, version: str = "0.1.0") -> dict[str, object]:
        suite.publish(version=version, directory=self.root)
        return dict(published.read(self.root))

    def load(self) -> suite.Suite:
        return suite.load(self.root)

    def refusal(self) -> str:
        with pytest.raises(SuiteError) as caught:
            self.load()
        return caught.value.render()


@pytest.fixture
def standard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Standard:
    monkeypatch.setattr("llmasos_conformance.checks.registry", lambda: {"say": SAY})
    monkeypatch.setattr(suite, "__version__", "0.2.0")  # the version in work
    return Standard(tmp_path)


@pytest.fixture
def out(standard: Standard) -> Standard:
    """The standard with its profile, published as 0.1.0."""
    standard.freeze()
    standard.publish()
    return standard


# ── withdrawn cases and requirements ──


def test_a_withdrawn_case_is_read_and_neither_asked_nor_frozen(standard: Standard) -> None:
    standard.edit(standard.cases, "given: {text: longer}", f"given: {{text: longer}}, {GONE}")
    loaded = standard.load()
    assert list(loaded.cases) == ["words.plain", "words.short"]
    case = loaded.withdrawn["words.long"]
    assert case.withdrawn == suite.Withdrawal(since="0.2.0", why={"en": "It asked for too much.", "zh": "要求过多。"})
    assert suite.frozen_profile(standard.freeze()).cases == ("words.plain", "words.short")


def test_the_id_of_a_withdrawn_case_stays_taken(standard: Standard) -> None:
    standard.edit(standard.cases, "given: {text: longer}", f"given: {{text: longer}}, {GONE}")
    standard.edit(standard.cases, "words.short", "words.long")
    assert "words.long is taken, at suites/words.yaml:5" in standard.refusal()


def test_a_withdrawn_case_outlives_its_check(standard: Standard) -> None:
    standard.edit(
        standard.cases, "check: say, given: {text: longer}", f"check: shout, given: {{loud: yes-sir}}, {GONE}"
    )
    assert list(standard.load().withdrawn) == ["words.long"]


def test_withdrawing_a_case_does_not_change_the_digests_of_others(standard: Standard) -> None:
    before = {case.id: suite.case_digest(case) for case in standard.load().cases.values()}
    standard.edit(standard.cases, "given: {text: longer}", f"given: {{text: longer}}, {GONE}")
    after = {case.id: suite.case_digest(case) for case in standard.load().cases.values()}
    assert after == {name: digest for name, digest in before.items() if name != "words.long"}


def test_a_requirement_whose_last_case_is_withdrawn_counts_as_untested(standard: Standard) -> None:
    standard.edit(standard.cases, "given: {text: a}", f"given: {{text: a}}, {GONE}")
    assert "WRD-2: no case tests it" in standard.refusal()
    standard.edit(standard.ledger, "zh: 词应当短。, source: here", f"zh: 词应当短。, source: here, {GONE}")
    requirement = standard.load().requirements["WRD-2"]
    assert requirement.withdrawn is not None


def test_a_case_of_a_withdrawn_requirement_is_withdrawn_with_it(standard: Standard) -> None:
    standard.edit(standard.ledger, "zh: 词应当短。, source: here", f"zh: 词应当短。, source: here, {GONE}")
    told = standard.refusal()
    assert "suites/words.yaml:6 cases[2].requirement: WRD-2 was withdrawn in 0.2.0; withdraw the case with it" in told


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("withdrawn: {since: 0.1.0}", "suites/words.yaml:5 cases[1].withdrawn: 'why' is missing"),
        ("withdrawn: {since: 0.1, why: {en: x, zh: y}}", "cases[1].withdrawn.since: expected a text, found 0.1"),
        ("withdrawn: {since: soon, why: {en: x, zh: y}}", "cases[1].withdrawn.since: the text 'soon' does not match"),
        ("withdrawn: {since: 9.0.0, why: {en: x, zh: y}}", "words.long: since 9.0.0, which is yet to come; this is 0."),
        ("withdrawn: {since: 0.1.0, why: {en: x}}", "cases[1].withdrawn.why: 'zh' is missing"),
        ("withdrawn: {since: 0.1.0, why: {en: x, zh: y}, instead: [words.plane]}",
         "words.long: instead of it stands words.plane, which is not there; did you mean words.plain"),
        ("withdrawn: {since: 0.1.0, why: {en: x, zh: y}, instead: [words.long]}",
         "instead of it stands words.long, which is withdrawn too"),
    ],
)  # fmt: skip
def test_a_malformed_withdrawal_is_refused(said: str, message: str, standard: Standard) -> None:
    standard.edit(standard.cases, "given: {text: longer}", f"given: {{text: longer}}, {said}")
    assert message in standard.refusal()


def test_a_profile_in_force_that_lists_a_withdrawn_case_can_be_read_and_has_to_be_frozen_again(out: Standard) -> None:
    out.edit(out.cases, "given: {text: longer}", f"given: {{text: longer}}, {GONE}")
    assert suite.frozen_profile(out.root / "profiles" / "quick.json").cases[1] == "words.long"
    told = out.refusal()
    assert "quick.json cases[1]: words.long was withdrawn in 0.2.0; freeze the profile for this version" in told
    out.freeze(version="0.2.0")
    loaded = out.load()
    assert loaded.profiles["quick"].cases == ("words.plain", "words.short")


# ── untestable, errata ──


@pytest.mark.parametrize(
    ("said", "kept"),
    [("no", {"en": "no"}), ("{en: 'no', zh: 不}", {"en": "no", "zh": "不"})],
)
def test_why_nothing_tests_a_requirement_is_said_in_one_language_or_in_both(
    said: str, kept: dict[str, str], standard: Standard
) -> None:
    standard.edit(standard.ledger, "nobody can ask", "'no'" if said == "no" else said)
    assert standard.load().requirements["WRD-3"].untestable == kept


def test_half_a_reason_is_refused(standard: Standard) -> None:
    standard.edit(standard.ledger, "untestable: nobody can ask", "untestable: {en: nobody}")
    assert "requirements[2].untestable: 'zh' is missing" in standard.refusal()


def test_an_erratum_says_since_when_what_stood_there_and_why(standard: Standard) -> None:
    said = "errata: [{since: 0.1.0, was: {en: Old., zh: 旧。}, why: {en: Clearer., zh: 更清楚。}}]"
    standard.edit(standard.ledger, "zh: 词就是词。, source: here", f"zh: 词就是词。, source: here, {said}")
    (erratum,) = standard.load().requirements["WRD-1"].errata
    assert (erratum.since, erratum.was["zh"], erratum.why["en"]) == ("0.1.0", "旧。", "Clearer.")
    standard.edit(standard.ledger, "was: {en: Old., zh: 旧。}, ", "")
    assert "requirements[0].errata[0]: 'was' is missing" in standard.refusal()


# ── the register ──


def test_before_anything_is_published_there_is_no_register_and_ids_are_free(standard: Standard) -> None:
    standard.edit(standard.cases, "words.plain", "words.other")
    assert "words.other" in standard.load().cases
    assert published.read(standard.root)["versions"] == []
    assert not (standard.root / published.FILE_NAME).exists()


def test_publishing_writes_every_id_with_what_it_stands_for(standard: Standard) -> None:
    standard.freeze()
    register = standard.publish()
    validate(register, schema("published"))
    assert register["versions"] == ["0.1.0"]
    loaded = standard.load()
    assert register["cases"] == {
        name: {"since": "0.1.0", "digest": suite.case_digest(case)} for name, case in sorted(loaded.cases.items())
    }
    assert {name: kept["level"] for name, kept in register["requirements"].items()} == {
        "WRD-1": "MUST", "WRD-2": "SHOULD", "WRD-3": "MAY",
    }  # fmt: skip
    assert register["profiles"] == {"quick": {"0.1.0": profiles.digest(profiles.read(standard.freeze()))}}


def test_a_version_is_published_once_and_versions_go_up(out: Standard) -> None:
    for version in ("0.1.0", "0.0.9"):
        with pytest.raises(SuiteError, match=r"cannot follow 0\.1\.0, which has been published"):
            out.publish(version)
    assert out.publish("0.10.0")["versions"] == ["0.1.0", "0.10.0"]
    with pytest.raises(SuiteError, match=r"cannot follow 0\.10\.0"):
        out.publish("0.9.0")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "cases",
            "words.long",
            "words.longer",
            "words.long: published in 0.1.0, and gone; keep it, and say `withdrawn",
        ),
        (
            "cases",
            "text: longer",
            "text: longest",
            "suites/words.yaml:5 words.long: asks something else than published",
        ),
        (
            "cases",
            "words.long, requirement: WRD-1",
            "words.long, requirement: WRD-2",
            "words.long: asks something else",
        ),
        ("ledger", "level: SHOULD", "level: MUST", "WRD-2: published as SHOULD, now MUST; withdraw it"),
        (
            "ledger",
            "zh: 词应当短",
            "zh: 词应当长",
            "suites/requirements/words.yaml:5 WRD-2: worded otherwise than published",
        ),
        ("ledger", "id: WRD-3", "id: WRD-4", "WRD-3: published in 0.1.0, and gone"),
    ],
)
def test_what_was_published_stays_as_it_was(file: str, old: str, new: str, message: str, out: Standard) -> None:
    (out.root / "profiles" / "quick.json").unlink()  # profiles guard cases too; here the register has to
    register = json.loads((out.root / published.FILE_NAME).read_text())
    (out.root / published.FILE_NAME).write_text(json.dumps(register | {"profiles": {}}))
    out.load()
    out.edit(getattr(out, file), old, new)
    assert message in out.refusal()


def test_an_erratum_that_quotes_the_published_wording_lets_a_sentence_be_reworded(out: Standard) -> None:
    out.edit(out.ledger, "en: A word is short.", "en: A word should be short.")
    assert "WRD-2: worded otherwise than published" in out.refusal()
    said = "since: {}, was: {{en: {}, zh: 词应当短。}}, why: {{en: Plainer., zh: 更明白。}}"
    for since, was in (("0.2.0", "A word was short."), ("0.1.0", "A word is short.")):
        entry = f"errata: [{{{said.format(since, was)}}}], level: SHOULD"
        out.ledger.write_text(out.ledger.read_text().replace("level: SHOULD", entry))
        # neither another wording, nor an erratum of the version that has been published, is an excuse
        assert "WRD-2: worded otherwise than published" in out.refusal()
        out.ledger.write_text(out.ledger.read_text().replace(entry, "level: SHOULD"))
    entry = f"errata: [{{{said.format('0.2.0', 'A word is short.')}}}], level: SHOULD"
    out.ledger.write_text(out.ledger.read_text().replace("level: SHOULD", entry))
    out.load()
    register = out.publish("0.2.0")
    assert register["requirements"]["WRD-2"]["since"] == "0.1.0"
    out.load()  # the new wording is the published one now


def test_what_was_withdrawn_does_not_come_back(out: Standard) -> None:
    out.edit(out.cases, "given: {text: longer}", f"given: {{text: longer}}, {GONE}")
    out.freeze(version="0.2.0")
    before = published.read(out.root)["cases"]["words.long"]
    assert out.publish("0.2.0")["cases"]["words.long"] == before | {"withdrawn": "0.2.0"}
    assert installed.withdrawn_cases(out.root) == {"words.long": "0.2.0"}
    out.edit(out.cases, f", {GONE}", "")
    assert "words.long: withdrawn in 0.2.0, and here again; an id does not come back" in out.refusal()


def test_a_withdrawal_belongs_to_the_version_in_work(out: Standard) -> None:
    out.edit(out.cases, "given: {text: longer}", f"given: {{text: longer}}, {GONE.replace('0.2.0', '0.1.0')}")
    assert "words.long: withdrawn since 0.1.0, and in force in 0.1.0, published" in out.refusal()


def test_a_published_profile_is_kept_as_superseded_when_a_later_version_lists_other_cases(out: Standard) -> None:
    before = (out.root / "profiles" / "quick.json").read_bytes()
    with pytest.raises(SuiteError, match=r"published in 0\.1\.0 with other cases"):
        out.freeze("words.plain")
    assert (out.root / "profiles" / "quick.json").read_bytes() == before
    assert out.freeze(version="0.2.0").read_bytes() == before  # the same cases are the same profile
    out.freeze("words.plain", version="0.2.0")
    kept = out.root / "superseded" / "0.1.0" / "quick.json"
    assert kept.read_bytes() == before
    assert out.load().profiles["quick"].cases == ("words.plain",)
    old = profiles.read(kept)
    assert installed.frozen_profile(out.root, "quick", profiles.digest(old)) == old
    assert installed.frozen_profile(out.root, "quick")["version"] == "0.2.0"
    out.freeze("words.short", version="0.2.0")  # not published yet, so it may still change
    assert [path.parent.name for path in profiles.superseded(out.root, "quick")] == ["0.1.0"]


def test_a_superseded_profile_guards_its_cases_and_lets_them_be_withdrawn(out: Standard) -> None:
    out.freeze("words.plain", version="0.2.0")
    out.edit(out.cases, "given: {text: longer}", f"given: {{text: longer}}, {GONE}")
    assert list(out.load().withdrawn) == ["words.long"]
    out.edit(out.cases, "text: a}", "text: b}")
    (out.root / published.FILE_NAME).unlink()
    assert "suites/superseded/0.1.0/quick.json cases[2]: words.short has changed since the freeze" in out.refusal()


def test_a_published_profile_that_is_lost_or_edited_is_missed(out: Standard) -> None:
    path = out.root / "profiles" / "quick.json"
    text = path.read_text()
    path.unlink()
    assert (
        "suites/published.json quick: published in 0.1.0, and gone; it belongs into superseded/0.1.0/" in out.refusal()
    )
    path.write_text(text.replace('"requires": []', '"requires": ["forward"]'))
    assert "quick: published in 0.1.0 with other content" in out.refusal()
    path.unlink()
    (out.root / "superseded" / "0.0.1").mkdir(parents=True)
    (out.root / "superseded" / "0.0.1" / "quick.json").write_text(text)
    assert "suites/superseded/0.0.1/quick.json version: 0.1.0 lies among those of 0.0.1" in out.refusal()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[:-3], "not JSON"),
        (lambda text: text.replace('"cases"', '"case"', 1), "'cases' is missing"),
        (lambda text: text.replace('"0.1.0"', '"next"', 1), "next"),
    ],
)
def test_a_malformed_register_is_refused(edit, message: str, out: Standard) -> None:  # type: ignore[no-untyped-def]
    path = out.root / published.FILE_NAME
    path.write_text(edit(path.read_text()))
    told = out.refusal()
    assert told.startswith("suites/published.json")
    assert message in told
    with pytest.raises(Unacceptable):
        installed.withdrawn_cases(out.root)


def test_a_directory_of_superseded_profiles_is_named_after_a_version(out: Standard) -> None:
    (out.root / "superseded" / "old").mkdir(parents=True)
    (out.root / "superseded" / "old" / "quick.json").write_bytes((out.root / "profiles" / "quick.json").read_bytes())
    with pytest.raises(HarnessError, match="'old' is no version"):
        profiles.superseded(out.root, "quick")


# ── what has changed ──


def test_changes_name_first_what_a_candidate_that_passed_could_newly_fail(
    out: Standard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert suite.changes(out.root) == []
    assert suite.main(["changes", "--directory", str(out.root)]) == 0
    assert capsys.readouterr().out == "nothing has changed since it was published\n"
    out.cases.write_text(
        out.cases.read_text().replace("given: {text: longer}", f"given: {{text: longer}}, {GONE}")
        + "- {id: words.new, requirement: WRD-1, check: say, given: {text: new}}\n"
        + "- {id: words.four, requirement: WRD-4, check: say, given: {text: four}}\n"
    )
    out.ledger.write_text(
        out.ledger.read_text() + "- {id: WRD-4, level: MUST, en: Four is four., zh: 四就是四。, source: here}\n"
    )
    out.edit(out.ledger, "en: A word is short.", "en: A word should be short.")
    note = "errata: [{since: 0.2.0, was: {en: A word is short., zh: 词应当短。}, why: {en: Plainer., zh: 更明白。}}]"
    out.edit(out.ledger, "level: SHOULD", f"level: SHOULD, {note}")
    suite.freeze("quick", requires=["tokenize"], version="0.2.0", directory=out.root, replace=True)
    suite.freeze("core/words", match=["words.plain"], version="0.2.0", directory=out.root)
    assert suite.changes(out.root) == [
        "new profile core/words 0.2.0, 1 case",
        "profile quick 0.2.0: asks also: words.new, words.four",
        "profile quick 0.2.0: requires also: tokenize",
        "profile quick 0.2.0: asks no more: words.long",
        "new cases of WRD-1 (MUST): words.new",
        "new requirement WRD-4 (MUST), 1 case: Four is four.",
        "withdrawn words.long: It asked for too much.",
        "erratum to WRD-2: Plainer.",
    ]


def test_the_command_publishes_the_version_of_the_package(
    standard: Standard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert suite.main(["publish", "--directory", str(standard.root)]) == 0
    assert capsys.readouterr().out == f"{standard.root / 'published.json'}\n"
    assert published.read(standard.root)["versions"] == [suite.__version__]
    assert suite.main(["publish", "--directory", str(standard.root)]) == 2
    assert "cannot follow" in capsys.readouterr().err


# ── what pytest says of it ──


def test_a_withdrawn_case_that_is_named_on_the_command_line_says_why_it_is_gone(standard: Standard) -> None:
    standard.edit(standard.cases, "given: {text: longer}", f"given: {{text: longer}}, {GONE}")
    for name in ("llmasos:words::words.long", "llmasos:words.long"):
        with pytest.raises(pytest.UsageError, match=r"withdrawn in 0\.2\.0: It asked for too much"):
            plugin._path(name, standard.root)


# ── the shipped suites, and what is written about them ──


@pytest.mark.parametrize("name", ["suite-life.md", "suite-life.zh.md"])
def test_the_entries_that_the_document_shows_are_accepted(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
    entries = re.findall(r"```yaml\n(.+?)```", text, re.DOTALL)
    assert len(entries) == 2
    for entry, kind, head in zip(
        entries,
        ("requirement", "suite"),
        ("chapter: x\ntitle: {en: x, zh: x}\nrequirements:\n", "suite: x\ntitle: {en: x, zh: x}\ncases:\n"),
        strict=True,
    ):
        document = strictyaml.read(f"{head}{entry}".encode(), name, strictyaml.Schema(schema(kind)))
        assert document.problems == ()


def test_no_shipped_profile_lists_what_is_withdrawn_and_no_promise_is_broken() -> None:
    loaded = suite.load()
    listed = {case for profile in loaded.profiles.values() for case in profile.cases}
    assert listed <= loaded.cases.keys()
    assert not listed & loaded.withdrawn.keys()
