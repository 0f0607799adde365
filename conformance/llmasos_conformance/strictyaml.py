"""YAML as plain data that remembers its lines; YAML is known here and nowhere else.

Only the part of it is read that every reader understands alike: no anchors, aliases, merge keys or tags, no duplicate
keys, no unquoted word that one version of YAML takes for a boolean, number or date and another for text. What is read
is held against a schema, and every problem of a file is told with its line, its path and in plain words.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llmasos_conformance import sound
from llmasos_conformance.errors import did_you_mean

MAX_DEPTH = 32
"""Levels of nesting in a file; a case needs about six."""

Place = tuple[str | int, ...]
"""A path inside a file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `where` is file:line, `path` the place inside the file."""

    where: str
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.where} {self.path}: {self.text}" if self.path else f"{self.where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as plain data that remembers its lines.

    Attributes:
        shown: file name as problems show it.
        value: what the file says; None if it cannot be read.
        lines: path -> line, of the key for a member of a mapping.
        broken: paths at which the schema is violated.
        problems: all that is wrong with it.
    """

    shown: str
    value: Any
    lines: Mapping[Place, int]
    broken: frozenset[Place] = frozenset()
    problems: tuple[Problem, ...] = ()

    def line(self, path: Place) -> str:
        """file:line of the nearest thing that encloses a path."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.shown}:{self.lines.get(path, 1)}"

    def problem(self, path: Place, text: str) -> Problem:
        return Problem(self.line(path), _dotted(path), text)

    def sound(self, prefix: Place) -> bool:
        """Whether the schema is kept at the root, and at and below a path."""
        return () not in self.broken and not any(path[: len(prefix)] == prefix for path in self.broken)

    def entries(self, key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Index and value of the sound entries of a list; the others have been complained of."""
        if (key,) not in self.broken:
            for i, entry in enumerate(self.value[key]):
                if self.sound((key, i)):
                    yield i, entry

    def repeated(self, key: str, taken: dict[str, str]) -> Iterator[Problem]:
        """Entries of a list whose id is taken; the others, sound or not, are added to `taken`, id -> file:line."""
        entries = self.value.get(key)
        for i, entry in enumerate(entries if isinstance(entries, list) else ()):
            name = entry.get("id") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in taken:
                yield self.problem((key, i, "id"), f"{name} is taken, at {taken[name]}")
            elif isinstance(name, str):
                taken[name] = self.line((key, i))

    def invalid(self, value: Any, schema: Schema, prefix: Place = ()) -> Iterator[Problem]:
        """Violations of a schema by a part of the document."""
        for error in schema.violations(value):
            for path, text in _told(error):
                yield self.problem((*prefix, *path), text)


def _dotted(path: Place) -> str:
    """cases[2].given.probe"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read(raw: bytes, shown: str, schema: Schema) -> Document:
    """A file's bytes as a document, held against a schema.

    Args:
        shown: file name as problems show it.
    """
    reader = _Reader(shown)
    value = reader.read(raw)
    if value is _UNREADABLE:
        return Document(shown, None, {}, frozenset({()}), tuple(reader.problems))
    document = Document(shown, value, reader.lines)
    problems, broken = list(reader.problems), set[Place]()
    for error in schema.violations(value):
        broken.add(tuple(error.absolute_path))
        # A value that the reader refused has been complained of already.
        problems += [document.problem(place, text) for place, text in _told(error) if place not in reader.refused]
    return replace(document, broken=frozenset(broken), problems=tuple(problems))


# ── from text to values ──────────────────────────────────────────────────────────────────────────────────────────────

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_REAL = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+][0-9]+)?")
_WORDS = {"null": None, "true": True, "false": False}
_BOOLEAN_ELSEWHERE = re.compile(r"yes|no|on|off|true|false", re.IGNORECASE)
_NULL_ELSEWHERE = re.compile(r"~|null", re.IGNORECASE)
_NUMBER_ELSEWHERE = re.compile(
    r"""[-+]?(
        0[xX][0-9a-fA-F_]+ | 0[bB][01_]+ | 0[oO][0-7_]+      # other bases
      | [0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?              # 12:30 is 750 in YAML 1.1
      | ([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?
      | \.(inf|Inf|INF)
    ) | \.(nan|NaN|NAN)""",
    re.VERBOSE,
)
_DATE_ELSEWHERE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?")
_EXPONENT = re.compile(r"([-+]?)([0-9]+)(?:\.([0-9]*))?[eE]([-+]?)([0-9]+)")
_TELLING = frozenset("0123456789+-.~=nNtTfFyYoO")
"""How an unquoted scalar begins that may be anything else than text, by all of the above and by `_ambiguous`."""
_UNREAD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that change the direction of a line, so that it reads as something else than it says."""
_MOST_DIGITS = 400
"""Of a number; a float64 has 309 before its point."""
_UNREADABLE = object()


class _Reader:
    """Builds plain data from the events of PyYAML's parser, which knows anchors, tags, styles and lines.

    Attributes:
        problems: what is refused. refused: paths of refused values. lines: path -> line.
    """

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.problems: list[Problem] = []
        self.refused: set[Place] = set()
        self.lines: dict[Place, int] = {}

    def read(self, raw: bytes) -> Any:
        """The only document of a file, or _UNREADABLE."""
        import yaml

        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self.problems.append(Problem(f"{self.shown}:{raw[: error.start].count(10) + 1}", "", "not UTF-8"))
            return _UNREADABLE
        for found in _TURNS.finditer(text):  # as such; written as an escape it shows what it is, and may be data
            line = text.count("\n", 0, found.start()) + 1
            what = f"the text holds U+{ord(found[0]):04X}, which turns the direction of a line; write it as an escape"
            self.problems.append(Problem(f"{self.shown}:{line}", "", what))
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            events = iter(list(yaml.parse(text, Loader=loader)))
        except yaml.MarkedYAMLError as error:
            mark: Any = error.problem_mark or error.context_mark
            place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            reason = ", ".join(part for part in (error.problem, error.context) if part)
            self.problems.append(Problem(f"{self.shown}{place}", "", f"not YAML: {reason}"))
            return _UNREADABLE
        except yaml.YAMLError as error:
            forbidden = _UNREAD.search(text)  # a character that YAML forbids, which the parser tells without a line
            line = text.count("\n", 0, forbidden.start()) + 1 if forbidden else 1
            what = f"the character {forbidden[0]!r}, which no text may hold" if forbidden else str(error)
            self.problems.append(Problem(f"{self.shown}:{line}", "", f"not YAML: {what}"))
            return _UNREADABLE
        next(events)  # the stream starts
        if isinstance(next(events), yaml.StreamEndEvent):
            self.problems.append(Problem(f"{self.shown}:1", "", "the file is empty"))
            return _UNREADABLE
        value = self._value(next(events), events, ())
        next(events)  # the document ends
        after: Any = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            place = f"{self.shown}:{after.start_mark.line + 1}"
            self.problems.append(Problem(place, "", "a second document starts here; a file holds one"))
        return value

    def _refuse(self, event: Any, path: Place, text: str) -> None:
        self.refused.add(path)
        self.problems.append(Problem(f"{self.shown}:{event.start_mark.line + 1}", _dotted(path), text))

    def _value(self, event: Any, events: Iterator[Any], path: Place) -> Any:
        """The value that starts with an event; events are consumed up to its end."""
        import yaml

        self.lines.setdefault(path, event.start_mark.line + 1)
        if len(path) > MAX_DEPTH:
            self._refuse(event, path[:MAX_DEPTH], f"nested deeper than {MAX_DEPTH} levels")
            return self._skip(event, events)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, path, f"aliases are not read; write out what *{event.anchor} stands for")
            return None
        if event.anchor is not None:
            self._refuse(event, path, f"anchors are not read; remove &{event.anchor}")
        if event.tag is not None:
            self._refuse(event, path, f"tags are not read; remove {event.tag}")
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style in _QUOTED else self._plain(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(inner := next(events), yaml.SequenceEndEvent):
                items.append(self._value(inner, events, (*path, len(items))))
            return items
        return self._mapping(events, path)

    def _mapping(self, events: Iterator[Any], path: Place) -> dict[str, Any]:
        import yaml

        members: dict[str, Any] = {}
        while not isinstance(key_event := next(events), yaml.MappingEndEvent):
            key = self._key(key_event, events, path)
            inner = (*path, key)
            if key in members:
                self._refuse(key_event, inner, f"the key is given twice, first in line {self.lines[inner]}")
                self._value(next(events), events, inner)
                continue
            self.lines[inner] = key_event.start_mark.line + 1
            members[key] = self._value(next(events), events, inner)
        return members

    def _key(self, event: Any, events: Iterator[Any], path: Place) -> str:
        import yaml

        if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
            self._refuse(event, path, "a key must be a text, without anchor, alias or tag")
            self._skip(event, events)
            return ""
        name: str = event.value
        if event.style in _QUOTED:
            return name
        if name == "<<":
            self._refuse(event, path, "merge keys are not read; write the members out")
        elif not isinstance(self._plain(event, (*path, name)), str):
            self._refuse(event, (*path, name), f"a key must be a text; quote it: '{name}'")
        return name

    def _plain(self, event: Any, path: Place) -> Any:
        """The value of an unquoted scalar."""
        text: str = event.value
        if text and text[0] not in _TELLING:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if len(text) > _MOST_DIGITS and text.lstrip("-")[:1].isdigit() and _NUMBER_ELSEWHERE.fullmatch(text):
            self._refuse(event, path, f"a number of {len(text)} characters; {_MOST_DIGITS} are the most that are read")
            return None
        if _INTEGER.fullmatch(text):
            return int(text, 16 if "x" in text else 10)
        if _REAL.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        reason = _ambiguous(text)
        if reason:
            self._refuse(event, path, reason)
        return text

    def _skip(self, event: Any, events: Iterator[Any]) -> None:
        """Consume the rest of a value."""
        import yaml

        depth = int(isinstance(event, yaml.CollectionStartEvent))
        while depth:
            inner = next(events)
            depth += isinstance(inner, yaml.CollectionStartEvent) - isinstance(inner, yaml.CollectionEndEvent)


_QUOTED = ("'", '"', "|", ">")


def _ambiguous(text: str) -> str:
    """Why an unquoted text is refused; empty if it is plainly text."""
    if not text:
        return "there is no value; write one, or null"
    if _BOOLEAN_ELSEWHERE.fullmatch(text):
        return f"{text} is a boolean to some readers and text to others; write true or false, or quote it"
    if _NULL_ELSEWHERE.fullmatch(text):
        return f"{text} is null to some readers and text to others; write null, or quote it"
    if _DATE_ELSEWHERE.fullmatch(text):
        return f"{text} is a date to some readers and text to others; quote it"
    if _NUMBER_ELSEWHERE.fullmatch(text):
        return f"{text} is a number to some readers and text to others; {_as_number(text, 'write {}, or ')}quote it"
    if text == "=":
        return "= has a meaning of its own to some readers; quote it"
    return ""


def _as_number(text: str, remedy: str) -> str:
    """A remedy with 1.0e-5 in its braces, for 1e-5; nothing where it is not sure which number is meant."""
    parts = _EXPONENT.fullmatch(text)
    if not parts or not math.isfinite(float(text)):
        return ""
    sign, whole, fraction, exponent_sign, exponent = parts.groups()
    return remedy.format(f"{sign.strip('+')}{int(whole)}.{fraction or 0}e{exponent_sign or '+'}{int(exponent)}")


# ── schemas ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_KINDS: Mapping[str, str] = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


@functools.cache
def _validator_class() -> Any:
    """Draft 2020-12, but for 4.0, which is no integer here: written so, it was meant as something else."""
    from jsonschema import Draft202012Validator, validators

    def integer(checker: Any, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    strict = Draft202012Validator.TYPE_CHECKER.redefine("integer", integer)
    extend: Any = validators.extend  # the library's stubs leave it untyped
    return extend(Draft202012Validator, type_checker=strict)


class Schema:
    """What `read` and `Document.invalid` hold a value against."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema, self._sound = schema, sound.predicate(schema)

    def violations(self, value: Any) -> Iterable[Any]:
        """Errors of jsonschema; it is asked for what is not sound."""
        return () if self._sound(value) else _validator_class()(self._schema).iter_errors(value)


def _told(error: Any) -> Iterator[tuple[Place, str]]:
    """Path and plain words of a violation."""
    path, value, wanted, rule = tuple(error.absolute_path), error.instance, error.validator_value, error.validator
    if rule == "required":
        for key in wanted:
            if key not in value:
                yield path, f"{key!r} is missing"
        return
    if rule == "additionalProperties" and wanted is False:
        known = error.schema.get("properties", {})
        for key in value:
            if key not in known:
                yield (
                    (*path, key),
                    f"there is no such key{did_you_mean(key, known) or '; known are ' + ', '.join(known)}",
                )
        return
    if rule in ("anyOf", "oneOf") and error.context:
        # The alternative that got furthest is the one that was meant.
        best = max(error.context, key=lambda inner: len(inner.absolute_path))
        if len(best.absolute_path) > len(path):
            yield from _told(best)
            return
    yield path, _broken_rule(rule, value, wanted, error)


def _broken_rule(rule: str, value: Any, wanted: Any, error: Any) -> str:
    found = _found(value)
    if rule == "type":
        kinds = [wanted] if isinstance(wanted, str) else list(wanted)
        text = f"expected {' or '.join(_KINDS[kind] for kind in kinds)}, found {found}"
        if isinstance(value, str) and {"number", "integer"} & set(kinds) and _NUMBER_ELSEWHERE.fullmatch(value):
            return f"{text} ({_as_number(value, 'write {}') or 'write it without quotes'})"
        return text
    if rule == "enum":
        names = [str(item) for item in wanted]
        return f"expected one of {', '.join(names)}, found {found}{did_you_mean(str(value), names)}"
    if rule == "const":
        return f"expected {wanted!r}, found {found}"
    if rule == "pattern":
        return f"{found} does not match {wanted}"
    bounds = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than", "exclusiveMaximum": "below"}
    if rule in bounds:
        return f"expected {bounds[rule]} {wanted}, found {found}"
    sizes = {"minItems": "at least", "minLength": "at least", "maxItems": "at most", "maxLength": "at most"}
    if rule in sizes:
        unit = "entries" if rule.endswith("Items") else "characters"
        return f"expected {sizes[rule]} {wanted} {unit}, found {len(value)}"
    if rule == "uniqueItems":
        return "an entry stands twice"
    return str(error.message)[:300]


def _found(value: Any) -> str:
    """A value as problems show it: "the text '4'"."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return f"the text {value!r:.80}"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"{value}"
