"""This host's presence: its live workers and their receipts, one object with a time to live in the coordination bucket.

Written at once when it changes, and every third of the time to live. Promoters wait for what stands here.
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
"""Between two looks when no worker calls: often enough to see that one has died."""
SWEEP_SECONDS = 5.0


class PresenceKeeper:
    """Runs in a thread of its own, so that a registry that hangs delays no receipt."""

    def __init__(self, store: ObjectStore, folder: ServingFolder, *, host: str, ttl_seconds: float) -> None:
        self._store = store
        self._bucket = store.settings.coordination_bucket
        self._key = f"hosts/{host}.json"
        self._folder = folder
        self._host = host
        self._ttl = ttl_seconds
        self._said: object = None
        self._said_at = self._swept_at = 0.0

    def run(self, stop: Event) -> None:
        """Keep the presence until told to stop. It is left to expire: the workers still run, and a flip must know."""
        pipe = WakePipe(self._folder.receipts_pipe)
        while not stop.is_set():
            self.look()
            pipe.wait(LOOK_SECONDS)
        pipe.close()

    def look(self) -> None:
        """Gather, and write if it changed or is due."""
        now = time.monotonic()
        workers = tuple(live_workers(self._folder.workers))
        content = tuple((report.worker, report.receipts) for report in workers)
        if content != self._said or now - self._said_at >= self._ttl / 3:
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
        self._said = tuple((report.worker, report.receipts) for report in workers)
        self._said_at = time.monotonic()

    def _sweep(self) -> None:
        """What workers that died left behind: their reports and their copies of indexes."""
        try:
            sweep_reports(self._folder.workers)
            known = {path.stem for path in self._folder.workers.glob("*.json")}
            for scratch in self._folder.scratch.iterdir():
                if scratch.name not in known and time.time() - scratch.stat().st_mtime > 60:
                    shutil.rmtree(scratch, ignore_errors=True)
        except OSError as error:
            logger.warning("the serving folder cannot be swept", extra={"error": str(error)})
