"""A request to the API, judged: what is asked for, or why it is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

ROLES = ("system", "user", "assistant")
MOST_STOPS = 64
MOST_LOGPROBS = 20
MOST_CHOICES = 16
COMPLETION_TOKENS = 16
"""Of a completion that names no limit; the API's own default."""


class Refused(Exception):
    """A request that is not served.

    Attributes:
        status: of HTTP. message: for people. parameter: what is wrong, or "". code: for programs, or "".
    """

    def __init__(self, status: int, message: str, parameter: str = "", code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.parameter, self.code = status, message, parameter, code


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request asks for.

    Attributes:
        api: "completions" or "chat". prompt: a text, or ids. messages: of a chat, role and text.
        max_tokens: None for as many as the context holds.
        logprobs: how many of the likeliest tokens to state beside each that is chosen; None states nothing.
        usage: a stream ends with counts.
    """

    api: str
    model: str
    prompt: str | tuple[int, ...] = ""
    messages: tuple[tuple[str, str], ...] = ()
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    echo: bool = False
    stream: bool = False
    usage: bool = False
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0


_REAL: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0), "top_p": (0.0, 1.0), "min_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0), "presence_penalty": (-2.0, 2.0),
}  # fmt: skip
_WHOLE: Mapping[str, tuple[int, float]] = {
    "max_tokens": (0, math.inf), "top_k": (0, math.inf), "seed": (-(2**63), 2**63 - 1), "n": (1, MOST_CHOICES),
}  # fmt: skip
_FLAGS = ("stream", "echo")
_UNUSED = frozenset({"model", "user"})

NAMES: Mapping[str, frozenset[str]] = {
    "completions": frozenset({*_REAL, *_WHOLE, *_FLAGS, *_UNUSED, "prompt", "stop", "logprobs", "stream_options"}),
    "chat": frozenset(
        {*_REAL, *_WHOLE, *_UNUSED, "stream", "messages", "stop", "logprobs", "top_logprobs", "stream_options",
         "max_completion_tokens"}
    ),
}  # fmt: skip
"""Parameters, by API."""


def judged(api: str, body: Any) -> Wanted:
    """A body as what it asks for.

    Raises:
        Refused: 400, naming the parameter.
    """
    if not isinstance(body, Mapping):
        raise Refused(400, "the body is no object")
    for name in body:
        if name not in NAMES[api]:
            raise Refused(400, f"unknown parameter {name!r:.60}", str(name)[:60], "unknown_parameter")
    given = {name: value for name, value in body.items() if value is not None and name not in _UNUSED}
    made: dict[str, Any] = {"api": api, "model": _text(body.get("model"), "model")}
    made |= {name: _real(given[name], name) for name in _REAL if name in given}
    made |= {name: _whole(given[name], name) for name in _WHOLE if name in given}
    made |= {name: _flag(given[name], name) for name in _FLAGS if name in given}
    if "max_completion_tokens" in given:
        made["max_tokens"] = _whole(given["max_completion_tokens"], "max_tokens")
    if "stop" in given:
        made["stop"] = _stops(given["stop"])
    if "stream_options" in given:
        made["usage"] = _options(given["stream_options"])
    if api == "chat":
        return Wanted(**made, messages=_messages(given.get("messages")), logprobs=_top_logprobs(given))
    logprobs = None if "logprobs" not in given else _whole(given["logprobs"], "logprobs", (0, MOST_LOGPROBS))
    made.setdefault("max_tokens", COMPLETION_TOKENS)
    return Wanted(**made, prompt=_prompt(given.get("prompt")), logprobs=logprobs)


def _wrong(name: str, value: Any, due: str) -> NoReturn:
    raise Refused(400, f"{name} is {value!r:.60}; {due} was due", name, "invalid_value")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        _wrong(name, value, "a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        _wrong(name, value, "valid Unicode")
    return value


def _real(value: Any, name: str) -> float:
    low, high = _REAL[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        _wrong(name, value, f"a number from {low:g} to {high:g}")
    return float(value)


def _whole(value: Any, name: str, span: tuple[int, float] | None = None) -> int:
    low, high = span or _WHOLE[name]
    if type(value) is not int or not low <= value <= high:
        _wrong(name, value, f"an integer from {low}" + (f" to {high}" if high < math.inf else ""))
    return value


def _flag(value: Any, name: str) -> bool:
    if type(value) is not bool:
        _wrong(name, value, "true or false")
    return value


def _stops(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or len(texts) > MOST_STOPS:
        _wrong("stop", value, f"a text, or a list of at most {MOST_STOPS}")
    if not all(isinstance(text, str) and text for text in texts):
        _wrong("stop", value, "texts that are not empty")
    return tuple(texts)


def _options(value: Any) -> bool:
    if not isinstance(value, Mapping) or value.keys() - {"include_usage"}:
        _wrong("stream_options", value, "an object with include_usage")
    return _flag(value.get("include_usage", False), "stream_options.include_usage")


def _prompt(value: Any) -> str | tuple[int, ...]:
    if isinstance(value, list) and value and all(type(item) is int and item >= 0 for item in value):
        return tuple(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    text = _text(value, "prompt")
    return text or _wrong("prompt", text, "a text that is not empty")


def _messages(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not value:
        _wrong("messages", value, "a list of messages")
    made = []
    for i, message in enumerate(value):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES or message.keys() - {"role", "content"}:
            _wrong(f"messages[{i}]", message, f"role, one of {', '.join(ROLES)}, and content")
        made.append((message["role"], _text(message.get("content"), f"messages[{i}].content")))
    return tuple(made)


def _top_logprobs(given: Mapping[str, Any]) -> int | None:
    if not _flag(given.get("logprobs", False), "logprobs"):
        if "top_logprobs" in given:
            raise Refused(400, "top_logprobs needs logprobs to be true", "top_logprobs", "invalid_value")
        return None
    return _whole(given.get("top_logprobs", 0), "top_logprobs", (0, MOST_LOGPROBS))
