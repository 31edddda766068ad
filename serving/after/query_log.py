"""Writes the log event `LLM Query` of each finished request. A request only queues the event; a thread writes it.

In: finished requests. Out: lines of the log. Texts are logged only with `SWITCHYARD_LOG_TEXTS`; the thread masks and
shortens them, and leaves them out if masking fails. Events that cannot be written in time are dropped and counted: no
request waits for the disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_project.logs import Event, say_all
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import LogSettings
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.outbox import Outbox
from serving.call import Finished

FLUSH_SECONDS = 0.25
MOST_WAITING, BATCH = 5_000, 48

Texts = tuple[str, str | None]
"""Question and answer, not masked yet."""


class QueryLog:
    """Each worker has one."""

    def __init__(self, settings: LogSettings, masker: Masker, meters: Meters) -> None:
        self.outbox = Outbox("log", self._write, most=MOST_WAITING, batch=BATCH, seconds=FLUSH_SECONDS)
        self._settings = settings
        self._masker = masker
        self._meters = meters

    def record(self, finished: Finished) -> None:
        """Queue a request, with its texts if they are logged."""
        if not self._settings.log_queries:
            return
        texts: Texts | None = None
        if self._settings.log_texts and finished.succeeded and finished.answer is not None:
            texts = (" ".join(finished.variables.values()), finished.answer.text)
        self.outbox.put((_event(finished), texts))

    def close(self) -> None:
        """Write what is left, for two seconds at most."""
        self.outbox.close()

    def safe(self, text: str | None) -> str | None:
        """The text, masked and shortened; None: there is no text, or masking failed."""
        masked = self._masker.record_safe(text, self._settings.log_text_chars)
        if masked is None:
            return None
        for kind, count in masked.found.items():
            self._meters.record(catalogue.MASKED, count, kind=kind)
        return masked.text

    def _write(self, noted: Sequence[tuple[Event, Texts | None]]) -> bool:
        return say_all([event if texts is None else self._with_texts(event, texts) for event, texts in noted])

    def _with_texts(self, event: Event, texts: Texts) -> Event:
        question, answer = map(self.safe, texts)
        return event._replace(fields={**event.fields, "input": question, "output": answer})


def _event(finished: Finished) -> Event:
    call, release, answer = finished.call, finished.release, finished.answer
    fields: dict[str, object] = {"request_id": call.request_id, "route": finished.call.route}
    fields |= {"release": release.label, "digest": release.digest, "arm": finished.arm}
    fields["success"] = finished.succeeded
    if not finished.succeeded or answer is None:
        fields["error_type"] = finished.error_type
    else:
        fields |= {"latency_ms": round(answer.latency_ms, 3), "refused": answer.refused}
        fields |= {name: count for name, count in vars(answer.usage).items() if count is not None}
    fields["trace_id"] = call.trace_id
    fields["span_id"] = f"{call.trace.root.span_id:016x}"
    return Event(finished.at, "info", __name__, "LLM Query", fields)
