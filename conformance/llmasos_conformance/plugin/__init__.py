"""The pytest seam: `pytest --adapter=mine` in a vendor's own repository runs the installed suites.

    __init__   what of a command line is ours         session    cases collected, run and kept as records
    request    whom it asks, about which suites       judging    what comes of a case, made small enough to be read
    options    how it asks                            telling    what is printed behind everything else
    commands   command lines to be pasted             summary    the words for people; knows no pytest

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
import os
import re
import shlex
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

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
    near,
    stem,
    suite_files,
)

PASTED = re.compile(r"(?:\.\./)*llmasos:(?P<rest>.*)", re.DOTALL)
"""An id as pytest prints it; run from a folder below the root, it prints `../` before it."""

REQUEST = pytest.StashKey[Request]()
NAMED = pytest.StashKey[bool]()
"""Whether the profile is from a table of llmasos.toml."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llmasos", "LLMasOS conformance (self-test of an implementation)")
    group.addoption(
        LONG,
        dest=KEY,
        metavar="ADDRESS",
        default=None,
        help="run the installed suites against this adapter: name, package.module:attribute, ./file.py:attribute, "
        "'cmd:./program --flag', http://host:port or @profile; short form where no other plugin has it: '--adapter'",
    )
    group.addoption(
        "--llmasos-profile",
        metavar="NAME",
        default=None,
        help=f"frozen list of cases to run, default that of @profile in llmasos.toml, else {PROFILE}; 'all' for every "
        "case of the suites",
    )
    group.addoption(
        "--llmasos-bundle",
        metavar="DIRECTORY",
        default=None,
        help="a model of your own, for the cases about one (profiles bundle/…); default a stand-in of the suite's",
    )
    group.addoption(
        "--llmasos-known-failures",
        dest=KNOWN,
        metavar="FILE",
        default=None,
        help="failures that you know of, with reason, symptom and the day on which each is over; it changes the exit "
        "code and nothing else, see docs/gates.md",
    )
    group.addoption("--llmasos-seed", metavar="TEXT", default="0", help="inputs follow from it, default 0")
    group.addoption(
        "--llmasos-explore",
        metavar="N",
        type=int,
        default=0,
        help="draw N further examples for every drawn case that passed (Hypothesis), default 0",
    )
    group.addoption(
        "--llmasos-smaller",
        metavar="SECONDS",
        type=float,
        default=SMALLER_S,
        help=f"how long a run looks for smaller inputs that fail alike, default {SMALLER_S:g}; 0 shows what was drawn",
    )
    group.addoption(
        "--llmasos-timeout",
        metavar="SECONDS",
        type=float,
        default=TIMEOUT_S,
        help=f"how long the adapter may take for one answer, default {TIMEOUT_S:g}; a limit for processes, in process "
        "a late answer counts as none",
    )
    group.addoption("--llmasos-out-of-process", action="store_true", help="host the adapter in a process of its own")
    group.addoption("--llmasos-suites", metavar="DIRECTORY", default=None, help=argparse.SUPPRESS)  # for suite authors
    parser.addini(KNOWN, "file of known failures; see --llmasos-known-failures", default="")
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
    from llmasos_conformance.plugin.session import Run
    from llmasos_conformance.plugin.telling import Telling

    try:
        if config.getoption("--llmasos-profile") is None:
            config.option.llmasos_profile = _profile(config, request)
        run = Run(config, request)
    except HarnessError as error:
        raise pytest.UsageError(error.render()) from None
    config.pluginmanager.register(run, "llmasos-run")
    config.pluginmanager.register(Telling(run), "llmasos-telling")


def _profile(config: pytest.Config, request: Request) -> str:
    """What is asked where no command line says it; settled before anybody is connected, as collecting rests on it."""
    from llmasos_conformance import installed

    named = installed.configured_profile(request.address, request.directory, request.root)
    config.stash[NAMED] = bool(named)
    return named or PROFILE


def pytest_report_header(config: pytest.Config) -> list[str]:
    if not config.stash.get(NAMED, False):
        return []
    return [f"llmasos: the profile is that of {config.stash[REQUEST].address} in this directory's settings"]


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
    files = {path.stem: path for path in suite_files(root)}
    if name in files and not case:
        return str(files[name])
    loaded = load(root)
    if gone := loaded.withdrawn.get(case or name):
        assert gone.withdrawn
        raise pytest.UsageError(f"{arg}: withdrawn in {gone.withdrawn.since}: {gone.withdrawn.why['en']}")
    cases = {each.id: stem(each) for each in loaded.cases.values()}
    if name in cases and not case:  # the bare id of a case, without its suite
        return f"{files[cases[name]]}::{name}"
    if cases.get(case) == name:
        return f"{files[name]}::{case}"
    wanted, known = (case, list(cases)) if case else (name, [*files, *cases])
    alike = [f"{PREFIX}{cases[each]}::{each}" if each in cases else PREFIX + each for each in near(wanted, known)]
    kind = "case" if case else "suite"
    hint = f"; did you mean {' or '.join(alike)}?" if alike else f"; the suites are {', '.join(sorted(files))}"
    raise pytest.UsageError(f"{arg}: there is no such {kind} in {root}{hint}")


class Reminder:
    """An adapter is configured, and nobody asked for the suites: say so, so that green is not misread."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def pytest_report_header(self) -> str:
        return (
            f"llmasos: adapter {self.request.address} (from {self.request.source}) is not tested in this run; "
            f"add {PREFIX} to the paths"
        )
