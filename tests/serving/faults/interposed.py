"""Stands between a caller and a real HTTP server: passes bytes on, or spoils the answers."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import httpx

_ANSWERS = {
    "500": (500, "application/json", b'{"error_code": "INTERNAL_ERROR", "message": "no"}'),
    "html": (200, "text/html", b"<html><body>It works!</body></html>"),
    "half": (200, "application/json", b'{"registered_model": {"name": "fa'),
    "wrong": (
        200,
        "application/json",
        b'{"registered_model": {"name": "faults", "aliases": [{"alias": "Production"}]}}',
    ),
}

SLOW_SECONDS = 30.0


class Interposed:
    """`spoilt` None: bytes go through. `drop`: the connection closes. `hang`: nothing comes back. `slow`: what is asked
    arrives 30 s late."""

    def __init__(self, target: str) -> None:
        url = httpx.URL(target)
        self._target = (url.host, url.port or 80)
        self.spoilt: str | None = None
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Interposed:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(start, self._loop).result(5)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, onward = await asyncio.open_connection(*self._target)
        returning = asyncio.create_task(_pump(back, writer))
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if self.spoilt == "drop":
                    break
                if self.spoilt in _ANSWERS:
                    writer.write(_response(*_ANSWERS[self.spoilt]))
                elif self.spoilt in {None, "slow"}:
                    await asyncio.sleep(SLOW_SECONDS if self.spoilt else 0)
                    onward.write(data)
        returning.cancel()
        onward.close()
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)


def _response(status: int, kind: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
