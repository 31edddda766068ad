"""Extends uvicorn's HTTP protocol by three things for which uvicorn has no setting (decision 14).

- Heads that never end: uvicorn waits for ever for a connection's first request. Here the head of a request must come
  within `HEADER_SECONDS` and `MAX_HEADER_BYTES`.
- Restarts: uvicorn closes idle connections at once when it stops, which resets a request that is on its way. Here they
  stay open for `PARTING_SECONDS`, and a request that comes is answered with `Connection: close`.
- Upgrades: uvicorn loses the body of a request that offers HTTP/2, as Java's client does. Here the offer is ignored.
"""

from __future__ import annotations

import asyncio
import re
import select
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
MAX_HEADER_BYTES = 32_768
PARTING_SECONDS = 0.5
_MOST_UNREAD_HEADER_BYTES = 1 << 20
_BYTES_PER_LINE = 32
"""What a header line costs in addition to its text, as in RFC 7541."""
_UPGRADE = re.compile(rb"^upgrade(?=[ \t]*:)", re.IGNORECASE | re.MULTILINE)


class PatientHttp(HttpToolsProtocol):
    """`_head_timer` runs while the connection waits for a request's head. `_received` counts the bytes since then."""

    _head_timer: asyncio.TimerHandle | None = None
    _received = 0
    _is_stopping = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.connections.add(self)  # uvloop calls `connection_made` a turn later; the server may stop in between

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and self.cycle is not None and self.cycle.response_complete:
            self._received = 0
            self._await_head()
        if self._head_timer is not None and b"pgrade" in data.lower():
            data = _without_upgrade(data)
        self._received += len(data)
        super().data_received(data)
        if self._received > MAX_HEADER_BYTES:
            if self._head_timer is not None:
                self._refuse(b"431 Request Header Fields Too Large")
            elif self._unread_header_bytes() > _MOST_UNREAD_HEADER_BYTES:
                self.transport.abort()

    def on_headers_complete(self) -> None:
        self._end_head_timer()
        super().on_headers_complete()
        if self._is_stopping:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_stopping and not self.transport.is_closing():  # the response began before the stop
            self.loop.call_later(PARTING_SECONDS, self._part)

    def shutdown(self) -> None:
        """uvicorn calls this when the server stops."""
        self._is_stopping = True
        if self._is_idle():
            self.loop.call_later(PARTING_SECONDS, self._part)
        elif not self.cycle.response_started:
            super().shutdown()

    def _part(self) -> None:
        """Close an idle connection. If a request has begun to arrive, it is answered first."""
        head_has_begun = self._head_timer is not None and self._received > 0
        if self.transport.is_closing() or head_has_begun or not self._is_idle():
            return
        if not _has_unread_bytes(self.transport):
            self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _unread_header_bytes(self) -> int:
        """Header lines that no route gets: after a chunked body, and of a next request during an answer."""
        return sum(len(name) + len(value) + _BYTES_PER_LINE for name, value in self.headers or ())

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEADER_SECONDS, self._refuse, b"408 Request Timeout")

    def _end_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes) -> None:
        self._end_head_timer()
        if not self.transport.is_closing():
            own = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
            self.transport.write(b"HTTP/1.1 %b\r\n%bconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, own))
            self.transport.close()


def _without_upgrade(piece: bytes) -> bytes:
    """Renames the header `Upgrade`, which a server may ignore (RFC 9110, 7.8). httptools would skip the request's body,
    and Java's HTTP client offers HTTP/2 with the first request of a connection.
    """
    head, end, rest = piece.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"x-upgrade", head) + end + rest


def _has_unread_bytes(transport: asyncio.BaseTransport) -> bool:
    """Whether the operating system holds bytes of the caller that the event loop has not read yet."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
