"""Sends this process's metrics over OTLP: a server every few seconds from a thread, a command or job once at its end.

A collector that is down or slow delays no request and takes no memory: the sums are sent again with the next export. An
export takes two seconds at most. OpenTelemetry's libraries are imported only if something is sent.
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
"""Sends measurements. Returns whether all of them arrived."""


class Sender:
    """Exports meters every few seconds, and once more when it is closed."""

    def __init__(self, meters: Meters, send: Send, seconds: float) -> None:
        self._meters, self._send, self._seconds = meters, send, seconds
        self._stop = threading.Event()
        self._arrives = True
        self._thread = threading.Thread(target=self._run, name="meters", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send the rest, within about two seconds."""
        self._stop.set()
        self._thread.join(EXPORT_SECONDS + 0.5)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._once()
        self._once()

    def _once(self) -> None:
        arrives = self._send(self._meters.now())
        if arrives != self._arrives:
            self._arrives = arrives
            logger.warning("metrics arrive again" if arrives else "metrics do not arrive; they are sent again later")


def start(meters: Meters, settings: TelemetrySettings, service: str, instance: str | None = None) -> Sender | None:
    """Send metrics from now on if a collector is configured. Without one, measure nothing and return None.

    Args:
        service: the label `job` in Prometheus.
        instance: the label `instance`; by default host and process id.
    """
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
        logger.warning("the metrics of this command do not arrive; they are lost", extra={"collector": endpoint})


def exporter(address: str, service: str, instance: str | None = None) -> Send:
    """The function that sends measurements to a collector. It tries again within two seconds."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import export as otlp
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # the caller logs it, once
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
    """A metric with all its series in OpenTelemetry's form, cumulative since the process began."""
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
