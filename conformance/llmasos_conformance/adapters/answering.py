"""The other side of the wire for Python adapters: a line in, a message out, whatever carries them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from llmasos_conformance import wire
from llmasos_conformance.errors import AddressError, Died, HarnessError, Malformed, ProtocolBroken, Raised, TimedOut
from llmasos_conformance.protocol import Refusal


class Desk:
    """Answers for one adapter.

    Args:
        load: makes the connection to the adapter; may raise AddressError.

    Attributes:
        failure: why there is no adapter, or None. The first question gets it as answer: there somebody listens.
        status: exit status once there is nothing more to be answered, else None.
    """

    def __init__(self, load: Callable[[], Any]) -> None:
        self.failure: HarnessError | None = None
        self.status: int | None = None
        self._connection: Any = None
        try:
            self._connection = load()
        except AddressError as error:
            self.failure = error

    def answer(self, line: bytes) -> list[wire.Bytes]:
        """The message that answers a line."""
        try:
            request = wire.parse_line(line)
            number, method = request["id"], str(request["method"])
        except (ProtocolBroken, KeyError) as error:
            return [wire.error_line(None, wire.INVALID_REQUEST, f"no request: {sayable(str(error))}", {})]
        if self.failure is not None:
            self.status = self.failure.exit_code
            return [_unloaded(number, self.failure)]
        return self._answer(number, method, request.get("params", {}), framed=request.get("frames") is True)

    def _answer(self, number: Any, method: str, params: Any, *, framed: bool) -> list[wire.Bytes]:
        try:
            result = self._connection.call(method, params)
        except Refusal as refusal:
            return [_error(number, refusal.message, {"refusal": refusal.code})]
        except Raised as fault:
            raised = fault.message.partition(":")[0]
            return [_error(number, fault.message, {"raised": raised, "detail": sayable(fault.detail[-16384:])})]
        except Died as fault:
            print(fault.detail or fault.message, file=sys.stderr, flush=True)
            self.status = 1
            return [_error(number, fault.message, {"died": True})]
        except (Malformed, TimedOut) as fault:
            return [_error(number, fault.message, {"malformed": True})]
        except ValueError as error:
            code = wire.INVALID_PARAMS if method in wire.METHODS else wire.NO_METHOD
            return [wire.error_line(number, code, sayable(str(error)), {})]
        if method == "describe":
            result = {**result, "frames": True}
        return wire.result_message(number, result) if framed else [wire.result_line(number, result)]


def _unloaded(number: Any, failure: HarnessError) -> bytes:
    """Why there is no adapter. What to try travels apart, so that it is told once, where it belongs."""
    what = f"{failure.where}: {failure.what}" if failure.where else failure.what
    return _error(number, what, {"address": True, "try": sayable(failure.hint)})


def _error(number: Any, message: str, data: Mapping[str, Any]) -> bytes:
    return wire.error_line(number, wire.REFUSED, sayable(message), data)


def sayable(text: str) -> str:
    """A vendor's message may hold half a surrogate pair, which no strict reader takes."""
    return text.encode(errors="replace").decode()
