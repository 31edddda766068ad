"""The HTTP client of providers and of strict reads: every form of an answer, proxies, TLS, and what it never does."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ipaddress
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlflow_project.adapters.http_client import FAILURES, open_client
from mlflow_project.logs import set_up_logs
from stack.ports import free_port
from tests.answering.conftest import Run
from tests.conftest import ROOT

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
HEADERS = {"Content-Type": "application/json", "x-key": "secret"}


class Peer:
    """A server that says what it is told to after each request. `heard` has an entry for each connection."""

    def __init__(self, answer: bytes, *, in_pieces: bool = False) -> None:
        self.heard: list[bytes] = []
        self._pieces = (answer[:30], answer[30:]) if in_pieces else (answer,)
        self._ends = answer.startswith(b"HTTP/1.0")
        self.url = ""

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(self.heard)
        self.heard.append(b"")
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.heard[place] += await reader.readuntil(b"{}")
                for piece in self._pieces:
                    writer.write(piece)
                    await asyncio.sleep(0.01)
                if self._ends:
                    break
        writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Peer]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server:
            yield self


async def posted(client: httpx2.AsyncClient, url: str) -> httpx2.Response:
    return await client.post(url, content=b"{}", headers=HEADERS, timeout=5)


ZIPPED = gzip.compress(b"{}")
ANSWERS = {
    "plain": (PLAIN, 1),
    "without a reason": (PLAIN.replace(b" OK", b" "), 1),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 1),
    "zipped": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(ZIPPED), ZIPPED), 1),
    "the last on its connection": (PLAIN.replace(b"\r\nC", b"\r\nConnection: close\r\nC"), 2),
    "up to the end": (b"HTTP/1.0 200 OK\r\n\r\n{}", 2),
    "another status": (PLAIN.replace(b"200 OK", b"429 Slow\r\nRetry-After: 7"), 1),
    "after 100 Continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN, 1),
    "after early hints": (b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" + PLAIN, 1),
}


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize(("answer", "connections"), ANSWERS.values(), ids=list(ANSWERS))
def test_every_form_of_an_answer_is_read_and_its_connection_used_again_where_it_may_be(
    run: Run[None], answer: bytes, connections: int, in_pieces: bool
) -> None:
    async def go() -> None:
        async with Peer(answer, in_pieces=in_pieces).running() as peer, open_client() as client:
            for _ in range(2):
                response = await posted(client, peer.url)
                assert response.content == b"{}"
                wanted = (429, "7") if b" 429 " in answer else (200, None)
                assert (response.status_code, response.headers.get("Retry-After")) == wanted
                await asyncio.sleep(0.03)
            assert len(peer.heard) == connections

    run(go())


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n"])
def test_what_is_no_http_is_a_failed_connection(run: Run[None], answer: bytes) -> None:
    async def go() -> None:
        async with Peer(answer).running() as peer, open_client() as client:
            with pytest.raises(FAILURES):
                await posted(client, peer.url)

    run(go())


def test_a_redirect_is_not_followed_a_cookie_not_kept_and_netrc_not_read(
    run: Run[None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    moved = PLAIN.replace(b"200 OK", b"307 Moved\r\nLocation: http://127.0.0.1:9/\r\nSet-Cookie: a=b")

    async def go() -> None:
        async with Peer(moved).running() as peer, open_client() as client:
            for _ in range(2):
                assert (await posted(client, peer.url)).status_code == 307
            heard = b"".join(peer.heard).lower()
            assert b"\r\ncookie:" not in heard
            assert b"authorization" not in heard

    run(go())


def test_the_address_of_a_request_is_not_logged(run: Run[None], capfd: pytest.CaptureFixture[str]) -> None:
    async def go() -> None:
        set_up_logs("INFO")
        async with Peer(PLAIN).running() as peer, open_client() as client:
            await posted(client, f"{peer.url}?key=hidden")

    try:
        run(go())
    finally:
        logging.getLogger().handlers.clear()
        logging.getLogger().setLevel(logging.WARNING)
    assert "hidden" not in "".join(capfd.readouterr())


def test_a_proxy_is_told_the_whole_address_and_its_own_password(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        async with Peer(PLAIN).running() as proxy, open_client() as client:
            monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://user:pass@"))
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            for _ in range(2):
                await posted(client, "http://provider.invalid/v1")
            heard = b"".join(proxy.heard)
            assert heard.count(b"POST http://provider.invalid/v1 HTTP/1.1\r\n") == 2
            assert heard.count(b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n") == 2

    run(go())


def test_a_host_that_needs_no_proxy_is_asked_directly(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with Peer(PLAIN).running() as peer, open_client() as client:
            monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            assert (await posted(client, peer.url)).status_code == 200

    run(go())


ASKED_OVER_TLS = """
import asyncio, ssl, sys
from mlflow_project.adapters.http_client import open_client

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
    async with open_client() as client:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        print((await client.post(url, content=b"{}", timeout=10)).status_code)

asyncio.run(main())
"""


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("by_proxy", [False, True])
def test_a_provider_is_asked_over_tls_and_only_with_a_trusted_certificate(
    by_proxy: bool, trusted: bool, tmp_path: Path
) -> None:
    """In a process of its own: the certificates that are trusted are read when a client is opened."""
    certificate, port = tmp_path / "server.pem", free_port()
    certificate.write_bytes(_certificate())
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    env |= {"SSL_CERT_FILE": str(certificate)} if trusted else {}
    env |= {"PYTHONPATH": str(ROOT)} | ({"https_proxy": f"http://127.0.0.1:{port}"} if by_proxy else {})
    said = subprocess.run(
        [sys.executable, "-c", ASKED_OVER_TLS, str(certificate), str(port)], env=env, capture_output=True, timeout=60
    )
    assert (said.stdout == b"200\n") is trusted, said.stderr.decode()
    assert trusted or b"CERTIFICATE_VERIFY_FAILED" in said.stderr


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
