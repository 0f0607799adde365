"""Commands around a report: keygen, certify, verify, and a demonstration of all three."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmasos_conformance.cli.terminal import next_step, now, passphrase, print_json, say, watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmasos_conformance.causes import Reading
    from llmasos_conformance.certify import Done, Order
    from llmasos_conformance.suite import Case
    from llmasos_conformance.unasked import Unasked
    from llmasos_conformance.verdict import Outcome
    from llmasos_conformance.verify import Result

TIMEOUT_S = 30.0
_CODES = """Exit codes: 0 conformant, 1 non-conformant, 2 usage or configuration, 3 incomplete, 4 adapter unreachable or
it broke the protocol, 5 nothing selected, 70 our own fault."""


@click.command(epilog=_CODES, short_help="Run a profile and write a signed report.")
@click.option(
    "--adapter",
    required=True,
    metavar="ADDRESS",
    help="name, pkg.mod:attr, ./file.py:attr, 'cmd:./program', http://host:port or @profile",
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
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=TIMEOUT_S,
    show_default=True,
    help="seconds per call",
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
    profile = profile or _profile_of(adapter, bundle)
    if not sys.flags.isolated and not in_process:
        from llmasos_conformance import isolation

        try:
            return isolation.rerun(click.get_current_context().find_root().obj, _passed(adapter, pass_env))
        except isolation.Killed as killed:
            from llmasos_conformance.places import sweep

            sweep(out, killed.pid)
            raise
    from llmasos_conformance import certify as rooms

    order = rooms.Order(
        adapter=adapter, profile=profile, out=out, seed=seed, key=key, timeout_s=timeout_s,
        pass_env=pass_env, passphrase=lambda: _passphrase(key, passphrase_file),
        out_of_process=not in_process, suites=suites, bundle=bundle,
    )  # fmt: skip
    with watched(silent=as_json or no_progress) as progress:
        done = rooms.certify(order, clock=now, progress=lambda n, total, case: progress(n, total, _chapter(case)))
    if as_json:
        print_json(_done_json(done, suites))
    else:
        _print_done(done, order, brief=brief, passphrase_file=passphrase_file)
    return done.exit_code


def _profile_of(adapter: str, bundle: Path | None) -> str:
    """What is certified where no profile is named: that of a model of one's own, else what llmasos.toml asks."""
    from llmasos_conformance import installed
    from llmasos_conformance.probes import given

    if bundle is not None:
        return given.profile_of(bundle)
    if named := installed.configured_profile(adapter):
        return named
    raise click.UsageError(
        "Missing option '--profile' (or '--bundle', for a model of your own; or @NAME as the adapter, with a `profile` "
        "in its table of llmasos.toml)."
    )


def _passed(adapter: str, pass_env: tuple[str, ...]) -> tuple[str, ...]:
    """Variables that the isolated harness needs: those for the adapter, and the one that holds a server's token."""
    from llmasos_conformance import adapters

    target = adapters.check_address(adapter)
    return (*pass_env, target.token) if target.token else pass_env


def _passphrase(key: Path | None, file: Path | None) -> bytes | None:
    """Ask only if the key is encrypted, which its PEM header says."""
    if file is None and (key is None or b"ENCRYPTED" not in key.read_bytes()):
        return None
    return passphrase(file, f"passphrase of {key}")


def _chapter(case: Case | None) -> str:
    return "" if case is None else case.id.split(".")[0]


def _unasked(done: Done, suites: Path | None) -> list[Unasked]:
    """What the candidate declares and the profile of the run does not ask."""
    from llmasos_conformance import installed, unasked
    from llmasos_conformance.protocol import offers

    predicate = done.content["predicate"]
    candidate, profile = predicate["candidate"], predicate["suite"]["profile"]
    declared = offers(candidate["capabilities"], candidate["architectures"])
    return unasked.find(declared, profile, suites or installed.suites())


def _done_json(done: Done, suites: Path | None) -> dict[str, Any]:
    from dataclasses import asdict

    from llmasos_conformance import report

    predicate, measured = done.content["predicate"], report.precision(done.content)
    reading = report.read_together(done.content)
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
        "endpoint": predicate.get("endpoint"),
        "seed": predicate["run"]["seed"],
        "mode": predicate["run"]["mode"],
        "summary": predicate["summary"],
        "emulated": predicate["emulated"],
        "precision": None if measured is None else asdict(measured),
        "alike": [each.as_json() for each in reading.alike],
        "notFinite": list(reading.holes),
        "onset": reading.onset.as_json() if reading.onset else None,
        "behind": reading.behind.as_json() if reading.behind else None,
        "plain": reading.plain.as_json() if reading.plain else None,
        "causes": [reading.likely.as_json()] if reading.likely else [],
        "against": list(reading.against),
        "perhaps": reading.perhaps.as_json() if reading.perhaps else None,
        "unasked": [each.as_json() for each in _unasked(done, suites)],
        "notRight": [
            {key: made[key] for key in ("id", "requirement", "level", "outcome", "message", "example") if key in made}
            for made in predicate["checks"]
            if made["outcome"] not in ("pass", "not_declared", "not_applicable")
        ],
    }


_SHOWN = 8


def _telling(wrong: Sequence[Outcome], reading: Reading) -> list[Outcome]:
    """Outcomes that are worth a look, what to read first first; of those alike in their reason only the first one."""
    repeated = {case for each in reading.alike for case in each.cases[1:]}
    order = [reading.first, *(reading.likely.begin[:1] if reading.likely else [])]
    shown = [outcome for outcome in wrong if outcome.case not in repeated]
    return sorted(shown, key=lambda outcome: order.index(outcome.case) if outcome.case in order else len(order))


def _print_done(done: Done, order: Order, *, brief: bool, passphrase_file: Path | None = None) -> None:
    from llmasos_conformance import causes, report, suite, unasked
    from llmasos_conformance.verdict import State

    seed = done.content["predicate"]["run"]["seed"]
    wrong = [outcome for outcome in done.outcomes if outcome.state in (State.FAIL, State.ERROR, State.INCONCLUSIVE)]
    if wrong:
        loaded = suite.load(order.suites)
        reading = report.read_together(done.content)
        for outcome in _telling(wrong, reading)[:_SHOWN]:
            bundle = str(order.bundle or "")
            say(report.explain_outcome(outcome, loaded, adapter=order.adapter, seed=seed, bundle=bundle))
        if more := len(wrong) - min(_SHOWN, len(_telling(wrong, reading))):
            say(f"… and {more} more in {done.directory / report.MARKDOWN_NAME}")
        sentences = {name: each.sentence for name, each in loaded.requirements.items()}
        for line in causes.told(reading, sentences):
            say(line)
    if told := unasked.sentence(_unasked(done, order.suites)):
        say(told)
    colour = "green" if done.verdict.holds else "red" if done.verdict.fails else "yellow"
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
    next_step(*_after_certify(done, order, passphrase_file))


KEY = Path("keys/key.pem")
"""Where `llmasos keygen` puts a key unless it is told otherwise."""


def _after_certify(done: Done, order: Order, passphrase_file: Path | None = None) -> list[str]:
    """What to do with a report: verify a signed one, end an interrupted run, sign an unsigned one; and where the
    candidate does not declare what was asked, ask what it declares.
    """
    from llmasos_conformance import installed

    predicate = done.content["predicate"]
    profile, seed = order.profile, ""
    if done.undeclared and order.bundle is None:
        said = predicate["candidate"]
        profile = installed.profile_for(frozenset([*said["capabilities"], *said["architectures"]]))
    again = profile != order.profile
    if done.interrupted and not again:
        seed = predicate["run"]["seed"]
    key = order.key or KEY
    further = [word for name in order.pass_env for word in ("--pass-env", name)]
    further += ["--passphrase-file", str(passphrase_file)] if passphrase_file else []
    further += ["--timeout", f"{order.timeout_s:g}"] if order.timeout_s != TIMEOUT_S else []
    further += ["--seed", seed] if seed else []
    command = _certify_command(order.adapter, profile, key, order.out, bundle=order.bundle, further=further)
    if done.signed:
        trust = key.with_name("trust.json")
        about = f" --bundle {shlex.quote(str(order.bundle))}" if order.bundle else ""
        verify = f"llmasos verify {shlex.quote(str(done.directory))} --trust {shlex.quote(str(trust))} --rejudge{about}"
        return [*([command] if again else []), verify]
    return [command] if key.exists() else ["llmasos keygen --out keys", command]


def _certify_command(
    adapter: str, profile: str, key: Path, out: Path, *, bundle: Path | None = None, further: Sequence[str] = ()
) -> str:
    """A command that can be pasted as it is; its report gets a name that nothing has yet."""
    from llmasos_conformance import places

    asked = ["--bundle", str(bundle)] if bundle else ["--profile", profile]
    words = ["llmasos", "certify", "--adapter", adapter, *asked, "--key", str(key), "--out", str(places.free(out))]
    return shlex.join([*words, *further])


@click.command(
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
    with watched(silent=as_json) as progress:
        result = rooms.verify(
            path, now=now(), own=rooms.Installed.here(suites), trust=trust, level="re-judged" if rejudge else level,
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


@click.command(short_help="Make a signing key and a trust file.")
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

    secret = passphrase(passphrase_file, "")
    paths = policy.keygen(out, owner=owner, role=role, days=days, now=now(), passphrase=secret)
    say(f"{paths['key']}: private key, for you alone{'' if secret else ' (no passphrase: see --passphrase-file)'}")
    ignored = paths["key"].with_name(policy.IGNORE)
    if not policy.keeps_out(ignored, paths["key"].name):
        say(f"{ignored}: was there, and does not keep {paths['key'].name} out: add it, or it is committed", fg="yellow")
    say(f"{paths['public']}: public key, for anybody")
    say(f"{paths['trust']}: trust file, for whoever verifies your reports and believes you")
    next_step(*_for_policies(paths["trust"]), _after_keygen(paths["key"]))


def _for_policies(trust: Path) -> list[str]:
    """A step where `llmasos init` wrote a policy that looks for a trust file beside it, and none is there."""
    from llmasos_conformance import scaffold

    beside = Path("ci") / trust.name
    if not beside.with_name(scaffold.POLICIES[0]).is_file() or beside.exists():
        return []
    return [f"cp {shlex.quote(str(trust))} {beside}   # where ci/{scaffold.POLICIES[0]} looks for it"]


def _after_keygen(key: Path) -> str:
    """A signed report on the adapter of this directory; on the reference where there is none."""
    from llmasos_conformance import adapters, installed
    from llmasos_conformance.errors import HarnessError

    with contextlib.suppress(HarnessError):  # what is wrong with the settings is told to who uses them
        address = adapters.default_address()
        return _certify_command(address, installed.configured_profile(address) or "quick", key, Path("report"))
    return f"{_certify_command('reference', 'quick', key, Path('report'))}   # or an adapter of your own"


DEMO_PROFILES = ("core/gpt/logits", "quick")


@click.command(short_help="Certify the reference, and verify the report.")
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
        policy.keygen(out, owner="demo", now=now())
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
    result = rooms.verify(target, now=now(), own=rooms.Installed.here(), trust=trust, level="re-judged")
    _print_result(result, target, rejudge=True, trusted=True)
    say(f"done in {time.monotonic() - started:.1f} s; read {target / 'report.md'}")
    next_step(
        "pytest --adapter=./adapter.py:Mine      test your own implementation (see README)",
        f"llmasos verify {target} --trust {out / 'trust.json'} --rejudge --json",
    )
    return result.exit_code
