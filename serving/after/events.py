"""What each answer leaves behind for drift, feedback and reviews: noted on the request's path, written off it.

In: answers and failures, as the observer sees them. Out: rows of this host's spool. Texts are masked before they are
written; where masking breaks, they are left out. What cannot be kept is dropped and counted, and no request waits.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from fastapi import Request

from mlflow_project.answering.question import question_slot
from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.event import AnswerEvent
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidAnswer, Unavailable
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.scorers.context import ScoringContext
from mlflow_project.rules.scorers.grounding import groundedness
from mlflow_project.rules.scorers.words import content_words
from mlflow_project.settings import EventSettings
from mlflow_project.snapshot.spool import Asked, Spool
from mlflow_project.telemetry import tracing
from mlflow_project.telemetry.outbox import Outbox

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25
MOST_PENDING = 5_000


class _Noted(NamedTuple):
    """What the request's path leaves for the writer. `sampled`: it becomes an event."""

    at: float
    request_id: str
    key_id: str
    release: Release
    question: str
    answer: Answer | None
    error: str | None
    schema_failed: bool
    latency_ms: float
    trace_id: int | None
    sampled: bool


class EventRecorder:
    """One for each worker. `outbox` holds what waits to be written."""

    def __init__(self, settings: EventSettings, spool: Spool, masker: Masker) -> None:
        self.outbox = Outbox("events", self._write, most=MOST_PENDING, batch=100, seconds=FLUSH_SECONDS)
        self._settings = settings
        self._spool = spool
        self._masker = masker
        self._second = 0
        self._sampled = 0

    def answered(self, request: Request, release: Release, variables: Mapping[str, str], answer: Answer) -> None:
        """A request that got its answer."""
        slot = question_slot(variables)
        question = variables[slot] if slot else "\n".join(variables.values())
        self._note(request, release, question, answer, None)

    def failed(self, request: Request, release: Release, error: BaseException) -> None:
        """A request that got an error instead. What was asked is not kept."""
        self._note(request, release, "", None, error)

    def close(self) -> None:
        """Write what is left, for two seconds at most."""
        self.outbox.close()

    def _note(
        self, request: Request, release: Release, question: str, answer: Answer | None, error: BaseException | None
    ) -> None:
        state = request.scope["state"]
        caller, traced = state.get("caller"), tracing.current()
        self.outbox.put(
            _Noted(  # in the order of its fields: names for them cost as much as the rest
                time.time(),
                state["request_id"],
                caller.id if caller is not None else "",
                release,
                question,
                answer,
                type(error).__name__ if error is not None else None,
                isinstance(error, InvalidAnswer),
                1000 * (time.perf_counter() - state["began"]),
                traced.trace_id if traced is not None else None,
                self._is_sampled(),
            )
        )

    def _is_sampled(self) -> bool:
        """A share of the requests, and of those the first so many of each second."""
        if random.random() >= self._settings.event_share:
            return False
        now = int(time.monotonic())
        if now != self._second:
            self._second, self._sampled = now, 0
        self._sampled += 1
        return self._sampled <= self._settings.events_per_second

    def _write(self, noted: Sequence[_Noted]) -> bool:
        events = {number: self._event(one) for number, one in enumerate(noted) if one.sampled}
        asked = [_asked(one, events.get(number)) for number, one in enumerate(noted)]
        try:
            self._spool.add(asked, list(events.values()))
        except Unavailable as error:
            logger.warning("events cannot be kept", extra={"error": str(error)})
            return False
        return True

    def _event(self, noted: _Noted) -> AnswerEvent:
        release, answer = noted.release, noted.answer
        text = answer.text if answer is not None else None
        return AnswerEvent(
            event_id=uuid.uuid4().hex,
            at=_iso(noted.at),
            request_id=noted.request_id,
            key_id=noted.key_id or None,
            name=release.name,
            release=release.label,
            digest=release.digest,
            question=self._safe(noted.question),
            answer=self._safe(text),
            question_chars=len(noted.question),
            answer_chars=len(text) if text is not None else None,
            keywords=len(content_words(text)) if text is not None else None,
            refused=answer is not None and answer.refused,
            schema_failed=noted.schema_failed,
            error_type=noted.error,
            tokens=answer.usage.total_tokens if answer is not None else None,
            cost_usd=answer.cost_usd if answer is not None else None,
            latency_ms=round(noted.latency_ms, 3),
            groundedness=_grounded(noted.question, answer),
            trace_id=_hex(noted.trace_id),
        )

    def _safe(self, text: str | None) -> str | None:
        if not self._settings.event_texts or not text:
            return None
        masked = self._masker.record_safe(text, self._settings.event_text_chars)
        return masked.text if masked is not None else None


def _asked(noted: _Noted, event: AnswerEvent | None) -> Asked:
    release = noted.release
    return Asked(
        noted.request_id,
        noted.key_id,
        _iso(noted.at),
        release.name,
        release.label,
        release.digest,
        event.event_id if event is not None else None,
        _hex(noted.trace_id),
    )


def _hex(trace_id: int | None) -> str | None:
    return f"{trace_id:032x}" if trace_id is not None else None


def _grounded(question: str, answer: Answer | None) -> float | None:
    return groundedness(ScoringContext(Case("", question), answer)).value if answer is not None else None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
