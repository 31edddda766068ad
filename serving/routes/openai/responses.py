"""`POST /v1/responses`: OpenAI's newer API, which its clients use by default. No response is stored."""

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
from serving.routes.openai.event_stream import EventStream
from serving.routes.openai.responses_answer import ResponseWriter
from serving.routes.openai.responses_request import ResponsesRequest
from serving.routes.openai.tokens import tokens_of
from serving.server import TheServer

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/responses", summary="Ask a prompt for a response", response_model=None)
async def responses(
    body: ResponsesRequest, call: TheCall, server: TheServer, x_alias: Alias = "Production"
) -> Response:
    """Answers whole, or as server-sent events with `stream`."""
    request = body.model_request()
    await request.check_tools()
    name, alias = request.target(server, call, x_alias)
    if not body.stream:
        answer, release = await ask(server, call, name, alias, partial(request.question_for, call), request.check)
        return JSONResponse(ResponseWriter(body, release, call.request_id).whole(answer, await tokens_of(answer)))
    pieces = ask_in_pieces(server, call, name, alias, partial(request.question_for, call), request.check)
    first = await anext(pieces)  # until it is here, a failure has a status of its own
    assert call.release is not None, "a release has answered"
    return EventStream(_events(ResponseWriter(body, call.release, call.request_id), first, pieces))


async def _events(writer: ResponseWriter, piece: Piece, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[bytes]:
    """An error on the way ends the stream with `response.failed`."""
    async with aclosing(pieces):
        for event in writer.begin():
            yield event
        try:
            while not isinstance(piece, Answer):
                for event in writer.piece(piece):
                    yield event
                piece = await anext(pieces)
        except WorkspaceError as error:
            yield writer.failed(openai_error(error.http_status, str(error))["type"], str(error))
            return
    for event in writer.end(piece, await tokens_of(piece)):
        yield event
