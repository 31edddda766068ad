"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from mlflow_project.domain.answer import Answer
from mlflow_project.errors import WorkspaceError
from serving.call import TheCall
from serving.problems import openai_error
from serving.routes.ask import Alias, Piece, ask, ask_in_pieces
from serving.routes.openai.chat_answer import ChatWriter, event
from serving.routes.openai.chat_request import ChatRequest
from serving.routes.openai.event_stream import EventStream
from serving.routes.openai.tokens import tokens_of
from serving.server import TheServer

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/chat/completions", summary="Chat with a prompt", response_model=None)
async def chat(body: ChatRequest, call: TheCall, server: TheServer, x_alias: Alias = "Production") -> Response:
    """Answers whole, or as server-sent events with `stream`."""
    request = body.model_request()
    await request.check_tools()
    name, alias = request.target(server, call, x_alias)
    if not body.stream:
        answer, release = await ask(server, call, name, alias, partial(request.question_for, call), request.check)
        return JSONResponse(ChatWriter(release, call.request_id).whole(answer, await tokens_of(answer)))
    pieces = ask_in_pieces(server, call, name, alias, partial(request.question_for, call), request.check)
    first = await anext(pieces)  # until it is here, a failure has a status of its own
    assert call.release is not None, "a release has answered"
    return EventStream(_events(ChatWriter(call.release, call.request_id), first, pieces, body.include_usage))


async def _events(
    writer: ChatWriter, piece: Piece, pieces: AsyncGenerator[Piece], include_usage: bool
) -> AsyncGenerator[bytes]:
    """An error on the way is an event too, and then nothing follows."""
    async with aclosing(pieces):
        yield writer.begin()
        try:
            while not isinstance(piece, Answer):
                yield writer.piece(piece)
                piece = await anext(pieces)
        except WorkspaceError as error:
            yield event({"error": openai_error(error.http_status, str(error))})
            return
    yield writer.end(piece)
    if include_usage:
        yield writer.counts(await tokens_of(piece))
    yield b"data: [DONE]\n\n"
