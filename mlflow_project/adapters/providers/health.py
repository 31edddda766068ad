"""How a provider fares, over all requests of this process: a circuit breaker and a budget for retries.

The breaker opens after several failures in a row and then lets one request in each pause through, until one succeeds.
The budget lets retries be a share of the requests, so that a provider in trouble does not get more of them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from mlflow_project.errors import ProviderError

FAILURES = 5
PAUSE_SECONDS = 5.0
RETRY_SHARE = 0.2
MOST_RETRIES = 10.0


class Health:
    """One provider's. Only failures of the provider itself count: no answer, a time-out, a 5xx."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0
        self._retries = MOST_RETRIES

    def admit(self, name: str) -> None:
        """Let a request through.

        Raises:
            ProviderError: the circuit is open (`circuit_open`).
        """
        if self._failures >= FAILURES:
            now = self._clock()
            if now < self._closed_until:
                raise ProviderError(
                    f"{name} failed {self._failures} times in a row and is left alone for a moment.",
                    kind="circuit_open",
                    retry_after=self._closed_until - now,
                )
            self._pause()
        self._retries = min(MOST_RETRIES, self._retries + RETRY_SHARE)

    def answered(self, status: int) -> None:
        """Count an answer: a success, whatever it says, unless its status is a 5xx."""
        if status < 500:
            self._failures = 0
        else:
            self.failed()

    def failed(self) -> None:
        """No answer, or a 5xx."""
        self._failures += 1
        if self._failures >= FAILURES:
            self._pause()

    def take_retry(self) -> bool:
        """Whether the budget has a retry left; takes it."""
        if self._retries < 1:
            return False
        self._retries -= 1
        return True

    def _pause(self) -> None:
        self._closed_until = self._clock() + PAUSE_SECONDS * random.uniform(0.8, 1.2)
