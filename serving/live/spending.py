"""Enforces rate limits and budgets by caller.

A request over a limit is refused, with the seconds to wait. Tokens and dollars are reserved before the provider is
asked, and settled with what it reports. A limit can be exceeded by what the host's other workers admit within
`SHARE_SECONDS`, and, for tokens and dollars, by what running requests use above their reservations. The excess is
counted, so later requests wait longer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from limits import RateLimitItem

from mlflow_project.allowances import MILLIONTHS, windows
from mlflow_project.answering.answer import cost
from mlflow_project.api_keys import ApiKey
from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import Manifest, Release
from mlflow_project.errors import Exhausted, InvalidAnswer, WorkspaceError
from mlflow_project.telemetry.catalogue import BUDGET_REFUSED, BUDGET_USED
from mlflow_project.telemetry.meters import Meters
from serving.live.counts import SharedCounts

_PINNED_OUTPUT = ("max_tokens", "max_completion_tokens", "maxOutputTokens")
_CHARACTERS_A_TOKEN = 4
_ANYONE = "anyone"
_NOTHING: Mapping[str, int] = {}
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


@dataclass(slots=True)
class Reservation:
    """What one request may use. Its `amounts`, by kind, were counted in the caller's windows at `at` (epoch seconds).

    A refund goes to the windows of that time. In later windows it would be a credit.
    """

    caller: Caller
    question_chars: int
    amounts: Mapping[str, int]
    at: float


class Spending:
    """Each worker has one. `default` holds the limits of callers whose key has none of its own."""

    def __init__(self, counts: SharedCounts, default: Mapping[str, str], reserve_tokens: int, meters: Meters) -> None:
        self._counts = counts
        self._default = dict(default)
        self._reserve_tokens = reserve_tokens
        self._meters = meters
        self._callers: dict[str, Caller] = {}

    def admit(self, key: ApiKey | None) -> None:
        """Count a request.

        Raises:
            Exhausted: the caller has sent too many.
        """
        self._take(self._caller(key), _ONE_REQUEST, time.time())

    def reserve(self, key: ApiKey | None, release: Release, characters: int) -> Reservation:
        """Reserve what a request with this number of characters may use.

        Raises:
            Exhausted: a budget has no room for it.
        """
        caller, amounts, now = self._caller(key), _NOTHING, time.time()
        if caller.windows and release.manifest.kind == "prompt":  # a model uses neither tokens nor dollars
            amounts = self._expected(release.manifest, characters)
            self._take(caller, amounts, now)
        return Reservation(caller, characters, amounts, now)

    def settle(self, reserved: Reservation, answer: Answer | None, error: BaseException | None) -> None:
        """Count what a finished request used in place of what it reserved.

        An answer costs what it used, even if it was refused afterwards. An error before any answer costs nothing. A
        caller who left, and an answer that broke its schema, cost the reservation.
        """
        if answer is not None:
            used = _used(answer, reserved.question_chars)
            self._replace(reserved, used)
            self._meters.record(BUDGET_USED, used["tokens"], caller=reserved.caller.id, kind="tokens")
            self._meters.record(BUDGET_USED, used["usd"] / MILLIONTHS, caller=reserved.caller.id, kind="usd")
        elif isinstance(error, WorkspaceError) and not isinstance(error, InvalidAnswer):
            self._replace(reserved, _NOTHING)

    def _replace(self, reserved: Reservation, used: Mapping[str, int]) -> None:
        for window in reserved.caller.windows:
            if window.kind in reserved.amounts:
                more = used.get(window.kind, 0) - min(reserved.amounts[window.kind], window.amount)
                self._counts.add(window.key, window.expiry, more, time.time() if more > 0 else reserved.at)
        reserved.amounts = _NOTHING

    def _expected(self, manifest: Manifest, characters: int) -> dict[str, int]:
        pinned: Mapping[str, Any] = manifest.provider.parameters if manifest.provider is not None else {}
        output = self._reserve_tokens
        for name in _PINNED_OUTPUT:
            if name in pinned:
                output = int(pinned[name])
                break
        asked = characters // _CHARACTERS_A_TOKEN
        if manifest.prices is None:
            return _amounts(asked + output, None)
        return _amounts(asked + output, cost(Usage(input_tokens=asked, output_tokens=output), manifest.prices))

    def _take(self, caller: Caller, amounts: Mapping[str, int], now: float) -> None:
        """Count all amounts or none. Nothing awaits in between, so no other request can come first."""
        wanted = [(w, min(amounts[w.kind], w.amount)) for w in caller.windows if w.kind in amounts]
        for window, amount in wanted:
            if not self._counts.has_room(window.key, window.amount, window.expiry, amount, now):
                raise self._exhausted(window, caller)
        for window, amount in wanted:
            self._counts.add(window.key, window.expiry, amount, now)

    def _caller(self, key: ApiKey | None) -> Caller:
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


def _amounts(tokens: int, usd: float | None) -> dict[str, int]:
    return {"tokens": tokens, "usd": math.ceil(usd * MILLIONTHS) if usd else 0}


def _used(answer: Answer, characters: int) -> dict[str, int]:
    """What the provider reported; if it reported nothing, an estimate by the length of the texts."""
    if answer.usage.total_tokens is not None:
        return _amounts(answer.usage.total_tokens, answer.cost_usd)
    return _amounts((characters + answer.output_chars) // _CHARACTERS_A_TOKEN, answer.cost_usd)
