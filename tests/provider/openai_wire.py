"""OpenAI's protocol: what `chat/completions` answers, whole and streamed."""

from __future__ import annotations

from typing import Any

from tests.provider.behaviour import Behaviour

_ENVELOPE = {"id": "chatcmpl-simulated", "created": 1_700_000_000}


def whole(behaviour: Behaviour, model: str) -> dict[str, Any]:
    """The body of an answer."""
    choices = [{"index": 0, "message": _said(behaviour), "finish_reason": _finish(behaviour)}]
    if behaviour.fault == "no_candidates":
        choices = []
    kind = {"object": "chat.completion", "model": model}
    return {**_ENVELOPE, **kind, "choices": choices, "usage": _usage(behaviour)}


def pieces(behaviour: Behaviour, model: str) -> list[dict[str, Any]]:
    """The events of a stream, without the closing `[DONE]`."""
    deltas: list[tuple[dict[str, Any], str | None]]
    if behaviour.tool_calls:
        deltas = [*_streamed_calls(behaviour), ({}, "tool_calls")]
    elif behaviour.fault in {"safety", "blocked_prompt"}:
        deltas = [({}, "content_filter")]
    elif behaviour.fault == "no_candidates":
        deltas = []
    else:
        deltas = [({"role": "assistant"}, None), *(({"content": text}, None) for text in behaviour.cut_in_pieces())]
        deltas += [] if behaviour.fault == "unended" else [({}, "stop")]
    events = [_event(model, [{"index": 0, "delta": delta, "finish_reason": why}], None) for delta, why in deltas]
    return events if behaviour.fault == "unended" else [*events, _event(model, [], _usage(behaviour))]


def error(behaviour: Behaviour) -> dict[str, Any]:
    """The body of a refusal."""
    return {"error": {"message": behaviour.message, "type": "simulated", "param": None, "code": None}}


def _said(behaviour: Behaviour) -> dict[str, Any]:
    if behaviour.tool_calls:
        calls = [_call(place, name, arguments) for place, (name, arguments) in enumerate(behaviour.tool_calls)]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    blocked = behaviour.fault in {"safety", "blocked_prompt"}
    return {"role": "assistant", "content": None if blocked else behaviour.text}


def _call(place: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _streamed_calls(behaviour: Behaviour) -> list[tuple[dict[str, Any], str | None]]:
    """Each call in two events: its name with half of the arguments, then the other half."""
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": None}, None)]
    for place, (name, arguments) in enumerate(behaviour.tool_calls):
        half = len(arguments) // 2
        deltas.append(({"tool_calls": [{"index": place, **_call(place, name, arguments[:half])}]}, None))
        deltas.append(({"tool_calls": [{"index": place, "function": {"arguments": arguments[half:]}}]}, None))
    return deltas


def _finish(behaviour: Behaviour) -> str:
    if behaviour.tool_calls:
        return "tool_calls"
    return "content_filter" if behaviour.fault in {"safety", "blocked_prompt"} else "stop"


def _event(model: str, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
    return {**_ENVELOPE, "object": "chat.completion.chunk", "model": model, "choices": choices, "usage": usage}


def _usage(behaviour: Behaviour) -> dict[str, Any]:
    output = behaviour.output_tokens + behaviour.thought_tokens
    return {
        "prompt_tokens": behaviour.input_tokens,
        "completion_tokens": output,
        "total_tokens": behaviour.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": behaviour.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": behaviour.thought_tokens},
    }
