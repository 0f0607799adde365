"""Reports about hosted models: what they are about, what their verdict is called, and who believes them for what.

Two servers of a toy model are certified over HTTP, one right and one that drops temperatures; then both are stopped.
"""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from llmasos_conformance import (
    certify,
    cli,
    differences,
    gate,
    installed,
    policy,
    projections,
    reading,
    report,
    signing,
    verify,
)
from llmasos_conformance.adapters.digest import adapter_digest
from llmasos_conformance.adapters.openai.http import Server
from llmasos_conformance.canonical import encode, sha256
from llmasos_conformance.errors import ReportError
from llmasos_conformance.gate import Answer
from llmasos_conformance.mutants.babbler import Babbler, Serving
from llmasos_conformance.mutants.catalogue import mutants
from llmasos_conformance.verdict import BLACK_BOX, EXIT_CODES, Verdict

pytest_plugins = ["pytester"]

BARE = re.compile(r"(?<!black-box[ -])(?<!black_box_)(?<!not )(?<!non[-_])\b(non[-_])?conformant\b")
"""The word without what says that nobody could look inside."""


def test_a_verdict_holds_or_fails_or_neither_whatever_it_is_called():
    assert [each for each in Verdict if each.holds] == [Verdict.CONFORMANT, Verdict.BLACK_BOX_CONFORMANT]
    assert [each for each in Verdict if each.fails] == [Verdict.NON_CONFORMANT, Verdict.BLACK_BOX_NON_CONFORMANT]
    assert {each: EXIT_CODES[BLACK_BOX[each]] for each in BLACK_BOX} == {each: EXIT_CODES[each] for each in BLACK_BOX}
    assert set(EXIT_CODES) == set(Verdict)
    for words in (projections.COLOURS, projections._MARKS, *projections.WORDS.values()):
        assert set(Verdict) <= set(words)


def test_the_profiles_of_hosted_models_say_so_and_no_other_one_asks_their_cases():
    suites = installed.suites()
    from llmasos_conformance import profiles

    for name, path in profiles.paths(suites).items():
        document = profiles.read(path)
        asked = {case["id"].startswith("hosted.") for case in document["cases"]}
        assert asked == {bool(document.get("hosted"))}, name
        assert bool(document.get("hosted")) == name.startswith("hosted/")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Keys, and the directories `right` and `wrong` of reports."""
    root = tmp_path_factory.mktemp("hosted")
    policy.keygen(root / "keys", owner="acme", now=datetime.now(UTC) - timedelta(days=1))
    dropped = mutants()["hosted-temperature-of-chats-dropped"].adapter().api
    for name, over, api in (("right", "completions", Serving(Babbler(), "acme/babbler")), ("wrong", "chat", dropped)):
        server = Server(api)
        model = "acme/babbler" if name == "right" else "babbler"
        address = f"openai:{server.url}#model={model}&api={over}&dtype=float32&region=eu-1&version=babble/1.2"
        words = ["certify", "--adapter", address, "--profile", f"hosted/{over}", "--key", root / "keys" / "key.pem",
                 "--out", root / name, "--seed", "5"]  # fmt: skip
        command = [sys.executable, "-I", "-m", "llmasos_conformance.cli", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        server.stop()
        assert done.returncode == (0 if name == "right" else 1), done.stdout + done.stderr
        (root / f"{name}.out").write_text(done.stdout + done.stderr)
    return root


def verified(place, name, level="re-judged", now=None):
    own, trust = verify.Installed.here(), policy.read_trust(place / "keys" / "trust.json")
    return verify.verify(place / name, now=now or datetime.now(UTC), own=own, trust=trust, level=level)


def codes(result):
    return [reason.code for reason in result.reasons]


def test_without_the_server_every_answer_is_judged_again(place):
    for name, code, verdict in (("right", 0, "black_box_conformant"), ("wrong", 4, "black_box_non_conformant")):
        result = verified(place, name)
        assert (codes(result), result.level, result.exit_code) == ([], "re-judged", code)
        assert result.as_json()["report"]["verdict"] == verdict


def test_the_subject_is_the_endpoint_since_the_model_is_nobody_s_to_hash(place):
    content = verified(place, "right", "suite").content
    endpoint = content["predicate"]["endpoint"]
    assert endpoint.keys() == {"api", "url", "model", "region", "version"}
    assert endpoint["version"] == content["predicate"]["candidate"]["version"] == "babble/1.2"
    assert (endpoint["api"], endpoint["model"], endpoint["region"]) == ("openai/completions", "acme/babbler", "eu-1")
    assert content["subject"][2] == {"name": "endpoint", "digest": {"sha256": sha256(encode(endpoint))}}
    assert f"at {endpoint['url']}" in report.headline(content)
    assert verified(place, "right", "suite").as_json()["report"]["endpoint"] == endpoint


def test_the_adapter_is_known_by_what_it_asks_and_not_by_its_token(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "s" * 16)

    def digest(more):
        return adapter_digest(f"openai:http://127.0.0.1:9/v1#model={more}", tmp_path)

    assert digest("a") == digest("a&token=SECRET") == digest("a&api=completions")
    assert len({digest("a"), digest("b"), digest("a&api=chat"), digest("a&weights=" + "e" * 64)}) == 4


# ── the words ──


def test_nowhere_does_a_report_about_a_server_say_the_bare_word(place, tmp_path, capsys):
    for name in ("right", "wrong"):
        content = verified(place, name, "suite").content
        said = [(place / f"{name}.out").read_text(), (place / name / report.MARKDOWN_NAME).read_text()]
        for lang in ("en", "zh"):
            said += [
                projections.FORMS[form](content, report_id="0" * 64, lang=lang, path="REPORT", now=datetime.now(UTC))
                for form in ("junit", "ctrf", "markdown", "badge", "svg", "github")
            ]
            page = tmp_path / f"{name}.{lang}.html"
            assert cli.run(["show", str(place / name), "--lang", lang, "--html", "--out", str(page)]) == 0
            said.append(re.sub(r"<(style|script).*?</\1>", "", page.read_text(), flags=re.DOTALL))
            shown = re.findall(r'class="verdict [^>]*>([^<]*)<', said[-1])
            assert len(shown) == 1
            assert {"en": "black-box ", "zh": "黑盒"}[lang] in shown[0]
        for text in said:
            assert not BARE.search(text), BARE.search(text)
            assert not re.search("(?<!黑盒)(?<!黑盒不)合规(?!报告)", text.replace("不合规", "合规")), text[:300]


@pytest.mark.parametrize(
    ("name", "en", "zh"),
    [
        ("right", "black-box conformant · hosted/completions", "黑盒合规 · hosted/completions"),
        ("wrong", "black-box non-conformant · hosted/chat", "黑盒不合规 · hosted/chat"),
    ],
)
def test_a_badge_says_in_both_languages_that_it_was_a_black_box(place, name, en, zh):
    content = verified(place, name, "suite").content
    badges = [json.loads(projections.badge(content, lang=lang)) for lang in ("en", "zh")]
    assert [badge["message"].startswith(due) for badge, due in zip(badges, (en, zh), strict=True)] == [True, True]
    assert badges[0]["isError"] == (name == "wrong")
    green = projections.COLOURS[Verdict.CONFORMANT].removeprefix("#")
    assert badges[0]["color"] != green


# ── who believes it for what ──


def answer(place, verdict, *names):
    wanted = gate.Policy(path=place, profiles=(gate.Wanted(profile="hosted/completions", verdict=verdict),))
    own = verify.Installed.here()
    reports = [reading.read(place / name, now=datetime.now(UTC), own=own) for name in names]
    return gate.decision(wanted, gate.pair(wanted, reports, [], installed.suites()), datetime.now(UTC))


def test_a_gate_that_wants_conformant_is_not_met_by_a_black_box(place):
    assert answer(place, "black-box conformant", "right").answer is Answer.GO
    refused = answer(place, "conformant", "right")
    assert refused.answer is Answer.NO_GO
    (rule,) = [rule for rule in refused.rules if rule.name == "verdict"]
    assert "conformant in hosted/completions" in rule.wants["en"]
    assert rule.saw["en"].startswith("black_box_conformant")
    assert answer(place, "any", "right").answer is Answer.GO


def test_a_gate_that_wants_another_profile_is_not_met_by_it(place):
    wanted = gate.Policy(path=place, profiles=(gate.Wanted(profile="core/gpt/text", verdict="any"),))
    reports = [reading.read(place / "right", now=datetime.now(UTC), own=verify.Installed.here())]
    with pytest.raises(gate.PolicyError, match="hosted/completions, which the policy does not name"):
        gate.pair(wanted, reports, [], installed.suites())
    nothing = gate.decision(wanted, gate.pair(wanted, [], [], installed.suites()), datetime.now(UTC))
    assert nothing.answer is Answer.INCONCLUSIVE


@pytest.mark.parametrize(
    ("wanted", "found", "held"),
    [
        ("conformant", "conformant", "holds"),
        ("conformant", "black_box_conformant", "broken"),
        ("conformant", "black_box_non_conformant", "broken"),
        ("conformant", "incomplete", "undecided"),
        ("black-box conformant", "black_box_conformant", "holds"),
        ("black-box conformant", "conformant", "broken"),
        ("black-box conformant", "black_box_non_conformant", "broken"),
        ("black-box conformant", "incomplete", "undecided"),
    ],
)
def test_one_verdict_is_never_the_other(wanted, found, held):
    assert gate._held(wanted, Verdict(found)) == held


def test_a_policy_can_name_the_verdict_of_a_black_box(tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text("format: 1\nprofiles:\n- {profile: hosted/chat, verdict: black-box conformant}\n")
    assert gate.read_policy(path).profiles[0].verdict == "black-box conformant"


def changed(content, verdict):
    return {**content, "predicate": {**content["predicate"], "verdict": verdict}}


@pytest.mark.parametrize(
    ("then", "now", "code"),
    [
        ("black_box_conformant", "black_box_non_conformant", 1),
        ("black_box_conformant", "incomplete", 3),
        ("black_box_non_conformant", "black_box_conformant", 0),
        ("black_box_non_conformant", "black_box_non_conformant", 0),
        ("incomplete", "black_box_non_conformant", 1),
    ],
)
def test_a_server_that_fails_now_is_worse(place, then, now, code):
    content = verified(place, "right", "suite").content
    assert differences.between(changed(content, then), changed(content, now)).exit_code == code


def test_another_endpoint_is_a_difference(place):
    content = verified(place, "right", "suite").content
    other = json.loads(json.dumps(content))
    other["predicate"]["endpoint"]["region"] = "us-2"
    (fact,) = differences.between(content, other).facts
    assert (fact.name, fact.then, fact.now) == ("endpoint.region", "eu-1", "us-2")


def test_what_is_old_is_said_to_be_old(place):
    finished = policy.moment(verified(place, "right", "suite").content["predicate"]["run"]["finishedAt"])
    assert verified(place, "right", "suite", now=finished + timedelta(days=30)).notes == []
    (note,) = verified(place, "right", "suite", now=finished + timedelta(days=31, hours=1)).notes
    assert note.startswith("the endpoint was asked 31 days ago")


# ── lies ──


def other_digest(content):
    content["subject"][2]["digest"]["sha256"] = "e" * 64


def other_region(content):
    content["predicate"]["endpoint"]["region"] = "us-2"


def bound(content):
    content["subject"][2]["digest"]["sha256"] = report.endpoint_digest(content["predicate"]["endpoint"])


def other_model(content):
    content["predicate"]["endpoint"]["model"] = "acme/better"
    bound(content)


def other_api(content):
    content["predicate"]["endpoint"]["api"] = "openai/chat"
    bound(content)


def no_endpoint(content):
    del content["predicate"]["endpoint"]
    content["subject"].pop()


def bare_verdict(content):
    content["predicate"]["verdict"] = "conformant"


def another_member(content):
    content["predicate"]["endpoint"]["owner"] = "acme"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (other_digest, "E_SUBJECT"),
        (other_region, "E_SUBJECT"),
        (other_model, "E_ENDPOINT"),
        (other_api, "E_ENDPOINT"),
        (no_endpoint, "E_ENDPOINT"),
        (bare_verdict, "E_VERDICT"),
        (another_member, "E_SCHEMA"),
    ],
)
def test_a_lie_about_the_endpoint_is_found(place, tmp_path, change, code):
    content = json.loads(signing.open_envelope((place / "right" / report.ENVELOPE_NAME).read_bytes()).payload)
    change(content)
    key = signing.read_key(place / "keys" / "key.pem")
    (tmp_path / report.ENVELOPE_NAME).write_bytes(signing.sign(encode(content), key))
    own, trust = verify.Installed.here(), policy.read_trust(place / "keys" / "trust.json")
    assert codes(verify.verify(tmp_path, now=datetime.now(UTC), own=own, trust=trust, level="suite")) == [code]


def test_an_endpoint_in_a_report_of_another_profile_is_found(place, tmp_path):
    content = json.loads(signing.open_envelope((place / "right" / report.ENVELOPE_NAME).read_bytes()).payload)
    quick = installed.frozen_profile(installed.suites(), "quick")
    content["predicate"]["suite"] |= {"profile": "quick", "profileDigest": installed.profile_digest(quick)}
    key = signing.read_key(place / "keys" / "key.pem")
    (tmp_path / report.ENVELOPE_NAME).write_bytes(signing.sign(encode(content), key))
    own, trust = verify.Installed.here(), policy.read_trust(place / "keys" / "trust.json")
    assert codes(verify.verify(tmp_path, now=datetime.now(UTC), own=own, trust=trust, level="suite")) == ["E_ENDPOINT"]


# ── what fits ──


@pytest.mark.parametrize(
    ("adapter", "profile", "message"),
    [
        ("openai:http://127.0.0.1:9/v1#model=m", "quick", "asked over completions, and the profile quick does not ask"),
        (
            "openai:http://127.0.0.1:9/v1#model=m",
            "hosted/chat",
            "asked over completions, and the profile hosted/chat does",
        ),
        ("openai:http://127.0.0.1:9/v1#model=m&api=chat", "hosted/completions", "or &api=completions in the"),
        ("reference", "hosted/completions", "is about what a server answers that nobody can give a model"),
    ],
)
def test_a_profile_that_is_not_about_the_candidate_is_refused_before_the_run(adapter, profile, message, tmp_path):
    order = certify.Order(adapter=adapter, profile=profile, out=tmp_path / "out", out_of_process=False)
    with pytest.raises(ReportError, match=message):
        certify.certify(order, clock=lambda: datetime.now(UTC))
    assert not (tmp_path / "out").exists()


def test_pytest_calls_the_verdict_by_its_name(pytester):
    server = Server(Serving(Babbler(), "babbler"))
    some = "llmasos:hosted::hosted.completions.shape"
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", f"--adapter=openai:{server.url}#model=babbler",
        "--llmasos-profile=hosted/completions", "--llmasos-timeout=60",
    )  # fmt: skip
    part = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", f"--adapter=openai:{server.url}#model=babbler", "--llmasos-profile=all", some
    )
    server.stop()
    result.stdout.fnmatch_lines(["verdict: black_box_conformant (hosted/completions)"])
    assert not BARE.search(result.stdout.str())
    part.stdout.fnmatch_lines(["no verdict: 1 of *"])
