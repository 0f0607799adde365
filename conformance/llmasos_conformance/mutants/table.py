"""Who fails what: every honest variant, null candidate and mutant against every case.

    python -m llmasos_conformance.mutants.table [--only GLOB …] [--cases GLOB …] [--own] [--also ADDRESS …]
                                                [--seed S] [--edges SHARE] [--claim DTYPE] [--jobs 2]
                                                [--resume FILE] [--json] [--out FILE]

The table is right when

    an honest variant   fails nothing, and stays within half of every bound
    a mutant            fails a case of the requirement that it was built to break
    a null candidate    fails something
    a case              is failed by some mutant or null candidate

and honest variants differ bit by bit from each other and from the orders of the reference. Everything runs in
process: the point is the judges, not the transport.

An implementation that is known to be right, such as a framework with an adapter of ours, can be asked beside the
honest variants: it is held to the same. Everything that is drawn follows from the seed and the suite; more seeds
show whether a mutant fails by luck, and whether something right ever fails.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from llmasos_conformance import adapters, checks, engine, fingerprints, installed, killmatrix, numerics, suite
from llmasos_conformance import reference as references
from llmasos_conformance.candidate import Candidate, Exchange, Live
from llmasos_conformance.canonical import sha256
from llmasos_conformance.checks.beside import answered, drawn_row
from llmasos_conformance.engine import Trial
from llmasos_conformance.errors import CandidateFault, SuiteError
from llmasos_conformance.inputs import KeyedDraw
from llmasos_conformance.killmatrix import RIGHT, SMALL_SIZE, Column, KillMatrix, Row
from llmasos_conformance.mutants.catalogue import Mutant, mutants
from llmasos_conformance.mutants.journal import Journal
from llmasos_conformance.mutants.variants import HONEST, HOSTED, HOSTED_NULL, NULL
from llmasos_conformance.probes import Library
from llmasos_conformance.protocol import ARCHITECTURES, HALF, Claims, Refusal
from llmasos_conformance.verdict import State

SEED = "mutants"
TIMEOUT_S = 60.0
OTHERS = frozenset(ARCHITECTURES) | {
    "onnx",
    "export",
    "hidden_states",
    "attention",
    "gradients",
    "train_step",
    "tokenize",
    "gumbel",
    "completions",
    "chat",
}
"""What a candidate may lack without being less honest or less of a null: other architectures, files of graphs, a look
inside, a tokenizer where the architecture's requirements have none, the standard's noise where it has its own, and an
API over a model that nobody loads."""

SIZED: Mapping[str, Sequence[str]] = {
    "GPT-3": ("plain", "small-embedding", "hot-attention", "asymmetric"),
    "Llama": ("llama-plain", "llama-small-embedding", "llama-hot-attention", "llama-asymmetric"),
    "BERT": ("bert-plain", "bert-small-variance", "bert-hot-attention", "bert-asymmetric"),
    "Transformer": ("trf-plain", "trf-small-variance", "trf-hot-attention", "trf-asymmetric"),
}
"""Probes on which the honest variants of an architecture must differ; on the first of them a mutant's size is taken."""


SMALL = ("small", "llama", "bands", "encoder_small", "onnx_small")
"""Groups whose small faults are counted."""

SERVED = frozenset({*HOSTED, *HOSTED_NULL})
"""Candidates that serve a model of their own choice."""

GRAPHS = ("interchange.*", "onnx.*", "export.*")
ONLY: Mapping[str, Sequence[str]] = {
    "metrics": ("metrics.*",), "inside": ("inside.*",), "lookers": ("inside.*",), "beams": ("beams.*",),
    "shapers": ("shaping.*", "sampling.bias*", "sampling.repetition", "sampling.frequency", "sampling.presence"),
    "gumbel": ("gumbel.*",), "onnx": GRAPHS, "onnx_small": GRAPHS,
    "hosted": ("hosted.*",), "hosted_laws": ("hosted.*",),
}  # fmt: skip
"""Group of mutants -> cases that they are asked, where the fault sits in code that no other case reaches."""


TELLING = (0, 1, 2, 97, 256, 257, 258)
"""Ids that mean something in a bundle of some case: masked, the beginning, the end, the last of all bytes."""


class Edges(KeyedDraw):
    """Draws as a run does, but so often an end of the range, or an id of TELLING, that what a case does not expect is
    drawn within a few seeds and not after hundreds. In three of ten examples all of these are one and the same value.

    Args:
        share: how often, 0 to 1. The rest as of `KeyedDraw`.
    """

    def __init__(self, suite: str, seed: str, case: str, example: int, share: float) -> None:
        super().__init__(suite, seed, case, example)
        self._often = round(share * 1000)
        self._pinned = super().integer(0, len(TELLING)) if super().integer(0, 9) < 3 else None

    def integer(self, low: int, high: int) -> int:
        drawn = super().integer(low, high)
        if super().integer(1, 1000) > self._often:
            return drawn
        telling = [value for value in TELLING if low <= value <= high]
        if self._pinned is not None:
            pinned = [*TELLING, high][self._pinned]
            return pinned if low <= pinned <= high else drawn
        ends = [low, high, *telling]
        return ends[super().integer(0, len(ends) - 1)]


@dataclass(slots=True)
class EdgeBench(engine.Bench):
    """A bench whose cases draw edges; `edges` is how often. With 0 it draws as any run does."""

    edges: float = 0.0

    def draw(self, case: suite.Case, example: int) -> KeyedDraw:
        if not self.edges:
            return engine.Bench.draw(self, case, example)
        return Edges(self.suite.digest, self.seed, case.id, example, self.edges)


class Workshop:
    """One process's share of the work: suite, probes and a reference whose answers are remembered.

    Args:
        root: for the probes. patterns: globs of case ids or names of profiles; none means all cases.
        own: a mutant is asked only the requirement that it breaks, until a case of it fails; those that failed it in
            the published matrix come first.
        lean: other requirements than a mutant's own are asked with one example of each case, and without the laws of
            samplers, which take hundreds of tokens each: a matrix in less than an hour.
        seed: of probes and of everything drawn.
        edges: how often an edge is drawn; see `Edges`. claim: dtype to which mutants are held, if theirs is finer.
    """

    def __init__(
        self, root: Path, patterns: Sequence[str] = (), *, own: bool = False, lean: bool = False, seed: str = SEED,
        edges: float = 0.0, claim: str = "",
    ) -> None:  # fmt: skip
        self.own, self.lean, self.seed, self.edges, self.claim = own, lean, seed, edges, claim
        self.suite = suite.load()
        self.checks = checks.registry()
        self.cases = chosen(self.suite, patterns)
        published = killmatrix.find() if own else None
        self._killers = {row.name: row.failed.keys() for row in killmatrix.read(published).mutants} if published else {}
        self.probes = Library(root / "candidate", seed)
        self._library, self._references = Library(root / "reference", seed), dict[Claims, references.Reference]()
        self.reference = self.beside(Claims())

    def terms(self) -> dict[str, Any]:
        """Everything that a row depends on, as JSON."""
        return {
            "suite": self.suite.digest,
            "harness": installed.harness_digest(),
            "reference": installed.reference_digest(),
            "cases": sha256("\n".join(case.id for case in self.cases).encode()),
            "own": self.own,
            "lean": self.lean,
            "seed": self.seed,
            "edges": self.edges,
            "claim": self.claim,
        }

    def beside(self, claims: Claims) -> references.Reference:
        """The reference for a candidate with these claims."""
        if claims not in self._references:
            self._references[claims] = references.connect(claims, self._library, adapters.connect)
        return self._references[claims]

    def candidate(self, address: str) -> Candidate:
        connection = adapters.connect(address, timeout_s=TIMEOUT_S)
        described = connection.description
        if self.claim and address.startswith("mutant:") and described.claims.dtype not in HALF:
            described = replace(described, claims=replace(described.claims, dtype=self.claim))
        return Candidate(Live(connection), described, self.probes)

    def row(
        self,
        kind: str,
        name: str,
        cases: Iterable[suite.Case] | None = None,
        told: Callable[[suite.Case, Trial, float], None] = lambda case, trial, seconds: None,
    ) -> Row:
        """Run one candidate against the cases.

        Args:
            cases: all of the workshop's if None. told: of every case, its trial and its seconds.
        """
        started = time.monotonic()
        candidate = self.candidate(name if kind == "framework" else f"{kind}:{name}")
        made = mutants().get(name) if kind == "mutant" else None
        size = self.size(candidate)
        reference = self.beside(candidate.description.claims)
        bench = EdgeBench(self.suite, self.checks, candidate, reference, self.seed, edges=self.edges)
        asked, failed, undecided, share, at = list[str](), dict[str, str](), dict[str, str](), 0.0, ""
        loud = dict[str, float]()
        offers = candidate.description.offers
        asking = [*(self.cases if cases is None else cases)]
        if made is not None and self.own:
            asking.sort(key=lambda case: case.id not in self._killers.get(name, ()))
        for case in asking:
            lacking = case.needs - offers
            if lacking and (kind in ("mutant", "framework") or name in SERVED or lacking & OTHERS):
                continue  # a case of another architecture; mutants, frameworks and servers offer no more than they have
            if made is not None and self.own and case.requirement != made.requirement:
                continue
            if made is not None and made.asked and case.requirement not in made.asked:
                continue
            if made is not None and not any(fnmatchcase(case.id, glob) for glob in ONLY.get(made.group, ("*",))):
                continue
            if self.lean and (made is None or case.requirement != made.requirement):
                if case.check == "drawn-from":
                    continue
                case = replace(case, examples=1)
            asked.append(case.id)
            begun = time.monotonic()
            trial = engine.run_case(bench, case)
            told(case, trial, time.monotonic() - begun)
            outcome = trial.outcome
            if outcome.state is State.FAIL:
                failed[case.id] = case.requirement
                if (measured := killmatrix.loudness(outcome.figures)) is not None:
                    loud[case.id] = measured
                if made is not None and self.own:
                    break
            elif outcome.ok:
                part = used(outcome.figures, candidate.description.claims.dtype)
                share, at = max((share, at), (part, case.id), key=lambda pair: pair[0])
            elif outcome.state is not State.INCONCLUSIVE or kind in RIGHT:  # a wrong sampler may be like no other law
                undecided[case.id] = f"{outcome.state}: {outcome.message}"
        return Row(
            kind=kind, name=name, group=made.group if made else "", source=made.source if made else "",
            bug=made.bug if made else "", expected=made.requirement if made else "", size=size, asked=tuple(asked),
            failed=failed, loud=loud, undecided=undecided, share=share, at=at, seconds=time.monotonic() - started,
        )  # fmt: skip

    def columns(self, *, measured: bool) -> dict[str, Column]:
        """Every case, and where measured is true what asking the reference takes."""
        taken = dict[str, tuple[int, float]]()

        def told(case: suite.Case, trial: Trial, seconds: float) -> None:
            taken[case.id] = sum(tokens(exchange) for each in trial.examples for exchange in each), round(seconds, 4)

        if measured:
            self.row("framework", "reference", told=told)
        columns = {}
        for case in self.cases:
            cost, seconds = taken.get(case.id, (0, 0.0))
            columns[case.id] = Column(
                requirement=case.requirement, level=self.suite.level(case),
                interface=killmatrix.interface(case.needs), tokens=cost, seconds=seconds,
            )  # fmt: skip
        return columns

    def size(self, candidate: Candidate) -> float | None:
        """Error on the plain probe in honest errors, over eight sequences of 24 ids; None of who loads no probe."""
        if not candidate.description.architectures:
            return None
        plain = SIZED[candidate.description.architectures[0]][0]
        probe, draw = self.probes.get(plain), KeyedDraw("", self.seed, "size", 0)
        worst = 0.0
        for _ in range(8):
            row = drawn_row(draw, probe.config, (24, 24), (24, 24), "any")
            try:
                got = answered(candidate.model(probe), [row])[0]
            except (Refusal, CandidateFault):
                return None
            claims = replace(Claims(), dtype=self.claim or "float32")
            truth = self.reference.logits(plain, row.ids, row.beside)
            honest = self.beside(claims).honest_logits(plain, row.ids, row.beside)
            ratio = numerics.compare(got, truth, honest, claims.dtype).ratio_rms
            worst = max(worst, ratio if math.isfinite(ratio) else math.inf)
        return worst

    def alike(self) -> list[tuple[str, str]]:
        """Pairs of honest computations that agree bit by bit on every probe of their SIZED; none should."""
        return [pair for architecture, probes in SIZED.items() for pair in self.same(architecture, probes)]

    def same(self, architecture: str, probes: Sequence[str]) -> Iterator[tuple[str, str]]:
        addresses = [f"honest:{name}" for name, kind in HONEST.items() if kind.architecture == architecture]
        addresses += [f"reference:float32/{order}" for order in references.HONEST_ORDERS["float32"]]
        answers = {address: [rows for probe in probes for rows in self.bits(address, probe)] for address in addresses}
        yield from (pair for pair in itertools.combinations(addresses, 2) if answers[pair[0]] == answers[pair[1]])

    def bits(self, address: str, probe: str) -> list[bytes]:
        """The logits of a batch of three rows, as bytes."""
        draw, made = KeyedDraw("", self.seed, "alike", 0), self.probes.get(probe)
        rows = [drawn_row(draw, made.config, (length, length), None, "any") for length in (5, 13, 16)]
        return [logits.astype("<f4").tobytes() for logits in answered(self.candidate(address).model(probe), rows)]


def tokens(exchange: Exchange) -> int:
    """Ids that went in and came out; bytes of text where no ids are shown, which are the ids of most probes."""
    made = exchange.result or {}
    generated = [made, *made.get("generations", ())] if "sample" not in made else []
    counted = sum(int(each.get("completion_tokens") or len(each.get("ids") or ())) for each in generated)
    return counted + sum(_ids_in(exchange.params.get(name)) for name in ("ids", "prompt", "text"))


def _ids_in(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list | tuple):
        return sum(_ids_in(each) if isinstance(each, list | tuple) else 1 for each in value)
    return 0


def used(figures: Mapping[str, float], dtype: str = "float32") -> float:
    """The largest part of a bound that an outcome's figures say was used; 0 if they say nothing of the kind."""
    bounds = {
        "ratio": numerics.KAPPA_RMS[dtype], "position": numerics.KAPPA_POSITION[dtype],
        "peak": numerics.KAPPA_MAX[dtype], "rounding": 1.0, "likeness": fingerprints.LIKENESS,
        "lag": 1.0,
    }  # fmt: skip
    return max((figures[name] / bounds[name] for name in bounds if name in figures), default=0.0)


def chosen(loaded: suite.Suite, patterns: Sequence[str]) -> list[suite.Case]:
    """Cases by glob of their id or by name of a profile; all without patterns."""
    if not patterns:
        return list(loaded.cases.values())
    listed = {case for name in patterns if name in loaded.profiles for case in loaded.profiles[name].cases}
    return [
        case
        for case in loaded.cases.values()
        if case.id in listed or any(fnmatchcase(case.id, pattern) for pattern in patterns)
    ]


def entrants(only: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Kind and name of every candidate, or of those that match a glob (`kind:name` or name)."""
    every = [("honest", name) for name in (*HONEST, *HOSTED)] + [("null", name) for name in (*NULL, *HOSTED_NULL)]
    every += [("mutant", name) for name in mutants()]
    if not only:
        return every
    return [
        (kind, name)
        for kind, name in every
        if any(fnmatchcase(name, glob) or fnmatchcase(f"{kind}:{name}", glob) for glob in only)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All rows and what follows from them.

    Attributes:
        matrix: one row per candidate, and all cases that were run.
        unfailed: cases that no mutant and no null candidate failed; None if not all of them ran.
        alike: honest computations that agree bit by bit.
    """

    matrix: KillMatrix
    unfailed: Sequence[str] | None = None
    alike: Sequence[tuple[str, str]] = ()

    @property
    def rows(self) -> Sequence[Row]:
        return self.matrix.rows

    @property
    def claim(self) -> str:
        """Dtype to which mutants were held, if not to their own: then one that survives is no surprise."""
        return self.matrix.terms["claim"]

    @property
    def null_only(self) -> list[str]:
        """Cases that null candidates fail and no mutant does: they ask something, but nobody has shown how much."""
        shown = {case for row in self.rows if row.kind == "mutant" for case in row.failed}
        return [case for case in self.matrix.columns if case not in shown and case not in (self.unfailed or ())]

    @property
    def ok(self) -> bool:
        rows = [row for row in self.rows if not (self.claim and row.kind == "mutant") or row.undecided]
        return not (any(row.trouble for row in rows) or self.unfailed or self.alike)


def end_with_parent() -> None:
    """End this process once the one that started it has ended, however that came."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start(root: str, patterns: Sequence[str], own: bool, lean: bool, seed: str, edges: float, claim: str) -> None:
    """Build a worker's Workshop."""
    end_with_parent()
    global _workshop
    place = Path(tempfile.mkdtemp(dir=root))
    _workshop = Workshop(place, patterns, own=own, lean=lean, seed=seed, edges=edges, claim=claim)


_workshop: Workshop | None = None


def _row(entrant: tuple[str, str]) -> Row:
    assert _workshop is not None
    return _workshop.row(*entrant)


def run(
    only: Sequence[str] = (),
    patterns: Sequence[str] = (),
    jobs: int = 2,
    progress: Callable[[int, int, Row], None] | None = None,
    *,
    own: bool = False,
    lean: bool = False,
    seed: str = SEED,
    also: Sequence[str] = (),
    edges: float = 0.0,
    claim: str = "",
    resume: Path | None = None,
    measured: bool = False,
) -> Table:
    """Run the table.

    Args:
        only: globs of candidates; none means all. patterns: see `chosen`. jobs: worker processes.
        progress: told of every row: how many are done, how many there are, and the row.
        own, lean, seed, edges, claim: see `Workshop`. also: addresses of frameworks, asked first.
        resume: a journal; rows that stand in it are taken from there, and others are added to it.
        measured: ask the reference every case too, to see what each takes.

    Raises:
        SuiteError: the journal is of another suite, or of anything else that a row depends on.
    """
    todo = [*(("framework", address) for address in also), *(entrants(only) if only or not also else [])]
    with tempfile.TemporaryDirectory(prefix="llmasos-mutants-") as root:
        mine = Workshop(Path(root) / "main", patterns, own=own, lean=lean, seed=seed, edges=edges, claim=claim)
        journal = None if resume is None else Journal(resume, mine.terms())
        held = {key: Row.from_json(value) for key, value in journal.rows.items()} if journal else {}
        made = {entrant: held[entrant] for entrant in todo if entrant in held}
        for row in _rows([entrant for entrant in todo if entrant not in made], root, patterns, jobs, mine):
            made[row.kind, row.name] = row
            if journal is not None:
                journal.add(row.as_json())
            if progress is not None:
                progress(len(made), len(todo), row)
        rows = [made[entrant] for entrant in todo]
        failed = {case for row in rows if row.kind not in RIGHT for case in row.failed}
        whole = set(entrants()) <= set(todo) and not own and not lean
        terms = {name: str(value) for name, value in mine.terms().items() if name not in ("cases", "edges")}
        return Table(
            matrix=KillMatrix(terms=terms, columns=mine.columns(measured=measured), rows=rows),
            unfailed=[case.id for case in mine.cases if case.id not in failed] if whole else None,
            alike=mine.alike() if whole else [],
        )


def _rows(
    todo: Sequence[tuple[str, str]], root: str, patterns: Sequence[str], jobs: int, mine: Workshop
) -> Iterator[Row]:
    if jobs < 2:
        yield from (mine.row(*entrant) for entrant in todo)
        return
    # Spawned, because torch, which some mutants load, does not survive a fork.
    with ProcessPoolExecutor(
        jobs, get_context("spawn"), _start, (root, patterns, mine.own, mine.lean, mine.seed, mine.edges, mine.claim)
    ) as pool:
        for done in as_completed([pool.submit(_row, entrant) for entrant in todo]):
            yield done.result()


def render(table: Table) -> str:
    """The table for a person."""
    width = max([36, *(len(f"{row.kind}:{row.name}") for row in table.rows)])
    head = f"{'candidate':{width}} {'group':10} {'size':>10} {'cases':>6}  {'failed, the expected first':48} verdict"
    lines = [head, "-" * len(head)]
    for row in table.rows:
        size = "-" if row.size is None else f"{row.size:.3g}"
        kinds = row.requirements
        shown = ", ".join(kinds[:6]) + (f" +{len(kinds) - 6}" if len(kinds) > 6 else "")
        if row.kind in RIGHT:
            shown = shown or f"largest share of a bound {row.share:.2f}, {row.at}"
        verdict = "ok" if not row.trouble else row.trouble if table.claim else f"unexpected: {row.trouble}"
        lines.append(
            f"{row.kind + ':' + row.name:{width}} {row.group:10} {size:>10} {len(row.failed):6}  {shown:48} {verdict}"
        )
    bugs = [row for row in table.rows if row.kind == "mutant"]
    small = [row for row in bugs if row.size is not None and row.size < SMALL_SIZE and row.group in SMALL]
    killed = sum(1 for row in bugs if not row.trouble)
    held = f" where {table.claim} is claimed" if table.claim else ""
    lines += ["", f"{killed} of {len(bugs)} mutants killed by their requirement{held}; {len(small)} of them small"]
    sly = [row for row in bugs if row.group == "dishonest"]
    if sly:
        lines.append(f"{sum(not row.trouble for row in sly)} of {len(sly)} of them are dishonest, and caught")
    cases = table.matrix.columns
    if table.unfailed is not None:
        lines.append(f"cases that nobody fails: {len(table.unfailed)} of {len(cases)}")
        lines += [f"  {case} ({cases[case].requirement})" for case in table.unfailed]
        lines.append(f"cases that only null candidates fail: {len(table.null_only)}")
        lines += [f"  {case} ({cases[case].requirement})" for case in table.null_only]
    lines += [f"honest computations that are one and the same: {one} and {other}" for one, other in table.alike]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit status 0 if the table is right, 1 if not, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="llmasos selftest", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="GLOB", help="candidates, as name or kind:name")
    parser.add_argument("--cases", nargs="+", default=[], metavar="GLOB", help="case ids or profiles")
    parser.add_argument(
        "--own", action="store_true", help="ask a mutant only the requirement that it breaks, until it fails"
    )
    parser.add_argument(
        "--lean", action="store_true",
        help="one example of each case of other requirements than a mutant's own, and no laws: under an hour",
    )  # fmt: skip
    parser.add_argument(
        "--also", nargs="+", default=[], metavar="ADDRESS",
        help="adapters known to be right, such as transformers; alone, or beside those of --only ('*' for all)",
    )  # fmt: skip
    parser.add_argument("--seed", default=SEED, help="of probes and of everything drawn")
    parser.add_argument(
        "--edges", type=float, default=0.0, metavar="SHARE",
        help="draw ends of ranges and ids that mean something this often, 0 to 1: whether a case ever fails what is "
        "right shows sooner",
    )  # fmt: skip
    parser.add_argument(
        "--claim", choices=HALF, default="",
        help="hold mutants to this dtype, where they claim a finer one: what a lower claim lets pass",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, help="worker processes")
    parser.add_argument(
        "--resume", type=Path, metavar="FILE", help="keep rows in this file as they come, and take those that it holds"
    )
    parser.add_argument(
        "--show", type=Path, metavar="FILE", help="run nothing; print what a kill matrix says, as Markdown"
    )
    parser.add_argument("--lang", choices=["en", "zh"], default="en", help="of --show")
    parser.add_argument("--json", action="store_true", help="print the kill matrix instead of the table")
    parser.add_argument("--out", type=Path, help="write the kill matrix to this file")
    options = parser.parse_args(argv)
    if options.show is not None:
        try:
            print(killmatrix.read(options.show).page(options.lang), end="")
        except SuiteError as error:
            print(error.render(), file=sys.stderr)
            return error.exit_code
        return 0
    if not 0 <= options.edges <= 1:
        parser.error(f"--edges {options.edges:g} is not a share between 0 and 1")
    if not entrants(options.only):
        parser.error(f"no candidate matches {' '.join(options.only)}; try --only 'honest:*' 'mutant:epsilon-*'")

    def progress(done: int, total: int, row: Row) -> None:
        did = f"uses {row.share:.2f} of a bound" if row.kind in RIGHT else f"fails {len(row.failed)} cases"
        line = f"[{done}/{total}] {row.kind}:{row.name} {did}, {row.seconds:.1f} s  {row.trouble}"
        print(line.rstrip(), file=sys.stderr, flush=True)

    try:
        table = run(
            options.only, options.cases, options.jobs, progress, own=options.own, lean=options.lean,
            seed=options.seed, also=options.also, edges=options.edges, claim=options.claim, resume=options.resume,
            measured=options.json or options.out is not None,
        )  # fmt: skip
    except SuiteError as error:
        print(error.render(), file=sys.stderr)
        return error.exit_code
    if options.out is not None:
        options.out.write_text(table.matrix.as_text(), encoding="utf-8")
    print(table.matrix.as_text() if options.json else render(table))
    return 0 if table.ok else 1


__all__ = ["Mutant", "Row", "Table", "Workshop", "chosen", "end_with_parent", "entrants", "main", "render", "run"]

if __name__ == "__main__":
    sys.exit(main())
