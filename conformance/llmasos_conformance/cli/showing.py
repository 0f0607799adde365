"""The command that shows a report in another form."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmasos_conformance.cli.terminal import next_step, now, say
from llmasos_conformance.errors import HarnessError

if TYPE_CHECKING:
    from llmasos_conformance.reading import Read

FORMATS = ("junit", "ctrf", "markdown", "badge", "svg", "github", "known-failures")


def read_report(path: Path, *, trust_file: Path | None, unverified: bool, suites: Path | None) -> Read:
    """A report that holds together, or `unverified` whatever stands against it.

    Raises:
        HarnessError: there is none, or it is refused; with the reason.
    """
    from llmasos_conformance import policy, reading, verify

    trust = None if trust_file is None else policy.read_trust(trust_file)
    found = reading.read(path, now=now(), own=verify.Installed.here(suites), trust=trust)
    return reading.believed(found, unverified=unverified)


@click.command(
    short_help="Show a report in a form that CI reads.",
    epilog="Exit codes: 0 shown, whatever its verdict; 2 usage, or a report that does not verify (the reason is "
    "printed). Whether a verdict is good enough is said by `llmasos gate`.",
)
@click.argument("path", type=click.Path(path_type=Path), metavar="REPORT")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="markdown", show_default=True,
    help="JUnit XML, CTRF JSON, a short page, shields.io endpoint JSON, a badge, workflow commands of GitHub, or a "
    "file of known failures to begin with",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="write it there, not to standard output")
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), help="trust file: whose reports to believe")
@click.option("--unverified", is_flag=True, help="show a report that does not verify; every form then says so")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--suites", type=click.Path(path_type=Path), hidden=True)  # for suite authors
def show(
    path: Path, form: str, out: Path | None, trust_file: Path | None, unverified: bool, lang: str, suites: Path | None
) -> None:
    """Show a report in another form. It is verified first, as far as what lies beside it allows.

    What is meant for people goes to standard error, so that standard output holds the form and nothing else.
    """
    from llmasos_conformance import projections, report

    read = read_report(path, trust_file=trust_file, unverified=unverified, suites=suites)
    made = projections.FORMS[form](
        read.content, report_id=read.report_id, warning=read.warning, lang=lang, path=shlex.quote(str(path)), now=now()
    )  # fmt: skip
    if out is None:
        click.echo(made, nl=False)
    else:
        try:
            report.write_text(out, made)
        except OSError as error:
            raise HarnessError(f"cannot write: {error.strerror}", where=out, hint="choose another --out") from error
    if read.warning:
        say(read.warning, err=True, fg="yellow")
    trusted = f" --trust {shlex.quote(str(trust_file))}" if trust_file else ""
    if form == "known-failures":
        name = shlex.quote(str(out)) if out else "known-failures.yaml"
        next_step(f"write the reasons, then: pytest --adapter=… --llmasos-known-failures={name}", err=True)
    else:
        next_step(f"llmasos verify {shlex.quote(str(path))}{trusted} --rejudge", err=True)
