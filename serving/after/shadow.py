"""Sends copies of requests to shadows, once their own answers have left, and records the pairs of answers.

In: answered requests. Out: one `ShadowEvent` per pair in the spool, and metrics. Copies wait in a bounded queue, and a
few at a time are asked, with connections, a rate and a budget of their own. A copy that finds no place, or exceeds a
limit, is dropped and counted. Whatever a shadow does, no request waits for it and no answer changes.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from mlflow_project.api_keys import ApiKey
from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.event import ShadowEvent
from mlflow_project.domain.release import Release
from mlflow_project.domain.times import utc_now
from mlflow_project.domain.verdict import Score
from mlflow_project.errors import Exhausted, Unavailable, WorkspaceError
from mlflow_project.models.requests import predictions
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.scorers import LIVE_SCORERS
from mlflow_project.rules.scorers.agreement import agreement, equal_rows
from mlflow_project.rules.scorers.context import ScoringContext
from mlflow_project.settings import EventSettings
from mlflow_project.snapshot.spool import Spool
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.outbox import Outbox
from serving.call import Call
from serving.live.shadows import LoadedShadow, Shadows
from serving.live.spending import Reservation, Spending

logger = logging.getLogger(__name__)

MOST_WAITING, AT_ONCE, LONGEST_SECONDS = 64, 4, 60.0
LONGEST_ANSWER, FLOOD_PAUSE_SECONDS = 50_000, 30.0
"""An answer of more characters is not scored, and the shadow is asked nothing for so long: reading and scoring such
answers would take the processor from callers."""
LARGEST_BODY = 262_144
"""Larger requests are not copied: as many as wait would take too much memory."""

Again = Callable[[LoadedShadow], Awaitable[Answer]]
"""Asks a shadow what production was asked. Predictions of a model are the answer's `object`."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A request that production has answered."""

    call: Call
    shadow: LoadedShadow
    release: Release
    question: str
    context: str | None
    answer: Answer
    again: Again


class _Pair(NamedTuple):
    copy: Copy
    answer: Answer | None
    error: str | None
    at: str


class ShadowDesk:
    """Each worker has one."""

    def __init__(
        self,
        shadows: Shadows,
        spending: Spending,
        spool: Spool,
        masker: Masker,
        meters: Meters,
        settings: EventSettings,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        self.outbox = Outbox("shadow", self._write, most=500, batch=20)
        self._shadows = shadows
        self._spending = spending
        self._spool = spool
        self._masker = masker
        self._meters = meters
        self._settings = settings
        self._longest_seconds = longest_seconds
        self._waiting: asyncio.Queue[Copy] = asyncio.Queue(MOST_WAITING)
        self._keys: dict[str, tuple[LoadedShadow, ApiKey]] = {}
        self._paused: dict[str, float] = {}

    def chosen(self, call: Call, alias: str, name: str) -> LoadedShadow | None:
        """The shadow that gets a copy of this request; None: there is none, or the request is not in its share."""
        shadow = self._shadows.loaded.get(name) if self._shadows.loaded else None
        if shadow is None or alias != "Production" or call.arm == "canary" or call.body_bytes > LARGEST_BODY:
            return None
        return shadow if random.random() < shadow.placed.limits.share else None

    def send(self, copy: Copy) -> None:
        """Queue a copy of a request whose response has left, or drop it."""
        if self._is_paused(copy):
            self._count(copy, "over_limit")
            return
        try:
            self._spending.admit(self._key(copy.shadow))
            self._waiting.put_nowait(copy)
        except (Exhausted, asyncio.QueueFull) as error:
            self._count(copy, "over_limit" if isinstance(error, Exhausted) else "dropped")

    async def run(self) -> None:
        """Ask shadows until cancelled. The tasks know nothing of the requests' traces."""
        workers = [asyncio.create_task(self._work(), context=contextvars.Context()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _work(self) -> None:
        while True:
            copy = await self._waiting.get()
            try:
                await self._ask(copy)
            except Exception:
                logger.exception("a shadow's answer was lost")

    async def _ask(self, copy: Copy) -> None:
        if self._is_paused(copy):
            self._count(copy, "over_limit")
            return
        answer: Answer | None = None
        error: BaseException | None = None
        reserved: Reservation | None = None
        began = time.perf_counter()
        try:
            reserved = self._spending.reserve(self._key(copy.shadow), _release(copy), copy.call.body_bytes)
            async with asyncio.timeout(self._longest_seconds):
                answer = await copy.again(copy.shadow)
        except Exhausted:
            self._count(copy, "over_limit")
            return
        except Exception as failure:  # whatever a shadow does, the worker goes on
            error = failure
        if answer is not None and answer.output_chars > LONGEST_ANSWER:
            self._paused[copy.release.name] = time.monotonic() + FLOOD_PAUSE_SECONDS
            logger.warning("a shadow floods; it is paused", extra={"release": _release(copy).label})
        if reserved is not None:
            self._spending.settle(reserved, answer, error if isinstance(error, WorkspaceError) else None)
        self._count(copy, "answered" if answer is not None else "failed")
        label = _release(copy).label
        self._meters.record(catalogue.SHADOW_DURATION, 1000 * (time.perf_counter() - began), release=label)
        if answer is not None and answer.cost_usd:
            self._meters.record(catalogue.SHADOW_COST, answer.cost_usd, release=label)
        self.outbox.put(_Pair(copy, answer, type(error).__name__ if error is not None else None, utc_now()))

    def _is_paused(self, copy: Copy) -> bool:
        return bool(self._paused) and time.monotonic() < self._paused.get(copy.release.name, 0.0)

    def _key(self, shadow: LoadedShadow) -> ApiKey:
        """The caller whose limits are the shadow's. Made once for each shadow, because limits are cached by it."""
        name = shadow.placed.name
        known = self._keys.get(name)
        if known is None or known[0] is not shadow:
            limits = shadow.placed.limits
            own = {"requests": f"{limits.per_second}/second"}
            own |= {"usd": f"{limits.usd_per_day:.6f}/day"} if limits.usd_per_day is not None else {}
            known = self._keys[name] = (shadow, ApiKey(f"shadow:{name}", "shadow", (), "", "", limits=own))
        return known[1]

    def _count(self, copy: Copy, outcome: str) -> None:
        self._meters.record(catalogue.SHADOW_REQUESTS, 1, release=_release(copy).label, outcome=outcome)

    def _write(self, pairs: Sequence[_Pair]) -> bool:
        try:
            self._spool.add_pairs([self._event(pair) for pair in pairs])
        except Unavailable as error:
            logger.warning("a shadow's answers cannot be kept", extra={"error": str(error)})
            return False
        return True

    def _event(self, pair: _Pair) -> ShadowEvent:
        copy, shadow = pair.copy, pair.copy.shadow.placed
        is_prompt = copy.release.manifest.kind == "prompt"
        floods = pair.answer is not None and pair.answer.output_chars > LONGEST_ANSWER
        scored = partial(_scores, copy.question, copy.context) if is_prompt and not floods else _latency
        agreed = agreement if is_prompt else _model_agreement
        return ShadowEvent(
            event_id=uuid.uuid4().hex,
            at=pair.at,
            shadow=shadow.id,
            request_id=copy.call.request_id,
            name=copy.release.name,
            release=copy.release.label,
            digest=copy.release.digest,
            shadow_release=_release(copy).label,
            shadow_digest=shadow.release.digest,
            route=copy.call.route,
            session=hashlib.sha256(copy.call.session.encode()).hexdigest()[:16] if copy.call.session else None,
            question=self._safe(copy.question),
            answer=self._safe(copy.answer.text),
            shadow_answer=self._safe(pair.answer.text) if pair.answer is not None else None,
            agreement=agreed(copy.answer, pair.answer).value if pair.answer is not None and not floods else None,
            scores=scored(copy.release, copy.answer),
            shadow_scores=scored(_release(copy), pair.answer) if pair.answer is not None else {},
            error_type=pair.error,
            cost_usd=pair.answer.cost_usd if pair.answer is not None else None,
        )

    def _safe(self, text: str | None) -> str | None:
        if not self._settings.event_texts or not text:
            return None
        masked = self._masker.record_safe(text, self._settings.event_text_chars)
        return masked.text if masked is not None else None


def _release(copy: Copy) -> Release:
    return copy.shadow.placed.release.release


def _scores(question: str, context: str | None, release: Release, answer: Answer) -> dict[str, float | None]:
    scoring = ScoringContext(Case("", question, context=context), answer, release.manifest.response_schema)
    return {name: scorer(scoring).value for name, scorer in LIVE_SCORERS.items()}


def _latency(release: Release, answer: Answer) -> dict[str, float | None]:
    return {"latency_ms": answer.latency_ms}


def _model_agreement(first: Answer, second: Answer) -> Score:
    return equal_rows(*(predictions(each.object)["predictions"] for each in (first, second)))
