"""A worker's places: how many requests it answers at once, and how many may wait for a place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mlflow_project.errors import Unavailable


class Places:
    """A fixed number of places and a bounded queue, first come first served.

    Attributes:
        taken: how many requests have a place.
        waiting: how many requests wait for one.
    """

    def __init__(self, places: int, queue: int, seconds: float) -> None:
        self.taken = self.waiting = 0
        self._free = asyncio.Semaphore(places)
        self._queue = queue
        self._seconds = seconds

    @asynccontextmanager
    async def place(self) -> AsyncIterator[float]:
        """Hold a place until the block ends. Yields how many seconds the request waited for it.

        Raises:
            Unavailable: the queue is full, or no place became free in time.
        """
        asked = time.perf_counter()
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        self.taken += 1
        try:
            yield time.perf_counter() - asked
        finally:
            self.taken -= 1
            self._free.release()

    async def _wait(self) -> None:
        if self.waiting >= self._queue:
            raise _busy()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise _busy() from error
        finally:
            self.waiting -= 1


def _busy() -> Unavailable:
    return Unavailable("Every place and the whole queue are taken. Try again in a second.")
