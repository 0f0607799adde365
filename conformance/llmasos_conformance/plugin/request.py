"""What was asked of this plugin, and the suites that it is about; every pytest run imports this, so it stays light."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from llmasos_conformance.suite import Case, Requirement, Suite

PREFIX = "llmasos:"
SHORT, LONG, VARIABLE, KEY = "--adapter", "--llmasos-adapter", "LLMASOS_ADAPTER", "llmasos_adapter"
KNOWN = "llmasos_known_failures"
PROFILE = "core/gpt/logits"
"""What a bare run asks; `all` asks every case of the installed suites."""
SMALLER_S = 20.0
"""So long a run looks for smaller failures: who is wrong everywhere fails a hundred cases, and nobody reads a hundred
minimal inputs before mending the first."""
TIMEOUT_S = 30.0
"""Per call; the default of `adapters.connect`, which is too heavy to import here."""


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


def near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)


def suite_files(root: Path) -> list[Path]:
    return sorted(root.glob("*.yaml"))


def stem(case: Case) -> str:
    """Name of the suite file that holds the case."""
    return _stem_of(case.where.rpartition(":")[0])


@functools.cache
def _stem_of(file: str) -> str:
    return Path(file).stem


@functools.cache
def _slug(chapter: str) -> str:
    return re.sub(r"\W+", "_", chapter)


def marker(requirement: Requirement) -> str:
    """Name of the marker that selects the requirement's chapter."""
    return _slug(requirement.chapter)


@functools.cache
def load(root: Path) -> Suite:
    from llmasos_conformance import suite
    from llmasos_conformance.errors import HarnessError

    try:
        return suite.load(root)
    except HarnessError as error:
        raise pytest.UsageError(error.render()) from None
