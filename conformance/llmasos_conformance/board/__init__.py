"""Reports as pages that anybody can read: `llmasos show REPORT --html` and `llmasos board DIR`.

    series     evidence -> what can be drawn of the recorded answers
    views      a report and what was seen -> what a page shows, without markup and without a language
    drawing    numbers -> SVG
    page       a view -> the page of one report
    overview   many views -> the page of all
    words      what pages say in their own words, in both languages

A page shows what was verified and says how far; what a report that does not verify says is not shown. Every text of a
report is foreign: it is escaped, it cannot steer the line that it stands in, and no page grows beyond reading by it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from llmasos_conformance import verify
from llmasos_conformance.board import overview, page, series
from llmasos_conformance.board.views import View, started, view
from llmasos_conformance.candidate import EvidenceMismatch
from llmasos_conformance.canonical import Unacceptable
from llmasos_conformance.errors import ReportError
from llmasos_conformance.pages import frame, place
from llmasos_conformance.policy import Trust
from llmasos_conformance.reading import SHOWN, Read, Standing, find, read, read_or_refuse
from llmasos_conformance.suite import Suite
from llmasos_conformance.verify import Reason

SCHEMA_VERSION = "1.0"
SHOW, BOARD = "llmasos show", "llmasos board"
LANGS = ("en", "zh")

__all__ = [
    "BOARD", "LANGS", "SHOW", "SHOWN", "Made", "Read", "Standing", "Verifier", "board", "look", "one", "view", "write",
]  # fmt: skip


def sheet() -> str:
    """The style sheet of pages about reports."""
    return frame.style(Path(__file__).parent / "style.css")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """What reports are held against: what is installed, whom one trusts, and the time."""

    own: verify.Installed
    loaded: Suite
    now: datetime
    trust: Trust | None = None
    rejudge: bool = False


def look(
    path: Path, name: str, by: Verifier, *, bundle: Path | None = None, strict: bool = True,
    on_case: Callable[[int, int], None] | None = None,
) -> tuple[Read, View | None]:  # fmt: skip
    """Verify a report, and work out what there is to show of it; no view of one that is refused.

    Args:
        bundle: the model that the report is about. strict: complain where there is no report at all.

    Raises:
        HarnessError: there is no report there, and `strict` is asked for.
    """
    how: dict[str, Any] = {
        "name": name, "now": by.now, "own": by.own, "trust": by.trust, "level": "re-judged" if by.rejudge else "",
        "bundle": bundle, "on_case": on_case,
    }  # fmt: skip
    found = read(path, **how) if strict else read_or_refuse(path, **how)
    if found.standing is Standing.REFUSED:
        return found, None
    seen, unseen = None, _unseen(found, by, bundle)
    if not unseen:
        try:
            seen = _seen(found, by.loaded, bundle)
        except Unacceptable as error:  # a copy that changed meanwhile, or answers that no contract has
            return found.refused(Reason(error.code, error.what, error.case)), None
        except EvidenceMismatch as error:
            return found.refused(Reason("E_CONVERSATION", error.what)), None
    return found, view(found, by.loaded, seen, unseen)


def _unseen(found: Read, by: Verifier, bundle: Path | None) -> str:
    """Why nothing is drawn of a report; "" where it can be."""
    if found.standing not in SHOWN:
        return "unseen unsigned"
    if "evidence" not in found.checked:
        return "unseen evidence"
    if found.predicate["suite"]["digest"] != by.own.suite_digest:
        return "unseen suite"
    other = any(reason.code == "E_BUNDLE_OTHER" for reason in found.reasons)
    return "unseen bundle" if "bundle" in found.predicate and (bundle is None or other) else ""


def _seen(found: Read, loaded: Suite, bundle: Path | None) -> series.Seen:
    with tempfile.TemporaryDirectory(prefix="llmasos-") as room:
        if bundle is None:
            return series.see(found, loaded, Path(room))
        from llmasos_conformance.probes import given

        return series.see(found, loaded, Path(room), given.read(bundle, Path(room)))


# ── one report ───────────────────────────────────────────────────────────────────────────────────────────────────────


def one(found: Read, shown: View | None, lang: str, made_from: str) -> str:
    """The page of a report that stands alone."""
    if shown is None:
        return page.of_refused(found, lang, sheet(), made_from, generator=SHOW)
    return page.of_report(shown, lang, sheet(), made_from, generator=SHOW)


# ── many reports ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A board that was rendered.

    Attributes:
        pages: name -> text. shown: file of a report's page -> what it shows. refused: reports that did not verify.
    """

    pages: Mapping[str, str]
    shown: Mapping[str, View]
    refused: Sequence[Read]


def board(
    root: Path, by: Verifier, langs: Sequence[str] = LANGS, on_report: Callable[[int, int], None] | None = None
) -> Made:  # fmt: skip
    """Render all reports below a directory.

    Args:
        on_report: told done and total.

    Raises:
        HarnessError: there is no such directory, or no report below it.
    """
    found = list(find(root))
    if not found:
        raise ReportError(
            "there is no report below this directory", where=root,
            hint="llmasos certify … --out DIR/NAME writes one",
        )  # fmt: skip
    looked = list[tuple[Read, View | None]]()
    for number, (name, path) in enumerate(found):
        if on_report is not None:
            on_report(number, len(found))
        looked.append(look(path, name, by, strict=False))
    refused, views = list[Read](), list[View]()
    for mine, shown in _once(looked):
        if shown is None or mine.standing not in SHOWN:
            refused.append(mine)
        else:
            views.append(replace(shown, read=mine))
    views.sort(key=_rank)
    files = dict(zip(_files(views), views, strict=True))
    return Made(pages=_pages(files, refused, by.loaded, langs), shown=files, refused=refused)


def _once(looked: Iterable[tuple[Read, View | None]]) -> list[tuple[Read, View | None]]:
    """Every report once, with the names of its copies.

    A copy is the same statement, signed by the same key. Where its content is shown, the place where most of it could
    be checked stands for all; one that is refused, for the evidence beside it say, stands with those that are so for
    the same reasons. What another key signed is another report: who signed decides what it is worth.
    """
    groups: dict[object, list[tuple[Read, View | None]]] = {}
    for mine, shown in looked:
        why = () if mine.standing in SHOWN else (mine.standing, mine.reasons)
        same = (mine.report_id, mine.key, mine.signer, why) if mine.report_id else mine.name
        groups.setdefault(same, []).append((mine, shown))
    ranks = list(Standing)
    made = []
    for group in groups.values():
        # The first by name of those of which most was checked.
        best, shown = min(group, key=lambda pair: (ranks.index(pair[0].standing), -len(pair[0].checked)))
        made.append((replace(best, copies=tuple(mine.name for mine, _ in group if mine is not best)), shown))
    return made


def _rank(each: View) -> tuple[Any, ...]:
    predicate = each.read.predicate
    name, version = each.who
    dtype, profile = predicate["candidate"]["claims"]["dtype"], predicate["suite"]["profile"]
    return name.casefold(), name, version, dtype, profile, started(each.read), each.read.name


def _files(views: Sequence[View]) -> list[str]:
    """A file name for the page of each report: readable, and of nothing but what every system and address takes."""
    names: list[str] = []
    for each in views:
        plain = re.sub(r"[^a-z0-9]+", "-", each.read.name.lower()).strip("-")[:60] or "report"
        name, number = f"r-{plain}", 2
        while f"{name}.html" in names:
            name, number = f"r-{plain}-{number}", number + 1
        names.append(f"{name}.html")
    return names


def _pages(files: Mapping[str, View], refused: Sequence[Read], loaded: Suite, langs: Sequence[str]) -> dict[str, str]:
    style, made_from = sheet(), loaded.digest
    pages = {"index.html": overview.cover(langs, style, generator=BOARD)}
    for lang in langs:

        def others(file: str, lang: str = lang) -> list[tuple[str, str]]:
            return [(other, f"../{other}/{file}") for other in langs if other != lang]

        pages[f"{lang}/index.html"] = overview.overview(
            files, refused, lang, style, made_from, titles=loaded.chapters, others=others("index.html"), generator=BOARD
        )
        for file, each in files.items():
            pages[f"{lang}/{file}"] = page.of_report(
                each, lang, style, made_from, others=others(file), up="index.html", generator=BOARD
            )
    return pages


def write(out: Path, made: Made, loaded: Suite, langs: Sequence[str] = LANGS) -> list[str]:
    """Write a board into a directory of its own; returns the names of its files.

    Raises:
        ReportError: something else lies there, or it cannot be written.
    """
    about = {
        "schemaVersion": SCHEMA_VERSION, "version": loaded.version, "suite": loaded.digest, "languages": list(langs),
        "reports": [each.read.report_id for each in made.shown.values()],
    }  # fmt: skip
    return place.write(out, made.pages, about, BOARD)
