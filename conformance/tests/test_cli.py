"""The commands: what they print, what they exit with, and what they say when something is wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmasos_conformance import cli, installed, isolation
from llmasos_conformance.certify import Order
from llmasos_conformance.cli import certifying

SEED_DOCUMENT = {
    "name": "tiny",
    "version": "1.0",
    "architecture": "GPT-3",
    "parameters": {"vocab_size": 256, "embedding_dim": 16, "num_layers": 1},
}


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(SEED_DOCUMENT))
    return tmp_path / "model.json"


def isolated(*words, cwd=None):
    """`python -I` with our packages alone, as `certify` starts it."""
    roots = isolation.roots()
    code = f"import sys; sys.path += {roots!r}; {words[0]}"
    return subprocess.run(
        [sys.executable, "-I", "-c", code, *words[1:]], capture_output=True, text=True, check=False, cwd=cwd
    )


COMMANDS = [
    *("certify", "verify", "keygen", "list", "explain", "doctor", "generate", "new", "inspect", "demo"),
    *("standard", "coverage", "import", "agreement", "export", "evaluate", "show", "board", "diff", "gate"),
    *("init", "smoke", "try", "docs"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, llmasos):
    code, out, _ = llmasos(command, "--help")
    assert code == 0
    assert f"Usage: llmasos {command}" in out


def test_the_command_without_anything_shows_where_to_begin(llmasos):
    _, out, err = llmasos()
    assert "llmasos demo" in out + err


def test_no_sentence_of_the_overview_is_cut_and_no_help_is_wider_than_the_terminal(llmasos, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    overview = llmasos("--help")[1]
    assert "..." not in overview.partition("Commands:")[2]
    for out in (overview, *(llmasos(command, "--help")[1] for command in COMMANDS)):
        assert max(map(len, out.splitlines())) <= 80, out


def test_texts_are_broken_at_the_terminals_width_and_nowhere_else(monkeypatch, capsys):
    text = "  where: " + "word " * 30 + "\n    deeper"
    cli.say(text)
    assert capsys.readouterr().out == text + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    cli.say(text)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert [len(line) - len(line.lstrip()) for line in lines] == [2, 4, 4, 4]
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    cli.next_step("command " * 20)
    cli.say("  run it: pytest " + "word " * 20)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_importing_the_commands_opens_no_heavy_room():
    done = isolated(
        "import llmasos_conformance.cli; "
        "heavy = {'numpy', 'yaml', 'rich', 'cryptography', 'jsonschema', 'hypothesis'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_command_is_a_usage_error(llmasos):
    assert llmasos("certifi")[0] == 2


def test_a_page_of_the_documentation_is_shown_by_its_name_in_either_language(llmasos):
    code, out, _ = llmasos("docs")
    assert code == 0
    assert "protocol" in out
    assert "The adapter protocol" in out
    pages = {each["name"]: each for each in json.loads(llmasos("docs", "--json")[1])}
    english = Path(pages["wire"]["path"])
    assert llmasos("docs", "docs/wire.md")[1].strip() == english.read_text("utf-8").strip()
    chinese = llmasos("docs", "wire", "--lang", "zh", "--path")[1].strip()
    assert chinese == str(english.with_suffix(".zh.md"))


def test_a_page_that_does_not_exist_is_answered_with_its_neighbours(llmasos):
    code, _, err = llmasos("docs", "protocl")
    assert code == 2
    assert "no page 'protocl'" in err
    assert "did you mean protocol or properties? one of decisions, faults, first-hour" in err
    code, _, err = llmasos("docs", "zzz")
    assert code == 2
    assert "one of decisions, faults, first-hour" in err


@pytest.mark.parametrize("more", [(), ("--path",), ("--json",)])
def test_an_empty_name_of_a_page_is_answered_with_the_names_that_there_are(llmasos, more):
    code, out, err = llmasos("docs", "", *more)
    assert (code, out) == (2, "")
    assert "the name of the page is empty" in err
    assert "try: one of decisions, faults, first-hour" in err


# ── keys and verification ──


def test_keygen_makes_three_files_and_says_what_each_is_for(llmasos, tmp_path):
    code, out, _ = llmasos("keygen", "--out", tmp_path / "keys", "--owner", "acme")
    assert code == 0
    made = sorted(path.name for path in (tmp_path / "keys").iterdir())
    assert made == [".gitignore", "key.pem", "key.pub.pem", "trust.json"]
    assert "next: llmasos certify" in out
    entry = json.loads((tmp_path / "keys" / "trust.json").read_text())["keys"][0]
    assert (entry["owner"], entry["role"]) == ("acme", "vendor")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_a_private_key_in_a_repository_is_ignored_and_what_others_need_is_not(llmasos, tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    llmasos("keygen", "--out", tmp_path / "keys")
    listing = ["git", "-C", tmp_path, "status", "--porcelain", "-uall"]
    said = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    assert said.split() == ["??", "keys/.gitignore", "??", "keys/key.pub.pem", "??", "keys/trust.json"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        *(("build/\n", True), ("*.pyc\nkey.pem\n", False), ("/key.pem", False), ("*.pem\n", False), ("*\n", False)),
        *(("!key.pem\n", True), ("# key.pem\n", True), ("old-key.pem.txt\n", True), ("*.pem\n!/key.pem\n", True)),
    ],
)
def test_keygen_leaves_a_gitignore_that_is_there_and_says_what_it_lacks(llmasos, tmp_path, text, told):
    (tmp_path / ".gitignore").write_text(text)
    code, out, _ = llmasos("keygen", "--out", tmp_path)
    assert code == 0
    assert (tmp_path / ".gitignore").read_text() == text
    assert ("does not keep key.pem out: add it" in out) == told


def test_a_gitignore_that_is_a_link_keeps_nothing_out_and_is_not_written_through(llmasos, tmp_path):
    (tmp_path / "other").write_text("/key.pem\n")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / ".gitignore").symlink_to(tmp_path / "other")
    code, out, _ = llmasos("keygen", "--out", tmp_path / "keys")
    assert code == 0
    assert "does not keep key.pem out: add it" in out
    assert (tmp_path / "other").read_text() == "/key.pem\n"


def test_keygen_says_so_where_no_gitignore_can_be(llmasos, tmp_path):
    (tmp_path / ".gitignore").mkdir()
    code, out, _ = llmasos("keygen", "--out", tmp_path)
    assert code == 0
    assert "does not keep key.pem out: add it" in out


def test_keygen_never_overwrites(llmasos, tmp_path):
    llmasos("keygen", "--out", tmp_path)
    before = (tmp_path / "key.pem").read_bytes()
    code, _, err = llmasos("keygen", "--out", tmp_path)
    assert (code, (tmp_path / "key.pem").read_bytes()) == (2, before)
    assert "never overwritten" in err
    assert "try:" in err


def test_keygen_in_a_place_that_cannot_be_written_says_so(llmasos, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = llmasos("keygen", "--out", tmp_path / "file" / "keys")
    assert code == 2
    assert f"cannot write the key: {tmp_path / 'file'} is no directory" in err


def test_keygen_refuses_an_owner_that_is_no_name(llmasos, tmp_path):
    assert llmasos("keygen", "--out", tmp_path, "--owner", "<b>")[0] == 2


def test_verifying_nothing_is_a_usage_error(llmasos, tmp_path):
    code, _, err = llmasos("verify", tmp_path)
    assert code == 2
    assert "there is no report" in err


def test_the_shipped_demo_certifies_verifies_and_can_be_repeated(tmp_path):
    for number in (1, 2):
        done = isolated(
            "from llmasos_conformance.cli import main; main(sys.argv[1:])", "demo", "--profile", "quick", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "llmasos-demo" / f"report-{number}" / "report.intoto.json").is_file()
    for part in ("conformant: llmasos", "accepted; level reached: re-judged", "Not proven:", "next: pytest --adapter="):
        assert part in done.stdout

    verified = isolated(
        "from llmasos_conformance.cli import main; main(sys.argv[1:])",
        "verify",
        "llmasos-demo/report-1",
        "--json",
        cwd=tmp_path,
    )
    said = json.loads(verified.stdout)
    assert verified.returncode == said["exitCode"] == 3  # nobody is trusted
    assert said["reasons"][0]["code"] == "E_SIGNER_UNKNOWN"
    assert said["level"] == "integrity"


# ── the reference as a tool ──


def test_generate_continues_a_prompt_and_repeats_itself_with_a_seed(llmasos, model):
    words = ("generate", model, "hello", "--max-length", 8, "--seed", 3, "--json")
    first, second = (json.loads(llmasos(*words)[1]) for _ in range(2))
    assert first == second
    assert first["completion_tokens"] == 8
    code, out, _ = llmasos(*words[:-1])
    assert (code, out) == (0, first["text"] + "\n")


def test_generate_says_what_is_wrong_with_an_option(llmasos, model):
    code, _, err = llmasos("generate", model, "hello", "--temperature", "-1")
    assert code == 2
    assert "invalid_argument" in err
    assert "temperature" in err


def test_inspect_advises_no_prompt_for_what_continues_no_text(llmasos, model):
    model.write_text(json.dumps({**SEED_DOCUMENT, "architecture": "BERT"}))
    code, out, _ = llmasos("inspect", model)
    assert code == 0
    assert "next: llmasos explain BERT" in out


def test_inspect_shows_a_bundle_and_says_all_that_is_wrong(llmasos, model):
    code, out, _ = llmasos("inspect", model)
    assert code == 0
    for part in ("tiny: GPT-3", "context 1024", "num_heads=1", "from seed 0", "next: llmasos generate"):
        assert part in out
    assert "next: llmasos explain BERT" not in out
    said = json.loads(llmasos("inspect", model, "--json")[1])
    assert (said["sound"], said["document"], said["defaults"]["context_length"]) == (True, SEED_DOCUMENT, 1024)
    parameters = {**SEED_DOCUMENT["parameters"], "num_heads": "2"}
    model.write_text(json.dumps({**SEED_DOCUMENT, "weights_url": "x", "parameters": parameters}))
    code, out, _ = llmasos("inspect", model)
    assert code == 1
    for part in ("wrong: model.json: unknown key 'weights_url'", "parameters.num_heads", "2 things are wrong"):
        assert part in out
    assert [fault["code"] for fault in json.loads(llmasos("inspect", model, "--json")[1])["faults"]] == [
        "invalid_format",
        "invalid_format",
    ]


def test_inspect_shows_the_example_of_the_source_document(llmasos, model):
    parameters = {"vocab_size": 10000, "embedding_dim": 512, "num_layers": 12}
    model.write_text(json.dumps({**SEED_DOCUMENT, "architecture": "Transformer", "parameters": parameters}))
    code, out, _ = llmasos("inspect", model)
    assert code == 0
    for part in ("vocabulary 10000, width 512, 12 layers, 8 heads", "context_length=1024", 'positions="sinusoidal"'):
        assert part in out


def test_inspect_looks_into_a_graph_and_a_mismatch_is_a_finding(llmasos, tmp_path):
    pytest.importorskip("onnxruntime")
    assert llmasos("new", tmp_path / "made", "--architecture", "GPT-3", *NEW)[0] == 0
    assert llmasos("export", tmp_path / "made")[0] == 0
    code, out, _ = llmasos("inspect", tmp_path / "made")
    assert code == 0
    assert "graph: model.onnx, operator set 17, made of these weights" in out
    document = json.loads((tmp_path / "made" / "model.json").read_text())
    (tmp_path / "made" / "model.safetensors").unlink()
    (tmp_path / "made" / "model.json").write_text(json.dumps({**document, "initialisation": {"seed": 99}}))
    code, out, _ = llmasos("inspect", tmp_path / "made")
    assert code == 1
    assert "wrong: model.onnx: was made of other weights than those of the seed (export it again)" in out
    code, out, _ = llmasos("inspect", tmp_path / "made", "--json")
    told = json.loads(out)
    assert (code, told["sound"], told["graphs"][0]["weights"]) == (1, False, "others")
    assert told["graphs"][0]["inputs"][0] == {"name": "input_ids", "dtype": "int64", "shape": ["batch", "length"]}


def test_inspect_of_nothing_is_an_error_with_the_path(llmasos, tmp_path):
    code, _, err = llmasos("inspect", tmp_path / "none.json")
    assert code == 2
    assert "not_found" in err
    assert "none.json" in err


NEW = ("--vocab-size", 300, "--width", 16, "--layers", 1)


def test_new_makes_a_bundle_that_inspect_calls_sound(llmasos, tmp_path):
    code, out, _ = llmasos(
        "new", tmp_path / "made", "--architecture", "Llama", *NEW, "--set", "num_heads=4", "--seed", 3
    )
    assert code == 0
    assert f"next: llmasos inspect {tmp_path / 'made'}" in out
    code, out, _ = llmasos("inspect", tmp_path / "made", "--tensors")
    assert code == 0
    assert "layers.0.feed_forward.gate.weight" in out
    assert json.loads((tmp_path / "made" / "model.json").read_text())["initialisation"] == {"seed": 3}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--architecture", "Mamba"], "unsupported_architecture"),
        (["--architecture", "GPT-3", "--set", "num_heads=3"], "3 heads do not divide"),
        (["--architecture", "GPT-3", "--set", "rope_theta=1"], "unknown key 'rope_theta'"),
        (["--architecture", "GPT-3", "--set", "nothing"], "is no setting"),
        (["--architecture", "GPT-3", "--tokenizer", "none.json"], "cannot be read"),
    ],
)
def test_new_refuses_what_the_format_forbids_and_leaves_nothing(llmasos, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    code, _, err = llmasos("new", "made", *words, *NEW)
    assert code == 2
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_new_never_overwrites(llmasos, tmp_path):
    (tmp_path / "mine").write_text("x")
    code, _, err = llmasos("new", tmp_path, "--architecture", "GPT-3", *NEW)
    assert code == 2
    assert "nothing is overwritten" in err


# ── errors ──


def test_an_unreachable_adapter_exits_4_with_what_where_and_try(llmasos, tmp_path):
    code, _, err = llmasos(
        "certify", "--adapter", "referense", "--profile", "quick", "--out", tmp_path / "r", "--in-process"
    )
    assert code == 4
    for part in ("error: no adapter 'referense'", "where: referense", "try: reference"):
        assert part in err


def test_an_unknown_profile_exits_2_with_near_names(llmasos, tmp_path):
    code, _, err = llmasos(
        "certify", "--adapter", "reference", "--profile", "quik", "--out", tmp_path / "r", "--in-process"
    )
    assert code == 2
    assert "quick" in err


def test_an_in_process_run_is_a_self_test_with_json_alone_on_standard_output(llmasos, tmp_path):
    words = (
        "certify",
        "--adapter",
        "reference",
        "--profile",
        "quick",
        "--out",
        tmp_path / "r",
        "--in-process",
        "--json",
    )
    code, out, err = llmasos(*words)
    said = json.loads(out)
    assert (code, err, said["mode"], said["signed"]) == (0, "", "self-test", False)


def certify_in(here, llmasos, *words):
    """Certify in process, in a directory; the exit code and the lines of what comes next."""
    code, out, err = llmasos("certify", *words, "--in-process", "--no-progress")
    return code, [line.strip() for line in out.partition("\nnext: ")[2].splitlines()], out + err


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_where_no_profile_is_named_that_of_the_table_is_certified(here, llmasos):
    (here / "llmasos.toml").write_text('[profiles.a]\nadapter = "reference"\nprofile = "quick"\n')
    code, steps, out = certify_in(here, llmasos, "--adapter", "@a", "--out", "r")
    assert code == 0
    assert "(quick)" in out or "quick" in out
    again = "llmasos certify --adapter @a --profile quick --key keys/key.pem --out r-2"
    assert steps == ["llmasos keygen --out keys", again]
    assert f"next: {again.replace('--out r-2', '--out report')}\n" in llmasos("keygen")[1]
    assert certify_in(here, llmasos, "--adapter", "@a", "--out", "r-2")[1] == [again.replace("r-2", "r-3")]


def test_a_profile_of_the_table_that_there_is_not_certifies_nothing(here, llmasos):
    (here / "llmasos.toml").write_text('[profiles.a]\nadapter = "reference"\nprofile = "quik"\n')
    code, _, said = certify_in(here, llmasos, "--adapter", "@a", "--out", "r")
    assert code != 0
    assert not (here / "r").exists()
    for part in ("there is no profile 'quik'", "llmasos.toml: `profile` of [profiles.a]", "try: quick"):
        assert part in said
    assert "--adapter reference --profile quick" not in llmasos("keygen")[1].partition("#")[2]


def test_without_a_profile_anywhere_nothing_is_certified_and_the_three_ways_are_told(here, llmasos):
    code, _, said = certify_in(here, llmasos, "--adapter", "reference", "--out", "r")
    assert code == 2
    for part in ("--profile", "--bundle", "llmasos.toml"):
        assert part in said


def test_keygen_without_an_adapter_of_this_directory_names_a_command_that_works(here, llmasos):
    due = "next: llmasos certify --adapter reference --profile quick --key k/key.pem --out report   # or an adapter of"
    assert due in llmasos("keygen", "--out", "k")[1]


def test_keygen_says_where_the_policies_of_init_look_for_the_trust_file(here, llmasos):
    (here / "ci").mkdir()
    (here / "ci" / "gate.yaml").touch()
    step = "cp k/trust.json ci/trust.json   # where ci/gate.yaml looks for it\n"
    assert f"next: {step}      llmasos certify " in llmasos("keygen", "--out", "k")[1]
    (here / "ci" / "trust.json").touch()
    assert step not in llmasos("keygen", "--out", "other")[1]


LLAMA = """
from dataclasses import replace
from llmasos_conformance.adapters.reference import ReferenceAdapter


class Mine(ReferenceAdapter):
    def describe(self):
        return replace(super().describe(), architectures=("Llama",))
"""


def test_who_was_asked_for_an_architecture_that_he_does_not_declare_is_told_his_own_profile(here, llmasos):
    (here / "mine.py").write_text(LLAMA)
    words = ("--adapter", "./mine.py:Mine", "--profile", "quick", "--out", "r", "--timeout", "20", "--pass-env", "A")
    code, steps, said = certify_in(here, llmasos, *words)
    assert code == 3
    assert "the profile requires what the candidate does not declare: GPT-3" in said
    assert steps[-1].startswith("llmasos certify --adapter ./mine.py:Mine --profile core/llama/logits --key ")
    assert steps[-1].endswith(" --out r-2 --pass-env A --timeout 20")


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_interrupted_run_is_told_to_be_repeated_with_its_seed(here, interrupted):
    done = SimpleNamespace(
        content={"predicate": {"run": {"seed": "abc"}}}, undeclared=(), interrupted=interrupted, signed=False
    )
    order = Order(adapter="reference", profile="quick", out=Path("r"))
    command = certifying._after_certify(done, order)[-1]
    assert command.endswith("--out r --seed abc") == interrupted
    assert "--passphrase-file 'my pw'" in certifying._after_certify(done, order, Path("my pw"))[-1]


CRASHING = """
from llmasos_conformance.adapters.reference import ReferenceAdapter


class Mine(ReferenceAdapter):
    def load_model(self, path):
        raise KeyError("position_embedding")
"""


def test_a_crash_behind_many_cases_is_explained_once_and_told_once(llmasos, tmp_path):
    (tmp_path / "mine.py").write_text(CRASHING)
    words = ("certify", "--adapter", f"{tmp_path / 'mine.py'}:Mine", "--profile", "quick", "--in-process")
    code, out, _ = llmasos(*words, "--out", tmp_path / "r")
    assert code == 1
    assert len(re.findall("^fail .*raised: KeyError: 'position_embedding'$", out, re.MULTILINE)) == 1
    (told,) = re.findall(
        r"^(\d+) cases failed by one exception: KeyError: 'position_embedding'; mend this first$", out, re.MULTILINE
    )
    assert re.search(rf"^… and {int(told) - 1} more in .*report\.md$", out, re.MULTILINE)
    said = json.loads(llmasos(*words, "--out", tmp_path / "s", "--json")[1])
    (alike,) = said["alike"]
    assert (len(alike["cases"]), said["onset"], said["causes"]) == (int(told), None, [])


def test_what_is_declared_and_not_asked_is_told_and_stands_in_no_statement(llmasos, tmp_path):
    described = {"name": "mine", "version": "1", "capabilities": ["load_model", "forward", "export"]}
    (tmp_path / "mine.py").write_text(f"{CRASHING}\n    def describe(self):\n        return {described}\n")
    words = ("certify", "--adapter", f"{tmp_path / 'mine.py'}:Mine", "--profile", "quick", "--in-process")
    _, out, _ = llmasos(*words, "--out", tmp_path / "r")
    assert "\ndeclared, not asked by this profile: export (export/gpt asks it)\n" in out
    said = json.loads(llmasos(*words, "--out", tmp_path / "s", "--json")[1])
    assert said["unasked"] == [{"capabilities": ["export"], "profile": "export/gpt", "requires": []}]
    assert "asked by" not in (tmp_path / "s" / "statement.json").read_text()


def test_our_own_fault_exits_70_and_asks_for_a_report(llmasos, monkeypatch):
    monkeypatch.setattr(installed, "suites", lambda: 1 / 0)
    code, _, err = llmasos("list", "--profiles")
    assert code == 70
    assert "ZeroDivisionError" in err
    assert "llmasos doctor --json" in err


def test_an_interrupted_command_exits_130_without_a_trace(llmasos, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(installed, "suites", stop)
    code, _, err = llmasos("list", "--profiles")
    assert (code, err.strip()) == (130, "interrupted")


def test_colours_are_left_out_where_nobody_sees_them_and_with_no_color(monkeypatch, capsys):
    cli.say("hello", fg="red")
    assert capsys.readouterr().out == "hello\n"
    shown = []
    monkeypatch.setattr(cli.click, "echo", lambda text, **options: shown.append(options["color"]))
    monkeypatch.setenv("NO_COLOR", "1")
    cli.say("hello", fg="red")
    monkeypatch.delenv("NO_COLOR")
    cli.say("hello", fg="red")
    assert shown == [False, None]


def test_signals_reach_the_isolated_interpreter_and_its_exit_code_comes_back(monkeypatch):
    assert isolation.rerun(["--version"]) == 0
    assert isolation.rerun(["explain", "E_NOTHING_LIKE_THIS"]) == 2


def test_the_isolated_interpreter_reads_no_compiled_files_and_finds_our_packages_first(monkeypatch, tmp_path):
    code = f"import sys; open({str(tmp_path / 'seen')!r}, 'w').write(f'{{sys.pycache_prefix}} {{sys.path[0]}}')"
    before = isolation._BOOT.partition("from ")[0]
    monkeypatch.setattr(isolation, "_BOOT", before + code)
    assert isolation.rerun([]) == 0
    assert (tmp_path / "seen").read_text() == f"{os.devnull} {isolation.roots()[0]}"


def test_the_isolated_interpreter_sees_nothing_of_the_callers_environment(monkeypatch, tmp_path):
    started = time.monotonic()
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setattr(
        isolation, "_BOOT", f"import os, sys, json; json.dump(dict(os.environ), open({str(tmp_path / 'e')!r}, 'w'))"
    )
    assert isolation.rerun([]) == 0
    seen = json.loads(Path(tmp_path / "e").read_text())
    assert "SECRET_TOKEN" not in seen
    assert {seen[name] for name in installed.THREAD_VARIABLES} == {"1"}
    assert time.monotonic() - started < 60


# ── export ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sound(llmasos, tmp_path):
    """A small bundle with weights."""
    llmasos(
        "new", tmp_path / "small", "--architecture", "Llama", "--vocab-size", 300, "--width", 16, "--layers", 1,
        "--set", "context_length=8", "--set", "num_heads=2",
    )  # fmt: skip
    return tmp_path / "small"


def test_a_bundle_is_exported_and_what_comes_next_is_named(llmasos, sound):
    code, out, err = llmasos("export", sound)
    assert (code, err) == (0, "")
    assert "Llama as ONNX, float32, with cache, operator set 17" in out
    assert "onnxruntime computes the same as the reference" in out
    assert "--profile interchange/llama" in out
    assert llmasos("inspect", sound)[0] == 0


def test_an_export_as_json_names_files_and_digests(llmasos, sound, tmp_path):
    code, out, _ = llmasos(
        "export", sound, "--out", tmp_path / "x.onnx", "--dtype", "float64", "--without-cache", "--external-data",
        "--opset", 13, "--json",
    )  # fmt: skip
    told = json.loads(out)
    assert (code, told["dtype"], told["cached"], told["opset"]) == (0, "float64", False, 13)
    assert [Path(file).name for file in told["files"]] == ["x.onnx.data", "x.onnx"]
    assert 0 < told["error"] <= 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--opset", 12], "13 to 21"),
        (["--dtype", "float16"], "one of float32, float64"),
        (["--out", "model.pb"], "does not end in .onnx"),
    ],
)
def test_what_cannot_be_exported_is_an_error_in_words(llmasos, sound, words, said):
    code, _, err = llmasos("export", sound, *words)
    assert code == 2
    assert said in err
    assert not (sound / "model.onnx").exists()


def test_a_bundle_without_weights_is_exported_only_when_that_is_asked_for(llmasos, model):
    code, _, err = llmasos("export", model)
    assert code == 2
    assert "holds no weights" in err
    assert llmasos("export", model, "--seeded", "--out", model.parent.parent / "m.onnx")[0] == 0
