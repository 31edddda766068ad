"""`POST /v1/responses`: OpenAI's newer API, which its clients use by default. No response is stored."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from serving.call import TheCall
from serving.routes.ask import Alias, ask, ask_in_pieces
from serving.routes.openai.event_stream import event_stream
from serving.routes.openai.responses_answer import ResponseWriter
from serving.routes.openai.responses_request import ResponsesRequest
from serving.server import TheServer

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/responses", summary="Ask a prompt for a response", response_model=None)
async def responses(
    body: ResponsesRequest, call: TheCall, server: TheServer, x_alias: Alias = "Production"
) -> Response:
    """Answers whole, or as server-sent events with `stream`."""
    request = body.model_request()
    name, alias = await request.target(server, call, x_alias)
    prepare = partial(request.question_for, call)
    if body.stream:
        pieces = ask_in_pieces(server, call, name, alias, prepare, request.check)
        first = await anext(pieces)
        return event_stream(ResponseWriter(body, call), first, pieces)
    answer = await ask(server, call, name, alias, prepare, request.check)
    return JSONResponse(await ResponseWriter(body, call).whole(answer))
