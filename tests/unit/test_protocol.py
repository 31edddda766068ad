"""What goes out on a connection: a response as one write, with the security headers, and nothing is kept back."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving.edge import protocol
from serving.edge.protocol import PatientHttp

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


def test_head_and_body_are_one_write_with_the_security_headers() -> None:
    writes, closed = written(answering(b"four", length=4), ASKED)
    assert writes[0].endswith(b"\r\n\r\nfour")
    assert not closed
    head = head_of(writes[0])
    assert head[b"content-length"] == b"4"
    assert head[b"x-content-type-options"] == b"nosniff"
    assert head[b"x-frame-options"] == b"DENY"
    assert head[b"referrer-policy"] == b"no-referrer"
    assert head[b"cache-control"] == b"no-store"


def test_the_head_of_a_stream_goes_out_before_its_first_part() -> None:
    writes, _ = written(answering(b"one", b"HTTP/1.1 200 OK\r\n\r\n"), ASKED)
    assert writes[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert head_of(writes[0])[b"transfer-encoding"] == b"chunked"
    assert b"nosniff" in writes[0]
    assert b"".join(writes[1:]) == b"3\r\none\r\n13\r\nHTTP/1.1 200 OK\r\n\r\n\r\n0\r\n\r\n"


def test_a_body_that_looks_like_a_head_is_a_body() -> None:
    looks = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"
    writes, _ = written(answering(looks, looks, length=2 * len(looks)), ASKED)
    assert b"".join(writes).partition(b"\r\n\r\n")[2] == looks + looks


@pytest.mark.parametrize("asked", [ASKED, ASKED.replace(b"GET", b"HEAD")])
def test_a_response_without_a_body_is_not_kept_back(asked: bytes) -> None:
    writes, _ = written(answering(length=0), asked)
    assert writes[0].endswith(b"\r\n\r\n")
    assert head_of(writes[0])[b"content-length"] == b"0"


def test_to_head_the_length_is_told_and_no_body_sent() -> None:
    writes, _ = written(answering(b"four", length=4), ASKED.replace(b"GET", b"HEAD"))
    assert b"".join(writes).endswith(b"\r\n\r\n")
    assert head_of(writes[0])[b"content-length"] == b"4"


def test_answers_follow_one_another_on_a_connection_however_the_requests_come() -> None:
    for pieces in ([ASKED, ASKED], [ASKED + ASKED], [ASKED + ASKED[:9], ASKED[9:]]):
        writes, _ = written(answering(b"four", length=4), *pieces)
        assert b"".join(writes).count(b"\r\n\r\nfour") == 2
        assert b"".join(writes).count(b"nosniff") == 2


def test_an_app_that_breaks_between_head_and_body_closes_the_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})

    writes, closed = written(app, ASKED)
    assert closed
    assert head_of(b"".join(writes))[b"content-length"] == b"4"


def test_continue_is_no_response() -> None:
    asked = b"POST / HTTP/1.1\r\nhost: me\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    writes, _ = written(answering(b"four", length=4), asked, b"hi")
    assert writes[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"nosniff" in writes[1]
    assert writes[1].endswith(b"\r\n\r\nfour")


def test_what_uvicorn_refuses_itself_has_the_security_headers_too() -> None:
    writes, closed = written(answering(), b"nonsense\r\n\r\n")
    assert closed
    assert writes[0].startswith(b"HTTP/1.1 400 ")
    assert head_of(writes[0])[b"x-frame-options"] == b"DENY"
    assert writes[0].endswith(b"\r\n\r\nInvalid HTTP request received.")


def test_how_much_came_with_a_head_is_told_only_where_it_came_in_one_piece() -> None:
    told: list[int | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(scope["state"].get("head_bytes_at_most"))
        await answering(b"four", length=4)(scope, receive, send)

    written(app, ASKED, ASKED[:9], ASKED[9:], ASKED + ASKED[:9], ASKED[9:])
    assert told == [len(ASKED), None, len(ASKED) + 9, None]


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
        assert [each.partition(b"\r\n\r\n")[2] for each in writes if each] == [b"upgrade: the body"] * 2
        assert not closed


def told_to_stop(monkeypatch: pytest.MonkeyPatch, before: bytes, after: bytes, stall: float = 0) -> list[bytes]:
    """What a caller reads, up to the end, who sent something before the server was told to stop and something after.
    `stall` seconds of its loop pass with what was sent after unread, and with them the moment that is given."""
    monkeypatch.setattr(protocol, "_PARTING_SECONDS", 0.2)

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
    *_, last, end = told_to_stop(monkeypatch, before, after, stall)
    assert last.endswith(b"\r\n\r\nfour")
    assert head_of(last)[b"connection"] == b"close"
    assert end == b""


@pytest.mark.parametrize("before", [b"", ASKED], ids=["new", "at rest"])
def test_a_connection_at_rest_is_closed_soon_after_the_server_stops(
    monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    began = time.monotonic()
    assert len(told_to_stop(monkeypatch, before, b"")) == (2 if before else 1)
    assert time.monotonic() - began < 2


def test_after_a_stream_that_ended_while_the_server_stopped_one_more_request_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "_PARTING_SECONDS", 0.2)

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
