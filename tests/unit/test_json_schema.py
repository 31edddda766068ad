"""Schemas of strangers: what is accepted, what is refused, and that checking is bounded."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_project.errors import InvalidData
from mlflow_project.rules.json_schema import MOST_BYTES, Schema

TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["name"],
}
PERSON = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": "https://example.com/person",
    "$defs": {"Tag": {"type": "string", "pattern": "^[a-z]{1,20}$"}},
    "type": "object",
    "properties": {"tags": {"type": "array", "items": {"$ref": "#/$defs/Tag"}}, "next": {"$ref": "#"}},
    "additionalProperties": False,
}


def doubled(levels: int, schema: dict[str, Any]) -> dict[str, Any]:
    """Subschemas that each refer twice to the next: 2^levels evaluations of the last one."""
    names = {f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": {**names, f"a{levels}": schema}}


def branching_recursion(branches: int) -> dict[str, Any]:
    return {"properties": {"c": {"allOf": [{"$ref": "#"} for _ in range(branches)]}}}


@pytest.mark.parametrize(("schema", "repeats"), [(TREE, 2), (PERSON, 2), ({}, 1), ({"anyOf": [{}, {}, {}]}, 4)])
def test_an_ordinary_schema_is_accepted_and_its_work_counted(schema: dict[str, Any], repeats: int) -> None:
    assert Schema(schema).repeats == repeats


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "http://127.0.0.1:9/x"}, "leads outside"),
        ({"$ref": "file:///etc/passwd"}, "leads outside"),
        ({"$ref": "//host/x"}, "leads outside"),
        ({"$ref": "#anchor"}, "leads outside"),
        ({"$ref": 7}, "leads outside"),
        ({"$ref": "#/$defs/missing"}, "leads to no schema"),
        ({"$ref": "#"}, "back to itself"),
        ({"allOf": [{"$ref": "#"}]}, "back to itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "back to itself"),
        ({"$dynamicRef": "#meta"}, "dynamicRef"),
        ({"properties": {"a": {"$id": "http://127.0.0.1:9/", "$ref": "#/x"}}}, "`\\$id`"),
        ({"type": "banana"}, "no JSON schema"),
        ({"properties": 5}, "no JSON schema"),
        ({"pattern": "(?=.*a)b"}, "no JSON schema"),
        ({"pattern": "(a{1000}){1000}"}, "no JSON schema"),
        ({"patternProperties": {"(": {}}}, "no JSON schema"),
        ({"description": "x" * MOST_BYTES}, "bytes"),
        ({"properties": {f"p{number}": {} for number in range(1_100)}}, "subschemas"),
        ({"properties": {f"p{number}": {"pattern": "a"} for number in range(110)}}, "patterns"),
        (doubled(14, {"type": "string"}), "checks of one value"),
        (branching_recursion(2), "checks of one value"),
        ({"enum": [[number] for number in range(2_000)]}, "checks of one value"),
        ({"dependentRequired": {f"r{number}": ["x"] for number in range(2_000)}}, "checks of one value"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_in_words(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidData, match=why):
        Schema(schema)


def test_a_schema_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(2_000):
        schema = {"items": schema}
    with pytest.raises(InvalidData):
        Schema(schema)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ('{"name": "a", "children": [{"name": "b"}]}', []),
        ('{"children": []}', ['$ breaks required: ["name"]']),
        ('{"name": "a", "children": [{"name": 5}]}', ['$.children[0].name breaks type: "string"']),
        ("[1", ["it is no JSON"]),
        ("NaN", ["it is no JSON"]),
        ('{"name": "\\ud800"}', ["it is no JSON"]),
        ("[" * 5_000, ["it is no JSON"]),
        ("[" + "1," * 400_000 + "1]", ["it is too large to be checked against this schema"]),
    ],
)
def test_what_is_wrong_with_an_answer_is_told_by_place_and_rule(text: str, mistakes: list[str]) -> None:
    assert Schema(TREE).read(text)[1] == mistakes


def test_a_rule_behind_a_reference_is_found() -> None:
    assert Schema(PERSON).read('{"tags": ["A"]}')[1] == ['$.tags[0] breaks pattern: "^[a-z]{1,20}$"']


def test_patterns_run_in_linear_time_and_on_bounded_texts() -> None:
    schema = Schema({"items": {"pattern": "^(a+)+$"}})
    began = time.monotonic()
    assert schema.read('["' + "a" * 25_000 + 'b"]')[1] == ['$[0] breaks pattern: "^(a+)+$"']
    assert schema.read('["' + "a" * 50_000 + '"]')[1] == ["it is too large to be checked against this schema"]
    assert time.monotonic() - began < 1


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=20,
)
_REFERENCES = st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "http://127.0.0.1:9/", "#/nope"])


def _keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some, named = st.lists(inner, min_size=1, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), some),
            **dict.fromkeys(("properties", "patternProperties", "dependentSchemas", "$defs"), named),
            **dict.fromkeys(("not", "if", "then", "items", "contains", "propertyNames"), inner),
            **dict.fromkeys(("additionalProperties", "unevaluatedProperties", "unevaluatedItems"), inner),
            "$ref": _REFERENCES,
            "type": st.sampled_from(["object", "array", "string", "banana", ["string", "null"]]),
            "enum": st.lists(_VALUES, max_size=3),
            "pattern": st.sampled_from(["a", "(a+)+$", "(", "(?=a)"]),
            "uniqueItems": st.booleans(),
            "minimum": st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        },
    )


@given(schema=st.recursive(st.booleans() | st.just({}), _keywords, max_leaves=12), value=_VALUES)
def test_any_schema_is_refused_in_words_or_checks_any_value_quickly(schema: Any, value: Any) -> None:
    began = time.monotonic()
    with contextlib.suppress(InvalidData):
        Schema(schema if isinstance(schema, dict) else {"not": schema}).mistakes(value)
    assert time.monotonic() - began < 2
