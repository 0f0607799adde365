"""Beyond the certified inputs: Hypothesis looks for other failures of a case, and for the smallest one.

    shrink(bench, case, trial)            a case failed on certified inputs -> the smallest failure like it
    anew(bench, case, trial)              a case failed -> whether it is right where nothing was asked before
    beyond(bench, case, trial, examples)  a case passed -> a fail of the self-test if further inputs find one

Hypothesis draws through the same `Draw` interface as the certified generator and asks the same question, so whatever
it finds is a question that a case may ask. Nothing found here enters a report: what a certificate says follows from
the seed alone. A failure on certified inputs is never lost. If Hypothesis finds no smaller one within its budget,
`minimal` shows the certified example itself, and says so when that did not fail a second time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmasos_conformance import engine
from llmasos_conformance.candidate import Answer, Candidate, Direct, EvidenceMismatch, Exchange, Live, Params
from llmasos_conformance.engine import Bench, Trial
from llmasos_conformance.errors import CandidateFault, HarnessError
from llmasos_conformance.inputs import Draw, HypothesisDraw
from llmasos_conformance.protocol import Refusal
from llmasos_conformance.suite import Case
from llmasos_conformance.verdict import Finding, Outcome, State, unanswered, wrong_positions

SEARCH_EXAMPLES = 50
"""Examples that Hypothesis may draw to find a failure that the certified inputs have already shown."""

SHRINK_CALLS = 200
"""Further examples for making a found failure smaller. Lists of at most 16 ids settle in 30 to 120."""

SHRINK_SECONDS = 20.0
"""Or this long in all, whichever ends first: a slow candidate should cost a developer patience, not a coffee."""

SHOWN = 6
"""Calls of an example that are shown, but for wrong ones."""

MARKED = 2
"""Calls with a wrong answer that are shown wherever they are, the first ones."""

MOST_CALLS = 100
"""Calls of an example among which a wrong answer is looked for; each is judged once more."""

FEW_CALLS = 8
"""Of so few it is looked for even where no time is left for smaller inputs."""

UNTOLD = frozenset({"load_model", "close", "unload_model"})
"""Methods whose answers nobody judges."""

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

    def render(self, *, draws: bool = False, wrong: Collection[int] = ()) -> str:
        """What was asked, and with `draws` what was drawn, a line each; for `wrong` see `asked`."""
        drawn = "; ".join(f"{short(value)} of {low}..{high}" for low, high, value in self.drawn) if draws else ""
        return "\n".join([*asked(self.calls, wrong), *([f"drawn: {drawn:.300}"] if drawn else [])])

    def of(self, outcome: Outcome, *, draws: bool = False, wrong: Collection[int] = ()) -> Outcome:
        """The outcome with this example as its minimal one: all that is said of it is of this example."""
        finding = self.finding
        return replace(
            outcome, state=finding.state, message=finding.message, expected=finding.expected, got=finding.got,
            figures=dict(finding.figures), minimal=self.render(draws=draws, wrong=wrong),
        )  # fmt: skip


def kind(finding: Finding) -> tuple[State, str, bool, int | None]:
    """What sort of failure this is. A smaller example of another sort would explain something else.

    Of what is no answer, the message up to its first digit; of a wrong answer, what was wrong, whether it was measured,
    and the first wrong position, where it is said: with equal ids a wrong rotation shows at the last position alone.
    """
    message = finding.message
    if unanswered(message):
        return finding.state, re.split(r"\d", message, maxsplit=1)[0], False, None
    word = re.match(r"\W*([^\W\d]*)", message)
    said = wrong_positions(message)
    return finding.state, word[1] if word else "", "ratio" in finding.figures, said.first if said else None


def shrink(
    bench: Bench,
    case: Case,
    trial: Trial,
    *,
    draws: bool = False,
    smaller: bool = True,
    seconds: float = SHRINK_SECONDS,
) -> Outcome:
    """The outcome of a failed trial, told of the smallest failing input that could be found.

    Message, expected, got and figures are of this input; where the failure does not come again, of the certified one.

    Args:
        trial: a trial of this case whose state is FAIL.
        draws: show what was drawn, too. smaller: False takes the certified input as it is. seconds: to look for one.
    """
    number = trial.outcome.example or 0
    again = ask(bench, case, bench.draw(case, number))
    if again.finding.state is not State.FAIL:
        note = f"(example {number} did not fail when asked a second time: the candidate's answers are not repeatable)"
        lines = (again.render(draws=draws), again.finding.message, note)
        return replace(trial.outcome, minimal="\n".join(line for line in lines if line), unfinished=True, wavered=True)
    if not (again.drawn and smaller):
        wrong = to_blame(bench, case, again) if smaller or len(again.calls) <= FEW_CALLS else ()
        return replace(again.of(trial.outcome, draws=draws, wrong=wrong), unfinished=bool(again.drawn))
    found, settled = search(bench, case, SEARCH_EXAMPLES, {State.FAIL}, like=again.finding, seconds=seconds)
    smallest = min((again, found) if found is not None else (again,), key=lambda example: example.size)
    made = smallest.of(trial.outcome, draws=draws, wrong=to_blame(bench, case, smallest))
    return replace(made, unfinished=not settled)


def anew(bench: Bench, case: Case, trial: Trial, *, draws: bool = False) -> Outcome | None:
    """The outcome of a failed trial whose example is right where nothing was asked before: of a candidate started anew.

    None if it is wrong there too, if chance has a part in it, or if the candidate cannot be started anew.
    """
    number = trial.outcome.example or 0
    if bench.restart is None or any(map(_left_to_chance, trial.examples[-1])):
        return None
    link = bench.candidate.link
    assert isinstance(link, Live)
    link.forget()
    bench.restart()
    again = ask(bench, case, bench.draw(case, number))
    if again.finding.state is not State.PASS:
        return None
    note = "(right when asked of a candidate started anew: what was asked before changes the answer)"
    return replace(trial.outcome, minimal="\n".join([again.render(draws=draws), note]), unfinished=True)


def _left_to_chance(call: Exchange) -> bool:
    return call.method.startswith(("generate", "stream")) and call.params.get("temperature", 1) != 0


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
    found, settled = (first, False) if first.finding.state in BAD else search(bench, case, examples, BAD)
    if found is None:
        return trial.outcome
    made = replace(found.of(trial.outcome, draws=draws, wrong=to_blame(bench, case, found)), unfinished=not settled)
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
    bench: Bench, case: Case, examples: int, bad: set[State] | frozenset[State], like: Finding | None = None,
    seconds: float = SHRINK_SECONDS,
) -> tuple[Example | None, bool]:  # fmt: skip
    """The smallest example of a bad state that Hypothesis finds, or None; and whether it knows of no smaller one.

    It is of the kind of `like`, or else of the kind of the first one found: shrinking never drifts to another failure.
    Derandomised and without a database: the same candidate gets the same examples in every run. `seconds` are for both,
    looking and making smaller, where a failure is known, and else for making smaller.
    """
    import hypothesis
    from hypothesis import strategies as st

    best: Example | None = None
    spent, until = 0, float("inf") if like is None else time.monotonic() + seconds

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
        nonlocal best, spent, until
        spent += best is not None
        if spent > SHRINK_CALLS or time.monotonic() > until:
            raise _Enough
        example = ask(bench, case, HypothesisDraw(data))
        model = like or (best.finding if best is not None else example.finding)
        if example.finding.state in bad and kind(example.finding) == kind(model):
            if best is None and like is None:
                until = time.monotonic() + seconds  # looking for a first one has its number of examples
            if best is None or example.size < best.size:
                best = example
            raise _Bad

    try:
        run()
    except _Bad:
        return best, True
    except (_Enough, hypothesis.errors.Flaky):
        return best, False  # flaky: an example that failed passes now; what was seen was seen
    return best, False


# ── which of the answers was wrong ──────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Again:
    """A `Draw` that gives once more what was drawn."""

    drawn: Sequence[Drawn]
    given: int = 0

    def integer(self, low: int, high: int) -> int:
        value = self._next(low, high)
        assert isinstance(value, int)
        return value

    def integers(self, count: int, low: int, high: int) -> list[int]:
        value = self._next(low, high)
        assert isinstance(value, list)
        return list(value)

    def _next(self, low: int, high: int) -> int | list[int]:
        if self.given == len(self.drawn) or self.drawn[self.given][:2] != (low, high):
            raise EvidenceMismatch("other inputs are drawn where other answers came")
        self.given += 1
        return self.drawn[self.given - 1][2]


@dataclass(slots=True)
class _Heard:
    """A link whose answers are kept."""

    link: Direct
    log: list[Exchange] = field(default_factory=list)

    def ask(self, method: str, params: Params, *, path: str = "", random: bool = False) -> Answer:
        try:
            answer = self.link.ask(method, params, path=path, random=random)
        except Refusal as refusal:
            self.log.append(Exchange(method, params, refusal=refusal.code))
            raise
        self.log.append(Exchange(method, params, result=answer))
        return answer


def to_blame(bench: Bench, case: Case, example: Example) -> frozenset[int]:
    """Which calls of a failed example have a wrong answer, where there are several; empty if nobody can say.

    An answer is wrong if the judge rejects it among nothing but the reference's answers, and would not reject one in
    the claimed dtype in its place. Where what answers have to do with each other is what is wrong, there is none to
    point at; nor where each answer is rejected of who serves a model of his own.
    """
    looked_at = [i for i, call in enumerate(example.calls) if call.method not in UNTOLD]
    if len(example.calls) < 2 or len(example.calls) > MOST_CALLS:
        return frozenset()
    if unanswered(example.finding.message):
        return frozenset({len(example.calls) - 1})  # whatever it was, it ended the example
    if len(looked_at) < 2:
        return frozenset()  # it can be no other
    if any("seed" in call.params for call in example.calls) and "gumbel" not in bench.candidate.description.offers:
        return frozenset()  # a generator of one's own gives other samples than the reference's, and may
    try:
        seats = [bench.reference.truth, *[*bench.reference.honest.values()][:1]]
        due, *honest = (_conversation(bench, case, example, seat) for seat in seats)

        def rejected(i: int, answers: Sequence[Exchange]) -> bool:
            mixed = [*due[:i], answers[i], *due[i + 1 :]]
            return engine.judged(bench, case, _Again(example.drawn), mixed).state is State.FAIL

        if not len(due) == len(example.calls) == len((honest or [due])[0]):
            return frozenset()
        wrong = [i for i in looked_at if rejected(i, example.calls)]
        if (len(wrong) == len(looked_at) and case.black_box) or any(
            rejected(i, answers) for i in wrong for answers in honest
        ):
            return frozenset()
        return frozenset(wrong)
    except (HarnessError, CandidateFault, Refusal):
        return frozenset()  # another answer leads to other calls, or the reference does not do this


def _conversation(bench: Bench, case: Case, example: Example, seat: Candidate) -> list[Exchange]:
    """The calls of an example as one of the reference's seats answers them."""
    assert isinstance(seat.link, Direct)
    seat.link.begin()
    heard = _Heard(seat.link)
    candidate = Candidate(heard, bench.candidate.description, bench.reference.probes)
    bench.checks[case.check].question(case.given, _Again(example.drawn), candidate)
    return heard.log


def asked(calls: Sequence[Exchange], wrong: Collection[int] = ()) -> list[str]:
    """The questions of an example, a line each; where there are several bundles or sessions, each says which it asked.

    Of many, the first ones stand there, and the first of those whose answers are `wrong`; where none is, the last one.
    """
    told_of = (i for i, call in enumerate(calls) if call.method != "load_model" or i in wrong)
    numbers = [*told_of] or [*range(len(calls))]
    told = {*numbers}
    if len(numbers) > SHOWN:
        told = {*numbers[: SHOWN - 1], *(sorted(wrong)[:MARKED] or numbers[-1:])}
    several = len({bundle for call in calls if (bundle := call.params.get("bundle"))}) > 1
    sessions = len({name for call in calls if (name := call.params.get("session"))}) > 1
    lines, left = [], list[int]()
    for i in numbers:
        if i not in told:
            left.append(i)
            continue
        if left:
            lines.append(f"… {_calls(left)} …")
            left = []
        lines.append(_line(calls[i], several=several, sessions=sessions) + ("  <- wrong" if i in wrong else ""))
    if left:
        more = sum(i in wrong for i in left)
        lines.append(f"… and {_calls(left)} more" + (f", {more} of them wrong" if more else ""))
    return lines


def _calls(numbers: Sequence[int]) -> str:
    return f"{len(numbers)} call{'' if len(numbers) == 1 else 's'}"


def _line(call: Exchange, *, several: bool, sessions: bool) -> str:
    params = {key: value for key, value in call.params.items() if key not in ("model", "session", "bundle")}
    bundle = call.params.get("bundle") or (call.params.get("model") if several else None)
    on = f" on bundle {bundle:.12}" if bundle else ""
    if sessions and (name := call.params.get("session")):
        on += f" in {name}"
    end = f" -> refused: {call.refusal}" if call.refusal else f" -> {call.fault}" if call.fault else ""
    if sessions and call.result and "session" in call.result:
        end = f" -> {call.result['session']}"
    return f"{call.method} {named(params)}".strip() + on + end


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
