"""Publishes the workers' counts by release and arm, from which the guard judges rollouts.

In: `counts/*.json` in the serving folder. Out: one object for this host in the coordination bucket, written again at
most once a second, and only after a count has changed.
"""

from __future__ import annotations

import logging
from threading import Event

import orjson

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import WorkspaceError
from mlflow_project.snapshot.arm_counts import COUNTS, host_counts
from mlflow_project.snapshot.folder import ServingFolder, stamp

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class CountsPublisher:
    """Runs in a thread of its own."""

    def __init__(self, store: ObjectStore, folder: ServingFolder, *, host: str) -> None:
        self._store = store
        self._folder = folder.counts
        self._host = host
        self._published: tuple[int, int] | None = None

    def run(self, stop: Event) -> None:
        """Look every second, and once more when `stop` is set."""
        while not stop.wait(LOOK_SECONDS):
            self.look()
        self.look()

    def look(self) -> None:
        """Publish the counts if they have changed. What cannot be published now is published at a later look."""
        now = stamp(self._folder)  # a file that is replaced changes the stamp of its folder
        if now == self._published:
            return
        try:
            data = orjson.dumps(host_counts(self._folder, self._host))
            bucket = self._store.settings.coordination_bucket
            self._store.put(bucket, f"{COUNTS}{self._host}.json", data, "application/json")
            self._published = now
        except (WorkspaceError, OSError) as error:
            logger.warning("the counts of this host cannot be published", extra={"error": str(error)})
