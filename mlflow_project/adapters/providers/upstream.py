"""One way to a provider over HTTP: asked again while nothing was received, never waited for without end.

In: an address and a JSON body. Out: the JSON answer, or the data of its server-sent events. Closing a stream early, or
cancelling the caller, closes the connection, which is how a provider learns to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson
from aiohttp import ClientResponse, ClientTimeout

from mlflow_project.adapters.providers.complaint import complaint, retry_after
from mlflow_project.adapters.providers.connections import CONNECTIONS, TRANSPORT_ERRORS, Address, address
from mlflow_project.adapters.providers.health import health_of
from mlflow_project.adapters.providers.patience import Patience, Tries
from mlflow_project.adapters.providers.sse import events
from mlflow_project.domain.release import Message
from mlflow_project.errors import ProviderError
from mlflow_project.telemetry.tracing import Nothing, Step, span

MOST_BYTES = 32 * 1024 * 1024
MOST_COMPLAINT = 65_536
_JSON = {"Content-Type": "application/json"}


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

    @cached_property
    def connecting(self) -> ClientTimeout:
        """The time-out that only the pool can keep; all others are kept here."""
        return ClientTimeout(sock_connect=self.patience.connect_seconds)

    async def whole(self, url: str, body: Any, messages: Sequence[Message]) -> dict[str, Any]:
        """The answer as JSON.

        Raises:
            ProviderError: no answer, an error status, or no JSON object.
        """
        to, content = address(url), orjson.dumps(body)
        tries = self._tries(to)
        while True:
            try:
                with self._trying(tries) as step:
                    async with asyncio.timeout(tries.left(self.patience.first_byte_seconds)) as limit:
                        response = await self._sent(to, content, step)
                        try:
                            await self._check(response, messages, tries, limit)
                            return _object(await _rest(response, tries, limit))
                        finally:
                            response.release()
            except ProviderError as error:
                await tries.pause(error)

    async def pieces(self, url: str, body: Any, messages: Sequence[Message]) -> AsyncGenerator[str]:
        """The data of each event, as it comes.

        Raises:
            ProviderError: as `whole`; after the first piece there is no second try.
        """
        to, content = address(url), orjson.dumps(body)
        tries = self._tries(to)
        while True:
            begun = False
            try:
                with self._trying(tries) as step:
                    async with asyncio.timeout(tries.left(self.patience.first_byte_seconds)) as limit:
                        response = await self._sent(to, content, step)
                        await self._check(response, messages, tries, limit)
                    try:
                        async with aclosing(events(_chunks(response, tries))) as found:
                            async for piece in found:
                                begun = True
                                yield piece
                    finally:
                        response.release()
                return
            except ProviderError as error:
                if begun:
                    raise
                await tries.pause(error)

    def refusal(self, status: int, body: bytes, messages: Sequence[Message], wait: str | None = None) -> ProviderError:
        """The error for a status that is no success."""
        said = complaint(status, body, self.secret, messages)
        return ProviderError(said, kind="http_error", status=status, retry_after=retry_after(wait))

    def _tries(self, to: Address) -> Tries:
        return Tries(self.patience, health_of(to.origin))

    @contextmanager
    def _trying(self, tries: Tries) -> Iterator[Step | Nothing]:
        """One try: what breaks in it counts against the provider."""
        tries.health.admit(self.name)
        with span("try", provider=self.name) as step:
            try:
                yield step
            except TRANSPORT_ERRORS as error:
                tries.health.failed()
                raise self._broken(error) from error

    async def _sent(self, to: Address, content: bytes, step: Step | Nothing) -> ClientResponse:
        """The answer as far as its head. Whoever releases it before its end closes the connection."""
        headers = {**_JSON, **step.headers(), **self.headers}
        return await CONNECTIONS.session().post(
            to.url, data=content, headers=headers, proxy=to.proxy, timeout=self.connecting, allow_redirects=False
        )

    async def _check(
        self, response: ClientResponse, messages: Sequence[Message], tries: Tries, limit: asyncio.Timeout
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
            raise self.refusal(response.status, said, messages, response.headers.get("Retry-After"))

    def _broken(self, error: Exception) -> ProviderError:
        if isinstance(error, TimeoutError):
            return ProviderError(f"{self.name} did not answer in time.", kind="timeout")
        why = type(error.__cause__ or error).__name__
        return ProviderError(f"The connection to {self.name} failed ({why}).", kind="transport")


async def _rest(response: ClientResponse, tries: Tries, limit: asyncio.Timeout, enough: int = MOST_BYTES + 1) -> bytes:
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


async def _chunks(response: ClientResponse, tries: Tries) -> AsyncGenerator[bytes]:
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
