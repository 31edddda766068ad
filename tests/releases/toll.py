"""A toll gate on a TCP connection: everything passes through it, and at a chosen request something goes wrong.

It stands between a process under test and a real server, so that a kill, a lost answer or an outage happens at exactly
the n-th request, without a word in the code under test. Requests are counted over all gates that share a `Count`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

_WRITES = (b"PUT ", b"POST ", b"DELETE ")
_REQUESTS = (*_WRITES, b"GET ", b"HEAD ")
_PARTIAL = b"HTTP/1.1 100"


@dataclass
class Count:
    """Requests seen so far, all and writes; shared by the gates of one process under test."""

    requests: int = 0
    writes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, head: bytes) -> tuple[int, int]:
        with self.lock:
            self.requests += 1
            self.writes += head.startswith(_WRITES)
            return self.requests, self.writes if head.startswith(_WRITES) else 0


Before = Callable[[int, int], bool]
"""Called with the number of a request and of a write (0: no write) before it passes; False: it does not pass."""


class Toll:
    """One gate before one server. `before` and `after` decide; by default everything passes."""

    def __init__(self, server: str, count: Count | None = None) -> None:
        parts = urlsplit(server)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.count = count or Count()
        self.before: Before = lambda request, write: True
        self.after: Before = lambda request, write: True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._cut()

    def cut_answer_of_write(self, number: int) -> None:
        """The n-th write from now on reaches the server, and its answer is lost, once."""
        wanted = self.count.writes + number
        self.after = lambda request, write: write != wanted

    def close_from(self, number: int) -> None:
        """From the n-th request from now on, nothing passes any more."""
        wanted = self.count.requests + number
        self.before = lambda request, write: request < wanted

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
            except OSError:
                return
            self._open |= {client, server}
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        """Requests one way; each one's answers the other way, by a thread that the request's fate is told to."""
        fate: list[tuple[int, int]] = [(0, 0)]
        threading.Thread(target=self._answers, args=(client, server, fate), daemon=True).start()
        try:
            while data := client.recv(1 << 20):
                if data.startswith(_REQUESTS):
                    fate[0] = self.count.take(data)
                    if not self.before(*fate[0]):
                        break
                server.sendall(data)
        except OSError:
            pass
        self._close(client, server)

    def _answers(self, client: socket.socket, server: socket.socket, fate: list[tuple[int, int]]) -> None:
        try:
            while data := server.recv(1 << 20):
                if data.startswith(b"HTTP/") and not data.startswith(_PARTIAL) and not self.after(*fate[0]):
                    break
                client.sendall(data)
        except OSError:
            pass
        self._close(client, server)

    def _cut(self) -> None:
        for each in list(self._open):
            each.close()

    def _close(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
