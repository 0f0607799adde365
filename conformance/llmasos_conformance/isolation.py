"""What keeps a certified run apart: from the caller's interpreter, and from the adapter's process.

    caller ── starts ──> harness, python -I, environment of a few names ── starts ──> adapter, fresh directory,
                                                                                      scrubbed environment

This removes what leaks by accident and what a curious adapter would try first. A process of the same user is no
security boundary, and every report says so.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import signal
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from types import FrameType

from llmasos_conformance.errors import ReportError
from llmasos_conformance.installed import THREAD_VARIABLES

_BOOT = (
    "import sys; sys.path += [root for root in sys.argv.pop(1).split('|') if root not in sys.path]; "
    "from llmasos_conformance.cli import main; main()"
)
_KEPT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SYSTEMROOT",
)
"""What the harness itself needs of the caller's environment: to find programs, and to write legibly."""
_PR_SET_DUMPABLE = 4


def roots() -> list[str]:
    """Directories that `python -I` would not find our packages in: a checkout, or the user's own site directory."""
    found = []
    for package in ("llmasos_conformance", "llmasos"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            found.append(str(Path(next(iter(spec.submodule_search_locations))).resolve().parent))
    if site.ENABLE_USER_SITE and site.getusersitepackages() in sys.path:
        found.append(site.getusersitepackages())
    return list(dict.fromkeys(found))


def rerun(arguments: Sequence[str], pass_env: Sequence[str] = ()) -> int:
    """Run `llmasos ARGUMENTS` in an isolated interpreter and wait for it, handing signals on; returns its exit code."""
    close_doors()
    names = (*_KEPT, *pass_env)
    environment = {name: os.environ[name] for name in names if name in os.environ}
    environment |= dict.fromkeys(THREAD_VARIABLES, "1")
    command = [sys.executable, "-I", "-c", _BOOT, "|".join(roots()), *arguments]
    with subprocess.Popen(command, env=environment) as process:

        def hand_on(number: int, frame: FrameType | None) -> None:
            process.send_signal(number)

        old = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return process.wait()
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def adapter_environment(home: Path, pass_env: Sequence[str]) -> Mapping[str, str]:
    """All that an adapter's process finds in its environment.

    Args:
        home: its fresh directory. pass_env: names of variables that it gets beside the fixed ones.

    Raises:
        ReportError: a variable that is to be passed does not exist.
    """
    missing = [name for name in pass_env if name not in os.environ]
    if missing:
        raise ReportError(f"the variable {missing[0]!r:.80} is to be passed on, and is not set", hint="see --pass-env")
    kept = ("SYSTEMROOT",) if os.name == "nt" else ()  # without it Windows starts no interpreter
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        **dict.fromkeys(THREAD_VARIABLES, "1"),
        **{name: os.environ[name] for name in (*kept, *pass_env)},
    }


def close_doors() -> bool:
    """Close this process's memory and environment to others of its user, where the system can do that.

    Returns:
        Whether it was done.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def possible(said: Sequence[str], *, certified: bool) -> bool:
    """Whether `sentences` could have said this, whole and in this order.

    Args:
        said: by a report. certified: whether the harness and the adapter had processes of their own.
    """
    mark = "MARK"
    for out_of_process, isolated, closed in product((True, False), repeat=3):
        if certified and not (out_of_process and isolated):
            continue
        for pass_env in ((), (mark,)):
            due = sentences(out_of_process=out_of_process, closed=closed, pass_env=pass_env, isolated=isolated)
            parts = (re.escape(line).replace(mark, r"[A-Za-z_]\w*(?:, [A-Za-z_]\w*)*") for line in due)
            if len(due) == len(said) and all(map(re.fullmatch, parts, said)):
                return True
    return False


def sentences(
    *, out_of_process: bool, closed: bool, pass_env: Sequence[str], isolated: bool | None = None
) -> list[str]:
    """What was isolated and what was not, as the report says it; nothing in it depends on the machine's paths.

    `isolated` says whether the harness had an interpreter of its own; None looks at the one that runs.
    """
    said = []
    if sys.flags.isolated if isolated is None else isolated:
        said.append("The harness ran in an interpreter of its own (python -I), without pytest and its plugins.")
    else:
        said.append("Not isolated: the harness ran inside another program.")
    if out_of_process:
        said += [
            "The adapter ran in another process, over standard input and output, in a fresh directory, with a scrubbed "
            "environment and no inherited descriptors.",
            "The adapter was told neither case ids nor seed nor expected answers; bundles were named by digest, and "
            "the reference read copies of its own.",
        ]
        if pass_env:
            said.append(f"Environment variables passed to the adapter: {', '.join(sorted(pass_env))}.")
    else:
        said.append("Not isolated: the adapter ran inside the harness.")
    if closed:
        said.append("The harness's memory was closed to other processes of its user (PR_SET_DUMPABLE 0).")
    return [
        *said,
        "Suites, harness, reference and adapter had the same digests before and after the run.",
        "The signing key was opened after the adapter had ended.",
        "Not isolated: network, file system, and processes of the same user, which are no security boundary.",
    ]
