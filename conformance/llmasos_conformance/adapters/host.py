"""Serves any Python adapter on stdio: `python -I host.py ADDRESS [--argument TEXT] [--path DIR]…`

Before anything of the vendor's is imported, the real standard streams become private, and what the vendor prints, from
Python or from C, goes to standard error. It is run by path and not as a module, so that an isolated interpreter finds
this package even where nobody installed it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any


def claim_streams() -> tuple[IO[bytes], IO[bytes]]:
    """The protocol's input and output; descriptors 0 and 1 become the null device and standard error."""
    asked, answered = os.dup(0), os.dup(1)  # not inherited by what the vendor starts
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(asked, "rb", 1 << 16), os.fdopen(answered, "wb", 0)


def serve(asked: IO[bytes], answered: IO[bytes], load: Callable[[], Any]) -> int:
    """Answer line after line until the input ends.

    Args:
        asked, answered: the protocol's streams.
        load: makes the connection to the adapter; may raise AddressError.

    Returns:
        Exit status.
    """
    from llmasos_conformance import wire
    from llmasos_conformance.errors import AddressError, Died, HarnessError, ProtocolBroken

    connection: Any = None
    failure: HarnessError | None = None
    try:
        connection = load()
    except AddressError as error:
        failure = error  # the first question gets it as answer, because that is where somebody listens
    while line := asked.readline(wire.MAX_LINE + 1):
        try:
            request = wire.parse_line(line)
            number = request["id"]
            method, params = str(request["method"]), request.get("params", {})
        except (ProtocolBroken, KeyError) as error:
            _write(answered, wire.error_line(None, wire.INVALID_REQUEST, f"no request: {error}", {}))
            continue
        if failure is not None:
            _write(answered, wire.error_line(number, wire.REFUSED, failure.render(), {"address": True}))
            return failure.exit_code
        try:
            _write(answered, _answer(connection, number, method, params))
        except Died as fault:
            print(fault.detail or fault.message, file=sys.stderr, flush=True)
            return 1
    return 0


def _answer(connection: Any, number: Any, method: str, params: Any) -> bytes:
    """The line that answers a question."""
    from llmasos_conformance import wire
    from llmasos_conformance.errors import Malformed, Raised, TimedOut
    from llmasos_conformance.protocol import Refusal

    try:
        return wire.result_line(number, connection.call(method, params))
    except Refusal as refusal:
        data: Mapping[str, Any] = {"refusal": refusal.code}
        return wire.error_line(number, wire.REFUSED, _sayable(refusal.message), data)
    except Raised as fault:
        raised = fault.message.partition(":")[0]
        data = {"raised": raised, "detail": _sayable(fault.detail[-16384:])}
        return wire.error_line(number, wire.REFUSED, _sayable(fault.message), data)
    except (Malformed, TimedOut) as fault:
        return wire.error_line(number, wire.REFUSED, _sayable(fault.message), {"malformed": True})
    except ValueError as error:
        code = wire.INVALID_PARAMS if method in wire.METHODS else wire.NO_METHOD
        return wire.error_line(number, code, _sayable(str(error)), {})


def _sayable(text: str) -> str:
    """A vendor's message may hold half a surrogate pair, which no strict reader takes."""
    return text.encode(errors="replace").decode()


def _write(answered: IO[bytes], line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[answered.write(view) :]


def main(arguments: list[str] | None = None) -> int:
    """Serve the adapter that the arguments name."""
    asked, answered = claim_streams()
    parser = argparse.ArgumentParser(prog="llmasos-host", description="Serve a Python adapter on stdio.")
    parser.add_argument("address", help="pkg.mod:attr or a file, /path/file.py:attr")
    parser.add_argument("--argument", default="", help="text to make the adapter with")
    parser.add_argument("--path", action="append", default=[], help="directory to put on the path; may be repeated")
    options = parser.parse_args(arguments)
    here = str(Path(__file__).resolve().parents[2])
    sys.path[:0] = [entry for entry in (here, *options.path) if entry not in sys.path]

    def load() -> Any:
        from dataclasses import replace

        from llmasos_conformance.adapters import address
        from llmasos_conformance.adapters.inprocess import InProcess

        target = address.check_address(options.address)
        adapter = address.load(replace(target, argument=options.argument or target.argument))
        return InProcess(adapter, options.address, timeout_s=float("inf"))  # who asks holds the clock

    try:
        return serve(asked, answered, load)
    except (KeyboardInterrupt, BrokenPipeError):
        return 130  # nobody listens any more
    finally:
        asked.close()
        answered.close()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Without the interpreter's own farewell: threads of a vendor's runtime must not keep a served process alive.
    os._exit(status)
