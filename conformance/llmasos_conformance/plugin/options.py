"""How a session asks, as the command line says it; whom it asks is `request.Request`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pytest

from llmasos_conformance import installed
from llmasos_conformance.errors import HarnessError
from llmasos_conformance.plugin.request import KNOWN, PROFILE, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a session asks, with what inputs, and what it may cost.

    Attributes:
        profile: name of a frozen list, or `all`. usual: the one that is asked where no command line names any.
        seed: inputs follow from it. explore: further examples of every drawn case that passed.
        timeout_s: for one answer. smaller_s: for smaller inputs that fail alike, in the whole run; 0 for none.
        draws: whether what was drawn is shown. apart: the adapter has a process of its own.
        bundle: directory of a model of the vendor's, suites: another one than that of the installed suites, known: file
            of known failures; each as it was written, "" where it was not.
        runxfail: known failures are judged as all others are.
    """

    profile: str
    usual: str
    seed: str
    explore: int
    timeout_s: float
    smaller_s: float
    draws: bool
    apart: bool
    bundle: str
    suites: str
    known: str
    runxfail: bool


def read(config: pytest.Config, request: Request) -> Options:
    """The options of a session.

    Raises:
        pytest.UsageError: a number of seconds is none.
    """
    timeout_s, smaller_s = config.getoption("--llmasos-timeout"), config.getoption("--llmasos-smaller")
    if not timeout_s > 0:
        raise pytest.UsageError(f"--llmasos-timeout={timeout_s:g}: a number of seconds above 0 is due")
    if not smaller_s >= 0:
        raise pytest.UsageError(f"--llmasos-smaller={smaller_s:g}: a number of seconds is due, 0 for none")
    usual = PROFILE
    with contextlib.suppress(HarnessError):  # of a table that names none that there is
        usual = installed.configured_profile(request.address, request.directory, request.root) or PROFILE
    return Options(
        profile=config.getoption("--llmasos-profile"),
        usual=usual,
        seed=config.getoption("--llmasos-seed"),
        explore=config.getoption("--llmasos-explore"),
        timeout_s=timeout_s,
        smaller_s=smaller_s,
        draws=config.getoption("verbose") >= 2,
        apart=config.getoption("--llmasos-out-of-process"),
        bundle=config.getoption("--llmasos-bundle") or "",
        suites=config.getoption("--llmasos-suites") or "",
        known=config.getoption(KNOWN) or "",
        runxfail=config.getoption("runxfail"),
    )
