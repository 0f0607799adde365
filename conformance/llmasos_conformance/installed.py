"""What is installed here: digests and versions of suites, harness and reference, the frozen profiles, the machine.

A report binds these, and a verifier holds its own against them. Nothing is imported to be measured, so that `verify`
stays light: files are hashed where they lie.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llmasos_conformance import __version__, profiles, published
from llmasos_conformance.canonical import digest_files, package_files
from llmasos_conformance.errors import ReportError, SuiteError

HARNESS_ROOT = Path(__file__).parent
DEPENDENCIES = ("numpy", "scipy", "jsonschema", "PyYAML", "tokenizers", "ml_dtypes", "cryptography")
"""Distributions whose behaviour a verdict or a signature rests on."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
"""Set to 1 in a certified run: sums must not change their order with the number of cores."""


def suites() -> Path:
    """Where the installed suites lie."""
    from llmasos_conformance import suite

    return suite.find()


def suite_digest(directory: Path) -> str:
    from llmasos_conformance import suite

    return suite.digest(directory)


def profile_names(directory: Path) -> list[str]:
    """Names of the frozen profiles."""
    return list(profiles.paths(directory))


def frozen_profile(directory: Path, name: str, digest: str = "") -> Mapping[str, Any]:
    """A frozen profile as it lies on disk.

    Args:
        digest: of the one that is meant, in force or superseded; the one in force is given where none has it.

    Raises:
        SuiteError: no such profile, or its file is malformed.
    """
    known = profiles.paths(directory)
    for path in profiles.superseded(directory, name) if digest else ():
        if profile_digest(earlier := profiles.read(path)) == digest:
            return earlier
    if name not in known:
        near = get_close_matches(name, known, 3, 0.4) or list(known)[:5]
        raise SuiteError(f"no profile {name!r:.80}", hint=f"{', '.join(near)}; `llmasos list --profiles` shows all")
    return profiles.read(known[name])


FIRST = (
    "core/gpt/logits", "core/gpt/text", "core/llama/logits", "core/transformer/logits", "core/bert/logits",
    "inference/bert/encodings", "metrics/text", "hosted/completions", "hosted/chat",
)  # fmt: skip
"""Profiles that a newcomer begins with, the one that asks most of an architecture first."""


def profile_for(offers: frozenset[str]) -> str:
    """The first profile whose requirements a candidate declares; if there is none `quick`, or that of an API which it
    has, where it loads nothing."""
    directory = suites()
    names = profile_names(directory)
    served = [] if "load_model" in offers else [f"hosted/{api}" for api in ("completions", "chat") if api in offers]
    return next((name for name in FIRST if name in names
                 and {*frozen_profile(directory, name)["requires"]} <= offers), (*served, "quick")[0])  # fmt: skip


def profile_digest(profile: Mapping[str, Any]) -> str:
    """Over canonical bytes, so that indentation does not matter."""
    return profiles.digest(profile)


def withdrawn_cases(directory: Path) -> Mapping[str, str]:
    """Case id -> version of the standard that withdrew it, as far as it has been published."""
    return published.withdrawn(published.read(directory))


def harness_digest() -> str:
    """Over the sources and schemas of this package."""
    return digest_files(package_files(HARNESS_ROOT))


def reference_root() -> Path:
    """Directory of the reference package.

    Raises:
        ReportError: it is not installed.
    """
    spec = importlib.util.find_spec("llmasos")
    if spec is None or not spec.submodule_search_locations:
        raise ReportError("the package llmasos is not installed", hint="pip install llmasos")
    return Path(next(iter(spec.submodule_search_locations)))


def reference_digest() -> str:
    """Over the sources and schemas of the reference."""
    return digest_files(package_files(reference_root()))


def pytest_command(find: Callable[[str], str | None] = shutil.which) -> str:
    """How a person starts the pytest of this very interpreter: the one on PATH may be of another environment."""
    here = Path(sys.executable)

    def beside(program: str) -> bool:
        found = find(program)
        return found is not None and Path(found).parent == here.parent

    if beside("pytest"):
        return "pytest"
    return "python -m pytest" if beside("python") else f"{shlex.quote(str(here))} -m pytest"


def harness_record() -> dict[str, Any]:
    """The predicate's `harness`."""
    found = {}
    for name in DEPENDENCIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return {
        "name": "llmasos_conformance", "version": __version__, "digest": harness_digest(), "dependencies": found,
    }  # fmt: skip


def environment_record() -> dict[str, str]:
    """The predicate's `environment`."""
    return {
        "os": platform.system().lower() or "unknown",
        "arch": platform.machine() or "unknown",
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS") or "default",
    }
