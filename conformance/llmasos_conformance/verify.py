"""Whether a stranger should believe a report.

    integrity    the bytes are the ones that some key signed, and have the only form they may have
    signer       the key is one that the trust file names, for this time, candidate and profile
    suite        suite and profile are the verifier's own; cases, levels, counts, roots and verdict follow from them
    evidence     the stored conversations are the ones signed
    re-judged    asked again from the seed, every question is the recorded one; judged again with the verifier's own
                 reference, every answer earns the outcome that the report states

The rungs are climbed in this order and each refusal has a reason code of its own. What is wrong with form or substance
ends the climb; what only fails the policy (an unknown signer, say) is noted, and the climb goes on, so that one
sees what the report would be worth if the signer were known. Nothing in the report can raise its own level.

Exit codes: 0 accepted and conformant, 1 rejected, 2 malformed or usage, 3 authentic but signer unknown or policy not
met, 4 authentic, verdict not conformant. No network, no clock (`now` is handed in); without re-judging nothing but the
standard library and `cryptography`.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos_conformance import evidence, installed, isolation, report, signing
from llmasos_conformance.canonical import Unacceptable, clean, encode, legible, parse, schema, sha256, validate
from llmasos_conformance.errors import ENDING, UNANSWERED, ReportError, SignatureError, SuiteError
from llmasos_conformance.policy import Trust, TrustedKey, moment
from llmasos_conformance.reasons import MALFORMED, NOT_CONFORMANT, POLICY, REASONS, REJECTED
from llmasos_conformance.verdict import HONEST_UNITS, Verdict, emulated_in

if TYPE_CHECKING:
    from llmasos_conformance.engine import Bench
    from llmasos_conformance.probes import Given
    from llmasos_conformance.suite import Suite

RUNGS = ("integrity", "signer", "suite", "evidence", "re-judged")
SKEW = timedelta(seconds=300)
OLD = timedelta(days=30)
"""After which it is noted when a hosted model was asked: whoever serves it may have put another in its place."""
MAX_ENVELOPE = 8 * 1024 * 1024
"""Bytes; that of a profile with 300 cases has under 0.1 MB."""
FIGURE_FACTOR = 2.0
"""Figures are errors in units of honest error. The verifier's BLAS has an honest error of its own: a little other in
size, never twice as large."""
FIGURE_NOISE = 3.2
"""What honest computations differ by at most, in units of honest error (the calibration behind `numerics.KAPPA_MAX`).
The verifier's float64 truth is one of them: for a candidate that claims float64, less than this says nothing."""
FIGURE_FLOOR = 0.5
"""The same for one that claims float32, whose errors are far above those of the float64 truth."""
SHARE_TOLERANCE = 1e-3
"""Relative, for shares and counts: they follow from the recorded answers, not from anybody's rounding."""

NOT_PROVEN = (
    "Not proven: that the recorded answers are the candidate's at all (whoever holds the key can write what he likes "
    "into the evidence), that what is deployed is what was tested, that the answers were computed and not remembered, "
    "that the machine and the times were as stated (they are the signer's word), or how many runs were made before "
    "this one was shown."
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a report is not accepted. `case` is empty when it is about the whole."""

    code: str
    message: str
    case: str = ""


@dataclass(frozen=True, slots=True)
class Installed:
    """What the verifier holds the report against; `here` gives what is installed."""

    suites: Path
    suite_digest: str
    reference_digest: str
    harness_digest: str

    @classmethod
    def here(cls, suites: Path | None = None) -> Installed:
        directory = suites or installed.suites()
        return cls(
            directory, installed.suite_digest(directory), installed.reference_digest(), installed.harness_digest()
        )


@dataclass(slots=True)
class Result:
    """What verification found.

    Attributes:
        ladder: rung -> "reached", "failed" or "not checked".
        reasons: in the order found. notes: what differs and is not held against the report.
        content: the statement, once its bytes were verified. report_id: SHA-256 of those bytes.
        signer: entry of the trust file whose key verified. key: id of the key that verified, trusted or not.
    """

    ladder: dict[str, str] = field(default_factory=lambda: dict.fromkeys(RUNGS, "not checked"))
    reasons: list[Reason] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    content: Mapping[str, Any] | None = None
    report_id: str = ""
    signer: TrustedKey | None = None
    key: str = ""

    @property
    def level(self) -> str:
        """The highest rung with nothing missing below it, or "none"."""
        reached = "none"
        for rung in RUNGS:
            if self.ladder[rung] != "reached":
                break
            reached = rung
        return reached

    @property
    def exit_code(self) -> int:
        exits = {REASONS[reason.code][0] for reason in self.reasons}
        for code in (MALFORMED, REJECTED, POLICY):
            if code in exits:
                return code
        assert self.content is not None
        return 0 if Verdict(self.content["predicate"]["verdict"]).holds else NOT_CONFORMANT

    @property
    def accepted(self) -> bool:
        return self.exit_code == 0

    def as_json(self) -> dict[str, Any]:
        """What `llmasos verify --json` prints; keys are stable."""
        about = None
        if self.content is not None:
            predicate = self.content["predicate"]
            about = {
                "id": self.report_id,
                "candidate": predicate["candidate"]["name"],
                "candidateVersion": predicate["candidate"]["version"],
                "profile": predicate["suite"]["profile"],
                "bundle": predicate.get("bundle"),
                "endpoint": predicate.get("endpoint"),
                "suite": predicate["suite"]["digest"],
                "seed": predicate["run"]["seed"],
                "run": predicate["run"]["id"],
                "summary": predicate["summary"],
                "verdict": predicate["verdict"],
            }
        return {
            "schemaVersion": "1.0",
            "accepted": self.accepted,
            "exitCode": self.exit_code,
            "level": self.level,
            "ladder": [{"rung": rung, "state": state} for rung, state in self.ladder.items()],
            "reasons": [{"code": each.code, "message": each.message, "case": each.case} for each in self.reasons],
            "notes": self.notes,
            "signer": None if self.signer is None else
                {"id": self.signer.id, "owner": self.signer.owner, "role": self.signer.role},
            "key": self.key or None,
            "report": about,
            "notProven": NOT_PROVEN,
        }  # fmt: skip


Step = Callable[[], None]


def verify(
    path: Path, *, now: datetime, own: Installed, trust: Trust | None = None, level: str = "evidence",
    on_case: Callable[[int, int], None] | None = None, unsigned: bool = False, bundle: Path | None = None,
) -> Result:  # fmt: skip
    """Verify a report.

    Args:
        path: the report's directory, or its envelope with the evidence beside it.
        now: in UTC. own: what the verifier has installed. trust: None when nobody is trusted.
        level: the rung to climb to, from "suite" on. on_case: told done and total while re-judging.
        bundle: the verifier's own copy of the bundle that the report is about; judging again needs it.
        unsigned: look at what an unsigned run kept too. It is refused all the same; whatever else is wrong is found.

    Raises:
        ReportError: there is no report there, or no such level.
    """
    if level not in RUNGS[2:]:
        raise ReportError(f"no level {level!r:.40}", hint=", ".join(RUNGS[2:]))
    climb = _Climb(path, now, own, trust or Trust(), on_case, unsigned=unsigned, bundle=bundle)
    steps = [pair for pair in climb.steps() if RUNGS.index(pair[0]) <= RUNGS.index(level)]
    result = climb.result
    for rung, step in steps:
        try:
            step()
        except Unacceptable as error:
            reason = Reason(error.code, error.what, error.case)
            if reason not in result.reasons:
                result.reasons.append(reason)
            result.ladder[rung] = "failed"
            goes_on = REASONS[error.code][0] == POLICY or (error.code == "E_UNSIGNED" and climb.payload)
            if not goes_on or climb.halted:
                break
        else:
            if result.ladder[rung] != "failed":  # the steps of a rung count together
                result.ladder[rung] = "reached"
    return result


class _Climb:
    """The steps, in order, over one report. Each raises at most one reason."""

    def __init__(
        self, path: Path, now: datetime, own: Installed, trust: Trust, on_case: Callable[[int, int], None] | None,
        *, unsigned: bool, bundle: Path | None,
    ) -> None:  # fmt: skip
        self.directory = path if path.is_dir() else path.parent
        self.file = path / report.ENVELOPE_NAME if path.is_dir() else path
        self.now, self.own, self.trust, self.on_case, self.unsigned = now, own, trust, on_case, unsigned
        self.bundle = bundle
        self.result, self.halted, self.kept = Result(), False, False
        self.payload = b""
        self.content: Mapping[str, Any] = {}
        self.signers: list[TrustedKey] = []
        self.records: list[evidence.Record] = []

    def steps(self) -> Iterator[tuple[str, Step]]:
        integrity = (self.read, self.form, self.subject, self.times)
        signer = (self.known, self.period, self.scope, self.mode)
        suite = (
            self.suite_digest, self.profile, self.about, self.asked, self.same_bundle, self.reference, self.harness,
            self.check_set, self.levels, self.declared, self.tail, self.isolation, self.marks, self.roots,
            self.counts, self.verdict,
        )  # fmt: skip
        for rung, group in zip(RUNGS, (integrity, signer, suite, (self.stored,), (self.rejudge,)), strict=True):
            for step in group:
                yield rung, step

    @property
    def predicate(self) -> Mapping[str, Any]:
        return self.content["predicate"]  # type: ignore[no-any-return]

    @property
    def checks(self) -> Sequence[Mapping[str, Any]]:
        return self.predicate["checks"]  # type: ignore[no-any-return]

    # ── integrity ──

    def read(self) -> None:
        """Envelope and signature. What is parsed later are the bytes verified here."""
        if not self.file.is_file():
            if (self.directory / report.STATEMENT_NAME).is_file():
                self.kept = self.unsigned
                self.payload = self._statement() if self.kept else b""
                raise Unacceptable("E_UNSIGNED", f"unsigned: {self._why_unsigned()}", where=self.directory)
            raise ReportError("there is no report", where=self.file, hint="give the directory that certify wrote")
        with self.file.open("rb") as file:
            raw = file.read(MAX_ENVELOPE + 1)
        if len(raw) > MAX_ENVELOPE:
            raise Unacceptable("E_SIZE", f"more than {MAX_ENVELOPE} bytes, the most that are read")
        envelope = signing.open_envelope(raw, where=self.file.name)
        self.payload = envelope.payload
        by_raw = {key.raw: key for key in self.trust.keys}
        verified = signing.verified_by(envelope, by_raw)
        self.signers = [key for key in self.trust.keys if key.raw in verified]
        if self.signers:
            self.result.key = signing.key_id(self.signers[0].raw)
            return
        beside = self._key_beside()
        if beside is not None and signing.verified_by(envelope, [beside]):
            self.result.key = signing.key_id(beside)
            return
        named = {signing.key_id(raw) for raw in by_raw} & {name for name, _ in envelope.signatures}
        if beside is not None or named:
            raise Unacceptable("E_SIGNATURE", "no signature fits the content under the key that is named")
        self.halted = True  # without any key, not even integrity is known, so nothing may be read
        raise Unacceptable(
            "E_SIGNER_UNKNOWN",
            "no trusted key signed this, and there is no key beside the report to test integrity with",
        )

    def _why_unsigned(self) -> str:
        """In the words of the unsigned statement itself, which proves nothing and earns nothing."""
        try:
            content = parse(self._statement(), floats=False)
            validate(content, schema("report"))
        except Unacceptable:
            return "the run was kept without a signature, and what was kept is damaged"
        broken_off = any(made.get("message") == report.INTERRUPTED for made in content["predicate"]["checks"])
        return "kept from an interrupted run" if broken_off else "the run was made without a key"

    def _statement(self) -> bytes:
        with (self.directory / report.STATEMENT_NAME).open("rb") as file:
            return file.read(MAX_ENVELOPE + 1)

    def _key_beside(self) -> bytes | None:
        path = self.directory / report.SIGNER_NAME
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                return signing.read_public(file.read(4096).decode("ascii", errors="replace"))
        except SignatureError as error:
            raise Unacceptable("E_KEY", f"the key beside the report: {error.what}") from error

    def form(self) -> None:
        value = parse(self.payload, where="the statement", floats=False)
        kinds = (report.STATEMENT_TYPE, report.PREDICATE_TYPE)
        if not isinstance(value, dict) or (value.get("_type"), value.get("predicateType")) != kinds:
            raise Unacceptable("E_STATEMENT", f"the signed content is not a {kinds[1]} in a {kinds[0]}")
        validate(value, schema("report"))
        if encode(value) != self.payload:
            raise Unacceptable("E_CANONICAL", "the statement's bytes are not the canonical form of its content")
        _texts(value)
        self.content = value
        self.result.content, self.result.report_id = value, sha256(self.payload)

    def subject(self) -> None:
        named = [(each["name"], each["digest"]["sha256"]) for each in self.content["subject"]]
        subject, about, endpoint = dict(named), self.predicate.get("bundle"), self.predicate.get("endpoint")
        due = ["description", "adapter", *(["bundle"] if about else []), *(["endpoint"] if endpoint else [])]
        if [name for name, _ in named] != due or subject["description"] != sha256(encode(self.predicate["candidate"])):
            raise Unacceptable("E_SUBJECT", "the subject is not the digest of the candidate's record")
        if about and subject["bundle"] != about["digest"]:
            raise Unacceptable("E_SUBJECT", "the subject is not the bundle that the report describes")
        if endpoint and subject["endpoint"] != report.endpoint_digest(endpoint):
            raise Unacceptable("E_SUBJECT", "the subject is not the endpoint that the report describes")

    def times(self) -> None:
        try:
            start, finish = (moment(self.predicate["run"][name]) for name in ("startedAt", "finishedAt"))
        except ValueError as error:
            raise Unacceptable("E_TIME", str(error)) from error
        if finish < start:
            raise Unacceptable("E_TIME", f"the run finished at {finish} before it started at {start}")
        if finish > self.now + SKEW:
            raise Unacceptable("E_TIME", f"the run finished at {finish}, which is in the future")

    # ── signer ──

    def known(self) -> None:
        if not self.signers:
            raise Unacceptable("E_SIGNER_UNKNOWN", "integrity only, signer unknown: no key of a trust file signed this")
        fitting = [key for key in self.signers if not any(self._complaints(key))]
        self.result.signer = (fitting or self.signers)[0]
        self.result.key = signing.key_id(self.result.signer.raw)

    def _complaints(self, key: TrustedKey) -> Iterator[Unacceptable]:
        run, name = self.predicate["run"], self.predicate["candidate"]["name"]
        if moment(run["startedAt"]) < key.not_before:
            yield Unacceptable(
                "E_KEY_NOT_YET", f"the key {key.id} is valid from {key.not_before}, the run began before"
            )
        if moment(run["finishedAt"]) > key.not_after:
            yield Unacceptable("E_KEY_EXPIRED", f"the key {key.id} is valid to {key.not_after}, the run ended after")
        if key.candidates is not None and name not in key.candidates:
            yield Unacceptable("E_SCOPE", f"the key {key.id} may not speak about the candidate {name!r}")
        profile = self.predicate["suite"]["profile"]
        if key.profiles is not None and profile not in key.profiles:
            yield Unacceptable("E_SCOPE", f"the key {key.id} may not speak about the profile {profile}")

    def _complain(self, *codes: str) -> None:
        if self.result.signer is not None:
            for complaint in self._complaints(self.result.signer):
                if complaint.code in codes:
                    raise complaint

    def period(self) -> None:
        self._complain("E_KEY_NOT_YET", "E_KEY_EXPIRED")

    def scope(self) -> None:
        self._complain("E_SCOPE")

    def mode(self) -> None:
        if self.predicate["run"]["mode"] != "certified":
            raise Unacceptable("E_MODE", "a self-test: the adapter ran inside the harness")

    # ── suite ──

    def suite_digest(self) -> None:
        found = self.predicate["suite"]["digest"]
        if found != self.own.suite_digest and found not in self.trust.suites:
            raise Unacceptable(
                "E_SUITE_DIGEST",
                f"made with suite {found[:16]}…, installed is {self.own.suite_digest[:16]}…: install version "
                f"{self.predicate['suite']['version']} to verify it, or accept its digest in the trust file",
            )

    def profile(self) -> None:
        """The profile in force; for a report of an earlier suite that the trust file accepts, also a superseded one."""
        name, digest = self.predicate["suite"]["profile"], self.predicate["suite"]["profileDigest"]
        earlier = self.predicate["suite"]["digest"] != self.own.suite_digest
        try:
            self.frozen = installed.frozen_profile(self.own.suites, name, digest if earlier else "")
        except SuiteError as error:
            raise Unacceptable("E_PROFILE", error.what) from error
        if installed.profile_digest(self.frozen) != digest:
            raise Unacceptable("E_PROFILE", f"the profile {name} was frozen with other content here")
        withdrawn = installed.withdrawn_cases(self.own.suites) if earlier else {}
        for case in self.frozen["cases"]:
            if case["id"] in withdrawn:
                since = withdrawn[case["id"]]
                self.result.notes.append(
                    f"{case['id']} was withdrawn in {since}; the verdict of this report counts it still"
                )

    def about(self) -> None:
        """A profile about a bundle has one, of its architecture, and no other profile has any."""
        about = self.predicate.get("bundle")
        if bool(about) != bool(self.frozen.get("bundle")):
            what = (
                "names a bundle, and the profile is about none" if about else "names no bundle, which is the profile's"
            )
            raise Unacceptable("E_BUNDLE", f"the report {what}")
        if about and about["architecture"] not in self.frozen["requires"]:
            raise Unacceptable("E_BUNDLE", f"the bundle is of {about['architecture']}, the profile is not")

    def asked(self) -> None:
        """A profile of hosted models has an endpoint, whose model the candidate is, and no other profile has any."""
        endpoint, candidate = self.predicate.get("endpoint"), self.predicate["candidate"]
        if bool(endpoint) != bool(self.frozen.get("hosted")):
            what = (
                "names an endpoint, and the profile is about none"
                if endpoint
                else "names no endpoint, which is the profile's"
            )
            raise Unacceptable("E_ENDPOINT", f"the report {what}")
        if not endpoint:
            return
        api = endpoint["api"].rpartition("/")[2]
        if api not in self.frozen["requires"]:
            raise Unacceptable("E_ENDPOINT", f"the endpoint was asked {api}, the profile is about another API")
        if api not in candidate["capabilities"] or candidate["name"] != clean(endpoint["model"], 120):
            raise Unacceptable(
                "E_ENDPOINT", "the endpoint that the report names is not the candidate that it describes"
            )
        age = self.now - moment(self.predicate["run"]["finishedAt"])
        if age > OLD:
            self.result.notes.append(
                f"the endpoint was asked {age.days} days ago; nothing says that it serves the same model today"
            )

    def reference(self) -> None:
        self._pinned("reference", "E_REFERENCE", self.trust.references, self.own.reference_digest)

    def harness(self) -> None:
        self._pinned("harness", "E_HARNESS", self.trust.harnesses, self.own.harness_digest)

    def _pinned(self, what: str, code: str, accepted: frozenset[str], own: str) -> None:
        found = self.predicate[what]["digest"]
        if accepted and found not in accepted:
            raise Unacceptable(code, f"the {what} {found[:16]}… is not among those that the trust file accepts")
        if not accepted and found != own:
            self.result.notes.append(f"made with another {what} ({found[:16]}…) than the one installed ({own[:16]}…)")

    def check_set(self) -> None:
        planned, found = [case["id"] for case in self.frozen["cases"]], [made["id"] for made in self.checks]
        counts = Counter(found)
        moved = (case for case, due in zip(found, planned, strict=False) if case != due)
        for code, wrong, what in (
            ("E_CHECK_DUPLICATE", (case for case in found if counts[case] > 1), "has two outcomes"),
            ("E_CHECK_MISSING", (case for case in planned if not counts[case]), "has no outcome"),
            ("E_CHECK_ADDED", iter(sorted(set(found) - set(planned))), "is no case of the profile"),
            ("E_CHECK_ORDER", moved, "is out of order"),
        ):
            if case := next(wrong, ""):
                raise Unacceptable(code, f"{case} {what}", case=case)

    def levels(self) -> None:
        for made, due in zip(self.checks, self.frozen["cases"], strict=True):
            for key in ("requirement", "level"):
                if made[key] != due[key]:
                    raise Unacceptable("E_LEVEL", f"{made['id']} says {key} {made[key]}, the profile {due[key]}",
                                       case=made["id"])  # fmt: skip

    def declared(self) -> None:
        candidate = self.predicate["candidate"]
        offered = {*candidate["capabilities"], *candidate["architectures"]}
        for made, due in zip(self.checks, self.frozen["cases"], strict=True):
            missing = set(due["needs"]) - offered
            if made["outcome"] == "waived":
                raise Unacceptable("E_WAIVED", f"{made['id']} is waived, and nobody can waive it", case=made["id"])
            if (made["outcome"] == "not_declared") != bool(missing) and made["outcome"] != "not_run":
                raise Unacceptable(
                    "E_NOT_DECLARED",
                    f"{made['id']} is {made['outcome']} and needs {', '.join(sorted(due['needs']))}, of which "
                    f"{', '.join(sorted(missing)) or 'nothing'} is undeclared",
                    case=made["id"],
                )

    def tail(self) -> None:
        """A signed run has `not_run` for one reason only: a candidate that did not come back, or hangs.

        So these cases are the last ones, and the case before them ended in the fault that caused it. What the fault was
        stands in the evidence, see `stored`.
        """
        outcomes = [made["outcome"] for made in self.checks]
        if "not_run" not in outcomes or self._interrupted():
            return
        first = outcomes.index("not_run")
        for made in self.checks[first:]:
            if made["outcome"] != "not_run":
                raise Unacceptable("E_NOT_RUN", f"{made['id']} ran after cases that did not", case=made["id"])
        last = self.checks[first - 1] if first else None
        ended = last is not None and (
            last["outcome"] == "fail" or last.get("fault") in {kind.kind for kind in UNANSWERED}
        )
        if not ended:
            name = self.checks[first]["id"]
            raise Unacceptable("E_NOT_RUN", f"nothing ended the run before {name}, which is not_run", case=name)

    def _interrupted(self) -> bool:
        """Whether a person ended the run, which is then never signed."""
        return self.kept and any(made.get("message") == report.INTERRUPTED for made in self.checks)

    def isolation(self) -> None:
        run = self.predicate["run"]
        if not isolation.possible(run["isolation"], certified=run["mode"] == "certified"):
            raise Unacceptable(
                "E_ISOLATION", "run.isolation is not a list of sentences that this version of the harness writes"
            )

    def marks(self) -> None:
        emulated = self.predicate["candidate"]["emulated"]
        for made, due in zip(self.checks, self.frozen["cases"], strict=True):
            if made["emulated"] != list(emulated_in(made["id"], due["needs"], emulated)):
                raise Unacceptable("E_EMULATED", f"{made['id']} does not mark what is emulated", case=made["id"])

    def roots(self) -> None:
        if report.checks_root(self.checks) != self.predicate["checksRoot"]:
            raise Unacceptable("E_CHECKS_ROOT", "checksRoot is not the root over the outcomes")

    def counts(self) -> None:
        emulated = sum(1 for made in self.checks if made["emulated"])
        if (report.summary(self.checks), emulated) != (self.predicate["summary"], self.predicate["emulated"]):
            raise Unacceptable("E_SUMMARY", "the counts are not those of the outcomes")

    def verdict(self) -> None:
        due = report.verdict_of(self.frozen, self.checks)
        if due != self.predicate["verdict"]:
            raise Unacceptable(
                "E_VERDICT", f"the report says {self.predicate['verdict']}, its outcomes amount to {due}"
            )

    # ── evidence ──

    def stored(self) -> None:
        for made in self.checks:
            tried = made["outcome"] not in ("not_declared", "not_run")
            if tried and not made.get("evidence"):
                raise Unacceptable("E_EVIDENCE_MISSING", f"{made['id']} was tried and has no evidence", case=made["id"])
            if not tried and made.get("evidence"):
                raise Unacceptable("E_EVIDENCE_CASE", f"{made['id']} was not tried and has evidence", case=made["id"])
        signed = [made for made in self.checks if made.get("evidence")]
        self.records, root = evidence.read(evidence.place(self.directory), signed=[made["evidence"] for made in signed])
        for record, made in zip(self.records, signed, strict=True):
            if record.case != made["id"]:
                raise Unacceptable("E_EVIDENCE_CASE", f"the evidence of {made['id']} is about another case",
                                   case=made["id"])  # fmt: skip
        self._ended(signed)
        if root != self.predicate["evidenceRoot"]:
            raise Unacceptable("E_EVIDENCE_ROOT", "evidenceRoot is not the root over the evidence")

    def _ended(self, signed: Sequence[Mapping[str, Any]]) -> None:
        """A run that stopped early has the fault that stopped it as its very last exchange."""
        if self.checks[-1]["outcome"] != "not_run" or self._interrupted():
            return
        last = [made for made in self.checks if made["outcome"] != "not_run"][-1]["id"]
        row = self.records[-1].rows[-1] if signed[-1]["id"] == last else ()
        if not row or row[-1].get("fault") not in ENDING:
            raise Unacceptable("E_NOT_RUN", f"the conversation of {last} does not end in a fault that ends a run",
                               case=last)  # fmt: skip

    # ── re-judged ──

    def rejudge(self) -> None:
        if self.predicate["suite"]["digest"] != self.own.suite_digest:
            raise Unacceptable("E_REJUDGE_SUITE", "judging again needs the very suite of the run")
        with tempfile.TemporaryDirectory(prefix="llmasos-") as place:
            self._rejudge_all(Path(place))

    def same_bundle(self) -> None:
        """The verifier's copy of a bundle, if there is one, is the bundle that the report is about."""
        if self.bundle is None:
            return
        about = self.predicate.get("bundle")
        if about is None:
            raise Unacceptable("E_BUNDLE_OTHER", "a bundle was given, and the report is about none")
        from llmasos_conformance.probes import given  # imports NumPy, which `llmasos verify` starts without

        self._compare(given.read(self.bundle), about)

    def _compare(self, mine: Given, about: Mapping[str, Any]) -> None:
        own = mine.record()
        if own == about:
            return
        named = sorted(own["files"].keys() | about["files"].keys())
        files = [name for name in named if own["files"].get(name) != about["files"].get(name)]
        other = [*files, *(name for name in ("name", "architecture", "digest") if own[name] != about[name])]
        raise Unacceptable(
            "E_BUNDLE_OTHER",
            f"{self.bundle} is another bundle than the report says: {', '.join(other) or 'its files'} differs",
        )

    def _bundle_at_hand(self, room: Path) -> Given | None:
        """A copy of the bundle that the report is about; what becomes of the verifier's own changes nothing."""
        about = self.predicate.get("bundle")
        if about is None:
            return None
        if self.bundle is None:
            raise Unacceptable(
                "E_BUNDLE_ABSENT", f"judging again needs the bundle {clean(about['name'])}: --bundle DIR"
            )
        from llmasos_conformance.probes import given

        mine = given.read(self.bundle, room)
        self._compare(mine, about)
        return mine

    def _rejudge_all(self, place: Path) -> None:
        from llmasos_conformance import engine, suite
        from llmasos_conformance.candidate import EvidenceMismatch

        loaded = suite.load(self.own.suites)
        bench = bench_of(self.predicate, loaded, place, self._bundle_at_hand(place))
        records = {record.case: record for record in self.records}
        for number, made in enumerate(self.checks):
            if self.on_case is not None:
                self.on_case(number, len(self.checks))
            if made["outcome"] == "not_run":
                continue
            case = made["id"]
            held = evidence.exchanges(records[case]) if case in records else []
            try:
                again = engine.rejudge(bench, loaded.cases[case], held)
            except EvidenceMismatch as error:
                raise Unacceptable("E_CONVERSATION", f"{case}: {error.what}", case=case) from error
            earned = (again.state, again.example, again.fault)
            if earned != (made["outcome"], made.get("example"), made.get("fault", "")):
                raise Unacceptable(
                    "E_REJUDGE",
                    f"{case}: the report says {_decided(made['outcome'], made.get('example'))}, judged again it is "
                    f"{_decided(again.state, again.example)} {again.message}".rstrip(),
                    case=case,
                )
            stated = {name: float(text) for name, text in made["figures"].items()}
            due = {name: float(report.figure(value)) for name, value in again.figures.items()}
            dtype = self.predicate["candidate"]["claims"]["dtype"]
            wrong = [
                name
                for name in stated.keys() | due.keys()
                if not _near(stated.get(name), due.get(name), noise=_noise(name, dtype))
            ]
            if wrong:
                name = min(wrong)
                raise Unacceptable(
                    "E_FIGURE",
                    f"{case}: {name} is stated as {stated.get(name)}, judged again {due.get(name)}",
                    case=case,
                )
        if self.on_case is not None:
            self.on_case(len(self.checks), len(self.checks))


def bench_of(predicate: Mapping[str, Any], loaded: Suite, place: Path, bundle: Given | None = None) -> Bench:
    """What asks the questions of a verified report again: the run's seed and models, and the reference installed here.

    Args:
        loaded: the very suite of the run. place: for the models; it has to outlive the bench.
        bundle: that the report is about, where it is about one.
    """
    from llmasos_conformance import adapters, engine, reference, wire
    from llmasos_conformance.candidate import Candidate, Replay
    from llmasos_conformance.checks import registry
    from llmasos_conformance.probes import Library

    seed = predicate["run"]["seed"]
    description = wire.parse_description(predicate["candidate"], "the report")
    probes = Library(place, seed, bundle)
    return engine.Bench(
        suite=loaded,
        checks=registry(),
        candidate=Candidate(Replay(()), description, probes),
        reference=reference.connect(description.claims, probes, adapters.connect),
        seed=seed,
    )


def _texts(value: Any) -> None:
    """Complain of a text with something in it that no harness writes and an eye does not see."""
    if isinstance(value, str) and legible(value) != value:
        raise Unacceptable("E_TEXT", f"{clean(value, 80)!r} holds characters that deceive the eye")
    if isinstance(value, dict):
        _texts([*value.keys(), *value.values()])
    elif isinstance(value, list):
        for inner in value:
            _texts(inner)


def _decided(state: object, example: int | None) -> str:
    return f"{state}" if example is None else f"{state} at example {example}"


def _noise(name: str, dtype: str) -> float | None:
    """What a figure may differ by, in units of honest error; None for a share or count, which has no such unit."""
    if name not in HONEST_UNITS:
        return None
    return FIGURE_NOISE if dtype == "float64" else FIGURE_FLOOR


def _near(stated: float | None, due: float | None, *, noise: float | None) -> bool:
    """Whether two figures say the same; see `_noise`."""
    if stated is None or due is None:
        return False
    if stated == due or (stated != stated and due != due):
        return True
    low, high = sorted((abs(stated), abs(due)))
    if noise is None:
        return high < math.inf and abs(stated - due) <= SHARE_TOLERANCE * high
    return high - low <= noise or high <= low * FIGURE_FACTOR
