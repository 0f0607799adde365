"""Commands that tell: list, explain, standard, coverage, doctor."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmasos_conformance.cli import facts
from llmasos_conformance.cli.terminal import next_step, now, print_json, say
from llmasos_conformance.errors import HarnessError
from llmasos_conformance.verdict import EXIT_ADAPTER, EXIT_USAGE

if TYPE_CHECKING:
    from llmasos_conformance.coverage import Table
    from llmasos_conformance.suite import Suite


@click.command("list")
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


def _list_adapters(lang: str) -> list[dict[str, Any]]:
    from llmasos_conformance import adapters

    return [{"name": name, "leads to": target} for name, target in sorted(adapters.known().items())]


def _list_cases(lang: str) -> list[dict[str, Any]]:
    loaded = facts.loaded()
    return [
        {"id": case.id, "requirement": case.requirement, "level": loaded.level(case), "check": case.check,
         "examples": case.examples, "needs": ",".join(sorted(case.needs))}
        for case in loaded.cases.values()
    ]  # fmt: skip


def _list_requirements(lang: str) -> list[dict[str, Any]]:
    return [
        {"id": each.id, "level": each.level, "chapter": each.chapter, "sentence": each.sentence[lang]}
        for each in facts.loaded().requirements.values()
    ]


def _list_profiles(lang: str) -> list[dict[str, Any]]:
    return facts.profiles()


_LISTS: Mapping[str, Callable[[str], list[dict[str, Any]]]] = {
    "adapters": _list_adapters, "cases": _list_cases, "requirements": _list_requirements, "profiles": _list_profiles,
}  # fmt: skip


@click.command(short_help="Explain an architecture, profile, capability, requirement, case or reason code.")
@click.argument("name", metavar="ID")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def explain(name: str, lang: str, as_json: bool) -> None:
    """Explain an architecture, a profile, a capability, a chapter of the standard, a requirement, a case, or a reason
    code of verify.

    With --json, every answer has schemaVersion, kind, id and lang, and by its kind:

    \b
    architecture presented, defaults, letters, tensors, code,
                 requirements, profiles, document
    profile      requires, cases, levels, chapters, run
    case         requirement, level, sentence, check, asks, needs, given,
                 examples, effect, bugs, where, withdrawn, document, run
    requirement  level, chapter, sentence, source, untestable, withdrawn,
                 errata, cases, document
    chapter      title, requirements, document; capability, where one has
                 the same name
    capability   sentence, methods, option, reading, cases, chapters, profiles,
                 shown
    reason       text, exitCode
    """
    kind, told = facts.of(name, lang)
    if as_json:
        return print_json({"schemaVersion": "1.0", "kind": kind, "id": told["id"], "lang": lang, **told})
    return _EXPLAIN[kind](told, lang)


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
    _say_requirements(told["requirements"], lang)
    say({"en": "  in the document: ", "zh": "  在文档中:"}[lang] + told["document"])
    if "capability" in told:
        _say_capability(told["capability"], lang)
    next_step(f"llmasos explain {told['requirements'][0]['id']}")


def _explain_capability(told: Mapping[str, Any], lang: str) -> None:
    _say_capability(told, lang)
    next_step(told["shown"])


def _say_capability(told: Mapping[str, Any], lang: str) -> None:
    words = {
        "en": ("a capability", "declare it in describe(); a valid call that is then refused as unsupported fails, "
               "unless the model's architecture has no such call",
               "methods asked then", "an option, in calls that are asked anyway",
               "bundles with it are loaded; an adapter on the kit says so", "cases that need it",
               "chapters of the rules that they ask", "profiles that ask it", "members of each method",
               "asked and rightly answered"),
        "zh": ("一种能力",
               "在 describe() 中声明;此后,有效的调用若以 unsupported 拒绝,即为失败,除非模型的架构没有这种调用",
               "此后会询问的方法", "一个选项,用于本来就会询问的调用",
               "会载入含有它的模型包;使用 kit 的适配器这样声明", "需要它的用例",
               "其所考察规则的章", "考察它的档案", "各方法的成员",
               "如何提问与正确回答"),
    }[lang]  # fmt: skip
    capability, declare, methods, option, reading, cases, rules, profiles, members, shown = words
    say(f"{told['id']}: {told['sentence']}", bold=True)
    say(f"  {capability}; {declare}")
    if told["methods"]:
        say(f"  {methods}: {', '.join(told['methods'])}; {members}: llmasos docs protocol")
    if told["option"]:
        say(f"  {option}: llmasos docs protocol")
    if told["reading"]:
        say(f"  {reading}: kit.read_bundle(path, {told['reading']})")
    say(f"  {cases}: {told['cases']}; {profiles}: {', '.join(told['profiles']) or '-'}")
    if told["chapters"]:
        say(f"  {rules}: {', '.join(told['chapters'])}; llmasos explain {told['chapters'][0]}")
    say(f"  {shown}: {told['shown']}")


def _say_requirements(requirements: Sequence[Mapping[str, Any]], lang: str) -> None:
    for each in requirements:
        mark = {"en": ", withdrawn", "zh": ",已撤回"}[lang] if each["withdrawn"] else ""
        say(f"  {each['id']} ({each['level']}{mark}): {each['sentence']}")


def _explain_architecture(told: Mapping[str, Any], lang: str) -> None:
    words = {
        "en": ("parameters that may be left out", "tensors of model.safetensors", "the code that is right",
               "in the document", "profiles that ask it", "only with", "of each layer i",
               "a weight stands right of activations, x · weight + bias, so that it is [in, out]"),
        "zh": ("可省略的参数", "model.safetensors 中的张量", "作为标准的代码", "在文档中", "考察它的档案", "仅当",
               "每一层 i", "权重位于激活值右侧,x · weight + bias,即形状为 [输入, 输出]"),
    }[lang]  # fmt: skip
    defaults, tensors, code, document, profiles, only, layer, right = words
    say(f"{told['id']}: {told['presented']}", bold=True)
    say(f"  {defaults}:")
    for each in told["defaults"]:
        say(f"    {each['id']}: {each['sentence']}")
    say(f"  {tensors}: {', '.join(f'{each} {name}' for each, name in told['letters'].items())}; {layer}; {right}")
    width = max(len(each["name"]) for each in told["tensors"])
    for each in told["tensors"]:
        where = f"   {only} {each['where']}" if each["where"] else ""
        say(f"    {each['name']:<{width}}  [{', '.join(each['shape'])}]{where}", wrap=False)
    _say_requirements(told["requirements"], lang)
    say(f"  {document}: {told['document']}")
    say(f"  {code}: {told['code']}", wrap=False)
    say(f"  {profiles}: {', '.join(told['profiles'])}")
    kept = {"--architecture": told["id"], "--vocab-size": 300, "--width": 64, "--layers": 2}
    core = next(name for name in told["profiles"] if name.startswith("core/"))
    begin = "llmasos smoke" if facts.this_adapter() != "ADDRESS" else f"llmasos init --lang python --profile {core}"
    next_step(begin, f"llmasos new tiny {' '.join(f'{option} {value}' for option, value in kept.items())}")


def _explain_profile(told: Mapping[str, Any], lang: str) -> None:
    words = {"en": ("cases", "needs", "run it"), "zh": ("个用例", "需要", "运行")}[lang]
    levels = ", ".join(f"{count} {level}" for level, count in told["levels"].items())
    say(f"{told['id']}: {len(told['cases'])} {words[0]} ({levels})", bold=True)
    say(f"  {words[1]}: {', '.join(told['requires'])}")
    for each in told["chapters"]:
        say(f"  {each['cases']:>4}  {each['title']} ({each['id']})")
    say(f"  {words[2]}: {told['run']}")
    next_step(f"llmasos explain {told['chapters'][0]['id']}")


_EXPLAIN: Mapping[str, Callable[[Mapping[str, Any], str], None]] = {
    "architecture": _explain_architecture, "profile": _explain_profile, "chapter": _explain_chapter,
    "requirement": _explain_requirement, "case": _explain_case, "reason": _explain_reason,
    "capability": _explain_capability,
}  # fmt: skip


def _say_withdrawn(said: Mapping[str, Any] | None, lang: str) -> None:
    if said is not None:
        instead = {"en": "; instead: ", "zh": ";替代:"}[lang] + ", ".join(said["instead"]) if said["instead"] else ""
        say(
            {"en": "  withdrawn in ", "zh": "  撤回于 "}[lang] + f"{said['since']}: {said['why']}{instead}", fg="yellow"
        )


@click.command(short_help="Write the standard as pages that one can read.")
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


@click.command(short_help="Show a page of the documentation.")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--path", "where", is_flag=True, help="print where the page lies, and not what it says")
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def docs(name: str | None, lang: str, where: bool, as_json: bool) -> None:
    """Show a page of the documentation, or list the pages: what README calls docs/NAME.md."""
    from llmasos_conformance import scaffold

    pages = {path.stem: path for path in sorted(scaffold.docs().glob("*.md")) if ".zh" not in path.suffixes}
    if name is None:
        rows = [{"name": page, "title": _title(path), "path": str(path)} for page, path in pages.items()]
        if as_json:
            return print_json(rows)
        for row in rows:
            say(f"{row['name']:<22}{row['title']}", wrap=False)
        return next_step("llmasos docs first-hour")
    wanted = Path(name).name.removesuffix(".md").removesuffix(".zh")
    if wanted not in pages:
        near = get_close_matches(wanted, pages, 3, 0.4)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        hint = f"{meant}one of {', '.join(pages)}; llmasos docs lists them"
        what = f"no page {name!r:.80}" if name.strip() else "the name of the page is empty"
        raise HarnessError(what, hint=hint)
    chinese = pages[wanted].with_suffix(".zh.md")
    path = chinese if lang == "zh" and chinese.is_file() else pages[wanted]
    if as_json:
        return print_json({"name": wanted, "title": _title(path), "path": str(path), "text": path.read_text("utf-8")})
    say(str(path) if where else path.read_text("utf-8").rstrip(), wrap=False)
    return None


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return next(file).removeprefix("# ").strip()


@click.command(
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
    return rooms.table(loaded, rooms.read_all(reports, now=now(), own=Installed.here(suites), trust=trust))


def _doctors_code(bad: Collection[str]) -> int:
    """By the names of what is bad: 0 nothing, 4 an adapter that does not answer, 1 one that answers wrongly, else 2."""
    from llmasos_conformance.doctor import OF_ADAPTER

    if not bad:
        return 0
    if not {*bad} <= {*OF_ADAPTER}:
        return EXIT_USAGE
    return 1 if {*bad} == {"dtype"} else EXIT_ADAPTER


@click.command(
    short_help="Say what is wrong with this installation.",
    epilog="Exit codes: 0 nothing is bad, 1 the adapter's numbers are, 2 the installation or this directory is, 4 the "
    "adapter does not answer, or says more than answers.",
)
@click.option("--adapter", metavar="ADDRESS", help="also start this adapter and shake hands")
@click.option("--json", "as_json", is_flag=True, help="print as JSON, for a bug report")
def doctor(adapter: str | None, as_json: bool) -> int:
    """Look at this installation, and at an adapter, and say what is wrong."""
    from llmasos_conformance import doctor as rooms

    rows = rooms.examine(adapter)
    bad = [row for row in rows if row.state == "bad"]
    code = _doctors_code({row.name for row in bad})
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
        next_step(_after_doctor(adapter, next((row.text for row in rows if row.name == rooms.BEGIN), "")))
    return code


def _after_doctor(adapter: str | None, profile: str) -> str:
    """What to do where nothing is wrong: ask the adapter; look at it first, where this directory has one."""
    from llmasos_conformance import adapters, installed

    if adapter is not None:
        endpoint = adapters.check_address(adapter).endpoint
        profile = f"hosted/{endpoint.api}" if endpoint is not None else profile
        return f"{installed.pytest_command()} --adapter={shlex.quote(adapter)} --llmasos-profile={profile}"
    return f"llmasos doctor --adapter {adapters.default_address()}" if adapters.profiles_in() else "llmasos demo"
