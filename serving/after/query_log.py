"""The log event `LLM Query` of each request: noted on the request's path, masked and written off it, many at a time.

In: what the observer knows of a request, and its texts where they are logged. Out: lines of the log. Texts are masked
once they are complete, and cut; where masking breaks, they are left out. What the log does not take in time is dropped
and counted: no request waits for a disk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fastapi import Request

from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import Release
from mlflow_project.logs import Event, say_all
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import LogSettings
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.outbox import Outbox
from mlflow_project.telemetry.tracing import Trace

FLUSH_SECONDS = 0.25
MOST_WAITING, BATCH = 5_000, 48


class _Noted(NamedTuple):
    """`answer` None: there was an error instead. `texts` are the question and the answer, where they are logged."""

    at: float
    trace: Trace | None
    request_id: str
    route: str
    release: Release
    answer: Answered | None
    error_type: str | None
    texts: tuple[str, str | None] | None


class Answered(NamedTuple):
    """What is said of an answer besides its texts."""

    latency_ms: float
    refused: bool
    usage: Usage


class QueryLog:
    """One for each worker."""

    def __init__(self, settings: LogSettings, masker: Masker, meters: Meters) -> None:
        self.outbox = Outbox("log", self._write, most=MOST_WAITING, batch=BATCH, seconds=FLUSH_SECONDS)
        self._settings = settings
        self._masker = masker
        self._meters = meters

    def answered(
        self, trace: Trace | None, request: Request, release: Release, variables: Mapping[str, str], answer: Answer
    ) -> None:
        """A request that got its answer. Its texts are kept only until they are masked, and only where they are
        logged."""
        texts = (" ".join(variables.values()), answer.text) if self._settings.log_texts else None
        said = Answered(answer.latency_ms, answer.refused, answer.usage)
        self.outbox.put(_Noted(time.time(), trace, *_of(request), release, said, None, texts))

    def failed(self, trace: Trace | None, request: Request, release: Release, error_type: str) -> None:
        """A request that got an error instead."""
        self.outbox.put(_Noted(time.time(), trace, *_of(request), release, None, error_type, None))

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
        release, answer = noted.release, noted.answer
        fields: dict[str, object] = {"request_id": noted.request_id, "route": noted.route}
        fields |= {"release": release.label, "digest": release.digest, "success": answer is not None}
        if answer is None:
            fields["error_type"] = noted.error_type
        else:
            fields |= {"latency_ms": round(answer.latency_ms, 3), "refused": answer.refused}
            fields |= {name: count for name, count in vars(answer.usage).items() if count is not None}
        if noted.trace is not None:
            fields["trace_id"] = f"{noted.trace.trace_id:032x}"
            fields["span_id"] = f"{noted.trace.root.span_id:016x}"
        if noted.texts is not None:
            fields["input"], fields["output"] = map(self.safe, noted.texts)
        return Event(noted.at, "info", __name__, "LLM Query", fields)


def _of(request: Request) -> tuple[str, str]:
    """Which request: its id and its route."""
    return request.scope["state"]["request_id"], request.scope["route"].path
