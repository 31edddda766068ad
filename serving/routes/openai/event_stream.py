"""Sends an answer as server-sent events, in one of OpenAI's forms."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, Protocol

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mlflow_project.domain.answer import Answer
from mlflow_project.domain.tools import ToolCallPiece
from mlflow_project.errors import WorkspaceError
from mlflow_project.web.problems import openai_error
from serving.routes.ask import Piece


class Writer(Protocol):
    """Writes the events of one answer."""

    def begin(self) -> Iterable[bytes]:
        """The events before the first piece."""

    def piece(self, piece: str | ToolCallPiece) -> Iterable[bytes]:
        """The events for a piece of text or of a tool call."""

    def end(self, answer: Answer) -> AsyncIterator[bytes]:
        """The events that end the answer."""

    def failed(self, error: dict[str, Any]) -> bytes:
        """The event for an error in the middle of an answer, in OpenAI's form. No event follows it."""


class EventStream(StreamingResponse):
    """Sends each event as it comes, and closes their generator even if the caller leaves before the first one."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The edge cancels this when the caller leaves, so nothing here has to watch for that."""
        async with aclosing(self._events):
            await self.stream_response(send)


def event_stream(writer: Writer, first: Piece, pieces: AsyncGenerator[Piece]) -> EventStream:
    """The response that streams an answer. Its caller has taken the first piece: a failure before that has an HTTP
    status, a later one is an event.
    """
    return EventStream(_events(writer, first, pieces))


async def _events(writer: Writer, piece: Piece, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[bytes]:
    async with aclosing(pieces):
        for event in writer.begin():
            yield event
        try:
            while not isinstance(piece, Answer):
                for event in writer.piece(piece):
                    yield event
                piece = await anext(pieces)
        except WorkspaceError as error:
            yield writer.failed(openai_error(error.http_status, str(error)))
            return
    async for event in writer.end(piece):
        yield event
