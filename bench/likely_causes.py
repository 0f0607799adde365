"""How often the likely cause of failures is the right one: each mutant read against the matrix of all others.

    python bench/likely_causes.py [--matrix reports/kill-matrix.json] [--pairs 500] [--json]

A mutant stands for a candidate whose bug is not in the matrix, but may have relatives there; two of them, whose
failures are put together, for a candidate with two bugs. Four tables:

    failures    by how many cases a mutant fails: for how many a cause is told, and how often it names the requirement
                that the mutant breaks, or at least the chapter
    likeness    by the likeness of the cause, told or not: how often it names the requirement. From where on this is
                more than half is `knownbugs.TELLING`
    perhaps     how often a cause that is named and not told breaks the requirement, or at least one of its chapter: see
                `knownbugs.SAME`
    pairs       how often the cause that is told names a requirement that either of the two breaks
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmasos_conformance import killmatrix, knownbugs
from llmasos_conformance.killmatrix import KillMatrix, Row
from llmasos_conformance.knownbugs import Cause, Seen

RANGES = ((1, 1), (2, 3), (4, 9), (10, 40), (41, 10**6))
BANDS = 20
"""Of likeness, from 0 to 1."""

SEED = 1
"""Of the pairs."""

Read = tuple[Sequence[Row], Cause | None]
"""Mutants that stand for a candidate, and the cause of its failures by the others, told or not."""


def read(rows: Sequence[Row], matrix: KillMatrix) -> Read:
    """What the other rows say of a candidate that has the bugs of these, all asked the same cases."""
    others = replace(matrix, rows=[other for other in matrix.rows if all(other is not row for row in rows)])
    outcomes = {}
    for case in rows[0].asked:
        failed = [row for row in rows if case in row.failed]
        loud = [row.loud[case] for row in failed if case in row.loud]
        outcomes[case] = Seen(passed=not failed, loud=max(loud, default=None))
    return rows, knownbugs.cause(outcomes, others)


def pairs(matrix: KillMatrix, count: int) -> list[tuple[Row, Row]]:
    """Pairs of mutants that were asked the same cases."""
    draw, rows = random.Random(SEED), [row for row in matrix.mutants if row.failed]
    made: list[tuple[Row, Row]] = []
    while len(made) < count:
        one, other = draw.sample(rows, 2)
        if one.asked == other.asked:
            made.append((one, other))
    return made


def right(rows: Sequence[Row], cause: Cause) -> bool:
    return cause.requirement in {row.expected for row in rows}


def failures(rows: Sequence[Row]) -> int:
    """How many cases they fail together."""
    return len({case for row in rows for case in row.failed})


def chapter(requirement: str) -> str:
    return requirement.partition("-")[0]


def told(every: Sequence[Read]) -> list[tuple[Sequence[Row], Cause]]:
    """Those for which a cause is told."""
    return [(rows, cause) for rows, cause in every if cause and knownbugs.worth_telling(cause, failures(rows))]


def by_failures(singles: Sequence[Read]) -> list[Mapping[str, Any]]:
    table = []
    for low, high in RANGES:
        of_range = [(rows, cause) for rows, cause in singles if low <= failures(rows) <= high]
        shown = told(of_range)
        table.append(
            {
                "fails": f"{low} and more" if high == RANGES[-1][1] else f"{low} to {high}",
                "mutants": len(of_range),
                "told": len(shown),
                "requirement": sum(right(rows, cause) for rows, cause in shown),
                "chapter": sum(chapter(rows[0].expected) == chapter(cause.requirement) for rows, cause in shown),
            }
        )
    return table


def by_likeness(singles: Sequence[Read]) -> list[Mapping[str, Any]]:
    bands: dict[int, list[bool]] = {}
    for rows, cause in singles:
        if cause:
            bands.setdefault(min(int(cause.likeness * BANDS), BANDS - 1), []).append(right(rows, cause))
    return [
        {"likeness": f"{band / BANDS:.2f} to {(band + 1) / BANDS:.2f}", "mutants": len(hits), "requirement": sum(hits)}
        for band, hits in sorted(bands.items())
    ]


def by_name(singles: Sequence[Read]) -> list[Mapping[str, Any]]:
    named = [(rows[0], cause) for rows, cause in singles if cause and knownbugs.worth_naming(cause, failures(rows))]
    broken = [(row.expected, {bug.expected for bug in cause.bugs}) for row, cause in named]
    return [
        {
            "named": len(broken),
            "requirement": sum(due in said for due, said in broken),
            "chapter": sum(chapter(due) in set(map(chapter, said)) for due, said in broken),
        }
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--matrix", type=Path, default=killmatrix.find())
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    matrix = killmatrix.read(options.matrix)
    singles = [read([row], matrix) for row in matrix.mutants if row.failed]
    doubles = [read(two, matrix) for two in pairs(matrix, options.pairs)]
    shown = told(doubles)
    tables = {
        "failures": by_failures(singles),
        "likeness": by_likeness(singles),
        "perhaps": by_name(singles),
        "pairs": [{"pairs": len(doubles), "told": len(shown), "requirement": sum(right(*each) for each in shown)}],
    }
    if options.json:
        print(json.dumps(tables, indent=1))
        return
    for name, table in tables.items():
        print(name)
        print("\n".join(f"  {line}" for line in table))


if __name__ == "__main__":
    main()
