"""What keeps a certified run apart: from the caller's interpreter, and from the adapter's process.

    caller ── starts ──> harness, python -I, environment of a few names ── starts ──> adapter, fresh directory,
                                                                                      scrubbed environment

This removes what leaks by accident and what a curious adapter would try first. A process of the same user is no
security boundary, and every report says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import signal
import site
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from types import FrameType

from llmasos_conformance.errors import HarnessError, ReportError
from llmasos_conformance.installed import THREAD_VARIABLES
from llmasos_conformance.verdict import EXIT_OURS

_BOOT = (
    "import sys; roots = sys.argv.pop(1).split('|'); sys.path[:] = [*roots, *(p for p in sys.path if p not in roots)]; "
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
_PR_SET_CHILD_SUBREAPER = 36
ANOTHER_PROGRAM = "it ran inside another program"
OPEN = ("this system cannot do that", "it ran as root", ANOTHER_PROGRAM)
"""Why the harness's memory may be open to other processes of its user."""
KEY_SENTENCE = (
    "The signing key was opened after the adapter had ended; it is a file of the same user, so whoever certifies a "
    "stranger's adapter keeps the key under another user."
)
_END_S = 10.0
"""How long processes that are killed may take to be gone."""


class Killed(HarnessError):
    """The isolated interpreter was ended by a signal. `pid` was its number."""

    exit_code = EXIT_OURS

    def __init__(self, number: int, pid: int) -> None:
        self.pid = pid
        name = signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
        super().__init__(f"the isolated run was ended by {name}; nothing was signed", hint="look for a lack of memory")


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
    # A cache that nobody can place: compiled files beside the sources are not what was hashed.
    never = ("-B", "-X", f"pycache_prefix={os.devnull}")
    command = [sys.executable, "-I", *never, "-c", _BOOT, "|".join(roots()), *arguments]
    with subprocess.Popen(command, env=environment) as process:

        def hand_on(number: int, frame: FrameType | None) -> None:
            process.send_signal(number)

        old = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = process.wait()
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
    if code < 0:
        raise Killed(-code, process.pid)
    return code


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


def close_doors() -> str:
    """Close this process's memory and environment to others of its user, where the system can do that.

    Returns:
        Why they are open all the same; "" if they are closed.
    """
    if not _prctl(_PR_SET_DUMPABLE, 0):
        return OPEN[0]
    return OPEN[1] if os.geteuid() == 0 else ""  # root reads every process


def adopt() -> bool:
    """Become the parent of whatever loses its own below this process, so that `end_children` finds it.

    Returns:
        Whether the system can do that.
    """
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_children() -> None:
    """Kill every child of this process, and what thereby becomes its child, until there is none (Linux).

    Only for a process of our own that has called `adopt`, and only when none of its children is needed any more.

    Raises:
        ReportError: some do not end.
    """
    deadline = time.monotonic() + _END_S
    while children := _children():
        if time.monotonic() > deadline:
            raise ReportError(f"{len(children)} processes that the adapter left behind do not end; nothing was signed")
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)  # not reaped yet, so the number is still the child's
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)
        time.sleep(0.002)


def _children() -> list[int]:
    mine = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int(entry.read_bytes().rpartition(b")")[2].split()[1]) == os.getpid():
                mine.append(int(entry.parent.name))
    return mine


def _prctl(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def possible(said: Sequence[str], *, certified: bool) -> bool:
    """Whether `sentences` could have said this, whole and in this order; `KEY_SENTENCE` may follow.

    Args:
        said: by a report. certified: whether the harness and the adapter had processes of their own.
    """
    mark = "MARK"
    said = said[:-1] if said and said[-1] == KEY_SENTENCE else said
    for out_of_process, isolated, adopted, served in product((True, False), repeat=4):
        if certified and not (out_of_process and isolated):
            continue
        for open_because, pass_env in product(("", *OPEN), ((), (mark,))):
            due = sentences(
                out_of_process=out_of_process, open_because=open_because, adopted=adopted, pass_env=pass_env,
                isolated=isolated, served=served,
            )  # fmt: skip
            parts = (re.escape(line).replace(mark, r"[A-Za-z_]\w*(?:, [A-Za-z_]\w*)*") for line in due)
            if len(due) == len(said) and all(map(re.fullmatch, parts, said)):
                return True
    return False


def sentences(
    *,
    out_of_process: bool,
    open_because: str,
    adopted: bool,
    pass_env: Sequence[str],
    isolated: bool | None = None,
    served: bool = False,
) -> list[str]:
    """What was isolated and what was not, as the report says it; nothing in it depends on the machine's paths.

    `isolated` says whether the harness had an interpreter of its own; None looks at the one that runs. `served` says
    that the adapter was a server, which the harness neither started nor ended.
    """
    said = []
    if sys.flags.isolated if isolated is None else isolated:
        said.append("The harness ran in an interpreter of its own (python -I), without pytest and its plugins.")
    else:
        said.append("Not isolated: the harness ran inside another program.")
    if served:
        said += [
            "Not isolated: the adapter was a server, asked over HTTP, that the harness neither started nor ended; what "
            "it could read and whom it could ask is not known.",
            "The adapter was told neither case ids nor seed nor expected answers; bundles were named by digest, and "
            "the reference read copies of its own.",
        ]
        if pass_env:
            said.append(f"A bearer token was sent to the server, out of the environment variable {pass_env[0]}.")
    elif out_of_process:
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
    if adopted and not served:
        said.append("Processes that the adapter left behind were ended before the report was finished.")
    if open_because:
        said.append(f"The harness's memory was not closed: {open_because}.")
    else:
        said.append("The harness's memory was closed to other processes of its user (PR_SET_DUMPABLE 0).")
    held = "Suites, harness, reference with its bundles, and adapter had the same digests before and after the run."
    if served:
        held = (
            "Suites, harness and reference with its bundles had the same digests before and after the run; of the "
            "adapter only its address was seen."
        )
    return [
        *said,
        held,
        "Not isolated: network, file system, and processes of the same user, which are no security boundary.",
    ]
