"""Checks an event against OpenLineage's classes, which openlineage-python generates from its specification, and against
our own JSON Schemas.

In: an event as a catalogue received it. Out: nothing, or a list of what is wrong, each with its place in the event.
"""

import importlib
import json
import pkgutil
import types
from collections.abc import Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import attr
import jsonschema_rs
from openlineage.client import event_v2, generated
from openlineage.client.generated.base import BaseFacet

from mlflow_project.catalog import facets as our_facets

OUR_SCHEMAS = Path(__file__).parents[2] / "observability" / "lineage"
_OPENLINEAGE = "https://openlineage.io/spec/2-0-2/OpenLineage.json"


def mistakes(event: Any) -> list[str]:
    """What is wrong with a run event; empty if nothing is."""
    return list(_in_object(event, event_v2.RunEvent, "event"))


def our_schema(name: str) -> dict[str, Any]:
    """One of our schemas, as it is published. What it takes from OpenLineage is checked against the classes instead."""
    data: dict[str, Any] = json.loads((OUR_SCHEMAS / f"{name}.json").read_text())
    bases = [each["$ref"] for each in data.pop("allOf")]
    assert all(each.startswith(f"{_OPENLINEAGE}#/$defs/") for each in bases), bases
    return data


@cache
def _facet_classes() -> dict[str, type]:
    """Every facet class, by the address of its schema."""
    modules = [
        importlib.import_module(f"{generated.__name__}.{each.name}")
        for each in pkgutil.iter_modules(generated.__path__)
    ]
    classes = [kind for module in [*modules, our_facets] for kind in vars(module).values() if isinstance(kind, type)]
    return {kind._get_schema(): kind for kind in classes if issubclass(kind, BaseFacet)}


def _in_object(value: Any, kind: type, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at} is no object"
        return
    if issubclass(kind, BaseFacet):
        known = _facet_classes().get(value.get("_schemaURL", ""))
        if known is None:
            yield f"{at} has the unknown schema {value.get('_schemaURL')!r}"
            return
        if not issubclass(known, kind):
            yield f"{at} is a {known.__name__}, which is no {kind.__name__}"
        kind = known
        if known.__module__ == our_facets.__name__:
            yield from (f"{at}: {error.message}" for error in _validator(known.__name__).iter_errors(value))
    fields, hints = {each.name: each for each in attr.fields(kind)}, get_type_hints(kind)
    yield from (f"{at} has the unknown field {name}" for name in value.keys() - fields.keys())
    for name, field in fields.items():
        if name in value:
            yield from _in_value(value[name], hints[name], f"{at}.{name}")
        elif field.default is attr.NOTHING:
            yield f"{at} lacks {name}"


def _in_value(value: Any, hint: Any, at: str) -> Iterator[str]:
    if hint is Any:
        return
    if get_origin(hint) in (Union, types.UnionType):
        found = [list(_in_value(value, each, at)) for each in get_args(hint)]
        yield from () if any(not each for each in found) else found[0]
    elif get_origin(hint) is list:
        if not isinstance(value, list):
            yield f"{at} is no list"
            return
        for number, each in enumerate(value):
            yield from _in_value(each, get_args(hint)[0], f"{at}[{number}]")
    elif get_origin(hint) is dict:
        if not isinstance(value, dict):
            yield f"{at} is no object"
            return
        for name, each in value.items():
            yield from _in_value(each, get_args(hint)[1], f"{at}.{name}")
    elif attr.has(hint):
        yield from _in_object(value, hint, at)
    elif isinstance(hint, type) and issubclass(hint, Enum):
        yield from () if value in {each.value for each in hint} else [f"{at} is {value!r}"]
    elif isinstance(hint, type) and not isinstance(value, (int, float) if hint is float else hint):
        yield f"{at} is {value!r}, which is no {hint.__name__}"


@cache
def _validator(name: str) -> Any:
    return jsonschema_rs.validator_for(our_schema(name), validate_formats=True)
