"""What comes of a case in a self-test: it is asked and judged, and a failure is made small enough to be read."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos_conformance import engine, explore, patterns
from llmasos_conformance.engine import Bench
from llmasos_conformance.plugin import summary
from llmasos_conformance.plugin.options import Options
from llmasos_conformance.verdict import Outcome, State, unanswered

if TYPE_CHECKING:
    from llmasos_conformance.suite import Case

SHARES = 4
"""Of many cases one takes this part of the time for smaller inputs at most, so that more than the first have some."""

ANEW = 3
"""After as many failures that a candidate started anew has too, nobody starts it anew for another."""

SILENCES = 3
"""After as many time-outs in a row nobody is asked any more: each costs the whole limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What came of a case in a self-test.

    Attributes:
        outcome: on certified inputs, or what exploring found behind a pass; the run is read by it.
        shown: the same, or the smallest failure like it, which a person reads.
        detail: what a developer may want to see of it. place: where it was raised, see `summary.place`.
        told: an earlier case that was told of the same exception at the same place, or the same refusal; "" if there is
            none.
        missing: capabilities that the case needs and that are not declared.
        anew: whether it is right where nothing was asked before.
    """

    outcome: Outcome
    shown: Outcome
    detail: str = ""
    place: str = ""
    told: str = ""
    missing: Sequence[str] = ()
    anew: bool = False


class Judging:
    """Judges the cases of a session, one after the other. What failures may cost beyond that is shared by all of them.

    Args:
        options: of the session.

    Attributes:
        few: whether there are so few cases that the first failure may have all the time.
        restarts: failures for which the candidate may still be started anew.
        searched: seconds that went into smaller inputs; several, where workers of xdist hand theirs over.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.few, self.restarts = False, ANEW
        self.searched: list[float] = []
        self._silences = 0
        self._raised: dict[str, str] = {}

    def judge(self, bench: Bench, case: Case, *, known: bool = False) -> Judged:
        """What came of a case.

        Args:
            known: the vendor expects the case to fail. Its failure is reported as any other and not made smaller:
                that would cost the same seconds in every run, for what has been read.
        """
        missing = sorted(case.needs - bench.candidate.description.offers)
        if self._silences >= SILENCES and not missing:
            return self._unasked(bench, case)
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # a vendor's `filterwarnings = error` is no rule of the standard
            trial = engine.run_case(bench, case)
            outcome = shown = trial.outcome
            place = summary.place(trial.detail) if outcome.state == "fail" else ""
            told = "" if known else self._told(case, outcome, place)  # what is known to fail is not shown
            anew = None if told or known else self._asked_anew(bench, case, trial)
            if anew is not None:
                shown = anew
            elif outcome.ended and not told:
                shown = explore.last(trial)
            elif outcome.state == "fail" and not told and not known:
                shown = self._smallest(bench, case, trial)
            elif outcome.state == "pass" and self.options.explore > 0:
                outcome = shown = explore.beyond(bench, case, trial, self.options.explore, draws=self.options.draws)
        if not missing:
            self._silences = self._silences + 1 if outcome.fault == "timeout" else 0
        return Judged(
            outcome=outcome, shown=shown, detail="" if told else trial.detail, place=place, told=told, missing=missing,
            anew=anew is not None,
        )  # fmt: skip

    def _unasked(self, bench: Bench, case: Case) -> Judged:
        silent = Outcome(
            case=case.id, requirement=case.requirement, level=bench.suite.level(case), state=State.ERROR,
            message=f"the candidate did not answer {SILENCES} times in a row", fault="timeout",
        )  # fmt: skip
        return Judged(outcome=silent, shown=silent)

    def _told(self, case: Case, outcome: Outcome, place: str) -> str:
        """An earlier case that got no answer for the same reason; "" if this one is the first."""
        if not (outcome.state == "fail" and unanswered(outcome.message)):
            return ""
        earlier = self._raised.setdefault(patterns.reason(outcome.message, place), case.id)
        return "" if earlier == case.id else earlier

    def _asked_anew(self, bench: Bench, case: Case, trial: engine.Trial) -> Outcome | None:
        """A wrong choice that is right where nothing was asked before, see `explore.anew`; None for what is no choice,
        and for what is wrong there too."""
        outcome = trial.outcome
        wrong_choice = outcome.state == "fail" and "ratio" not in outcome.figures and not unanswered(outcome.message)
        if not wrong_choice or not self.restarts:
            return None
        made = explore.anew(bench, case, trial, draws=self.options.draws)
        self.restarts -= made is None
        return made

    def _smallest(self, bench: Bench, case: Case, trial: engine.Trial) -> Outcome:
        """The smallest failure like one that was certified, as long as there is time to look for it."""
        draws, budget, spent = self.options.draws, self.options.smaller_s, sum(self.searched)
        if spent >= budget:
            return explore.shrink(bench, case, trial, draws=draws, smaller=False)
        started = time.monotonic()
        share = budget - spent if self.few else min(budget - spent, budget / SHARES)
        shown = explore.shrink(bench, case, trial, draws=draws, seconds=share)
        self.searched = [spent + time.monotonic() - started]
        return shown
