"""One case against one candidate, and what became of it.

This is the only room where exceptions become states:

    a capability the case needs is not declared            -> not_declared
    the judge is content with every example                -> pass
    the judge is not, or the candidate raised something
      untyped, answered in the wrong shape, or died        -> fail
    no answer in time, a line that is not the protocol, or
      a connection that was lost                           -> error (nobody saw the answer)
    anything raised by a judge, the reference or ourselves -> error, fault "harness"

A typed refusal of a valid request is an answer, and a wrong one: fail.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from llmasos_conformance.candidate import Candidate, EvidenceMismatch, Exchange, Live, Replay
from llmasos_conformance.checks import Asked, Check
from llmasos_conformance.errors import ENDING, UNANSWERED, CandidateFault, Died
from llmasos_conformance.inputs import Draw, KeyedDraw
from llmasos_conformance.probes import Disturbed
from llmasos_conformance.protocol import BITS, HALF, LARGEST, NOT_IN_HALF, Refusal
from llmasos_conformance.reference import Reference
from llmasos_conformance.suite import Case, Suite
from llmasos_conformance.verdict import Finding, Outcome, State, emulated_in, failed

Examples = Sequence[Sequence[Exchange]]


@dataclass(frozen=True, slots=True)
class Trial:
    """An outcome with the exchanges behind it, one list per example that ran, and what a developer may want to see."""

    outcome: Outcome
    examples: Examples
    detail: str = ""


@dataclass(slots=True)
class Bench:
    """Everything a case needs to be tried: suite, checks, both sides, and the run's seed."""

    suite: Suite
    checks: Mapping[str, Check]
    candidate: Candidate
    reference: Reference
    seed: str
    restart: Callable[[], None] | None = None
    """Brings a dead or hung candidate back for the next case; None where that cannot be."""

    def draw(self, case: Case, example: int) -> KeyedDraw:
        return KeyedDraw(self.suite.digest, self.seed, case.id, example)


def run_case(bench: Bench, case: Case) -> Trial:
    """Try a case on its certified inputs. The first example that is not right decides."""
    missing = case.needs - bench.candidate.description.offers
    if missing:
        return Trial(_outcome(bench, case, State.NOT_DECLARED, "not declared: " + ", ".join(sorted(missing))), ())
    check, link = bench.checks[case.check], bench.candidate.link
    assert isinstance(link, Live)
    examples: list[list[Exchange]] = []
    outcome, detail, figures = _outcome(bench, case, State.PASS), "", dict[str, float]()
    for number in range(case.examples):
        link.begin()
        finding, fault, detail = _try(check, case, bench.draw(case, number), bench.candidate, bench.reference)
        examples.append(link.log)
        figures = _worst(figures, finding.figures)
        _revive(bench, link, fault)
        if not finding.ok:
            drawn = number if case.examples > 1 else None
            outcome = _from_finding(bench, case, finding, example=drawn, fault=fault)
            break
    return Trial(replace(outcome, figures=figures), examples, detail)


def rejudge(bench: Bench, case: Case, examples: Examples) -> Outcome:
    """Judge a case again from stored evidence: same draws, recorded answers, this machine's reference.

    Raises:
        EvidenceMismatch: the evidence is not the conversation that this case and seed produce.
    """
    missing = case.needs - bench.candidate.description.offers
    if missing:
        if examples:
            raise EvidenceMismatch("the case needs what was not declared, and yet there is evidence")
        return _outcome(bench, case, State.NOT_DECLARED, "not declared: " + ", ".join(sorted(missing)))
    if not examples:
        raise EvidenceMismatch("there is no evidence for a case that ran")
    check, figures = bench.checks[case.check], dict[str, float]()
    for number, exchanges in enumerate(examples):
        replay = Replay(exchanges)
        candidate = Candidate(replay, bench.candidate.description, bench.candidate.probes)
        finding, fault, _ = _try(check, case, bench.draw(case, number), candidate, bench.reference)
        replay.finish()
        figures = _worst(figures, finding.figures)
        if not finding.ok:
            if number != len(examples) - 1:
                raise EvidenceMismatch("the evidence goes on after the example that decides")
            drawn = number if case.examples > 1 else None
            return replace(_from_finding(bench, case, finding, example=drawn, fault=fault), figures=figures)
    if len(examples) != case.examples:
        raise EvidenceMismatch(f"{case.examples} examples are due, the evidence holds {len(examples)}")
    return replace(_outcome(bench, case, State.PASS), figures=figures)


def asked_again(bench: Bench, case: Case, examples: Examples) -> Iterator[Asked]:
    """What a case's question got from recorded answers, for each example; an example without an answer is left out.

    Raises:
        EvidenceMismatch: the evidence is not the conversation that this case and seed produce.
    """
    for number, exchanges in enumerate(examples):
        candidate = Candidate(Replay(exchanges), bench.candidate.description, bench.candidate.probes)
        if _beyond(case, candidate) is not None:
            continue
        try:
            yield bench.checks[case.check].question(case.given, bench.draw(case, number), candidate)
        except (Refusal, CandidateFault):
            continue


def try_draw(bench: Bench, case: Case, draw: Draw) -> Finding:
    """One example on inputs from any source; for exploration, which never decides a certified outcome."""
    link = bench.candidate.link
    assert isinstance(link, Live)
    link.begin()
    finding, fault, _ = _try(bench.checks[case.check], case, draw, bench.candidate, bench.reference)
    _revive(bench, link, fault)
    return finding


def judged(bench: Bench, case: Case, draw: Draw, exchanges: Sequence[Exchange]) -> Finding:
    """What a judge says of one example, with inputs from any source, whose calls are answered like this.

    Raises:
        EvidenceMismatch: these are not the calls that the case makes with these inputs and answers.
    """
    candidate = Candidate(Replay(exchanges), bench.candidate.description, bench.candidate.probes)
    return _try(bench.checks[case.check], case, draw, candidate, bench.reference)[0]


def _revive(bench: Bench, link: Live, fault: str) -> None:
    """After a fault that ends a process, drop its handles and bring it back for the next example."""
    if fault in ENDING:
        link.forget()
        if bench.restart is not None:
            bench.restart()


def _try(check: Check, case: Case, draw: Draw, candidate: Candidate, reference: Reference) -> tuple[Finding, str, str]:
    """Finding, fault ("" unless something else than an answer came) and detail for a developer."""
    try:
        if finding := _beyond(case, candidate):
            return finding, "", ""
        asked = check.question(case.given, draw, candidate)
    except Refusal as refusal:
        text = f"a valid request was refused: {refusal.code}: {refusal.message}"
        return failed(text, expected="an answer", got=refusal.code), "", ""
    except UNANSWERED as fault:
        return Finding(state=State.ERROR, message=fault.message), fault.kind, fault.detail
    except CandidateFault as fault:
        kind = "died" if isinstance(fault, Died) else ""
        due = "an answer, or a refusal where one is due"
        return failed(f"{fault.kind}: {fault.message}", expected=due, got=fault.kind), kind, fault.detail
    except (EvidenceMismatch, Disturbed):
        raise
    except Exception as error:
        return _ours(error)
    try:
        return check.judge(case.given, asked, reference), "", ""
    except Exception as error:
        return _ours(error)


def _beyond(case: Case, candidate: Candidate) -> Finding | None:
    """A finding without a question, where there is none to ask of the dtype that is claimed; None where there is."""
    dtype = candidate.description.claims.dtype
    if dtype not in HALF:
        return None
    if unjudged := ", ".join(sorted(case.needs & NOT_IN_HALF)):
        message = f"{unjudged} cannot be judged where {dtype} is claimed; do not declare it, or claim float32"
        return Finding(state=State.INCONCLUSIVE, message=message)
    if "probe" not in case.given:
        return None
    probe, why = candidate.probes.get(case.given["probe"]), ""
    if probe.largest > LARGEST[dtype]:
        why = f"{probe.name} has weights up to {probe.largest:.3g}, {dtype} ends at {LARGEST[dtype]:g}"
    elif probe.facts.get("bits", 0) > BITS[dtype]:
        why = f"{probe.name} asks for {probe.facts['bits']} significant bits, {dtype} has {BITS[dtype]}"
    return Finding(state=State.NOT_APPLICABLE, message=why) if why else None


def _ours(error: Exception) -> tuple[Finding, str, str]:
    message = f"the harness failed: {type(error).__name__}: {error}"
    return Finding(state=State.ERROR, message=message), "harness", traceback.format_exc()


def _outcome(bench: Bench, case: Case, state: State, message: str = "") -> Outcome:
    emulated = emulated_in(case.id, case.needs, bench.candidate.description.emulated)
    level = bench.suite.level(case)
    return Outcome(
        case=case.id, requirement=case.requirement, level=level, state=state, message=message, emulated=emulated
    )


def _from_finding(bench: Bench, case: Case, finding: Finding, *, example: int | None, fault: str) -> Outcome:
    return replace(
        _outcome(bench, case, finding.state, finding.message),
        expected=finding.expected,
        got=finding.got,
        example=example,
        fault=fault if finding.state is State.ERROR else "",
    )


def _worst(seen: Mapping[str, float], new: Mapping[str, float]) -> dict[str, float]:
    """Largest of each figure; a NaN stays, because it is the worst there is."""
    merged = dict(seen)
    for name, value in new.items():
        old = merged.get(name)
        merged[name] = value if old is None or value != value or value > old else old
    return merged
