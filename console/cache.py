"""A cache of the values that pages show. While MLflow or the store does not answer, pages show the last known values.

In: functions that read with `Parts`. Out: `Cached` values. A value that is too old is read again, by one thread at a
time, because the clients in `Parts` are made for one. Other requests get the value that is there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData, LedgerRewritten, Unavailable
from mlflow_project.parts import Parts

logger = logging.getLogger(__name__)

T = TypeVar("T")
_MOST_VALUES = 256
_RETRY_SECONDS = 5.0
"""How long a part that did not answer is not asked again."""
_WAIT_SECONDS = 0.05
"""How long a request waits for another one's reading, if there is an older value to show."""


@dataclass(frozen=True)
class Cached(Generic[T]):
    """A value of the cache, and whether it can be read now.

    Attributes:
        value: the last known; None if it was never read.
        at: when it was read, UTC in ISO 8601.
        unseen_since: since when it cannot be read; None while it can.
        reason: why not, in words.
    """

    value: T | None = None
    at: str | None = None
    unseen_since: str | None = None
    reason: str = ""


class Cache:
    """The last known values, by name; at most `_MOST_VALUES` of them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._reading = threading.Lock()
        self._values: OrderedDict[str, tuple[float, Cached[Any]]] = OrderedDict()

    def read(self, name: str, read: Callable[[Parts], T], age: float = 1.0) -> Cached[T]:
        """The value of this name, read again if it is older than `age` seconds.

        Raises:
            NotFound, Refused: what `read` raises, apart from an outage.
        """
        due, known = self._values.get(name, (0.0, Cached()))
        if time.monotonic() < due:
            return known
        if not self._reading.acquire(timeout=_WAIT_SECONDS if known.at is not None else -1):
            return known
        try:
            due, known = self._values.get(name, (0.0, Cached()))
            if time.monotonic() >= due:
                known, due = self._refreshed(known, read, age)
                self._keep(name, due, known)
            return known
        finally:
            self._reading.release()

    def forget(self) -> None:
        """Read everything anew when it is next asked for: something was changed."""
        for name, (_, known) in list(self._values.items()):
            if known.unseen_since is None:
                self._values[name] = (0.0, known)

    def _refreshed(self, known: Cached[T], read: Callable[[Parts], T], age: float) -> tuple[Cached[T], float]:
        try:
            seen = Cached(read(self._parts), utc_now())
            return seen, time.monotonic() + age
        except (Unavailable, InvalidData, LedgerRewritten) as error:
            logger.warning("a part cannot be read", extra={"error": str(error)})
            since = known.unseen_since or utc_now()
            return replace(known, unseen_since=since, reason=str(error)), time.monotonic() + _RETRY_SECONDS

    def _keep(self, name: str, due: float, known: Cached[Any]) -> None:
        self._values[name] = (due, known)
        self._values.move_to_end(name)
        while len(self._values) > _MOST_VALUES:
            self._values.popitem(last=False)
