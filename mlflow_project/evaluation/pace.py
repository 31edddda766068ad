"""Decides how many requests an evaluation has under way at once: `async with pace.turn(): ...` around each request.

It begins with one request, then allows 2, 4, 8 and so on. It goes a step back when answers take clearly longer than
they did a step before, because requests then wait for one another at the provider. It also goes a step back when the
provider turns requests away or does not answer in time. A request that was sent beside others gets more time, since it
may wait behind them.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

from mlflow_project.adapters.providers.patience import waiting_behind_others
from mlflow_project.errors import InvalidAnswer, ProviderError, Unavailable

_OVERLOADED = frozenset({408, 429, 502, 503, 504, 529})
"""HTTP statuses of a provider, or of a proxy in front of it, that has too much to do."""
_CLEARLY_LONGER = 1.7
"""Twice as many requests at a provider without a free slot take twice as long. Answers differ in length, so the medians
of two steps differ somewhat even at a provider with free slots."""
_REMEMBERED = 32
"""Durations that each step remembers."""
_REST = 4
"""Answers after a step back, before the next step forward is tried."""


class Crowded(Unavailable):
    """A request failed beside others, at a provider with too much to do. Asked beside fewer, it may succeed."""

    def __init__(self, error: Unavailable) -> None:
        super().__init__(str(error))
        self.error = error


class Pace:
    """`at_once` is how many requests may be under way now: at least 1, and at most `most`."""

    def __init__(self, most: int) -> None:
        self._steps: list[int] = [1 << power for power in range(most.bit_length()) if 1 << power < most] + [most]
        self._seconds: list[deque[float]] = [deque(maxlen=_REMEMBERED) for _ in self._steps]
        self._longest = 0.0
        self._under_way = 0
        self._free = asyncio.Condition()
        self._stepped_back_at = 0.0
        self._go_to(0, wanted=2)

    @property
    def at_once(self) -> int:
        """How many requests may be under way now."""
        return self._steps[self._step]

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until one more request may be sent, and learn from how it goes.

        Raises:
            Crowded: in place of an `Unavailable` that may come from too many requests at once.
        """
        async with self._free:
            await self._free.wait_for(lambda: self._under_way < self.at_once)
            self._under_way += 1
        sent, beside, step = time.monotonic(), self._under_way - 1, bisect_left(self._steps, self._under_way)
        try:
            with waiting_behind_others(self._longest * beside):
                yield
            self._answered(step, time.monotonic() - sent)
        except InvalidAnswer:
            self._answered(step, time.monotonic() - sent)
            raise
        except Unavailable as error:
            if not _is_overloaded(error):
                self._answered(step, time.monotonic() - sent)
            if not beside or not _is_overloaded(error):
                raise
            if sent >= self._stepped_back_at:  # otherwise an earlier failure of the same crowd has been heeded
                self._step_back()
            raise Crowded(error) from error
        finally:
            self._under_way -= 1
            async with self._free:
                self._free.notify(max(1, self.at_once - self._under_way))

    def _answered(self, step: int, seconds: float) -> None:
        """Learn from an answer. `step` is the least step that allows the requests that were under way with it."""
        self._longest = max(self._longest, seconds)
        self._seconds[step].append(seconds)
        self._wanted -= step == self._step
        if self._wanted > 0:
            return
        before = self._seconds[step - 1] if step else ()
        if before and median(self._seconds[step]) > _CLEARLY_LONGER * median(before):
            self._step_back()
        else:
            further = min(step + 1, len(self._steps) - 1)
            self._go_to(further, wanted=max(2, self._steps[further] // 2))

    def _step_back(self) -> None:
        self._stepped_back_at = time.monotonic()
        self._go_to(max(0, self._step - 1), wanted=_REST)

    def _go_to(self, step: int, wanted: int) -> None:
        """Allow as much as this step does, until it has brought that many answers."""
        self._step, self._wanted = step, wanted


def _is_overloaded(error: Unavailable) -> bool:
    status = error.status if isinstance(error, ProviderError) else None
    return status is None or status in _OVERLOADED
