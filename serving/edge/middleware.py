"""The server's one middleware: checks every request before FastAPI sees it, and adds headers to every response.

In this order: request id and trace, size of the head, API key, request limit, body, place. A request that is refused
here reaches no route. If the caller closes the connection, the work on the request is cancelled, at the provider too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_project.errors import WorkspaceError
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import GuardSettings
from mlflow_project.web.beginnings import begin
from mlflow_project.web.keys import Keys
from mlflow_project.web.problems import response
from mlflow_project.web.protocol import MAX_HEADER_BYTES
from serving.call import Call
from serving.edge.body import read_body
from serving.edge.places import Places
from serving.server import Server

CALLER_LEFT = 499
"""The status in the metrics of a request whose caller left before the response began."""
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_TAKE_ROWS = ("/models/", "/v2/models/")
"""Paths whose bodies hold rows of numbers. They are larger than texts, and nothing is parsed of them that may become an
error message."""
_MOST_LARGE_BODIES = 2


class HeadTooLarge(WorkspaceError):
    """The request's header lines are longer than this server takes."""

    http_status = 431


class Edge:
    """Pure ASGI. Requests for `open_paths` need no API key; only those with a body take a place."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        places: Places,
        limits: GuardSettings,
        max_rows_bytes: int,
        masker: Masker,
        open_paths: Container[str],
    ) -> None:
        self._app = app
        self._keys = keys
        self._places = places
        self._limits = limits
        self._max_rows_bytes = max_rows_bytes
        self._large = Places(_MOST_LARGE_BODIES, 0, limits.queue_seconds)
        self._masker = masker
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        server: Server = scope["state"]["server"]
        begun = begin(scope, self._masker, listening=server.reporter.listening)
        call = scope["state"]["call"] = Call(*begun, session=_session(scope))
        send = _with_headers(send, call)
        try:
            _check_head(scope)
            call.caller = self._keys.caller(scope, is_open=scope["path"] in self._open_paths)
            if scope["method"] not in _WITH_BODY:
                await self._app(scope, receive, send)
                return
            server.spending.admit(call.caller)
            async with self._large_body(scope) as most_bytes:
                takes_rows = scope["path"].startswith(_TAKE_ROWS)
                body = await read_body(
                    scope, receive, most_bytes, self._limits.body_seconds, count_values=not takes_rows
                )
                call.body_bytes = len(body)
                place = self._places.place()
                async with _until_caller_leaves(call, body, receive) as receive, place as call.queued_seconds:
                    await self._app(scope, receive, send)
        except WorkspaceError as error:  # raised above: what a route raises is answered by FastAPI
            server.reporter.turned_away(error.http_status)
            await response(scope["path"], error)(scope, receive, send)
        finally:  # the trace stays current, because what uvicorn logs of an unexpected error belongs to it
            server.reporter.ended(scope, call)
            for each in call.after_response:
                each()

    @asynccontextmanager
    async def _large_body(self, scope: Scope) -> AsyncIterator[int]:
        """Yield how many bytes the body of a request may have. A body of rows may be large if its head says so. Only a
        few large bodies are in memory at once.

        Raises:
            Unavailable: too many large bodies are being received.
        """
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        usual = self._limits.max_body_bytes
        large = length.isdigit() and usual < int(length) <= self._max_rows_bytes
        if not large or not scope["path"].startswith(_TAKE_ROWS):
            yield usual
            return
        async with self._large.place():
            yield self._max_rows_bytes


def _session(scope: Scope) -> str:
    """What the caller sent as `X-Session-Id`, or ""."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-session-id"), "")


def _check_head(scope: Scope) -> None:
    """Refuse a large head that came in one piece. The protocol sees it only when it is complete."""
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        raise HeadTooLarge(f"The head is larger than the {MAX_HEADER_BYTES} bytes allowed here.")


def _with_headers(send: Send, call: Call) -> Send:
    """Adds the request's id and its release to the response, and notes its status and its end in the call."""

    async def send_noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
            own = (b"x-request-id", call.request_id.encode())
            message["headers"] = [*message["headers"], own, *call.release_headers]
        elif not message.get("more_body"):
            call.complete = True
        await send(message)

    return send_noted


@asynccontextmanager
async def _until_caller_leaves(call: Call, body: bytes, receive: Receive) -> AsyncIterator[Receive]:
    """Cancels the block when the caller closes the connection. Yields a `receive` that gives the body."""
    task = asyncio.current_task()
    assert task is not None, "uvicorn answers each request in a task"
    watch = asyncio.create_task(_watch(receive, call, task))
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        if messages:
            return messages.pop()
        await asyncio.wait([watch])
        return {"type": "http.disconnect"}

    try:
        yield receive_again
    except asyncio.CancelledError:
        if not call.caller_left or task.uncancel() > 0:
            raise
        call.status = call.status or CALLER_LEFT
    finally:
        watch.cancel()


async def _watch(receive: Receive, call: Call, task: asyncio.Task[object]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if not call.complete:  # uvicorn sends "disconnect" after a complete response, too
        call.caller_left = True
        task.cancel()
