"""Decides which generation parameters of a request take effect: those that the release lets callers override.

Pure. Parameters have OpenAI's names: `temperature`, `top_p`, `max_tokens`, `seed`, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_project.domain.release import CallerOptions
from mlflow_project.errors import InvalidData


def overrides_and_ignored(
    options: CallerOptions | None, asked: Mapping[str, Any]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the overrides to send to the provider, and the names of the parameters that have no effect.

    Args:
        options: what the release lets callers decide; None lets them decide nothing, and ignores what they ask.
        asked: the parameters of the request. A value of None counts as not asked.

    Raises:
        InvalidData: a value lies outside the release's bounds, or the release refuses other parameters.
    """
    allowed = options.overrides if options is not None else {}
    given = {name: value for name, value in asked.items() if value is not None}
    overrides = {name: _within(name, value, *allowed[name]) for name, value in given.items() if name in allowed}
    ignored = tuple(name for name in given if name not in allowed)
    if ignored and options is not None and options.others == "refuse":
        takes = ", ".join(sorted(allowed)) or "no parameter"
        raise InvalidData(f"This release does not let a caller set {', '.join(ignored)}. It takes {takes}.")
    return overrides, ignored


def _within(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidData(f"`{name}` must be a number from {least:g} to {most:g} for this release.")
    return value
