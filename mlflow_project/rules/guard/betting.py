"""Bets on counts, for tests that may be looked at after every request.

A test starts with a capital of 1 and bets against its null hypothesis. While the hypothesis holds, the capital grows
by no more than 1 in expectation at every block, so the chance that it ever reaches `1 / alpha` is at most `alpha`
(Ville's inequality). Each test spreads its capital over a grid of alternatives, and the mean of a grid's capitals is
again such a capital. All capitals here are natural logarithms, with the alternatives on the last axis.

The bets on two arms are those of Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests"
(2021): the likelihood of both arms under the alternative, over their likelihood at the point of the null hypothesis
that is nearest to it. A block may have any number of requests of each arm. What both arms have in common, such as a
provider's bad hour, does not count against either.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_RATES = 1 / (1 + np.exp(-np.linspace(np.log(0.002 / 0.998), 0.0, 8)))
"""Rates that the alternatives try: eight from 0.2 % to 50 %, at equal distances of log odds."""
_ODDS = np.array([1.5, 2.5, 5.0, 11.0])
"""How many times as high the odds of the new release are, by the alternatives."""
_SHARES = np.concatenate([_RATES, 1 - _RATES[-2::-1]])
"""The same for shares, which may be far above 50 %."""
_BASES = np.array([0.02, 0.1, 0.25, 0.5, 0.75])
_BEYOND = np.array([0.1, 0.25, 0.5])
"""How far a share of the new release exceeds the tolerated one, by the alternatives."""
_IMPOSSIBLE = 50.0
"""The logarithm of the capital that a bet against the impossible wins."""
_HALVINGS = 50


class Tally(NamedTuple):
    """Requests, and how many of them had what an indicator counts. Numbers, or arrays of one shape."""

    requests: float | Numbers
    hits: float | Numbers


def worse(canary: Tally, baseline: Tally) -> Numbers:
    """What a block adds to the capitals that bet against "the canary's rate is at most the baseline's"."""
    low, high = _pairs()
    of_canary, of_baseline = _column(canary.requests), _column(baseline.requests)
    middle = (of_canary * high + of_baseline * low) / np.maximum(of_canary + of_baseline, 1e-9)
    middle = np.clip(middle, low, high)
    return _likelihood(canary, high, middle) + _likelihood(baseline, low, middle)


def no_worse(canary: Tally, baseline: Tally, tolerance: float) -> Numbers:
    """What a block adds to the capitals that bet against "the canary's rate exceeds the baseline's by `tolerance` or
    more". The alternatives: both arms have the same rate."""
    return _on_two_arms(canary, baseline, _RATES, _RATES, tolerance)


def changed(canary: Tally, baseline: Tally, tolerance: float) -> Numbers:
    """The same as `worse`, against "the canary's share exceeds the baseline's by at most `tolerance`"."""
    high = (_BASES[:, None] + tolerance + _BEYOND).ravel()
    low = np.repeat(_BASES, len(_BEYOND))
    possible = high < 0.99
    return _on_two_arms(canary, baseline, high[possible], low[possible], tolerance)


def unchanged(canary: Tally, baseline: Tally, tolerance: float) -> Numbers:
    """The same as `no_worse`, for shares."""
    return _on_two_arms(canary, baseline, _SHARES, _SHARES, tolerance)


def worse_than(known: float | Numbers, new: Tally) -> Numbers:
    """What a block adds to the capitals that bet against "the new release's rate is at most `known`"."""
    known = _column(known)
    return _likelihood(new, _raised(known, _ODDS), known)


def no_worse_than(known: float | Numbers, new: Tally, tolerance: float) -> Numbers:
    """The same against "the new release's rate exceeds `known` by `tolerance` or more"."""
    limit = np.minimum(_column(known) + tolerance, 1 - 1e-6)
    return _likelihood(new, _column(known) * np.array([1.0, 0.5]), limit)


def changed_from(known: float | Numbers, new: Tally, tolerance: float) -> Numbers:
    """The same against "the new release's share is at most `known` + `tolerance`"."""
    limit = np.asarray(known, dtype=np.float64) + tolerance
    return np.where(_column(limit) < 1, worse_than(np.minimum(limit, 1 - 1e-6), new), 0.0)


def unchanged_from(known: float | Numbers, new: Tally, tolerance: float) -> Numbers:
    """The same against "the new release's share exceeds `known` by `tolerance` or more"."""
    known = np.asarray(known, dtype=np.float64)
    bet = no_worse_than(np.clip(known, 1e-6, 1 - 1e-6), new, tolerance)
    return np.where(_column(known + tolerance) < 1, bet, _IMPOSSIBLE)


def log_capital(capitals: Numbers) -> Numbers:
    """The logarithm of a test's capital, which is spread evenly over the alternatives of the last axis."""
    most = capitals.max(axis=-1, keepdims=True)
    total = np.log(np.exp(capitals - most).mean(axis=-1))
    return np.asarray(total + most[..., 0])


def _pairs() -> tuple[Numbers, Numbers]:
    """All pairs of a baseline's rate and a higher rate of the canary."""
    high = _raised(_RATES[:, None], _ODDS)
    return np.broadcast_to(_RATES[:, None], high.shape).ravel(), high.ravel()


def _raised(rates: Numbers, odds: Numbers) -> Numbers:
    return np.asarray(rates * odds / (1 - rates + rates * odds))


def _likelihood(tally: Tally, alternative: Numbers, null: Numbers) -> Numbers:
    """The logarithm of the ratio of a tally's likelihoods under two rates."""
    hits, rest = _column(tally.hits), _column(tally.requests) - _column(tally.hits)
    return np.asarray(hits * np.log(alternative / null) + rest * np.log((1 - alternative) / (1 - null)))


def _on_two_arms(canary: Tally, baseline: Tally, high: Numbers, low: Numbers, tolerance: float) -> Numbers:
    """The bets of the alternatives "the canary has the rate `high`, the baseline has `low`". The hypothesis that they
    bet against ends where the canary's rate is higher by `tolerance`."""
    lower = _nearest(high, low, _column(canary.requests), _column(baseline.requests), tolerance)
    return _likelihood(canary, high, lower + tolerance) + _likelihood(baseline, low, lower)


def _nearest(high: Numbers, low: Numbers, of_canary: Numbers, of_baseline: Numbers, tolerance: float) -> Numbers:
    """The baseline's rate at the point, on the line where the canary's rate is higher by `tolerance`, that is nearest
    to an alternative: it minimises the sum of both arms' divergences, whose slope grows with the rate."""
    ends = np.clip(high - tolerance, 1e-9, 1 - tolerance), np.minimum(low, 1 - tolerance)
    least, most = (each + 0 * (of_canary + of_baseline) for each in (np.minimum(*ends), np.maximum(*ends)))
    for _ in range(_HALVINGS):
        lower = (least + most) / 2
        upper = lower + tolerance
        slope = of_canary * (upper - high) / (upper * (1 - upper)) + of_baseline * (lower - low) / (lower * (1 - lower))
        least, most = np.where(slope < 0, lower, least), np.where(slope < 0, most, lower)
    return np.maximum((least + most) / 2, 1e-9)


def _column(value: float | Numbers) -> Numbers:
    """A number, or an array with a last axis of one, to go with the axis of alternatives."""
    return np.asarray(value, dtype=np.float64)[..., None]
