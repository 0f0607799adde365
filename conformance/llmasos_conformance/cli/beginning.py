"""Commands of the first hour. Each ends with what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmasos_conformance.cli.terminal import next_step, print_json, say

if TYPE_CHECKING:
    from llmasos_conformance.scaffold import Template

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
@click.option("--force", is_flag=True, help="write over what is there")
@click.option("--json", "as_json", is_flag=True, help="print what was written as JSON")
def init(language: str, directory: Path, name: str | None, force: bool, as_json: bool) -> None:
    """Write an adapter that passes as it stands, its config, a file of known failures, a CI workflow and a README.

    All of it is written or nothing. Put your engine into the adapter, call by call.
    """
    from llmasos_conformance import scaffold

    template = scaffold.read(scaffold.examples(), language)
    called = scaffold.check_name(scaffold.name_of(directory.resolve()) if name is None else name)
    readme = scaffold.readme_in(directory)
    files = scaffold.plan(template, scaffold.pipelines(), called, readme)
    scaffold.check_free(directory, files, readme, force=force)
    scaffold.write(directory, files)
    steps = _after_init(template, directory)
    missing = template.missing()
    if as_json:
        print_json({
            "schemaVersion": "1.0", "directory": str(directory), "name": called, "language": language,
            "address": template.address, "files": list(files), "missing": missing, "next": steps,
        })  # fmt: skip
        return
    for path in files:
        say(f"{'extended' if path == scaffold.README and readme is not None else 'wrote':<9} {directory / path}")
    for program, how in missing.items():
        say(f"missing   {program} is not on PATH: {how}", fg="yellow")
    next_step(*steps)


def _after_init(template: Template, directory: Path) -> list[str]:
    """The commands that follow, in their order."""
    steps = [] if directory == Path() else [f"cd {shlex.quote(str(directory))}"]
    steps += template.prepare
    if template.serve:
        steps.append(f"{template.serve}   (leave it running; go on in another terminal)")
    return [*steps, "llmasos smoke"]
