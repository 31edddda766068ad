"""What goes out over OTLP, to a receiver over TCP that reads it with OpenTelemetry's own messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.sending import Sender, exporter

RECEIVED: list[bytes] = []


class Receiving(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        RECEIVED.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def collector() -> Iterator[str]:
    RECEIVED.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiving)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_kind_of_metric_arrives_with_its_unit_labels_and_boundaries(collector: str) -> None:
    meters = Meters()
    meters.record(catalogue.LLM_DURATION, 75, model_name="m", endpoint="/e", success="true")
    meters.record(catalogue.LLM_INPUT_TOKENS, 12, model_name="m", endpoint="/e", success="true")
    meters.record(catalogue.REGISTRY_AGE, 0.5)
    assert exporter(collector, "switchyard-test", "one")(meters.now())
    (resource,) = ExportMetricsServiceRequest.FromString(RECEIVED[0]).resource_metrics
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (named["service.name"], named["service.instance.id"]) == ("switchyard-test", "one")
    found = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    point = found["llm.request.duration"].histogram.data_points[0]
    assert list(point.explicit_bounds) == list(catalogue.LATENCY_MS)
    assert (point.count, point.sum, point.bucket_counts[4]) == (1, 75, 1)
    assert {each.key for each in point.attributes} == {"model_name", "endpoint", "success"}
    tokens = found["llm.input.tokens_total"].sum
    assert (tokens.is_monotonic, tokens.aggregation_temporality, tokens.data_points[0].as_int) == (True, 2, 12)
    assert found["switchyard.registry.age_seconds"].gauge.data_points[0].as_double == 0.5


def test_what_a_collector_does_not_take_is_kept_for_the_next_export() -> None:
    meters = Meters()
    meters.record(catalogue.REGISTRY_AGE, 0.5)
    sender = Sender(meters, lambda measured: False, 0.001)
    sender.close()
    assert meters.now()
