"""Certified runs, from an adapter to a signed report that a stranger judges again.

A frozen profile of a few shipped cases keeps them short. Candidates that misbehave are the reference with one fault.
"""

import base64
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmasos_conformance import (
    adapters,
    certify,
    cli,
    evidence,
    installed,
    isolation,
    policy,
    report,
    signing,
    suite,
    verify,
)
from llmasos_conformance.adapters import serving
from llmasos_conformance.adapters.answering import Desk
from llmasos_conformance.adapters.digest import adapter_digest
from llmasos_conformance.adapters.inprocess import InProcess
from llmasos_conformance.adapters.reference import ReferenceAdapter
from llmasos_conformance.canonical import encode, merkle_root, sha256
from llmasos_conformance.errors import AddressError, ReportError, SignatureError, SuiteError
from llmasos_conformance.verdict import State, Verdict

CASES = ["api.temperature.zero-ties", "attention.order", "contracts.empty.forward", "greedy.ties.*"]
START, END = datetime(2026, 11, 23, 9, tzinfo=UTC), datetime(2026, 11, 23, 9, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Suites with a small profile, a key and its trust file."""
    root = tmp_path_factory.mktemp("certify")
    shutil.copytree(installed.suites(), root / "suites")
    suite.freeze("tiny", directory=root / "suites", requires=["load_model", "forward", "generate_ids"], match=CASES)
    policy.keygen(root / "keys", owner="acme", now=datetime(2026, 1, 1, tzinfo=UTC))
    return root


@pytest.fixture
def order(place, tmp_path):
    def make(adapter="reference", **changes):
        defaults = {
            "adapter": adapter, "profile": "tiny", "out": tmp_path / "report", "seed": "7",
            "key": place / "keys" / "key.pem", "suites": place / "suites", "directory": tmp_path,
        }  # fmt: skip
        return certify.Order(**(defaults | changes))

    return make


def clock():
    """A clock that says START, then END."""
    times = iter([START, END])
    return lambda: next(times)


def run(made):
    return certify.certify(made, clock=clock())


def candidate(directory, body, name="fault.py"):
    """An adapter file: the reference with a fault."""
    text = f"""
import os, sys, time
from llmasos_conformance.adapters.reference import ReferenceAdapter, ReferenceModel
from llmasos_conformance.protocol import Claims, Description, Refusal

class Model:
    def __init__(self, inner): self.inner = inner
    def __getattr__(self, name): return getattr(self.inner, name)

class Mine:
    def __init__(self): self.inner = ReferenceAdapter("float32")
    def describe(self): return self.inner.describe()
    def load_model(self, path): return Model(self.inner.load_model(path))

{body}
"""
    (directory / name).write_text(text)
    return f"./{name}:Mine"


def check_result(place, directory, **options):
    own, trust = verify.Installed.here(place / "suites"), policy.read_trust(place / "keys" / "trust.json")
    return verify.verify(directory, now=NOW, own=own, trust=trust, **options)


# ── a certified run of the reference, made once ──


@pytest.fixture(scope="module")
def certified(place):
    """The report of `llmasos certify`, run as a user runs it."""
    command = [
        sys.executable, "-m", "llmasos_conformance.cli", "certify", "--adapter", "reference:float32/split-k",
        "--profile", "tiny",
        "--suites", str(place / "suites"), "--key", str(place / "keys" / "key.pem"), "--seed", "7", "--out",
        str(place / "certified"), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(SECRET="hunter2"))
    assert done.returncode == 0, done.stderr
    return place / "certified", json.loads(done.stdout)


def environment(**more):
    roots = os.pathsep.join(isolation.roots())
    return {**os.environ, "PYTHONPATH": roots, "OMP_NUM_THREADS": "1", **more}


def statement_of(directory):
    return json.loads(signing.open_envelope((directory / report.ENVELOPE_NAME).read_bytes()).payload)


def test_a_certified_run_is_isolated_signed_and_accepted_to_the_last_rung(certified, place):
    directory, said = certified
    now = datetime.now(UTC)
    trust = policy.read_trust(place / "keys" / "trust.json")
    result = verify.verify(
        directory, now=now, own=verify.Installed.here(place / "suites"), trust=trust, level="re-judged"
    )
    assert (result.reasons, result.level, result.exit_code) == ([], "re-judged", 0)
    assert (said["verdict"], said["mode"], said["signed"], said["id"]) == (
        "conformant",
        "certified",
        True,
        result.report_id,
    )
    assert sorted(path.name for path in directory.iterdir()) == [
        "evidence.ndjson.gz", "junit.xml", "report.intoto.json", "report.md", "signer.pub.pem",
    ]  # fmt: skip


def test_what_was_isolated_and_what_was_not_stands_in_the_report(certified):
    said = " ".join(statement_of(certified[0])["predicate"]["run"]["isolation"])
    assert isolation.KEY_SENTENCE in said
    for part in ("python -I", "without pytest", "another process", "scrubbed environment", "no security boundary"):
        assert part in said


def test_two_runs_with_one_seed_differ_in_run_id_and_times_alone(order, tmp_path):
    payloads = []
    for name in ("one", "two"):
        done = run(order("reference:float32/split-k", out=tmp_path / name))
        payloads.append(signing.open_envelope((done.directory / report.ENVELOPE_NAME).read_bytes()).payload)
    first, second = (json.loads(payload) for payload in payloads)
    assert first["predicate"]["run"].pop("id") != second["predicate"]["run"].pop("id")
    asked = [content["predicate"]["run"]["asked"] for content in (first, second)]
    assert asked[0]["calls"] == asked[1]["calls"] > 0
    assert all(float(each.pop("seconds")) > 0 for each in asked)
    assert encode(first) == encode(second)
    files = [(tmp_path / name / evidence.FILE_NAME).read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_another_seed_asks_something_else(order, tmp_path):
    roots = {run(order(out=tmp_path / seed, seed=seed)).content["predicate"]["evidenceRoot"] for seed in ("1", "2")}
    assert len(roots) == 2


def test_a_fresh_seed_is_recorded(order):
    assert len(run(order(seed=None)).content["predicate"]["run"]["seed"]) == 32


# ── lies in a certified report, signed by the trusted key ──


@pytest.fixture
def copy(certified, place, tmp_path):
    """A copy of the certified report, and a way to change its content and sign it again with the trusted key."""
    directory = tmp_path / "copy"
    shutil.copytree(certified[0], directory)
    key = signing.read_key(place / "keys" / "key.pem")
    profile = installed.frozen_profile(place / "suites", "tiny")

    def resign(change):
        content = statement_of(directory)
        change(content)
        predicate = content["predicate"]
        predicate["run"] |= {"startedAt": "2026-11-23T09:00:00Z", "finishedAt": "2026-11-23T09:01:00Z"}
        predicate["checksRoot"] = report.checks_root(predicate["checks"])
        predicate["summary"] = report.summary(predicate["checks"])
        predicate["verdict"] = str(report.verdict_of(profile, predicate["checks"]))
        content["subject"][0]["digest"]["sha256"] = sha256(encode(predicate["candidate"]))
        (directory / report.ENVELOPE_NAME).write_bytes(signing.sign(encode(content), key))
        return directory

    return resign


def codes(result):
    return [(reason.code, reason.case) for reason in result.reasons]


def named(content, case):
    return next(made for made in content["predicate"]["checks"] if made["id"] == case)


def test_an_unchanged_copy_is_still_accepted(copy, place):
    assert check_result(place, copy(lambda content: None), level="re-judged").accepted


def test_a_pass_turned_into_a_fail_is_found_by_judging_again_and_by_nothing_else(copy, place):
    directory = copy(lambda c: named(c, "attention.order").update(outcome="fail", message="no"))
    assert check_result(place, directory).exit_code == 4  # the lie is consistent
    result = check_result(place, directory, level="re-judged")
    assert (codes(result), result.exit_code) == ([("E_REJUDGE", "attention.order")], 1)
    assert "says fail, judged again it is pass" in result.reasons[0].message


def test_a_figure_that_was_made_better_is_found_by_judging_again(copy, place):
    def change(content):
        figures = named(content, "attention.order")["figures"]
        figures["ratio"] = "9.00e+01"

    directory = copy(change)
    assert check_result(place, directory).accepted
    assert codes(check_result(place, directory, level="re-judged")) == [("E_FIGURE", "attention.order")]


def test_a_figure_left_out_is_found_by_judging_again(copy, place):
    directory = copy(lambda c: named(c, "attention.order").update(figures={}))
    assert codes(check_result(place, directory, level="re-judged")) == [("E_FIGURE", "attention.order")]


def test_inputs_of_another_seed_are_found_by_asking_again(copy, place):
    directory = copy(lambda c: c["predicate"]["run"].update(seed="8"))
    assert [code for code, _ in codes(check_result(place, directory, level="re-judged"))] == ["E_CONVERSATION"]


def test_a_claim_of_another_precision_is_found_by_judging_again(copy, place):
    directory = copy(lambda c: c["predicate"]["candidate"]["claims"].update(dtype="float64"))
    found = [code for code, _ in codes(check_result(place, directory, level="re-judged"))]
    assert found in (["E_REJUDGE"], ["E_CONVERSATION"])  # the latter when examples follow the one that now decides


def rewritten_evidence(directory, case, change):
    """Change one case's exchanges and bind the new line as if it had been recorded so."""
    import gzip

    records, _ = evidence.read(directory / evidence.FILE_NAME)
    lines = []
    for record in records:
        rows = json.loads(json.dumps(record.rows))
        if record.case == case:
            change(rows)
        lines.append(
            json.dumps({"case": record.case, "examples": rows}, sort_keys=True, separators=(",", ":")).encode()
        )
    (directory / evidence.FILE_NAME).write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines)))
    digests = {record.case: sha256(line) for record, line in zip(records, lines, strict=True)}

    def bind(content):
        content["predicate"]["evidenceRoot"] = merkle_root(lines)
        for made in content["predicate"]["checks"]:
            made["evidence"] = digests[made["id"]]

    return bind


def edit_answer(rows):
    tensor = next(e for e in rows[0] if e["method"] == "forward")["result"]["logits"][0]
    data = bytearray(base64.b64decode(tensor["data"]))
    data[3] ^= 0x40  # the exponent of the first float
    tensor["data"] = base64.b64encode(bytes(data)).decode()


def edit_question(rows):
    next(e for e in rows[0] if e["method"] == "forward")["params"]["ids"][0][0] ^= 1


def drop_example(rows):
    del rows[-1]


def drop_call(rows):
    del rows[0][-1]


def refuse(rows):
    entry = rows[0][-1]
    del entry["result"]
    entry["refusal"] = "unsupported"


def break_tensor(rows):
    next(e for e in rows[0] if e["method"] == "forward")["result"]["logits"][0]["shape"] = [1, 1]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (edit_answer, {"E_REJUDGE", "E_CONVERSATION"}),
        (edit_question, {"E_CONVERSATION"}),
        (drop_example, {"E_CONVERSATION"}),
        (drop_call, {"E_CONVERSATION"}),
        (refuse, {"E_REJUDGE", "E_CONVERSATION"}),
        (break_tensor, {"E_EVIDENCE_FORMAT"}),
    ],
)
def test_evidence_that_was_changed_and_bound_again_is_found_by_judging_again(change, found, copy, place):
    directory = copy(lambda content: None)
    directory = copy(rewritten_evidence(directory, "attention.order", change))
    assert check_result(place, directory).accepted
    result = check_result(place, directory, level="re-judged")
    assert {code for code, _ in codes(result)} <= found
    assert result.reasons[0].case == "attention.order"
    assert result.exit_code == 1


def test_judging_again_needs_the_very_suite(copy, place):
    own = replace(verify.Installed.here(place / "suites"), suite_digest="e" * 64)
    trust = policy.read_trust(place / "keys" / "trust.json")
    directory = copy(lambda content: None)
    accepted = frozenset({statement_of(directory)["predicate"]["suite"]["digest"]})
    result = verify.verify(directory, now=NOW, own=own, trust=replace(trust, suites=accepted), level="re-judged")
    assert (codes(result), result.exit_code, result.level) == ([("E_REJUDGE_SUITE", "")], 3, "evidence")


def test_judging_again_tells_how_far_it_is(copy, place):
    seen = []
    check_result(place, copy(lambda c: None), level="re-judged", on_case=lambda done, total: seen.append((done, total)))
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1] == len(seen) - 1


# ── the kit ──

KITTED = """
import llmasos
from llmasos_conformance.adapters import kit

class Model(kit.KitModel):
    def __init__(self, bundle, path):
        super().__init__(bundle)
        self.inner = llmasos.load_model(path, dtype="float32")
    def forward(self, batch):
        return [self.inner.forward([kit.check_ids(self.config, row)])[0] for row in batch]

class Mine:
    def describe(self):
        return {"protocol": "0.1-draft", "name": "kitted", "version": "1", "emulated": kit.emulated(),
                "capabilities": ["load_model", "forward", "tokenize", "generate_ids", "batch", "session", "score",
                                 "stream", "stop", "seed", "top_k", "top_p", "min_p", "logprobs"]}
    def load_model(self, path): return Model(kit.read_bundle(path), path)
"""


def test_an_adapter_from_the_kit_is_certified_with_its_emulation_marked(order, place, tmp_path):
    (tmp_path / "kitted.py").write_text(KITTED)
    done = run(order("./kitted.py:Mine", profile="quick", suites=None))
    assert {outcome.case: outcome.message for outcome in done.outcomes if outcome.state is not State.PASS} == {}
    assert (done.verdict, done.exit_code, done.signed) == (Verdict.CONFORMANT, 0, True)
    predicate = done.content["predicate"]
    assert {"format", "arguments", "generate_text", "session"} <= predicate["candidate"]["emulated"].keys()
    assert 0 < predicate["emulated"] < len(done.outcomes)
    own, trust = verify.Installed.here(), policy.read_trust(place / "keys" / "trust.json")
    assert [r.code for r in verify.verify(done.directory, now=NOW, own=own, trust=trust).reasons] == ["E_MODE"]


# ── candidates that are wrong, die, hang or babble ──


def test_a_wrong_candidate_is_non_conformant_and_a_stranger_agrees(order, place, tmp_path):
    address = candidate(tmp_path, """
def forward(self, batch): return [logits + 0.01 * (1 + abs(logits)) for logits in self.inner.forward(batch)]
Model.forward = forward
""")  # fmt: skip
    done = run(order(address))
    assert (done.verdict, done.exit_code, done.signed) == (Verdict.NON_CONFORMANT, 1, True)
    result = check_result(place, done.directory, level="re-judged")
    assert [code for code, _ in codes(result)] == [
        "E_MODE"
    ]  # this test is no isolated interpreter; nothing else is wrong
    assert result.ladder["re-judged"] == "reached"


def states(done):
    return {outcome.case: (str(outcome.state), outcome.fault) for outcome in done.outcomes}


def test_a_candidate_that_dies_fails_that_case_and_is_brought_back_for_the_next(order, tmp_path):
    address = candidate(tmp_path, """
def forward(self, batch): os._exit(3)
Model.forward = forward
""")  # fmt: skip
    done = run(order(address))
    assert states(done)["attention.order"] == ("fail", "")
    assert states(done)["greedy.ties.twins"] == ("pass", "")
    assert done.exit_code == 1


def test_a_candidate_that_hangs_leaves_the_run_incomplete(order, tmp_path):
    address = candidate(tmp_path, """
def forward(self, batch): time.sleep(60)
Model.forward = forward
""")  # fmt: skip
    done = run(order(address, timeout_s=1.0))
    assert states(done)["attention.order"] == ("error", "timeout")
    assert states(done)["greedy.ties.twins"] == ("pass", "")
    assert (done.verdict, done.exit_code, done.signed) == (Verdict.INCOMPLETE, 3, True)


HANGS = "def {0}(self, *args, **options): time.sleep(60)\nModel.{0} = {0}\n"


def test_a_candidate_that_hangs_again_and_again_is_asked_no_more(order, place, tmp_path):
    address = candidate(tmp_path, "".join(HANGS.format(name) for name in ("forward", "generate_text", "generate_ids")))
    done = run(order(address, timeout_s=0.5))
    found = [str(outcome.state) for outcome in done.outcomes]
    assert len(found) > 3
    assert found == ["error"] * 3 + ["not_run"] * (len(found) - 3)
    assert "not asked: 3 cases in a row had no answer in time" in done.outcomes[-1].message
    assert (done.verdict, done.exit_code, done.signed, done.lost) == (Verdict.INCOMPLETE, 3, True, "")
    assert {code for code, _ in codes(check_result(place, done.directory, level="re-judged"))} == {"E_MODE"}


def test_a_candidate_that_fails_a_must_and_then_hangs_is_non_conformant(order, tmp_path):
    address = candidate(tmp_path, """
def load_model(self, path):
    started = os.path.exists(path + "/../seen")
    open(path + "/../seen", "w").close()
    if started: time.sleep(60)
    os._exit(3)
Mine.load_model = load_model
""")  # fmt: skip
    done = run(order(address, timeout_s=0.5))
    found = [str(outcome.state) for outcome in done.outcomes]
    assert found == ["fail", *["error"] * 3, *["not_run"] * (len(found) - 4)]
    assert (done.verdict, done.exit_code) == (Verdict.NON_CONFORMANT, 1)


BABBLER = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["method"] != "describe":
        print("loading weights ...", flush=True)
        continue
    said = {"protocol": "0.1-draft", "name": "babbler", "version": "1"}
    said["capabilities"] = ["load_model", "forward", "generate_ids"]
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": said}), flush=True)
"""


def test_a_candidate_that_breaks_the_protocol_exits_4(order, tmp_path):
    (tmp_path / "babbler.py").write_text(BABBLER)
    done = run(order(f"cmd:{sys.executable} babbler.py"))
    assert {fault for _, fault in states(done).values()} == {"protocol"}
    assert (done.verdict, done.exit_code) == (Verdict.INCOMPLETE, 4)


def test_a_candidate_that_does_not_come_back_leaves_the_rest_not_run(order, tmp_path):
    mark = tmp_path / "mark"
    address = candidate(tmp_path, f"""
def forward(self, batch):
    open({str(mark)!r}, "w").close()
    os._exit(3)
Model.forward = forward
if os.path.exists({str(mark)!r}): sys.exit("licence server is down")
""")  # fmt: skip
    done = run(order(address))
    assert states(done)["attention.order"] == ("fail", "")
    assert states(done)["greedy.ties.twins"] == ("not_run", "")
    assert done.lost
    assert done.exit_code == 1  # what was seen is enough


def test_a_handshake_that_fails_is_exit_4_and_leaves_nothing(order, tmp_path):
    address = candidate(tmp_path, "raise RuntimeError('no GPU')")
    with pytest.raises(AddressError, match="no GPU") as caught:
        run(order(address))
    assert caught.value.exit_code == 4
    assert {path.name for path in tmp_path.iterdir()} <= {"fault.py", "__pycache__"}


def test_messages_name_neither_our_temporary_directories_nor_addresses_of_objects(order, tmp_path):
    address = candidate(tmp_path, """
class Secret: pass
def forward(self, batch): raise ValueError(f"{os.getcwd()} {Secret()}")
Model.forward = forward
""")  # fmt: skip
    message = next(outcome for outcome in run(order(address)).outcomes if outcome.state is State.FAIL).message
    assert message.endswith("ValueError: … <llmasos_adapter_" + message.split("<llmasos_adapter_")[1])
    assert "0x…" in message
    assert "/tmp" not in message.split("<")[0]


# ── isolation ──


def test_an_adapter_finds_a_fresh_directory_a_scrubbed_environment_and_no_descriptors(order, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("MODEL_HOME", "somewhere")
    address = candidate(tmp_path, """
def links():
    for number in range(100):
        try: yield os.path.basename(os.readlink(f"/proc/self/fd/{number}"))
        except OSError: pass

def describe(self):
    said = self.inner.describe()
    seen = {"env": " ".join(sorted(os.environ)), "files": " ".join(os.listdir("."))}
    seen["home"] = str(os.environ["HOME"] == os.getcwd())
    seen["descriptors"] = " ".join(links())
    seen["told"] = str(any("attention" in word or "7" == word for word in sys.argv))
    return Description(name="nosy", version="1", capabilities=said.capabilities, claims=said.claims, runtime=seen)
Mine.describe = describe
""")  # fmt: skip
    with (tmp_path / "inherited").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        done = run(order(address, pass_env=("MODEL_HOME",)))
    seen = done.content["predicate"]["candidate"]["runtime"]
    expected = {"HOME", "LANG", "MODEL_HOME", "PATH", "TMPDIR", *installed.THREAD_VARIABLES}
    assert set(seen["env"].split()) - {"LC_CTYPE"} == expected
    assert (seen["files"], seen["home"], seen["told"]) == ("tmp", "True", "False")
    assert "inherited" not in seen["descriptors"]
    assert "Environment variables passed to the adapter: MODEL_HOME." in done.content["predicate"]["run"]["isolation"]


@pytest.mark.parametrize("kind", ["pipe", "link", "directory"])
def test_a_wrong_adapter_that_plants_beside_its_bundles_stays_non_conformant(kind, order, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    address = candidate(tmp_path, f"""
def load_model(self, path):
    for beside in ("c", "private", "reference"):
        place = os.path.join(os.path.dirname(os.path.dirname(path)), beside)
        os.makedirs(place, exist_ok=True)
        target = os.path.join(place, os.path.basename(path))
        if not os.path.lexists(target):
            if {kind!r} == "pipe": os.mkfifo(target)
            elif {kind!r} == "link": os.symlink({str(outside)!r}, target)
            else: os.mkdir(target)
    return Model(self.inner.load_model(path))
def forward(self, batch): return [logits + 0.01 * (1 + abs(logits)) for logits in self.inner.forward(batch)]
Mine.load_model, Model.forward = load_model, forward
""")  # fmt: skip
    assert run(order(address)).verdict is Verdict.NON_CONFORMANT
    assert list(outside.iterdir()) == []


def test_a_run_during_which_the_references_bundles_change_signs_nothing(order, monkeypatch, tmp_path):
    monkeypatch.setattr(certify.Library, "changed", lambda library: [library.root])
    with pytest.raises(certify.RunInvalid, match="the reference's bundles changed"):
        run(order())
    assert not (tmp_path / "report").exists()


def certify_command(place, *more):
    return [
        sys.executable, "-m", "llmasos_conformance.cli", "certify", "--adapter", "./fault.py:Mine", "--profile", "tiny",
        "--suites", str(place / "suites"), "--out", "report", "--json", *more,
    ]  # fmt: skip


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")
def test_what_an_adapter_leaves_behind_ends_with_the_run(place, tmp_path):
    mark = tmp_path / "mark"
    candidate(tmp_path, f"""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open({str(mark)!r}, "w") as file: file.write(str(os.getpid()))
        for number in range(3): os.close(number)
        time.sleep(600)
    os._exit(0)
""")  # fmt: skip
    done = subprocess.run(
        certify_command(place), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not Path("/proc", mark.read_text()).exists()
    kept = json.loads((tmp_path / "report" / report.STATEMENT_NAME).read_bytes())
    said = " ".join(kept["predicate"]["run"]["isolation"])
    assert "Processes that the adapter left behind were ended" in said
    closed = "was not closed: it ran as root." if os.geteuid() == 0 else "memory was closed"
    assert closed in said
    assert "signing key" not in said


def test_a_run_that_is_killed_says_so_and_leaves_no_part(place, tmp_path):
    candidate(tmp_path, """
def forward(self, batch): os.kill(os.getppid(), 9); os._exit(0)
Model.forward = forward
""")  # fmt: skip
    done = subprocess.run(
        certify_command(place), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 70, done.stderr
    assert "ended by SIGKILL" in done.stderr
    assert not [path for path in tmp_path.iterdir() if "report" in path.name]


def test_a_variable_that_is_to_be_passed_must_exist(order):
    with pytest.raises(ReportError, match="not set"):
        run(order(pass_env=("NO_SUCH_VARIABLE",)))


def test_a_run_inside_another_program_is_a_self_test_and_says_so(order):
    done = run(order(out_of_process=False))
    predicate = done.content["predicate"]
    assert predicate["run"]["mode"] == "self-test"
    assert "Not isolated: the adapter ran inside the harness." in predicate["run"]["isolation"]


def test_the_key_is_opened_after_the_adapter_has_ended(order, monkeypatch):
    happened = []
    connect, read_key = adapters.connect, signing.read_key

    def watched(address, **options):
        connection = connect(address, **options)
        if options:
            close = connection.close
            monkeypatch.setattr(connection, "close", lambda: happened.append("ended") or close())
        return connection

    monkeypatch.setattr(adapters, "connect", watched)
    monkeypatch.setattr(signing, "read_key", lambda *args: happened.append("key") or read_key(*args))
    run(order())
    assert happened[:2] == ["ended", "key"]


@pytest.mark.parametrize("what", ["adapter", "suites"])
def test_a_run_during_which_files_change_signs_nothing(what, order, place, tmp_path):
    suites = tmp_path / "suites"
    shutil.copytree(place / "suites", suites)
    changed = {"adapter": tmp_path / "fault.py", "suites": suites / "attention.yaml"}[what]
    address = candidate(tmp_path, f"""
def describe(self):
    open({str(changed)!r}, "a").write("\\n")
    return self.inner.describe()
Mine.describe = describe
""")  # fmt: skip
    with pytest.raises(certify.RunInvalid, match=f"{what} changed"):
        run(order(address, suites=suites))
    assert not (tmp_path / "report").exists()
    assert not list(tmp_path.glob(".report*"))


def test_an_adapters_digest_follows_its_files_and_how_it_is_started(tmp_path):
    (tmp_path / "a.py").write_text("class A: pass\nclass B: pass\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    digest = adapter_digest
    first = digest("./a.py:A", tmp_path)
    assert digest("./a.py:A", tmp_path) == first != digest("./a.py:B", tmp_path)
    command = digest("cmd:sh run.sh --x", tmp_path)
    assert command != digest("cmd:sh run.sh --y", tmp_path)
    (tmp_path / "a.py").write_text("class A: 1\nclass B: pass\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\nexit\n")
    assert digest("./a.py:A", tmp_path) != first
    assert digest("cmd:sh run.sh --x", tmp_path) != command
    assert digest("reference", tmp_path) != digest("reference:float32", tmp_path)


# ── what is wrong before a run ──


def test_a_report_is_never_overwritten(order, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "precious").touch()
    with pytest.raises(ReportError, match="never overwritten"):
        run(order())


def test_a_place_that_cannot_be_written_is_told_before_the_run(order, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(adapters, "connect", lambda *args, **options: pytest.fail("the run began"))
    for out in (tmp_path / "file" / "report", tmp_path / "file" / "deeper" / "report"):
        with pytest.raises(ReportError, match=f"cannot write the report here: {tmp_path / 'file'} is no directory"):
            run(order(out=out))
    assert ReportError.exit_code == 2


def test_a_key_that_is_not_there_is_told_before_the_run(order, tmp_path, monkeypatch):
    monkeypatch.setattr(adapters, "connect", lambda *args, **options: pytest.fail("the run began"))
    with pytest.raises(SignatureError, match="keygen"):
        run(order(key=tmp_path / "none.pem"))


def test_an_unknown_profile_names_near_ones(order):
    with pytest.raises(SuiteError, match="tiny"):
        run(order(profile="tini"))


@pytest.mark.parametrize("seed", ["", "a b", "x" * 65, "../x"])
def test_a_seed_is_plain_text(seed, order):
    with pytest.raises(ReportError, match="seed"):
        run(order(seed=seed))


def test_without_a_key_the_statement_is_kept_unsigned(order, place):
    done = run(order(key=None))
    assert not done.signed
    assert (done.directory / report.STATEMENT_NAME).is_file()
    result = check_result(place, done.directory)
    assert codes(result) == [("E_UNSIGNED", "")]
    assert result.reasons[0].message == "unsigned: the run was made without a key"
    (done.directory / report.STATEMENT_NAME).write_text("{")
    assert "damaged" in check_result(place, done.directory).reasons[0].message


def test_a_wrong_passphrase_leaves_no_report_behind(order, tmp_path):
    policy.keygen(tmp_path / "keys", owner="x", now=START, passphrase=b"right")
    with pytest.raises(SignatureError, match="passphrase is wrong"):
        run(order(key=tmp_path / "keys" / "key.pem", passphrase=lambda: b"wrong"))
    assert not (tmp_path / "report").exists()


# ── interruption ──


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_ran_unsigned_and_incomplete(number, place, tmp_path, capsys):
    mark = tmp_path / "mark"
    candidate(tmp_path, f"""
def generate_ids(self, *args, **options):
    open({str(mark)!r}, "w").close()
    time.sleep(60)
Model.generate_ids = generate_ids
""")  # fmt: skip
    command = [
        sys.executable, "-m", "llmasos_conformance.cli", "certify", "--adapter", "./fault.py:Mine", "--profile", "tiny",
        "--suites", str(place / "suites"), "--key", str(place / "keys" / "key.pem"), "--out", "report", "--json",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    with process:
        deadline = time.monotonic() + 60
        while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    said = json.loads(out)
    assert (said["verdict"], said["signed"], said["interrupted"]) == ("incomplete", False, True)
    kept = json.loads((tmp_path / "report" / report.STATEMENT_NAME).read_bytes())
    outcomes = {made["id"]: made["outcome"] for made in kept["predicate"]["checks"]}
    assert outcomes["attention.order"] == "pass"
    assert outcomes["greedy.ties.twins"] == "not_run"
    records, _ = evidence.read(tmp_path / "report" / evidence.FILE_NAME)
    assert [record.case for record in records] == [case for case, state in outcomes.items() if state == "pass"]
    assert Path(tmp_path / "report" / report.MARKDOWN_NAME).is_file()
    result = check_result(place, tmp_path / "report")
    assert (result.exit_code, result.reasons[0].message) == (2, "unsigned: kept from an interrupted run")
    assert cli.run(["verify", str(tmp_path / "report")]) == 2
    shown = capsys.readouterr().out
    assert "UNSIGNED" in shown
    assert "MALFORMED" not in shown


# ── a server ──


def test_a_run_against_a_server_is_certified_and_says_what_was_not_isolated(place, tmp_path, serve):
    token = "a-token-that-nobody-may-read"
    address = serve(
        "llmasos_conformance.adapters.reference:ReferenceAdapter", "--argument", "float32/split-k", "--token", "TOKEN",
        env={**os.environ, "TOKEN": token},
    )  # fmt: skip
    out = tmp_path / "served"
    command = [
        sys.executable, "-m", "llmasos_conformance.cli", "certify", "--adapter", f"{address}#token=TOKEN",
        "--profile", "tiny", "--suites", str(place / "suites"), "--key", str(place / "keys" / "key.pem"),
        "--seed", "7", "--out", str(out), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(TOKEN=token))
    assert done.returncode == 0, done.stderr
    now, trust = datetime.now(UTC), policy.read_trust(place / "keys" / "trust.json")
    result = verify.verify(out, now=now, own=verify.Installed.here(place / "suites"), trust=trust, level="re-judged")
    assert (result.reasons, result.level) == ([], "re-judged")
    run_of = statement_of(out)["predicate"]["run"]
    said = " ".join(run_of["isolation"])
    assert run_of["mode"] == "certified"
    for part in ("a server, asked over HTTP, that the harness neither started nor ended", "only its address was seen"):
        assert part in said
    assert "out of the environment variable TOKEN." in said
    assert "scrubbed" not in said
    written = b"".join(path.read_bytes() for path in out.iterdir()) + done.stdout.encode() + done.stderr.encode()
    evidence_of = gzip.decompress((out / evidence.FILE_NAME).read_bytes())
    assert token.encode() not in written + evidence_of


def test_the_digest_of_a_server_is_that_of_its_address(tmp_path):
    digests = [
        adapter_digest(address, tmp_path)
        for address in ("http://127.0.0.1:8000", "http://127.0.0.1:8000/#token=A", "http://127.0.0.1:8001")
    ]
    assert digests[0] == digests[1] != digests[2]


FLAWS = {
    "nonsense": (b"nonsense\n", "protocol", None),
    "nothing": (b"", "transport", None),
    "too late": (b"\n", "timeout", 0.5),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_server_that_is_flaky_in_one_method_loses_the_cases_of_that_method_alone(flaw, order, place):
    answer, fault, late = FLAWS[flaw]

    class Flaky(Desk):
        def answer(self, line):
            if b'"method":"generate_ids"' not in line:
                return super().answer(line)
            time.sleep(late or 0)
            return [answer] if answer else []

    server = serving.Server(Flaky(lambda: InProcess(ReferenceAdapter("float32"), timeout_s=60)), "127.0.0.1", 0)
    runner = threading.Thread(target=server.run)
    runner.start()
    done = run(order(server.address, timeout_s=0.4 if late else 30.0))
    server.stop()
    runner.join(20)
    met = states(done)
    flawed = {case for case, (state, _) in met.items() if state == "error"}
    assert flawed
    assert {met[case] for case in flawed} == {("error", fault)}
    assert met["attention.order"] == ("pass", "")
    assert {state for state, _ in met.values()} == {"pass", "error"}
    assert (done.verdict, done.exit_code) == (Verdict.INCOMPLETE, 3 if late else 4)
    result = check_result(place, done.directory, level="re-judged")
    assert [reason.code for reason in result.reasons] == ["E_MODE"], result  # this harness is not isolated
