"""The sessions of people who signed in, in memory, and a limit of failed sign-ins.

In: ids of API keys. Out: sessions, by the value of their cookie. A restart of the console ends every session. Only the
browser knows the value of a cookie; the console keeps its SHA-256.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_project.errors import Exhausted

MOST_SESSIONS = 1_000
_MOST_ADDRESSES = 1_000
_FAILURES, _FAILURE_SECONDS = 10, 60.0
"""So many failed sign-ins from one address are answered within this time."""


@dataclass(frozen=True)
class Session:
    """One sign-in. `key_id` is the API key; `token` stands in every form, against forged requests; `ends` is of the
    clock that the sessions were made with."""

    key_id: str
    token: str
    ends: float


class Sessions:
    """At most `MOST_SESSIONS`; a new one then ends the one that was not used for longest."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._open: OrderedDict[str, Session] = OrderedDict()

    def begin(self, key_id: str) -> str:
        """Begin a session. Returns the value of its cookie."""
        cookie = secrets.token_urlsafe(32)
        self._open[_hashed(cookie)] = Session(key_id, secrets.token_urlsafe(32), self._clock() + self._seconds)
        while len(self._open) > MOST_SESSIONS:
            self._open.popitem(last=False)
        return cookie

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie; None: there is none, or it has ended."""
        name = _hashed(cookie)
        found = self._open.get(name)
        if found is None:
            return None
        if found.ends <= self._clock():
            self.end(cookie)
            return None
        self._open.move_to_end(name)
        return found

    def end(self, cookie: str) -> None:
        """End a session, if there is one."""
        self._open.pop(_hashed(cookie), None)


class FailedSignIns:
    """Counts failed sign-ins by address, and refuses more than `_FAILURES` within a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Check that this address may try again.

        Raises:
            Exhausted: it may not yet.
        """
        failed = self._failed.get(address, deque())
        while failed and failed[0] <= self._clock() - _FAILURE_SECONDS:
            failed.popleft()
        if len(failed) >= _FAILURES:
            wait = failed[0] + _FAILURE_SECONDS - self._clock()
            raise Exhausted(
                f"There were {_FAILURES} failed sign-ins from this address within a minute. Try again in {wait:.0f} s.",
                retry_after=wait,
            )

    def count(self, address: str) -> None:
        """Count a failed sign-in."""
        self._failed.setdefault(address, deque(maxlen=_FAILURES)).append(self._clock())
        self._failed.move_to_end(address)
        while len(self._failed) > _MOST_ADDRESSES:
            self._failed.popitem(last=False)


def _hashed(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()
