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
from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import Release, version_number
from mlflow_project.domain.tools import ToolCallPiece
from mlflow_project.errors import InvalidAnswer, InvalidData, WorkspaceError
from mlflow_project.rules.json_schema import Schema
from serving.call import Call, TheCall
from serving.live.shelf import Live, Shelf
from serving.problems import BadRequest, openai_error
from serving.routes.ask import Alias, Piece, Question, ask, ask_in_pieces, check_texts
from serving.routes.chat_request import ChatRequest, conversation, variables_for
from serving.server import TheServer

router = APIRouter(prefix="/v1", tags=["OpenAI"])

_FILTERED = ("safety", "content_filter", "blocklist", "prohibited_content", "recitation", "spii", "image_safety")
_FINISH = {
    "tool_calls": "tool_calls",
    "max_tokens": "length",
    "length": "length",
    **dict.fromkeys(_FILTERED, "content_filter"),
}
"""Gemini's and OpenAI's reasons as OpenAI's; all others are `stop`."""


@router.get("/models", summary="Every prompt that is live")
async def models(server: TheServer) -> dict[str, Any]:
    """A name stands for its Production; `name@Alias` for another alias."""
    data = []
    for (name, alias), live in sorted(server.worker.shelf.live.items()):
        created = int(datetime.fromisoformat(live.since).timestamp())
        model = {"object": "model", "created": created, "owned_by": "switchyard"}
        ids = [name, f"{name}@{alias}"] if alias == "Production" else [f"{name}@{alias}"]
        data += [{"id": id, **model} for id in ids]
    return {"object": "list", "data": data}


@router.post("/chat/completions", summary="Chat with a prompt", response_model=None)
async def chat(body: ChatRequest, call: TheCall, server: TheServer, x_alias: Alias = "Production") -> Response:
    """Answers whole, or as server-sent events with `stream`."""
    check_texts(server, call, body.texts())
    name, alias = _which(server.worker.shelf, body.model, x_alias)
    chat = _Chat(body, body.callers_schema(), call)
    if not body.stream:
        answer, _ = await ask(server, call, name, alias, chat.question, chat.check)
        return Response(orjson.dumps(chat.whole(answer)), media_type="application/json")
    pieces = ask_in_pieces(server, call, name, alias, chat.question, chat.check)
    first = await anext(pieces)  # until it is here, a failure has a status of its own
    return EventStream(chat.events(first, pieces))


class EventStream(StreamingResponse):
    """Server-sent events, each sent as it comes. They are closed even if the caller leaves before the first."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The edge cancels this when the caller leaves, so nothing else needs to watch for that."""
        async with aclosing(self._events):
            await self.stream_response(send)


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
    """One request for a chat completion, and its response in OpenAI's form."""

    def __init__(self, body: ChatRequest, schema: Schema | None, call: Call) -> None:
        self._body = body
        self._schema = schema
        self._call = call
        self._release: Release | None = None

    def question(self, live: Live) -> Question:
        """The conversation as the release's template takes it."""
        self._release, manifest = live.placed.release, live.placed.manifest
        last, history = conversation(self._body, manifest.system_allowed or False)
        if self._body.asks_for_json and manifest.response_schema is None:
            raise BadRequest(f"{self._release.label} has no response schema, so `response_format` cannot be promised.")
        variables = variables_for(live.held.warm.template.variables, last, self._body.metadata or {})
        return Question(variables, history=history)

    def check(self, answer: Answer) -> None:
        """The release's own schema holds already; a caller's narrower one is checked too."""
        if self._schema is not None and (mistakes := self._schema.mistakes(answer.object)):
            raise InvalidAnswer(
                f"{self._label} answered by its own response schema, which the schema of this request does not "
                f"allow: {mistakes[0]}."
            )

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The response without `stream`."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.tool_calls:
            functions = [(call.id, {"name": call.name, "arguments": call.arguments}) for call in answer.tool_calls]
            message["tool_calls"] = [{"id": id, "type": "function", "function": each} for id, each in functions]
        choice = {"index": 0, "message": message, "finish_reason": _finish(answer), "logprobs": None}
        citations = [vars(citation) for citation in answer.citations]
        return self._object("chat.completion", [choice], usage=_usage(answer.usage), citations=citations)

    async def events(self, piece: Piece, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[bytes]:
        """The response with `stream`. An error on the way is an event too, and then nothing follows."""
        async with aclosing(pieces):
            yield self._event({"role": "assistant", "content": ""})
            try:
                while not isinstance(piece, Answer):
                    yield self._event({"content": piece} if isinstance(piece, str) else {"tool_calls": [_call(piece)]})
                    piece = await anext(pieces)
            except WorkspaceError as error:
                yield _sse({"error": openai_error(error.http_status, str(error))})
                return
        yield self._event({}, finish=_finish(piece))
        if self._body.include_usage:
            yield _sse(self._object("chat.completion.chunk", [], usage=_usage(piece.usage)))
        yield b"data: [DONE]\n\n"

    @property
    def _label(self) -> str:
        return self._release.label if self._release is not None else ""

    def _event(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _sse(self._object("chat.completion.chunk", [choice]))

    def _object(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._call.request_id}",
            "object": kind,
            "created": int(time.time()),
            "model": self._label,
            "system_fingerprint": self._release.digest if self._release is not None else "",
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
