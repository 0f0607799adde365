"""A pytest session with an adapter: cases are collected, asked and reported. Only such a session imports this."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llmasos_conformance import adapters, checks, knownfailures, places, reference
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.engine import Bench
from llmasos_conformance.errors import HarnessError
from llmasos_conformance.knownfailures import KnownFailure, Standing
from llmasos_conformance.plugin import options, summary
from llmasos_conformance.plugin.commands import Commands
from llmasos_conformance.plugin.judging import SHARES, Judged, Judging
from llmasos_conformance.plugin.request import KNOWN, PREFIX, Request, load, marker, near, stem, suite_files
from llmasos_conformance.probes import Library, given
from llmasos_conformance.verdict import State

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Connection
    from llmasos_conformance.suite import Case

RECORD = "llmasos"
"""Name of the property under which an item hands its record over."""

SECTION = "Captured llmasos call"
"""What pytest calls the part of a report that `CaseItem` adds."""

HANDED = "llmasos"
"""What a worker of xdist hands to the controller when it ends."""


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
        self.options = options.read(config, request)
        self.planned, self.optional = self._plan(self.options.profile)
        self.commands = Commands(request, self.options, self.suite.profiles, self.planned)
        self.judging = Judging(self.options)
        self.given = given.read(Path(self.options.bundle)) if self.options.bundle else None
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
        self.stillborn = False
        self.offers = frozenset[str]()
        self._open = contextlib.ExitStack()
        for mark in ("must", "should", "may", *sorted({*map(marker, self.suite.requirements.values())})):
            config.addinivalue_line("markers", f"{mark}: cases of the LLMasOS suites")
        if not self._is_worker():
            adapters.check_address(request.address, request.directory)

    def _plan(self, name: str) -> tuple[tuple[str, ...], frozenset[str]]:
        """Ids that a profile lists, and those of them that a candidate may leave undeclared."""
        if name == "all":
            return tuple(self.suite.cases), frozenset(self.suite.cases)
        profile = self.suite.profiles.get(name)
        if profile is None:
            alike = near(name, self.suite.profiles)
            known = ", ".join([*sorted(self.suite.profiles), "all"])
            hint = f"; did you mean {alike[0]}?" if alike else f"; the profiles are {known}"
            raise pytest.UsageError(f"--llmasos-profile={name}: there is no such profile{hint}")
        cases = [self.suite.cases[each] for each in profile.cases]
        return profile.cases, frozenset(case.id for case in cases if not case.needs <= profile.requires)

    def _known_failures(self) -> Mapping[str, KnownFailure]:
        """The vendor's file of known failures: named by the option, relative to where pytest started, or in the ini."""
        if self.options.known:
            path = self.config.invocation_params.dir / self.options.known
        elif named := self.config.getini(KNOWN):
            path = self.config.rootpath / named
        else:
            return {}
        return knownfailures.read(path, self.suite.cases, self.suite.withdrawn)

    def expects(self, case: Case) -> KnownFailure | None:
        """The entry of a case among the known failures; None with --runxfail, which has none of them count."""
        return None if self.options.runxfail else self.known.get(case.id)

    def standing(self, entry: KnownFailure, record: summary.Record | None) -> Standing:
        """What an entry is worth by what was kept of its case."""
        made = record or {"state": "", "message": "", "figures": {}}
        return knownfailures.standing(entry, made["state"], made["message"], made["figures"], self.today)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """An entry takes the place of an `xfail` mark on the same case: the mark would hide that the entry is stale."""
        self.judging.few = sum(isinstance(item, CaseItem) for item in items) < SHARES
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
        elif not target.command and not self.options.apart:
            how = "in process"
        about = f", bundle {self.given.path} {self.given.digest[:12]}" if self.given else ""
        return [
            f"llmasos: adapter {self.request.address} (from {self.request.source}), {how}",
            f"llmasos: suite {self.suite.version} {self.suite.digest[:12]}, "
            f"profile {self.options.profile}{about}, seed {self.options.seed}",
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
            self.stillborn = True
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

        asked = self.options
        connection = connect(self.request.address, out_of_process=asked.apart, timeout_s=asked.timeout_s)
        description = connection.description
        bundle = None
        if self.given is not None:
            (root / "b").mkdir()
            bundle = given.read(self.given.path, root / "b")
        self.offers = description.offers
        candidate = Candidate(Live(connection), description, Library(root / "a", asked.seed, bundle))
        truth = reference.connect(description.claims, Library(root / "b", asked.seed, bundle), connect)
        if bundle is not None:
            reference.check_bundle(truth, bundle, candidate.probes)
        restart: Callable[[], None] | None = getattr(connection, "restart", None)
        if adapters.check_address(self.request.address, self.request.directory).host:
            self.judging.restarts = 0  # a server goes on with what it holds, whoever calls

        def bring_back() -> None:
            try:
                if restart is not None:
                    restart()
            except HarnessError as error:
                self._failed = error  # the cases to come cannot be judged; this one has been

        return Bench(self.suite, checks.registry(), candidate, truth, asked.seed, bring_back)

    def pytest_unconfigure(self) -> None:
        self._open.close()

    # What came of it

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """States that pytest has no word for keep their own names in every count."""
        state = (record_of(report) or {}).get("state")
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
            self.config.workeroutput[HANDED] = {"offers": sorted(self.offers), "searched": self.judging.searched}  # type: ignore[attr-defined]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """What a worker of xdist knows and the controller, which connects nobody, does not; a crashed one left none."""
        handed = getattr(node, "workeroutput", {}).get(HANDED, {})
        self.offers |= frozenset(handed.get("offers", ()))
        self.judging.searched += handed.get("searched", ())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (record := record_of(report)) is not None:
            self.records.append(record)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """What is printed in place of a whole block goes along with a report, through xdist too: only the controller
        knows which failure of the run it is."""
        report = yield
        if isinstance(item, CaseItem) and item.brief and report.when == "call":
            report.llmasos_brief = item.brief  # type: ignore[attr-defined]
            report.llmasos_alone = item.alone  # type: ignore[attr-defined]
        return report


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
        judged = self.run.judging.judge(self.run.bench(), self.case, known=known)
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
            again = self.run.commands.again([self.nodeid])
            self.brief = summary.brief(judged.shown, again, raised_at=judged.place)
            self.alone = self.told_of(judged, again, known=False)
        if outcome.state != "pass" or note:
            raise NotRight(judged, note)

    def known_to_fail(self) -> bool:
        """Whether the vendor's repository marks the case `xfail`, and the mark counts in this run.

        A mark whose conditions are all plainly false says nothing; a condition in words is pytest's to read, and is
        taken for true here, where a wrong guess costs a smaller example and nothing else.
        """
        if self.run.options.runxfail:
            return False
        conditions = [[*mark.args, *(mark.kwargs[key] for key in ("condition",) if key in mark.kwargs)]
                      for mark in self.iter_markers("xfail")]  # fmt: skip
        return any(not each or any(each) for each in conditions)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, NotRight):
            again = self.run.commands.again([self.nodeid])
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
        return places.written_at(path, (line or 0) + 1, self.config.invocation_params.dir)

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


def case_of(report: pytest.TestReport) -> str:
    record = record_of(report)
    return record["case"] if record else ""


def record_of(report: pytest.TestReport | pytest.CollectReport) -> summary.Record | None:
    """Our record on a report of a call; None for setup, teardown, collection and everybody else's tests."""
    if getattr(report, "when", None) != "call":
        return None
    for name, value in getattr(report, "user_properties", ()):
        if name == RECORD:
            return summary.parse(value)
    return None
