"""`/operations/{id}`: how far a change has come; as a page, and as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from console.operations import Operation
from console.routes.parts import TheOperations, ThePages

router = APIRouter()
_LOOK_SECONDS = 0.05
_LONGEST_SECONDS = 120.0
"""Then the browser connects again, and goes on where it was."""


@router.get("/operations/{operation_id}")
def operation_page(request: Request, operation_id: str, pages: ThePages, operations: TheOperations) -> Response:
    """The page. Without JavaScript it loads itself again while the change runs."""
    return pages.show(request, "operation.html", operation=operations.find(operation_id))


@router.get("/operations/{operation_id}/events")
async def operation_events(operation_id: str, operations: TheOperations) -> StreamingResponse:
    """Every line, as it comes, then the state."""
    return StreamingResponse(_events(operations.find(operation_id)), media_type="text/event-stream")


async def _events(operation: Operation) -> AsyncIterator[str]:
    sent, until = 0, time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < until:
        state = operation.state  # before the lines: the last line is there before the state changes
        for line in operation.lines[sent:]:
            yield f"event: line\ndata: {json.dumps({'number': sent, 'text': line})}\n\n"
            sent += 1
        if state != "running":
            yield f"event: end\ndata: {json.dumps({'state': state})}\n\n"
            return
        await asyncio.sleep(_LOOK_SECONDS)
