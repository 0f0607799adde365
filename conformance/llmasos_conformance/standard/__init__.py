"""The standard as a document: `llmasos standard --out DIR` renders ledger and suites to pages one can read.

    suite.load        requirements, cases, profiles, with everything that they refer to
    words             what the pages say in their own words, in both languages, and the glossary
    pages             index, chapters, cases, checks
    ..pages           what these have in common with other pages: markup, frame, place

A page needs no script and nothing from elsewhere, is well-formed XML, and is the same for the same suites, byte for
byte. A new chapter of the ledger has its page without a change here; `pages.order` says where it stands. With
`--coverage` the outcomes that reports emitted stand beside the cases; see `coverage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmasos_conformance.coverage import Table
from llmasos_conformance.pages import frame, place
from llmasos_conformance.standard.pages import GENERATOR, address, all_pages, book, chapters, cover
from llmasos_conformance.suite import Suite

__all__ = ["address", "chapters", "render", "write"]

SCHEMA_VERSION = "1.0"


def render(loaded: Suite, langs: Sequence[str] = ("en", "zh"), table: Table | None = None) -> dict[str, str]:
    """All pages, name -> text.

    Args:
        langs: "en", "zh" or both. table: outcomes to show beside the cases.
    """
    style = frame.style()
    made = {"index.html": cover(loaded, langs, style)}
    for lang in langs:
        made.update(all_pages(book(loaded, lang, [other for other in langs if other != lang], table, style)))
    return made


def write(out: Path, loaded: Suite, langs: Sequence[str] = ("en", "zh"), table: Table | None = None) -> list[str]:
    """Render the standard into a directory; returns the names of its files.

    Raises:
        ReportError: something else lies there, or it cannot be written.
    """
    about = {
        "schemaVersion": SCHEMA_VERSION,
        "version": loaded.version,
        "suite": loaded.digest,
        "languages": list(langs),
        "reports": [] if table is None else [run.report_id for run in table.runs],
    }
    return place.write(out, render(loaded, langs, table), about, GENERATOR)
