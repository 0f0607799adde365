"""What says that a value keeps a schema agrees with jsonschema, on what is sound and on what is not."""

import copy
import random

import pytest
import yaml
from jsonschema import Draft202012Validator, validators

from llmasos_conformance import canonical, checks, installed, sound, strictyaml

STRICT = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda checker, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)
SUITES = installed.suites()
FILES = sorted((path.relative_to(SUITES).as_posix(), path) for path in SUITES.glob("**/*.yaml"))
STRANGE = [None, True, False, 0, 1, 1.0, -1, 2**70, 0.5, "", "x", "a\n", "1", [], [1], [True, 1], {}, {"x": 1}]


def kind_of(path):
    return "requirement" if path.parent.name == "requirements" else "suite"


def changed(value, draw):
    """A copy with one thing in it replaced, left out, doubled or added."""
    made = copy.deepcopy(value)
    places = [(holder, key) for holder in holders(made) for key in keys_of(holder)]
    holder, key = draw.choice(places)
    match draw.randrange(4):
        case 0:
            holder[key] = draw.choice(STRANGE)
        case 1:
            del holder[key]
        case 2 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 2 | 3 if isinstance(holder, dict):
            holder[draw.choice(["strange", "id", "type"])] = draw.choice(STRANGE)
        case _:
            holder.append(draw.choice(STRANGE))
    return made


def holders(value):
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from holders(inner)


def keys_of(holder):
    return list(holder) if isinstance(holder, dict) else range(len(holder))


@pytest.mark.parametrize(("name", "path"), FILES, ids=[name for name, _ in FILES])
def test_it_agrees_with_jsonschema_on_a_file_and_on_what_becomes_of_it_by_one_change(name, path):
    schema = canonical.schema(kind_of(path))
    judge, peer = sound.predicate(schema), STRICT(schema)
    whole = yaml.safe_load(path.read_text("utf-8"))
    assert judge(whole)
    assert peer.is_valid(whole)
    listed = "requirements" if kind_of(path) == "requirement" else "cases"
    draw, told = random.Random(name), []
    for _ in range(40):
        one = {**whole, listed: [draw.choice(whole[listed])]}
        one = changed(one, draw)
        told.append(peer.is_valid(one))
        assert judge(one) == told[-1], one
    assert False in told


def test_it_agrees_with_jsonschema_on_the_data_of_every_case_and_on_what_becomes_of_them_by_one_change():
    registry, draw, told = checks.registry(), random.Random(0), []
    for _, path in FILES:
        if kind_of(path) != "suite":
            continue
        for case in yaml.safe_load(path.read_text("utf-8"))["cases"]:
            schema, given = registry[case["check"]].given, case.get("given", {})
            judge, peer = sound.predicate(schema), STRICT(schema)
            assert judge(given)
            for _ in range(2 if given else 0):
                other = changed(given, draw)
                told.append(peer.is_valid(other))
                assert judge(other) == told[-1], (case["id"], other)
    assert 200 < sum(told) < len(told) - 200


@pytest.mark.parametrize("name", ["suite", "requirement", "property", "fault", "gate", "known-failures"])
def test_every_schema_of_a_yaml_file_can_be_read(name):
    judge = sound.predicate(canonical.schema(name))
    assert not any(judge(value) for value in STRANGE)


@pytest.mark.parametrize(
    "schema",
    [
        {"const": 1}, {"const": [1, {"x": True}]}, {"enum": [1, "x", None]}, {"type": "integer"}, {"type": "number"},
        {"type": ["string", "null"]}, {"pattern": "^a$"}, {"pattern": "x"}, {"minimum": 0.5}, {"exclusiveMinimum": 0},
        {"maximum": 1}, {"exclusiveMaximum": 1}, {"uniqueItems": True}, {"minLength": 1, "maxLength": 1},
        {"minItems": 1}, {"maxItems": 1}, {"minProperties": 1}, {"maxProperties": 0}, {"required": ["x"]},
        {"properties": {"x": {"const": True}}}, {"additionalProperties": False},
        {"additionalProperties": {"type": "null"}},
        {"properties": {"y": True}, "additionalProperties": False}, {"propertyNames": {"maxLength": 0}},
        {"items": {"type": "boolean"}}, {"prefixItems": [{"type": "boolean"}]},
        {"prefixItems": [{"type": "boolean"}], "items": {"const": True}}, {"not": {"type": "object"}},
        {"anyOf": [{"type": "string"}, {"minimum": 1}]}, {"oneOf": [{"type": "string"}, {"minimum": 1}]},
        {"allOf": [{"type": "string"}, {"minLength": 1}]}, {"if": {"type": "string"}, "then": {"minLength": 1}},
        {"if": {"type": "string"}, "else": {"type": "array"}}, {"then": False}, True, False, {},
        {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}},
        {"$ref": "#/$defs/a", "maxLength": 0, "$defs": {"a": {"type": "string"}}}, {"format": "date"},
    ],
    ids=str,
)  # fmt: skip
def test_each_keyword_says_of_strange_values_what_jsonschema_says(schema):
    judge, peer = sound.predicate(schema), STRICT(schema)
    values = [*STRANGE, [[], [[]]], [[], 1], [True, True], [False, None], "xx", {"x": None}, {"x": True, "y": 1}]
    values += [[1, 1.0], [True, 1.0], [[True], [1]], [{"x": 1}, {"x": True}], [1, {"x": True}], [1, {"x": 1}]]
    assert [judge(value) for value in values] == [peer.is_valid(value) for value in values]


@pytest.mark.parametrize(
    "schema",
    [{"contains": {}}, {"properties": {"x": {"multipleOf": 2}}}, {"$ref": "other.json"}, {"$ref": "#/$defs/x"}],
)
def test_a_keyword_that_is_not_known_is_not_passed_over(schema):
    with pytest.raises(sound.Unknown):
        sound.predicate(schema)


def test_what_is_not_sound_is_told_by_jsonschema():
    document = strictyaml.read(b"x: 1\n", "file", strictyaml.Schema({"properties": {"x": {"type": "string"}}}))
    assert [str(problem) for problem in document.problems] == ["file:1 x: expected a text, found 1"]
