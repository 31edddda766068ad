"""How long a provider may take, and when it is asked again.

Pinned parameters: `connect_seconds`, `first_byte_seconds`, `between_bytes_seconds`, `total_seconds` (all tries and
pauses together) and `tries`. An evaluation adds the time that a request may wait behind the evaluation's other ones.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any

from mlflow_project.adapters.providers.health import Health
from mlflow_project.adapters.providers.parameters import number
from mlflow_project.errors import ProviderError

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 8.0
FOR_A_QUESTION: Mapping[str, float] = {"connect_seconds": 2, "first_byte_seconds": 4, "total_seconds": 5, "tries": 2}
"""The patience with an endpoint while somebody waits for an answer. An endpoint's own limits come before these."""
_RETRIED = frozenset({408, 429, 500, 502, 503, 504, 529})

_BEHIND_OTHERS: ContextVar[float] = ContextVar("seconds behind other requests of this program", default=0.0)


@contextmanager
def waiting_behind_others(seconds: float) -> Iterator[None]:
    """Give each request of this block that many seconds more, because the provider may have to answer other requests
    of this program first. Without this, a provider that answers one request at a time would seem to have failed."""
    token = _BEHIND_OTHERS.set(seconds)
    try:
        yield
    finally:
        _BEHIND_OTHERS.reset(token)


@dataclass(frozen=True)
class Patience:
    """Seconds, and the number of tries."""

    connect_seconds: float = 5.0
    first_byte_seconds: float = 60.0
    between_bytes_seconds: float = 30.0
    total_seconds: float = 120.0
    tries: int = 3

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Patience:
        """Read and check the pinned parameters.

        Raises:
            InvalidData: one is out of range.
        """
        default = cls()
        names = [field.name for field in fields(cls) if field.name != "tries"]
        seconds = {name: number(parameters, name, getattr(default, name), 0.01, 3600) for name in names}
        return cls(**seconds, tries=int(number(parameters, "tries", default.tries, 1, 10)))


class Rate:
    """At most so many requests in a minute, evenly spaced. Use it in one event loop."""

    def __init__(self, per_minute: float) -> None:
        self._gap = 60 / per_minute
        self._next = 0.0

    async def turn(self) -> float:
        """Wait for the next turn. Returns the seconds that it took."""
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + self._gap
        await asyncio.sleep(turn - now)
        return turn - now


class Tries:
    """One request's tries: what is left of its time, and the pauses between them."""

    def __init__(self, patience: Patience, health: Health) -> None:
        self.patience = patience
        self.health = health
        self._behind_others = _BEHIND_OTHERS.get()
        self._end = time.monotonic() + patience.total_seconds + self._behind_others
        self._made = 0

    def left(self, seconds: float) -> float:
        """Return these seconds, and the wait behind other requests, or what is left in all."""
        return max(0.0, min(seconds + self._behind_others, self._end - time.monotonic()))

    def extend(self, seconds: float) -> None:
        """Give the request this much more time in all."""
        self._end += seconds

    async def pause(self, error: ProviderError, *, begun: bool = False) -> None:
        """Wait before the next try; raises the error instead when there is none: it would not help, the answer has
        begun, or the tries, the time or the budget are used up."""
        self._made += 1
        wait = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._made))
        wait = max(wait, error.retry_after or 0.0)
        hopeless = begun or not _retried(error) or self._made >= self.patience.tries
        if hopeless or wait >= self.left(float("inf")) or not self.health.take_retry():
            try:
                raise error
            finally:
                del error  # which would hold this frame, and by it the request: a circle for the garbage collector
        await asyncio.sleep(wait)


def _retried(error: ProviderError) -> bool:
    if error.kind == "http_error":
        return error.status in _RETRIED
    return error.kind in {"timeout", "transport"}
