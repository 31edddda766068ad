"""Asks one provider over HTTP: again while nothing was received, and never waiting without end.

In: an endpoint, an address and a JSON body. Out: the JSON answer, or the data of its server-sent events. Closing a
stream early, or cancelling the caller, closes the connection, which is how a provider learns to stop. What a provider
sends is bounded in size and in time, compressed or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson

from mlflow_project.adapters.http_client import FAILURES, open_client
from mlflow_project.adapters.providers.complaint import complaint, retry_after
from mlflow_project.adapters.providers.endpoints import Endpoint
from mlflow_project.adapters.providers.health import Health
from mlflow_project.adapters.providers.patience import Patience, Rate, Tries
from mlflow_project.adapters.providers.received import MOST_BYTES, TimedBody, json_object, read_body, read_events
from mlflow_project.domain.release import Message
from mlflow_project.errors import ConfigError, ProviderError
from mlflow_project.rules.masking import Masker
from mlflow_project.telemetry.tracing import Nothing, Step, span

MOST_COMPLAINT = 65_536
_FAILURES: tuple[type[Exception], ...] = (ProviderError, *FAILURES)
_JSON = {"Content-Type": "application/json"}


class Network:
    """What all providers of a process share: connections, each model's health, each endpoint's places, the rate, the
    masker.

    One HTTP client serves every endpoint without a proxy of its own; each such proxy has one more.
    """

    def __init__(self, masker: Masker, per_minute: float | None = None) -> None:
        self.masker = masker
        self.rate = Rate(per_minute) if per_minute is not None else None
        self._clients: dict[str | None, httpx2.AsyncClient] = {}
        self._health: dict[tuple[str, str], Health] = {}
        self._places: dict[str, asyncio.Semaphore] = {}

    def client(self, proxy: str | None) -> httpx2.AsyncClient:
        """The client that asks through this proxy; None: directly, or as the environment says."""
        if proxy not in self._clients:
            self._clients[proxy] = open_client(proxy=proxy)
        return self._clients[proxy]

    def health(self, endpoint: str, model: str) -> Health:
        """The health of one model at one endpoint."""
        return self._health.setdefault((endpoint, model), Health())

    def places(self, endpoint: Endpoint) -> asyncio.Semaphore | None:
        """The places of an endpoint that bears only so many requests at once."""
        most = endpoint.limits.concurrent
        return self._places.setdefault(endpoint.name, asyncio.Semaphore(most)) if most is not None else None

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()


@dataclass(frozen=True)
class Upstream:
    """One model at one endpoint. `name` is what messages call it; `secret` goes out in a header and nowhere else.

    Raises:
        ConfigError: a header holds a line break.
    """

    name: str
    headers: Mapping[str, str] = field(repr=False)
    secret: str = field(repr=False)
    patience: Patience
    network: Network = field(repr=False)
    client: httpx2.AsyncClient = field(repr=False)
    health: Health = field(repr=False)
    places: asyncio.Semaphore | None = field(repr=False, default=None)
    queue_seconds: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        headers: Mapping[str, str],
        endpoint: Endpoint,
        model: str,
        patience: Patience,
        network: Network,
    ) -> Upstream:
        """The upstream of a model that a release asks at an endpoint."""
        return cls(
            name=name,
            headers=headers,
            secret=endpoint.key.get_secret_value() if endpoint.key is not None else "",
            patience=patience,
            network=network,
            client=network.client(endpoint.proxy),
            health=network.health(endpoint.name, model),
            places=network.places(endpoint),
            queue_seconds=endpoint.limits.queue_seconds,
        )

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
        content = orjson.dumps(body)
        async with self._place():
            tries = Tries(self.patience, self.health)
            while True:
                await self._turn(tries)
                try:
                    with self._try() as step:
                        async with self._asked(url, content, messages, tries, step) as response:
                            return json_object(await read_body(response, MOST_BYTES))
                except _FAILURES as error:
                    await tries.pause(self._failure(error))

    async def pieces(self, url: str, body: Any, messages: Sequence[Message]) -> AsyncGenerator[str]:
        """Ask, and yield the data of each event as it comes.

        Raises:
            ProviderError: as `whole`; after the first piece there is no second try.
        """
        content = orjson.dumps(body)
        async with self._place():
            tries = Tries(self.patience, self.health)
            while True:
                begun = False
                await self._turn(tries)
                try:
                    with self._try() as step:
                        async with (
                            self._asked(url, content, messages, tries, step) as response,
                            aclosing(read_events(response)) as events,
                        ):
                            async for data in events:
                                begun = True
                                yield data
                    return
                except _FAILURES as error:
                    await tries.pause(self._failure(error), begun=begun)

    def refusal(self, code: object, body: bytes, messages: Sequence[Message], wait: str | None = None) -> ProviderError:
        """The error for a status that is no success. A code that is no status of an error counts as 502."""
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        said = complaint(status, body, self.secret, messages, self.network.masker)
        return ProviderError(said, kind="http_error", status=status, retry_after=retry_after(wait))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Hold one of the endpoint's places. The wait for it counts against no limit of time and no provider.

        Raises:
            ProviderError: no place was free in `queue_seconds` (`busy`).
        """
        if self.places is None:
            yield
            return
        try:
            async with asyncio.timeout(self.queue_seconds):
                await self.places.acquire()
        except TimeoutError as error:
            raise ProviderError(
                f"Every place of {self.name} was taken for {self.queue_seconds:g} seconds.", kind="busy", retry_after=1
            ) from error
        try:
            yield
        finally:
            self.places.release()

    async def _turn(self, tries: Tries) -> None:
        """Wait until the process's rate allows one more request. The wait counts against no limit of time."""
        if self.network.rate is not None:
            tries.extend(await self.network.rate.turn())

    def _try(self) -> Step | Nothing:
        """Begin a try. Raises ProviderError while the provider is left alone."""
        self.health.admit(self.name)
        return span("try", provider=self.name)

    @asynccontextmanager
    async def _asked(
        self, url: str, content: bytes, messages: Sequence[Message], tries: Tries, step: Step | Nothing
    ) -> AsyncIterator[httpx2.Response]:
        """The head of a successful answer; its body comes within the limits of time.

        Raises:
            ProviderError: the status is no success.
        """
        connect = httpx2.Timeout(None, connect=self.patience.connect_seconds)
        headers = {**_JSON, **self.headers, **step.headers()}
        request = self.client.build_request("POST", url, content=content, headers=headers, timeout=connect)
        async with asyncio.timeout(tries.left(self.patience.first_byte_seconds)):
            answer = await self.client.send(request, stream=True)
        try:
            response = httpx2.Response(answer.status_code, headers=answer.headers, stream=TimedBody(answer, tries))
            response.request = answer.request
            self.health.answered(answer.status_code)
            if not answer.is_success:
                said = await read_body(response, MOST_COMPLAINT, cut=True)
                raise self.refusal(answer.status_code, said, messages, answer.headers.get("Retry-After"))
            yield response
        finally:
            await answer.aclose()

    def _failure(self, error: Exception) -> ProviderError:
        """What a try ended with. A connection that broke counts against the provider."""
        if isinstance(error, ProviderError):
            return error
        self.health.failed()
        cause = error.__cause__ or error  # aiohttp's own, which tells more than what httpx-aiohttp makes of it
        if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError):
            failure = ProviderError(f"{self.name} did not answer in time.", kind="timeout")
        else:
            name = type(cause).__name__
            failure = ProviderError(f"The connection to {self.name} failed ({name}).", kind="transport")
        failure.__cause__ = error
        return failure
