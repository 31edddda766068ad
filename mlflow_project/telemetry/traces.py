"""Decides which traces are kept when their requests end, and sends these later, in batches.

Kept are the traces of all failed and all slow requests, and of a share of the others. The share is chosen by the
trace's id, so that several processes choose the same ones. Traces go to an OTLP collector and, if the settings name an
experiment, to MLflow, linked to the prompt's version. Conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from mlflow_project.settings import TelemetrySettings
from mlflow_project.telemetry.outbox import Outbox
from mlflow_project.telemetry.tracing import Step, Trace

SEND_SECONDS = 5.0
MOST_WAITING, BATCH = 2_048, 16
_RANGE = 1 << 64
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


@dataclass(frozen=True)
class Keeping:
    """The rule for keeping a trace. A request is slow from `slow_ms` on. Of the others, the share `share` (0 to 1) is
    kept.
    """

    share: float
    slow_ms: float

    def why(self, trace: Trace) -> str | None:
        """Why a finished trace is kept; None: it is not kept."""
        if trace.failed:
            return "error"
        if trace.root.seconds * 1000 >= self.slow_ms:
            return "slow"
        return "share" if trace.trace_id % _RANGE < self.share * _RANGE else None


class Traces:
    """Gets every finished trace, and queues those that are kept."""

    def __init__(self, keeping: Keeping, outboxes: Sequence[Outbox[Trace]] = ()) -> None:
        self.outboxes = tuple(outboxes)
        self._keeping = keeping

    def ended(self, trace: Trace) -> None:
        """Queue the trace if it is kept."""
        if not self.outboxes:
            return
        why = self._keeping.why(trace)
        if why is not None:
            trace.root.attributes["switchyard.kept"] = why
            for outbox in self.outboxes:
                outbox.put(trace)

    def close(self) -> None:
        """Send the rest, within two seconds."""
        for outbox in self.outboxes:
            outbox.close()


def traces_for(settings: TelemetrySettings, mlflow_uri: str, service: str, instance: str) -> Traces:
    """The traces of this process, which go to the collector, to MLflow, to both or to neither."""
    resource = Resource.create({"service.name": service, "service.instance.id": instance})
    takers: dict[str, Callable[[Sequence[Trace]], bool]] = {}
    if settings.otlp_endpoint is not None:
        takers["traces"] = _Sender(_exporter(settings.otlp_endpoint, {}), resource).take
    if settings.trace_experiment is not None:
        headers = {"x-mlflow-experiment-id": settings.trace_experiment}
        takers["mlflow_traces"] = _MlflowSender(_exporter(mlflow_uri, headers), resource, mlflow_uri).take
    keeping = Keeping(settings.trace_share, settings.trace_slow_ms)
    return Traces(keeping, [Outbox(name, take, most=MOST_WAITING, batch=BATCH) for name, take in takers.items()])


def _exporter(address: str, headers: dict[str, str]) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # the outbox logs it, once
    return OTLPSpanExporter(endpoint=address.rstrip("/") + "/v1/traces", headers=headers, timeout=SEND_SECONDS)


@dataclass(frozen=True)
class _Sender:
    """Sends traces to a collector."""

    exporter: SpanExporter
    resource: Resource

    def take(self, traces: Sequence[Trace]) -> bool:
        """Send a batch. Returns whether it arrived."""
        spans = [span for trace in traces for span in spans_of(trace, self.resource)]
        return self.exporter.export(spans) is SpanExportResult.SUCCESS


@dataclass(frozen=True)
class _MlflowSender:
    """Sends traces to MLflow, and links each one to its prompt version by another call. MLflow shows a trace as
    finished only if its root has no parent.
    """

    exporter: SpanExporter
    resource: Resource
    uri: str

    def take(self, traces: Sequence[Trace]) -> bool:
        """Send and link a batch. Returns whether all of it arrived."""
        spans = [span for trace in traces for span in spans_of(trace, self.resource, whole=True)]
        sent = self.exporter.export(spans) is SpanExportResult.SUCCESS
        return sent and all(self._linked(trace) for trace in traces if trace.release is not None)

    def _linked(self, trace: Trace) -> bool:
        name, _, version = (trace.release or "").rpartition("/")
        body = {"trace_id": f"tr-{trace.trace_id:032x}", "prompt_versions": [{"name": name, "version": version}]}
        request = urllib.request.Request(
            f"{self.uri.rstrip('/')}/api/2.0/mlflow/traces/link-prompts",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=SEND_SECONDS) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def spans_of(trace: Trace, resource: Resource, *, whole: bool = False) -> list[ReadableSpan]:
    """The trace as OpenTelemetry's spans, root first. With `whole`, the root has no parent, even if the caller sent
    one.
    """
    remote = None if trace.remote is None or whole else _context(trace.trace_id, trace.remote.span_id, remote=True)
    root = _span(trace, trace.root, remote, resource, SpanKind.SERVER, _root_attributes(trace))
    steps = [
        _span(trace, each, _parent_of(each, trace), resource, _kind(each), _attributes(each, trace))
        for each in trace.steps
    ]
    return [root, *steps]


def _span(
    trace: Trace, step: Step, parent: SpanContext | None, resource: Resource, kind: SpanKind, attributes: dict[str, Any]
) -> ReadableSpan:
    offset = trace.wall_ns - trace.root.began_ns
    return ReadableSpan(
        step.name,
        context=_context(trace.trace_id, step.span_id),
        parent=parent,
        resource=resource,
        attributes=attributes if step.error is None else {**attributes, "error.type": step.error},
        kind=kind,
        status=Status(StatusCode.OK if step.error is None else StatusCode.ERROR),
        start_time=step.began_ns + offset,
        end_time=(step.ended_ns or trace.root.ended_ns) + offset,
    )


def _attributes(step: Step, trace: Trace) -> dict[str, Any]:
    return {**step.attributes, **_gen_ai(trace)} if step.name == "ask" else step.attributes


def _gen_ai(trace: Trace) -> dict[str, Any]:
    """The attributes of OpenTelemetry's conventions for a call to a model."""
    found: dict[str, Any] = {}
    if (usage := trace.usage) is not None:
        counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        found |= {f"gen_ai.usage.{name}": count for name, count in counts.items() if count is not None}
    if (provider := trace.provider) is not None:
        named = {"operation.name": "chat", "provider.name": provider.name, "request.model": provider.model}
        found |= {f"gen_ai.{name}": value for name, value in named.items()}
    return found


def _root_attributes(trace: Trace) -> dict[str, Any]:
    found = dict(trace.root.attributes)
    if trace.release is not None:
        found["mlflow.traceTag.switchyard.release"] = found["switchyard.release"] = trace.release
    for key, role, text in zip(("input", "output"), ("user", "assistant"), trace.texts, strict=True):
        if text is not None:
            messages = [{"role": role, "parts": [{"type": "text", "content": text}]}]
            found[f"gen_ai.{key}.messages"] = json.dumps(messages, ensure_ascii=False)
    return found


def _parent_of(step: Step, trace: Trace) -> SpanContext:
    return _context(trace.trace_id, (step.parent or trace.root).span_id)


def _kind(step: Step) -> SpanKind:
    return SpanKind.CLIENT if step.name == "try" else SpanKind.INTERNAL


def _context(trace_id: int, span_id: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=remote, trace_flags=_SAMPLED)
