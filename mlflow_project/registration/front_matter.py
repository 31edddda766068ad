"""Reads the YAML at the head of a template file into the parts of a manifest.

Input: YAML text and the number of its first line. Output: a `FrontMatter`. Every mistake goes to `Mistakes` with its
line; the field with the mistake is None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from mlflow_project.domain.release import CallerOptions, Prices, ProviderChoice, Retrieval
from mlflow_project.errors import InvalidData
from mlflow_project.registration.mistakes import Mistakes
from mlflow_project.rules.json_schema import Schema
from mlflow_project.rules.plain_yaml import read_yaml

FIELDS = (
    "provider",
    "with_key",
    "fallbacks",
    "retrieval",
    "knowledge_base",
    "response_schema",
    "repair",
    "system_allowed",
    "tools",
    "callers",
    "prices",
)


@dataclass(frozen=True)
class FrontMatter:
    """The fields of a template file's head, as in `Manifest`. `table` is the URI of the knowledge base's table.

    `with_key` replaces `provider` where a key for the outside LLM is set; `prices_with_key` are its prices.
    `wants_vectors`: the file itself gives vectors a weight in the retrieval.
    """

    provider: ProviderChoice | None = None
    with_key: ProviderChoice | None = None
    prices_with_key: Prices | None = None
    retrieval: Retrieval | None = None
    table: str | None = None
    response_schema: Mapping[str, Any] | None = None
    prices: Prices | None = None
    fallbacks: tuple[ProviderChoice, ...] | None = None
    repair: bool | None = None
    system_allowed: bool | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    callers: CallerOptions | None = None
    wants_vectors: bool = False


def read_front_matter(text: str, first_line: int, mistakes: Mistakes) -> FrontMatter:
    """Read the front matter. Mistakes are added to `mistakes`."""
    try:
        root, data = read_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        mistakes.add(first_line + (mark.line if mark else 0), f"the front matter is not YAML: {problem}")
        return FrontMatter()
    if not isinstance(data, dict) or root is None:
        mistakes.add(first_line, f"the front matter must be a mapping with {', '.join(FIELDS)}")
        return FrontMatter()
    return _Reader(data, _lines(root, first_line), mistakes).read()


class _Reader:
    def __init__(self, data: Mapping[Any, Any], lines: Mapping[str, int], mistakes: Mistakes) -> None:
        self._data = data
        self._lines = lines
        self._mistakes = mistakes

    def read(self) -> FrontMatter:
        for key in self._data:
            if key not in FIELDS:
                self._wrong(str(key), f"unknown field {key!r}; known are {', '.join(FIELDS)}")
        table = self._table()
        retrieval = self._retrieval(table)
        return FrontMatter(
            provider=self._provider(),
            with_key=self._named("with_key", self._section("with_key", _WITH_KEY, _choice)),
            prices_with_key=self._section("with_key.prices", _PRICES, Prices),
            retrieval=retrieval,
            wants_vectors=retrieval is not None
            and "vectors_weight" in (self._data.get("retrieval") or {})
            and retrieval.vectors_weight > 0,
            table=table,
            response_schema=self._schema(),
            prices=self._section("prices", _PRICES, Prices),
            fallbacks=self._fallbacks(),
            repair=self._flag("repair"),
            system_allowed=self._flag("system_allowed"),
            tools=self._tools(),
            callers=self._section("callers", _CALLERS, lambda **given: CallerOptions.from_dict(given)),
        )

    def _provider(self) -> ProviderChoice | None:
        if "provider" not in self._data:
            self._mistakes.add(2, "provider is missing: write provider: {name: extractive, model: extractive-1}")
            return None
        return self._named("provider", self._section("provider", _PROVIDER, _choice))

    def _named(self, section: str, choice: ProviderChoice | None) -> ProviderChoice | None:
        """The choice, unless it names neither a provider nor an endpoint."""
        if choice is None or choice.name or choice.endpoint is not None:
            return choice
        self._wrong(section, f"{section}.name is missing: name a provider, or an endpoint of providers.yaml")
        return None

    def _fallbacks(self) -> tuple[ProviderChoice, ...] | None:
        value = self._data.get("fallbacks")
        if value is None:
            return None
        if not isinstance(value, list) or not value:
            self._wrong("fallbacks", "fallbacks must be a list of providers, each with name or endpoint, and model")
            return None
        read = [self._named("fallbacks", self._checked("fallbacks", each, _PROVIDER, _choice)) for each in value]
        return tuple(choice for choice in read if choice is not None)

    def _tools(self) -> tuple[Mapping[str, Any], ...] | None:
        value = self._data.get("tools")
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(is_tool(tool) for tool in value):
            self._wrong("tools", "tools must be a list, each {type: function, function: {name: ..., parameters: ...}}")
            return None
        return tuple(value)

    def _flag(self, name: str) -> bool | None:
        value = self._data.get(name)
        if value is None or isinstance(value, bool):
            return value
        self._wrong(name, f"{name} is {value!r}, and must be true or false")
        return None

    def _retrieval(self, table: str | None) -> Retrieval | None:
        if "retrieval" in self._data and "knowledge_base" not in self._data:
            self._wrong("retrieval", "retrieval needs a knowledge_base: the URI of the chunk table to retrieve from")
        if "retrieval" not in self._data:
            return Retrieval(fusion="scores") if table else None
        retrieval: Retrieval | None = self._section("retrieval", _RETRIEVAL, partial(Retrieval, fusion="scores"))
        return retrieval

    def _table(self) -> str | None:
        value = self._data.get("knowledge_base")
        if value is None:
            return None
        if not isinstance(value, str) or "://" not in value:
            self._wrong("knowledge_base", f"{value!r} is no table URI, such as s3a://curated-data-bucket/docs")
            return None
        return value.rstrip("/")

    def _schema(self) -> Mapping[str, Any] | None:
        value = self._data.get("response_schema")
        if isinstance(value, str):
            value = self._schema_file(self._mistakes.path.with_name(value))
        if value is None:
            return None
        if not isinstance(value, dict):
            self._wrong("response_schema", "the response schema must be a JSON object, or the name of a file with one")
            return None
        try:
            Schema(value)
        except InvalidData as error:
            self._wrong("response_schema", f"the response schema cannot be used: {error}")
            return None
        return value

    def _schema_file(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            self._wrong("response_schema", f"the schema file {path} cannot be read: {error}")
            return None

    def _section(self, name: str, rules: Mapping[str, _Rule], build: Callable[..., Any]) -> Any:
        value: Any = self._data
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return None if value is None else self._checked(name, value, rules, build)

    def _checked(self, name: str, value: Any, rules: Mapping[str, _Rule], build: Callable[..., Any]) -> Any:
        if not isinstance(value, dict):
            self._wrong(name, f"{name} must be a mapping with {', '.join(rules)}")
            return None
        before = len(self._mistakes.found)
        for key in value:
            if key not in rules:
                self._wrong(f"{name}.{key}", f"unknown field {name}.{key}; known are {', '.join(rules)}")
        for key, rule in rules.items():
            if key not in value and rule.required:
                self._wrong(name, f"{name}.{key} is missing: {rule.wanted}")
            elif key in value and not rule.holds(value[key]):
                self._wrong(f"{name}.{key}", f"{name}.{key} is {value[key]!r}, and must be {rule.wanted}")
        return build(**value) if len(self._mistakes.found) == before else None

    def _wrong(self, path: str, what: str) -> None:
        self._mistakes.add(self._lines.get(path, self._lines.get(path.split(".")[0], 1)), what)


@dataclass(frozen=True)
class _Rule:
    wanted: str
    holds: Callable[[Any], bool]
    required: bool = False


def _choice(
    model: str,
    name: str = "",
    parameters: Mapping[str, Any] | None = None,
    endpoint: str | None = None,
    prices: object = None,
) -> ProviderChoice:
    """Build a provider's choice from its section; the section's prices are read separately.

    Without a name the choice has an empty one: registration takes the endpoint's protocol for it.
    """
    return ProviderChoice(name, model, parameters or {}, endpoint)


def is_tool(value: Any) -> bool:
    """Whether a value has the form of OpenAI's function tool."""
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    return isinstance(function, dict) and _is_text(function.get("name"))


def _are_bounds(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


_TEXT = "a text that is not empty"
_WEIGHT = _Rule("a number, 0 or more", lambda value: _is_number(value) and value >= 0)
_PRICE = _Rule("USD per million tokens, 0 or more", lambda value: _is_number(value) and value >= 0, required=True)
_NAMED = _Rule(_TEXT, _is_text, required=True)
_PROVIDER = {
    "name": _Rule(_TEXT, _is_text),
    "endpoint": _Rule("the name of an endpoint in providers.yaml", _is_text),
    "model": _NAMED,
    "parameters": _Rule("a mapping", lambda value: value is None or isinstance(value, dict)),
}
_WITH_KEY = _PROVIDER | {"prices": _Rule("prices as in the section of that name", lambda value: value is not None)}
_RETRIEVAL = {
    "chunks": _Rule(
        "a whole number from 1 to 100",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100,
    ),
    "words_weight": _WEIGHT,
    "vectors_weight": _WEIGHT,
    "rerank": _Rule(
        "a whole number from 1 to 100",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100,
    ),
    "fusion": _Rule("scores or ranks", lambda value: value in ("scores", "ranks")),
    "where": _Rule(
        "a mapping of metadata fields to texts, such as {language: en}",
        lambda value: (
            isinstance(value, dict) and bool(value) and all(_is_text(part) for pair in value.items() for part in pair)
        ),
    ),
}
_CALLERS = {
    "overrides": _Rule(
        "a mapping of provider parameters to their lowest and highest value, such as {temperature: [0, 1]}",
        lambda value: isinstance(value, dict) and all(map(_is_text, value)) and all(map(_are_bounds, value.values())),
    ),
    "others": _Rule("ignore or refuse", lambda value: value in ("ignore", "refuse")),
    "tools": _Rule("true or false", lambda value: isinstance(value, bool)),
}
_PRICES = {"version": _NAMED, "input_per_million": _PRICE, "output_per_million": _PRICE}


def _lines(root: yaml.Node, first_line: int, path: str = "") -> dict[str, int]:
    """The line of each key, by dotted path."""
    found: dict[str, int] = {}
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            dotted = f"{path}.{key.value}" if path else str(key.value)
            found[dotted] = first_line + key.start_mark.line
            found |= _lines(value, first_line, dotted)
    return found
