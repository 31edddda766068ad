"""Sizes, slowness and crowding: what is turned away before any route sees it.

Pure ASGI. A request's body is read whole here, within a size and a time, so that a slow sender holds no place; then it
takes one of a fixed number of places, or waits in a bounded queue, or is told at once to come back later.
Only answers take places: `/health`, `/releases` and the documentation are always let in.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_project.errors import Exhausted
from mlflow_project.settings import GuardSettings
from serving.edge.protocol import MAX_HEADER_BYTES
from serving.problems import refusal


class TurnedAway(Exception):
    """A request that is not let in: status, sentence, and the headers that say what to do."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


class Places:
    """A fixed number of places and a bounded queue for them, first come first served."""

    def __init__(self, places: int, queue: int, seconds: float) -> None:
        self._all = self._free = places
        self._queue = queue
        self._seconds = seconds
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._all - self._free

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._waiting)

    async def take(self) -> None:
        """Take a place; raises TurnedAway when the queue is full, or when waiting took too long."""
        if self._free > 0:
            self._free -= 1
            return
        if len(self._waiting) >= self._queue:
            raise _busy()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._seconds)
        except BaseException as error:
            if turn.done():
                self.leave()
            else:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise _busy() from error
            raise

    def leave(self) -> None:
        """Hand the place to the first who waits."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._free += 1


class Guard:
    """The middleware."""

    def __init__(self, app: ASGIApp, settings: GuardSettings, places: Places) -> None:
        self._app = app
        self._settings = settings
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _head_is_too_large(scope):
            detail = f"The head is larger than the {MAX_HEADER_BYTES} bytes allowed here."
            await refusal(scope["path"], 431, detail)(scope, receive, send)
            return
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH", "DELETE"}:
            await self._app(scope, receive, send)
            return
        try:
            self._admit(scope)
            body = await self._body(scope, receive)
            scope["state"]["body_bytes"] = len(body)
            await self._places.take()
        except TurnedAway as no:
            scope["app"].state.observer.turned_away(no.status)
            await refusal(scope["path"], no.status, no.detail, headers=no.headers)(scope, receive, send)
            return
        try:
            await self._app(scope, _replay(body, receive), send)
        finally:
            self._places.leave()

    def _admit(self, scope: Scope) -> None:
        try:
            scope["app"].state.spending.admit(scope["state"].get("caller"))
        except Exhausted as error:
            raise TurnedAway(429, str(error), {"Retry-After": f"{error.retry_after:.0f}"}) from error

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limit = self._settings.max_body_bytes
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > limit:
            raise _too_large(limit)
        if scope["state"].get("body_is_here"):  # as nearly always: a timer would cost more than the reading
            return await _read(receive, limit)
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                return await _read(receive, limit)
        except TimeoutError as error:
            raise TurnedAway(
                408, f"The body did not arrive within {self._settings.body_seconds:g} s.", {"Connection": "close"}
            ) from error


def _head_is_too_large(scope: Scope) -> bool:
    """All that came with the head is told by the protocol, and is nearly always little enough."""
    if scope["state"].get("head_bytes_at_most", math.inf) <= MAX_HEADER_BYTES:
        return False
    return sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES


async def _read(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise TurnedAway(400, "The connection ended before the body did.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, then whatever the connection says: that the caller left, for one."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large(limit: int) -> TurnedAway:
    return TurnedAway(413, f"The body is larger than the {limit} bytes allowed here.", {"Connection": "close"})


def _busy() -> TurnedAway:
    return TurnedAway(503, "Every place and the whole queue are taken. Try again in a second.", {"Retry-After": "1"})
