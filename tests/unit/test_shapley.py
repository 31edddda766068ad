"""Shapley values: exact where theory says what they are, and adding up for every model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlflow_project.rules.shapley import shapley_values

CHANCE = np.random.default_rng(5)
ROWS = {name: CHANCE.normal(size=50) for name in ("a", "b", "c")}
ZEROS = {name: np.zeros(50) for name in ROWS}


def linear(given: dict[str, Any]) -> Any:
    return (2 * given["a"] - given["b"] + 5)[:, None]


def curved(given: dict[str, Any]) -> Any:
    return np.column_stack([given["a"] * given["b"], np.exp(given["c"]) + given["a"]])


def test_a_feature_of_a_linear_model_counts_for_its_coefficient_times_its_distance() -> None:
    values = shapley_values(linear, ROWS, ZEROS, orders=1, seed=0)
    expected = np.column_stack([2 * ROWS["a"], -ROWS["b"], np.zeros(50)])
    assert values[:, :, 0] == pytest.approx(expected)


def test_two_features_that_act_together_share_what_they_do_equally() -> None:
    values = shapley_values(curved, ROWS, ZEROS, orders=1, seed=0)
    half = ROWS["a"] * ROWS["b"] / 2
    assert values[:, 0, 0] == pytest.approx(half)
    assert values[:, 1, 0] == pytest.approx(half)
    assert values[:, 2, 0] == pytest.approx(np.zeros(50))


def test_the_values_of_all_rows_add_up_to_their_predictions_less_those_of_the_background() -> None:
    values = shapley_values(curved, ROWS, ROWS, orders=20, seed=1)
    assert values.sum(axis=(0, 1)) == pytest.approx(np.zeros(2), abs=1e-9)
    assert np.array_equal(values, shapley_values(curved, ROWS, ROWS, orders=20, seed=1))
