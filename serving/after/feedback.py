"""Keeps a caller's judgement of an answer that this host gave.

In: a judgement. Out: one event in the spool, on disk before the caller is answered. The same judgement sent again
changes nothing; a different one of the same answer, by the same caller, replaces it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from mlflow_project.api_keys import ApiKey
from mlflow_project.domain.event import FeedbackEvent
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import NotFound, Refused, Unavailable
from mlflow_project.rules.canonical import digest_of
from mlflow_project.rules.masking import Masker
from mlflow_project.snapshot.spool import Asked, Spool
from mlflow_project.telemetry.catalogue import FEEDBACK
from mlflow_project.telemetry.meters import Meters
from serving.after.arm_counts import ArmCounter

_TEXTS = ("label", "comment", "corrected_answer")
_TRIES, _PAUSE_SECONDS = 6, 0.1  # longer than an answer is on its way to the disk


class FeedbackDesk:
    """Each worker has one. Every worker of a host knows the requests of all of them."""

    def __init__(self, spool: Spool, masker: Masker, meters: Meters, arms: ArmCounter) -> None:
        self._spool = spool
        self._arms = arms
        self._masker = masker
        self._meters = meters

    async def take(self, request_id: str, judgement: Mapping[str, Any], caller: ApiKey | None) -> tuple[Asked, bool]:
        """Keep a judgement (`score`, `label`, `comment`, `corrected_answer`). Returns the request, and whether it is
        new.

        Raises:
            NotFound: this host knows no such request. Refused: somebody else's key asked it.
            Unavailable: the judgement cannot be kept, or cannot be masked.
        """
        asked = await self._asked(request_id, caller)
        event = self._event(asked, judgement, caller)
        said = digest_of([event.score, event.label, event.comment, event.corrected_answer])
        new = await asyncio.to_thread(self._spool.note_feedback, event, said)
        if new:
            self._meters.record(FEEDBACK, 1, release=asked.release, arm=asked.arm)
            self._arms.judged(asked.release, asked.arm, judgement)
        return asked, new

    async def _asked(self, request_id: str, caller: ApiKey | None) -> Asked:
        """Find the judged request. Tries again for half a second: the answer may not be on disk yet."""
        found: tuple[Asked, ...] = ()
        for _ in range(_TRIES):
            found = await asyncio.to_thread(self._spool.asked, request_id)
            asked = _of_caller(found, caller)
            if asked is not None:
                return asked
            await asyncio.sleep(_PAUSE_SECONDS)
        if found:
            raise Refused(
                f"The request {request_id!r} was not asked with this API key: that key may judge it, or an admin's."
            )
        raise NotFound(
            f"No request {request_id!r} was answered on this host lately: the header X-Request-Id of the answer names "
            "it, and SWITCHYARD_EVENT_DAYS says how long it is known."
        )

    def _event(self, asked: Asked, judgement: Mapping[str, Any], caller: ApiKey | None) -> FeedbackEvent:
        author = caller.id if caller is not None else None
        texts = {name: self._masked(judgement.get(name)) for name in _TEXTS}
        return FeedbackEvent(
            event_id=uuid.uuid4().hex,
            at=utc_now(),
            feedback_id=digest_of([asked.request_id, asked.key_id, asked.at, author])[7:39],
            request_id=asked.request_id,
            answer_event=asked.event_id,
            name=asked.name,
            release=asked.release,
            digest=asked.digest,
            source="caller" if (author or "") == asked.key_id else "admin",
            author=author,
            score=judgement.get("score"),
            trace_id=asked.trace_id,
            **texts,
        )

    def _masked(self, text: str | None) -> str | None:
        masked = self._masker.record_safe(text, len(text or "") * 2)
        if text is not None and (masked is None or masked.withheld):
            raise Unavailable("This feedback holds a text that cannot be masked, so nothing of it was kept.")
        return masked.text if masked is not None else None


def _of_caller(found: tuple[Asked, ...], caller: ApiKey | None) -> Asked | None:
    """The newest of the requests that the caller may judge: those of this key. An admin may judge any, and so may
    everyone on a server that requires no keys.
    """
    mine = [asked for asked in found if caller is None or asked.key_id == caller.id]
    if not mine and caller is not None and caller.may("admin"):
        mine = list(found)
    return mine[0] if mine else None
