"""What verification accepts, and the reason code of everything that it refuses.

A small synthetic world (a frozen profile of five cases, evidence of tokenize calls) stands for suites that are not the
point here; judging again is tried on the shipped suites in test_certify.
"""

import gzip
import json
import shutil
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmasos_conformance import evidence, installed, isolation, policy, report, signing, verify
from llmasos_conformance.candidate import Exchange
from llmasos_conformance.canonical import Unacceptable, encode, sha256
from llmasos_conformance.errors import HarnessError, ReportError, SignatureError
from llmasos_conformance.protocol import Claims, Description
from llmasos_conformance.reasons import REASONS
from llmasos_conformance.verdict import Outcome, State

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ISOLATION = isolation.sentences(
    out_of_process=True, open_because="", adopted=True, pass_env=["CUDA_HOME", "A_B"], isolated=True
)
SUITE, REFERENCE, HARNESS = "a" * 64, "b" * 64, "c" * 64
DESCRIPTION = Description(
    name="acme",
    version="1",
    capabilities=frozenset({"tokenize", "batch"}),
    claims=Claims(),
    emulated={"batch": "a loop"},
)
PROFILE = {
    "profile": "core/demo",
    "version": "1",
    "requires": ["tokenize"],
    "cases": [
        {"id": "t.one", "requirement": "TOK-1", "level": "MUST", "needs": ["tokenize"], "digest": "0" * 64},
        {"id": "t.two", "requirement": "TOK-2", "level": "MUST", "needs": ["tokenize"], "digest": "1" * 64},
        {"id": "t.soft", "requirement": "TOK-3", "level": "SHOULD", "needs": ["tokenize"], "digest": "2" * 64},
        {"id": "t.batch", "requirement": "TOK-4", "level": "MUST", "needs": ["batch"], "digest": "3" * 64},
        {"id": "t.stream", "requirement": "TOK-5", "level": "MUST", "needs": ["stream"], "digest": "4" * 64},
    ],
}


class World:
    """A signed report on disk, the keys around it, and ways to change it."""

    def __init__(self, root: Path) -> None:
        self.root, self.directory = root, root / "report"
        self.suites = root / "suites"
        (self.suites / "profiles" / "core").mkdir(parents=True)
        (self.suites / "profiles" / "core" / "demo.json").write_text(json.dumps(PROFILE, indent=1))
        paths = policy.keygen(root / "keys", owner="acme", now=datetime(2026, 1, 1, tzinfo=UTC))
        self.trust_file = paths["trust"]
        self.key = signing.read_key(paths["key"])
        signing.write_key(root / "stranger.pem")
        self.stranger = signing.read_key(root / "stranger.pem")
        self.own = verify.Installed(self.suites, SUITE, REFERENCE, HARNESS)
        self.directory.mkdir()
        self.write()

    def write(self) -> None:
        store = evidence.Store(self.directory / evidence.FILE_NAME)
        outcomes = []
        for case in PROFILE["cases"][:4]:
            exchange = Exchange("tokenize", {"model": "m", "text": case["id"]}, result={"ids": [1, 2]})
            outcomes.append(
                Outcome(
                    case=case["id"], requirement=case["requirement"], level=case["level"], state=State.PASS,
                    figures={"ratio": 1.5}, evidence=store.add(case["id"], [[exchange]]),
                    emulated=("batch",) if case["id"] == "t.batch" else (),
                )
            )  # fmt: skip
        outcomes.append(
            Outcome(
                case="t.stream", requirement="TOK-5", level="MUST", state=State.NOT_DECLARED, message="not declared"
            )
        )
        facts = report.Facts(
            candidate=report.candidate_record(DESCRIPTION),
            adapter="d" * 64,
            suite={
                "name": "llmasos", "version": "1", "digest": SUITE, "profile": "core/demo",
                "profileDigest": installed.profile_digest(PROFILE),
            },
            reference={"name": "llmasos", "version": "1", "digest": REFERENCE},
            harness={"name": "h", "version": "1", "digest": HARNESS, "dependencies": {}},
            run={
                "id": "0" * 32, "startedAt": "2026-11-23T09:00:00Z", "finishedAt": "2026-11-23T09:01:00Z", "seed": "7",
                "mode": "certified", "isolation": ISOLATION,
            },
            environment={"os": "linux", "arch": "x", "python": "3", "threads": "1"},
        )  # fmt: skip
        self.payload = report.statement(facts, PROFILE, outcomes, store.close())
        self.sign(self.payload, self.key)

    @property
    def envelope(self) -> Path:
        return self.directory / report.ENVELOPE_NAME

    def content(self):
        return json.loads(self.payload)

    def sign(self, payload, key) -> None:
        self.envelope.write_bytes(signing.sign(payload, key))
        (self.directory / report.SIGNER_NAME).write_bytes(signing.public_pem(signing.public_bytes(key)))

    def resign(self, change, *, key=None, consistent=False) -> None:
        """Change the content and sign it again; `consistent` makes roots, counts and verdict fit the lie."""
        content = self.content()
        content = change(content) or content
        predicate = content["predicate"]
        if consistent:
            predicate["checksRoot"] = report.checks_root(predicate["checks"])
            predicate["summary"] = report.summary(predicate["checks"])
            predicate["emulated"] = sum(1 for made in predicate["checks"] if made["emulated"])
            predicate["verdict"] = str(report.verdict_of(PROFILE, predicate["checks"]))
            content["subject"][0]["digest"]["sha256"] = sha256(encode(predicate["candidate"]))
        self.sign(encode(content), key or self.key)

    def verify(self, *, trust=True, level="evidence", now=NOW, **changes):
        trusted = policy.read_trust(self.trust_file) if trust is True else trust
        own = replace(self.own, **changes)
        return verify.verify(self.directory, now=now, own=own, trust=trusted, level=level)

    def codes(self, **options):
        result = self.verify(**options)
        return [reason.code for reason in result.reasons]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def check(content, number):
    return content["predicate"]["checks"][number]


# ── what is accepted ──


def test_a_good_report_climbs_to_evidence_and_is_accepted(world):
    result = world.verify()
    assert (result.accepted, result.exit_code, result.level, result.reasons) == (True, 0, "evidence", [])
    assert result.signer.owner == "acme"
    assert result.report_id == sha256(world.payload)


def test_the_envelope_may_be_given_instead_of_its_directory(world):
    assert verify.verify(world.envelope, now=NOW, own=world.own, trust=policy.read_trust(world.trust_file)).accepted


def test_a_respelled_envelope_is_the_same_report(world):
    before = world.verify().report_id
    loose = json.loads(world.envelope.read_bytes())
    safe = str.maketrans("+/", "-_")
    loose["payload"] = loose["payload"].translate(safe)
    loose["signatures"] = [{"sig": "AAAA"}, {"sig": loose["signatures"][0]["sig"], "keyid": "x"}]
    loose["extra"] = {"a": [1.5]}
    world.envelope.write_text(json.dumps(loose, indent=4))
    result = world.verify()
    assert result.accepted
    assert result.report_id == before


def test_the_key_beside_the_report_decides_nothing_when_a_trusted_key_signed(world):
    (world.directory / report.SIGNER_NAME).write_bytes(signing.public_pem(signing.public_bytes(world.stranger)))
    assert world.verify().accepted
    (world.directory / report.SIGNER_NAME).unlink()
    assert world.verify().accepted


def test_evidence_may_be_packed_in_another_way(world):
    path = world.directory / evidence.FILE_NAME
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    assert world.verify().accepted


def test_without_evidence_the_suite_rung_can_still_be_reached(world):
    (world.directory / evidence.FILE_NAME).unlink()
    assert world.codes() == ["E_EVIDENCE_MISSING"]
    result = world.verify(level="suite")
    assert (result.accepted, result.level) == (True, "suite")


def test_a_failed_should_changes_nothing(world):
    world.resign(lambda c: check(c, 2).update(outcome="fail"), consistent=True)
    assert world.verify().accepted


def test_an_honest_non_conformant_report_is_authentic_and_exits_4(world):
    world.resign(lambda c: check(c, 0).update(outcome="fail"), consistent=True)
    result = world.verify()
    assert (result.exit_code, result.reasons, result.level) == (4, [], "evidence")


def test_an_honest_incomplete_report_exits_4(world):
    world.resign(lambda c: check(c, 0).update(outcome="inconclusive"), consistent=True)
    assert world.verify().exit_code == 4


def test_an_undeclared_but_required_case_makes_it_incomplete_and_not_conformant(world):
    def change(content):
        content["predicate"]["candidate"]["capabilities"] = ["batch"]
        for number in range(3):
            del check(content, number)["evidence"]
            check(content, number)["outcome"] = "not_declared"

    world.resign(change, consistent=True)
    assert world.verify(level="suite").content["predicate"]["verdict"] == "incomplete"
    assert world.verify(level="suite").exit_code == 4


def test_another_harness_or_reference_is_noted_and_not_held_against_it(world):
    result = world.verify(harness_digest="e" * 64, reference_digest="e" * 64)
    assert result.accepted
    assert len(result.notes) == 2


def trust_with(world, **changes):
    document = json.loads(world.trust_file.read_text())
    document["keys"][0].update(changes)
    path = world.root / "trust2.json"
    path.write_text(json.dumps(document))
    return policy.read_trust(path)


def test_an_accepted_suite_digest_is_enough_when_the_profile_is_the_same(world):
    trust = replace(policy.read_trust(world.trust_file), suites=frozenset({SUITE}))
    assert world.verify(trust=trust, suite_digest="e" * 64).accepted


@pytest.fixture
def later(world):
    """The world after version 2, which froze the profile anew without t.one and t.soft and withdrew t.one."""
    old = world.suites / "profiles" / "core" / "demo.json"
    kept = world.suites / "superseded" / "1.0.0" / "core" / "demo.json"
    kept.parent.mkdir(parents=True)
    old.rename(kept)
    fewer = [case for case in PROFILE["cases"] if case["id"] not in ("t.one", "t.soft")]
    old.write_text(json.dumps({**PROFILE, "version": "2.0.0", "cases": fewer}))
    cases = {
        case["id"]: {"since": "1.0.0", "digest": case["digest"]}
        | ({"withdrawn": "2.0.0"} if case["id"] == "t.one" else {})
        for case in PROFILE["cases"]
    }
    register = {"versions": ["1.0.0", "2.0.0"], "requirements": {}, "cases": cases, "profiles": {}}
    (world.suites / "published.json").write_text(json.dumps(register))
    return world


def test_a_report_of_an_earlier_version_is_held_against_the_profile_of_its_time(later):
    trust = replace(policy.read_trust(later.trust_file), suites=frozenset({SUITE}))
    result = later.verify(trust=trust, suite_digest="e" * 64)
    assert (result.accepted, result.level) == (True, "evidence")
    assert result.notes == ["t.one was withdrawn in 2.0.0; the verdict of this report counts it still"]


def test_a_report_of_an_earlier_version_needs_a_verifier_who_accepts_it(later):
    assert later.codes(suite_digest="e" * 64) == ["E_SUITE_DIGEST"]


def test_a_report_of_todays_suite_cannot_choose_an_earlier_profile(later):
    assert later.codes() == ["E_PROFILE"]


def test_a_superseded_profile_with_other_content_is_no_help(later):
    trust = replace(policy.read_trust(later.trust_file), suites=frozenset({SUITE}))
    path = later.suites / "superseded" / "1.0.0" / "core" / "demo.json"
    path.write_text(path.read_text().replace("TOK-2", "TOK-9"))
    result = later.verify(trust=trust, suite_digest="e" * 64)
    assert [reason.code for reason in result.reasons] == ["E_PROFILE"]


def test_a_key_narrowed_to_this_candidate_and_profile_is_enough(world):
    assert world.verify(trust=trust_with(world, candidates=["acme"], profiles=["core/demo"])).accepted


def test_a_public_key_as_pem_in_the_trust_file_is_enough(world):
    pem = signing.public_pem(signing.public_bytes(world.key)).decode()
    assert world.verify(trust=trust_with(world, pub=pem)).accepted


def test_a_clock_a_little_behind_is_forgiven(world):
    assert world.verify(now=datetime(2026, 11, 23, 8, 58, tzinfo=UTC)).accepted


# ── who signed ──


def test_without_trust_it_is_integrity_only_and_exits_3(world):
    result = world.verify(trust=None)
    assert (result.exit_code, result.level, result.signer) == (3, "integrity", None)
    assert [reason.code for reason in result.reasons] == ["E_SIGNER_UNKNOWN"]
    assert "integrity only, signer unknown" in result.reasons[0].message
    assert result.ladder["evidence"] == "reached"  # what it would be worth if the signer were known


def test_without_any_key_nothing_is_read(world):
    (world.directory / report.SIGNER_NAME).unlink()
    result = world.verify(trust=None)
    assert (result.exit_code, result.level, result.content) == (3, "none", None)


def test_a_stranger_who_signs_a_flipped_outcome_stays_a_stranger(world):
    world.resign(lambda c: check(c, 0).update(outcome="pass"), key=world.stranger, consistent=True)
    result = world.verify()
    assert ([reason.code for reason in result.reasons], result.exit_code) == (["E_SIGNER_UNKNOWN"], 3)


def test_a_stranger_under_a_trusted_key_id_is_a_bad_signature(world):
    forged = json.loads(signing.sign(world.payload, world.stranger))
    forged["signatures"][0]["keyid"] = signing.key_id(signing.public_bytes(world.key))
    world.envelope.write_text(json.dumps(forged))
    assert world.codes() == ["E_SIGNATURE"]
    (world.directory / report.SIGNER_NAME).unlink()
    assert world.codes() == ["E_SIGNATURE"]


def test_changed_bytes_are_a_bad_signature_with_and_without_trust(world):
    envelope = json.loads(world.envelope.read_bytes())
    other = world.payload.replace(b'"outcome":"pass"', b'"outcome":"fail"', 1)
    import base64

    envelope["payload"] = base64.b64encode(other).decode()
    world.envelope.write_text(json.dumps(envelope))
    assert world.codes() == ["E_SIGNATURE"]
    assert world.verify(trust=None).exit_code == 1


def test_a_key_of_low_order_beside_the_report_is_refused(world):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    forged = json.loads(world.envelope.read_bytes())
    import base64

    identity = (1).to_bytes(32, "little")
    forged["signatures"] = [{"sig": base64.b64encode(identity + bytes(32)).decode()}]
    world.envelope.write_text(json.dumps(forged))
    pem = signing.public_pem(identity)
    Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"anything")  # OpenSSL sees no harm
    (world.directory / report.SIGNER_NAME).write_bytes(pem)
    assert world.codes(trust=None) == ["E_KEY"]


POLICY = {
    "E_KEY_NOT_YET": {"notBefore": "2026-11-23T10:00:00Z"},
    "E_KEY_EXPIRED": {"notAfter": "2026-11-23T09:00:30Z"},
    "E_SCOPE": {"candidates": ["other"]},
}


@pytest.mark.parametrize("code", POLICY)
def test_a_key_outside_its_time_or_scope_does_not_meet_the_policy(code, world):
    result = world.verify(trust=trust_with(world, **POLICY[code]))
    assert ([reason.code for reason in result.reasons], result.exit_code, result.level) == ([code], 3, "integrity")


def test_a_key_for_other_profiles_does_not_meet_the_policy(world):
    assert world.codes(trust=trust_with(world, profiles=["quick"])) == ["E_SCOPE"]


def test_pinned_digests_are_held_against_the_report(world):
    trust = policy.read_trust(world.trust_file)
    assert world.codes(trust=replace(trust, references=frozenset({"e" * 64}))) == ["E_REFERENCE"]
    assert world.codes(trust=replace(trust, harnesses=frozenset({"e" * 64}))) == ["E_HARNESS"]
    assert world.verify(trust=replace(trust, harnesses=frozenset({HARNESS}))).accepted


def test_a_self_test_certifies_nothing(world):
    world.resign(lambda c: c["predicate"]["run"].update(mode="self-test"))
    assert (world.codes(), world.verify().exit_code) == (["E_MODE"], 3)


# ── form ──


def test_a_report_that_is_not_there_is_a_usage_error(world):
    with pytest.raises(ReportError):
        verify.verify(world.root / "nowhere", now=NOW, own=world.own)


def test_an_unsigned_run_says_so(world):
    world.envelope.unlink()
    (world.directory / report.STATEMENT_NAME).write_bytes(world.payload)
    assert (world.codes(), world.verify().exit_code) == (["E_UNSIGNED"], 2)


RAW = {
    "not canonical": (lambda p: p.replace(b":", b": ", 1), "E_CANONICAL"),
    "another order of keys": (
        lambda p: json.dumps(dict(reversed(json.loads(p).items())), separators=(",", ":")).encode(),
        "E_CANONICAL",
    ),
    "an escaped letter": (lambda p: p.replace(b'"acme"', b'"\\u0061cme"', 1), "E_CANONICAL"),
    "a lone surrogate": (lambda p: p.replace(b'"acme"', b'"\\ud800"', 1), "E_SCHEMA"),
    "verdict twice": (lambda p: p.replace(b'"verdict":', b'"verdict":"incomplete","verdict":', 1), "E_DUPLICATE"),
    "NaN": (lambda p: p.replace(b'"emulated":1', b'"emulated":NaN', 1), "E_NUMBER"),
    "a float": (lambda p: p.replace(b'"emulated":1,', b'"emulated":1.0,', 1), "E_NUMBER"),
    "2^53+1": (lambda p: p.replace(b'"emulated":1,', b'"emulated":9007199254740993,', 1), "E_NUMBER"),
    "200,000 levels": (lambda p: b"[" * 200_000 + b"]" * 200_000, "E_DEPTH"),
    "no object": (lambda p: b"[]", "E_STATEMENT"),
    "rest": (lambda p: p + b"\n{}", "E_JSON"),
    "a mark at the start": (lambda p: b"\xef\xbb\xbf" + p, "E_BOM"),
}  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_signed_bytes_of_the_wrong_form_are_malformed(name, world):
    change, code = RAW[name]
    changed = change(world.payload)
    assert changed != world.payload
    world.sign(changed, world.key)
    assert (world.codes(), world.verify().exit_code) == ([code], 2)


def put(*path_and_value):
    *path, value = path_and_value

    def change(content):
        target = content
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

    return change


def drop(*path):
    def change(content):
        target = content
        for step in path[:-1]:
            target = target[step]
        del target[path[-1]]

    return change


FORM = {
    "statement v0.1": (put("_type", "https://in-toto.io/Statement/v0.1"), "E_STATEMENT"),
    "another predicate": (put("predicateType", "https://in-toto.io/attestation/test-result/v0.1"), "E_STATEMENT"),
    "no subject": (put("subject", []), "E_SCHEMA"),
    "a digest in capitals": (put("subject", 1, "digest", "sha256", "D" * 64), "E_SCHEMA"),
    "a further digest": (put("subject", 1, "digest", "sha1", "d" * 40), "E_SCHEMA"),
    "unknown field at the top": (put("assurance", "high"), "E_SCHEMA"),
    "unknown field in the predicate": (put("predicate", "assurance", "high"), "E_SCHEMA"),
    "unknown field in a check": (put("predicate", "checks", 0, "waiver", "W-1"), "E_SCHEMA"),
    "foreign schema version": (put("predicate", "schemaVersion", "2.0"), "E_SCHEMA"),
    "outcome passed": (put("predicate", "checks", 0, "outcome", "passed"), "E_SCHEMA"),
    "verdict PASSED": (put("predicate", "verdict", "PASSED"), "E_SCHEMA"),
    "no verdict": (drop("predicate", "verdict"), "E_SCHEMA"),
    "a check without level": (drop("predicate", "checks", 0, "level"), "E_SCHEMA"),
    "no checks": (put("predicate", "checks", []), "E_SCHEMA"),
    "an id with markup": (put("predicate", "checks", 0, "id", "<script>"), "E_SCHEMA"),
    "an id with an escape": (put("predicate", "checks", 0, "message", "\x1b[2J"), "E_SCHEMA"),
    "a name that runs backwards": (put("predicate", "candidate", "name", "a\u202eb"), "E_SCHEMA"),
    "a time with an offset": (put("predicate", "run", "startedAt", "2026-11-23T09:00:00+00:00"), "E_SCHEMA"),
    "a figure in another spelling": (put("predicate", "checks", 0, "figures", {"ratio": "1.5"}), "E_SCHEMA"),
    "a negative count": (put("predicate", "emulated", -1), "E_SCHEMA"),
    "a count that is true": (put("predicate", "emulated", True), "E_SCHEMA"),
    "a claim of another dtype": (put("predicate", "candidate", "claims", "dtype", "int8"), "E_SCHEMA"),
}


@pytest.mark.parametrize("name", FORM)
def test_content_outside_the_closed_schema_is_malformed(name, world):
    change, code = FORM[name]
    world.resign(change)
    assert (world.codes(), world.verify().exit_code) == ([code], 2)


# ── substance ──

CHECKS = ("predicate", "checks")


def swapped(content):
    checks = content["predicate"]["checks"]
    checks[0], checks[1] = checks[1], checks[0]


def twice(content):
    content["predicate"]["checks"].insert(1, deepcopy(check(content, 0)))


def invented(content):
    content["predicate"]["checks"].append({**check(content, 0), "id": "t.invented"})


def renamed_emulation(content):
    check(content, 3)["emulated"] = []


def hidden(first, **before):
    """From a case on everything is not_run; `before` changes the case ahead of it."""

    def change(content):
        if first:
            check(content, first - 1).update(before)
        for made in content["predicate"]["checks"][first:]:
            made["outcome"] = "not_run"
            made.pop("evidence", None)

    return change


SELF_TEST = isolation.sentences(
    out_of_process=False, open_because=isolation.OPEN[-1], adopted=False, pass_env=(), isolated=False
)
SUBSTANCE = {
    "another subject": (put("subject", 0, "digest", "sha256", "e" * 64), False, "E_SUBJECT"),
    "the adapter twice": (put("subject", 0, "name", "adapter"), False, "E_SUBJECT"),
    "another candidate's name": (put("predicate", "candidate", "name", "better"), False, "E_SUBJECT"),
    "finish before start": (put("predicate", "run", "finishedAt", "2026-11-23T08:59:59Z"), False, "E_TIME"),
    "finish in the future": (put("predicate", "run", "finishedAt", "2026-11-23T12:06:00Z"), False, "E_TIME"),
    "30 February": (put("predicate", "run", "startedAt", "2026-02-30T09:00:00Z"), False, "E_TIME"),
    "25 o'clock": (put("predicate", "run", "startedAt", "2026-11-22T25:00:00Z"), False, "E_TIME"),
    "another suite": (put("predicate", "suite", "digest", "e" * 64), False, "E_SUITE_DIGEST"),
    "an unknown profile": (put("predicate", "suite", "profile", "core/easy"), False, "E_PROFILE"),
    "another content of the profile": (put("predicate", "suite", "profileDigest", "e" * 64), False, "E_PROFILE"),
    "a case removed": (drop(*CHECKS, 1), True, "E_CHECK_MISSING"),
    "a case invented": (invented, True, "E_CHECK_ADDED"),
    "a case renamed": (put(*CHECKS, 1, "id", "t.renamed"), True, "E_CHECK_MISSING"),
    "a case twice": (twice, True, "E_CHECK_DUPLICATE"),
    "cases reordered": (swapped, True, "E_CHECK_ORDER"),
    "a MUST made a SHOULD": (put(*CHECKS, 1, "level", "SHOULD"), True, "E_LEVEL"),
    "another requirement": (put(*CHECKS, 1, "requirement", "TOK-9"), True, "E_LEVEL"),
    "waived": (put(*CHECKS, 1, "outcome", "waived"), True, "E_WAIVED"),
    "failure hidden as undeclared": (put(*CHECKS, 3, "outcome", "not_declared"), True, "E_NOT_DECLARED"),
    "pass of what is undeclared": (put(*CHECKS, 4, "outcome", "pass"), True, "E_NOT_DECLARED"),
    "emulation not marked": (renamed_emulation, True, "E_EMULATED"),
    "emulation invented": (put(*CHECKS, 0, "emulated", ["tokenize"]), True, "E_EMULATED"),
    "outcome flipped alone": (put(*CHECKS, 0, "outcome", "fail"), False, "E_CHECKS_ROOT"),
    "figure changed alone": (put(*CHECKS, 0, "figures", {"ratio": "9.99e-01"}), False, "E_CHECKS_ROOT"),
    "root of another run": (put("predicate", "checksRoot", "e" * 64), False, "E_CHECKS_ROOT"),
    "summary inflated": (put("predicate", "summary", "pass", 5), False, "E_SUMMARY"),
    "emulated count lowered": (put("predicate", "emulated", 0), False, "E_SUMMARY"),
    "failed though all passed": (put("predicate", "verdict", "non_conformant"), False, "E_VERDICT"),
    "evidence digest of a case changed": (put(*CHECKS, 0, "evidence", "e" * 64), True, "E_EVIDENCE_DIGEST"),
    "evidence of a case unsigned": (drop(*CHECKS, 0, "evidence"), True, "E_EVIDENCE_MISSING"),
    "evidence for what was not tried": (put(*CHECKS, 4, "evidence", "e" * 64), True, "E_EVIDENCE_CASE"),
    "a failure hidden as not_run": (put(*CHECKS, 2, "outcome", "not_run"), True, "E_NOT_RUN"),
    "all after a pass hidden as not_run": (hidden(2), True, "E_NOT_RUN"),
    "a run that never began": (hidden(0), True, "E_NOT_RUN"),
    "a stop after an error of the harness": (hidden(2, outcome="error", fault="harness"), True, "E_NOT_RUN"),
    "nothing said of isolation": (put("predicate", "run", "isolation", []), False, "E_ISOLATION"),
    "isolation invented": (put("predicate", "run", "isolation", 0, "In a vault."), False, "E_ISOLATION"),
    "a gap in isolation left out": (drop("predicate", "run", "isolation", -1), False, "E_ISOLATION"),
    "isolation of a self-test": (
        put("predicate", "run", "isolation", SELF_TEST),
        False,
        "E_ISOLATION",
    ),
    "evidence root changed": (put("predicate", "evidenceRoot", "e" * 64), True, "E_EVIDENCE_ROOT"),
}  # fmt: skip


@pytest.mark.parametrize("name", SUBSTANCE)
def test_a_lie_signed_by_a_trusted_key_is_rejected(name, world):
    change, consistent, code = SUBSTANCE[name]
    world.resign(change, consistent=consistent)
    assert (world.codes(), world.verify().exit_code) == ([code], 1)


@pytest.mark.parametrize("state", ["fail", "error", "inconclusive"])
def test_a_must_that_did_not_pass_under_a_conformant_verdict_is_rejected(state, world):
    def change(content):
        check(content, 0)["outcome"] = state
        predicate = content["predicate"]
        predicate["checksRoot"] = report.checks_root(predicate["checks"])
        predicate["summary"] = report.summary(predicate["checks"])

    world.resign(change)
    assert world.codes(level="suite") == ["E_VERDICT"]


def test_an_edited_suite_is_not_the_verifiers_own(world):
    assert world.codes(suite_digest="e" * 64) == ["E_SUITE_DIGEST"]


def test_an_edited_profile_is_not_the_one_of_the_run(world):
    path = world.suites / "profiles" / "core" / "demo.json"
    path.write_text(path.read_text().replace('"MUST"', '"MAY"', 1))
    assert world.codes() == ["E_PROFILE"]


@pytest.mark.parametrize("fault", ["died", "timeout", "protocol"])
def test_a_run_that_stopped_at_a_fault_is_authentic_and_incomplete(fault, world):
    store = evidence.Store(world.directory / evidence.FILE_NAME)
    digest = store.add("t.one", [[Exchange("tokenize", {"model": "m", "text": "a"}, fault=fault)]])
    root = store.close()

    def change(content):
        made = {"outcome": "fail"} if fault == "died" else {"outcome": "error", "fault": fault}
        hidden(1, **made, evidence=digest)(content)
        content["predicate"]["evidenceRoot"] = root

    world.resign(change, consistent=True)
    assert (world.codes(), world.verify().exit_code) == ([], 4)


@pytest.mark.parametrize("end", [{"fault": "raised"}, {"refusal": "unsupported"}, {"result": {"ids": [1]}}])
@pytest.mark.parametrize("made", [{"outcome": "fail"}, {"outcome": "error", "fault": "timeout"}])
def test_a_run_that_stopped_without_a_fault_in_its_last_conversation_is_rejected(made, end, world):
    store = evidence.Store(world.directory / evidence.FILE_NAME)
    digest = store.add("t.one", [[Exchange("tokenize", {"model": "m", "text": "a"}, **end)]])
    root = store.close()

    def change(content):
        hidden(1, **made, evidence=digest)(content)
        content["predicate"]["evidenceRoot"] = root

    world.resign(change, consistent=True)
    assert world.codes() == ["E_NOT_RUN"]


# ── evidence ──


def lines_of(world):
    return gzip.decompress((world.directory / evidence.FILE_NAME).read_bytes()).split(b"\n")[:-1]


EVIDENCE = {
    "an answer edited": (lambda rows: [rows[0].replace(b"[1,2]", b"[1,3]"), *rows[1:]], "E_EVIDENCE_DIGEST"),
    "a line missing": (lambda rows: rows[1:], "E_EVIDENCE_MISSING"),
    "two lines swapped": (lambda rows: [rows[1], rows[0], *rows[2:]], "E_EVIDENCE_MISSING"),
    "a line twice": (lambda rows: [rows[0], *rows], "E_EVIDENCE_CASE"),
    "a line under another case": (
        lambda rows: [rows[0].replace(b"t.one", b"t.two", 1), *rows[1:]],
        "E_EVIDENCE_DIGEST",
    ),
    "a line for a foreign case": (lambda rows: [*rows, rows[0].replace(b"t.one", b"t.xyz", 1)], "E_EVIDENCE_CASE"),
    "a line for what was not tried": (
        lambda rows: [*rows, rows[0].replace(b"t.one", b"t.stream", 1)],
        "E_EVIDENCE_CASE",
    ),
    "the last line missing": (lambda rows: rows[:-1], "E_EVIDENCE_MISSING"),
    "a blank": (lambda rows: [rows[0] + b" ", *rows[1:]], "E_EVIDENCE_DIGEST"),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_evidence_that_is_not_the_signed_one_is_rejected(name, world):
    change, code = EVIDENCE[name]
    rows = b"".join(row + b"\n" for row in change(lines_of(world)))
    (world.directory / evidence.FILE_NAME).write_bytes(gzip.compress(rows))
    assert (world.codes(), world.verify().exit_code) == ([code], 1)


def test_evidence_of_another_run_is_rejected(world, tmp_path_factory):
    other = World(tmp_path_factory.mktemp("other"))
    exchange = Exchange("tokenize", {"model": "m", "text": "other"}, result={"ids": [1]})
    store = evidence.Store(other.directory / evidence.FILE_NAME)
    store.add("t.one", [[exchange]])
    store.close()
    shutil.copy(other.directory / evidence.FILE_NAME, world.directory / evidence.FILE_NAME)
    assert world.codes() == ["E_EVIDENCE_DIGEST"]


# ── the result ──


def test_the_json_result_has_stable_keys(world):
    made = world.verify().as_json()
    assert list(made) == [
        "schemaVersion", "accepted", "exitCode", "level", "ladder", "reasons", "notes", "signer", "key", "report",
        "notProven",
    ]  # fmt: skip
    assert [rung["rung"] for rung in made["ladder"]] == ["integrity", "signer", "suite", "evidence", "re-judged"]
    assert made["report"]["verdict"] == "conformant"
    json.dumps(made)


def test_nothing_in_a_rejected_report_reaches_a_higher_rung(world):
    world.resign(SUBSTANCE["a case removed"][0], consistent=True)
    result = world.verify()
    assert (result.level, result.ladder["suite"], result.ladder["evidence"]) == ("signer", "failed", "not checked")


def test_a_level_below_suite_cannot_be_asked_for(world):
    with pytest.raises(HarnessError):
        world.verify(level="integrity")


# ── the trust file ──

TRUST = {
    "no keys": lambda t: t.update(keys=[]),
    "an unknown field": lambda t: t.update(levels={}),
    "another algorithm": lambda t: t["keys"][0].update(alg="ml-dsa-44"),
    "an unknown role": lambda t: t["keys"][0].update(role="god"),
    "a digest in capitals": lambda t: t.update(accept={"suites": ["A" * 64]}),
    "an empty list of digests": lambda t: t.update(accept={"suites": []}),
    "another version": lambda t: t.update(schemaVersion="2.0"),
    "no owner": lambda t: t["keys"][0].pop("owner"),
}
BAD_KEYS = {
    "no base64": lambda t: t["keys"][0].update(pub="!" * 44),
    "low order": lambda t: t["keys"][0].update(pub="AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    "the same key under two ids": lambda t: t["keys"].append({**t["keys"][0], "id": "again"}),
    "the same id for two keys": lambda t: t["keys"].append({**t["keys"][0]}),
    "30 February": lambda t: t["keys"][0].update(notAfter="2027-02-30T00:00:00Z"),
    "an end before the start": lambda t: t["keys"][0].update(notAfter="2020-01-01T00:00:00Z"),
}


def rewritten(world, change):
    document = json.loads(world.trust_file.read_text())
    change(document)
    path = world.root / "trust2.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("name", TRUST)
def test_a_trust_file_outside_its_schema_is_refused(name, world):
    with pytest.raises(Unacceptable) as caught:
        policy.read_trust(rewritten(world, TRUST[name]))
    assert caught.value.code == "E_TRUST"


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_cannot_be_trusted_is_refused_with_the_trust_file(name, world):
    with pytest.raises(SignatureError):
        policy.read_trust(rewritten(world, BAD_KEYS[name]))


def test_a_trust_file_that_is_missing_or_no_strict_json_is_refused(world):
    with pytest.raises(ReportError):
        policy.read_trust(world.root / "none.json")
    (world.root / "t.json").write_text('{"keys": [], "keys": []}')
    with pytest.raises(Unacceptable, match="twice"):
        policy.read_trust(world.root / "t.json")


def test_verification_imports_neither_numpy_nor_yaml():
    import subprocess
    import sys

    roots = [str(Path(verify.__file__).parents[1])]
    code = (
        f"import sys; sys.path += {roots!r}; import llmasos_conformance.verify; "
        "sys.exit(sorted({'numpy', 'yaml', 'click', 'rich', 'jsonschema', 'pytest'} & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-I", "-c", code], check=False).returncode == 0


def test_every_exit_code_of_a_reason_is_one_of_the_table():
    assert {exit_code for exit_code, _, _ in REASONS.values()} == {1, 2, 3}


@pytest.mark.parametrize(
    ("name", "dtype", "stated", "due", "same"),
    [
        ("peak", "float64", 0.0, 1.05, True),  # two honest float64 references, on two builds of BLAS
        ("ratio", "float64", 3.0, 6.0, True),
        ("ratio", "float64", 40.0, 79.0, True),
        ("ratio", "float64", 0.5, 4.0, False),
        ("ratio", "float64", 90.0, 0.5, False),
        ("ratio", "float64", float("inf"), float("inf"), True),
        ("ratio", "float64", float("nan"), float("nan"), True),
        ("ratio", "float64", float("nan"), 1.0, False),
        ("ratio", "float64", float("inf"), 9.0, False),
        ("ratio", "float64", None, 0.0, False),
        ("ratio", "float64", 0.0, None, False),
        ("position", "float32", 0.1, 0.6, True),
        ("position", "float32", 0.6, 1.2, True),
        ("position", "float32", 0.9, 3.0, False),
        ("share", "float64", 0.5, 0.5004, True),
        ("share", "float64", 0.5, 0.51, False),
        ("share", "float32", 0.0, 0.1, False),
        ("share", "float32", 0.0, 0.0, True),
        ("share", "float32", float("inf"), 1.0, False),
    ],
)
def test_figures_agree_within_what_two_references_differ_by_and_shares_agree_outright(name, dtype, stated, due, same):
    assert verify._near(stated, due, noise=verify._noise(name, dtype)) is same


@pytest.mark.parametrize(
    "text",
    [
        "a\u061cb", "a\u00adb", "a\u180eb", "a\ufff9b", "a\U000e0041b", "a\u034fb", "a\u3164b", "a\ue000b", "a\u0378b",
        "a\U000f0000b", "a\U0010ffffb", "a" + "\u0301" * 9, "a\u2800b", "",
    ],
)  # fmt: skip
def test_a_text_that_deceives_the_eye_is_malformed(text, world):
    world.resign(put("predicate", "candidate", "version", text))
    assert world.codes()[0] in ("E_SCHEMA", "E_TEXT")
    assert world.verify().exit_code == 2


@pytest.mark.parametrize("text", ["1.0", "模型 2", "é", "e\u0301", "👍🏽", "ไม้"])
def test_an_honest_text_in_any_script_is_accepted(text, world):
    world.resign(put("predicate", "candidate", "version", text), consistent=True)
    assert world.verify().accepted


def test_what_is_not_proven_names_the_answers_and_the_times():
    assert "that the recorded answers are the candidate's at all" in verify.NOT_PROVEN
    assert "the times" in verify.NOT_PROVEN
