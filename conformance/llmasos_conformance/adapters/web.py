"""A channel to a server that speaks the protocol over HTTP/1.1: a POST for each question, the connection kept.

What may leave this process is what was asked for: no redirect is followed, no proxy and no password is taken from the
environment, and a bearer token comes from the variable that the address names. It is sent to that server alone, over
TLS or to this machine, and what comes back with the token in it is no answer.

The clock covers a whole exchange, from the name of the server to the last byte, so that one who sends a byte now and
then does not hold us. Nothing is asked twice: nobody knows whether a lost question was heard.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from llmasos_conformance import wire
from llmasos_conformance.adapters.address import Target
from llmasos_conformance.adapters.remote import Channel, Remote, unwatched
from llmasos_conformance.errors import AddressError, Lost, ProtocolBroken, TimedOut
from llmasos_conformance.protocol import Refusal

IDLE_S = 2.0
"""How long a connection may have been silent before it is made anew. Servers commonly close theirs after 5 s, and a
question that meets the closing is lost."""
RETURN_S = 10.0
"""How long a server may take to come back after a fault: who restarts it needs a moment."""
PAUSE_S = 0.2
BUFFER = 1 << 16
SHOWN = 120
LEAST = 8
"""Characters of a token that nobody may read, and of which others hardly consist."""


def start(
    target: Target, token: str, *, timeout_s: float = 30.0, start_timeout_s: float = 120.0, frames: bool = True,
    watch: Callable[[Channel], Channel] = unwatched,
) -> Remote:  # fmt: skip
    """Reach a server and let it describe itself.

    Args:
        target: with a url. token: sent as bearer, or "".
        timeout_s: per call. start_timeout_s: until it has described itself. frames: False leaves them unused.
        watch: see `connect`.

    Raises:
        AddressError: it cannot be reached, or does not describe itself.
    """
    return _Served(
        lambda: watch(_Connection(target, token)),
        address=target.address,
        timeout_s=timeout_s,
        start_timeout_s=start_timeout_s,
        remedy="start the server, and post it a describe request by hand; docs/protocol.md has one",
        gone=Lost("its connection is gone since an earlier call"),
        frames=frames,
    )


class _Served(Remote):
    """A candidate that others start and end. It may live elsewhere, where no path of ours leads to a bundle."""

    _sees = False
    """Whether it has opened a bundle of ours. Before that, "not found" may speak of the place and not of the bundle."""

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = super().call(method, params)
        except Refusal as refusal:
            if method == "load_model" and refusal.code == "not_found" and not self._sees and _is_bundle(params["path"]):
                what = f"load_model: the server does not see {params['path']}, which is there"
                raise Lost(f"{what}; let it share this machine's files, or set TMPDIR to what it shares") from None
            raise
        self._sees = self._sees or method == "load_model"
        return answer

    def restart(self) -> None:
        """Reach it again. A server that somebody is starting anew is waited for."""
        deadline = time.monotonic() + RETURN_S
        while True:
            try:
                return super().restart()
            except AddressError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_S)


def _is_bundle(path: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return (Path(path) / "model.json").is_file()
    return False


class _Connection:
    """A connection, made when it is needed and kept while both sides keep it."""

    pid: int | None = None

    def __init__(self, target: Target, token: str) -> None:
        self._target, self._token = target, token
        host = f"[{target.host}]" if ":" in target.host else target.host
        default = {"http": 80, "https": 443}[target.scheme]
        self._head = "".join(
            f"{line}\r\n"
            for line in (
                f"POST {target.path} HTTP/1.1",
                f"Host: {host}" + ("" if target.port == default else f":{target.port}"),
                "User-Agent: llmasos",
                f"Content-Type: {wire.LINE_TYPE}",
                "Accept-Encoding: identity",
                *([f"Authorization: Bearer {token}"] if token else []),
            )
        )
        self._wire: _Wire | None = None
        self._used = 0.0

    def exchange(self, line: bytes, limit_s: float, *, frames: bool) -> wire.Message:
        """Post a line and read what comes."""
        deadline = time.monotonic() + limit_s
        try:
            stream = self._connected(deadline)
            accepted = f"{wire.LINE_TYPE}, {wire.FRAMES_TYPE}" if frames else wire.LINE_TYPE
            stream.sendall(f"{self._head}Accept: {accepted}\r\nContent-Length: {len(line)}\r\n\r\n".encode() + line)
            response = http.client.HTTPResponse(stream, method="POST")  # type: ignore[arg-type]
            try:
                response.begin()
                message = self._read(response, frames=frames)
                self._used = time.monotonic()
                if response.will_close:
                    self._drop()
                return message
            finally:
                response.close()
        except TimeoutError:
            raise TimedOut(f"no answer within {limit_s} s") from None
        except http.client.IncompleteRead:
            raise Lost("the answer ended early") from None
        except http.client.RemoteDisconnected:
            raise Lost("the connection was closed without an answer") from None
        except http.client.HTTPException as error:
            what = f"not an answer of HTTP/1.1 ({type(error).__name__}: {self._safe(str(error)):.{SHOWN}})"
            raise ProtocolBroken(what) from None
        except OSError as error:
            raise Lost(f"the connection was lost: {_reason(error)}") from None
        except ProtocolBroken as fault:
            raise ProtocolBroken(self._safe(fault.message)) from None

    def end(self, grace_s: float) -> str:
        self._drop()
        return ""

    def _drop(self) -> None:
        kept, self._wire = self._wire, None
        if kept is not None:
            kept.shut()

    def _connected(self, deadline: float) -> _Wire:
        """The connection of the last question if it is still good, or a new one."""
        if self._wire is not None:
            if unasked := self._wire.unasked():
                raise ProtocolBroken(f"it wrote unasked: {wire.quoted(unasked)}")
            if self._wire.closed or time.monotonic() - self._used > IDLE_S:
                self._drop()
        if self._wire is None:
            try:
                self._wire = _Wire(self._target, deadline)
            except TimeoutError:
                raise
            except OSError as error:  # a name that nobody knows, no route, nobody there, a certificate
                raise Lost(f"the server cannot be reached: {_reason(error)}") from None
        self._wire.deadline = deadline
        return self._wire

    def _read(self, response: http.client.HTTPResponse, *, frames: bool) -> wire.Message:
        """The message in a response."""
        if self._check_head(response, frames=frames) == wire.LINE_TYPE:
            raw = _whole(response)
        else:
            raw = response.readline(wire.MAX_LINE + 1)
        if self._token and _holds(raw, self._token):
            raise ProtocolBroken("an answer with the token in it; it was thrown away")
        try:
            answer = wire.parse_line(raw)
        except ProtocolBroken:
            if response.length:  # known, and not all of it came
                raise Lost(f"the answer ended early, {response.length} bytes before its end") from None
            raise
        if response.isclosed():
            if frames and "frames" in answer:
                raise ProtocolBroken(f"frames are announced, and none came; they need the type {wire.FRAMES_TYPE}")
            return wire.Message(raw, answer)
        buffers = [memoryview(bytearray(length)) for length in wire.frame_lengths(answer)]
        for buffer in buffers:
            _fill(response, buffer)
        if response.read1(1):
            raise ProtocolBroken(f"more bytes than the line announces: {wire.quoted(raw)}")
        return wire.Message(raw, answer, [buffer.toreadonly() for buffer in buffers])

    def _check_head(self, response: http.client.HTTPResponse, *, frames: bool) -> str:
        """The content type, if status and headers are those of an answer."""
        if response.status != 200:
            self._refuse_status(response)
        lengths = set(response.headers.get_all("Content-Length", []))
        if any(not length.isdecimal() or not length.isascii() for length in lengths) or len(lengths) > 1:
            raise ProtocolBroken(f"Content-Length is {', '.join(sorted(lengths))!r:.60}, one number of bytes was due")
        if (coding := response.headers.get("Content-Encoding", "identity")) != "identity":
            raise ProtocolBroken(f"an answer encoded as {coding!r:.60}; none was asked for")
        kind = response.headers.get("Content-Type", "")
        name = kind.partition(";")[0].strip().lower()
        if name != wire.LINE_TYPE and not (frames and name == wire.FRAMES_TYPE):
            due = f"{wire.LINE_TYPE} or {wire.FRAMES_TYPE}" if frames else wire.LINE_TYPE
            raise ProtocolBroken(
                f"an answer of type {self._safe(kind)!r:.60}; {due} was due: {self._beginning(response)}"
            )
        return name

    def _refuse_status(self, response: http.client.HTTPResponse) -> NoReturn:
        what = f"HTTP status {response.status} {self._safe(response.reason):.60}".rstrip()
        if response.status in (401, 403):
            raise ProtocolBroken(f"{what}: name the variable that holds its token, http://…#token=VARIABLE")
        if 300 <= response.status < 400:
            raise ProtocolBroken(f"{what}: redirects are not followed; give the address where the server is")
        raise ProtocolBroken(
            f"{what}; an answer has status 200, errors of the protocol too: {self._beginning(response)}"
        )

    def _beginning(self, response: http.client.HTTPResponse) -> str:
        """Of a body that is no answer, as far as it has come."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return wire.quoted(response.read1(4 * SHOWN))
        return "…"

    def _safe(self, text: str) -> str:
        """A text without the token, which a server may have sent back in whatever it sends, nor its beginning, where
        the text was cut."""
        for length in range(len(self._token), LEAST - 1, -1):
            text = text.replace(self._token[:length], "…")
        return text


def _holds(raw: bytes, token: str) -> bool:
    """Whether a token stands in a line, also as encoders that mask slashes write it."""
    return token.encode() in raw.replace(b"\\/", b"/")


def _whole(response: http.client.HTTPResponse) -> bytes:
    """A body that is a line."""
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
    _fill(response, memoryview(body))
    return bytes(body)


def _fill(response: http.client.HTTPResponse, buffer: memoryview) -> None:
    while len(buffer):
        read = response.readinto(buffer)
        if not read:
            raise Lost(f"the answer ended early, {len(buffer)} bytes before its end")
        buffer = buffer[read:]


def _reason(error: OSError) -> str:
    return f"{error.strerror or error or type(error).__name__}"


# ── sockets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Wire:
    """A socket whose every operation ends at the deadline of the exchange. It looks like a socket to http.client."""

    def __init__(self, target: Target, deadline: float) -> None:
        self._raw = _Raw(_open(target, deadline))
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


def _open(target: Target, deadline: float) -> socket.socket:
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
