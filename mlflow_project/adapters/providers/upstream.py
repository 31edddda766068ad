"""Asks one provider over HTTP: again while nothing was received, and never waiting without end.

In: an address and a JSON body. Out: the JSON answer, or the data of its server-sent events. Closing a stream early, or
cancelling the caller, closes the connection, which is how a provider learns to stop. What a provider sends is bounded
in size and in time, compressed or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from mlflow_project.adapters.http_client import FAILURES, open_client
from mlflow_project.adapters.providers.complaint import complaint, retry_after
from mlflow_project.adapters.providers.health import Health
from mlflow_project.adapters.providers.patience import Patience, Tries
from mlflow_project.domain.release import Message
from mlflow_project.errors import ConfigError, ProviderError
from mlflow_project.rules.masking import Masker
from mlflow_project.telemetry.tracing import Nothing, Step, span

MOST_BYTES = 8 * 1024 * 1024
"""Of an answer, or of all events of a stream. A model's longest answer has less than one."""
MOST_MARKS = 500_000
"""Commas and opening brackets of an answer that is parsed: half a million take about 30 ms, in which nothing else can
run. A long answer has some thousands."""
MOST_COMPLAINT = 65_536
_FAILURES: tuple[type[Exception], ...] = (ProviderError, *FAILURES)
_JSON = {"Content-Type": "application/json"}


class Network:
    """What all providers of a process share: the connections, how each address fares, and what masks their messages."""

    def __init__(self, masker: Masker) -> None:
        self.client = open_client()
        self.masker = masker
        self._health: dict[str, Health] = {}

    def health(self, url: str) -> Health:
        """The health of what answers at an address."""
        return self._health.setdefault(_origin(url), Health())


@dataclass(frozen=True)
class Upstream:
    """`name` is what messages call the provider; `secret` goes out in a header and nowhere else.

    Raises:
        ConfigError: a header holds a line break.
    """

    name: str
    headers: Mapping[str, str] = field(repr=False)
    secret: str = field(repr=False)
    patience: Patience
    network: Network = field(repr=False)

    def __post_init__(self) -> None:
        if any(sign in value for value in self.headers.values() for sign in "\r\n\0"):
            raise ConfigError(f"The key for {self.name} holds a line break: it cannot stand in a header.")
        if not all(value.isascii() for value in self.headers.values()):
            raise ConfigError(f"The key for {self.name} holds a character that cannot stand in a header.")

    async def whole(self, url: str, body: Any, messages: Sequence[Message]) -> dict[str, Any]:
        """Ask, and return the answer as JSON.

        Raises:
            ProviderError: no answer, an error status, or no JSON object.
        """
        content, tries = orjson.dumps(body), self._tries(url)
        while True:
            try:
                with self._try(tries) as step:
                    async with self._asked(url, content, messages, tries, step) as response:
                        return _object(await _read(response, MOST_BYTES))
            except _FAILURES as error:
                await tries.pause(self._failure(error, tries))

    async def pieces(self, url: str, body: Any, messages: Sequence[Message]) -> AsyncGenerator[str]:
        """Ask, and yield the data of each event as it comes.

        Raises:
            ProviderError: as `whole`; after the first piece there is no second try.
        """
        content, tries = orjson.dumps(body), self._tries(url)
        while True:
            begun = False
            try:
                with self._try(tries) as step:
                    async with (
                        self._asked(url, content, messages, tries, step) as response,
                        aclosing(_events(response)) as events,
                    ):
                        async for data in events:
                            begun = True
                            yield data
                return
            except _FAILURES as error:
                await tries.pause(self._failure(error, tries), begun=begun)

    def refusal(self, code: object, body: bytes, messages: Sequence[Message], wait: str | None = None) -> ProviderError:
        """The error for a status that is no success. A code that is no status of an error counts as 502."""
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        said = complaint(status, body, self.secret, messages, self.network.masker)
        return ProviderError(said, kind="http_error", status=status, retry_after=retry_after(wait))

    def _tries(self, url: str) -> Tries:
        return Tries(self.patience, self.network.health(url))

    def _try(self, tries: Tries) -> Step | Nothing:
        """Begin a try. Raises ProviderError while the provider is left alone."""
        tries.health.admit(self.name)
        return span("try", provider=self.name)

    @asynccontextmanager
    async def _asked(
        self, url: str, content: bytes, messages: Sequence[Message], tries: Tries, step: Step | Nothing
    ) -> AsyncIterator[httpx2.Response]:
        """The head of a successful answer; its body comes within the limits of time.

        Raises:
            ProviderError: the status is no success.
        """
        client, connect = self.network.client, httpx2.Timeout(None, connect=self.patience.connect_seconds)
        headers = {**_JSON, **self.headers, **step.headers()}
        request = client.build_request("POST", url, content=content, headers=headers, timeout=connect)
        async with asyncio.timeout(tries.left(self.patience.first_byte_seconds)):
            answer = await client.send(request, stream=True)
        try:
            response = httpx2.Response(answer.status_code, headers=answer.headers, stream=_Timed(answer, tries))
            response.request = answer.request
            tries.health.answered(answer.status_code)
            if not answer.is_success:
                said = await _read(response, MOST_COMPLAINT, cut=True)
                raise self.refusal(answer.status_code, said, messages, answer.headers.get("Retry-After"))
            yield response
        finally:
            await answer.aclose()

    def _failure(self, error: Exception, tries: Tries) -> ProviderError:
        """What a try ended with. A connection that broke counts against the provider."""
        if isinstance(error, ProviderError):
            return error
        tries.health.failed()
        cause = error.__cause__ or error  # aiohttp's own, which tells more than what httpx-aiohttp makes of it
        if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError):
            failure = ProviderError(f"{self.name} did not answer in time.", kind="timeout")
        else:
            name = type(cause).__name__
            failure = ProviderError(f"The connection to {self.name} failed ({name}).", kind="transport")
        failure.__cause__ = error
        return failure


class _Timed(httpx2.AsyncByteStream):
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


async def _read(response: httpx2.Response, most: int, *, cut: bool = False) -> bytes:
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


async def _events(response: httpx2.Response) -> AsyncGenerator[str]:
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


@cache
def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _too_large() -> ProviderError:
    return ProviderError(f"The provider sent more than {MOST_BYTES // 2**20} MiB.", kind="invalid_json")


def _object(body: bytes) -> dict[str, Any]:
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_MARKS:
        raise ProviderError("The provider answered with JSON of too many parts.", kind="invalid_json")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProviderError("The provider answered with something that is no JSON.", kind="invalid_json") from error
    if not isinstance(data, dict):
        raise ProviderError("The provider answered with JSON that is no object.", kind="invalid_json")
    return data
