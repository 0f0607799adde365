"""Sockets with a deadline, and bodies of HTTP: what is the same for all that is asked over HTTP.

The clock covers a whole exchange, from the name of the server to the last byte, so that one who sends a byte now and
then does not hold us.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

from llmasos_conformance import wire
from llmasos_conformance.adapters.address import Target
from llmasos_conformance.errors import Lost, ProtocolBroken, TimedOut

IDLE_S = 2.0
"""How long a connection may have been silent before it is made anew. Servers commonly close theirs after 5 s, and a
question that meets the closing is lost."""
BUFFER = 1 << 16
SHOWN = 120
"""Characters of something unexpected that a message shows."""
LEAST = 8
"""Characters of a token that nobody may read, and of which others hardly consist."""


def without(token: str, text: str) -> str:
    """A text without the token, which a server may have sent back in whatever it sends, nor its beginning, where the
    text was cut."""
    for length in range(len(token), LEAST - 1, -1):
        text = text.replace(token[:length], "…")
    return text


def holds(raw: bytes, token: str) -> bool:
    """Whether a token stands in a body, also as encoders that mask slashes write it."""
    return token.encode() in raw.replace(b"\\/", b"/")


@contextlib.contextmanager
def faults(limit_s: float, token: str) -> Iterator[None]:
    """Whatever breaks an exchange over HTTP, as the fault that it is.

    Raises:
        TimedOut, Lost, ProtocolBroken.
    """
    try:
        yield
    except TimeoutError:
        raise TimedOut(f"no answer within {limit_s} s") from None
    except http.client.IncompleteRead:
        raise Lost("the answer ended early") from None
    except http.client.RemoteDisconnected:
        raise Lost("the connection was closed without an answer") from None
    except http.client.HTTPException as error:
        what = f"not an answer of HTTP/1.1 ({type(error).__name__}: {without(token, str(error)):.{SHOWN}})"
        raise ProtocolBroken(what) from None
    except OSError as error:
        raise Lost(f"the connection was lost: {reason(error)}") from None
    except ProtocolBroken as fault:
        raise ProtocolBroken(without(token, fault.message)) from None


def check_lengths(response: http.client.HTTPResponse) -> None:
    """Complain of headers that leave open where a body ends, or how to read it."""
    lengths = set(response.headers.get_all("Content-Length", []))
    if any(not length.isdecimal() or not length.isascii() for length in lengths) or len(lengths) > 1:
        raise ProtocolBroken(f"Content-Length is {', '.join(sorted(lengths))!r:.60}, one number of bytes was due")
    if (coding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise ProtocolBroken(f"an answer encoded as {coding!r:.60}; none was asked for")


def beginning(response: http.client.HTTPResponse) -> str:
    """Of a body that is no answer, as far as it has come."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return wire.quoted(response.read1(4 * SHOWN))
    return "…"


def whole(response: http.client.HTTPResponse) -> bytes:
    """A body that is a line.

    Raises:
        ProtocolBroken: too long. Lost: it ended early.
    """
    if response.length is None:
        body = bytearray()
        while piece := response.read1(BUFFER):
            body += piece
            if len(body) > wire.MAX_LINE:
                raise ProtocolBroken(
                    f"an answer of more than {wire.MAX_LINE} bytes: {wire.quoted(bytes(body[:SHOWN]))}"
                )
        return bytes(body)
    if response.length > wire.MAX_LINE:
        raise ProtocolBroken(f"an answer of {response.length} bytes; {wire.MAX_LINE} are allowed")
    body = bytearray(response.length)
    fill(response, memoryview(body))
    return bytes(body)


def fill(response: http.client.HTTPResponse, buffer: memoryview) -> None:
    """Read as many bytes of a body as a buffer holds; Lost if there are fewer."""
    while len(buffer):
        read = response.readinto(buffer)
        if not read:
            raise Lost(f"the answer ended early, {len(buffer)} bytes before its end")
        buffer = buffer[read:]


def reason(error: OSError) -> str:
    """What a system says of what went wrong, in words."""
    return f"{error.strerror or error or type(error).__name__}"


# ── sockets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Line:
    """A connection to a server, made when it is needed and kept while both sides keep it.

    Attributes:
        kept: whether the one that was ready last had been used before.
    """

    def __init__(self, target: Target) -> None:
        self.kept = False
        self._target = target
        self._wire: Wire | None = None
        self._used = 0.0

    def ready(self, deadline: float) -> Wire:
        """The connection of the last question if it is still good, or a new one.

        Raises:
            Lost: the server cannot be reached. ProtocolBroken: it wrote unasked. TimeoutError.
        """
        if self._wire is not None:
            if unasked := self._wire.unasked():
                raise ProtocolBroken(f"it wrote unasked: {wire.quoted(unasked)}")
            if self._wire.closed or time.monotonic() - self._used > IDLE_S:
                self.drop()
        self.kept = self._wire is not None
        if self._wire is None:
            try:
                self._wire = Wire(self._target, deadline)
            except TimeoutError:
                raise
            except OSError as error:  # a name that nobody knows, no route, nobody there, a certificate
                raise Lost(f"the server cannot be reached: {reason(error)}") from None
        self._wire.deadline = deadline
        return self._wire

    def used(self, response: http.client.HTTPResponse) -> None:
        """A whole response has come; the connection is kept unless the server wants it otherwise."""
        self._used = time.monotonic()
        if response.will_close:
            self.drop()

    def drop(self) -> None:
        kept, self._wire = self._wire, None
        if kept is not None:
            kept.shut()


def host_header(target: Target) -> str:
    """What stands behind Host, or in a URL."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    default = {"http": 80, "https": 443}[target.scheme]
    return host + ("" if target.port == default else f":{target.port}")


class Wire:
    """A socket whose every operation ends at the deadline of the exchange. It looks like a socket to http.client."""

    def __init__(self, target: Target, deadline: float) -> None:
        self._raw = _Raw(open_socket(target, deadline))
        self._reader = _Kept(self._raw, BUFFER)
        self.deadline = deadline

    @property
    def deadline(self) -> float:
        return self._raw.deadline

    @deadline.setter
    def deadline(self, moment: float) -> None:
        self._raw.deadline = moment

    def sendall(self, data: bytes) -> None:
        self._raw.socket.settimeout(_left(self.deadline))
        self._raw.socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """One reader for all responses, so that what came too early is not lost with the reader of the last."""
        return self._reader

    def unasked(self) -> bytes:
        """What has come although nothing was asked; it does not wait."""
        self._raw.waits = False
        try:
            return self._reader.peek(1)
        finally:
            self._raw.waits = True

    @property
    def closed(self) -> bool:
        """Whether the other side has closed it, as far as `unasked` has seen."""
        return self._raw.ended

    def shut(self) -> None:
        self._reader.shut()
        self._raw.socket.close()


class _Raw(io.RawIOBase):
    """Reads a socket until a deadline, or only what is there."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket, self.deadline, self.waits, self.ended = connected, 0.0, True, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self.socket.settimeout(_left(self.deadline) if self.waits else 0.0)
        try:
            read = self.socket.recv_into(buffer)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError:
            self.ended = True
            if self.waits:
                raise
            return 0
        self.ended = self.ended or not read
        return read


class _Kept(io.BufferedReader):
    """A reader that a response cannot close."""

    def close(self) -> None:
        pass

    def shut(self) -> None:
        super().close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def open_socket(target: Target, deadline: float) -> socket.socket:
    """A connected socket. Looking up a name has the system's own limit, everything after it ours."""
    last: OSError = OSError("no address")
    for family, kind, number, _, place in socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM):
        made = socket.socket(family, kind, number)
        try:
            made.settimeout(_left(deadline))
            made.connect(place)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if target.scheme == "https":
                made = ssl.create_default_context().wrap_socket(made, server_hostname=target.host)
            return made
        except TimeoutError:
            made.close()
            raise
        except OSError as error:
            made.close()
            last = error
    raise last
