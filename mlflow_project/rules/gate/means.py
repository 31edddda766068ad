"""Paired measurements: bootstrap bounds of the mean difference, with fixed seeds.

In: differences candidate - champion, a number a case along the last axis. Equal input gives equal output, always.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

SEED = 20_261_124
RESAMPLES = 9_999
_ELEMENTS_AT_ONCE = 4_000_000
_NORMAL = NormalDist()


def bootstrap_bounds(differences: Any, confidence: float, resamples: int = RESAMPLES) -> tuple[Any, Any]:
    """Lower and upper bound of the mean, each one-sided at `confidence`: scipy's BCa (Efron 1987) along the last axis.

    Where all differences are equal there is no spread to resample: both bounds are that difference.
    """
    from scipy.stats import bootstrap

    values = np.asarray(differences, dtype=float)
    mean, constant = values.mean(axis=-1), np.ptp(values, axis=-1) == 0
    if constant.all():
        return mean, mean
    result = bootstrap(
        (values,),
        np.mean,
        axis=-1,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _ELEMENTS_AT_ONCE // values.size),
        confidence_level=2 * confidence - 1,
        method="BCa",
        rng=np.random.default_rng(SEED),
    )
    low, high = result.confidence_interval
    return np.where(constant, mean, low), np.where(constant, mean, high)


def normal_power(gain: float, spread: float, n: int, confidence: float) -> float:
    """Power to show a mean gain, by the normal approximation; `spread` is the differences' standard deviation."""
    if spread == 0:
        return 1.0 if gain > 0 else 0.0
    return float(_NORMAL.cdf(gain * math.sqrt(n) / spread - _NORMAL.inv_cdf(confidence)))


def detectable_difference(spread: float, n: int, confidence: float, power: float = 0.8) -> float:
    """The smallest difference that n cases of this spread show with this power (normal approximation)."""
    return (_NORMAL.inv_cdf(confidence) + _NORMAL.inv_cdf(power)) * spread / math.sqrt(n)


def cases_needed(distance: float, spread: float, confidence: float, power: float = 0.8) -> int | None:
    """How many cases show a difference of this size with this power; None if it is 0."""
    if distance == 0:
        return None
    return math.ceil(((_NORMAL.inv_cdf(confidence) + _NORMAL.inv_cdf(power)) * spread / distance) ** 2)
