"""A hosted model behind an API like OpenAI's: what it is asked over HTTP, and what came, as it came.

    completions, chat   POST URL/completions and URL/chat/completions, with the model's name in the body
    template            POST /apply-template, or /tokenize with messages, beside the path that ends in /v1
    together            several of the first two at once, each over a connection of its own

    an answer           whatever has the status 2xx, 4xx, 500 or 501: what it is worth, judges say
    Lost                no connection, a body that ended early, or no time (408, 425, 429, 502, 503, 504)
    TimedOut            no whole answer within the limit
    ProtocolBroken      no access (401, 403, 407), a redirect, a page of something else, no HTTP
    Malformed           bytes that are no text

Only what was turned away unheard (429, 503) is asked again, when the server says so or a second later, until the limit.

What a model can do is found by asking: a parameter that is accepted is a capability, and tested in full. A name that
the API does not have counts only where a wrong value of it is refused, because many servers accept any name. Whoever
certifies may add capabilities, and can take none away.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llmasos_conformance import wire
from llmasos_conformance.adapters.address import Endpoint, Target
from llmasos_conformance.adapters.sockets import Line, beginning, check_lengths, faults, holds, host_header, whole
from llmasos_conformance.errors import AddressError, CandidateFault, Lost, Malformed, ProtocolBroken, TimedOut
from llmasos_conformance.protocol import Claims, Description

JSON, EVENTS = "application/json", "text/event-stream"
AGAIN = frozenset({429, 503})
"""Statuses of what was turned away unheard."""
BUSY = frozenset({408, 425, 502, 504, *AGAIN})
"""Statuses of servers and gateways that have no time, which says nothing about the model."""
CLOSED = frozenset({401, 403, 407})
PAUSE_S = 1.0
"""Before asking again where the server names no time."""
RETURN_S = 10.0
"""How long a server may take to come back after a fault."""
BUSY_S = 120.0
"""How long one that can be reached may be busy with what nobody waits for any more: many do not notice that."""
DONE = "[DONE]"

Reply = dict[str, Any]
Ask = Callable[[str, Mapping[str, Any]], Reply]


def start(target: Target, token: str, *, timeout_s: float = 30.0, start_timeout_s: float = 120.0) -> Hosted:
    """Reach a server, and find out what its model can do.

    Args:
        target: with an endpoint. token: sent as bearer, or "".
        timeout_s: per request. start_timeout_s: for each request until it is known what it can do.

    Raises:
        AddressError: it cannot be reached, or answers nothing of the kind.
    """
    return Hosted(target, token, timeout_s=timeout_s, start_timeout_s=start_timeout_s)


class Hosted:
    """A candidate that others serve.

    Attributes:
        description: its name, what it can do, and what is claimed for it.
    """

    pid: int | None = None
    """Of a process of ours: there is none."""

    def __init__(self, target: Target, token: str, *, timeout_s: float, start_timeout_s: float) -> None:
        assert target.endpoint is not None
        self._target, self._token, self._endpoint = target, token, target.endpoint
        self._line = _Post(target, token)
        self._template = ""
        self._timeout = start_timeout_s
        self.description: Description = self._describe()
        self._timeout = timeout_s

    def __enter__(self) -> Hosted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Ask, and keep what came.

        Raises:
            Lost, TimedOut, ProtocolBroken, Malformed: see the module.
            ValueError: the question is malformed, which is not the candidate's doing.
        """
        wire.check_params(method, params)
        if method == "describe":
            return wire.describe(self.description)
        if method == "together":
            return wire.check_answer(method, params, {"answers": self._together(params["requests"])})
        if method not in ("completions", "chat", "template"):
            raise ValueError(f"{method}: a hosted model is asked completions, chat, template and together")
        return wire.check_answer(method, params, self._ask(self._line, method, params["request"]))

    def close(self) -> None:
        """Close the connection; the server goes on."""
        self._line.drop()

    def restart(self) -> None:
        """Reach it again. A server that somebody is starting anew is waited for, and one that is busy for longer.

        Raises:
            AddressError: it does not come back.
        """
        self.close()
        began = time.monotonic()
        while True:
            try:
                self._ask(self._line, self._endpoint.api, PLAIN[self._endpoint.api])
                return
            except CandidateFault as fault:
                self.close()
                if time.monotonic() - began > (BUSY_S if isinstance(fault, TimedOut) else RETURN_S):
                    raise AddressError(fault.message, where=self._target.address, hint="start the server") from None
                time.sleep(PAUSE_S / 5)

    def _ask(self, line: _Post, method: str, request: Mapping[str, Any]) -> Reply:
        path = {"completions": "/completions", "chat": "/chat/completions"}.get(method, "")
        place = self._template if method == "template" else self._target.path.rstrip("/") + path
        body = json.dumps({"model": self._endpoint.model, **request}, ensure_ascii=False, allow_nan=False).encode()
        return line.ask(place, body, self._timeout)

    def _together(self, requests: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """All at once, each over a connection of its own."""

        def one(asked: Mapping[str, Any]) -> Reply:
            line = _Post(self._target, self._token)
            try:
                return self._ask(line, asked["over"], asked["request"])
            finally:
                line.drop()

        with ThreadPoolExecutor(max(1, len(requests))) as pool:
            return list(pool.map(one, requests))

    def _describe(self) -> Description:
        """Who it is, and what it can do, by asking."""
        endpoint = self._endpoint
        try:
            first = self._ask(self._line, endpoint.api, PLAIN[endpoint.api])
            if not accepted(first):
                what = f"{endpoint.api} answers {first['status']}: {wire.quoted(first['body'].encode())}"
                raise AddressError(what, where=self._target.address, hint="check URL, model= and api= of the address")
            found = found_by_asking(endpoint.api, lambda api, request: self._ask(self._line, api, request))
            self._template = self._shown()
        except CandidateFault as fault:
            self.close()
            raise AddressError(fault.message, where=self._target.address, hint=_remedy(fault)) from None
        except AddressError:
            self.close()
            raise
        found |= {endpoint.api, "concurrent", *({"template"} if self._template else ())}
        fingerprint = _member(first["body"], "system_fingerprint")
        return wire.parse_description(
            Description(
                name=endpoint.model,
                version=endpoint.version or (fingerprint if _names(fingerprint) else "unknown"),
                capabilities=found | frozenset(endpoint.offers),
                claims=Claims(dtype=endpoint.dtype, determinism=endpoint.determinism),
                runtime={
                    "API": f"like OpenAI's {endpoint.api}",
                    "found by asking": ", ".join(sorted(found)),
                    **({"declared for it": ", ".join(endpoint.offers)} if endpoint.offers else {}),
                    **({"server": self._line.server} if self._line.server else {}),
                },
                architectures=(),
            ),
            self._target.address,
        )

    def _shown(self) -> str:
        """Where the server shows what messages become; "" if nowhere, or where a text of that form is not completed."""
        root = self._target.path.rstrip("/").removesuffix("/v1")
        for place in (f"{root}/apply-template", f"{root}/tokenize"):
            body = {"model": self._endpoint.model, "messages": PLAIN["chat"]["messages"]}
            reply = self._line.ask(place, json.dumps(body).encode(), self._timeout)
            prompt = templated(reply["body"]) if accepted(reply) else None
            if prompt is None:
                continue
            if accepted(self._ask(self._line, "completions", {**PLAIN["completions"], "prompt": prompt})):
                return place
        return ""


def _remedy(fault: CandidateFault) -> str:
    """What to do about a server that does not say what it can do."""
    if isinstance(fault, Lost):
        return "start the server, or check scheme, host and port of the address"
    if isinstance(fault, TimedOut):
        return "look whether the server is busy, and whether curl has an answer from it"
    return "check the URL of the address, and the variable that holds the token: …&token=VARIABLE"


# ── what it can do ──────────────────────────────────────────────────────────────────────────────────────────────────

PLAIN: Mapping[str, Mapping[str, Any]] = {
    "completions": {"prompt": "One, two, three,", "max_tokens": 1},
    "chat": {"messages": [{"role": "user", "content": "One, two, three,"}], "max_tokens": 1},
}
"""A request that every server answers, by API."""

OWN: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "completions": {
        "stop": {"stop": ["⁂"]}, "stream": {"stream": True}, "seed": {"seed": 7}, "top_p": {"top_p": 0.9},
        "logprobs": {"logprobs": 2}, "echo": {"echo": True}, "choices": {"n": 2, "temperature": 1},
        "frequency_penalty": {"frequency_penalty": 0.5}, "presence_penalty": {"presence_penalty": 0.5},
    },
    "chat": {
        "stop": {"stop": ["⁂"]}, "stream": {"stream": True}, "seed": {"seed": 7}, "top_p": {"top_p": 0.9},
        "logprobs": {"logprobs": True, "top_logprobs": 2}, "choices": {"n": 2, "temperature": 1},
        "frequency_penalty": {"frequency_penalty": 0.5}, "presence_penalty": {"presence_penalty": 0.5},
    },
}  # fmt: skip
"""Parameters that the API itself has, by API and capability: who accepts one is held to it."""

FURTHER: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "top_k": ({"top_k": 5}, {"top_k": "five"}),
    "min_p": ({"min_p": 0.1}, {"min_p": "tenth"}),
}
"""Parameters of many servers that the API does not have, and a wrong value of each."""


def found_by_asking(api: str, ask: Ask) -> frozenset[str]:
    """Capabilities of a server, by what it accepts.

    Args:
        ask: API and request -> what came.
    """
    plain = PLAIN[api]
    found = {name for name, extra in OWN[api].items() if accepted(ask(api, {**plain, **extra}))}
    for name, (right, wrong) in FURTHER.items():
        if accepted(ask(api, {**plain, **right})) and not accepted(ask(api, {**plain, **wrong})):
            found.add(name)
    return frozenset(found)


def accepted(reply: Mapping[str, Any]) -> bool:
    """Whether a server took a request."""
    return 200 <= int(reply["status"]) < 300


def templated(body: str) -> str | list[int] | None:
    """What messages became, as the prompt of a completion: a text, or ids; None if the body says nothing of it."""
    for name in ("prompt", "tokens"):
        value = _member(body, name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value and all(type(item) is int for item in value):
            return value
    return None


def _names(fingerprint: Any) -> bool:
    """Whether a fingerprint says anything."""
    return isinstance(fingerprint, str) and 0 < len(fingerprint) <= 100


def _member(body: str, name: str) -> Any:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value.get(name) if isinstance(value, dict) else None


# ── one request ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _Post:
    """Posts bodies to one server.

    Attributes:
        server: what the last response called its software, or "".
    """

    def __init__(self, target: Target, token: str) -> None:
        self._target, self._token, self._line, self.server = target, token, Line(target), ""

    def drop(self) -> None:
        self._line.drop()

    def ask(self, place: str, body: bytes, limit_s: float) -> Reply:
        """What comes, once the server has time.

        Raises:
            Lost, TimedOut, ProtocolBroken, Malformed: see the module.
        """
        deadline = time.monotonic() + limit_s
        try:
            with faults(limit_s, self._token):
                while True:
                    reply, wait_s = self._once(place, body, deadline)
                    if reply is not None:
                        return reply
                    self.drop()  # its body was not read
                    if wait_s > deadline - time.monotonic():
                        raise Lost(f"the server has no time; it is to be asked again in {wait_s:g} s")
                    time.sleep(wait_s)
        except CandidateFault:
            self.drop()
            raise

    def _once(self, place: str, body: bytes, deadline: float) -> tuple[Reply | None, float]:
        """What comes, or how long to wait before asking again."""
        response = self._begun(place, body, deadline)
        try:
            if response.status in AGAIN:
                return None, _pause(response.headers.get("Retry-After", ""))
            reply = self._read(response)
            self._line.used(response)
            return reply, 0.0
        finally:
            response.close()

    def _begun(self, place: str, body: bytes, deadline: float) -> http.client.HTTPResponse:
        """A response as far as its body.

        A server may close a connection that is kept whenever it likes, also without saying so, as uvicorn does behind a
        failure of its application. Where that meets a question, nothing of an answer has come, and it is asked over a
        new connection; one that is lost there is the server's doing.
        """
        head = (
            f"POST {place} HTTP/1.1", f"Host: {host_header(self._target)}", "User-Agent: llmasos",
            f"Content-Type: {JSON}", f"Accept: {JSON}, {EVENTS}", "Accept-Encoding: identity",
            *([f"Authorization: Bearer {self._token}"] if self._token else []), f"Content-Length: {len(body)}",
        )  # fmt: skip
        while True:
            stream, kept = self._line.ready(deadline), self._line.kept
            response = http.client.HTTPResponse(stream, method="POST")  # type: ignore[arg-type]
            try:
                stream.sendall("".join(f"{line}\r\n" for line in (*head, "")).encode() + body)
                response.begin()
                return response
            except (ConnectionError, ssl.SSLEOFError):
                response.close()
                self.drop()
                if not kept:
                    raise
            except BaseException:
                response.close()
                raise

    def _read(self, response: http.client.HTTPResponse) -> Reply:
        check_lengths(response)
        status, kind = response.status, response.headers.get_content_type()
        self._check_status(response)
        if 200 <= status < 300 and kind == "text/html":
            raise ProtocolBroken(f"a page and no answer of the API: {beginning(response)}")
        open_ended = response.length is None and not response.chunked
        raw = whole(response)
        if self._token and holds(raw, self._token):
            raise ProtocolBroken("an answer with the token in it; it was thrown away")
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"byte {error.start} of the answer is not UTF-8: {wire.quoted(raw)}") from None
        if open_ended and 200 <= status < 300 and not _ended(kind, text):
            raise Lost("the connection was closed before the end of the answer")
        self.server = response.headers.get("Server", "").strip()[:100]
        return {"status": status, "type": kind[: wire.MAX_HANDLE], "body": text}

    def _check_status(self, response: http.client.HTTPResponse) -> None:
        what = f"HTTP status {response.status} {response.reason:.60}".rstrip()
        if response.status in CLOSED:
            held = f"the token in {self._target.token} is not taken" if self._token else "it wants a token, as it seems"
            raise ProtocolBroken(f"{what}: {held}")
        if 300 <= response.status < 400:
            raise ProtocolBroken(f"{what}: redirects are not followed; give the address where the server is")
        if response.status in BUSY or response.status > 501:
            raise Lost(f"{what}: {beginning(response)}")


def _pause(said: str) -> float:
    """Seconds of a Retry-After; dates count as nothing said."""
    return float(said) if said.isascii() and said.isdecimal() else PAUSE_S


def _ended(kind: str, text: str) -> bool:
    """Whether a body that ends with its connection is whole, as far as it shows."""
    if kind == EVENTS:
        return text.rstrip().endswith(DONE)
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


__all__ = ["DONE", "FURTHER", "OWN", "PLAIN", "Endpoint", "Hosted", "accepted", "found_by_asking", "start", "templated"]
