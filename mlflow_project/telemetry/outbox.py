"""A bounded queue with a thread behind it: what a request leaves behind is dealt with later, or dropped and counted.

`put` never waits. Whoever takes the batches may be slow, broken or gone: what finds no room, and every batch that was
not taken, is counted in `dropped`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

BREATH_SECONDS = 0.001
"""Between two batches, so that a thread that has much to do does not hold the interpreter while requests wait."""

T = TypeVar("T")


class Outbox(Generic[T]):
    """`take` gets at most `batch` items at a time and says whether it took them; where it raises, it did not."""

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
        """Leave it here, if there is room."""
        if len(self._waiting) >= self._most:
            self.dropped += 1
        else:
            self._waiting.append(item)

    def close(self, seconds: float = 2.0) -> None:
        """Hand out what is left, for so long at most."""
        self._stop.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._hand_out()
        self._hand_out()

    def _hand_out(self) -> None:
        """What waits, and what comes meanwhile as far as it fills batches: a batch of three costs nearly as much as a
        full one. At the end, everything."""
        least = 1
        while len(self._waiting) >= least:
            items = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            taken = self._taken(items)
            if not taken:
                self.dropped += len(items)
            self._tell(taken)
            if not taken and self._stop.is_set():
                return
            least = 1 if self._stop.wait(BREATH_SECONDS) else self._batch

    def _taken(self, items: Sequence[T]) -> bool:
        try:
            return self._take(items)
        except Exception as error:  # a thread that ended here would drop everything from now on
            if not self._failing:
                logger.error("telemetry broke", extra={"signal": self.name, "error": type(error).__name__})
            return False

    def _tell(self, taken: bool) -> None:
        """Once when it begins to fail, once when it is well again."""
        if taken == self._failing:
            self._failing = not taken
            said = "telemetry is taken again" if taken else "telemetry is not taken; it is dropped and counted"
            logger.warning(said, extra={"signal": self.name})
