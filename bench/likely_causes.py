"""How often the likely cause of failures is the right one: each mutant read against the matrix of all others.

    python bench/likely_causes.py [--matrix reports/kill-matrix.json] [--pairs 500] [--json]

A mutant stands for a candidate whose bug is not in the matrix, but may have relatives there; two of them, whose
failures are put together, for a candidate with two bugs. Four tables:

    failures    by how many cases a mutant fails: for how many a cause is told, and how often the first one names the
                requirement that the mutant breaks, or at least the chapter
    likeness    by the likeness of the first cause, told or not: how often it names the requirement. From where on this
                is more than half is `causes.TELLING`
    behind      of causes behind the first that are as alike, by how many failures they explain, for mutants and pairs:
                from where on they are right in more than half is `causes.LATER`
    pairs       how often the first cause that is told names a requirement that either of the two breaks
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmasos_conformance import causes, killmatrix
from llmasos_conformance.causes import Cause, Seen
from llmasos_conformance.killmatrix import KillMatrix, Row

RANGES = ((1, 1), (2, 3), (4, 9), (10, 40), (41, 10**6))
BANDS = 20
"""Of likeness, from 0 to 1."""

SEED = 1
"""Of the pairs."""

Read = tuple[Sequence[Row], list[Cause]]
"""Mutants that stand for a candidate, and all causes of its failures by the others, told or not."""


def read(rows: Sequence[Row], matrix: KillMatrix) -> Read:
    """What the other rows say of a candidate that has the bugs of these, all asked the same cases."""
    others = replace(matrix, rows=[other for other in matrix.rows if all(other is not row for row in rows)])
    outcomes = {}
    for case in rows[0].asked:
        failed = [row for row in rows if case in row.failed]
        loud = [row.loud[case] for row in failed if case in row.loud]
        outcomes[case] = Seen(passed=not failed, loud=max(loud, default=None))
    return rows, causes.causes(outcomes, others)[0]


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


def by_failures(singles: Sequence[Read]) -> list[Mapping[str, Any]]:
    table = []
    for low, high in RANGES:
        told = [(row, causes.worth_telling(found)[:1]) for (row,), found in singles if low <= len(row.failed) <= high]
        first = [(row, cause) for row, causes_told in told for cause in causes_told]
        table.append(
            {
                "fails": f"{low} and more" if high == RANGES[-1][1] else f"{low} to {high}",
                "mutants": len(told),
                "told": len(first),
                "requirement": sum(right([row], cause) for row, cause in first),
                "chapter": sum(
                    row.expected.partition("-")[0] == cause.requirement.partition("-")[0] for row, cause in first
                ),
            }
        )
    return table


def by_likeness(singles: Sequence[Read]) -> list[Mapping[str, Any]]:
    bands: dict[int, list[bool]] = {}
    for rows, found in singles:
        if found:
            bands.setdefault(min(int(found[0].likeness * BANDS), BANDS - 1), []).append(right(rows, found[0]))
    return [
        {"likeness": f"{band / BANDS:.2f} to {(band + 1) / BANDS:.2f}", "mutants": len(hits), "requirement": sum(hits)}
        for band, hits in sorted(bands.items())
    ]


def by_size(read: Sequence[Read]) -> list[Mapping[str, Any]]:
    later = [(len(cause.explains), right(rows, cause)) for rows, found in read for cause in found[1:]
             if cause.likeness >= causes.TELLING]  # fmt: skip
    return [
        {
            "explains": f"{low} to {high - 1}" if high < 10**6 else f"{low} and more",
            "behind the first": sum(low <= size < high for size, _ in later),
            "requirement": sum(hit for size, hit in later if low <= size < high),
        }
        for low, high in ((1, 3), (3, causes.LATER), (causes.LATER, 16), (16, 10**6))
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
    first = [(rows, told[0]) for rows, found in doubles if (told := causes.worth_telling(found))]
    tables = {
        "failures": by_failures(singles),
        "likeness": by_likeness(singles),
        "behind": by_size([*singles, *doubles]),
        "pairs": [{"pairs": len(doubles), "told": len(first), "requirement": sum(right(*each) for each in first)}],
    }
    if options.json:
        print(json.dumps(tables, indent=1))
        return
    for name, table in tables.items():
        print(name)
        print("\n".join(f"  {line}" for line in table))


if __name__ == "__main__":
    main()
