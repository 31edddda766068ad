"""How a server asks others over HTTP: by aiohttp's pool, proxies, TLS and parser, without its session; and the
process's one pool of connections to providers, shared by all releases.

A session builds a request's headers, its body and its writer anew each time, sends the body in a task of its own, and
looks for cookies and redirects, which was half of what a provider's call cost the processor (decision 14). What never
varies on the way to an address is made once here, and a request is one write. The usual answer, a plain 200 in one
piece, is known at sight; all others are parsed by aiohttp. A pool belongs to the event loop that it was opened in; the
providers' is closed with the last release that holds it.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

from aiohttp import ClientConnectionError, ClientError, ClientRequest, ClientTimeout, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

MOST_CONNECTIONS = 1_000
IDLE_SECONDS = 30.0
_SWITCHED = 101  # the one answer below 200 that no other follows

TRANSPORT_ERRORS: tuple[type[Exception], ...] = (ClientError, OSError)
"""What a broken connection raises; a time-out is a `TimeoutError`, which is an `OSError` too."""

Headers = tuple[tuple[str, str], ...]


class Content(Protocol):
    """A body as it comes, as aiohttp's `StreamReader` has it."""

    def is_eof(self) -> bool:
        """Whether all of it is here, read or not."""

    def at_eof(self) -> bool:
        """Whether all of it was read."""

    def read_nowait(self) -> bytes:
        """What is here."""

    async def readany(self) -> bytes:
        """What is here, or what comes next."""


class Whole:
    """A body that came in one piece with its head."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def is_eof(self) -> bool:
        return True

    def at_eof(self) -> bool:
        return not self._body

    def read_nowait(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def readany(self) -> bytes:
        return self.read_nowait()


@dataclass(slots=True)
class Response:
    """An answer as far as its head. Whoever releases it before the end of its content closes the connection."""

    status: int
    retry_after: str | None
    content: Content
    _connection: Connection

    async def read(self) -> bytes:
        """All of the content."""
        parts = []
        while not self.content.at_eof():
            parts.append(await self.content.readany())
        return b"".join(parts)

    def release(self) -> None:
        """Give the connection back; closed, where it still has something to send."""
        _stop_sending(self._connection)
        self._connection.release()


_TELLING = rb"(?:content-length|content-encoding|transfer-encoding|connection|proxy-connection):"
_OTHER_LINE = rb"(?!%b)[!#$%%&'*+.^_`|~0-9a-z-]+:[^\r\n\0]*\r\n" % _TELLING
_USUAL = re.compile(
    rb"HTTP/1\.1 200 [^\r\n]*\r\n(?:%b)*content-length:[ \t]*([0-9]{1,9})[ \t]*\r\n(?:%b)*\r\n"
    % (_OTHER_LINE, _OTHER_LINE),
    re.IGNORECASE,
)
"""A head after which so many bytes follow as they are, and the connection goes on."""


class _Receiver(ResponseHandler):
    """aiohttp's, of a connection. For the usual answer it makes no parser, no reader and no queue."""

    _asked: asyncio.Future[bytes | None] | None = None

    def usual_answer(self) -> asyncio.Future[bytes | None]:
        """The body, once it is here; None where aiohttp's parser has what came, or nothing will: `read` says which."""
        self._asked = self._loop.create_future()
        return self._asked

    def data_received(self, data: bytes) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            head = _USUAL.match(data)
            if head is not None and head.end() + int(head[1]) == len(data):
                asked.set_result(data[head.end() :])
                return
            self.set_response_params(read_until_eof=True)
            asked.set_result(None)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)


class Pool(TCPConnector):
    """aiohttp's, with this protocol on its connections."""

    def __init__(self, most: int, idle_seconds: float) -> None:
        super().__init__(limit=most, keepalive_timeout=idle_seconds)
        made: type[ResponseHandler] = _Receiver
        self._factory = functools.partial(made, loop=self._loop)


class _Request(ClientRequest):
    """What the pool opens a connection for, and finds it by."""

    @functools.cached_property
    def connection_key(self) -> ConnectionKey:
        return super().connection_key


class Way:
    """To one address by one method, with the headers that every request there has."""

    def __init__(self, pool: Pool, url: str, headers: Headers, method: str = "POST") -> None:
        self._pool = pool
        proxy = proxy_for(url)
        self._request = _Request(
            method, URL(url), headers=headers, proxy=URL(proxy) if proxy else None, loop=asyncio.get_running_loop()
        )
        self._request.headers.pop("Content-Length", None)  # of no body; each body has its own
        self._head = b""

    async def post(self, body: bytes, more: Mapping[str, str], timeout: ClientTimeout) -> Response:
        """Send a body and headers of its own, and wait for the answer's head.

        Raises:
            TRANSPORT_ERRORS: there is no connection, or it broke.
        """
        own = "".join([f"{name}: {value}\r\n" for name, value in more.items()])
        return await self._answer(b"%bContent-Length: %d\r\n\r\n%b" % (own.encode(), len(body), body), timeout)

    async def get(self, timeout: ClientTimeout) -> Response:
        """As `post`, with no body and no other headers."""
        return await self._answer(b"\r\n", timeout)

    async def _answer(self, after_the_head: bytes, timeout: ClientTimeout) -> Response:
        connection = await self._pool.connect(self._request, [], timeout)
        try:
            protocol, transport = connection.protocol, connection.transport
            if not isinstance(protocol, _Receiver) or transport is None or protocol.should_close:
                raise ClientConnectionError("The connection was closed, or heard something, before it was used.")
            usual = protocol.usual_answer()
            transport.write(self.head() + after_the_head)
            body = await usual
            if body is not None:
                return Response(200, None, Whole(body), connection)
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != _SWITCHED:
                message, content = await protocol.read()
        except BaseException as error:
            _stop_sending(connection)
            connection.close()
            if isinstance(error, HttpProcessingError):
                error.__traceback__ = None  # aiohttp's parser holds it in a circle, and it would hold this frame
                raise ClientConnectionError("The answer is no HTTP.") from error
            raise
        return Response(message.code, message.headers.get("Retry-After"), content, connection)

    def head(self) -> bytes:
        """Request line and constant headers: those that were given, and what the pool added for a proxy."""
        if not self._head:
            asked, url = self._request, self._request.url
            target = str(url.with_user(None)) if asked.proxy and not asked.is_ssl() else url.raw_path_qs
            headers = [f"{name}: {value}" for name, value in asked.headers.items()]
            self._head = "\r\n".join([f"{asked.method} {target} HTTP/1.1", *headers, ""]).encode()
        return self._head


def _stop_sending(connection: Connection) -> None:
    """Where a request has not all gone out: its answer came first, or nobody waits for one. No other request must wait
    behind it, and closing alone would keep it for as long as the peer takes nothing."""
    transport = connection.transport
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()


class _Providers:
    """One event loop's."""

    def __init__(self) -> None:
        self.pool = Pool(MOST_CONNECTIONS, IDLE_SECONDS)
        self.ways: dict[tuple[str, Headers], Way] = {}


class Connections:
    """`hold` once a release, `release` when it is closed."""

    def __init__(self) -> None:
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Providers] = WeakKeyDictionary()
        self._holders = 0

    def hold(self) -> None:
        """Keep the pool open."""
        self._holders += 1

    async def release(self) -> None:
        """The last one closes the running loop's pool."""
        self._holders -= 1
        if self._holders == 0:
            pool = self._pools.pop(asyncio.get_running_loop(), None)
            if pool is not None:
                await pool.pool.close()

    def way(self, url: str, headers: Headers) -> Way:
        """The running loop's to this address."""
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = _Providers()
        found = pool.ways.get((url, headers))
        if found is None:
            found = pool.ways[url, headers] = Way(pool.pool, url, headers)
        return found


def proxy_for(url: str) -> str | None:
    """The proxy on the way there, as the environment has it (`HTTPS_PROXY`, …)."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


CONNECTIONS = Connections()
