"""The one middleware of the ingestion service: request id, trace, API key and limits of requests, before any route.

Every response carries `X-Request-Id`, the id that leads to the rows of its records.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_project.api_keys import ApiKey
from mlflow_project.errors import Exhausted, WorkspaceError
from mlflow_project.rules.masking import Masker
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.traces import Traces
from mlflow_project.telemetry.tracing import Trace
from mlflow_project.web.beginnings import begin
from mlflow_project.web.caller_limits import CallerLimits
from mlflow_project.web.keys import Keys
from mlflow_project.web.problems import response

MOST_AT_ONCE = 512
"""Requests that may run at the same time. More would only wait, and take memory while they wait."""
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(slots=True)
class Call:
    """What the service knows of a request. `caller` is None where no API key is needed."""

    request_id: str
    trace: Trace
    caller: ApiKey | None = None
    status: int = 0


class Edge:
    """Pure ASGI. Requests for `open_paths` need no API key."""

    def __init__(self, app: ASGIApp, keys: Keys, masker: Masker, open_paths: Container[str]) -> None:
        self._app = app
        self._keys = keys
        self._masker = masker
        self._open_paths = open_paths
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        meters: Meters = scope["state"]["meters"]
        traces: Traces = scope["state"]["traces"]
        limits: CallerLimits = scope["state"]["limits"]
        listening = meters.listening or bool(traces.outboxes)
        call = scope["state"]["call"] = Call(*begin(scope, self._masker, listening=listening))
        send = _with_request_id(send, call)
        is_open = scope["path"] in self._open_paths
        self._running += 1
        try:
            if self._running > MOST_AT_ONCE and not is_open:
                raise Exhausted(f"{MOST_AT_ONCE} requests run already: try again in a second.", retry_after=1.0)
            call.caller = self._keys.caller(scope, is_open=is_open)
            if scope["method"] in _WITH_BODY:
                limits.admit(call.caller)
            await self._app(scope, receive, send)
        except WorkspaceError as error:  # raised above: what a route raises is answered by FastAPI
            meters.record(catalogue.TURNED_AWAY, 1, status=error.http_status)
            await response(scope["path"], error)(scope, receive, send)
        finally:
            self._running -= 1
            _end(scope, call, meters, traces)


def _with_request_id(send: Send, call: Call) -> Send:
    async def send_noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", call.request_id.encode())]
        await send(message)

    return send_noted


def _end(scope: Scope, call: Call, meters: Meters, traces: Traces) -> None:
    """End the trace, and count the response by its route."""
    call.trace.end()
    route = getattr(scope.get("route"), "path", "none")
    call.trace.root.name = f"{scope['method']} {route}"
    call.trace.root.attributes |= {"http.route": route, "http.response.status_code": call.status}
    if call.status >= 500:
        call.trace.root.error = str(call.status)
    meters.record(catalogue.RESPONSES, 1, route=route, status=call.status)
    traces.ended(call.trace)
