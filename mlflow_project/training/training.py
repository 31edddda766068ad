"""Training: several candidates, cross-validation, the best one fitted on all training rows, metrics on held-out rows.

In: a declaration and two frames. Out: `Trained`, with everything that was tried. Nothing is written, and nothing is
random beyond the declared seed: the same rows, declaration and libraries give the same numbers to the last digit.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlflow_project.errors import InvalidData
from mlflow_project.training.candidates import ONE_THREAD, estimator, suggested
from mlflow_project.training.metrics import held_out_metrics
from mlflow_project.training.model_file import Candidate, ModelFile

log = logging.getLogger(__name__)
Labels = NDArray[Any]


@dataclass(frozen=True)
class Tried:
    """One estimator with its score in each fold (higher is better, as scikit-learn's scorers have it)."""

    name: str
    candidate: str
    kind: str
    parameters: Mapping[str, Any]
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the folds."""
        return float(np.mean(self.scores))


@dataclass(frozen=True)
class Trained:
    """The best of what was tried, fitted on all training rows. `metrics` are those of the held-out rows."""

    model: Any
    best: Tried
    tried: tuple[Tried, ...]
    metrics: Mapping[str, float]
    predictions: Labels
    probabilities: NDArray[np.float64] | None


def train(
    declared: ModelFile,
    rows: pd.DataFrame,
    labels: Labels,
    test_rows: pd.DataFrame,
    test_labels: Labels,
    on_tried: Callable[[Tried], None] = lambda _: None,
) -> Trained:
    """Train. `on_tried` hears of each estimator when it has its scores.

    Raises:
        InvalidData: the rows do not suffice for the folds, or a candidate refuses its parameters or the rows.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(declared.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folds = _folds(declared, labels)
        tried = []
        for one in _attempts(declared, rows, labels, folds):
            on_tried(one)
            tried.append(one)
        best = max(tried, key=lambda one: one.mean)  # of equal ones the first
        candidate = declared.candidates[best.candidate]
        model = _made(declared, candidate, best.parameters)
        _fitted(model, rows, labels, best.name)
        predictions = np.asarray(model.predict(test_rows))
        probabilities = np.asarray(model.predict_proba(test_rows)) if hasattr(model, "predict_proba") else None
        metrics = held_out_metrics(
            declared.task, test_labels, predictions, probabilities, getattr(model, "classes_", None)
        )
    return Trained(model, best, tuple(tried), metrics, predictions, probabilities)


def _attempts(declared: ModelFile, rows: pd.DataFrame, labels: Labels, folds: Any) -> Iterator[Tried]:
    for name, candidate in declared.candidates.items():
        yield _score(declared, name, name, candidate, candidate.parameters, rows, labels, folds)
        if declared.search is not None:
            yield from _searched(declared, name, candidate, rows, labels, folds)


def _searched(
    declared: ModelFile, name: str, candidate: Candidate, rows: pd.DataFrame, labels: Labels, folds: Any
) -> list[Tried]:
    import optuna

    assert declared.search is not None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: list[Tried] = []

    def objective(trial: Any) -> float:
        parameters = {**candidate.parameters, **suggested(candidate.kind, declared.task, trial)}
        one = _score(declared, f"{name}-{trial.number}", name, candidate, parameters, rows, labels, folds)
        found.append(one)
        return one.mean

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=declared.seed))
    study.optimize(objective, n_trials=declared.search.trials)
    return found


def _score(
    declared: ModelFile,
    name: str,
    candidate_name: str,
    candidate: Candidate,
    parameters: Mapping[str, Any],
    rows: pd.DataFrame,
    labels: Labels,
    folds: Any,
) -> Tried:
    from joblib import parallel_config
    from sklearn.model_selection import cross_val_score

    model = _made(declared, candidate, parameters)
    at_once = declared.threads if candidate.kind in ONE_THREAD else 1
    try:
        with parallel_config(backend="threading", n_jobs=at_once):
            scores = cross_val_score(model, rows, labels, scoring=declared.scorer, cv=folds, error_score="raise")
    except (ValueError, TypeError) as error:
        raise InvalidData(f"Candidate {name} cannot be trained: {' '.join(str(error).split())[:300]}") from error
    if not np.isfinite(scores).all():
        raise InvalidData(
            f"Candidate {name} has no {declared.metric} in some fold: most likely a class is missing there. "
            "Declare fewer folds, or give more rows."
        )
    return Tried(name, candidate_name, candidate.kind, dict(parameters), tuple(map(float, scores)))


def _made(declared: ModelFile, candidate: Candidate, parameters: Mapping[str, Any]) -> Any:
    return estimator(candidate.kind, declared.task, parameters, declared.seed, declared.threads)


def _fitted(model: Any, rows: pd.DataFrame, labels: Labels, name: str) -> None:
    try:
        model.fit(rows, labels)
    except (ValueError, TypeError) as error:
        raise InvalidData(f"Candidate {name} cannot be trained: {' '.join(str(error).split())[:300]}") from error


def _folds(declared: ModelFile, labels: Labels) -> Any:
    from sklearn.model_selection import KFold, StratifiedKFold, TimeSeriesSplit

    if declared.task == "classifier":
        classes, counts = np.unique(labels, return_counts=True)
        if len(classes) < 2:
            raise InvalidData(f"All training rows have the same {declared.label}: there is nothing to learn.")
        if declared.test.by == "random" and counts.min() < declared.folds:
            raise InvalidData(
                f"{declared.label} {classes[counts.argmin()]!r} has {counts.min()} training rows, and {declared.folds} "
                "folds need as many: declare fewer folds, or give more rows."
            )
    if len(labels) <= declared.folds:
        raise InvalidData(f"There are {len(labels)} training rows, and {declared.folds} folds need more.")
    if declared.test.by == "time":
        return TimeSeriesSplit(declared.folds)
    kind = StratifiedKFold if declared.task == "classifier" else KFold
    return kind(declared.folds, shuffle=True, random_state=declared.seed)
