"""Does the suite ever fail what is right? Every honest variant and framework, over many seeds.

    python bench/false_failures.py [--seeds 100] [--first 1] [--lean] [--cases GLOB …] [--also ADDRESS …] [--jobs 2]
                                   [--out FILE] [--summary]

A seed makes fresh probes and fresh inputs for every case. Each honest variant (another order of summation, fused or
online softmax, chunks, caches, half precision that says so) and each framework is asked the cases of numbers and
properties, and must fail none, leave none undecided, and use at most half of every bound. One line of JSON per seed
goes to --out as it comes; seeds that stand there are not run again, as long as the suites and the code that judges and
computes are the same: what commands and pages say does not matter. With --lean a seed asks one example of each case,
so that it takes a quarter of the time: a hundred seeds are then a hundred draws of each case. --summary prints what the
file holds and stops.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmasos_conformance import adapters, suite
from llmasos_conformance.canonical import sha256
from llmasos_conformance.killmatrix import HONEST_SHARE
from llmasos_conformance.mutants import table

PROPERTIES = (
    "numerics.*", "attention.*", "state.*", "greedy.*", "banded.*", "beams.*", "llama.*", "bert.*", "transformer.*",
    "bundle.*", "inside.*",
)  # fmt: skip
"""Suites whose verdicts rest on numbers that a candidate computed."""

BINS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, HONEST_SHARE)


def of_seed(rows: Iterable[table.Row]) -> dict[str, Any]:
    """One seed's results as JSON: what failed, what stayed open, and the largest share of a bound per candidate."""
    named = [(row.name if row.kind == "framework" else f"{row.kind}:{row.name}", row) for row in rows if row.asked]
    return {
        "failed": {name: sorted(row.failed) for name, row in named if row.failed},
        "undecided": {name: dict(row.undecided) for name, row in named if row.undecided},
        "shares": {name: [round(row.share, 4), row.at] for name, row in named},
    }


def summary(lines: Sequence[Mapping[str, Any]]) -> str:
    """What many seeds amount to, for a person."""
    shares = [share for line in lines for share, _ in line["shares"].values()]
    worst = sorted(
        ((*pair, name, line["seed"]) for line in lines for name, pair in line["shares"].items()), reverse=True
    )
    failed = Counter(case for line in lines for cases in line["failed"].values() for case in cases)
    undecided = Counter(case for line in lines for cases in line["undecided"].values() for case in cases)
    candidates = {name for line in lines for name in line["shares"]}
    text = [
        f"{len(lines)} seeds, {len(candidates)} right candidates, {len(shares)} runs",
        f"failed: {sum(failed.values())}  {dict(failed) or ''}".rstrip(),
        f"undecided: {sum(undecided.values())}  {dict(undecided) or ''}".rstrip(),
        f"largest share of a bound per run: median {statistics.median(shares):.3f}, largest {max(shares):.3f}",
        *(f"  {share:.3f} {at} by {name}, seed {seed}" for share, at, name, seed in worst[:8]),
        "share  runs",
    ]
    edges = (0.0, *BINS, float("inf"))
    for low, high in itertools.pairwise(edges):
        text.append(f"{low:.2f} to {high:.2f}  {sum(low <= share < high for share in shares)}")
    return "\n".join(text)


def code_digest(addresses: Iterable[str]) -> str:
    """Over the sources that are imported once all is at hand that judges, is judged, or is the truth."""
    for address in addresses:
        adapters.connect(address)
    files = {
        name: Path(module.__file__ or "").read_bytes()
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] in ("llmasos", "llmasos_conformance") and getattr(module, "__file__", None)
    }
    return sha256(b"".join(name.encode() + b"\0" + sha256(content).encode() for name, content in files.items()))


def read(path: Path, terms: Mapping[str, object]) -> list[dict[str, Any]]:
    """Lines of a file of an earlier run; those of other code or suites are left out."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return [line for line in lines if all(line.get(name) == value for name, value in terms.items())]


def main() -> int:
    """Exit status 0 if nothing right failed, nothing stayed open and no share is above half."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--lean", action="store_true", help="one example of each case")
    parser.add_argument("--cases", nargs="+", default=list(PROPERTIES), metavar="GLOB", help="case ids or profiles")
    parser.add_argument("--only", nargs="+", default=["honest:*"], metavar="GLOB", help="honest variants")
    parser.add_argument("--also", nargs="*", default=["reference", "transformers", "onnxruntime"], metavar="ADDRESS")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes")
    parser.add_argument("--out", type=Path, default=Path("false-failures.ndjson"), help="a line per seed")
    parser.add_argument("--summary", action="store_true", help="print what --out holds, run nothing")
    options = parser.parse_args()
    terms = {"suite": suite.load().digest, "code": code_digest(options.also), "lean": options.lean}
    lines = read(options.out, terms)
    if not options.summary:
        done = {line["seed"] for line in lines}
        for seed in range(options.first, options.first + options.seeds):
            if seed in done:
                continue
            started = time.monotonic()
            made = table.run(
                options.only, options.cases, options.jobs, lean=options.lean, seed=str(seed), also=options.also
            )
            line = {**terms, "seed": seed, **of_seed(made.rows), "seconds": round(time.monotonic() - started)}
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, sort_keys=True) + "\n")
            lines.append(line)
            shares = [share for share, _ in line["shares"].values()]
            print(
                f"seed {seed}: {len(line['failed'])} failed, {len(line['undecided'])} open, "
                f"largest share {max(shares):.2f}, {line['seconds']} s",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    if not lines:
        print(f"{options.out} holds no seed of these suites and this code", file=sys.stderr)
        return 2
    print(summary(lines))
    right = not any(line["failed"] or line["undecided"] for line in lines)
    return 0 if right and max(share for line in lines for share, _ in line["shares"].values()) <= HONEST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
