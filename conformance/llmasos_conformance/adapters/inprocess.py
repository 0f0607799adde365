"""A connection to a Python object in this process.

Answers pass the same validators as those of a process. What cannot be the same: nothing here can end a call that hangs,
so the time limit is soft: an answer that comes too late counts as none.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from llmasos_conformance import wire
from llmasos_conformance.errors import AddressError, Died, Malformed, Raised, TimedOut
from llmasos_conformance.protocol import Description, Generation, Refusal

T = TypeVar("T")


class InProcess:
    """Calls an adapter's methods.

    Args:
        adapter: an object as `protocol` describes.
        address: for errors.
        timeout_s: soft limit per call.
        keeps: answers are copies of ours, so that a buffer which the candidate uses again cannot change them. False
            where they are sent off before the next call.

    Raises:
        AddressError: its description is none.
    """

    def __init__(self, adapter: Any, address: str = "", timeout_s: float = 30.0, *, keeps: bool = True) -> None:
        self._adapter, self._timeout, self._keeps = adapter, timeout_s, keeps
        self._models: dict[str, Any] = {}
        self._sessions: dict[str, Any] = {}
        self._made = 0
        self._widths = wire.Widths()
        try:
            described = _vendor(adapter.describe)
        except (Raised, Died, Refusal) as fault:
            raise AddressError(f"describe() failed: {fault}", where=address, hint="mend the adapter") from None
        self.description: Description = wire.parse_description(described, address or "describe()")

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Ask, and judge the answer.

        Raises:
            Refusal, Raised, Malformed, Died, TimedOut: see `errors`.
            ValueError: the question is malformed, which is not the candidate's doing.
        """
        wire.check_params(method, params)
        started = time.monotonic()
        answer = self._answer(method, dict(params))
        checked = self._widths.see(method, params, wire.check_answer(method, params, answer))
        if time.monotonic() - started > self._timeout:
            raise TimedOut(
                f"{method} answered after {time.monotonic() - started:.1f} s; the limit is {self._timeout} s"
            )
        return _copied(checked) if self._keeps else checked

    def close(self) -> None:
        """Let go of models and sessions."""
        self._sessions.clear()
        self._models.clear()

    def restart(self) -> None:
        """Forget handles; the object itself stays, because there is no process to start again."""
        self.close()

    def _answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The method's answer in the shape of the wire, its values still the vendor's."""
        if method == "describe":
            return wire.describe(self.description)
        if method == "load_model":
            return {"model": self._keep(self._models, "m", _vendor(self._adapter.load_model, params["path"]))}
        if method in _SERVED:
            ask = self._method(self._adapter, "adapter", method)
            value = _vendor(ask, params.get("request", params.get("requests")))
            return {"answers": value} if method == "together" else value
        if method in _OF_ADAPTER:
            ask = self._method(self._adapter, "adapter", method)
            value = _vendor(ask, params.pop("hypotheses"), params.pop("references"), **params)
            return {_MEMBER[method]: value} if method in _MEMBER else value
        if "session" in params:
            return self._session(method, params)
        model = _held(self._models, params.pop("model"), "model")
        if method == "unload_model":
            self._models = {name: kept for name, kept in self._models.items() if kept is not model}
            return {}
        ask = self._method(model, "model", method)
        if method == "train_step":
            return self._trained(ask, params)
        if method == "export":
            return {"files": _vendor(ask, **params)}
        first = next(params.pop(name) for name in ("ids", "text", "prompt") if name in params)
        if method == "stream_text":
            return _streamed(ask, first, params)
        value = _vendor(ask, first, **params)
        if method == "open":
            logits = _attribute(value, "logits")
            return {"session": self._keep(self._sessions, "s", value), "logits": logits}
        if method == "encode":
            return _encoded(value)
        if method == "forward":
            # One array [B, T, V] is a list of rows, too.
            return {"logits": list(np.asarray(value)) if getattr(value, "ndim", 0) == 3 else value}
        if method == "gradients":
            return _pair(value, method, "loss", "gradients")
        return {_MEMBER[method]: value} if method in _MEMBER else value

    def _trained(self, ask: Callable[..., Any], params: dict[str, Any]) -> dict[str, Any]:
        batch, rate = params.pop("ids"), params.pop("learning_rate")
        answer = _pair(_vendor(ask, batch, rate, **params), "train_step", "loss", "model")
        return {**answer, "model": self._keep(self._models, "m", answer["model"])}

    def _session(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        name = params["session"]
        session = _held(self._sessions, name, "session")
        ask = self._method(session, "session", method)
        if method == "close":
            _vendor(ask)
            del self._sessions[name]
            return {}
        if method == "fork":
            return {"session": self._keep(self._sessions, "s", _vendor(ask))}
        return {"logits": _vendor(ask, params["ids"])}

    def _method(self, thing: Any, kind: str, method: str) -> Callable[..., Any]:
        found = getattr(thing, method, None)
        if callable(found):
            return found  # type: ignore[no-any-return]
        capability = _CAPABILITY.get(method, method)
        if capability in self.description.capabilities or method == "generate_text":
            raise Malformed(f"declared {capability}, but the {kind} ({type(thing).__name__}) has no method {method}")
        raise Refusal("unsupported", f"{method} is not offered")

    def _keep(self, table: dict[str, Any], letter: str, thing: Any) -> str:
        self._made += 1
        table[f"{letter}{self._made}"] = thing
        return f"{letter}{self._made}"


_CAPABILITY: Mapping[str, str] = {
    "detokenize": "tokenize",
    "generate_batch": "batch",
    "stream_text": "stream",
    "open": "session",
    "extend": "session",
    "fork": "session",
    "close": "session",
    "cross_attention": "attention",
    "together": "concurrent",
}
"""Capability of each method that is not called like it."""

_MEMBER: Mapping[str, str] = {
    "tokenize": "ids",
    "detokenize": "text",
    "score": "logprobs",
    "generate_batch": "generations",
    "fill_mask": "fills",
    "hidden_states": "hidden",
    "attention": "attention",
    "cross_attention": "attention",
    "bleu": "score",
}
"""Where a plain return value stands in the answer."""

_OF_ADAPTER = frozenset({"bleu", "rouge"})
"""Methods that need no model and belong to the adapter object."""
_SERVED = frozenset({"completions", "chat", "template", "together"})
"""The same, of a model that the adapter serves by its own choice."""


def _copied(answer: Any) -> Any:
    """An answer whose arrays nobody else has."""
    if isinstance(answer, np.ndarray):
        copy = answer.copy()
        copy.flags.writeable = False
        return copy
    if type(answer) is dict:
        return {name: _copied(value) for name, value in answer.items()}
    if type(answer) is list and answer and isinstance(answer[0], np.ndarray):  # arrays never share a list
        return [_copied(value) for value in answer]
    return answer


def _held(table: Mapping[str, Any], handle: str, kind: str) -> Any:
    if handle not in table:
        raise Refusal("invalid_argument", f"no {kind} {handle!r:.40}")
    return table[handle]


def _attribute(session: Any, name: str) -> Any:
    for needed in (name, "extend", "fork", "close"):
        if not hasattr(session, needed):
            raise Malformed(f"open() returned {type(session).__name__}, which has no {needed!r}")
    return _vendor(getattr, session, name)


def _pair(value: Any, method: str, first: str, second: str) -> dict[str, Any]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise Malformed(f"{method}() returned {type(value).__name__}, a pair of {first} and {second} was due")
    return {first: value[0], second: value[1]}


def _encoded(value: Any) -> dict[str, Any]:
    """Encodings of the rows as the wire carries them: hidden states one by one, pooled vectors as one array [B, D]."""
    try:
        hidden, pooled = [row.hidden for row in value], [np.asarray(row.pooled) for row in value]
        return {"hidden": hidden, "pooled": np.stack(pooled) if pooled else np.zeros((0, 1))}
    except (AttributeError, TypeError, ValueError) as error:
        raise Malformed(f"encode() returned {type(value).__name__}, a list of Encodings was due: {error}") from None


def _streamed(ask: Callable[..., Any], prompt: str, options: dict[str, Any]) -> dict[str, Any]:
    """Pieces, then the Generation, as the stream yields them."""
    stream: Iterator[Any] = iter(_vendor(lambda: iter(ask(prompt, **options))))
    deltas: list[str] = []
    last, nothing = None, object()
    while (piece := _vendor(next, stream, nothing)) is not nothing:
        if last is not None:
            raise Malformed(f"the stream goes on after its Generation, with {piece!r:.60}")
        if isinstance(piece, str):
            deltas.append(piece)
        elif isinstance(piece, Generation | Mapping):
            last = piece
        else:
            raise Malformed(f"deltas[{len(deltas)}] is {type(piece).__name__} {piece!r:.60}, a text was due")
        if len(deltas) > wire.MAX_ITEMS:
            raise Malformed(f"more than {wire.MAX_ITEMS} deltas, and no end")
    if last is None:
        raise Malformed(f"the stream ended after {len(deltas)} deltas without a Generation")
    return {"deltas": deltas, "generation": last}


def _vendor(call: Callable[..., T], *args: Any, **options: Any) -> T:
    """Run a vendor's code: refusals pass, everything else that it raises is a fault."""
    try:
        return call(*args, **options)
    except Refusal as refusal:
        wire.check_refusal(refusal.code)
        raise
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except SystemExit as exit_:
        raise Died(f"called sys.exit({exit_.code!r:.40})", traceback.format_exc()) from None
    except BaseException as error:  # panics of extension modules are no Exceptions
        raise Raised(f"{type(error).__name__}: {error!s:.2000}", traceback.format_exc()) from None
