"""Finds one threshold for a family of checks, from the variation within the reference.

Every check is measured on A/A splits of the reference, in units of its own standard deviation. The largest value of
each split is kept; the quantile of these values is the threshold of all checks (Westfall and Young 1993,
"Resampling-based multiple testing", maxT). So checks that depend on each other do not raise the threshold twice. If the
quantile lies beyond what the splits resolve, it is extrapolated by a Gumbel distribution (extreme value theory).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gumbel_r

from mlflow_project.rules.drift.splits import block_splits
from mlflow_project.rules.drift.statistics import Statistic

SPLITS = 1_000
ALARMS_A_MONTH = 0.2
"""The average number of false alarms in a month without drift: then one month in fifty has two or more."""
MONTH_HOURS = 720.0
LEAST_THRESHOLD = 3.0
_RESOLVED = 10


@dataclass(frozen=True)
class Found:
    """The result of one check.

    Attributes:
        check: its name.
        distance: how far the window is from the rest of the reference.
        usual: the average distance within the reference.
        score: the distance beyond `usual`, divided by the threshold. Above 1 it is an alarm.
        p: the probability of such a distance without drift, corrected for the number of checks.
    """

    check: str
    distance: float
    usual: float
    score: float
    p: float

    @property
    def alarm(self) -> bool:
        return self.score > 1


@dataclass(frozen=True)
class Calibrated:
    """The variation within a reference for windows of one size: means, standard deviations and the threshold."""

    rows: int
    window: int
    means: Mapping[str, float]
    deviations: Mapping[str, float]
    largest: NDArray[np.float64]
    threshold: float

    def judge(self, distances: Mapping[str, float]) -> tuple[Found, ...]:
        """Compare a window's distances with the threshold. Returns the results, the highest score first."""
        found = [self._found(name, distances[name]) for name in self.means if name in distances]
        return tuple(sorted(found, key=lambda one: -one.score))

    def _found(self, name: str, distance: float) -> Found:
        by_deviation = (distance - self.means[name]) / self.deviations[name]
        p = (1 + float(np.sum(self.largest >= by_deviation))) / (1 + len(self.largest))
        return Found(name, distance, self.means[name], float(by_deviation / self.threshold), p)


def alpha_for(window_hours: float) -> float:
    """The probability of a false alarm in one window at which a month of windows has `ALARMS_A_MONTH` of them."""
    return min(0.05, ALARMS_A_MONTH * window_hours / MONTH_HOURS)


def calibrate(
    checks: Mapping[str, Statistic], rows: int, window: int, alpha: float, seed: int, splits: int = SPLITS
) -> Calibrated:
    """Measure the checks of a reference of `rows` rows on splits with windows of `window` rows."""
    divisions = block_splits(rows, window, splits, seed)
    measured = {name: statistic.measure(divisions) for name, statistic in checks.items()}
    means = {name: float(values.mean()) for name, values in measured.items()}
    floors = {name: checks[name].floor(window, rows - window) for name in checks}
    deviations = {name: max(float(values.std()), floors[name]) for name, values in measured.items()}
    standardised = [(measured[name] - means[name]) / deviations[name] for name in checks]
    largest = np.max(np.stack(standardised), axis=0)
    return Calibrated(rows, window, means, deviations, largest, threshold_of(largest, alpha))


def threshold_of(largest: NDArray[np.float64], alpha: float) -> float:
    """The value that a share `alpha` of the splits exceeds: the observed quantile, or, if too few splits lie beyond it,
    a Gumbel distribution's. At least three standard deviations, because a reference without variation says too little.
    """
    if float(largest.std()) < 1e-6:
        return LEAST_THRESHOLD
    return max(LEAST_THRESHOLD, _quantile(largest, alpha))


def _quantile(largest: NDArray[np.float64], alpha: float) -> float:
    if alpha * len(largest) >= _RESOLVED:
        return float(np.quantile(largest, 1 - alpha))
    location, scale = gumbel_r.fit(largest)
    return max(float(np.quantile(largest, 1 - _RESOLVED / len(largest))), float(gumbel_r.isf(alpha, location, scale)))


def observe(checks: Mapping[str, Statistic], inside: Sequence[bool] | NDArray[np.bool_]) -> dict[str, float]:
    """The distances of one division of a pool: `inside` is True for the rows of the window."""
    division = np.asarray(inside, dtype=np.bool_)[None, :]
    return {name: float(statistic.measure(division)[0]) for name, statistic in checks.items()}
