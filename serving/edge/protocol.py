"""uvicorn's HTTP protocol with a limit on how long, and how large, a request's head may grow, and with a word to the
request when its caller leaves: `state["left"]` is set, and `state["when_left"]`, where a request put it, is called.
`state["body_is_here"]` says that nothing of the body is awaited, `state["head_bytes_at_most"]` how much came
with a head that came in one piece. A head that came in one piece starts no timer.

uvicorn waits for ever for the first request of a connection; a thousand callers that send a byte a minute would hold a
thousand connections. Bodies are the guard's matter.

uvicorn, told to stop, closes connections at rest at once, and a stream's with its end: a request that is on its way at
that moment is lost. Here they get a moment, in which a request is answered, with word that the connection closes.

uvicorn writes a response's head and then its body, and uvloop hands each write to the system at once. Here both are one
write, which also wakes the caller once instead of twice; and all heads, uvicorn's own refusals too, have the security
headers.
"""

from __future__ import annotations

import asyncio
import re
import select
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
MAX_HEADER_BYTES = 32_768
_MOST_KEPT_BYTES = 1 << 20
"""Of header lines before anybody looks at them: those after a chunked body, and the next request's during an answer."""
_LINE_BYTES = 32  # what a line costs besides its text, as in RFC 7541
_CONTINUE = b"HTTP/1.1 100 "
_PARTING_SECONDS = 0.5
_UPGRADE = re.compile(rb"^upgrade(?=[ \t]*:)", re.IGNORECASE | re.MULTILINE)
_SECURITY = (
    b"x-content-type-options: nosniff\r\nx-frame-options: DENY\r\nreferrer-policy: no-referrer\r\n"
    b"cache-control: no-store\r\n"
)


class ResponseTransport:
    """A connection's transport, as far as uvicorn writes responses to it. Each head gets the security headers; one that
    says how long its body is waits for the body, or for the end of a response that has none."""

    __slots__ = ("_head", "_head_is_due", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._head_is_due = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Asked with each response."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Write, or keep a head."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif self._head_is_due and not data.startswith(_CONTINUE):
            self._head_is_due = False
            at = data.find(b"\r\n\r\n") + 2
            head = b"%b%b%b" % (data[:at], _SECURITY, data[at:])
            if b"\r\ncontent-length: " in data and at + 2 == len(data):
                self._head = head
            else:
                self._transport.write(head)
        else:
            self._transport.write(data)

    def end_response(self) -> None:
        """What is written next is a head again."""
        self._head_is_due = True
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Once everything is written."""
        self.end_response()
        self._transport.close()


class PatientHttp(HttpToolsProtocol):
    """`_waiting` is the timer that runs while a head is awaited; None while a request is answered."""

    _waiting: asyncio.TimerHandle | None = None
    _received = 0
    _head_seen = False
    _piece = 0
    _scope_before = 0
    _stops = False

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.connections.add(self)  # uvloop makes the connection a turn later, and the server may stop in between

    def connection_made(self, transport: Any) -> None:
        super().connection_made(ResponseTransport(transport))  # type: ignore[arg-type]
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        if self.cycle is not None and not self.cycle.response_complete:
            state: dict[str, Any] = self.cycle.scope["state"]
            state["left"] = True
            state.get("when_left", _nothing)()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        begins = self._waiting is None and self.cycle is not None and self.cycle.response_complete
        if begins:
            self._received, self._head_seen = 0, False
        if (begins or self._waiting is not None) and (b"pgrade" in data or b"PGRADE" in data):
            data = _without_upgrade(data)
        self._piece, self._scope_before = len(data), id(self.scope)
        self._received += self._piece
        super().data_received(data)
        if begins and not self._head_seen:
            self._await_head()
        if self._waiting is not None and self._received > MAX_HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
        elif self._received > MAX_HEADER_BYTES and self._keeps_too_much():
            self.transport.abort()

    def _keeps_too_much(self) -> bool:
        return sum(len(name) + len(value) + _LINE_BYTES for name, value in self.headers or ()) > _MOST_KEPT_BYTES

    def on_headers_complete(self) -> None:
        self._head_is_here()
        if id(self.scope) != self._scope_before:  # so the head began in this piece, and ended in it
            self.scope["state"]["head_bytes_at_most"] = self._piece
        super().on_headers_complete()
        if self._stops and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle is not None:
            self.cycle.scope["state"]["body_is_here"] = True

    def on_response_complete(self) -> None:
        self.transport.end_response()  # type: ignore[attr-defined]
        super().on_response_complete()
        if self._stops and not self.transport.is_closing():  # a stream's, whose head had gone out before
            self.loop.call_later(_PARTING_SECONDS, self._part)

    def shutdown(self) -> None:
        """The server stops."""
        self._stops = True
        if self._rests():
            self.loop.call_later(_PARTING_SECONDS, self._part)
        elif self.cycle is not None and not self.cycle.response_started:
            super().shutdown()

    def _part(self) -> None:
        head_has_begun = self._waiting is not None and self._received > 0
        if self.transport.is_closing() or head_has_begun or not self._rests():
            return
        if not _waits_to_be_read(self.transport):
            self.transport.close()

    def _rests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._waiting = self.loop.call_later(HEADER_SECONDS, self._refuse, b"408 Request Timeout")

    def _head_is_here(self) -> None:
        self._head_seen = True
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse(self, status: bytes) -> None:
        self._head_is_here()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


def _without_upgrade(piece: bytes) -> bytes:
    """Of a head: the offer to go on by another protocol, which a server may pass over (RFC 9110, 7.8). uvicorn's parser
    would pass over the body instead, and Java's HTTP client offers HTTP/2 with the first request of a connection."""
    head, end, rest = piece.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"x-upgrade", head) + end + rest


def _waits_to_be_read(transport: asyncio.BaseTransport) -> bool:
    """Whether more has come from the other side than the loop has taken: then the loop is about to take it."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _nothing() -> None:
    """What happens when the caller of a request leaves that has not begun its work."""
