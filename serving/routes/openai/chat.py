"""`POST /v1/chat/completions`."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from serving.call import TheCall
from serving.routes.ask import Alias, ask, ask_in_pieces
from serving.routes.openai.chat_answer import ChatWriter
from serving.routes.openai.chat_request import ChatRequest
from serving.routes.openai.event_stream import event_stream
from serving.server import TheServer

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/chat/completions", summary="Chat with a prompt", response_model=None)
async def chat(body: ChatRequest, call: TheCall, server: TheServer, x_alias: Alias = "Production") -> Response:
    """Answers whole, or as server-sent events with `stream`."""
    request = body.model_request()
    name, alias = await request.target(server, call, x_alias)
    prepare = partial(request.question_for, call)
    if body.stream:
        pieces = ask_in_pieces(server, call, name, alias, prepare, request.check)
        first = await anext(pieces)
        return event_stream(ChatWriter(call, body.include_usage), first, pieces)
    answer = await ask(server, call, name, alias, prepare, request.check)
    return JSONResponse(await ChatWriter(call, body.include_usage).whole(answer))
