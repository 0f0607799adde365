"""`llmasos …`: the commands, each a few lines around the room that does the work.

Importing this module costs little more than click; every command imports its room when it runs. With `--json`, standard
output holds JSON and nothing else, and what is meant for people goes to standard error. Errors say what, where, and
what to try. `certify` starts itself again in an isolated interpreter (see `isolation`).
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import shutil
import sys
import textwrap
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from llmasos_conformance import __version__
from llmasos_conformance.errors import HarnessError
from llmasos_conformance.verdict import EXIT_ADAPTER, EXIT_CODES, EXIT_OURS, EXIT_USAGE, Verdict

if TYPE_CHECKING:
    from llmasos_conformance.certify import Done, Order
    from llmasos_conformance.coverage import Table
    from llmasos_conformance.suite import Case, Suite, Withdrawal
    from llmasos_conformance.verify import Result

EXIT_INTERRUPTED = 130
_CODES = """Exit codes: 0 conformant, 1 non-conformant, 2 usage or configuration, 3 incomplete, 4 adapter unreachable or
it broke the protocol, 5 nothing selected, 70 our own fault."""


def say(text: str = "", *, err: bool = False, wrap: bool = True, **style: Any) -> None:
    """Print lines, on a terminal broken at its width between words; colours only there and without NO_COLOR.

    Args:
        wrap: False for commands, which one copies, and for tables.
    """
    stream = sys.stderr if err else sys.stdout
    if wrap and stream is not None and stream.isatty():
        text = _wrapped(text, shutil.get_terminal_size().columns)
    click.echo(
        click.style(text, **style) if style else text, err=err, color=False if os.environ.get("NO_COLOR") else None
    )


_COMMAND = re.compile(r": (?:llmasos|pytest|pip|chmod) ")


def _wrapped(text: str, width: int) -> str:
    """Lines of at most a terminal's width; what goes on stands two columns further in than its beginning.

    A line with a command stays whole, because one copies it.
    """
    lines = []
    for line in text.split("\n"):
        if _COMMAND.search(line):
            lines.append(line)
            continue
        inner = " " * (len(line) - len(line.lstrip(" ")) + 2)
        broken = textwrap.wrap(
            line, max(width, 40), subsequent_indent=inner, break_long_words=False, break_on_hyphens=False
        )
        lines += broken or [""]
    return "\n".join(lines)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def next_step(*commands: str, err: bool = False) -> None:
    """Every command ends with what one would do next."""
    for number, command in enumerate(commands):
        say(f"{'next:' if number == 0 else '     '} {command}", err=err, wrap=False, fg="cyan")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="llmasos")
def cli() -> None:
    """The LLMasOS standard: test implementations, certify them, check reports.

    \b
    Try it   llmasos demo
    Test     pytest --adapter=./mine.py:Mine
    Certify  llmasos certify --adapter ./mine.py:Mine --profile quick --out report
    """


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point: run a command and turn whatever happens into an exit code."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; errors are printed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        result = cli.main(args=arguments, standalone_mode=False, prog_name="llmasos", obj=list(arguments))
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        say("interrupted", err=True)
        return EXIT_INTERRUPTED
    except HarnessError as error:
        _show(error)
        return error.exit_code
    except BrokenPipeError:
        sys.stdout = None  # whoever read our output has gone, and closing would complain
        return 0
    except Exception:
        traceback.print_exc()
        say("\nerror: this is a bug of llmasos, not of your candidate", err=True, fg="red")
        say("  try: llmasos doctor --json, and report its output with the lines above", err=True)
        return EXIT_OURS


def _show(error: HarnessError) -> None:
    say(f"error: {error.what}", err=True, fg="red")
    code = getattr(error, "code", "")
    for label, text in (
        ("where", error.where),
        ("try", error.hint),
        ("more", f"llmasos explain {code}" if code else ""),
    ):
        if text:
            say(f"  {label}: {text}", err=True)


def _now() -> datetime:
    return datetime.now(UTC)


def _secret(file: Path | None, prompt: str, *, confirm: bool = False) -> bytes | None:
    """A passphrase from a file, or asked for on a terminal when there is no file but a need."""
    if file is not None:
        try:
            return file.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise HarnessError(f"cannot read the passphrase: {error.strerror}", where=file) from error
    if prompt and sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)).encode()
    return None


# ── certify ───────────────────────────────────────────────────────────────────────────────────────────────────────


@cli.command(epilog=_CODES, short_help="Run a profile and write a signed report.")
@click.option(
    "--adapter",
    required=True,
    metavar="ADDRESS",
    help="name, pkg.mod:attr, ./file.py:attr, 'cmd:./program' or @profile",
)
@click.option("--profile", metavar="NAME", help="frozen list of cases, e.g. quick or core/gpt/logits")
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="DIR",
    help="a model of your own: whether the candidate computes this very one  [profile: bundle/… of its architecture]",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="report directory, made by this run")
@click.option(
    "--key", type=click.Path(path_type=Path), help="private key from `llmasos keygen`; without it nothing is signed"
)
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="file with the key's passphrase")
@click.option("--seed", metavar="TEXT", help="inputs follow from it; default a fresh one, recorded in the report")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="seconds per call"
)
@click.option("--pass-env", multiple=True, metavar="NAME", help="environment variable the adapter may see; recorded")
@click.option(
    "--in-process", is_flag=True, help="host the adapter inside the harness: a self-test, never a certificate"
)
@click.option("--no-progress", is_flag=True, help="no progress display")
@click.option("--suites", type=click.Path(path_type=Path), hidden=True)  # for suite authors
@click.option("--brief", is_flag=True, hidden=True)  # for the demo, which goes on where this ends
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def certify(
    adapter: str, profile: str | None, bundle: Path | None, out: Path, key: Path | None, passphrase_file: Path | None,
    seed: str | None, timeout_s: float, pass_env: tuple[str, ...], in_process: bool, no_progress: bool,
    suites: Path | None, brief: bool, as_json: bool,
) -> int:  # fmt: skip
    """Run a profile against a candidate and write a signed report."""
    if profile is None:
        from llmasos_conformance.probes import given

        if bundle is None:
            raise click.UsageError("Missing option '--profile' (or '--bundle', for a model of your own).")
        profile = given.profile_of(bundle)
    if not sys.flags.isolated and not in_process:
        from llmasos_conformance import isolation

        try:
            return isolation.rerun(click.get_current_context().find_root().obj, pass_env)
        except isolation.Killed as killed:
            from llmasos_conformance.certify import sweep

            sweep(out, killed.pid)
            raise
    from llmasos_conformance import certify as rooms

    order = rooms.Order(
        adapter=adapter, profile=profile, out=out, seed=seed, key=key, timeout_s=timeout_s,
        pass_env=pass_env, passphrase=lambda: _passphrase(key, passphrase_file),
        out_of_process=not in_process, suites=suites, bundle=bundle,
    )  # fmt: skip
    with _progress(silent=as_json or no_progress) as progress:
        done = rooms.certify(order, clock=_now, progress=lambda n, total, case: progress(n, total, _chapter(case)))
    if as_json:
        print_json(_done_json(done))
    else:
        _print_done(done, order, brief=brief)
    return done.exit_code


def _passphrase(key: Path | None, file: Path | None) -> bytes | None:
    """Ask only if the key is encrypted, which its PEM header says."""
    if file is None and (key is None or b"ENCRYPTED" not in key.read_bytes()):
        return None
    return _secret(file, f"passphrase of {key}")


def _chapter(case: Case | None) -> str:
    return "" if case is None else case.id.split(".")[0]


@contextmanager
def _progress(*, silent: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Cases done of all, chapter and elapsed time on standard error; nothing where nobody watches."""
    if silent or not sys.stderr.isatty():
        yield lambda done, total, chapter: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda done, total, chapter: bar.update(task, completed=done, total=total, description=chapter)


def _done_json(done: Done) -> dict[str, Any]:
    from dataclasses import asdict

    from llmasos_conformance import report

    predicate, measured = done.content["predicate"], report.precision(done.content)
    return {
        "schemaVersion": "1.0",
        "verdict": predicate["verdict"],
        "exitCode": done.exit_code,
        "report": str(done.directory),
        "id": done.report_id,
        "signed": done.signed,
        "interrupted": done.interrupted,
        "profile": predicate["suite"]["profile"],
        "bundle": predicate.get("bundle"),
        "seed": predicate["run"]["seed"],
        "mode": predicate["run"]["mode"],
        "summary": predicate["summary"],
        "emulated": predicate["emulated"],
        "precision": None if measured is None else asdict(measured),
        "causes": [cause.as_json() for cause in report.likely_causes(done.content)[0]],
        "notRight": [
            {key: made[key] for key in ("id", "requirement", "level", "outcome", "message", "example") if key in made}
            for made in predicate["checks"]
            if made["outcome"] not in ("pass", "not_declared", "not_applicable")
        ],
    }


_SHOWN = 8


def _print_done(done: Done, order: Order, *, brief: bool) -> None:
    from llmasos_conformance import causes, report, suite
    from llmasos_conformance.verdict import State, Verdict

    seed = done.content["predicate"]["run"]["seed"]
    wrong = [outcome for outcome in done.outcomes if outcome.state in (State.FAIL, State.ERROR, State.INCONCLUSIVE)]
    if wrong:
        loaded = suite.load(order.suites)
        found, rest = report.likely_causes(done.content)
        first = {cause.begin[0]: number for number, cause in enumerate(found)}
        wrong.sort(key=lambda outcome: first.get(outcome.case, len(first)))  # what to read first comes first
        for outcome in wrong[:_SHOWN]:
            bundle = str(order.bundle or "")
            say(report.explain_outcome(outcome, loaded, adapter=order.adapter, seed=seed, bundle=bundle))
    if len(wrong) > _SHOWN:
        say(f"… and {len(wrong) - _SHOWN} more in {done.directory / report.MARKDOWN_NAME}")
    if wrong and found:
        sentences = {name: each.sentence for name, each in loaded.requirements.items()}
        for line in causes.told(found, rest, sentences):
            say(line)
    colour = {Verdict.CONFORMANT: "green", Verdict.NON_CONFORMANT: "red"}.get(done.verdict, "yellow")
    say(report.headline(done.content), fg=colour, bold=True)
    if measured := report.precision(done.content):
        say(measured.sentence)
    if done.lost:
        say(f"the candidate did not come back: {done.lost}", fg="yellow")
    if done.hung:
        left = sum(outcome.state is State.NOT_RUN for outcome in done.outcomes)
        say(f"the candidate hangs: {done.hung}; {left} cases were not run; see --timeout", fg="yellow")
    if done.undeclared:
        say(f"the profile requires what the candidate does not declare: {', '.join(done.undeclared)}", fg="yellow")
    state = "interrupted, kept unsigned" if done.interrupted else "signed" if done.signed else "not signed"
    say(f"report: {done.directory} ({state}), seed {seed}")
    if brief:
        return
    if done.signed:
        trust = order.key.with_name("trust.json") if order.key else Path("trust.json")
        about = f" --bundle {shlex.quote(str(order.bundle))}" if order.bundle else ""
        next_step(
            f"llmasos verify {shlex.quote(str(done.directory))} --trust {shlex.quote(str(trust))} --rejudge{about}"
        )
    elif done.interrupted:
        next_step(f"llmasos certify … --seed {seed} again, to the end; {report.STATEMENT_NAME} has what ran")
    else:
        next_step(
            "llmasos keygen --out keys, and certify with --key keys/key.pem to have a report that others can check"
        )


# ── verify ────────────────────────────────────────────────────────────────────────────────────────────────────────


@cli.command(
    short_help="Check a report, and judge it again.",
    epilog="Exit codes: 0 accepted and conformant, 1 rejected, 2 malformed or usage, 3 authentic but signer unknown or "
    "policy not met, 4 authentic, verdict not conformant.",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), help="trust file: whose reports to believe")
@click.option("--rejudge", is_flag=True, help="judge every stored answer again with the reference installed here")
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="DIR",
    help="your copy of the model that the report is about, where it is about one; --rejudge needs it",
)  # fmt: skip
@click.option(
    "--level",
    type=click.Choice(["suite", "evidence"]),
    default="evidence",
    show_default=True,
    help="how far to check without --rejudge; suite needs no evidence file",
)
@click.option("--suites", type=click.Path(path_type=Path), hidden=True)  # for suite authors
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def verify(
    path: Path, trust_file: Path | None, rejudge: bool, bundle: Path | None, level: str, suites: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Check a report: signature, signer, suite, evidence, and with --rejudge every verdict in it."""
    from llmasos_conformance import policy
    from llmasos_conformance import verify as rooms

    trust = None if trust_file is None else policy.read_trust(trust_file)
    with _progress(silent=as_json) as progress:
        result = rooms.verify(
            path, now=_now(), own=rooms.Installed.here(suites), trust=trust, level="re-judged" if rejudge else level,
            on_case=lambda n, total: progress(n, total, "judging again"), bundle=bundle,
        )  # fmt: skip
    if as_json:
        print_json(result.as_json())
    else:
        _print_result(result, path, rejudge=rejudge, trusted=trust is not None)
    return result.exit_code


_MARKS = {"reached": ("ok  ", "green"), "failed": ("no  ", "red"), "not checked": ("-   ", None)}
_RUNG_TEXT = {
    "integrity": "the bytes are the ones signed, in the only form they may have",
    "signer": "the trust file names the signer, for this time, candidate and profile",
    "suite": "suite and profile are ours; cases, counts, roots and verdict follow from them",
    "evidence": "the stored conversations are the ones signed",
    "re-judged": "asked and judged again from the seed with our own reference, every outcome is the same",
}


def _print_result(result: Result, path: Path, *, rejudge: bool, trusted: bool) -> None:
    from llmasos_conformance import report
    from llmasos_conformance.verify import NOT_PROVEN

    for rung, state in result.ladder.items():
        mark, colour = _MARKS[state]
        say(f"{mark}{rung:<10} {_RUNG_TEXT[rung]}", fg=colour)
    for reason in result.reasons:
        say(f"{reason.code}: {reason.message}", fg="red")
    for note in result.notes:
        say(f"note: {note}", fg="yellow")
    if result.content is not None:
        say(report.headline(result.content), bold=True)
        if measured := report.precision(result.content):
            say(measured.sentence)
    who = "signer unknown" if result.signer is None else f"signed by {result.signer.owner} ({result.signer.role})"
    words = {0: "accepted", 1: "REJECTED", 2: "MALFORMED", 3: "NOT ACCEPTED", 4: "authentic, but not conformant"}
    colour = "green" if result.exit_code == 0 else "red"
    unsigned = [reason.code for reason in result.reasons] == ["E_UNSIGNED"]
    say(
        f"{'UNSIGNED' if unsigned else words[result.exit_code]}; level reached: {result.level}; {who}",
        fg=colour,
        bold=True,
    )
    say(NOT_PROVEN)
    if result.reasons:
        next_step(f"llmasos explain {result.reasons[0].code}")
    elif not trusted:
        next_step(f"llmasos verify {path} --trust trust.json")
    elif not rejudge:
        about = " --bundle …" if result.content and "bundle" in result.content["predicate"] else ""
        next_step(f"llmasos verify {path} --trust … --rejudge{about}")
    else:
        next_step("nothing; whoever doubts the answers themselves certifies on a machine and with a seed of his own")


@cli.command(short_help="Make a signing key and a trust file.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("keys"), show_default=True, help="directory for the files"
)
@click.option("--owner", default="me", show_default=True, help="whom the trust entry names")
@click.option("--role", default="vendor", show_default=True, type=click.Choice(["vendor", "laboratory", "programme"]))
@click.option(
    "--days", default=400, show_default=True, type=click.IntRange(1, 3660), help="how long the key is trusted"
)
@click.option(
    "--passphrase-file", type=click.Path(path_type=Path), help="encrypt the key with the passphrase in this file"
)
def keygen(out: Path, owner: str, role: str, days: int, passphrase_file: Path | None) -> None:
    """Make a signing key, and a trust file that names it. Nothing is ever overwritten."""
    from llmasos_conformance import policy

    secret = _secret(passphrase_file, "")
    paths = policy.keygen(out, owner=owner, role=role, days=days, now=_now(), passphrase=secret)
    say(f"{paths['key']}: private key, for you alone{'' if secret else ' (no passphrase: see --passphrase-file)'}")
    say(f"{paths['public']}: public key, for anybody")
    say(f"{paths['trust']}: trust file, for whoever verifies your reports and believes you")
    next_step(f"llmasos certify --adapter … --profile quick --key {paths['key']} --out report")


# ── list and explain ──────────────────────────────────────────────────────────────────────────────────────────────


@cli.command("list")
@click.option("--adapters", "what", flag_value="adapters", help="installed adapters")
@click.option("--cases", "what", flag_value="cases", help="cases with requirement and check")
@click.option("--requirements", "what", flag_value="requirements", help="the standard's sentences")
@click.option("--profiles", "what", flag_value="profiles", default=True, help="frozen lists of cases (default)")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def list_(what: str, lang: str, as_json: bool) -> None:
    """List what is installed."""
    rows = _LISTS[what](lang)
    if as_json:
        return print_json(rows)
    if not rows:
        return say(f"no {what} are installed")
    widths = [max(len(str(row[key])) for row in rows) for key in rows[0]]
    for row in rows:
        say("  ".join(str(text).ljust(width) for text, width in zip(row.values(), widths, strict=True)).rstrip(),
            wrap=False)  # fmt: skip
    return next_step({"adapters": "llmasos doctor --adapter NAME", "profiles": "llmasos certify --profile NAME …"}.get(
        what, "llmasos explain ID"))  # fmt: skip


def _suite() -> Suite:
    from llmasos_conformance import suite

    return suite.load()


def _list_adapters(lang: str) -> list[dict[str, Any]]:
    from llmasos_conformance import adapters

    return [{"name": name, "leads to": target} for name, target in sorted(adapters.known().items())]


def _list_cases(lang: str) -> list[dict[str, Any]]:
    loaded = _suite()
    return [
        {"id": case.id, "requirement": case.requirement, "level": loaded.level(case), "check": case.check,
         "examples": case.examples, "needs": ",".join(sorted(case.needs))}
        for case in loaded.cases.values()
    ]  # fmt: skip


def _list_requirements(lang: str) -> list[dict[str, Any]]:
    return [
        {"id": each.id, "level": each.level, "chapter": each.chapter, "sentence": each.sentence[lang]}
        for each in _suite().requirements.values()
    ]


def _list_profiles(lang: str) -> list[dict[str, Any]]:
    from llmasos_conformance import installed

    directory = installed.suites()
    found = [(name, installed.frozen_profile(directory, name)) for name in installed.profile_names(directory)]
    return [
        {"name": name, "cases": len(profile["cases"]), "requires": ",".join(profile["requires"])}
        for name, profile in found
    ]


_LISTS: Mapping[str, Callable[[str], list[dict[str, Any]]]] = {
    "adapters": _list_adapters, "cases": _list_cases, "requirements": _list_requirements, "profiles": _list_profiles,
}  # fmt: skip


@cli.command(short_help="Explain a chapter, requirement, case or reason code.")
@click.argument("name", metavar="ID")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def explain(name: str, lang: str, as_json: bool) -> None:
    """Explain a chapter of the standard, a requirement, a case, or a reason code of verify.

    With --json, every answer has schemaVersion, kind, id and lang, and by its kind:

    \b
    case         requirement, level, sentence, check, asks, needs, given,
                 examples, effect, bugs, where, withdrawn, document, run
    requirement  level, chapter, sentence, source, untestable, withdrawn,
                 errata, cases, document
    chapter      title, requirements, document
    reason       text, exitCode
    """
    kind, told = _explained(name, lang)
    if as_json:
        return print_json({"schemaVersion": "1.0", "kind": kind, "id": told["id"], "lang": lang, **told})
    return _EXPLAIN[kind](told, lang)


def _explained(name: str, lang: str) -> tuple[str, dict[str, Any]]:
    """The kind of what has this name, and all that is told of it; keys are stable.

    Raises:
        HarnessError: nothing has the name.
    """
    from llmasos_conformance.reasons import REASONS

    if name.upper() in REASONS:
        code, *texts = REASONS[name.upper()]
        return "reason", {"id": name.upper(), "text": texts[lang == "zh"], "exitCode": code}
    loaded, name = _suite(), name.rpartition("::")[2]  # pytest prints llmasos::chapter::case
    if name in loaded.cases or name in loaded.withdrawn:
        return "case", _told_of_case(loaded, {**loaded.cases, **loaded.withdrawn}[name], lang)
    if name.upper() in loaded.requirements:
        return "requirement", _told_of_requirement(loaded, name.upper(), lang)
    if name in loaded.chapters:
        return "chapter", _told_of_chapter(loaded, name, lang)
    known = [*loaded.cases, *loaded.requirements, *loaded.chapters, *REASONS]
    near = get_close_matches(name, known, 3, 0.5) or [each for each in known if name.lower() in each.lower()][:3]
    raise HarnessError(
        f"nothing is called {name!r:.100}",
        hint=f"{', '.join(near)}" if near else "llmasos list --cases, or llmasos list --requirements",
    )


def _told_of_case(loaded: Suite, case: Case, lang: str) -> dict[str, Any]:
    """A case; run is "" for one that is withdrawn, and effect where the suite says none."""
    from llmasos_conformance import causes
    from llmasos_conformance.checks import registry
    from llmasos_conformance.report import reproduce_command

    requirement = loaded.requirements[case.requirement]
    check = registry().get(case.check)  # that of a withdrawn case may be gone
    return {
        "id": case.id, "requirement": requirement.id, "level": requirement.level,
        "sentence": requirement.sentence[lang], "check": case.check,
        "asks": inspect.cleandoc(check.doc) if check else case.check, "needs": sorted(case.needs),
        "given": dict(case.given), "examples": case.examples, "effect": case.effect.get(lang, ""),
        "bugs": causes.bugs_of(case.id, case.requirement),
        "where": case.where, "withdrawn": _told_withdrawn(case.withdrawn, lang),
        "document": _in_document(loaded, case.id, lang),
        "run": "" if case.withdrawn else reproduce_command(case, "ADDRESS"),
    }  # fmt: skip


def _told_of_requirement(loaded: Suite, name: str, lang: str) -> dict[str, Any]:
    """A requirement; untestable is None for one that cases test."""
    requirement = loaded.requirements[name]
    return {
        "id": requirement.id, "level": requirement.level, "chapter": requirement.chapter,
        "sentence": requirement.sentence[lang], "source": requirement.source.get(lang, requirement.source["en"]),
        "untestable": requirement.untestable.get(lang, requirement.untestable.get("en")),
        "withdrawn": _told_withdrawn(requirement.withdrawn, lang),
        "errata": [{"since": each.since, "was": each.was[lang], "why": each.why[lang]} for each in requirement.errata],
        "cases": [case.id for case in loaded.cases.values() if case.requirement == name],
        "document": _in_document(loaded, name, lang),
    }  # fmt: skip


def _told_of_chapter(loaded: Suite, name: str, lang: str) -> dict[str, Any]:
    return {
        "id": name,
        "title": loaded.chapters[name][lang],
        "requirements": [
            {"id": each.id, "level": each.level, "sentence": each.sentence[lang], "withdrawn": bool(each.withdrawn)}
            for each in loaded.requirements.values()
            if each.chapter == name
        ],
        "document": _in_document(loaded, name, lang),
    }


def _told_withdrawn(said: Withdrawal | None, lang: str) -> dict[str, Any] | None:
    return None if said is None else {"since": said.since, "why": said.why[lang], "instead": list(said.instead)}


def _explain_reason(told: Mapping[str, Any], lang: str) -> None:
    say(f"{told['id']}: {told['text']}")
    say({"en": "llmasos verify exits with ", "zh": "llmasos verify 的退出码为 "}[lang] + str(told["exitCode"]))


def _explain_case(told: Mapping[str, Any], lang: str) -> None:
    label = {
        "en": ("asks", "needs", "given", "examples", "if it fails", "known bugs that fail it", "where",
               "in the document", "run it"),
        "zh": ("检查自身的说明(英文)", "需要", "给定", "示例数", "若未通过", "未通过此用例的已知缺陷", "位置",
               "在文档中", "运行"),
    }[lang]  # fmt: skip
    say(told["id"], bold=True)
    say(f"  {told['requirement']} ({told['level']}): {told['sentence']}")
    _say_withdrawn(told["withdrawn"], lang)
    given = json.dumps(told["given"], ensure_ascii=False, default=str)
    rows = (
        told["asks"], ", ".join(told["needs"]), given if told["given"] else "", str(told["examples"]),
        told["effect"], "\n".join(told["bugs"]), told["where"], told["document"], told["run"],
    )  # fmt: skip
    for name, text in zip(label, rows, strict=True):
        if text:
            say(f"  {name}: " + text.replace("\n", "\n    "))


def _explain_requirement(told: Mapping[str, Any], lang: str) -> None:
    say(f"{told['id']} ({told['level']}), {told['chapter']}", bold=True)
    say(f"  {told['sentence']}")
    say({"en": "  source: ", "zh": "  来源:"}[lang] + told["source"])
    _say_withdrawn(told["withdrawn"], lang)
    for erratum in told["errata"]:
        say({"en": "  reworded in ", "zh": "  改写于 "}[lang] + f"{erratum['since']}: {erratum['why']}")
    if told["untestable"]:
        say({"en": "  untestable: ", "zh": "  不可测试:"}[lang] + told["untestable"])
    say({"en": "  cases: ", "zh": "  用例:"}[lang] + (", ".join(told["cases"]) or "-"))
    say({"en": "  in the document: ", "zh": "  在文档中:"}[lang] + told["document"])
    next_step(f"llmasos explain {told['cases'][0] if told['cases'] else told['chapter']}")


def _explain_chapter(told: Mapping[str, Any], lang: str) -> None:
    say(f"{told['id']}: {told['title']}", bold=True)
    for each in told["requirements"]:
        mark = {"en": ", withdrawn", "zh": ",已撤回"}[lang] if each["withdrawn"] else ""
        say(f"  {each['id']} ({each['level']}{mark}): {each['sentence']}")
    say({"en": "  in the document: ", "zh": "  在文档中:"}[lang] + told["document"])
    next_step(f"llmasos explain {told['requirements'][0]['id']}")


_EXPLAIN: Mapping[str, Callable[[Mapping[str, Any], str], None]] = {
    "case": _explain_case, "requirement": _explain_requirement, "chapter": _explain_chapter, "reason": _explain_reason,
}  # fmt: skip


def _in_document(loaded: Suite, name: str, lang: str) -> str:
    from llmasos_conformance import standard

    return standard.address(loaded, name, lang)


def _say_withdrawn(said: Mapping[str, Any] | None, lang: str) -> None:
    if said is not None:
        instead = {"en": "; instead: ", "zh": ";替代:"}[lang] + ", ".join(said["instead"]) if said["instead"] else ""
        say(
            {"en": "  withdrawn in ", "zh": "  撤回于 "}[lang] + f"{said['since']}: {said['why']}{instead}", fg="yellow"
        )


# ── the standard as a document, and what runs exercised of it ─────────────────────────────────────────────────────


@cli.command(short_help="Write the standard as pages that one can read.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="directory, made or replaced by this command"
)
@click.option("--lang", type=click.Choice(["en", "zh", "both"]), default="both", show_default=True)
@click.option(
    "--coverage",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="REPORT",
    help="show what this report says beside each case; may be given several times",
)
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), help="trust file for the reports")
@click.option("--suites", type=click.Path(path_type=Path), hidden=True)  # for suite authors
@click.option("--json", "as_json", is_flag=True, help="print what was written as JSON")
def standard(
    out: Path, lang: str, reports: tuple[Path, ...], trust_file: Path | None, suites: Path | None, as_json: bool
) -> None:  # fmt: skip
    """Write the standard as HTML pages: every chapter with its requirements and cases, an index and the words.

    The pages need no script and no network. Nothing but earlier pages of this command is ever overwritten.
    """
    from llmasos_conformance import standard as rooms
    from llmasos_conformance import suite

    loaded = suite.load(suites)
    table = _coverage(loaded, reports, trust_file, suites) if reports else None
    langs = ("en", "zh") if lang == "both" else (lang,)
    files = rooms.write(out, loaded, langs, table)
    levels = Counter(each.level for each in loaded.requirements.values() if each.withdrawn is None)
    numbers = {
        "requirements": levels.total(),
        "levels": {level: levels[level] for level in ("MUST", "SHOULD", "MAY")},
        "untestable": sum(bool(each.untestable) for each in loaded.requirements.values() if each.withdrawn is None),
        "cases": len(loaded.cases),
        "chapters": rooms.chapters(loaded),
    }
    if as_json:
        head = {"schemaVersion": "1.0", "out": str(out), "version": loaded.version, "suite": loaded.digest}
        print_json(
            {**head, "languages": list(langs), **numbers, "totals": table.totals if table else None, "files": files}
        )
        return
    counts = ", ".join(f"{count} {level}" for level, count in levels.items())
    say(f"{levels.total()} requirements ({counts}; {numbers['untestable']} untestable), {len(loaded.cases)} cases")
    say(f"{len(files)} files in {out}")
    next_step(f"open {shlex.quote(str(out / 'index.html'))} in a browser")


@cli.command(
    short_help="Say which requirements runs have exercised.",
    epilog="Exit codes: 0 every requirement that can be tested was judged in these runs, 1 a report does not hold "
    "together, 2 usage or a malformed report, 3 some requirement was not judged.",
)
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="REPORT...")
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), help="trust file: whose reports to believe")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--suites", type=click.Path(path_type=Path), hidden=True)  # for suite authors
@click.option("--json", "as_json", is_flag=True, help="print the table as JSON")
def coverage(reports: tuple[Path, ...], trust_file: Path | None, lang: str, suites: Path | None, as_json: bool) -> int:
    """Say for every requirement which cases exercised it in these runs, and what came out.

    A REPORT is a directory that certify wrote, signed or not. What is checked of it, and what is not, is said.
    """
    from llmasos_conformance import coverage as rooms
    from llmasos_conformance import suite

    loaded = suite.load(suites)
    table = _coverage(loaded, reports, trust_file, suites)
    if as_json:
        print_json(rooms.as_json(table))
        return table.exit_code
    for line in rooms.lines(table, lang):
        say(line)
    failed = [name for name, line in table.lines.items() if line.standing is rooms.Standing.FAILED]
    if failed:
        next_step(f"llmasos explain {failed[0]}")
    elif rest := rooms.profile_with_the_rest(loaded, table):
        next_step(f"llmasos certify --adapter … --profile {rest} --out report, and its report beside these")
    else:
        next_step(f"llmasos standard --out standard --coverage {shlex.quote(str(reports[0]))}")
    return table.exit_code


def _coverage(loaded: Suite, reports: Sequence[Path], trust_file: Path | None, suites: Path | None) -> Table:
    from llmasos_conformance import coverage as rooms
    from llmasos_conformance import policy
    from llmasos_conformance.verify import Installed

    trust = None if trust_file is None else policy.read_trust(trust_file)
    return rooms.table(loaded, rooms.read_all(reports, now=_now(), own=Installed.here(suites), trust=trust))


# ── doctor ────────────────────────────────────────────────────────────────────────────────────────────────────────


@cli.command(short_help="Say what is wrong with this installation.")
@click.option("--adapter", metavar="ADDRESS", help="also start this adapter and shake hands")
@click.option("--json", "as_json", is_flag=True, help="print as JSON, for a bug report")
def doctor(adapter: str | None, as_json: bool) -> int:
    """Look at this installation, and at an adapter, and say what is wrong."""
    from llmasos_conformance import doctor as rooms

    rows = rooms.examine(adapter)
    bad = [row for row in rows if row.state == "bad"]
    code = 0 if not bad else EXIT_ADAPTER if all(row.name == "adapter" for row in bad) else EXIT_USAGE
    if as_json:
        found = [{"name": row.name, "state": row.state, "text": row.text, "try": row.hint} for row in rows]
        print_json({"schemaVersion": "1.0", "ok": not bad, "exitCode": code, "rows": found})
        return code
    for row in rows:
        say(f"{row.state:<5}{row.name:<18} {row.text}", fg={"ok": None, "warn": "yellow", "bad": "red"}[row.state])
        if row.hint:
            say(f"{'':<24}try: {row.hint}")
    if bad:
        next_step(bad[0].hint or "see above")
    else:
        next_step("llmasos demo" if adapter is None else f"pytest --adapter={adapter}")
    return code


# ── the reference as a tool ───────────────────────────────────────────────────────────────────────────────────────


@cli.command(short_help="Continue a prompt with the reference.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("prompt")
@click.option("--max-length", default=100, show_default=True, help="most new tokens")
@click.option("--temperature", default=1.0, show_default=True)
@click.option("--seed", type=int, help="same seed, same text")
@click.option("--top-k", type=int)
@click.option("--top-p", type=float)
@click.option("--min-p", type=float)
@click.option("--stop", multiple=True, help="text that ends the continuation")
@click.option("--json", "as_json", is_flag=True, help="print the generation as JSON")
def generate(model: Path, prompt: str, as_json: bool, **options: Any) -> None:
    """Continue PROMPT with the model in the bundle or model.json MODEL, by the reference."""
    wanted = {
        name: list(value) if name == "stop" else value for name, value in options.items() if value not in (None, ())
    }
    with _reference(model) as (call, handle):
        answer = call("generate_text", {"model": handle, "prompt": prompt, **wanted})
    if as_json:
        return print_json(answer)
    return say(answer["text"], wrap=False)


@cli.command(short_help="Make a bundle from a few numbers and a seed.")
@click.argument("out", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--architecture", required=True, help="Transformer, GPT-3, BERT or Llama")
@click.option("--vocab-size", required=True, type=int)
@click.option("--width", required=True, type=int, help="embedding_dim")
@click.option("--layers", required=True, type=int, help="num_layers")
@click.option("--set", "more", multiple=True, metavar="KEY=VALUE", help="any other parameter, its value as in JSON")
@click.option("--seed", default=0, show_default=True, help="of the weights")
@click.option("--name", default="new", show_default=True, help="of the model")
@click.option("--tokenizer", type=click.Path(path_type=Path), help="tokenizer.json to take over; default: bytes")
@click.option("--no-weights", is_flag=True, help="write the document alone; its seed stands for the weights")
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def new(
    out: Path, architecture: str, vocab_size: int, width: int, layers: int, more: tuple[str, ...], seed: int, name: str,
    tokenizer: Path | None, no_weights: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make a new BUNDLE: a model with random weights that follow from the seed. Nothing is ever overwritten."""
    from llmasos_conformance.adapters.reference import new_bundle
    from llmasos_conformance.protocol import Refusal

    parameters = {"vocab_size": vocab_size, "embedding_dim": width, "num_layers": layers, **_settings(more)}
    try:
        raw = None if tokenizer is None else tokenizer.read_bytes()
        new_bundle(out, architecture, parameters, seed=seed, name=name, with_weights=not no_weights, tokenizer_json=raw)
    except OSError as error:
        raise HarnessError(f"cannot be read: {error.strerror}", where=str(tokenizer)) from error
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=out) from refusal
    if as_json:
        return print_json({"schemaVersion": "1.0", "bundle": str(out), "parameters": parameters, "seed": seed})
    say(f"{out}: {architecture}, {'document alone' if no_weights else 'with weights'} from seed {seed}")
    return next_step(f"llmasos inspect {shlex.quote(str(out))}")


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE pairs; a value that is no JSON is a text."""
    made: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise HarnessError(f"{pair!r:.80} is no setting", where="--set", hint="--set num_heads=4")
        try:
            made[key] = json.loads(value)
        except ValueError:
            made[key] = value
    return made


@cli.command(short_help="Score a file: BLEU, ROUGE, perplexity.")
@click.argument("data", metavar="DATA.jsonl", type=click.Path(path_type=Path))
@click.option("--metric", "metrics", multiple=True, required=True, type=click.Choice(["bleu", "rouge", "perplexity"]))
@click.option("--model", metavar="BUNDLE", type=click.Path(path_type=Path), help="whose perplexity it is")
@click.option("--stride", type=int, help="of perplexity's windows; default half the context")
@click.option("--tokenize", type=click.Choice(["none", "word", "char", "zh"]), help="of BLEU; default none")
@click.option("--max-order", type=int, help="longest n-grams of BLEU; default 4")
@click.option("--smoothing", type=click.Choice(["none", "floor", "add-k", "exp"]), help="of BLEU; default none")
@click.option("--smoothing-value", type=float, help="of floor (default 0.1) and add-k (default 1)")
@click.option("--effective-order", is_flag=True, help="BLEU leaves out orders that are too long for all texts")
@click.option("--fold-case", is_flag=True, help="BLEU does not count case")
@click.option("--out", type=click.Path(path_type=Path), help="write the result, with each line's scores, to this file")
@click.option("--no-progress", is_flag=True, help="no progress display")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def evaluate(
    data: Path, metrics: tuple[str, ...], model: Path | None, stride: int | None, out: Path | None, no_progress: bool,
    as_json: bool, **bleu: Any,
) -> None:  # fmt: skip
    """Score the lines of DATA.jsonl by the reference.

    For bleu and rouge a line holds "hypothesis", a text, and "references", a list of texts; for perplexity it holds
    "text", or "ids".
    """
    from llmasos_conformance import evaluate as rooms

    chosen = {name: value for name, value in bleu.items() if value not in (None, False)}
    _fitting(metrics, {"bleu": chosen, "perplexity": {"model": model, "stride": stride}})
    order = rooms.Order(
        data=data, metrics=tuple(dict.fromkeys(metrics)), model=model, bleu=chosen, stride=stride, out=out
    )
    with _progress(silent=as_json or no_progress) as progress:
        result = rooms.evaluate(order, progress)
    if as_json:
        return print_json(result)
    say(f"{data}: {result['data']['segments']} lines")
    for line in _score_lines(result["metrics"]):
        say(line, wrap=False)
    sentence = {"bleu": "BLEU-1", "rouge": "ROUGE-1", "perplexity": "PPL-1"}[metrics[0]]
    kept = [] if out else [f"llmasos evaluate {shlex.quote(str(data))} … --out scores.json    keeps each line's scores"]
    if out:
        say(f"written: {out}")
    return next_step(*kept, f"llmasos explain {sentence}")


def _fitting(metrics: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Complain about an option of a metric that is not asked for: it would be ignored."""
    for metric, given in options.items():
        for name, value in given.items():
            if value is not None and metric not in metrics:
                option = "--" + name.replace("_", "-")
                raise HarnessError(f"{option} is an option of {metric}", hint=f"--metric {metric}, or leave it out")


def _score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """A metric per line, or four for ROUGE."""
    if "bleu" in scores:
        bleu = scores["bleu"]
        lengths = f"{bleu['hypothesisLength']} tokens against {bleu['referenceLength']}"
        precisions = " ".join(f"{p:.4f}" for p in bleu["precisions"])
        declared = ", ".join(f"{key} {value}" for key, value in bleu["options"].items() if value is not None)
        yield f"bleu        {bleu['score']:.4f}   brevity {bleu['brevityPenalty']:.4f} ({lengths}), {precisions}"
        yield f"            {declared}"
    for name, parts in scores.get("rouge", {}).items():
        yield f"{name:<12}{parts['f1']:.4f}   precision {parts['precision']:.4f}, recall {parts['recall']:.4f}"
    if "perplexity" in scores:
        found = scores["perplexity"]
        value, bits = (("infinite" if x is None else f"{x:.4f}") for x in (found["perplexity"], found["bitsPerToken"]))
        yield f"perplexity  {value}   {bits} bits per token, {found['tokens']} tokens"
        yield f"            context {found['context']}, stride {found['stride']} where a text is longer"


@cli.command("inspect", short_help="Show what is in a bundle, and all that is wrong with it.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--tensors", is_flag=True, help="show every tensor with its figures")
@click.option("--json", "as_json", is_flag=True, help="print as JSON, tensors included")
def inspect_(bundle: Path, tensors: bool, as_json: bool) -> int:
    """Show what is in BUNDLE, and everything that is wrong with it. Exit code 0 if it is sound, 1 if not.

    A model.onnx is looked into where the package onnx is installed: operator set, inputs, outputs, and whether it was
    made of this document and these weights.
    """
    from llmasos_conformance.adapters.reference import inspect_bundle
    from llmasos_conformance.protocol import Refusal

    try:
        found = inspect_bundle(bundle)
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=bundle) from refusal
    if as_json:
        print_json({"schemaVersion": "1.0", "sound": found.sound, **found.as_json()})
        return 0 if found.sound else 1
    for line in found.lines(tensors=tensors):
        say(line, wrap=not tensors)
    for fault in found.faults:
        place = f"{fault.where}: " if fault.where else ""
        say(f"wrong: {place}{fault.what}{f' ({fault.hint})' if fault.hint else ''}", fg="red")
    if found.sound:
        next_step(f"llmasos generate {shlex.quote(str(bundle))} 'a prompt' --max-length 20")
    else:
        count = len(found.faults)
        say(f"not sound: {count} {'thing is' if count == 1 else 'things are'} wrong", fg="red", bold=True)
        next_step(f"mend the first, then: llmasos inspect {shlex.quote(str(bundle))}")
    return 0 if found.sound else 1


@cli.command(short_help="Write a bundle as ONNX, checked by onnxruntime.")
@click.argument("model", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="file to write  [default: model.onnx in the bundle]")
@click.option("--dtype", default="float32", show_default=True, metavar="float32|float64")
@click.option(
    "--with-cache/--without-cache",
    "cached",
    default=None,
    help="keys and values go in and out  [default: where the architecture has them]",
)
@click.option("--opset", type=int, default=17, show_default=True, help="operator set, 13 to 21")
@click.option("--external-data", "external", is_flag=True, help="put large tensors into a file beside it")
@click.option("--seeded", is_flag=True, help="export the weights that the seed gives, if the bundle holds none")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def export(model: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Write BUNDLE as ONNX, by the reference.

    The file is put in its place after onnx's checker took it, and after onnxruntime computed with it what the reference
    computes with the bundle, within honest error.
    """
    from llmasos_conformance.adapters.reference import export_bundle
    from llmasos_conformance.protocol import Refusal

    try:
        made = export_bundle(model, out, **options)
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=model) from refusal
    if as_json:
        return print_json(
            {"schemaVersion": "1.0", "files": {str(path): digest for path, digest in made.files.items()},
             "architecture": made.architecture, "dtype": made.dtype, "opset": made.opset, "cached": made.cached,
             "error": made.error}
        )  # fmt: skip
    form = "with cache" if made.cached else "without cache"
    say(f"{made.architecture} as ONNX, {made.dtype}, {form}, operator set {made.opset}", bold=True)
    for path, digest in made.files.items():
        say(f"  {path}  {path.stat().st_size:,} bytes, sha256 {digest[:16]}", wrap=False)
    say(f"  onnxruntime computes the same as the reference: off by {made.error:.2g} honest errors, 6 are allowed")
    name = {"GPT-3": "gpt", "Llama": "llama", "BERT": "bert", "Transformer": "transformer"}[made.architecture]
    return next_step(
        f"llmasos inspect {shlex.quote(str(model))}",
        f"llmasos certify --adapter onnxruntime --profile interchange/{name} --key keys/key.pem --out reports/onnx",
        f"llmasos certify --adapter onnxruntime --bundle {shlex.quote(str(model))} --out reports/bundle",
    )


@contextmanager
def _reference(model: Path) -> Iterator[tuple[Callable[[str, Mapping[str, Any]], Any], str]]:
    """The reference with a model loaded; its refusals become errors that say what to mend."""
    from llmasos_conformance import adapters
    from llmasos_conformance.protocol import Refusal

    connection = adapters.connect("reference")
    try:
        handle = str(connection.call("load_model", {"path": str(model)})["model"])
        yield connection.call, handle
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=model) from refusal
    finally:
        connection.close()


@cli.command("import", short_help="Turn a Hugging Face checkpoint into a bundle.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="directory of the bundle, absent or empty")
@click.option("--name", help="of the model; default the name of the checkpoint's directory")
@click.option("--no-tokenizer", is_flag=True, help="leave the tokenizer behind")
@click.option("--no-check", is_flag=True, help="do not compare with transformers")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def import_(source: Path, out: Path, name: str | None, no_tokenizer: bool, no_check: bool, as_json: bool) -> None:
    """Turn the local Hugging Face checkpoint SOURCE (GPT-2, Llama, Mistral, BERT, BART or Marian) into a bundle.

    Needs neither torch nor transformers; where both are installed, the bundle is held against the checkpoint as they
    load it.
    """
    from llmasos_conformance.adapters.reference import import_checkpoint
    from llmasos_conformance.protocol import Refusal

    try:
        made = import_checkpoint(source, out, name=name, tokenizer=not no_tokenizer, check=not no_check)
    except Refusal as refusal:
        raise HarnessError(f"{refusal.code}: {refusal.message}", where=source) from refusal
    if as_json:
        return print_json({"schemaVersion": "1.0", **made})
    document, checked = made["document"], made["checked"]
    say(f"{document['name']}: {document['architecture']}, in {made['path']}", bold=True)
    say(f"  tokenizer: {made['tokenizer']}")
    for note in made["notes"]:
        say(f"  note: {note}")
    if checked is None:
        say(f"  not compared with transformers: {made['unchecked']}", fg="yellow")
    else:
        what = ", ".join((*checked["compared"], *([f"ids of {checked['texts']} texts"] if checked["texts"] else [])))
        figure = f"the largest difference is {checked['error']:.1e} of the spread, allowed {checked['tolerance']:.1e}"
        say(f"  the same as by {checked['against']}: {what}; {figure}", fg="green")
        if not checked["texts"] and made["tokenizer"].startswith("tokenizer.json"):
            say("  ids of texts were not compared: transformers loads no tokenizer from the checkpoint", fg="yellow")
    return next_step(
        f"llmasos inspect {shlex.quote(str(out))}",
        f"llmasos certify --adapter … --bundle {shlex.quote(str(out))} --out report",
    )


@cli.command(
    short_help="Hold the reference against its witnesses.",
    epilog="Exit codes: 0 all rows within their bounds, 1 a row is outside, 2 torch or transformers is not installed, "
    "3 a row could not be measured.",
)
@click.option("--json", "as_json", is_flag=True, help="print the table as JSON")
def agreement(as_json: bool) -> int:
    """Hold the reference against the torch twin and against Hugging Face's models on the same drawn weights.

    Errors are relative to the spread of what is compared; the bound is what honest rounding may cost.
    """
    from llmasos_conformance.adapters.reference import agreement_rows
    from llmasos_conformance.protocol import Refusal

    started, rows = time.monotonic(), []
    try:
        for row in agreement_rows():
            rows.append(row)
            if not as_json:
                _print_agreement(row, heading=len(rows) == 1)
    except Refusal as refusal:
        raise HarnessError(refusal.message, hint="pip install 'llmasos[runtimes]'") from refusal
    wrong = [row for row in rows if row["ok"] is False]
    unmeasured = [row for row in rows if row["ok"] is None]
    code = 1 if wrong else EXIT_CODES[Verdict.INCOMPLETE] if unmeasured else 0
    if as_json:
        print_json({"schemaVersion": "1.0", "ok": code == 0, "rows": rows})
        return code
    counts = f"{len(rows) - len(wrong) - len(unmeasured)} of {len(rows)} rows within their bounds"
    missing = f", {len(unmeasured)} not measured" if unmeasured else ""
    say(f"{counts}{missing}, in {time.monotonic() - started:.0f} s", bold=True, fg="red" if wrong else None)
    if unmeasured:
        next_step("pip install 'llmasos[test]', and again")
    else:
        next_step("report this as a bug of llmasos, with --json" if wrong else "llmasos demo")
    return code


_AGREEMENT = "{:<15} {:<24} {:<9} {:<8} {:>5} {:>9} {:>9} {:>9}  "


def _print_agreement(row: Mapping[str, Any], *, heading: bool) -> None:
    if heading:
        columns = ("architecture", "witness", "depth", "dtype", "drawn", "compared", "error", "bound")
        say(_AGREEMENT.format(*columns).rstrip(), wrap=False, bold=True)
    names = [row[key] for key in ("architecture", "witness", "depth", "dtype", "configurations", "compared")]
    numbers = [
        f"{row[key]:.1e}" if row["depth"] in ("logits", "inside", "gradients") else f"{row[key]:.0f}"
        for key in ("error", "bound")
    ]
    mark, colour = {True: ("ok", None), False: ("OUTSIDE", "red"), None: ("not measured", "yellow")}[row["ok"]]
    doubtful = f", {row['doubtful']} too close to call" if row["doubtful"] else ""
    note = f" ({row['note']})" if row["note"] else ""
    say(_AGREEMENT.format(*names, *numbers) + mark + doubtful + note, wrap=False, fg=colour)


# ── demo and self-test ────────────────────────────────────────────────────────────────────────────────────────────

DEMO_PROFILES = ("core/gpt/logits", "quick")


@cli.command(short_help="Certify the reference, and verify the report.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("llmasos-demo"), show_default=True)
@click.option("--profile", help=f"default {DEMO_PROFILES[0]}")
def demo(out: Path, profile: str | None) -> int:
    """Certify the reference, sign the report, verify it, judge it again, print the verdict."""
    from llmasos_conformance import installed, isolation, policy
    from llmasos_conformance import verify as rooms

    started = time.monotonic()
    names = installed.profile_names(installed.suites())
    chosen = profile or next((name for name in DEMO_PROFILES if name in names), DEMO_PROFILES[0])
    key = out / "key.pem"
    if not key.exists():
        policy.keygen(out, owner="demo", now=_now())
        say(f"1. made a key and a trust file in {out}")
    else:
        say(f"1. took the key in {out}")
    target = next(path for number in range(1, 10_000) if not (path := out / f"report-{number}").exists())
    say(f"2. certifying the reference, profile {chosen}, in an interpreter of its own …")
    code = isolation.rerun(
        ["certify", "--adapter", "reference", "--profile", chosen, "--key", str(key), "--out", str(target), "--brief"]
    )
    if not target.exists():
        return code
    say("3. verifying the report and judging every answer again …")
    trust = policy.read_trust(out / "trust.json")
    result = rooms.verify(target, now=_now(), own=rooms.Installed.here(), trust=trust, level="re-judged")
    _print_result(result, target, rejudge=True, trusted=True)
    say(f"done in {time.monotonic() - started:.1f} s; read {target / 'report.md'}")
    next_step(
        "pytest --adapter=./adapter.py:Mine      test your own implementation (see README)",
        f"llmasos verify {target} --trust {out / 'trust.json'} --rejudge --json",
    )
    return result.exit_code


@cli.command(
    short_help="Try every mutant against every case.",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def selftest(arguments: tuple[str, ...]) -> int:
    """Try every mutant, null candidate and honest variant against every case."""
    from llmasos_conformance.mutants import table

    return table.main(list(arguments))


if __name__ == "__main__":
    main()
