"""Two pipes to a child: one question out and one answer in, however long each is and whoever is slow.

    Polled      one thread that waits for either pipe: Linux, macOS and every other system with `poll` and `readv`
    Threaded    a thread for each pipe: every system, Windows among them

Both pipes may be full at once, so neither side may be waited for alone. A pipe whose other end is closed gives
`Closed`; what that means is the caller's to find out.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

CHUNK = 1 << 16
"""Bytes per read of a line: a pipe's whole buffer even where it has been made larger than usual."""
PIPE = 1 << 20
"""Bytes that a pipe for answers is asked to hold, so that bulk goes over in few turns; Linux lets anybody have them."""
VECTORS = 64
"""Frames that one read fills."""
AWAKE_S = 100e-6
"""How long either side looks for what comes before it asks the system to be woken: a small answer is there sooner than
somebody is awake. Only where there is a second processor, because nobody can answer on the one that looks."""
RESTS = 64
"""Times that nobody looks, at most, after looks in vain: once after the first, twice as often after each. Of slow
answers looking then costs a few microseconds, and one that was late by chance does not put the next ones to sleep."""
AHEAD = 16
"""Chunks that a thread reads ahead; then the child has to wait, as it would for a full pipe."""


class Closed(Exception):
    """The other end is gone."""


class Late(Exception):
    """The deadline has come."""


class Pipes(Protocol):
    """What both kinds do; a deadline is of `time.monotonic`."""

    def ask(self, line: bytes) -> None:
        """Begin to send; what is left is sent while others wait."""

    def read(self, deadline: float) -> bytes:
        """What has come, at least a byte.

        Raises:
            Closed, Late.
        """

    def read_into(self, buffers: Sequence[memoryview], deadline: float) -> int:
        """Fill buffers, in their order, with what has come; how many bytes that were.

        Raises:
            Closed, Late.
        """

    def sent(self, deadline: float) -> None:
        """Wait until the question is sent whole.

        Raises:
            Closed, Late.
        """

    def close(self) -> None:
        """Let go of threads. The descriptors are the caller's."""


class Polled:
    """One thread waits for either pipe.

    Args:
        asked: descriptor to write questions to. answered: descriptor to read answers from.
    """

    def __init__(self, asked: int, answered: int) -> None:
        self._in, self._out = asked, answered
        _widen(answered)
        os.set_blocking(asked, False)  # a child that does not read must not hold us
        os.set_blocking(answered, False)
        self._poll = select.poll()
        self._poll.register(answered, select.POLLIN)
        self._unsent = memoryview(b"")
        self._chunk = memoryview(bytearray(CHUNK))  # kept: memory that is new each time costs more than the copy
        self._lookout = Lookout(answered)

    def ask(self, line: bytes) -> None:
        self._unsent = memoryview(line)
        self._send()
        if self._unsent:
            self._poll.register(self._in, select.POLLOUT)

    def read(self, deadline: float) -> bytes:
        while True:
            self._wait(deadline)
            try:
                count = os.readv(self._out, (self._chunk,))
            except BlockingIOError:
                continue
            if count:
                return bytes(self._chunk[:count])
            raise Closed

    def read_into(self, buffers: Sequence[memoryview], deadline: float) -> int:
        while True:
            self._wait(deadline)
            try:
                count = os.readv(self._out, buffers[:VECTORS])
            except BlockingIOError:
                continue
            if count:
                return count
            raise Closed

    def _wait(self, deadline: float) -> None:
        """Until there is something to read. What is still to be sent is sent meanwhile."""
        if not self._unsent and self._lookout.sees(deadline):
            return
        while True:
            left = deadline - time.monotonic()
            ready = self._poll.poll(max(0.0, left) * 1000)
            if not ready or left <= 0:
                raise Late
            if not self._unsent:
                return
            if any(descriptor == self._in for descriptor, _ in ready):
                self._send()
                if not self._unsent:
                    self._poll.unregister(self._in)
            if any(descriptor == self._out for descriptor, _ in ready):
                return

    def sent(self, deadline: float) -> None:
        if not self._unsent:
            return
        self._poll.unregister(self._in)
        writable = select.poll()
        writable.register(self._in, select.POLLOUT)
        while self._unsent:
            if not writable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise Late
            self._send()

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._in, self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # its end of the pipe is closed
            raise Closed from None

    def close(self) -> None:
        """Nothing to let go of."""


class Threaded:
    """A thread for each pipe; see `Polled` for the arguments."""

    def __init__(self, asked: int, answered: int) -> None:
        self._in, self._out = asked, answered
        self._lines = queue.SimpleQueue[bytes | None]()
        self._chunks = queue.Queue[bytes](AHEAD)
        self._rest = memoryview(b"")
        self._free, self._broken, self._over = threading.Event(), False, False
        self._free.set()
        for work in (self._write_all, self._read_all):
            threading.Thread(target=work, daemon=True).start()

    def ask(self, line: bytes) -> None:
        if self._broken:
            raise Closed
        self._free.clear()
        self._lines.put(line)

    def read(self, deadline: float) -> bytes:
        return bytes(self._come(deadline))

    def read_into(self, buffers: Sequence[memoryview], deadline: float) -> int:
        come, count = self._come(deadline), 0
        for buffer in buffers:
            piece = come[count : count + len(buffer)]
            buffer[: len(piece)] = piece
            count += len(piece)
        self._rest = come[count:]
        return count

    def _come(self, deadline: float) -> memoryview:
        come, self._rest = self._rest, memoryview(b"")
        left = deadline - time.monotonic()
        if left <= 0:
            raise Late
        if come:
            return come
        try:
            chunk = self._chunks.get(timeout=left)
        except queue.Empty:
            raise Late from None
        if not chunk:
            self._chunks.put(b"")  # whoever asks again hears the same
            raise Closed
        return memoryview(chunk)

    def sent(self, deadline: float) -> None:
        if not self._free.wait(max(0.0, deadline - time.monotonic())):
            raise Late
        if self._broken:
            raise Closed

    def close(self) -> None:
        """The threads end with the pipes; one that waits for room is given some."""
        self._over = True
        self._lines.put(None)
        with contextlib.suppress(queue.Empty):
            while True:
                self._chunks.get_nowait()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            view = memoryview(line)
            try:
                while view:
                    view = view[os.write(self._in, view) :]
            except OSError:  # its end of the pipe is closed
                self._broken = True
                self._chunks.put(b"")  # who waits for an answer waits no longer
            self._free.set()

    def _read_all(self) -> None:
        chunk = b"."
        while chunk and not self._over:
            try:
                chunk = os.read(self._out, CHUNK)
            except OSError:  # ours was closed
                chunk = b""
            self._chunks.put(chunk)


class Lookout:
    """Looks for what comes before it goes to sleep, for as long as that pays.

    Args:
        descriptor: to look at.
    """

    def __init__(self, descriptor: int) -> None:
        self._pays = POLLS and _processors() > 1  # with one processor, the other side waits for our look to end
        self._rest, self._rests = 0, 1
        if self._pays:
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)

    def sees(self, deadline: float = float("inf")) -> bool:
        """Whether something is there within `AWAKE_S`."""
        if not self._pays:
            return False
        if self._rest:
            self._rest -= 1
            return False
        until = min(deadline, time.monotonic() + AWAKE_S)
        while time.monotonic() < until:
            if self._poll.poll(0):
                self._rests = 1
                return True
            _make_way()  # the system wakes the other side where we are, and it would wait for our look to end
        self._rest, self._rests = self._rests, min(2 * self._rests, RESTS)
        return False


_make_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


def _processors() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _widen(descriptor: int) -> None:
    with contextlib.suppress(ImportError, AttributeError, OSError):  # a courtesy that not every system offers
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE)


POLLS = hasattr(select, "poll") and hasattr(os, "readv") and hasattr(os, "set_blocking") and os.name == "posix"


def open_pipes(asked: int, answered: int) -> Pipes:
    """The kind that this system has."""
    return Polled(asked, answered) if POLLS else Threaded(asked, answered)
