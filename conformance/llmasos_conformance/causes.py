"""Many failures, few causes: how the failures of a run are read together, and what is said of them.

What they have in common comes from `patterns`, the bug that they resemble from `knownbugs`; which of it is worth
saying, what is read first, and the words in both languages are here. This is a reading aid: no verdict rests on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llmasos_conformance import killmatrix, knownbugs, patterns
from llmasos_conformance.knownbugs import Cause, Seen
from llmasos_conformance.patterns import ALIKE, Alike, Behind, Onset, Plain, Told
from llmasos_conformance.verdict import NO_ANSWER, State, unanswered


def seen(outcomes: Iterable[Told]) -> dict[str, Seen]:
    """Cases that passed or failed; one that did both has failed. What was not answered resembles no wrong answer."""
    made: dict[str, Seen] = {}
    for each in outcomes:
        if each.state not in (State.PASS, State.FAIL) or unanswered(each.message):
            continue
        if each.case not in made or each.state == State.FAIL:
            made[each.case] = Seen(passed=each.state == State.PASS, loud=killmatrix.loudness(each.figures))
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The failures of a run, read together.

    Attributes:
        alike, holes, wavering, onset, behind, plain: see `patterns`. anew: how many wrong choices were right of a
            candidate started anew. likely: the likely cause. rest: wrong answers that it does not explain. perhaps: a
            possible cause, where none is likely and tensors were read right. against: see there; empty where anything
            above says where to begin.
    """

    alike: Sequence[Alike] = ()
    holes: Sequence[str] = ()
    wavering: Sequence[str] = ()
    anew: int = 0
    onset: Onset | None = None
    behind: Behind | None = None
    likely: Cause | None = None
    rest: Sequence[str] = ()
    plain: Plain | None = None
    perhaps: Cause | None = None
    against: Sequence[str] = ()

    @property
    def first(self) -> str:
        """The case to begin with; empty where nothing is behind many failures.

        That of whatever is behind more of them: a reason for no answer, or a likely cause of wrong ones. Before either
        come logits that are no numbers, answers that change, and choices that do not follow the logits, for whatever
        reads those fails too.
        """
        if self.void:
            return self.holes[0]
        if self.wavering:
            return self.wavering[0]
        if self.behind is not None and self.behind.begin and not self.mend:
            return self.behind.begin
        if self.mend:
            return self.alike[0].cases[0]
        if self.likely is not None:
            return self.likely.begin[0]
        if self.plain is not None:
            return self.plain.case
        if self.perhaps is not None:
            return self.perhaps.begin[0]
        return self.against[0] if self.against else ""

    def leads_to(self, case: str, requirement: str, begins: str) -> bool:
        """Whether a failing case is one by which the bug is found, and not one that fails because others do.

        Args:
            requirement: of the case. begins: that of `first`.
        """
        unexplained = self.likely is not None and case in self.rest
        return not self.first or requirement == begins or unexplained

    @property
    def void(self) -> bool:
        """Whether logits that are no numbers come before all else."""
        return len(self.holes) >= ALIKE

    @property
    def mend(self) -> bool:
        """Whether the reason for no answer comes before all wrong answers."""
        wrong = len(self.rest if self.likely is None else self.likely.explains)
        return bool(self.alike) and not self.void and len(self.alike[0].cases) >= wrong


def read(outcomes: Iterable[Told]) -> Reading:
    """Outcomes of a run, read by the published matrix."""
    given = list(outcomes)
    verdicts = seen(given)
    failed = [case for case, each in verdicts.items() if not each.passed]
    found = knownbugs.likely(verdicts)
    silent = len({each.case for each in given if each.state == State.FAIL and unanswered(each.message)})
    wavering = patterns.wavering(given)
    told = found if found and knownbugs.worth_telling(found, len(failed), silent, len(verdicts)) else None
    if told and wavering and not patterns.asks_of_state(told.requirement):
        told = None  # by what came before, and not by what is asked, do these cases fail
    explained = {*told.explains} if told else {*()}
    made = Reading(
        alike=patterns.alike(given), holes=patterns.holes(given), wavering=wavering,
        anew=sum(each.anew for each in given), onset=patterns.onset(given), behind=patterns.behind(given), likely=told,
        rest=[case for case in failed if case not in explained],
    )  # fmt: skip
    if made.first:
        return made
    off = patterns.plain(given, made.onset)
    named = found is not None and knownbugs.worth_naming(found, len(failed)) and off is None
    made = replace(made, plain=off, perhaps=found if named else None)
    return made if made.first else replace(made, against=patterns.against(given))


_KINDS = {
    "en": dict(zip(NO_ANSWER, ("exception", "malformed answer", "crash", "refusal"), strict=True)),
    "zh": dict(zip(NO_ANSWER, ("异常", "不合格式的回答", "崩溃", "拒绝"), strict=True)),
}


def told(reading: Reading, sentences: Mapping[str, Mapping[str, str]], lang: str = "en") -> list[str]:
    """A reading in words, a few lines each; empty if there is nothing to say of many failures.

    Args:
        sentences: requirement -> its sentence, "en" and "zh". lang: of what is said.
    """
    lines = [_holes_told(reading.holes, lang)] if reading.void else []
    if reading.wavering:
        lines.append(_wavering_told(reading.wavering, reading.anew, lang))
    lines += [_alike_told(each, first=reading.mend and each is reading.alike[0], lang=lang) for each in reading.alike]
    if reading.onset is not None:
        lines.append(_onset_told(reading.onset, lang))
    if reading.behind is not None:
        lines.append(_behind_told(replace(reading.behind, begin="") if reading.wavering else reading.behind, lang))
    if reading.likely is not None:
        begin = reading.first == reading.likely.begin[0]
        lines += _cause_told(reading.likely, sentences, _LIKELY[lang], begin=begin, lang=lang)
    if reading.plain is not None:
        lines.append(_plain_told(reading.plain, lang))
    if reading.perhaps is not None:
        lines += _cause_told(reading.perhaps, sentences, _PERHAPS[lang], begin=True, lang=lang)
    if reading.against:
        lines.append(_against_told(reading.against, lang))
    if reading.rest and reading.likely is not None:
        rest = list(reading.rest)
        shown = ", ".join(rest[:3]) + (f" … ({len(rest)})" if len(rest) > 3 else "")
        lines.append(f"没有已知缺陷能解释：{shown}" if lang == "zh" else f"explained by no known bug: {shown}")
    return lines


def _alike_told(each: Alike, *, first: bool, lang: str) -> str:
    start = next(start for start in NO_ANSWER if each.message.startswith(start))
    kind, said = _KINDS[lang][start], each.message.removeprefix(start)
    if lang == "zh":
        place = f"（{each.place}）" if each.place else ""
        return f"{len(each.cases)} 个用例因同一{kind}未通过：{said}{place}{'；请先修复它' if first else ''}"
    place = f" ({each.place})" if each.place else ""
    return f"{len(each.cases)} cases failed by one {kind}: {said}{place}{'; mend this first' if first else ''}"


def _holes_told(cases: Sequence[str], lang: str) -> str:
    if lang == "zh":
        return f"{len(cases)} 个用例的 logits 中有 NaN 或无穷大，例如 {cases[0]}；请先修复它"
    return f"logits are NaN or infinite in {len(cases)} cases, as in {cases[0]}; mend this first"


def _wavering_told(cases: Sequence[str], anew: int, lang: str) -> str:
    if anew:
        if lang == "zh":
            return f"{anew} 个错误回答在重新启动的候选上是正确的：先前的请求会改变回答；先看 {cases[0]}"
        return (
            f"{anew} wrong answers are right of a candidate started anew: earlier requests change them; begin with "
            f"{cases[0]}"
        )
    if lang == "zh":
        return f"同一问题得到两种答案：之前的请求（或偶然）会改变回答；先看 {cases[0]}"
    return f"the same question got two answers: earlier requests, or chance, change them; begin with {cases[0]}"


def _onset_told(onset: Onset, lang: str) -> str:
    p = onset.position
    if lang == "zh":
        right = f"位置 {p - 1} 及之前的 logits 正确，" if p else ""
        wrong = f"从位置 {p} 起全部错误" if onset.throughout else f"首个错误在位置 {p}"
        return (
            f"{right}{'' if p else 'logits '}{wrong}：{onset.of} 个未通过的用例中有 {onset.rows} 个如此（位置从 0 计）"
        )
    right = f"right up to position {p - 1}, " if p else ""
    wrong = f"wrong from position {p} on" if onset.throughout else f"first wrong at position {p}"
    rows = f"all {onset.of} cases" if onset.rows == onset.of else f"{onset.rows} of {onset.of} cases"
    return f"logits are {right}{wrong} in {rows} where they are off (positions count from 0)"


def _behind_told(each: Behind, lang: str) -> str:
    if lang == "zh":
        begin = f"；先看 {each.begin}" if each.begin else ""
        return (
            f"测量 logits 的 {each.measured} 个用例全部正确，而 {each.wrong} 个关于生成的用例未通过："
            f"{_where_to_look(each, lang)}{begin}"
        )
    begin = f"; begin with {each.begin}" if each.begin else ""
    return (
        f"logits are right in all {each.measured} cases that measure them, and {each.wrong} cases of generation fail: "
        f"{_where_to_look(each, lang)}{begin}"
    )


def _where_to_look(each: Behind, lang: str) -> str:
    """By whether most texts are right, or which new id is the first wrong one, where cases agree on it."""
    if each.kept:
        if lang == "zh":
            return f"多数编号正确，而询问先前请求是否改变回答的用例 {each.kept} 未通过；请看先前的请求留下了什么"
        return (
            f"most ids are right, and {each.kept} is not, which asks whether earlier requests change answers; look at "
            "what is kept of them"
        )
    if each.rows >= patterns.ROWS and not each.at_first:
        if lang == "zh":
            return (
                f"其中 {each.rows} 个指明了出错的新编号：从不是首个，{each.at_second} 个为第二个；"
                "请看每个编号如何送回模型：它的位置，以及缓存（如有）"
            )
        return (
            f"{each.rows} of them say which new id is wrong: never the first, in {each.at_second} the second; look at "
            "how each is fed back: its position, and a cache if there is one"
        )
    if each.rows >= patterns.ROWS and each.at_first >= patterns.AGREE * each.rows:
        if lang == "zh":
            return f"其中 {each.rows} 个指明了出错的新编号：{each.at_first} 个为首个；请看编号如何选出"
        return (
            f"{each.rows} of them say which new id is wrong: in {each.at_first} the first; look at how an id is chosen"
        )
    if lang == "zh":
        return "请看编号如何选出、每个编号如何送回模型（如有缓存则经由缓存），以及文本在何处结束"
    return "look at how an id is chosen, how each is fed back, through a cache if there is one, and where a text ends"


def _against_told(cases: Sequence[str], lang: str) -> str:
    if lang == "zh":
        return f"候选自己的回答本应一致，却在此处不同：{'、'.join(cases)}；先看 {cases[0]}"
    return (
        f"the candidate's own answers, which have to agree whatever the weights are, differ in {', '.join(cases)}: "
        f"begin with {cases[0]}"
    )


def _plain_told(each: Plain, lang: str) -> str:
    if lang == "zh":
        return (
            f"{each.case} 偏差为诚实误差的 {each.ratio:.0e} 倍，而它的模型没有任何特殊之处："
            "请先看张量如何读取（权重为 [in, out]；哪个是查询、键、值；各个头取哪些列）"
        )
    return (
        f"{each.case} is off by {each.ratio:.0e} honest errors, and its model has nothing special: look "
        "first at how tensors are read (weights stand [in, out]; what is query, key, value; which columns a head)"
    )


_LIKELY = {
    "en": ("likely cause:", "it would explain {failures}{several}", "; there are candidates:"),
    "zh": ("可能的原因：", "若是如此，可解释 {count} 个未通过的用例{several}", "；候选有几个："),
}
_PERHAPS = {
    "en": ("perhaps:", "the bugs below fail the same cases or nearly so ({failures} here); others may, too", ""),
    "zh": ("或许：", "下列缺陷使相同或几乎相同的用例失败（此处 {count} 个）；其他缺陷也可能如此", ""),
}
"""How a cause is told: its head, what it explains, and what that ends with where there are several candidates."""


def _cause_told(
    cause: Cause, sentences: Mapping[str, Mapping[str, str]], words: tuple[str, str, str], *, begin: bool, lang: str
) -> list[str]:
    count = len(cause.explains)
    sentence = sentences.get(cause.requirement, {}).get(lang, "").strip().rstrip(".。")
    bugs = [
        (f"{row.name} ({row.source})", f"{same:.0%}", row.bug) for row, same in zip(cause.bugs, cause.same, strict=True)
    ]
    head, explains, several = words
    of = explains.format(
        count=count,
        failures="1 failure" if count == 1 else f"{count} failures",
        several=several if len(bugs) > 1 else "",
    )
    if lang == "zh":
        return [
            f"{head}{cause.requirement} {sentence}".rstrip(),
            f"  {of}",
            *(f"  类似 {name}：{same} 的未通过用例相同；该缺陷为：{bug}" for name, same, bug in bugs),
            *([f"  先看 {cause.begin[0]}"] if begin else []),
        ]
    return [
        f"{head} {cause.requirement} {sentence}".rstrip(),
        f"  {of}",
        *(f"  resembles {name}: {same} of the failing cases are the same; that bug: {bug}" for name, same, bug in bugs),
        *([f"  begin with {cause.begin[0]}"] if begin else []),
    ]
