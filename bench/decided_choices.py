"""How many sampled ids leave no other id right, in each dtype, for every case of `gumbel.*`.

    python bench/decided_choices.py [--cases GLOB …] [--dtypes DTYPE …] [--seed S]

The reference answers in the dtype, and is judged as a candidate is. A step is decided if one id alone is right there; a
case is worth what is decided, because a wrong id in any other step may pass. `docs/gumbel.md` has the figures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from unittest import mock

from llmasos_conformance import adapters, checks, engine, gumbel, reference, suite
from llmasos_conformance.candidate import Candidate, Live
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import DTYPES


def decided(bench: engine.Bench, case: suite.Case) -> tuple[int, int, float, str]:
    """Steps of a case, those that are decided, the largest lag, and the outcome's state."""
    seen: list[bool] = []
    whole = gumbel.steps

    def counting(*args: object) -> list[gumbel.Step]:
        made = whole(*args)  # type: ignore[arg-type]
        seen.extend(int(step.right.sum()) == 1 for step in made)
        return made

    with mock.patch.object(gumbel, "steps", counting):
        outcome = engine.run_case(bench, case).outcome
    return len(seen), sum(seen), outcome.figures.get("lag", 0.0), str(outcome.state)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", nargs="+", default=["gumbel.*"], metavar="GLOB")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float16", "bfloat16"], choices=DTYPES)
    parser.add_argument("--seed", default="0")
    options = parser.parse_args(argv)
    registry = checks.registry()
    loaded = suite.load(checks=registry)
    cases = [case for case in loaded.cases.values() if any(fnmatchcase(case.id, glob) for glob in options.cases)]
    print("| case | " + " | ".join(f"{dtype} decided, lag" for dtype in options.dtypes) + " |")
    print("|---" * (len(options.dtypes) + 1) + "|")
    with tempfile.TemporaryDirectory(prefix="llmasos-decided-") as root:
        benches = []
        for dtype in options.dtypes:
            place = Path(root) / dtype
            connection = adapters.connect(f"reference:{dtype}/split-k")
            claims = connection.description.claims
            truth = reference.connect(claims, Library(place / "reference", options.seed), adapters.connect)
            seat = Candidate(Live(connection), connection.description, Library(place / "candidate", options.seed))
            benches.append(engine.Bench(loaded, registry, seat, truth, options.seed))
        for case in cases:
            cells = []
            for bench in benches:
                steps, sure, lag, state = decided(bench, case)
                cells.append(f"{sure} of {steps}, {lag:.2f}{'' if state == 'pass' else f' {state}'}")
            print(f"| `{case.id}` | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
