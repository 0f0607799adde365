"""The kill matrix: which case failed which wrong implementation, as a file, and what follows from it.

A mutant is *killed* at an interface if a case fails it that needs no more than this interface shows. Interfaces, least
first: text, ids, log-probabilities, logits, the inside. What a case needs tells its interface.

The file is JSON, one row per line. Cases are named once; a row holds numbers of cases. Rows that were asked the same
cases share a scope.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from llmasos_conformance.errors import SuiteError

FORMAT = "llmasos-kill-matrix/1"

INTERFACES: dict[str, frozenset[str]] = {
    "inside": frozenset({"hidden_states", "attention", "gradients", "train_step", "export"}),
    "logits": frozenset({"forward", "session", "encode"}),
    "logprobs": frozenset({"score", "logprobs", "perplexity", "fill_mask"}),
    "ids": frozenset({"generate_ids", "batch", "tokenize", "beams"}),
    "text": frozenset(),
}
"""Interface -> capabilities that show it, the most telling first."""

ORDER = tuple(reversed(INTERFACES))
"""Interfaces, the least telling first."""

HONEST_SHARE = 0.5
"""Part of a bound that an honest variant may use: what is left is for machines that we have not seen."""

RIGHT = ("honest", "framework")
"""Kinds of candidates that may fail nothing."""

SMALL_SIZE = 100.0
"""A fault is small if its error on the plain probe is under so many honest errors."""

LOUDEST = 40.0
"""Errors are told apart up to two to this."""

SPECIFIC = 0.8
"""A mutant shows that a requirement stands for itself if so large a part of the other requirements still passes."""


def loudness(figures: Mapping[str, float]) -> float | None:
    """Binary logarithm of an error in honest errors, a tenth rounded; None where none was measured.

    Args:
        figures: of an outcome. An error that is no number is as loud as the loudest that is told apart.
    """
    ratio = figures.get("ratio")
    if ratio is None or ratio <= 0:
        return None
    return round(min(math.log2(ratio), LOUDEST), 1) if math.isfinite(ratio) else LOUDEST


def interface(needs: Iterable[str]) -> str:
    """The interface that a case with these capabilities looks at."""
    asked = set(needs)
    return next((name for name, shown in INTERFACES.items() if shown & asked), "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One case of the matrix.

    Attributes:
        requirement, level: of the case. interface: see `interface`.
        tokens, seconds: what asking the reference takes: ids given and made, and time; 0 if it was not measured.
    """

    requirement: str
    level: str
    interface: str
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candidate of the matrix.

    Attributes:
        kind: honest, framework (an adapter that is known to be right), null or mutant. name: in its address; of a
            framework, its address. group, source, bug, expected: of a mutant; expected is the requirement it breaks.
        size: error on the plain probe of its architecture in honest errors, root mean square; infinite if it is not
            finite, None if the candidate does not load it.
        asked: cases that it was asked.
        failed: case -> requirement, for cases that it failed.
        loud: case -> binary logarithm of its error in honest errors, for failed cases that measured one.
        undecided: case -> message, for cases with neither a pass nor a fail; a fault of ours.
        share: largest part of a bound that it used in a case that it passed. at: that case.
        seconds: of wall clock; two runs of one candidate are equal without it.
    """

    kind: str
    name: str
    group: str = ""
    source: str = ""
    bug: str = ""
    expected: str = ""
    size: float | None = None
    asked: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    loud: Mapping[str, float] = field(default_factory=dict)
    undecided: Mapping[str, str] = field(default_factory=dict)
    share: float = 0.0
    at: str = ""
    seconds: float = field(default=0.0, compare=False)

    @property
    def requirements(self) -> list[str]:
        """Requirements that were failed, the expected one first."""
        return sorted(set(self.failed.values()), key=lambda name: (name != self.expected, name))

    @property
    def trouble(self) -> str:
        """What is not as it must be; empty if all is well."""
        if self.undecided:
            return f"undecided: {', '.join(list(self.undecided)[:3])}"
        if self.kind in RIGHT:
            if self.failed:
                return f"what is right fails {', '.join(list(self.failed)[:3])}"
            return f"uses {self.share:.2f} of a bound in {self.at}" if self.share > HONEST_SHARE else ""
        if not self.failed:
            return "survives"
        if self.kind == "mutant" and self.expected not in self.failed.values():
            return f"does not fail {self.expected}"
        return ""

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON, which knows no infinity."""
        size = "infinite" if self.size is not None and math.isinf(self.size) else self.size
        return {**asdict(self), "size": size}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Row:
        """The inverse of `as_json`."""
        size = math.inf if value["size"] == "infinite" else value["size"]
        return cls(**{**value, "size": size, "asked": tuple(value["asked"])})


@dataclass(frozen=True, kw_only=True)
class KillMatrix:
    """Rows, cases, and what they were made with.

    Attributes:
        terms: suite and harness digests, seed, and dtype to which mutants were held ("claim", empty for their own).
        columns: case -> what is known of it. rows: one per candidate.
    """

    terms: Mapping[str, str]
    columns: Mapping[str, Column]
    rows: Sequence[Row]

    @cached_property
    def mutants(self) -> Sequence[Row]:
        return [row for row in self.rows if row.kind == "mutant"]

    def lowest(self, row: Row) -> str | None:
        """The least telling interface at which a row is killed; None if it survives."""
        seen = {self.columns[case].interface for case in row.failed}
        return next((name for name in ORDER if name in seen), None)

    def killed(self, rows: Iterable[Row], at: str) -> int:
        """How many rows are killed by what an interface and those below it show."""
        enough = ORDER[: ORDER.index(at) + 1]
        return sum(self.lowest(row) in enough for row in rows)

    def first_kill(self, row: Row, at: str) -> int | None:
        """Tokens of the cheapest case up to an interface that kills a row; None if none does."""
        enough = ORDER[: ORDER.index(at) + 1]
        return min(
            (self.columns[case].tokens for case in row.failed if self.columns[case].interface in enough), default=None
        )

    def specific(self) -> dict[str, tuple[str, float] | None]:
        """For each MUST: the mutant that its cases kill and that leaves most of the other requirements alone.

        Returns:
            requirement -> name, and the part of the other requirements that it was asked and passes; None if no
            mutant fails it.
        """
        best: dict[str, tuple[str, float] | None] = {
            column.requirement: None for column in self.columns.values() if column.level == "MUST"
        }
        for row in self.mutants:
            broken = set(row.failed.values())
            asked = {self.columns[case].requirement for case in row.asked}
            for name in broken & best.keys():
                others = asked - {name}
                share = 1 - len((broken - {name}) & others) / len(others) if others else 1.0
                held = best[name]
                if held is None or share > held[1]:
                    best[name] = (row.name, share)
        return best

    def page(self, lang: str = "en") -> str:
        """What follows from the matrix, as Markdown tables.

        Args:
            lang: "en" or "zh".
        """
        words = _WORDS[lang]
        groups: dict[str, list[Row]] = {}
        for row in self.mutants:
            groups.setdefault(row.group, []).append(row)
        lines = [_line(words["groups"]), _line(["---", *["--:"] * (len(words["groups"]) - 1)])]
        for name, rows in [*groups.items(), (words["all"], list(self.mutants))]:
            small = sum(row.size is not None and row.size < SMALL_SIZE for row in rows)
            kills = [str(self.killed(rows, at)) for at in ORDER]
            spent = [self.first_kill(row, ORDER[-1]) for row in rows]
            tokens = sorted(each for each in spent if each is not None)
            middle = str(tokens[len(tokens) // 2]) if tokens else "-"
            lines.append(_line([name, str(len(rows)), str(small), *kills, middle]))
        specific = self.specific()
        weak = {name: found for name, found in specific.items() if found is None or found[1] < SPECIFIC}
        lines += [
            "",
            words["specific"].format(good=len(specific) - len(weak), of=len(specific), share=f"{SPECIFIC:.0%}"),
        ]
        if weak:
            lines += ["", _line(words["weak"]), _line(["---", "---", "--:"])]
            lines += [
                _line([name, "-", "-"] if found is None else [name, found[0], f"{found[1]:.0%}"])
                for name, found in sorted(weak.items())
            ]
        alive = [row.name for row in self.mutants if not row.failed]
        lines += ["", words["alive"].format(names=", ".join(alive) or words["none"])]
        asked = [column for column in self.columns.values() if column.seconds]
        lines += ["", words["cost"].format(
            cases=len(asked), tokens=sum(column.tokens for column in asked),
            seconds=round(sum(column.seconds for column in asked)), rows=len(self.rows),
            minutes=round(sum(row.seconds for row in self.rows) / 60),
        )]  # fmt: skip
        return "\n".join(lines) + "\n"

    def as_text(self) -> str:
        """The file: a JSON object with one case and one row per line."""
        number = {case: i for i, case in enumerate(self.columns)}
        scopes: dict[tuple[int, ...], int] = {}
        cases = [json.dumps([case, *asdict(column).values()]) for case, column in self.columns.items()]
        rows = []
        for row in self.rows:
            scope = scopes.setdefault(tuple(sorted(number[case] for case in row.asked)), len(scopes))
            entry = {
                **row.as_json(),
                "asked": scope,
                "failed": sorted(number[case] for case in row.failed),
                "loud": [[number[case], loud] for case, loud in sorted(row.loud.items())],
                "seconds": round(row.seconds, 1),
                "share": round(row.share, 4),
            }
            if isinstance(entry["size"], float):
                entry["size"] = float(f"{entry['size']:.3g}")
            rows.append(
                json.dumps(
                    {key: value for key, value in entry.items() if value not in ("", {}, [], None) or key == "failed"},
                    ensure_ascii=False,
                )
            )
        head = {"format": FORMAT, **self.terms, "case": [column.name for column in fields(Column)]}
        return "".join(
            [
                json.dumps(head, ensure_ascii=False)[:-1],
                ',\n"scopes": [\n',
                ",\n".join(json.dumps(_ranges(scope)) for scope in scopes),
                '\n],\n"cases": [\n',
                ",\n".join(cases),
                '\n],\n"rows": [\n',
                ",\n".join(rows),
                "\n]}\n",
            ]
        )


_WORDS: Mapping[str, Mapping[str, Any]] = {
    "en": {
        "groups": [
            "group", "mutants", "small", "text", "+ ids", "+ logprobs", "+ logits", "+ inside", "tokens to a kill",
        ],
        "all": "**all**",
        "specific": "{good} of {of} MUST requirements have a mutant that their cases kill while at least {share} of "
        "the other requirements asked of it still pass.",
        "weak": ["requirement without one", "mutant that comes nearest", "others that pass"],
        "alive": "Mutants that no case kills: {names}.",
        "none": "none",
        "cost": "Asking the reference all {cases} cases once takes {tokens} tokens and {seconds} s; the {rows} rows "
        "took {minutes} minutes of one core.",
    },
    "zh": {
        "groups": [
            "组", "变异体", "微小", "文本", "+ 编号", "+ 对数概率", "+ logits", "+ 内部", "杀死所需记号数",
        ],
        "all": "**合计**",
        "specific": "{of} 条 MUST 要求中，有 {good} 条存在这样的变异体："
        "其用例杀死该变异体，而向它提出的其他要求至少有 {share} 仍然通过。",
        "weak": ["没有这种变异体的要求", "最接近的变异体", "仍通过的其他要求"],
        "alive": "没有任何用例能杀死的变异体：{names}。",
        "none": "无",
        "cost": "对参考实现提问全部 {cases} 个用例一次需要 {tokens} 个记号、{seconds} 秒；"
        "{rows} 行共用去单核 {minutes} 分钟。",
    },
}  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Ascending numbers as [first, last] of each run."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return runs


def from_text(text: str, where: str | Path = "") -> KillMatrix:
    """The inverse of `KillMatrix.as_text`.

    Raises:
        SuiteError: it is no kill matrix of a format that is known here.
    """
    try:
        made = json.loads(text)
        if made["format"] != FORMAT:
            raise ValueError(f"its format is {made['format']!r:.40}")
        columns = {case: Column(**dict(zip(made["case"], rest, strict=True))) for case, *rest in made["cases"]}
        names = list(columns)
        scopes = [[names[i] for first, last in scope for i in range(first, last + 1)] for scope in made["scopes"]]
        rows = []
        for row in made["rows"]:
            failed = {names[i]: columns[names[i]].requirement for i in row["failed"]}
            loud = {names[i]: loud for i, loud in row.get("loud", ())}
            asked = scopes[row["asked"]]
            rows.append(Row.from_json({"size": None, **row, "asked": asked, "failed": failed, "loud": loud}))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SuiteError(
            f"no kill matrix: {error}", where=where, hint="llmasos selftest --out FILE writes one"
        ) from error
    terms = {name: value for name, value in made.items() if isinstance(value, str) and name != "format"}
    return KillMatrix(terms=terms, columns=columns, rows=rows)


def read(path: Path) -> KillMatrix:
    """A kill matrix from its file.

    Raises:
        SuiteError: it is none, or cannot be read.
    """
    try:
        return from_text(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"cannot be read: {error}", where=path, hint="give the file of a kill matrix") from error


def find() -> Path | None:
    """The published matrix that is installed: in the package of a wheel, beside the package's root in a checkout."""
    here = Path(__file__)
    places = (here.parent / "reports" / "kill-matrix.json", here.parents[2] / "reports" / "kill-matrix.json")
    return next((place for place in places if place.is_file()), None)
