"""Counts how much each caller has used of each limit, in sliding windows that all workers of a host share.

A worker counts in its own memory, without a lock. Ten times a second it writes its counts to `usage/<worker>.json` in
the serving folder, and reads those of the other workers. So its own counts are exact, the others' are at most
`SHARE_SECONDS` old, and all of them survive a restart until their window is over. The formula is the "sliding window
counter" of the library `limits`: of the window before, the share counts that is not over yet.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import threading
import time
from collections import Counter
from pathlib import Path

from mlflow_project.errors import WorkspaceError
from mlflow_project.private_files import make_private_folder
from mlflow_project.snapshot.folder import read_file, replace_file, stamp

logger = logging.getLogger(__name__)

SHARE_SECONDS = 0.1

Counts = dict[str, tuple[int, float]]
"""By window: the amount, and when it can be forgotten (seconds since the epoch)."""
_NOTHING = (0, 0.0)


class SharedCounts:
    """One worker's counts, and those of the others. Windows begin by the wall clock, so all workers have the same."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._file = folder / f"{worker}.json"
        self._own: Counts = {}
        self._written: Counts = {}
        self._others: dict[Path, tuple[tuple[int, int], Counts]] = {}
        self._elsewhere: dict[str, int] = {}  # the others' counts, added up by window
        self._exchanging = threading.Lock()
        self._counted = False
        self._read_at = (0, 0)

    def start(self) -> None:
        """Take over the counts of earlier workers, also of one with this name. Delete files whose windows are over."""
        try:
            make_private_folder(self._folder)
            self._own = self._read(self._file)
            for path in self._folder.glob("*.json"):
                if path != self._file and not self._read(path):
                    path.unlink(missing_ok=True)
            self._read_others()
        except OSError as error:
            logger.error("usage cannot be shared; each worker counts alone", extra={"error": str(error)})

    async def share(self) -> None:
        """Exchange counts with the other workers until cancelled."""
        while True:
            await asyncio.sleep(SHARE_SECONDS)
            written = stamp(self._folder)  # a file that is replaced changes the stamp of its folder
            if self._counted or written != self._read_at:
                self._counted, self._read_at = False, written
                await asyncio.to_thread(self.exchange)  # so that a slow disk delays no request

    def exchange(self) -> None:
        """Write this worker's counts if they changed, and read the others' changed ones. Any thread may call this."""
        try:
            with self._exchanging:
                self._write()
                self._read_others()
        except OSError as error:
            logger.error("usage cannot be shared; each worker counts alone", extra={"error": str(error)})

    def has_room(self, key: str, limit: int, expiry: int, amount: int, now: float) -> bool:
        """Whether a window has room for an amount."""
        before, present = _named(key, int(now / expiry))
        used = self._in(present)
        if earlier := self._in(before):
            used = math.floor(earlier * (expiry - now % expiry) / expiry + used)
        return used + amount <= limit

    def add(self, key: str, expiry: int, amount: int, now: float) -> None:
        """Add an amount, or a refund, to the window of the time `now`, whatever room it has."""
        window = _named(key, int(now / expiry))[1]
        self._own[window] = (self._own.get(window, _NOTHING)[0] + amount, now + 2 * expiry)
        self._counted = True

    def seconds_to_wait(self, key: str, expiry: int, now: float) -> float:
        """Seconds until a window that is full has room for at least one again."""
        before, present = _named(key, int(now / expiry))
        left = expiry - now % expiry
        earlier = self._in(before)
        waits = [left % (expiry / earlier)] if earlier else []
        return min([*waits, left] if self._in(present) else waits, default=0.0)

    def _in(self, key: str) -> int:
        count = self._own.get(key, _NOTHING)[0] + self._elsewhere.get(key, 0)
        return count if count > 0 else 0

    def _write(self) -> None:
        counted = dict(self._own)  # a copy in one step: requests go on counting
        current = _current(counted)
        for window in counted.keys() - current.keys():
            self._own.pop(window, None)
        if current != self._written:
            replace_file(self._file, current)
            self._written = current

    def _read_others(self) -> None:
        found: dict[Path, tuple[tuple[int, int], Counts]] = {}
        for path in self._folder.glob("*.json"):
            seen = stamp(path)
            if path != self._file:
                known = self._others.get(path)
                found[path] = known if known is not None and known[0] == seen else (seen, self._read(path))
        elsewhere: Counter[str] = Counter()
        for _, counts in found.values():
            elsewhere.update({window: count for window, (count, _) in counts.items()})
        self._others, self._elsewhere = found, dict(elsewhere)

    def _read(self, path: Path) -> Counts:
        try:
            return _current({window: (int(count), float(until)) for window, (count, until) in read_file(path).items()})
        except (WorkspaceError, AttributeError, TypeError, ValueError):
            return {}


@functools.lru_cache(maxsize=4_096)
def _named(key: str, number: int) -> tuple[str, str]:
    """The keys of a window and of the one before. Cached: each request needs five, and they change once a window."""
    return f"{key}/{number - 1}", f"{key}/{number}"


def _current(counts: Counts) -> Counts:
    now = time.time()
    return {window: counted for window, counted in counts.items() if counted[1] > now}
