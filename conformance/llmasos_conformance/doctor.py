"""What `llmasos doctor` looks at: this installation, this directory, and, when asked, one adapter."""

from __future__ import annotations

import configparser
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos_conformance import __version__, installed
from llmasos_conformance.canonical import clean
from llmasos_conformance.errors import AddressError, HarnessError
from llmasos_conformance.protocol import CAPABILITIES
from llmasos_conformance.verdict import BEHAVIOURS, unanswered

if TYPE_CHECKING:
    from llmasos_conformance.candidate import Connection
    from llmasos_conformance.engine import Trial
    from llmasos_conformance.overheard import Turn
    from llmasos_conformance.protocol import Description

LONG, SHORT = "--llmasos-adapter", "--adapter"
"""Our option of pytest, and the short form that is ours only where nobody else has it."""


TRIED = ((3, 11), (3, 13))
"""The first and the last Python that the tests run with."""
SLOW_S = 30.0
"""A handshake that takes longer is told: after 120 s a run gives up."""
KNOWN_FAILURES = ("ci/known-failures.yaml", "known-failures.yaml")
"""Where a file of known failures commonly lies."""
BEGIN = "to begin with"
"""The row whose text is the profile to ask first: that of llmasos.toml, else one that fits what is declared."""
OF_ADAPTER = ("adapter", "standard output", "answers", "dtype")
"""Rows that speak of the adapter and not of this installation."""


@dataclass(frozen=True, slots=True)
class Row:
    """One finding. `state` is ok, warn or bad; `hint` says what to do unless it is ok."""

    name: str
    state: str
    text: str
    hint: str = ""


def examine(adapter: str | None = None) -> list[Row]:
    """Look at everything; nothing raises, because a broken installation is what this is for."""
    looks: list[tuple[str, Callable[[], Iterator[Row]]]] = [
        ("versions", _versions), ("suites", _suites), ("reference", _reference), ("threads", _threads),
        ("pytest", _pytest), ("llmasos.toml", _profiles), ("known failures", _known_failures), ("writing", _writing),
        ("openssl", _openssl),
    ]  # fmt: skip
    if adapter is not None:
        looks.append(("adapter", lambda: _adapter(adapter)))
    rows: list[Row] = []
    for name, look in looks:
        try:
            rows += look()
        except HarnessError as error:
            rows.append(Row(name, "bad", f"{error.where}: {error.what}" if error.where else error.what, error.hint))
        except (OSError, ImportError, ValueError) as error:
            rows.append(Row(name, "bad", f"{type(error).__name__}: {error}", "pip install --force-reinstall llmasos"))
    return rows


def _versions() -> Iterator[Row]:
    yield Row("llmasos", "ok", f"{__version__} in {installed.HARNESS_ROOT}, digest {installed.harness_digest()[:16]}")
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    tried = TRIED[0] <= sys.version_info[:2] <= TRIED[1]
    between = " to ".join(f"{major}.{minor}" for major, minor in TRIED)
    yield Row("python", "ok" if tried else "warn", f"{platform.python_version()}, {machine}",
              "" if tried else f"this was tried with Python {between}")  # fmt: skip
    found = installed.harness_record()["dependencies"]
    absent = [name for name, version in found.items() if version == "absent"]
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    yield Row("libraries", "bad" if absent else "ok", text, f"pip install {' '.join(absent)}" if absent else "")


def _suites() -> Iterator[Row]:
    from llmasos_conformance import suite

    directory = installed.suites()
    loaded = suite.load(directory)
    names = installed.profile_names(directory)
    text = f"{len(loaded.cases)} cases, {len(loaded.requirements)} requirements, {len(names)} profiles in {directory}"
    yield Row("suites", "ok" if names else "bad", text, "" if names else "install llmasos again: no profile was found")


def _reference() -> Iterator[Row]:
    yield Row("reference", "ok", f"{installed.reference_root()}, digest {installed.reference_digest()[:16]}")


def _threads() -> Iterator[Row]:
    yield thread_row(os.environ, os.cpu_count() or 1)


def thread_row(environment: Mapping[str, str], processors: int) -> Row:
    """What the variables say that libraries of numbers take their threads from."""
    held = {name: environment[name] for name in installed.THREAD_VARIABLES if name in environment}
    said = ", ".join(f"{name}={clean(value, 40)}" for name, value in held.items()) or "not limited"
    text = f"{said} (certify sets 1 in both processes)"
    counts = {value for value in held.values() if value.isascii() and value.isdecimal() and int(value) > 0}
    if odd := [name for name, value in held.items() if value not in counts]:
        return Row("threads", "warn", text, f"{odd[0]}=1; what is no number is read by each library in its own way")
    if len(counts) > 1:
        return Row("threads", "warn", text, "set all of them to 1: libraries take different ones")
    if any(int(value) > processors for value in counts):
        return Row("threads", "warn", text, f"no more than {processors}, or 1: there are {processors} processors")
    return Row("threads", "ok", text)


def _pytest() -> Iterator[Row]:
    """Who owns --adapter in this directory: ours is registered only when nobody else has it."""
    if (start := installed.pytest_command()) != "pytest":
        other = shutil.which("pytest")
        where = f"{other} is of another environment" if other else "there is none on PATH"
        yield Row("pytest on PATH", "warn", f"`pytest` is not that of this Python: {where}", f"{start} …")
    command = [sys.executable, "-m", "pytest", "--help", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    groups = _option_groups(done.stdout)
    if done.returncode:
        yield Row("pytest", "warn", f"`pytest --help` fails here: {clean(done.stderr.strip()[-200:])}", "pytest --help")
    elif LONG not in groups:
        yield Row("pytest", "warn", "the plugin is not active here", _activation(os.environ))
    elif groups.get(SHORT, groups[LONG]) != groups[LONG]:
        yield Row(
            "pytest", "warn", "--adapter belongs to another plugin or conftest here", "pytest --llmasos-adapter=…"
        )
    else:
        yield Row("pytest", "ok", "--adapter is free, the plugin is active")
    if not done.returncode and LONG in groups:
        yield from _run_of_pytest()


def _activation(environment: Mapping[str, str]) -> str:
    """What to do where our plugin is not active."""
    if environment.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        return "unset PYTEST_DISABLE_PLUGIN_AUTOLOAD, or pytest -p llmasos_conformance.plugin"
    return "pip install llmasos in this environment, and take -p no:llmasos out of addopts and PYTEST_ADDOPTS"


CASE = "llmasos:api::api.temperature.zero"
"""A case that the reference passes in a moment."""

DISTURBING: Mapping[str, tuple[str, str]] = {
    "randomly": ("sets the seeds of random and NumPy before each case, so that what has no seed repeats itself",
                 "pytest -p no:randomly"),
    "random-order": ("asks the cases in another order where it is told to", "pytest -p no:random_order"),
    "rerunfailures": ("asks a failing case again where it is told to, and a verdict needs one answer to each",
                      "pytest --reruns=0"),
    "flakefinder": ("asks a case several times where it is told to", "pytest -p no:flakefinder"),
    "repeat": ("asks a case several times where it is told to", "pytest --count=1"),
    "timeout": ("ends a case after a time of its own where it is told to", "pytest --timeout=0"),
    "testmon": ("leaves out what it takes for unchanged where it is told to", "pytest -p no:testmon"),
}  # fmt: skip
"""Plugins that change what a case is asked or how often, under the names that pytest's header gives them; what each
does, and how to be without it."""


def _run_of_pytest() -> Iterator[Row]:
    """One case of the reference, with whatever plugins, conftests and options this directory brings along."""
    command = [sys.executable, "-m", "pytest", f"{LONG}=reference", CASE, "-p", "no:cacheprovider", "--verbosity=0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    yield from plugin_rows(done.stdout)
    if done.returncode == 0 and re.search(r"^=+ 1 passed\b", done.stdout, re.MULTILINE):
        yield Row("pytest run", "ok", "a case of the reference passes under the plugins and options of this directory")
        return
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    told = clean(" / ".join(said[-3:]), 300)
    yield Row("pytest run", "warn", f"a case that the reference passes does not pass here: {told}",
              f"pytest {LONG}=reference {CASE}, and look at addopts, PYTEST_ADDOPTS and conftest.py")  # fmt: skip


def plugin_rows(header: str) -> Iterator[Row]:
    """The plugins that pytest's header names, and what is to be known of some."""
    listed = re.search(r"^plugins: (.*)$", header, re.MULTILINE)
    names = [name.strip().rpartition("-")[0] for name in listed[1].split(",")] if listed else []
    yield Row("pytest plugins", "ok", ", ".join(clean(name, 60) for name in names) or "none is named")
    for name in names:
        if name in DISTURBING:
            what, remedy = DISTURBING[name]
            yield Row("pytest plugins", "warn", f"{name} {what}", remedy)


def _option_groups(text: str) -> dict[str, str]:
    """The options that `pytest --help` lists, each with the headline of its group.

    Headlines are not indented, options by exactly two spaces, and their texts, which may name other options, by more.
    """
    groups: dict[str, str] = {}
    headline = ""
    for line in text.splitlines():
        if re.match(r"\S", line):
            headline = line
        elif re.match(r"  -", line):
            groups |= dict.fromkeys(re.findall(r"(?:^  |, )(--?[\w-]+)", line), headline)
    return groups


def _profiles() -> Iterator[Row]:
    """The profiles of this directory, and whether each leads somewhere."""
    from llmasos_conformance import adapters

    found = adapters.profiles_in()
    if not found:
        there = Path("llmasos.toml").is_file()
        hint = '[profiles.default] with adapter = "…"' if there else ""
        yield Row("llmasos.toml", "warn" if there else "ok", "names no profile" if there else "none here", hint)
    for name in found:
        shown = f"@{clean(name, 60)}"
        try:
            adapters.check_address(f"@{name}")
            profile = installed.configured_profile(f"@{name}")
            asked = f", asked {profile}" if profile else ""
            yield Row("llmasos.toml", "ok", f"{shown} is {clean(str(found[name]['adapter']))}{asked}")
            if profile and len(found) == 1:
                yield from _otherwise(profile)
        except AddressError as error:
            where = f"{clean(error.where)} " if "`profile`" in error.where else ""
            yield Row("llmasos.toml", "bad", f"{shown}: {where}{clean(error.what)}", error.hint)


def _otherwise(profile: str) -> Iterator[Row]:
    """Files of `llmasos init` that name profiles, and not the one that llmasos.toml names."""
    from llmasos_conformance import scaffold

    known = {*installed.profile_names(installed.suites())}
    for path in map(Path, (scaffold.WORKFLOW, *(f"ci/{name}" for name in scaffold.POLICIES))):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        named = known & {*re.findall(r"[\w-]+(?:/[\w-]+)*", text)}
        if named and profile not in named:
            yield Row("llmasos.toml", "warn", f"{path} names {', '.join(sorted(named))}, not {profile}",
                      f"have {path} name {profile}, or llmasos.toml what is to be certified")  # fmt: skip


def _known_failures() -> Iterator[Row]:
    """The files of known failures that there are here, and those that the settings of pytest name."""
    from llmasos_conformance import knownfailures, suite

    here = Path.cwd()
    named = [path for path in map(Path, _in_settings(here, "llmasos_known_failures")) if str(path) != "."]
    common = [path for path in map(Path, KNOWN_FAILURES) if path.is_file()]
    if not named and not common:
        yield Row("known failures", "ok", "no file here")
        return
    loaded, today = suite.load(installed.suites()), datetime.now(UTC).date()
    for path in dict.fromkeys([*named, *common]):
        try:
            entries = knownfailures.read(path, loaded.cases, loaded.withdrawn)
        except HarnessError as error:
            place = f"{error.where}: " if error.where else ""
            yield Row("known failures", "bad", f"{place}{error.what}", error.hint or "mend the file; see docs/gates.md")
            continue
        yield _expiring(path, {name: entry.expires for name, entry in entries.items()}, today)


def _expiring(path: Path, days: Mapping[str, date], today: date) -> Row:
    over = [name for name, last in days.items() if last < today]
    text = f"{path}: {len(days)} entries"
    if not over:
        return Row("known failures", "ok", text)
    hint = "mend what fails, or give another day with a reason"
    return Row("known failures", "warn", f"{text}, {len(over)} are over: {', '.join(over[:3])}", hint)


def _in_settings(here: Path, key: str) -> Iterator[str]:
    """What the settings of pytest in a directory say, in whichever file they are."""
    try:
        project = tomllib.loads((here / "pyproject.toml").read_text(encoding="utf-8"))
        value = project.get("tool", {}).get("pytest", {}).get("ini_options", {}).get(key)
        if isinstance(value, str):
            yield value
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, AttributeError):
        pass  # whoever reads the profiles has told it
    for name, section in (("pytest.ini", "pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(here / name, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pytest tells it
        if value := parser.get(section, key, fallback=""):
            yield value


def _writing() -> Iterator[Row]:
    for name, place in (("this directory", Path.cwd()), ("temporary files", Path(tempfile.gettempdir()))):
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
            yield Row(name, "ok", f"{place} can be written")
        except OSError as error:
            yield Row(name, "bad", f"{place}: {error.strerror}", "choose another directory, or set TMPDIR")


def _openssl() -> Iterator[Row]:
    found = shutil.which("openssl")
    yield Row("openssl", "ok", found or "not on PATH; only needed to check signatures without this program")


def _adapter(address: str) -> Iterator[Row]:
    """Start it as certify would, but in this directory and environment; ask who it is, and a case."""
    from llmasos_conformance import adapters, seating
    from llmasos_conformance.overheard import Tap

    adapters.check_address(address)
    heard: list[Turn] = []
    started = time.monotonic()
    try:
        connection = seating.opened(address, watch=lambda channel: Tap(channel, heard))
    except HarnessError as error:
        if error.what and seating.remedy(error) != error.hint:
            yield Row("standard output", "bad", error.what, seating.remedy(error))
            return
        raise
    took = time.monotonic() - started
    try:
        said = connection.description
        who = f"{clean(said.name)} {clean(said.version)}"
        slow = took > SLOW_S
        yield Row("adapter", "warn" if slow else "ok", f"{who}, described itself after {took:.2f} s",
                  "let import and describe be quick, and load weights in load_model" if slow else "")  # fmt: skip
        yield Row("capabilities", "ok", ", ".join(sorted(said.capabilities)) or "none but generate_text")
        if said.architectures or "load_model" in said.capabilities:
            yield Row("architectures", "ok", ", ".join(map(clean, said.architectures)) or "none")
        yield Row("claims", "ok", f"{said.claims.dtype}, {said.claims.determinism}")
        yield from _emulated(said)
        yield _offered(said)
        yield Row(BEGIN, "ok", installed.configured_profile(address) or installed.profile_for(said.offers))
        yield from _asked(address, connection, heard)
    finally:
        connection.close()


def _emulated(said: Description) -> Iterator[Row]:
    """What the adapter does for its runtime: which of it marks cases, and what is told and marks none.

    The kit's sentences tell of whatever it can do; those of capabilities that are not declared are not asked.
    """
    told_of = said.emulated.keys()
    marking = sorted(told_of & (BEHAVIOURS | said.capabilities))
    other = sorted(map(clean, told_of - BEHAVIOURS - CAPABILITIES.keys()))
    told = [f"{', '.join(marking)}: by the adapter"] if marking else []
    told += [f"{', '.join(other)}: told, and marks no case"] if other else []
    if told:
        yield Row("emulated", "ok", "; ".join(told),
                  f"what marks cases is a capability, {', '.join(sorted(BEHAVIOURS))}" if other else "")  # fmt: skip


def _asked(address: str, connection: Connection, heard: list[Turn]) -> Iterator[Row]:
    """What a case shows: whether anything is said where the protocol speaks, and the precision of the numbers."""
    from llmasos_conformance import engine, seating, suite

    loaded = suite.load(installed.suites())
    case = seating.chosen(loaded, None, connection.description)
    with seating.bench(loaded, connection, "0") as bench:
        trial = engine.run_case(bench, case)
    again = f"llmasos try {address} {case.id}"
    fault = trial.outcome.fault
    if fault:
        name = "standard output" if fault == "protocol" else "adapter"
        yield Row(name, "bad", trial.outcome.message, seating.QUIET if fault == "protocol" else again)
        return
    if heard:  # a server with an API of its own speaks no protocol of ours
        yield Row("standard output", "ok", f"nothing but the protocol in {len(heard)} answers")
    if trial.outcome.state == "fail" and unanswered(trial.outcome.message):  # that it died says nothing of its numbers
        yield Row("answers", "bad", trial.outcome.message, again)
        return
    yield dtype_row(connection.description.claims.dtype, trial, again)


def dtype_row(claimed: str, trial: Trial, again: str) -> Row:
    """The precision that is claimed beside the one that the numbers of a case show.

    Args:
        again: command that shows the case.
    """
    from llmasos_conformance import numerics

    outcome = trial.outcome
    if "ratio" not in outcome.figures:
        if outcome.state == "fail":
            return Row("dtype", "bad", f"{claimed} claimed, nothing measured: {outcome.message}", again)
        return Row("dtype", "ok", f"{claimed} claimed; without logits it is not measured here")
    ratio = outcome.figures["ratio"]
    found = numerics.found(ratio, claimed)
    came = found or "none that there is"
    measured = f"{ratio:.3g} honest {claimed} errors at most, allowed {numerics.KAPPA_RMS[claimed]:g}"
    text = f"{claimed} claimed, arithmetic of {came} found: {measured}"
    if not found:
        return Row("dtype", "bad", text, f"the numbers are wrong, and not just coarse: {again}")
    if numerics.UNIT_ROUNDOFF[found] > numerics.UNIT_ROUNDOFF[claimed]:
        what = f"claim {found} if that is meant; else look for weights, caches or products in less, or a bug: {again}"
        return Row("dtype", "bad", text, what)
    if outcome.state == "fail":
        return Row("dtype", "bad", f"{text}; {outcome.message}", again)
    return Row("dtype", "ok", text)


def _offered(said: Description) -> Row:
    """The profiles that it may be certified in, and what the next one of its architectures also requires."""
    from llmasos_conformance.protocol import ARCHITECTURES

    lacks = {name: _missing(name, said.offers) for name in installed.profile_names(installed.suites())}
    ready = [name for name, missing in lacks.items() if not missing]
    near = {name: missing for name, missing in lacks.items() if missing and not {*missing} & {*ARCHITECTURES}}
    closest = min(near, key=lambda name: len(near[name]), default="")
    text = ", ".join(ready) or "none"
    return Row("profiles", "ok" if ready else "warn",
               f"{text}; {closest} also requires {', '.join(near[closest])}" if closest else text,
               "" if ready else "declare what a profile requires: llmasos list --profiles")  # fmt: skip


def _missing(profile: str, offered: frozenset[str]) -> list[str]:
    return sorted(set(installed.frozen_profile(installed.suites(), profile)["requires"]) - offered)
