"""Callers who check each answer against itself: text, header, body and trace must name one release.

Used by the long tests and by `bench.flips`. `Traces` takes what a server sends over OTLP, as a collector would.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from httpx_aiohttp import AiohttpTransport
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlflow_project.domain.release import ProviderChoice, Release
from tests.serving.conftest import Host, Releases

CONTEXT = "The gate decides about flips. A flip moves an alias. A flip has receipts. Cats sleep all day."
QUESTION = "What does a flip move and have?"
EVERY_TRACE = {"SWITCHYARD_TRACE_SHARE": "1"}


def sealed_pair(releases: Releases, name: str) -> tuple[Release, Release]:
    """Two sealed releases whose answers to `QUESTION` differ."""
    one, two = (
        releases.seal(
            name,
            f"{sentences} sentences",
            provider=ProviderChoice("extractive", "extractive-1", {"sentences": sentences, "floor": 0.0}),
        )
        for sentences in (1, 2)
    )
    return one, two


@dataclass
class Traces:
    """The release that each trace names, by trace id; `url` is where to send them."""

    url: str
    release: dict[str, str] = field(default_factory=dict)

    def take(self, body: bytes) -> None:
        """One export."""
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for span in (span for scope in of_resource.scope_spans for span in scope.spans):
                for attribute in span.attributes:
                    if attribute.key == "switchyard.release":
                        self.release[span.trace_id.hex()] = attribute.value.string_value


@contextmanager
def collected() -> Iterator[Traces]:
    """A collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                traces.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    traces = Traces(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield traces
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Load:
    """Callers in a thread of their own, until the block ends. `rate`: requests a second of all of them together."""

    def __init__(self, host: Host, name: str, callers: int, rate: float) -> None:
        self.answers = self.failed = self.disagreed = 0
        self.texts: dict[str, set[str]] = {}
        self.named: dict[str, str] = {}
        self._url = f"http://127.0.0.1:{host.port}/prompts/{name}/invocations"
        self._callers, self._pause = callers, callers / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def disagreeing_traces(self, traces: Traces) -> int:
        """Answers whose trace names another release than their header; those without a trace say nothing."""
        return sum(traces.release.get(request, named) != named for request, named in self.named.items())

    async def _run(self) -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=10) as http:
            await asyncio.gather(*(self._call(http) for _ in range(self._callers)))

    async def _call(self, http: httpx.AsyncClient) -> None:
        body, due = {"variables": {"question": QUESTION}, "context": CONTEXT}, time.monotonic()
        while not self._stop.is_set():
            try:
                self._take(await http.post(self._url, json=body))
            except httpx.HTTPError:
                self.failed += 1
            due = max(due + self._pause, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def _take(self, answer: httpx.Response) -> None:
        self.answers += 1
        if answer.status_code != 200:
            self.failed += 1
            return
        named, body = answer.headers["X-Release"], answer.json()
        self.named[answer.headers["X-Request-Id"]] = named
        self.texts.setdefault(named, set()).add(body["text"])
        self.disagreed += named != body["release"] or len(self.texts[named]) > 1
