"""What one small call over stdio costs, validation of the answer included; median target < 100 us.

The peer is the barest thing that could work: a child that reads a JSON line and writes one, without any contract.
Blocks of calls on both sides in turn, wall time, medians over all calls.

    python bench/stdio_call.py [blocks]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

BLOCK = 200

ECHO = """
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    ids = list(question["params"]["text"].encode())
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": {"ids": ids}}) + "\\n")
    sys.stdout.flush()
"""


def times(call: Callable[[], object]) -> list[float]:
    kept = []
    for _ in range(BLOCK):
        start = time.perf_counter()
        call()
        kept.append(time.perf_counter() - start)
    return kept


def main(blocks: int) -> None:
    from llmasos_conformance import adapters

    adapter = Path(__file__).resolve().with_name("harness_cost.py")
    connection = adapters.connect(f"{adapter}:Instant", out_of_process=True)
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert child.stdin is not None
    assert child.stdout is not None
    write, read = child.stdin.write, child.stdout.readline
    try:
        model = connection.call("load_model", {"path": "."})["model"]
        params = {"model": model, "text": "sixteen letters."}

        def ours() -> object:
            return connection.call("tokenize", params)

        def bare() -> object:
            write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tokenize", "params": params}) + "\n")
            return json.loads(read())

        ours_all: list[float] = []
        bare_all: list[float] = []
        for _ in range(blocks):
            ours_all += times(ours)
            bare_all += times(bare)
    finally:
        connection.close()
        child.stdin.close()
        child.stdout.close()
        child.wait(timeout=10)
    mine, peer = (statistics.median(kept[BLOCK:]) * 1e6 for kept in (ours_all, bare_all))
    print(f"small stdio call  {mine:6.1f} us   bare JSON line  {peer:6.1f} us   ratio {mine / peer:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
