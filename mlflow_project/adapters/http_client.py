"""Opens HTTP clients for hot paths: httpx2's interface over aiohttp's connections (decision 15).

A client belongs to the event loop of its first request. It takes proxies from the environment (`HTTPS_PROXY`,
`NO_PROXY`) unless it is given one, follows no redirect, keeps no cookie and reads no `.netrc`. Whoever asks sets the
time limits.
"""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from httpx_aiohttp.httpx2 import AiohttpTransport

FAILURES: tuple[type[Exception], ...] = (httpx2.RequestError, aiohttp.ClientError, OSError)
"""What a request without an answer raises. A time-out is a `TimeoutError`, which is an `OSError`."""


def open_client(
    *, connections: int = 1_000, idle_seconds: float = 30.0, proxy: str | None = None
) -> httpx2.AsyncClient:
    """A client with at most so many connections, each closed after so many seconds without a request. `proxy` takes the
    place of those that the environment names."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx2.AsyncClient(transport=_Transport(connections, idle_seconds, proxy), cookies=no_cookies, timeout=None)


class _Transport(httpx2.AsyncBaseTransport):
    """Sends each request through the given proxy. Without one: through the proxy that the environment names for the
    request's host, or directly."""

    def __init__(self, connections: int, idle_seconds: float, proxy: str | None) -> None:
        self._proxy = proxy
        self._connections = connections
        self._idle_seconds = idle_seconds
        self._tls = httpx2.create_ssl_context()
        self._to_host: dict[tuple[str, str], AiohttpTransport] = {}
        self._by_proxy: dict[str | None, AiohttpTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = (request.url.scheme, request.url.host)
        transport = self._to_host.get(host)
        if transport is None:
            transport = self._to_host[host] = self._transport(self._proxy or proxy_for(*host))
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        for transport in self._by_proxy.values():
            await transport.aclose()

    def _transport(self, proxy: str | None) -> AiohttpTransport:
        if proxy not in self._by_proxy:
            through = httpx2.Proxy(proxy) if proxy else None
            self._by_proxy[proxy] = AiohttpTransport(proxy=through, verify=self._tls, client=self._session)
        return self._by_proxy[proxy]

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=self._idle_seconds, ssl=self._tls)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def proxy_for(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for a host. One without a scheme is asked over HTTP."""
    proxy = None if proxy_bypass(host) else getproxies().get(scheme)
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy
