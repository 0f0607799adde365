"""A model of one's own: certified by a profile that is about it, and judged again with one's own copy."""

import errno
import hashlib
import json
import os
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
import safetensors.numpy

from llmasos_conformance import certify, cli, installed, policy, report, signing, suite, verify
from llmasos_conformance.adapters.reference import new_bundle
from llmasos_conformance.canonical import encode
from llmasos_conformance.errors import ReportError, SuiteError
from llmasos_conformance.probes import GIVEN, Library, given
from llmasos_conformance.verdict import Verdict

pytest_plugins = ["pytester"]

START, END = datetime(2026, 11, 23, 9, tzinfo=UTC), datetime(2026, 11, 23, 9, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SIZES = {"vocab_size": 260, "embedding_dim": 24, "num_layers": 1, "num_heads": 2, "context_length": 64}
WORDS = {"hello": 0, "world": 1, "[UNK]": 2, "你": 3, "好": 4}
TOKENIZER = json.dumps(
    {
        "version": "1.0", "normalizer": None, "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": None,
        "added_tokens": [], "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": WORDS},
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    root = tmp_path_factory.mktemp("keys")
    policy.keygen(root / "keys", owner="acme", now=datetime(2026, 1, 1, tzinfo=UTC))
    return root / "keys"


def bundle(directory, architecture="GPT-3", **changes):
    options = {name: changes.pop(name) for name in ("tokenizer_json", "with_weights", "seed") if name in changes}
    return new_bundle(directory, architecture, {**SIZES, **changes}, **options)


@pytest.fixture
def order(keys, tmp_path):
    """An order whose adapter runs in this process: a self-test, which is all the same but for its mode."""

    def make(model, adapter="reference:float32/split-k", **changes):
        defaults = {
            "adapter": adapter, "profile": "bundle/gpt", "out": tmp_path / "report", "seed": "7",
            "key": keys / "key.pem", "bundle": model, "out_of_process": False,
        }  # fmt: skip
        return certify.Order(**(defaults | changes))

    return make


def run(made):
    times = iter([START, END])
    return certify.certify(made, clock=lambda: next(times))


def verified(keys, directory, model=None, level="re-judged"):
    own, trust = verify.Installed.here(), policy.read_trust(keys / "trust.json")
    return verify.verify(directory, now=NOW, own=own, trust=trust, level=level, bundle=model)


def codes(result):
    return [reason.code for reason in result.reasons]


# ── what is certified ──


@pytest.mark.parametrize("architecture", GIVEN)
def test_a_model_of_one_s_own_is_certified_and_judged_again(architecture, keys, order, tmp_path):
    tokenizer = {} if architecture == "Transformer" else {"tokenizer_json": TOKENIZER}
    model = bundle(tmp_path / "mine", architecture, **tokenizer)
    done = run(order(model, profile=given.PROFILES[architecture]))
    assert [outcome.message for outcome in done.outcomes if not outcome.ok] == []
    assert done.verdict is Verdict.CONFORMANT
    assert codes(verified(keys, done.directory, model)) == ["E_MODE"]


def test_the_report_names_the_bundle_by_digests_that_anybody_can_compute(order, tmp_path):
    model = bundle(tmp_path / "mine")
    (model / "README.md").write_text("no part of it")
    done = run(order(model))
    about = done.content["predicate"]["bundle"]
    assert about["files"] == {
        name: hashlib.sha256((model / name).read_bytes()).hexdigest() for name in ("model.json", "model.safetensors")
    }
    assert (about["name"], about["architecture"]) == ("new", "GPT-3")
    assert done.content["subject"][2] == {"name": "bundle", "digest": {"sha256": about["digest"]}}
    assert f"on the bundle new {about['digest'][:12]}" in report.headline(done.content)
    page = (done.directory / report.MARKDOWN_NAME).read_text()
    assert f"- `model.safetensors` sha256 `{about['files']['model.safetensors']}`" in page


@pytest.mark.parametrize("fault", ["mutant:epsilon-doubled", "mutant:tokenizer-strips", "mutant:cache-half-at-decode"])
def test_whoever_computes_it_wrongly_is_not_conformant(fault, order, tmp_path):
    assert run(order(bundle(tmp_path / "mine"), fault)).verdict is Verdict.NON_CONFORMANT


def test_the_name_of_a_model_steers_no_terminal(order, tmp_path):
    model = bundle(tmp_path / "mine")
    document = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**document, "name": "a\x1b[31m\u202eb" + "c" * 400}))
    name = run(order(model)).content["predicate"]["bundle"]["name"]
    assert "\x1b" not in name
    assert "\u202e" not in name
    assert len(name) <= 120


def test_a_model_without_a_tokenizer_for_its_texts_has_the_same_refusals(order, tmp_path):
    done = run(order(bundle(tmp_path / "mine", vocab_size=40)))  # not even every byte
    assert [(outcome.case, outcome.message) for outcome in done.outcomes if not outcome.ok] == []


# ── what is refused before anybody is asked ──


def test_a_profile_about_a_bundle_needs_one(order):
    with pytest.raises(ReportError, match="about a model of your own") as caught:
        run(order(None))
    assert "--bundle DIR" in caught.value.hint


def test_other_profiles_take_none(order, tmp_path):
    with pytest.raises(ReportError, match="asked on probes of the suite") as caught:
        run(order(bundle(tmp_path / "mine"), profile="core/gpt/text"))
    assert "--profile bundle/gpt" in caught.value.hint


def test_a_profile_of_another_architecture_is_answered_with_the_right_one(order, tmp_path):
    with pytest.raises(ReportError, match="of the architecture Llama") as caught:
        run(order(bundle(tmp_path / "mine", "Llama")))
    assert caught.value.hint == "--profile bundle/llama"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda model: (model / "model.json").unlink(), "no model.json"),
        (lambda model: (model / "model.json").write_text("{"), "model.json"),
        (lambda model: (model / "model.json").write_text("[]"), "architecture is none of"),
        (lambda model: unweighed(model), "no weights"),
        (lambda model: put(model, architecture="GPT-4"), "architecture is none of"),
        (lambda model: put(model, embedding_dim=None), "embedding_dim"),
        (lambda model: put(model, context_length=64.5), "context_length"),
        (lambda model: replaced(model, "model.safetensors", lambda path: path.mkdir()), "not a plain file"),
        (
            lambda model: replaced(model, "model.safetensors", lambda path: path.symlink_to("/dev/zero")),
            "not a plain file",
        ),
        (lambda model: replaced(model, "model.safetensors", os.mkfifo), "not a plain file"),
        (lambda model: (model / "tokenizer.json").symlink_to("model.json"), "not a plain file"),
        (lambda model: (model / "model.onnx").mkdir(), "not a plain file"),
        (lambda model: (model / "model.onnx").write_bytes(b"no graph"), "not sound"),
        (lambda model: (model / "model.json").write_bytes(b" " * 2**21), "more than 1048576 bytes"),
    ],
)
def test_what_is_no_bundle_for_the_cases_is_refused_by_name(spoil, said, order, tmp_path):
    model = bundle(tmp_path / "mine")
    spoil(model)
    with pytest.raises((SuiteError, ReportError), match=said):
        run(order(model))
    assert not (tmp_path / "report").exists()
    assert not list(tmp_path.glob(".report*"))


def replaced(model, name, make):
    (model / name).unlink()
    make(model / name)


def put(model, **changes):
    document = json.loads((model / "model.json").read_text())
    parameters = document["parameters"]
    if "architecture" in changes:
        document["architecture"] = changes.pop("architecture")
    document["parameters"] = {k: v for k, v in {**parameters, **changes}.items() if v is not None}
    (model / "model.json").write_text(json.dumps(document))


def unweighed(model):
    (model / "model.safetensors").unlink()
    document = json.loads((model / "model.json").read_text())
    del document["initialisation"]
    (model / "model.json").write_text(json.dumps(document))


def test_a_bundle_whose_weights_follow_from_a_seed_is_certified_too(order, tmp_path):
    assert run(order(bundle(tmp_path / "mine", with_weights=False))).verdict is Verdict.CONFORMANT


def test_a_bundle_that_the_reference_refuses_is_refused_in_its_words(order, tmp_path):
    model = bundle(tmp_path / "mine")
    put(model, num_layers=3)
    with pytest.raises(ReportError, match="the bundle is not sound") as caught:
        run(order(model))
    assert str(model) in str(caught.value.where)
    assert not (tmp_path / "report").exists()


def test_a_context_too_short_for_the_cases_is_refused(order, tmp_path):
    with pytest.raises(SuiteError, match="a context of 63; the cases need 64"):
        run(order(bundle(tmp_path / "mine", context_length=63)))


def test_a_vocabulary_beyond_what_evidence_holds_is_refused(tmp_path):
    found = given.read(bundle(tmp_path / "mine", vocab_size=70_000, embedding_dim=2, num_heads=1, with_weights=False))
    found.fits("float32")
    with pytest.raises(SuiteError, match="70000 ids; evidence holds the logits of 65536 for float64"):
        found.fits("float64")


def test_a_model_that_overflows_what_is_claimed_is_refused_and_nobody_is_convicted(order, tmp_path):
    model = bundle(tmp_path / "mine")
    weights = safetensors.numpy.load_file(model / "model.safetensors")
    weights = {name: (array * np.float32(1e25)).astype(np.float32) for name, array in weights.items()}
    safetensors.numpy.save_file(weights, model / "model.safetensors")
    with pytest.raises(SuiteError, match="float32"):
        run(order(model))
    assert not (tmp_path / "report").exists()


def test_a_bundle_that_changes_while_the_run_goes_on_changes_nothing(order, tmp_path, monkeypatch):
    model = bundle(tmp_path / "mine")
    digest = given.read(model).digest
    check = certify.references.check_bundle

    def late(*arguments):
        put(model, num_layers=2)
        shutil.rmtree(model)
        check(*arguments)

    monkeypatch.setattr(certify.references, "check_bundle", late)
    done = run(order(model))
    assert done.verdict is Verdict.CONFORMANT
    assert done.content["predicate"]["bundle"]["digest"] == digest


def test_a_copy_that_changes_before_it_is_taken_ends_the_run(tmp_path):
    (tmp_path / "room").mkdir()
    found = given.read(bundle(tmp_path / "mine"), tmp_path / "room")
    put(found.path, context_length=65)
    with pytest.raises(SuiteError, match="not what it was when the run began"):
        Library(tmp_path / "library", "0", found).get("given")


def test_a_disk_without_room_is_said_in_words(tmp_path, monkeypatch):
    model = bundle(tmp_path / "mine")
    (tmp_path / "room").mkdir()
    monkeypatch.setattr(given, "PIECE", 100)

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(given.hashlib, "sha256", full)
    with pytest.raises(SuiteError, match="cannot take the bundle: No space left on device") as caught:
        given.read(model, tmp_path / "room")
    assert "TMPDIR" in caught.value.hint


def test_ids_whose_embeddings_are_equal_may_be_chosen_either_way(order, tmp_path):
    model = bundle(tmp_path / "mine", vocab_size=301)
    weights = safetensors.numpy.load_file(model / "model.safetensors")
    weights["token_embedding"][300] = weights["token_embedding"][5] = 3 * weights["token_embedding"][7]
    safetensors.numpy.save_file(weights, model / "model.safetensors")
    for adapter in ("reference:float32/online", "reference:float32/plain"):
        made = order(model, adapter, out=tmp_path / adapter[-5:])
        assert [outcome.message for outcome in run(made).outcomes if not outcome.ok] == []


def test_a_bundle_that_was_given_is_not_taken_apart(tmp_path):
    library = Library(tmp_path / "library", "0", given.read(bundle(tmp_path / "mine")))
    with pytest.raises(SuiteError, match="not taken apart"):
        library.parts("given")
    assert library.parts("llama-given").document["architecture"] == "Llama"  # of the others there are stand-ins


# ── what a stranger sees ──


@pytest.fixture
def reported(order, tmp_path):
    model = bundle(tmp_path / "mine")
    return run(order(model)).directory, model


def test_without_the_bundle_everything_but_judging_again_is_checked(keys, reported):
    result = verified(keys, reported[0])
    assert (codes(result), result.exit_code) == (["E_MODE", "E_BUNDLE_ABSENT"], 3)
    assert codes(verified(keys, reported[0], level="evidence")) == ["E_MODE"]


def test_another_bundle_is_told_by_the_file_that_differs(keys, reported, tmp_path):
    other = bundle(tmp_path / "other", seed=1)
    result = verified(keys, reported[0], other)
    assert codes(result) == ["E_MODE", "E_BUNDLE_OTHER"]
    assert "model.safetensors, digest differs" in result.reasons[-1].message


def test_a_bundle_is_compared_without_judging_again_too(keys, reported, tmp_path):
    assert codes(verified(keys, *reported, level="evidence")) == ["E_MODE"]
    other = bundle(tmp_path / "other", seed=1)
    assert codes(verified(keys, reported[0], other, level="evidence")) == ["E_MODE", "E_BUNDLE_OTHER"]


def test_a_bundle_beside_a_report_about_none_is_told(keys, order, tmp_path):
    done = run(order(None, profile="quick"))
    assert codes(verified(keys, done.directory, bundle(tmp_path / "mine"), level="evidence"))[-1] == "E_BUNDLE_OTHER"


def test_json_of_verify_names_the_bundle(keys, reported):
    said = verified(keys, *reported).as_json()["report"]["bundle"]
    assert said["files"].keys() == {"model.json", "model.safetensors"}


def resigned(keys, directory, change):
    content = json.loads(signing.open_envelope((directory / report.ENVELOPE_NAME).read_bytes()).payload)
    change(content)
    key = signing.read_key(keys / "key.pem")
    (directory / report.ENVELOPE_NAME).write_bytes(signing.sign(encode(content), key))
    return directory


def another_digest(content):
    content["predicate"]["bundle"]["digest"] = "e" * 64


def another_digest_in_both(content):
    another_digest(content)
    content["subject"][2]["digest"]["sha256"] = "e" * 64


def no_bundle(content):
    del content["predicate"]["bundle"]
    content["subject"].pop()


def another_architecture(content):
    content["predicate"]["bundle"]["architecture"] = "Llama"


def a_file_with_a_path(content):
    content["predicate"]["bundle"]["files"]["../model.json"] = "e" * 64


def another_name(content):
    content["predicate"]["bundle"]["name"] = "somebody else's"


def other_files(content):
    content["predicate"]["bundle"]["files"] = {"model.json": "e" * 64}


def no_files(content):
    content["predicate"]["bundle"]["files"] = {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (another_digest, "E_SUBJECT"),
        (another_digest_in_both, "E_BUNDLE_OTHER"),
        (no_bundle, "E_BUNDLE"),
        (another_architecture, "E_BUNDLE"),
        (a_file_with_a_path, "E_SCHEMA"),
        (no_files, "E_SCHEMA"),
        (another_name, "E_BUNDLE_OTHER"),
        (other_files, "E_BUNDLE_OTHER"),
    ],
)
def test_a_lie_about_the_bundle_is_found(change, code, keys, reported):
    directory, model = reported
    assert codes(verified(keys, resigned(keys, directory, change), model))[-1] == code


def test_a_bundle_in_a_report_of_another_profile_is_found(keys, order, tmp_path):
    done = run(order(None, profile="quick"))
    record = given.read(bundle(tmp_path / "mine")).record()

    def add(content):
        content["predicate"]["bundle"] = record
        content["subject"].append({"name": "bundle", "digest": {"sha256": record["digest"]}})

    assert codes(verified(keys, resigned(keys, done.directory, add), level="evidence")) == ["E_MODE", "E_BUNDLE"]


# ── the command line and pytest ──


def test_the_profile_follows_from_the_bundle(keys, tmp_path, capsys):
    model, out = bundle(tmp_path / "mine", "Llama"), tmp_path / "report"
    command = ["certify", "--adapter", "reference", "--bundle", str(model), "--out", str(out), "--in-process"]
    assert cli.run([*command, "--key", str(keys / "key.pem")]) == 0
    said = capsys.readouterr().out
    assert "profile bundle/llama on the bundle new" in said
    assert f"--rejudge --bundle {model}" in said
    assert cli.run(["verify", str(out), "--trust", str(keys / "trust.json"), "--rejudge", "--bundle", str(model)]) == 3
    assert "E_MODE" in capsys.readouterr().out


def test_neither_profile_nor_bundle_is_a_wrong_command_line(tmp_path, capsys):
    assert cli.run(["certify", "--adapter", "reference", "--out", str(tmp_path / "report")]) == 2
    assert "--bundle" in capsys.readouterr().err


def test_a_failure_is_reproduced_with_the_bundle(tmp_path, capsys):
    model = bundle(tmp_path / "mine")
    command = ["certify", "--adapter", "mutant:epsilon-doubled", "--bundle", str(model), "--in-process"]
    assert cli.run([*command, "--out", str(tmp_path / "report"), "--seed", "7"]) == 1
    assert f"llmasos:bundle::bundle.gpt.numbers --llmasos-seed=7 --llmasos-bundle={model}" in capsys.readouterr().out


def test_pytest_asks_the_bundle_that_it_is_given(pytester):
    model = bundle(pytester.path / "mine", num_layers=2)
    options = ("--llmasos-adapter=reference", "--llmasos-profile=bundle/gpt", "-k", "bundle.gpt.greedy")
    result = pytester.runpytest_subprocess(*options, f"--llmasos-bundle={model}")
    result.assert_outcomes(passed=1)
    digest = given.read(model).digest[:12]
    result.stdout.fnmatch_lines(
        [
            f"llmasos: suite *, profile bundle/gpt, bundle {model} {digest}, seed 0",
            f"next: judge the rest: *--llmasos-bundle={model} --llmasos-profile=bundle/gpt",
        ]
    )
    shutil.rmtree(model)
    result = pytester.runpytest_subprocess(*options, f"--llmasos-bundle={model}")
    result.stderr.fnmatch_lines(["*there is no such directory*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_the_command_that_a_failure_prints_asks_the_very_case_in_whichever_profile_it_is(pytester):
    case = suite.load().cases["llama.numbers.plain"]
    command = report.reproduce_command(case, "mutant:llama-silu-for-gelu", "7").split()
    assert command[0] == "pytest"
    adapter = f"--adapter={llama_mutant()}"
    pytester.runpytest_subprocess(adapter, *command[2:]).assert_outcomes(failed=1)


def llama_mutant():
    from llmasos_conformance.mutants.catalogue import mutants

    return "mutant:" + next(name for name, made in mutants().items() if made.group == "llama")


# ── the profiles ──


def test_profiles_about_a_bundle_hold_the_cases_about_one_and_no_other_profile_does():
    loaded = suite.load()
    about = {case.id for case in loaded.cases.values() if case.given.get("probe") in GIVEN.values()}
    assert about == {case for name in given.PROFILES.values() for case in loaded.profiles[name].cases}
    for name, profile in loaded.profiles.items():
        frozen = installed.frozen_profile(installed.suites(), name)
        assert frozen.get("bundle", False) == (name in given.PROFILES.values())
        assert about.isdisjoint(profile.cases) or name in given.PROFILES.values()
