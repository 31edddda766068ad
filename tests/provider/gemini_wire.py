"""Gemini's own protocol: what `generateContent` and `streamGenerateContent` answer."""

from __future__ import annotations

import json
from typing import Any

from tests.provider.behaviour import Behaviour


def whole(behaviour: Behaviour, model: str) -> dict[str, Any]:
    """The body of an answer."""
    if behaviour.fault == "blocked_prompt":
        return {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": _usage(behaviour), "modelVersion": model}
    if behaviour.fault == "no_candidates":
        return {"usageMetadata": _usage(behaviour), "modelVersion": model}
    if behaviour.fault == "safety":
        candidates = [{"finishReason": "SAFETY", "index": 0}]
    else:
        candidates = [_candidate(_parts(behaviour, behaviour.text), "STOP")]
    return {"candidates": candidates, "usageMetadata": _usage(behaviour), "modelVersion": model}


def pieces(behaviour: Behaviour, model: str) -> list[dict[str, Any]]:
    """The events of a stream; the last one says why it ended."""
    if behaviour.fault in {"blocked_prompt", "no_candidates", "safety"}:
        return [whole(behaviour, model)]
    if behaviour.tool_calls:
        return [whole(behaviour, model)]
    texts = behaviour.cut_in_pieces()
    events = [{"candidates": [_candidate([{"text": text}], None)], "modelVersion": model} for text in texts[:-1]]
    if behaviour.thought_tokens:
        thought = [{"text": "A thought that nobody should see.", "thought": True}]
        events.insert(0, {"candidates": [_candidate(thought, None)], "modelVersion": model})
    last = [] if behaviour.fault == "unended" else [whole(_with_text(behaviour, texts[-1]), model)]
    return events + last


def error(behaviour: Behaviour) -> dict[str, Any]:
    """The body of a refusal."""
    return {"error": {"code": behaviour.status, "message": behaviour.message, "status": "SIMULATED"}}


def _with_text(behaviour: Behaviour, text: str) -> Behaviour:
    return Behaviour(**{**vars(behaviour), "text": text})


def _candidate(parts: list[dict[str, Any]], finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    return candidate | {"finishReason": finish} if finish else candidate


def _parts(behaviour: Behaviour, text: str) -> list[dict[str, Any]]:
    thought = [{"text": "A thought that nobody should see.", "thought": True}] if behaviour.thought_tokens else []
    if behaviour.tool_calls:
        calls = [{"name": name, "args": json.loads(arguments)} for name, arguments in behaviour.tool_calls]
        return [*thought, *({"functionCall": call} for call in calls)]
    return [*thought, {"text": text}]


def _usage(behaviour: Behaviour) -> dict[str, int]:
    usage = {"promptTokenCount": behaviour.input_tokens, "candidatesTokenCount": behaviour.output_tokens}
    if behaviour.thought_tokens:
        usage["thoughtsTokenCount"] = behaviour.thought_tokens
    if behaviour.cached_tokens:
        usage["cachedContentTokenCount"] = behaviour.cached_tokens
    total = behaviour.input_tokens + behaviour.output_tokens + behaviour.thought_tokens
    return usage | {"totalTokenCount": total}
