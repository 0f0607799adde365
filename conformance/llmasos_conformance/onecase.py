"""One case against one candidate, with all that travelled: what `llmasos try` shows.

The case is asked as in a run, by the same engine. What is overheard belongs to the example that decided, or to the last
one of a case that passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos_conformance import engine, report, seating
from llmasos_conformance import suite as suites
from llmasos_conformance.candidate import Connection, Live
from llmasos_conformance.overheard import Overheard, Tap, Turn
from llmasos_conformance.protocol import Description
from llmasos_conformance.suite import Case, Suite
from llmasos_conformance.verdict import EXIT_ADAPTER, Outcome, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A case that was tried.

    Attributes:
        suite: of the case. description: of the candidate.
        case: the case. outcome: of it. detail: what a developer may want to see, or "".
        opening: turns before the example that is shown. turns: of that example.
        example: its number from 0. address, seed: for the command that repeats it.
    """

    suite: Suite
    description: Description
    case: Case
    outcome: Outcome
    detail: str
    opening: tuple[Turn, ...]
    turns: tuple[Turn, ...]
    example: int
    address: str
    seed: str

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 4 the adapter broke the protocol, 3 could not be judged or was not asked."""
        if self.outcome.state is State.PASS:
            return 0
        if self.outcome.state is State.FAIL:
            return 1
        return EXIT_ADAPTER if self.outcome.fault in ("protocol", "transport") else 3

    @property
    def again(self) -> str:
        """The command that asks the case again on the same inputs."""
        return report.reproduce_command(self.case, self.address, self.seed)

    def told(self, lang: str) -> str:
        """What came of it, and if it is not right, how to read that."""
        if self.outcome.state is State.PASS:
            figures = ", ".join(f"{name} {value:.3g}" for name, value in self.outcome.figures.items())
            measured = {"en": "; in honest errors: ", "zh": "；以诚实误差为单位："}[lang] + figures if figures else ""
            return f"{report.state_in(self.outcome.state, lang)} {self.case.id}{measured}"
        return report.explain_outcome(self.outcome, self.suite, lang, adapter=self.address, seed=self.seed)

    def as_json(self, lang: str) -> dict[str, Any]:
        requirement = self.suite.requirements[self.outcome.requirement]
        return {
            "schemaVersion": "1.0", "case": self.case.id, "requirement": requirement.id, "level": requirement.level,
            "sentence": requirement.sentence[lang], "outcome": str(self.outcome.state), "message": self.outcome.message,
            "expected": self.outcome.expected, "got": self.outcome.got, "fault": self.outcome.fault,
            "figures": {name: report.figure(value) for name, value in self.outcome.figures.items()},
            "detail": self.detail, "example": self.example, "examples": self.case.examples,
            "opening": [turn.as_json() for turn in self.opening], "turns": [turn.as_json() for turn in self.turns],
            "seed": self.seed, "again": self.again, "exitCode": self.exit_code,
        }  # fmt: skip


def run(
    address: str, named: str | None = None, *, seed: str = "0", directory: Path = Path(), in_process: bool = False,
    timeout_s: float = 30.0, suite: Suite | None = None,
) -> Tried:  # fmt: skip
    """Ask one case and listen.

    Args:
        address: see `adapters`. named: see `seating.chosen`. seed: of the inputs.
        directory: where relative addresses start. in_process: an object of Python stays in this process.
        timeout_s: per call. suite: None for the installed one.

    Raises:
        HarnessError: the address leads nowhere, there is no such case, or a candidate that was lost does not come back.
    """
    suite = suite or suites.load()
    if named is not None and seating.bare(named) not in suite.cases:
        seating.chosen(suite, named, Description(name="nobody", version="0"))
    heard: list[Turn] = []
    begun: list[int] = []
    connection = seating.opened(
        address, directory=directory, in_process=in_process, timeout_s=timeout_s, watch=lambda wire: Tap(wire, heard)
    )
    try:
        if not heard:  # an object in this process has no channel
            connection = Overheard(connection, heard)
        case = seating.chosen(suite, named, connection.description)
        with seating.bench(suite, connection, seed, _marked(lambda: begun.append(len(heard)))) as bench:
            trial = engine.run_case(bench, case)
    finally:
        connection.close()
    start = begun[-1] if begun else len(heard)
    return Tried(
        suite=suite, description=connection.description, case=case, outcome=trial.outcome, detail=trial.detail,
        opening=_opening(heard[:start], begun), turns=tuple(heard[start:]), example=max(len(begun) - 1, 0),
        address=address, seed=seed,
    )  # fmt: skip


def _opening(before: Sequence[Turn], begun: Sequence[int]) -> tuple[Turn, ...]:
    """What came before all examples: the candidate describes itself; and bundles that a later example has no need to
    load again."""
    first = begun[0] if begun else len(before)
    return tuple(turn for i, turn in enumerate(before) if i < first or turn.method == "load_model")


def _marked(mark: Callable[[], None]) -> Callable[[Connection], Live]:
    """Links that say when an example begins."""

    class Marked(Live):
        def begin(self) -> None:
            mark()
            super().begin()

    return Marked
