"""What `llmasos doctor` looks at: this installation, this directory, and, when asked, one adapter."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llmasos_conformance import __version__, installed
from llmasos_conformance.canonical import clean
from llmasos_conformance.errors import HarnessError

LONG, SHORT = "--llmasos-adapter", "--adapter"
"""Our option of pytest, and the short form that is ours only where nobody else has it."""


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
        ("pytest", _pytest), ("writing", _writing), ("openssl", _openssl),
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
    yield Row("python", "ok", f"{platform.python_version()}, {machine}")
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
    held = {name: os.environ[name] for name in installed.THREAD_VARIABLES if name in os.environ}
    said = ", ".join(f"{name}={value}" for name, value in held.items()) or "not limited"
    yield Row("threads", "ok", f"{said} (certify sets 1 in both processes)")


def _pytest() -> Iterator[Row]:
    """Who owns --adapter in this directory: ours is registered only when nobody else has it."""
    command = [sys.executable, "-m", "pytest", "--help", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    groups = _option_groups(done.stdout)
    if done.returncode:
        yield Row("pytest", "warn", f"`pytest --help` fails here: {clean(done.stderr.strip()[-200:])}", "pytest --help")
    elif LONG not in groups:
        yield Row("pytest", "warn", "the plugin is not active here", "pip install llmasos in this environment")
    elif groups.get(SHORT, groups[LONG]) != groups[LONG]:
        yield Row(
            "pytest", "warn", "--adapter belongs to another plugin or conftest here", "pytest --llmasos-adapter=…"
        )
    else:
        yield Row("pytest", "ok", "--adapter is free, the plugin is active")


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
    """Start it as certify would, but in this directory and environment, and ask who it is."""
    from llmasos_conformance import adapters, isolation

    started = time.monotonic()
    connection = adapters.connect(address, out_of_process=True, path=isolation.roots())
    try:
        said, took = connection.description, time.monotonic() - started
        who = f"{clean(said.name)} {clean(said.version)}"
        yield Row("adapter", "ok", f"{who}, answered in {took:.2f} s, nothing stray on its standard output")
        yield Row("capabilities", "ok", ", ".join(sorted(said.capabilities)) or "none but generate_text")
        yield Row("architectures", "ok", ", ".join(map(clean, said.architectures)) or "none")
        yield Row("claims", "ok", f"{said.claims.dtype}, {said.claims.determinism}")
        if said.emulated:
            yield Row("emulated", "warn", f"{', '.join(map(clean, sorted(said.emulated)))}: by the adapter",
                      "reports mark what they touch; declare nothing that the runtime does itself")  # fmt: skip
        lacking = [name for name in installed.profile_names(installed.suites()) if _missing(name, said.offers)]
        if lacking:
            yield Row("profiles", "warn", f"capabilities are missing for {', '.join(lacking)}",
                      f"{lacking[0]} also requires {', '.join(_missing(lacking[0], said.offers))}")  # fmt: skip
    finally:
        connection.close()


def _missing(profile: str, offered: frozenset[str]) -> list[str]:
    return sorted(set(installed.frozen_profile(installed.suites(), profile)["requires"]) - offered)
