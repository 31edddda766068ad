"""Writes answers in the form of OpenAI's Responses API, whole and as server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson

from mlflow_project.domain.answer import Answer
from mlflow_project.domain.tools import ToolCallPiece, joined
from serving.call import Call
from serving.routes.openai.chat_answer import finish_reason
from serving.routes.openai.responses_request import ResponsesRequest
from serving.routes.openai.tokens import Tokens, tokens_of

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseWriter:
    """Writes one response, whole or event by event. A stream's items are numbered in the order in which they begin."""

    def __init__(self, body: ResponsesRequest, call: Call) -> None:
        self._body = body
        self._release = call.the_release
        self._request_id = call.request_id
        self._created = int(time.time())
        self._sequence = -1
        self._text = ""
        self._calls: list[ToolCallPiece] = []
        self._message_place: int | None = None
        self._call_places: dict[int, int] = {}

    async def whole(self, answer: Answer) -> dict[str, Any]:
        """The finished response, as the body of a request that is not streamed and in a stream's last event."""
        output = [self._message(answer.text)] if answer.text is not None or not answer.tool_calls else []
        output += [
            self._function_call(place, call.id, call.name, call.arguments)
            for place, call in enumerate(answer.tool_calls)
        ]
        reason = _INCOMPLETE.get(finish_reason(answer))
        details = {"reason": reason} if reason else None
        status = "incomplete" if reason else "completed"
        return self._response(status, output, incomplete_details=details, usage=_usage(await tokens_of(answer)))

    def begin(self) -> Iterator[bytes]:
        """The events before the first piece."""
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=self._response("in_progress", []))

    def piece(self, piece: str | ToolCallPiece) -> Iterator[bytes]:
        """The events for a piece of text or of a tool call."""
        if isinstance(piece, str):
            yield from self._text_piece(piece)
        else:
            yield from self._call_piece(piece)

    async def end(self, answer: Answer) -> AsyncIterator[bytes]:
        """The events that close every item, and the finished response."""
        if self._message_place is not None:
            for event in self._close_message(self._message_place):
                yield event
        for index, call in enumerate(joined(self._calls)):
            place = self._call_places[sorted(self._call_places)[index]]
            item = self._function_call(index, call.id, call.name, call.arguments)
            at = {"item_id": item["id"], "output_index": place}
            yield self._event("response.function_call_arguments.done", arguments=call.arguments, name=call.name, **at)
            yield self._event("response.output_item.done", output_index=place, item=item)
        response = await self.whole(answer)
        kind = "response.completed" if response["status"] == "completed" else "response.incomplete"
        yield self._event(kind, response=response)

    def failed(self, error: dict[str, Any]) -> bytes:
        """The event for an error in the middle of an answer."""
        response = self._response("failed", [], error={"code": error["type"], "message": error["message"]})
        return self._event("response.failed", response=response)

    def _text_piece(self, text: str) -> Iterator[bytes]:
        if self._message_place is None:
            self._message_place = len(self._call_places)
            item = {**self._message(""), "status": "in_progress", "content": []}
            yield self._event("response.output_item.added", output_index=self._message_place, item=item)
            yield self._event("response.content_part.added", part=_part(""), **self._in_message(self._message_place))
        self._text += text
        yield self._event(
            "response.output_text.delta", delta=text, logprobs=[], **self._in_message(self._message_place)
        )

    def _close_message(self, place: int) -> Iterator[bytes]:
        at = self._in_message(place)
        yield self._event("response.output_text.done", text=self._text, logprobs=[], **at)
        yield self._event("response.content_part.done", part=_part(self._text), **at)
        yield self._event("response.output_item.done", output_index=place, item=self._message(self._text))

    def _call_piece(self, piece: ToolCallPiece) -> Iterator[bytes]:
        if piece.index not in self._call_places:
            place = len(self._call_places) + (self._message_place is not None)
            self._call_places[piece.index] = place
            item = self._function_call(len(self._call_places) - 1, piece.id, piece.name, "")
            item["status"] = "in_progress"
            yield self._event("response.output_item.added", output_index=place, item=item)
        self._calls.append(piece)
        index = sorted(self._call_places).index(piece.index)
        yield self._event(
            "response.function_call_arguments.delta",
            delta=piece.arguments,
            item_id=self._call_id(index),
            output_index=self._call_places[piece.index],
        )

    def _in_message(self, place: int) -> dict[str, Any]:
        return {"item_id": f"msg_{self._request_id}", "output_index": place, "content_index": 0}

    def _call_id(self, index: int) -> str:
        return f"fc_{self._request_id}_{index}"

    def _message(self, text: str | None) -> dict[str, Any]:
        return {
            "type": "message",
            "id": f"msg_{self._request_id}",
            "status": "completed",
            "role": "assistant",
            "content": [_part(text or "")],
        }

    def _function_call(self, index: int, call_id: str, name: str, arguments: str) -> dict[str, Any]:
        return {
            "type": "function_call",
            "id": self._call_id(index),
            "call_id": call_id,
            "name": name,
            "arguments": arguments,
            "status": "completed",
        }

    def _response(self, status: str, output: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        body = self._body
        asked = body.text.format if body.text is not None and body.text.format is not None else None
        return {
            "id": f"resp_{self._request_id}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": self._release.label,
            "output": output,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "metadata": body.metadata or {},
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "tool_choice": body.tool_choice or "auto",
            "tools": [tool.model_dump(exclude_none=True) | {"strict": tool.strict} for tool in body.tools or ()],
            "temperature": None,
            "top_p": None,
            "text": {"format": asked.model_dump(exclude_none=True, by_alias=True) if asked else {"type": "text"}},
            "store": False,
            "usage": None,
            **more,
        }

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._sequence += 1
        data = orjson.dumps({"type": kind, "sequence_number": self._sequence, **fields})
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.thoughts},
        "total_tokens": tokens.total,
        **({"estimated": True} if tokens.estimated else {}),
    }
