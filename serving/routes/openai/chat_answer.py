"""Writes answers in the form of OpenAI's chat completions, whole and as server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import orjson

from mlflow_project.domain.answer import Answer
from mlflow_project.domain.tools import ToolCallPiece
from serving.call import Call
from serving.routes.openai.tokens import Tokens, tokens_of

_FILTERED = (
    "safety",
    "content_filter",
    "blocklist",
    "prohibited_content",
    "recitation",
    "refusal",
    "spii",
    "image_safety",
)
_FINISH_REASONS = {
    "tool_calls": "tool_calls",
    "max_tokens": "length",
    "length": "length",
    "model_context_window_exceeded": "length",
    **dict.fromkeys(_FILTERED, "content_filter"),
}
"""Reasons of Gemini, Anthropic and OpenAI, by OpenAI's names; every other reason is `stop`."""


class ChatWriter:
    """Writes the answer of one request. `include_usage` adds a last event with the token counts to a stream."""

    def __init__(self, call: Call, include_usage: bool) -> None:
        self._release = call.the_release
        self._id = f"chatcmpl-{call.request_id}"
        self._created = int(time.time())
        self._include_usage = include_usage

    async def whole(self, answer: Answer) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
        if answer.tool_calls:
            functions = [(call.id, {"name": call.name, "arguments": call.arguments}) for call in answer.tool_calls]
            message["tool_calls"] = [{"id": id, "type": "function", "function": each} for id, each in functions]
        choice = {"index": 0, "message": message, "finish_reason": finish_reason(answer), "logprobs": None}
        citations = [vars(citation) for citation in answer.citations]
        return self._object("chat.completion", [choice], usage=usage(await tokens_of(answer)), citations=citations)

    def begin(self) -> list[bytes]:
        """The first event of a stream."""
        return [self._event({"role": "assistant", "content": ""})]

    def piece(self, piece: str | ToolCallPiece) -> list[bytes]:
        """The event for a piece of text or of a tool call."""
        return [self._event({"content": piece} if isinstance(piece, str) else {"tool_calls": [_call(piece)]})]

    async def end(self, answer: Answer) -> AsyncIterator[bytes]:
        """The events that say why the answer ended, how many tokens it took, and that no event follows."""
        yield self._event({}, finish_reason(answer))
        if self._include_usage:
            yield _event(self._object("chat.completion.chunk", [], usage=usage(await tokens_of(answer))))
        yield b"data: [DONE]\n\n"

    def failed(self, error: dict[str, Any]) -> bytes:
        """The event for an error in the middle of an answer."""
        return _event({"error": error})

    def _event(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _event(self._object("chat.completion.chunk", [choice]))

    def _object(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._release.label,
            "system_fingerprint": self._release.digest,
            "choices": choices,
            **more,
        }


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def finish_reason(answer: Answer) -> str:
    """Why the answer ended, by OpenAI's names."""
    return _FINISH_REASONS.get((answer.finish_reason or "stop").lower(), "stop")


def usage(tokens: Tokens) -> dict[str, Any]:
    """The token counts in OpenAI's form; `estimated` is there, and true, when the provider reported none."""
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.total,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.thoughts},
        **({"estimated": True} if tokens.estimated else {}),
    }


def _call(piece: ToolCallPiece) -> dict[str, Any]:
    """One piece of a tool call. Only the first piece of a call has its id and name."""
    function = {"name": piece.name} if piece.name else {}
    named = {"id": piece.id, "type": "function"} if piece.id else {}
    return {"index": piece.index, **named, "function": {**function, "arguments": piece.arguments}}
