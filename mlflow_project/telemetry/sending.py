"""Sends this process's metrics over OTLP: a server every few seconds from a thread, a command or job once at its end.

A collector that is down, slow or full costs no request and no memory: sums are sent again with the next export, and
nobody waits for one longer than two seconds. OpenTelemetry's libraries are loaded only where something is sent.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlflow_project.errors import WorkspaceError
from mlflow_project.telemetry.catalogue import Metric
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.series import Counted, Series, Spread

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import export as otlp

    from mlflow_project.settings import TelemetrySettings

logger = logging.getLogger(__name__)

EXPORT_SECONDS = 2.0

Send = Callable[[Mapping[Metric, list[Series]]], bool]
"""Whether everything arrived."""


class Sender:
    """Exports meters every few seconds, and once more when it is closed."""

    def __init__(self, meters: Meters, send: Send, seconds: float) -> None:
        self._meters, self._send, self._seconds = meters, send, seconds
        self._stop = threading.Event()
        self._heard = True
        self._thread = threading.Thread(target=self._run, name="meters", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send what is left, within two seconds or so."""
        self._stop.set()
        self._thread.join(EXPORT_SECONDS + 0.5)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._once()
        self._once()

    def _once(self) -> None:
        heard = self._send(self._meters.now())
        if heard != self._heard:
            self._heard = heard
            logger.warning("metrics arrive again" if heard else "metrics do not arrive; they are sent again later")


def start(meters: Meters, settings: TelemetrySettings, service: str, instance: str | None = None) -> Sender | None:
    """Send metrics from now on, if a collector is configured; else measure nothing. `service` is what Prometheus calls
    `job`, `instance` this process (default: host and process id)."""
    meters.listening = settings.otlp_endpoint is not None
    if settings.otlp_endpoint is None:
        return None
    return Sender(meters, exporter(settings.otlp_endpoint, service, instance), settings.telemetry_interval_ms / 1000)


def send_once(meters: Meters, service: str) -> None:
    """Send what a command or job has measured, if anything, within two seconds. Called at its end."""
    measured = meters.now()
    if not measured:
        return
    from mlflow_project.settings import TelemetrySettings, load

    try:
        endpoint = load(TelemetrySettings).otlp_endpoint
    except WorkspaceError:
        return  # the command has reported the wrong setting already
    if endpoint is not None and not exporter(endpoint, service)(measured):
        logger.warning("metrics do not arrive; this command's are lost", extra={"collector": endpoint})


def exporter(address: str, service: str, instance: str | None = None) -> Send:
    """To a collector, tried again within two seconds."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import export as otlp
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # whoever sends says it, once
    name = instance or f"{socket.gethostname()}-{os.getpid()}"
    resource = Resource.create({"service.name": service, "service.instance.id": name})
    to = OTLPMetricExporter(endpoint=address.rstrip("/") + "/v1/metrics", timeout=EXPORT_SECONDS)
    scope, since = InstrumentationScope("switchyard"), time.time_ns()

    def send(measured: Mapping[Metric, list[Series]]) -> bool:
        metrics = [_metric(metric, found, since) for metric, found in measured.items()]
        data = otlp.MetricsData([otlp.ResourceMetrics(resource, [otlp.ScopeMetrics(scope, metrics, "")], "")])
        return to.export(data) is otlp.MetricExportResult.SUCCESS

    return send


def _metric(metric: Metric, found: Sequence[Series], since: int) -> otlp.Metric:
    """The SDK's form of a metric with all its series, cumulative since the process began."""
    from opentelemetry.sdk.metrics import export as otlp

    now, cumulative = time.time_ns(), otlp.AggregationTemporality.CUMULATIVE
    spreads = [
        otlp.HistogramDataPoint(
            one.labels, since, now, sum(one.counts), one.sum, one.counts, one.boundaries, one.least, one.most
        )
        for one in found
        if isinstance(one, Spread)
    ]
    numbers = [otlp.NumberDataPoint(one.labels, since, now, one.value) for one in found if isinstance(one, Counted)]
    data: otlp.Sum | otlp.Gauge | otlp.Histogram
    if metric.kind == "histogram":
        data = otlp.Histogram(spreads, cumulative)
    else:
        data = otlp.Gauge(numbers) if metric.kind == "gauge" else otlp.Sum(numbers, cumulative, is_monotonic=True)
    return otlp.Metric(metric.name, metric.description, metric.unit, data)
