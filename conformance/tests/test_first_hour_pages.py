"""The pages of the first hour show what a newcomer really sees."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from llmasos_conformance import cli, installed

HERE = Path(__file__).parents[2] / "docs"
PAGES = [HERE / name for name in ("first-hour.md", "first-hour.zh.md")]
MOST = 5
"""Commands from nothing to a first verdict."""


def blocks(page):
    """The sessions of a page: for each a list of (command, what it prints)."""
    for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
        yield list(zip(parts[1::2], parts[2::2], strict=True))


def masked(text):
    """What is the same on every machine, in every run and with any state of the suites, on which all inputs depend."""
    text = re.sub(r"[^ ]*/adapter\.py", "PLACE/adapter.py", text)
    text = re.sub(r"/[^\"]*/a/[0-9a-f]{16}", "BUNDLE", text)
    text = re.sub(r"\d+\.\d+ s\b", "TIME", text)
    text = re.sub(r"-?\d+\.\d+(e[+-]\d+)?x?", "NUMBER", text)  # their last digits are the machine's
    text = text.replace(f"{installed.pytest_command()} --", "pytest --")
    return re.sub(r"N([, ]+N)+", "N", re.sub(r"NUMBER|\d+", "N", text))


@pytest.fixture
def acme(tmp_path, monkeypatch, capsys):
    """An empty directory of that name, and the commands run in it."""
    place = tmp_path / "acme"
    place.mkdir()
    monkeypatch.chdir(place)

    def call(command):
        code = cli.run(command.split()[1:])
        return code, capsys.readouterr().out

    return place, call


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_print_what_the_page_says(page, acme):
    _, call = acme
    session = next(blocks(page))
    assert len(session) <= MOST
    assert session[0] == ("pip install llmasos", "")
    for command, due in session[1:-1]:
        code, out = call(command)
        assert (code, masked(out)) == (0, masked(due)), command
        assert "next: " in due


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_but_the_last_names_the_one_that_follows(page):
    session = next(blocks(page))
    for (_, printed), (command, _) in pairwise(session[1:]):
        first = re.search(r"^next: (.*)$", printed, re.MULTILINE)[1]
        assert command.startswith(first)
    assert "\nverdict: conformant (core/gpt/logits)\n" in session[-1][1]


def test_the_table_of_the_page_has_the_cases_of_the_profile():
    counts = re.findall(r"^[a-z]+ +(\d+)$", next(blocks(PAGES[0]))[-1][1], re.MULTILINE)
    assert sum(map(int, counts)) == len(installed.frozen_profile(installed.suites(), "core/gpt/logits")["cases"])


def test_the_case_that_fails_on_the_page_fails_so(acme):
    place, call = acme
    call("llmasos init --lang python")
    engine = place / "vendor_engine.py"
    text = engine.read_text()
    assert "x * x * x" in text
    engine.write_text(text.replace("x * x * x", "x * x"))
    ((command, due),) = list(blocks(PAGES[0]))[1]
    code, out = call(command)
    before, _, after = masked(due).partition("…\nnext")
    assert code == 1
    assert masked(out).startswith(before)
    assert masked(out).endswith(f"next{after}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_page_advises_exists(page):
    for command, options in re.findall(r"`llmasos (\w+)([^`]*)`", page.read_text(encoding="utf-8")):
        assert command in cli.cli.commands
        known = {option for param in cli.cli.commands[command].params for option in param.opts}
        assert {*re.findall(r"--[a-z-]+", options)} <= known
