"""Anthropic's Messages protocol: what `/v1/messages` answers, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

from tests.provider.behaviour import Behaviour

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
_TYPES |= {429: "rate_limit_error", 500: "api_error", 503: "api_error", 529: "overloaded_error"}


def whole(behaviour: Behaviour, model: str) -> dict[str, Any]:
    """The body of an answer."""
    return _message(model, _content(behaviour), _reason(behaviour), _usage(behaviour))


def pieces(behaviour: Behaviour, model: str) -> list[dict[str, Any]]:
    """The events of a stream."""
    start = {"type": "message_start", "message": _message(model, [], None, _usage(behaviour, output=1))}
    events = [start, {"type": "ping"}]
    for index, block in enumerate(_content(behaviour)):
        deltas = _deltas(block, behaviour)
        events.append({"type": "content_block_start", "index": index, "content_block": _opened(block)})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    if behaviour.fault == "unended":
        return events
    ended = {"stop_reason": _reason(behaviour), "stop_sequence": None}
    return [*events, {"type": "message_delta", "delta": ended, "usage": _final(behaviour)}, {"type": "message_stop"}]


def error(behaviour: Behaviour) -> dict[str, Any]:
    """The body of a refusal, and the data of an error event."""
    kind = _TYPES.get(behaviour.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": behaviour.message}, "request_id": "req_simulated"}


def _message(model: str, content: list[Any], reason: str | None, usage: dict[str, Any]) -> dict[str, Any]:
    head = {"id": "msg_simulated", "type": "message", "role": "assistant", "model": model, "content": content}
    return {**head, "stop_reason": reason, "stop_sequence": None, "usage": usage}


def _content(behaviour: Behaviour) -> list[dict[str, Any]]:
    if behaviour.fault in {"safety", "blocked_prompt", "no_candidates"}:
        return []
    thought = {"type": "thinking", "thinking": "A thought that nobody should see.", "signature": "c2ln"}
    content: list[dict[str, Any]] = [thought] if behaviour.thought_tokens else []
    for place, (name, arguments) in enumerate(behaviour.tool_calls):
        content.append({"type": "tool_use", "id": f"toolu_{place}", "name": name, "input": json.loads(arguments)})
    return content if behaviour.tool_calls else [*content, {"type": "text", "text": behaviour.text}]


def _opened(block: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, Any] = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}
    return {**block, **empty.get(block["type"], {"input": {}})}


def _deltas(block: dict[str, Any], behaviour: Behaviour) -> list[dict[str, Any]]:
    if block["type"] == "text":
        return [{"type": "text_delta", "text": text} for text in behaviour.cut_in_pieces()]
    if block["type"] == "thinking":
        signature = {"type": "signature_delta", "signature": block["signature"]}
        return [{"type": "thinking_delta", "thinking": block["thinking"]}, signature]
    arguments = json.dumps(block["input"], separators=(",", ":"))
    cut = ["", arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]]
    return [{"type": "input_json_delta", "partial_json": text} for text in cut]


def _reason(behaviour: Behaviour) -> str:
    if behaviour.fault in {"safety", "blocked_prompt"}:
        return "refusal"
    return "tool_use" if behaviour.tool_calls else "end_turn"


def _usage(behaviour: Behaviour, output: int | None = None) -> dict[str, Any]:
    """The counts of a message. `input_tokens` leaves out what was read from the cache."""
    written = behaviour.output_tokens + behaviour.thought_tokens if output is None else output
    sent = behaviour.input_tokens - behaviour.cached_tokens
    cache = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": behaviour.cached_tokens}
    return {"input_tokens": sent, **cache, "output_tokens": written, **({} if output else _thoughts(behaviour))}


def _final(behaviour: Behaviour) -> dict[str, Any]:
    """The counts of a stream's end: those of the start, and the output in full."""
    return {"output_tokens": behaviour.output_tokens + behaviour.thought_tokens, **_thoughts(behaviour)}


def _thoughts(behaviour: Behaviour) -> dict[str, Any]:
    tokens = behaviour.thought_tokens
    return {"output_tokens_details": {"thinking_tokens": tokens}} if tokens else {}
