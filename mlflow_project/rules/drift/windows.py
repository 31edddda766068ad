"""Compares a window of traffic with the reference of its release.

In: a `Baseline`, which has the reference; a window. Out: the result of each check, by a threshold from the variation
within the reference. The window is compared with a part of the reference that is as large as in the A/A splits, so that
both comparisons differ only by drift.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mlflow_project.rules.drift.calibration import SPLITS, Calibrated, Found, calibrate, observe
from mlflow_project.rules.drift.splits import block_splits
from mlflow_project.rules.drift.traffic import Topics, Traffic, checks_of

MOST_REFERENCE = 2_000
LEAST_REFERENCE = 100
LEAST_WINDOW = 30


@dataclass
class Baseline:
    """A reference and its topics. With the same `seed`, the same window gives the same result."""

    reference: Traffic
    seed: int = 7
    splits: int = SPLITS
    topics: Topics = field(init=False)
    _calibrated: dict[tuple[int, float], Calibrated] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reference = spread(self.reference, MOST_REFERENCE)
        self.topics = Topics.of(self.reference.question_vectors, self.seed)

    def judge(self, window: Traffic, alpha: float) -> tuple[Found, ...]:
        """The results of the window's checks, the highest score first. `alpha` is the probability of a false alarm."""
        window = spread(window, len(self.reference) // 3)
        return self.calibrated(len(window), alpha).judge(self.distances(window))

    def calibrated(self, rows: int, alpha: float) -> Calibrated:
        """The thresholds for windows of this number of rows. Computed once."""
        key = rows, alpha
        if key not in self._calibrated:
            checks = checks_of(self.reference, self.topics)
            self._calibrated[key] = calibrate(checks, len(self.reference), rows, alpha, self.seed, self.splits)
        return self._calibrated[key]

    def distances(self, window: Traffic) -> dict[str, float]:
        """Each check's distance between the window and a part of the reference."""
        left_out = block_splits(len(self.reference), len(window), 1, self.seed)[0]
        pool = self.reference.rows(np.flatnonzero(~left_out)).followed_by(window)
        return observe(checks_of(pool, self.topics), np.arange(len(pool)) >= len(pool) - len(window))


def spread(traffic: Traffic, most: int) -> Traffic:
    """At most this number of rows, evenly spread over time."""
    if len(traffic) <= most:
        return traffic
    return traffic.rows(np.linspace(0, len(traffic) - 1, most).astype(np.intp))
