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
from typing import Any

from mlflow_project.allowances import MILLIONTHS
from mlflow_project.answering.answer import cost
from mlflow_project.api_keys import ApiKey
from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import Manifest, Release
from mlflow_project.errors import InvalidAnswer, WorkspaceError
from mlflow_project.telemetry.catalogue import BUDGET_USED
from mlflow_project.telemetry.meters import Meters
from mlflow_project.web.caller_limits import Caller, CallerLimits
from mlflow_project.web.counts import SharedCounts

_PINNED_OUTPUT = ("max_tokens", "max_completion_tokens", "maxOutputTokens")
_CHARACTERS_A_TOKEN = 4
_NOTHING: Mapping[str, int] = {}


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
        self._limits = CallerLimits(counts, default, meters)
        self._counts = counts
        self._reserve_tokens = reserve_tokens
        self._meters = meters

    def admit(self, key: ApiKey | None) -> None:
        """Count a request.

        Raises:
            Exhausted: the caller has sent too many.
        """
        self._limits.admit(key)

    def reserve(self, key: ApiKey | None, release: Release, characters: int) -> Reservation:
        """Reserve what a request with this number of characters may use.

        Raises:
            Exhausted: a budget has no room for it.
        """
        caller, amounts, now = self._limits.caller(key), _NOTHING, time.time()
        if caller.windows and release.manifest.kind == "prompt":  # a model uses neither tokens nor dollars
            amounts = self._expected(release.manifest, characters)
            self._limits.take(caller, amounts, now)
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


def _amounts(tokens: int, usd: float | None) -> dict[str, int]:
    return {"tokens": tokens, "usd": math.ceil(usd * MILLIONTHS) if usd else 0}


def _used(answer: Answer, characters: int) -> dict[str, int]:
    """What the provider reported; if it reported nothing, an estimate by the length of the texts."""
    if answer.usage.total_tokens is not None:
        return _amounts(answer.usage.total_tokens, answer.cost_usd)
    return _amounts((characters + answer.output_chars) // _CHARACTERS_A_TOKEN, answer.cost_usd)
