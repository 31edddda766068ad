"""The process's one pool of connections to providers, shared by all releases: aiohttp's.

httpx's own pool looks through every connection for each request and slows down from a few dozen on. Its API over
aiohttp's pool builds every request and wraps every answer a second time, which was half of what a provider's call cost
the processor (decision 14). A session belongs to the event loop that it was opened in; it is closed
with the last release that holds the pool.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

import aiohttp

MOST_CONNECTIONS = 1_000
IDLE_SECONDS = 30.0

TRANSPORT_ERRORS: tuple[type[Exception], ...] = (aiohttp.ClientError, OSError)
"""What a broken connection raises; a time-out is a `TimeoutError`, which is an `OSError` too."""


@dataclass(frozen=True)
class Address:
    """Where a provider is asked, and the proxy on the way there, as the environment has it (`HTTPS_PROXY`, …)."""

    url: str
    origin: str
    proxy: str | None


@functools.cache
def address(url: str) -> Address:
    """Read once: looking for proxies costs more than a request."""
    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    return Address(url, f"{parts.scheme}://{parts.netloc}", proxy)


class Connections:
    """`hold` once a release, `release` when it is closed; `session` is for the running event loop."""

    def __init__(self) -> None:
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
        self._holders = 0

    def hold(self) -> None:
        """Keep the pool open."""
        self._holders += 1

    async def release(self) -> None:
        """The last one closes the running loop's session."""
        self._holders -= 1
        if self._holders == 0:
            session = self._sessions.pop(asyncio.get_running_loop(), None)
            if session is not None:
                await session.close()

    def session(self) -> aiohttp.ClientSession:
        """The running loop's."""
        loop = asyncio.get_running_loop()
        found = self._sessions.get(loop)
        if found is None:
            found = self._sessions[loop] = _session()
        return found


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=MOST_CONNECTIONS, keepalive_timeout=IDLE_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


CONNECTIONS = Connections()
