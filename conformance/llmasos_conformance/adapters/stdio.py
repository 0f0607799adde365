"""A channel to a process of ours that speaks the protocol on its standard input and output.

The process has a session of its own, so that it and whatever it starts can be ended together and nobody else is.
Its standard error is read by a thread, which keeps the end of it, so that a talkative candidate never blocks.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from llmasos_conformance import wire
from llmasos_conformance.adapters.remote import Channel, Remote, unwatched
from llmasos_conformance.errors import Died, ProtocolBroken, TimedOut

TAIL = 64 * 1024
"""Bytes of standard error that are kept."""
CHUNK = 1 << 18
"""Bytes per read of a line: a pipe's whole buffer even where it has been made larger than usual."""
PIPE = 1 << 20
"""Bytes that a pipe for answers is asked to hold, so that bulk goes over in few turns; Linux lets anybody have them."""
GRACE_S = 2.0
"""How long a process may take to end after its input has been closed."""
VECTORS = 64
"""Frames that one read fills."""
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
    remedy = "run the command by hand and send it a describe request"
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
        self._in, self._out, errors = (stream.fileno() for stream in self._streams)
        self.pid: int | None = self.popen.pid
        _widen(self._out)
        os.set_blocking(self._in, False)  # a child that does not read must not hold us
        os.set_blocking(self._out, False)
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._rest = b""  # what came after the last whole message
        self._unsent = memoryview(b"")
        self._deadline = self._limit = 0.0
        self._tail = bytearray()
        self._drain = threading.Thread(target=self._keep_tail, args=(errors,), daemon=True)
        self._drain.start()

    def exchange(self, line: bytes, limit_s: float, *, frames: bool) -> wire.Message:
        """Send a line; wait for one, and for the frames that it announces."""
        self._deadline, self._limit = time.monotonic() + limit_s, limit_s
        if self._rest:  # nothing was asked, so nothing may have come
            raise ProtocolBroken(f"it wrote unasked: {wire.quoted(self._rest)}; {LOG_TO_STDERR}")
        self._unsent = memoryview(line)
        self._send()
        if self._unsent:
            self._poll.register(self._in, select.POLLOUT)
        try:
            message = self._receive(frames=frames)
        finally:
            if self._unsent:
                self._poll.unregister(self._in)
        self._send_rest()
        return message

    def _receive(self, *, frames: bool) -> wire.Message:
        raw = self._read_line()
        try:
            answer = wire.parse_line(raw)
        except ProtocolBroken as fault:
            raise ProtocolBroken(f"{fault.message}; {LOG_TO_STDERR}") from None
        return wire.Message(raw, answer, self._read_frames(wire.frame_lengths(answer)) if frames else ())

    def _read_line(self) -> bytes:
        parts, size = list[bytes](), 0
        while True:
            self._wait()
            chunk = self._read()
            end = chunk.find(b"\n")
            if end >= 0:
                parts.append(chunk[: end + 1])
                self._rest = chunk[end + 1 :]
                return b"".join(parts)
            parts.append(chunk)
            size += len(chunk)
            if size > wire.MAX_LINE:
                raise ProtocolBroken(f"a line of more than {wire.MAX_LINE} bytes: {wire.quoted(parts[0])}")

    def _read_frames(self, lengths: Sequence[int]) -> list[memoryview]:
        """A buffer for each, so that every one begins where numbers of any width may lie."""
        frames = [memoryview(bytearray(length)) for length in lengths]
        missing = [frame for frame in frames if len(frame)]
        while missing and self._rest:  # came along with the line
            taken = self._rest[: len(missing[0])]
            missing[0][: len(taken)] = taken
            self._rest = self._rest[len(taken) :]
            missing = _behind(missing, len(taken))
        while missing:
            self._wait()
            try:
                read = os.readv(self._out, missing[:VECTORS])
            except BlockingIOError:
                continue
            if not read:
                raise self._death()
            missing = _behind(missing, read)
        return [frame.toreadonly() for frame in frames]

    def _wait(self) -> None:
        """Until there is something to read. What is still to be sent is sent meanwhile: both pipes may be full."""
        while True:
            left = self._deadline - time.monotonic()
            ready = self._poll.poll(max(0.0, left) * 1000)
            if not ready or left <= 0:
                raise TimedOut(f"no answer within {self._limit} s")
            if not self._unsent:
                return
            if any(descriptor == self._in for descriptor, _ in ready):
                self._send()
                if not self._unsent:
                    self._poll.unregister(self._in)
            if any(descriptor == self._out for descriptor, _ in ready):
                return

    def _send(self) -> None:
        self._unsent = self._unsent[self._write(self._unsent) :]

    def _send_rest(self) -> None:
        """Of a question that was answered before it was read to its end: half of it would spoil the next one."""
        if not self._unsent:
            return
        writable = select.poll()
        writable.register(self._in, select.POLLOUT)
        while self._unsent:
            if not writable.poll(max(0.0, self._deadline - time.monotonic()) * 1000):
                raise TimedOut(f"the question was not read within {self._limit} s")
            self._send()

    def _write(self, unsent: memoryview) -> int:
        try:
            return os.write(self._in, unsent)
        except BlockingIOError:
            return 0
        except OSError:  # its end of the pipe is closed
            raise self._death() from None

    def _read(self) -> bytes:
        try:
            chunk = os.read(self._out, CHUNK)
        except BlockingIOError:
            return b""
        if not chunk:
            raise self._death()
        return chunk

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
        """Whether the leader ends in time. It is not reaped yet, so that its number stays ours."""
        deadline = time.monotonic() + seconds
        pause = 0.0005
        while True:
            if self.popen.returncode is not None:
                return True
            with contextlib.suppress(ChildProcessError):
                if os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    self._kill_group()
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def _kill_group(self) -> None:
        """End the leader and whatever it left behind; only while its number is ours, that is, before it is reaped."""
        if self.popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, signal.SIGKILL)

    def end(self, grace_s: float) -> str:
        """End it for certain and free everything; returns the end of its standard error."""
        asked, answered, errors = self._streams
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


def _widen(descriptor: int) -> None:
    with contextlib.suppress(ImportError, AttributeError, OSError):  # a courtesy that not every system offers
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE)
