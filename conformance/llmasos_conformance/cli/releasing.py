"""Commands around a release: what is different between two reports, and whether reports are good enough."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmasos_conformance.cli.showing import read_report
from llmasos_conformance.cli.terminal import next_step, now, print_json, say, watched

if TYPE_CHECKING:
    from llmasos_conformance.differences import Difference, Fact
    from llmasos_conformance.gate import Decision
    from llmasos_conformance.reading import Read

_SHOWN = 12


@click.command(
    short_help="Say what is different between two reports.",
    epilog="Exit codes: 0 nothing is worse, 1 something is worse (a case fails that passed, is declared no more, the "
    "verdict or the arithmetic is worse), 2 usage, or a report that does not verify, 3 nothing is worse as far as one "
    "can see, but less was seen: cases are gone or undecided, or the profiles differ.",
)
@click.argument("then", type=click.Path(path_type=Path), metavar="EARLIER")
@click.argument("after", type=click.Path(path_type=Path), metavar="LATER")
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), help="trust file: whose reports to believe")
@click.option("--unverified", is_flag=True, help="compare reports that do not verify, and say so")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--suites", type=click.Path(path_type=Path), hidden=True)  # for suite authors
@click.option("--json", "as_json", is_flag=True, help="print all of it as JSON")
def diff(
    then: Path, after: Path, trust_file: Path | None, unverified: bool, lang: str, suites: Path | None, as_json: bool
) -> int:
    """Say what is different between two reports: what was tested, outcomes, errors as shares of their bounds.

    Both are verified first, as far as what lies beside them allows.
    """
    from llmasos_conformance import differences

    options: dict[str, Any] = {"trust_file": trust_file, "unverified": unverified, "suites": suites}
    old, new = read_report(then, **options), read_report(after, **options)
    found = differences.between(old.content or {}, new.content or {})
    if as_json:
        print_json({"schemaVersion": "1.0", "then": old.as_json(), "now": new.as_json(), **found.as_json()})
    else:
        _print_difference(found, old, new, lang)
    return found.exit_code


_MOVES = {
    "en": {"broken": "passed, fails now", "undecided": "cannot be judged now", "undeclared": "not declared any more",
           "gone": "gone", "new": "new", "mended": "failed, passes now", "other": "other changes"},
    "zh": {"broken": "原先通过，现未通过", "undecided": "现无法评判", "undeclared": "不再声明", "gone": "已不在",
           "new": "新增", "mended": "原先未通过，现通过", "other": "其他变化"},
}  # fmt: skip
_TEXT = {
    "en": {"same": "no outcome is different", "verdict": "verdict", "precision": "arithmetic found", "facts": "differs",
           "figures": "errors that grew, as shares of their bounds", "quiet": "{n} errors differ; none that grew "
           "is above {quiet:g} of its bound, where no honest order of summation comes", "more": "… and {n} more",
           "worse": "something is worse", "less": "nothing is worse, but less was seen", "fine": "nothing is worse",
           "apart": "the two reports are of different profiles", "seen": "report", "coarse": "coarser than any dtype",
           "no figures": "no error is different"},
    "zh": {"same": "没有结果不同", "verdict": "结论", "precision": "所见算术精度", "facts": "不同",
           "figures": "增长的误差(占其界限的份额)", "quiet": "{n} 个误差不同；其中增长者均未超过其界限的 {quiet:g}，"
           "任何正当的求和顺序都不会达到该值", "more": "…… 另有 {n} 个", "worse": "有所变差",
           "less": "没有变差，但所见更少", "fine": "没有变差", "apart": "两份报告属于不同的档案", "seen": "报告",
           "coarse": "比任何类型都粗", "no figures": "没有误差不同"},
}  # fmt: skip


def _print_difference(found: Difference, old: Read, new: Read, lang: str) -> None:
    from llmasos_conformance import differences

    words = _TEXT[lang]
    for each in (old, new):
        say(f"{words['seen']}: {each.path} {each.report_id[:12]} ({', '.join(each.checked) or '-'})")
        for line in (each.warning, *each.notes):
            if line:
                say(f"  {line}", fg="yellow")
    if not found.comparable:
        say(words["apart"], fg="yellow")
    for fact in found.facts[:_SHOWN]:
        say(f"{words['facts']}: {fact.name}: {_way(fact)}")
    _more(len(found.facts), words)
    if not found.cases:
        say(words["same"])
    for kind, label in _MOVES[lang].items():
        cases = [each for each in found.cases if each.move == kind]
        colour = {"broken": "red", "undeclared": "red", "undecided": "yellow", "gone": "yellow"}.get(kind)
        if cases:
            say(f"{label}: {len(cases)}", fg=colour)
        for moved in cases[:_SHOWN]:
            way = f"{moved.then or '-'} -> {moved.now or '-'}"
            say(f"  {moved.case} ({moved.requirement}, {moved.level}) {way} {moved.message}".rstrip())
        _more(len(cases), words)
    loud = [each for each in found.figures if each.loud and each.growth > 1]
    if loud:
        say(f"{words['figures']}: {len(loud)}", fg="yellow")
    elif found.figures:
        say(words["quiet"].format(n=len(found.figures), quiet=differences.QUIET))
    else:
        say(words["no figures"])
    for drift in loud[:_SHOWN]:
        say(f"  {drift.case} {drift.name} {drift.then:.3g} -> {drift.now:.3g} ({drift.growth:.3g}x)")
    _more(len(loud), words)
    if found.precision != (None, None):
        was, is_now = ("-" if each is None else each or words["coarse"] for each in found.precision)
        say(f"{words['precision']}: {was} -> {is_now}", fg="red" if found.coarser else None)
    ending = {differences.EXIT_SAME: ("fine", "green"), differences.EXIT_WORSE: ("worse", "red"),
              differences.EXIT_LESS: ("less", "yellow")}[found.exit_code]  # fmt: skip
    say(f"{words['verdict']}: {found.verdict[0]} -> {found.verdict[1]}; {words[ending[0]]}", fg=ending[1], bold=True)
    first = next((each.case for each in found.cases if each.move in differences.WORSE), "")
    if first:
        next_step(f"llmasos explain {first}")
    elif found.worse:
        next_step(f"llmasos show {_quoted(new.path)} --format markdown")
    else:
        next_step(f"llmasos gate --policy gate.yaml {_quoted(new.path)} --previous {_quoted(old.path)}")


def _way(fact: Fact) -> str:
    """From what to what: of lists what went and what came, of digests their beginnings."""
    then, now = (text.split(", ") for text in (fact.then, fact.now))
    if fact.name.endswith((".capabilities", ".architectures")):
        moved = [f"-{each}" for each in then if each not in now] + [f"+{each}" for each in now if each not in then]
        return ", ".join(moved) or "order"
    short = 12 if fact.name.lower().endswith("digest") else 100
    return f"{fact.then[:short] or '-'} -> {fact.now[:short] or '-'}"


def _more(count: int, words: dict[str, str]) -> None:
    if count > _SHOWN:
        say(f"  {words['more'].format(n=count - _SHOWN)}")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


@click.command(
    short_help="Put reports where strangers find them.",
    epilog="Exit codes: 0 all lie there, 2 usage, a report that does not verify, or nothing could be written.",
)
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="REPORT...")
@click.option("--to", "root", required=True, type=click.Path(path_type=Path), help="directory of published reports")
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), help="trust file: whose reports to believe")
@click.option("--name", default="", help="of the candidate's directory  [default: its name, version and dtype]")
@click.option(
    "--max-evidence", type=click.FloatRange(min=0), default=None, metavar="MB",
    help="leave out evidence that is larger; the report then verifies as far as the rung 'suite'",
)  # fmt: skip
@click.option("--replace", is_flag=True, help="put it in the place of another report")
@click.option("--suites", type=click.Path(path_type=Path), hidden=True)  # for suite authors
@click.option("--json", "as_json", is_flag=True, help="print what was put where as JSON")
def publish(
    reports: tuple[Path, ...], root: Path, trust_file: Path | None, name: str, max_evidence: float | None,
    replace: bool, suites: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Put signed reports below a directory, each verified before and after, with its evidence packed tighter.

    A report lies at DIR/CANDIDATE/PROFILE. Nothing else is written, and one report never takes the place of another
    unasked.
    """
    from llmasos_conformance import policy, publishing, reading, verify

    own, today = verify.Installed.here(suites), now()
    trust = None if trust_file is None else policy.read_trust(trust_file)
    most = float("inf") if max_evidence is None else max_evidence * 1e6

    def read(path: Path) -> Read:
        return reading.read(path, now=today, own=own, trust=trust)

    made = []
    with watched(silent=as_json) as progress:
        for number, path in enumerate(reports):
            progress(number, len(reports), "reports")
            believed = reading.believed(read(path))
            made.append(publishing.publish(believed, root, again=read, name=name, most=most, replace=replace))
    if as_json:
        told = [{"path": str(each.path), "before": each.before, "evidence": each.evidence, "left": each.left,
                 "report": each.read.as_json()} for each in made]  # fmt: skip
        print_json({"schemaVersion": "1.0", "published": told})
        return 0
    for each in made:
        there = "was there" if each.before else "put there"
        say(f"{each.path}: {there}, checked: {', '.join(each.read.checked)}")
        if each.left:
            say(
                f"  without its evidence, {each.left / 1e6:.1f} MB; who asks you for it can judge it again", fg="yellow"
            )
    next_step(f"llmasos board {_quoted(root)}" + (f" --trust {_quoted(trust_file)}" if trust_file else ""))
    return 0


@click.command(
    short_help="Say whether reports are good enough for a release.",
    epilog="Exit codes: 0 GO, 1 NO-GO: a rule of the policy is broken, 2 usage, a malformed policy, or no report, "
    "3 INCONCLUSIVE: no rule is broken, and one could not be decided.",
)
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="REPORT...")
@click.option("--policy", "policy_file", required=True, type=click.Path(path_type=Path), help="what reports must show")
@click.option(
    "--previous", multiple=True, type=click.Path(path_type=Path), metavar="REPORT",
    help="report of the release before, for regressions and drift; one for each profile",
)  # fmt: skip
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="DIR",
    help="your copy of the model that the reports are about, where the policy has them judged again",
)  # fmt: skip
@click.option("--markdown", is_flag=True, help="print the answer as a table for a job summary")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--suites", type=click.Path(path_type=Path), hidden=True)  # for suite authors
@click.option("--json", "as_json", is_flag=True, help="print the answer as JSON")
def gate(
    reports: tuple[Path, ...], policy_file: Path, previous: tuple[Path, ...], bundle: Path | None, markdown: bool,
    lang: str, suites: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Say GO, NO-GO or INCONCLUSIVE: reports against a policy, with what every rule saw and why.

    Every report is verified, up to the rung that the policy names. What was not seen never makes a GO.
    """
    from llmasos_conformance import gate as rooms
    from llmasos_conformance import reading, suite, verify

    if as_json and markdown:
        raise click.UsageError("--json and --markdown are two forms of one answer; give one.")
    wanted = rooms.read_policy(policy_file, lambda: suite.load(suites))
    own, today = verify.Installed.here(suites), now()

    def read(path: Path, **more: Any) -> Read:
        return reading.read(path, now=today, own=own, trust=wanted.trust, **more)

    with watched(silent=as_json) as progress:
        given = [read(path, level=wanted.checked, bundle=bundle,
                      on_case=lambda n, total: progress(n, total, "judging again")) for path in reports]  # fmt: skip
        earlier = [read(path) for path in previous]
    decided = rooms.decision(wanted, rooms.pair(wanted, given, earlier, own.suites), today)
    if as_json:
        head = {"schemaVersion": "1.0", "policy": str(policy_file), **decided.as_json(lang)}
        told = {"reports": [each.as_json() for each in given], "previous": [each.as_json() for each in earlier]}
        print_json(head | told)
    elif markdown:
        click.echo(rooms.markdown(decided, lang), nl=False)
        _next(decided, reports, err=True)
    else:
        _print_decision(decided, lang)
        _next(decided, reports, err=False)
    return decided.exit_code


_HELD = {"holds": ("ok  ", None), "broken": ("no  ", "red"), "undecided": ("?   ", "yellow")}


def _print_decision(decided: Decision, lang: str) -> None:
    from llmasos_conformance import gate as rooms

    for rule in decided.rules:
        mark, colour = _HELD[rule.held]
        about = f" {rule.profile}" if rule.profile else ""
        say(f"{mark}{rule.name}{about}: {rule.wants[lang]}", fg=colour)
        say(f"      {rule.saw[lang]}")
    say(rooms.conclusion(decided, lang), fg={"GO": "green", "NO-GO": "red"}.get(decided.answer, "yellow"), bold=True)


def _next(decided: Decision, reports: Sequence[Path], *, err: bool) -> None:
    """One thing to do now, by the first rule that is in the way."""
    against = decided.against()
    if not against:
        kept = " ".join(_quoted(path) for path in reports)
        return next_step(f"release; keep {kept} as --previous for the gate of the next one", err=err)
    rule = against[0]
    if rule.cases:
        return next_step(f"llmasos explain {rule.cases[0]}", err=err)
    if rule.name == "profile":
        return next_step(f"llmasos certify --adapter … --profile {rule.profile} --key … --out …", err=err)
    if rule.name in ("verified", "signer"):
        return next_step(f"llmasos verify {_quoted(reports[0])} --trust …", err=err)
    if rule.name in ("regressions", "drift-growth"):
        return next_step("give the report of the release before with --previous", err=err)
    return next_step("llmasos certify again, with the suites and the candidate that the policy asks for", err=err)
