"""From an address to a connection, in this process or in one of its own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from llmasos_conformance.adapters import hosted, stdio, web
from llmasos_conformance.adapters.address import Target, check_address, load
from llmasos_conformance.adapters.hosted import Hosted
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.adapters.remote import Channel, Remote, unwatched
from llmasos_conformance.errors import AddressError

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,4096}=*")
"""What RFC 6750 allows, and long enough not to stand in an answer by chance."""
HOST = Path(__file__).with_name("host.py")


def connect(
    address: str,
    *,
    out_of_process: bool = False,
    timeout_s: float = 30.0,
    start_timeout_s: float = 120.0,
    directory: str | Path | None = None,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    path: Sequence[str | Path] = (),
    frames: bool = True,
    watch: Callable[[Channel], Channel] = unwatched,
) -> InProcess | Remote | Hosted:
    """Connect a candidate.

    Args:
        address: see the package.
        out_of_process: host a Python adapter in an isolated interpreter. `cmd:` addresses always are processes, and
            `http:` and `openai:` addresses servers, which nobody here starts or ends.
        timeout_s: per call; soft in process.
        start_timeout_s: until a process has described itself; imports of large runtimes take most of it.
        directory: where relative addresses start; default the current one.
        cwd: working directory of the process; default `directory`.
        env: whole environment of the process; default this one's.
        path: further directories that the hosting interpreter puts on its path.
        frames: False leaves binary frames unused where they are offered.
        watch: gets every channel that is opened and returns what stands for it; for who looks on. An object in this
            process has none.

    Raises:
        AddressError: the address leads nowhere, or what is there does not start or describe itself.
    """
    target = check_address(address, directory)
    if target.host:
        limits = {"timeout_s": timeout_s, "start_timeout_s": start_timeout_s}
        if target.endpoint is not None:
            return hosted.start(target, _token(target), **limits)
        return web.start(target, _token(target), **limits, frames=frames, watch=watch)
    if not target.command and not out_of_process:
        return InProcess(load(target), address, timeout_s)
    return stdio.start(
        target.command or _hosted(target, path),
        address=address,
        timeout_s=timeout_s,
        start_timeout_s=start_timeout_s,
        cwd=str(cwd or directory or "."),
        env=env,
        hosted=not target.command,
        frames=frames,
        watch=watch,
    )


def _token(target: Target) -> str:
    """The bearer token of a server, out of the variable that its address names."""
    if not target.token:
        return ""
    token = os.environ.get(target.token, "")
    if not _TOKEN.fullmatch(token):
        what = f"the variable {target.token} holds no token" if token else f"the variable {target.token} is not set"
        shape = "16 or more letters, digits and - . _ ~ + /, then = if any"
        hint = shape if token else f"export {target.token}=…, the token itself: {shape}"
        raise AddressError(what, where=target.address, hint=hint)
    return token


def _hosted(target: Target, path: Sequence[str | Path]) -> tuple[str, ...]:
    """The command that serves a Python adapter. -I: no PYTHON* variables, no user site, no current directory."""
    argument = ("--argument", target.argument) if target.argument else ()
    roots = [str(Path(root).resolve()) for root in (*target.roots, *path)]
    paths = [word for root in dict.fromkeys(roots) for word in ("--path", root)]
    return (sys.executable, "-I", str(HOST), target.canonical, *argument, *paths)
