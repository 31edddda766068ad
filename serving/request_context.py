"""What every request carries: an id, the release that answered it, and the security headers of its response.

Pure ASGI, because Starlette's BaseHTTPMiddleware costs milliseconds. A route notes the release by `note_release`; the
headers then go out with whatever the response turns out to be, an error included.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.shelf import Live
from serving.worker import Worker

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class RequestContext:
    """Middleware: `scope["state"]["request_id"]` in; the headers out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})
        state["began"] = time.perf_counter()
        state["request_id"] = _id_of(scope)
        state["release_headers"] = {}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = state["request_id"]
                headers.update(state["release_headers"])
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def note_release(request: Request, worker: Worker, live: Live, *, asked: bool) -> None:
    """From here on the response names this release, and how stale it is where the registry could not be `asked`."""
    headers = request.scope["state"]["release_headers"]
    headers["X-Release"] = live.placed.release.label
    headers["X-Release-Digest"] = live.placed.digest
    contact = worker.contact
    if not asked:
        headers["X-Release-Stale"] = f"{contact.age_ms() / 1000:.1f}" if contact else "unknown"


def _id_of(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if _ID.fullmatch(given):
                return str(given)
    return uuid.uuid4().hex
