"""Compares a window of traffic with the reference of its release.

In: a `Baseline`, which has the reference; a window: `Traffic` of a prompt or a `Table` of a model's rows. Out: the
result of each check, by a threshold from the variation within the reference. The window is compared with a part of the
reference that is as large as in the A/A splits, so that both comparisons differ only by drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlflow_project.rules.drift.calibration import SPLITS, Calibrated, Found, calibrate, observe
from mlflow_project.rules.drift.splits import block_splits
from mlflow_project.rules.drift.statistics import Statistic

MOST_REFERENCE = 2_000
LEAST_REFERENCE = 100
LEAST_WINDOW = 30


P_contra = TypeVar("P_contra", contravariant=True)


class Checks(Protocol[P_contra]):
    """Makes the checks of a pool: reference and window together."""

    def of(self, pool: P_contra, /) -> Mapping[str, Statistic]:
        """The checks by name."""


class Pool(Protocol):
    """Rows in order of time."""

    def __len__(self) -> int:
        """How many."""

    def rows(self, chosen: NDArray[np.intp] | slice, /) -> Self:
        """Some of the rows."""

    def followed_by(self, other: Self, /) -> Self:
        """These rows, then the other's."""

    def fitted(self, seed: int, /) -> Checks[Self]:
        """The checks for windows beside this reference."""


P = TypeVar("P", bound=Pool)


@dataclass
class Baseline(Generic[P]):
    """A reference and its checks. With the same `seed`, the same window gives the same result."""

    reference: P
    seed: int = 7
    splits: int = SPLITS
    checks: Checks[P] = field(init=False)
    _calibrated: dict[tuple[int, float], Calibrated] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reference = spread(self.reference, MOST_REFERENCE)
        self.checks = self.reference.fitted(self.seed)

    def judge(self, window: P, alpha: float) -> tuple[Found, ...]:
        """The results of the window's checks, the highest score first. `alpha` is the probability of a false alarm."""
        window = spread(window, len(self.reference) // 3)
        return self.calibrated(len(window), alpha).judge(self.distances(window))

    def calibrated(self, rows: int, alpha: float) -> Calibrated:
        """The thresholds for windows of this number of rows. Computed once."""
        key = rows, alpha
        if key not in self._calibrated:
            checks = self.checks.of(self.reference)
            self._calibrated[key] = calibrate(checks, len(self.reference), rows, alpha, self.seed, self.splits)
        return self._calibrated[key]

    def distances(self, window: P) -> dict[str, float]:
        """Each check's distance between the window and a part of the reference."""
        left_out = block_splits(len(self.reference), len(window), 1, self.seed)[0]
        pool = self.reference.rows(np.flatnonzero(~left_out)).followed_by(window)
        return observe(self.checks.of(pool), np.arange(len(pool)) >= len(pool) - len(window))


def spread(rows: P, most: int) -> P:
    """At most this number of rows, evenly spread over time."""
    if len(rows) <= most:
        return rows
    return rows.rows(np.linspace(0, len(rows) - 1, most).astype(np.intp))
