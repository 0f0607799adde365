"""Serves any Python adapter over HTTP/1.1: each POST is a question, and its response the answer.

Connections have threads of their own; the adapter has one, the first of the process, and is asked one question after
another as it is on stdio. Who only wants to know who is there is not kept waiting.

    200   an answer, errors of the protocol among them; application/json, or with frames application/vnd.llmasos.frames
    401   without the token     405 no POST     411 no Content-Length    413 too long    415 not application/json
    421   to a name that is not this machine's, where this machine alone is served

It is for this machine; elsewhere it listens only where a token is asked for, and then TLS is the business of a proxy.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import queue
import re
import select
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llmasos_conformance import wire
from llmasos_conformance.adapters.address import is_loopback
from llmasos_conformance.adapters.answering import Desk
from llmasos_conformance.errors import ProtocolBroken

_PLACE = re.compile(r"(?:(?P<host>[^:/\s]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>\d{1,5})")
USAGE = 2


@dataclass(slots=True)
class _Job:
    """A question on its way to the adapter's thread."""

    line: bytes
    asker: socket.socket
    answer: queue.SimpleQueue[list[wire.Bytes]] = field(default_factory=queue.SimpleQueue)

    def awaited(self) -> bool:
        """Whether the asker is still there: what nobody waits for is not computed."""
        try:
            silent = not select.select([self.asker], [], [], 0)[0]
            return silent or self.asker.recv(1, socket.MSG_PEEK) != b""
        except (OSError, ValueError):  # the latter once it is closed
            return False


class Server:
    """Listens at once, and answers while `run` runs.

    Args:
        desk: of the adapter. host, port: where to listen. token: that askers must show, or "".

    Attributes:
        address: of the server, as a candidate's address.
    """

    def __init__(self, desk: Desk, host: str, port: int, token: str = "") -> None:
        self._desk, self._jobs = desk, queue.SimpleQueue[_Job | None]()
        handler = type("Handler", (_Handler,), {"office": self, "token": token, "local": is_loopback(host)})
        kind = type("Listener", (_Listener,), {"address_family": socket.AF_INET6}) if ":" in host else _Listener
        self._listener = kind((host, port), handler)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self._listener.server_address[1]}"
        threading.Thread(target=self._listener.serve_forever, args=(0.1,), daemon=True).start()

    def run(self) -> int:
        """Answer until the adapter ends itself, or `stop`; returns the exit status."""
        try:
            while (job := self._jobs.get()) is not None:
                if job.awaited():
                    job.answer.put(self._desk.answer(job.line))
                    if self._desk.status is not None:
                        self._listener.handled.wait(1.0)  # the last answer still has to leave
                        return self._desk.status
                else:
                    job.answer.put([])
            return 0
        finally:
            self._listener.shutdown()
            self._listener.server_close()

    def stop(self) -> None:
        self._jobs.put(None)

    def ask(self, line: bytes, asker: socket.socket) -> list[wire.Bytes]:
        """The answer to a line."""
        if _asks_who(line):
            return self._desk.answer(line)
        job = _Job(line, asker)
        self._listener.handled.clear()
        self._jobs.put(job)
        return job.answer.get()

    def answered(self) -> None:
        self._listener.handled.set()


def _asks_who(line: bytes) -> bool:
    with contextlib.suppress(ProtocolBroken):
        return len(line) < 256 and wire.parse_line(line).get("method") == "describe"
    return False


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.handled = threading.Event()
        super().__init__(place, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "llmasos", ""
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    office: Server
    token: str
    local: bool

    def do_POST(self) -> None:
        refused = self._refused()
        if refused is not None:
            self._say(*refused)
            return
        line = self.rfile.read(int(self.headers["Content-Length"]))
        message = self.office.ask(line, self.connection)
        if not message:  # nobody waits for it
            self.close_connection = True
        else:
            kind = wire.FRAMES_TYPE if len(message) > 1 else wire.LINE_TYPE
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(sum(map(len, message))))
            self.end_headers()
            for part in message:
                self.wfile.write(part)
            self.wfile.flush()
        self.office.answered()

    def do_GET(self) -> None:
        self._say(405, "questions of the protocol are posted")

    def _refused(self) -> tuple[int, str] | None:
        """Status and reason, where a request is none of the protocol's."""
        name = self.headers.get("Host", "").rpartition("@")[2]
        host = name.partition("]")[0].lstrip("[") if name.startswith("[") else name.partition(":")[0]
        if self.local and not is_loopback(host):  # a page of somebody else's, whose name was pointed here
            return 421, "this server is for its own machine"
        shown = self.headers.get("Authorization", "")
        if self.token and not hmac.compare_digest(shown.encode(), f"Bearer {self.token}".encode()):
            return 401, "the token is missing or another one"
        if self.headers.get_content_type() != wire.LINE_TYPE:
            return 415, f"{wire.LINE_TYPE} is due"
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            return 411, "Content-Length is due"
        if int(length) > wire.MAX_LINE:
            return 413, f"{wire.MAX_LINE} bytes are allowed"
        return None

    def _say(self, status: int, reason: str) -> None:
        """Refuse, and close: what comes behind such a request is not read."""
        body = f"{reason}\n".encode()
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are the harness's to record."""


def main(load: Callable[[], Any], place: str, variable: str) -> int:
    """Serve until the process is ended.

    Args:
        load: makes the connection to the adapter. place: [host:]port. variable: holds the token, or "".
    """
    matched = _PLACE.fullmatch(place)
    host = ((matched and matched["host"]) or "127.0.0.1").strip("[]")
    token = os.environ.get(variable, "") if variable else ""
    wrong = ""
    if matched is None or int(matched["port"]) > 65535:
        wrong = f"--http {place}: [HOST:]PORT is due"
    elif variable and not token:
        wrong = f"--token {variable}: the variable is not set"
    elif not token and not is_loopback(host):
        wrong = f"--http {place}: elsewhere than on this machine a --token is due"
    if wrong:
        print(wrong, file=sys.stderr)
        return USAGE
    assert matched is not None
    desk = Desk(load)
    if desk.failure is not None:
        print(desk.failure.render(), file=sys.stderr)
        return desk.failure.exit_code
    try:
        server = Server(desk, host, int(matched["port"]), token)
    except OSError as error:
        print(f"--http {place}: {error.strerror}", file=sys.stderr)
        return USAGE
    print(f"serving at {server.address}", file=sys.stderr, flush=True)
    try:
        return server.run()
    except KeyboardInterrupt:
        return 130
