"""What one call to a remote candidate costs, validation of the answer included, over stdio and over HTTP.

    small call      16 letters to ids / a JSON line there and back, without any contract     target < 100 us over stdio,
                                                                                             < 2 ms over HTTP
    small tensor    logits [8, 260] in float32 / the same                                    target < 100 us over stdio
    16 MB           logits [512, 8192] in float32 / as many bytes copied through a raw pipe  target < 20 ms with frames

Each transport is measured with binary frames and with base64 lines. Rounds of all sides in turn, wall time, medians.
Sides that take turns wake each other; the targets over stdio are of one series of calls, as a run makes it, beside it.

    python bench/stdio_call.py [rounds]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

SMALL, LARGE = (8, 260), (512, 8192)
BYTES = 4 * LARGE[0] * LARGE[1]
BLOCK, FEW, SERIES = 100, 3, 4000
TEXT = "sixteen letters."

ECHO = """
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    ids = list(question["params"]["text"].encode())
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": {"ids": ids}}) + "\\n")
    sys.stdout.flush()
"""
COPY = """
import os, sys
data = bytes(int(sys.argv[1]))
while os.read(0, 1):
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest):]
"""


class LoudModel:
    """Answers with logits that lie ready."""

    def __init__(self, width: int) -> None:
        import numpy as np

        self.ready = {shape[0]: np.ones(shape, np.float32) for shape in (SMALL, LARGE) if shape[1] == width}

    def generate_text(self, prompt: str, max_length: int = 100, temperature: float = 1.0, **options: Any) -> Any:
        raise NotImplementedError("this candidate generates nothing")

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def detokenize(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode()

    def forward(self, batch: Sequence[Sequence[int]]) -> list[Any]:
        return [self.ready[len(row)] for row in batch]


class Loud:
    """A candidate that computes nothing."""

    def describe(self) -> Mapping[str, Any]:
        return {"name": "loud", "version": "1", "capabilities": ["load_model", "tokenize", "forward"]}

    def load_model(self, path: str) -> LoudModel:
        return LoudModel(int(path))


def served(open_: ExitStack) -> str:
    """The address of a server with this candidate."""
    from llmasos_conformance.adapters.connecting import HOST

    command = [sys.executable, "-I", str(HOST), f"{Path(__file__).resolve()}:Loud", "--http", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    open_.callback(process.wait)
    open_.callback(process.kill)
    assert process.stderr is not None
    return next(line.split()[2] for line in process.stderr if line.startswith("serving at "))


def bare(open_: ExitStack) -> Callable[[], object]:
    """A JSON line there and back."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    open_.callback(child.wait)
    open_.enter_context(child.stdin)  # type: ignore[arg-type]
    question = {"jsonrpc": "2.0", "id": 1, "method": "tokenize", "params": {"model": "m1", "text": TEXT}}

    def call() -> object:
        child.stdin.write(json.dumps(question) + "\n")  # type: ignore[union-attr]
        return json.loads(child.stdout.readline())  # type: ignore[union-attr]

    return call


def copied(open_: ExitStack, count: int) -> Callable[[], object]:
    """So many bytes through a pipe into a buffer."""
    command = [sys.executable, "-I", "-c", COPY, str(count)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    open_.callback(child.wait)
    open_.enter_context(child.stdin)  # type: ignore[arg-type]

    def call() -> object:
        child.stdin.write(b"x")  # type: ignore[union-attr]
        rest = memoryview(bytearray(count))
        while rest:
            rest = rest[child.stdout.readinto(rest) :]  # type: ignore[union-attr]
        return rest

    return call


def medians(calls: Mapping[str, Callable[[], object]], rounds: int, block: int) -> dict[str, float]:
    """Median seconds of each call, blocks of each in turn; the first round is dropped."""
    kept: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            for _ in range(block):
                start = time.perf_counter()
                call()
                if number:
                    kept[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in kept.items()}


def in_a_series(call: Callable[[], object]) -> float:
    """Median seconds of a call among many of its kind, the first of which are dropped."""
    times = []
    for _ in range(SERIES):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[BLOCK:])


def main(rounds: int) -> None:
    from llmasos_conformance import adapters

    with ExitStack() as open_:
        here, url = f"{Path(__file__).resolve()}:Loud", served(open_)
        asking: dict[str, Callable[[str, Mapping[str, Any]], object]] = {}
        for name, address, frames in (
            ("stdio, frames", here, True), ("stdio, lines", here, False),
            ("HTTP, frames", url, True), ("HTTP, lines", url, False),
        ):  # fmt: skip
            made = adapters.connect(address, out_of_process=True, frames=frames)
            open_.callback(made.close)
            for shape in (SMALL, LARGE):  # a model has one width
                assert made.call("load_model", {"path": str(shape[1])})["model"]
            asking[name] = made.call
        for what, method, params, peer, call, block in (
            ("small call", "tokenize", {"model": "m1", "text": TEXT}, "bare JSON line", bare(open_), BLOCK),
            ("small tensor", "forward", {"model": "m1", "ids": [[1] * SMALL[0]]}, "bare JSON line", bare(open_), BLOCK),
            ("16 MB", "forward", {"model": "m2", "ids": [[1] * LARGE[0]]}, "raw pipe copy", copied(open_, BYTES), FEW),
        ):
            sides = {name: partial(ask, method, params) for name, ask in asking.items()}
            took = medians({peer: call, **sides}, rounds, block)
            for name in sides:
                mine, other = took[name] * 1e6, took[peer] * 1e6
                print(f"{what:<13} {name:<14} {mine:8.0f} us   {peer:<14} {other:8.0f} us   ratio {mine / other:6.2f}")
            if block == BLOCK:
                took_alone = in_a_series(sides["stdio, frames"]) * 1e6
                print(f"{what:<13} {'stdio, frames':<14} {took_alone:8.0f} us   in one series of {SERIES} calls")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
