"""Reads YAML that people write by hand: template files, policies, endpoints.

Bounded: aliases are refused, because a few lines of them describe gigabytes; so are deep nesting and large files.
"""

from __future__ import annotations

from typing import Any

import yaml

MOST_CHARS = 1_000_000
MOST_LEVELS = 50


class EachKeyOnce(yaml.SafeLoader):
    """Refuses a key that appears twice. YAML's own loader keeps the last one, so a rule would be lost unnoticed."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := sorted({str(key) for key in keys if keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> tuple[yaml.Node | None, Any]:
    """The nodes of a document, which know their lines, and its data.

    Raises:
        yaml.YAMLError: it is no YAML, or uses what is refused here.
    """
    if len(text) > MOST_CHARS:
        raise yaml.YAMLError(f"it has {len(text):,} characters, and at most {MOST_CHARS:,} are read")
    levels = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        levels += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise _refused(event, f"*{event.anchor} is an alias, and aliases are not supported: write the value out")
        if levels > MOST_LEVELS:
            raise _refused(event, f"more than {MOST_LEVELS} levels")
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader), yaml.load(text, loader)
    except (ValueError, OverflowError) as error:  # a date such as 2026-99-99, a number of five thousand digits
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error


def _refused(event: yaml.Event, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]
