"""How often the gate errs on statistics of a model that are no mean of cases: F1, PR-AUC and RMSE on 300 rows.

In: a number of comparisons. Out: measures for `bench.gate`. The gate draws the same resamples for every comparison of
300 rows, so one array of counts serves all comparisons, and a batch of them is judged by products of arrays.
`statistics.bounds`, which judges a release, must decide the same on a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.optimize import brentq

from mlflow_project.rules.gate import statistics

CONFIDENCE = 0.95
ROWS, AT_ONCE, CHECKED = 300, 200, 50
Random = np.random.Generator
Columns = dict[str, Any]
Sides = Callable[[Random, int], tuple[Columns, Columns, Columns]]
"""The columns of a champion, of an equal candidate, and of one that is worse by 0.05, on so many rows."""
Values = Callable[[Sequence[Columns]], Any]
"""The statistic of some releases: one row for all cases as they are and one for each resample, one column a release."""


def accepted(count: int) -> Iterator[tuple[str, int]]:
    """How many of so many comparisons are accepted that should not be, for each kind of comparison."""
    for _, name, sides, values, sign in _kinds():
        superior = non_inferior = 0
        random = np.random.default_rng(9)
        for start in range(0, count, AT_ONCE):
            drawn = [sides(random, ROWS) for _ in range(min(AT_ONCE, count - start))]
            champion, same, worse = (sign * values(side) for side in zip(*drawn, strict=True))
            superior += int(np.sum(_lower(same - champion) > 0))
            non_inferior += int(np.sum(_lower(worse - champion) > -0.05))
        yield f"A/A, {name}, {ROWS} cases: accepted as superior", superior
        yield f"drop of 0.05, {name}, {ROWS} cases: accepted as non-inferior", non_inferior


def agreement() -> float:
    """The share of comparisons on which `statistics.bounds` says the same lower bound as this module."""
    same = 0
    for metric, _, sides, values, sign in _kinds():
        random, weights = np.random.default_rng(11), list(statistics.resamples(ROWS))
        drawn = [sides(random, ROWS) for _ in range(CHECKED)]
        champion, _, worse = (sign * values(side) for side in zip(*drawn, strict=True))
        for (theirs, _, ours), quick in zip(drawn, _lower(worse - champion), strict=True):
            slow = statistics.bounds(metric, ours, theirs, weights, sign > 0, CONFIDENCE)[0]
            same += bool(np.isclose(slow, quick, rtol=0, atol=1e-9))
    return same / (3 * CHECKED)


def _kinds() -> Iterator[tuple[str, str, Sides, Values, float]]:
    weights = np.concatenate([np.ones((1, ROWS)), *statistics.resamples(ROWS)])
    yield "f1", "F1", _f1_sides, lambda sides: _f1(weights, sides), 1.0
    by_case = np.ascontiguousarray(weights.T)
    yield "pr_auc", "PR-AUC", _pr_auc_sides(), lambda sides: _pr_auc(by_case, sides), 1.0
    yield "rmse", "RMSE", _rmse_sides, lambda sides: _rmse(weights, sides), -1.0


def _lower(differences: Any) -> Any:
    """The lower bound of `statistics.bounds` for each column: the lowest of three intervals. Row 0: all cases."""
    observed, resampled = differences[0], differences[1:]
    width = NormalDist().inv_cdf(CONFIDENCE) * resampled.std(axis=0, ddof=1)
    low, high = np.quantile(resampled, [1 - CONFIDENCE, CONFIDENCE], axis=0)
    return np.minimum(np.minimum(observed - width, 2 * observed - high), low)


def _f1(weights: Any, sides: Sequence[Columns]) -> Any:
    true = np.stack([side[statistics.ACTUAL] for side in sides], axis=1)
    said = np.stack([side[statistics.PREDICTED] for side in sides], axis=1)
    return 2 * (weights @ (true * said)) / (weights @ (true + said))


def _rmse(weights: Any, sides: Sequence[Columns]) -> Any:
    errors = np.stack([side[statistics.SQUARED_ERROR] for side in sides], axis=1)
    return np.sqrt(weights @ errors / ROWS)


def _pr_auc(by_case: Any, sides: Sequence[Columns]) -> Any:
    """Average precision. Recall rises at rows of class 1 alone, so precision is needed at those only; no two rows have
    the same probability here.
    """
    found = []
    for side in sides:
        order = np.argsort(-side[statistics.PROBABILITY], kind="stable")
        ones = np.flatnonzero(side[statistics.ACTUAL][order] == 1)
        seen = np.cumsum(by_case[order], axis=0)[ones]
        gained = by_case[order[ones]]
        positives = np.cumsum(gained, axis=0)
        precision = np.divide(positives, seen, out=np.zeros_like(seen), where=seen > 0)
        found.append(np.einsum("ij,ij->j", precision, gained) / positives[-1])
    return np.stack(found, axis=1)


def _f1_sides(random: Random, n: int) -> tuple[Columns, Columns, Columns]:
    """A fifth of the rows are of class 1; the champion's true F1 is 0.80."""
    actual = (random.random(n) < 0.2).astype(float)
    champion, same, worse = (_classifier(random, actual, recall) for recall in (0.8, 0.8, 0.72))
    return champion, same, worse


def _pr_auc_sides() -> Sides:
    """A third of the rows are of class 1. Scores of class 1 lie higher by a distance that gives 0.80 and 0.75."""
    random = np.random.default_rng(10)
    large = (random.random(200_000) < 1 / 3).astype(float)
    noise, one = random.normal(size=len(large)), np.ones((1, len(large)))

    def short_of(distance: float, goal: float) -> float:
        columns = {statistics.ACTUAL: large, statistics.PROBABILITY: noise + distance * large}
        return float(statistics.STATISTICS["pr_auc"][1](columns, one)[0]) - goal

    distances = [brentq(short_of, 0.1, 5, args=(goal,), xtol=1e-3) for goal in (0.80, 0.80, 0.75)]

    def sides(random: Random, n: int) -> tuple[Columns, Columns, Columns]:
        actual = (random.random(n) < 1 / 3).astype(float)
        champion, same, worse = (
            {statistics.ACTUAL: actual, statistics.PROBABILITY: random.normal(size=n) + distance * actual}
            for distance in distances
        )
        return champion, same, worse

    return sides


def _rmse_sides(random: Random, n: int) -> tuple[Columns, Columns, Columns]:
    """Errors of deviation 1.00, half of whose variance all models share; the worse candidate's is 1.05."""
    shared = random.normal(size=n)
    champion, same, worse = (
        {statistics.SQUARED_ERROR: (deviation * (shared + random.normal(size=n)) / 2**0.5) ** 2}
        for deviation in (1.0, 1.0, 1.05)
    )
    return champion, same, worse


def _classifier(random: Random, actual: Any, recall: float) -> Columns:
    """The columns of a classifier that finds this share of class 1 and takes 5 % of class 0 for it."""
    drawn = random.random(len(actual))
    predicted = np.where(actual == 1, drawn < recall, drawn < 0.05).astype(float)
    return {statistics.ACTUAL: actual, statistics.PREDICTED: predicted}
