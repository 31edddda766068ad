"""What was used up in each window, counted by this worker and added to what the host's other workers have counted.

A storage for the library `limits`. A worker counts alone, without a lock; ten times a second it writes its own counts
to `usage/<worker>.json` in the serving folder and reads the others'. So counts are exact within a worker, the others'
are at most `SHARE_SECONDS` old (and their writing), and both outlive a restart until their window has passed.
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

from limits.storage import Storage
from limits.storage.base import SlidingWindowCounterSupport, TimestampedSlidingWindow

from mlflow_project.errors import WorkspaceError
from mlflow_project.snapshot.folder import read_file, replace_file, stamp

logger = logging.getLogger(__name__)

SHARE_SECONDS = 0.1

Counts = dict[str, tuple[int, float]]
"""By window: the amount, and when (seconds since the epoch) nothing asks for it any more."""
_NOTHING = (0, 0.0)


class SharedCounts(Storage, SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """Windows lie on the wall clock, so that all workers have the same ones. `limits` asks for the whole protocol of a
    storage; what counts is the sliding window."""

    STORAGE_SCHEME = None
    base_exceptions = OSError

    def __init__(self, folder: Path, worker: str) -> None:
        super().__init__()
        self._folder = folder
        self._file = folder / f"{worker}.json"
        self._own: Counts = {}
        self._written: Counts = {}
        self._others: dict[Path, tuple[tuple[int, int], Counts]] = {}
        self._elsewhere: dict[str, int] = {}  # the others' counts, added up by window
        self._exchanging = threading.Lock()

    def start(self) -> None:
        """Take over what earlier workers counted, one of this name too; forget whose windows have all passed."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._own = self._read(self._file)
            for path in self._folder.glob("*.json"):
                if path != self._file and not self._read(path):
                    path.unlink(missing_ok=True)
            self._learn()
        except OSError as error:
            logger.error("usage cannot be shared; each worker counts alone", extra={"error": str(error)})

    async def share(self) -> None:
        """Until cancelled: tell the other workers, and learn from them."""
        while True:
            await asyncio.sleep(SHARE_SECONDS)
            await asyncio.to_thread(self.exchange)  # a slow disk delays nobody

    def exchange(self) -> None:
        """Write this worker's counts if they changed, and read those of the others that did; from any thread."""
        try:
            with self._exchanging:
                self._tell()
                self._learn()
        except OSError as error:
            logger.error("usage cannot be shared; each worker counts alone", extra={"error": str(error)})

    @classmethod
    def sliding_window_keys(cls, key: str, expiry: int, at: float) -> tuple[str, str]:
        """The window before and the present one, as `limits` names them."""
        return _named(key, int(at / expiry))

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count an amount if the window has room for it."""
        now = time.time()
        room = self.has_room(key, limit, expiry, amount, now)
        if room:
            self.add(key, expiry, amount, now)
        return room

    def has_room(self, key: str, limit: int, expiry: int, amount: int, now: float) -> bool:
        """Whether a window can take an amount: the window before counts by the share of it that is not yet over."""
        before, present = _named(key, int(now / expiry))
        used = self._in(present)
        if earlier := self._in(before):
            used = math.floor(earlier * (expiry - now % expiry) / expiry + used)
        return used + amount <= limit

    def add(self, key: str, expiry: int, amount: int, now: float) -> None:
        """Count an amount in the window of then, or give some back, whatever room there is."""
        self._count(_named(key, int(now / expiry))[1], now + 2 * expiry, amount)

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Amount and seconds left of the window before and of the present one."""
        now = time.time()
        before, present = self.sliding_window_keys(key, expiry, now)
        into = now % expiry
        return self._in(before), expiry - into, self._in(present), 2 * expiry - into

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget what this worker counted."""
        for window in self.sliding_window_keys(key, expiry, time.time()):
            self.clear(window)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count an amount in a window; what is in it now."""
        self._count(key, time.time() + expiry, amount)
        return self._in(key)

    def get(self, key: str) -> int:
        """What is in a window."""
        return self._in(key)

    def get_expiry(self, key: str) -> float:
        """When nothing asks for a window any more, in seconds since the epoch."""
        return self._own.get(key, (0, time.time()))[1]

    def check(self) -> bool:
        """Counting needs nothing that could be away."""
        return True

    def reset(self) -> int:
        """Forget all that this worker counted; how many windows that were."""
        count = len(self._own)
        self._own.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget what this worker counted in a window."""
        self._own.pop(key, None)

    def _count(self, key: str, until: float, amount: int) -> None:
        self._own[key] = (self._own.get(key, _NOTHING)[0] + amount, until)

    def _in(self, key: str) -> int:
        count = self._own.get(key, _NOTHING)[0] + self._elsewhere.get(key, 0)
        return count if count > 0 else 0

    def _tell(self) -> None:
        counted = dict(self._own)  # in one step, while requests count on
        current = _current(counted)
        for window in counted.keys() - current.keys():
            self._own.pop(window, None)
        if current != self._written:
            replace_file(self._file, current)
            self._written = current

    def _learn(self) -> None:
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
    """Asked for five times a request, and the same for a whole window."""
    return f"{key}/{number - 1}", f"{key}/{number}"


def _current(counts: Counts) -> Counts:
    now = time.time()
    return {window: counted for window, counted in counts.items() if counted[1] > now}
