"""What can be drawn of the answers that a report's evidence holds.

Nothing here is measured anew and nothing is drawn by chance: questions follow from the seed, answers are the recorded
ones, and the truth beside them is the float64 reference that judges, too. Some cases stand for all, those that failed
first, and then those that use most of their bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmasos_conformance import engine, evidence, report, verify
from llmasos_conformance.checks import Asked, Given, beside, inside, numerics, sampling
from llmasos_conformance.protocol import Array
from llmasos_conformance.verdict import State

if TYPE_CHECKING:
    from llmasos_conformance.engine import Bench
    from llmasos_conformance.evidence import Record
    from llmasos_conformance.probes import Given as Bundle
    from llmasos_conformance.reading import Read
    from llmasos_conformance.reference import Reference
    from llmasos_conformance.suite import Case, Suite

MOST = 8
"""Cases that are drawn, of numbers and of samplers each. A reader looks at fewer, and each takes a few kilobytes."""

Shares = Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How much of its bound a case uses, along one axis.

    Attributes:
        along: "position" or "layer". shares: largest of all rows and examples at each place; None where no row has
            numbers there. rows: that were measured.
    """

    case: str
    failed: bool
    along: str
    shares: Shares
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often each letter came, and how often the law that is due lets it come."""

    case: str
    failed: bool
    letters: str
    came: Sequence[int]
    due: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is drawn of a report.

    Attributes:
        cases: how many could be drawn, of numbers and of samplers; `curves` and `histograms` show the first of them.
    """

    curves: tuple[Curve, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    numbers: int = 0
    samplers: int = 0


def see(read: Read, loaded: Suite, place: Path, bundle: Bundle | None = None) -> Seen:
    """What is drawn of a verified report.

    Args:
        loaded: the very suite of the run. place: an empty directory for models. bundle: that the report is about.

    Raises:
        Unacceptable: the evidence is not the one signed.
        EvidenceMismatch: it is no conversation of this suite and seed.
    """
    checks = read.predicate["checks"]
    signed = [made for made in checks if made.get("evidence")]
    rows, drawn = chosen(checks, loaded, CURVES, read), chosen(checks, loaded, HISTOGRAMS, read)
    if not rows and not drawn:
        return Seen()
    digests = [made["evidence"] for made in signed]
    records, _ = evidence.read(evidence.place(read.directory), signed=digests)
    held = {record.case: record for record in records}
    bench = verify.bench_of(read.predicate, loaded, place, bundle)
    states = {made["id"]: made["outcome"] == State.FAIL for made in checks}
    curves = [
        Curve(case=name, failed=states[name], along=along, shares=shares, rows=count)
        for name in rows[:MOST]
        for along, shares, count in _curves(bench, loaded.cases[name], held[name])
    ]
    histograms = [
        made for name in drawn[:MOST] for made in _histograms(bench, loaded.cases[name], held[name], states[name])
    ]
    return Seen(curves=tuple(curves), histograms=tuple(histograms), numbers=len(rows), samplers=len(drawn))


def chosen(checks: Iterable[report.Entry], loaded: Suite, kinds: Iterable[str], read: Read) -> list[str]:
    """Cases of some checks that have evidence: those that failed, then those that use most of their bound."""
    dtype, kinds = read.predicate["candidate"]["claims"]["dtype"], set(kinds)

    def rank(made: report.Entry) -> tuple[bool, float]:
        share = report.share(made, dtype)
        return made["outcome"] != State.FAIL, -math.inf if share is None or math.isnan(share) else -share

    fitting = [
        made for made in checks
        if made.get("evidence") and made["id"] in loaded.cases and loaded.cases[made["id"]].check in kinds
    ]  # fmt: skip
    return [made["id"] for made in sorted(fitting, key=rank)]


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _by_position(rows: Iterable[Array | None]) -> tuple[str, list[Array]]:
    return "position", [row for row in rows if row is not None]


def _positions(
    shares: Callable[[Given, Asked, Any], list[Array | None]],
) -> Callable[[Given, Asked, Any], list[tuple[str, list[Array]]]]:
    """Along positions, for a check whose answers are rows of logits."""
    return lambda given, asked, reference: [_by_position(shares(given, asked, reference))]


def _hidden(given: Given, asked: Asked, reference: Reference) -> list[tuple[str, list[Array]]]:
    shares = inside.shares_hidden(given, asked, reference)
    return [] if shares is None else [("layer", [shares.max(axis=1)]), ("position", [shares.max(axis=0)])]


def _attention(given: Given, asked: Asked, reference: Reference) -> list[tuple[str, list[Array]]]:
    layers = inside.shares_attention(given, asked, reference)
    if layers is None:
        return []
    worst = np.array([np.nan if layer is None else layer.max() for layer in layers])
    return [("layer", [worst]), _by_position(None if layer is None else layer.max(axis=0) for layer in layers)]


CURVES: Mapping[str, Callable[[Given, Asked, Any], list[tuple[str, list[Array]]]]] = {
    "agrees-with-reference": _positions(numerics.shares_agrees),
    "altered-weights": _positions(numerics.shares_altered),
    "row-agrees": _positions(beside.shares_row_agrees),
    "hidden-states": _hidden,
    "attention-weights": _attention,
}
"""Check -> along what its answers are drawn, and rows of shares."""


def _curves(bench: Bench, case: Case, record: Record) -> list[tuple[str, Shares, int]]:
    found: dict[str, list[Array]] = {}
    for asked in engine.asked_again(bench, case, evidence.exchanges(record)):
        for along, rows in CURVES[case.check](case.given, asked, bench.reference):
            found.setdefault(along, []).extend(rows)
    return [(along, envelope(rows), len(rows)) for along, rows in found.items() if rows]


def envelope(rows: Sequence[Array]) -> list[float | None]:
    """The largest number at each place of rows that need not be equally long; None where there is none."""
    length = max(len(row) for row in rows)
    made: list[float | None] = []
    for at in range(length):
        values = [float(row[at]) for row in rows if at < len(row) and not math.isnan(row[at])]
        made.append(max(values) if values else None)
    return made


# ── samplers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

HISTOGRAMS = ("drawn-from",)


def _histograms(bench: Bench, case: Case, record: Record, failed: bool) -> list[Histogram]:
    made = []
    for asked in engine.asked_again(bench, case, evidence.exchanges(record)):
        found = sampling.tally(case.given, asked["calls"])
        if found is not None:
            made.append(
                Histogram(
                    case=case.id, failed=failed, letters=found.letters, came=[int(count) for count in found.came],
                    due=[float(count) for count in found.due],
                )
            )  # fmt: skip
    return made
