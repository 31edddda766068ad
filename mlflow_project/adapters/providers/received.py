"""Reads what a provider sends: bodies, server-sent events and JSON, each bounded in size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
import orjson

from mlflow_project.adapters.providers.patience import Tries
from mlflow_project.errors import ProviderError

MOST_BYTES = 8 * 1024 * 1024
"""Of an answer, or of all events of a stream. A model's longest answer has less than one."""
MOST_MARKS = 500_000
"""Commas and opening brackets of an answer that is parsed: half a million take about 30 ms, in which nothing else can
run. A long answer has some thousands."""


class TimedBody(httpx2.AsyncByteStream):
    """A body whose every piece comes in time. No time runs while the reader is busy with the piece before."""

    def __init__(self, answer: httpx2.Response, tries: Tries) -> None:
        self._answer = answer
        self._tries = tries

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._answer.aiter_raw()
        while True:
            async with asyncio.timeout(self._tries.left(self._tries.patience.between_bytes_seconds)):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield piece


async def read_body(response: httpx2.Response, most: int, *, cut: bool = False) -> bytes:
    """The body, uncompressed. One of more than `most` bytes is cut there, or an error."""
    received = bytearray()
    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            received += piece
            if len(received) > most:
                if cut:
                    break
                raise _too_large()
    return bytes(received[:most])


async def read_events(response: httpx2.Response) -> AsyncGenerator[str]:
    """The data of each server-sent event."""
    size = 0
    try:
        async for event in httpx2.EventSource(response, max_event_size=MOST_BYTES):
            size += len(event.data)
            if size > MOST_BYTES:
                raise _too_large()
            if event.data:
                yield event.data
    except httpx2.SSEError as error:
        raise ProviderError(f"The provider's stream cannot be read: {error}", kind="invalid_json") from error


def _too_large() -> ProviderError:
    return ProviderError(f"The provider sent more than {MOST_BYTES // 2**20} MiB.", kind="invalid_json")


def json_object(body: bytes) -> dict[str, Any]:
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_MARKS:
        raise ProviderError("The provider answered with JSON of too many parts.", kind="invalid_json")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProviderError("The provider answered with something that is no JSON.", kind="invalid_json") from error
    if not isinstance(data, dict):
        raise ProviderError("The provider answered with JSON that is no object.", kind="invalid_json")
    return data
