"""One way to a provider over HTTP: asked again while nothing was received, never waited for without end.

In: an address and a JSON body. Out: the JSON answer, or the data of its server-sent events. Closing a stream early, or
cancelling the caller, closes the connection, which is how a provider learns to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import ClientTimeout

from mlflow_project.adapters.connections import CONNECTIONS, TRANSPORT_ERRORS, Headers, Response
from mlflow_project.adapters.providers.complaint import complaint, retry_after
from mlflow_project.adapters.providers.health import health_of
from mlflow_project.adapters.providers.patience import Patience, Tries
from mlflow_project.adapters.providers.sse import events
from mlflow_project.domain.release import Message
from mlflow_project.errors import ConfigError, ProviderError
from mlflow_project.telemetry.tracing import Nothing, Step, span

MOST_BYTES = 32 * 1024 * 1024
MOST_COMPLAINT = 65_536
_FAILURES: tuple[type[Exception], ...] = (ProviderError, *TRANSPORT_ERRORS)
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Upstream:
    """`name` is what messages call it; `secret` goes out in a header and nowhere else.

    Raises:
        ConfigError: a header would end before its end.
    """

    name: str
    headers: Mapping[str, str] = field(repr=False)
    secret: str = field(repr=False)
    patience: Patience

    def __post_init__(self) -> None:
        if any(sign in value for value in self.headers.values() for sign in "\r\n\0"):
            raise ConfigError(f"The key for {self.name} holds a line break: it cannot stand in a header.")
        CONNECTIONS.hold()

    async def aclose(self) -> None:
        """Let go of the shared connections."""
        await CONNECTIONS.release()

    @cached_property
    def _connecting(self) -> ClientTimeout:
        """The time-out that only the pool can keep; all others are kept here."""
        return ClientTimeout(sock_connect=self.patience.connect_seconds)

    @cached_property
    def _constant(self) -> Headers:
        return (*_JSON.items(), *self.headers.items())

    async def whole(self, url: str, body: Any, messages: Sequence[Message]) -> dict[str, Any]:
        """The answer as JSON.

        Raises:
            ProviderError: no answer, an error status, or no JSON object.
        """
        content, tries = orjson.dumps(body), self._tries(url)
        while True:
            try:
                with self._try(tries) as step:
                    async with asyncio.timeout(tries.left(self.patience.first_byte_seconds)) as limit:
                        response = await self._sent(url, content, step)
                        try:
                            await self._check(response, messages, tries, limit)
                            return _object(await _rest(response, tries, limit))
                        finally:
                            response.release()
            except _FAILURES as error:
                await tries.pause(self._failure(error, tries))

    async def pieces(self, url: str, body: Any, messages: Sequence[Message]) -> AsyncGenerator[str]:
        """The data of each event, as it comes.

        Raises:
            ProviderError: as `whole`; after the first piece there is no second try.
        """
        content, tries = orjson.dumps(body), self._tries(url)
        while True:
            begun = False
            try:
                with self._try(tries) as step:
                    async with asyncio.timeout(tries.left(self.patience.first_byte_seconds)) as limit:
                        response = await self._sent(url, content, step)
                        await self._check(response, messages, tries, limit)
                    try:
                        async with aclosing(events(_chunks(response, tries))) as found:
                            async for piece in found:
                                begun = True
                                yield piece
                    finally:
                        response.release()
                return
            except _FAILURES as error:
                await tries.pause(self._failure(error, tries), begun=begun)

    def refusal(self, status: int, body: bytes, messages: Sequence[Message], wait: str | None = None) -> ProviderError:
        """The error for a status that is no success."""
        said = complaint(status, body, self.secret, messages)
        return ProviderError(said, kind="http_error", status=status, retry_after=retry_after(wait))

    def _tries(self, url: str) -> Tries:
        return Tries(self.patience, health_of(_origin(url)))

    def _try(self, tries: Tries) -> Step | Nothing:
        """A try's step.

        Raises:
            ProviderError: the provider is left alone for now.
        """
        tries.health.admit(self.name)
        return span("try", provider=self.name)

    async def _sent(self, url: str, content: bytes, step: Step | Nothing) -> Response:
        """The answer as far as its head. Whoever releases it before its end closes the connection."""
        return await CONNECTIONS.way(url, self._constant).post(content, step.headers(), self._connecting)

    async def _check(
        self, response: Response, messages: Sequence[Message], tries: Tries, limit: asyncio.Timeout
    ) -> None:
        """Whether it is a success; raises what the provider complains of, and then gives the connection back."""
        if response.status < 500:
            tries.health.succeeded()
        else:
            tries.health.failed()
        if not 200 <= response.status < 300:
            try:
                said = await _rest(response, tries, limit, MOST_COMPLAINT)
            finally:
                response.release()
            raise self.refusal(response.status, said, messages, response.retry_after)

    def _failure(self, error: Exception, tries: Tries) -> ProviderError:
        """What a try ended with; what broke on the way counts against the provider."""
        if isinstance(error, ProviderError):
            return error
        tries.health.failed()
        if isinstance(error, TimeoutError):
            failure = ProviderError(f"{self.name} did not answer in time.", kind="timeout")
        else:
            why = type(error.__cause__ or error).__name__
            failure = ProviderError(f"The connection to {self.name} failed ({why}).", kind="transport")
        failure.__cause__ = error
        return failure


async def _rest(response: Response, tries: Tries, limit: asyncio.Timeout, enough: int = MOST_BYTES + 1) -> bytes:
    """The body, each piece within its time; no more than it takes to have `enough` bytes."""
    if response.content.is_eof():  # most answers came in one piece with their head: nothing is waited for
        whole = response.content.read_nowait()
        _check_size(len(whole))
        return whole
    received = bytearray()
    while not response.content.at_eof() and len(received) < enough:
        limit.reschedule(asyncio.get_running_loop().time() + tries.left(tries.patience.between_bytes_seconds))
        received += await response.content.readany()
        _check_size(len(received))
    return bytes(received)


async def _chunks(response: Response, tries: Tries) -> AsyncGenerator[bytes]:
    """The body as it comes. The timer never runs while the reader of this generator works."""
    size = 0
    while not response.content.at_eof():
        chunk = response.content.read_nowait()
        if not chunk:
            async with asyncio.timeout(tries.left(tries.patience.between_bytes_seconds)):
                chunk = await response.content.readany()
        size += len(chunk)
        _check_size(size)
        yield chunk


@cache
def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise ProviderError("The provider sent more than 32 MiB.", kind="invalid_json")


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProviderError("The provider answered with something that is no JSON.", kind="invalid_json") from error
    if not isinstance(data, dict):
        raise ProviderError("The provider answered with JSON that is no object.", kind="invalid_json")
    return data
