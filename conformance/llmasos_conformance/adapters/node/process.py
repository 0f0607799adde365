"""A process of Node that runs a package, asked from here: `host.mjs` is its other side.

A question is a line of JSON and the bytes of its arrays, and so is an answer. Whatever is kept over there has a number
here, and is let go of with the next question once nobody here holds it any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmasos_conformance.errors import AddressError

HOST = Path(__file__).with_name("host.mjs")
VARIABLE = "LLMASOS_NODE_MODULES"
"""Names the directory node_modules in which packages are looked for first, then where `npm install -g` puts them."""


class NodeError(RuntimeError):
    """What a package threw."""


class Node:
    """A process with one package in it.

    Args:
        package: its name, as npm has it. address: for errors.

    Attributes:
        versions: of the package and of Node, by name.

    Raises:
        AddressError: there is no Node, or no such package.
    """

    def __init__(self, package: str, address: str) -> None:
        program = shutil.which("node")
        if program is None:
            raise AddressError("node is not installed", where=address, hint="https://nodejs.org, 20 or later")
        places = [os.environ.get(VARIABLE, ""), str(Path(program).resolve().parents[1] / "lib" / "node_modules")]
        command = [program, str(HOST), package, *filter(None, places)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._stop = weakref.finalize(self, _end, self._process)
        self._released: list[int] = []
        try:
            told = self.ask("hello")
        except NodeError as error:
            self._stop()
            hint = f"npm install {package}, and name its node_modules in {VARIABLE}"
            raise AddressError(str(error), where=address, hint=hint) from None
        self.versions = {package: str(told["version"]), "node": str(told["node"])}

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a question. Arrays in it are read-only.

        Args:
            params: what JSON can carry, arrays, bytes and what is kept.

        Raises:
            NodeError: the package threw something, or the process has ended.
        """
        frames: list[memoryview] = []
        released, self._released[:] = list(self._released), []
        sent = {"method": method, "params": _sent(params, frames), "release": released}
        line = json.dumps({**sent, "frames": [len(frame) for frame in frames]}, allow_nan=False).encode() + b"\n"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line)
            for frame in frames:
                self._process.stdin.write(frame)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise NodeError(f"node ended with status {self._process.wait()}") from None
        answer = json.loads(self._process.stdout.readline() or b'{"error": "node has ended", "kind": "", "frames": []}')
        if "error" in answer:
            raise NodeError(f"{answer['kind']}: {answer['error']}")
        came = [self._process.stdout.read(length) for length in answer["frames"]]
        return {name: self._received(name, value, came) for name, value in answer["result"].items()}

    def _received(self, name: str, value: Any, frames: Sequence[bytes]) -> Any:
        if name == "kept":
            return Kept(self, value)
        if isinstance(value, dict) and "frame" in value:
            dtype = np.dtype(value["dtype"]).newbyteorder("<")
            return np.frombuffer(frames[value["frame"]], dtype).reshape(value["shape"])
        return value


class Kept:
    """What a process of Node keeps for somebody here: a session, a model, keys and values."""

    def __init__(self, node: Node, number: int) -> None:
        self.node, self.number = node, number
        weakref.finalize(self, node._released.append, number)


def _sent(value: Any, frames: list[memoryview]) -> Any:
    if isinstance(value, Kept):
        return value.number
    if isinstance(value, bytes):
        frames.append(memoryview(value))
        return {"dtype": "bytes", "frame": len(frames) - 1}
    if isinstance(value, np.ndarray):
        raw = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        frames.append(raw.reshape(-1).view(np.uint8).data)
        return {"dtype": value.dtype.name, "shape": list(value.shape), "frame": len(frames) - 1}
    if isinstance(value, Mapping):
        return {name: _sent(item, frames) for name, item in value.items()}
    return value


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its input ends, and so does it."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
