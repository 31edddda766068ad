"""Rate limits and budgets by caller: a request is let in or told when to come back; tokens and dollars are reserved
before the provider is asked and settled with what it reports.

What may be used beyond a limit, at the most: what the host's other workers let in within `SHARE_SECONDS`, and, for
tokens and dollars, what the requests under way use above their reservations. It is counted, so the next ones wait.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from limits import RateLimitItem
from limits.strategies import SlidingWindowCounterRateLimiter

from mlflow_project.allowances import MILLIONTHS, windows
from mlflow_project.answering.answer import cost
from mlflow_project.api_keys import ApiKey
from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import Release
from mlflow_project.errors import Exhausted, InvalidAnswer, WorkspaceError
from mlflow_project.telemetry.catalogue import BUDGET_REFUSED, BUDGET_USED
from mlflow_project.telemetry.meters import METERS
from serving.counts import SharedCounts

Windows = Mapping[str, tuple[RateLimitItem, ...]]
_PINNED_OUTPUT = ("max_tokens", "max_completion_tokens", "maxOutputTokens")
_CHARACTERS_A_TOKEN = 4


class Reservation:
    """What one request may use, settled at the end of the block; `answer` is what came of it, None while nothing did.

    An error before the answer gives all back; an answer that was no good, or that nobody waited for, costs what was
    reserved.
    """

    def __init__(self, spending: Spending, caller: ApiKey | None, characters: int, amounts: Mapping[str, int]) -> None:
        self.caller = caller
        self.characters = characters
        self.amounts = amounts
        self.answer: Answer | None = None
        self._spending = spending

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, WorkspaceError) and not issubclass(kind, InvalidAnswer):
            self._spending.settle(self, {})
        if self.answer is not None:
            self._spending.pay(self, self.answer)


class Spending:
    """One for each worker. `default` are the limits of every caller whose key has none of its own."""

    def __init__(self, counts: SharedCounts, default: Mapping[str, str], reserve_tokens: int) -> None:
        self._counts = counts
        self._limiter = SlidingWindowCounterRateLimiter(counts)
        self._default = dict(default)
        self._reserve_tokens = reserve_tokens
        self._known: dict[tuple[tuple[str, str], ...], Windows] = {}

    def admit(self, caller: ApiKey | None) -> None:
        """Count a request.

        Raises:
            Exhausted: the caller has sent too many.
        """
        self._take(caller, {"requests": 1})

    def reserved(self, caller: ApiKey | None, release: Release, characters: int) -> Reservation:
        """Reserve what a request of so many characters may use.

        Raises:
            Exhausted: a budget has no room for it.
        """
        amounts: Mapping[str, int] = {}
        if self._windows(caller):
            usage = self._expected(release, characters)
            amounts = _amounts(usage, cost(usage, release.manifest.prices))
            self._take(caller, amounts)
        return Reservation(self, caller, characters, amounts)

    def pay(self, kept: Reservation, answer: Answer) -> None:
        """Count what an answer used."""
        used = _used(answer, kept.characters)
        METERS.record(BUDGET_USED, used["tokens"], caller=_name(kept.caller), kind="tokens")
        METERS.record(BUDGET_USED, used["usd"] / MILLIONTHS, caller=_name(kept.caller), kind="usd")
        self.settle(kept, used)

    def settle(self, kept: Reservation, used: Mapping[str, int]) -> None:
        """Replace what was reserved by what was used."""
        for kind, found in self._windows(kept.caller).items():
            for window in found if kind in kept.amounts else ():
                reserved = min(kept.amounts[kind], window.amount)
                key = window.key_for(kind, _name(kept.caller))
                self._counts.add(key, window.get_expiry(), used.get(kind, 0) - reserved)
        kept.amounts = {}

    def _expected(self, release: Release, characters: int) -> Usage:
        pinned = release.manifest.provider.parameters if release.manifest.provider is not None else {}
        output = next((int(pinned[name]) for name in _PINNED_OUTPUT if name in pinned), self._reserve_tokens)
        asked = characters // _CHARACTERS_A_TOKEN
        return Usage(input_tokens=asked, output_tokens=output, total_tokens=asked + output)

    def _take(self, caller: ApiKey | None, amounts: Mapping[str, int]) -> None:
        """All of it or nothing; nothing awaits in between."""
        wanted = [
            (kind, window, min(amounts[kind], window.amount))
            for kind, found in self._windows(caller).items()
            for window in found
            if kind in amounts
        ]
        for kind, window, amount in wanted:
            if not self._limiter.test(window, kind, _name(caller), cost=amount):
                raise self._exhausted(kind, window, caller)
        for kind, window, amount in wanted:
            self._counts.add(window.key_for(kind, _name(caller)), window.get_expiry(), amount)

    def _windows(self, caller: ApiKey | None) -> Windows:
        own = caller.limits if caller is not None else {}
        key = tuple(own.items())
        if key not in self._known:
            self._known[key] = windows({**self._default, **own})
        return self._known[key]

    def _exhausted(self, kind: str, window: RateLimitItem, caller: ApiKey | None) -> Exhausted:
        METERS.record(BUDGET_REFUSED, 1, caller=_name(caller), kind=kind)
        wait = max(1, math.ceil(self._limiter.get_window_stats(window, kind, _name(caller)).reset_time - time.time()))
        amount = f"{window.amount / MILLIONTHS:g}" if kind == "usd" else f"{window.amount}"
        span = f"{window.multiples} {window.GRANULARITY.name}"
        return Exhausted(f"{amount} {kind} per {span} are used up: try again in {wait} s.", retry_after=wait)


def _amounts(usage: Usage, usd: float | None) -> dict[str, int]:
    return {"tokens": usage.total_tokens or 0, "usd": math.ceil((usd or 0.0) * MILLIONTHS)}


def _used(answer: Answer, characters: int) -> dict[str, int]:
    """As the provider reported it; by the length of the texts where it reports nothing."""
    if answer.usage.total_tokens is not None:
        return _amounts(answer.usage, answer.cost_usd)
    return _amounts(Usage(total_tokens=(characters + len(answer.text or "")) // _CHARACTERS_A_TOKEN), answer.cost_usd)


def _name(caller: ApiKey | None) -> str:
    return caller.id if caller is not None else "anyone"
