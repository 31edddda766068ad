"""One window of traffic against the reference of its release.

In: a `Baseline`, which holds the reference; a window. Out: what each check found, by thresholds that come from the
reference's own variation. The window is compared with a part of the reference that is as large as in the A/A splits, so
that the two are alike in everything but the question whether something changed.
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
    """A reference and its topics. `seed` makes the same window give the same result again."""

    reference: Traffic
    seed: int = 7
    splits: int = SPLITS
    topics: Topics = field(init=False)
    _calibrated: dict[tuple[int, float], Calibrated] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reference = spread(self.reference, MOST_REFERENCE)
        self.topics = Topics.of(self.reference.question_vectors, self.seed)

    def judge(self, window: Traffic, alpha: float) -> tuple[Found, ...]:
        """What the window's checks found, the most conspicuous first; `alpha` is its chance of a false alarm."""
        window = spread(window, len(self.reference) // 3)
        return self.calibrated(len(window), alpha).judge(self.distances(window))

    def calibrated(self, rows: int, alpha: float) -> Calibrated:
        """The thresholds for windows of so many rows; found once."""
        key = rows, alpha
        if key not in self._calibrated:
            checks = checks_of(self.reference, self.topics)
            self._calibrated[key] = calibrate(checks, len(self.reference), rows, alpha, self.seed, self.splits)
        return self._calibrated[key]

    def distances(self, window: Traffic) -> dict[str, float]:
        """Each check's distance of the window from the rest of the reference."""
        left_out = block_splits(len(self.reference), len(window), 1, self.seed)[0]
        pool = self.reference.rows(np.flatnonzero(~left_out)).followed_by(window)
        return observe(checks_of(pool, self.topics), np.arange(len(pool)) >= len(pool) - len(window))


def spread(traffic: Traffic, most: int) -> Traffic:
    """At most so many rows, evenly over the time."""
    if len(traffic) <= most:
        return traffic
    return traffic.rows(np.linspace(0, len(traffic) - 1, most).astype(np.intp))
