"""A candidate at the other end of a wire: what is the same over standard input and output and over HTTP.

    starting    AddressError        it cannot be reached, ends, is silent, or describes itself wrongly
    asking      Died                its process ended: status and the end of its standard error
                Lost                the connection could not be made or kept, and nobody can tell whose doing that was
                TimedOut            no whole answer within the limit
                ProtocolBroken      something that is no answer to the question
                Refusal, Raised, Malformed   what the candidate's answer says or lacks; the channel stays open
    after the first four the channel is closed, and every call raises `gone` until `restart`

A channel carries one message there and one back, and ends for certain. It knows bytes, lines and limits; what an answer
means is known here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from llmasos_conformance import wire
from llmasos_conformance.canonical import clean, telling
from llmasos_conformance.errors import (
    UNANSWERED,
    AddressError,
    CandidateFault,
    Died,
    Malformed,
    ProtocolBroken,
    Raised,
    TimedOut,
)
from llmasos_conformance.protocol import Description, Refusal

BROKEN = (Died, *UNANSWERED)
"""Faults that end a channel."""


class Channel(Protocol):
    """One wire to one candidate."""

    pid: int | None
    """Of the process at its end, if it is ours."""

    def exchange(self, line: bytes, limit_s: float, *, frames: bool) -> wire.Message:
        """Send a question and wait for one answer; `frames` says whether it may bring some.

        Raises:
            Died, Lost, TimedOut, ProtocolBroken.
        """

    def end(self, grace_s: float) -> str:
        """End it for certain and free everything; returns the last words of a process."""


def unwatched(channel: Channel) -> Channel:
    """A channel as it is."""
    return channel


class Remote:
    """Opens a channel and asks.

    Args:
        open_channel: makes a channel; OSError if it cannot be made.
        address: for errors.
        timeout_s: per call. start_timeout_s: until it has described itself.
        grace_s: how long a process may take to end after its input has been closed.
        remedy: what to try when nothing of use describes itself. advice: beside what is no answer at all.
        gone: what a call is told once the channel is closed.
        frames: False leaves binary frames unused where they are offered.

    Attributes:
        description: what it said of itself at first.
        framed: whether it offers binary frames, and may answer in them.

    Raises:
        AddressError: it does not start, or cannot be reached.
    """

    def __init__(
        self,
        open_channel: Callable[[], Channel],
        *,
        address: str,
        timeout_s: float,
        start_timeout_s: float,
        remedy: str,
        gone: CandidateFault,
        advice: str = "",
        grace_s: float = 0.0,
        frames: bool = True,
    ) -> None:
        self._open, self._address = open_channel, address
        self._remedy, self._advice, self._gone = remedy, advice, gone
        self._timeout, self._start_timeout, self._grace = timeout_s, start_timeout_s, grace_s
        self._frames, self.framed = frames, False
        self._channel: Channel | None = None
        self.description: Description = self._start()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the process; None if none runs, or if it is not ours."""
        return None if self._channel is None else self._channel.pid

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Ask, and judge the answer.

        Raises:
            Refusal, CandidateFault: see the module.
            ValueError: the question is malformed, which is not the candidate's doing.
        """
        wire.check_params(method, params)
        if self._channel is None:
            raise type(self._gone)(self._gone.message)
        result = self._ask(self._channel, method, params, self._timeout)
        return self._widths.see(method, params, wire.check_answer(method, params, result))

    def restart(self) -> None:
        """End the channel and open it anew. Handles of models and sessions are void.

        Raises:
            AddressError: it does not come back, or is another candidate than before.
        """
        self.close()
        again = self._start()
        if again != self.description:
            self.close()
            raise AddressError("describes itself differently after a restart", where=self._address)

    def close(self) -> None:
        """Close the channel; a process of ours gets its grace and is then ended. Closing twice is no error."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.end(self._grace)

    def _start(self) -> Description:
        self._widths = wire.Widths()
        self._number, self.framed = 0, False
        try:
            self._channel = self._open()
        except OSError as error:
            what = f"cannot be started: {error.strerror}"
            hint = "check the program, and its first line if it is a script"
            raise AddressError(what, where=self._address, hint=hint) from None
        try:
            result = self._ask(self._channel, "describe", {}, self._start_timeout)
            described = wire.parse_description(wire.check_answer("describe", {}, result), self._address)
            self.framed = self._frames and wire.offers_frames(result)
            return described
        except TimedOut:
            what = f"did not describe itself within {self._start_timeout} s"
            raise self._stillborn(what, "a longer start limit") from None
        except CandidateFault as fault:
            detail = "".join(f"\n    {line}" for line in telling(fault.detail, 6))
            hint = fault.hint if isinstance(fault, _Unloadable) else self._remedy
            raise self._stillborn(fault.message + detail, hint) from None
        except Refusal as refusal:
            raise self._stillborn(f"refused to describe itself: {refusal.code}", "answer every describe") from None
        except BaseException:
            self.close()
            raise

    def _stillborn(self, what: str, hint: str) -> AddressError:
        if self._channel is not None:
            self._channel.end(0.0)
            self._channel = None
        return AddressError(what, where=self._address, hint=hint)

    def _ask(self, channel: Channel, method: str, params: Mapping[str, Any], limit_s: float) -> Any:
        self._number += 1
        line = wire.request_line(self._number, method, params, frames=self.framed)
        try:
            answer = self._opened(channel.exchange(line, limit_s, frames=self.framed))
            if "error" in answer:
                _raise_error(answer["error"])
            return answer["result"]
        except BROKEN as fault:
            self._channel = None
            raise type(fault)(f"{method}: {fault.message}", channel.end(0.0) or fault.detail) from None

    def _opened(self, message: wire.Message) -> dict[str, Any]:
        """The envelope of an answer, frames in their places."""
        answer = message.answer
        allowed = _FORMS if self.framed else _FORMS[:2]
        if answer.keys() not in allowed or answer["jsonrpc"] != "2.0":
            advice = f"; {self._advice}" if self._advice else ""
            raise ProtocolBroken(f"not an answer of JSON-RPC 2.0: {wire.quoted(message.raw)}{advice}")
        if type(answer["id"]) is not int or answer["id"] != self._number:
            what = f"an answer to id {answer['id']!r:.40}, asked was {self._number}: {wire.quoted(message.raw)}"
            raise ProtocolBroken(what)
        if "frames" in answer:
            wire.put_frames(answer["result"], message.frames)
        return answer


_FORMS = (
    {"jsonrpc", "id", "result"},
    {"jsonrpc", "id", "error"},
    {"jsonrpc", "id", "result", "frames"},
)


class _Unloadable(Malformed):
    """The host could not load the adapter. `hint` is what it says to try; "" where it says so in its message."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _raise_error(error: Any) -> NoReturn:
    """What an error object of the wire says."""
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("message"), str):
        raise Malformed(f"an error without integer code and text message: {error!r:.120}")
    data = error.get("data")
    data = data if isinstance(data, dict) else {}
    message, detail = error["message"], str(data.get("detail", ""))
    if "refusal" in data:
        raise Refusal(wire.check_refusal(data["refusal"]), message)
    if data.get("malformed") is True:
        raise Malformed(message, detail)
    if data.get("died") is True:
        raise Died(message, detail)
    if data.get("address") is True:
        raise _Unloadable(message, clean(str(data.get("try", ""))))
    if isinstance(data.get("raised"), str):
        raise Raised(message if message.startswith(data["raised"]) else f"{data['raised']}: {message}", detail)
    raise Raised(f"JSON-RPC error {error['code']}: {message}", detail)
