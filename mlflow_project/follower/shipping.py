"""Uploads this host's events to the object store, and users' judgements to their traces in MLflow.

In: the spool. Out: objects `events/day=YYYY-MM-DD/<host>-<id>.jsonl` in the raw bucket; assessments in MLflow where an
answer has a trace. An event leaves the spool after it was uploaded. What cannot be written now is tried again.
"""

from __future__ import annotations

import logging
import time
import uuid
from datetime import UTC, datetime, timedelta
from threading import Event

from mlflow_project.adapters.assessments import Assessments
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.event import FeedbackEvent
from mlflow_project.domain.times import utc_text
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.settings import EventSettings
from mlflow_project.snapshot.spool import Spool

logger = logging.getLogger(__name__)

EVENTS = "events/"
MOST_ROWS = 5_000
TRIM_SECONDS = 60.0
TRACE_SECONDS = 120.0
"""A judgement waits this long for its trace to arrive in MLflow. Most answers have no trace there."""


class Shipper:
    """Uploads events in a thread of its own."""

    def __init__(
        self, store: ObjectStore, spool: Spool, assessments: Assessments, settings: EventSettings, *, host: str
    ) -> None:
        self._store = store
        self._spool = spool
        self._assessments = assessments
        self._settings = settings
        self._host = host
        self._trimmed_at = time.monotonic()

    def run(self, stop: Event) -> None:
        """Upload at every interval, and once more when `stop` is set."""
        while not stop.wait(self._settings.event_ship_ms / 1000):
            self.look()
        self.look()

    def look(self) -> None:
        """Upload everything in the spool. Never raises because a part is away: that waits for the next interval."""
        try:
            while self.ship():
                continue
            self.assess()
            if time.monotonic() - self._trimmed_at >= TRIM_SECONDS:
                self._trimmed_at = time.monotonic()
                self._spool.trim(utc_text(datetime.now(UTC) - timedelta(days=self._settings.event_days)))
        except WorkspaceError as error:
            logger.warning("the events of this host wait", extra={"error": str(error)})

    def ship(self) -> int:
        """Upload the next batch. Returns how many events it had; 0: the spool has none to upload."""
        name = f"day={datetime.now(UTC):%Y-%m-%d}/{self._host}-{uuid.uuid4().hex}"
        batch = self._spool.batch(name, MOST_ROWS)
        if batch is None:
            return 0
        data = b"\n".join(batch.rows) + b"\n"
        self._store.put(self._store.settings.raw_bucket, f"{EVENTS}{batch.name}.jsonl", data, "application/x-ndjson")
        self._spool.shipped(batch.name)
        return len(batch.rows)

    def assess(self) -> None:
        """Attach judgements to their traces. One whose trace has not arrived yet is tried again next time."""
        for event in self._spool.unassessed():
            try:
                self._assessments.assess(event)
            except NotFound:
                if not _too_old(event):
                    continue
            except InvalidData as error:
                logger.warning("MLflow does not take a judgement", extra={"error": str(error)})
            self._spool.mark_assessed(event)


def _too_old(event: FeedbackEvent) -> bool:
    return (datetime.now(UTC) - datetime.fromisoformat(event.at)).total_seconds() > TRACE_SECONDS
