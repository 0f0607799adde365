"""How often the likely cause of failures is the right one: each mutant read against the matrix of all others.

    python bench/likely_causes.py [--matrix reports/kill-matrix.json] [--json]

A mutant stands for a candidate whose bug is not in the matrix, but may have relatives there. By how many cases it
fails: for how many a cause is named, and how often the first one names the requirement that the mutant breaks, or at
least the chapter. The thresholds of `causes` are judgement; this is what they are worth.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from llmasos_conformance import causes, killmatrix
from llmasos_conformance.causes import Seen
from llmasos_conformance.killmatrix import KillMatrix, Row

RANGES = ((1, 1), (2, 3), (4, 9), (10, 40), (41, 10**6))


def named(row: Row, matrix: KillMatrix) -> str:
    """The requirement of the first cause by all other rows; empty if none is named."""
    others = replace(matrix, rows=[other for other in matrix.rows if other is not row])
    outcomes = {case: Seen(passed=case not in row.failed, loud=row.loud.get(case)) for case in row.asked}
    found, _ = causes.causes(outcomes, others)
    return found[0].requirement if found else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--matrix", type=Path, default=killmatrix.find())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    matrix = killmatrix.read(options.matrix)
    pairs = [(row, named(row, matrix)) for row in matrix.mutants if row.failed]
    table = []
    for low, high in RANGES:
        told = [(row.expected, name) for row, name in pairs if low <= len(row.failed) <= high]
        table.append(
            {
                "fails": f"{low} and more" if high == RANGES[-1][1] else f"{low} to {high}",
                "mutants": len(told),
                "named": sum(bool(name) for _, name in told),
                "requirement": sum(due == name for due, name in told),
                "chapter": sum(due.partition("-")[0] == name.partition("-")[0] for due, name in told),
            }
        )
    print(json.dumps(table, indent=1) if options.json else "\n".join(str(line) for line in table))


if __name__ == "__main__":
    main()
