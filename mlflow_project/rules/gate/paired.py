"""Paired yes/no outcomes: exact McNemar test, Tango's score interval, and the power of the test.

Of n cases, `gained` are right with the candidate only, `lost` right with the champion only. The tests take numbers or
numpy arrays of them, so that a simulation runs the very code that the gate runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Numbers = Any
"""A number, or a numpy array of numbers."""

_HALVINGS = 60


def mcnemar_p(gained: Numbers, lost: Numbers) -> Numbers:
    """One-sided exact p-value of "the candidate is no better": a sign test on the discordant pairs (McNemar 1947)."""
    from scipy.stats import binom

    return binom.sf(np.asarray(gained) - 1, np.asarray(gained) + np.asarray(lost), 0.5)


def tango_z(gained: Numbers, lost: Numbers, n: Numbers, difference: Numbers) -> Numbers:
    """Score statistic of "the true difference is `difference`" (Tango 1998, Statistics in Medicine 17, 891-908).

    `difference` lies inside (-1, 1); with no discordant pair at all it may not be 0.
    """
    gained, lost, d = (np.asarray(value, dtype=float) for value in (gained, lost, difference))
    b = -(gained + lost) + (2 * n - (gained - lost)) * d
    c = -lost * d * (1 - d)
    lost_share = (np.sqrt(np.maximum(b * b - 8 * n * c, 0)) - b) / (4 * n)
    variance = n * (2 * lost_share + d * (1 - d))
    return (gained - lost - n * d) / np.sqrt(np.maximum(variance, 1e-300))


def tango_bounds(gained: Numbers, lost: Numbers, n: Numbers, confidence: float) -> tuple[Numbers, Numbers]:
    """Lower and upper bound of the true difference, each one-sided at `confidence`, by bisection of the statistic."""
    from scipy.stats import norm

    z = norm.ppf(confidence)
    estimate = (np.asarray(gained, dtype=float) - lost) / n
    return _root(gained, lost, n, estimate, -1.0, z), _root(gained, lost, n, estimate, 1.0, -z)


def _root(gained: Numbers, lost: Numbers, n: Numbers, inside: Numbers, outside: float, z: float) -> Numbers:
    """Where the statistic, which falls as the difference grows, passes z: between estimate and end of scale."""
    near, far = np.asarray(inside, dtype=float), np.full_like(np.asarray(inside, dtype=float), outside)
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        inwards = np.abs(tango_z(gained, lost, n, middle)) < abs(z)
        near, far = np.where(inwards, middle, near), np.where(inwards, far, middle)
    return (near + far) / 2


def mcnemar_power(n: int, gain_rate: float, loss_rate: float, confidence: float) -> float:
    """Probability that the exact test on n cases accepts, where `gain_rate` of them are gained, `loss_rate` lost."""
    from scipy.stats import binom

    discordant = np.arange(n + 1)
    critical = binom.isf(1 - confidence, discordant, 0.5) + 1
    share = gain_rate / (gain_rate + loss_rate) if gain_rate else 0.0
    chance = binom.pmf(discordant, n, gain_rate + loss_rate)
    return float(np.sum(chance * binom.sf(critical - 1, discordant, share)))


def detectable_gain(n: int, discordance: float, confidence: float, power: float = 0.8) -> float | None:
    """The smallest true gain that the exact test on n cases shows with this power, at the discordance that was seen.

    None if not even a gain on every case would show.
    """
    low, high = 0.0, 1.0
    if _power_at(n, high, discordance, confidence) < power:
        return None
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if _power_at(n, middle, discordance, confidence) < power else (low, middle)
    return high


def _power_at(n: int, gain: float, discordance: float, confidence: float) -> float:
    changed = max(discordance, gain)
    return mcnemar_power(n, (changed + gain) / 2, (changed - gain) / 2, confidence)
