"""Answers a stream of NDJSON while it arrives: one line of JSON for each line, in order.

The service goes on reading while the caller does not read yet, since many clients send their whole body first. Answers
that wait lie in a temporary file. A short stream is answered with the status of its worst line; a longer one begins to
be answered with 202 before its end, and each line says its own status.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ingestion.intake import Answer, Intake, Origin, status_of
from ingestion.lines import batches_of_lines
from mlflow_project.errors import WorkspaceError
from mlflow_project.rules.ingestion import Stream

MEDIA_TYPE = "application/x-ndjson"
_HELD_BYTES = 262_144
_HELD_SECONDS = 1.0
_IN_MEMORY = 1_048_576
_MOST_WAITING = 268_435_456
_SILENT_SECONDS = 60.0
_PIECE = 65_536
_MOST_UNDER_WAY = 16
"""Batches that Kafka may have to confirm at the same time."""


@dataclass(frozen=True)
class _Batch:
    """Lines that are being taken: their numbers without empty ones, the number of the last one, and the answers."""

    numbers: list[int]
    last_line: int
    answers: asyncio.Future[list[Answer]]


@dataclass(frozen=True)
class _Failure:
    """Why the body was not read to its end."""

    answer: dict[str, object]


class StreamedAnswers(Response):
    """The response to a stream. It reads the request's body itself."""

    def __init__(self, intake: Intake, stream: Stream, origin: Origin) -> None:
        super().__init__()
        self._intake, self._stream, self._origin = intake, stream, origin
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed when the response ends
        self._written = self._sent = 0
        self._statuses: list[Answer] = []
        self._more, self._read = asyncio.Event(), asyncio.Event()
        self._ended = False
        self._free = asyncio.Semaphore(_MOST_UNDER_WAY)
        self._batches: asyncio.Queue[_Batch | _Failure | None] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, take and answer until the body ends, or until a record cannot be taken now."""
        taking = asyncio.create_task(self._take_all(_body(Request(scope, receive))))
        try:
            await self._hold()
            status = status_of(self._statuses) if self._ended else 202
            headers = [(b"content-type", MEDIA_TYPE.encode())]
            if status in (429, 503):
                headers.append((b"retry-after", b"5"))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            while not (self._ended and self._sent == self._written):
                if self._sent < self._written:
                    await send({"type": "http.response.body", "body": self._piece(), "more_body": True})
                    self._read.set()
                else:
                    self._more.clear()
                    await self._more.wait()
            await send({"type": "http.response.body", "body": b""})
        finally:
            taking.cancel()
            self._file.close()

    async def _hold(self) -> None:
        """Wait until the stream ended, or enough of it was answered to begin."""
        until = time.monotonic() + _HELD_SECONDS
        while not self._ended and self._written < _HELD_BYTES and (left := until - time.monotonic()) > 0:
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), left)
            except TimeoutError:
                return

    def _piece(self) -> bytes:
        self._file.seek(self._sent)
        piece = self._file.read(_PIECE)
        self._sent += len(piece)
        return piece

    async def _take_all(self, chunks: AsyncIterator[bytes]) -> None:
        """Read, and answer what was read before, at the same time: Kafka confirms a batch while the next one comes."""
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read_all(chunks))
                group.create_task(self._answer_all(reading))
        finally:
            self._ended = True
            self._more.set()

    async def _read_all(self, chunks: AsyncIterator[bytes]) -> None:
        line = 0
        try:
            async for lines in batches_of_lines(chunks, self._intake.most_bytes):
                await self._intake.courier.room()
                await self._free.acquire()
                numbered = [(number, raw) for number, raw in enumerate(lines, line + 1) if raw.strip()]
                line += len(lines)
                taken = asyncio.ensure_future(self._intake.take(self._stream, numbered, self._origin))
                self._batches.put_nowait(_Batch([number for number, _ in numbered], line, taken))
            self._batches.put_nowait(None)
        except (WorkspaceError, TimeoutError) as error:
            said = str(error) or f"The stream was silent for {_SILENT_SECONDS:g} s. Lines after {line} were not read."
            self._batches.put_nowait(_Failure({"line": line, "status": 408, "detail": said}))

    async def _answer_all(self, reading: asyncio.Task[None]) -> None:
        """Answer batch after batch. When one is not taken, stop the reading and answer those that are under way."""
        line = 0
        while not (reading.cancelled() and self._batches.empty()):
            batch = await self._batches.get()
            if not isinstance(batch, _Batch):
                if batch is not None:
                    self._write([batch.answer])
                    self._note([Answer(422, {})])
                return
            answers = await batch.answers
            line = batch.last_line
            self._write([answer.to_dict(number) for number, answer in zip(batch.numbers, answers, strict=True)])
            self._note(answers)
            if any(answer.retry_after is not None for answer in answers):
                reading.cancel()
                await asyncio.wait([reading])
            while self._written - self._sent > _MOST_WAITING:
                self._read.clear()
                await self._read.wait()
            self._free.release()
        said = f"Records are not taken now. Send the lines after {line} again later."
        self._write([{"line": line, "status": 503, "detail": said}])

    def _note(self, answers: list[Answer]) -> None:
        """Keep one answer of each status, for the status of a short stream."""
        known = {answer.status for answer in self._statuses}
        for answer in answers:
            if answer.status not in known:
                known.add(answer.status)
                self._statuses.append(answer)

    def _write(self, rows: list[dict[str, object]]) -> None:
        said = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
        self._file.seek(self._written)
        self._file.write(said)
        self._written += len(said)
        self._more.set()


async def _body(request: Request) -> AsyncIterator[bytes]:
    """The pieces of the body, each within a time."""
    pieces = request.stream().__aiter__()
    while True:
        try:
            async with asyncio.timeout(_SILENT_SECONDS):
                yield await anext(pieces)
        except StopAsyncIteration:
            return
