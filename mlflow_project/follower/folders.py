"""Keeps folders of this host's disk whole, search indexes and models: each file matches its digest.

In: the digests of the folders that the snapshot needs. Out: folders below `indexes/` and `models/`. Once a second a
keeper compares time stamps and sizes with those of its last check. It computes every digest when it starts, hourly, and
when a time stamp or a size has changed. A damaged folder is fetched again. Workers that serve from it do not notice,
since they use private copies; a worker that warms a release in the meantime refuses it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event

from mlflow_project.adapters.retrieval.index_files import Stamps, stamps
from mlflow_project.errors import WorkspaceError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
DIGESTS_SECONDS = 3600.0
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


class FolderKeeper:
    """Runs in a thread of its own: the digests of large files take seconds. `wanted` may be set from any thread.

    Args:
        what: what the folders hold, for the log.
        fetch: checks a folder by its digest, and fetches it where it is missing or damaged.
        folder_of: where the folder of a digest lies.
    """

    def __init__(
        self,
        what: str,
        fetch: Callable[[str], object],
        folder_of: Callable[[str], Path],
        digests_seconds: float = DIGESTS_SECONDS,
    ) -> None:
        self.wanted: frozenset[str] = frozenset()
        self._what = what
        self._fetch = fetch
        self._folder_of = folder_of
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
        return now - checked_at >= self._digests_seconds or seen != self._stamps(name)

    def _check(self, name: str) -> None:
        before = self._stamps(name)
        try:
            self._fetch(name)
        except (WorkspaceError, OSError) as error:
            pause = min(LONGEST_PAUSE_SECONDS, 2 * self._waiting.get(name, (0.0, FIRST_PAUSE_SECONDS / 2))[1])
            self._waiting[name] = (time.monotonic() + pause, pause)
            logger.error("a folder cannot be restored", extra={"what": self._what, "digest": name, "error": str(error)})
            return
        self._waiting.pop(name, None)
        after = self._stamps(name)
        if before == after or not before:  # otherwise the files changed during the check: check again
            self._checked[name] = (time.monotonic(), after)

    def _stamps(self, name: str) -> Stamps:
        try:
            return stamps(self._folder_of(name))
        except OSError:
            return {}
