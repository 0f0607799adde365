"""HTTP before an `Api`: a thread for each connection, one answer after another."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llmasos_conformance.adapters.address import is_loopback
from llmasos_conformance.adapters.openai.api import EVENTS, Api, Reply
from llmasos_conformance.adapters.openai.model import BundleModel
from llmasos_conformance.errors import CandidateFault, HarnessError
from llmasos_conformance.protocol import Refusal

ROUTES = {"/v1/completions": "completions", "/v1/chat/completions": "chat", "/apply-template": "template"}
MAX_BODY = 64 * 2**20
_PLACE = re.compile(r"(?:(?P<host>[^:/\s]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>\d{1,5})")
USAGE = 2


class Server:
    """Listens and answers from the moment that it is made.

    Attributes:
        url: behind which the API lies.
    """

    def __init__(self, api: Api, host: str = "127.0.0.1", port: int = 0) -> None:
        handler = type("Handler", (_Handler,), {"api": api, "lock": threading.Lock()})
        kind = type("Listener", (_Listener,), {"address_family": socket.AF_INET6}) if ":" in host else _Listener
        self._listener = kind((host, port), handler)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._listener.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until the server is stopped."""
        self._thread.join()

    def stop(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "llmasos", ""
    disable_nagle_algorithm = True
    api: Api
    lock: threading.Lock

    def do_POST(self) -> None:
        route = ROUTES.get(self.path)
        length = self.headers.get("Content-Length", "")
        if route is None or not length.isdecimal() or int(length) > MAX_BODY:
            status = 404 if route is None else 411 if not length.isdecimal() else 413
            self.close_connection = True
            self._send(self._error(status, "nothing is served here" if route is None else "the body's length"))
            return
        raw = self.rfile.read(int(length))
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            self._send(self._error(400, f"the body is no JSON: {error}"))
            return
        with self.lock:
            self._send(self._answer(route, body))

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            listed = [{"id": self.api.name, "object": "model", "created": 0, "owned_by": "llmasos"}]
            self._send({"status": 200, "type": "application/json", "body": json.dumps({"object": "list",
                                                                                      "data": listed})})  # fmt: skip
            return
        self._send(self._error(404, "nothing is served here"))

    def _answer(self, route: str, body: Any) -> Reply:
        try:
            return self.api.answer(route, body)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return self._error(500, "the server failed", "server_error")

    def _error(self, status: int, message: str, kind: str = "invalid_request_error") -> Reply:
        error = {"message": message, "type": kind, "param": None, "code": None}
        return {"status": status, "type": "application/json", "body": json.dumps({"error": error})}

    def _send(self, reply: Reply) -> None:
        """A body with its length, or events in chunks."""
        body = reply["body"].encode()
        events = reply["type"] == EVENTS
        self.send_response(reply["status"])
        self.send_header("Content-Type", reply["type"])
        self.send_header(*(("Transfer-Encoding", "chunked") if events else ("Content-Length", str(len(body)))))
        self.end_headers()
        with contextlib.suppress(OSError):
            if not events:
                self.wfile.write(body)
                return
            for event in filter(None, re.split(rb"(?<=\n\n)", body)):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not for the terminal."""


def main(load: Callable[[], Any], place: str, bundle: str, name: str) -> int:
    """Serve a bundle until the process is ended.

    Args:
        load: makes the connection to the adapter. place: [host:]port. bundle: directory. name: of the model.
    """
    matched = _PLACE.fullmatch(place)
    host = ((matched and matched["host"]) or "127.0.0.1").strip("[]")
    wrong = ""
    if matched is None or int(matched["port"]) > 65535:
        wrong = f"--openai {place}: [HOST:]PORT is due"
    elif not is_loopback(host):
        wrong = f"--openai {place}: it is for this machine alone; put a proxy with TLS and a token before it"
    elif not bundle:
        wrong = "--openai: --bundle DIR is due"
    if wrong:
        print(wrong, file=sys.stderr)
        return USAGE
    assert matched is not None
    try:
        server = Server(Api(BundleModel(load(), bundle), name), host, int(matched["port"]))
    except HarnessError as error:
        print(error.render(), file=sys.stderr)
        return error.exit_code
    except (Refusal, CandidateFault) as error:
        print(f"--bundle {bundle}: {error.message}", file=sys.stderr)
        return USAGE
    except OSError as error:
        print(f"--openai {place}: {error.strerror}", file=sys.stderr)
        return USAGE
    print(f"serving at openai:{server.url}#model={name}", file=sys.stderr, flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        return 130
    return 0
