"""What can go wrong between the harness and a candidate, as data: the page is made of it, and the tests do it.

    python -m llmasos_conformance.mishaps docs/faults.yaml                 the page, English
    python -m llmasos_conformance.mishaps docs/faults.yaml --language zh   the page, Chinese

A fault has an outcome, and an outcome a state; what a fault may not have is an outcome that depends on the machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos_conformance import strictyaml
from llmasos_conformance.canonical import schema
from llmasos_conformance.errors import HarnessError, SuiteError

LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishap:
    """One thing that goes wrong.

    Attributes:
        id: its name. sentence: "en"/"zh" -> what goes wrong.
        over: "stdio", "http", "both", "openai" or "python". when: "start", "call" or "between".
        frames: the peer offers them.
        ask: which question meets it. limit: seconds that the question has, None for plenty.
        does: steps of the peer. outcome: of the question. next: outcome of the question behind it, or "".
        gone: the peer does not come back. told: texts of which one stands in what a person reads.
    """

    id: str
    sentence: Mapping[str, str]
    over: str
    when: str
    frames: bool
    ask: str
    limit: float | None
    does: Sequence[Mapping[str, Any]]
    outcome: str
    next: str
    gone: bool
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the list. `title` is "en"/"zh" -> text."""

    title: Mapping[str, str]
    mishaps: tuple[Mishap, ...]


def read(raw: bytes, shown: str) -> tuple[Part, ...]:
    """The list.

    Args:
        shown: file name for messages.

    Raises:
        SuiteError: it is not strict YAML, or against fault.schema.json, or an id stands twice.
    """
    document = strictyaml.read(raw, shown, strictyaml.Schema(schema("fault")))
    if document.problems:
        raise SuiteError("; ".join(map(str, document.problems)))
    parts = tuple(
        Part(title=part["title"], mishaps=tuple(_mishap(entry, part) for entry in part["faults"]))
        for part in document.value["parts"]
    )
    ids = [each.id for part in parts for each in part.mishaps]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise SuiteError(f"{', '.join(twice)} stands twice", where=shown)
    return parts


def _mishap(entry: Mapping[str, Any], part: Mapping[str, Any]) -> Mishap:
    return Mishap(
        id=entry["id"],
        sentence={language: entry[language] for language in LANGUAGES},
        over=part["over"],
        when=entry.get("when", part["when"]),
        frames=part.get("frames", False),
        ask=entry.get("ask", "tokenize"),
        limit=entry.get("limit"),
        does=entry["do"],
        outcome=entry["outcome"],
        next=entry.get("next", ""),
        gone=entry.get("after") == "gone",
        told=tuple(entry["told"].split("|")),
    )


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────

_PAGE: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Faults of the wire",
        "lead": "What can go wrong between the harness and a candidate, and what becomes of it. Made from "
        "`faults.yaml` by `python -m llmasos_conformance.mishaps`; a test does every line of it, over each transport "
        "that is named.",
        "other": "中文：[faults.zh.md](faults.zh.md).",
        "rules": "A question that was not answered counts against nobody: its case has the state *error*, the run goes "
        "on with the next case, and the verdict is incomplete. What a candidate did of itself, and what an answer that "
        "arrived says, counts: *fail*. Nothing waits longer than its time limit, nothing that we started outlives its "
        "connection, nothing is asked twice. Behind each fault the candidate is started or reached anew, and the next "
        "question is answered as if nothing had been.",
        "head": "| what goes wrong | over | outcome | state of the case | what is told |",
        "stdio": "stdio", "http": "HTTP", "both": "both", "python": "in process", "openai": "OpenAI-style",
        "address": "no run, exit code 4", "died": "fail", "malformed": "fail", "raised": "fail", "timeout": "error",
        "protocol": "error", "transport": "error", "refusal": "as the case asks: fail where an answer was due",
        "answer": "as the answer is", "or": " or ", "next": ", then {}",
    },
    "zh": {
        "title": "线路故障",
        "lead": "测试工具与候选实现之间可能出现的问题及其结果。由 `python -m llmasos_conformance.mishaps` 从 "
        "`faults.yaml` 生成；测试会在所列的每种传输方式上逐行重现。",
        "other": "English: [faults.md](faults.md).",
        "rules": "未得到回答的问题不归咎于任何一方：该用例的状态为 *error*，运行继续下一个用例，结论为不完整。"
        "候选实现自身的行为，以及已到达的回答的内容，则计入：*fail*。任何等待都不超过时限，我们启动的进程不会比其连接活得更久，"
        "任何问题都不会提两次。每次故障之后，候选实现会被重新启动或重新连接，下一个问题照常得到回答。",
        "head": "| 问题 | 传输 | 结果 | 用例状态 | 所告知的内容 |",
        "stdio": "stdio", "http": "HTTP", "both": "两者", "python": "进程内", "openai": "类 OpenAI",
        "address": "不运行，退出码 4", "died": "fail", "malformed": "fail", "raised": "fail", "timeout": "error",
        "protocol": "error", "transport": "error", "refusal": "视用例而定：应有回答时为 fail",
        "answer": "视回答而定", "or": " 或 ", "next": "，随后为 {}",
    },
}  # fmt: skip


def page(parts: Sequence[Part], language: str) -> str:
    """The list as Markdown."""
    word = _PAGE[language]
    lines = [f"# {word['title']}", "", word["lead"], "", word["rules"], "", word["other"]]
    for part in parts:
        lines += ["", f"## {part.title[language]}", "", word["head"], "|---|---|---|---|---|"]
        for each in part.mishaps:
            told = word["or"].join(f"`{text}`" for text in each.told if text)
            then = word["next"].format(each.next) if each.next else ""
            cells = [each.sentence[language], word[each.over], each.outcome + then, word[each.outcome], told]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the page; exit code 1 and what is wrong on stderr if the list is not right."""
    parser = argparse.ArgumentParser(prog="python -m llmasos_conformance.mishaps", description=__doc__)
    parser.add_argument("list", type=Path, help="the YAML file")
    parser.add_argument("--language", choices=LANGUAGES, default="en")
    options = parser.parse_args(argv)
    try:
        print(page(read(options.list.read_bytes(), options.list.name), options.language), end="")
    except (OSError, HarnessError) as error:
        print(f"{options.list}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
