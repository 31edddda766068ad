"""What goes over the wire to a provider, byte by byte: directly, through proxies, over TLS; and what a connection is
good for afterwards."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ipaddress
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import ClientTimeout
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlflow_project.adapters.connections import TRANSPORT_ERRORS, Connections, Response
from stack.ports import free_port
from tests.answering.conftest import Run
from tests.conftest import ROOT

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
SECRET = (("Content-Type", "application/json"), ("x-key", "secret"))


class Peer:
    """A server that says what it is told to, whatever it hears; `heard` is that, one entry a connection."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[bytes] = []

    @asynccontextmanager
    async def answering(self, answer: bytes = PLAIN) -> AsyncIterator[Peer]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            place = len(self.heard)
            self.heard.append(b"")
            while data := await reader.read(65_536):
                self.heard[place] += data
                if data.endswith(b"{}"):
                    writer.write(answer)
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self


async def posted(connections: Connections, url: str, **more: str) -> Response:
    return await connections.way(url, SECRET).post(b"{}", more, ClientTimeout(sock_connect=5))


@pytest.fixture
def connections() -> Connections:
    made = Connections()
    made.hold()
    return made


def test_a_request_is_one_line_its_headers_once_each_and_the_body(run: Run[None], connections: Connections) -> None:
    async def go() -> None:
        async with Peer().answering() as peer:
            response = await posted(connections, f"http://127.0.0.1:{peer.port}/v1/a?alt=sse", traceparent="00-1")
            assert (response.status, response.content.read_nowait()) == (200, b"{}")
            response.release()
            await connections.release()
            head, _, body = peer.heard[0].partition(b"\r\n\r\n")
            line, *headers = head.decode().split("\r\n")
            assert (line, body) == ("POST /v1/a?alt=sse HTTP/1.1", b"{}")
            named = dict(header.split(": ", 1) for header in headers)
            assert len(named) == len(headers)
            assert named.items() >= {"Content-Length": "2", "x-key": "secret", "traceparent": "00-1"}.items()
            assert named["Host"] == f"127.0.0.1:{peer.port}"

    run(go())


def test_a_connection_is_used_again_after_a_whole_answer_and_closed_after_half_of_one(
    run: Run[None], connections: Connections
) -> None:
    async def go() -> None:
        async with Peer().answering() as whole, Peer().answering(PLAIN.replace(b": 2", b": 9")) as half:
            for peer in (whole, whole, half, half):
                (await posted(connections, f"http://127.0.0.1:{peer.port}/")).release()
            assert (len(whole.heard), len(half.heard)) == (1, 2)
            await connections.release()

    run(go())


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
ZIPPED = gzip.compress(b"{}")
ANSWERS = {
    "usual": (PLAIN, 1),
    "with other headers": (PLAIN.replace(b"Content-L", b"Date: today\r\nX-Content-Length: 9\r\ncontent-l"), 1),
    "without a reason": (PLAIN.replace(b" OK", b" "), 1),
    "chunked": (CHUNKED, 1),
    "zipped": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(ZIPPED), ZIPPED), 1),
    "the last on the way through a proxy": (PLAIN.replace(b"\r\nC", b"\r\nProxy-Connection: close\r\nC"), 2),
    "the last": (PLAIN.replace(b"\r\nC", b"\r\nConnection: close\r\nC"), 2),
    "up to the end": (b"HTTP/1.0 200 OK\r\n\r\n{}", 2),
    "with more than was asked for": (PLAIN + PLAIN, 2),
    "another status": (PLAIN.replace(b"200 OK", b"429 Slow\r\nRetry-After: 7"), 1),
}


@pytest.mark.parametrize("in_one_piece", [True, False])
@pytest.mark.parametrize(("answer", "connections_needed"), ANSWERS.values(), ids=list(ANSWERS))
def test_every_form_of_an_answer_is_read_alike_and_its_connection_used_again_where_it_may_be(
    run: Run[None], connections: Connections, answer: bytes, connections_needed: int, in_one_piece: bool
) -> None:
    heard: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(b"")
        with suppress(asyncio.IncompleteReadError):
            while True:
                heard[-1] += await reader.readuntil(b"{}")
                for piece in (answer,) if in_one_piece else (answer[:30], answer[30:]):
                    writer.write(piece)
                    await asyncio.sleep(0.01)
                if answer.startswith(b"HTTP/1.0"):
                    break
        writer.close()

    async def go() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server:
            for _ in range(2):
                response = await posted(connections, url)
                assert await response.read() == b"{}"
                assert (response.status, response.retry_after) == ((429, "7") if b" 429 " in answer else (200, None))
                response.release()
                await asyncio.sleep(0.03)
            assert len(heard) == connections_needed
            await connections.release()

    run(go())


@pytest.mark.parametrize("early", [b"100 Continue", b"103 Early Hints\r\nLink: </>"])
def test_an_answer_before_the_answer_is_passed_over(run: Run[None], connections: Connections, early: bytes) -> None:
    async def go() -> None:
        async with Peer().answering(b"HTTP/1.1 %b\r\n\r\n%b" % (early, PLAIN)) as peer:
            response = await posted(connections, f"http://127.0.0.1:{peer.port}/")
            assert response.status == 200
            response.release()
            await connections.release()

    run(go())


def test_an_answer_that_nobody_asked_for_is_nobodys(run: Run[None], connections: Connections) -> None:
    async def unasked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(PLAIN)
        await asyncio.sleep(0.05)
        writer.write(PLAIN)
        await reader.read()
        writer.close()

    async def go() -> None:
        server = await asyncio.start_server(unasked, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server:
            (await posted(connections, url)).release()
            await asyncio.sleep(0.2)
            with pytest.raises(TRANSPORT_ERRORS):
                await posted(connections, url)
            (await posted(connections, url)).release()
            await connections.release()

    run(go())


@pytest.mark.parametrize("answer", [PLAIN, b""])
def test_a_body_that_nobody_takes_is_not_sent_for_ever(run: Run[None], connections: Connections, answer: bytes) -> None:
    taken: asyncio.Queue[int] = asyncio.Queue()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await asyncio.sleep(0.5)
        size = 0
        with suppress(ConnectionError):  # reset, where the answer was not read in time either
            size = len(await reader.read())
        taken.put_nowait(size)
        writer.close()

    async def go() -> None:
        server = await asyncio.start_server(deaf, "127.0.0.1", 0)
        way = connections.way(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", SECRET)
        async with server:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    (await way.post(b"x" * 32_000_000, {}, ClientTimeout())).release()
            assert await asyncio.wait_for(taken.get(), 5) < 32_000_000
            await connections.release()

    run(go())


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n"])
def test_what_is_no_http_is_a_broken_connection(run: Run[None], connections: Connections, answer: bytes) -> None:
    async def go() -> None:
        async with Peer().answering(answer) as peer:
            with pytest.raises(TRANSPORT_ERRORS):
                await posted(connections, f"http://127.0.0.1:{peer.port}/")
            await connections.release()

    run(go())


def test_a_proxy_is_told_the_whole_address_and_its_own_password(
    run: Run[None], connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        async with Peer().answering() as proxy:
            monkeypatch.setenv("http_proxy", f"http://user:pass@127.0.0.1:{proxy.port}")
            monkeypatch.delenv("no_proxy", raising=False)
            for _ in range(2):
                (await posted(connections, "http://provider.invalid/v1")).release()
            await connections.release()
            assert proxy.heard[0].count(b"POST http://provider.invalid/v1 HTTP/1.1\r\nHost: provider.invalid\r\n") == 2
            assert proxy.heard[0].count(b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n") == 2

    run(go())


ASKED_OVER_TLS = """
import asyncio, ssl, sys
from aiohttp import ClientTimeout
from mlflow_project.adapters.connections import Connections

async def tunnel(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    assert head.startswith(b"CONNECT 127.0.0.1:"), head
    inside, outside = await asyncio.open_connection("127.0.0.1", int(head.split()[1].split(b":")[1]))
    writer.write(b"HTTP/1.1 200 Connection established\\r\\n\\r\\n")
    async def pump(source, sink):
        while data := await source.read(65536):
            sink.write(data)
        sink.close()
    await asyncio.gather(pump(reader, outside), pump(inside, writer))

async def secure(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    assert head.startswith(b"POST /v1 HTTP/1.1\\r\\n"), head
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    server = await asyncio.start_server(secure, "127.0.0.1", 0, ssl=context)
    proxy = await asyncio.start_server(tunnel, "127.0.0.1", int(sys.argv[2]))
    connections = Connections()
    connections.hold()
    way = connections.way(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", (("x-key", "secret"),))
    response = await way.post(b"{}", {}, ClientTimeout(sock_connect=5))
    print(response.status)
    response.release()
    await connections.release()

asyncio.run(main())
"""


@pytest.mark.parametrize("by_proxy", [False, True])
def test_a_provider_is_asked_over_tls(by_proxy: bool, tmp_path: Path) -> None:
    """In a process of its own: a trusted certificate is read when that begins."""
    certificate, port = tmp_path / "server.pem", free_port()
    certificate.write_bytes(_certificate())
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    env |= {"SSL_CERT_FILE": str(certificate), "PYTHONPATH": str(ROOT)}
    env |= {"https_proxy": f"http://127.0.0.1:{port}"} if by_proxy else {}
    said = subprocess.run(
        [sys.executable, "-c", ASKED_OVER_TLS, str(certificate), str(port)], env=env, capture_output=True, timeout=60
    )
    assert said.stdout == b"200\n", said.stderr.decode()


def _certificate() -> bytes:
    """Key and certificate of 127.0.0.1, signed by itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem)
