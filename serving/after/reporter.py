"""Passes every finished request to its subscribers: log, metrics, traces, events, quality, spending.

Nothing here waits. A subscriber that sends or writes queues the request in an `Outbox`, which has its own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import Scope

from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.outbox import Outbox
from mlflow_project.telemetry.traces import Traces
from mlflow_project.telemetry.tracing import span
from serving.call import Call, Finished

Subscriber = Callable[[Finished], None]
Safe = Callable[[str | None], str | None]


_SHOWN_SECONDS = 0.001
"""From this time on, a trace names how long its request waited in the queue."""


class TraceNotes:
    """Adds usage, provider, error and texts to a request's trace. `safe` masks a text; None: traces have no texts."""

    def __init__(self, safe: Safe | None) -> None:
        self._safe = safe

    def record(self, finished: Finished) -> None:
        """Add what one request has to its trace."""
        trace = finished.call.trace
        if not finished.succeeded:
            if not finished.is_callers_mistake:
                trace.root.error = finished.error_type
            return
        if finished.answer is None:
            return
        trace.provider, trace.usage = finished.release.manifest.provider, finished.answer.usage
        if self._safe is not None:
            with span("mask"):
                question = " ".join(finished.variables.values())
                trace.texts = self._safe(question), self._safe(finished.answer.text)


class Reporter:
    """Each worker has one. `outboxes` are those of the subscribers."""

    def __init__(
        self, meters: Meters, traces: Traces, subscribers: Sequence[Subscriber], outboxes: Sequence[Outbox[Any]]
    ) -> None:
        self._meters = meters
        self._traces = traces
        self._subscribers = tuple(subscribers)
        self.outboxes = (*traces.outboxes, *outboxes)
        self.listening = meters.listening or bool(traces.outboxes)

    def report(self, finished: Finished) -> None:
        """Pass a finished request to every subscriber."""
        for subscriber in self._subscribers:
            subscriber(finished)

    def turned_away(self, status: int) -> None:
        """Count a request that the edge refused."""
        self._meters.record(catalogue.TURNED_AWAY, 1, status=status)

    def ended(self, scope: Scope, call: Call) -> None:
        """End the trace of a request whose response was sent, and count the response by its route."""
        trace, method = call.trace, scope["method"]
        trace.end()
        route = getattr(scope.get("route"), "path", "none")
        trace.root.name = f"{method} {route}" if route != "none" else method
        about = {"http.request.method": method, "http.route": route, "http.response.status_code": call.status}
        if call.queued_seconds >= _SHOWN_SECONDS:
            about["switchyard.queued_ms"] = round(1000 * call.queued_seconds, 1)
        trace.root.attributes.update(about)
        if call.status >= 500 and trace.root.error is None:
            trace.root.error = str(call.status)
        self._meters.record(catalogue.RESPONSES, 1, route=route, status=call.status)
        self._traces.ended(trace)

    def close(self) -> None:
        """Send and write what is left, for two seconds each at most."""
        for outbox in self.outboxes:
            outbox.close()
