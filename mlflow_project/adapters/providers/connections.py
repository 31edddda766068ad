"""The process's one pool of connections to providers, shared by all releases: httpx's interface over aiohttp's pool.

httpx's own pool looks through every connection for each request and slows down from a few dozen on. A client belongs to
the event loop that it was opened in, so there is one a loop; it is closed with the last release that holds the pool.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

MOST_CONNECTIONS = 1_000
IDLE_SECONDS = 30.0

TRANSPORT_ERRORS: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError)
"""What a broken connection raises; a time-out is a `TimeoutError`, itself or as the cause of one of these."""


class Connections:
    """`hold` once a release, `release` when it is closed; `client` is for the running event loop."""

    def __init__(self) -> None:
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()
        self._holders = 0

    def hold(self) -> None:
        """Keep the pool open."""
        self._holders += 1

    async def release(self) -> None:
        """The last one closes the running loop's client."""
        self._holders -= 1
        if self._holders == 0 and (client := self._clients.pop(asyncio.get_running_loop(), None)) is not None:
            await client.aclose()

    def client(self) -> httpx.AsyncClient:
        """The running loop's client."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = httpx.AsyncClient(
                transport=AiohttpTransport(client=_session), timeout=None, follow_redirects=False
            )
        return client


def timed_out(error: Exception) -> bool:
    """Whether it is a time-out; httpx-aiohttp calls a dropped connection one, its cause tells the truth."""
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=MOST_CONNECTIONS, keepalive_timeout=IDLE_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=True)


CONNECTIONS = Connections()
