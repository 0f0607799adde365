"""What runs say about the ledger: from what they emitted, after as much checking as is cheap.

Three runs of the shipped profile `quick` are made once: the reference, signed; a candidate that repeats its prompt and
has no sessions, unsigned; and the reference again, interrupted.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmasos_conformance import certify, cli, coverage, evidence, installed, policy, report, signing, suite, verify
from llmasos_conformance.canonical import encode
from llmasos_conformance.coverage import Standing
from llmasos_conformance.errors import HarnessError, ReportError
from llmasos_conformance.suite import Requirement, Withdrawal


def now() -> datetime:
    """When a report is read: after it was written, minutes after this file was, in a run of all tests."""
    return datetime.now(UTC) + timedelta(minutes=1)


LOADED = suite.load()
QUICK = LOADED.profiles["quick"].cases

PARROT = """
from dataclasses import replace
from llmasos_conformance.adapters.reference import ReferenceAdapter

class Model:
    def __init__(self, inner): self.inner = inner
    def __getattr__(self, name): return getattr(self.inner, name)
    def generate_text(self, prompt, *given, **options):
        made = self.inner.generate_text(prompt, *given, **options)
        return replace(made, text=prompt + made.text)

class Parrot:
    def __init__(self): self.inner = ReferenceAdapter("float32")
    def describe(self):
        told = self.inner.describe()
        return replace(told, name="parrot", capabilities=told.capabilities - {"session"})
    def load_model(self, path): return Model(self.inner.load_model(path))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Three reports, and the keys of the one that is signed."""
    root = tmp_path_factory.mktemp("coverage")
    policy.keygen(root / "keys", owner="acme", now=datetime.now(UTC))
    (root / "parrot.py").write_text(PARROT)

    def run(name: str, adapter: str, **more: Any) -> Path:
        order = certify.Order(
            adapter=adapter, profile="quick", out=root / name, directory=root, out_of_process=False, seed="7", **more
        )
        done = certify.certify(order, clock=lambda: datetime.now(UTC), progress=stop_at(name))
        assert done.interrupted == (name == "interrupted")
        return done.directory

    def stop_at(name: str) -> Callable[..., None]:
        def progress(done: int, total: int, case: object) -> None:
            if name == "interrupted" and done == 5:
                signal.raise_signal(signal.SIGINT)

        return progress

    return SimpleNamespace(
        root=root,
        trust=policy.read_trust(root / "keys" / "trust.json"),
        trust_file=root / "keys" / "trust.json",
        signed=run("signed", "reference", key=root / "keys" / "key.pem"),
        parrot=run("parrot", "./parrot.py:Parrot"),
        interrupted=run("interrupted", "reference"),
    )


@pytest.fixture
def copy(place: SimpleNamespace, tmp_path: Path) -> Callable[[str], Path]:
    """A report that a test may spoil."""

    def made(name: str) -> Path:
        shutil.copytree(getattr(place, name), tmp_path / name)
        return tmp_path / name

    return made


def read(path: Path, **more: Any) -> coverage.Run:
    return coverage.read(path, now=now(), own=verify.Installed.here(), **more)


def table(*paths: Path) -> coverage.Table:
    return coverage.table(LOADED, coverage.read_all(paths, now=now(), own=verify.Installed.here()))


def outcomes(directory: Path) -> Mapping[str, str]:
    """Case -> outcome, as the bytes on disk say."""
    path = directory / report.STATEMENT_NAME
    if path.is_file():
        payload = path.read_bytes()
    else:
        payload = signing.open_envelope((directory / report.ENVELOPE_NAME).read_bytes()).payload
    return {made["id"]: made["outcome"] for made in json.loads(payload)["predicate"]["checks"]}


# ── what a run has exercised ──


def test_every_requirement_has_a_line_with_the_cases_that_the_run_emitted(place: SimpleNamespace) -> None:
    made, emitted = table(place.signed), outcomes(place.signed)
    assert made.lines.keys() == LOADED.requirements.keys()
    assert {name for line in made.lines.values() for name in line.cases} == {*QUICK} == emitted.keys()
    for line in made.lines.values():
        for name, said in line.cases.items():
            assert LOADED.cases[name].requirement == line.requirement.id
            assert said == (emitted[name],)
        beyond = [name for name, case in LOADED.cases.items() if case.requirement == line.requirement.id]
        assert {*line.elsewhere} == {*beyond} - {*QUICK}


def test_what_passed_is_passed_and_what_no_profile_lists_is_not_listed(place: SimpleNamespace) -> None:
    made = table(place.signed)
    tested = {LOADED.cases[name].requirement for name in QUICK}
    for name, line in made.lines.items():
        due = Standing.UNTESTABLE if line.requirement.untestable else Standing.NOT_LISTED
        assert line.standing is (Standing.PASSED if name in tested else due), name
    assert made.totals["passed"] == len(tested)
    assert sum(made.totals.values()) == len(LOADED.requirements)
    assert made.exit_code == 3
    assert made.unknown == ()


def test_what_failed_is_failed_and_what_was_not_declared_is_not_exercised(place: SimpleNamespace) -> None:
    made, emitted = table(place.parrot), outcomes(place.parrot)
    assert made.lines["API-3"].standing is Standing.FAILED
    assert made.lines["API-3"].cases == {"api.prompt.not-repeated": ("fail",)}
    assert emitted["cache.single-steps"] == emitted["cache.fork"] == "not_declared"
    assert {made.lines[name].standing for name in ("CACHE-1", "CACHE-3")} == {Standing.NOT_EXERCISED}
    assert made.lines["NUM-1"].standing is Standing.PASSED
    failed = {LOADED.cases[name].requirement for name, said in emitted.items() if said == "fail"}
    assert {name for name, line in made.lines.items() if line.standing is Standing.FAILED} == failed


def test_an_interrupted_run_has_exercised_what_ran(place: SimpleNamespace) -> None:
    emitted = outcomes(place.interrupted)
    assert [*emitted.values()].count("pass") == 5
    made = table(place.interrupted)
    assert made.totals["passed"] == len({LOADED.cases[name].requirement for name in QUICK[:5]})
    late = LOADED.cases[QUICK[-1]].requirement
    assert made.lines[late].standing is Standing.NOT_EXERCISED


def test_several_runs_stand_beside_each_other_in_the_order_given(place: SimpleNamespace) -> None:
    made = table(place.parrot, place.signed, place.interrupted)
    assert [run.path for run in made.runs] == [place.parrot, place.signed, place.interrupted]
    assert made.lines["API-3"].cases["api.prompt.not-repeated"] == ("fail", "pass", "pass")
    assert made.lines["API-3"].standing is Standing.FAILED
    assert made.lines["CACHE-3"].cases["cache.fork"] == ("not_declared", "pass", "not_run")
    assert made.lines["CACHE-3"].standing is Standing.PASSED


REQUIREMENT = Requirement(
    id="WRD-1", level="MUST", chapter="words", sentence={"en": "A word.", "zh": "一个词。"}, source={"en": "here"}
)
GONE = Withdrawal(since="0.1.0", why={"en": "x", "zh": "y"})


@pytest.mark.parametrize(
    ("said", "due"),
    [
        ([], Standing.NOT_LISTED),
        (["pass"], Standing.PASSED),
        (["pass", "not_declared", "not_run", "not_applicable", "waived"], Standing.PASSED),
        (["pass", "fail", "error"], Standing.FAILED),
        (["pass", "error"], Standing.UNDECIDED),
        (["inconclusive", "pass"], Standing.UNDECIDED),
        (["not_declared", "not_run"], Standing.NOT_EXERCISED),
        (["not_applicable"], Standing.NOT_EXERCISED),
        (["waived"], Standing.NOT_EXERCISED),
    ],
)
def test_outcomes_amount_to_a_standing(said: list[str], due: Standing) -> None:
    assert coverage.standing(REQUIREMENT, {f"c.{number}": (each,) for number, each in enumerate(said)}) is due
    assert coverage.standing(REQUIREMENT, {"c": tuple(said), "d": ("",)}) is due


def test_a_requirement_without_a_case_cannot_be_called_tested() -> None:
    plain = Requirement(id="WRD-2", level="MUST", chapter="words", sentence=REQUIREMENT.sentence, source={"en": "here"})
    untestable = Requirement(
        id="WRD-3",
        level="MUST",
        chapter="words",
        sentence=REQUIREMENT.sentence,
        source={"en": "x"},
        untestable={"en": "no"},
    )
    assert coverage.standing(plain, {}) is Standing.NOT_LISTED
    assert coverage.standing(untestable, {}) is Standing.UNTESTABLE
    assert not {Standing.NOT_LISTED, Standing.UNTESTABLE} & coverage.JUDGED


def test_a_withdrawn_requirement_is_withdrawn_whatever_came_out() -> None:
    gone = Requirement(
        id="WRD-2", level="MUST", chapter="words", sentence=REQUIREMENT.sentence, source={"en": "here"}, withdrawn=GONE
    )
    assert coverage.standing(gone, {"c": ("fail",)}) is Standing.WITHDRAWN


def test_only_what_is_testable_and_in_force_has_to_be_judged(place: SimpleNamespace) -> None:
    made = table(place.signed)
    judged = {
        name: line for name, line in made.lines.items() if line.standing in (Standing.PASSED, Standing.UNTESTABLE)
    }
    assert coverage.Table(runs=made.runs, lines=judged, unknown=()).exit_code == 0


def test_a_case_of_a_requirement_that_the_ledger_does_not_have_is_told(place: SimpleNamespace) -> None:
    fewer = {name: each for name, each in LOADED.requirements.items() if name != "API-3"}
    loaded = suite.Suite(digest="", version="", requirements=fewer, cases={}, profiles={})
    made = coverage.table(loaded, [read(place.signed)])
    assert made.unknown == ("api.prompt.not-repeated",)


# ── what is checked of a report, and what is refused ──


def test_what_was_checked_and_what_was_not_is_said(place: SimpleNamespace) -> None:
    trusted, signed, unsigned = read(place.signed, trust=place.trust), read(place.signed), read(place.parrot)
    assert (signed.checked, signed.unchecked) == (("integrity", "suite", "evidence"), ("signer", "re-judged"))
    assert (unsigned.checked, unsigned.unchecked) == (("suite", "evidence"), ("integrity", "signer", "re-judged"))
    assert [run.signed for run in (trusted, signed, unsigned)] == [True, True, False]
    checked, unchecked = coverage.words(unsigned, "en")
    assert checked.startswith("suite and profile are known here, ")
    assert checked.endswith("; the evidence is the one stated")
    assert unchecked == "nobody signed it; the outcomes follow from the answers (llmasos verify --rejudge)"
    assert "信任文件列有签名者" in coverage.words(signed, "zh")[1]
    # the runs are self-tests, which a trust file does not make more of
    assert [note.partition(":")[0] for note in trusted.notes] == ["E_MODE"]
    assert "signer" not in trusted.checked


def test_a_report_without_its_evidence_is_read_and_says_so(copy: Callable[[str], Path]) -> None:
    directory = copy("signed")
    (directory / evidence.FILE_NAME).unlink()
    assert read(directory).unchecked == ("signer", "evidence", "re-judged")


def test_the_envelope_may_be_given_instead_of_its_directory(place: SimpleNamespace) -> None:
    assert read(place.signed / report.ENVELOPE_NAME).report_id == read(place.signed).report_id


def change_statement(directory: Path, change: Callable[[dict[str, Any]], None], *, canonical: bool = True) -> None:
    path = directory / report.STATEMENT_NAME
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(encode(content) if canonical else json.dumps(content).encode())


def prettier(content: dict[str, Any]) -> None:
    checks = content["predicate"]["checks"]
    next(made for made in checks if made["outcome"] == "fail")["outcome"] = "pass"


def consistent(content: dict[str, Any]) -> None:
    prettier(content)
    predicate = content["predicate"]
    predicate["checksRoot"] = report.checks_root(predicate["checks"])


def older(content: dict[str, Any]) -> None:
    content["predicate"]["suite"]["digest"] = "0" * 64


def shorter(content: dict[str, Any]) -> None:
    content["predicate"]["checks"].pop()


def invented(content: dict[str, Any]) -> None:
    made = next(made for made in content["predicate"]["checks"] if made["outcome"] == "not_declared")
    made["outcome"] = "pass"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (prettier, "E_CHECKS_ROOT"),
        (consistent, "E_SUMMARY"),
        (older, "E_SUITE_DIGEST"),
        (shorter, "E_CHECK_MISSING"),
        (invented, "E_NOT_DECLARED"),
    ],
)
def test_a_statement_that_does_not_hold_together_is_refused(
    change: Callable[[dict[str, Any]], None], code: str, copy: Callable[[str], Path]
) -> None:
    directory = copy("parrot")
    change_statement(directory, change)
    with pytest.raises(coverage.Refused, match=code) as caught:
        read(directory)
    assert caught.value.exit_code == 1
    assert caught.value.hint == f"llmasos explain {code}"


def test_outcomes_of_an_unsigned_run_cannot_be_moved_into_evidence_of_another(
    copy: Callable[[str], Path], place: SimpleNamespace
) -> None:
    directory = copy("parrot")
    shutil.copy(place.signed / evidence.FILE_NAME, directory / evidence.FILE_NAME)
    with pytest.raises(coverage.Refused, match="E_EVIDENCE"):
        read(directory)


def test_a_tail_that_did_not_run_needs_a_person_who_ended_it(copy: Callable[[str], Path]) -> None:
    directory = copy("interrupted")

    def other(content: dict[str, Any]) -> None:
        predicate = content["predicate"]
        for made in predicate["checks"]:
            if made["outcome"] == "not_run":
                made["message"] = "tired"
        predicate["checksRoot"] = report.checks_root(predicate["checks"])

    change_statement(directory, other)
    with pytest.raises(coverage.Refused, match="E_NOT_RUN"):
        read(directory)


def test_a_signature_that_does_not_fit_is_refused(copy: Callable[[str], Path]) -> None:
    directory = copy("signed")
    path = directory / report.ENVELOPE_NAME
    signing.write_key(directory / "other.pem")
    payload = signing.open_envelope(path.read_bytes()).payload
    path.write_bytes(signing.sign(payload, signing.read_key(directory / "other.pem")))
    with pytest.raises(coverage.Refused, match="E_SIGNATURE"):
        read(directory)


def test_a_signed_report_without_any_key_needs_a_trust_file(
    copy: Callable[[str], Path], place: SimpleNamespace
) -> None:
    directory = copy("signed")
    (directory / report.SIGNER_NAME).unlink()
    with pytest.raises(coverage.Refused, match="E_SIGNER_UNKNOWN") as caught:
        read(directory)
    assert "--trust" in caught.value.hint
    assert read(directory, trust=place.trust).signed


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda path: path.write_text("no"), "E_JSON"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\n"), "E_CANONICAL"),
        (lambda path: path.write_text("{}"), "E_STATEMENT"),
    ],
)
def test_a_malformed_statement_is_an_error_with_code_2(
    spoil: Callable[[Path], object], code: str, copy: Callable[[str], Path]
) -> None:
    directory = copy("parrot")
    spoil(directory / report.STATEMENT_NAME)
    with pytest.raises(ReportError, match=code) as caught:
        read(directory)
    assert caught.value.exit_code == 2


def test_nothing_is_no_report(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ReportError, match="there is no report") as caught:
            read(path)
        assert caught.value.exit_code == 2


def test_the_same_report_counts_once(place: SimpleNamespace, copy: Callable[[str], Path]) -> None:
    with pytest.raises(ReportError, match="this is the report that") as caught:
        table(place.signed, copy("signed"))
    assert caught.value.exit_code == 2


def test_verify_still_refuses_what_nobody_signed(place: SimpleNamespace) -> None:
    for loose in (False, True):
        result = verify.verify(place.parrot, now=now(), own=verify.Installed.here(), unsigned=loose)
        assert (result.accepted, result.exit_code, result.level) == (False, 2, "none")
        assert result.reasons[0].code == "E_UNSIGNED"
        assert (result.content is None) != loose


# ── the command ──


@pytest.fixture
def llmasos(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*given: object) -> tuple[int, str, str]:
        code = cli.run([str(word) for word in given])
        return code, *capsys.readouterr()

    return call


def test_the_table_is_told_for_people(llmasos: Callable[..., tuple[int, str, str]], place: SimpleNamespace) -> None:
    code, out, err = llmasos("coverage", place.parrot, place.signed)
    assert (code, err) == (3, "")
    lines = out.splitlines()
    assert lines[0] == f"run 1: {place.parrot}, {report.headline(read(place.parrot).content)}"
    assert (
        lines[2] == "  not checked: nobody signed it; the outcomes follow from the answers (llmasos verify --rejudge)"
    )
    assert "  API-3    MUST   failed         api.prompt.not-repeated fail/pass" in lines
    assert any(line.startswith("  CACHE-3  MUST   passed         cache.fork not declared/pass, ") for line in lines)
    for each in LOADED.requirements.values():
        assert sum(line.split()[:1] == [each.id] for line in lines) == 1
    assert lines[-2].startswith(f"{len(LOADED.requirements)} requirements: passed ")
    assert lines[-1].startswith("next: llmasos explain ")


def test_the_table_is_told_in_chinese(llmasos: Callable[..., tuple[int, str, str]], place: SimpleNamespace) -> None:
    _, out, _ = llmasos("coverage", place.parrot, "--lang", "zh")
    for part in (
        "运行 1: ",
        "未核查: 无人签名；",
        "未通过",
        "api.prompt.not-repeated 未通过",
        "不可测试",
        f"共 {len(LOADED.requirements)} 条要求",
    ):
        assert part in out


def test_the_table_is_told_to_programs(llmasos: Callable[..., tuple[int, str, str]], place: SimpleNamespace) -> None:
    code, out, err = llmasos("coverage", place.signed, place.interrupted, "--json", "--trust", place.trust_file)
    told = json.loads(out)
    assert (code, told["exitCode"], err) == (3, 3, "")
    assert [each["signed"] for each in told["reports"]] == [True, False]
    assert told["totals"] == table(place.signed, place.interrupted).totals
    rows = {each["id"]: each for each in told["requirements"]}
    assert [*rows] == [*LOADED.requirements]
    assert rows["CACHE-3"]["cases"] == [{"id": "cache.fork", "outcomes": ["pass", "not_run"]}]
    assert rows["API-5"] == {
        "id": "API-5", "level": "MUST", "chapter": "api", "standing": "not_listed", "cases": [],
        "elsewhere": ["api.temperature.default"], "untestable": None,
    }  # fmt: skip


def test_what_to_do_next_is_a_profile_that_lists_the_rest(
    llmasos: Callable[..., tuple[int, str, str]], place: SimpleNamespace
) -> None:
    _, out, _ = llmasos("coverage", place.signed)
    best = coverage.profile_with_the_rest(LOADED, table(place.signed))
    assert best in LOADED.profiles
    assert out.splitlines()[-1].startswith(f"next: llmasos certify --adapter … --profile {best} ")


def test_a_table_needs_a_report(llmasos: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    assert llmasos("coverage")[0] == 2
    code, out, err = llmasos("coverage", tmp_path)
    assert (code, out) == (2, "")
    for part in ("error: there is no report", "where: ", "try: give the directory that certify wrote"):
        assert part in err


def test_a_refused_report_makes_no_table_and_no_page(
    llmasos: Callable[..., tuple[int, str, str]], copy: Callable[[str], Path], place: SimpleNamespace, tmp_path: Path
) -> None:
    directory = copy("parrot")
    change_statement(directory, prettier)
    code, out, err = llmasos("coverage", place.signed, directory)
    assert (code, out) == (1, "")
    assert "error: E_CHECKS_ROOT" in err
    code, _, err = llmasos("standard", "--out", tmp_path / "out", "--coverage", directory)
    assert code == 1
    assert "E_CHECKS_ROOT" in err
    assert not (tmp_path / "out").exists()


def test_the_standard_shows_what_runs_have_found(
    llmasos: Callable[..., tuple[int, str, str]], place: SimpleNamespace, tmp_path: Path
) -> None:
    words = ("standard", "--out", tmp_path / "out", "--lang", "en", "--json")
    code, out, _ = llmasos(*words, "--coverage", place.parrot, "--coverage", place.signed)
    assert code == 0
    assert json.loads(out)["totals"] == table(place.parrot, place.signed).totals
    page = (tmp_path / "out" / "en" / "api.html").read_text(encoding="utf-8")
    assert 'aria-label="Run 1: fail"' in page
    assert 'aria-label="Run 2: pass"' in page
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["reports"] == [read(path).report_id for path in (place.parrot, place.signed)]


def test_a_damaged_trust_file_is_an_error(
    llmasos: Callable[..., tuple[int, str, str]], place: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "trust.json").write_text("{}")
    assert llmasos("coverage", place.signed, "--trust", tmp_path / "trust.json")[0] == 2
    assert llmasos("coverage", place.signed, "--trust", tmp_path / "none.json")[0] == 2


def test_errors_of_the_room_are_errors_of_the_harness() -> None:
    assert issubclass(coverage.Refused, HarnessError)
    assert coverage.EXIT_REFUSED == coverage.Refused.exit_code == 1
    assert installed.suites().is_dir()
