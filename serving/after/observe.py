"""What is said about each request: one log event, `LLM Query`, the metrics of the catalogue, and its trace.

Texts are left out unless `SWITCHYARD_LOG_TEXTS` or `SWITCHYARD_TRACE_TEXTS` ask for them, and then they are masked and
cut. When masking breaks, no text is recorded. Everything that waits for somebody happens in other threads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.types import Scope

from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData, ProviderError
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import LogSettings, TelemetrySettings
from mlflow_project.telemetry import catalogue, tracing
from mlflow_project.telemetry.calls import CallMeters, LlmCall
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.outbox import Outbox
from mlflow_project.telemetry.traces import Traces
from mlflow_project.telemetry.tracing import Trace, span
from serving.after.events import EventRecorder
from serving.after.quality import Quality
from serving.after.query_log import QueryLog


class Observer:
    """One for each worker."""

    def __init__(
        self, logs: LogSettings, telemetry: TelemetrySettings, meters: Meters, traces: Traces, events: EventRecorder
    ) -> None:
        self._settings = logs
        self.meters, self.traces, self._events = meters, traces, events
        self._calls = CallMeters(meters)
        self.quality = Quality(telemetry.quality_share if meters.listening else 0.0, meters)
        self.listening = meters.listening or bool(traces.outboxes)
        self._trace_texts = telemetry.trace_texts and bool(traces.outboxes)
        self._log = QueryLog(logs, Masker(logs.mask_patterns), meters)

    def answered(self, request: Request, release: Release, variables: Mapping[str, str], answer: Answer) -> None:
        """A request that got its answer."""
        trace = tracing.current()
        if trace is not None:
            trace.provider, trace.usage = release.manifest.provider, answer.usage
            if self._trace_texts:
                with span("mask"):
                    asked = " ".join(variables.values())
                    trace.texts = self._log.safe(asked), self._log.safe(answer.text)
        if self._settings.log_queries:
            self._log.answered(trace, request, release, variables, answer)
        spent = {"usage": answer.usage, "cost_usd": answer.cost_usd}
        self._measure(request, release, trace, text=answer.text, refused=answer.refused, **spent)
        self.quality.offer(release, variables, answer)
        self._events.answered(request, release, variables, answer)

    def failed(self, request: Request, release: Release, error: BaseException) -> None:
        """A request that got an error instead. What a caller did wrong is no failure of the release's."""
        trace = tracing.current()
        if self._settings.log_queries:
            self._log.failed(trace, request, release, type(error).__name__)
        if isinstance(error, InvalidData):
            return
        if trace is not None:
            trace.root.error = type(error).__name__
        self._measure(request, release, trace, error_type=_error_type(error))
        self._events.failed(request, release, error)

    def turned_away(self, status: int) -> None:
        """A request that met no route: the guard did not let it in."""
        self.meters.record(catalogue.TURNED_AWAY, 1, status=status)

    def ended(self, scope: Scope, trace: Trace, status: int) -> None:
        """The last byte is out; `status` 0: nothing was answered."""
        trace.end()
        route = getattr(scope.get("route"), "path", "none")
        trace.root.name = f"{scope['method']} {route}" if route != "none" else scope["method"]
        about = {"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status}
        trace.root.attributes.update(about)
        if status >= 500 and trace.root.error is None:
            trace.root.error = str(status)
        self.meters.record(catalogue.RESPONSES, 1, route=route, status=status)
        self.traces.ended(trace)

    @property
    def outboxes(self) -> tuple[Outbox[Any], ...]:
        """What waits to be sent or scored."""
        quality = self.quality.outbox
        return (
            *self.traces.outboxes,
            self._events.outbox,
            self._log.outbox,
            *([quality] if quality is not None else []),
        )

    def close(self) -> None:
        """Send what is left."""
        self._log.close()
        self._events.close()
        self.quality.close()
        self.traces.close()

    def _measure(self, request: Request, release: Release, trace: Trace | None, **more: Any) -> None:
        if not self.meters.listening:
            return
        provider = release.manifest.provider
        call = LlmCall(
            model_name=provider.model if provider is not None else release.name,
            endpoint=request.scope["route"].path,
            provider=provider.name if provider is not None else None,
            release=release.label,
            duration_ms=1000 * (time.perf_counter() - request.scope["state"]["began"]),
            **more,
        )
        self._calls.record(call, trace)


def _error_type(error: BaseException) -> str:
    kind = error.kind if isinstance(error, ProviderError) else "other"
    return kind if kind in {"http_error", "timeout"} else "other"
