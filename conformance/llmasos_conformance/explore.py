"""Beyond the certified inputs: Hypothesis looks for other failures of a case, and for the smallest one.

    shrink(bench, case, trial)            a case failed on certified inputs -> the smallest failure like it
    beyond(bench, case, trial, examples)  a case passed -> a fail of the self-test if further inputs find one

Hypothesis draws through the same `Draw` interface as the certified generator and asks the same question, so whatever
it finds is a question that a case may ask. Nothing found here enters a report: what a certificate says follows from
the seed alone. A failure on certified inputs is never lost. If Hypothesis finds no smaller one within its budget,
`minimal` shows the certified example itself, and says so when that did not fail a second time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmasos_conformance import engine
from llmasos_conformance.candidate import Exchange, Live
from llmasos_conformance.engine import Bench, Trial
from llmasos_conformance.inputs import Draw, HypothesisDraw
from llmasos_conformance.suite import Case
from llmasos_conformance.verdict import Finding, Outcome, State, unanswered

SEARCH_EXAMPLES = 50
"""Examples that Hypothesis may draw to find a failure that the certified inputs have already shown."""

SHRINK_CALLS = 200
"""Further examples for making a found failure smaller. Lists of at most 16 ids settle in 30 to 120."""

SHRINK_SECONDS = 20.0
"""Or this long, whichever ends first: a slow candidate should cost a developer patience, not a coffee."""

Drawn = tuple[int, int, int | list[int]]
"""Low end, high end, and what was drawn: one integer or a list."""


@dataclass(slots=True)
class Recorder:
    """A `Draw` that remembers what came out of it."""

    source: Draw
    drawn: list[Drawn] = field(default_factory=list)

    def integer(self, low: int, high: int) -> int:
        value = self.source.integer(low, high)
        self.drawn.append((low, high, value))
        return value

    def integers(self, count: int, low: int, high: int) -> list[int]:
        values = self.source.integers(count, low, high)
        self.drawn.append((low, high, list(values)))
        return values

    @property
    def size(self) -> tuple[int, tuple[int, ...]]:
        """Hypothesis's own order: fewer integers first, then those nearer to their low end."""
        distances = [
            one - low for low, _, value in self.drawn for one in (value if isinstance(value, list) else [value])
        ]
        return len(distances), tuple(distances)


@dataclass(frozen=True, slots=True)
class Example:
    """One example that ran: what was drawn, what was asked, and what came of it."""

    finding: Finding
    drawn: Sequence[Drawn]
    calls: Sequence[Exchange]
    size: tuple[int, tuple[int, ...]]

    def render(self, *, draws: bool = False) -> str:
        """What was asked, and with `draws` what was drawn, a line each."""
        drawn = "; ".join(f"{short(value)} of {low}..{high}" for low, high, value in self.drawn) if draws else ""
        return "\n".join([*asked(self.calls), *([f"drawn: {drawn:.300}"] if drawn else [])])

    def of(self, outcome: Outcome, *, draws: bool = False) -> Outcome:
        """The outcome with this example as its minimal one: all that is said of it is of this example."""
        finding = self.finding
        return replace(
            outcome, state=finding.state, message=finding.message, expected=finding.expected, got=finding.got,
            figures=dict(finding.figures), minimal=self.render(draws=draws),
        )  # fmt: skip


def kind(finding: Finding) -> tuple[State, str, bool]:
    """What sort of failure this is. A smaller example of another sort would explain something else.

    Of what is no answer, the message up to its first digit; of a wrong answer, what was wrong and whether it was
    measured.
    """
    message = finding.message
    if unanswered(message):
        return finding.state, re.split(r"\d", message, maxsplit=1)[0], False
    word = re.match(r"\W*([^\W\d]*)", message)
    return finding.state, word[1] if word else "", "ratio" in finding.figures


def shrink(bench: Bench, case: Case, trial: Trial, *, draws: bool = False, smaller: bool = True) -> Outcome:
    """The outcome of a failed trial, told of the smallest failing input that could be found.

    Message, expected, got and figures are of this input; where the failure does not come again, of the certified one.

    Args:
        trial: a trial of this case whose state is FAIL.
        draws: show what was drawn, too. smaller: False takes the certified input as it is.
    """
    number = trial.outcome.example or 0
    again = ask(bench, case, bench.draw(case, number))
    if again.finding.state is not State.FAIL:
        note = f"(example {number} did not fail when asked a second time: the candidate's answers are not repeatable)"
        lines = (again.render(draws=draws), again.finding.message, note)
        return replace(trial.outcome, minimal="\n".join(line for line in lines if line))
    found = search(bench, case, SEARCH_EXAMPLES, {State.FAIL}, like=again.finding) if again.drawn and smaller else None
    smallest = min((again, found) if found is not None else (again,), key=lambda example: example.size)
    return smallest.of(trial.outcome, draws=draws)


def last(trial: Trial) -> Outcome:
    """The outcome of a trial that ended in silence, with the questions that led to it, as they were asked."""
    return replace(trial.outcome, minimal="\n".join(asked(trial.examples[-1])))


def beyond(bench: Bench, case: Case, trial: Trial, examples: int, *, draws: bool = False) -> Outcome:
    """The outcome of a passed trial, or a fail if further examples find one.

    Args:
        trial: a trial of this case whose state is PASS.
        examples: how many more to draw. A case that draws nothing has no more.
        draws: show what was drawn, too.
    """
    probe = Recorder(bench.draw(case, case.examples))
    first = ask(bench, case, probe)
    if not first.drawn:
        return trial.outcome
    found = first if first.finding.state in BAD else search(bench, case, examples, BAD)
    if found is None:
        return trial.outcome
    made = found.of(trial.outcome, draws=draws)
    return replace(made, message=f"{made.message} (found by exploring; the certified inputs passed)")


BAD = frozenset({State.FAIL, State.ERROR})


def ask(bench: Bench, case: Case, draw: Draw) -> Example:
    """One example on inputs from any source, with everything needed to show it."""
    recorder = draw if isinstance(draw, Recorder) else Recorder(draw)
    finding = engine.try_draw(bench, case, recorder)
    link = bench.candidate.link
    assert isinstance(link, Live)
    return Example(finding, tuple(recorder.drawn), tuple(link.log), recorder.size)


class _Enough(BaseException):
    """The budget for shrinking is spent. Not an Exception, because Hypothesis would take that for a failure."""


class _Bad(Exception):
    """This example fails; Hypothesis, make it smaller."""


def search(
    bench: Bench, case: Case, examples: int, bad: set[State] | frozenset[State], like: Finding | None = None
) -> Example | None:
    """The smallest example of a bad state that Hypothesis finds, or None.

    It is of the kind of `like`, or else of the kind of the first one found: shrinking never drifts to another failure.
    Derandomised and without a database: the same candidate gets the same examples in every run.
    """
    import hypothesis
    from hypothesis import strategies as st

    best: Example | None = None
    spent, since = 0, 0.0

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=hypothesis.Verbosity.quiet,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.data())
    def run(data: Any) -> None:
        nonlocal best, spent, since
        if best is not None:
            spent += 1
            if spent > SHRINK_CALLS or time.monotonic() - since > SHRINK_SECONDS:
                raise _Enough
        example = ask(bench, case, HypothesisDraw(data))
        model = like or (best.finding if best is not None else example.finding)
        if example.finding.state in bad and kind(example.finding) == kind(model):
            if best is None:
                since = time.monotonic()
            if best is None or example.size < best.size:
                best = example
            raise _Bad

    try:
        run()
    except (_Bad, _Enough, hypothesis.errors.Flaky):
        return best  # flaky: an example that failed passes now; what was seen was seen
    return best


def asked(calls: Sequence[Exchange]) -> list[str]:
    """The questions of an example, a line each; where there are several bundles, each says which it asked."""
    shown = [call for call in calls if call.method != "load_model"] or list(calls)
    several = len({bundle for call in calls if (bundle := call.params.get("bundle"))}) > 1
    lines = []
    for call in shown[:6]:
        params = {key: value for key, value in call.params.items() if key not in ("model", "session", "bundle")}
        bundle = call.params.get("bundle") or (call.params.get("model") if several else None)
        on = f" on bundle {bundle:.12}" if bundle else ""
        end = f" -> refused: {call.refusal}" if call.refusal else f" -> {call.fault}" if call.fault else ""
        lines.append(f"{call.method} {named(params)}".strip() + on + end)
    if len(shown) > 6:
        lines.append(f"… and {len(shown) - 6} calls more")
    return lines


def named(params: Mapping[str, Any]) -> str:
    """Parameters as name=value, long lists cut in the middle and counted."""
    return ", ".join(f"{key}={short(value)}" for key, value in params.items())


def short(value: Any) -> str:
    """A value on one line: lists keep their ends and say how long they are, texts are cut."""
    if isinstance(value, list | tuple):
        if len(value) > 16:
            ends = [*map(short, value[:8]), "…", *map(short, value[-4:])]
            return f"[{', '.join(ends)}] ({len(value)} in all)"
        return f"[{', '.join(map(short, value))}]"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(value) if isinstance(value, str) else len(text)} in all)"
