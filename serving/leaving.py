"""A caller who leaves: what is done for him ends, and the provider is told to stop.

The protocol says so (see `serving.edge.protocol`). To wait for a connection's end in a task of its own, as Starlette
does, costs every request a twentieth of a millisecond, and delays a stream's first event.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Awaitable
from contextlib import AbstractContextManager
from typing import TypeVar

from fastapi import HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

CALLER_LEFT = 499

T = TypeVar("T")


class CallerLeft(HTTPException):
    """The connection was closed before the answer was out."""


async def unless_left(request: Request, work: Awaitable[T]) -> T:
    """The result of the work; when the caller leaves first, the work is cancelled.

    Raises:
        CallerLeft: nobody waits for the answer any more.
    """
    state, task = request.scope["state"], asyncio.current_task()
    assert task is not None, "a request is answered in a task"
    state["when_left"] = task.cancel
    try:
        if state.get("left"):
            task.cancel()
        return await work
    except asyncio.CancelledError:
        if state.get("left") and task.uncancel() == 0:
            raise CallerLeft(CALLER_LEFT, "The caller left before the answer came.") from None
        raise
    finally:
        del state["when_left"]


class EventStream(StreamingResponse):
    """Server-sent events, each sent as it comes. `held` is closed after the last one, with what ended it."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, events: AsyncIterable[bytes], held: AbstractContextManager[object]) -> None:
        super().__init__(events)
        self._request = request
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(CallerLeft), self._held:  # the head is out: there is nobody to tell
            await unless_left(self._request, self.stream_response(send))
