"""Reading what a release pins as parameters of its provider: a number in its range, and nothing unknown."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from mlflow_project.errors import InvalidData


def number(parameters: Mapping[str, Any], name: str, default: float, least: float, most: float) -> float:
    """A number between `least` and `most`.

    Raises:
        InvalidData: it is something else.
    """
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidData(f"The provider's parameter {name!r} is {value!r}; it must be a number {least:g} to {most:g}.")
    return float(value)


def refuse_unknown(provider: str, parameters: Mapping[str, Any], known: Set[str]) -> None:
    """A misspelt parameter would be one that silently does nothing.

    Raises:
        InvalidData: there are unknown ones.
    """
    if unknown := sorted(parameters.keys() - known):
        raise InvalidData(
            f"The provider {provider!r} has no parameter {', '.join(unknown)}. It takes: {', '.join(sorted(known))}."
        )
