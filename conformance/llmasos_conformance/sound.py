"""Whether a value keeps a JSON Schema: yes or no, and quickly. What is wrong with it is for `jsonschema` to say.

Every command reads the suites, and they are sound unless somebody is just writing them. A schema is read once and
becomes a predicate; jsonschema, which makes objects for every value that it looks at, is asked for what is not sound.

Values are those of JSON: dict, list, str, int, float, bool, None. As there, true is no 1; as in our suites, 4.0 is no
integer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

Predicate = Callable[[Any], bool]


class Unknown(ValueError):
    """A schema with a keyword that is not known here."""


def predicate(schema: Any) -> Predicate:
    """What says whether a value keeps a schema of draft 2020-12.

    Known are the keywords of `_RULES`, and those that hold schemas, of which $ref leads to #/$defs alone. Formats are
    annotations, as that draft has them.

    Raises:
        Unknown: the schema has another keyword; nothing is passed over in silence.
    """
    return _Reader(schema.get("$defs", {}) if isinstance(schema, Mapping) else {}).predicate(schema)


class _Reader:
    """Reads a schema and what it refers to; a definition is read when it is first met, and may refer to itself."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self.definitions = definitions
        self.read: dict[str, list[Predicate]] = {}

    def predicate(self, schema: Any) -> Predicate:
        if isinstance(schema, bool):
            return _always if schema else _never
        parts = [self.rule(name, wanted, schema) for name, wanted in schema.items() if name not in _ANNOTATIONS]
        return _all_of([part for part in parts if part is not _always])

    def rule(self, name: str, wanted: Any, schema: Mapping[str, Any]) -> Predicate:
        """One keyword of a schema, with those that belong to it."""
        match name:
            case "$ref":
                return self.definition(wanted)
            case "properties" | "additionalProperties":
                return self.members(schema) if name == next(key for key in schema if key in _MEMBERS) else _always
            case "items":
                return _items(self.predicate(wanted), len(schema.get("prefixItems", ())))
            case "prefixItems":
                return _first_items([self.predicate(each) for each in wanted])
            case "propertyNames":
                return _names(self.predicate(wanted))
            case "if":
                branches = [self.predicate(schema.get(branch, True)) for branch in ("then", "else")]
                return _branching(self.predicate(wanted), *branches)
            case "then" | "else":
                return _always  # of the rule above; alone they say nothing
            case "allOf":
                return _all_of([self.predicate(each) for each in wanted])
            case "anyOf":
                return _any_of([self.predicate(each) for each in wanted])
            case "oneOf":
                return _one_of([self.predicate(each) for each in wanted])
            case "not":
                return _not(self.predicate(wanted))
        if name not in _RULES:
            raise Unknown(f"{name!r} in a schema")
        return _RULES[name](wanted)

    def definition(self, reference: str) -> Predicate:
        name = reference.removeprefix("#/$defs/")
        if name == reference or name not in self.definitions:
            raise Unknown(f"a reference to {reference!r}")
        if name not in self.read:
            self.read[name] = []  # what refers to itself finds it there, and in it what is put there below
            self.read[name].append(self.predicate(self.definitions[name]))
        found = self.read[name]
        return found[0] if found else lambda value: found[0](value)

    def members(self, schema: Mapping[str, Any]) -> Predicate:
        known = {key: self.predicate(each) for key, each in schema.get("properties", {}).items()}
        rest = self.predicate(schema.get("additionalProperties", True))
        return lambda value: (
            not isinstance(value, dict) or all(known.get(key, rest)(inner) for key, inner in value.items())
        )


def _always(value: Any) -> bool:
    return True


def _never(value: Any) -> bool:
    return False


def _all_of(parts: Sequence[Predicate]) -> Predicate:
    if len(parts) < 2:
        return parts[0] if parts else _always
    return lambda value: all(part(value) for part in parts)


def _any_of(parts: Sequence[Predicate]) -> Predicate:
    return lambda value: any(part(value) for part in parts)


def _one_of(parts: Sequence[Predicate]) -> Predicate:
    return lambda value: sum(part(value) for part in parts) == 1


def _not(part: Predicate) -> Predicate:
    return lambda value: not part(value)


def _branching(asked: Predicate, then: Predicate, otherwise: Predicate) -> Predicate:
    return lambda value: then(value) if asked(value) else otherwise(value)


def _items(each: Predicate, skipped: int) -> Predicate:
    return lambda value: not isinstance(value, list) or all(each(item) for item in value[skipped:])


def _first_items(parts: Sequence[Predicate]) -> Predicate:
    return lambda value: (
        not isinstance(value, list) or all(part(item) for part, item in zip(parts, value, strict=False))
    )


def _names(each: Predicate) -> Predicate:
    return lambda value: not isinstance(value, dict) or all(each(key) for key in value)


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_TYPES: Mapping[str, Predicate] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON has it: 1 is 1.0, and true is no 1, at any depth."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(inner, other[key]) for key, inner in one.items())
    return bool(one == other)


def _type(wanted: str | Sequence[str]) -> Predicate:
    return _TYPES[wanted] if isinstance(wanted, str) else _any_of([_TYPES[each] for each in wanted])


def _enum(wanted: Sequence[Any]) -> Predicate:
    texts = frozenset(each for each in wanted if isinstance(each, str))
    others = [each for each in wanted if not isinstance(each, str)]
    return lambda value: value in texts if isinstance(value, str) else any(same(value, each) for each in others)


def _const(wanted: Any) -> Predicate:
    return lambda value: same(value, wanted)


def _pattern(wanted: str) -> Predicate:
    search = re.compile(wanted).search
    return lambda value: not isinstance(value, str) or search(value) is not None


def _all_different(wanted: bool) -> Predicate:
    def different(value: Any) -> bool:
        if not isinstance(value, list):
            return True
        if all(isinstance(item, str) for item in value):
            return len(set(value)) == len(value)
        return not any(same(one, other) for i, one in enumerate(value) for other in value[:i])

    return different if wanted else _always


def _sized(kind: type[Sized], holds: Callable[[int, int], bool]) -> Callable[[int], Predicate]:
    return lambda wanted: lambda value: not isinstance(value, kind) or holds(len(value), wanted)


def _bounded(holds: Callable[[float, float], bool]) -> Callable[[float], Predicate]:
    number = _TYPES["number"]
    return lambda wanted: lambda value: not number(value) or holds(value, wanted)


def _required(wanted: Sequence[str]) -> Predicate:
    keys = frozenset(wanted)
    return lambda value: not isinstance(value, dict) or keys <= value.keys()


_RULES: Mapping[str, Callable[[Any], Predicate]] = {
    "type": _type, "enum": _enum, "const": _const, "pattern": _pattern, "required": _required,
    "uniqueItems": _all_different,
    "minimum": _bounded(lambda value, wanted: value >= wanted),
    "maximum": _bounded(lambda value, wanted: value <= wanted),
    "exclusiveMinimum": _bounded(lambda value, wanted: value > wanted),
    "exclusiveMaximum": _bounded(lambda value, wanted: value < wanted),
    "minLength": _sized(str, lambda size, wanted: size >= wanted),
    "maxLength": _sized(str, lambda size, wanted: size <= wanted),
    "minItems": _sized(list, lambda size, wanted: size >= wanted),
    "maxItems": _sized(list, lambda size, wanted: size <= wanted),
    "minProperties": _sized(dict, lambda size, wanted: size >= wanted),
    "maxProperties": _sized(dict, lambda size, wanted: size <= wanted),
}  # fmt: skip
_MEMBERS = ("properties", "additionalProperties")
_ANNOTATIONS = frozenset(
    {"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default", "format"}
)
