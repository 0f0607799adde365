"""The outcome algebra: what happened to a case, and what a run of cases amounts to.

    a MUST case failed                                         -> non_conformant
    else a MUST case is error, inconclusive, missing,
         or not_declared although the profile requires it      -> incomplete
    else a case of any level is not_run                        -> incomplete
    else                                                       -> conformant

A SHOULD that fails or cannot be judged is shown and changes nothing; one that was never asked would hide a failure.
A skip never reads as green: `not_declared` and `not_applicable` are states of their own, and a run in which nothing
passed is incomplete.

What a server answers whose model nobody can load is judged by relations among its answers alone. That says less, so the
words are others: such a run is black_box_conformant or black_box_non_conformant, and never conformant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """What became of one case."""

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    NOT_DECLARED = "not_declared"
    NOT_APPLICABLE = "not_applicable"
    WAIVED = "waived"
    NOT_RUN = "not_run"
    INCONCLUSIVE = "inconclusive"


class Verdict(StrEnum):
    """What a run amounts to."""

    CONFORMANT = "conformant"
    NON_CONFORMANT = "non_conformant"
    BLACK_BOX_CONFORMANT = "black_box_conformant"
    BLACK_BOX_NON_CONFORMANT = "black_box_non_conformant"
    INCOMPLETE = "incomplete"

    @property
    def holds(self) -> bool:
        """Whether nothing that was asked stands against the candidate, and all was asked."""
        return self in (Verdict.CONFORMANT, Verdict.BLACK_BOX_CONFORMANT)

    @property
    def fails(self) -> bool:
        return self in (Verdict.NON_CONFORMANT, Verdict.BLACK_BOX_NON_CONFORMANT)


BLACK_BOX: Mapping[Verdict, Verdict] = {
    Verdict.CONFORMANT: Verdict.BLACK_BOX_CONFORMANT,
    Verdict.NON_CONFORMANT: Verdict.BLACK_BOX_NON_CONFORMANT,
    Verdict.INCOMPLETE: Verdict.INCOMPLETE,
}
"""What a verdict is called that rests on the answers of a server alone."""

EXIT_CODES: Mapping[Verdict, int] = {
    Verdict.CONFORMANT: 0, Verdict.BLACK_BOX_CONFORMANT: 0, Verdict.NON_CONFORMANT: 1,
    Verdict.BLACK_BOX_NON_CONFORMANT: 1, Verdict.INCOMPLETE: 3,
}  # fmt: skip
EXIT_USAGE, EXIT_ADAPTER, EXIT_NOTHING, EXIT_OURS = 2, 4, 5, 70


HONEST_UNITS = frozenset({"ratio", "position", "peak"})
"""Figures that are errors, in units of honest error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a judge says of one example: right, wrong, or cannot tell; and everything needed to understand it.

    Attributes:
        state: PASS, FAIL, INCONCLUSIVE or NOT_APPLICABLE.
        message: one sentence with position, value and bound; empty when it passed.
        expected, got: short renderings, empty when they say nothing more than the message.
        figures: named numbers (for example `ratio`, error in units of honest error); the worst example's are reported.
    """

    state: State
    message: str = ""
    expected: str = ""
    got: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.state is State.PASS


def passed(**figures: float) -> Finding:
    """A finding that is right, with its figures."""
    return Finding(state=State.PASS, figures=figures)


def failed(message: str, *, expected: object = "", got: object = "", **figures: float) -> Finding:
    """A finding that is wrong. The message names where, what and by how much."""
    return Finding(state=State.FAIL, message=message, expected=str(expected), got=str(got), figures=figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One case's result, as reported.

    Attributes:
        case, requirement: ids. level: MUST, SHOULD or MAY of the requirement.
        emulated: capabilities that the case used and that the adapter, not the runtime, provides.
        example: index of the drawn example that decided, None for a fixed case or a pass.
        minimal: rendering of the smallest failing input found, empty unless exploration shrank it; of what
            `ended`, what was asked.
        unfinished: a smaller one may fail like it: none was looked for, or the time for that was over.
        wavered: asked again, the same example did not fail.
        evidence: sha256 hex of the case's evidence line, empty when none was stored.
    """

    case: str
    requirement: str
    level: str
    state: State
    message: str = ""
    expected: str = ""
    got: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    emulated: tuple[str, ...] = ()
    example: int | None = None
    minimal: str = ""
    unfinished: bool = False
    wavered: bool = False
    evidence: str = ""
    fault: str = ""  # for ERROR: "harness", "transport", "protocol" or "timeout"

    @property
    def ok(self) -> bool:
        return self.state in (State.PASS, State.WAIVED, State.NOT_APPLICABLE)

    @property
    def ended(self) -> bool:
        """Whether it died, or nothing could be judged for a fault: asking again costs a process, or its time."""
        return self.got == "died" or bool(self.fault)


NO_ANSWER = ("raised: ", "malformed: ", "died: ", "a valid request was refused: ")
"""How the message of a failure begins that is no wrong answer but none."""


TWO_WAYS = "came the other way"
"""Words of a message that holds two answers of the candidate against each other, behind the second of them."""


def two_ways(message: str) -> bool:
    """Whether a failure is one of two answers of the candidate that have to agree."""
    return f" {TWO_WAYS}" in message


def unanswered(message: str) -> bool:
    """Whether a failure with this message is no wrong answer but none: raised, malformed, died, refused."""
    return message.startswith(NO_ANSWER)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongPositions:
    """Where a row of logits is wrong: at how many of how many positions, and the first of them, counted from 0."""

    wrong: int
    of: int
    first: int

    def __str__(self) -> str:
        return f"wrong at {self.wrong} of {self.of} positions, first at {self.first}"


_WRONG_POSITIONS = re.compile(r"wrong at (\d+) of (\d+) positions, first at (\d+)")


def wrong_positions(message: str) -> WrongPositions | None:
    """What the message of a failure says of positions; None if nothing.

    It stands in the message and is no figure: where the first position beyond a bound is, depends on the honest errors
    of the machine that judges wherever an error is near the bound, and figures have to come out when judged again.
    """
    found = _WRONG_POSITIONS.search(message)
    return found and WrongPositions(wrong=int(found[1]), of=int(found[2]), first=int(found[3]))


METHODS = frozenset(
    {
        "tokenize", "forward", "session", "generate_ids", "batch", "score", "perplexity", "bleu", "rouge", "encode",
        "fill_mask", "hidden_states", "attention", "gradients", "train_step", "export",
    }
)  # fmt: skip
"""Capabilities with methods of their own. A case that needs none of them asks `generate_text` or a stream of it."""

FAMILY_BEHAVIOUR: Mapping[str, str] = {
    "format": "format", "loading": "format", "contracts": "arguments", "onnx": "format",
}  # fmt: skip
"""What the cases of a family exercise besides capabilities, in the words in which adapters declare emulation."""
BEHAVIOURS = frozenset({"generate_text", *FAMILY_BEHAVIOUR.values()})
"""Words beside capabilities that mark cases where an adapter declares them as emulated; others are only told."""


def emulated_in(case: str, needs: Iterable[str], emulated: Iterable[str]) -> tuple[str, ...]:
    """What a case exercises and the adapter, not the runtime, provides; sorted.

    A pure function of what the frozen profile says of a case, so that a verifier derives the same.

    Args:
        case: id; its first words name its family. needs: its capabilities. emulated: behaviours declared as emulated.
    """
    # The family is the first word, or the second behind the name of an architecture: format.…, llama.format.…
    exercised, families = set(needs), set(case.split(".")[:2]) & FAMILY_BEHAVIOUR.keys()
    exercised |= {FAMILY_BEHAVIOUR[family] for family in families}
    if not families and not exercised & METHODS:
        exercised.add("generate_text")
    return tuple(sorted(exercised & set(emulated)))


def decide(planned: Sequence[str], outcomes: Iterable[Outcome], optional: frozenset[str] = frozenset()) -> Verdict:
    """The verdict of a run, as it is called where the candidate could be given a model; see `BLACK_BOX`.

    Args:
        planned: the ids that the profile lists.
        outcomes: what was recorded. An id outside the plan, or twice, makes the run incomplete.
        optional: ids whose capabilities the profile does not require; only they may be `not_declared`.
    """
    recorded = list(outcomes)
    counts = Counter(outcome.case for outcome in recorded)
    whole = set(counts) == set(planned) and all(count == 1 for count in counts.values())
    musts = [outcome for outcome in recorded if outcome.level == "MUST"]
    if any(outcome.state is State.FAIL for outcome in musts):
        return Verdict.NON_CONFORMANT
    if any(outcome.state is State.NOT_RUN for outcome in recorded):
        return Verdict.INCOMPLETE
    undecided = {State.ERROR, State.INCONCLUSIVE}
    for outcome in musts:
        if outcome.state in undecided or (outcome.state is State.NOT_DECLARED and outcome.case not in optional):
            return Verdict.INCOMPLETE
    if not whole or not any(outcome.state is State.PASS for outcome in recorded):
        return Verdict.INCOMPLETE
    return Verdict.CONFORMANT
