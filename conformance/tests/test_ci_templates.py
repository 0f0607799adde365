"""The templates for continuous integration: what they say exists, and their scripts run as they stand."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from llmasos_conformance import cli, gate, installed, knownfailures

HERE = Path(__file__).parents[2] / "docs" / "ci"
TEMPLATES = ("github-actions.yml", "gitlab-ci.yml")


def scripts(name):
    """The shell texts of a template, in their order, by the name of the step."""
    document = yaml.safe_load((HERE / name).read_text(encoding="utf-8"))
    if name.startswith("github"):
        steps = document["jobs"]["certify"]["steps"]
        return [(step["name"], step["run"]) for step in steps if "run" in step]
    return [(str(number), text) for number, text in enumerate(document["llmasos"]["script"])]


def commands(name):
    """The words of every call of llmasos in a template."""
    for _, text in scripts(name):
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["llmasos"]:
                yield [word for word in words[1 : words.index("||") if "||" in words else None] if word != "$@"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_command_and_option_of_a_template_exists(name):
    seen = set()
    for words in commands(name):
        command = cli.cli.commands[words[0]]
        seen.add(words[0])
        known = {option: param for param in command.params for option in param.opts}
        for number, word in enumerate(words):
            if word.startswith("--"):
                assert word in known, f"{words[0]} has no {word}"
                if isinstance(known[word].type, click.Choice):
                    assert words[number + 1] in known[word].type.choices
    assert {"certify", "gate", "show"} <= seen


@pytest.mark.parametrize("name", TEMPLATES)
def test_options_that_a_template_adds_on_a_condition_exist_too(name):
    added = {word for _, text in scripts(name) for word in re.findall(r"set -- (--[a-z-]+)", text)}
    options = {
        option for each in ("certify", "gate") for param in cli.cli.commands[each].params for option in param.opts
    }
    assert {"--key", "--previous"} == added <= options


@pytest.mark.parametrize("command", ["certify", "gate", "show"])
def test_the_commands_of_the_templates_have_help(command, capsys):
    assert cli.run([command, "--help"]) == 0
    assert "Exit codes" in capsys.readouterr().out


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_sends_no_expression_through_the_shell_and_no_secret_to_the_log(name):
    for _, text in scripts(name):
        assert "${{" not in text
        assert "set -x" not in text


def test_the_github_template_may_only_read_and_keeps_no_credentials():
    document = yaml.safe_load((HERE / TEMPLATES[0]).read_text(encoding="utf-8"))
    assert document["permissions"] == {"contents": "read"}
    steps = document["jobs"]["certify"]["steps"]
    assert steps[0]["with"] == {"persist-credentials": False}
    assert [step["if"] for step in steps if step.get("name") == "Publish"] == ["${{ !cancelled() }}"]


def test_the_gitlab_template_keeps_its_results_whatever_happens():
    job = yaml.safe_load((HERE / TEMPLATES[1]).read_text(encoding="utf-8"))["llmasos"]
    assert job["artifacts"]["when"] == "always"
    assert f"--out {job['artifacts']['reports']['junit']}" in "".join(text for _, text in scripts(TEMPLATES[1]))


def copied(tmp_path):
    """A vendor's repository with the policies in ci/, and a key whose trust file lies beside them."""
    shutil.copytree(HERE, tmp_path / "ci")
    assert cli.run(["keygen", "--out", str(tmp_path / "keys")]) == 0
    shutil.copy(tmp_path / "keys" / "trust.json", tmp_path / "ci" / "trust.json")
    return tmp_path


def test_the_policies_are_read_and_name_profiles_that_exist(tmp_path):
    place = copied(tmp_path) / "ci"
    names = installed.profile_names(installed.suites())
    for name in ("gate.yaml", "gate-unsigned.yaml"):
        wanted = gate.read_policy(place / name)
        assert {each.profile for each in wanted.profiles} <= set(names)
        assert wanted.known == {}
    assert gate.read_policy(place / "gate.yaml").trust is not None
    assert knownfailures.read(place / "known-failures.yaml") == {}


@pytest.mark.parametrize(("name", "signed"), [(TEMPLATES[0], True), (TEMPLATES[1], False)])
def test_the_scripts_of_a_template_run_as_they_stand(tmp_path, name, signed):
    """With the reference and the quick profile in place of a vendor's own; what they install is installed."""
    place = copied(tmp_path)
    for file in (place / "ci").glob("gate*.yaml"):
        file.write_text(file.read_text(encoding="utf-8").replace("core/gpt/logits", "quick"), encoding="utf-8")
    tools = place / "bin"
    tools.mkdir()
    (tools / "llmasos").write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m llmasos_conformance.cli "$@"\n', encoding="utf-8"
    )
    (tools / "python").write_text('#!/bin/sh\n[ "$*" = "-m pip install llmasos" ]\n', encoding="utf-8")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    key = place / "keys" / "key.pem"
    given = {"SIGNING_KEY": key.read_text(), "LLMASOS_KEY": str(key)} if signed else {}
    roots = os.pathsep.join(str(path) for path in (HERE.parents[1] / "conformance", HERE.parents[1] / "reference_impl"))
    environment = {
        **os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": roots, "ADAPTER": "reference",
        "PROFILE": "quick", "RUNNER_TEMP": str(place), "GITHUB_STEP_SUMMARY": str(place / "summary.md"), **given,
    }  # fmt: skip
    said = ""
    for step, text in scripts(name):
        ran = subprocess.run(["bash", "-e", "-c", text], cwd=place, env=environment, capture_output=True, text=True,
                             check=False, timeout=300)  # fmt: skip
        assert ran.returncode == 0, (step, ran.stdout, ran.stderr)
        said += ran.stdout
    assert (place / "report" / "report.intoto.json").is_file() == signed
    assert not (place / "key.pem").exists()
    if name.startswith("github"):
        summary = (place / "summary.md").read_text(encoding="utf-8")
        assert summary.startswith("## GO: every rule holds")
        assert "## ✅ conformant: llmasos" in summary
        assert "::notice title=LLMasOS%3A conformant" in said
    else:
        assert "GO: every rule holds" in said
        assert "## ⚠️ unverified, says conformant: llmasos" in said
        assert (place / "junit.xml").is_file()


PAGES = [HERE.parent / name for name in ("gates.md", "gates.zh.md")]


def blocks(page):
    """The YAML examples of a page: the policy, and the known failures."""
    return re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_the_page_are_read(page, tmp_path, capsys):
    policy, known = blocks(page)
    (tmp_path / "gate.yaml").write_text(policy, encoding="utf-8")
    (tmp_path / "known-failures.yaml").write_text(known, encoding="utf-8")
    cli.run(["keygen", "--out", str(tmp_path / "keys")])
    shutil.copy(tmp_path / "keys" / "trust.json", tmp_path / "trust.json")
    wanted = gate.read_policy(tmp_path / "gate.yaml")
    assert (wanted.checked, wanted.days, len(wanted.profiles)) == ("re-judged", 30, 2)
    assert list(wanted.known) == ["numerics.small-embedding"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_names_every_exit_code_rule_form_and_word_of_a_policy(page):
    from llmasos_conformance import projections
    from llmasos_conformance.canonical import schema
    from llmasos_conformance.verdict import EXIT_ADAPTER, EXIT_CODES, EXIT_NOTHING, EXIT_OURS, EXIT_USAGE

    text = page.read_text(encoding="utf-8")
    for code in {0, 130, *EXIT_CODES.values(), EXIT_ADAPTER, EXIT_NOTHING, EXIT_OURS, EXIT_USAGE}:
        assert f"\n| {code} |" in text
    rules = set(re.findall(r'name="([a-z-]+)"', Path(gate.__file__).read_text(encoding="utf-8")))
    for name in {*rules, *projections.FORMS, *schema("gate")["properties"]}:
        assert name in text, name
    assert {"profile", "verified", "signer", "verdict", "regressions", "drift-growth"} <= rules


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_the_page_links_to_are_there(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
