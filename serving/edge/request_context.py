"""What every request carries: an id, a trace, and the release that answered it.

Pure ASGI, because Starlette's BaseHTTPMiddleware costs milliseconds. A route notes the release by `note_release`; the
headers then go out with whatever the response turns out to be, an error included.
"""

from __future__ import annotations

import re
import time
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from mlflow_project.rules.masking import Masker
from mlflow_project.telemetry import tracing
from mlflow_project.telemetry.tracing import Trace
from serving.after.observe import Observer
from serving.live.shelf import Live
from serving.live.worker import Worker

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}")
_MASKER = Masker()
_READ = {b"x-request-id", b"traceparent", b"tracestate"}


class RequestContext:
    """Middleware: `scope["state"]["request_id"]` in; the headers out."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        observer: Observer | None = getattr(self._app.state, "observer", None)
        trace, status = _begun(scope, observer is not None and observer.listening), 0
        state = scope["state"]

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", state["request_id"].encode()),
                    *state["release_headers"],
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:  # the trace stays current: what uvicorn logs of a defect belongs to it, and the task ends here
            if observer is not None:
                observer.ended(scope, trace, status)


def note_release(request: Request, worker: Worker, live: Live, *, asked: bool) -> None:
    """From here on the response names this release, and how stale it is where the registry could not be `asked`."""
    placed, trace = live.placed, tracing.current()
    label = placed.release.label
    if trace is not None:
        trace.release = label
        trace.root.attributes["switchyard.alias"] = placed.alias
        trace.root.attributes["switchyard.digest"] = placed.digest
    headers = [(b"x-release", label.encode()), (b"x-release-digest", placed.digest.encode())]
    if not asked:
        headers.append((b"x-release-stale", f"{worker.stale_seconds():.1f}".encode()))
    request.scope["state"]["release_headers"] = headers


def _begun(scope: Scope, listening: bool) -> Trace:
    """The request's trace and id; who brings no id of his own that can be recorded has the trace's."""
    given = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
    context = given.get(b"traceparent", ""), given.get(b"tracestate", "")
    trace = tracing.begin(scope["method"], *context, listening=listening)
    state: dict[str, Any] = scope.setdefault("state", {})
    state["began"] = time.perf_counter()
    own = given.get(b"x-request-id", "")
    state["request_id"] = trace.root.attributes["switchyard.request_id"] = (
        own if _recordable(own) else f"{trace.trace_id:032x}"
    )
    state["release_headers"] = ()
    return trace


def _recordable(own: str) -> bool:
    """Whether an id stands for itself and nothing else: it goes into logs and traces as it is, and an address, a key or
    a number with a right check digit does not. In a UUID such numbers stand by chance."""
    return _ID.fullmatch(own) is not None and (_UUID.fullmatch(own) is not None or not _MASKER.mask(own).found)
