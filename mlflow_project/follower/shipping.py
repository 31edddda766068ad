"""Brings this host's events to the object store, and its judgements to the traces that they are about.

In: the spool. Out: whole objects `events/day=YYYY-MM-DD/<host>-<id>.jsonl` in the raw bucket; assessments in MLflow
where there is a trace. Nothing is let go before it was written; what cannot be written now is tried again.
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
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.settings import EventSettings
from mlflow_project.snapshot.spool import Spool

logger = logging.getLogger(__name__)

EVENTS = "events/"
MOST_ROWS = 5_000
TRIM_SECONDS = 60.0
TRACE_SECONDS = 120.0
"""How long a trace may take to arrive in MLflow; most answers have none there."""


class Shipper:
    """Runs in a thread of its own."""

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
        """Ship at every interval, and once more when told to stop."""
        while not stop.wait(self._settings.event_ship_ms / 1000):
            self.look()
        self.look()

    def look(self) -> None:
        """Ship all that is there; never raises for what could not be done."""
        try:
            while self.ship():
                continue
            self.tell()
            if time.monotonic() - self._trimmed_at >= TRIM_SECONDS:
                self._trimmed_at = time.monotonic()
                self._spool.trim(_iso(datetime.now(UTC) - timedelta(days=self._settings.event_days)))
        except WorkspaceError as error:
            logger.warning("the events of this host wait", extra={"error": str(error)})

    def ship(self) -> int:
        """Write the next batch; how many events it had, 0 when nothing is left."""
        name = f"day={datetime.now(UTC):%Y-%m-%d}/{self._host}-{uuid.uuid4().hex}"
        batch = self._spool.batch(name, MOST_ROWS)
        if batch is None:
            return 0
        data = b"\n".join(batch.rows) + b"\n"
        self._store.put(self._store.settings.raw_bucket, f"{EVENTS}{batch.name}.jsonl", data, "application/x-ndjson")
        self._spool.shipped(batch.name)
        return len(batch.rows)

    def tell(self) -> None:
        """Give the traces their assessments; one that has not arrived yet is asked for again next time."""
        for event in self._spool.untold():
            try:
                self._assessments.assess(event)
            except NotFound:
                if not _too_old(event):
                    continue
            except InvalidData as error:
                logger.warning("MLflow does not take a judgement", extra={"error": str(error)})
            self._spool.told(event)


def _too_old(event: FeedbackEvent) -> bool:
    return (datetime.now(UTC) - datetime.fromisoformat(event.at)).total_seconds() > TRACE_SECONDS


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
