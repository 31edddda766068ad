"""Refuses callers who have used up a limit: requests for every server, tokens and dollars for the one that answers.

In: the API key of a request. Out: nothing, or `Exhausted` with the seconds to wait. Counts are those of `counts`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import NamedTuple

from limits import RateLimitItem

from mlflow_project.allowances import MILLIONTHS, windows
from mlflow_project.api_keys import ApiKey
from mlflow_project.errors import Exhausted
from mlflow_project.telemetry.catalogue import BUDGET_REFUSED
from mlflow_project.telemetry.meters import Meters
from mlflow_project.web.counts import SharedCounts

_ANYONE = "anyone"
_NOTHING_OWN: Mapping[str, str] = {}
_ONE_REQUEST = {"requests": 1}


class Window(NamedTuple):
    """One limit of one caller: its kind, and the key under which it is counted."""

    kind: str
    item: RateLimitItem
    key: str
    amount: int
    expiry: int


class Caller(NamedTuple):
    """A caller: the id of the API key, its limits, and the windows that were made from these limits."""

    id: str
    limits: Mapping[str, str]
    windows: tuple[Window, ...]


class CallerLimits:
    """Each worker has one. `default` holds the limits of callers whose key has none of its own."""

    def __init__(self, counts: SharedCounts, default: Mapping[str, str], meters: Meters) -> None:
        self._counts = counts
        self._default = dict(default)
        self._meters = meters
        self._callers: dict[str, Caller] = {}

    def admit(self, key: ApiKey | None) -> None:
        """Count a request.

        Raises:
            Exhausted: the caller has sent too many.
        """
        self.take(self.caller(key), _ONE_REQUEST, time.time())

    def take(self, caller: Caller, amounts: Mapping[str, int], now: float) -> None:
        """Count all amounts or none. Nothing awaits in between, so no other request can come first.

        Raises:
            Exhausted: a window of the caller has no room for its amount.
        """
        wanted = [(w, min(amounts[w.kind], w.amount)) for w in caller.windows if w.kind in amounts]
        for window, amount in wanted:
            if not self._counts.has_room(window.key, window.amount, window.expiry, amount, now):
                raise self._exhausted(window, caller)
        for window, amount in wanted:
            self._counts.add(window.key, window.expiry, amount, now)

    def caller(self, key: ApiKey | None) -> Caller:
        """The caller of a key. Cached until the key's limits change, since naming windows costs more than counting."""
        id, own = (key.id, key.limits) if key is not None else (_ANYONE, _NOTHING_OWN)
        known = self._callers.get(id)
        if known is None or known.limits is not own:
            found = [(kind, item) for kind, items in windows({**self._default, **own}).items() for item in items]
            made = [Window(kind, item, item.key_for(kind, id), item.amount, item.get_expiry()) for kind, item in found]
            known = self._callers[id] = Caller(id, own, tuple(made))
        return known

    def _exhausted(self, window: Window, caller: Caller) -> Exhausted:
        kind, item = window.kind, window.item
        self._meters.record(BUDGET_REFUSED, 1, caller=caller.id, kind=kind)
        wait = max(1, math.ceil(self._counts.seconds_to_wait(window.key, window.expiry, time.time())))
        amount = f"{item.amount / MILLIONTHS:g}" if kind == "usd" else f"{item.amount}"
        span = f"{item.multiples} {item.GRANULARITY.name}"
        return Exhausted(f"{amount} {kind} per {span} are used up: try again in {wait} s.", retry_after=wait)
