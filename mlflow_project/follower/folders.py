"""Keeps folders of this host's disk whole, search indexes and models: each file matches its digest.

In: the digests of the folders that the snapshot needs. Out: folders below `indexes/` and `models/`. Once a second a
keeper compares time stamps and sizes with those of its last check. It computes every digest when it starts, hourly, and
when a time stamp or a size has changed. A damaged folder is fetched again. Workers that serve from it do not notice,
since they use private copies; a worker that warms a release in the meantime refuses it. A folder that nobody has needed
for ten minutes is deleted; a later flip to its release fetches it again.
"""

from __future__ import annotations

import logging
import shutil
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
SWEEP_SECONDS = 30.0
KEEP_SECONDS = 600.0
"""A folder that nobody needs stays for so long, because a worker may still be reading it."""
_REMOVED = ".removed-"


class FolderKeeper:
    """Runs in a thread of its own: the digests of large files take seconds.

    Args:
        what: what the folders hold, for the log.
        fetch: checks a folder by its digest, and fetches it where it is missing or damaged.
        root: the folder that holds them; each is named by the hexadecimal digits of its digest.
        keep_seconds: how long a folder that nobody needs stays on disk.
    """

    def __init__(
        self,
        what: str,
        fetch: Callable[[str], object],
        root: Path,
        digests_seconds: float = DIGESTS_SECONDS,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self.wanted: frozenset[str] = frozenset()
        self._what = what
        self._fetch = fetch
        self._root = root
        self._digests_seconds = digests_seconds
        self._keep_seconds = keep_seconds
        self._unneeded: dict[str, float] = {}
        self._swept_at = -SWEEP_SECONDS
        self._checked: dict[str, tuple[float, Stamps]] = {}
        self._waiting: dict[str, tuple[float, float]] = {}

    def run(self, stop: Event) -> None:
        """Look once a second until `stop` is set."""
        while not stop.wait(LOOK_SECONDS):
            self.look(stop)
            self.delete_removed()

    def look(self, stop: Event | None = None) -> None:
        """Check the folders that are due. Never raises because of a damaged folder: what cannot be restored is tried
        again later.
        """
        wanted = self.wanted
        self._checked = {name: checked for name, checked in self._checked.items() if name in wanted}
        for name in sorted(wanted):
            if stop is not None and stop.is_set():
                return
            if self._is_due(name):
                self._check(name)

    def want(self, names: Iterable[str], also_keep: Callable[[], Iterable[str]] = tuple) -> None:
        """Set which folders are needed from now on, and put those aside that nobody has needed for a while.

        Call it from the thread that fetches new releases, so that no folder is put aside that was just fetched.

        Args:
            also_keep: names of folders that are not checked, but not deleted either. Called twice a minute.
        """
        self.wanted = frozenset(names)
        if time.monotonic() - self._swept_at >= min(SWEEP_SECONDS, self._keep_seconds):
            self._swept_at = time.monotonic()
            try:
                self._put_aside({_hex(name) for name in (*self.wanted, *also_keep())})
            except OSError as error:
                logger.warning("unneeded folders stay", extra={"what": self._what, "error": str(error)})

    def _put_aside(self, needed: set[str]) -> None:
        """Rename the folders that nobody has needed for `keep_seconds`. `delete_removed` deletes them."""
        now = time.monotonic()
        there = {path.name for path in self._root.iterdir() if path.is_dir() and not path.name.startswith(".")}
        self._unneeded = {name: self._unneeded.get(name, now) for name in there - needed}
        for name, since in list(self._unneeded.items()):
            if now - since >= self._keep_seconds:
                (self._root / name).rename(self._root / f"{_REMOVED}{name}-{time.monotonic_ns()}")
                del self._unneeded[name]
                logger.info("a folder that nobody needs is deleted", extra={"what": self._what, "digest": name})

    def delete_removed(self) -> None:
        """Delete the folders that were put aside."""
        for path in self._root.glob(f"{_REMOVED}*"):
            shutil.rmtree(path, ignore_errors=True)

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
            return stamps(self._root / _hex(name))
        except OSError:
            return {}


def _hex(name: str) -> str:
    return name.removeprefix("sha256:")
