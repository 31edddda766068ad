"""The server: HTTP/1.1 by hand over asyncio, because a fault is a matter of single bytes.

Addresses: `…/models/<model>:generateContent`, `:streamGenerateContent` and `:batchEmbedContents`, `…/chat/completions`,
`…/embeddings`, `…/rerank`, `…/v1/messages`, `…/models`; for the test, `PUT /control` (a behaviour, or
`{"next": [behaviours], "always": behaviour}`), `GET /control` (what was asked), `DELETE /control` (forget both).
Behaviours in `next` are used up one a request; then `always` holds.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import urlsplit

from tests.provider import anthropic_wire, embedding_wire, gemini_wire, openai_wire
from tests.provider.behaviour import Behaviour
from tests.provider.tuning_wire import Tuning

_GEMINI = re.compile(
    r".*/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent|batchEmbedContents)$"
)
_KEPT = 1_000


@dataclass
class Received:
    """A request. `connection` tells connections apart; `left`: the caller closed it before the answer was out."""

    path: str
    query: str
    headers: dict[str, str]
    body: Any
    connection: int = 0
    left: bool = False
    method: str = ""


@dataclass
class Script:
    """What to do next, and what was asked so far. `running` counts requests that came and have no answer yet;
    `most_running` is its highest value, and `line` holds those that wait for one of the behaviour's slots."""

    always: Behaviour = field(default_factory=Behaviour)
    next: deque[Behaviour] = field(default_factory=deque)
    received: deque[Received] = field(default_factory=lambda: deque(maxlen=_KEPT))
    count: int = 0
    running: int = 0
    most_running: int = 0
    taken: int = 0
    tuning: Tuning = field(default_factory=Tuning)
    line: deque[asyncio.Event] = field(default_factory=deque)

    @asynccontextmanager
    async def slot(self, behaviour: Behaviour) -> AsyncIterator[Behaviour]:
        """Wait in line for a slot. Gives what to do then: the behaviour, or a refusal where nobody may wait."""
        if behaviour.slots and behaviour.busy_status and self.taken >= behaviour.slots:
            yield replace(behaviour, status=behaviour.busy_status, latency_ms=0, slots=0)
            return
        turn = asyncio.Event()
        self.line.append(turn)
        self._call_next(behaviour)
        try:
            await turn.wait()
            yield behaviour
        finally:
            if turn.is_set():
                self.taken -= 1
            else:
                self.line.remove(turn)
            self._call_next(behaviour)

    def _call_next(self, behaviour: Behaviour) -> None:
        while self.line and (not behaviour.slots or self.taken < behaviour.slots):
            self.taken += 1
            self.line.popleft().set()

    def behaviour(self) -> Behaviour:
        """The next one."""
        return self.next.popleft() if self.next else self.always

    def forget(self) -> None:
        """Begin anew."""
        self.always, self.count, self.most_running = Behaviour(), 0, self.running
        self.next.clear()
        self.received.clear()


class ProviderServer:
    """Serves until `stop`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self.script, self._open), host, port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0.01)


class _Connection(asyncio.Protocol):
    """One caller: requests one after the other, each answered by a task that ends when the caller leaves."""

    def __init__(self, script: Script, connections: set[_Connection]) -> None:
        self._script = script
        self._open = connections
        self._buffer = b""
        self._answering: asyncio.Task[None] | None = None
        self._received: Received | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        if self._answering is not None and self._received is not None:
            self._received.left = True
            self._answering.cancel()

    def abort(self) -> None:
        """Break off."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        if self._answering is not None or (request := _parsed(self._buffer)) is None:
            return
        method, self._received, size = request
        self._buffer = self._buffer[size:]
        if self._received.path == "/control":
            self._transport.write(_response(200, self._control(method, self._received.body)))
            self._next()
        else:
            self._answering = asyncio.ensure_future(self._answer(self._received))

    async def _answer(self, received: Received) -> None:
        script = self._script
        script.count += 1
        script.running += 1
        script.most_running = max(script.most_running, script.running)
        received.connection = id(self)
        script.received.append(received)
        try:
            async with script.slot(script.behaviour()) as behaviour:
                again = await _Answer(self._transport, received, behaviour, script.tuning).send()
        finally:
            script.running -= 1
        self._answering = None
        if again:
            self._next()
        else:
            self._transport.close()

    def _control(self, method: str, body: Any) -> bytes:
        script = self._script
        if method == "DELETE":
            script.forget()
        elif method == "PUT" and ("next" in body or "always" in body):
            script.next = deque(Behaviour(**one) for one in body.get("next", ()))
            script.always = Behaviour(**body.get("always", {}))
        elif method == "PUT":
            script.always = Behaviour(**body)
        asked = {"count": script.count, "running": script.running}
        return _json({**asked, "received": [vars(one) for one in script.received]})


class _Answer:
    """One request's answer, faults and all."""

    def __init__(self, out: asyncio.Transport, received: Received, behaviour: Behaviour, tuning: Tuning) -> None:
        self.out = out
        self.received = received
        self.tuning = tuning
        self.behaviour = behaviour
        gemini = _GEMINI.fullmatch(received.path)
        body = received.body if isinstance(received.body, dict) else {}
        anthropic = received.path.endswith("/v1/messages")
        self.wire: Any = gemini_wire if gemini else anthropic_wire if anthropic else openai_wire
        self.model = gemini["model"] if gemini else str(body.get("model", ""))
        self.streamed = gemini["method"] == "streamGenerateContent" if gemini else bool(body.get("stream"))
        self.listing = received.path.endswith("/models")

    async def send(self) -> bool:
        """Returns whether the connection can be used again."""
        behaviour = self.behaviour
        if behaviour.fault == "hang":
            await asyncio.sleep(3600)
        await asyncio.sleep(behaviour.latency())
        if behaviour.fault in {"drop", "nonsense"}:
            self.out.write(b"" if behaviour.fault == "drop" else b"\x00\x01 this is no HTTP\r\n\r\n")
            return False
        if self.listing:
            self.out.write(_response(200, b'{"object": "list", "data": []}'))
        elif behaviour.status != 200:
            headers = {"Retry-After": behaviour.retry_after} if behaviour.retry_after else {}
            self.out.write(_response(behaviour.status, _json(self.wire.error(behaviour)), headers=headers))
        elif self.tuning.serves(self.received.path):
            status, data = self.tuning.answer(self.received.method, self.received.path, self.received.body)
            if behaviour.fault == "cut":  # the work is done, and nobody learns of it
                return False
            self.out.write(_response(status, _json(data)))
        elif behaviour.fault == "wrong_type":
            self.out.write(_response(200, b"<html><body>It works!</body></html>", "text/html"))
        elif self.streamed:
            return await self._stream()
        else:
            return await self._whole()
        return True

    async def _whole(self) -> bool:
        if embedding_wire.serves(self.received.path):
            said = embedding_wire.answer(self.behaviour, self.received.path, self.received.body)
        else:
            said = self.wire.whole(self.behaviour, self.model)
        body = _json(said)
        if self.behaviour.fault == "half_json":
            body = body[: len(body) // 2]
        head = _head(200, "application/json", {"Content-Length": str(len(body))})
        if self.behaviour.fault == "cut":
            self.out.write(head + body[: len(body) // 2])
            return False
        self.out.write(head)
        await self._write(body)
        return True

    async def _stream(self) -> bool:
        self.out.write(_head(200, "text/event-stream", {"Transfer-Encoding": "chunked"}))
        events = [_json(piece) for piece in self.wire.pieces(self.behaviour, self.model)]
        fault = self.behaviour.fault
        if fault in {"cut", "error_event", "half_json"}:
            events = events[: max(1, len(events) // 2)]
        if fault == "error_event":
            events.append(_json(self.wire.error(Behaviour(**{**vars(self.behaviour), "status": 503}))))
        if fault == "half_json":
            events.append(events[-1][: len(events[-1]) // 2])
        if self.wire is openai_wire and fault is None:
            events.append(b"[DONE]")
        for place, event in enumerate(events):
            if place and not self.behaviour.piece_bytes:
                await asyncio.sleep(self.behaviour.pause_ms / 1000)
            await self._write(b"data: " + event + b"\r\n\r\n", chunked=True)
        if fault == "cut":
            return False
        self.out.write(b"0\r\n\r\n")
        return True

    async def _write(self, body: bytes, *, chunked: bool = False) -> None:
        size = self.behaviour.piece_bytes or len(body)
        for start in range(0, len(body), max(1, size)):
            piece = body[start : start + size]
            self.out.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            if self.behaviour.piece_bytes:
                await asyncio.sleep(self.behaviour.pause_ms / 1000)


def _parsed(data: bytes) -> tuple[str, Received, int] | None:
    """The first request of the bytes and its length; None while it is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    size = end + 4 + int(headers.get("content-length", 0))
    if len(data) < size:
        return None
    raw, parts = data[end + 4 : size], urlsplit(target)
    is_form = headers.get("content-type", "").startswith("multipart/")
    body = raw.decode("latin-1") if is_form else json.loads(raw) if raw else None
    return method, Received(parts.path, parts.query, headers, body, method=method), size


def _response(status: int, body: bytes, kind: str = "application/json", headers: dict[str, str] | None = None) -> bytes:
    return _head(status, kind, {"Content-Length": str(len(body)), **(headers or {})}) + body


def _head(status: int, kind: str, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Simulated", f"Content-Type: {kind}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _json(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode()
