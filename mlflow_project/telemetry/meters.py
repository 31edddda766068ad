"""Instruments for the catalogue, sent over OTLP in the background. A collector that is down, slow or full costs no
request and no memory: the SDK adds numbers up in place and gives up on an export that fails.

Labels are bounded twice: only those that the catalogue names, and of each at most `MOST_VALUES` distinct values a
process; what comes later is counted under `other`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from mlflow_project.domain.answer import Usage
from mlflow_project.settings import TelemetrySettings
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.catalogue import CATALOGUE, Metric

MOST_VALUES = 100


class Meters:
    """Takes measurements. Without a reader nothing is recorded and nothing is sent."""

    def __init__(self, service: str, instance: str, reader: MetricReader | None = None) -> None:
        resource = Resource.create({"service.name": service, "service.instance.id": instance})
        self._provider = MeterProvider([reader], resource=resource) if reader else None
        self._instruments: dict[Metric, Any] = {}
        self._seen: dict[str, set[str]] = defaultdict(set)
        if self._provider is not None:
            meter = self._provider.get_meter("switchyard")
            self._instruments = {metric: _instrument(meter, metric) for metric in CATALOGUE}

    def record(self, metric: Metric, value: float, **labels: object) -> None:
        """Add to a counter, observe into a histogram, or set a gauge. Dots in a label's name are written `__`."""
        instrument = self._instruments.get(metric)
        if instrument is None:
            return
        bounded = self._bounded(metric, labels)
        if metric.kind == "counter":
            instrument.add(value, bounded)
        elif metric.kind == "histogram":
            instrument.record(value, bounded)
        else:
            instrument.set(value, bounded)

    def close(self) -> None:
        """Send what is left, within two seconds."""
        if self._provider is not None:
            self._provider.shutdown(timeout_millis=2000)

    def _bounded(self, metric: Metric, labels: dict[str, object]) -> dict[str, str]:
        named = {key.replace("__", "."): str(value) for key, value in labels.items() if value is not None}
        unknown = named.keys() - set(metric.labels)
        if unknown:
            raise ValueError(
                f"{metric.name} takes no label {', '.join(sorted(unknown))}: the catalogue names its labels."
            )
        return {key: self._admitted(key, value) for key, value in named.items()}

    def _admitted(self, key: str, value: str) -> str:
        seen = self._seen[key]
        if value in seen:
            return value
        if len(seen) >= MOST_VALUES:
            return "other"
        seen.add(value)
        return value


def _instrument(meter: Meter, metric: Metric) -> Any:
    if metric.kind == "counter":
        return meter.create_counter(metric.name, metric.unit, metric.description)
    if metric.kind == "gauge":
        return meter.create_gauge(metric.name, metric.unit, metric.description)
    bounds = list(metric.boundaries)
    return meter.create_histogram(
        metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=bounds
    )


def meters_for(settings: TelemetrySettings, service: str, instance: str) -> Meters:
    """The process's meters: sent to the configured collector, or nowhere."""
    if settings.otlp_endpoint is None:
        return Meters(service, instance)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(endpoint=settings.otlp_endpoint.rstrip("/") + "/v1/metrics", timeout=2)
    return Meters(service, instance, PeriodicExportingMetricReader(exporter, settings.telemetry_interval_ms))


@dataclass(frozen=True)
class LlmCall:
    """One request as the metrics see it. `error_type` is `http_error`, `timeout` or `other` on failure, else None;
    `provider` is the name of who answered, where OpenTelemetry's GenAI conventions are to be followed."""

    model_name: str
    endpoint: str
    duration_ms: float
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None
    text: str | None = None
    error_type: str | None = None
    provider: str | None = None


def record_llm_call(meters: Meters, call: LlmCall) -> None:
    """Record one request under the `llm.*` names; failures record their duration too."""
    labels: dict[str, object] = {"model_name": call.model_name, "endpoint": call.endpoint}
    labels |= {"success": "false" if call.error_type else "true", "error_type": call.error_type}
    meters.record(catalogue.LLM_DURATION, call.duration_ms, **labels)
    if call.error_type:
        meters.record(catalogue.LLM_ERRORS, 1, **labels)
    for metric, amount in (
        (catalogue.LLM_INPUT_TOKENS, call.usage.input_tokens),
        (catalogue.LLM_OUTPUT_TOKENS, call.usage.output_tokens),
        (catalogue.LLM_THOUGHT_TOKENS, call.usage.thought_tokens),
        (catalogue.LLM_CACHED_TOKENS, call.usage.cached_tokens),
        (catalogue.LLM_COST, call.cost_usd),
    ):
        if amount:
            meters.record(metric, amount, **labels)
    _record_gen_ai(meters, call)
    if call.text is not None:
        meters.record(catalogue.LLM_LENGTH, len(call.text), **labels)
        meters.record(catalogue.LLM_KEYWORDS, len({word.lower() for word in call.text.split()}), **labels)


def _record_gen_ai(meters: Meters, call: LlmCall) -> None:
    """The same tokens by OpenTelemetry's convention, which counts thoughts as output."""
    if call.provider is None:
        return
    labels: dict[str, object] = {"gen_ai__operation__name": "chat", "gen_ai__provider__name": call.provider}
    labels |= {"gen_ai__request__model": call.model_name}
    written = (call.usage.output_tokens or 0) + (call.usage.thought_tokens or 0)
    for kind, amount in (("input", call.usage.input_tokens), ("output", written)):
        if amount:
            meters.record(catalogue.GEN_AI_TOKENS, amount, gen_ai__token__type=kind, **labels)
