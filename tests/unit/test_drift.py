"""Drift's statistics: right where a library says so, quiet where nothing changed, loud where something did."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from mlflow_project.commands.drift import length_of
from mlflow_project.drift.observed import tables_of
from mlflow_project.drift.watch import Watched, kind_of
from mlflow_project.errors import InvalidData
from mlflow_project.rules.drift.calibration import alpha_for, calibrate, observe, threshold_of
from mlflow_project.rules.drift.splits import block_splits
from mlflow_project.rules.drift.statistics import (
    classifier_two_sample,
    difference_of_shares,
    jensen_shannon,
    kolmogorov_smirnov,
    mean_discrepancy,
    new_terms,
    one_hot,
)
from mlflow_project.rules.drift.tabular import Table
from mlflow_project.rules.drift.traffic import Topics, Traffic, term_counts
from mlflow_project.rules.drift.windows import LEAST_WINDOW, Baseline


def random() -> np.random.Generator:
    return np.random.default_rng(1)


def half(rows: int) -> np.ndarray:
    return np.arange(rows)[None, :] >= rows // 2


def test_a_split_has_exactly_the_window_s_rows_and_moves_neighbours_together() -> None:
    splits = block_splits(1000, 200, 50, seed=1)
    assert set(splits.sum(axis=1)) == {200}
    changes = (splits[:, 1:] != splits[:, :-1]).sum(axis=1)
    assert changes.max() <= 2 * 200 / 10 + 2
    assert len({row.tobytes() for row in splits}) == 50


def test_the_classifier_s_unseen_predictions_are_those_of_scikit_learn() -> None:
    vectors = random().normal(size=(60, 8)).astype(np.float32)
    inside = half(60)
    vectors[30:] += 0.3
    labels = inside[0].astype(float)
    ridge = Ridge(alpha=60 / 256)
    unseen = cross_val_predict(ridge, vectors - vectors.mean(axis=0), labels, cv=LeaveOneOut())
    assert classifier_two_sample(vectors).measure(inside)[0] + 0.5 == pytest.approx(
        roc_auc_score(labels, unseen), abs=0.01
    )


def test_new_terms_and_words_see_a_vocabulary_that_the_rest_never_used() -> None:
    counts = term_counts([("gate", "alias")] * 50 + [("gate", "weather")] * 50)
    assert new_terms(counts).measure(half(100))[0] == 0.5
    assert jensen_shannon(counts).measure(half(100))[0] > 0.5
    assert term_counts([(), ()]).shape == (2, 1)


def test_what_has_no_value_is_left_out_and_what_is_alike_has_no_distance() -> None:
    values = np.array([1.0, np.nan, 2.0, 1.0, 2.0, np.nan])
    assert kolmogorov_smirnov(values).measure(half(6))[0] == pytest.approx(0.0, abs=0.6)
    assert jensen_shannon(one_hot(["en", "de", "en", "de"])).measure(half(4))[0] == pytest.approx(0, abs=1e-6)
    assert mean_discrepancy(np.ones((4, 3), dtype=np.float32)).measure(half(4))[0] == pytest.approx(0, abs=1e-6)


def test_the_distance_of_two_distributions_is_that_of_scipy() -> None:
    made = random()
    for values in (made.normal(size=200), made.integers(0, 4, 200).astype(float), np.zeros(200)):
        values[::17] = np.nan
        divisions = made.random((20, 200)) < 0.3
        found = kolmogorov_smirnov(values).measure(divisions)
        known = ~np.isnan(values)
        expected = [ks_2samp(values[known & each], values[known & ~each]).statistic for each in divisions]
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_first_failure_is_no_alarm_and_a_tenth_of_them_is() -> None:
    def judged(failures: int) -> bool:
        reference = {"failures": difference_of_shares(np.zeros(1000, dtype=bool))}
        calibrated = calibrate(reference, 1000, 200, alpha_for(24), seed=1, splits=120)
        pool = np.arange(1000) >= 1000 - failures
        distances = observe({"failures": difference_of_shares(pool)}, np.arange(1000) >= 800)
        return calibrated.judge(distances)[0].alarm

    assert [judged(failures) for failures in (0, 1, 20)] == [False, False, True]


def test_a_threshold_beyond_what_the_splits_resolve_goes_on_with_a_tail() -> None:
    largest = random().gumbel(size=2000)
    seen, beyond = threshold_of(largest, 0.01), threshold_of(largest, 0.001)
    assert seen == pytest.approx(4.6, abs=0.5)
    assert beyond == pytest.approx(6.9, abs=0.6)


def traffic(rows: int, seed: int, shift: float = 0.0) -> Traffic:
    made = np.random.default_rng(seed)
    vectors = made.normal(size=(rows, 16)) + shift
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = [f"word{number % 40}" for number in made.integers(0, 40, rows)]
    return Traffic.of([f"what is {word} and how does it work" for word in words], vectors.astype(np.float32))


def test_a_quiet_window_is_quiet_a_shifted_one_alarms_and_the_same_gives_the_same() -> None:
    baseline = Baseline(traffic(400, 1), splits=120)
    quiet = [baseline.judge(traffic(100, seed), alpha_for(24))[0].alarm for seed in range(2, 5)]
    assert sum(quiet) <= 1
    shifted = baseline.judge(traffic(100, 9, shift=0.5), alpha_for(24))
    assert {one.check for one in shifted if one.alarm} >= {"question meaning", "question classifier"}
    assert baseline.judge(traffic(100, 9, shift=0.5), alpha_for(24)) == shifted


def events(rows: int, seed: int, **shifts: float) -> list[dict[str, Any]]:
    """Events of a model of two numbers and a category, as the table of live answers has them."""
    made, found = np.random.default_rng(seed), []
    for number in range(rows):
        amount = made.normal(size=2) + shifts.get("amount", 0.0)
        hour = [None if made.random() < shifts.get("missing", 0.0) else float(made.integers(0, 24)) for _ in range(2)]
        country = made.choice(
            ["DE", "FR", "IT"], 2, p=[0.5, 0.5 - shifts.get("country", 0.0), shifts.get("country", 0.0)]
        )
        sample = {
            "inputs": {"amount": amount.round(4).tolist(), "hour": hour, "country": country.tolist()},
            "predictions": {"prediction": [float(value > 0.5) for value in amount]},
        }
        found.append({"at": f"2026-11-{number:05d}", "sample": json.dumps(sample)})
    return found


@pytest.mark.parametrize(
    ("shifts", "expected"),
    [
        ({}, set()),
        ({"amount": 1.0}, {"input amount", "prediction"}),
        ({"country": 0.3}, {"input country"}),
        ({"missing": 0.3}, {"input hour missing"}),
    ],
)
def test_a_models_drift_names_the_column_that_changed(shifts: dict[str, float], expected: set[str]) -> None:
    before, window = tables_of(events(300, 1), events(100, 2, **shifts))
    found = Baseline(before, splits=120).judge(window, alpha_for(24))
    assert {one.check for one in found if one.alarm} == expected
    assert {kind_of(one.check) for one in found} == {"data", "output"}


def test_samples_of_other_columns_and_lengths_are_filled_up() -> None:
    odd = [{"inputs": {"a": [1.0, 2.0]}, "predictions": {"p": [1.0]}}, {"inputs": {"b": ["x"]}}, {}]
    table = Table.of(odd)
    assert len(table) == 3
    assert np.isnan(table.numbers["p"][1:]).all()
    assert table.categories["input b"].tolist() == [None, None, "x"]
    assert Table.of([]).fitted(1).of(Table.of([])) == {}


@pytest.mark.filterwarnings("error")
def test_a_reference_of_one_and_the_same_question_is_compared_without_a_warning() -> None:
    east, north = np.eye(2, 16, dtype=np.float32)
    one, other = (Traffic.of([text] * 60, np.tile(to, (60, 1))) for text, to in (("Why?", east), ("How so?", north)))
    baseline = Baseline(one, splits=60)
    assert not any(found.alarm for found in baseline.judge(one, alpha_for(24)))
    assert baseline.judge(other, alpha_for(24))[0].alarm
    assert isinstance(baseline.checks, Topics)
    assert len(baseline.checks.shares(one.question_vectors)) == 1


def test_a_window_s_length_is_read_and_a_wrong_one_is_told() -> None:
    assert length_of("24h").total_seconds() == 86_400
    for wrong in ("24", "h", "0h", "1.5h", "-1d"):
        with pytest.raises(InvalidData, match="Write minutes, hours or days"):
            length_of(wrong)


@pytest.mark.parametrize(
    ("per_hour", "said"),
    [
        (120.0, "takes about 13 min."),
        (5.0, "takes about 5 h."),
        (0.5, "takes about 3 days. This window is too short for that: take --window 60h or more."),
        (None, "are needed."),
    ],
)
def test_after_pinning_the_wait_for_a_window_is_named(per_hour: float | None, said: str) -> None:
    since, until = "2026-11-29T00:00:00.000Z", "2026-11-30T00:00:00.000Z"
    left = LEAST_WINDOW - 25
    watched = Watched("qa", "qa/1", "sha256:1", since, until, left, 100, "too few", per_hour=per_hour)
    assert watched.explanation.endswith(said)
