"""What the gateway bench compares with: the thinnest relay that Python allows, and the one that people write.

`uvicorn bench.relays:raw` is raw ASGI and aiohttp; `:fastapi_httpx` is FastAPI and httpx's own pool;
`:fastapi_aiohttp` is FastAPI and httpx over aiohttp. Each passes one body on to `RELAY_TO` and the answer back.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
from fastapi import FastAPI, Request, Response
from httpx_aiohttp import AiohttpTransport

_session: aiohttp.ClientSession | None = None


async def raw(scope: Any, receive: Any, send: Any) -> None:
    """Raw ASGI."""
    global _session
    if scope["type"] != "http":
        return
    if _session is None:
        _session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {"Content-Type": "application/json"}
    async with _session.post(os.environ["RELAY_TO"], data=body, headers=headers) as answer:
        payload = await answer.read()
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": [(b"content-type", b"application/json")]}
    )
    await send({"type": "http.response.body", "body": payload})


def _relay(**client: Any) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=30, **client) as http:
            app.state.http = http
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/")
    async def relay(request: Request) -> Response:
        headers = {"Content-Type": "application/json"}
        http: httpx.AsyncClient = request.app.state.http
        answer = await http.post(os.environ["RELAY_TO"], content=await request.body(), headers=headers)
        return Response(answer.content, answer.status_code, media_type="application/json")

    return app


fastapi_httpx = _relay(limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))
fastapi_aiohttp = _relay(transport=AiohttpTransport())
