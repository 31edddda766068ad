"""One way to a provider over HTTP: asked again while nothing was received, never waited for without end.

In: an address and a JSON body. Out: the JSON answer, or the data of its server-sent events. Closing a stream early, or
cancelling the caller, closes the connection, which is how a provider learns to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from mlflow_project.adapters.providers.complaint import complaint, retry_after
from mlflow_project.adapters.providers.connections import CONNECTIONS, TRANSPORT_ERRORS, Address, address, timed_out
from mlflow_project.adapters.providers.health import health_of
from mlflow_project.adapters.providers.patience import Patience, Tries
from mlflow_project.adapters.providers.sse import events
from mlflow_project.domain.release import Message
from mlflow_project.errors import ProviderError
from mlflow_project.telemetry.tracing import span

MOST_BYTES = 32 * 1024 * 1024
MOST_COMPLAINT = 65_536


@dataclass(frozen=True)
class Upstream:
    """`name` is what messages call it; `secret` goes out in a header and nowhere else."""

    name: str
    headers: Mapping[str, str] = field(repr=False)
    secret: str = field(repr=False)
    patience: Patience

    def __post_init__(self) -> None:
        CONNECTIONS.hold()

    async def aclose(self) -> None:
        """Let go of the shared connections."""
        await CONNECTIONS.release()

    async def whole(self, url: str, body: Any, messages: Sequence[Message]) -> dict[str, Any]:
        """The answer as JSON.

        Raises:
            ProviderError: no answer, an error status, or no JSON object.
        """
        tries = self._tries(url)
        while True:
            try:
                async with self._answer(url, body, messages, tries) as chunks:
                    return _object(b"".join([chunk async for chunk in chunks]))
            except ProviderError as error:
                await tries.pause(error)

    async def pieces(self, url: str, body: Any, messages: Sequence[Message]) -> AsyncGenerator[str]:
        """The data of each event, as it comes.

        Raises:
            ProviderError: as `whole`; after the first piece there is no second try.
        """
        tries = self._tries(url)
        while True:
            begun = False
            try:
                async with self._answer(url, body, messages, tries) as chunks, aclosing(events(chunks)) as found:
                    async for piece in found:
                        begun = True
                        yield piece
                return
            except ProviderError as error:
                if begun:
                    raise
                await tries.pause(error)

    def refusal(self, status: int, body: bytes, messages: Sequence[Message], wait: str | None = None) -> ProviderError:
        """The error for a status that is no success."""
        said = complaint(status, body, self.secret, messages)
        return ProviderError(said, kind="http_error", status=status, retry_after=retry_after(wait))

    def _tries(self, url: str) -> Tries:
        return Tries(self.patience, health_of(address(url).origin))

    @asynccontextmanager
    async def _answer(
        self, url: str, body: Any, messages: Sequence[Message], tries: Tries
    ) -> AsyncIterator[AsyncGenerator[bytes]]:
        """One try: the body of a successful answer, piece by piece."""
        tries.health.admit(self.name)
        with span("try", provider=self.name) as step:
            try:
                response = await self._sent(address(url), orjson.dumps(body), tries, step.headers())
                try:
                    if not response.is_success:
                        raise await self._refused(response, messages, tries)
                    tries.health.succeeded()
                    async with aclosing(_chunks(response, tries, step.first)) as chunks:
                        yield chunks
                finally:
                    await response.aclose()
            except TRANSPORT_ERRORS as error:
                tries.health.failed()
                raise self._broken(error) from error

    async def _sent(self, to: Address, content: bytes, tries: Tries, context: Mapping[str, str]) -> httpx.Response:
        timeouts = {"connect": tries.left(self.patience.connect_seconds)}
        # Given as a stream, a request spends no time on headers that the transport adds itself.
        stream = httpx.ByteStream(content)
        headers = {"Content-Type": "application/json", **context, **self.headers}
        request = httpx.Request("POST", to.url, headers=headers, stream=stream, extensions={"timeout": timeouts})
        request.read()
        async with asyncio.timeout(tries.left(self.patience.first_byte_seconds)):
            response = await CONNECTIONS.transport(to.proxy).handle_async_request(request)
        response.request = request
        return response

    async def _refused(self, response: httpx.Response, messages: Sequence[Message], tries: Tries) -> ProviderError:
        body = b""
        async with aclosing(_chunks(response, tries)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > MOST_COMPLAINT:
                    break
        if response.status_code >= 500:
            tries.health.failed()
        else:
            tries.health.succeeded()
        return self.refusal(response.status_code, body, messages, response.headers.get("Retry-After"))

    def _broken(self, error: Exception) -> ProviderError:
        if timed_out(error):
            return ProviderError(f"{self.name} did not answer in time.", kind="timeout")
        why = type(error.__cause__ or error).__name__
        return ProviderError(f"The connection to {self.name} failed ({why}).", kind="transport")


async def _chunks(
    response: httpx.Response, tries: Tries, arrived: Callable[[], None] | None = None
) -> AsyncGenerator[bytes]:
    """The body, each piece within its time; `arrived` is called for each. The timer never runs while the reader of this
    generator works."""
    received: AsyncIterator[bytes] = response.aiter_bytes()
    if "content-encoding" not in response.headers and isinstance(response.stream, httpx.AsyncByteStream):
        received = aiter(response.stream)
    size = 0
    while True:
        async with asyncio.timeout(tries.left(tries.patience.between_bytes_seconds)):
            chunk = await anext(received, None)
        if chunk is None:
            return
        if arrived is not None:
            arrived()
        size += len(chunk)
        if size > MOST_BYTES:
            raise ProviderError("The provider sent more than 32 MiB.", kind="invalid_json")
        yield chunk


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProviderError("The provider answered with something that is no JSON.", kind="invalid_json") from error
    if not isinstance(data, dict):
        raise ProviderError("The provider answered with JSON that is no object.", kind="invalid_json")
    return data
