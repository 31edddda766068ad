"""`POST /v1/chat/completions` and `GET /v1/models`: OpenAI's protocol, for clients that speak it already.

A model is a prompt: `qa` (its Production), `qa@Staging`, `qa/7`. The last user message fills the template's question;
earlier turns are history; other variables come in `metadata`. What is not supported is refused, never ignored.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from mlflow_project import answering
from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import Message, version_number
from mlflow_project.domain.tools import ToolCallPiece
from mlflow_project.errors import InvalidAnswer, InvalidData, WorkspaceError
from mlflow_project.rules.json_schema import Schema
from serving.json_route import JsonResponse, JsonRoute
from serving.leaving import EventStream, unless_left
from serving.live.shelf import Live, Shelf
from serving.problems import BadRequest, openai_error, status_of
from serving.routes.answered import (
    Alias,
    check_output,
    check_texts,
    note_answer,
    observer_of,
    resolved,
    worker_of,
)
from serving.routes.chat_request import ChatRequest, conversation, variables_for

router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=JsonRoute)

_FILTERED = ("safety", "content_filter", "blocklist", "prohibited_content", "recitation", "spii", "image_safety")
_FINISH = {
    "tool_calls": "tool_calls",
    "max_tokens": "length",
    "length": "length",
    **dict.fromkeys(_FILTERED, "content_filter"),
}
"""Gemini's and OpenAI's reasons as OpenAI's; all others are `stop`."""

Piece = str | ToolCallPiece | Answer
"""What a stream yields: pieces of text and of tool calls, and the whole answer last."""


@router.get("/models", summary="Every prompt that is live")
async def models(request: Request) -> dict[str, Any]:
    """A name stands for its Production; `name@Alias` for another alias."""
    data = []
    for (name, alias), live in sorted(worker_of(request).shelf.live.items()):
        created = int(datetime.fromisoformat(live.since).timestamp())
        model = {"object": "model", "created": created, "owned_by": "switchyard"}
        ids = [name, f"{name}@{alias}"] if alias == "Production" else [f"{name}@{alias}"]
        data += [{"id": id, **model} for id in ids]
    return {"object": "list", "data": data}


@router.post("/chat/completions", summary="Chat with a prompt", response_model=None)
async def chat(body: ChatRequest, request: Request, x_alias: Alias = "Production") -> Response:
    """Answers whole, or as server-sent events with `stream`."""
    name, alias = _which(worker_of(request).shelf, body.model, x_alias)
    check_texts(request, body.texts())
    schema = body.callers_schema()
    held = await resolved(request, name, alias)
    with held as live:
        chatting = _Chat(body, schema, request, live)
        if not body.stream:
            whole = chatting.whole(await unless_left(request, chatting.answer()))
            return JsonResponse(orjson.dumps(whole))
        pieces = chatting.pieces()
        first = await unless_left(request, chatting.first(pieces))
        return EventStream(request, chatting.events(first, pieces), held.handed_on())


def _which(shelf: Shelf, model: str, alias: str) -> tuple[str, str]:
    """Name and alias of a model's id."""
    if "@" in model:
        name, _, alias = model.partition("@")
        return name, alias
    name, slash, version = model.rpartition("/")
    try:
        number = version_number(version)
    except InvalidData:
        return model, alias
    return (name, shelf.alias_of(name, number)) if slash else (model, alias)


class _Chat:
    """One conversation with the release that it began on."""

    def __init__(self, body: ChatRequest, schema: Schema | None, request: Request, live: Live) -> None:
        self._body = body
        self._request = request
        self._warm = live.held.warm
        self._release = live.placed.release
        self._question, self._history = conversation(body, live.placed.manifest.system_allowed or False)
        self._variables = variables_for(self._warm.template.variables, self._question, body.metadata or {})
        if body.asks_for_json and live.placed.manifest.response_schema is None:
            raise BadRequest(f"{self._release.label} has no response schema, so `response_format` cannot be promised.")
        self._schema = schema

    async def answer(self) -> Answer:
        history: tuple[Message, ...] = self._history
        try:
            answer = await answering.answer(self._warm, self._variables, history=history)
            note_answer(self._request, answer)
            self._check_schema(answer)
        except BaseException as error:
            observer_of(self._request).failed(self._request, self._release, error)
            raise
        observer_of(self._request).answered(self._request, self._release, self._variables, answer)
        return answer

    def pieces(self) -> AsyncGenerator[Piece]:
        return answering.stream(self._warm, self._variables, history=self._history)

    async def first(self, pieces: AsyncGenerator[Piece]) -> Piece:
        """The first piece; until it is here, a failure has a status of its own."""
        try:
            return await anext(pieces)
        except BaseException as error:
            observer_of(self._request).failed(self._request, self._release, error)
            raise

    def whole(self, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.tool_calls:
            functions = [(call.id, {"name": call.name, "arguments": call.arguments}) for call in answer.tool_calls]
            message["tool_calls"] = [{"id": id, "type": "function", "function": each} for id, each in functions]
        choice = {"index": 0, "message": message, "finish_reason": _finish(answer), "logprobs": None}
        citations = [vars(citation) for citation in answer.citations]
        return self._object("chat.completion", [choice], usage=_usage(answer.usage), citations=citations)

    async def events(self, first: Piece, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[bytes]:
        """The answer as server-sent events. An error on the way is an event too, and then nothing follows."""
        async with aclosing(pieces):
            try:
                yield self._event({"role": "assistant", "content": ""})
                piece, said = first, 0
                while not isinstance(piece, Answer):
                    said += len(piece if isinstance(piece, str) else piece.arguments)
                    check_output(self._request, said)
                    yield self._event({"content": piece} if isinstance(piece, str) else {"tool_calls": [_call(piece)]})
                    piece = await anext(pieces)
                note_answer(self._request, piece)
                self._check_schema(piece)
            except WorkspaceError as error:
                observer_of(self._request).failed(self._request, self._release, error)
                yield _sse({"error": openai_error(status_of(error), str(error))})
                return
            except BaseException as error:  # the caller left in mid-answer
                observer_of(self._request).failed(self._request, self._release, error)
                raise
            observer_of(self._request).answered(self._request, self._release, self._variables, piece)
            yield self._event({}, finish=_finish(piece))
            if self._body.include_usage:
                yield _sse(self._object("chat.completion.chunk", [], usage=_usage(piece.usage)))
            yield b"data: [DONE]\n\n"

    def _check_schema(self, answer: Answer) -> None:
        """The release's own schema holds already; a caller's narrower one is checked too."""
        if self._schema is not None and (mistakes := self._schema.mistakes(answer.object)):
            raise InvalidAnswer(
                f"{self._release.label} answered by its own response schema, which the schema of this request does not "
                f"allow: {mistakes[0]}."
            )

    def _event(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _sse(self._object("chat.completion.chunk", [choice]))

    def _object(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._request.scope['state']['request_id']}",
            "object": kind,
            "created": int(time.time()),
            "model": self._release.label,
            "system_fingerprint": self._release.digest,
            "choices": choices,
            **more,
        }


def _call(piece: ToolCallPiece) -> dict[str, Any]:
    """Write a piece of a tool call in OpenAI's form: its id and name come with the first piece only."""
    function = {"name": piece.name} if piece.name else {}
    named = {"id": piece.id, "type": "function"} if piece.id else {}
    return {"index": piece.index, **named, "function": {**function, "arguments": piece.arguments}}


def _finish(answer: Answer) -> str:
    return _FINISH.get((answer.finish_reason or "stop").lower(), "stop")


def _usage(usage: Usage) -> dict[str, Any] | None:
    if usage.total_tokens is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens or 0,
        "completion_tokens": (usage.output_tokens or 0) + (usage.thought_tokens or 0),
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.thought_tokens or 0},
    }


def _sse(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"
