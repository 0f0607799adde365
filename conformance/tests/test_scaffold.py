"""`llmasos init`: what it writes, that it writes all of it or nothing, and that what it writes passes as it stands."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from llmasos_conformance import cli, gate, installed, knownfailures, scaffold
from llmasos_conformance.adapters import connect
from llmasos_conformance.adapters.reference import new_bundle
from llmasos_conformance.protocol import Refusal
from llmasos_conformance.scaffold import ScaffoldError

ROOT = Path(__file__).parents[2]
THERE = [name for name in scaffold.LANGUAGES if (scaffold.examples() / name / "template.toml").is_file()]
OWN = ("BERT", "Llama", "Transformer")
"""Architectures beside GPT-3 that have a template of their own in Python."""
TEMPLATES = [*((language, "") for language in THERE), *(("python", architecture) for architecture in OWN)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty directory to work in."""
    place = tmp_path / "acme"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def tree(place):
    """Every file below a directory with its bytes, and every folder with None."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes() if path.is_file() else None for path in place.rglob("*")
    }


# ── what is written ──


def test_the_languages_of_the_command_are_those_of_the_templates():
    choices = next(option.type.choices for option in cli.cli.commands["init"].params if option.name == "language")
    assert tuple(choices) == scaffold.LANGUAGES
    assert [*scaffold.LANGUAGES] == THERE


@pytest.mark.parametrize(("language", "architecture"), TEMPLATES)
def test_every_template_is_whole_and_takes_a_name(language, architecture):
    template = scaffold.read(scaffold.examples(), language, architecture)
    files = scaffold.plan(template, scaffold.pipelines(), "Acme-7")
    own = {name: files[name] for name in template.files}
    assert any(b"Acme-7" in content for content in own.values())
    assert not any(scaffold.MARK.encode() in content for content in own.values())
    assert template.profile == template.passes[0]


@pytest.mark.parametrize(("language", "architecture"), TEMPLATES)
def test_what_a_template_passes_is_asked_of_it_here_or_is_part_of_what_is(language, architecture):
    """The profile of a template and the quick one of its architecture are certified below."""
    template = scaffold.read(scaffold.examples(), language, architecture)
    first, *more = (installed.frozen_profile(installed.suites(), name) for name in template.passes)
    known = {case["id"] for case in first["cases"]}
    for profile in more:
        assert {*profile["requires"]} <= {*first["requires"]}
        assert profile["profile"].startswith("quick") or {case["id"] for case in profile["cases"]} <= known


def test_a_template_is_that_of_the_architecture_where_there_is_one_and_every_one_of_them_is_asked_here():
    def profile(language, architecture):
        return scaffold.read(scaffold.examples(), language, architecture).profile

    assert [profile("python", each) for each in ("", "GPT-3", "Llama")] == [
        "core/gpt/logits",
        "core/gpt/logits",
        "core/llama/logits",
    ]
    assert profile("http", "BERT") == "quick"
    asked = {"-".join(filter(None, (language, architecture.lower()))) for language, architecture in TEMPLATES}
    assert asked == {path.parent.name for path in scaffold.examples().glob("*/template.toml")}


@pytest.mark.parametrize(("language", "architecture"), TEMPLATES)
def test_what_is_written_around_the_adapter_can_be_read_by_what_reads_it(language, architecture, tmp_path):
    template = scaffold.read(scaffold.examples(), language, architecture)
    scaffold.write(tmp_path, scaffold.plan(template, scaffold.pipelines(), "acme"))
    profiles = tomllib.loads((tmp_path / "llmasos.toml").read_text())["profiles"]
    assert profiles == {"default": {"adapter": template.address, "profile": template.profile}}
    assert knownfailures.read(tmp_path / "ci" / "known-failures.yaml") == {}
    for policy in ("gate.yaml", "gate-unsigned.yaml"):
        (tmp_path / "ci" / "trust.json").write_bytes(b"")
        if policy == "gate-unsigned.yaml":
            assert [each.profile for each in gate.read_policy(tmp_path / "ci" / policy).profiles] == [template.profile]
    workflow = yaml.safe_load((tmp_path / ".github" / "workflows" / "llmasos.yml").read_text())
    assert workflow["env"] == {"ADAPTER": "@default", "PROFILE": template.profile}
    run = {step["name"]: step["run"] for step in workflow["jobs"]["certify"]["steps"] if "run" in step}
    assert run["Install"].splitlines() == ["python -m pip install llmasos", *template.prepare]
    assert "llmasos smoke" in run["Smoke"]
    assert template.serve in run["Smoke"]
    assert list(run) == ["Install", "Smoke", "Certify", "Gate", "Publish"]


def test_a_readme_that_is_there_keeps_its_text_and_gets_a_section(here, llmasos):
    (here / "README.md").write_bytes(b"# Ours\r\n\r\ntext\r\n")
    code, out, _ = llmasos("init", "--lang", "python")
    assert code == 0
    assert "extended  README.md" in out
    text = (here / "README.md").read_bytes()
    assert text.startswith(b"# Ours\r\n\r\ntext\n\n" + scaffold.BEGIN.encode())
    assert b"acme is held to the LLMasOS standard" in text


def test_force_writes_over_the_adapter_and_our_section_of_the_readme(here, llmasos):
    llmasos("init", "--lang", "python")
    readme = (here / "README.md").read_text()
    (here / "README.md").write_text(f"before\n{readme}after\n")
    (here / "adapter.py").write_text("broken")
    (here / "adapter.py").chmod(0o755)
    code, *_ = llmasos("init", "--lang", "python", "--force", "--name", "other")
    assert code == 0
    text = (here / "README.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert text.count(scaffold.BEGIN) == 1
    assert "other is held" in text
    assert "acme is held" not in text
    assert '"other"' in (here / "adapter.py").read_text()
    assert (here / "adapter.py").stat().st_mode & 0o777 == 0o755


def test_force_leaves_the_failures_that_are_known(here, llmasos):
    llmasos("init", "--lang", "python")
    known = here / "ci" / "known-failures.yaml"
    known.write_text("# ours\nformat: 1\nfailures: []\n")
    code, out, _ = llmasos("init", "--lang", "python", "--force")
    assert code == 0
    assert f"kept      {Path('ci', 'known-failures.yaml')}\n" in out
    assert known.read_text().startswith("# ours\n")
    code, out, _ = llmasos("init", "--lang", "python", "--force", "--json")
    assert json.loads(out)["kept"] == ["ci/known-failures.yaml"]
    assert "ci/known-failures.yaml" not in json.loads(out)["files"]


def test_files_of_another_language_are_left_and_named(here, llmasos):
    llmasos("init", "--lang", "node")
    before = (here / "engine.mjs").read_bytes()
    code, out, _ = llmasos("init", "--lang", "python", "--force")
    assert code == 0
    assert "left      engine.mjs bears the name of a file for --lang node" in out
    assert (here / "engine.mjs").read_bytes() == before
    assert "\nleft " not in llmasos("init", "--lang", "node", "--dir", "elsewhere", "--force")[1]


def test_the_json_form_says_what_was_written_and_what_comes_next(here, llmasos):
    code, out, err = llmasos("init", "--lang", "http", "--dir", "sub dir", "--json")
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert {*said["files"]} <= {*tree(here / "sub dir")}
    assert said["passes"] == ["quick"]
    assert (said["name"], said["address"], said["missing"]) == ("sub-dir", "http://127.0.0.1:8000", {})
    assert said["next"][0] == "cd 'sub dir'"
    assert said["next"][-1] == "llmasos smoke"


def test_init_says_what_the_example_s_files_certify_and_how_to_have_another_profile_there(here, llmasos):
    _, out, _ = llmasos("init", "--lang", "http")
    assert re.search(r"^profile   quick is what .* certify; .* --force --profile core/llama/logits", out, re.MULTILINE)
    _, out, _ = llmasos("init", "--lang", "http", "--force", "--profile", "quick")
    assert "\nprofile " not in out


def test_a_profile_of_another_architecture_stands_wherever_one_is_certified(here, llmasos):
    code, out, _ = llmasos("init", "--lang", "python", "--profile", "core/llama/logits")
    assert code == 0
    assert "the example passes" not in out
    for name in (
        ".github/workflows/llmasos.yml",
        "README.md",
        "llmasos.toml",
        *(f"ci/{policy}" for policy in scaffold.POLICIES),
    ):
        text = (here / name).read_text("utf-8")
        assert "core/llama/logits" in text
        assert "core/gpt/logits" not in text
    adapter = (here / "adapter.py").read_text("utf-8")
    assert 'ARCHITECTURES = ("Llama",)\n' in adapter
    assert "GPT-3" not in adapter


@pytest.mark.parametrize(("language", "architecture"), TEMPLATES)
def test_nothing_is_said_against_a_profile_that_the_example_passes(language, architecture, here, llmasos):
    for profile in scaffold.read(scaffold.examples(), language, architecture).passes:
        code, out, _ = llmasos("init", "--lang", language, "--profile", profile, "--force")
        assert code == 0
        assert "\nnote " not in out


@pytest.mark.parametrize(
    ("language", "profile", "passed"),
    [
        ("python", "inference/llama/logits", "core/llama/logits"),
        ("python", "export/bert", "core/bert/logits"),
        ("python", "metrics/text", "core/gpt/logits"),
        ("http", "core/gpt/text", "quick"),
    ],
)
def test_a_profile_of_the_example_s_architecture_that_it_does_not_pass_is_explained(
    here, llmasos, language, profile, passed
):
    _, out, _ = llmasos("init", "--lang", language, "--profile", profile)
    asks = f"{profile} asks what it does not declare or lacks: llmasos explain {profile}\n"
    assert f"note      the example passes {passed}; {asks}" in out


@pytest.mark.parametrize("language", [name for name in THERE if name != "python"])
def test_init_says_which_files_are_the_vendor_s_to_replace_and_which_know_one_architecture(here, llmasos, language):
    _, out, _ = llmasos("init", "--lang", language, "--profile", "core/bert/logits")
    template = scaffold.read(scaffold.examples(), language)
    assert f"; of GPT-3 alone: {', '.join(template.gpt)}\n" in out
    assert f"yours     {template.note}\n" in out
    assert all(name in template.note or name.startswith("bundle") for name in template.gpt)


@pytest.mark.parametrize(("language", "architecture"), TEMPLATES)
def test_what_the_files_of_a_template_do_for_an_engine_is_declared(language, architecture):
    template = scaffold.read(scaffold.examples(), language, architecture)
    if "adapter.py" in template.files:
        assert b"kit.emulated(*OWN)" in template.files["adapter.py"].read_bytes()
        return
    main = next(path for name, path in template.files.items() if name.startswith(("adapter.", "server.")))
    text = main.read_text("utf-8")
    assert "Delete the line of what it does itself" in text
    assert re.search(r"format\W+bundles are read and judged by bundle", text)
    assert re.search(r"generate_text\W+text|generate_text\W+the text loop", text)


@pytest.mark.parametrize(("profile", "own", "other"), [
    ("core/gpt/logits", "GPT-3", "Llama"), ("core/llama/logits", "Llama", "GPT-3"),
    ("core/bert/logits", "BERT", "GPT-3"), ("core/transformer/logits", "Transformer", "BERT"),
])  # fmt: skip
def test_smoke_of_an_example_that_says_another_architecture_says_that_the_engine_is_still_to_come(
    here, llmasos, profile, own, other
):
    llmasos("init", "--lang", "python", "--profile", profile)
    adapter = (here / "adapter.py").read_text()
    (here / "adapter.py").write_text(adapter.replace(f'ARCHITECTURES = ("{own}",)', f'ARCHITECTURES = ("{other}",)'))
    code, out, _ = llmasos("smoke")
    assert code == 1
    assert f"this example computes {own} and not {other}: put your own engine in its place" in out


def test_a_profile_that_does_not_exist_is_refused_before_anything_is_written(here, llmasos):
    code, _, err = llmasos("init", "--lang", "python", "--profile", "core/lama/logits")
    assert (code, tree(here)) == (2, {})
    assert "core/llama/logits" in err


@pytest.mark.parametrize("profile", ["hosted/chat", "bundle/gpt"])
def test_a_profile_that_is_about_no_adapter_as_it_stands_is_refused(here, llmasos, profile):
    code, _, err = llmasos("init", "--lang", "python", "--profile", profile)
    assert (code, tree(here)) == (2, {})
    assert "is not about an adapter as it stands" in err


@pytest.mark.parametrize("name", ["ci", ".github"])
def test_nothing_is_written_through_a_link_to_another_directory(here, llmasos, name, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (here / name).symlink_to(elsewhere)
    for force in ([], ["--force"]):
        code, _, err = llmasos("init", "--lang", "python", *force)
        assert code == 2
        assert f"{name} is in the way" in err or f"{name}, " in err
    assert list(elsewhere.iterdir()) == []


def test_a_readme_that_is_a_link_or_a_pipe_is_left_alone(here, llmasos, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "text"
    other.write_text("theirs")
    (here / "README.md").symlink_to(other)
    assert llmasos("init", "--lang", "python")[0] == 2
    assert (here / "README.md").is_symlink()
    (here / "README.md").unlink()
    os.mkfifo(here / "README.md")
    code, _, err = llmasos("init", "--lang", "python")
    assert code == 2
    assert "is no file of its own" in err


def test_a_beginning_of_our_section_without_its_end_stays_with_all_behind_it(here, llmasos):
    (here / "README.md").write_text(f"{scaffold.BEGIN}\nmine\n")
    for _ in range(2):
        assert llmasos("init", "--lang", "python", "--force")[0] == 0
    text = (here / "README.md").read_text()
    assert text.startswith(f"{scaffold.BEGIN}\nmine\n")
    assert text.count(scaffold.END) == 1


def test_what_has_to_be_run_first_is_one_command(here, llmasos, monkeypatch):
    template = scaffold.Template(language="cpp", files={}, address="cmd:build/a", prepare=("cmake .", "make"))
    monkeypatch.setattr(scaffold, "read", lambda root, language: template)
    code, out, _ = llmasos("init", "--lang", "cpp")
    assert code == 0
    assert "next: cmake . && make\n      llmasos smoke\n" in out
    assert "cmake .\nmake\n" in (here / "README.md").read_text()


def test_a_program_that_is_missing_is_told_with_how_to_get_it(here, llmasos, monkeypatch):
    template = scaffold.Template(language="python", files={}, address="cmd:zig run", needs={"zig-zag": "https://zig"})
    monkeypatch.setattr(scaffold, "read", lambda root, language: template)
    code, out, _ = llmasos("init", "--lang", "python")
    assert code == 0
    assert "zig-zag is not on PATH: https://zig" in out
    assert "- zig-zag is needed: https://zig\n" in (here / "README.md").read_text()


# ── all of it or nothing ──


def test_nothing_is_overwritten_and_nothing_else_written(here, llmasos):
    (here / "vendor_engine.py").write_text("mine")
    before = tree(here)
    code, _, err = llmasos("init", "--lang", "python")
    assert (code, tree(here)) == (2, before)
    assert "vendor_engine.py is there already; nothing was written" in err
    assert "--force" in err


def test_a_second_time_is_refused_and_names_all_that_is_there(here, llmasos):
    llmasos("init", "--lang", "python")
    before = tree(here)
    code, _, err = llmasos("init", "--lang", "python")
    assert (code, tree(here)) == (2, before)
    assert all(name in err for name in ("adapter.py", "llmasos.toml", "README.md", "known-failures.yaml"))


def test_a_dangling_link_counts_as_something_that_is_there(here, llmasos):
    (here / "adapter.py").symlink_to(here / "elsewhere.py")
    assert llmasos("init", "--lang", "python")[0] == 2
    assert not (here / "elsewhere.py").exists()


def test_a_directory_that_is_none_is_refused(here, llmasos):
    (here / "file").touch()
    code, _, err = llmasos("init", "--lang", "python", "--dir", "file")
    assert code == 2
    assert "is no directory" in err
    assert "--dir" in err


@pytest.mark.parametrize("blocked", ["ci", "adapter.py", "README.md", ".github"])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_is_in_the_way_is_named_and_left(here, llmasos, blocked, force):
    if "." in blocked[1:]:
        (here / blocked).mkdir()
    else:
        (here / blocked).touch()
    before = tree(here)
    code, _, err = llmasos("init", "--lang", "python", *force)
    assert (code, tree(here)) == (2, before)
    assert blocked in err


def test_a_readme_that_is_no_text_is_refused(here, llmasos):
    (here / "README.md").write_bytes(b"\xff\xfe")
    code, _, err = llmasos("init", "--lang", "python")
    assert code == 2
    assert "cannot be read" in err


@pytest.mark.parametrize("name", ["", "a b", "-x", ".x", 'a"b', "ä", "x" * 65, "a/b", "a\nb"])
def test_a_name_that_could_not_stand_in_code_is_refused(here, llmasos, name):
    code, _, err = llmasos("init", "--lang", "python", "--name", name)
    assert (code, tree(here)) == (2, {})
    assert "is no name" in err


@pytest.mark.parametrize(("folder", "name"), [("my engine", "my-engine"), ("引擎", "mine"), ("a.b_c", "a.b_c")])
def test_a_directory_gives_its_name(folder, name):
    assert scaffold.name_of(Path("/x") / folder) == name
    assert scaffold.check_name(name) == name


def test_a_write_that_fails_half_way_leaves_everything_as_it_was(tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    before = tree(tmp_path)
    files = {"old": b"new", "deep/er/new": b"1", "n" * 300: b"2"}
    with pytest.raises(ScaffoldError, match="nothing was"):
        scaffold.write(tmp_path, files)
    assert tree(tmp_path) == before
    with pytest.raises(ScaffoldError):
        scaffold.write(tmp_path / "made", {"n" * 300: b""})
    assert tree(tmp_path) == before


def test_an_interruption_half_way_leaves_everything_as_it_was(tmp_path, monkeypatch):
    replace, calls = Path.replace, []

    def stop(self, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        scaffold.write(tmp_path, {"a/b": b"", "c": b""})
    assert tree(tmp_path) == {}


# ── templates that are none ──


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("files = [", "not valid TOML"),
        ("files = ['a']", "keys are"),
        ("files = ['a']\naddress = 'x'\nextra = 1", "keys are"),
        ("files = []\naddress = 'x'", "files is no list"),
        ("files = 'a'\naddress = 'x'", "files is no list"),
        ("files = ['a']\naddress = 1", "a text was due"),
        ("files = ['a']\naddress = 'x'\nnote = 1", "a text was due"),
        ("files = ['a']\naddress = 'x'\ngpt = 'a'", "gpt is no list of files that are copied"),
        ("files = ['a']\naddress = 'x'\ngpt = ['b']", "gpt is no list of files that are copied"),
        ("files = ['a']\naddress = 'x'\nprepare = 'make'", "prepare is no list"),
        ("files = ['a']\naddress = 'x'\npasses = 'quick'", "passes is no list of profiles"),
        ("files = ['a']\naddress = 'x'\nneeds = 'node'", "needs is no list"),
        ("files = ['a']\naddress = 'x'\nneeds = ['node']", "a program has"),
        ("files = ['a']\naddress = 'x'\nneeds = [{program = 'node'}]", "a program has"),
        ("files = ['a']\naddress = 'x'\nneeds = [{program = 'node', get = 1}]", "a program has"),
        ("files = ['absent']\naddress = 'x'", "absent is missing"),
        ("files = ['/etc/hostname']\naddress = 'x'", "leads elsewhere"),
        ("files = ['b/../../a']\naddress = 'x'", "leads elsewhere"),
        ("files = ['../other']\naddress = 'x'", "leads elsewhere"),
    ],
)
def test_a_malformed_template_is_refused_with_its_file(tmp_path, text, said):
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "a").touch()
    (tmp_path / "python" / "template.toml").write_text(text)
    with pytest.raises(ScaffoldError, match=said) as caught:
        scaffold.read(tmp_path, "python")
    assert caught.value.where.endswith("template.toml")


def test_a_language_without_a_template_names_those_that_have_one(tmp_path):
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "template.toml").touch()
    with pytest.raises(ScaffoldError) as caught:
        scaffold.read(tmp_path, "cpp")
    assert "there is python" in caught.value.hint


def test_a_workflow_that_no_longer_holds_what_is_replaced_is_our_own_fault():
    template = scaffold.read(scaffold.examples(), "python")
    with pytest.raises(ValueError, match="is not in the template"):
        scaffold._workflow("name: llmasos\n", template)


# ── what is written passes as it stands ──


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a language's candidate in a directory of its own; skips where it cannot be made here."""
    running = []

    def make(language, architecture=""):
        template = scaffold.read(scaffold.examples(), language, architecture)
        if lacking := template.missing():
            pytest.skip(f"{', '.join(lacking)} is not here")
        place = tmp_path / "vendor"
        files = scaffold.plan(template, scaffold.pipelines(), "acme", None, [architecture or "GPT-3"])
        scaffold.write(place, files)
        monkeypatch.chdir(place)
        for command in template.prepare:
            done = subprocess.run(shlex.split(command), cwd=place, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"{command}: {done.stderr[-300:]}")
        if template.serve:
            command = [sys.executable, *shlex.split(template.serve)[1:], "0"]
            process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True)
            running.append(process)
            url = process.stdout.readline().split()[-1]
            config = (place / "llmasos.toml").read_text()
            (place / "llmasos.toml").write_text(config.replace(template.address, url))
        return place, template

    yield make
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(("language", "architecture"), TEMPLATES)
def test_the_adapter_passes_smoke_unedited(language, architecture, made, llmasos):
    made(language, architecture)
    code, out, _ = llmasos("smoke", "--json")
    said = json.loads(out)
    assert (code, [step for step in said["steps"] if step["state"] != "ok"]) == (0, [])


def certified(place, profile, out):
    """What `certify` says as JSON, of a process of its own: in this one an engine of another example may be imported
    already, by the same name."""
    words = ["certify", "--adapter", "@default", "--profile", profile, "--json", "--out", out]
    run = subprocess.run([sys.executable, "-m", "llmasos_conformance.cli", *words], cwd=place, capture_output=True)
    assert run.returncode in (0, 1), run.stderr.decode()
    return json.loads(run.stdout)


@pytest.mark.parametrize(("language", "architecture"), TEMPLATES)
def test_the_adapter_passes_the_quick_profile_unedited(language, architecture, made, tmp_path):
    place, template = made(language, architecture)
    quick = next(name for name in template.passes if name.startswith("quick"))
    said = certified(place, quick, tmp_path / "report")
    assert said["verdict"] == "conformant", said["notRight"]
    assert {each["outcome"] for each in said["notRight"]} <= {"not_declared"}


def test_the_python_adapter_is_short_and_passes_the_core_profiles(made, llmasos, tmp_path):
    place, _ = made("python")
    code = (place / "adapter.py").read_text().partition("import copy")[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    text, logits = (
        {case["id"] for case in installed.frozen_profile(installed.suites(), f"core/gpt/{name}")["cases"]}
        for name in ("text", "logits")
    )
    assert text <= logits  # so that asking the latter is asking both
    words = ("certify", "--adapter", "@default", "--profile", "core/gpt/logits", "--in-process", "--no-progress")
    done, out, _ = llmasos(*words, "--json", "--out", tmp_path / "report")
    assert (done, json.loads(out)["notRight"]) == (0, [])


@pytest.mark.parametrize("architecture", OWN)
def test_the_python_adapter_of_another_architecture_passes_its_core_profile(architecture, made, tmp_path):
    place, template = made("python", architecture)
    assert template.profile == f"core/{architecture.lower()}/logits"
    said = certified(place, template.profile, tmp_path / "report")
    assert said["verdict"] == "conformant", said["notRight"]
    assert {each["outcome"] for each in said["notRight"]} <= {"not_declared"}


@pytest.mark.parametrize("architecture", ["GPT-3", "Llama", "Transformer"])
def test_a_closed_session_of_the_python_adapter_says_that_it_is_closed_also_where_it_is_full(
    architecture, made, tmp_path
):
    _, template = made("python", architecture)
    small = {"vocab_size": 300, "embedding_dim": 8, "num_layers": 1, "context_length": 4}
    bundle = new_bundle(tmp_path / "bundle", architecture, small, seed=1)
    host = shlex.join([sys.executable, "-m", "llmasos_conformance.adapters.host", template.address])
    connection = connect(f"cmd:{host}")
    try:
        model = connection.call("load_model", {"path": str(bundle)})["model"]
        source = {"source": [5, 6]} if architecture == "Transformer" else {}
        session = connection.call("open", {"model": model, "ids": [0, 1, 2, 3], **source})["session"]
        with pytest.raises(Refusal) as full:
            connection.call("extend", {"session": session, "ids": [4]})
        connection.call("close", {"session": session})
        with pytest.raises(Refusal) as closed:
            connection.call("extend", {"session": session, "ids": [4]})
    finally:
        connection.close()
    assert (full.value.code, closed.value.code) == ("context_overflow", "invalid_argument")


def test_the_server_needs_nothing_of_ours_and_fails_only_where_a_tokenizer_is_due(made, llmasos, tmp_path):
    place, template = made("http")
    for name in template.files:
        assert "llmasos" not in {
            line.split()[1].partition(".")[0]
            for line in (place / name).read_text().splitlines()
            if line.startswith(("import ", "from "))
        }
    words = ("certify", "--adapter", "@default", "--profile", "core/gpt/logits", "--no-progress", "--json")
    code, out, _ = llmasos(*words, "--in-process", "--out", tmp_path / "report")
    wrong = json.loads(out)["notRight"]
    assert code == 1
    said = "a valid request was refused: unsupported: bytes are its only tokens"
    assert {each["message"] for each in wrong} == {said}


def test_the_workflow_runs_as_it_stands(made, tmp_path):
    """With the quick profile and without a key; what it installs is installed, and it does not publish."""
    place, _ = made("python")
    for file in (place / "ci").glob("gate*.yaml"):
        file.write_text(file.read_text().replace("core/gpt/logits", "quick"))
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "llmasos").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m llmasos_conformance.cli "$@"\n')
    (tools / "python").write_text('#!/bin/sh\n[ "$*" = "-m pip install llmasos" ]\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    workflow = yaml.safe_load((place / ".github" / "workflows" / "llmasos.yml").read_text())
    environment = {
        **os.environ, **workflow["env"], "PROFILE": "quick", "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "conformance"), str(ROOT / "reference_impl")]),
        "RUNNER_TEMP": str(tmp_path), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }  # fmt: skip
    for step in workflow["jobs"]["certify"]["steps"]:
        if step.get("name") in ("Install", "Smoke", "Certify", "Gate"):
            ran = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=place, env=environment, capture_output=True,
                                 text=True, check=False, timeout=300)  # fmt: skip
            assert ran.returncode == 0, (step, ran.stdout, ran.stderr)
    assert (tmp_path / "summary.md").read_text().startswith("## GO: every rule holds")


# ── both ways of finding the templates ──


def unpacked_like_a_wheel(place):
    """The files of a checkout where pyproject.toml has a wheel put them."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name in build["only-include"]:
        old = max((each for each in build["sources"] if name.startswith(each)), key=len)
        target = place / build["sources"][old] / name.removeprefix(old).lstrip("/")
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def in_isolation(packages, *words, cwd):
    code = f"{INSERT}; from llmasos_conformance.cli import main; main(sys.argv[2:])"
    command = [sys.executable, "-I", "-c", code, str(packages), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


INSERT = "import sys; sys.path.insert(0, sys.argv[1])"
DIGEST = f"{INSERT}; from llmasos_conformance import installed; print(installed.harness_digest())"


@pytest.mark.parametrize("language", THERE)
def test_a_wheel_writes_what_a_checkout_writes(language, tmp_path):
    packages, place = tmp_path / "packages", tmp_path / "acme"
    unpacked_like_a_wheel(packages)
    place.mkdir()
    done = in_isolation(packages, "init", "--lang", language, cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    expected = scaffold.plan(scaffold.read(ROOT / "examples", language), ROOT / "docs" / "ci", "acme")
    assert {name: content for name, content in tree(place).items() if content is not None} == expected


def test_a_wheel_has_the_digest_of_its_checkout(tmp_path):
    """What lies inside the package there and beside it here is no part of what a report calls the harness."""
    unpacked_like_a_wheel(tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "-c", DIGEST, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == installed.harness_digest()


def test_a_wheel_that_was_really_built_holds_the_templates(tmp_path):
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not here")
    from zipfile import ZipFile

    from hatchling.builders.wheel import WheelBuilder

    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    names = {*ZipFile(built).namelist()}
    for language in THERE:
        template = scaffold.read(ROOT / "examples", language)
        assert f"llmasos_conformance/examples/{language}/template.toml" in names
        for source in template.files.values():
            inside = source.resolve().relative_to(ROOT / "examples").as_posix()
            assert f"llmasos_conformance/examples/{inside}" in names
    assert {"llmasos_conformance/docs/ci/github-actions.yml", "llmasos_conformance/docs/protocol.md"} <= names
    assert not any("vendor-python" in name for name in names)


def test_an_installation_without_templates_says_what_to_do(tmp_path):
    with pytest.raises(ScaffoldError) as caught:
        scaffold._found(tmp_path / "a", tmp_path / "b")
    assert "pip install" in caught.value.hint
