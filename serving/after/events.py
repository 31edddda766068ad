"""Records answers as events, for drift, feedback and reviews. A request only queues its event; a thread writes it.

In: finished requests. Out: rows of this host's spool. Texts and values are masked before they are written, and left out
if masking fails. Events that cannot be written are dropped and counted. No request waits for the disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mlflow_project.answering.question import question_slot
from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.event import MOST_CHUNKS, AnswerEvent
from mlflow_project.domain.times import utc_text
from mlflow_project.errors import InvalidAnswer, Unavailable
from mlflow_project.rules.masking import Masked, Masker
from mlflow_project.rules.scorers.context import ScoringContext
from mlflow_project.rules.scorers.grounding import groundedness
from mlflow_project.rules.scorers.words import content_words
from mlflow_project.settings import EventSettings
from mlflow_project.snapshot.spool import Asked, Spool
from mlflow_project.telemetry.outbox import Outbox
from serving.after.arm_counts import ArmCounter
from serving.call import Finished

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25
MOST_PENDING = 5_000
_VALUE_CHARS = 64
"""The most characters of a text in a model's input that are recorded."""


class _Noted(NamedTuple):
    """A finished request, and whether it was chosen to become an event."""

    finished: Finished
    is_sampled: bool


class EventRecorder:
    """Each worker has one."""

    def __init__(self, settings: EventSettings, spool: Spool, masker: Masker, arms: ArmCounter) -> None:
        self.outbox = Outbox("events", self._write, most=MOST_PENDING, batch=100, seconds=FLUSH_SECONDS)
        self._settings = settings
        self._spool = spool
        self._masker = masker
        self._arms = arms
        self._second = 0
        self._sampled = 0

    def record(self, finished: Finished) -> None:
        """Queue a request. One that failed by the caller's own mistake is left out."""
        if not finished.is_callers_mistake:
            self.outbox.put(_Noted(finished, self._is_sampled()))

    def close(self) -> None:
        """Write what is left, for two seconds at most."""
        self.outbox.close()

    def _is_sampled(self) -> bool:
        """Choose a share of the requests, and of these at most `events_per_second`."""
        if random.random() >= self._settings.event_share:
            return False
        now = int(time.monotonic())
        if now != self._second:
            self._second, self._sampled = now, 0
        self._sampled += 1
        return self._sampled <= self._settings.events_per_second

    def _write(self, noted: Sequence[_Noted]) -> bool:
        events = [self._event(one.finished) if one.is_sampled else None for one in noted]
        asked = [_asked(one.finished, event) for one, event in zip(noted, events, strict=True)]
        try:
            self._spool.add(asked, [event for event in events if event is not None])
        except Unavailable as error:
            logger.warning("events cannot be kept", extra={"error": str(error)})
            return False
        return True

    def _event(self, finished: Finished) -> AnswerEvent:
        release, answer = finished.release, finished.answer if finished.succeeded else None
        question = finished.question if answer is not None else ""  # the question of a failed request is not kept
        text = answer.text if answer is not None else None
        grounded = _grounded(question, answer) if release.manifest.kind == "prompt" else None
        if grounded is not None:
            self._arms.scored(finished, grounded)
        masked, said = self._masked(question or None), self._masked(text or None)
        return AnswerEvent(
            event_id=uuid.uuid4().hex,
            at=_at(finished),
            request_id=finished.call.request_id,
            key_id=_key_id(finished) or None,
            name=release.name,
            release=release.label,
            digest=release.digest,
            question=masked.text if masked is not None else None,
            answer=said.text if said is not None else None,
            question_chars=len(question),
            answer_chars=len(text) if text is not None else None,
            keywords=len(content_words(text)) if text is not None else None,
            refused=answer is not None and answer.refused,
            schema_failed=isinstance(finished.error, InvalidAnswer),
            error_type=finished.error_type,
            tokens=answer.usage.total_tokens if answer is not None else None,
            cost_usd=answer.cost_usd if answer is not None else None,
            latency_ms=round(finished.milliseconds, 3),
            groundedness=grounded,
            trace_id=finished.call.trace_id,
            arm=finished.arm,
            sample=self._sample(finished),
            route=finished.call.route,
            session=_session(finished.call.session),
            inputs=self._inputs(finished, masked),
            chunks=_chunks(finished),
        )

    def _sample(self, finished: Finished) -> str | None:
        if finished.sample is None or not finished.succeeded:
            return None
        settings = self._settings
        return finished.sample.to_text(settings.event_rows, self._masked_value, texts=settings.event_texts)

    def _masked_value(self, text: str) -> str | None:
        masked = self._masker.record_safe(text, _VALUE_CHARS)
        return masked.text if masked is not None else None

    def _inputs(self, finished: Finished, question: Masked | None) -> str | None:
        """What belongs to the request beside its question, as JSON; None if it cannot be asked again."""
        slot = question_slot(finished.variables)
        beside = {name: text for name, text in finished.variables.items() if name != slot}
        masked = {name: self._masked(text) for name, text in beside.items()}
        context = self._masked(finished.context)
        most = self._settings.event_text_chars
        cut = any(len(text) > most for text in (finished.question, finished.context or "", *beside.values()))
        lost = any(text is None or text.withheld for text in (question, *masked.values()))
        lost |= finished.context is not None and (context is None or context.withheld)
        if cut or lost or not finished.alone:
            return None
        inputs: dict[str, Any] = {"variables": {name: text.text for name, text in masked.items() if text is not None}}
        inputs |= {"context": context.text} if context is not None else {}
        return json.dumps(inputs, ensure_ascii=False)

    def _masked(self, text: str | None) -> Masked | None:
        """The text as it may be recorded; None if there is none, or if texts are not recorded here."""
        if not self._settings.event_texts or text is None:
            return None
        return self._masker.record_safe(text, self._settings.event_text_chars)


def _asked(finished: Finished, event: AnswerEvent | None) -> Asked:
    release = finished.release
    return Asked(
        finished.call.request_id,
        _key_id(finished),
        _at(finished),
        release.name,
        release.label,
        release.digest,
        event.event_id if event is not None else None,
        finished.call.trace_id,
        finished.arm,
    )


def _key_id(finished: Finished) -> str:
    return finished.call.caller.id if finished.call.caller is not None else ""


def _grounded(question: str, answer: Answer | None) -> float | None:
    return groundedness(ScoringContext(Case("", question), answer)).value if answer is not None else None


def _chunks(finished: Finished) -> tuple[str, ...] | None:
    """The ids of the chunks that the answer was given. None: it has no knowledge base, or the request failed."""
    if not finished.succeeded or finished.answer is None or finished.release.manifest.knowledge_base is None:
        return None
    return tuple(context.chunk_id for context in finished.answer.contexts[:MOST_CHUNKS])


def _session(given: str) -> str | None:
    """A digest of the caller's session id, which may name a person."""
    return hashlib.sha256(given.encode()).hexdigest()[:16] if given else None


def _at(finished: Finished) -> str:
    return utc_text(datetime.fromtimestamp(finished.at, UTC))
