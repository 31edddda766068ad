"""The log event `LLM Query` of each request: noted on the request's path, masked and written off it, many at a time.

In: what the observer knows of a request, and its texts where they are logged. Out: lines of the log. Texts are masked
once they are complete, and cut; where masking breaks, they are left out. What the log does not take in time is dropped
and counted: no request waits for a disk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mlflow_project.logs import Event, say_all
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import LogSettings
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.outbox import Outbox
from mlflow_project.telemetry.tracing import Trace

FLUSH_SECONDS = 0.25
MOST_WAITING, BATCH = 5_000, 128

Texts = Mapping[str, str | None]


class _Noted(NamedTuple):
    at: float
    trace: Trace | None
    fields: Mapping[str, object]
    texts: Texts


class QueryLog:
    """One for each worker."""

    def __init__(self, settings: LogSettings, masker: Masker, meters: Meters) -> None:
        self.outbox = Outbox("log", self._write, most=MOST_WAITING, batch=BATCH, seconds=FLUSH_SECONDS)
        self._settings = settings
        self._masker = masker
        self._meters = meters

    def note(self, trace: Trace | None, fields: Mapping[str, object], texts: Texts) -> None:
        """One request. Its texts are kept only until they are masked, and only where they are logged."""
        self.outbox.put(_Noted(time.time(), trace, fields, texts if self._settings.log_texts else {}))

    def close(self) -> None:
        """Write what is left, for two seconds at most."""
        self.outbox.close()

    def safe(self, text: str | None) -> str | None:
        """The text masked and cut; None when there is none, or when masking broke."""
        masked = self._masker.record_safe(text, self._settings.log_text_chars)
        if masked is None:
            return None
        for kind, count in masked.found.items():
            self._meters.record(catalogue.MASKED, count, kind=kind)
        return masked.text

    def _write(self, noted: Sequence[_Noted]) -> bool:
        return say_all([self._event(one) for one in noted])

    def _event(self, noted: _Noted) -> Event:
        fields = dict(noted.fields)
        if noted.trace is not None:
            fields["trace_id"] = f"{noted.trace.trace_id:032x}"
            fields["span_id"] = f"{noted.trace.root.span_id:016x}"
        fields.update((name, self.safe(text)) for name, text in noted.texts.items())
        return Event(noted.at, "info", __name__, "LLM Query", fields)
