"""A worker's places: how many requests are answered at once, and how many may wait for that."""

from __future__ import annotations

import asyncio
from collections import deque

from mlflow_project.errors import Unavailable


class Places:
    """A fixed number of places and a bounded queue, first come first served."""

    def __init__(self, places: int, queue: int, seconds: float) -> None:
        self._all = self._free = places
        self._queue = queue
        self._seconds = seconds
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._all - self._free

    @property
    def waiting(self) -> int:
        """How many requests wait for one."""
        return len(self._waiting)

    async def take(self) -> None:
        """Take a place, after waiting for one if need be.

        Raises:
            Unavailable: the queue is full, or waiting took too long.
        """
        if self._free > 0:
            self._free -= 1
            return
        if len(self._waiting) >= self._queue:
            raise _busy()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._seconds)
        except BaseException as error:
            if turn.done():
                self.leave()
            else:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise _busy() from error
            raise

    def leave(self) -> None:
        """Hand the place to the first request that waits."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._free += 1


def _busy() -> Unavailable:
    return Unavailable("Every place and the whole queue are taken. Try again in a second.")
