"""Serves any Python adapter on stdio: `python -I host.py ADDRESS [--argument TEXT] [--path DIR]…`

and over HTTP: `python -m llmasos_conformance.adapters.host ADDRESS --http [HOST:]PORT [--token VARIABLE]`,
or one bundle behind an API like OpenAI's: `… ADDRESS --openai [HOST:]PORT --bundle DIR [--name NAME]`.

On stdio, before anything of the vendor's is imported, the real standard streams become private, and what the vendor
prints, from Python or from C, goes to standard error. The harness runs it by path and not as a module, so that an
isolated interpreter finds this package even where nobody installed it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

SMALL = 1 << 16


def claim_streams() -> tuple[IO[bytes], IO[bytes]]:
    """The protocol's input and output; descriptors 0 and 1 become the null device and standard error."""
    asked, answered = os.dup(0), os.dup(1)  # not inherited by what the vendor starts
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(asked, "rb", 1 << 16), os.fdopen(answered, "wb", 0)


def serve(
    asked: IO[bytes], answered: IO[bytes], load: Callable[[], Any], await_line: Callable[[], object] = lambda: None
) -> int:
    """Answer line after line until the input ends, or the adapter ends itself.

    Args:
        asked, answered: the protocol's streams.
        load: makes the connection to the adapter; may raise AddressError.
        await_line: called before each line is read.

    Returns:
        Exit status.
    """
    from llmasos_conformance import wire
    from llmasos_conformance.adapters.answering import Desk

    desk = Desk(load)
    while desk.status is None:
        await_line()
        if not (line := asked.readline(wire.MAX_LINE + 1)):
            break
        message = desk.answer(line)
        # What is small goes in one piece, so that the reader is woken once; what is large is not copied.
        for part in [b"".join(message)] if sum(map(len, message)) <= SMALL else message:
            _write(answered, part)
    return desk.status or 0


def _write(answered: IO[bytes], part: bytes | memoryview) -> None:
    view = memoryview(part)
    while view:
        view = view[answered.write(view) :]


def main(arguments: list[str] | None = None) -> int:
    """Serve the adapter that the arguments name."""
    parser = argparse.ArgumentParser(prog="llmasos-host", description="Serve a Python adapter on stdio, or over HTTP.")
    parser.add_argument("address", help="pkg.mod:attr or a file, /path/file.py:attr")
    parser.add_argument("--argument", default="", help="text to make the adapter with")
    parser.add_argument("--path", action="append", default=[], help="directory to put on the path; may be repeated")
    parser.add_argument("--http", metavar="[HOST:]PORT", help="serve over HTTP, on this machine alone; port 0 is any")
    parser.add_argument("--token", metavar="VARIABLE", default="", help="with --http: who asks shows what it holds")
    parser.add_argument("--openai", metavar="[HOST:]PORT", help="serve one bundle behind an API like OpenAI's")
    parser.add_argument("--bundle", metavar="DIR", default="", help="with --openai: the bundle that is served")
    parser.add_argument("--name", default="bundle", help="with --openai: what requests call the model")
    options = parser.parse_args(arguments)
    streams = claim_streams() if options.http is None and options.openai is None else None
    here = str(Path(__file__).resolve().parents[2])
    sys.path[:0] = [entry for entry in (here, *options.path) if entry not in sys.path]

    def load() -> Any:
        from dataclasses import replace

        from llmasos_conformance.adapters import address
        from llmasos_conformance.adapters.inprocess import InProcess

        target = address.check_address(options.address)
        adapter = address.load(replace(target, argument=options.argument or target.argument))
        return InProcess(adapter, options.address, timeout_s=float("inf"), keeps=False)  # who asks holds the clock

    try:
        if options.openai is not None:
            from llmasos_conformance.adapters.openai import http

            return http.main(load, options.openai, options.bundle, options.name)
        if streams is None:
            from llmasos_conformance.adapters import serving

            return serving.main(load, options.http, options.token)
        from llmasos_conformance.adapters import pipes

        return serve(*streams, load, pipes.Lookout(streams[0].fileno()).sees)
    except (KeyboardInterrupt, BrokenPipeError):
        return 130  # nobody listens any more
    finally:
        for stream in streams or ():
            stream.close()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Without the interpreter's own farewell: threads of a vendor's runtime must not keep a served process alive.
    os._exit(status)
