"""Writes this host's presence: its live workers and their receipts.

In: the workers' reports in the serving folder. Out: one object in the coordination bucket, which expires unless it is
renewed. It is written at once when it changes, and whenever a third of its life is over. A promotion waits for the
receipts in it.
"""

from __future__ import annotations

import logging
import shutil
import time
from threading import Event

import orjson

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.receipt import Presence
from mlflow_project.errors import WorkspaceError
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.wake import WakePipe
from mlflow_project.snapshot.workers import WorkerReport, live_workers, sweep_reports

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Seconds between two looks if no worker rings: often enough to notice that a worker has died."""
SWEEP_SECONDS = 5.0


class PresenceKeeper:
    """Runs in a thread of its own, so that a registry that does not answer delays no receipt."""

    def __init__(self, store: ObjectStore, folder: ServingFolder, *, host: str, ttl_seconds: float) -> None:
        self._store = store
        self._bucket = store.settings.coordination_bucket
        self._key = f"hosts/{host}.json"
        self._folder = folder
        self._host = host
        self._ttl = ttl_seconds
        self._written: object = None
        self._written_at = self._swept_at = 0.0

    def run(self, stop: Event) -> None:
        """Write the presence until `stop` is set. It is not deleted at the end: the workers still run, and a flip has
        to know of them. Without a follower it expires.
        """
        pipe = WakePipe(self._folder.receipts_pipe)
        while not stop.is_set():
            self.look()
            pipe.wait(LOOK_SECONDS)
        pipe.close()

    def look(self) -> None:
        """Read the workers' reports. Write the presence if they have changed or a third of its life is over."""
        now = time.monotonic()
        workers = tuple(live_workers(self._folder.workers))
        content = tuple((report.worker, report.receipts) for report in workers)
        if content != self._written or now - self._written_at >= self._ttl / 3:
            self._write(workers)
        if now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            self._sweep()

    def _write(self, workers: tuple[WorkerReport, ...]) -> None:
        presence = Presence(
            self._host,
            time.time() + self._ttl,
            tuple(report.worker for report in workers),
            tuple(receipt for report in workers for receipt in report.receipts),
        )
        try:
            self._store.put(self._bucket, self._key, orjson.dumps(presence.to_dict()), "application/json")
        except WorkspaceError as error:
            logger.warning("the presence cannot be written", extra={"error": str(error)})
            return
        self._written = tuple((report.worker, report.receipts) for report in workers)
        self._written_at = time.monotonic()

    def _sweep(self) -> None:
        """Delete the reports of dead workers, and their copies of indexes."""
        try:
            sweep_reports(self._folder.workers)
            known = {path.stem for path in self._folder.workers.glob("*.json")}
            for scratch in self._folder.scratch.iterdir():
                if scratch.name not in known and time.time() - scratch.stat().st_mtime > 60:
                    shutil.rmtree(scratch, ignore_errors=True)
        except OSError as error:
            logger.warning("the serving folder cannot be swept", extra={"error": str(error)})
