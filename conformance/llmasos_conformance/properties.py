"""The ledger of properties: what every right implementation has, whatever its numbers, and which cases hold it to that.

    python -m llmasos_conformance.properties docs/properties.yaml                 the page, English
    python -m llmasos_conformance.properties docs/properties.yaml --language zh   the page, Chinese

A property is a relation between answers (a row alone and in a batch, a text at once and in pieces), where a
requirement is a sentence of the standard. Each is covered by cases, or partly covered, or absent, and for all but the
first the ledger says why. The reason is data as far as it can be: it names the words that would contradict it and the
requirements that it leans on, so that a case that is written later leaves no stale excuse behind; see `problems`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from llmasos_conformance import strictyaml
from llmasos_conformance.canonical import schema
from llmasos_conformance.errors import HarnessError, SuiteError
from llmasos_conformance.protocol import CAPABILITIES
from llmasos_conformance.suite import Case, Suite

LANGUAGES = ("en", "zh")
PENDING = "PENDING: "
"""How the reason begins where cases are being written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property.

    Attributes:
        id: PROP- and two digits, never reused. sentence: "en"/"zh" -> text.
        state: "covered", "partly", "absent" or "pending". cases: ids and patterns.
        why: "en"/"zh" -> what is missing; empty if nothing is.
        unless: words that contradict the reason. untestable: requirements that it leans on.
        where: file:line.
    """

    id: str
    sentence: Mapping[str, str]
    state: str
    cases: tuple[str, ...]
    why: Mapping[str, str]
    unless: tuple[str, ...]
    untestable: tuple[str, ...]
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the ledger. `title` is "en"/"zh" -> text."""

    title: Mapping[str, str]
    properties: tuple[Property, ...]


def read(raw: bytes, shown: str) -> tuple[Part, ...]:
    """A ledger.

    Args:
        shown: file name for messages.

    Raises:
        SuiteError: it is not strict YAML, or against property.schema.json; each problem with its line.
    """
    document = strictyaml.read(raw, shown, strictyaml.Schema(schema("property")))
    if document.problems:
        raise SuiteError("; ".join(map(str, document.problems)))
    return tuple(
        Part(
            title=part["title"],
            properties=tuple(
                _property(entry, document.line(("parts", i, "properties", j)))
                for j, entry in enumerate(part["properties"])
            ),
        )
        for i, part in enumerate(document.value["parts"])
    )


def _property(entry: Mapping[str, Any], where: str) -> Property:
    return Property(
        id=entry["id"],
        sentence={language: entry[language] for language in LANGUAGES},
        state=entry["state"],
        cases=tuple(entry.get("cases", ())),
        why=entry.get("why", {}),
        unless=tuple(entry.get("unless", ())),
        untestable=tuple(entry.get("untestable", ())),
        where=where,
    )


def words(cases: Mapping[str, Case]) -> frozenset[str]:
    """What can be asked for: capabilities, checks, and options that some case sends to be served.

    Options of requests that must be refused are no sign that what they ask for exists.
    """
    served = [case for case in cases.values() if "refuse" not in case.check and "reject" not in case.check]
    asked = {case.check.replace("-", "_") for case in served}
    return frozenset(CAPABILITIES) | asked | {option for case in served for option in _options(case.given)}


def _options(value: Any, inside: bool = False) -> Iterator[str]:
    """Names of members of whatever is called options or between, at any depth."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            if inside:
                yield key
            yield from _options(member, key in ("options", "between"))
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _options(member, inside)


def problems(parts: Sequence[Part], suite: Suite) -> list[str]:
    """What is wrong with a ledger, a line each; none if it is right.

    Held are: ids are PROP-01, PROP-02 and so on; every pattern stands for a case in force; what is covered has cases
    and no reason, what is partly covered both, what is absent a reason alone; what is pending says what it waits for;
    no word that contradicts a reason can be asked for; what a reason calls untestable is called so by the standard.
    """
    found, asked = list[str](), words(suite.cases)
    every = [one for part in parts for one in part.properties]
    for number, one in enumerate(every, start=1):
        found += [f"{one.where}: {text}" for text in _wrong(one, number, suite, asked)]
    return found


def _wrong(one: Property, number: int, suite: Suite, asked: frozenset[str]) -> Iterator[str]:
    if one.id != f"PROP-{number:02}":
        yield f"{one.id} stands where PROP-{number:02} is due"
    for pattern in one.cases:
        if not any(fnmatchcase(case, pattern) for case in suite.cases):
            yield f"{one.id}: no case is called {pattern}"
    has = (bool(one.cases), bool(one.why))
    due = {"covered": ((True, False),), "partly": ((True, True),), "absent": ((False, True),),
           "pending": ((True, True), (False, True))}[one.state]  # fmt: skip
    if has not in due:
        wanted = {"covered": "cases and no reason", "partly": "cases and a reason", "absent": "a reason and no case"}
        yield f"{one.id} is {one.state}: {wanted.get(one.state, 'a reason')} is due"
    if one.state == "pending" and not all(text.startswith(PENDING) for text in one.why.values()):
        yield f"{one.id} is pending: its reason begins with {PENDING!r}"
    if not one.why and (one.unless or one.untestable):
        yield f"{one.id}: there is no reason that could be contradicted"
    for word in one.unless:
        if word in asked:
            yield f"{one.id}: {word!r} can be asked for now, so the reason holds no more"
    for requirement in one.untestable:
        known = suite.requirements.get(requirement)
        if known is None or not known.untestable:
            yield f"{one.id}: the standard does not call {requirement} untestable"


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────

_PAGE: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Properties",
        "lead": "What every right implementation has, whatever its numbers, and which cases hold it to that. Made from "
        "`properties.yaml` by `python -m llmasos_conformance.properties`; a test holds that the cases exist, and that "
        "no reason is contradicted by what can be asked for by now.",
        "other": "中文：[properties.zh.md](properties.zh.md).",
        "head": "| property | state | cases | what is missing, and why |",
        "count": "Of {all} properties {covered} are covered, {partly} in part, {absent} not at all, {pending} not yet.",
        "covered": "covered", "partly": "in part", "absent": "not asked", "pending": "pending",
    },
    "zh": {
        "title": "性质",
        "lead": "任何正确的实现，不论其数值如何，都具有的性质，以及检验它们的用例。由 "
        "`python -m llmasos_conformance.properties` 从 `properties.yaml` 生成；测试保证所列用例存在，"
        "且没有理由与现在可以提出的请求相矛盾。",
        "other": "English: [properties.md](properties.md).",
        "head": "| 性质 | 状态 | 用例 | 缺少什么及原因 |",
        "count": "共 {all} 条性质：{covered} 条完全覆盖，{partly} 条部分覆盖，{absent} 条未检验，{pending} 条待补。",
        "covered": "覆盖", "partly": "部分覆盖", "absent": "未检验", "pending": "待补",
    },
}  # fmt: skip


def page(parts: Sequence[Part], language: str) -> str:
    """The ledger as Markdown. Patterns stay as they are, so that a new case that one of them covers changes no page."""
    word = _PAGE[language]
    states = [one.state for part in parts for one in part.properties]
    counts = {state: states.count(state) for state in ("covered", "partly", "absent", "pending")}
    lines = [
        f"# {word['title']}",
        "",
        word["lead"],
        "",
        word["count"].format(all=len(states), **counts),
        "",
        word["other"],
    ]
    for part in parts:
        lines += ["", f"## {part.title[language]}", "", word["head"], "|---|---|---|---|"]
        for one in part.properties:
            cases = ", ".join(f"`{pattern}`" for pattern in one.cases)
            why = one.why.get(language, "")
            lines.append(f"| {one.id} {one.sentence[language]} | {word[one.state]} | {cases} | {why} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the page; exit code 1 and what is wrong on stderr if the ledger is not right."""
    from llmasos_conformance import checks, suite

    parser = argparse.ArgumentParser(prog="python -m llmasos_conformance.properties", description=__doc__)
    parser.add_argument("ledger", type=Path, help="the YAML file")
    parser.add_argument("--language", choices=LANGUAGES, default="en")
    options = parser.parse_args(argv)
    try:
        parts = read(options.ledger.read_bytes(), options.ledger.name)
        loaded = suite.load(checks=checks.registry())
    except (OSError, HarnessError) as error:
        print(f"{options.ledger}: {error}", file=sys.stderr)
        return 1
    wrong = problems(parts, loaded)
    print("\n".join(wrong), file=sys.stderr) if wrong else print(page(parts, options.language), end="")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
