"""How much each feature moves a model's predictions: `explain(model, held_out, run, experiments) -> Explanation`.

In: a loaded model and its test set. Out: the mean absolute Shapley value of each feature, as a file and a picture in
the release's MLflow run. The values of single rows are not logged, because many people read a run.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.held_out import HeldOut
from mlflow_project.models.loading import Model
from mlflow_project.models.rows import InputReader, Rows
from mlflow_project.rules.shapley import shapley_values

EXPLANATION_FILE, PICTURE_FILE = "feature_contributions.json", "feature_contributions.png"
MOST_ROWS = 200
_SEED = 0
_PREDICTIONS = 1_000
"""So many times the model predicts all rows, about; it decides how many orders of the features are drawn."""
_FEATURES_SHOWN = 20


@dataclass(frozen=True)
class Explanation:
    """`mean_absolute` maps each feature to the mean absolute Shapley value over rows and outputs, the largest first.
    `of` says what was explained, `orders` how many orders of the features were drawn."""

    of: str
    rows: int
    orders: int
    mean_absolute: Mapping[str, float]


def explain(model: Model, held_out: HeldOut, run: Run, experiments: Experiments) -> Explanation:
    """Explain the predictions of up to 200 rows of the test set against one another, and log the result.

    Raises:
        InvalidData: the model takes a tensor, or refuses these rows. Unavailable: MLflow does not answer.
    """
    rows = _rows(model, held_out)
    given = dict(rows.columns or {})
    of, predict = _explained(model, rows)
    orders = max(1, _PREDICTIONS // (2 * len(given)))
    values = shapley_values(predict, given, given, orders, _SEED)
    sizes = np.abs(values).mean(axis=(0, 2))
    names = list(given)
    largest = {names[number]: float(sizes[number]) for number in np.argsort(-sizes, kind="stable")}
    found = Explanation(of, rows.count, orders, largest)
    experiments.write(run, EXPLANATION_FILE, json.dumps(asdict(found), indent=1).encode())
    experiments.write(run, PICTURE_FILE, _picture(found))
    return found


def _rows(model: Model, held_out: HeldOut) -> Rows:
    """The first rows of the test set; they are ordered by the digest of their content, so this is a random choice."""
    reader = InputReader(model.description.signature, MOST_ROWS)
    if reader.takes_tensor:
        raise InvalidData("A model that takes a tensor has no named features, so they cannot be explained.")
    return reader.records(list(held_out.rows[:MOST_ROWS]))


def _explained(model: Model, rows: Rows) -> tuple[str, Any]:
    """What is explained, and the function that predicts it."""

    def numbers(answer: Any) -> NDArray[np.float64]:
        found = np.asarray(answer, dtype=np.float64)
        return found if found.ndim == 2 else found[:, None]

    if model.description.task == "regressor":
        return "prediction", lambda given: numbers(model.labels(Rows(rows.count, given)))
    if model.probabilities(rows) is not None:
        return "probability of each class", lambda given: numbers(model.probabilities(Rows(rows.count, given)))
    said = np.asarray(model.labels(rows))
    return "whether the class stays", lambda given: numbers(np.asarray(model.labels(Rows(rows.count, given))) == said)


def _picture(found: Explanation) -> bytes:
    from matplotlib.figure import Figure

    shown = list(found.mean_absolute.items())[:_FEATURES_SHOWN][::-1]
    figure = Figure(figsize=(6, 1 + 0.3 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in shown], [value for _, value in shown])
    axes.set_xlabel(f"mean absolute Shapley value of the {found.of}")
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110, metadata={"Software": None})
    return target.getvalue()
