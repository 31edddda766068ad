"""The evidence on one indicator: the capitals of its two tests, and the counts that they rest on.

In: blocks of counts. Out: `Evidence`. The counts of `prediction_drift` are arrays with a number for each bin; every
other indicator's are plain numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlflow_project.rules.guard.betting import (
    Numbers,
    Tally,
    changed,
    changed_from,
    log_capital,
    no_worse,
    no_worse_than,
    unchanged,
    unchanged_from,
    worse,
    worse_than,
)
from mlflow_project.rules.guard.policy import LATENCY, PREDICTION_DRIFT, Indicator

Rate = float | Numbers
"""A share of requests, or one for each bin."""
NO_REQUESTS = Tally(0.0, 0.0)
_TALLIES = ("new", "old", "pending_new", "pending_old")


@dataclass(frozen=True)
class Evidence:
    """The capitals of an indicator's two tests, and the counts that they rest on. Capitals have the alternatives on the
    last axis, and the bins, where the indicator has some, on the first.

    `pending` are counts of one arm that wait for the other one: a block needs both.
    """

    harm: Numbers
    clear: Numbers
    new: Tally = NO_REQUESTS
    old: Tally = NO_REQUESTS
    pending_new: Tally = NO_REQUESTS
    pending_old: Tally = NO_REQUESTS

    def after_both(self, new: Tally, old: Tally, indicator: Indicator) -> Evidence:
        """The evidence after a block of two arms."""
        new, old = _sum(self.pending_new, new), _sum(self.pending_old, old)
        if not count(new) or not count(old):
            return replace(self, pending_new=new, pending_old=old)
        if indicator.name == PREDICTION_DRIFT:
            harm, clear = changed(new, old, indicator.tolerance), unchanged(new, old, indicator.tolerance)
        else:
            harm, clear = worse(new, old), no_worse(new, old, indicator.tolerance)
        return Evidence(self.harm + harm, self.clear + clear, _sum(self.new, new), _sum(self.old, old))

    def after_new(self, new: Tally, known: Rate, indicator: Indicator) -> Evidence:
        """The evidence after a block of the new release, beside the rate of a known past.

        A block of latencies weighs as one request, because a busy moment slows all requests of a block together. The
        power of a fair bet's capital to an exponent below 1 is a fair bet too (Jensen's inequality), so the error rate
        holds however much the requests of a block depend on each other.
        """
        if not count(new):
            return self
        if indicator.name == PREDICTION_DRIFT:
            harm = changed_from(known, new, indicator.tolerance)
            clear = unchanged_from(known, new, indicator.tolerance)
        else:
            harm, clear = worse_than(known, new), no_worse_than(known, new, indicator.tolerance)
        if indicator.name == LATENCY:
            weight = 1 / max(1.0, count(new))
            harm, clear = weight * harm, weight * clear
        return replace(self, harm=self.harm + harm, clear=self.clear + clear, new=_sum(self.new, new))

    @property
    def log_harm(self) -> float:
        """The logarithm of the capital against "no harm": of several bins, the mean of their capitals."""
        return float(log_capital(self.harm.ravel()))

    @property
    def log_clear(self) -> float:
        """The same against "harm": of several bins, the least, because each of them has to be clear."""
        return float(np.min(log_capital(self.clear)))

    @property
    def worst_bin(self) -> int:
        """The bin with the largest capital against "no harm"; 0 without bins."""
        return int(np.argmax(log_capital(self.harm)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        tallies = {name: [np.asarray(number).tolist() for number in each] for name, each in self._tallies().items()}
        return {"harm": self.harm.tolist(), "clear": self.clear.tolist(), **tallies}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evidence:
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: it has another form.
        """
        harm, clear = (np.asarray(data[name], dtype=np.float64) for name in ("harm", "clear"))
        numbers = {name: [np.asarray(number, dtype=np.float64) for number in data[name]] for name in _TALLIES}
        read = [harm, clear, *(number for pair in numbers.values() for number in pair)]
        if not (1 <= harm.ndim <= 2 and 1 <= clear.ndim <= 2 and all(np.isfinite(each).all() for each in read)):
            raise ValueError("capitals and counts are lists of numbers")
        return cls(harm, clear, **{name: Tally(*pair) for name, pair in numbers.items()})

    def _tallies(self) -> dict[str, Tally]:
        return {name: getattr(self, name) for name in _TALLIES}


NOTHING = Evidence(np.zeros(1), np.zeros(1))


def count(tally: Tally) -> float:
    """The number of requests, which is the same in each bin."""
    return float(np.max(tally.requests))


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(one.requests + other.requests, one.hits + other.hits)
