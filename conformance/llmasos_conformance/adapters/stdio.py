"""A connection to a process that speaks the protocol on its standard input and output.

    starting    AddressError        the program is missing, ends, is silent, or describes itself wrongly
    asking      Died                the process ended: status and the end of its standard error
                TimedOut            no whole answer within the limit; the process is killed
                ProtocolBroken      a line that is no answer to the question; the process is killed
                Refusal, Raised, Malformed   what the candidate's answer says or lacks; the process lives on
    after the first three, every call raises Died until `restart`

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
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from llmasos_conformance import wire
from llmasos_conformance.errors import AddressError, CandidateFault, Died, Malformed, ProtocolBroken, Raised, TimedOut
from llmasos_conformance.protocol import Description, Refusal

TAIL = 64 * 1024
"""Bytes of standard error that are kept."""
CHUNK = 1 << 18
"""Bytes per read: a pipe's whole buffer even where it has been made larger than usual."""
GRACE_S = 2.0
"""How long a process may take to end after its input has been closed."""
LOG_TO_STDERR = "standard output belongs to the protocol: log to stderr"


class Stdio:
    """Starts a process and asks it.

    Args:
        command: argument vector. address: for errors.
        timeout_s: per call. start_timeout_s: until it has described itself.
        cwd: its working directory. env: its whole environment; None for this process's.
        hosted: the command is our host with a Python adapter; for errors.

    Attributes:
        description: what it said of itself when it was first started.

    Raises:
        AddressError: it does not start.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        address: str = "",
        timeout_s: float = 30.0,
        start_timeout_s: float = 120.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        hosted: bool = False,
    ) -> None:
        self._hosted = hosted
        self._command, self._address, self._cwd = tuple(command), address or " ".join(command), cwd
        self._env = None if env is None else dict(env)
        self._timeout, self._start_timeout = timeout_s, start_timeout_s
        self._process: _Process | None = None
        self.description: Description = self._start()

    def __enter__(self) -> Stdio:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the process; None if none runs."""
        return None if self._process is None else self._process.popen.pid

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Ask, and judge the answer.

        Raises:
            Refusal, CandidateFault: see the module.
            ValueError: the question is malformed, which is not the candidate's doing.
        """
        wire.check_params(method, params)
        if self._process is None:
            raise Died("its process is gone since an earlier call")
        result = self._ask(self._process, method, params, self._timeout)
        return self._widths.see(method, params, wire.check_answer(method, params, result))

    def restart(self) -> None:
        """End the process and start it anew. Handles of models and sessions are void.

        Raises:
            AddressError: it does not start again, or is another candidate than before.
        """
        self.close()
        again = self._start()
        if again != self.description:
            self.close()
            raise AddressError("describes itself differently after a restart", where=self._address)

    def close(self) -> None:
        """Close its input, wait GRACE_S, then end its process group. Closing twice is no error."""
        process, self._process = self._process, None
        if process is not None:
            process.end(GRACE_S)

    def _start(self) -> Description:
        self._widths = wire.Widths()
        self._number = 0
        try:
            self._process = _Process(self._command, self._cwd, self._env)
        except OSError as error:
            what = f"cannot be started: {error.strerror}"
            raise AddressError(what, where=self._address, hint="check path and permissions") from None
        try:
            result = self._ask(self._process, "describe", {}, self._start_timeout)
            return wire.parse_description(wire.check_answer("describe", {}, result), self._address)
        except TimedOut:
            what = f"did not describe itself within {self._start_timeout} s"
            raise self._stillborn(what, "a longer start limit") from None
        except CandidateFault as fault:
            detail = "".join(f"\n    {line}" for line in fault.detail.rstrip().splitlines()[-6:])
            hint = "" if isinstance(fault, _Unloadable) else self._remedy()
            raise self._stillborn(fault.message + detail, hint) from None
        except Refusal as refusal:
            raise self._stillborn(f"refused to describe itself: {refusal.code}", "answer every describe") from None
        except BaseException:
            self.close()
            raise

    def _remedy(self) -> str:
        """What to mend when nothing of use describes itself; there is no command to try where the host serves."""
        if self._hosted:
            return "let describe() return a Description of llmasos_conformance.protocol; the process must outlive it"
        return "run the command by hand and send it a describe request"

    def _stillborn(self, what: str, hint: str) -> AddressError:
        if self._process is not None:
            self._process.end(0.0)
            self._process = None
        return AddressError(what, where=self._address, hint=hint)

    def _ask(self, process: _Process, method: str, params: Mapping[str, Any], limit_s: float) -> Any:
        self._number += 1
        line = wire.request_line(self._number, method, params)
        try:
            raw = process.exchange(line, limit_s)
            answer = _opened(raw, self._number)
        except (Died, TimedOut, ProtocolBroken) as fault:
            self._process = None
            raise type(fault)(f"{method}: {fault.message}", process.end(0.0) or fault.detail) from None
        if "error" in answer:
            _raise_error(answer["error"])
        return answer["result"]


def _opened(raw: bytes, number: int) -> dict[str, Any]:
    """The envelope of an answer."""
    try:
        answer = wire.parse_line(raw)
    except ProtocolBroken as fault:
        raise ProtocolBroken(f"{fault.message}; {LOG_TO_STDERR}") from None
    if answer.keys() not in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"}) or answer["jsonrpc"] != "2.0":
        raise ProtocolBroken(f"not an answer of JSON-RPC 2.0: {wire.quoted(raw)}; {LOG_TO_STDERR}")
    if type(answer["id"]) is not int or answer["id"] != number:
        raise ProtocolBroken(f"an answer to id {answer['id']!r:.40}, asked was {number}: {wire.quoted(raw)}")
    return answer


class _Unloadable(Malformed):
    """The host could not load the adapter; its message is whole."""


def _raise_error(error: Any) -> NoReturn:
    """What an error object of the wire says."""
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("message"), str):
        raise Malformed(f"an error without integer code and text message: {error!r:.120}")
    data = error.get("data")
    data = data if isinstance(data, dict) else {}
    message, detail = error["message"], str(data.get("detail", ""))
    if "refusal" in data:
        raise Refusal(wire.check_refusal(data["refusal"]), message)
    if data.get("malformed") is True:
        raise Malformed(message, detail)
    if data.get("address") is True:
        raise _Unloadable(message)
    if isinstance(data.get("raised"), str):
        raise Raised(message if message.startswith(data["raised"]) else f"{data['raised']}: {message}", detail)
    raise Raised(f"JSON-RPC error {error['code']}: {message}", detail)


class _Process:
    """A child with pipes: one line out, one line in, and an end that is certain."""

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
        os.set_blocking(self._in, False)  # a child that does not read must not hold us
        os.set_blocking(self._out, False)
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._rest = b""  # what came after the last whole line
        self._tail = bytearray()
        self._drain = threading.Thread(target=self._keep_tail, args=(errors,), daemon=True)
        self._drain.start()

    def exchange(self, line: bytes, limit_s: float) -> bytes:
        """Send a line and wait for one."""
        deadline = time.monotonic() + limit_s
        parts, size = [self._rest], len(self._rest)
        self._rest = b""
        if size:  # nothing was asked, so nothing may have come
            raise ProtocolBroken(f"it wrote unasked: {wire.quoted(parts[0])}; {LOG_TO_STDERR}")
        unsent = memoryview(line)
        unsent = unsent[self._write(unsent) :]
        if unsent:
            self._poll.register(self._in, select.POLLOUT)
        try:
            while True:
                left = deadline - time.monotonic()
                ready = self._poll.poll(max(0.0, left) * 1000)
                if not ready:
                    raise TimedOut(f"no answer within {limit_s} s")
                for descriptor, _ in ready:
                    if descriptor == self._in and unsent:
                        unsent = unsent[self._write(unsent) :]
                        if not unsent:
                            self._poll.unregister(self._in)
                    elif descriptor == self._out:
                        chunk = self._read()
                        end = chunk.find(b"\n")
                        if end >= 0:
                            parts.append(chunk[: end + 1])
                            self._rest = chunk[end + 1 :]
                            return b"".join(parts)
                        parts.append(chunk)
                        size += len(chunk)
                        if size > wire.MAX_LINE:
                            raise ProtocolBroken(f"a line of more than {wire.MAX_LINE} bytes: {wire.quoted(parts[1])}")
        finally:
            if unsent:
                self._poll.unregister(self._in)

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
            self._awaited(grace_s)
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
