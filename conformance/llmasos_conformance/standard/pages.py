"""The pages themselves: an index, a page per chapter, a page with its cases, and one with all checks.

    <lang>/index.html            how to read, contents with numbers by level, what is untestable, profiles, words
    <lang>/<chapter>.html        the sentences; every requirement has its id as its address
    <lang>/<chapter>.cases.html  the cases of the chapter's requirements, each with its id as its address
    <lang>/checks.html           what each check asks and compares, and the data that it takes
    index.html                   the way to both languages

A page is a function of the suites alone, and of the runs whose outcomes it shows: no clock, no path, no machine. The
same suites give the same bytes.
"""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmasos_conformance import coverage, report
from llmasos_conformance.canonical import clean
from llmasos_conformance.checks import Check, registry
from llmasos_conformance.coverage import Standing, Table
from llmasos_conformance.errors import SuiteError
from llmasos_conformance.pages import frame
from llmasos_conformance.pages.markup import Html, el, join, listing, sentence
from llmasos_conformance.pages.order import in_order
from llmasos_conformance.pages.words import LANGUAGES, LEVELS, VERDICTS
from llmasos_conformance.protocol import ARCHITECTURES, CAPABILITIES
from llmasos_conformance.standard.words import CAPABILITIES_ZH, TEXTS, WORDS
from llmasos_conformance.suite import Case, Requirement, Suite, Withdrawal

GENERATOR = "llmasos standard"
RESERVED = frozenset({"index", "checks"})
MARKS: Mapping[str, str] = {
    "pass": "✓", "fail": "✗", "error": "!", "inconclusive": "?", "not_declared": "–", "not_run": "–",
    "not_applicable": "–", "waived": "–",
}  # fmt: skip
"""Outcome -> sign; the word stands beside it or in its label."""


def chapters(loaded: Suite) -> list[str]:
    """Names of the chapters in the order of the document.

    Raises:
        SuiteError: one is called like a page of ours.
    """
    for name in sorted(RESERVED & loaded.chapters.keys()):
        raise SuiteError(f"a chapter cannot be called {name!r}; the page of that name is taken", hint="rename its file")
    return in_order(loaded.chapters)


def address(loaded: Suite, name: str, lang: str = "en") -> str:
    """Where a chapter, requirement or case stands in the document: en/api.html#API-3."""
    if name in loaded.chapters:
        return f"{lang}/{name}.html"
    if name in loaded.requirements:
        return f"{lang}/{loaded.requirements[name].chapter}.html#{name}"
    case = {**loaded.cases, **loaded.withdrawn}[name]
    return f"{lang}/{loaded.requirements[case.requirement].chapter}.cases.html#{name}"


@dataclass(frozen=True, kw_only=True)
class Book:
    """Everything that a page of one language needs.

    Attributes:
        others: further languages that are rendered. table: outcomes of runs, or None.
        style: the style sheet. order: chapters. sentences: chapter -> its requirements.
        cases: requirement id -> its cases in force.
    """

    loaded: Suite
    lang: str
    others: Sequence[str]
    table: Table | None
    style: str
    order: Sequence[str] = ()
    sentences: Mapping[str, Sequence[Requirement]] = field(default_factory=dict)
    cases: Mapping[str, Sequence[Case]] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)

    @property
    def texts(self) -> Mapping[str, str]:
        return TEXTS[self.lang]

    def title(self, chapter: str) -> str:
        return self.loaded.chapters[chapter][self.lang]

    def link(self, name: str) -> str | None:
        """Address of a requirement or case from a page of this language; None if there is none."""
        known = name in self.loaded.requirements or name in self.loaded.cases or name in self.loaded.withdrawn
        return address(self.loaded, name, self.lang).partition("/")[2] if known else None

    def said(self, text: str) -> Html:
        return sentence(text, self.link)

    def english(self, text: str, tag: str = "span") -> Html:
        """A text that stands in English alone."""
        return el(tag, self.said(text), lang=None if self.lang == "en" else "en")

    def either(self, texts: Mapping[str, str], tag: str = "span") -> Html:
        """A text in this language, or in English where it is not translated."""
        return el(tag, self.said(texts[self.lang])) if self.lang in texts else self.english(texts["en"], tag)


def book(loaded: Suite, lang: str, others: Sequence[str], table: Table | None, style: str) -> Book:
    order = chapters(loaded)
    cases: dict[str, list[Case]] = {}
    for case in loaded.cases.values():
        cases.setdefault(case.requirement, []).append(case)
    return Book(
        loaded=loaded, lang=lang, others=others, table=table, style=style, order=order, cases=cases,
        sentences={
            name: [each for each in loaded.requirements.values() if each.chapter == name] for name in order
        },
        checks=registry(),
    )  # fmt: skip


def all_pages(made: Book) -> Iterator[tuple[str, str]]:
    """Name and text of every page of one language."""
    yield f"{made.lang}/index.html", index(made)
    for chapter in made.order:
        yield f"{made.lang}/{chapter}.html", chapter_page(made, chapter)
        yield f"{made.lang}/{chapter}.cases.html", cases_page(made, chapter)
    yield f"{made.lang}/checks.html", checks_page(made)


# ── what all pages share ─────────────────────────────────────────────────────────────────────────────────────────────


def _page(made: Book, name: str, title: str, main: Sequence[Any], chapter: str = "") -> str:
    """A whole page.

    Args:
        name: of its file. chapter: that it belongs to, for the list of chapters and the way to the next.
    """
    texts = made.texts
    at = made.order.index(chapter) if chapter else -1  # before the first chapter stands the index
    around = [
        (texts["previous"], "‹", made.order[at - 1] if at > 0 else ""),
        (texts["next"], "›", made.order[at + 1] if at + 1 < len(made.order) else ""),
    ]
    steps = [
        el("a", [sign, " "] if sign == "‹" else None, made.title(other), [" ", sign] if sign == "›" else None,
           href=f"{other}.html", title=label, class_="previous" if sign == "‹" else "next")
        for label, sign, other in around if other
    ]  # fmt: skip
    top = el(
        "header",
        el("a", f"{texts['title']} {made.loaded.version}", href="index.html", class_="home"),
        [_language(made, other, name, class_="language") for other in made.others],
        class_="top",
    )
    entries = [
        ("index", texts["contents"]),
        *((other, made.title(other)) for other in made.order),
        ("checks", texts["checks"]),
    ]
    here = name.partition(".")[0]
    side = el(
        "nav",
        el("ol", [
            el("li", el("a", label, href=f"{other}.html", aria_current="true" if other == here else None))
            for other, label in entries
        ]),
        aria_label=texts["contents"],
        class_="side",
    )  # fmt: skip
    foot = el(
        "footer",
        el("nav", steps, aria_label=texts["chapters"], class_="steps") if steps else None,
        el("p", texts["made by"].format(made.loaded.version, made.loaded.digest[:16])),
    )
    body = el(
        "body", el("a", texts["skip"], href="#text", class_="skip"), top,
        el("div", side, el("main", main, foot, id="text"), class_="columns"),
    )  # fmt: skip
    return frame.document(LANGUAGES[made.lang][0], title, made.style, body, generator=GENERATOR)


def _language(made: Book, other: str, place: str, **attributes: str) -> Html:
    """The way to the same place in another language."""
    tag, name = LANGUAGES[other]
    label = TEXTS[other]["place"].format(name)
    return el("a", name, href=f"../{other}/{place}", hreflang=tag, lang=tag, title=label, **attributes)


def _tail(made: Book, place: str) -> list[Html]:
    """Links to the same place in other languages, for a heading."""
    return [_language(made, other, place, class_="place") for other in made.others]


def _count(made: Book, number: int) -> str:
    return made.texts["one"] if number == 1 else made.texts["number"].format(number)


def _cases(made: Book, number: int) -> str:
    return made.texts["one case"] if number == 1 else made.texts["number of cases"].format(number)


def _level(made: Book, level: str) -> Html:
    word = LEVELS[made.lang][level][0]
    shown = level if word == level else f"{word} {level}"
    return el("span", shown, class_=f"level {level.lower()}")


def _standing(made: Book, requirement: Requirement) -> Html | None:
    """What runs say about a requirement; nothing without runs."""
    if made.table is None:
        return None
    found = made.table.lines[requirement.id].standing
    return el("span", coverage.STANDINGS[made.lang][found], class_=f"standing {found.replace('_', '-')}")


def _marks(made: Book, case: str) -> Html | None:
    """A sign for the outcome of a case in each run; nothing where no run lists it."""
    if made.table is None:
        return None
    outcomes = [str(run.outcomes[case]["outcome"]) if case in run.outcomes else "" for run in made.table.runs]
    if not any(outcomes):
        return None
    word = coverage.outcome_words(made.lang)
    signs = []
    for number, outcome in enumerate(outcomes, 1):
        label = word[outcome] if outcome else coverage.STANDINGS[made.lang][Standing.NOT_LISTED]
        many = f"{made.texts['one run']} {number}{made.texts[':']}" if len(outcomes) > 1 else ""
        signs.append(
            el("span", MARKS.get(outcome, "·"), role="img", aria_label=many + label, title=many + label,
               class_=f"mark {(outcome or 'none').replace('_', '-')}")
        )  # fmt: skip
    return el("span", signs, class_="marks")


def _withdrawal(made: Book, said: Withdrawal) -> Html:
    texts, instead = made.texts, [el("a", name, href=made.link(name)) for name in said.instead]
    return el(
        "p", el("b", texts["withdrawn since"].format(said.since), texts[":"]), made.either(said.why),
        [texts[" "], texts["instead"], texts[":"], join(instead, ", ")] if instead else None, class_="withdrawn",
    )  # fmt: skip


# ── chapters ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def chapter_page(made: Book, chapter: str) -> str:
    """The sentences of a chapter."""
    title, requirements = made.title(chapter), made.sentences[chapter]
    levels = Counter(each.level for each in requirements if each.withdrawn is None)
    counts = [f"{levels[level]} {level}" for level in LEVELS[made.lang] if levels[level]]
    cases = sum(len(made.cases.get(each.id, ())) for each in requirements)
    about = f"{_count(made, levels.total())}{made.texts['(']}{made.texts['and'].join(counts)}{made.texts[')']}"
    main = [
        el("h1", title),
        el("p", about, " · ", el("a", _cases(made, cases), href=f"{chapter}.cases.html"), class_="about"),
        el("p", [[el("a", each.id, href=f"#{each.id}"), " "] for each in requirements], class_="ids"),
        [_requirement(made, each) for each in requirements],
    ]  # fmt: skip
    return _page(made, f"{chapter}.html", f"{title} – {made.texts['title']}", main, chapter)


def _requirement(made: Book, each: Requirement) -> Html:
    texts, place = made.texts, f"{each.chapter}.html#{each.id}"
    head = el(
        "h2", el("a", each.id, href=f"#{each.id}", class_="id"), " ", _level(made, each.level), " ",
        _standing(made, each), _tail(made, place),
    )  # fmt: skip
    cases = [
        el("li", el("a", case.id, href=made.link(case.id)), _marks(made, case.id))
        for case in made.cases.get(each.id, ())
    ]
    reason = None
    if each.untestable:
        label = el("b", texts["untestable because"], texts[":"])
        reason = el("p", label, made.either(each.untestable), class_="untestable")
    return el(
        "section",
        head,
        el("p", made.said(each.sentence[made.lang]), class_="sentence"),
        _withdrawal(made, each.withdrawn) if each.withdrawn else None,
        el("p", el("b", texts["source"], texts[":"]), made.either(each.source), class_="source"),
        [_erratum(made, each, number) for number in range(len(each.errata))],
        reason,
        el("div", el("b", texts["cases"], texts[":"]), el("ul", cases), class_="cases") if cases else None,
        id=each.id,
        class_="requirement gone" if each.withdrawn else "requirement",
    )


def _erratum(made: Book, each: Requirement, number: int) -> Html:
    texts, erratum = made.texts, each.errata[number]
    return el(
        "p", el("b", texts["erratum"].format(erratum.since), texts[":"]), made.either(erratum.why), texts[" "],
        texts["was"], texts[":"], el("q", made.either(erratum.was)), class_="erratum",
    )  # fmt: skip


# ── cases ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def cases_page(made: Book, chapter: str) -> str:
    """What each case of a chapter asks, needs and is given, and what its failure does."""
    title = made.texts["cases of"].format(made.title(chapter))
    requirements = made.sentences[chapter]
    gone = [
        case for case in made.loaded.withdrawn.values() if made.loaded.requirements[case.requirement].chapter == chapter
    ]
    main = [
        el("h1", title),
        el("p", el("a", "‹ ", made.title(chapter), href=f"{chapter}.html"), class_="about"),
        [
            [
                el("h2", el("a", each.id, href=made.link(each.id)), " ", _level(made, each.level), " ",
                   _standing(made, each)),
                el("p", made.said(each.sentence[made.lang]), class_="demand"),
                [_case(made, case) for case in made.cases[each.id]],
            ]
            for each in requirements if made.cases.get(each.id)
        ],
        [el("h2", made.texts["withdrawn cases"]), [_case(made, case) for case in gone]] if gone else None,
    ]  # fmt: skip
    return _page(made, f"{chapter}.cases.html", f"{title} – {made.texts['title']}", main, chapter)


def _case(made: Book, case: Case) -> Html:
    texts, chapter = made.texts, made.loaded.requirements[case.requirement].chapter
    check = made.checks.get(case.check)
    listed = [name for name, profile in made.loaded.profiles.items() if case.id in profile.cases]
    asks: Any = case.check if check is None else [
        made.english(_told(check).summary), " (", el("a", el("code", case.check), href=f"checks.html#{case.check}"), ")"
    ]  # fmt: skip
    profiles = [el("a", el("code", name), href=f"index.html#{_anchor('profile', name)}") for name in listed]
    rows: list[tuple[str, Any]] = [
        (texts["fails"], made.either(case.effect) if case.effect else None),
        (texts["asks"], asks),
        (texts["needs"], join([_capability(made, name) for name in sorted(case.needs)], ", ")),
        (texts["given"], listing(case.given) if case.given else None),
        (texts["inputs"], str(case.examples) if case.examples > 1 else None),
        (texts["listed in"], join(profiles, ", ") if profiles else texts["no profile"]),
        (texts["found"], _found(made, case)),
    ]
    if case.withdrawn is None:
        rows.append((texts["run"], el("code", report.reproduce_command(case, "ADDRESS"))))
    else:
        rows.insert(0, (texts["demands"], el("a", case.requirement, href=made.link(case.requirement))))
    return el(
        "section",
        el("h3", el("a", case.id, href=f"#{case.id}", class_="id"), _marks(made, case.id),
           _tail(made, f"{chapter}.cases.html#{case.id}")),
        _withdrawal(made, case.withdrawn) if case.withdrawn else None,
        el("dl", [[el("dt", label), el("dd", value)] for label, value in rows if value is not None]),
        id=case.id,
        class_="case gone" if case.withdrawn else "case",
    )  # fmt: skip


def _found(made: Book, case: Case) -> Html | None:
    """What runs said of a case, with their messages."""
    if made.table is None:
        return None
    word, rows = coverage.outcome_words(made.lang), []
    for number, run in enumerate(made.table.runs, 1):
        if case.id in run.outcomes:
            said = run.outcomes[case.id]
            message = clean(said.get("message", ""), 300)
            shown = el("span", message, lang=None if made.lang == "en" else "en")
            rows.append(
                el("li", el("a", f"{made.texts['one run']} {number}", href=f"index.html#run-{number}"), made.texts[":"],
                   el("span", word[said["outcome"]], class_=f"mark {said['outcome'].replace('_', '-')}"),
                   [" ", shown] if message else None)
            )  # fmt: skip
    return el("ul", rows) if rows else None


def _capability(made: Book, name: str) -> Html:
    return el("a", el("code", name), href=f"index.html#{_anchor('capability', name)}")


def _anchor(kind: str, name: str) -> str:
    return f"{kind}-{name.replace('/', '-')}"


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_PART = re.compile(r"(Varies|Compares|Bound): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Told:
    """The docstring of a check in its parts: a sentence, paragraphs, and what varies, is compared and bounds."""

    summary: str
    paragraphs: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]


def _told(check: Check) -> _Told:
    summary, _, rest = inspect.cleandoc(check.doc).partition("\n\n")
    paragraphs, parts = [], []
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:Varies|Compares|Bound): )", rest):
        text = " ".join(paragraph.split())
        found = _PART.fullmatch(text)
        if found:
            parts.append((found[1], found[2]))
        elif text:
            paragraphs.append(text)
    return _Told(" ".join(summary.split()), tuple(paragraphs), tuple(parts))


def checks_page(made: Book) -> str:
    """What each check asks and compares, and the data that it takes."""
    texts = made.texts
    used: dict[str, list[Case]] = {}
    for case in made.loaded.cases.values():
        used.setdefault(case.check, []).append(case)
    main = [
        el("h1", texts["checks"]),
        el("p", texts["english only"], class_="about") if texts["english only"] else None,
        el("p", [[el("a", name, href=f"#{name}"), " "] for name in sorted(used)], class_="ids"),
        [_check(made, made.checks[name], used[name]) for name in sorted(used)],
    ]
    return _page(made, "checks.html", f"{texts['checks']} – {texts['title']}", main)


def _check(made: Book, check: Check, used: Sequence[Case]) -> Html:
    texts, told = made.texts, _told(check)
    tag = None if made.lang == "en" else "en"
    keys = [
        el("tr", el("th", el("code", key), scope="row"), el("td", rule.get("description", "")),
           el("td", el("code", json.dumps(rule["default"], ensure_ascii=False)) if "default" in rule else None))
        for key, rule in check.given.get("properties", {}).items()
    ]  # fmt: skip
    needs = [_capability(made, name) for name in sorted(check.needs)]
    cases = [el("li", el("a", case.id, href=made.link(case.id))) for case in used]
    head = el("tr", [el("th", label, scope="col") for label in (texts["key"], texts["meaning"], texts["default"])])
    return el(
        "section",
        el("h2", el("a", el("code", check.name), href=f"#{check.name}", class_="id"),
           _tail(made, f"checks.html#{check.name}")),
        el("p", made.said(told.summary), class_="sentence", lang=tag),
        [el("p", made.said(text), lang=tag) for text in told.paragraphs],
        el("dl", [[el("dt", name), el("dd", made.said(text))] for name, text in told.parts], lang=tag),
        el("p", el("b", texts["needs"], texts[":"]), join(needs, ", ")) if needs else None,
        el("div", el("table", el("thead", head), el("tbody", keys, lang=tag)), class_="wide") if keys else None,
        el("div", el("b", texts["used by"], texts[":"]), el("ul", cases), class_="cases"),
        id=check.name,
        class_="check",
    )  # fmt: skip


# ── index ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def index(made: Book) -> str:
    """The first page of a language."""
    texts = made.texts
    parts: list[tuple[str, str, Callable[[Book], Any]]] = [
        ("reading", texts["reading"], _reading),
        ("contents", texts["contents"], _contents),
        ("runs", texts["runs"], _runs),
        ("untestable", texts["untestable"], _untestable),
        ("changed", texts["changed"], _changed),
        ("profiles", texts["profiles"], _profiles),
        ("capabilities", texts["capabilities"], _capabilities),
        ("words", texts["words"], _words),
    ]
    shown = [(name, title, content) for name, title, part in parts if (content := part(made)) is not None]
    main = [
        el("h1", texts["title"]),
        el("p", texts["subtitle"], class_="subtitle"),
        el("p", texts["version"], " ", made.loaded.version, texts["and"], texts["suite"], " ",
           el("code", made.loaded.digest[:16], title=made.loaded.digest), " · ",
           join([el("a", title, href=f"#{name}") for name, title, _ in shown], " · "), class_="about"),
        [el("section", el("h2", title, _tail(made, f"index.html#{name}")), content, id=name)
         for name, title, content in shown],
    ]  # fmt: skip
    return _page(made, "index.html", texts["title"], main)


def _reading(made: Book) -> list[Html]:
    levels = [[el("dt", _level(made, level)), el("dd", meaning)] for level, (_, meaning) in LEVELS[made.lang].items()]
    note = made.texts["english only"]
    return [
        el("p", made.said(made.texts["reading text"]), note),
        el("dl", levels, class_="levels"),
    ]


def _contents(made: Book) -> Html:
    """Chapters with numbers by level."""
    texts, levels = made.texts, list(LEVELS[made.lang])
    labels = [texts["chapter"], *(LEVELS[made.lang][level][0] for level in levels), texts["untestable"], texts["cases"]]
    rows, total = [], Counter[str]()
    for chapter in made.order:
        numbers = _numbers(made, chapter)
        total += numbers
        ids = [each.id for each in made.sentences[chapter]]
        prefixes = ", ".join(dict.fromkeys(name.partition("-")[0] for name in ids))
        rows.append(el(
            "tr",
            el("th", el("a", made.title(chapter), href=f"{chapter}.html"), " ", el("small", prefixes), scope="row"),
            [el("td", _number(numbers[key])) for key in (*levels, "untestable")],
            el("td", el("a", _number(numbers["cases"]), href=f"{chapter}.cases.html")),
            el("td", f"{numbers['judged']} / {sum(numbers[level] for level in levels)}") if made.table else None,
        ))  # fmt: skip
    whole = sum(total[level] for level in levels)
    last = el(
        "tr", el("th", f"{texts['all']}: {_count(made, whole)}", scope="row"),
        [el("td", _number(total[key])) for key in (*levels, "untestable")],
        el("td", el("a", _number(total["cases"]), href="checks.html")),
        el("td", f"{total['judged']} / {whole}") if made.table else None,
    )  # fmt: skip
    if made.table:
        labels.append(texts["exercised"])
    head = el("tr", [el("th", label, scope="col") for label in labels])
    return el(
        "div", el("table", el("thead", head), el("tbody", rows), el("tfoot", last), class_="numbers"), class_="wide"
    )


def _numbers(made: Book, chapter: str) -> Counter[str]:
    """Requirements in force by level, those that are untestable, those that runs judged, and cases."""
    numbers = Counter[str]()
    for each in made.sentences[chapter]:
        if each.withdrawn is not None:
            continue
        numbers[each.level] += 1
        numbers["untestable"] += bool(each.untestable)
        numbers["cases"] += len(made.cases.get(each.id, ()))
        if made.table is not None:
            numbers["judged"] += made.table.lines[each.id].standing in coverage.JUDGED
    return numbers


def _number(value: int) -> str:
    return str(value) if value else "–"


def _runs(made: Book) -> list[Html] | None:
    """The reports whose outcomes are shown, and what was checked of them."""
    if made.table is None:
        return None
    texts, shown = made.texts, []
    for number, run in enumerate(made.table.runs, 1):
        checked, unchecked = coverage.words(run, made.lang)
        predicate = run.content["predicate"]
        rows: list[tuple[str, Any]] = [
            (texts["profile"], el("code", run.profile)),
            (texts["verdict"], VERDICTS[made.lang][predicate["verdict"]]),
            (texts["report"], el("code", run.report_id[:16], title=run.report_id)),
            (texts["checked"], checked or "–"),
            (texts["unchecked"], unchecked),
        ]
        shown.append(el(
            "section", el("h3", f"{texts['one run']} {number}{texts[':']}{run.candidate}"),
            el("dl", [[el("dt", label), el("dd", value)] for label, value in rows]),
            [el("p", note, class_="note", lang=None if made.lang == "en" else "en") for note in run.notes],
            id=f"run-{number}", class_="run",
        ))  # fmt: skip
    word = coverage.outcome_words(made.lang)
    legend = [
        el("li", el("span", MARKS[name], class_=f"mark {name.replace('_', '-')}"), " ", word[name])
        for name in ("pass", "fail", "inconclusive", "error", "not_declared", "not_run")
    ]
    legend.append(el("li", el("span", "·", class_="mark"), " ", coverage.STANDINGS[made.lang][Standing.NOT_LISTED]))
    totals = [
        el("li", el("span", coverage.STANDINGS[made.lang][Standing(name)], class_=f"standing {name.replace('_', '-')}"),
           f" {count}")
        for name, count in made.table.totals.items() if count
    ]  # fmt: skip
    return [
        el("p", texts["coverage text"]),
        el("ul", totals, class_="legend"),
        el("ul", legend, class_="legend"),
        *shown,
    ]


def _untestable(made: Book) -> list[Html] | None:
    found = [each for each in made.loaded.requirements.values() if each.untestable and each.withdrawn is None]
    rows = [
        [el("dt", el("a", each.id, href=made.link(each.id))), el("dd", made.either(each.untestable))] for each in found
    ]
    return [el("p", made.texts["untestable intro"]), el("dl", rows)] if rows else None


def _changed(made: Book) -> Html | None:
    """Everything that was withdrawn or reworded."""
    rows: list[Any] = []
    for each in made.loaded.requirements.values():
        notes = [_erratum(made, each, number) for number in range(len(each.errata))]
        notes += [_withdrawal(made, each.withdrawn)] if each.withdrawn else []
        rows += [[el("dt", el("a", each.id, href=made.link(each.id))), el("dd", notes)]] if notes else []
    for case in made.loaded.withdrawn.values():
        assert case.withdrawn is not None
        rows.append([el("dt", el("a", case.id, href=made.link(case.id))), el("dd", _withdrawal(made, case.withdrawn))])
    return el("dl", rows) if rows else None


def _profiles(made: Book) -> Html | None:
    texts, rows = made.texts, []
    for name, profile in made.loaded.profiles.items():
        needs = join([_capability(made, each) for each in sorted(profile.requires)], ", ")
        about = f"{texts['version']} {profile.version}{texts['and']}{_cases(made, len(profile.cases))}"
        rows.append([
            el("dt", el("code", name), id=_anchor("profile", name)),
            el("dd", about, [texts["and"], texts["needs all"], " ", needs] if needs else None),
        ])  # fmt: skip
    return el("dl", rows) if rows else None


def _capabilities(made: Book) -> Html:
    rows = []
    for name, text in CAPABILITIES.items():
        texts = {"en": text, "zh": CAPABILITIES_ZH[name]}
        rows.append([el("dt", el("code", name), id=_anchor("capability", name)), el("dd", made.either(texts))])
    for name in ARCHITECTURES:  # needed like a capability by every case that loads such a bundle
        meaning = made.texts["runs bundles"].format(name)
        rows.append([el("dt", el("code", name), id=_anchor("capability", name)), el("dd", meaning)])
    return el("dl", rows)


def _words(made: Book) -> Html:
    rows = []
    for word, (meaning, translated, meant) in sorted(WORDS.items()):
        title: Any = word if made.lang == "en" else [translated, " ", el("span", word, lang="en")]
        rows.append([el("dt", title), el("dd", _ticks(meaning if made.lang == "en" else meant))])
    return el("dl", rows)


def _ticks(text: str) -> Html:
    """A text with `code` between ticks."""
    return join([part if number % 2 == 0 else el("code", part) for number, part in enumerate(text.split("`"))])


# ── the way in ───────────────────────────────────────────────────────────────────────────────────────────────────────


def cover(loaded: Suite, langs: Sequence[str], style: str) -> str:
    """index.html of the whole: the way to each language."""
    links = []
    for lang in langs:
        tag, name = LANGUAGES[lang]
        texts = TEXTS[lang]
        links.append(el(
            "li",
            el("a", el("b", texts["title"]), el("span", texts["subtitle"]), el("span", name), href=f"{lang}/index.html",
               hreflang=tag),
            lang=tag,
        ))  # fmt: skip
    main = el(
        "main", el("h1", "LLMasOS"),
        el("p", f"{loaded.version} · ", el("code", loaded.digest[:16], title=loaded.digest), class_="about"),
        el("ul", links, class_="languages"), class_="cover",
    )  # fmt: skip
    title = " · ".join(TEXTS[lang]["title"] for lang in langs)
    return frame.document(LANGUAGES[langs[0]][0], title, style, el("body", main), generator=GENERATOR)
