"""A channel to a process of ours that speaks the protocol on its standard input and output.

The process has a session of its own, so that it and whatever it starts can be ended together and nobody else is.
Its standard error is read by a thread, which keeps the end of it, so that a talkative candidate never blocks.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from llmasos_conformance import wire
from llmasos_conformance.adapters import pipes
from llmasos_conformance.adapters.remote import Channel, Remote, unwatched
from llmasos_conformance.errors import Died, ProtocolBroken, TimedOut

TAIL = 64 * 1024
"""Bytes of standard error that are kept."""
GRACE_S = 2.0
"""How long a process may take to end after its input has been closed."""
LOG_TO_STDERR = "standard output belongs to the protocol: log to stderr"


def start(
    command: Sequence[str],
    *,
    address: str = "",
    timeout_s: float = 30.0,
    start_timeout_s: float = 120.0,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    hosted: bool = False,
    frames: bool = True,
    watch: Callable[[Channel], Channel] = unwatched,
) -> Remote:
    """Start a process and let it describe itself.

    Args:
        command: argument vector. address: for errors.
        timeout_s: per call. start_timeout_s: until it has described itself.
        cwd: its working directory. env: its whole environment; None for this process's.
        hosted: the command is our host with a Python adapter; for errors. frames: False leaves them unused.
        watch: see `connect`.

    Raises:
        AddressError: it does not start.
    """
    # There is no command to try where the host serves.
    asked = wire.request_line(1, "describe", {}).decode().strip()
    remedy = f"see what it says by hand: echo '{asked}' | {shlex.join(command)}"
    if hosted:
        remedy = "let describe() return a Description of llmasos_conformance.protocol; the process must outlive it"
    return Remote(
        lambda: watch(Process(tuple(command), cwd, None if env is None else dict(env))),
        address=address or " ".join(command),
        timeout_s=timeout_s,
        start_timeout_s=start_timeout_s,
        grace_s=GRACE_S,
        remedy=remedy,
        advice=LOG_TO_STDERR,
        gone=Died("its process is gone since an earlier call"),
        frames=frames,
    )


class Process:
    """A child with pipes: one message out, one message in, and an end that is certain.

    Attributes:
        obeyed: whether it ended itself within its grace, once its input was closed; None until then, and without one.
    """

    obeyed: bool | None = None

    def __init__(self, command: Sequence[str], cwd: str | None, env: Mapping[str, str] | None) -> None:
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            close_fds=True,
            start_new_session=True,
            cwd=cwd,
            env=env,
        )
        self._streams = [stream for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr) if stream]
        asked, answered, errors = (stream.fileno() for stream in self._streams)
        self.pid: int | None = self.popen.pid
        self._pipes = pipes.open_pipes(asked, answered)
        self._rest = b""  # what came after the last whole message
        self._tail = bytearray()
        self._drain = threading.Thread(target=self._keep_tail, args=(errors,), daemon=True)
        self._drain.start()

    def exchange(self, line: bytes, limit_s: float, *, frames: bool) -> wire.Message:
        """Send a line; wait for one, and for the frames that it announces."""
        deadline = time.monotonic() + limit_s
        if self._rest:  # nothing was asked, so nothing may have come
            raise ProtocolBroken(f"it wrote unasked: {wire.quoted(self._rest)}; {LOG_TO_STDERR}")
        what = f"no answer within {limit_s} s"
        try:
            self._pipes.ask(line)
            message = self._receive(deadline, frames=frames)
            # Of a question that was answered before it was read to its end, half would spoil the next one.
            what = f"the question was not read within {limit_s} s"
            self._pipes.sent(deadline)
        except pipes.Closed:
            raise self._death() from None
        except pipes.Late:
            raise TimedOut(what) from None
        return message

    def _receive(self, deadline: float, *, frames: bool) -> wire.Message:
        raw = self._read_line(deadline)
        try:
            answer = wire.parse_line(raw)
        except ProtocolBroken as fault:
            raise ProtocolBroken(f"{fault.message}; {LOG_TO_STDERR}") from None
        lengths = wire.frame_lengths(answer) if frames else ()
        return wire.Message(raw, answer, self._read_frames(lengths, deadline))

    def _read_line(self, deadline: float) -> bytes:
        parts, size = list[bytes](), 0
        while True:
            chunk = self._pipes.read(deadline)
            end = chunk.find(b"\n")
            if end >= 0:
                parts.append(chunk[: end + 1])
                self._rest = chunk[end + 1 :]
                return b"".join(parts)
            parts.append(chunk)
            size += len(chunk)
            if size > wire.MAX_LINE:
                raise ProtocolBroken(f"a line of more than {wire.MAX_LINE} bytes: {wire.quoted(parts[0])}")

    def _read_frames(self, lengths: Sequence[int], deadline: float) -> list[memoryview]:
        """A buffer for each, so that every one begins where numbers of any width may lie."""
        frames = [memoryview(bytearray(length)) for length in lengths]
        missing = [frame for frame in frames if len(frame)]
        while missing and self._rest:  # came along with the line
            taken = self._rest[: len(missing[0])]
            missing[0][: len(taken)] = taken
            self._rest = self._rest[len(taken) :]
            missing = _behind(missing, len(taken))
        while missing:
            missing = _behind(missing, self._pipes.read_into(missing, deadline))
        return [frame.toreadonly() for frame in frames]

    def _death(self) -> Died:
        """Why nothing more will come."""
        try:
            status = self.popen.wait(1.0) if self._awaited(1.0) else None
        except subprocess.TimeoutExpired:
            status = None
        if status is None:
            return Died("it closed its pipe without ending")
        if status < 0:
            with contextlib.suppress(ValueError):
                return Died(f"its process was ended by {signal.Signals(-status).name}")
        return Died(f"its process ended with status {status}")

    def _awaited(self, seconds: float) -> bool:
        """Whether the leader ends in time; what it left behind is then ended too."""
        deadline = time.monotonic() + seconds
        pause = 0.0005
        while True:
            if self.popen.returncode is not None or self._ended():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def _ended(self) -> bool:
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                if os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    self._kill_group()
                    return True
            return False
        if self.popen.poll() is None:  # Windows, and macOS before Python 3.13
            return False
        if os.name == "posix":  # reaped a moment ago: its number is given to others only after all the rest
            _kill_group(self.popen.pid)
        return True

    def _kill_group(self) -> None:
        """End the leader and whatever it left behind; only while its number is ours, that is, before it is reaped."""
        if self.popen.returncode is not None:
            return
        if os.name == "posix":
            _kill_group(self.popen.pid)
        else:
            _end_tree(self.popen)

    def end(self, grace_s: float) -> str:
        """End it for certain and free everything; returns the end of its standard error."""
        asked, answered, errors = self._streams
        self._pipes.close()
        with contextlib.suppress(OSError):
            asked.close()
        if grace_s:
            self.obeyed = self._awaited(grace_s)
        self._kill_group()
        self.popen.wait()
        self._drain.join(1.0)  # a stranger outside the group may hold the pipe open; the thread then ends with it
        answered.close()
        if not self._drain.is_alive():
            errors.close()
        return bytes(self._tail).decode(errors="replace")

    def _keep_tail(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(descriptor, 65536):
                self._tail += chunk
                del self._tail[:-TAIL]


def _behind(buffers: Sequence[memoryview], count: int) -> list[memoryview]:
    """What is left to fill once `count` bytes have come."""
    for i, buffer in enumerate(buffers):
        if count < len(buffer):
            return [buffer[count:], *buffers[i + 1 :]]
        count -= len(buffer)
    return []


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _end_tree(popen: subprocess.Popen[bytes]) -> None:
    """End a child of ours and its children on Windows, where no group can be ended as one."""
    subprocess.run(["taskkill", "/F", "/T", "/PID", str(popen.pid)], capture_output=True, check=False)
    popen.kill()
