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
from llmasos_conformance.errors import AddressError, ReportError, SuiteError

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


QUICK = {"Llama": "quick/llama", "Transformer": "quick/transformer", "BERT": "quick/bert"}
"""Profiles of a few cases each, by the architecture that they require; `quick` is GPT-3's."""


def profile_for(offers: frozenset[str], case: str = "") -> str:
    """The profile that a newcomer is told to ask next.

    Args:
        offers: capabilities and architectures that are declared. case: that it should hold, if any does.

    Returns:
        The first of FIRST whose requirements are declared, with the case in it where one has it; if there is none, that
        of an API which is served where nothing is loaded, else `quick` of the architecture that is declared.
    """
    directory = suites()
    names = profile_names(directory)

    def fits(name: str, case: str) -> bool:
        frozen = frozen_profile(directory, name)
        return {*frozen["requires"]} <= offers and (not case or any(each["id"] == case for each in frozen["cases"]))

    first = [name for name in FIRST if name in names]
    holding = next((name for name in (*first, *names) if fits(name, case)), "") if case else ""
    fitting = holding or next((name for name in first if fits(name, "")), "")
    if fitting:
        return fitting
    served = [] if "load_model" in offers else [f"hosted/{api}" for api in ("completions", "chat") if api in offers]
    few = [] if "GPT-3" in offers else [name for each, name in QUICK.items() if each in offers]
    return (*served, *few, "quick")[0]


def configured_profile(address: str, directory: str | Path | None = None, root: Path | None = None) -> str:
    """The profile that a directory asks of an adapter, "" where it names none: `profile` of [profiles.NAME] for @NAME.

    Args:
        directory: whose llmasos.toml is read; default the current one. root: of the suites; default those installed.

    Raises:
        AddressError: there is no such profile, or it is no text.
    """
    from llmasos_conformance import adapters

    named = adapters.named_profile(address, directory)
    if named is None:
        return ""
    names = profile_names(root or suites())
    if named.profile not in names:
        near = get_close_matches(named.profile, names, 3, 0.4) or names[:5]
        hint = f"{' or '.join(near)}; `llmasos list --profiles` shows all"
        raise AddressError(f"there is no profile {named.profile!r:.80}", where=named.where, hint=hint)
    return named.profile


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
