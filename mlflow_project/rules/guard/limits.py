"""Histograms of latencies and costs, and the limit that the old release's histogram sets for the new one.

A histogram counts values by bucket: bucket `i` has the values above `2 ** ((i - 1) / 4)` and up to `2 ** (i / 4)`, in
the value's own unit, so a bucket's ends are 19 % apart. A value of 0 or below is in bucket `LEAST`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlflow_project.rules.guard.betting import Tally

Histogram = Mapping[int, int]
LEAST, MOST = -120, 120
"""The buckets of everything below about a billionth and above about a billion."""


def bucket_of(value: float) -> int:
    """The bucket of a value. A value that is not a number is in the last one."""
    if value <= 0:
        return LEAST
    return max(LEAST, min(MOST, math.ceil(4 * math.log2(value) - 1e-9))) if math.isfinite(value) else MOST


def limit_bucket(histogram: Histogram, quantile: float) -> int | None:
    """The bucket that holds a quantile of the values; None if there are no values."""
    total, below = sum(histogram.values()), 0
    for bucket in sorted(histogram):
        below += histogram[bucket]
        if below >= quantile * total:
            return bucket
    return None


def above(histogram: Histogram, limit: int) -> Tally:
    """All values, and how many of them are above the limit's bucket."""
    return Tally(sum(histogram.values()), sum(count for bucket, count in histogram.items() if bucket > limit))
