"""Statistics of a model that are no mean of cases: F1, PR-AUC, calibration error, RMSE; and their paired bootstrap.

In: the scores of a release, which hold the columns that a statistic is computed from, one number for each case. Out:
the statistic, and bounds of the difference of two releases on the same cases, which are resampled together for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mlflow_project.domain.verdict import Scores

RMSE = "rmse"
ACTUAL, PREDICTED, PROBABILITY, CONFIDENCE = "actual", "predicted", "probability", "confidence"
"""Columns: number of the true and of the predicted class; probability of class 1, and of the predicted class."""
CORRECT, SQUARED_ERROR = "correct", "squared_error"
COLUMNS = frozenset({ACTUAL, PREDICTED, PROBABILITY, CONFIDENCE})
"""Columns that are no metrics of their own: their means say nothing."""
SEED, RESAMPLES = 20_261_130, 1_999
_NUMBERS_AT_ONCE = 4_000_000
_BINS = 10

Values = Mapping[str, np.ndarray]
Statistic = Callable[[Values, np.ndarray], np.ndarray]
"""Columns, and weights of shape (resamples, cases): the statistic of each resample. A weight says how often a case was
drawn."""


@dataclass(frozen=True)
class Resampled:
    """A statistic of two releases on the same cases: both values, the difference in favour of the candidate, its
    one-sided bounds, and its standard error times the root of the number of cases."""

    candidate: float
    champion: float
    lower: float
    upper: float
    spread: float
    cases: int


def is_statistic(metric: str) -> bool:
    """Whether a metric is one of these statistics, and no mean of cases."""
    return metric in STATISTICS


def columns_of(metric: str) -> tuple[str, ...]:
    """The columns that a statistic is computed from."""
    return STATISTICS[metric][0]


def value(scores: Scores, metric: str) -> tuple[float, int] | None:
    """The statistic, and the number of cases where its columns are known; None if there are none."""
    cases = _cases([scores], metric, None)
    if not cases:
        return None
    columns, statistic = STATISTICS[metric]
    return float(statistic(_values(scores, columns, cases), np.ones((1, len(cases))))[0]), len(cases)


def compare(
    candidate: Scores, champion: Scores, metric: str, higher: bool, confidence: float, tag: str | None = None
) -> Resampled | None:
    """The statistic of both, with bootstrap bounds of the difference (positive: the candidate is better). None if no
    case was scored for both.
    """
    cases = _cases([candidate, champion], metric, tag)
    if not cases:
        return None
    columns, statistic = STATISTICS[metric]
    ours, theirs = (_values(scores, columns, cases) for scores in (candidate, champion))
    whole = np.ones((1, len(cases)))
    mean, other = float(statistic(ours, whole)[0]), float(statistic(theirs, whole)[0])
    lower, upper, error = bounds(metric, ours, theirs, resamples(len(cases)), higher, confidence)
    return Resampled(mean, other, lower, upper, error * len(cases) ** 0.5, len(cases))


def bounds(
    metric: str, ours: Values, theirs: Values, weights: Iterable[np.ndarray], higher: bool, confidence: float
) -> tuple[float, float, float]:
    """Lower and upper bound of the difference, each one-sided, and its standard error. Positive: `ours` is better.

    Each bound is the widest of three bootstrap intervals: the percentile, the basic and the normal one (Efron and
    Tibshirani 1993, chapters 12 and 13).
    """
    statistic, sign = STATISTICS[metric][1], 1.0 if higher else -1.0

    def difference(drawn: np.ndarray) -> np.ndarray:
        return np.asarray(sign * (statistic(ours, drawn) - statistic(theirs, drawn)))

    observed = float(difference(np.ones((1, len(next(iter(ours.values()))))))[0])
    resampled = np.concatenate([difference(drawn) for drawn in weights])
    error, width = float(resampled.std(ddof=1)), NormalDist().inv_cdf(confidence)
    low, high = (float(value) for value in np.quantile(resampled, [1 - confidence, confidence]))
    lower = min(observed - width * error, 2 * observed - high, low)
    upper = max(observed + width * error, 2 * observed - low, high)
    return lower, upper, error


def resamples(cases: int) -> Iterator[np.ndarray]:
    """How often each case is drawn in each resample, some resamples at a time; always the same for so many cases."""
    random, left = np.random.default_rng(SEED), RESAMPLES
    while left:
        count = min(left, max(1, _NUMBERS_AT_ONCE // cases))
        drawn = random.integers(0, cases, (count, cases)) + cases * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * cases).reshape(count, cases).astype(float)
        left -= count


def _cases(all_scores: Sequence[Scores], metric: str, tag: str | None) -> list[int]:
    columns = [scores.metrics.get(name, ()) for scores in all_scores for name in columns_of(metric)]
    tags = all_scores[0].tags
    count = min((len(column) for column in columns), default=0)
    return [
        number
        for number in range(count)
        if all(column[number] is not None for column in columns) and (tag is None or tag in tags[number])
    ]


def _values(scores: Scores, columns: Sequence[str], cases: Sequence[int]) -> Values:
    return {name: np.array([scores.metrics[name][number] for number in cases], dtype=float) for name in columns}


def _f1(values: Values, weights: np.ndarray) -> np.ndarray:
    """F1 of class 1 where there are two classes; otherwise the mean over all classes (macro)."""
    actual, predicted = values[ACTUAL], values[PREDICTED]
    classes = np.union1d(np.unique(actual), np.unique(predicted))
    wanted = [1.0] if set(classes) <= {0.0, 1.0} else classes
    scores = []
    for each in wanted:
        true, said = actual == each, predicted == each
        both, either = weights @ (true & said), weights @ true + weights @ said
        scores.append(np.divide(2 * both, either, out=np.zeros(len(weights)), where=either > 0))
    return np.asarray(np.mean(scores, axis=0))


def _pr_auc(values: Values, weights: np.ndarray) -> np.ndarray:
    """Average precision of class 1: the sum of precision times the gain in recall over all thresholds."""
    order = np.argsort(-values[PROBABILITY], kind="stable")
    probability, actual = values[PROBABILITY][order], values[ACTUAL][order] == 1
    ends = np.append(np.flatnonzero(np.diff(probability)), len(probability) - 1)
    sorted_weights = weights[:, order]
    positives = np.cumsum(sorted_weights * actual, axis=1)[:, ends]
    seen = np.cumsum(sorted_weights, axis=1)[:, ends]
    precision = np.divide(positives, seen, out=np.zeros_like(seen), where=seen > 0)
    total = positives[:, -1:]
    recall = np.divide(positives, total, out=np.zeros_like(seen), where=total > 0)
    return np.asarray(np.sum(precision * np.diff(recall, axis=1, prepend=0.0), axis=1))


def _calibration_error(values: Values, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error (Naeini et al. 2015): the mean distance of confidence and accuracy in ten bins."""
    confidence, correct = values[CONFIDENCE], values[CORRECT]
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [np.abs(weights[:, bins == each] @ (confidence - correct)[bins == each]) for each in range(_BINS)]
    return np.asarray(np.sum(gaps, axis=0) / weights.sum(axis=1))


def _rmse(values: Values, weights: np.ndarray) -> np.ndarray:
    """Root of the mean squared error."""
    return np.asarray(np.sqrt(weights @ values[SQUARED_ERROR] / weights.sum(axis=1)))


STATISTICS: Mapping[str, tuple[tuple[str, ...], Statistic]] = {
    "f1": ((ACTUAL, PREDICTED), _f1),
    "pr_auc": ((ACTUAL, PROBABILITY), _pr_auc),
    "calibration_error": ((CONFIDENCE, CORRECT), _calibration_error),
    RMSE: ((SQUARED_ERROR,), _rmse),
}


def means_and_statistics(means: Mapping[str, float], scores: Scores) -> dict[str, float]:
    """For people: the means without the columns that are no metrics, and every statistic that can be computed."""
    found = {name: mean for name, mean in means.items() if name not in COLUMNS}
    for name in STATISTICS:
        if all(column in scores.metrics for column in columns_of(name)):
            computed = value(scores, name)
            found |= {} if computed is None else {name: computed[0]}
    return found
