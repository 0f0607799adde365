"""A pytest session with an adapter: cases are collected, asked and reported. Only such a session imports this."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llmasos_conformance import (
    adapters,
    checks,
    engine,
    explore,
    installed,
    knownfailures,
    patterns,
    places,
    reference,
    unasked,
)
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.engine import Bench
from llmasos_conformance.errors import HarnessError
from llmasos_conformance.knownfailures import KnownFailure, Standing
from llmasos_conformance.plugin import summary
from llmasos_conformance.plugin.request import (
    KEY,
    KNOWN,
    LONG,
    PREFIX,
    PROFILE,
    SHORT,
    SMALLER_S,
    TIMEOUT_S,
    VARIABLE,
    Request,
    load,
    marker,
    near,
    stem,
    suite_files,
)
from llmasos_conformance.probes import Library, given
from llmasos_conformance.verdict import Outcome, State, Verdict, unanswered

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Connection
    from llmasos_conformance.suite import Case

RECORD = "llmasos"
"""Name of the property under which an item hands its record over."""

SECTION = "Captured llmasos call"
"""What pytest calls the part of a report that `CaseItem` adds."""

HANDED = "llmasos"
"""What a worker of xdist hands to the controller when it ends."""

SHARES = 4
"""Of many cases one takes this part of the time for smaller inputs at most, so that more than the first have some."""

ANEW = 3
"""After as many failures that a candidate started anew has too, nobody starts it anew for another."""

SILENCES = 3
"""After as many time-outs in a row nobody is asked any more: each costs the whole limit."""

USUAL = "fE"
"""What pytest lists at its end, -r, where nobody says what."""

HEADLINE = "LLMasOS self-test: not a certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What came of a case in a self-test.

    Attributes:
        outcome: on certified inputs, or what exploring found behind a pass; the run is read by it.
        shown: the same, or the smallest failure like it, which a person reads.
        detail: what a developer may want to see of it. place: where it was raised, see `summary.place`.
        told: an earlier case that was told of the same exception at the same place, or the same refusal; "" if there is
            none.
        missing: capabilities that the case needs and that are not declared.
        anew: whether it is right where nothing was asked before.
    """

    outcome: Outcome
    shown: Outcome
    detail: str = ""
    place: str = ""
    told: str = ""
    missing: Sequence[str] = ()
    anew: bool = False


class Run:
    """One pytest session with an adapter: what is planned, the connection, and what came of each case.

    Args:
        config: of the session. request: what the command line asked.

    Raises:
        HarnessError: the suite is malformed, or the address leads nowhere.
        pytest.UsageError: there is no such profile.
    """

    def __init__(self, config: pytest.Config, request: Request) -> None:
        self.config, self.request = config, request
        self.suite = load(request.root)
        self.seed: str = config.getoption("--llmasos-seed")
        self.explore: int = config.getoption("--llmasos-explore")
        self.timeout_s: float = config.getoption("--llmasos-timeout")
        if not self.timeout_s > 0:
            raise pytest.UsageError(f"--llmasos-timeout={self.timeout_s:g}: a number of seconds above 0 is due")
        self.smaller_s: float = config.getoption("--llmasos-smaller")
        if not self.smaller_s >= 0:
            raise pytest.UsageError(f"--llmasos-smaller={self.smaller_s:g}: a number of seconds is due, 0 for none")
        self.draws = config.getoption("verbose") >= 2
        self.profile: str = config.getoption("--llmasos-profile")
        self.usual = PROFILE  # what is asked where no command line names a profile
        with contextlib.suppress(HarnessError):  # of a table that names none that there is
            self.usual = installed.configured_profile(request.address, request.directory, request.root) or PROFILE
        self.planned, self.optional = self._plan()
        bundle = config.getoption("--llmasos-bundle")
        self.given = given.read(Path(bundle)) if bundle else None
        self.known = self._known_failures()
        self.today = datetime.now(UTC).date()
        listed = {*self.planned, *request.named}
        self.collected: dict[str, list[Case]] = {}
        for case in self.suite.cases.values():
            if case.id in listed:
                self.collected.setdefault(stem(case), []).append(case)
        self.records: list[summary.Record] = []
        self._bench: Bench | None = None
        self._failed: Exception | None = None
        self._silences = 0
        self._anew = ANEW
        self._few = False
        self._searched: list[float] = []
        self._raised: dict[str, str] = {}
        self._stillborn = False
        self._offers = frozenset[str]()
        self._open = contextlib.ExitStack()
        for mark in ("must", "should", "may", *sorted({*map(marker, self.suite.requirements.values())})):
            config.addinivalue_line("markers", f"{mark}: cases of the LLMasOS suites")
        if not self._is_worker():
            adapters.check_address(request.address, request.directory)

    def _plan(self) -> tuple[tuple[str, ...], frozenset[str]]:
        """Ids that the profile lists, and those of them that a candidate may leave undeclared."""
        if self.profile == "all":
            return tuple(self.suite.cases), frozenset(self.suite.cases)
        profile = self.suite.profiles.get(self.profile)
        if profile is None:
            alike = near(self.profile, self.suite.profiles)
            known = ", ".join([*sorted(self.suite.profiles), "all"])
            hint = f"; did you mean {alike[0]}?" if alike else f"; the profiles are {known}"
            raise pytest.UsageError(f"--llmasos-profile={self.profile}: there is no such profile{hint}")
        cases = [self.suite.cases[name] for name in profile.cases]
        return profile.cases, frozenset(case.id for case in cases if not case.needs <= profile.requires)

    def _known_failures(self) -> Mapping[str, KnownFailure]:
        """The vendor's file of known failures: named by the option, relative to where pytest started, or in the ini."""
        if named := self.config.getoption(KNOWN):
            path = self.config.invocation_params.dir / named
        elif named := self.config.getini(KNOWN):
            path = self.config.rootpath / named
        else:
            return {}
        return knownfailures.read(path, self.suite.cases, self.suite.withdrawn)

    def expects(self, case: Case) -> KnownFailure | None:
        """The entry of a case among the known failures; None with --runxfail, which has none of them count."""
        return None if self.config.getoption("runxfail") else self.known.get(case.id)

    def standing(self, entry: KnownFailure, record: summary.Record | None) -> Standing:
        """What an entry is worth by what was kept of its case."""
        made = record or {"state": "", "message": "", "figures": {}}
        return knownfailures.standing(entry, made["state"], made["message"], made["figures"], self.today)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """An entry takes the place of an `xfail` mark on the same case: the mark would hide that the entry is stale."""
        self._few = sum(isinstance(item, CaseItem) for item in items) < SHARES
        for item in items:
            if isinstance(item, CaseItem) and item.case.id in self.known:
                item.own_markers[:] = [mark for mark in item.own_markers if mark.name != "xfail"]

    def _is_worker(self) -> bool:
        return hasattr(self.config, "workerinput")

    def _distributes(self) -> bool:
        return not self._is_worker() and getattr(self.config.option, "dist", "no") != "no"

    # What pytest collects

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        root = self.request.root
        if path == root:
            return SuiteDirectory.from_parent(parent, path=path, name=PREFIX, nodeid=PREFIX)
        ours = path in root.parents
        if ours and not any(path == their or path in their.parents for their in self.request.theirs):
            return Hop.from_parent(parent, path=path, name=PREFIX, nodeid=PREFIX)
        return None

    def pytest_report_header(self) -> list[str]:
        target = adapters.check_address(self.request.address, self.request.directory)
        how = "in a process of its own"
        if target.host:
            how = "over HTTP"
        elif not target.command and not self.config.getoption("--llmasos-out-of-process"):
            how = "in process"
        about = f", bundle {self.given.path} {self.given.digest[:12]}" if self.given else ""
        return [
            f"llmasos: adapter {self.request.address} (from {self.request.source}), {how}",
            f"llmasos: suite {self.suite.version} {self.suite.digest[:12]}, profile {self.profile}{about}, "
            f"seed {self.seed}",
            "llmasos: self-test, not a certificate",
        ]

    # The candidate

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Connect before the first case, so that an adapter that cannot start is one paragraph and exit code 4.

        Under xdist the workers connect, each for itself and with its first case.
        """
        ours = any(isinstance(item, CaseItem) for item in session.items)
        if not ours or self.config.option.collectonly or self._is_worker() or self._distributes():
            return
        try:
            self.bench()
        except HarnessError as error:
            self._stillborn = True
            raise pytest.UsageError(error.render()) from None

    def bench(self) -> Bench:
        """The connected candidate with its reference, made once per process."""
        if self._failed is not None:
            raise self._failed
        if self._bench is None:
            try:
                self._bench = self._connect()
            except Exception as error:
                self._failed = error
                raise
        return self._bench

    def _connect(self) -> Bench:
        root = Path(tempfile.mkdtemp(prefix="llmasos-"))
        self._open.callback(shutil.rmtree, root, ignore_errors=True)

        def connect(address: str, **options: Any) -> Connection:
            made: Connection = adapters.connect(address, directory=self.request.directory, **options)
            self._open.callback(made.close)
            return made

        apart = bool(self.config.getoption("--llmasos-out-of-process"))
        connection = connect(self.request.address, out_of_process=apart, timeout_s=self.timeout_s)
        description = connection.description
        bundle = None
        if self.given is not None:
            (root / "b").mkdir()
            bundle = given.read(self.given.path, root / "b")
        self._offers = description.offers
        candidate = Candidate(Live(connection), description, Library(root / "a", self.seed, bundle))
        truth = reference.connect(description.claims, Library(root / "b", self.seed, bundle), connect)
        if bundle is not None:
            reference.check_bundle(truth, bundle, candidate.probes)
        restart: Callable[[], None] | None = getattr(connection, "restart", None)
        if adapters.check_address(self.request.address, self.request.directory).host:
            self._anew = 0  # a server goes on with what it holds, whoever calls

        def bring_back() -> None:
            try:
                if restart is not None:
                    restart()
            except HarnessError as error:
                self._failed = error  # the cases to come cannot be judged; this one has been

        return Bench(self.suite, checks.registry(), candidate, truth, self.seed, bring_back)

    def judge(self, case: Case, *, known: bool = False) -> Judged:
        """What came of a case.

        Args:
            known: the vendor expects the case to fail. Its failure is reported as any other and not made smaller:
                that would cost the same seconds in every run, for what has been read.
        """
        bench = self.bench()
        missing = sorted(case.needs - bench.candidate.description.offers)
        if self._silences >= SILENCES and not missing:
            level, message = bench.suite.level(case), f"the candidate did not answer {SILENCES} times in a row"
            silent = Outcome(
                case=case.id, requirement=case.requirement, level=level, state=State.ERROR, message=message,
                fault="timeout",
            )  # fmt: skip
            return Judged(outcome=silent, shown=silent, missing=missing)
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # a vendor's `filterwarnings = error` is no rule of the standard
            trial = engine.run_case(bench, case)
            outcome = shown = trial.outcome
            place = summary.place(trial.detail) if outcome.state == "fail" else ""
            told = "" if known else self._told(case, outcome, place)  # what is known to fail is not shown
            anew = None if told or known else self._asked_anew(bench, case, trial)
            if anew is not None:
                shown = anew
            elif outcome.ended and not told:
                shown = explore.last(trial)
            elif outcome.state == "fail" and not told and not known:
                shown = self._smallest(bench, case, trial)
            elif outcome.state == "pass" and self.explore > 0:
                outcome = shown = explore.beyond(bench, case, trial, self.explore, draws=self.draws)
        if not missing:
            self._silences = self._silences + 1 if outcome.fault == "timeout" else 0
        return Judged(
            outcome=outcome, shown=shown, detail="" if told else trial.detail, place=place, told=told, missing=missing,
            anew=anew is not None,
        )  # fmt: skip

    def _asked_anew(self, bench: Bench, case: Case, trial: engine.Trial) -> Outcome | None:
        """A wrong choice that is right where nothing was asked before, see `explore.anew`; None for what is no choice,
        and for what is wrong there too."""
        outcome = trial.outcome
        wrong_choice = outcome.state == "fail" and "ratio" not in outcome.figures and not unanswered(outcome.message)
        if not wrong_choice or not self._anew:
            return None
        made = explore.anew(bench, case, trial, draws=self.draws)
        self._anew -= made is None
        return made

    def _smallest(self, bench: Bench, case: Case, trial: engine.Trial) -> Outcome:
        """The smallest failure like one that was certified, as long as there is time to look for it."""
        spent = sum(self._searched)
        if spent >= self.smaller_s:
            return explore.shrink(bench, case, trial, draws=self.draws, smaller=False)
        started = time.monotonic()
        left = self.smaller_s - spent
        share = left if self._few else min(left, self.smaller_s / SHARES)
        shown = explore.shrink(bench, case, trial, draws=self.draws, seconds=share)
        self._searched = [spent + time.monotonic() - started]
        return shown

    def _told(self, case: Case, outcome: Outcome, place: str) -> str:
        """An earlier case that got no answer for the same reason; "" if this one is the first."""
        if not (outcome.state == "fail" and unanswered(outcome.message)):
            return ""
        earlier = self._raised.setdefault(patterns.reason(outcome.message, place), case.id)
        return "" if earlier == case.id else earlier

    def pytest_unconfigure(self) -> None:
        self._open.close()

    # What came of it

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """States that pytest has no word for keep their own names in every count."""
        state = (_record_of(report) or {}).get("state")
        if state in ("error", "inconclusive"):
            return "error", "E", state.upper()
        if state in ("not_declared", "not_applicable"):
            words = state.replace("_", " ")
            return words, "d" if state == "not_declared" else "a", words.upper()
        return None

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Who declares nothing that a profile asks about has not passed it: that is pytest's code for no tests."""
        asked = any(record["state"] != State.NOT_DECLARED for record in self.records)
        if exitstatus == pytest.ExitCode.OK and self.records and not asked and not self._is_worker():
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        if self._is_worker():
            self.config.workeroutput[HANDED] = {"offers": sorted(self._offers), "searched": self._searched}  # type: ignore[attr-defined]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """What a worker of xdist knows and the controller, which connects nobody, does not; a crashed one left none."""
        handed = getattr(node, "workeroutput", {}).get(HANDED, {})
        self._offers |= frozenset(handed.get("offers", ()))
        self._searched += handed.get("searched", ())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (record := _record_of(report)) is not None:
            self.records.append(record)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, None, None]:
        """Behind everybody else's, pytest's list of failures too: what is read first stands where the eye is."""
        shortened = self._shorten(terminalreporter)
        if shortened and not self._foreign(terminalreporter) and self.config.option.reportchars == USUAL:
            terminalreporter.reportchars = ""  # as many lines again, cut at the width of the screen, would tell nothing
        yield
        if self.config.option.collectonly or self._stillborn:
            return
        terminalreporter.section(HEADLINE)
        verdict, lines, behind = summary.summarise(self.suite, self.planned, self.optional, self.records)
        for line in lines:
            terminalreporter.write_line(line)
        whole = {*self.planned} <= {record["case"] for record in self.records}
        left = unasked.find(self._offers, self.profile, self.request.root) if self.records and whole else []
        if told := unasked.sentence(left):
            every = "; --llmasos-profile=all asks all that is declared" if any(each.requires for each in left) else ""
            terminalreporter.write_line(f"{told}{every}")
        if shortened and self.config.getoption("tbstyle") != "no":
            terminalreporter.write_line(
                f"{shortened} of the cases above are told in brief; -v tells all of them whole, and lists them"
            )
        if told := summary.searching(self._searched, self.smaller_s):
            terminalreporter.write_line(told)
        for line in behind:
            terminalreporter.write_line(line)
        found = Verdict(verdict)
        colour = "green" if found.holds else "red" if found.fails else "yellow"
        said = summary.conclusion(verdict, self.profile, self.planned, self.records)
        terminalreporter.write_line(said, bold=True, **{colour if said.startswith("verdict") else "yellow": True})
        if not self.records:
            return
        failing = {record["case"] for record in self.records if record["state"] == "fail"}
        beyond = [] if failing <= {*self.planned} else ["--llmasos-profile=all"]
        step = summary.next_step(
            verdict,
            self.planned,
            self.records,
            again=f"pytest --lf {self.command([], beyond)}".rstrip(),
            everything=self.reproduce([]),
            certify=self._certify(),
            one=lambda name: self.reproduce([self.suite.cases[name].node_id]),
            fitting=self._fitting(),
        )
        lines, first = self._told_of_known()
        for line in lines:
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"next: {first or step}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """What is printed in place of a whole block goes along with a report, through xdist too: only the controller
        knows which failure of the run it is."""
        report = yield
        if isinstance(item, CaseItem) and item.brief and report.when == "call":
            report.llmasos_brief = item.brief  # type: ignore[attr-defined]
            report.llmasos_alone = item.alone  # type: ignore[attr-defined]
        return report

    def _shorten(self, terminalreporter: Any) -> int:
        """Whoever is wrong everywhere reads the most telling failures whole, and of the others what tells them apart.

        Known bugs are told only of those by which the bug is found: of the others they lead away from it. Returns how
        many were made short. What reports say elsewhere, as in JUnit's file, was written before.
        """
        if self.config.getoption("verbose") > 0:
            return 0
        made, telling = 0, summary.whole(self.records)
        away = summary.led_away(self.records)
        for kind in ("failed", "error"):
            told = [each for each in terminalreporter.stats.get(kind, ()) if getattr(each, "llmasos_brief", "")]
            for report in told:
                if report.llmasos_alone and _case_of(report) in away:
                    report.longrepr = report.llmasos_alone
            # Sorted in a copy, so that they are printed in the order in which they were asked.
            for report in sorted(told, key=lambda each: _case_of(each) not in telling)[summary.WHOLE :]:
                report.longrepr = report.llmasos_brief
                report.sections = [each for each in report.sections if each[0] != SECTION]
                made += 1
        return made

    def _foreign(self, terminalreporter: Any) -> bool:
        """Whether something failed that is none of our cases, and that a list is due of."""
        stats = terminalreporter.stats
        return any(_record_of(report) is None for kind in ("failed", "error") for report in stats.get(kind, ()))

    def _fitting(self) -> str:
        """What asks a profile that the candidate declares all of, where it does not declare all of this one."""
        profile = self.suite.profiles.get(self.profile)
        if not self._offers or profile is None or profile.requires <= self._offers:
            return ""
        name = installed.profile_for(self._offers)
        return f"pytest --adapter={shlex.quote(self.request.address)} --llmasos-profile={name}"

    def _told_of_known(self) -> tuple[list[str], str]:
        """What became of the known failures, and what to do first about them, if anything."""
        if not self.known:
            return [], ""
        if self.config.getoption("runxfail"):
            return ["known failures: none of them counts, because of --runxfail"], ""
        worst = summary.worst(self.records)
        found = {case: self.standing(entry, worst.get(case)) for case, entry in self.known.items()}
        return summary.known(self.known, found)

    def _certify(self) -> str:
        profile = self.usual if self.profile == "all" else self.profile
        bundle = f" --bundle {shlex.quote(self.config.getoption('--llmasos-bundle'))}" if self.given else ""
        out = places.free(Path("report"), self.config.invocation_params.dir)
        return f"llmasos certify --adapter {shlex.quote(self.request.address)} --profile {profile}{bundle} --out {out}"

    def command(self, ids: Sequence[str], further: Sequence[str] = ()) -> str:
        """Options and ids that ask the same again; `further` replaces the profile."""
        source, parts = self.request.source, list[str]()
        if source in (LONG, SHORT, VARIABLE):  # what stands in a file or in PYTEST_ADDOPTS is there the next time
            parts.append(f"{SHORT if source == SHORT else LONG}={self.request.address}")
        elif not ids and KEY in source:
            parts.append(PREFIX)
        if self.seed != "0":
            parts.append(f"--llmasos-seed={self.seed}")
        if self.given is not None:
            parts.append(f"--llmasos-bundle={self.config.getoption('--llmasos-bundle')}")
        default = self.suite.profiles.get(self.usual)
        named = {each.rpartition("::")[2] for each in ids}
        if not named <= {*(default.cases if default else ())}:
            further = [f"--llmasos-profile={self.profile if named <= {*self.planned} else 'all'}"]
        elif self.profile != self.usual and not ids and not further:
            further = [f"--llmasos-profile={self.profile}"]
        parts += further
        if self.timeout_s != TIMEOUT_S:
            parts.append(f"--llmasos-timeout={self.timeout_s:g}")
        if self.config.getoption("--llmasos-out-of-process"):
            parts.append("--llmasos-out-of-process")
        if not ids and self.smaller_s != SMALLER_S:
            parts.append(f"--llmasos-smaller={self.smaller_s:g}")
        if ids and self.explore:
            parts.append(f"--llmasos-explore={self.explore}")
        if not ids and (known := self.config.getoption(KNOWN)):
            parts.append(f"--llmasos-known-failures={known}")
        if suites := self.config.getoption("--llmasos-suites"):
            parts.append(f"--llmasos-suites={suites}")
        return " ".join(shlex.quote(part) for part in [*parts, *ids])

    def reproduce(self, ids: Sequence[str]) -> str:
        return f"pytest {self.command(ids)}"


class SuiteDirectory(pytest.Collector):
    """The directory of the suites; its id is `llmasos:` wherever it lies.

    It is no `pytest.Directory`, and no Hop is one, because pytest loads the conftest of each of those.
    """

    def collect(self) -> Iterable[pytest.Collector]:
        for path in suite_files(self.path):
            yield SuiteFile.from_parent(self, path=path, name=path.stem, nodeid=PREFIX + path.stem)


class Hop(pytest.Collector):
    """A directory on the way to the suites: it holds the next step and is never listed."""

    def collect(self) -> Iterable[pytest.Collector]:
        root = _run_of(self).request.root
        step = self.path / root.relative_to(self.path).parts[0]
        if step == root:
            yield SuiteDirectory.from_parent(self, path=step, name=PREFIX, nodeid=PREFIX)
        else:
            yield Hop.from_parent(self, path=step, name=PREFIX, nodeid=PREFIX)


class SuiteFile(pytest.File):
    """One YAML file of the suites."""

    def collect(self) -> Iterable[pytest.Item]:
        run = _run_of(self)
        for case in run.collected.get(self.path.stem, ()):
            item: CaseItem = CaseItem.from_parent(self, name=case.id, case=case)
            yield item


class CaseItem(pytest.Item):
    """One case as pytest sees it. Its id is the same on every machine and can be pasted on the command line."""

    def __init__(self, *, case: Case, **rest: Any) -> None:
        super().__init__(**rest)
        run = _run_of(self)
        self.case, self.run, self.brief, self.alone = case, run, "", ""
        self.requirement = run.suite.requirements[case.requirement]
        self.add_marker(self.requirement.level.lower())
        self.add_marker(marker(self.requirement))
        self.extra_keyword_matches.update((case.requirement, case.check))

    def runtest(self) -> None:
        entry = self.run.expects(self.case)
        known = self.known_to_fail() or (entry is not None and self.run.today <= entry.expires)
        judged = self.run.judge(self.case, known=known)
        outcome = judged.outcome
        record = summary.record(outcome, judged.missing, judged.place, wavered=judged.shown.wavered, anew=judged.anew)
        self.user_properties[:] = [pair for pair in self.user_properties if pair[0] != RECORD]  # of an earlier try
        self.user_properties.append((RECORD, record))
        if judged.detail:
            self.add_report_section("call", "llmasos", judged.detail)
        self.brief = self.alone = ""
        if outcome.state in ("not_declared", "not_applicable"):
            pytest.skip(outcome.message or outcome.state.value.replace("_", " "))
        note = ""
        if entry is not None:
            standing = self.run.standing(entry, summary.parse(record))
            note = f"{entry.where}: {knownfailures.sentence(entry, standing)}"
            if standing is Standing.EXPECTED:
                pytest.xfail(note)
        if outcome.state != "pass" and not judged.told and not note:
            again = self.run.reproduce([self.nodeid])
            self.brief = summary.brief(judged.shown, again, raised_at=judged.place)
            self.alone = self.told_of(judged, again, known=False)
        if outcome.state != "pass" or note:
            raise NotRight(judged, note)

    def known_to_fail(self) -> bool:
        """Whether the vendor's repository marks the case `xfail`, and the mark counts in this run.

        A mark whose conditions are all plainly false says nothing; a condition in words is pytest's to read, and is
        taken for true here, where a wrong guess costs a smaller example and nothing else.
        """
        if self.config.getoption("runxfail"):
            return False
        conditions = [[*mark.args, *(mark.kwargs[key] for key in ("condition",) if key in mark.kwargs)]
                      for mark in self.iter_markers("xfail")]  # fmt: skip
        return any(not each or any(each) for each in conditions)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, NotRight):
            again = self.run.reproduce([self.nodeid])
            wrong, note = excinfo.value.judged, excinfo.value.note
            if wrong.outcome.state == "pass":
                return note
            return self.told_of(wrong, again, note)
        if isinstance(excinfo.value, HarnessError):
            return f"could not be judged: {excinfo.value.render()}"
        return super().repr_failure(excinfo, style)

    def told_of(self, judged: Judged, again: str, note: str = "", *, known: bool = True) -> str:
        """A case that is not right, whole; see `summary.failure`."""
        told = summary.failure(
            judged.shown, self.case, self.requirement, again, raised_at=judged.place, told=judged.told, known=known
        )
        return "\n".join([told, *([note] if note else []), self.written_at()])

    def written_at(self) -> str:
        """File and line of the case, as they open from where pytest was started; the suites may be installed."""
        path, line, _ = self.reportinfo()
        with contextlib.suppress(ValueError):  # of another drive, on Windows
            path = min(Path(os.path.relpath(path, self.config.invocation_params.dir)), path, key=lambda p: len(str(p)))
        return f"{path}:{(line or 0) + 1}"

    def reportinfo(self) -> tuple[Path, int | None, str]:
        # pytest turns the dots of a name that ends the node id into `::`; the requirement behind it prevents that.
        line = self.case.where.rpartition(":")[2]
        return self.path, int(line) - 1 if line.isdigit() else None, f"{self.case.id} ({self.case.requirement})"


class NotRight(Exception):
    """A case that failed or could not be judged, on its way to pytest; or one that is not as its entry says.

    Attributes:
        note: what the entry among the known failures has to do with it; empty where there is none.
    """

    def __init__(self, judged: Judged, note: str = "") -> None:
        super().__init__(judged.outcome.message or note)
        self.judged, self.note = judged, note


def _run_of(node: pytest.Collector | pytest.Item) -> Run:
    run = node.config.pluginmanager.get_plugin("llmasos-run")
    assert isinstance(run, Run)
    return run


def _case_of(report: pytest.TestReport) -> str:
    record = _record_of(report)
    return record["case"] if record else ""


def _record_of(report: pytest.TestReport | pytest.CollectReport) -> summary.Record | None:
    """Our record on a report of a call; None for setup, teardown, collection and everybody else's tests."""
    if getattr(report, "when", None) != "call":
        return None
    for name, value in getattr(report, "user_properties", ()):
        if name == RECORD:
            return summary.parse(value)
    return None
