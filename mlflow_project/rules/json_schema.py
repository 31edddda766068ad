"""JSON schemas that a caller or a prompt's author wrote: checked when they arrive, and bounded when they are used.

In: a schema (draft 2020-12) and JSON text. Out: the parsed value and what is wrong with it. Nothing is ever fetched: a
reference leads to another place of the same schema, or the schema is refused. Patterns run on an engine whose time
grows linearly with the text, so look-around and back-references are refused. Before a value is checked, its size times
the schema's `repeats` is compared with a budget; what is left takes some tens of milliseconds at the most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import Any

import jsonschema_rs
import orjson

from mlflow_project.errors import InvalidData

MOST_BYTES = 65_536
MOST_SUBSCHEMAS = 1_000
MOST_PATTERNS = 100
MOST_PATTERN_BYTES = 50_000
"""The size of one compiled pattern. `[a-z]{1,200}` fits; for the length of a text there is `maxLength`."""
MOST_LEVELS = 32
MOST_REPEATS = 1_000
"""How many checks a schema may ask for of one and the same value."""
MOST_CHECKS = 200_000
"""Values of an answer times `repeats`. Measured: 4 ms for plain rules, 50 ms for the slowest."""
MOST_PATTERN_CHARS = 30_000
"""Characters of an answer times `repeats`, where the schema has patterns."""
MOST_DEPTH = 200
"""Levels of an answer: orjson, pydantic and the engine each stop at 254, and an answer is wrapped before it is sent."""
_EVERY_MISTAKE_BELOW = 1_000
"""Checks up to which all mistakes are collected; of larger values only the first one is reported."""
MOST_MISTAKES = 5

_ENGINE = jsonschema_rs.RegexOptions(size_limit=MOST_PATTERN_BYTES, dfa_size_limit=1_000_000)
_UNIQUE_CHECKS = 5
"""What `uniqueItems` costs for each item, in other checks."""
_REFUSED_KEYWORDS = ("$dynamicRef", "$recursiveRef")
_SAME_VALUE = ("not", "if", "then", "else")
_SAME_VALUE_LISTS = ("allOf", "anyOf", "oneOf")
_SAME_VALUE_MAPS = ("dependentSchemas",)
_EVERY_MEMBER = ("additionalProperties", "unevaluatedProperties", "propertyNames")
_EVERY_ITEM = ("items", "contains", "unevaluatedItems")

_ORJSON_DEPTH = 254
_TOO_LARGE = "it is too large to be checked against this schema"
_TOO_DEEP = f"it is nested more than {MOST_DEPTH} levels deep"

Node = Mapping[str, Any]


@dataclass(frozen=True)
class Mistake:
    """`path` is the place in the value (`$.a[0]`), `keyword` the rule of the schema that it breaks."""

    path: str
    keyword: str
    wanted: Any

    def __str__(self) -> str:
        return f"{self.path} breaks {self.keyword}: {_short(self.wanted)}"


class Schema:
    """A schema that is safe to use on anybody's text. `repeats`: how often one value is checked at most."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Check and compile a schema.

        Raises:
            InvalidData: it is no JSON schema, leads outside itself, or is too large to be checked in bounded time.
        """
        self._schema = dict(schema)
        _check_size(self._schema)
        nodes = _Nodes(self._schema)
        self.repeats = nodes.repeats()
        self._has_patterns = nodes.patterns > 0
        try:
            self._compiled = jsonschema_rs.Draft202012Validator(
                self._schema, offline=True, pattern_options=_ENGINE, validate_formats=False
            )
        except ValueError as error:
            raise InvalidData(f"it is no JSON schema: {_first_line(error)}") from error

    def read(self, text: str) -> tuple[Any, list[str]]:
        """Parse a JSON text. Returns its value (None if it cannot be parsed) and what is wrong with it: the places and
        the rules, never the text's own words."""
        if self._is_too_large(text):
            return None, [_TOO_LARGE]
        try:
            value = orjson.loads(text)
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            return None, ["it is no JSON"]
        return (None, [_TOO_DEEP]) if _is_too_deep(value) else (value, self._found(value, text))

    def mistakes(self, value: Any) -> list[str]:
        """What is wrong with a value that was parsed already."""
        if _is_too_deep(value):
            return [_TOO_DEEP]
        text = orjson.dumps(value).decode()
        return [_TOO_LARGE] if self._is_too_large(text) else self._found(value, text)

    def _is_too_large(self, text: str) -> bool:
        checked_by_patterns = len(text) * self.repeats if self._has_patterns else 0
        return checked_by_patterns > MOST_PATTERN_CHARS or self._checks(text) > MOST_CHECKS

    def _checks(self, text: str) -> int:
        """At most so many checks: every value but the first follows a comma or a bracket."""
        return self.repeats * (1 + text.count(",") + text.count("[") + text.count("{"))

    def _found(self, value: Any, text: str) -> list[str]:
        if self._compiled.is_valid(value):
            return []
        if self._checks(text) <= _EVERY_MISTAKE_BELOW:
            mistakes = [self._mistake(error) for error in self._compiled.iter_errors(value)]
            return [str(mistake) for mistake in sorted(mistakes, key=lambda each: each.path)[:MOST_MISTAKES]]
        try:
            self._compiled.validate(value)
        except jsonschema_rs.ValidationError as first:
            return [str(self._mistake(first))]
        return []

    def _mistake(self, error: jsonschema_rs.ValidationError) -> Mistake:
        path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        wanted: Any = self._schema
        for part in error.schema_path:
            wanted = wanted[int(part)] if isinstance(wanted, list) else wanted[str(part)]
        return Mistake(path, error.kind.name, wanted)


class _Nodes:
    """The subschemas of a schema, each once however many references lead to it."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self.patterns = 0
        self._nodes: dict[int, Node] = {}
        self._here: dict[int, list[int]] = {}
        """For each subschema those that apply to the same value; more than once where the value is looked at again."""
        self._below: dict[int, tuple[list[int], list[int], list[int], list[int]]] = {}
        """Those that apply to one member each, to every member, to one item each, to every item."""
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if id(node) not in self._nodes:
                self._nodes[id(node)] = node
                waiting += self._visit(node)
            if len(self._nodes) > MOST_SUBSCHEMAS:
                raise InvalidData(f"it has more than {MOST_SUBSCHEMAS:,} subschemas")
        if self.patterns > MOST_PATTERNS:
            raise InvalidData(f"it has more than {MOST_PATTERNS} patterns")

    def repeats(self) -> int:
        """The largest number of checks that one value can need, at whatever depth it lies.

        Raises:
            InvalidData: more than `MOST_REPEATS`, or a number that grows with the depth of the value.
        """
        try:
            order = list(TopologicalSorter(self._here).static_order())
        except CycleError as error:
            raise InvalidData("a `$ref` leads back to itself without going a level down") from error
        counts = self._sums(order, {key: _checks_of(node) for key, node in self._nodes.items()})
        seen, most = [counts], 0
        for _ in range(MOST_LEVELS):
            most = max(most, counts[id(self._root)])
            counts = self._sums(order, {node: self._under(node, counts) for node in self._nodes})
            if most > MOST_REPEATS:
                raise InvalidData(f"it asks for more than {MOST_REPEATS:,} checks of one value")
            if counts in seen:
                return most
            seen.append(counts)
        raise InvalidData(f"it describes more than {MOST_LEVELS} levels, each with more subschemas than the one above")

    def _sums(self, order: list[int], own: dict[int, int]) -> dict[int, int]:
        """Each subschema's own count and those of the ones that apply to the same value."""
        sums: dict[int, int] = {}
        for node in order:
            sums[node] = own[node] + sum([sums[other] for other in self._here[node]])
        return sums

    def _under(self, node: int, counts: dict[int, int]) -> int:
        one_member, every_member, one_item, every_item = self._below[node]
        members = max([counts[each] for each in one_member], default=0) + sum([counts[each] for each in every_member])
        items = max([counts[each] for each in one_item], default=0) + sum([counts[each] for each in every_item])
        return max(members, items)

    def _visit(self, node: Node) -> Iterator[Node]:
        """Note what applies below and beside a subschema; gives the subschemas that it leads to."""
        for keyword in _REFUSED_KEYWORDS:
            if keyword in node:
                raise InvalidData(f"it uses `{keyword}`, which is not supported: use `$ref`")
        if node is not self._root and "$id" in node:
            raise InvalidData("a subschema has an `$id`, which is not supported: use `$defs` and `$ref`")
        here = [*_each(node, _SAME_VALUE), *_in_lists(node, _SAME_VALUE_LISTS), *_in_maps(node, _SAME_VALUE_MAPS)]
        if "$ref" in node:
            here.append(self._target(node["$ref"]))
        twice = "unevaluatedProperties" in node or "unevaluatedItems" in node
        by_pattern = list(_in_maps(node, ("patternProperties",)))
        self.patterns += len(by_pattern) + ("pattern" in node)
        below = (
            list(_in_maps(node, ("properties",))),
            [*by_pattern, *_each(node, _EVERY_MEMBER)],
            list(_in_lists(node, ("prefixItems",))),
            list(_each(node, _EVERY_ITEM)),
        )
        self._here[id(node)] = [id(each) for each in here] * (2 if twice else 1)
        self._below[id(node)] = tuple([id(each) for each in part] for part in below)  # type: ignore[assignment]
        return chain(here, *below)

    def _target(self, reference: Any) -> Node:
        """The subschema that a `$ref` leads to, inside this schema."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise InvalidData(
                f"its `$ref` {_short(reference)} leads outside the schema: only references such as `#/$defs/name` are "
                "followed, and nothing is fetched"
            )
        found: Any = self._root
        for part in reference.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and len(name) < 6 and int(name) < len(found):
                found = found[int(name)]
            else:
                found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, bool):
            return {}
        if not isinstance(found, dict):
            raise InvalidData(f"its `$ref` {_short(reference)} leads to no schema")
        return found


def _checks_of(node: Node) -> int:
    """The checks that a subschema itself asks for. A list or an object is compared with each value of an `enum`."""
    allowed = node.get("enum")
    compared = sum([isinstance(each, list | dict) for each in allowed]) if isinstance(allowed, list) else 0
    dependent = [node.get(keyword) for keyword in ("dependentRequired", "dependentSchemas")]
    unique = _UNIQUE_CHECKS if node.get("uniqueItems") else 0
    return 1 + compared + unique + sum([len(each) for each in dependent if isinstance(each, dict)])


def _is_too_deep(value: Any) -> bool:
    """Whether a value has more than `MOST_DEPTH` levels: wrapped in the rest of them it passes orjson's limit."""
    for _ in range(_ORJSON_DEPTH - MOST_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False


def _each(node: Node, keywords: tuple[str, ...]) -> Iterator[Node]:
    return (node[keyword] for keyword in keywords if isinstance(node.get(keyword), dict))


def _in_lists(node: Node, keywords: tuple[str, ...]) -> Iterator[Node]:
    for keyword in keywords:
        values = node.get(keyword)
        yield from (each for each in values if isinstance(each, dict)) if isinstance(values, list) else ()


def _in_maps(node: Node, keywords: tuple[str, ...]) -> Iterator[Node]:
    for keyword in keywords:
        values = node.get(keyword)
        yield from (each for each in values.values() if isinstance(each, dict)) if isinstance(values, dict) else ()


def _check_size(schema: Mapping[str, Any]) -> None:
    try:
        size = len(orjson.dumps(schema))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidData(
            "it cannot be written as JSON: it is nested too deeply, or holds what JSON has not"
        ) from error
    if size > MOST_BYTES:
        raise InvalidData(f"it has {size:,} bytes, and at most {MOST_BYTES:,} are read")


def _first_line(error: ValueError) -> str:
    message = getattr(error, "message", None) or str(error)
    return " ".join(str(message).split())[:200]


def _short(value: Any) -> str:
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= 120 else text[:117] + "..."
