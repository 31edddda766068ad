"""Checks an answer against the release's response schema. A release with `repair` gets one more try at the answer."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from mlflow_project.adapters.providers.protocol import ProviderRequest
from mlflow_project.answering.warm import WarmRelease
from mlflow_project.domain.answer import Completion, Usage
from mlflow_project.domain.release import Message
from mlflow_project.errors import InvalidAnswer


async def validated(warm: WarmRelease, request: ProviderRequest, completion: Completion) -> tuple[Completion, Any]:
    """Returns the completion and the JSON value in it; None as the value if there is no schema or no answer.

    Raises:
        InvalidAnswer: the answer breaks the schema, after the repair too.
    """
    if warm.schema is None or completion.text is None:
        return completion, None
    value, mistakes = warm.schema.read(_without_fence(completion.text))
    if mistakes and warm.release.manifest.repair:
        completion = await _repaired(warm, request, completion, mistakes)
        value, mistakes = warm.schema.read(_without_fence(completion.text or ""))
    if mistakes:
        raise InvalidAnswer(f"The answer breaks the response schema of {warm.release.label}: {'; '.join(mistakes)}.")
    return completion, value


def _without_fence(text: str) -> str:
    """Removes a Markdown fence around the whole text: models often wrap their JSON in one."""
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
