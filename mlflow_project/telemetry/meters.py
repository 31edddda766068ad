"""Takes the measurements of the catalogue and sends them over OTLP in the background. A collector that is down, slow or
full costs no request and no memory: numbers are added up in place, and an export that fails is made up for by the next.

Labels are bounded twice: only those that the catalogue names, and of each at most `MOST_VALUES` distinct values a
process; what comes later is counted under `other`.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from opentelemetry.sdk.metrics import export as otlp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from mlflow_project.settings import TelemetrySettings
from mlflow_project.telemetry.catalogue import CATALOGUE, Metric
from mlflow_project.telemetry.series import Series, as_otlp, series

logger = logging.getLogger(__name__)

MOST_VALUES = 100
EXPORT_SECONDS = 2.0
_MOST_KNOWN = 4096
_SCOPE = InstrumentationScope("switchyard")

Export = Callable[[otlp.MetricsData], bool]


class Meters:
    """Takes measurements, from any thread. With `listening` false nothing is recorded."""

    def __init__(self, service: str, instance: str, *, listening: bool = True) -> None:
        self.listening = listening
        self._resource = Resource.create({"service.name": service, "service.instance.id": instance})
        self._since = time.time_ns()
        self._lock = threading.Lock()
        self._known: dict[tuple[object, ...], Series] = {}
        self._series: dict[Metric, dict[tuple[tuple[str, str], ...], Series]] = defaultdict(dict)
        self._seen: dict[str, set[str]] = defaultdict(set)

    def record(self, metric: Metric, value: float, **labels: object) -> None:
        """Add to a counter, observe into a histogram, or set a gauge. Dots in a label's name are written `__`; a label
        that is None is left out."""
        if not self.listening:
            return
        key = (metric.name, *labels.items())
        with self._lock:
            found = self._known.get(key)
            if found is None:
                found = self._series_for(metric, labels)
                if len(self._known) < _MOST_KNOWN:
                    self._known[key] = found
            found.add(value)

    def data(self) -> otlp.MetricsData:
        """Everything as it stands now."""
        now = time.time_ns()
        with self._lock:
            metrics = [
                as_otlp(metric, [one.point(self._since, now) for one in self._series[metric].values()])
                for metric in CATALOGUE
                if metric in self._series
            ]
        scope = otlp.ScopeMetrics(_SCOPE, metrics, "")
        return otlp.MetricsData([otlp.ResourceMetrics(self._resource, [scope], "")])

    def _series_for(self, metric: Metric, labels: dict[str, object]) -> Series:
        named = {key.replace("__", "."): str(value) for key, value in labels.items() if value is not None}
        if unknown := named.keys() - set(metric.labels):
            raise ValueError(
                f"{metric.name} takes no label {', '.join(sorted(unknown))}: the catalogue names its labels."
            )
        bounded = {key: self._admitted(key, value) for key, value in named.items()}
        at = tuple(sorted(bounded.items()))
        return self._series[metric].setdefault(at, series(metric, bounded))

    def _admitted(self, key: str, value: str) -> str:
        seen = self._seen[key]
        if value in seen:
            return value
        if len(seen) >= MOST_VALUES:
            return "other"
        seen.add(value)
        return value


class Sender:
    """Exports a process's meters every few seconds, and once more when it is closed."""

    def __init__(self, meters: Meters, export: Export, seconds: float) -> None:
        self._meters, self._export, self._seconds = meters, export, seconds
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
            self._send()
        self._send()

    def _send(self) -> None:
        heard = self._export(self._meters.data())
        if heard != self._heard:
            self._heard = heard
            logger.warning("metrics arrive again" if heard else "metrics do not arrive; they are sent again later")


class _Process:
    """This process's meters: one that records nothing, until `start` is called."""

    meters = Meters("switchyard", "", listening=False)
    sender: Sender | None = None


def meters() -> Meters:
    """This process's meters."""
    return _Process.meters


def start(settings: TelemetrySettings, service: str, instance: str | None = None) -> Meters:
    """Let this process be measured, if a collector is configured. `service` is what Prometheus calls `job`."""
    if settings.otlp_endpoint is not None and _Process.sender is None:
        named = instance or f"{socket.gethostname()}-{os.getpid()}"
        _Process.meters = Meters(service, named)
        export = _exporter(settings.otlp_endpoint)
        _Process.sender = Sender(_Process.meters, export, settings.telemetry_interval_ms / 1000)
    return _Process.meters


def stop() -> None:
    """Send what is left, within two seconds, and measure no more."""
    sender, _Process.sender = _Process.sender, None
    if sender is not None:
        sender.close()
        _Process.meters = Meters("switchyard", "", listening=False)


def _exporter(address: str) -> Export:
    """To a collector, over OTLP; tried again within two seconds."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # the sender says it, once
    exporter = OTLPMetricExporter(endpoint=address.rstrip("/") + "/v1/metrics", timeout=EXPORT_SECONDS)
    return lambda data: exporter.export(data) is otlp.MetricExportResult.SUCCESS
