"""A bounded queue with a thread that empties it in batches, so that no request waits for a disk or a network.

`put` never waits. An item that finds the queue full is dropped, and so is a batch that its receiver does not take.
`dropped` counts both.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

BREATH_SECONDS = 0.001
"""The pause between two batches, so that a busy thread does not keep the interpreter from the requests."""

T = TypeVar("T")


class Outbox(Generic[T]):
    """Gives `take` at most `batch` items at a time. `take` returns whether it took them; an exception counts as no."""

    def __init__(
        self, name: str, take: Callable[[Sequence[T]], bool], *, most: int = 512, batch: int = 64, seconds: float = 0.5
    ) -> None:
        self.name = name
        self.dropped = 0
        self._take = take
        self._most, self._batch, self._seconds = most, batch, seconds
        self._waiting: deque[T] = deque()
        self._stop = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=f"outbox-{name}", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: T) -> None:
        """Queue an item, or drop it if the queue is full."""
        if len(self._waiting) >= self._most:
            self.dropped += 1
        else:
            self._waiting.append(item)

    def close(self, seconds: float = 2.0) -> None:
        """Hand out the rest, within this number of seconds."""
        self._stop.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._hand_out()
        self._hand_out()

    def _hand_out(self) -> None:
        """Hand out the items that wait. Items that arrive meanwhile follow only in full batches, since a batch of three
        costs nearly as much as a full one. At the end, everything is handed out.
        """
        least = 1
        while len(self._waiting) >= least:
            items = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            taken = self._taken(items)
            if not taken:
                self.dropped += len(items)
            self._log_change(taken)
            if not taken and self._stop.is_set():
                return
            least = 1 if self._stop.wait(BREATH_SECONDS) else self._batch

    def _taken(self, items: Sequence[T]) -> bool:
        try:
            return self._take(items)
        except Exception as error:  # otherwise the thread would end, and drop everything from then on
            if not self._failing:
                logger.error("telemetry broke", extra={"signal": self.name, "error": type(error).__name__})
            return False

    def _log_change(self, taken: bool) -> None:
        """Log the first failure, and the first success after it."""
        if taken == self._failing:
            self._failing = not taken
            message = "telemetry is taken again" if taken else "telemetry is not taken; it is dropped and counted"
            logger.warning(message, extra={"signal": self.name})
