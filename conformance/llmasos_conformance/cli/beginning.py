"""Commands of the first hour: init, smoke, try. Each ends with what to do next."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmasos_conformance.canonical import telling
from llmasos_conformance.cli.terminal import next_step, print_json, say

if TYPE_CHECKING:
    from llmasos_conformance.onecase import Tried
    from llmasos_conformance.overheard import Turn
    from llmasos_conformance.protocol import Description
    from llmasos_conformance.scaffold import Template
    from llmasos_conformance.smoke import Step

SHOWN = 12
"""Turns of a conversation that are shown at its beginning, and as many at its end."""


@click.command(
    short_help="Write an adapter to begin with.",
    epilog="Exit codes: 0 all was written, 2 nothing was. A README that is there gets a section at its end; otherwise "
    "nothing that is there is touched, unless --force is given.",
)
@click.option(
    "--lang", "language", required=True, type=click.Choice(["python", "node", "cpp", "http"]), help="of the adapter"
)
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), default=Path(), show_default=True, metavar="DIR",
    help="where to write, made if absent",
)  # fmt: skip
@click.option("--name", metavar="NAME", help="of your engine, as reports say it  [default: that of the directory]")
@click.option(
    "--profile", metavar="NAME", help="that workflow, policies and README are to certify, such as core/bert/logits "
    "where your engine is a BERT; in Python the example is then of that architecture  [default: core/gpt/logits, or "
    "what the example passes of it]",
)  # fmt: skip
@click.option("--force", is_flag=True, help="write over what is there, but for failures that are known")
@click.option("--json", "as_json", is_flag=True, help="print what was written as JSON")
def init(
    language: str, directory: Path, name: str | None, profile: str | None, force: bool, as_json: bool
) -> None:  # fmt: skip
    """Write an adapter that passes as it stands, its config, a file of known failures, a CI workflow and a README.

    All of it is written or nothing. Put your engine into the adapter, call by call.
    """
    from llmasos_conformance import installed, scaffold
    from llmasos_conformance.protocol import ARCHITECTURES

    architectures: list[str] = []
    if profile is not None:
        found = installed.frozen_profile(installed.suites(), profile)  # or says what is near
        if found.get("hosted") or profile.startswith("bundle/"):
            raise click.BadParameter(
                f"{profile} is not about an adapter as it stands: it wants a server's address, or a bundle of yours; "
                "llmasos docs hosted, or certify --bundle", param_hint="--profile",
            )  # fmt: skip
        architectures = [name for name in ARCHITECTURES if name in found["requires"]]
    example = scaffold.read(scaffold.examples(), language, *architectures[:1])
    template = example if profile is None else replace(example, profile=profile)
    called = scaffold.check_name(scaffold.name_of(directory.resolve()) if name is None else name)
    readme = scaffold.readme_in(directory)
    files = scaffold.plan(template, scaffold.pipelines(), called, readme, architectures or ["GPT-3"])
    scaffold.check_free(directory, files, readme, force=force)
    kept = scaffold.kept_in(directory)
    written = {path: content for path, content in files.items() if path not in kept}
    left = scaffold.left_in(directory, scaffold.examples(), files) if force else {}
    scaffold.write(directory, written)
    steps = _after_init(template, directory)
    missing = template.missing()
    if as_json:
        print_json({
            "schemaVersion": "1.0", "directory": str(directory), "name": called, "language": language,
            "address": template.address, "profile": template.profile, "passes": list(template.passes),
            "files": list(written), "kept": list(kept), "left": left, "missing": missing,
            "note": template.note, "next": steps,
        })  # fmt: skip
        return
    for path in files:
        done = "kept" if path in kept else "extended" if path == scaffold.README and readme is not None else "wrote"
        say(f"{done:<9} {directory / path}")
    for path, other in left.items():
        say(f"left      {directory / path} bears the name of a file for --lang {other}; remove it if it was that")
    passed, asked = example.profile, template.profile
    computed = installed.frozen_profile(installed.suites(), passed)["requires"]
    if not {*architectures} <= {*computed}:
        alone = f"; of GPT-3 alone: {', '.join(template.gpt)}" if template.gpt else ""
        say(f"note      the example passes {passed}; {asked} is for your engine in its place{alone}", fg="yellow")
    elif asked not in template.passes:
        say(f"note      the example passes {passed}; {asked} asks what it does not declare or lacks: llmasos explain "
            f"{asked}", fg="yellow")  # fmt: skip
    elif profile is None:
        say(
            f"profile   {passed} is what workflow, policies and README certify; an engine of another architecture "
            "begins again with --force --profile core/llama/logits, or another of `llmasos list --profiles`"
        )
    if template.note:
        say(f"yours     {template.note}")
    for program, how in missing.items():
        say(f"missing   {program} is not on PATH: {how}", fg="yellow")
    next_step(*steps)


def _after_init(template: Template, directory: Path) -> list[str]:
    """The commands that follow, in their order."""
    steps = [] if directory == Path() else [f"cd {shlex.quote(str(directory))}"]
    if template.prepare:
        steps.append(" && ".join(template.prepare))
    if template.serve:
        steps.append(f"{template.serve}   (leave it running; go on in another terminal)")
    return [*steps, "llmasos smoke"]


_MARKS = {"ok": None, "warn": "yellow", "bad": "red", "left": "yellow"}


@click.command(
    short_help="Prove that an adapter is wired right; no verdict.",
    epilog="Exit codes: 0 the wiring is right, 1 an answer is none, 2 usage, 4 the adapter cannot be reached, died or "
    "broke the protocol.",
)
@click.argument("address", required=False)
@click.option("--adapter", metavar="ADDRESS", hidden=True, help="the same, as other commands have it")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="seconds per call"
)
@click.option("--json", "as_json", is_flag=True, help="print the steps as JSON")
def smoke(address: str | None, adapter: str | None, timeout_s: float, as_json: bool) -> int:
    """Start an adapter, load a bundle, call every declared capability once, have it refuse, unload, and end.

    Without ADDRESS it is the default profile of llmasos.toml, or the only one there.
    """
    from llmasos_conformance import adapters
    from llmasos_conformance import smoke as rooms

    address = address or adapter or adapters.default_address()
    tried = rooms.run(address, timeout_s=timeout_s, tell=(lambda step: None) if as_json else _say_step)
    code, bad = tried.exit_code, sum(step.state == "bad" for step in tried.steps)
    if code == 0 and tried.description is not None:
        steps = [_first_verdict(address, tried.description), f"llmasos try {shlex.quote(address)}"]
    else:
        first = next(step for step in tried.steps if step.state == "bad")
        again = "with the new one" if first.name == "address" else shlex.quote(address)  # a token may stand in the old
        steps = [f"mend {first.name}, as said above, and then: llmasos smoke {again}"]
    if as_json:
        print_json({
            "schemaVersion": "1.0", "address": address, "ok": code == 0, "exitCode": code, "next": steps,
            "steps": [
                {"name": each.name, "state": each.state, "text": each.text, "try": each.hint,
                 "seconds": round(each.seconds, 6)}
                for each in tried.steps
            ],
        })  # fmt: skip
        return code
    said = (
        "the wiring is right" if code == 0 else f"the wiring is not right: {bad} of {len(tried.steps)} steps went wrong"
    )
    say(f"{said}. This is no verdict: whether answers are right is what the cases ask", bold=True,
        fg="green" if code == 0 else "red")  # fmt: skip
    next_step(*steps)
    return code


def _first_verdict(address: str, said: Description, case: str = "") -> str:
    """The command that gives a person a verdict of his own: on the profile that his directory names, else one that
    fits, with a case in it.
    """
    from llmasos_conformance import installed

    command = f"{installed.pytest_command()} --adapter={shlex.quote(address)}"
    if installed.configured_profile(address):  # asked without being named
        return command
    return f"{command} --llmasos-profile={installed.profile_for(said.offers, case)}"


def _say_step(step: Step) -> None:
    first, *more = step.text.split("\n")
    say(f"{step.state:<5}{step.name:<19} {first}", fg=_MARKS[step.state])
    for line in more:
        say(f"{'':<25}{line}")
    if step.hint and step.state != "ok":
        say(f"{'':<25}try: {step.hint}")


@click.command(
    "try",
    short_help="Run one case, and show what travels.",
    epilog="Exit codes: 0 passed, 1 failed, 2 usage, 3 could not be judged or was not asked, 4 the adapter cannot be "
    "reached or broke the protocol.",
)
@click.argument("address", required=False)
@click.argument("case", required=False)
@click.option("--adapter", metavar="ADDRESS", hidden=True, help="the same, as other commands have it")
@click.option("--seed", default="0", show_default=True, metavar="TEXT", help="inputs follow from it")
@click.option("--in-process", is_flag=True, help="keep an object of Python in this process, for a debugger")
@click.option("--all", "whole", is_flag=True, help="show every turn of a long conversation")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="seconds per call"
)
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="print conversation and outcome as JSON")
def try_(
    address: str | None, case: str | None, adapter: str | None, seed: str, in_process: bool, whole: bool,
    timeout_s: float, lang: str, as_json: bool,
) -> int:  # fmt: skip
    """Run one case against an adapter, show the conversation, and how to read what came of it.

    Without CASE it is one that tells much. Without ADDRESS it is the default profile of llmasos.toml, or the only one
    there; what is a case and no address is taken for a CASE.
    """
    from llmasos_conformance import adapters, onecase, seating, suite

    loaded = suite.load()
    if address is not None and case is None and seating.bare(address) in loaded.cases:
        address, case = None, address
    address = address or adapter or adapters.default_address()
    tried = onecase.run(address, case, seed=seed, in_process=in_process, timeout_s=timeout_s, suite=loaded)
    if as_json:
        print_json(tried.as_json(lang))
        return tried.exit_code
    _say_conversation(tried, lang, whole=whole)
    colour = {0: "green", 1: "red"}.get(tried.exit_code, "yellow")
    first, *rest = tried.told(lang).splitlines()
    say(first, bold=True, fg=colour)
    for line in rest:
        say(line)
    for line in telling(tried.detail, 8):
        say(f"    {line}")
    next_step(*_after_try(tried))
    return tried.exit_code


def _say_conversation(tried: Tried, lang: str, *, whole: bool) -> None:
    say(f"{tried.case.id}: {tried.suite.requirements[tried.case.requirement].sentence[lang]}", bold=True)
    _say_turns(tried.opening, whole=whole)
    if tried.case.examples > 1:
        number, all_of_them = tried.example + 1, tried.case.examples
        say({"en": f"  example {number} of {all_of_them}", "zh": f"  第 {number} 个示例，共 {all_of_them} 个"}[lang])
    _say_turns(tried.turns, whole=whole)


def _say_turns(turns: tuple[Turn, ...], *, whole: bool) -> None:
    left = 0 if whole else max(0, len(turns) - 2 * SHOWN)
    for number, turn in enumerate(turns):
        if left and SHOWN <= number < SHOWN + left:
            if number == SHOWN:
                say(f"  … {left} more; --all shows them")
            continue
        for line in turn.lines:
            say(f"  {line}", wrap=False)


def _after_try(tried: Tried) -> list[str]:
    if tried.exit_code == 0:
        return [_first_verdict(tried.address, tried.description, tried.case.id), f"llmasos explain {tried.case.id}"]
    return [tried.again, f"llmasos explain {tried.case.id}"]
