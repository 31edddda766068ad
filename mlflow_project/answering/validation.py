"""An answer against the release's response schema, with one try to repair it where the release says so."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

from jsonschema import Draft202012Validator

from mlflow_project.adapters.providers.protocol import ProviderRequest
from mlflow_project.answering.warm import WarmRelease
from mlflow_project.domain.answer import Completion, Usage
from mlflow_project.domain.release import Message
from mlflow_project.errors import InvalidAnswer

_MOST_MISTAKES = 5


async def validated(warm: WarmRelease, request: ProviderRequest, completion: Completion) -> tuple[Completion, Any]:
    """The completion and its object; both as they are where there is no schema or no candidate.

    Raises:
        InvalidAnswer: the answer breaks the schema, after the repair too.
    """
    if warm.validator is None or completion.text is None:
        return completion, None
    value, mistakes = _parsed(warm.validator, completion.text)
    if mistakes and warm.release.manifest.repair:
        completion = await _repaired(warm, request, completion, mistakes)
        value, mistakes = _parsed(warm.validator, completion.text or "")
    if mistakes:
        raise InvalidAnswer(f"The answer breaks the response schema of {warm.release.label}: {'; '.join(mistakes)}.")
    return completion, value


def _parsed(validator: Draft202012Validator, text: str) -> tuple[Any, list[str]]:
    """The object and what is wrong with it: where and which rule, never the answer's own words."""
    try:
        value = json.loads(_without_fence(text), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None, ["it is no JSON"]
    errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    return value, [f"{e.json_path} breaks {e.validator}: {_short(e.validator_value)}" for e in errors[:_MOST_MISTAKES]]


def _without_fence(text: str) -> str:
    """What stands in a fence of Markdown, where that is all: models wrap their JSON so."""
    first, _, rest = text.strip().partition("\n")
    inside, line_break, last = rest.rpartition("\n")
    opened = first.startswith("```") and first[3:].strip().lower() in ("", "json")
    return inside if opened and line_break and last.strip() == "```" else text


async def _repaired(
    warm: WarmRelease, request: ProviderRequest, completion: Completion, mistakes: list[str]
) -> Completion:
    wrong = f"That answer is not valid: {'; '.join(mistakes)}. Answer again, with the corrected JSON and nothing else."
    messages = (*request.messages, Message("assistant", completion.text or ""), Message("user", wrong))
    second = await warm.provider.complete(replace(request, messages=messages))
    return replace(second, usage=_sum(completion.usage, second.usage))


def _sum(first: Usage, second: Usage) -> Usage:
    counts = {field.name: (getattr(first, field.name), getattr(second, field.name)) for field in fields(Usage)}
    return Usage(**{name: None if a is b is None else (a or 0) + (b or 0) for name, (a, b) in counts.items()})


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else text[:117] + "..."


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
