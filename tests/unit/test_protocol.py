"""How a connection treats heads that do not end, offers to upgrade, and a server that stops."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from mlflow_project.web import protocol
from mlflow_project.web.protocol import PatientHttp

ASKED = b"GET / HTTP/1.1\r\nhost: me\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps each write."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5000), "sockname": ("127.0.0.1", 80)})
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: object) -> None:
        self.write(b"".join(list_of_data))  # type: ignore[call-overload]

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def written(app: ASGIApp, *pieces: bytes) -> tuple[list[bytes], bool]:
    """The writes that an app's answers to these bytes became, and whether the connection was closed."""

    async def talk() -> tuple[list[bytes], bool]:
        wire = Wire()
        config = Config(app, log_config=None, server_header=False, date_header=False)
        config.load()
        protocol = PatientHttp(config, ServerState(), {})
        protocol.connection_made(wire)
        for piece in pieces:
            protocol.data_received(piece)
            for _ in range(8):
                await asyncio.sleep(0)
        closed = wire.closed
        protocol.connection_lost(None)
        return wire.writes, closed

    return asyncio.run(talk())


def answering(*parts: bytes, status: int = 200, length: int | None = None) -> ASGIApp:
    headers = [(b"content-length", str(length).encode())] if length is not None else []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for part in parts:
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def head_of(response: bytes) -> dict[bytes, bytes]:
    head, _, _ = response.partition(b"\r\n\r\n")
    return dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])


@pytest.mark.parametrize(
    "begun",
    [
        b"POST / HTTP/1.1\r\nhost: me\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
        ASKED + b"GET / HTTP/1.1\r\n",
    ],
    ids=["after a body", "during an answer"],
)
def test_header_lines_that_nobody_looks_at_yet_are_not_kept_without_bound(begun: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    lines = (b"x: %b\r\n" % (b"a" * 1000)) * 60
    assert written(app, begun, *[lines] * 5) == ([], False)
    assert written(app, begun, *[lines] * 20) == ([], True)


def test_an_offer_of_another_protocol_costs_no_body_and_no_connection() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    offer = b"connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nhttp2-settings: AAEAAEAA\r\n"
    asked = b"POST / HTTP/1.1\r\nhost: me\r\ncontent-length: 17\r\n" + offer + b"\r\nupgrade: the body"
    for pieces in ([asked, asked], [asked[:40], asked[40:], asked]):
        writes, closed = written(echo, *pieces)
        assert b"".join(writes).count(b"\r\n\r\nupgrade: the body") == 2
        assert not closed


def told_to_stop(monkeypatch: pytest.MonkeyPatch, before: bytes, after: bytes, stall: float = 0) -> list[bytes]:
    """What a caller reads, up to the end, who sent something before the server was told to stop and something after.
    `stall` seconds of its loop pass with what was sent after unread, and with them the moment that is given."""
    monkeypatch.setattr(protocol, "PARTING_SECONDS", 0.2)

    async def talk() -> list[bytes]:
        loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
        ours.setblocking(False)
        config = Config(answering(b"four", length=4), log_config=None)
        config.load()
        spoken = PatientHttp(config, ServerState(), {})
        await loop.connect_accepted_socket(lambda: spoken, theirs)
        read: list[bytes] = []
        if before:
            ours.sendall(before)
            read += [await loop.sock_recv(ours, 1000)] if before.endswith(b"\r\n\r\n") else []
            await asyncio.sleep(0.05)
        spoken.shutdown()
        if stall:
            loop.call_soon(time.sleep, stall)
        ours.sendall(after[:-1])
        if after and not stall:
            await asyncio.sleep(0.3)
        ours.sendall(after[-1:])
        while not read or read[-1]:
            read.append(await asyncio.wait_for(loop.sock_recv(ours, 1000), 5))
        ours.close()
        return read

    return asyncio.run(talk())


@pytest.mark.parametrize("stall", [0, 0.4], ids=["in two pieces", "unread"])
@pytest.mark.parametrize("before", [b"", ASKED, ASKED[:9]], ids=["new", "at rest", "with half a head"])
def test_a_request_on_its_way_when_the_server_stops_is_answered(
    monkeypatch: pytest.MonkeyPatch, before: bytes, stall: float
) -> None:
    after = ASKED[9:] if before == ASKED[:9] else ASKED
    read = b"".join(told_to_stop(monkeypatch, before, after, stall))
    assert read.endswith(b"\r\n\r\nfour")
    assert head_of(read[read.rindex(b"HTTP/1.1 ") :])[b"connection"] == b"close"


@pytest.mark.parametrize("before", [b"", ASKED], ids=["new", "at rest"])
def test_a_connection_at_rest_is_closed_soon_after_the_server_stops(
    monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    began = time.monotonic()
    assert b"".join(told_to_stop(monkeypatch, before, b"")).count(b"HTTP/1.1 ") == (1 if before else 0)
    assert time.monotonic() - began < 2


def test_after_a_stream_that_ended_while_the_server_stopped_one_more_request_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "PARTING_SECONDS", 0.2)

    async def talk() -> bytes:
        loop, (ours, theirs), goes_on = asyncio.get_running_loop(), socket.socketpair(), asyncio.Event()
        ours.setblocking(False)

        async def stream(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await goes_on.wait()
            await send({"type": "http.response.body", "body": b"two"})

        config = Config(stream, log_config=None)
        config.load()
        spoken = PatientHttp(config, ServerState(), {})
        await loop.connect_accepted_socket(lambda: spoken, theirs)
        ours.sendall(ASKED)
        read = await loop.sock_recv(ours, 1000)
        spoken.shutdown()
        goes_on.set()
        while not read.endswith(b"0\r\n\r\n"):
            read += await loop.sock_recv(ours, 1000)
        ours.sendall(ASKED)
        while data := await asyncio.wait_for(loop.sock_recv(ours, 1000), 5):
            read += data
        ours.close()
        return read

    read = asyncio.run(talk())
    assert read.count(b"HTTP/1.1 200 OK") == 2
    assert read.count(b"connection: close") == 1
    assert read.endswith(b"0\r\n\r\n")


def test_a_server_that_stops_knows_a_connection_that_is_only_just_being_made() -> None:
    async def known() -> bool:
        config, state = Config(answering(), log_config=None), ServerState()
        config.load()
        return PatientHttp(config, state, {}) in state.connections

    assert asyncio.run(known())
