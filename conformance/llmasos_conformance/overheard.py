"""What travels between harness and candidate, overheard and made short enough to be read.

    → what was asked    ← what was answered    ⇠ the frames behind an answer    ✗ what came in the place of an answer

A turn holds messages as the wire has them, but for long values: of a tensor a few numbers stand in the place of its
data, of a long list its beginning, of a long text likewise. What stands between ‹ and › did not travel like that.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmasos_conformance import wire
from llmasos_conformance.adapters.remote import Channel
from llmasos_conformance.candidate import Connection
from llmasos_conformance.canonical import clean
from llmasos_conformance.errors import CandidateFault, Malformed
from llmasos_conformance.protocol import Array, Refusal

NUMBERS = 4
"""Numbers of a tensor that are shown."""
ITEMS = 16
"""Entries of a list that are shown."""
MEMBERS, FEW = 12, 3
"""Members of an object that are shown; of a larger one a few."""
CHARACTERS = 160
"""Characters of a text that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and what became of it.

    Attributes:
        method: that was called. question: the message. answer: the message, None where none came.
        frames: behind the answer, each as bytes and a few of its numbers.
        fault: what came in the place of an answer, or stands against it; "" for a good one. seconds: it took.
    """

    method: str
    question: Mapping[str, Any]
    answer: Mapping[str, Any] | None
    frames: tuple[str, ...] = ()
    fault: str = ""
    seconds: float = 0.0

    @property
    def lines(self) -> list[str]:
        """The turn for people."""
        told = [f"→ {_line(self.question)}"]
        told += [] if self.answer is None else [f"← {_line(self.answer)}"]
        told += [f"⇠ {frame}" for frame in self.frames]
        return told + ([f"✗ {clean(self.fault)}"] if self.fault else [])

    def as_json(self) -> dict[str, Any]:
        return {
            "question": self.question, "answer": self.answer, "frames": list(self.frames), "fault": self.fault,
            "seconds": round(self.seconds, 6),
        }  # fmt: skip


def _line(message: Mapping[str, Any]) -> str:
    """As the wire spells it, in ASCII, so that nothing in it steers a terminal; but for our own marks."""
    text = json.dumps(message, separators=(",", ":"))
    for mark in "‹›…":
        text = text.replace(json.dumps(mark)[1:-1], mark)
    return text


class Tap:
    """A channel that keeps what passes through it.

    Args:
        channel: that does the work. heard: gets the turns.
    """

    def __init__(self, channel: Channel, heard: list[Turn]) -> None:
        self.channel, self._heard = channel, heard
        self.pid = channel.pid

    def exchange(self, line: bytes, limit_s: float, *, frames: bool) -> wire.Message:
        question = shortened(json.loads(line))
        started = time.monotonic()
        try:
            message = self.channel.exchange(line, limit_s, frames=frames)
        except CandidateFault as fault:
            self._keep(question, None, (), fault.message, started)
            raise
        self._keep(question, shortened(message.answer), _frames(message), "", started)
        return message

    def _keep(self, question: Any, answer: Any, frames: tuple[str, ...], fault: str, started: float) -> None:
        took = time.monotonic() - started
        self._heard.append(
            Turn(method=question["method"], question=question, answer=answer, frames=frames, fault=fault, seconds=took)
        )

    def end(self, grace_s: float) -> str:
        return self.channel.end(grace_s)


class Overheard:
    """A connection to an object in this process, its calls kept as the messages that they would be.

    Args:
        connection: that does the work. heard: gets the turns; its description is the first one.
    """

    def __init__(self, connection: Connection, heard: list[Turn]) -> None:
        self._connection, self._heard = connection, heard
        self.description = connection.description
        self._number = 0
        self._keep("describe", {}, {"result": wire.describe(self.description)}, "", time.monotonic())

    def call(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        started = time.monotonic()
        try:
            answer = self._connection.call(method, params)
        except Refusal as refusal:
            error = {"code": wire.REFUSED, "message": refusal.message, "data": {"refusal": refusal.code}}
            self._keep(method, params, {"error": error}, "", started)
            raise
        except CandidateFault as fault:
            self._keep(method, params, None, f"{fault.kind}: {fault.message}", started)
            raise
        self._keep(method, params, {"result": wire.encode(answer)}, "", started)
        return answer

    def _keep(self, method: str, params: Any, answer: dict[str, Any] | None, fault: str, started: float) -> None:
        self._number += 1
        head = {"jsonrpc": "2.0", "id": self._number}
        question = shortened({**head, "method": method, "params": wire.encode(params)})
        came = None if answer is None else shortened({**head, **answer})
        took = time.monotonic() - started
        self._heard.append(Turn(method=method, question=question, answer=came, fault=fault, seconds=took))

    def close(self) -> None:
        self._connection.close()

    def restart(self) -> None:
        restart = getattr(self._connection, "restart", None)
        if restart is not None:
            restart()


# ── short enough to be read ─────────────────────────────────────────────────────────────────────────────────────────


def shortened(value: Any) -> Any:
    """A message with long values made short; see the module."""
    if isinstance(value, Mapping):
        if {"dtype", "shape", "data"} == value.keys():
            return {**value, "data": _in_tensor(value)}
        kept = {key: shortened(inner) for key, inner in [*value.items()][: FEW if len(value) > MEMBERS else MEMBERS]}
        return {**kept, f"‹{len(value) - FEW} more›": "…"} if len(value) > MEMBERS else kept
    if isinstance(value, list):
        shown = [shortened(inner) for inner in value[:ITEMS]]
        return [*shown, f"‹{len(value) - ITEMS} more›"] if len(value) > ITEMS else shown
    if isinstance(value, str) and len(value) > CHARACTERS:
        return f"{value[:CHARACTERS]}‹{len(value) - CHARACTERS} more characters›"
    return value


def _in_tensor(tensor: Mapping[str, Any]) -> Any:
    """A few of the numbers of a tensor; of what is none the beginning of what stands there."""
    try:
        return f"‹{some(wire.decode_tensor(dict(tensor)))}›"
    except Malformed:
        return shortened(str(tensor["data"]))


def some(array: Array) -> str:
    """The first numbers of an array, and how many follow."""
    flat = np.asarray(array, dtype=np.float64).ravel()
    shown = " ".join(f"{number:.5g}" for number in flat[:NUMBERS])
    return shown + (f" … {flat.size - NUMBERS} more" if flat.size > NUMBERS else "")


def _frames(message: wire.Message) -> tuple[str, ...]:
    """The frames behind an answer, in bytes and in the numbers of the tensors that name them."""
    named = {each["frame"]: each for each in _naming(message.answer)}
    told = []
    for number, frame in enumerate(message.frames[:ITEMS]):
        numbers = ""
        if number in named:
            tensor = {"dtype": named[number]["dtype"], "shape": named[number].get("shape"), "data": frame}
            try:
                numbers = f": ‹{some(wire.decode_tensor(tensor))}›"
            except Malformed:
                numbers = ", which its tensor does not need"
        told.append(f"frame {number} of {len(frame)} bytes{numbers}")
    rest = len(message.frames) - ITEMS
    return tuple([*told, f"‹{rest} more frames›"] if rest > 0 else told)


def _naming(value: Any) -> Sequence[Mapping[str, Any]]:
    """The tensors of an answer that name frames."""
    if isinstance(value, Mapping):
        if type(value.get("frame")) is int and "dtype" in value:
            return [value]
        return [each for inner in value.values() for each in _naming(inner)]
    return [each for inner in value for each in _naming(inner)] if isinstance(value, list) else []


def elapsed(seconds: float) -> str:
    """A time as a person reads it."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{math.ceil(seconds * 1000)} ms"
