"""A channel to a server that speaks the protocol over HTTP/1.1: a POST for each question, the connection kept.

What may leave this process is what was asked for: no redirect is followed, no proxy and no password is taken from the
environment, and a bearer token comes from the variable that the address names. It is sent to that server alone, over
TLS or to this machine, and what comes back with the token in it is no answer.

The clock covers a whole exchange (`sockets`). Nothing is asked twice: nobody knows whether a lost question was heard.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from llmasos_conformance import wire
from llmasos_conformance.adapters.address import Target
from llmasos_conformance.adapters.remote import Channel, Remote, unwatched
from llmasos_conformance.adapters.sockets import (
    Line,
    beginning,
    check_lengths,
    faults,
    fill,
    holds,
    host_header,
    whole,
    without,
)
from llmasos_conformance.errors import AddressError, Lost, ProtocolBroken
from llmasos_conformance.protocol import Refusal

RETURN_S = 10.0
"""How long a server may take to come back after a fault: who restarts it needs a moment."""
PAUSE_S = 0.2


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
        self._token, self._line = token, Line(target)
        self._head = "".join(
            f"{line}\r\n"
            for line in (
                f"POST {target.path} HTTP/1.1",
                f"Host: {host_header(target)}",
                "User-Agent: llmasos",
                f"Content-Type: {wire.LINE_TYPE}",
                "Accept-Encoding: identity",
                *([f"Authorization: Bearer {token}"] if token else []),
            )
        )

    def exchange(self, line: bytes, limit_s: float, *, frames: bool) -> wire.Message:
        """Post a line and read what comes."""
        with faults(limit_s, self._token):
            stream = self._line.ready(time.monotonic() + limit_s)
            accepted = f"{wire.LINE_TYPE}, {wire.FRAMES_TYPE}" if frames else wire.LINE_TYPE
            stream.sendall(f"{self._head}Accept: {accepted}\r\nContent-Length: {len(line)}\r\n\r\n".encode() + line)
            response = http.client.HTTPResponse(stream, method="POST")  # type: ignore[arg-type]
            try:
                response.begin()
                message = self._read(response, frames=frames)
                self._line.used(response)
                return message
            finally:
                response.close()

    def end(self, grace_s: float) -> str:
        self._line.drop()
        return ""

    def _read(self, response: http.client.HTTPResponse, *, frames: bool) -> wire.Message:
        """The message in a response."""
        if self._check_head(response, frames=frames) == wire.LINE_TYPE:
            raw = whole(response)
        else:
            raw = response.readline(wire.MAX_LINE + 1)
        if self._token and holds(raw, self._token):
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
            fill(response, buffer)
        if response.read1(1):
            raise ProtocolBroken(f"more bytes than the line announces: {wire.quoted(raw)}")
        return wire.Message(raw, answer, [buffer.toreadonly() for buffer in buffers])

    def _check_head(self, response: http.client.HTTPResponse, *, frames: bool) -> str:
        """The content type, if status and headers are those of an answer."""
        if response.status != 200:
            self._refuse_status(response)
        check_lengths(response)
        kind = response.headers.get("Content-Type", "")
        name = kind.partition(";")[0].strip().lower()
        if name != wire.LINE_TYPE and not (frames and name == wire.FRAMES_TYPE):
            due = f"{wire.LINE_TYPE} or {wire.FRAMES_TYPE}" if frames else wire.LINE_TYPE
            raise ProtocolBroken(f"an answer of type {self._safe(kind)!r:.60}; {due} was due: {beginning(response)}")
        return name

    def _refuse_status(self, response: http.client.HTTPResponse) -> NoReturn:
        what = f"HTTP status {response.status} {self._safe(response.reason):.60}".rstrip()
        if response.status in (401, 403):
            raise ProtocolBroken(f"{what}: name the variable that holds its token, http://…#token=VARIABLE")
        if 300 <= response.status < 400:
            raise ProtocolBroken(f"{what}: redirects are not followed; give the address where the server is")
        raise ProtocolBroken(f"{what}; an answer has status 200, errors of the protocol too: {beginning(response)}")

    def _safe(self, text: str) -> str:
        return without(self._token, text)
