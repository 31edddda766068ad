"""Planted secrets through a real server with everything recorded: questions, answers, streams whose pieces cut a secret
in two, a provider that complains with them. Afterwards all that was written and sent is searched."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from mlflow_project.domain.release import ProviderChoice
from tests.observability.planted import KINDS, planted
from tests.observability.test_planted_secrets import leaks
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import GEMINI_MODEL, Simulated
from tests.serving.conftest import Host, until
from tests.serving.snapshots import Snapshots, released

__all__ = ["released"]

pytestmark = pytest.mark.long

NAME = "leaky"
AT_ONCE = 25
RECORDED = {
    "LLM_API_KEY": "not-a-key",
    "SWITCHYARD_TELEMETRY_INTERVAL_MS": "200",
    "SWITCHYARD_QUALITY_SHARE": "1",
    "SWITCHYARD_TRACE_SHARE": "1",
    "SWITCHYARD_TRACE_TEXTS": "true",
    "SWITCHYARD_LOG_TEXTS": "true",
    "SWITCHYARD_LOG_TEXT_CHARS": "100000",
    "SWITCHYARD_LOG_LEVEL": "debug",
}


class Backend(ThreadingHTTPServer):
    """Takes OTLP."""

    def __init__(self, handler: type[Keeping]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.kept: list[bytes] = []
        self.metrics: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Keeping(BaseHTTPRequestHandler):
    """Keeps every byte of it."""

    server: Backend

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.kept.append(sent)
        if self.path.endswith("/metrics"):
            self.server.metrics.append(sent)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Full(Keeping):
    """Takes nothing: whoever sends is told to come back."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Retry-After", "1")
        self.end_headers()


@contextmanager
def answering(handler: type[Keeping]) -> Iterator[Backend]:
    """A backend of that kind, running."""
    running = Backend(handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join(5)


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with answering(Keeping) as running:
        yield running


@pytest.fixture(scope="module")
def recording(backend: Backend, released: Snapshots, provider_process: Simulated) -> Iterator[Host]:
    released.seal(NAME, provider=ProviderChoice("gemini", GEMINI_MODEL, {"tries": 1}))
    released.point(NAME, 1)
    to = {"LLM_API_URL": provider_process.gemini_url, "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url}
    host = released.host(**to, **RECORDED)
    host.start_server()
    yield host
    host.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_no_planted_secret_is_written_or_sent(
    recording: Host, backend: Backend, provider_process: Simulated, kind: str
) -> None:
    secrets = planted(kind)
    for start in range(0, len(secrets), AT_ONCE):
        text = "I am told: " + " ; and then: ".join(secrets[start : start + AT_ONCE])
        provider_process.script.next.append(Behaviour(text))
        recording.ask(NAME, text)
        provider_process.script.next.append(Behaviour(status=400, message=text))
        recording.ask(NAME, json.dumps({"inside": text}))
        provider_process.script.next.append(Behaviour(text, pieces=len(text) // 7))
        streamed = {"model": NAME, "stream": True, "messages": [{"role": "user", "content": text}]}
        assert "[DONE]" in recording.http.post("/v1/chat/completions", json=streamed).text
    until(lambda: b"I am told" in b"".join(backend.kept), "a trace was sent")
    time.sleep(2)  # traces leave twice a second: those of the last requests are out too
    written = everything_below(recording.folder)
    sent = b"".join(backend.kept).decode(errors="replace")
    assert "I am told" in written
    assert "I am told" in sent
    assert [secret for secret in secrets if leaks(secret, written) or leaks(secret, sent)] == []


def test_ten_thousand_prompts_models_routes_and_keys_make_no_series_of_their_own(
    recording: Host, backend: Backend
) -> None:
    assert recording.ask(NAME).status_code == 200
    with ThreadPoolExecutor(8) as callers:
        list(callers.map(partial(ask_for_what_is_not_there, recording), range(10_000)))
    until(lambda: b"llm.request.duration" in backend.metrics[-1], "measurements were sent")
    labels = {str(series) for series in series_of(backend.metrics[-1])}
    assert len(labels) < 150
    assert not [series for series in labels if re.search(r"(prompt-|model-|route-|key|'a)\d", series)]


def ask_for_what_is_not_there(host: Host, number: int) -> None:
    """Four requests, with a prompt, a model, a route and a key that nobody else names."""
    host.ask(f"prompt-{number}")
    host.http.post("/v1/chat/completions", json={"model": f"model-{number}", "messages": []})
    host.http.get(f"/route-{number}")
    host.ask(NAME, Authorization=f"Bearer sy_key{number}", **{"X-Alias": f"a{number}"})


def series_of(sent: bytes) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Name and labels of each series of an OTLP request."""
    for resource in ExportMetricsServiceRequest.FromString(sent).resource_metrics:
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            points = getattr(metric, metric.WhichOneof("data")).data_points
            for point in points:
                yield metric.name, [(label.key, label.value.string_value) for label in point.attributes]


@pytest.mark.parametrize("how", ["down", "silent", "full"])
def test_a_backend_that_is_down_silent_or_full_costs_no_request_and_no_memory(
    provider_process: Simulated, tmp_path: Path, how: str
) -> None:
    own = Snapshots(tmp_path)
    own.seal(NAME, provider=ProviderChoice("gemini", GEMINI_MODEL, {"tries": 1}))
    own.point(NAME, 1)
    with socket.create_server(("127.0.0.1", 0)) as unheard, answering(Full) as full:
        addresses = {"down": "http://127.0.0.1:1", "silent": f"http://127.0.0.1:{unheard.getsockname()[1]}"}
        backend = addresses.get(how, full.url)
        host = own.host(LLM_API_URL=provider_process.gemini_url, OTEL_EXPORTER_OTLP_ENDPOINT=backend, **RECORDED)
        host.start_server()
        try:
            assert statuses(host, 1500) == {200}
            (pid,) = host.workers()
            before = psutil.Process(pid).memory_info().rss
            assert statuses(host, 3000) == {200}
            assert psutil.Process(pid).memory_info().rss < before + 15e6
        finally:
            host.stop()


def statuses(host: Host, count: int) -> set[int]:
    """Of so many requests, eight at once."""
    with ThreadPoolExecutor(8) as callers:
        return set(callers.map(lambda _: host.ask(NAME).status_code, range(count)))


def everything_below(folder: Path) -> str:
    return "".join(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())
