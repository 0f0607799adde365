"""The pytest seam: `pytest --adapter=mine` in a vendor's own repository runs the installed suites.

Without an adapter this module adds options to `pytest --help` and nothing else: it imports only pytest and the
standard library, and no hook of it does anything. With one, in this order:

    pytest_addoption                the namespaced options, an ini key
    pytest_load_initial_conftests   after the vendor's conftests: is `--adapter` ours? Then paths that begin with
                                    `llmasos:` become real ones, and a call without any path gets the suites
    pytest_configure                suite loaded, profile and address checked (exit 4 with one paragraph)
    pytest_collect_directory        our directories; the way down to them is walked step by step, never listed
    pytest_runtestloop              the candidate is connected
    CaseItem.runtest                engine.run_case -> outcome -> passed, failed, or skipped under its own name
    pytest_terminal_summary         one table, the failing requirements, the verdict, the next step

The short option stays the vendor's wherever one of his plugins or conftests has it: ours is registered last, and only
if the command line holds it and nobody else took it. An address from the environment or from the ini file alone takes
nothing over: `pytest` keeps running the vendor's tests, `pytest llmasos:` runs ours.

What pytest says certifies nothing; `llmasos certify` does not run it.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import json
import os
import re
import shlex
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Connection
    from llmasos_conformance.engine import Bench
    from llmasos_conformance.suite import Case, Requirement, Suite
    from llmasos_conformance.verdict import Outcome

PREFIX = "llmasos:"
SHORT, LONG, VARIABLE, KEY = "--adapter", "--llmasos-adapter", "LLMASOS_ADAPTER", "llmasos_adapter"
PROFILE = "core/gpt/logits"
"""What a bare run asks; `all` asks every case of the installed suites."""

RECORD = "llmasos"
"""Name of the property under which an item hands its outcome over."""

HEADLINE = "LLMasOS self-test: not a certificate"

PASTED = re.compile(r"(?:\.\./)*llmasos:(?P<rest>.*)", re.DOTALL)
"""An id as pytest prints it; run from a folder below the root, it prints `../` before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command line asked of us.

    Attributes:
        address, source: the adapter and where it was named. directory: where a relative address starts.
        root: the directory of the suites.
        wanted: whether any of our paths is in the arguments, given or added.
        named: ids of cases that were pasted; they run even if the profile does not list them.
        theirs: the vendor's own paths.
    """

    address: str
    source: str
    directory: Path
    root: Path
    wanted: bool
    named: frozenset[str]
    theirs: tuple[Path, ...]


REQUEST = pytest.StashKey[Request]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llmasos", "LLMasOS conformance (self-test of an implementation)")
    group.addoption(
        LONG,
        dest=KEY,
        metavar="ADDRESS",
        default=None,
        help="run the installed suites against this adapter: name, package.module:attribute, ./file.py:attribute, "
        "'cmd:./program --flag' or @profile. The short form --adapter works where no other plugin has it.",
    )
    group.addoption(
        "--llmasos-profile",
        metavar="NAME",
        default=PROFILE,
        help=f"frozen list of cases to run, default {PROFILE}; 'all' for every case of the suites",
    )
    group.addoption("--llmasos-seed", metavar="TEXT", default="0", help="inputs follow from it, default 0")
    group.addoption(
        "--llmasos-explore",
        metavar="N",
        type=int,
        default=0,
        help="draw N further examples for every drawn case that passed (Hypothesis), default 0",
    )
    group.addoption("--llmasos-out-of-process", action="store_true", help="host the adapter in a process of its own")
    group.addoption("--llmasos-suites", metavar="DIRECTORY", default=None, help=argparse.SUPPRESS)  # for suite authors
    parser.addini(KEY, "address of the adapter for `pytest llmasos:`; see --llmasos-adapter", default="")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """Settle what is ours once every plugin and conftest has registered its options."""
    result = yield
    if not (
        _given(args, SHORT)
        or _given(args, LONG)
        or os.environ.get(VARIABLE)
        or early_config.getini(KEY)
        or any(map(PASTED.fullmatch, args))
    ):
        return result
    if _given(args, SHORT) and _is_free(parser, SHORT):
        parser.getgroup("llmasos").addoption(SHORT, dest=KEY, metavar="ADDRESS", default=None, help=f"short for {LONG}")
    names = parser.parse_known_args(args)
    address, source, directory = _address(names, early_config, args)
    paths = [path for path in names.file_or_dir if PASTED.fullmatch(path)]
    if (not address and not paths) or names.help or names.version:
        return result
    if not address:
        raise pytest.UsageError(f"{paths[0]} names an LLMasOS suite; say which adapter: {LONG}=ADDRESS")
    root = _suites(names)
    real = {path: _path(path, root) for path in paths}
    if getattr(names, KEY) and not names.file_or_dir:
        args.append(str(root))
        wanted = True
    else:
        args[:] = [real.get(arg, arg) for arg in args]
        wanted = bool(paths)
    early_config.stash[REQUEST] = Request(
        address=address,
        source=source,
        directory=directory,
        root=root,
        wanted=wanted,
        named=frozenset(path.partition("::")[2] for path in real.values() if "::" in path),
        theirs=tuple(
            (early_config.invocation_params.dir / path.partition("::")[0]).resolve()
            for path in names.file_or_dir
            if path not in paths
        ),
    )
    return result


def pytest_configure(config: pytest.Config) -> None:
    request = config.stash.get(REQUEST, None)
    if request is None:
        return
    if not request.wanted:
        config.pluginmanager.register(Reminder(request), "llmasos-reminder")
        return
    from llmasos_conformance.errors import HarnessError

    try:
        run = Run(config, request)
    except HarnessError as error:
        raise pytest.UsageError(error.render()) from None
    config.pluginmanager.register(run, "llmasos-run")


def _given(args: Sequence[str], option: str) -> str | None:
    """The argument that holds the option, or None."""
    return next((arg for arg in args if arg == option or arg.startswith(f"{option}=")), None)


def _is_free(parser: pytest.Parser, option: str) -> bool:
    """Whether no plugin and no conftest has registered the option."""
    probe = f"{option}=probe"
    try:
        _, unknown = parser.parse_known_and_unknown_args([probe])
    except pytest.UsageError:
        return False  # somebody's option that takes no value, or no such value
    return probe in unknown


def _address(names: argparse.Namespace, config: pytest.Config, args: Sequence[str]) -> tuple[str, str, Path]:
    """Address, where it came from, and the directory it is relative to: an option, else the environment, else ini."""
    here = config.invocation_params.dir
    if address := getattr(names, KEY):
        option = LONG if _given(args, LONG) else SHORT
        if _given([str(arg) for arg in config.invocation_params.args], option):
            return str(address), option, here
        if _given(shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), option):
            return str(address), f"{option} in PYTEST_ADDOPTS", here
        return str(address), f"{option} in {_ini(config)}", config.rootpath
    if address := os.environ.get(VARIABLE):
        return address, VARIABLE, here
    return str(config.getini(KEY)), f"{KEY} in {_ini(config)}", config.rootpath


def _ini(config: pytest.Config) -> str:
    return config.inipath.name if config.inipath else "the ini file"


def _suites(names: argparse.Namespace) -> Path:
    from llmasos_conformance import suite
    from llmasos_conformance.errors import HarnessError

    try:
        return Path(names.llmasos_suites or suite.find()).resolve()
    except HarnessError as error:
        raise pytest.UsageError(error.render()) from None


def _path(arg: str, root: Path) -> str:
    """`llmasos:attention::case` as a path that pytest can collect.

    Raises:
        pytest.UsageError: no such suite or case, with near names. pytest makes it exit code 4.
    """
    matched = PASTED.fullmatch(arg)
    assert matched
    name, _, case = matched["rest"].partition("::")
    if not name:
        return str(root)
    files = {path.stem: path for path in _suite_files(root)}
    if name in files and not case:
        return str(files[name])
    cases = {each.id: _stem(each) for each in _load(root).cases.values()}
    if name in cases and not case:  # the bare id of a case, without its suite
        return f"{files[cases[name]]}::{name}"
    if cases.get(case) == name:
        return f"{files[name]}::{case}"
    wanted, known = (case, list(cases)) if case else (name, [*files, *cases])
    near = [f"{PREFIX}{cases[each]}::{each}" if each in cases else PREFIX + each for each in _near(wanted, known)]
    kind = "case" if case else "suite"
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; the suites are {', '.join(sorted(files))}"
    raise pytest.UsageError(f"{arg}: there is no such {kind} in {root}{hint}")


def _near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)


def _suite_files(root: Path) -> list[Path]:
    return sorted(root.glob("*.yaml"))


def _stem(case: Case) -> str:
    """Name of the suite file that holds the case."""
    return _stem_of(case.where.rpartition(":")[0])


@functools.cache
def _stem_of(file: str) -> str:
    return Path(file).stem


@functools.cache
def _slug(chapter: str) -> str:
    return re.sub(r"\W+", "_", chapter)


def _marker(requirement: Requirement) -> str:
    """Name of the marker that selects the requirement's chapter."""
    return _slug(requirement.chapter)


@functools.cache
def _load(root: Path) -> Suite:
    from llmasos_conformance import suite
    from llmasos_conformance.errors import HarnessError

    try:
        return suite.load(root)
    except HarnessError as error:
        raise pytest.UsageError(error.render()) from None


class Reminder:
    """An adapter is configured, and nobody asked for the suites: say so, so that green is not misread."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def pytest_report_header(self) -> str:
        return (
            f"llmasos: adapter {self.request.address} (from {self.request.source}) is not tested in this run; "
            f"add {PREFIX} to the paths"
        )


class Run:
    """One pytest session with an adapter: what is planned, the connection, and what came of each case.

    Args:
        config: of the session. request: what the command line asked.

    Raises:
        HarnessError: the suite is malformed, or the address leads nowhere.
        pytest.UsageError: there is no such profile.
    """

    def __init__(self, config: pytest.Config, request: Request) -> None:
        from llmasos_conformance import adapters, engine, explore

        self.config, self.request, self._engine, self._explore = config, request, engine, explore
        self.suite = _load(request.root)
        self.seed: str = config.getoption("--llmasos-seed")
        self.explore: int = config.getoption("--llmasos-explore")
        self.profile: str = config.getoption("--llmasos-profile")
        self.planned, self.optional = self._plan()
        listed = {*self.planned, *request.named}
        self.collected: dict[str, list[Case]] = {}
        for case in self.suite.cases.values():
            if case.id in listed:
                self.collected.setdefault(_stem(case), []).append(case)
        self.reports: list[dict[str, Any]] = []
        self._bench: Bench | None = None
        self._failed: Exception | None = None
        self._open = contextlib.ExitStack()
        for mark in ("must", "should", "may", *sorted({*map(_marker, self.suite.requirements.values())})):
            config.addinivalue_line("markers", f"{mark}: cases of the LLMasOS suites")
        if not self._is_worker():
            adapters.check_address(request.address, request.directory)

    def _plan(self) -> tuple[tuple[str, ...], frozenset[str]]:
        """Ids that the profile lists, and those of them that a candidate may leave undeclared."""
        if self.profile == "all":
            return tuple(self.suite.cases), frozenset(self.suite.cases)
        profile = self.suite.profiles.get(self.profile)
        if profile is None:
            near = _near(self.profile, self.suite.profiles)
            known = ", ".join([*sorted(self.suite.profiles), "all"])
            hint = f"; did you mean {near[0]}?" if near else f"; the profiles are {known}"
            raise pytest.UsageError(f"--llmasos-profile={self.profile}: there is no such profile{hint}")
        cases = [self.suite.cases[name] for name in profile.cases]
        return profile.cases, frozenset(case.id for case in cases if not case.needs <= profile.requires)

    def _is_worker(self) -> bool:
        return hasattr(self.config, "workerinput")

    def _distributes(self) -> bool:
        return not self._is_worker() and getattr(self.config.option, "dist", "no") != "no"

    def _requirement(self, case: str) -> Requirement:
        return self.suite.requirements[self.suite.cases[case].requirement]

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
        how = "in a process of its own" if self.config.getoption("--llmasos-out-of-process") else "in process"
        return [
            f"llmasos: adapter {self.request.address} (from {self.request.source}), {how}",
            f"llmasos: suite {self.suite.version} {self.suite.digest[:12]}, profile {self.profile}, seed {self.seed}",
            "llmasos: self-test, not a certificate",
        ]

    # The candidate

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Connect before the first case, so that an adapter that cannot start is one paragraph and exit code 4.

        Under xdist the workers connect, each for itself and with its first case.
        """
        from llmasos_conformance.errors import HarnessError

        ours = any(isinstance(item, CaseItem) for item in session.items)
        if not ours or self.config.option.collectonly or self._is_worker() or self._distributes():
            return
        try:
            self.bench()
        except HarnessError as error:
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
        from llmasos_conformance import adapters, checks, reference
        from llmasos_conformance.candidate import Candidate, Live
        from llmasos_conformance.engine import Bench
        from llmasos_conformance.errors import HarnessError
        from llmasos_conformance.probes import Library

        root = Path(tempfile.mkdtemp(prefix="llmasos-"))
        self._open.callback(shutil.rmtree, root, ignore_errors=True)

        def connect(address: str, **options: Any) -> Connection:
            made: Connection = adapters.connect(address, directory=self.request.directory, **options)
            self._open.callback(made.close)
            return made

        apart = bool(self.config.getoption("--llmasos-out-of-process"))
        connection = connect(self.request.address, out_of_process=apart)
        description = connection.description
        candidate = Candidate(Live(connection), description, Library(root / "a", self.seed))
        truth = reference.connect(description.claims, Library(root / "b", self.seed), connect)
        restart: Callable[[], None] | None = getattr(connection, "restart", None)

        def bring_back() -> None:
            try:
                if restart is not None:
                    restart()
            except HarnessError as error:
                self._failed = error  # the cases to come cannot be judged; this one has been

        return Bench(self.suite, checks.registry(), candidate, truth, self.seed, bring_back)

    def judge(self, case: Case) -> tuple[Outcome, str, list[str]]:
        """What came of a case, what a developer may want to see of it, and the capabilities that it lacked."""
        bench = self.bench()
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # a vendor's `filterwarnings = error` is no rule of the standard
            trial = self._engine.run_case(bench, case)
            outcome = trial.outcome
            if outcome.state == "fail" and outcome.got != "died":  # each smaller example would cost a process
                outcome = self._explore.shrink(bench, case, trial)
            elif outcome.state == "pass" and self.explore > 0:
                outcome = self._explore.beyond(bench, case, trial, self.explore)
        return outcome, trial.detail, sorted(case.needs - bench.candidate.description.capabilities)

    def pytest_unconfigure(self) -> None:
        self._open.close()

    # What came of it

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """States that pytest has no word for keep their own names in every count."""
        state = (_outcome_of(report) or {}).get("state")
        if state in ("error", "inconclusive"):
            return "error", "E", state.upper()
        if state in ("not_declared", "not_applicable"):
            words = state.replace("_", " ")
            return words, "d" if state == "not_declared" else "a", words.upper()
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (outcome := _outcome_of(report)) is not None:
            self.reports.append(outcome)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.config.option.collectonly:
            return
        terminalreporter.section(HEADLINE)
        verdict, lines = self._summary()
        for line in lines:
            terminalreporter.write_line(line)
        colour = {"conformant": "green", "non_conformant": "red"}.get(verdict, "yellow")
        missing = len({*self.planned} - {report["case"] for report in self.reports})
        rest = f", {missing} of {len(self.planned)} cases did not run" if missing else ""
        terminalreporter.write_line(f"verdict: {verdict} ({self.profile}{rest})", bold=True, **{colour: True})
        terminalreporter.write_line(f"next: {self._next(verdict)}")

    def _summary(self) -> tuple[str, list[str]]:
        """The verdict, and the table by chapter with what failed below it."""
        from llmasos_conformance import verdict
        from llmasos_conformance.verdict import Outcome, State

        outcomes = [
            Outcome(
                case=report["case"],
                requirement=report["requirement"],
                level=report["level"],
                state=State(report["state"]),
            )
            for report in self.reports
        ]
        worst: dict[str, Outcome] = {}
        for outcome in sorted(outcomes, key=lambda outcome: WORST.index(outcome.state), reverse=True):
            worst[outcome.case] = (
                outcome  # a case that a rerun plugin repeats shows its worst; the verdict sees them all
            )
        extra = sorted(worst.keys() - {*self.planned})
        decided = verdict.decide([*self.planned, *extra], outcomes, self.optional | frozenset(extra))
        table: dict[str, Counter[str]] = {}
        for name in (*self.planned, *extra):
            state = worst[name].state.value if name in worst else "not_run"
            table.setdefault(self._requirement(name).chapter, Counter())[state] += 1
        lines = _table(table)
        failing = [name for name in (*self.planned, *extra) if name in worst and worst[name].state is State.FAIL]
        for requirement in sorted({worst[name].requirement for name in failing}):
            cases = ", ".join(name for name in failing if worst[name].requirement == requirement)
            lines.append(f"failing: {requirement} ({self.suite.requirements[requirement].level}) in {cases}")
        if len(outcomes) > len(worst):
            lines.append("some cases ran more than once; a verdict needs one answer to each")
        if names := sorted({name for report in self.reports for name in report["missing"]}):
            lines.append(f"not declared, so nothing was asked: {', '.join(names)}")
        asked = [report for report in self.reports if report["state"] != "not_declared"]
        if emulated := sorted({name for report in asked for name in report["emulated"]}):
            lines.append(f"emulated by the adapter, not the runtime: {', '.join(emulated)}")
        return decided.value, lines

    def _next(self, verdict: str) -> str:
        """One thing to do now."""
        states = {report["case"]: report["state"] for report in self.reports}
        if failing := [case for case, state in states.items() if state == "fail"]:
            return f"llmasos explain {failing[0]}, or repeat the failures: pytest --lf {self.command([])}".rstrip()
        if {"error", "inconclusive"} & set(states.values()):
            return "mend what could not be judged; until then nobody can say"
        if not {*self.planned} <= set(states):
            return f"judge the rest: {self.reproduce([])}"
        if verdict == "conformant":
            profile = PROFILE if self.profile == "all" else self.profile
            return f"llmasos certify --adapter {shlex.quote(self.request.address)} --profile {profile} --out report"
        return "declare what the profile requires, or choose one that requires less (--llmasos-profile)"

    def command(self, ids: Sequence[str]) -> str:
        """Options and ids that ask the same again."""
        source, parts = self.request.source, list[str]()
        if source in (LONG, SHORT, VARIABLE):  # what stands in a file or in PYTEST_ADDOPTS is there the next time
            parts.append(f"{SHORT if source == SHORT else LONG}={self.request.address}")
        elif not ids and KEY in source:
            parts.append(PREFIX)
        if self.seed != "0":
            parts.append(f"--llmasos-seed={self.seed}")
        if self.profile != PROFILE and not ids:
            parts.append(f"--llmasos-profile={self.profile}")
        if self.config.getoption("--llmasos-out-of-process"):
            parts.append("--llmasos-out-of-process")
        if ids and self.explore:
            parts.append(f"--llmasos-explore={self.explore}")
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
        for path in _suite_files(self.path):
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
        self.case, self.run = case, run
        self.requirement = run.suite.requirements[case.requirement]
        self.add_marker(self.requirement.level.lower())
        self.add_marker(_marker(self.requirement))
        self.extra_keyword_matches.update((case.requirement, case.check))

    def runtest(self) -> None:
        outcome, detail, missing = self.run.judge(self.case)
        self.user_properties[:] = [pair for pair in self.user_properties if pair[0] != RECORD]  # of an earlier try
        self.user_properties.append((RECORD, _plain(outcome, missing)))
        if detail:
            self.add_report_section("call", "llmasos", detail)
        if outcome.state in ("not_declared", "not_applicable"):
            pytest.skip(outcome.message or outcome.state.value.replace("_", " "))
        if outcome.state != "pass":
            raise NotRight(outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from llmasos_conformance.errors import HarnessError

        if isinstance(excinfo.value, NotRight):
            return self.describe(excinfo.value.outcome)
        if isinstance(excinfo.value, HarnessError):
            return f"could not be judged: {excinfo.value.render()}"
        return super().repr_failure(excinfo, style)

    def describe(self, outcome: Outcome) -> str:
        """What a person needs to act on, most important first and the place last."""
        requirement, sentence = self.requirement, self.requirement.sentence.get("en", "")
        head = {"fail": "fail", "error": "could not be judged"}.get(outcome.state, "inconclusive, could not be judged")
        message, *more = (outcome.message or "no reason was given").splitlines()
        figures = ", ".join(f"{name} {value:.4g}" for name, value in outcome.figures.items())
        rows = [
            ("", "\n".join(more)),
            (f"{requirement.id} {requirement.level}", sentence),
            ("effect", self.case.effect.get("en", "")),
            ("expected", outcome.expected),
            ("got", outcome.got),
            ("figures", figures),
            ("example", "" if outcome.example is None else f"{outcome.example} of {self.case.examples}"),
            ("minimal", outcome.minimal),
            ("reproduce", self.run.reproduce([f"{self.nodeid}"])),
        ]
        width = max(len(name) for name, _ in rows) + 2
        lines = [f"{head}: {message} ({requirement.id})"]
        for name, text in rows:
            for number, line in enumerate(text.splitlines()):
                lines.append(f"  {name if number == 0 else '':<{width}}{line}".rstrip())
        return "\n".join([*lines, self.where()])

    def where(self) -> str:
        path, _, line = self.case.where.rpartition(":")
        return f"{self.path if not Path(path).is_absolute() else path}:{line}"

    def reportinfo(self) -> tuple[Path, int | None, str]:
        # pytest turns the dots of a name that ends the node id into `::`; the requirement behind it prevents that.
        line = self.case.where.rpartition(":")[2]
        return self.path, int(line) - 1 if line.isdigit() else None, f"{self.case.id} ({self.case.requirement})"


class NotRight(Exception):
    """A case that failed or could not be judged, on its way to pytest."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


def _run_of(node: pytest.Collector | pytest.Item) -> Run:
    run = node.config.pluginmanager.get_plugin("llmasos-run")
    assert isinstance(run, Run)
    return run


def _plain(outcome: Outcome, missing: Sequence[str]) -> str:
    """An outcome as JSON text: what crosses from an xdist worker must be made of builtin types alone."""
    return json.dumps(
        {
            "case": outcome.case,
            "requirement": outcome.requirement,
            "level": outcome.level,
            "state": outcome.state.value,
            "message": outcome.message,
            "figures": {name: float(value) for name, value in outcome.figures.items()},
            "emulated": list(outcome.emulated),
            "missing": list(missing),
        }
    )


def _outcome_of(report: pytest.TestReport | pytest.CollectReport) -> dict[str, Any] | None:
    """Our record on a report of a call; None for setup, teardown, collection and everybody else's tests."""
    if getattr(report, "when", None) != "call":
        return None
    for name, value in getattr(report, "user_properties", ()):
        if name == RECORD:
            return _record(value)
    return None


@functools.lru_cache(maxsize=16)
def _record(text: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text)
    return record


WORST = ("fail", "error", "inconclusive", "not_run", "not_declared", "not_applicable", "waived", "pass")
COLUMNS = ("pass", "fail", "error", "inconclusive", "not_declared", "not_applicable", "not_run")


def _table(rows: Mapping[str, Counter[str]]) -> list[str]:
    """Chapters down, states across; a state that nobody is in has no column."""
    columns = [name for name in COLUMNS if name == "pass" or any(row[name] for row in rows.values())]
    width = max([len("chapter"), *map(len, rows)]) + 2
    lines = [f"{'chapter':<{width}}" + "".join(f"{name.replace('_', ' '):>{len(name) + 2}}" for name in columns)]
    for chapter, row in rows.items():
        counts = "".join(f"{row[name]:>{len(name) + 2}}" for name in columns)
        lines.append(f"{chapter:<{width}}{counts}")
    return lines
