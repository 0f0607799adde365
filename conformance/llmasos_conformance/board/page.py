"""The page of one report: verdict, likely causes, what was not right, requirements, numbers, samplers, evidence."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmasos_conformance import __version__, causes, coverage, verify
from llmasos_conformance.board import drawing
from llmasos_conformance.board.series import Curve, Histogram
from llmasos_conformance.board.views import Chapter, Failure, Group, Line, View
from llmasos_conformance.board.words import MARKS, NOT_PROVEN_ZH, STANDINGS, TEXTS
from llmasos_conformance.knownbugs import Cause
from llmasos_conformance.pages import frame
from llmasos_conformance.pages.markup import Html, el, join
from llmasos_conformance.pages.words import LANGUAGES, LEVELS, VERDICTS
from llmasos_conformance.reading import Read, Standing
from llmasos_conformance.reasons import REASONS
from llmasos_conformance.verdict import State, Verdict

FULL = 120_000
"""Bytes of failures that are told with all that is known. A candidate that answers nothing fails a thousand cases, and
a page is for reading: from there on, each has a line."""
BRIEF = 72
"""Bytes of a message in such a line, as they stand in the page."""
OPEN = 8
"""Failures that stand open; more of them are closed, so that one sees what there is."""
PLACEHOLDER = "ADDRESS"


class Speech:
    """The words of one language."""

    def __init__(self, lang: str) -> None:
        self.lang, self.texts, self.states = lang, TEXTS[lang], coverage.outcome_words(lang)
        self.tag = LANGUAGES[lang][0]

    def __getitem__(self, name: str) -> str:
        return self.texts[name]

    def both(self, text: Mapping[str, str]) -> Html | None:
        """A text of the suite, in English where it has no other; None where it has none."""
        if self.lang in text:
            return el("span", text[self.lang])
        return el("span", text["en"], lang="en") if "en" in text else None

    def english(self, *text: Any, tag: str = "span") -> Html:
        """What is said in English alone."""
        return el(tag, *text, lang=None if self.lang == "en" else "en")


def foreign(text: str) -> Html:
    """A text that a candidate or a signer wrote: it turns no line around it, whatever its letters."""
    return el("bdi", text)


def share(value: float | None, speech: Speech) -> str:
    """A share of a bound in three digits, or in words where it is no number."""
    if value is None:
        return speech["not measured"]
    if not math.isfinite(value):
        return speech["no number"] if math.isnan(value) else "∞"
    return f"{value:.3g}"


# ── what pages about reports have in common ──────────────────────────────────────────────────────────────────────────


def whole(
    speech: Speech, title: str, sheet: str, main: Sequence[Html | None], made_from: str, *,
    links: Sequence[tuple[str, str]] = (), others: Sequence[tuple[str, str]] = (), up: str = "",
    broad: bool = False, generator: str,
) -> str:  # fmt: skip
    """A page with its frame.

    Args:
        made_from: digest of the suite installed. links: anchor and label of each section.
        others: language and address of the same page in it. up: address of the board; "" without one.
        broad: for tables.
    """
    top = el(
        "header",
        el("a", speech["all reports"], href=up, class_="home") if up else el("span", "LLMasOS", class_="home"),
        [el("a", LANGUAGES[lang][1], href=address, hreflang=LANGUAGES[lang][0], lang=LANGUAGES[lang][0],
            title=TEXTS[lang]["other"], class_="language") for lang, address in others],
        class_="top",
    )  # fmt: skip
    body = el(
        "body",
        el("a", speech["skip"], href="#text", class_="skip"),
        top,
        el(
            "div",
            el("nav", el("ol", [el("li", el("a", label, href=f"#{anchor}")) for anchor, label in links]),
               aria_label=speech["sections"], class_="side"),
            el("main", main, id="text", tabindex="-1"),
            class_="columns broad" if broad else "columns",
        ),
        el("footer", el("p", speech["footer"].format(__version__, made_from[:16])), class_="bottom"),
    )  # fmt: skip
    return frame.document(speech.tag, title, sheet, body, generator=generator)


def rows(pairs: Iterable[tuple[str, Any]]) -> Html:
    """Terms and what they are; what is None or empty is left out."""
    return el("dl", [[el("dt", label), el("dd", value)] for label, value in pairs if value not in (None, "", [])])


def table(speech: Speech, caption: str, head: Sequence[Any], body: Sequence[Html], kind: str = "") -> Html:
    """A table with a caption, in a frame that scrolls sideways and can be reached by keyboard."""
    inner = el(
        "table", el("caption", caption, class_="unseen"),
        el("thead", el("tr", [el("th", cell, scope="col") for cell in head])),
        el("tbody", body), class_=kind or None,
    )  # fmt: skip
    return el("div", inner, class_="wide", role="group", aria_label=speech["scroll"].format(caption), tabindex="0")


def section(name: str, title: str, *content: Any) -> Html:
    return el("section", el("h2", title, id=f"{name}.h"), *content, id=name, aria_labelledby=f"{name}.h")


def state(speech: Speech, which: State, count: int | None = None) -> Html:
    """A state by sign and word."""
    word = speech.states[which]
    text = f"{MARKS[which]} {word}" if count is None else f"{MARKS[which]} {word} {count}"
    return el("span", text, class_=f"state {which.replace('_', '-')}")


def verdict(speech: Speech, which: str) -> Html:
    found = Verdict(which)
    sign = "✓" if found.holds else "✗" if found.fails else "?"
    return el("strong", f"{sign} {VERDICTS[speech.lang][which]}", class_=f"verdict {which.replace('_', '-')}")


def standing(speech: Speech, read: Read) -> Html:
    return el("span", STANDINGS[speech.lang][read.standing], class_=f"stands {read.standing.replace('_', '-')}")


def reasons(speech: Speech, read: Read) -> Html:
    """Why a report is not accepted, each with its code, the sentence of the code, and what was found."""
    items = []
    for reason in read.reasons:
        said = REASONS[reason.code][1 + (speech.lang == "zh")] if reason.code else ""
        items.append(
            el("li", [el("code", reason.code), " ", said, " "] if reason.code else None,
               speech.english(foreign(reason.message)))
        )  # fmt: skip
    return el("ul", items, class_="reasons")


def found_precision(view: View, speech: Speech) -> str:
    assert view.precision is not None
    return view.precision.found or speech["coarser"]


def command(failure: Failure, view: View) -> str:
    """What runs one case again, on the same inputs."""
    predicate = view.read.predicate
    seed = shlex.quote(predicate["run"]["seed"])
    bundle = " --llmasos-bundle=DIR" if "bundle" in predicate else ""
    return f"pytest --adapter={PLACEHOLDER} {failure.node} --llmasos-seed={seed}{bundle}"


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def of_report(
    view: View, lang: str, sheet: str, made_from: str, *, others: Sequence[tuple[str, str]] = (), up: str = "",
    generator: str,
) -> str:  # fmt: skip
    """The page of a report; see `whole` for the arguments."""
    speech = Speech(lang)
    parts: list[tuple[str, str, Callable[[View, Speech], Any]]] = [
        ("causes", speech["causes"], _causes),
        ("failures", speech["failures"], _failures),
        ("requirements", speech["requirements"], _requirements),
        ("numbers", speech["numbers"], _numbers),
        ("samplers", speech["samplers"], _samplers),
        ("evidence", speech["evidence"], _evidence),
        ("not-proven", speech["not proven"], _not_proven),
    ]
    shown = [(name, title, made) for name, title, part in parts if (made := part(view, speech)) is not None]
    name, version = view.who
    main = [_head(view, speech), *(section(anchor, title, made) for anchor, title, made in shown)]
    links = [("verdict", speech["verdict"]), *((anchor, title) for anchor, title, _ in shown)]
    title = f"{name} {version} – {speech['report']}"
    return whole(speech, title, sheet, main, made_from, links=links, others=others, up=up, generator=generator)


def of_refused(read: Read, lang: str, sheet: str, made_from: str, *, generator: str) -> str:
    """The page of a report that is not believed: why, and nothing of what it says."""
    speech = Speech(lang)
    main = [
        el("h1", speech["report"]),
        el("p", el("strong", f"✗ {STANDINGS[lang][read.standing]}", class_="verdict refused"), id="verdict"),
        el("p", speech["refused said"]),
        reasons(speech, read),
    ]
    links = [("verdict", speech["verdict"])]
    return whole(speech, speech["report"], sheet, main, made_from, links=links, generator=generator)


def _head(view: View, speech: Speech) -> Html:
    read, predicate = view.read, view.read.predicate
    name, version = view.who
    candidate, run, given = predicate["candidate"], predicate["run"], predicate.get("bundle")
    asked = run.get("asked")
    counts = [[state(speech, which, count), " "] for which, count in view.counts.items()]
    emulated = el("small", speech["of which emulated"].format(predicate["emulated"])) if predicate["emulated"] else None
    precision = None
    if view.precision is not None:
        precision = speech["precision said"].format(view.precision.claimed, found_precision(view, speech))
    notes = [el("li", speech.english(foreign(note))) for note in read.notes]
    return el(
        "section",
        el("p", speech["report"], class_="about"),
        el("h1", foreign(name), " ", el("small", foreign(version)), id="verdict.h"),
        el("p", verdict(speech, predicate["verdict"]), " ", standing(speech, read), class_="verdicts"),
        reasons(speech, read) if read.standing in (Standing.POLICY, Standing.UNSIGNED) else None,
        rows([
            (speech["profile"], el("code", predicate["suite"]["profile"])),
            (speech["bundle"], [foreign(given["name"]), f" ({given['architecture']})"] if given else None),
            (speech["endpoint"], _endpoint(predicate.get("endpoint"), speech)),
            (speech["outcomes"], [*counts, emulated]),
            (speech["claims"], f"{candidate['claims']['dtype']}, {candidate['claims']['determinism']}"),
            (speech["precision"], precision),
            (speech["grade"],
             None if view.grade is None else speech["grade said"].format(share(view.grade, speech))),
            (speech["signer"], foreign(read.signed_by) if read.signed_by else None),
            (speech["checked"], _rungs(speech, read.checked)),
            (speech["unchecked"], _rungs(speech, [rung for rung in verify.RUNGS if rung not in read.checked])),
            (speech["run"], speech["run said"].format(run["startedAt"], run["finishedAt"], view.took)),
            (speech["answers"], speech["asked said"].format(asked["calls"], asked["seconds"]) if asked else None),
            (speech["notes"], el("ul", notes) if notes else None),
        ]),
        id="verdict", aria_labelledby="verdict.h",
    )  # fmt: skip


def _rungs(speech: Speech, which: Iterable[str]) -> Html | None:
    items = [el("li", coverage.CHECKED[speech.lang][rung]) for rung in which]
    return el("ul", items) if items else None


def _causes(view: View, speech: Speech) -> list[Html] | None:
    together = view.together
    made = [el("p", line) for line in causes.told(replace(together, likely=None, rest=[]), view.sentences, speech.lang)]
    if together.likely is None:
        return made or None
    made += [
        el("p", speech["causes said"], class_="about"),
        el("ul", [_cause(together.likely, view, speech)], class_="causes"),
    ]
    if together.rest:
        names = [el("a", el("code", case), href=f"#fail.{case}") for case in together.rest[:OPEN]]
        more = f" … ({len(together.rest)})" if len(together.rest) > OPEN else ""
        made.append(el("p", speech["unexplained"], speech[":"], join(names, ", "), more))
    return made


def _cause(cause: Cause, view: View, speech: Speech) -> Html:
    count = len(cause.explains)
    said = speech["explains one"] if count == 1 else speech["explains"].format(count)
    bugs = [
        el("li", f"{same:.0%} ", speech.english(f"{row.bug} ({row.source})", tag="span"))
        for row, same in zip(cause.bugs, cause.same, strict=True)
    ]
    return el(
        "li", el("p", el("b", cause.requirement), " ", speech.both(view.sentences.get(cause.requirement, {}))),
        el("p", said), el("ul", bugs),
        el("p", speech["begin"], speech[":"], el("a", el("code", cause.begin[0]), href=f"#fail.{cause.begin[0]}")),
    )  # fmt: skip


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _failures(view: View, speech: Speech) -> list[Any]:
    if not view.groups:
        return [el("p", speech["failures none"])]
    count, spent = view.failures, 0
    first = {*(view.together.likely.begin[:1] if view.together.likely else ())}
    said = speech["failures said one"] if count == 1 else speech["failures said"].format(count)
    intro = [said, " ", speech["address"]]
    if "bundle" in view.read.predicate:
        intro += [" ", speech["directory"]]
    made: list[Html] = [el("p", intro, class_="about")]
    brief: list[Failure] = []
    for group in view.groups:
        told = []
        for failure in group.failures:
            block = _failure(failure, view, speech, standing_open=count <= OPEN or failure.case in first)
            if spent + len(block.encode()) > FULL:
                brief.append(failure)
            else:
                spent += len(block.encode())
                told.append(block)
        if told:
            made.append(_group(group, told, speech))
    if brief:
        made.append(el("h3", speech["briefly"].format(len(brief)), class_="briefly"))
        made.append(el("ul", [_briefly(failure, speech) for failure in brief], class_="brief"))
    return made


def _group(group: Group, told: Sequence[Html], speech: Speech) -> Html:
    bugs = [speech.english(bug, tag="li") for bug in group.bugs]
    return el(
        "section",
        el("h3", group.requirement, " ", _level(group.level, speech)),
        el("p", speech.both(group.sentence), class_="sentence") if group.sentence else None,
        el("details", el("summary", speech["bugs"]), el("ul", bugs), class_="bugs") if bugs else None,
        told,
        class_="group",
    )


def _failure(failure: Failure, view: View, speech: Speech, *, standing_open: bool) -> Html:
    example = None if failure.example is None else f" [{speech['example'].format(failure.example)}]"
    again = el("code", command(failure, view), class_="command") if failure.node else None
    return el(
        "details",
        el("summary", state(speech, failure.state), " ", el("code", failure.case), example, ": ",
           speech.english(foreign(failure.message))),
        rows([
            (speech["expected"], foreign(failure.expected) if failure.expected else None),
            (speech["got"], foreign(failure.got) if failure.got else None),
            (speech["fault"], failure.fault),
            (speech["effect"], speech.both(failure.effect)),
            (speech["again"], again),
        ]),
        id=f"fail.{failure.case}", open=standing_open,
    )  # fmt: skip


def _briefly(failure: Failure, speech: Speech) -> Html:
    return el(
        "li", el("code", failure.case), " ", MARKS[failure.state], " ", foreign(beginning(failure.message)),
        id=f"fail.{failure.case}",
    )  # fmt: skip


def beginning(text: str) -> str:
    """As much of a text as takes BRIEF bytes in a page."""
    spent = 0
    for number, char in enumerate(text):
        spent += len(join([char]).encode())
        if spent > BRIEF:
            return text[:number] + "…"
    return text


def _level(level: str, speech: Speech) -> Html:
    word = LEVELS[speech.lang][level][0]
    return el("span", word if word == level else f"{word} {level}", class_=f"level {level.lower()}")


# ── requirements ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _requirements(view: View, speech: Speech) -> list[Html]:
    return [
        el("p", speech["requirements said"], class_="about"),
        *(_chapter(chapter, speech) for chapter in view.chapters),
    ]


def title_of(chapter: Chapter, speech: Speech) -> str:
    return chapter.title.get(speech.lang) or chapter.name or speech["elsewhere"]


def _chapter(chapter: Chapter, speech: Speech) -> Html:
    counts = [[" ", state(speech, which, count)] for which, count in chapter.counts.items()]
    lines = [
        [el("dt", line.requirement, " ", _level(line.level, speech)), el("dd", _line(line, speech))]
        for line in chapter.lines
    ]
    return el(
        "details", el("summary", el("b", title_of(chapter, speech)), counts), el("dl", lines, class_="lines"),
        class_="chapter",
    )  # fmt: skip


def _line(line: Line, speech: Speech) -> list[Any]:
    made: list[Any] = [el("p", speech.both(line.sentence)) if line.sentence else None]
    for which in State:
        if which not in line.cases:
            continue
        names = []
        for case, used in line.cases[which]:
            mark = "*" if case in line.emulated else ""
            number = f" {share(used, speech)}" if used is not None else ""
            names.append([el("code", case + mark), number])
        made.append(el("p", state(speech, which), speech[":"], join(names, ", "), class_="cases"))
    return made


# ── numbers and samplers ─────────────────────────────────────────────────────────────────────────────────────────────


def _numbers(view: View, speech: Speech) -> list[Any] | None:
    measured = [chapter for chapter in view.chapters if chapter.shares]
    if not measured:
        return None
    pairs = [pair for chapter in measured for pair in chapter.shares]
    case, most = max((chapter.worst for chapter in measured), key=lambda pair: _order(pair[1]))
    beyond = sum(not used <= 1 for _, used in pairs)
    said = speech["strips said"].format(len(pairs), len(measured), beyond, share(most, speech), case)
    strips = [(title_of(chapter, speech), [used for _, used in chapter.shares]) for chapter in measured]
    body = [
        el("tr", el("th", title_of(chapter, speech), scope="row"), el("td", str(len(chapter.shares))),
           el("td", str(sum(not used <= 1 for _, used in chapter.shares))),
           el("td", share(chapter.worst[1], speech)), el("td", el("code", chapter.worst[0])))
        for chapter in measured
    ]  # fmt: skip
    head = [speech[name] for name in ("chapter", "measured", "beyond", "largest", "largest case")]
    made: list[Any] = [
        el("p", speech["numbers said"], class_="about"),
        el("figure", _scrolled(drawing.strips("strips", speech["strips title"], said, strips, speech["bound"],
                                              speech["share"]), speech["strips title"], speech),
           el("figcaption", said)),
        table(speech, speech["strips title"], head, body, "numbers"),
    ]  # fmt: skip
    if view.seen is None:
        return [*made, el("p", speech[view.unseen], class_="about")]
    if view.seen.curves:
        shown = len({curve.case for curve in view.seen.curves})
        made.append(el("p", speech["curves said"].format(shown, view.seen.numbers), class_="about"))
        made += [_curve(number, curve, speech) for number, curve in enumerate(view.seen.curves)]
    return made


def _order(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _scrolled(drawn: Html, label: str, speech: Speech) -> Html:
    """A plot that keeps its size where a page is narrow, and is scrolled there."""
    return el("div", drawn, class_="plot", role="group", aria_label=speech["scroll"].format(label), tabindex="0")


def _curve(number: int, curve: Curve, speech: Speech) -> Html:
    title = f"{speech[f'along {curve.along}']}{speech[':']}{curve.case}"
    numbered = [(at, used) for at, used in enumerate(curve.shares) if used is not None]
    where, most = max(numbered, key=lambda pair: pair[1]) if numbered else (0, math.nan)
    beyond = sum(used > 1 for _, used in numbered)
    said = speech["curve said"].format(
        len(curve.shares), beyond, share(most, speech), speech[curve.along], where, curve.rows
    )
    body = [
        el("tr", el("th", str(at), scope="row"), el("td", "–" if used is None else share(used, speech)))
        for at, used in enumerate(curve.shares)
    ]
    head = [speech[curve.along], speech["share"]]
    mark = state(speech, State.FAIL if curve.failed else State.PASS)
    return el(
        "figure", el("h3", speech[f"along {curve.along}"], speech[":"], el("code", curve.case), " ", mark),
        _scrolled(drawing.curve(f"curve.{number}", title, said, curve.shares, speech["bound"], speech[curve.along]),
                  title, speech),
        el("figcaption", said),
        el("details", el("summary", speech["table"]), table(speech, title, head, body, "numbers slim")),
    )  # fmt: skip


def _samplers(view: View, speech: Speech) -> list[Html] | None:
    if view.seen is None or not view.seen.histograms:
        return None
    shown = len({each.case for each in view.seen.histograms})
    return [
        el("p", speech["samplers said"].format(shown, view.seen.samplers), class_="about"),
        *(_histogram(number, each, speech) for number, each in enumerate(view.seen.histograms)),
    ]


def _histogram(number: int, drawn: Histogram, speech: Speech) -> Html:
    title = f"{speech['bars title']}{speech[':']}{drawn.case}"
    triples = list(zip(drawn.letters, drawn.came, drawn.due, strict=True))
    letter, came, due = max(triples, key=lambda each: abs(each[1] - each[2]))
    said = speech["bars said"].format(sum(drawn.came), len(drawn.letters), letter, came, f"{due:.1f}")
    body = [
        el("tr", el("th", each, scope="row"), el("td", str(count)), el("td", f"{law:.1f}"))
        for each, count, law in triples
    ]
    head = [speech[name] for name in ("letter", "came", "due")]
    mark = state(speech, State.FAIL if drawn.failed else State.PASS)
    return el(
        "figure", el("h3", el("code", drawn.case), " ", mark),
        _scrolled(drawing.bars(f"bars.{number}", title, said, drawn.letters, drawn.came, drawn.due), title, speech),
        el("figcaption", said),
        el("details", el("summary", speech["table"]), table(speech, title, head, body, "numbers slim")),
    )  # fmt: skip


# ── where it comes from ──────────────────────────────────────────────────────────────────────────────────────────────


def _endpoint(endpoint: Mapping[str, str] | None, speech: Speech) -> list[Any] | None:
    """Which hosted model was asked, and what nobody knows of it."""
    if endpoint is None:
        return None
    told = [[el("code", f"{name} {text}"), " "] for name, text in endpoint.items() if name not in ("api", "url")]
    return [*told, el("small", foreign(speech["endpoint said"].format(endpoint["api"], endpoint["url"])))]


def _evidence(view: View, speech: Speech) -> list[Html]:
    read, predicate = view.read, view.read.predicate
    run, suite, machine, given = predicate["run"], predicate["suite"], predicate["environment"], predicate.get("bundle")
    digest = {each["name"]: each["digest"]["sha256"] for each in read.content["subject"]} if read.content else {}
    about = " --bundle DIR" if given else ""

    def code(text: str) -> Html:
        return el("code", text)

    def package(name: str) -> list[Any]:
        each = predicate[name]
        return [foreign(f"{each['name']} {each['version']}"), " ", code(each["digest"])]

    def texts(mapping: Mapping[str, str]) -> Html | None:
        items = [el("li", code(name), " ", foreign(text)) for name, text in sorted(mapping.items())]
        return el("ul", items) if items else None

    return [
        el("p", speech["evidence said"]),
        el("pre", code(f"llmasos verify REPORT --trust trust.json --rejudge{about}")),
        rows([
            (speech["report id"], code(read.report_id)),
            (speech["key"], code(read.key) if read.key else None),
            (speech["run id"], code(run["id"])),
            (speech["seed"], code(run["seed"])),
            (speech["suite"], [foreign(suite["version"]), " ", code(suite["digest"])]),
            (speech["reference"], package("reference")),
            (speech["harness"], package("harness")),
            (speech["adapter"], code(digest["adapter"])),
            (speech["endpoint digest"], code(digest["endpoint"]) if "endpoint" in digest else None),
            (speech["evidence root"], code(predicate["evidenceRoot"])),
            (speech["files"], texts(given["files"]) if given else None),
            (speech["runtime"], texts(predicate["candidate"]["runtime"])),
            (speech["emulated"], texts(predicate["candidate"]["emulated"])),
            (speech["environment"],
             [foreign(f"{machine['os']}, {machine['arch']}, Python {machine['python']}"), speech[", "],
              foreign(speech["threads"].format(machine["threads"]))]),
            (speech["isolation"],
             el("ul", [speech.english(foreign(each), tag="li") for each in run["isolation"]])),
        ]),
    ]  # fmt: skip


def _not_proven(view: View, speech: Speech) -> Html:
    return el("p", verify.NOT_PROVEN if speech.lang == "en" else NOT_PROVEN_ZH)
