"""Evaluate one model on a test set, as one MLflow run: `evaluate_model(release, model, held_out, bench) -> Scores`.

In: a release, its loaded model, the rows and labels. Out: the scores of every row, kept as those of prompts are. MLflow
logs the metrics, the confusion matrix and the curves by `mlflow.models.evaluate`. The features of the rows are not
logged, because many people read a run.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Scores
from mlflow_project.errors import InvalidData, SealBroken
from mlflow_project.evaluation.held_out import HeldOut
from mlflow_project.evaluation.mlflow_run import import_mlflow, mlflow_run, origin_tags
from mlflow_project.evaluation.record import (
    CASES_TAG,
    COMPLETE_TAG,
    SCORERS_TAG,
    experiment_name,
    find_run,
    keep,
    means,
    run_tags,
    scores_of,
)
from mlflow_project.evaluation.run import Bench
from mlflow_project.models.loading import Model
from mlflow_project.models.rows import InputReader, Rows
from mlflow_project.rules.gate import statistics
from mlflow_project.rules.scorers import FAILED

TIMED_ROWS, TIMED_ROUNDS = 200, 3
"""So many rows are asked for one by one, so often, to measure the latency. The median of the rounds counts for a row,
because one round alone also measures what else the machine does."""

Columns = dict[str, list[float | None]]


def known_model_scores(release: Release, held_out: HeldOut, bench: Bench) -> Scores | None:
    """The scores of a complete run of this release on these rows, if nobody has edited them."""
    tags = {CASES_TAG: held_out.digest, SCORERS_TAG: scorers_digest(), COMPLETE_TAG: "yes"}
    run = find_run(bench.experiments, release, tags)
    try:
        return scores_of(bench.experiments, bench.store, run) if run else None
    except (InvalidData, SealBroken):
        return None


def evaluate_model(release: Release, model: Model, held_out: HeldOut, bench: Bench) -> Scores:
    """Predict, score, and keep one MLflow run.

    Raises:
        InvalidData: the version does not say its task, or the test set lacks a column that the model takes.
        Unavailable: MLflow does not answer.
    """
    if model.description.task is None:
        raise InvalidData(
            f"{release.label} does not say whether it is a classifier or a regressor: set the tag switchyard.task when "
            "the version is registered."
        )
    experiment = bench.experiments.experiment(experiment_name(release.name))
    with bench.step(f"{release.label}: loading MLflow's client"):
        import_mlflow(None)
    with bench.step(f"{release.label}: predicting"):
        predicted = _Predicted(model, held_out)
        columns = predicted.columns()
        columns["size_mb"] = [_megabytes(release), *[None] * (len(held_out.ids) - 1)]
    tags = run_tags(release, held_out.digest, scorers_digest()) | origin_tags(bench.user)
    with (
        bench.step(f"{release.label}: scoring by mlflow.models.evaluate"),
        mlflow_run(bench.experiments.uri, experiment, release.label, tags) as run,
    ):
        scores = Scores(
            label=release.label,
            digest=release.digest,
            cases_digest=held_out.digest,
            case_ids=held_out.ids,
            metrics={name: tuple(values) for name, values in columns.items()},
            tags=held_out.slices,
            run=run,
        )
        _log(predicted, held_out, scores)
        return keep(bench.experiments, bench.store, bench.experiments.get(run), release, scores)


def scorers_digest() -> str:
    """A digest of how models are scored: this code and that of the statistics."""
    digest = hashlib.sha256()
    for file in (Path(__file__), Path(statistics.__file__)):
        digest.update(file.read_bytes())
    return "sha256:" + digest.hexdigest()


def _megabytes(release: Release) -> float:
    return sum(file.bytes for file in release.manifest.files or ()) / 1e6


class _Predicted:
    """What a model answers for every row of a test set. Rows that it refuses have no prediction."""

    def __init__(self, model: Model, held_out: HeldOut) -> None:
        self._model = model
        self.task = model.description.task
        self._held_out = held_out
        self._reader = InputReader(model.description.signature, len(held_out.rows))
        self.labels: list[Any] = [None] * len(held_out.rows)
        self.probabilities: dict[int, Any] = {}
        self._predict(range(len(held_out.rows)))
        self.classes = self._classes()

    def columns(self) -> Columns:
        """The metrics of each row: those of a classifier or of a regressor, failures, and the latency of some rows."""
        refused: list[float | None] = [float(label is None) for label in self.labels]
        of_task = self._of_classifier() if self.task == "classifier" else self._of_regressor()
        return {**of_task, FAILED: refused, "latency_ms": self._latencies()}

    def _predict(self, numbers: Sequence[int]) -> None:
        """Predict all these rows at once; where the model refuses them, halves of them, down to the row at fault."""
        try:
            rows = self._rows(numbers)
            labels, probabilities = self._model.labels(rows), self._model.probabilities(rows)
        except InvalidData:
            if len(numbers) == 1:
                return
            middle = len(numbers) // 2
            self._predict(numbers[:middle])
            self._predict(numbers[middle:])
            return
        for position, number in enumerate(numbers):
            self.labels[number] = _plain(labels[position])
            if probabilities is not None:
                self.probabilities[number] = probabilities[position]

    def _rows(self, numbers: Sequence[int]) -> Rows:
        given = [self._held_out.rows[number] for number in numbers]
        if self._reader.takes_tensor:
            return self._reader.nested([list(row.values()) for row in given])
        return self._reader.records(given)

    def _classes(self) -> list[Any]:
        """All classes in order: those of the model, then others that stand among the labels."""
        known = [_plain(each) for each in self._model.classes or []]
        if not known and self.probabilities:
            known = list(range(len(next(iter(self.probabilities.values())))))
        others = {_plain(label) for label in self._held_out.labels} | {x for x in self.labels if x is not None}
        return known + sorted(others - set(known), key=lambda each: (str(type(each)), each))

    def _of_classifier(self) -> Columns:
        number = {each: position for position, each in enumerate(self.classes)}
        actual = [number[_plain(label)] for label in self._held_out.labels]
        predicted = [None if label is None else number[label] for label in self.labels]
        columns: Columns = {
            statistics.CORRECT: [
                None if said is None else float(said == true) for said, true in zip(predicted, actual, strict=True)
            ],
            statistics.ACTUAL: [float(each) for each in actual],
            statistics.PREDICTED: [None if each is None else float(each) for each in predicted],
        }
        if self.probabilities:
            given = [self.probabilities.get(row) for row in range(len(actual))]
            columns[statistics.CONFIDENCE] = [None if each is None else float(np.max(each)) for each in given]
            if len(self.classes) == 2:
                columns[statistics.PROBABILITY] = [None if each is None else float(each[1]) for each in given]
        return columns

    def _of_regressor(self) -> Columns:
        errors = [
            None if said is None else float(said) - float(true)
            for said, true in zip(self.labels, self._held_out.labels, strict=True)
        ]
        return {
            statistics.SQUARED_ERROR: [None if error is None else error**2 for error in errors],
            "absolute_error": [None if error is None else abs(error) for error in errors],
        }

    def _latencies(self) -> list[float | None]:
        """Milliseconds for one row, from its values to its prediction, of the first rows that the model accepts."""
        found: list[float | None] = [None] * len(self.labels)
        timed = [number for number, label in enumerate(self.labels) if label is not None][:TIMED_ROWS]
        rounds = np.array([[self._milliseconds(number) for number in timed] for _ in range(TIMED_ROUNDS)])
        for number, middle in zip(timed, np.median(rounds, axis=0).tolist() if timed else (), strict=True):
            found[number] = middle
        return found

    def _milliseconds(self, number: int) -> float:
        began = time.perf_counter()
        self._model.predict(self._rows([number]))
        return 1000 * (time.perf_counter() - began)


def _plain(label: Any) -> Any:
    """A label as Python's own type, so that 1, 1.0, True and NumPy's 1 are one class."""
    value = label.item() if isinstance(label, np.generic) else label
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return value


def _log(predicted: _Predicted, held_out: HeldOut, scores: Scores) -> None:
    """Log what MLflow's own evaluation finds, the curves, and the metrics of the gate, into the run that is open."""
    import mlflow
    import pandas

    answered = [number for number, label in enumerate(predicted.labels) if label is not None]
    frame = pandas.DataFrame(
        {
            "id": [held_out.ids[number] for number in answered],
            "slices": [", ".join(held_out.slices[number]) for number in answered],
            "label": [_plain(held_out.labels[number]) for number in answered],
            "prediction": [predicted.labels[number] for number in answered],
        }
    )
    curves = _curves(predicted, held_out, answered) if predicted.task == "classifier" else []
    if len(set(frame["label"]) | set(frame["prediction"])) > 1:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Hint: Inferred schema")  # labels have no missing values
            mlflow.models.evaluate(
                data=frame[["label", "prediction"]],
                targets="label",
                predictions="prediction",
                model_type=predicted.task,
                evaluators="default",
                custom_artifacts=curves or None,
            )
    mlflow.log_table(frame, "rows.json")
    mlflow.log_metrics({f"gate_{name}": value for name, value in means(scores).items()})


def _curves(predicted: _Predicted, held_out: HeldOut, answered: Sequence[int]) -> list[Callable[..., Any]]:
    """Artifacts for MLflow: the precision-recall, ROC and calibration curves of a binary classifier."""
    if len(predicted.classes) != 2 or not predicted.probabilities:
        return []
    positive = predicted.classes[1]
    actual = [int(_plain(held_out.labels[number]) == positive) for number in answered]
    probability = [float(predicted.probabilities[number][1]) for number in answered]
    if len(set(actual)) < 2 or any(math.isnan(value) for value in probability):
        return []

    def curves(eval_df: Any, builtin_metrics: Mapping[str, float], artifacts_dir: str) -> dict[str, Any]:
        from matplotlib.figure import Figure
        from sklearn.calibration import CalibrationDisplay
        from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

        drawn = {}
        for name, display in (
            ("precision_recall_curve", PrecisionRecallDisplay),
            ("roc_curve", RocCurveDisplay),
            ("calibration_curve", CalibrationDisplay),
        ):
            figure = Figure(figsize=(5, 4))
            display.from_predictions(actual, probability, ax=figure.subplots())
            drawn[name] = figure
        return drawn

    return [curves]
