"""Metrics, curves and importances of a fitted model, as plain numbers and as pictures (PNG)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlflow_project.training.model_file import Task

_MOST_COLUMNS_TO_PERMUTE, _ROWS_TO_PERMUTE = 64, 500
_MOST_CLASSES_NAMED = 20


def held_out_metrics(
    task: Task,
    labels: NDArray[Any],
    predictions: NDArray[Any],
    probabilities: NDArray[np.float64] | None,
    classes: Sequence[Any] | None,
) -> dict[str, float]:
    """The metrics of held-out rows. Those of two classes take the second class for the positive one. A metric that
    needs probabilities, or a class that the rows do not have, is left out."""
    from sklearn import metrics

    if task == "regressor":
        return {
            "rmse": float(metrics.root_mean_squared_error(labels, predictions)),
            "mae": float(metrics.mean_absolute_error(labels, predictions)),
            "r2": float(metrics.r2_score(labels, predictions)) if len(labels) > 1 else 0.0,
        }
    found = {
        "accuracy": float(metrics.accuracy_score(labels, predictions)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(labels, predictions)),
        "f1_macro": float(metrics.f1_score(labels, predictions, average="macro")),
    }
    if probabilities is None or classes is None or set(np.unique(labels)) != set(classes):
        return found
    found["log_loss"] = float(metrics.log_loss(labels, probabilities, labels=list(classes)))
    if len(classes) == 2:
        positive = np.asarray(labels) == classes[1]
        found["roc_auc"] = float(metrics.roc_auc_score(positive, probabilities[:, 1]))
        found["average_precision"] = float(metrics.average_precision_score(positive, probabilities[:, 1]))
        found["brier"] = float(metrics.brier_score_loss(positive, probabilities[:, 1]))
    return found


def pictures(
    task: Task,
    labels: NDArray[Any],
    predictions: NDArray[Any],
    probabilities: NDArray[np.float64] | None,
    classes: Sequence[Any] | None,
) -> dict[str, bytes]:
    """Files by name: a confusion matrix, and the curves of two classes; of a regressor, predictions over labels."""
    from sklearn import metrics

    made: dict[str, bytes] = {}
    if task == "regressor":
        return {"predictions.png": _drawn(lambda axes: axes.scatter(labels, predictions, s=4))}
    named = list(classes if classes is not None else np.unique(labels))
    few = len(named) <= _MOST_CLASSES_NAMED
    matrix = metrics.confusion_matrix(labels, predictions, labels=named)
    shown = metrics.ConfusionMatrixDisplay(matrix, display_labels=named if few else None)
    made["confusion_matrix.png"] = _drawn(lambda axes: shown.plot(ax=axes, include_values=few, colorbar=False))
    if probabilities is not None and len(named) == 2:
        positive, scores = np.asarray(labels) == named[1], probabilities[:, 1]
        for name, display in (
            ("roc_curve.png", metrics.RocCurveDisplay),
            ("precision_recall_curve.png", metrics.PrecisionRecallDisplay),
        ):
            made[name] = _drawn(lambda axes, display=display: display.from_predictions(positive, scores, ax=axes))
    return made


def importances(model: Any, rows: pd.DataFrame, labels: NDArray[Any], seed: int) -> Mapping[str, float]:
    """How much each column matters, the most important first: what the estimator says itself, else by permutation of at
    most 500 held-out rows. Empty where neither is possible in short time."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    if hasattr(last, "feature_importances_"):
        values = np.asarray(last.feature_importances_, dtype=np.float64)
    elif hasattr(last, "coef_"):
        values = np.abs(np.atleast_2d(last.coef_)).mean(axis=0)
    elif len(rows.columns) <= _MOST_COLUMNS_TO_PERMUTE:
        from sklearn.inspection import permutation_importance

        some = rows.iloc[:_ROWS_TO_PERMUTE]
        values = permutation_importance(model, some, labels[:_ROWS_TO_PERMUTE], random_state=seed)["importances_mean"]
    else:
        return {}
    order = np.argsort(-values, kind="stable")
    return {str(rows.columns[position]): float(values[position]) for position in order}


def _drawn(draw: Any) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    draw(figure.subplots())
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110, metadata={"Software": None})
    return target.getvalue()
