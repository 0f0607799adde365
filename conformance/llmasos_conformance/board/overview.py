"""The page of all reports: runs, runtimes by chapters, failures with their reproduction, and what was not verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llmasos_conformance.board.page import (
    Speech,
    command,
    foreign,
    found_precision,
    reasons,
    section,
    share,
    standing,
    state,
    table,
    verdict,
    whole,
)  # fmt: skip
from llmasos_conformance.board.views import Chapter, View
from llmasos_conformance.board.words import MARKS, STANDINGS, TEXTS
from llmasos_conformance.canonical import clean
from llmasos_conformance.pages import frame
from llmasos_conformance.pages.markup import Html, el, join
from llmasos_conformance.pages.order import in_order
from llmasos_conformance.pages.words import LANGUAGES
from llmasos_conformance.reading import Read, Standing
from llmasos_conformance.verdict import State

NAME = 60
"""Characters of a candidate's name and version in a row; the page of its report has all of them."""
TOLD = 12
"""Failures of one report that stand here; the page of the report has all of them."""
NAMED = 3
"""Copies of one report that are named; the others are counted."""
JUDGED = (State.PASS, State.FAIL, State.ERROR, State.INCONCLUSIVE)


def overview(
    views: Mapping[str, View], refused: Sequence[Read], lang: str, sheet: str, made_from: str, *,
    titles: Mapping[str, Mapping[str, str]], others: Sequence[tuple[str, str]], generator: str,
) -> str:  # fmt: skip
    """The page.

    Args:
        views: file of the report's own page -> what there is to show, in the order of the rows.
        refused: reports that did not verify, with an unsigned one among them.
        titles: chapter -> its title by language. made_from, others, generator: see `page.whole`.
    """
    speech = Speech(lang)
    parts: list[tuple[str, str, Any]] = [
        ("runs", speech["runs"], _runs(views, speech)),
        ("matrix", speech["matrix"], _matrix(views, titles, speech)),
        ("failures", speech["failures"], _failures(views, speech)),
        ("not-verified", speech["not verified"], _refused(refused, speech)),
    ]
    shown = [(name, title, made) for name, title, made in parts if made is not None]
    main = [
        el("h1", speech["board"]),
        el("p", _counted([*(view.read for view in views.values()), *refused], speech), class_="about"),
        *(section(name, title, made) for name, title, made in shown),
    ]
    links = [(name, title) for name, title, _ in shown]
    return whole(
        speech, speech["board"], sheet, main, made_from, links=links, others=others, broad=True, generator=generator
    )


def _who(file: str, view: View) -> list[Any]:
    """A report by its candidate, and the way to its page.

    One candidate may have been certified in several precisions, each in a directory of its own, whose name tells them
    apart.
    """
    name, version = view.who
    held = view.read.name.rpartition("/")[0]
    return [
        el("a", foreign(clean(f"{name} {version}", NAME)), href=file),
        el(
            "small",
            [[el("code", foreign(clean(held, NAME))), " "] if held else None, view.read.predicate["suite"]["profile"]],
        ),
    ]


def _counted(reads: Sequence[Read], speech: Speech) -> str:
    """How many reports there are, and how many of each standing: a page that adds them up says more than it knows."""
    counts = Counter(each.standing for each in reads)
    told = [
        speech["of them"].format(STANDINGS[speech.lang][each], counts[each]) for each in Standing if counts[each]
    ]  # fmt: skip
    all_of_them = "; ".join(told) if speech.lang == "en" else "；".join(told)
    if len(reads) == 1:
        return speech["runs said one"].format(all_of_them)
    return speech["runs said"].format(len(reads), all_of_them)


def _copies(read: Read, speech: Speech) -> Html | None:
    """Where the same report lies again; None where it does not."""
    if not read.copies:
        return None
    names = join([el("code", foreign(clean(name, NAME))) for name in read.copies[:NAMED]], speech[", "])
    left = len(read.copies) - NAMED
    return el("small", speech["copies"], " ", names, [" ", speech["copies more"].format(left)] if left > 0 else None)


def _runs(views: Mapping[str, View], speech: Speech) -> list[Html]:
    if not views:
        return [el("p", speech["runs none"])]
    head = [
        speech[name] for name in ("candidate", "verdict", "claimed", "found", "grade", "answers", "run", "standing")
    ]
    body = []
    for file, view in views.items():
        predicate = view.read.predicate
        found = speech["not measured"] if view.precision is None else found_precision(view, speech)
        body.append(el(
            "tr", el("th", _who(file, view), _copies(view.read, speech), scope="row"),
            el("td", verdict(speech, predicate["verdict"])),
            el("td", el("code", predicate["candidate"]["claims"]["dtype"])),
            el("td", found if view.precision is None else el("code", found)),
            el("td", share(view.grade, speech)),
            el("td", speech["seconds"].format(asked["seconds"]) if (asked := predicate["run"].get("asked")) else "–"),
            el("td", el("span", predicate["run"]["startedAt"][:10], class_="date"),
               el("small", speech["seconds"].format(view.took))),
            el("td", standing(speech, view.read)),
        ))  # fmt: skip
    return [table(speech, speech["runs"], head, body, "runs")]


def _matrix(
    views: Mapping[str, View], titles: Mapping[str, Mapping[str, str]], speech: Speech
) -> list[Html] | None:  # fmt: skip
    """Cases that passed of those that were judged, a row for each report and a column for each chapter."""
    if not views:
        return None
    names = in_order({chapter.name for view in views.values() for chapter in view.chapters} & titles.keys())
    head = [speech["candidate"], *(el("span", titles[name][speech.lang]) for name in names)]
    body = []
    for file, view in views.items():
        mine = {chapter.name: chapter for chapter in view.chapters}
        body.append(
            el("tr", el("th", _who(file, view), scope="row"), [_cell(mine.get(name), speech) for name in names])
        )
    return [
        el("p", speech["matrix said"], class_="about"),
        table(speech, speech["matrix"], head, body, "matrix"),
    ]


def _cell(chapter: Chapter | None, speech: Speech) -> Html:
    if chapter is None:
        return el("td", el("span", speech["not asked"], class_="unseen"))
    judged = sum(chapter.counts.get(which, 0) for which in JUDGED)
    passed = chapter.counts.get(State.PASS, 0)
    if not judged:
        return el("td", el("span", "–", aria_hidden="true"), el("span", speech["nothing judged"], class_="unseen"))
    worst = next((which for which in (State.FAIL, State.ERROR, State.INCONCLUSIVE) if chapter.counts.get(which)),
                 State.PASS)  # fmt: skip
    seen = f"{MARKS[worst]} {passed}" if passed == judged else f"{MARKS[worst]} {passed}/{judged}"
    return el(
        "td", el("span", seen, aria_hidden="true"),
        el("span", speech.states[worst], speech[":"], speech["passed of"].format(passed, judged), class_="unseen"),
        class_=f"cell {worst.replace('_', '-')}",
    )  # fmt: skip


def _failures(views: Mapping[str, View], speech: Speech) -> list[Html] | None:
    wrong = {file: view for file, view in views.items() if view.groups}
    if not wrong:
        return None
    return [el("p", speech["address"], class_="about"), *(_wrong(file, view, speech) for file, view in wrong.items())]


def _wrong(file: str, view: View, speech: Speech) -> Html:
    all_of_them = [failure for group in view.groups for failure in group.failures]
    items = [
        el(
            "li",
            el("p", state(speech, failure.state), " ",
               el("a", el("code", failure.case), href=f"{file}#fail.{failure.case}"), " ",
               speech.english(foreign(failure.message))),
            el("p", el("code", command(failure, view), class_="command")) if failure.node else None,
        )
        for failure in all_of_them[:TOLD]
    ]  # fmt: skip
    left = len(all_of_them) - TOLD
    name, version = view.who
    cause = None
    if (first := view.together.likely) is not None:
        cause = el("p", speech["causes"], speech[":"], el("b", first.requirement), " ",
                   speech.both(view.sentences.get(first.requirement, {})))  # fmt: skip
    return el(
        "details",
        el("summary", el("b", foreign(f"{name} {version}")), " ", el("small", view.read.predicate["suite"]["profile"]),
           " ", str(len(all_of_them))),
        cause,
        el("ul", items, class_="wrong"),
        el("p", el("a", speech["more"].format(left), href=f"{file}#failures")) if left > 0 else None,
    )  # fmt: skip


def _refused(refused: Sequence[Read], speech: Speech) -> list[Html] | None:
    if not refused:
        return None
    body = [
        el("tr", el("th", foreign(each.name), _copies(each, speech), scope="row"),
           el("td", standing(speech, each)), el("td", reasons(speech, each)))
        for each in refused
    ]  # fmt: skip
    head = [speech[name] for name in ("where", "standing", "why")]
    return [
        el("p", speech["not verified said"], class_="about"),
        table(speech, speech["not verified"], head, body, "refused"),
    ]


def cover(langs: Sequence[str], sheet: str, *, generator: str) -> str:
    """index.html of the whole: the way to each language."""
    links = [
        el("li", el("a", el("b", TEXTS[lang]["board"]), el("span", LANGUAGES[lang][1]), href=f"{lang}/index.html",
                    hreflang=LANGUAGES[lang][0]), lang=LANGUAGES[lang][0])
        for lang in langs
    ]  # fmt: skip
    main = el("main", el("h1", "LLMasOS"), el("ul", links, class_="languages"), class_="cover")
    title = " · ".join(TEXTS[lang]["board"] for lang in langs)
    return frame.document(LANGUAGES[langs[0]][0], title, sheet, el("body", main), generator=generator)
