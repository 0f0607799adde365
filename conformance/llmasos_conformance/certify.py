"""A certified run: from an adapter's address to a signed report directory.

    before    suites, harness, reference and adapter are hashed; the report's place is made next to where it will be
    during    the engine asks case by case, in this process; the adapter answers from another, over standard input and
              output, in an empty directory, with a scrubbed environment, or is a server that was there before; evidence
              is written as it comes
    after     the adapter is ended; everything is hashed again; only then is the key opened; the directory gets its name

pytest has no part in it: what a verdict does not pass through cannot change it. `llmasos certify` runs this room in an
interpreter of its own (`python -I`), so that neither the caller's environment nor his modules are in it. A process of
the same user is no security boundary all the same, and the report says so.

A run that is interrupted keeps what it has: the rest is `not_run`, the verdict incomplete, nothing is signed. A
candidate that hangs is asked no more after a few cases: the rest is `not_run` too, and what there is gets signed.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from llmasos_conformance import adapters, engine, evidence, installed, isolation, places, report, signing
from llmasos_conformance import reference as references
from llmasos_conformance import suite as suites
from llmasos_conformance.adapters.address import APIS
from llmasos_conformance.adapters.digest import adapter_digest, as_file
from llmasos_conformance.adapters.reference import inspect_bundle
from llmasos_conformance.candidate import Candidate, Connection, Live
from llmasos_conformance.canonical import clean, parse, schema, sha256, validate
from llmasos_conformance.checks import registry
from llmasos_conformance.errors import HarnessError, ReportError
from llmasos_conformance.places import Place, Rooms, vacant
from llmasos_conformance.policy import TIME_FORMAT
from llmasos_conformance.probes import Given, Library, given
from llmasos_conformance.protocol import Refusal
from llmasos_conformance.suite import Case, Suite
from llmasos_conformance.verdict import EXIT_ADAPTER, EXIT_CODES, EXIT_NOTHING, Outcome, State, Verdict, emulated_in

MOST_TIMEOUTS = 3
"""Cases without an answer in time, one after another, after which a candidate counts as hanging and is asked no more.
Every further one would cost the whole time limit and a restart, and an incomplete verdict is certain already."""

SEED = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Nothing(HarnessError):
    """A profile without cases: there is nothing to certify."""

    exit_code = EXIT_NOTHING


class RunInvalid(HarnessError):
    """Something that must not change while a run goes on has changed; nothing is signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to certify, and how.

    Attributes:
        adapter: address. profile: name of a frozen profile. out: directory to be made.
        seed: of the inputs; None for a fresh one. key: private key file; None leaves the report unsigned.
        passphrase: asked for the key's passphrase, after the run. timeout_s: per call to the candidate.
        pass_env: names of environment variables that the adapter gets beside the fixed ones; they are recorded.
        bundle: directory of a model of one's own, for a profile that is about one.
        directory: where relative addresses start. suites: None for the installed ones.
        out_of_process: False hosts the adapter in this process, which makes the run a self-test.
    """

    adapter: str
    profile: str
    out: Path
    seed: str | None = None
    key: Path | None = None
    passphrase: Callable[[], bytes | None] = lambda: None
    timeout_s: float = 30.0
    pass_env: tuple[str, ...] = ()
    bundle: Path | None = None
    directory: Path = Path()
    suites: Path | None = None
    out_of_process: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A run that has ended.

    Attributes:
        undeclared: capabilities that the profile requires and the candidate does not declare.
        content: the statement. report_id: SHA-256 of its bytes. signed: whether there is an envelope.
        exit_code: of `llmasos certify`. lost: why the candidate could not be brought back, or "".
        hung: why the candidate was asked no more although it came back, or "".
    """

    verdict: Verdict
    directory: Path
    content: Mapping[str, Any]
    report_id: str
    signed: bool
    interrupted: bool
    outcomes: Sequence[Outcome]
    undeclared: Sequence[str]
    lost: str = ""
    hung: str = ""

    @property
    def exit_code(self) -> int:
        faults = {outcome.fault for outcome in self.outcomes}
        if not self.verdict.fails and not self.interrupted and (self.lost or faults & {"protocol", "transport"}):
            return EXIT_ADAPTER
        return EXIT_CODES[self.verdict]


Progress = Callable[[int, int, Case | None], None]
"""Told: cases done, cases in all, the case that comes next."""


def certify(
    order: Order, *, clock: Callable[[], datetime], progress: Progress = lambda done, total, case: None
) -> Done:
    """Run a profile and write the report directory.

    Args:
        order: what and how. clock: the time in UTC, read at start and end. progress: see `Progress`.

    Raises:
        HarnessError: before the run, when something about the order is wrong; after it, when files have changed.
    """
    if order.seed is not None and not SEED.fullmatch(order.seed):
        raise ReportError(f"the seed {order.seed!r:.80} is not 1 to 64 letters, digits, '.', '_' or '-'")
    if order.key is not None:
        signing.check_key_file(order.key)
    with contextlib.suppress(OSError):  # told where the place is made
        vacant(order.out)  # before anything that takes time
    directory = order.suites or installed.suites()
    profile = installed.frozen_profile(directory, order.profile)
    loaded = suites.load(directory)
    if not profile["cases"]:
        raise Nothing(f"the profile {order.profile} has no cases", where=directory)
    before = _digests(order)
    # Only in a process of our own: closing the doors of somebody else's program is not ours to do.
    own = bool(sys.flags.isolated)
    adopted = own and isolation.adopt()
    target = adapters.check_address(order.adapter, order.directory)
    _fits("" if target.endpoint is None else target.endpoint.api, order.profile, profile)
    passed = tuple(filter(None, [target.token])) if target.host else order.pass_env
    said = isolation.sentences(
        out_of_process=order.out_of_process, adopted=adopted, pass_env=passed, served=bool(target.host),
        open_because=isolation.close_doors() if own else isolation.ANOTHER_PROGRAM,
    )  # fmt: skip
    with (
        places.place(order.out) as place,
        tempfile.TemporaryDirectory(prefix="llmasos-") as temporary,
        tempfile.TemporaryDirectory() as private,  # no path that the adapter is given leads here
    ):
        rooms = Rooms(Path(temporary).resolve(), Path(private).resolve())
        bundle = _given(order, profile, rooms.private)
        return _run(order, loaded, profile, bundle, before, place, rooms, said, clock, progress, adopted=adopted)


def _fits(api: str, name: str, profile: Mapping[str, Any]) -> None:
    """Whether a profile about what a server answers over an API has one, and no other profile has any.

    Args:
        api: of the candidate's address; empty for a candidate that loads what it is given.

    Raises:
        ReportError: it is about models that the suite gives, or about another API, or there is no server.
    """
    if profile.get("hosted") and not api:
        raise ReportError(
            f"the profile {name} is about what a server answers that nobody can give a model",
            hint=f"--adapter 'openai:http://HOST:PORT/v1#model=NAME&api={name.rpartition('/')[2]}'",
        )
    if api and (not profile.get("hosted") or api not in profile["requires"]):
        other = next((each for each in APIS if each in profile["requires"]), "")
        raise ReportError(
            f"the address names a server that is asked over {api}, and the profile {name} does not ask that",
            hint=f"--profile hosted/{api}" + (f", or &api={other} in the address" if profile.get("hosted") else ""),
        )


def _given(order: Order, profile: Mapping[str, Any], room: Path) -> Given | None:
    """The bundle of a profile that is about one, as it is now: what becomes of the original later changes nothing.

    Args:
        room: for a copy, which the adapter never sees.

    Raises:
        HarnessError: it is missing, or too much, or not of the profile's architecture, or not sound.
    """
    if order.bundle is None:
        if profile.get("bundle"):
            raise ReportError(
                f"the profile {order.profile} is about a model of your own, and none was given",
                hint="--bundle DIR; llmasos new and llmasos import make one",
            )
        return None
    found = given.read(order.directory / order.bundle, room)
    if not profile.get("bundle"):
        raise ReportError(
            f"the profile {order.profile} is asked on probes of the suite, not on a bundle",
            hint=f"leave out --bundle, or --profile {given.PROFILES[found.architecture]}",
        )
    if found.architecture not in profile["requires"]:
        raise ReportError(
            f"the bundle is of the architecture {found.architecture}, the profile {order.profile} is not",
            hint=f"--profile {given.PROFILES[found.architecture]}",
        )
    _sound(found.path, order.directory / order.bundle)
    return found


def _sound(copy: Path, original: Path) -> None:
    """Whether the reference finds nothing wrong with a bundle, its graphs included where they can be looked into.

    Raises:
        ReportError: it does; nobody can be held to such a bundle.
    """
    try:
        faults = inspect_bundle(copy).faults
    except Refusal as refusal:
        raise ReportError(f"{refusal.code}: {refusal.message}", where=original) from refusal
    if faults:
        first = faults[0]
        raise ReportError(
            f"the bundle is not sound: {first.what}".replace(str(copy), str(original)),
            where=original / first.where if first.where else original, hint=first.hint or
            f"llmasos inspect {original} says all that is wrong with it",
        )  # fmt: skip


def _run(
    order: Order, loaded: Suite, profile: Mapping[str, Any], bundle: Given | None, before: Mapping[str, str],
    place: Place, rooms: Rooms, said: list[str], clock: Callable[[], datetime], progress: Progress, *, adopted: bool,
) -> Done:  # fmt: skip
    started, seed = clock(), order.seed or secrets.token_hex(16)
    connection = _connect(order, rooms)

    def end() -> None:
        connection.close()
        if adopted:
            isolation.end_children()

    try:
        description = connection.description
        truth = references.connect(description.claims, Library(rooms.private, seed, bundle), adapters.connect)
        candidate = Candidate(Live(connection), description, Library(rooms.bundles, seed, bundle))
        if bundle is not None:
            references.check_bundle(truth, bundle, candidate.probes)
        bench = engine.Bench(suite=loaded, checks=registry(), candidate=candidate, reference=truth, seed=seed)
        with evidence.Store(place.path / evidence.FILE_NAME) as store:
            loop = _Loop(bench, connection, store, rooms.hide, end)
            with loop.signals():
                outcomes = loop.run([loaded.cases[case["id"]] for case in profile["cases"]], progress)
                end()  # the key is opened below, and nobody of the candidate is there to look
                return _finish(order, loaded, profile, before, place, said, loop, outcomes, started, clock)
    finally:
        end()


def _finish(
    order: Order, loaded: Suite, profile: Mapping[str, Any], before: Mapping[str, str], place: Place, said: list[str],
    loop: _Loop, outcomes: Sequence[Outcome], started: datetime, clock: Callable[[], datetime],
) -> Done:  # fmt: skip
    """Hash again, state, sign, and give the directory its name."""
    after = _digests(order)
    changed = [name for name in before if before[name] != after[name]]
    if loop.bench.reference.probes.changed():
        changed.append("the reference's bundles")
    if changed:
        raise RunInvalid(
            f"{' and '.join(changed)} changed while the run went on; nothing was signed", hint="run it again, untouched"
        )
    signed = order.key is not None and not loop.interrupted
    given_bundle = loop.bench.reference.probes.given
    facts = report.Facts(
        candidate=report.candidate_record(loop.bench.candidate.description),
        adapter=before["adapter"],
        suite={
            "name": "llmasos",
            "version": loaded.version,
            "digest": before["suites"],
            "profile": order.profile,
            "profileDigest": installed.profile_digest(profile),
        },
        reference={
            "name": "llmasos",
            "version": loop.bench.reference.truth.description.version,
            "digest": before["reference"],
        },
        harness=installed.harness_record() | {"digest": before["harness"]},
        run={
            "id": secrets.token_hex(16),
            "startedAt": started.strftime(TIME_FORMAT),
            "finishedAt": clock().strftime(TIME_FORMAT),
            "asked": loop.asked(),
            "seed": loop.bench.seed,
            "mode": "certified" if order.out_of_process and sys.flags.isolated else "self-test",
            "isolation": [*said, isolation.KEY_SENTENCE] if signed else said,
        },
        environment=installed.environment_record(),
        bundle=None if given_bundle is None else given_bundle.record(),
        endpoint=_endpoint(order),
    )
    payload = report.statement(facts, profile, outcomes, loop.store.close())
    sentences = {name: each.sentence for name, each in loop.bench.suite.requirements.items()}
    content = _write(place.path, payload, order if signed else None, sentences)
    return Done(
        verdict=Verdict(content["predicate"]["verdict"]),
        directory=place.keep(),
        content=content,
        report_id=sha256(payload),
        signed=signed,
        interrupted=loop.interrupted,
        outcomes=outcomes,
        undeclared=sorted(set(profile["requires"]) - loop.bench.candidate.description.offers),
        lost=loop.lost,
        hung=loop.hung,
    )


def _endpoint(order: Order) -> dict[str, str] | None:
    """The hosted model that was asked, as the report keeps it."""
    named = adapters.check_address(order.adapter, order.directory).descriptor()
    return None if named is None else {name: clean(text) for name, text in named.items()}


def _write(
    place: Path, payload: bytes, order: Order | None, sentences: Mapping[str, Mapping[str, str]]
) -> Mapping[str, Any]:
    """The files of a report beside its evidence. Projections are made from the very bytes that are signed."""
    content: Mapping[str, Any] = parse(payload, floats=False)
    validate(content, schema("report"))  # what no verifier would read is not signed
    if order is None or order.key is None:
        (place / report.STATEMENT_NAME).write_bytes(payload)
    else:
        key = signing.read_key(order.key, order.passphrase())
        (place / report.ENVELOPE_NAME).write_bytes(signing.sign(payload, key))
        (place / report.SIGNER_NAME).write_bytes(signing.public_pem(signing.public_bytes(key)))
    report.write_text(place / report.MARKDOWN_NAME, report.markdown(content, sha256(payload), sentences))
    report.write_text(place / report.JUNIT_NAME, report.junit(content))
    return content


# ── the loop over cases ───────────────────────────────────────────────────────────────────────────────────────────


class _Loop:
    """Runs cases one after another, stores their evidence, and stops in an orderly way.

    Attributes:
        interrupted: somebody pressed Ctrl-C or sent SIGTERM. lost: why the candidate could not be brought back.
        hung: why it is asked no more.
    """

    def __init__(
        self,
        bench: engine.Bench,
        connection: Connection,
        store: evidence.Store,
        hide: Callable[[str], str],
        end: Callable[[], None],
    ) -> None:
        self.bench, self.store, self.hide, self._end = bench, store, hide, end
        self.interrupted, self.lost, self.hung = False, "", ""
        self._timeouts = 0
        self._running = self._asking = False
        restart = getattr(connection, "restart", None)
        if restart is not None:
            bench.restart = lambda: self._bring_back(restart)

    def asked(self) -> dict[str, Any]:
        """How often the candidate was asked, and how long that took."""
        link = self.bench.candidate.link
        assert isinstance(link, Live)
        return {"calls": link.calls, "seconds": f"{link.seconds:.1f}"}

    def run(self, cases: Sequence[Case], progress: Progress) -> list[Outcome]:
        outcomes: list[Outcome] = []
        self._running = True
        for number, case in enumerate(cases):
            progress(number, len(cases), case)
            outcomes.append(self._one(case))
        self._running = False
        progress(len(cases), len(cases), None)
        return outcomes

    def _one(self, case: Case) -> Outcome:
        if self.interrupted or self.lost or self.hung:
            return self._not_run(case)
        try:
            self._asking = True
            trial = engine.run_case(self.bench, case)
        except KeyboardInterrupt:
            if not self.interrupted:  # nobody turned the signal into a mark: this is not the main thread's run
                raise
            return self._not_run(case)
        finally:
            self._asking = False
        digest = self.store.add(case.id, trial.examples)
        made = trial.outcome
        self._count_timeouts(made)
        return replace(
            made, evidence=digest, message=self.hide(made.message), expected=self.hide(made.expected),
            got=self.hide(made.got),
        )  # fmt: skip

    def _count_timeouts(self, made: Outcome) -> None:
        if made.state is State.NOT_DECLARED:  # nobody was asked
            return
        self._timeouts = self._timeouts + 1 if made.fault == "timeout" else 0
        if self._timeouts == MOST_TIMEOUTS:
            self.hung = f"{MOST_TIMEOUTS} cases in a row had no answer in time, the last with {made.message}"

    def _not_run(self, case: Case) -> Outcome:
        why = f"the candidate did not come back: {self.lost}"
        if self.interrupted:
            why = report.INTERRUPTED
        elif self.hung:
            why = f"not asked: {self.hung}"
        emulated = emulated_in(case.id, case.needs, self.bench.candidate.description.emulated)
        return Outcome(
            case=case.id, requirement=case.requirement, level=self.bench.suite.level(case), state=State.NOT_RUN,
            message=self.hide(why), emulated=emulated,
        )  # fmt: skip

    def _bring_back(self, restart: Callable[[], None]) -> None:
        self._end()  # also what an ended adapter left behind
        try:
            restart()
        except HarnessError as error:
            self.lost = error.what

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Turn SIGINT and SIGTERM into one orderly stop.

        While the candidate is asked, the first breaks off the case; between cases it leaves a mark. Once interrupted,
        what there is gets written, and impatience must not tear it: further signals are ignored. After a whole run they
        end it as usual, for instance at the prompt for a passphrase.
        """

        def stop(number: int, frame: FrameType | None) -> None:
            if self.interrupted:
                return
            self.interrupted = self._running
            if self._asking or not self._running:
                raise KeyboardInterrupt

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def _connect(order: Order, rooms: Rooms) -> Connection:
    if not order.out_of_process:
        return adapters.connect(order.adapter, directory=order.directory, timeout_s=order.timeout_s)
    return adapters.connect(
        _absolute(order.adapter, order.directory), out_of_process=True, directory=order.directory,
        timeout_s=order.timeout_s, cwd=rooms.adapter, path=isolation.roots(),
        env=isolation.adapter_environment(rooms.adapter, order.pass_env),
    )  # fmt: skip


def _absolute(address: str, directory: Path) -> str:
    """A command whose words that name files of `directory` are absolute, because it will start elsewhere."""
    words = adapters.check_address(address, directory).command
    return "cmd:" + shlex.join([as_file(word, directory) or word for word in words]) if words else address


def _digests(order: Order) -> dict[str, str]:
    return {
        "suites": installed.suite_digest(order.suites or installed.suites()),
        "harness": installed.harness_digest(),
        "reference": installed.reference_digest(),
        "adapter": adapter_digest(order.adapter, order.directory),
    }
