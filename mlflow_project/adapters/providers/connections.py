"""The process's one pool of connections to providers, shared by all releases: httpx's transport over aiohttp's pool.

httpx's own pool looks through every connection for each request and slows down from a few dozen on; its client adds
cookies, redirects and authentication, which no provider wants, at twice the cost of the request itself. So requests go
straight to a transport. One belongs to the event loop that it was opened in, and to the proxy that leads to the
address; it is closed with the last release that holds the pool.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

MOST_CONNECTIONS = 1_000
IDLE_SECONDS = 30.0

TRANSPORT_ERRORS: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError)
"""What a broken connection raises; a time-out is a `TimeoutError`, itself or as the cause of one of these."""


@dataclass(frozen=True)
class Address:
    """Where a provider is asked, and the proxy on the way there, as the environment has it (`HTTPS_PROXY`, …)."""

    url: httpx.URL
    proxy: str | None

    @property
    def origin(self) -> str:
        return f"{self.url.scheme}://{self.url.netloc.decode()}"


@functools.cache
def address(url: str) -> Address:
    """Read once: looking for proxies costs more than a request."""
    parsed = httpx.URL(url)
    return Address(parsed, None if proxy_bypass(parsed.host) else getproxies().get(parsed.scheme))


class Connections:
    """`hold` once a release, `release` when it is closed; `transport` is for the running event loop."""

    def __init__(self) -> None:
        self._transports: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str | None, AiohttpTransport]]
        self._transports = WeakKeyDictionary()
        self._holders = 0

    def hold(self) -> None:
        """Keep the pool open."""
        self._holders += 1

    async def release(self) -> None:
        """The last one closes the running loop's transports."""
        self._holders -= 1
        if self._holders == 0:
            for transport in self._transports.pop(asyncio.get_running_loop(), {}).values():
                await transport.aclose()

    def transport(self, proxy: str | None) -> AiohttpTransport:
        """The running loop's way through this proxy, or through none."""
        ways = self._transports.setdefault(asyncio.get_running_loop(), {})
        if proxy not in ways:
            ways[proxy] = AiohttpTransport(client=_session, proxy=httpx.Proxy(proxy) if proxy else None)
        return ways[proxy]


def timed_out(error: Exception) -> bool:
    """Whether it is a time-out; httpx-aiohttp calls a dropped connection one, its cause tells the truth."""
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=MOST_CONNECTIONS, keepalive_timeout=IDLE_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


CONNECTIONS = Connections()
