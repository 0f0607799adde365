"""Commands that show reports: show, board."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmasos_conformance.canonical import clean
from llmasos_conformance.cli.terminal import next_step, now, print_json, say, watched, writable
from llmasos_conformance.errors import HarnessError

if TYPE_CHECKING:
    from llmasos_conformance.board import Made, Verifier
    from llmasos_conformance.board.views import View
    from llmasos_conformance.reading import Read

_CODES = """Exit codes: 0 a report whose signature checks is shown, whatever its verdict; 1 the page says why it is not
verified; 2 usage, nothing to show, or with --format a report that does not verify. Whether a verdict is good enough is
said by `llmasos gate`."""

_CODES_OF_ALL = """Exit codes: 0 every report holds and, with --trust, its signer is trusted; 1 some do not verify, or
their signer is not trusted; 2 usage, or nothing to show. Whose evidence is not here is counted apart."""


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


@click.command(short_help="Show a report, as a page or in a form that CI reads.", epilog=_CODES)
@click.argument("path", type=click.Path(path_type=Path), metavar="REPORT")
@click.option("--html", is_flag=True, help="write a page that needs no script and no network")
@click.option(
    "--format", "form", type=click.Choice(FORMATS),
    help="JUnit XML, CTRF JSON, a short page, shields.io endpoint JSON, a badge, workflow commands of GitHub, or a "
    "file of known failures to begin with",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE",
    help="the page  [default: REPORT.html], or the form  [default: standard output]",
)  # fmt: skip
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), help="trust file: whose reports to believe")
@click.option("--rejudge", is_flag=True, help="judge every stored answer again before it is shown")
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="DIR", help="your copy of the model that the report is about"
)
@click.option("--unverified", is_flag=True, help="give the form of a report that does not verify; it then says so")
@click.option("--suites", type=click.Path(path_type=Path), hidden=True)  # for suite authors
@click.option("--json", "as_json", is_flag=True, help="print what was shown as JSON")
def show(
    path: Path, html: bool, form: str | None, out: Path | None, lang: str, trust_file: Path | None, rejudge: bool,
    bundle: Path | None, unverified: bool, suites: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Show a report: its verdict, what was not right and how to see it again, requirements, numbers and samplers.

    The report is verified first. Without --html a few lines are printed; with it a page is written that holds all.
    With --format it is given in a form for CI.
    """
    if form is not None:
        if html or as_json or rejudge or bundle is not None:
            raise click.UsageError("--format gives one form; --html, --json, --rejudge and --bundle are for the page.")
        _in_form(path, form, out, trust_file, lang, suites, unverified=unverified)
        return 0
    if unverified:
        raise click.UsageError("--unverified is for a form; give --format too.")
    from llmasos_conformance import board as rooms
    from llmasos_conformance.pages import place

    if out is not None and not html:
        raise click.UsageError("--out is for a page or a form; give --html or --format too.")
    by = _verifier(trust_file, suites, rejudge=rejudge)
    with watched(silent=as_json) as progress:
        found, shown = rooms.look(
            path, path.name, by, bundle=bundle, on_case=lambda n, total: progress(n, total, "judging again")
        )
    target = None
    if html:
        target = out or found.directory.with_name(found.directory.resolve().name + ".html")
        place.write_one(target, rooms.one(found, shown, lang, by.loaded.digest), rooms.SHOW)
    code = 0 if found.standing in rooms.SHOWN else 1
    if as_json:
        print_json({"schemaVersion": "1.0", "exitCode": code, "out": target and str(target), **_told(found, shown)})
        return code
    _say(found, shown, lang)
    if target is not None:
        say(f"{target}: {target.stat().st_size} bytes")
        next_step(f"open {shlex.quote(str(target))} in a browser")
    else:
        next_step(f"llmasos show {shlex.quote(str(path))} --html")
    return code


def _in_form(
    path: Path, form: str, out: Path | None, trust_file: Path | None, lang: str, suites: Path | None, *,
    unverified: bool,
) -> None:  # fmt: skip
    """A report in a form for CI. What is meant for people goes to standard error: standard output holds the form."""
    from llmasos_conformance import projections, report

    read = read_report(path, trust_file=trust_file, unverified=unverified, suites=suites)
    made = projections.FORMS[form](
        read.content, report_id=read.report_id, warning=read.warning, lang=lang, now=now(),
        path=writable(shlex.quote(str(path))),
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


def _verifier(trust_file: Path | None, suites: Path | None, *, rejudge: bool) -> Verifier:
    from llmasos_conformance import board as rooms
    from llmasos_conformance import policy, suite
    from llmasos_conformance.verify import Installed

    trust = None if trust_file is None else policy.read_trust(trust_file)
    own = Installed.here(suites)
    return rooms.Verifier(own=own, loaded=suite.load(suites), now=now(), trust=trust, rejudge=rejudge)


def _told(found: Read, shown: View | None) -> dict[str, Any]:
    """A report as JSON; keys are stable. What a refused one says is not told."""
    told: dict[str, Any] = {
        "name": found.name, "standing": str(found.standing), "checked": list(found.checked),
        "reasons": [{"code": each.code, "message": each.message, "case": each.case} for each in found.reasons],
        "signer": found.signed_by or None, "report": None,
    }  # fmt: skip
    if shown is not None:
        predicate, (name, version) = found.predicate, shown.who
        told["report"] = {
            "id": found.report_id, "candidate": name, "candidateVersion": version,
            "profile": predicate["suite"]["profile"], "verdict": predicate["verdict"], "summary": predicate["summary"],
            "precision": None if shown.precision is None else asdict(shown.precision),
            "grade": None if shown.grade is None else f"{shown.grade:.3g}",
            "chapters": {each.name: {str(state): count for state, count in each.counts.items()}
                         for each in shown.chapters},
            "notRight": [failure.case for group in shown.groups for failure in group.failures],
        }  # fmt: skip
    return told


_MOST = 8


def _say(found: Read, shown: View | None, lang: str) -> None:
    from llmasos_conformance import causes, report
    from llmasos_conformance.board.words import STANDINGS

    if shown is not None and found.content is not None:
        outcomes = [failure for group in shown.groups for failure in group.failures]
        for failure in outcomes[:_MOST]:
            say(f"{failure.state} {failure.case}: {failure.message}")
        if len(outcomes) > _MOST:
            say(f"… {len(outcomes) - _MOST}")
        for line in causes.told(shown.together, shown.sentences, lang):
            say(line)
        say(report.headline(found.content), bold=True)
        if shown.precision is not None:
            say(shown.precision.sentence)
    say(STANDINGS[lang][found.standing])
    for reason in found.reasons:
        say(f"{reason.code}: {reason.message}" if reason.code else reason.message, fg="yellow")


@click.command(short_help="Render all reports below a directory as pages.", epilog=_CODES_OF_ALL)
@click.argument("root", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("board"), show_default=True, help="directory of the pages"
)
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), help="trust file: whose reports to believe")
@click.option("--rejudge", is_flag=True, help="judge every stored answer again; takes as long as the runs")
@click.option("--suites", type=click.Path(path_type=Path), hidden=True)  # for suite authors
@click.option("--json", "as_json", is_flag=True, help="print what was written as JSON")
def board(root: Path, out: Path, trust_file: Path | None, rejudge: bool, suites: Path | None, as_json: bool) -> int:
    """Render all reports below a directory: runtimes by chapters, precision, failures, and a page for each report.

    Every report is verified first; one that does not verify is listed with the reason, and nothing that it says is
    shown. The pages are in English and Chinese, and need no script and no network. Nothing but earlier pages of this
    command is ever overwritten.
    """
    from llmasos_conformance import board as rooms

    by = _verifier(trust_file, suites, rejudge=rejudge)
    with watched(silent=as_json) as progress:
        made = rooms.board(root, by, on_report=lambda n, total: progress(n, total, "reports"))
    files = rooms.write(out, made, by.loaded)
    strange = {rooms.Standing.SIGNER_UNKNOWN, rooms.Standing.POLICY} if trust_file is not None else set()
    code = 1 if made.refused or any(each.read.standing in strange for each in made.shown.values()) else 0
    if as_json:
        reports = [{"page": file, "copies": list(each.read.copies), **_told(each.read, each)}
                   for file, each in made.shown.items()]  # fmt: skip
        refused = [{"page": None, "copies": list(each.copies), **_told(each, None)} for each in made.refused]
        print_json({"schemaVersion": "1.0", "exitCode": code, "out": str(out), "reports": [*reports, *refused],
                    "files": files})  # fmt: skip
        return code
    _say_board(made)
    say(f"{len(files)} files in {out}")
    next_step(f"open {shlex.quote(str(out / 'index.html'))} in a browser")
    return code


def _say_board(made: Made) -> None:
    from llmasos_conformance import report
    from llmasos_conformance.board.words import STANDINGS

    for each in made.shown.values():
        assert each.read.content is not None
        headline, stands = report.headline(each.read.content), STANDINGS["en"][each.read.standing]
        say(f"{clean(each.read.name, 300)}: {headline}; {stands}{_again(each.read)}")
    for read in made.refused:
        why = "; ".join(f"{each.code}: {each.message}" if each.code else each.message for each in read.reasons)
        say(f"{clean(read.name, 300)}: {STANDINGS['en'][read.standing]}: {why}{_again(read)}", fg="yellow")


def _again(read: Read) -> str:
    """Where copies of a report lie, behind what is said of it."""
    from llmasos_conformance.board.overview import NAMED

    left = len(read.copies) - NAMED
    more = f" and {left} more" if left > 0 else ""
    return f"; also in {', '.join(clean(name, 300) for name in read.copies[:NAMED])}{more}" if read.copies else ""
