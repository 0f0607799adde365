"""A whole document around a body, and the policy that nothing but its own style may act in it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from llmasos_conformance.pages.markup import Html, el


def style(*more: Path) -> str:
    """The style sheet of all pages, and further ones behind it."""
    files = (Path(__file__).parent / "style.css", *more)
    return "".join(file.read_text(encoding="utf-8") for file in files)


def policy(sheet: str) -> str:
    """A content-security policy under which a page loads nothing, runs nothing, and is styled by this sheet alone."""
    digest = base64.b64encode(hashlib.sha256(sheet.encode("utf-8")).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def document(tag: str, title: str, sheet: str, body: Html, *, generator: str) -> str:
    """A page.

    Args:
        tag: of its language. sheet: see `style`. generator: the command that makes the page.
    """
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=Html(policy(sheet))),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("meta", name="generator", content=generator),
        el("title", title),
        el("style", Html(sheet)),
    )
    return "<!DOCTYPE html>\n" + el("html", head, body, lang=tag) + "\n"
