"""A small OpenLineage receiver over HTTP, which can be down, slow, or answer 500 or 422 on demand."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What arrived, as bytes, and how to answer: a status, after some seconds. `refuses`: jobs answered with 422."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    status: int = 201
    seconds: float = 0.0
    refuses: str | None = None

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]


@contextmanager
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(found.seconds)
            is_refused = found.refuses is not None and json.loads(body)["job"]["name"] == found.refuses
            status = 422 if is_refused else found.status
            if status == 201:
                found.bodies.append(body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
