"""Keeps the search indexes on this host's disk whole: each file matches its digest.

In: the digests of the indexes that the snapshot needs. Out: folders below `indexes/`. Once a second the keeper compares
time stamps and sizes with those of its last check. It computes every digest when it starts, hourly, and when a time
stamp or a size has changed. A damaged index is fetched again. Workers that serve it do not notice, since they search
private copies; a worker that warms a release in the meantime refuses it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from threading import Event

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.retrieval import index_store
from mlflow_project.adapters.retrieval.index_files import Stamps, stamps
from mlflow_project.errors import WorkspaceError
from mlflow_project.snapshot.folder import ServingFolder

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
DIGESTS_SECONDS = 3600.0
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


class IndexKeeper:
    """Runs in a thread of its own: the digests of a large index take seconds. `wanted` may be set from any thread."""

    def __init__(self, store: ObjectStore, folder: ServingFolder, digests_seconds: float = DIGESTS_SECONDS) -> None:
        self.wanted: frozenset[str] = frozenset()
        self._store = store
        self._folder = folder
        self._digests_seconds = digests_seconds
        self._checked: dict[str, tuple[float, Stamps]] = {}
        self._waiting: dict[str, tuple[float, float]] = {}

    def run(self, stop: Event) -> None:
        """Look once a second until `stop` is set."""
        while not stop.wait(LOOK_SECONDS):
            self.look(stop)

    def look(self, stop: Event | None = None) -> None:
        """Check the indexes that are due. Never raises because of a damaged index: what cannot be restored is tried
        again later.
        """
        wanted = self.wanted
        self._checked = {name: checked for name, checked in self._checked.items() if name in wanted}
        for name in sorted(wanted):
            if stop is not None and stop.is_set():
                return
            if self._is_due(name):
                self._check(name)

    def want(self, names: Iterable[str]) -> None:
        """Set which indexes are needed from now on."""
        self.wanted = frozenset(names)

    def _is_due(self, name: str) -> bool:
        now = time.monotonic()
        if name in self._waiting and now < self._waiting[name][0]:
            return False
        if name not in self._checked:
            return True
        checked_at, seen = self._checked[name]
        return now - checked_at >= self._digests_seconds or seen != _stamps(self._folder, name)

    def _check(self, name: str) -> None:
        before = _stamps(self._folder, name)
        try:
            index_store.fetch(self._store, name, self._folder.indexes)
        except (WorkspaceError, OSError) as error:
            pause = min(LONGEST_PAUSE_SECONDS, 2 * self._waiting.get(name, (0.0, FIRST_PAUSE_SECONDS / 2))[1])
            self._waiting[name] = (time.monotonic() + pause, pause)
            logger.error("a search index cannot be restored", extra={"index": name, "error": str(error)})
            return
        self._waiting.pop(name, None)
        after = _stamps(self._folder, name)
        if before == after or not before:  # otherwise the files changed during the check: check again
            self._checked[name] = (time.monotonic(), after)


def _stamps(folder: ServingFolder, name: str) -> Stamps:
    try:
        return stamps(folder.index_folder(name))
    except OSError:
        return {}
