"""HTML by functions: whatever is not markup already is escaped, so that no text can become any.

    el("p", "a < b", el("b", "bold"), class_="note")  ->  <p class="note">a &lt; b<b>bold</b></p>

Every element is closed, so that a page is well-formed XML too and a program can check it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

from llmasos_conformance.canonical import legible

Child = "str | None | Iterable[Child]"
VOID = frozenset({"meta", "link", "br", "hr", "wbr", "col"})
WIDTH = 84
"""Characters of a line of data."""


class Html(str):
    """Text that is markup."""

    __slots__ = ()


def el(tag: str, *children: Any, **attributes: str | bool | None) -> Html:
    """An element.

    Args:
        children: Html as it is, other texts escaped, None left out, and iterables of these.
        attributes: `class_` for class and `data_x` for data-x; None and False leave one out.
    """
    inner = "".join(_flat(children))
    if tag in VOID:
        return Html(f"<{tag}{_attributes(attributes)}/>")
    return Html(f"<{tag}{_attributes(attributes)}>{inner}</{tag}>")


def join(children: Iterable[Any], between: str = "") -> Html:
    """Children one after another, with a text between them."""
    made = ["".join(_flat([child])) for child in children]
    return Html(_safe(between).join(made))


def _flat(children: Iterable[Any]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            yield child
        elif isinstance(child, str):
            yield _safe(child)
        else:
            yield from _flat(child)


def _safe(text: str) -> str:
    """Escaped, and without characters that are invisible, turn a line or are no part of XML."""
    return escape("\n".join(map(legible, text.split("\n"))), quote=True)


def _attributes(attributes: Mapping[str, str | bool | None]) -> str:
    made = []
    for name, value in attributes.items():
        if value is not None and value is not False:
            key = name.rstrip("_").replace("_", "-")
            made.append(f' {key}="{_safe(key if value is True else str(value))}"')
    return "".join(made)


# ── sentences ────────────────────────────────────────────────────────────────────────────────────────────────────────

_MARKED = re.compile(
    r"""(?<![A-Za-z0-9_./-])(?:
        (?P<id>[A-Z]{2,5}-[0-9]+)
      | (?P<code>[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?:=[^\s,;()]+)? | [a-z][a-z0-9_-]*\.(?:json|safetensors|onnx|yaml))
    )(?![A-Za-z0-9_])""",
    re.VERBOSE,
)


def sentence(text: str, link: Callable[[str], str | None]) -> Html:
    """A text in which names of options and files are set as code, and ids of requirements are links.

    Args:
        link: address of an id; None if it is none of ours.
    """
    made, start = [], 0
    for found in _MARKED.finditer(text):
        made.append(_safe(text[start : found.start()]))
        start = found.end()
        if found["code"]:
            made.append(el("code", found["code"]))
        else:
            address = link(found["id"])
            made.append(el("a", found["id"], href=address) if address else _safe(found["id"]))
    return Html("".join([*made, _safe(text[start:])]))


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def data(value: Any, indent: int = 0, before: int = 0) -> str:
    """JSON in which what fits into a line stands in one, and no character is invisible.

    Args:
        indent: blanks in front of each further line. before: characters that stand in front of the first.
    """
    whole = json.dumps(value, ensure_ascii=False)
    if len(whole) + indent + before <= WIDTH or not value or not isinstance(value, Mapping | list | tuple):
        return "".join(map(_visible, whole))
    inner = " " * (indent + 2)
    if isinstance(value, Mapping):
        rows = []
        for key, each in value.items():
            name = "".join(map(_visible, json.dumps(key, ensure_ascii=False)))
            rows.append(f"{inner}{name}: {data(each, indent + 2, len(name) + 2)}")
        opening, closing = "{", "}"
    else:
        rows = [inner + data(each, indent + 2) for each in value]
        opening, closing = "[", "]"
    return opening + "\n" + ",\n".join(rows) + "\n" + " " * indent + closing


def listing(value: Any) -> Html:
    """Data as a block of lines, each knowing how far in it stands, so that a line that is broken stays in its place."""
    lines = data(value).split("\n")
    spans = [
        el("span", line.lstrip(" "), class_=f"in{indent}" if (indent := len(line) - len(line.lstrip(" "))) else None)
        for line in lines
    ]
    return el("pre", el("code", join(spans, "\n")))


def _visible(char: str) -> str:
    """A character inside JSON, as an escape where one would not see it."""
    if char == " " or (legible(char) == char and not char.isspace()):
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
