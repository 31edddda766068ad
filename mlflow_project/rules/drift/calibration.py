"""Thresholds from the reference's own variation, for a whole family of checks at once.

Every check is measured on A/A splits of the reference, in its own standard deviations. Of each split the largest is
kept; its quantile is the threshold of all checks (Westfall and Young 1993, "Resampling-based multiple testing", maxT),
so that checks that depend on each other are not paid for twice. Where the wanted quantile lies beyond what the splits
resolve, a Gumbel distribution goes on (extreme value theory).
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
"""False alarms that a quiet month of windows may have on average: it then has two in one month of fifty."""
MONTH_HOURS = 720.0
LEAST_THRESHOLD = 3.0
_RESOLVED = 10


@dataclass(frozen=True)
class Found:
    """One check: its `distance`, what it is on average within the reference (`usual`), and its `score`, which is how
    far it is from there by how far it may be: above 1 is an alarm. `p` is corrected over the family."""

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
    """What a reference says of itself, for windows of one size: means, deviations and threshold."""

    rows: int
    window: int
    means: Mapping[str, float]
    deviations: Mapping[str, float]
    largest: NDArray[np.float64]
    threshold: float

    def judge(self, distances: Mapping[str, float]) -> tuple[Found, ...]:
        """Hold a window's distances against the threshold; the most conspicuous check comes first."""
        found = [self._found(name, distances[name]) for name in self.means if name in distances]
        return tuple(sorted(found, key=lambda one: -one.score))

    def _found(self, name: str, distance: float) -> Found:
        by_deviation = (distance - self.means[name]) / self.deviations[name]
        p = (1 + float(np.sum(self.largest >= by_deviation))) / (1 + len(self.largest))
        return Found(name, distance, self.means[name], float(by_deviation / self.threshold), p)


def alpha_for(window_hours: float) -> float:
    """The chance of a false alarm that one window may have, so that a month of them keeps `ALARMS_A_MONTH`."""
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
    """The quantile that a share `alpha` of the splits exceed: seen where enough do, a Gumbel tail's beyond that. Three
    deviations at least: where nothing varied in the reference, the splits know too little."""
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
