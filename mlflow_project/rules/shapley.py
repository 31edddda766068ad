"""Shapley values of a model's predictions: how much each feature of a row moved its prediction.

In: a function that predicts, the columns of the rows to explain, and those of as many background rows. Out: a value for
each row, feature and output.

The values are estimated by sampling (Štrumbelj and Kononenko, "Explaining prediction models and individual predictions
with feature contributions", 2014). For a random order of the features and a random background row, a row begins as the
background row. Then one feature after the other takes the row's own value, and each change of the prediction counts for
the feature that changed. The mean over many draws is an unbiased estimate for every kind of model. Each order is also
used backwards, which makes the estimate more exact. The values of a row add up to its prediction minus the mean
prediction of the background rows that were drawn for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
Predict = Callable[[dict[str, NDArray[Any]]], NDArray[np.float64]]
"""Takes columns of equal length; returns an array of shape (rows, outputs)."""


def shapley_values(predict: Predict, rows: Columns, background: Columns, orders: int, seed: int) -> NDArray[np.float64]:
    """The values, in an array of shape (rows, features, outputs).

    Args:
        rows: the columns of the rows to explain.
        background: the same columns of as many rows to compare with.
        orders: how many orders of the features are drawn, each with other background rows.
    """
    names = list(rows)
    chance = np.random.default_rng(seed)
    base = predict(dict(background))
    values = np.zeros((base.shape[0], len(names), base.shape[1]))
    for _ in range(orders):
        drawn, order = chance.permutation(base.shape[0]), chance.permutation(len(names))
        for one in (order, order[::-1]):
            mixed, before = {name: column[drawn] for name, column in background.items()}, base[drawn]
            for number in one:
                mixed[names[number]] = rows[names[number]]
                after = predict(mixed)
                values[:, number] += after - before
                before = after
    return values / (2 * orders)
