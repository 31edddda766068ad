"""Measures how far a window is from the rest of a pool: one number per check, for many divisions of the pool at once.

In: a pool of rows, and divisions as boolean arrays (divisions, rows); True: the row is in the window. Out: an array
(divisions,); 0: both sides are alike. The `floor` of a statistic is the least standard deviation that is assumed for
it, so that a column without variation in the reference raises no alarm at its first exception.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import jensenshannon
from scipy.stats import rankdata

Divisions = NDArray[np.bool_]
Distances = NDArray[np.float64]

_MOST_TERMS = 2_000
_RIDGE = 1 / 256


@dataclass(frozen=True)
class Statistic:
    """`measure` returns the distances, `floor(window, rest)` the least standard deviation for these numbers of rows."""

    measure: Callable[[Divisions], Distances]
    floor: Callable[[int, int], float]


def kolmogorov_smirnov(values: NDArray[np.float64]) -> Statistic:
    """The largest difference between the two distribution functions, as `scipy.stats.ks_2samp` has it. Rows without a
    value (NaN) are left out.

    The values are sorted once for all divisions: a thousand calls of `ks_2samp` took a second per column.
    """
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    last = np.flatnonzero(np.append(np.diff(values[order]) > 0, True)) if len(order) else order  # of equal values

    def measure(divisions: Divisions) -> Distances:
        inside = divisions[:, order].cumsum(axis=1, dtype=np.int32)
        if not len(order):
            return np.zeros(len(divisions))
        window = inside[:, -1:]
        rest = len(order) - window
        share = inside[:, last] / np.maximum(window, 1)
        other = (last + 1 - inside[:, last]) / np.maximum(rest, 1)
        distances: Distances = np.abs(share - other).max(axis=1)
        return np.where((window[:, 0] > 0) & (rest[:, 0] > 0), distances, 0.0)

    return Statistic(measure, lambda window, rest: 0.26 * np.sqrt(1 / window + 1 / rest))


def difference_of_shares(holds: NDArray[np.bool_]) -> Statistic:
    """The difference of two shares in units of its standard error, with 0.5 added to each count (Agresti and Caffo
    2000).
    """

    def measure(divisions: Divisions) -> Distances:
        window, rest = divisions.sum(1), (~divisions).sum(1)
        share = ((divisions & holds).sum(1) + 0.5) / (window + 1)
        other = ((~divisions & holds).sum(1) + 0.5) / (rest + 1)
        error = np.sqrt(share * (1 - share) / window + other * (1 - other) / rest)
        distances: Distances = np.abs(share - other) / error
        return distances

    return Statistic(measure, lambda window, rest: 0.6)


def new_terms(counts: csr_array) -> Statistic:
    """The share of the window's words that the rest does not contain. `counts` has a row per row, a column per term."""

    def measure(divisions: Divisions) -> Distances:
        window, rest = _sides(counts, divisions)
        new: Distances = np.where(rest == 0, window, 0).sum(1) / np.maximum(window.sum(1), 1)
        return new

    return Statistic(measure, lambda window, rest: 1 / (10 * window))


def jensen_shannon(counts: csr_array) -> Statistic:
    """The Jensen-Shannon distance (base 2) between the two sides' frequencies of terms, categories or topics."""
    frequent = np.argsort(-np.asarray(counts.sum(axis=0)).ravel(), kind="stable")[:_MOST_TERMS]
    kept = csr_array(counts[:, np.sort(frequent)])

    def measure(divisions: Divisions) -> Distances:
        window, rest = _sides(kept, divisions)
        found: Distances = np.nan_to_num(jensenshannon(window + 1e-12, rest + 1e-12, base=2, axis=1))
        return found

    return Statistic(measure, lambda window, rest: 0.1 / np.sqrt(window))


def classifier_two_sample(vectors: NDArray[np.float32]) -> Statistic:
    """How well a classifier separates window and rest on rows that it has not seen: area under the curve, minus one
    half.

    Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests". The classifier is ridge regression on the
    labels. Its leave-one-out predictions have a closed form, so that a thousand divisions cost one matrix product.
    """
    centred = vectors - vectors.mean(axis=0)
    gram = centred.T @ centred + np.eye(centred.shape[1], dtype=np.float32) * np.float32(len(vectors) * _RIDGE)
    solved = np.linalg.solve(gram, centred.T)
    leverage = np.einsum("ij,ji->i", centred, solved) + 1 / len(vectors)

    def measure(divisions: Divisions) -> Distances:
        labels = divisions.T.astype(np.float32)
        fitted = centred @ (solved @ labels) + labels.mean(axis=0)
        unseen = (fitted - leverage[:, None] * labels) / (1 - leverage[:, None])
        return area_under_curve(unseen.T, divisions) - 0.5

    return Statistic(measure, lambda window, rest: 0.29 * np.sqrt(1 / window + 1 / rest))


def mean_discrepancy(vectors: NDArray[np.float32]) -> Statistic:
    """The squared maximum mean discrepancy under a Gaussian kernel (Gretton and others 2012). It detects a shift that
    is too small for a classifier to learn from one window.
    """
    squared = (vectors * vectors).sum(axis=1)
    kernel = np.exp(2 * vectors @ vectors.T - squared[:, None] - squared[None, :])

    def measure(divisions: Divisions) -> Distances:
        inside, outside = divisions.sum(1, keepdims=True), (~divisions).sum(1, keepdims=True)
        weights = (divisions / inside - ~divisions / outside).astype(np.float32)
        found: Distances = np.einsum("ij,ij->i", weights @ kernel, weights).astype(np.float64)
        return found

    return Statistic(measure, lambda window, rest: 0.01 / window)


def area_under_curve(scores: NDArray[Any], positive: Divisions) -> Distances:
    """The probability that a row of the window scores higher than one of the rest (Mann-Whitney U, divided by its
    range).
    """
    ranks = rankdata(scores, axis=1)
    inside, outside = positive.sum(1), (~positive).sum(1)
    area: Distances = ((ranks * positive).sum(1) - inside * (inside + 1) / 2) / np.maximum(inside * outside, 1)
    return area


def one_hot(labels: Sequence[Any]) -> csr_array:
    """Categories as counts: rows by distinct labels."""
    _, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    return csr_array((np.ones(len(codes)), (np.arange(len(codes)), codes)))


def _sides(counts: csr_array, divisions: Divisions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each division, the counts of each term in the window and in the rest."""
    window = np.asarray((counts.T @ divisions.T.astype(np.float64)).T)
    return window, np.asarray(counts.sum(axis=0)).ravel() - window
